/* Vertices and subtasks over REST: their JSON, in a job's and by themselves; Flink's v1 (rest_jobs.c has what is ours). */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "jobmanager/rest/rest_int.h"

json_int_t weir_rest_duration_ms(int64_t start_ms, int64_t end_ms, int64_t now_ms)
{
    int64_t d = (end_ms >= 0 ? end_ms : now_ms) - start_ms;
    return d > 0 ? d : 0;
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
    return start_ms < 0 ? -1 : weir_rest_duration_ms(start_ms, task_end(task), now_ms);
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

/* What operator `o` has beside the counters of all: the sum, or the largest, of its subtasks'. */
static json_t *numbers_of(const struct weir_view_task *tasks, int count, int o)
{
    json_t *object = json_object();
    for (int m = 0; m < WEIR_OP_METRICS; m++) {
        int64_t value = WEIR_OP_METRIC_NONE;
        for (int i = 0; i < count; i++)
            if (o < tasks[i].operator_count)
                value = weir_op_metric_merge((enum weir_op_metric)m, value, tasks[i].operators[o].numbers[m]);
        if (value != WEIR_OP_METRIC_NONE)
            json_object_set_new(object, weir_op_metric_kinds[m].name,
                                weir_op_metric_kinds[m].is_rate ? json_real((double)value / 1000)
                                                                : json_integer(value));
    }
    return object;
}

static json_t *known(int64_t value)
{
    return value < 0 ? json_null() : json_integer(value);
}

static json_t *lanes_of(const struct weir_view_task *tasks, int count, int o)
{
    json_t *list = json_array();
    for (int i = 0; i < count; i++)
        for (int l = 0; o < tasks[i].operator_count && l < tasks[i].operators[o].lane_count; l++) {
            const struct weir_view_lane *lane = &tasks[i].operators[o].lanes[l];
            json_array_append_new(list, json_pack("{s:o, s:i, s:i, s:o, s:o, s:o}", "topic",
                                                  weir_rest_string(lane->topic), "partition", lane->partition,
                                                  "subtask", tasks[i].subtask, "current-offset", known(lane->next),
                                                  "committed-offset", known(lane->committed), "lag", known(lane->lag)));
        }
    return list;
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
        const char *kind = tasks[0].operators[o].op;
        json_t *object =
            json_pack("{s:o, s:s, s:I, s:I, s:I, s:I}", "name", weir_rest_string(tasks[0].operators[o].name), "op",
                      kind ? kind : "", "records-in", (json_int_t)in, "records-out", (json_int_t)out, "records-bad",
                      (json_int_t)bad, "late-dropped", (json_int_t)late);
        json_object_set_new(object, "watermark",
                            watermark_ms == INT64_MIN || watermark_ms == INT64_MAX ? json_null()
                                                                                   : json_integer(watermark_ms));
        json_object_set_new(object, "metrics", numbers_of(tasks, count, o));
        json_object_set_new(object, "partitions", lanes_of(tasks, count, o));
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

/* --- Vertices of a job */

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

json_t *weir_rest_vertex_json(const struct weir_view_job *job, const struct weir_view_vertex *vertex, int64_t now_ms)
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
                     (json_int_t)end_ms, "duration",
                     start_ms < 0 ? (json_int_t)-1 : weir_rest_duration_ms(start_ms, end_ms, now_ms), "tasks",
                     state_counts(vertex->tasks, vertex->parallelism), "metrics", io_metrics(&sums), "weir-operators",
                     operators_of(vertex->tasks, vertex->parallelism));
}

/* --- Handlers */

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
                     start_ms < 0 ? (json_int_t)-1 : weir_rest_duration_ms(start_ms, end_ms, now_ms), "metrics",
                     io_metrics(&sums), "status-counts", state_counts(mine, count), "taskmanager-id",
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
