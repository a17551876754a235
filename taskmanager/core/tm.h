/* The TaskManager's core, the supervisor's decisions: pure. weir_tm_step(tm, event) -> effects; no clock, I/O, thread or
 * global state. taskmanager/io performs the effects; tests/sim runs the same code. The protocol is described in jobmanager/core/jm.h.
 *
 * Owns: the session with the JobManager (connect with backoff, register, heartbeats, lease), the slots, and the executors' life:
 *   FETCHING (code by sha256) -> SPAWNING -> STARTING -> READY -> STOPPING -> KILLING -> gone (reported EXITED).
 * An executor lives exactly as long as its process: it leaves this core when io says that the process has ended (or could not
 * be started), never before; its slots are taken until then.
 *
 * The lease: the JobManager's acknowledgement of heartbeat n renews it until (when n was sent) + T_self. It is passed on to
 * executors as a deadline on this host's monotonic clock (Lease.valid_until_ms), so that neither a stopped supervisor nor a
 * stopped executor lengthens it. When it ends, every executor is killed and the line is opened anew.
 */
#ifndef WEIR_TASKMANAGER_CORE_TM_H
#define WEIR_TASKMANAGER_CORE_TM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "control.pb-c.h"

#define WEIR_TM_EXECUTOR_ID_SIZE 33
#define WEIR_TM_JOB_ID_SIZE 33

struct weir_tm; /* opaque */

struct weir_tm_options {
    const char *taskmanager_id; /* unique per boot, at most 63 bytes; strings are copied */
    const char *host;           /* under which others reach the executors of this one */
    const char *bind_host;      /* where they listen; "": host */
    bool curve;                 /* they talk to each other with CURVE keys */
    const char *log_directory;
    uint32_t slots;                 /* 1..4096 */
    uint32_t port_first, port_last; /* taskmanager.data.port for executors; 0: any */
    uint32_t cpu_cores, pid;
    int64_t memory_bytes;
    int64_t register_timeout_ms;            /* no answer to Register within it: a new connection; 5 s */
    int64_t backoff_min_ms, backoff_max_ms; /* between connections: 50 ms doubling to 5 s */
    int64_t stop_grace_ms;                  /* from a polite stop to the kill; 5 s */
    int64_t
        executor_silence_ms; /* a READY executor from which nothing was heard for so long hangs and is killed: executors send
                                     Heartbeat several times within it; 0: never (the default) */
    int64_t
        executor_memory_max; /* resident bytes; an executor that uses more is killed with a report; 0: no limit (the default) */
    int64_t
        slot_memory_max; /* without executor_memory_max: the same for each slot that the executor fills; 0: no limit */
    int64_t kill_repeat_ms; /* a kill is repeated until the process has ended; 5 s */
    int64_t resend_ms;      /* 1 s */
    int window;             /* reports in flight; 32 */
    int outbox_max;         /* reports waiting; 65536; beyond: the session is given up and opened anew */
};
/* The defaults above; taskmanager_id "", host "127.0.0.1", bind_host "", slots 1. */
void weir_tm_options_init(struct weir_tm_options *options);

/* --- Events */

enum weir_tm_event_kind {
    WEIR_TM_EVENT_START,            /* once, first: orphans */
    WEIR_TM_EVENT_TICK,             /* the clock reached wake_at_ms */
    WEIR_TM_EVENT_LINE_CONNECTED,   /* the line that CONNECT asked for stands */
    WEIR_TM_EVENT_LINE_BROKEN,      /* it broke, or could not be opened */
    WEIR_TM_EVENT_MESSAGE,          /* control, from the JobManager */
    WEIR_TM_EVENT_CODE_READY,       /* sha256, text: the local path, verified */
    WEIR_TM_EVENT_CODE_FAILED,      /* sha256, text: why */
    WEIR_TM_EVENT_EXECUTOR_SPAWNED, /* executor_id, pid: the process runs, its control line can be written */
    WEIR_TM_EVENT_EXECUTOR_EXITED, /* executor_id, exit_code, signal, text: the process has ended and was waited for, or could not be
                                        spawned (exit_code 127, text says why). Exactly once per SPAWN. failure (may be NULL): what a crash
                                        handler left (operator, position, stack) */
    WEIR_TM_EVENT_EXECUTOR_MESSAGE, /* executor_id, control: from the executor's control line */
    WEIR_TM_EVENT_EXECUTOR_MEMORY,  /* executor_id, rss_bytes: what its process was seen to use just now */
    WEIR_TM_EVENT_PROCESS_METRICS,  /* process: of this supervisor; goes with the next heartbeat */
    WEIR_TM_EVENT_COMMITTED         /* job_id, checkpoint, failure (NULL: done): answers a COMMIT */
};

struct weir_tm_orphan { /* an executor recorded in the run directory by an earlier boot */
    char executor_id[WEIR_TM_EXECUTOR_ID_SIZE];
    uint32_t pid;
    uint64_t start_time; /* of the process, as /proc/PID/stat says: so that a reused pid is not killed */
};

struct weir_tm_event {
    enum weir_tm_event_kind kind;
    int64_t now_ms;               /* CLOCK_MONOTONIC in ms: shared with executors (Lease.valid_until_ms) */
    const Weir__Control *control; /* borrowed */
    const char *executor_id;
    const char *job_id;
    uint64_t checkpoint;
    const char *sha256;
    const char *text;
    uint32_t pid;
    uint64_t rss_bytes;
    int exit_code, signal;
    const Weir__Failure *failure;
    const Weir__ProcessMetrics *process;
    const struct weir_tm_orphan *orphans;
    int orphan_count;
};

/* --- Effects: valid until the next step */

enum weir_tm_effect_kind {
    WEIR_TM_EFFECT_CONNECT,       /* open the line (anew); answered by LINE_CONNECTED or LINE_BROKEN */
    WEIR_TM_EFFECT_SEND,          /* control to the JobManager; what cannot be sent is dropped */
    WEIR_TM_EFFECT_SEND_EXECUTOR, /* control to executor_id; io queues it, bounded; a line that cannot be written is closed,
                                     the executor ends, EXECUTOR_EXITED follows */
    WEIR_TM_EFFECT_FETCH_CODE,  /* sha256 (and code_name for people): from the cache or the JobManager */
    WEIR_TM_EFFECT_SPAWN,       /* executor_id, job_id, job_name: exec the executor, record it in the run directory */
    WEIR_TM_EFFECT_KILL,        /* executor_id: SIGKILL its process group; repeats do no harm */
    WEIR_TM_EFFECT_KILL_ORPHAN, /* orphan: SIGKILL if pid and start time still match; remove its record */
    WEIR_TM_EFFECT_COMMIT,      /* job_id, control->commit_output: publish (idempotent), then COMMITTED */
    WEIR_TM_EFFECT_ABORT,       /* job_id, control->abort_output: remove what was not published; no answer */
    WEIR_TM_EFFECT_LOG          /* level, text, job_id (may be NULL) */
};
enum weir_tm_log_level { WEIR_TM_LOG_INFO, WEIR_TM_LOG_WARN, WEIR_TM_LOG_ERROR };

struct weir_tm_effect {
    enum weir_tm_effect_kind kind;
    enum weir_tm_log_level level;
    const char *executor_id, *job_id, *job_name, *sha256, *code_name, *text;
    const Weir__Control *control;
    const struct weir_tm_orphan *orphan;
};

struct weir_tm_effects {
    const struct weir_tm_effect *items;
    int count;
    int64_t wake_at_ms; /* send a TICK then; INT64_MAX: no need */
};

struct weir_tm *weir_tm_new(const struct weir_tm_options *options);
void weir_tm_free(struct weir_tm *tm); /* NULL is allowed */
void weir_tm_step(struct weir_tm *tm, const struct weir_tm_event *event, struct weir_tm_effects *effects);

/* --- For io, status and tests. Pointers are good until the next step. */

enum weir_tm_executor_state {
    WEIR_TM_EXECUTOR_FETCHING,
    WEIR_TM_EXECUTOR_SPAWNING,
    WEIR_TM_EXECUTOR_STARTING,
    WEIR_TM_EXECUTOR_READY,
    WEIR_TM_EXECUTOR_STOPPING,
    WEIR_TM_EXECUTOR_KILLING
};
struct weir_tm_executor_view {
    const char *id, *job_id, *job_name;
    enum weir_tm_executor_state state;
    uint32_t pid; /* 0: none yet */
    int task_count;
};
bool weir_tm_registered(const struct weir_tm *tm);
uint64_t weir_tm_session(const struct weir_tm *tm);
uint64_t weir_tm_leader_epoch(const struct weir_tm *tm);
int64_t weir_tm_lease_until_ms(const struct weir_tm *tm); /* INT64_MIN: none */
int weir_tm_executor_count(const struct weir_tm *tm);
struct weir_tm_executor_view weir_tm_executor_at(const struct weir_tm *tm, int index);
const char *weir_tm_slot_executor(const struct weir_tm *tm, uint32_t slot); /* "": free */
int weir_tm_reports_in_flight(const struct weir_tm *tm);
int weir_tm_reports_waiting(const struct weir_tm *tm);
uint64_t weir_tm_digest(const struct weir_tm *tm); /* as weir_jm_digest() */

#endif
