/* Jobs over REST: what Flink's v1 shows of a job, its vertices and subtasks, and cancelling. Each handler copies a snapshot through
 * the view and turns it into JSON; nothing is kept between requests. Flink does not have: `status` of a job (what it waits for),
 * `bad-records` and `late-records` in metrics, and members that begin with "weir-". */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/hash.h"
#include "jobmanager/rest/rest_int.h"

static void lower(char *out, const char *text)
{
    for (; *text; text++)
        *out++ = *text >= 'A' && *text <= 'Z' ? (char)(*text + 32) : *text;
    *out = 0;
}

static json_int_t duration(int64_t start_ms, int64_t end_ms, int64_t now_ms)
{
    int64_t d = (end_ms >= 0 ? end_ms : now_ms) - start_ms;
    return d > 0 ? d : 0;
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
                            duration(job->start_ms, job->end_ms, now_ms), "last-modification",
                            (json_int_t)job->modified_ms, "tasks", tasks, "jobType", "STREAMING", "schedulerType",
                            "Default", "pending-operators", 0, "status", weir_rest_string(job->status)));
    }
    weir_http_json(response, 200, json_pack("{s:o}", "jobs", list));
    weir_arena_fini(&arena);
}

/* --- Tasks */

static bool task_ended(enum weir_view_task_state state)
{
    return state == WEIR_VIEW_TASK_FINISHED || state == WEIR_VIEW_TASK_CANCELED || state == WEIR_VIEW_TASK_FAILED;
}

static int64_t task_start(const struct weir_view_task *task) /* -1: not yet */
{
    int64_t at = task->timestamps_ms[WEIR_VIEW_TASK_DEPLOYING];
    return at > 0 ? at : -1;
}

static int64_t task_end(const struct weir_view_task *task) /* -1: not yet */
{
    return task_ended(task->state) ? task->timestamps_ms[task->state] : -1;
}

static json_int_t task_duration(const struct weir_view_task *task, int64_t now_ms)
{
    int64_t start_ms = task_start(task);
    return start_ms < 0 ? -1 : duration(start_ms, task_end(task), now_ms);
}

struct io_sums {
    uint64_t bytes_in, bytes_out, records_in, records_out, busy_ms, idle_ms, backpressured_ms, records_bad,
        late_dropped;
    bool complete;
};

static struct io_sums sum_tasks(const struct weir_view_task *tasks, int count)
{
    struct io_sums sums = {.complete = true};
    for (int i = 0; i < count; i++) {
        sums.bytes_in += tasks[i].bytes_in;
        sums.bytes_out += tasks[i].bytes_out;
        sums.records_in += tasks[i].records_in;
        sums.records_out += tasks[i].records_out;
        sums.busy_ms += tasks[i].busy_ms;
        sums.idle_ms += tasks[i].idle_ms;
        sums.backpressured_ms += tasks[i].backpressured_ms;
        sums.complete = sums.complete && tasks[i].metrics_complete;
        for (int o = 0; o < tasks[i].operator_count; o++) {
            sums.records_bad += tasks[i].operators[o].records_bad;
            sums.late_dropped += tasks[i].operators[o].late_dropped;
        }
    }
    return sums;
}

static json_t *io_metrics(const struct io_sums *sums)
{
    return json_pack("{s:I, s:b, s:I, s:b, s:I, s:b, s:I, s:b, s:I, s:I, s:f, s:I, s:I}", "read-bytes",
                     (json_int_t)sums->bytes_in, "read-bytes-complete", sums->complete, "write-bytes",
                     (json_int_t)sums->bytes_out, "write-bytes-complete", sums->complete, "read-records",
                     (json_int_t)sums->records_in, "read-records-complete", sums->complete, "write-records",
                     (json_int_t)sums->records_out, "write-records-complete", sums->complete,
                     "accumulated-backpressured-time", (json_int_t)sums->backpressured_ms, "accumulated-idle-time",
                     (json_int_t)sums->idle_ms, "accumulated-busy-time", (double)sums->busy_ms, "bad-records",
                     (json_int_t)sums->records_bad, "late-records", (json_int_t)sums->late_dropped);
}

static json_t *state_counts(const struct weir_view_task *tasks, int count)
{
    int counts[WEIR_VIEW_TASK_STATES] = {0};
    for (int i = 0; i < count; i++)
        counts[tasks[i].state]++;
    json_t *object = json_object();
    for (int s = 0; s < WEIR_VIEW_TASK_STATES; s++)
        json_object_set_new(object, weir_view_task_state_names[s], json_integer(counts[s]));
    return object;
}

#define LIVE_STATES 5 /* CREATED to RUNNING */

/* How long the task was in a state; -1: it was not. */
static int64_t time_in_state(const struct weir_view_task *task, int state, int64_t now_ms)
{
    int64_t from_ms = task->timestamps_ms[state], to_ms = INT64_MAX;
    if (from_ms <= 0)
        return -1;
    for (int s = state + 1; s < WEIR_VIEW_TASK_STATES; s++)
        if (task->timestamps_ms[s] > 0 && task->timestamps_ms[s] < to_ms)
            to_ms = task->timestamps_ms[s];
    if (to_ms == INT64_MAX)
        to_ms = now_ms;
    return to_ms > from_ms ? to_ms - from_ms : 0;
}

static json_t *status_duration(const struct weir_view_task *task, int64_t now_ms)
{
    json_t *object = json_object();
    for (int s = 0; s < LIVE_STATES; s++) {
        int64_t ms = time_in_state(task, s, now_ms);
        if (ms >= 0)
            json_object_set_new(object, weir_view_task_state_names[s], json_integer(ms));
    }
    return object;
}

static json_t *endpoint_of(const struct weir_view_task *task)
{
    char text[300];
    snprintf(text, sizeof text, "%s:%d", task->host, task->data_port);
    return weir_rest_string(*task->host ? text : "(unassigned)");
}

static json_t *operators_of(const struct weir_view_task *tasks, int count)
{
    json_t *list = json_array();
    if (!count)
        return list;
    for (int o = 0; o < tasks[0].operator_count; o++) {
        uint64_t in = 0, out = 0, bad = 0, late = 0;
        int64_t watermark_ms = INT64_MAX;
        for (int i = 0; i < count; i++) {
            if (o >= tasks[i].operator_count)
                continue;
            const struct weir_view_operator *op = &tasks[i].operators[o];
            in += op->records_in;
            out += op->records_out;
            bad += op->records_bad;
            late += op->late_dropped;
            if (op->watermark_out_ms < watermark_ms)
                watermark_ms = op->watermark_out_ms;
        }
        json_t *object = json_pack("{s:o, s:I, s:I, s:I, s:I}", "name", weir_rest_string(tasks[0].operators[o].name),
                                   "records-in", (json_int_t)in, "records-out", (json_int_t)out, "records-bad",
                                   (json_int_t)bad, "late-dropped", (json_int_t)late);
        json_object_set_new(object, "watermark",
                            watermark_ms == INT64_MIN || watermark_ms == INT64_MAX ? json_null()
                                                                                   : json_integer(watermark_ms));
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *subtask_json(const struct weir_view_task *task, int64_t now_ms)
{
    struct io_sums sums = sum_tasks(task, 1);
    json_int_t start_ms = task_start(task);
    return json_pack("{s:i, s:s, s:i, s:o, s:o, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:[]}", "subtask", task->subtask,
                     "status", weir_view_task_state_names[task->state], "attempt", task->attempt, "host",
                     weir_rest_string(*task->host ? task->host : "(unassigned)"), "endpoint", endpoint_of(task),
                     "start-time", start_ms, "start_time", start_ms, "end-time", (json_int_t)task_end(task), "duration",
                     task_duration(task, now_ms), "metrics", io_metrics(&sums), "taskmanager-id",
                     weir_rest_string(*task->taskmanager_id ? task->taskmanager_id : "(unassigned)"), "status-duration",
                     status_duration(task, now_ms), "other-concurrent-attempts");
}

/* --- Statistics over subtasks */

static int compare_values(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static json_t *statistics(int64_t *values, int count)
{
    int64_t sum = 0;
    if (!count)
        return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "min", 0, "max", 0, "avg", 0, "sum", 0, "median",
                         0, "p25", 0, "p75", 0, "p95", 0);
    qsort(values, (size_t)count, sizeof *values, compare_values);
    for (int i = 0; i < count; i++)
        sum += values[i];
#define AT(percent) (json_int_t) values[(int)((count - 1) * (percent) / 100.0 + 0.5)]
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "min", (json_int_t)values[0], "max",
                     (json_int_t)values[count - 1], "avg", (json_int_t)(sum / count), "sum", (json_int_t)sum, "median",
                     AT(50), "p25", AT(25), "p75", AT(75), "p95", AT(95));
#undef AT
}

static int64_t metric_of(const struct weir_view_task *task, int which)
{
    switch (which) {
    case 0:
        return (int64_t)task->bytes_in;
    case 1:
        return (int64_t)task->bytes_out;
    case 2:
        return (int64_t)task->records_in;
    case 3:
        return (int64_t)task->records_out;
    case 4:
        return (int64_t)task->backpressured_ms;
    case 5:
        return (int64_t)task->idle_ms;
    default:
        return (int64_t)task->busy_ms;
    }
}

static json_t *aggregated(const struct weir_view_task *const *tasks, int count, int64_t now_ms)
{
    static const char *const names[] = {
        "read-bytes",
        "write-bytes",
        "read-records",
        "write-records",
        "accumulated-backpressured-time",
        "accumulated-idle-time",
        "accumulated-busy-time",
    };
    int64_t *values = weir_alloc((size_t)(count ? count : 1) * sizeof *values);
    json_t *metrics = json_object(), *durations = json_object();
    for (int m = 0; m < 7; m++) {
        for (int i = 0; i < count; i++)
            values[i] = metric_of(tasks[i], m);
        json_object_set_new(metrics, names[m], statistics(values, count));
    }
    for (int s = 0; s < LIVE_STATES; s++) {
        int n = 0;
        for (int i = 0; i < count; i++) {
            int64_t ms = time_in_state(tasks[i], s, now_ms);
            if (ms >= 0)
                values[n++] = ms;
        }
        json_object_set_new(durations, weir_view_task_state_names[s], statistics(values, n));
    }
    free(values);
    return json_pack("{s:o, s:o}", "metrics", metrics, "status-duration", durations);
}

/* --- A job */

static void vertex_times(const struct weir_view_vertex *vertex, int64_t *start_ms, int64_t *end_ms)
{
    *start_ms = -1;
    *end_ms = -1;
    bool ended = vertex->parallelism > 0;
    int64_t last_ms = -1;
    for (int i = 0; i < vertex->parallelism; i++) {
        int64_t s = task_start(&vertex->tasks[i]), e = task_end(&vertex->tasks[i]);
        if (s >= 0 && (*start_ms < 0 || s < *start_ms))
            *start_ms = s;
        ended = ended && e >= 0;
        if (e > last_ms)
            last_ms = e;
    }
    if (ended)
        *end_ms = last_ms;
}

static json_t *vertex_json(const struct weir_view_job *job, const struct weir_view_vertex *vertex, int64_t now_ms)
{
    int64_t start_ms, end_ms;
    vertex_times(vertex, &start_ms, &end_ms);
    struct io_sums sums = sum_tasks(vertex->tasks, vertex->parallelism);
    char group[300], hex[65];
    snprintf(group, sizeof group, "%s/%s", job->id, vertex->slot_sharing_group);
    weir_sha256_hex(group, strlen(group), hex);
    hex[32] = 0;
    return json_pack("{s:s, s:s, s:o, s:i, s:i, s:s, s:I, s:I, s:I, s:o, s:o, s:o}", "id", vertex->id,
                     "slotSharingGroupId", hex, "name", weir_rest_string(vertex->name), "maxParallelism",
                     vertex->max_parallelism, "parallelism", vertex->parallelism, "status",
                     weir_view_task_state_names[vertex->state], "start-time", (json_int_t)start_ms, "end-time",
                     (json_int_t)end_ms, "duration", start_ms < 0 ? (json_int_t)-1 : duration(start_ms, end_ms, now_ms),
                     "tasks", state_counts(vertex->tasks, vertex->parallelism), "metrics", io_metrics(&sums),
                     "weir-operators", operators_of(vertex->tasks, vertex->parallelism));
}

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
            json_array_append_new(vertices, vertex_json(job, &job->vertices[i], now_ms));
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
                      duration(job->start_ms, job->end_ms, now_ms), "maxParallelism", job->max_parallelism, "now",
                      (json_int_t)now_ms, "timestamps", timestamps, "vertices", vertices, "status-counts", counts,
                      "plan", plan_of(job), "status", weir_rest_string(job->status), "weir-restarts",
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
                                 duration(job->start_ms, job->end_ms, job->end_ms)));
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
    struct weir_arena arena;
    weir_arena_init(&arena);
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

/* --- Vertices */

static const struct weir_view_vertex *find_vertex(const struct weir_http_server_request *request,
                                                  struct weir_http_server_response *response, struct weir_arena *arena)
{
    char id[33];
    if (!weir_rest_parse_id(request->params[1], "vertexid", id, response))
        return NULL;
    const struct weir_view_job *job = weir_rest_find_job(request, response, WEIR_VIEW_VERTICES, arena);
    if (!job)
        return NULL;
    for (int i = 0; i < job->vertex_count; i++)
        if (!strcmp(job->vertices[i].id, id))
            return &job->vertices[i];
    weir_http_fail(response, 404, "JobVertex %s not found", id);
    return NULL;
}

static const struct weir_view_task **pointers(const struct weir_view_vertex *vertex, struct weir_arena *arena)
{
    const struct weir_view_task **tasks = weir_arena_alloc(arena, (size_t)vertex->parallelism * sizeof *tasks);
    for (int i = 0; i < vertex->parallelism; i++)
        tasks[i] = &vertex->tasks[i];
    return tasks;
}

void weir_rest_vertex(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_vertex *vertex = find_vertex(request, response, &arena);
    if (vertex) {
        int64_t now_ms = weir_clock_wall_ms();
        json_t *subtasks = json_array();
        for (int i = 0; i < vertex->parallelism; i++)
            json_array_append_new(subtasks, subtask_json(&vertex->tasks[i], now_ms));
        weir_http_json(response, 200,
                       json_pack("{s:s, s:o, s:i, s:i, s:I, s:o, s:o, s:o}", "id", vertex->id, "name",
                                 weir_rest_string(vertex->name), "parallelism", vertex->parallelism, "maxParallelism",
                                 vertex->max_parallelism, "now", (json_int_t)now_ms, "subtasks", subtasks, "aggregated",
                                 aggregated(pointers(vertex, &arena), vertex->parallelism, now_ms), "weir-operators",
                                 operators_of(vertex->tasks, vertex->parallelism)));
    }
    weir_arena_fini(&arena);
}

void weir_rest_subtask(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_vertex *vertex = find_vertex(request, response, &arena);
    if (vertex) {
        char *end = NULL;
        long index = strtol(request->params[2], &end, 10);
        if (end == request->params[2] || *end || index < 0)
            weir_http_fail(
                response, 400,
                "Bad request, could not parse parameters: Cannot resolve path parameter (subtaskindex) from value \"%.50s\".",
                request->params[2]);
        else if (index >= vertex->parallelism)
            weir_http_fail(response, 404, "Invalid subtask index for vertex %s", vertex->id);
        else
            weir_http_json(response, 200, subtask_json(&vertex->tasks[index], weir_clock_wall_ms()));
    }
    weir_arena_fini(&arena);
}

void weir_rest_vertex_subtasktimes(const struct weir_http_server_request *request,
                                   struct weir_http_server_response *response)
{
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_vertex *vertex = find_vertex(request, response, &arena);
    if (vertex) {
        int64_t now_ms = weir_clock_wall_ms();
        json_t *subtasks = json_array();
        for (int i = 0; i < vertex->parallelism; i++) {
            const struct weir_view_task *task = &vertex->tasks[i];
            json_t *timestamps = json_object();
            for (int s = 0; s < WEIR_VIEW_TASK_STATES; s++)
                json_object_set_new(timestamps, weir_view_task_state_names[s], json_integer(task->timestamps_ms[s]));
            json_array_append_new(subtasks, json_pack("{s:i, s:o, s:o, s:I, s:o}", "subtask", task->subtask, "host",
                                                      weir_rest_string(*task->host ? task->host : "(unassigned)"),
                                                      "endpoint", endpoint_of(task), "duration",
                                                      task_duration(task, now_ms), "timestamps", timestamps));
        }
        weir_http_json(response, 200,
                       json_pack("{s:s, s:o, s:I, s:o}", "id", vertex->id, "name", weir_rest_string(vertex->name),
                                 "now", (json_int_t)now_ms, "subtasks", subtasks));
    }
    weir_arena_fini(&arena);
}

void weir_rest_vertex_accumulators(const struct weir_http_server_request *request,
                                   struct weir_http_server_response *response)
{
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_vertex *vertex = find_vertex(request, response, &arena);
    if (vertex)
        weir_http_json(response, 200, json_pack("{s:s, s:[]}", "id", vertex->id, "user-accumulators"));
    weir_arena_fini(&arena);
}

void weir_rest_vertex_subtask_accumulators(const struct weir_http_server_request *request,
                                           struct weir_http_server_response *response)
{
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_vertex *vertex = find_vertex(request, response, &arena);
    if (vertex) {
        json_t *subtasks = json_array();
        for (int i = 0; i < vertex->parallelism; i++) {
            const struct weir_view_task *task = &vertex->tasks[i];
            json_array_append_new(subtasks, json_pack("{s:i, s:i, s:o, s:o, s:[]}", "subtask", task->subtask, "attempt",
                                                      task->attempt, "host",
                                                      weir_rest_string(*task->host ? task->host : "(unassigned)"),
                                                      "endpoint", endpoint_of(task), "user-accumulators"));
        }
        weir_http_json(
            response, 200,
            json_pack("{s:s, s:i, s:o}", "id", vertex->id, "parallelism", vertex->parallelism, "subtasks", subtasks));
    }
    weir_arena_fini(&arena);
}

void weir_rest_vertex_watermarks(const struct weir_http_server_request *request,
                                 struct weir_http_server_response *response)
{
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_vertex *vertex = find_vertex(request, response, &arena);
    if (vertex) {
        json_t *list = json_array();
        for (int i = 0; i < vertex->parallelism; i++) {
            if (vertex->tasks[i].watermark_ms == INT64_MIN)
                continue;
            char name[48], value[32];
            snprintf(name, sizeof name, "%d.currentInputWatermark", vertex->tasks[i].subtask);
            snprintf(value, sizeof value, "%lld", (long long)vertex->tasks[i].watermark_ms);
            json_array_append_new(list, json_pack("{s:s, s:s}", "id", name, "value", value));
        }
        weir_http_json(response, 200, list);
    }
    weir_arena_fini(&arena);
}

/* The vertex's subtasks on one TaskManager. */
static json_t *vertex_on_taskmanager(const struct weir_view_vertex *vertex, const char *id, struct weir_arena *arena,
                                     int64_t now_ms)
{
    struct weir_view_task *mine = weir_arena_alloc(arena, (size_t)vertex->parallelism * sizeof *mine);
    const struct weir_view_task **tasks = weir_arena_alloc(arena, (size_t)vertex->parallelism * sizeof *tasks);
    int count = 0;
    for (int i = 0; i < vertex->parallelism; i++)
        if (!strcmp(vertex->tasks[i].taskmanager_id, id)) {
            mine[count] = vertex->tasks[i];
            tasks[count] = &mine[count];
            count++;
        }
    struct weir_view_vertex part = *vertex;
    part.tasks = mine;
    part.parallelism = count;
    int64_t start_ms, end_ms;
    vertex_times(&part, &start_ms, &end_ms);
    struct io_sums sums = sum_tasks(mine, count);
    bool same = true;
    for (int i = 1; i < count; i++)
        same = same && mine[i].state == mine[0].state;
    return json_pack("{s:o, s:o, s:s, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "host", endpoint_of(&mine[0]), "endpoint",
                     endpoint_of(&mine[0]), "status", weir_view_task_state_names[same ? mine[0].state : vertex->state],
                     "start-time", (json_int_t)start_ms, "end-time", (json_int_t)end_ms, "duration",
                     start_ms < 0 ? (json_int_t)-1 : duration(start_ms, end_ms, now_ms), "metrics", io_metrics(&sums),
                     "status-counts", state_counts(mine, count), "taskmanager-id",
                     weir_rest_string(*id ? id : "(unassigned)"), "aggregated", aggregated(tasks, count, now_ms));
}

void weir_rest_vertex_taskmanagers(const struct weir_http_server_request *request,
                                   struct weir_http_server_response *response)
{
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_vertex *vertex = find_vertex(request, response, &arena);
    if (vertex) {
        int64_t now_ms = weir_clock_wall_ms();
        json_t *list = json_array();
        for (int i = 0; i < vertex->parallelism; i++) {
            bool seen = false;
            for (int j = 0; j < i && !seen; j++)
                seen = !strcmp(vertex->tasks[j].taskmanager_id, vertex->tasks[i].taskmanager_id);
            if (!seen)
                json_array_append_new(list,
                                      vertex_on_taskmanager(vertex, vertex->tasks[i].taskmanager_id, &arena, now_ms));
        }
        weir_http_json(response, 200,
                       json_pack("{s:s, s:o, s:I, s:o}", "id", vertex->id, "name", weir_rest_string(vertex->name),
                                 "now", (json_int_t)now_ms, "taskmanagers", list));
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
        weir_http_fail(response, 404, "Job could not be found: Job %s not found", id);
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
