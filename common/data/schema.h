/* Types and schemas.
 *
 * A type is written as SQL writes it, "TIMESTAMP(3) NOT NULL", and that text is its form in JobGraphs,
 * snapshots and messages. Semantics of names, precision and nullability: Flink 1.20's SQL data types.
 *
 * ARRAY, MAP and ROW have the types of what is in them as the fields of a schema: ARRAY "element", MAP "key" and
 * "value", ROW its own. That schema is interned: one for all equal types, never freed, so that a type remains a plain
 * value that is copied with =. How many there may be is bounded (WEIR_TYPES_NESTED_MAX).
 */
#ifndef WEIR_DATA_SCHEMA_H
#define WEIR_DATA_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/options.h" /* weir_nearest() */

/* Part of the wire and snapshot formats: never renumber. */
enum weir_type_id {
    WEIR_TYPE_NONE = 0, /* the untyped NULL literal while an expression is checked; never in a schema */
    WEIR_TYPE_BOOLEAN = 1,
    WEIR_TYPE_INT8 = 2,           /* TINYINT */
    WEIR_TYPE_INT16 = 3,          /* SMALLINT */
    WEIR_TYPE_INT32 = 4,          /* INT */
    WEIR_TYPE_INT64 = 5,          /* BIGINT */
    WEIR_TYPE_FLOAT = 6,          /* FLOAT, 32 bit */
    WEIR_TYPE_DOUBLE = 7,         /* DOUBLE */
    WEIR_TYPE_STRING = 8,         /* STRING, VARCHAR(n), CHAR(n): UTF-8 */
    WEIR_TYPE_BYTES = 9,          /* BYTES, VARBINARY(n), BINARY(n) */
    WEIR_TYPE_DATE = 10,          /* int32, days since 1970-01-01 */
    WEIR_TYPE_TIME = 11,          /* int32, ms of the day */
    WEIR_TYPE_TIMESTAMP = 12,     /* int64, ms since 1970-01-01T00:00:00, no zone; precision 0 to 3 */
    WEIR_TYPE_TIMESTAMP_LTZ = 13, /* int64, ms since 1970-01-01T00:00:00Z; precision 0 to 3 */
    WEIR_TYPE_DECIMAL = 14,       /* 128 bits: the number times 10^scale (decimal.h) */
    WEIR_TYPE_ARRAY = 15,
    WEIR_TYPE_MAP = 16,
    WEIR_TYPE_ROW = 17,
    WEIR_TYPE_IDS
};

struct weir_schema;
struct weir_type {
    enum weir_type_id id;
    bool nullable;
    uint8_t precision; /* TIME, TIMESTAMP, TIMESTAMP_LTZ: 0 to 3 digits of a second; DECIMAL: 1 to 38 digits */
    uint8_t scale;     /* DECIMAL: how many of them are behind the point */
    int32_t length;    /* CHAR(n), VARCHAR(n), BINARY(n), VARBINARY(n); 0 without a bound */
    const struct weir_schema *fields; /* ARRAY, MAP, ROW: what is in it; interned, not counted */
};

#define WEIR_FIELDS_MAX 1024
#define WEIR_NAME_SIZE_MAX 256
#define WEIR_TYPE_DEPTH_MAX 16                /* ARRAY<ARRAY<...>> */
#define WEIR_TYPE_TEXT_MAX ((size_t)64 << 10) /* of one type, printed */
#define WEIR_TYPES_NESTED_MAX 65536           /* different ones in a process */
#define WEIR_DECIMAL_DIGITS_MAX 38

struct weir_field {
    const char *name;
    struct weir_type type;
};

/* Immutable once built; shared by reference count (atomic). */
struct weir_schema {
    int refs;
    int field_count;
    struct weir_field fields[];
};

/* Bytes of one fixed-width value; 0 for BOOLEAN (a bit) and the variable-width types. */
static inline int weir_type_width(enum weir_type_id id)
{
    static const uint8_t widths[WEIR_TYPE_IDS] = {
        [WEIR_TYPE_INT8] = 1,      [WEIR_TYPE_INT16] = 2,    [WEIR_TYPE_INT32] = 4,         [WEIR_TYPE_INT64] = 8,
        [WEIR_TYPE_FLOAT] = 4,     [WEIR_TYPE_DOUBLE] = 8,   [WEIR_TYPE_DATE] = 4,          [WEIR_TYPE_TIME] = 4,
        [WEIR_TYPE_TIMESTAMP] = 8, [WEIR_TYPE_DECIMAL] = 16, [WEIR_TYPE_TIMESTAMP_LTZ] = 8,
    };
    return widths[id];
}

static inline bool weir_type_is_variable(enum weir_type_id id)
{
    return id == WEIR_TYPE_STRING || id == WEIR_TYPE_BYTES;
}
static inline bool weir_type_is_list(enum weir_type_id id)
{
    return id == WEIR_TYPE_ARRAY || id == WEIR_TYPE_MAP;
}
/* ARRAY, MAP, ROW: its values lie in a child. */
static inline bool weir_type_is_nested(enum weir_type_id id)
{
    return id >= WEIR_TYPE_ARRAY && id <= WEIR_TYPE_ROW;
}

/* "BIGINT NOT NULL" -> type. Case does not matter. INVALID names the text and what is allowed. */
weir_err weir_type_parse(const char *text, struct weir_type *type, struct weir_error *error);
/* "BIGINT NOT NULL", for messages; `out` has room for 64 bytes, a longer text (of a nested type) ends in "...". Returns out. */
char *weir_type_print(const struct weir_type *type, char out[64]);
/* The whole text, which weir_type_parse() takes back; false: `out` is full. */
bool weir_type_text(const struct weir_type *type, struct weir_buf *out) __attribute__((warn_unused_result));
/* Same id, precision and scale, and of what is in it; nullability and length aside. */
bool weir_type_equal(const struct weir_type *a, const struct weir_type *b);
/* All of it, NULLs and lengths too. */
bool weir_type_same(const struct weir_type *a, const struct weir_type *b);
/* Is it `id`, or is one in it? */
bool weir_type_has(const struct weir_type *type, enum weir_type_id id);
/* Nested types from their parts. `*type` is nullable. FULL: there are too many types, or they are nested too deep. */
weir_err weir_type_array(const struct weir_type *element, struct weir_type *type, struct weir_error *error);
weir_err weir_type_map(const struct weir_type *key, const struct weir_type *value, struct weir_type *type,
                       struct weir_error *error);

weir_err weir_type_row(const struct weir_field *fields, int field_count, struct weir_type *type,
                       struct weir_error *error);

/* Copies names. Returns a schema with one reference; aborts on field_count > WEIR_FIELDS_MAX. */
struct weir_schema *weir_schema_new(const struct weir_field *fields, int field_count);
/* "device_id STRING NOT NULL, temperature DOUBLE": the column list of a CREATE TABLE. Names may be `quoted`.
 * INVALID on an empty list, a doubled or overlong name, a bad type. */
weir_err weir_schema_parse(const char *text, struct weir_schema **schema, struct weir_error *error);
/* The inverse, into a buffer (false: full). */
bool weir_schema_print(const struct weir_schema *schema, struct weir_buf *out) __attribute__((warn_unused_result));
struct weir_schema *weir_schema_ref(struct weir_schema *schema);
void weir_schema_unref(struct weir_schema *schema);                                         /* NULL is allowed */
int weir_schema_find(const struct weir_schema *schema, const char *name, size_t name_size); /* -1: none */
bool weir_schema_equal(const struct weir_schema *a, const struct weir_schema *b); /* names and types, nullability too */

#endif
