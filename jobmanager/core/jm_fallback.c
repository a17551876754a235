/* The newest checkpoint cannot be read: part of it is missing or not what was written (CHECKPOINT_CORRUPT).
 *
 * The job goes back to the retained one before it only where that can neither lose nor repeat output: nothing of the corrupt one's was to be
 * published. Otherwise it ends, and says how a person can go on who accepts that. HEAD names the corrupt one no more before anything that
 * follows is complete, since retained checkpoints are written to it in order; until then its objects stay (jm_garbage.c).
 */
#include "jobmanager/core/jm_checkpoint_int.h"

static const char *how_to_go_on(struct weir_jm *jm, const struct weir_jm_job *job)
{
    if (job->options.retention == WEIR_JM_RETENTION_NONE)
        return "the job's earlier checkpoints go with it (execution.checkpointing.externalized-checkpoint-retention): go on from a "
               "savepoint (weir run -s), or from the beginning";
    for (int i = job->retained_count - 2; i >= 0; i--)
        if (job->in->checkpoints->references[i].snapshot)
            return weir_arena_format(
                &jm->arena,
                "to go on all the same, submit it anew with weir run -s and the directory jobs/%s/chk-%" PRIu64
                " of execution.checkpointing.dir: what followed that checkpoint is then published again",
                job->id, job->retained[i].id);
    return "no earlier checkpoint is retained (execution.checkpointing.num-retained): go on from a savepoint (weir run -s), or "
           "from the beginning";
}

/* Why it cannot go back; NULL: it can. */
static const char *refusal(struct weir_jm *jm, const struct weir_jm_job *job)
{
    const struct job_checkpoints *c = job->in->checkpoints;
    if (job->retained_count < 2 || WEIR_MUTANT(jm_fallback_never) || !c->references[job->retained_count - 2].snapshot)
        return how_to_go_on(jm, job);
    if (c->latest->n_committables > 0 && !WEIR_MUTANT(jm_fallback_repeats))
        return weir_arena_format(&jm->arena,
                                 "output of checkpoint %" PRIu64
                                 " is published, or may be, and would be repeated from an earlier one; %s",
                                 c->latest->checkpoint, how_to_go_on(jm, job));
    return NULL;
}

static void go_back(struct weir_jm *jm, struct weir_jm_job *job, const Weir__Failure *failure)
{
    struct job_checkpoints *c = job->in->checkpoints;
    uint64_t id = job->retained[--job->retained_count].id;
    weir_jm_garbage_leave(job, job->retained_count);
    c->latest = c->references[job->retained_count - 1].snapshot;
    c->head_dirty = true;
    job->version++;
    weir_jm_log(jm, WEIR_JM_LOG_ERROR, job,
                "job %s: %s; none of its output was to be published, so the job goes back from checkpoint %" PRIu64
                " to %" PRIu64,
                job->name, failure->message, id, c->latest->checkpoint);
}

const Weir__Failure *weir_jm_checkpoint_corrupt(struct weir_jm *jm, struct weir_jm_job *job,
                                                const Weir__Failure *failure)
{
    const struct job_checkpoints *c = job->in->checkpoints;
    Weir__Failure *out = weir_arena_alloc(&jm->arena, sizeof *out);
    *out = *failure;
    out->fail_job = false;
    bool undecided = false; /* a newer one may be complete */
    for (int i = 0; c && i < c->pending_count; i++)
        undecided |= c->pending[i]->state == CHECKPOINT_IN_HEAD;
    /* What HEAD is being written without cannot be gone back to: it is looked at again when that is over. */
    if (c && job->retained_count > 1)
        undecided |= job->retained[job->retained_count - 2].id < c->oldest_writing;
    bool another = c && c->latest && failure->checkpoint != c->latest->checkpoint && !WEIR_MUTANT(jm_fallback_too_far);
    if (c && (undecided || !c->latest || another))
        return out; /* it was not the newest: the next attempt begins with another */
    const char *why = c ? refusal(jm, job) : "the job makes no checkpoints";
    if (!why) {
        go_back(jm, job, failure);
        return out;
    }
    out->fail_job = true;
    out->message = weir_arena_format(&jm->arena, "%s; %s", failure->message, why);
    weir_jm_exception(jm, job, NULL, "", out);
    return out;
}
