/* Protobuf: records as protoc writes and reads them, the wire's odd corners, bad records, schemas from descriptors and from source.
 *
 * protoc (which the build needs) is the other side: it makes the descriptor and encodes text to the bytes that are decoded here, and what is
 * encoded here must be its bytes again. Every case runs with the schema from the descriptor and from the .proto text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "format/format.h"
#include "format/protobuf_schema.h"
#include "format/text_int.h"
#include "unit/data_random.h"

static const char proto3_text[] =
    "syntax = \"proto3\"; // a comment; with } signs\n"
    "package shop.v1;\n"
    "import \"google/protobuf/timestamp.proto\"; import \"google/protobuf/duration.proto\";\n"
    "import \"google/protobuf/wrappers.proto\";\n"
    "option java_package = \"x.y\"; /* {{ */\n"
    "enum Color { option allow_alias = true; RED = 0; GREEN = 1; LIME = 1 [deprecated = true]; NIGHT = -5; reserved 9; }\n"
    "message All {\n"
    "  double d = 1; float f = 2; int32 i32 = 3; int64 i64 = 4; uint32 u32 = 5; uint64 u64 = 6; sint32 s32 = 7;\n"
    "  sint64 s64 = 8; fixed32 f32 = 9; fixed64 f64 = 10; sfixed32 sf32 = 11; sfixed64 sf64 = 12; bool b = 13;\n"
    "  string s = 14; bytes y = 15; Color c = 16;\n"
    "  reserved 100 to 200; reserved \"old\";\n"
    "}\n"
    "message Order {\n"
    "  message Item { string name = 1; int64 price = 2; repeated int32 marks = 3; Color color = 4; }\n"
    "  optional int32 maybe = 1;\n"
    "  repeated Item items = 2; Item gift = 3; map<string, int64> counts = 4; map<int32, Item> by_id = 5;\n"
    "  oneof pay { string card = 6; int64 cash = 7; Item barter = 8; bool free = 9; }\n"
    "  repeated sint32 packed = 10; repeated string tags = 11; repeated Color colors = 12;\n"
    "  repeated fixed32 unpacked = 13 [packed = false];\n"
    "  google.protobuf.Timestamp at = 14; google.protobuf.Duration took = 15;\n"
    "  google.protobuf.Int64Value big = 16; google.protobuf.StringValue note = 17; Order inner = 18;\n"
    "  repeated google.protobuf.Timestamp times = 19; repeated google.protobuf.DoubleValue weights = 20;\n"
    "  string amount = 21; int64 stamp = 22; int32 day = 23; string iso = 24; map<string, Color> shades = 25;\n"
    "  int32 far = 536870911;\n"
    "}\n"
    "service Shop { rpc Buy(Order) returns (All) { option idempotency_level = NO_SIDE_EFFECTS; } }\n";

static const char proto2_text[] =
    "syntax = 'proto2'; package old;\n"
    "enum Level { LOW = 3; HIGH = 7; } enum Size { NONE = 0; SMALL = 3; }\n"
    "message Two {\n"
    "  required int32 id = 1; optional string name = 2 [default = \"it's\"]; optional Level level = 3 [default = HIGH];\n"
    "  optional Level plain = 4; repeated int32 n = 5; repeated int32 p = 6 [packed = true];\n"
    "  optional group Inner = 7 { optional int32 a = 1; repeated string s = 2; optional group Deep = 3 { optional bool z = 1; } }\n"
    "  optional double r = 8 [default = -1.5]; optional bool t = 9 [default = true]; repeated Level levels = 10;\n"
    "  optional bytes raw = 11 [default = \"\\001\\xffa\\n\"]; optional sint64 z = 12 [default = -3]; optional float inf = 13 [default = -inf];\n"
    "  map<string, Size> by_name = 14; optional uint64 u = 15 [default = 18446744073709551615]; extensions 1000 to max;\n"
    "}\n"
    "extend Two { optional int32 more = 1000; }\n";

static char directory[] = "/tmp/weir-protobuf-XXXXXX";
static const struct weir_format *protobuf;
static char *descriptor3, *descriptor2; /* base64:... */

static void write_file(const char *name, const void *bytes, size_t size)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static uint8_t *read_file(const char *name, size_t *size)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    uint8_t *bytes = malloc(1 << 20);
    *size = fread(bytes, 1, (1 << 20) - 1, file);
    bytes[*size] = 0;
    fclose(file);
    return bytes;
}

static void command(const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (system(line) != 0)
        fail_msg("%s", line);
}

static char *descriptor_of(const char *proto)
{
    size_t size;
    command("protoc -I%s --include_imports --descriptor_set_out=%s/set %s/%s", directory, directory, directory, proto);
    uint8_t *bytes = read_file("set", &size);
    char *text = malloc(size / 3 * 4 + 16);
    memcpy(text, "base64:", 7);
    text[7 + weir_base64_encode(bytes, size, text + 7)] = 0;
    free(bytes);
    return text;
}

static int setup(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(directory));
    write_file("shop.proto", proto3_text, sizeof proto3_text - 1);
    write_file("old.proto", proto2_text, sizeof proto2_text - 1);
    descriptor3 = descriptor_of("shop.proto");
    descriptor2 = descriptor_of("old.proto");
    return weir_format_find("protobuf", &protobuf, NULL);
}

static int teardown(void **state)
{
    (void)state;
    command("rm -r %s", directory);
    free(descriptor3);
    free(descriptor2);
    return 0;
}

/* --- Cases */

struct options {
    struct weir_key_value given[4];
    int count;
};

/* `how` 0: by the descriptor; 1: by the source. */
static struct options options_of(const char *message, int how, bool defaults)
{
    bool two = strncmp(message, "old.", 4) == 0;
    return (struct options){{{how ? "protobuf.schema" : "protobuf.descriptor",
                              how ? (two ? proto2_text : proto3_text) : (two ? descriptor2 : descriptor3)},
                             {how ? "protobuf.descriptor" : "protobuf.schema", ""},
                             {"protobuf.message-name", message},
                             {"protobuf.read-default-values", defaults ? "true" : "false"}},
                            4};
}

static struct weir_schema *schema_of(const char *text)
{
    struct weir_schema *schema;
    struct weir_error error;
    if (weir_schema_parse(text, &schema, &error))
        fail_msg("%s", error.message);
    return schema;
}

/* The row's text, or "! sentence". */
static char *decoded(const char *message, int how, bool defaults, const char *columns, const void *bytes, size_t size)
{
    struct weir_schema *schema = schema_of(columns);
    struct options options = options_of(message, how, defaults);
    struct weir_decoder *decoder;
    struct weir_error error;
    struct weir_buf out;
    weir_buf_init(&out, 1 << 20);
    if (protobuf->decoder_new(schema, options.given, options.count, &decoder, &error)) {
        assert_true(weir_buf_printf(&out, "!! %s", error.message));
    } else {
        struct weir_batch *batch = weir_batch_new(schema, 2);
        uint8_t *exact = malloc(size ? size : 1),
                *padded = malloc(size + 64); /* a sanitizer sees what is read behind it */
        memcpy(exact, bytes, size);
        memcpy(padded, bytes, size);
        memset(padded + size, 0xc3, 64);
        for (int again = 0; again < 2; again++) { /* a second time: nothing is left of the first */
            weir_buf_clear(&out);
            batch->row_count = 0;
            if (protobuf->decode(decoder, again ? padded : exact, size, again, batch, &error))
                assert_true(weir_buf_printf(&out, "! %s", error.message));
            else
                assert_true(weir_batch_print_row(batch, 0, &out));
        }
        free(padded);
        free(exact);
        weir_batch_unref(batch);
        protobuf->decoder_free(decoder);
    }
    weir_schema_unref(schema);
    return (char *)out.data;
}

static void expect(const char *message, const char *columns, const void *bytes, size_t size, const char *expected)
{
    for (int how = 0; how < 2; how++) {
        char *got = decoded(message, how, false, columns, bytes, size);
        assert_string_equal(got, expected);
        free(got);
    }
}
#define WIRE(bytes) bytes, sizeof(bytes) - 1

/* As protoc encodes Protobuf's text form. */
static uint8_t *by_protoc(const char *message, const char *text, size_t *size)
{
    const char *file = strncmp(message, "old.", 4) == 0 ? "old.proto" : "shop.proto";
    write_file("text", text, strlen(text));
    command("cd %s && protoc --encode=%s %s < text > wire", directory, message, file);
    return read_file("wire", size);
}

/* What protoc wrote is read as expected, and written again as protoc wrote it. */
static void round_trip(const char *message, const char *columns, const char *text, const char *expected)
{
    size_t size;
    uint8_t *bytes = by_protoc(message, text, &size);
    expect(message, columns, bytes, size, expected);
    for (int how = 0; how < 2; how++) {
        struct weir_schema *schema = schema_of(columns);
        struct options options = options_of(message, how, false);
        struct weir_decoder *decoder;
        struct weir_encoder *encoder;
        struct weir_error error;
        struct weir_buf out;
        weir_buf_init(&out, 1 << 20);
        struct weir_batch *batch = weir_batch_new(schema, 2);
        assert_int_equal(protobuf->decoder_new(schema, options.given, options.count, &decoder, &error), 0);
        if (protobuf->encoder_new(schema, options.given, options.count, &encoder, &error))
            fail_msg("%s", error.message);
        assert_int_equal(protobuf->decode(decoder, bytes, size, false, batch, &error), 0);
        if (protobuf->encode(encoder, batch, 0, &out, &error))
            fail_msg("%s", error.message);
        assert_int_equal(out.size, size);
        assert_memory_equal(out.data, bytes, size);
        weir_buf_fini(&out);
        weir_batch_unref(batch);
        protobuf->decoder_free(decoder);
        protobuf->encoder_free(encoder);
        weir_schema_unref(schema);
    }
    free(bytes);
}

#define ALL_COLUMNS \
    "d DOUBLE, f FLOAT, i32 INT, i64 BIGINT, u32 BIGINT, u64 DECIMAL(20, 0), s32 INT, s64 BIGINT, f32 BIGINT, f64 DECIMAL(20, " \
    "0), sf32 INT, sf64 BIGINT, b BOOLEAN, s STRING, y BYTES, c STRING"

static void every_scalar(void **state)
{
    (void)state;
    round_trip(
        "shop.v1.All", ALL_COLUMNS,
        "d: -1.5 f: 0.25 i32: -1 i64: -9223372036854775808 u32: 4294967295 u64: 18446744073709551615 s32: -2147483648 "
        "s64: -9223372036854775808 f32: 4294967295 f64: 18446744073709551615 sf32: -2 sf64: -3 b: true s: \"h\\303\\251\" "
        "y: \"\\000\\377\" c: NIGHT",
        "{\"d\": -1.5, \"f\": 0.25, \"i32\": -1, \"i64\": -9223372036854775808, \"u32\": 4294967295, \"u64\": "
        "18446744073709551615, \"s32\": -2147483648, \"s64\": -9223372036854775808, \"f32\": 4294967295, \"f64\": "
        "18446744073709551615, \"sf32\": -2, \"sf64\": -3, \"b\": true, \"s\": \"h\xc3\xa9\", \"y\": x'00ff', \"c\": "
        "\"NIGHT\"}");
    round_trip(
        "shop.v1.All", ALL_COLUMNS, "",
        "{\"d\": 0, \"f\": 0, \"i32\": 0, \"i64\": 0, \"u32\": 0, \"u64\": 0, \"s32\": 0, \"s64\": 0, \"f32\": 0, "
        "\"f64\": 0, \"sf32\": 0, \"sf64\": 0, \"b\": false, \"s\": \"\", \"y\": x'', \"c\": \"RED\"}");
    round_trip("shop.v1.All", "d DOUBLE, c INT", "d: -0.0 c: 77", "{\"d\": -0, \"c\": 77}");
    round_trip("shop.v1.All", "i32 SMALLINT, i64 TINYINT, u64 BIGINT, c STRING", "i32: -32768 i64: 127 u64: 5 c: 77",
               "{\"i32\": -32768, \"i64\": 127, \"u64\": 5, \"c\": \"77\"}");
}

static void nested_repeated_and_maps(void **state)
{
    (void)state;
    round_trip(
        "shop.v1.Order",
        "maybe INT, items ARRAY<ROW<name STRING, marks ARRAY<INT>, color STRING>>, gift ROW<price BIGINT>, counts "
        "MAP<STRING NOT NULL, BIGINT>, by_id MAP<INT NOT NULL, ROW<name STRING>>, packed ARRAY<INT>, tags "
        "ARRAY<STRING>, colors ARRAY<STRING>, unpacked ARRAY<BIGINT>, far INT",
        "maybe: 0 items {name: \"a\" marks: [1, 300, -1] color: GREEN} items {} gift {price: 5} counts {key: \"k\" "
        "value: 7} by_id {key: 3 value {name: \"n\"}} packed: [1, -2, 300] tags: [\"x\", \"\"] colors: [RED, NIGHT] "
        "unpacked: [1, 2] far: 9",
        "{\"maybe\": 0, \"items\": [{\"name\": \"a\", \"marks\": [1, 300, -1], \"color\": \"GREEN\"}, {\"name\": \"\", "
        "\"marks\": [], \"color\": \"RED\"}], \"gift\": {\"price\": 5}, \"counts\": {\"k\": 7}, \"by_id\": {3: "
        "{\"name\": \"n\"}}, \"packed\": [1, -2, 300], \"tags\": [\"x\", \"\"], \"colors\": [\"RED\", \"NIGHT\"], "
        "\"unpacked\": [1, 2], \"far\": 9}");
    round_trip("shop.v1.Order",
               "maybe INT, items ARRAY<ROW<name STRING>>, gift ROW<price BIGINT>, counts MAP<STRING, BIGINT>", "",
               "{\"maybe\": null, \"items\": [], \"gift\": null, \"counts\": {}}");
    round_trip("shop.v1.Order", "`inner` ROW<`inner` ROW<maybe INT>>", "inner { inner { maybe: 4 } }",
               "{\"inner\": {\"inner\": {\"maybe\": 4}}}");
    round_trip("shop.v1.Order", "counts ARRAY<ROW<`key` STRING, `value` BIGINT>>", "counts {key: \"k\" value: 7}",
               "{\"counts\": [{\"key\": \"k\", \"value\": 7}]}");
}

static void types_that_stand_for_others(void **state)
{
    (void)state;
    round_trip(
        "shop.v1.Order",
        "at TIMESTAMP_LTZ(3), took BIGINT, big BIGINT, note STRING, times ARRAY<TIMESTAMP(3)>, weights ARRAY<DOUBLE>",
        "at {seconds: -1 nanos: 500000000} took {seconds: -1 nanos: -5000000} big {} note {value: \"n\"} times "
        "{seconds: 1} times {} weights {value: 1.5} weights {}",
        "{\"at\": \"1969-12-31T23:59:59.500Z\", \"took\": -1005, \"big\": 0, \"note\": \"n\", \"times\": [\"1970-01-01 "
        "00:00:01.000\", \"1970-01-01 00:00:00.000\"], \"weights\": [1.5, 0]}");
    round_trip("shop.v1.Order", "at ROW<seconds BIGINT, nanos INT>, took BIGINT, big ROW<`value` BIGINT>",
               "at {nanos: 7} big {value: 3}",
               "{\"at\": {\"seconds\": 0, \"nanos\": 7}, \"took\": null, \"big\": {\"value\": 3}}");
    round_trip(
        "shop.v1.Order", "amount DECIMAL(10, 2), stamp TIMESTAMP(3), day DATE, iso TIMESTAMP(3)",
        "amount: \"-12.30\" stamp: 1357020000123 day: 15706 iso: \"2013-01-01T06:00:00Z\"",
        "{\"amount\": -12.30, \"stamp\": \"2013-01-01 06:00:00.123\", \"day\": \"2013-01-01\", \"iso\": \"2013-01-01 "
        "06:00:00.000\"}");
    expect("shop.v1.Order", "amount DECIMAL(10, 2)", WIRE(""), "{\"amount\": null}");
    expect("shop.v1.Order", "amount DECIMAL(10, 2) NOT NULL", WIRE(""),
           "! protobuf: column 'amount' (DECIMAL(10, 2) NOT NULL) is absent");
    expect(
        "shop.v1.Order", "amount DECIMAL(4, 2)",
        WIRE("\xaa\x01\x05"
             "1.234"),
        "! protobuf: column 'amount' (DECIMAL(4, 2)) is a number with more digits behind its point, which would be lost");
    expect("shop.v1.All", "u32 DOUBLE, f DOUBLE, i32 DECIMAL(5, 2)", WIRE("\x28\x07\x15\0\0\x80\x3e\x18\x05"),
           "{\"u32\": 7, \"f\": 0.25, \"i32\": 5.00}");
}

static void proto2(void **state)
{
    (void)state;
    round_trip(
        "old.Two",
        "id INT NOT NULL, name STRING, level STRING, n ARRAY<INT>, p ARRAY<INT>, `inner` ROW<a INT, s ARRAY<STRING>, "
        "deep ROW<z BOOLEAN>>, t BOOLEAN, levels ARRAY<INT>, by_name MAP<STRING, STRING>",
        "id: 0 name: \"\" level: LOW n: [1, 2] p: [3, 4] Inner {a: 1 s: \"x\" Deep {z: true}} t: false levels: [LOW, "
        "HIGH] by_name {key: \"k\" value: SMALL}",
        "{\"id\": 0, \"name\": \"\", \"level\": \"LOW\", \"n\": [1, 2], \"p\": [3, 4], \"inner\": {\"a\": 1, \"s\": "
        "[\"x\"], \"deep\": {\"z\": true}}, \"t\": false, \"levels\": [3, 7], \"by_name\": {\"k\": \"SMALL\"}}");
    expect("old.Two", "id INT, name STRING", WIRE("\x12\x01x"),
           "! protobuf: column 'id' (INT) is a required field that is absent");
    expect("old.Two", "name STRING, level STRING, plain STRING", WIRE("\x08\x01"),
           "{\"name\": null, \"level\": null, \"plain\": null}");
    /* Numbers without a name, in a closed enum: unknown fields. */
    expect("old.Two", "level STRING, levels ARRAY<INT>, by_name MAP<STRING, STRING>",
           WIRE("\x18\x07\x18\x09\x52\x03\x03\x09\x07\x50\x08\x72\x05\x0a\x01k\x10\x09\x72\x05\x0a\x01j\x10\x03"),
           "{\"level\": \"HIGH\", \"levels\": [3, 7], \"by_name\": {\"j\": \"SMALL\"}}");
    for (int how = 0; how < 2; how++) {
        char *got =
            decoded("old.Two", how, true,
                    "name STRING, level STRING, plain STRING, r DOUBLE, t BOOLEAN, raw BYTES, z BIGINT, inf FLOAT, "
                    "`inner` ROW<a INT>, u DECIMAL(20, 0)",
                    WIRE(""));
        assert_string_equal(
            got, "{\"name\": \"it's\", \"level\": \"HIGH\", \"plain\": \"LOW\", \"r\": -1.5, \"t\": true, \"raw\": "
                 "x'01ff610a', \"z\": -3, \"inf\": -inf, \"inner\": null, \"u\": 18446744073709551615}");
        free(got);
    }
}

/* What the wire allows beside what encoders write. */
static void odd_but_right(void **state)
{
    (void)state;
    const char *order = "shop.v1.Order";
    /* The last counts, packed and not, apart from each other, with fields that nobody knows between. */
    expect("shop.v1.All", "i32 INT, s STRING",
           WIRE("\x18\x01\x72\x03"
                "abc\x18\x02\x72\x01z"),
           "{\"i32\": 2, \"s\": \"z\"}");
    expect(order, "packed ARRAY<INT>, unpacked ARRAY<BIGINT>",
           WIRE("\x50\x02\xf8\x7f\x01\x52\x02\x04\x06\x6a\x08\x01\0\0\0\x02\0\0\0\x50\x08\x6d\x03\0\0\0"),
           "{\"packed\": [1, 2, 3, 4], \"unpacked\": [1, 2, 3]}");
    expect(order, "packed ARRAY<INT>", WIRE("\x52\x00"), "{\"packed\": []}");
    /* Messages that come in parts are one; so are those in them, and a timestamp; entries of one key are the last. */
    expect(order, "gift ROW<name STRING, price BIGINT, marks ARRAY<INT>>",
           WIRE("\x1a\x05\x0a\x01"
                "a\x18\x01\x08\x01\x1a\x06\x10\x05\x18\x02\x18\x03"),
           "{\"gift\": {\"name\": \"a\", \"price\": 5, \"marks\": [1, 2, 3]}}");
    expect(order, "`inner` ROW<gift ROW<name STRING, price BIGINT>>",
           WIRE("\x92\x01\x05\x1a\x03\x0a\x01"
                "a\x92\x01\x04\x1a\x02\x10\x05"),
           "{\"inner\": {\"gift\": {\"name\": \"a\", \"price\": 5}}}");
    expect(order, "at TIMESTAMP(3), big BIGINT",
           WIRE("\x72\x02\x08\x01\x82\x01\x02\x08\x07\x72\x04\x10\x80\x89\x7a\x82\x01\x00"),
           "{\"at\": \"1970-01-01 00:00:01.002\", \"big\": 7}");
    expect(order, "counts MAP<STRING, BIGINT>",
           WIRE("\x22\x05\x0a\x01k\x10\x01\x22\x05\x10\x03\x0a\x01k\x22\x00\x22\x02\x10\x09"),
           "{\"counts\": {\"k\": 3, \"\": 9}}");
    expect(order, "by_id MAP<INT, ROW<name STRING, price BIGINT>>",
           WIRE("\x2a\x0b\x12\x03\x0a\x01"
                "a\x08\x01\x12\x02\x10\x05\x2a\x02\x08\x02"),
           "{\"by_id\": {1: {\"name\": \"a\", \"price\": 5}, 2: {\"name\": \"\", \"price\": 0}}}");
    /* A oneof's last member ends the others, also where no column takes it; its messages merge when nothing is between. */
    expect(order, "card STRING, cash BIGINT",
           WIRE("\x32\x01"
                "a\x38\x05"),
           "{\"card\": null, \"cash\": 5}");
    expect(order, "card STRING",
           WIRE("\x32\x01"
                "a\x38\x05"),
           "{\"card\": null}");
    expect(order, "card STRING", WIRE("\x38\x05\x32\x00"), "{\"card\": \"\"}");
    expect(order, "barter ROW<name STRING, price BIGINT>",
           WIRE("\x42\x03\x0a\x01"
                "a\x42\x02\x10\x05"),
           "{\"barter\": {\"name\": \"a\", \"price\": 5}}");
    expect(order, "barter ROW<name STRING, price BIGINT>, `free` BOOLEAN",
           WIRE("\x42\x03\x0a\x01"
                "a\x48\x01\x42\x02\x10\x05"),
           "{\"barter\": {\"name\": \"\", \"price\": 5}, \"free\": null}");
    /* Overlong and too wide varints; a bool of two; another wire type: an unknown field; groups that nobody knows. */
    expect("shop.v1.All", "i32 INT, b BOOLEAN, i64 BIGINT",
           WIRE("\x18\x85\x80\x80\x80\x80\x80\x80\x80\x80\x00\x68\x80\x02\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
           "{\"i32\": 5, \"b\": true, \"i64\": -1}");
    expect("shop.v1.All", "i32 INT, u32 BIGINT", WIRE("\x18\xff\xff\xff\xff\xff\x01\x28\x81\x80\x80\x80\xf0\x01"),
           "{\"i32\": -1, \"u32\": 1}");
    expect("shop.v1.All", "i32 INT, s STRING", WIRE("\x1a\x01x\x70\x05\x1d\0\0\0\0"), "{\"i32\": 0, \"s\": \"\"}");
    expect("shop.v1.All", "i32 INT", WIRE("\xfb\x3f\x08\x01\x0b\x0d\0\0\0\0\x0c\xfc\x3f\x18\x02"), "{\"i32\": 2}");
    expect("shop.v1.All", "i32 INT", WIRE("\x98\x00\x02"), "{\"i32\": 2}"); /* a tag in two bytes that fits one */
    expect("old.Two", "`inner` ROW<a INT, s ARRAY<STRING>>", WIRE("\x08\x01\x3b\x08\x01\x12\x01x\x3c\x3b\x12\x01y\x3c"),
           "{\"inner\": {\"a\": 1, \"s\": [\"x\", \"y\"]}}");
    expect("shop.v1.All", "s STRING NOT NULL", WIRE(""), "{\"s\": \"\"}");
}

static void bad_records(void **state)
{
    (void)state;
    const char *all = "shop.v1.All", *order = "shop.v1.Order";
    static const struct {
        const char *wire;
        size_t size;
        const char *says;
    } cases[] = {
        {WIRE("\x18"), "at byte 1: a number is cut off, or longer than ten bytes"},
        {WIRE("\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "a number is cut off, or longer than ten bytes"},
        {WIRE("\x72\x05"
              "abcd"),
         "a length is cut off, or longer than what is left"},
        {WIRE("\x72\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "a length is cut off"},
        {WIRE("\x00\x01"), "at byte 0: no field begins here"},
        {WIRE("\x07"), "at byte 0: no field begins here"},
        {WIRE("\x18\x01\x04"), "no field begins here"},
        {WIRE("\x18\x01\x0c"), "a group is not closed, or its wire type does not exist"},
        {WIRE("\x0b\x08\x01"), "a group is not closed"},
        {WIRE("\x0b\x14"), "a group is not closed"},
        {WIRE("\x0e\x01"), "its wire type does not exist"},
        {WIRE("\x0f"), "its wire type does not exist"},
        {WIRE("\x09\x01\x02"), "a number is cut off"},
        {WIRE("\xf9\x3f\x01\x02"), "a field is cut off"},
        {WIRE("\xfd\x3f\x01\x02"), "a field is cut off"},
        {WIRE("\xf8\x3f\x80"), "a field is cut off"},
        {WIRE("\xfa\x3f\x05x"), "a field is cut off"},
        {WIRE("\x80\x80\x80\x80\x80\x01\x01"), "no field begins here"},
        {WIRE("\x72\x02\xc3\x28"), "column 's' (STRING) is not valid UTF-8"},
        {WIRE("\x28\xff\xff\xff\xff\x0f"), "column 'u32' (INT) is a number that is out of range"},
        {WIRE("\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
         "column 'u64' (BIGINT) is a number that is out of range"},
        {WIRE("\x20\x80\x01"), "column 'i64' (TINYINT) is a number that is out of range"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *got = decoded(all, 0, false, "d DOUBLE, i32 INT, i64 TINYINT, u32 INT, u64 BIGINT, s STRING",
                            cases[i].wire, cases[i].size);
        if (strncmp(got, "! protobuf: ", 12) != 0 || !strstr(got, cases[i].says))
            fail_msg("case %zu: %s", i, got);
        free(got);
    }
    expect(order, "packed ARRAY<INT>", WIRE("\x52\x02\x02\x80"),
           "! protobuf: the record is malformed at byte 3: a number is "
           "cut off, or longer than ten bytes");
    expect(order, "gift ROW<name STRING>", WIRE("\x1a\x03\x0a\x05x"),
           "! protobuf: the record is malformed at byte 4: a length is "
           "cut off, or longer than what is left");
    expect(order, "counts MAP<STRING, BIGINT>", WIRE("\x22\x03\x0a\x01\xff"),
           "! protobuf: column 'counts's key' (STRING) is not valid UTF-8");
    expect(order, "items ARRAY<ROW<gift INT>>", WIRE(""),
           "!! protobuf: column 'items[].gift' (INT): the message 'shop.v1.Order.Item' has no field 'gift'");
    expect(order, "items ARRAY<ROW<name STRING, color STRING>>", WIRE("\x12\x04\x0a\x02\xff\xff"),
           "! protobuf: column 'items[].name' (STRING) is not valid UTF-8");
    expect(order, "maybe INT NOT NULL", WIRE(""), "! protobuf: column 'maybe' (INT NOT NULL) is absent");
    expect(order, "gift ROW<name STRING> NOT NULL", WIRE(""),
           "! protobuf: column 'gift' (ROW<`name` STRING> NOT NULL) is absent");
    expect(order, "at TIMESTAMP(3)", WIRE("\x72\x06\x10\x80\x94\xeb\xdc\x03"),
           "! protobuf: column 'at' (TIMESTAMP(3)) has seconds or nanoseconds out of range");
    expect(order, "stamp TIMESTAMP(3)", WIRE("\xb0\x01\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
           "! protobuf: column 'stamp' (TIMESTAMP(3)) is a time that is outside of the years 1 to 9999");
}

/* Elements of two bytes that would be rows of a hundred columns: refused before they take memory. */
static void memory_is_bounded(void **state)
{
    (void)state;
    struct weir_buf schema, columns, record;
    struct weir_error error;
    weir_buf_init(&schema, 1 << 20);
    weir_buf_init(&columns, 1 << 20);
    weir_buf_init(&record, 64 << 20);
    assert_true(weir_buf_puts(&schema, "syntax='proto3'; message M { repeated W w = 1; } message W {") &&
                weir_buf_puts(&columns, "w ARRAY<ROW<"));
    for (int i = 1; i <= 500; i++)
        assert_true(weir_buf_printf(&schema, " int64 c%d = %d;", i, i) &&
                    weir_buf_printf(&columns, "%sc%d DECIMAL(38, 0)", i > 1 ? ", " : "", i));
    assert_true(weir_buf_puts(&schema, "}") && weir_buf_puts(&columns, ">>"));
    for (int i = 0; i < 1000000; i++)
        assert_true(weir_buf_append(&record, "\x0a\x00", 2));
    struct weir_key_value options[] = {{"protobuf.schema", (char *)schema.data}, {"protobuf.message-name", "M"}};
    struct weir_schema *row = schema_of((char *)columns.data);
    struct weir_decoder *decoder;
    assert_int_equal(protobuf->decoder_new(row, options, 2, &decoder, &error), 0);
    struct weir_batch *batch = weir_batch_new(row, 1);
    assert_int_equal(protobuf->decode(decoder, record.data, record.size, false, batch, &error), WEIR_ERR_DATA);
    assert_non_null(strstr(error.message, "too much memory"));
    assert_int_equal(protobuf->decode(decoder, record.data, 4, false, batch, &error), 0);
    weir_batch_unref(batch);
    protobuf->decoder_free(decoder);
    weir_schema_unref(row);
    weir_buf_fini(&schema);
    weir_buf_fini(&columns);
    weir_buf_fini(&record);
}

static void wrong_columns(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"i33 INT", "column 'i33' (INT): the message 'shop.v1.All' has no field 'i33'; did you mean 'i32'?"},
        {"i64 DOUBLE", "column 'i64' (DOUBLE): the field 'i64' is int64, which it cannot take"},
        {"d FLOAT", "column 'd' (FLOAT): the field 'd' is double, which it cannot take"},
        {"s BYTES", "column 's' (BYTES): the field 's' is string, which it cannot take"},
        {"i32 ARRAY<INT>",
         "column 'i32' (ARRAY<INT>): the field 'i32' is not repeated, so that it takes no ARRAY or MAP"},
        {"c BOOLEAN", "column 'c' (BOOLEAN): the field 'c' is shop.v1.Color, which it cannot take"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int how = 0; how < 2; how++) {
            char *got = decoded("shop.v1.All", how, false, cases[i][0], "", 0);
            assert_true(strncmp(got, "!! protobuf: ", 13) == 0);
            assert_string_equal(got + 13, cases[i][1]);
            free(got);
        }
    static const char *const orders[][2] = {
        {"items ROW<name STRING>", "the field 'items' is repeated, so that it takes an ARRAY"},
        {"tags MAP<STRING, STRING>", "the field 'tags' is repeated but no map: it takes an ARRAY"},
        {"counts INT", "the field 'counts' is repeated, so that it takes a MAP"},
        {"at INT", "the field 'at' is google.protobuf.Timestamp, which it cannot take"},
        {"tags ARRAY<INT>", "column 'tags[]' (INT): the field 'tags' is repeated string, which it cannot take"},
        {"gift ROW<nam STRING>",
         "column 'gift.nam' (STRING): the message 'shop.v1.Order.Item' has no field 'nam'; did you mean 'name'?"},
    };
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        char *got = decoded("shop.v1.Order", 0, false, orders[i][0], "", 0);
        if (strncmp(got, "!! ", 3) != 0 || !strstr(got, orders[i][1]))
            fail_msg("%s: %s", orders[i][0], got);
        free(got);
    }
}

static weir_err new_decoder(const struct weir_key_value *options, int count, struct weir_error *error)
{
    struct weir_decoder *decoder = NULL;
    struct weir_schema *schema = schema_of("a INT");
    weir_err err = protobuf->decoder_new(schema, options, count, &decoder, error);
    if (!err)
        protobuf->decoder_free(decoder);
    weir_schema_unref(schema);
    return err;
}

static void schemas(void **state)
{
    (void)state;
    static const struct {
        const char *source, *name, *says; /* NULL: right */
    } cases[] = {
        {"syntax='proto3'; message A { int32 a = 1; }", NULL, NULL},
        {"message A { optional int32 a = 1 [(x.y) = { z: 1, s: \"};\" }, deprecated = true]; }", NULL, NULL},
        {"edition = \"2023\"; option features.field_presence = IMPLICIT; message A { int32 a = 1; B b = 2 [features.message_encoding = DELIMITED]; message B {} }",
         NULL, NULL},
        {"message A { optional int32 a = 1; extensions 100 to 199 [declaration = { number: 4 }], 200; }", NULL, NULL},
        {"message A { optional int32 a = 1; } message B { optional int32 a = 1; }", NULL, "there are several messages"},
        {"message A { optional int32 a = 1; } message B { optional int32 a = 1; }", "B", NULL},
        {"package p.q; message A { message B { optional int32 a = 1; } }", "A.B", NULL},
        {"package p; message Orders { optional int32 a = 1; }", "Order",
         "there is no message 'Order'; did you mean 'p.Orders'?"},
        {"message A { message X { optional int32 a = 1; } } message B { message X { } }", "X",
         "there are several messages 'X'"},
        {"message A { optional int32 a = 1; optional int32 b = 1; }", NULL, "two fields with the number 1"},
        {"message A { optional int32 a = 1; } message A { }", NULL, "'A' is there twice"},
        {"message A { optional int32 a = 0; }", NULL, "line 1: a whole number in its range is missing, not '0'"},
        {"message A {\n optional int32 a 1; }", NULL, "line 2: '=' is missing, not '1'"},
        {"message A { optional int32 a = 1;", NULL, "line 1: '}' is missing at the end"},
        {"syntax = 'proto4'; message A { }", NULL, "syntax must be"},
        {"message A { optional string s = 1 [default = \"x];", NULL, "a string that is not closed"},
        {"hello", NULL, "a statement of a .proto file is missing"},
        {"message A { optional Nowhere a = 1; }", NULL, "the type 'Nowhere' of field 'a' is not in the schema"},
        {"", NULL, "needs the message's schema"},
    };
    struct weir_error error;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct weir_key_value options[] = {{"protobuf.schema", cases[i].source},
                                           {"protobuf.message-name", cases[i].name}};
        if (!cases[i].source[0])
            options[0] = (struct weir_key_value){"protobuf.read-default-values", "false"};
        weir_err err = new_decoder(options, cases[i].name ? 2 : 1, &error);
        if (!err != !cases[i].says || (err && (err != WEIR_ERR_INVALID || !strstr(error.message, cases[i].says))))
            fail_msg("%s: %s", cases[i].source, err ? error.message : "accepted");
    }
    static const char *const descriptors[] = {"base64:!!", "base64:aGVsbG8=", "base64:", "base64:CgA=", "/no/such"};
    for (size_t i = 0; i < sizeof descriptors / sizeof *descriptors; i++) {
        struct weir_key_value option = {"protobuf.descriptor", descriptors[i]};
        assert_int_equal(new_decoder(&option, 1, &error), WEIR_ERR_INVALID);
        assert_non_null(strstr(error.message, "'protobuf.descriptor'"));
    }
    /* Nested deeper than protoc allows. */
    struct weir_buf deep;
    weir_buf_init(&deep, 1 << 20);
    for (int i = 0; i < 40; i++)
        assert_true(weir_buf_printf(&deep, "message M%d {", i));
    struct weir_key_value option = {"protobuf.schema", (char *)deep.data};
    assert_int_equal(new_decoder(&option, 1, &error), WEIR_ERR_INVALID);
    assert_non_null(strstr(error.message, "more than 32 deep"));
    weir_buf_fini(&deep);
}

/* The descriptor, with any byte of it changed or cut off anywhere, is read or refused. */
static void damaged_descriptors(void **state)
{
    (void)state;
    size_t text_size = strlen(descriptor3) - 7, size;
    uint8_t *bytes = malloc(text_size + 4);
    assert_true(weir_base64_decode((uint8_t *)descriptor3 + 7, text_size, bytes, &size));
    struct random random = {7};
    for (int i = 0; i < 3000; i++) {
        struct weir_proto_schema *schema = NULL;
        size_t cut = i % 3 ? size : (size_t)random_below(&random, (int)size);
        uint8_t *copy = malloc(cut ? cut : 1);
        memcpy(copy, bytes, cut);
        for (int n = random_below(&random, 4); cut && n > 0; n--)
            copy[random_below(&random, (int)cut)] = (uint8_t)random_next(&random);
        if (!weir_proto_schema_read(copy, cut, &schema, NULL))
            weir_proto_schema_free(schema);
        free(copy);
    }
    free(bytes);
}

static void expect_refused(const char *message, const char *columns, const char *text, const char *says)
{
    struct options options = options_of(message, 0, false);
    struct weir_schema *schema = schema_of(columns);
    struct weir_encoder *encoder;
    struct weir_error error;
    struct weir_buf out;
    const struct weir_format *json;
    struct weir_decoder *reader;
    struct weir_batch *batch = weir_batch_new(schema, 1);
    weir_buf_init(&out, 1 << 20);
    assert_int_equal(weir_format_find("json", &json, NULL), 0);
    assert_int_equal(json->decoder_new(schema, NULL, 0, &reader, &error), 0);
    if (json->decode(reader, (const uint8_t *)text, strlen(text), false, batch, &error))
        fail_msg("%s", error.message);
    json->decoder_free(reader);
    assert_true(weir_buf_puts(&out, "before"));
    weir_err err = protobuf->encoder_new(schema, options.given, options.count, &encoder, &error);
    if (!err) {
        err = protobuf->encode(encoder, batch, 0, &out, &error);
        protobuf->encoder_free(encoder);
        assert_int_equal(err, WEIR_ERR_DATA);
    }
    if (!err || !strstr(error.message, says))
        fail_msg("%s: %s", text, err ? error.message : "written");
    assert_string_equal(out.data, "before");
    weir_buf_fini(&out);
    weir_batch_unref(batch);
    weir_schema_unref(schema);
}

static void rows_that_cannot_be_written(void **state)
{
    (void)state;
    expect_refused("shop.v1.All", "u32 INT", "{\"u32\":-1}",
                   "column 'u32' (INT) is a number that its field cannot take");
    expect_refused("shop.v1.All", "i32 BIGINT", "{\"i32\":2147483648}", "is a number that its field cannot take");
    expect_refused("shop.v1.All", "u64 DECIMAL(38, 0)", "{\"u64\":18446744073709551616}", "that its field cannot take");
    expect_refused("shop.v1.All", "u64 DECIMAL(38, 2)", "{\"u64\":1}",
                   "the field 'u64' is uint64, which cannot take it");
    expect_refused("shop.v1.All", "f DOUBLE", "{\"f\":1}", "the field 'f' is float, which cannot take it");
    expect_refused("shop.v1.All", "c STRING", "{\"c\":\"BLUE\"}", "is 'BLUE', which is no value of shop.v1.Color");
    expect_refused("old.Two", "level STRING", "{\"level\":\"3\"}", "is '3', which is no value of old.Level");
    expect_refused("old.Two", "id INT", "{\"id\":null}", "is NULL, and its field is required");
    expect_refused("shop.v1.Order", "tags ARRAY<STRING>", "{\"tags\":[null]}", "has an element that is NULL");
    expect_refused("shop.v1.Order", "counts MAP<STRING, BIGINT>", "{\"counts\":{\"a\":null}}",
                   "a key or value that is NULL");
    expect_refused("shop.v1.Order", "card STRING, cash BIGINT", "{\"card\":\"a\",\"cash\":1}",
                   "and 'cash' are both set, of which the oneof 'pay' takes one");
}

/* A length of three bytes, and one that does not fit the output. */
static void long_values(void **state)
{
    (void)state;
    struct weir_schema *schema = schema_of("gift ROW<name STRING>, packed ARRAY<INT>");
    struct options options = options_of("shop.v1.Order", 1, false);
    struct weir_encoder *encoder;
    struct weir_decoder *decoder;
    struct weir_error error;
    struct weir_buf out, small;
    weir_buf_init(&out, 1 << 20);
    weir_buf_init(&small, 1000);
    struct weir_batch *batch = weir_batch_new(schema, 1), *again = weir_batch_new(schema, 1);
    char *text = malloc(20000);
    memset(text, 'x', 20000);
    weir_column_row_begin(&batch->columns[0], 0);
    weir_column_set_bytes(&batch->columns[0].child->columns[0], 0, text, 20000);
    weir_column_row_end(&batch->columns[0], 0);
    weir_column_list_begin(&batch->columns[1], 0);
    for (int i = 0; i < 20000; i++) {
        int at = weir_column_element(&batch->columns[1]);
        batch->columns[1].child->columns[0].i32[at] = i;
        weir_column_element_done(&batch->columns[1]);
    }
    weir_column_list_end(&batch->columns[1], 0);
    batch->row_count = 1;
    assert_int_equal(protobuf->encoder_new(schema, options.given, options.count, &encoder, &error), 0);
    assert_int_equal(protobuf->decoder_new(schema, options.given, options.count, &decoder, &error), 0);
    assert_int_equal(protobuf->encode(encoder, batch, 0, &small, &error), WEIR_ERR_FULL);
    assert_int_equal(small.size, 0);
    assert_int_equal(protobuf->encode(encoder, batch, 0, &out, &error), 0);
    assert_int_equal(protobuf->decode(decoder, out.data, out.size, false, again, &error), 0);
    for (int i = 0; i < 2; i++)
        assert_true(weir_value_equal(&batch->columns[i], 0, &again->columns[i], 0));
    free(text);
    weir_buf_fini(&out);
    weir_buf_fini(&small);
    weir_batch_unref(batch);
    weir_batch_unref(again);
    protobuf->encoder_free(encoder);
    protobuf->decoder_free(decoder);
    weir_schema_unref(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_scalar),
        cmocka_unit_test(nested_repeated_and_maps),
        cmocka_unit_test(types_that_stand_for_others),
        cmocka_unit_test(proto2),
        cmocka_unit_test(odd_but_right),
        cmocka_unit_test(bad_records),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(wrong_columns),
        cmocka_unit_test(schemas),
        cmocka_unit_test(damaged_descriptors),
        cmocka_unit_test(rows_that_cannot_be_written),
        cmocka_unit_test(long_values),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
