/* What must hold, checked against the world's own knowledge: after each step of a core, at each deed (a process started, a task
 * started, output published), and every 100 ms. See README.md for the list.
 */
#include "tests/sim/sim.h"

int job_find(const struct world *w, const char *id)
{
    for (int i = 0; i < w->job_count; i++)
        if (strcmp(w->jobs[i].id, id) == 0)
            return i;
    return -1;
}

void region_hit(struct world *w, struct job *job, int region)
{
    if (job->region_hit[region])
        return;
    job->region_hit[region] = true;
    job->region_hit_ms[region] = w->now_ms;
}

void task_hit(struct world *w, int x, int task)
{
    if (w->execs[x].override == w->jobs[w->execs[x].job].override)
        region_hit(w, &w->jobs[w->execs[x].job], exec_task(w, x, task)->region);
}

static void hit_all(struct world *w, struct job *job)
{
    for (int r = 0; r < job->region_count; r++)
        region_hit(w, job, r);
}

/* Another JobManager shows it from now on: what was known of it was the earlier one's. */
void job_led_by(struct world *w, struct job *job, int jm)
{
    trace(w, "jm%d leads job %.8s now, jm%d did", jm, job->id, job->jm);
    job->jm = jm;
    if (!job->acknowledged)
        count(w, C_submission_unacknowledged);
    job->ended_before = job->head.exists && weir_job_state_terminal(job->head.state);
    job->seen = job->commit_asked = false;
    job->version = job->restarts = job->abort_id = 0;
    job->ending_deadline_ms = INT64_MAX;
    job->cancel_asked_ms = -1;
    for (int r = 0; r < SIM_TASKS_MAX; r++) {
        job->region_hit[r] = job->region_deployed[r] = false;
        job->region_ended_ms[r] = -1;
        job->tasks[r].cancel_sent = 0;
    }
}

/* All tasks may have to begin again: a barrier that stops them, or that is to, can fail. */
static bool all_may_restart(const struct world *w, const struct job *job)
{
    for (int i = 0; i < w->operation_count; i++)
        if (&w->jobs[w->operations[i].job] == job && !w->operations[i].over &&
            (w->operations[i].kind == WEIR_JM_OPERATION_STOP || w->operations[i].kind == WEIR_JM_OPERATION_RESCALE))
            return true;
    return job->all_may_restart;
}

/* --- Other tasks: a rescale, or a JobManager that knows nothing of one */

static bool may_know(const struct world *w, const struct exec *x, const struct job *job)
{
    const struct conn *c = &w->conns[x->conn];
    const struct weir_jm_taskmanager *tm = weir_jm_taskmanager_find(w->jms[job->jm].core, w->tms[c->tm].id);
    return exec_runs(w, x) && c->registered && c->jm == job->jm && c->boot == w->tms[c->tm].boot && tm &&
           tm->session == c->session; /* it may have lost it in this very step */
}

static void check_rescaled(struct world *w, struct job *job, const struct weir_jm_job *view)
{
    uint32_t highest = 0;
    for (int t = 0; t < job->task_count; t++)
        if (job->tasks[t].attempt > highest)
            highest = job->tasks[t].attempt;
    for (int t = 0; t < view->task_count; t++)
        if (view->tasks[t].attempt <= highest)
            violate(w, "attempt-number", "job %.8s, rescaled: task %d has attempt %" PRIu32 " after %" PRIu32, job->id,
                    t, view->tasks[t].attempt, highest);
    if (!(sim_checkpoint(job, job->head.newest)->flags & SIM_FLAG_STOP))
        violate(w, "rescaled-from-nothing", "job %.8s has other tasks, and HEAD names %" PRIu64 ", which stopped none",
                job->id, job->head.newest);
    for (int i = 0; i < w->exec_count; i++)
        for (int k = 0; w->execs[i].job >= 0 && &w->jobs[w->execs[i].job] == job && k < w->execs[i].task_count; k++)
            if (w->execs[i].tasks[k].state != XT_ENDED && may_know(w, &w->execs[i], job))
                violate(w, "two-attempts", "job %.8s has other tasks, and task %d still runs in x%d", job->id,
                        w->execs[i].tasks[k].index, i);
}

void check_plans(struct world *w, int jm)
{
    const struct weir_jm *core = w->jms[jm].core;
    for (int i = 0; i < weir_jm_job_count(core); i++) {
        const struct weir_jm_job *view = weir_jm_job_at(core, i);
        int j = job_find(w, view->id);
        struct job *job = j < 0 ? NULL : &w->jobs[j];
        int override = override_of(view->configuration, view->configuration_count);
        if (!job || job->jm != jm || (job->seen && override == job->override))
            continue;
        bool rescaled = job->seen && override != job->override;
        if (!job->seen && job->rescaled && override != job->override)
            violate(w, "rescale-forgotten", "job %.8s: its parallelism was %d, and is %d", job->id, job->override,
                    override);
        const struct sim_plan *plan = sim_plan(job, override);
        if (rescaled)
            check_rescaled(w, job, view);
        job->override = override;
        job->task_count = plan->task_count;
        job->region_count = plan->region_count;
        job->slots_needed = plan->slots_needed;
        for (int t = 0; rescaled && t < SIM_TASKS_MAX; t++) {
            job->tasks[t].attempt = t < view->task_count ? view->tasks[t].attempt : 0;
            job->tasks[t].state = WEIR__TASK_STATE__CREATED;
            job->tasks[t].finished_in_attempt = false;
            job->region_hit[t] = job->region_deployed[t] = false;
            job->region_ended_ms[t] = -1;
        }
    }
}

/* --- Executions and jobs: what may follow what (several transitions can happen in one step) */

static bool task_reachable(Weir__TaskState from, Weir__TaskState to)
{
    static const unsigned next[WEIR_JM_TASK_STATES] = {
        [WEIR__TASK_STATE__CREATED] =
            1u << WEIR__TASK_STATE__SCHEDULED | 1u << WEIR__TASK_STATE__CANCELED | 1u << WEIR__TASK_STATE__FAILED,
        [WEIR__TASK_STATE__SCHEDULED] =
            1u << WEIR__TASK_STATE__DEPLOYING | 1u << WEIR__TASK_STATE__CANCELED | 1u << WEIR__TASK_STATE__FAILED,
        [WEIR__TASK_STATE__DEPLOYING] =
            1u << WEIR__TASK_STATE__INITIALIZING | 1u << WEIR__TASK_STATE__CANCELING | 1u << WEIR__TASK_STATE__FAILED,
        [WEIR__TASK_STATE__INITIALIZING] =
            1u << WEIR__TASK_STATE__RUNNING | 1u << WEIR__TASK_STATE__CANCELING | 1u << WEIR__TASK_STATE__FAILED,
        [WEIR__TASK_STATE__RUNNING] =
            1u << WEIR__TASK_STATE__FINISHED | 1u << WEIR__TASK_STATE__CANCELING | 1u << WEIR__TASK_STATE__FAILED,
        [WEIR__TASK_STATE__CANCELING] = 1u << WEIR__TASK_STATE__CANCELED,
    };
    unsigned reach = 1u << from;
    for (int round = 0; round < WEIR_JM_TASK_STATES; round++)
        for (int s = 0; s < WEIR_JM_TASK_STATES; s++)
            if (reach & 1u << s)
                reach |= next[s];
    return (reach & 1u << to) != 0;
}

static bool job_reachable(enum weir_job_state from, enum weir_job_state to)
{
    static const unsigned next[WEIR_JOB_STATES] = {
        [WEIR_JOB_INITIALIZING] = 1u << WEIR_JOB_CREATED,
        [WEIR_JOB_CREATED] = 1u << WEIR_JOB_RUNNING | 1u << WEIR_JOB_FAILING | 1u << WEIR_JOB_CANCELLING,
        [WEIR_JOB_RUNNING] =
            1u << WEIR_JOB_RESTARTING | 1u << WEIR_JOB_FAILING | 1u << WEIR_JOB_CANCELLING | 1u << WEIR_JOB_FINISHED,
        [WEIR_JOB_RESTARTING] = 1u << WEIR_JOB_RUNNING | 1u << WEIR_JOB_FAILING | 1u << WEIR_JOB_CANCELLING,
        [WEIR_JOB_FAILING] = 1u << WEIR_JOB_FAILED | 1u << WEIR_JOB_CANCELLING,
        [WEIR_JOB_CANCELLING] = 1u << WEIR_JOB_CANCELED,
    };
    unsigned reach = 1u << from;
    for (int round = 0; round < WEIR_JOB_STATES; round++)
        for (int s = 0; s < WEIR_JOB_STATES; s++)
            if (reach & 1u << s)
                reach |= next[s];
    return (reach & 1u << to) != 0;
}

static int64_t most_delay_ms(const struct weir_jm_job_options *options)
{
    switch (options->restart) {
    case WEIR_JM_RESTART_FIXED_DELAY:
        return options->fixed_delay_ms;
    case WEIR_JM_RESTART_EXPONENTIAL_DELAY:
        return options->exponential_max_ms;
    case WEIR_JM_RESTART_FAILURE_RATE:
        return options->rate_delay_ms;
    default:
        return 0;
    }
}

static int64_t least_delay_ms(const struct weir_jm_job_options *options)
{
    switch (options->restart) {
    case WEIR_JM_RESTART_FIXED_DELAY:
        return options->fixed_delay_ms;
    case WEIR_JM_RESTART_EXPONENTIAL_DELAY:
        return (int64_t)((double)options->exponential_initial_ms * (1 - options->exponential_jitter)) - 1;
    case WEIR_JM_RESTART_FAILURE_RATE:
        return options->rate_delay_ms;
    default:
        return 0;
    }
}

/* --- Restarts */

static void check_new_attempt(struct world *w, struct job *job, const struct weir_jm_job *view, int t)
{
    struct jtask *task = &job->tasks[t];
    const struct weir_jm_task *now = &view->tasks[t];
    int region = job_task(job, t)->region;
    if (all_may_restart(w, job))
        hit_all(w, job);
    if (now->attempt <= task->attempt ||
        (now->attempt > task->attempt + 1 && job->region_deployed[region] && !all_may_restart(w, job)))
        violate(w, "attempt-number", "job %.8s task %d: attempt %" PRIu32 " after %" PRIu32, job->id, t, now->attempt,
                task->attempt);
    for (int i = 0; i < w->exec_count;
         i++) /* the attempt before must not run beside it, where the JobManager could know */
        for (int k = 0; w->execs[i].job >= 0 && &w->jobs[w->execs[i].job] == job && exec_runs(w, &w->execs[i]) &&
                        k < w->execs[i].task_count;
             k++) {
            if (w->execs[i].tasks[k].index == t && w->execs[i].tasks[k].state != XT_ENDED &&
                may_know(w, &w->execs[i], job))
                violate(w, "two-attempts", "job %.8s task %d: attempt %" PRIu32 " begins while %" PRIu32 " runs in x%d",
                        job->id, t, now->attempt, w->execs[i].tasks[k].attempt, i);
        }
    if (job->region_deployed[region]) {
        if (!job->region_hit[region])
            violate(w, "restart-without-failure", "job %.8s: region %d restarts and nothing of it has failed", job->id,
                    region);
        if (!all_may_restart(w, job) && w->now_ms < job->region_hit_ms[region] + least_delay_ms(&job->options))
            violate(w, "restart-delay", "job %.8s: region %d restarts %" PRId64 " ms after its failure", job->id,
                    region, w->now_ms - job->region_hit_ms[region]);
    }
    if (task->finished_in_attempt)
        count(w, C_finished_task_rerun);
}

static void check_restart_count(struct world *w, struct job *job, const struct weir_jm_job *view)
{
    for (; job->restarts < view->restarts; job->restarts++) {
        count(w, C_region_restarted);
        job->restart_ms[job->restarts % 64] = w->now_ms;
        const struct weir_jm_job_options *options = &job->options;
        if (options->restart == WEIR_JM_RESTART_NONE ||
            (options->restart == WEIR_JM_RESTART_FIXED_DELAY && job->restarts + 1 > (uint64_t)options->fixed_attempts))
            violate(w, "too-many-restarts", "job %.8s: restart %" PRIu64 " is one too many", job->id,
                    job->restarts + 1);
        uint64_t back = (uint64_t)options->rate_max;
        if (options->restart == WEIR_JM_RESTART_FAILURE_RATE && job->restarts >= back && back < 64 &&
            w->now_ms - job->restart_ms[(job->restarts - back) % 64] <= options->rate_interval_ms)
            violate(w, "too-many-restarts", "job %.8s: %" PRIu64 " restarts within %" PRId64 " ms", job->id, back + 1,
                    options->rate_interval_ms);
    }
}

/* The region's marks begin anew; it may have been deployed in this very step, to an executor that has ended meanwhile. */
static void renew_region(struct world *w, struct job *job, const struct weir_jm_job *view, int region)
{
    job->region_hit[region] = job->region_deployed[region] = false;
    for (int t = 0; t < job->task_count; t++)
        for (int i = 0; i < w->exec_count && job_task(job, t)->region == region && view->tasks[t].executor_id[0]; i++)
            if (strcmp(w->execs[i].id, view->tasks[t].executor_id) == 0 && !exec_runs(w, &w->execs[i]))
                region_hit(w, job, region);
}

/* All tasks of a region restart together: they have the same attempt. Another region may not be touched. */
static void check_regions(struct world *w, struct job *job, const struct weir_jm_job *view)
{
    uint32_t attempt[SIM_TASKS_MAX] = {0};
    bool changed = false, kept_running = false;
    for (int t = 0; t < job->task_count; t++) {
        int r = job_task(job, t)->region;
        if (attempt[r] && attempt[r] != view->tasks[t].attempt)
            violate(w, "region-torn", "job %.8s: region %d has attempts %" PRIu32 " and %" PRIu32, job->id, r,
                    attempt[r], view->tasks[t].attempt);
        attempt[r] = view->tasks[t].attempt;
    }
    for (int t = 0; t < job->task_count; t++) {
        if (view->tasks[t].attempt != job->tasks[t].attempt)
            changed = true;
        else
            kept_running |= view->tasks[t].state == WEIR__TASK_STATE__RUNNING;
    }
    if (changed && kept_running)
        count(w, C_region_restarted_alone);
    for (int t = 0; t < job->task_count; t++)
        if (view->tasks[t].attempt != job->tasks[t].attempt) {
            int r = job_task(job, t)->region;
            bool last = true; /* clear the region's marks after its last task was looked at */
            for (int k = t + 1; k < job->task_count; k++)
                last &= job_task(job, k)->region != r;
            check_new_attempt(w, job, view, t);
            if (last)
                renew_region(w, job, view, r);
        }
}

/* --- One job, after a step that changed it */

/* Its last checkpoint, or its end, is another JobManager's, and its tasks' last attempts are too. */
static bool ended_under_another(const struct job *job)
{
    return job->ended_before || job->final_named;
}

static void check_tasks(struct world *w, struct job *job, const struct weir_jm_job *view)
{
    for (int t = 0; t < job->task_count; t++) {
        struct jtask *task = &job->tasks[t];
        const struct weir_jm_task *now = &view->tasks[t];
        bool again = now->attempt != task->attempt;
        Weir__TaskState from = again ? WEIR__TASK_STATE__CREATED : task->state;
        bool stopped = job->final_named && now->state == WEIR__TASK_STATE__FINISHED; /* HEAD says that it has ended */
        if (!stopped && !task_reachable(from, now->state))
            violate(w, "task-transition", "job %.8s task %d: %s after %s", job->id, t, weir_task_state_name(now->state),
                    weir_task_state_name(from));
        if (again && !task_reachable(task->state, WEIR__TASK_STATE__CANCELED) && !weir_task_state_terminal(task->state))
            violate(w, "task-transition", "job %.8s task %d: a new attempt after %s", job->id, t,
                    weir_task_state_name(task->state));
        if (now->state == WEIR__TASK_STATE__FINISHED && !ended_under_another(job) &&
            !(job->tasks[t].finished_set >> (now->attempt & 63) & 1))
            violate(w, "finished-in-name",
                    "job %.8s task %d: attempt %" PRIu32 " is FINISHED, but %" PRIu32 " has finished", job->id, t,
                    now->attempt, task->finished);
        if (now->state != WEIR__TASK_STATE__CREATED && now->state != WEIR__TASK_STATE__SCHEDULED && now->executor_id[0])
            job->region_deployed[job_task(job, t)->region] = true;
        if (now->metrics && now->metrics->records_in != now->attempt)
            violate(w, "metrics-of-another-attempt", "job %.8s task %d: attempt %" PRIu32 " shows metrics of %" PRIu64,
                    job->id, t, now->attempt, now->metrics->records_in);
        if (now->metrics)
            count(w, C_metrics_shown);
        task->attempt = now->attempt;
        task->state = now->state;
        task->finished_in_attempt = now->state == WEIR__TASK_STATE__FINISHED;
    }
}

/* It ended because it could not go back: then it could not. */
static void check_refused(struct world *w, struct job *job)
{
    const struct sim_head *head = &job->head;
    for (int i = 0; i + 1 < head->retained_count; i++)
        if (store_may_fall_back(job, head->retained[i]) && !store_is_damaged(job, head->retained[i]))
            violate(w, "fallback-refused", "job %.8s has FAILED, and could go back to %" PRIu64, job->id,
                    head->retained[i]);
}

static void check_ended(struct world *w, struct job *job, const struct weir_jm_job *view)
{
    if (job->ended_before)
        return;
    for (int t = 0; t < job->task_count; t++)
        if (!weir_task_state_terminal(view->tasks[t].state) ||
            (view->state == WEIR_JOB_FINISHED && view->tasks[t].state != WEIR__TASK_STATE__FINISHED))
            violate(w, "ended-too-early", "job %.8s is %s and task %d is %s", job->id, weir_job_state_name(view->state),
                    t, weir_task_state_name(view->tasks[t].state));
    if (view->state == WEIR_JOB_FINISHED && job->checkpoints)
        store_check_finished(w, job);
    else if (view->state == WEIR_JOB_FINISHED && job->output && !job->committed)
        violate(w, "finished-without-output", "job %.8s is FINISHED and its output was not published", job->id);
    if (view->state != WEIR_JOB_FINISHED && job->committed && !job->commit_failed)
        violate(w, "output-of-a-failed-job", "job %.8s is %s and its output was published", job->id,
                weir_job_state_name(view->state));
    count(w, view->state == WEIR_JOB_FINISHED ? C_jobs_finished
             : view->state == WEIR_JOB_FAILED ? C_jobs_failed
                                              : C_jobs_canceled);
    if (view->state == WEIR_JOB_FAILED && view->options.restart != WEIR_JM_RESTART_NONE && view->restarts)
        count(w, C_failed_by_strategy);
    const struct weir_jm_job_options *options = &job->options;
    bool may_fail =
        job->commit_failed || job->corrupted || job->fail_job_reported ||
        (job->taken_over && !options->outlives_jobmanager) ||
        (job->periodic && options->checkpoints_tolerable < 1000) || options->restart == WEIR_JM_RESTART_NONE ||
        options->restart == WEIR_JM_RESTART_FAILURE_RATE ||
        (options->restart == WEIR_JM_RESTART_FIXED_DELAY && view->restarts >= (uint64_t)options->fixed_attempts) ||
        (options->restart == WEIR_JM_RESTART_EXPONENTIAL_DELAY && options->exponential_attempts >= 0);
    if (view->state == WEIR_JOB_FAILED && !may_fail)
        violate(w, "gave-up-early", "job %.8s FAILED after %" PRIu64 " restarts, its strategy allows more", job->id,
                view->restarts);
    bool corrupt = view->cause && strcmp(view->cause->kind, "CHECKPOINT_CORRUPT") == 0;
    if (view->state == WEIR_JOB_FAILED && corrupt && view->cause->fail_job) { /* else its strategy has given up */
        count(w, C_fallback_refused);
        check_refused(w, job);
    }
    if (view->state == WEIR_JOB_FAILED && (!view->cause || view->exception_count == 0))
        violate(w, "no-reason", "job %.8s FAILED and says not why", job->id);
}

/* What it says of its checkpoints is so. */
static void check_records(struct world *w, struct job *job, const struct weir_jm_job *view)
{
    for (int i = 0; i < view->checkpoint_count; i++) {
        const struct weir_jm_checkpoint *record = &view->checkpoints[i];
        struct sim_checkpoint *checkpoint = sim_checkpoint(job, record->id);
        checkpoint->failed |= record->status == WEIR_JM_CHECKPOINT_FAILED;
        if (record->status == WEIR_JM_CHECKPOINT_COMPLETED && !checkpoint->named)
            violate(w, "completed-in-name", "job %.8s: %" PRIu64, job->id, record->id);
        if (record->savepoint != (record->path != NULL))
            violate(w, "savepoint-in-name", "job %.8s: %" PRIu64, job->id, record->id);
    }
}

static void check_job(struct world *w, int jm, struct job *job, const struct weir_jm_job *view)
{
    if (job->seen && job->version == view->version)
        return;
    trace(w, "jm%d: job %.8s %s%s%s", jm, job->id, weir_job_state_name(view->state), view->status[0] ? ": " : "",
          view->status);
    if (!job->seen) {
        for (int t = 0; t < job->task_count; t++) {
            job->tasks[t].attempt = view->tasks[t].attempt;
            job->tasks[t].state = WEIR__TASK_STATE__CREATED;
        }
        job->state = WEIR_JOB_INITIALIZING;
        job->seen = true;
    }
    if (job->cancel_durable && (view->state == WEIR_JOB_RUNNING || view->state == WEIR_JOB_FINISHED) &&
        !job->ended_before && job->state == WEIR_JOB_INITIALIZING)
        violate(w, "cancel-forgotten", "job %.8s is %s", job->id, weir_job_state_name(view->state));
    if (!job_reachable(job->state, view->state))
        violate(w, "job-transition", "job %.8s: %s after %s", job->id, weir_job_state_name(view->state),
                weir_job_state_name(job->state));
    if (view->restarts < job->restarts)
        violate(w, "counter-regressed", "job %.8s: restarts", job->id);
    bool ended_before = weir_job_state_terminal(job->state);
    if (ended_before && view->state == job->state)
        for (int t = 0; t < job->task_count; t++)
            if (view->tasks[t].state != job->tasks[t].state || view->tasks[t].attempt != job->tasks[t].attempt)
                violate(w, "ended-job-changes", "job %.8s: task %d", job->id, t);
    check_records(w, job, view);
    check_restart_count(w, job, view);
    check_regions(w, job, view);
    check_tasks(w, job, view);
    if (view->state != job->state) {
        bool ending = view->state == WEIR_JOB_CANCELLING || view->state == WEIR_JOB_FAILING;
        job->ending_deadline_ms = ending
                                      ? w->now_ms + view->options.cancellation_timeout_ms +
                                            w->jm_options.heartbeat_timeout_ms + 2 * w->jm_options.kill_timeout_ms + 50
                                      : INT64_MAX;
        if (weir_job_state_terminal(view->state))
            check_ended(w, job, view);
    }
    if (strstr(view->status, "checkpoint storage") && view->restarts)
        count(w, C_restart_undecided);
    if (strstr(view->status, "more slot"))
        count(w, C_waited_for_slots);
    job->state = view->state;
    job->version = view->version;
}

/* --- Slots as the JobManager accounts for them */

static void check_slots(struct world *w, int jm)
{
    for (int i = 0; i < weir_jm_taskmanager_count(w->jms[jm].core); i++)
        for (int k = 0; k < i; k++)
            if (strcmp(weir_jm_taskmanager_at(w->jms[jm].core, i)->id,
                       weir_jm_taskmanager_at(w->jms[jm].core, k)->id) == 0)
                violate(w, "taskmanager-twice", "jm%d: %s", jm, weir_jm_taskmanager_at(w->jms[jm].core, i)->id);
    const struct weir_jm *core = w->jms[jm].core;
    for (int i = 0; i < weir_jm_taskmanager_count(core); i++) {
        const struct weir_jm_taskmanager *tm = weir_jm_taskmanager_at(core, i);
        int free_count = 0;
        for (int s = 0; s < tm->slot_count; s++)
            free_count += !weir_jm_slot_job(tm, s) && !weir_jm_slot_executor(tm, s)[0];
        if (free_count != tm->slots_free)
            violate(w, "slot-count", "jm%d: %s has %d free slots and says %d", jm, tm->id, free_count, tm->slots_free);
        for (int x = 0; x < w->exec_count; x++) { /* a process that exists has its slots */
            const struct exec *e = &w->execs[x];
            if (!e->exists || e->stray || !w->tms[e->tm].alive || w->tms[e->tm].boot != e->boot ||
                strcmp(w->tms[e->tm].id, tm->id) != 0 || w->conns[e->conn].session > tm->session)
                continue;
            for (int s = 0; s < tm->slot_count; s++)
                if (e->slots & 1u << s && !weir_jm_slot_executor(tm, s)[0])
                    violate(w, "slot-of-a-living-executor",
                            "jm%d: slot %d of %s counts as empty, executor x%d sits in it", jm, s, tm->id, x);
        }
        if (weir_jm_commands_in_flight(tm) > w->jm_options.window)
            violate(w, "window", "jm%d: %d commands in flight to %s", jm, weir_jm_commands_in_flight(tm), tm->id);
        if (weir_jm_commands_waiting(tm) > w->jm_options.outbox_max)
            violate(w, "outbox", "jm%d: %d commands wait for %s", jm, weir_jm_commands_waiting(tm), tm->id);
    }
    for (int j = 0; j < weir_jm_job_count(core); j++) {
        const struct weir_jm_job *job = weir_jm_job_at(core, j);
        for (int s = 0; s < job->slot_count; s++) {
            if (!job->slots[s].taskmanager)
                continue;
            if (weir_job_state_terminal(job->state))
                violate(w, "slot-of-an-ended-job", "jm%d: job %.8s", jm, job->id);
            if (weir_jm_slot_job(job->slots[s].taskmanager, job->slots[s].slot) != job)
                violate(w, "slot-twice", "jm%d: slot %d of %s is not only that of job %.8s", jm, job->slots[s].slot,
                        job->slots[s].taskmanager->id, job->id);
        }
        for (int t = 0; t < job->task_count; t++) {
            const struct weir_jm_task *task = &job->tasks[t];
            bool placed = task->state == WEIR__TASK_STATE__DEPLOYING || task->state == WEIR__TASK_STATE__INITIALIZING ||
                          task->state == WEIR__TASK_STATE__RUNNING;
            const struct weir_jm_slot *slot = &job->slots[task->shared_slot];
            if (placed && (!slot->taskmanager ||
                           strcmp(weir_jm_slot_executor(slot->taskmanager, slot->slot), task->executor_id) != 0))
                violate(w, "task-without-slot", "jm%d: job %.8s task %d is %s without the slot it was given", jm,
                        job->id, t, weir_task_state_name(task->state));
        }
    }
}

/* A job of which nothing runs keeps no slots from another that waits: two such could wait for each other. */
static void check_hoarding(struct world *w, int jm)
{
    const struct weir_jm *core = w->jms[jm].core;
    const struct weir_jm_job *hoarder = NULL;
    int waiting = 0;
    for (int j = 0; j < weir_jm_job_count(core); j++) {
        const struct weir_jm_job *job = weir_jm_job_at(core, j);
        if (job->state != WEIR_JOB_RUNNING || !strstr(job->status, "more slot"))
            continue;
        waiting++;
        bool idle = true, holds = false;
        for (int t = 0; t < job->task_count; t++)
            idle &=
                job->tasks[t].state == WEIR__TASK_STATE__SCHEDULED || job->tasks[t].state == WEIR__TASK_STATE__FINISHED;
        for (int s = 0; s < job->slot_count; s++)
            holds |= job->slots[s].taskmanager != NULL;
        if (idle && holds)
            hoarder = job;
    }
    if (hoarder && waiting > 1)
        violate(w, "slots-hoarded", "jm%d: job %.8s cannot run, has slots, and another job waits for some", jm,
                hoarder->id);
}

void check_jm(struct world *w, int jm)
{
    const struct weir_jm *core = w->jms[jm].core;
    if (w->jms[jm].fenced)
        return;
    for (int i = 0; i < weir_jm_job_count(core); i++) {
        const struct weir_jm_job *view = weir_jm_job_at(core, i);
        int job = job_find(w, view->id);
        if (job < 0)
            violate(w, "unknown-job", "jm%d has a job %s that nobody submitted", jm, view->id);
        if (w->jobs[job].jm != jm) /* it was replaced and does not know, or has not taken the job over yet */
            continue;
        check_job(w, jm, &w->jobs[job], view);
    }
    check_slots(w, jm);
    check_hoarding(w, jm);
}

/* --- The JobManager's deeds */

static void check_cancel(struct world *w, int jm, const Weir__CancelTasks *cancel)
{
    for (int j = 0; j < w->job_count; j++) { /* its executor may not exist yet, or any more */
        const struct weir_jm_job *view = w->jobs[j].jm == jm ? weir_jm_job_find(w->jms[jm].core, w->jobs[j].id) : NULL;
        for (int t = 0; view && t < view->task_count; t++)
            for (size_t k = 0; k < cancel->n_tasks && strcmp(view->tasks[t].executor_id, cancel->executor_id) == 0; k++)
                if (view->tasks[t].vertex == (int)cancel->tasks[k]->vertex &&
                    view->tasks[t].subtask == (int)cancel->tasks[k]->subtask)
                    w->jobs[j].tasks[t].cancel_sent = cancel->tasks[k]->attempt;
    }
    for (int i = 0; i < w->exec_count; i++) {
        if (strcmp(w->execs[i].id, cancel->executor_id) != 0)
            continue;
        struct job *job = &w->jobs[w->execs[i].job];
        const struct weir_jm_job *view = weir_jm_job_find(w->jms[jm].core, job->id);
        if (!view || job->jm != jm || view->state == WEIR_JOB_CANCELLING || view->state == WEIR_JOB_FAILING ||
            weir_job_state_terminal(view->state))
            return;
        for (size_t k = 0; k < cancel->n_tasks; k++)
            for (int t = 0; t < job->task_count; t++)
                if (job_task(job, t)->vertex == (int)cancel->tasks[k]->vertex &&
                    job_task(job, t)->subtask == (int)cancel->tasks[k]->subtask &&
                    view->tasks[t].attempt == cancel->tasks[k]->attempt && !all_may_restart(w, job) &&
                    !job->region_hit[job_task(job, t)->region])
                    violate(w, "cancel-without-failure",
                            "jm%d: job %.8s task %d is cancelled, nothing of its region has failed", jm, job->id, t);
    }
}

static void hit_executor(struct world *w, const char *executor_id)
{
    for (int i = 0; i < w->exec_count; i++)
        if (strcmp(w->execs[i].id, executor_id) == 0)
            for (int t = 0; t < w->execs[i].task_count; t++)
                task_hit(w, i, t);
}

/* Tasks that were on their way to this executor may never have reached it: their regions are found through the JobManager. */
void hit_deployed(struct world *w, int jm, const char *taskmanager_id, const char *executor_id)
{
    for (int j = 0; j < w->job_count; j++) {
        const struct weir_jm_job *view =
            w->jobs[j].jm == jm && w->jms[jm].alive ? weir_jm_job_find(w->jms[jm].core, w->jobs[j].id) : NULL;
        for (int t = 0; view && t < view->task_count; t++)
            if ((taskmanager_id && strcmp(view->tasks[t].taskmanager_id, taskmanager_id) == 0) ||
                (executor_id && strcmp(view->tasks[t].executor_id, executor_id) == 0))
                region_hit(w, &w->jobs[j], job_task(&w->jobs[j], t)->region);
    }
}

static void check_tm_lost(struct world *w, int jm, const struct weir_jm_effect *effect)
{
    int conn = -1;
    for (int i = 0; i < w->conn_count; i++)
        if (strcmp(w->conns[i].peer, effect->peer) == 0)
            conn = i;
    if (conn < 0)
        violate(w, "wrong-peer", "jm%d lost %s", jm, effect->peer);
    w->conns[conn].registered = false;
    static const enum counter counters[] = {C_tm_lost_heartbeat, C_tm_lost_disconnect, C_tm_lost_new_session,
                                            C_tm_lost_outbox};
    count(w, counters[effect->lost]);
    for (int j = 0; j < w->job_count;
         j++) /* by what is known of each task, as it may have been deployed in this very step */
        for (int t = 0; t < w->jobs[j].task_count; t++)
            for (int i = 0; i < w->exec_count; i++)
                if (w->execs[i].job == j && w->execs[i].conn == conn)
                    region_hit(w, &w->jobs[j], job_task(&w->jobs[j], t)->region);
    hit_deployed(w, jm, effect->taskmanager_id, NULL);
    for (int i = 0; i < w->exec_count; i++) {
        const struct exec *x = &w->execs[i];
        bool tasks = false;
        for (int t = 0; t < x->task_count; t++)
            tasks |= x->tasks[t].state != XT_ENDED;
        if (effect->lost == WEIR_JM_LOST_HEARTBEAT && w->now_ms > x->paused_until_ms && x->conn == conn &&
            exec_runs(w, x) && x->line_open && tasks)
            violate(w, "lease", "jm%d counts %s as dead after heartbeat.timeout, and executor x%d still runs tasks", jm,
                    effect->taskmanager_id, i);
    }
}

static void check_submitted(struct world *w, struct job *job, const struct weir_jm_effect *effect)
{
    if (effect->code == WEIR_ERR_IO && job->checkpoints && (job->import_id || w->now_ms < w->fault_end_ms + 5000)) {
        /* its graph could not be stored, or what it was to begin with not be copied: that may also be gone */
        job->refused = true;
        count(w, job->import_id && job->stored ? C_import_failed : C_submission_not_stored);
        if (job->head.exists)
            violate(w, "submission-refused", "job %.8s has a HEAD: %s", job->id, effect->text);
    } else if (effect->code == WEIR_ERR_INVALID && job->import_unfit) {
        job->refused = true;
        count(w, C_import_refused);
    } else if (effect->code != WEIR_OK) {
        violate(w, "submission-refused", "%s", effect->text);
    } else if (job->import_unfit) {
        violate(w, "import-unfit", "job %.8s is accepted, and its state is by other subtasks", job->id);
    } else {
        job->acknowledged = true;
        if (job->import_id) {
            count(w, C_imported);
            w->counters[C_imported_stopped] += job->imports_stopped;
            w->counters[C_savepoint_claimed] += job->claims >= 0;
        }
        if (job->checkpoints && (!job->head.exists || !job->stored))
            violate(w, "acknowledged-early", "job %.8s is accepted, and a later JobManager would not find it", job->id);
    }
}

static void check_cancel_reply(struct world *w, struct job *job, const struct weir_jm_effect *effect)
{
    if (effect->code != WEIR_OK || !job->checkpoints || job->refused || job->erased)
        return;
    bool recorded =
        job->head.exists && (job->head.state == WEIR_JOB_CANCELLING || weir_job_state_terminal(job->head.state));
    job->cancel_durable |= recorded;
    if (recorded)
        return;
    count(w, C_cancel_unrecorded);
    if (w->now_ms < job->cancel_asked_ms + 3000)
        violate(w, "cancel-not-durable", "job %.8s: its cancel is acknowledged, and HEAD says %s", job->id,
                weir_job_state_name(job->head.state));
}

static void check_reply(struct world *w, int jm, const struct weir_jm_effect *effect)
{
    int job = w->cancel_request_job[effect->request % 256], submitted = w->submit_request_job[effect->request % 256];
    if (submitted >= 0)
        check_submitted(w, &w->jobs[submitted], effect);
    if (job < 0)
        return;
    check_cancel_reply(w, &w->jobs[job], effect);
    /* One that is being read again, since an earlier JobManager wrote its HEAD meanwhile, is not found: REST makes it 503. */
    if (effect->code == WEIR_ERR_NOT_FOUND && w->job_dropped[job] == 0 && !w->jobs[job].refused &&
        weir_jm_knows_all_jobs(w->jms[jm].core))
        violate(w, "job-unknown", "%s", effect->text);
    if (effect->code == WEIR_ERR_EXISTS && strstr(effect->text, "published"))
        count(w, C_cancel_refused_committing);
    if (effect->code == WEIR_OK && w->jobs[job].state == WEIR_JOB_RESTARTING)
        count(w, C_cancel_while_restarting);
    if (effect->code == WEIR_OK && w->jobs[job].state == WEIR_JOB_FAILING)
        count(w, C_cancel_while_failing);
}

/* A task that is killed for not stopping was told to stop. */
static void check_cancelled(struct world *w, int jm, const char *text)
{
    for (int j = 0; j < w->job_count; j++) {
        const struct weir_jm_job *view = w->jobs[j].jm == jm ? weir_jm_job_find(w->jms[jm].core, w->jobs[j].id) : NULL;
        for (int t = 0; view && t < view->task_count; t++) {
            const struct weir_jm_task *task = &view->tasks[t];
            const struct weir_jm_taskmanager *tm = weir_jm_taskmanager_find(w->jms[jm].core, task->taskmanager_id);
            if (task->executor_id[0] && strstr(text, task->executor_id) && task->state == WEIR__TASK_STATE__CANCELING &&
                tm && weir_jm_commands_in_flight(tm) == weir_jm_commands_waiting(tm) &&
                w->jobs[j].tasks[t].cancel_sent != task->attempt)
                violate(w, "cancel-not-sent", "job %.8s task %d: its executor is killed, it was not told to stop",
                        view->id, t);
        }
    }
}

/* An executor that does not come up is a failure for the restart strategy: else it would be tried for ever. */
void check_start_failed(struct world *w, int jm, int index)
{
    const struct job *job = &w->jobs[index];
    const struct weir_jm_job *view = weir_jm_job_find(w->jms[jm].core, job->id);
    if (view && job->jm == jm && !w->jms[jm].fenced && job->state == WEIR_JOB_RUNNING &&
        view->state == WEIR_JOB_RUNNING && view->restarts == job->restarts)
        violate(w, "start-failure-not-counted", "jm%d: job %.8s goes on as if nothing had happened", jm, job->id);
}

/* One TaskManager at a time is asked to publish a job's output, while it has not failed at it. */
static void check_commit_asked(struct world *w, int jm, const struct weir_jm_effect *effect)
{
    int index = job_find(w, effect->control->commit_output->job_id), conn = -1;
    for (int i = 0; i < w->conn_count; i++)
        if (strcmp(w->conns[i].peer, effect->peer) == 0)
            conn = i;
    if (index < 0 || conn < 0 || w->jobs[index].jm != jm)
        return;
    struct job *job = &w->jobs[index];
    bool first = effect->control->id > w->conns[conn].cmd_sent;
    uint64_t checkpoint = effect->control->commit_output->checkpoint;
    if (job->checkpoints && !first) /* of one that is published, perhaps */
        return;
    if (job->commit_asked && job->commit_tm != conn && job->commit_checkpoint == checkpoint) {
        count(w, C_commit_moved);
        if (w->conns[job->commit_tm].registered && !job->commit_failed)
            violate(w, "commit-moved", "jm%d: job %.8s: two TaskManagers are asked to publish its output", jm, job->id);
    }
    job->commit_asked = true;
    job->commit_tm = conn;
    job->commit_checkpoint = checkpoint;
}

void check_jm_effect(struct world *w, int jm, const struct weir_jm_effect *effect)
{
    if (w->jms[jm].fenced && effect->kind == WEIR_JM_EFFECT_SEND)
        violate(w, "fenced-acts", "jm%d sends after it was fenced", jm);
    switch (effect->kind) {
    case WEIR_JM_EFFECT_TM_LOST:
        check_tm_lost(w, jm, effect);
        break;
    case WEIR_JM_EFFECT_REPLY:
        check_reply(w, jm, effect);
        break;
    case WEIR_JM_EFFECT_JOB_ENDED:
        if (job_find(w, effect->job_id) >= 0)
            w->job_ended[job_find(w, effect->job_id)] = 1;
        break;
    case WEIR_JM_EFFECT_JOB_DROPPED:
        if (job_find(w, effect->job_id) >= 0) {
            w->job_dropped[job_find(w, effect->job_id)] = 1;
            if (!w->job_ended[job_find(w, effect->job_id)])
                violate(w, "live-job-dropped", "%s", effect->job_id);
        }
        break;
    case WEIR_JM_EFFECT_LOG:
        bool erased = false; /* a first write of HEAD that came after all else: nothing comes of it */
        for (int j = 0; j < w->job_count; j++)
            erased |= w->jobs[j].erased && strstr(effect->text, w->jobs[j].id);
        if (strstr(effect->text, "CHECKPOINT_CORRUPT") && !erased &&
            !strstr(effect->text, "an object is not what was written")) /* which a task has found, of a damaged one */
            violate(w, "damaged-in-name", "jm%d: %.200s", jm, effect->text);
        if (strstr(effect->text, "has not ended")) {
            count(w, C_executor_abandoned);
            for (int i = 0; i < w->exec_count; i++)
                if (strstr(effect->text, w->execs[i].id) && exec_runs(w, &w->execs[i]))
                    violate(w, "given-up-unheard", "jm%d gives up executor x%d, and nobody has tried to kill it", jm,
                            i);
        }
        if (strstr(effect->text, "was not ready")) {
            count(w, C_executor_start_timeout);
            for (int i = 0; i < w->exec_count; i++)
                if (strstr(effect->text, w->execs[i].id))
                    check_start_failed(w, jm, w->execs[i].job);
        }
        if (strstr(effect->text, "did not start"))
            count(w, C_task_start_timeout);
        if (strstr(effect->text, "did not stop")) {
            count(w, C_task_cancel_timeout);
            check_cancelled(w, jm, effect->text);
        }
        if (strstr(effect->text, "is full"))
            for (int i = 0; i < w->conn_count; i++)
                if (w->conns[i].registered && w->conns[i].jm == jm && w->tms[w->conns[i].tm].boot == w->conns[i].boot &&
                    strstr(effect->text, w->tms[w->conns[i].tm].id))
                    w->conns[i].full_ms = w->now_ms;
        if (strstr(effect->text, "is given up: a newer"))
            count(w, C_checkpoint_subsumed);
        if (strstr(effect->text, ": checkpoint") && strstr(effect->text, "failed:"))
            count(w, C_checkpoint_failed);
        if (strstr(effect->text, "gave nothing within"))
            store_check_stalled(w, &w->jobs[job_find(w, effect->job_id)], INT64_MAX);
        if (strstr(effect->text, "gives way"))
            count(w, C_gave_way);
        if (strstr(effect->text, "not known here"))
            count(w, C_foreign_executor_stopped);
        break;
    case WEIR_JM_EFFECT_SEND:
        if (effect->control->body_case == WEIR__CONTROL__BODY_STOP_EXECUTOR) {
            const char *id = effect->control->stop_executor->executor_id;
            hit_executor(w, id);
            hit_deployed(w, jm, NULL, id);
        } else if (effect->control->body_case == WEIR__CONTROL__BODY_DEPLOY_TASKS) {
            for (int i = 0; i < w->exec_count; i++) /* to one that has ended, or will not hear of it */
                if (strcmp(w->execs[i].id, effect->control->deploy_tasks->executor_id) == 0 &&
                    !exec_runs(w, &w->execs[i]))
                    hit_deployed(w, jm, NULL, w->execs[i].id);
        } else if (effect->control->body_case == WEIR__CONTROL__BODY_CANCEL_TASKS) {
            check_cancel(w, jm, effect->control->cancel_tasks);
        } else if (effect->control->body_case == WEIR__CONTROL__BODY_COMMIT_OUTPUT) {
            check_commit_asked(w, jm, effect);
        } else if (effect->control->body_case == WEIR__CONTROL__BODY_ABORT_OUTPUT) {
            int job = job_find(w, effect->control->abort_output->job_id), conn = -1;
            for (int i = 0; i < w->conn_count; i++)
                if (strcmp(w->conns[i].peer, effect->peer) == 0)
                    conn = i;
            struct job *j = &w->jobs[job];
            if (j->jm != jm)
                break;
            if (j->abort_id && (j->abort_conn != conn || j->abort_id != effect->control->id) &&
                w->conns[j->abort_conn].cmd_acked >= j->abort_id && !w->conns[j->abort_conn].confused)
                violate(w, "abort-twice", "jm%d: job %.8s", jm, j->id);
            j->abort_conn = conn;
            j->abort_id = effect->control->id;
        }
        break;
    default:
        break;
    }
}

/* --- Deeds in the world */

void check_tm(struct world *w, int tm)
{
    struct tm_node *t = &w->tms[tm];
    uint64_t epoch = weir_tm_leader_epoch(t->core);
    if (epoch < t->epoch_seen)
        violate(w, "epoch-regressed", "tm%d follows epoch %" PRIu64 " after %" PRIu64, tm, epoch, t->epoch_seen);
    t->epoch_seen = epoch;
    if (weir_tm_reports_in_flight(t->core) > w->tm_options.window)
        violate(w, "window", "tm%d: %d reports in flight", tm, weir_tm_reports_in_flight(t->core));
    if (weir_tm_reports_waiting(t->core) > w->tm_options.outbox_max)
        violate(w, "outbox", "tm%d", tm);
    int processes = 0, known = 0;
    for (int i = 0; i < w->exec_count; i++)
        processes += w->execs[i].tm == tm && w->execs[i].boot == t->boot && !w->execs[i].known_exit;
    for (int i = 0; i < weir_tm_executor_count(t->core); i++)
        known += weir_tm_executor_at(t->core, i).state != WEIR_TM_EXECUTOR_FETCHING;
    if (known != processes)
        violate(w, "executor-count", "tm%d knows %d executor processes, %d exist", tm, known, processes);
}

/* A lease must end before the JobManager may count the session as dead, and only the session that started an executor renews it. */
void check_lease(struct world *w, int index, const Weir__Control *control)
{
    struct exec *x = &w->execs[index];
    bool first = control->body_case == WEIR__CONTROL__BODY_EXECUTOR_START;
    if (!first && control->body_case != WEIR__CONTROL__BODY_LEASE)
        return;
    x->lease_sent_ms =
        (first ? control->executor_start->lease_until_ms : control->lease->valid_until_ms) - w->tms[x->tm].offset_ms;
    const struct conn *c = &w->conns[x->conn];
    if (!first && x->conn != w->tms[x->tm].conn)
        violate(w, "lease-for-a-stranger", "tm%d renews the lease of x%d, which an earlier session started", x->tm,
                index);
    if (x->lease_sent_ms > c->heard_ms + w->jm_options.heartbeat_timeout_ms)
        violate(w, "lease", "tm%d lets x%d live until %" PRId64 ", its JobManager may count it as dead at %" PRId64,
                x->tm, index, x->lease_sent_ms, c->heard_ms + w->jm_options.heartbeat_timeout_ms);
}

/* No slot is given twice: whatever exists on a host has it to itself, stopped and stuck processes included. */
void check_spawn(struct world *w, int index)
{
    const struct exec *x = &w->execs[index];
    for (int i = 0; i < w->exec_count; i++)
        if (i != index && w->execs[i].exists && w->execs[i].tm == x->tm &&
            ((w->execs[i].slots & x->slots) || (w->execs[i].boot != x->boot && w->execs[i].stuck)))
            violate(w, "slot-twice", "tm%d: executors x%d and x%d are in the same slot", x->tm, i, index);
}

void check_task_start(struct world *w, int index, int t)
{
    const struct exec *x = &w->execs[index];
    struct job *job = &w->jobs[x->job];
    int task = x->tasks[t].index;
    uint32_t attempt = x->tasks[t].attempt;
    weir_assert(attempt < SIM_ATTEMPTS_MAX);
    if (job->tasks[task].started_set[attempt / 64] >> attempt % 64 & 1)
        violate(w, "attempt-twice", "job %.8s task %d: attempt %" PRIu32 " starts after %" PRIu32, job->id, task,
                x->tasks[t].attempt, job->tasks[task].started);
    job->tasks[task].started_set[attempt / 64] |= 1ull << attempt % 64;
    if (attempt > job->tasks[task].started)
        job->tasks[task].started = attempt;
    check_spawn(w, index);
}

void check_commit(struct world *w, int tm, const Weir__CommitOutput *commit)
{
    int index = job_find(w, commit->job_id);
    if (index < 0)
        violate(w, "commit-of-unknown-job", "tm%d", tm);
    struct job *job = &w->jobs[index];
    if (job->checkpoints) {
        store_check_commit(w, job, commit);
        return;
    }
    if (job->aborted)
        violate(w, "commit-after-abort", "job %.8s", job->id);
    size_t expected = 0;
    for (int t = 0; t < job->task_count; t++) {
        if (job->tasks[t].finished == 0 || job->tasks[t].finished < job->tasks[t].started)
            violate(w, "commit-too-early", "job %.8s: task %d has not finished", job->id, t);
        if (job_task(job, t)->sink < 0)
            continue;
        expected++;
        char text[64];
        snprintf(text, sizeof text, "%d.%" PRIu32, t, job->tasks[t].finished);
        int found = 0;
        for (size_t i = 0; i < commit->n_committables; i++)
            found += strcmp(commit->committables[i]->text, text) == 0;
        if (found != 1)
            violate(w, "commit-content", "job %.8s: what task %d wrote is published %d times", job->id, t, found);
    }
    if (commit->n_committables != expected)
        violate(w, "commit-content", "job %.8s: %zu parts published, %zu written by the last attempts", job->id,
                commit->n_committables, expected);
    job->committed = true;
    count(w, C_committed);
}

void check_abort(struct world *w, const char *job_id)
{
    int index = job_find(w, job_id);
    if (index < 0)
        return;
    struct job *job = &w->jobs[index];
    if (job->checkpoints)
        store_check_abort(w, job);
    else if (job->committed || job->commit_asked)
        violate(w, "abort-after-commit", "job %.8s", job->id);
    for (int i = 0; i < w->exec_count;
         i++) /* what it removes must not be written any more, where the JobManager could know */
        if (w->execs[i].job == index && exec_runs(w, &w->execs[i]) && w->execs[i].line_open &&
            w->conns[w->execs[i].conn].registered && w->conns[w->execs[i].conn].jm == job->jm)
            violate(w, "abort-too-early", "job %.8s: executor x%d still runs", job->id, i);
    job->aborted = true;
    count(w, C_aborted);
}

/* --- Every 100 ms */

/* Longest that something may outlive its reason: the lease, a polite stop, and lost commands sent again. */
static int64_t stale_bound_ms(const struct world *w)
{
    return w->jm_options.heartbeat_timeout_ms + w->tm_options.stop_grace_ms + 20 * w->jm_options.resend_ms + 3000;
}

static bool task_is_current(const struct world *w, const struct exec *x, const struct xtask *task)
{
    const struct job *job = &w->jobs[x->job];
    if (!w->jms[job->jm].alive || w->jms[job->jm].fenced)
        return false;
    const struct weir_jm_job *view = weir_jm_job_find(w->jms[job->jm].core, job->id);
    if (!view || weir_job_state_terminal(view->state))
        return false;
    if (task->index >= view->task_count)
        return false;
    const struct weir_jm_task *now = &view->tasks[task->index];
    /* What has stopped with a savepoint stands still until its job's output is published, which may take long. */
    return now->attempt == task->attempt && strcmp(now->executor_id, x->id) == 0 &&
           (!weir_task_state_terminal(now->state) || (task->halted && view->committing));
}

static void check_exec(struct world *w, int index)
{
    struct exec *x = &w->execs[index];
    if (!x->exists) {
        return;
    }
    const struct jm_node *starter = &w->jms[w->conns[x->conn].jm];
    if (w->conns[x->conn].jm != w->jobs[x->job].jm && starter->alive &&
        !starter->fenced) { /* it does not know yet that it was replaced */
        x->orphan_since_ms = -1;
        for (int t = 0; t < x->task_count; t++)
            x->tasks[t].stale_since_ms = -1;
        return;
    }
    bool runs = exec_runs(w, x), wanted = false;
    for (int t = 0; t < x->task_count; t++) {
        struct xtask *task = &x->tasks[t];
        if (!runs || task->state == XT_ENDED || task_is_current(w, x, task)) {
            task->stale_since_ms = -1;
            continue;
        }
        if (task->stale_since_ms < 0)
            task->stale_since_ms = w->now_ms;
        if (w->now_ms - task->stale_since_ms > stale_bound_ms(w))
            violate(w, "dead-attempt-runs",
                    "x%d on tm%d: job %.8s task %d attempt %" PRIu32 " still runs after %" PRId64 " ms", index, x->tm,
                    w->jobs[x->job].id, task->index, task->attempt, w->now_ms - task->stale_since_ms);
    }
    const struct job *job = &w->jobs[x->job];
    if (w->jms[job->jm].alive && !w->jms[job->jm].fenced) {
        const struct weir_jm_job *view = weir_jm_job_find(w->jms[job->jm].core, job->id);
        for (int i = 0;
             view && !weir_job_state_terminal(view->state) && i < weir_jm_executor_count(w->jms[job->jm].core); i++) {
            struct weir_jm_executor_view known = weir_jm_executor_at(w->jms[job->jm].core, i);
            wanted |= !known.detached && strcmp(known.id, x->id) == 0;
        }
    }
    const struct tm_node *own = &w->tms[x->tm];
    int64_t able_ms = own->awake_since_ms > x->lease_sent_ms ? own->awake_since_ms : x->lease_sent_ms;
    if (own->alive && own->boot == x->boot && !x->killed && x->lease_sent_ms != INT64_MAX && w->now_ms > able_ms + 50 &&
        x->line_open)
        violate(w, "no-kill-after-lease", "x%d on tm%d: its lease ended at %" PRId64 " and it was not killed", index,
                x->tm, x->lease_sent_ms);
    int64_t seen_ms = own->awake_since_ms > x->over_budget_ms ? own->awake_since_ms : x->over_budget_ms;
    if (own->alive && own->boot == x->boot && !x->killed && x->over_budget_ms >= 0 && w->now_ms > seen_ms + 50)
        violate(w, "over-budget-kept", "x%d on tm%d uses %" PRIu64 " bytes since %" PRId64 " and was not killed", index,
                x->tm, x->rss_bytes, x->over_budget_ms);
    /* Who could end it: itself unless it hangs, else its supervisor, unless that is stopped or it cannot be killed yet. */
    const struct tm_node *t = &w->tms[x->tm];
    bool own_supervisor = t->alive && t->boot == x->boot && w->now_ms >= t->paused_until_ms;
    bool excused = !runs && (!own_supervisor || (x->unkillable_until_heal && w->now_ms < w->fault_end_ms + 1000));
    if (wanted || excused) {
        x->orphan_since_ms = -1;
        return;
    }
    if (x->orphan_since_ms < 0)
        x->orphan_since_ms = w->now_ms;
    if (w->now_ms - x->orphan_since_ms > stale_bound_ms(w) + w->tm_options.kill_repeat_ms)
        violate(w, "executor-without-job", "x%d on tm%d: of job %.8s, which does not want it", index, x->tm, job->id);
}

/* `text`: what a supervisor logs when it kills an executor for its memory. */
void check_memory_kill(struct world *w, int tm, const char *text)
{
    count(w, C_memory_killed_executor);
    for (int i = 0; i < w->exec_count; i++)
        if (w->execs[i].tm == tm && strstr(text, w->execs[i].id) && w->execs[i].rss_bytes <= SIM_MEMORY_MAX)
            violate(w, "killed-within-budget", "tm%d kills x%d for its memory: %" PRIu64 " bytes", tm, i,
                    w->execs[i].rss_bytes);
}

/* Who is not heard is lost, who does not listen too; and what is not acknowledged is sent again. */
static void check_conns(struct world *w)
{
    for (int i = 0; i < w->conn_count; i++) {
        const struct conn *c = &w->conns[i];
        const struct jm_node *jm = &w->jms[c->jm];
        const struct tm_node *tm = &w->tms[c->tm];
        bool jm_acts = c->registered && jm->alive && !jm->fenced && w->now_ms >= jm->paused_until_ms + 100;
        if (jm_acts && w->now_ms > c->heard_ms + w->jm_options.heartbeat_timeout_ms + 50)
            violate(w, "silent-taskmanager-kept", "jm%d has not heard of %s for %" PRId64 " ms", c->jm, c->peer,
                    w->now_ms - c->heard_ms);
        if (jm_acts && c->full_ms && w->now_ms > c->full_ms + 50)
            violate(w, "full-outbox-kept", "jm%d has dropped a command to %s and keeps it", c->jm, c->peer);
        if (jm_acts && c->cmd_sent > c->cmd_acked) {
            if (w->now_ms > c->cmd_progress_ms + w->jm_options.heartbeat_timeout_ms + 50)
                violate(w, "deaf-taskmanager-kept", "%s acknowledges no command", c->peer);
            if (w->now_ms > c->cmd_last_ms + w->jm_options.resend_ms + 50 && jm->paused_until_ms < c->cmd_last_ms)
                violate(w, "no-resend", "jm%d does not send its commands to %s again", c->jm, c->peer);
        }
        bool tm_acts = tm->alive && tm->boot == c->boot && tm->conn == i && w->now_ms >= tm->paused_until_ms + 100 &&
                       weir_tm_registered(tm->core);
        if (tm_acts && c->rep_sent > c->rep_acked && tm->awake_since_ms < c->rep_last_ms &&
            w->now_ms > c->rep_last_ms + w->tm_options.resend_ms + 50)
            violate(w, "no-resend", "tm%d does not send its reports again", c->tm);
    }
}

/* Deadlines of tasks are kept, and a region whose tasks have ended restarts when its delay is over. */
static void check_timers(struct world *w)
{
    for (int j = 0; j < w->job_count; j++) {
        struct job *job = &w->jobs[j];
        const struct jm_node *jm = &w->jms[job->jm];
        const struct weir_jm_job *view = jm->alive && !jm->fenced ? weir_jm_job_find(jm->core, job->id) : NULL;
        bool acts = view && w->now_ms >= jm->paused_until_ms + 100;
        bool ended[SIM_TASKS_MAX], unfinished[SIM_TASKS_MAX] = {0};
        memset(ended, true, sizeof ended);
        for (int t = 0; acts && t < view->task_count; t++) {
            if (!weir_job_state_terminal(view->state) && view->tasks[t].deadline_ms != INT64_MAX &&
                w->now_ms + jm->offset_ms > view->tasks[t].deadline_ms + 50)
                violate(w, "deadline-missed", "job %.8s task %d is %s", job->id, t,
                        weir_task_state_name(view->tasks[t].state));
            int region = job_task(job, t)->region;
            ended[region] &= weir_task_state_terminal(view->tasks[t].state);
            unfinished[region] |= view->tasks[t].state != WEIR__TASK_STATE__FINISHED;
        }
        for (int r = 0; r < job->region_count; r++) {
            if (!acts || all_may_restart(w, job) || view->state != WEIR_JOB_RESTARTING || !ended[r] || !unfinished[r]) {
                job->region_ended_ms[r] = -1;
                continue;
            }
            if (job->region_ended_ms[r] < 0 || job->region_ended_restarts[r] != view->restarts) {
                job->region_ended_ms[r] = w->now_ms;
                job->region_ended_restarts[r] = view->restarts;
            }
            if (w->now_ms > job->region_ended_ms[r] + most_delay_ms(&job->options) + 200)
                violate(w, "restart-late", "job %.8s: region %d has ended, its delay is over", job->id, r);
        }
    }
}

/* Cancelling and failing always end, within the bound, whatever the network does. */
static void check_endings(struct world *w)
{
    for (int j = 0; j < w->job_count; j++) {
        struct job *job = &w->jobs[j];
        if (!w->jms[job->jm].alive || w->jms[job->jm].fenced || job->ending_deadline_ms == INT64_MAX)
            continue;
        if (w->now_ms < w->jms[job->jm].paused_until_ms) { /* nobody is there to end it */
            job->ending_deadline_ms = w->jms[job->jm].paused_until_ms + 50 + w->jm_options.heartbeat_timeout_ms +
                                      2 * w->jm_options.kill_timeout_ms;
            continue;
        }
        if (w->now_ms > job->ending_deadline_ms + 100 && !weir_job_state_terminal(job->state))
            violate(w, "never-ends", "job %.8s is %s for too long", job->id, weir_job_state_name(job->state));
    }
}

void check_world(struct world *w)
{
    for (int i = 0; i < w->exec_count; i++)
        check_exec(w, i);
    check_endings(w);
    check_conns(w);
    check_timers(w);
    operations_poll(w);
    if (w->healed && w->now_ms >= w->fault_end_ms + 3000)
        check_rest(w);
}
