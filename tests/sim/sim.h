/* The cluster simulator: both production cores in a modelled world, from a seed.
 *
 * One thread, one clock (milliseconds), one queue of events ordered by time and number: the same seed gives the same run. The world
 * (sim_world.c: queue, network, faults; sim_nodes.c: the processes that run the cores; sim_exec.c: executors and tasks; sim_plan.c: what
 * the operator submits and which faults happen) knows the truth; sim_check.c compares the cores with it after each step.
 */
#ifndef WEIR_SIM_H
#define WEIR_SIM_H

#include <inttypes.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "jobmanager/core/jm.h"
#include "taskmanager/core/tm.h"
#include "tests/sim/mutants.h"

#define SIM_TMS_MAX 8
#define SIM_SLOTS_MAX 4
#define SIM_JMS_MAX 8
#define SIM_JOBS_MAX 24
#define SIM_TASKS_MAX 64
#define SIM_VERTICES_MAX 16
#define SIM_GROUPS 12   /* key groups: a subtask has some of an operator's state and of a sink's output */
#define SIM_OVERRIDES 4 /* pipeline.parallelism-override: 0 (none) to 3 */
enum { SIM_FLAG_SAVEPOINT = 1, SIM_FLAG_STOP = 2, SIM_FLAG_DRAIN = 4 }; /* of a barrier: enum weir_barrier_flags */
#define SIM_END UINT64_MAX                   /* what follows every checkpoint: the task has finished */
#define SIM_MEMORY_MAX ((uint64_t)300 << 20) /* an executor's budget */
#define SIM_MEMORY_INTERVAL_MS 500           /* how often its supervisor looks */
#define SIM_FAULTS_MAX 64
#define SIM_OPS_MAX 40
#define SIM_RETAINED_MAX 64
#define SIM_SPELLS 4
#define SIM_PENDING_MAX 64
#define SIM_ATTEMPTS_MAX 4096
#define SENT_KEPT 256

/* --- Random numbers: independent streams, so that a choice in one place does not move those of another. */
struct rng {
    uint64_t state;
};
uint64_t rng_next(struct rng *rng);
int rng_range(struct rng *rng, int low, int high); /* both ends included */
bool rng_chance(struct rng *rng, int percent);

/* --- Events */
enum ev_kind {
    EV_WAKE_JM,
    EV_WAKE_TM,
    EV_TO_JM,
    EV_TO_TM,
    EV_JM_DISCONNECTED,
    EV_TM_CONNECTED,
    EV_TM_BROKEN,
    EV_TM_CODE,
    EV_TM_COMMIT,
    EV_TM_KAFKA,
    EV_KAFKA,
    EV_X_SPAWNED,
    EV_X_TO_TM,
    EV_X_EXITED,
    EV_X_MEMORY,
    EV_X_CONTROL,
    EV_X_ACT,
    EV_X_LEASE,
    EV_X_DIE,
    EV_FAULT,
    EV_OP,
    EV_TM_RESTART,
    EV_JM_RESTART,
    EV_STORE_APPLY,
    EV_STORE_REPLY,
    EV_CHECK,
    EV_HEAL
};

struct msg {
    int refs;
    Weir__Control *control;
};

struct ev {
    int64_t at_ms;
    uint64_t seq;
    enum ev_kind kind;
    int a, b, c;
    uint64_t gen;
    struct msg *msg; /* owned reference or NULL */
};

/* --- Processes */
struct jm_node {
    struct weir_jm *core;
    bool alive, fenced;
    int crash_in;             /* effects until it crashes; 0: it does not */
    int64_t crash_restart_ms; /* and when the next one starts, after that */
    int64_t paused_until_ms, offset_ms, wake_at_ms;
    uint64_t epoch, wake_gen;
};

struct tm_node {
    struct weir_tm *core;
    bool alive, gone_for_good;
    int boot;
    char id[32];
    int64_t paused_until_ms, offset_ms, wake_at_ms;
    uint64_t wake_gen;
    int64_t awake_since_ms;                 /* neither stopped nor starting */
    uint64_t epoch_seen;                    /* never goes back */
    uint64_t accepted_session[SIM_JMS_MAX]; /* of this boot, by each JobManager: the highest */
    int slots;
    bool has_code;    /* this boot has fetched it */
    uint32_t commits; /* jobs whose output is being published here */
    struct {
        char executor_id[33];
        int conn;
    } started[64]; /* ring: StartExecutor commands that counted, and where they came from */
    int started_next;
    int conn; /* -1: none */
    uint64_t next_pid;
};

struct conn {
    int tm, boot, jm;
    bool tm_open, jm_open, confused; /* its TaskManager has acknowledged what its JobManager never sent */
    char peer[16];
    uint64_t session;                  /* that the TaskManager opened on it; 0: none yet */
    bool registered;                   /* the JobManager has accepted it and not ended it */
    uint64_t to_jm_taken, to_tm_taken; /* ids delivered in order */
    uint64_t cmd_sent, cmd_acked, rep_sent, rep_acked;
    int64_t cmd_sent_ms[SENT_KEPT], rep_sent_ms[SENT_KEPT];
    int64_t heard_ms; /* when the last heartbeat (or the first Register) that counted reached the JobManager */
    int64_t cmd_last_ms, rep_last_ms; /* when a command or report was last sent or acknowledged */
    int64_t cmd_progress_ms;          /* when a command was last acknowledged, or the first in flight was sent */
    int64_t last_ms[2];               /* arrival of the last message in each direction */
    int64_t full_ms;                  /* when its outbox was full; 0: it was not */
    uint64_t hback_taken;             /* sequence of the newest HeartbeatAck that reached the TaskManager */
    uint64_t hb_taken;                /* sequence of the newest heartbeat that reached the JobManager */
};

enum xtask_state { XT_NONE, XT_STARTING, XT_RUNNING, XT_ENDED };
struct xtask {
    int index; /* in the job */
    uint32_t attempt;
    enum xtask_state state;
    Weir__TaskState last; /* reported */
    bool ignores_cancel, fails_job, asked;
    int64_t stale_since_ms; /* -1: it is current */
    /* checkpoints */
    uint64_t passed;    /* the last barrier that has passed it; at first what it was restored from */
    uint64_t triggered; /* the last one that it was asked to make */
    uint64_t corrupt;   /* it is to begin with this one, of which an object is damaged; 0: it is not */
    bool halted;        /* a barrier that stops has passed it */
    int64_t watermark_ms,
        may_go_ms; /* of an aligned source; since when it has waited though it need not; -1: it has not */
    bool may_end;  /* its time has come, or it was told to end */
    uint64_t
        since[SIM_GROUPS]; /* of its sink: where the output that is not pending yet begins; SIM_END: there is no more */
    struct sim_interval {
        uint32_t groups;
        uint64_t from, to;
        uint64_t since;         /* of a job with Kafka: the last barrier before it, */
        int number;             /* and that of its object in the log */
        int held;               /* transactional id that has it open, too; 0: none */
    } pending[SIM_PENDING_MAX]; /* output of a sink that is not known to be of a complete checkpoint */
    int pending_count;
    int segments;    /* objects of the output log that it has written */
    uint64_t unheld; /* the newest epoch that it has not held: published before it holds another */
    bool lost_held;  /* it has been fenced: a real one fails */
    struct {
        uint64_t checkpoint;
        int txn, epoch;       /* its id, and the producer's */
    } holds[SIM_PENDING_MAX]; /* what is open, in its order */
    int hold_count;
    bool end_written; /* the last ones, too */
};

struct exec {
    char id[33];
    int job;      /* in world.jobs */
    int override; /* of the parallelism, as it was told: its plan */
    int tm, boot, conn;
    uint32_t pid;
    bool exists;            /* the process; a paused or stuck one exists too */
    bool known_exit;        /* its TaskManager has been told */
    bool stuck;             /* does nothing any more, its tasks included; only a kill ends it */
    bool asked;             /* the JobManager told its supervisor to end it */
    bool stray;             /* started by a confused JobManager: nobody knows it */
    bool killed;            /* its supervisor has tried to */
    int64_t lease_sent_ms;  /* until when its supervisor said it may live */
    uint64_t rss_bytes;     /* what its supervisor sees it use */
    int64_t over_budget_ms; /* since when its supervisor has seen it use too much; -1: it has not */
    bool unkillable_until_heal, never_ready, line_open, ready, ending;
    int64_t paused_until_ms, lease_until_ms;
    int64_t orphan_since_ms; /* without a job that wants it; -1 */
    uint32_t slots;
    int64_t others_ms; /* aligned sources elsewhere, as it was told */
    uint64_t lease_gen;
    int task_count;
    struct xtask tasks[SIM_TASKS_MAX];
};

/* --- What is true about a job */
struct sim_operator {
    char uid[40];
    int kind; /* enum weir_state_kind, of its state */
    bool sink;
};
struct sim_task { /* of a plan */
    int vertex, subtask, parallelism, region;
    uint32_t groups; /* set of key groups */
    int sink;        /* its sink's operator; -1: it has none */
    bool aligned;    /* a source of the group */
    bool reads;      /* splits of a coordinator: it ends when it is told to */
    int op_count;
    uint8_t ops[8];     /* its operators */
    uint64_t producers; /* set of tasks */
};
struct sim_plan {
    int task_count, region_count, slots_needed; /* 0 tasks: not made yet */
    struct sim_task tasks[SIM_TASKS_MAX];
};
struct part_bytes { /* a part of a snapshot, of one operator */
    uint16_t op, task;
    uint32_t attempt;
    uint64_t at; /* a checkpoint, or SIM_END */
    uint64_t since[SIM_GROUPS];
};

struct jtask {            /* by its number in the plan of the time; attempts are never those of another plan's */
    uint32_t cancel_sent; /* attempt that CancelTasks was last sent for */
    uint32_t started;     /* the highest attempt that ever ran */
    uint64_t started_set[SIM_ATTEMPTS_MAX / 64];
    uint32_t finished;     /* the highest attempt that has finished; 0: none */
    uint64_t finished_set; /* of attempts, modulo 64 */
    /* as the JobManager showed it last */
    uint32_t attempt;
    Weir__TaskState state;
    bool finished_in_attempt;
    uint64_t finish_passed; /* the last barrier that passed the last attempt that has finished */
};

struct sim_object { /* of a job in the store, those of HEAD, graph and code left out */
    char key[96];
    int64_t at_ms;   /* written */
    int64_t left_ms; /* HEAD has stopped naming something that needs it */
    bool gone;
    bool corrupt; /* damaged */
};

struct sim_checkpoint { /* true, about one checkpoint of a job */
    bool triggered, put, named, published, dropped;
    bool failed;       /* as its JobManager says */
    uint32_t flags;    /* of its barrier */
    int64_t passed_ms; /* HEAD's floor has passed it since then */
    uint64_t complete; /* as its trigger said */
    int64_t triggered_ms;
    Weir__Snapshot *arriving, *metadata; /* on its way; there */
    char sha256[65];
};

struct sim_head { /* a job's HEAD as it is in the store */
    bool exists;
    uint64_t tag, epoch, next, newest, committed_upto, floor;
    enum weir_job_state state;
    uint8_t nonce[WEIR_HEAD_NONCE_SIZE];
    int retained_count;
    uint64_t retained[SIM_RETAINED_MAX];
    uint32_t next_attempt;
    uint8_t *bytes;
    size_t size;
};

struct job {
    char id[33];
    int jm; /* who leads it: who wrote HEAD with the highest epoch, or (not durable) took the submission */
    bool bounded, output, hangs, needs_code;
    bool near_end; /* not much of its input is left */
    bool aligned;  /* its sources are of a group */
    uint64_t aligned_attempts;
    int64_t aligned_run_ms,
        aligned_missing_ms; /* since when its JobManager sees all of them run, or not; -1: nobody knows */
    int parallelism;        /* of vertices without one */
    int quiet;              /* per cent of the barriers that come to a sink when it has written nothing */
    struct sim_operator ops[SIM_VERTICES_MAX];
    int op_count;
    struct sim_plan plans[SIM_OVERRIDES];
    int override; /* as its JobManager shows it: which of them */
    uint32_t tasks_version;
    bool rescaled;          /* a rescale to `override` has been called complete */
    bool all_may_restart;   /* the last barrier was one that stops, or sources were told to end */
    uint64_t import_id;     /* what it begins with; 0: nothing */
    bool import_unfit;      /* it cannot: what an operator keeps by subtask needs as many of them as there were */
    bool imports_stopped;   /* of a job that has stopped with it */
    int claims;             /* savepoint; -1: none */
    bool corrupted;         /* an object was damaged */
    uint64_t newest_healed; /* what HEAD named when the faults ended */
    int64_t fails_until_ms; /* each attempt of it soon fails until then, and the next begins at once; 0: not so */
    bool stored;            /* graph and code are in the store */
    int64_t stored_ms;
    bool acknowledged;       /* its submission */
    bool refused;            /* likewise */
    int64_t cancel_asked_ms; /* the first time, of its present JobManager; -1: not */
    bool cancel_durable;     /* a cancel was acknowledged, and HEAD said so */
    bool final_named;        /* HEAD has named its last checkpoint */
    bool ended_before;       /* under an earlier JobManager than `jm` */
    struct weir_jm_job_options options;
    uint8_t *graph;
    size_t graph_size;
    int slots_needed, task_count, region_count;
    struct jtask tasks[SIM_TASKS_MAX];
    bool region_hit[SIM_TASKS_MAX];      /* since its last restart something happened that allows the next */
    bool region_deployed[SIM_TASKS_MAX]; /* in this attempt */
    int64_t region_hit_ms[SIM_TASKS_MAX];
    /* shadow */
    enum weir_job_state state;
    uint64_t version, restarts;
    int64_t restart_ms[64];
    bool seen;
    int64_t ending_deadline_ms; /* CANCELLING or FAILING must be over; INT64_MAX: neither */
    /* the output store */
    bool fail_job_reported;
    uint64_t region_ended_restarts[SIM_TASKS_MAX];
    int64_t region_ended_ms[SIM_TASKS_MAX]; /* all its tasks have ended since then, not all FINISHED; -1: no */
    bool committed, aborted, commit_asked, commit_failed;
    int commit_tm;     /* connection it was last sent on */
    int abort_conn;    /* AbortOutput was last sent on this connection, */
    uint64_t abort_id; /* with this id; 0: not yet */
    /* checkpoints: sim_store.c */
    bool checkpoints; /* its JobManager keeps it: it has a HEAD, and can make them; ... */
    bool taken_over;  /* by a later JobManager */
    bool periodic;    /* ... and does so by itself, not only when the operator asks */
    bool kafka;       /* its output goes there, by way of a log in the checkpoint */
    bool held;        /* and its sinks hold it in open transactions, too */
    struct sim_head head;
    struct sim_object *objects;
    int object_count, object_capacity;
    bool erased;                            /* all of it was deleted, when it was forgotten */
    struct sim_checkpoint *checkpoint_list; /* by id */
    uint64_t checkpoint_capacity;
    uint64_t published_to[SIM_VERTICES_MAX][SIM_GROUPS]; /* of each sink */
    char (*published)[64];
    int published_count, published_capacity;
    uint64_t commit_checkpoint; /* that commit_tm was asked to publish */
};

/* --- Faults */
enum fault_kind {
    F_TM_CRASH,
    F_TM_PAUSE,
    F_EXEC_CRASH,
    F_EXEC_PAUSE,
    F_EXEC_STUCK,
    F_TASK_FAIL,
    F_JM_CRASH,
    F_JM_PAUSE,
    F_JM_REPLACE,
    F_LINE_BREAK,
    F_PARTITION,
    F_LOSS,
    F_DELAY,
    F_DUP,
    F_SPAWN_FAIL,
    F_CODE_FAIL,
    F_START_STUCK,
    F_DEPLOY_STUCK,
    F_CANCEL_HANG,
    F_UNKILLABLE,
    F_COMMIT_FAIL,
    F_COMMIT_SLOW,
    F_FORGE,
    F_FLAP,
    F_EXEC_GROWS,
    F_CORRUPT,
    F_KINDS
};
struct fault {
    int64_t at_ms, duration_ms;
    enum fault_kind kind;
    int target, value; /* meaning by kind */
    bool off;          /* removed by the shrinker */
};

enum op_kind { OP_SUBMIT, OP_CANCEL, OP_ASK, OP_RESTORE };
struct op {
    int64_t at_ms;
    enum op_kind kind;
    int target;
    bool off;
};

/* What the operator has asked of a job's checkpoints. */
struct sim_operation {
    char id[33];
    enum weir_jm_operation_kind kind;
    int job, jm;
    bool drain, over;
    int override, override_before; /* RESCALE */
    int64_t asked_ms;
};
struct sim_savepoint {
    char uri[96];
    int job;
    uint64_t checkpoint;
    Weir__Snapshot *metadata; /* NULL: it is not complete */
    bool claimed, removed;
    bool stopped; /* its job with it */
};

/* --- "Sometimes": states that must be reached over a set of seeds */
/* clang-format off */
#define SIM_COUNTERS(X)                                                                                           \
    X(events) X(jobs_submitted) X(jobs_finished) X(jobs_failed) X(jobs_canceled) X(tm_lost_heartbeat)             \
    X(tm_lost_disconnect) X(tm_lost_new_session) X(tm_lost_outbox) X(tm_crashed) X(tm_paused) X(jm_crashed) X(jm_paused) X(jm_replaced)     \
    X(jm_fenced) X(lease_ended_executor) X(lease_killed_executor) X(hang_killed_executor) X(memory_killed_executor) X(orphan_killed) X(executor_crashed) X(executor_stuck)                     \
    X(executor_abandoned) X(executor_start_timeout) X(task_start_timeout) X(task_cancel_timeout) X(region_restarted)            \
    X(region_restarted_alone) X(finished_task_rerun) X(cancel_while_restarting) X(cancel_while_failing)           \
    X(cancel_refused_committing) X(failed_by_strategy) X(waited_for_slots) X(gave_way) X(commit_moved) X(commit_failed) X(committed)    \
    X(aborted) X(foreign_executor_stopped) X(duplicate_report) X(duplicate_command) X(gap_report) X(gap_command)  \
    X(stale_attempt_report) X(stale_session_message) X(stale_epoch_message) X(stale_register) X(register_refused) \
    X(window_full) X(resent_command) X(resent_report) X(code_failed) X(spawn_failed) X(channel_broken)            \
    X(late_terminal_report) X(metrics_shown) X(confused_start) X(slot_refused) X(message_lost) X(message_duplicated) X(message_overtaken) X(half_open) X(heartbeat_old) \
    X(checkpoint_complete) X(checkpoint_published) X(published_again) X(restored) X(restored_at_end) X(part_of_finished) X(garbage_deleted) \
    X(store_request_lost) X(store_reply_lost) X(store_write_late) X(store_write_twice) X(store_condition_failed) X(store_put_failed) \
    X(checkpoint_failed) X(checkpoint_subsumed) X(restart_undecided) \
    X(jm_crashed_mid_step) X(taken_over) X(taken_over_uncommitted) X(taken_over_final) X(taken_over_cancelled) X(recovered_ended) X(read_failed) X(read_torn) \
    X(savepoint_complete) X(on_demand) X(on_demand_restored) X(stopped) X(drained) X(rescaled) X(operation_failed) X(imported) X(imported_stopped) X(import_other_parallelism) \
    X(import_refused) X(import_failed) X(savepoint_claimed) X(savepoint_removed) X(fell_back) X(fallback_refused) X(rescale_refused) \
    X(kafka_transaction) X(kafka_second_part) X(kafka_fenced) X(kafka_fenced_open) X(kafka_request_lost) X(kafka_reply_lost) \
    X(kafka_marker_hidden) X(kafka_failed) X(kafka_timed_out) X(kafka_resolved) X(kafka_output_of_another) X(kafka_early) X(kafka_log_gone) \
    X(kafka_held) X(kafka_held_committed) X(kafka_held_fenced) X(kafka_held_from_log) X(kafka_held_left_out) X(kafka_held_taken) \
    X(restored_other_parallelism) X(quiet_barrier) X(aligned_waited) \
    X(crash_at_trigger) X(crash_at_cancel) X(crash_at_deploy) X(crash_at_copy) X(crash_at_metadata) X(crash_at_head) X(crash_at_commit) \
    X(listed_in_pages) X(deletion_failed) X(job_erased) X(submission_not_stored) X(submission_unacknowledged) X(cancel_unrecorded) X(zombie_jobmanager)
/* clang-format on */

enum crash_step { /* as C_crash_at_trigger and what follows it */
                  STEP_NONE,
                  STEP_TRIGGER,
                  STEP_CANCEL,
                  STEP_DEPLOY,
                  STEP_COPY,
                  STEP_METADATA,
                  STEP_HEAD,
                  STEP_COMMIT,
                  STEPS
};

enum counter {
#define X(name) C_##name,
    SIM_COUNTERS(X)
#undef X
        C_COUNT
};

struct world {
    uint64_t seed;
    FILE *trace; /* NULL: none */
    uint64_t hash;
    int64_t now_ms;
    uint64_t next_seq, events;
    struct ev *heap;
    int heap_count, heap_capacity;
    struct rng net, exe, ops, store, align;
    /* shape */
    int tm_count;
    int64_t fault_end_ms;
    struct weir_jm_options jm_options;
    struct weir_tm_options tm_options;
    int job_shape; /* how many jobs fit beside each other, roughly */
    /* processes */
    struct jm_node jms[SIM_JMS_MAX];
    int jm_count, jm; /* current */
    struct tm_node tms[SIM_TMS_MAX];
    struct conn *conns;
    int conn_count, conn_capacity;
    struct exec *execs;
    int exec_count, exec_capacity;
    struct job jobs[SIM_JOBS_MAX];
    int job_count;
    /* plan */
    struct fault faults[SIM_FAULTS_MAX];
    int fault_count;
    struct op ops_list[SIM_OPS_MAX];
    int op_count;
    struct {
        int64_t from_ms, to_ms;
    } spells[SIM_SPELLS]; /* the object store is unwell */
    struct sim_operation operations[SIM_OPS_MAX];
    int operation_count;
    struct sim_savepoint savepoints[SIM_OPS_MAX];
    int savepoint_count;
    int crash_step,
        crash_job;    /* the next time that this is done for that job its JobManager crashes: enum crash_step */
    bool crash_after; /* afterwards; else before */
    struct sim_kafka *kafka;
    struct store_op *store_ops;
    int store_op_count, store_op_capacity;
    /* network and behaviour windows: until when, and how much */
    int64_t window_ms[F_KINDS];
    int window_value[F_KINDS];
    int64_t partition_ms[SIM_TMS_MAX][2]; /* [0]: towards the JobManager, [1]: from it */
    bool partition_holds[SIM_TMS_MAX];    /* messages wait for its end instead of being lost */
    int refused_conn, accepted_conn;      /* of the last RegisterAck sent in this step; -1: none */
    /* phases */
    bool healed, drained;
    int64_t drain_at_ms, end_by_ms;
    bool done;
    uint64_t next_request;
    int submit_request_job[256]; /* by request modulo; -1: not a submission */
    int cancel_request_job[256]; /* by request modulo: what the answer is about; -1: a submission */
    uint8_t job_ended[SIM_JOBS_MAX], job_dropped[SIM_JOBS_MAX]; /* as the JobManager's effects said */
    uint64_t counters[C_COUNT];
    /* failure */
    jmp_buf *escape;
    char failure_name[64];
    char failure[512];
};

/* --- sim_world.c */
struct world *world_new(uint64_t seed);
void world_free(struct world *w);
void world_run(struct world *w); /* returns at rest, or escapes by violate() */
void push(struct world *w, int64_t at_ms, enum ev_kind kind, int a, int b, int c, uint64_t gen, struct msg *take_msg);
struct msg *msg_copy(const Weir__Control *control); /* one reference */
void msg_unref(struct msg *msg);
void trace(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void violate(struct world *w, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void note(struct world *w, uint64_t a, uint64_t b); /* into the trace hash */
static inline bool window_open(const struct world *w, enum fault_kind kind)
{
    return w->now_ms < w->window_ms[kind];
}
static inline void count(struct world *w, enum counter counter)
{
    w->counters[counter]++;
}
/* to_jm: from the TaskManager's side of the connection. */
void net_send(struct world *w, int conn, bool to_jm, const Weir__Control *control);
void net_connect(struct world *w, int tm);
void net_close(struct world *w, int conn, bool tell_jm, bool tell_tm);
const char *body_name(const Weir__Control *control);

/* --- sim_nodes.c */
void jm_start(struct world *w);
void jm_event(struct world *w, int jm, const struct weir_jm_event *event);
void jm_tick(struct world *w, int jm);
void jm_message(struct world *w, int conn, const Weir__Control *control);
void jm_crash(struct world *w, int jm);
void jm_crash_fault(struct world *w, int jm, int64_t restart_after_ms); /* and another starts later */
void tm_start(struct world *w, int tm);
void tm_event(struct world *w, int tm, const struct weir_tm_event *event);
void tm_tick(struct world *w, int tm);
void tm_message(struct world *w, int conn, const Weir__Control *control);
void tm_crash(struct world *w, int tm);
void tm_confuse(struct world *w, int tm); /* its JobManager sends it a StartExecutor that makes no sense */
void tm_commit_now(struct world *w, int tm, const Weir__Control *control);
void tm_committed(struct world *w, int tm, const Weir__CommitOutput *commit, const Weir__Failure *failure);
void node_init_jm_event(struct world *w, int jm, struct weir_jm_event *event, enum weir_jm_event_kind kind);
void node_init_tm_event(struct world *w, int tm, struct weir_tm_event *event, enum weir_tm_event_kind kind);

struct sim_plan *sim_plan(struct job *job, int override);

/* --- sim_exec.c */
void exec_spawn(struct world *w, int tm, const char *executor_id, const char *job_id);
void exec_kill(struct world *w, int tm, const char *executor_id);
void exec_kill_orphan(struct world *w, int tm, const struct weir_tm_orphan *orphan);
void exec_control(struct world *w, int x, const Weir__Control *control);
void exec_to_tm(struct world *w, int x, const Weir__Control *control);

/* --- sim_align.c */
bool align_plan_job(const struct world *w); /* has the job that is submitted next a group? */
void align_act(struct world *w, int x);     /* its sources go on, and it says how far they are */
void align_heard(struct world *w, int x, const Weir__Alignment *alignment);

void exec_act(struct world *w, int x, int task, int act, uint32_t attempt);
bool exec_measured(struct world *w, int x); /* its supervisor looks at its memory; false: there is nothing to see */
void exec_lease(struct world *w, int x, uint64_t gen);
void exec_die(struct world *w, int x, int signal, const char *why);
void exec_line_lost(struct world *w, int tm);
int exec_find(const struct world *w, int tm, const char *executor_id);
int exec_orphans(const struct world *w, int tm, struct weir_tm_orphan *out, int max);
static inline bool exec_runs(const struct world *w, const struct exec *x)
{
    return x->exists && !x->stuck && w->now_ms >= x->paused_until_ms;
}

static inline struct sim_plan *exec_plan(struct world *w, int x)
{
    return sim_plan(&w->jobs[w->execs[x].job], w->execs[x].override);
}
static inline const struct sim_task *exec_task(struct world *w, int x, int task)
{
    return &exec_plan(w, x)->tasks[w->execs[x].tasks[task].index];
}
static inline const struct sim_task *job_task(struct job *job, int task)
{
    return &sim_plan(job, job->override)->tasks[task];
}
static inline int part_number(const Weir__StatePart *part, struct part_bytes *bytes)
{
    memset(bytes, 0, sizeof *bytes);
    memcpy(bytes, part->bytes.data, part->bytes.len < sizeof *bytes ? part->bytes.len : sizeof *bytes);
    return bytes->op;
}
static inline uint32_t groups_of(uint32_t subtask, uint32_t parallelism)
{
    uint32_t groups = 0;
    for (uint32_t g = 0; g < SIM_GROUPS; g++)
        if (g * parallelism / SIM_GROUPS == subtask)
            groups |= 1u << g;
    return groups;
}

/* --- sim_store.c */
void store_plan(struct world *w);
void job_led_by(struct world *w, struct job *job, int jm); /* from now on */
void store_begin(struct world *w, int jm, const struct weir_jm_effect *effect);
void store_apply(struct world *w, int op, int answer);
void store_reply(struct world *w, int op, int result);
int store_jm(const struct world *w, int op);
void store_check_sent(struct world *w, int jm,
                      const Weir__Control *control); /* what a JobManager sends for the first time */
void store_check_commit(struct world *w, struct job *job, const Weir__CommitOutput *commit);
/* A reader of committed records sees it (Kafka). */
void output_is_visible(struct world *w, struct job *job, uint64_t checkpoint, const char *text);
/* It was called published. */
void output_must_be_there(struct world *w, const struct job *job, const Weir__Committable *committable);
bool store_has(const struct job *job, const char *key);
bool is_segment_of(const Weir__Committable *committable, const char *key);
void segment_must_be_there(struct world *w, const struct job *job, const Weir__Committable *committable);
void store_check_abort(struct world *w, struct job *job);
/* A checkpoint did not get its parts in time. */
void store_check_stalled(struct world *w, const struct job *job, int64_t after_ms);
void store_check_finished(struct world *w, struct job *job);
const char *store_leftover(const struct job *job, const struct weir_jm_job *view);
struct sim_checkpoint *sim_checkpoint(struct job *job, uint64_t id);
void store_free(struct world *w);
/* Does something that HEAD names need it? The id of that; 0: nothing does. */
uint64_t store_needed_by(struct job *job, const char *key);
void store_write(struct world *w, struct job *job, const char *key);
/* The part of an operator's subtask; NULL: it has none. */
const Weir__StatePart *part_of(const Weir__Snapshot *snapshot, const char *uid, uint32_t subtask, uint32_t parallelism);
void store_import(struct world *w, struct job *job, const Weir__Snapshot *snapshot); /* what it is to begin with */
int savepoint_find(const struct world *w, const char *uri);
bool store_is_corrupt(const struct job *job, const char *key);
void store_corrupt(struct world *w, int target, int value); /* an object that the newest checkpoint of some job needs */
bool store_is_damaged(struct job *job, uint64_t checkpoint);
/* It may go back from what HEAD names: none of what is newer has output, and something of it is damaged. */
bool store_may_fall_back(struct job *job, uint64_t to);

/* --- sim_kafka.c */
void kafka_plan(struct world *w);
bool kafka_plan_job(struct world *w);
bool kafka_plan_held(struct world *w);
bool kafka_is_publishing(const struct world *w, int tm, int job);
void kafka_publish(struct world *w, int tm, int job, const Weir__Control *control); /* then tm_committed() */
void kafka_event(struct world *w, int what, int a, uint64_t b);
void kafka_heard(struct world *w, int tm, int what, uint64_t token); /* by a process that publishes */
/* A sink's epoch, up to the barrier of `checkpoint`, in a transaction of the subtask's own: its id, or 0. Then its texts; then the checkpoint that it waits
 * for, or a later one, is complete. */
int kafka_hold(struct world *w, struct job *job, struct xtask *task, int op, uint64_t checkpoint);
void kafka_held_text(struct world *w, int held, uint64_t checkpoint, const char *text);
void kafka_complete(struct world *w, int exec, const Weir__CheckpointComplete *message);
bool kafka_is_at_rest(const struct world *w);
void kafka_free(struct world *w);

/* --- sim_plan.c */
void plan_checkpoints(struct world *w, struct job *job); /* how, when somebody asks for them, */
void plan_periodic(struct world *w, struct job *job);    /* or by itself */
void world_prepare(struct world *w);                     /* shape, faults, operations of the seed; may then be edited */
void plan_world(struct world *w);
void do_fault(struct world *w, int index);
void do_op(struct world *w, int index);
void submit_job(struct world *w);
struct weir_plan *plan_of_job(const struct job *job, int override);
struct sim_plan *sim_plan(struct job *job, int override);
int override_of(const struct weir_key_value *pairs, int count);
int override_in(Weir__KeyValue **pairs, size_t count);
/* It was asked for what it has: what the operator knows of it. */
void operations_poll(struct world *w);
/* True: the JobManager crashes now, before `effect` is performed. */
bool crash_due(struct world *w, int jm, const struct weir_jm_effect *effect);
void cancel_job(struct world *w, int job);
extern const char *const fault_names[F_KINDS];

/* --- sim_check.c */
void check_jm(struct world *w, int jm); /* after each step of it */
void check_jm_effect(struct world *w, int jm, const struct weir_jm_effect *effect);
void check_start_failed(struct world *w, int jm, int job);
void check_tm(struct world *w, int tm);
void check_memory_kill(struct world *w, int tm, const char *text);
void check_lease(struct world *w, int x, const Weir__Control *control); /* what its supervisor tells it */
void check_spawn(struct world *w, int x);
void check_task_start(struct world *w, int x, int task);
void check_commit(struct world *w, int tm, const Weir__CommitOutput *commit);
void check_abort(struct world *w, const char *job_id);
void check_rest(struct world *w);  /* sim_rest.c */
void check_world(struct world *w); /* every 100 ms of simulated time */
void region_hit(struct world *w, struct job *job, int region);
void check_plans(struct world *w, int jm);       /* whether jobs have other tasks now */
void task_hit(struct world *w, int x, int task); /* its region */
/* Regions of which the JobManager has tasks on this TaskManager or in this executor: either may be NULL. */
void hit_deployed(struct world *w, int jm, const char *taskmanager_id, const char *executor_id);
int job_find(const struct world *w, const char *id);

#endif
