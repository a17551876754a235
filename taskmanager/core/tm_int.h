/* Shared by the files of taskmanager/core only; see tm.h. */
#ifndef WEIR_TASKMANAGER_CORE_TM_INT_H
#define WEIR_TASKMANAGER_CORE_TM_INT_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "taskmanager/core/tm.h"

#define NEVER_MS INT64_MAX
#define HEARTBEATS_KEPT 64 /* when the last ones were sent: what a late acknowledgement may still refer to */
#define SLOTS_MAX 4096
#define EXECUTORS_MAX 4096
#define COMMITS_MAX 4096

struct tm_task {
    uint32_t vertex, subtask, attempt, slot;
    Weir__TaskState state;
    Weir__TaskMetrics *metrics; /* the last ones, part of every heartbeat; NULL: none yet */
};

struct tm_executor {
    char id[WEIR_TM_EXECUTOR_ID_SIZE];
    char job_id[WEIR_TM_JOB_ID_SIZE];
    Weir__Control *start; /* StartExecutor as it came */
    char *code_path;      /* "" : no user code */
    char *refusal;        /* why it could not start, in its own words; NULL: it has not said so */
    bool refusal_fails_job;
    enum weir_tm_executor_state state;
    uint32_t pid;
    uint64_t session; /* that started it: later sessions do not renew its lease */
    int64_t lease_until_ms;
    int64_t deadline_ms; /* STOPPING: kill then; KILLING: kill again; NEVER_MS otherwise */
    int64_t heard_ms;    /* last message from it */
    const char *why;  /* kind of failure when this core killed it by itself, a literal; NULL: asked to, or not killed */
    bool asked;       /* the JobManager wanted it to end */
    bool over_budget; /* it was killed for its memory */
    uint64_t rss_bytes;    /* the last reading; of one killed for it: that one */
    struct tm_task *tasks; /* the newest attempt of each that was deployed here */
    int task_count, task_capacity;
};

struct tm_commit { /* being performed by io */
    char job_id[WEIR_TM_JOB_ID_SIZE];
    uint64_t checkpoint;
    uint64_t session; /* that wants to know */
};

enum tm_phase {
    PHASE_WAITING, /* for the backoff to pass */
    PHASE_CONNECTING,
    PHASE_REGISTERING,
    PHASE_REGISTERED
};

struct weir_tm {
    struct weir_tm_options options; /* strings owned */
    int64_t now_ms;
    enum tm_phase phase;
    uint64_t session;      /* of the current or last connection */
    uint64_t leader_epoch; /* the highest seen */
    int64_t backoff_ms;
    int64_t deadline_ms; /* WAITING: connect; CONNECTING, REGISTERING: give up */
    int64_t register_ms; /* when Register of this session was first sent */
    int64_t register_resend_ms;
    int64_t heartbeat_interval_ms, lease_ms; /* T_self */
    int64_t next_heartbeat_ms;
    uint64_t heartbeat_sent, heartbeat_acked; /* sequences of this session */
    int64_t sent_ms[HEARTBEATS_KEPT];         /* by sequence modulo */
    int64_t lease_until_ms;                   /* of this session */
    Weir__ProcessMetrics *process;            /* the last; NULL: none yet */
    /* directions of this session */
    uint64_t received_id, next_id;
    Weir__Control **outbox;
    int outbox_count, outbox_capacity, in_flight;
    int64_t resend_at_ms;

    struct tm_executor **slots; /* who sits in each; NULL: free */
    struct tm_executor **executors;
    int executor_count, executor_capacity;
    struct tm_commit *commits;
    int commit_count, commit_capacity;
    /* of this step */
    struct weir_arena arena;
    struct weir_tm_effect *effects;
    int effect_count, effect_capacity;
    Weir__Control **trash;
    int trash_count, trash_capacity;
};

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

/* --- tm.c */
struct weir_tm_effect *weir_tm_effect(struct weir_tm *tm, enum weir_tm_effect_kind kind);
void weir_tm_log(struct weir_tm *tm, enum weir_tm_log_level level, const char *job_id, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void weir_tm_trash(struct weir_tm *tm, Weir__Control *take_control);
Weir__Control *weir_tm_control_copy(const Weir__Control *control);
Weir__Control *weir_tm_new_control(struct weir_tm *tm); /* arena; version, epoch, session filled in */

/* --- tm_session.c: the line, registration, heartbeats, lease, the two directions */
void weir_tm_session_start(struct weir_tm *tm);
void weir_tm_session_connected(struct weir_tm *tm);
void weir_tm_session_broken(struct weir_tm *tm, const char *why);
void weir_tm_session_message(struct weir_tm *tm, const Weir__Control *control);
void weir_tm_session_lease(struct weir_tm *tm); /* ends the session when its lease has */
void weir_tm_session_timers(struct weir_tm *tm);
int64_t weir_tm_session_wake_ms(const struct weir_tm *tm);
/* Queues a report (copied; id, session, epoch filled in). Without a session it is dropped: Register says what is. */
void weir_tm_report(struct weir_tm *tm, const Weir__Control *control);

/* --- tm_executor.c: slots and executors */
void weir_tm_executor_start(struct weir_tm *tm, const Weir__Control *control);
void weir_tm_executor_stop(struct weir_tm *tm, const Weir__StopExecutor *stop);
void weir_tm_executor_deploy(struct weir_tm *tm, const Weir__Control *control);
void weir_tm_executor_cancel(struct weir_tm *tm, const Weir__Control *control);
void weir_tm_executor_trigger(struct weir_tm *tm, const Weir__Control *control);
void weir_tm_executor_complete(struct weir_tm *tm, const Weir__Control *control);
void weir_tm_executor_align(struct weir_tm *tm, const Weir__Control *control);
void weir_tm_executor_code(struct weir_tm *tm, const char *sha256, const char *path, const char *error);
void weir_tm_executor_spawned(struct weir_tm *tm, const char *executor_id, uint32_t pid);
void weir_tm_executor_exited(struct weir_tm *tm, const struct weir_tm_event *event);
void weir_tm_executor_message(struct weir_tm *tm, const char *executor_id, const Weir__Control *control);
void weir_tm_executor_memory(struct weir_tm *tm, const char *executor_id, uint64_t rss_bytes);
void weir_tm_executor_lease(struct weir_tm *tm); /* the session's lease was renewed: pass it on */
/* This supervisor itself was stopped for a while: executors' silence in that time does not count. */
void weir_tm_executor_excuse(struct weir_tm *tm);
void weir_tm_executor_timers(struct weir_tm *tm);
int64_t weir_tm_executor_wake_ms(const struct weir_tm *tm);
void weir_tm_executor_free(struct tm_executor *executor);
Weir__ExecutorReport *weir_tm_executor_report(struct weir_tm *tm, const struct tm_executor *executor); /* arena */
/* --- tm_output.c: publishing and removing output */
void weir_tm_commit(struct weir_tm *tm, const Weir__Control *control);
void weir_tm_abort(struct weir_tm *tm, const Weir__Control *control);
void weir_tm_committed(struct weir_tm *tm, const char *job_id, uint64_t checkpoint, const Weir__Failure *failure);

#endif
