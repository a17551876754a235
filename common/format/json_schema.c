/* See json_schema.h. A schema is compiled to nodes, one for each schema object in it that is reached, so that a record costs no look-up of keywords;
 * what `$ref` names is a node like any other, found by the place of its text. The record is parsed by jansson: validation is an option, and costs more than
 * the columns do.
 */
#include "format/json_schema.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/json_memory.h"
#include "format/json_schema_int.h"

#define NODES_MAX 65536
#define SCHEMA_DEPTH_MAX 500

/* --- Reading a schema */

struct compile {
    struct weir_json_schema *schema;
    const struct document *document; /* the one that is being read */
    int depth;
    struct weir_error *error;
};

static weir_err compile_node(struct compile *compile, json_t *from, struct node **node);

static weir_err refused(const struct compile *compile, const char *keyword, const char *what)
{
    return weir_fail(compile->error, WEIR_ERR_INVALID, "the JSON schema's keyword '%.100s' %s", keyword, what);
}

static struct place *place_of(struct weir_json_schema *schema, const json_t *object)
{
    if (2 * schema->place_count >= schema->place_room) {
        struct place *old = schema->places;
        size_t old_room = schema->place_room;
        schema->place_room = old_room ? 2 * old_room : 64;
        schema->places = weir_zalloc(schema->place_room * sizeof *schema->places);
        for (size_t i = 0; i < old_room; i++)
            if (old[i].object)
                *place_of(schema, old[i].object) = old[i];
        free(old);
    }
    size_t at = (size_t)((uintptr_t)object >> 4) * 0x9e3779b97f4a7c15u;
    for (at >>= 20;; at++) {
        struct place *place = &schema->places[at & (schema->place_room - 1)];
        if (!place->object || place->object == object)
            return place;
    }
}

static weir_err compile_list(struct compile *compile, const char *keyword, json_t *from, struct list *list)
{
    if (!json_is_array(from))
        return refused(compile, keyword, "is no array of schemas");
    list->nodes = weir_arena_zalloc(&compile->schema->arena, (json_array_size(from) + 1) * sizeof *list->nodes);
    weir_err err = WEIR_OK;
    for (size_t i = 0; i < json_array_size(from) && !err; i++)
        err = compile_node(compile, json_array_get(from, i), &list->nodes[list->count++]);
    return err;
}

static weir_err compile_pattern(struct compile *compile, const char *keyword, const char *text,
                                struct weir_json_pattern **pattern)
{
    struct weir_json_schema *schema = compile->schema;
    if (!text)
        return refused(compile, keyword, "is no string");
    weir_err err = weir_json_pattern_new(text, pattern, compile->error);
    if (err)
        return weir_wrap(compile->error, "the JSON schema's keyword '%s'", keyword);
    if (schema->pattern_count == schema->pattern_room) {
        schema->pattern_room = schema->pattern_room ? 2 * schema->pattern_room : 8;
        schema->patterns = weir_realloc(schema->patterns, schema->pattern_room * sizeof *schema->patterns);
    }
    schema->patterns[schema->pattern_count++] = *pattern;
    return WEIR_OK;
}

static weir_err compile_properties(struct compile *compile, json_t *properties, json_t *patterns, struct node *node)
{
    const char *name;
    json_t *value;
    weir_err err = WEIR_OK;
    node->properties =
        weir_arena_zalloc(&compile->schema->arena,
                          (json_object_size(properties) + json_object_size(patterns) + 1) * sizeof *node->properties);
    if ((properties && !json_is_object(properties)) || (patterns && !json_is_object(patterns)))
        return refused(compile, properties ? "properties" : "patternProperties", "is no object");
    json_object_foreach(properties, name, value)
    {
        struct named *named = &node->properties[node->property_count++];
        named->name = name;
        if (!err)
            err = compile_node(compile, value, &named->node);
    }
    json_object_foreach(patterns, name, value)
    {
        struct named *named = &node->properties[node->property_count + node->pattern_count++];
        if (!err)
            err = compile_pattern(compile, "patternProperties", name, &named->pattern);
        if (!err)
            err = compile_node(compile, value, &named->node);
    }
    return err;
}

/* dependentRequired, dependentSchemas, and draft-07's dependencies, which is both. */
static weir_err compile_dependents(struct compile *compile, json_t *from, struct node *node)
{
    static const char *const keywords[] = {"dependentRequired", "dependentSchemas", "dependencies"};
    size_t count = 0;
    weir_err err = WEIR_OK;
    for (int i = 0; i < 3; i++)
        count += json_object_size(json_object_get(from, keywords[i]));
    node->dependents = weir_arena_zalloc(&compile->schema->arena, (count + 1) * sizeof *node->dependents);
    for (int i = 0; i < 3; i++) {
        const char *name;
        json_t *value;
        json_object_foreach(json_object_get(from, keywords[i]), name, value)
        {
            struct named *named = &node->dependents[node->dependent_count++];
            named->name = name;
            if (json_is_array(value))
                named->names = value;
            else if (!err)
                err = compile_node(compile, value, &named->node);
        }
    }
    return err;
}

static unsigned type_bit(const char *name)
{
    static const char *const names[] = {"null", "boolean", "integer", "number", "string", "array", "object"};
    for (unsigned i = 0; name && i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return 1u << i;
    return 0;
}

static weir_err compile_types(struct compile *compile, json_t *from, struct node *node)
{
    size_t count = json_is_array(from) ? json_array_size(from) : 1;
    for (size_t i = 0; from && i < count; i++) {
        unsigned bit = type_bit(json_string_value(json_is_array(from) ? json_array_get(from, i) : from));
        if (bit == 0)
            return refused(compile, "type", "names no type: null, boolean, integer, number, string, array, object");
        node->types |= bit;
    }
    return WEIR_OK;
}

static weir_err compile_counts(struct compile *compile, json_t *from, struct node *node)
{
    struct {
        const char *keyword;
        int64_t *to;
    } counts[] = {{"minLength", &node->length_min},         {"maxLength", &node->length_max},
                  {"minItems", &node->items_min},           {"maxItems", &node->items_max},
                  {"minProperties", &node->properties_min}, {"maxProperties", &node->properties_max},
                  {"minContains", &node->contains_min},     {"maxContains", &node->contains_max}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        json_t *value = json_object_get(from, counts[i].keyword);
        double number = json_is_number(value) ? json_number_value(value) : 0;
        *counts[i].to = value ? (int64_t)number : -1;
        if (value && (!json_is_number(value) || number < 0 || number > 1e15 || number != floor(number)))
            return refused(compile, counts[i].keyword, "is no whole number");
    }
    return WEIR_OK;
}

static weir_err compile_bounds(struct compile *compile, json_t *from, struct node *node)
{
    struct {
        const char *keyword;
        json_t **to;
    } bounds[] = {{"minimum", &node->minimum},
                  {"maximum", &node->maximum},
                  {"exclusiveMinimum", &node->above},
                  {"exclusiveMaximum", &node->below},
                  {"multipleOf", &node->multiple}};
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
        json_t *value = json_object_get(from, bounds[i].keyword);
        if (json_is_boolean(value) && (i == 2 || i == 3)) { /* draft-04: a word on the bound beside it */
            json_t **beside = i == 2 ? &node->minimum : &node->maximum;
            if (json_is_true(value) && *beside) {
                *bounds[i].to = *beside;
                *beside = NULL;
            }
            continue;
        }
        *bounds[i].to = value;
        if (value && (!json_is_number(value) || (i == 4 && !(json_number_value(value) > 0))))
            return refused(compile, bounds[i].keyword, i == 4 ? "is no number above 0" : "is no number");
    }
    return WEIR_OK;
}

/* Keywords whose value is one schema. */
static weir_err compile_inner(struct compile *compile, json_t *from, struct node *node)
{
    struct {
        const char *keyword;
        struct node **to;
    } inner[] = {{"additionalProperties", &node->additional},
                 {"propertyNames", &node->property_names},
                 {"contains", &node->contains},
                 {"not", &node->not_},
                 {"if", &node->if_},
                 {"then", &node->then_},
                 {"else", &node->else_}};
    weir_err err = WEIR_OK;
    for (size_t i = 0; i < sizeof inner / sizeof *inner && !err; i++) {
        json_t *value = json_object_get(from, inner[i].keyword);
        if (value)
            err = compile_node(compile, value, inner[i].to);
    }
    struct {
        const char *keyword;
        struct list *to;
    } lists[] = {{"allOf", &node->all}, {"anyOf", &node->any}, {"oneOf", &node->one}, {"prefixItems", &node->prefix}};
    for (size_t i = 0; i < sizeof lists / sizeof *lists && !err; i++) {
        json_t *value = json_object_get(from, lists[i].keyword);
        if (value)
            err = compile_list(compile, lists[i].keyword, value, lists[i].to);
    }
    json_t *items = json_object_get(from, "items"), *rest = json_object_get(from, "additionalItems");
    if (!err && json_is_array(items)) { /* before 2020-12 */
        err = compile_list(compile, "items", items, &node->prefix);
        if (!err && rest)
            err = compile_node(compile, rest, &node->items);
    } else if (!err && items) {
        err = compile_node(compile, items, &node->items);
    }
    return err;
}

/* --- $ref */

/* A JSON pointer's step: "~1" is '/', "~0" '~', and "%25" '%'. */
static void unescape_step(const char *from, size_t size, char *to)
{
    for (size_t i = 0; i < size; i++) {
        unsigned code = 0;
        if (from[i] == '%' && i + 2 < size && sscanf(from + i + 1, "%2x", &code) == 1) {
            *to++ = (char)code;
            i += 2;
        } else {
            *to++ = from[i];
        }
    }
    *to = 0;
}

static json_t *by_pointer(json_t *at, const char *pointer)
{
    while (at && *pointer == '/') {
        size_t size = strcspn(++pointer, "/");
        char *step = weir_alloc(size + 1), *out = step;
        unescape_step(pointer, size, step);
        for (const char *c = step; *c; c++) {
            if (c[0] == '~' && (c[1] == '0' || c[1] == '1'))
                *out++ = *++c == '0' ? '~' : '/';
            else
                *out++ = *c;
        }
        *out = 0;
        at = json_is_array(at) ? json_array_get(at, (size_t)strtoul(step, NULL, 10)) : json_object_get(at, step);
        free(step);
        pointer += size;
    }
    return *pointer ? NULL : at;
}

/* The schema object that has this "$anchor" (or draft-07's "$id": "#anchor"), or, with `id`, this "$id". Bounded by the document's depth. */
static json_t *search(json_t *at, const char *wanted, bool id)
{
    const char *key;
    size_t index;
    json_t *value, *found = NULL;
    if (json_is_object(at)) {
        const char *anchor = json_string_value(json_object_get(at, "$anchor"));
        const char *own = json_string_value(json_object_get(at, "$id"));
        if (!own)
            own = json_string_value(json_object_get(at, "id"));
        if (id ? own && strncmp(own, wanted, strlen(wanted)) == 0 &&
                     strspn(own + strlen(wanted), "#") == strlen(own + strlen(wanted))
               : (anchor && strcmp(anchor, wanted) == 0) || (own && own[0] == '#' && strcmp(own + 1, wanted) == 0))
            return at;
        json_object_foreach(at, key, value)
        {
            if (!found && strcmp(key, "enum") != 0 && strcmp(key, "const") != 0)
                found = search(value, wanted, id);
        }
    } else if (json_is_array(at)) {
        json_array_foreach(at, index, value)
        {
            if (!found)
                found = search(value, wanted, id);
        }
    }
    return found;
}

static weir_err compile_ref(struct compile *compile, const char *ref, struct node **node)
{
    struct weir_json_schema *schema = compile->schema;
    const struct document *document = compile->document, *before = document;
    const char *fragment = strchr(ref, '#');
    size_t base_size = fragment ? (size_t)(fragment - ref) : strlen(ref);
    json_t *root = document->root;
    if (base_size > 0) {
        char *base = weir_strndup(ref, base_size);
        root = NULL;
        for (int i = 0; i < schema->document_count && !root; i++) {
            document = &schema->documents[i];
            root = strcmp(document->name, base) == 0 ? document->root : search(document->root, base, true);
        }
        free(base);
    }
    fragment = fragment ? fragment + 1 : "";
    json_t *target = !root                            ? NULL
                     : !*fragment || *fragment == '/' ? by_pointer(root, fragment)
                                                      : search(root, fragment, false);
    if (!target)
        return weir_fail(compile->error, WEIR_ERR_INVALID,
                         "the JSON schema's \"$ref\": \"%.200s\" names nothing that is in the schema, or in what was "
                         "given with it",
                         ref);
    compile->document = document;
    weir_err err = compile_node(compile, target, node);
    compile->document = before;
    return err;
}

/* --- A node */

static weir_err not_understood(const struct compile *compile, json_t *from)
{
    static const char *const keywords[] = {"$dynamicRef", "$recursiveRef", "unevaluatedProperties", "unevaluatedItems"};
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (json_object_get(from, keywords[i]))
            return refused(compile, keywords[i], "is not supported");
    json_t *values = json_object_get(from, "enum"), *required = json_object_get(from, "required");
    if (values && !json_is_array(values))
        return refused(compile, "enum", "is no array");
    size_t index;
    json_t *name;
    json_array_foreach(required, index, name)
    {
        if (!json_is_string(name))
            required = name;
    }
    if (required && !json_is_array(required) && !json_is_boolean(required)) /* draft-03 had a boolean */
        return refused(compile, "required", "is no array of names");
    return WEIR_OK;
}

static weir_err compile_keywords(struct compile *compile, json_t *from, struct node *node)
{
    json_t *pattern = json_object_get(from, "pattern"), *ref = json_object_get(from, "$ref");
    json_t *properties = json_object_get(from, "properties"), *patterns = json_object_get(from, "patternProperties");
    weir_err err = WEIR_OK;
    if (json_is_string(ref) && (err = compile_ref(compile, json_string_value(ref), &node->ref)))
        return err;
    node->length_min = node->length_max = node->items_min = node->items_max = node->properties_min =
        node->properties_max = node->contains_min = node->contains_max = -1;
    if (json_is_string(ref) && compile->document->old)
        return WEIR_OK;
    if ((err = not_understood(compile, from)) || (err = compile_types(compile, json_object_get(from, "type"), node)) ||
        (err = compile_counts(compile, from, node)) || (err = compile_bounds(compile, from, node)) ||
        (err = compile_inner(compile, from, node)) || (err = compile_properties(compile, properties, patterns, node)) ||
        (err = compile_dependents(compile, from, node)))
        return err;
    node->values = json_object_get(from, "enum");
    node->constant = json_object_get(from, "const");
    node->required = json_object_get(from, "required");
    node->unique = json_is_true(json_object_get(from, "uniqueItems"));
    return pattern ? compile_pattern(compile, "pattern", json_string_value(pattern), &node->pattern) : WEIR_OK;
}

static weir_err compile_node(struct compile *compile, json_t *from, struct node **node)
{
    struct weir_json_schema *schema = compile->schema;
    if (!json_is_object(from) && !json_is_boolean(from))
        return weir_fail(compile->error, WEIR_ERR_INVALID, "a JSON schema is an object, or true or false");
    if (json_is_boolean(from)) { /* jansson has one true and one false */
        *node = weir_arena_zalloc(&schema->arena, sizeof **node);
        (*node)->never = json_is_false(from);
        return compile_keywords(compile, NULL, *node);
    }
    struct place *place = place_of(schema, from);
    if (place->object) {
        *node = place->node;
        return WEIR_OK;
    }
    if (schema->place_count == NODES_MAX || compile->depth == SCHEMA_DEPTH_MAX)
        return weir_fail(compile->error, WEIR_ERR_INVALID, "the JSON schema is too large or nested too deep");
    *node = weir_arena_zalloc(&schema->arena, sizeof **node);
    *place = (struct place){from, *node};
    schema->place_count++;
    compile->depth++;
    weir_err err = compile_keywords(compile, from, *node);
    compile->depth--;
    return err;
}

weir_err weir_json_schema_new(const struct weir_json_document *documents, int count, struct weir_json_schema **schema,
                              struct weir_error *error)
{
    struct weir_json_schema *made = weir_zalloc(sizeof *made);
    struct compile compile = {.schema = made, .error = error};
    weir_err err = WEIR_OK;
    weir_json_memory();
    weir_arena_init(&made->arena);
    made->documents = weir_arena_zalloc(&made->arena, (size_t)count * sizeof *made->documents);
    for (int i = 0; i < count && !err; i++) {
        struct document *document = &made->documents[made->document_count++];
        json_error_t wrong;
        document->name = weir_arena_strdup(&made->arena, documents[i].name);
        document->root = json_loads(documents[i].text, JSON_DECODE_ANY | JSON_ALLOW_NUL, &wrong);
        const char *dialect = json_string_value(json_object_get(document->root, "$schema"));
        document->old = dialect && strstr(dialect, "draft-0");
        if (!document->root)
            err = weir_fail(error, WEIR_ERR_INVALID, "the JSON schema is no JSON: line %d: %s", wrong.line, wrong.text);
    }
    if (!err) {
        compile.document = &made->documents[count - 1];
        err = compile_node(&compile, compile.document->root, &made->root);
    }
    if (err)
        weir_json_schema_free(made);
    else
        *schema = made;
    return err;
}

void weir_json_schema_free(struct weir_json_schema *schema)
{
    if (!schema)
        return;
    for (size_t i = 0; i < schema->pattern_count; i++)
        weir_json_pattern_free(schema->patterns[i]);
    for (int i = 0; i < schema->document_count; i++)
        json_decref(schema->documents[i].root);
    free(schema->patterns);
    free(schema->places);
    weir_arena_fini(&schema->arena);
    free(schema);
}
