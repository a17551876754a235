/* Calls and the __LINE__ that is expected of them stand on one line. */
/* clang-format off */
/* weir_graph_check(): schemas through a whole graph, what it completes, and every kind of error with operator and line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "sdk_kit.h"

static struct weir_job_descriptor descriptor;
static int line;

#define COLUMNS "device_id STRING NOT NULL, temperature DOUBLE NOT NULL, `timestamp` TIMESTAMP(3) NOT NULL"

static struct weir_stream *readings(struct weir_job *job)
{
    return weir_watermark(weir_columns(weir_source(job, "filesystem", "path", "in", "format", "json", NULL), COLUMNS),
                          "`timestamp` - INTERVAL '2' SECOND");
}

static struct weir_stream *windows_of(struct weir_stream *input)
{
    return weir_aggregate(weir_window(weir_key_by(input, "device_id"), weir_tumbling("10 s")),
                          "device_id, window_end, COUNT(*) AS n, AVG(temperature) AS mean");
}

struct slim {
    struct weir_str device_id;
    double temperature;
};
WEIR_ROW(slim, WEIR_FIELD(device_id, "STRING NOT NULL"), WEIR_FIELD(temperature, "DOUBLE NOT NULL"));

static int keep(struct weir_ctx *ctx, const struct slim *in, struct slim *out)
{
    (void)ctx;
    *out = *in;
    return 0;
}

/* --- Good */

static void good_job(struct weir_job *job)
{
    struct weir_stream *input = readings(job);
    weir_uid(input, "in");
    struct weir_stream *windows = weir_name(windows_of(input), "windows");
    struct weir_stream *again = weir_aggregate(weir_window(weir_key_by(windows, "device_id"), weir_tumbling("1 min")),
                                               "device_id, SUM(n) AS total");
    weir_sink(weir_name(again, "minutes"), "print", NULL);
    weir_sink(weir_name(weir_filter(windows, "mean > 80"), "alerts"), "blackhole", NULL);
    weir_sink(weir_late(windows), "blackhole", NULL);
    weir_sink(weir_bad(input), "blackhole", NULL);
    weir_sink(weir_name(weir_map(input, WEIR_MAP(slim, slim, keep)), "kept"), "blackhole", NULL);
    struct weir_stream *live = weir_source(job, "host", NULL);
    weir_sink(weir_name(live, "live"), "blackhole", NULL);
}

static void schemas_go_through_the_graph(void **state)
{
    struct kit kit;
    (void)state;
    kit_build(&kit, &descriptor, good_job, NULL, true);
    assert_string_equal(kit_text(&kit), "");
    assert_true(kit.ok);
    const Weir__Vertex *alerts = kit_vertex(&kit, "alerts");
    assert_int_equal(alerts->output->n_fields, 4);
    assert_string_equal(alerts->output->fields[3]->name, "mean");
    assert_string_equal(alerts->output->fields[3]->type, "DOUBLE");
    assert_string_equal(alerts->output->fields[2]->type, "BIGINT NOT NULL");
    const Weir__Vertex *windows = kit_vertex(&kit, "windows");
    assert_string_equal(weir_graph_option(windows, "time.column"), "timestamp");
    assert_string_equal(weir_graph_option(kit_vertex(&kit, "minutes"), "time.column"), "window_end");
    assert_int_equal(windows->n_side_outputs, 1);
    assert_int_equal(windows->side_outputs[0]->n_fields, 3);
    const Weir__Vertex *source = kit_vertex(&kit, "filesystem");
    assert_int_equal(source->n_side_outputs, 2);
    assert_int_equal(source->side_outputs[0]->n_fields, 0);
    assert_int_equal(source->side_outputs[1]->n_fields, 18);
    assert_int_equal(kit_vertex(&kit, "kept")->output->n_fields, 2);
    kit_fini(&kit);
}

static void sources_with_splits_get_a_coordinator(void **state)
{
    struct kit kit;
    (void)state;
    kit_build(&kit, &descriptor, good_job, NULL, true);
    const Weir__Vertex *splits = kit_vertex(&kit, "filesystem splits");
    assert_string_equal(splits->op, "splits");
    assert_string_equal(splits->uid, "in-splits");
    assert_int_equal(splits->parallelism, 1);
    assert_string_equal(weir_graph_option(splits, "path"), "in");
    assert_int_equal(kit_edge(&kit, "filesystem splits", "filesystem")->partition, WEIR__PARTITION__ON_DEMAND);
    assert_int_equal(kit_vertex(&kit, "live")->parallelism, 1);
    assert_null(kit_vertex(&kit, "live splits"));
    kit_fini(&kit);
}

static void checking_again_changes_nothing(void **state)
{
    struct kit kit;
    (void)state;
    kit_build(&kit, &descriptor, good_job, NULL, true);
    size_t size = weir__job_graph__get_packed_size(kit.graph);
    uint8_t *before = malloc(size), *after = malloc(size);
    weir__job_graph__pack(kit.graph, before);
    assert_true(weir_graph_check(kit.graph, &kit_ops, &kit.errors));
    assert_int_equal(weir__job_graph__get_packed_size(kit.graph), size);
    weir__job_graph__pack(kit.graph, after);
    assert_memory_equal(before, after, size);
    free(before), free(after);
    kit_fini(&kit);
}

/* --- Bad: one job each, the sentence it must give */

static void bad_expression(struct weir_job *job)
{
    weir_sink(weir_name(weir_filter(readings(job), "temprature > 90"), "hot"), "print", NULL), line = __LINE__;
}
static void bad_type(struct weir_job *job)
{
    weir_sink(weir_filter(readings(job), "temperature + 1"), "print", NULL), line = __LINE__;
}
static void bad_key(struct weir_job *job)
{
    line = __LINE__ + 1;
    weir_sink(weir_aggregate(weir_window(weir_key_by(readings(job), "device"), weir_tumbling("1 s")), "COUNT(*) AS n"), "print", NULL);
}
static void bad_connector(struct weir_job *job)
{
    weir_sink(weir_columns(weir_source(job, "filesytem", "path", "x", NULL), "a INT"), "print", NULL), line = __LINE__;
}
static void bad_sink_connector(struct weir_job *job)
{
    weir_sink(readings(job), "prnt", NULL), line = __LINE__;
}
static void bad_option(struct weir_job *job)
{
    weir_sink(readings(job), "print", "prefx", "a", NULL), line = __LINE__;
}
static void bad_format(struct weir_job *job)
{
    weir_sink(weir_columns(weir_source(job, "filesystem", "path", "x", "format", "jsn", NULL), "a INT"), "print", NULL), line = __LINE__;
}
static void no_schema(struct weir_job *job)
{
    weir_sink(weir_source(job, "filesystem", "path", "x", "format", "json", NULL), "print", NULL), line = __LINE__;
}
static void no_watermark(struct weir_job *job)
{
    struct weir_stream *input = weir_columns(weir_source(job, "filesystem", "path", "x", "format", "json", NULL), COLUMNS);
    weir_sink(windows_of(input), "print", NULL);
}
static void time_column_lost(struct weir_job *job)
{
    weir_sink(windows_of(weir_select(readings(job), "device_id, temperature")), "print", NULL);
}
static void bad_window_size(struct weir_job *job)
{
    line = __LINE__ + 1;
    weir_sink(weir_aggregate(weir_window(weir_key_by(readings(job), "device_id"), weir_tumbling("ten")), "COUNT(*) AS n"), "print", NULL);
}
static void bad_aggregate(struct weir_job *job)
{
    line = __LINE__ + 1;
    weir_sink(weir_aggregate(weir_window(weir_key_by(readings(job), "device_id"), weir_tumbling("1 s")), "SUM(device_id) AS n"), "print", NULL);
}
static void row_mismatch(struct weir_job *job)
{
    struct weir_stream *input = weir_select(readings(job), "device_id, CAST(temperature AS INT) AS temperature");
    weir_sink(weir_map(input, WEIR_MAP(slim, slim, keep), .name = "kept"), "print", NULL), line = __LINE__;
}
static void union_mismatch(struct weir_job *job)
{
    struct weir_stream *input = readings(job);
    line = __LINE__ + 1;
    weir_sink(weir_union(input, weir_select(input, "device_id")), "print", NULL);
}
static void goes_nowhere(struct weir_job *job)
{
    weir_sink(readings(job), "print", NULL);
    weir_filter(readings(job), "temperature > 1"), line = __LINE__;
}
static void too_parallel(struct weir_job *job)
{
    weir_sink(weir_parallelism(weir_source(job, "host", NULL), 4), "print", NULL), line = __LINE__;
}
static void lines_of_no_lines(struct weir_job *job)
{
    weir_sink(readings(job), "filesystem", "path", "x", "format", "avro", NULL), line = __LINE__;
}
static void avro_from_lines(struct weir_job *job)
{
    struct weir_stream *input = weir_columns(weir_source(job, "filesystem", "path", "x", "format", "avro", NULL), "a INT");
    weir_sink(input, "print", NULL);
}

static void every_error_is_a_sentence_with_a_line(void **state)
{
    static const struct {
        void (*build)(struct weir_job *job);
        const char *sentence;
    } cases[] = {
        {bad_expression, "hot: condition, column 1: "},
        {bad_expression, "temprature"},
        {bad_type, "BOOLEAN"},
        {bad_key, "key: "},
        {bad_key, "'device'"},
        {bad_connector, "there is no connector 'filesytem'; did you mean 'filesystem'?"},
        {bad_sink_connector, "there is no connector 'prnt'; did you mean 'print'?"},
        {bad_option, "did you mean 'prefix'?"},
        {bad_format, "did you mean 'json'"},
        {no_schema, "declare the columns"},
        {no_watermark, "needs a watermark"},
        {time_column_lost, "the event time column 'timestamp' of 'filesystem' is not in the window's input"},
        {bad_window_size, "window.size"},
        {bad_aggregate, "aggregates, column "},
        {row_mismatch, "kept: row.in: column 'temperature' is INT"},
        {union_mismatch, "union"},
        {goes_nowhere, "its rows go nowhere"},
        {lines_of_no_lines, "connector 'filesystem' writes lines, and records of format 'avro' are not lines"},
        {avro_from_lines, "connector 'filesystem' reads lines, and records of format 'avro' are not lines"},
        {too_parallel, "parallelism of at most 1, not 4"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kit kit;
        line = 0;
        kit_build(&kit, &descriptor, cases[i].build, NULL, true);
        assert_false(kit.ok);
        char place[64];
        snprintf(place, sizeof place, "check_test.c:%d: ", line);
        if (kit.errors.count != 1 || !strstr(kit_text(&kit), cases[i].sentence) || (line && !strstr(kit_text(&kit), place)))
            fail_msg("case %zu should be one error, '%s%s':\n%s", i, line ? place : "", cases[i].sentence, kit_text(&kit));
        kit_fini(&kit);
    }
}

static void many_bad(struct weir_job *job)
{
    struct weir_stream *input = readings(job);
    weir_sink(weir_filter(weir_filter(input, "a > 1"), "b > 2"), "print", NULL); /* b is not blamed: nobody knows its input */
    weir_sink(weir_filter(input, "c > 3"), "print", NULL);
    weir_sink(weir_filter(input, NULL), "print", NULL);
    weir_sink(weir_filter(input, "temperature > 3"), "print", "bad", "option", NULL);
}

static void all_errors_are_reported_and_none_twice(void **state)
{
    struct kit kit;
    (void)state;
    kit_build(&kit, &descriptor, many_bad, NULL, true);
    assert_int_equal(kit.errors.count, 4);
    assert_null(strstr(kit_text(&kit), "'b'"));
    kit_fini(&kit);
}

/* --- Graphs that no builder makes */

static void cycles_are_refused(void **state)
{
    struct kit kit;
    (void)state;
    kit_build(&kit, &descriptor, good_job, NULL, false);
    Weir__Vertex *a = weir_graph_add_vertex(kit.graph, 100, "filter", "first", "job.c:1");
    Weir__Vertex *b = weir_graph_add_vertex(kit.graph, 101, "filter", "second", "job.c:2");
    weir_graph_add_option(a, "condition", "TRUE");
    weir_graph_add_option(b, "condition", "TRUE");
    weir_graph_add_edge(kit.graph, 100, 0, 101, 0, WEIR__PARTITION__FORWARD, NULL, 0);
    weir_graph_add_edge(kit.graph, 101, 0, 100, 0, WEIR__PARTITION__FORWARD, NULL, 0);
    assert_false(weir_graph_check(kit.graph, &kit_ops, &kit.errors));
    assert_int_equal(kit.errors.count, 1);
    assert_string_equal(kit.errors.items[0].location, "job.c:1");
    assert_non_null(strstr(kit.errors.items[0].message, "cycle, which streams cannot have: among 'first', 'second'"));
    kit_fini(&kit);
}

static void unknown_operators_and_outputs_are_refused(void **state)
{
    struct kit kit;
    (void)state;
    kit_build(&kit, &descriptor, good_job, NULL, false);
    weir_graph_text(&kit_vertex(&kit, "alerts")->op, "filtre");
    kit_edge(&kit, "filesystem", "kept")->from_output = 1;
    weir__function_ref__free_unpacked(kit_vertex(&kit, "kept")->function, NULL);
    kit_vertex(&kit, "kept")->function = NULL;
    assert_false(weir_graph_check(kit.graph, &kit_ops, &kit.errors));
    assert_int_equal(kit.errors.count, 2);
    struct weir_buf text;
    weir_buf_init(&text, 100000);
    assert_true(weir_graph_errors_print(&kit.errors, &text));
    assert_non_null(strstr((const char *)text.data, "there is no operator 'filtre'; did you mean 'filter'?"));
    assert_non_null(strstr((const char *)text.data, "kept: it reads late rows of 'filesystem', which gives none"));
    weir_buf_fini(&text);
    kit_fini(&kit);
    kit_build(&kit, &descriptor, good_job, NULL, false);
    kit.graph->edges[0]->to = 999;
    assert_false(weir_graph_check(kit.graph, &kit_ops, &kit.errors));
    assert_non_null(strstr(kit.errors.items[0].message, "vertex 999, which is not in the graph"));
    kit_fini(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schemas_go_through_the_graph),
        cmocka_unit_test(sources_with_splits_get_a_coordinator),
        cmocka_unit_test(checking_again_changes_nothing),
        cmocka_unit_test(every_error_is_a_sentence_with_a_line),
        cmocka_unit_test(all_errors_are_reported_and_none_twice),
        cmocka_unit_test(cycles_are_refused),
        cmocka_unit_test(unknown_operators_and_outputs_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
