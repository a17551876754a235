/* Pipelined-region failover, as Flink's: one failure restarts the regions that it hit and no others.
 *
 * WAITING (for slots, executors) -> ACTIVE (deployed) -> RESTARTING (cancelled, delayed) -> WAITING with new attempts.
 * A region starts anew when the restart strategy's delay is over and every task of it has ended, whichever is later; a
 * task that had FINISHED is run again too, what it had to commit is dropped. A region whose tasks have all FINISHED stays so.
 */
#include "jobmanager/core/jm_int.h"

bool weir_jm_region_finished(const struct weir_jm_job *job, int region)
{
    const struct region *r = &job->in->regions[region];
    for (int i = 0; i < r->count; i++)
        if (job->tasks[job->in->region_tasks[r->first + i]].state != WEIR__TASK_STATE__FINISHED)
            return false;
    return true;
}

static bool region_ended(const struct weir_jm_job *job, const struct region *region)
{
    for (int i = 0; i < region->count; i++)
        if (!weir_task_state_terminal(job->tasks[job->in->region_tasks[region->first + i]].state))
            return false;
    return true;
}

static void restart_region(struct weir_jm *jm, struct weir_jm_job *job, int number, int64_t delay_ms)
{
    struct region *region = &job->in->regions[number];
    region->state = REGION_RESTARTING;
    region->restart_at_ms = later_ms(jm->now_ms, WEIR_MUTANT(jm_no_restart_delay) ? 0 : delay_ms);
    if (region->restart_at_ms < job->in->timer_ms)
        job->in->timer_ms = region->restart_at_ms;
    weir_jm_tasks_cancel(jm, job, &job->in->region_tasks[region->first], region->count);
}

void weir_jm_regions_failed(struct weir_jm *jm, struct weir_jm_job *job, const bool *regions,
                            const Weir__Failure *failure)
{
    if ((job->state != WEIR_JOB_RUNNING && job->state != WEIR_JOB_RESTARTING) || job->committing)
        return;
    bool any = false;
    for (int r = 0; r < job->plan->task_region_count; r++)
        any |= regions[r] && job->in->regions[r].state != REGION_RESTARTING;
    weir_assert(any); /* a consequence of a failure that is being handled already is no failure */
    int64_t delay_ms;
    if (strcmp(failure->kind, "CHECKPOINT_CORRUPT") == 0)
        failure = weir_jm_checkpoint_corrupt(jm, job, failure);
    if (failure->fail_job ||
        !weir_jm_restart_next(&job->options, &job->in->restart, jm->now_ms, weir_jm_random(jm), &delay_ms)) {
        weir_jm_job_fail(jm, job, failure);
        return;
    }
    if (!WEIR_MUTANT(jm_checkpoint_survives))
        weir_jm_checkpoints_abort(jm, job, "a region of the job failed");
    job->restarts++;
    weir_jm_log(jm, WEIR_JM_LOG_WARN, job, "job %s: %s: %s; its region restarts in %" PRId64 " ms", job->name,
                failure->kind, failure->message, delay_ms);
    if (job->state == WEIR_JOB_RUNNING)
        weir_jm_job_set_state(jm, job, WEIR_JOB_RESTARTING);
    weir_jm_job_set_status(job, "restarting %" PRId64 " ms after: %s: %s", delay_ms, failure->kind, failure->message);
    for (int r = 0; r < job->plan->task_region_count; r++)
        if ((regions[r] || WEIR_MUTANT(jm_restart_all_regions)) && job->in->regions[r].state != REGION_RESTARTING)
            restart_region(jm, job, r, delay_ms);
    weir_jm_region_timers(jm, job);
}

void weir_jm_regions_restart(struct weir_jm *jm, struct weir_jm_job *job)
{
    if (job->state == WEIR_JOB_RUNNING)
        weir_jm_job_set_state(jm, job, WEIR_JOB_RESTARTING);
    for (int r = 0; r < job->plan->task_region_count; r++)
        if (job->in->regions[r].state != REGION_RESTARTING)
            restart_region(jm, job, r, 0);
    weir_jm_task_timers(jm, job); /* what is due now is done below */
    weir_jm_region_timers(jm, job);
}

static void renew_region(struct weir_jm *jm, struct weir_jm_job *job, struct region *region)
{
    region->state = REGION_WAITING;
    region->restart_at_ms = NEVER_MS;
    for (int i = 0; i < region->count; i++) {
        struct weir_jm_task *task = &job->tasks[job->in->region_tasks[region->first + i]];
        if (task->state == WEIR__TASK_STATE__FINISHED && WEIR_MUTANT(jm_finished_not_rerun))
            continue;
        weir_jm_task_new_attempt(jm, job, task);
    }
}

void weir_jm_region_timers(struct weir_jm *jm, struct weir_jm_job *job)
{
    if (job->state != WEIR_JOB_RESTARTING)
        return;
    if (job->in->rescale)
        return; /* their successors are others: weir_jm_operations() */
    bool restarting = false;
    for (int r = 0; r < job->plan->task_region_count; r++) {
        struct region *region = &job->in->regions[r];
        if (region->state != REGION_RESTARTING)
            continue;
        if (region->restart_at_ms <= jm->now_ms && (region_ended(job, region) || WEIR_MUTANT(jm_restart_before_end))) {
            renew_region(jm, job, region);
            continue;
        }
        restarting = true;
        if (region->restart_at_ms > jm->now_ms && region->restart_at_ms < job->in->timer_ms)
            job->in->timer_ms = region->restart_at_ms;
    }
    if (!restarting) {
        weir_jm_job_set_state(jm, job, WEIR_JOB_RUNNING);
        weir_jm_job_set_status(job, "%s", "");
    }
}
