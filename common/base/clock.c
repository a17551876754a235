/* The only calls of clock_gettime; core/ folders get the time inside their events instead. */
#include "base/clock.h"

#include <time.h>

static int64_t read_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t weir_clock_mono_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

int64_t weir_clock_mono_ms(void)
{
    return read_ns(CLOCK_MONOTONIC) / 1000000;
}

int64_t weir_clock_wall_ms(void)
{
    return read_ns(CLOCK_REALTIME) / 1000000;
}

int64_t weir_clock_wall_ns(void)
{
    return read_ns(CLOCK_REALTIME);
}

int64_t weir_clock_cpu_ns(void)
{
    return read_ns(CLOCK_PROCESS_CPUTIME_ID);
}
