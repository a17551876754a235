/* Batches: building, sharing, and moving rows between them, column by column.
 *
 * Data path: called by every operator that keeps or drops rows and by every exchange, once per batch. A batch belongs
 * to the thread that builds it until it is handed on; from then on it is immutable and its counts are atomic.
 * Invariant: offsets[0] of a column made here is 0 (a decoded one may start elsewhere: only differences count), and a
 * column's bytes hold at least offsets[rows].
 * The memory comes from buffer.c.
 */
#include "data/batch.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "data/decimal.h"
#include "data/time_text.h"

/* Strings are copied in blocks of this size where source and target have room to overrun. */
#define COPY_BLOCK 16
#define BYTES_PER_ROW_GUESS 16
/* Elements that the child of a new ARRAY or MAP has room for. */
#define ELEMENTS_GUESS 64
/* int32 offsets: a column's bytes stay under this. */
#define COLUMN_BYTES_MAX ((size_t)INT32_MAX - 4096)

/* --- Bitmaps */

int weir_bitmap_count(const uint64_t *bits, int count)
{
    int words = count / 64, rest = count % 64, set = 0;
    for (int i = 0; i < words; i++)
        set += __builtin_popcountll(bits[i]);
    if (rest > 0)
        set += __builtin_popcountll(bits[words] & (((uint64_t)1 << rest) - 1));
    return set;
}

/* Copies bits [first, first + count) of `from` to the start of `to`, in whole words. */
static void bits_slice(uint64_t *to, const uint64_t *from, int first, int count)
{
    size_t words = weir_bitmap_words(count);
    int shift = first & 63;
    from += first >> 6;
    if (shift == 0) {
        memcpy(to, from, words * 8);
        return;
    }
    size_t last = ((size_t)shift + (size_t)count - 1) / 64; /* last word that holds a wanted bit */
    for (size_t i = 0; i < words; i++)
        to[i] = from[i] >> shift | (i + 1 <= last ? from[i + 1] << (64 - shift) : 0);
}

static void bits_gather(uint64_t *to, const uint64_t *from, const int32_t *rows, int count)
{
    for (int base = 0; base < count; base += 64) {
        int here = count - base < 64 ? count - base : 64;
        uint64_t word = 0;
        for (int i = 0; i < here; i++)
            word |= (from[rows[base + i] >> 6] >> (rows[base + i] & 63) & 1) << i;
        to[base >> 6] = word;
    }
}

/* --- Columns */

static bool has_offsets(enum weir_type_id type)
{
    return weir_type_is_variable(type) || weir_type_is_list(type);
}

static size_t values_size(enum weir_type_id type, int rows)
{
    if (type == WEIR_TYPE_BOOLEAN)
        return weir_bitmap_words(rows) * 8;
    if (has_offsets(type))
        return ((size_t)rows + 1) * sizeof(int32_t);
    return (size_t)rows * (size_t)weir_type_width(type);
}

static void init_bytes(struct weir_column *column, size_t size)
{
    column->bytes_buffer = weir_buffer_new(size + COPY_BLOCK);
    column->bytes = column->bytes_buffer->bytes;
}

/* Buffers of the right sizes; `bytes_size` is for STRING and BYTES. A child is the caller's matter. */
static void init_sized(struct weir_column *column, enum weir_type_id type, int rows, size_t bytes_size)
{
    weir_assert(type > WEIR_TYPE_NONE && type < WEIR_TYPE_IDS);
    memset(column, 0, sizeof *column);
    column->type = type;
    if (type == WEIR_TYPE_ROW)
        return;
    size_t size = values_size(type, rows);
    column->values_buffer = weir_buffer_new(size);
    column->values = column->values_buffer->bytes;
    if (type == WEIR_TYPE_BOOLEAN)
        memset(column->bits, 0, size); /* rows are set bit by bit: their words must be defined */
    if (has_offsets(type))
        column->offsets[0] = 0;
    if (weir_type_is_variable(type))
        init_bytes(column, bytes_size);
}

static struct weir_batch *batch_new(struct weir_schema *schema, int row_capacity);

static struct weir_schema *child_schema(const struct weir_type *type)
{
    return (struct weir_schema *)(uintptr_t)type->fields; /* interned: counted like any other, never freed */
}

void weir_column_init(struct weir_column *column, const struct weir_type *type, int row_capacity)
{
    init_sized(column, type->id, row_capacity, (size_t)row_capacity * BYTES_PER_ROW_GUESS);
    if (weir_type_is_nested(type->id))
        column->child = batch_new(child_schema(type), type->id == WEIR_TYPE_ROW ? row_capacity : ELEMENTS_GUESS);
}

void weir_column_share(struct weir_column *to, const struct weir_column *from)
{
    *to = *from;
    if (to->validity_buffer)
        weir_buffer_ref(to->validity_buffer);
    if (to->values_buffer)
        weir_buffer_ref(to->values_buffer);
    if (to->bytes_buffer)
        weir_buffer_ref(to->bytes_buffer);
    if (to->child)
        weir_batch_ref(to->child);
}

void weir_column_fini(struct weir_column *column)
{
    weir_buffer_unref(column->validity_buffer);
    weir_buffer_unref(column->values_buffer);
    weir_buffer_unref(column->bytes_buffer);
    weir_batch_unref(column->child);
    enum weir_type_id type = column->type;
    memset(column, 0, sizeof *column);
    column->type = type;
}

/* A bitmap that says "all valid". */
static void validity_new(struct weir_column *column, int row_capacity)
{
    size_t size = weir_bitmap_words(row_capacity) * 8;
    column->validity_buffer = weir_buffer_new(size);
    column->validity = memset(column->validity_buffer->bytes, 0xff, size);
}

void weir_column_set_null(struct weir_column *column, int row, int row_capacity)
{
    if (!column->validity)
        validity_new(column, row_capacity);
    weir_bit_clear(column->validity, row);
    switch (weir_type_width(column->type)) {
    case 1:
        column->i8[row] = 0;
        break;
    case 2:
        column->i16[row] = 0;
        break;
    case 4:
        column->i32[row] = 0;
        break;
    case 8:
        column->i64[row] = 0;
        break;
    case 16:
        column->decimals[row] = (struct weir_decimal){0, 0};
        break;
    default:
        if (column->type == WEIR_TYPE_BOOLEAN)
            weir_bit_clear(column->bits, row);
        else if (weir_type_is_nested(column->type))
            weir_column_skip(column, row);
        else
            column->offsets[row + 1] = column->offsets[row];
    }
}

/* Makes room for `used + size` bytes and an overrun, keeping the first `used`. */
static __attribute__((noinline)) void bytes_grow(struct weir_column *column, size_t used, size_t size)
{
    weir_assert(size <= COLUMN_BYTES_MAX && used <= COLUMN_BYTES_MAX - size);
    size_t wanted = used + size;
    size_t capacity = column->bytes_buffer ? column->bytes_buffer->capacity : 0;
    if (wanted < 2 * capacity)
        wanted = 2 * capacity;
    struct weir_buffer *buffer = weir_buffer_new(wanted + COPY_BLOCK);
    if (used > 0)
        memcpy(buffer->bytes, column->bytes, used);
    weir_buffer_unref(column->bytes_buffer);
    column->bytes_buffer = buffer;
    column->bytes = buffer->bytes;
}

static inline uint8_t *bytes_room(struct weir_column *column, size_t used, size_t size)
{
    if (used + size + COPY_BLOCK > column->bytes_buffer->capacity || size > COLUMN_BYTES_MAX)
        bytes_grow(column, used, size);
    return column->bytes + used;
}

uint8_t *weir_column_reserve_bytes(struct weir_column *column, int row, size_t size)
{
    size_t used = (size_t)column->offsets[row];
    uint8_t *to = bytes_room(column, used, size);
    column->offsets[row + 1] = (int32_t)(used + size);
    return to;
}

void weir_column_set_bytes(struct weir_column *column, int row, const void *bytes, size_t size)
{
    uint8_t *to = weir_column_reserve_bytes(column, row, size);
    if (size > 0)
        memcpy(to, bytes, size);
}

/* --- Nested columns */

/* Rows from `count` on are as if they had never been set. Values, bits and offsets are overwritten by whoever sets them;
 * only a cleared validity bit would stay, and what children hold. */
static void batch_truncate(struct weir_batch *batch, int count)
{
    weir_assert(count <= batch->row_count);
    for (int i = 0; i < batch->schema->field_count; i++) {
        struct weir_column *column = &batch->columns[i];
        if (column->validity) { /* the row after the last one may have been begun */
            for (int row = count; row <= batch->row_count && row < batch->row_capacity; row++)
                weir_bit_set(column->validity, row);
        }
        if (column->child)
            batch_truncate(column->child, column->type == WEIR_TYPE_ROW ? count : column->offsets[count]);
    }
    batch->row_count = count;
}

static void values_grow(struct weir_column *column, int from_rows, int rows)
{
    size_t size = values_size(column->type, from_rows), wanted = values_size(column->type, rows);
    struct weir_buffer *buffer = weir_buffer_new(wanted);
    memcpy(buffer->bytes, column->values, size);
    if (column->type == WEIR_TYPE_BOOLEAN)
        memset(buffer->bytes + size, 0, wanted - size);
    weir_buffer_unref(column->values_buffer);
    column->values_buffer = buffer;
    column->values = buffer->bytes;
}

/* Room for `wanted` rows in a child that is being built. */
static void batch_reserve(struct weir_batch *batch, int wanted)
{
    if (wanted <= batch->row_capacity)
        return;
    weir_assert(wanted <= INT32_MAX / 4);
    int from = batch->row_capacity, rows = wanted < 2 * from ? 2 * from : wanted;
    for (int i = 0; i < batch->schema->field_count; i++) {
        struct weir_column *column = &batch->columns[i];
        if (column->type == WEIR_TYPE_ROW)
            batch_reserve(column->child, rows);
        else
            values_grow(column, from, rows);
        if (column->validity) {
            struct weir_buffer *old = column->validity_buffer;
            uint64_t *bits = column->validity;
            validity_new(column, rows);
            memcpy(column->validity, bits, weir_bitmap_words(from) * 8);
            weir_buffer_unref(old);
        }
    }
    batch->row_capacity = rows;
}

void weir_column_list_begin(struct weir_column *column, int row)
{
    if (column->child->row_count > column->offsets[row])
        batch_truncate(column->child, column->offsets[row]);
    column->offsets[row + 1] = column->offsets[row];
}

int weir_column_element(struct weir_column *column)
{
    batch_reserve(column->child, column->child->row_count + 1);
    return column->child->row_count;
}

void weir_column_row_begin(struct weir_column *column, int row)
{
    batch_reserve(column->child, row + 1);
    batch_truncate(column->child, row);
}

/* Zero, empty or, where the type allows it, NULL: for a field of a row that is NULL. */
static void set_nothing(struct weir_column *column, const struct weir_type *type, int row, int row_capacity)
{
    int width = weir_type_width(type->id);
    if (type->nullable)
        weir_column_set_null(column, row, row_capacity);
    else if (width > 0)
        memset((uint8_t *)column->values + (size_t)row * (size_t)width, 0, (size_t)width);
    else if (type->id == WEIR_TYPE_BOOLEAN)
        weir_bit_clear(column->bits, row);
    else if (weir_type_is_nested(type->id))
        weir_column_skip(column, row);
    else
        column->offsets[row + 1] = column->offsets[row];
}

void weir_column_skip(struct weir_column *column, int row)
{
    if (weir_type_is_list(column->type)) {
        weir_column_list_begin(column, row);
        return;
    }
    struct weir_batch *child = column->child;
    weir_column_row_begin(column, row);
    for (int i = 0; i < child->schema->field_count; i++)
        set_nothing(&child->columns[i], &child->schema->fields[i].type, row, child->row_capacity);
    weir_column_row_end(column, row);
}

static void nested_set_value(struct weir_column *column, int row, const struct weir_column *from, int from_row)
{
    struct weir_batch *child = column->child;
    const struct weir_batch *source = from->child;
    bool list = weir_type_is_list(column->type);
    int first = list ? from->offsets[from_row] : from_row, last = list ? from->offsets[from_row + 1] : from_row + 1;
    if (list)
        weir_column_list_begin(column, row);
    else
        weir_column_row_begin(column, row);
    for (int element = first; element < last; element++) {
        int at = list ? weir_column_element(column) : row;
        for (int i = 0; i < child->schema->field_count; i++)
            weir_column_set_value(&child->columns[i], at, child->row_capacity, &source->columns[i], element);
        child->row_count = at + 1;
    }
    if (list)
        weir_column_list_end(column, row);
}

void weir_column_set_value(struct weir_column *column, int row, int row_capacity, const struct weir_column *from,
                           int from_row)
{
    size_t width = (size_t)weir_type_width(column->type), size;
    const uint8_t *bytes;
    weir_assert(column->type == from->type);
    if (weir_column_is_null(from, from_row)) {
        weir_column_set_null(column, row, row_capacity);
    } else if (width > 0) {
        memcpy((uint8_t *)column->values + (size_t)row * width,
               (const uint8_t *)from->values + (size_t)from_row * width, width);
    } else if (column->type == WEIR_TYPE_BOOLEAN) {
        weir_bit_put(column->bits, row, weir_bit_get(from->bits, from_row));
    } else if (weir_type_is_nested(column->type)) {
        nested_set_value(column, row, from, from_row);
    } else {
        bytes = weir_column_bytes(from, from_row, &size);
        weir_column_set_bytes(column, row, bytes, size);
    }
}

void weir_batch_undo_row(struct weir_batch *batch)
{
    batch_truncate(batch, batch->row_count);
}

/* --- Batches. The struct lies in a pooled buffer too: a batch costs no malloc in steady state. */

struct weir_batch *weir_batch_new_shell(struct weir_schema *schema, int row_count)
{
    size_t size = sizeof(struct weir_batch) + (size_t)schema->field_count * sizeof(struct weir_column);
    struct weir_batch *batch = (struct weir_batch *)(void *)weir_buffer_new(size)->bytes;
    memset(batch, 0, size);
    batch->refs = 1;
    batch->row_count = row_count;
    batch->row_capacity = row_count;
    batch->schema = weir_schema_ref(schema);
    for (int i = 0; i < schema->field_count; i++)
        batch->columns[i].type = schema->fields[i].type.id;
    return batch;
}

static struct weir_batch *batch_new(struct weir_schema *schema, int row_capacity)
{
    struct weir_batch *batch = weir_batch_new_shell(schema, 0);
    batch->row_capacity = row_capacity;
    for (int i = 0; i < schema->field_count; i++)
        weir_column_init(&batch->columns[i], &schema->fields[i].type, row_capacity);
    return batch;
}

struct weir_batch *weir_batch_new(struct weir_schema *schema, int row_capacity)
{
    weir_assert(row_capacity >= 1 && row_capacity <= WEIR_BATCH_ROWS_MAX);
    return batch_new(schema, row_capacity);
}

struct weir_batch *weir_batch_ref(struct weir_batch *batch)
{
    __atomic_fetch_add(&batch->refs, 1, __ATOMIC_RELAXED);
    return batch;
}

void weir_batch_unref(struct weir_batch *batch)
{
    if (!batch || __atomic_fetch_sub(&batch->refs, 1, __ATOMIC_ACQ_REL) != 1)
        return;
    for (int i = 0; i < batch->schema->field_count; i++)
        weir_column_fini(&batch->columns[i]);
    weir_buffer_unref(batch->change_buffer);
    weir_schema_unref(batch->schema);
    weir_buffer_unref((struct weir_buffer *)(void *)((uint8_t *)batch - offsetof(struct weir_buffer, bytes)));
}

size_t weir_batch_bytes(const struct weir_batch *batch)
{
    size_t bytes = batch->change ? (size_t)batch->row_count : 0;
    for (int i = 0; i < batch->schema->field_count; i++) {
        const struct weir_column *column = &batch->columns[i];
        if (column->child)
            bytes += weir_batch_bytes(column->child);
        if (!column->values)
            continue;
        bytes += values_size(column->type, batch->row_count);
        if (column->validity)
            bytes += weir_bitmap_words(batch->row_count) * 8;
        if (weir_type_is_variable(column->type))
            bytes += (size_t)(column->offsets[batch->row_count] - column->offsets[0]);
    }
    return bytes;
}

/* --- Moving rows */

#define GATHER_LOOP(type) \
    do { \
        const type *restrict from_values = from; \
        type *restrict to_values = to; \
        for (int i = 0; i < count; i++) \
            to_values[i] = from_values[rows[i]]; \
    } while (0)

static void fixed_gather(void *to, const void *from, int width, const int32_t *rows, int count)
{
    switch (width) {
    case 1:
        GATHER_LOOP(uint8_t);
        break;
    case 2:
        GATHER_LOOP(uint16_t);
        break;
    case 4:
        GATHER_LOOP(uint32_t);
        break;
    case 16:
        GATHER_LOOP(struct weir_decimal);
        break;
    default:
        GATHER_LOOP(uint64_t);
    }
}

/* May the last value of the column be read COPY_BLOCK bytes past its end? */
static bool may_overread(const struct weir_column *column, int row_count)
{
    const struct weir_buffer *buffer = column->bytes_buffer;
    if (!buffer || column->bytes < buffer->bytes)
        return false;
    size_t end = (size_t)(column->bytes - buffer->bytes) + (size_t)column->offsets[row_count] + COPY_BLOCK;
    return end <= buffer->capacity;
}

/* Copies the values of `rows` behind `used` bytes of `to` (which has room for them and COPY_BLOCK more), and writes
 * offsets[first + 1 ..]. */
static void strings_gather(struct weir_column *to, int first, const struct weir_column *from, int from_rows,
                           const int32_t *rows, int count)
{
    const int32_t *restrict offsets = from->offsets;
    const uint8_t *bytes = from->bytes;
    int32_t *restrict to_offsets = to->offsets + first;
    uint8_t *at = to->bytes + to_offsets[0], *base = to->bytes;
    bool blocks = may_overread(from, from_rows);
    for (int i = 0; i < count; i++) {
        int32_t start = offsets[rows[i]];
        size_t size = (size_t)(offsets[rows[i] + 1] - start);
        if (blocks && size <= COPY_BLOCK)
            memcpy(at, bytes + start, COPY_BLOCK);
        else if (size > 0)
            memcpy(at, bytes + start, size);
        at += size;
        to_offsets[i + 1] = (int32_t)(at - base);
    }
}

static size_t strings_size(const struct weir_column *column, const int32_t *rows, int count)
{
    const int32_t *offsets = column->offsets;
    size_t size = 0;
    for (int i = 0; i < count; i++)
        size += (size_t)(offsets[rows[i] + 1] - offsets[rows[i]]);
    return size;
}

/* Drops a bitmap that says nothing: kernels are faster without. */
static void validity_tidy(struct weir_column *column, int count)
{
    if (column->validity && weir_bitmap_count(column->validity, count) == count) {
        weir_buffer_unref(column->validity_buffer);
        column->validity_buffer = NULL;
        column->validity = NULL;
    }
}

/* Sets to->offsets[first + 1 ..] for the lists of `rows`, and returns the child's rows that they have; to be freed. */
static int32_t *elements_of(struct weir_column *to, int first, const struct weir_column *from, const int32_t *rows,
                            int count, int *total)
{
    int64_t size = 0;
    for (int i = 0; i < count; i++)
        size += from->offsets[rows[i] + 1] - from->offsets[rows[i]];
    weir_assert(size <= INT32_MAX / 4 - to->offsets[first]);
    int32_t *elements = weir_alloc(((size_t)size + 1) * sizeof *elements);
    int n = 0;
    for (int i = 0; i < count; i++) {
        for (int32_t element = from->offsets[rows[i]]; element < from->offsets[rows[i] + 1]; element++)
            elements[n++] = element;
        to->offsets[first + i + 1] = to->offsets[first] + n;
    }
    *total = n;
    return elements;
}

static void nested_gather(struct weir_column *to, const struct weir_column *from, const int32_t *rows, int count)
{
    if (from->type == WEIR_TYPE_ROW) {
        to->child = weir_batch_gather(from->child, rows, count);
        return;
    }
    int total;
    int32_t *elements = elements_of(to, 0, from, rows, count, &total);
    to->child = weir_batch_gather(from->child, elements, total);
    free(elements);
}

static void nested_append(struct weir_column *to, int first, const struct weir_column *from, const int32_t *rows,
                          int count)
{
    struct weir_batch *child = to->child;
    if (from->type == WEIR_TYPE_ROW) {
        batch_reserve(child, first + count);
        weir_batch_append_rows(child, from->child, rows, count);
        return;
    }
    int total;
    int32_t *elements = elements_of(to, first, from, rows, count, &total);
    batch_reserve(child, child->row_count + total);
    weir_batch_append_rows(child, from->child, elements, total);
    free(elements);
}

static void column_gather(struct weir_column *to, const struct weir_column *from, int from_rows, const int32_t *rows,
                          int count)
{
    bool variable = weir_type_is_variable(from->type);
    init_sized(to, from->type, count, variable ? strings_size(from, rows, count) : 0);
    if (variable)
        strings_gather(to, 0, from, from_rows, rows, count);
    else if (weir_type_is_nested(from->type))
        nested_gather(to, from, rows, count);
    else if (from->type == WEIR_TYPE_BOOLEAN)
        bits_gather(to->bits, from->bits, rows, count);
    else
        fixed_gather(to->values, from->values, weir_type_width(from->type), rows, count);
    if (from->validity) {
        validity_new(to, count);
        bits_gather(to->validity, from->validity, rows, count);
        validity_tidy(to, count);
    }
}

static void change_new(struct weir_batch *batch, int row_capacity)
{
    batch->change_buffer = weir_buffer_new((size_t)row_capacity);
    batch->change = memset(batch->change_buffer->bytes, WEIR_INSERT, (size_t)row_capacity);
}

struct weir_batch *weir_batch_gather(const struct weir_batch *batch, const int32_t *rows, int count)
{
    struct weir_batch *result = weir_batch_new_shell(batch->schema, count);
    result->origin_ns = batch->origin_ns;
    for (int i = 0; i < batch->schema->field_count; i++)
        column_gather(&result->columns[i], &batch->columns[i], batch->row_count, rows, count);
    if (batch->change && count > 0) {
        change_new(result, count);
        fixed_gather(result->change, batch->change, 1, rows, count);
    }
    return result;
}

struct weir_batch *weir_batch_filter(struct weir_batch *batch, const uint64_t *mask)
{
    int row_count = batch->row_count, count = 0;
    if (weir_bitmap_count(mask, row_count) == row_count)
        return weir_batch_ref(batch);
    weir_assert(row_count <= WEIR_BATCH_ROWS_MAX);
    int32_t rows[WEIR_BATCH_ROWS_MAX];
    for (int base = 0; base < row_count; base += 64) {
        uint64_t word = mask[base >> 6];
        if (row_count - base < 64)
            word &= ((uint64_t)1 << (row_count - base)) - 1;
        if (word == ~(uint64_t)0) {
            for (int i = 0; i < 64; i++)
                rows[count + i] = base + i;
            count += 64;
            continue;
        }
        for (; word != 0; word &= word - 1)
            rows[count++] = base + __builtin_ctzll(word);
    }
    return weir_batch_gather(batch, rows, count);
}

static void column_slice(struct weir_column *to, const struct weir_column *from, int first, int count)
{
    size_t width = (size_t)weir_type_width(from->type);
    if (weir_type_is_variable(from->type)) {
        int32_t start = from->offsets[first];
        size_t size = (size_t)(from->offsets[first + count] - start);
        init_sized(to, from->type, count, size);
        for (int i = 0; i <= count; i++)
            to->offsets[i] = from->offsets[first + i] - start;
        if (size > 0)
            memcpy(to->bytes, from->bytes + start, size);
    } else if (weir_type_is_list(from->type)) {
        int32_t start = from->offsets[first];
        init_sized(to, from->type, count, 0);
        for (int i = 0; i <= count; i++)
            to->offsets[i] = from->offsets[first + i] - start;
        to->child = weir_batch_slice(from->child, start, from->offsets[first + count] - start);
    } else if (from->type == WEIR_TYPE_ROW) {
        init_sized(to, from->type, count, 0);
        to->child = weir_batch_slice(from->child, first, count);
    } else {
        init_sized(to, from->type, count, 0);
        if (count > 0 && from->type == WEIR_TYPE_BOOLEAN)
            bits_slice(to->bits, from->bits, first, count);
        else if (count > 0)
            memcpy(to->values, (const uint8_t *)from->values + (size_t)first * width, (size_t)count * width);
    }
    if (from->validity && count > 0) {
        validity_new(to, count);
        bits_slice(to->validity, from->validity, first, count);
        validity_tidy(to, count);
    }
}

struct weir_batch *weir_batch_slice(const struct weir_batch *batch, int first, int count)
{
    weir_assert(first >= 0 && count >= 0 && first + count <= batch->row_count);
    struct weir_batch *result = weir_batch_new_shell(batch->schema, count);
    result->origin_ns = batch->origin_ns;
    for (int i = 0; i < batch->schema->field_count; i++)
        column_slice(&result->columns[i], &batch->columns[i], first, count);
    if (batch->change && count > 0) {
        change_new(result, count);
        memcpy(result->change, batch->change + first, (size_t)count);
    }
    return result;
}

static void column_append(struct weir_column *to, int first, int row_capacity, const struct weir_column *from,
                          int from_rows, const int32_t *rows, int count)
{
    int width = weir_type_width(from->type);
    if (weir_type_is_variable(from->type)) {
        (void)bytes_room(to, (size_t)to->offsets[first], strings_size(from, rows, count));
        strings_gather(to, first, from, from_rows, rows, count);
    } else if (weir_type_is_nested(from->type)) {
        nested_append(to, first, from, rows, count);
    } else if (from->type == WEIR_TYPE_BOOLEAN) {
        for (int i = 0; i < count; i++)
            weir_bit_put(to->bits, first + i, weir_bit_get(from->bits, rows[i]));
    } else {
        fixed_gather((uint8_t *)to->values + (size_t)first * (size_t)width, from->values, width, rows, count);
    }
    if (!from->validity)
        return; /* bits of rows not yet set are 1 */
    for (int i = 0; i < count; i++) {
        if (!weir_bit_get(from->validity, rows[i])) {
            if (!to->validity)
                validity_new(to, row_capacity);
            weir_bit_clear(to->validity, first + i);
        }
    }
}

void weir_batch_append_rows(struct weir_batch *to, const struct weir_batch *from, const int32_t *rows, int count)
{
    int first = to->row_count;
    weir_assert(count >= 0 && first + count <= to->row_capacity);
    for (int i = 0; i < to->schema->field_count; i++)
        column_append(&to->columns[i], first, to->row_capacity, &from->columns[i], from->row_count, rows, count);
    if (from->change && !to->change)
        change_new(to, to->row_capacity);
    if (from->change)
        fixed_gather(to->change + first, from->change, 1, rows, count);
    else if (to->change)
        memset(to->change + first, WEIR_INSERT, (size_t)count);
    if (from->origin_ns != 0 && (to->origin_ns == 0 || from->origin_ns < to->origin_ns))
        to->origin_ns = from->origin_ns;
    to->row_count = first + count;
}

/* --- Printing */

static bool print_string(const uint8_t *bytes, size_t size, struct weir_buf *out)
{
    if (!weir_buf_puts(out, "\""))
        return false;
    for (size_t i = 0; i < size; i++) {
        uint8_t c = bytes[i];
        bool ok = c < 0x20                ? weir_buf_printf(out, "\\u%04x", c)
                  : c == '"' || c == '\\' ? weir_buf_printf(out, "\\%c", c)
                                          : weir_buf_append(out, &bytes[i], 1);
        if (!ok)
            return false;
    }
    return weir_buf_puts(out, "\"");
}

static bool print_hex(const uint8_t *bytes, size_t size, struct weir_buf *out)
{
    bool ok = weir_buf_puts(out, "x'");
    for (size_t i = 0; i < size && ok; i++)
        ok = weir_buf_printf(out, "%02x", bytes[i]);
    return ok && weir_buf_puts(out, "'");
}

static bool print_list(const struct weir_column *column, int row, struct weir_buf *out);

static bool print_value(const struct weir_column *column, const struct weir_type *type, int row, struct weir_buf *out)
{
    char text[WEIR_DECIMAL_TEXT_SIZE];
    size_t size;
    const uint8_t *bytes;
    if (weir_column_is_null(column, row))
        return weir_buf_puts(out, "null");
    switch (column->type) {
    case WEIR_TYPE_BOOLEAN:
        return weir_buf_puts(out, weir_bit_get(column->bits, row) ? "true" : "false");
    case WEIR_TYPE_INT8:
        return weir_buf_printf(out, "%d", column->i8[row]);
    case WEIR_TYPE_INT16:
        return weir_buf_printf(out, "%d", column->i16[row]);
    case WEIR_TYPE_INT32:
        return weir_buf_printf(out, "%d", (int)column->i32[row]);
    case WEIR_TYPE_INT64:
        return weir_buf_printf(out, "%lld", (long long)column->i64[row]);
    case WEIR_TYPE_FLOAT:
        return weir_buf_printf(out, "%.9g", (double)column->f32[row]);
    case WEIR_TYPE_DOUBLE:
        return weir_buf_printf(out, "%.17g", column->f64[row]);
    case WEIR_TYPE_STRING:
        bytes = weir_column_bytes(column, row, &size);
        return print_string(bytes, size, out);
    case WEIR_TYPE_BYTES:
        bytes = weir_column_bytes(column, row, &size);
        return print_hex(bytes, size, out);
    case WEIR_TYPE_DATE:
        size = weir_date_print(column->i32[row], text);
        break;
    case WEIR_TYPE_TIME:
        size = weir_time_print(column->i32[row], type->precision, text);
        break;
    case WEIR_TYPE_TIMESTAMP:
        size = weir_timestamp_print_sql(column->i64[row], type->precision, text);
        break;
    case WEIR_TYPE_TIMESTAMP_LTZ:
        size = weir_timestamp_print_iso(column->i64[row], text);
        break;
    case WEIR_TYPE_DECIMAL:
        size = weir_decimal_print(weir_decimal_get(column->decimals[row]), type->scale, text);
        return weir_buf_append(out, text, size);
    case WEIR_TYPE_ARRAY:
    case WEIR_TYPE_MAP:
        return print_list(column, row, out);
    case WEIR_TYPE_ROW:
        return weir_batch_print_row(column->child, row, out);
    default:
        return weir_buf_puts(out, "?");
    }
    return print_string((const uint8_t *)text, size, out);
}

static bool print_list(const struct weir_column *column, int row, struct weir_buf *out)
{
    const struct weir_batch *child = column->child;
    bool map = column->type == WEIR_TYPE_MAP;
    if (!weir_buf_puts(out, map ? "{" : "["))
        return false;
    for (int32_t i = column->offsets[row]; i < column->offsets[row + 1]; i++) {
        if ((i > column->offsets[row] && !weir_buf_puts(out, ", ")) ||
            !print_value(&child->columns[0], &child->schema->fields[0].type, i, out) ||
            (map &&
             (!weir_buf_puts(out, ": ") || !print_value(&child->columns[1], &child->schema->fields[1].type, i, out))))
            return false;
    }
    return weir_buf_puts(out, map ? "}" : "]");
}

bool weir_batch_print_row(const struct weir_batch *batch, int row, struct weir_buf *out)
{
    static const char *const changes[] = {"+I", "-U", "+U", "-D"};
    if (batch->change && batch->change[row] != WEIR_INSERT && !weir_buf_puts(out, changes[batch->change[row] & 3]))
        return false;
    for (int i = 0; i < batch->schema->field_count; i++) {
        const struct weir_field *field = &batch->schema->fields[i];
        if (!weir_buf_printf(out, "%s\"%s\": ", i == 0 ? "{" : ", ", field->name) ||
            !print_value(&batch->columns[i], &field->type, row, out))
            return false;
    }
    return weir_buf_puts(out, batch->schema->field_count ? "}" : "{}");
}
