/* Expressions and aggregates over DECIMAL, ARRAY, MAP, ROW and TIMESTAMP_LTZ. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/zone.h"
#include "expr/agg.h"
#include "expr/expr.h"
#include "format/format.h"

/* Values are compared by their text. */
static const struct {
    const char *text, *type, *value;
} cases[] = {
    {"1.5 + 2", "DECIMAL(12, 1) NOT NULL", "3.5"},
    {"12345678901234567890", "DECIMAL(20, 0) NOT NULL", "12345678901234567890"},
    {"0.10 * 0.1", "DECIMAL(6, 3) NOT NULL", "0.010"},
    {"10.5 / 3", "DECIMAL(14, 12) NOT NULL", "3.500000000000"},
    {"7.5 % 2", "DECIMAL(2, 1) NOT NULL", "1.5"},
    {"MOD(-7.5, 2)", "DECIMAL(2, 1) NOT NULL", "-1.5"},
    {"d + d", "DECIMAL(38, 2)", "NULL"},
    {"d / 3", "DECIMAL(38, 6)", "NULL"},
    {"(d - 9e0) / 3 > 3e35", "BOOLEAN", "TRUE"},
    {"e * 1e0", "DOUBLE", "1.25"},
    {"e > 1 AND e < 1.26 AND e = 1.250 AND e <> 1", "BOOLEAN", "TRUE"},
    {"e = 1.25e0", "BOOLEAN", "TRUE"},
    {"-e", "DECIMAL(5, 3)", "-1.250"},
    {"CASE WHEN e > 1 THEN e ELSE 10 END", "DECIMAL(13, 3)", "1.250"},
    {"COALESCE(CAST(NULL AS DECIMAL(4, 1)), 1.55)", "DECIMAL(5, 2) NOT NULL", "1.55"},
    {"CAST(e AS INT) + CAST(e AS TINYINT)", "INT", "2"},
    {"CAST(1000 AS DECIMAL(3, 0))", "DECIMAL(3, 0) NOT NULL", "NULL"},
    {"TRY_CAST('1,5' AS DECIMAL(3, 1))", "DECIMAL(3, 1)", "NULL"},
    {"CAST(' 1.55 ' AS DECIMAL(3, 1))", "DECIMAL(3, 1) NOT NULL", "1.6"},
    {"CAST(0.1e0 AS DECIMAL(10, 5))", "DECIMAL(10, 5) NOT NULL", "0.10000"},
    {"ROUND(e, 1)", "DECIMAL(4, 1)", "1.3"},
    {"ROUND(e)", "DECIMAL(3, 0)", "1"},
    {"ROUND(15.5, -1)", "DECIMAL(3, 0) NOT NULL", "20"},
    {"TRUNCATE(-1.55, 1)", "DECIMAL(3, 1) NOT NULL", "-1.5"},
    {"CEIL(e)", "DECIMAL(5, 0)", "2"},
    {"FLOOR(-1.5)", "DECIMAL(2, 0) NOT NULL", "-2"},
    {"SIGN(-1.5)", "DECIMAL(2, 1) NOT NULL", "-1.0"},
    {"GREATEST(1.5, 2, 1.75)", "DECIMAL(12, 2) NOT NULL", "2.00"},
    {"1.5 IN (1, 1.5, 2, 3, 4, 5)", "BOOLEAN NOT NULL", "TRUE"},
    {"SQRT(6.25)", "DOUBLE NOT NULL", "2.5"},
    {"arr[1]", "INT", "7"},
    {"arr[2]", "INT", "NULL"},
    {"arr[4]", "INT", "NULL"},
    {"arr[a]", "INT", "NULL"},
    {"CARDINALITY(arr)", "INT", "3"},
    {"ARRAY[arr, arr][2][3]", "INT", "9"},
    {"arr = ARRAY[7, CAST(NULL AS INT), 9]", "BOOLEAN", "TRUE"},
    {"arr <> ARRAY[7]", "BOOLEAN", "TRUE"},
    {"ARRAY[1, 2.5, e]", "ARRAY<DECIMAL(13, 3)> NOT NULL", "[1.000, 2.500, 1.250]"},
    {"CAST(arr AS ARRAY<STRING>)", "ARRAY<STRING>", "[7, NULL, 9]"},
    {"TRY_CAST(ARRAY['1', 'x'] AS ARRAY<INT>)", "ARRAY<INT>", "NULL"},
    {"ELEMENT(ARRAY['x'])", "STRING", "x"},
    {"ARRAY_CONTAINS(arr, 9)", "BOOLEAN", "TRUE"},
    {"ARRAY_CONTAINS(arr, NULL)", "BOOLEAN", "TRUE"},
    {"ARRAY_CONTAINS(arr, 8)", "BOOLEAN", "FALSE"},
    {"m['k']", "ARRAY<INT>", "[1]"},
    {"m['x']", "ARRAY<INT>", "NULL"},
    {"m['k'][1] + 1", "INT", "2"},
    {"m = MAP['l', CAST(NULL AS ARRAY<INT>), 'k', ARRAY[1]]", "BOOLEAN", "TRUE"},
    {"MAP['a', 1, 'b', 2, 'a', 3]", "MAP<STRING NOT NULL, INT NOT NULL> NOT NULL", "{a=3, b=2}"},
    {"CAST(m AS STRING)", "STRING", "{k=[1], l=NULL}"},
    {"r.n", "BIGINT", "5"},
    {"r.`in`.x || '!'", "STRING", "deep!"},
    {"r.n + r.n * 2", "BIGINT", "15"},
    {"r.`in`", "ROW<`x` STRING, `y` BOOLEAN NOT NULL>", "(deep, TRUE)"},
    {"r = ROW(5, ROW('deep', TRUE))", "BOOLEAN", "TRUE"},
    {"(1, 'x', e)", "ROW<`EXPR$0` INT NOT NULL, `EXPR$1` STRING NOT NULL, `EXPR$2` DECIMAL(5, 3)> NOT NULL",
     "(1, x, 1.250)"},
    {"CAST((1, 'x') AS ROW<a BIGINT, b STRING>).a", "BIGINT", "1"},
    {"CASE WHEN a IS NULL THEN r.n ELSE 0 END", "BIGINT", "5"},
    {"COALESCE(CAST(NULL AS ARRAY<INT>), arr)", "ARRAY<INT>", "[7, NULL, 9]"},
    {"nothing.n", "INT", "NULL"},
    {"nothing IS NULL AND arr IS NOT NULL", "BOOLEAN NOT NULL", "TRUE"},
    {"TO_TIMESTAMP_LTZ(1, 0)", "TIMESTAMP_LTZ(3)", "1970-01-01 02:00:01.000"},
    {"TO_TIMESTAMP_LTZ('2024-07-01 00:00:00')", "TIMESTAMP_LTZ(3)", "2024-07-01 00:00:00.000"},
    {"CAST(l AS STRING)", "STRING", "1970-01-01 02:00:00.000"},
    {"CAST(l AS TIMESTAMP(3))", "TIMESTAMP(3)", "1970-01-01 02:00:00.000"},
    {"CAST(l AS DATE)", "DATE", "1970-01-01"},
    {"CAST(TIMESTAMP '1970-01-01 02:00:00' AS TIMESTAMP_LTZ(3)) = l", "BOOLEAN", "TRUE"},
    {"l < TIMESTAMP '1970-01-01 02:00:00.001'", "BOOLEAN", "TRUE"},
    {"l = '1970-01-01 02:00:00'", "BOOLEAN", "TRUE"},
    {"l + INTERVAL '1' HOUR", "TIMESTAMP_LTZ(3)", "1970-01-01 03:00:00.000"},
    {"HOUR(l)", "BIGINT", "2"},
};

static void test_values(void **state)
{
    (void)state;
    struct weir_schema *schema;
    assert_int_equal(
        weir_schema_parse("a BIGINT, d DECIMAL(38, 2), e DECIMAL(5, 3), arr ARRAY<INT>, "
                          "m MAP<STRING, ARRAY<INT>>, r ROW<n BIGINT, `in` ROW<x STRING, y BOOLEAN NOT NULL>>, "
                          "l TIMESTAMP_LTZ(3), nothing ROW<n INT>",
                          &schema, NULL),
        0);
    const char *line =
        "{\"d\": 999999999999999999999999999999999999.99, \"e\": 1.25, \"arr\": [7, null, 9], "
        "\"m\": {\"k\": [1], \"l\": null}, \"r\": {\"n\": 5, \"in\": {\"x\": \"deep\", \"y\": true}}, \"l\": 0}";
    const struct weir_format *json;
    struct weir_decoder *decoder;
    assert_int_equal(weir_format_find("json", &json, NULL), 0);
    assert_int_equal(json->decoder_new(schema, NULL, 0, &decoder, NULL), 0);
    struct weir_error why;
    assert_int_equal(weir_zone_set_session("+02:00", &why), 0);
    for (int rows = 1; rows <= 67; rows += 66) { /* one by one, and whole words */
        struct weir_batch *batch = weir_batch_new(schema, rows);
        struct weir_expr_scratch *scratch = weir_expr_scratch_new();
        for (int i = 0; i < rows; i++) {
            if (json->decode(decoder, (const uint8_t *)line, strlen(line), false, batch, &why))
                fail_msg("%s", why.message);
        }
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct weir_expr *expr;
            struct weir_expr_error error;
            struct weir_column out;
            struct weir_buf type;
            weir_buf_init(&type, 4096);
            if (weir_expr_compile(cases[i].text, schema, &expr, &error))
                fail_msg("%s: %s", cases[i].text, error.error.message);
            assert_true(weir_type_text(weir_expr_type(expr), &type));
            if (strcmp((const char *)type.data, cases[i].type) != 0)
                fail_msg("%s: %s", cases[i].text, (const char *)type.data);
            if (weir_expr_eval(expr, batch, scratch, &out, NULL, &why)) /* the value itself is worked on too */
                fail_msg("%s: %s", cases[i].text, why.message);
            weir_column_fini(&out);
            weir_expr_free(expr);
            char *as_text = weir_format("CAST(%s AS STRING)", cases[i].text);
            if (weir_expr_compile(as_text, schema, &expr, &error) ||
                weir_expr_eval(expr, batch, scratch, &out, NULL, &why))
                fail_msg("%s: %s", as_text, error.error.message);
            for (int row = 0; row<rows; row += rows> 1 ? rows - 1 : 1) {
                size_t n = 4;
                const uint8_t *s =
                    weir_column_is_null(&out, row) ? (const uint8_t *)"NULL" : weir_column_bytes(&out, row, &n);
                if (n != strlen(cases[i].value) || memcmp(s, cases[i].value, n) != 0)
                    fail_msg("%s: %.*s", cases[i].text, (int)n, (const char *)s);
            }
            weir_column_fini(&out);
            weir_expr_free(expr);
            free(as_text);
            weir_buf_fini(&type);
        }
        weir_expr_scratch_free(scratch);
        weir_batch_unref(batch);
    }
    assert_int_equal(weir_zone_set_session("UTC", &why), 0);
    json->decoder_free(decoder);
    weir_schema_unref(schema);
}

/* --- Aggregates: in two halves, each by way of its bytes, merged */

static const char AGGREGATES[] =
    "SUM(x) AS s, AVG(x) AS m, MIN(x) AS low, MAX(x) AS high, SUM(big) AS far, COUNT(x) AS n, COUNT(list) AS lists, "
    "FIRST_VALUE(list) AS f, LAST_VALUE(list) AS l, LAST_VALUE(r) AS r, FIRST_VALUE(m) AS map, SUM(x) / COUNT(*) AS each, "
    "SUM(none) AS nothing, MAX(t) AS t";
static const char *const lines[] = {
    "{\"x\": 1.25, \"big\": 99999999999999999999999999999999999999, \"list\": null, \"r\": {\"a\": 1}, \"t\": 5}",
    "{\"x\": null, \"big\": 1, \"list\": [1, null], \"m\": {\"k\": 1}, \"t\": 7000}",
    "{\"x\": -3.10, \"big\": -5, \"list\": [], \"r\": {\"a\": null}}",
    "{\"x\": 0.02, \"list\": [3], \"m\": {\"l\": 2}, \"t\": 6}",
};

static void through_bytes(const struct weir_agg *agg, uint8_t *accumulator, struct weir_arena *heap)
{
    struct weir_buf bytes;
    size_t size = weir_agg_accumulator_size(agg);
    uint8_t *room = weir_alloc(size);
    weir_buf_init(&bytes, 1 << 16);
    weir_agg_encode(agg, accumulator, &bytes);
    for (size_t cut = 0; cut < bytes.size; cut++) {
        memset(room, 0, size);
        assert_false(weir_agg_decode(agg, bytes.data, cut, room, heap));
    }
    memset(accumulator, 0, size);
    assert_true(weir_agg_decode(agg, bytes.data, bytes.size, accumulator, heap));
    weir_buf_fini(&bytes);
    free(room);
}

static void test_aggregates(void **state)
{
    (void)state;
    struct weir_schema *schema;
    const struct weir_format *json;
    struct weir_decoder *decoder;
    struct weir_agg *agg;
    struct weir_expr_error wrong;
    struct weir_error why;
    struct weir_arena heap;
    const struct weir_key_spec keys = {.column_count = 0};
    weir_arena_init(&heap);
    assert_int_equal(
        weir_schema_parse("x DECIMAL(6, 2), big DECIMAL(38, 0), list ARRAY<INT>, r ROW<a INT>, m MAP<STRING, INT>, "
                          "none DECIMAL(5, 0), t TIMESTAMP_LTZ(3)",
                          &schema, NULL),
        0);
    assert_int_equal(weir_format_find("json", &json, NULL), 0);
    assert_int_equal(json->decoder_new(schema, NULL, 0, &decoder, NULL), 0);
    if (weir_agg_compile(AGGREGATES, schema, &keys, false, &agg, &wrong))
        fail_msg("%s", wrong.error.message);
    struct weir_agg_input *input = weir_agg_input_new(agg);
    uint8_t *accumulators[3];
    for (int i = 0; i < 3; i++)
        accumulators[i] = weir_zalloc(weir_agg_accumulator_size(agg));
    for (int half = 0; half < 2; half++) {
        struct weir_batch *batch = weir_batch_new(schema, 2);
        for (int i = 0; i < 2; i++) {
            const char *line = lines[2 * half + i];
            if (json->decode(decoder, (const uint8_t *)line, strlen(line), false, batch, &why))
                fail_msg("%s", why.message);
        }
        uint8_t *const both[2] = {accumulators[half], accumulators[half]};
        assert_int_equal(weir_agg_prepare(agg, input, batch, NULL, NULL), 0);
        weir_agg_update(agg, input, NULL, both, 2, &heap);
        through_bytes(agg, accumulators[half], &heap);
        weir_agg_merge(agg, accumulators[2], accumulators[half], &heap);
        weir_batch_unref(batch);
    }
    struct weir_agg_group group = {(const uint8_t *)"", 0, accumulators[2], 0, 0};
    struct weir_batch *out;
    struct weir_buf text;
    weir_buf_init(&text, 1 << 16);
    assert_int_equal(weir_agg_result(agg, &group, 1, &out, NULL), 0);
    assert_true(weir_batch_print_row(out, 0, &text));
    assert_string_equal(
        (const char *)text.data,
        "{\"s\": -1.83, \"m\": -0.610000, \"low\": -3.10, \"high\": 1.25, \"far\": null, \"n\": 3, \"lists\": 3, "
        "\"f\": [1, null], \"l\": [3], \"r\": {\"a\": null}, \"map\": {\"k\": 1}, "
        "\"each\": -0.457500, \"nothing\": null, \"t\": \"1970-01-01T00:00:07Z\"}");
    weir_buf_fini(&text);
    weir_batch_unref(out);
    for (int i = 0; i < 3; i++)
        free(accumulators[i]);
    weir_agg_input_free(input);
    weir_agg_free(agg);
    weir_arena_fini(&heap);
    json->decoder_free(decoder);
    assert_int_not_equal(weir_agg_compile("MIN(list)", schema, &keys, false, &agg, &wrong), 0);
    assert_non_null(strstr(wrong.error.message, "no order"));
    assert_int_not_equal(weir_agg_compile("SUM(list)", schema, &keys, false, &agg, &wrong), 0);
    weir_schema_unref(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values), cmocka_unit_test(test_aggregates)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
