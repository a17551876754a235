/* Checkpoints: the coordinator, and what a job's HEAD says (protocol: "Checkpoint order").
 *
 *   TRIGGERED   barriers are sent; subtasks report their parts (exactly once each; a FINISHED one has given its part with that report)
 *   EXPORTING   a savepoint only: all parts are here, and what it needs is copied to its directory
 *   WRITING     all parts are here: the metadata object is being written
 *   WRITTEN     it is durable; the next write of HEAD will name it
 *   IN_HEAD     that write is under way: nobody knows whether the checkpoint is complete
 *   complete    HEAD names it: it is what a restart begins with, and its output is committed, in order, before any later one's
 *
 * When a region fails, every checkpoint that is not IN_HEAD yet is given up: a later restart from it would commit output of the failed
 * attempt that its successor produces again. Nothing is deployed while one is IN_HEAD, for the same reason: the
 * answer decides what the new attempt begins with. Nor is anything deployed before HEAD exists. Ids are never used twice: HEAD names a
 * bound below which they may be used, and is written before it is passed.
 *
 * A complete checkpoint stays in HEAD while it is one of the num-retained newest, or its output is not known to be published: without it
 * nobody could publish that after a restart. Giving up deletes nothing: objects go when HEAD's floor has passed the checkpoint whose name
 * they bear and no retained one refers to them (a task that has FINISHED may have written its last part long ago).
 */
#include "jobmanager/core/jm_checkpoint_int.h"

#include "base/hash.h"
#include "base/proto_memory.h"

/* --- HEAD */

static bool is_in_head(const struct job_checkpoints *c)
{
    for (int i = 0; i < c->pending_count; i++)
        if (c->pending[i]->state == CHECKPOINT_IN_HEAD)
            return true;
    return false;
}

static void add_retained(struct weir_jm *jm, Weir__Head *head, const struct weir_jm_retained *retained)
{
    Weir__RetainedCheckpoint *entry = weir_arena_alloc(&jm->arena, sizeof *entry);
    weir__retained_checkpoint__init(entry);
    entry->id = retained->id;
    entry->metadata = weir_arena_strdup(&jm->arena, retained->metadata);
    entry->sha256 = weir_arena_strdup(&jm->arena, retained->sha256);
    entry->size_bytes = retained->size_bytes;
    entry->triggered_ms = retained->triggered_ms;
    entry->completed_ms = retained->completed_ms;
    head->retained[head->n_retained++] = entry;
}

static uint32_t highest_attempt(const struct weir_jm_job *job)
{
    uint32_t highest = 0;
    for (int t = 0; t < job->task_count; t++)
        if (job->tasks[t].attempt > highest)
            highest = job->tasks[t].attempt;
    return highest;
}

static void add_configuration(struct weir_jm *jm, const struct weir_jm_job *job, Weir__Head *head)
{
    head->configuration =
        weir_arena_alloc(&jm->arena, (size_t)(job->configuration_count + 1) * sizeof *head->configuration);
    for (int i = 0; i < job->configuration_count; i++) {
        Weir__KeyValue *pair = head->configuration[head->n_configuration++] =
            weir_arena_alloc(&jm->arena, sizeof *pair);
        weir__key_value__init(pair);
        pair->key = (char *)(uintptr_t)job->configuration[i].key;
        pair->value = (char *)(uintptr_t)job->configuration[i].value;
    }
}

void weir_jm_checkpoint_deployed(struct job_checkpoints *c, const uint32_t *counts, size_t count)
{
    uint32_t most = 0;
    for (size_t i = 0; i < c->subtasks_max_count && c->subtasks_max_count != count; i++)
        most = c->subtasks_max[i] > most ? c->subtasks_max[i] : most;
    c->subtasks_max = weir_realloc(c->subtasks_max, (count + 1) * sizeof *c->subtasks_max);
    for (size_t i = 0; i < count; i++) {
        uint32_t before = c->subtasks_max_count == count ? c->subtasks_max[i] : most;
        c->subtasks_max[i] = counts[i] > before ? counts[i] : before;
    }
    c->subtasks_max_count = count;
}

static void add_subtasks_max(struct weir_jm *jm, const struct weir_jm_job *job, Weir__Head *head)
{
    struct job_checkpoints *c = job->in->checkpoints;
    uint32_t *counts = weir_arena_alloc(&jm->arena, (size_t)job->plan->vertex_count * sizeof *counts);
    for (int v = 0; v < job->plan->vertex_count; v++)
        counts[v] = (uint32_t)job->plan->vertices[v].parallelism;
    weir_jm_checkpoint_deployed(c, counts, (size_t)job->plan->vertex_count);
    head->subtasks_max = memcpy(counts, c->subtasks_max, c->subtasks_max_count * sizeof *counts);
    head->n_subtasks_max = c->subtasks_max_count;
}

/* Tasks build a checkpoint on what the one has that its barrier named as complete: that one stays as long. */
static uint64_t oldest_named(const struct job_checkpoints *c)
{
    uint64_t oldest = UINT64_MAX;
    for (int i = 0; i < c->pending_count; i++)
        if (c->pending[i]->named && c->pending[i]->named < oldest && c->pending[i]->state <= CHECKPOINT_WRITING)
            oldest = c->pending[i]->named;
    return oldest;
}

/* What HEAD is to say now. WRITTEN checkpoints go into it and are IN_HEAD from here. */
static void fill_head(struct weir_jm *jm, struct weir_jm_job *job, Weir__Head *head)
{
    struct job_checkpoints *c = job->in->checkpoints;
    weir__head__init(head);
    head->job_id = job->id;
    head->name = (char *)(uintptr_t)job->name;
    head->incarnation = 1;
    head->leader_epoch = jm->options.leader_epoch;
    if (c->next_id == 1 && weir_jm_garbage_is_settled(job) && !WEIR_MUTANT(jm_first_log_left))
        c->next_id++; /* output that waits for the first checkpoint has its name, also when there never was one */
    c->reserving_to = c->next_id + IDS_RESERVED;
    head->next_checkpoint = c->reserving_to;
    head->committed_upto = c->committed_upto;
    head->started_ms = job->started_ms;
    head->ended_ms = job->ended_ms;
    c->state_writing =
        job->in->cancel_wanted && !weir_job_state_terminal(job->state) ? WEIR_JOB_CANCELLING : job->state;
    head->job_state = (uint32_t)c->state_writing;
    c->attempts_writing = highest_attempt(job) + 1 + ATTEMPTS_RESERVED;
    head->next_attempt = c->attempts_writing;
    c->tasks_writing = job->tasks_version;
    if (c->claimed)
        head->claimed = c->claimed;
    head->output_open = !weir_job_state_terminal(job->state) || job->in->abort_wanted;
    if (job->cause) {
        head->failure_kind = job->cause->kind;
        head->failure = job->cause->message;
    }
    add_configuration(jm, job, head);
    head->retained = weir_arena_alloc(&jm->arena, (size_t)(job->retained_count + PENDING_MAX) * sizeof *head->retained);
    for (int i = 0; i < job->retained_count; i++)
        add_retained(jm, head, &job->retained[i]);
    weir_jm_garbage_leaving(c);
    for (int i = 0; i < c->pending_count; i++) {
        if (c->pending[i]->state != CHECKPOINT_WRITTEN)
            continue;
        c->pending[i]->state = CHECKPOINT_IN_HEAD;
        c->pending[i]->entry.completed_ms = jm->wall_ms;
        add_retained(jm, head, &c->pending[i]->entry);
    }
    uint64_t named = oldest_named(c);
    size_t over = 0;
    while (head->n_retained - over > (size_t)job->options.checkpoints_retained && head->retained[over]->id < named &&
           (head->retained[over]->id <= c->committed_upto || WEIR_MUTANT(jm_uncommitted_dropped)))
        over++;
    head->n_retained -= over;
    memmove(head->retained, head->retained + over, head->n_retained * sizeof *head->retained);
    bool nothing = weir_jm_garbage_keeps_nothing(job);
    if (nothing)
        head->n_retained = 0;
    c->oldest_writing = head->n_retained ? head->retained[0]->id : nothing ? c->next_id : 0;
    c->floor_writing = weir_jm_garbage_is_settled(job) ? c->next_id : c->oldest_writing;
    if (c->floor_writing < c->floor_written)
        c->floor_writing = c->floor_written;
    head->gc_floor = c->floor_writing;
    head->graph_sha256 = weir_arena_alloc(&jm->arena, 65);
    weir_sha256_hex(job->in->graph, job->in->graph_size, head->graph_sha256);
    head->code_sha256 = job->plan->graph->code_sha256;
    add_subtasks_max(jm, job, head);
}

static void act_on_head(struct weir_jm *jm, struct weir_jm_job *job, enum weir_head_action action);

/* The first HEAD is to name what the job begins with: without it a later JobManager would begin from nothing. */
static bool is_importing(const struct job_checkpoints *c)
{
    for (int i = 0; i < c->pending_count; i++)
        if (c->pending[i]->import && c->pending[i]->state == CHECKPOINT_WRITING)
            return !WEIR_MUTANT(jm_import_unnamed);
    return false;
}

/* One write at a time: what changes meanwhile goes into the next. */
static void write_head(struct weir_jm *jm, struct weir_jm_job *job)
{
    struct job_checkpoints *c = job->in->checkpoints;
    if (!c->head_dirty || c->head.state != WEIR_HEAD_IDLE || job->in->submitting_store || is_importing(c))
        return;
    c->head_dirty = false;
    Weir__Head head;
    fill_head(jm, job, &head);
    uint64_t nonce[2] = {weir_jm_random(jm), weir_jm_random(jm)};
    head.nonce.data = (uint8_t *)nonce;
    head.nonce.len = sizeof nonce;
    free(c->head_bytes);
    c->head_size = weir__head__get_packed_size(&head);
    c->head_bytes = weir_alloc(c->head_size);
    weir__head__pack(&head, c->head_bytes);
    act_on_head(jm, job, weir_head_write(&c->head, (const uint8_t *)nonce));
}

/* --- Completion */

static struct weir_jm_checkpoint *record_of(struct weir_jm_job *job, uint64_t id)
{
    int i = 0;
    while (i < job->checkpoint_count && job->checkpoints[i].id != id)
        i++;
    weir_assert(i < job->checkpoint_count); /* more are kept than can be under way, and those stay */
    return &job->checkpoints[i];
}

static void free_record(struct weir_jm_checkpoint *record)
{
    free(record->path);
    free(record->failure);
    free(record->parts);
}

static int64_t snapshot_size(const Weir__SubtaskSnapshot *snapshot)
{
    int64_t size = 0;
    for (size_t i = 0; snapshot && i < snapshot->n_parts; i++)
        size += snapshot->parts[i]->size;
    return size;
}

/* Of it, what checkpoint `id` has written; the rest is in objects of earlier ones. */
static int64_t written_size(const Weir__SubtaskSnapshot *snapshot, uint64_t id)
{
    char of_id[32];
    int64_t size = 0;
    snprintf(of_id, sizeof of_id, "/chk-%" PRIu64 "/", id);
    for (size_t i = 0; snapshot && i < snapshot->n_parts; i++)
        if (!snapshot->parts[i]->object[0] || strstr(snapshot->parts[i]->object, of_id))
            size += snapshot->parts[i]->size;
    return size;
}

static void begun(struct weir_jm *jm, struct weir_jm_job *job, const struct checkpoint *checkpoint)
{
    if (!job->checkpoints)
        job->checkpoints = weir_zalloc(WEIR_JM_CHECKPOINTS_KEPT * sizeof *job->checkpoints);
    int last = job->checkpoint_count;
    if (last == WEIR_JM_CHECKPOINTS_KEPT) { /* the oldest that has ended goes */
        last--;
        while (job->checkpoints[last].status == WEIR_JM_CHECKPOINT_IN_PROGRESS)
            last--;
        free_record(&job->checkpoints[last]);
    } else {
        job->checkpoint_count++;
    }
    memmove(job->checkpoints + 1, job->checkpoints, (size_t)last * sizeof *job->checkpoints);
    job->checkpoints[0] = (struct weir_jm_checkpoint){.id = checkpoint->id,
                                                      .status = WEIR_JM_CHECKPOINT_IN_PROGRESS,
                                                      .triggered_ms = jm->wall_ms,
                                                      .ended_ms = -1,
                                                      .acknowledged_ms = -1,
                                                      .tasks_version = job->tasks_version,
                                                      .task_count = job->task_count};
    job->checkpoints[0].parts = weir_alloc((size_t)job->task_count * sizeof(struct weir_jm_checkpoint_part));
    for (int t = 0; t < job->task_count; t++)
        job->checkpoints[0].parts[t] = (struct weir_jm_checkpoint_part){
            .acknowledged_ms = job->tasks[t].finished ? 0 : -1,
            .size_bytes = snapshot_size(job->tasks[t].finished ? job->tasks[t].finished->task_report->snapshot : NULL)};
    job->version++;
}

/* Complete (`why` NULL) or not. */
static void ended(struct weir_jm *jm, struct weir_jm_job *job, const struct checkpoint *checkpoint, const char *why)
{
    if (checkpoint->import)
        return;
    struct weir_jm_checkpoint *record = record_of(job, checkpoint->id);
    bool good = !why || WEIR_MUTANT(jm_failed_shown_complete);
    record->status = good ? WEIR_JM_CHECKPOINT_COMPLETED : WEIR_JM_CHECKPOINT_FAILED;
    record->ended_ms = jm->wall_ms;
    record->failure = why ? weir_strdup(why) : NULL;
    weir_jm_operation_checkpoint_ended(jm, job, checkpoint->id, why);
    job->in->checkpoints->pause_until_ms = later_ms(jm->now_ms, job->options.checkpoint_pause_ms);
}

static void free_checkpoint(const struct weir_jm_job *job, struct checkpoint *checkpoint)
{
    for (int t = 0; t < job->task_count && checkpoint->reports; t++)
        if (checkpoint->reports[t])
            weir__control__free_unpacked(checkpoint->reports[t], NULL);
    free(checkpoint->reports);
    free(checkpoint->target);
    weir__snapshot__free_unpacked(checkpoint->snapshot, NULL);
    weir_jm_references_free(&checkpoint->needs);
    weir_jm_references_free(&checkpoint->base_needs);
    free(checkpoint);
}

static void remove_pending(struct weir_jm_job *job, int index)
{
    struct job_checkpoints *c = job->in->checkpoints;
    free_checkpoint(job, c->pending[index]);
    c->pending_count--;
    memmove(&c->pending[index], &c->pending[index + 1],
            (size_t)(c->pending_count - index) * sizeof(struct checkpoint *));
}

void weir_jm_checkpoint_retain(struct weir_jm_job *job, const struct weir_jm_retained *entry,
                               Weir__Snapshot *take_snapshot)
{
    struct job_checkpoints *c = job->in->checkpoints;
    job->retained = weir_realloc(job->retained, (size_t)(job->retained_count + 1) * sizeof *job->retained);
    c->references = weir_realloc(c->references, (size_t)(job->retained_count + 1) * sizeof *c->references);
    c->references[job->retained_count] =
        take_snapshot ? weir_jm_references_of(take_snapshot) : (struct references){.unknown = true};
    c->references[job->retained_count].snapshot = take_snapshot;
    c->latest = take_snapshot;
    job->retained[job->retained_count++] = *entry;
}

/* What HEAD names no more is not retained. */
static void release_retained(struct weir_jm *jm, struct weir_jm_job *job)
{
    struct job_checkpoints *c = job->in->checkpoints;
    int n = 0;
    while (n < job->retained_count && job->retained[n].id < c->oldest_written)
        n++;
    if (n == 0)
        return;
    struct weir_jm_retained *retained = weir_arena_alloc(&jm->arena, (size_t)n * sizeof *retained);
    struct references *references = weir_arena_alloc(&jm->arena, (size_t)n * sizeof *references);
    memcpy(retained, job->retained, (size_t)n * sizeof *retained);
    memcpy(references, c->references, (size_t)n * sizeof *references);
    job->retained_count -= n;
    if (job->retained_count == 0)
        c->latest = NULL;
    memmove(job->retained, job->retained + n, (size_t)job->retained_count * sizeof *job->retained);
    memmove(c->references, c->references + n, (size_t)job->retained_count * sizeof *c->references);
    for (int i = 0; i < n; i++) {
        weir_jm_garbage_release(jm, job, &retained[i], &references[i]);
        weir_jm_references_free(&references[i]);
    }
}

/* HEAD names it. */
static void complete(struct weir_jm *jm, struct weir_jm_job *job, struct checkpoint *checkpoint)
{
    struct job_checkpoints *c = job->in->checkpoints;
    weir_jm_checkpoint_retain(job, &checkpoint->entry, checkpoint->snapshot);
    c->failures = 0;
    job->checkpoints_completed += !checkpoint->import;
    for (int t = 0; t < job->task_count && !checkpoint->import; t++)
        if (job->tasks[t].finished && !checkpoint->reports[t])
            c->output_complete[t] = true;
    ended(jm, job, checkpoint, NULL);
    weir_jm_log(jm, WEIR_JM_LOG_INFO, job,
                "job %s: checkpoint %" PRIu64 " is complete: %" PRId64 " bytes, %" PRId64 " ms", job->name,
                checkpoint->id, checkpoint->entry.size_bytes, jm->now_ms - checkpoint->triggered_ms);
    weir_jm_transactions_complete(jm, job, checkpoint);
    bool nothing = WEIR_MUTANT(jm_stop_unpublished) && checkpoint->flags & FLAG_STOP;
    weir_jm_job_add_commit(jm, job, checkpoint->id, checkpoint->final, c->latest->committables,
                           nothing ? 0 : c->latest->n_committables);
    checkpoint->snapshot = NULL;
    weir_jm_savepoint_complete(jm, job, checkpoint);
}

/* An older one that is not there yet can be of no use any more: the newer one has brought its output too. */
static void subsumed(struct weir_jm *jm, struct weir_jm_job *job, struct checkpoint *checkpoint)
{
    weir_jm_log(jm, WEIR_JM_LOG_INFO, job, "job %s: checkpoint %" PRIu64 " is given up: a newer one is complete",
                job->name, checkpoint->id);
    ended(jm, job, checkpoint, "a newer one is complete");
    job->checkpoints_failed++;
}

static void head_written(struct weir_jm *jm, struct weir_jm_job *job)
{
    struct job_checkpoints *c = job->in->checkpoints;
    c->reserved_to = c->reserving_to;
    c->attempts_to = c->attempts_writing;
    c->state_written = c->state_writing;
    c->tasks_written = c->tasks_writing;
    c->floor_written = c->floor_writing;
    c->oldest_written = c->oldest_writing;
    int last = -1;
    for (int i = 0; i < c->pending_count; i++)
        if (c->pending[i]->state == CHECKPOINT_IN_HEAD)
            last = i;
    for (int i = 0; i <= last; last--) {
        if (c->pending[i]->state == CHECKPOINT_IN_HEAD) {
            complete(jm, job, c->pending[i]);
        } else if (WEIR_MUTANT(jm_older_after_newer)) {
            i++;
            last++;
            continue;
        } else {
            subsumed(jm, job, c->pending[i]);
        }
        remove_pending(job, i);
    }
    release_retained(jm, job);
    weir_jm_garbage_left(jm, job);
    weir_jm_garbage_floor(jm, job);
    job->version++;
    weir_jm_head_recorded(jm, job);
}

static void act_on_head(struct weir_jm *jm, struct weir_jm_job *job, enum weir_head_action action)
{
    struct job_checkpoints *c = job->in->checkpoints;
    struct weir_jm_effect *effect;
    switch (action) {
    case WEIR_HEAD_NOTHING:
        return; /* set_timer() looks at the machine's own */
    case WEIR_HEAD_PUT:
        effect = weir_jm_effect(jm, WEIR_JM_EFFECT_HEAD_PUT);
        effect->job_id = weir_arena_strdup(&jm->arena, job->id);
        effect->tag = c->head.exists ? weir_arena_strdup(&jm->arena, c->head.tag) : NULL;
        effect->bytes = memcpy(weir_arena_alloc(&jm->arena, c->head_size), c->head_bytes, c->head_size);
        effect->size = c->head_size;
        return;
    case WEIR_HEAD_GET:
        weir_jm_effect(jm, WEIR_JM_EFFECT_HEAD_GET)->job_id = weir_arena_strdup(&jm->arena, job->id);
        return;
    case WEIR_HEAD_DONE:
        head_written(jm, job);
        return;
    case WEIR_HEAD_LOST:
        weir_jm_head_lost(jm, job);
        return;
    }
}

void weir_jm_head_event(struct weir_jm *jm, const struct weir_jm_event *event)
{
    struct weir_jm_job *job = weir_jm_job_get(jm, event->job_id);
    if (!job || !job->in->checkpoints)
        return;
    struct weir_head *head = &job->in->checkpoints->head;
    job->in->checkpoints->epoch_seen = event->leader_epoch;
    if (WEIR_MUTANT(jm_acknowledged_early) && job->in->submitting && event->put_result == WEIR_HEAD_PUT_UNKNOWN)
        weir_jm_reply(jm, job->in->submit_request, WEIR_OK, "");
    if (event->kind == WEIR_JM_EVENT_HEAD_PUT && event->put_result == WEIR_HEAD_PUT_UNKNOWN && !head->exists)
        job->in->checkpoints->created_in_doubt_ms = jm->now_ms;
    act_on_head(jm, job,
                event->kind == WEIR_JM_EVENT_HEAD_PUT
                    ? weir_head_put_done(head, event->put_result, event->tag)
                    : weir_head_got(head, event->get_result, event->tag, event->nonce, jm->now_ms));
}

/* --- Failure */

static void checkpoint_failed(struct weir_jm *jm, struct weir_jm_job *job, int index, bool counts, const char *why)
{
    struct job_checkpoints *c = job->in->checkpoints;
    struct checkpoint *checkpoint = c->pending[index];
    uint64_t id = checkpoint->id;
    weir_jm_log(jm, WEIR_JM_LOG_WARN, job, "job %s: checkpoint %" PRIu64 " failed: %s", job->name, id, why);
    ended(jm, job, checkpoint, why);
    if (WEIR_MUTANT(jm_dropped_on_abort))
        weir_jm_garbage_passed(job, id, jm->now_ms);
    if (checkpoint->final) { /* it is tried again */
        c->final_begun = false;
        c->pause_until_ms = later_ms(jm->now_ms, FINAL_AGAIN_MS);
    }
    counts &= !checkpoint->target && !(checkpoint->flags & FLAG_STOP);
    weir_jm_savepoint_failed(jm, job, checkpoint, why);
    remove_pending(job, index);
    job->checkpoints_failed++;
    job->version++;
    if (!counts || job->options.checkpoint_interval_ms == 0 || ++c->failures <= job->options.checkpoints_tolerable)
        return;
    Weir__Failure failure;
    weir__failure__init(&failure);
    failure.kind = (char *)"CheckpointsFailed";
    failure.message = weir_arena_format(
        &jm->arena,
        "checkpoint %" PRIu64 " failed (%s), and execution.checkpointing.tolerable-failed-checkpoints is %" PRId64, id,
        why, job->options.checkpoints_tolerable);
    weir_jm_exception(jm, job, NULL, "", &failure);
    if (job->state == WEIR_JOB_RUNNING || job->state == WEIR_JOB_RESTARTING)
        weir_jm_job_fail(jm, job, &failure);
}

void weir_jm_checkpoints_abort(struct weir_jm *jm, struct weir_jm_job *job, const char *why)
{
    struct job_checkpoints *c = job->in->checkpoints;
    for (int i = c ? c->pending_count : 0; i-- > 0;)
        if (c->pending[i]->state != CHECKPOINT_IN_HEAD || WEIR_MUTANT(jm_in_head_aborted))
            checkpoint_failed(jm, job, i, false, why);
}

bool weir_jm_checkpoint_undecided(const struct weir_jm_job *job)
{
    const struct job_checkpoints *c = job->in->checkpoints;
    return c && (!c->head.exists || c->taking_over || (is_in_head(c) && !WEIR_MUTANT(jm_restore_undecided)));
}

/* --- Parts */

static void add_parts(Weir__Snapshot *snapshot, const Weir__SubtaskSnapshot *from, bool output, int64_t *size)
{
    for (size_t i = 0; from && i < from->n_parts; i++) {
        snapshot->parts[snapshot->n_parts++] = from->parts[i];
        *size += from->parts[i]->size;
    }
    for (size_t i = 0; from && output && i < from->n_committables; i++)
        snapshot->committables[snapshot->n_committables++] = from->committables[i];
}

static const Weir__SubtaskSnapshot *part_of(const struct weir_jm_job *job, const struct checkpoint *checkpoint, int t)
{
    if (checkpoint->reports[t])
        return checkpoint->reports[t]->checkpoint_report->snapshot;
    return job->tasks[t].finished ? job->tasks[t].finished->task_report->snapshot : NULL;
}

static void add_operators(struct weir_jm *jm, const struct weir_jm_job *job, Weir__Snapshot *whole)
{
    const struct weir_plan *plan = job->plan;
    whole->operators = weir_arena_alloc(&jm->arena, (size_t)plan->op_count * sizeof *whole->operators);
    for (int i = 0; i < plan->op_count; i++) {
        const struct weir_plan_vertex *vertex = &plan->vertices[plan->ops[i].chain];
        Weir__SnapshotOperator *op = weir_arena_alloc(&jm->arena, sizeof *op);
        weir__snapshot_operator__init(op);
        op->uid = (char *)(uintptr_t)plan->ops[i].uid;
        op->name = plan->ops[i].vertex->name;
        op->given_uid = plan->ops[i].vertex->uid;
        op->parallelism = (uint32_t)vertex->parallelism;
        whole->operators[whole->n_operators++] = op;
        if ((uint32_t)vertex->max_parallelism > whole->max_parallelism)
            whole->max_parallelism = (uint32_t)vertex->max_parallelism;
    }
}

/* The metadata object, which nobody changes afterwards. */
static void put_metadata(struct weir_jm *jm, struct weir_jm_job *job, struct checkpoint *checkpoint)
{
    size_t size = weir__snapshot__get_packed_size(checkpoint->snapshot);
    uint8_t *bytes = weir_arena_alloc(&jm->arena, size + 1);
    weir__snapshot__pack(checkpoint->snapshot, bytes);
    weir_sha256_hex(bytes, size, checkpoint->entry.sha256);
    checkpoint->state = CHECKPOINT_WRITING;
    if (WEIR_MUTANT(jm_head_before_metadata)) {
        checkpoint->state = CHECKPOINT_WRITTEN;
        job->in->checkpoints->head_dirty = true;
    }
    struct weir_jm_effect *effect = weir_jm_effect(jm, WEIR_JM_EFFECT_STORE_PUT);
    effect->job_id = weir_arena_strdup(&jm->arena, job->id);
    effect->checkpoint = checkpoint->id;
    effect->text = weir_arena_strdup(&jm->arena, checkpoint->entry.metadata);
    effect->bytes = bytes;
    effect->size = size;
}

/* All parts are here. */
static void write_metadata(struct weir_jm *jm, struct weir_jm_job *job, struct checkpoint *checkpoint)
{
    size_t parts = 0, committables = 0;
    for (int t = 0; t < job->task_count; t++) {
        const Weir__SubtaskSnapshot *part = part_of(job, checkpoint, t);
        parts += part ? part->n_parts : 0;
        committables += part ? part->n_committables : 0;
    }
    Weir__Snapshot whole;
    weir__snapshot__init(&whole);
    whole.version = 1;
    whole.job_id = job->id;
    whole.job_name = (char *)(uintptr_t)job->name;
    whole.checkpoint = checkpoint->id;
    whole.triggered_ms = checkpoint->triggered_wall_ms;
    whole.weir_version = (char *)WEIR_VERSION;
    whole.final = checkpoint->final;
    add_operators(jm, job, &whole);
    whole.parts = weir_arena_alloc(&jm->arena, (parts + 1) * sizeof *whole.parts);
    whole.committables = weir_arena_alloc(&jm->arena, (committables + 1) * sizeof *whole.committables);
    int64_t size = 0;
    for (int t = 0; t < job->task_count; t++)
        add_parts(&whole, part_of(job, checkpoint, t),
                  checkpoint->reports[t] || !job->in->checkpoints->output_complete[t], &size);
    weir_jm_savepoint_order(job, &whole);
    size_t packed = weir__snapshot__get_packed_size(&whole);
    uint8_t *bytes = weir_arena_alloc(&jm->arena, packed + 1);
    weir__snapshot__pack(&whole, bytes);
    checkpoint->snapshot = weir__snapshot__unpack(&weir_proto_memory, packed, bytes);
    weir_assert(checkpoint->snapshot);
    checkpoint->needs = weir_jm_references_of(checkpoint->snapshot);
    struct weir_jm_retained *entry = &checkpoint->entry;
    entry->id = checkpoint->id;
    entry->size_bytes = size;
    entry->triggered_ms = checkpoint->triggered_wall_ms;
    snprintf(entry->metadata, sizeof entry->metadata, "jobs/%s/chk-%" PRIu64 "/metadata", job->id, checkpoint->id);
    record_of(job, checkpoint->id)->size_bytes = size;
    if (checkpoint->target && !WEIR_MUTANT(jm_export_skipped)) {
        checkpoint->state = CHECKPOINT_EXPORTING;
        weir_jm_savepoint_export(jm, job, checkpoint);
    } else {
        put_metadata(jm, job, checkpoint);
    }
}

static int find_pending(const struct weir_jm_job *job, uint64_t id)
{
    const struct job_checkpoints *c = job->in->checkpoints;
    for (int i = 0; c && i < c->pending_count; i++)
        if (c->pending[i]->id == id)
            return i;
    return -1;
}

static void part_is_here(struct weir_jm *jm, struct weir_jm_job *job, struct checkpoint *checkpoint, int t)
{
    struct weir_jm_checkpoint *record = record_of(job, checkpoint->id);
    checkpoint->missing--;
    job->version++;
    record->acknowledged++;
    record->acknowledged_ms = record->parts[t].acknowledged_ms = jm->wall_ms;
    record->parts[t].size_bytes = snapshot_size(part_of(job, checkpoint, t));
    record->parts[t].new_bytes = written_size(part_of(job, checkpoint, t), checkpoint->id);
    if (checkpoint->missing == 0 || (WEIR_MUTANT(jm_part_missing) && checkpoint->missing == 1))
        write_metadata(jm, job, checkpoint);
}

void weir_jm_checkpoint_report(struct weir_jm *jm, struct weir_jm_job *job, struct weir_jm_task *task,
                               const Weir__Control *control)
{
    const Weir__CheckpointReport *report = control->checkpoint_report;
    int index = find_pending(job, report->checkpoint), t = (int)(task - job->tasks);
    struct job_checkpoints *c = job->in->checkpoints;
    if (c && report->checkpoint > c->reported[t])
        c->reported[t] = report->checkpoint;
    if (index < 0 || weir_task_state_terminal(task->state))
        return;
    struct checkpoint *checkpoint = job->in->checkpoints->pending[index];
    if (checkpoint->state != CHECKPOINT_TRIGGERED || (checkpoint->reports[t] && !WEIR_MUTANT(jm_part_twice)))
        return;
    if (report->failure) {
        checkpoint_failed(jm, job, index, true, report->failure->message);
        return;
    }
    if (checkpoint->reports[t])
        weir__control__free_unpacked(checkpoint->reports[t], NULL);
    checkpoint->reports[t] = weir_jm_control_copy(control);
    struct weir_jm_checkpoint_part *part = &record_of(job, checkpoint->id)->parts[t];
    part->alignment_ms = report->alignment_ms;
    part->persisted_bytes = report->persisted_bytes;
    part->processed_bytes = report->processed_bytes;
    part->sync_ms = report->sync_ms;
    part->async_ms = report->async_ms;
    part->unaligned = report->unaligned;
    part_is_here(jm, job, checkpoint, t);
}

void weir_jm_stored(struct weir_jm *jm, const struct weir_jm_event *event)
{
    struct weir_jm_job *job = weir_jm_job_get(jm, event->job_id);
    int index = job ? find_pending(job, event->checkpoint) : -1;
    struct checkpoint *checkpoint = index < 0 ? NULL : job->in->checkpoints->pending[index];
    if (!checkpoint || (checkpoint->state != CHECKPOINT_WRITING && checkpoint->state != CHECKPOINT_EXPORTING))
        return;
    if (event->text && checkpoint->import) {
        weir_jm_submission_failed(jm, job, WEIR_ERR_IO, event->text);
        return;
    }
    if (event->text) {
        checkpoint_failed(jm, job, index, true, event->text);
        return;
    }
    if (checkpoint->state == CHECKPOINT_EXPORTING) {
        put_metadata(jm, job, checkpoint);
        return;
    }
    if (WEIR_MUTANT(jm_complete_before_head))
        weir_jm_transactions_complete(jm, job, checkpoint);
    if (WEIR_MUTANT(jm_commit_before_head)) {
        const Weir__Snapshot *snapshot = job->in->checkpoints->pending[index]->snapshot;
        weir_jm_job_add_commit(jm, job, event->checkpoint, false, snapshot->committables, snapshot->n_committables);
    }
    job->in->checkpoints->pending[index]->state = CHECKPOINT_WRITTEN;
    job->in->checkpoints->head_dirty = true;
}

/* --- Trigger */

/* A source, or a task whose producers have all finished. */
static bool is_root(const struct weir_jm_job *job, const struct weir_jm_task *task)
{
    const struct weir_plan_vertex *vertex = &job->plan->vertices[task->vertex];
    for (int i = 0; i < vertex->input_count; i++) {
        const struct weir_plan_edge *edge = &job->plan->edges[vertex->inputs[i]];
        const struct weir_plan_vertex *from = &job->plan->vertices[edge->from_vertex];
        for (int s = 0; s < from->parallelism; s++)
            if ((edge->partition != WEIR__PARTITION__FORWARD || s == task->subtask) &&
                job->tasks[from->first_task + s].state != WEIR__TASK_STATE__FINISHED)
                return false;
    }
    return true;
}

/* Does it get anything of task `from`? */
static bool consumes(const struct weir_jm_job *job, const struct weir_jm_task *task, const struct weir_jm_task *from)
{
    const struct weir_plan_vertex *vertex = &job->plan->vertices[task->vertex];
    for (int i = 0; i < vertex->input_count; i++) {
        const struct weir_plan_edge *edge = &job->plan->edges[vertex->inputs[i]];
        if (edge->from_vertex == from->vertex &&
            (edge->partition != WEIR__PARTITION__FORWARD || from->subtask == task->subtask))
            return true;
    }
    return false;
}

size_t weir_jm_running_on(struct weir_jm *jm, struct weir_jm_job *job, const struct weir_jm_executor *executor,
                          const struct checkpoint *checkpoint,
                          bool (*wanted)(const struct weir_jm_job *job, int t, const struct checkpoint *checkpoint,
                                         const void *arg),
                          const void *arg, Weir__TaskId ***list)
{
    size_t n = 0;
    *list = NULL;
    for (int t = 0; t < job->task_count && executor->job == job; t++) {
        const struct weir_jm_task *task = &job->tasks[t];
        if (job->in->executors[t] != executor || task->state != WEIR__TASK_STATE__RUNNING ||
            !wanted(job, t, checkpoint, arg))
            continue;
        if (!*list)
            *list = weir_arena_alloc(&jm->arena, (size_t)job->task_count * sizeof **list);
        Weir__TaskId *id = (*list)[n++] = weir_arena_alloc(&jm->arena, sizeof *id);
        weir__task_id__init(id);
        id->vertex = (uint32_t)task->vertex;
        id->subtask = (uint32_t)task->subtask;
        id->attempt = task->attempt;
    }
    return n;
}

/* `arg`: a task whose consumers alone are meant, or NULL */
static bool is_triggered(const struct weir_jm_job *job, int t, const struct checkpoint *checkpoint, const void *arg)
{
    const struct weir_jm_task *task = &job->tasks[t];
    return !checkpoint->reports[t] && is_root(job, task) && (!arg || consumes(job, task, arg));
}

/* To the roots whose part is not here, or, with `of`, to its consumers among them. A task that has passed the barrier takes a second
 * trigger as none. */
static void send_triggers(struct weir_jm *jm, struct weir_jm_job *job, const struct checkpoint *checkpoint,
                          const struct weir_jm_task *of)
{
    for (int e = 0; e < jm->executor_count; e++) {
        struct weir_jm_executor *executor = jm->executors[e];
        Weir__TriggerCheckpoint trigger;
        weir__trigger_checkpoint__init(&trigger);
        trigger.n_tasks = weir_jm_running_on(jm, job, executor, checkpoint, is_triggered, of, &trigger.tasks);
        if (trigger.n_tasks == 0)
            continue;
        trigger.executor_id = executor->id;
        trigger.checkpoint = checkpoint->id;
        trigger.flags = checkpoint->flags;
        trigger.complete = job->in->checkpoints->latest ? job->in->checkpoints->latest->checkpoint : 0;
        Weir__Control control;
        weir__control__init(&control);
        control.body_case = WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT;
        control.trigger_checkpoint = &trigger;
        weir_jm_command(jm, executor->tm, &control);
    }
}

/* Its last snapshot is its part, unless it has passed a newer barrier: then it gave this one up, and its end is no part of the same cut.
 * Tasks that had only finished producers left may have become roots: no barrier comes to them any more. */
void weir_jm_checkpoint_task_finished(struct weir_jm *jm, struct weir_jm_job *job, int t)
{
    struct job_checkpoints *c = job->in->checkpoints;
    if (!c)
        return;
    c->output_complete[t] = false;
    if (c->draining && !WEIR_MUTANT(jm_drain_forgets_readers))
        weir_jm_checkpoint_drain(jm, job, &job->tasks[t]);
    for (int i = c->pending_count; i-- > 0;)
        if (c->pending[i]->state == CHECKPOINT_TRIGGERED && !c->pending[i]->reports[t] &&
            c->reported[t] > c->pending[i]->id && !WEIR_MUTANT(jm_skipped_barrier))
            checkpoint_failed(jm, job, i, false, "a subtask gave it up for a newer one");
    for (int i = 0; i < c->pending_count; i++) {
        struct checkpoint *checkpoint = c->pending[i];
        if (checkpoint->state == CHECKPOINT_TRIGGERED && !checkpoint->reports[t])
            part_is_here(jm, job, checkpoint, t);
        if (checkpoint->state == CHECKPOINT_TRIGGERED && !WEIR_MUTANT(jm_late_root_forgotten))
            send_triggers(jm, job, checkpoint, &job->tasks[t]);
    }
}

static struct checkpoint *new_checkpoint(struct weir_jm *jm, struct weir_jm_job *job)
{
    struct job_checkpoints *c = job->in->checkpoints;
    struct checkpoint *checkpoint = weir_zalloc(sizeof *checkpoint);
    checkpoint->id = c->next_id++;
    checkpoint->triggered_ms = jm->now_ms;
    checkpoint->triggered_wall_ms = jm->wall_ms;
    checkpoint->deadline_ms = later_ms(jm->now_ms, job->options.checkpoint_timeout_ms);
    checkpoint->reports = weir_zalloc((size_t)job->task_count * sizeof(Weir__Control *));
    weir_jm_garbage_base(job, checkpoint);
    c->pending[c->pending_count++] = checkpoint;
    begun(jm, job, checkpoint);
    return checkpoint;
}

/* Ids that HEAD allows are there, and room for what is not committed yet. */
bool weir_jm_checkpoint_may_begin(const struct weir_jm_job *job)
{
    struct job_checkpoints *c = job->in->checkpoints;
    if (c->next_id >= c->reserved_to && !WEIR_MUTANT(jm_ids_unreserved)) {
        c->head_dirty |= c->head.state == WEIR_HEAD_IDLE; /* a write that is under way reserves some */
        return false;
    }
    return c->pending_count < PENDING_MAX && c->pending_count + job->in->commit_count < COMMITS_MAX;
}

/* How many run, when the others have FINISHED; 0: not all are up, or none is left. */
int weir_jm_running_tasks(const struct weir_jm_job *job)
{
    int running = 0;
    if (job->in->restart_all && !WEIR_MUTANT(jm_halted_triggered)) /* they have halted */
        return 0;
    for (int t = 0; t < job->task_count; t++) {
        if (job->tasks[t].state == WEIR__TASK_STATE__RUNNING)
            running++;
        else if (job->tasks[t].state != WEIR__TASK_STATE__FINISHED)
            return 0;
    }
    return job->state == WEIR_JOB_RUNNING ? running : 0;
}

struct checkpoint *weir_jm_checkpoint_trigger(struct weir_jm *jm, struct weir_jm_job *job, uint32_t flags,
                                              char *take_target)
{
    int running = weir_jm_running_tasks(job);
    struct checkpoint *checkpoint = new_checkpoint(jm, job);
    job->checkpointed = true;
    checkpoint->missing = running;
    checkpoint->named = job->in->checkpoints->latest ? job->in->checkpoints->latest->checkpoint : 0;
    checkpoint->flags = flags;
    checkpoint->target = take_target;
    struct weir_jm_checkpoint *record = record_of(job, checkpoint->id);
    record->acknowledged = job->task_count - running;
    record->savepoint = take_target != NULL;
    record->path = take_target ? weir_strdup(take_target) : NULL;
    send_triggers(jm, job, checkpoint, NULL);
    return checkpoint;
}

void weir_jm_checkpoint_drain(struct weir_jm *jm, struct weir_jm_job *job, const struct weir_jm_task *of)
{
    job->checkpointed = true;
    struct checkpoint none = {.id = job->in->checkpoints->draining, .flags = FLAG_DRAIN};
    none.reports = weir_arena_zalloc(&jm->arena, (size_t)job->task_count * sizeof(Weir__Control *));
    send_triggers(jm, job, &none, of);
}

/* Something is under way, or waits, beside which no other checkpoint begins. */
static bool is_alone(const struct weir_jm_job *job)
{
    const struct job_checkpoints *c = job->in->checkpoints;
    return !WEIR_MUTANT(jm_beside_savepoint) && (c->savepoint_waits || weir_jm_savepoint_pending(c));
}

/* When people are told that output which waits to be published holds back the checkpoint that is due. */
static int64_t output_slow_ms(const struct job_checkpoints *c)
{
    return later_ms(c->next_trigger_ms, OUTPUT_SLOW_MS);
}

/* As many wait to be published as hold back the next one. */
static bool output_waits(struct weir_jm *jm, struct weir_jm_job *job)
{
    struct job_checkpoints *c = job->in->checkpoints;
    bool waits = job->in->commit_count >= OUTPUTS_WAITING;
    if (waits && !c->output_is_slow && jm->now_ms >= output_slow_ms(c)) {
        c->output_is_slow = true;
        weir_jm_job_set_status(job, OUTPUT_SLOW "that of checkpoint %" PRIu64 " is not there yet",
                               job->in->commits[0].checkpoint);
        weir_jm_log(
            jm, WEIR_JM_LOG_WARN, job,
            "job %s: no checkpoint has begun by itself for %d s: output of %d waits to be published, first that of checkpoint "
            "%" PRIu64 "; the log of TaskManager %s says what it waits for",
            job->name, OUTPUT_SLOW_MS / 1000, job->in->commit_count, job->in->commits[0].checkpoint,
            job->in->output_tm ? job->in->output_tm->id : "(there is none)");
    }
    if (!waits && c->output_is_slow) {
        c->output_is_slow = false;
        if (strncmp(job->status, OUTPUT_SLOW, strlen(OUTPUT_SLOW)) == 0)
            weir_jm_job_set_status(job, "%s", "");
    }
    return waits;
}

/* The first one is an interval after all tasks run, also after a restart. None begins while output of two is on its way: where publishing takes
 * longer than an interval, more would only wait in line, and output gets there sooner in fewer, larger pieces. */
static void trigger_if_due(struct weir_jm *jm, struct weir_jm_job *job)
{
    struct job_checkpoints *c = job->in->checkpoints;
    int running = job->options.checkpoint_interval_ms > 0 ? weir_jm_running_tasks(job) : 0;
    if (running == 0 || c->draining || c->savepoint_waits) {
        c->next_trigger_ms = NEVER_MS;
        return;
    }
    if (c->next_trigger_ms == NEVER_MS)
        c->next_trigger_ms = later_ms(jm->now_ms, job->options.checkpoint_interval_ms);
    if (output_waits(jm, job) || jm->now_ms < c->next_trigger_ms || jm->now_ms < c->pause_until_ms ||
        c->pending_count >= job->options.checkpoints_concurrent || is_alone(job) || !weir_jm_checkpoint_may_begin(job))
        return;
    c->next_trigger_ms = later_ms(jm->now_ms, job->options.checkpoint_interval_ms);
    weir_jm_checkpoint_trigger(jm, job, 0, NULL);
}

/* While as many are under way as may be, the newest of them is the answer: a further barrier would only give it up. */
uint64_t weir_jm_checkpoint_now(struct weir_jm *jm, struct weir_jm_job *job, const char **wait)
{
    struct job_checkpoints *c = job->in->checkpoints;
    int running = weir_jm_running_tasks(job);
    *wait = "a checkpoint needs all tasks of the job to run";
    if (running == 0)
        return 0;
    if (c->pending_count > 0 && c->pending_count >= job->options.checkpoints_concurrent)
        return c->pending[c->pending_count - 1]->id;
    *wait = "a savepoint, stop or rescale of the job is under way";
    if (is_alone(job))
        return 0;
    *wait = "the checkpoint storage has not answered, or output waits to be published";
    return weir_jm_checkpoint_may_begin(job) ? weir_jm_checkpoint_trigger(jm, job, 0, NULL)->id : 0;
}

/* --- The end */

bool weir_jm_checkpoint_final(struct weir_jm *jm, struct weir_jm_job *job)
{
    struct job_checkpoints *c = job->in->checkpoints;
    if (!c || WEIR_MUTANT(jm_no_final_checkpoint))
        return false;
    if (c->final_begun || c->pending_count > 0 || jm->now_ms < c->pause_until_ms || !weir_jm_checkpoint_may_begin(job))
        return true; /* it is under way, or begun in a later step */
    c->final_begun = true;
    struct checkpoint *checkpoint = new_checkpoint(jm, job);
    checkpoint->final = true;
    checkpoint->target = c->drain_target;
    c->drain_target = NULL;
    struct weir_jm_checkpoint *record = record_of(job, checkpoint->id);
    record->acknowledged = job->task_count;
    record->savepoint = checkpoint->target != NULL;
    record->path = checkpoint->target ? weir_strdup(checkpoint->target) : NULL;
    write_metadata(jm, job, checkpoint);
    return true;
}

void weir_jm_checkpoint_committed(struct weir_jm_job *job, uint64_t checkpoint)
{
    if (!job->in->checkpoints)
        return;
    job->in->checkpoints->committed_upto = checkpoint; /* rides on the next write of HEAD */
    if (weir_job_state_terminal(job->state))           /* and there is no other reason for one */
        job->in->checkpoints->head_dirty = true;
}

void weir_jm_checkpoints_ended(struct weir_jm_job *job)
{
    if (job->in->checkpoints && !WEIR_MUTANT(jm_no_terminal_record))
        job->in->checkpoints->head_dirty = true; /* the terminal record */
}

void weir_jm_checkpoints_changed(struct weir_jm_job *job)
{
    if (job->in->checkpoints)
        job->in->checkpoints->head_dirty = true;
}

bool weir_jm_checkpoint_final_is_complete(const struct weir_jm_job *job)
{
    const struct job_checkpoints *c = job->in->checkpoints;
    return !c || (c->latest && c->latest->final);
}

bool weir_jm_checkpoint_cancel_recorded(const struct weir_jm_job *job)
{
    const struct job_checkpoints *c = job->in->checkpoints;
    return !c ||
           (c->head.exists && (c->state_written == WEIR_JOB_CANCELLING || weir_job_state_terminal(c->state_written))) ||
           WEIR_MUTANT(jm_cancel_unrecorded);
}

bool weir_jm_checkpoint_end_recorded(const struct weir_jm_job *job)
{
    const struct job_checkpoints *c = job->in->checkpoints;
    return !c || WEIR_MUTANT(jm_abort_unrecorded) || WEIR_MUTANT(jm_no_terminal_record) ||
           (c->head.exists && !c->taking_over && weir_job_state_terminal(c->state_written));
}

bool weir_jm_checkpoint_taking_over(const struct weir_jm_job *job)
{
    return job->in->checkpoints && job->in->checkpoints->taking_over;
}

bool weir_jm_checkpoints_busy(const struct weir_jm_job *job)
{
    const struct job_checkpoints *c = job->in->checkpoints;
    return c && (c->head_dirty || c->head.state != WEIR_HEAD_IDLE);
}

void weir_jm_checkpoints_init(struct weir_jm_job *job, bool durable)
{
    job->in->checkpoint_timer_ms = NEVER_MS;
    if (job->options.checkpoint_interval_ms == 0 && !durable)
        return;
    struct job_checkpoints *c = job->in->checkpoints = weir_zalloc(sizeof *c);
    weir_head_init(&c->head);
    c->head_dirty = true;
    c->next_id = c->garbage_from = 1;
    c->next_trigger_ms = NEVER_MS;
    weir_jm_checkpoint_tasks_changed(job);
}

void weir_jm_checkpoint_tasks_changed(struct weir_jm_job *job)
{
    struct job_checkpoints *c = job->in->checkpoints;
    free(c->reported);
    free(c->output_complete);
    c->reported = weir_zalloc((size_t)job->task_count * sizeof *c->reported);
    c->output_complete = weir_zalloc((size_t)job->task_count * sizeof *c->output_complete);
    c->head_dirty = true;
}

void weir_jm_checkpoints_free(struct weir_jm_job *job)
{
    struct job_checkpoints *c = job->in->checkpoints;
    for (int i = 0; i < job->checkpoint_count; i++)
        free_record(&job->checkpoints[i]);
    free(job->checkpoints);
    if (!c)
        return;
    while (c->pending_count > 0)
        remove_pending(job, c->pending_count - 1);
    for (int i = 0; i < job->retained_count; i++)
        weir_jm_references_free(&c->references[i]);
    free(c->references);
    weir_jm_garbage_free(c);
    free(c->subtasks_max);
    free(c->drain_target);
    free(c->claimed);
    free(c->output_complete);
    free(c->reported);
    free(c->head_bytes);
    free(c);
}

/* --- Each step */

static void expire(struct weir_jm *jm, struct weir_jm_job *job)
{
    struct job_checkpoints *c = job->in->checkpoints;
    for (int i = 0; i < c->pending_count;) {
        struct checkpoint *checkpoint = c->pending[i];
        if (checkpoint->deadline_ms > jm->now_ms || checkpoint->state != CHECKPOINT_TRIGGERED) {
            i++;
            continue;
        }
        const char *why =
            weir_arena_format(&jm->arena, "%d of %d subtasks gave nothing within execution.checkpointing.timeout",
                              checkpoint->missing, job->task_count);
        checkpoint_failed(jm, job, i, true, why); /* all of them go when that fails the job */
        i = 0;
    }
}

/* No attempt is deployed that HEAD does not allow: a later JobManager begins above it. The write under way may be about to allow it. */
static void reserve_attempts(struct weir_jm_job *job)
{
    struct job_checkpoints *c = job->in->checkpoints;
    uint32_t to =
        c->head.state != WEIR_HEAD_IDLE && c->attempts_writing > c->attempts_to ? c->attempts_writing : c->attempts_to;
    if (!weir_job_state_terminal(job->state) && c->attempts_to && highest_attempt(job) >= to)
        c->head_dirty = true;
}

bool weir_jm_attempts_allowed(const struct weir_jm_job *job)
{
    const struct job_checkpoints *c = job->in->checkpoints;
    return !c || highest_attempt(job) < c->attempts_to || WEIR_MUTANT(jm_attempts_unreserved);
}

/* What is due but has to wait is woken by what it waits for. */
static void set_timer(const struct weir_jm *jm, struct weir_jm_job *job)
{
    struct job_checkpoints *c = job->in->checkpoints;
    int64_t at_ms = c->head.wake_at_ms < job->in->cancel_reply_at_ms ? c->head.wake_at_ms : job->in->cancel_reply_at_ms;
    if (weir_jm_garbage_wake_ms(jm, job) < at_ms)
        at_ms = weir_jm_garbage_wake_ms(jm, job);
    if (job->in->abort_wanted && job->in->abort_not_before_ms > jm->now_ms && job->in->abort_not_before_ms < at_ms)
        at_ms = job->in->abort_not_before_ms;
    if (job->in->commit_count > 0 && job->in->commit_again_ms > jm->now_ms && job->in->commit_again_ms < at_ms)
        at_ms = job->in->commit_again_ms;
    int64_t trigger_ms = c->next_trigger_ms > c->pause_until_ms ? c->next_trigger_ms : c->pause_until_ms;
    if (job->committing)
        trigger_ms = c->pause_until_ms;
    if (job->state == WEIR_JOB_RUNNING && trigger_ms > jm->now_ms && trigger_ms < at_ms)
        at_ms = trigger_ms;
    int64_t slow_ms = output_slow_ms(c);
    if (job->in->commit_count >= OUTPUTS_WAITING && !c->output_is_slow && slow_ms > jm->now_ms && slow_ms < at_ms)
        at_ms = slow_ms;
    for (int i = 0; i < c->pending_count; i++)
        if (c->pending[i]->state == CHECKPOINT_TRIGGERED && c->pending[i]->deadline_ms < at_ms)
            at_ms = c->pending[i]->deadline_ms;
    job->in->checkpoint_timer_ms = at_ms;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return hash ^ (hash >> 29);
}

uint64_t weir_jm_checkpoints_digest(uint64_t hash, const struct weir_jm_job *job)
{
    const struct job_checkpoints *c = job->in->checkpoints;
    if (!c)
        return hash;
    hash = mix(hash, c->next_id);
    hash = mix(hash, c->reserved_to);
    hash = mix(hash, c->committed_upto);
    hash = mix(hash, (uint64_t)c->head.state << 2 | (uint64_t)c->head_dirty << 1 | (uint64_t)c->final_begun);
    hash = mix(hash, (uint64_t)c->failures);
    hash = mix(hash, c->draining);
    hash = mix(hash, (uint64_t)c->taking_over << 32 | c->attempts_to);
    hash = mix(hash, c->latest ? c->latest->checkpoint : 0);
    for (int i = 0; i < c->pending_count; i++) {
        hash = mix(hash, c->pending[i]->id);
        hash = mix(hash, (uint64_t)c->pending[i]->state << 32 | (uint64_t)c->pending[i]->missing);
    }
    for (int i = 0; i < job->retained_count; i++)
        hash = mix(hash, job->retained[i].id);
    return hash;
}

void weir_jm_checkpoints_expire(struct weir_jm *jm)
{
    for (int i = 0; i < jm->job_count; i++) {
        struct weir_jm_job *job = jm->jobs[i];
        if (!job->in->checkpoints)
            continue;
        act_on_head(jm, job, weir_head_tick(&job->in->checkpoints->head, jm->now_ms));
        if (!weir_job_state_terminal(job->state))
            expire(jm, job);
    }
}

void weir_jm_checkpoints(struct weir_jm *jm)
{
    jm->searches_running = 0;
    for (int i = 0; i < jm->job_count; i++)
        jm->searches_running += jm->jobs[i]->in->checkpoints && jm->jobs[i]->in->checkpoints->search.number != 0;
    for (int i = 0; i < jm->job_count; i++) {
        struct weir_jm_job *job = jm->jobs[i];
        struct job_checkpoints *c = job->in->checkpoints;
        if (!c)
            continue;
        if (!weir_job_state_terminal(job->state)) {
            trigger_if_due(jm, job);
            if (job->committing && job->state == WEIR_JOB_RUNNING)
                weir_jm_checkpoint_final(jm, job);
        }
        if (jm->now_ms >= job->in->cancel_reply_at_ms) {
            weir_jm_log(
                jm, WEIR_JM_LOG_WARN, job,
                "job %s is cancelled, and the checkpoint storage does not say that it keeps that: a JobManager that starts "
                "before it does runs the job again",
                job->name);
            weir_jm_job_answer_cancels(jm, job);
        }
        reserve_attempts(job);
        weir_jm_garbage_due(jm, job);
        write_head(jm, job);
        set_timer(jm, job);
    }
}
