/* Keys: hashing of key columns, key groups, and the canonical encoding that state is addressed by.
 *
 * Canonical encoding of one key (the concatenation over its columns, in key order); equal keys have equal bytes:
 *   a flag byte 0x00 for NULL (nothing follows) or 0x01; then
 *   BOOLEAN one byte 0/1; integers, DATE, TIME, TIMESTAMP, TIMESTAMP_LTZ big-endian with the sign bit flipped (so that
 *   bytes sort as values); FLOAT/DOUBLE: -0.0 as 0.0, every NaN as the one quiet NaN, then the bits big-endian,
 *   all flipped when negative, else the sign bit flipped; DECIMAL: 16 bytes big-endian with the sign bit flipped (the scale
 *   is the type's); STRING/BYTES: u32 big-endian length, then the bytes; ARRAY: u32 big-endian count, then each element with
 *   its flag; ROW: each field with its flag. A MAP is no key (value_code.h has its encoding, for state).
 * Key hash: XXH3 64 bit, seed 0, over that encoding (hash id 1, recorded in every snapshot). A key of one fixed-width
 * column takes a fast path that gives the same result.
 * Key group of a key: weir_key_group(). Subtask of a key group: Flink's formula, key_group * parallelism / max_parallelism.
 */
#ifndef WEIR_DATA_ROW_KEY_H
#define WEIR_DATA_ROW_KEY_H

#include "data/batch.h"

#define WEIR_KEY_HASH_ID 1
#define WEIR_KEY_COLUMNS_MAX 16
#define WEIR_MAX_PARALLELISM_DEFAULT 128
#define WEIR_MAX_PARALLELISM_LIMIT 32768

struct weir_key_spec {
    int column_count;
    int columns[WEIR_KEY_COLUMNS_MAX];
};

/* Resolves column names. INVALID names the missing column and the nearest one. Every type may be a key,
 * but a MAP and what has one in it. */
weir_err weir_key_spec_resolve(const struct weir_schema *schema, const char *const *names, int name_count,
                               struct weir_key_spec *spec, struct weir_error *error);

/* hashes[0..row_count). */
void weir_key_hash(const struct weir_batch *batch, const struct weir_key_spec *spec, uint64_t *hashes);

/* Canonical encodings of all rows, back to back: offsets[0..row_count] into `out` (cleared first; max >= 1 GiB). */
void weir_key_encode(const struct weir_batch *batch, const struct weir_key_spec *spec, struct weir_buf *out,
                     uint32_t *offsets);
/* Decodes one key into row `row` of columns `to[0..column_count)` of a batch that is being built. */
weir_err weir_key_decode(const uint8_t *key, size_t size, const struct weir_key_spec *spec,
                         const struct weir_schema *schema, struct weir_column *const *to, int row, int row_capacity,
                         struct weir_error *error);

/* 0 <= key group < max_parallelism, from the hash's upper 32 bits by multiply-shift. */
static inline int weir_key_group(uint64_t hash, int max_parallelism)
{
    return (int)((hash >> 32) * (uint64_t)max_parallelism >> 32);
}
static inline int weir_key_group_subtask(int key_group, int max_parallelism, int parallelism)
{
    return (int)((int64_t)key_group * parallelism / max_parallelism);
}
/* Key groups [*first, *first + *count) belong to `subtask`. */
void weir_key_group_range(int max_parallelism, int parallelism, int subtask, int *first, int *count);

#endif
