/* Avro: bytes by some schemas, and schemas. What is read is written and reads back the same; what is not read leaves no row. Input: a byte for the schema (the
 * last: what follows is a schema itself, up to a zero byte), then the record.
 */
#include "format/format.h"
#include "fuzz/fuzz.h"
#include "unit/data_random.h"

#define SCHEMAS 5

static const struct {
    const char *columns, *writer, *reader; /* writer NULL: the derived one */
} cases[SCHEMAS] = {
    {ALL_TYPES_SCHEMA KEYABLE_TYPES_SCHEMA MAP_TYPES_SCHEMA, NULL, NULL},
    {"a STRING, b ARRAY<INT>, c MAP<STRING, ROW<x BIGINT>>",
     "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"skip\",\"type\":[\"null\",\"R\",{\"type\":\"array\",\"items\":\"R\"},{\"type\":\"map\",\"values\":\"null\"}]},"
     "{\"name\":\"a\",\"type\":[\"int\",\"string\",\"null\",{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B\"]}]},"
     "{\"name\":\"b\",\"type\":[\"null\",{\"type\":\"array\",\"items\":[\"null\",\"int\"]}]},"
     "{\"name\":\"c\",\"type\":{\"type\":\"map\",\"values\":{\"type\":\"record\",\"name\":\"X\",\"fields\":[{\"name\":\"x\",\"type\":\"int\"}]}}}]}",
     NULL},
    {"d DECIMAL(10, 3), t TIMESTAMP(3), u STRING, n ARRAY<INT>",
     "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"d\",\"type\":{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":60,\"scale\":2}},"
     "{\"name\":\"t\",\"type\":{\"type\":\"long\",\"logicalType\":\"timestamp-nanos\"}},"
     "{\"name\":\"u\",\"type\":{\"type\":\"fixed\",\"name\":\"U\",\"size\":16,\"logicalType\":\"uuid\"}},"
     "{\"name\":\"n\",\"type\":{\"type\":\"array\",\"items\":\"null\"}}]}",
     NULL},
    {"id BIGINT, e STRING, added STRING",
     "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"id\",\"type\":\"int\"},{\"name\":\"e\",\"type\":{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B\"]}}]}",
     "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"id\",\"type\":\"long\"},{\"name\":\"e\",\"type\":{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\"],\"default\":\"A\"}},"
     "{\"name\":\"added\",\"type\":\"string\",\"default\":\"x\"}]}"},
    {"a STRING, b BIGINT, c ARRAY<DOUBLE>", NULL, NULL},
};
static struct weir_schema *schemas[SCHEMAS];
static struct weir_decoder *decoders[SCHEMAS];
static const struct weir_format *avro;

static void start(void)
{
    fuzz_check(!weir_format_find("avro", &avro, NULL));
    for (int i = 0; i < SCHEMAS; i++) {
        struct weir_key_value options[2];
        int count = 0;
        if (cases[i].writer)
            options[count++] = (struct weir_key_value){"avro.schema", cases[i].writer};
        if (cases[i].reader)
            options[count++] = (struct weir_key_value){"avro.reader-schema", cases[i].reader};
        fuzz_check(!weir_schema_parse(cases[i].columns, &schemas[i], NULL));
        fuzz_check(!avro->decoder_new(schemas[i], options, count, &decoders[i], NULL));
    }
}

/* A row that was read is written by the columns' own schema, and reads back the same. */
static void check_back(struct weir_schema *schema, const struct weir_batch *batch)
{
    struct weir_encoder *encoder;
    struct weir_decoder *decoder;
    struct weir_batch *back = weir_batch_new(schema, 1);
    struct weir_buf out;
    weir_buf_init(&out, 64 << 20);
    fuzz_check(!avro->encoder_new(schema, NULL, 0, &encoder, NULL));
    fuzz_check(!avro->decoder_new(schema, NULL, 0, &decoder, NULL));
    fuzz_check(!avro->encode(encoder, batch, 0, &out, NULL));
    fuzz_check(!avro->decode(decoder, out.data ? out.data : (const uint8_t *)"", out.size, false, back, NULL));
    fuzz_check(same_row(batch, 0, back, 0));
    weir_buf_fini(&out);
    weir_batch_unref(back);
    avro->encoder_free(encoder);
    avro->decoder_free(decoder);
}

static void decode(struct weir_decoder *decoder, struct weir_schema *schema, struct fuzz_input in)
{
    struct weir_batch *batch = weir_batch_new(schema, 1);
    struct weir_error error;
    weir_err err = avro->decode(decoder, in.at, in.left, false, batch, &error);
    fuzz_check(err == WEIR_OK || err == WEIR_ERR_DATA);
    fuzz_check(batch->row_count == (err == WEIR_OK));
    if (!err)
        check_back(schema, batch);
    weir_batch_unref(batch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!avro)
        start();
    if (size == 0)
        return 0;
    int which = data[0] % SCHEMAS;
    struct fuzz_input in = {data + 1, size - 1};
    if (which < SCHEMAS - 1) {
        decode(decoders[which], schemas[which], in);
        return 0;
    }
    const uint8_t *end = in.left > 0 ? memchr(in.at, 0, in.left) : NULL;
    char *text = weir_strndup(in.left > 0 ? (const char *)in.at : "", end ? (size_t)(end - in.at) : in.left);
    struct weir_key_value options[] = {{"avro.schema", text}, {"avro.reader-schema", text}};
    for (int count = 1; count <= 2; count++) {
        struct weir_decoder *decoder = NULL;
        struct weir_encoder *encoder = NULL;
        if (!avro->decoder_new(schemas[which], options, count, &decoder, NULL)) {
            if (end)
                decode(decoder, schemas[which], (struct fuzz_input){end + 1, in.left - (size_t)(end + 1 - in.at)});
            avro->decoder_free(decoder);
        }
        if (!avro->encoder_new(schemas[which], options, 1, &encoder, NULL))
            avro->encoder_free(encoder);
    }
    free(text);
    return 0;
}
