/* Jobs over REST: what Flink's v1 shows of a job, submitting and cancelling; its vertices and subtasks are in rest_vertices.c. Each handler
 * copies a snapshot through the view and turns it into JSON; nothing is kept between requests. Flink does not have: `status` of a job (what it waits for),
 * `bad-records` and `late-records` in metrics, and members that begin with "weir-". */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "jobmanager/rest/rest_int.h"

static void lower(char *out, const char *text)
{
    for (; *text; text++)
        *out++ = *text >= 'A' && *text <= 'Z' ? (char)(*text + 32) : *text;
    *out = 0;
}

/* --- All jobs */

void weir_rest_jobs(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    const struct weir_cluster_view *view = weir_rest_view(request);
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_job *jobs = NULL;
    int count = 0;
    view->jobs(view->self, &arena, &jobs, &count);
    json_t *list = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(
            list, json_pack("{s:s, s:s}", "id", jobs[i].id, "status", weir_view_job_state_names[jobs[i].state]));
    weir_http_json(response, 200, json_pack("{s:o}", "jobs", list));
    weir_arena_fini(&arena);
}

void weir_rest_jobs_overview(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    const struct weir_cluster_view *view = weir_rest_view(request);
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_job *jobs = NULL;
    int count = 0;
    int64_t now_ms = weir_clock_wall_ms();
    bool known = view->knows_all_jobs(view->self); /* before the list, so that it is not called complete too early */
    view->jobs(view->self, &arena, &jobs, &count);
    json_t *list = json_array();
    for (int i = 0; i < count; i++) {
        const struct weir_view_job *job = &jobs[i];
        json_t *tasks = json_object();
        json_object_set_new(tasks, "total", json_integer(job->task_total));
        for (int s = 0; s < WEIR_VIEW_TASK_STATES; s++) {
            char name[32];
            lower(name, weir_view_task_state_names[s]);
            json_object_set_new(tasks, name, json_integer(job->task_counts[s]));
        }
        json_array_append_new(
            list, json_pack("{s:s, s:o, s:s, s:I, s:I, s:I, s:I, s:o, s:s, s:s, s:i, s:o}", "jid", job->id, "name",
                            weir_rest_string(job->name), "state", weir_view_job_state_names[job->state], "start-time",
                            (json_int_t)job->start_ms, "end-time", (json_int_t)job->end_ms, "duration",
                            weir_rest_duration_ms(job->start_ms, job->end_ms, now_ms), "last-modification",
                            (json_int_t)job->modified_ms, "tasks", tasks, "jobType", "STREAMING", "schedulerType",
                            "Default", "pending-operators", 0, "status", weir_rest_string(job->status)));
    }
    json_t *all = json_pack("{s:o}", "jobs", list);
    if (!known)
        json_object_set_new(all, "weir-incomplete", json_string(WEIR_REST_READING));
    weir_http_json(response, 200, all);
    weir_arena_fini(&arena);
}

/* --- A job */

static json_t *plan_of(const struct weir_view_job *job)
{
    json_t *plan = job->plan_json ? json_loads(job->plan_json, 0, NULL) : NULL;
    return plan ? plan
                : json_pack("{s:s, s:o, s:s, s:[]}", "jid", job->id, "name", weir_rest_string(job->name), "type",
                            "STREAMING", "nodes");
}

void weir_rest_job(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_job *job =
        weir_rest_find_job(request, response, WEIR_VIEW_VERTICES | WEIR_VIEW_PLAN, &arena);
    if (job) {
        int64_t now_ms = weir_clock_wall_ms();
        json_t *timestamps = json_object(), *vertices = json_array(), *counts = json_object();
        int vertex_states[WEIR_VIEW_TASK_STATES] = {0};
        for (int s = 0; s < WEIR_VIEW_JOB_STATES; s++)
            json_object_set_new(timestamps, weir_view_job_state_names[s], json_integer(job->timestamps_ms[s]));
        for (int i = 0; i < job->vertex_count; i++) {
            json_array_append_new(vertices, weir_rest_vertex_json(job, &job->vertices[i], now_ms));
            vertex_states[job->vertices[i].state]++;
        }
        for (int s = 0; s < WEIR_VIEW_TASK_STATES; s++)
            json_object_set_new(counts, weir_view_task_state_names[s], json_integer(vertex_states[s]));
        weir_http_json(
            response, 200,
            json_pack("{s:s, s:o, s:b, s:s, s:s, s:s, s:I, s:I, s:I, s:i, s:I, s:o, s:o, s:o, s:o, s:o, s:I}", "jid",
                      job->id, "name", weir_rest_string(job->name), "isStoppable", 0, "state",
                      weir_view_job_state_names[job->state], "job-type", "STREAMING", "schedulerType", "Default",
                      "start-time", (json_int_t)job->start_ms, "end-time", (json_int_t)job->end_ms, "duration",
                      weir_rest_duration_ms(job->start_ms, job->end_ms, now_ms), "maxParallelism", job->max_parallelism,
                      "now", (json_int_t)now_ms, "timestamps", timestamps, "vertices", vertices, "status-counts",
                      counts, "plan", plan_of(job), "status", weir_rest_string(job->status), "weir-restarts",
                      (json_int_t)job->restarts));
    }
    weir_arena_fini(&arena);
}

void weir_rest_job_plan(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_job *job = weir_rest_find_job(request, response, WEIR_VIEW_PLAN, &arena);
    if (job)
        weir_http_json(response, 200, json_pack("{s:o}", "plan", plan_of(job)));
    weir_arena_fini(&arena);
}

void weir_rest_job_config(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_job *job = weir_rest_find_job(request, response, WEIR_VIEW_CONFIGURATION, &arena);
    if (job) {
        json_t *user = json_object();
        for (int i = 0; i < job->configuration_count; i++)
            json_object_set_new(user, job->configuration[i].key, weir_rest_string(job->configuration[i].value));
        weir_http_json(response, 200,
                       json_pack("{s:s, s:o, s:{s:s, s:o, s:i, s:b, s:o}}", "jid", job->id, "name",
                                 weir_rest_string(job->name), "execution-config", "execution-mode", "PIPELINED",
                                 "restart-strategy", weir_rest_string(job->restart_strategy), "job-parallelism",
                                 job->parallelism, "object-reuse-mode", 1, "user-config", user));
    }
    weir_arena_fini(&arena);
}

void weir_rest_job_status(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_job *job = weir_rest_find_job(request, response, 0, &arena);
    if (job)
        weir_http_json(response, 200, json_pack("{s:s}", "status", weir_view_job_state_names[job->state]));
    weir_arena_fini(&arena);
}

void weir_rest_job_result(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_job *job = weir_rest_find_job(request, response, 0, &arena);
    if (job && !weir_rest_job_ended(job->state)) {
        weir_http_json(response, 200, json_pack("{s:{s:s}}", "status", "id", "IN_PROGRESS"));
    } else if (job) {
        const char *status = job->state == WEIR_VIEW_JOB_FINISHED ? "SUCCEEDED"
                             : job->state == WEIR_VIEW_JOB_FAILED ? "FAILED"
                                                                  : "CANCELED";
        weir_http_json(response, 200,
                       json_pack("{s:{s:s}, s:{s:s, s:s, s:{}, s:I}}", "status", "id", "COMPLETED",
                                 "job-execution-result", "id", job->id, "application-status", status,
                                 "accumulator-results", "net-runtime",
                                 weir_rest_duration_ms(job->start_ms, job->end_ms, job->end_ms)));
    }
    weir_arena_fini(&arena);
}

void weir_rest_job_accumulators(const struct weir_http_server_request *request,
                                struct weir_http_server_response *response)
{
    struct weir_arena arena;
    weir_arena_init(&arena);
    if (weir_rest_find_job(request, response, 0, &arena))
        weir_http_json(response, 200,
                       json_pack("{s:[], s:[], s:{}}", "job-accumulators", "user-task-accumulators",
                                 "serialized-user-task-accumulators"));
    weir_arena_fini(&arena);
}

/* --- Exceptions */

/* "Name: message\n    at operator 'map', record part-3.json:17\nstack" */
static json_t *stack_text(const struct weir_view_exception *e)
{
    struct weir_buf text;
    weir_buf_init(&text, 1 << 20);
    bool ok = weir_buf_printf(&text, "%s: %s", e->name, e->message);
    if (ok && *e->operator_name)
        ok = weir_buf_printf(&text, "\n\tin operator '%s'", e->operator_name);
    if (ok && *e->position)
        ok = weir_buf_printf(&text, "\n\tat record %s", e->position);
    if (ok && *e->stack)
        ok = weir_buf_printf(&text, "\n%s", e->stack);
    json_t *json = weir_rest_string(text.data ? (char *)text.data : "");
    weir_buf_fini(&text);
    return json;
}

static json_t *exception_json(const struct weir_view_exception *e)
{
    json_t *object =
        json_pack("{s:o, s:o, s:I, s:{}, s:[]}", "exceptionName", weir_rest_string(e->name), "stacktrace",
                  stack_text(e), "timestamp", (json_int_t)e->at_ms, "failureLabels", "concurrentExceptions");
    if (*e->task_name)
        json_object_set_new(object, "taskName", weir_rest_string(e->task_name));
    if (*e->endpoint) {
        json_object_set_new(object, "endpoint", weir_rest_string(e->endpoint));
        json_object_set_new(object, "location", weir_rest_string(e->endpoint));
    }
    if (*e->taskmanager_id)
        json_object_set_new(object, "taskManagerId", weir_rest_string(e->taskmanager_id));
    return object;
}

/* What 1.20 shows beside the history. */
static json_t *old_exception_json(const struct weir_view_exception *e)
{
    const char *cut = strstr(e->task_name, " - execution #");
    char *task = weir_strndup(e->task_name, cut ? (size_t)(cut - e->task_name) : strlen(e->task_name));
    json_t *object =
        json_pack("{s:o, s:o, s:o, s:o, s:I, s:o}", "exception", stack_text(e), "task", weir_rest_string(task),
                  "location", weir_rest_string(e->endpoint), "endpoint", weir_rest_string(e->endpoint), "timestamp",
                  (json_int_t)e->at_ms, "taskManagerId", weir_rest_string(e->taskmanager_id));
    free(task);
    return object;
}

void weir_rest_job_exceptions(const struct weir_http_server_request *request,
                              struct weir_http_server_response *response)
{
    const char *max_text = weir_http_query_get(request, "maxExceptions");
    char *end = NULL;
    long max = max_text ? strtol(max_text, &end, 10) : 20;
    if (max_text && (end == max_text || *end || max < 0)) {
        weir_http_fail(
            response, 400,
            "Bad request, could not parse parameters: Cannot resolve query parameter (maxExceptions) from value \"%.50s\".",
            max_text);
        return;
    }
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_job *job = weir_rest_find_job(request, response, WEIR_VIEW_EXCEPTIONS, &arena);
    if (job) {
        json_t *entries = json_array(), *all = json_array();
        int count = job->exception_count < max ? job->exception_count : (int)max;
        bool truncated = job->exceptions_truncated || count < job->exception_count;
        for (int i = 0; i < count; i++) {
            json_array_append_new(entries, exception_json(&job->exceptions[i]));
            if (*job->exceptions[i].task_name)
                json_array_append_new(all, old_exception_json(&job->exceptions[i]));
        }
        json_t *object = json_pack("{s:{s:o, s:b}, s:o, s:b}", "exceptionHistory", "entries", entries, "truncated",
                                   truncated, "all-exceptions", all, "truncated", truncated);
        if (job->exception_count) {
            json_object_set_new(object, "root-exception", stack_text(&job->exceptions[0]));
            json_object_set_new(object, "timestamp", json_integer(job->exceptions[0].at_ms));
        } else {
            json_object_set_new(object, "root-exception", json_null());
            json_object_set_new(object, "timestamp", json_null());
        }
        weir_http_json(response, 200, object);
    }
    weir_arena_fini(&arena);
}

/* --- Cancelling */

static void cancel(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    const struct weir_cluster_view *view = weir_rest_view(request);
    char id[33];
    struct weir_error error = {0};
    if (!weir_rest_parse_id(request->params[0], "jobid", id, response))
        return;
    weir_err err = view->cancel(view->self, id, &error);
    if (!err) {
        weir_http_json(response, 202, json_object());
        return;
    }
    if (err == WEIR_ERR_NOT_FOUND) {
        weir_rest_no_job(request, response, "Job could not be found: ", id);
        return;
    }
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_job *job = NULL;
    if (err == WEIR_ERR_EXISTS && view->job(view->self, id, 0, &arena, &job) && weir_rest_job_ended(job->state))
        weir_http_fail(response, 409,
                       "Job cancellation failed because the job has already reached another terminal state (%s).",
                       weir_view_job_state_names[job->state]);
    else
        weir_rest_fail(response, &error);
    weir_arena_fini(&arena);
}

void weir_rest_job_cancel(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    const char *mode = weir_http_query_get(request, "mode");
    if (mode && !strcasecmp(mode, "stop")) {
        weir_http_fail(response, 308,
                       "The termination mode \"stop\" has been removed. Use POST /jobs/:jobid/stop instead.");
        return;
    }
    if (mode && strcasecmp(mode, "cancel") != 0) {
        weir_http_fail(
            response, 400,
            "Bad request, could not parse parameters: Cannot resolve query parameter (mode) from value \"%.50s\".",
            mode);
        return;
    }
    cancel(request, response);
}

void weir_rest_job_yarn_cancel(const struct weir_http_server_request *request,
                               struct weir_http_server_response *response)
{
    const struct weir_rest *rest = request->arg;
    if (!weir_config_int(rest->options.config, "web.cancel.enable")) {
        weir_http_fail(response, 403, "Cancelling through the page is switched off ('web.cancel.enable').");
        return;
    }
    cancel(request, response);
}

/* --- POST /jobs: a serialized JobGraph */

static bool read_upload(const char *path, struct weir_buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char bytes[65536];
    ssize_t n = -1;
    if (fd < 0)
        return false;
    while ((n = read(fd, bytes, sizeof bytes)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0 && !weir_buf_append(out, bytes, (size_t)n))
            break;
    close(fd);
    return n == 0;
}

void weir_rest_job_submit(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    const struct weir_rest *rest = request->arg;
    const struct weir_cluster_view *view = weir_rest_view(request);
    if (!weir_config_int(rest->options.config, "web.submit.enable")) {
        weir_http_fail(response, 403, "Submission over REST is switched off ('web.submit.enable').");
        return;
    }
    if (strncasecmp(request->content_type, "application/octet-stream", 24) != 0) {
        weir_http_fail(
            response, 400,
            "POST /jobs takes a serialized JobGraph (proto/graph.proto) with Content-Type: application/octet-stream. To run a "
            "shared object, upload it to /jars/upload and POST to /jars/:jarid/run.");
        return;
    }
    if (request->upload_size > (int64_t)WEIR_REST_GRAPH_SIZE_MAX) {
        weir_http_fail(response, 413, "The JobGraph has %lld bytes; at most %zu are taken.",
                       (long long)request->upload_size, WEIR_REST_GRAPH_SIZE_MAX);
        return;
    }
    struct weir_buf graph;
    weir_buf_init(&graph, WEIR_REST_GRAPH_SIZE_MAX);
    struct weir_error error = {0};
    char id[33] = "";
    if (!request->upload_path || !read_upload(request->upload_path, &graph)) {
        weir_http_fail(response, 500, "The server could not read the upload.");
    } else {
        struct weir_view_submission submission = {.graph = graph.data ? graph.data : (const uint8_t *)"",
                                                  .graph_size = graph.size,
                                                  .unchecked_path = request->upload_path};
        if (view->submit(view->self, &submission, id, &error))
            weir_rest_fail(response, &error);
        else
            weir_http_json(response, 202, json_pack("{s:s, s:o}", "jobid", id, "jobUrl", json_sprintf("/jobs/%s", id)));
    }
    weir_buf_fini(&graph);
}
