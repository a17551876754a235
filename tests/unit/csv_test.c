/* CSV and raw: quoting, NULLs, headers, bad records, round trips of every type. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "format/format.h"
#include "unit/data_random.h"

static struct weir_schema *schema_of(const char *text)
{
    struct weir_schema *schema;
    struct weir_error error;
    if (weir_schema_parse(text, &schema, &error))
        fail_msg("%s", error.message);
    return schema;
}

/* Decodes all lines; rows and bad records as text, one per line: "row" or "! sentence". */
static char *through(const char *format_name, const char *schema_text, const struct weir_key_value *options,
                     int option_count, const char *text, size_t size)
{
    const struct weir_format *format;
    struct weir_error error;
    struct weir_decoder *decoder;
    assert_int_equal(weir_format_find(format_name, &format, &error), 0);
    struct weir_schema *schema = schema_of(schema_text);
    if (format->decoder_new(schema, options, option_count, &decoder, &error))
        fail_msg("%s", error.message);
    struct weir_buf out;
    weir_buf_init(&out, 1 << 20);
    uint8_t *copy = malloc(size + 64);
    memcpy(copy, text, size);
    memset(copy + size, '"', 64);
    for (size_t at = 0, used = 0, bad_at, bad_size; at < size; at += used) {
        struct weir_batch *batch = weir_batch_new(schema, 2);
        weir_err err =
            format->decode_lines(decoder, copy + at, size - at, true, batch, &used, &bad_at, &bad_size, &error);
        for (int row = 0; row < batch->row_count; row++)
            assert_true(weir_batch_print_row(batch, row, &out) && weir_buf_puts(&out, "\n"));
        if (err)
            assert_true(weir_buf_printf(&out, "! %.*s: %s\n", (int)bad_size, copy + at + bad_at, error.message));
        assert_true(used > 0);
        weir_batch_unref(batch);
    }
    free(copy);
    format->decoder_free(decoder);
    weir_schema_unref(schema);
    if (!out.data)
        return strdup("");
    return (char *)out.data;
}

static void expect(const char *format, const char *schema, const struct weir_key_value *options, int option_count,
                   const char *text, const char *expected)
{
    char *got = through(format, schema, options, option_count, text, strlen(text));
    assert_string_equal(got, expected);
    free(got);
}

static void fields_and_quotes(void **state)
{
    (void)state;
    const char *schema = "s STRING, i INT, d DOUBLE";
    expect("csv", schema, NULL, 0, "a,1,1.5\r\n\"b,\"\"c\"\"\", 2 ,NaN\n\n,,\n\"\",\"3\",-1e3",
           "{\"s\": \"a\", \"i\": 1, \"d\": 1.5}\n"
           "{\"s\": \"b,\\\"c\\\"\", \"i\": 2, \"d\": nan}\n"
           "{\"s\": \"\", \"i\": null, \"d\": null}\n"
           "{\"s\": \"\", \"i\": 3, \"d\": -1000}\n");
    expect(
        "csv", schema, NULL, 0,
        "a,1\na,1,2,3\n\"a,1,2\n\"a\"x,1,2\na,x,2\na,1.0,2\na,,1,\na,99999999999,1\na,1,1e999\na,1,1x\n\xff,1,1\nb,5,6\n",
        "! a,1: csv: the record has 2 of 3 fields; column 'd' is missing\n"
        "! a,1,2,3: csv: the record has more than 3 fields\n"
        "! \"a,1,2: csv: column 's' has a quote that is not closed, or text behind its closing quote\n"
        "! \"a\"x,1,2: csv: column 's' has a quote that is not closed, or text behind its closing quote\n"
        "! a,x,2: csv: column 'i' cannot take its field as INT\n"
        "! a,1.0,2: csv: column 'i' cannot take its field as INT\n"
        "! a,,1,: csv: the record has more than 3 fields\n"
        "! a,99999999999,1: csv: column 'i' cannot take its field as INT\n"
        "! a,1,1e999: csv: column 'd' cannot take its field as DOUBLE\n"
        "! a,1,1x: csv: column 'd' cannot take its field as DOUBLE\n"
        "! \xff,1,1: csv: the record is not valid UTF-8\n"
        "{\"s\": \"b\", \"i\": 5, \"d\": 6}\n");
    expect("csv", "i INT NOT NULL, s STRING", NULL, 0, ",x\n1,y\n",
           "! ,x: csv: column 'i' (INT NOT NULL) is empty or NULL\n{\"i\": 1, \"s\": \"y\"}\n");
    expect("csv", "b BOOLEAN, i8 TINYINT, i64 BIGINT, y BYTES, dt DATE, t TIME(3), ts TIMESTAMP(3)", NULL, 0,
           "TRUE,-128,-9223372036854775808,AQI=,2013-01-01,06:00:00.5,2013-01-01T06:00:00Z\n"
           "false,127,9223372036854775807,,2013-01-01,06:00:00,1357020000000\n"
           "false,128,1,,,,\nno,1,1,,,,\n-,1,1,,,,\nfalse,-,1,,,,\nfalse,1,9223372036854775808,,,,\n",
           "{\"b\": true, \"i8\": -128, \"i64\": -9223372036854775808, \"y\": x'0102', \"dt\": \"2013-01-01\", "
           "\"t\": \"06:00:00.500\", \"ts\": \"2013-01-01 06:00:00.000\"}\n"
           "{\"b\": false, \"i8\": 127, \"i64\": 9223372036854775807, \"y\": x'', \"dt\": \"2013-01-01\", "
           "\"t\": \"06:00:00.000\", \"ts\": \"2013-01-01 06:00:00.000\"}\n"
           "! false,128,1,,,,: csv: column 'i8' cannot take its field as TINYINT\n"
           "! no,1,1,,,,: csv: column 'b' cannot take its field as BOOLEAN\n"
           "! -,1,1,,,,: csv: column 'b' cannot take its field as BOOLEAN\n"
           "! false,-,1,,,,: csv: column 'i8' cannot take its field as TINYINT\n"
           "! false,1,9223372036854775808,,,,: csv: column 'i64' cannot take its field as BIGINT\n");
}

static void options_change_the_dialect(void **state)
{
    (void)state;
    struct weir_key_value dialect[] = {
        {"csv.field-delimiter", ";"}, {"csv.quote-character", "'"}, {"csv.null-literal", "NA"}, {"csv.header", "true"}};
    expect("csv", "s STRING, i INT", dialect, 4, "s;i\n'it''s';NA\nNA;1\n'NA';2\ns;i\n",
           "{\"s\": \"it's\", \"i\": null}\n{\"s\": null, \"i\": 1}\n{\"s\": \"NA\", \"i\": 2}\n");
    struct weir_key_value multiline[] = {{"csv.multiline", "true"}, {"csv.field-delimiter", "\\t"}};
    expect("csv", "s STRING, i INT", multiline, 2, "\"two\nlines \"\"q\"\"\n\"\t1\nplain \"x\t2\n\"open\t3\n",
           "{\"s\": \"two\\u000alines \\\"q\\\"\\u000a\", \"i\": 1}\n{\"s\": \"plain \\\"x\", \"i\": 2}\n"
           "! \"open\t3: csv: column 's' has a quote that is not closed, or text behind its closing quote\n");
    const struct weir_format *csv;
    struct weir_error error;
    struct weir_decoder *decoder;
    struct weir_encoder *encoder;
    assert_int_equal(weir_format_find("csv", &csv, &error), 0);
    struct weir_schema *schema = schema_of("s STRING");
    static const char *const bad[][2] = {{"csv.field-delimiter", ""},
                                         {"csv.field-delimiter", ";;"},
                                         {"csv.field-delimiter", "\xe9"},
                                         {"csv.field-delimiter", "\""},
                                         {"csv.quote-character", "\n"}};
    for (size_t i = 0; i < 5; i++) {
        struct weir_key_value option = {bad[i][0], bad[i][1]};
        assert_int_equal(csv->decoder_new(schema, &option, 1, &decoder, &error), WEIR_ERR_INVALID);
        assert_int_equal(csv->encoder_new(schema, &option, 1, &encoder, &error), WEIR_ERR_INVALID);
    }
    assert_int_equal(csv->encoder_new(schema, NULL, 0, &encoder, &error), WEIR_ERR_INVALID); /* NULL would be lost */
    assert_non_null(strstr(error.message, "csv.null-literal"));
    weir_schema_unref(schema);
}

static void rows_round_trip(void **state)
{
    (void)state;
    static const int row_counts[] = {1, 2, 63, 64, 65, 4096};
    struct random random = {41};
    const struct weir_format *csv;
    struct weir_error error;
    assert_int_equal(weir_format_find("csv", &csv, &error), 0);
    struct weir_key_value options[] = {{"csv.null-literal", "NULL"}, {"csv.multiline", "true"}};
    for (int round = 0; round < 12; round++) {
        struct weir_schema *schema =
            schema_of(ALL_TYPES_SCHEMA ", l TIMESTAMP_LTZ(3), big DECIMAL(38, 10), small DECIMAL(5, 2) NOT NULL");
        struct weir_encoder *encoder;
        struct weir_decoder *decoder;
        assert_int_equal(csv->encoder_new(schema, options, 2, &encoder, &error), 0);
        assert_int_equal(csv->decoder_new(schema, options, 2, &decoder, &error), 0);
        struct weir_batch *batch = random_batch(&random, schema, row_counts[round % 6], round % 2 ? 3 : 0);
        struct weir_batch *again = weir_batch_new(schema, batch->row_count),
                          *singly = weir_batch_new(schema, batch->row_count);
        struct weir_buf out;
        weir_buf_init(&out, 64 << 20);
        for (int row = 0; row < batch->row_count; row++) {
            size_t before = out.size;
            assert_int_equal(csv->encode(encoder, batch, row, &out, &error), 0);
            if (csv->decode(decoder, out.data + before, out.size - before, false, singly, &error))
                fail_msg("%s: %s", out.data + before, error.message);
        }
        for (size_t at = 0, used, bad_at, bad_size; at < out.size; at += used) {
            if (csv->decode_lines(decoder, out.data + at, out.size - at, true, again, &used, &bad_at, &bad_size,
                                  &error))
                fail_msg("%.*s: %s", (int)bad_size, out.data + at + bad_at, error.message);
        }
        assert_int_equal(again->row_count, batch->row_count);
        for (int row = 0; row < batch->row_count; row++) {
            assert_true(same_row(batch, row, again, row));
            assert_true(same_row(batch, row, singly, row));
        }
        struct weir_buf small;
        weir_buf_init(&small, 10);
        assert_int_equal(csv->encode(encoder, batch, 0, &small, &error), WEIR_ERR_FULL);
        assert_int_equal(small.size, 0);
        weir_buf_fini(&small);
        weir_buf_fini(&out);
        weir_batch_unref(batch);
        weir_batch_unref(again);
        weir_batch_unref(singly);
        csv->encoder_free(encoder);
        csv->decoder_free(decoder);
        weir_schema_unref(schema);
    }
}

static void what_is_nested_has_no_field(void **state)
{
    (void)state;
    const struct weir_format *csv;
    struct weir_error error;
    assert_int_equal(weir_format_find("csv", &csv, &error), 0);
    struct weir_schema *schema = schema_of("a INT, r ROW<b INT>");
    struct weir_encoder *encoder;
    struct weir_decoder *decoder;
    assert_int_equal(csv->encoder_new(schema, NULL, 0, &encoder, &error), WEIR_ERR_INVALID);
    assert_non_null(strstr(error.message, "column 'r' is ROW<`b` INT>"));
    assert_int_equal(csv->decoder_new(schema, NULL, 0, &decoder, &error), WEIR_ERR_INVALID);
    weir_schema_unref(schema);
    expect("csv", "a DECIMAL(5, 2), b DECIMAL(38, 0), c STRING", NULL, 0, "1.50, 2 ,x\n",
           "{\"a\": 1.50, \"b\": 2, \"c\": \"x\"}\n");
}

static void noise_does_no_harm(void **state)
{
    (void)state;
    struct random random = {43};
    struct weir_key_value multiline = {"csv.multiline", "true"};
    for (int i = 0; i < 3000; i++) {
        char text[200];
        size_t size = 1 + (size_t)random_below(&random, 199);
        for (size_t j = 0; j < size; j++)
            text[j] = "a,\"\n\r1 -.\xff"[random_below(&random, 10)];
        free(through("csv", "s STRING, i INT", &multiline, i % 2, text, size));
    }
}

static void raw_is_as_it_is(void **state)
{
    (void)state;
    expect(
        "raw", "line STRING NOT NULL", NULL, 0, "one\r\n\n two \xff\nthree",
        "{\"line\": \"one\"}\n{\"line\": \"\"}\n!  two \xff: raw: column 'line' is not valid UTF-8\n{\"line\": \"three\"}\n");
    expect("raw", "line BYTES", NULL, 0, "\xff\n", "{\"line\": x'ff'}\n");
    const struct weir_format *raw;
    struct weir_error error;
    struct weir_decoder *decoder;
    struct weir_encoder *encoder;
    assert_int_equal(weir_format_find("raw", &raw, &error), 0);
    static const char *const bad[] = {"a INT", "a STRING, b STRING"};
    for (int i = 0; i < 2; i++) {
        struct weir_schema *schema = schema_of(bad[i]);
        assert_int_equal(raw->decoder_new(schema, NULL, 0, &decoder, &error), WEIR_ERR_INVALID);
        assert_int_equal(raw->encoder_new(schema, NULL, 0, &encoder, &error), WEIR_ERR_INVALID);
        weir_schema_unref(schema);
    }
    struct weir_schema *schema = schema_of("a STRING");
    struct weir_batch *batch = weir_batch_new(schema, 2);
    struct weir_buf out;
    weir_buf_init(&out, 5);
    weir_column_set_bytes(&batch->columns[0], 0, "abc", 3);
    weir_column_set_null(&batch->columns[0], 1, 2);
    batch->row_count = 2;
    assert_int_equal(raw->encoder_new(schema, NULL, 0, &encoder, &error), 0);
    assert_int_equal(raw->encode(encoder, batch, 0, &out, &error), 0);
    assert_int_equal(raw->encode(encoder, batch, 1, &out, &error), 0);
    assert_string_equal((const char *)out.data, "abc\n\n");
    assert_int_equal(raw->encode(encoder, batch, 0, &out, &error), WEIR_ERR_FULL);
    raw->encoder_free(encoder);
    weir_buf_fini(&out);
    weir_batch_unref(batch);
    weir_schema_unref(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_and_quotes),  cmocka_unit_test(options_change_the_dialect),
        cmocka_unit_test(rows_round_trip),    cmocka_unit_test(what_is_nested_has_no_field),
        cmocka_unit_test(noise_does_no_harm), cmocka_unit_test(raw_is_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
