/* At rest: when the faults have ended, jobs run or wait for slots that do not exist; then all is cancelled, and nothing is left over. */
#include "tests/sim/sim.h"

static int slots_registered(const struct weir_jm *core)
{
    int slots = 0;
    for (int i = 0; i < weir_jm_taskmanager_count(core); i++)
        slots += weir_jm_taskmanager_at(core, i)->slot_count;
    return slots;
}

static int slots_free(const struct weir_jm *core)
{
    int slots = 0;
    for (int i = 0; i < weir_jm_taskmanager_count(core); i++)
        slots += weir_jm_taskmanager_at(core, i)->slots_free;
    return slots;
}

/* It can publish its output nowhere, for ever. */
static bool is_stranded(const struct weir_jm *core, const struct weir_jm_job *view)
{
    return view->committing && weir_jm_taskmanager_count(core) == 0;
}

/* NULL: it is where it should be; else what is the matter. `fits`: it would run if nothing else did. */
static const char *unsettled(const struct world *w, const struct weir_jm_job *view)
{
    const struct weir_jm *core = w->jms[w->jm].core;
    if (weir_job_state_terminal(view->state) || is_stranded(core, view))
        return NULL;
    bool running = view->state == WEIR_JOB_RUNNING, waiting = running && strstr(view->status, "more slot");
    for (int t = 0; t < view->task_count; t++)
        running &=
            view->tasks[t].state == WEIR__TASK_STATE__RUNNING || view->tasks[t].state == WEIR__TASK_STATE__FINISHED;
    const struct job *job = &w->jobs[job_find(w, view->id)];
    if (running && !job->bounded)
        return job->periodic && (view->checkpoints_completed == 0 || job->head.newest <= job->newest_healed)
                   ? "makes no checkpoint"
                   : NULL;
    if (waiting) {
        int missing = 0;
        for (int s = 0; s < view->slot_count; s++)
            missing += view->slots[s].taskmanager == NULL;
        if (missing > slots_free(core))
            return w->drained && slots_registered(core) >= view->slot_count ? "waits for slots that could be free"
                                                                            : NULL;
        return "waits although there are slots";
    }
    return running ? "has not finished" : "does not run";
}

static const char *leftover(const struct world *w)
{
    const struct weir_jm *core = w->jms[w->jm].core;
    for (int i = 0; i < w->tm_count; i++) {
        const struct tm_node *t = &w->tms[i];
        if (!t->alive)
            continue;
        if (!weir_tm_registered(t->core) || !weir_jm_taskmanager_find(core, t->id))
            return "a TaskManager is not registered";
        if (weir_tm_executor_count(t->core))
            return "a TaskManager has an executor";
        if (weir_tm_reports_waiting(t->core))
            return "a report is not acknowledged";
    }
    for (int i = 0; i < weir_jm_taskmanager_count(core); i++)
        if (weir_jm_commands_waiting(weir_jm_taskmanager_at(core, i)))
            return "a command is not acknowledged";
    if (slots_free(core) != slots_registered(core))
        return "a slot is not free";
    if (weir_jm_executor_count(core))
        return "the JobManager waits for an executor";
    for (int i = 0; i < w->exec_count; i++)
        if (w->execs[i].exists && !(w->tms[w->execs[i].tm].gone_for_good && w->execs[i].stuck))
            return "an executor process is left";
    if (!kafka_is_at_rest(w))
        return "a transaction is open";
    for (int j = 0; j < w->job_count; j++) {
        const struct weir_jm_job *view = weir_jm_job_find(core, w->jobs[j].id);
        for (int i = 0; i < w->jobs[j].object_count && !w->jobs[j].head.exists && !w->jobs[j].erased; i++)
            if (!w->jobs[j].objects[i].gone)
                return "an object is left of a submission that was not accepted";
        bool swallowed = w->jobs[j].abort_id && w->conns[w->jobs[j].abort_conn].confused;
        if (view && view->state != WEIR_JOB_FINISHED && weir_jm_taskmanager_count(core) && w->jobs[j].output &&
            !w->jobs[j].aborted && !swallowed &&
            (w->jobs[j].checkpoints ? !w->jobs[j].commit_failed : !w->jobs[j].commit_asked) &&
            view->tasks[0].executor_id[0])
            return "output was not removed";
        const char *left = view && w->jobs[j].checkpoints && weir_jm_taskmanager_count(core)
                               ? store_leftover(&w->jobs[j], view)
                               : NULL;
        if (left)
            return left;
    }
    return NULL;
}

/* What would not end, or waits for slots that do not exist. */
static void cancel_what_goes_on(struct world *w)
{
    const struct weir_jm *core = w->jms[w->jm].core;
    for (int j = 0; j < w->job_count; j++) {
        const struct weir_jm_job *view = weir_jm_job_find(core, w->jobs[j].id);
        if (view && (view->state == WEIR_JOB_RUNNING || view->state == WEIR_JOB_RESTARTING) &&
            (!w->jobs[j].bounded || (view->slot_count > slots_registered(core) && strstr(view->status, "more slot"))))
            cancel_job(w, j);
    }
}

void check_rest(struct world *w)
{
    const struct weir_jm *core = w->jms[w->jm].core;
    if (!w->jms[w->jm].alive)
        violate(w, "no-jobmanager", "after the faults");
    const char *matter = NULL;
    const struct weir_jm_job *which = NULL;
    for (int j = 0; j < w->job_count && w->now_ms >= w->end_by_ms; j++) {
        struct job *job = &w->jobs[j];
        bool kept = job->head.exists && !weir_job_state_terminal(job->head.state);
        if (job->erased)
            continue;
        if (job->acknowledged && job->checkpoints && !job->head.exists)
            violate(w, "job-lost", "job %.8s was accepted", job->id);
        if (kept && !weir_jm_job_find(core, job->id))
            violate(w, "job-lost", "job %.8s has a HEAD, and the JobManager does not know it", job->id);
    }
    for (int j = 0; j < w->job_count && !matter; j++)
        if (w->jobs[j].head.exists && !weir_job_state_terminal(w->jobs[j].head.state) &&
            !weir_jm_job_find(core, w->jobs[j].id))
            return; /* it is to be taken over */
    for (int i = 0; i < weir_jm_job_count(core) && !matter; i++) {
        which = weir_jm_job_at(core, i);
        matter = unsettled(w, which);
    }
    if (!w->drained && !matter) { /* progress: now end what would go on, or wait for ever */
        w->drained = true;
        w->drain_at_ms = w->now_ms;
        w->end_by_ms = w->now_ms + 240000;
        trace(w, "all jobs run, wait for slots or have ended: the rest is cancelled");
        cancel_what_goes_on(w);
        return;
    }
    if (w->drained)
        cancel_what_goes_on(w); /* a rescale that was under way may have made one too large */
    bool ended = true;
    for (int i = 0; i < weir_jm_job_count(core); i++)
        ended &= weir_job_state_terminal(weir_jm_job_at(core, i)->state) || is_stranded(core, weir_jm_job_at(core, i));
    const char *left = w->drained && ended ? leftover(w) : NULL;
    if (w->drained && ended && !left) {
        w->done = true;
        return;
    }
    if (w->now_ms < w->end_by_ms)
        return;
    if (matter)
        violate(w, "no-progress", "job %.8s (%s, '%s') %s", which->id, weir_job_state_name(which->state), which->status,
                matter);
    violate(w, "not-at-rest", "%s", left ? left : "a job has not ended");
}
