/* Keys: hashing, the canonical encoding and its inverse (format in row_key.h).
 *
 * Data path: weir_key_hash() runs once per batch in front of every keyed exchange, weir_key_encode() once per batch in
 * every keyed operator. Pure; no state. Invariant: the hash of a row is XXH3-64 over its encoding, whichever path made
 * it (the tests compare them).
 *
 * Paths of weir_key_hash(): one fixed-width column (the encoding is put together in registers and hashed with a
 * constant size, which the inlined XXH3 folds to a few multiplications), one STRING/BYTES column (flag, length and
 * bytes are brought together on the stack), and any other key (all rows are encoded, then hashed).
 */
#include "data/row_key.h"

#include "base/assert.h"
#include "base/options.h"

#define XXH_INLINE_ALL
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wcast-align"
#pragma GCC diagnostic ignored "-Wundef"
#include <xxhash.h>
#pragma GCC diagnostic pop

#define STRING_HEAD 5       /* flag and length */
#define STRING_STACK 240    /* up to this XXH3 has short paths; longer ones are hashed from a heap copy */
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
                return weir_fail(error, WEIR_ERR_INVALID, "key column '%.100s' is not in the schema; did you mean '%s'?",
                                 names[i], near);
            return weir_fail(error, WEIR_ERR_INVALID, "key column '%.100s' is not in the schema", names[i]);
        }
        for (int j = 0; j < i; j++) {
            if (resolved.columns[j] == at)
                return weir_fail(error, WEIR_ERR_INVALID, "the key names column '%.100s' twice", names[i]);
        }
        resolved.columns[i] = at;
    }
    *spec = resolved;
    return WEIR_OK;
}

/* --- One value as bits that sort as the value does. The order_* functions give the number whose big-endian bytes are the
 * encoding. */

static inline uint64_t order_f64(double value)
{
    uint64_t bits;
    if (value != value)
        bits = 0x7ff8000000000000u;
    else if (value == 0)
        bits = 0;
    else
        memcpy(&bits, &value, sizeof bits);
    return bits >> 63 ? ~bits : bits | (uint64_t)1 << 63;
}

static inline uint32_t order_f32(float value)
{
    uint32_t bits;
    if (value != value)
        bits = 0x7fc00000u;
    else if (value == 0)
        bits = 0;
    else
        memcpy(&bits, &value, sizeof bits);
    return bits >> 31 ? ~bits : bits | (uint32_t)1 << 31;
}

static inline uint64_t order_i64(int64_t value)
{
    return (uint64_t)value ^ (uint64_t)1 << 63;
}
static inline uint32_t order_i32(int32_t value)
{
    return (uint32_t)value ^ (uint32_t)1 << 31;
}
static inline uint16_t order_i16(int16_t value)
{
    return (uint16_t)((uint16_t)value ^ 0x8000u);
}
static inline uint8_t order_i8(int8_t value)
{
    return (uint8_t)((uint8_t)value ^ 0x80u);
}

static inline void put_be64(uint8_t *to, uint64_t value)
{
    value = __builtin_bswap64(value);
    memcpy(to, &value, sizeof value);
}
static inline void put_be32(uint8_t *to, uint32_t value)
{
    value = __builtin_bswap32(value);
    memcpy(to, &value, sizeof value);
}
static inline void put_be16(uint8_t *to, uint16_t value)
{
    value = __builtin_bswap16(value);
    memcpy(to, &value, sizeof value);
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the byte swaps above are for little-endian machines");

/* Encoded size of a fixed-width value, without its flag. */
static inline int fixed_size(enum weir_type_id type)
{
    return type == WEIR_TYPE_BOOLEAN ? 1 : weir_type_width(type);
}

/* Writes the encoding of every row's value, `put_` being its statement on (at, row); the flag goes before it. */
#define FOR_ROWS(put_)                                                                                                 \
    for (int row = 0; row < row_count; row++) {                                                                        \
        uint8_t *at = out + cursor[row];                                                                               \
        if (validity && !weir_bit_get(validity, row)) {                                                                \
            *at = 0;                                                                                                   \
            cursor[row] += 1;                                                                                          \
            continue;                                                                                                  \
        }                                                                                                              \
        *at++ = 1;                                                                                                     \
        put_;                                                                                                          \
        cursor[row] = (uint32_t)(at + size - out);                                                                     \
    }                                                                                                                  \
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
        FOR_ROWS(put_be64(at, order_i64(column->i64[row])));
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

static void encode_rows(const struct weir_batch *batch, const struct weir_key_spec *spec, const uint32_t *starts,
                        uint8_t *out)
{
    uint32_t cursor[WEIR_BATCH_ROWS_MAX];
    weir_assert(batch->row_count <= WEIR_BATCH_ROWS_MAX);
    memcpy(cursor, starts, (size_t)batch->row_count * sizeof *cursor);
    for (int i = 0; i < spec->column_count; i++)
        encode_column(&batch->columns[spec->columns[i]], batch->row_count, out, cursor);
}

void weir_key_encode(const struct weir_batch *batch, const struct weir_key_spec *spec, struct weir_buf *out,
                     uint32_t *offsets)
{
    encoded_starts(batch, spec, offsets);
    weir_buf_clear(out);
    size_t size = offsets[batch->row_count];
    bool reserved = weir_buf_reserve(out, size);
    weir_assert(reserved); /* the caller's bound is wrong: a batch's bytes are bounded */
    if (size == 0)
        return;
    encode_rows(batch, spec, offsets, out->data);
    out->size = size;
    out->data[size] = 0;
}

/* --- Hashing */

/* Hash of every row's one value: `order_` gives its ordered bits of `bits_` width, put after the flag. */
#define HASH_ROWS(bits_, put_, order_)                                                                                 \
    for (int row = 0; row < row_count; row++) {                                                                        \
        uint8_t key[1 + (bits_) / 8] = {1};                                                                            \
        put_(key + 1, order_);                                                                                         \
        hashes[row] = XXH3_64bits(key, sizeof key);                                                                    \
    }                                                                                                                  \
    break
#define PUT_8(to_, value_) (*(to_) = (value_))

static void hash_fixed(const struct weir_column *column, int row_count, uint64_t *hashes)
{
    switch (column->type) {
    case WEIR_TYPE_BOOLEAN:
        HASH_ROWS(8, PUT_8, weir_bit_get(column->bits, row));
    case WEIR_TYPE_INT8:
        HASH_ROWS(8, PUT_8, order_i8(column->i8[row]));
    case WEIR_TYPE_INT16:
        HASH_ROWS(16, put_be16, order_i16(column->i16[row]));
    case WEIR_TYPE_INT32:
    case WEIR_TYPE_DATE:
    case WEIR_TYPE_TIME:
        HASH_ROWS(32, put_be32, order_i32(column->i32[row]));
    case WEIR_TYPE_INT64:
    case WEIR_TYPE_TIMESTAMP:
        HASH_ROWS(64, put_be64, order_i64(column->i64[row]));
    case WEIR_TYPE_FLOAT:
        HASH_ROWS(32, put_be32, order_f32(column->f32[row]));
    case WEIR_TYPE_DOUBLE:
        HASH_ROWS(64, put_be64, order_f64(column->f64[row]));
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

static void hash_strings(const struct weir_column *column, int row_count, uint64_t *hashes)
{
    uint8_t key[STRING_HEAD + STRING_STACK + COPY_BLOCK];
    const int32_t *offsets = column->offsets;
    const struct weir_buffer *buffer = column->bytes_buffer;
    /* May COPY_BLOCK bytes be read from any value's start? */
    bool blocks = buffer && column->bytes >= buffer->bytes &&
                  (size_t)(column->bytes - buffer->bytes) + (size_t)offsets[row_count] + COPY_BLOCK <= buffer->capacity;
    key[0] = 1;
    for (int row = 0; row < row_count; row++) {
        const uint8_t *bytes = column->bytes + offsets[row];
        size_t size = (size_t)(offsets[row + 1] - offsets[row]);
        if (size > STRING_STACK - STRING_HEAD) {
            hashes[row] = hash_long(bytes, size);
            continue;
        }
        put_be32(key + 1, (uint32_t)size);
        if (blocks && size <= COPY_BLOCK)
            memcpy(key + STRING_HEAD, bytes, COPY_BLOCK);
        else if (size > 0)
            memcpy(key + STRING_HEAD, bytes, size);
        hashes[row] = XXH3_64bits(key, STRING_HEAD + size);
    }
}

static void hash_encoded(const struct weir_batch *batch, const struct weir_key_spec *spec, uint64_t *hashes)
{
    uint32_t starts[WEIR_BATCH_ROWS_MAX + 1];
    weir_assert(batch->row_count <= WEIR_BATCH_ROWS_MAX);
    encoded_starts(batch, spec, starts);
    struct weir_buffer *buffer = weir_buffer_new(starts[batch->row_count]);
    encode_rows(batch, spec, starts, buffer->bytes);
    for (int row = 0; row < batch->row_count; row++)
        hashes[row] = XXH3_64bits(buffer->bytes + starts[row], starts[row + 1] - starts[row]);
    weir_buffer_unref(buffer);
}

void weir_key_hash(const struct weir_batch *batch, const struct weir_key_spec *spec, uint64_t *hashes)
{
    const struct weir_column *column = &batch->columns[spec->columns[0]];
    int row_count = batch->row_count;
    if (spec->column_count != 1) {
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

static inline uint64_t take_be(const uint8_t *bytes, int size)
{
    uint64_t value = 0;
    for (int i = 0; i < size; i++)
        value = value << 8 | bytes[i];
    return value;
}

static void decode_fixed(struct weir_column *to, int row, const uint8_t *bytes)
{
    switch (to->type) {
    case WEIR_TYPE_BOOLEAN:
        weir_bit_put(to->bits, row, bytes[0] != 0);
        break;
    case WEIR_TYPE_INT8:
        to->i8[row] = (int8_t)(bytes[0] ^ 0x80u);
        break;
    case WEIR_TYPE_INT16:
        to->i16[row] = (int16_t)(uint16_t)(take_be(bytes, 2) ^ 0x8000u);
        break;
    case WEIR_TYPE_FLOAT: {
        uint32_t bits = (uint32_t)take_be(bytes, 4);
        bits = bits >> 31 ? bits & ~((uint32_t)1 << 31) : ~bits;
        memcpy(&to->f32[row], &bits, sizeof bits);
        break;
    }
    case WEIR_TYPE_DOUBLE: {
        uint64_t bits = take_be(bytes, 8);
        bits = bits >> 63 ? bits & ~((uint64_t)1 << 63) : ~bits;
        memcpy(&to->f64[row], &bits, sizeof bits);
        break;
    }
    case WEIR_TYPE_INT64:
    case WEIR_TYPE_TIMESTAMP:
        to->i64[row] = (int64_t)(take_be(bytes, 8) ^ (uint64_t)1 << 63);
        break;
    default: /* INT32, DATE, TIME */
        to->i32[row] = (int32_t)((uint32_t)take_be(bytes, 4) ^ (uint32_t)1 << 31);
    }
}

weir_err weir_key_decode(const uint8_t *key, size_t size, const struct weir_key_spec *spec,
                         const struct weir_schema *schema, struct weir_column *const *to, int row, int row_capacity,
                         struct weir_error *error)
{
    const uint8_t *at = key, *end = key + size;
    for (int i = 0; i < spec->column_count; i++) {
        const char *name = schema->fields[spec->columns[i]].name;
        enum weir_type_id type = schema->fields[spec->columns[i]].type.id;
        weir_assert(to[i]->type == type);
        if (at == end || *at > 1)
            return weir_fail(error, WEIR_ERR_PROTOCOL, "a key of %zu bytes ends or is broken before column '%s'", size,
                             name);
        if (*at++ == 0) {
            weir_column_set_null(to[i], row, row_capacity);
            continue;
        }
        size_t left = (size_t)(end - at), value_size = (size_t)fixed_size(type);
        if (weir_type_is_variable(type)) {
            if (left < 4)
                return weir_fail(error, WEIR_ERR_PROTOCOL, "a key of %zu bytes ends in column '%s'", size, name);
            value_size = (size_t)take_be(at, 4);
            at += 4;
            left -= 4;
        }
        if (left < value_size)
            return weir_fail(error, WEIR_ERR_PROTOCOL, "a key of %zu bytes ends in column '%s'", size, name);
        if (weir_type_is_variable(type))
            weir_column_set_bytes(to[i], row, at, value_size);
        else
            decode_fixed(to[i], row, at);
        at += value_size;
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
