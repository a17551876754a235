/* Private to JSON Schema: a schema as json_schema.c compiles it and json_validate.c walks it. */
#ifndef WEIR_FORMAT_JSON_SCHEMA_INT_H
#define WEIR_FORMAT_JSON_SCHEMA_INT_H

#include <jansson.h>

#include "base/mem.h"
#include "format/json_pattern.h"
#include "format/json_schema.h"

enum {
    TYPE_NULL = 1,
    TYPE_BOOLEAN = 2,
    TYPE_INTEGER = 4,
    TYPE_NUMBER = 8,
    TYPE_STRING = 16,
    TYPE_ARRAY = 32,
    TYPE_OBJECT = 64
};

struct node;
struct named {
    const char *name;                  /* of a property; NULL: `pattern` */
    struct weir_json_pattern *pattern; /* of patternProperties */
    struct node *node;                 /* NULL: `names` */
    json_t *names;                     /* dependentRequired: an array of names */
};

struct list {
    struct node **nodes;
    size_t count;
};

struct node {
    bool never; /* false */
    unsigned types;
    json_t *values; /* enum; of the schema's documents, as all json_t here */
    json_t *constant;
    json_t *minimum, *maximum, *above, *below, *multiple;
    int64_t length_min, length_max; /* -1: none; so below */
    struct weir_json_pattern *pattern;
    struct named *properties;
    size_t property_count, pattern_count; /* the patterns stand behind the properties */
    struct node *additional, *property_names;
    json_t *required;
    int64_t properties_min, properties_max;
    struct named *dependents;
    size_t dependent_count;
    struct list prefix;
    struct node *items; /* behind the prefix */
    struct node *contains;
    int64_t contains_min, contains_max, items_min, items_max;
    bool unique;
    struct list all, any, one;
    struct node *not_, *if_, *then_, *else_;
    struct node *ref;
};

/* Where a schema object's node is; open addressing by the object's address. */
struct place {
    const json_t *object;
    struct node *node;
};

struct document {
    const char *name;
    json_t *root;
    bool old; /* draft-07 and before: beside "$ref" nothing counts */
};

struct weir_json_schema {
    struct weir_arena arena;
    struct document *documents;
    int document_count;
    struct place *places;
    size_t place_count, place_room; /* a power of two */
    struct node *root;
    struct weir_json_pattern **patterns; /* to be freed */
    size_t pattern_count, pattern_room;
};

#endif
