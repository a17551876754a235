/* map and flat_map over row structs: every type both ways, NULLs, what user code may write wrong, many rows from one call. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ops/harness.h"
#include "ops/ops_int.h"
#include "weir/weir.h"

struct all {
    WEIR_NULLS(all);
    bool b;
    int8_t i8;
    int16_t i16;
    int32_t i32;
    int64_t i64;
    float f;
    double d;
    struct weir_str s;
    struct weir_str y;
    int32_t date;
    weir_ts timestamp;
};
WEIR_ROW_NULLS(all, WEIR_FIELD(b, "BOOLEAN"), WEIR_FIELD(i8, "TINYINT"), WEIR_FIELD(i16, "SMALLINT"),
               WEIR_FIELD(i32, "INT"), WEIR_FIELD(i64, "BIGINT"), WEIR_FIELD(f, "FLOAT"), WEIR_FIELD(d, "DOUBLE"),
               WEIR_FIELD(s, "STRING"), WEIR_FIELD(y, "BYTES"), WEIR_FIELD(date, "DATE"),
               WEIR_FIELD(timestamp, "TIMESTAMP(3)"));
#define ALL \
    "b BOOLEAN, i8 TINYINT, i16 SMALLINT, i32 INT, i64 BIGINT, f FLOAT, d DOUBLE, s STRING, y BYTES, date DATE, timestamp TIMESTAMP(3)"

struct pair {
    int64_t id;
    struct weir_str name;
};
WEIR_ROW(pair, WEIR_FIELD(id, "BIGINT NOT NULL"), WEIR_FIELD(name, "STRING NOT NULL"));
#define PAIR "id BIGINT NOT NULL, name STRING NOT NULL"

struct number {
    WEIR_NULLS(number);
    int64_t id;
};
WEIR_ROW_NULLS(number, WEIR_FIELD(id, "BIGINT NOT NULL"));
#define NUMBER "id BIGINT NOT NULL"

static const char *const all_options[] = {"row.in", ALL, NULL};
static const char *const pair_options[] = {"row.in", PAIR, NULL};
static const char *const number_options[] = {"row.in", NUMBER, NULL};

static struct weir_harness_setup setup_of(const struct weir_op_vtable *op, const char *const *options, const char *in,
                                          const char *out, const void *row_in, const void *row_out, void *function)
{
    return (struct weir_harness_setup){.op = op,
                                       .options = options,
                                       .inputs = {in},
                                       .declared = out,
                                       .row_in = row_in,
                                       .row_out = row_out,
                                       .function = function};
}

static int copy_all(struct weir_ctx *ctx, const struct all *in, struct all *out)
{
    (void)ctx;
    *out = *in;
    return 0;
}

static void all_scenario(struct weir_harness *h, void *arg)
{
    (void)arg;
    assert_true(weir_harness_rows_in(h, 0,
                                     "true|-1|-300|70000|5000000000|0.5|1.25|héllo|ab|2020-01-02|2020-01-02T00:00:01Z\n"
                                     "null|null|null|null|null|null|null|null|null|null|null\n"
                                     "false|127|32767|1|2|-0.5|-3|||1970-01-01|1970-01-01T00:00:00Z"));
    assert_true(weir_harness_rows_in(h, 0, "null|1|null|2|null|3|null|x|null|1999-12-31|null"));
    assert_true(weir_harness_end(h));
}

static void all_check(struct weir_harness *h, void *arg)
{
    struct weir_batch *same = weir_harness_batch_of(
        weir_harness_schema(h, 0), "true|-1|-300|70000|5000000000|0.5|1.25|héllo|ab|2020-01-02|2020-01-02T00:00:01Z\n"
                                   "null|null|null|null|null|null|null|null|null|null|null\n"
                                   "false|127|32767|1|2|-0.5|-3|||1970-01-01|1970-01-01T00:00:00Z\n"
                                   "null|1|null|2|null|3|null|x|null|1999-12-31|null");
    struct weir_buf text;
    (void)arg;
    weir_buf_init(&text, 1 << 20);
    for (int i = 0; i < same->row_count; i++) {
        weir_harness_print_row(same, i, &text);
        assert_true(weir_buf_puts(&text, "\n"));
    }
    /* As the harness prints them: one row a line. */
    const char *rows = weir_harness_rows(h, 0);
    size_t size = strlen(rows);
    assert_true(text.size == size || text.size == size + 1);
    assert_memory_equal(rows, text.data, size);
    weir_buf_fini(&text);
    weir_batch_unref(same);
}

static void every_type_goes_through_unchanged(void **state)
{
    struct weir_harness_setup setup =
        setup_of(&weir_op_map, all_options, ALL, ALL, &weir_row_all, &weir_row_all, (void *)copy_all);
    (void)state;
    weir_harness_all_modes(&setup, all_scenario, all_check, NULL);
}

/* Writes into memory of its own that the next call overwrites: results must have been copied by then. */
static int rename_static(struct weir_ctx *ctx, const struct pair *in, struct pair *out)
{
    static char text[64];
    snprintf(text, sizeof text, "%.*s-%lld", (int)in->name.size, in->name.data, (long long)in->id);
    out->id = in->id * 2;
    out->name = weir_str(text);
    (void)ctx;
    return 0;
}

static void rename_scenario(struct weir_harness *h, void *arg)
{
    char rows[8192];
    size_t size = 0;
    (void)arg;
    for (int i = 0; i < 300; i++)
        size += (size_t)snprintf(rows + size, sizeof rows - size, "%s%d|n%d", i ? "\n" : "", i, i % 7);
    assert_true(weir_harness_rows_in(h, 0, rows));
    assert_true(weir_harness_end(h));
    assert_int_equal(weir_harness_row_count(h, 0), 300);
}

static void rename_check(struct weir_harness *h, void *arg)
{
    (void)arg;
    assert_non_null(strstr(weir_harness_rows(h, 0), "0|n0-0\n2|n1-1\n"));
    assert_non_null(strstr(weir_harness_rows(h, 0), "598|n5-299"));
}

static void strings_are_copied_at_once(void **state)
{
    struct weir_harness_setup setup =
        setup_of(&weir_op_map, pair_options, PAIR, PAIR, &weir_row_pair, &weir_row_pair, (void *)rename_static);
    (void)state;
    weir_harness_all_modes(&setup, rename_scenario, rename_check, NULL);
}

/* id times itself, with text made in scratch memory. */
static int repeat(struct weir_ctx *ctx, const struct number *in, struct weir_out_rows *out)
{
    for (int64_t i = 0; i < in->id; i++) {
        char *text = ctx->scratch(ctx, 32);
        struct pair pair = {
            .id = i, .name = {text, (size_t)snprintf(text, 32, "%lld of %lld", (long long)i, (long long)in->id)}};
        int result = weir_emit(out, &pair);
        if (result)
            return result;
    }
    return 0;
}

static void repeat_scenario(struct weir_harness *h, void *arg)
{
    (void)arg;
    assert_true(weir_harness_rows_in(h, 0, "0\n3\n9000\n1\n0"));
    assert_int_equal(weir_harness_row_count(h, 0), 9004);
    assert_true(weir_harness_rows_in(h, 0, "0"));
    assert_true(weir_harness_rows_in(h, 0, "2"));
    assert_true(weir_harness_end(h));
    assert_int_equal(weir_harness_row_count(h, 0), 9006);
}

static void repeat_check(struct weir_harness *h, void *arg)
{
    (void)arg;
    assert_non_null(strstr(weir_harness_rows(h, 0), "0|0 of 3\n1|1 of 3\n2|2 of 3\n0|0 of 9000\n"));
    assert_non_null(strstr(weir_harness_rows(h, 0), "8999|8999 of 9000\n0|0 of 1\n0|0 of 2\n1|1 of 2"));
}

static void one_call_may_emit_many_batches(void **state)
{
    struct weir_harness_setup setup =
        setup_of(&weir_op_flat_map, number_options, NUMBER, PAIR, &weir_row_number, &weir_row_pair, (void *)repeat);
    (void)state;
    weir_harness_all_modes(&setup, repeat_scenario, repeat_check, NULL);
}

/* --- What user code does wrong */

enum wrong { FAILS, RETURNS, NULL_POINTER, BAD_UTF8, LONELY_TAIL };

static int wrong_pair(struct weir_ctx *ctx, const struct number *in, struct pair *out)
{
    out->name = weir_str("fine");
    if (in->id == FAILS)
        return WEIR_FAIL(ctx, "no price for %d", 7);
    if (in->id == RETURNS)
        return 3;
    if (in->id == NULL_POINTER)
        out->name = (struct weir_str){NULL, 5};
    if (in->id == BAD_UTF8)
        out->name = weir_str("abcdefgh\xff");
    if (in->id == LONELY_TAIL)
        out->name = weir_str("\xc3");
    return 0;
}

static int wrong_emit(struct weir_ctx *ctx, const struct number *in, struct weir_out_rows *out)
{
    struct pair pair = {.name = weir_str("")};
    int result = wrong_pair(ctx, in, &pair);
    if (result)
        return result;
    (void)weir_emit(out, &pair); /* the code is dropped: the operator must notice all the same */
    return 0;
}

static int wrong_null(struct weir_ctx *ctx, const struct number *in, struct number *out)
{
    (void)ctx;
    out->id = in->id;
    weir_set_null(out, id, in->id == 2);
    return 0;
}

static void expect_failure(const struct weir_harness_setup *setup, const char *rows, const char *sentence)
{
    for (const struct weir_harness_mode *mode = weir_harness_modes; mode->name; mode++) {
        struct weir_error error;
        struct weir_harness *h = weir_harness_new(setup, mode, &error);
        assert_non_null(h);
        assert_false(weir_harness_rows_in(h, 0, rows));
        if (!strstr(weir_harness_error(h), sentence))
            fail_msg("mode %s: '%s' does not say '%s'", mode->name, weir_harness_error(h), sentence);
        assert_non_null(strstr(weir_harness_error(h), "tested"));
        weir_harness_free(h);
    }
}

static void what_a_function_does_wrong_is_said(void **state)
{
    static const struct {
        enum wrong wrong;
        const char *sentence;
    } cases[] = {{FAILS, "no price for 7"},
                 {RETURNS, "the function returned 3"},
                 {NULL_POINTER, "'name' a NULL pointer and 5 bytes"},
                 {BAD_UTF8, "'name' text that is not valid UTF-8"},
                 {LONELY_TAIL, "'name' text that is not valid UTF-8"}};
    (void)state;
    for (int flat = 0; flat < 2; flat++) {
        struct weir_harness_setup setup =
            setup_of(flat ? &weir_op_flat_map : &weir_op_map, number_options, NUMBER, PAIR, &weir_row_number,
                     &weir_row_pair, flat ? (void *)wrong_emit : (void *)wrong_pair);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            char rows[64];
            snprintf(rows, sizeof rows, "100\n101\n%d\n102", (int)cases[i].wrong);
            expect_failure(&setup, rows, cases[i].sentence);
        }
    }
    struct weir_harness_setup setup =
        setup_of(&weir_op_map, number_options, NUMBER, NUMBER, &weir_row_number, &weir_row_number, (void *)wrong_null);
    expect_failure(&setup, "1\n2\n3", "left 'id' NULL, which is NOT NULL");
    /* The record that did it is named. */
    expect_failure(&setup, "1\n2\n3", "2");
}

static void expect_refusal(const char *input, const char *sentence)
{
    struct weir_harness_setup setup =
        setup_of(&weir_op_map, pair_options, input, PAIR, &weir_row_pair, &weir_row_pair, (void *)rename_static);
    struct weir_error error;
    assert_null(weir_harness_new(&setup, &weir_harness_modes[0], &error));
    if (!strstr(error.message, sentence))
        fail_msg("'%s' does not say '%s'", error.message, sentence);
}

static void input_columns_must_fit_the_struct(void **state)
{
    (void)state;
    expect_refusal("ids BIGINT NOT NULL, name STRING NOT NULL", "no column 'id'; did you mean 'ids'");
    expect_refusal("id INT NOT NULL, name STRING NOT NULL",
                   "column 'id' is INT NOT NULL, but the row struct has it as BIGINT NOT NULL");
    expect_refusal("id BIGINT NOT NULL, name STRING", "column 'name' may be NULL");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_goes_through_unchanged), cmocka_unit_test(strings_are_copied_at_once),
        cmocka_unit_test(one_call_may_emit_many_batches),    cmocka_unit_test(what_a_function_does_wrong_is_said),
        cmocka_unit_test(input_columns_must_fit_the_struct),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
