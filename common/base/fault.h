/* Fault points: named places, `component.step`, at which a test can make a process die, stop, fail or be slow.
 *
 *     if (weir_fault("filesystem.rename"))
 *         return weir_fail(error, WEIR_ERR_IO, "...");
 *
 * Off (testing.fault-points: false) a point costs one predicted branch. On, every pass is counted by name and an armed point acts
 * on its NTH pass, once: kill (SIGKILL to this process), stop (SIGSTOP), error (weir_fault() is true), delay=MS (this thread sleeps).
 */
#ifndef WEIR_BASE_FAULT_H
#define WEIR_BASE_FAULT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/mem.h"

#define WEIR_FAULT_POINTS_MAX 256 /* distinct names in a process; more are not counted */

extern atomic_bool weir_fault_on;
bool weir_fault_pass(const char *point); /* through weir_fault() only */
static inline bool weir_fault(const char *point)
{
    return __builtin_expect(atomic_load_explicit(&weir_fault_on, memory_order_relaxed), 0) && weir_fault_pass(point);
}

/* Switches all points on or off; off also disarms and forgets the counts. */
void weir_fault_enable(bool on);
/* "POINT[:NTH]", "kill|stop|error|delay=MS"; NTH counts from now, 1 is the next pass. INVALID: a wrong text, or points are off;
 * FULL: too many names. */
weir_err weir_fault_arm(const char *point, const char *action, struct weir_error *error);
uint64_t weir_fault_passes(const char *point); /* so far */
/* "point passes armed-action" lines, sorted by first pass. */
void weir_fault_print(struct weir_buf *out);

#endif
