/* The step: one event in, effects out. What an event means is in the files of its subject:
 *   jm_tm.c messages, sessions, outboxes    jm_executor.c executors    jm_task.c executions    jm_job.c jobs, output
 *   jm_checkpoint.c checkpoints and HEAD    jm_recover.c jobs of earlier JobManagers    jm_failover.c regions    jm_restart.c restart strategies    jm_schedule.c slots, deployment    jm_view.c for readers
 * After each event all due timers fire and everything that now can be scheduled is: no decision waits for the next event.
 */
#include "jobmanager/core/jm_int.h"

#include "base/proto_memory.h"

#include <stdarg.h>

void weir_jm_options_init(struct weir_jm_options *options)
{
    *options = (struct weir_jm_options){
        .leader_epoch = 1,
        .seed = 1,
        .heartbeat_interval_ms = 10000,
        .heartbeat_timeout_ms = 50000,
        .executor_start_timeout_ms = 60000,
        .kill_timeout_ms = 15000,
        .resend_ms = 1000,
        .window = 32,
        .outbox_max = 4096,
        .jobs_ended_max = 100,
        .jobs_max = 1000,
        .exceptions_max = 16,
        .list_interval_ms = 60000,
        .headless_grace_ms = 600000,
    };
}

struct weir_jm *weir_jm_new(const struct weir_jm_options *options)
{
    weir_assert(options->leader_epoch > 0);
    weir_assert(options->window > 0 && options->outbox_max >= options->window);
    weir_assert(options->heartbeat_timeout_ms >= options->heartbeat_interval_ms);
    struct weir_jm *jm = weir_zalloc(sizeof *jm);
    jm->options = *options;
    jm->random = options->seed;
    jm->list_at_ms = options->recovers ? 0 : NEVER_MS;
    weir_arena_init(&jm->arena);
    return jm;
}

static void empty_trash(struct weir_jm *jm)
{
    for (int i = 0; i < jm->trash_count; i++)
        weir__control__free_unpacked(jm->trash[i], NULL);
    jm->trash_count = 0;
}

void weir_jm_free(struct weir_jm *jm)
{
    if (!jm)
        return;
    for (int i = 0; i < jm->job_count; i++)
        weir_jm_job_free(jm->jobs[i]);
    for (int i = 0; i < jm->tm_count; i++)
        weir_jm_tm_free(jm->tms[i]);
    for (int i = 0; i < jm->executor_count; i++)
        weir_jm_executor_free(jm->executors[i]);
    empty_trash(jm);
    weir_jm_operations_free(jm);
    free(jm->recoveries);
    free(jm->seen);
    free(jm->deleting);
    free(jm->jobs);
    free(jm->tms);
    free(jm->executors);
    free(jm->effects);
    free(jm->trash);
    weir_arena_fini(&jm->arena);
    free(jm);
}

/* --- Effects */

struct weir_jm_effect *weir_jm_effect(struct weir_jm *jm, enum weir_jm_effect_kind kind)
{
    GROW(jm->effects, jm->effect_count, jm->effect_capacity);
    struct weir_jm_effect *effect = &jm->effects[jm->effect_count++];
    *effect = (struct weir_jm_effect){.kind = kind};
    return effect;
}

void weir_jm_log(struct weir_jm *jm, enum weir_jm_log_level level, const struct weir_jm_job *job, const char *format,
                 ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct weir_jm_effect *effect = weir_jm_effect(jm, WEIR_JM_EFFECT_LOG);
    effect->level = level;
    effect->job_id = job ? weir_arena_strdup(&jm->arena, job->id) : NULL;
    effect->text = weir_arena_strdup(&jm->arena, text);
}

/* splitmix64: the stream is part of the state, so that a replay draws the same numbers. */
uint64_t weir_jm_random(struct weir_jm *jm)
{
    uint64_t z = (jm->random += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

Weir__Control *weir_jm_control_copy(const Weir__Control *control)
{
    size_t size = weir__control__get_packed_size(control);
    uint8_t *bytes = weir_alloc(size);
    weir__control__pack(control, bytes);
    Weir__Control *copy = weir__control__unpack(&weir_proto_memory, size, bytes);
    weir_assert(copy);
    free(bytes);
    return copy;
}

void weir_jm_trash(struct weir_jm *jm, Weir__Control *take_control)
{
    if (!take_control)
        return;
    GROW(jm->trash, jm->trash_count, jm->trash_capacity);
    jm->trash[jm->trash_count++] = take_control;
}

void weir_jm_fence(struct weir_jm *jm, const char *text)
{
    jm->fenced = true;
    weir_jm_effect(jm, WEIR_JM_EFFECT_FENCED)->text = text;
}

/* --- The step */

static void take_event(struct weir_jm *jm, const struct weir_jm_event *event)
{
    switch (event->kind) {
    case WEIR_JM_EVENT_TICK:
        break;
    case WEIR_JM_EVENT_SUBMIT:
        weir_jm_job_submit(jm, event);
        break;
    case WEIR_JM_EVENT_CANCEL:
        weir_jm_job_cancel(jm, event);
        break;
    case WEIR_JM_EVENT_OPERATION:
        weir_jm_operation_asked(jm, event);
        break;
    case WEIR_JM_EVENT_MESSAGE:
        weir_jm_tm_message(jm, event->peer, event->control);
        break;
    case WEIR_JM_EVENT_DISCONNECTED:
        weir_jm_tm_disconnected(jm, event->peer);
        break;
    case WEIR_JM_EVENT_STORED:
        weir_jm_stored(jm, event);
        break;
    case WEIR_JM_EVENT_HEAD_PUT:
    case WEIR_JM_EVENT_HEAD_GOT:
        weir_jm_head_event(jm, event);
        break;
    case WEIR_JM_EVENT_JOB_STORED:
        weir_jm_job_stored(jm, event);
        break;
    case WEIR_JM_EVENT_JOBS_LISTED:
        weir_jm_jobs_listed(jm, event);
        break;
    case WEIR_JM_EVENT_JOB_DELETED:
        weir_jm_job_deleted(jm, event);
        break;
    case WEIR_JM_EVENT_STORE_LISTED:
        weir_jm_garbage_listed(jm, event);
        break;
    case WEIR_JM_EVENT_STORE_DELETED:
        weir_jm_garbage_deleted(jm, event);
        break;
    case WEIR_JM_EVENT_JOB_READ:
        weir_jm_job_was_read(jm, event);
        break;
    }
}

static void refuse_fenced(struct weir_jm *jm, const struct weir_jm_event *event)
{
    if (event->kind == WEIR_JM_EVENT_SUBMIT)
        weir_plan_free(event->take_plan);
    if (event->kind == WEIR_JM_EVENT_SUBMIT && event->restore)
        weir__snapshot__free_unpacked(event->restore->take_snapshot, NULL);
    if (event->kind == WEIR_JM_EVENT_OPERATION)
        weir_plan_free(event->operation.take_plan);
    if (event->kind == WEIR_JM_EVENT_JOB_READ)
        weir_jm_read_free(event->read);
    if (event->kind != WEIR_JM_EVENT_SUBMIT && event->kind != WEIR_JM_EVENT_CANCEL &&
        event->kind != WEIR_JM_EVENT_OPERATION)
        return;
    struct weir_jm_effect *effect = weir_jm_effect(jm, WEIR_JM_EFFECT_REPLY);
    effect->request = event->request;
    effect->code = WEIR_ERR_IO;
    effect->text = "this JobManager has been replaced by another one";
}

static int64_t wake_ms(const struct weir_jm *jm)
{
    int64_t wake = weir_jm_tm_wake_ms(jm);
    int64_t executors = weir_jm_executor_wake_ms(jm);
    if (executors < wake)
        wake = executors;
    int64_t operations = weir_jm_operations_wake_ms(jm);
    if (operations < wake)
        wake = operations;
    int64_t recoveries = weir_jm_recoveries_wake_ms(jm);
    if (recoveries < wake)
        wake = recoveries;
    for (int i = 0; i < jm->job_count; i++)
        if (jm->jobs[i]->in->timer_ms < wake)
            wake = jm->jobs[i]->in->timer_ms;
    for (int i = 0; i < jm->job_count; i++)
        if (jm->jobs[i]->in->checkpoint_timer_ms < wake)
            wake = jm->jobs[i]->in->checkpoint_timer_ms;
    return wake;
}

void weir_jm_step(struct weir_jm *jm, const struct weir_jm_event *event, struct weir_jm_effects *effects)
{
    weir_assert(event->now_ms >= jm->now_ms);
    jm->now_ms = event->now_ms;
    jm->wall_ms = event->wall_ms;
    jm->effect_count = 0;
    empty_trash(jm);
    weir_arena_reset(&jm->arena);

    if (jm->fenced) {
        refuse_fenced(jm, event);
        *effects = (struct weir_jm_effects){jm->effects, jm->effect_count, NEVER_MS};
        return;
    }
    take_event(jm, event);
    if (!jm->fenced) {
        weir_jm_tm_timers(jm);
        weir_jm_executor_timers(jm);
        for (int i = 0; i < jm->job_count; i++)
            if (jm->jobs[i]->in->timer_ms <= jm->now_ms) {
                weir_jm_task_timers(jm, jm->jobs[i]);
                weir_jm_region_timers(jm, jm->jobs[i]);
            }
        weir_jm_recoveries(jm);
        weir_jm_job_outputs(jm);        /* what is published makes room for checkpoints, and ends jobs */
        weir_jm_checkpoints_expire(jm); /* may fail jobs */
        weir_jm_operations(jm);         /* what waited for a checkpoint that is gone begins */
        weir_jm_checkpoints(jm);        /* may fail jobs */
        weir_jm_schedule(jm);           /* slots of what has ended */
        weir_jm_job_expire(jm);
    }
    *effects = (struct weir_jm_effects){jm->effects, jm->effect_count, jm->fenced ? NEVER_MS : wake_ms(jm)};
}
