/* Checkpoints and savepoints over REST, as Flink's v1 has them: what is known of a job's, and requests for them, which are answered at once with an id
 * and asked after by it. Percentiles are of the checkpoints that are listed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "jobmanager/rest/rest_int.h"

#define NOT_ENABLED \
    "Checkpointing has not been enabled. Set execution.checkpointing.interval when the job is submitted, or ask for a checkpoint or savepoint."

static const char *const status_names[] = {"IN_PROGRESS", "COMPLETED", "FAILED"};
static const char *const class_names[] = {"in_progress", "completed", "failed"};

/* The response is the error when it is NULL. */
static const struct weir_view_checkpoints *find(const struct weir_http_server_request *request,
                                                struct weir_http_server_response *response, struct weir_arena *arena)
{
    char id[33];
    const struct weir_view_checkpoints *found = NULL;
    const struct weir_cluster_view *view = weir_rest_view(request);
    if (!weir_rest_parse_id(request->params[0], "jobid", id, response))
        return NULL;
    if (!view->checkpoints(view->self, id, arena, &found)) {
        weir_rest_no_job(request, response, "", id);
        return NULL;
    }
    if (found->enabled)
        return found;
    weir_http_fail(response, 404, NOT_ENABLED);
    return NULL;
}

/* --- Summaries: min, max, avg as whole numbers, percentiles as reals, "NaN" of nothing */

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* Linear between the two nearest ranks, (n + 1) p, as commons-math does it. */
static json_t *percentile(const int64_t *sorted, int count, double p)
{
    if (count == 0)
        return json_string("NaN");
    double at = p * (count + 1) - 1;
    if (at <= 0)
        return json_real((double)sorted[0]);
    if (at >= count - 1)
        return json_real((double)sorted[count - 1]);
    int low = (int)at;
    return json_real((double)sorted[low] + (at - low) * (double)(sorted[low + 1] - sorted[low]));
}

static json_t *summary_of(int64_t *values, int count)
{
    static const struct {
        const char *name;
        double p;
    } percentiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p95", 0.95}, {"p99", 0.99}, {"p999", 0.999}};
    qsort(values, (size_t)count, sizeof *values, compare);
    int64_t sum = 0;
    for (int i = 0; i < count; i++)
        sum += values[i];
    json_t *out = json_pack("{s:I, s:I, s:I}", "min", (json_int_t)(count ? values[0] : 0), "max",
                            (json_int_t)(count ? values[count - 1] : 0), "avg", (json_int_t)(count ? sum / count : 0));
    for (size_t i = 0; i < sizeof percentiles / sizeof *percentiles; i++)
        json_object_set_new(out, percentiles[i].name, percentile(values, count, percentiles[i].p));
    return out;
}

/* Flink keeps none of it any more, and says zero: "NaN" where there is nothing to be zero. */
static json_t *buffered(void)
{
    int64_t zero = 0;
    return summary_of(&zero, 1);
}

static int64_t duration_ms(const struct weir_view_checkpoint *c)
{
    int64_t end_ms = c->status == WEIR_VIEW_CHECKPOINT_FAILED ? c->ended_ms : c->acknowledged_ms;
    return end_ms > c->triggered_ms ? end_ms - c->triggered_ms : 0;
}

static int64_t figure(const struct weir_view_checkpoint *c, int number)
{
    const int64_t figures[] = {c->new_bytes, c->size_bytes, duration_ms(c), c->processed_bytes, c->persisted_bytes};
    return figures[number];
}

static json_t *summary(const struct weir_view_checkpoints *all)
{
    static const char *const names[] = {"checkpointed_size", "state_size", "end_to_end_duration", "processed_data",
                                        "persisted_data"};
    int64_t *values = weir_alloc((size_t)(all->count + 1) * sizeof *values);
    json_t *out = json_object();
    for (int n = 0; n < 5; n++) {
        int count = 0;
        for (int i = 0; i < all->count; i++)
            if (all->list[i].status == WEIR_VIEW_CHECKPOINT_COMPLETED)
                values[count++] = figure(&all->list[i], n);
        json_object_set_new(out, names[n], summary_of(values, count));
    }
    json_object_set_new(out, "alignment_buffered", buffered());
    free(values);
    return out;
}

/* --- One checkpoint */

struct sizes {
    int64_t written, state, processed, persisted;
};

static void add_sizes(json_t *out, int64_t acknowledged_ms, int64_t duration, const struct sizes *sizes)
{
    json_object_set_new(out, "latest_ack_timestamp", json_integer(acknowledged_ms));
    json_object_set_new(out, "checkpointed_size", json_integer(sizes->written));
    json_object_set_new(out, "state_size", json_integer(sizes->state));
    json_object_set_new(out, "end_to_end_duration", json_integer(duration));
    json_object_set_new(out, "alignment_buffered", json_integer(0));
    json_object_set_new(out, "processed_data", json_integer(sizes->processed));
    json_object_set_new(out, "persisted_data", json_integer(sizes->persisted));
}

struct vertex_sum {
    int64_t acknowledged_ms;
    struct sizes sizes;
    int acknowledged;
};

static struct vertex_sum sum_of(const struct weir_view_checkpoint_vertex *vertex)
{
    struct vertex_sum sum = {.acknowledged_ms = -1};
    for (int i = 0; i < vertex->part_count; i++) {
        const struct weir_view_checkpoint_part *part = &vertex->parts[i];
        sum.acknowledged += part->acknowledged_ms >= 0;
        sum.sizes.written += part->new_bytes;
        sum.sizes.state += part->size_bytes;
        sum.sizes.processed += part->processed_bytes;
        sum.sizes.persisted += part->persisted_bytes;
        if (part->acknowledged_ms > sum.acknowledged_ms)
            sum.acknowledged_ms = part->acknowledged_ms;
    }
    return sum;
}

static int64_t since(int64_t then_ms, int64_t at_ms)
{
    return at_ms > then_ms ? at_ms - then_ms : 0;
}

static json_t *task_json(const struct weir_view_checkpoint *c, const struct weir_view_checkpoint_vertex *vertex)
{
    struct vertex_sum sum = sum_of(vertex);
    const char *status = sum.acknowledged == vertex->part_count ? "COMPLETED" : status_names[c->status];
    json_t *out = json_pack("{s:I, s:s}", "id", (json_int_t)c->id, "status", status);
    add_sizes(out, sum.acknowledged_ms, since(c->triggered_ms, sum.acknowledged_ms), &sum.sizes);
    json_object_set_new(out, "num_subtasks", json_integer(vertex->part_count));
    json_object_set_new(out, "num_acknowledged_subtasks", json_integer(sum.acknowledged));
    return out;
}

static json_t *checkpoint_json(const struct weir_view_checkpoint *c, bool with_tasks)
{
    const char *type = c->savepoint ? "SAVEPOINT" : c->unaligned ? "UNALIGNED_CHECKPOINT" : "CHECKPOINT";
    json_t *out =
        json_pack("{s:s, s:I, s:s, s:b, s:s?, s:I}", "className", class_names[c->status], "id", (json_int_t)c->id,
                  "status", status_names[c->status], "is_savepoint", c->savepoint, "savepointFormat",
                  c->savepoint ? "CANONICAL" : NULL, "trigger_timestamp", (json_int_t)c->triggered_ms);
    const struct sizes sizes = {c->new_bytes, c->size_bytes, c->processed_bytes, c->persisted_bytes};
    add_sizes(out, c->acknowledged_ms, duration_ms(c), &sizes);
    json_object_set_new(out, "num_subtasks", json_integer(c->subtasks));
    json_object_set_new(out, "num_acknowledged_subtasks", json_integer(c->acknowledged));
    json_object_set_new(out, "checkpoint_type", json_string(type));
    json_t *tasks = json_object();
    for (int i = 0; with_tasks && i < c->vertex_count; i++)
        json_object_set_new(tasks, c->vertices[i].id, task_json(c, &c->vertices[i]));
    json_object_set_new(out, "tasks", tasks);
    if (c->status == WEIR_VIEW_CHECKPOINT_COMPLETED) {
        json_object_set_new(out, "external_path", weir_rest_string(c->path));
        json_object_set_new(out, "discarded", json_boolean(c->discarded));
    }
    if (c->status == WEIR_VIEW_CHECKPOINT_FAILED) {
        json_object_set_new(out, "failure_timestamp", json_integer(c->ended_ms));
        json_object_set_new(out, "failure_message", weir_rest_string(c->failure));
    }
    return out;
}

/* --- All of a job */

/* The newest of a kind, or null. */
static json_t *latest(const struct weir_view_checkpoints *all, enum weir_view_checkpoint_status status, bool any,
                      bool savepoint)
{
    for (int i = 0; i < all->count; i++)
        if (all->list[i].status == status && (any || all->list[i].savepoint == savepoint))
            return checkpoint_json(&all->list[i], false);
    return json_null();
}

void weir_rest_checkpoints(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_checkpoints *all = find(request, response, &arena);
    if (all) {
        json_t *history = json_array(), *restored = json_null();
        for (int i = 0; i < all->count; i++)
            json_array_append_new(history, checkpoint_json(&all->list[i], false));
        if (all->restored)
            restored = json_pack("{s:I, s:I, s:b, s:o}", "id", (json_int_t)all->restored_id, "restore_timestamp",
                                 (json_int_t)all->restored_ms, "is_savepoint", all->restored_savepoint, "external_path",
                                 weir_rest_string(all->restored_path));
        json_t *newest =
            json_pack("{s:o, s:o, s:o, s:o}", "completed", latest(all, WEIR_VIEW_CHECKPOINT_COMPLETED, false, false),
                      "savepoint", latest(all, WEIR_VIEW_CHECKPOINT_COMPLETED, false, true), "failed",
                      latest(all, WEIR_VIEW_CHECKPOINT_FAILED, true, false), "restored", restored);
        json_t *counts = json_pack("{s:i, s:I, s:I, s:I, s:I}", "restored", all->restored, "total",
                                   (json_int_t)(all->completed + all->failed + all->in_progress), "in_progress",
                                   (json_int_t)all->in_progress, "completed", (json_int_t)all->completed, "failed",
                                   (json_int_t)all->failed);
        weir_http_json(response, 200,
                       json_pack("{s:o, s:o, s:o, s:o}", "counts", counts, "summary", summary(all), "latest", newest,
                                 "history", history));
    }
    weir_arena_fini(&arena);
}

void weir_rest_checkpoint_config(const struct weir_http_server_request *request,
                                 struct weir_http_server_response *response)
{
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_checkpoints *all = find(request, response, &arena);
    if (all) {
        const char *mode = strcmp(all->mode, "at-least-once") == 0 ? "at_least_once" : "exactly_once";
        const char *backend =
            strcmp(all->state_backend, "rocksdb") == 0 ? "EmbeddedRocksDBStateBackend" : "HashMapStateBackend";
        bool kept = strcasecmp(all->retention, "RETAIN_ON_CANCELLATION") == 0;
        bool externalized = kept || strcasecmp(all->retention, "DELETE_ON_CANCELLATION") == 0;
        json_t *out = json_pack(
            "{s:s, s:I, s:I, s:I, s:I, s:{s:b, s:b}, s:s, s:s, s:b, s:I, s:I, s:b, s:b, s:I, s:s}", "mode", mode,
            "interval", (json_int_t)all->interval_ms, "timeout", (json_int_t)all->timeout_ms, "min_pause",
            (json_int_t)all->min_pause_ms, "max_concurrent", (json_int_t)all->max_concurrent, "externalization",
            "enabled", externalized, "delete_on_cancellation", !kept, "state_backend", backend, "checkpoint_storage",
            "FileSystemCheckpointStorage", "unaligned_checkpoints", all->unaligned, "tolerable_failed_checkpoints",
            (json_int_t)all->tolerable_failures, "aligned_checkpoint_timeout", (json_int_t)all->aligned_timeout_ms,
            "checkpoints_after_tasks_finish", 1, "state_changelog_enabled", 0,
            "changelog_periodic_materialization_interval", (json_int_t)600000, "changelog_storage", "memory");
        weir_http_json(response, 200, out);
    }
    weir_arena_fini(&arena);
}

/* The one that ":checkpointid" names; NULL: the response is the error. */
static const struct weir_view_checkpoint *find_one(const struct weir_http_server_request *request,
                                                   struct weir_http_server_response *response, struct weir_arena *arena)
{
    const struct weir_view_checkpoints *all = find(request, response, arena);
    if (!all)
        return NULL;
    char *end = NULL;
    const char *text = request->params[1];
    unsigned long long id = strtoull(text, &end, 10);
    if (end == text || *end || text[0] == '-') {
        weir_http_fail(response, 400,
                       "Bad request, could not parse parameters: Cannot resolve path parameter (checkpointid) from "
                       "value \"%.100s\".",
                       text);
        return NULL;
    }
    for (int i = 0; i < all->count; i++)
        if (all->list[i].id == id)
            return &all->list[i];
    weir_http_fail(response, 404, "Could not find checkpointing statistics for checkpoint %llu.", id);
    return NULL;
}

void weir_rest_checkpoint(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_checkpoint *c = find_one(request, response, &arena);
    if (c)
        weir_http_json(response, 200, checkpoint_json(c, true));
    weir_arena_fini(&arena);
}

/* --- A vertex's subtasks */

/* From the trigger until its barrier was there: what is left when all else is taken off. */
static int64_t start_delay_ms(const struct weir_view_checkpoint *c, const struct weir_view_checkpoint_part *part)
{
    int64_t all_ms = since(c->triggered_ms, part->acknowledged_ms);
    int64_t known_ms = part->alignment_ms + part->sync_ms + part->async_ms;
    return all_ms > known_ms ? all_ms - known_ms : 0;
}

static json_t *subtask_json(const struct weir_view_checkpoint *c, const struct weir_view_checkpoint_part *part,
                            int index)
{
    if (part->acknowledged_ms < 0)
        return json_pack("{s:s, s:i, s:s}", "className", "pending", "index", index, "status", "pending_or_failed");
    return json_pack("{s:s, s:i, s:I, s:I, s:I, s:I, s:{s:I, s:I}, s:{s:i, s:I, s:I, s:I}, s:I, s:b, s:b, s:s}",
                     "className", "completed", "index", index, "ack_timestamp", (json_int_t)part->acknowledged_ms,
                     "end_to_end_duration", (json_int_t)since(c->triggered_ms, part->acknowledged_ms),
                     "checkpointed_size", (json_int_t)part->new_bytes, "state_size", (json_int_t)part->size_bytes,
                     "checkpoint", "sync", (json_int_t)part->sync_ms, "async", (json_int_t)part->async_ms, "alignment",
                     "buffered", 0, "processed", (json_int_t)part->processed_bytes, "persisted",
                     (json_int_t)part->persisted_bytes, "duration", (json_int_t)part->alignment_ms, "start_delay",
                     (json_int_t)start_delay_ms(c, part), "unaligned_checkpoint", part->unaligned, "aborted", 0,
                     "status", "completed");
}

enum { WRITTEN, STATE, DURATION, SYNC, ASYNC, PROCESSED, PERSISTED, ALIGNMENT, START_DELAY, PART_FIGURES };

static int64_t part_figure(const struct weir_view_checkpoint *c, const struct weir_view_checkpoint_part *part,
                           int number)
{
    switch (number) {
    case WRITTEN:
        return part->new_bytes;
    case STATE:
        return part->size_bytes;
    case DURATION:
        return since(c->triggered_ms, part->acknowledged_ms);
    case SYNC:
        return part->sync_ms;
    case ASYNC:
        return part->async_ms;
    case PROCESSED:
        return part->processed_bytes;
    case PERSISTED:
        return part->persisted_bytes;
    case ALIGNMENT:
        return part->alignment_ms;
    default:
        return start_delay_ms(c, part);
    }
}

static json_t *vertex_summary(const struct weir_view_checkpoint *c, const struct weir_view_checkpoint_vertex *vertex)
{
    int64_t *values = weir_alloc((size_t)(vertex->part_count + 1) * sizeof *values);
    json_t *summaries[PART_FIGURES];
    for (int f = 0; f < PART_FIGURES; f++) {
        int n = 0;
        for (int i = 0; i < vertex->part_count; i++)
            if (vertex->parts[i].acknowledged_ms >= 0)
                values[n++] = part_figure(c, &vertex->parts[i], f);
        summaries[f] = summary_of(values, n);
    }
    free(values);
    return json_pack("{s:o, s:o, s:o, s:{s:o, s:o}, s:{s:o, s:o, s:o, s:o}, s:o}", "checkpointed_size",
                     summaries[WRITTEN], "state_size", summaries[STATE], "end_to_end_duration", summaries[DURATION],
                     "checkpoint_duration", "sync", summaries[SYNC], "async", summaries[ASYNC], "alignment", "buffered",
                     buffered(), "processed", summaries[PROCESSED], "persisted", summaries[PERSISTED], "duration",
                     summaries[ALIGNMENT], "start_delay", summaries[START_DELAY]);
}

void weir_rest_checkpoint_vertex(const struct weir_http_server_request *request,
                                 struct weir_http_server_response *response)
{
    struct weir_arena arena;
    char id[33];
    weir_arena_init(&arena);
    const struct weir_view_checkpoint *c = find_one(request, response, &arena);
    const struct weir_view_checkpoint_vertex *vertex = NULL;
    bool ok = c && weir_rest_parse_id(request->params[2], "vertexid", id, response);
    for (int i = 0; ok && i < c->vertex_count; i++)
        if (strcmp(c->vertices[i].id, id) == 0)
            vertex = &c->vertices[i];
    if (vertex) {
        json_t *out = task_json(c, vertex), *subtasks = json_array();
        for (int i = 0; i < vertex->part_count; i++)
            json_array_append_new(subtasks, subtask_json(c, &vertex->parts[i], i));
        json_object_set_new(out, "summary", vertex_summary(c, vertex));
        json_object_set_new(out, "subtasks", subtasks);
        weir_http_json(response, 200, out);
    } else if (ok) {
        weir_http_fail(response, 404, "There is no checkpoint statistics for task %s.", id);
    }
    weir_arena_fini(&arena);
}

/* --- Requests */

/* The body's triggerId, or a new one. False: it is none (the response says so). */
static bool trigger_id(json_t *body, char id[33], struct weir_http_server_response *response)
{
    json_t *given = json_object_get(body, "triggerId");
    if (given && !json_is_null(given)) {
        if (json_is_string(given) && weir_rest_parse_id(json_string_value(given), "triggerId", id, response))
            return true;
        weir_http_fail(response, 400, "The field 'triggerId' must be 32 hex digits.");
        return false;
    }
    struct weir_error error;
    if (weir_rest_random_id(id, &error) == WEIR_OK)
        return true;
    weir_rest_fail(response, &error);
    return false;
}

/* Of one that nobody knows the operation says so; but not while it may be one that is not read yet. */
static bool is_known(const struct weir_cluster_view *view, const char *job_id)
{
    struct weir_arena arena;
    const struct weir_view_job *job;
    weir_arena_init(&arena);
    bool known = view->knows_all_jobs(view->self) || view->job(view->self, job_id, 0, &arena, &job);
    weir_arena_fini(&arena);
    return known;
}

static void begin(const struct weir_http_server_request *request, struct weir_http_server_response *response,
                  json_t *body, struct weir_view_request *wanted)
{
    const struct weir_cluster_view *view = weir_rest_view(request);
    char job_id[33], id[33];
    struct weir_error error = {0};
    if (!weir_rest_parse_id(request->params[0], "jobid", job_id, response) || !trigger_id(body, id, response))
        return;
    if (!is_known(view, job_id)) {
        weir_rest_no_job(request, response, "", job_id);
        return;
    }
    wanted->id = id;
    weir_err err = view->begin(view->self, job_id, wanted, &error);
    if (err == WEIR_ERR_FULL)
        weir_http_fail(response, 503, "%s", error.message);
    else if (err)
        weir_rest_fail(response, &error);
    else
        weir_http_json(response, 202, json_pack("{s:s}", "request-id", id));
}

void weir_rest_checkpoint_begin(const struct weir_http_server_request *request,
                                struct weir_http_server_response *response)
{
    json_t *body = weir_http_body_object(request, response);
    if (!body)
        return;
    json_t *type = json_object_get(body, "checkpointType");
    const char *text = json_is_string(type) ? json_string_value(type) : "CONFIGURED";
    if (strcmp(text, "CONFIGURED") != 0 && strcmp(text, "FULL") != 0 && strcmp(text, "INCREMENTAL") != 0)
        weir_http_fail(response, 400, "The field 'checkpointType' must be CONFIGURED, FULL or INCREMENTAL.");
    else
        begin(request, response, body, &(struct weir_view_request){.kind = WEIR_VIEW_OPERATION_CHECKPOINT});
    json_decref(body);
}

/* {class, stack-trace}: what of a failure is text. */
static json_t *cause_json(const char *failure)
{
    return json_pack("{s:s, s:o}", "class", "org.apache.flink.runtime.checkpoint.CheckpointException", "stack-trace",
                     weir_rest_string(failure));
}

/* The operation that ":triggerid" names, when it is one of the job; false: the response is the error. */
static bool find_operation(const struct weir_http_server_request *request, struct weir_http_server_response *response,
                           struct weir_arena *arena, const char *what, struct weir_view_operation *operation)
{
    const struct weir_cluster_view *view = weir_rest_view(request);
    char job_id[33], id[33];
    if (!weir_rest_parse_id(request->params[0], "jobid", job_id, response) ||
        !weir_rest_parse_id(request->params[1], "triggerid", id, response))
        return false;
    if (view->operation(view->self, id, arena, operation) && strcmp(operation->job_id, job_id) == 0)
        return true;
    weir_http_fail(response, 404, "There is no %s operation with triggerId=%s for job %s.", what, id, job_id);
    return false;
}

static void answer(struct weir_http_server_response *response, const char *status, json_t *take_operation)
{
    weir_http_json(response, 200, json_pack("{s:{s:s}, s:o}", "status", "id", status, "operation", take_operation));
}

void weir_rest_checkpoint_operation(const struct weir_http_server_request *request,
                                    struct weir_http_server_response *response)
{
    struct weir_arena arena;
    struct weir_view_operation operation;
    weir_arena_init(&arena);
    if (find_operation(request, response, &arena, "checkpoint", &operation)) {
        if (!operation.ended)
            answer(response, "IN_PROGRESS", json_null());
        else if (operation.failure)
            answer(response, "COMPLETED", json_pack("{s:o}", "failureCause", cause_json(operation.failure)));
        else
            answer(response, "COMPLETED", json_pack("{s:I}", "checkpointId", (json_int_t)operation.checkpoint));
    }
    weir_arena_fini(&arena);
}

/* --- Savepoints, stop, rescaling */

/* A text, or NULL where it is null or not there; false: it is something else (the response says so). */
static bool get_text(json_t *body, const char *name, const char **text, struct weir_http_server_response *response)
{
    json_t *value = json_object_get(body, name);
    *text = json_is_string(value) ? json_string_value(value) : NULL;
    if (!value || json_is_null(value) || (*text && strlen(*text) == json_string_length(value)))
        return true;
    weir_http_fail(response, 400, "The field '%s' must be a text.", name);
    return false;
}

static bool get_bool(json_t *body, const char *name, bool *out, struct weir_http_server_response *response)
{
    json_t *value = json_object_get(body, name);
    *out = json_is_true(value);
    if (!value || json_is_null(value) || json_is_boolean(value))
        return true;
    weir_http_fail(response, 400, "The field '%s' must be true or false.", name);
    return false;
}

static bool check_format(json_t *body, struct weir_http_server_response *response)
{
    const char *text;
    if (!get_text(body, "formatType", &text, response))
        return false;
    if (!text || strcmp(text, "CANONICAL") == 0 || strcmp(text, "NATIVE") == 0 || strcmp(text, "DEFAULT") == 0)
        return true;
    weir_http_fail(response, 400, "The field 'formatType' must be CANONICAL or NATIVE.");
    return false;
}

void weir_rest_savepoint_begin(const struct weir_http_server_request *request,
                               struct weir_http_server_response *response)
{
    const struct weir_cluster_view *view = weir_rest_view(request);
    const char *directory;
    bool cancel;
    json_t *body = weir_http_body_object(request, response);
    if (!body)
        return;
    if (get_text(body, "target-directory", &directory, response) && get_bool(body, "cancel-job", &cancel, response) &&
        check_format(body, response)) {
        struct weir_view_request wanted = {.kind = cancel ? WEIR_VIEW_OPERATION_STOP : WEIR_VIEW_OPERATION_SAVEPOINT,
                                           .directory = directory};
        if (directory || view->has_savepoint_dir(view->self))
            begin(request, response, body, &wanted);
        else
            weir_http_fail(response, 400,
                           "Config key [execution.checkpointing.savepoint-dir] is not set. Property [target-directory] "
                           "must be provided.");
    }
    json_decref(body);
}

void weir_rest_job_stop(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    const struct weir_cluster_view *view = weir_rest_view(request);
    struct weir_view_request wanted = {.kind = WEIR_VIEW_OPERATION_STOP};
    json_t *body = weir_http_body_object(request, response);
    if (!body)
        return;
    if (get_text(body, "targetDirectory", &wanted.directory, response) &&
        get_bool(body, "drain", &wanted.drain, response) && check_format(body, response)) {
        if (wanted.directory || view->has_savepoint_dir(view->self))
            begin(request, response, body, &wanted);
        else
            weir_http_fail(response, 400,
                           "Config key [execution.checkpointing.savepoint-dir] is not set. Property [targetDirectory] "
                           "must be provided.");
    }
    json_decref(body);
}

void weir_rest_savepoint_operation(const struct weir_http_server_request *request,
                                   struct weir_http_server_response *response)
{
    struct weir_arena arena;
    struct weir_view_operation operation;
    weir_arena_init(&arena);
    if (find_operation(request, response, &arena, "savepoint", &operation)) {
        if (!operation.ended)
            answer(response, "IN_PROGRESS", json_null());
        else if (operation.failure)
            answer(response, "COMPLETED", json_pack("{s:o}", "failure-cause", cause_json(operation.failure)));
        else
            answer(response, "COMPLETED", json_pack("{s:o}", "location", weir_rest_string(operation.location)));
    }
    weir_arena_fini(&arena);
}

void weir_rest_rescale(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    const char *text = weir_http_query_get(request, "parallelism");
    char *end = NULL;
    long parallelism = text ? strtol(text, &end, 10) : 0;
    if (!text || end == text || *end || parallelism < 1 || parallelism > 32768) {
        weir_http_fail(
            response, 400,
            "Bad request, could not parse parameters: the query parameter (parallelism) must be a number from 1 to "
            "32768.");
        return;
    }
    json_t *body = json_object();
    begin(request, response, body,
          &(struct weir_view_request){.kind = WEIR_VIEW_OPERATION_RESCALE, .parallelism = (int)parallelism});
    json_decref(body);
}

void weir_rest_rescale_operation(const struct weir_http_server_request *request,
                                 struct weir_http_server_response *response)
{
    struct weir_arena arena;
    struct weir_view_operation operation;
    weir_arena_init(&arena);
    if (find_operation(request, response, &arena, "rescale", &operation)) {
        if (!operation.ended)
            answer(response, "IN_PROGRESS", json_null());
        else if (operation.failure)
            answer(response, "COMPLETED", json_pack("{s:o}", "failure-cause", cause_json(operation.failure)));
        else
            answer(response, "COMPLETED", json_object());
    }
    weir_arena_fini(&arena);
}

/* --- Requirements: what the dashboard and the Kubernetes operator rescale by. One number for the whole job. */

void weir_rest_requirements(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_job *job = weir_rest_find_job(request, response, WEIR_VIEW_VERTICES, &arena);
    if (job) {
        json_t *out = json_object();
        for (int i = 0; i < job->vertex_count; i++)
            json_object_set_new(out, job->vertices[i].id,
                                json_pack("{s:{s:i, s:i}}", "parallelism", "lowerBound", 1, "upperBound",
                                          job->vertices[i].parallelism));
        weir_http_json(response, 200, out);
    }
    weir_arena_fini(&arena);
}

/* The upper bound of all that change; 0: the response says what is wrong; -1: nothing changes. */
static int wanted_parallelism(const struct weir_view_job *job, json_t *body, struct weir_http_server_response *response)
{
    int wanted = -1;
    const char *id;
    json_t *value;
    json_object_foreach(body, id, value)
    {
        int i = 0;
        while (i < job->vertex_count && strcmp(job->vertices[i].id, id) != 0)
            i++;
        json_t *upper = json_object_get(json_object_get(value, "parallelism"), "upperBound");
        json_int_t bound = json_is_integer(upper) ? json_integer_value(upper) : 0;
        if (i == job->vertex_count || bound < 1 || bound > 32768) {
            weir_http_fail(response, 400,
                           i == job->vertex_count ? "The job has no vertex %.40s."
                                                  : "Vertex %.40s: parallelism.upperBound must be from 1 to 32768.",
                           id);
            return 0;
        }
        if (bound == job->vertices[i].parallelism)
            continue;
        if (wanted > 0 && wanted != (int)bound) {
            weir_http_fail(response, 400,
                           "The vertices that change must all get the same upperBound: weir rescales a job as a whole, "
                           "and vertices that set their own parallelism keep it.");
            return 0;
        }
        wanted = (int)bound;
    }
    return wanted;
}

void weir_rest_requirements_put(const struct weir_http_server_request *request,
                                struct weir_http_server_response *response)
{
    struct weir_arena arena;
    weir_arena_init(&arena);
    json_t *body = weir_http_body_object(request, response);
    const struct weir_view_job *job = body ? weir_rest_find_job(request, response, WEIR_VIEW_VERTICES, &arena) : NULL;
    if (job && json_object_size(body) == 0) {
        weir_http_fail(response, 400, "Request body does not specify resource requirements.");
    } else if (job) {
        int wanted = wanted_parallelism(job, body, response);
        json_t *none = json_object();
        if (wanted > 0)
            begin(request, response, none,
                  &(struct weir_view_request){.kind = WEIR_VIEW_OPERATION_RESCALE, .parallelism = wanted});
        json_decref(none);
        if (wanted < 0)
            weir_http_json(response, 200, json_object());
    }
    json_decref(body);
    weir_arena_fini(&arena);
}

/* --- Disposal: done when it is answered, so the id needs no memory but that of failures */

struct disposal {
    char id[33];
    char *failure; /* NULL: it is gone */
};
#define DISPOSALS_MAX 64
static struct disposal disposals[DISPOSALS_MAX]; /* ring */
static int disposal_next;
static pthread_mutex_t disposals_lock = PTHREAD_MUTEX_INITIALIZER;

static void remember(const char *id, const char *failure)
{
    pthread_mutex_lock(&disposals_lock);
    struct disposal *disposal = &disposals[disposal_next++ % DISPOSALS_MAX];
    free(disposal->failure);
    snprintf(disposal->id, sizeof disposal->id, "%s", id);
    disposal->failure = failure ? weir_strdup(failure) : NULL;
    pthread_mutex_unlock(&disposals_lock);
}

void weir_rest_disposal_begin(const struct weir_http_server_request *request,
                              struct weir_http_server_response *response)
{
    const struct weir_cluster_view *view = weir_rest_view(request);
    const char *path;
    char id[33];
    struct weir_error error = {0};
    json_t *body = weir_http_body_object(request, response);
    if (!body)
        return;
    if (get_text(body, "savepoint-path", &path, response)) {
        if (!path) {
            weir_http_fail(response, 400, "The field 'savepoint-path' is missing.");
        } else if (trigger_id(body, id, response)) {
            weir_err err = view->dispose(view->self, path, &error);
            remember(id, err ? error.message : NULL);
            weir_http_json(response, 200, json_pack("{s:s}", "request-id", id));
        }
    }
    json_decref(body);
}

void weir_rest_disposal(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    char id[33];
    if (!weir_rest_parse_id(request->params[0], "triggerid", id, response))
        return;
    bool found = false;
    pthread_mutex_lock(&disposals_lock);
    for (int i = 0; i < DISPOSALS_MAX && !found; i++) {
        if (strcmp(disposals[i].id, id) != 0)
            continue;
        found = true;
        answer(response, "COMPLETED",
               disposals[i].failure ? json_pack("{s:o}", "failure-cause", cause_json(disposals[i].failure))
                                    : json_object());
    }
    pthread_mutex_unlock(&disposals_lock);
    if (!found)
        weir_http_fail(response, 404, "Operation not found under key: %s", id);
}
