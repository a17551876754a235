/* Executors: one process per (job, TaskManager). STARTING -> READY -> STOPPING -> gone (EXITED reported, or TaskManager lost).
 *
 * Detached: no job waits for it any more (its job has ended, a kill took too long, or it was never ours); its slots
 * stay taken until it is known to be gone, so that no slot is given twice.
 */
#include "jobmanager/core/jm_int.h"

void weir_jm_executor_free(struct weir_jm_executor *executor)
{
    weir_jm_alignment_free(executor);
    free(executor->endpoint);
    free(executor->public_key);
    free(executor);
}

static struct weir_jm_executor *add_executor(struct weir_jm *jm, struct weir_jm_taskmanager *tm)
{
    struct weir_jm_executor *executor = weir_zalloc(sizeof *executor);
    executor->tm = tm;
    executor->deadline_ms = NEVER_MS;
    executor->endpoint = weir_strdup("");
    GROW(jm->executors, jm->executor_count, jm->executor_capacity);
    jm->executors[jm->executor_count++] = executor;
    return executor;
}

static struct weir_jm_executor *find_executor(struct weir_jm *jm, const struct weir_jm_taskmanager *tm, const char *id)
{
    for (int i = 0; i < jm->executor_count; i++)
        if (jm->executors[i]->tm == tm && strcmp(jm->executors[i]->id, id) == 0)
            return jm->executors[i];
    return NULL;
}

struct weir_jm_executor *weir_jm_executor_of(struct weir_jm *jm, const struct weir_jm_job *job,
                                             const struct weir_jm_taskmanager *tm)
{
    for (int i = 0; i < jm->executor_count; i++)
        if (jm->executors[i]->job == job && jm->executors[i]->tm == tm)
            return jm->executors[i];
    return NULL;
}

/* --- Start */

struct weir_jm_executor *weir_jm_executor_start(struct weir_jm *jm, struct weir_jm_job *job,
                                                struct weir_jm_taskmanager *tm)
{
    struct weir_jm_executor *executor = add_executor(jm, tm);
    /* Unique across JobManagers by epoch and seed, within one by the counter. */
    uint64_t mixed = jm->options.seed * 0x9e3779b97f4a7c15u ^ jm->options.leader_epoch;
    snprintf(executor->id, sizeof executor->id, "%016" PRIx64 "%016" PRIx64, mixed, ++jm->next_executor);
    memcpy(executor->job_id, job->id, sizeof executor->job_id);
    executor->job = job;
    executor->state = WEIR_JM_EXECUTOR_STARTING;
    executor->deadline_ms = later_ms(jm->now_ms, jm->options.executor_start_timeout_ms);

    Weir__StartExecutor start;
    weir__start_executor__init(&start);
    start.executor_id = executor->id;
    start.job_id = job->id;
    start.job_name = (char *)job->name;
    start.incarnation = 1;
    start.graph.data = job->in->graph;
    start.graph.len = job->in->graph_size;
    start.code_sha256 = job->plan->graph->code_sha256;
    start.n_configuration = (size_t)job->configuration_count;
    start.configuration =
        weir_arena_alloc(&jm->arena, (size_t)(job->configuration_count + 1) * sizeof *start.configuration);
    for (int i = 0; i < job->configuration_count; i++) {
        start.configuration[i] = weir_arena_alloc(&jm->arena, sizeof **start.configuration);
        weir__key_value__init(start.configuration[i]);
        start.configuration[i]->key = (char *)job->configuration[i].key;
        start.configuration[i]->value = (char *)job->configuration[i].value;
    }
    start.slots = weir_arena_alloc(&jm->arena, (size_t)(tm->slot_count + 1) * sizeof *start.slots);
    for (int s = 0; s < tm->slot_count; s++)
        if (tm->in->slots[s].job == job) {
            weir_assert(tm->in->slots[s].executor == NULL);
            tm->in->slots[s].executor = executor;
            start.slots[start.n_slots++] = (uint32_t)s;
        }
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_START_EXECUTOR;
    control.start_executor = &start;
    weir_jm_command(jm, tm, &control);
    return executor;
}

void weir_jm_executor_foreign(struct weir_jm *jm, struct weir_jm_taskmanager *tm, const Weir__ExecutorReport *report)
{
    if (strlen(report->executor_id) >= WEIR_JM_EXECUTOR_ID_SIZE || strlen(report->job_id) >= WEIR_JM_JOB_ID_SIZE)
        return;
    if (WEIR_MUTANT(jm_foreign_ignored))
        return;
    struct weir_jm_executor *executor = add_executor(jm, tm);
    snprintf(executor->id, sizeof executor->id, "%s", report->executor_id);
    snprintf(executor->job_id, sizeof executor->job_id, "%s", report->job_id);
    executor->pid = report->pid;
    executor->state = WEIR_JM_EXECUTOR_READY;
    for (size_t i = 0; i < report->n_slots; i++)
        if (report->slots[i] < (uint32_t)tm->slot_count)
            tm->in->slots[report->slots[i]].executor = executor;
    weir_jm_log(jm, WEIR_JM_LOG_WARN, NULL,
                "TaskManager %s still runs executor %s of job %s, which is not known here: it is stopped", tm->id,
                executor->id, executor->job_id);
    weir_jm_executor_stop(jm, executor, true);
}

/* --- Stop */

void weir_jm_executor_stop(struct weir_jm *jm, struct weir_jm_executor *executor, bool kill)
{
    if (executor->state == WEIR_JM_EXECUTOR_STOPPING)
        return; /* for a job it is always a kill; what is detached is left to the TaskManager's own bound */
    executor->state = WEIR_JM_EXECUTOR_STOPPING;
    executor->deadline_ms = executor->job ? later_ms(jm->now_ms, jm->options.kill_timeout_ms) : NEVER_MS;
    Weir__StopExecutor stop;
    weir__stop_executor__init(&stop);
    stop.executor_id = executor->id;
    stop.kill = kill;
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_STOP_EXECUTOR;
    control.stop_executor = &stop;
    executor->stop_command = weir_jm_command(jm, executor->tm, &control);
}

void weir_jm_executor_detach(struct weir_jm *jm, struct weir_jm_executor *executor)
{
    struct weir_jm_job *job = executor->job;
    if (!job)
        return;
    for (int t = 0; t < job->task_count; t++)
        if (job->in->executors[t] == executor)
            job->in->executors[t] = NULL;
    executor->job = NULL;
    executor->deadline_ms = NEVER_MS;
    if (executor->state != WEIR_JM_EXECUTOR_STOPPING)
        weir_jm_executor_stop(jm, executor, false);
}

/* --- Gone */

/* Regions of the job that lose something with this executor: those that run there and are not wholly finished (what a
 * finished task has sent may still have been on its way), and those that wait for it. */
static bool *regions_hit(struct weir_jm *jm, struct weir_jm_job *job, const struct weir_jm_executor *executor,
                         bool *any)
{
    bool *hit = weir_arena_zalloc(&jm->arena, (size_t)job->plan->task_region_count * sizeof *hit);
    *any = false;
    for (int t = 0; t < job->task_count; t++) {
        const struct weir_jm_task *task = &job->tasks[t];
        enum region_state state = job->in->regions[task->region].state;
        bool here = job->in->executors[t] == executor;
        if (state ==
            REGION_WAITING) /* not deployed: it matters only when the executor failed by itself, not its TaskManager */
            here = executor->state != WEIR_JM_EXECUTOR_STOPPING &&
                   job->slots[task->shared_slot].taskmanager == executor->tm;
        if (here && state != REGION_RESTARTING && !weir_jm_region_finished(job, task->region)) {
            hit[task->region] = true;
            *any = true;
        }
    }
    return hit;
}

/* True: the failure is in the job's history now. */
static bool end_tasks(struct weir_jm *jm, struct weir_jm_job *job, struct weir_jm_executor *executor,
                      const Weir__Failure *failure)
{
    bool recorded = false;
    for (int t = 0; t < job->task_count; t++) {
        struct weir_jm_task *task = &job->tasks[t];
        if (job->in->executors[t] != executor)
            continue;
        job->in->executors[t] = NULL;
        if (weir_task_state_terminal(task->state))
            continue;
        if (task->state == WEIR__TASK_STATE__CANCELING) {
            weir_jm_task_set_state(jm, job, task, WEIR__TASK_STATE__CANCELED);
            continue;
        }
        if (!recorded)
            weir_jm_exception(jm, job, task, executor->tm->id, failure);
        recorded = true;
        weir_jm_task_set_state(jm, job, task, WEIR__TASK_STATE__FAILED);
    }
    return recorded;
}

static void remove_executor(struct weir_jm *jm, struct weir_jm_executor *executor)
{
    for (int s = 0; s < executor->tm->slot_count; s++)
        if (executor->tm->in->slots[s].executor == executor)
            executor->tm->in->slots[s].executor = NULL;
    weir_jm_slots_count(executor->tm);
    for (int i = 0; i < jm->executor_count; i++)
        if (jm->executors[i] == executor) {
            memmove(&jm->executors[i], &jm->executors[i + 1],
                    (size_t)(jm->executor_count - i - 1) * sizeof *jm->executors);
            jm->executor_count--;
            break;
        }
}

void weir_jm_executor_gone(struct weir_jm *jm, struct weir_jm_executor *executor, const Weir__Failure *failure)
{
    struct weir_jm_job *job = executor->job;
    remove_executor(jm, executor);
    if (job) {
        bool any;
        bool *hit = regions_hit(jm, job, executor, &any);
        bool recorded = end_tasks(jm, job, executor, failure);
        bool restarts = any && (job->state == WEIR_JOB_RUNNING || job->state == WEIR_JOB_RESTARTING);
        if (restarts && !recorded)
            weir_jm_exception(jm, job, NULL, executor->tm->id, failure);
        if (restarts)
            weir_jm_regions_failed(jm, job, hit, failure);
        weir_jm_job_settle(jm, job);
    }
    weir_jm_executor_free(executor);
}

/* --- Reports */

static void executor_ready(struct weir_jm *jm, struct weir_jm_executor *executor, const Weir__ExecutorReport *report)
{
    if (executor->state != WEIR_JM_EXECUTOR_STARTING)
        return;
    executor->state = WEIR_JM_EXECUTOR_READY;
    executor->deadline_ms = NEVER_MS;
    executor->pid = report->pid;
    free(executor->endpoint);
    executor->endpoint = weir_strdup(report->endpoint);
    free(executor->public_key);
    executor->public_key_size = report->public_key.len;
    executor->public_key = weir_alloc(report->public_key.len);
    if (report->public_key.len)
        memcpy(executor->public_key, report->public_key.data, report->public_key.len);
    weir_jm_log(jm, WEIR_JM_LOG_INFO, executor->job, "executor %s on TaskManager %s is ready at %s", executor->id,
                executor->tm->id, executor->endpoint);
}

void weir_jm_executor_report(struct weir_jm *jm, struct weir_jm_taskmanager *tm, const Weir__ExecutorReport *report)
{
    struct weir_jm_executor *executor = find_executor(jm, tm, report->executor_id);
    if (!executor)
        return;
    if (report->state == WEIR__EXECUTOR_REPORT__STATE__READY) {
        executor_ready(jm, executor, report);
    } else if (report->state == WEIR__EXECUTOR_REPORT__STATE__EXITED) {
        Weir__Failure unknown;
        weir__failure__init(&unknown);
        unknown.kind = (char *)"ExecutorExited";
        unknown.message = weir_arena_format(
            &jm->arena,
            executor->state == WEIR_JM_EXECUTOR_STOPPING
                ? "executor %s on TaskManager %s was killed: tasks in it did not start or stop in time"
                : "executor %s on TaskManager %s ended",
            executor->id, tm->id);
        weir_jm_executor_gone(jm, executor, report->failure ? report->failure : &unknown);
    }
}

/* --- Time */

/* An executor that did not report READY in time is killed; one that does not end after a kill is left to its TaskManager. */
static void executor_late(struct weir_jm *jm, struct weir_jm_executor *executor)
{
    Weir__Failure failure;
    weir__failure__init(&failure);
    if (executor->state == WEIR_JM_EXECUTOR_STARTING) {
        weir_jm_log(jm, WEIR_JM_LOG_WARN, executor->job,
                    "executor %s on TaskManager %s was not ready after %" PRId64 " ms: it is killed", executor->id,
                    executor->tm->id, jm->options.executor_start_timeout_ms);
        failure.kind = (char *)"ExecutorStartTimeout";
        failure.message =
            weir_arena_format(&jm->arena, "the executor on TaskManager %s was not ready within %" PRId64 " ms",
                              executor->tm->id, jm->options.executor_start_timeout_ms);
        struct weir_jm_job *job = executor->job;
        bool any;
        bool *hit = regions_hit(jm, job, executor, &any);
        weir_jm_executor_stop(jm, executor, true);
        if (any) {
            weir_jm_exception(jm, job, NULL, executor->tm->id, &failure);
            weir_jm_regions_failed(jm, job, hit, &failure);
        }
        return;
    }
    if (!weir_jm_command_acked(executor->tm, executor->stop_command) && !WEIR_MUTANT(jm_abandon_unheard)) {
        /* Nobody has tried to kill it yet: its tasks may run. The TaskManager answers or is lost within heartbeat.timeout. */
        executor->deadline_ms = later_ms(jm->now_ms, jm->options.kill_timeout_ms);
        return;
    }
    weir_jm_log(jm, WEIR_JM_LOG_ERROR, executor->job,
                "executor %s on TaskManager %s has not ended %" PRId64
                " ms after its kill: the job goes on without it, its slots stay taken",
                executor->id, executor->tm->id, jm->options.kill_timeout_ms);
    failure.kind = (char *)"ExecutorUnkillable";
    failure.message = weir_arena_format(&jm->arena, "the executor on TaskManager %s did not end after it was killed",
                                        executor->tm->id);
    struct weir_jm_job *job = executor->job;
    bool any;
    bool *hit = regions_hit(jm, job, executor, &any);
    end_tasks(jm, job, executor, &failure);
    for (int s = 0; s < job->slot_count; s++)
        if (job->slots[s].taskmanager == executor->tm) {
            executor->tm->in->slots[job->slots[s].slot].job = NULL; /* `executor` keeps it from being free */
            job->slots[s].taskmanager = NULL;
        }
    weir_jm_slots_count(executor->tm); /* some may have been waiting for its successor */
    weir_jm_executor_detach(jm, executor);
    if (any)
        weir_jm_regions_failed(jm, job, hit, &failure);
    weir_jm_job_settle(jm, job);
}

void weir_jm_executor_timers(struct weir_jm *jm)
{
    for (int i = 0; i < jm->executor_count; i++)
        if (jm->executors[i]->deadline_ms <= jm->now_ms && jm->executors[i]->job) {
            jm->executors[i]->deadline_ms = NEVER_MS;
            executor_late(jm, jm->executors[i]);
            i = -1; /* the list may have changed */
        }
}

int64_t weir_jm_executor_wake_ms(const struct weir_jm *jm)
{
    int64_t wake = NEVER_MS;
    for (int i = 0; i < jm->executor_count; i++)
        if (jm->executors[i]->deadline_ms < wake)
            wake = jm->executors[i]->deadline_ms;
    return wake;
}
