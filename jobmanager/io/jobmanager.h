/* A running JobManager: its core behind a loop of its own. Used by the daemon and by `weir run --local`.
 *
 * Threads: weir_jobmanager_run()'s caller steps the core. Other threads submit, cancel, and read under the lock; they wait for the
 * loop's answer, bounded by REQUEST_TIMEOUT.
 */
#ifndef WEIR_JOBMANAGER_IO_JOBMANAGER_H
#define WEIR_JOBMANAGER_IO_JOBMANAGER_H

#include "base/config.h"
#include "base/error.h"
#include "jobmanager/core/jm.h"
#include "net/curve.h"

struct weir_jobmanager;

struct weir_jobmanager_options {
    void *zmq_context;                /* borrowed; NULL: one of its own */
    const struct weir_curve *curve;   /* borrowed; NULL: TaskManagers come without keys */
    const char *rpc_endpoint;         /* "tcp://127.0.0.1:6123" ("...:0": any port), "inproc://NAME" */
    const struct weir_config *config; /* borrowed */
    /* Where checkpoints are kept when execution.checkpointing.dir is not set; NULL: jobs make none. */
    const char *checkpoint_dir;
    /* Shared objects of jobs, <sha256>.so; stored with submissions, and put there for jobs that are recovered. NULL: none. */
    const char *code_dir;
    /* Jobs of earlier JobManagers that are in the checkpoint storage go on, and those of this one will: submissions of jobs with checkpoints, and
     * where execution.checkpointing.dir is set all, are acknowledged when they are durable. */
    bool recovers;
    uint64_t leader_epoch;
    /* Has a JobManager with this epoch, or a later one, really begun here? A message that says so is no proof: it may be damaged, or a
     * stranger's. Called on the loop's thread; NULL: never. */
    bool (*epoch_exists)(void *arg, uint64_t epoch);
    int stop_fd;                                      /* readable: end; -1: never */
    void (*job_ended)(void *arg, const char *job_id); /* on the loop's thread, under the lock; may be NULL */
    void *arg;
};
/* Binds; nothing runs yet. */
weir_err weir_jobmanager_new(const struct weir_jobmanager_options *options, struct weir_jobmanager **out,
                             struct weir_error *error);
const char *weir_jobmanager_endpoint(const struct weir_jobmanager *jobmanager);
/* Until stop_fd is readable, or another leader has taken over (WEIR_ERR_CANCELED). */
weir_err weir_jobmanager_run(struct weir_jobmanager *jobmanager, struct weir_error *error);
void weir_jobmanager_free(struct weir_jobmanager *jobmanager);

struct weir_jobmanager_submission {
    const uint8_t *graph; /* serialized JobGraph; checked here */
    size_t graph_size;
    const struct weir_key_value *configuration; /* over the graph's own; may be NULL */
    int configuration_count;
    int parallelism;            /* for operators without one; 0: the graph's, else parallelism.default */
    const char *job_id;         /* 32 hex, or NULL: a new one */
    const char *savepoint_path; /* the job begins with it; NULL: with nothing */
    bool allow_non_restored, claim;
};
/* Blocks until the core has answered. job_id has room for 33 bytes. */
weir_err weir_jobmanager_submit(struct weir_jobmanager *jobmanager, const struct weir_jobmanager_submission *submission,
                                char *job_id, struct weir_error *error);
/* WEIR_OK, NOT_FOUND, EXISTS (it has ended otherwise). Blocks until the core has answered. */
weir_err weir_jobmanager_cancel(struct weir_jobmanager *jobmanager, const char *job_id, struct weir_error *error);
struct weir_jobmanager_request {
    enum weir_jm_operation_kind kind;
    const char *id, *job_id;
    const char *directory; /* SAVEPOINT, STOP: NULL: execution.checkpointing.savepoint-dir */
    bool drain;            /* STOP */
    int parallelism;       /* RESCALE */
};
/* Blocks until the core knows it; weir_jm_operation_find() says what came of it, mistakes in the request included. FULL: too many are
 * under way. */
weir_err weir_jobmanager_operation(struct weir_jobmanager *jobmanager, const struct weir_jobmanager_request *wanted,
                                   struct weir_error *error);
bool weir_jobmanager_has_savepoint_dir(const struct weir_jobmanager *jobmanager);
/* Removes a savepoint. Blocks. */
weir_err weir_jobmanager_dispose(struct weir_jobmanager *jobmanager, const char *path, struct weir_error *error);
/* Where checkpoints are kept; NULL: nowhere. */
const char *weir_jobmanager_checkpoint_uri(const struct weir_jobmanager *jobmanager);
/* The plan that a submission would get, without submitting. */
weir_err weir_jobmanager_plan(struct weir_jobmanager *jobmanager, const struct weir_jobmanager_submission *submission,
                              struct weir_plan **plan, struct weir_error *error);

/* Fault points, as struct weir_cluster_view has them. */
struct weir_view_fault;
void weir_jobmanager_faults(struct weir_jobmanager *jobmanager, struct weir_arena *arena,
                            const struct weir_view_fault **faults, int *count);
weir_err weir_jobmanager_fault_arm(struct weir_jobmanager *jobmanager, const char *point, const char *action,
                                   struct weir_error *error);

/* Connections and messages that were turned away on the control line since the start. */
uint64_t weir_jobmanager_refused(const struct weir_jobmanager *jobmanager);
/* The core, for reading; between lock and unlock only. */
const struct weir_jm *weir_jobmanager_lock(struct weir_jobmanager *jobmanager);
void weir_jobmanager_unlock(struct weir_jobmanager *jobmanager);

#endif
