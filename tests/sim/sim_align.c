/* Watermark alignment: how far the sources of a job's group are, what their executors say of them, and what they hear of the others by way of the
 * JobManager. Some jobs have a group; its random numbers are its own. A source's event time goes on in steps, as long as its executor allows.
 *
 * Checked while messages are neither lost nor late and nobody stands still: no source goes on that is further ahead of the slowest than the drift, or
 * while the JobManager waits for another one to run; and none waits for long that may go on. What was lost before must not matter then.
 */
#include "tests/sim/sim.h"

#define DRIFT_MS 1000
#define STEP_MS 400     /* of event time, at most */
#define SETTLED_MS 4500 /* after what makes messages late or lost: the latest are 4 s late */
#define LAG_MS 700      /* until all have heard of what has changed, and answered */
#define WAIT_MS 2500    /* for what may go on */

static bool is_member(struct world *w, int index, int t)
{
    return w->execs[index].tasks[t].state == XT_RUNNING && exec_task(w, index, t)->aligned;
}

static int64_t own_least(struct world *w, int index, uint32_t *members)
{
    int64_t least_ms = INT64_MAX;
    *members = 0;
    for (int t = 0; t < w->execs[index].task_count; t++)
        if (is_member(w, index, t)) {
            const int64_t watermark_ms = w->execs[index].tasks[t].watermark_ms;
            least_ms = watermark_ms < least_ms ? watermark_ms : least_ms;
            ++*members;
        }
    return least_ms;
}

/* --- What is true */

static bool over(const struct world *w, int64_t until_ms)
{
    return w->now_ms >= until_ms + SETTLED_MS;
}

static bool is_well(const struct world *w, const struct exec *x)
{
    const struct tm_node *t = &w->tms[x->tm];
    return !x->stuck && x->ready && x->line_open && over(w, x->paused_until_ms) && over(w, t->paused_until_ms) &&
           t->alive && t->boot == x->boot && t->conn == x->conn && w->conns[x->conn].registered &&
           w->conns[x->conn].jm == w->jm && w->conns[x->conn].tm_open && w->conns[x->conn].jm_open;
}

/* Messages of the job get there, and everybody reads them. */
static bool is_calm(const struct world *w, const struct job *job)
{
    static const enum fault_kind late[] = {F_LOSS, F_DELAY, F_DUP, F_FORGE, F_FLAP};
    for (size_t k = 0; k < sizeof late / sizeof *late; k++)
        if (!over(w, w->window_ms[late[k]]))
            return false;
    for (int tm = 0; tm < w->tm_count; tm++)
        if (!over(w, w->partition_ms[tm][0]) || !over(w, w->partition_ms[tm][1]))
            return false;
    if (job->jm != w->jm || !w->jms[w->jm].alive || w->jms[w->jm].fenced || !over(w, w->jms[w->jm].paused_until_ms))
        return false;
    for (int i = 0; i < w->exec_count; i++)
        if (w->execs[i].exists && &w->jobs[w->execs[i].job] == job && !is_well(w, &w->execs[i]))
            return false;
    return true;
}

enum sources { ALL_RUN, ONE_MISSING, OTHERWISE };

/* As the JobManager sees them. One that is being cancelled may go on for a while, and says so. */
static enum sources sources_of(const struct weir_jm_job *view, const struct sim_plan *plan)
{
    enum sources so = view->state == WEIR_JOB_RUNNING ? ALL_RUN : OTHERWISE;
    for (int t = 0; t < plan->task_count && view->task_count == plan->task_count; t++) {
        Weir__TaskState state = view->tasks[t].state;
        if (!plan->tasks[t].aligned || state == WEIR__TASK_STATE__RUNNING || state == WEIR__TASK_STATE__FINISHED)
            continue;
        if (state != WEIR__TASK_STATE__CANCELING)
            return ONE_MISSING;
        so = OTHERWISE;
    }
    return so;
}

/* The slowest of those that run. */
static int64_t true_least(struct world *w, const struct job *job)
{
    int64_t least_ms = INT64_MAX;
    for (int i = 0; i < w->exec_count; i++) {
        uint32_t members;
        if (w->execs[i].exists && &w->jobs[w->execs[i].job] == job && own_least(w, i, &members) < least_ms)
            least_ms = own_least(w, i, &members);
    }
    return least_ms;
}

static void keep(const struct world *w, int64_t *since_ms, bool is_so)
{
    *since_ms = !is_so ? -1 : *since_ms < 0 ? w->now_ms : *since_ms;
}

/* Notes since when what follows from it has been so. */
static void look(struct world *w, int index)
{
    struct job *job = &w->jobs[w->execs[index].job];
    const struct weir_jm_job *view = w->jms[job->jm].alive ? weir_jm_job_find(w->jms[job->jm].core, job->id) : NULL;
    if (!view || !is_calm(w, job)) {
        job->aligned_run_ms = job->aligned_missing_ms = -1;
        return;
    }
    uint64_t attempts = 0;
    for (int t = 0; t < view->task_count; t++)
        attempts += view->tasks[t].attempt;
    if (attempts != job->aligned_attempts) /* it may have run in between */
        job->aligned_run_ms = job->aligned_missing_ms = -1;
    job->aligned_attempts = attempts;
    enum sources so = sources_of(view, exec_plan(w, index));
    keep(w, &job->aligned_run_ms, so == ALL_RUN);
    keep(w, &job->aligned_missing_ms, so == ONE_MISSING);
}

static bool holds(const struct world *w, int64_t since_ms, int64_t for_ms)
{
    return since_ms >= 0 && w->now_ms >= since_ms + for_ms;
}

static void check_move(struct world *w, const struct job *job, const struct xtask *task)
{
    if (holds(w, job->aligned_missing_ms, LAG_MS))
        violate(w, "aligned-alone", "job %.8s: source %d goes on, and another one does not run", job->id, task->index);
    if (holds(w, job->aligned_run_ms, LAG_MS) && task->watermark_ms > true_least(w, job) + DRIFT_MS)
        violate(w, "aligned-ahead", "job %.8s: source %d goes on at %" PRId64 ", and the slowest is at %" PRId64,
                job->id, task->index, task->watermark_ms, true_least(w, job));
}

static void check_wait(struct world *w, const struct job *job, struct xtask *task)
{
    if (!holds(w, job->aligned_run_ms, LAG_MS) || task->watermark_ms > true_least(w, job) + DRIFT_MS)
        task->may_go_ms = -1;
    else if (task->may_go_ms < 0)
        task->may_go_ms = w->now_ms;
    else if (w->now_ms > task->may_go_ms + WAIT_MS)
        violate(w, "aligned-for-ever", "job %.8s: source %d waits at %" PRId64 " ms, and the slowest is at %" PRId64,
                job->id, task->index, task->watermark_ms, true_least(w, job));
}

/* --- The executor */

static void go_on(struct world *w, int index, int t, int64_t bound_ms)
{
    struct xtask *task = &w->execs[index].tasks[t];
    struct job *job = &w->jobs[w->execs[index].job];
    if (task->halted)
        return;
    if (task->watermark_ms > bound_ms) {
        count(w, C_aligned_waited);
        check_wait(w, job, task);
        return;
    }
    check_move(w, job, task);
    task->may_go_ms = -1;
    task->watermark_ms += 20 + (int64_t)((uint64_t)(task->index * 7 + (int)task->attempt * 3) * 61 % (STEP_MS - 20));
}

void align_act(struct world *w, int index)
{
    struct exec *x = &w->execs[index];
    uint32_t members;
    look(w, index);
    int64_t least_ms = own_least(w, index, &members);
    int64_t group_ms = x->others_ms < least_ms ? x->others_ms : least_ms;
    for (int t = 0; t < x->task_count; t++)
        if (is_member(w, index, t))
            go_on(w, index, t, group_ms == INT64_MIN || group_ms == INT64_MAX ? group_ms : group_ms + DRIFT_MS);
    Weir__AlignmentGroup group, *groups[1] = {&group};
    Weir__Alignment alignment;
    Weir__Control control;
    weir__alignment_group__init(&group);
    weir__alignment__init(&alignment);
    weir__control__init(&control);
    group.name = (char *)"g";
    group.watermark_ms = own_least(w, index, &group.members);
    alignment.executor_id = x->id;
    alignment.job_id = w->jobs[x->job].id;
    alignment.groups = groups;
    alignment.n_groups = 1;
    control.version = 1;
    control.body_case = WEIR__CONTROL__BODY_ALIGNMENT;
    control.alignment = &alignment;
    exec_to_tm(w, index, &control);
}

void align_heard(struct world *w, int index, const Weir__Alignment *alignment)
{
    for (size_t i = 0; i < alignment->n_groups; i++)
        w->execs[index].others_ms = alignment->groups[i]->watermark_ms;
}

bool align_plan_job(const struct world *w)
{
    return (w->seed * 5 + (uint64_t)w->job_count) % 6 == 0;
}
