/* Executions: the states of a task's current attempt, reports about them, cancelling.
 *
 * A report counts only from the executor that the current attempt was deployed to, for the current attempt. States move along
 * Flink's transitions and never back; a new attempt begins anew at CREATED.
 */
#include "jobmanager/core/jm_int.h"

#include "base/proto_memory.h"

bool weir_task_state_terminal(Weir__TaskState state)
{
    return state == WEIR__TASK_STATE__FINISHED || state == WEIR__TASK_STATE__CANCELED ||
           state == WEIR__TASK_STATE__FAILED;
}

static bool transition_legal(Weir__TaskState from, Weir__TaskState to)
{
    switch (from) {
    case WEIR__TASK_STATE__CREATED:
        return to == WEIR__TASK_STATE__SCHEDULED || to == WEIR__TASK_STATE__CANCELED || to == WEIR__TASK_STATE__FAILED;
    case WEIR__TASK_STATE__SCHEDULED:
        return to == WEIR__TASK_STATE__DEPLOYING || to == WEIR__TASK_STATE__CANCELED || to == WEIR__TASK_STATE__FAILED;
    case WEIR__TASK_STATE__DEPLOYING:
        return to == WEIR__TASK_STATE__INITIALIZING || to == WEIR__TASK_STATE__CANCELING ||
               to == WEIR__TASK_STATE__FAILED;
    case WEIR__TASK_STATE__INITIALIZING:
        return to == WEIR__TASK_STATE__RUNNING || to == WEIR__TASK_STATE__CANCELING || to == WEIR__TASK_STATE__FAILED;
    case WEIR__TASK_STATE__RUNNING:
        return to == WEIR__TASK_STATE__FINISHED || to == WEIR__TASK_STATE__CANCELING || to == WEIR__TASK_STATE__FAILED;
    case WEIR__TASK_STATE__CANCELING:
        return to == WEIR__TASK_STATE__CANCELED; /* whatever goes wrong on the way */
    default:
        return false; /* terminal */
    }
}

void weir_jm_task_set_state(struct weir_jm *jm, struct weir_jm_job *job, struct weir_jm_task *task,
                            Weir__TaskState state)
{
    weir_assert(transition_legal(task->state, state));
    task->state = state;
    task->timestamps_ms[state] = jm->wall_ms;
    if (state != WEIR__TASK_STATE__DEPLOYING && state != WEIR__TASK_STATE__CANCELING)
        task->deadline_ms = NEVER_MS;
    job->version++;
    job->modified_ms = jm->wall_ms;
}

void weir_jm_task_set_deadline(struct weir_jm_job *job, struct weir_jm_task *task, int64_t deadline_ms)
{
    task->deadline_ms = deadline_ms;
    if (deadline_ms < job->in->timer_ms)
        job->in->timer_ms = deadline_ms;
}

void weir_jm_task_clear(struct weir_jm *jm, struct weir_jm_task *task)
{
    Weir__Control *finished = (Weir__Control *)(uintptr_t)task->finished;
    if (finished && jm)
        weir_jm_trash(jm, finished);
    else if (finished)
        weir__control__free_unpacked(finished, NULL);
    task->finished = NULL;
    if (task->metrics)
        weir__task_metrics__free_unpacked((Weir__TaskMetrics *)(uintptr_t)task->metrics, NULL);
    task->metrics = NULL;
}

void weir_jm_task_new_attempt(struct weir_jm *jm, struct weir_jm_job *job, struct weir_jm_task *task)
{
    weir_assert(weir_task_state_terminal(task->state) || task->attempt == 0);
    weir_jm_task_clear(jm, task);
    job->in->executors[task - job->tasks] = NULL;
    if (task->attempt == 0 || !WEIR_MUTANT(jm_attempt_reused))
        task->attempt++;
    task->state = WEIR__TASK_STATE__CREATED;
    for (int i = 0; i < WEIR_JM_TASK_STATES; i++)
        task->timestamps_ms[i] = -1;
    task->timestamps_ms[WEIR__TASK_STATE__CREATED] = jm->wall_ms;
    task->taskmanager_id[0] = task->executor_id[0] = task->host[0] = 0;
    task->data_port = 0;
    task->deadline_ms = NEVER_MS;
    weir_jm_task_set_state(jm, job, task, WEIR__TASK_STATE__SCHEDULED);
}

/* --- Reports */

static void set_metrics(struct weir_jm_task *task, const Weir__TaskMetrics *metrics)
{
    uint8_t small[1024], *bytes = small;
    size_t size = weir__task_metrics__get_packed_size(metrics);
    if (size > sizeof small)
        bytes = weir_alloc(size);
    weir__task_metrics__pack(metrics, bytes);
    if (task->metrics)
        weir__task_metrics__free_unpacked((Weir__TaskMetrics *)(uintptr_t)task->metrics, NULL);
    task->metrics = weir__task_metrics__unpack(&weir_proto_memory, size, bytes);
    if (bytes != small)
        free(bytes);
}

/* The task that a message from `tm` is about, if it is about a current attempt there; else NULL. */
static struct weir_jm_task *current_task(struct weir_jm *jm, const struct weir_jm_taskmanager *tm,
                                         const char *executor_id, const char *job_id, const Weir__TaskId *id,
                                         struct weir_jm_job **job)
{
    *job = weir_jm_job_get(jm, job_id);
    if (!*job || !id || id->vertex >= (uint32_t)(*job)->plan->vertex_count ||
        id->subtask >= (uint32_t)(*job)->plan->vertices[id->vertex].parallelism)
        return NULL;
    int index = (*job)->plan->vertices[id->vertex].first_task + (int)id->subtask;
    struct weir_jm_task *task = &(*job)->tasks[index];
    const struct weir_jm_executor *executor = (*job)->in->executors[index];
    if (!executor || executor->tm != tm || (executor_id && strcmp(executor->id, executor_id) != 0))
        return NULL;
    if (task->attempt != id->attempt && !WEIR_MUTANT(jm_stale_attempt))
        return NULL;
    return task;
}

/* Reports may skip states (an executor reports RUNNING at once): the missing ones are entered on the way. */
static void advance(struct weir_jm *jm, struct weir_jm_job *job, struct weir_jm_task *task, Weir__TaskState to)
{
    static const Weir__TaskState path[] = {WEIR__TASK_STATE__INITIALIZING, WEIR__TASK_STATE__RUNNING,
                                           WEIR__TASK_STATE__FINISHED};
    for (size_t i = 0; i < sizeof path / sizeof *path; i++) {
        if (transition_legal(task->state, path[i]))
            weir_jm_task_set_state(jm, job, task, path[i]);
        if (path[i] == to)
            return;
    }
}

static void task_failed(struct weir_jm *jm, struct weir_jm_job *job, struct weir_jm_task *task,
                        const Weir__Failure *failure)
{
    Weir__Failure unknown;
    weir__failure__init(&unknown);
    unknown.kind = (char *)"TaskFailed";
    unknown.message = (char *)"the task failed without saying why";
    if (!failure)
        failure = &unknown;
    if (task->state == WEIR__TASK_STATE__CANCELING) { /* a consequence of being torn down, as in Flink */
        weir_jm_task_set_state(jm, job, task, WEIR__TASK_STATE__CANCELED);
        return;
    }
    weir_jm_exception(jm, job, task, task->taskmanager_id, failure);
    weir_jm_task_set_state(jm, job, task, WEIR__TASK_STATE__FAILED);
    bool *hit = weir_arena_zalloc(&jm->arena, (size_t)job->plan->task_region_count * sizeof *hit);
    hit[task->region] = true;
    weir_jm_regions_failed(jm, job, hit, failure);
}

static void task_finished(struct weir_jm *jm, struct weir_jm_job *job, struct weir_jm_task *task,
                          const Weir__TaskReport *report)
{
    if (task->state == WEIR__TASK_STATE__CANCELING) { /* too late: its region starts anew, or the job ends */
        weir_jm_task_set_state(jm, job, task, WEIR__TASK_STATE__CANCELED);
        return;
    }
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_TASK_REPORT;
    control.task_report = (Weir__TaskReport *)(uintptr_t)report;
    task->finished = weir_jm_control_copy(&control);
    advance(jm, job, task, WEIR__TASK_STATE__FINISHED);
    weir_jm_checkpoint_task_finished(jm, job, (int)(task - job->tasks));
}

void weir_jm_task_checkpoint_report(struct weir_jm *jm, struct weir_jm_taskmanager *tm, const Weir__Control *control)
{
    const Weir__CheckpointReport *report = control->checkpoint_report;
    struct weir_jm_job *job;
    struct weir_jm_task *task = current_task(jm, tm, report->executor_id, report->job_id, report->task, &job);
    if (task)
        weir_jm_checkpoint_report(jm, job, task, control);
}

void weir_jm_task_report(struct weir_jm *jm, struct weir_jm_taskmanager *tm, const Weir__TaskReport *report)
{
    struct weir_jm_job *job;
    struct weir_jm_task *task = current_task(jm, tm, report->executor_id, report->job_id, report->task, &job);
    if (!task || (weir_task_state_terminal(task->state) && !WEIR_MUTANT(jm_terminal_reports)))
        return;
    if (report->metrics)
        set_metrics(task, report->metrics);
    switch (report->state) {
    case WEIR__TASK_STATE__INITIALIZING:
    case WEIR__TASK_STATE__RUNNING:
        if (task->state != WEIR__TASK_STATE__CANCELING)
            advance(jm, job, task, report->state);
        break;
    case WEIR__TASK_STATE__FINISHED:
        task_finished(jm, job, task, report);
        break;
    case WEIR__TASK_STATE__CANCELED:
        if (task->state == WEIR__TASK_STATE__CANCELING)
            weir_jm_task_set_state(jm, job, task, WEIR__TASK_STATE__CANCELED);
        else
            task_failed(jm, job, task, report->failure); /* nobody asked for it */
        break;
    case WEIR__TASK_STATE__FAILED:
        task_failed(jm, job, task, report->failure);
        break;
    default:
        return; /* no state that an executor reports */
    }
    if (weir_task_state_terminal(task->state))
        weir_jm_job_settle(jm, job);
}

void weir_jm_task_metrics(struct weir_jm *jm, struct weir_jm_taskmanager *tm, const Weir__TaskMetrics *metrics)
{
    struct weir_jm_job *job;
    struct weir_jm_task *task = current_task(jm, tm, NULL, metrics->job_id, metrics->task, &job);
    if (task && !weir_task_state_terminal(task->state))
        set_metrics(task, metrics);
}

/* --- Cancel */

static void send_cancel(struct weir_jm *jm, struct weir_jm_executor *executor, Weir__TaskId **ids, size_t count)
{
    Weir__CancelTasks cancel;
    weir__cancel_tasks__init(&cancel);
    cancel.executor_id = executor->id;
    cancel.tasks = ids;
    cancel.n_tasks = count;
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_CANCEL_TASKS;
    control.cancel_tasks = &cancel;
    weir_jm_command(jm, executor->tm, &control);
}

void weir_jm_tasks_cancel(struct weir_jm *jm, struct weir_jm_job *job, const int *tasks, int count)
{
    for (int i = 0; i < count; i++) {
        struct weir_jm_task *task = &job->tasks[tasks[i]];
        if (weir_task_state_terminal(task->state) || task->state == WEIR__TASK_STATE__CANCELING)
            continue;
        if (task->state == WEIR__TASK_STATE__CREATED || task->state == WEIR__TASK_STATE__SCHEDULED) {
            weir_jm_task_set_state(jm, job, task, WEIR__TASK_STATE__CANCELED);
            continue;
        }
        weir_jm_task_set_state(jm, job, task, WEIR__TASK_STATE__CANCELING);
        if (!WEIR_MUTANT(jm_no_cancel_deadline))
            weir_jm_task_set_deadline(job, task, later_ms(jm->now_ms, job->options.cancellation_timeout_ms));
    }
    Weir__TaskId *ids = weir_arena_alloc(&jm->arena, (size_t)(count + 1) * sizeof *ids);
    Weir__TaskId **list = weir_arena_alloc(&jm->arena, (size_t)(count + 1) * sizeof *list);
    for (int e = 0; e < jm->executor_count; e++) {
        struct weir_jm_executor *executor = jm->executors[e];
        size_t n = 0;
        for (int i = 0; i < count && executor->job == job; i++) {
            const struct weir_jm_task *task = &job->tasks[tasks[i]];
            if (job->in->executors[tasks[i]] != executor || task->state != WEIR__TASK_STATE__CANCELING)
                continue;
            weir__task_id__init(&ids[n]);
            ids[n].vertex = (uint32_t)task->vertex;
            ids[n].subtask = (uint32_t)task->subtask;
            ids[n].attempt = task->attempt;
            list[n] = &ids[n];
            n++;
        }
        if (n)
            send_cancel(jm, executor, list, n);
    }
}

/* --- Time: a task that does not start or stop in time costs its executor. */

void weir_jm_task_timers(struct weir_jm *jm, struct weir_jm_job *job)
{
    job->in->timer_ms = NEVER_MS;
    for (int t = 0; t < job->task_count; t++) {
        struct weir_jm_task *task = &job->tasks[t];
        struct weir_jm_executor *executor = job->in->executors[t];
        if (task->deadline_ms > jm->now_ms) {
            if (task->deadline_ms < job->in->timer_ms)
                job->in->timer_ms = task->deadline_ms;
            continue;
        }
        task->deadline_ms = NEVER_MS;
        if (!executor || executor->state == WEIR_JM_EXECUTOR_STOPPING)
            continue;
        weir_jm_log(
            jm, WEIR_JM_LOG_WARN, job, "task %s (%d/%d) did not %s in time: executor %s on TaskManager %s is killed",
            job->plan->vertices[task->vertex].name, task->subtask + 1, job->plan->vertices[task->vertex].parallelism,
            task->state == WEIR__TASK_STATE__CANCELING ? "stop" : "start", executor->id, executor->tm->id);
        weir_jm_executor_stop(jm, executor, true);
    }
}
