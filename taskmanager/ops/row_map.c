/* map and flat_map: C functions of the job over row structs (weir/weir.h).
 *
 * Rows are converted column by column into an array of structs, a block at a time, the functions are called on them, and what they wrote is
 * converted back column by column. Consecutive functions of one chain whose row types agree are fused (row_map_absorb): the
 * first operator holds all their stages, and a struct goes from one function to the next as it is.
 *
 * Two ways to call. By block: every stage is a map and no struct that is written holds strings, so that a stage runs over the
 * whole block before the next. By row: all stages for one row, and the strings of the last are copied at once, because their
 * memory is the function's and valid for the call only.
 *
 * A call yields between rows when its time is up; the cursor (row, stage) is kept, and the item is not DONE, so no barrier passes.
 * Nothing of user code is trusted: strings, NULL bits and return values are checked before they become columns.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arguments.h"
#include "base/assert.h"
#include "ops/row_convert.h"

#define BLOCK_ROWS_MAX 512 /* long runs of one function: a switch of stages costs a few mispredicted branches */
#define BLOCK_BYTES ((size_t)16 << 10) /* of structs: two blocks are hot at a time and should stay in the first cache */
#define STAGES_MAX 64
#define QUEUE_MAX 4096 /* finished batches that one call of a flat_map may leave behind */
#define SCRATCH_SIZE_MAX ((size_t)16 << 20)

struct row_map;
struct stage {
    struct weir_ctx ctx;      /* what the function sees */
    struct weir_out_rows out; /* what a flat_map sees */
    struct row_map *map;      /* the operator that runs it */
    struct weir_op_ctx *op_ctx;
    weir_map_fn *map_fn; /* one of the two */
    weir_flat_map_fn *flat_map_fn;
    size_t out_size, out_words;
    int index;     /* in map->stages */
    uint8_t *rows; /* a block of structs of its output */
    uint8_t *
        block; /* where the stage writes by block: its own rows, or those of the one two before it, which are still in the cache */
    uint64_t in_count, out_count; /* of this call */
    bool failed;                  /* said WEIR_FAIL */
};

struct queued {
    struct weir_batch *batch;
    struct queued *next;
};

struct row_map {
    struct weir_row_converter in, out;
    uint8_t *in_rows; /* a block of structs */
    struct stage *own;
    struct stage *stages[STAGES_MAX]; /* own, then absorbed ones */
    int stage_count;
    struct weir_op_ctx *last; /* of the last stage: where results go */
    const struct weir_row_type *row_in, *row_out;
    bool absorbed; /* somebody else runs the stages */
    bool by_block;
    bool has_flat; /* a stage is a flat_map */

    /* Cursor within the item */
    int row;         /* first of the block, or the row */
    int block_count; /* rows in the block; 0: none in work */
    int block_stage, block_row;
    int block_rows; /* of a full block */
    int step;       /* rows between two looks at the clock */

    struct weir_batch *result; /* being built; its row_count lags by pending_count */
    uint8_t *pending;          /* structs whose fixed fields are not in `result` yet */
    int pending_count;
    size_t result_bytes; /* of strings */
    int result_rows;     /* capacity of a new one */
    int64_t origin_ns;
    struct queued *queue, **queue_end;
    int queue_count;
    struct weir_arena scratch;
    size_t scratch_size;
};

static const struct weir_option row_map_options[] = {
    {"row.in", WEIR_OPTION_STRING, NULL, NULL, "Columns of the input row struct, as the column list of a CREATE TABLE"},
    {0},
};

/* --- Plan */

static weir_err row_map_plan(struct weir_op_plan *plan, struct weir_error *error)
{
    weir_err err =
        weir_options_check(plan->name, plan->options, plan->option_count, row_map_options, NULL, NULL, error);
    if (err)
        return err;
    if (!plan->declared)
        return weir_fail(error, WEIR_ERR_INVALID, "it declares no output row");
    const char *text = weir_options_get(plan->options, plan->option_count, row_map_options, "row.in");
    err = weir_row_check_columns("row.in", text, plan->inputs[0], error);
    if (!err)
        plan->output = weir_schema_ref(plan->declared);
    return err;
}

/* --- Results */

/* The pending structs become columns. */
static void flush_pending(struct row_map *map)
{
    if (map->pending_count == 0)
        return;
    weir_row_store_fixed(&map->out, map->pending, map->pending_count, map->result, map->result->row_count);
    map->result->row_count += map->pending_count;
    map->pending_count = 0;
}

/* The batch, if it has rows, goes to the queue. */
static weir_err finish_result(struct row_map *map, struct weir_error *error)
{
    flush_pending(map);
    if (!map->result)
        return 0;
    struct weir_batch *batch = map->result;
    map->result = NULL;
    map->result_bytes = 0;
    if (batch->row_count == 0) {
        weir_batch_unref(batch);
        return 0;
    }
    if (map->queue_count == QUEUE_MAX) {
        weir_batch_unref(batch);
        return weir_fail(error, WEIR_ERR_USER_CODE, "one call emitted more than %d batches of rows", QUEUE_MAX);
    }
    struct queued *queued = weir_alloc(sizeof *queued);
    *queued = (struct queued){batch, NULL};
    *map->queue_end = queued;
    map->queue_end = &queued->next;
    map->queue_count++;
    return 0;
}

/* True: the queue is empty. */
static bool drain(struct row_map *map)
{
    while (map->queue && !weir_out_full(map->last->out)) {
        struct queued *first = map->queue;
        map->queue = first->next;
        if (!map->queue)
            map->queue_end = &map->queue;
        map->queue_count--;
        weir_out_push(map->last->out, first->batch);
        free(first);
    }
    return map->queue == NULL;
}

static void begin_result(struct row_map *map)
{
    if (map->result)
        return;
    map->result = weir_batch_new(map->last->plan->output, map->result_rows);
    map->result->origin_ns = map->origin_ns;
}

static bool result_full(const struct row_map *map)
{
    return map->result && (map->result->row_count + map->pending_count == map->result->row_capacity ||
                           map->result_bytes > WEIR_BATCH_BYTES_SOFT_MAX);
}

/* One struct of the last stage: copied, strings included. */
static weir_err append_row(struct row_map *map, const uint8_t *row, struct weir_error *error)
{
    weir_err err = weir_row_check_nulls(&map->out, row, error);
    if (!err && result_full(map))
        err = finish_result(map, error);
    if (err)
        return err;
    if (map->pending_count == map->block_rows)
        flush_pending(map);
    begin_result(map);
    int at = map->result->row_count + map->pending_count;
    if (map->out.has_strings &&
        (err = weir_row_store_strings(&map->out, row, map->result, at, &map->result_bytes, error)))
        return err;
    memcpy(map->pending + (size_t)map->pending_count * map->out.row_size, row, map->out.row_size);
    map->pending_count++;
    return 0;
}

/* --- What functions call */

__attribute__((format(printf, 2, 3))) static int ctx_fail(struct weir_ctx *ctx, const char *format, ...)
{
    struct stage *stage = (struct stage *)(void *)ctx; /* its first member */
    char text[700];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    stage->failed = true;
    (void)weir_fail(&stage->map->own->op_ctx->error, WEIR_ERR_USER_CODE, "%s", text);
    return -1;
}

static char *ctx_scratch(struct weir_ctx *ctx, size_t size)
{
    struct stage *stage = (struct stage *)(void *)ctx;
    if (size > SCRATCH_SIZE_MAX - stage->map->scratch_size)
        return NULL;
    stage->map->scratch_size += size ? size : 1;
    return weir_arena_alloc(&stage->map->scratch, size);
}

static const char *ctx_argument(struct weir_ctx *ctx, const char *name, const char *fallback)
{
    const struct weir_op_ctx *op_ctx = ((struct stage *)(void *)ctx)->op_ctx;
    const char *value = weir_argument_find(op_ctx->arguments, op_ctx->argument_count, name);
    return value ? value : fallback;
}

/* A function returned `result`, not 0: completes the sentence. */
static weir_err function_failed(struct stage *stage, int result)
{
    struct weir_error *error = &stage->map->own->op_ctx->error;
    if (!stage->failed)
        (void)weir_fail(error, WEIR_ERR_USER_CODE, "the function returned %d", result);
    stage->failed = false;
    if (stage->index > 0) /* the operator's own name is put before it by the caller */
        (void)weir_wrap(error, "%s", stage->op_ctx->plan->name);
    return WEIR_ERR_USER_CODE;
}

/* A struct is small: a loop over words beats memset()'s dispatch. Its memory has room for whole words. */
static inline void clear_row(struct stage *stage)
{
    uint64_t *words = (uint64_t *)(void *)stage->rows;
    for (size_t i = 0; i < stage->out_words; i++)
        words[i] = 0;
}

/* --- By row: stages from `index` on, for one struct */

static weir_err run_row(struct row_map *map, int index, const uint8_t *row)
{
    for (; index < map->stage_count; index++) {
        struct stage *stage = map->stages[index];
        int result;
        stage->in_count++;
        map->own->op_ctx->op_at_hand = stage->op_ctx->plan->name;
        if (stage->flat_map_fn) {
            bool failed_before = map->own->op_ctx->error.code != 0;
            result = stage->flat_map_fn(&stage->ctx, row, &stage->out);
            if (result == 0)
                return 0;
            /* A stage behind has said why already: emit() returned non-zero, and the function handed that on. */
            if (!failed_before && map->own->op_ctx->error.code != 0 && !stage->failed)
                return WEIR_ERR_USER_CODE;
            return function_failed(stage, result);
        }
        clear_row(stage);
        result = stage->map_fn(&stage->ctx, row, stage->rows);
        if (result != 0)
            return function_failed(stage, result);
        stage->out_count++;
        row = stage->rows;
    }
    return append_row(map, row, &map->own->op_ctx->error);
}

static int stage_emit(struct weir_out_rows *out, const void *row)
{
    struct stage *stage = (struct stage *)(void *)((uint8_t *)out - offsetof(struct stage, out));
    struct row_map *map = stage->map;
    if (map->own->op_ctx->error.code != 0)
        return -1; /* the task is failing; the function did not look at an earlier result */
    stage->out_count++;
    return run_row(map, stage->index + 1, row) ? -1 : 0;
}

static void reset_scratch(struct row_map *map)
{
    if (map->scratch_size > 0) {
        weir_arena_reset(&map->scratch);
        map->scratch_size = 0;
    }
}

static int rows_of_block(const struct row_map *map, const struct weir_batch *batch)
{
    int left = batch->row_count - map->row;
    return left < map->block_rows ? left : map->block_rows;
}

static weir_err next_by_row(struct row_map *map, const struct weir_batch *batch)
{
    if (map->block_row == map->block_count) {
        map->row += map->block_count;
        map->block_row = 0;
        map->block_count = rows_of_block(map, batch);
        weir_row_load(&map->in, batch, map->row, map->block_count, map->in_rows);
    }
    int end = map->block_row + map->step < map->block_count ? map->block_row + map->step : map->block_count;
    for (; map->block_row < end; map->block_row++) {
        map->own->op_ctx->row_at_hand = map->row + map->block_row;
        weir_err err = run_row(map, 0, map->in_rows + (size_t)map->block_row * map->in.row_size);
        /* A flat_map may drop the code that emit() gave it. */
        if (err || map->own->op_ctx->error.code != 0)
            return WEIR_ERR_USER_CODE;
        reset_scratch(map);
    }
    return 0;
}

/* --- By block: a stage over all rows of the block, then the next stage */

static weir_err next_by_block(struct row_map *map, const struct weir_batch *batch)
{
    if (map->block_count == 0) {
        map->block_count = rows_of_block(map, batch);
        map->block_stage = map->block_row = 0;
        weir_row_load(&map->in, batch, map->row, map->block_count, map->in_rows);
    }
    struct stage *stage = map->stages[map->block_stage];
    const uint8_t *in = map->block_stage == 0 ? map->in_rows : map->stages[map->block_stage - 1]->block;
    size_t in_size = map->block_stage == 0 ? map->in.row_size : map->stages[map->block_stage - 1]->out_size;
    int end = map->block_row + map->step < map->block_count ? map->block_row + map->step : map->block_count;
    int at = map->block_row;
    uint8_t *to = stage->block + (size_t)at * stage->out_size;
    weir_map_fn *fn = stage->map_fn;
    memset(to, 0, (size_t)(end - at) * stage->out_size);
    in += (size_t)at * in_size;
    volatile int *row_at_hand = &map->own->op_ctx->row_at_hand;
    map->own->op_ctx->op_at_hand = stage->op_ctx->plan->name;
    for (; at < end; at++, in += in_size, to += stage->out_size) {
        *row_at_hand = map->row + at;
        int result = fn(&stage->ctx, in, to);
        if (__builtin_expect(result != 0, 0)) {
            map->block_row = at;
            return function_failed(stage, result);
        }
    }
    reset_scratch(map);
    map->block_row = end;
    if (end < map->block_count)
        return 0;
    stage->in_count += (uint64_t)end;
    stage->out_count += (uint64_t)end;
    map->block_row = 0;
    if (++map->block_stage < map->stage_count)
        return 0;
    weir_err err = 0;
    int left = map->block_count;
    if (map->out.nulls_offset >= 0)
        for (int i = 0; i < left; i++)
            if (weir_row_check_nulls(&map->out, stage->block + (size_t)i * stage->out_size, &map->own->op_ctx->error)) {
                map->block_row = i;
                return WEIR_ERR_USER_CODE;
            }
    for (const uint8_t *rows = stage->block; left > 0;) {
        if (result_full(map) && (err = finish_result(map, &map->own->op_ctx->error)))
            return err;
        begin_result(map);
        int room = map->result->row_capacity - map->result->row_count, count = left < room ? left : room;
        weir_row_store_fixed(&map->out, rows, count, map->result, map->result->row_count);
        map->result->row_count += count;
        rows += (size_t)count * stage->out_size;
        left -= count;
    }
    map->row += map->block_count;
    map->block_count = 0;
    return 0;
}

/* --- The operator */

static struct weir_op_ctx *stage_init(struct row_map *map, struct weir_op_ctx *ctx, bool flat)
{
    struct stage *stage = map->own = weir_zalloc(sizeof *stage);
    stage->ctx = (struct weir_ctx){.size = sizeof stage->ctx,
                                   .subtask = ctx->subtask,
                                   .parallelism = ctx->parallelism,
                                   .attempt = ctx->attempt,
                                   .watermark = ctx->watermark_ms,
                                   .fail_task = ctx_fail,
                                   .scratch = ctx_scratch,
                                   .argument = ctx_argument};
    stage->out.emit = stage_emit;
    stage->map = map;
    stage->op_ctx = ctx;
    if (flat)
        stage->flat_map_fn = (weir_flat_map_fn *)ctx->function;
    else
        stage->map_fn = (weir_map_fn *)ctx->function;
    stage->out_size = map->row_out->size;
    stage->out_words = (stage->out_size + 7) / 8;
    stage->rows = weir_zalloc((size_t)map->block_rows * stage->out_size + 8);
    stage->block = stage->rows;
    map->stages[0] = stage;
    map->stage_count = 1;
    return ctx;
}

static weir_err row_map_start(struct weir_op *op, struct weir_op_ctx *ctx, bool flat, struct weir_error *error)
{
    struct row_map *map = (struct row_map *)op;
    map->queue_end = &map->queue;
    map->step = 1;
    weir_arena_init(&map->scratch);
    map->row_in = ctx->row_in;
    map->row_out = ctx->row_out;
    if (!ctx->function || !map->row_in || !map->row_out)
        return weir_fail(error, WEIR_ERR_INVALID, "%s: the job's code has no function for it", ctx->plan->name);
    weir_err err = weir_row_converter_init(&map->in, map->row_in, ctx->plan->inputs[0], error);
    if (!err)
        err = weir_row_converter_init(&map->out, map->row_out, ctx->plan->output, error);
    if (err)
        return weir_wrap(error, "%s", ctx->plan->name);
    size_t largest = map->in.row_size > map->out.row_size ? map->in.row_size : map->out.row_size;
    size_t block_rows = BLOCK_BYTES / (largest ? largest : 1);
    map->block_rows = block_rows > BLOCK_ROWS_MAX ? BLOCK_ROWS_MAX : block_rows < 1 ? 1 : (int)block_rows;
    map->in_rows = weir_zalloc((size_t)map->block_rows * map->in.row_size);
    map->pending = weir_zalloc((size_t)map->block_rows * map->out.row_size);
    map->last = stage_init(map, ctx, flat);
    map->by_block = !flat && !map->out.has_strings;
    map->has_flat = flat;
    return 0;
}

static weir_err map_open(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_error *error)
{
    return row_map_start(op, ctx, false, error);
}

static weir_err flat_map_open(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_error *error)
{
    return row_map_start(op, ctx, true, error);
}

static bool same_layout(const struct weir_row_type *a, const struct weir_row_type *b)
{
    if (a == b)
        return true;
    if (a->size != b->size || a->field_count != b->field_count || a->nulls_offset != b->nulls_offset)
        return false;
    for (uint32_t i = 0; i < a->field_count; i++) {
        const struct weir_row_field *x = &a->fields[i], *y = &b->fields[i];
        if (strcmp(x->name, y->name) != 0 || x->offset != y->offset || x->size != y->size || x->c_kind != y->c_kind)
            return false;
    }
    return true;
}

/* `next` reads exactly the structs that `op` writes: its stages become the last ones of op. Also for what `next` absorbed before. */
static bool row_map_absorb(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_op *next_op,
                           struct weir_op_ctx *next_ctx)
{
    struct row_map *map = (struct row_map *)op, *next = (struct row_map *)next_op;
    (void)ctx, (void)next_ctx;
    if (!same_layout(map->row_out, next->row_in) || map->stage_count + next->stage_count > STAGES_MAX)
        return false;
    for (int i = 0; i < next->stage_count; i++) {
        struct stage *stage = map->stages[map->stage_count] = next->stages[i];
        stage->index = map->stage_count++;
        stage->map = map;
    }
    for (int i = 2; i < map->stage_count; i++)
        map->stages[i]->block =
            map->stages[i]->out_size <= map->stages[i - 2]->out_size ? map->stages[i - 2]->block : map->stages[i]->rows;
    struct weir_row_converter out = map->out;
    map->out = next->out;
    next->out = out;
    uint8_t *pending = map->pending;
    map->pending = next->pending;
    next->pending = pending;
    map->last = next->last;
    if (next->block_rows < map->block_rows)
        map->block_rows = next->block_rows;
    map->by_block &= next->by_block;
    map->has_flat |= next->has_flat;
    next->absorbed = true;
    return true;
}

static void count_rows(struct row_map *map)
{
    for (int i = 0; i < map->stage_count; i++) {
        struct stage *stage = map->stages[i];
        /* The first one's input and the last one's output are the driver's. */
        if (i > 0 && stage->op_ctx->num_records_in)
            *stage->op_ctx->num_records_in += stage->in_count;
        if (i + 1 < map->stage_count && stage->op_ctx->num_records_out)
            *stage->op_ctx->num_records_out += stage->out_count;
        stage->in_count = stage->out_count = 0;
    }
}

static enum weir_step fail_step(struct row_map *map, struct weir_op_ctx *ctx, const struct weir_batch *batch)
{
    count_rows(map);
    weir_op_row_error(ctx->plan->name, batch, map->row + map->block_row, &ctx->error);
    return WEIR_STEP_FAILED;
}

static enum weir_step row_map_batch(struct weir_op *op, struct weir_op_ctx *ctx, int input, struct weir_batch *batch)
{
    struct row_map *map = (struct row_map *)op;
    (void)input;
    weir_assert(!map->absorbed);
    if (!drain(map))
        return WEIR_STEP_AGAIN;
    map->origin_ns = batch->origin_ns;
    map->result_rows = map->has_flat ? WEIR_BATCH_ROWS_DEFAULT : batch->row_count;
    for (int i = 0; i < map->stage_count; i++)
        map->stages[i]->ctx.watermark = map->stages[i]->op_ctx->watermark_ms;
    for (;;) {
        bool at_end = map->by_block ? map->row == batch->row_count : map->row + map->block_row == batch->row_count;
        if (at_end && map->result) {
            if (finish_result(map, &ctx->error))
                return fail_step(map, ctx, batch);
        }
        bool empty = drain(map);
        if (at_end) {
            count_rows(map);
            if (!empty)
                return WEIR_STEP_AGAIN;
            map->row = map->block_row = map->block_count = 0;
            return WEIR_STEP_DONE;
        }
        if (!empty)
            return WEIR_STEP_AGAIN;
        if (map->by_block ? next_by_block(map, batch) : next_by_row(map, batch))
            return fail_step(map, ctx, batch);
        /* Quick functions are run in long steps, slow ones row by row. */
        if (weir_op_should_yield(ctx)) {
            map->step = map->step > 1 ? map->step / 2 : 1;
            return WEIR_STEP_AGAIN;
        }
        map->step = map->step * 2 < map->block_rows ? map->step * 2 : map->block_rows;
    }
}

static int row_map_cut(struct weir_op *op, struct weir_op_ctx *ctx, const struct weir_batch *batch)
{
    struct row_map *map = (struct row_map *)op;
    (void)batch;
    if (!drain(map) || finish_result(map, &ctx->error) || !drain(map)) /* an empty queue has room for one more */
        return -1;
    return map->by_block ? map->row : map->row + map->block_row; /* a block counts when its last stage is done */
}

static void row_map_close(struct weir_op *op, struct weir_op_ctx *ctx, bool finished)
{
    struct row_map *map = (struct row_map *)op;
    (void)ctx, (void)finished;
    while (map->queue) {
        struct queued *first = map->queue;
        map->queue = first->next;
        weir_batch_unref(first->batch);
        free(first);
    }
    weir_batch_unref(map->result);
    weir_arena_fini(&map->scratch);
    if (map->own)
        free(map->own->rows);
    free(map->own);
    free(map->in.fields);
    free(map->out.fields);
    free(map->in_rows);
    free(map->pending);
}

const struct weir_op_vtable weir_op_map = {
    .name = "map",
    .help = "Calls a C function: one row struct in, one out",
    .size = sizeof(struct row_map),
    .options = row_map_options,
    .plan = row_map_plan,
    .open = map_open,
    .absorb = row_map_absorb,
    .batch = row_map_batch,
    .cut = row_map_cut,
    .close = row_map_close,
};

const struct weir_op_vtable weir_op_flat_map = {
    .name = "flat_map",
    .help = "Calls a C function: one row struct in, any number out",
    .size = sizeof(struct row_map),
    .options = row_map_options,
    .plan = row_map_plan,
    .open = flat_map_open,
    .absorb = row_map_absorb,
    .batch = row_map_batch,
    .cut = row_map_cut,
    .close = row_map_close,
};
