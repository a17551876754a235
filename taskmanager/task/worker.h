/* A worker thread: runs its tasks in turn, sleeps in epoll when none has anything to do.
 *
 * It wakes by its waker (data, credit, a new or cancelled task), by a source's fd, and by the earliest timer of its tasks.
 * One per slot that the executor fills, at most one per core.
 */
#ifndef WEIR_TASK_WORKER_H
#define WEIR_TASK_WORKER_H

#include <pthread.h>

#include "task/task.h"

struct weir_worker;

struct weir_worker_options {
    int index;
    void (*thread_started)(void *arg); /* on its thread, may be NULL: alternate signal stack and the like */
    void (*thread_ending)(void *arg);
    void *arg;
};
weir_err weir_worker_start(const struct weir_worker_options *options, struct weir_worker **worker,
                           struct weir_error *error);
/* Closes what still runs and joins the thread; waits for the call in progress. The waker stays until weir_worker_free(). */
void weir_worker_stop(struct weir_worker *worker);
void weir_worker_free(struct weir_worker *worker); /* after every channel that could wake it is gone */
struct weir_waker *weir_worker_waker(struct weir_worker *worker);

/* Any thread. The task is the worker's until it reported a terminal state. */
void weir_worker_add(struct weir_worker *worker, struct weir_task *task);
void weir_worker_wake(struct weir_worker *worker);

/* Since when the call in progress runs, monotonic ns; 0: none. For hang detection, any thread. */
int64_t weir_worker_call_started_ns(const struct weir_worker *worker);
pthread_t weir_worker_thread(const struct weir_worker *worker);

#endif
