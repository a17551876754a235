#include "base/thread.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BACKGROUND_NICE 5
#define BACKGROUND_SLICE_NS 200000 /* a short one: who gives way loses no more than the rest of it (Linux 6.12) */

struct scheduling { /* the kernel's struct sched_attr */
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

void weir_thread_background(void)
{
    if (gettid() == getpid())
        return;
    struct scheduling scheduling = {
        .size = sizeof scheduling, .policy = SCHED_BATCH, .nice = BACKGROUND_NICE, .runtime = BACKGROUND_SLICE_NS};
    if (syscall(SYS_sched_setattr, 0, &scheduling, 0) != 0)
        (void)setpriority(PRIO_PROCESS, 0, BACKGROUND_NICE); /* of this thread only, on Linux */
}

void weir_thread_give_way(void)
{
    (void)sched_yield();
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
