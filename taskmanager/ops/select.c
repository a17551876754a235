/* select: computes a list of columns from each row.
 *
 * One call handles one batch whole; plain columns are shared, not copied. A row that cannot be computed (division by zero,
 * a CAST that fails) fails the task with the record in the message, or is dropped and counted with on-error = skip.
 */
#include "ops/ops_int.h"

struct select_op {
    struct weir_select *select;
    struct weir_expr_scratch *scratch;
    enum weir_on_error on_error;
};

static const struct weir_option select_options[] = {
    {"columns", WEIR_OPTION_STRING, NULL, NULL, "Select list: device_id, temperature * 1.8 + 32 AS fahrenheit, *"},
    {"on-error", WEIR_OPTION_ENUM, "fail", "fail|skip", "What to do with a row that cannot be computed"},
    {0},
};

static weir_err compile(const struct weir_op_plan *plan, struct weir_select **select, struct weir_error *error)
{
    const char *text = weir_options_get(plan->options, plan->option_count, select_options, "columns");
    struct weir_expr_error wrong = {.column = 0};
    if (!weir_select_compile(text, plan->inputs[0], select, &wrong))
        return 0;
    enum weir_err_code code = wrong.error.code ? wrong.error.code : WEIR_ERR_INVALID;
    return weir_fail(error, code, "columns%s%.600s (in \"%.200s\")", wrong.column > 0 ? ", " : ": ",
                     wrong.error.message, text);
}

static weir_err select_plan(struct weir_op_plan *plan, struct weir_error *error)
{
    struct weir_select *select = NULL;
    weir_err err = weir_options_check("select", plan->options, plan->option_count, select_options, NULL, NULL, error);
    if (err || (err = compile(plan, &select, error)))
        return err;
    plan->output = weir_schema_ref(select->schema);
    weir_select_free(select);
    return 0;
}

static weir_err select_open(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_error *error)
{
    struct select_op *self = (struct select_op *)op;
    const struct weir_op_plan *plan = ctx->plan;
    self->on_error =
        weir_on_error_parse(weir_options_get(plan->options, plan->option_count, select_options, "on-error"));
    if (self->on_error == WEIR_ON_ERROR_SKIP)
        weir_op_may_have_bad(ctx);
    self->scratch = weir_expr_scratch_new();
    return compile(plan, &self->select, error);
}

static weir_err eval_piece(void *arg, const struct weir_batch *piece, struct weir_error *error)
{
    struct select_op *self = arg;
    struct weir_batch *out = NULL;
    weir_err err = weir_select_eval(self->select, piece, self->scratch, &out, NULL, error);
    if (!err)
        weir_batch_unref(out);
    return err;
}

static enum weir_step select_batch(struct weir_op *op, struct weir_op_ctx *ctx, int input, struct weir_batch *batch)
{
    struct select_op *self = (struct select_op *)op;
    struct weir_batch *out = NULL;
    int bad_row = -1;
    (void)input;
    weir_err err = weir_select_eval(self->select, batch, self->scratch, &out, &bad_row, &ctx->error);
    if (err == WEIR_ERR_DATA && self->on_error == WEIR_ON_ERROR_SKIP) {
        uint64_t fine[WEIR_BATCH_ROWS_MAX / 64];
        int bad = weir_op_good_rows(batch, eval_piece, self, fine, &err, &ctx->error);
        if (!err) {
            weir_op_count_bad(ctx, WEIR_BAD_OTHER, bad);
            if (bad == batch->row_count)
                return WEIR_STEP_DONE;
            struct weir_batch *good = weir_batch_filter(batch, fine);
            err = weir_select_eval(self->select, good, self->scratch, &out, &bad_row, &ctx->error);
            weir_batch_unref(good);
        }
    }
    if (err) {
        weir_op_row_error(ctx->plan->name, batch, bad_row, &ctx->error);
        return WEIR_STEP_FAILED;
    }
    weir_out_push(ctx->out, out);
    return WEIR_STEP_DONE;
}

static void select_close(struct weir_op *op, struct weir_op_ctx *ctx, bool finished)
{
    struct select_op *self = (struct select_op *)op;
    (void)ctx, (void)finished;
    weir_select_free(self->select);
    weir_expr_scratch_free(self->scratch);
}

const struct weir_op_vtable weir_op_select = {
    .name = "select",
    .help = "Computes a list of columns from each row",
    .size = sizeof(struct select_op),
    .options = select_options,
    .plan = select_plan,
    .open = select_open,
    .batch = select_batch,
    .close = select_close,
};
