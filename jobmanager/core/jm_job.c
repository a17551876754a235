/* Jobs: submission, states (Flink's JobStatus), cancel, failure, output, history of exceptions, the end.
 *
 * Output: when all tasks have FINISHED their committables go to one TaskManager in CommitOutput; the job is FINISHED when it says
 * CommitDone. From the first CommitOutput on the job can neither be cancelled nor its output aborted: a commit that a lost
 * TaskManager was asked for may still happen. A job that ends otherwise has its output aborted, after its executors are gone.
 */
#include "jobmanager/core/jm_int.h"

#include "base/proto_memory.h"

#include <ctype.h>
#include <stdarg.h>

#define CANCEL_REPLY_MS 3000
#define COMMIT_AGAIN_MS 60000 /* after output could not be published */

bool weir_job_state_terminal(enum weir_job_state state)
{
    return state == WEIR_JOB_FAILED || state == WEIR_JOB_CANCELED || state == WEIR_JOB_FINISHED;
}

static bool transition_legal(enum weir_job_state from, enum weir_job_state to)
{
    switch (from) {
    case WEIR_JOB_INITIALIZING:
        return to == WEIR_JOB_CREATED;
    case WEIR_JOB_CREATED:
        return to == WEIR_JOB_RUNNING || to == WEIR_JOB_FAILING || to == WEIR_JOB_CANCELLING;
    case WEIR_JOB_RUNNING:
        return to == WEIR_JOB_RESTARTING || to == WEIR_JOB_FAILING || to == WEIR_JOB_CANCELLING ||
               to == WEIR_JOB_FINISHED;
    case WEIR_JOB_RESTARTING:
        return to == WEIR_JOB_RUNNING || to == WEIR_JOB_FAILING || to == WEIR_JOB_CANCELLING;
    case WEIR_JOB_FAILING:
        return to == WEIR_JOB_FAILED || to == WEIR_JOB_CANCELLING;
    case WEIR_JOB_CANCELLING:
        return to == WEIR_JOB_CANCELED;
    default:
        return false;
    }
}

void weir_jm_job_set_state(struct weir_jm *jm, struct weir_jm_job *job, enum weir_job_state state)
{
    weir_assert(transition_legal(job->state, state));
    job->state = state;
    job->timestamps_ms[state] = jm->wall_ms;
    job->modified_ms = jm->wall_ms;
    job->version++;
    weir_jm_log(jm, WEIR_JM_LOG_INFO, job, "job %s (%s) is %s", job->name, job->id, weir_job_state_name(state));
}

void weir_jm_job_set_status(struct weir_jm_job *job, const char *format, ...)
{
    char text[WEIR_JM_STATUS_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (strcmp(text, job->status) != 0) {
        memcpy(job->status, text, sizeof text);
        job->version++;
    }
}

struct weir_jm_job *weir_jm_job_get(struct weir_jm *jm, const char *job_id)
{
    for (int i = 0; i < jm->job_count; i++)
        if (strcmp(jm->jobs[i]->id, job_id) == 0)
            return jm->jobs[i];
    return NULL;
}

void weir_jm_reply(struct weir_jm *jm, uint64_t request, enum weir_err_code code, const char *text)
{
    struct weir_jm_effect *effect = weir_jm_effect(jm, WEIR_JM_EFFECT_REPLY);
    effect->request = request;
    effect->code = code;
    effect->text = text;
}

/* --- Submission */

static bool job_id_ok(const char *id)
{
    if (!id || strlen(id) != WEIR_JM_JOB_ID_SIZE - 1)
        return false;
    for (; *id; id++)
        if (!isdigit((unsigned char)*id) && !(*id >= 'a' && *id <= 'f'))
            return false;
    return true;
}

/* Groups in order of their first vertex; a group has as many slots as its widest vertex has subtasks. */
static void make_slots(struct weir_jm_job *job)
{
    const struct weir_plan *plan = job->plan;
    job->slot_count = plan->slots_needed;
    job->slots = weir_zalloc((size_t)job->slot_count * sizeof *job->slots);
    int next = 0;
    for (int v = 0; v < plan->vertex_count; v++) {
        const char *group = plan->vertices[v].slot_sharing_group;
        int first = 0;
        while (first < next && strcmp(job->slots[first].group, group) != 0)
            first++;
        if (first == next) { /* the group's first vertex */
            int width = 0;
            for (int w = v; w < plan->vertex_count; w++)
                if (strcmp(plan->vertices[w].slot_sharing_group, group) == 0 && plan->vertices[w].parallelism > width)
                    width = plan->vertices[w].parallelism;
            for (int i = 0; i < width; i++)
                job->slots[next++] = (struct weir_jm_slot){.group = group, .index = i, .slot = -1};
        }
        for (int i = 0; i < plan->vertices[v].parallelism; i++)
            job->tasks[plan->vertices[v].first_task + i].shared_slot = first + i;
    }
    weir_assert(next == job->slot_count);
}

/* The state of a slot's subtasks was where that of the old one's was which had the first of its key groups. */
static void take_homes(struct weir_jm_job *job, const struct weir_jm_slot *old, int old_count)
{
    for (int s = 0; s < job->slot_count; s++) {
        struct weir_jm_slot *slot = &job->slots[s];
        int width = 0, old_width = 0, first = -1;
        for (int i = 0; i < job->slot_count; i++)
            width += strcmp(job->slots[i].group, slot->group) == 0;
        for (int i = 0; i < old_count; i++) {
            if (strcmp(old[i].group, slot->group) != 0)
                continue;
            first = old_width++ == 0 ? i : first;
        }
        if (first >= 0)
            memcpy(slot->home, old[first + slot->index * old_width / width].home, sizeof slot->home);
    }
}

static void free_tasks(struct weir_jm_job *job)
{
    for (int t = 0; t < job->task_count; t++)
        weir_jm_task_clear(NULL, &job->tasks[t]);
    free(job->tasks);
    free(job->slots);
    free(job->in->executors);
    free(job->in->regions);
    free(job->in->region_tasks);
}

static void make_tasks(struct weir_jm *jm, struct weir_jm_job *job)
{
    const struct weir_plan *plan = job->plan;
    job->task_count = plan->task_count;
    job->tasks = weir_zalloc((size_t)plan->task_count * sizeof *job->tasks);
    job->in->executors = weir_zalloc((size_t)plan->task_count * sizeof *job->in->executors);
    job->in->regions = weir_zalloc((size_t)plan->task_region_count * sizeof *job->in->regions);
    job->in->region_tasks = weir_zalloc((size_t)plan->task_count * sizeof *job->in->region_tasks);
    for (int t = 0; t < plan->task_count; t++)
        job->in->regions[plan->task_regions[t]].count++;
    for (int r = 0, next = 0; r < plan->task_region_count; r++) {
        job->in->regions[r].first = next;
        job->in->regions[r].restart_at_ms = NEVER_MS;
        next += job->in->regions[r].count;
        job->in->regions[r].count = 0;
    }
    for (int v = 0; v < plan->vertex_count; v++)
        for (int i = 0; i < plan->vertices[v].parallelism; i++) {
            int t = plan->vertices[v].first_task + i;
            struct region *region = &job->in->regions[plan->task_regions[t]];
            job->in->region_tasks[region->first + region->count++] = t;
            job->tasks[t].vertex = v;
            job->tasks[t].subtask = i;
            job->tasks[t].region = plan->task_regions[t];
            weir_jm_task_new_attempt(jm, job, &job->tasks[t]);
        }
}

static void set_configuration(struct weir_jm_job *job, const char *key, const char *value)
{
    struct weir_key_value *pairs = (struct weir_key_value *)(uintptr_t)job->configuration;
    for (int i = 0; i < job->configuration_count; i++)
        if (strcmp(pairs[i].key, key) == 0) {
            free((char *)(uintptr_t)pairs[i].value);
            pairs[i].value = weir_strdup(value);
            return;
        }
    pairs = weir_realloc(pairs, (size_t)(job->configuration_count + 1) * sizeof *pairs);
    pairs[job->configuration_count++] = (struct weir_key_value){weir_strdup(key), weir_strdup(value)};
    job->configuration = pairs;
}

/* Attempts go on where the old ones ended: a subtask's number means another task from here on. */
void weir_jm_job_replan(struct weir_jm *jm, struct weir_jm_job *job, struct weir_plan *take_plan, int parallelism)
{
    uint32_t attempt = 0;
    for (int t = 0; t < job->task_count; t++) {
        weir_assert(weir_task_state_terminal(job->tasks[t].state));
        if (job->tasks[t].attempt > attempt)
            attempt = job->tasks[t].attempt;
    }
    weir_jm_slots_release(job);
    for (int i = 0; i < jm->executor_count; i++) /* they know the old plan */
        if (jm->executors[i]->job == job)
            weir_jm_executor_detach(jm, jm->executors[i]);
    struct weir_plan *old_plan = job->in->plan;
    struct weir_jm_slot *old_slots = job->slots;
    int old_count = job->slot_count;
    job->slots = NULL;
    free_tasks(job);
    job->in->plan = take_plan;
    job->plan = take_plan;
    job->name = take_plan->graph->name;
    char text[16];
    snprintf(text, sizeof text, "%d", parallelism);
    set_configuration(job, "pipeline.parallelism-override", text);
    make_tasks(jm, job);
    make_slots(job);
    take_homes(job, old_slots, old_count);
    free(old_slots);
    weir_plan_free(old_plan);
    for (int t = 0; t < job->task_count; t++)
        job->tasks[t].attempt = attempt + !WEIR_MUTANT(jm_rescale_attempt_reused);
    job->tasks_version++;
    job->version++;
    job->in->timer_ms = NEVER_MS;
    weir_jm_checkpoint_tasks_changed(job);
}

static const char *refuse_submit(struct weir_jm *jm, const struct weir_jm_event *event, enum weir_err_code *code)
{
    int live = 0;
    for (int i = 0; i < jm->job_count; i++)
        live += !weir_job_state_terminal(jm->jobs[i]->state);
    *code = WEIR_ERR_INVALID;
    if (!job_id_ok(event->job_id))
        return "a job's id has 32 hex digits";
    *code = WEIR_ERR_EXISTS;
    if (weir_jm_job_get(jm, event->job_id))
        return "a job with this id exists already";
    *code = WEIR_ERR_FULL;
    if (weir_jm_garbage_deleting(jm, event->job_id))
        return "what is left of an earlier job with this id is being deleted: try again";
    if (live >= jm->options.jobs_max)
        return "there are as many jobs as this JobManager runs at a time: cancel one first";
    return NULL;
}

struct weir_jm_job *weir_jm_job_add(struct weir_jm *jm, const struct weir_jm_new_job *from)
{
    struct weir_jm_job *job = weir_zalloc(sizeof *job);
    job->in = weir_zalloc(sizeof *job->in);
    job->in->timer_ms = job->in->cancel_reply_at_ms = NEVER_MS;
    memcpy(job->id, from->id, sizeof job->id);
    job->in->plan = from->take_plan;
    job->plan = job->in->plan;
    job->name = job->plan->graph->name;
    job->in->graph = weir_alloc(from->graph_size + 1);
    if (from->graph_size)
        memcpy(job->in->graph, from->graph, from->graph_size);
    job->in->graph_size = from->graph_size;
    job->options = *from->options;
    struct weir_key_value *configuration = weir_zalloc((size_t)(from->configuration_count + 1) * sizeof *configuration);
    for (int i = 0; i < from->configuration_count; i++) {
        configuration[i].key = weir_strdup(from->configuration[i].key);
        configuration[i].value = weir_strdup(from->configuration[i].value);
    }
    job->configuration = configuration;
    job->configuration_count = from->configuration_count;
    for (int i = 0; i < WEIR_JOB_STATES; i++)
        job->timestamps_ms[i] = -1;
    job->timestamps_ms[WEIR_JOB_INITIALIZING] = job->started_ms = job->modified_ms = jm->wall_ms;
    job->ended_ms = -1;
    GROW(jm->jobs, jm->job_count, jm->job_capacity);
    jm->jobs[jm->job_count++] = job;
    make_tasks(jm, job);
    make_slots(job);
    weir_jm_checkpoints_init(job, from->durable);
    return job;
}

void weir_jm_job_submit(struct weir_jm *jm, const struct weir_jm_event *event)
{
    enum weir_err_code code;
    const char *refusal = refuse_submit(jm, event, &code);
    if (refusal) {
        weir_plan_free(event->take_plan);
        if (event->restore)
            weir__snapshot__free_unpacked(event->restore->take_snapshot, NULL);
        weir_jm_reply(jm, event->request, code, refusal);
        return;
    }
    struct weir_jm_new_job from = {
        .id = event->job_id,
        .take_plan = event->take_plan,
        .graph = event->graph,
        .graph_size = event->graph_size,
        .options = &event->job_options,
        .configuration = event->configuration,
        .configuration_count = event->configuration_count,
        .durable = event->durable,
    };
    struct weir_jm_job *job = weir_jm_job_add(jm, &from);
    if (!event->durable) {
        weir_jm_reply(jm, event->request, WEIR_OK, "");
        weir_jm_job_begin(jm, job);
        return;
    }
    job->in->submitting_store = job->in->submitting = true;
    job->in->submit_request = event->request;
    const char *why = event->restore ? weir_jm_restore_begin(jm, job, event->restore) : NULL;
    if (why) {
        weir_jm_submission_failed(jm, job, WEIR_ERR_INVALID, why);
        return;
    }
    weir_jm_job_set_status(job, "waiting for the checkpoint storage to keep its graph and code");
    struct weir_jm_effect *effect = weir_jm_effect(jm, WEIR_JM_EFFECT_JOB_STORE);
    effect->job_id = weir_arena_strdup(&jm->arena, job->id);
    effect->bytes = memcpy(weir_arena_alloc(&jm->arena, event->graph_size + 1), job->in->graph, event->graph_size);
    effect->size = event->graph_size;
    effect->text = weir_arena_strdup(&jm->arena, job->plan->graph->code_sha256);
}

static void cancel_now(struct weir_jm *jm, struct weir_jm_job *job);

void weir_jm_job_publishes(struct weir_jm *jm, struct weir_jm_job *job, uint64_t checkpoint)
{
    for (int t = 0; t < job->task_count; t++) {
        job->tasks[t].state = WEIR__TASK_STATE__FINISHED;
        job->tasks[t].timestamps_ms[WEIR__TASK_STATE__FINISHED] = jm->wall_ms;
    }
    for (int r = 0; r < job->plan->task_region_count; r++)
        job->in->regions[r].state = REGION_ACTIVE;
    job->committing = true;
    weir_jm_job_set_status(job, "publishing its output");
    if (job->in->commit_count == 0) /* all of it is published, and only the end is missing */
        weir_jm_job_add_commit(jm, job, checkpoint, true, NULL, 0);
}

void weir_jm_job_begin(struct weir_jm *jm, struct weir_jm_job *job)
{
    job->in->submitting = false;
    weir_jm_job_set_status(job, "%s", "");
    weir_jm_job_set_state(jm, job, WEIR_JOB_CREATED);
    if (job->in->cancel_wanted)
        cancel_now(jm, job);
    else
        weir_jm_job_set_state(jm, job, WEIR_JOB_RUNNING);
}

/* --- Failures */

Weir__Failure *weir_jm_failure_copy(const Weir__Failure *failure)
{
    size_t size = weir__failure__get_packed_size(failure);
    uint8_t *bytes = weir_alloc(size);
    weir__failure__pack(failure, bytes);
    Weir__Failure *copy = weir__failure__unpack(&weir_proto_memory, size, bytes);
    weir_assert(copy);
    free(bytes);
    return copy;
}

static void free_exception(struct weir_jm_exception *exception)
{
    free(exception->task_name);
    free(exception->endpoint);
    weir__failure__free_unpacked(exception->failure, NULL);
}

void weir_jm_exception(struct weir_jm *jm, struct weir_jm_job *job, const struct weir_jm_task *task,
                       const char *taskmanager_id, const Weir__Failure *failure)
{
    int max = jm->options.exceptions_max;
    if (!job->exceptions)
        job->exceptions = weir_zalloc((size_t)max * sizeof *job->exceptions);
    if (job->exception_count == max) {
        free_exception(&job->exceptions[--job->exception_count]);
        job->exceptions_truncated = true;
    }
    memmove(job->exceptions + 1, job->exceptions, (size_t)job->exception_count * sizeof *job->exceptions);
    job->exception_count++;
    struct weir_jm_exception *exception = &job->exceptions[0];
    *exception = (struct weir_jm_exception){.wall_ms = jm->wall_ms, .failure = weir_jm_failure_copy(failure)};
    snprintf(exception->taskmanager_id, sizeof exception->taskmanager_id, "%s", taskmanager_id);
    if (task) {
        const struct weir_plan_vertex *vertex = &job->plan->vertices[task->vertex];
        exception->task_name = weir_format("%s (%d/%d) - execution #%" PRIu32, vertex->name, task->subtask + 1,
                                           vertex->parallelism, task->attempt - 1);
        exception->endpoint = task->host[0] ? weir_format("%s:%" PRIu32, task->host, task->data_port) : weir_strdup("");
        exception->attempt = task->attempt;
    } else {
        exception->task_name = weir_strdup("");
        exception->endpoint = weir_strdup("");
    }
    job->version++;
}

static void cancel_all(struct weir_jm *jm, struct weir_jm_job *job)
{
    weir_jm_tasks_cancel(jm, job, job->in->region_tasks, job->task_count);
}

void weir_jm_job_fail(struct weir_jm *jm, struct weir_jm_job *job, const Weir__Failure *failure)
{
    weir_jm_checkpoints_abort(jm, job, "the job fails");
    weir_jm_job_set_state(jm, job, WEIR_JOB_FAILING);
    weir_jm_job_set_status(job, "failing: %s: %s", failure->kind, failure->message);
    weir__failure__free_unpacked((Weir__Failure *)(uintptr_t)job->cause, NULL);
    job->cause = weir_jm_failure_copy(failure);
    cancel_all(jm, job);
    weir_jm_job_settle(jm, job);
}

/* --- Cancel */

static void cancel_now(struct weir_jm *jm, struct weir_jm_job *job)
{
    weir_jm_checkpoints_abort(jm, job, "the job is cancelled");
    job->committing = false;
    weir_jm_job_set_state(jm, job, WEIR_JOB_CANCELLING);
    weir_jm_job_set_status(job, "cancelling: waiting for its tasks to stop (task.cancellation.timeout %" PRId64 " ms)",
                           job->options.cancellation_timeout_ms);
    cancel_all(jm, job);
    weir_jm_job_settle(jm, job);
}

/* NULL: it can be. */
static const char *refuse_cancel(struct weir_jm *jm, const struct weir_jm_job *job)
{
    bool publishing = job->committing && weir_jm_checkpoint_final_is_complete(job);
    if ((!weir_job_state_terminal(job->state) && !publishing) || WEIR_MUTANT(jm_cancel_committing))
        return NULL;
    return weir_arena_format(&jm->arena,
                             publishing && !weir_job_state_terminal(job->state)
                                 ? "job %s is %s and its output is being published: it cannot be cancelled any more"
                                 : "job %s has ended: it is %s",
                             job->id, weir_job_state_name(job->state));
}

/* Answered when a later JobManager would cancel it too, or when the store has not said so for CANCEL_REPLY_MS. */
static void answer_when_durable(struct weir_jm *jm, struct weir_jm_job *job, uint64_t request)
{
    if (weir_jm_checkpoint_cancel_recorded(job) || job->in->cancel_request_count == CANCELS_MAX) {
        weir_jm_reply(jm, request, WEIR_OK, "");
        return;
    }
    if (job->in->cancel_request_count == 0)
        job->in->cancel_reply_at_ms = later_ms(jm->now_ms, CANCEL_REPLY_MS);
    job->in->cancel_requests[job->in->cancel_request_count++] = request;
}

void weir_jm_job_answer_cancels(struct weir_jm *jm, struct weir_jm_job *job)
{
    for (int i = 0; i < job->in->cancel_request_count; i++)
        weir_jm_reply(jm, job->in->cancel_requests[i], WEIR_OK, "");
    job->in->cancel_request_count = 0;
    job->in->cancel_reply_at_ms = NEVER_MS;
}

void weir_jm_job_cancel(struct weir_jm *jm, const struct weir_jm_event *event)
{
    struct weir_jm_job *job = weir_jm_job_get(jm, event->job_id);
    if (!job) {
        weir_jm_reply(jm, event->request, WEIR_ERR_NOT_FOUND,
                      weir_arena_format(&jm->arena, "there is no job %.64s", event->job_id));
        return;
    }
    bool already = job->state == WEIR_JOB_CANCELED || job->state == WEIR_JOB_CANCELLING;
    const char *refusal = already ? NULL : refuse_cancel(jm, job);
    if (refusal) {
        weir_jm_reply(jm, event->request, WEIR_ERR_EXISTS, refusal);
        return;
    }
    if (job->state == WEIR_JOB_INITIALIZING)
        job->in->cancel_wanted = true;
    else if (!already)
        cancel_now(jm, job);
    if (!already)
        weir_jm_checkpoints_changed(job);
    answer_when_durable(jm, job, event->request);
}

/* --- The end */

static void end_job(struct weir_jm *jm, struct weir_jm_job *job, enum weir_job_state state)
{
    weir_jm_job_set_state(jm, job, state);
    job->ended_ms = jm->wall_ms;
    weir_jm_job_set_status(job, "%s", "");
    job->in->timer_ms = NEVER_MS;
    if (job->in->commit_count == 0) /* else it is publishing what a checkpoint has made output */
        job->in->output_tm = NULL;
    /* Perhaps: what could not be published may have been in part. What a complete checkpoint has made output is published before. */
    bool published = job->in->checkpoints ? job->in->commit_failed : job->in->commit_sent;
    job->in->abort_wanted =
        state != WEIR_JOB_FINISHED && job->in->ever_deployed && (!published || WEIR_MUTANT(jm_abort_after_commit));
    weir_jm_checkpoints_ended(job);
    weir_jm_slots_release(job);
    for (int i = 0; i < jm->executor_count; i++)
        if (jm->executors[i]->job == job && !WEIR_MUTANT(jm_executors_left))
            weir_jm_executor_detach(jm, jm->executors[i]);
    weir_jm_effect(jm, WEIR_JM_EFFECT_JOB_ENDED)->job_id = weir_arena_strdup(&jm->arena, job->id);
}

/* --- What is to be published, in order */

static bool commit_room(const struct weir_jm_job *job)
{
    return job->in->commit_count < COMMITS_MAX;
}

void weir_jm_job_add_commit(struct weir_jm *jm, struct weir_jm_job *job, uint64_t checkpoint, bool final,
                            Weir__Committable **committables, size_t count)
{
    (void)jm;
    if (job->in->commit_failed && !job->in->checkpoints) /* nothing is published after what could not be */
        return;
    weir_assert(commit_room(job));
    Weir__CommitOutput output;
    weir__commit_output__init(&output);
    output.job_id = job->id;
    output.code_sha256 = job->plan->graph->code_sha256; /* a connector of the job's own may be needed */
    output.checkpoint = checkpoint;
    output.committables = committables;
    output.n_committables = count;
    for (int i = 0; i < job->configuration_count; i++)
        if (strcmp(job->configuration[i].key, "execution.checkpointing.dir") == 0)
            output.store = (char *)(uintptr_t)job->configuration[i].value;
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_COMMIT_OUTPUT;
    control.commit_output = &output;
    job->in->commits[job->in->commit_count++] = (struct commit){checkpoint, final, weir_jm_control_copy(&control)};
}

static void add_final_commit(struct weir_jm *jm, struct weir_jm_job *job)
{
    size_t count = 0;
    for (int t = 0; t < job->task_count; t++)
        count += job->tasks[t].finished ? job->tasks[t].finished->task_report->n_committables : 0;
    Weir__Committable **list = weir_arena_alloc(&jm->arena, (count + 1) * sizeof *list);
    size_t n = 0;
    for (int t = 0; t < job->task_count; t++) {
        const Weir__Control *finished = job->tasks[t].finished;
        for (size_t i = 0; finished && i < finished->task_report->n_committables; i++)
            list[n++] = finished->task_report->committables[i];
    }
    weir_jm_job_add_commit(jm, job, 0, true, list, n);
}

static struct commit take_commit(struct weir_jm *jm, struct weir_jm_job *job)
{
    struct commit first = job->in->commits[0];
    job->in->commit_count--;
    memmove(job->in->commits, job->in->commits + 1, (size_t)job->in->commit_count * sizeof first);
    job->in->output_tm = NULL;
    weir_jm_trash(jm, first.control);
    return first;
}

/* The first one is published (or there was nothing in it). */
static void commit_is_done(struct weir_jm *jm, struct weir_jm_job *job)
{
    struct commit done = take_commit(jm, job);
    weir_jm_checkpoint_committed(job, done.checkpoint);
    if (job->in->commit_count == 0)
        job->in->commit_failed = false;
    /* One that is cancelled, or fails, while its last checkpoint is being written into HEAD ends as that, with its output. */
    if (done.final && job->state == WEIR_JOB_RUNNING)
        end_job(jm, job, WEIR_JOB_FINISHED);
}

void weir_jm_job_settle(struct weir_jm *jm, struct weir_jm_job *job)
{
    if (weir_job_state_terminal(job->state))
        return;
    if (job->state == WEIR_JOB_RUNNING || job->state == WEIR_JOB_RESTARTING)
        weir_jm_region_timers(jm, job);
    bool ended = true, finished = true;
    for (int t = 0; t < job->task_count && (ended || finished); t++) {
        ended &= weir_task_state_terminal(job->tasks[t].state);
        finished &= job->tasks[t].state == WEIR__TASK_STATE__FINISHED;
    }
    if (WEIR_MUTANT(jm_commit_early) && job->state == WEIR_JOB_RUNNING)
        finished = weir_jm_region_finished(job, 0);
    if (job->state == WEIR_JOB_FAILING && (ended || WEIR_MUTANT(jm_failed_at_once))) {
        end_job(jm, job, WEIR_JOB_FAILED);
    } else if (job->state == WEIR_JOB_CANCELLING && ended) {
        end_job(jm, job, WEIR_JOB_CANCELED);
    } else if (job->state == WEIR_JOB_RUNNING && finished && !job->committing) {
        job->committing = true;
        weir_jm_job_set_status(job, "publishing its output");
        if (!weir_jm_checkpoint_final(jm, job))
            add_final_commit(jm, job);
    }
}

/* --- Output */

static struct weir_jm_taskmanager *preferred_tm(struct weir_jm *jm, const struct weir_jm_job *job)
{
    for (int t = job->task_count; t-- > 0;) /* one that ran a sink knows the way */
        for (int i = 0; i < jm->tm_count; i++)
            if (strcmp(jm->tms[i]->id, job->tasks[t].taskmanager_id) == 0)
                return jm->tms[i];
    return jm->tm_count ? jm->tms[0] : NULL;
}

/* NULL: none is there, or it has enough to do: output of many jobs, of an earlier JobManager's perhaps, would fill its outbox, and it
 * would be lost for that each time that it registers. */
static struct weir_jm_taskmanager *choose_tm(struct weir_jm *jm, const struct weir_jm_job *job)
{
    struct weir_jm_taskmanager *tm = preferred_tm(jm, job);
    bool busy = tm && weir_jm_commands_waiting(tm) >= jm->options.window && !WEIR_MUTANT(jm_output_floods);
    return busy ? NULL : tm;
}

static void send_commit(struct weir_jm *jm, struct weir_jm_job *job, struct weir_jm_taskmanager *tm)
{
    job->in->output_tm = tm;
    job->in->commit_sent = true;
    job->in->output_command = weir_jm_command(jm, tm, job->in->commits[0].control);
}

static void send_abort(struct weir_jm *jm, struct weir_jm_job *job, struct weir_jm_taskmanager *tm)
{
    Weir__AbortOutput abort_output;
    weir__abort_output__init(&abort_output);
    abort_output.job_id = job->id;
    abort_output.graph.data = job->in->graph;
    abort_output.graph.len = job->in->graph_size;
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_ABORT_OUTPUT;
    control.abort_output = &abort_output;
    job->in->output_tm = tm;
    job->in->output_command = weir_jm_command(jm, tm, &control);
}

static bool executors_left(const struct weir_jm *jm, const struct weir_jm_job *job)
{
    for (int i = 0; i < jm->executor_count; i++)
        if (strcmp(jm->executors[i]->job_id, job->id) == 0)
            return !WEIR_MUTANT(jm_abort_early);
    return false;
}

static void publish(struct weir_jm *jm, struct weir_jm_job *job)
{
    while (job->in->commit_count > 0 && job->in->commits[0].control->commit_output->n_committables == 0)
        commit_is_done(jm, job);
    if (job->in->commit_count == 0)
        return;
    struct weir_jm_taskmanager *tm = choose_tm(jm, job);
    if (tm)
        send_commit(jm, job, tm);
    if (job->committing && tm)
        weir_jm_job_set_status(job, "publishing its output on TaskManager %s", tm->id);
    else if (job->committing)
        weir_jm_job_set_status(job, "publishing its output: waiting for a TaskManager");
}

void weir_jm_job_outputs(struct weir_jm *jm)
{
    for (int i = 0; i < jm->job_count; i++) {
        struct weir_jm_job *job = jm->jobs[i];
        if (job->in->output_tm)
            continue;
        if (weir_jm_checkpoint_taking_over(job))
            continue;
        if (job->in->commit_count > 0 && jm->now_ms >= job->in->commit_again_ms)
            publish(jm, job);
        if (job->in->output_tm || !weir_job_state_terminal(job->state) || !job->in->abort_wanted ||
            executors_left(jm, job) || !weir_jm_checkpoint_end_recorded(job) ||
            jm->now_ms < job->in->abort_not_before_ms)
            continue;
        struct weir_jm_taskmanager *tm = choose_tm(jm, job);
        if (tm)
            send_abort(jm, job, tm);
    }
}

void weir_jm_job_commit_done(struct weir_jm *jm, struct weir_jm_taskmanager *tm, const Weir__CommitDone *done)
{
    struct weir_jm_job *job = weir_jm_job_get(jm, done->job_id);
    if (!job || job->in->output_tm != tm || job->in->commit_count == 0 ||
        job->in->commits[0].checkpoint != done->checkpoint)
        return;
    if (!done->failure) {
        commit_is_done(jm, job);
        return;
    }
    bool again = job->in->commit_failed;
    job->in->commit_failed = true;
    job->in->abort_wanted = false; /* what a complete checkpoint has made output stays to be published: */
    job->in->output_tm = NULL;
    /* the job has failed, but a job that began with a later checkpoint of it waits for what comes before, and so may the user. */
    job->in->commit_again_ms = later_ms(jm->now_ms, COMMIT_AGAIN_MS);
    while (job->in->commit_count > 0 && !job->in->checkpoints)
        take_commit(jm, job);
    if (!again)
        weir_jm_exception(jm, job, NULL, tm->id, done->failure);
    if (job->state == WEIR_JOB_RUNNING || job->state == WEIR_JOB_RESTARTING)
        weir_jm_job_fail(jm, job, done->failure);
}

/* --- Bounds */

void weir_jm_job_remove(struct weir_jm *jm, struct weir_jm_job *job)
{
    int index = 0;
    while (jm->jobs[index] != job)
        index++;
    weir_jm_job_free(job);
    jm->job_count--;
    memmove(&jm->jobs[index], &jm->jobs[index + 1], (size_t)(jm->job_count - index) * sizeof(struct weir_jm_job *));
}

static void drop_job(struct weir_jm *jm, int index)
{
    weir_jm_effect(jm, WEIR_JM_EFFECT_JOB_DROPPED)->job_id = weir_arena_strdup(&jm->arena, jm->jobs[index]->id);
    weir_jm_garbage_forgotten(jm, jm->jobs[index]);
    weir_jm_job_remove(jm, jm->jobs[index]);
}

/* The one that ended first; -1: none may go. A job whose output is still to be aborted stays, unless `all`. */
static int first_ended(const struct weir_jm *jm, bool all)
{
    int first = -1;
    for (int i = 0; i < jm->job_count; i++) {
        const struct weir_jm_job *job = jm->jobs[i];
        if (weir_job_state_terminal(job->state) &&
            (all || (!job->in->abort_wanted && job->in->commit_count == 0 && !weir_jm_checkpoints_busy(job))) &&
            (first < 0 || job->ended_ms < jm->jobs[first]->ended_ms))
            first = i;
    }
    return first;
}

/* Jobs that ended long ago go when there are too many: by their end, so that one that ran long can still be looked at when it has ended. */
void weir_jm_job_expire(struct weir_jm *jm)
{
    int ended = 0;
    for (int i = 0; i < jm->job_count; i++)
        ended += weir_job_state_terminal(jm->jobs[i]->state);
    for (; ended > jm->options.jobs_ended_max; ended--) {
        int first = first_ended(jm, ended > 2 * jm->options.jobs_ended_max);
        if (first < 0)
            return;
        drop_job(jm, first);
    }
}

void weir_jm_job_free(struct weir_jm_job *job)
{
    free_tasks(job);
    free(job->restored_path);
    for (int i = 0; i < job->exception_count; i++)
        free_exception(&job->exceptions[i]);
    for (int i = 0; i < job->configuration_count; i++) {
        free((char *)(uintptr_t)job->configuration[i].key);
        free((char *)(uintptr_t)job->configuration[i].value);
    }
    weir__failure__free_unpacked((Weir__Failure *)(uintptr_t)job->cause, NULL);
    free((void *)(uintptr_t)job->configuration);
    for (int i = 0; i < job->in->commit_count; i++)
        weir__control__free_unpacked(job->in->commits[i].control, NULL);
    weir_jm_checkpoints_free(job);
    free(job->retained);
    free(job->exceptions);
    free(job->in->graph);
    free(job->in->restart.failures_ms);
    weir_plan_free(job->in->plan);
    weir_plan_free(job->in->rescale);
    free(job->in);
    free(job);
}
