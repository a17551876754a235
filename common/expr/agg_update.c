/* Aggregates: the typed loops that add rows to accumulators, and merging. Data path; one thread per weir_agg_input.
 *
 * Per aggregate and batch: `take` is the bitmap of rows that count (filter AND argument not NULL), NULL for all; then one
 * loop over (row, accumulator) pairs with nothing else decided inside.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "data/decimal.h"
#include "data/value_code.h"
#include "expr/agg_int.h"

struct prepared {
    struct weir_column arg;
    uint64_t *take;   /* NULL: all rows */
    uint64_t *bitmap; /* storage of take, WEIR_BATCH_ROWS_MAX bits or more */
    size_t bitmap_words;
};

struct weir_agg_input {
    struct weir_expr_scratch *scratch;
    int count;
    struct prepared *items; /* by def */
};

struct weir_agg_input *weir_agg_input_new(const struct weir_agg *agg)
{
    struct weir_agg_input *input = weir_zalloc(sizeof *input);
    input->scratch = weir_expr_scratch_new();
    input->count = agg->def_count;
    input->items = weir_zalloc((size_t)(agg->def_count + 1) * sizeof *input->items);
    return input;
}

void weir_agg_input_free(struct weir_agg_input *input)
{
    if (!input)
        return;
    for (int i = 0; i < input->count; i++) {
        weir_column_fini(&input->items[i].arg);
        free(input->items[i].bitmap);
    }
    free(input->items);
    weir_expr_scratch_free(input->scratch);
    free(input);
}

static weir_err prepare_one(const struct agg_def *def, struct prepared *item, struct weir_expr_scratch *scratch,
                            const struct weir_batch *batch, int *bad_row, struct weir_error *error)
{
    size_t words = weir_bitmap_words(batch->row_count);
    weir_err err;
    weir_column_fini(&item->arg);
    item->take = NULL;
    if (def->arg && (err = weir_expr_eval(def->arg, batch, scratch, &item->arg, bad_row, error)))
        return err;
    const uint64_t *validity = def->arg ? item->arg.validity : NULL;
    if (!validity && !def->filter)
        return WEIR_OK;
    if (item->bitmap_words < words) {
        free(item->bitmap);
        item->bitmap = weir_alloc(words * 8);
        item->bitmap_words = words;
    }
    if (def->filter) {
        if ((err = weir_expr_eval_mask(def->filter, batch, scratch, item->bitmap, bad_row, error)))
            return err;
        for (size_t w = 0; validity && w < words; w++)
            item->bitmap[w] &= validity[w];
    } else {
        memcpy(item->bitmap, validity, words * 8);
    }
    item->take = item->bitmap;
    return WEIR_OK;
}

weir_err weir_agg_prepare(const struct weir_agg *agg, struct weir_agg_input *input, const struct weir_batch *batch,
                          int *bad_row, struct weir_error *error)
{
    for (int i = 0; i < agg->def_count; i++) {
        weir_err err = prepare_one(&agg->defs[i], &input->items[i], input->scratch, batch, bad_row, error);
        if (err)
            return err;
    }
    return WEIR_OK;
}

/* --- Loops. In BODY: `acc` is the accumulator, `x` the value. */

#define LOOP(TAKEN, LOAD, BODY) \
    for (int i = 0; i < count; i++) { \
        int row = rows ? rows[i] : i; \
        (void)row; \
        if (!(TAKEN)) \
            continue; \
        union accumulator *acc = (void *)(accumulators[i] + offset); \
        LOAD; \
        BODY; \
    }
#define LOOPS(LOAD, BODY) \
    if (!take) \
        LOOP(true, LOAD, BODY) \
    else \
        LOOP(weir_bit_get(take, row), LOAD, BODY)

struct rows {
    const int32_t *rows;
    const uint64_t *take;
    uint8_t *const *accumulators;
    size_t offset;
    int count;
};
#define ROWS_LOCALS \
    const int32_t *rows = r->rows; \
    const uint64_t *take = r->take; \
    uint8_t *const *accumulators = r->accumulators; \
    const size_t offset = r->offset; \
    const int count = r->count;

static void update_count(const struct rows *r)
{
    ROWS_LOCALS
    LOOPS((void)0, acc->count++)
}

#define FIRST_BODY(FIELD) \
    if (!acc->number.seen) { \
        acc->number.FIELD = x; \
        acc->number.seen = 1; \
    }
#define LAST_BODY(FIELD) \
    acc->number.FIELD = x; \
    acc->number.seen = 1;
#define EXTREME_BODY(FIELD, OP) \
    if (!acc->number.seen || x OP acc->number.FIELD) { \
        acc->number.FIELD = x; \
        acc->number.seen = 1; \
    }
#define SUM_BODY_I \
    acc->number.i = (int64_t)((uint64_t)acc->number.i + (uint64_t)x); \
    acc->number.seen++;
#define SUM_BODY_D \
    acc->number.d += x; \
    acc->number.seen++;

/* All kinds for one type of argument. */
#define UPDATE(NAME, T, LOAD, FIELD, SUM_BODY) \
    static void update_##NAME(enum agg_kind kind, const struct weir_column *arg, const struct rows *r) \
    { \
        ROWS_LOCALS \
        switch (kind) { \
        case AGG_SUM: \
        case AGG_AVG: \
            LOOPS(T x = (T)LOAD, SUM_BODY) \
            break; \
        case AGG_MIN: \
            LOOPS(T x = (T)LOAD, EXTREME_BODY(FIELD, <)) \
            break; \
        case AGG_MAX: \
            LOOPS(T x = (T)LOAD, EXTREME_BODY(FIELD, >)) \
            break; \
        case AGG_FIRST: \
            LOOPS(T x = (T)LOAD, FIRST_BODY(FIELD)) \
            break; \
        default: \
            LOOPS(T x = (T)LOAD, LAST_BODY(FIELD)) \
        } \
    }
UPDATE(bool, int64_t, weir_bit_get(arg->bits, row), i, SUM_BODY_I)
UPDATE(i8, int64_t, arg->i8[row], i, SUM_BODY_I)
UPDATE(i16, int64_t, arg->i16[row], i, SUM_BODY_I)
UPDATE(i32, int64_t, arg->i32[row], i, SUM_BODY_I)
UPDATE(i64, int64_t, arg->i64[row], i, SUM_BODY_I)
UPDATE(f32, double, arg->f32[row], d, SUM_BODY_D)
UPDATE(f64, double, arg->f64[row], d, SUM_BODY_D)

/* --- Text: kept in the heap; a longer value gets a new place of twice the size, so that waste is bounded */

static void text_set(union accumulator *acc, const uint8_t *s, size_t n, struct weir_arena *heap)
{
    if (!acc->text.bytes || n > acc->text.capacity) {
        size_t capacity = 16;
        while (capacity < n)
            capacity *= 2;
        acc->text.bytes = weir_arena_alloc(heap, capacity);
        acc->text.capacity = (uint32_t)capacity;
    }
    if (n > 0)
        memcpy(acc->text.bytes, s, n);
    acc->text.size = (uint32_t)n;
}

static void text_offer(enum agg_kind kind, union accumulator *acc, const uint8_t *s, size_t n, struct weir_arena *heap)
{
    if (acc->text.bytes && kind != AGG_LAST) {
        if (kind == AGG_FIRST)
            return;
        struct value a = {.s = s, .n = n}, b = {.s = acc->text.bytes, .n = acc->text.size};
        int order = expr_value_compare(PHYS_BYTES, &a, &b);
        if (kind == AGG_MIN ? order >= 0 : order <= 0)
            return;
    }
    text_set(acc, s, n, heap);
}

/* --- Decimals: sums of up to 38 digits */

static void decimal_offer(const struct agg_def *def, union accumulator *acc, struct weir_decimal x, int64_t seen)
{
    weir_int128 value = weir_decimal_get(x), sum = weir_decimal_get(acc->decimal.value);
    if (acc->decimal.seen == DECIMAL_OVERFLOW)
        return;
    if (def->kind == AGG_SUM || def->kind == AGG_AVG) {
        sum += value; /* of two with 38 digits at most: it fits 128 bits */
        acc->decimal.value = weir_decimal_make(sum);
        acc->decimal.seen =
            weir_decimal_fits(sum, WEIR_DECIMAL_DIGITS_MAX) ? acc->decimal.seen + seen : DECIMAL_OVERFLOW;
        return;
    }
    if (acc->decimal.seen &&
        (def->kind == AGG_FIRST || (def->kind == AGG_MIN && value >= sum) || (def->kind == AGG_MAX && value <= sum)))
        return;
    acc->decimal.value = x;
    acc->decimal.seen = 1;
}

static void update_decimal(const struct agg_def *def, const struct weir_column *arg, const struct rows *r)
{
    ROWS_LOCALS
    LOOPS((void)0, decimal_offer(def, acc, arg->decimals[row], 1))
}

static void update_nested(enum agg_kind kind, const struct weir_column *arg, const struct rows *r,
                          struct weir_arena *heap)
{
    ROWS_LOCALS
    uint8_t *bytes = NULL;
    size_t capacity = 0;
    for (int i = 0; i < count; i++) {
        int row = rows ? rows[i] : i;
        union accumulator *acc = (void *)(accumulators[i] + offset);
        if ((take && !weir_bit_get(take, row)) || (kind == AGG_FIRST && acc->text.bytes))
            continue;
        size_t size = weir_value_size(arg, row);
        if (size > capacity) {
            free(bytes);
            bytes = weir_alloc(capacity = 2 * size);
        }
        weir_value_put(arg, row, false, bytes);
        text_offer(kind, acc, bytes, size, heap);
    }
    free(bytes);
}

static void update_text(enum agg_kind kind, const struct weir_column *arg, const struct rows *r,
                        struct weir_arena *heap)
{
    ROWS_LOCALS
    LOOPS(size_t n; const uint8_t *s = weir_column_bytes(arg, row, &n), text_offer(kind, acc, s, n, heap))
}

void weir_agg_update(const struct weir_agg *agg, struct weir_agg_input *input, const int32_t *rows,
                     uint8_t *const *accumulators, int count, struct weir_arena *heap)
{
    for (int d = 0; d < agg->def_count; d++) {
        const struct agg_def *def = &agg->defs[d];
        const struct prepared *item = &input->items[d];
        struct rows r = {rows, item->take, accumulators, def->offset, count};
        if (def->kind == AGG_COUNT) {
            update_count(&r);
            continue;
        }
        switch (def->phys) {
        case PHYS_BOOL:
            update_bool(def->kind, &item->arg, &r);
            break;
        case PHYS_I8:
            update_i8(def->kind, &item->arg, &r);
            break;
        case PHYS_I16:
            update_i16(def->kind, &item->arg, &r);
            break;
        case PHYS_I32:
            update_i32(def->kind, &item->arg, &r);
            break;
        case PHYS_I64:
            update_i64(def->kind, &item->arg, &r);
            break;
        case PHYS_F32:
            update_f32(def->kind, &item->arg, &r);
            break;
        case PHYS_F64:
            update_f64(def->kind, &item->arg, &r);
            break;
        case PHYS_BYTES:
            update_text(def->kind, &item->arg, &r, heap);
            break;
        case PHYS_DECIMAL:
            update_decimal(def, &item->arg, &r);
            break;
        case PHYS_NESTED:
            update_nested(def->kind, &item->arg, &r, heap);
            break;
        }
    }
}

/* --- Merging: `from` is the later one */

static void merge_number(const struct agg_def *def, union accumulator *into, const union accumulator *from)
{
    bool floating = def->phys == PHYS_F32 || def->phys == PHYS_F64;
    if (!from->number.seen)
        return;
    if (def->kind == AGG_SUM || def->kind == AGG_AVG) {
        if (floating)
            into->number.d += from->number.d;
        else
            into->number.i = (int64_t)((uint64_t)into->number.i + (uint64_t)from->number.i);
        into->number.seen += from->number.seen;
        return;
    }
    bool less = floating ? from->number.d < into->number.d : from->number.i < into->number.i;
    bool more = floating ? from->number.d > into->number.d : from->number.i > into->number.i;
    if (!into->number.seen || def->kind == AGG_LAST || (def->kind == AGG_MIN && less) || (def->kind == AGG_MAX && more))
        into->number = from->number;
}

static void merge_decimal(const struct agg_def *def, union accumulator *into, const union accumulator *from)
{
    if (from->decimal.seen == DECIMAL_OVERFLOW)
        into->decimal = from->decimal;
    else if (from->decimal.seen)
        decimal_offer(def, into, from->decimal.value, from->decimal.seen);
}

void weir_agg_merge(const struct weir_agg *agg, uint8_t *into, const uint8_t *from, struct weir_arena *heap)
{
    for (int d = 0; d < agg->def_count; d++) {
        const struct agg_def *def = &agg->defs[d];
        union accumulator *to = (void *)(into + def->offset);
        const union accumulator *other = (const void *)(from + def->offset);
        if (def->kind == AGG_COUNT)
            to->count += other->count;
        else if (def->phys == PHYS_DECIMAL)
            merge_decimal(def, to, other);
        else if (def->phys != PHYS_BYTES && def->phys != PHYS_NESTED)
            merge_number(def, to, other);
        else if (other->text.bytes)
            text_offer(def->kind, to, other->text.bytes, other->text.size, heap);
    }
}
