/* Garbage: only the JobManager deletes, single objects, and only what
 *   - nothing refers to: no checkpoint that HEAD names, none that may yet be named, and
 *   - belongs to a checkpoint below HEAD's floor, which is raised first (an object's name bears its checkpoint), or to an attempt that is over, and
 *   - has been so for execution.checkpointing.gc-grace: who reads or writes slowly is done by then.
 *
 * Three ways lead there.
 *   release   A checkpoint that HEAD names no more is known to the last object: what no other one needs goes when the grace is over.
 *   passed    An id that the floor passes and that no complete checkpoint had: what bears it is listed when the grace is over.
 *   sweep     Now and then, when a job is taken over and when it has ended, all that the job has is listed, page by page: deletions that were
 *             cut short, objects of attempts and JobManagers that died, writes that came late. The floor by which it judges is fixed a
 *             grace before the listing begins, and what is released meanwhile waits for its own grace; so no memory of earlier
 *             listings is needed. A sweep that finds something is followed by another one a grace later.
 *
 * Why no later HEAD can need what goes: what a checkpoint needs is its own, above the floor, or was needed by the complete one that its
 * barrier named. So below the floor what HEAD needs only shrinks, from HEAD to HEAD, but for what checkpoints under way were built on, whoever
 * writes it: a JobManager that was replaced and does not know it deletes nothing that its successor needs. Of tasks that have finished
 * that holds by their attempts, once an earlier JobManager is fenced: so nothing of a job that goes on is deleted before that.
 *
 * A job that has ended keeps its checkpoints or not, by execution.checkpointing.externalized-checkpoint-retention; never while output of one
 * is not known to be published. When such a job is forgotten, all of it goes.
 */
#include "jobmanager/core/jm_checkpoint_int.h"

#include "base/hash.h"

#define DELETE_AT_ONCE 500 /* keys of one STORE_DELETE */
#define SEARCHES_MAX 4     /* listings under way at a time, of all jobs */
#define PASSED_MAX 256     /* more of them are left to the sweep */
#define RELEASED_KEYS_MAX 65536
#define AGAIN_MS 1000                           /* after a listing that failed */
#define UPLOAD_MS_MAX ((int64_t)60 * 60 * 1000) /* an upload in parts that goes on for longer has nobody any more */

/* --- What a checkpoint needs */

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

struct references weir_jm_references_of(const Weir__Snapshot *snapshot)
{
    struct references refs = {0};
    size_t segments = 0;
    for (size_t i = 0; i < snapshot->n_committables; i++)
        segments += snapshot->committables[i]->n_segments;
    refs.keys = weir_alloc((snapshot->n_parts + segments + 1) * sizeof(char *));
    for (size_t i = 0; i < snapshot->n_parts; i++) {
        const char *object = snapshot->parts[i]->object;
        if (!object[0] || (refs.key_count && strcmp(refs.keys[refs.key_count - 1], object) == 0))
            continue;
        refs.keys[refs.key_count++] = weir_strdup(object);
    }
    for (size_t i = 0; i < snapshot->n_committables; i++)
        for (size_t s = 0; s < snapshot->committables[i]->n_segments; s++)
            refs.keys[refs.key_count++] = weir_strdup(snapshot->committables[i]->segments[s]->object);
    qsort(refs.keys, (size_t)refs.key_count, sizeof(char *), compare_keys);
    return refs;
}

void weir_jm_references_free(struct references *references)
{
    for (int i = 0; i < references->key_count; i++)
        free(references->keys[i]);
    free(references->keys);
    weir__snapshot__free_unpacked(references->snapshot, NULL);
}

static bool is_in(char *const *keys, int count, const char *key)
{
    return count > 0 && bsearch(&key, keys, (size_t)count, sizeof *keys, compare_keys);
}

static bool has_key(const struct references *references, const char *key)
{
    return references->unknown || is_in(references->keys, references->key_count, key);
}

static bool is_retained(const struct weir_jm_job *job, const char *key)
{
    const struct job_checkpoints *c = job->in->checkpoints;
    for (int i = 0; i < job->retained_count; i++)
        if ((has_key(&c->references[i], key) && !WEIR_MUTANT(jm_shared_dropped)) ||
            strcmp(job->retained[i].metadata, key) == 0)
            return true;
    return false;
}

static bool is_needed(const struct weir_jm_job *job, const char *key)
{
    const struct job_checkpoints *c = job->in->checkpoints;
    if (is_retained(job, key))
        return true;
    for (int i = 0; i < c->left_count; i++)
        if (has_key(&c->left[i].references, key) || strcmp(c->left[i].entry.metadata, key) == 0)
            return true;
    for (int i = 0; i < c->pending_count; i++)
        if (has_key(&c->pending[i]->needs, key) ||
            (has_key(&c->pending[i]->base_needs, key) && !WEIR_MUTANT(jm_base_dropped)))
            return true;
    return false;
}

/* By one of released[from] and those behind it: it goes when the grace of that is over. */
static bool is_released(const struct job_checkpoints *c, int from, const char *key)
{
    for (int i = from; i < c->released_count && !WEIR_MUTANT(jm_swept_released); i++)
        if (is_in(c->released[i].keys, c->released[i].key_count, key))
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

static int64_t after_grace_ms(const struct weir_jm *jm, const struct weir_jm_job *job)
{
    return WEIR_MUTANT(jm_no_grace) ? jm->now_ms : later_ms(jm->now_ms, job->options.checkpoint_gc_grace_ms);
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

/* `keys` are the arena's. */
static void delete_all(struct weir_jm *jm, const char *job_id, const char **keys, int count)
{
    for (int from = 0; from < count; from += DELETE_AT_ONCE)
        delete_keys(jm, job_id, keys + from, count - from < DELETE_AT_ONCE ? count - from : DELETE_AT_ONCE);
}

void weir_jm_garbage_deleted(struct weir_jm *jm, const struct weir_jm_event *event)
{
    struct weir_jm_job *job = weir_jm_job_get(jm, event->job_id);
    if (event->text && job && job->in->checkpoints && !job->in->checkpoints->sweep_is_fixed)
        weir_jm_garbage_sweep_soon(jm, job);
}

/* --- Released */

static void forget_released(struct job_checkpoints *c)
{
    struct released *first = &c->released[0];
    for (int i = 0; i < first->key_count; i++)
        free(first->keys[i]);
    free(first->keys);
    c->released_keys -= first->key_count;
    c->released_count--;
    memmove(first, first + 1, (size_t)c->released_count * sizeof *first);
}

/* "jobs/<id>/chk-<number>/...": the number; 0: another key. */
static uint64_t number_of(const char *key)
{
    size_t at = strlen("jobs/") + WEIR_JM_JOB_ID_SIZE;
    return strnlen(key, at) == at && strncmp(key + at, "chk-", 4) == 0 ? strtoull(key + at + 4, NULL, 10) : 0;
}

/* What is not below the floor yet (of one that the job went back from, which was the newest) is left to that: then its number is passed. */
void weir_jm_garbage_release(struct weir_jm *jm, struct weir_jm_job *job, const struct weir_jm_retained *entry,
                             const struct references *references)
{
    struct job_checkpoints *c = job->in->checkpoints;
    if (references->unknown)
        return; /* its id is passed: what bears it is listed; the rest is the sweep's */
    bool whole = entry->id < c->floor_written;
    struct released released = {.id = whole ? entry->id : 0, .at_ms = after_grace_ms(jm, job)};
    released.keys = weir_alloc((size_t)(references->key_count + 1) * sizeof *released.keys);
    for (int i = 0; i < references->key_count; i++)
        if (!is_retained(job, references->keys[i]) && number_of(references->keys[i]) < c->floor_written &&
            (i == 0 || strcmp(references->keys[i], references->keys[i - 1]) != 0))
            released.keys[released.key_count++] = weir_strdup(references->keys[i]);
    if (whole)
        released.keys[released.key_count++] = weir_strdup(entry->metadata);
    qsort(released.keys, (size_t)released.key_count, sizeof *released.keys, compare_keys);
    c->released = weir_realloc(c->released, (size_t)(c->released_count + 1) * sizeof *c->released);
    c->released[c->released_count++] = released;
    c->released_keys += released.key_count;
    while (c->released_keys > RELEASED_KEYS_MAX) { /* a long grace: the sweep finds them */
        c->forgotten_until_ms = c->released[0].at_ms;
        forget_released(c);
    }
}

void weir_jm_garbage_leave(struct weir_jm_job *job, int index)
{
    struct job_checkpoints *c = job->in->checkpoints;
    c->left = weir_realloc(c->left, (size_t)(c->left_count + 1) * sizeof *c->left);
    c->left[c->left_count++] = (struct left){job->retained[index], c->references[index]};
}

void weir_jm_garbage_leaving(struct job_checkpoints *c)
{
    c->left_writing = c->left_count;
}

void weir_jm_garbage_left(struct weir_jm *jm, struct weir_jm_job *job)
{
    struct job_checkpoints *c = job->in->checkpoints;
    for (; c->left_writing > 0; c->left_writing--) {
        struct left left = c->left[0];
        c->left_count--;
        memmove(c->left, c->left + 1, (size_t)c->left_count * sizeof *c->left);
        if (!WEIR_MUTANT(jm_left_forgotten))
            weir_jm_garbage_release(jm, job, &left.entry, &left.references);
        weir_jm_references_free(&left.references);
    }
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

/* A later checkpoint will need it all the same: what the job has gone back to did not, and what follows does. */
static bool is_current_end(const struct weir_jm_job *job, const char *key)
{
    const char *name = key + strlen("jobs/") + WEIR_JM_JOB_ID_SIZE;
    return strncmp(name, "finished/", 9) == 0 && finished_is_current(job, name + 9);
}

static void delete_released(struct weir_jm *jm, struct weir_jm_job *job)
{
    struct job_checkpoints *c = job->in->checkpoints;
    while (c->released_count > 0 && c->released[0].at_ms <= jm->now_ms) {
        const struct released *released = &c->released[0];
        const char **keys = weir_arena_alloc(&jm->arena, (size_t)released->key_count * sizeof *keys);
        int count = 0;
        for (int i = 0; i < released->key_count; i++)
            if (!is_needed(job, released->keys[i]) /* still, by one under way: the sweep finds it */
                && !is_current_end(job, released->keys[i]) &&
                !is_released(c, 1, released->keys[i])) /* anew: it was needed again by one that had begun before */
                keys[count++] = weir_arena_strdup(&jm->arena, released->keys[i]);
        delete_all(jm, job->id, keys, count);
        forget_released(c);
    }
}

/* --- Passed */

void weir_jm_garbage_passed(struct weir_jm_job *job, uint64_t id, int64_t at_ms)
{
    struct job_checkpoints *c = job->in->checkpoints;
    if (c->passed_count == PASSED_MAX)
        return; /* the sweep finds it */
    c->passed = weir_realloc(c->passed, (size_t)(c->passed_count + 1) * sizeof *c->passed);
    c->passed[c->passed_count++] = (struct passed){id, at_ms};
}

/* All that bears the id is known. */
static bool is_known(const struct weir_jm_job *job, uint64_t id)
{
    const struct job_checkpoints *c = job->in->checkpoints;
    for (int i = 0; i < job->retained_count; i++)
        if (job->retained[i].id == id)
            return true;
    for (int i = 0; i < c->released_count; i++)
        if (c->released[i].id == id)
            return true;
    return false;
}

void weir_jm_garbage_floor(struct weir_jm *jm, struct weir_jm_job *job)
{
    struct job_checkpoints *c = job->in->checkpoints;
    for (; c->garbage_from < c->floor_written; c->garbage_from++) {
        if (c->passed_count == PASSED_MAX) {
            c->garbage_from = c->floor_written; /* the sweep finds the rest */
            break;
        }
        if (!is_known(job, c->garbage_from))
            weir_jm_garbage_passed(job, c->garbage_from, after_grace_ms(jm, job));
    }
    if (c->floor_written != c->next_id || c->end_is_swept || !weir_jm_garbage_is_settled(job))
        return;
    c->end_is_swept = true;
    weir_jm_garbage_sweep_soon(jm, job);
    /* Its executors, if they are cut off, may go on for so long. */
    int64_t alone_ms = later_ms(jm->now_ms, jm->options.heartbeat_timeout_ms);
    c->sweep_at_ms = c->sweep_at_ms > alone_ms ? c->sweep_at_ms : alone_ms;
}

/* --- Looking for it */

void weir_jm_garbage_sweep_soon(struct weir_jm *jm, struct weir_jm_job *job)
{
    struct job_checkpoints *c = job->in->checkpoints;
    c->sweep_is_fixed = true;
    c->sweep_floor = c->floor_written;
    c->sweep_at_ms = after_grace_ms(jm, job);
}

static void list(struct weir_jm *jm, const struct weir_jm_job *job, const char *after)
{
    const struct search *search = &job->in->checkpoints->search;
    struct weir_jm_effect *effect = weir_jm_effect(jm, WEIR_JM_EFFECT_STORE_LIST);
    effect->job_id = weir_arena_strdup(&jm->arena, job->id);
    effect->request = search->number;
    effect->text = search->id ? weir_arena_format(&jm->arena, "jobs/%s/chk-%" PRIu64 "/", job->id, search->id)
                              : weir_arena_format(&jm->arena, "jobs/%s/", job->id);
    effect->after = weir_arena_strdup(&jm->arena, after);
}

static void begin_search(struct weir_jm *jm, struct weir_jm_job *job, uint64_t id)
{
    struct job_checkpoints *c = job->in->checkpoints;
    c->search = (struct search){.number = ++jm->searches, .id = id, .floor = c->sweep_floor};
    jm->searches_running++;
    list(jm, job, "");
}

static bool may_delete(const struct weir_jm_job *job)
{
    /* Of one that has ended HEAD says all there is to say. */
    return job->state != WEIR_JOB_INITIALIZING &&
           (!job->in->checkpoints->taking_over || weir_job_state_terminal(job->state));
}

static void search_if_due(struct weir_jm *jm, struct weir_jm_job *job)
{
    struct job_checkpoints *c = job->in->checkpoints;
    if (c->sweep_at_ms == 0)
        c->sweep_at_ms = later_ms(jm->now_ms, job->options.checkpoint_gc_sweep_ms);
    if (c->search.number || jm->searches_running >= SEARCHES_MAX)
        return;
    for (int i = 0; i < c->passed_count; i++) {
        uint64_t id = c->passed[i].id;
        if (c->passed[i].at_ms > jm->now_ms)
            continue;
        c->passed[i] = c->passed[--c->passed_count];
        begin_search(jm, job, id);
        return;
    }
    if (c->sweep_at_ms <= jm->now_ms && !c->sweep_is_fixed)
        weir_jm_garbage_sweep_soon(jm, job);
    if (c->sweep_at_ms <= jm->now_ms && !WEIR_MUTANT(jm_never_swept)) {
        c->sweep_is_fixed = false;
        c->sweep_at_ms = NEVER_MS;
        begin_search(jm, job, 0);
    }
}

void weir_jm_garbage_due(struct weir_jm *jm, struct weir_jm_job *job)
{
    if (!may_delete(job))
        return;
    delete_released(jm, job);
    search_if_due(jm, job);
}

int64_t weir_jm_garbage_wake_ms(const struct weir_jm *jm, const struct weir_jm_job *job)
{
    const struct job_checkpoints *c = job->in->checkpoints;
    if (!may_delete(job))
        return NEVER_MS;
    int64_t wake = c->released_count > 0 ? c->released[0].at_ms : NEVER_MS;
    if (c->search.number || jm->searches_running >= SEARCHES_MAX) /* the end of one is a step */
        return wake;
    for (int i = 0; i < c->passed_count; i++)
        if (c->passed[i].at_ms < wake)
            wake = c->passed[i].at_ms;
    return c->sweep_at_ms < wake && !WEIR_MUTANT(jm_never_swept) ? c->sweep_at_ms : wake;
}

/* A graph or code with which somebody submitted a job of the same id, in vain. */
static bool is_refused_file(const struct weir_jm_job *job, const char *name)
{
    char sha256[65];
    weir_sha256_hex(job->in->graph, job->in->graph_size, sha256);
    return (strncmp(name, "graph-", 6) == 0 && strcmp(name + 6, sha256) != 0) ||
           (strncmp(name, "code-", 5) == 0 && strcmp(name + 5, job->plan->graph->code_sha256) != 0);
}

/* May it be garbage, by its name? What has another name than weir gives is left alone. */
static bool is_over(const struct weir_jm_job *job, const char *key)
{
    const struct job_checkpoints *c = job->in->checkpoints;
    const char *name = key + strlen("jobs/") + WEIR_JM_JOB_ID_SIZE;
    if (strncmp(name, "finished/", 9) == 0)
        return !is_current_end(job, key);
    uint64_t id = number_of(key);
    if (strncmp(name, "chk-", 4) != 0)
        return is_refused_file(job, name);
    uint64_t floor = WEIR_MUTANT(jm_swept_above_floor) ? UINT64_MAX
                     : WEIR_MUTANT(jm_sweep_unfixed)   ? c->floor_written
                                                       : c->search.floor;
    return id > 0 && (c->search.id || id < floor);
}

static void end_search(struct weir_jm *jm, struct weir_jm_job *job)
{
    struct job_checkpoints *c = job->in->checkpoints;
    struct search search = c->search;
    int64_t grace_ms = job->options.checkpoint_gc_grace_ms;
    c->search.number = 0;
    struct weir_jm_effect *effect = weir_jm_effect(jm, WEIR_JM_EFFECT_STORE_SWEEP);
    effect->job_id = weir_arena_strdup(&jm->arena, job->id);
    if (search.id) {
        effect->text = weir_arena_format(&jm->arena, "jobs/%s/chk-%" PRIu64 "/", job->id, search.id);
        if (search.young)
            weir_jm_garbage_passed(job, search.id, after_grace_ms(jm, job));
        return;
    }
    effect->text = weir_arena_format(&jm->arena, "jobs/%s/", job->id);
    effect->age_ms = weir_job_state_terminal(job->in->checkpoints->state_written)
                         ? grace_ms
                         : later_ms(later_ms(grace_ms, job->options.checkpoint_timeout_ms), UPLOAD_MS_MAX);
    if (search.found)
        weir_jm_log(jm, WEIR_JM_LOG_INFO, job,
                    "job %s: a search has found %d objects that nothing refers to: they are deleted", job->name,
                    search.found);
    if (c->sweep_is_fixed)
        return; /* meanwhile */
    c->sweep_at_ms = later_ms(jm->now_ms, job->options.checkpoint_gc_sweep_ms);
    if (search.found || search.young)
        weir_jm_garbage_sweep_soon(jm, job);
}

static void search_failed(struct weir_jm *jm, struct weir_jm_job *job, const char *why)
{
    struct job_checkpoints *c = job->in->checkpoints;
    weir_jm_log(jm, WEIR_JM_LOG_WARN, job, "job %s: garbage remains for now: %s", job->name, why);
    if (c->search.id)
        weir_jm_garbage_passed(job, c->search.id, later_ms(jm->now_ms, AGAIN_MS));
    else if (!c->sweep_is_fixed) {
        c->sweep_is_fixed = true;
        c->sweep_floor = c->search.floor;
        c->sweep_at_ms = later_ms(jm->now_ms, AGAIN_MS);
    }
    c->search.number = 0;
}

void weir_jm_garbage_listed(struct weir_jm *jm, const struct weir_jm_event *event)
{
    struct weir_jm_job *job = weir_jm_job_get(jm, event->job_id);
    struct job_checkpoints *c = job ? job->in->checkpoints : NULL;
    if (!c || c->search.number != event->request || c->search.number == 0)
        return;
    if (event->text) {
        search_failed(jm, job, event->text);
        return;
    }
    const char **keys = weir_arena_alloc(&jm->arena, (size_t)(event->object_count + 1) * sizeof *keys);
    int count = 0;
    for (int i = 0; i < event->object_count; i++) {
        const struct weir_jm_object *object = &event->objects[i];
        if (!is_over(job, object->key) || is_needed(job, object->key) || is_released(c, 0, object->key))
            continue;
        if ((object->age_ms < job->options.checkpoint_gc_grace_ms && !WEIR_MUTANT(jm_no_grace)) ||
            jm->now_ms < c->forgotten_until_ms)
            c->search.young = true;
        else
            keys[count++] = weir_arena_strdup(&jm->arena, object->key);
    }
    c->search.found += count;
    delete_all(jm, job->id, keys, count);
    if (event->more && event->object_count > 0 && !WEIR_MUTANT(jm_first_page_only))
        list(jm, job, event->objects[event->object_count - 1].key);
    else
        end_search(jm, job);
}

/* Nobody has accepted it, or its end is only half deleted: it has no HEAD. */
void weir_jm_garbage_headless(struct weir_jm *jm, const char *job_id)
{
    if (weir_jm_job_get(jm, job_id) || weir_jm_garbage_deleting(jm, job_id))
        return;
    struct weir_jm_effect *effect = weir_jm_effect(jm, WEIR_JM_EFFECT_STORE_DROP);
    effect->job_id = weir_arena_strdup(&jm->arena, job_id);
    effect->text = weir_arena_format(&jm->arena, "jobs/%s/", job_id);
    effect->age_ms = jm->options.headless_grace_ms;
}

void weir_jm_garbage_free(struct job_checkpoints *c)
{
    while (c->released_count > 0)
        forget_released(c);
    for (int i = 0; i < c->left_count; i++)
        weir_jm_references_free(&c->left[i].references);
    free(c->left);
    free(c->released);
    free(c->passed);
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
    if (c->created_in_doubt_ms && jm->now_ms - c->created_in_doubt_ms < jm->options.headless_grace_ms)
        return; /* such a write that comes late would make it again, as one that has just been submitted */
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
