/* process: C functions of the job with state and timers (weir/process.h). This file: what the graph says of it, rows in, watermarks and timers, rows
 * out; see process_int.h for the others.
 *
 * Rows are converted a block at a time, then the function is called for each; their keys are found for the whole batch at once, and the
 * slots of large states are brought near before the calls. A call yields between rows when its time is up. Event-time timers fire in
 * the watermark's handler, so before it passes on.
 *
 * Nothing of user code is trusted: strings, NULL bits and return values are checked before they become columns or state. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arguments.h"
#include "base/assert.h"
#include "base/hash.h"
#include "ops/process_int.h"

#define BLOCK_ROWS_MAX 512
#define BLOCK_BYTES ((size_t)16 << 10)
#define PREFETCH_ENTRIES_MIN 4096 /* smaller tables are in the cache anyhow */
#define PREFETCH_ROWS 32          /* fetched while as many before them are worked on: more crowd each other out */

typedef int row_fn(struct weir_ctx *ctx, const void *in, struct weir_out_rows *out);

static const struct weir_option process_options[] = {
    {"row.in", WEIR_OPTION_STRING, NULL, NULL, "Columns of the input row struct, as the column list of a CREATE TABLE"},
    {"row.in2", WEIR_OPTION_STRING, "", NULL, "The same of the second input"},
    {"row.side1", WEIR_OPTION_STRING, "", NULL, "Columns of the first side output; without: it has none"},
    {"row.side2", WEIR_OPTION_STRING, "", NULL, "The same of the second one"},
    {0},
};

/* --- Plan */

static weir_err check_keys(const struct weir_op_plan *plan, struct weir_error *error)
{
    char a[64], b[64];
    if (plan->input_count < 2)
        return WEIR_OK;
    if (plan->keyed2 && !plan->keyed)
        return weir_fail(error, WEIR_ERR_INVALID, "its second input is keyed, and the first is not");
    if (plan->keyed && !plan->keyed2 && !plan->broadcast2)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "its first input is keyed: the second must be as well, or be broadcast");
    if (!plan->keyed2)
        return WEIR_OK;
    if (plan->key.column_count != plan->key2.column_count)
        return weir_fail(error, WEIR_ERR_INVALID, "its inputs are keyed by %d and %d columns: they must be alike",
                         plan->key.column_count, plan->key2.column_count);
    for (int i = 0; i < plan->key.column_count; i++) {
        const struct weir_field *first = &plan->inputs[0]->fields[plan->key.columns[i]];
        const struct weir_field *second = &plan->inputs[1]->fields[plan->key2.columns[i]];
        if (first->type.id != second->type.id)
            return weir_fail(
                error, WEIR_ERR_INVALID,
                "its inputs are keyed by '%s', which is %s, and '%s', which is %s: the types must be alike",
                first->name, weir_type_print(&first->type, a), second->name, weir_type_print(&second->type, b));
    }
    return WEIR_OK;
}

static weir_err process_plan(struct weir_op_plan *plan, struct weir_error *error)
{
    weir_err err =
        weir_options_check(plan->name, plan->options, plan->option_count, process_options, NULL, NULL, error);
    if (err)
        return err;
    if (!plan->declared)
        return weir_fail(error, WEIR_ERR_INVALID, "it declares no output row");
    if (plan->input_count < 1 || plan->input_count > 2)
        return weir_fail(error, WEIR_ERR_INVALID, "it has %d inputs; 1 or 2 are possible", plan->input_count);
    for (int i = 0; i < plan->input_count && !err; i++) {
        const char *option = i ? "row.in2" : "row.in";
        const char *text = weir_options_get(plan->options, plan->option_count, process_options, option);
        err = weir_row_check_columns(option, text, plan->inputs[i], error);
    }
    if (!err)
        err = check_keys(plan, error);
    for (int i = 0; i < 2 && !err; i++) {
        const char *option = i ? "row.side2" : "row.side1";
        const char *text = weir_options_get(plan->options, plan->option_count, process_options, option);
        if (text && *text && weir_schema_parse(text, &plan->sides[i], error))
            err = weir_wrap(error, "%s", option);
    }
    if (!err)
        plan->output = weir_schema_ref(plan->declared);
    return err;
}

/* --- What functions call (their state calls: process_calls.c) */

__attribute__((format(printf, 2, 3))) static int ctx_fail(struct weir_ctx *ctx, const char *format, ...)
{
    struct weir_process *process = weir_process_of(ctx);
    char text[700];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!process->op_ctx->error.code)
        (void)weir_fail(&process->op_ctx->error, WEIR_ERR_USER_CODE, "%s", text);
    return -1;
}

static char *ctx_scratch(struct weir_ctx *ctx, size_t size)
{
    struct weir_process *process = weir_process_of(ctx);
    if (size > WEIR_PROCESS_SCRATCH_MAX - process->scratch_size)
        return NULL;
    process->scratch_size += size ? size : 1;
    return weir_arena_alloc(&process->scratch, size);
}

static const char *ctx_argument(struct weir_ctx *ctx, const char *name, const char *fallback)
{
    const struct weir_op_ctx *op_ctx = weir_process_of(ctx)->op_ctx;
    const char *value = weir_argument_find(op_ctx->arguments, op_ctx->argument_count, name);
    return value ? value : fallback;
}

static int out_emit(struct weir_out_rows *out, const void *row)
{
    struct weir_process *process = (struct weir_process *)(void *)((uint8_t *)out - offsetof(struct weir_process, out));
    struct weir_error *error = &process->op_ctx->error;
    if (error->code)
        return -1; /* the task is failing; the function did not look at an earlier result */
    return weir_row_writer_put(&process->writer, row, error) ? -1 : 0;
}

int weir_process_emit_side(struct weir_ctx *ctx, const struct weir_side_decl *side, const void *row)
{
    struct weir_process *process = weir_process_of(ctx);
    struct weir_error *error = &process->op_ctx->error;
    if (error->code)
        return -1;
    for (int i = 0; i < 2; i++)
        if (process->side_decls[i] == side)
            return weir_row_writer_put(&process->sides[i], row, error) ? -1 : 0;
    return 0; /* nobody reads it */
}

/* --- Calling */

static void begin_call(struct weir_process *process)
{
    process->serial++;
    process->walking = false;
}

static weir_err end_call(struct weir_process *process, int result)
{
    struct weir_error *error = &process->op_ctx->error;
    if (process->scratch_size + process->results_size > 0) {
        weir_arena_reset(&process->scratch);
        process->scratch_size = process->results_size = 0;
    }
    if (result != 0 && !error->code)
        (void)weir_fail(error, WEIR_ERR_USER_CODE, "the function returned %d", result);
    return error->code ? WEIR_ERR_USER_CODE : WEIR_OK;
}

static weir_err call_row(struct weir_process *process, const struct weir_process_input *input, int row,
                         const uint8_t *in)
{
    row_fn *fn = __extension__(row_fn *) input->function;
    process->op_ctx->row_at_hand = row;
    process->key.row = row;
    begin_call(process);
    return end_call(process, fn(&process->ctx, in, &process->out));
}

/* --- Rows */

/* Entries of so many rows of the batch are looked up together: one by one each would be waited for. */
static void look_up(struct weir_process *process, int first, int count, bool on_disk)
{
    int32_t rows[BLOCK_ROWS_MAX];
    uint8_t *values[BLOCK_ROWS_MAX];
    for (int i = 0; i < count; i++)
        rows[i] = first + i;
    for (int s = 0; s < process->state_count; s++) {
        struct weir_process_state *state = &process->states[s];
        struct weir_state_table *table = state->keyed && state->used ? weir_process_table(state, 0) : NULL;
        if (!table || weir_state_table_count(table) < PREFETCH_ENTRIES_MIN || weir_state_on_disk(table) != on_disk)
            continue;
        weir_state_lookup(table, &process->keys, rows, count, values);
        weir_state_prefetch(table, values, count);
    }
}

/* What is on disk comes for the whole block, what is in memory a little before its row. */
static void load_block(struct weir_process *process, const struct weir_process_input *input,
                       const struct weir_batch *batch)
{
    int left = batch->row_count - process->row;
    process->block_first = process->row;
    process->block_count = left < input->block_rows ? left : input->block_rows;
    weir_row_load(&input->converter, batch, process->row, process->block_count, input->rows);
    process->block_near = INT_MAX;
    if (!input->scratch)
        return;
    process->block_near = process->row;
    look_up(process, process->row, process->block_count, true);
}

static void bring_near(struct weir_process *process)
{
    int first = process->block_near, left = process->block_first + process->block_count - first;
    process->block_near = left > PREFETCH_ROWS ? first + PREFETCH_ROWS : INT_MAX;
    look_up(process, first, left < PREFETCH_ROWS ? left : PREFETCH_ROWS, false);
}

/* True: nothing is left behind. */
static bool settle(struct weir_process *process, bool finish, bool *failed)
{
    bool drained = true;
    *failed = false;
    for (int i = -1; i < 2; i++) {
        struct weir_row_writer *writer = i < 0 ? &process->writer : &process->sides[i];
        if (!writer->schema)
            continue;
        if (finish && weir_row_writer_finish(writer, &process->op_ctx->error) != WEIR_OK)
            *failed = true;
        drained &= weir_row_writer_drain(writer);
    }
    return drained;
}

static void set_origin(struct weir_process *process, int64_t origin_ns)
{
    process->writer.origin_ns = process->sides[0].origin_ns = process->sides[1].origin_ns = origin_ns;
}

static void begin_item(struct weir_process *process, struct weir_op_ctx *ctx, struct weir_batch *batch, int index)
{
    struct weir_process_input *input = &process->inputs[index];
    process->begun = true;
    process->row = process->block_count = 0;
    process->input = index;
    process->has_key = input->scratch != NULL;
    process->broadcast = index == 1 && ctx->plan->broadcast2;
    process->timer_type = WEIR_TIMER_NONE;
    process->key = (struct weir_process_key){.keys = &process->keys};
    set_origin(process, batch->origin_ns);
    process->ctx.watermark = ctx->watermark_ms;
    if (input->scratch)
        weir_state_keys(input->scratch, batch, &process->keys);
}

static enum weir_step rows_failed(struct weir_process *process, struct weir_op_ctx *ctx, const struct weir_batch *batch)
{
    weir_op_row_error(ctx->plan->name, batch, process->row, &ctx->error);
    return WEIR_STEP_FAILED;
}

static enum weir_step process_batch(struct weir_op *op, struct weir_op_ctx *ctx, int input_index,
                                    struct weir_batch *batch)
{
    struct weir_process *process = (struct weir_process *)op;
    struct weir_process_input *input = &process->inputs[input_index];
    bool failed;
    process->now_ms = weir_op_now_ms(ctx);
    process->batch = batch;
    if (!process->begun)
        begin_item(process, ctx, batch, input_index);
    ctx->op_at_hand = ctx->plan->name;
    while (settle(process, process->row == batch->row_count, &failed) && !failed) {
        if (process->row == batch->row_count) {
            process->begun = false;
            weir_process_clean(process, batch->row_count);
            return WEIR_STEP_DONE;
        }
        if (process->row == process->block_first + process->block_count || process->block_count == 0)
            load_block(process, input, batch);
        int end = process->block_first + process->block_count;
        end = process->row + process->step < end ? process->row + process->step : end;
        for (; process->row < end; process->row++) {
            if (process->row >= process->block_near - PREFETCH_ROWS)
                bring_near(process);
            const uint8_t *in = input->rows + (size_t)(process->row - process->block_first) * input->converter.row_size;
            if (call_row(process, input, process->row, in))
                return rows_failed(process, ctx, batch);
        }
        /* Quick functions are run in long steps, slow ones row by row. */
        if (weir_op_should_yield(ctx)) {
            process->step = process->step > 1 ? process->step / 2 : 1;
            return WEIR_STEP_AGAIN;
        }
        process->step = process->step * 2 < BLOCK_ROWS_MAX ? process->step * 2 : BLOCK_ROWS_MAX;
    }
    return failed ? rows_failed(process, ctx, batch) : WEIR_STEP_AGAIN;
}

static int process_cut(struct weir_op *op, struct weir_op_ctx *ctx, const struct weir_batch *batch)
{
    struct weir_process *process = (struct weir_process *)op;
    bool failed;
    (void)ctx, (void)batch;
    /* With an empty queue there is room for one result more. */
    if (!settle(process, false, &failed) || !settle(process, true, &failed) || failed)
        return -1;
    return process->row;
}

/* --- Timers */

static enum weir_step fire(struct weir_process *process, struct weir_op_ctx *ctx, enum weir_timer_type type,
                           int64_t until)
{
    struct weir_process_timers *timers = &process->timers[type == WEIR_TIMER_PROCESSING];
    int64_t time;
    bool failed, fired = true;
    process->now_ms = weir_op_now_ms(ctx);
    process->batch = NULL;
    process->has_key = true;
    process->broadcast = false;
    process->timer_type = type;
    set_origin(process, 0);
    ctx->row_at_hand = -1;
    ctx->op_at_hand = ctx->plan->name;
    for (;;) {
        if (!settle(process, !fired, &failed) || failed)
            return failed ? WEIR_STEP_FAILED : WEIR_STEP_AGAIN;
        if (!fired)
            return WEIR_STEP_DONE;
        fired = weir_process_timer_due(process, timers, until, &time);
        if (!fired)
            continue;
        begin_call(process);
        if (end_call(process, process->on_timer(&process->ctx, time, &process->out))) {
            weir_wrap(&ctx->error, "%s: timer at %lld", ctx->plan->name, (long long)time);
            return WEIR_STEP_FAILED;
        }
        if (weir_op_should_yield(ctx))
            return WEIR_STEP_AGAIN;
    }
}

static enum weir_step process_watermark(struct weir_op *op, struct weir_op_ctx *ctx, int64_t watermark_ms)
{
    struct weir_process *process = (struct weir_process *)op;
    process->ctx.watermark = watermark_ms;
    enum weir_step step =
        process->on_timer && process->keyed ? fire(process, ctx, WEIR_TIMER_EVENT, watermark_ms) : WEIR_STEP_DONE;
    if (step == WEIR_STEP_DONE) {
        process->now_ms = weir_op_now_ms(ctx);
        weir_process_clean(process, 0);
    }
    return step;
}

static enum weir_step process_timer(struct weir_op *op, struct weir_op_ctx *ctx, int64_t now_ms)
{
    struct weir_process *process = (struct weir_process *)op;
    if (!process->on_timer || !process->keyed)
        return WEIR_STEP_DONE;
    process->ctx.watermark = ctx->watermark_ms;
    enum weir_step step = fire(process, ctx, WEIR_TIMER_PROCESSING, now_ms);
    if (step == WEIR_STEP_DONE)
        weir_op_set_timer(ctx, weir_process_timers_next(&process->timers[1]));
    return step;
}

/* --- The operator */

static weir_err open_input(struct weir_process *process, int index, const struct weir_row_type *type, const void *fn,
                           struct weir_error *error)
{
    const struct weir_op_plan *plan = process->op_ctx->plan;
    struct weir_process_input *input = &process->inputs[index];
    if (!type || !fn)
        return weir_fail(error, WEIR_ERR_INVALID, "%s: the job's code has no function for it", plan->name);
    weir_err err = weir_row_converter_init(&input->converter, type, plan->inputs[index], error);
    if (err)
        return weir_wrap(error, "%s", plan->name);
    size_t rows = BLOCK_BYTES / type->size;
    input->block_rows = rows > BLOCK_ROWS_MAX ? BLOCK_ROWS_MAX : rows < 1 ? 1 : (int)rows;
    input->rows = weir_zalloc((size_t)input->block_rows * type->size);
    input->function = fn;
    input->key = index ? plan->key2 : plan->key;
    if (index ? plan->keyed2 : plan->keyed)
        input->scratch = weir_state_key_scratch_new(plan->inputs[index], &input->key);
    return WEIR_OK;
}

static void open_key(struct weir_process *process)
{
    const struct weir_op_plan *plan = process->op_ctx->plan;
    struct weir_field fields[WEIR_KEY_COLUMNS_MAX];
    process->operator_key = (struct weir_process_key){.bytes = (const uint8_t *)"", .hash = weir_xxh3("", 0)};
    process->keyed = plan->keyed;
    if (!plan->keyed)
        return;
    for (int i = 0; i < plan->key.column_count; i++) {
        fields[i] = plan->inputs[0]->fields[plan->key.columns[i]];
        fields[i].type.nullable = true; /* the other input's may be */
    }
    process->key_schema = weir_schema_new(fields, plan->key.column_count);
    process->fixed_key = weir_state_fixed_key(plan->inputs[0], &plan->key);
}

static weir_err open_states(struct weir_process *process, struct weir_error *error)
{
    const struct weir_op_ctx *ctx = process->op_ctx;
    process->states = weir_zalloc((size_t)(ctx->state_count + 1) * sizeof *process->states);
    for (int i = 0; i < ctx->state_count; i++) {
        weir_err err =
            weir_process_state_init(process, &process->states[process->state_count++], ctx->states[i], error);
        if (err)
            return weir_wrap(error, "%s", ctx->plan->name);
    }
    weir_err err = weir_process_timers_init(process, &process->timers[0], "_event_timers", error);
    return err ? err : weir_process_timers_init(process, &process->timers[1], "_processing_timers", error);
}

static weir_err open_sides(struct weir_process *process, struct weir_error *error)
{
    const struct weir_op_ctx *ctx = process->op_ctx;
    for (int i = 0; i < 2; i++) {
        const struct weir_side_decl *side = ctx->side_decls[i];
        if (!side || !ctx->plan->sides[i])
            continue;
        process->side_decls[i] = side;
        if (weir_row_writer_init(&process->sides[i], side->row, ctx->plan->sides[i], ctx->sides[i], error))
            return weir_wrap(error, "%s: side output '%s'", ctx->plan->name, side->name);
    }
    return WEIR_OK;
}

static weir_err process_open(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_error *error)
{
    struct weir_process *process = (struct weir_process *)op;
    process->op_ctx = ctx;
    process->step = 1;
    process->now_ms = weir_op_now_ms(ctx);
    process->on_timer = __extension__(weir_timer_fn *) ctx->on_timer;
    process->out.emit = out_emit;
    process->ctx = (struct weir_ctx){.size = sizeof process->ctx,
                                     .subtask = ctx->subtask,
                                     .parallelism = ctx->parallelism,
                                     .attempt = ctx->attempt,
                                     .watermark = ctx->watermark_ms,
                                     .fail_task = ctx_fail,
                                     .scratch = ctx_scratch,
                                     .argument = ctx_argument,
                                     .process = &weir_process_calls};
    weir_arena_init(&process->scratch);
    weir_buf_init(&process->timer_key, SIZE_MAX / 2);
    weir_buf_init(&process->encoded, WEIR_PROCESS_VALUE_MAX);
    weir_buf_init(&process->encoded_key, WEIR_PROCESS_VALUE_MAX);
    weir_buf_init(&process->page, SIZE_MAX / 2);
    process->input_count = ctx->plan->input_count;
    open_key(process);
    weir_err err = open_input(process, 0, ctx->row_in, ctx->function, error);
    if (!err && process->input_count == 2)
        err = open_input(process, 1, ctx->row_in2, ctx->function2, error);
    if (!err && !ctx->row_out)
        err = weir_fail(error, WEIR_ERR_INVALID, "%s: the job's code has no output row for it", ctx->plan->name);
    if (!err)
        err = weir_row_writer_init(&process->writer, ctx->row_out, ctx->plan->output, ctx->out, error);
    if (!err)
        err = open_sides(process, error);
    if (!err)
        err = open_states(process, error);
    if (!err)
        err = weir_process_restore(process, ctx, error);
    if (!err && process->on_timer && process->timers[1].count > 0)
        weir_op_set_timer(ctx, weir_process_timers_next(&process->timers[1]));
    return err;
}

static void process_close(struct weir_op *op, struct weir_op_ctx *ctx, bool finished)
{
    struct weir_process *process = (struct weir_process *)op;
    (void)ctx, (void)finished;
    for (int i = 0; i < 2; i++) {
        free(process->inputs[i].converter.fields);
        free(process->inputs[i].rows);
        weir_state_key_scratch_free(process->inputs[i].scratch);
        weir_process_state_fini(&process->timers[i].state);
        free(process->timers[i].heap);
    }
    for (int i = 0; i < process->state_count; i++)
        weir_process_state_fini(&process->states[i]);
    free(process->states);
    for (int i = 0; i < process->key_row_count; i++) {
        free(process->key_rows[i].converter.fields);
        free(process->key_rows[i].fields);
    }
    weir_schema_unref(process->key_schema);
    weir_row_writer_fini(&process->writer);
    weir_row_writer_fini(&process->sides[0]);
    weir_row_writer_fini(&process->sides[1]);
    weir_arena_fini(&process->scratch);
    weir_buf_fini(&process->timer_key);
    weir_buf_fini(&process->encoded);
    weir_buf_fini(&process->encoded_key);
    weir_buf_fini(&process->page);
}

const struct weir_op_vtable weir_op_process = {
    .name = "process",
    .help = "Calls C functions with state and timers: row structs in, any number out",
    .size = sizeof(struct weir_process),
    .options = process_options,
    .plan = process_plan,
    .open = process_open,
    .batch = process_batch,
    .watermark = process_watermark,
    .timer = process_timer,
    .cut = process_cut,
    .snapshot = weir_process_snapshot,
    .close = process_close,
};
