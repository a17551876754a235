/* The format `json-confluent`: JSON behind the id of its JSON Schema in a schema registry.
 *
 * Data path, on the task's thread; a decoder or encoder belongs to one task. A record is a zero byte, the schema's id, and the object. Columns are the JSON
 * format's own; the schema is what a record is checked by (json_schema.h), which asks the registry once for each id and blocks (registry/registry.h says for
 * how long); with `validate` = false the registry is never asked. A record that breaks its schema, an id that is unknown and a schema that cannot be
 * used are faults of the record: DATA, for on-error. A sink writes the id of a schema that it is given, or that is derived from its columns.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/json_int.h"
#include "format/json_schema.h"
#include "registry/framing.h"
#include "registry/registry.h"

static const char name[] = "json-confluent";

static const struct weir_option confluent_options[] = {
    WEIR_REGISTRY_OPTIONS("json-confluent"),
    WEIR_REGISTRY_SUBJECT_OPTIONS("json-confluent"),
    {"json-confluent.use-latest-version", WEIR_OPTION_BOOL, "false", NULL,
     "write the id of the newest schema of the subject, instead of registering one"},
    {"json-confluent.schema", WEIR_OPTION_FILE, "", NULL,
     "the JSON Schema of what is written: a path, read where the job is built, or the text itself ({...}); without it one is derived from the columns"},
    {"json-confluent.validate", WEIR_OPTION_BOOL, "true", NULL,
     "a record that breaks the schema whose id it has is a bad one; false: the schema is not looked at"},
    {"json-confluent.timestamp-format.standard", WEIR_OPTION_ENUM, "ISO-8601", "ISO-8601|SQL",
     "how TIMESTAMP is written: 2013-01-01T06:00:00Z or 2013-01-01 06:00:00.000; reading takes both, and epoch ms"},
    {"json-confluent.fail-on-missing-field", WEIR_OPTION_BOOL, "false", NULL,
     "a record without a nullable column's field is bad, instead of NULL"},
    {"json-confluent.encode.ignore-null-fields", WEIR_OPTION_BOOL, "false", NULL, "leave out members that are NULL"},
    {NULL, 0, NULL, NULL, NULL},
};

static bool is_true(const struct weir_key_value *options, int option_count, const char *option)
{
    return weir_options_get_int(options, option_count, confluent_options, option) != 0;
}

/* What the JSON format is told: "json-confluent.x" as "json.x". */
#define PASSED_ON 3
static int json_options(const struct weir_key_value *options, int option_count, struct weir_key_value out[PASSED_ON])
{
    static const char *const keys[PASSED_ON][2] = {
        {"json-confluent.timestamp-format.standard", "json.timestamp-format.standard"},
        {"json-confluent.fail-on-missing-field", "json.fail-on-missing-field"},
        {"json-confluent.encode.ignore-null-fields", "json.encode.ignore-null-fields"}};
    for (int i = 0; i < PASSED_ON; i++)
        out[i] =
            (struct weir_key_value){keys[i][1], weir_options_get(options, option_count, confluent_options, keys[i][0])};
    return PASSED_ON;
}

/* --- Reading */

/* What a schema of the registry was made into. */
struct compiled {
    struct weir_json_schema *schema; /* NULL: `why` */
    char *why;
};

struct weir_confluent_decoder {
    struct weir_decoder *json;
    struct weir_registry *registry; /* NULL: records are not checked */
};

static void compiled_free(void *arg)
{
    struct compiled *compiled = arg;
    weir_json_schema_free(compiled->schema);
    free(compiled->why);
    free(compiled);
}

static void compile(struct weir_registry_schema *from)
{
    struct weir_error error;
    struct compiled *compiled = weir_zalloc(sizeof *compiled);
    struct weir_json_document *documents = weir_zalloc(((size_t)from->reference_count + 1) * sizeof *documents);
    weir_err err = WEIR_OK;
    for (int i = 0; i < from->reference_count; i++)
        documents[i] = (struct weir_json_document){from->references[i].name, from->references[i].text};
    documents[from->reference_count] = (struct weir_json_document){"", from->text};
    if (from->kind != WEIR_SCHEMA_JSON)
        err = weir_fail(&error, WEIR_ERR_INVALID, "it is no JSON Schema");
    else
        err = weir_json_schema_new(documents, from->reference_count + 1, &compiled->schema, &error);
    if (err)
        compiled->why = weir_strdup(error.message);
    free(documents);
    from->program = compiled;
    from->program_free = compiled_free;
}

static weir_err check(struct weir_confluent_decoder *decoder, int32_t id, const uint8_t *bytes, size_t size,
                      struct weir_error *error)
{
    struct weir_registry_schema *schema;
    weir_err err = weir_registry_fetch(decoder->registry, id, &schema, error);
    if (err)
        return err;
    if (!schema->program)
        compile(schema);
    const struct compiled *compiled = schema->program;
    if (!compiled->schema)
        return weir_fail_record(error, WEIR_BAD_SCHEMA, "%s: a record of schema id %d cannot be checked: %.800s", name,
                                id, compiled->why);
    return weir_json_schema_check(compiled->schema, bytes, size, error);
}

static weir_err decode(struct weir_decoder *self, const uint8_t *bytes, size_t size, bool padded,
                       struct weir_batch *batch, struct weir_error *error)
{
    struct weir_confluent_decoder *decoder = (struct weir_confluent_decoder *)self;
    int32_t id = 0;
    weir_err err = weir_framing_take(name, &bytes, &size, &id, error);
    if (!err && decoder->registry)
        err = check(decoder, id, bytes, size, error);
    return err ? err : weir_json_decode(decoder->json, bytes, size, padded, batch, error);
}

static void decoder_free(struct weir_decoder *self)
{
    struct weir_confluent_decoder *decoder = (struct weir_confluent_decoder *)self;
    if (!decoder)
        return;
    weir_json_decoder_free(decoder->json);
    weir_registry_close(decoder->registry);
    free(decoder);
}

static weir_err decoder_new(struct weir_schema *columns, const struct weir_key_value *options, int option_count,
                            struct weir_decoder **decoder, struct weir_error *error)
{
    struct weir_key_value passed[PASSED_ON];
    struct weir_confluent_decoder *created = weir_zalloc(sizeof *created);
    weir_err err =
        weir_json_decoder_new(columns, passed, json_options(options, option_count, passed), &created->json, error);
    if (!err && is_true(options, option_count, "json-confluent.validate"))
        err = weir_registry_open(name, options, option_count, confluent_options, &created->registry, error);
    if (err)
        decoder_free((struct weir_decoder *)created);
    else
        *decoder = (struct weir_decoder *)created;
    return err;
}

/* --- Writing */

struct weir_confluent_encoder {
    struct weir_encoder *json;
    struct weir_registry *registry;
    char *subject, *text; /* text NULL: the newest version's id */
    bool auto_register, registered;
    int32_t id;
};

static void encoder_free(struct weir_encoder *self)
{
    struct weir_confluent_encoder *encoder = (struct weir_confluent_encoder *)self;
    if (!encoder)
        return;
    weir_format_json.encoder_free(encoder->json);
    weir_registry_close(encoder->registry);
    free(encoder->subject);
    free(encoder->text);
    free(encoder);
}

/* The text that is registered: what was given, once it is known to be a schema, or the columns'. */
static weir_err own_schema(struct weir_confluent_encoder *encoder, const struct weir_schema *columns, const char *given,
                           struct weir_error *error)
{
    struct weir_json_schema *schema = NULL;
    encoder->text = given ? weir_strdup(given) : weir_json_schema_derive(columns);
    struct weir_json_document document = {"", encoder->text};
    weir_err err = weir_json_schema_new(&document, 1, &schema, error);
    weir_json_schema_free(schema);
    return err ? weir_wrap(error, "'%s.schema'", name) : WEIR_OK;
}

static weir_err encoder_new(struct weir_schema *columns, const struct weir_key_value *options, int option_count,
                            struct weir_encoder **encoder, struct weir_error *error)
{
    struct weir_key_value passed[PASSED_ON];
    struct weir_confluent_encoder *created = weir_zalloc(sizeof *created);
    const char *given = weir_options_get(options, option_count, confluent_options, "json-confluent.schema");
    given = given && given[0] ? given : NULL;
    bool latest = is_true(options, option_count, "json-confluent.use-latest-version");
    created->auto_register = is_true(options, option_count, "json-confluent.auto-register");
    weir_err err = weir_format_json.encoder_new(columns, passed, json_options(options, option_count, passed),
                                                &created->json, error);
    if (!err)
        err = weir_registry_open(name, options, option_count, confluent_options, &created->registry, error);
    if (!err)
        err = weir_registry_subject(name, options, option_count, confluent_options, &created->subject, error);
    if (!err && latest && given)
        err = weir_fail(error, WEIR_ERR_INVALID,
                        "'json-confluent.schema' and 'json-confluent.use-latest-version' both say what is written: "
                        "which one?");
    if (!err && !latest)
        err = own_schema(created, columns, given, error);
    if (err)
        encoder_free((struct weir_encoder *)created);
    else
        *encoder = (struct weir_encoder *)created;
    return err;
}

/* Before the first record. Asks the registry, and blocks. */
static weir_err find_id(struct weir_confluent_encoder *encoder, struct weir_error *error)
{
    struct weir_registry_schema schema = {.kind = WEIR_SCHEMA_JSON, .text = encoder->text}, *latest = NULL;
    if (encoder->text)
        return weir_registry_register(encoder->registry, encoder->subject, &schema, !encoder->auto_register,
                                      &encoder->id, error);
    weir_err err = weir_registry_latest(encoder->registry, encoder->subject, &latest, error);
    if (!err && latest->kind != WEIR_SCHEMA_JSON)
        err = weir_fail(error, WEIR_ERR_INVALID, "%s: the newest schema of subject '%.200s' is no JSON Schema", name,
                        encoder->subject);
    if (!err)
        encoder->id = latest->id;
    return err;
}

static weir_err encode(struct weir_encoder *self, const struct weir_batch *batch, int row, struct weir_buf *out,
                       struct weir_error *error)
{
    struct weir_confluent_encoder *encoder = (struct weir_confluent_encoder *)self;
    size_t before = out->size;
    weir_err err = encoder->registered ? WEIR_OK : find_id(encoder, error);
    if (err)
        return err;
    encoder->registered = true;
    if (!weir_framing_put(out, encoder->id))
        return weir_fail(error, WEIR_ERR_FULL, "%s: the record does not fit the output buffer", name);
    err = weir_format_json.encode(encoder->json, batch, row, out, error);
    out->size = err ? before : out->size - 1; /* without the line's end */
    return err;
}

extern const struct weir_format weir_format_json_confluent;
const struct weir_format weir_format_json_confluent = {
    .name = name,
    .help = "JSON objects behind the id of their JSON Schema in a schema registry (Confluent's framing)",
    .options = confluent_options,
    .decoder_new = decoder_new,
    .decode = decode,
    .decoder_free = decoder_free,
    .encoder_new = encoder_new,
    .encode = encode,
    .encoder_free = encoder_free,
};
