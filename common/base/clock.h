/* Clocks, in one place: nothing below a core/ folder may include this. */
#ifndef WEIR_BASE_CLOCK_H
#define WEIR_BASE_CLOCK_H
#include <stdint.h>
int64_t weir_clock_mono_ns(void); /* monotonic */
int64_t weir_clock_mono_ms(void);
int64_t weir_clock_wall_ms(void); /* since 1970 */
int64_t weir_clock_wall_ns(void);
int64_t weir_clock_cpu_ns(void); /* of this process */
#endif
