/* Planted bugs for the simulator. In the pure cores, `if (stale && !WEIR_MUTANT(name)) return;` is a guard that
 * `weir-sim --mutant name` removes, to show that the simulator would notice. Nothing of it exists outside the simulator's build.
 * The names are listed in tests/sim/mutants.h.
 */
#ifndef WEIR_BASE_MUTANT_H
#define WEIR_BASE_MUTANT_H

#ifdef WEIR_SIM_MUTANTS
#include "tests/sim/mutants.h"
extern enum weir_mutant weir_mutant_active;
#define WEIR_MUTANT(name) (weir_mutant_active == WEIR_MUTANT_##name)
#else
#define WEIR_MUTANT(name) 0
#endif

#endif
