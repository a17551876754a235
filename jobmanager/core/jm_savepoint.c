/* What people ask of a job's checkpoints. Each request is an operation that they ask after later, by its id; it begins as soon as the job
 * can, and ends with the checkpoint that was made for it.
 *
 * A savepoint is a checkpoint like others, in HEAD and its output published, and before that all that it needs is copied to a directory of
 * its own, with names that have no directory: nobody collects it, and it can be moved. While one is under way no other checkpoint begins.
 *   stop      the barrier stops the job: nothing follows it, tasks halt behind it. HEAD that names the checkpoint is the job's end
 *             (Snapshot.final); when its output is published the job is FINISHED.
 *   drain     sources are told to end, the job comes to its end as a bounded one does, and its last checkpoint is the savepoint.
 *   rescale   a barrier that stops, and overtakes what is queued: under backpressure nobody has time to wait for its turn. It is incremental.
 *             With the checkpoint complete all tasks are cancelled, and others, of another plan, take their state.
 * When one of these fails the tasks that it has halted begin again from the newest checkpoint.
 *
 * A job that begins with a savepoint, or with another job's checkpoint, copies it into its own storage first, as a checkpoint of its own
 * with the same number: its first HEAD names it, and so it depends on the original no more.
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
    free(operation->target);
    free(operation->location);
    free(operation->failure);
    weir_plan_free(operation->plan);
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
    const struct weir_jm_request *asked = &event->operation;
    bool known = weir_jm_operation_find(jm, asked->id) != NULL;
    if (known || !make_room(jm)) {
        weir_plan_free(asked->take_plan);
        weir_jm_reply(jm, event->request, known ? WEIR_OK : WEIR_ERR_FULL,
                      known ? "" : "too many checkpoints and savepoints were asked for and have not ended: try again");
        return;
    }
    struct weir_jm_operation *operation = &jm->operations[jm->operation_count++];
    *operation = (struct weir_jm_operation){
        .kind = asked->kind,
        .target = asked->target ? weir_strdup(asked->target) : NULL,
        .drain = asked->drain,
        .plan = asked->take_plan,
        .parallelism = asked->parallelism,
        .deadline_ms = later_ms(jm->now_ms, BEGIN_WAIT_MS),
    };
    snprintf(operation->id, sizeof operation->id, "%s", asked->id);
    snprintf(operation->job_id, sizeof operation->job_id, "%s", event->job_id);
    if (asked->failure)
        failed(operation, asked->failure);
    weir_jm_reply(jm, event->request, WEIR_OK, "");
}

/* --- Savepoints */

bool weir_jm_savepoint_pending(const struct job_checkpoints *c)
{
    for (int i = 0; i < c->pending_count; i++)
        if (c->pending[i]->target || c->pending[i]->flags & FLAG_STOP)
            return true;
    return c->draining || c->drain_target;
}

/* TARGET/savepoint-<the job's first six>-<twelve at random>, as Flink names them. */
static char *new_location(struct weir_jm *jm, const struct weir_jm_operation *operation)
{
    return weir_format("%s/savepoint-%.6s-%012" PRIx64, operation->target, operation->job_id, weir_jm_random(jm) >> 16);
}

struct copies {
    struct weir_jm_copy *list;
    int count;
};

static void add_check(struct weir_jm *jm, struct weir_jm_copy *copy, struct weir_jm_copy_check check)
{
    for (int i = copy->check_count; i-- > 0;) /* several subtasks may refer to the same */
        if (copy->checks[i].offset == check.offset && copy->checks[i].size == check.size)
            return;
    if ((copy->check_count & (copy->check_count - 1)) == 0) { /* twice the room at each power of two */
        struct weir_jm_copy_check *checks =
            weir_arena_alloc(&jm->arena, (size_t)(copy->check_count * 2 + 1) * sizeof *checks);
        if (copy->check_count)
            memcpy(checks, copy->checks, (size_t)copy->check_count * sizeof *checks);
        copy->checks = checks;
    }
    copy->checks[copy->check_count++] = check;
    if (check.offset + check.size > copy->size)
        copy->size = check.offset + check.size;
}

typedef const char *name_of_fn(struct weir_jm *jm, const char *key, int number, const char *prefix);

static void add_copy(struct weir_jm *jm, struct copies *copies, const char *object, struct weir_jm_copy_check check,
                     name_of_fn *name_of, const char *prefix)
{
    int c = copies->count;
    while (c > 0 && strcmp(copies->list[c - 1].from, object) != 0)
        c--;
    if (c == 0) {
        copies->list[copies->count] = (struct weir_jm_copy){
            .from = weir_arena_strdup(&jm->arena, object),
            .to = name_of(jm, object, copies->count, prefix),
        };
        c = ++copies->count;
    }
    add_check(jm, &copies->list[c - 1], check);
}

/* Each object once, as far as parts and output that waits in it need it; `name_of` says what it is called at the other end. */
static struct copies objects_of(struct weir_jm *jm, const Weir__Snapshot *snapshot, name_of_fn *name_of,
                                const char *prefix)
{
    size_t count = snapshot->n_parts;
    for (size_t i = 0; i < snapshot->n_committables; i++)
        count += snapshot->committables[i]->n_segments;
    struct copies copies = {weir_arena_alloc(&jm->arena, (count + 1) * sizeof *copies.list), 0};
    for (size_t i = 0; i < snapshot->n_parts; i++) {
        const Weir__StatePart *part = snapshot->parts[i];
        if (part->object[0])
            add_copy(jm, &copies, part->object, (struct weir_jm_copy_check){part->offset, part->size, part->crc32c},
                     name_of, prefix);
    }
    for (size_t i = 0; i < snapshot->n_committables; i++)
        for (size_t s = 0; s < snapshot->committables[i]->n_segments; s++) {
            const Weir__OutputSegment *segment = snapshot->committables[i]->segments[s];
            add_copy(jm, &copies, segment->object, (struct weir_jm_copy_check){0, segment->size, segment->crc32c},
                     name_of, prefix);
        }
    return copies;
}

static const char *renamed(const struct copies *copies, const char *key)
{
    int i = 0;
    while (strcmp(copies->list[i].from, key) != 0)
        i++;
    return copies->list[i].to;
}

/* "jobs/<id>/chk-7/1-0-2" is "chk-7_1-0-2": no directory. */
static const char *name_in_savepoint(struct weir_jm *jm, const char *key, int number, const char *prefix)
{
    (void)number;
    size_t size = strlen(prefix);
    char *name = weir_arena_strdup(&jm->arena, strncmp(key, prefix, size) == 0 ? key + size : key);
    for (char *c = name; *c; c++)
        if (*c == '/')
            *c = '_';
    return name;
}

static void send_copies(struct weir_jm *jm, const struct weir_jm_job *job, uint64_t checkpoint, const char *metadata,
                        const struct copies *copies, const Weir__Snapshot *snapshot, const char *from, const char *to)
{
    struct weir_jm_effect *effect = weir_jm_effect(jm, WEIR_JM_EFFECT_STORE_COPY);
    effect->job_id = weir_arena_strdup(&jm->arena, job->id);
    effect->checkpoint = checkpoint;
    effect->text = weir_arena_strdup(&jm->arena, metadata);
    effect->size = weir__snapshot__get_packed_size(snapshot);
    uint8_t *bytes = weir_arena_alloc(&jm->arena, effect->size + 1);
    weir__snapshot__pack(snapshot, bytes);
    effect->bytes = bytes;
    effect->from_uri = from ? weir_arena_strdup(&jm->arena, from) : NULL;
    effect->to_uri = to ? weir_arena_strdup(&jm->arena, to) : NULL;
    effect->copies = copies->list;
    effect->copy_count = copies->count;
}

static Weir__Committable *committable_in_savepoint(struct weir_jm *jm, const Weir__Committable *from,
                                                   const struct copies *copies)
{
    Weir__Committable *to = weir_arena_alloc(&jm->arena, sizeof *to);
    *to = *from;
    to->segments = weir_arena_alloc(&jm->arena, (from->n_segments + 1) * sizeof *to->segments);
    for (size_t s = 0; s < from->n_segments; s++) {
        to->segments[s] = weir_arena_alloc(&jm->arena, sizeof *to->segments[s]);
        *to->segments[s] = *from->segments[s];
        to->segments[s]->object = (char *)(uintptr_t)renamed(copies, from->segments[s]->object);
    }
    return to;
}

void weir_jm_savepoint_export(struct weir_jm *jm, const struct weir_jm_job *job, const struct checkpoint *checkpoint)
{
    struct copies copies =
        objects_of(jm, checkpoint->snapshot, name_in_savepoint, weir_arena_format(&jm->arena, "jobs/%s/", job->id));
    Weir__Snapshot whole = *checkpoint->snapshot; /* its parts borrow, but for the names */
    whole.savepoint = true;
    whole.final = false;
    whole.parts = weir_arena_alloc(&jm->arena, (whole.n_parts + 1) * sizeof *whole.parts);
    for (size_t i = 0; i < whole.n_parts; i++) {
        Weir__StatePart *part = weir_arena_alloc(&jm->arena, sizeof *part);
        *part = *checkpoint->snapshot->parts[i];
        if (part->object[0] && !WEIR_MUTANT(jm_savepoint_refers))
            part->object = (char *)(uintptr_t)renamed(&copies, part->object);
        whole.parts[i] = part;
    }
    whole.committables = weir_arena_alloc(&jm->arena, (whole.n_committables + 1) * sizeof *whole.committables);
    for (size_t i = 0; i < whole.n_committables; i++)
        whole.committables[i] = committable_in_savepoint(jm, checkpoint->snapshot->committables[i], &copies);
    send_copies(jm, job, checkpoint->id, "_metadata", &copies, &whole, NULL, checkpoint->target);
}

/* Savepoints are not for recovery: what the job needs of one, it has in its own storage. */
static void drop_claimed(struct weir_jm *jm, struct weir_jm_job *job)
{
    struct job_checkpoints *c = job->in->checkpoints;
    struct weir_jm_effect *effect = weir_jm_effect(jm, WEIR_JM_EFFECT_STORE_DROP);
    effect->job_id = weir_arena_strdup(&jm->arena, job->id);
    effect->text = "";
    effect->from_uri = weir_arena_strdup(&jm->arena, c->claimed);
    weir_jm_log(jm, WEIR_JM_LOG_INFO, job, "job %s: the savepoint %s, which it had claimed, is removed", job->name,
                c->claimed);
    free(c->claimed);
    c->claimed = NULL;
}

/* The rescale whose plan is job->in->rescale: it has begun, and its tasks are not there yet. An earlier one, whose tasks are there, may be in progress,
 * too. NULL: it is over. */
static struct weir_jm_operation *find_rescale(struct weir_jm *jm, const struct weir_jm_job *job)
{
    for (int i = 0; i < jm->operation_count; i++) {
        struct weir_jm_operation *operation = &jm->operations[i];
        if (operation->state == WEIR_JM_OPERATION_IN_PROGRESS && operation->kind == WEIR_JM_OPERATION_RESCALE &&
            operation->checkpoint != 0 && !operation->replanned && strcmp(operation->job_id, job->id) == 0)
            return operation;
    }
    return NULL;
}

static void restart_with_other_tasks(struct weir_jm *jm, struct weir_jm_job *job)
{
    if (job->committing) { /* they have all FINISHED meanwhile */
        struct weir_jm_operation *operation = find_rescale(jm, job);
        if (operation)
            failed(operation, "the job's tasks have come to their end before they could become others");
        weir_plan_free(job->in->rescale);
        job->in->rescale = NULL;
        return;
    }
    weir_jm_job_set_status(job, "rescaling: waiting for its tasks to stop");
    weir_jm_regions_restart(jm, job);
}

void weir_jm_savepoint_complete(struct weir_jm *jm, struct weir_jm_job *job, const struct checkpoint *checkpoint)
{
    struct job_checkpoints *c = job->in->checkpoints;
    if (c->claimed && (!checkpoint->import || WEIR_MUTANT(jm_claimed_at_once)))
        drop_claimed(jm, job);
    if (checkpoint->target)
        weir_jm_log(jm, WEIR_JM_LOG_INFO, job, "job %s: savepoint %s is complete", job->name, checkpoint->target);
    if (!(checkpoint->flags & FLAG_STOP) || weir_job_state_terminal(job->state))
        return;
    if (checkpoint->final) { /* nothing followed its barrier: the tasks only wait for their end */
        if (job->state == WEIR_JOB_RESTARTING)
            weir_jm_job_set_state(jm, job, WEIR_JOB_RUNNING);
        c->final_begun = !WEIR_MUTANT(jm_stop_ends_twice); /* this is the last one, and no other follows */
        if (job->state == WEIR_JOB_RUNNING)
            weir_jm_job_publishes(jm, job, checkpoint->id);
    } else if (job->in->rescale) {
        restart_with_other_tasks(jm, job);
    }
}

/* Behind a barrier that stops, or told to end, tasks do nothing any more. */
void weir_jm_savepoint_failed(struct weir_jm *jm, struct weir_jm_job *job, const struct checkpoint *checkpoint,
                              const char *why)
{
    if (!(checkpoint->flags & FLAG_STOP)) {
        for (int i = 0; i < jm->operation_count && checkpoint->final && checkpoint->target; i++)
            if (jm->operations[i].state == WEIR_JM_OPERATION_IN_PROGRESS &&
                jm->operations[i].kind == WEIR_JM_OPERATION_STOP && strcmp(jm->operations[i].job_id, job->id) == 0)
                failed(&jm->operations[i], weir_arena_format(&jm->arena, "%s; the job ends without a savepoint", why));
        return;
    }
    weir_plan_free(job->in->rescale);
    job->in->rescale = NULL;
    job->in->restart_all = !WEIR_MUTANT(jm_halted_kept);
}

/* It has a log, and is this job's, of this sink; an earlier version did not say of which. */
static bool is_of_sink(const Weir__Committable *committable, const char *sink)
{
    return committable->n_segments > 0 && !committable->job_id[0] &&
           (!committable->sink[0] || strcmp(committable->sink, sink) == 0);
}

/* The last checkpoint with output of this job's sink that waits to be published; 0: there is none. */
static uint64_t output_before(const struct weir_jm_job *job, const char *sink)
{
    for (int i = job->in->commit_count; i-- > 0;) {
        const Weir__CommitOutput *output = job->in->commits[i].control->commit_output;
        for (size_t c = 0; c < output->n_committables; c++)
            if (is_of_sink(output->committables[c], sink) && !WEIR_MUTANT(jm_output_unordered))
                return output->checkpoint;
    }
    return 0;
}

void weir_jm_savepoint_order(const struct weir_jm_job *job, Weir__Snapshot *whole)
{
    for (size_t i = 0; i < whole->n_committables; i++) {
        Weir__Committable *committable = whole->committables[i];
        if (committable->n_segments == 0)
            continue;
        committable->after = output_before(job, committable->sink);
        if (committable->after > whole->output_after)
            whole->output_after = committable->after;
    }
}

/* --- A job that begins with one */

static const char *operator_name(struct weir_jm *jm, const Weir__Snapshot *snapshot, const char *uid)
{
    for (size_t i = 0; i < snapshot->n_operators; i++) {
        const Weir__SnapshotOperator *op = snapshot->operators[i];
        if (strcmp(op->uid, uid) != 0)
            continue;
        return op->given_uid[0] ? weir_arena_format(&jm->arena, "'%s' (uid '%s')", op->name, op->given_uid)
                                : weir_arena_format(&jm->arena, "'%s' (no uid of its own; derived: %s)", op->name, uid);
    }
    return weir_arena_format(&jm->arena, "with the uid %s", uid);
}

static const struct weir_plan_vertex *vertex_of(const struct weir_plan *plan, const char *uid)
{
    for (int i = 0; i < plan->op_count; i++)
        if (strcmp(plan->ops[i].uid, uid) == 0)
            return &plan->vertices[plan->ops[i].chain];
    return NULL;
}

static const char *refuse_part(struct weir_jm *jm, const struct weir_plan *plan, const Weir__Snapshot *snapshot,
                               const Weir__StatePart *part, bool allow_non_restored)
{
    const struct weir_plan_vertex *vertex = vertex_of(plan, part->uid);
    if (!vertex && !allow_non_restored)
        return weir_arena_format(
            &jm->arena,
            "it has the state '%s' of the operator %s, which this job does not have: give the operator its uid again, or, to leave "
            "that state behind, allow non-restored state (--allow-non-restored-state)",
            part->name, operator_name(jm, snapshot, part->uid));
    if (!vertex)
        return NULL;
    if (part->parallelism == 0 || part->subtask >= part->parallelism)
        return weir_arena_format(
            &jm->arena, "CHECKPOINT_CORRUPT: it says that subtask %" PRIu32 " of %" PRIu32 " wrote the state '%s'",
            part->subtask, part->parallelism, part->name);
    if (part->kind == WEIR_JM_KIND_SUBTASK && (int)part->parallelism != vertex->parallelism &&
        !WEIR_MUTANT(jm_unfit_accepted))
        return weir_arena_format(&jm->arena,
                                 "the operator %s keeps its state '%s' by subtask, of which there were %" PRIu32
                                 ": its parallelism must stay that, and is %d here",
                                 operator_name(jm, snapshot, part->uid), part->name, part->parallelism,
                                 vertex->parallelism);
    if ((part->kind == WEIR_JM_KIND_KEYED || part->kind == WEIR_JM_KIND_ROWS_KEYED) && snapshot->max_parallelism &&
        (int)snapshot->max_parallelism != vertex->max_parallelism)
        return weir_arena_format(&jm->arena,
                                 "its keyed state has %" PRIu32
                                 " key groups, and the job has %d: a job's max parallelism cannot change; set "
                                 "pipeline.max-parallelism to %" PRIu32,
                                 snapshot->max_parallelism, vertex->max_parallelism, snapshot->max_parallelism);
    return NULL;
}

/* The state of a checkpoint fits the plan's operators, or a sentence, in the step's arena: why not. */
static const char *refuse_restore(struct weir_jm *jm, const struct weir_plan *plan, const Weir__Snapshot *snapshot,
                                  bool allow_non_restored)
{
    for (size_t i = 0; i < snapshot->n_parts; i++) {
        const char *why = refuse_part(jm, plan, snapshot, snapshot->parts[i], allow_non_restored);
        if (why)
            return why;
    }
    return NULL;
}

/* A segment of an output log keeps the end of its name, however often it is copied: sinks name by it what they publish, whoever asks. */
static const char *name_in_job(struct weir_jm *jm, const char *key, int number, const char *prefix)
{
    const char *name = key;
    for (const char *c = key; *c; c++)
        if (*c == '/' || *c == '_')
            name = c + 1;
    return strstr(name, "-log") ? weir_arena_format(&jm->arena, "%srestored-%d_%s", prefix, number, name)
                                : weir_arena_format(&jm->arena, "%srestored-%d", prefix, number);
}

/* Output that waits in it stays the other job's, which may have published it, or may yet: whoever comes second finds it done. */
static void adopt_output(const Weir__Snapshot *snapshot, Weir__Committable *committable, const struct copies *copies)
{
    for (size_t s = 0; s < committable->n_segments; s++) {
        const char *name = renamed(copies, committable->segments[s]->object);
        free(committable->segments[s]->object);
        committable->segments[s]->object = weir_strdup(name);
    }
    if (committable->n_segments == 0 || committable->job_id[0] || WEIR_MUTANT(jm_import_output_owned))
        return;
    if (committable->job_id != protobuf_c_empty_string)
        free(committable->job_id);
    committable->job_id = weir_strdup(snapshot->job_id);
    if (!committable->sink[0]) /* of an earlier version */
        committable->after = snapshot->output_after;
}

/* The snapshot becomes the job's own: its objects have the names that they get, and what nobody wants is left out. */
static void adopt(struct weir_jm *jm, const struct weir_jm_job *job, Weir__Snapshot *snapshot, struct copies *copies)
{
    size_t kept = 0;
    for (size_t i = 0; i < snapshot->n_parts; i++)
        if (vertex_of(job->plan, snapshot->parts[i]->uid))
            snapshot->parts[kept++] = snapshot->parts[i];
        else
            weir__state_part__free_unpacked(snapshot->parts[i], NULL);
    snapshot->n_parts = kept;
    char *prefix = weir_arena_format(&jm->arena, "jobs/%s/chk-%" PRIu64 "/", job->id, snapshot->checkpoint);
    *copies = objects_of(jm, snapshot, name_in_job, prefix);
    for (size_t i = 0; i < kept; i++) {
        Weir__StatePart *part = snapshot->parts[i];
        if (!part->object[0])
            continue;
        const char *name = renamed(copies, part->object);
        free(part->object);
        part->object = weir_strdup(name);
    }
    for (size_t i = 0; i < snapshot->n_committables; i++)
        adopt_output(snapshot, snapshot->committables[i], copies);
    if (snapshot->job_id != protobuf_c_empty_string)
        free(snapshot->job_id);
    snapshot->job_id = weir_strdup(job->id);
    snapshot->savepoint = snapshot->final = false;
}

/* It is a checkpoint of the job that has all its parts, and is being written: with the first HEAD it is complete. */
const char *weir_jm_restore_begin(struct weir_jm *jm, struct weir_jm_job *job, const struct weir_jm_restore *restore)
{
    struct job_checkpoints *c = job->in->checkpoints;
    Weir__Snapshot *snapshot = restore->take_snapshot;
    const char *why = refuse_restore(jm, job->plan, snapshot, restore->allow_non_restored);
    if (!why && (snapshot->checkpoint == 0 || snapshot->checkpoint >= UINT64_MAX / 2))
        why = "CHECKPOINT_CORRUPT: it has no number";
    if (why) {
        weir__snapshot__free_unpacked(snapshot, NULL);
        return weir_arena_format(&jm->arena, "the job cannot begin with %s: %s", restore->path, why);
    }
    job->restored = true;
    job->restored_id = snapshot->checkpoint;
    job->restored_ms = jm->wall_ms;
    job->restored_savepoint = snapshot->savepoint;
    job->restored_path = weir_strdup(restore->path);
    if ((restore->claim && snapshot->savepoint) || WEIR_MUTANT(jm_unclaimed_dropped))
        c->claimed = weir_strdup(restore->uri);
    struct copies copies;
    adopt(jm, job, snapshot, &copies);
    struct checkpoint *checkpoint = weir_zalloc(sizeof *checkpoint);
    checkpoint->id = snapshot->checkpoint;
    checkpoint->state = CHECKPOINT_WRITING;
    checkpoint->import = true;
    checkpoint->snapshot = snapshot;
    checkpoint->needs = weir_jm_references_of(snapshot);
    checkpoint->triggered_ms = jm->now_ms;
    checkpoint->triggered_wall_ms = snapshot->triggered_ms;
    checkpoint->deadline_ms = NEVER_MS;
    checkpoint->reports = weir_zalloc((size_t)job->task_count * sizeof(Weir__Control *));
    struct weir_jm_retained *entry = &checkpoint->entry;
    entry->id = checkpoint->id;
    for (size_t i = 0; i < snapshot->n_parts; i++)
        entry->size_bytes += snapshot->parts[i]->size;
    entry->triggered_ms = snapshot->triggered_ms;
    snprintf(entry->metadata, sizeof entry->metadata, "jobs/%s/chk-%" PRIu64 "/metadata", job->id, checkpoint->id);
    send_copies(jm, job, checkpoint->id, entry->metadata, &copies, snapshot, restore->uri, NULL);
    const struct weir_jm_effect *effect = &jm->effects[jm->effect_count - 1];
    weir_sha256_hex(effect->bytes, effect->size, entry->sha256);
    c->pending[c->pending_count++] = checkpoint;
    c->next_id = WEIR_MUTANT(jm_import_id_reused) ? 1 : checkpoint->id + 1;
    c->garbage_from = checkpoint->id;
    c->committed_upto = checkpoint->id - !WEIR_MUTANT(jm_import_unpublished);
    return NULL;
}

/* --- In each step */

static bool is_same(const struct weir_plan *a, const struct weir_plan *b)
{
    for (int i = 0; i < a->op_count; i++)
        if (a->vertices[a->ops[i].chain].parallelism != b->vertices[b->ops[i].chain].parallelism)
            return false;
    return true;
}

static const char *never(struct weir_jm *jm, const struct weir_jm_operation *operation, const struct weir_jm_job *job)
{
    if (!job && !weir_jm_knows_all_jobs(jm))
        return weir_arena_format(&jm->arena,
                                 "job %s is not known yet, jobs of earlier JobManagers are being read: try again",
                                 operation->job_id);
    if (!job)
        return weir_arena_format(&jm->arena, "there is no job %s", operation->job_id);
    if (weir_job_state_terminal(job->state) || job->state == WEIR_JOB_CANCELLING || job->state == WEIR_JOB_FAILING)
        return weir_arena_format(&jm->arena, "job %s is %s", job->id, weir_job_state_name(job->state));
    if (!job->in->checkpoints)
        return "there is nowhere to keep the job's state: set execution.checkpointing.dir where the JobManager starts";
    if (job->committing)
        return "the job is at its end, and its output is being published";
    if (operation->kind == WEIR_JM_OPERATION_RESCALE && is_same(job->plan, operation->plan))
        return "the tasks would be the same: operators that set their own parallelism keep it";
    if (operation->kind == WEIR_JM_OPERATION_RESCALE && job->in->checkpoints->latest)
        return refuse_restore(jm, operation->plan, job->in->checkpoints->latest, true);
    return NULL;
}

/* 0: not at this moment, because of *wait. */
static uint64_t begin_own(struct weir_jm *jm, struct weir_jm_operation *operation, struct weir_jm_job *job,
                          const char **wait)
{
    struct job_checkpoints *c = job->in->checkpoints;
    *wait = "it needs all tasks of the job to run";
    if (weir_jm_running_tasks(job) == 0)
        return 0;
    *wait = "another savepoint, stop or rescale of the job is under way";
    if (weir_jm_savepoint_pending(c) || job->in->rescale)
        return 0;
    c->savepoint_waits = c->pending_count > 0; /* the one under way ends first, and no other begins */
    *wait = "a checkpoint is under way";
    if (c->savepoint_waits)
        return 0;
    *wait = "the checkpoint storage has not answered, or output waits to be published";
    if (!weir_jm_checkpoint_may_begin(job))
        return 0;
    if (operation->kind == WEIR_JM_OPERATION_RESCALE) {
        job->in->rescale = operation->plan;
        job->in->rescale_parallelism = operation->parallelism;
        operation->plan = NULL;
        return weir_jm_checkpoint_trigger(jm, job, FLAG_STOP | FLAG_OVERTAKES | FLAG_IN_ORDER, NULL)->id;
    }
    operation->location = new_location(jm, operation);
    if (operation->kind == WEIR_JM_OPERATION_STOP && operation->drain) {
        c->draining = c->next_id++;
        c->drain_restarts = job->restarts;
        c->drain_target = weir_strdup(operation->location);
        weir_jm_checkpoint_drain(jm, job, NULL);
        weir_jm_job_set_status(job, "stopping: its sources end, and what they have read is worked off");
        return c->draining;
    }
    bool stop = operation->kind == WEIR_JM_OPERATION_STOP;
    struct checkpoint *checkpoint =
        weir_jm_checkpoint_trigger(jm, job, FLAG_SAVEPOINT | (stop ? FLAG_STOP : 0), weir_strdup(operation->location));
    checkpoint->final = stop;
    return checkpoint->id;
}

static void begin(struct weir_jm *jm, struct weir_jm_operation *operation)
{
    struct weir_jm_job *job = weir_jm_job_get(jm, operation->job_id);
    const char *why = never(jm, operation, job);
    if (why) {
        failed(operation, why);
        return;
    }
    operation->checkpoint = operation->kind == WEIR_JM_OPERATION_CHECKPOINT ? weir_jm_checkpoint_now(jm, job, &why)
                                                                            : begin_own(jm, operation, job, &why);
    if (operation->kind != WEIR_JM_OPERATION_CHECKPOINT && job->in->checkpoints->savepoint_waits)
        operation->deadline_ms = later_ms(jm->now_ms, BEGIN_WAIT_MS); /* that one has a timeout */
    else if (operation->checkpoint == 0 && jm->now_ms >= operation->deadline_ms)
        failed(operation, why);
}

/* A later JobManager would run the same tasks. */
static bool tasks_are_durable(const struct weir_jm_job *job)
{
    return job->in->checkpoints->tasks_written == job->tasks_version || WEIR_MUTANT(jm_rescale_unrecorded);
}

/* Its tasks have all run, perhaps to their end, and are durable: whatever becomes of them, or of the job, it was rescaled. */
static bool is_rescaled(struct weir_jm_operation *operation, const struct weir_jm_job *job)
{
    bool run = weir_jm_running_tasks(job) > 0;
    operation->ran |= operation->replanned && (run || job->committing);
    return operation->ran && (run || !WEIR_MUTANT(jm_rescale_finished)) && tasks_are_durable(job);
}

/* What ends with more than its checkpoint: a job that has stopped, or that has its other tasks. */
static void follow(struct weir_jm *jm, struct weir_jm_operation *operation)
{
    const struct weir_jm_job *job = weir_jm_job_get(jm, operation->job_id);
    if (operation->kind != WEIR_JM_OPERATION_STOP && operation->kind != WEIR_JM_OPERATION_RESCALE)
        return;
    bool ended = !job || weir_job_state_terminal(job->state);
    if (operation->kind == WEIR_JM_OPERATION_STOP && job && job->state == WEIR_JOB_FINISHED)
        operation->state = WEIR_JM_OPERATION_COMPLETED;
    else if (operation->kind == WEIR_JM_OPERATION_RESCALE && job && is_rescaled(operation, job))
        operation->state = WEIR_JM_OPERATION_COMPLETED;
    else if (ended)
        failed(operation, job ? weir_arena_format(&jm->arena, "job %s is %s", job->id, weir_job_state_name(job->state))
                              : "the job is not known any more");
}

/* The tasks of a job become others when none of the old ones is left. */
static void replan(struct weir_jm *jm, struct weir_jm_job *job)
{
    struct job_checkpoints *c = job->in->checkpoints;
    if (job->state != WEIR_JOB_RESTARTING || c->pending_count > 0)
        return;
    for (int t = 0; t < job->task_count; t++)
        if (!weir_task_state_terminal(job->tasks[t].state) && !WEIR_MUTANT(jm_rescale_before_end))
            return;
    const char *why = refuse_restore(jm, job->in->rescale, c->latest, true);
    struct weir_jm_operation *operation = find_rescale(jm, job);
    if (operation && why)
        failed(operation, why);
    else if (operation)
        operation->replanned = true;
    struct weir_plan *plan = job->in->rescale;
    job->in->rescale = NULL;
    if (why) {
        weir_plan_free(plan);
        weir_jm_region_timers(jm, job);
        return;
    }
    int old = job->task_count;
    weir_jm_job_replan(jm, job, plan, job->in->rescale_parallelism);
    weir_jm_job_set_state(jm, job, WEIR_JOB_RUNNING);
    weir_jm_log(jm, WEIR_JM_LOG_INFO, job, "job %s: rescaled from %d to %d tasks, from checkpoint %" PRIu64, job->name,
                old, job->task_count, c->latest->checkpoint);
}

/* Sources that were told to end must not be the end of a job that fails on the way: all begin again. */
static void watch_drain(struct weir_jm *jm, struct weir_jm_job *job)
{
    struct job_checkpoints *c = job->in->checkpoints;
    bool restarted = job->restarts != c->drain_restarts; /* without a delay, in one step */
    if ((job->state != WEIR_JOB_RESTARTING && !restarted) || job->committing || WEIR_MUTANT(jm_drain_goes_on))
        return;
    for (int i = 0; i < jm->operation_count; i++)
        if (jm->operations[i].state == WEIR_JM_OPERATION_IN_PROGRESS && jm->operations[i].checkpoint == c->draining &&
            strcmp(jm->operations[i].job_id, job->id) == 0)
            failed(&jm->operations[i], "a region of the job failed while its sources ended: the job goes on");
    c->draining = 0;
    free(c->drain_target);
    c->drain_target = NULL;
    job->in->restart_all = true;
}

void weir_jm_operations(struct weir_jm *jm)
{
    for (int i = 0; i < jm->job_count; i++)
        if (jm->jobs[i]->in->checkpoints)
            jm->jobs[i]->in->checkpoints->savepoint_waits = false; /* whoever waits still says so below */
    for (int i = 0; i < jm->operation_count; i++) {
        struct weir_jm_operation *operation = &jm->operations[i];
        if (operation->state == WEIR_JM_OPERATION_IN_PROGRESS && operation->checkpoint == 0)
            begin(jm, operation);
        else if (operation->state == WEIR_JM_OPERATION_IN_PROGRESS)
            follow(jm, operation);
    }
    for (int i = 0; i < jm->job_count; i++) {
        struct weir_jm_job *job = jm->jobs[i];
        if (job->in->checkpoints && job->in->checkpoints->draining)
            watch_drain(jm, job);
        bool alive = (job->state == WEIR_JOB_RUNNING || job->state == WEIR_JOB_RESTARTING) && !job->committing;
        if (job->in->restart_all && alive)
            weir_jm_regions_restart(jm, job);
        job->in->restart_all = false;
        if (job->in->rescale && alive)
            replan(jm, job);
    }
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
        else if (operation->kind == WEIR_JM_OPERATION_CHECKPOINT || operation->kind == WEIR_JM_OPERATION_SAVEPOINT)
            operation->state = WEIR_JM_OPERATION_COMPLETED;
    }
}

uint64_t weir_jm_operations_digest(uint64_t hash, const struct weir_jm *jm)
{
    for (int i = 0; i < jm->operation_count; i++) {
        const struct weir_jm_operation *operation = &jm->operations[i];
        const uint64_t values[3] = {hash, operation->checkpoint,
                                    (uint64_t)operation->state << 2 | (uint64_t)operation->replanned << 1 |
                                        (uint64_t)operation->ran};
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
