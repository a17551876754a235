/* filter: passes the rows for which a condition is TRUE (not FALSE, not NULL).
 *
 * One call handles one batch whole: it is columnar and cheap. A batch that passes whole is handed on by reference.
 * A row whose condition cannot be computed (division by zero) fails the task with the record in the message, or is dropped
 * and counted with on-error = skip.
 */
#include "ops/ops_int.h"

struct filter {
    struct weir_expr *condition;
    struct weir_expr_scratch *scratch;
    enum weir_on_error on_error;
    uint64_t mask[WEIR_BATCH_ROWS_MAX / 64];
};

static const struct weir_option filter_options[] = {
    {"condition", WEIR_OPTION_STRING, NULL, NULL, "Boolean expression over the input's columns: temperature > 90"},
    {"on-error", WEIR_OPTION_ENUM, "fail", "fail|skip", "What to do with a row whose condition cannot be computed"},
    {0},
};

static weir_err compile(const struct weir_op_plan *plan, struct weir_expr **expr, struct weir_error *error)
{
    const char *text = weir_options_get(plan->options, plan->option_count, filter_options, "condition");
    weir_err err = weir_op_expr("condition", text, plan->inputs[0], expr, error);
    if (err)
        return err;
    const struct weir_type *type = weir_expr_type(*expr);
    if (type->id != WEIR_TYPE_BOOLEAN) {
        char name[64];
        err = weir_fail(error, WEIR_ERR_INVALID, "condition is %s, and must be BOOLEAN (in \"%.200s\")",
                        weir_type_print(type, name), text);
        weir_expr_free(*expr);
        *expr = NULL;
    }
    return err;
}

static weir_err filter_plan(struct weir_op_plan *plan, struct weir_error *error)
{
    struct weir_expr *expr = NULL;
    weir_err err = weir_options_check("filter", plan->options, plan->option_count, filter_options, NULL, NULL, error);
    if (err || (err = compile(plan, &expr, error)))
        return err;
    weir_expr_free(expr);
    plan->output = weir_schema_ref(plan->inputs[0]);
    return 0;
}

static weir_err filter_open(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_error *error)
{
    struct filter *filter = (struct filter *)op;
    const struct weir_op_plan *plan = ctx->plan;
    filter->on_error =
        weir_on_error_parse(weir_options_get(plan->options, plan->option_count, filter_options, "on-error"));
    if (filter->on_error == WEIR_ON_ERROR_SKIP)
        weir_op_may_have_bad(ctx);
    filter->scratch = weir_expr_scratch_new();
    return compile(plan, &filter->condition, error);
}

static weir_err eval_piece(void *arg, const struct weir_batch *piece, struct weir_error *error)
{
    struct filter *filter = arg;
    uint64_t mask[WEIR_BATCH_ROWS_MAX / 64];
    return weir_expr_eval_mask(filter->condition, piece, filter->scratch, mask, NULL, error);
}

static enum weir_step filter_batch(struct weir_op *op, struct weir_op_ctx *ctx, int input, struct weir_batch *batch)
{
    struct filter *filter = (struct filter *)op;
    struct weir_batch *good = NULL; /* owned: the rows that can be computed, where some cannot */
    int bad_row = -1;
    (void)input;
    weir_err err = weir_expr_eval_mask(filter->condition, batch, filter->scratch, filter->mask, &bad_row, &ctx->error);
    if (err == WEIR_ERR_DATA && filter->on_error == WEIR_ON_ERROR_SKIP) {
        uint64_t fine[WEIR_BATCH_ROWS_MAX / 64];
        int bad = weir_op_good_rows(batch, eval_piece, filter, fine, &err, &ctx->error);
        if (!err) {
            weir_op_count_bad(ctx, WEIR_BAD_OTHER, bad);
            if (bad == batch->row_count)
                return WEIR_STEP_DONE;
            good = weir_batch_filter(batch, fine);
            err = weir_expr_eval_mask(filter->condition, good, filter->scratch, filter->mask, &bad_row, &ctx->error);
        }
    }
    if (err) {
        weir_op_row_error(ctx->plan->name, good ? good : batch, bad_row, &ctx->error);
        weir_batch_unref(good);
        return WEIR_STEP_FAILED;
    }
    const struct weir_batch *from = good ? good : batch;
    if (weir_bitmap_count(filter->mask, from->row_count) > 0)
        weir_out_push(ctx->out, weir_batch_filter(good ? good : batch, filter->mask));
    weir_batch_unref(good);
    return WEIR_STEP_DONE;
}

static void filter_close(struct weir_op *op, struct weir_op_ctx *ctx, bool finished)
{
    struct filter *filter = (struct filter *)op;
    (void)ctx, (void)finished;
    weir_expr_free(filter->condition);
    weir_expr_scratch_free(filter->scratch);
}

const struct weir_op_vtable weir_op_filter = {
    .name = "filter",
    .help = "Passes the rows for which a condition is true",
    .size = sizeof(struct filter),
    .options = filter_options,
    .keeps_key = true,
    .plan = filter_plan,
    .open = filter_open,
    .batch = filter_batch,
    .close = filter_close,
};
