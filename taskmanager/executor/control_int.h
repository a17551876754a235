/* The control thread's own: between executor.c (the loop) and executor_report.c (what it tells the supervisor). */
#ifndef WEIR_EXECUTOR_CONTROL_INT_H
#define WEIR_EXECUTOR_CONTROL_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "executor/executor_int.h"
#include "ops/alignment.h"
#include "taskmanager/io/executor_line.h"

struct weir_task_event { /* from a worker */
    struct weir_executor_task *task;
    enum weir_task_state state;
    struct weir_error error;
    const char *kind; /* of the failure; NULL: by the error */
    int op;
    struct weir_snapshot *snapshot;         /* RUNNING: of a barrier that has passed it; FINISHED: the last one */
    const struct weir_executor_write *last; /* FINISHED: where that is now; NULL: there are no checkpoints */
    struct weir_task_event *next;
};

struct weir_executor_deployment { /* told to run, the newest attempt of a subtask */
    struct weir_exec_task_id id;
    uint32_t slot;
    Weir__TaskRestore *restore; /* NULL: from nothing */
    struct weir_executor_deployment *next;
};

struct weir_control {
    struct weir_executor executor; /* first */
    struct weir_executor_line line;
    struct weir_exec_core *core;
    struct weir_waker waker;
    int64_t core_wake_ms, metrics_at_ms;
    int64_t align_at_ms;   /* when the JobManager hears of it next */
    _Atomic int align_now; /* it is to hear of it now */
    uint64_t heartbeat_sequence;
    int64_t *hang_logged_ns; /* per worker: the call that was logged already */
    bool exiting;
    int exit_code;
    const char *exit_why;
    struct weir_executor_deployment *deployments; /* until they start */
    struct weir_executor_write *writes;           /* parts of checkpoints on their way into the store */
    pthread_mutex_t lock;                         /* of the queue */
    struct weir_task_event *first_event, *last_event;
};

struct weir_executor_task *weir_control_find_task(const struct weir_control *c, const struct weir_exec_task_id *id);

/* --- executor_report.c: a line that is closed takes nothing and ends the loop */
void weir_control_report_executor(struct weir_control *c, Weir__ExecutorReport__State state, Weir__Failure *failure);
/* `event`: of a task that has just ended; NULL: without details. */
void weir_control_report_task(struct weir_control *c, const struct weir_exec_task_id *id, enum weir_exec_state state,
                              const struct weir_task_event *event);
/* The answer to a barrier. `error`: why there is nothing. */
void weir_control_report_checkpoint(struct weir_control *c, const struct weir_exec_task_id *id, uint64_t checkpoint,
                                    const struct weir_executor_write *write, const struct weir_error *error);
void weir_control_heartbeat(struct weir_control *c);
/* How far its sources are, to be answered by how far all others are. Nothing when none is aligned. */
void weir_control_report_alignment(struct weir_control *c);
/* Fills `failure` with pointers into `error` and `operator_name`. */
void weir_control_fill_failure(Weir__Failure *failure, const struct weir_error *error, const char *operator_name);

/* --- executor_checkpoint.c: what goes into the store and comes from it, by the pool */

/* The store that the job's checkpoints are in; none is no error. */
weir_err weir_control_open_store(struct weir_control *c, const char *uri, struct weir_error *error);
/* A task's snapshot goes into the store. `take_event`: of the FINISHED task, whose end it is to be reported with; NULL: a barrier's. */
void weir_control_write(struct weir_control *c, struct weir_executor_task *task, struct weir_snapshot *take_snapshot,
                        struct weir_task_event *take_event);
/* One that has been written, or could not be (*err); NULL: none now. */
struct weir_executor_write *weir_control_written(struct weir_control *c, weir_err *err, struct weir_error *error);
void weir_executor_write_free(struct weir_executor_write *write);
struct weir_executor_task *weir_executor_write_task(const struct weir_executor_write *write);
uint64_t weir_executor_write_checkpoint(const struct weir_executor_write *write);
struct weir_task_event *weir_executor_write_take_event(struct weir_executor_write *write);
/* Those of a task that is over, NULL: all, are let go of. */
void weir_control_drop_writes(struct weir_control *c, const struct weir_executor_task *task);
/* The written parts as a message; pointers into `write`, freed by _fini. */
struct weir_snapshot_message {
    Weir__SubtaskSnapshot snapshot;
    Weir__StatePart *parts, **part_pointers;
    Weir__Committable *committables, **committable_pointers;
    int64_t alignment_ms, persisted_bytes, processed_bytes, sync_ms, async_ms;
    bool unaligned;
};
void weir_snapshot_message_init(struct weir_snapshot_message *message, const struct weir_executor_write *write);
void weir_snapshot_message_fini(struct weir_snapshot_message *message);

/* Fetches what the task begins with. */
void weir_control_fetch(struct weir_control *c, struct weir_executor_task *task, Weir__TaskRestore *take_restore);
Weir__TaskRestore *weir_executor_restore_copy(const Weir__TaskRestore *restore);
/* A task whose parts are here (task->restored) or cannot be had (*err, *kind); its fetch is over. NULL: none now. */
struct weir_executor_task *weir_control_fetched(struct weir_control *c, weir_err *err, const char **kind,
                                                struct weir_error *error);
void weir_executor_fetch_free(struct weir_executor_fetch *fetch); /* NULL is allowed */

#endif
