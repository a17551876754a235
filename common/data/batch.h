/* Columnar batches in Arrow's memory layout.
 *
 * A column is: a validity bitmap (bit set = not NULL, least significant bit first; absent = all valid),
 * and values: a bitmap for BOOLEAN, an array for fixed-width types, `row_count + 1` int32 offsets into
 * bytes for STRING and BYTES. Buffers are padded to a multiple of 64 bytes and aligned to 64, and bits
 * past row_count are undefined, so kernels may work on whole words.
 * Nested types have a child, which is a batch of the type's fields: ARRAY and MAP have offsets into its rows (an ARRAY's
 * child has the column "element", a MAP's "key" and "value"), and ROW's child has one row for each of its own (a NULL
 * row's fields are there, and NULL, zero or empty). A child may have more rows than WEIR_BATCH_ROWS_MAX.
 *
 * Buffers are shared by atomic reference count: a projection, a local edge or a second consumer takes
 * references, never copies. Who holds the only reference to a batch that it made may write; a batch
 * that was handed on is immutable.
 *
 * `change` marks each row +I -U +U -D where a plan can update (Flink's RowKind numbers); NULL = all +I.
 */
#ifndef WEIR_DATA_BATCH_H
#define WEIR_DATA_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "data/schema.h"
#include "weir/decimal.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "weir is for little-endian processors: batches travel, and keys and snapshots are kept, as they lie in memory"
#endif

#define WEIR_BATCH_ROWS_MAX 4096
#define WEIR_BATCH_ROWS_DEFAULT 2048
/* A batch closes when its bytes pass this, however few its rows; one row may be larger, up to the record limit. */
#define WEIR_BATCH_BYTES_SOFT_MAX ((size_t)256 << 10)

enum weir_change { WEIR_INSERT = 0, WEIR_UPDATE_BEFORE = 1, WEIR_UPDATE_AFTER = 2, WEIR_DELETE = 3 };

struct weir_buffer {
    int refs; /* atomic */
    size_t capacity;
    _Alignas(64) uint8_t bytes[];
};
struct weir_buffer *weir_buffer_new(size_t size); /* contents undefined; capacity >= size, rounded up to 64 */
struct weir_buffer *weir_buffer_ref(struct weir_buffer *buffer);
void weir_buffer_unref(struct weir_buffer *buffer); /* NULL is allowed */
size_t weir_buffer_depot_bytes(void);               /* what lies idle for any thread to take; for tests */

struct weir_batch;
struct weir_column {
    enum weir_type_id type;
    /* What is read. validity NULL = no NULLs. Which of the rest is set depends on the type. */
    uint64_t *validity;
    union {
        void *values; /* fixed width */
        uint64_t *bits;
        int8_t *i8;
        int16_t *i16;
        int32_t *i32; /* also DATE, TIME */
        int64_t *i64; /* also TIMESTAMP, TIMESTAMP_LTZ */
        float *f32;
        double *f64;
        struct weir_decimal *decimals;
        int32_t *offsets; /* STRING, BYTES, ARRAY, MAP; a ROW has no values */
    };
    uint8_t *bytes;           /* STRING, BYTES */
    struct weir_batch *child; /* ARRAY, MAP, ROW; one reference held */
    /* What is owned: the buffers that the pointers above lie in (any may be NULL, or the same twice). */
    struct weir_buffer *validity_buffer;
    struct weir_buffer *values_buffer;
    struct weir_buffer *bytes_buffer;
};

/* Stores an integer that is known to fit into a column of this width (1, 2, 4, 8 bytes). */
static inline void weir_column_set_int(const struct weir_column *column, int row, int width, int64_t value)
{
    switch (width) {
    case 1:
        column->i8[row] = (int8_t)value;
        break;
    case 2:
        column->i16[row] = (int16_t)value;
        break;
    case 4:
        column->i32[row] = (int32_t)value;
        break;
    default:
        column->i64[row] = value;
    }
}

struct weir_batch {
    int refs; /* atomic */
    int row_count;
    int row_capacity;           /* while it is being built; row_count once handed on */
    struct weir_schema *schema; /* one reference held */
    uint8_t *change;            /* row_count entries, or NULL */
    struct weir_buffer *change_buffer;
    int64_t origin_ns;            /* monotonic time the oldest row entered the current task's output; 0: unknown */
    struct weir_column columns[]; /* schema->field_count */
};

/* An empty batch with writable buffers for `row_capacity` rows; validity is not allocated (all valid) until
 * weir_column_set_null() needs it. `row_capacity` is 1 to WEIR_BATCH_ROWS_MAX. One reference. */
struct weir_batch *weir_batch_new(struct weir_schema *schema, int row_capacity);
/* A batch whose columns are set by the caller (weir_column_share()); they start empty. */
struct weir_batch *weir_batch_new_shell(struct weir_schema *schema, int row_count);
struct weir_batch *weir_batch_ref(struct weir_batch *batch);
void weir_batch_unref(struct weir_batch *batch); /* NULL is allowed */
/* Bytes in use (not capacity), for accounting and for closing a batch. */
size_t weir_batch_bytes(const struct weir_batch *batch);

/* `to` (empty) takes references to `from`'s buffers. */
void weir_column_share(struct weir_column *to, const struct weir_column *from);
void weir_column_fini(struct weir_column *column);
/* Writable buffers for a column of a batch that is being built. */
void weir_column_init(struct weir_column *column, const struct weir_type *type, int row_capacity);

/* Rows `rows[0..count)` of `batch`, in that order, as a new batch. An index may repeat. */
struct weir_batch *weir_batch_gather(const struct weir_batch *batch, const int32_t *rows, int count);
/* Rows whose bit is set in `mask` (row_count bits). Returns a reference to `batch` itself when all are set. */
struct weir_batch *weir_batch_filter(struct weir_batch *batch, const uint64_t *mask);
/* Rows [first, first + count) (copies; used where a batch must be split). */
struct weir_batch *weir_batch_slice(const struct weir_batch *batch, int first, int count);
/* Appends rows `rows[0..count)` of `from` (same schema) to `to`, which has room for them. */
void weir_batch_append_rows(struct weir_batch *to, const struct weir_batch *from, const int32_t *rows, int count);
/* One row as JSON-like text, for logs and tests; false when out is full. */
bool weir_batch_print_row(const struct weir_batch *batch, int row, struct weir_buf *out)
    __attribute__((warn_unused_result));

/* --- Bits */
static inline bool weir_bit_get(const uint64_t *bits, int i)
{
    return bits[i >> 6] >> (i & 63) & 1;
}
static inline void weir_bit_set(uint64_t *bits, int i)
{
    bits[i >> 6] |= (uint64_t)1 << (i & 63);
}
static inline void weir_bit_clear(uint64_t *bits, int i)
{
    bits[i >> 6] &= ~((uint64_t)1 << (i & 63));
}
static inline void weir_bit_put(uint64_t *bits, int i, bool on)
{
    uint64_t mask = (uint64_t)1 << (i & 63);
    bits[i >> 6] = on ? bits[i >> 6] | mask : bits[i >> 6] & ~mask;
}
static inline size_t weir_bitmap_words(int count)
{
    return ((size_t)count + 63) / 64;
}
int weir_bitmap_count(const uint64_t *bits, int count); /* set bits among the first `count` */

static inline bool weir_column_is_null(const struct weir_column *column, int row)
{
    return column->validity && !weir_bit_get(column->validity, row);
}

/* --- Building, row by row, in row order: each column of row r is set exactly once before row r + 1 is begun;
 * then batch->row_count is raised. Fixed-width values are stored through column->i64[row] and so on. */

/* NULL at `row` (the value slot is zeroed; offsets advance). Allocates the validity bitmap when it is the first. */
void weir_column_set_null(struct weir_column *column, int row, int row_capacity);
/* STRING, BYTES: appends. The caller keeps a batch's bytes under 1 GiB (int32 offsets), see WEIR_BATCH_BYTES_SOFT_MAX. */
void weir_column_set_bytes(struct weir_column *column, int row, const void *bytes, size_t size);
/* STRING, BYTES: room for `size` bytes at the end, to be filled by the caller before the next call; sets the offset. Up
 * to 16 bytes behind them may be overwritten, so that short values can be copied in one block. */
uint8_t *weir_column_reserve_bytes(struct weir_column *column, int row, size_t size);
/* Forgets what was set of the row at row_count (a record that turned out bad), so that it can be set anew. */
void weir_batch_undo_row(struct weir_batch *batch);

/* ARRAY, MAP: begins the value at `row`, without elements; what an earlier try left behind is forgotten. Then, for each
 * element: `int at = weir_column_element(column)`, set every column of column->child at row `at` (with the child's
 * row_capacity), and weir_column_element_done(). At last weir_column_list_end(). */
void weir_column_list_begin(struct weir_column *column, int row);
int weir_column_element(struct weir_column *column);
static inline void weir_column_element_done(struct weir_column *column);
static inline void weir_column_list_end(struct weir_column *column, int row);
/* ROW: begins the value at `row`: then every column of column->child is set at `row`, and weir_column_row_end() says so. */
void weir_column_row_begin(struct weir_column *column, int row);
static inline void weir_column_row_end(struct weir_column *column, int row);
/* Any type: the value at `from_row` of `from` (the same type) goes to `row`. */
void weir_column_set_value(struct weir_column *column, int row, int row_capacity, const struct weir_column *from,
                           int from_row);
/* ARRAY, MAP, ROW: nothing at `row`, whose bit of the validity is the caller's matter. */
void weir_column_skip(struct weir_column *column, int row);
static inline void weir_column_element_done(struct weir_column *column)
{
    column->child->row_count++;
}
static inline void weir_column_list_end(struct weir_column *column, int row)
{
    column->offsets[row + 1] = column->child->row_count;
}
static inline void weir_column_row_end(struct weir_column *column, int row)
{
    column->child->row_count = row + 1;
}

/* STRING, BYTES: the value at `row`. */
static inline const uint8_t *weir_column_bytes(const struct weir_column *column, int row, size_t *size)
{
    *size = (size_t)(column->offsets[row + 1] - column->offsets[row]);
    return column->bytes + column->offsets[row];
}

#endif
