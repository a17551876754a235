/* What people ask of a job's checkpoints. Each request is an operation that they ask after later, by its id; it begins as soon as the job
 * can, and ends with the checkpoint that was made for it.
 *
 * Bounds: WEIR_JM_OPERATIONS_MAX are known; one that cannot begin within BEGIN_WAIT_MS has failed, one that has begun ends with its
 * checkpoint, which has a timeout.
 */
#include "jobmanager/core/jm_checkpoint_int.h"

#include "base/hash.h"

#define BEGIN_WAIT_MS 30000

const struct weir_jm_operation *weir_jm_operation_find(const struct weir_jm *jm, const char *id)
{
    for (int i = 0; i < jm->operation_count; i++)
        if (strcmp(jm->operations[i].id, id) == 0)
            return &jm->operations[i];
    return NULL;
}

static void free_operation(struct weir_jm_operation *operation)
{
    free(operation->failure);
}

/* Room for one more: the oldest that has ended goes. */
static bool make_room(struct weir_jm *jm)
{
    if (!jm->operations)
        jm->operations = weir_zalloc(WEIR_JM_OPERATIONS_MAX * sizeof *jm->operations);
    if (jm->operation_count < WEIR_JM_OPERATIONS_MAX)
        return true;
    int i = 0;
    while (i < jm->operation_count && jm->operations[i].state == WEIR_JM_OPERATION_IN_PROGRESS)
        i++;
    if (i == jm->operation_count)
        return false;
    free_operation(&jm->operations[i]);
    jm->operation_count--;
    memmove(&jm->operations[i], &jm->operations[i + 1], (size_t)(jm->operation_count - i) * sizeof *jm->operations);
    return true;
}

static void failed(struct weir_jm_operation *operation, const char *why)
{
    operation->state = WEIR_JM_OPERATION_FAILED;
    operation->failure = weir_strdup(why);
}

void weir_jm_operation_asked(struct weir_jm *jm, const struct weir_jm_event *event)
{
    struct weir_jm_effect *effect = weir_jm_effect(jm, WEIR_JM_EFFECT_REPLY);
    effect->request = event->request;
    effect->code = WEIR_OK;
    effect->text = "";
    if (weir_jm_operation_find(jm, event->operation.id))
        return;
    if (!make_room(jm)) {
        effect->code = WEIR_ERR_FULL;
        effect->text = "too many checkpoints and savepoints were asked for and have not ended: try again";
        return;
    }
    struct weir_jm_operation *operation = &jm->operations[jm->operation_count++];
    *operation = (struct weir_jm_operation){.kind = event->operation.kind, .deadline_ms = jm->now_ms + BEGIN_WAIT_MS};
    snprintf(operation->id, sizeof operation->id, "%s", event->operation.id);
    snprintf(operation->job_id, sizeof operation->job_id, "%s", event->job_id);
    if (event->operation.failure)
        failed(operation, event->operation.failure);
}

/* --- In each step */

static const char *never(struct weir_jm *jm, const struct weir_jm_operation *operation, const struct weir_jm_job *job)
{
    if (!job)
        return weir_arena_format(&jm->arena, "there is no job %s", operation->job_id);
    if (weir_job_state_terminal(job->state) || job->state == WEIR_JOB_CANCELLING || job->state == WEIR_JOB_FAILING)
        return weir_arena_format(&jm->arena, "job %s is %s", job->id, weir_job_state_name(job->state));
    if (!job->in->checkpoints || job->options.checkpoint_interval_ms == 0)
        return "the job makes no checkpoints: set execution.checkpointing.interval when it is submitted";
    if (job->committing)
        return "the job is at its end, and its output is being published";
    return NULL;
}

static void begin(struct weir_jm *jm, struct weir_jm_operation *operation)
{
    struct weir_jm_job *job = weir_jm_job_get(jm, operation->job_id);
    const char *why = never(jm, operation, job);
    if (why) {
        failed(operation, why);
        return;
    }
    operation->checkpoint = weir_jm_checkpoint_now(jm, job, &why);
    if (operation->checkpoint == 0 && jm->now_ms >= operation->deadline_ms)
        failed(operation, why);
}

void weir_jm_operations(struct weir_jm *jm)
{
    for (int i = 0; i < jm->operation_count; i++)
        if (jm->operations[i].state == WEIR_JM_OPERATION_IN_PROGRESS && jm->operations[i].checkpoint == 0)
            begin(jm, &jm->operations[i]);
}

int64_t weir_jm_operations_wake_ms(const struct weir_jm *jm)
{
    int64_t at_ms = NEVER_MS;
    for (int i = 0; i < jm->operation_count; i++)
        if (jm->operations[i].state == WEIR_JM_OPERATION_IN_PROGRESS && jm->operations[i].checkpoint == 0 &&
            jm->operations[i].deadline_ms < at_ms)
            at_ms = jm->operations[i].deadline_ms;
    return at_ms;
}

void weir_jm_operation_checkpoint_ended(struct weir_jm *jm, const struct weir_jm_job *job, uint64_t checkpoint,
                                        const char *why)
{
    for (int i = 0; i < jm->operation_count; i++) {
        struct weir_jm_operation *operation = &jm->operations[i];
        if (operation->state != WEIR_JM_OPERATION_IN_PROGRESS || operation->checkpoint != checkpoint ||
            strcmp(operation->job_id, job->id) != 0)
            continue;
        if (why)
            failed(operation, why);
        else
            operation->state = WEIR_JM_OPERATION_COMPLETED;
    }
}

uint64_t weir_jm_operations_digest(uint64_t hash, const struct weir_jm *jm)
{
    for (int i = 0; i < jm->operation_count; i++) {
        const uint64_t values[3] = {hash, jm->operations[i].checkpoint, (uint64_t)jm->operations[i].state};
        hash = weir_xxh3(values, sizeof values);
    }
    return hash;
}

void weir_jm_operations_free(struct weir_jm *jm)
{
    for (int i = 0; i < jm->operation_count; i++)
        free_operation(&jm->operations[i]);
    free(jm->operations);
}
