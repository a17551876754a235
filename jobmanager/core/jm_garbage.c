/* Garbage: only the JobManager deletes, and only what
 *   - nothing refers to: no checkpoint that HEAD names, none that may yet be named, and
 *   - belongs to a checkpoint below HEAD's floor, which is raised first (an object's name bears its checkpoint), and
 *   - has been so for execution.checkpointing.gc-grace: who reads or writes slowly is done by then.
 *
 * Two ways lead there. When the floor is raised the ids that it passes are known, and go when the grace is over (STORE_DROP). Whatever else
 * lies about (of attempts and JobManagers that died, of submissions that were not accepted, of tasks that finished twice) is found by
 * listing, now and then, and goes when it has been found to be garbage for the grace (STORE_DELETE).
 *
 * A job that has ended keeps its checkpoints or not, by execution.checkpointing.externalized-checkpoint-retention; never while output of one
 * is not known to be published. When such a job is forgotten, all of it goes.
 */
#include "jobmanager/core/jm_checkpoint_int.h"

#include "base/hash.h"

#define DELETE_AT_ONCE 500 /* keys of one STORE_DELETE */

/* --- What a checkpoint needs */

/* The id in "jobs/<job>/chk-<id>/<name>"; 0: it is none. */
static uint64_t id_of_object(const char *key)
{
    const char *at = key ? strstr(key, "/chk-") : NULL;
    return at ? strtoull(at + 5, NULL, 10) : 0;
}

static void add_id(struct references *refs, uint64_t id)
{
    for (int r = 0; r < refs->count; r++)
        if (refs->ids[r] == id)
            return;
    refs->ids = weir_realloc(refs->ids, (size_t)(refs->count + 1) * sizeof *refs->ids);
    refs->ids[refs->count++] = id;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

struct references weir_jm_references_of(const Weir__Snapshot *snapshot)
{
    struct references refs = {0};
    refs.keys = weir_alloc((snapshot->n_parts + 1) * sizeof(char *));
    for (size_t i = 0; i < snapshot->n_parts; i++) {
        const char *object = snapshot->parts[i]->object;
        if (!object[0] || (refs.key_count && strcmp(refs.keys[refs.key_count - 1], object) == 0))
            continue;
        refs.keys[refs.key_count++] = weir_strdup(object);
        uint64_t id = id_of_object(object);
        if (id && id != snapshot->checkpoint)
            add_id(&refs, id);
    }
    qsort(refs.keys, (size_t)refs.key_count, sizeof(char *), compare_keys);
    return refs;
}

void weir_jm_references_free(struct references *references)
{
    for (int i = 0; i < references->key_count; i++)
        free(references->keys[i]);
    free(references->keys);
    free(references->ids);
    weir__snapshot__free_unpacked(references->snapshot, NULL);
}

static bool has_key(const struct references *references, const char *key)
{
    return references->count < 0 ||
           (references->key_count > 0 &&
            bsearch(&key, references->keys, (size_t)references->key_count, sizeof(char *), compare_keys));
}

static bool has(const struct references *references, uint64_t id)
{
    for (int r = 0; r < references->count; r++)
        if (references->ids[r] == id)
            return true;
    return references->count < 0;
}

static bool is_referred_to(const struct weir_jm_job *job, uint64_t id)
{
    const struct job_checkpoints *c = job->in->checkpoints;
    for (int i = 0; i < job->retained_count; i++)
        if (job->retained[i].id == id ||
            (id < job->retained[i].id && has(&c->references[i], id) && !WEIR_MUTANT(jm_shared_dropped)))
            return true;
    for (int i = 0; i < c->pending_count && !WEIR_MUTANT(jm_base_dropped); i++)
        if (c->pending[i]->base == id || (id < c->pending[i]->base && has(&c->pending[i]->base_needs, id)))
            return true;
    return false;
}

void weir_jm_garbage_base(const struct weir_jm_job *job, struct checkpoint *checkpoint)
{
    const struct job_checkpoints *c = job->in->checkpoints;
    if (!c->latest)
        return;
    checkpoint->base = c->latest->checkpoint;
    checkpoint->base_needs = weir_jm_references_of(c->latest);
}

/* --- Below the floor */

void weir_jm_drop_objects(struct weir_jm *jm, const struct weir_jm_job *job, uint64_t id)
{
    struct weir_jm_effect *effect = weir_jm_effect(jm, WEIR_JM_EFFECT_STORE_DROP);
    effect->job_id = weir_arena_strdup(&jm->arena, job->id);
    effect->checkpoint = id;
    effect->text = weir_arena_format(&jm->arena, "jobs/%s/chk-%" PRIu64 "/", job->id, id);
}

static int64_t after_grace_ms(const struct weir_jm *jm, const struct weir_jm_job *job)
{
    return WEIR_MUTANT(jm_no_grace) ? jm->now_ms : later_ms(jm->now_ms, job->options.checkpoint_gc_grace_ms);
}

void weir_jm_garbage_floor(struct weir_jm *jm, struct weir_jm_job *job)
{
    struct job_checkpoints *c = job->in->checkpoints;
    for (; c->garbage_from < c->floor_written; c->garbage_from++) {
        c->passed = weir_realloc(c->passed, (size_t)(c->passed_count + 1) * sizeof *c->passed);
        c->passed[c->passed_count++] =
            (struct passed){c->garbage_from, is_referred_to(job, c->garbage_from) ? NEVER_MS : after_grace_ms(jm, job)};
    }
}

void weir_jm_garbage_due(struct weir_jm *jm, struct weir_jm_job *job)
{
    struct job_checkpoints *c = job->in->checkpoints;
    if (c->taking_over) /* HEAD is not this JobManager's */
        return;
    int kept = 0;
    for (int i = 0; i < c->passed_count; i++) {
        struct passed *passed = &c->passed[i];
        if (is_referred_to(job, passed->id))
            passed->at_ms = NEVER_MS;
        else if (passed->at_ms == NEVER_MS)
            passed->at_ms = after_grace_ms(jm, job);
        if (passed->at_ms <= jm->now_ms)
            weir_jm_drop_objects(jm, job, passed->id);
        else
            c->passed[kept++] = *passed;
    }
    c->passed_count = kept;
}

int64_t weir_jm_garbage_wake_ms(const struct weir_jm_job *job)
{
    const struct job_checkpoints *c = job->in->checkpoints;
    int64_t wake = NEVER_MS;
    for (int i = 0; i < c->passed_count && !c->taking_over; i++)
        if (c->passed[i].at_ms < wake)
            wake = c->passed[i].at_ms;
    return wake;
}

/* --- Jobs that have ended */

bool weir_jm_garbage_is_settled(const struct weir_jm_job *job)
{
    const struct job_checkpoints *c = job->in->checkpoints;
    for (int i = 0; i < c->pending_count; i++)
        if (c->pending[i]->state == CHECKPOINT_IN_HEAD || c->pending[i]->state == CHECKPOINT_WRITTEN)
            return false;
    return weir_job_state_terminal(job->state);
}

bool weir_jm_garbage_keeps_nothing(const struct weir_jm_job *job)
{
    bool unpublished = job->in->commit_count > 0 || job->in->commit_failed;
    if (!weir_jm_garbage_is_settled(job) || (unpublished && !WEIR_MUTANT(jm_ended_unpublished_dropped)))
        return false;
    switch (job->state) {
    case WEIR_JOB_FINISHED:
        return true;
    case WEIR_JOB_CANCELED:
        return job->options.retention != WEIR_JM_RETENTION_RETAIN_ON_CANCELLATION;
    case WEIR_JOB_FAILED:
        return job->options.retention == WEIR_JM_RETENTION_NONE;
    default:
        return false;
    }
}

void weir_jm_garbage_forgotten(struct weir_jm *jm, const struct weir_jm_job *job)
{
    const struct job_checkpoints *c = job->in->checkpoints;
    if (!c || !jm->options.recovers || !c->head.exists || !weir_job_state_terminal(c->state_written) ||
        job->retained_count > 0 || job->in->abort_wanted || weir_jm_checkpoints_busy(job))
        return; /* in doubt it stays */
    GROW(jm->deleting, jm->deleting_count, jm->deleting_capacity);
    memcpy(jm->deleting[jm->deleting_count++], job->id, sizeof *jm->deleting);
    struct weir_jm_effect *effect = weir_jm_effect(jm, WEIR_JM_EFFECT_STORE_DROP);
    effect->job_id = weir_arena_strdup(&jm->arena, job->id);
    effect->text = weir_arena_format(&jm->arena, "jobs/%s/", job->id);
}

bool weir_jm_garbage_deleting(const struct weir_jm *jm, const char *job_id)
{
    for (int i = 0; i < jm->deleting_count; i++)
        if (strcmp(jm->deleting[i], job_id) == 0)
            return true;
    return false;
}

void weir_jm_job_deleted(struct weir_jm *jm, const struct weir_jm_event *event)
{
    for (int i = 0; i < jm->deleting_count; i++)
        if (strcmp(jm->deleting[i], event->job_id) == 0) {
            jm->deleting_count--;
            memmove(jm->deleting[i], jm->deleting[jm->deleting_count], sizeof *jm->deleting);
            return;
        }
}

/* --- By listing */

static bool is_needed(const struct weir_jm_job *job, const char *key)
{
    const struct job_checkpoints *c = job->in->checkpoints;
    for (int i = 0; i < job->retained_count; i++)
        if (has_key(&c->references[i], key) || strcmp(job->retained[i].metadata, key) == 0)
            return true;
    for (int i = 0; i < c->pending_count; i++) {
        const Weir__Snapshot *snapshot = c->pending[i]->snapshot;
        if (has_key(&c->pending[i]->base_needs, key))
            return true;
        for (size_t p = 0; snapshot && p < snapshot->n_parts; p++)
            if (strcmp(snapshot->parts[p]->object, key) == 0)
                return true;
    }
    return false;
}

/* "<vertex>-<subtask>-<attempt>" of a task that has finished: of its present attempt a later checkpoint will need it. */
static bool finished_is_current(const struct weir_jm_job *job, const char *name)
{
    int vertex, subtask;
    uint32_t attempt;
    if (sscanf(name, "%d-%d-%" SCNu32, &vertex, &subtask, &attempt) != 3)
        return true;
    if (weir_job_state_terminal(job->in->checkpoints->state_written))
        return false;
    uint32_t highest = 0;
    for (int t = 0; t < job->task_count; t++) {
        if (job->tasks[t].attempt > highest)
            highest = job->tasks[t].attempt;
        if (job->tasks[t].vertex == vertex && job->tasks[t].subtask == subtask)
            return attempt >= job->tasks[t].attempt && !WEIR_MUTANT(jm_finished_swept);
    }
    return attempt >= highest; /* of a task that is no more: the job was rescaled */
}

static bool is_garbage(const struct weir_jm_job *job, const struct weir_jm_object *object)
{
    const struct job_checkpoints *c = job->in->checkpoints;
    const char *name = object->key + strlen("jobs/") + WEIR_JM_JOB_ID_SIZE;
    if (object->age_ms < job->options.checkpoint_gc_grace_ms || is_needed(job, object->key))
        return false;
    if (strncmp(name, "finished/", 9) == 0)
        return !finished_is_current(job, name + 9);
    uint64_t id = strncmp(name, "chk-", 4) == 0 ? strtoull(name + 4, NULL, 10) : 0;
    return id > 0 && (id < c->floor_written || WEIR_MUTANT(jm_swept_above_floor));
}

static int compare_suspects(const void *a, const void *b)
{
    const struct suspect *x = a, *y = b;
    return (x->hash > y->hash) - (x->hash < y->hash);
}

/* Since when listings find it to be garbage. */
static int64_t suspected_since_ms(const struct weir_jm *jm, const struct job_checkpoints *c, uint64_t hash)
{
    const struct suspect wanted = {.hash = hash};
    const struct suspect *found =
        c->suspect_count ? bsearch(&wanted, c->suspects, (size_t)c->suspect_count, sizeof wanted, compare_suspects)
                         : NULL;
    return found ? found->since_ms : jm->now_ms;
}

static void delete_keys(struct weir_jm *jm, const char *job_id, const char **keys, int count)
{
    if (count == 0)
        return;
    struct weir_jm_effect *effect = weir_jm_effect(jm, WEIR_JM_EFFECT_STORE_DELETE);
    effect->job_id = weir_arena_strdup(&jm->arena, job_id);
    effect->keys = keys;
    effect->key_count = count;
}

void weir_jm_garbage_sweep(struct weir_jm *jm, const char *job_id, const struct weir_jm_object *objects, int count)
{
    struct weir_jm_job *job = weir_jm_job_get(jm, job_id);
    struct job_checkpoints *c = job ? job->in->checkpoints : NULL;
    if (!c || job->state == WEIR_JOB_INITIALIZING ||
        (c->taking_over && !weir_job_state_terminal(job->state))) /* of an ended one HEAD says all there is to say */
        return;
    struct suspect *suspects = NULL;
    const char **keys = NULL;
    int suspect_count = 0, key_count = 0;
    for (int i = 0; i < count; i++) {
        if (!is_garbage(job, &objects[i]))
            continue;
        uint64_t hash = weir_xxh3(objects[i].key, strlen(objects[i].key));
        int64_t since_ms = suspected_since_ms(jm, c, hash);
        if (jm->now_ms < later_ms(since_ms, job->options.checkpoint_gc_grace_ms) && !WEIR_MUTANT(jm_no_grace)) {
            suspects = suspects ? suspects : weir_alloc((size_t)(count - i) * sizeof *suspects);
            suspects[suspect_count++] = (struct suspect){hash, since_ms};
            continue;
        }
        if (!keys || key_count == DELETE_AT_ONCE) {
            delete_keys(jm, job_id, keys, key_count);
            keys = weir_arena_alloc(&jm->arena, DELETE_AT_ONCE * sizeof *keys);
            key_count = 0;
        }
        keys[key_count++] = weir_arena_strdup(&jm->arena, objects[i].key);
    }
    delete_keys(jm, job_id, keys, key_count);
    free(c->suspects);
    c->suspects = suspects;
    c->suspect_count = suspect_count;
    if (suspect_count)
        qsort(suspects, (size_t)suspect_count, sizeof *suspects, compare_suspects);
}

/* Nobody has accepted it, or its end is only half deleted: it has no HEAD. */
void weir_jm_garbage_headless(struct weir_jm *jm, const char *job_id, const struct weir_jm_object *objects, int count)
{
    for (int i = 0; i < count; i++)
        if (objects[i].age_ms < jm->options.headless_grace_ms)
            return;
    if (weir_jm_job_get(jm, job_id) || weir_jm_garbage_deleting(jm, job_id))
        return;
    for (int from = 0; from < count; from += DELETE_AT_ONCE) {
        int n = count - from < DELETE_AT_ONCE ? count - from : DELETE_AT_ONCE;
        const char **keys = weir_arena_alloc(&jm->arena, (size_t)n * sizeof *keys);
        for (int i = 0; i < n; i++)
            keys[i] = weir_arena_strdup(&jm->arena, objects[from + i].key);
        delete_keys(jm, job_id, keys, n);
    }
}
