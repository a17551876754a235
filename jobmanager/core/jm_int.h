/* Shared by the files of jobmanager/core only; see jm.h for what it is all about.
 *
 * Who owns what: struct weir_jm owns jobs, TaskManagers and executors. A slot (of a TaskManager) has a `job` that it is taken for
 * and an `executor` that sits in it; it is free when both are NULL. An executor keeps its slots until its exit is known, also after
 * its job has ended (it is detached then: job == NULL).
 */
#ifndef WEIR_JOBMANAGER_CORE_JM_INT_H
#define WEIR_JOBMANAGER_CORE_JM_INT_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "jobmanager/core/jm.h"

#define NEVER_MS INT64_MAX
#define LOST_TMS_KEPT 256
#define FAILURES_KEPT_MAX 10000

struct command { /* one entry of an outbox */
    uint64_t id;
    Weir__Control *control; /* owned */
    bool sent;
};

struct weir_jm_tm_slot {
    struct weir_jm_job *job;
    struct weir_jm_executor *executor;
};

struct weir_jm_tm_int {
    struct weir_jm_tm_slot *slots;
    struct command *outbox; /* by id */
    int outbox_count, outbox_capacity, in_flight;
    uint64_t next_id;       /* of the next command */
    uint64_t received_id;   /* of the last report taken */
    uint64_t heartbeat_seq; /* of the last heartbeat */
    int64_t resend_at_ms;
    int64_t progress_ms; /* last acknowledgement of something new, or when the first in flight was sent */
    bool overflow;       /* the outbox passed its maximum: lost at the end of this step */
};

struct aligned_group { /* of an executor: jm_alignment.c */
    char *name;
    uint32_t members;
    int64_t watermark_ms; /* theirs */
    int64_t told_ms;      /* what it was told of the others last */
};

struct weir_jm_executor {
    char id[WEIR_JM_EXECUTOR_ID_SIZE];
    char job_id[WEIR_JM_JOB_ID_SIZE];
    struct weir_jm_job *job; /* NULL: detached */
    struct weir_jm_taskmanager *tm;
    enum weir_jm_executor_state state;
    char *endpoint;
    uint8_t *public_key;
    size_t public_key_size;
    uint32_t pid;
    int64_t deadline_ms;   /* STARTING: to be READY; STOPPING: to be gone; NEVER_MS: none */
    uint64_t stop_command; /* id of StopExecutor */
    struct aligned_group *aligned;
    int aligned_count;
};

enum region_state {
    REGION_WAITING,   /* its tasks are SCHEDULED: slots or executors are missing */
    REGION_ACTIVE,    /* deployed; finished when all its tasks are */
    REGION_RESTARTING /* its tasks are being cancelled, or the delay runs */
};
struct region {
    enum region_state state;
    int64_t restart_at_ms;
    int first, count; /* of job->in->region_tasks */
};

struct restart_state {
    int64_t attempts;     /* fixed, exponential: since the start or the last reset */
    double backoff_ms;    /* exponential: the last one; 0: none yet */
    int64_t last_ms;      /* exponential: when the last delay ended */
    int64_t *failures_ms; /* rate: ring of rate_max + 1 */
    int failure_first, failure_count;
};

#define COMMITS_MAX 16
#define CANCELS_MAX 8
struct
    commit { /* output to be published: of a complete checkpoint, or of a job that has no checkpoints and whose tasks have all FINISHED */
    uint64_t checkpoint;    /* 0: without checkpoints */
    bool final;             /* then the job is FINISHED */
    Weir__Control *control; /* CommitOutput */
};

struct job_checkpoints; /* jm_checkpoint.c */

struct weir_jm_job_int {
    struct weir_plan *plan;
    uint8_t *graph;
    size_t graph_size;
    struct region *regions;
    int *region_tasks;                   /* task indexes grouped by region */
    struct weir_jm_executor **executors; /* of each task; NULL: none */
    struct restart_state restart;
    int64_t timer_ms;                      /* no deadline of a task or region is before it */
    struct weir_jm_taskmanager *output_tm; /* was sent CommitOutput or AbortOutput */
    uint64_t output_command;               /* its id; AbortOutput is done when it is acknowledged */
    bool abort_wanted, ever_deployed;
    int64_t abort_not_before_ms; /* executors that an earlier JobManager started may live until then */
    bool commit_sent, commit_failed;
    int64_t commit_again_ms;            /* not before */
    struct commit commits[COMMITS_MAX]; /* in order; the first may be under way */
    int commit_count;
    struct job_checkpoints *checkpoints;   /* NULL: it has no HEAD, and makes none */
    bool submitting;                       /* INITIALIZING: graph, code and HEAD are not known to be durable */
    bool submitting_store;                 /* graph and code are not: HEAD is not written */
    uint64_t submit_request;               /* then answered */
    bool cancel_wanted;                    /* while INITIALIZING */
    uint64_t cancel_requests[CANCELS_MAX]; /* answered when HEAD says CANCELLING */
    int cancel_request_count;
    int64_t cancel_reply_at_ms; /* at the latest */
    int64_t checkpoint_timer_ms;
    bool restart_all;          /* all tasks are to begin anew, without a failure of their own */
    struct weir_plan *rescale; /* owned: the job's when no task of the old one is left; NULL: none */
    int rescale_parallelism;
};

struct recovery { /* of an earlier JobManager's job, that is not known here yet */
    char job_id[WEIR_JM_JOB_ID_SIZE];
    int64_t at_ms; /* to be read then */
    bool reading;
    char damaged_tag[WEIR_HEAD_TAG_SIZE]; /* HEAD's, when something that it names was missing; "": it was not */
};

struct lost_tm {
    char id[WEIR_JM_TM_ID_SIZE];
    uint64_t session;
};

struct weir_jm {
    struct weir_jm_options options;
    int64_t now_ms, wall_ms;
    bool fenced;
    uint64_t random;
    uint64_t next_executor;
    struct weir_jm_job **jobs;
    int job_count, job_capacity;
    struct weir_jm_taskmanager **tms;
    int tm_count, tm_capacity;
    struct weir_jm_executor **executors;
    int executor_count, executor_capacity;
    struct lost_tm lost[LOST_TMS_KEPT]; /* ring: sessions that have ended */
    int lost_next;
    struct weir_jm_operation *operations; /* oldest first */
    int operation_count;
    int64_t list_at_ms; /* NEVER_MS: jobs have been listed, or need not be */
    bool listing;
    struct recovery *recoveries;
    int recovery_count, recovery_capacity, recoveries_reading;
    char (*seen)[WEIR_JM_JOB_ID_SIZE]; /* jobs of the last listing, sorted: each is read once */
    int seen_count;
    char (*deleting)[WEIR_JM_JOB_ID_SIZE]; /* all their objects are being deleted */
    int deleting_count, deleting_capacity;
    uint64_t searches; /* ever: the number of the newest */
    int searches_running;
    /* of this step */
    struct weir_arena arena;
    struct weir_jm_effect *effects;
    int effect_count, effect_capacity;
    Weir__Control **trash; /* freed when the next step begins: effects may point at them */
    int trash_count, trash_capacity;
};

/* Makes room for one more element of a heap array. */
#define GROW(array, count, capacity) \
    do { \
        if ((count) == (capacity)) { \
            (capacity) = (capacity) ? (capacity)*2 : 8; \
            (array) = weir_realloc((array), (size_t)(capacity) * sizeof *(array)); \
        } \
    } while (0)

static inline int64_t later_ms(int64_t now_ms, int64_t delay_ms)
{
    return delay_ms > NEVER_MS - now_ms ? NEVER_MS : now_ms + delay_ms;
}

/* --- jm.c: effects */
struct weir_jm_effect *weir_jm_effect(struct weir_jm *jm, enum weir_jm_effect_kind kind);
void weir_jm_log(struct weir_jm *jm, enum weir_jm_log_level level, const struct weir_jm_job *job, const char *format,
                 ...) __attribute__((format(printf, 4, 5)));
uint64_t weir_jm_random(struct weir_jm *jm);
Weir__Control *weir_jm_control_copy(const Weir__Control *control); /* heap; weir__control__free_unpacked(c, NULL) */
void weir_jm_trash(struct weir_jm *jm, Weir__Control *take_control);
/* Another JobManager has taken over: this one does nothing any more. */
void weir_jm_fence(struct weir_jm *jm, const char *text);

/* --- jm_tm.c: sessions, outboxes, heartbeats */
void weir_jm_tm_message(struct weir_jm *jm, const char *peer, const Weir__Control *control);
void weir_jm_tm_disconnected(struct weir_jm *jm, const char *peer);
void weir_jm_tm_timers(struct weir_jm *jm);
int64_t weir_jm_tm_wake_ms(const struct weir_jm *jm);
void weir_jm_tm_free(struct weir_jm_taskmanager *tm);
/* Sent once, whether it arrives or not. The body is the caller's to fill, and to keep for this step. */
Weir__Control *weir_jm_send(struct weir_jm *jm, const struct weir_jm_taskmanager *tm);
/* Queues a command (copied; its id, session and epoch are filled in) and returns its id. */
bool weir_jm_command_acked(const struct weir_jm_taskmanager *tm, uint64_t id);
uint64_t weir_jm_command(struct weir_jm *jm, struct weir_jm_taskmanager *tm, const Weir__Control *control);

/* --- jm_executor.c: executors and their reports */
struct weir_jm_executor *weir_jm_executor_start(struct weir_jm *jm, struct weir_jm_job *job,
                                                struct weir_jm_taskmanager *tm);
void weir_jm_executor_free(struct weir_jm_executor *executor); /* what it has, not what refers to it */
/* What a registering TaskManager still runs: it belongs to no job here, so it is stopped; its slots are taken until it is gone. */
void weir_jm_executor_foreign(struct weir_jm *jm, struct weir_jm_taskmanager *tm, const Weir__ExecutorReport *report);
struct weir_jm_executor *weir_jm_executor_of(struct weir_jm *jm, const struct weir_jm_job *job,
                                             const struct weir_jm_taskmanager *tm);
void weir_jm_executor_report(struct weir_jm *jm, struct weir_jm_taskmanager *tm, const Weir__ExecutorReport *report);
void weir_jm_executor_stop(struct weir_jm *jm, struct weir_jm_executor *executor, bool kill);
/* No job waits for it any more; its slots stay taken. */
void weir_jm_executor_detach(struct weir_jm *jm, struct weir_jm_executor *executor);
/* It has ended (or its TaskManager is lost): its tasks end, its regions restart, it is freed. */
void weir_jm_executor_gone(struct weir_jm *jm, struct weir_jm_executor *executor, const Weir__Failure *failure);
void weir_jm_executor_timers(struct weir_jm *jm);
int64_t weir_jm_executor_wake_ms(const struct weir_jm *jm);

/* --- jm_recover.c: what is durable, and what an earlier JobManager has left */
void weir_jm_recoveries(struct weir_jm *jm); /* in each step: what is due */
int64_t weir_jm_recoveries_wake_ms(const struct weir_jm *jm);
void weir_jm_job_stored(struct weir_jm *jm, const struct weir_jm_event *event);
void weir_jm_jobs_listed(struct weir_jm *jm, const struct weir_jm_event *event);
void weir_jm_job_was_read(struct weir_jm *jm, const struct weir_jm_event *event);
void weir_jm_read_free(const struct weir_jm_read *read);
uint64_t weir_jm_recoveries_left(const struct weir_jm *jm);
/* A write of HEAD is done; another writes there. */
void weir_jm_head_recorded(struct weir_jm *jm, struct weir_jm_job *job);
void weir_jm_head_lost(struct weir_jm *jm, struct weir_jm_job *job);

/* --- jm_garbage.c */
void weir_jm_garbage_listed(struct weir_jm *jm, const struct weir_jm_event *event);
void weir_jm_garbage_deleted(struct weir_jm *jm, const struct weir_jm_event *event);
/* It has no HEAD. */
void weir_jm_garbage_headless(struct weir_jm *jm, const char *job_id);
/* The job is forgotten: unless checkpoints of it are kept, all of it goes. */
void weir_jm_garbage_forgotten(struct weir_jm *jm, const struct weir_jm_job *job);
bool weir_jm_garbage_deleting(const struct weir_jm *jm, const char *job_id);
void weir_jm_job_deleted(struct weir_jm *jm, const struct weir_jm_event *event);

/* --- jm_job.c: a job's life */
struct weir_jm_new_job {
    const char *id;
    struct weir_plan *take_plan;
    const uint8_t *graph; /* copied, as is the configuration */
    size_t graph_size;
    const struct weir_jm_job_options *options;
    const struct weir_key_value *configuration;
    int configuration_count;
    bool durable;
};
/* INITIALIZING, last of the list. */
struct weir_jm_job *weir_jm_job_add(struct weir_jm *jm, const struct weir_jm_new_job *from);
/* From INITIALIZING on: it runs, or is cancelled if that is wanted. */
void weir_jm_job_begin(struct weir_jm *jm, struct weir_jm_job *job);
/* Its last checkpoint is complete: all its tasks have FINISHED, and its output is being published. */
void weir_jm_job_publishes(struct weir_jm *jm, struct weir_jm_job *job, uint64_t checkpoint);
/* While it is INITIALIZING: it is not accepted. */
void weir_jm_submission_failed(struct weir_jm *jm, struct weir_jm_job *job, enum weir_err_code code, const char *why);
/* No task is left: from now on it has those of another plan, whose first attempts are new. */
void weir_jm_job_replan(struct weir_jm *jm, struct weir_jm_job *job, struct weir_plan *take_plan, int parallelism);
/* It was never there. */
void weir_jm_job_remove(struct weir_jm *jm, struct weir_jm_job *job);
/* Cancels that are answered when they are durable. */
void weir_jm_job_answer_cancels(struct weir_jm *jm, struct weir_jm_job *job);
void weir_jm_reply(struct weir_jm *jm, uint64_t request, enum weir_err_code code, const char *text);
Weir__Failure *weir_jm_failure_copy(const Weir__Failure *failure); /* heap */
void weir_jm_job_submit(struct weir_jm *jm, const struct weir_jm_event *event);
void weir_jm_job_cancel(struct weir_jm *jm, const struct weir_jm_event *event);
struct weir_jm_job *weir_jm_job_get(struct weir_jm *jm, const char *job_id);
void weir_jm_job_set_state(struct weir_jm *jm, struct weir_jm_job *job, enum weir_job_state state);
void weir_jm_job_set_status(struct weir_jm_job *job, const char *format, ...) __attribute__((format(printf, 2, 3)));
void weir_jm_job_fail(struct weir_jm *jm, struct weir_jm_job *job, const Weir__Failure *failure);
/* After tasks have ended: the job may have. */
void weir_jm_job_settle(struct weir_jm *jm, struct weir_jm_job *job);
/* Queues output; the committables are copied. At most COMMITS_MAX wait. */
void weir_jm_job_add_commit(struct weir_jm *jm, struct weir_jm_job *job, uint64_t checkpoint, bool final,
                            Weir__Committable **committables, size_t count);
/* jm_fallback.c: a failure of kind CHECKPOINT_CORRUPT. What the job does of it: an earlier checkpoint is the newest now, or the failure that is
 * returned ends the job. */
const Weir__Failure *weir_jm_checkpoint_corrupt(struct weir_jm *jm, struct weir_jm_job *job,
                                                const Weir__Failure *failure);
void weir_jm_job_commit_done(struct weir_jm *jm, struct weir_jm_taskmanager *tm, const Weir__CommitDone *done);
/* Sends CommitOutput and AbortOutput that are due and have no TaskManager working on them. */
void weir_jm_job_outputs(struct weir_jm *jm);
void weir_jm_job_expire(struct weir_jm *jm);
void weir_jm_job_free(struct weir_jm_job *job);
/* `task` may be NULL; the failure is copied. */
void weir_jm_exception(struct weir_jm *jm, struct weir_jm_job *job, const struct weir_jm_task *task,
                       const char *taskmanager_id, const Weir__Failure *failure);

/* --- jm_task.c: executions and reports about them */
void weir_jm_task_set_state(struct weir_jm *jm, struct weir_jm_job *job, struct weir_jm_task *task,
                            Weir__TaskState state);
void weir_jm_task_set_deadline(struct weir_jm_job *job, struct weir_jm_task *task, int64_t deadline_ms);
void weir_jm_task_report(struct weir_jm *jm, struct weir_jm_taskmanager *tm, const Weir__TaskReport *report);
void weir_jm_task_checkpoint_report(struct weir_jm *jm, struct weir_jm_taskmanager *tm, const Weir__Control *control);
void weir_jm_task_metrics(struct weir_jm *jm, struct weir_jm_taskmanager *tm, const Weir__TaskMetrics *metrics);
void weir_jm_task_new_attempt(struct weir_jm *jm, struct weir_jm_job *job, struct weir_jm_task *task);
/* Cancels those of `tasks` (indexes) that have not ended; one CancelTasks per executor. */
void weir_jm_tasks_cancel(struct weir_jm *jm, struct weir_jm_job *job, const int *tasks, int count);
void weir_jm_task_timers(struct weir_jm *jm, struct weir_jm_job *job);
void weir_jm_task_clear(struct weir_jm *jm, struct weir_jm_task *task);

/* --- jm_alignment.c */
void weir_jm_alignment_said(struct weir_jm *jm, const struct weir_jm_taskmanager *tm, const Weir__Alignment *alignment);
void weir_jm_alignment_free(struct weir_jm_executor *executor);

/* --- jm_restore.c */
/* What the task begins with; NULL: from the start. Allocated in the step's arena, borrows from the checkpoint. */
Weir__TaskRestore *weir_jm_checkpoint_restore(struct weir_jm *jm, const struct weir_jm_job *job,
                                              const struct weir_jm_task *task);

/* --- jm_checkpoint.c */
/* Its output is published, and all before it. */
void weir_jm_checkpoint_committed(struct weir_jm_job *job, uint64_t checkpoint);
void weir_jm_checkpoints_init(struct weir_jm_job *job,
                              bool durable); /* by its options; durable: it has a HEAD in any case */
void weir_jm_checkpoints_free(struct weir_jm_job *job);
void weir_jm_checkpoints_expire(struct weir_jm *jm); /* in each step, before what waits for one: timeouts */
void weir_jm_checkpoints(struct weir_jm *jm);        /* in each step: what is due */
void weir_jm_checkpoint_report(struct weir_jm *jm, struct weir_jm_job *job, struct weir_jm_task *task,
                               const Weir__Control *control);
/* Task t has FINISHED: its report has its part. */
void weir_jm_checkpoint_task_finished(struct weir_jm *jm, struct weir_jm_job *job, int t);
/* All tasks have FINISHED. True: a last checkpoint brings the output; false: the job makes none. */
bool weir_jm_checkpoint_final(struct weir_jm *jm, struct weir_jm_job *job);
/* Those that are not in HEAD yet are given up. */
void weir_jm_checkpoints_abort(struct weir_jm *jm, struct weir_jm_job *job, const char *why);
/* Whether one is complete is not known yet: nothing may be deployed. */
bool weir_jm_checkpoint_undecided(const struct weir_jm_job *job);
/* The tasks have become others: arrays by task are new. */
void weir_jm_checkpoint_tasks_changed(struct weir_jm_job *job);
/* The job is terminal: HEAD is to say so. */
void weir_jm_checkpoints_ended(struct weir_jm_job *job);
/* HEAD is to say what has changed. */
void weir_jm_checkpoints_changed(struct weir_jm_job *job);
/* The last checkpoint of a bounded job is complete, or it makes none: its output is published now. */
bool weir_jm_checkpoint_final_is_complete(const struct weir_jm_job *job);
/* HEAD says that it is cancelled, or has ended; or it has none. */
bool weir_jm_checkpoint_cancel_recorded(const struct weir_jm_job *job);
/* HEAD says that it has ended, so nobody runs it again; or it has none. */
bool weir_jm_checkpoint_end_recorded(const struct weir_jm_job *job);
/* HEAD is an earlier JobManager's as far as is known: nothing of the job may be done. */
bool weir_jm_checkpoint_taking_over(const struct weir_jm_job *job);
/* HEAD allows the attempts of all tasks. */
bool weir_jm_attempts_allowed(const struct weir_jm_job *job);
/* Something is to be written to HEAD, or is being written. */
bool weir_jm_checkpoints_busy(const struct weir_jm_job *job);
uint64_t weir_jm_checkpoints_digest(uint64_t hash, const struct weir_jm_job *job);
void weir_jm_stored(struct weir_jm *jm, const struct weir_jm_event *event);
void weir_jm_head_event(struct weir_jm *jm, const struct weir_jm_event *event);

/* --- jm_savepoint.c */
void weir_jm_operation_asked(struct weir_jm *jm, const struct weir_jm_event *event);
/* In each step: begins what can begin. */
void weir_jm_operations(struct weir_jm *jm);
int64_t weir_jm_operations_wake_ms(const struct weir_jm *jm);
/* A checkpoint is complete (`why` NULL) or has failed. */
void weir_jm_operation_checkpoint_ended(struct weir_jm *jm, const struct weir_jm_job *job, uint64_t checkpoint,
                                        const char *why);
uint64_t weir_jm_operations_digest(uint64_t hash, const struct weir_jm *jm);
void weir_jm_operations_free(struct weir_jm *jm);
/* INITIALIZING: the job begins with this; a sentence: why not. */
const char *weir_jm_restore_begin(struct weir_jm *jm, struct weir_jm_job *job, const struct weir_jm_restore *restore);

/* --- jm_failover.c: regions */
bool weir_jm_region_finished(const struct weir_jm_job *job, int region);
/* One failure hit the regions marked: they restart by the job's strategy, or the job fails. */
void weir_jm_regions_failed(struct weir_jm *jm, struct weir_jm_job *job, const bool *regions,
                            const Weir__Failure *failure);
void weir_jm_region_timers(struct weir_jm *jm, struct weir_jm_job *job);
/* All of them begin anew, at once; what is FINISHED, too. No failure: the restart strategy is not asked. */
void weir_jm_regions_restart(struct weir_jm *jm, struct weir_jm_job *job);
int64_t weir_jm_region_wake_ms(const struct weir_jm_job *job);

/* --- jm_restart.c */
/* A failure happened now: may regions restart, and after which delay? */
bool weir_jm_restart_next(const struct weir_jm_job_options *options, struct restart_state *state, int64_t now_ms,
                          uint64_t random, int64_t *delay_ms);

/* --- jm_schedule.c: slots and deployment */
void weir_jm_schedule(struct weir_jm *jm);
void weir_jm_slots_release(struct weir_jm_job *job);      /* all that the job has */
void weir_jm_slots_count(struct weir_jm_taskmanager *tm); /* tm->slots_free anew */

#endif
