/* The format `protobuf-confluent`: Protobuf behind the id of its schema in a schema registry, and the place of its message there.
 *
 * Data path, on the task's thread; a decoder or encoder belongs to one task. A record is a zero byte, the schema's id, the message's indexes
 * (zigzag varints: how many, then one for each level of nesting; a single zero stands for the first message) and the message. What a schema is to the
 * columns is worked out once, when its id is first met, which asks the registry and blocks (registry/registry.h says for how long). The registry gives
 * .proto source and what it imports; fields are found by the columns' names, a column without a field is NULL. An id that is unknown, and a schema that the
 * columns cannot be read from, are faults of the record: DATA, for on-error.
 * Confluent's Java library counts only messages that are written as such (no map entries), and so does this.
 */
#include <stdlib.h>
#include <string.h>

#include "format/format.h"
#include "format/protobuf_int.h"
#include "format/protobuf_wire.h"
#include "registry/framing.h"
#include "registry/registry.h"

static const char name[] = "protobuf-confluent";

static const struct weir_option confluent_options[] = {
    WEIR_REGISTRY_OPTIONS("protobuf-confluent"),
    WEIR_REGISTRY_SUBJECT_OPTIONS("protobuf-confluent"),
    {"protobuf-confluent.use-latest-version", WEIR_OPTION_BOOL, "false", NULL,
     "write by the newest schema of the subject, instead of registering one"},
    {"protobuf-confluent.schema", WEIR_OPTION_FILE, "", NULL,
     "what is written, as .proto source: a path ending in .proto, read where the job is built, or the text itself; without it a schema is derived from "
     "the columns"},
    {"protobuf-confluent.message-name", WEIR_OPTION_STRING, "", NULL,
     "the message that is written; needed where the schema has several. When reading, the record says it"},
    {"protobuf-confluent.read-default-values", WEIR_OPTION_BOOL, "false", NULL,
     "an absent optional scalar is the default that the schema declares, instead of NULL"},
    {NULL, 0, NULL, NULL, NULL},
};

#define DEPTH_MAX 32 /* of messages in messages */

struct indexes {
    int at[DEPTH_MAX]; /* outermost first */
    int count;
};

/* --- Reading */

/* A message of a schema, and how the columns are read from it. */
struct reading {
    const struct weir_proto_message *message;
    struct weir_pb_plan *plan; /* NULL: they cannot be, and `why` */
    char *why;
    struct reading *next;
};

/* What a schema of the registry was made into. */
struct compiled {
    struct weir_proto_schema *schema; /* NULL: `why` */
    char *why;
    struct reading *readings;
};

struct weir_decoder {
    struct weir_schema *columns;
    struct weir_registry *registry;
    bool read_defaults;
};

static void compiled_free(void *arg)
{
    struct compiled *compiled = arg;
    for (struct reading *reading = compiled->readings, *next; reading; reading = next) {
        next = reading->next;
        weir_pb_plan_free(reading->plan);
        free(reading->why);
        free(reading);
    }
    weir_proto_schema_free(compiled->schema);
    free(compiled->why);
    free(compiled);
}

/* The schema's source behind all that it imports. */
static weir_err parse(const struct weir_registry_schema *from, struct weir_proto_schema **schema,
                      struct weir_error *error)
{
    if (from->kind != WEIR_SCHEMA_PROTOBUF)
        return weir_fail(error, WEIR_ERR_INVALID, "it is no Protobuf schema");
    struct weir_proto_file *files = weir_zalloc(((size_t)from->reference_count + 1) * sizeof *files);
    for (int i = 0; i < from->reference_count; i++)
        files[i] = (struct weir_proto_file){from->references[i].name, from->references[i].text};
    files[from->reference_count] = (struct weir_proto_file){"the schema", from->text};
    weir_err err = weir_proto_schema_parse(files, from->reference_count + 1, schema, error);
    free(files);
    return err;
}

static void compile(struct weir_registry_schema *schema)
{
    struct weir_error error;
    struct compiled *compiled = weir_zalloc(sizeof *compiled);
    if (parse(schema, &compiled->schema, &error))
        compiled->why = weir_strdup(error.message);
    schema->program = compiled;
    schema->program_free = compiled_free;
}

/* Behind the schema's id. A single zero is short for "one index, 0". */
static weir_err take_indexes(const uint8_t **bytes, size_t *size, struct indexes *indexes, struct weir_error *error)
{
    const uint8_t *at = *bytes, *end = at + *size;
    uint64_t raw = 0;
    bool ok = pb_varint(&at, end, &raw);
    int64_t count = pb_zigzag(raw);
    *indexes = (struct indexes){.count = 1};
    if (ok && count != 0) {
        ok = count > 0 && count <= DEPTH_MAX;
        indexes->count = ok ? (int)count : 0;
        for (int i = 0; ok && i < indexes->count; i++) {
            ok = pb_varint(&at, end, &raw) && raw <= 2 * (uint64_t)INT32_MAX && (raw & 1) == 0;
            indexes->at[i] = (int)(raw >> 1);
        }
    }
    if (!ok)
        return weir_fail_record(error, WEIR_BAD_MALFORMED,
                                "%s: the indexes that say which message the record is are cut off or malformed", name);
    *size -= (size_t)(at - *bytes);
    *bytes = at;
    return WEIR_OK;
}

static struct reading *reading_of(const struct weir_decoder *decoder, struct compiled *compiled,
                                  const struct weir_proto_message *message)
{
    struct reading *reading = compiled->readings;
    while (reading && reading->message != message)
        reading = reading->next;
    if (reading)
        return reading;
    struct weir_error error;
    struct weir_pb_options how = {.format = name, .read_defaults = decoder->read_defaults, .lenient = true};
    reading = weir_zalloc(sizeof *reading);
    reading->message = message;
    if (weir_pb_plan_new(decoder->columns, message, &how, &reading->plan, &error))
        reading->why = weir_strdup(error.message);
    reading->next = compiled->readings;
    compiled->readings = reading;
    return reading;
}

static weir_err decode(struct weir_decoder *decoder, const uint8_t *bytes, size_t size, bool padded,
                       struct weir_batch *batch, struct weir_error *error)
{
    int32_t id = 0;
    struct indexes indexes;
    struct weir_registry_schema *schema;
    weir_err err = weir_framing_take(name, &bytes, &size, &id, error);
    if (err || (err = take_indexes(&bytes, &size, &indexes, error)) ||
        (err = weir_registry_fetch(decoder->registry, id, &schema, error)))
        return err;
    if (!schema->program)
        compile(schema);
    struct compiled *compiled = schema->program;
    const struct weir_proto_message *message =
        compiled->schema ? weir_proto_schema_at(compiled->schema, indexes.at, indexes.count) : NULL;
    if (compiled->schema && !message)
        return weir_fail_record(error, WEIR_BAD_SCHEMA,
                                "%s: the record's indexes name a message that is not in its schema, id %d", name, id);
    const struct reading *reading = message ? reading_of(decoder, compiled, message) : NULL;
    if (!reading || !reading->plan)
        return weir_fail_record(error, WEIR_BAD_SCHEMA, "%s: a record of schema id %d cannot be read: %.800s", name, id,
                                reading ? reading->why : compiled->why);
    return weir_pb_decode(reading->plan, bytes, size, padded, batch, error);
}

static void decoder_free(struct weir_decoder *decoder)
{
    if (!decoder)
        return;
    weir_registry_close(decoder->registry);
    weir_schema_unref(decoder->columns);
    free(decoder);
}

static weir_err decoder_new(struct weir_schema *columns, const struct weir_key_value *options, int option_count,
                            struct weir_decoder **decoder, struct weir_error *error)
{
    struct weir_decoder *created = weir_zalloc(sizeof *created);
    created->columns = weir_schema_ref(columns);
    created->read_defaults =
        weir_options_get_int(options, option_count, confluent_options, "protobuf-confluent.read-default-values") != 0;
    weir_err err = weir_registry_open(name, options, option_count, confluent_options, &created->registry, error);
    if (err)
        decoder_free(created);
    else
        *decoder = created;
    return err;
}

/* --- Writing */

struct weir_encoder {
    struct weir_schema *columns;
    struct weir_registry *registry;
    char *subject, *text; /* text NULL: by the newest version */
    char *message_name;   /* NULL: the only one */
    bool auto_register, registered;
    struct weir_proto_schema *schema;
    struct weir_pb_plan *plan;
    int32_t id;
    uint8_t indexes[(DEPTH_MAX + 1) * PB_VARINT_SIZE_MAX]; /* as they are written */
    size_t indexes_size;
};

static void encoder_free(struct weir_encoder *encoder)
{
    if (!encoder)
        return;
    weir_pb_plan_free(encoder->plan);
    weir_proto_schema_free(encoder->schema);
    weir_registry_close(encoder->registry);
    weir_schema_unref(encoder->columns);
    free(encoder->subject);
    free(encoder->text);
    free(encoder->message_name);
    free(encoder);
}

static void set_indexes(struct weir_encoder *encoder, const struct weir_proto_message *message)
{
    int at[DEPTH_MAX], count = 0;
    for (; message && count < DEPTH_MAX; message = message->outer)
        at[count++] = message->index;
    uint8_t *p = encoder->indexes;
    if (count == 1 && at[0] == 0) {
        *p++ = 0;
    } else {
        p = pb_put_varint(p, 2 * (uint64_t)count);
        while (count > 0)
            p = pb_put_varint(p, 2 * (uint64_t)at[--count]);
    }
    encoder->indexes_size = (size_t)(p - encoder->indexes);
}

/* The plan, from `schema`, whose message the option names. */
static weir_err prepare(struct weir_encoder *encoder, const struct weir_registry_schema *from, struct weir_error *error)
{
    const struct weir_proto_message *message = NULL;
    struct weir_pb_options how = {.format = name, .encode = true};
    weir_proto_schema_free(encoder->schema);
    encoder->schema = NULL;
    weir_err err = parse(from, &encoder->schema, error);
    if (!err)
        err = weir_proto_schema_message(encoder->schema, encoder->message_name, &message, error);
    if (!err)
        err = weir_pb_plan_new(encoder->columns, message, &how, &encoder->plan, error);
    if (!err)
        set_indexes(encoder, message);
    return err;
}

/* What is written, where that does not come from the registry. */
static weir_err own_schema(struct weir_encoder *encoder, const char *given, struct weir_error *error)
{
    if (given) {
        encoder->text = weir_strdup(given);
    } else {
        struct weir_buf text;
        weir_buf_init(&text, (size_t)1 << 20);
        weir_err err = weir_pb_derive(encoder->columns, &text, error);
        encoder->text = weir_strdup(err ? "" : (const char *)text.data);
        weir_buf_fini(&text);
        if (err)
            return weir_wrap(error, "%s: no schema can be derived from the columns", name);
        free(encoder->message_name);
        encoder->message_name = weir_strdup("Row");
    }
    struct weir_registry_schema schema = {.kind = WEIR_SCHEMA_PROTOBUF, .text = encoder->text};
    weir_err err = prepare(encoder, &schema, error);
    return err ? weir_wrap(error, "'%s.schema'", name) : WEIR_OK;
}

static weir_err encoder_new(struct weir_schema *columns, const struct weir_key_value *options, int option_count,
                            struct weir_encoder **encoder, struct weir_error *error)
{
    struct weir_encoder *created = weir_zalloc(sizeof *created);
    const char *given = weir_options_get(options, option_count, confluent_options, "protobuf-confluent.schema");
    const char *message = weir_options_get(options, option_count, confluent_options, "protobuf-confluent.message-name");
    bool latest =
        weir_options_get_int(options, option_count, confluent_options, "protobuf-confluent.use-latest-version") != 0;
    created->columns = weir_schema_ref(columns);
    created->message_name = message && message[0] ? weir_strdup(message) : NULL;
    given = given && given[0] ? given : NULL;
    created->auto_register =
        weir_options_get_int(options, option_count, confluent_options, "protobuf-confluent.auto-register") != 0;
    weir_err err = weir_registry_open(name, options, option_count, confluent_options, &created->registry, error);
    if (!err)
        err = weir_registry_subject(name, options, option_count, confluent_options, &created->subject, error);
    if (!err && latest && given)
        err = weir_fail(error, WEIR_ERR_INVALID,
                        "'protobuf-confluent.schema' and 'protobuf-confluent.use-latest-version' both say what is "
                        "written: which one?");
    if (!err && !latest)
        err = own_schema(created, given, error);
    if (err)
        encoder_free(created);
    else
        *encoder = created;
    return err;
}

/* Before the first record: the id of what is written. Asks the registry, and blocks. */
static weir_err find_id(struct weir_encoder *encoder, struct weir_error *error)
{
    if (encoder->text) {
        struct weir_registry_schema schema = {.kind = WEIR_SCHEMA_PROTOBUF, .text = encoder->text};
        return weir_registry_register(encoder->registry, encoder->subject, &schema, !encoder->auto_register,
                                      &encoder->id, error);
    }
    struct weir_registry_schema *latest;
    weir_err err = weir_registry_latest(encoder->registry, encoder->subject, &latest, error);
    if (err)
        return err;
    encoder->id = latest->id;
    err = prepare(encoder, latest, error);
    return err ? weir_wrap(error, "%s: the newest schema of subject '%.200s'", name, encoder->subject) : WEIR_OK;
}

static weir_err encode(struct weir_encoder *encoder, const struct weir_batch *batch, int row, struct weir_buf *out,
                       struct weir_error *error)
{
    size_t before = out->size;
    weir_err err = encoder->registered ? WEIR_OK : find_id(encoder, error);
    if (err)
        return err;
    encoder->registered = true;
    if (!weir_framing_put(out, encoder->id) || !weir_buf_append(out, encoder->indexes, encoder->indexes_size))
        err = weir_fail(error, WEIR_ERR_FULL, "%s: the record does not fit the output buffer", name);
    if (!err)
        err = weir_pb_encode(encoder->plan, batch, row, out, error);
    if (err)
        out->size = before;
    return err;
}

extern const struct weir_format weir_format_protobuf_confluent;
const struct weir_format weir_format_protobuf_confluent = {
    .name = name,
    .help = "Protobuf messages behind the id of their schema in a schema registry (Confluent's framing)",
    .options = confluent_options,
    .decoder_new = decoder_new,
    .decode = decode,
    .decoder_free = decoder_free,
    .encoder_new = encoder_new,
    .encode = encode,
    .encoder_free = encoder_free,
};
