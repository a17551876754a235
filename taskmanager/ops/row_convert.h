/* Row structs of the SDK <-> columns, a block of rows at a time. */
#ifndef WEIR_OPS_ROW_CONVERT_H
#define WEIR_OPS_ROW_CONVERT_H

#include "ops/ops_int.h"
#include "weir/weir.h"

/* One field of a struct and the column that it is read from or written to. */
struct weir_row_converter_field {
    enum weir_type_id type;
    int column;
    int width; /* bytes of a fixed value; 0: BOOLEAN or a string */
    uint32_t offset;
    uint64_t null_bit; /* in weir_nulls[0] */
    bool nullable;
    const char *name;
};
struct weir_row_converter {
    size_t row_size;
    int nulls_offset; /* -1: none */
    int field_count;
    bool has_strings;
    uint64_t never_null;                     /* bits of the fields that are NOT NULL */
    struct weir_row_converter_field *fields; /* fixed ones first, strings behind */
    int fixed_count;
};

/* Does the input have the columns of a row struct, given as a column list by this option, with types that fit? */
weir_err weir_row_check_columns(const char *option, const char *text, const struct weir_schema *input,
                                struct weir_error *error);
/* Field i of the row type <-> the schema's column of that name. The row type was checked when the graph was built; what the schema
 * says now must still agree with it. `fields` is the caller's to free, also after an error. */
weir_err weir_row_converter_init(struct weir_row_converter *converter, const struct weir_row_type *type,
                                 const struct weir_schema *schema, struct weir_error *error);
/* Rows [first, first + count) of the batch into structs; strings point into the batch. */
void weir_row_load(const struct weir_row_converter *converter, const struct weir_batch *batch, int first, int count,
                   uint8_t *rows);
/* The fixed fields of `count` structs, whose NULLs were checked, into rows at.. of the batch. */
void weir_row_store_fixed(const struct weir_row_converter *converter, const uint8_t *rows, int count,
                          struct weir_batch *batch, int at);
/* The strings of one struct into row `at`; *bytes grows by their sizes. USER_CODE: what the function left cannot be a value. */
weir_err weir_row_store_strings(const struct weir_row_converter *converter, const uint8_t *row,
                                struct weir_batch *batch, int at, size_t *bytes, struct weir_error *error);
/* Names a field that is NOT NULL and was left NULL. */
weir_err weir_row_null_error(const struct weir_row_converter *converter, uint64_t wrong, struct weir_error *error);

static inline uint64_t weir_row_nulls(const struct weir_row_converter *converter, const uint8_t *row)
{
    uint64_t nulls = 0;
    if (converter->nulls_offset >= 0)
        memcpy(&nulls, row + converter->nulls_offset, sizeof nulls);
    return nulls;
}

/* NULL in a NOT NULL field? */
static inline weir_err weir_row_check_nulls(const struct weir_row_converter *converter, const uint8_t *row,
                                            struct weir_error *error)
{
    uint64_t wrong = weir_row_nulls(converter, row) & converter->never_null;
    return __builtin_expect(wrong == 0, 1) ? WEIR_OK : weir_row_null_error(converter, wrong, error);
}

#endif
