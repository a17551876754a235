#include "base/thread.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#define BACKGROUND_NICE 5

void weir_thread_background(void)
{
    if (gettid() == getpid())
        return;
    (void)sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){0});
    (void)setpriority(PRIO_PROCESS, 0, BACKGROUND_NICE); /* of this thread only, on Linux */
}

void weir_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

struct timespec weir_cond_until(int64_t ms)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t ns = now.tv_nsec + ms % 1000 * 1000000;
    return (struct timespec){now.tv_sec + ms / 1000 + ns / 1000000000, ns % 1000000000};
}
