/* The object store, modelled, and what must hold about checkpoints. Stricter than a real one: within bad spells requests are lost, replies
 * are lost, writes arrive long after their sender was told that nobody knows, or twice (the reply may be either's).
 *
 * Truth is what the store has: HEAD of each job (every change is checked as it is applied), the metadata objects, savepoints, and which
 * output was published. What a record is here: a place in time, between two checkpoints, of a key group of a sink. A subtask's output is
 * intervals (from checkpoint, to checkpoint] of its groups, "end" being the last one's end: what is published must be contiguous for each
 * group, whoever has it, and twice only the same. So each record counts once, whatever the parallelism was.
 */
#include "base/hash.h"
#include "base/proto_memory.h"
#include "tests/sim/sim.h"

#define ALL_GROUPS ((1u << SIM_GROUPS) - 1)
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
    /* COPY */
    char from_uri[96], to_uri[96], (*from)[96], (*to)[96];
    int copy_count;
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
        free(w->store_ops[i].from);
        free(w->store_ops[i].to);
        for (size_t k = 0; w->store_ops[i].snapshots && k < w->store_ops[i].snapshot_count; k++)
            weir__snapshot__free_unpacked(w->store_ops[i].snapshots[k], NULL);
        free(w->store_ops[i].snapshots);
    }
    free(w->store_ops);
    for (int i = 0; i < w->savepoint_count; i++)
        if (w->savepoints[i].metadata)
            weir__snapshot__free_unpacked(w->savepoints[i].metadata, NULL);
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

const Weir__StatePart *part_of(const Weir__Snapshot *snapshot, const char *uid, uint32_t subtask, uint32_t parallelism)
{
    for (size_t i = 0; i < snapshot->n_parts; i++)
        if (snapshot->parts[i]->subtask == subtask && snapshot->parts[i]->parallelism == parallelism &&
            strcmp(snapshot->parts[i]->uid, uid) == 0)
            return snapshot->parts[i];
    return NULL;
}

/* Its JobManager has not given it up: in the step that stored it, it may have. */
static bool is_under_way(const struct weir_jm_job *view, uint64_t id)
{
    for (int i = 0; view && i < view->checkpoint_count; i++)
        if (view->checkpoints[i].id == id)
            return view->checkpoints[i].status == WEIR_JM_CHECKPOINT_IN_PROGRESS;
    return false;
}

static void check_part(struct world *w, int jm, struct job *job, const Weir__Snapshot *snapshot,
                       const Weir__StatePart *part, uint32_t *seen)
{
    const struct weir_jm_job *view = w->jms[jm].alive ? weir_jm_job_find(w->jms[jm].core, job->id) : NULL;
    struct part_bytes bytes;
    int op = part_number(part, &bytes), t = bytes.task;
    uint32_t groups = groups_of(part->subtask, part->parallelism);
    weir_assert(op < job->op_count && t < SIM_TASKS_MAX);
    if (seen[op] & groups)
        violate(w, "parts", "job %.8s checkpoint %" PRIu64 ": operator %d, twice for the groups %" PRIx32, job->id,
                snapshot->checkpoint, op, seen[op] & groups);
    seen[op] |= groups;
    if (is_under_way(view, snapshot->checkpoint) && (t >= view->task_count || bytes.attempt != view->tasks[t].attempt))
        violate(w, "part-of-another-attempt", "job %.8s checkpoint %" PRIu64 ": task %d, attempt %" PRIu32, job->id,
                snapshot->checkpoint, t, bytes.attempt);
    if (bytes.at != SIM_END && bytes.at != snapshot->checkpoint)
        violate(w, "part-of-another-checkpoint", "job %.8s checkpoint %" PRIu64 ": task %d gave %" PRIu64, job->id,
                snapshot->checkpoint, t, bytes.at);
    if (bytes.at == SIM_END && jm == job->jm && job->tasks[t].finished == bytes.attempt &&
        job->tasks[t].finish_passed >= snapshot->checkpoint)
        violate(w, "torn-cut",
                "job %.8s checkpoint %" PRIu64 ": task %d passed the barrier, and its end is taken for it", job->id,
                snapshot->checkpoint, t);
    if (bytes.at == SIM_END)
        count(w, C_part_of_finished);
}

static void check_metadata(struct world *w, int jm, struct job *job, const Weir__Snapshot *snapshot)
{
    uint32_t seen[SIM_VERTICES_MAX] = {0};
    if (!job->checkpoints) /* its output only */
        return;
    for (size_t i = 0; i < snapshot->n_parts; i++)
        check_part(w, jm, job, snapshot, snapshot->parts[i], seen);
    for (int o = 0; o < job->op_count; o++)
        if (seen[o] != ALL_GROUPS)
            violate(w, "parts", "job %.8s checkpoint %" PRIu64 ": operator %d has the groups %" PRIx32, job->id,
                    snapshot->checkpoint, o, seen[o]);
}

/* --- What a job begins with */

static bool import_is_unfit(struct job *job, const Weir__Snapshot *snapshot)
{
    for (int t = 0; t < job->plans[0].task_count; t++)
        for (int o = 0; o < job->plans[0].tasks[t].op_count; o++) {
            const struct sim_task *task = &job->plans[0].tasks[t];
            const struct sim_operator *op = &job->ops[task->ops[o]];
            if (op->kind == 1 && !part_of(snapshot, op->uid, (uint32_t)task->subtask, (uint32_t)task->parallelism))
                return true;
        }
    return false;
}

void store_import(struct world *w, struct job *job, const Weir__Snapshot *snapshot)
{
    job->import_id = snapshot->checkpoint;
    job->import_unfit = import_is_unfit(job, snapshot);
    if (!job->checkpoints)
        plan_checkpoints(w, job);
    job->checkpoints = true;
    if (job->kafka && !job->periodic)
        plan_periodic(w, job);
    struct part_bytes bytes;
    uint32_t open[SIM_VERTICES_MAX] = {
        0}; /* groups of which output is pending in it: what was there before it is the other job's */
    for (size_t i = 0; i < snapshot->n_committables; i++) {
        int op;
        uint32_t groups;
        uint64_t from;
        if (job->kafka) /* the other job's, whoever publishes it */
            continue;
        int read = sscanf(snapshot->committables[i]->text, "%d.%" SCNx32 ".%" SCNu64, &op, &groups, &from);
        weir_assert(read == 3);
        for (int g = 0; g < SIM_GROUPS; g++)
            if (groups >> g & 1 && (!(open[op] >> g & 1) || from < job->published_to[op][g]))
                job->published_to[op][g] = from;
        open[op] |= groups;
    }
    for (size_t i = 0; i < snapshot->n_parts; i++) {
        const Weir__StatePart *part = snapshot->parts[i];
        int op = part_number(part, &bytes);
        uint32_t groups = groups_of(part->subtask, part->parallelism) & ~open[op];
        for (int g = 0; job->ops[op].sink && g < SIM_GROUPS; g++)
            if (groups >> g & 1)
                job->published_to[op][g] = bytes.since[g];
    }
}

/* --- HEAD */

/* Of one task's operators. */
static bool same_object(const Weir__Snapshot *snapshot, size_t part)
{
    return strcmp(snapshot->parts[part]->object, snapshot->parts[part - 1]->object) == 0;
}

/* HEAD names it no more: what it needed is not needed since now. */
static void leave(struct world *w, struct job *job, uint64_t id)
{
    const Weir__Snapshot *metadata = sim_checkpoint(job, id)->metadata;
    char own[96];
    snprintf(own, sizeof own, "jobs/%s/chk-%" PRIu64 "/metadata", job->id, id);
    for (int i = 0; i < job->object_count; i++)
        if (strcmp(job->objects[i].key, own) == 0)
            job->objects[i].left_ms = w->now_ms;
    for (size_t p = 0; p < metadata->n_parts; p++)
        for (int i = 0; i < job->object_count && (p == 0 || !same_object(metadata, p)); i++)
            if (strcmp(job->objects[i].key, metadata->parts[p]->object) == 0)
                job->objects[i].left_ms = w->now_ms;
    for (size_t p = 0; p < metadata->n_committables; p++)
        for (int i = 0; i < job->object_count; i++)
            if (is_segment_of(metadata->committables[p], job->objects[i].key))
                job->objects[i].left_ms = w->now_ms;
}

static void apply_head(struct world *w, struct job *job, const struct store_op *op)
{
    struct sim_head *head = &job->head;
    Weir__Head *new = weir__head__unpack(&weir_proto_memory, op->size, op->bytes);
    weir_assert(new &&new->nonce.len == sizeof head->nonce);
    uint64_t newest = new->n_retained ? new->retained[new->n_retained - 1]->id : 0;
    const char *what = new->leader_epoch < head->epoch     ? "its epoch"
                       : new->next_checkpoint < head->next ? "the next id"
                       : newest < head->newest &&
                               !(newest == 0 && weir_job_state_terminal((enum weir_job_state) new->job_state)) &&
                               !store_may_fall_back(job, newest)
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
        job->taken_over = true;
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
    if (newest < head->newest && newest)
        count(w, C_fell_back);
    if (job->import_id && !head->exists && newest != job->import_id)
        violate(w, "import-forgotten", "job %.8s begins with %" PRIu64 ", and its first HEAD names %" PRIu64, job->id,
                job->import_id, newest);
    if (newest >= new->next_checkpoint)
        violate(w, "id-unreserved", "job %.8s: HEAD names %" PRIu64 ", ids below %" PRIu64 " are reserved", job->id,
                newest, new->next_checkpoint);
    for (uint64_t id = head->floor; id < new->gc_floor; id++)
        sim_checkpoint(job, id)->passed_ms = w->now_ms;
    for (int i = 0; i < head->retained_count; i++)
        if (new->n_retained == 0 || head->retained[i] < new->retained[0]->id || head->retained[i] > newest)
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
            if ((p == 0 || !same_object(checkpoint->metadata, p)) &&
                !store_has(job, checkpoint->metadata->parts[p]->object))
                violate(w, "dangling", "job %.8s: checkpoint %" PRIu64 " needs %s, which is not there", job->id, id,
                        checkpoint->metadata->parts[p]->object);
        for (size_t p = 0; p < checkpoint->metadata->n_committables; p++)
            segment_must_be_there(w, job, checkpoint->metadata->committables[p]);
        if (!checkpoint->named)
            count(w, C_checkpoint_complete);
        if (!checkpoint->named && checkpoint->failed && w->jms[op->jm].epoch == head->epoch)
            violate(w, "failed-in-name", "job %.8s: HEAD names %" PRIu64 ", which is called failed", job->id, id);
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
    trace(w, "store: HEAD of %.8s is v%" PRIu64 ": newest %" PRIu64 ", committed %" PRIu64 ", floor %" PRIu64, job->id,
          head->tag, newest, head->committed_upto, head->floor);
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

/* --- Savepoints */

int savepoint_find(const struct world *w, const char *uri)
{
    for (int i = 0; i < w->savepoint_count; i++)
        if (strcmp(w->savepoints[i].uri, uri) == 0)
            return i;
    return -1;
}

static bool copies_to(const struct store_op *op, const char *key)
{
    for (int i = 0; i < op->copy_count; i++)
        if (strcmp(op->to[i], key) == 0)
            return true;
    return false;
}

static void begin_copy(struct world *w, int index, const struct weir_jm_effect *effect)
{
    struct store_op *op = &w->store_ops[index];
    snprintf(op->from_uri, sizeof op->from_uri, "%s", effect->from_uri ? effect->from_uri : "");
    snprintf(op->to_uri, sizeof op->to_uri, "%s", effect->to_uri ? effect->to_uri : "");
    op->from = weir_alloc((size_t)(effect->copy_count + 1) * sizeof *op->from);
    op->to = weir_alloc((size_t)(effect->copy_count + 1) * sizeof *op->to);
    for (int i = 0; i < effect->copy_count; i++) {
        snprintf(op->from[i], sizeof op->from[i], "%s", effect->copies[i].from);
        snprintf(op->to[i], sizeof op->to[i], "%s", effect->copies[i].to);
    }
    op->copy_count = effect->copy_count;
    Weir__Snapshot *snapshot = weir__snapshot__unpack(&weir_proto_memory, op->size, op->bytes);
    weir_assert(snapshot);
    for (size_t i = 0; i < snapshot->n_committables; i++)
        for (size_t k = 0; k < snapshot->committables[i]->n_segments; k++)
            if (!copies_to(op, snapshot->committables[i]->segments[k]->object))
                violate(w, "savepoint-not-whole", "job %.8s: its output waits in %s", w->jobs[op->job].id,
                        snapshot->committables[i]->segments[k]->object);
    for (size_t i = 0; i < snapshot->n_parts; i++)
        if (!copies_to(op, snapshot->parts[i]->object) || (op->to_uri[0] && strchr(snapshot->parts[i]->object, '/')))
            violate(w, "savepoint-not-whole", "job %.8s: %s refers to %s", w->jobs[op->job].id,
                    op->to_uri[0] ? op->to_uri : "what it begins with", snapshot->parts[i]->object);
    weir__snapshot__free_unpacked(snapshot, NULL);
    int fate = bad(w) ? rng_range(&w->store, 0, 99) : rng_chance(&w->store, 4) ? 0 : 100;
    int64_t d = rng_range(&w->store, 1, bad(w) ? 3000 : rng_chance(&w->store, 20) ? 1500 : 100);
    if (fate < 15) { /* a directory that cannot be written, an object that does not come */
        reply(w, index, d, 1);
        return;
    }
    arrive(w, index, d, fate < 25 ? APPLY_ONLY : APPLY_LAST);
    if (fate < 25)
        reply(w, index, d + 100, 1);
}

/* Everything is there that is to be copied, and whole; else why not. */
static bool sources_are_there(struct world *w, const struct store_op *op)
{
    struct job *job = &w->jobs[op->job];
    int number = savepoint_find(w, op->from_uri), other = job_find(w, op->from_uri);
    if (number >= 0)
        return w->savepoints[number].metadata && !w->savepoints[number].removed;
    const struct job *from = op->from_uri[0] ? &w->jobs[other] : job;
    for (int i = 0; i < op->copy_count; i++) {
        if (!op->from_uri[0] && w->jms[op->jm].epoch == job->head.epoch &&
            !sim_checkpoint(job, op->checkpoint)->failed && !store_has(job, op->from[i]))
            violate(w, "dangling", "job %.8s: %s is to be in a savepoint, and is not there", job->id, op->from[i]);
        if (!store_has(from, op->from[i]) || store_is_corrupt(from, op->from[i]))
            return false;
    }
    return true;
}

static bool apply_copy(struct world *w, struct store_op *op)
{
    struct job *job = &w->jobs[op->job];
    if (!sources_are_there(w, op))
        return false;
    Weir__Snapshot *snapshot = weir__snapshot__unpack(&weir_proto_memory, op->size, op->bytes);
    if (!op->to_uri[0]) { /* what the job begins with */
        struct sim_checkpoint *checkpoint = sim_checkpoint(job, op->checkpoint);
        checkpoint->metadata = snapshot;
        checkpoint->put = true;
        weir_sha256_hex(op->bytes, op->size, checkpoint->sha256);
        char key[96];
        snprintf(key, sizeof key, "jobs/%s/chk-%" PRIu64 "/metadata", job->id, op->checkpoint);
        for (int i = 0; i < op->copy_count; i++)
            store_write(w, job, op->to[i]);
        store_write(w, job, key);
        return true;
    }
    if (savepoint_find(w, op->to_uri) >= 0)
        violate(w, "savepoint-twice", "job %.8s: %s", job->id, op->to_uri);
    count(w, C_savepoint_complete);
    if (w->savepoint_count == SIM_OPS_MAX)
        weir__snapshot__free_unpacked(w->savepoints[--w->savepoint_count].metadata, NULL);
    struct sim_savepoint *savepoint = &w->savepoints[w->savepoint_count++];
    *savepoint = (struct sim_savepoint){.job = op->job, .checkpoint = op->checkpoint, .metadata = snapshot};
    snprintf(savepoint->uri, sizeof savepoint->uri, "%s", op->to_uri);
    return true;
}

/* It goes when who has claimed it has a checkpoint of its own, and otherwise never. */
static void drop_savepoint(struct world *w, const struct job *job, const char *uri)
{
    int number = savepoint_find(w, uri);
    if (number < 0 || job->claims != number)
        violate(w, "savepoint-of-another", "job %.8s removes %s, which it has not claimed", job->id, uri);
    if (job->head.newest <= job->import_id)
        violate(w, "savepoint-needed", "job %.8s removes %s before it has a checkpoint of its own", job->id, uri);
    w->savepoints[number].removed = true;
    count(w, C_savepoint_removed);
}

/* --- Damage */

bool store_is_corrupt(const struct job *job, const char *key)
{
    for (int i = 0; job->corrupted && i < job->object_count; i++)
        if (job->objects[i].corrupt && strcmp(job->objects[i].key, key) == 0)
            return true;
    return false;
}

bool store_is_damaged(struct job *job, uint64_t id)
{
    const Weir__Snapshot *metadata = sim_checkpoint(job, id)->metadata;
    for (size_t i = 0; i < metadata->n_parts; i++)
        if (store_is_corrupt(job, metadata->parts[i]->object))
            return true;
    return false;
}

void store_corrupt(struct world *w, int target, int value)
{
    for (int k = 0; k < w->job_count; k++) {
        struct job *job = &w->jobs[(target + k) % w->job_count];
        if (!job->checkpoints || job->head.newest == 0 || weir_job_state_terminal(job->head.state))
            continue;
        const Weir__Snapshot *metadata = sim_checkpoint(job, job->head.newest)->metadata;
        const char *key = metadata->n_parts ? metadata->parts[(size_t)value % metadata->n_parts]->object : "";
        bool all = value % 3 == 0; /* of the checkpoint, and every region finds it */
        for (int i = 0; i < job->object_count; i++)
            if (!job->objects[i].gone && !strstr(job->objects[i].key, "-log") &&
                (strcmp(job->objects[i].key, key) == 0 ||
                 (all && store_needed_by(job, job->objects[i].key) == job->head.newest)))
                job->corrupted = job->objects[i].corrupt = true;
        trace(w, "%s is damaged%s", key, all ? ", and so is all of its checkpoint" : "");
        for (int i = 0; i < w->exec_count && value < 80; i++) /* so that somebody reads it */
            for (int t = 0; w->execs[i].exists && &w->jobs[w->execs[i].job] == job && t < w->execs[i].task_count; t++)
                if (t == 0 || all)
                    push(w, w->now_ms + (all ? 1 : rng_range(&w->store, 1, 400)), EV_X_ACT, i, t, 4 /* ACT_FAIL */,
                         w->execs[i].tasks[t].attempt, NULL);
        return;
    }
}

bool store_may_fall_back(struct job *job, uint64_t to)
{
    bool damaged = false, known = false;
    for (int i = 0; i < job->head.retained_count; i++) {
        uint64_t id = job->head.retained[i];
        known |= id == to;
        if (id <= to)
            continue;
        if (sim_checkpoint(job, id)->metadata->n_committables > 0)
            return false;
        damaged |= store_is_damaged(job, id);
    }
    return damaged && known;
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
    if (checkpoint->triggered && !(checkpoint->flags & SIM_FLAG_SAVEPOINT)) /* copying takes its time */
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

uint64_t store_needed_by(struct job *job, const char *key)
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
        for (size_t p = 0; p < checkpoint->metadata->n_committables; p++)
            if (is_segment_of(checkpoint->metadata->committables[p], key))
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

bool store_has(const struct job *job, const char *key)
{
    for (int i = job->object_count; i-- > 0;)
        if (!job->objects[i].gone && strcmp(job->objects[i].key, key) == 0)
            return true;
    return false;
}

static void delete_object(struct world *w, struct job *job, struct sim_object *object)
{
    if (!job->head.exists) { /* of a submission that was not accepted: nothing refers to it */
        object->gone = true;
        return;
    }
    uint64_t needed = store_needed_by(job, object->key), id = 0;
    const char *chk = strstr(object->key, "/chk-");
    if (needed)
        violate(w, "drop-of-a-shared-object", "job %.8s: %" PRIu64 " needs %s", job->id, needed, object->key);
    if (chk)
        id = strtoull(chk + 5, NULL, 10);
    if (id >= job->head.floor && id > 0)
        violate(w, "drop-above-floor", "job %.8s: %s, floor %" PRIu64, job->id, object->key, job->head.floor);
    int64_t since_ms = id && sim_checkpoint(job, id)->passed_ms > object->left_ms ? sim_checkpoint(job, id)->passed_ms
                                                                                  : object->left_ms;
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
    case WEIR_JM_EFFECT_STORE_COPY:
        begin_copy(w, index, effect);
        break;
    case WEIR_JM_EFFECT_JOB_STORE:
        begin_job_store(w, index);
        break;
    case WEIR_JM_EFFECT_STORE_DROP:
        if (bad(w) && rng_chance(&w->store, 40)) /* it fails */
            ;
        else if (effect->from_uri)
            drop_savepoint(w, job, effect->from_uri);
        else
            drop_prefix(w, job, effect->text, effect->age_ms);
        if (!effect->from_uri)
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
    } else if (op->kind == WEIR_JM_EFFECT_STORE_COPY) {
        result = !apply_copy(w, op);
        op = &w->store_ops[index];
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
        read.take_plan = plan_of_job(job, override_in(head->configuration, head->n_configuration));
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
    bool put = op->kind == WEIR_JM_EFFECT_STORE_PUT || op->kind == WEIR_JM_EFFECT_STORE_COPY;
    enum weir_jm_event_kind kind = put                                    ? WEIR_JM_EVENT_STORED
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
    event.text = (put || op->kind == WEIR_JM_EFFECT_JOB_STORE) && result ? "503" : NULL;
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

/* Of one operator: what a subtask needs of its state, and no more. */
static bool restores_operator(const struct sim_task *task, const struct sim_operator *op,
                              const Weir__TaskRestore *restore)
{
    uint32_t seen = 0;
    for (size_t i = 0; i < restore->n_parts; i++) {
        const Weir__StatePart *part = restore->parts[i];
        if (strcmp(part->uid, op->uid) != 0)
            continue;
        uint32_t groups = groups_of(part->subtask, part->parallelism);
        bool same = (int)part->parallelism == task->parallelism, own = same && (int)part->subtask == task->subtask;
        bool wanted = part->kind == 4   ? (groups & task->groups) != 0
                      : part->kind == 3 ? true
                      : part->kind == 2 ? own || !same
                                        : own;
        if (!wanted || seen & groups)
            return false;
        seen |= groups;
    }
    return (task->groups & ~seen) == 0;
}

static void check_restore(struct world *w, struct job *job, const Weir__TaskId *id, const Weir__TaskRestore *restore)
{
    const struct sim_plan *plan = sim_plan(job, job->override);
    int t = 0;
    while (t < plan->task_count &&
           (plan->tasks[t].vertex != (int)id->vertex || plan->tasks[t].subtask != (int)id->subtask))
        t++;
    if (t == plan->task_count)
        violate(w, "restore-parts", "job %.8s has no task %" PRIu32 ".%" PRIu32, job->id, id->vertex, id->subtask);
    if (restore->checkpoint != job->head.newest && !store_may_fall_back(job, restore->checkpoint))
        violate(w, "restore-of-an-old-one", "job %.8s task %d: from %" PRIu64 ", HEAD names %" PRIu64, job->id, t,
                restore->checkpoint, job->head.newest);
    size_t parts = 0;
    bool at_end = false;
    for (size_t i = 0; i < restore->n_parts; i++) {
        struct part_bytes bytes;
        part_number(restore->parts[i], &bytes);
        at_end |= bytes.at == SIM_END;
        if ((int)restore->parts[i]->parallelism != plan->tasks[t].parallelism)
            count(w, restore->checkpoint == job->import_id ? C_import_other_parallelism : C_restored_other_parallelism);
    }
    for (int o = 0; o < plan->tasks[t].op_count; o++) {
        const struct sim_operator *op = &job->ops[plan->tasks[t].ops[o]];
        if (!restores_operator(&plan->tasks[t], op, restore))
            violate(w, "restore-parts", "job %.8s task %d: of operator %d", job->id, t, plan->tasks[t].ops[o]);
        for (size_t i = 0; i < restore->n_parts; i++)
            parts += strcmp(restore->parts[i]->uid, op->uid) == 0;
    }
    if (parts != restore->n_parts)
        violate(w, "restore-parts", "job %.8s task %d: parts of others", job->id, t);
    count(w, at_end ? C_restored_at_end : C_restored);
}

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
    if (!job->options.outlives_jobmanager && job->taken_over && !job->head.newest)
        violate(w, "unpromised-run", "job %.8s has no checkpoint, and its JobManager is another", job->id);
    if (deploy->n_restores && !job->periodic && job->head.newest > job->import_id)
        count(w, C_on_demand_restored);
    for (size_t i = 0; i < deploy->n_restores; i++)
        check_restore(w, job, deploy->tasks[deploy->restores[i]->task], deploy->restores[i]);
}

/* Nothing is under way beside a savepoint: what stops a job stops it at one barrier. */
static void check_alone(struct world *w, int jm, struct job *job, uint64_t id, uint32_t flags)
{
    const struct weir_jm_job *view = weir_jm_job_find(w->jms[jm].core, job->id);
    for (int i = 0; view && i < view->checkpoint_count; i++)
        if (view->checkpoints[i].status == WEIR_JM_CHECKPOINT_IN_PROGRESS && view->checkpoints[i].id != id &&
            (flags || sim_checkpoint(job, view->checkpoints[i].id)->flags))
            violate(w, "beside-a-savepoint", "job %.8s: %" PRIu64 " and %" PRIu64, job->id, id,
                    view->checkpoints[i].id);
}

void store_check_sent(struct world *w, int jm, const Weir__Control *control)
{
    switch (control->body_case) {
    case WEIR__CONTROL__BODY_DEPLOY_TASKS: {
        for (int i = 0; i < w->exec_count; i++)
            if (strcmp(w->execs[i].id, control->deploy_tasks->executor_id) == 0 && w->jobs[w->execs[i].job].checkpoints)
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
                uint32_t flags = control->trigger_checkpoint->flags;
                if (job->jm == jm && !checkpoint->triggered)
                    job->all_may_restart = (flags & (SIM_FLAG_STOP | SIM_FLAG_DRAIN)) != 0;
                if (flags & SIM_FLAG_DRAIN) /* an end, and no barrier */
                    break;
                if (job->jm == jm && !checkpoint->triggered)
                    check_alone(w, jm, job, id, flags);
                if (!checkpoint->triggered) {
                    checkpoint->flags = flags;
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
        if (job->checkpoints &&
            (!control->commit_output->checkpoint || !sim_checkpoint(job, control->commit_output->checkpoint)->named))
            violate(w, "commit-before-head", "job %.8s: checkpoint %" PRIu64, job->id,
                    control->commit_output->checkpoint);
        break;
    }
    default:
        break;
    }
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
