/* The object store, modelled, and what must hold about checkpoints. Stricter than a real one: within bad spells requests are lost, replies
 * are lost, writes arrive long after their sender was told that nobody knows, or twice (the reply may be either's).
 *
 * Truth is what the store has: HEAD of each job (every change is checked as it is applied), the metadata objects, and which output
 * was published. Output of a sink's subtask is a chain of intervals (from checkpoint, to checkpoint], "end" being the last one's end: what is
 * published must be contiguous, and twice only the same.
 */
#include "base/hash.h"
#include "base/proto_memory.h"
#include "tests/sim/sim.h"

#define END UINT64_MAX
#define SIM_PAGE 5 /* objects of one listing's answer */

struct store_op {
    enum weir_jm_effect_kind kind;
    int job, jm;
    uint64_t checkpoint;
    bool tagged, done; /* nothing comes of it any more */
    uint64_t tag, newest;
    uint8_t *bytes;
    size_t size;
    /* JOB_READ: HEAD as it was, then the metadata that it names as it is later */
    uint8_t *head;
    size_t head_size;
    Weir__Snapshot **snapshots;
    size_t snapshot_count;
    /* GET: what was there */
    enum weir_head_get_result got;
    uint64_t got_tag, got_epoch;
    int64_t listed_ms;
    /* STORE_LIST */
    uint64_t request;
    char prefix[96], after[96];
    uint8_t nonce[WEIR_HEAD_NONCE_SIZE];
};

struct sim_checkpoint *sim_checkpoint(struct job *job, uint64_t id)
{
    weir_assert(id < 1000000);
    if (id >= job->checkpoint_capacity) {
        uint64_t capacity = id * 2 + 16;
        job->checkpoint_list = weir_realloc(job->checkpoint_list, capacity * sizeof *job->checkpoint_list);
        memset(job->checkpoint_list + job->checkpoint_capacity, 0,
               (capacity - job->checkpoint_capacity) * sizeof *job->checkpoint_list);
        job->checkpoint_capacity = capacity;
    }
    return &job->checkpoint_list[id];
}

void store_free(struct world *w)
{
    for (int i = 0; i < w->store_op_count; i++) {
        free(w->store_ops[i].bytes);
        free(w->store_ops[i].head);
        for (size_t k = 0; w->store_ops[i].snapshots && k < w->store_ops[i].snapshot_count; k++)
            weir__snapshot__free_unpacked(w->store_ops[i].snapshots[k], NULL);
        free(w->store_ops[i].snapshots);
    }
    free(w->store_ops);
    for (int j = 0; j < w->job_count; j++) {
        for (uint64_t i = 0; i < w->jobs[j].checkpoint_capacity; i++)
            if (w->jobs[j].checkpoint_list[i].metadata)
                weir__snapshot__free_unpacked(w->jobs[j].checkpoint_list[i].metadata, NULL);
        free(w->jobs[j].checkpoint_list);
        free(w->jobs[j].head.bytes);
        free(w->jobs[j].objects);
        free(w->jobs[j].published);
    }
}

/* --- Metadata */

/* "task.attempt.checkpoint" (with an e: it has been at its end since it began) or "task.attempt.end" */
static bool parse_part(const Weir__StatePart *part, int *task, uint32_t *attempt, uint64_t *checkpoint)
{
    char text[64], last[24];
    if (part->bytes.len >= sizeof text)
        return false;
    memcpy(text, part->bytes.data, part->bytes.len);
    text[part->bytes.len] = 0;
    if (sscanf(text, "%d.%" SCNu32 ".%23s", task, attempt, last) != 3)
        return false;
    *checkpoint = strcmp(last, "end") == 0 ? END : strtoull(last, NULL, 10);
    return true;
}

static void check_metadata(struct world *w, int jm, struct job *job, const Weir__Snapshot *snapshot)
{
    const struct weir_jm_job *view = w->jms[jm].alive ? weir_jm_job_find(w->jms[jm].core, job->id) : NULL;
    int seen[SIM_TASKS_MAX] = {0};
    if (!job->checkpoints) /* its output only */
        return;
    for (size_t i = 0; i < snapshot->n_parts; i++) {
        int t;
        uint32_t attempt;
        uint64_t at;
        weir_assert(parse_part(snapshot->parts[i], &t, &attempt, &at) && t < job->task_count);
        seen[t]++;
        trace(w, "part of %.8s checkpoint %" PRIu64 ": %.*s", job->id, snapshot->checkpoint,
              (int)snapshot->parts[i]->bytes.len, (const char *)snapshot->parts[i]->bytes.data);
        if (view && attempt != view->tasks[t].attempt)
            violate(w, "part-of-another-attempt", "job %.8s checkpoint %" PRIu64 ": task %d, attempt %" PRIu32, job->id,
                    snapshot->checkpoint, t, attempt);
        if (at != END && at != snapshot->checkpoint)
            violate(w, "part-of-another-checkpoint", "job %.8s checkpoint %" PRIu64 ": task %d gave %" PRIu64, job->id,
                    snapshot->checkpoint, t, at);
        if (at == END && jm == job->jm && job->tasks[t].finish_passed >= snapshot->checkpoint)
            violate(w, "torn-cut",
                    "job %.8s checkpoint %" PRIu64 ": task %d passed the barrier, and its end is taken for it", job->id,
                    snapshot->checkpoint, t);
        if (at == END)
            count(w, C_part_of_finished);
    }
    for (int t = 0; t < job->task_count; t++)
        if (seen[t] != 1)
            violate(w, "parts", "job %.8s checkpoint %" PRIu64 ": %d parts of task %d", job->id, snapshot->checkpoint,
                    seen[t], t);
}

static bool is_there(const struct job *job, const char *key);

/* --- HEAD */

/* HEAD names it no more: what it needed is not needed since now. */
static void leave(struct world *w, struct job *job, uint64_t id)
{
    const Weir__Snapshot *metadata = sim_checkpoint(job, id)->metadata;
    sim_checkpoint(job, id)->left_ms = w->now_ms;
    for (size_t p = 0; p < metadata->n_parts; p++)
        for (int i = 0; i < job->object_count; i++)
            if (strcmp(job->objects[i].key, metadata->parts[p]->object) == 0)
                job->objects[i].left_ms = w->now_ms;
}

static void apply_head(struct world *w, struct job *job, const struct store_op *op)
{
    struct sim_head *head = &job->head;
    Weir__Head *new = weir__head__unpack(&weir_proto_memory, op->size, op->bytes);
    weir_assert(new &&new->nonce.len == sizeof head->nonce);
    uint64_t newest = new->n_retained ? new->retained[new->n_retained - 1]->id : 0;
    const char *what =
        new->leader_epoch < head->epoch     ? "its epoch"
        : new->next_checkpoint < head->next ? "the next id"
        : newest < head->newest && !(newest == 0 && weir_job_state_terminal((enum weir_job_state) new->job_state))
            ? "the newest checkpoint"
        : new->committed_upto < head->committed_upto ? "committed_upto"
        : new->gc_floor < head->floor                ? "the floor"
                                                     : NULL;
    if (what)
        violate(w, "head-regressed", "job %.8s: %s", job->id, what);
    if (new->next_attempt < head->next_attempt)
        violate(w, "head-regressed", "job %.8s: the next attempt", job->id);
    if (weir_job_state_terminal(head->state) && head->exists && (enum weir_job_state) new->job_state != head->state)
        violate(w, "terminal-changed", "job %.8s: HEAD says %s after %s", job->id,
                weir_job_state_name((enum weir_job_state) new->job_state), weir_job_state_name(head->state));
    if (!job->stored)
        violate(w, "head-before-graph", "job %.8s has a HEAD, and its graph is not there", job->id);
    if (new->leader_epoch != w->jms[op->jm].epoch)
        violate(w, "two-writers", "job %.8s: epoch %" PRIu64, job->id, head->epoch);
    if (head->exists && new->leader_epoch > head->epoch) {
        count(w, C_taken_over);
        if (head->newest > head->committed_upto)
            count(w, C_taken_over_uncommitted);
        if (head->newest && sim_checkpoint(job, head->newest)->metadata->final)
            count(w, C_taken_over_final);
        if (head->state == WEIR_JOB_CANCELLING)
            count(w, C_taken_over_cancelled);
        if (w->jms[job->jm].alive)
            count(w, C_zombie_jobmanager);
        job_led_by(w, job, op->jm);
    }
    if (newest >= new->next_checkpoint)
        violate(w, "id-unreserved", "job %.8s: HEAD names %" PRIu64 ", ids below %" PRIu64 " are reserved", job->id,
                newest, new->next_checkpoint);
    for (uint64_t id = head->floor; id < new->gc_floor; id++)
        sim_checkpoint(job, id)->left_ms = w->now_ms;
    for (int i = 0; i < head->retained_count; i++)
        if (new->n_retained == 0 || head->retained[i] < new->retained[0]->id)
            leave(w, job, head->retained[i]);
    head->retained_count = 0;
    uint64_t before = 0;
    for (size_t i = 0; i < new->n_retained; i++) {
        uint64_t id = new->retained[i]->id;
        struct sim_checkpoint *checkpoint = sim_checkpoint(job, id);
        if (id <= before)
            violate(w, "head-order", "job %.8s: %" PRIu64 " after %" PRIu64, job->id, id, before);
        if (!checkpoint->metadata || checkpoint->dropped || strcmp(checkpoint->sha256, new->retained[i]->sha256) != 0)
            violate(w, "dangling", "job %.8s: HEAD names %" PRIu64 ", and its metadata is not there", job->id, id);
        for (size_t p = 0; p < checkpoint->metadata->n_parts; p++)
            if (!is_there(job, checkpoint->metadata->parts[p]->object))
                violate(w, "dangling", "job %.8s: checkpoint %" PRIu64 " needs %s, which is not there", job->id, id,
                        checkpoint->metadata->parts[p]->object);
        if (!checkpoint->named)
            count(w, C_checkpoint_complete);
        job->final_named |= checkpoint->metadata->final;
        checkpoint->named = true;
        before = id;
        if (head->retained_count < SIM_RETAINED_MAX)
            head->retained[head->retained_count++] = id;
    }
    for (uint64_t id = 1; id < job->checkpoint_capacity; id++) {
        const struct sim_checkpoint *checkpoint = &job->checkpoint_list[id];
        if (checkpoint->named && !checkpoint->published && checkpoint->metadata &&
            checkpoint->metadata->n_committables > 0) {
            if (id <= new->committed_upto)
                violate(w, "committed-in-name", "job %.8s: %" PRIu64 " is not published, HEAD says so", job->id, id);
            bool kept = false;
            for (size_t i = 0; i < new->n_retained; i++)
                kept |= new->retained[i]->id == id;
            if (!kept)
                violate(w, "unpublished-dropped", "job %.8s: HEAD names %" PRIu64 " no more, and it is not published",
                        job->id, id);
        }
    }
    head->exists = true;
    head->next_attempt = new->next_attempt;
    free(head->bytes);
    head->bytes = memcpy(weir_alloc(op->size + 1), op->bytes, op->size);
    head->size = op->size;
    head->tag++;
    head->epoch = new->leader_epoch;
    head->next = new->next_checkpoint;
    head->newest = newest;
    head->committed_upto = new->committed_upto;
    head->floor = new->gc_floor;
    head->state = (enum weir_job_state) new->job_state;
    memcpy(head->nonce, new->nonce.data, sizeof head->nonce);
    trace(w, "store: HEAD of %.8s is v%" PRIu64 ": newest %" PRIu64 ", committed %" PRIu64, job->id, head->tag, newest,
          head->committed_upto);
    weir__head__free_unpacked(new, NULL);
}

static bool condition_holds(const struct job *job, const struct store_op *op)
{
    return op->tagged ? job->head.exists && job->head.tag == op->tag : !job->head.exists;
}

/* --- Requests */

static bool bad(const struct world *w)
{
    for (int i = 0; i < SIM_SPELLS; i++)
        if (!w->healed && w->now_ms >= w->spells[i].from_ms && w->now_ms < w->spells[i].to_ms)
            return true;
    return false;
}

enum { APPLY_ONLY, APPLY_LAST };
static void arrive(struct world *w, int op, int64_t after_ms, int answer)
{
    push(w, w->now_ms + after_ms, EV_STORE_APPLY, op, answer, 0, 0, NULL);
}

static void reply(struct world *w, int op, int64_t after_ms, int result)
{
    push(w, w->now_ms + after_ms, EV_STORE_REPLY, op, result, 0, 0, NULL);
}

static void begin_head_put(struct world *w, int op)
{
    int64_t d = rng_range(&w->store, 1, bad(w) ? 600 : 20);
    int fate = bad(w) ? rng_range(&w->store, 0, 99) : 100;
    if (fate < 25) { /* it never arrives */
        count(w, C_store_request_lost);
        reply(w, op, d + 300, WEIR_HEAD_PUT_UNKNOWN);
    } else if (fate < 45) { /* it does, and nobody hears of it */
        count(w, C_store_reply_lost);
        arrive(w, op, d, APPLY_ONLY);
        reply(w, op, d + 300, WEIR_HEAD_PUT_UNKNOWN);
    } else if (fate < 60) { /* it arrives long afterwards */
        count(w, C_store_write_late);
        reply(w, op, d, WEIR_HEAD_PUT_UNKNOWN);
        arrive(w, op, d + rng_range(&w->store, 1, 3000), APPLY_ONLY);
    } else if (fate < 70) { /* twice; the answer to the second one is read */
        count(w, C_store_write_twice);
        arrive(w, op, d, APPLY_ONLY);
        arrive(w, op, d + rng_range(&w->store, 1, 200), APPLY_LAST);
    } else {
        arrive(w, op, d, APPLY_LAST);
    }
}

static bool quiet_since(const struct world *w, int64_t since_ms)
{
    for (int i = 0; i < w->fault_count; i++)
        if (w->faults[i].at_ms <= w->now_ms && w->faults[i].at_ms + w->faults[i].duration_ms + 12000 > since_ms)
            return false;
    return true;
}

/* Where nothing is wrong every barrier gets to its end. */
void store_check_stalled(struct world *w, const struct job *job, int64_t after_ms)
{
    int64_t timeout_ms = job->options.checkpoint_timeout_ms;
    int64_t since_ms = w->now_ms - (after_ms < timeout_ms ? after_ms : timeout_ms);
    if (!w->jms[job->jm].alive)
        return;
    if (timeout_ms >= 3000 && job->options.checkpoints_concurrent == 1 && after_ms > 2500 && quiet_since(w, since_ms))
        violate(w, "checkpoint-stalled", "job %.8s", job->id);
}

static void begin_store_put(struct world *w, struct job *job, int index)
{
    struct store_op *op = &w->store_ops[index];
    struct sim_checkpoint *checkpoint = sim_checkpoint(job, op->checkpoint);
    if (checkpoint->put)
        violate(w, "id-twice", "job %.8s: checkpoint %" PRIu64 " has two metadata objects", job->id, op->checkpoint);
    if (op->checkpoint >= job->head.next)
        violate(w, "id-unreserved", "job %.8s: %" PRIu64 " is used, HEAD reserves ids below %" PRIu64, job->id,
                op->checkpoint, job->head.next);
    checkpoint->put = true;
    if (checkpoint->triggered)
        store_check_stalled(w, job, w->now_ms - checkpoint->triggered_ms);
    Weir__Snapshot *snapshot = weir__snapshot__unpack(&weir_proto_memory, op->size, op->bytes);
    weir_assert(snapshot);
    check_metadata(w, op->jm, job, snapshot);
    int fate = bad(w) ? rng_range(&w->store, 0, 99) : 100;
    int64_t d = fate < 10 ? rng_range(&w->store, 1000, 6000) : rng_range(&w->store, 1, bad(w) ? 400 : 30);
    if (fate >= 10 && fate < 25) {
        count(w, C_store_put_failed);
        reply(w, index, d, 1);
        weir__snapshot__free_unpacked(snapshot, NULL);
        return;
    }
    checkpoint->arriving = snapshot;
    weir_sha256_hex(op->bytes, op->size, checkpoint->sha256);
    arrive(w, index, d, fate >= 25 && fate < 35 ? APPLY_ONLY : APPLY_LAST);
    if (fate >= 25 && fate < 35) /* it is there, and called a failure */
        reply(w, index, d + 100, 1);
}

/* Does something that HEAD names need it? The id of that; 0: nothing does. */
static uint64_t needed_by(struct job *job, const char *key)
{
    for (int i = 0; i < job->head.retained_count; i++) {
        const struct sim_checkpoint *checkpoint = sim_checkpoint(job, job->head.retained[i]);
        char metadata[96];
        snprintf(metadata, sizeof metadata, "jobs/%s/chk-%" PRIu64 "/metadata", job->id, job->head.retained[i]);
        if (strcmp(key, metadata) == 0)
            return job->head.retained[i];
        for (size_t p = 0; p < checkpoint->metadata->n_parts; p++)
            if (strcmp(checkpoint->metadata->parts[p]->object, key) == 0)
                return job->head.retained[i];
    }
    return 0;
}

void store_write(struct world *w, struct job *job, const char *key)
{
    if (job->object_count == job->object_capacity) {
        job->object_capacity = job->object_capacity ? job->object_capacity * 2 : 64;
        job->objects = weir_realloc(job->objects, (size_t)job->object_capacity * sizeof *job->objects);
    }
    struct sim_object *object = &job->objects[job->object_count++];
    *object = (struct sim_object){.at_ms = w->now_ms};
    snprintf(object->key, sizeof object->key, "%s", key);
}

static bool is_there(const struct job *job, const char *key)
{
    for (int i = job->object_count; i-- > 0;)
        if (!job->objects[i].gone && strcmp(job->objects[i].key, key) == 0)
            return true;
    return false;
}

static void delete_object(struct world *w, struct job *job, struct sim_object *object)
{
    uint64_t needed = needed_by(job, object->key), id = 0;
    const char *chk = strstr(object->key, "/chk-");
    if (needed)
        violate(w, "drop-of-a-shared-object", "job %.8s: %" PRIu64 " needs %s", job->id, needed, object->key);
    if (chk)
        id = strtoull(chk + 5, NULL, 10);
    if (id >= job->head.floor && id > 0)
        violate(w, "drop-above-floor", "job %.8s: %s, floor %" PRIu64, job->id, object->key, job->head.floor);
    int64_t since_ms =
        id && sim_checkpoint(job, id)->left_ms > object->left_ms ? sim_checkpoint(job, id)->left_ms : object->left_ms;
    if (w->now_ms < since_ms + job->options.checkpoint_gc_grace_ms)
        violate(w, "drop-within-grace", "job %.8s: %s goes %" PRId64 " ms after it was needed last", job->id,
                object->key, w->now_ms - since_ms);
    object->gone = true;
    if (strstr(object->key, "/metadata"))
        sim_checkpoint(job, id)->dropped = true;
}

static void drop_prefix(struct world *w, struct job *job, const char *prefix, int64_t age_ms)
{
    weir_assert(strlen(prefix) == strlen("jobs/") + 33);
    bool ended = weir_job_state_terminal(job->head.state) && !job->head.retained_count;
    if (age_ms > 0 && (job->head.exists || w->now_ms - job->stored_ms < age_ms))
        return; /* HEAD has just been written */
    for (int i = 0; i < job->object_count; i++)
        if (!job->objects[i].gone && w->now_ms - job->objects[i].at_ms < age_ms)
            return;
    if (job->head.exists && !ended)
        violate(w, "live-job-erased", "job %.8s", job->id);
    for (int i = 0; i < job->object_count; i++)
        job->objects[i].gone = true;
    count(w, C_job_erased);
    job->erased = ended;
    job->head.exists = job->stored = false;
}

static void delete_key(struct world *w, struct job *job, const char *key)
{
    count(w, C_garbage_deleted);
    if (strstr(key, "/graph-") || strstr(key, "/HEAD")) {
        if (job->head.exists || strstr(key, "/HEAD"))
            violate(w, "live-job-erased", "job %.8s: %s", job->id, key);
        job->stored = false;
        return;
    }
    for (int i = 0; i < job->object_count; i++)
        if (!job->objects[i].gone && strcmp(job->objects[i].key, key) == 0)
            delete_object(w, job, &job->objects[i]);
}

/* A graph and code: they arrive, or somebody is told that they did not, or both. */
static void begin_job_store(struct world *w, int index)
{
    int fate = bad(w) ? rng_range(&w->store, 0, 99) : 100;
    int64_t d = rng_range(&w->store, 1, bad(w) ? 600 : 20);
    if (fate < 15) {
        reply(w, index, d, 1);
        return;
    }
    arrive(w, index, d, fate < 25 ? APPLY_ONLY : APPLY_LAST);
    if (fate < 25)
        reply(w, index, d + 100, 1);
}

void store_begin(struct world *w, int jm, const struct weir_jm_effect *effect)
{
    int j = effect->job_id ? job_find(w, effect->job_id) : 0;
    struct job *job = &w->jobs[j];
    if (w->store_op_count == w->store_op_capacity) {
        w->store_op_capacity = w->store_op_capacity ? w->store_op_capacity * 2 : 64;
        w->store_ops = weir_realloc(w->store_ops, (size_t)w->store_op_capacity * sizeof *w->store_ops);
    }
    int index = w->store_op_count++;
    struct store_op *op = &w->store_ops[index];
    *op = (struct store_op){.kind = effect->kind, .job = j, .jm = jm, .checkpoint = effect->checkpoint};
    if (effect->tag) {
        op->tagged = true;
        op->tag = strtoull(effect->tag, NULL, 10);
    }
    if (effect->bytes) {
        op->size = effect->size;
        op->bytes = memcpy(weir_alloc(op->size + 1), effect->bytes, op->size);
    }
    if (effect->kind == WEIR_JM_EFFECT_STORE_LIST) {
        op->request = effect->request;
        snprintf(op->prefix, sizeof op->prefix, "%s", effect->text);
        snprintf(op->after, sizeof op->after, "%s", effect->after);
    }
    switch (effect->kind) {
    case WEIR_JM_EFFECT_STORE_PUT:
        begin_store_put(w, job, index);
        break;
    case WEIR_JM_EFFECT_JOB_STORE:
        begin_job_store(w, index);
        break;
    case WEIR_JM_EFFECT_STORE_DROP:
        if (!bad(w) || rng_chance(&w->store, 60)) /* else it fails */
            drop_prefix(w, job, effect->text, effect->age_ms);
        reply(w, index, rng_range(&w->store, 1, 50), 0);
        break;
    case WEIR_JM_EFFECT_STORE_DELETE: { /* some may be gone when it fails */
        bool fails = bad(w) && rng_chance(&w->store, 40);
        for (int i = 0; i < effect->key_count; i++)
            if (!fails || rng_chance(&w->store, 30))
                delete_key(w, job, effect->keys[i]);
        if (fails)
            count(w, C_deletion_failed);
        reply(w, index, rng_range(&w->store, 1, 50), fails);
        break;
    }
    case WEIR_JM_EFFECT_HEAD_PUT: {
        Weir__Head *head = weir__head__unpack(&weir_proto_memory, op->size, op->bytes);
        weir_assert(head);
        op->newest = head->n_retained ? head->retained[head->n_retained - 1]->id : 0;
        weir__head__free_unpacked(head, NULL);
        begin_head_put(w, index);
        break;
    }
    default:
        arrive(w, index, rng_range(&w->store, 1, bad(w) ? 500 : 20), APPLY_LAST);
        break;
    }
}

/* HEAD is read, and what it names later: in between an earlier JobManager may go on. True: there is more to read. */
static bool apply_read(struct world *w, int index)
{
    struct store_op *op = &w->store_ops[index];
    struct job *job = &w->jobs[op->job];
    if (!op->head && job->head.exists) {
        op->head = memcpy(weir_alloc(job->head.size + 1), job->head.bytes, job->head.size);
        op->head_size = job->head.size;
        op->got_tag = job->head.tag;
        arrive(w, index, rng_range(&w->store, 1, bad(w) || rng_chance(&w->store, 4) ? 5000 : 30), APPLY_LAST);
        return true;
    }
    Weir__Head *head = op->head ? weir__head__unpack(&weir_proto_memory, op->head_size, op->head) : NULL;
    op->snapshot_count = head ? head->n_retained : 0;
    op->snapshots = weir_zalloc((op->snapshot_count + 1) * sizeof *op->snapshots);
    for (size_t i = 0; i < op->snapshot_count; i++) {
        const struct sim_checkpoint *checkpoint = sim_checkpoint(job, head->retained[i]->id);
        if (!checkpoint->metadata || checkpoint->dropped) {
            count(w, C_read_torn);
            continue;
        }
        size_t size = weir__snapshot__get_packed_size(checkpoint->metadata);
        uint8_t *bytes = weir_alloc(size + 1);
        weir__snapshot__pack(checkpoint->metadata, bytes);
        op->snapshots[i] = weir__snapshot__unpack(&weir_proto_memory, size, bytes);
        free(bytes);
    }
    if (head)
        weir__head__free_unpacked(head, NULL);
    return false;
}

void store_apply(struct world *w, int index, int answer)
{
    struct store_op *op = &w->store_ops[index];
    struct job *job = &w->jobs[op->job];
    int result = 0;
    if (op->kind == WEIR_JM_EFFECT_STORE_PUT) {
        struct sim_checkpoint *checkpoint = sim_checkpoint(job, op->checkpoint);
        checkpoint->metadata = checkpoint->arriving;
        checkpoint->arriving = NULL;
        char key[96];
        snprintf(key, sizeof key, "jobs/%s/chk-%" PRIu64 "/metadata", job->id, op->checkpoint);
        store_write(w, job, key);
    } else if (op->kind == WEIR_JM_EFFECT_HEAD_PUT) {
        bool holds = condition_holds(job, op);
        if (holds)
            apply_head(w, job, op);
        else
            count(w, C_store_condition_failed);
        result = holds ? WEIR_HEAD_PUT_OK : WEIR_HEAD_PUT_CONDITION;
    } else if (op->kind == WEIR_JM_EFFECT_JOB_STORE) {
        job->stored = true;
        job->stored_ms = w->now_ms;
    } else if (op->kind == WEIR_JM_EFFECT_JOBS_LIST || op->kind == WEIR_JM_EFFECT_STORE_LIST) {
        op->listed_ms = w->now_ms;
        result = bad(w) && rng_chance(&w->store, 30);
    } else if (op->kind == WEIR_JM_EFFECT_JOB_READ) {
        if (apply_read(w, index))
            return;
        result = bad(w) && rng_chance(&w->store, 30);
    } else {
        bool fails = bad(w) && rng_chance(&w->store, 30);
        op->got = fails ? WEIR_HEAD_GET_FAILED : job->head.exists ? WEIR_HEAD_GET_OK : WEIR_HEAD_GET_ABSENT;
        memcpy(op->nonce, job->head.nonce, sizeof op->nonce);
        op->got_epoch = job->head.epoch;
    }
    if (op->kind != WEIR_JM_EFFECT_JOB_READ)
        op->got_tag = job->head.tag;
    if (answer == APPLY_LAST)
        reply(w, index, rng_range(&w->store, 1, bad(w) ? 400 : 10), result);
}

int store_jm(const struct world *w, int index)
{
    return w->store_ops[index].jm;
}

static void reply_jobs(struct world *w, const struct store_op *op, int result)
{
    struct weir_jm_event event;
    node_init_jm_event(w, op->jm, &event, WEIR_JM_EVENT_JOBS_LISTED);
    struct weir_jm_object *objects = weir_zalloc((size_t)(w->job_count + 1) * sizeof *objects);
    char(*keys)[48] = weir_zalloc((size_t)(w->job_count + 1) * sizeof *keys);
    for (int j = 0; j < w->job_count; j++) {
        const struct job *job = &w->jobs[j];
        bool found = job->head.exists || job->stored;
        for (int i = 0; i < job->object_count && !found; i++)
            found = !job->objects[i].gone;
        snprintf(keys[j], sizeof keys[j], "jobs/%s/", job->id);
        if (found)
            objects[event.object_count++] = (struct weir_jm_object){keys[j], 0};
    }
    event.objects = objects;
    event.text = result ? "503" : NULL;
    trace(w, "jm%d hears of %d jobs in the store, result %d", op->jm, event.object_count, result);
    jm_event(w, op->jm, &event);
    free(objects);
    free(keys);
}

static int compare_objects(const void *a, const void *b)
{
    return strcmp(((const struct weir_jm_object *)a)->key, ((const struct weir_jm_object *)b)->key);
}

/* As the store is at the end of the listing, or (an object that has just come, a deletion) a little older: both are right. */
static void reply_list(struct world *w, const struct store_op *op, int result)
{
    struct weir_jm_event event;
    node_init_jm_event(w, op->jm, &event, WEIR_JM_EVENT_STORE_LISTED);
    const struct job *job = &w->jobs[op->job];
    struct weir_jm_object *objects = weir_zalloc((size_t)(job->object_count + 2) * sizeof *objects);
    char fixed[2][128], id[33], sha256[65];
    memcpy(id, job->id, sizeof id);
    snprintf(fixed[0], sizeof fixed[0], "jobs/%s/HEAD", job->id);
    weir_sha256_hex(job->graph, job->graph_size, sha256);
    snprintf(fixed[1], sizeof fixed[1], "jobs/%s/graph-%s", job->id, sha256);
    for (int i = -2; i < job->object_count; i++) {
        bool there = i == -2 ? job->head.exists : i == -1 ? job->stored : !job->objects[i].gone;
        const char *key = i < 0 ? fixed[i + 2] : job->objects[i].key;
        int64_t at_ms = i < 0 ? job->stored_ms : job->objects[i].at_ms;
        if (there && at_ms <= op->listed_ms && strncmp(key, op->prefix, strlen(op->prefix)) == 0 &&
            strcmp(key, op->after) > 0)
            objects[event.object_count++] = (struct weir_jm_object){key, w->now_ms - at_ms};
    }
    if (event.object_count)
        qsort(objects, (size_t)event.object_count, sizeof *objects, compare_objects);
    if (event.object_count >= SIM_PAGE) {
        event.object_count = SIM_PAGE;
        event.more = true;
        count(w, C_listed_in_pages);
    }
    event.job_id = id;
    event.request = op->request;
    event.objects = objects;
    event.text = result ? "503" : NULL;
    trace(w, "jm%d hears of %d objects in %s after %s, result %d", op->jm, event.object_count, op->prefix, op->after,
          result);
    jm_event(w, op->jm, &event);
    free(objects);
}

static void reply_read(struct world *w, int index, int result)
{
    struct store_op *op = &w->store_ops[index];
    struct job *job = &w->jobs[op->job];
    Weir__Head *head = op->head && !result ? weir__head__unpack(&weir_proto_memory, op->head_size, op->head) : NULL;
    char tag[24], id[33];
    snprintf(tag, sizeof tag, "%" PRIu64, op->got_tag);
    memcpy(id, job->id, sizeof id);
    struct weir_jm_read read = {
        .result = result         ? WEIR_JM_READ_FAILED
                  : !head        ? WEIR_JM_READ_ABSENT
                  : !job->stored ? WEIR_JM_READ_CORRUPT
                                 : WEIR_JM_READ_OK,
        .text = result ? "503" : "its graph is missing",
        .head = head,
        .tag = tag,
        .graph = job->graph,
        .graph_size = job->graph_size,
        .options = job->options,
    };
    if (result)
        count(w, C_read_failed);
    if (head) {
        read.take_plan = plan_of_job(job);
        read.take_snapshots = op->snapshots;
        op->snapshots = NULL;
    }
    trace(w, "jm%d has read job %.8s: %s", op->jm, id,
          head ? weir_job_state_name((enum weir_job_state)head->job_state) : "nothing");
    int jm = op->jm;
    struct weir_jm_event event;
    node_init_jm_event(w, jm, &event, WEIR_JM_EVENT_JOB_READ);
    event.job_id = id;
    event.read = &read;
    if (head && weir_job_state_terminal((enum weir_job_state)head->job_state) && !w->jms[jm].fenced &&
        head->leader_epoch <= w->jms[jm].epoch && job->head.epoch <= w->jms[jm].epoch && job->jm <= jm) {
        count(w, C_recovered_ended);
        job_led_by(w, job, jm);
    }
    jm_event(w, jm, &event);
    if (head)
        weir__head__free_unpacked(head, NULL);
}

void store_reply(struct world *w, int index, int result)
{
    struct store_op *op = &w->store_ops[index];
    if (op->kind == WEIR_JM_EFFECT_JOBS_LIST) {
        reply_jobs(w, op, result);
        return;
    }
    if (op->kind == WEIR_JM_EFFECT_STORE_LIST) {
        reply_list(w, op, result);
        return;
    }
    if (op->kind == WEIR_JM_EFFECT_JOB_READ) {
        reply_read(w, index, result);
        return;
    }
    if (op->kind == WEIR_JM_EFFECT_STORE_DROP || op->kind == WEIR_JM_EFFECT_STORE_DELETE) {
        char job_id[33];
        memcpy(job_id, w->jobs[op->job].id, sizeof job_id);
        struct weir_jm_event deleted;
        node_init_jm_event(w, op->jm, &deleted,
                           op->kind == WEIR_JM_EFFECT_STORE_DROP ? WEIR_JM_EVENT_JOB_DELETED
                                                                 : WEIR_JM_EVENT_STORE_DELETED);
        deleted.job_id = job_id;
        deleted.text = result ? "503" : NULL;
        jm_event(w, op->jm, &deleted);
        return;
    }
    struct weir_jm_event event;
    char tag[24];
    snprintf(tag, sizeof tag, "%" PRIu64, op->got_tag);
    enum weir_jm_event_kind kind = op->kind == WEIR_JM_EFFECT_STORE_PUT   ? WEIR_JM_EVENT_STORED
                                   : op->kind == WEIR_JM_EFFECT_JOB_STORE ? WEIR_JM_EVENT_JOB_STORED
                                   : op->kind == WEIR_JM_EFFECT_HEAD_PUT  ? WEIR_JM_EVENT_HEAD_PUT
                                                                          : WEIR_JM_EVENT_HEAD_GOT;
    node_init_jm_event(w, op->jm, &event, kind);
    char id[33];
    memcpy(id, w->jobs[op->job].id, sizeof id);
    uint8_t nonce[WEIR_HEAD_NONCE_SIZE];
    memcpy(nonce, op->nonce, sizeof nonce);
    event.job_id = id;
    event.checkpoint = op->checkpoint;
    event.text =
        (op->kind == WEIR_JM_EFFECT_STORE_PUT || op->kind == WEIR_JM_EFFECT_JOB_STORE) && result ? "503" : NULL;
    event.put_result = (enum weir_head_put_result)result;
    event.get_result = op->got;
    event.tag = tag;
    event.nonce = nonce;
    event.leader_epoch = op->got_epoch;
    trace(w, "jm%d hears of %.8s's store: %s %" PRIu64 " result %d", op->jm, id,
          kind == WEIR_JM_EVENT_STORED       ? "metadata"
          : kind == WEIR_JM_EVENT_JOB_STORED ? "graph"
          : kind == WEIR_JM_EVENT_HEAD_PUT   ? "HEAD written"
                                             : "HEAD read",
          op->checkpoint, kind == WEIR_JM_EVENT_HEAD_GOT ? (int)op->got : result);
    jm_event(w, op->jm, &event);
}

/* --- What the JobManager sends */

static void check_deploy(struct world *w, int jm, struct job *job, const Weir__DeployTasks *deploy)
{
    if (!job->head.exists)
        violate(w, "deployed-undecided", "job %.8s has no HEAD", job->id);
    for (size_t i = 0; i < deploy->n_tasks; i++)
        if (deploy->tasks[i]->attempt >= job->head.next_attempt)
            violate(w, "attempt-unreserved", "job %.8s: attempt %" PRIu32 ", HEAD allows those below %" PRIu32, job->id,
                    deploy->tasks[i]->attempt, job->head.next_attempt);
    if (w->jms[jm].epoch <
        job->head.epoch) /* it does not know yet that it was replaced: nothing comes of what it does */
        return;
    if (w->jms[jm].epoch > job->head.epoch)
        violate(w, "deployed-unfenced", "job %.8s: HEAD is still of epoch %" PRIu64, job->id, job->head.epoch);
    for (int i = 0; i < w->store_op_count; i++) {
        const struct store_op *op = &w->store_ops[i];
        if (op->kind == WEIR_JM_EFFECT_HEAD_PUT && &w->jobs[op->job] == job && op->newest > job->head.newest &&
            condition_holds(job, op))
            violate(w, "deployed-undecided", "job %.8s: HEAD may yet name %" PRIu64, job->id, op->newest);
    }
    if (deploy->n_restores != (job->head.newest ? deploy->n_tasks : 0))
        violate(w, "restore", "job %.8s: %zu of %zu tasks begin with a checkpoint", job->id, deploy->n_restores,
                deploy->n_tasks);
    for (size_t i = 0; i < deploy->n_restores; i++) {
        const Weir__TaskRestore *restore = deploy->restores[i];
        int t = 0, of;
        uint32_t attempt;
        uint64_t at;
        while (job->tasks[t].vertex != (int)deploy->tasks[restore->task]->vertex ||
               job->tasks[t].subtask != (int)deploy->tasks[restore->task]->subtask)
            t++;
        if (restore->checkpoint != job->head.newest)
            violate(w, "restore-of-an-old-one", "job %.8s task %d: from %" PRIu64 ", HEAD names %" PRIu64, job->id, t,
                    restore->checkpoint, job->head.newest);
        if (restore->n_parts != 1 || !parse_part(restore->parts[0], &of, &attempt, &at) || of != t ||
            (at != END && at != restore->checkpoint))
            violate(w, "restore-parts", "job %.8s task %d", job->id, t);
        count(w, at == END ? C_restored_at_end : C_restored);
    }
}

void store_check_sent(struct world *w, int jm, const Weir__Control *control)
{
    switch (control->body_case) {
    case WEIR__CONTROL__BODY_DEPLOY_TASKS: {
        for (int i = 0; i < w->exec_count; i++)
            if (strcmp(w->execs[i].id, control->deploy_tasks->executor_id) == 0 && w->jobs[w->execs[i].job].durable)
                check_deploy(w, jm, &w->jobs[w->execs[i].job], control->deploy_tasks);
        break;
    }
    case WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT:
        for (int i = 0; i < w->exec_count; i++)
            if (strcmp(w->execs[i].id, control->trigger_checkpoint->executor_id) == 0) {
                struct job *job = &w->jobs[w->execs[i].job];
                uint64_t id = control->trigger_checkpoint->checkpoint;
                struct sim_checkpoint *checkpoint = sim_checkpoint(job, id);
                if (id >= job->head.next)
                    violate(w, "id-unreserved", "job %.8s: %" PRIu64 " is triggered, HEAD reserves ids below %" PRIu64,
                            job->id, id, job->head.next);
                if (!checkpoint->triggered) {
                    checkpoint->complete = control->trigger_checkpoint->complete;
                    checkpoint->triggered_ms = w->now_ms;
                }
                checkpoint->triggered = true;
                if (checkpoint->complete && !sim_checkpoint(job, checkpoint->complete)->named)
                    violate(w, "complete-in-name", "job %.8s: %" PRIu64, job->id, checkpoint->complete);
            }
        break;
    case WEIR__CONTROL__BODY_COMMIT_OUTPUT: {
        struct job *job = &w->jobs[job_find(w, control->commit_output->job_id)];
        if (job->durable &&
            (!control->commit_output->checkpoint || !sim_checkpoint(job, control->commit_output->checkpoint)->named))
            violate(w, "commit-before-head", "job %.8s: checkpoint %" PRIu64, job->id,
                    control->commit_output->checkpoint);
        break;
    }
    default:
        break;
    }
}

/* --- Output */

static bool is_published(const struct job *job, const char *text)
{
    for (int i = 0; i < job->published_count; i++)
        if (strcmp(job->published[i], text) == 0)
            return true;
    return false;
}

void store_check_commit(struct world *w, struct job *job, const Weir__CommitOutput *commit)
{
    for (size_t i = 0; i < commit->n_committables; i++) {
        const char *text = commit->committables[i]->text;
        int t;
        uint64_t from, to;
        char last[24];
        weir_assert(sscanf(text, "%d.%" SCNu64 ".%23[^.]", &t, &from, last) == 3);
        to = strcmp(last, "end") == 0 ? END : strtoull(last, NULL, 10);
        trace(w, "publish %.8s with %" PRIu64 ": %s", job->id, commit->checkpoint, text);
        if (is_published(job, text)) {
            count(w, C_published_again);
            continue;
        }
        if (job->aborted) /* a repeat, by a TaskManager that was slow, does no harm */
            violate(w, "commit-after-abort", "job %.8s: %s", job->id, text);
        if (from != job->published_to[t])
            violate(w, from < job->published_to[t] ? "output-twice" : "output-lost",
                    "job %.8s task %d: %s is published with checkpoint %" PRIu64 ", what went before ends at %" PRIu64,
                    job->id, t, text, commit->checkpoint, job->published_to[t]);
        job->published_to[t] = to;
        if (job->published_count == job->published_capacity) {
            job->published_capacity = job->published_capacity ? job->published_capacity * 2 : 64;
            job->published = weir_realloc(job->published, (size_t)job->published_capacity * sizeof *job->published);
        }
        snprintf(job->published[job->published_count++], sizeof job->published[0], "%s", text);
    }
    sim_checkpoint(job, commit->checkpoint)->published = true;
    count(w, C_checkpoint_published);
}

void store_check_abort(struct world *w, struct job *job)
{
    for (uint64_t id = 1; id < job->checkpoint_capacity; id++) {
        const struct sim_checkpoint *checkpoint = &job->checkpoint_list[id];
        if (checkpoint->named && !checkpoint->published && checkpoint->metadata->n_committables > 0)
            violate(w, "abort-before-commit", "job %.8s: %" PRIu64 " is complete and not published", job->id, id);
    }
}

void store_check_finished(struct world *w, struct job *job)
{
    for (int t = 0; t < job->task_count; t++)
        if (job->tasks[t].sink && job->output && job->published_to[t] != END)
            violate(w, "output-lost", "job %.8s is FINISHED, task %d's output is published to %" PRIu64, job->id, t,
                    job->published_to[t]);
}

/* NULL: HEAD and the JobManager agree about a job that has ended. */
const char *store_leftover(const struct job *job, const struct weir_jm_job *view)
{
    const struct sim_head *head = &job->head;
    if (job->erased) /* while another JobManager was reading it */
        return NULL;
    if (!head->exists || head->state != view->state)
        return "HEAD does not say that the job has ended";
    if (head->retained_count != view->retained_count)
        return "HEAD and the JobManager differ in what is retained";
    for (int i = 0; i < head->retained_count; i++)
        if (head->retained[i] != view->retained[i].id)
            return "HEAD and the JobManager differ in what is retained";
    for (int i = 0; i < head->retained_count && !job->commit_failed; i++) {
        const struct sim_checkpoint *checkpoint = &job->checkpoint_list[head->retained[i]];
        if (!checkpoint->published && checkpoint->metadata->n_committables > 0)
            return "a complete checkpoint is not published";
    }
    for (int i = 0; i < job->object_count; i++) {
        const struct sim_object *object = &job->objects[i];
        if (!object->gone && !needed_by((struct job *)(uintptr_t)job, object->key)) {
            static char text[160];
            snprintf(text, sizeof text, "an object is left that nothing needs: %s", object->key);
            return text;
        }
    }
    return NULL;
}

/* --- Plan */

void store_plan(struct world *w)
{
    w->store.state = w->seed * 11 + 4;
    for (int i = 0; i < 8; i++)
        rng_next(&w->store);
    for (int i = 0; i < SIM_SPELLS; i++) {
        w->spells[i].from_ms = rng_range(&w->store, 0, (int)w->fault_end_ms - 1);
        w->spells[i].to_ms = w->spells[i].from_ms + (rng_chance(&w->store, 60) ? rng_range(&w->store, 100, 9000) : 0);
    }
}

void store_plan_job(struct world *w, struct job *job)
{
    job->checkpoints = rng_chance(&w->store, 50);
    job->durable = job->checkpoints || rng_chance(&w->store, 30);
    if (job->durable && rng_chance(&w->store, 6)) { /* attempts go by faster than anything else is written into HEAD */
        job->fails_until_ms = w->now_ms + rng_range(&w->store, 1000, 4000);
        job->options.restart = WEIR_JM_RESTART_FIXED_DELAY;
        job->options.fixed_attempts = 100000;
        job->options.fixed_delay_ms = rng_range(&w->store, 0, 5);
    }
    job->options.checkpoint_gc_grace_ms = rng_chance(&w->store, 20) ? 0 : rng_range(&w->store, 500, 8000);
    job->options.checkpoint_gc_sweep_ms = rng_range(&w->store, 3000, 20000);
    if (!job->checkpoints)
        return;
    struct weir_jm_job_options *options = &job->options;
    options->checkpoint_interval_ms = rng_range(&w->store, 200, 2500);
    options->checkpoint_timeout_ms = rng_range(&w->store, 1000, 6000);
    options->checkpoint_pause_ms = rng_chance(&w->store, 60) ? 0 : rng_range(&w->store, 1, 1000);
    options->checkpoints_concurrent = rng_chance(&w->store, 60) ? 1 : rng_range(&w->store, 2, 4);
    options->checkpoints_tolerable = rng_chance(&w->store, 80) ? 1000000 : rng_range(&w->store, 0, 3);
    options->checkpoints_retained = rng_range(&w->store, 1, 3);
    options->retention = (enum weir_jm_retention)rng_range(&w->store, 0, 2);
}
