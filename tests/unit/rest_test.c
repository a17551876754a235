/* jobmanager/rest over a fake cluster: fields and types as Flink's recorded replies have them, errors, uploads, logs, metrics. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/clock.h"
#include "base/hash.h"
#include "http/http_client.h"
#include "jobmanager/rest/rest.h"
#include "rest_shapes.h"

#define FAILED_JOB "0123456789abcdef0123456789abcdef"
#define RUNNING_JOB "11111111111111111111111111111111"
#define FINISHED_JOB "22222222222222222222222222222222"
#define VERTEX "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define PLAN \
    "{\"jid\":\"x\",\"name\":\"n\",\"type\":\"STREAMING\",\"nodes\":[{\"id\":\"" VERTEX \
    "\",\"parallelism\":2,\"operator\":\"\"," \
    "\"operator_strategy\":\"\",\"description\":\"d\",\"optimizer_properties\":{}}]}"

static char directory[64];
static struct weir_rest *rest;
static struct weir_config *config;

/* --- The fake */

static struct {
    char cancelled[33];
    struct weir_view_submission submission; /* strings copied below */
    char graph[4096], savepoint_path[100], job_id[33], name[256], code_name[200], sha256[65], path[300],
        arguments[1000], configuration[1000];
    bool fail_build, reading;
    char code_sha256[65]; /* of the running job */
} fake;

static const struct weir_view_lane lanes[] = {{"a\"topic", 3, 41, -1, 7}, {"b", 0, 5, 4, -1}};
static struct weir_view_operator operators[] = {
    {"source", "Source: in", 0, 100, 3, 0, INT64_MIN, 5000, .lane_count = 2, .lanes = lanes},
    {"window", "wind\"ow", 100, 10, 0, 2, 5000, 5000, .lane_count = 0},
};
static struct weir_view_task tasks[2];
static struct weir_view_vertex vertex;
static struct weir_view_exception exceptions[3];
static const struct weir_key_value settings[] = {{"restart-strategy.type", "none"}};

static const struct weir_view_job *make_job(struct weir_arena *arena, const char *id, int parts)
{
    struct weir_view_job *job = weir_arena_zalloc(arena, sizeof *job);
    job->id = weir_arena_strdup(arena, id);
    job->state = !strcmp(id, FAILED_JOB)     ? WEIR_VIEW_JOB_FAILED
                 : !strcmp(id, FINISHED_JOB) ? WEIR_VIEW_JOB_FINISHED
                                             : WEIR_VIEW_JOB_RUNNING;
    job->name = "te\"st \xff"; /* not UTF-8: must not break a reply */
    job->status = job->state == WEIR_VIEW_JOB_RUNNING ? "waiting for 2 more slots" : "";
    job->start_ms = 1000;
    job->end_ms = job->state == WEIR_VIEW_JOB_RUNNING ? -1 : 6000;
    job->modified_ms = 6000;
    job->timestamps_ms[WEIR_VIEW_JOB_CREATED] = 1000;
    job->timestamps_ms[WEIR_VIEW_JOB_RUNNING] = 1500;
    job->restarts = 4;
    job->parallelism = 2;
    job->max_parallelism = 128;
    job->task_total = 2;
    job->task_counts[WEIR_VIEW_TASK_RUNNING] = 2;
    job->restart_strategy = "none";
    job->code_sha256 = fake.code_sha256;
    if (parts & WEIR_VIEW_VERTICES) {
        job->vertex_count = 1;
        job->vertices = &vertex;
    }
    if (parts & WEIR_VIEW_PLAN)
        job->plan_json = PLAN;
    if (parts & WEIR_VIEW_EXCEPTIONS && job->state == WEIR_VIEW_JOB_FAILED) {
        job->exception_count = 3;
        job->exceptions = exceptions;
    }
    if (parts & WEIR_VIEW_CONFIGURATION) {
        job->configuration = settings;
        job->configuration_count = 1;
    }
    return job;
}

static const char *const job_ids[] = {FAILED_JOB, RUNNING_JOB, FINISHED_JOB};

static void fake_jobs(void *self, struct weir_arena *arena, const struct weir_view_job **jobs, int *count)
{
    (void)self;
    struct weir_view_job *all = weir_arena_alloc(arena, 3 * sizeof *all);
    for (int i = 0; i < 3; i++)
        all[i] = *make_job(arena, job_ids[i], 0);
    *jobs = all;
    *count = 3;
}

static bool fake_knows_all_jobs(void *self)
{
    (void)self;
    return !fake.reading;
}

static bool fake_job(void *self, const char *id, int parts, struct weir_arena *arena, const struct weir_view_job **job)
{
    (void)self;
    for (int i = 0; i < 3; i++)
        if (!strcmp(id, job_ids[i])) {
            *job = make_job(arena, id, parts);
            return true;
        }
    return false;
}

static void fake_taskmanagers(void *self, struct weir_arena *arena, const struct weir_view_taskmanager **out,
                              int *count)
{
    (void)self;
    static const char *const allocated[] = {RUNNING_JOB};
    struct weir_view_taskmanager *tms = weir_arena_zalloc(arena, 2 * sizeof *tms);
    for (int i = 0; i < 2; i++) {
        tms[i] = (struct weir_view_taskmanager){
            .id = i ? "tm-far" : "tm-1",
            .host = "h",
            .data_port = 77,
            .slots = 2,
            .slots_free = 1,
            .cpu_cores = 4,
            .pid = 12,
            .memory_bytes = (int64_t)8 << 30,
            .heartbeat_wall_ms = 123456,
            .rss_bytes = 1 << 20,
            .allocated_count = 1,
            .allocated_jobs = allocated,
            .log_readable_here = !i,
        };
        tms[i].log_directory = weir_arena_format(arena, "%s/tm-logs", directory);
    }
    *out = tms;
    *count = 2;
}

static weir_err fake_cancel(void *self, const char *id, struct weir_error *error)
{
    (void)self;
    if (!strcmp(id, RUNNING_JOB)) {
        strcpy(fake.cancelled, id);
        return WEIR_OK;
    }
    return weir_fail(error, !strcmp(id, FAILED_JOB) ? WEIR_ERR_EXISTS : WEIR_ERR_NOT_FOUND, "no");
}

static weir_err fake_build(void *self, const struct weir_view_build *build, struct weir_buf *graph,
                           struct weir_error *error)
{
    (void)self;
    snprintf(fake.code_name, sizeof fake.code_name, "%s", build->code_name);
    snprintf(fake.sha256, sizeof fake.sha256, "%s", build->code_sha256);
    snprintf(fake.path, sizeof fake.path, "%s", build->path);
    fake.arguments[0] = 0;
    for (int i = 0; i < build->argument_count; i++) {
        strcat(fake.arguments, build->arguments[i]);
        strcat(fake.arguments, "|");
    }
    if (access(build->path, R_OK) != 0)
        return weir_fail(error, WEIR_ERR_IO, "the file is not there");
    if (fake.fail_build)
        return weir_fail(error, WEIR_ERR_USER_CODE, "job.c:12: operator 'filter': column 'x' does not exist");
    return weir_buf_puts(graph, "GRAPH") ? WEIR_OK : WEIR_ERR_FULL;
}

static weir_err fake_submit(void *self, const struct weir_view_submission *s, char id[33], struct weir_error *error)
{
    (void)self;
    fake.submission = *s;
    snprintf(fake.graph, sizeof fake.graph, "%.*s", (int)s->graph_size, (const char *)s->graph);
    snprintf(fake.savepoint_path, sizeof fake.savepoint_path, "%s", s->savepoint_path ? s->savepoint_path : "");
    snprintf(fake.job_id, sizeof fake.job_id, "%s", s->job_id ? s->job_id : "-");
    snprintf(fake.name, sizeof fake.name, "%s", s->name ? s->name : "-");
    fake.configuration[0] = 0;
    for (int i = 0; i < s->configuration_count; i++)
        sprintf(fake.configuration + strlen(fake.configuration), "%s=%s;", s->configuration[i].key,
                s->configuration[i].value);
    if (!strncmp(fake.graph, "bad", 3))
        return weir_fail(error, WEIR_ERR_INVALID, "the bytes are no JobGraph");
    strcpy(id, RUNNING_JOB);
    return WEIR_OK;
}

static weir_err fake_plan(void *self, const struct weir_view_submission *s, struct weir_arena *arena, const char **json,
                          struct weir_error *error)
{
    (void)self, (void)s, (void)error;
    *json = weir_arena_strdup(arena, PLAN);
    return WEIR_OK;
}

/* The running job has two checkpoints and a savepoint that has failed; the finished one makes none. */
static bool fake_checkpoints(void *self, const char *id, struct weir_arena *arena,
                             const struct weir_view_checkpoints **out)
{
    (void)self;
    static const struct weir_view_checkpoint_part parts[] = {{.acknowledged_ms = 1100,
                                                              .size_bytes = 100,
                                                              .new_bytes = 40},
                                                             {.acknowledged_ms = 1300,
                                                              .size_bytes = 200,
                                                              .new_bytes = 60,
                                                              .alignment_ms = 20,
                                                              .processed_bytes = 7,
                                                              .persisted_bytes = 8,
                                                              .sync_ms = 3,
                                                              .async_ms = 77}},
                                                  none[] = {{.acknowledged_ms = -1},
                                                            {.acknowledged_ms = 1100, .size_bytes = 5}};
    static const struct weir_view_checkpoint_vertex all = {VERTEX, 2, parts}, some = {VERTEX, 2, none};
    static const struct weir_view_checkpoint list[] = {
        {.id = 4,
         .status = WEIR_VIEW_CHECKPOINT_IN_PROGRESS,
         .triggered_ms = 1000,
         .ended_ms = -1,
         .acknowledged_ms = 1100,
         .subtasks = 2,
         .acknowledged = 1,
         .path = "",
         .failure = "",
         .vertex_count = 1,
         .vertices = &some},
        {.id = 3,
         .status = WEIR_VIEW_CHECKPOINT_FAILED,
         .savepoint = true,
         .triggered_ms = 1000,
         .ended_ms = 1010,
         .acknowledged_ms = -1,
         .subtasks = 2,
         .path = "",
         .failure = "no \xff room"},
        {.id = 2,
         .status = WEIR_VIEW_CHECKPOINT_COMPLETED,
         .triggered_ms = 1000,
         .ended_ms = 1350,
         .acknowledged_ms = 1300,
         .size_bytes = 300,
         .new_bytes = 100,
         .processed_bytes = 7,
         .persisted_bytes = 8,
         .subtasks = 2,
         .acknowledged = 2,
         .path = "file:///c/chk-2",
         .failure = "",
         .vertex_count = 1,
         .vertices = &all},
        {.id = 1,
         .status = WEIR_VIEW_CHECKPOINT_COMPLETED,
         .savepoint = true,
         .triggered_ms = 1000,
         .ended_ms = 1350,
         .acknowledged_ms = 1100,
         .size_bytes = 100,
         .subtasks = 2,
         .acknowledged = 2,
         .path = "file:///s/savepoint-1",
         .failure = ""},
    };
    if (strcmp(id, RUNNING_JOB) != 0 && strcmp(id, FINISHED_JOB) != 0)
        return false;
    struct weir_view_checkpoints *checkpoints = weir_arena_zalloc(arena, sizeof *checkpoints);
    *checkpoints = (struct weir_view_checkpoints){
        .enabled = strcmp(id, RUNNING_JOB) == 0,
        .mode = "exactly-once",
        .state_backend = "hashmap",
        .retention = "",
        .interval_ms = 1000,
        .timeout_ms = 600000,
        .max_concurrent = 1,
        .completed = 22,
        .failed = 3,
        .in_progress = 1,
        .count = 4,
        .list = list,
        .restored = true,
        .restored_id = 9,
        .restored_ms = 999,
        .restored_savepoint = true,
        .restored_path = "file:///s/savepoint-0",
    };
    *out = checkpoints;
    return true;
}

static struct {
    char job_id[33], id[33], failure[100], directory[100];
    enum weir_view_operation_kind kind;
    bool ended, full, drain, has_dir;
    int parallelism;
} fake_op;

static weir_err fake_begin(void *self, const char *job_id, const struct weir_view_request *request,
                           struct weir_error *error)
{
    (void)self;
    strcpy(fake_op.job_id, job_id);
    strcpy(fake_op.id, request->id);
    fake_op.kind = request->kind;
    snprintf(fake_op.directory, sizeof fake_op.directory, "%s", request->directory ? request->directory : "-");
    fake_op.drain = request->drain;
    fake_op.parallelism = request->parallelism;
    return fake_op.full ? weir_fail(error, WEIR_ERR_FULL, "too many are under way") : WEIR_OK;
}

static bool fake_has_savepoint_dir(void *self)
{
    (void)self;
    return fake_op.has_dir;
}

static weir_err fake_dispose(void *self, const char *path, struct weir_error *error)
{
    (void)self;
    return strcmp(path, "/sp") == 0 ? WEIR_OK : weir_fail(error, WEIR_ERR_NOT_FOUND, "there is no savepoint %s", path);
}

static bool fake_operation(void *self, const char *id, struct weir_arena *arena, struct weir_view_operation *operation)
{
    (void)self, (void)arena;
    if (strcmp(id, fake_op.id) != 0)
        return false;
    *operation = (struct weir_view_operation){.kind = fake_op.kind,
                                              .job_id = fake_op.job_id,
                                              .ended = fake_op.ended,
                                              .checkpoint = 32,
                                              .location = "file:/sp/savepoint-1",
                                              .failure = *fake_op.failure ? fake_op.failure : NULL};
    return true;
}

static const struct weir_cluster_view view = {
    .jobs = fake_jobs,
    .knows_all_jobs = fake_knows_all_jobs,
    .job = fake_job,
    .taskmanagers = fake_taskmanagers,
    .cancel = fake_cancel,
    .build = fake_build,
    .submit = fake_submit,
    .plan = fake_plan,
    .checkpoints = fake_checkpoints,
    .begin = fake_begin,
    .has_savepoint_dir = fake_has_savepoint_dir,
    .dispose = fake_dispose,
    .operation = fake_operation,
};

static void write_file(const char *name, const char *text)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *f = fopen(path, "w");
    fputs(text, f);
    fclose(f);
}

/* --- Calls */

static char *url_of(const char *path)
{
    static char url[1024];
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", weir_rest_port(rest), path);
    return url;
}

static char *call_text(const char *method, const char *path, const char *type, const char *body, int status)
{
    struct weir_http_request request = {.method = method,
                                        .url = url_of(path),
                                        .body = body,
                                        .content_type = type,
                                        .body_size = body ? strlen(body) : 0};
    struct weir_http_response response;
    struct weir_error error;
    if (weir_http_call(&request, &response, &error))
        fail_msg("%s", error.message);
    if (response.status != status)
        fail_msg("%s %s: %d %s", method, path, response.status, (char *)response.body.data);
    char *text = strdup(response.body.data ? (char *)response.body.data : "");
    weir_http_response_fini(&response);
    return text;
}

static json_t *call(const char *method, const char *path, const char *body, int status)
{
    char *text = call_text(method, path, NULL, body, status);
    json_error_t e;
    json_t *json = json_loads(text, 0, &e);
    if (!json)
        fail_msg("%s: %s", path, e.text);
    free(text);
    return json;
}

static void expect_error(const char *method, const char *path, const char *body, int status, const char *part)
{
    json_t *json = call(method, path, body, status);
    const char *text = json_string_value(json_array_get(json_object_get(json, "errors"), 0));
    assert_int_equal(json_object_size(json), 1);
    assert_non_null(text);
    if (!strstr(text, part))
        fail_msg("%s %s: '%s' lacks '%s'", method, path, text, part);
    json_decref(json);
}

static json_t *upload(const char *name, const char *content, int status)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(content, f);
    fclose(f);
    struct weir_http_request request = {.method = "POST", .url = url_of("/jars/upload"), .upload_path = path};
    struct weir_http_response response;
    struct weir_error error;
    if (weir_http_call(&request, &response, &error))
        fail_msg("%s", error.message);
    if (response.status != status)
        fail_msg("upload: %d %s", response.status, (char *)response.body.data);
    json_t *json = json_loads((char *)response.body.data, 0, NULL);
    assert_non_null(json);
    weir_http_response_fini(&response);
    unlink(path);
    return json;
}

static char *upload_id(const char *name, const char *content)
{
    json_t *json = upload(name, content, 200);
    char *id = strdup(strrchr(json_string_value(json_object_get(json, "filename")), '/') + 1);
    json_decref(json);
    return id;
}

/* --- Shapes */

static bool fits(const json_t *shape, const json_t *value, char *where, size_t size)
{
    if (json_is_string(shape)) {
        char kind = json_string_value(shape)[0];
        if (kind == 's')
            return json_is_string(value);
        if (kind == 'i')
            return json_is_integer(value);
        if (kind == 'f')
            return json_is_real(value);
        if (kind == 'b')
            return json_is_boolean(value);
        return value != NULL; /* recorded as null once */
    }
    if (json_is_null(shape))
        return value != NULL;
    if (json_is_array(shape)) {
        size_t i;
        json_t *item;
        if (!json_is_array(value))
            return false;
        if (json_array_size(shape) && json_array_size(value) == 0)
            return false; /* the fake has one of each */
        json_array_foreach((json_t *)value, i, item) if (json_array_size(shape) && !fits(json_array_get(shape, 0), item,
                                                                                         where, size)) return false;
        return true;
    }
    const char *key;
    json_t *part;
    if (!json_is_object(value))
        return false;
    json_object_foreach((json_t *)shape, key, part)
    {
        if (!fits(part, json_object_get(value, key), where, size)) {
            size_t used = strlen(where);
            snprintf(where + used, size - used, "<%s", key);
            return false;
        }
    }
    return true;
}

static void replies_have_flinks_fields(void **state)
{
    (void)state;
    char *jar = upload_id("job.so", "\x7f"
                                    "ELF");
    char jar_plan[300], jar_run[300];
    snprintf(jar_plan, sizeof jar_plan, "/jars/%s/plan", jar);
    snprintf(jar_run, sizeof jar_run, "/jars/%s/run", jar);
    struct {
        const char *name, *method, *path;
        int status;
    } calls[] = {
        {"overview", "GET", "/overview", 200},
        {"config", "GET", "/v1/config", 200},
        {"jobs", "GET", "/jobs", 200},
        {"jobs_overview", "GET", "/jobs/overview", 200},
        {"job", "GET", "/jobs/" FAILED_JOB, 200},
        {"job_running", "GET", "/v1/jobs/" RUNNING_JOB, 200},
        {"plan", "GET", "/jobs/" FAILED_JOB "/plan", 200},
        {"job_config", "GET", "/jobs/" FAILED_JOB "/config", 200},
        {"exceptions", "GET", "/jobs/" FAILED_JOB "/exceptions", 200},
        {"status", "GET", "/jobs/" FAILED_JOB "/status", 200},
        {"accumulators", "GET", "/jobs/" FAILED_JOB "/accumulators?includeSerializedValue=true", 200},
        {"vertex", "GET", "/jobs/" FAILED_JOB "/vertices/" VERTEX, 200},
        {"subtasktimes", "GET", "/jobs/" FAILED_JOB "/vertices/" VERTEX "/subtasktimes", 200},
        {"vertex_accumulators", "GET", "/jobs/" FAILED_JOB "/vertices/" VERTEX "/accumulators", 200},
        {"subtask_accumulators", "GET", "/jobs/" FAILED_JOB "/vertices/" VERTEX "/subtasks/accumulators", 200},
        {"vertex_taskmanagers", "GET", "/jobs/" FAILED_JOB "/vertices/" VERTEX "/taskmanagers", 200},
        {"subtask", "GET", "/jobs/" FAILED_JOB "/vertices/" VERTEX "/subtasks/1", 200},
        {"result_finished", "GET", "/jobs/" FINISHED_JOB "/execution-result", 200},
        {"result_running", "GET", "/jobs/" RUNNING_JOB "/execution-result", 200},
        {"taskmanagers", "GET", "/taskmanagers", 200},
        {"taskmanager", "GET", "/taskmanagers/tm-1", 200},
        {"jobmanager_config", "GET", "/jobmanager/config", 200},
        {"jobmanager_logs", "GET", "/jobmanager/logs", 200},
        {"checkpoints", "GET", "/jobs/" RUNNING_JOB "/checkpoints", 200},
        {"checkpoints_config", "GET", "/jobs/" RUNNING_JOB "/checkpoints/config", 200},
        {"checkpoint", "GET", "/jobs/" RUNNING_JOB "/checkpoints/details/2", 200},
        {"checkpoint_subtasks", "GET", "/jobs/" RUNNING_JOB "/checkpoints/details/2/subtasks/" VERTEX, 200},
        {"trigger", "POST", "/jobs/" RUNNING_JOB "/checkpoints", 202},
        {"jars", "GET", "/jars", 200},
        {"jar_plan", "GET", jar_plan, 200},
        {"jar_plan", "POST", jar_plan, 200},
        {"jar_run", "POST", jar_run, 200},
        {"not_found", "GET", "/nosuch", 404},
    };
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        const char *text = NULL;
        for (size_t s = 0; s < sizeof rest_shapes / sizeof rest_shapes[0]; s++)
            if (!strcmp(rest_shapes[s].name, calls[i].name))
                text = rest_shapes[s].shape;
        assert_non_null(text);
        json_t *shape = json_loads(text, 0, NULL);
        json_t *reply = call(calls[i].method, calls[i].path, NULL, calls[i].status);
        char where[200] = "";
        if (!fits(shape, reply, where, sizeof where))
            fail_msg("%s: the field %s is missing or of another type", calls[i].name, where);
        json_decref(reply);
        json_decref(shape);
    }
    free(jar);
}

/* --- Values */

static json_int_t number(json_t *json, const char *a, const char *b)
{
    json_t *value = json_object_get(json, a);
    if (b)
        value = json_object_get(value, b);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

static void values(void **state)
{
    (void)state;
    json_t *json = call("GET", "/overview", NULL, 200);
    assert_int_equal(number(json, "slots-total", NULL), 4);
    assert_int_equal(number(json, "slots-available", NULL), 2);
    assert_int_equal(number(json, "jobs-running", NULL), 1);
    assert_int_equal(number(json, "jobs-failed", NULL), 1);
    json_decref(json);
    json = call("GET", "/jobs/" FAILED_JOB, NULL, 200);
    json_t *v = json_array_get(json_object_get(json, "vertices"), 0);
    assert_int_equal(number(v, "metrics", "read-records"), 30);
    assert_int_equal(number(v, "metrics", "write-bytes"), 300);
    assert_int_equal(number(v, "metrics", "bad-records"), 6);
    assert_int_equal(number(v, "metrics", "late-records"), 4);
    assert_int_equal(number(v, "start-time", NULL), 2000);
    assert_int_equal(number(v, "end-time", NULL), 5000);
    assert_int_equal(number(v, "duration", NULL), 3000);
    assert_int_equal(number(v, "tasks", "FAILED"), 1);
    assert_int_equal(number(v, "tasks", "CANCELED"), 1);
    assert_int_equal(number(json, "status-counts", "FAILED"), 1);
    json_t *op = json_array_get(json_object_get(v, "weir-operators"), 0), *numbers = json_object_get(op, "metrics");
    assert_int_equal(json_integer_value(json_object_get(numbers, "pendingRecords")), 14); /* of both subtasks */
    assert_int_equal(json_integer_value(json_object_get(numbers, "records-lag-max")), 6);
    json_t *lane = json_array_get(json_object_get(op, "partitions"), 0);
    assert_string_equal(json_string_value(json_object_get(lane, "topic")), "a\"topic");
    assert_int_equal(json_integer_value(json_object_get(lane, "lag")), 7);
    assert_true(json_is_null(json_object_get(lane, "committed-offset")));
    assert_int_equal(number(op, "records-bad", NULL), 6);
    assert_string_equal(json_string_value(json_object_get(op, "op")), "source");
    assert_int_equal(number(json, "duration", NULL), 5000);
    json_decref(json);
    json = call("GET", "/jobs/" RUNNING_JOB, NULL, 200);
    assert_string_equal(json_string_value(json_object_get(json, "status")), "waiting for 2 more slots");
    json_decref(json);
    json = call("GET", "/jobs/" FAILED_JOB "/vertices/" VERTEX, NULL, 200);
    json_t *sub = json_array_get(json_object_get(json, "subtasks"), 1);
    assert_int_equal(number(sub, "status-duration", "RUNNING"), 2000);
    assert_int_equal(number(sub, "attempt", NULL), 3);
    json_t *a = json_object_get(json_object_get(json_object_get(json, "aggregated"), "metrics"), "read-records");
    assert_int_equal(number(a, "sum", NULL), 30);
    assert_int_equal(number(a, "max", NULL), 20);
    json_decref(json);
    json = call("GET", "/jobs/" FAILED_JOB "/exceptions?maxExceptions=1", NULL, 200);
    json_t *history = json_object_get(json, "exceptionHistory");
    assert_int_equal(json_array_size(json_object_get(history, "entries")), 1);
    assert_true(json_is_true(json_object_get(history, "truncated")));
    const char *stack =
        json_string_value(json_object_get(json_array_get(json_object_get(history, "entries"), 0), "stacktrace"));
    assert_non_null(strstr(stack, "UserCodeCrash: signal 11"));
    assert_non_null(strstr(stack, "in operator 'map'"));
    assert_non_null(strstr(stack, "at record part-3.json:17"));
    json_decref(json);
    json = call("GET", "/jobs/" RUNNING_JOB "/exceptions", NULL, 200);
    assert_true(json_is_null(json_object_get(json, "root-exception")));
    json_decref(json);
    json = call("GET", "/jobs/" FAILED_JOB "/vertices/" VERTEX "/watermarks", NULL, 200);
    assert_int_equal(json_array_size(json), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(json, 0), "id")), "1.currentInputWatermark");
    json_decref(json);
}

static void checkpoints(void **state)
{
    (void)state;
    json_t *json = call("GET", "/jobs/" RUNNING_JOB "/checkpoints", NULL, 200);
    assert_int_equal(number(json, "counts", "total"), 26);
    json_t *newest = json_object_get(json, "latest"), *history = json_object_get(json, "history");
    assert_int_equal(number(newest, "completed", "id"), 2);
    assert_int_equal(number(newest, "savepoint", "id"), 1);
    assert_int_equal(number(newest, "failed", "id"), 3);
    assert_int_equal(number(newest, "restored", "id"), 9);
    assert_int_equal(json_array_size(history), 4);
    assert_string_equal(json_string_value(json_object_get(json_array_get(history, 0), "className")), "in_progress");
    assert_string_equal(json_string_value(json_object_get(json_array_get(history, 1), "failure_message")), "no ? room");
    json_t *size = json_object_get(json_object_get(json, "summary"), "state_size");
    assert_int_equal(number(size, "avg", NULL), 200);
    assert_true(json_real_value(json_object_get(size, "p50")) == 200);
    assert_true(json_real_value(json_object_get(size, "p99")) == 300);
    assert_int_equal(number(json_object_get(json, "summary"), "end_to_end_duration", "max"), 300);
    json_decref(json);

    json = call("GET", "/jobs/" RUNNING_JOB "/checkpoints/details/4", NULL, 200);
    json_t *task = json_object_get(json_object_get(json, "tasks"), VERTEX);
    assert_int_equal(number(task, "num_acknowledged_subtasks", NULL), 1);
    assert_string_equal(json_string_value(json_object_get(task, "status")), "IN_PROGRESS");
    json_decref(json);
    json = call("GET", "/jobs/" RUNNING_JOB "/checkpoints/details/4/subtasks/" VERTEX, NULL, 200);
    json_t *subtasks = json_object_get(json, "subtasks");
    assert_string_equal(json_string_value(json_object_get(json_array_get(subtasks, 0), "className")), "pending");
    assert_int_equal(number(json_array_get(subtasks, 1), "state_size", NULL), 5);
    json_decref(json);
    json = call("GET", "/jobs/" RUNNING_JOB "/checkpoints/details/2", NULL, 200);
    assert_int_equal(number(json, "checkpointed_size", NULL), 100); /* what it has written of its state */
    assert_int_equal(number(json, "state_size", NULL), 300);
    assert_int_equal(number(json, "processed_data", NULL), 7);
    json_decref(json);
    json = call("GET", "/jobs/" RUNNING_JOB "/checkpoints/details/2/subtasks/" VERTEX, NULL, 200);
    json_t *part = json_array_get(json_object_get(json, "subtasks"), 1);
    assert_int_equal(number(part, "checkpoint", "sync"), 3);
    assert_int_equal(number(part, "checkpoint", "async"), 77);
    assert_int_equal(number(part, "alignment", "processed"), 7);
    assert_int_equal(number(part, "start_delay", NULL), 200); /* of 300 ms what is left */
    assert_int_equal(number(part, "checkpointed_size", NULL), 60);
    json_t *delays = json_object_get(json_object_get(json, "summary"), "start_delay");
    assert_int_equal(number(delays, "max", NULL), 200);
    json_decref(json);
    json = call("GET", "/jobs/" RUNNING_JOB "/checkpoints/config", NULL, 200);
    assert_string_equal(json_string_value(json_object_get(json, "mode")), "exactly_once");
    json_decref(json);

    expect_error("GET", "/jobs/" FINISHED_JOB "/checkpoints", NULL, 404, "has not been enabled");
    expect_error("GET", "/jobs/" FAILED_JOB "/checkpoints/config", NULL, 404, "not found");
    expect_error("GET", "/jobs/zz/checkpoints", NULL, 400, "(jobid)");
    expect_error("GET", "/jobs/" RUNNING_JOB "/checkpoints/details/999999", NULL, 404, "for checkpoint 999999.");
    expect_error("GET", "/jobs/" RUNNING_JOB "/checkpoints/details/-1", NULL, 400, "(checkpointid)");
    expect_error("GET", "/jobs/" RUNNING_JOB "/checkpoints/details/2/subtasks/" RUNNING_JOB, NULL, 404, RUNNING_JOB);
}

static void checkpoint_requests(void **state)
{
    (void)state;
    char path[200];
    json_t *json = call("POST", "/jobs/" RUNNING_JOB "/checkpoints", "{\"checkpointType\": \"FULL\", \"x\": 1}", 202);
    assert_string_equal(json_string_value(json_object_get(json, "request-id")), fake_op.id);
    assert_string_equal(fake_op.job_id, RUNNING_JOB);
    snprintf(path, sizeof path, "/jobs/" RUNNING_JOB "/checkpoints/%s", fake_op.id);
    json_decref(json);
    json = call("GET", path, NULL, 200);
    assert_string_equal(json_string_value(json_object_get(json_object_get(json, "status"), "id")), "IN_PROGRESS");
    assert_true(json_is_null(json_object_get(json, "operation")));
    json_decref(json);
    fake_op.ended = true;
    json = call("GET", path, NULL, 200);
    assert_string_equal(json_string_value(json_object_get(json_object_get(json, "status"), "id")), "COMPLETED");
    assert_int_equal(number(json, "operation", "checkpointId"), 32);
    json_decref(json);
    strcpy(fake_op.failure, "no room");
    json = call("GET", path, NULL, 200);
    json_t *cause = json_object_get(json_object_get(json, "operation"), "failureCause");
    assert_string_equal(json_string_value(json_object_get(cause, "stack-trace")), "no room");
    json_decref(json);

    json = call("POST", "/jobs/" RUNNING_JOB "/checkpoints", "{\"triggerId\": \"" FAILED_JOB "\"}", 202);
    assert_string_equal(json_string_value(json_object_get(json, "request-id")), FAILED_JOB);
    json_decref(json);
    expect_error("POST", "/jobs/" RUNNING_JOB "/checkpoints", "{\"triggerId\": 7}", 400, "triggerId");
    expect_error("POST", "/jobs/" RUNNING_JOB "/checkpoints", "{\"checkpointType\": \"ALL\"}", 400, "checkpointType");
    expect_error("POST", "/jobs/" RUNNING_JOB "/checkpoints", "{bad", 400, "");
    expect_error("GET", "/jobs/" FINISHED_JOB "/checkpoints/" FAILED_JOB, NULL, 404,
                 "There is no checkpoint operation");
    expect_error("GET", "/jobs/" RUNNING_JOB "/checkpoints/" VERTEX, NULL, 404, "There is no checkpoint operation");
    expect_error("GET", "/jobs/" RUNNING_JOB "/checkpoints/zz", NULL, 400, "(triggerid)");
    fake_op.full = true;
    expect_error("POST", "/jobs/" RUNNING_JOB "/checkpoints", NULL, 503, "too many");
    memset(&fake_op, 0, sizeof fake_op);
}

static void savepoint_requests(void **state)
{
    (void)state;
    char path[200];
    json_t *json = call("POST", "/jobs/" RUNNING_JOB "/savepoints",
                        "{\"target-directory\": \"/sp\", \"cancel-job\": false, \"formatType\": \"NATIVE\"}", 202);
    assert_int_equal(fake_op.kind, WEIR_VIEW_OPERATION_SAVEPOINT);
    assert_string_equal(fake_op.directory, "/sp");
    json_decref(json);
    snprintf(path, sizeof path, "/jobs/" RUNNING_JOB "/savepoints/%s", fake_op.id);
    json = call("GET", path, NULL, 200);
    assert_string_equal(json_string_value(json_object_get(json_object_get(json, "status"), "id")), "IN_PROGRESS");
    json_decref(json);
    fake_op.ended = true;
    json = call("GET", path, NULL, 200);
    assert_string_equal(json_string_value(json_object_get(json_object_get(json, "operation"), "location")),
                        "file:/sp/savepoint-1");
    json_decref(json);
    strcpy(fake_op.failure, "no room");
    json = call("GET", path, NULL, 200);
    json_t *cause = json_object_get(json_object_get(json, "operation"), "failure-cause");
    assert_string_equal(json_string_value(json_object_get(cause, "stack-trace")), "no room");
    json_decref(json);

    json = call("POST", "/jobs/" RUNNING_JOB "/stop", "{\"targetDirectory\": \"/sp\", \"drain\": true}", 202);
    assert_int_equal(fake_op.kind, WEIR_VIEW_OPERATION_STOP);
    assert_true(fake_op.drain);
    json_decref(json);
    json =
        call("POST", "/jobs/" RUNNING_JOB "/savepoints", "{\"target-directory\": \"/sp\", \"cancel-job\": true}", 202);
    assert_int_equal(fake_op.kind, WEIR_VIEW_OPERATION_STOP);
    json_decref(json);
    expect_error("POST", "/jobs/" RUNNING_JOB "/savepoints", NULL, 400, "Property [target-directory] must be provided");
    expect_error("POST", "/jobs/" RUNNING_JOB "/stop", "{}", 400, "execution.checkpointing.savepoint-dir");
    fake_op.has_dir = true;
    json_decref(call("POST", "/jobs/" RUNNING_JOB "/stop", "{\"drain\": false}", 202));
    assert_string_equal(fake_op.directory, "-");
    expect_error("POST", "/jobs/" RUNNING_JOB "/stop", "{\"drain\": 7}", 400, "drain");
    expect_error("POST", "/jobs/" RUNNING_JOB "/savepoints", "{\"formatType\": \"ZIP\"}", 400, "formatType");
    expect_error("POST", "/jobs/zz/savepoints", "{}", 400, "(jobid)");
    expect_error("GET", "/jobs/" RUNNING_JOB "/savepoints/" VERTEX, NULL, 404,
                 "There is no savepoint operation with triggerId=" VERTEX " for job " RUNNING_JOB);

    json_decref(call("PATCH", "/jobs/" RUNNING_JOB "/rescaling?parallelism=3", NULL, 202));
    assert_int_equal(fake_op.kind, WEIR_VIEW_OPERATION_RESCALE);
    assert_int_equal(fake_op.parallelism, 3);
    expect_error("PATCH", "/jobs/" RUNNING_JOB "/rescaling", NULL, 400, "parallelism");
    expect_error("PATCH", "/jobs/" RUNNING_JOB "/rescaling?parallelism=0", NULL, 400, "parallelism");
    json = call("GET", "/jobs/" RUNNING_JOB "/resource-requirements", NULL, 200);
    assert_int_equal(number(json_object_get(json, VERTEX), "parallelism", "upperBound"), 2);
    json_decref(json);
    json_decref(call("PUT", "/jobs/" RUNNING_JOB "/resource-requirements",
                     "{\"" VERTEX "\": {\"parallelism\": {\"lowerBound\": 1, \"upperBound\": 4}}}", 202));
    assert_int_equal(fake_op.parallelism, 4);
    expect_error("PUT", "/jobs/" RUNNING_JOB "/resource-requirements", "{}", 400, "does not specify");
    expect_error("PUT", "/jobs/" RUNNING_JOB "/resource-requirements", "{\"x\": {}}", 400, "no vertex x");

    json = call("POST", "/savepoint-disposal", "{\"savepoint-path\": \"/sp\"}", 200);
    snprintf(path, sizeof path, "/savepoint-disposal/%s", json_string_value(json_object_get(json, "request-id")));
    json_decref(json);
    json = call("GET", path, NULL, 200);
    assert_null(json_object_get(json_object_get(json, "operation"), "failure-cause"));
    json_decref(json);
    json = call("POST", "/savepoint-disposal", "{\"savepoint-path\": \"/no\"}", 200);
    snprintf(path, sizeof path, "/savepoint-disposal/%s", json_string_value(json_object_get(json, "request-id")));
    json_decref(json);
    json = call("GET", path, NULL, 200);
    cause = json_object_get(json_object_get(json, "operation"), "failure-cause");
    assert_string_equal(json_string_value(json_object_get(cause, "stack-trace")), "there is no savepoint /no");
    json_decref(json);
    expect_error("POST", "/savepoint-disposal", "{}", 400, "savepoint-path");
    expect_error("GET", "/savepoint-disposal/00000000000000000000000000000000", NULL, 404, "Operation not found");
    memset(&fake_op, 0, sizeof fake_op);
}

static void errors(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "", "/plan", "/config", "/exceptions", "/status", "/execution-result", "/accumulators", ("/vertices/" VERTEX)};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        char path[200];
        snprintf(path, sizeof path, "/jobs/00000000000000000000000000000000%s", parts[i]);
        expect_error("GET", path, NULL, 404, "Job 00000000000000000000000000000000 not found");
        snprintf(path, sizeof path, "/jobs/zz%s", parts[i]);
        expect_error("GET", path, NULL, 400, "Cannot resolve path parameter (jobid) from value \"zz\"");
    }
    static const char unknown[] = "/jobs/00000000000000000000000000000000";
    fake.reading = true;
    expect_error("GET", unknown, NULL, 503, "is not known yet");
    expect_error("PATCH", unknown, NULL, 503, "is not known yet");
    expect_error("POST", "/jobs/00000000000000000000000000000000/checkpoints", "{}", 503, "is not known yet");
    json_t *overview = call("GET", "/jobs/overview", NULL, 200);
    assert_non_null(json_object_get(overview, "weir-incomplete"));
    json_decref(overview);
    fake.reading = false;
    expect_error("GET", "/jobs/" FAILED_JOB "/vertices/zz", NULL, 400, "vertexid");
    expect_error("GET", "/jobs/" FAILED_JOB "/vertices/00000000000000000000000000000000", NULL, 404, "JobVertex");
    expect_error("GET", "/jobs/" FAILED_JOB "/vertices/" VERTEX "/subtasks/99", NULL, 404, "subtask");
    expect_error("GET", "/jobs/" FAILED_JOB "/vertices/" VERTEX "/subtasks/x", NULL, 400, "subtaskindex");
    expect_error("GET", "/jobs/" FAILED_JOB "/exceptions?maxExceptions=x", NULL, 400, "maxExceptions");
    expect_error("GET", "/jobs/" FAILED_JOB "/nosuch", NULL, 404, "Unable to load requested file");
    expect_error("POST", "/overview", "{}", 404, "Not found: /overview");
    expect_error("DELETE", "/overview", NULL, 404, "Not found: /overview");
    expect_error("GET", "/v2/overview", NULL, 404, "/v2/overview");
    expect_error("GET", "/taskmanagers/nosuch", NULL, 404, "nosuch");
    expect_error("GET", "/taskmanagers/nosuch/log", NULL, 404, "nosuch");
}

static void cancelling(void **state)
{
    (void)state;
    json_t *json = call("PATCH", "/jobs/" RUNNING_JOB "?mode=cancel", NULL, 202);
    assert_int_equal(json_object_size(json), 0);
    json_decref(json);
    assert_string_equal(fake.cancelled, RUNNING_JOB);
    fake.cancelled[0] = 0;
    json_decref(call("PATCH", "/v1/jobs/" RUNNING_JOB, "{}", 202));
    assert_string_equal(fake.cancelled, RUNNING_JOB);
    fake.cancelled[0] = 0;
    json_decref(call("GET", "/jobs/" RUNNING_JOB "/yarn-cancel", NULL, 202));
    assert_string_equal(fake.cancelled, RUNNING_JOB);
    expect_error("PATCH", "/jobs/" FAILED_JOB "?mode=cancel", NULL, 409, "another terminal state (FAILED)");
    expect_error("PATCH", "/jobs/00000000000000000000000000000000?mode=cancel", NULL, 404, "not found");
    expect_error("PATCH", "/jobs/zz?mode=cancel", NULL, 400, "jobid");
    expect_error("PATCH", "/jobs/" RUNNING_JOB "?mode=bogus", NULL, 400, "(mode) from value \"bogus\"");
    expect_error("PATCH", "/jobs/" RUNNING_JOB "?mode=stop", NULL, 308, "stop");
}

/* --- Uploads */

static int jar_count(void)
{
    json_t *json = call("GET", "/jars", NULL, 200);
    int count = (int)json_array_size(json_object_get(json, "files"));
    json_decref(json);
    return count;
}

static void jars(void **state)
{
    (void)state;
    int before = jar_count();
    char path[300], sha[65];
    char *id = upload_id("good-1.0_x.so", "\x7f"
                                          "ELF code");
    assert_int_equal(jar_count(), before + 1);
    weir_sha256_hex("\x7f"
                    "ELF code",
                    9, sha);
    snprintf(path, sizeof path, "/jars/%s/run?parallelism=3&programArg=a,b", id);
    json_t *json = call("POST", path, "", 200);
    assert_string_equal(json_string_value(json_object_get(json, "jobid")), RUNNING_JOB);
    json_decref(json);
    assert_string_equal(fake.graph, "GRAPH");
    assert_string_equal(fake.arguments, "a|b|");
    assert_string_equal(fake.code_name, "good-1.0_x.so");
    assert_string_equal(fake.sha256, sha);
    assert_int_equal(fake.submission.parallelism, 3);
    assert_string_equal(fake.job_id, "-");
    /* The body wins over the query. */
    json = call(
        "POST", path,
        "{\"bogus\":1,\"entryClass\":\"X\",\"parallelism\":5,\"programArgsList\":[\"--input\",\"x y\"],"
        "\"jobId\":\"ABCDEF00000000000000000000000000\",\"jobName\":\"N\",\"flinkConfiguration\":{\"a.b\":\"c\",\"d\":3,\"e\":true}}",
        200);
    json_decref(json);
    assert_string_equal(fake.arguments, "--input|x y|");
    assert_int_equal(fake.submission.parallelism, 5);
    assert_string_equal(fake.job_id, "abcdef00000000000000000000000000");
    assert_string_equal(fake.name, "N");
    assert_string_equal(fake.configuration, "a.b=c;d=3;e=true;");
    json_decref(call("POST", path, "{\"programArgs\":\"--a 'b c'  d \"}", 200));
    assert_string_equal(fake.arguments, "--a|b c|d|");
    /* Wrong ones. */
    expect_error("POST", path, "{\"parallelism\":-3}", 400, "'parallelism'");
    expect_error("POST", path, "{\"parallelism\":0}", 400, "'parallelism'");
    expect_error("POST", path, "{\"parallelism\":32769}", 400, "'parallelism'");
    expect_error("POST", path, "{\"parallelism\":\"4\"}", 400, "'parallelism'");
    expect_error("POST", path, "{\"programArgsList\":\"x\"}", 400, "'programArgsList'");
    expect_error("POST", path, "{\"programArgsList\":[1]}", 400, "'programArgsList'");
    expect_error("POST", path, "{\"programArgs\":\"'x\"}", 400, "'programArgs'");
    expect_error("POST", path, "{\"jobId\":\"zz\"}", 400, "'jobId'");
    expect_error("POST", path, "{\"jobName\":\"\"}", 400, "'jobName'");
    json_decref(
        call("POST", path, "{\"savepointPath\":\"/x\",\"allowNonRestoredState\":true,\"claimMode\":\"CLAIM\"}", 200));
    assert_string_equal(fake.savepoint_path, "/x");
    assert_true(fake.submission.allow_non_restored && fake.submission.claim);
    expect_error("POST", path, "{\"savepointPath\":7}", 400, "'savepointPath'");
    expect_error("POST", path, "{\"claimMode\":\"KEEP\"}", 400, "'claimMode'");
    expect_error("POST", path, "{\"allowNonRestoredState\":1}", 400, "'allowNonRestoredState'");
    expect_error("POST", path, "{\"flinkConfiguration\":[]}", 400, "'flinkConfiguration'");
    expect_error("POST", path, "{\"flinkConfiguration\":{\"a\":{}}}", 400, "'flinkConfiguration'");
    expect_error("POST", path, "not json", 400, "not JSON");
    fake.fail_build = true;
    expect_error("POST", path, "{}", 400, "job.c:12: operator 'filter'");
    fake.fail_build = false;
    /* The code is there by content, and stays when the upload goes. */
    char code[100];
    snprintf(code, sizeof code, "/weir/code/%s", sha);
    char *text = call_text("GET", code, NULL, NULL, 200);
    assert_string_equal(text, "\x7f"
                              "ELF code");
    free(text);
    snprintf(path, sizeof path, "/jars/%s", id);
    json_decref(call("DELETE", path, NULL, 200));
    assert_int_equal(jar_count(), before);
    expect_error("DELETE", path, NULL, 400, "does not exist in");
    free(call_text("GET", code, NULL, NULL, 200));
    expect_error("GET", "/weir/code/00", NULL, 400, "SHA-256");
    expect_error("GET", "/weir/code/0000000000000000000000000000000000000000000000000000000000000000", NULL, 404,
                 "no code");
    snprintf(path, sizeof path, "/jars/%s/run", id);
    expect_error("POST", path, "{}", 404, "does not exist in");
    expect_error("POST", "/jars/nosuch.so/run", "{}", 404, "does not exist in");
    expect_error("GET", "/jars/nosuch.so/plan", NULL, 404, "does not exist in");
    expect_error("DELETE", "/jars/..%2f..%2fetc%2fpasswd", NULL, 400, "");
    free(id);
    /* Names. */
    json_decref(upload("bad.jar", "x", 400));
    json_decref(upload("no space.so", "x", 400));
    json_decref(upload(".hidden.so", "x", 400));
    assert_int_equal(jar_count(), before);
    /* Bodies that are no upload. */
    expect_error("POST", "/jars/upload", "{}", 400, "Exactly 1 file");
}

static void code_of_jobs_stays(void **state)
{
    (void)state;
    char used[200];
    memset(fake.code_sha256, 'a', 64);
    snprintf(used, sizeof used, "%s/code/%s.so", directory, fake.code_sha256);
    FILE *f = fopen(used, "w");
    fclose(f);
    /* What is collected is old, and a file's ctime cannot be set: seen here is that a used one stays. */
    char *id = upload_id("a.so", "a");
    char path[200];
    snprintf(path, sizeof path, "/jars/%s/run", id);
    json_decref(call("POST", path, "{}", 200));
    assert_int_equal(access(used, F_OK), 0);
    free(id);
    fake.code_sha256[0] = 0;
}

static void graphs(void **state)
{
    (void)state;
    char *text = call_text("POST", "/jobs", "application/octet-stream", "bytes of a graph", 202);
    assert_non_null(strstr(text, RUNNING_JOB));
    free(text);
    assert_string_equal(fake.graph, "bytes of a graph");
    text = call_text("POST", "/jobs", "application/octet-stream", "bad", 400);
    assert_non_null(strstr(text, "the bytes are no JobGraph"));
    free(text);
    expect_error("POST", "/jobs", "{}", 400, "serialized JobGraph");
    size_t size = (17 << 20);
    char *big = malloc(size + 1);
    memset(big, 'x', size);
    big[size] = 0;
    free(call_text("POST", "/jobs", "application/octet-stream", big, 413));
    free(big);
}

/* --- Logs and metrics */

static void logs(void **state)
{
    (void)state;
    json_t *json = call("GET", "/taskmanagers/tm-1/logs", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(json, "logs")),
                     3); /* no name known: all, but not the link and the .txt */
    json_decref(json);
    char *text = call_text("GET", "/taskmanagers/tm-1/log", NULL, NULL, 200);
    assert_string_equal(text, "0123456789");
    free(text);
    text = call_text("GET", "/taskmanagers/tm-1/logs/taskmanager.log?offset=7", NULL, NULL, 200);
    assert_string_equal(text, "789");
    free(text);
    text = call_text("GET", "/taskmanagers/tm-1/logs/taskmanager.log?offset=99", NULL, NULL, 200);
    assert_string_equal(text, "");
    free(text);
    expect_error("GET", "/taskmanagers/tm-1/logs/taskmanager.log?offset=-1", NULL, 400, "offset");
    expect_error("GET", "/taskmanagers/tm-1/logs/secret.log", NULL, 404, "does not exist"); /* a link to outside */
    expect_error("GET", "/taskmanagers/tm-1/logs/other.txt", NULL, 404, "does not exist");
    expect_error("GET", "/taskmanagers/tm-1/logs/..%2fsecret", NULL, 400, "");
    expect_error("GET", "/taskmanagers/tm-far/log", NULL, 404, "on its host");
    text = call_text("GET", "/jobmanager/log", NULL, NULL, 200);
    assert_string_equal(text, "jm");
    free(text);
    /* The instance is known by its file below run/. */
    write_file("run/taskmanager-1.json", "{\"pid\": 12, \"id\": \"tm-1\"}");
    write_file("run/taskmanager-10.json", "{\"pid\": 13, \"id\": \"tm-10\"}");
    write_file("run/broken.json", "{");
    text = call_text("GET", "/taskmanagers/tm-1/log", NULL, NULL, 200);
    assert_string_equal(text, "one");
    free(text);
    json = call("GET", "/taskmanagers/tm-1/logs", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(json, "logs")), 1);
    json_decref(json);
    expect_error("GET", "/jobmanager/logs/nosuch.log", NULL, 404, "This file does not exist in JobManager log dir.");
}

static void metrics_and_page(void **state)
{
    (void)state;
    char *text = call_text("GET", "/metrics", NULL, NULL, 200);
    assert_non_null(strstr(text, "# TYPE weir_task_num_records_in_total counter\n"));
    assert_non_null(strstr(text, "flink_taskmanager_job_task_numRecordsIn{"));
    assert_non_null(strstr(text, "operator_name=\"wind\\\"ow\"} "));
    assert_non_null(strstr(text, "weir_jobmanager_task_slots_total{"));
    assert_null(strstr(text, FAILED_JOB)); /* ended */
    assert_non_null(strstr(text, "# TYPE weir_operator_pending_records gauge\n"));
    assert_non_null(strstr(text, "# TYPE weir_operator_commits_failed_total counter\n"));
    assert_non_null(strstr(text, "# TYPE flink_taskmanager_job_task_operator_KafkaSourceReader_commitsFailed gauge\n"));
    assert_non_null(strstr(text, "operator_name=\"Source: in\",topic=\"a\\\"topic\",partition=\"3\"} 41\n"));
    assert_null(strstr(text, "} -1\n")); /* what is not known is left out, */
    /* Each name has one TYPE line, and its lines stand together. */
    char last[200] = "";
    char *copy = strdup(text);
    json_t *seen = json_object();
    for (char *line = strtok(copy, "\n"); line; line = strtok(NULL, "\n")) {
        if (line[0] == '#')
            continue;
        char name[200];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(line, "{ "), line);
        if (strcmp(name, last) != 0) {
            if (json_object_get(seen, name))
                fail_msg("%s comes twice", name);
            json_object_set_new(seen, name, json_true());
            strcpy(last, name);
        }
    }
    json_decref(seen);
    free(copy);
    free(text);
    text = call_text("GET", "/", NULL, NULL, 200);
    assert_non_null(strstr(text, "<title>weir</title>"));
    assert_non_null(strstr(text, "</html>"));
    assert_null(strstr(text, "http://"));
    assert_null(strstr(text, "https://"));
    assert_null(strstr(text, "src=\"/"));
    free(text);
}

static void binding_beyond_loopback(void **state)
{
    (void)state;
    struct weir_key_value o[] = {{"rest.bind-address", "0.0.0.0"}, {"rest.port", "0"}};
    struct weir_config *open = NULL;
    struct weir_error error;
    assert_int_equal(weir_config_load("/dev/null", NULL, o, 2, &open, &error), 0);
    struct weir_rest *second = NULL;
    struct weir_rest_options options = {.view = &view, .config = open, .upload_dir = directory, .code_dir = directory};
    assert_int_equal(weir_rest_start(&options, &second, &error), WEIR_ERR_INVALID);
    assert_non_null(strstr(error.message, "security.insecure"));
    weir_config_free(open);
    /* A port in use. */
    char port[16];
    snprintf(port, sizeof port, "%d", weir_rest_port(rest));
    struct weir_key_value same[] = {{"rest.port", port}};
    assert_int_equal(weir_config_load("/dev/null", NULL, same, 1, &open, &error), 0);
    char up[100], code[100];
    snprintf(up, sizeof up, "%s/up2", directory);
    snprintf(code, sizeof code, "%s/code2", directory);
    options = (struct weir_rest_options){.view = &view, .config = open, .upload_dir = up, .code_dir = code};
    assert_int_equal(weir_rest_start(&options, &second, &error), WEIR_ERR_EXISTS);
    assert_non_null(strstr(error.message, "in use"));
    weir_config_free(open);
}

static int start(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/weir-rest-test-XXXXXX");
    if (!mkdtemp(directory))
        return -1;
    char path[200], link[200], up[100], code[100], log[100];
    snprintf(path, sizeof path, "%s/tm-logs", directory);
    mkdir(path, 0700);
    snprintf(log, sizeof log, "%s/logs", directory);
    mkdir(log, 0700);
    write_file("secret", "secret");
    write_file("tm-logs/taskmanager.log", "0123456789");
    write_file("tm-logs/other.txt", "x");
    write_file("tm-logs/taskmanager-1.log", "one");
    write_file("tm-logs/taskmanager-10.log", "ten");
    snprintf(path, sizeof path, "%s/run", directory);
    mkdir(path, 0700);
    write_file("logs/jobmanager.log", "jm");
    snprintf(path, sizeof path, "%s/secret", directory);
    snprintf(link, sizeof link, "%s/tm-logs/secret.log", directory);
    if (symlink(path, link) != 0)
        return -1;
    for (int i = 0; i < 2; i++) {
        tasks[i] = (struct weir_view_task){
            .subtask = i,
            .attempt = 3,
            .state = i ? WEIR_VIEW_TASK_FAILED : WEIR_VIEW_TASK_CANCELED,
            .taskmanager_id = "tm-1",
            .host = "h",
            .data_port = 77,
            .records_in = i ? 20 : 10,
            .records_out = 5,
            .bytes_in = 100,
            .bytes_out = 150,
            .busy_ms = 3,
            .idle_ms = 4,
            .metrics_complete = true,
            .watermark_ms = i ? 5000 : INT64_MIN,
            .operator_count = 2,
            .operators = operators,
        };
        tasks[i].timestamps_ms[WEIR_VIEW_TASK_CREATED] = 1000;
        tasks[i].timestamps_ms[WEIR_VIEW_TASK_SCHEDULED] = 1500;
        tasks[i].timestamps_ms[WEIR_VIEW_TASK_DEPLOYING] = 2000;
        tasks[i].timestamps_ms[WEIR_VIEW_TASK_INITIALIZING] = 2500;
        tasks[i].timestamps_ms[WEIR_VIEW_TASK_RUNNING] = 3000;
        tasks[i].timestamps_ms[tasks[i].state] = 5000;
    }
    vertex = (struct weir_view_vertex){VERTEX, "Source: in -> window", "default", 2, 128, WEIR_VIEW_TASK_FAILED, tasks};
    for (int i = 0; i < 3; i++)
        exceptions[i] = (struct weir_view_exception){
            5000 - i, "UserCodeCrash", "signal 11", "\tat map()\n", "map", "part-3.json:17", "map (1/2) - execution #3",
            "h:77",   "tm-1",
        };
    struct weir_key_value o[] = {{"rest.port", "0"}, {"metrics.flink-names", "true"}};
    struct weir_error error;
    if (weir_config_load("/dev/null", NULL, o, 2, &config, &error))
        return -1;
    snprintf(up, sizeof up, "%s/up", directory);
    snprintf(code, sizeof code, "%s/code", directory);
    struct weir_rest_options options = {.view = &view,
                                        .config = config,
                                        .upload_dir = up,
                                        .code_dir = code,
                                        .log_dir = log,
                                        .log_name = "jobmanager.log"};
    weir_err err = weir_rest_start(&options, &rest, &error);
    if (err)
        fprintf(stderr, "%s\n", error.message);
    return err;
}

static int stop(void **state)
{
    (void)state;
    weir_rest_stop(rest);
    weir_config_free(config);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command);
}

int main(void)
{
    for (int m = 0; m < WEIR_OP_METRICS; m++)
        operators[0].numbers[m] = operators[1].numbers[m] = WEIR_OP_METRIC_NONE;
    operators[0].numbers[WEIR_OP_PENDING_RECORDS] = 7;
    operators[0].numbers[WEIR_OP_RECORDS_LAG_MAX] = 6;
    operators[0].numbers[WEIR_OP_COMMITS_FAILED] = 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_have_flinks_fields),
        cmocka_unit_test(values),
        cmocka_unit_test(checkpoints),
        cmocka_unit_test(checkpoint_requests),
        cmocka_unit_test(savepoint_requests),
        cmocka_unit_test(errors),
        cmocka_unit_test(cancelling),
        cmocka_unit_test(jars),
        cmocka_unit_test(code_of_jobs_stays),
        cmocka_unit_test(graphs),
        cmocka_unit_test(logs),
        cmocka_unit_test(metrics_and_page),
        cmocka_unit_test(binding_beyond_loopback),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
