/* weir_process() as the builder records and checks it: states, functions, keys; and what does not compile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "sdk_kit.h"

struct reading {
    struct weir_str device_id;
    double temperature;
};
WEIR_ROW(reading, WEIR_FIELD(device_id, "STRING NOT NULL"), WEIR_FIELD(temperature, "DOUBLE NOT NULL"));
struct versioned {
    int64_t a;
    int64_t b;
};
WEIR_ROW(versioned, WEIR_FIELD(a, "BIGINT NOT NULL"), WEIR_FIELD(b, "BIGINT NOT NULL DEFAULT 7"));

WEIR_VALUE_STATE(last_seen, "DOUBLE", .ttl = "1 h", .ttl_update = WEIR_TTL_ON_WRITE);
WEIR_VALUE_STATE_OF(later, versioned);
WEIR_BROADCAST_STATE(rules, "STRING", "DOUBLE");

static int on_row(struct weir_ctx *ctx, const struct reading *r, struct weir_out_rows *out)
{
    return weir_value_put(ctx, &last_seen, &r->temperature) || weir_emit(out, r);
}

static int on_timer(struct weir_ctx *ctx, weir_ts time, struct weir_out_rows *out)
{
    (void)time, (void)out;
    return weir_value_clear(ctx, &last_seen);
}

WEIR_SIDE_OUTPUT(rejects, versioned);
WEIR_SIDE_OUTPUT(alarms, reading);
WEIR_SIDE_OUTPUT(too_many, reading);

static struct weir_job_descriptor descriptor;

static struct weir_stream *numbers(struct weir_job *job, const char *columns)
{
    return weir_columns(weir_source(job, "datagen", "rows", "10", NULL), columns);
}

#define READING "device_id STRING NOT NULL, temperature DOUBLE NOT NULL"

static void good_job(struct weir_job *job)
{
    struct weir_stream *a = weir_key_by(numbers(job, READING), "device_id");
    struct weir_stream *one = weir_process(a, .name = "one", .in = WEIR_ROW_OF(reading), .out = WEIR_ROW_OF(reading),
                                           .on_row = __extension__(const void *) on_row, .on_timer = on_timer);
    struct weir_stream *two =
        weir_process2(weir_key_by(one, "device_id"), weir_broadcast(numbers(job, READING)), .name = "two",
                      WEIR_ON_ROW(reading, reading, on_row), WEIR_ON_ROW2(reading, on_row));
    weir_uid(two, "two-v1");
    weir_sink(weir_side_output(two, &rejects), "blackhole", NULL);
    weir_sink(weir_side_output(two, &alarms), "blackhole", NULL);
    weir_sink(weir_side_output(two, &rejects), "blackhole", NULL); /* once more: the same output */
    weir_sink(weir_process(two, WEIR_ON_ROW(reading, reading, on_row)), "blackhole", NULL);
}

static void processes_become_vertices(void **state)
{
    struct kit kit;
    (void)state;
    kit_build(&kit, &descriptor, good_job, NULL, true);
    assert_string_equal(kit_text(&kit), "");
    assert_true(kit.ok);
    const Weir__Vertex *one = kit_vertex(&kit, "one"), *two = kit_vertex(&kit, "two");
    assert_string_equal(one->op, "process");
    assert_string_equal(weir_graph_option(one, "row.in"), READING);
    assert_int_equal(one->on_timer->offset - one->function->offset, (uintptr_t)on_timer - (uintptr_t)on_row);
    assert_null(one->function2);
    assert_int_equal(one->n_states, 3);
    bool found = false;
    for (size_t i = 0; i < one->n_states; i++)
        found |= strcmp(one->states[i]->symbol, "last_seen") == 0;
    assert_true(found);
    assert_string_equal(two->uid, "two-v1");
    assert_int_equal(one->n_side_outputs, 0);
    assert_int_equal(two->n_side_outputs, 2);
    assert_string_equal(two->side_outputs[0]->fields[1]->name, "b");
    assert_int_equal(two->n_sides, 2);
    assert_string_equal(two->sides[1]->symbol, "alarms");
    assert_string_equal(weir_graph_option(two, "row.side2"), READING);
    assert_int_equal(two->function2->offset, two->function->offset);
    assert_string_equal(weir_graph_option(two, "row.in2"), READING);
    kit_fini(&kit);
}

/* --- What is refused */

static struct weir_process_spec spec;
static const struct weir_state_decl *declared[70];
static int declared_count;
static int shape; /* of the streams */

static void bad_job(struct weir_job *job)
{
    struct weir_stream *a = numbers(job, READING),
                       *b = numbers(job, "device_id BIGINT NOT NULL, temperature DOUBLE NOT NULL");
    struct weir_second second = {weir_key_by(b, "device_id")};
    struct weir_process_spec given = spec;
    given.states = declared;
    given.states_end = declared + declared_count;
    if (shape == 1)
        second.stream = weir_rebalance(a);
    if (shape == 3)
        second.stream = weir_key_by(a, "device_id, temperature");
    if (shape == 4)
        second.stream = weir_key_by(weir_select(b, "device_id, temperature"), "device_id");
    struct weir_stream *first = shape == 2 || shape == 5 ? a : weir_key_by(a, "device_id");
    weir_sink(weir_process_at("job.c", 7, first, shape == 0 || shape == 5 ? NULL : &second, &given), "blackhole", NULL);
    if (shape == 0 || shape == 5 || shape == 1 || shape == 3)
        weir_sink(b, "blackhole", NULL);
}

static void expect(const char *sentence)
{
    struct kit kit;
    kit_build(&kit, &descriptor, bad_job, NULL, true);
    assert_false(kit.ok);
    if (!strstr(kit_text(&kit), sentence))
        fail_msg("'%s' does not say '%s'", kit_text(&kit), sentence);
    kit_fini(&kit);
}

static void good_spec(void)
{
    spec = (struct weir_process_spec){.size = sizeof spec, .name = "p", WEIR_ON_ROW(reading, reading, on_row)};
    declared_count = 0;
    shape = 0;
}

static void specs_are_checked(void **state)
{
    (void)state;
    good_spec();
    spec.on_row = NULL;
    expect("job.c:7: p: it needs .in, .out and .on_row: WEIR_ON_ROW(in, out, function) sets them");
    good_spec();
    spec.in2 = WEIR_ROW_OF(reading);
    expect(".in2 and .on_row2 are for weir_process2()");
    good_spec();
    shape = 5;
    spec.on_timer = on_timer;
    expect("timers need a keyed stream");
    good_spec();
    spec.in = WEIR_ROW_OF(versioned);
    expect("row.in: the input has no column 'a'");
    good_spec();
    spec.on_row = __extension__(const void *) printf;
    expect("must be defined in the job's own object");
    good_spec();
    shape = 1;
    expect("it needs .in2 and .on_row2");
    spec.in2 = WEIR_ROW_OF(reading);
    spec.on_row2 = spec.on_row;
    expect("the second must be weir_key_by() as well, or weir_broadcast()");
    shape = 2;
    expect("its second stream is keyed, so the first must be");
    shape = 3;
    expect("its inputs are keyed by 1 and 2 columns");
    shape = 4;
    expect("row.in2: column 'device_id' is BIGINT NOT NULL");
}

static struct weir_state_decl bad;
static void bad_state(void)
{
    good_spec();
    bad = last_seen.decl;
    declared[0] = &bad;
    declared_count = 1;
}

static void states_are_checked(void **state)
{
    (void)state;
    static struct weir_state_decl many[65];
    static char names[65][16];
    bad_state();
    bad.type = "DOUBEL";
    expect("state 'last_seen' (");
    bad_state();
    bad.name = "_mine";
    expect("begins with a letter");
    bad_state();
    bad.ttl = "soon";
    expect(".ttl 'soon' is not a duration");
    bad_state();
    bad.form = WEIR_FORM_BROADCAST;
    bad.key_type = "STRING";
    expect(".ttl is for keyed state");
    bad_state();
    bad.form = WEIR_FORM_REDUCING;
    expect("it has no function to add with");
    bad_state();
    bad.form = 99;
    expect("a state's name has letters");
    bad_state();
    declared[1] = &last_seen.decl;
    declared_count = 2;
    expect("two states are named 'last_seen'");
    good_spec();
    for (declared_count = 0; declared_count < 65; declared_count++) {
        many[declared_count] = last_seen.decl;
        snprintf(names[declared_count], sizeof names[0], "s%d", declared_count);
        many[declared_count].name = names[declared_count];
        declared[declared_count] = &many[declared_count];
    }
    expect("a job declares at most 64 states");
}

static void sides_job(struct weir_job *job)
{
    struct weir_stream *in = numbers(job, READING);
    struct weir_stream *made = weir_process(in, .name = "p", WEIR_ON_ROW(reading, reading, on_row));
    weir_sink(made, "blackhole", NULL);
    weir_sink(weir_side_output(made, &rejects), "blackhole", NULL);
    weir_sink(weir_side_output(made, &alarms), "blackhole", NULL);
    weir_sink(weir_side_output(made, &too_many), "blackhole", NULL);
    weir_sink(weir_side_output(weir_filter(in, "temperature > 1"), &alarms), "blackhole", NULL);
}

static void side_outputs_are_checked(void **state)
{
    struct kit kit;
    (void)state;
    kit_build(&kit, &descriptor, sides_job, NULL, true);
    assert_false(kit.ok);
    const char *third = "the side output 'too_many' is its third (it has 'rejects' and 'alarms')";
    if (!strstr(kit_text(&kit), third) ||
        !strstr(kit_text(&kit), "weir_side_output() is for weir_process(); 'filter' is a filter"))
        fail_msg("%s", kit_text(&kit));
    kit_fini(&kit);
}

struct bad_default {
    int64_t a;
};
WEIR_ROW(bad_default, WEIR_FIELD(a, "BIGINT NOT NULL DEFAULT many"));

static void defaults_are_checked(void **state)
{
    struct weir_schema *schema = NULL;
    struct weir_error error;
    (void)state;
    assert_int_equal(weir_sdk_row_schema(WEIR_ROW_OF(bad_default), &schema, &error), WEIR_ERR_INVALID);
    assert_non_null(
        strstr(error.message, "struct bad_default, field a: BIGINT NOT NULL DEFAULT many: the default is no value"));
    assert_int_equal(weir_sdk_row_schema(WEIR_ROW_OF(versioned), &schema, &error), 0);
    weir_schema_unref(schema);
}

/* --- What does not compile */

static int compiles(const char *body)
{
    char path[] = "/tmp/weir-process-XXXXXX", command[400];
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "w");
    assert_non_null(file);
    fprintf(file,
            "#include <weir/weir.h>\n"
            "struct r { int64_t k; double d; };\n"
            "WEIR_ROW(r, WEIR_FIELD(k, \"BIGINT NOT NULL\"), WEIR_FIELD(d, \"DOUBLE NOT NULL\"));\n"
            "WEIR_VALUE_STATE(v, \"DOUBLE\");\nWEIR_LIST_STATE_OF(l, r);\nWEIR_MAP_STATE(m, \"STRING\", \"INT\");\n"
            "static int sum(struct weir_ctx *c, int64_t *s, const int64_t *v) { (void)c; *s += *v; return 0; }\n"
            "WEIR_REDUCING_STATE(s, \"BIGINT\", sum);\n%s\n",
            body);
    fclose(file);
    const char *compiler = getenv("CC");
    snprintf(command, sizeof command, "%s -std=c11 -Wall -Wextra -Werror -Iinclude -fsyntax-only -x c %s 2>/dev/null",
             compiler ? compiler : "cc", path);
    int result = system(command);
    unlink(path);
    return result == 0;
}

#define FUNCTION(body) \
    "int f(struct weir_ctx *ctx, const struct r *in);\nint f(struct weir_ctx *ctx, const struct r *in)\n{ " body " }"

static void wrong_c_types_do_not_compile(void **state)
{
    (void)state;
    assert_true(compiles(FUNCTION("double *d = weir_value_get(ctx, &v); weir_reducing_add(ctx, &s, &in->k);"
                                  "return weir_value_put(ctx, &v, &in->d) + weir_list_add(ctx, &l, in) + (d != 0);")));
    assert_false(compiles(FUNCTION("return weir_value_put(ctx, &v, &in->k);")));
    assert_false(compiles(FUNCTION("int64_t *d = weir_value_get(ctx, &v); return d == 0;")));
    assert_false(compiles(FUNCTION("return weir_list_add(ctx, &v, &in->d);")));
    assert_false(compiles(FUNCTION("return weir_list_add(ctx, &l, &in->d);")));
    assert_false(compiles(FUNCTION("return weir_map_put(ctx, &m, &in->k, &(int32_t){1});")));
    assert_false(compiles(FUNCTION("struct weir_str k = {0, 0}; return weir_map_put(ctx, &m, &k, &in->k);")));
    assert_false(compiles(FUNCTION("return weir_reducing_add(ctx, &s, &in->d);")));
    assert_false(compiles(FUNCTION("return weir_value_clear(ctx, &l) + (in == 0);")));
    assert_false(compiles("WEIR_REDUCING_STATE(t, \"DOUBLE\", sum);"));
    assert_false(compiles("WEIR_VALUE_STATE(t, \"DOUBEL\");"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(processes_become_vertices),    cmocka_unit_test(specs_are_checked),
        cmocka_unit_test(states_are_checked),           cmocka_unit_test(defaults_are_checked),
        cmocka_unit_test(wrong_c_types_do_not_compile), cmocka_unit_test(side_outputs_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
