/* filter, select, watermark and union in every mode of the harness. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "ops/harness.h"
#include "ops/ops_int.h"

#define READING "device STRING NOT NULL, heat INT, ts TIMESTAMP(3) NOT NULL"
#define OPTIONS(...) ((const char *[]){__VA_ARGS__, NULL})

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("'%s' is not in: %s", part, text);
}

static void give(struct weir_harness *h, void *arg)
{
    if (!weir_harness_rows_in(h, 0, arg))
        fail_msg("%s", weir_harness_error(h));
    assert_true(weir_harness_end(h));
}

static void check_rows(struct weir_harness *h, const char *wanted)
{
    assert_string_equal(weir_harness_rows(h, 0), wanted);
    assert_int_equal(weir_harness_watermark_out(h), WEIR_WATERMARK_MAX);
}

static char rows[] = "a|95|1000\nb|90|2000\nc|null|3000\nd|91|4000\ne|0|5000";

/* --- filter */

static void check_hot(struct weir_harness *h, void *arg)
{
    (void)arg;
    check_rows(h, "a|95|1970-01-01 00:00:01.000\nd|91|1970-01-01 00:00:04.000\n");
}
static void check_all(struct weir_harness *h, void *arg)
{
    (void)arg;
    assert_int_equal(weir_harness_row_count(h, 0), 5);
}
static void check_none(struct weir_harness *h, void *arg)
{
    (void)arg;
    check_rows(h, "");
}

static void test_filter(void **state)
{
    (void)state;
    struct weir_harness_setup setup = {.op = &weir_op_filter, .inputs = {READING}};
    setup.options = OPTIONS("condition", "heat > 90"); /* NULL is not TRUE */
    weir_harness_all_modes(&setup, give, check_hot, rows);
    setup.options = OPTIONS("condition", "device <> ''");
    weir_harness_all_modes(&setup, give, check_all, rows);
    setup.options = OPTIONS("condition", "heat > 1000");
    weir_harness_all_modes(&setup, give, check_none, rows);
}

static void check_skip(struct weir_harness *h, void *arg)
{
    (void)arg;
    check_rows(h, "a|95|1970-01-01 00:00:01.000\nb|90|1970-01-01 00:00:02.000\nd|91|1970-01-01 00:00:04.000\n");
    assert_int_equal(weir_harness_bad(h), 1);
}

static void test_filter_errors(void **state)
{
    (void)state;
    struct weir_harness_setup setup = {.op = &weir_op_filter, .inputs = {READING}};
    struct weir_error error;
    setup.options = OPTIONS("condition", "1000 / heat > 1");
    struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
    assert_false(weir_harness_rows_in(h, 0, rows));
    assert_contains(weir_harness_error(h), "tested: record ");
    assert_contains(weir_harness_error(h), "e"); /* the row itself */
    assert_int_equal(weir_harness_row_count(h, 0), 0);
    weir_harness_free(h);
    setup.options = OPTIONS("condition", "1000 / heat > 1", "on-error", "skip");
    weir_harness_all_modes(&setup, give, check_skip, rows);
    /* Only bad rows. */
    h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
    assert_true(weir_harness_rows_in(h, 0, "a|0|0\nb|0|0"));
    assert_int_equal(weir_harness_row_count(h, 0), 0);
    assert_int_equal(weir_harness_bad(h), 2);
    weir_harness_free(h);
}

/* Against a plain model: a random mixture of bad, true and false rows. */
static void test_filter_random(void **state)
{
    (void)state;
    struct weir_harness_setup setup = {.op = &weir_op_filter,
                                       .options = OPTIONS("condition", "100 / x >= 20", "on-error", "skip"),
                                       .inputs = {"x INT, y BIGINT NOT NULL"}};
    uint64_t seed = 3;
    for (int round = 0; round < 50; round++) {
        struct weir_error error;
        struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[round % 6], &error);
        struct weir_buf in, want;
        weir_buf_init(&in, 1 << 20);
        weir_buf_init(&want, 1 << 20);
        int count = 1 + round * 7, bad = 0;
        for (int i = 0; i < count; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            int x = (int)((seed >> 33) % 10) - (round % 3 ? 0 : 9); /* every third round: all are bad or negative */
            assert_true(weir_buf_printf(&in, "%d|%d\n", x, i));
            bad += x == 0;
            if (x != 0 && 100 / x >= 20)
                assert_true(weir_buf_printf(&want, "%d|%d\n", x, i));
        }
        assert_true(weir_harness_rows_in(h, 0, (const char *)in.data));
        assert_string_equal(weir_harness_rows(h, 0), want.data ? (const char *)want.data : "");
        assert_int_equal(weir_harness_bad(h), bad);
        weir_buf_fini(&in);
        weir_buf_fini(&want);
        weir_harness_free(h);
    }
}

static void refused(const struct weir_op_vtable *op, const char *const *options, const char *part)
{
    struct weir_harness_setup setup = {.op = op, .options = options, .inputs = {READING}};
    struct weir_error error;
    assert_null(weir_harness_new(&setup, &weir_harness_modes[0], &error));
    assert_contains(error.message, part);
}

static void test_refused(void **state)
{
    (void)state;
    refused(&weir_op_filter, NULL, "'condition' is missing");
    refused(&weir_op_filter, OPTIONS("conditon", "TRUE"), "did you mean 'condition'?");
    refused(&weir_op_filter, OPTIONS("condition", "heat + 1"), "must be BOOLEAN");
    refused(&weir_op_filter, OPTIONS("condition", "heat > tempo"), "condition, column 8: ");
    refused(&weir_op_filter, OPTIONS("condition", "heat >"), "condition");
    refused(&weir_op_filter, OPTIONS("condition", "TRUE", "on-error", "panic"), "fail|skip");
    refused(&weir_op_select, OPTIONS("columns", "device, hit"), "columns, column 9: ");
    refused(&weir_op_select, NULL, "'columns' is missing");
    refused(&weir_op_watermark, OPTIONS("watermark.expression", "heat"), "must be a TIMESTAMP");
    refused(&weir_op_watermark, OPTIONS("watermark.expression", "time - INTERVAL '2' SECOND"), "watermark.expression");
    refused(&weir_op_watermark, OPTIONS("watermark.expression", "ts", "watermark.idle-timeout", "soon"),
            "not a duration");
}

/* --- select */

static void check_selected(struct weir_harness *h, void *arg)
{
    (void)arg;
    check_rows(h, "a|190|a\nb|180|b\nc|null|c\nd|182|d\ne|0|e\n");
    assert_string_equal(weir_harness_schema(h, 0)->fields[1].name, "twice");
}

static void check_divided(struct weir_harness *h, void *arg)
{
    (void)arg;
    check_rows(h, "a|10\nb|11\nc|null\nd|10\n");
    assert_int_equal(weir_harness_bad(h), 1);
}

static void test_select(void **state)
{
    (void)state;
    struct weir_harness_setup setup = {.op = &weir_op_select, .inputs = {READING}};
    setup.options = OPTIONS("columns", "device, heat * 2 AS twice, device AS again");
    weir_harness_all_modes(&setup, give, check_selected, rows);
    setup.options = OPTIONS("columns", "device, 1000 / heat AS part", "on-error", "skip");
    weir_harness_all_modes(&setup, give, check_divided, rows);
    setup.options = OPTIONS("columns", "device, 1000 / heat AS part");
    struct weir_error error;
    struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
    assert_false(weir_harness_rows_in(h, 0, rows));
    assert_contains(weir_harness_error(h), "tested: record ");
    weir_harness_free(h);
}

/* --- watermark */

static void test_watermark(void **state)
{
    (void)state;
    struct weir_harness_setup setup = {.op = &weir_op_watermark,
                                       .inputs = {READING},
                                       .options = OPTIONS("watermark.expression", "ts - INTERVAL '2' SECOND")};
    struct weir_error error;
    struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
    if (!h)
        fail_msg("%s", error.message);
    assert_true(weir_harness_rows_in(h, 0, "a|1|5000\na|1|9000\na|1|7000"));
    assert_int_equal(weir_harness_watermark_out(h), 7000);
    assert_true(weir_harness_rows_in(h, 0, "a|1|6000")); /* never back */
    assert_true(weir_harness_watermark(h, 8000));        /* those of the input are not its own */
    assert_int_equal(weir_harness_watermark_out(h), 7000);
    assert_true(weir_harness_rows_in(h, 0, "a|1|10000"));
    assert_true(weir_harness_end(h));
    /* A batch goes before the watermark that it raises. */
    assert_string_equal(
        weir_harness_trace(h, 0),
        "a|1|1970-01-01 00:00:05.000\na|1|1970-01-01 00:00:09.000\na|1|1970-01-01 00:00:07.000\nW 7000\n"
        "a|1|1970-01-01 00:00:06.000\na|1|1970-01-01 00:00:10.000\nW 8000\nW max\n");
    weir_harness_free(h);
    weir_harness_all_modes(&setup, give, check_all, rows);
    /* NULL does not count. */
    setup.inputs[0] = "ts TIMESTAMP(3)";
    setup.options = OPTIONS("watermark.expression", "ts");
    h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
    assert_true(weir_harness_rows_in(h, 0, "null"));
    assert_int_equal(weir_harness_watermark_out(h), WEIR_WATERMARK_MIN);
    assert_true(weir_harness_rows_in(h, 0, "null\n-5000\nnull"));
    assert_int_equal(weir_harness_watermark_out(h), -5000);
    weir_harness_free(h);
}

static void test_watermark_idle(void **state)
{
    (void)state;
    struct weir_harness_setup setup = {.op = &weir_op_watermark,
                                       .inputs = {READING},
                                       .now_ms = 100,
                                       .options =
                                           OPTIONS("watermark.expression", "ts", "watermark.idle-timeout", "1 s")};
    struct weir_error error;
    struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
    assert_true(weir_harness_advance(h, 600));
    assert_true(weir_harness_rows_in(h, 0, "a|1|5000"));
    assert_true(weir_harness_advance(h, 1599)); /* looked at 1100: 500 ms only */
    assert_null(strstr(weir_harness_trace(h, 0), "IDLE"));
    assert_true(weir_harness_advance(h, 1600));
    assert_contains(weir_harness_trace(h, 0), "IDLE\n");
    assert_int_equal(weir_harness_timer(h), INT64_MAX);
    assert_true(weir_harness_advance(h, 5000));
    assert_true(weir_harness_rows_in(h, 0, "a|1|6000"));
    assert_contains(weir_harness_trace(h, 0), "IDLE\nACTIVE\n");
    assert_int_equal(weir_harness_timer(h), 6000);
    weir_harness_free(h);
}

/* --- union */

static void give_two(struct weir_harness *h, void *arg)
{
    (void)arg;
    assert_true(weir_harness_rows_in(h, 0, "1|a\n2|b\n3|c"));
    assert_true(weir_harness_rows_in(h, 1, "4|d\n5|null"));
    assert_true(weir_harness_rows_in(h, 0, "6|f"));
    assert_true(weir_harness_end(h));
}
static void check_two(struct weir_harness *h, void *arg)
{
    (void)arg;
    check_rows(h, "1|a\n2|b\n3|c\n4|d\n5|null\n6|f\n");
}

static void test_union(void **state)
{
    (void)state;
    struct weir_harness_setup setup = {.op = &weir_op_union, .inputs = {"a INT, b STRING", "a INT NOT NULL, c STRING"}};
    weir_harness_all_modes(&setup, give_two, check_two, NULL);
    struct weir_error error;
    setup.inputs[1] = "a BIGINT, b STRING";
    assert_null(weir_harness_new(&setup, &weir_harness_modes[0], &error));
    assert_contains(error.message, "column 1, 'a', is BIGINT in input 2 and INT in input 1");
    setup.inputs[1] = "a INT";
    assert_null(weir_harness_new(&setup, &weir_harness_modes[0], &error));
    assert_contains(error.message, "input 2 has 1 columns, and input 1 has 2");
    /* What may be NULL cannot become NOT NULL. */
    setup.inputs[0] = "a INT NOT NULL";
    setup.inputs[1] = "a INT";
    assert_null(weir_harness_new(&setup, &weir_harness_modes[0], &error));
    assert_contains(error.message, "INT NOT NULL in input 1");
}

/* --- The table */

static void test_table(void **state)
{
    (void)state;
    const struct weir_op_vtable *op;
    struct weir_error error;
    for (int i = 0; weir_ops[i]; i++) {
        assert_int_equal(weir_op_find(weir_ops[i]->name, &op, &error), 0);
        assert_ptr_equal(op, weir_ops[i]);
        assert_true(i == 0 || strcmp(weir_ops[i - 1]->name, op->name) < 0);
        assert_non_null(op->options);
        assert_non_null(op->plan);
        assert_true(op->batch || op->produce);
        assert_true(!op->is_source || op->produce);
    }
    assert_int_equal(weir_op_find("fliter", &op, &error), WEIR_ERR_INVALID);
    assert_contains(error.message, "there is no operator 'fliter'; did you mean 'filter'?");
    assert_int_equal(weir_op_find("xyzzy", &op, &error), WEIR_ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_union),          cmocka_unit_test(test_filter),  cmocka_unit_test(test_filter_errors),
        cmocka_unit_test(test_filter_random),  cmocka_unit_test(test_select),  cmocka_unit_test(test_watermark),
        cmocka_unit_test(test_watermark_idle), cmocka_unit_test(test_refused), cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
