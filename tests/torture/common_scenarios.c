/* Ordinary use of every module of common/, in small: what is tortured in one process. A scenario reports an error of a call as its own
 * (run_fail) and says what came of the calls that succeeded. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/daemon.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "data/batch_wire.h"
#include "data/row_key.h"
#include "expr/agg.h"
#include "expr/expr.h"
#include "format/format.h"
#include "graph/build_client.h"
#include "graph/plan.h"
#include "http/http_client.h"
#include "http/http_server.h"
#include "net/control_line.h"
#include "net/frame.h"
#include "torture/faults.h"
#include "torture/scenarios.h"
#include "unit/sdk_kit.h"

#define WAIT_MS 10000

static char *in_directory(const struct run *run, const char *name, char out[256])
{
    snprintf(out, 256, "%s/%s", run->directory, name);
    return out;
}

/* Files of a scenario's making; no fault strikes here. */
static void put_file(const struct run *run, const char *name, const char *text)
{
    char path[256];
    faults_pause(true);
    FILE *file = fopen(in_directory(run, name, path), "w");
    if (!file || fputs(text, file) < 0 || fclose(file) != 0)
        abort();
    faults_pause(false);
}

static void say_file(struct run *run, const char *path)
{
    static char text[32768];
    faults_pause(true);
    FILE *file = fopen(path, "r");
    size_t size = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file)
        fclose(file);
    faults_pause(false);
    text[size] = 0;
    run_say(run, "%s", text);
}

/* --- base */

static int play_memory(struct run *run)
{
    struct weir_arena arena;
    struct weir_buf buf;
    weir_arena_init(&arena);
    weir_buf_init(&buf, 1 << 16);
    for (int i = 0; i < 40; i++) {
        char *a = weir_arena_format(&arena, "%d-%s", i, "arena"), *b = weir_format("%d", i), *c = weir_strdup(b);
        char *large = weir_arena_zalloc(&arena, 3000);
        if (!weir_buf_printf(&buf, "%s %s %s %d;", a, b, c, large[7]))
            run_say(run, "full ");
        free(b);
        free(c);
    }
    run_say(run, "%s", (char *)buf.data);
    weir_buf_fini(&buf);
    weir_arena_fini(&arena);
    return 0;
}

static int play_config(struct run *run)
{
    char path[256];
    struct weir_error error;
    struct weir_config *config = NULL, *job = NULL;
    struct weir_key_value pairs[] = {{"rest.port", "1003"}, {"log.level", "warn"}};
    struct weir_key_value mine[] = {{"parallelism.default", "8"}};
    put_file(run, "weir.yaml",
             "# a comment\nparallelism.default: 3\ntaskmanager.numberOfTaskSlots: 2\nstate.backend: hashmap\n");
    weir_err err = weir_config_load(in_directory(run, "weir.yaml", path), run->directory, pairs, 2, &config, &error);
    if (!err)
        err = weir_config_overlay(config, mine, 1, &job, &error);
    if (!err) {
        struct weir_buf out;
        weir_buf_init(&out, 1 << 16);
        weir_config_print_markdown(&out);
        run_say(run, "%" PRId64 " %" PRId64 " %s %zu\n", weir_config_int(config, "rest.port"),
                weir_config_int(job, "parallelism.default"), weir_config_origin(job, "parallelism.default"), out.size);
        weir_buf_fini(&out);
    }
    weir_config_free(job);
    weir_config_free(config);
    return err ? run_fail(run, &error) : 0;
}

/* A line that could not be written is missed, but the log says how many were. */
static int play_log(struct run *run)
{
    char path[256], older[300];
    struct weir_error error;
    struct weir_log_options options = {
        .path = in_directory(run, "log", path), .size_max = 700, .files_max = 9, .process = "torture"};
    weir_err err = weir_log_init(&options, &error);
    if (err)
        return run_fail(run, &error);
    for (int i = 0; i < 20; i++)
        weir_log(INFO, "line %d", i);
    weir_log_fini();
    static char text[32768];
    faults_pause(true);
    for (int i = 9; i >= 0; i--) {
        snprintf(older, sizeof older, i ? "%s.%d" : "%s", path, i);
        FILE *file = fopen(older, "r");
        size_t size = file ? fread(text, 1, sizeof text - 1, file) : 0;
        text[size] = 0;
        if (file)
            fclose(file);
        if (strstr(text, "could not be written"))
            snprintf(run->message, sizeof run->message, "the log says that lines are missing");
        for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
            if (strstr(line, " line "))
                run_say(run, "%.*s\n", (int)strcspn(strstr(line, " line "), "("), strstr(line, " line "));
    }
    faults_pause(false);
    return run->message[0] != 0;
}

static int play_metrics(struct run *run)
{
    struct weir_buf out;
    const char *labels[] = {"job", "j", "task", "t", NULL};
    struct weir_metrics *metrics = weir_metrics_new();
    struct weir_metric_scope *scope = weir_metric_scope_new(metrics, labels);
    struct weir_metric *rows = weir_metric_new(scope, WEIR_COUNTER, "numRecordsIn", "rows");
    struct weir_metric *time = weir_metric_new(scope, WEIR_HISTOGRAM, "latencyMs", NULL);
    weir_metric_add(rows, 5);
    weir_histogram_record(time, 100);
    weir_buf_init(&out, 1 << 16);
    weir_metrics_print(metrics, &out);
    run_say(run, "%s", out.data ? (char *)out.data : "");
    weir_buf_fini(&out);
    weir_metric_scope_free(scope);
    weir_metrics_free(metrics);
    return 0;
}

static int play_hash(struct run *run)
{
    char path[256], hex[65];
    struct weir_error error;
    put_file(run, "file", "some text\n");
    if (weir_sha256_file_hex(in_directory(run, "file", path), hex, &error))
        return run_fail(run, &error);
    run_say(run, "%s ", hex);
    weir_sha256_hex("some text\n", 10, hex);
    run_say(run, "%s", hex);
    return 0;
}

static int play_fault_points(struct run *run)
{
    struct weir_error error;
    struct weir_fault_state state;
    if (weir_fault_enable(NULL, "executor", &error))
        return run_fail(run, &error);
    int failed = 0;
    if (weir_fault_arm("executor.object-put-begun:2", "error", 1, &error))
        failed = run_fail(run, &error);
    for (int i = 0; i < 3 && !failed; i++)
        run_say(run, "%d", weir_fault("executor.object-put-begun"));
    for (int i = 0; !failed && weir_fault_get(i, &state); i++)
        if (state.passes)
            run_say(run, "%s %d ", state.name, (int)state.passes);
    weir_fault_disable();
    return failed;
}

static int play_daemon(struct run *run)
{
    struct weir_daemon daemon;
    struct weir_error error;
    char home[256], ready[300];
    char program[] = "torture", d[] = "-D", pair[] = "rest.port=0", n[] = "--name", name[] = "it";
    char log_pair[400];
    snprintf(log_pair, sizeof log_pair, "-Dlog.file=%s/log", run->directory);
    char *argv[] = {program, d, pair, n, name, log_pair, NULL};
    int exit_code = 0;
    faults_pause(true);
    setenv("WEIR_HOME", in_directory(run, "home", home), 1);
    faults_pause(false);
    if (!weir_daemon_init(&daemon, "torture", "default", 6, argv, &exit_code)) {
        snprintf(run->message, sizeof run->message, "exit code %d", exit_code);
        return 1;
    }
    if (weir_daemon_ready(&daemon, "\"port\": 1", &error)) {
        weir_daemon_fini(&daemon);
        return run_fail(run, &error);
    }
    snprintf(ready, sizeof ready, "%s/run/it.json", home);
    say_file(run, ready);
    for (char *digit = run->output; *digit; digit++) /* the process id */
        if (*digit >= '2' && *digit <= '9')
            *digit = '1';
    run->size = (size_t)(strchr(run->output, ':') - run->output); /* ids differ in length */
    weir_daemon_fini(&daemon);
    faults_pause(true);
    bool left = access(ready, F_OK) == 0; /* then the log says why, as it says what it could not write */
    faults_pause(false);
    char log[300];
    size_t before = run->size;
    say_file(run, in_directory(run, "log", log));
    if (left && strstr(run->output + before, "cannot remove"))
        snprintf(run->message, sizeof run->message, "the log says that the file could not be removed");
    run->size = before;
    return left && run->message[0];
}

/* --- data */

#define COLUMNS \
    "id BIGINT NOT NULL, name STRING, heat DOUBLE, hot BOOLEAN, day DATE, at TIMESTAMP(3) NOT NULL, raw BYTES"

static struct weir_batch *make_batch(struct weir_schema *schema, int rows)
{
    struct weir_batch *batch = weir_batch_new(schema, rows);
    for (int i = 0; i < rows; i++) {
        char text[32];
        snprintf(text, sizeof text, "name-%d", i % 7);
        batch->columns[0].i64[i] = i;
        if (i % 5 == 0)
            weir_column_set_null(&batch->columns[1], i, rows);
        else
            weir_column_set_bytes(&batch->columns[1], i, text, strlen(text));
        if (i % 3 == 0)
            weir_column_set_null(&batch->columns[2], i, rows);
        else
            batch->columns[2].f64[i] = i / 4.0;
        weir_bit_put(batch->columns[3].bits, i, i & 1);
        batch->columns[4].i32[i] = i;
        batch->columns[5].i64[i] = (int64_t)i * 1000;
        weir_column_set_bytes(&batch->columns[6], i, text, (size_t)(i % 4));
        batch->row_count = i + 1;
    }
    return batch;
}

static void say_batch(struct run *run, const struct weir_batch *batch)
{
    struct weir_buf out;
    weir_buf_init(&out, 1 << 16);
    for (int i = 0; i < batch->row_count && i < 20; i++)
        if (!weir_batch_print_row(batch, i, &out) || !weir_buf_puts(&out, "\n"))
            break;
    run_say(run, "%s", out.data ? (char *)out.data : "");
    weir_buf_fini(&out);
}

static int play_data(struct run *run)
{
    struct weir_error error;
    struct weir_schema *schema = NULL;
    if (weir_schema_parse(COLUMNS, &schema, &error))
        return run_fail(run, &error);
    struct weir_batch *batch = make_batch(schema, 50);
    uint64_t mask[1] = {0x5555555555555};
    int32_t rows[] = {3, 1, 1, 49};
    struct weir_batch *gathered = weir_batch_gather(batch, rows, 4), *filtered = weir_batch_filter(batch, mask);
    struct weir_batch *slice = weir_batch_slice(batch, 10, 5), *decoded = NULL;
    say_batch(run, gathered);
    say_batch(run, filtered);
    say_batch(run, slice);
    size_t size = weir_batch_wire_size(batch);
    struct weir_buffer *buffer = weir_buffer_new(size);
    weir_batch_wire_encode(batch, buffer->bytes);
    weir_err err = weir_batch_wire_decode(schema, buffer, buffer->bytes, size, &decoded, &error);
    if (!err)
        say_batch(run, decoded);
    const char *names[] = {"name", "id"};
    struct weir_key_spec spec;
    uint32_t offsets[51];
    uint64_t hashes[50];
    struct weir_buf keys;
    weir_buf_init(&keys, (size_t)1 << 30);
    if (!err)
        err = weir_key_spec_resolve(schema, names, 2, &spec, &error);
    if (!err) {
        weir_key_encode(batch, &spec, &keys, offsets);
        weir_key_hash(batch, &spec, hashes);
        run_say(run, "%u %" PRIx64 "\n", offsets[50], hashes[17]);
    }
    weir_buf_fini(&keys);
    weir_buffer_unref(buffer);
    weir_batch_unref(decoded);
    weir_batch_unref(slice);
    weir_batch_unref(filtered);
    weir_batch_unref(gathered);
    weir_batch_unref(batch);
    weir_schema_unref(schema);
    return err ? run_fail(run, &error) : 0;
}

/* --- expr */

static const char select_list[] =
    "id, UPPER(name) AS big, heat * 1.8 + 32 AS fahrenheit, CASE WHEN hot THEN 'hot' ELSE name END AS word, "
    "CAST(at AS STRING) AS at_text, COALESCE(name, 'none') || '!' AS shout, SHA256(name) AS digest, "
    "REPLACE(name, 'a', 'bb') AS replaced, id IN (1, 2, 30) AS listed, name LIKE 'name-%' AS liked";

static int play_expr(struct run *run)
{
    struct weir_expr_error error;
    struct weir_error row_error;
    struct weir_schema *schema = NULL;
    struct weir_select *select = NULL;
    struct weir_expr *where = NULL;
    struct weir_batch *out = NULL;
    uint64_t mask[1];
    if (weir_schema_parse(COLUMNS, &schema, &row_error))
        return run_fail(run, &row_error);
    struct weir_batch *batch = make_batch(schema, 40);
    struct weir_expr_scratch *scratch = weir_expr_scratch_new();
    weir_err err = weir_select_compile(select_list, schema, &select, &error);
    if (!err)
        err = weir_expr_compile("heat > 3 AND (name IS NOT NULL OR id < 20)", schema, &where, &error);
    if (err)
        row_error = error.error;
    if (!err)
        err = weir_select_eval(select, batch, scratch, &out, NULL, &row_error);
    if (!err) {
        say_batch(run, out);
        err = weir_expr_eval_mask(where, batch, scratch, mask, NULL, &row_error);
    }
    if (!err)
        run_say(run, "%" PRIx64 "\n", mask[0]);
    weir_batch_unref(out);
    weir_expr_free(where);
    weir_select_free(select);
    weir_expr_scratch_free(scratch);
    weir_batch_unref(batch);
    weir_schema_unref(schema);
    return err ? run_fail(run, &row_error) : 0;
}

static int play_agg(struct run *run)
{
    struct weir_expr_error error;
    struct weir_error row_error;
    struct weir_schema *schema = NULL;
    struct weir_agg *agg = NULL;
    struct weir_batch *out = NULL;
    struct weir_key_spec keys;
    const char *key = "hot";
    if (weir_schema_parse(COLUMNS, &schema, &row_error))
        return run_fail(run, &row_error);
    struct weir_batch *batch = make_batch(schema, 40);
    struct weir_arena heap;
    weir_arena_init(&heap);
    weir_err err = weir_key_spec_resolve(schema, &key, 1, &keys, &row_error);
    if (!err && (err = weir_agg_compile(
                     "hot, window_start, COUNT(*) AS n, SUM(heat) AS s, MIN(name) AS first, AVG(id) AS mean, "
                     "LAST_VALUE(name) AS last, SUM(id) + COUNT(heat) AS both",
                     schema, &keys, true, &agg, &error)))
        row_error = error.error;
    if (!err) {
        struct weir_agg_input *input = weir_agg_input_new(agg);
        uint8_t *groups[2], *all[40];
        for (int i = 0; i < 2; i++)
            groups[i] = weir_zalloc(weir_agg_accumulator_size(agg));
        for (int i = 0; i < 40; i++)
            all[i] = groups[i & 1];
        err = weir_agg_prepare(agg, input, batch, NULL, &row_error);
        if (!err) {
            static const uint8_t key_bytes[2][2] = {{1, 0}, {1, 1}};
            struct weir_agg_group results[2];
            weir_agg_update(agg, input, NULL, all, 40, &heap);
            for (int i = 0; i < 2; i++)
                results[i] = (struct weir_agg_group){key_bytes[i], 2, groups[i], 0, 1000};
            err = weir_agg_result(agg, results, 2, &out, &row_error);
        }
        if (!err)
            say_batch(run, out);
        free(groups[0]);
        free(groups[1]);
        weir_agg_input_free(input);
    }
    weir_batch_unref(out);
    weir_agg_free(agg);
    weir_arena_fini(&heap);
    weir_batch_unref(batch);
    weir_schema_unref(schema);
    return err ? run_fail(run, &row_error) : 0;
}

/* --- format */

static int round_trip(struct run *run, const char *name, const char *columns, struct weir_error *error)
{
    const struct weir_format *format;
    struct weir_schema *schema = NULL;
    struct weir_encoder *encoder = NULL;
    struct weir_decoder *decoder = NULL;
    struct weir_batch *batch = NULL, *back = NULL;
    struct weir_buf out;
    weir_buf_init(&out, 1 << 20);
    weir_err err = weir_schema_parse(columns, &schema, error);
    if (!err)
        err = weir_format_find(name, &format, error);
    if (!err)
        err = format->encoder_new(schema, NULL, 0, &encoder, error);
    if (!err)
        err = format->decoder_new(schema, NULL, 0, &decoder, error);
    if (err)
        goto out;
    if (schema->field_count == 7) {
        batch = make_batch(schema, 12);
    } else {
        batch = weir_batch_new(schema, 2);
        for (; batch->row_count < 2; batch->row_count++)
            weir_column_set_bytes(&batch->columns[0], batch->row_count, "text", 4);
    }
    for (int i = 0; !err && i < batch->row_count; i++)
        err = format->encode(encoder, batch, i, &out, error);
    if (err)
        goto out;
    run_say(run, "%s", (char *)out.data);
    size_t size = out.size;
    if (!weir_buf_append(&out, "                                                                ", 64)) {
        err = weir_fail(error, WEIR_ERR_FULL, "the buffer is full");
        goto out;
    }
    back = weir_batch_new(schema, 100);
    if (format->decode_lines) {
        size_t used, bad_at, bad_size;
        err = format->decode_lines(decoder, out.data, size, true, back, &used, &bad_at, &bad_size, error);
    } else {
        err = format->decode(decoder, out.data, 4, true, back, error);
    }
    if (!err)
        say_batch(run, back);
out:
    weir_batch_unref(back);
    weir_batch_unref(batch);
    if (decoder)
        format->decoder_free(decoder);
    if (encoder)
        format->encoder_free(encoder);
    weir_schema_unref(schema);
    weir_buf_fini(&out);
    return err;
}

static int play_json(struct run *run)
{
    struct weir_error error;
    return round_trip(run, "json", COLUMNS, &error) ? run_fail(run, &error) : 0;
}

static int play_csv(struct run *run)
{
    struct weir_error error;
    return round_trip(run, "csv", COLUMNS, &error) ? run_fail(run, &error) : 0;
}

static int play_raw(struct run *run)
{
    struct weir_error error;
    return round_trip(run, "raw", "text STRING", &error) ? run_fail(run, &error) : 0;
}

/* --- http */

static void answer(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    json_t *object = weir_http_body_object(request, response);
    if (!object)
        return;
    json_object_set_new(object, "path", json_string(request->path));
    json_object_set_new(object, "name", json_string(request->params[0] ? request->params[0] : "-"));
    weir_http_json(response, 200, object);
}

static void take_upload(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    char hex[65];
    struct weir_error error;
    if (!request->upload_path)
        weir_http_fail(response, 400, "no upload");
    else if (weir_sha256_file_hex(request->upload_path, hex, &error))
        weir_http_fail(response, 500, "%s", error.message);
    else
        weir_http_json(response, 200, json_pack("{s:s, s:I}", "sha", hex, "size", (json_int_t)request->upload_size));
}

static void give_file(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    int fd = open(request->arg, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0) {
        if (fd >= 0)
            close(fd);
        weir_http_fail(response, 500, "cannot open the file");
        return;
    }
    response->file_fd = fd;
    response->file_size = (uint64_t)info.st_size;
    response->content_type = "text/plain";
}

static const struct weir_http_route routes[] = {
    {"GET", "/things/:name", answer, 0},
    {"POST", "/things/:name", answer, WEIR_HTTP_BLOCKING},
    {"POST", "/upload", take_upload, WEIR_HTTP_UPLOAD | WEIR_HTTP_BLOCKING},
    {"GET", "/file", give_file, 0},
    {NULL, NULL, NULL, 0},
};

/* False: it failed, *error says how; an answer that is no success is an error too. */
static bool call(struct run *run, struct weir_http_request *request, const char *path, int port,
                 struct weir_error *error)
{
    char url[128];
    struct weir_http_response response;
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", port, path);
    request->url = url;
    request->timeout_ms = WAIT_MS;
    if (weir_http_call(request, &response, error))
        return false;
    const char *body = response.body.data ? (const char *)response.body.data : "";
    bool good = response.status == 200;
    if (good)
        run_say(run, "%s\n", body);
    else
        (void)weir_fail(error, WEIR_ERR_IO, "%d: %.200s", response.status, body);
    weir_http_response_fini(&response);
    return good;
}

static int play_http(struct run *run)
{
    struct weir_error error;
    struct weir_http_server *server = NULL;
    char path[256], fetched[256];
    char text[20001];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    put_file(run, "file", text);
    struct weir_http_server_options options = {
        .routes = routes, .arg = in_directory(run, "file", path), .upload_dir = run->directory, .timeout_ms = 2000};
    if (weir_http_server_start(&options, &server, &error))
        return run_fail(run, &error);
    int port = weir_http_server_port(server);
    struct weir_http_request get = {.method = "GET"};
    struct weir_http_request post = {.method = "POST", .body = "{\"a\": [1, 2]}", .body_size = 13};
    struct weir_http_request upload = {.method = "POST", .upload_path = path};
    bool good = call(run, &get, "/things/one", port, &error) && call(run, &post, "/v1/things/two", port, &error) &&
                call(run, &upload, "/upload", port, &error) && call(run, &get, "/file", port, &error);
    if (good) {
        char url[128];
        snprintf(url, sizeof url, "http://127.0.0.1:%d/file", port);
        struct weir_http_request fetch = {.method = "GET", .url = url, .timeout_ms = WAIT_MS};
        good = weir_http_download(&fetch, in_directory(run, "fetched", fetched), 1 << 20, &error) == WEIR_OK;
        if (good)
            say_file(run, fetched);
    }
    weir_http_server_stop(server);
    return good ? 0 : run_fail(run, &error);
}

/* --- net */

/* The next event of a line, of a kind, within the time; false: none. Drives the other line beside. */
static bool next_event(struct weir_line *line, enum weir_line_event_kind kind, struct weir_line_event *event)
{
    int64_t until_ms = weir_clock_mono_ms() + 3000;
    while (weir_clock_mono_ms() < until_ms) {
        while (weir_line_next(line, event)) {
            if (event->kind == kind)
                return true;
            if (event->control)
                weir__control__free_unpacked(event->control, NULL);
        }
        struct pollfd fds[2] = {{weir_line_fd(line), POLLIN, 0}, {weir_line_monitor_fd(line), POLLIN, 0}};
        poll(fds, 2, 10);
    }
    return false;
}

/* A message there and one back. What is lost is lost silently: resending is the core's work, here it is done anew. */
static bool exchange(struct run *run, struct weir_line *server, struct weir_line *client)
{
    Weir__Control ping = WEIR__CONTROL__INIT;
    Weir__HeartbeatAck ack = WEIR__HEARTBEAT_ACK__INIT;
    struct weir_line_event event;
    ack.sequence = 42;
    ping.heartbeat_ack = &ack;
    ping.body_case = WEIR__CONTROL__BODY_HEARTBEAT_ACK;
    if (!next_event(client, WEIR_LINE_CONNECTED, &event) || !weir_line_send(client, NULL, &ping) ||
        !next_event(server, WEIR_LINE_MESSAGE, &event))
        return false;
    run_say(run, "server %d ", (int)event.control->heartbeat_ack->sequence);
    weir__control__free_unpacked(event.control, NULL);
    if (!weir_line_send(server, event.peer, &ping) || !next_event(client, WEIR_LINE_MESSAGE, &event))
        return false;
    run_say(run, "client %d\n", (int)event.control->heartbeat_ack->sequence);
    weir__control__free_unpacked(event.control, NULL);
    return true;
}

static int play_net(struct run *run)
{
    struct weir_error error = {.message = "no connection in time"};
    struct weir_line *server = NULL, *client = NULL;
    void *context = zmq_ctx_new();
    if (!context) {
        snprintf(run->message, sizeof run->message, "no ZeroMQ context");
        return 1;
    }
    weir_err err = weir_line_serve(context, "tcp://127.0.0.1:0", NULL, &server, &error);
    if (!err)
        err = weir_line_client(context, weir_line_endpoint(server), "client", NULL, &client, &error);
    bool good = !err && exchange(run, server, client);
    if (!err && !good) { /* as a TaskManager does when nothing is heard */
        run->size = 0;
        err = weir_line_reconnect(client, &error);
        good = !err && exchange(run, server, client);
        if (!err && !good)
            snprintf(error.message, sizeof error.message, "nothing is heard on a new connection either");
    }
    weir_line_close(client);
    weir_line_close(server);
    zmq_ctx_term(context);
    return good ? 0 : run_fail(run, &error);
}

/* --- graph, sdk */

struct reading {
    struct weir_str name;
    double heat;
    weir_ts at;
};
WEIR_ROW(reading, WEIR_FIELD(name, "STRING NOT NULL"), WEIR_FIELD(heat, "DOUBLE NOT NULL"),
         WEIR_FIELD(at, "TIMESTAMP(3) NOT NULL"));

static int halve(struct weir_ctx *ctx, const struct reading *in, struct reading *out)
{
    (void)ctx;
    *out = *in;
    out->heat /= 2;
    return 0;
}

static void build_job(struct weir_job *job)
{
    struct weir_stream *rows =
        weir_schema(weir_source(job, "filesystem", "path", weir_arg(job, "input", "/in"), "format", "json", NULL),
                    WEIR_ROW_OF(reading));
    rows = weir_watermark(weir_filter(rows, "heat > 3"), "at - INTERVAL '1' SECOND");
    rows = weir_map(rows, WEIR_MAP(reading, reading, halve));
    struct weir_stream *counts = weir_aggregate(weir_window(weir_key_by(rows, "name"), weir_tumbling("1 min")),
                                                "name, window_end, COUNT(*) AS n");
    weir_sink(counts, "filesystem", "path", "/out", "format", "json", NULL);
}

static struct weir_job_descriptor descriptor;

static int play_sdk(struct run *run)
{
    struct kit kit;
    const char *arguments[] = {"--input", "/elsewhere", NULL};
    kit_build(&kit, &descriptor, build_job, arguments, true);
    if (!kit.ok) {
        snprintf(run->message, sizeof run->message, "%s", kit_text(&kit));
    } else {
        for (size_t i = 0; i < kit.graph->n_vertices; i++)
            run_say(run, "%s %s %zu\n", kit.graph->vertices[i]->op, kit.graph->vertices[i]->name,
                    kit.graph->vertices[i]->n_options);
    }
    bool ok = kit.ok;
    kit_fini(&kit);
    return !ok;
}

static uint8_t *pack_job(size_t *size)
{
    struct kit kit;
    faults_pause(true);
    kit_build(&kit, &descriptor, build_job, NULL, true);
    if (!kit.ok)
        abort();
    *size = weir__job_graph__get_packed_size(kit.graph);
    uint8_t *bytes = weir_alloc(*size);
    weir__job_graph__pack(kit.graph, bytes);
    kit_fini(&kit);
    faults_pause(false);
    return bytes;
}

static int play_plan(struct run *run)
{
    struct weir_plan_options options = {.parallelism = 2, .max_parallelism = 128, .chaining = true};
    struct weir_plan *plan = NULL;
    struct weir_error error;
    size_t size;
    uint8_t *bytes = pack_job(&size);
    weir_err err = weir_plan_build(bytes, size, &options, &plan, &error);
    free(bytes);
    if (err)
        return run_fail(run, &error);
    json_t *json = weir_plan_json(plan, "00000000000000000000000000000000");
    char *text = json_dumps(json, JSON_COMPACT);
    run_say(run, "%d %d %s\n", plan->vertex_count, plan->task_count, text ? text : "");
    bool made = text != NULL;
    free(text);
    json_decref(json);
    weir_plan_free(plan);
    if (!made)
        snprintf(run->message, sizeof run->message, "no JSON");
    return !made;
}

/* The child that builds a job's graph, seen from the parent: $WEIR_BUILD/bin, an example's object. */
static int play_build_client(struct run *run)
{
    const char *build = getenv("WEIR_BUILD");
    char binary[300], object[300];
    snprintf(binary, sizeof binary, "%s/bin/weir-taskmanager", build ? build : "build");
    snprintf(object, sizeof object, "%s/tests/jobs/paced.so", build ? build : "build");
    const char *arguments[] = {"--output", "/out"};
    struct weir_job_build job = {.binary = binary, .path = object, .arguments = arguments, .argument_count = 2};
    uint8_t *graph = NULL;
    size_t size = 0;
    struct weir_error error;
    if (weir_job_build(&job, &graph, &size, &error))
        return run_fail(run, &error);
    char hex[65];
    faults_pause(true);
    weir_sha256_hex(graph, size, hex);
    faults_pause(false);
    run_say(run, "%zu %s\n", size, hex);
    free(graph);
    return 0;
}

const struct scenario scenarios[] = {
    {"memory", play_memory, NULL, false},
    {"config", play_config, NULL, false},
    {"log", play_log, NULL, false},
    {"metrics", play_metrics, NULL, false},
    {"hash", play_hash, NULL, false},
    {"fault-points", play_fault_points, NULL, false},
    {"daemon", play_daemon, NULL, false},
    {"data", play_data, NULL, false},
    {"expr", play_expr, NULL, false},
    {"agg", play_agg, NULL, false},
    {"json", play_json, NULL, false},
    {"csv", play_csv, NULL, false},
    {"raw", play_raw, NULL, false},
    {"http", play_http, "libmicrohttpd's and libcurl's threads give back what they hold in their own time", true},
    {"net", play_net, "libzmq keeps what it holds until its context ends", true},
    {"sdk", play_sdk, NULL, false},
    {"plan", play_plan, NULL, false},
    {"build-client", play_build_client, NULL, true},
    {NULL, NULL, NULL, false},
};
