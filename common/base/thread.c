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
