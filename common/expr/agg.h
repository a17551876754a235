/* Aggregates: the select list of a grouped window, compiled to typed updates of fixed-size accumulators.
 *
 *   "device_id, window_start, window_end, COUNT(*) AS readings, MIN(temperature) AS low,
 *    AVG(temperature) AS mean, COUNT(*) FILTER (WHERE is_abnormal) AS abnormal"
 *
 * Items: a key column, window_start, window_end (TIMESTAMP(3) NOT NULL), or an aggregate call with an optional FILTER:
 * COUNT(*), COUNT(x), SUM, MIN, MAX, AVG, FIRST_VALUE/FIRST, LAST_VALUE/LAST. The argument is any expression over the
 * input. Types are Flink's: COUNT BIGINT NOT NULL; SUM, MIN, MAX, FIRST, LAST of the argument's type, nullable; AVG of the
 * argument's type in Flink (integer division for integers, DOUBLE for DOUBLE). NULLs are not counted; the result over no
 * value is NULL. SUM of DECIMAL(p, s) is DECIMAL(38, s), and NULL when it overflows; AVG is DECIMAL(38, max(6, s)).
 * ARRAY, MAP and ROW have FIRST, LAST and COUNT. Expressions over aggregates ("SUM(a) / COUNT(*)") are allowed: the item's
 * expression is evaluated over the aggregates' results.
 *
 * An accumulator is `accumulator_size` bytes (a multiple of 8) of plain data, so that a state table can hold, copy and
 * store it; variable-size values (MIN of STRING) keep a pointer into `heap`, which the state table owns and accounts for.
 * Accumulators begin as all zero bytes. A copy of an accumulator may be read but not updated beside the original: text in
 * the heap is overwritten in place; to go on from a copy, merge it into a zero accumulator.
 * SUM and AVG of FLOAT and DOUBLE add up in double, in row order.
 */
#ifndef WEIR_EXPR_AGG_H
#define WEIR_EXPR_AGG_H

#include "data/row_key.h"
#include "expr/expr.h"

struct weir_agg;

/* `keys` are the key columns of the input; windowed: window_start and window_end may be named. */
weir_err weir_agg_compile(const char *text, const struct weir_schema *input, const struct weir_key_spec *keys,
                          bool windowed, struct weir_agg **agg, struct weir_expr_error *error);
void weir_agg_free(struct weir_agg *agg);
struct weir_schema *weir_agg_schema(const struct weir_agg *agg); /* of the result; borrowed */
size_t weir_agg_accumulator_size(const struct weir_agg *agg);

/* Per batch: evaluates arguments and filters over all rows once. */
struct weir_agg_input; /* one per evaluating operator, reused */
struct weir_agg_input *weir_agg_input_new(const struct weir_agg *agg);
void weir_agg_input_free(struct weir_agg_input *input);
weir_err weir_agg_prepare(const struct weir_agg *agg, struct weir_agg_input *input, const struct weir_batch *batch,
                          int *bad_row, struct weir_error *error);
/* Adds row rows[i] (or i where rows is NULL) of the prepared batch to accumulators[i], for i in [0, count). The same
 * accumulator may occur many times; order of rows is kept. No per-row branches on type: one typed loop per aggregate. */
void weir_agg_update(const struct weir_agg *agg, struct weir_agg_input *input, const int32_t *rows,
                     uint8_t *const *accumulators, int count, struct weir_arena *heap);
/* Adds `from` to `into` (panes of a sliding window, sessions that merge; `from` is the later one in time). */
void weir_agg_merge(const struct weir_agg *agg, uint8_t *into, const uint8_t *from, struct weir_arena *heap);

/* The accumulator as bytes for a checkpoint: for each aggregate 8 (COUNT), 24 (DECIMAL) or 16 bytes, little-endian; of text, and of
 * values of nested types (value_code.h), u8 1, u32 size, the bytes, or u8 0
 * when there is none yet. At most `out->max`; asserted. */
void weir_agg_encode(const struct weir_agg *agg, const uint8_t *accumulator, struct weir_buf *out);
/* Into an accumulator of zeros. False: the bytes are not of these aggregates. */
bool weir_agg_decode(const struct weir_agg *agg, const uint8_t *bytes, size_t size, uint8_t *accumulator,
                     struct weir_arena *heap);
/* Of which aggregates: kinds and types, in order. Accumulators can be decoded where it is the same. */
uint64_t weir_agg_layout(const struct weir_agg *agg);

/* Results of `count` groups as a batch (count <= WEIR_BATCH_ROWS_MAX). keys: canonical encodings (row_key.h) of the groups;
 * window bounds are used when windowed. */
struct weir_agg_group {
    const uint8_t *key;
    uint32_t key_size;
    const uint8_t *accumulator;
    int64_t window_start_ms; /* inclusive */
    int64_t window_end_ms;   /* exclusive */
};
weir_err weir_agg_result(const struct weir_agg *agg, const struct weir_agg_group *groups, int count,
                         struct weir_batch **out, struct weir_error *error);

#endif
