/* Avro schemas: JSON text to a tree of nodes (specification 1.12, "Schema Declaration"), and the schema that columns have.
 *
 * Named types are one node wherever they are named, so that a recursive type is a circle in the tree. A logical type that does not fit its
 * type is none, as the specification has it. Bounds: depth, nodes and the text itself.
 */
#ifndef WEIR_FORMAT_AVRO_SCHEMA_H
#define WEIR_FORMAT_AVRO_SCHEMA_H

#include <jansson.h>

#include "data/schema.h"
#include "registry/registry.h"

#define WEIR_AVRO_TEXT_MAX ((size_t)8 << 20)

enum weir_avro_kind {
    WEIR_AVRO_NULL,
    WEIR_AVRO_BOOLEAN,
    WEIR_AVRO_INT,
    WEIR_AVRO_LONG,
    WEIR_AVRO_FLOAT,
    WEIR_AVRO_DOUBLE,
    WEIR_AVRO_BYTES,
    WEIR_AVRO_STRING,
    WEIR_AVRO_RECORD,
    WEIR_AVRO_ENUM,
    WEIR_AVRO_ARRAY,
    WEIR_AVRO_MAP,
    WEIR_AVRO_UNION,
    WEIR_AVRO_FIXED,
    WEIR_AVRO_KINDS
};

enum weir_avro_logical {
    WEIR_AVRO_PLAIN,
    WEIR_AVRO_DECIMAL,
    WEIR_AVRO_DATE,
    WEIR_AVRO_TIME_MILLIS,
    WEIR_AVRO_TIME_MICROS,
    WEIR_AVRO_TIMESTAMP_MILLIS, /* and local-timestamp-millis, and so on: the same numbers */
    WEIR_AVRO_TIMESTAMP_MICROS,
    WEIR_AVRO_TIMESTAMP_NANOS,
    WEIR_AVRO_UUID,
};

struct weir_avro_node;
struct weir_avro_field {
    const char *name;
    const json_t *aliases;       /* array, or NULL */
    const json_t *default_value; /* NULL: none */
    const struct weir_avro_node *type;
};

struct weir_avro_node {
    enum weir_avro_kind kind;
    enum weir_avro_logical logical;
    int precision, scale; /* DECIMAL */
    const char *name;     /* RECORD, ENUM, FIXED: full, "com.example.Reading" */
    const json_t *aliases;
    int count;                           /* of fields, symbols or branches; FIXED: bytes */
    struct weir_avro_field *fields;      /* RECORD */
    const char **symbols;                /* ENUM */
    int symbol_default;                  /* ENUM: -1: none */
    const struct weir_avro_node **parts; /* UNION: branches; ARRAY, MAP: one, what is in it */
    bool may_be_empty;                   /* a value may have no bytes, so that a list could have any number of them */
    bool is_open;                        /* RECORD: its fields are being read */
};

struct weir_avro_schema {
    const struct weir_avro_node *root;
    struct weir_arena memory;
    json_t **documents; /* what defaults and aliases point into */
    int document_count;
};

/* `references`: schemas that define types which `text` names; may be NULL. INVALID says what is wrong, and where. */
weir_err weir_avro_schema_parse(const char *text, const struct weir_registry_reference *references, int reference_count,
                                struct weir_avro_schema **schema, struct weir_error *error);
void weir_avro_schema_free(struct weir_avro_schema *schema); /* NULL is allowed */

/* What Flink derives from a table's columns: a record "record" of namespace org.apache.flink.avro.generated, a nullable type as a union with null.
 * `legacy_timestamps`: a TIMESTAMP is timestamp-millis, else local-timestamp-millis. Freed by the caller. INVALID: a column that Avro cannot have. */
weir_err weir_avro_derive(const struct weir_schema *columns, bool legacy_timestamps, char **text,
                          struct weir_error *error);

const char *weir_avro_kind_name(enum weir_avro_kind kind);
/* "Reading" of "com.example.Reading". */
const char *weir_avro_short_name(const char *name);
/* Is `name` among the aliases (of a type or a field)? Without namespaces. */
bool weir_avro_has_alias(const json_t *aliases, const char *name);

#endif
