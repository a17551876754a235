/* JSON: what is read and what is bad, lines in windows against records one by one, the conformance cases, round trips. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "format/format.h"
#include "unit/data_random.h"

static const struct weir_format *json;

static int setup(void **state)
{
    (void)state;
    return weir_format_find("json", &json, NULL);
}

static struct weir_schema *schema_of(const char *text)
{
    struct weir_schema *schema;
    struct weir_error error;
    if (weir_schema_parse(text, &schema, &error))
        fail_msg("%s", error.message);
    return schema;
}

struct reader {
    struct weir_schema *schema;
    struct weir_decoder *decoder;
    struct weir_batch *batch;
    struct weir_error error;
};

static void reader_open(struct reader *reader, const char *schema, const char *key, const char *value)
{
    struct weir_key_value option = {key, value};
    memset(reader, 0, sizeof *reader);
    reader->schema = schema_of(schema);
    assert_int_equal(json->decoder_new(reader->schema, &option, key ? 1 : 0, &reader->decoder, &reader->error), 0);
    reader->batch = weir_batch_new(reader->schema, 1000);
}

static void reader_close(struct reader *reader)
{
    json->decoder_free(reader->decoder);
    weir_batch_unref(reader->batch);
    weir_schema_unref(reader->schema);
}

static void reader_clear(struct reader *reader)
{
    weir_batch_unref(reader->batch);
    reader->batch = weir_batch_new(reader->schema, 1000);
}

/* A record in memory that ends with it (not padded), or padded by what could mislead. */
static weir_err decode(struct reader *reader, const void *bytes, size_t size, bool padded)
{
    uint8_t *copy = malloc(size + 64);
    if (size > 0)
        memcpy(copy, bytes, size);
    if (padded) {
        for (size_t i = 0; i < 64; i++)
            copy[size + i] = (uint8_t) "1\"}]9"[i % 5];
    } else {
        copy = realloc(copy, size ? size : 1);
    }
    int rows = reader->batch->row_count;
    weir_err err = json->decode(reader->decoder, copy, size, padded, reader->batch, &reader->error);
    assert_int_equal(reader->batch->row_count, rows + (err == 0));
    assert_true(err == 0 || err == WEIR_ERR_DATA);
    free(copy);
    return err;
}

static void expect_row(struct reader *reader, const char *record, const char *expected)
{
    for (int padded = 0; padded < 2; padded++) {
        reader_clear(reader);
        if (decode(reader, record, strlen(record), padded))
            fail_msg("%s: %s", record, reader->error.message);
        struct weir_buf out;
        weir_buf_init(&out, 10000);
        assert_true(weir_batch_print_row(reader->batch, 0, &out));
        assert_string_equal((const char *)out.data, expected);
        weir_buf_fini(&out);
    }
}

static void expect_bad(struct reader *reader, const char *record, const char *sentence)
{
    for (int padded = 0; padded < 2; padded++) {
        reader_clear(reader);
        if (!decode(reader, record, strlen(record), padded))
            fail_msg("'%s' is accepted", record);
        if (!strstr(reader->error.message, sentence))
            fail_msg("'%s': %s", record, reader->error.message);
    }
}

static void values_of_every_type(void **state)
{
    (void)state;
    struct reader reader;
    reader_open(&reader, ALL_TYPES_SCHEMA, NULL, NULL);
    expect_row(
        &reader,
        "{\"b\":true,\"i8\":-128,\"i16\":32767,\"i32\":-2147483648,\"i64\":9223372036854775807,\"f\":0.1,"
        "\"d\":-1.5e3,\"s\":\"h\\u00e9\\n\",\"y\":\"AQID\",\"dt\":\"2013-01-01\",\"t\":\"06:00:00.5\","
        "\"ts\":\"2013-01-01T06:00:00Z\"}",
        "{\"b\": true, \"i8\": -128, \"i16\": 32767, \"i32\": -2147483648, \"i64\": 9223372036854775807, "
        "\"f\": 0.100000001, \"d\": -1500, \"s\": \"h\xc3\xa9\\u000a\", \"y\": x'010203', \"dt\": \"2013-01-01\", "
        "\"t\": \"06:00:00.500\", \"ts\": \"2013-01-01 06:00:00.000\"}");
    const char *nulls = "{\"b\": null, \"i8\": null, \"i16\": null, \"i32\": null, \"i64\": null, \"f\": null, "
                        "\"d\": null, \"s\": null, \"y\": null, \"dt\": null, \"t\": null, \"ts\": null}";
    expect_row(&reader, "{}", nulls);
    expect_row(&reader, " { \"s\" : null , \"x\" : [ 1 , { \"b\" : true } ] , \"d\" : null } \r\n", nulls);
    expect_row(
        &reader, "{\"i64\":-9223372036854775808,\"i8\":-0,\"ts\":1357020000123}",
        "{\"b\": null, \"i8\": 0, \"i16\": null, \"i32\": null, \"i64\": -9223372036854775808, \"f\": null, "
        "\"d\": null, \"s\": null, \"y\": null, \"dt\": null, \"t\": null, \"ts\": \"2013-01-01 06:00:00.123\"}");
    reader_close(&reader);

    reader_open(&reader, "d DOUBLE, s STRING, `a\"b` INT", NULL, NULL);
    expect_row(&reader, "{\"d\":1,\"s\":\"1\",\"d\":2,\"s\":null,\"s\":\"last\"}",
               "{\"d\": 2, \"s\": \"last\", \"a\"b\": null}");
    expect_row(&reader, "{\"d\":1,\"d\":null}", "{\"d\": null, \"s\": null, \"a\"b\": null}");
    expect_row(&reader, "{\"d\":null,\"d\":1}", "{\"d\": 1, \"s\": null, \"a\"b\": null}");
    expect_row(&reader, "{\"\\u0064\":3,\"a\\\"b\":4,\"\":5}", "{\"d\": 3, \"s\": null, \"a\"b\": 4}");
    expect_row(&reader, "{\"d\":\"-Infinity\",\"s\":\"\\ud83d\\ude00\\\\\\/\\\"\\b\\f\\r\\t\"}",
               "{\"d\": -inf, \"s\": \"\xf0\x9f\x98\x80\\\\/\\\"\\u0008\\u000c\\u000d\\u0009\", \"a\"b\": null}");
    expect_row(&reader, "{\"s\":\"0123456789abcdef0123456789abcdef\\n0123456789abcdef\"}",
               "{\"d\": null, \"s\": \"0123456789abcdef0123456789abcdef\\u000a0123456789abcdef\", \"a\"b\": null}");
    reader_close(&reader);

    reader_open(&reader, "ts TIMESTAMP(0), t TIME(1), u TIMESTAMP(2)", NULL, NULL);
    expect_row(&reader, "{\"ts\":\"1969-12-31T23:59:59.999\",\"t\":\"06:00:00.99\",\"u\":-1}",
               "{\"ts\": \"1969-12-31 23:59:59\", \"t\": \"06:00:00.9\", \"u\": \"1969-12-31 23:59:59.99\"}");
    reader_close(&reader);
}

static void nested_values_and_decimals(void **state)
{
    (void)state;
    struct reader reader;
    reader_open(&reader, "d DECIMAL(38, 10), e DECIMAL(5, 2), l TIMESTAMP_LTZ(3)", NULL, NULL);
    expect_row(&reader,
               "{\"d\":1234567890123456789012345678.0123456789,\"e\":\"-1.50\",\"l\":\"2013-01-01T06:00:00+02:00\"}",
               "{\"d\": 1234567890123456789012345678.0123456789, \"e\": -1.50, \"l\": \"2013-01-01T04:00:00Z\"}");
    expect_row(&reader, "{\"d\":1.5e3,\"e\":0.0010E3,\"l\":1}",
               "{\"d\": 1500.0000000000, \"e\": 1.00, \"l\": \"1970-01-01T00:00:00.001Z\"}");
    expect_row(&reader, "{\"d\":-0,\"e\":999.99000}", "{\"d\": 0.0000000000, \"e\": 999.99, \"l\": null}");
    static const char *const decimals[][2] = {
        {"{\"e\":1000}", "more digits"},  {"{\"e\":0.001}", "more digits behind"}, {"{\"e\":\"1,5\"}", "not a number"},
        {"{\"e\":true}", "is a boolean"}, {"{\"e\":\"\"}", "not a number"},        {"{\"e\":1e400}", "more digits"},
        {"{\"e\":[1]}", "is an array"},
    };
    for (size_t i = 0; i < sizeof decimals / sizeof *decimals; i++)
        expect_bad(&reader, decimals[i][0], decimals[i][1]);
    reader_close(&reader);

    reader_open(&reader,
                "id INT NOT NULL, tags ARRAY<STRING>, m MAP<STRING, ARRAY<INT>>, "
                "r ROW<a INT NOT NULL, b ROW<c DECIMAL(4, 1), d BOOLEAN>>, rows ARRAY<ROW<x INT, y STRING>>",
                NULL, NULL);
    expect_row(
        &reader,
        "{\"id\":1,\"tags\":[\"a\",null,\"b\\n\"],\"m\":{\"k\":[1,2],\"n\":null,\"e\":[]},"
        "\"r\":{\"z\":[{}],\"b\":{\"d\":true,\"c\":1.5},\"a\":7},\"rows\":[{\"x\":1},null,{\"y\":\"t\",\"x\":null}]}",
        "{\"id\": 1, \"tags\": [\"a\", null, \"b\\u000a\"], \"m\": {\"k\": [1, 2], \"n\": null, \"e\": []}, "
        "\"r\": {\"a\": 7, \"b\": {\"c\": 1.5, \"d\": true}}, \"rows\": [{\"x\": 1, \"y\": null}, null, "
        "{\"x\": null, \"y\": \"t\"}]}");
    expect_row(&reader, "{\"id\":2}", "{\"id\": 2, \"tags\": null, \"m\": null, \"r\": null, \"rows\": null}");
    /* Of doubled members and keys the last counts. */
    expect_row(
        &reader,
        "{\"id\":3,\"tags\":[\"x\"],\"tags\":[],\"m\":{\"k\":[1],\"l\":[2],\"k\":[3,4]},\"r\":null,\"r\":{\"a\":1,\"a\":2}}",
        "{\"id\": 3, \"tags\": [], \"m\": {\"k\": [3, 4], \"l\": [2]}, \"r\": {\"a\": 2, \"b\": null}, \"rows\": null}");
    static const char *const cases[][2] = {
        {"{\"id\":1,\"tags\":[1]}", "column 'tags[]' (STRING) is a number"},
        {"{\"id\":1,\"tags\":{}}", "column 'tags' (ARRAY<STRING>) is an object"},
        {"{\"id\":1,\"tags\":[\"a\" \"b\"]}", "closing bracket"},
        {"{\"id\":1,\"tags\":[\"a\",]}", "is not JSON"},
        {"{\"id\":1,\"tags\":[\"a\"", "cut off"},
        {"{\"id\":1,\"tags\":[", "cut off"},
        {"{\"id\":1,\"m\":[]}", "is an array"},
        {"{\"id\":1,\"m\":{\"a\":[\"x\"]}}", "column 'm{}[]' (INT)"},
        {"{\"id\":1,\"m\":{\"a\"}}", "no value"},
        {"{\"id\":1,\"r\":{}}", "column 'r.a' (INT NOT NULL) is missing"},
        {"{\"id\":1,\"r\":{\"a\":null}}", "column 'r.a' (INT NOT NULL) is null"},
        {"{\"id\":1,\"r\":{\"a\":1,\"b\":{\"c\":1.55}}}", "column 'r.b.c' (DECIMAL(4, 1))"},
        {"{\"id\":1,\"r\":{\"a\":1,\"q\":[}}", "is not JSON"},
        {"{\"id\":1,\"rows\":[{\"x\":1},{\"x\":\"1\"}]}", "column 'rows[].x'"},
        {"{\"id\":1,\"rows\":[{\"x\":1}]", "cut off"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_bad(&reader, cases[i][0], cases[i][1]);
    expect_row(&reader, "{\"id\":4,\"tags\":[\"after\"]}",
               "{\"id\": 4, \"tags\": [\"after\"], \"m\": null, \"r\": null, \"rows\": null}");
    reader_close(&reader);

    struct weir_schema *schema;
    struct weir_decoder *decoder;
    struct weir_error error;
    assert_int_equal(weir_schema_parse("a ROW<m MAP<INT, STRING>>", &schema, NULL), 0);
    assert_int_equal(json->decoder_new(schema, NULL, 0, &decoder, &error), WEIR_ERR_INVALID);
    assert_non_null(strstr(error.message, "must be STRING"));
    weir_schema_unref(schema);
}

static void bad_records_say_why(void **state)
{
    (void)state;
    struct reader reader;
    reader_open(&reader, ALL_TYPES_SCHEMA, NULL, NULL);
    static const char *const cases[][2] = {
        {"", "empty"},
        {"  \n ", "empty"},
        {"12", "not a JSON object"},
        {"[]", "not a JSON object"},
        {"\"{}\"", "not a JSON object"},
        {"{", "not a JSON object"},
        {"}", "not a JSON object"},
        {"{}{}", "follows"},
        {"{} x", "follows"},
        {"{\"s\"", "cut off"},
        {"{\"s\":", "cut off"},
        {"{\"s\":\"x\"", "cut off"},
        {"{\"s\":\"x\",", "cut off"},
        {"{\"s\":\"x\",}", "no name"},
        {"{\"s\":\"x", "string"},
        {"{\"s\" \"x\"}", "cut off"},
        {"{\"s\":\"x\" \"b\":true}", "comma"},
        {"{s:1}", "no name"},
        {"{\"s\":\"a\tb\"}", "control character"},
        {"{\"s\":\"\xff\"}", "UTF-8"},
        {"{\"x\":\"\xc3\"}", "UTF-8"},
        {"{\"s\":\"\\ud800\"}", "surrogate"},
        {"{\"s\":\"\\ud800\\u0041\"}", "surrogate"},
        {"{\"s\":\"\\x\"}", "escape"},
        {"{\"s\":\"\\u12g4\"}", "escape"},
        {"{\"x\":\"\\x\"}", "not read"},
        {"{\"\\x\":1}", "not read"},
        {"{\"x\":01}", "not read"},
        {"{\"x\":[1,]}", "not read"},
        {"{\"x\":[1}", "not read"},
        {"{\"x\":{\"y\":1,}}", "not read"},
        {"{\"x\":{\"y\"}}", "not read"},
        {"{\"x\":{1:2}}", "not read"},
        {"{\"x\":tru}", "not read"},
        {"{\"x\":nulll}", "not read"},
        {"{\"x\":[[[", "not read"},
        {"{\"x\":{\"d\":[}}", "not read"},
        {"{\"b\":1}", "column 'b' (BOOLEAN) is a number"},
        {"{\"b\":\"true\"}", "column 'b' (BOOLEAN) is a string"},
        {"{\"b\":truex}", "column 'b'"},
        {"{\"i8\":128}", "column 'i8' (TINYINT) is a number that is not whole or out of range"},
        {"{\"i8\":-129}", "out of range"},
        {"{\"i16\":32768}", "out of range"},
        {"{\"i32\":2147483648}", "out of range"},
        {"{\"i64\":9223372036854775808}", "out of range"},
        {"{\"i64\":-9223372036854775809}", "out of range"},
        {"{\"i64\":18446744073709551616}", "out of range"},
        {"{\"i64\":99999999999999999999999}", "out of range"},
        {"{\"i32\":1.0}", "not whole"},
        {"{\"i32\":1e3}", "not whole"},
        {"{\"i32\":\"1\"}", "is a string"},
        {"{\"i32\":true}", "is a boolean"},
        {"{\"i32\":{}}", "is an object"},
        {"{\"i32\":[1]}", "is an array"},
        {"{\"i32\":01}", "column 'i32'"},
        {"{\"i32\":-}", "column 'i32'"},
        {"{\"i32\":1x}", "column 'i32'"},
        {"{\"i32\":+1}", "column 'i32'"},
        {"{\"d\":1.}", "column 'd'"},
        {"{\"d\":.5}", "column 'd'"},
        {"{\"d\":1e}", "column 'd'"},
        {"{\"d\":1e999}", "out of range"},
        {"{\"d\":-1e999999999999999999999}", "out of range"},
        {"{\"d\":NaN}", "column 'd'"},
        {"{\"d\":\"1\"}", "is a string"},
        {"{\"f\":1e39}", "out of range"},
        {"{\"s\":1}", "column 's' (STRING) is a number"},
        {"{\"s\":nul}", "column 's' (STRING) is not JSON"},
        {"{\"y\":\"AQI\"}", "base64"},
        {"{\"y\":\"AQ-=\"}", "base64"},
        {"{\"dt\":\"2013-02-29\"}", "not a date"},
        {"{\"dt\":5}", "column 'dt'"},
        {"{\"t\":\"25:00:00\"}", "not a time"},
        {"{\"ts\":\"yesterday\"}", "not a timestamp"},
        {"{\"ts\":1.5}", "whole milliseconds"},
        {"{\"ts\":253402300800000}", "years 1 to 9999"},
        {"{\"ts\":true}", "column 'ts'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_bad(&reader, cases[i][0], cases[i][1]);
    reader_close(&reader);

    reader_open(&reader, "a INT NOT NULL, b STRING", NULL, NULL);
    expect_bad(&reader, "{\"b\":\"x\"}", "column 'a' (INT NOT NULL) is missing");
    expect_bad(&reader, "{\"a\":null}", "column 'a' (INT NOT NULL) is null");
    /* A bad record leaves nothing in the row that follows. */
    reader_clear(&reader);
    assert_int_not_equal(decode(&reader, "{\"b\":null,\"a\":null}", 19, false), 0);
    assert_int_equal(decode(&reader, "{\"b\":\"x\",\"a\":1}", 15, false), 0);
    assert_false(weir_column_is_null(&reader.batch->columns[1], 0));
    reader_close(&reader);

    reader_open(&reader, "a INT, b STRING", "json.fail-on-missing-field", "true");
    expect_bad(&reader, "{\"b\":\"x\"}", "column 'a' (INT) is missing");
    expect_row(&reader, "{\"b\":\"x\",\"a\":null}", "{\"a\": null, \"b\": \"x\"}");
    reader_close(&reader);
}

static void print_double(char *out, size_t size, int form, double value)
{
    if (form < 2)
        snprintf(out, size, "%.*g", form ? 17 : 15, value);
    else if (form < 5)
        snprintf(out, size, "%.*f", form == 2 ? 0 : form == 3 ? 3 : 30, value);
    else
        snprintf(out, size, "%.9e", value);
}

static void numbers_are_exact(void **state)
{
    (void)state;
    struct reader reader;
    struct random random = {9};
    reader_open(&reader, "d DOUBLE, f FLOAT", NULL, NULL);
    for (int i = 0; i < 40000; i++) {
        char number[80], record[200];
        double value = random_double(&random);
        if (i % 5 == 0) {
            uint64_t bits = random_next(&random);
            memcpy(&value, &bits, 8);
            if (!isfinite(value))
                continue;
        }
        if (fabs(value) > 1e30 || fabs(value) < 1e-20)
            snprintf(number, sizeof number, "%.17g", value);
        else
            print_double(number, sizeof number, random_below(&random, 6), value);
        double expected = strtod(number, NULL);
        float narrow = strtof(number, NULL);
        bool narrow_fits = isfinite(narrow);
        int size = snprintf(record, sizeof record, narrow_fits ? "{\"d\":%s,\"f\":%s}" : "{\"d\":%s}", number, number);
        reader_clear(&reader);
        if (decode(&reader, record, (size_t)size, i % 2))
            fail_msg("%s: %s", record, reader.error.message);
        assert_memory_equal(&reader.batch->columns[0].f64[0], &expected, 8);
        if (narrow_fits)
            assert_memory_equal(&reader.batch->columns[1].f32[0], &narrow, 4);
    }
    static const char *const tiny[] = {"1e-400", "-1e-400", "0.0e999", "0e-999999999999",
                                       "123456789012345678901234567890e-400"};
    for (size_t i = 0; i < 5; i++) {
        char record[100];
        int size = snprintf(record, sizeof record, "{\"d\":%s}", tiny[i]);
        reader_clear(&reader);
        if (decode(&reader, record, (size_t)size, false))
            fail_msg("%s: %s", record, reader.error.message);
        double expected = strtod(tiny[i], NULL);
        assert_memory_equal(&reader.batch->columns[0].f64[0], &expected, 8);
    }
    reader_close(&reader);
}

static void depth_has_a_bound(void **state)
{
    (void)state;
    struct reader reader;
    reader_open(&reader, "a INT", NULL, NULL);
    for (int depth = 1; depth <= 100000; depth = depth < 10 ? depth * 10 : depth + (depth < 2000 ? 507 : 49000)) {
        char *record = malloc((size_t)depth * 2 + 32), *p = record;
        p += sprintf(p, "{\"x\":");
        memset(p, '[', (size_t)depth);
        memset(p + depth, ']', (size_t)depth);
        strcpy(p + 2 * depth, ",\"a\":1}");
        reader_clear(&reader);
        assert_int_equal(decode(&reader, record, strlen(record), depth % 2), depth <= 1024 ? 0 : WEIR_ERR_DATA);
        free(record);
    }
    reader_close(&reader);
}

/* --- Lines */

struct outcome {
    int rows;
    int bad;
    struct weir_batch *batch; /* of all rows */
    size_t bad_at[1000], bad_size[1000];
};

/* The whole text through decode_lines, in batches of `capacity` rows, `chunk` bytes more at a time. */
static void lines_through(struct reader *reader, const uint8_t *text, size_t size, int capacity, size_t chunk,
                          struct outcome *outcome)
{
    size_t position = 0, given = chunk < size ? chunk : size;
    memset(outcome, 0, sizeof *outcome);
    outcome->batch = weir_batch_new(reader->schema, WEIR_BATCH_ROWS_MAX);
    for (int calls = 0;; calls++) {
        assert_true(calls < 100000);
        bool last = given == size;
        struct weir_batch *batch = weir_batch_new(reader->schema, capacity);
        /* Fresh memory each time; the padding is what could mislead. */
        uint8_t *copy = malloc(given - position + 64);
        memcpy(copy, text + position, given - position);
        memset(copy + given - position, '}', 64);
        size_t used = 0, bad_at = 0, bad_size = 0;
        weir_err err = json->decode_lines(reader->decoder, copy, given - position, last, batch, &used, &bad_at,
                                          &bad_size, &reader->error);
        free(copy);
        assert_true(used <= given - position);
        if (err) {
            assert_int_equal(err, WEIR_ERR_DATA);
            assert_true(outcome->bad < 1000 && bad_at + bad_size <= used);
            outcome->bad_at[outcome->bad] = position + bad_at;
            outcome->bad_size[outcome->bad++] = bad_size;
        }
        int32_t rows[WEIR_BATCH_ROWS_MAX];
        for (int i = 0; i < batch->row_count; i++)
            rows[i] = i;
        weir_batch_append_rows(outcome->batch, batch, rows, batch->row_count);
        bool stuck = !err && batch->row_count < capacity && used == 0;
        weir_batch_unref(batch);
        position += used;
        if (position == size)
            break;
        if (position == given || stuck) {
            assert_false(last && stuck);
            given = given + chunk < size ? given + chunk : size;
        }
    }
    outcome->rows = outcome->batch->row_count;
}

/* The same, a line at a time through decode(). `fresh`: each by a decoder that knows no shape yet, the full reader. */
static void records_through(struct reader *reader, const uint8_t *text, size_t size, bool fresh,
                            struct outcome *outcome)
{
    memset(outcome, 0, sizeof *outcome);
    outcome->batch = weir_batch_new(reader->schema, WEIR_BATCH_ROWS_MAX);
    for (size_t at = 0; at < size;) {
        const uint8_t *newline = memchr(text + at, '\n', size - at);
        size_t line = newline ? (size_t)(newline - text) - at : size - at;
        if (strspn((const char *)text + at, " \t\r") < line) {
            uint8_t *copy = malloc(line ? line : 1);
            memcpy(copy, text + at, line);
            if (fresh) {
                json->decoder_free(reader->decoder);
                assert_int_equal(json->decoder_new(reader->schema, NULL, 0, &reader->decoder, NULL), 0);
            }
            if (json->decode(reader->decoder, copy, line, false, outcome->batch, &reader->error)) {
                outcome->bad_at[outcome->bad] = at;
                outcome->bad_size[outcome->bad++] = line;
            }
            free(copy);
        }
        at += line + 1;
    }
    outcome->rows = outcome->batch->row_count;
}

static size_t random_lines(struct random *random, uint8_t *text, int lines, int broken_in)
{
    uint8_t *p = text;
    static const char *const odd[] = {
        "{\"a\":1", ",\"b\":\"x\"}", "\"",         "\\",          "{",    "}",
        "[",        "{\"a\":\"",     "\"}",        "\xff",        "",     "  ",
        "{}",       "nul",           "{\"a\":1}}", "{\"s\":\"\\", "\\\"", "{\"a\":1,\"s\":\"x\"}{\"a\":2}"};
    for (int i = 0; i < lines; i++) {
        if (broken_in && random_below(random, broken_in) == 0) {
            p += sprintf((char *)p, "%s\n", odd[random_below(random, 18)]);
            continue;
        }
        uint8_t *start = p;
        switch (random_below(random, 4)) {
        case 0:
            p += sprintf((char *)p, "{\"s\":\"dev-%d\",\"a\":%d,\"skip\":{\"x\":[1,2,\"}\"]},\"d\":%.2f}",
                         random_below(random, 1000), random_below(random, 100), random_below(random, 10000) / 100.0);
            break;
        case 1:
            p += sprintf((char *)p, " { \"a\" : %d , \"s\" : \"q\\\"%d\" }\r", random_below(random, 100), i);
            break;
        case 2:
            p += sprintf((char *)p, "{\"d\":%d,\"ts\":\"2013-01-01T%02d:%02d:%02dZ\"}", i, random_below(random, 24),
                         random_below(random, 60), random_below(random, 60));
            break;
        default:
            p += sprintf((char *)p, "{\"s\":null,\"other name that is rather long\":null,\"a\":%d}", i);
        }
        if (broken_in && random_below(random, broken_in) == 0)
            start[random_next(random) % (uint64_t)(p - start)] ^= (uint8_t)(1 << random_below(random, 8));
        *p++ = '\n';
    }
    *p = 0;
    return (size_t)(p - text);
}

static void same_outcome(const struct outcome *by_lines, const struct outcome *by_records, const char *text)
{
    if (by_lines->rows != by_records->rows || by_lines->bad != by_records->bad)
        fail_msg("%d rows and %d bad, %d and %d expected: %.2000s", by_lines->rows, by_lines->bad, by_records->rows,
                 by_records->bad, text);
    for (int i = 0; i < by_lines->bad; i++) {
        assert_int_equal(by_lines->bad_at[i], by_records->bad_at[i]);
        assert_int_equal(by_lines->bad_size[i], by_records->bad_size[i]);
    }
    for (int row = 0; row < by_lines->rows; row++) {
        if (!same_row(by_lines->batch, row, by_records->batch, row))
            fail_msg("row %d differs: %.2000s", row, text);
    }
}

static size_t shaped_line(struct random *random, char *to, const char *odd, int style)
{
    static const char *const usual[7][5] = {
        {"true", "false", "true", "false", "false"},
        {"0", "-1", "2147483647", "-2147483648", "12345678"},
        {"123456789", "9223372036854775807", "-9223372036854775808", "99999999", "-0"},
        {"72.47", "-0.5", "100.125", "0.1234567890123456", "12345678.5"},
        {"1.5", "16777217", "0.1", "1e3", "-3"},
        {"\"gpu-00037\"", "\"\"", "\"0123456789abcdef\"", "\"0123456789abcdefg\"",
         "\"d\xc3\xa9j\xc3\xa0 vu, more than sixteen\""},
        {"\"2026-01-01T00:00:59.003Z\"", "\"2026-01-01T00:59:00Z\"", "1357020000123", "\"2026-01-01 01:00:00.999\"",
         "\"2026-01-01T00:00:00.000Z\""},
    };
    static const char *const names[7] = {"b", "i", "l", "d", "f a column whose name is rather long", "s", "timestamp"};
    char *p = to;
    int odd_at = odd ? random_below(random, 8) : -1, unread_at = style % 8;
    p += sprintf(p, "{");
    for (int i = 0; i < 8; i++) {
        int column = i == unread_at ? -1 : i - (i > unread_at);
        const char *value = column < 0 ? usual[random_below(random, 7)][random_below(random, 5)]
                                       : usual[column][random_below(random, 5)];
        p += sprintf(p, style & 8 ? "%s\"%s\": %s" : "%s\"%s\":%s",
                     i == 0      ? ""
                     : style & 8 ? ", "
                                 : ",",
                     column < 0 ? "other" : names[column], i == odd_at ? odd : value);
    }
    p += sprintf(p, style & 16 ? "}\r" : "}");
    return (size_t)(p - to);
}

static void windows_equal_single_records(void **state)
{
    (void)state;
    struct random random = {21};
    struct reader reader;
    static uint8_t text[512 << 10];
    static struct outcome by_lines, by_records, in_a_row;
    static const int capacities[] = {1, 2, 63, 64, 65, 4096};
    reader_open(&reader, "a INT, s STRING, d DOUBLE, ts TIMESTAMP(3)", NULL, NULL);
    int bad = 0, rows = 0;
    for (int round = 0; round < 150; round++) {
        static const int broken[] = {0, 300, 20, 3};
        size_t size = random_lines(&random, text, 1 + random_below(&random, 900), broken[round % 4]);
        if (round % 3 == 0 && size > 0)
            size--; /* the last line has no end */
        text[size] = 0;
        records_through(&reader, text, size, true, &by_records);
        records_through(&reader, text, size, false, &in_a_row);
        same_outcome(&in_a_row, &by_records, (const char *)text);
        weir_batch_unref(in_a_row.batch);
        size_t chunk = round % 2 ? size + 1 : 1 + (size_t)random_below(&random, 5000) + size / 50;
        lines_through(&reader, text, size, capacities[round % 6], chunk, &by_lines);
        assert_int_equal(by_lines.rows, by_records.rows);
        assert_int_equal(by_lines.bad, by_records.bad);
        for (int i = 0; i < by_lines.bad; i++) {
            assert_int_equal(by_lines.bad_at[i], by_records.bad_at[i]);
            assert_int_equal(by_lines.bad_size[i], by_records.bad_size[i]);
        }
        for (int row = 0; row < by_lines.rows; row++)
            assert_true(same_row(by_lines.batch, row, by_records.batch, row));
        bad += by_lines.bad;
        rows += by_lines.rows;
        weir_batch_unref(by_lines.batch);
        weir_batch_unref(by_records.batch);
    }
    assert_true(bad > 1000);
    assert_true(rows > 20000);
    reader_close(&reader);
}

/* --- Lines of one shape, which are not indexed: what is odd in one of them is found all the same */

static void shapes_equal_single_records(void **state)
{
    (void)state;
    static const char *const odd[] = {
        "null",
        "nul",
        "nulls",
        "true",
        "tru",
        "falsy",
        "truefalse",
        "01",
        "-",
        "-01",
        "1.",
        ".5",
        "1.e3",
        "1e",
        "1e400",
        "1E-400",
        "+1",
        "123456789012345678901234567890",
        "0.00000000",
        "00",
        "00.5",
        "1234567.89",
        "12345678.9",
        "123456789.",
        "1.5.5",
        "1-2",
        "0x10",
        "2147483648",
        "-2147483649",
        "9223372036854775808",
        "99999999",
        "100000000",
        "\"NaN\"",
        "\"a\\\"b\"",
        "\"\\u00e9\"",
        "\"\\x\"",
        "\"a\tb\"",
        "\"\x1f\"",
        "\"\x7f\"",
        "\"\xff\"",
        "\"\xc3\"",
        "\"\xed\xa0\x80\"",
        "\"0123456789abcde\xc3\"",
        "\"0123456789abcdef\\\"",
        "\"",
        "\"a\"b\"",
        "\"2026-01-01T00:60:00.000Z\"",
        "\"2026-01-01T00:00:60.000Z\"",
        "\"2026-01-01T00:0a:00.000Z\"",
        "\"2026-01-01T00:00:00.0/0Z\"",
        "\"2026-01-01T00:00:00.00:Z\"",
        "\"2026-01-01T00:00:00.000z\"",
        "\"2026-01-01T00-00:00.000Z\"",
        "\"2026-01-01T00:00:00,000Z\"",
        "\"2026-01-01T00:00:00.000+01:00\"",
        "\"2026-13-01T00:00:00.000Z\"",
        "253402300800000",
        "[1]",
        "{\"a\":1}",
        "1,\"i\":7",
        "1 ",
        " 1",
        "\t1",
        "1\n",
        "\n1",
        "\"x\",\"s\":\"y\"",
        "",
        "1}\n{\"b\":true",
    };
    struct random random = {77};
    static char text[256 << 10];
    static struct outcome by_lines, by_records, in_a_row;
    int rows = 0, bad = 0;
    for (int round = 0; round < 300; round++) {
        struct reader reader;
        reader_open(
            &reader,
            round % 2
                ? "b BOOLEAN, i INT, l BIGINT, d DOUBLE, `f a column whose name is rather long` FLOAT, s STRING, timestamp TIMESTAMP(2)"
                : "b BOOLEAN NOT NULL, i INT NOT NULL, l BIGINT NOT NULL, d DOUBLE NOT NULL, "
                  "`f a column whose name is rather long` FLOAT NOT NULL, s STRING NOT NULL, timestamp TIMESTAMP(3) NOT NULL",
            NULL, NULL);
        int lines = 50 + random_below(&random, 300), style = random_below(&random, 32);
        size_t size = 0;
        for (int i = 0; i < lines; i++) {
            bool is_odd = i > 20 && random_below(&random, 20) == 0;
            size_t line =
                shaped_line(&random, text + size,
                            is_odd ? odd[random_below(&random, (int)(sizeof odd / sizeof *odd))] : NULL, style);
            if (i > 20 && random_below(&random, 40) == 0)
                text[size + (size_t)random_below(&random, (int)line)] ^= (char)(1 << random_below(&random, 8));
            size += line;
            text[size++] = '\n';
        }
        text[size] = 0;
        records_through(&reader, (const uint8_t *)text, size, true, &by_records);
        records_through(&reader, (const uint8_t *)text, size, false, &in_a_row);
        same_outcome(&in_a_row, &by_records, text);
        weir_batch_unref(in_a_row.batch);
        static const int capacities[] = {1, 2, 64, 4096};
        lines_through(&reader, (const uint8_t *)text, size, capacities[round % 4],
                      200 + (size_t)random_below(&random, 3000), &by_lines);
        same_outcome(&by_lines, &by_records, text);
        rows += by_lines.rows;
        bad += by_lines.bad;
        weir_batch_unref(by_lines.batch);
        weir_batch_unref(by_records.batch);
        reader_close(&reader);
    }
    assert_true(rows > 30000 && bad > 1500);
}

/* What each line of a shape leaves out is NULL in each, and of a doubled member the last counts in each. */
static void shapes_with_a_doubled_member(void **state)
{
    (void)state;
    struct reader reader;
    static struct outcome by_lines, by_records, in_a_row;
    char text[8000];
    size_t size = 0;
    for (int i = 0; i < 200; i++)
        size += (size_t)sprintf(text + size, "{\"a\":null,\"a\":%d}\n", i);
    reader_open(&reader, "a INT, s STRING", NULL, NULL);
    records_through(&reader, (const uint8_t *)text, size, true, &by_records);
    records_through(&reader, (const uint8_t *)text, size, false, &in_a_row);
    same_outcome(&in_a_row, &by_records, text);
    weir_batch_unref(in_a_row.batch);
    lines_through(&reader, (const uint8_t *)text, size, 4096, 300, &by_lines);
    same_outcome(&by_lines, &by_records, text);
    assert_int_equal(by_lines.rows, 200);
    assert_true(weir_bit_get(by_lines.batch->columns[1].validity, 199) == 0);
    weir_batch_unref(by_lines.batch);
    weir_batch_unref(by_records.batch);
    reader_close(&reader);
}

static void lines_stop_where_they_should(void **state)
{
    (void)state;
    struct reader reader;
    size_t used, bad_at, bad_size;
    reader_open(&reader, "a INT", NULL, NULL);
    uint8_t text[300] = "{\"a\":1}\n\n{\"a\":2}\nrubbish\n{\"a\":3}\n{\"a\":";
    size_t size = strlen((char *)text);
    assert_int_equal(
        json->decode_lines(reader.decoder, text, size, false, reader.batch, &used, &bad_at, &bad_size, &reader.error),
        WEIR_ERR_DATA);
    assert_int_equal(reader.batch->row_count, 2);
    assert_int_equal(bad_at, 17);
    assert_int_equal(bad_size, 7);
    assert_int_equal(used, 25);
    assert_int_equal(json->decode_lines(reader.decoder, text + 25, size - 25, false, reader.batch, &used, &bad_at,
                                        &bad_size, &reader.error),
                     0);
    assert_int_equal(used, 8); /* the unfinished line stays */
    assert_int_equal(reader.batch->columns[0].i32[2], 3);
    assert_int_equal(json->decode_lines(reader.decoder, text + 33, size - 33, false, reader.batch, &used, &bad_at,
                                        &bad_size, &reader.error),
                     0);
    assert_int_equal(used, 0);
    assert_int_equal(json->decode_lines(reader.decoder, text + 33, size - 33, true, reader.batch, &used, &bad_at,
                                        &bad_size, &reader.error),
                     WEIR_ERR_DATA);
    assert_int_equal(used, size - 33);
    assert_int_equal(
        json->decode_lines(reader.decoder, text, 0, true, reader.batch, &used, &bad_at, &bad_size, &reader.error), 0);
    assert_int_equal(used, 0);
    reader_close(&reader);

    /* A batch closes by bytes too, and a line longer than any window is one record. */
    reader_open(&reader, "s STRING", NULL, NULL);
    size = 0;
    uint8_t *large = malloc(4000000);
    for (int i = 0; i < 3; i++) {
        size += (size_t)sprintf((char *)large + size, "{\"s\":\"");
        memset(large + size, 'a' + i, 700000);
        size += 700000;
        size += (size_t)sprintf((char *)large + size, "\"}\n");
    }
    memset(large + size, 0, 64);
    size_t at = 0;
    for (int i = 0; i < 3; i++) {
        reader_clear(&reader);
        assert_int_equal(json->decode_lines(reader.decoder, large + at, size - at, true, reader.batch, &used, &bad_at,
                                            &bad_size, &reader.error),
                         0);
        assert_int_equal(reader.batch->row_count, 1);
        assert_int_equal(reader.batch->columns[0].offsets[1], 700000);
        assert_int_equal(reader.batch->columns[0].bytes[699999], 'a' + i);
        at += used;
    }
    assert_int_equal(at, size);
    free(large);
    reader_close(&reader);
}

/* --- What others wrote */

static uint8_t *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    uint8_t *bytes = malloc(1 << 20);
    *size = fread(bytes, 1, 1 << 20, file);
    fclose(file);
    return bytes;
}

/* The case as a value among lines of one shape: the same as record by record. */
static void conformance_in_shape(struct reader *reader, const uint8_t *bytes, size_t size)
{
    static struct outcome by_lines, by_records, in_a_row;
    uint8_t *text = malloc(2 * size + 4000), *p = text;
    for (int i = 0; i < 90; i++) {
        if (i == 60 || i == 80) {
            p = mempcpy(p, i == 60 ? "{\"v\":1,\"nothing\":" : "{\"v\":", i == 60 ? 17 : 5);
            p = mempcpy(p, bytes, size);
            p = mempcpy(p, i == 60 ? "}\n" : ",\"nothing\":1}\n", i == 60 ? 2 : 15);
        } else {
            p += sprintf((char *)p, "{\"v\":%d,\"nothing\":%d}\n", i, -i);
        }
    }
    records_through(reader, text, (size_t)(p - text), true, &by_records);
    records_through(reader, text, (size_t)(p - text), false, &in_a_row);
    same_outcome(&in_a_row, &by_records, (const char *)text);
    weir_batch_unref(in_a_row.batch);
    lines_through(reader, text, (size_t)(p - text), 4096, 400 + size, &by_lines);
    same_outcome(&by_lines, &by_records, (const char *)text);
    weir_batch_unref(by_lines.batch);
    weir_batch_unref(by_records.batch);
    free(text);
}

static void conformance_cases(void **state)
{
    (void)state;
    const char *root = getenv("WEIR_CONFORMANCE");
    char path[1200], folder[600];
    snprintf(folder, sizeof folder, "%s/json/test_parsing", root ? root : "../shared/conformance");
    DIR *dir = opendir(folder);
    if (!dir && root)
        fail_msg("WEIR_CONFORMANCE=%s has no json/test_parsing", root);
    if (!dir) {
        print_message("skipped: no conformance cases (WEIR_CONFORMANCE)\n");
        skip();
    }
    struct reader reader;
    reader_open(&reader, "nothing INT", NULL, NULL);
    int good = 0, bad = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        const char *name = entry->d_name;
        if (!strstr(name, ".json"))
            continue;
        size_t size;
        snprintf(path, sizeof path, "%s/%s", folder, name);
        uint8_t *bytes = read_file(path, &size);
        /* As a record, and as the value of a member that nobody reads. */
        uint8_t *wrapped = malloc(size + 20);
        memcpy(wrapped, "{\"v\":", 5);
        memcpy(wrapped + 5, bytes, size);
        wrapped[size + 5] = '}';
        bool object = size > 0 && bytes[strspn((char *)bytes, " \t\r\n")] == '{';
        for (int padded = 0; padded < 2; padded++) {
            reader_clear(&reader);
            bool taken = decode(&reader, bytes, size, padded) == 0;
            bool taken_inside = decode(&reader, wrapped, size + 6, padded) == 0;
            if (name[0] == 'y' && (!taken_inside || taken != object))
                fail_msg("%s is refused: %s", name, reader.error.message);
            if (name[0] == 'n' && (taken || taken_inside))
                fail_msg("%s is accepted", name);
        }
        conformance_in_shape(&reader, bytes, size);
        good += name[0] == 'y';
        bad += name[0] == 'n';
        free(wrapped);
        free(bytes);
    }
    closedir(dir);
    assert_true(good > 90 && bad > 180);
    reader_close(&reader);
}

/* --- Writing */

static void rows_round_trip(void **state)
{
    (void)state;
    static const int row_counts[] = {1, 2, 63, 64, 65, 4096};
    struct random random = {31};
    struct reader reader;
    for (int round = 0; round < 12; round++) {
        reader_open(&reader, ALL_TYPES_SCHEMA KEYABLE_TYPES_SCHEMA MAP_TYPES_SCHEMA, NULL, NULL);
        struct weir_key_value options[] = {{"json.timestamp-format.standard", round % 2 ? "SQL" : "ISO-8601"},
                                           {"json.encode.ignore-null-fields", round % 4 < 2 ? "true" : "false"}};
        struct weir_encoder *encoder;
        assert_int_equal(json->encoder_new(reader.schema, options, 2, &encoder, &reader.error), 0);
        struct weir_batch *batch = random_batch(&random, reader.schema, row_counts[round % 6], 4);
        batch->columns[6].f64[0] = round % 3 == 0 ? INFINITY : -INFINITY;
        struct weir_buf out;
        weir_buf_init(&out, 64 << 20);
        for (int row = 0; row < batch->row_count; row++)
            assert_int_equal(json->encode(encoder, batch, row, &out, &reader.error), 0);
        assert_true(weir_buf_reserve(&out, 64));
        struct weir_batch *again = weir_batch_new(reader.schema, batch->row_count);
        size_t at = 0, used, bad_at, bad_size;
        while (at < out.size) {
            if (json->decode_lines(reader.decoder, out.data + at, out.size - at, true, again, &used, &bad_at, &bad_size,
                                   &reader.error))
                fail_msg("%.*s: %s", (int)bad_size, out.data + at + bad_at, reader.error.message);
            at += used;
        }
        assert_int_equal(again->row_count, batch->row_count);
        for (int row = 0; row < batch->row_count; row++)
            assert_true(same_row(batch, row, again, row));
        weir_batch_unref(again);
        weir_batch_unref(batch);
        weir_buf_fini(&out);
        json->encoder_free(encoder);
        reader_close(&reader);
    }
}

static void written_text(void **state)
{
    (void)state;
    struct weir_schema *schema = schema_of("`a\"` INT, d DOUBLE, f FLOAT, s STRING, ts TIMESTAMP(3), y BYTES");
    struct weir_encoder *encoder;
    struct weir_error error;
    struct weir_key_value sql = {"json.timestamp-format.standard", "SQL"};
    struct weir_batch *batch = weir_batch_new(schema, 4);
    static const double doubles[] = {72, 0.1, NAN, 1e300};
    for (int row = 0; row < 4; row++) {
        batch->columns[0].i32[row] = -row;
        batch->columns[1].f64[row] = doubles[row];
        batch->columns[2].f32[row] = 0.1f;
        weir_column_set_bytes(&batch->columns[3], row, "\"\\\n\x01\xc3\xa9", 6);
        batch->columns[4].i64[row] = 1357020000000 + row;
        weir_column_set_bytes(&batch->columns[5], row, "abcd", (size_t)row);
        batch->row_count = row + 1;
    }
    weir_column_set_null(&batch->columns[0], 3, 4);
    struct weir_buf out;
    weir_buf_init(&out, 10000);
    assert_int_equal(json->encoder_new(schema, NULL, 0, &encoder, &error), 0);
    for (int row = 0; row < 4; row++)
        assert_int_equal(json->encode(encoder, batch, row, &out, &error), 0);
#define STRING_TEXT "\"s\":\"\\\"\\\\\\n\\u0001\xc3\xa9\""
    assert_string_equal(
        (const char *)out.data,
        "{\"a\\\"\":0,\"d\":72.0,\"f\":0.1," STRING_TEXT ",\"ts\":\"2013-01-01T06:00:00Z\",\"y\":\"\"}\n"
        "{\"a\\\"\":-1,\"d\":0.1,\"f\":0.1," STRING_TEXT ",\"ts\":\"2013-01-01T06:00:00.001Z\",\"y\":\"YQ==\"}\n"
        "{\"a\\\"\":-2,\"d\":\"NaN\",\"f\":0.1," STRING_TEXT ",\"ts\":\"2013-01-01T06:00:00.002Z\",\"y\":\"YWI=\"}\n"
        "{\"a\\\"\":null,\"d\":1e+300,\"f\":0.1," STRING_TEXT ",\"ts\":\"2013-01-01T06:00:00.003Z\",\"y\":\"YWJj\"}\n");
    json->encoder_free(encoder);
    weir_buf_clear(&out);
    assert_int_equal(json->encoder_new(schema, &sql, 1, &encoder, &error), 0);
    assert_int_equal(json->encode(encoder, batch, 1, &out, &error), 0);
    assert_non_null(strstr((const char *)out.data, "\"2013-01-01 06:00:00.001\""));
    struct weir_buf small;
    weir_buf_init(&small, 50);
    assert_int_equal(json->encode(encoder, batch, 1, &small, &error), WEIR_ERR_FULL);
    assert_int_equal(small.size, 0);
    weir_buf_fini(&small);
    json->encoder_free(encoder);
    weir_buf_fini(&out);
    weir_batch_unref(batch);
    weir_schema_unref(schema);
}

static void formats_are_found_and_options_checked(void **state)
{
    (void)state;
    const struct weir_format *format;
    struct weir_error error;
    for (int i = 0; weir_formats[i]; i++) {
        assert_int_equal(weir_format_find(weir_formats[i]->name, &format, &error), 0);
        assert_ptr_equal(format, weir_formats[i]);
        for (const struct weir_option *option = format->options; option->name; option++)
            assert_int_equal(strncmp(option->name, format->name, strlen(format->name)), 0);
    }
    assert_int_equal(weir_format_find("jsn", &format, &error), WEIR_ERR_INVALID);
    assert_non_null(strstr(error.message, "'json'"));
    struct weir_key_value wrong = {"json.timestamp-format.standart", "SQL"};
    assert_int_equal(weir_options_check("format 'json'", &wrong, 1, json->options, NULL, NULL, &error),
                     WEIR_ERR_INVALID);
    struct weir_key_value value = {"json.timestamp-format.standard", "ISO"};
    assert_int_equal(weir_options_check("format 'json'", &value, 1, json->options, NULL, NULL, &error),
                     WEIR_ERR_INVALID);
}

int main(int argc, char **argv)
{
    (void)argc;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_every_type),
        cmocka_unit_test(nested_values_and_decimals),
        cmocka_unit_test(bad_records_say_why),
        cmocka_unit_test(numbers_are_exact),
        cmocka_unit_test(depth_has_a_bound),
        cmocka_unit_test(windows_equal_single_records),
        cmocka_unit_test(shapes_equal_single_records),
        cmocka_unit_test(shapes_with_a_doubled_member),
        cmocka_unit_test(lines_stop_where_they_should),
        cmocka_unit_test(conformance_cases),
        cmocka_unit_test(rows_round_trip),
        cmocka_unit_test(written_text),
        cmocka_unit_test(formats_are_found_and_options_checked),
    };
    int failed = cmocka_run_group_tests(tests, setup, NULL);
    /* All again with simdjson's portable kernels; the variable is read once, when the program starts. */
    if (failed == 0 && !getenv("SIMDJSON_FORCE_IMPLEMENTATION")) {
        fflush(NULL);
        setenv("SIMDJSON_FORCE_IMPLEMENTATION", "fallback", 1);
        execv("/proc/self/exe", argv);
        return 1;
    }
    return failed;
}
