#include "executor/exec_core.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"

#define EFFECTS_PER_STEP 4 /* beside those of a tick */

struct task {
    uint32_t vertex, subtask;
    uint32_t attempt; /* the newest */
    enum weir_exec_state state;
    uint32_t older_attempt;  /* still ending while the newest is QUEUED; 0: none */
    int64_t cancel_until_ms; /* CANCELING, or the older attempt is; else INT64_MAX */
};

struct weir_exec_core {
    int64_t lease_until_ms, cancel_timeout_ms;
    bool exited;
    struct task *tasks;
    int task_count, task_capacity;
    struct weir_exec_effect effects[EFFECTS_PER_STEP];
    int effect_count;
};

struct weir_exec_core *weir_exec_core_new(int64_t lease_until_ms, int64_t cancel_timeout_ms)
{
    struct weir_exec_core *core = weir_zalloc(sizeof *core);
    core->lease_until_ms = lease_until_ms;
    core->cancel_timeout_ms = cancel_timeout_ms;
    return core;
}

void weir_exec_core_free(struct weir_exec_core *core)
{
    if (!core)
        return;
    free(core->tasks);
    free(core);
}

static struct task *find(const struct weir_exec_core *core, uint32_t vertex, uint32_t subtask)
{
    for (int i = 0; i < core->task_count; i++)
        if (core->tasks[i].vertex == vertex && core->tasks[i].subtask == subtask)
            return &core->tasks[i];
    return NULL;
}

static struct task *add(struct weir_exec_core *core, const struct weir_exec_task_id *id)
{
    if (core->task_count == core->task_capacity) {
        core->task_capacity = core->task_capacity ? core->task_capacity * 2 : 16;
        core->tasks = weir_realloc(core->tasks, (size_t)core->task_capacity * sizeof *core->tasks);
    }
    struct task *task = &core->tasks[core->task_count++];
    *task = (struct task){
        .vertex = id->vertex, .subtask = id->subtask, .attempt = id->attempt, .cancel_until_ms = INT64_MAX};
    return task;
}

static bool is_live(enum weir_exec_state state)
{
    return state == WEIR_EXEC_INITIALIZING || state == WEIR_EXEC_RUNNING || state == WEIR_EXEC_CANCELING;
}

/* --- Effects */

static void emit(struct weir_exec_core *core, enum weir_exec_effect_kind kind, const struct task *task,
                 uint32_t attempt, enum weir_exec_state state)
{
    weir_assert(core->effect_count < EFFECTS_PER_STEP);
    core->effects[core->effect_count++] =
        (struct weir_exec_effect){.kind = kind, .task = {task->vertex, task->subtask, attempt}, .state = state};
}

static void report(struct weir_exec_core *core, const struct task *task)
{
    /* QUEUED is ours alone: to others it is being initialized. */
    emit(core, WEIR_EXEC_EFFECT_REPORT, task, task->attempt,
         task->state == WEIR_EXEC_QUEUED ? WEIR_EXEC_INITIALIZING : task->state);
}

static void emit_exit(struct weir_exec_core *core, enum weir_exec_exit exit)
{
    if (core->exited)
        return;
    core->exited = true;
    core->effect_count = 0; /* whatever the step began: after a stop past the lease nothing starts any more */
    core->effects[core->effect_count++] = (struct weir_exec_effect){.kind = WEIR_EXEC_EFFECT_EXIT, .exit = exit};
}

static void start(struct weir_exec_core *core, struct task *task)
{
    task->state = WEIR_EXEC_INITIALIZING;
    task->older_attempt = 0;
    task->cancel_until_ms = INT64_MAX;
    report(core, task);
    emit(core, WEIR_EXEC_EFFECT_START, task, task->attempt, task->state);
}

/* --- Events */

static void deploy(struct weir_exec_core *core, const struct weir_exec_event *event)
{
    struct task *task = find(core, event->task.vertex, event->task.subtask);
    if (!task) {
        start(core, add(core, &event->task));
        return;
    }
    if (event->task.attempt < task->attempt)
        return;
    if (event->task.attempt == task->attempt) {
        report(core, task);
        return;
    }
    bool live = is_live(task->state);
    if (live || task->older_attempt != 0) {
        if (live) {
            task->older_attempt = task->attempt;
            if (task->state != WEIR_EXEC_CANCELING) {
                emit(core, WEIR_EXEC_EFFECT_CANCEL, task, task->attempt, WEIR_EXEC_CANCELING);
                task->cancel_until_ms = event->now_ms + core->cancel_timeout_ms;
            }
        }
        task->attempt = event->task.attempt;
        task->state = WEIR_EXEC_QUEUED;
        report(core, task);
        return;
    }
    task->attempt = event->task.attempt;
    start(core, task);
}

static void cancel(struct weir_exec_core *core, const struct weir_exec_event *event)
{
    struct task *task = find(core, event->task.vertex, event->task.subtask);
    if (!task) {
        task = add(core, &event->task);
        task->state = WEIR_EXEC_CANCELED;
        report(core, task);
        return;
    }
    if (event->task.attempt < task->attempt)
        return;
    if (event->task.attempt > task->attempt) { /* before its deployment, which will be refused */
        if (is_live(task->state)) {
            task->older_attempt = task->attempt;
            if (task->state != WEIR_EXEC_CANCELING) {
                emit(core, WEIR_EXEC_EFFECT_CANCEL, task, task->attempt, WEIR_EXEC_CANCELING);
                task->cancel_until_ms = event->now_ms + core->cancel_timeout_ms;
            }
        }
        task->attempt = event->task.attempt;
        task->state = WEIR_EXEC_CANCELED;
        report(core, task);
        return;
    }
    switch (task->state) {
    case WEIR_EXEC_QUEUED:
        task->state = WEIR_EXEC_CANCELED;
        break;
    case WEIR_EXEC_INITIALIZING:
    case WEIR_EXEC_RUNNING:
        task->state = WEIR_EXEC_CANCELING;
        task->cancel_until_ms = event->now_ms + core->cancel_timeout_ms;
        emit(core, WEIR_EXEC_EFFECT_CANCEL, task, task->attempt, task->state);
        break;
    default:
        break;
    }
    report(core, task);
}

static void task_running(struct weir_exec_core *core, const struct weir_exec_event *event)
{
    struct task *task = find(core, event->task.vertex, event->task.subtask);
    if (!task || task->attempt != event->task.attempt || task->state != WEIR_EXEC_INITIALIZING)
        return;
    task->state = WEIR_EXEC_RUNNING;
    report(core, task);
}

static void task_ended(struct weir_exec_core *core, const struct weir_exec_event *event)
{
    struct task *task = find(core, event->task.vertex, event->task.subtask);
    weir_assert(task != NULL);
    if (task->older_attempt == event->task.attempt) {
        task->older_attempt = 0;
        task->cancel_until_ms = INT64_MAX;
        /* The end of the one that was replaced is reported, too: its attempt is over. */
        emit(core, WEIR_EXEC_EFFECT_REPORT, task, event->task.attempt, event->state);
        if (task->state == WEIR_EXEC_QUEUED)
            start(core, task);
        return;
    }
    weir_assert(task->attempt == event->task.attempt && is_live(task->state));
    task->state = event->state;
    task->cancel_until_ms = INT64_MAX;
    report(core, task);
}

/* A trigger, what came of one, or that it is complete. What is for another attempt, or one that does not run (any more), changes nothing: the JobManager has
 * given that checkpoint up, or counts the task's last snapshot. */
static void checkpoint(struct weir_exec_core *core, const struct weir_exec_event *event,
                       enum weir_exec_effect_kind kind)
{
    const struct task *task = find(core, event->task.vertex, event->task.subtask);
    if (!task || task->attempt != event->task.attempt || task->state != WEIR_EXEC_RUNNING || event->checkpoint == 0)
        return;
    emit(core, kind, task, task->attempt, task->state);
    core->effects[core->effect_count - 1].checkpoint = event->checkpoint;
}

static void check_time(struct weir_exec_core *core, int64_t now_ms)
{
    if (now_ms >= core->lease_until_ms)
        emit_exit(core, WEIR_EXEC_EXIT_LEASE);
    for (int i = 0; i < core->task_count; i++)
        if (now_ms >= core->tasks[i].cancel_until_ms)
            emit_exit(core, WEIR_EXEC_EXIT_CANCEL_TIMEOUT);
}

static int64_t next_wake(const struct weir_exec_core *core)
{
    int64_t wake_ms = core->lease_until_ms;
    for (int i = 0; i < core->task_count; i++)
        if (core->tasks[i].cancel_until_ms < wake_ms)
            wake_ms = core->tasks[i].cancel_until_ms;
    return wake_ms;
}

void weir_exec_step(struct weir_exec_core *core, const struct weir_exec_event *event, struct weir_exec_effects *effects)
{
    core->effect_count = 0;
    if (!core->exited) {
        switch (event->kind) {
        case WEIR_EXEC_EVENT_DEPLOY:
            deploy(core, event);
            break;
        case WEIR_EXEC_EVENT_CANCEL:
            cancel(core, event);
            break;
        case WEIR_EXEC_EVENT_TASK_RUNNING:
            task_running(core, event);
            break;
        case WEIR_EXEC_EVENT_TASK_ENDED:
            task_ended(core, event);
            break;
        case WEIR_EXEC_EVENT_TRIGGER:
            checkpoint(core, event, WEIR_EXEC_EFFECT_TRIGGER);
            break;
        case WEIR_EXEC_EVENT_COMPLETE:
            checkpoint(core, event, WEIR_EXEC_EFFECT_COMPLETE);
            break;
        case WEIR_EXEC_EVENT_STORED:
            checkpoint(core, event, WEIR_EXEC_EFFECT_REPORT_CHECKPOINT);
            break;
        case WEIR_EXEC_EVENT_LEASE:
            if (event->until_ms > core->lease_until_ms)
                core->lease_until_ms = event->until_ms;
            break;
        case WEIR_EXEC_EVENT_STOP:
            emit_exit(core, WEIR_EXEC_EXIT_STOP);
            break;
        case WEIR_EXEC_EVENT_LINE_CLOSED:
            emit_exit(core, WEIR_EXEC_EXIT_LINE_CLOSED);
            break;
        case WEIR_EXEC_EVENT_TICK:
            break;
        }
        /* Of leases that have waited the last one counts: behind one that is over there may be another. */
        if (event->kind != WEIR_EXEC_EVENT_LEASE)
            check_time(core, event->now_ms);
    }
    effects->items = core->effects;
    effects->count = core->effect_count;
    effects->wake_at_ms = core->exited ? INT64_MAX : next_wake(core);
}
