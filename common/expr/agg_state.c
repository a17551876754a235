/* Accumulators as bytes, for checkpoints: no pointer and no unused byte goes out. Numbers are stored as they lie (little-endian). */
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "expr/agg_int.h"

static void put(struct weir_buf *out, const void *bytes, size_t size)
{
    bool ok = size == 0 || weir_buf_append(out, bytes, size);
    weir_assert(ok);
}

static bool is_text(const struct agg_def *def)
{
    return def->kind != AGG_COUNT && (def->phys == PHYS_BYTES || def->phys == PHYS_NESTED);
}

static size_t fixed_size(const struct agg_def *def)
{
    const union accumulator *none = NULL;
    return def->kind == AGG_COUNT      ? sizeof none->count
           : def->phys == PHYS_DECIMAL ? sizeof none->decimal
                                       : sizeof none->number;
}

void weir_agg_encode(const struct weir_agg *agg, const uint8_t *accumulator, struct weir_buf *out)
{
    for (int d = 0; d < agg->def_count; d++) {
        const struct agg_def *def = &agg->defs[d];
        const union accumulator *from = (const void *)(accumulator + def->offset);
        if (!is_text(def)) {
            put(out, from, fixed_size(def));
            continue;
        }
        uint8_t present = from->text.bytes != NULL;
        put(out, &present, 1);
        if (!present)
            continue;
        put(out, &from->text.size, sizeof from->text.size);
        put(out, from->text.bytes, from->text.size);
    }
}

/* False: so many are not there. */
static bool get(const uint8_t **at, const uint8_t *end, void *out, size_t size)
{
    if ((size_t)(end - *at) < size)
        return false;
    memcpy(out, *at, size);
    *at += size;
    return true;
}

static bool get_text(const uint8_t **at, const uint8_t *end, union accumulator *to, struct weir_arena *heap)
{
    uint8_t present;
    uint32_t size;
    if (!get(at, end, &present, 1))
        return false;
    if (!present)
        return true;
    if (!get(at, end, &size, sizeof size) || (size_t)(end - *at) < size)
        return false;
    to->text.bytes = weir_arena_alloc(heap, size ? size : 1);
    to->text.size = to->text.capacity = size;
    return get(at, end, to->text.bytes, size);
}

bool weir_agg_decode(const struct weir_agg *agg, const uint8_t *bytes, size_t size, uint8_t *accumulator,
                     struct weir_arena *heap)
{
    const uint8_t *at = bytes, *end = bytes + size;
    for (int d = 0; d < agg->def_count; d++) {
        const struct agg_def *def = &agg->defs[d];
        union accumulator *to = (void *)(accumulator + def->offset);
        bool ok = is_text(def) ? get_text(&at, end, to, heap) : get(&at, end, to, fixed_size(def));
        if (!ok)
            return false;
    }
    return at == end;
}

uint64_t weir_agg_layout(const struct weir_agg *agg)
{
    uint8_t shape[6 * AGG_DEFS_MAX];
    size_t size = 2 * (size_t)agg->def_count;
    for (int d = 0; d < agg->def_count; d++) {
        shape[2 * d] = (uint8_t)agg->defs[d].kind;
        shape[2 * d + 1] = agg->defs[d].kind == AGG_COUNT ? 0 : (uint8_t)agg->defs[d].phys;
        if (shape[2 * d + 1] < PHYS_DECIMAL)
            continue;
        /* What the bytes mean is in the type then: its text's hash follows. */
        struct weir_type type = agg->defs[d].type;
        struct weir_buf text;
        type.scale = agg->defs[d].scale;
        type.nullable = true;
        weir_buf_init(&text, WEIR_TYPE_TEXT_MAX);
        bool ok = weir_type_text(&type, &text);
        weir_assert(ok);
        uint32_t hash = (uint32_t)weir_xxh3(text.data, text.size);
        memcpy(shape + size, &hash, sizeof hash);
        size += sizeof hash;
        weir_buf_fini(&text);
    }
    return weir_xxh3(shape, size);
}
