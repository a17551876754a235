/* Avro: vectors that fastavro 1.13.1 wrote (another implementation of the specification), schema resolution, hostile bytes, round trips of every type, schemas that
 * do not fit. With a registry: tests/e2e/registry_test.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/secret.h"
#include "format/avro_schema.h"
#include "format/format.h"
#include "unit/data_random.h"

static struct weir_error error;

static struct weir_schema *schema_of(const char *text)
{
    struct weir_schema *schema;
    if (weir_schema_parse(text, &schema, &error))
        fail_msg("%s", error.message);
    return schema;
}

static const struct weir_format *format_of(const char *name)
{
    const struct weir_format *format = NULL;
    assert_int_equal(weir_format_find(name, &format, &error), 0);
    return format;
}

/* Options avro.schema and avro.reader-schema, of which either may be NULL. */
struct options {
    struct weir_key_value pairs[2];
    int count;
};

static struct options options_of(const char *writer, const char *reader)
{
    struct options options = {.count = 0};
    if (writer)
        options.pairs[options.count++] = (struct weir_key_value){"avro.schema", writer};
    if (reader)
        options.pairs[options.count++] = (struct weir_key_value){"avro.reader-schema", reader};
    return options;
}

/* Rows as JSON has them, one a line. */
static char *as_json(const struct weir_batch *batch)
{
    const struct weir_format *json = format_of("json");
    struct weir_encoder *encoder;
    struct weir_buf out;
    weir_buf_init(&out, 64 << 20);
    assert_int_equal(json->encoder_new(batch->schema, NULL, 0, &encoder, &error), 0);
    for (int row = 0; row < batch->row_count; row++)
        assert_int_equal(json->encode(encoder, batch, row, &out, &error), 0);
    json->encoder_free(encoder);
    return out.data ? (char *)out.data : strdup("");
}

struct decoding {
    struct weir_schema *schema;
    struct weir_decoder *decoder;
    struct weir_batch *batch;
};

static struct decoding decoding_of(const char *columns, const char *writer, const char *reader)
{
    struct decoding d = {.schema = schema_of(columns)};
    struct options options = options_of(writer, reader);
    if (format_of("avro")->decoder_new(d.schema, options.pairs, options.count, &d.decoder, &error))
        fail_msg("%s: %s", columns, error.message);
    d.batch = weir_batch_new(d.schema, 64);
    return d;
}

/* From a block that ends where the record does, so that a sanitizer sees what is read behind it. */
static weir_err decode(const struct decoding *d, const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size + 1);
    memcpy(copy, bytes, size);
    copy = realloc(copy, size > 0 ? size : 1);
    weir_err err = format_of("avro")->decode(d->decoder, copy, size, false, d->batch, &error);
    free(copy);
    return err;
}

static size_t bytes_of(const char *hex, uint8_t *out)
{
    size_t size = strlen(hex) / 2;
    assert_true(weir_hex_decode(hex, size, out));
    return size;
}

static void end(struct decoding *d)
{
    format_of("avro")->decoder_free(d->decoder);
    weir_batch_unref(d->batch);
    weir_schema_unref(d->schema);
}

static void expect_message(weir_err err, enum weir_err_code code, const char *part)
{
    if (err != (int)code || !strstr(error.message, part))
        fail_msg("%d (%d expected): %s; without '%s'", err, code, error.message, part);
}

/* --- What another implementation wrote */

static const struct vector {
    const char *name, *columns, *writer, *reader, *hex, *expected;
} vectors[] =
    {
        {"every scalar", "b BOOLEAN, i INT, l BIGINT, f FLOAT, d DOUBLE, s STRING, y BYTES",
         "{\"type\": \"record\", \"name\": \"R\", \"fields\": [{\"name\": \"b\", \"type\": \"boolean\"}, {\"name\": \"i\", \"type\": \"int\"}, {\"name\": \"l\", \"type\": \"long\"}, {\"name\": \"f\", \"type\": \"float\"}, {\"name\": \"d\", \"type\": \"double\"}, {\"name\": \"s\", \"type\": \"string\"}, {\"name\": \"y\", \"type\": \"bytes\"}]}",
         NULL,
         "01ffffffff0ffeffffffffffffffff010000c03f9a9999999999b9bf4868c3a96c6c6f2077c3b6726c642c206c6f6e676572207468616e206f6e6520626c6f636b0400ff",
         "{\"b\":true,\"i\":-2147483648,\"l\":9223372036854775807,\"f\":1.5,\"d\":-0.1,\"s\":\"héllo wörld, longer than one block\",\"y\":\"AP8=\"}"},
        {"order, extra and missing", "z INT, gone STRING, a STRING",
         "{\"type\": \"record\", \"name\": \"R\", \"fields\": [{\"name\": \"x1\", \"type\": \"string\"}, {\"name\": \"a\", \"type\": \"string\"}, {\"name\": \"x2\", \"type\": [\"null\", \"long\"]}, {\"name\": \"x3\", \"type\": {\"type\": \"array\", \"items\": \"long\"}}, {\"name\": \"x4\", \"type\": {\"type\": \"map\", \"values\": \"string\"}}, {\"name\": \"x5\", \"type\": {\"type\": \"fixed\", \"name\": \"F\", \"size\": 3}}, {\"name\": \"z\", \"type\": \"int\"}, {\"name\": \"x6\", \"type\": \"double\"}, {\"name\": \"x7\", \"type\": \"boolean\"}, {\"name\": \"x8\", \"type\": \"float\"}, {\"name\": \"x9\", \"type\": {\"type\": \"enum\", \"name\": \"E\", \"symbols\": [\"A\"]}}, {\"name\": \"x10\", \"type\": \"bytes\"}, {\"name\": \"x11\", \"type\": {\"type\": \"record\", \"name\": \"Q\", \"fields\": [{\"name\": \"q\", \"type\": \"int\"}]}}]}",
         NULL, "08736b6970086b656570020a060204060002026b0276006162630e000000000000f03f010000803f00047a7a02",
         "{\"z\":7,\"gone\":null,\"a\":\"keep\"}"},
        {"promotion", "a BIGINT, b FLOAT, c DOUBLE, d DOUBLE, e DOUBLE, f BYTES, g STRING",
         "{\"type\": \"record\", \"name\": \"R\", \"fields\": [{\"name\": \"a\", \"type\": \"int\"}, {\"name\": \"b\", \"type\": \"int\"}, {\"name\": \"c\", \"type\": \"long\"}, {\"name\": \"d\", \"type\": \"float\"}, {\"name\": \"e\", \"type\": \"int\"}, {\"name\": \"f\", \"type\": \"string\"}, {\"name\": \"g\", \"type\": \"bytes\"}]}",
         NULL, "09068080808080400000003f12046162046364",
         "{\"a\":-5,\"b\":3.0,\"c\":1099511627776.0,\"d\":0.5,\"e\":9.0,\"f\":\"YWI=\",\"g\":\"cd\"}"},
        {"unions", "a STRING, b INT, c STRING, d DOUBLE",
         "{\"type\": \"record\", \"name\": \"R\", \"fields\": [{\"name\": \"a\", \"type\": [\"null\", \"string\"]}, {\"name\": \"b\", \"type\": [\"int\", \"null\"]}, {\"name\": \"c\", \"type\": [\"int\", \"null\", \"string\"]}, {\"name\": \"d\", \"type\": [\"int\", \"double\", \"null\", \"float\"]}]}",
         NULL, "000006040278020000000000000440", "{\"a\":null,\"b\":3,\"c\":\"x\",\"d\":2.5}"},
        {"nested",
         "r ROW<x INT, s STRING, deep ROW<q BIGINT>>, a ARRAY<STRING>, m MAP<STRING, INT>, rows ARRAY<ROW<n INT, v ARRAY<INT>>>",
         "{\"type\": \"record\", \"name\": \"R\", \"fields\": [{\"name\": \"r\", \"type\": [\"null\", {\"type\": \"record\", \"name\": \"I\", \"fields\": [{\"name\": \"s\", \"type\": [\"null\", \"string\"]}, {\"name\": \"ignored\", \"type\": \"long\"}, {\"name\": \"x\", \"type\": \"int\"}, {\"name\": \"deep\", \"type\": {\"type\": \"record\", \"name\": \"D\", \"fields\": [{\"name\": \"q\", \"type\": \"long\"}]}}]}]}, {\"name\": \"a\", \"type\": [\"null\", {\"type\": \"array\", \"items\": [\"null\", \"string\"]}]}, {\"name\": \"m\", \"type\": [\"null\", {\"type\": \"map\", \"values\": [\"null\", \"int\"]}]}, {\"name\": \"rows\", \"type\": {\"type\": \"array\", \"items\": {\"type\": \"record\", \"name\": \"E\", \"fields\": [{\"name\": \"n\", \"type\": \"int\"}, {\"name\": \"v\", \"type\": {\"type\": \"array\", \"items\": \"int\"}}]}}}]}",
         NULL, "02000208010206020270000200000204026b0202026c0000040204020400040000",
         "{\"r\":{\"x\":4,\"s\":null,\"deep\":{\"q\":-1}},\"a\":[\"p\",null,\"\"],\"m\":{\"k\":1,\"l\":null},\"rows\":[{\"n\":1,\"v\":[1,2]},{\"n\":2,\"v\":[]}]}"},
        {"logical types",
         "d DATE, t TIME(3), u TIME(3), a TIMESTAMP(3), b TIMESTAMP(3), c TIMESTAMP(0), e TIMESTAMP_LTZ(3), f TIMESTAMP(3), raw BIGINT",
         "{\"type\": \"record\", \"name\": \"R\", \"fields\": [{\"name\": \"d\", \"type\": {\"type\": \"int\", \"logicalType\": \"date\"}}, {\"name\": \"t\", \"type\": {\"type\": \"int\", \"logicalType\": \"time-millis\"}}, {\"name\": \"u\", \"type\": {\"type\": \"long\", \"logicalType\": \"time-micros\"}}, {\"name\": \"a\", \"type\": {\"type\": \"long\", \"logicalType\": \"timestamp-millis\"}}, {\"name\": \"b\", \"type\": {\"type\": \"long\", \"logicalType\": \"timestamp-micros\"}}, {\"name\": \"c\", \"type\": {\"type\": \"long\", \"logicalType\": \"timestamp-millis\"}}, {\"name\": \"e\", \"type\": {\"type\": \"long\", \"logicalType\": \"local-timestamp-micros\"}}, {\"name\": \"f\", \"type\": {\"type\": \"long\", \"logicalType\": \"local-timestamp-millis\"}}, {\"name\": \"raw\", \"type\": {\"type\": \"long\", \"logicalType\": \"timestamp-micros\"}}]}",
         NULL, "01feefb252aeaac4de1bf6bd8fcbfe4e01cecb8fcbfe4e8ae0ecf0fa8ce904feeffea1fa9d738a897a",
         "{\"d\":\"1969-12-31\",\"t\":\"23:59:59.999\",\"u\":\"01:02:03.004\",\"a\":\"2013-01-01T06:00:00.123Z\",\"b\":\"1969-12-31T23:59:59.999Z\",\"c\":\"2013-01-01T06:00:00Z\",\"e\":\"2013-01-01T06:00:00Z\",\"f\":\"9999-12-31T23:59:59.999Z\",\"raw\":1000005}"},
        {"decimal, uuid, enum, fixed",
         "a DECIMAL(10, 2), b DECIMAL(38, 0), c DECIMAL(12, 4), n DECIMAL(5, 1), u STRING, v STRING, e STRING, f BYTES",
         "{\"type\": \"record\", \"name\": \"R\", \"fields\": [{\"name\": \"a\", \"type\": {\"type\": \"bytes\", \"logicalType\": \"decimal\", \"precision\": 10, \"scale\": 2}}, {\"name\": \"b\", \"type\": {\"type\": \"bytes\", \"logicalType\": \"decimal\", \"precision\": 38, \"scale\": 0}}, {\"name\": \"c\", \"type\": {\"type\": \"fixed\", \"logicalType\": \"decimal\", \"precision\": 10, \"scale\": 2, \"name\": \"Dec\", \"size\": 8}}, {\"name\": \"n\", \"type\": {\"type\": \"bytes\", \"logicalType\": \"decimal\", \"precision\": 10, \"scale\": 3}}, {\"name\": \"u\", \"type\": {\"type\": \"string\", \"logicalType\": \"uuid\"}}, {\"name\": \"v\", \"type\": {\"type\": \"fixed\", \"logicalType\": \"uuid\", \"name\": \"U\", \"size\": 16}}, {\"name\": \"e\", \"type\": {\"type\": \"enum\", \"name\": \"E\", \"symbols\": [\"LOW\", \"HIGH\"]}}, {\"name\": \"f\", \"type\": {\"type\": \"fixed\", \"name\": \"F\", \"size\": 2}}]}", NULL,
         "04fb2e204b3b4ca85a86c47a098a223fffffffffffffffffffffffff0405dc4830303030303030302d303030302d303030302d303030302d303030303030303030303031123456789abcdef0123456789abcdef0020102",
         "{\"a\":-12.34,\"b\":99999999999999999999999999999999999999,\"c\":-0.0100,\"n\":1.5,\"u\":\"00000000-0000-0000-0000-000000000001\",\"v\":\"12345678-9abc-def0-1234-56789abcdef0\",\"e\":\"HIGH\",\"f\":\"AQI=\"}"},
        {"recursive type is skipped", "v INT, end STRING",
         "{\"type\": \"record\", \"name\": \"R\", \"fields\": [{\"name\": \"v\", \"type\": \"int\"}, {\"name\": \"next\", \"type\": [\"null\", \"R\"]}, {\"name\": \"end\", \"type\": \"string\"}]}",
         NULL, "0202040004696e066f7574", "{\"v\":1,\"end\":\"out\"}"},
        {"recursive type is read as deep as it is declared", "v INT, next ROW<v INT, next ROW<v INT>>",
         "{\"type\": \"record\", \"name\": \"R\", \"fields\": [{\"name\": \"v\", \"type\": \"int\"}, {\"name\": \"next\", \"type\": [\"null\", \"R\"]}]}",
         NULL, "0202040206020800", "{\"v\":1,\"next\":{\"v\":2,\"next\":{\"v\":3}}}"},
        {"reader: defaults, aliases, enum's default",
         "id BIGINT, renamed STRING, added INT, level STRING, tags ARRAY<STRING>, pos ROW<x INT, y INT>, opt STRING, amount DECIMAL(6, 2)", "{\"type\": \"record\", \"name\": \"R\", \"fields\": [{\"name\": \"old\", \"type\": \"string\"}, {\"name\": \"id\", \"type\": \"int\"}, {\"name\": \"level\", \"type\": {\"type\": \"enum\", \"name\": \"Level\", \"symbols\": [\"LOW\", \"WEIRD\"]}}]}", "{\"type\": \"record\", \"name\": \"Other\", \"fields\": [{\"name\": \"id\", \"type\": \"long\"}, {\"name\": \"renamed\", \"type\": \"string\", \"aliases\": [\"old\"]}, {\"name\": \"added\", \"type\": \"int\", \"default\": -7}, {\"name\": \"level\", \"type\": {\"type\": \"enum\", \"name\": \"Level\", \"symbols\": [\"LOW\", \"UNKNOWN\"], \"default\": \"UNKNOWN\"}}, {\"name\": \"tags\", \"type\": {\"type\": \"array\", \"items\": \"string\"}, \"default\": [\"a\", \"b\"]}, {\"name\": \"pos\", \"type\": {\"type\": \"record\", \"name\": \"Pos\", \"fields\": [{\"name\": \"x\", \"type\": \"int\"}, {\"name\": \"y\", \"type\": \"int\", \"default\": 2}]}, \"default\": {\"x\": 1}}, {\"name\": \"opt\", \"type\": [\"null\", \"string\"], \"default\": null}, {\"name\": \"amount\", \"type\": {\"type\": \"bytes\", \"logicalType\": \"decimal\", \"precision\": 6, \"scale\": 2}, \"default\": \"\\u00ff\\u0001\"}]}",
         "026f0a02",
         "{\"id\":5,\"renamed\":\"o\",\"added\":-7,\"level\":\"UNKNOWN\",\"tags\":[\"a\",\"b\"],\"pos\":{\"x\":1,\"y\":2},\"opt\":null,\"amount\":-2.55}"},
        {"reader: unions", "a DOUBLE, b STRING, c BIGINT",
         "{\"type\": \"record\", \"name\": \"R\", \"fields\": [{\"name\": \"a\", \"type\": \"int\"}, {\"name\": \"b\", \"type\": [\"null\", \"string\"]}, {\"name\": \"c\", \"type\": [\"int\", \"long\"]}]}",
         "{\"type\": \"record\", \"name\": \"R\", \"fields\": [{\"name\": \"a\", \"type\": [\"null\", \"double\"]}, {\"name\": \"b\", \"type\": \"string\"}, {\"name\": \"c\", \"type\": [\"null\", \"long\"]}]}",
         "06020278028080808040", "{\"a\":3.0,\"b\":\"x\",\"c\":8589934592}"},
        {"empty record", "a INT", "{\"type\": \"record\", \"name\": \"R\", \"fields\": []}", NULL, "", "{\"a\":null}"},
        {"null and namespaces", "a INT, b ROW<x INT>, c ROW<x INT>",
         "{\"type\": \"record\", \"name\": \"org.x.R\", \"fields\": [{\"name\": \"a\", \"type\": \"null\"}, {\"name\": \"b\", \"type\": {\"type\": \"record\", \"name\": \"S\", \"fields\": [{\"name\": \"x\", \"type\": \"int\"}]}}, {\"name\": \"c\", \"type\": \"org.x.S\"}]}",
         NULL, "0204", "{\"a\":null,\"b\":{\"x\":1},\"c\":{\"x\":2}}"},
};

static void test_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        const struct vector *v = &vectors[i];
        uint8_t bytes[1024];
        size_t size = bytes_of(v->hex, bytes);
        struct decoding d = decoding_of(v->columns, v->writer, v->reader);
        for (int row = 0; row < 3; row++) {
            if (decode(&d, bytes, size))
                fail_msg("%s: %s", v->name, error.message);
            /* Every beginning of it is cut off, and adds no row; so does what is longer. */
            for (size_t cut = 0; cut < size; cut++)
                if (decode(&d, bytes, cut) != WEIR_ERR_DATA)
                    fail_msg("%s: %zu bytes of %zu were taken", v->name, cut, size);
            bytes[size] = 0;
            expect_message(decode(&d, bytes, size + 1), WEIR_ERR_DATA, "goes on behind its last field");
        }
        char *got = as_json(d.batch), *expected = weir_format("%s\n%s\n%s\n", v->expected, v->expected, v->expected);
        if (strcmp(got, expected) != 0)
            fail_msg("%s:\n%s\nexpected\n%s", v->name, got, v->expected);
        free(got);
        free(expected);
        end(&d);
    }
}

/* --- Bytes that no writer writes */

#define LIST(items) \
    "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\",\"type\":{\"type\":\"array\",\"items\":" items \
    "}}]}"
#define ONE(type) "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\",\"type\":" type "}]}"

static void test_hostile(void **state)
{
    (void)state;
    static const struct {
        const char *columns, *writer, *hex, *says; /* says NULL: taken */
    } cases[] = {
        {"a STRING", ONE("\"string\""), "01", "cut off"},                   /* length -1 */
        {"a STRING", ONE("\"string\""), "feffffffffffffffff01", "cut off"}, /* 2^63 - 1 */
        {"a STRING", ONE("\"string\""), "ffffffffffffffffff01", "cut off"}, /* -2^63 */
        {"a STRING", ONE("\"string\""), "ffffffffffffffffff02", "cut off"}, /* more than 64 bits */
        {"a STRING", ONE("\"string\""), "8080808080808080808080808001", "cut off"},
        {"a STRING", ONE("\"string\""), "04c328", "not valid UTF-8"},
        {"a BYTES", ONE("\"string\""), "04c328", NULL},
        {"a INT", ONE("\"int\""), "ffffffffff01", "out of range"},
        {"a TINYINT", ONE("\"int\""), "8002", "out of range"}, /* 128 */
        {"a TINYINT", ONE("\"int\""), "ff01", NULL},           /* -128 */
        {"a BOOLEAN", ONE("\"boolean\""), "02", "neither true nor false"},
        {"a INT", ONE("[\"null\",\"int\"]"), "04", "cut off"}, /* branch 2 */
        {"a INT", ONE("[\"null\",\"int\"]"), "01", "cut off"}, /* branch -1 */
        {"a INT NOT NULL", ONE("[\"null\",\"int\"]"), "00", "is null"},
        {"a INT NOT NULL", ONE("[\"null\",\"int\"]"), "0206", NULL},
        {"a INT", ONE("[\"string\",\"int\"]"), "00027a", "cannot be read from string"},
        {"a STRING", ONE("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\"]}"), "02", "cut off"},
        {"a STRING", ONE("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\"]}"), "01", "cut off"},
        {"a DATE", ONE("{\"type\":\"int\",\"logicalType\":\"date\"}"), "feffffff0f", "years 1 to 9999"},
        {"a TIMESTAMP(3)", ONE("{\"type\":\"long\",\"logicalType\":\"timestamp-millis\"}"), "feffffffffffffffff01",
         "years 1 to 9999"},
        {"a TIME(3)", ONE("{\"type\":\"int\",\"logicalType\":\"time-millis\"}"), "01", "not a time of a day"},
        {"a DECIMAL(4, 2)", ONE("{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":9,\"scale\":2}"),
         "062711ff", "does not fit exactly"},
        {"a DECIMAL(4, 1)", ONE("{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":9,\"scale\":2}"), "020b",
         "does not fit exactly"}, /* 0.11 */
        {"a DECIMAL(4, 2)", ONE("{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":9,\"scale\":2}"), "00",
         "does not fit exactly"}, /* no bytes */
        {"a DECIMAL(4, 2)", ONE("{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":60,\"scale\":2}"),
         "24000000000000000000000000000000000011", NULL},
        {"a DECIMAL(38, 2)", ONE("{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":60,\"scale\":2}"),
         "22010000000000000000000000000000000000", "does not fit exactly"},
        {"a ARRAY<INT>", LIST("\"int\""), "0402040000", "goes on behind"}, /* [1, 2], end, and one more */
        {"a ARRAY<INT>", LIST("\"int\""), "03080204060000", "more elements"},
        {"a ARRAY<INT>", LIST("\"int\""), "0304020400", NULL},                    /* -2 elements of 2 bytes */
        {"a ARRAY<INT>", LIST("\"int\""), "ffffffffffffffffff010200", "cut off"}, /* -2^63 elements */
        {"a ARRAY<INT>", LIST("\"int\""), "feffffffffffffffff01", "more elements"},
        {"a ARRAY<INT>", LIST("\"int\""), "0301", "cut off"}, /* a block of -1 bytes */
        {"a ARRAY<INT>", LIST("\"null\""), "80808080801000", "more elements"},
        {"a ARRAY<INT>", LIST("\"null\""), "0400", NULL},
        {"b INT", LIST("\"null\""), "80808080801000", NULL}, /* skipped: what it claims costs nothing */
        {"b INT", LIST("\"int\""), "feffffffffffffffff01", "cut off"},
        {"b INT", LIST("\"int\""), "030400000000",
         "goes on behind"}, /* -2 elements in 2 bytes are jumped over, then the end */
        {"b INT", LIST("\"int\""), "03feffffffffffffffff01", "cut off"},
        {"a MAP<STRING, INT>", ONE("{\"type\":\"map\",\"values\":\"int\"}"), "0402c30200", "not valid UTF-8"},
        {"b INT", "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"n\",\"type\":[\"null\",\"R\"]}]}",
         "0200", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t bytes[64];
        size_t size = bytes_of(cases[i].hex, bytes);
        struct decoding d = decoding_of(cases[i].columns, cases[i].writer, NULL);
        weir_err err = decode(&d, bytes, size);
        if (cases[i].says ? err != WEIR_ERR_DATA || !strstr(error.message, cases[i].says) : err != 0)
            fail_msg("%s as %s: %d %s", cases[i].hex, cases[i].columns, err, error.message);
        assert_int_equal(d.batch->row_count, !cases[i].says);
        end(&d);
    }
}

/* A recursive type that only the bytes end. */
static void test_nested_deep(void **state)
{
    (void)state;
    static const char schema[] =
        "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"v\",\"type\":\"int\"},{\"name\":\"n\",\"type\":[\"null\",\"R\"]}]}";
    static uint8_t bytes[1 << 20];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = i % 2 ? 2 : 0; /* v 0, branch 1, v 0, ... */
    struct decoding d = decoding_of("v INT", schema, NULL);
    expect_message(decode(&d, bytes, sizeof bytes), WEIR_ERR_DATA, "nested too deep");
    end(&d);
}

/* --- Schemas */

static void test_schemas_that_do_not_fit(void **state)
{
    (void)state;
    static const struct {
        const char *columns, *writer, *reader, *says;
    } cases[] = {
        {"a INT", "{", NULL, "line 1"},
        {"a INT", "\"int\"", NULL, "rows are read from records"},
        {"a INT", ONE("\"nothing\""), NULL, "there is no type 'nothing'"},
        {"a INT", ONE("7"), NULL, "neither a name"},
        {"a INT", ONE("[\"int\",[\"null\"]]"), NULL, "directly in a union"},
        {"a INT", ONE("\"R\""), NULL, "directly in itself"},
        {"a INT", ONE("{\"type\":\"enum\",\"name\":\"R\",\"symbols\":[\"A\"]}"), NULL, "defined twice"},
        {"a INT", ONE("{\"type\":\"fixed\",\"name\":\"F\",\"size\":-1}"), NULL, "no size"},
        {"a INT", ONE("\"string\""), NULL, "column 'a' (INT) cannot be read from string"},
        {"a INT", ONE("\"long\""), NULL, "declare it as BIGINT"},
        {"a FLOAT", ONE("\"double\""), NULL, "declare it as DOUBLE"},
        {"a STRING", ONE("{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":4}"), NULL,
         "declare it as DECIMAL"},
        {"a INT", ONE("{\"type\":\"array\",\"items\":\"int\"}"), NULL, "declare it as ARRAY"},
        {"a ROW<b INT, c STRING NOT NULL>",
         ONE("{\"type\":\"record\",\"name\":\"S\",\"fields\":[{\"name\":\"b\",\"type\":\"int\"}]}"), NULL,
         "no field 'a.c', and the column is NOT NULL"},
        {"a ARRAY<ROW<b INT>>",
         LIST("{\"type\":\"record\",\"name\":\"S\",\"fields\":[{\"name\":\"b\",\"type\":\"string\"}]}"), NULL,
         "column 'a[].b' (INT)"},
        {"b INT NOT NULL", ONE("\"int\""), NULL, "no field 'b', and the column is NOT NULL"},
        {"a INT", ONE("[\"null\",\"string\"]"), NULL, "cannot be read from string"},
        {"b INT", ONE("\"int\""), ONE("\"int\""), "the reader's schema has no field 'b'"},
        {"b INT", ONE("\"int\""), "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"b\",\"type\":\"int\"}]}",
         "no default for it"},
        {"b INT", ONE("\"int\""),
         "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"b\",\"type\":\"int\",\"default\":\"x\"}]}",
         "the default of field 'b' is no value"},
        {"a STRING", ONE("\"int\""), ONE("\"string\""), "the reader's schema has string there"},
        {"a STRING", ONE("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\"]}"),
         ONE("{\"type\":\"enum\",\"name\":\"F\",\"symbols\":[\"A\"]}"), "enum 'F' there"},
        {"a MAP<INT, INT>", NULL, NULL, "a map's keys are strings"},
        {"`a-b` INT", NULL, NULL, "cannot be a field's name"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct weir_schema *schema = schema_of(cases[i].columns);
        struct options options = options_of(cases[i].writer, cases[i].reader);
        struct weir_decoder *decoder;
        expect_message(format_of("avro")->decoder_new(schema, options.pairs, options.count, &decoder, &error),
                       WEIR_ERR_INVALID, cases[i].says);
        weir_schema_unref(schema);
    }
}

/* A symbol that only the writer has, without a default. */
static void test_enum_symbol_unknown(void **state)
{
    (void)state;
    struct decoding d = decoding_of("a STRING", ONE("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B\"]}"),
                                    ONE("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\"]}"));
    expect_message(decode(&d, (const uint8_t *)"\2", 1), WEIR_ERR_DATA, "is 'B', which the reader's enum has not");
    assert_int_equal(decode(&d, (const uint8_t *)"\0", 1), 0);
    end(&d);
}

static void test_derived_as_flink_does(void **state)
{
    (void)state;
    struct weir_schema *schema =
        schema_of("id BIGINT NOT NULL, n SMALLINT, d DECIMAL(10, 2), t TIMESTAMP(3), z TIMESTAMP_LTZ(3), "
                  "r ROW<x DATE NOT NULL, y TIME(0)> NOT NULL, m MAP<STRING, ARRAY<INT NOT NULL> NOT NULL> NOT NULL");
    char *text = NULL;
    assert_int_equal(weir_avro_derive(schema, false, &text, &error), 0);
    assert_string_equal(
        text,
        "{\"type\":\"record\",\"name\":\"record\",\"fields\":[{\"name\":\"id\",\"type\":\"long\"},"
        "{\"name\":\"n\",\"type\":[\"null\",\"int\"],\"default\":null},"
        "{\"name\":\"d\",\"type\":[\"null\",{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":10,\"scale\":2}],\"default\":null},"
        "{\"name\":\"t\",\"type\":[\"null\",{\"type\":\"long\",\"logicalType\":\"local-timestamp-millis\"}],\"default\":null},"
        "{\"name\":\"z\",\"type\":[\"null\",{\"type\":\"long\",\"logicalType\":\"timestamp-millis\"}],\"default\":null},"
        "{\"name\":\"r\",\"type\":{\"type\":\"record\",\"name\":\"record_r\",\"fields\":[{\"name\":\"x\",\"type\":{\"type\":\"int\",\"logicalType\":\"date\"}},"
        "{\"name\":\"y\",\"type\":[\"null\",{\"type\":\"int\",\"logicalType\":\"time-millis\"}],\"default\":null}]}},"
        "{\"name\":\"m\",\"type\":{\"type\":\"map\",\"values\":{\"type\":\"array\",\"items\":\"int\"}}}],"
        "\"namespace\":\"org.apache.flink.avro.generated\"}");
    free(text);
    weir_schema_unref(schema);
}

/* --- Writing */

/* What was read with a schema and is written with the same has the same bytes. */
static void test_written_as_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        const struct vector *v = &vectors[i];
        if (strcmp(v->name, "every scalar") != 0 && strcmp(v->name, "unions") != 0)
            continue;
        uint8_t bytes[1024];
        size_t size = bytes_of(v->hex, bytes);
        struct decoding d = decoding_of(v->columns, v->writer, NULL);
        struct options options = options_of(v->writer, NULL);
        struct weir_encoder *encoder;
        struct weir_buf out;
        weir_buf_init(&out, 4096);
        assert_int_equal(decode(&d, bytes, size), 0);
        if (format_of("avro")->encoder_new(d.schema, options.pairs, options.count, &encoder, &error))
            fail_msg("%s: %s", v->name, error.message);
        assert_int_equal(format_of("avro")->encode(encoder, d.batch, 0, &out, &error), 0);
        assert_int_equal(out.size, size);
        assert_memory_equal(out.data, bytes, size);
        weir_buf_fini(&out);
        format_of("avro")->encoder_free(encoder);
        end(&d);
    }
}

static void test_round_trips(void **state)
{
    (void)state;
    struct random random = {7};
    struct decoding d = decoding_of(ALL_TYPES_SCHEMA KEYABLE_TYPES_SCHEMA MAP_TYPES_SCHEMA, NULL, NULL);
    struct weir_encoder *encoder;
    assert_int_equal(format_of("avro")->encoder_new(d.schema, NULL, 0, &encoder, &error), 0);
    for (int round = 0; round < 50; round++) {
        struct weir_batch *batch = random_batch(&random, d.schema, 64, 4);
        struct weir_buf out;
        weir_buf_init(&out, 1 << 20);
        weir_batch_unref(d.batch);
        d.batch = weir_batch_new(d.schema, 65); /* one for what is broken */
        for (int row = 0; row < 64; row++) {
            weir_buf_clear(&out);
            if (format_of("avro")->encode(encoder, batch, row, &out, &error) || decode(&d, out.data, out.size))
                fail_msg("%s", error.message);
            assert_true(same_row(batch, row, d.batch, row));
            /* Broken bytes: taken or not, never more. */
            out.data[random_below(&random, (int)out.size)] ^= (uint8_t)(1 << random_below(&random, 8));
            if (decode(&d, out.data, out.size) == 0)
                d.batch->row_count--, weir_batch_undo_row(d.batch);
        }
        weir_buf_fini(&out);
        weir_batch_unref(batch);
    }
    format_of("avro")->encoder_free(encoder);
    end(&d);
}

/* A JSON row, written by `schema`: its bytes in hex, or the error. */
static char *written(const char *columns, const char *schema_text, const char *json_row)
{
    const struct weir_format *json = format_of("json"), *avro = format_of("avro");
    struct weir_schema *schema = schema_of(columns);
    struct options options = options_of(schema_text, NULL);
    struct weir_decoder *decoder;
    struct weir_encoder *encoder = NULL;
    struct weir_batch *batch = weir_batch_new(schema, 1);
    struct weir_buf out;
    char *text;
    weir_buf_init(&out, 1024);
    assert_int_equal(json->decoder_new(schema, NULL, 0, &decoder, &error), 0);
    if (json->decode(decoder, (const uint8_t *)json_row, strlen(json_row), false, batch, &error))
        fail_msg("%s: %s", json_row, error.message);
    weir_err err = avro->encoder_new(schema, options.pairs, options.count, &encoder, &error);
    if (!err)
        err = avro->encode(encoder, batch, 0, &out, &error);
    text = err ? weir_format("! %s", error.message) : malloc(out.size * 2 + 1);
    if (!err)
        weir_hex_encode(out.data, out.size, text);
    json->decoder_free(decoder);
    if (encoder)
        avro->encoder_free(encoder);
    weir_batch_unref(batch);
    weir_schema_unref(schema);
    weir_buf_fini(&out);
    return text;
}

static void test_written(void **state)
{
    (void)state;
    static const struct {
        const char *columns, *schema, *row, *hex; /* "! ": a part of the error */
    } cases[] = {
        {"a INT", NULL, "{\"a\":-1}", "0201"},
        {"a INT", NULL, "{\"a\":null}", "00"},
        {"a INT NOT NULL", NULL, "{\"a\":64}", "8001"},
        {"a INT", ONE("[\"string\",\"long\",\"null\"]"), "{\"a\":1}", "0202"},
        {"a INT", ONE("[\"string\",\"long\",\"null\"]"), "{\"a\":null}", "04"},
        {"a INT", ONE("\"int\""), "{\"a\":null}", "! column 'a' (INT) is NULL, which the Avro schema does not allow"},
        {"a INT", ONE("\"double\""), "{\"a\":1}", "000000000000f03f"},
        {"a DOUBLE", ONE("\"float\""), "{\"a\":1}", "! cannot be written as float"},
        {"a STRING", ONE("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B\"]}"), "{\"a\":\"B\"}", "02"},
        {"a STRING", ONE("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B\"]}"), "{\"a\":\"C\"}",
         "! none of the enum's symbols"},
        {"a BYTES", ONE("{\"type\":\"fixed\",\"name\":\"F\",\"size\":2}"), "{\"a\":\"AQI=\"}", "0102"},
        {"a BYTES", ONE("{\"type\":\"fixed\",\"name\":\"F\",\"size\":3}"), "{\"a\":\"AQI=\"}", "! not the size"},
        {"a TIMESTAMP(3)", ONE("{\"type\":\"long\",\"logicalType\":\"timestamp-micros\"}"),
         "{\"a\":\"1970-01-01T00:00:00.001Z\"}", "d00f"},
        {"a TIMESTAMP(3)", ONE("{\"type\":\"long\",\"logicalType\":\"timestamp-nanos\"}"),
         "{\"a\":\"9999-01-01T00:00:00Z\"}", "! cannot express"},
        {"a TIME(3)", ONE("{\"type\":\"long\",\"logicalType\":\"time-micros\"}"), "{\"a\":\"00:00:00.001\"}", "d00f"},
        {"a DECIMAL(5, 2)", NULL, "{\"a\":-1.28}", "020280"},
        {"a DECIMAL(5, 2)", NULL, "{\"a\":1.28}", "02040080"},
        {"a DECIMAL(5, 2)",
         ONE("{\"type\":\"fixed\",\"name\":\"F\",\"size\":3,\"logicalType\":\"decimal\",\"precision\":6,\"scale\":3}"),
         "{\"a\":-0.01}", "fffff6"},
        {"a DECIMAL(5, 2)", ONE("{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":5,\"scale\":1}"),
         "{\"a\":0.11}", "! exactly"},
        {"b INT",
         "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\",\"type\":\"string\",\"default\":\"x\"},{\"name\":\"b\",\"type\":\"int\"}]}",
         "{\"b\":1}", "027802"},
        {"b INT",
         "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\",\"type\":\"string\"},{\"name\":\"b\",\"type\":\"int\"}]}",
         "{\"b\":1}", "! 'a' of the Avro schema is no column, and it has no default"},
        {"a INT, b INT", ONE("\"int\""), "{\"a\":1}", "! column 'b' is not in the Avro schema"},
        {"a MAP<STRING, INT>", NULL, "{\"a\":{\"k\":1}}", "0202026b020200"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *got = written(cases[i].columns, cases[i].schema, cases[i].row);
        bool fails = cases[i].hex[0] == '!';
        if (fails ? got[0] != '!' || !strstr(got, cases[i].hex + 2) : strcmp(got, cases[i].hex) != 0)
            fail_msg("%s of %s: %s, expected %s", cases[i].row, cases[i].columns, got, cases[i].hex);
        free(got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_nested_deep),
        cmocka_unit_test(test_schemas_that_do_not_fit),
        cmocka_unit_test(test_enum_symbol_unknown),
        cmocka_unit_test(test_derived_as_flink_does),
        cmocka_unit_test(test_written_as_read),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
