/* Slots and executors. FETCHING -> SPAWNING -> STARTING -> READY -> STOPPING -> KILLING -> gone; see tm.h.
 *
 * Invariants: a slot belongs to at most one executor; an executor leaves the table only when no process of it can exist (io said so,
 * or none was spawned); from the end of its lease on it is KILLING.
 */
#include "taskmanager/core/tm_int.h"

#include "base/proto_memory.h"

static struct tm_executor *find(struct weir_tm *tm, const char *id)
{
    for (int i = 0; i < tm->executor_count; i++)
        if (strcmp(tm->executors[i]->id, id) == 0)
            return tm->executors[i];
    return NULL;
}

void weir_tm_executor_free(struct tm_executor *executor)
{
    for (int t = 0; t < executor->task_count; t++)
        weir__task_metrics__free_unpacked(executor->tasks[t].metrics, NULL);
    weir__control__free_unpacked(executor->start, NULL);
    free(executor->tasks);
    free(executor->code_path);
    free(executor->refusal);
    free(executor);
}

static void send_executor(struct weir_tm *tm, const struct tm_executor *executor, const Weir__Control *control)
{
    struct weir_tm_effect *effect = weir_tm_effect(tm, WEIR_TM_EFFECT_SEND_EXECUTOR);
    effect->executor_id = weir_arena_strdup(&tm->arena, executor->id);
    effect->job_id = weir_arena_strdup(&tm->arena, executor->job_id);
    effect->control = control;
}

/* --- Reports about executors */

Weir__ExecutorReport *weir_tm_executor_report(struct weir_tm *tm, const struct tm_executor *executor)
{
    Weir__ExecutorReport *report = weir_arena_alloc(&tm->arena, sizeof *report);
    weir__executor_report__init(report);
    report->executor_id = weir_arena_strdup(&tm->arena, executor->id);
    report->job_id = weir_arena_strdup(&tm->arena, executor->job_id);
    report->state = executor->state >= WEIR_TM_EXECUTOR_READY ? WEIR__EXECUTOR_REPORT__STATE__READY
                                                              : WEIR__EXECUTOR_REPORT__STATE__STARTING;
    report->pid = executor->pid;
    report->slots = weir_arena_alloc(&tm->arena, tm->options.slots * sizeof *report->slots);
    for (uint32_t s = 0; s < tm->options.slots; s++)
        if (tm->slots[s] == executor)
            report->slots[report->n_slots++] = s;
    return report;
}

static void report_executor(struct weir_tm *tm, Weir__ExecutorReport *report)
{
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_EXECUTOR_REPORT;
    control.executor_report = report;
    weir_tm_report(tm, &control);
}

static Weir__Failure *make_failure(struct weir_tm *tm, const char *kind, const char *message)
{
    Weir__Failure *failure = weir_arena_alloc(&tm->arena, sizeof *failure);
    weir__failure__init(failure);
    failure->kind = (char *)(uintptr_t)kind;
    failure->message = (char *)(uintptr_t)message;
    return failure;
}

/* No process of it exists: its slots are free, the JobManager hears of it. `failure`: NULL when the end was asked for. */
static void executor_gone(struct weir_tm *tm, struct tm_executor *executor, Weir__Failure *failure)
{
    Weir__ExecutorReport *report = weir_tm_executor_report(tm, executor);
    report->state = WEIR__EXECUTOR_REPORT__STATE__EXITED;
    report->failure = failure;
    for (uint32_t s = 0; s < tm->options.slots; s++)
        if (tm->slots[s] == executor)
            tm->slots[s] = NULL;
    for (int i = 0; i < tm->executor_count; i++)
        if (tm->executors[i] == executor) {
            memmove(&tm->executors[i], &tm->executors[i + 1],
                    (size_t)(tm->executor_count - i - 1) * sizeof *tm->executors);
            tm->executor_count--;
            break;
        }
    weir_tm_trash(tm, executor->start);
    executor->start = NULL;
    if (!WEIR_MUTANT(tm_exit_unreported))
        report_executor(tm, report);
    weir_tm_executor_free(executor);
}

/* --- Start */

static const char *refuse_start(struct weir_tm *tm, const Weir__StartExecutor *start)
{
    if (tm->executor_count >= EXECUTORS_MAX)
        return "this TaskManager has too many executors";
    for (size_t i = 0; i < start->n_slots; i++) {
        if (start->slots[i] >= tm->options.slots)
            return weir_arena_format(&tm->arena, "slot %" PRIu32 " does not exist: this TaskManager has %" PRIu32,
                                     start->slots[i], tm->options.slots);
        if (tm->slots[start->slots[i]] && !WEIR_MUTANT(tm_slot_taken))
            return weir_arena_format(&tm->arena, "slot %" PRIu32 " is taken by executor %s", start->slots[i],
                                     tm->slots[start->slots[i]]->id);
    }
    return NULL;
}

static void spawn(struct weir_tm *tm, struct tm_executor *executor)
{
    executor->state = WEIR_TM_EXECUTOR_SPAWNING;
    struct weir_tm_effect *effect = weir_tm_effect(tm, WEIR_TM_EFFECT_SPAWN);
    effect->executor_id = weir_arena_strdup(&tm->arena, executor->id);
    effect->job_id = weir_arena_strdup(&tm->arena, executor->job_id);
    effect->job_name = executor->start->start_executor->job_name;
}

void weir_tm_executor_start(struct weir_tm *tm, const Weir__Control *control)
{
    const Weir__StartExecutor *start = control->start_executor;
    if (!start->executor_id[0] || strlen(start->executor_id) >= WEIR_TM_EXECUTOR_ID_SIZE ||
        strlen(start->job_id) >= WEIR_TM_JOB_ID_SIZE ||
        (find(tm, start->executor_id) && !WEIR_MUTANT(tm_command_twice)))
        return;
    const char *refusal = refuse_start(tm, start);
    if (refusal) {
        Weir__ExecutorReport report;
        weir__executor_report__init(&report);
        report.executor_id = start->executor_id;
        report.job_id = start->job_id;
        report.state = WEIR__EXECUTOR_REPORT__STATE__EXITED;
        report.failure = make_failure(tm, "ExecutorRefused", refusal);
        report_executor(tm, &report);
        return;
    }
    struct tm_executor *executor = weir_zalloc(sizeof *executor);
    snprintf(executor->id, sizeof executor->id, "%s", start->executor_id);
    snprintf(executor->job_id, sizeof executor->job_id, "%s", start->job_id);
    executor->start = weir_tm_control_copy(control);
    executor->code_path = weir_strdup("");
    executor->session = tm->session;
    executor->lease_until_ms = tm->lease_until_ms;
    executor->deadline_ms = NEVER_MS;
    GROW(tm->executors, tm->executor_count, tm->executor_capacity);
    tm->executors[tm->executor_count++] = executor;
    for (size_t i = 0; i < start->n_slots; i++)
        tm->slots[start->slots[i]] = executor;
    if (start->code_sha256[0]) {
        executor->state = WEIR_TM_EXECUTOR_FETCHING;
        struct weir_tm_effect *effect = weir_tm_effect(tm, WEIR_TM_EFFECT_FETCH_CODE);
        effect->sha256 = executor->start->start_executor->code_sha256;
        effect->job_id = weir_arena_strdup(&tm->arena, executor->job_id);
    } else {
        spawn(tm, executor);
    }
}

void weir_tm_executor_code(struct weir_tm *tm, const char *sha256, const char *path, const char *error)
{
    for (int i = 0; i < tm->executor_count; i++) {
        struct tm_executor *executor = tm->executors[i];
        if (executor->state != WEIR_TM_EXECUTOR_FETCHING ||
            strcmp(executor->start->start_executor->code_sha256, sha256) != 0)
            continue;
        if (error) {
            executor_gone(tm, executor, make_failure(tm, "CodeUnavailable", error));
            i--;
            continue;
        }
        if (executor->session != tm->session || tm->phase != PHASE_REGISTERED) { /* nobody waits for it any more */
            executor_gone(tm, executor,
                          make_failure(tm, "SessionEnded", "the line to the JobManager broke before it was started"));
            i--;
            continue;
        }
        free(executor->code_path);
        executor->code_path = weir_strdup(path);
        spawn(tm, executor);
    }
}

static void send_kill(struct weir_tm *tm, struct tm_executor *executor)
{
    executor->state = WEIR_TM_EXECUTOR_KILLING;
    executor->deadline_ms = later_ms(tm->now_ms, tm->options.kill_repeat_ms);
    weir_tm_effect(tm, WEIR_TM_EFFECT_KILL)->executor_id = weir_arena_strdup(&tm->arena, executor->id);
}

void weir_tm_executor_spawned(struct weir_tm *tm, const char *executor_id, uint32_t pid)
{
    struct tm_executor *executor = find(tm, executor_id);
    if (!executor)
        return;
    executor->pid = pid;
    if (executor->state == WEIR_TM_EXECUTOR_KILLING) {
        send_kill(tm, executor); /* the first one came before there was a process */
        return;
    }
    if (executor->state != WEIR_TM_EXECUTOR_SPAWNING)
        return;
    executor->state = WEIR_TM_EXECUTOR_STARTING;
    Weir__ExecutorStart *start = weir_arena_alloc(&tm->arena, sizeof *start);
    weir__executor_start__init(start);
    start->start = executor->start->start_executor;
    start->code_path = executor->code_path;
    start->host = (char *)(uintptr_t)tm->options.host;
    start->bind_host = (char *)(uintptr_t)tm->options.bind_host;
    start->curve = tm->options.curve;
    start->port_first = tm->options.port_first;
    start->port_last = tm->options.port_last;
    start->lease_ms = executor->lease_until_ms - tm->now_ms;
    start->lease_until_ms = executor->lease_until_ms;
    start->taskmanager_id = (char *)(uintptr_t)tm->options.taskmanager_id;
    Weir__Control *control = weir_tm_new_control(tm);
    control->body_case = WEIR__CONTROL__BODY_EXECUTOR_START;
    control->executor_start = start;
    send_executor(tm, executor, control);
}

/* --- Tasks */

static struct tm_task *find_task(struct tm_executor *executor, const Weir__TaskId *id)
{
    for (int t = 0; id && t < executor->task_count; t++)
        if (executor->tasks[t].vertex == id->vertex && executor->tasks[t].subtask == id->subtask)
            return &executor->tasks[t];
    return NULL;
}

static void report_refused(struct weir_tm *tm, const struct tm_executor *executor, Weir__TaskId *id, const char *why)
{
    Weir__TaskReport report;
    weir__task_report__init(&report);
    report.executor_id = (char *)(uintptr_t)executor->id;
    report.job_id = (char *)(uintptr_t)executor->job_id;
    report.task = id;
    report.state = WEIR__TASK_STATE__FAILED;
    report.failure = make_failure(tm, "TaskRefused", why);
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_TASK_REPORT;
    control.task_report = &report;
    weir_tm_report(tm, &control);
}

static const char *refuse_deploy(struct weir_tm *tm, const struct tm_executor *executor,
                                 const Weir__DeployTasks *deploy)
{
    if (deploy->n_slots != deploy->n_tasks)
        return "the command names a different number of slots than tasks";
    for (size_t i = 0; i < deploy->n_slots; i++) {
        if (!deploy->tasks[i] || deploy->slots[i] >= tm->options.slots)
            return "the command names a slot that does not exist";
        const struct tm_executor *owner = tm->slots[deploy->slots[i]];
        if (owner && owner != executor && !WEIR_MUTANT(tm_slot_taken))
            return weir_arena_format(&tm->arena, "slot %" PRIu32 " is taken by executor %s", deploy->slots[i],
                                     owner->id);
    }
    return NULL;
}

void weir_tm_executor_deploy(struct weir_tm *tm, const Weir__Control *control)
{
    const Weir__DeployTasks *deploy = control->deploy_tasks;
    struct tm_executor *executor = find(tm, deploy->executor_id);
    if (!executor || executor->state != WEIR_TM_EXECUTOR_READY)
        return; /* it has ended or is ending: its EXITED report says so */
    const char *refusal = refuse_deploy(tm, executor, deploy);
    if (refusal) {
        for (size_t i = 0; i < deploy->n_tasks; i++)
            report_refused(tm, executor, deploy->tasks[i], refusal);
        return;
    }
    for (size_t i = 0; i < deploy->n_tasks; i++) {
        struct tm_task *task = find_task(executor, deploy->tasks[i]);
        if (!task) {
            GROW(executor->tasks, executor->task_count, executor->task_capacity);
            task = &executor->tasks[executor->task_count++];
            *task = (struct tm_task){.vertex = deploy->tasks[i]->vertex, .subtask = deploy->tasks[i]->subtask};
        }
        weir__task_metrics__free_unpacked(task->metrics, NULL);
        task->metrics = NULL;
        task->attempt = deploy->tasks[i]->attempt;
        task->slot = deploy->slots[i];
        task->state = WEIR__TASK_STATE__DEPLOYING;
        tm->slots[deploy->slots[i]] = executor;
    }
    send_executor(tm, executor, control);
}

void weir_tm_executor_cancel(struct weir_tm *tm, const Weir__Control *control)
{
    struct tm_executor *executor = find(tm, control->cancel_tasks->executor_id);
    if (executor && executor->state == WEIR_TM_EXECUTOR_READY)
        send_executor(tm, executor, control);
}

void weir_tm_executor_trigger(struct weir_tm *tm, const Weir__Control *control)
{
    struct tm_executor *executor = find(tm, control->trigger_checkpoint->executor_id);
    if (executor && executor->state == WEIR_TM_EXECUTOR_READY)
        send_executor(tm, executor, control);
}

void weir_tm_executor_complete(struct weir_tm *tm, const Weir__Control *control)
{
    struct tm_executor *executor = find(tm, control->checkpoint_complete->executor_id);
    if (executor && executor->state == WEIR_TM_EXECUTOR_READY)
        send_executor(tm, executor, control);
}

/* --- Stop */

void weir_tm_executor_stop(struct weir_tm *tm, const Weir__StopExecutor *stop)
{
    struct tm_executor *executor = find(tm, stop->executor_id);
    if (!executor)
        return;
    executor->asked = true;
    if (executor->state == WEIR_TM_EXECUTOR_FETCHING) {
        executor_gone(tm, executor, NULL);
        return;
    }
    if (executor->state == WEIR_TM_EXECUTOR_KILLING)
        return;
    if (stop->kill || executor->state == WEIR_TM_EXECUTOR_SPAWNING) {
        send_kill(tm, executor);
        return;
    }
    if (executor->state == WEIR_TM_EXECUTOR_STOPPING)
        return;
    executor->state = WEIR_TM_EXECUTOR_STOPPING;
    executor->deadline_ms =
        WEIR_MUTANT(tm_stop_without_end) ? NEVER_MS : later_ms(tm->now_ms, tm->options.stop_grace_ms);
    Weir__StopExecutor *copy = weir_arena_alloc(&tm->arena, sizeof *copy);
    weir__stop_executor__init(copy);
    copy->executor_id = executor->id;
    Weir__Control *control = weir_tm_new_control(tm);
    control->body_case = WEIR__CONTROL__BODY_STOP_EXECUTOR;
    control->stop_executor = copy;
    send_executor(tm, executor, control);
}

/* How it ended, in a sentence. */
static const char *describe_end(struct weir_tm *tm, const struct tm_executor *executor,
                                const struct weir_tm_event *event)
{
    const char *text = event->text ? event->text : executor->refusal ? executor->refusal : "";
    const char *who =
        weir_arena_format(&tm->arena, "the executor of job %s on TaskManager %s (pid %" PRIu32 ")",
                          executor->start->start_executor->job_name, tm->options.taskmanager_id, executor->pid);
    if (!event->signal)
        return weir_arena_format(&tm->arena, "%s exited with code %d%s%s", who, event->exit_code, text[0] ? ": " : "",
                                 text);
    return weir_arena_format(&tm->arena, "%s was ended by signal %d (%s)%s%s", who, event->signal,
                             executor->why ? executor->why : strsignal(event->signal), text[0] ? ": " : "", text);
}

/* In bytes; 0: none. */
static uint64_t budget_of(const struct weir_tm *tm, const struct tm_executor *executor)
{
    if (tm->options.executor_memory_max)
        return (uint64_t)tm->options.executor_memory_max;
    return (uint64_t)tm->options.slot_memory_max * executor->start->start_executor->n_slots;
}

static const char *describe_budget(struct weir_tm *tm, const struct tm_executor *executor)
{
    const char *text = weir_arena_format(
        &tm->arena, "the job's executor used %" PRIu64 " MB of memory, its limit is %" PRIu64 " MB (%s)",
        executor->rss_bytes >> 20, budget_of(tm, executor) >> 20, "taskmanager.executor.memory");
    if (tm->options.executor_memory_max)
        return text;
    return weir_arena_format(&tm->arena, "%s, for %zu of the %" PRIu32 " slots that share the memory limit of %s", text,
                             executor->start->start_executor->n_slots, tm->options.slots,
                             "the TaskManager's container");
}

/* Why it ended, for the job's exceptions. */
static Weir__Failure *explain_end(struct weir_tm *tm, const struct tm_executor *executor,
                                  const struct weir_tm_event *event)
{
    const char *end = describe_end(tm, executor, event);
    if (executor->over_budget)
        end = weir_arena_format(&tm->arena, "%s: %s", describe_budget(tm, executor), end);
    Weir__Failure *failure = make_failure(tm,
                                          executor->why   ? executor->why
                                          : event->signal ? "ExecutorCrashed"
                                                          : "ExecutorExited",
                                          end);
    failure->signal = event->signal;
    failure->fail_job = executor->refusal_fails_job;
    const Weir__Failure *left = event->failure;
    if (left) { /* what the crash handler left knows more */
        if (left->kind[0])
            failure->kind = left->kind;
        if (left->message[0])
            failure->message = weir_arena_format(&tm->arena, "%s: %s", left->message, end);
        failure->stack = left->stack;
        failure->operator_ = left->operator_;
        failure->position = left->position;
        failure->fail_job = left->fail_job;
    }
    return failure;
}

void weir_tm_executor_exited(struct weir_tm *tm, const struct weir_tm_event *event)
{
    struct tm_executor *executor = find(tm, event->executor_id);
    if (!executor)
        return;
    Weir__Failure *failure = NULL;
    if (!executor->asked) {
        failure = explain_end(tm, executor, event);
        weir_tm_log(tm, WEIR_TM_LOG_WARN, executor->job_id, "%s", failure->message);
    }
    executor_gone(tm, executor, failure);
}

void weir_tm_executor_memory(struct weir_tm *tm, const char *executor_id, uint64_t rss_bytes)
{
    struct tm_executor *executor = find(tm, executor_id);
    if (!executor || executor->state == WEIR_TM_EXECUTOR_KILLING)
        return;
    executor->rss_bytes = rss_bytes;
    uint64_t budget = budget_of(tm, executor);
    if (!budget || rss_bytes <= budget || WEIR_MUTANT(tm_no_memory_kill))
        return;
    executor->over_budget = true;
    executor->why = "MemoryBudgetExceeded";
    weir_tm_log(tm, WEIR_TM_LOG_ERROR, executor->job_id, "executor %s: %s: it is killed", executor->id,
                describe_budget(tm, executor));
    send_kill(tm, executor);
}

/* --- Messages from executors */

static void executor_ready(struct weir_tm *tm, struct tm_executor *executor, const Weir__ExecutorReport *from)
{
    if (from->state == WEIR__EXECUTOR_REPORT__STATE__EXITED && from->failure && !executor->refusal) {
        executor->refusal = weir_strdup(from->failure->message);
        executor->refusal_fails_job = from->failure->fail_job;
    }
    if (from->state != WEIR__EXECUTOR_REPORT__STATE__READY || executor->state != WEIR_TM_EXECUTOR_STARTING)
        return;
    executor->state = WEIR_TM_EXECUTOR_READY;
    executor->heard_ms = tm->now_ms;
    Weir__ExecutorReport *report = weir_tm_executor_report(tm, executor);
    report->endpoint = from->endpoint;
    report->public_key = from->public_key;
    report_executor(tm, report);
}

/* Whether a report still counts is the JobManager's to judge; who sent it is ours to say. */
static void task_reported(struct weir_tm *tm, struct tm_executor *executor, const Weir__TaskReport *from)
{
    struct tm_task *task = find_task(executor, from->task);
    if (!task)
        return;
    if (task->attempt == from->task->attempt)
        task->state = from->state;
    Weir__TaskReport report = *from;
    report.executor_id = executor->id;
    report.job_id = executor->job_id;
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_TASK_REPORT;
    control.task_report = &report;
    weir_tm_report(tm, &control);
}

static void checkpoint_reported(struct weir_tm *tm, struct tm_executor *executor, const Weir__CheckpointReport *from)
{
    if (!find_task(executor, from->task))
        return;
    Weir__CheckpointReport report = *from;
    report.executor_id = executor->id;
    report.job_id = executor->job_id;
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_CHECKPOINT_REPORT;
    control.checkpoint_report = &report;
    weir_tm_report(tm, &control);
}

static void take_metrics(struct tm_executor *executor, const Weir__Heartbeat *heartbeat)
{
    for (size_t i = 0; i < heartbeat->n_metrics; i++) {
        const Weir__TaskMetrics *metrics = heartbeat->metrics[i];
        struct tm_task *task = find_task(executor, metrics->task);
        if (!task || task->attempt != metrics->task->attempt)
            continue;
        Weir__TaskMetrics named = *metrics;
        named.job_id = executor->job_id;
        size_t size = weir__task_metrics__get_packed_size(&named);
        uint8_t *bytes = weir_alloc(size);
        weir__task_metrics__pack(&named, bytes);
        weir__task_metrics__free_unpacked(task->metrics, NULL);
        task->metrics = weir__task_metrics__unpack(&weir_proto_memory, size, bytes);
        free(bytes);
    }
}

/* Who it is from is ours to say. */
static void alignment_said(struct weir_tm *tm, const struct tm_executor *executor, const Weir__Alignment *from)
{
    if (tm->phase != PHASE_REGISTERED || executor->session != tm->session)
        return; /* it will be said again */
    Weir__Alignment *alignment = weir_arena_alloc(&tm->arena, sizeof *alignment);
    *alignment = *from;
    alignment->executor_id = weir_arena_strdup(&tm->arena, executor->id);
    alignment->job_id = weir_arena_strdup(&tm->arena, executor->job_id);
    Weir__Control *control = weir_tm_new_control(tm);
    control->body_case = WEIR__CONTROL__BODY_ALIGNMENT;
    control->alignment = alignment;
    weir_tm_effect(tm, WEIR_TM_EFFECT_SEND)->control = control; /* the groups are borrowed, as long as the event */
}

void weir_tm_executor_align(struct weir_tm *tm, const Weir__Control *control)
{
    const struct tm_executor *executor = find(tm, control->alignment->executor_id);
    if (executor && executor->state == WEIR_TM_EXECUTOR_READY)
        send_executor(tm, executor, control);
}

void weir_tm_executor_message(struct weir_tm *tm, const char *executor_id, const Weir__Control *control)
{
    struct tm_executor *executor = find(tm, executor_id);
    if (!executor || executor->state == WEIR_TM_EXECUTOR_KILLING)
        return;
    executor->heard_ms = tm->now_ms;
    switch (control->body_case) {
    case WEIR__CONTROL__BODY_EXECUTOR_REPORT:
        executor_ready(tm, executor, control->executor_report);
        break;
    case WEIR__CONTROL__BODY_TASK_REPORT:
        task_reported(tm, executor, control->task_report);
        break;
    case WEIR__CONTROL__BODY_CHECKPOINT_REPORT:
        checkpoint_reported(tm, executor, control->checkpoint_report);
        break;
    case WEIR__CONTROL__BODY_HEARTBEAT:
        take_metrics(executor, control->heartbeat);
        break;
    case WEIR__CONTROL__BODY_ALIGNMENT:
        alignment_said(tm, executor, control->alignment);
        break;
    default:
        break;
    }
}

/* --- Lease and time */

static void send_lease(struct weir_tm *tm, struct tm_executor *executor)
{
    Weir__Lease *lease = weir_arena_alloc(&tm->arena, sizeof *lease);
    weir__lease__init(lease);
    lease->valid_ms = executor->lease_until_ms - tm->now_ms;
    lease->valid_until_ms = executor->lease_until_ms;
    Weir__Control *control = weir_tm_new_control(tm);
    control->body_case = WEIR__CONTROL__BODY_LEASE;
    control->lease = lease;
    send_executor(tm, executor, control);
}

void weir_tm_executor_lease(struct weir_tm *tm)
{
    for (int i = 0; i < tm->executor_count; i++) {
        struct tm_executor *executor = tm->executors[i];
        if (executor->session != tm->session && !WEIR_MUTANT(tm_lease_for_strangers))
            continue; /* the JobManager counts it as dead */
        executor->lease_until_ms = tm->lease_until_ms;
        if (executor->state == WEIR_TM_EXECUTOR_STARTING || executor->state == WEIR_TM_EXECUTOR_READY ||
            executor->state == WEIR_TM_EXECUTOR_STOPPING)
            send_lease(tm, executor);
    }
}

void weir_tm_executor_excuse(struct weir_tm *tm)
{
    for (int i = 0; i < tm->executor_count; i++)
        tm->executors[i]->heard_ms = tm->now_ms;
}

/* When a silent executor counts as hanging. */
static int64_t silence_ends_ms(const struct weir_tm *tm, const struct tm_executor *executor)
{
    if (!tm->options.executor_silence_ms || executor->state != WEIR_TM_EXECUTOR_READY)
        return NEVER_MS;
    return later_ms(executor->heard_ms, tm->options.executor_silence_ms);
}

void weir_tm_executor_timers(struct weir_tm *tm)
{
    for (int i = 0; i < tm->executor_count; i++) {
        struct tm_executor *executor = tm->executors[i];
        if (executor->state != WEIR_TM_EXECUTOR_KILLING && tm->now_ms >= executor->lease_until_ms &&
            !WEIR_MUTANT(tm_no_lease_kill)) {
            weir_tm_log(tm, WEIR_TM_LOG_WARN, executor->job_id,
                        "executor %s: the JobManager's lease has ended: it is killed", executor->id);
            executor->why = "LeaseExpired";
            if (executor->state == WEIR_TM_EXECUTOR_FETCHING) {
                executor_gone(tm, executor,
                              make_failure(tm, "LeaseExpired", "the lease ended before the executor was started"));
                i--;
                continue;
            }
            send_kill(tm, executor);
        }
        if (tm->now_ms >= silence_ends_ms(tm, executor) && !WEIR_MUTANT(tm_hang_unnoticed)) {
            weir_tm_log(tm, WEIR_TM_LOG_WARN, executor->job_id,
                        "executor %s was silent for %" PRId64 " ms: it hangs and is killed", executor->id,
                        tm->options.executor_silence_ms);
            executor->why = "ExecutorHung";
            send_kill(tm, executor);
        }
        if (executor->deadline_ms <= tm->now_ms)
            send_kill(tm, executor); /* grace is over, or it has not ended yet */
    }
}

int64_t weir_tm_executor_wake_ms(const struct weir_tm *tm)
{
    int64_t wake = NEVER_MS;
    for (int i = 0; i < tm->executor_count; i++) {
        const struct tm_executor *executor = tm->executors[i];
        if (executor->deadline_ms < wake)
            wake = executor->deadline_ms;
        if (silence_ends_ms(tm, executor) < wake)
            wake = silence_ends_ms(tm, executor);
        if (executor->state != WEIR_TM_EXECUTOR_KILLING && executor->lease_until_ms < wake)
            wake = executor->lease_until_ms;
    }
    return wake;
}
