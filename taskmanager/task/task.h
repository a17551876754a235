/* A task: one subtask of a chain of operators, as a tasklet of a worker thread.
 *
 * call() does about 1 ms of bounded work and never waits. Everything in a task is touched by its worker alone, from
 * the first call to the terminal state; other threads may cancel it and read its statistics at any time. It is made and freed by
 * the control thread, which frees it only after its worker has let go of it (the terminal state was reported).
 *
 * States as Flink's: INITIALIZING (operators open on the worker), RUNNING, then FINISHED, FAILED or CANCELED.
 */
#ifndef WEIR_TASK_TASK_H
#define WEIR_TASK_TASK_H

#include "task/chain.h"
#include "task/input.h"

#define WEIR_TASK_CALL_NS 1000000

enum weir_progress { WEIR_NO_PROGRESS, WEIR_MADE_PROGRESS, WEIR_DONE };
enum weir_task_state {
    WEIR_TASK_INITIALIZING,
    WEIR_TASK_RUNNING,
    WEIR_TASK_FINISHED,
    WEIR_TASK_FAILED,
    WEIR_TASK_CANCELED
};

struct weir_task;

struct weir_task_options {
    const char *name; /* copied: "map (1/4)#1" */
    const char *job_id;
    int attempt;
    struct weir_chain *chain; /* taken over */
    struct weir_input *input; /* taken over; NULL: a source */
    /* Called on the worker's thread: RUNNING, then one terminal state. `error` and `op` (chain index, -1: none) with FAILED. */
    void (*on_state)(void *arg, struct weir_task *task, enum weir_task_state state, const struct weir_error *error,
                     int op);
    void *arg;
    bool at_least_once; /* channels do not wait for each other's barriers */
    bool last_snapshot; /* there may be checkpoints: weir_task_take_last_snapshot() has something at the end; ... */
    bool last_tables;   /* ... and keyed states in it, also when the job was not drained */
};
struct weir_task *weir_task_new(const struct weir_task_options *options);
void weir_task_free(struct weir_task *task);

/* Any thread: the task ends as CANCELED at its next call. The caller wakes the worker (weir_worker_wake()). */
void weir_task_cancel(struct weir_task *task);

/* Any thread: takes part in a checkpoint. A source makes the barrier; for a task whose producers have all finished it stands for theirs; for any
 * other the barrier comes in its input, and this does nothing. At most WEIR_TASK_BARRIERS_MAX wait; beyond, false. The caller wakes the
 * worker. */
#define WEIR_TASK_BARRIERS_MAX 8
bool weir_task_trigger(struct weir_task *task, const struct weir_barrier *barrier);
/* A checkpoint that it has given its part of is in HEAD: operators that wait for that are told at the next call. Any thread. */
void weir_task_complete(struct weir_task *task, uint64_t checkpoint);

/* --- The worker */
enum weir_progress weir_task_call(struct weir_task *task, int64_t now_ns);
/* When it wants to be called though nothing was announced; INT64_MAX: never. */
int64_t weir_task_due_ns(const struct weir_task *task, int64_t now_ns);
int weir_task_wait_fd(const struct weir_task *task); /* -1: none */
/* In on_state() with FINISHED: the last snapshot, the caller's from now on; NULL: none was wanted. */
struct weir_snapshot *weir_task_take_last_snapshot(struct weir_task *task);
/* The worker stops: closes the operators without a report. */
void weir_task_abandon(struct weir_task *task);

/* --- Any thread */
struct weir_task_stats {
    uint64_t records_in, records_out, bytes_in, bytes_out;
    uint64_t busy_ns, idle_ns, backpressured_ns;
    int64_t watermark_ms;
};
void weir_task_read_stats(const struct weir_task *task, struct weir_task_stats *stats);
const struct weir_chain *weir_task_chain(const struct weir_task *task);

#endif
