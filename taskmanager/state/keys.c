/* The forms of a batch's keys: raw 64-bit values for keys of one small column, canonical encodings and hashes for all others.
 *
 * Raw values: integers, dates, times and timestamps sign-extended, BOOLEAN 0 or 1, FLOAT and DOUBLE as their canonical bits
 * (-0.0 as 0.0, one NaN), so that equal keys have equal raw values. Owning thread: the task's worker.
 */
#include "state/state_int.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/assert.h"
#include "base/hash.h"

#define KEY_BYTES_MAX ((size_t)1 << 30)

static int raw_width(enum weir_type_id type)
{
    return type == WEIR_TYPE_BOOLEAN ? 1 : weir_type_width(type);
}

enum weir_type_id weir_state_fixed_key(const struct weir_schema *schema, const struct weir_key_spec *spec)
{
    if (spec->column_count != 1)
        return WEIR_TYPE_NONE;
    enum weir_type_id type = schema->fields[spec->columns[0]].type.id;
    int width = raw_width(type);
    return width > 0 && width <= 8 ? type : WEIR_TYPE_NONE;
}

/* --- Raw value <-> canonical encoding */

static bool is_float(enum weir_type_id type)
{
    return type == WEIR_TYPE_FLOAT || type == WEIR_TYPE_DOUBLE;
}

uint32_t weir_state_encode_raw(enum weir_type_id type, uint64_t raw, uint8_t out[WEIR_STATE_RAW_KEY_SIZE_MAX])
{
    int width = raw_width(type);
    uint64_t sign = (uint64_t)1 << (width * 8 - 1);
    out[0] = 1;
    if (is_float(type))
        raw = raw & sign ? ~raw : raw ^ sign;
    else if (type != WEIR_TYPE_BOOLEAN)
        raw ^= sign;
    uint64_t big = __builtin_bswap64(raw << (64 - 8 * width));
    memcpy(out + 1, &big, 8);
    return (uint32_t)width + 1;
}

bool weir_state_decode_raw(enum weir_type_id type, const uint8_t *key, uint32_t key_size, uint64_t *raw)
{
    if (key_size < 1 || key[0] == 0)
        return false;
    int width = raw_width(type);
    weir_assert((int)key_size == width + 1);
    uint64_t value = 0;
    for (int i = 0; i < width; i++)
        value = value << 8 | key[1 + i];
    uint64_t sign = (uint64_t)1 << (width * 8 - 1);
    uint64_t ones = width == 8 ? ~(uint64_t)0 : ((uint64_t)1 << width * 8) - 1;
    if (is_float(type)) {
        value = value & sign ? value ^ sign : ~value & ones;
    } else if (type != WEIR_TYPE_BOOLEAN) {
        value ^= sign;
        value = (value ^ sign) - sign; /* sign-extends */
    }
    *raw = value;
    return true;
}

/* --- Batch -> keys */

struct weir_state_key_scratch {
    struct weir_key_spec spec;
    enum weir_type_id fixed_key;
    uint64_t *words;   /* raw values, or hashes */
    uint32_t *offsets; /* variable keys */
    struct weir_buf bytes;
};

struct weir_state_key_scratch *weir_state_key_scratch_new(const struct weir_schema *schema,
                                                          const struct weir_key_spec *spec)
{
    struct weir_state_key_scratch *scratch = weir_zalloc(sizeof *scratch);
    scratch->spec = *spec;
    scratch->fixed_key = weir_state_fixed_key(schema, spec);
    scratch->words = weir_alloc(WEIR_BATCH_ROWS_MAX * sizeof *scratch->words);
    scratch->offsets = weir_zalloc((WEIR_BATCH_ROWS_MAX + 1) * sizeof *scratch->offsets);
    weir_buf_init(&scratch->bytes, KEY_BYTES_MAX);
    return scratch;
}

void weir_state_key_scratch_free(struct weir_state_key_scratch *scratch)
{
    if (!scratch)
        return;
    weir_buf_fini(&scratch->bytes);
    free(scratch->offsets);
    free(scratch->words);
    free(scratch);
}

static void raw_floats(const struct weir_column *column, int count, uint64_t *out)
{
    for (int i = 0; i < count; i++) {
        float value = column->f32[i];
        uint32_t bits = 0x7fc00000u;
        if (value == 0)
            bits = 0;
        else if (value == value)
            memcpy(&bits, &value, sizeof bits);
        out[i] = bits;
    }
}

static void raw_doubles(const struct weir_column *column, int count, uint64_t *out)
{
    for (int i = 0; i < count; i++) {
        double value = column->f64[i];
        uint64_t bits = 0x7ff8000000000000u;
        if (value == 0)
            bits = 0;
        else if (value == value)
            memcpy(&bits, &value, sizeof bits);
        out[i] = bits;
    }
}

static const uint64_t *raw_values(const struct weir_column *column, enum weir_type_id type, int count, uint64_t *out)
{
    switch (type) {
    case WEIR_TYPE_INT64:
    case WEIR_TYPE_TIMESTAMP:
    case WEIR_TYPE_TIMESTAMP_LTZ:
        return (const uint64_t *)column->i64;
    case WEIR_TYPE_INT32:
    case WEIR_TYPE_DATE:
    case WEIR_TYPE_TIME:
        for (int i = 0; i < count; i++)
            out[i] = (uint64_t)(int64_t)column->i32[i];
        break;
    case WEIR_TYPE_INT16:
        for (int i = 0; i < count; i++)
            out[i] = (uint64_t)(int64_t)column->i16[i];
        break;
    case WEIR_TYPE_INT8:
        for (int i = 0; i < count; i++)
            out[i] = (uint64_t)(int64_t)column->i8[i];
        break;
    case WEIR_TYPE_BOOLEAN:
        for (int i = 0; i < count; i++)
            out[i] = weir_bit_get(column->bits, i);
        break;
    case WEIR_TYPE_FLOAT:
        raw_floats(column, count, out);
        break;
    default:
        weir_assert(type == WEIR_TYPE_DOUBLE);
        raw_doubles(column, count, out);
    }
    return out;
}

void weir_state_keys(struct weir_state_key_scratch *scratch, const struct weir_batch *batch,
                     struct weir_state_keys *keys)
{
    int count = batch->row_count;
    memset(keys, 0, sizeof *keys);
    keys->row_count = count;
    if (scratch->fixed_key != WEIR_TYPE_NONE) {
        const struct weir_column *column = &batch->columns[scratch->spec.columns[0]];
        keys->fixed = raw_values(column, scratch->fixed_key, count, scratch->words);
        keys->validity = column->validity;
        return;
    }
    keys->hashes = scratch->words;
    keys->offsets = scratch->offsets;
    if (scratch->spec.column_count == 0) {
        uint64_t hash = weir_xxh3("", 0);
        for (int i = 0; i < count; i++)
            scratch->words[i] = hash;
        memset(scratch->offsets, 0, ((size_t)count + 1) * sizeof *scratch->offsets);
        keys->bytes = (const uint8_t *)"";
        return;
    }
    weir_key_encode(batch, &scratch->spec, &scratch->bytes, scratch->offsets);
    keys->bytes = scratch->bytes.data;
    for (int i = 0; i < count; i++)
        scratch->words[i] = XXH3_64bits(keys->bytes + keys->offsets[i], keys->offsets[i + 1] - keys->offsets[i]);
}
