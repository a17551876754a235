/* Private to the Avro format: schemas compiled to programs, which read and write records.
 *
 * A program is a tree of steps, one for each value of the schema that the bytes were written with, in its order. A step says what to do with the
 * value: skip it, or store it into a column (or a column of a ROW, an element of a list). It is made once for a (writer's schema, columns) and then only read.
 */
#ifndef WEIR_FORMAT_AVRO_INT_H
#define WEIR_FORMAT_AVRO_INT_H

#include "data/batch.h"
#include "format/avro_schema.h"

enum weir_avro_op {
    /* not wanted */
    WEIR_AVRO_SKIP,        /* by `writer` */
    WEIR_AVRO_SKIP_VARINT, /* int, long, enum */
    WEIR_AVRO_SKIP_SIZED,  /* bytes, string */
    WEIR_AVRO_SKIP_FIXED,  /* `size` bytes */
    WEIR_AVRO_SKIP_OPTION, /* a union of null (branch `column`) and what parts[0] skips */
    /* structure */
    WEIR_AVRO_TO_NULL,  /* no bytes, NULL */
    WEIR_AVRO_NULLABLE, /* a union of null (branch `size`) and parts[0] */
    WEIR_AVRO_BRANCHES, /* another union */
    WEIR_AVRO_REFUSE,   /* a branch that the column cannot take: `text` says why */
    WEIR_AVRO_TO_ROW,
    WEIR_AVRO_TO_ARRAY,
    WEIR_AVRO_TO_MAP,
    /* scalars: from int or long unless the name says otherwise */
    WEIR_AVRO_TO_BOOLEAN, /* from boolean */
    WEIR_AVRO_TO_INT,     /* of any width, range checked */
    WEIR_AVRO_TO_INT64,
    WEIR_AVRO_INT_TO_FLOAT,
    WEIR_AVRO_INT_TO_DOUBLE,
    WEIR_AVRO_FLOAT_TO_FLOAT,
    WEIR_AVRO_FLOAT_TO_DOUBLE,
    WEIR_AVRO_DOUBLE_TO_DOUBLE,
    WEIR_AVRO_TO_STRING, /* from string or bytes */
    WEIR_AVRO_TO_BYTES,  /* from string or bytes */
    WEIR_AVRO_FIXED_TO_BYTES,
    WEIR_AVRO_UUID_TO_STRING, /* from fixed(16) */
    WEIR_AVRO_ENUM_TO_STRING,
    WEIR_AVRO_TO_DATE,
    WEIR_AVRO_TO_TIME,
    WEIR_AVRO_TO_TIMESTAMP,
    WEIR_AVRO_BYTES_TO_DECIMAL,
    WEIR_AVRO_FIXED_TO_DECIMAL,
};

struct weir_avro_step;
/* A column that the writer does not know: NULL, or a value of the reader's schema, encoded. */
struct weir_avro_missing {
    int column;
    const uint8_t *bytes; /* NULL: NULL */
    size_t size;
    const struct weir_avro_step *step;
};

struct weir_avro_step {
    enum weir_avro_op op;
    int column;                   /* in the batch (or the ROW's child); -1: none */
    int size;                     /* fixed: bytes; NULLABLE: the branch of null */
    int divisor;                  /* TIME, TIMESTAMP: units of the number in 1 ms */
    const struct weir_type *type; /* of what is stored */
    const char *path;             /* for messages: "order.items[].price" */
    const char *text;             /* REFUSE */
    const struct weir_avro_node *writer;
    int part_count;
    struct weir_avro_step *parts; /* TO_ROW: fields; TO_ARRAY, TO_MAP, NULLABLE: one; BRANCHES: all */
    int missing_count;
    struct weir_avro_missing *missing; /* TO_ROW */
    const char **symbols;              /* ENUM_TO_STRING: by the writer's number; NULL: the reader has none */
};

struct weir_avro_reader {
    struct weir_avro_step root; /* TO_ROW of the whole record */
    struct weir_arena memory;
};

/* From records of schema `writer` to `columns`. `reader`: a schema between them, whose fields' aliases and defaults count; NULL: the columns' own names, and
 * NULL for what is missing. All three outlive the program. INVALID: they do not fit; the message says which field, and why. */
weir_err weir_avro_reader_new(const struct weir_avro_schema *writer, const struct weir_avro_schema *reader,
                              const struct weir_schema *columns, struct weir_avro_reader **program,
                              struct weir_error *error);
void weir_avro_reader_free(struct weir_avro_reader *program); /* NULL is allowed */
/* One record into row `batch->row_count`, which is raised. DATA: nothing was added. */
weir_err weir_avro_read(const char *format, const struct weir_avro_reader *program, const uint8_t *bytes, size_t size,
                        struct weir_batch *batch, struct weir_error *error);

/* A default value, as JSON, encoded as `node` is; false: it is no value of that. Of a union it is the first branch that takes it. */
bool weir_avro_put_default(const struct weir_avro_node *node, const json_t *value, struct weir_buf *out);

struct weir_avro_writer;
/* From rows of `columns` to records of `schema`, which both outlive the program. */
weir_err weir_avro_writer_new(const struct weir_avro_schema *schema, const struct weir_schema *columns,
                              struct weir_avro_writer **program, struct weir_error *error);
void weir_avro_writer_free(struct weir_avro_writer *program); /* NULL is allowed */
/* Appends row `row`. FULL; DATA: a value that the schema cannot have; the caller takes back what was appended. */
weir_err weir_avro_write(const char *format, const struct weir_avro_writer *program, const struct weir_batch *batch,
                         int row, struct weir_buf *out, struct weir_error *error);

#endif
