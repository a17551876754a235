/* For tests of columnar data: a seeded generator and random batches of every type, NULLs included. */
#ifndef WEIR_TESTS_DATA_RANDOM_H
#define WEIR_TESTS_DATA_RANDOM_H

#include <math.h>
#include <string.h>

#include "data/batch.h"
#include "data/value_code.h"

struct random {
    uint64_t state;
};

static inline uint64_t random_next(struct random *random)
{
    uint64_t z = (random->state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline int random_below(struct random *random, int bound)
{
    return (int)(random_next(random) % (uint64_t)bound);
}

#define ALL_TYPES_SCHEMA \
    "b BOOLEAN, i8 TINYINT, i16 SMALLINT, i32 INT, i64 BIGINT, f FLOAT, d DOUBLE, s STRING, y BYTES, dt DATE, " \
    "t TIME(3), ts TIMESTAMP(3)"
#define ALL_TYPES_SCHEMA_NOT_NULL \
    "b BOOLEAN NOT NULL, i8 TINYINT NOT NULL, i16 SMALLINT NOT NULL, i32 INT NOT NULL, i64 BIGINT NOT NULL, " \
    "f FLOAT NOT NULL, d DOUBLE NOT NULL, s STRING NOT NULL, y BYTES NOT NULL, dt DATE NOT NULL, " \
    "t TIME(3) NOT NULL, ts TIMESTAMP(3) NOT NULL"

/* The other types: those that may be keys, and maps. To be put behind the ones above. */
#define KEYABLE_TYPES_SCHEMA \
    ", l TIMESTAMP_LTZ(3), big DECIMAL(38, 10), small DECIMAL(5, 2) NOT NULL, arr ARRAY<INT>, " \
    "names ARRAY<STRING NOT NULL> NOT NULL, rec ROW<a BIGINT, b ARRAY<DOUBLE>, c BOOLEAN NOT NULL>, " \
    "deep ARRAY<ARRAY<ROW<x DATE, y BOOLEAN>>>"
#define MAP_TYPES_SCHEMA \
    ", m MAP<STRING NOT NULL, BIGINT>, mm ROW<m MAP<STRING NOT NULL, MAP<STRING NOT NULL, DECIMAL(20, 4)>>> NOT NULL"

static inline void random_field(struct random *random, struct weir_batch *batch, int i, int row, int null_one_in);

static inline double random_double(struct random *random)
{
    static const double special[] = {0.0, -0.0, 1.0, -1.5, 1e308, -1e308, 5e-324, 0.1, 1e15, 123456.789};
    if (random_below(random, 4) == 0)
        return special[random_below(random, 10)];
    return (double)(int64_t)random_next(random) / (double)(1 + random_below(random, 1000000));
}

static inline void random_value(struct random *random, struct weir_column *column, int row)
{
    uint8_t bytes[64];
    size_t size;
    int elements;
    switch (column->type) {
    case WEIR_TYPE_DECIMAL: /* of five digits: fits any precision that is used here */
        column->decimals[row] = weir_decimal_of(random_below(random, 199999) - 99999);
        break;
    case WEIR_TYPE_ARRAY:
    case WEIR_TYPE_MAP:
        weir_column_list_begin(column, row);
        for (elements = random_below(random, 5); elements > 0; elements--) {
            int at = weir_column_element(column);
            for (int i = 0; i < column->child->schema->field_count; i++)
                random_field(random, column->child, i, at, 4);
            weir_column_element_done(column);
        }
        weir_column_list_end(column, row);
        if (column->type == WEIR_TYPE_MAP)
            weir_map_unique(column, row);
        break;
    case WEIR_TYPE_ROW:
        weir_column_row_begin(column, row);
        for (int i = 0; i < column->child->schema->field_count; i++)
            random_field(random, column->child, i, row, 4);
        weir_column_row_end(column, row);
        break;
    case WEIR_TYPE_BOOLEAN:
        weir_bit_put(column->bits, row, random_next(random) & 1);
        break;
    case WEIR_TYPE_INT8:
        column->i8[row] = (int8_t)random_next(random);
        break;
    case WEIR_TYPE_INT16:
        column->i16[row] = (int16_t)random_next(random);
        break;
    case WEIR_TYPE_INT32:
        column->i32[row] = (int32_t)random_next(random);
        break;
    case WEIR_TYPE_INT64:
        column->i64[row] = random_below(random, 2) ? (int64_t)random_next(random) : random_below(random, 100) - 50;
        break;
    case WEIR_TYPE_FLOAT:
        column->f32[row] = (float)(random_double(random) / 1e290);
        break;
    case WEIR_TYPE_DOUBLE:
        column->f64[row] = random_double(random);
        break;
    case WEIR_TYPE_DATE:
        column->i32[row] = random_below(random, 3652059) - 719162; /* 0001-01-01 .. 9999-12-31 */
        break;
    case WEIR_TYPE_TIME:
        column->i32[row] = random_below(random, 86400000);
        break;
    case WEIR_TYPE_TIMESTAMP:
    case WEIR_TYPE_TIMESTAMP_LTZ:
        column->i64[row] = (int64_t)(random_next(random) % 315537897600000u) - 62135596800000;
        break;
    case WEIR_TYPE_STRING:
        size = 0;
        for (int n = random_below(random, 12); n > 0; n--) {
            static const char *const parts[] = {"a",
                                                "Z",
                                                "9",
                                                "\"",
                                                "\\",
                                                "\n",
                                                "\t",
                                                "\x01",
                                                "\x7f",
                                                "\xc3\xa9",
                                                "/",
                                                "\xe2\x82\xac",
                                                "\xf0\x9f\x98\x80",
                                                " ",
                                                "device",
                                                ",",
                                                ";",
                                                "'"};
            const char *part = parts[random_below(random, 18)];
            if (size + strlen(part) <= sizeof bytes) {
                memcpy(bytes + size, part, strlen(part));
                size += strlen(part);
            }
        }
        weir_column_set_bytes(column, row, bytes, size);
        break;
    default: /* BYTES */
        size = (size_t)random_below(random, 40);
        for (size_t i = 0; i < size; i++)
            bytes[i] = (uint8_t)random_next(random);
        weir_column_set_bytes(column, row, bytes, size);
    }
}

static inline void random_field(struct random *random, struct weir_batch *batch, int i, int row, int null_one_in)
{
    bool null = batch->schema->fields[i].type.nullable && null_one_in && random_below(random, null_one_in) == 0;
    if (null)
        weir_column_set_null(&batch->columns[i], row, batch->row_capacity);
    else
        random_value(random, &batch->columns[i], row);
}

/* Nullable columns get NULLs in one row of `null_one_in`, 0: none. */
static inline struct weir_batch *random_batch(struct random *random, struct weir_schema *schema, int row_count,
                                              int null_one_in)
{
    struct weir_batch *batch = weir_batch_new(schema, row_count > 0 ? row_count : 1);
    for (int row = 0; row < row_count; row++) {
        for (int i = 0; i < schema->field_count; i++)
            random_field(random, batch, i, row, null_one_in);
        batch->row_count = row + 1;
    }
    return batch;
}

/* Same NULL or same value, by bits (so that -0.0 and 0.0 differ). */
static inline bool same_value(const struct weir_column *a, int row_a, const struct weir_column *b, int row_b)
{
    if (a->type != b->type || weir_column_is_null(a, row_a) != weir_column_is_null(b, row_b))
        return false;
    if (weir_column_is_null(a, row_a))
        return true;
    if (a->type == WEIR_TYPE_BOOLEAN)
        return weir_bit_get(a->bits, row_a) == weir_bit_get(b->bits, row_b);
    if (weir_type_is_variable(a->type)) {
        size_t size_a, size_b;
        const uint8_t *bytes_a = weir_column_bytes(a, row_a, &size_a), *bytes_b = weir_column_bytes(b, row_b, &size_b);
        return size_a == size_b && memcmp(bytes_a, bytes_b, size_a) == 0;
    }
    if (a->child) {
        bool list = weir_type_is_list(a->type);
        int first_a = list ? a->offsets[row_a] : row_a, first_b = list ? b->offsets[row_b] : row_b;
        int count = list ? a->offsets[row_a + 1] - first_a : 1;
        bool same = !list || count == b->offsets[row_b + 1] - first_b;
        for (int i = 0; same && i < count; i++) {
            for (int field = 0; same && field < a->child->schema->field_count; field++)
                same = same_value(&a->child->columns[field], first_a + i, &b->child->columns[field], first_b + i);
        }
        return same;
    }
    size_t width = (size_t)weir_type_width(a->type);
    return memcmp((const uint8_t *)a->values + (size_t)row_a * width,
                  (const uint8_t *)b->values + (size_t)row_b * width, width) == 0;
}

static inline bool same_row(const struct weir_batch *a, int row_a, const struct weir_batch *b, int row_b)
{
    for (int i = 0; i < a->schema->field_count; i++) {
        if (!same_value(&a->columns[i], row_a, &b->columns[i], row_b))
            return false;
    }
    return (a->change ? a->change[row_a] : 0) == (b->change ? b->change[row_b] : 0);
}

#endif
