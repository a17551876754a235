/* Watermark alignment: how far the sources of a group are, of all executors of their job.
 *
 * An executor says how far those are that it runs, and is told how far all the others are; what it makes of both is its affair
 * (taskmanager/ops/alignment.h). A source that has not FINISHED and that no executor speaks of holds back all others: it starts, or starts anew,
 * and nothing is known of it. So the others wait while a task restarts, which ends: it is deployed, or the job fails.
 *
 * An executor is answered when it says something, and told when something becomes known of all others, or is not known any more.
 */
#include "jobmanager/core/jm_int.h"

void weir_jm_alignment_free(struct weir_jm_executor *executor)
{
    for (int i = 0; i < executor->aligned_count; i++)
        free(executor->aligned[i].name);
    free(executor->aligned);
}

static struct aligned_group *find_group(const struct weir_jm_executor *executor, const char *name)
{
    for (int i = 0; i < executor->aligned_count; i++)
        if (strcmp(executor->aligned[i].name, name) == 0)
            return &executor->aligned[i];
    return NULL;
}

static bool counts(const struct weir_jm_job *job, int t, const struct weir_jm_executor *executor)
{
    Weir__TaskState state = job->tasks[t].state;
    return executor ? job->in->executors[t] == executor && state == WEIR__TASK_STATE__RUNNING
                    : state != WEIR__TASK_STATE__FINISHED || WEIR_MUTANT(jm_aligned_finished);
}

/* Subtasks of the group that have not FINISHED, or that run in `executor`; *any: it is one of the job's groups. */
static int64_t members_of(const struct weir_jm_job *job, const struct weir_jm_executor *executor, const char *name,
                          bool *any)
{
    const struct weir_plan *plan = job->plan;
    int64_t count = 0;
    *any = false;
    for (int o = 0; o < plan->op_count; o++) {
        const char *group = weir_plan_alignment_group(&plan->ops[o]);
        if (!group || strcmp(group, name) != 0)
            continue;
        *any = true;
        const struct weir_plan_vertex *vertex = &plan->vertices[plan->ops[o].chain];
        for (int t = 0; t < vertex->parallelism; t++)
            count += counts(job, vertex->first_task + t, executor);
    }
    return count;
}

/* Those that an executor speaks of; one that has ended it may not have left out yet, and that one stands for no other. */
static int64_t known_of(const struct weir_jm_executor *executor, const struct aligned_group *group)
{
    bool any;
    int64_t running = members_of(executor->job, executor, group->name, &any);
    return running < group->members && !WEIR_MUTANT(jm_aligned_ended) ? running : group->members;
}

/* How far the group is, without what this executor runs of it. */
static int64_t others_ms(const struct weir_jm *jm, const struct weir_jm_executor *executor, const char *name)
{
    bool any;
    int64_t known = 0, least_ms = INT64_MAX;
    for (int i = 0; i < jm->executor_count; i++) {
        const struct weir_jm_executor *other = jm->executors[i];
        const struct aligned_group *group = find_group(other, name);
        if (other->job != executor->job || other->state != WEIR_JM_EXECUTOR_READY || !group)
            continue;
        known += known_of(other, group);
        if (other != executor && group->members > 0 && group->watermark_ms < least_ms)
            least_ms = group->watermark_ms;
    }
    bool unknown = known < members_of(executor->job, NULL, name, &any) && !WEIR_MUTANT(jm_aligned_unknown);
    return unknown ? INT64_MIN : least_ms;
}

/* Those of its groups that it should hear of; all when it has asked. */
static void tell(struct weir_jm *jm, struct weir_jm_executor *executor, bool asked)
{
    Weir__Alignment *alignment = weir_arena_alloc(&jm->arena, sizeof *alignment);
    weir__alignment__init(alignment);
    alignment->groups = weir_arena_alloc(&jm->arena, (size_t)(executor->aligned_count + 1) * sizeof *alignment->groups);
    for (int i = 0; i < executor->aligned_count; i++) {
        struct aligned_group *group = &executor->aligned[i];
        int64_t now_ms = others_ms(jm, executor, group->name);
        if ((!asked || WEIR_MUTANT(jm_aligned_untold)) && (now_ms == INT64_MIN) == (group->told_ms == INT64_MIN))
            continue;
        group->told_ms = now_ms;
        Weir__AlignmentGroup *out = alignment->groups[alignment->n_groups++] =
            weir_arena_alloc(&jm->arena, sizeof *out);
        weir__alignment_group__init(out);
        out->name = weir_arena_strdup(&jm->arena, group->name);
        out->watermark_ms = now_ms;
    }
    if (alignment->n_groups == 0)
        return;
    alignment->executor_id = weir_arena_strdup(&jm->arena, executor->id);
    alignment->job_id = weir_arena_strdup(&jm->arena, executor->job_id);
    Weir__Control *control = weir_jm_send(jm, executor->tm);
    control->body_case = WEIR__CONTROL__BODY_ALIGNMENT;
    control->alignment = alignment;
}

static struct weir_jm_executor *find_executor(const struct weir_jm *jm, const struct weir_jm_taskmanager *tm,
                                              const char *id)
{
    for (int i = 0; i < jm->executor_count; i++) {
        struct weir_jm_executor *executor = jm->executors[i];
        if (executor->tm == tm && executor->job && executor->state == WEIR_JM_EXECUTOR_READY &&
            strcmp(executor->id, id) == 0)
            return executor;
    }
    return NULL;
}

static void take_group(struct weir_jm_executor *executor, const Weir__AlignmentGroup *from)
{
    struct aligned_group *group = find_group(executor, from->name);
    bool any;
    (void)members_of(executor->job, NULL, from->name, &any);
    if (!any)
        return;
    if (!group) {
        executor->aligned = weir_realloc(executor->aligned, (size_t)(executor->aligned_count + 1) * sizeof *group);
        group = &executor->aligned[executor->aligned_count++];
        *group = (struct aligned_group){.name = weir_strdup(from->name), .told_ms = INT64_MIN};
    }
    group->members = from->members;
    group->watermark_ms = from->watermark_ms;
}

void weir_jm_alignment_said(struct weir_jm *jm, const struct weir_jm_taskmanager *tm, const Weir__Alignment *alignment)
{
    struct weir_jm_executor *executor = find_executor(jm, tm, alignment->executor_id);
    if (!executor)
        return;
    for (size_t i = 0; i < alignment->n_groups; i++)
        take_group(executor, alignment->groups[i]);
    for (int i = 0; i < jm->executor_count; i++)
        if (jm->executors[i]->job == executor->job && jm->executors[i]->state == WEIR_JM_EXECUTOR_READY)
            tell(jm, jm->executors[i], jm->executors[i] == executor);
}
