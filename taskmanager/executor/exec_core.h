/* The executor's control decisions: pure. weir_exec_step(core, event) -> effects; no clock, I/O, thread or global state.
 *
 * It knows every task that was deployed here by (vertex, subtask) and its newest attempt:
 *     QUEUED (an older attempt has not ended yet) -> INITIALIZING -> RUNNING -> [CANCELING ->] FINISHED, FAILED, CANCELED
 * Commands are idempotent: a second deployment of an attempt that is known reports its state again and starts nothing; a lower
 * attempt changes nothing; checkpoints are the newest attempt's affair, and only while it runs; a cancellation that comes before its deployment is remembered. A task that does not end within the
 * cancellation timeout ends the executor (its process can be killed where a thread cannot), and so does the end of the lease.
 */
#ifndef WEIR_EXECUTOR_EXEC_CORE_H
#define WEIR_EXECUTOR_EXEC_CORE_H

#include <stdbool.h>
#include <stdint.h>

struct weir_exec_core;

struct weir_exec_task_id {
    uint32_t vertex, subtask, attempt;
};

enum weir_exec_state { /* values of proto's TaskState */
                       WEIR_EXEC_QUEUED = 1,
                       WEIR_EXEC_INITIALIZING = 3,
                       WEIR_EXEC_RUNNING = 4,
                       WEIR_EXEC_FINISHED = 5,
                       WEIR_EXEC_CANCELING = 6,
                       WEIR_EXEC_CANCELED = 7,
                       WEIR_EXEC_FAILED = 8
};

enum weir_exec_event_kind {
    WEIR_EXEC_EVENT_DEPLOY,       /* task */
    WEIR_EXEC_EVENT_CANCEL,       /* task */
    WEIR_EXEC_EVENT_TASK_RUNNING, /* task: its operators are open */
    WEIR_EXEC_EVENT_TASK_ENDED,   /* task, state: FINISHED, FAILED or CANCELED */
    WEIR_EXEC_EVENT_TRIGGER,      /* task, checkpoint: its barrier is to begin there */
    WEIR_EXEC_EVENT_COMPLETE,     /* task, checkpoint: it is in HEAD, with the task's part */
    WEIR_EXEC_EVENT_STORED,       /* task, checkpoint: its part is in the store, or could not be written */
    WEIR_EXEC_EVENT_LEASE,        /* until_ms */
    WEIR_EXEC_EVENT_STOP,         /* asked to end */
    WEIR_EXEC_EVENT_LINE_CLOSED,  /* the supervisor is gone */
    WEIR_EXEC_EVENT_TICK          /* the clock reached wake_at_ms */
};
struct weir_exec_event {
    enum weir_exec_event_kind kind;
    int64_t now_ms; /* monotonic, as until_ms */
    struct weir_exec_task_id task;
    enum weir_exec_state state;
    uint64_t checkpoint;
    int64_t until_ms;
};

enum weir_exec_effect_kind {
    WEIR_EXEC_EFFECT_START,             /* task */
    WEIR_EXEC_EFFECT_CANCEL,            /* task: it will end, with TASK_ENDED */
    WEIR_EXEC_EFFECT_REPORT,            /* task, state */
    WEIR_EXEC_EFFECT_TRIGGER,           /* task, checkpoint: to the task */
    WEIR_EXEC_EFFECT_COMPLETE,          /* task, checkpoint: the same */
    WEIR_EXEC_EFFECT_REPORT_CHECKPOINT, /* task, checkpoint: what came of it */
    WEIR_EXEC_EFFECT_EXIT               /* the last effect ever: exit */
};
enum weir_exec_exit {
    WEIR_EXEC_EXIT_STOP,
    WEIR_EXEC_EXIT_LINE_CLOSED,
    WEIR_EXEC_EXIT_LEASE,
    WEIR_EXEC_EXIT_CANCEL_TIMEOUT
};
struct weir_exec_effect {
    enum weir_exec_effect_kind kind;
    struct weir_exec_task_id task;
    enum weir_exec_state state;
    uint64_t checkpoint;
    enum weir_exec_exit exit;
};
struct weir_exec_effects {
    const struct weir_exec_effect *items; /* until the next step */
    int count;
    int64_t wake_at_ms; /* INT64_MAX: no need */
};

struct weir_exec_core *weir_exec_core_new(int64_t lease_until_ms, int64_t cancel_timeout_ms);
void weir_exec_core_free(struct weir_exec_core *core);
void weir_exec_step(struct weir_exec_core *core, const struct weir_exec_event *event,
                    struct weir_exec_effects *effects);

#endif
