/* What the REST layer knows of a cluster: a table of functions that the JobManager fills (jobmanager/io/view.c; tests: a fake).
 *
 * Rules for the one who fills it
 * - Functions are called by several threads of the HTTP server at a time. The ones that read copy what they give, under the core's
 *   lock, into the caller's arena; so nothing that they return points into the core.
 * - Strings are never NULL ("" instead), unless said otherwise. Times are wall clock ms; 0: not entered, -1: open end.
 * - submit, cancel, plan, build may block, bounded; they are called on threads that may.
 */
#ifndef WEIR_JOBMANAGER_REST_CLUSTER_VIEW_H
#define WEIR_JOBMANAGER_REST_CLUSTER_VIEW_H

#include "base/op_metrics.h"
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/options.h"

/* In Flink's order where it matters to nobody: the numbers equal enum weir_job_state of the core as far as that goes. */
enum weir_view_job_state {
    WEIR_VIEW_JOB_INITIALIZING,
    WEIR_VIEW_JOB_CREATED,
    WEIR_VIEW_JOB_RUNNING,
    WEIR_VIEW_JOB_FAILING,
    WEIR_VIEW_JOB_FAILED,
    WEIR_VIEW_JOB_CANCELLING,
    WEIR_VIEW_JOB_CANCELED,
    WEIR_VIEW_JOB_FINISHED,
    WEIR_VIEW_JOB_RESTARTING,
    WEIR_VIEW_JOB_SUSPENDED,
    WEIR_VIEW_JOB_RECONCILING,
    WEIR_VIEW_JOB_STATES
};
extern const char *const weir_view_job_state_names[WEIR_VIEW_JOB_STATES];

/* The numbers of Weir__TaskState. */
enum weir_view_task_state {
    WEIR_VIEW_TASK_CREATED,
    WEIR_VIEW_TASK_SCHEDULED,
    WEIR_VIEW_TASK_DEPLOYING,
    WEIR_VIEW_TASK_INITIALIZING,
    WEIR_VIEW_TASK_RUNNING,
    WEIR_VIEW_TASK_FINISHED,
    WEIR_VIEW_TASK_CANCELING,
    WEIR_VIEW_TASK_CANCELED,
    WEIR_VIEW_TASK_FAILED,
    WEIR_VIEW_TASK_RECONCILING,
    WEIR_VIEW_TASK_STATES
};
extern const char *const weir_view_task_state_names[WEIR_VIEW_TASK_STATES];

struct weir_view_lane { /* a partition that a source reads; -1: not known */
    const char *topic;
    int partition;
    int64_t next, committed, lag;
};

struct weir_view_operator { /* of a task */
    const char *op;         /* its name in the operator table: "source", "filter", "sink" */
    const char *name;
    uint64_t records_in, records_out, records_bad, late_dropped;
    int64_t watermark_in_ms, watermark_out_ms; /* INT64_MIN: none yet */
    int64_t numbers[WEIR_OP_METRICS];          /* WEIR_OP_METRIC_NONE: it has none such */
    int lane_count;
    const struct weir_view_lane *lanes;
};

struct weir_view_task {
    int subtask;
    int attempt; /* from 0, as Flink shows it */
    enum weir_view_task_state state;
    int64_t timestamps_ms[WEIR_VIEW_TASK_STATES]; /* of entering each; 0: not */
    const char *taskmanager_id;                   /* "": not deployed */
    const char *host;
    int data_port;
    uint64_t records_in, records_out, bytes_in, bytes_out;
    uint64_t busy_ms, idle_ms, backpressured_ms; /* accumulated */
    bool metrics_complete;                       /* numbers of this attempt have arrived */
    int64_t watermark_ms;                        /* INT64_MIN: none yet */
    int operator_count;
    const struct weir_view_operator *operators;
};

struct weir_view_vertex {
    const char *id; /* 32 hex */
    const char *name;
    const char *slot_sharing_group; /* its name */
    int parallelism, max_parallelism;
    enum weir_view_task_state state;    /* Flink's aggregate */
    const struct weir_view_task *tasks; /* parallelism of them, by subtask */
};

struct weir_view_exception {
    int64_t at_ms;
    const char *name; /* "UserCodeCrash" */
    const char *message;
    const char *stack;                    /* lines, or "" */
    const char *operator_name, *position; /* or "" */
    const char *task_name;                /* "map (1/2) - execution #0", or "" */
    const char *endpoint;                 /* "host:port", or "" */
    const char *taskmanager_id;
};

struct weir_view_job {
    const char *id; /* 32 hex */
    const char *name;
    enum weir_view_job_state state;
    const char *status; /* a sentence while it waits for something ("waiting for 2 more slots"), or "" */
    int64_t timestamps_ms[WEIR_VIEW_JOB_STATES]; /* 0: not entered */
    int64_t start_ms, end_ms /* -1: open */, modified_ms;
    int64_t restarts;
    int parallelism, max_parallelism; /* of the job */
    int task_counts[WEIR_VIEW_TASK_STATES], task_total;
    const char *restart_strategy; /* restart-strategy.type */
    const char *code_sha256;      /* of its shared object, or "" */
    /* WEIR_VIEW_VERTICES */
    int vertex_count;
    const struct weir_view_vertex *vertices;
    /* WEIR_VIEW_PLAN: weir_plan_json() as text */
    const char *plan_json;
    /* WEIR_VIEW_EXCEPTIONS: newest first */
    int exception_count;
    const struct weir_view_exception *exceptions;
    bool exceptions_truncated;
    /* WEIR_VIEW_CONFIGURATION: what the job set itself */
    int configuration_count;
    const struct weir_key_value *configuration;
};
enum weir_view_parts {
    WEIR_VIEW_VERTICES = 1,
    WEIR_VIEW_PLAN = 2,
    WEIR_VIEW_EXCEPTIONS = 4,
    WEIR_VIEW_CONFIGURATION = 8
};

struct weir_view_checkpoint_part {
    int64_t acknowledged_ms;               /* -1: not here; 0: not known when */
    int64_t size_bytes, new_bytes;         /* of its state; of that what this checkpoint has written */
    int64_t alignment_ms, persisted_bytes; /* of its barrier; of rows that it overtook */
    int64_t processed_bytes;               /* of rows that the subtask took during the alignment */
    int64_t sync_ms, async_ms;             /* while it stood; until all was written */
    bool unaligned;
};
struct weir_view_checkpoint_vertex {
    const char *id;
    int part_count;
    const struct weir_view_checkpoint_part *parts; /* by subtask */
};
enum weir_view_checkpoint_status {
    WEIR_VIEW_CHECKPOINT_IN_PROGRESS,
    WEIR_VIEW_CHECKPOINT_COMPLETED,
    WEIR_VIEW_CHECKPOINT_FAILED
};
struct weir_view_checkpoint {
    uint64_t id;
    enum weir_view_checkpoint_status status;
    bool savepoint, unaligned, discarded;
    int64_t triggered_ms, ended_ms /* -1: has not */, acknowledged_ms /* -1: not at all */;
    int64_t size_bytes, new_bytes, persisted_bytes, processed_bytes;
    int subtasks, acknowledged;
    const char *path;    /* COMPLETED: where it is; "" */
    const char *failure; /* FAILED: why; "" */
    int vertex_count;    /* 0: of tasks that are no more */
    const struct weir_view_checkpoint_vertex *vertices;
};
struct weir_view_checkpoints {
    bool enabled; /* it makes them, or somebody has asked for one; else nothing of the rest */
    const char *mode, *state_backend, *retention;
    int64_t interval_ms /* INT64_MAX: only when they are asked for */, timeout_ms, min_pause_ms, max_concurrent,
        tolerable_failures;
    bool unaligned;
    int64_t aligned_timeout_ms;
    int64_t completed, failed, in_progress; /* ever; now */
    int count;                              /* newest first */
    const struct weir_view_checkpoint *list;
    bool restored;
    uint64_t restored_id;
    int64_t restored_ms;
    bool restored_savepoint;
    const char *restored_path;
};

enum weir_view_operation_kind { /* as enum weir_jm_operation_kind */
                                WEIR_VIEW_OPERATION_CHECKPOINT,
                                WEIR_VIEW_OPERATION_SAVEPOINT,
                                WEIR_VIEW_OPERATION_STOP,
                                WEIR_VIEW_OPERATION_RESCALE
};
struct weir_view_request {
    enum weir_view_operation_kind kind;
    const char *id;        /* 32 hex: to ask after it; one that is known already changes nothing */
    const char *directory; /* SAVEPOINT, STOP; NULL: the configured one */
    bool drain;            /* STOP */
    int parallelism;       /* RESCALE */
};
struct weir_view_operation {
    enum weir_view_operation_kind kind;
    const char *job_id;
    bool ended;
    uint64_t checkpoint;
    const char *location; /* of a savepoint; "" */
    const char *failure;  /* NULL: it has not failed */
};

struct weir_view_taskmanager {
    const char *id, *host;
    int data_port, slots, slots_free, cpu_cores, pid;
    int64_t memory_bytes, heartbeat_wall_ms, registered_ms;
    uint64_t rss_bytes, executor_rss_bytes, cpu_ns;
    uint32_t threads;
    const char *log_directory;         /* on its host */
    bool log_readable_here;            /* this process runs on the same host, so that log_directory can be read */
    int allocated_count;               /* slots in use, one entry each */
    const char *const *allocated_jobs; /* job ids */
};

struct weir_view_submission {
    const void *graph; /* serialized JobGraph */
    size_t graph_size;
    const char *
        unchecked_path; /* a file with these bytes when they come from outside: operators, options, expressions and types
                                   are still to be checked and the graph to be completed; NULL: that was done by build() */
    int parallelism;    /* of operators without one; 0: the graph's, else the default */
    const char *job_id;                         /* 32 hex, or NULL: a new one */
    const char *name;                           /* over the graph's; NULL: the graph's */
    const struct weir_key_value *configuration; /* checked by the one who fills the view */
    int configuration_count;
    const char *savepoint_path; /* NULL: the job begins with nothing */
    bool allow_non_restored, claim;
};

struct weir_view_build { /* a shared object whose graph a child process builds */
    const char *path;
    const char *code_name; /* the uploaded file's own name */
    const char *code_sha256;
    const char *const *arguments; /* of the job, without a program name */
    int argument_count;
};

struct weir_view_fault {
    struct weir_fault_state state;
    const char *taskmanager; /* of another host; "": this one's processes */
};

struct weir_cluster_view {
    void *self;
    /* All jobs in order of submission, without parts. */
    void (*jobs)(void *self, struct weir_arena *arena, const struct weir_view_job **jobs, int *count);
    /* False: the JobManager has just begun and has not read all jobs of the checkpoint storage; a job that is unknown now may be known soon. */
    bool (*knows_all_jobs)(void *self);
    /* One job with the parts asked for. false: unknown. */
    bool (*job)(void *self, const char *job_id, int parts, struct weir_arena *arena, const struct weir_view_job **job);
    void (*taskmanagers)(void *self, struct weir_arena *arena, const struct weir_view_taskmanager **taskmanagers,
                         int *count);
    /* WEIR_OK, NOT_FOUND, EXISTS: ended otherwise (409). OK also when it is cancelling or canceled already. */
    weir_err (*cancel)(void *self, const char *job_id, struct weir_error *error);
    /* Runs the child; *graph (initialised by the caller with a maximum) gets the serialized JobGraph. */
    weir_err (*build)(void *self, const struct weir_view_build *build, struct weir_buf *graph,
                      struct weir_error *error);
    weir_err (*submit)(void *self, const struct weir_view_submission *submission, char job_id[33],
                       struct weir_error *error);
    /* The plan as JSON text ({jid, name, type, nodes}), in the arena. */
    weir_err (*plan)(void *self, const struct weir_view_submission *submission, struct weir_arena *arena,
                     const char **json, struct weir_error *error);
    /* false: unknown. */
    bool (*checkpoints)(void *self, const char *job_id, struct weir_arena *arena,
                        const struct weir_view_checkpoints **checkpoints);
    /* May block, bounded. OK whatever comes of it: operation() says. */
    weir_err (*begin)(void *self, const char *job_id, const struct weir_view_request *request,
                      struct weir_error *error);
    bool (*has_savepoint_dir)(void *self);
    /* Removes a savepoint. May block. */
    weir_err (*dispose)(void *self, const char *path, struct weir_error *error);
    /* false: unknown. */
    bool (*operation)(void *self, const char *id, struct weir_arena *arena, struct weir_view_operation *operation);
    /* Metrics beyond those that REST derives from the above: Prometheus text, appended. May be NULL. */
    void (*print_metrics)(void *self, struct weir_buf *out);
    /* Fault points of all processes; and arming one ("" for `action`: all are disarmed, counts are 0). */
    void (*faults)(void *self, struct weir_arena *arena, const struct weir_view_fault **faults, int *count);
    weir_err (*fault_arm)(void *self, const char *point, const char *action, struct weir_error *error);
};

#endif
