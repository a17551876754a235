#include "jobmanager/io/view.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/proto_memory.h"
#include "graph/build_client.h"

static const char *copy(struct weir_arena *arena, const char *text)
{
    return weir_arena_strdup(arena, text ? text : "");
}

/* States pass by number: what the core and the protocol have, REST has under the same ones. */
_Static_assert((int)WEIR_VIEW_JOB_INITIALIZING == (int)WEIR_JOB_INITIALIZING &&
                   (int)WEIR_VIEW_JOB_FINISHED == (int)WEIR_JOB_FINISHED &&
                   (int)WEIR_VIEW_JOB_RESTARTING == (int)WEIR_JOB_RESTARTING,
               "job states");
_Static_assert((int)WEIR_VIEW_TASK_CREATED == (int)WEIR__TASK_STATE__CREATED &&
                   (int)WEIR_VIEW_TASK_RUNNING == (int)WEIR__TASK_STATE__RUNNING &&
                   (int)WEIR_VIEW_TASK_FAILED == (int)WEIR__TASK_STATE__FAILED,
               "task states");

static int64_t entered(int64_t ms) /* the core says -1, REST 0 */
{
    return ms < 0 ? 0 : ms;
}

/* --- Tasks */

static void add_numbers(struct weir_view_operator *operator_, Weir__OpNumber *const *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (numbers[i]->metric < WEIR_OP_METRICS) {
            int64_t *value = &operator_->numbers[numbers[i]->metric];
            *value = weir_op_metric_merge((enum weir_op_metric)numbers[i]->metric, *value, numbers[i]->value);
        }
}

static void copy_lanes(struct weir_arena *arena, const Weir__OperatorMetrics *from, struct weir_view_operator *to)
{
    struct weir_view_lane *lanes = weir_arena_alloc(arena, (from->n_lanes + 1) * sizeof *lanes);
    for (size_t i = 0; i < from->n_lanes; i++)
        lanes[i] = (struct weir_view_lane){copy(arena, from->lanes[i]->topic), from->lanes[i]->partition,
                                           from->lanes[i]->next, from->lanes[i]->committed, from->lanes[i]->lag};
    to->lanes = lanes;
    to->lane_count = (int)from->n_lanes;
}

/* What TaskManagers have published of a sink's output log counts as its first subtask's. */
static void add_published(const struct weir_jm *jm, const char *job_id, const char *uid,
                          struct weir_view_operator *operator_)
{
    for (int i = 0; i < weir_jm_taskmanager_count(jm); i++) {
        const Weir__ProcessMetrics *process = weir_jm_taskmanager_at(jm, i)->process;
        for (size_t s = 0; process && s < process->n_sinks; s++)
            if (strcmp(process->sinks[s]->job_id, job_id) == 0 && strcmp(process->sinks[s]->operator_, uid) == 0)
                add_numbers(operator_, process->sinks[s]->numbers, process->sinks[s]->n_numbers);
    }
}

static void copy_operators(struct weir_arena *arena, const struct weir_jm *jm, const struct weir_jm_job *job,
                           const Weir__TaskMetrics *metrics, struct weir_view_task *task)
{
    const struct weir_plan *plan = job->plan;
    struct weir_view_operator *operators = weir_arena_zalloc(arena, (metrics->n_operators + 1) * sizeof *operators);
    task->operators = operators;
    for (size_t i = 0; i < metrics->n_operators; i++) {
        const Weir__OperatorMetrics *from = metrics->operators[i];
        if (from->op >= (uint32_t)plan->op_count)
            continue;
        struct weir_view_operator *to = &operators[task->operator_count++];
        *to = (struct weir_view_operator){
            .name = copy(arena, plan->ops[from->op].vertex->name),
            .op = copy(arena, plan->ops[from->op].vertex->op),
            .records_in = from->records_in,
            .records_out = from->records_out,
            .records_bad = from->records_bad,
            .late_dropped = from->late_dropped,
            .watermark_in_ms = from->watermark_in_ms,
            .watermark_out_ms = from->watermark_out_ms,
        };
        for (int m = 0; m < WEIR_OP_METRICS; m++)
            to->numbers[m] = WEIR_OP_METRIC_NONE;
        add_numbers(to, from->numbers, from->n_numbers);
        copy_lanes(arena, from, to);
        if (task->subtask == 0)
            add_published(jm, job->id, plan->ops[from->op].uid, to);
    }
}

static void copy_task(struct weir_arena *arena, const struct weir_jm *jm, const struct weir_jm_job *job,
                      const struct weir_jm_task *from, struct weir_view_task *task)
{
    *task = (struct weir_view_task){
        .subtask = from->subtask,
        .attempt = (int)from->attempt - 1,
        .state = (enum weir_view_task_state)from->state,
        .taskmanager_id = copy(arena, from->taskmanager_id),
        .host = copy(arena, from->host),
        .data_port = (int)from->data_port,
        .watermark_ms = INT64_MIN,
    };
    for (int i = 0; i < WEIR_VIEW_TASK_STATES; i++)
        task->timestamps_ms[i] = entered(from->timestamps_ms[i]);
    const Weir__TaskMetrics *metrics = from->metrics;
    if (!metrics)
        return;
    task->metrics_complete = true;
    task->records_in = metrics->records_in;
    task->records_out = metrics->records_out;
    task->bytes_in = metrics->bytes_in;
    task->bytes_out = metrics->bytes_out;
    task->busy_ms = metrics->busy_ns / 1000000;
    task->idle_ms = metrics->idle_ns / 1000000;
    task->backpressured_ms = metrics->backpressured_ns / 1000000;
    task->watermark_ms = metrics->watermark_ms;
    copy_operators(arena, jm, job, metrics, task);
}

static void copy_vertices(struct weir_arena *arena, const struct weir_jm *jm, const struct weir_jm_job *from,
                          struct weir_view_job *job)
{
    const struct weir_plan *plan = from->plan;
    struct weir_view_vertex *vertices = weir_arena_zalloc(arena, (size_t)plan->vertex_count * sizeof *vertices);
    job->vertices = vertices;
    job->vertex_count = plan->vertex_count;
    for (int i = 0; i < plan->vertex_count; i++) {
        const struct weir_plan_vertex *vertex = &plan->vertices[i];
        struct weir_view_task *tasks = weir_arena_zalloc(arena, (size_t)vertex->parallelism * sizeof *tasks);
        for (int k = 0; k < vertex->parallelism; k++)
            copy_task(arena, jm, from, &from->tasks[vertex->first_task + k], &tasks[k]);
        vertices[i] = (struct weir_view_vertex){
            .id = copy(arena, vertex->id),
            .name = copy(arena, vertex->name),
            .slot_sharing_group = copy(arena, vertex->slot_sharing_group),
            .parallelism = vertex->parallelism,
            .max_parallelism = vertex->max_parallelism,
            .state = (enum weir_view_task_state)weir_jm_vertex_state(from, i),
            .tasks = tasks,
        };
    }
}

/* --- Jobs */

static void copy_exceptions(struct weir_arena *arena, const struct weir_jm_job *from, struct weir_view_job *job)
{
    struct weir_view_exception *exceptions =
        weir_arena_zalloc(arena, ((size_t)from->exception_count + 1) * sizeof *exceptions);
    job->exceptions = exceptions;
    job->exception_count = from->exception_count;
    job->exceptions_truncated = from->exceptions_truncated;
    for (int i = 0; i < from->exception_count; i++) {
        const struct weir_jm_exception *exception = &from->exceptions[i];
        const Weir__Failure *failure = exception->failure;
        exceptions[i] = (struct weir_view_exception){
            .at_ms = exception->wall_ms,
            .name = copy(arena, failure->kind),
            .message = copy(arena, failure->message),
            .stack = copy(arena, failure->stack),
            .operator_name = copy(arena, failure->operator_),
            .position = copy(arena, failure->position),
            .task_name = copy(arena, exception->task_name),
            .endpoint = copy(arena, exception->endpoint),
            .taskmanager_id = copy(arena, exception->taskmanager_id),
        };
    }
}

static void copy_configuration(struct weir_arena *arena, const struct weir_jm_job *from, struct weir_view_job *job)
{
    struct weir_key_value *pairs = weir_arena_zalloc(arena, ((size_t)from->configuration_count + 1) * sizeof *pairs);
    job->configuration = pairs;
    job->configuration_count = from->configuration_count;
    for (int i = 0; i < from->configuration_count; i++)
        pairs[i] =
            (struct weir_key_value){copy(arena, from->configuration[i].key), copy(arena, from->configuration[i].value)};
}

static const char *restart_strategy_name(enum weir_jm_restart_type type)
{
    static const char *const names[] = {"none", "fixed-delay", "exponential-delay", "failure-rate"};
    return names[type];
}

static void copy_job(struct weir_arena *arena, const struct weir_jm *jm, const struct weir_jm_job *from, int parts,
                     struct weir_view_job *job)
{
    const Weir__JobGraph *graph = from->plan->graph;
    *job = (struct weir_view_job){
        .id = copy(arena, from->id),
        .name = copy(arena, from->name),
        .state = (enum weir_view_job_state)from->state,
        .status = copy(arena, from->status),
        .start_ms = from->started_ms,
        .end_ms = from->ended_ms,
        .modified_ms = from->modified_ms,
        .restarts = (int64_t)from->restarts,
        .parallelism = (int)graph->parallelism,
        .task_total = from->task_count,
        .restart_strategy = restart_strategy_name(from->options.restart),
        .code_sha256 = copy(arena, graph->code_sha256),
        .plan_json = "",
    };
    for (int i = 0; i < WEIR_JOB_STATES; i++)
        job->timestamps_ms[i] = entered(from->timestamps_ms[i]);
    for (int i = 0; i < from->task_count; i++)
        job->task_counts[from->tasks[i].state]++;
    for (int i = 0; i < from->plan->vertex_count; i++) {
        const struct weir_plan_vertex *vertex = &from->plan->vertices[i];
        if (vertex->parallelism > job->parallelism)
            job->parallelism = vertex->parallelism;
        if (vertex->max_parallelism > job->max_parallelism)
            job->max_parallelism = vertex->max_parallelism;
    }
    if (parts & WEIR_VIEW_VERTICES)
        copy_vertices(arena, jm, from, job);
    if (parts & WEIR_VIEW_EXCEPTIONS)
        copy_exceptions(arena, from, job);
    if (parts & WEIR_VIEW_CONFIGURATION)
        copy_configuration(arena, from, job);
    if (parts & WEIR_VIEW_PLAN) {
        json_t *plan = weir_plan_json(from->plan, from->id);
        char *text = json_dumps(plan, JSON_COMPACT | JSON_PRESERVE_ORDER);
        job->plan_json = copy(arena, text);
        free(text);
        json_decref(plan);
    }
}

static void view_jobs(void *self, struct weir_arena *arena, const struct weir_view_job **jobs, int *count)
{
    struct weir_jobmanager_view *view = self;
    const struct weir_jm *jm = weir_jobmanager_lock(view->jobmanager);
    *count = weir_jm_job_count(jm);
    struct weir_view_job *out = weir_arena_zalloc(arena, ((size_t)*count + 1) * sizeof *out);
    for (int i = 0; i < *count; i++)
        copy_job(arena, jm, weir_jm_job_at(jm, i), 0, &out[i]);
    weir_jobmanager_unlock(view->jobmanager);
    *jobs = out;
}

static bool view_knows_all_jobs(void *self)
{
    struct weir_jobmanager_view *view = self;
    bool all = weir_jm_knows_all_jobs(weir_jobmanager_lock(view->jobmanager));
    weir_jobmanager_unlock(view->jobmanager);
    return all;
}

static bool view_job(void *self, const char *job_id, int parts, struct weir_arena *arena,
                     const struct weir_view_job **job)
{
    struct weir_jobmanager_view *view = self;
    const struct weir_jm *jm = weir_jobmanager_lock(view->jobmanager);
    const struct weir_jm_job *found = weir_jm_job_find(jm, job_id);
    if (found) {
        struct weir_view_job *out = weir_arena_zalloc(arena, sizeof *out);
        copy_job(arena, jm, found, parts, out);
        *job = out;
    }
    weir_jobmanager_unlock(view->jobmanager);
    return found != NULL;
}

/* --- Checkpoints */

static const char *checkpoint_path(const struct weir_jobmanager_view *view, struct weir_arena *arena,
                                   const struct weir_jm_job *job, const struct weir_jm_checkpoint *from)
{
    const char *uri = weir_jobmanager_checkpoint_uri(view->jobmanager);
    if (from->path)
        return copy(arena, from->path);
    return from->status != WEIR_JM_CHECKPOINT_COMPLETED || !uri
               ? ""
               : weir_arena_format(arena, "%s/jobs/%s/chk-%llu", uri, job->id, (unsigned long long)from->id);
}

static bool is_retained(const struct weir_jm_job *job, uint64_t id)
{
    for (int i = 0; i < job->retained_count; i++)
        if (job->retained[i].id == id)
            return true;
    return false;
}

static void copy_parts(struct weir_arena *arena, const struct weir_jm_job *job, const struct weir_jm_checkpoint *from,
                       struct weir_view_checkpoint *to)
{
    if (from->tasks_version != job->tasks_version)
        return;
    const struct weir_plan *plan = job->plan;
    struct weir_view_checkpoint_part *parts = weir_arena_zalloc(arena, (size_t)job->task_count * sizeof *parts);
    struct weir_view_checkpoint_vertex *vertices =
        weir_arena_zalloc(arena, (size_t)plan->vertex_count * sizeof *vertices);
    for (int t = 0; t < job->task_count; t++)
        parts[t] = (struct weir_view_checkpoint_part){.acknowledged_ms = from->parts[t].acknowledged_ms,
                                                      .size_bytes = from->parts[t].size_bytes,
                                                      .alignment_ms = from->parts[t].alignment_ms,
                                                      .persisted_bytes = from->parts[t].persisted_bytes,
                                                      .new_bytes = from->parts[t].new_bytes,
                                                      .processed_bytes = from->parts[t].processed_bytes,
                                                      .sync_ms = from->parts[t].sync_ms,
                                                      .async_ms = from->parts[t].async_ms,
                                                      .unaligned = from->parts[t].unaligned};
    for (int i = 0; i < plan->vertex_count; i++)
        vertices[i] = (struct weir_view_checkpoint_vertex){.id = copy(arena, plan->vertices[i].id),
                                                           .part_count = plan->vertices[i].parallelism,
                                                           .parts = &parts[plan->vertices[i].first_task]};
    to->vertices = vertices;
    to->vertex_count = plan->vertex_count;
}

static void copy_checkpoint(const struct weir_jobmanager_view *view, struct weir_arena *arena,
                            const struct weir_jm_job *job, const struct weir_jm_checkpoint *from,
                            struct weir_view_checkpoint *to)
{
    *to = (struct weir_view_checkpoint){
        .id = from->id,
        .status = (enum weir_view_checkpoint_status)from->status,
        .savepoint = from->savepoint,
        .discarded = from->status == WEIR_JM_CHECKPOINT_COMPLETED && !from->savepoint && !is_retained(job, from->id),
        .triggered_ms = from->triggered_ms,
        .ended_ms = from->ended_ms,
        .acknowledged_ms = from->acknowledged_ms,
        .size_bytes = from->size_bytes,
        .subtasks = from->task_count,
        .acknowledged = from->acknowledged,
        .path = checkpoint_path(view, arena, job, from),
        .failure = copy(arena, from->failure),
    };
    for (int t = 0; t < from->task_count; t++) {
        to->new_bytes += from->parts[t].new_bytes;
        to->processed_bytes += from->parts[t].processed_bytes;
        to->persisted_bytes += from->parts[t].persisted_bytes;
        to->unaligned |= from->parts[t].unaligned;
    }
    copy_parts(arena, job, from, to);
}

/* Of the job's own configuration; NULL: it has no such key. */
static const char *setting(const struct weir_jm_job *job, const char *key)
{
    for (int i = 0; i < job->configuration_count;
         i++) /* the first counts, as for executors: it is as the table writes it */
        if (strcmp(job->configuration[i].key, key) == 0)
            return job->configuration[i].value;
    return NULL;
}

static bool view_checkpoints(void *self, const char *job_id, struct weir_arena *arena,
                             const struct weir_view_checkpoints **checkpoints)
{
    struct weir_jobmanager_view *view = self;
    const struct weir_jm *jm = weir_jobmanager_lock(view->jobmanager);
    const struct weir_jm_job *job = weir_jm_job_find(jm, job_id);
    if (job) {
        struct weir_view_checkpoints *out = weir_arena_zalloc(arena, sizeof *out);
        struct weir_view_checkpoint *list =
            weir_arena_zalloc(arena, (size_t)(job->checkpoint_count + 1) * sizeof *list);
        const struct weir_jm_job_options *options = &job->options;
        const char *mode = setting(job, "execution.checkpointing.mode"), *backend = setting(job, "state.backend.type");
        out->enabled = options->checkpoint_interval_ms > 0 || job->checkpointed || job->restored;
        out->mode = copy(arena, mode ? mode : "exactly-once");
        out->state_backend = copy(arena, backend ? backend : weir_config_string(view->config, "state.backend.type"));
        const char *retention = setting(job, "execution.checkpointing.externalized-checkpoint-retention");
        out->retention =
            copy(arena, retention ? retention
                                  : weir_config_string(view->config,
                                                       "execution.checkpointing.externalized-checkpoint-retention"));
        out->interval_ms = options->checkpoint_interval_ms > 0 ? options->checkpoint_interval_ms : INT64_MAX;
        out->timeout_ms = options->checkpoint_timeout_ms;
        out->min_pause_ms = options->checkpoint_pause_ms;
        out->max_concurrent = options->checkpoints_concurrent;
        out->tolerable_failures = options->checkpoints_tolerable;
        const char *unaligned = setting(job, "execution.checkpointing.unaligned.enabled");
        const char *timeout = setting(job, "execution.checkpointing.aligned-checkpoint-timeout");
        out->unaligned = unaligned && strcmp(unaligned, "true") == 0;
        if (timeout && !weir_parse_duration_ms(timeout, &out->aligned_timeout_ms))
            out->aligned_timeout_ms = 0;
        out->completed = (int64_t)job->checkpoints_completed;
        out->failed = (int64_t)job->checkpoints_failed;
        out->restored = job->restored;
        out->restored_id = job->restored_id;
        out->restored_ms = job->restored_ms;
        out->restored_savepoint = job->restored_savepoint;
        out->restored_path = copy(arena, job->restored_path);
        out->count = job->checkpoint_count;
        out->list = list;
        for (int i = 0; i < job->checkpoint_count; i++) {
            copy_checkpoint(view, arena, job, &job->checkpoints[i], &list[i]);
            out->in_progress += list[i].status == WEIR_VIEW_CHECKPOINT_IN_PROGRESS;
        }
        *checkpoints = out;
    }
    weir_jobmanager_unlock(view->jobmanager);
    return job != NULL;
}

static weir_err view_begin(void *self, const char *job_id, const struct weir_view_request *request,
                           struct weir_error *error)
{
    struct weir_jobmanager_view *view = self;
    struct weir_jobmanager_request wanted = {
        .kind = (enum weir_jm_operation_kind)request->kind,
        .id = request->id,
        .job_id = job_id,
        .directory = request->directory,
        .drain = request->drain,
        .parallelism = request->parallelism,
    };
    return weir_jobmanager_operation(view->jobmanager, &wanted, error);
}

static bool view_has_savepoint_dir(void *self)
{
    const struct weir_jobmanager_view *view = self;
    return weir_jobmanager_has_savepoint_dir(view->jobmanager);
}

static weir_err view_dispose(void *self, const char *path, struct weir_error *error)
{
    struct weir_jobmanager_view *view = self;
    return weir_jobmanager_dispose(view->jobmanager, path, error);
}

static bool view_operation(void *self, const char *id, struct weir_arena *arena, struct weir_view_operation *operation)
{
    struct weir_jobmanager_view *view = self;
    const struct weir_jm *jm = weir_jobmanager_lock(view->jobmanager);
    const struct weir_jm_operation *found = weir_jm_operation_find(jm, id);
    if (found)
        *operation = (struct weir_view_operation){
            .kind = (enum weir_view_operation_kind)found->kind,
            .job_id = copy(arena, found->job_id),
            .ended = found->state != WEIR_JM_OPERATION_IN_PROGRESS,
            .checkpoint = found->checkpoint,
            .location = found->location ? copy(arena, found->location) : "",
            .failure = found->failure ? copy(arena, found->failure) : NULL,
        };
    weir_jobmanager_unlock(view->jobmanager);
    return found != NULL;
}

/* --- TaskManagers */

static void view_taskmanagers(void *self, struct weir_arena *arena, const struct weir_view_taskmanager **taskmanagers,
                              int *count)
{
    struct weir_jobmanager_view *view = self;
    const struct weir_jm *jm = weir_jobmanager_lock(view->jobmanager);
    *count = weir_jm_taskmanager_count(jm);
    struct weir_view_taskmanager *out = weir_arena_zalloc(arena, ((size_t)*count + 1) * sizeof *out);
    for (int i = 0; i < *count; i++) {
        const struct weir_jm_taskmanager *from = weir_jm_taskmanager_at(jm, i);
        const char **jobs = weir_arena_zalloc(arena, ((size_t)from->slot_count + 1) * sizeof *jobs);
        out[i] = (struct weir_view_taskmanager){
            .id = copy(arena, from->id),
            .host = copy(arena, from->host),
            .data_port = (int)from->data_port,
            .slots = from->slot_count,
            .slots_free = from->slots_free,
            .cpu_cores = (int)from->cpu_cores,
            .pid = (int)from->pid,
            .memory_bytes = from->memory_bytes,
            .heartbeat_wall_ms = from->heartbeat_wall_ms,
            .registered_ms = from->registered_ms,
            .rss_bytes = from->process ? from->process->rss_bytes : 0,
            .executor_rss_bytes = from->process ? from->process->executor_rss_bytes : 0,
            .cpu_ns = from->process ? from->process->cpu_ns : 0,
            .threads = from->process ? from->process->threads : 0,
            .log_directory = copy(arena, from->log_directory),
            .allocated_jobs = jobs,
        };
        out[i].log_readable_here = view->log_directory && strcmp(out[i].log_directory, view->log_directory) == 0;
        for (int slot = 0; slot < from->slot_count; slot++) {
            const struct weir_jm_job *job = weir_jm_slot_job(from, slot);
            if (job)
                jobs[out[i].allocated_count++] = copy(arena, job->id);
        }
    }
    weir_jobmanager_unlock(view->jobmanager);
    *taskmanagers = out;
}

/* --- Commands */

static weir_err view_cancel(void *self, const char *job_id, struct weir_error *error)
{
    struct weir_jobmanager_view *view = self;
    return weir_jobmanager_cancel(view->jobmanager, job_id, error);
}

static struct weir_job_build child_of(const struct weir_jobmanager_view *view, const char *path)
{
    return (struct weir_job_build){
        .binary = view->taskmanager_binary,
        .path = path,
        .timeout_ms = weir_config_int(view->config, "job.build.timeout"),
        .memory_bytes = weir_config_int(view->config, "job.build.memory"),
        .files_max = (int)weir_config_int(view->config, "job.build.max-open-files"),
    };
}

static weir_err view_build(void *self, const struct weir_view_build *build, struct weir_buf *graph,
                           struct weir_error *error)
{
    struct weir_jobmanager_view *view = self;
    struct weir_job_build job = child_of(view, build->path);
    job.code_name = build->code_name;
    job.arguments = build->arguments;
    job.argument_count = build->argument_count;
    uint8_t *bytes = NULL;
    size_t size = 0;
    weir_err err = weir_job_build(&job, &bytes, &size, error);
    if (!err && !weir_buf_append(graph, bytes, size))
        err = weir_fail(error, WEIR_ERR_FULL, "the job's graph is larger than %zu bytes", graph->max);
    free(bytes);
    return err;
}

/* A graph under another name, packed again; NULL: it cannot be read. */
static uint8_t *rename_graph(const struct weir_view_submission *submission, size_t *size)
{
    Weir__JobGraph *graph = weir__job_graph__unpack(&weir_proto_memory, submission->graph_size, submission->graph);
    if (!graph)
        return NULL;
    char *own = graph->name, *name = weir_strdup(submission->name);
    graph->name = name;
    *size = weir__job_graph__get_packed_size(graph);
    uint8_t *bytes = weir_alloc(*size);
    weir__job_graph__pack(graph, bytes);
    graph->name = own;
    free(name);
    weir__job_graph__free_unpacked(graph, NULL);
    return bytes;
}

static struct weir_jobmanager_submission submission_of(const struct weir_view_submission *from)
{
    return (struct weir_jobmanager_submission){
        .graph = from->graph,
        .graph_size = from->graph_size,
        .configuration = from->configuration,
        .configuration_count = from->configuration_count,
        .parallelism = from->parallelism,
        .job_id = from->job_id,
        .savepoint_path = from->savepoint_path,
        .allow_non_restored = from->allow_non_restored,
        .claim = from->claim,
    };
}

static weir_err view_submit(void *self, const struct weir_view_submission *from, char job_id[33],
                            struct weir_error *error)
{
    struct weir_jobmanager_view *view = self;
    struct weir_jobmanager_submission submission = submission_of(from);
    uint8_t *renamed = NULL;
    if (from->unchecked_path) {
        struct weir_job_build check = child_of(view, from->unchecked_path);
        check.is_graph = true;
        check.code_name = "the job graph";
        weir_err wrong = weir_job_build(&check, &renamed, &submission.graph_size, error);
        if (wrong)
            return wrong;
        submission.graph = renamed;
    } else if (from->name && *from->name && from->graph_size <= WEIR_GRAPH_SIZE_MAX) {
        renamed = rename_graph(from, &submission.graph_size);
        if (!renamed)
            return weir_fail(error, WEIR_ERR_INVALID, "this is not a serialized JobGraph");
        submission.graph = renamed;
    }
    weir_err err = weir_jobmanager_submit(view->jobmanager, &submission, job_id, error);
    free(renamed);
    return err;
}

static weir_err view_plan(void *self, const struct weir_view_submission *from, struct weir_arena *arena,
                          const char **json, struct weir_error *error)
{
    struct weir_jobmanager_view *view = self;
    struct weir_jobmanager_submission submission = submission_of(from);
    struct weir_plan *plan;
    weir_err err = weir_jobmanager_plan(view->jobmanager, &submission, &plan, error);
    if (err)
        return err;
    json_t *object = weir_plan_json(plan, from->job_id ? from->job_id : "00000000000000000000000000000000");
    char *text = json_dumps(object, JSON_COMPACT | JSON_PRESERVE_ORDER);
    *json = copy(arena, text);
    free(text);
    json_decref(object);
    weir_plan_free(plan);
    return WEIR_OK;
}

static void view_print_metrics(void *self, struct weir_buf *out)
{
    const struct weir_jobmanager_view *view = self;
    bool ok =
        weir_buf_printf(out,
                        "# HELP weir_jobmanager_control_refused_total Connections and messages on the control line "
                        "that were turned away.\n# TYPE weir_jobmanager_control_refused_total counter\n"
                        "weir_jobmanager_control_refused_total %llu\n",
                        (unsigned long long)weir_jobmanager_refused(view->jobmanager));
    (void)ok; /* no room: then the others have not either, and REST says so */
}

static void view_faults(void *self, struct weir_arena *arena, const struct weir_view_fault **faults, int *count)
{
    const struct weir_jobmanager_view *view = self;
    weir_jobmanager_faults(view->jobmanager, arena, faults, count);
}

static weir_err view_fault_arm(void *self, const char *point, const char *action, struct weir_error *error)
{
    const struct weir_jobmanager_view *view = self;
    return weir_jobmanager_fault_arm(view->jobmanager, point, action, error);
}

void weir_jobmanager_view_init(struct weir_jobmanager_view *view)
{
    view->view = (struct weir_cluster_view){
        .self = view,
        .jobs = view_jobs,
        .knows_all_jobs = view_knows_all_jobs,
        .job = view_job,
        .taskmanagers = view_taskmanagers,
        .cancel = view_cancel,
        .build = view_build,
        .submit = view_submit,
        .plan = view_plan,
        .checkpoints = view_checkpoints,
        .begin = view_begin,
        .has_savepoint_dir = view_has_savepoint_dir,
        .dispose = view_dispose,
        .operation = view_operation,
        .print_metrics = view_print_metrics,
        .faults = view_faults,
        .fault_arm = view_fault_arm,
    };
}
