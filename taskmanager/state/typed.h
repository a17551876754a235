/* Values with a schema, as bytes: what a state holds, in memory and in checkpoints.
 *
 * One value is the fields of its schema in order. Is a field nullable, a bitmap comes first (bit i of byte i / 8: field i is NULL; a NULL
 * field has no bytes). BOOLEAN one byte; numbers and times little-endian; STRING and BYTES u32 size, then the bytes. A value of one scalar is
 * a schema of the one field "value", which is NOT NULL.
 *
 * A reader makes a value of this schema out of bytes of an older one: fields are matched by name; a new one is NULL or has its DEFAULT,
 * numbers may have become wider. Anything else is refused with a sentence when the reader is made.
 *
 * Pure. One thread.
 */
#ifndef WEIR_TASKMANAGER_STATE_TYPED_H
#define WEIR_TASKMANAGER_STATE_TYPED_H

#include "base/error.h"
#include "data/schema.h"

#define WEIR_TYPED_FIELDS_MAX 64
#define WEIR_TYPED_STRING_MAX ((size_t)64 << 20)

struct weir_typed_str { /* as struct weir_str of the SDK */
    const char *data;
    size_t size;
};

struct weir_typed_field {
    char *name;
    struct weir_type type;
    uint32_t offset;   /* in the struct */
    bool has_default;  /* else it begins as NULL, or must have been there */
    uint8_t *fallback; /* the default's bytes, as weir_default_parse() gives them */
    size_t fallback_size;
};
struct weir_typed {
    int field_count;
    struct weir_typed_field *fields;
    size_t row_size;  /* of the struct */
    int nulls_offset; /* of its uint64_t with a bit per field; -1: it has none */
    int null_bytes;   /* of the bitmap; 0: none */
    bool has_strings;
    size_t size_max; /* of an encoded value without strings */
};

/* `text`: a field's type with its DEFAULT. Fields come in order; finish() afterwards. INVALID: no type. */
weir_err weir_typed_add(struct weir_typed *typed, const char *name, const char *text, uint32_t offset,
                        struct weir_error *error);
/* One NOT NULL field "value" at offset 0. */
weir_err weir_typed_scalar(struct weir_typed *typed, const char *text, struct weir_error *error);
void weir_typed_finish(struct weir_typed *typed, size_t row_size, int nulls_offset);
void weir_typed_fini(struct weir_typed *typed);
/* As the column list of a CREATE TABLE, without defaults. */
void weir_typed_print(const struct weir_typed *typed, struct weir_buf *out);

/* Appends the struct's value. USER_CODE: NULL in a NOT NULL field, text that is not UTF-8, a pointer that cannot be; `out` is then as it
 * was. */
weir_err weir_typed_encode(const struct weir_typed *typed, const void *row, struct weir_buf *out,
                           struct weir_error *error);

/* What reads bytes of schema `from` (a column list) as values of `to`; from NULL: of to's own. */
struct weir_typed_reader {
    const struct weir_typed *to;
    int field_count;
    struct weir_typed_reader_field {
        struct weir_type type; /* as written */
        int field;             /* of `to` */
    } * fields;
    int null_bytes;
    uint64_t missing; /* fields of `to` that the bytes lack */
};
weir_err weir_typed_reader_init(struct weir_typed_reader *reader, const struct weir_typed *to, const char *from,
                                struct weir_error *error);
void weir_typed_reader_fini(struct weir_typed_reader *reader);
/* Reads one value at *at, which moves behind it. Strings of the struct point into the bytes (or to defaults). False: the bytes are no such
 * value. */
bool weir_typed_read(const struct weir_typed_reader *reader, const uint8_t **at, const uint8_t *end, void *row);
/* Only moves behind it. */
bool weir_typed_skip(const struct weir_typed_reader *reader, const uint8_t **at, const uint8_t *end);

#endif
