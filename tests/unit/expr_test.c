/* Expressions: errors with columns, three-valued logic, laziness, known values, random expressions against a row-by-row
 * evaluator, batch sizes around the word size, garbage text, both builds of the kernels. */
#include <ctype.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "expr/expr.h"
#include "expr/kernels.h"

static uint64_t seed = 1;
static uint32_t rnd(uint32_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % below;
}

static struct weir_schema *schema_of(const char *text)
{
    struct weir_schema *schema;
    struct weir_error error;
    if (weir_schema_parse(text, &schema, &error))
        fail_msg("%s", error.message);
    return schema;
}

#define COLUMNS \
    "a BIGINT, b INT, x DOUBLE, p BOOLEAN, q BOOLEAN, s STRING, ts TIMESTAMP(3), d DATE, `timestamp` TIMESTAMP(3), y BYTES, " \
    "t TINYINT, f FLOAT"

/* Row i: about a fifth NULL in each column. */
static struct weir_batch *random_batch(struct weir_schema *schema, int rows)
{
    static const char *const texts[] = {"", "a", "abc", "h\xc3\xa9llo", "ABC", "x%y_z"};
    struct weir_batch *batch = weir_batch_new(schema, rows);
    for (int i = 0; i < rows; i++) {
        for (int c = 0; c < schema->field_count; c++) {
            struct weir_column *column = &batch->columns[c];
            int64_t small = (int64_t)rnd(7) - 3;
            if (rnd(5) == 0) {
                weir_column_set_null(column, i, rows);
                continue;
            }
            switch (column->type) {
            case WEIR_TYPE_INT64:
                column->i64[i] = rnd(20) == 0 ? INT64_MIN : rnd(20) == 0 ? INT64_MAX : small;
                break;
            case WEIR_TYPE_INT32:
                column->i32[i] = (int32_t)(rnd(20) == 0 ? INT32_MIN : small);
                break;
            case WEIR_TYPE_INT8:
                column->i8[i] = (int8_t)(rnd(10) == 0 ? -128 : small);
                break;
            case WEIR_TYPE_DOUBLE:
                column->f64[i] = rnd(20) == 0 ? NAN : (double)small / 2;
                break;
            case WEIR_TYPE_FLOAT:
                column->f32[i] = (float)small / 2;
                break;
            case WEIR_TYPE_BOOLEAN:
                weir_bit_put(column->bits, i, rnd(2));
                break;
            case WEIR_TYPE_STRING:
            case WEIR_TYPE_BYTES: {
                const char *text = texts[rnd(6)];
                weir_column_set_bytes(column, i, text, strlen(text));
                break;
            }
            case WEIR_TYPE_DATE:
                column->i32[i] = (int32_t)(small * 400);
                break;
            default:
                column->i64[i] = small * 86400000 * 40 + 123;
            }
        }
        batch->row_count = i + 1;
    }
    return batch;
}

/* --- Errors */

static void test_errors(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int column;
        const char *part;
    } cases[] = {
        {"", 1, "the text ends where an expression"},
        {"a +", 4, "the text ends"},
        {"a + * 2", 5, "an expression should stand here, not *"},
        {"a ~ 2", 3, "'~' has no meaning"},
        {"tempo > 1", 1, "there is no column 'tempo'"},
        {"1 + bb", 5, "did you mean 'b'"},
        {"a = s", 3, "BIGINT and STRING cannot be compared"},
        {"a + s", 3, "+ does not join text"},
        {"s * 2", 3, "* does not go with STRING and INT"},
        {"a AND p", 1, "AND needs a BOOLEAN, this is BIGINT"},
        {"p OR b", 6, "OR needs a BOOLEAN, this is INT"},
        {"UPER(s)", 1, "did you mean UPPER"},
        {"UPPER(a)", 1, "UPPER takes (STRING), not (BIGINT)"},
        {"SUBSTRING(s)", 1, "SUBSTRING takes (STRING, integer[, integer]), not (STRING)"},
        {"CAST(s AS FOO)", 11, "FOO"},
        {"CAST(a AS DATE)", 1, "BIGINT cannot be cast to DATE"},
        {"'abc", 1, "no closing '"},
        {"`abc", 1, "no closing `"},
        {"(a", 3, "')'"},
        {"a)", 2, "an operator or the end"},
        {"a b", 3, "an operator or the end"},
        {"CASE WHEN p THEN 1", 19, "END"},
        {"CASE WHEN a THEN 1 END", 11, "WHEN needs a BOOLEAN"},
        {"CASE WHEN p THEN 1 ELSE 'x' END", 25, "no common type"},
        {"COALESCE(a, 'x')", 13, "no common type"},
        {"a IN (1, 'x')", 10, "entry of the IN list"},
        {"a BETWEEN 1", 12, "AND"},
        {"NULL", 1, "has no type"},
        {"INTERVAL '2' SECOND", 1, "INTERVAL cannot be a result"},
        {"INTERVAL 'x' SECOND", 1, "not an interval"},
        {"ts - ts", 4, "TIMESTAMPDIFF"},
        {"DATE '2024-02-30'", 6, "not a date"},
        {"TIMESTAMP '2024-01-01 00:00:00.1234567'", 11, "3 digits"},
        {"999999999999999999999999999999999999999", 1, "over 38 digits"},
        {"1e", 1, "exponent"},
        {"X'123'", 1, "even number"},
        {"COUNT(*) > 1", 1, "aggregate COUNT"},
        {"a.b", 2, "only a ROW has fields"},
        {"a[1]", 2, "elements of an ARRAY or a MAP"},
        {"* + 1", 1, "an expression should stand here"},
        {"a IS 5", 6, "NULL, TRUE, FALSE"},
        {"EXTRACT(FOO FROM ts)", 9, "a unit of time"},
        {"\"a\"", 1, "does not quote"},
        {"a /* never ends", 3, "no end"},
        {"a SIMILAR TO 'x'", 3, "SIMILAR"},
    };
    struct weir_schema *schema = schema_of(COLUMNS);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct weir_expr *expr = (void *)1;
        struct weir_expr_error error = {0};
        weir_err err = weir_expr_compile(cases[i].text, schema, &expr, &error);
        if (!err || error.column != cases[i].column || !strstr(error.error.message, cases[i].part) || expr)
            fail_msg("%s: column %d, %s", cases[i].text, error.column, err ? error.error.message : "compiles");
        assert_int_equal(weir_expr_compile(cases[i].text, schema, &expr, NULL), err); /* the sentence is optional */
    }
    weir_schema_unref(schema);
}

/* --- One value as text */

static void value_text(const struct weir_expr *expr, const struct weir_column *column, int row, char *out, size_t room)
{
    if (weir_column_is_null(column, row)) {
        snprintf(out, room, "NULL");
        return;
    }
    switch (weir_expr_type(expr)->id) {
    case WEIR_TYPE_BOOLEAN:
        snprintf(out, room, weir_bit_get(column->bits, row) ? "TRUE" : "FALSE");
        break;
    case WEIR_TYPE_INT8:
        snprintf(out, room, "%d", column->i8[row]);
        break;
    case WEIR_TYPE_INT16:
        snprintf(out, room, "%d", column->i16[row]);
        break;
    case WEIR_TYPE_INT32:
    case WEIR_TYPE_DATE:
    case WEIR_TYPE_TIME:
        snprintf(out, room, "%d", column->i32[row]);
        break;
    case WEIR_TYPE_INT64:
    case WEIR_TYPE_TIMESTAMP:
        snprintf(out, room, "%lld", (long long)column->i64[row]);
        break;
    case WEIR_TYPE_FLOAT:
        snprintf(out, room, "%.9g", (double)column->f32[row]);
        break;
    case WEIR_TYPE_DOUBLE:
        snprintf(out, room, "%.17g", column->f64[row]);
        break;
    default: {
        size_t n;
        const uint8_t *s = weir_column_bytes(column, row, &n);
        snprintf(out, room, "%.*s", (int)n, (const char *)s);
    }
    }
}

static void test_values(void **state)
{
    (void)state;
    static const struct {
        const char *text, *type, *value;
    } cases[] = {
        {"1 + 2 * 3", "INT NOT NULL", "7"},
        {"(1 + 2) * 3", "INT NOT NULL", "9"},
        {"2 - 3 - 4", "INT NOT NULL", "-5"},
        {"7 / 2", "INT NOT NULL", "3"},
        {"-7 / 2", "INT NOT NULL", "-3"},
        {"-7 % 3", "INT NOT NULL", "-1"},
        {"7 / CAST(2 AS DOUBLE)", "DOUBLE NOT NULL", "3.5"},
        {"2147483647 + 1", "INT NOT NULL", "-2147483648"},
        {"9223372036854775807 + 1", "BIGINT NOT NULL", "-9223372036854775808"},
        {"-9223372036854775808", "BIGINT NOT NULL", "-9223372036854775808"},
        {"-2147483648 / -1", "INT NOT NULL", "-2147483648"},
        {"CAST(127 AS TINYINT) + CAST(1 AS TINYINT)", "TINYINT NOT NULL", "-128"},
        {"- - 5", "INT NOT NULL", "5"},
        {"NOT TRUE OR TRUE", "BOOLEAN NOT NULL", "TRUE"},
        {"1 < 2 = TRUE", "BOOLEAN NOT NULL", "TRUE"},
        {"1 = 1 IS TRUE", "BOOLEAN NOT NULL", "TRUE"},
        {"NOT 1 = 2 AND 3 > 2", "BOOLEAN NOT NULL", "TRUE"},
        {"5 BETWEEN 1 AND 10 AND TRUE", "BOOLEAN NOT NULL", "TRUE"},
        {"5 NOT BETWEEN SYMMETRIC 10 AND 1", "BOOLEAN NOT NULL", "FALSE"},
        {"3 IN (1, 2, 3)", "BOOLEAN NOT NULL", "TRUE"},
        {"3 NOT IN (1, 2, 4, 5, 6, 7)", "BOOLEAN NOT NULL", "TRUE"},
        {"3 IN (1, 2, NULL)", "BOOLEAN", "NULL"},
        {"3 IN (1, 2, 4, 5, 6, NULL)", "BOOLEAN", "NULL"},
        {"3 IN (1, 2, 4, 5, 3, NULL)", "BOOLEAN", "TRUE"},
        {"'b' IN ('a', 'b', 'c', 'd', 'e')", "BOOLEAN NOT NULL", "TRUE"},
        {"1 IS DISTINCT FROM NULL", "BOOLEAN NOT NULL", "TRUE"},
        {"CAST(NULL AS INT) IS NOT DISTINCT FROM NULL", "BOOLEAN NOT NULL", "TRUE"},
        {"CASE 3 WHEN 1, 2 THEN 'low' WHEN 3 THEN 'three' END", "STRING", "three"},
        {"NULLIF(1, 1)", "INT", "NULL"},
        {"COALESCE(NULL, 5, 1 / 0)", "INT NOT NULL", "5"},
        {"IF(FALSE, 1 / 0, 2)", "INT NOT NULL", "2"},
        {"TRUE OR 1 / 0 = 1", "BOOLEAN NOT NULL", "TRUE"},
        {"FALSE AND 1 / 0 = 1", "BOOLEAN NOT NULL", "FALSE"},
        {"'a' || 'b' || 'c'", "STRING NOT NULL", "abc"},
        {"'it''s'", "STRING NOT NULL", "it's"},
        {"CHAR_LENGTH('h\xc3\xa9llo')", "INT NOT NULL", "5"},
        {"SUBSTRING('h\xc3\xa9llo' FROM 2 FOR 2)", "STRING", "\xc3\xa9l"},
        {"TRIM(BOTH 'x' FROM 'xxaxx')", "STRING NOT NULL", "a"},
        {"POSITION('l' IN 'hello')", "INT NOT NULL", "3"},
        {"'hello' LIKE 'h_l%o'", "BOOLEAN NOT NULL", "TRUE"},
        {"'h%llo' LIKE 'h!%l%' ESCAPE '!'", "BOOLEAN NOT NULL", "TRUE"},
        {"CAST('12' AS INT) + 1", "INT NOT NULL", "13"},
        {"TRY_CAST('x' AS INT)", "INT", "NULL"},
        {"CAST(3.99 AS INT)", "INT NOT NULL", "3"},
        {"CAST(1e300 AS INT)", "INT NOT NULL", "2147483647"},
        {"CAST(300 AS TINYINT)", "TINYINT NOT NULL", "44"},
        {"CAST(TRUE AS STRING)", "STRING NOT NULL", "TRUE"},
        {"CAST(0.1 AS STRING)", "STRING NOT NULL", "0.1"},
        {"CAST(1e10 AS STRING)", "STRING NOT NULL", "1.0E10"},
        {"CAST(CAST(0.1 AS FLOAT) AS STRING)", "STRING NOT NULL", "0.1"},
        {"CAST(0.30000000000000004 AS STRING)", "STRING NOT NULL", "0.30000000000000004"},
        {"CAST(123456789.125e0 AS STRING)", "STRING NOT NULL", "1.23456789125E8"},
        {"CAST(-0.001 AS STRING)", "STRING NOT NULL", "-0.001"},
        {"CAST(1234567.000001 AS STRING)", "STRING NOT NULL", "1234567.000001"},
        {"CAST(9999999.5 AS STRING)", "STRING NOT NULL", "9999999.5"},
        {"CAST(-100e0 AS STRING)", "STRING NOT NULL", "-100.0"},
        {"CAST(5e-324 AS STRING)", "STRING NOT NULL", "4.9E-324"},
        {"CAST(0.00012e0 AS STRING)", "STRING NOT NULL", "1.2E-4"},
        {"CAST('abcdef' AS VARCHAR(3))", "VARCHAR(3) NOT NULL", "abc"},
        {"TIMESTAMP '1970-01-02 00:00:01' - INTERVAL '2' SECOND", "TIMESTAMP(0) NOT NULL", "86399000"},
        {"TIMESTAMP '1970-01-01 00:00:00' + INTERVAL '1 02:03:04.005' DAY TO SECOND", "TIMESTAMP(3) NOT NULL",
         "93784005"},
        {"DATE '2024-01-31' + INTERVAL '1' MONTH = DATE '2024-02-29'", "BOOLEAN NOT NULL", "TRUE"},
        {"DATE '1970-01-10'", "DATE NOT NULL", "9"},
        {"TIME '00:00:01.5'", "TIME(1) NOT NULL", "1500"},
        {"'1970-01-02' > DATE '1970-01-01'", "BOOLEAN NOT NULL", "TRUE"},
        {"EXTRACT(YEAR FROM DATE '2024-05-06')", "BIGINT NOT NULL", "2024"},
        {"FLOOR(TIMESTAMP '1970-01-01 12:34:56' TO HOUR)", "TIMESTAMP(0) NOT NULL", "43200000"},
        {"TIMESTAMPDIFF(DAY, DATE '2024-01-01', DATE '2024-03-01')", "INT NOT NULL", "60"},
        {"DATE_FORMAT(TIMESTAMP '2024-05-06 07:08:09.012', 'yyyy/MM/dd HH:mm:ss.SSS')", "STRING",
         "2024/05/06 07:08:09.012"},
        {"ROUND(2.675e0, 2)", "DOUBLE NOT NULL", "2.6800000000000002"},
        {"ROUND(-2.5e0)", "DOUBLE NOT NULL", "-3"},
        {"TRUNCATE(4.35e0, 2)", "DOUBLE NOT NULL", "4.3499999999999996"},
        {"ROUND(125, -1)", "INT NOT NULL", "130"},
        {"ABS(-5)", "INT NOT NULL", "5"},
        {"GREATEST(1, 5, 3)", "INT NOT NULL", "5"},
        {"LEAST('b', 'a')", "STRING NOT NULL", "a"},
        {"MD5('')", "STRING NOT NULL", "d41d8cd98f00b204e9800998ecf8427e"},
        {"REVERSE('h\xc3\xa9')", "STRING NOT NULL", "\xc3\xa9h"},
        {"SPLIT_INDEX('a,b,c', ',', 1)", "STRING", "b"},
        {"CONCAT_WS('-', 'a', NULL, 'b')", "STRING NOT NULL", "a-b"},
        {"UPPER('stra\xc3\x9f\xc3\xa9')", "STRING NOT NULL", "STRA\xc3\x9f\xc3\x89"},
        {"a -- the comment", "BIGINT", "NULL"},
        {"a /* c */ + 1", "BIGINT", "NULL"},
    };
    struct weir_schema *schema = schema_of("a BIGINT");
    struct weir_batch *batch = weir_batch_new(schema, 1);
    struct weir_expr_scratch *scratch = weir_expr_scratch_new();
    weir_column_set_null(&batch->columns[0], 0, 1);
    batch->row_count = 1;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct weir_expr *expr;
        struct weir_expr_error error;
        struct weir_error why;
        struct weir_column out;
        char type[64], value[256];
        if (weir_expr_compile(cases[i].text, schema, &expr, &error))
            fail_msg("%s: %s", cases[i].text, error.error.message);
        if (weir_expr_eval(expr, batch, scratch, &out, NULL, &why))
            fail_msg("%s: %s", cases[i].text, why.message);
        value_text(expr, &out, 0, value, sizeof value);
        if (strcmp(value, cases[i].value) != 0 ||
            strcmp(weir_type_print(weir_expr_type(expr), type), cases[i].type) != 0)
            fail_msg("%s: %s %s", cases[i].text, value, weir_type_print(weir_expr_type(expr), type));
        weir_column_fini(&out);
        weir_expr_free(expr);
    }
    weir_expr_scratch_free(scratch);
    weir_batch_unref(batch);
    weir_schema_unref(schema);
}

/* --- Three-valued logic: all pairs of TRUE, FALSE, NULL as columns and as literals */

static int and3(int a, int b)
{
    return a == 0 || b == 0 ? 0 : a == 2 || b == 2 ? 2 : 1;
}
static int or3(int a, int b)
{
    return a == 1 || b == 1 ? 1 : a == 2 || b == 2 ? 2 : 0;
}

static void check_logic(const char *text, struct weir_schema *schema, struct weir_batch *batch, const int *want)
{
    struct weir_expr *expr;
    struct weir_expr_error error;
    struct weir_column out;
    struct weir_expr_scratch *scratch = weir_expr_scratch_new();
    uint64_t mask[2];
    if (weir_expr_compile(text, schema, &expr, &error))
        fail_msg("%s: %s", text, error.error.message);
    assert_int_equal(weir_expr_eval(expr, batch, scratch, &out, NULL, NULL), 0);
    assert_int_equal(weir_expr_eval_mask(expr, batch, scratch, mask, NULL, NULL), 0);
    for (int i = 0; i < batch->row_count; i++) {
        int got = weir_column_is_null(&out, i) ? 2 : weir_bit_get(out.bits, i);
        if (got != want[i] || weir_bit_get(mask, i) != (want[i] == 1))
            fail_msg("%s, row %d: %d, not %d", text, i, got, want[i]);
    }
    weir_column_fini(&out);
    weir_expr_free(expr);
    weir_expr_scratch_free(scratch);
}

static void test_logic(void **state)
{
    (void)state;
    static const char *const names[] = {"FALSE", "TRUE", "CAST(NULL AS BOOLEAN)"};
    struct weir_schema *schema = schema_of("p BOOLEAN, q BOOLEAN");
    struct weir_batch *batch = weir_batch_new(schema, 9);
    int p[9], q[9], want[9];
    for (int i = 0; i < 9; i++) {
        p[i] = i / 3;
        q[i] = i % 3;
        for (int c = 0; c < 2; c++) {
            int v = c ? q[i] : p[i];
            if (v == 2)
                weir_column_set_null(&batch->columns[c], i, 9);
            else
                weir_bit_put(batch->columns[c].bits, i, v);
        }
        batch->row_count = i + 1;
    }
#define CHECK(TEXT, WANT) \
    do { \
        for (int i = 0; i < 9; i++) \
            want[i] = (WANT); \
        check_logic(TEXT, schema, batch, want); \
    } while (0)
    CHECK("p AND q", and3(p[i], q[i]));
    CHECK("p OR q", or3(p[i], q[i]));
    CHECK("NOT p", p[i] == 2 ? 2 : !p[i]);
    CHECK("p IS NULL", p[i] == 2);
    CHECK("p IS NOT UNKNOWN", p[i] != 2);
    CHECK("p IS TRUE", p[i] == 1);
    CHECK("p IS NOT TRUE", p[i] != 1);
    CHECK("p IS FALSE", p[i] == 0);
    CHECK("p IS NOT FALSE", p[i] != 0);
    CHECK("p = q", p[i] == 2 || q[i] == 2 ? 2 : p[i] == q[i]);
    CHECK("p <> q", p[i] == 2 || q[i] == 2 ? 2 : p[i] != q[i]);
    CHECK("p < q", p[i] == 2 || q[i] == 2 ? 2 : p[i] < q[i]);
    CHECK("p IS DISTINCT FROM q", p[i] != q[i]);
    CHECK("p IS NOT DISTINCT FROM q", p[i] == q[i]);
    CHECK("COALESCE(p, q)", p[i] == 2 ? q[i] : p[i]);
    CHECK("NULLIF(p, q)", p[i] != 2 && p[i] == q[i] ? 2 : p[i]);
    CHECK("CASE WHEN p THEN q ELSE NOT q END", p[i] == 1 ? q[i] : q[i] == 2 ? 2 : !q[i]);
    CHECK("CASE WHEN p THEN TRUE WHEN q THEN FALSE END", p[i] == 1 ? 1 : q[i] == 1 ? 0 : 2);
    for (int literal = 0; literal < 3; literal++) {
        char text[100];
        snprintf(text, sizeof text, "p AND %s", names[literal]);
        CHECK(text, and3(p[i], literal));
        snprintf(text, sizeof text, "%s AND p", names[literal]);
        CHECK(text, and3(p[i], literal));
        snprintf(text, sizeof text, "p OR %s", names[literal]);
        CHECK(text, or3(p[i], literal));
        snprintf(text, sizeof text, "%s OR p", names[literal]);
        CHECK(text, or3(p[i], literal));
        snprintf(text, sizeof text, "%s AND %s OR p", names[literal], names[2 - literal]);
        CHECK(text, or3(p[i], and3(literal, 2 - literal)));
    }
    weir_batch_unref(batch);
    weir_schema_unref(schema);
}

/* --- Laziness and errors of rows */

static void check_failure(const char *text, struct weir_schema *schema, struct weir_batch *batch, int want_row,
                          const char *part)
{
    struct weir_expr *expr;
    struct weir_expr_error error;
    struct weir_error why = {0};
    struct weir_column out;
    struct weir_expr_scratch *scratch = weir_expr_scratch_new();
    int row = -1;
    if (weir_expr_compile(text, schema, &expr, &error))
        fail_msg("%s: %s", text, error.error.message);
    weir_err err = weir_expr_eval(expr, batch, scratch, &out, &row, &why);
    if (want_row < 0 ? err != 0 : err != WEIR_ERR_DATA || row != want_row || !strstr(why.message, part))
        fail_msg("%s: row %d, %s", text, row, err ? why.message : "works");
    weir_column_fini(&out);
    weir_expr_free(expr);
    weir_expr_scratch_free(scratch);
}

static void test_lazy(void **state)
{
    (void)state;
    struct weir_schema *schema = schema_of("n INT, s STRING");
    struct weir_batch *batch = weir_batch_new(schema, 100);
    for (int i = 0; i < 100; i++) {
        batch->columns[0].i32[i] = i == 70 ? 0 : i + 1;
        if (i == 71)
            weir_column_set_null(&batch->columns[0], i, 100);
        weir_column_set_bytes(&batch->columns[1], i, i == 80 ? "x" : "7", 1);
        batch->row_count = i + 1;
    }
    check_failure("10 / n", schema, batch, 70, "division by zero (column 4");
    check_failure("MOD(10, n)", schema, batch, 70, "division by zero");
    check_failure("CAST(s AS INT)", schema, batch, 80, "'x' cannot be cast to INT");
    check_failure("1 / 0", schema, batch, 0, "division by zero");
    check_failure("n = 50 AND 1 / 0 > 1", schema, batch, 49, "division by zero");
    check_failure("CASE WHEN n = 5 THEN 1 / 0 ELSE n END", schema, batch, 4, "division by zero");
    check_failure("REPEAT('0123456789', 2000000000)", schema, batch, 0, "bytes");
    check_failure("TRY_CAST(s AS INT)", schema, batch, -1, "");
    check_failure("CASE WHEN n <> 0 THEN 10 / n ELSE 0 END", schema, batch, -1, "");
    check_failure("n <> 0 AND 10 / n > 1", schema, batch, -1, "");
    check_failure("n = 0 OR 10 / n > 1", schema, batch, -1, "");
    check_failure("COALESCE(NULLIF(n, 0), 10 / (n + 1))", schema, batch, -1, "");
    check_failure("IF(s = 'x', 0, CAST(s AS INT))", schema, batch, -1, "");
    check_failure("s = 'z' AND 1 / 0 = 1", schema, batch, -1, "");
    check_failure("n / 0e0", schema, batch, -1, "");
    check_failure("10 / n BETWEEN 0 AND 1", schema, batch, 70, "division by zero");
    check_failure("n <> 0 AND 10 / n BETWEEN SYMMETRIC 5 / n AND 1", schema, batch, -1, "");
    weir_batch_unref(batch);
    weir_schema_unref(schema);
}

/* --- Select lists */

static void test_select(void **state)
{
    (void)state;
    struct weir_schema *schema = schema_of("id BIGINT NOT NULL, `timestamp` TIMESTAMP(3), name STRING");
    struct weir_batch *batch = weir_batch_new(schema, 3), *out;
    struct weir_select *select;
    struct weir_expr_error error;
    struct weir_expr_scratch *scratch = weir_expr_scratch_new();
    for (int i = 0; i < 3; i++) {
        batch->columns[0].i64[i] = i;
        batch->columns[1].i64[i] = i * 1000;
        weir_column_set_bytes(&batch->columns[2], i, "abc", (size_t)i);
        batch->row_count = i + 1;
    }
    static uint8_t changes[64] = {WEIR_INSERT, WEIR_DELETE, WEIR_INSERT};
    batch->change_buffer = weir_buffer_new(3);
    batch->change = memcpy(batch->change_buffer->bytes, changes, 3);
    batch->origin_ns = 77;
    assert_int_equal(
        weir_select_compile("*, id + 1 AS next, timestamp - INTERVAL '1' SECOND, 'k' k", schema, &select, &error), 0);
    struct weir_buf text;
    weir_buf_init(&text, 4096);
    assert_true(weir_schema_print(select->schema, &text));
    assert_non_null(strstr((char *)text.data, "next BIGINT NOT NULL"));
    assert_int_equal(select->item_count, 6);
    assert_string_equal(select->items[4].name, "EXPR$4");
    weir_buf_fini(&text);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(weir_select_eval(select, batch, scratch, &out, NULL, NULL), 0);
        assert_int_equal(out->row_count, 3);
        assert_ptr_equal(out->columns[0].values, batch->columns[0].values); /* shared, not copied */
        assert_ptr_equal(out->change, batch->change);
        assert_int_equal(out->origin_ns, 77);
        assert_int_equal(out->columns[3].i64[2], 3);
        assert_int_equal(out->columns[4].i64[0], -1000);
        size_t n;
        assert_memory_equal(weir_column_bytes(&out->columns[5], 2, &n), "k", 1);
        assert_int_equal(n, 1);
        weir_batch_unref(out);
    }
    weir_select_free(select);
    assert_int_equal(weir_select_compile("id, name AS id", schema, &select, &error), WEIR_ERR_EXISTS);
    assert_int_equal(error.column, 5);
    assert_int_equal(weir_select_compile("id,", schema, &select, &error), WEIR_ERR_INVALID);
    assert_int_equal(weir_select_compile("", schema, &select, &error), WEIR_ERR_INVALID);
    assert_int_equal(weir_select_compile("id AS", schema, &select, &error), WEIR_ERR_INVALID);
    struct weir_expr *expr;
    uint64_t used = 0;
    assert_int_equal(weir_expr_compile("name", schema, &expr, NULL), 0);
    assert_int_equal(weir_expr_is_column(expr), 2);
    weir_expr_columns(expr, &used);
    assert_int_equal(used, 4);
    weir_expr_free(expr);
    assert_int_equal(weir_expr_compile("name || 'x' = 'y' AND id > 1", schema, &expr, NULL), 0);
    assert_int_equal(weir_expr_is_column(expr), -1);
    used = 0;
    weir_expr_columns(expr, &used);
    assert_int_equal(used, 5);
    weir_expr_free(expr);
    weir_expr_scratch_free(scratch);
    weir_batch_unref(batch);
    weir_schema_unref(schema);
}

/* --- Random expressions against a plain evaluator */

enum kind { K_LONG, K_INT, K_DOUBLE, K_BOOL, K_TEXT, KINDS };
struct plain {
    bool null, error;
    int64_t i;
    double d;
    char text[256];
};
struct tree {
    int op;
    enum kind kind;
    struct tree *args[3];
    struct plain literal;
    int column;
};
enum {
    T_COLUMN,
    T_LITERAL,
    T_ADD,
    T_SUB,
    T_MUL,
    T_DIV,
    T_MOD,
    T_NEG,
    T_EQ,
    T_NE,
    T_LT,
    T_LE,
    T_GT,
    T_GE,
    T_AND,
    T_OR,
    T_NOT,
    T_ISNULL,
    T_ISTRUE,
    T_CASE,
    T_COALESCE,
    T_NULLIF,
    T_CONCAT,
    T_CAST,
    T_BETWEEN,
    T_IN,
    T_SYMMETRIC
};

static struct tree pool[4096];
static int pool_used;

static struct tree *generate(enum kind kind, int depth)
{
    struct tree *t = &pool[pool_used++];
    *t = (struct tree){.kind = kind};
    if (depth == 0 || pool_used > 3000 || rnd(6) == 0) {
        t->op = rnd(3) ? T_COLUMN : T_LITERAL;
        static const int columns[KINDS][2] = {{0, 0}, {1, 1}, {2, 2}, {3, 4}, {5, 5}};
        t->column = columns[kind][rnd(2)];
        t->literal = (struct plain){.null = rnd(6) == 0, .i = kind == K_BOOL ? rnd(2) : (int64_t)rnd(7) - 3};
        t->literal.d = (double)t->literal.i / 2;
        snprintf(t->literal.text, sizeof t->literal.text, "%s", rnd(2) ? "abc" : "B");
        return t;
    }
    if (rnd(3) == 0) {
        t->op = T_CASE + (int)rnd(3);
        bool is_case = t->op == T_CASE;
        t->args[0] = generate(is_case ? K_BOOL : kind, depth - 1);
        t->args[1] = generate(kind, depth - 1);
        if (is_case)
            t->args[2] = generate(kind, depth - 1);
        return t;
    }
    if (kind == K_TEXT) {
        t->op = T_CONCAT;
        t->args[0] = generate(kind, depth > 2 ? 2 : depth - 1);
        t->args[1] = generate(kind, depth > 2 ? 2 : depth - 1);
        return t;
    }
    if (kind != K_BOOL) {
        t->op = rnd(8) == 0 && kind != K_INT ? T_CAST : T_ADD + (int)rnd(6);
        t->args[0] = generate(t->op == T_CAST ? (kind == K_LONG ? K_INT : K_LONG) : kind, depth - 1);
        if (t->op != T_NEG && t->op != T_CAST)
            t->args[1] = generate(kind, depth - 1);
        return t;
    }
    static const int ops[] = {T_EQ, T_NE,  T_LT,     T_LE,     T_GT,      T_GE, T_AND,
                              T_OR, T_NOT, T_ISNULL, T_ISTRUE, T_BETWEEN, T_IN, T_SYMMETRIC};
    t->op = ops[rnd(14)];
    bool logic = t->op == T_AND || t->op == T_OR || t->op == T_NOT || t->op == T_ISTRUE;
    enum kind of = logic ? K_BOOL : (enum kind)rnd(KINDS);
    t->args[0] = generate(of, depth - 1);
    if (t->op != T_NOT && t->op != T_ISTRUE && t->op != T_ISNULL)
        t->args[1] = generate(of, depth - 1);
    if (t->op == T_BETWEEN || t->op == T_IN || t->op == T_SYMMETRIC)
        t->args[2] = generate(of, depth - 1);
    return t;
}

static void print_tree(const struct tree *t, struct weir_buf *out)
{
    static const char *const names[] = {"a", "b", "x", "p", "q", "s"};
    static const char *const types[] = {"BIGINT", "INT", "DOUBLE", "BOOLEAN", "STRING"};
    static const char *const infix[] = {
        [T_ADD] = "+", [T_SUB] = "-", [T_MUL] = "*", [T_DIV] = "/", [T_MOD] = "%",   [T_EQ] = "=",  [T_NE] = "<>",
        [T_LT] = "<",  [T_LE] = "<=", [T_GT] = ">",  [T_GE] = ">=", [T_AND] = "AND", [T_OR] = "OR", [T_CONCAT] = "||"};
    bool good = true;
#define OUT(...) good = good && weir_buf_printf(out, __VA_ARGS__)
#define SUB(i) print_tree(t->args[i], out)
    switch (t->op) {
    case T_COLUMN:
        OUT("%s", names[t->column]);
        break;
    case T_LITERAL:
        if (t->literal.null)
            OUT("CAST(NULL AS %s)", types[t->kind]);
        else if (t->kind == K_BOOL)
            OUT("%s", t->literal.i ? "TRUE" : "FALSE");
        else if (t->kind == K_TEXT)
            OUT("'%s'", t->literal.text);
        else if (t->kind == K_DOUBLE)
            OUT("%.1fe0", t->literal.d);
        else
            OUT("CAST(%d AS %s)", (int)t->literal.i, types[t->kind]);
        break;
    case T_NEG:
        OUT("(- "), SUB(0), OUT(")");
        break;
    case T_NOT:
        OUT("(NOT "), SUB(0), OUT(")");
        break;
    case T_ISNULL:
        OUT("("), SUB(0), OUT(" IS NULL)");
        break;
    case T_ISTRUE:
        OUT("("), SUB(0), OUT(" IS TRUE)");
        break;
    case T_CASE:
        OUT("CASE WHEN "), SUB(0), OUT(" THEN "), SUB(1), OUT(" ELSE "), SUB(2), OUT(" END");
        break;
    case T_COALESCE:
    case T_NULLIF:
        OUT(t->op == T_NULLIF ? "NULLIF(" : "COALESCE("), SUB(0), OUT(", "), SUB(1), OUT(")");
        break;
    case T_CAST:
        OUT("CAST("), SUB(0), OUT(" AS %s)", types[t->kind]);
        break;
    case T_BETWEEN:
    case T_SYMMETRIC:
        OUT("("), SUB(0), OUT(t->op == T_BETWEEN ? " BETWEEN " : " BETWEEN SYMMETRIC "), SUB(1), OUT(" AND "), SUB(2),
            OUT(")");
        break;
    case T_IN:
        OUT("("), SUB(0), OUT(" IN ("), SUB(1), OUT(", "), SUB(2), OUT("))");
        break;
    default:
        OUT("("), SUB(0), OUT(" %s ", infix[t->op]), SUB(1), OUT(")");
    }
    assert_true(good);
}

static int plain_compare(enum kind kind, const struct plain *a, const struct plain *b)
{
    if (kind == K_TEXT)
        return strcmp(a->text, b->text);
    if (kind == K_DOUBLE)
        return a->d != a->d || b->d != b->d ? 2 : (a->d > b->d) - (a->d < b->d); /* 2: unordered */
    return (a->i > b->i) - (a->i < b->i);
}

static struct plain plain_logic(bool value)
{
    return (struct plain){.i = value};
}

static struct plain plain_eval(const struct tree *t, const struct weir_batch *batch, int row);

static struct plain plain_arith(const struct tree *t, const struct plain *a, const struct plain *b)
{
    struct plain r = {0};
    if (a->null || (b && b->null)) {
        r.null = true;
        return r;
    }
    if (t->kind == K_DOUBLE) {
        r.d = t->op == T_ADD   ? a->d + b->d
              : t->op == T_SUB ? a->d - b->d
              : t->op == T_MUL ? a->d * b->d
              : t->op == T_DIV ? a->d / b->d
              : t->op == T_MOD ? fmod(a->d, b->d)
                               : -a->d;
        return r;
    }
    uint64_t x = (uint64_t)a->i, y = b ? (uint64_t)b->i : 0;
    if ((t->op == T_DIV || t->op == T_MOD) && b->i == 0) {
        r.error = true;
        return r;
    }
    if (t->op == T_DIV)
        r.i = b->i == -1 ? (int64_t)(0 - x) : a->i / b->i;
    else if (t->op == T_MOD)
        r.i = b->i == -1 ? 0 : a->i % b->i;
    else
        r.i = (int64_t)(t->op == T_ADD ? x + y : t->op == T_SUB ? x - y : t->op == T_MUL ? x * y : 0 - x);
    if (t->kind == K_INT)
        r.i = (int32_t)r.i;
    return r;
}

static struct plain plain_relation(const struct tree *t, int op, const struct plain *a, const struct plain *b)
{
    if (a->null || b->null)
        return (struct plain){.null = true};
    int order = plain_compare(t->args[0]->kind, a, b);
    if (order == 2)
        return plain_logic(op == T_NE);
    return plain_logic(op == T_EQ   ? order == 0
                       : op == T_NE ? order != 0
                       : op == T_LT ? order < 0
                       : op == T_LE ? order <= 0
                       : op == T_GT ? order > 0
                                    : order >= 0);
}

static struct plain plain_column(const struct tree *t, const struct weir_batch *batch, int row)
{
    const struct weir_column *column = &batch->columns[t->column];
    struct plain r = {.null = weir_column_is_null(column, row)};
    if (r.null)
        return r;
    if (t->kind == K_LONG)
        r.i = column->i64[row];
    else if (t->kind == K_INT)
        r.i = column->i32[row];
    else if (t->kind == K_DOUBLE)
        r.d = column->f64[row];
    else if (t->kind == K_BOOL)
        r.i = weir_bit_get(column->bits, row);
    else {
        size_t n;
        const uint8_t *s = weir_column_bytes(column, row, &n);
        snprintf(r.text, sizeof r.text, "%.*s", (int)n, (const char *)s);
    }
    return r;
}

/* AND and OR of what is known, evaluating the right side only where the left does not decide. */
static struct plain plain_and_or(bool and, struct plain a, struct plain (*right)(const void *), const void *arg)
{
    if (a.error || (!a.null && (a.i != 0) != and))
        return a;
    struct plain b = right(arg);
    if (b.error || (!b.null && (b.i != 0) != and))
        return b;
    return a.null || b.null ? (struct plain){.null = true} : plain_logic(and);
}
struct right_side {
    const struct tree *t;
    const struct weir_batch *batch;
    int row;
    const struct plain *a;
};
static struct plain right_tree(const void *arg)
{
    const struct right_side *r = arg;
    return plain_eval(r->t->args[1], r->batch, r->row);
}
static struct plain right_third(const void *arg) /* of BETWEEN and IN: a <= args[2], a = args[2] */
{
    const struct right_side *r = arg;
    struct plain c = plain_eval(r->t->args[2], r->batch, r->row);
    return c.error ? c : plain_relation(r->t, r->t->op == T_IN ? T_EQ : T_LE, r->a, &c);
}

/* (a >= b AND a <= c) OR (a >= c AND a <= b), with what that evaluates and what not */
static struct plain plain_symmetric(const struct tree *t, const struct weir_batch *batch, int row)
{
    struct tree up = *t, down = *t, both = {.op = T_OR, .kind = K_BOOL, .args = {&up, &down}};
    up.op = down.op = T_BETWEEN;
    down.args[1] = t->args[2];
    down.args[2] = t->args[1];
    return plain_eval(&both, batch, row);
}

static struct plain plain_eval(const struct tree *t, const struct weir_batch *batch, int row)
{
    if (t->op == T_SYMMETRIC)
        return plain_symmetric(t, batch, row);
    if (t->op == T_COLUMN)
        return plain_column(t, batch, row);
    if (t->op == T_LITERAL)
        return t->literal;
    struct plain a = plain_eval(t->args[0], batch, row), b = {0};
    struct right_side right = {t, batch, row, &a};
    if (a.error)
        return a;
    switch (t->op) {
    case T_CASE:
        return plain_eval(t->args[!a.null && a.i ? 1 : 2], batch, row);
    case T_COALESCE:
        return a.null ? plain_eval(t->args[1], batch, row) : a;
    case T_AND:
    case T_OR:
        return plain_and_or(t->op == T_AND, a, right_tree, &right);
    case T_NOT:
        return a.null ? a : plain_logic(!a.i);
    case T_ISNULL:
        return plain_logic(a.null);
    case T_ISTRUE:
        return plain_logic(!a.null && a.i);
    case T_CAST:
        a.d = (double)a.i;
        return a;
    case T_NEG:
        return plain_arith(t, &a, NULL);
    default:
        break;
    }
    b = plain_eval(t->args[1], batch, row);
    if (b.error)
        return b;
    if (t->op == T_BETWEEN || t->op == T_IN)
        return plain_and_or(t->op == T_BETWEEN, plain_relation(t, t->op == T_IN ? T_EQ : T_GE, &a, &b), right_third,
                            &right);
    if (t->op == T_NULLIF) {
        struct plain same = plain_relation(t, T_EQ, &a, &b);
        return !same.null && same.i ? (struct plain){.null = true} : a;
    }
    if (t->op == T_CONCAT) {
        struct plain r = {.null = a.null || b.null};
        if (!r.null)
            snprintf(r.text, sizeof r.text, "%.120s%.120s", a.text, b.text);
        return r;
    }
    if (t->op >= T_EQ && t->op <= T_GE)
        return plain_relation(t, t->op, &a, &b);
    return plain_arith(t, &a, &b);
}

static bool plain_same(enum kind kind, const struct plain *want, const struct weir_column *column, int row)
{
    size_t n;
    if (weir_column_is_null(column, row) || want->null)
        return want->null && weir_column_is_null(column, row);
    switch (kind) {
    case K_LONG:
        return column->i64[row] == want->i;
    case K_INT:
        return column->i32[row] == want->i;
    case K_DOUBLE:
        return (want->d != want->d && column->f64[row] != column->f64[row]) || column->f64[row] == want->d;
    case K_BOOL:
        return weir_bit_get(column->bits, row) == (want->i != 0);
    default: {
        const uint8_t *s = weir_column_bytes(column, row, &n);
        return n == strlen(want->text) && memcmp(s, want->text, n) == 0;
    }
    }
}

static void compare_random(struct weir_schema *schema, struct weir_expr_scratch *scratch, int rows, int *failing)
{
    pool_used = 0;
    struct tree *t = generate((enum kind)rnd(KINDS), 1 + (int)rnd(5));
    struct weir_buf text;
    weir_buf_init(&text, 1 << 20);
    print_tree(t, &text);
    struct weir_batch *batch = random_batch(schema, rows);
    struct weir_expr *expr;
    struct weir_expr_error error;
    struct weir_error why;
    struct weir_column out;
    int bad_row = -1, errors = 0;
    if (weir_expr_compile((char *)text.data, schema, &expr, &error))
        fail_msg("%s: %s", (char *)text.data, error.error.message);
    weir_err err = weir_expr_eval(expr, batch, scratch, &out, &bad_row, &why);
    for (int row = 0; row < rows; row++) {
        struct plain want = plain_eval(t, batch, row);
        errors += want.error;
        if (err && row == bad_row && !want.error)
            fail_msg("%s: row %d fails: %s", (char *)text.data, row, why.message);
        if (!err && (want.error || !plain_same(t->kind, &want, &out, row)))
            fail_msg("%s: row %d of %d differs", (char *)text.data, row, rows);
    }
    assert_true(!err == (errors == 0));
    *failing += err != 0;
    weir_column_fini(&out);
    weir_expr_free(expr);
    weir_batch_unref(batch);
    weir_buf_fini(&text);
}

static void test_random(void **state)
{
    (void)state;
    static const int sizes[] = {1, 2, 63, 64, 65, 130};
    struct weir_schema *schema = schema_of(COLUMNS);
    struct weir_expr_scratch *scratch = weir_expr_scratch_new(); /* one for all: registers must not leak between them */
    int failing = 0;
    for (int i = 0; i < 4000; i++) {
        seed = 1000 + (uint64_t)i;
        compare_random(schema, scratch, sizes[i % 6], &failing);
    }
    for (int i = 0; i < 50; i++)
        compare_random(schema, scratch, 2048, &failing);
    assert_true(failing > 50 && failing < 2000); /* rows that fail were met, and rows that do not */
    weir_expr_scratch_free(scratch);
    weir_schema_unref(schema);
}

/* --- Garbage: every text ends in an expression or an error with a column in the text */

static void try_text(const char *text, struct weir_schema *schema, struct weir_batch *batch,
                     struct weir_expr_scratch *scratch)
{
    struct weir_expr *expr;
    struct weir_expr_error error = {.column = -1};
    struct weir_column out;
    if (weir_expr_compile(text, schema, &expr, &error) == WEIR_OK) {
        if (weir_expr_eval(expr, batch, scratch, &out, NULL, NULL) == WEIR_OK)
            weir_column_fini(&out);
        weir_expr_free(expr);
    } else {
        assert_true(error.column >= 0 && error.column <= (int)strlen(text) + 1);
        assert_true(error.error.message[0] != '\0');
    }
}

static void test_garbage(void **state)
{
    (void)state;
    static const char *const words[] = {"a",
                                        "b",
                                        "x",
                                        "p",
                                        "s",
                                        "ts",
                                        "d",
                                        "(",
                                        ")",
                                        "+",
                                        "-",
                                        "*",
                                        "/",
                                        "%",
                                        "=",
                                        "<",
                                        "AND",
                                        "OR",
                                        "NOT",
                                        "IS",
                                        "NULL",
                                        "CASE",
                                        "WHEN",
                                        "THEN",
                                        "ELSE",
                                        "END",
                                        "IN",
                                        "LIKE",
                                        "BETWEEN",
                                        "CAST",
                                        "AS",
                                        "INT",
                                        "STRING",
                                        ",",
                                        "'x'",
                                        "1",
                                        "2.5",
                                        "1e3",
                                        "||",
                                        "UPPER",
                                        "SUBSTRING",
                                        "REPEAT",
                                        "LPAD",
                                        "INTERVAL",
                                        "'1'",
                                        "SECOND",
                                        "MONTH",
                                        "DATE",
                                        "'2024-01-31'",
                                        "TIMESTAMP",
                                        "EXTRACT",
                                        "FROM",
                                        "FLOOR",
                                        "TO",
                                        "YEAR",
                                        "COALESCE",
                                        "IF",
                                        "COUNT",
                                        "FILTER",
                                        "`timestamp`",
                                        "X'00'",
                                        "TRIM",
                                        "BOTH",
                                        "y",
                                        "t",
                                        "f",
                                        "TIMESTAMPADD",
                                        "-9223372036854775808",
                                        "ROUND",
                                        "DATE_FORMAT",
                                        "'yyyy'",
                                        "TO_TIMESTAMP",
                                        "ESCAPE",
                                        "INSTR",
                                        "TRANSLATE"};
    struct weir_schema *schema = schema_of(COLUMNS);
    struct weir_expr_scratch *scratch = weir_expr_scratch_new();
    seed = 99;
    struct weir_batch *batch = random_batch(schema, 65);
    char text[2000];
    for (int i = 0; i < 20000; i++) {
        size_t n = 0;
        if (i % 4 == 0) { /* bytes */
            for (n = rnd(60); n > 0; n--)
                text[n - 1] = (char)(1 + rnd(255));
            n = strlen(text);
            text[rnd(60)] = '\0';
        } else { /* words */
            text[0] = '\0';
            for (int k = (int)rnd(14) + 1; k > 0; k--)
                n += (size_t)snprintf(text + n, sizeof text - n, "%s ", words[rnd(sizeof words / sizeof *words)]);
        }
        try_text(text, schema, batch, scratch);
    }
    weir_batch_unref(batch);
    weir_expr_scratch_free(scratch);
    weir_schema_unref(schema);
}

static weir_err compile_repeated(const char *head, const char *unit, int times, const char *tail)
{
    struct weir_schema *schema = schema_of(COLUMNS);
    struct weir_expr *expr;
    size_t size = strlen(unit) * (size_t)times + strlen(head) + strlen(tail) + 1;
    char *text = weir_alloc(size), *p = text;
    p += sprintf(p, "%s", head);
    for (int i = 0; i < times; i++)
        p += sprintf(p, "%s", unit);
    sprintf(p, "%s", tail);
    weir_err err = weir_expr_compile(text, schema, &expr, NULL);
    weir_expr_free(expr);
    free(text);
    weir_schema_unref(schema);
    return err;
}

static void test_bounds(void **state)
{
    (void)state;
    assert_int_equal(compile_repeated("", "(", 190, "a"), WEIR_ERR_INVALID); /* not closed */
    assert_int_equal(compile_repeated("", "(", 60000, "a"), WEIR_ERR_FULL);
    assert_int_equal(compile_repeated("", "NOT ", 190, "p"), WEIR_OK);
    assert_int_equal(compile_repeated("", "NOT ", 10000, "p"), WEIR_ERR_FULL);
    assert_int_equal(compile_repeated("", "- ", 20000, "a"), WEIR_ERR_FULL);
    assert_int_equal(compile_repeated("a", " + a", 900, ""), WEIR_OK);
    assert_int_equal(compile_repeated("a", " + a", 10000, ""), WEIR_ERR_FULL);
    assert_int_equal(compile_repeated("", "UPPER(", 5000, "s"), WEIR_ERR_FULL);
    assert_int_equal(compile_repeated("", "CASE WHEN ", 5000, "p"), WEIR_ERR_FULL);
    assert_int_equal(compile_repeated("a IN (1", ", 2", 4000, ")"), WEIR_OK);
    assert_int_equal(compile_repeated("a IN (1", ", b", 4000, ")"), WEIR_OK);
    assert_int_equal(compile_repeated("a IN (1", ", 2", 5000, ")"), WEIR_ERR_FULL);
    assert_int_equal(compile_repeated("'", "x", 70000, "'"), WEIR_ERR_FULL);
    /* shared subtrees do not multiply: 2^150 without care */
    assert_int_equal(compile_repeated("b / 7", " BETWEEN 0 AND 1 IS TRUE", 0, ""), WEIR_OK);
    assert_int_equal(compile_repeated("p", " = p BETWEEN FALSE AND TRUE", 150, ""), WEIR_OK);
    weir_err err = compile_repeated("(10 / b > 1)", " BETWEEN SYMMETRIC p AND (10 / a > 2)", 150, "");
    assert_true(err == WEIR_OK || err == WEIR_ERR_FULL);
}

/* --- Both builds of the kernels do the same */

static void test_kernels(void **state)
{
    (void)state;
    const struct kernels *best = kernels_get();
    static const int widths[] = {1, 2, 4, 8, 4, 8}, counts[] = {1, 2, 63, 64, 65, 200};
    static uint64_t a[256], b[256], one[256], two[256];
    static const double specials[] = {0.0, -0.0, 1.5, -3, NAN, INFINITY, 1e300, -1e19, 3e9};
    for (int type = 0; type < KERNEL_TYPES; type++) {
        for (int i = 0; i < 256; i++) {
            a[i] = (uint64_t)rnd(1u << 31) << 33 ^ rnd(1u << 31);
            b[i] = rnd(3) ? a[i] : (uint64_t)rnd(1u << 31) << 33;
        }
        for (int i = 0; i < 200 && type >= 4; i++) {
            double x = specials[rnd(9)], y = specials[rnd(9)];
            if (type == 4) {
                ((float *)a)[i] = (float)x;
                ((float *)b)[i] = (float)y;
            } else {
                ((double *)a)[i] = x;
                ((double *)b)[i] = y;
            }
        }
        for (size_t c = 0; c < 6; c++) {
            int n = counts[c];
            size_t bytes = (size_t)n * (size_t)widths[type];
            for (int op = 0; op < 4; op++) {
                for (int shape = 0; shape < 3 && kernels_portable.arith[op][type][shape]; shape++) {
                    kernels_portable.arith[op][type][shape](one, a, b, n);
                    best->arith[op][type][shape](two, a, b, n);
                    if (type < 4) /* which NaN comes out is not said */
                        assert_memory_equal(one, two, bytes);
                }
            }
            for (int op = 0; op < 6; op++) {
                for (int shape = 0; shape < 2; shape++) {
                    memset(one, 0, sizeof one);
                    memset(two, 0, sizeof two);
                    kernels_portable.compare[op][type][shape](one, a, b, n);
                    best->compare[op][type][shape](two, a, b, n);
                    assert_memory_equal(one, two, weir_bitmap_words(n) * 8);
                }
            }
            for (int to = 0; to < KERNEL_TYPES; to++) {
                kernels_portable.convert[type][to](one, a, n);
                best->convert[type][to](two, a, n);
                assert_memory_equal(one, two, (size_t)n * (size_t)widths[to]);
            }
            for (int width = 0; width < 4; width++) {
                kernels_portable.choose[width](one, a, b, 1, a, 0, n);
                best->choose[width](two, a, b, 1, a, 0, n);
                assert_memory_equal(one, two, (size_t)n << width);
            }
        }
    }
}

/* Every function of the table can be named in an error's advice and is really there. */
static void test_names(void **state)
{
    (void)state;
    int count;
    const char *const *names = weir_expr_function_names(&count);
    assert_true(count >= 60);
    struct weir_schema *schema = schema_of(COLUMNS);
    for (int i = 0; i < count; i++) {
        char text[100];
        struct weir_expr *expr;
        struct weir_expr_error error;
        snprintf(text, sizeof text, "%s(p, p, p, p, p, p, p)", names[i]);
        assert_true(weir_expr_compile(text, schema, &expr, &error) != WEIR_ERR_NOT_FOUND);
        weir_expr_free(expr);
    }
    weir_schema_unref(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors), cmocka_unit_test(test_values),  cmocka_unit_test(test_logic),
        cmocka_unit_test(test_lazy),   cmocka_unit_test(test_select),  cmocka_unit_test(test_random),
        cmocka_unit_test(test_bounds), cmocka_unit_test(test_garbage), cmocka_unit_test(test_kernels),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests_name("expr", tests, NULL, NULL);
}
