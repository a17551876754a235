/* Avro schemas from their JSON text (avro_schema.h). */
#include "format/avro_schema.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_memory.h"

#define DEPTH_MAX 64
#define NODES_MAX 65536
#define FIXED_SIZE_MAX (1 << 26)

static const char *const kind_names[WEIR_AVRO_KINDS] = {
    [WEIR_AVRO_NULL] = "null",   [WEIR_AVRO_BOOLEAN] = "boolean", [WEIR_AVRO_INT] = "int",
    [WEIR_AVRO_LONG] = "long",   [WEIR_AVRO_FLOAT] = "float",     [WEIR_AVRO_DOUBLE] = "double",
    [WEIR_AVRO_BYTES] = "bytes", [WEIR_AVRO_STRING] = "string",   [WEIR_AVRO_RECORD] = "record",
    [WEIR_AVRO_ENUM] = "enum",   [WEIR_AVRO_ARRAY] = "array",     [WEIR_AVRO_MAP] = "map",
    [WEIR_AVRO_UNION] = "union", [WEIR_AVRO_FIXED] = "fixed",
};

const char *weir_avro_kind_name(enum weir_avro_kind kind)
{
    return kind_names[kind];
}

const char *weir_avro_short_name(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

bool weir_avro_has_alias(const json_t *aliases, const char *name)
{
    for (size_t i = 0; i < json_array_size(aliases); i++) {
        const char *alias = json_string_value(json_array_get(aliases, i));
        if (alias && strcmp(weir_avro_short_name(alias), weir_avro_short_name(name)) == 0)
            return true;
    }
    return false;
}

/* --- Parsing */

struct parser {
    struct weir_avro_schema *schema;
    struct weir_error *error;
    struct weir_avro_node **named;
    int named_count, named_room;
    int node_count;
};

static const struct weir_avro_node *parse(struct parser *p, const json_t *json, const char *space, int depth);

static __attribute__((format(printf, 2, 3))) const struct weir_avro_node *wrong(struct parser *p, const char *format,
                                                                                ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)weir_fail(p->error, WEIR_ERR_INVALID, "the Avro schema: %s", text);
    return NULL;
}

static struct weir_avro_node *node_new(struct parser *p, enum weir_avro_kind kind)
{
    struct weir_avro_node *node = weir_arena_zalloc(&p->schema->memory, sizeof *node);
    node->kind = kind;
    node->symbol_default = -1;
    node->may_be_empty = kind == WEIR_AVRO_NULL;
    p->node_count++;
    return node;
}

/* Full name of a type that is called `name` in namespace `space`. */
static char *full_name(struct parser *p, const char *name, const char *space)
{
    if (strchr(name, '.') || !space || !*space)
        return weir_arena_strdup(&p->schema->memory, name);
    return weir_arena_format(&p->schema->memory, "%s.%s", space, name);
}

static const struct weir_avro_node *find_named(const struct parser *p, const char *name)
{
    for (int i = 0; i < p->named_count; i++)
        if (strcmp(p->named[i]->name, name) == 0)
            return p->named[i];
    return NULL;
}

static const struct weir_avro_node *parse_name(struct parser *p, const char *name, const char *space)
{
    for (int kind = 0; kind <= WEIR_AVRO_STRING; kind++)
        if (strcmp(name, kind_names[kind]) == 0)
            return node_new(p, (enum weir_avro_kind)kind);
    const struct weir_avro_node *found = find_named(p, full_name(p, name, space));
    if (!found)
        found = find_named(p, name);
    return found ? found : wrong(p, "there is no type '%.200s'", name);
}

static void take_logical(struct weir_avro_node *node, const json_t *json)
{
    static const struct {
        const char *name;
        enum weir_avro_kind kind;
        enum weir_avro_logical logical;
    } table[] = {
        {"date", WEIR_AVRO_INT, WEIR_AVRO_DATE},
        {"time-millis", WEIR_AVRO_INT, WEIR_AVRO_TIME_MILLIS},
        {"time-micros", WEIR_AVRO_LONG, WEIR_AVRO_TIME_MICROS},
        {"timestamp-millis", WEIR_AVRO_LONG, WEIR_AVRO_TIMESTAMP_MILLIS},
        {"timestamp-micros", WEIR_AVRO_LONG, WEIR_AVRO_TIMESTAMP_MICROS},
        {"timestamp-nanos", WEIR_AVRO_LONG, WEIR_AVRO_TIMESTAMP_NANOS},
        {"local-timestamp-millis", WEIR_AVRO_LONG, WEIR_AVRO_TIMESTAMP_MILLIS},
        {"local-timestamp-micros", WEIR_AVRO_LONG, WEIR_AVRO_TIMESTAMP_MICROS},
        {"local-timestamp-nanos", WEIR_AVRO_LONG, WEIR_AVRO_TIMESTAMP_NANOS},
        {"uuid", WEIR_AVRO_STRING, WEIR_AVRO_UUID},
        {"uuid", WEIR_AVRO_FIXED, WEIR_AVRO_UUID},
        {"decimal", WEIR_AVRO_BYTES, WEIR_AVRO_DECIMAL},
        {"decimal", WEIR_AVRO_FIXED, WEIR_AVRO_DECIMAL},
    };
    const char *name = json_string_value(json_object_get(json, "logicalType"));
    for (size_t i = 0; name && i < sizeof table / sizeof *table; i++)
        if (table[i].kind == node->kind && strcmp(table[i].name, name) == 0)
            node->logical = table[i].logical;
    if (node->logical == WEIR_AVRO_UUID && node->kind == WEIR_AVRO_FIXED && node->count != 16)
        node->logical = WEIR_AVRO_PLAIN;
    if (node->logical != WEIR_AVRO_DECIMAL)
        return;
    json_int_t precision = json_integer_value(json_object_get(json, "precision"));
    json_int_t scale = json_integer_value(json_object_get(json, "scale"));
    if (precision < 1 || precision > 100000 || scale < 0 || scale > precision) {
        node->logical = WEIR_AVRO_PLAIN;
        return;
    }
    node->precision = (int)precision;
    node->scale = (int)scale;
}

static bool add_field(struct parser *p, struct weir_avro_node *node, const json_t *json, const char *space, int depth)
{
    struct weir_avro_field *field = &node->fields[node->count];
    const char *name = json_string_value(json_object_get(json, "name"));
    if (!name)
        return wrong(p, "a field of '%.200s' has no name", node->name);
    for (int i = 0; i < node->count; i++)
        if (strcmp(node->fields[i].name, name) == 0)
            return wrong(p, "'%.200s' has two fields '%.200s'", node->name, name);
    *field = (struct weir_avro_field){
        .name = name,
        .aliases = json_object_get(json, "aliases"),
        .default_value = json_object_get(json, "default"),
        .type = parse(p, json_object_get(json, "type"), space, depth),
    };
    if (field->type && field->type->is_open)
        return wrong(p, "record '%.200s' is directly in itself, so that no value of it ends", field->type->name);
    node->count++;
    return field->type != NULL;
}

static const struct weir_avro_node *parse_record(struct parser *p, struct weir_avro_node *node, const json_t *json,
                                                 const char *space, int depth)
{
    json_t *fields = json_object_get(json, "fields");
    if (!json_is_array(fields))
        return wrong(p, "record '%.200s' has no fields", node->name);
    size_t count = json_array_size(fields);
    node->fields = weir_arena_zalloc(&p->schema->memory, (count + 1) * sizeof *node->fields);
    node->is_open = true;
    for (size_t i = 0; i < count; i++)
        if (!add_field(p, node, json_array_get(fields, i), space, depth))
            return NULL;
    node->is_open = false;
    node->may_be_empty = true;
    for (int i = 0; i < node->count; i++)
        node->may_be_empty &= node->fields[i].type->may_be_empty;
    return node;
}

static const struct weir_avro_node *parse_enum(struct parser *p, struct weir_avro_node *node, const json_t *json)
{
    json_t *symbols = json_object_get(json, "symbols");
    const char *fallback = json_string_value(json_object_get(json, "default"));
    size_t count = json_array_size(symbols);
    if (count == 0)
        return wrong(p, "enum '%.200s' has no symbols", node->name);
    node->symbols = weir_arena_alloc(&p->schema->memory, count * sizeof *node->symbols);
    for (size_t i = 0; i < count; i++) {
        node->symbols[i] = json_string_value(json_array_get(symbols, i));
        if (!node->symbols[i])
            return wrong(p, "a symbol of enum '%.200s' is no string", node->name);
        if (fallback && strcmp(fallback, node->symbols[i]) == 0)
            node->symbol_default = (int)i;
    }
    node->count = (int)count;
    return node;
}

static const struct weir_avro_node *parse_named(struct parser *p, enum weir_avro_kind kind, const json_t *json,
                                                const char *space, int depth)
{
    const char *name = json_string_value(json_object_get(json, "name"));
    const char *own_space = json_string_value(json_object_get(json, "namespace"));
    if (!name)
        return wrong(p, "a type of kind %s has no name", kind_names[kind]);
    struct weir_avro_node *node = node_new(p, kind);
    char *whole = full_name(p, name, own_space ? own_space : space), *dot = strrchr(whole, '.');
    node->name = whole;
    node->aliases = json_object_get(json, "aliases");
    if (find_named(p, whole))
        return wrong(p, "'%.200s' is defined twice", whole);
    if (p->named_count == p->named_room) {
        p->named_room = p->named_room * 2 + 8;
        p->named = weir_realloc(p->named, (size_t)p->named_room * sizeof *p->named);
    }
    p->named[p->named_count++] = node;
    if (kind == WEIR_AVRO_ENUM)
        return parse_enum(p, node, json);
    if (kind == WEIR_AVRO_RECORD)
        return parse_record(p, node, json,
                            dot ? weir_arena_strndup(&p->schema->memory, whole, (size_t)(dot - whole)) : "", depth);
    json_t *size = json_object_get(json, "size");
    if (!json_is_integer(size) || json_integer_value(size) < 0 || json_integer_value(size) > FIXED_SIZE_MAX)
        return wrong(p, "fixed '%.200s' has no size from 0 to %d", whole, FIXED_SIZE_MAX);
    node->count = (int)json_integer_value(size);
    node->may_be_empty = node->count == 0;
    take_logical(node, json);
    return node;
}

static const struct weir_avro_node *parse_union(struct parser *p, const json_t *json, const char *space, int depth)
{
    struct weir_avro_node *node = node_new(p, WEIR_AVRO_UNION);
    node->count = (int)json_array_size(json);
    if (node->count == 0)
        return wrong(p, "a union has no branches");
    node->parts = weir_arena_alloc(&p->schema->memory, (size_t)node->count * sizeof *node->parts);
    for (int i = 0; i < node->count; i++) {
        node->parts[i] = parse(p, json_array_get(json, (size_t)i), space, depth);
        if (!node->parts[i])
            return NULL;
        if (node->parts[i]->kind == WEIR_AVRO_UNION)
            return wrong(p, "a union is directly in a union");
    }
    return node;
}

static const struct weir_avro_node *parse_object(struct parser *p, const json_t *json, const char *space, int depth)
{
    json_t *type = json_object_get(json, "type");
    const char *name = json_string_value(type);
    if (!name)
        return type ? parse(p, type, space, depth) : wrong(p, "an object has no type");
    if (strcmp(name, "record") == 0 || strcmp(name, "error") == 0)
        return parse_named(p, WEIR_AVRO_RECORD, json, space, depth);
    if (strcmp(name, "enum") == 0)
        return parse_named(p, WEIR_AVRO_ENUM, json, space, depth);
    if (strcmp(name, "fixed") == 0)
        return parse_named(p, WEIR_AVRO_FIXED, json, space, depth);
    bool array = strcmp(name, "array") == 0;
    if (array || strcmp(name, "map") == 0) {
        struct weir_avro_node *node = node_new(p, array ? WEIR_AVRO_ARRAY : WEIR_AVRO_MAP);
        node->parts = weir_arena_alloc(&p->schema->memory, sizeof *node->parts);
        node->parts[0] = parse(p, json_object_get(json, array ? "items" : "values"), space, depth);
        return node->parts[0] ? node : NULL;
    }
    const struct weir_avro_node *found = parse_name(p, name, space);
    if (!found || found->kind > WEIR_AVRO_STRING)
        return found;
    struct weir_avro_node *node = node_new(p, found->kind);
    take_logical(node, json);
    return node;
}

static const struct weir_avro_node *parse(struct parser *p, const json_t *json, const char *space, int depth)
{
    if (depth > DEPTH_MAX)
        return wrong(p, "it is nested more than %d deep", DEPTH_MAX);
    if (p->node_count > NODES_MAX)
        return wrong(p, "it has more than %d types", NODES_MAX);
    if (json_is_string(json))
        return parse_name(p, json_string_value(json), space);
    if (json_is_array(json))
        return parse_union(p, json, space, depth + 1);
    if (json_is_object(json))
        return parse_object(p, json, space, depth + 1);
    return wrong(p, "a type is neither a name nor an object nor a union");
}

static const struct weir_avro_node *parse_text(struct parser *p, const char *text)
{
    json_error_t wrong_json;
    size_t size = strlen(text);
    if (size > WEIR_AVRO_TEXT_MAX)
        return wrong(p, "it is longer than %zu bytes", WEIR_AVRO_TEXT_MAX);
    json_t *json = json_loadb(text, size, JSON_DECODE_ANY, &wrong_json);
    if (!json && !strpbrk(text, "{[\" ")) /* a bare name */
        json = json_string(text);
    if (!json)
        return wrong(p, "line %d, column %d: %.200s", wrong_json.line, wrong_json.column, wrong_json.text);
    p->schema->documents[p->schema->document_count++] = json;
    return parse(p, json, NULL, 0);
}

weir_err weir_avro_schema_parse(const char *text, const struct weir_registry_reference *references, int reference_count,
                                struct weir_avro_schema **schema, struct weir_error *error)
{
    struct weir_error own;
    weir_json_memory();
    struct parser parser = {.schema = weir_zalloc(sizeof *parser.schema), .error = error ? error : &own};
    parser.schema->documents = weir_zalloc(((size_t)reference_count + 1) * sizeof *parser.schema->documents);
    bool ok = true;
    for (int i = 0; ok && i < reference_count; i++)
        ok = parse_text(&parser, references[i].text) != NULL;
    if (ok)
        parser.schema->root = parse_text(&parser, text);
    free(parser.named);
    if (!parser.schema->root) {
        weir_avro_schema_free(parser.schema);
        return WEIR_ERR_INVALID;
    }
    *schema = parser.schema;
    return WEIR_OK;
}

void weir_avro_schema_free(struct weir_avro_schema *schema)
{
    if (!schema)
        return;
    for (int i = 0; i < schema->document_count; i++)
        json_decref(schema->documents[i]);
    free(schema->documents);
    weir_arena_fini(&schema->memory);
    free(schema);
}

/* --- The schema of columns */

static json_t *derive_type(const struct weir_type *type, const char *name, bool legacy, const char *column,
                           struct weir_error *error);

static json_t *derive_record(const struct weir_schema *columns, const char *name, const char *space, bool legacy,
                             struct weir_error *error)
{
    json_t *fields = json_array();
    json_t *record = json_pack("{s:s, s:s, s:o}", "type", "record", "name", name, "fields", fields);
    if (space)
        json_object_set_new(record, "namespace", json_string(space));
    for (int i = 0; i < columns->field_count; i++) {
        const struct weir_field *column = &columns->fields[i];
        const char *digits = "0123456789", *letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
        if (strspn(column->name, letters) != strlen(column->name) || strspn(column->name, digits) > 0) {
            (void)weir_fail(
                error, WEIR_ERR_INVALID,
                "column '%.200s' cannot be a field's name in Avro (letters, digits and _): name it otherwise",
                column->name);
            json_decref(record);
            return NULL;
        }
        char *inner = weir_format("%s_%s", name, column->name);
        json_t *type = derive_type(&column->type, inner, legacy, column->name, error);
        free(inner);
        if (!type) {
            json_decref(record);
            return NULL;
        }
        json_t *field = json_pack("{s:s, s:o}", "name", column->name, "type", type);
        if (column->type.nullable)
            json_object_set_new(field, "default", json_null());
        json_array_append_new(fields, field);
    }
    return record;
}

static json_t *logical(const char *type, const char *name)
{
    return json_pack("{s:s, s:s}", "type", type, "logicalType", name);
}

static json_t *derive_list(const struct weir_type *type, const char *name, bool legacy, const char *column,
                           struct weir_error *error)
{
    bool map = type->id == WEIR_TYPE_MAP;
    if (map && type->fields->fields[0].type.id != WEIR_TYPE_STRING) {
        (void)weir_fail(error, WEIR_ERR_INVALID,
                        "column '%.200s': a map's keys are strings in Avro: declare MAP<STRING, ...>", column);
        return NULL;
    }
    json_t *inner = derive_type(&type->fields->fields[map].type, name, legacy, column, error);
    return inner ? json_pack("{s:s, s:o}", "type", map ? "map" : "array", map ? "values" : "items", inner) : NULL;
}

static json_t *derive_bare(const struct weir_type *type, const char *name, bool legacy, const char *column,
                           struct weir_error *error)
{
    switch (type->id) {
    case WEIR_TYPE_BOOLEAN:
        return json_string("boolean");
    case WEIR_TYPE_INT8:
    case WEIR_TYPE_INT16:
    case WEIR_TYPE_INT32:
        return json_string("int");
    case WEIR_TYPE_INT64:
        return json_string("long");
    case WEIR_TYPE_FLOAT:
        return json_string("float");
    case WEIR_TYPE_DOUBLE:
        return json_string("double");
    case WEIR_TYPE_STRING:
        return json_string("string");
    case WEIR_TYPE_BYTES:
        return json_string("bytes");
    case WEIR_TYPE_DATE:
        return logical("int", "date");
    case WEIR_TYPE_TIME:
        return logical("int", "time-millis");
    case WEIR_TYPE_TIMESTAMP:
        return logical("long", legacy ? "timestamp-millis" : "local-timestamp-millis");
    case WEIR_TYPE_TIMESTAMP_LTZ:
        return logical("long", "timestamp-millis");
    case WEIR_TYPE_DECIMAL:
        return json_pack("{s:s, s:s, s:i, s:i}", "type", "bytes", "logicalType", "decimal", "precision",
                         (int)type->precision, "scale", (int)type->scale);
    case WEIR_TYPE_ROW:
        return derive_record(type->fields, name, NULL, legacy, error);
    default:
        return derive_list(type, name, legacy, column, error);
    }
}

static json_t *derive_type(const struct weir_type *type, const char *name, bool legacy, const char *column,
                           struct weir_error *error)
{
    json_t *bare = derive_bare(type, name, legacy, column, error);
    return bare && type->nullable ? json_pack("[s, o]", "null", bare) : bare;
}

weir_err weir_avro_derive(const struct weir_schema *columns, bool legacy_timestamps, char **text,
                          struct weir_error *error)
{
    weir_json_memory();
    json_t *record = derive_record(columns, "record", "org.apache.flink.avro.generated", legacy_timestamps, error);
    if (!record)
        return WEIR_ERR_INVALID;
    *text = json_dumps(record, JSON_COMPACT);
    json_decref(record);
    return WEIR_OK;
}
