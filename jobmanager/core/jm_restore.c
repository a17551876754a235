/* Which parts of the checkpoint that a job begins with go to which subtask, at any parallelism: by the part's kind (taskmanager/state/README.md). */
#include "jobmanager/core/jm_checkpoint_int.h"

/* Key groups [*first, *first + *count) of a subtask (data/row_key.h has the same for rows). */
static void key_groups(int max_parallelism, int parallelism, int subtask, int *first, int *count)
{
    *first = (int)(((int64_t)subtask * max_parallelism + parallelism - 1) / parallelism);
    *count = (int)(((int64_t)(subtask + 1) * max_parallelism + parallelism - 1) / parallelism) - *first;
}

static bool part_is_for(const struct weir_plan_vertex *vertex, const Weir__StatePart *part, int subtask, int number)
{
    int first, count, part_first, part_count;
    switch (part->kind) {
    case WEIR_JM_KIND_UNION:
        return true;
    case WEIR_JM_KIND_SPLIT: /* weir_restored_is_mine() */
        return (int)part->parallelism != vertex->parallelism || (int)part->subtask == subtask;
    case WEIR_JM_KIND_ROWS: /* as they were addressed, or dealt out */
        return (int)part->parallelism == vertex->parallelism ? (int)part->subtask == subtask
                                                             : number % vertex->parallelism == subtask;
    case WEIR_JM_KIND_KEYED:
    case WEIR_JM_KIND_ROWS_KEYED:
        key_groups(vertex->max_parallelism, vertex->parallelism, subtask, &first, &count);
        key_groups(vertex->max_parallelism, (int)part->parallelism, (int)part->subtask, &part_first, &part_count);
        if (WEIR_MUTANT(jm_restored_by_subtask))
            return (int)part->subtask == subtask;
        return first < part_first + part_count && part_first < first + count;
    default:
        return (int)part->subtask == subtask;
    }
}

Weir__TaskRestore *weir_jm_checkpoint_restore(struct weir_jm *jm, const struct weir_jm_job *job,
                                              const struct weir_jm_task *task)
{
    const struct job_checkpoints *c = job->in->checkpoints;
    if (!c || !c->latest)
        return NULL;
    const struct weir_plan_vertex *vertex = &job->plan->vertices[task->vertex];
    Weir__TaskRestore *restore = weir_arena_alloc(&jm->arena, sizeof *restore);
    weir__task_restore__init(restore);
    restore->checkpoint = c->latest->checkpoint;
    restore->parts = weir_arena_alloc(&jm->arena, (c->latest->n_parts + 1) * sizeof *restore->parts);
    for (int o = 0; o < vertex->op_count; o++) {
        const char *uid = job->plan->ops[vertex->ops[o]].uid;
        int number = 0;
        for (size_t i = 0; i < c->latest->n_parts; i++) {
            Weir__StatePart *part = c->latest->parts[i];
            if (strcmp(part->uid, uid) == 0 && part_is_for(vertex, part, task->subtask, number++))
                restore->parts[restore->n_parts++] = part;
        }
    }
    return restore;
}
