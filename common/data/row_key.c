/* Keys: hashing, the canonical encoding and its inverse (format in row_key.h).
 *
 * Data path: weir_key_hash() runs once per batch in front of every keyed exchange, weir_key_encode() once per batch in
 * every keyed operator. Pure; no state. Invariant: the hash of a row is XXH3-64 over its encoding, whichever path made
 * it (the tests compare them).
 *
 * Paths of weir_key_hash(): one fixed-width column, one STRING/BYTES column (both without a detour through memory where
 * the encoding is short), and any other key (all rows are encoded, then hashed).
 */
#include "data/row_key.h"

#include "base/assert.h"
#include "base/options.h"
#include "data/order_int.h"
#include "data/value_code.h"

#define XXH_INLINE_ALL
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wcast-align"
#pragma GCC diagnostic ignored "-Wundef"
#include <xxhash.h>
#pragma GCC diagnostic pop

#define STRING_HEAD 5   /* flag and length */
#define REGISTER_MAX 11 /* strings whose encoding has at most 16 bytes */
#define STAGE_SIZE 128  /* encodings up to this are laid out on the stack, longer ones in a buffer each */
#define GROUP_ROWS 32   /* laid out together */
#define COPY_BLOCK 16

/* --- Which columns */

weir_err weir_key_spec_resolve(const struct weir_schema *schema, const char *const *names, int name_count,
                               struct weir_key_spec *spec, struct weir_error *error)
{
    if (name_count < 1 || name_count > WEIR_KEY_COLUMNS_MAX)
        return weir_fail(error, WEIR_ERR_INVALID, "a key has 1 to %d columns, not %d", WEIR_KEY_COLUMNS_MAX,
                         name_count);
    struct weir_key_spec resolved = {.column_count = name_count};
    for (int i = 0; i < name_count; i++) {
        int at = weir_schema_find(schema, names[i], strlen(names[i]));
        if (at < 0) {
            const char *columns[WEIR_FIELDS_MAX];
            for (int j = 0; j < schema->field_count; j++)
                columns[j] = schema->fields[j].name;
            const char *near = weir_nearest(names[i], columns, schema->field_count);
            if (near)
                return weir_fail(error, WEIR_ERR_INVALID,
                                 "key column '%.100s' is not in the schema; did you mean '%s'?", names[i], near);
            return weir_fail(error, WEIR_ERR_INVALID, "key column '%.100s' is not in the schema", names[i]);
        }
        for (int j = 0; j < i; j++) {
            if (resolved.columns[j] == at)
                return weir_fail(error, WEIR_ERR_INVALID, "the key names column '%.100s' twice", names[i]);
        }
        if (weir_type_has(&schema->fields[at].type, WEIR_TYPE_MAP)) {
            char type[64];
            return weir_fail(
                error, WEIR_ERR_INVALID,
                "key column '%.100s' is %s: a MAP cannot be a key or part of one, since equal maps may have "
                "their entries in another order; take entries of it (m['name']) as columns",
                names[i], weir_type_print(&schema->fields[at].type, type));
        }
        resolved.columns[i] = at;
    }
    *spec = resolved;
    return WEIR_OK;
}

/* May COPY_BLOCK bytes be read from the begin of any value? */
static bool may_overread(const struct weir_column *column, int row_count)
{
    const struct weir_buffer *buffer = column->bytes_buffer;
    if (!buffer || column->bytes < buffer->bytes)
        return false;
    size_t end = (size_t)(column->bytes - buffer->bytes) + (size_t)column->offsets[row_count] + COPY_BLOCK;
    return end <= buffer->capacity;
}

/* Encoded size of a fixed-width value, without its flag. */
static inline int fixed_size(enum weir_type_id type)
{
    return type == WEIR_TYPE_BOOLEAN ? 1 : weir_type_width(type);
}

/* Writes the encoding of every row's value, `put_` being its statement on (at, row); the flag goes before it. */
#define FOR_ROWS(put_) \
    for (int row = 0; row < row_count; row++) { \
        uint8_t *at = out + cursor[row]; \
        if (validity && !weir_bit_get(validity, row)) { \
            *at = 0; \
            cursor[row] += 1; \
            continue; \
        } \
        *at++ = 1; \
        put_; \
        cursor[row] = (uint32_t)(at + size - out); \
    } \
    break

/* Appends the column to all rows' encodings, row r at out + cursor[r], which moves on. */
static void encode_column(const struct weir_column *column, int row_count, uint8_t *out, uint32_t *cursor)
{
    const uint64_t *validity = column->validity;
    size_t size = (size_t)fixed_size(column->type);
    switch (column->type) {
    case WEIR_TYPE_BOOLEAN:
        FOR_ROWS(*at = weir_bit_get(column->bits, row));
    case WEIR_TYPE_INT8:
        FOR_ROWS(*at = order_i8(column->i8[row]));
    case WEIR_TYPE_INT16:
        FOR_ROWS(put_be16(at, order_i16(column->i16[row])));
    case WEIR_TYPE_INT32:
    case WEIR_TYPE_DATE:
    case WEIR_TYPE_TIME:
        FOR_ROWS(put_be32(at, order_i32(column->i32[row])));
    case WEIR_TYPE_INT64:
    case WEIR_TYPE_TIMESTAMP:
    case WEIR_TYPE_TIMESTAMP_LTZ:
        FOR_ROWS(put_be64(at, order_i64(column->i64[row])));
    case WEIR_TYPE_DECIMAL:
        FOR_ROWS(put_be_decimal(at, column->decimals[row]));
    case WEIR_TYPE_ARRAY:
    case WEIR_TYPE_ROW:
        for (int row = 0; row < row_count; row++)
            cursor[row] = (uint32_t)(weir_value_put(column, row, true, out + cursor[row]) - out);
        break;
    case WEIR_TYPE_FLOAT:
        FOR_ROWS(put_be32(at, order_f32(column->f32[row])));
    case WEIR_TYPE_DOUBLE:
        FOR_ROWS(put_be64(at, order_f64(column->f64[row])));
    case WEIR_TYPE_STRING:
    case WEIR_TYPE_BYTES:
        FOR_ROWS({
            const uint8_t *bytes = weir_column_bytes(column, row, &size);
            put_be32(at, (uint32_t)size);
            at += 4;
            if (size > 0)
                memcpy(at, bytes, size);
        });
    default:
        weir_assert(!"a key column of a type without encoding");
    }
}

/* The same for a first column of strings, which is written in row order, so that a row may overrun into the next one's
 * place (and the last into COPY_BLOCK bytes of room). */
static void encode_first_strings(const struct weir_column *column, int row_count, uint8_t *out, uint32_t *cursor)
{
    const int32_t *offsets = column->offsets;
    for (int row = 0; row < row_count; row++) {
        uint8_t *at = out + cursor[row];
        if (column->validity && !weir_bit_get(column->validity, row)) {
            *at = 0;
            cursor[row] += 1;
            continue;
        }
        const uint8_t *bytes = column->bytes + offsets[row];
        size_t size = (size_t)(offsets[row + 1] - offsets[row]);
        *at = 1;
        put_be32(at + 1, (uint32_t)size);
        if (size <= COPY_BLOCK)
            memcpy(at + STRING_HEAD, bytes, COPY_BLOCK);
        else
            memcpy(at + STRING_HEAD, bytes, size);
        cursor[row] += (uint32_t)(STRING_HEAD + size);
    }
}

/* starts[0..row_count]: where each row's encoding begins; the total is starts[row_count]. */
static void encoded_starts(const struct weir_batch *batch, const struct weir_key_spec *spec, uint32_t *starts)
{
    int row_count = batch->row_count;
    uint32_t constant = 0; /* what every row has: NULLs of fixed columns are taken off again */
    memset(starts, 0, ((size_t)row_count + 1) * sizeof *starts);
    for (int i = 0; i < spec->column_count; i++) {
        const struct weir_column *column = &batch->columns[spec->columns[i]];
        const uint64_t *validity = column->validity;
        constant += 1;
        if (weir_type_is_variable(column->type)) {
            for (int row = 0; row < row_count; row++) {
                if (!validity || weir_bit_get(validity, row))
                    starts[row + 1] += 4 + (uint32_t)(column->offsets[row + 1] - column->offsets[row]);
            }
        } else if (weir_type_is_nested(column->type)) {
            for (int row = 0; row < row_count; row++)
                starts[row + 1] += (uint32_t)(weir_value_size(column, row) - 1);
        } else {
            uint32_t size = (uint32_t)fixed_size(column->type);
            if (!validity) {
                constant += size;
                continue;
            }
            for (int row = 0; row < row_count; row++)
                starts[row + 1] += weir_bit_get(validity, row) ? size : 0;
        }
    }
    uint64_t total = 0;
    for (int row = 1; row <= row_count; row++) {
        total += starts[row] + constant;
        weir_assert(total <= UINT32_MAX);
        starts[row] = (uint32_t)total;
    }
}

/* `out` has room for STRING_HEAD + COPY_BLOCK bytes more. */
static void encode_rows(const struct weir_batch *batch, const struct weir_key_spec *spec, const uint32_t *starts,
                        uint8_t *out)
{
    uint32_t cursor[WEIR_BATCH_ROWS_MAX];
    weir_assert(batch->row_count <= WEIR_BATCH_ROWS_MAX);
    memcpy(cursor, starts, (size_t)batch->row_count * sizeof *cursor);
    for (int i = 0; i < spec->column_count; i++) {
        const struct weir_column *column = &batch->columns[spec->columns[i]];
        if (i == 0 && weir_type_is_variable(column->type) && may_overread(column, batch->row_count))
            encode_first_strings(column, batch->row_count, out, cursor);
        else
            encode_column(column, batch->row_count, out, cursor);
    }
}

void weir_key_encode(const struct weir_batch *batch, const struct weir_key_spec *spec, struct weir_buf *out,
                     uint32_t *offsets)
{
    encoded_starts(batch, spec, offsets);
    weir_buf_clear(out);
    size_t size = offsets[batch->row_count];
    bool reserved = weir_buf_reserve(out, size + STRING_HEAD + COPY_BLOCK);
    weir_assert(reserved); /* the caller's bound is wrong: a batch's bytes are bounded */
    if (size == 0)
        return;
    encode_rows(batch, spec, offsets, out->data);
    out->size = size;
    out->data[size] = 0;
}

/* --- Hashing
 *
 * XXH3 over a few bytes that were just put together in memory waits for the stores (10 ns a row, measured): short
 * encodings are put together in registers, by XXH3's own formulas for 4 to 8 and 9 to 16 bytes (seed 0); longer ones are
 * laid out for a group of rows before the first of them is hashed. */

/* Pairs of words of XXH3's default secret, as its formulas combine them. */
#define XXH3_FLIP_4_TO_8 0xc73ab174c5ecd5a2u
#define XXH3_FLIP_LOW 0x6782737bea4239b9u
#define XXH3_FLIP_HIGH 0xaf56bc3b0996523au

/* `low` and `high`: the first and the last 8 of `size` bytes, 9 to 16. */
static inline uint64_t hash_9_to_16(uint64_t low, uint64_t high, uint64_t size)
{
    low ^= XXH3_FLIP_LOW;
    high ^= XXH3_FLIP_HIGH;
    unsigned __int128 product = (unsigned __int128)low * high;
    uint64_t hash = size + __builtin_bswap64(low) + high + ((uint64_t)product ^ (uint64_t)(product >> 64));
    hash ^= hash >> 37;
    hash *= 0x165667919e3779f9u;
    return hash ^ hash >> 32;
}

/* `low` and `high`: the first and the last 4 of `size` bytes, 4 to 8. */
static inline uint64_t hash_4_to_8(uint32_t low, uint32_t high, uint64_t size)
{
    uint64_t hash = (high + ((uint64_t)low << 32)) ^ XXH3_FLIP_4_TO_8;
    hash ^= (hash << 49 | hash >> 15) ^ (hash << 24 | hash >> 40);
    hash *= 0x9fb21c651e98df25u;
    hash ^= (hash >> 35) + size;
    hash *= 0x9fb21c651e98df25u;
    return hash ^ hash >> 28;
}

static inline uint64_t hash_fixed_64(uint64_t ordered)
{
    uint64_t bytes = __builtin_bswap64(ordered);
    return hash_9_to_16(1 | bytes << 8, bytes, 9);
}

static inline uint64_t hash_fixed_32(uint32_t ordered)
{
    uint32_t bytes = __builtin_bswap32(ordered);
    return hash_4_to_8(1 | bytes << 8, bytes, 5);
}

/* Encodings of 2 and 3 bytes are rare: no path of their own. */
static inline uint64_t hash_fixed_16(uint16_t ordered)
{
    uint8_t key[3] = {1};
    put_be16(key + 1, ordered);
    return XXH3_64bits(key, sizeof key);
}

static inline uint64_t hash_fixed_8(uint8_t ordered)
{
    uint8_t key[2] = {1, ordered};
    return XXH3_64bits(key, sizeof key);
}

#define HASH_ROWS(hash_) \
    for (int row = 0; row < row_count; row++) \
        hashes[row] = hash_; \
    break

static void hash_fixed(const struct weir_column *column, int row_count, uint64_t *restrict hashes)
{
    switch (column->type) {
    case WEIR_TYPE_BOOLEAN:
        HASH_ROWS(hash_fixed_8(weir_bit_get(column->bits, row)));
    case WEIR_TYPE_INT8:
        HASH_ROWS(hash_fixed_8(order_i8(column->i8[row])));
    case WEIR_TYPE_INT16:
        HASH_ROWS(hash_fixed_16(order_i16(column->i16[row])));
    case WEIR_TYPE_INT32:
    case WEIR_TYPE_DATE:
    case WEIR_TYPE_TIME:
        HASH_ROWS(hash_fixed_32(order_i32(column->i32[row])));
    case WEIR_TYPE_INT64:
    case WEIR_TYPE_TIMESTAMP:
    case WEIR_TYPE_TIMESTAMP_LTZ:
        HASH_ROWS(hash_fixed_64(order_i64(column->i64[row])));
    case WEIR_TYPE_FLOAT:
        HASH_ROWS(hash_fixed_32(order_f32(column->f32[row])));
    case WEIR_TYPE_DOUBLE:
        HASH_ROWS(hash_fixed_64(order_f64(column->f64[row])));
    default:
        weir_assert(!"a key column of a type without encoding");
    }
}

static uint64_t hash_long(const uint8_t *bytes, size_t size)
{
    struct weir_buffer *buffer = weir_buffer_new(STRING_HEAD + size);
    buffer->bytes[0] = 1;
    put_be32(buffer->bytes + 1, (uint32_t)size);
    memcpy(buffer->bytes + STRING_HEAD, bytes, size);
    uint64_t hash = XXH3_64bits(buffer->bytes, STRING_HEAD + size);
    weir_buffer_unref(buffer);
    return hash;
}

/* A string of at most REGISTER_MAX bytes; `a` and `b` are the 16 bytes at its begin, whatever lies behind its end. */
static inline uint64_t hash_short(uint64_t a, uint64_t b, size_t size)
{
    size_t total = STRING_HEAD + size;
    uint64_t low = 1 | (uint64_t)__builtin_bswap32((uint32_t)size) << 8 | a << 40;
    if (total <= 8)
        return hash_4_to_8((uint32_t)low, (uint32_t)(low >> 8 * (total - 4)), total);
    unsigned __int128 key = (unsigned __int128)(a >> 24 | b << 40) << 64 | low;
    return hash_9_to_16(low, (uint64_t)(key >> 8 * (total - 8)), total);
}

static void hash_strings(const struct weir_column *column, int row_count, uint64_t *hashes)
{
    uint8_t staged[GROUP_ROWS][STAGE_SIZE];
    int32_t staged_rows[GROUP_ROWS];
    const int32_t *offsets = column->offsets;
    bool blocks = may_overread(column, row_count);
    for (int base = 0; base < row_count; base += GROUP_ROWS) {
        int end = row_count - base < GROUP_ROWS ? row_count : base + GROUP_ROWS, staged_count = 0;
        for (int row = base; row < end; row++) {
            const uint8_t *bytes = column->bytes + offsets[row];
            size_t size = (size_t)(offsets[row + 1] - offsets[row]);
            if (size <= REGISTER_MAX) {
                uint64_t words[2] = {0, 0};
                if (blocks)
                    memcpy(words, bytes, COPY_BLOCK);
                else
                    memcpy(words, bytes, size);
                hashes[row] = hash_short(words[0], words[1], size);
            } else if (size <= STAGE_SIZE - STRING_HEAD) {
                uint8_t *key = staged[staged_count];
                key[0] = 1;
                put_be32(key + 1, (uint32_t)size);
                memcpy(key + STRING_HEAD, bytes, size);
                staged_rows[staged_count++] = row;
            } else {
                hashes[row] = hash_long(bytes, size);
            }
        }
        for (int i = 0; i < staged_count; i++) {
            int row = staged_rows[i];
            size_t size = (size_t)(offsets[row + 1] - offsets[row]);
            hashes[row] = XXH3_64bits(staged[i], STRING_HEAD + size);
        }
    }
}

static void hash_encoded(const struct weir_batch *batch, const struct weir_key_spec *spec, uint64_t *hashes)
{
    uint32_t starts[WEIR_BATCH_ROWS_MAX + 1];
    weir_assert(batch->row_count <= WEIR_BATCH_ROWS_MAX);
    encoded_starts(batch, spec, starts);
    struct weir_buffer *buffer = weir_buffer_new(starts[batch->row_count] + STRING_HEAD + COPY_BLOCK);
    encode_rows(batch, spec, starts, buffer->bytes);
    for (int row = 0; row < batch->row_count; row++)
        hashes[row] = XXH3_64bits(buffer->bytes + starts[row], starts[row + 1] - starts[row]);
    weir_buffer_unref(buffer);
}

void weir_key_hash(const struct weir_batch *batch, const struct weir_key_spec *spec, uint64_t *hashes)
{
    const struct weir_column *column = &batch->columns[spec->columns[0]];
    int row_count = batch->row_count;
    if (spec->column_count != 1 || column->type >= WEIR_TYPE_DECIMAL) {
        hash_encoded(batch, spec, hashes);
        return;
    }
    if (weir_type_is_variable(column->type))
        hash_strings(column, row_count, hashes);
    else
        hash_fixed(column, row_count, hashes);
    if (column->validity) {
        static const uint8_t null_key[1] = {0};
        uint64_t null_hash = XXH3_64bits(null_key, sizeof null_key);
        for (int row = 0; row < row_count; row++)
            hashes[row] = weir_bit_get(column->validity, row) ? hashes[row] : null_hash;
    }
}

/* --- Decoding: bytes from a snapshot or the wire, so that each size is checked */

weir_err weir_key_decode(const uint8_t *key, size_t size, const struct weir_key_spec *spec,
                         const struct weir_schema *schema, struct weir_column *const *to, int row, int row_capacity,
                         struct weir_error *error)
{
    const uint8_t *at = key, *end = key + size;
    for (int i = 0; i < spec->column_count; i++) {
        const char *name = schema->fields[spec->columns[i]].name;
        enum weir_type_id type = schema->fields[spec->columns[i]].type.id;
        weir_assert(to[i]->type == type);
        struct weir_type nullable = schema->fields[spec->columns[i]].type;
        nullable.nullable = true;
        if (at == end || *at > 1)
            return weir_fail(error, WEIR_ERR_PROTOCOL, "a key of %zu bytes ends or is broken before column '%s'", size,
                             name);
        if (!weir_value_take(to[i], &nullable, row, row_capacity, &at, end))
            return weir_fail(error, WEIR_ERR_PROTOCOL, "a key of %zu bytes ends in column '%s'", size, name);
    }
    if (at != end)
        return weir_fail(error, WEIR_ERR_PROTOCOL, "a key of %zu bytes has %td more than its columns", size, end - at);
    return WEIR_OK;
}

/* --- Key groups */

void weir_key_group_range(int max_parallelism, int parallelism, int subtask, int *first, int *count)
{
    /* The smallest group with group * parallelism / max_parallelism == subtask, and of the next subtask. */
    int64_t start = ((int64_t)subtask * max_parallelism + parallelism - 1) / parallelism;
    int64_t next = ((int64_t)(subtask + 1) * max_parallelism + parallelism - 1) / parallelism;
    *first = (int)start;
    *count = (int)(next - start);
}
