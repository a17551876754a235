/* The schema registry's client (registry.h): what is asked, and how an answer is read.
 *
 *   GET  /schemas/ids/ID                       {schema, schemaType?, references?}
 *   GET  /subjects/SUBJECT/versions/VERSION    {id, subject, version, schema, schemaType?, references?}
 *   POST /subjects/SUBJECT/versions            {schema, schemaType?, references?} -> {id}
 *   POST /subjects/SUBJECT                     the same; 404: it is not there
 *
 * schemaType is missing for Avro in Confluent's answers, and always there in Apicurio's.
 */
#include "registry/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "base/clock.h"
#include "http/http_client.h"
#include "registry/registry_int.h"

#define DEPTH_MAX 32 /* of references of references */

struct weir_registry {
    struct weir_registry_server server;
    struct weir_registry_cache cache;
};

static const char *const kind_names[] = {
    [WEIR_SCHEMA_AVRO] = "AVRO", [WEIR_SCHEMA_PROTOBUF] = "PROTOBUF", [WEIR_SCHEMA_JSON] = "JSON"};

weir_err weir_registry_open(const char *format, const struct weir_key_value *options, int option_count,
                            const struct weir_option *table, struct weir_registry **registry, struct weir_error *error)
{
    struct weir_registry *opened = weir_zalloc(sizeof *opened);
    weir_err err = weir_registry_server_init(&opened->server, format, options, option_count, table, error);
    if (err)
        weir_registry_close(opened);
    else
        *registry = opened;
    return err;
}

void weir_registry_close(struct weir_registry *registry)
{
    if (!registry)
        return;
    weir_registry_cache_fini(&registry->cache);
    weir_registry_server_fini(&registry->server);
    free(registry);
}

/* --- Reading an answer */

static weir_err not_a_schema(struct weir_error *error)
{
    return weir_fail(error, WEIR_ERR_PROTOCOL, "the schema registry's answer lacks what belongs to a schema");
}

static const char *member(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* References while they are gathered. */
struct gathering {
    struct weir_registry *registry;
    struct weir_registry_entry *entry;
    struct weir_registry_reference found[WEIR_REGISTRY_REFERENCES_MAX];
    int count;
    size_t size;
};

static bool has(const struct gathering *g, const char *name, const char *subject, int version)
{
    for (int i = 0; i < g->count; i++)
        if (g->found[i].version == version && strcmp(g->found[i].name, name) == 0 &&
            strcmp(g->found[i].subject, subject) == 0)
            return true;
    return false;
}

/* The server's message of an error that is an answer. */
static const char *message_of(const json_t *answer)
{
    const char *message = member(answer, "message");
    return message ? message : "no reason is given";
}

static weir_err gather(struct gathering *g, const json_t *answer, int depth, struct weir_error *error);

/* One reference: first what it refers to, then itself. */
static weir_err gather_one(struct gathering *g, const json_t *reference, int depth, struct weir_error *error)
{
    const char *name = member(reference, "name"), *subject = member(reference, "subject");
    json_t *number = json_object_get(reference, "version"), *answer = NULL;
    if (!name || !subject || !json_is_integer(number))
        return not_a_schema(error);
    int version = (int)json_integer_value(number), status = 0;
    if (has(g, name, subject, version))
        return WEIR_OK;
    if (depth == DEPTH_MAX)
        return weir_fail(error, WEIR_ERR_PROTOCOL, "the schema's references are more than %d deep, or in a circle",
                         DEPTH_MAX);
    char *escaped = weir_http_escape(subject), *path = weir_format("/subjects/%s/versions/%d", escaped, version);
    weir_err err = weir_registry_call(&g->registry->server, path, NULL, &status, &answer, error);
    free(path);
    free(escaped);
    if (err)
        return weir_wrap(error, "reference '%.100s'", name);
    const char *text = member(answer, "schema");
    if (status != 200)
        err = weir_fail(
            error, WEIR_ERR_PROTOCOL,
            "the schema refers to version %d of subject '%.100s', which the schema registry does not give: %.300s",
            version, subject, message_of(answer));
    else if (!text)
        err = not_a_schema(error);
    else
        err = gather(g, answer, depth + 1, error);
    if (!err && (g->count == WEIR_REGISTRY_REFERENCES_MAX || (g->size += strlen(text)) > WEIR_REGISTRY_ANSWER_SIZE_MAX))
        err = weir_fail(error, WEIR_ERR_PROTOCOL, "the schema refers to more than %d others, or more than %zu bytes",
                        WEIR_REGISTRY_REFERENCES_MAX, WEIR_REGISTRY_ANSWER_SIZE_MAX);
    if (!err)
        g->found[g->count++] = (struct weir_registry_reference){
            .name = weir_arena_strdup(&g->entry->memory, name),
            .subject = weir_arena_strdup(&g->entry->memory, subject),
            .version = version,
            .text = weir_arena_strdup(&g->entry->memory, text),
        };
    json_decref(answer);
    return err;
}

static weir_err gather(struct gathering *g, const json_t *answer, int depth, struct weir_error *error)
{
    json_t *references = json_object_get(answer, "references");
    weir_err err = WEIR_OK;
    for (size_t i = 0; !err && i < json_array_size(references); i++)
        err = gather_one(g, json_array_get(references, i), depth, error);
    return err;
}

/* A schema's answer and what it refers to, as an entry of the cache. */
static weir_err read_schema(struct weir_registry *registry, int32_t id, const json_t *answer,
                            struct weir_registry_schema **schema, struct weir_error *error)
{
    const char *text = member(answer, "schema"), *kind = member(answer, "schemaType");
    int known = 0;
    while (kind && known < 3 && strcasecmp(kind, kind_names[known]) != 0)
        known++;
    if (!text)
        return not_a_schema(error);
    if (known == 3)
        return weir_fail(error, WEIR_ERR_PROTOCOL,
                         "the schema is of type '%.40s', which is none of AVRO, PROTOBUF, JSON", kind);
    struct weir_registry_entry *entry = weir_registry_entry_new();
    struct gathering *g = weir_zalloc(sizeof *g);
    g->registry = registry;
    g->entry = entry;
    weir_err err = gather(g, answer, 0, error);
    if (err) {
        weir_registry_entry_free(entry);
    } else {
        size_t size = (size_t)g->count * sizeof *g->found;
        struct weir_registry_reference *references = weir_arena_alloc(&entry->memory, size + 1);
        memcpy(references, g->found, size);
        entry->schema = (struct weir_registry_schema){
            .id = id,
            .kind = (enum weir_schema_kind)known,
            .text = weir_arena_strdup(&entry->memory, text),
            .references = references,
            .reference_count = g->count,
        };
        *schema = weir_registry_cache_put(&registry->cache, entry);
    }
    free(g);
    return err;
}

/* --- Questions */

weir_err weir_registry_fetch(struct weir_registry *registry, int32_t id, struct weir_registry_schema **schema,
                             struct weir_error *error)
{
    *schema = weir_registry_cache_find(&registry->cache, id);
    if (*schema)
        return WEIR_OK;
    const char *format = registry->server.format;
    if (id < 0 || weir_registry_cache_is_unknown(&registry->cache, id, weir_clock_mono_ms()))
        return weir_fail_record(error, WEIR_BAD_SCHEMA, "%s: the schema registry does not know schema id %d", format,
                                id);
    char path[64];
    int status = 0;
    json_t *answer = NULL;
    snprintf(path, sizeof path, "/schemas/ids/%d", id);
    weir_err err = weir_registry_call(&registry->server, path, NULL, &status, &answer, error);
    if (!err && status == 200)
        err = read_schema(registry, id, answer, schema, error);
    else if (!err) {
        weir_registry_cache_put_unknown(&registry->cache, id, weir_clock_mono_ms());
        err = weir_fail_record(error, WEIR_BAD_SCHEMA, "%s: the schema registry does not know schema id %d: %.300s",
                               format, id, message_of(answer));
    }
    json_decref(answer);
    return err && err != WEIR_ERR_DATA ? weir_wrap(error, "%s: schema id %d", format, id) : err;
}

weir_err weir_registry_latest(struct weir_registry *registry, const char *subject, struct weir_registry_schema **schema,
                              struct weir_error *error)
{
    int status = 0;
    json_t *answer = NULL;
    char *escaped = weir_http_escape(subject), *path = weir_format("/subjects/%s/versions/latest", escaped);
    weir_err err = weir_registry_call(&registry->server, path, NULL, &status, &answer, error);
    free(path);
    free(escaped);
    json_t *id = json_object_get(answer, "id");
    if (!err && status != 200)
        err = weir_fail(error, WEIR_ERR_NOT_FOUND, "the schema registry gives no schema: %.300s", message_of(answer));
    else if (!err && !json_is_integer(id))
        err = not_a_schema(error);
    if (!err && !(*schema = weir_registry_cache_find(&registry->cache, (int32_t)json_integer_value(id))))
        err = read_schema(registry, (int32_t)json_integer_value(id), answer, schema, error);
    json_decref(answer);
    return err ? weir_wrap(error, "%s: subject '%.200s'", registry->server.format, subject) : WEIR_OK;
}

weir_err weir_registry_subject(const char *format, const struct weir_key_value *options, int option_count,
                               const struct weir_option *table, char **subject, struct weir_error *error)
{
    char key[128];
    snprintf(key, sizeof key, "%s.subject", format);
    const char *given = weir_options_get(options, option_count, table, key), *topic = NULL;
    for (int i = 0; i < option_count; i++)
        if (strcmp(options[i].key, "topic") == 0 && *options[i].value && !strpbrk(options[i].value, ",;"))
            topic = options[i].value;
    if (!(given && *given) && !topic)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "'%s' is missing: the subject under which the registry keeps the schema of what is written",
                         key);
    *subject = given && *given ? weir_strdup(given) : weir_format("%s-value", topic);
    return WEIR_OK;
}

static char *write_question(const struct weir_registry_schema *schema)
{
    json_t *question = json_pack("{s:s}", "schema", schema->text);
    if (schema->kind != WEIR_SCHEMA_AVRO)
        json_object_set_new(question, "schemaType", json_string(kind_names[schema->kind]));
    json_t *references = json_array();
    for (int i = 0; i < schema->reference_count; i++)
        json_array_append_new(references,
                              json_pack("{s:s, s:s, s:i}", "name", schema->references[i].name, "subject",
                                        schema->references[i].subject, "version", schema->references[i].version));
    if (schema->reference_count > 0)
        json_object_set(question, "references", references);
    json_decref(references);
    char *text = json_dumps(question, JSON_COMPACT);
    json_decref(question);
    weir_assert(text); /* all of it is UTF-8 */
    return text;
}

weir_err weir_registry_register(struct weir_registry *registry, const char *subject,
                                const struct weir_registry_schema *schema, bool only_look, int32_t *id,
                                struct weir_error *error)
{
    int status = 0;
    json_t *answer = NULL;
    char *escaped = weir_http_escape(subject), *body = write_question(schema);
    char *path = weir_format("/subjects/%s%s", escaped, only_look ? "" : "/versions");
    weir_err err = weir_registry_call(&registry->server, path, body, &status, &answer, error);
    free(path);
    free(body);
    free(escaped);
    json_t *number = json_object_get(answer, "id");
    if (!err && status == 404 && only_look)
        err = weir_fail(error, WEIR_ERR_NOT_FOUND,
                        "the schema is not registered, and '%s.auto-register' is false: %.300s",
                        registry->server.format, message_of(answer));
    else if (!err && status == 409)
        err = weir_fail(error, WEIR_ERR_INVALID,
                        "the schema registry refuses the schema as incompatible with those before it: %.500s",
                        message_of(answer));
    else if (!err && status / 100 != 2)
        err = weir_fail(error, WEIR_ERR_INVALID, "the schema registry refuses the schema (HTTP %d): %.500s", status,
                        message_of(answer));
    else if (!err && !json_is_integer(number))
        err = not_a_schema(error);
    else if (!err)
        *id = (int32_t)json_integer_value(number);
    json_decref(answer);
    return err ? weir_wrap(error, "%s: subject '%.200s'", registry->server.format, subject) : WEIR_OK;
}
