/* watermark: event time from an expression over each row, "timestamp - INTERVAL '2' SECOND".
 *
 * The watermark is the maximum over the rows so far; it follows the batch that raised it, so lateness within a batch is
 * judged by the watermark before it. Rows whose value is NULL do not count. Watermarks of the input are dropped, except the
 * end of time. With an idle timeout, the output is idle after so much processing time without rows.
 * The same watermarker serves "source", per split.
 */
#include "base/assert.h"
#include "ops/ops_int.h"
#include "state/snapshot.h"

#define STATE "watermark"
#define STATE_VERSION 1

/* --- The watermarker */

static weir_err compile(const char *text, const struct weir_schema *schema, struct weir_expr **expr,
                        struct weir_error *error)
{
    weir_err err = weir_op_expr("watermark.expression", text, schema, expr, error);
    if (err)
        return err;
    const struct weir_type *type = weir_expr_type(*expr);
    if (type->id != WEIR_TYPE_TIMESTAMP) {
        char name[64];
        err = weir_fail(error, WEIR_ERR_INVALID, "watermark.expression is %s, and must be a TIMESTAMP (in \"%.200s\")",
                        weir_type_print(type, name), text);
        weir_expr_free(*expr);
        *expr = NULL;
    }
    return err;
}

weir_err weir_watermarker_check(const char *text, const struct weir_schema *schema, struct weir_error *error)
{
    struct weir_expr *expr = NULL;
    weir_err err = compile(text, schema, &expr, error);
    weir_expr_free(expr);
    return err;
}

weir_err weir_watermarker_open(struct weir_watermarker *marker, const char *text, const struct weir_schema *schema,
                               int64_t idle_timeout_ms, int64_t now_ms, struct weir_error *error)
{
    *marker = (struct weir_watermarker){
        .max_ms = WEIR_WATERMARK_MIN, .idle_timeout_ms = idle_timeout_ms, .last_row_ms = now_ms};
    if (!text || !text[0])
        return 0;
    marker->scratch = weir_expr_scratch_new();
    return compile(text, schema, &marker->expr, error);
}

weir_err weir_watermarker_rows(struct weir_watermarker *marker, const struct weir_batch *batch, int64_t now_ms,
                               struct weir_error *error)
{
    marker->last_row_ms = now_ms;
    marker->idle = false;
    if (!marker->expr)
        return 0;
    struct weir_column times;
    memset(&times, 0, sizeof times);
    int bad_row = -1;
    weir_err err = weir_expr_eval(marker->expr, batch, marker->scratch, &times, &bad_row, error);
    if (err)
        return weir_op_row_error("watermark.expression", batch, bad_row, error);
    int64_t max = marker->max_ms;
    if (!times.validity) {
        for (int r = 0; r < batch->row_count; r++)
            max = times.i64[r] > max ? times.i64[r] : max;
    } else {
        for (int r = 0; r < batch->row_count; r++)
            if (weir_bit_get(times.validity, r) && times.i64[r] > max)
                max = times.i64[r];
    }
    /* The end of time is said by the end of the input, never by a row. */
    marker->max_ms = max < WEIR_WATERMARK_MAX ? max : WEIR_WATERMARK_MAX - 1;
    weir_column_fini(&times);
    return 0;
}

int64_t weir_watermarker_quiet(struct weir_watermarker *marker, struct weir_out *out, int64_t now_ms)
{
    if (marker->idle_timeout_ms <= 0 || marker->idle)
        return INT64_MAX;
    int64_t due = marker->last_row_ms + marker->idle_timeout_ms;
    if (now_ms < due)
        return due;
    marker->idle = true;
    weir_out_idle(out, true);
    return INT64_MAX;
}

void weir_watermarker_close(struct weir_watermarker *marker)
{
    weir_expr_free(marker->expr);
    weir_expr_scratch_free(marker->scratch);
    memset(marker, 0, sizeof *marker);
}

/* --- The operator */

static const struct weir_option watermark_options[] = {
    {"watermark.expression", WEIR_OPTION_STRING, NULL, NULL,
     "TIMESTAMP expression; no later row is expected to be earlier: timestamp - INTERVAL '2' SECOND"},
    {"watermark.idle-timeout", WEIR_OPTION_DURATION, "0", NULL,
     "After so long without rows the stream does not hold back others; 0: it always does"},
    {0},
};

static const char *option(const struct weir_op_plan *plan, const char *name)
{
    return weir_options_get(plan->options, plan->option_count, watermark_options, name);
}

static weir_err watermark_plan(struct weir_op_plan *plan, struct weir_error *error)
{
    weir_err err =
        weir_options_check("watermark", plan->options, plan->option_count, watermark_options, NULL, NULL, error);
    if (err || (err = weir_watermarker_check(option(plan, "watermark.expression"), plan->inputs[0], error)))
        return err;
    plan->output = weir_schema_ref(plan->inputs[0]);
    return 0;
}

/* Rows that follow are judged as they would have been: it goes on from the same bound, with another parallelism from the lowest: rows of
 * any of the old subtasks may come here. */
static weir_err restore(struct weir_watermarker *marker, struct weir_op_ctx *ctx, struct weir_error *error)
{
    const struct weir_restored_part *part = NULL;
    int64_t lowest_ms = WEIR_WATERMARK_MAX;
    bool any = false;
    while ((part = weir_restored_next(ctx->restored, ctx->plan->uid, STATE, part))) {
        struct weir_part_reader in = weir_part_read(part);
        in.bad |= weir_get_u8(&in) != STATE_VERSION;
        int64_t max_ms = weir_get_i64(&in);
        weir_err err = weir_part_read_end(&in, STATE, error);
        if (err)
            return err;
        if (part->parallelism == ctx->parallelism && part->subtask != ctx->subtask)
            continue;
        lowest_ms = max_ms < lowest_ms ? max_ms : lowest_ms;
        any = true;
    }
    if (!any)
        return WEIR_OK;
    marker->max_ms = lowest_ms;
    if (marker->max_ms != WEIR_WATERMARK_MIN)
        weir_out_watermark(ctx->out, marker->max_ms);
    return WEIR_OK;
}

static weir_err watermark_open(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_error *error)
{
    struct weir_watermarker *marker = (struct weir_watermarker *)op;
    const struct weir_op_plan *plan = ctx->plan;
    int64_t timeout_ms =
        weir_options_get_int(plan->options, plan->option_count, watermark_options, "watermark.idle-timeout");
    int64_t now_ms = weir_op_now_ms(ctx);
    weir_err err =
        weir_watermarker_open(marker, option(plan, "watermark.expression"), plan->inputs[0], timeout_ms, now_ms, error);
    if (!err && timeout_ms > 0)
        weir_op_set_timer(ctx, now_ms + timeout_ms);
    return err ? err : restore(marker, ctx, error);
}

static weir_err watermark_snapshot(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_snapshot *snapshot,
                                   struct weir_error *error)
{
    (void)error;
    struct weir_buf out;
    weir_buf_init(&out, SIZE_MAX / 2);
    weir_put_u8(&out, STATE_VERSION);
    weir_put_i64(&out, ((struct weir_watermarker *)op)->max_ms);
    weir_snapshot_add(snapshot, ctx->plan->uid, STATE, WEIR_STATE_UNION, &out);
    return WEIR_OK;
}

static enum weir_step watermark_batch(struct weir_op *op, struct weir_op_ctx *ctx, int input, struct weir_batch *batch)
{
    struct weir_watermarker *marker = (struct weir_watermarker *)op;
    (void)input;
    int64_t now_ms = weir_op_now_ms(ctx);
    bool was_idle = marker->idle;
    if (weir_watermarker_rows(marker, batch, now_ms, &ctx->error)) {
        weir_wrap(&ctx->error, "%s", ctx->plan->name);
        return WEIR_STEP_FAILED;
    }
    weir_out_push(ctx->out, weir_batch_ref(batch));
    if (marker->max_ms != WEIR_WATERMARK_MIN)
        weir_out_watermark(ctx->out, marker->max_ms);
    if (was_idle) /* the timer runs on by itself otherwise, and looks at last_row_ms when it is due */
        weir_op_set_timer(ctx, now_ms + marker->idle_timeout_ms);
    return WEIR_STEP_DONE;
}

static enum weir_step watermark_timer(struct weir_op *op, struct weir_op_ctx *ctx, int64_t now_ms)
{
    int64_t due = weir_watermarker_quiet((struct weir_watermarker *)op, ctx->out, now_ms);
    if (due != INT64_MAX)
        weir_op_set_timer(ctx, due);
    return WEIR_STEP_DONE;
}

static void watermark_close(struct weir_op *op, struct weir_op_ctx *ctx, bool finished)
{
    (void)ctx, (void)finished;
    weir_watermarker_close((struct weir_watermarker *)op);
}

const struct weir_op_vtable weir_op_watermark = {
    .name = "watermark",
    .help = "Derives event time from the rows",
    .size = sizeof(struct weir_watermarker),
    .options = watermark_options,
    .keeps_key = true,
    .makes_watermarks = true,
    .plan = watermark_plan,
    .open = watermark_open,
    .batch = watermark_batch,
    .timer = watermark_timer,
    .snapshot = watermark_snapshot,
    .close = watermark_close,
};
