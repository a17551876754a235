/* Threads: how the kernel weighs one against others of the machine (advice: where it refuses that, nothing else changes), and waits with a bound. */
#ifndef WEIR_BASE_THREAD_H
#define WEIR_BASE_THREAD_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

/* The calling thread works for later, on what others wait for least: of a busy core it gets a quarter, and it takes the core from nobody who has it.
 * Threads that it begins are the same. It takes no privilege, and there is no way back; a process's first thread stays as it is. */
void weir_thread_background(void);

/* To be called by such a thread several times a millisecond: whoever is ready for its core has it now, and not at the scheduler's next tick (4 ms and more). */
void weir_thread_give_way(void);

/* A condition whose waits end by the monotonic clock, and the moment, so many milliseconds from now, to give to pthread_cond_timedwait(). */
void weir_cond_init(pthread_cond_t *cond);
struct timespec weir_cond_until(int64_t ms);

#endif
