/* The supervisor's step: one event in, effects out. tm_session.c has the line to the JobManager, tm_executor.c slots and executors,
 * tm_output.c the publishing of output. After each event all due timers fire, those of leases before it too.
 */
#include "taskmanager/core/tm_int.h"

#include <stdarg.h>

#include "base/hash.h"
#include "base/proto_memory.h"

void weir_tm_options_init(struct weir_tm_options *options)
{
    *options = (struct weir_tm_options){
        .taskmanager_id = "",
        .host = "127.0.0.1",
        .bind_host = "",
        .log_directory = "",
        .slots = 1,
        .register_timeout_ms = 5000,
        .backoff_min_ms = 50,
        .backoff_max_ms = 5000,
        .stop_grace_ms = 5000,
        .kill_repeat_ms = 5000,
        .resend_ms = 1000,
        .window = 32,
        .outbox_max = 65536,
    };
}

struct weir_tm *weir_tm_new(const struct weir_tm_options *options)
{
    weir_assert(options->slots >= 1 && options->slots <= SLOTS_MAX);
    weir_assert(options->window > 0 && options->outbox_max >= options->window);
    struct weir_tm *tm = weir_zalloc(sizeof *tm);
    tm->options = *options;
    tm->options.taskmanager_id = weir_strdup(options->taskmanager_id);
    tm->options.host = weir_strdup(options->host);
    tm->options.bind_host = weir_strdup(options->bind_host);
    tm->options.log_directory = weir_strdup(options->log_directory);
    tm->slots = weir_zalloc(options->slots * sizeof *tm->slots);
    tm->phase = PHASE_WAITING;
    tm->deadline_ms = tm->next_heartbeat_ms = tm->register_resend_ms = NEVER_MS;
    tm->lease_until_ms = INT64_MIN;
    tm->next_id = 1;
    tm->backoff_ms = options->backoff_min_ms;
    weir_arena_init(&tm->arena);
    return tm;
}

static void take_process(struct weir_tm *tm, const Weir__ProcessMetrics *process)
{
    size_t size = weir__process_metrics__get_packed_size(process);
    uint8_t *bytes = weir_alloc(size + 1);
    weir__process_metrics__pack(process, bytes);
    weir__process_metrics__free_unpacked(tm->process, NULL);
    tm->process = weir__process_metrics__unpack(&weir_proto_memory, size, bytes);
    free(bytes);
}

static void empty_trash(struct weir_tm *tm)
{
    for (int i = 0; i < tm->trash_count; i++)
        weir__control__free_unpacked(tm->trash[i], NULL);
    tm->trash_count = 0;
}

void weir_tm_free(struct weir_tm *tm)
{
    if (!tm)
        return;
    for (int i = 0; i < tm->executor_count; i++)
        weir_tm_executor_free(tm->executors[i]);
    for (int i = 0; i < tm->outbox_count; i++)
        weir__control__free_unpacked(tm->outbox[i], NULL);
    empty_trash(tm);
    free((char *)(uintptr_t)tm->options.taskmanager_id);
    free((char *)(uintptr_t)tm->options.host);
    free((char *)(uintptr_t)tm->options.bind_host);
    free((char *)(uintptr_t)tm->options.log_directory);
    weir__process_metrics__free_unpacked(tm->process, NULL);
    free(tm->slots);
    free(tm->executors);
    free(tm->commits);
    free(tm->outbox);
    free(tm->effects);
    free(tm->trash);
    weir_arena_fini(&tm->arena);
    free(tm);
}

/* --- Effects */

struct weir_tm_effect *weir_tm_effect(struct weir_tm *tm, enum weir_tm_effect_kind kind)
{
    GROW(tm->effects, tm->effect_count, tm->effect_capacity);
    struct weir_tm_effect *effect = &tm->effects[tm->effect_count++];
    *effect = (struct weir_tm_effect){.kind = kind};
    return effect;
}

void weir_tm_log(struct weir_tm *tm, enum weir_tm_log_level level, const char *job_id, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct weir_tm_effect *effect = weir_tm_effect(tm, WEIR_TM_EFFECT_LOG);
    effect->level = level;
    effect->job_id = job_id ? weir_arena_strdup(&tm->arena, job_id) : NULL;
    effect->text = weir_arena_strdup(&tm->arena, text);
}

void weir_tm_trash(struct weir_tm *tm, Weir__Control *take_control)
{
    if (!take_control)
        return;
    GROW(tm->trash, tm->trash_count, tm->trash_capacity);
    tm->trash[tm->trash_count++] = take_control;
}

Weir__Control *weir_tm_control_copy(const Weir__Control *control)
{
    size_t size = weir__control__get_packed_size(control);
    uint8_t *bytes = weir_alloc(size);
    weir__control__pack(control, bytes);
    Weir__Control *copy = weir__control__unpack(&weir_proto_memory, size, bytes);
    weir_assert(copy);
    free(bytes);
    return copy;
}

Weir__Control *weir_tm_new_control(struct weir_tm *tm)
{
    Weir__Control *control = weir_arena_alloc(&tm->arena, sizeof *control);
    weir__control__init(control);
    control->version = 1;
    control->leader_epoch = tm->leader_epoch;
    control->session = tm->session;
    return control;
}

/* --- The step */

static void start(struct weir_tm *tm, const struct weir_tm_event *event)
{
    for (int i = 0; i < event->orphan_count; i++) {
        struct weir_tm_orphan *orphan = weir_arena_alloc(&tm->arena, sizeof *orphan);
        *orphan = event->orphans[i];
        if (!WEIR_MUTANT(tm_orphans_left))
            weir_tm_effect(tm, WEIR_TM_EFFECT_KILL_ORPHAN)->orphan = orphan;
        weir_tm_log(tm, WEIR_TM_LOG_WARN, NULL,
                    "executor %s (pid %" PRIu32 ") was left by an earlier TaskManager: it is killed",
                    orphan->executor_id, orphan->pid);
    }
    weir_tm_session_start(tm);
}

static void take_event(struct weir_tm *tm, const struct weir_tm_event *event)
{
    switch (event->kind) {
    case WEIR_TM_EVENT_START:
        start(tm, event);
        break;
    case WEIR_TM_EVENT_TICK:
        break;
    case WEIR_TM_EVENT_LINE_CONNECTED:
        weir_tm_session_connected(tm);
        break;
    case WEIR_TM_EVENT_LINE_BROKEN:
        weir_tm_session_broken(tm, "the line to the JobManager broke");
        break;
    case WEIR_TM_EVENT_MESSAGE:
        weir_tm_session_message(tm, event->control);
        break;
    case WEIR_TM_EVENT_CODE_READY:
        weir_tm_executor_code(tm, event->sha256, event->text, NULL);
        break;
    case WEIR_TM_EVENT_CODE_FAILED:
        weir_tm_executor_code(tm, event->sha256, NULL, event->text);
        break;
    case WEIR_TM_EVENT_EXECUTOR_SPAWNED:
        weir_tm_executor_spawned(tm, event->executor_id, event->pid);
        break;
    case WEIR_TM_EVENT_EXECUTOR_EXITED:
        weir_tm_executor_exited(tm, event);
        break;
    case WEIR_TM_EVENT_EXECUTOR_MESSAGE:
        weir_tm_executor_message(tm, event->executor_id, event->control);
        break;
    case WEIR_TM_EVENT_EXECUTOR_MEMORY:
        weir_tm_executor_memory(tm, event->executor_id, event->rss_bytes);
        break;
    case WEIR_TM_EVENT_PROCESS_METRICS:
        take_process(tm, event->process);
        break;
    case WEIR_TM_EVENT_COMMITTED:
        weir_tm_committed(tm, event->job_id, event->checkpoint, event->failure);
        break;
    }
}

void weir_tm_step(struct weir_tm *tm, const struct weir_tm_event *event, struct weir_tm_effects *effects)
{
    weir_assert(event->now_ms >= tm->now_ms);
    bool stopped = tm->options.executor_silence_ms && event->now_ms - tm->now_ms > tm->options.executor_silence_ms / 2;
    tm->now_ms = event->now_ms;
    if (stopped)
        weir_tm_executor_excuse(tm);
    tm->effect_count = 0;
    empty_trash(tm);
    weir_arena_reset(&tm->arena);
    if (event->kind != WEIR_TM_EVENT_START) { /* a lease that has ended is over before anything else is decided */
        weir_tm_session_lease(tm);
        weir_tm_executor_timers(tm);
    }
    take_event(tm, event);
    weir_tm_session_timers(tm);
    weir_tm_executor_timers(tm);
    int64_t wake = weir_tm_session_wake_ms(tm), executors = weir_tm_executor_wake_ms(tm);
    *effects = (struct weir_tm_effects){tm->effects, tm->effect_count, wake < executors ? wake : executors};
}

/* --- For io, status and tests */

bool weir_tm_registered(const struct weir_tm *tm)
{
    return tm->phase == PHASE_REGISTERED;
}

uint64_t weir_tm_session(const struct weir_tm *tm)
{
    return tm->session;
}

uint64_t weir_tm_leader_epoch(const struct weir_tm *tm)
{
    return tm->leader_epoch;
}

int64_t weir_tm_lease_until_ms(const struct weir_tm *tm)
{
    return tm->lease_until_ms;
}

int weir_tm_executor_count(const struct weir_tm *tm)
{
    return tm->executor_count;
}

struct weir_tm_executor_view weir_tm_executor_at(const struct weir_tm *tm, int index)
{
    weir_assert(index >= 0 && index < tm->executor_count);
    const struct tm_executor *executor = tm->executors[index];
    return (struct weir_tm_executor_view){
        .id = executor->id,
        .job_id = executor->job_id,
        .job_name = executor->start->start_executor->job_name,
        .state = executor->state,
        .pid = executor->pid,
        .task_count = executor->task_count,
    };
}

const char *weir_tm_slot_executor(const struct weir_tm *tm, uint32_t slot)
{
    weir_assert(slot < tm->options.slots);
    return tm->slots[slot] ? tm->slots[slot]->id : "";
}

int weir_tm_reports_in_flight(const struct weir_tm *tm)
{
    return tm->in_flight;
}

int weir_tm_reports_waiting(const struct weir_tm *tm)
{
    return tm->outbox_count;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return hash ^ (hash >> 29);
}

uint64_t weir_tm_digest(const struct weir_tm *tm)
{
    uint64_t hash = mix(tm->session, (uint64_t)tm->phase);
    hash = mix(hash, tm->leader_epoch);
    hash = mix(hash, tm->received_id);
    hash = mix(hash, tm->next_id);
    hash = mix(hash, (uint64_t)tm->outbox_count);
    hash = mix(hash, (uint64_t)tm->lease_until_ms);
    for (int i = 0; i < tm->executor_count; i++) {
        const struct tm_executor *executor = tm->executors[i];
        hash = mix(hash, weir_xxh3(executor->id, strlen(executor->id)));
        hash = mix(hash, (uint64_t)executor->state << 8 | (uint64_t)executor->task_count);
        hash = mix(hash, (uint64_t)executor->lease_until_ms);
        for (int t = 0; t < executor->task_count; t++)
            hash = mix(hash, (uint64_t)executor->tasks[t].attempt << 8 | (uint64_t)executor->tasks[t].state);
    }
    for (uint32_t s = 0; s < tm->options.slots; s++)
        hash = mix(hash, tm->slots[s] != NULL);
    return mix(hash, (uint64_t)tm->commit_count);
}
