/* Calls and the __LINE__ that is expected of them stand on one line. */
/* clang-format off */
/* The builder: what the calls record, and every way of calling it wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "sdk_kit.h"

struct reading {
    struct weir_str device_id;
    double temperature;
    bool is_abnormal;
    weir_ts timestamp;
};
WEIR_ROW(reading, WEIR_FIELD(device_id, "STRING NOT NULL"), WEIR_FIELD(temperature, "DOUBLE NOT NULL"),
         WEIR_FIELD(is_abnormal, "BOOLEAN NOT NULL"), WEIR_FIELD(timestamp, "TIMESTAMP(3) NOT NULL"));

struct one {
    WEIR_NULLS(one);
    int32_t n;
    struct weir_str text;
};
WEIR_ROW_NULLS(one, WEIR_FIELD(n, "INT"), WEIR_FIELD(text, "STRING"));

/* 64 fields: the most there may be. */
#define F8(p) int8_t p##0, p##1, p##2, p##3, p##4, p##5, p##6, p##7;
#define W8(p)                                                                                                      \
    WEIR_FIELD(p##0, "TINYINT NOT NULL"), WEIR_FIELD(p##1, "TINYINT NOT NULL"), WEIR_FIELD(p##2, "TINYINT NOT NULL"), \
        WEIR_FIELD(p##3, "TINYINT NOT NULL"), WEIR_FIELD(p##4, "TINYINT NOT NULL"),                                \
        WEIR_FIELD(p##5, "TINYINT NOT NULL"), WEIR_FIELD(p##6, "TINYINT NOT NULL"), WEIR_FIELD(p##7, "TINYINT NOT NULL")
struct wide {
    F8(a) F8(b) F8(c) F8(d) F8(e) F8(f) F8(g) F8(h)
};
WEIR_ROW(wide, W8(a), W8(b), W8(c), W8(d), W8(e), W8(f), W8(g), W8(h));

/* In the test's own image, as a job's descriptor is in its object: dladdr() gives the base. */
static struct weir_job_descriptor descriptor;

static int to_one(struct weir_ctx *ctx, const struct reading *in, struct one *out)
{
    (void)ctx;
    out->n = (int32_t)in->temperature;
    return 0;
}

static int to_many(struct weir_ctx *ctx, const struct one *in, struct weir_out_rows *out)
{
    (void)ctx;
    return weir_emit(out, in);
}

static struct weir_stream *readings(struct weir_job *job)
{
    return weir_schema(weir_source(job, "filesystem", "path", "in", "format", "json", NULL), WEIR_ROW_OF(reading));
}

static void full_job(struct weir_job *job)
{
    struct weir_stream *input = weir_watermark(readings(job), "timestamp - INTERVAL '2' SECOND");
    weir_idleness(input, "30 s");
    weir_uid(weir_name(input, "readings"), "readings-v1");
    weir_job_name(job, "renamed");
    weir_job_parallelism(job, 3);
    struct weir_stream *windows = weir_aggregate(
        weir_lateness(weir_window(weir_key_by(input, "device_id, `is_abnormal`"), weir_offset(weir_sliding("10 s", "5 s"), "1 s")), "4 s"),
        "device_id, COUNT(*) AS n");
    weir_name(windows, "windows");
    weir_name(weir_sink(weir_late(windows), "print", NULL), "late");
    weir_name(weir_sink(weir_bad(input), "print", "prefix", "bad", NULL), "bad");
    weir_parallelism(weir_name(weir_filter(weir_rebalance(input), "temperature > 1"), "hot"), 7);
    struct weir_stream *mapped = weir_map(input, WEIR_MAP(reading, one, to_one), .name = "to one");
    struct weir_stream *many = weir_chaining(weir_flat_map(mapped, WEIR_FLAT_MAP(one, one, to_many), .name = "many"), false);
    weir_name(weir_sink(weir_union(mapped, weir_broadcast(many)), "blackhole", NULL), "end");
}

static void calls_become_vertices_and_edges(void **state)
{
    struct kit kit;
    (void)state;
    kit_build(&kit, &descriptor, full_job, NULL, false);
    assert_string_equal(kit_text(&kit), "");
    assert_true(kit.ok);
    assert_string_equal(kit.graph->name, "renamed");
    assert_int_equal(kit.graph->parallelism, 3);
    const Weir__Vertex *source = kit_vertex(&kit, "readings");
    assert_string_equal(source->op, "source");
    assert_string_equal(source->uid, "readings-v1");
    assert_string_equal(weir_graph_option(source, "connector"), "filesystem");
    assert_string_equal(weir_graph_option(source, "watermark.expression"), "timestamp - INTERVAL '2' SECOND");
    assert_string_equal(weir_graph_option(source, "watermark.idle-timeout"), "30 s");
    assert_string_equal(weir_graph_option(source, "on-error"), "dead-letter");
    assert_int_equal(source->output->n_fields, 4);
    assert_string_equal(source->output->fields[3]->name, "timestamp");
    assert_string_equal(source->output->fields[3]->type, "TIMESTAMP(3) NOT NULL");
    assert_non_null(strstr(source->location, "sdk_test.c:"));
    assert_null(strchr(source->location, '/'));

    const Weir__Vertex *window = kit_vertex(&kit, "windows");
    assert_string_equal(window->op, "window");
    static const char *const options[][2] = {
        {"window.type", "sliding"}, {"window.time", "event"}, {"window.size", "10 s"}, {"window.slide", "5 s"},
        {"window.offset", "1 s"},   {"window.allowed-lateness", "4 s"}, {"aggregates", "device_id, COUNT(*) AS n"}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        assert_string_equal(weir_graph_option(window, options[i][0]), options[i][1]);
    const Weir__Edge *keyed = kit_edge(&kit, "readings", "windows");
    assert_int_equal(keyed->partition, WEIR__PARTITION__HASH);
    assert_int_equal(keyed->n_key, 2);
    assert_string_equal(keyed->key[1], "is_abnormal");
    assert_int_equal(kit_edge(&kit, "windows", "late")->from_output, 1);
    assert_int_equal(kit_edge(&kit, "readings", "bad")->from_output, 2);
    assert_int_equal(kit_edge(&kit, "readings", "hot")->partition, WEIR__PARTITION__REBALANCE);
    assert_int_equal(kit_vertex(&kit, "hot")->parallelism, 7);
    assert_true(kit_vertex(&kit, "many")->no_chaining);
    assert_false(kit_vertex(&kit, "to one")->no_chaining);
    assert_int_equal(kit_edge(&kit, "many", "union")->partition, WEIR__PARTITION__BROADCAST);
    assert_int_equal(kit_edge(&kit, "many", "union")->to_input, 1);
    kit_fini(&kit);
}

static void functions_are_offsets_from_the_load_address(void **state)
{
    struct kit kit;
    (void)state;
    kit_build(&kit, &descriptor, full_job, NULL, false);
    const Weir__Vertex *one = kit_vertex(&kit, "to one"), *many = kit_vertex(&kit, "many");
    assert_int_equal(one->function->offset - many->function->offset, (uintptr_t)to_one - (uintptr_t)to_many);
    assert_int_equal(one->row_in->offset - one->row_out->offset, (uintptr_t)&weir_row_reading - (uintptr_t)&weir_row_one);
    assert_string_equal(one->row_out->symbol, "one");
    assert_string_equal(weir_graph_option(many, "row.in"), "n INT, text STRING");
    kit_fini(&kit);
}

static void a_graph_survives_the_wire(void **state)
{
    struct kit kit;
    (void)state;
    kit_build(&kit, &descriptor, full_job, NULL, false);
    size_t size = weir__job_graph__get_packed_size(kit.graph);
    uint8_t *bytes = malloc(size), *again = malloc(size);
    weir__job_graph__pack(kit.graph, bytes);
    Weir__JobGraph *copy = weir__job_graph__unpack(NULL, size, bytes);
    assert_non_null(copy);
    assert_int_equal(weir__job_graph__pack(copy, again), size);
    assert_memory_equal(bytes, again, size);
    weir__job_graph__free_unpacked(copy, NULL);
    free(bytes), free(again);
    kit_fini(&kit);
}

/* --- Row structs */

static void row_types_describe_their_structs(void **state)
{
    struct weir_schema *schema;
    struct weir_error error;
    struct one one = {.n = 1};
    (void)state;
    assert_int_equal(weir_sdk_row_schema(WEIR_ROW_OF(wide), &schema, &error), 0);
    assert_int_equal(schema->field_count, 64);
    assert_string_equal(schema->fields[63].name, "h7");
    assert_int_equal(weir_row_wide.fields[63].offset, 63);
    weir_schema_unref(schema);
    weir_set_null(&one, text, true);
    assert_int_equal(one.weir_nulls[0], 2);
    assert_true(weir_is_null(&one, text));
    assert_false(weir_is_null(&one, n));
    weir_set_null(&one, text, false);
    assert_int_equal(one.weir_nulls[0], 0);
    assert_int_equal(weir_row_one.nulls_offset, 0);
    assert_int_equal(weir_row_reading.nulls_offset, -1);
}

static void expect_bad_row(const struct weir_row_type *type, const char *sentence)
{
    struct weir_schema *schema = NULL;
    struct weir_error error;
    assert_int_equal(weir_sdk_row_schema(type, &schema, &error), WEIR_ERR_INVALID);
    if (!strstr(error.message, sentence))
        fail_msg("'%s' does not say '%s'", error.message, sentence);
}

static void row_types_from_outside_are_checked(void **state)
{
    (void)state;
    struct weir_row_field fields[2] = {{"a", "INT NOT NULL", 0, 4, WEIR_C_INT}, {"b", "INT NOT NULL", 4, 4, WEIR_C_INT}};
    struct weir_row_type type = {"t", 8, 2, fields, -1, 0};
    struct weir_schema *schema;
    assert_int_equal(weir_sdk_row_schema(&type, &schema, NULL), 0);
    weir_schema_unref(schema);
    fields[1].type = "DOUBLE NOT NULL";
    expect_bad_row(&type, "struct t, field b: its C type is an integer of 32 bits, which does not fit DOUBLE NOT NULL");
    fields[1].type = "INT";
    expect_bad_row(&type, "field b: INT may be NULL");
    fields[1].type = "INTEGR NOT NULL";
    expect_bad_row(&type, "struct t, field b: ");
    fields[1] = fields[0];
    expect_bad_row(&type, "names the field a twice");
    fields[1] = (struct weir_row_field){"b", "INT NOT NULL", 6, 4, WEIR_C_INT};
    expect_bad_row(&type, "not described by WEIR_FIELD");
    type.field_count = 65;
    expect_bad_row(&type, "1 to 64 fields");
    type.field_count = 0;
    expect_bad_row(&type, "1 to 64 fields");
}

/* --- Wrong calls: every one a sentence with its line, and all of them */

#define HERE(line) (line = __LINE__)
static int lines[20];

static void wrong_job(struct weir_job *job)
{
    struct weir_stream *input = readings(job);
    weir_sink(weir_window(weir_key_by(input, "device_id"), weir_tumbling("1 s")), "print", NULL), HERE(lines[0]);
    weir_filter(weir_sink(input, "print", NULL), "true"), HERE(lines[1]);
    weir_filter(NULL, "true"), HERE(lines[2]);
    weir_sink(weir_filter(input, NULL), "print", NULL), HERE(lines[3]);
    weir_sink(input, "print", "prefix", NULL), HERE(lines[4]);
    weir_sink(input, "print", "prefix", "a", "prefix", "b", NULL), HERE(lines[5]);
    weir_sink(weir_key_by(input, "a,,b"), "print", NULL), HERE(lines[6]);
    weir_parallelism(weir_sink(input, "print", NULL), 40000), HERE(lines[7]);
    weir_sink(weir_aggregate(weir_window(input, weir_tumbling("1 s")), "COUNT(*) AS n"), "print", NULL), HERE(lines[8]);
    weir_sink(weir_late(input), "print", NULL), HERE(lines[9]);
    weir_sink(weir_schema(weir_filter(input, "true"), WEIR_ROW_OF(one)), "print", NULL), HERE(lines[10]);
    weir_uid(weir_uid(weir_sink(input, "print", NULL), "same"), "same");
    weir_uid(weir_sink(input, "print", NULL), "same"), HERE(lines[11]);
    weir_sink(weir_map(input, .name = "empty"), "print", NULL), HERE(lines[12]);
    weir_sink(weir_map(input, .name = "libc", .in = WEIR_ROW_OF(reading), .out = WEIR_ROW_OF(one), .function = (void *)(uintptr_t)&strlen), "print", NULL), HERE(lines[13]);
    weir_sink(weir_bad(weir_source(job, "socket", "on-error", "skip", NULL)), "print", NULL), HERE(lines[14]);
}

static void every_wrong_call_is_reported_with_its_line(void **state)
{
    static const char *const sentences[] = {
        "a window that has no weir_aggregate() yet", "reads from a sink",          "is given NULL instead of a stream",
        "condition is NULL",                         "option 'prefix' has no value", "option 'prefix' is given twice",
        "a column has no name",                      "parallelism 40000",          "a window needs a keyed stream",
        "weir_late() is for windows",                "weir_schema() is for sources", "uid 'same' is already that of",
        "needs .in, .out and .function",             "must be defined in the job's own object", "on-error is 'skip'"};
    struct kit kit;
    (void)state;
    kit_build(&kit, &descriptor, wrong_job, NULL, false);
    assert_false(kit.ok);
    for (size_t i = 0; i < sizeof sentences / sizeof *sentences; i++) {
        char place[64];
        snprintf(place, sizeof place, "sdk_test.c:%d: ", lines[i]);
        const char *line = strstr(kit_text(&kit), place);
        const char *end = line ? strchr(line, '\n') : NULL;
        const char *said = line ? strstr(line, sentences[i]) : NULL;
        if (!said || said > end)
            fail_msg("line %d should say '%s':\n%s", lines[i], sentences[i], kit_text(&kit));
    }
    assert_int_equal(kit.errors.count, 15);
    kit_fini(&kit);
}

static void endless_job(struct weir_job *job)
{
    struct weir_stream *stream = readings(job);
    for (int i = 0; i < 5000; i++)
        stream = weir_filter(stream, "true");
}

static void the_number_of_operators_is_bounded(void **state)
{
    struct kit kit;
    (void)state;
    kit_build(&kit, &descriptor, endless_job, NULL, false);
    assert_false(kit.ok);
    assert_int_equal(kit.graph->n_vertices, 1000);
    assert_int_equal(kit.errors.count, 1);
    assert_non_null(strstr(kit_text(&kit), "at most 1000 operators"));
    kit_fini(&kit);
}

static void empty_job(struct weir_job *job)
{
    (void)job;
}

static void a_job_without_operators_is_refused(void **state)
{
    struct kit kit;
    (void)state;
    kit_build(&kit, &descriptor, empty_job, NULL, false);
    assert_false(kit.ok);
    assert_non_null(strstr(kit_text(&kit), "has no operators"));
    kit_fini(&kit);
}

/* --- Arguments */

static struct {
    char input[64];
    int64_t count, window_ms;
    double threshold;
    bool verbose;
} got;

static void argument_job(struct weir_job *job)
{
    snprintf(got.input, sizeof got.input, "%s", weir_arg(job, "input", NULL));
    got.count = weir_arg_int(job, "count", 5);
    got.threshold = weir_arg_double(job, "threshold", 1.5);
    got.window_ms = weir_arg_duration(job, "window", "10 s");
    got.verbose = weir_arg_bool(job, "verbose", false);
    weir_sink(readings(job), "print", NULL);
}

static void arguments_are_read_in_every_form(void **state)
{
    const char *const arguments[] = {"--input", "a b", "--count=-7", "--verbose", "--threshold", "-2.5", "--window=2 min", NULL};
    const char *const defaults[] = {"--input=", NULL};
    struct kit kit;
    (void)state;
    kit_build(&kit, &descriptor, argument_job, arguments, false);
    assert_string_equal(kit_text(&kit), "");
    assert_string_equal(got.input, "a b");
    assert_int_equal(got.count, -7);
    assert_true(got.threshold == -2.5);
    assert_int_equal(got.window_ms, 120000);
    assert_true(got.verbose);
    assert_int_equal(kit.graph->n_arguments, 7);
    kit_fini(&kit);
    kit_build(&kit, &descriptor, argument_job, defaults, false);
    assert_true(kit.ok);
    assert_int_equal(got.count, 5);
    assert_int_equal(got.window_ms, 10000);
    assert_false(got.verbose);
    kit_fini(&kit);
}

static void wrong_arguments_name_the_nearest(void **state)
{
    const char *const arguments[] = {"--inptu", "x", "--count", "seven", "lost", "--verbose=maybe", "--window", "long",
                                     "--count", "2", NULL};
    struct kit kit;
    (void)state;
    kit_build(&kit, &descriptor, argument_job, arguments, false);
    assert_false(kit.ok);
    static const char *const sentences[] = {"no argument --inptu; did you mean --input?", "needs an argument: --input VALUE",
                                            "--count: 'seven' is not a whole number", "'lost' is not of the form --name value",
                                            "--verbose: 'maybe' is neither true nor false", "--window: 'long' is not a duration",
                                            "--count is given twice"};
    for (size_t i = 0; i < sizeof sentences / sizeof *sentences; i++)
        if (!strstr(kit_text(&kit), sentences[i]))
            fail_msg("missing '%s':\n%s", sentences[i], kit_text(&kit));
    kit_fini(&kit);
}

static void dead_letter_job(struct weir_job *job)
{
    weir_sink(weir_columns(weir_source(job, "filesystem", "path", "in", "format", "json", "on-error", "dead-letter",
                                       "dead-letter.path", "out/bad", NULL), "a INT"), "print", NULL);
}

static void dead_letter_topic_job(struct weir_job *job)
{
    struct weir_stream *s = weir_source(job, "kafka", "topic", "in", "properties.bootstrap.servers", "b:1", "properties.group.id", "g",
                                        "properties.sasl.password", "secret", "format", "json", "on-error", "dead-letter",
                                        "dead-letter.topic", "in-dead", "dead-letter.path", "", "dead-letter.properties.bootstrap.servers",
                                        "other:1", "dead-letter.delivery-guarantee", "at-least-once", NULL);
    weir_sink(weir_uid(weir_columns(s, "a INT"), "in-v1"), "print", NULL);
}

static void a_dead_letter_topic_becomes_a_sink_of_messages(void **state)
{
    struct kit kit;
    (void)state;
    kit_build(&kit, &descriptor, dead_letter_topic_job, NULL, false);
    assert_true(kit.ok);
    const Weir__Vertex *sink = kit_vertex(&kit, "kafka dead letters"), *source = kit_vertex(&kit, "kafka");
    static const char *const options[][2] = {{"connector", "kafka"}, {"topic", "in-dead"}, {"dead-letters", "true"},
                                             {"properties.bootstrap.servers", "other:1"},
                                             {"properties.sasl.password", "secret"},
                                             {"delivery-guarantee", "at-least-once"}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        assert_string_equal(weir_graph_option(sink, options[i][0]), options[i][1]);
    assert_null(weir_graph_option(sink, "properties.group.id")); /* a producer knows no groups */
    assert_null(weir_graph_option(sink, "path"));
    assert_string_equal(sink->uid, "in-v1-dead-letters");
    assert_string_equal(weir_graph_option(source, "dead-letter.size-max"), "900 kb");
    assert_string_equal(weir_graph_option(source, "properties.bootstrap.servers"), "b:1");
    assert_null(weir_graph_option(source, "dead-letter.topic"));
    kit_fini(&kit);
}

static void wrong_dead_letter_job(struct weir_job *job)
{
    struct weir_stream *none = weir_source(job, "filesystem", "path", "in", "format", "json", "dead-letter.path", "bad", NULL);
    struct weir_stream *both = weir_source(job, "filesystem", "path", "in", "format", "json", "on-error", "dead-letter",
                                           "dead-letter.path", "bad", "dead-letter.topic", "bad", NULL);
    struct weir_stream *nowhere = weir_source(job, "filesystem", "path", "in", "format", "json", "on-error", "dead-letter",
                                              "dead-letter.sink.partitioner", "fixed", NULL);
    weir_sink(weir_columns(none, "a INT"), "print", NULL);
    weir_sink(weir_columns(both, "a INT"), "print", NULL);
    weir_sink(weir_columns(nowhere, "a INT"), "print", NULL);
}

static void dead_letters_that_go_nowhere_are_refused(void **state)
{
    struct kit kit;
    (void)state;
    kit_build(&kit, &descriptor, wrong_dead_letter_job, NULL, false);
    assert_false(kit.ok);
    static const char *const sentences[] = {"dead-letter.path needs on-error = dead-letter",
                                            "either dead-letter.path or dead-letter.topic",
                                            "dead-letter.* needs dead-letter.path or dead-letter.topic"};
    for (size_t i = 0; i < sizeof sentences / sizeof *sentences; i++)
        if (!strstr(kit_text(&kit), sentences[i]))
            fail_msg("missing '%s':\n%s", sentences[i], kit_text(&kit));
    kit_fini(&kit);
}

static void a_dead_letter_path_becomes_a_sink(void **state)
{
    struct kit kit;
    (void)state;
    kit_build(&kit, &descriptor, dead_letter_job, NULL, false);
    assert_true(kit.ok);
    const Weir__Vertex *sink = kit_vertex(&kit, "filesystem dead letters");
    assert_string_equal(weir_graph_option(sink, "path"), "out/bad");
    assert_null(weir_graph_option(kit_vertex(&kit, "filesystem"), "dead-letter.path"));
    assert_int_equal(kit_edge(&kit, "filesystem", "filesystem dead letters")->from_output, 2);
    kit_fini(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_become_vertices_and_edges),
        cmocka_unit_test(functions_are_offsets_from_the_load_address),
        cmocka_unit_test(a_graph_survives_the_wire),
        cmocka_unit_test(row_types_describe_their_structs),
        cmocka_unit_test(row_types_from_outside_are_checked),
        cmocka_unit_test(every_wrong_call_is_reported_with_its_line),
        cmocka_unit_test(the_number_of_operators_is_bounded),
        cmocka_unit_test(a_job_without_operators_is_refused),
        cmocka_unit_test(arguments_are_read_in_every_form),
        cmocka_unit_test(wrong_arguments_name_the_nearest),
        cmocka_unit_test(a_dead_letter_path_becomes_a_sink),
        cmocka_unit_test(a_dead_letter_topic_becomes_a_sink_of_messages),
        cmocka_unit_test(dead_letters_that_go_nowhere_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
