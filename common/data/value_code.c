/* Values as bytes (value_code.h). Pure. Recursion goes as deep as the type is nested, which is bounded. */
#include "data/value_code.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "data/order_int.h"

static size_t fixed_size(enum weir_type_id type)
{
    return type == WEIR_TYPE_BOOLEAN ? 1 : (size_t)weir_type_width(type);
}

/* The rows of its child that a nested value has. */
static void elements(const struct weir_column *column, int row, int *first, int *last)
{
    bool list = weir_type_is_list(column->type);
    *first = list ? column->offsets[row] : row;
    *last = list ? column->offsets[row + 1] : row + 1;
}

size_t weir_value_size(const struct weir_column *column, int row)
{
    int first, last;
    if (weir_column_is_null(column, row))
        return 1;
    if (weir_type_is_variable(column->type))
        return 5 + (size_t)(column->offsets[row + 1] - column->offsets[row]);
    if (!weir_type_is_nested(column->type))
        return 1 + fixed_size(column->type);
    const struct weir_batch *child = column->child;
    size_t size = weir_type_is_list(column->type) ? 5 : 1;
    elements(column, row, &first, &last);
    for (int i = first; i < last; i++) {
        for (int field = 0; field < child->schema->field_count; field++)
            size += weir_value_size(&child->columns[field], i);
    }
    return size;
}

static uint8_t *put_fixed(const struct weir_column *column, int row, bool canonical, uint8_t *at)
{
    switch (column->type) {
    case WEIR_TYPE_BOOLEAN:
        *at = weir_bit_get(column->bits, row);
        break;
    case WEIR_TYPE_INT8:
        *at = order_i8(column->i8[row]);
        break;
    case WEIR_TYPE_INT16:
        put_be16(at, order_i16(column->i16[row]));
        break;
    case WEIR_TYPE_FLOAT:
        put_be32(at, canonical ? order_f32(column->f32[row]) : order_f32_bits(column->f32[row]));
        break;
    case WEIR_TYPE_DOUBLE:
        put_be64(at, canonical ? order_f64(column->f64[row]) : order_f64_bits(column->f64[row]));
        break;
    case WEIR_TYPE_INT64:
    case WEIR_TYPE_TIMESTAMP:
    case WEIR_TYPE_TIMESTAMP_LTZ:
        put_be64(at, order_i64(column->i64[row]));
        break;
    case WEIR_TYPE_DECIMAL:
        put_be_decimal(at, column->decimals[row]);
        break;
    default: /* INT32, DATE, TIME */
        put_be32(at, order_i32(column->i32[row]));
    }
    return at + fixed_size(column->type);
}

uint8_t *weir_value_put(const struct weir_column *column, int row, bool canonical, uint8_t *at)
{
    int first, last;
    if (weir_column_is_null(column, row)) {
        *at++ = 0;
        return at;
    }
    *at++ = 1;
    if (weir_type_is_variable(column->type)) {
        size_t size;
        const uint8_t *bytes = weir_column_bytes(column, row, &size);
        put_be32(at, (uint32_t)size);
        if (size > 0)
            memcpy(at + 4, bytes, size);
        return at + 4 + size;
    }
    if (!weir_type_is_nested(column->type))
        return put_fixed(column, row, canonical, at);
    const struct weir_batch *child = column->child;
    elements(column, row, &first, &last);
    if (weir_type_is_list(column->type)) {
        put_be32(at, (uint32_t)(last - first));
        at += 4;
    }
    for (int i = first; i < last; i++) {
        for (int field = 0; field < child->schema->field_count; field++)
            at = weir_value_put(&child->columns[field], i, canonical, at);
    }
    return at;
}

static void take_fixed(struct weir_column *to, int row, const uint8_t *bytes)
{
    uint64_t bits64;
    uint32_t bits32;
    switch (to->type) {
    case WEIR_TYPE_BOOLEAN:
        weir_bit_put(to->bits, row, bytes[0] != 0);
        break;
    case WEIR_TYPE_INT8:
        to->i8[row] = (int8_t)(bytes[0] ^ 0x80u);
        break;
    case WEIR_TYPE_INT16:
        to->i16[row] = (int16_t)(uint16_t)(get_be(bytes, 2) ^ 0x8000u);
        break;
    case WEIR_TYPE_FLOAT:
        bits32 = (uint32_t)get_be(bytes, 4);
        bits32 = bits32 >> 31 ? bits32 & ~((uint32_t)1 << 31) : ~bits32;
        memcpy(&to->f32[row], &bits32, sizeof bits32);
        break;
    case WEIR_TYPE_DOUBLE:
        bits64 = get_be(bytes, 8);
        bits64 = bits64 >> 63 ? bits64 & ~((uint64_t)1 << 63) : ~bits64;
        memcpy(&to->f64[row], &bits64, sizeof bits64);
        break;
    case WEIR_TYPE_INT64:
    case WEIR_TYPE_TIMESTAMP:
    case WEIR_TYPE_TIMESTAMP_LTZ:
        to->i64[row] = (int64_t)(get_be(bytes, 8) ^ (uint64_t)1 << 63);
        break;
    case WEIR_TYPE_DECIMAL:
        to->decimals[row] = get_be_decimal(bytes);
        break;
    default: /* INT32, DATE, TIME */
        to->i32[row] = (int32_t)((uint32_t)get_be(bytes, 4) ^ (uint32_t)1 << 31);
    }
}

static bool take_nested(struct weir_column *to, int row, const uint8_t **at, const uint8_t *end)
{
    struct weir_batch *child = to->child;
    bool list = weir_type_is_list(to->type);
    uint64_t count = 1;
    if (list) {
        if (end - *at < 4)
            return false;
        count = get_be(*at, 4);
        *at += 4;
        if (count > (uint64_t)(end - *at)) /* each has a flag at least */
            return false;
        weir_column_list_begin(to, row);
    } else {
        weir_column_row_begin(to, row);
    }
    for (uint64_t i = 0; i < count; i++) {
        int element = list ? weir_column_element(to) : row;
        for (int field = 0; field < child->schema->field_count; field++) {
            if (!weir_value_take(&child->columns[field], &child->schema->fields[field].type, element,
                                 child->row_capacity, at, end))
                return false;
        }
        child->row_count = element + 1;
    }
    if (list)
        weir_column_list_end(to, row);
    return true;
}

bool weir_value_take(struct weir_column *to, const struct weir_type *type, int row, int row_capacity,
                     const uint8_t **at, const uint8_t *end)
{
    weir_assert(to->type == type->id);
    if (*at == end || **at > 1)
        return false;
    if (*(*at)++ == 0) {
        if (!type->nullable)
            return false;
        weir_column_set_null(to, row, row_capacity);
        return true;
    }
    size_t left = (size_t)(end - *at), size = fixed_size(type->id);
    if (weir_type_is_nested(type->id))
        return take_nested(to, row, at, end);
    if (weir_type_is_variable(type->id)) {
        if (left < 4)
            return false;
        size = (size_t)get_be(*at, 4);
        *at += 4;
        left -= 4;
    }
    if (left < size)
        return false;
    if (weir_type_is_variable(type->id))
        weir_column_set_bytes(to, row, *at, size);
    else
        take_fixed(to, row, *at);
    *at += size;
    return true;
}

/* --- Maps */

/* What entry `i` is called: the first with its key. `table` is open addressing over `mask` + 1 places, -1: free. */
static int first_with_key(const struct weir_column *keys, int first, int i, int32_t *table, uint32_t mask,
                          struct weir_buf *scratch)
{
    size_t size = weir_value_size(keys, first + i);
    weir_buf_clear(scratch);
    bool reserved = weir_buf_reserve(scratch, size);
    weir_assert(reserved); /* a value's bytes are bounded by its column's */
    weir_value_put(keys, first + i, true, scratch->data);
    uint32_t at = (uint32_t)weir_xxh3(scratch->data, size);
    for (;; at++) {
        int32_t *place = &table[at & mask];
        if (*place < 0)
            *place = i;
        if (*place == i || weir_value_equal(keys, first + *place, keys, first + i))
            return *place;
    }
}

void weir_map_unique(struct weir_column *column, int row)
{
    int first = column->offsets[row], count = column->offsets[row + 1] - first, kept = 0;
    if (count < 2)
        return;
    uint32_t size = 4;
    while (size < 2 * (uint32_t)count)
        size *= 2;
    int32_t *table = weir_alloc(size * sizeof *table);
    int32_t *last =
        weir_alloc((size_t)count * sizeof *last); /* of each first entry: the one whose value counts; -1: no first */
    struct weir_buf scratch;
    weir_buf_init(&scratch, (size_t)INT32_MAX);
    memset(table, 0xff, size * sizeof *table);
    for (int i = 0; i < count; i++) {
        int is = first_with_key(&column->child->columns[0], first, i, table, size - 1, &scratch);
        last[i] = -1;
        last[is] = first + i;
    }
    for (int i = 0; i < count; i++) {
        if (last[i] >= 0)
            last[kept++] = last[i];
    }
    if (kept < count) {
        struct weir_batch *entries = weir_batch_gather(column->child, last, kept);
        for (int i = 0; i < kept; i++)
            last[i] = i;
        weir_column_list_begin(column, row);
        weir_batch_append_rows(column->child, entries, last, kept);
        weir_column_list_end(column, row);
        weir_batch_unref(entries);
    }
    weir_buf_fini(&scratch);
    free(last);
    free(table);
}

/* --- Equality */

static bool row_equal(const struct weir_batch *a, int a_row, const struct weir_batch *b, int b_row)
{
    for (int i = 0; i < a->schema->field_count; i++) {
        if (!weir_value_equal(&a->columns[i], a_row, &b->columns[i], b_row))
            return false;
    }
    return true;
}

/* Every key is once in a map, so that each entry of `a` has at most one like it in `b`. */
static bool map_equal(const struct weir_column *a, int a_row, const struct weir_column *b, int b_row)
{
    int b_first = b->offsets[b_row], count = b->offsets[b_row + 1] - b_first;
    for (int i = 0; i < count; i++) {
        int entry = a->offsets[a_row] + i, found = b_first + i; /* mostly at the same place */
        for (int k = 0; k < count && !row_equal(a->child, entry, b->child, found); k++)
            found = b_first + (i + k + 1) % count;
        if (!row_equal(a->child, entry, b->child, found))
            return false;
    }
    return true;
}

static bool nested_equal(const struct weir_column *a, int a_row, const struct weir_column *b, int b_row)
{
    if (a->type == WEIR_TYPE_ROW)
        return row_equal(a->child, a_row, b->child, b_row);
    int a_first = a->offsets[a_row], b_first = b->offsets[b_row], count = a->offsets[a_row + 1] - a_first;
    if (count != b->offsets[b_row + 1] - b_first)
        return false;
    if (a->type == WEIR_TYPE_MAP)
        return map_equal(a, a_row, b, b_row);
    for (int i = 0; i < count; i++) {
        if (!row_equal(a->child, a_first + i, b->child, b_first + i))
            return false;
    }
    return true;
}

bool weir_value_equal(const struct weir_column *a, int a_row, const struct weir_column *b, int b_row)
{
    bool null = weir_column_is_null(a, a_row);
    if (a->type != b->type || null != weir_column_is_null(b, b_row))
        return false;
    if (null)
        return true;
    switch (a->type) {
    case WEIR_TYPE_BOOLEAN:
        return weir_bit_get(a->bits, a_row) == weir_bit_get(b->bits, b_row);
    case WEIR_TYPE_FLOAT:
        return a->f32[a_row] == b->f32[b_row];
    case WEIR_TYPE_DOUBLE:
        return a->f64[a_row] == b->f64[b_row];
    default:
        break;
    }
    if (weir_type_is_nested(a->type))
        return nested_equal(a, a_row, b, b_row);
    if (weir_type_is_variable(a->type)) {
        size_t n, m;
        const uint8_t *x = weir_column_bytes(a, a_row, &n), *y = weir_column_bytes(b, b_row, &m);
        return n == m && (n == 0 || memcmp(x, y, n) == 0);
    }
    size_t width = (size_t)weir_type_width(a->type);
    return memcmp((const uint8_t *)a->values + (size_t)a_row * width,
                  (const uint8_t *)b->values + (size_t)b_row * width, width) == 0;
}
