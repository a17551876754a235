/* The Protobuf format: records are messages of one type, without framing.
 *
 * The schema is an option's text ("protobuf.schema", .proto source, or "protobuf.descriptor", a FileDescriptorSet): files that they name are
 * read when the job's graph is built (graph/inline_files.h), so that what is here does no I/O. Messages have no end of their own: the carrier
 * keeps records apart (Kafka), a file or byte stream cannot be Protobuf.
 */
#include <stdlib.h>
#include <string.h>

#include "format/format.h"
#include "format/protobuf_int.h"

static const struct weir_option protobuf_options[] = {
    {"protobuf.descriptor", WEIR_OPTION_FILE, "", "binary",
     "the FileDescriptorSet with the message: a path (of what `protoc --include_imports --descriptor_set_out` wrote), "
     "read where the job is built, or base64:..."},
    {"protobuf.schema", WEIR_OPTION_FILE, "", NULL,
     "instead of it, .proto source: a path ending in .proto, read where the job is built, or the text itself"},
    {"protobuf.message-name", WEIR_OPTION_STRING, "", NULL,
     "the message's full name, or its last parts; needed where the schema has several"},
    {"protobuf.read-default-values", WEIR_OPTION_BOOL, "false", NULL,
     "an absent optional scalar is the default that the schema declares, instead of NULL"},
    {NULL, 0, NULL, NULL, NULL},
};

struct weir_decoder {
    struct weir_proto_schema *schema;
    struct weir_pb_plan *plan;
};

struct weir_encoder {
    struct weir_decoder half; /* the same parts */
};

/* NULL: not given, or empty. */
static const char *option(const struct weir_key_value *options, int option_count, const char *name)
{
    const char *value = weir_options_get(options, option_count, protobuf_options, name);
    return value && value[0] ? value : NULL;
}

static weir_err read_schema(const struct weir_key_value *options, int option_count, struct weir_proto_schema **schema,
                            struct weir_error *error)
{
    const char *descriptor = option(options, option_count, "protobuf.descriptor");
    const char *source = option(options, option_count, "protobuf.schema");
    if (!descriptor == !source)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "format 'protobuf' needs the message's schema: 'protobuf.descriptor' or 'protobuf.schema'%s",
                         source ? ", not both" : "");
    if (source) {
        struct weir_proto_file file = {"'protobuf.schema'", source};
        return weir_proto_schema_parse(&file, 1, schema, error);
    }
    static const char prefix[] = "base64:";
    if (strncmp(descriptor, prefix, sizeof prefix - 1) != 0)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "'protobuf.descriptor' is neither base64:... nor a file that was read");
    const char *text = descriptor + sizeof prefix - 1;
    size_t text_size = strlen(text), size;
    uint8_t *bytes = weir_alloc(text_size + 1);
    weir_err err = WEIR_OK;
    if (!weir_base64_decode((const uint8_t *)text, text_size, bytes, &size))
        err = weir_fail(error, WEIR_ERR_INVALID, "'protobuf.descriptor': what follows base64: is not base64");
    if (!err && (err = weir_proto_schema_read(bytes, size, schema, error)))
        weir_wrap(error, "'protobuf.descriptor'");
    free(bytes);
    return err;
}

static void half_fini(struct weir_decoder *half)
{
    weir_pb_plan_free(half->plan);
    weir_proto_schema_free(half->schema);
}

static weir_err half_init(struct weir_schema *columns, const struct weir_key_value *options, int option_count,
                          bool encode, struct weir_decoder *half, struct weir_error *error)
{
    const struct weir_proto_message *message = NULL;
    struct weir_pb_options how = {
        .format = "protobuf",
        .encode = encode,
        .read_defaults =
            weir_options_get_int(options, option_count, protobuf_options, "protobuf.read-default-values") != 0,
    };
    weir_err err = read_schema(options, option_count, &half->schema, error);
    if (!err && (err = weir_proto_schema_message(half->schema, option(options, option_count, "protobuf.message-name"),
                                                 &message, error)))
        weir_wrap(error, "'protobuf.message-name'");
    if (!err)
        err = weir_pb_plan_new(columns, message, &how, &half->plan, error);
    if (err)
        half_fini(half);
    return err;
}

static weir_err decoder_new(struct weir_schema *columns, const struct weir_key_value *options, int option_count,
                            struct weir_decoder **decoder, struct weir_error *error)
{
    struct weir_decoder *created = weir_zalloc(sizeof *created);
    weir_err err = half_init(columns, options, option_count, false, created, error);
    if (err)
        free(created);
    else
        *decoder = created;
    return err;
}

static void decoder_free(struct weir_decoder *decoder)
{
    if (decoder)
        half_fini(decoder);
    free(decoder);
}

static weir_err decode(struct weir_decoder *decoder, const uint8_t *bytes, size_t size, bool padded,
                       struct weir_batch *batch, struct weir_error *error)
{
    return weir_pb_decode(decoder->plan, bytes, size, padded, batch, error);
}

static weir_err encoder_new(struct weir_schema *columns, const struct weir_key_value *options, int option_count,
                            struct weir_encoder **encoder, struct weir_error *error)
{
    struct weir_encoder *created = weir_zalloc(sizeof *created);
    weir_err err = half_init(columns, options, option_count, true, &created->half, error);
    if (err)
        free(created);
    else
        *encoder = created;
    return err;
}

static void encoder_free(struct weir_encoder *encoder)
{
    if (encoder)
        half_fini(&encoder->half);
    free(encoder);
}

static weir_err encode(struct weir_encoder *encoder, const struct weir_batch *batch, int row, struct weir_buf *out,
                       struct weir_error *error)
{
    return weir_pb_encode(encoder->half.plan, batch, row, out, error);
}

extern const struct weir_format weir_format_protobuf;
const struct weir_format weir_format_protobuf = {
    .name = "protobuf",
    .help = "Protobuf messages of one type, proto2, proto3 and editions; columns by the fields' names",
    .options = protobuf_options,
    .decoder_new = decoder_new,
    .decode = decode,
    .decoder_free = decoder_free,
    .encoder_new = encoder_new,
    .encode = encode,
    .encoder_free = encoder_free,
};
