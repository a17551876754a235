/* Protobuf: a record is read the same with and without padding behind it, and what was read is written and reads back the same; descriptors
 * and .proto source are read or refused. Input: a byte for what it is and which message and columns, then the record, descriptor or source.
 */
#include "format/format.h"
#include "format/protobuf_schema.h"
#include "fuzz/fuzz.h"
#include "unit/data_random.h"

static const char source[] =
    "syntax = 'proto3'; enum Color { RED = 0; GREEN = 1; NIGHT = -5; }"
    "message All { double d = 1; float f = 2; int32 i32 = 3; int64 i64 = 4; uint32 u32 = 5; uint64 u64 = 6; sint32 s32 = 7; sint64 s64 = 8;"
    " fixed32 f32 = 9; fixed64 f64 = 10; sfixed32 sf32 = 11; sfixed64 sf64 = 12; bool b = 13; string s = 14; bytes y = 15; Color c = 16;"
    " string n = 17; string t = 18; }"
    "message Item { string name = 1; int64 price = 2; repeated int32 marks = 3; Color color = 4; Item more = 5; }"
    "message Order { optional int32 maybe = 1; repeated Item items = 2; Item gift = 3; map<string, int64> counts = 4; map<int32, Item> by_id = 5;"
    " oneof pay { string card = 6; int64 cash = 7; Item barter = 8; } repeated sint32 packed = 9; repeated Color colors = 10;"
    " google.protobuf.Timestamp at = 11; google.protobuf.Duration took = 12; google.protobuf.Int64Value big = 13;"
    " repeated google.protobuf.StringValue notes = 14; Order inner = 15; repeated google.protobuf.Timestamp times = 16; }";
static const char source2[] =
    "enum Level { LOW = 3; HIGH = 7; } message Two { required int32 id = 1; optional string name = 2 [default = 'x']; optional Level level = 3;"
    " repeated int32 n = 4; optional group Inner = 5 { optional int32 a = 1; repeated string s = 2; optional group Deep = 3 { optional bool z = 1; } }"
    " repeated Level levels = 6; map<string, Level> by_name = 7; repeated group Many = 8 { optional sint64 a = 1; } }";

static const struct {
    const char *source, *message, *columns;
} cases[] = {
    {source, "All",
     "d DOUBLE, f FLOAT, i32 INT, i64 BIGINT, u32 BIGINT, u64 DECIMAL(20, 0), s32 INT, s64 BIGINT, f32 BIGINT, f64 DECIMAL(20, 0), sf32 INT, "
     "sf64 BIGINT, b BOOLEAN, s STRING, y BYTES, c STRING, n DECIMAL(20, 5), t TIMESTAMP(3)"},
    {source, "All", "i32 SMALLINT, i64 TIMESTAMP(3), u64 BIGINT, s32 DATE, sf32 TIME(3), s STRING NOT NULL, c INT"},
    {source, "Order",
     "maybe INT, items ARRAY<ROW<name STRING, price BIGINT, marks ARRAY<INT>, color STRING>>, gift ROW<price BIGINT, marks ARRAY<INT>, more "
     "ROW<name STRING>>, counts MAP<STRING, BIGINT>, by_id MAP<INT, ROW<name STRING>>, card STRING, barter ROW<name STRING>, packed ARRAY<INT>, "
     "colors ARRAY<STRING>, `at` TIMESTAMP(3), took BIGINT, big BIGINT, notes ARRAY<STRING>, `inner` ROW<gift ROW<name STRING>, counts "
     "MAP<STRING, BIGINT>>, times ARRAY<TIMESTAMP_LTZ(3)>"},
    {source2, "Two",
     "id INT, name STRING, level STRING, n ARRAY<INT>, `inner` ROW<a INT, s ARRAY<STRING>, deep ROW<z BOOLEAN>>, levels ARRAY<INT>, by_name "
     "MAP<STRING, STRING>, many ARRAY<ROW<a BIGINT>>"},
};
#define CASES (sizeof cases / sizeof *cases)

static struct {
    struct weir_schema *columns;
    struct weir_decoder *decoder;
    struct weir_encoder *encoder;
} ready[CASES];

static const struct weir_format *protobuf;

static void prepare(void)
{
    struct weir_error error;
    fuzz_check(!weir_format_find("protobuf", &protobuf, NULL));
    for (size_t i = 0; i < CASES; i++) {
        struct weir_key_value options[] = {{"protobuf.schema", cases[i].source},
                                           {"protobuf.message-name", cases[i].message}};
        fuzz_check(!weir_schema_parse(cases[i].columns, &ready[i].columns, NULL));
        fuzz_check(!protobuf->decoder_new(ready[i].columns, options, 2, &ready[i].decoder, &error));
        fuzz_check(!protobuf->encoder_new(ready[i].columns, options, 2, &ready[i].encoder, &error));
    }
}

static void write_and_read(size_t which, struct weir_batch *batch)
{
    struct weir_buf out;
    struct weir_error error;
    weir_buf_init(&out, (size_t)64 << 20);
    struct weir_batch *again = weir_batch_new(ready[which].columns, 1);
    weir_err err = protobuf->encode(ready[which].encoder, batch, 0, &out, &error);
    if (!err) {
        fuzz_check(!protobuf->decode(ready[which].decoder, out.size ? out.data : (const uint8_t *)"", out.size, false,
                                     again, &error));
        fuzz_check(same_row(batch, 0, again, 0));
    } else {
        fuzz_check(err == WEIR_ERR_DATA && out.size == 0); /* a required field that is NULL */
    }
    weir_batch_unref(again);
    weir_buf_fini(&out);
}

static void record(size_t which, struct fuzz_input in)
{
    struct weir_error error;
    struct weir_batch *batch = weir_batch_new(ready[which].columns, 1),
                      *padded = weir_batch_new(ready[which].columns, 1);
    uint8_t *exact = weir_alloc(in.left ? in.left : 1), *wide = weir_alloc(in.left + 64);
    memcpy(exact, in.at, in.left);
    memcpy(wide, in.at, in.left);
    memset(wide + in.left, 0xc3, 64);
    weir_err err = protobuf->decode(ready[which].decoder, exact, in.left, false, batch, &error);
    fuzz_check(!err || err == WEIR_ERR_DATA);
    fuzz_check(protobuf->decode(ready[which].decoder, wide, in.left, true, padded, &error) == err);
    fuzz_check(batch->row_count == !err && padded->row_count == !err);
    if (!err) {
        fuzz_check(same_row(batch, 0, padded, 0));
        write_and_read(which, batch);
    }
    free(exact);
    free(wide);
    weir_batch_unref(batch);
    weir_batch_unref(padded);
}

static void schema(bool text, struct fuzz_input in)
{
    struct weir_proto_schema *made = NULL;
    struct weir_error error = {.message = ""};
    char *copy = weir_strndup((const char *)in.at, in.left);
    struct weir_proto_file file = {"x.proto", copy};
    weir_err err =
        text ? weir_proto_schema_parse(&file, 1, &made, &error) : weir_proto_schema_read(in.at, in.left, &made, &error);
    fuzz_check(!err || error.message[0]);
    const struct weir_proto_message *message;
    if (!err && !weir_proto_schema_message(made, NULL, &message, &error))
        fuzz_check(message->name != NULL);
    weir_proto_schema_free(made);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    uint8_t how = (uint8_t)fuzz_number(&in, 1);
    if (!protobuf)
        prepare();
    if (how < 0xc0)
        record(how % CASES, in);
    else
        schema(how & 1, in);
    return 0;
}
