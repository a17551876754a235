/* The JobManager's core: pure. weir_jm_step(jm, event) -> effects; time and randomness come from outside, nothing here
 * reads a clock, does I/O, or knows a thread. jobmanager/io performs the effects; tests/sim runs the same code.
 *
 * Flow: io turns what happens (a message, a broken line, a REST command, the clock) into a `struct weir_jm_event`, calls
 * weir_jm_step() and performs the effects in order. One thread at a time uses a core; a reader (REST) takes the same lock.
 *
 * Protocol with TaskManagers (proto/control.proto; the other half is taskmanager/core/tm.h)
 * - A TaskManager opens a session: it connects, counts `session` up (Register.session, from 1 within its boot) and sends
 *   Register until RegisterAck. Every later message of both sides carries that session in Control.session; anything
 *   else is stale and dropped. A new session, a transport disconnect, or heartbeat.timeout (T_dead) without a heartbeat ends the old
 *   one: its executors count as dead at once and the TaskManager is told to stop the ones it still reports.
 * - Commands and reports that must arrive have Control.id = 1, 2, 3, ... within a session and direction. They are taken in that
 *   order and once: a repeat is acknowledged again without effect, a gap is dropped (the resend fills it). Ack.id is cumulative. At
 *   most `window` are in flight, resent every `resend_ms`; more wait, up to `outbox_max`. A TaskManager that acknowledges nothing
 *   for heartbeat.timeout, or leaves more than that waiting, counts as lost.
 * - A heartbeat renews the lease T_self (2/3 of T_dead) of the TaskManager and its executors, from the moment it was *sent*;
 *   so by the time T_dead has passed here since it was received, they have stopped themselves.
 * - Leader epoch: in every message; a TaskManager drops what is below the highest it has seen. A JobManager that is shown a
 *   higher epoch than its own has been replaced: it says so (WEIR_JM_EFFECT_FENCED) and does nothing any more.
 *
 * Jobs: submitted -> INITIALIZING -> CREATED -> RUNNING; slots for all subtasks are taken at once or waited for (`status` says so);
 * one executor per (job, TaskManager) is started; when all have reported READY the tasks are deployed. All tasks FINISHED ->
 * CommitOutput to one TaskManager, resent, moved to another when that one is lost -> FINISHED. FAILED and CANCELED -> AbortOutput
 * (never once a commit was sent: it could overtake). States and transitions are Flink's; README.md has the diagrams.
 */
#ifndef WEIR_JOBMANAGER_CORE_JM_H
#define WEIR_JOBMANAGER_CORE_JM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/options.h"
#include "control.pb-c.h"
#include "graph/plan.h"
#include "jobmanager/core/head.h"

#define WEIR_JM_JOB_ID_SIZE 33      /* 32 hex digits */
#define WEIR_JM_EXECUTOR_ID_SIZE 33 /* 32 hex digits */
#define WEIR_JM_TM_ID_SIZE 64
#define WEIR_JM_PEER_SIZE 64 /* as WEIR_PEER_ID_SIZE */
#define WEIR_JM_HOST_SIZE 256
#define WEIR_JM_STATUS_SIZE 256
#define WEIR_JM_SLOTS_MAX 4096 /* of one TaskManager */
#define WEIR_JM_TASKMANAGERS_MAX 4096

struct weir_jm; /* opaque */

/* --- Options */

struct weir_jm_options {
    uint64_t leader_epoch;             /* from 1; greater than that of every earlier JobManager of this cluster */
    uint64_t seed;                     /* of ids and jitter: random in production */
    int64_t heartbeat_interval_ms;     /* heartbeat.interval */
    int64_t heartbeat_timeout_ms;      /* heartbeat.timeout: T_dead; at least 3 intervals */
    int64_t executor_start_timeout_ms; /* from StartExecutor to READY, and from DeployTasks to INITIALIZING; 60 s */
    int64_t
        kill_timeout_ms; /* from a kill that was acknowledged to its EXITED report; then the job goes on without; 15 s */
    int64_t resend_ms;   /* 1 s */
    int window;          /* commands in flight to one TaskManager; 32 */
    int outbox_max;      /* commands waiting for one TaskManager; 4096 */
    int jobs_ended_max;  /* terminal jobs kept; 100 */
    int jobs_max;        /* jobs that have not ended; 1000 */
    int exceptions_max;  /* kept per job; 16 */
    bool recovers;       /* the object store is asked for jobs of earlier JobManagers, and they go on */
    int64_t headless_grace_ms; /* objects of a submission that was not accepted for so long go; 10 min */
    int64_t
        list_interval_ms; /* then how often it is asked again: one that was replaced may yet have accepted a job; 1 min */
};
/* The defaults above, with Flink's heartbeats (10 s, 50 s); epoch and seed 1. */
void weir_jm_options_init(struct weir_jm_options *options);

enum weir_jm_restart_type {
    WEIR_JM_RESTART_NONE,
    WEIR_JM_RESTART_FIXED_DELAY,
    WEIR_JM_RESTART_EXPONENTIAL_DELAY,
    WEIR_JM_RESTART_FAILURE_RATE
};

/* What becomes of the checkpoints of a job that was cancelled or has failed; those of one that has FINISHED go. */
enum weir_jm_retention {
    WEIR_JM_RETENTION_NONE,                   /* NO_EXTERNALIZED_CHECKPOINTS: they go */
    WEIR_JM_RETENTION_DELETE_ON_CANCELLATION, /* kept when it failed */
    WEIR_JM_RETENTION_RETAIN_ON_CANCELLATION  /* kept */
};

/* What of the configuration a job's life depends on. */
struct weir_jm_job_options {
    enum weir_jm_restart_type restart;
    int64_t fixed_attempts, fixed_delay_ms; /* restart-strategy.fixed-delay.* : 1, 1 s */
    int64_t exponential_initial_ms,
        exponential_max_ms; /* .exponential-delay.initial-backoff, .max-backoff: 1 s, 1 min */
    double exponential_multiplier, exponential_jitter; /* .backoff-multiplier 1.5, .jitter-factor 0.1 */
    int64_t exponential_reset_ms;                      /* .reset-backoff-threshold 1 h */
    int64_t exponential_attempts;                      /* .attempts-before-reset-backoff: -1 without end */
    int64_t rate_max, rate_interval_ms, rate_delay_ms; /* .failure-rate.max-failures-per-interval 1, 1 min, 1 s */
    int64_t cancellation_timeout_ms; /* task.cancellation.timeout: 180 s; then the executor is killed */
    bool outlives_jobmanager;        /* a later one goes on with it also where there is no checkpoint: from the start */
    int64_t checkpoint_interval_ms;  /* execution.checkpointing.interval; 0: only those that are asked for */
    int64_t checkpoint_timeout_ms;   /* .timeout: 10 min */
    int64_t checkpoint_pause_ms;     /* .min-pause: 0 */
    int64_t checkpoints_concurrent;  /* .max-concurrent-checkpoints: 1 */
    int64_t checkpoints_tolerable;   /* .tolerable-failed-checkpoints: 0 */
    int64_t checkpoint_gc_grace_ms;  /* .gc-grace: 1 min */
    int64_t checkpoint_gc_sweep_ms;  /* .gc-sweep-interval: 10 min */
    enum weir_jm_retention retention; /* .externalized-checkpoint-retention */
    int64_t checkpoints_retained;     /* .num-retained: 1 */
};
void weir_jm_job_options_init(struct weir_jm_job_options *options); /* the defaults above; restart NONE */
/* One option by its Flink key. WEIR_ERR_NOT_FOUND: not a key of this table (not an error to the caller, perhaps);
 * WEIR_ERR_INVALID: value of a wrong type or out of range. */
weir_err weir_jm_job_options_set(struct weir_jm_job_options *options, const char *key, const char *value,
                                 struct weir_error *error);

/* --- Events */

/* What a person asks of a job's checkpoints, and asks after by the id that he gave. One with an id that is known already changes nothing. */
enum weir_jm_operation_kind {
    WEIR_JM_OPERATION_CHECKPOINT, /* one now */
    WEIR_JM_OPERATION_SAVEPOINT,  /* one in a directory below `target` */
    WEIR_JM_OPERATION_STOP,       /* the same, and nothing after it: then the job is FINISHED */
    WEIR_JM_OPERATION_RESCALE     /* a checkpoint, and the job goes on from it with the tasks of another plan */
};
struct weir_jm_request {
    enum weir_jm_operation_kind kind;
    const char *id;      /* 32 hex */
    const char *failure; /* it has failed before it came here: this is why; NULL: it has not */
    const char *target;  /* SAVEPOINT, STOP: URI of the directory in which the savepoint's own is made */
    bool drain;          /* STOP: sources end first, as if their input did; then the savepoint is the last checkpoint */
    struct weir_plan *take_plan; /* RESCALE: of the same graph; owned by the core from here */
    int parallelism;             /* RESCALE: of operators without one */
};

enum weir_jm_event_kind {
    WEIR_JM_EVENT_TICK,   /* the clock reached wake_at_ms (early or late does no harm) */
    WEIR_JM_EVENT_SUBMIT, /* answered by a REPLY */
    WEIR_JM_EVENT_CANCEL, /* answered by a REPLY: WEIR_OK (also when it is cancelling or canceled already), NOT_FOUND, EXISTS
                                   (it has ended otherwise, or its output is being published) */
    WEIR_JM_EVENT_OPERATION, /* of `operation`; answered by a REPLY as soon as it is known: OK, FULL (too many are under way) */
    WEIR_JM_EVENT_MESSAGE,      /* from a TaskManager's line */
    WEIR_JM_EVENT_DISCONNECTED, /* the transport says that this peer is gone */
    WEIR_JM_EVENT_STORED,       /* job_id, checkpoint: answers STORE_PUT; text: why it failed, NULL: it is durable */
    WEIR_JM_EVENT_HEAD_PUT,     /* job_id, put_result, tag: answers HEAD_PUT */
    WEIR_JM_EVENT_HEAD_GOT,     /* job_id, get_result, tag, nonce, leader_epoch: answers HEAD_GET */
    WEIR_JM_EVENT_JOB_STORED,   /* job_id, text (why it failed; NULL: durable): answers JOB_STORE */
    WEIR_JM_EVENT_JOBS_LISTED, /* objects (their keys only: "jobs/<id>/"), text (why it failed, or NULL): answers JOBS_LIST */
    WEIR_JM_EVENT_JOB_DELETED,   /* job_id: answers STORE_DROP of all that a job has, whether it went well or not */
    WEIR_JM_EVENT_STORE_LISTED,  /* job_id, request, objects, more, text (why it failed, or NULL): answers STORE_LIST */
    WEIR_JM_EVENT_STORE_DELETED, /* job_id, text (why some may be left; NULL: they are gone): answers STORE_DELETE */
    WEIR_JM_EVENT_JOB_READ       /* job_id, read: answers JOB_READ */
};

struct weir_jm_object {
    const char *key; /* "jobs/<id>/..." */
    int64_t age_ms;  /* since it was written, by the store's clock */
};

/* A job as it is in the object store. */
enum weir_jm_read_result {
    WEIR_JM_READ_OK,
    WEIR_JM_READ_ABSENT, /* it has no HEAD */
    WEIR_JM_READ_FAILED, /* the store did not answer: it is asked again */
    WEIR_JM_READ_CORRUPT /* something cannot be read as what was written: `text` names it */
};
struct weir_jm_read {
    enum weir_jm_read_result result;
    const char *text;            /* FAILED, CORRUPT */
    const Weir__Head *head;      /* NULL: there is none, or it is what is corrupt */
    const char *tag;             /* of that HEAD */
    struct weir_plan *take_plan; /* of the graph that HEAD names; CORRUPT: it may have no operators */
    const uint8_t *graph;        /* copied */
    size_t graph_size;
    struct weir_jm_job_options options;
    Weir__Snapshot *
        *take_snapshots; /* by head->retained; on the heap; one that is NULL cannot be read as what HEAD names */
};

/* A savepoint or a checkpoint of another job: its objects are copied, the job depends on it no longer than that. */
struct weir_jm_restore {
    Weir__Snapshot *take_snapshot;
    const char *path;        /* as people know it */
    const char *uri;         /* the store in which its objects have the names that the snapshot says */
    bool allow_non_restored; /* state of operators that the job does not have is left behind */
    bool claim;              /* a savepoint goes when the job has a checkpoint of its own */
};

struct weir_jm_event {
    enum weir_jm_event_kind kind;
    int64_t now_ms;     /* monotonic, never less than in the event before */
    int64_t wall_ms;    /* since 1970: only shown, never decided on */
    uint64_t request;   /* SUBMIT, CANCEL, OPERATION: returned in the REPLY. STORE_LISTED: the STORE_LIST's */
    const char *job_id; /* SUBMIT, CANCEL, OPERATION: 32 hex */
    /* SUBMIT */
    struct weir_plan *take_plan; /* owned by the core from here, also when it is refused */
    const uint8_t *graph;        /* the serialized JobGraph that the plan was made of; copied */
    size_t graph_size;
    struct weir_jm_job_options job_options;
    const struct weir_key_value *configuration; /* handed to executors (StartExecutor.configuration); copied */
    int configuration_count;
    const struct weir_jm_restore *restore; /* what the job begins with; NULL: nothing. Only with `durable` */
    bool durable;                          /* answered when graph, code and HEAD are in the store */
    /* OPERATION */
    struct weir_jm_request operation;
    /* MESSAGE, DISCONNECTED */
    const char *peer;             /* routing id */
    const Weir__Control *control; /* borrowed */
    /* STORED, HEAD_* */
    uint64_t checkpoint;
    const char *text;
    enum weir_head_put_result put_result;
    enum weir_head_get_result get_result;
    const char *tag;
    const uint8_t *nonce;  /* WEIR_HEAD_NONCE_SIZE bytes */
    uint64_t leader_epoch; /* of that HEAD */
    /* JOBS_LISTED, STORE_LISTED, JOB_READ */
    const struct weir_jm_object *objects; /* sorted by key */
    int object_count;
    bool more; /* behind the last one */
    const struct weir_jm_read *read;
};

/* --- Effects: valid until the next step */

enum weir_jm_effect_kind {
    WEIR_JM_EFFECT_SEND,        /* control to peer; what cannot be sent is dropped (the protocol resends) */
    WEIR_JM_EFFECT_REPLY,       /* to request: code, text */
    WEIR_JM_EFFECT_LOG,         /* level, job_id (may be NULL), text */
    WEIR_JM_EFFECT_TM_LOST,     /* taskmanager_id, peer, lost, text: for the log (no LOG beside it) and metrics */
    WEIR_JM_EFFECT_JOB_ENDED,   /* job_id: terminal; what io keeps only for running it can go */
    WEIR_JM_EFFECT_JOB_DROPPED, /* job_id: forgotten (more than jobs_ended_max) */
    WEIR_JM_EFFECT_STORE_PUT, /* job_id, checkpoint, text (key), bytes, size: an object that is written once; then STORED */
    WEIR_JM_EFFECT_STORE_COPY, /* job_id, checkpoint: `copies` from from_uri to to_uri, then the object `text` (key), bytes, size; STORED */
    WEIR_JM_EFFECT_STORE_DROP, /* job_id, text: every object whose key begins so, if none is younger than age_ms: the whole job; then JOB_DELETED.
                                  Or from_uri: a savepoint; no answer */
    WEIR_JM_EFFECT_STORE_LIST, /* job_id, request, text: objects whose key begins so and is greater than `after`, in order, so many as make a page; then STORE_LISTED */
    WEIR_JM_EFFECT_STORE_DELETE, /* job_id, keys, key_count: these objects can go; then STORE_DELETED */
    WEIR_JM_EFFECT_STORE_SWEEP, /* job_id, text: what writers that died left there that no listing shows, begun age_ms ago or before; no answer */
    WEIR_JM_EFFECT_HEAD_PUT, /* job_id, bytes, size, tag (NULL: there must be none): jobs/<job_id>/HEAD; then HEAD_PUT */
    WEIR_JM_EFFECT_HEAD_GET, /* job_id; then HEAD_GOT */
    WEIR_JM_EFFECT_JOB_STORE, /* job_id, bytes, size (the graph), text (SHA-256 of its code, or ""): both; then JOB_STORED */
    WEIR_JM_EFFECT_JOBS_LIST, /* the jobs that have objects; then JOBS_LISTED */
    WEIR_JM_EFFECT_JOB_READ,  /* job_id: HEAD, and the graph, code and metadata that it names; then JOB_READ */
    WEIR_JM_EFFECT_FENCED     /* a higher leader epoch exists: text; the process should end */
};

enum weir_jm_lost { WEIR_JM_LOST_HEARTBEAT, WEIR_JM_LOST_DISCONNECT, WEIR_JM_LOST_NEW_SESSION, WEIR_JM_LOST_OUTBOX };
enum weir_jm_log_level { WEIR_JM_LOG_INFO, WEIR_JM_LOG_WARN, WEIR_JM_LOG_ERROR };

struct weir_jm_copy {
    const char *from, *to; /* keys */
    int64_t size;          /* so much of it is needed */
    int check_count;
    struct weir_jm_copy_check { /* parts of it, and what they must be */
        int64_t offset, size;
        uint32_t crc32c;
    } * checks;
};

struct weir_jm_effect {
    enum weir_jm_effect_kind kind;
    enum weir_jm_log_level level;
    enum weir_jm_lost lost;
    uint64_t request;
    enum weir_err_code code;
    const char *peer;
    const char *taskmanager_id;
    const char *job_id;
    const char *text;
    const Weir__Control *control;
    uint64_t checkpoint;
    const uint8_t *bytes;
    size_t size;
    const char *tag;
    const char *from_uri, *to_uri; /* STORE_COPY; STORE_DROP of a savepoint: from_uri. NULL: the checkpoint storage */
    const struct weir_jm_copy *copies;
    int copy_count;
    const char *const *keys;
    int key_count;
    const char *after; /* STORE_LIST */
    int64_t age_ms;    /* STORE_DROP, STORE_SWEEP */
};

struct weir_jm_effects {
    const struct weir_jm_effect *items;
    int count;
    int64_t wake_at_ms; /* send a TICK then (monotonic); INT64_MAX: no need */
};

struct weir_jm *weir_jm_new(const struct weir_jm_options *options);
void weir_jm_free(struct weir_jm *jm); /* NULL is allowed */
/* `effects` points into the core; the caller frees nothing. */
void weir_jm_step(struct weir_jm *jm, const struct weir_jm_event *event, struct weir_jm_effects *effects);

/* --- What REST and tests read. Pointers are good until the next step. */

enum weir_job_state { /* Flink's JobStatus */
                      WEIR_JOB_INITIALIZING,
                      WEIR_JOB_CREATED,
                      WEIR_JOB_RUNNING,
                      WEIR_JOB_FAILING,
                      WEIR_JOB_FAILED,
                      WEIR_JOB_CANCELLING,
                      WEIR_JOB_CANCELED,
                      WEIR_JOB_FINISHED,
                      WEIR_JOB_RESTARTING,
                      WEIR_JOB_STATES
};
const char *weir_job_state_name(enum weir_job_state state); /* "RUNNING" */
bool weir_job_state_terminal(enum weir_job_state state);
#define WEIR_JM_TASK_STATES 10                           /* Weir__TaskState: its values are 0..9 */
const char *weir_task_state_name(Weir__TaskState state); /* "DEPLOYING" */
bool weir_task_state_terminal(Weir__TaskState state);

/* One subtask and its current execution. */
struct weir_jm_task {
    int vertex, subtask; /* of the plan */
    int region;          /* plan->task_regions */
    int shared_slot;     /* index in job->slots */
    uint32_t attempt;    /* from 1; grows with every restart of its region. (Flink's REST counts from 0.) */
    Weir__TaskState state;
    int64_t timestamps_ms[WEIR_JM_TASK_STATES]; /* wall clock of entering each state in this attempt; -1: not entered */
    char taskmanager_id[WEIR_JM_TM_ID_SIZE];    /* "": not deployed */
    char host[WEIR_JM_HOST_SIZE];
    uint32_t data_port;
    char executor_id[WEIR_JM_EXECUTOR_ID_SIZE]; /* "": not deployed */
    const Weir__TaskMetrics *metrics;           /* the last ones; NULL: none yet */
    const Weir__Control *finished;              /* its FINISHED report (committables); NULL: not finished */
    int64_t deadline_ms;                        /* monotonic: of DEPLOYING or CANCELING; INT64_MAX: none */
};

struct weir_jm_exception {
    int64_t wall_ms;
    char *task_name; /* "filter -> Sink: out (1/2) - execution #0"; "": not a task's */
    char taskmanager_id[WEIR_JM_TM_ID_SIZE];
    char *endpoint;   /* "host:port" or "" */
    uint32_t attempt; /* 0: not a task's */
    Weir__Failure *failure;
};

struct weir_jm_retained { /* a complete checkpoint */
    uint64_t id;
    char metadata[128];                 /* key of its metadata */
    char sha256[65];                    /* of that object */
    int64_t size_bytes;                 /* of all state */
    int64_t triggered_ms, completed_ms; /* wall */
};

struct weir_jm_checkpoint_part {                /* a subtask's */
    int64_t acknowledged_ms;                    /* wall; -1: not here; 0: it had FINISHED */
    int64_t size_bytes, new_bytes;              /* of all that it needs; of that what this one has written */
    int64_t alignment_ms, persisted_bytes;      /* of its barrier; of rows that it overtook */
    int64_t processed_bytes, sync_ms, async_ms; /* see CheckpointReport */
    bool unaligned;
};

/* One of the last checkpoints, for REST. */
#define WEIR_JM_CHECKPOINTS_KEPT 10 /* Flink's web.checkpoints.history */
enum weir_jm_checkpoint_status {
    WEIR_JM_CHECKPOINT_IN_PROGRESS,
    WEIR_JM_CHECKPOINT_COMPLETED,
    WEIR_JM_CHECKPOINT_FAILED
};
struct weir_jm_checkpoint {
    uint64_t id;
    enum weir_jm_checkpoint_status status;
    bool savepoint;
    char *path;                     /* of a savepoint: its directory; else NULL */
    int64_t triggered_ms, ended_ms; /* wall; -1: has not */
    int64_t size_bytes;             /* of all state; 0 until all parts are here */
    int64_t acknowledged_ms;        /* wall: the newest part; -1: none yet */
    uint32_t tasks_version;         /* job->tasks_version then: parts are by that job's tasks */
    int task_count;
    struct weir_jm_checkpoint_part *parts; /* by task */
    int acknowledged;                      /* subtasks whose part is here; those included that had FINISHED */
    char *failure;                         /* FAILED: why */
};

enum weir_jm_operation_state { WEIR_JM_OPERATION_IN_PROGRESS, WEIR_JM_OPERATION_COMPLETED, WEIR_JM_OPERATION_FAILED };
#define WEIR_JM_OPERATIONS_MAX 256 /* known at a time: the oldest that has ended goes */
struct weir_jm_operation {
    char id[WEIR_JM_JOB_ID_SIZE], job_id[WEIR_JM_JOB_ID_SIZE];
    enum weir_jm_operation_kind kind;
    enum weir_jm_operation_state state;
    uint64_t checkpoint; /* 0: not begun */
    char *target;
    bool drain;
    char *location;         /* of the savepoint, once it is begun; NULL */
    char *failure;          /* FAILED: why */
    int64_t deadline_ms;    /* monotonic: of its begin */
    struct weir_plan *plan; /* RESCALE: owned, until it has begun; NULL then */
    int parallelism;
    bool replanned; /* RESCALE: the tasks are the new ones */
    bool ran;       /* RESCALE: and have all run */
};

struct weir_jm_slot { /* of a job: one subtask of each vertex of a slot sharing group */
    const char *group;
    int index;                               /* the subtasks in it have this index */
    struct weir_jm_taskmanager *taskmanager; /* NULL: waited for */
    int slot;                                /* of the TaskManager */
    char home[WEIR_JM_TM_ID_SIZE];           /* where it was last, and its state may have copies; "": nowhere */
};

struct weir_jm_job {
    char id[WEIR_JM_JOB_ID_SIZE];
    const char *name;
    enum weir_job_state state;
    int64_t timestamps_ms[WEIR_JOB_STATES]; /* wall; -1: not entered. Of the last entry where there were several */
    int64_t started_ms;                     /* wall: submission */
    int64_t ended_ms;                       /* wall; -1: has not */
    int64_t modified_ms;                    /* wall: last change of the job's or a task's state */
    uint64_t version;                       /* grows with every such change */
    char status
        [WEIR_JM_STATUS_SIZE]; /* a sentence while something is waited for: "waiting for 2 more slots (4 needed, ...)"; else "" */
    const struct weir_plan *plan;
    uint32_t tasks_version; /* grows when the tasks are others (a change of parallelism) */
    int task_count;
    struct weir_jm_task *tasks; /* by vertex, then subtask: plan->vertices[v].first_task + subtask */
    int slot_count;
    struct weir_jm_slot *slots;
    uint64_t restarts;   /* how often regions were restarted (numRestarts) */
    bool committing;     /* all tasks FINISHED, output being published: cannot be cancelled any more */
    int exception_count; /* newest first */
    struct weir_jm_exception *exceptions;
    bool exceptions_truncated;
    int retained_count; /* complete checkpoints that HEAD names, oldest first */
    struct weir_jm_retained *retained;
    uint64_t checkpoints_completed, checkpoints_failed; /* ever */
    int checkpoint_count;                               /* newest first */
    struct weir_jm_checkpoint *checkpoints;
    bool checkpointed; /* beside its last one there has been one, or one was begun */
    bool restored;     /* it began with a savepoint or another job's checkpoint */
    uint64_t restored_id;
    int64_t restored_ms; /* wall */
    bool restored_savepoint;
    char *restored_path;
    const Weir__Failure *cause; /* of FAILING, FAILED; NULL otherwise. Also the newest exception */
    struct weir_jm_job_options options;
    const struct weir_key_value *configuration;
    int configuration_count;
    struct weir_jm_job_int *in; /* core only */
};

struct weir_jm_taskmanager {
    char id[WEIR_JM_TM_ID_SIZE];
    char peer[WEIR_JM_PEER_SIZE];
    char host[WEIR_JM_HOST_SIZE];
    uint64_t session;
    int slot_count, slots_free;
    uint32_t data_port, pid, cpu_cores;
    int64_t memory_bytes;
    char *log_directory;
    int64_t registered_ms;         /* wall */
    int64_t heartbeat_ms;          /* monotonic: last heartbeat's receipt */
    int64_t heartbeat_wall_ms;     /* the same by the wall clock */
    Weir__ProcessMetrics *process; /* of the last heartbeat; NULL before */
    struct weir_jm_tm_int *in;     /* core only */
};

/* Jobs in order of submission, ended ones included. */
int weir_jm_job_count(const struct weir_jm *jm);
/* False: jobs of earlier JobManagers may be in the store that are not known here yet. */
bool weir_jm_knows_all_jobs(const struct weir_jm *jm);
const struct weir_jm_job *weir_jm_job_at(const struct weir_jm *jm, int index);
const struct weir_jm_job *weir_jm_job_find(const struct weir_jm *jm, const char *job_id); /* NULL: unknown */
/* Flink's aggregate state of a vertex, from its subtasks' states. */
Weir__TaskState weir_jm_vertex_state(const struct weir_jm_job *job, int vertex);

/* A copy of the graph as submitted; freed by the caller. */
uint8_t *weir_jm_job_graph(const struct weir_jm_job *job, size_t *size);
/* NULL: there is none, or it ended long ago. */
const struct weir_jm_operation *weir_jm_operation_find(const struct weir_jm *jm, const char *id);

int weir_jm_taskmanager_count(const struct weir_jm *jm);
const struct weir_jm_taskmanager *weir_jm_taskmanager_at(const struct weir_jm *jm, int index);
const struct weir_jm_taskmanager *weir_jm_taskmanager_find(const struct weir_jm *jm, const char *taskmanager_id);
/* The job that has this slot; NULL: it is free, or still held by the executor of a job that has ended. */
const struct weir_jm_job *weir_jm_slot_job(const struct weir_jm_taskmanager *taskmanager, int slot);
/* The executor that holds this slot ("": none). */
const char *weir_jm_slot_executor(const struct weir_jm_taskmanager *taskmanager, int slot);

/* Executors, those included whose job has ended and whose exit is waited for. */
enum weir_jm_executor_state { WEIR_JM_EXECUTOR_STARTING, WEIR_JM_EXECUTOR_READY, WEIR_JM_EXECUTOR_STOPPING };
struct weir_jm_executor_view {
    const char *id, *job_id, *taskmanager_id;
    enum weir_jm_executor_state state;
    bool detached; /* no job waits for it any more */
    const char *endpoint;
    uint32_t pid;
};
int weir_jm_executor_count(const struct weir_jm *jm);
struct weir_jm_executor_view weir_jm_executor_at(const struct weir_jm *jm, int index);
/* Commands to this TaskManager that are not acknowledged: in flight, and all. */
int weir_jm_commands_in_flight(const struct weir_jm_taskmanager *taskmanager);
int weir_jm_commands_waiting(const struct weir_jm_taskmanager *taskmanager);
/* Of everything that decisions depend on except timers and metrics: two equal digests, two equal states (tests/sim). */
uint64_t weir_jm_digest(const struct weir_jm *jm);

#endif
