/* The control thread's own: between executor.c (the loop) and executor_report.c (what it tells the supervisor). */
#ifndef WEIR_EXECUTOR_CONTROL_INT_H
#define WEIR_EXECUTOR_CONTROL_INT_H

#include <pthread.h>

#include "executor/executor_int.h"
#include "taskmanager/io/executor_line.h"

struct weir_task_event { /* from a worker */
    struct weir_executor_task *task;
    enum weir_task_state state;
    struct weir_error error;
    int op;
    struct weir_task_event *next;
};

struct weir_control {
    struct weir_executor executor; /* first */
    struct weir_executor_line line;
    struct weir_exec_core *core;
    struct weir_waker waker;
    int64_t core_wake_ms, metrics_at_ms;
    uint64_t heartbeat_sequence;
    int64_t *hang_logged_ns; /* per worker: the call that was logged already */
    bool exiting;
    int exit_code;
    const char *exit_why;
    pthread_mutex_t lock; /* of the queue */
    struct weir_task_event *first_event, *last_event;
};

struct weir_executor_task *weir_control_find_task(const struct weir_control *c, const struct weir_exec_task_id *id);

/* --- executor_report.c: a line that is closed takes nothing and ends the loop */
void weir_control_report_executor(struct weir_control *c, Weir__ExecutorReport__State state, Weir__Failure *failure);
/* `event`: of a task that has just ended; NULL: without details. */
void weir_control_report_task(struct weir_control *c, const struct weir_exec_task_id *id, enum weir_exec_state state,
                              const struct weir_task_event *event);
void weir_control_heartbeat(struct weir_control *c);
/* Fills `failure` with pointers into `error` and `operator_name`. */
void weir_control_fill_failure(Weir__Failure *failure, const struct weir_error *error, const char *operator_name);

#endif
