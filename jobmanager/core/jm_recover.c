/* What is durable: submissions and cancels are acknowledged when the object store keeps them, and what an earlier JobManager has left there
 * goes on (protocol: "Object store", "Leader").
 *
 * A durable submission: graph and code (JOB_STORE), then HEAD where there must be none; then the job begins and the answer is given. Another
 * HEAD there belongs to a job with the same id: the submission is refused, and nobody is fenced.
 *
 * Recovery: the jobs are listed, each is read, a few at a time, and
 *   has ended        listed with its state; what a complete checkpoint has made output and was not known to be published is published
 *   has not          taken over: the first write of HEAD has this JobManager's epoch and is conditional on the version that was read. From
 *                    then on nobody else completes a checkpoint of it, so what was read is all there is. Then its output is published again
 *                    from committed_upto on, and its tasks begin with the newest checkpoint, in attempts that HEAD says nobody has used.
 *                    When another write was faster, the job is read again.
 *                    (One without checkpoint of which nobody has said that it outlives its JobManager is fenced likewise, and FAILED.)
 *   is damaged       (twice, with the same HEAD) listed as FAILED with what is damaged, in memory only: nothing of it is written or deleted, so it can be mended
 * What the store does not answer is asked again. None of this holds up another job.
 */
#include "jobmanager/core/jm_checkpoint_int.h"

#define READ_AGAIN_MS 1000
#define READS_MAX 8

/* --- Jobs that listings have shown */

static int compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, WEIR_JM_JOB_ID_SIZE);
}

static bool was_seen(const struct weir_jm *jm, const char id[WEIR_JM_JOB_ID_SIZE])
{
    return jm->seen_count > 0 && bsearch(id, jm->seen, (size_t)jm->seen_count, WEIR_JM_JOB_ID_SIZE, compare_ids);
}

/* The next listing has it as if for the first time. */
static void look_again(struct weir_jm *jm, const char *job_id)
{
    for (int i = 0; i < jm->seen_count; i++)
        if (strcmp(jm->seen[i], job_id) == 0) {
            jm->seen_count--;
            memmove(&jm->seen[i], &jm->seen[i + 1], (size_t)(jm->seen_count - i) * sizeof *jm->seen);
            return;
        }
}

/* --- What has become durable */

/* Nobody has promised that it outlives its JobManager; what it had begun would be done again from the start. */
static void end_unpromised(struct weir_jm *jm, struct weir_jm_job *job)
{
    Weir__Failure failure;
    weir__failure__init(&failure);
    failure.kind = (char *)"JobManagerLost";
    failure.message =
        (char
             *)"the JobManager that ran the job has ended, and there is no checkpoint. A later JobManager goes on with a "
               "job that has execution.checkpointing.interval, or a checkpoint or savepoint that somebody asked for, "
               "and with all jobs where execution.checkpointing.dir is set";
    weir_jm_exception(jm, job, NULL, "", &failure);
    weir_jm_job_fail(jm, job, &failure);
}

void weir_jm_head_recorded(struct weir_jm *jm, struct weir_jm_job *job)
{
    struct job_checkpoints *c = job->in->checkpoints;
    bool took_over = c->taking_over;
    if (took_over) {
        c->taking_over = false;
        if (!weir_job_state_terminal(job->state))
            weir_jm_log(jm, WEIR_JM_LOG_INFO, job, "job %s (%s) is taken over: %s %" PRIu64, job->name, job->id,
                        c->latest ? "it goes on from checkpoint"
                                  : "it has no checkpoint, and begins anew; its next one is",
                        c->latest ? c->latest->checkpoint : c->next_id);
    }
    if (took_over)
        weir_jm_garbage_sweep_soon(jm, job); /* of what the earlier one was about to remove nobody knows any more */
    if (job->state == WEIR_JOB_INITIALIZING) {
        if (job->in->submitting)
            weir_jm_reply(jm, job->in->submit_request, WEIR_OK, "");
        weir_jm_job_begin(jm, job);
        if (took_over && !c->latest && !job->options.outlives_jobmanager && job->state == WEIR_JOB_RUNNING &&
            !WEIR_MUTANT(jm_unpromised_run)) {
            end_unpromised(jm, job);
        } else if (c->latest && c->latest->final && job->state == WEIR_JOB_RUNNING) {
            c->final_begun = true;
            weir_jm_job_publishes(jm, job, c->latest->checkpoint);
        }
    }
    if (weir_jm_garbage_is_settled(job) && c->floor_written != c->next_id)
        c->head_dirty = true; /* it is settled by this write */
    if (weir_jm_checkpoint_cancel_recorded(job))
        weir_jm_job_answer_cancels(jm, job);
}

static struct recovery *read_later(struct weir_jm *jm, const char *job_id, int64_t after_ms)
{
    GROW(jm->recoveries, jm->recovery_count, jm->recovery_capacity);
    struct recovery *recovery = &jm->recoveries[jm->recovery_count++];
    *recovery = (struct recovery){.at_ms = later_ms(jm->now_ms, after_ms)};
    snprintf(recovery->job_id, sizeof recovery->job_id, "%s", job_id);
    return recovery;
}

void weir_jm_submission_failed(struct weir_jm *jm, struct weir_jm_job *job, enum weir_err_code code, const char *why)
{
    weir_jm_reply(jm, job->in->submit_request, code, why);
    weir_jm_job_answer_cancels(jm, job);
    if (code != WEIR_ERR_EXISTS && !WEIR_MUTANT(jm_refused_forgotten))
        look_again(jm, job->id); /* a listing may have shown it: what is there of it goes when it has got old */
    weir_jm_job_remove(jm, job);
}

void weir_jm_head_lost(struct weir_jm *jm, struct weir_jm_job *job)
{
    if (job->in->checkpoints->epoch_seen > jm->options.leader_epoch) {
        weir_jm_fence(jm, weir_arena_format(&jm->arena, "another, later JobManager writes HEAD of job %s", job->id));
    } else if (job->in->submitting) {
        weir_jm_submission_failed(jm, job, WEIR_ERR_EXISTS,
                                  "a job with this id exists already in the checkpoint storage");
    } else if (job->in->checkpoints
                   ->taking_over) { /* a write of the earlier JobManager came late, or there is a later one */
        weir_jm_job_answer_cancels(jm, job);
        read_later(jm, job->id, 0);
        weir_jm_job_remove(jm, job);
    } else {
        weir_jm_fence(jm, weir_arena_format(&jm->arena, "another JobManager writes HEAD of job %s", job->id));
    }
}

void weir_jm_job_stored(struct weir_jm *jm, const struct weir_jm_event *event)
{
    struct weir_jm_job *job = weir_jm_job_get(jm, event->job_id);
    if (!job || !job->in->submitting_store)
        return;
    if (event->text) {
        weir_jm_submission_failed(
            jm, job, WEIR_ERR_IO,
            weir_arena_format(&jm->arena, "the job is not accepted, its graph and code could not be stored: %s",
                              event->text));
        return;
    }
    job->in->submitting_store = false; /* HEAD is written in this step */
    weir_jm_job_set_status(job, "waiting for the checkpoint storage to keep its HEAD");
}

/* --- Reading */

/* Of "jobs/<id>/"; false: it is not that. */
static bool job_of_directory(const char *key, char id[WEIR_JM_JOB_ID_SIZE])
{
    bool good = strncmp(key, "jobs/", 5) == 0 && strlen(key) == strlen("jobs/") + WEIR_JM_JOB_ID_SIZE &&
                strcspn(key + 5, "/") == WEIR_JM_JOB_ID_SIZE - 1;
    snprintf(id, WEIR_JM_JOB_ID_SIZE, "%s", good ? key + 5 : "");
    return good;
}

void weir_jm_jobs_listed(struct weir_jm *jm, const struct weir_jm_event *event)
{
    if (!jm->listing)
        return;
    jm->listing = false;
    if (event->text) {
        jm->list_at_ms = later_ms(jm->now_ms, READ_AGAIN_MS);
        weir_jm_log(jm, WEIR_JM_LOG_WARN, NULL, "jobs of earlier JobManagers are not known yet: %s", event->text);
        return;
    }
    jm->list_at_ms = WEIR_MUTANT(jm_listed_once) ? NEVER_MS : later_ms(jm->now_ms, jm->options.list_interval_ms);
    char(*seen)[WEIR_JM_JOB_ID_SIZE] = weir_zalloc((size_t)(event->object_count + 1) * sizeof *seen);
    int count = 0, before = jm->recovery_count;
    for (int i = 0; i < event->object_count; i++) {
        char id[WEIR_JM_JOB_ID_SIZE];
        if (!job_of_directory(event->objects[i].key, id))
            continue;
        memcpy(seen[count], id, sizeof *seen);
        if (!was_seen(jm, seen[count++]) && !weir_jm_job_get(jm, id) && !weir_jm_garbage_deleting(jm, id))
            read_later(jm, id, 0);
    }
    qsort(seen, (size_t)count, sizeof *seen, compare_ids);
    free(jm->seen);
    jm->seen = seen;
    jm->seen_count = count;
    if (jm->recovery_count > before)
        weir_jm_log(jm, WEIR_JM_LOG_INFO, NULL,
                    "%d jobs of other JobManagers are in the checkpoint storage: they are read",
                    jm->recovery_count - before);
}

void weir_jm_recoveries(struct weir_jm *jm)
{
    if (!jm->listing && jm->list_at_ms <= jm->now_ms) {
        jm->listing = true;
        jm->list_at_ms = NEVER_MS;
        weir_jm_effect(jm, WEIR_JM_EFFECT_JOBS_LIST);
    }
    for (int i = 0; i < jm->recovery_count && jm->recoveries_reading < READS_MAX; i++) {
        struct recovery *recovery = &jm->recoveries[i];
        if (recovery->reading || recovery->at_ms > jm->now_ms)
            continue;
        recovery->reading = true;
        jm->recoveries_reading++;
        weir_jm_effect(jm, WEIR_JM_EFFECT_JOB_READ)->job_id = weir_arena_strdup(&jm->arena, recovery->job_id);
    }
}

int64_t weir_jm_recoveries_wake_ms(const struct weir_jm *jm)
{
    int64_t wake = jm->list_at_ms;
    for (int i = 0; i < jm->recovery_count && jm->recoveries_reading < READS_MAX; i++)
        if (!jm->recoveries[i].reading && jm->recoveries[i].at_ms < wake)
            wake = jm->recoveries[i].at_ms;
    return wake;
}

bool weir_jm_knows_all_jobs(const struct weir_jm *jm)
{
    return !jm->options.recovers || (jm->seen && jm->recovery_count == 0);
}

uint64_t weir_jm_recoveries_left(const struct weir_jm *jm)
{
    return (uint64_t)jm->recovery_count << 1 | jm->listing;
}

static void free_snapshots(const struct weir_jm_read *read)
{
    for (size_t i = 0; read->take_snapshots && read->head && i < read->head->n_retained; i++)
        weir__snapshot__free_unpacked(read->take_snapshots[i], NULL);
    free(read->take_snapshots);
}

void weir_jm_read_free(const struct weir_jm_read *read)
{
    free_snapshots(read);
    weir_plan_free(read->take_plan);
}

static bool remove_recovery(struct weir_jm *jm, const char *job_id, struct recovery *removed)
{
    for (int i = 0; i < jm->recovery_count; i++)
        if (strcmp(jm->recoveries[i].job_id, job_id) == 0 && jm->recoveries[i].reading) {
            *removed = jm->recoveries[i];
            jm->recoveries[i] = jm->recoveries[--jm->recovery_count];
            jm->recoveries_reading--;
            return true;
        }
    return false;
}

/* --- A job, from what was read */

static struct weir_jm_job *add_job(struct weir_jm *jm, const char *job_id, const struct weir_jm_read *read,
                                   bool durable)
{
    size_t count = read->head ? read->head->n_configuration : 0;
    struct weir_key_value *configuration = weir_arena_alloc(&jm->arena, (count + 1) * sizeof *configuration);
    for (size_t i = 0; i < count; i++)
        configuration[i] =
            (struct weir_key_value){read->head->configuration[i]->key, read->head->configuration[i]->value};
    struct weir_jm_new_job from = {
        .id = job_id,
        .take_plan = read->take_plan,
        .graph = read->graph,
        .graph_size = read->graph_size,
        .options = &read->options,
        .configuration = configuration,
        .configuration_count = (int)count,
        .durable = durable,
    };
    struct weir_jm_job *job = weir_jm_job_add(jm, &from);
    if (!read->head)
        return job;
    job->started_ms = job->timestamps_ms[WEIR_JOB_INITIALIZING] = read->head->started_ms;
    for (int t = 0; t < job->task_count && !WEIR_MUTANT(jm_attempts_from_one); t++)
        job->tasks[t].attempt = read->head->next_attempt ? read->head->next_attempt : 1;
    return job;
}

/* It ended, now or under an earlier JobManager. */
static void set_ended(struct weir_jm_job *job, enum weir_job_state state, int64_t ended_ms)
{
    static const Weir__TaskState task_states[WEIR_JOB_STATES] = {
        [WEIR_JOB_FAILED] = WEIR__TASK_STATE__CANCELED,
        [WEIR_JOB_CANCELED] = WEIR__TASK_STATE__CANCELED,
        [WEIR_JOB_FINISHED] = WEIR__TASK_STATE__FINISHED,
    };
    job->state = state;
    job->ended_ms = job->modified_ms = job->timestamps_ms[state] = ended_ms;
    for (int t = 0; t < job->task_count; t++) {
        job->tasks[t].state = task_states[state];
        job->tasks[t].timestamps_ms[job->tasks[t].state] = ended_ms;
    }
    job->version++;
}

static void list_damaged(struct weir_jm *jm, const char *job_id, const struct weir_jm_read *read, const char *what)
{
    weir_jm_log(
        jm, WEIR_JM_LOG_ERROR, NULL,
        "job %s: CHECKPOINT_CORRUPT: %s. The job is not run, and nothing of it is changed: mend that, or remove its directory jobs/%s, and "
        "start the JobManager again",
        job_id, what, job_id);
    free_snapshots(read);
    struct weir_jm_read bare = *read;
    bare.options.checkpoint_interval_ms = 0; /* no coordinator: HEAD is left alone */
    struct weir_jm_job *job = add_job(jm, job_id, &bare, false);
    set_ended(job, WEIR_JOB_FAILED, jm->wall_ms);
    Weir__Failure failure;
    weir__failure__init(&failure);
    failure.kind = (char *)"CHECKPOINT_CORRUPT";
    failure.message = (char *)(uintptr_t)what;
    job->cause = weir_jm_failure_copy(&failure);
    weir_jm_exception(jm, job, NULL, "", &failure);
    weir_jm_effect(jm, WEIR_JM_EFFECT_JOB_ENDED)->job_id = weir_arena_strdup(&jm->arena, job->id);
}

/* What must be readable: the newest one, to go on from, and those whose output may not be published. NULL: all of that is. */
static const char *damaged_checkpoint(struct weir_jm *jm, const struct weir_jm_read *read)
{
    const Weir__Head *head = read->head;
    bool ended = weir_job_state_terminal((enum weir_job_state)head->job_state);
    int uncommitted = 0;
    for (size_t i = 0; i < head->n_retained; i++) {
        const Weir__RetainedCheckpoint *retained = head->retained[i];
        bool open = retained->id > head->committed_upto;
        uncommitted += open;
        if (!read->take_snapshots[i] && (open || (i + 1 == head->n_retained && !ended)))
            return weir_arena_format(
                &jm->arena, "%s, which HEAD names as checkpoint %" PRIu64 ", is missing or not what was written",
                retained->metadata, retained->id);
    }
    if (uncommitted > COMMITS_MAX)
        return weir_arena_format(&jm->arena, "jobs/%s/HEAD has more unpublished checkpoints than a JobManager leaves",
                                 head->job_id);
    return NULL;
}

static void add_checkpoints(struct weir_jm *jm, struct weir_jm_job *job, const struct weir_jm_read *read)
{
    const Weir__Head *head = read->head;
    struct job_checkpoints *c = job->in->checkpoints;
    weir_head_init_read(&c->head, read->tag, head->nonce.data);
    c->next_id = c->reserved_to = head->next_checkpoint;
    c->committed_upto = head->committed_upto;
    c->floor_written = head->gc_floor;
    c->garbage_from = head->gc_floor ? head->gc_floor : 1;
    c->oldest_written = head->n_retained ? head->retained[0]->id : 0;
    c->state_written = (enum weir_job_state)head->job_state;
    weir_jm_checkpoint_deployed(c, head->subtasks_max, head->n_subtasks_max);
    c->claimed = head->claimed[0] ? weir_strdup(head->claimed) : NULL;
    for (size_t i = 0; i < head->n_retained; i++) {
        const Weir__RetainedCheckpoint *from = head->retained[i];
        Weir__Snapshot *snapshot = read->take_snapshots[i];
        struct weir_jm_retained entry = {.id = from->id,
                                         .size_bytes = from->size_bytes,
                                         .triggered_ms = from->triggered_ms,
                                         .completed_ms = from->completed_ms};
        snprintf(entry.metadata, sizeof entry.metadata, "%s", from->metadata);
        snprintf(entry.sha256, sizeof entry.sha256, "%s", from->sha256);
        weir_jm_checkpoint_retain(job, &entry, snapshot);
        if (!snapshot)
            weir_jm_log(
                jm, WEIR_JM_LOG_ERROR, job,
                "job %s: CHECKPOINT_CORRUPT: %s is missing or not what was written; a newer checkpoint is there, and what this one may "
                "refer to is kept",
                job->name, entry.metadata);
        else if (from->id > head->committed_upto && !WEIR_MUTANT(jm_recovered_unpublished))
            weir_jm_job_add_commit(jm, job, from->id, snapshot->final, snapshot->committables,
                                   snapshot->n_committables);
    }
    free(read->take_snapshots);
}

static void add_ended(struct weir_jm *jm, const char *job_id, const struct weir_jm_read *read)
{
    const Weir__Head *head = read->head;
    struct weir_jm_job *job = add_job(jm, job_id, read, true);
    enum weir_job_state state = (enum weir_job_state)head->job_state;
    set_ended(job, state, head->ended_ms);
    if (head->failure_kind[0]) {
        Weir__Failure failure;
        weir__failure__init(&failure);
        failure.kind = head->failure_kind;
        failure.message = head->failure;
        job->cause = weir_jm_failure_copy(&failure);
        weir_jm_exception(jm, job, NULL, "", &failure);
    }
    add_checkpoints(jm, job, read);
    job->in->abort_wanted = head->output_open;
    /* Its executors may live until their leases end, unless their TaskManager comes and says otherwise. */
    job->in->abort_not_before_ms = later_ms(jm->now_ms, jm->options.heartbeat_timeout_ms);
    /* Whoever only lists it leaves HEAD as it is; the first write, should there be one, takes it over. */
    job->in->checkpoints->taking_over = true;
    bool settled = head->n_retained == 0 || head->gc_floor > head->retained[head->n_retained - 1]->id;
    job->in->checkpoints->head_dirty = job->in->abort_wanted || job->in->commit_count > 0 || !settled;
    if (settled)
        weir_jm_garbage_sweep_soon(jm, job);
    weir_jm_effect(jm, WEIR_JM_EFFECT_JOB_ENDED)->job_id = weir_arena_strdup(&jm->arena, job->id);
}

static void take_over(struct weir_jm *jm, const char *job_id, const struct weir_jm_read *read)
{
    struct weir_jm_job *job = add_job(jm, job_id, read, true);
    add_checkpoints(jm, job, read);
    job->checkpointed = job->retained_count > 0;
    job->in->checkpoints->taking_over = true; /* the fencing write is due now */
    job->in->cancel_wanted = read->head->job_state == WEIR_JOB_CANCELLING;
    job->in->ever_deployed = true; /* perhaps */
    job->in->abort_not_before_ms = later_ms(jm->now_ms, jm->options.heartbeat_timeout_ms);
    weir_jm_job_set_status(job, "waiting for the checkpoint storage: it is taken over from an earlier JobManager");
    if (WEIR_MUTANT(jm_no_fencing)) {
        job->in->checkpoints->taking_over = false;
        job->in->checkpoints->attempts_to = read->head->next_attempt + 1;
        weir_jm_job_begin(jm, job);
    }
}

/* What is missing may have been there when HEAD was read: an earlier JobManager that still lived wrote a newer one and removed it. So it is
 * damaged only when HEAD is the same the next time. */
static bool may_have_changed(struct weir_jm *jm, const char *job_id, const struct weir_jm_read *read,
                             const struct recovery *before)
{
    const char *tag = read->head ? read->tag : "none";
    if (strcmp(before->damaged_tag, tag) == 0 || WEIR_MUTANT(jm_damaged_at_once))
        return false;
    struct recovery *again = read_later(jm, job_id, READ_AGAIN_MS);
    snprintf(again->damaged_tag, sizeof again->damaged_tag, "%s", tag);
    return true;
}

static bool any_missing(const struct weir_jm_read *read)
{
    for (size_t i = 0; i < read->head->n_retained; i++)
        if (!read->take_snapshots[i])
            return true;
    return false;
}

void weir_jm_job_was_read(struct weir_jm *jm, const struct weir_jm_event *event)
{
    const struct weir_jm_read *read = event->read;
    const Weir__Head *head = read->head;
    struct recovery recovery;
    if (!remove_recovery(jm, event->job_id, &recovery) ||
        weir_jm_job_get(jm, event->job_id)) { /* meanwhile submitted: its HEAD decides */
        weir_jm_read_free(read);
        return;
    }
    if (head && head->leader_epoch > jm->options.leader_epoch) {
        weir_jm_read_free(read);
        weir_jm_fence(jm, weir_arena_format(&jm->arena,
                                            "HEAD of job %s is of a later JobManager (leader epoch %" PRIu64
                                            ", here %" PRIu64 ")",
                                            event->job_id, head->leader_epoch, jm->options.leader_epoch));
        return;
    }
    if (read->result == WEIR_JM_READ_FAILED) {
        weir_jm_log(jm, WEIR_JM_LOG_WARN, NULL, "job %s of an earlier JobManager is not known yet: %s", event->job_id,
                    read->text);
        weir_jm_read_free(read);
        memcpy(read_later(jm, event->job_id, READ_AGAIN_MS)->damaged_tag, recovery.damaged_tag,
               sizeof recovery.damaged_tag);
        return;
    }
    if (read->result == WEIR_JM_READ_ABSENT) { /* a submission that is not accepted yet, or never was */
        weir_jm_read_free(read);
        look_again(jm, event->job_id);
        weir_jm_garbage_headless(jm, event->job_id);
        return;
    }
    const char *damage = read->result == WEIR_JM_READ_CORRUPT ? read->text : damaged_checkpoint(jm, read);
    if ((damage || any_missing(read)) && may_have_changed(jm, event->job_id, read, &recovery))
        weir_jm_read_free(read);
    else if (damage)
        list_damaged(jm, event->job_id, read, damage);
    else if (weir_job_state_terminal((enum weir_job_state)head->job_state))
        add_ended(jm, event->job_id, read);
    else
        take_over(jm, event->job_id, read);
}
