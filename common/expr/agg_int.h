/* Private to common/expr: compiled aggregates and the layout of their accumulators (8-byte aligned, zero at first). */
#ifndef WEIR_EXPR_AGG_INT_H
#define WEIR_EXPR_AGG_INT_H

#include "expr/agg.h"
#include "expr/expr_int.h"

#define AGG_DEFS_MAX 512

enum agg_kind { AGG_COUNT, AGG_SUM, AGG_MIN, AGG_MAX, AGG_AVG, AGG_FIRST, AGG_LAST };

union accumulator {
    int64_t count; /* COUNT: 8 bytes; the others have 16, of DECIMAL 24 */
    struct {
        union {
            int64_t i; /* SUM and AVG of integers wrap at 64 bits, and at the type's width in the result */
            double d;  /* also of FLOAT: summed in double */
        };
        int64_t seen; /* values so far; MIN, MAX, FIRST, LAST: 0 or 1 */
    } number;
    struct {
        struct weir_decimal value;
        int64_t seen; /* as above; DECIMAL_OVERFLOW: the sum had over 38 digits, and stays NULL */
    } decimal;
    struct {
        uint8_t *bytes; /* in the heap; NULL: no value yet. Of ARRAY, MAP, ROW its encoding (data/value_code.h) */
        uint32_t size;
        uint32_t capacity;
    } text;
};

#define DECIMAL_OVERFLOW INT64_MIN

struct agg_def {
    enum agg_kind kind;
    struct weir_expr *arg;    /* NULL: rows are counted */
    struct weir_expr *filter; /* NULL: none */
    struct weir_type type;    /* of the result */
    enum phys phys;           /* of argument and result; not for COUNT */
    uint8_t scale;            /* DECIMAL: of the argument, and of the sum */
    size_t offset;            /* in the accumulator */
};

struct weir_agg {
    struct weir_schema *input;
    struct weir_schema *schema; /* of the result */
    struct weir_schema *inner;  /* keys, window bounds, aggregates */
    int inner_fixed;            /* columns before the aggregates */
    struct weir_key_spec keys;
    bool windowed;
    int def_count;
    struct agg_def *defs;
    int item_count;
    struct weir_expr **items; /* over `inner` */
    size_t accumulator_size;
};

#endif
