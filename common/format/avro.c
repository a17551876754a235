/* The Avro formats: `avro`, records as they are, and `avro-confluent`, behind the id of their schema in a schema registry.
 *
 * Data path, on the task's thread; a decoder or encoder belongs to one task. The schema that records were written with is resolved to the columns (and to a
 * reader's schema, when one is given) once: for `avro` when the graph is built, for `avro-confluent` when an id is first met, which asks the registry and blocks
 * (registry/registry.h says for how long). An id that is unknown, and a schema that the columns cannot be read from, are faults of the record: DATA, for on-error.
 * Only columns that are declared are decoded, what else a record has is skipped.
 *
 * Types: BOOLEAN boolean; TINYINT, SMALLINT, INT int (a value out of range is bad); BIGINT int, long; FLOAT int, long, float; DOUBLE those and double; STRING string,
 * bytes, enum, uuid; BYTES bytes, string, fixed; DATE int; TIME int (ms), time-micros; TIMESTAMP and TIMESTAMP_LTZ long (ms), timestamp-*,
 * local-timestamp-*, cut to the column's precision; DECIMAL decimal on bytes or fixed, where the value fits exactly; ARRAY, MAP<STRING, ...>, ROW. A union is
 * whichever of its branches a value has: one that the column cannot take is bad when a record has it.
 * A column that the writer's schema does not have is NULL, or the default of the reader's schema.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/avro_int.h"
#include "format/format.h"
#include "registry/framing.h"

static const struct weir_option avro_options[] = {
    {"avro.schema", WEIR_OPTION_FILE, "", NULL,
     "the schema that records are written with, as JSON; without it the one that Flink derives from the columns"},
    {"avro.reader-schema", WEIR_OPTION_FILE, "", NULL,
     "a schema with the columns' names, whose aliases and defaults are for what records lack (reading only)"},
    {"avro.timestamp_mapping.legacy", WEIR_OPTION_BOOL, "true", NULL,
     "a TIMESTAMP is derived as timestamp-millis; false: as local-timestamp-millis"},
    {NULL, 0, NULL, NULL, NULL},
};

static const struct weir_option confluent_options[] = {
    WEIR_REGISTRY_OPTIONS("avro-confluent"),
    WEIR_REGISTRY_SUBJECT_OPTIONS("avro-confluent"),
    {"avro-confluent.use-latest-version", WEIR_OPTION_BOOL, "false", NULL,
     "write by the newest schema of the subject, instead of registering one"},
    {"avro-confluent.schema", WEIR_OPTION_FILE, "", NULL,
     "the schema to write by, and the reader's (its names are the columns', its aliases and defaults are for what records lack), as JSON; without it "
     "the one that Flink derives from the columns"},
    {"avro-confluent.timestamp_mapping.legacy", WEIR_OPTION_BOOL, "true", NULL,
     "a TIMESTAMP is derived as timestamp-millis; false: as local-timestamp-millis"},
    {NULL, 0, NULL, NULL, NULL},
};

static const char plain[] = "avro", confluent[] = "avro-confluent";

/* Those of one decoder or encoder. */
struct given {
    const char *format; /* plain or confluent */
    const struct weir_option *table;
    const struct weir_key_value *options;
    int option_count;
};

static const char *option(const struct given *given, const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "%s.%s", given->format, name);
    const char *value = weir_options_get(given->options, given->option_count, given->table, key);
    return value ? value : "";
}

static bool option_is_true(const struct given *given, const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "%s.%s", given->format, name);
    return weir_options_get_int(given->options, given->option_count, given->table, key) != 0;
}

/* The schema in option `name`, or the columns'. `text_out` (may be NULL) gets its text, which the caller frees. */
static weir_err schema_of(const struct given *given, const char *name, const struct weir_schema *columns,
                          struct weir_avro_schema **schema, char **text_out, struct weir_error *error)
{
    const char *text = option(given, name);
    char *own = *text ? weir_strdup(text) : NULL;
    weir_err err =
        own ? WEIR_OK : weir_avro_derive(columns, option_is_true(given, "timestamp_mapping.legacy"), &own, error);
    if (!err)
        err = weir_avro_schema_parse(own, NULL, 0, schema, error);
    if (err && *text)
        err = weir_wrap(error, "'%s.%s'", given->format, name);
    else if (err)
        err = weir_wrap(error, "%s", given->format);
    if (!err && text_out)
        *text_out = own;
    else
        free(own);
    return err;
}

/* --- Reading */

/* What a schema of the registry was made into. */
struct compiled {
    struct weir_avro_schema *schema;
    struct weir_avro_reader *program; /* NULL: the columns cannot be read from it, and `why` */
    char *why;
};

static void compiled_free(void *arg)
{
    struct compiled *compiled = arg;
    weir_avro_reader_free(compiled->program);
    weir_avro_schema_free(compiled->schema);
    free(compiled->why);
    free(compiled);
}

struct weir_decoder {
    const char *format;
    struct weir_schema *columns;
    struct weir_avro_schema *reader; /* NULL: the columns are */
    struct compiled *only;           /* avro */
    struct weir_registry *registry;  /* avro-confluent */
};

static void decoder_free(struct weir_decoder *decoder)
{
    if (!decoder)
        return;
    weir_registry_close(decoder->registry);
    if (decoder->only)
        compiled_free(decoder->only);
    weir_avro_schema_free(decoder->reader);
    weir_schema_unref(decoder->columns);
    free(decoder);
}

static weir_err decoder_new(const struct given *given, struct weir_schema *columns, const char *reader_option,
                            struct weir_decoder **decoder, struct weir_error *error)
{
    struct weir_decoder *created = *decoder = weir_zalloc(sizeof *created);
    created->format = given->format;
    created->columns = weir_schema_ref(columns);
    if (columns->field_count == 0)
        return weir_fail(error, WEIR_ERR_INVALID, "%s: a schema without columns cannot be read", given->format);
    return *option(given, reader_option) ? schema_of(given, reader_option, columns, &created->reader, NULL, error)
                                         : WEIR_OK;
}

static weir_err avro_decoder_new(struct weir_schema *schema, const struct weir_key_value *options, int option_count,
                                 struct weir_decoder **decoder, struct weir_error *error)
{
    struct given given = {plain, avro_options, options, option_count};
    struct weir_decoder *created;
    weir_err err = decoder_new(&given, schema, "reader-schema", &created, error);
    if (!err) {
        created->only = weir_zalloc(sizeof *created->only);
        err = schema_of(&given, "schema", schema, &created->only->schema, NULL, error);
    }
    if (!err && (err = weir_avro_reader_new(created->only->schema, created->reader, created->columns,
                                            &created->only->program, error)))
        err = weir_wrap(error, "avro");
    if (err)
        decoder_free(created);
    else
        *decoder = created;
    return err;
}

static weir_err avro_decode(struct weir_decoder *decoder, const uint8_t *bytes, size_t size, bool padded,
                            struct weir_batch *batch, struct weir_error *error)
{
    (void)padded;
    return weir_avro_read(plain, decoder->only->program, bytes, size, batch, error);
}

static weir_err confluent_decoder_new(struct weir_schema *schema, const struct weir_key_value *options,
                                      int option_count, struct weir_decoder **decoder, struct weir_error *error)
{
    struct given given = {confluent, confluent_options, options, option_count};
    struct weir_decoder *created;
    weir_err err = decoder_new(&given, schema, "schema", &created, error);
    if (!err)
        err = weir_registry_open(confluent, options, option_count, confluent_options, &created->registry, error);
    if (err)
        decoder_free(created);
    else
        *decoder = created;
    return err;
}

static void compile(const struct weir_decoder *decoder, struct weir_registry_schema *schema)
{
    struct weir_error error;
    struct compiled *compiled = weir_zalloc(sizeof *compiled);
    weir_err err;
    if (schema->kind != WEIR_SCHEMA_AVRO)
        err = weir_fail(&error, WEIR_ERR_INVALID, "it is no Avro schema");
    else
        err = weir_avro_schema_parse(schema->text, schema->references, schema->reference_count, &compiled->schema,
                                     &error);
    if (!err)
        err = weir_avro_reader_new(compiled->schema, decoder->reader, decoder->columns, &compiled->program, &error);
    if (err)
        compiled->why = weir_strdup(error.message);
    schema->program = compiled;
    schema->program_free = compiled_free;
}

static weir_err confluent_decode(struct weir_decoder *decoder, const uint8_t *bytes, size_t size, bool padded,
                                 struct weir_batch *batch, struct weir_error *error)
{
    (void)padded;
    int32_t id = 0;
    struct weir_registry_schema *schema;
    weir_err err = weir_framing_take(confluent, &bytes, &size, &id, error);
    if (err || (err = weir_registry_fetch(decoder->registry, id, &schema, error)))
        return err;
    if (!schema->program)
        compile(decoder, schema);
    const struct compiled *compiled = schema->program;
    if (!compiled->program)
        return weir_fail_record(error, WEIR_BAD_SCHEMA, "%s: a record of schema id %d cannot be read: %.800s",
                                confluent, id, compiled->why);
    return weir_avro_read(confluent, compiled->program, bytes, size, batch, error);
}

/* --- Writing */

struct weir_encoder {
    struct weir_schema *columns;
    struct weir_avro_schema *schema; /* NULL: not yet (use-latest-version) */
    struct weir_avro_writer *program;
    /* avro-confluent */
    struct weir_registry *registry;
    char *subject, *text;
    bool auto_register, registered;
    int32_t id;
};

static void encoder_free(struct weir_encoder *encoder)
{
    if (!encoder)
        return;
    weir_avro_writer_free(encoder->program);
    weir_avro_schema_free(encoder->schema);
    weir_registry_close(encoder->registry);
    weir_schema_unref(encoder->columns);
    free(encoder->subject);
    free(encoder->text);
    free(encoder);
}

/* The program from option `schema`, or from the columns. */
static weir_err prepare(const struct given *given, struct weir_encoder *encoder, struct weir_error *error)
{
    weir_err err = schema_of(given, "schema", encoder->columns, &encoder->schema, &encoder->text, error);
    if (!err && (err = weir_avro_writer_new(encoder->schema, encoder->columns, &encoder->program, error)))
        err = weir_wrap(error, "%s", given->format);
    return err;
}

static weir_err avro_encoder_new(struct weir_schema *schema, const struct weir_key_value *options, int option_count,
                                 struct weir_encoder **encoder, struct weir_error *error)
{
    struct given given = {plain, avro_options, options, option_count};
    struct weir_encoder *created = weir_zalloc(sizeof *created);
    created->columns = weir_schema_ref(schema);
    weir_err err = prepare(&given, created, error);
    if (err)
        encoder_free(created);
    else
        *encoder = created;
    return err;
}

static weir_err avro_encode(struct weir_encoder *encoder, const struct weir_batch *batch, int row, struct weir_buf *out,
                            struct weir_error *error)
{
    return weir_avro_write(plain, encoder->program, batch, row, out, error);
}

static weir_err confluent_encoder_new(struct weir_schema *schema, const struct weir_key_value *options,
                                      int option_count, struct weir_encoder **encoder, struct weir_error *error)
{
    struct given given = {confluent, confluent_options, options, option_count};
    struct weir_encoder *created = weir_zalloc(sizeof *created);
    bool latest = option_is_true(&given, "use-latest-version");
    created->columns = weir_schema_ref(schema);
    created->auto_register = option_is_true(&given, "auto-register");
    weir_err err = weir_registry_open(confluent, options, option_count, confluent_options, &created->registry, error);
    if (!err)
        err = weir_registry_subject(confluent, options, option_count, confluent_options, &created->subject, error);
    if (!err && latest && *option(&given, "schema"))
        err = weir_fail(
            error, WEIR_ERR_INVALID,
            "'avro-confluent.schema' and 'avro-confluent.use-latest-version' both say what is written: which one?");
    if (!err && !latest)
        err = prepare(&given, created, error);
    if (err)
        encoder_free(created);
    else
        *encoder = created;
    return err;
}

/* Before the first record: the id of what is written. Asks the registry, and blocks. */
static weir_err find_id(struct weir_encoder *encoder, struct weir_error *error)
{
    if (encoder->program) {
        struct weir_registry_schema schema = {.kind = WEIR_SCHEMA_AVRO, .text = encoder->text};
        return weir_registry_register(encoder->registry, encoder->subject, &schema, !encoder->auto_register,
                                      &encoder->id, error);
    }
    struct weir_registry_schema *latest;
    weir_err err = weir_registry_latest(encoder->registry, encoder->subject, &latest, error);
    if (err)
        return err;
    encoder->id = latest->id;
    weir_avro_schema_free(encoder->schema);
    encoder->schema = NULL;
    if (latest->kind != WEIR_SCHEMA_AVRO)
        err = weir_fail(error, WEIR_ERR_INVALID, "it is no Avro schema");
    else
        err =
            weir_avro_schema_parse(latest->text, latest->references, latest->reference_count, &encoder->schema, error);
    if (!err)
        err = weir_avro_writer_new(encoder->schema, encoder->columns, &encoder->program, error);
    return err ? weir_wrap(error, "avro-confluent: the newest schema of subject '%.200s'", encoder->subject) : WEIR_OK;
}

static weir_err confluent_encode(struct weir_encoder *encoder, const struct weir_batch *batch, int row,
                                 struct weir_buf *out, struct weir_error *error)
{
    if (!encoder->registered) {
        weir_err err = find_id(encoder, error);
        if (err)
            return err;
        encoder->registered = true;
    }
    if (!weir_framing_put(out, encoder->id))
        return weir_fail(error, WEIR_ERR_FULL, "avro-confluent: a record does not fit the output buffer (%zu bytes)",
                         out->max);
    return weir_avro_write(confluent, encoder->program, batch, row, out, error);
}

extern const struct weir_format weir_format_avro, weir_format_avro_confluent;
const struct weir_format weir_format_avro = {
    .name = plain,
    .help = "Avro records in binary, one per message, by a schema that the job has",
    .options = avro_options,
    .decoder_new = avro_decoder_new,
    .decode = avro_decode,
    .decoder_free = decoder_free,
    .encoder_new = avro_encoder_new,
    .encode = avro_encode,
    .encoder_free = encoder_free,
};
const struct weir_format weir_format_avro_confluent = {
    .name = confluent,
    .help = "Avro records behind the id of their schema in a schema registry (Confluent's framing)",
    .options = confluent_options,
    .decoder_new = confluent_decoder_new,
    .decode = confluent_decode,
    .decoder_free = decoder_free,
    .encoder_new = confluent_encoder_new,
    .encode = confluent_encode,
    .encoder_free = encoder_free,
};
