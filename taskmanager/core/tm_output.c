/* Publishing a job's output, or removing it. io does the work (it can take a while) and answers with COMMITTED.
 *
 * A commit that is under way is not begun a second time: a JobManager that asks again, perhaps in a later session, gets the
 * answer of the one that runs.
 */
#include "taskmanager/core/tm_int.h"

static struct tm_commit *find(struct weir_tm *tm, const char *job_id, uint64_t checkpoint)
{
    for (int i = 0; i < tm->commit_count; i++)
        if (strcmp(tm->commits[i].job_id, job_id) == 0 && tm->commits[i].checkpoint == checkpoint)
            return &tm->commits[i];
    return NULL;
}

void weir_tm_commit(struct weir_tm *tm, const Weir__Control *control)
{
    const char *job_id = control->commit_output->job_id;
    struct tm_commit *commit = find(tm, job_id, control->commit_output->checkpoint);
    if (commit) {
        commit->session = tm->session;
        return;
    }
    if (strlen(job_id) >= WEIR_TM_JOB_ID_SIZE || tm->commit_count >= COMMITS_MAX)
        return;
    GROW(tm->commits, tm->commit_count, tm->commit_capacity);
    commit = &tm->commits[tm->commit_count++];
    memset(commit, 0, sizeof *commit);
    snprintf(commit->job_id, sizeof commit->job_id, "%s", job_id);
    commit->checkpoint = control->commit_output->checkpoint;
    commit->session = tm->session;
    struct weir_tm_effect *effect = weir_tm_effect(tm, WEIR_TM_EFFECT_COMMIT);
    effect->job_id = weir_arena_strdup(&tm->arena, job_id);
    effect->control = control;
}

void weir_tm_abort(struct weir_tm *tm, const Weir__Control *control)
{
    struct weir_tm_effect *effect = weir_tm_effect(tm, WEIR_TM_EFFECT_ABORT);
    effect->job_id = weir_arena_strdup(&tm->arena, control->abort_output->job_id);
    effect->control = control;
}

void weir_tm_committed(struct weir_tm *tm, const char *job_id, uint64_t checkpoint, const Weir__Failure *failure)
{
    struct tm_commit *commit = find(tm, job_id, checkpoint);
    if (!commit)
        return;
    Weir__CommitDone done;
    weir__commit_done__init(&done);
    done.job_id = (char *)(uintptr_t)job_id;
    done.failure = (Weir__Failure *)(uintptr_t)failure;
    done.checkpoint = checkpoint;
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_COMMIT_DONE;
    control.commit_done = &done;
    bool wanted = commit->session == tm->session;
    *commit = tm->commits[--tm->commit_count];
    if (wanted)
        weir_tm_report(tm, &control);
}
