/* splits: the coordinator of a source whose connector has splits (files). It finds them when it opens and hands one
 * at a time to whichever reader has credit and asks: its output edge is ON_DEMAND, and a batch is one split.
 */
#include "ops/ops_int.h"

struct splits {
    struct weir_arena arena;
    struct weir_split *splits;
    int count, next;
};

/* Everything that the source beside it was given; only the connector's part is looked at. */
static const struct weir_option splits_options[] = {
    {"connector", WEIR_OPTION_STRING, NULL, NULL, "Whose splits"},
    {"format", WEIR_OPTION_STRING, "", NULL, "As the source's"},
    {"on-error", WEIR_OPTION_ENUM, "fail", "fail|skip|dead-letter", "As the source's"},
    {"dead-letter.path", WEIR_OPTION_STRING, "", NULL, "As the source's"},
    {"record.size-max", WEIR_OPTION_SIZE, "1 mb", NULL, "As the source's"},
    {"watermark.expression", WEIR_OPTION_STRING, "", NULL, "As the source's"},
    {"watermark.idle-timeout", WEIR_OPTION_DURATION, "0", NULL, "As the source's"},
    {0},
};

static weir_err find(const struct weir_op_plan *plan, struct weir_op_carrier *carrier, struct weir_error *error)
{
    weir_err err = weir_op_carrier_find(plan, splits_options, WEIR_CARRIER_SPLITS, carrier, error);
    if (!err && !carrier->connector->enumerate)
        err = weir_fail(error, WEIR_ERR_INVALID, "connector '%s' has no splits", carrier->connector->name);
    return err;
}

static weir_err splits_plan(struct weir_op_plan *plan, struct weir_error *error)
{
    struct weir_op_carrier carrier;
    weir_err err = find(plan, &carrier, error);
    if (!err)
        plan->output = weir_schema_ref(weir_split_schema());
    return err;
}

static weir_err splits_open(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_error *error)
{
    struct splits *splits = (struct splits *)op;
    struct weir_op_carrier carrier;
    weir_arena_init(&splits->arena);
    weir_err err = find(ctx->plan, &carrier, error);
    if (err)
        return err;
    if (ctx->subtask > 0) /* one subtask hands out all */
        return 0;
    int readers = ctx->consumer_parallelism > 0 ? ctx->consumer_parallelism : 1;
    err = carrier.connector->enumerate(ctx->plan->options, ctx->plan->option_count, readers, &splits->arena,
                                       &splits->splits, &splits->count, error);
    if (err)
        return weir_wrap(error, "%s", ctx->plan->name);
    return 0;
}

static enum weir_step splits_produce(struct weir_op *op, struct weir_op_ctx *ctx, bool *progress)
{
    struct splits *splits = (struct splits *)op;
    *progress = splits->next < splits->count;
    while (splits->next < splits->count) {
        if (weir_out_full(ctx->out))
            return WEIR_STEP_AGAIN;
        const struct weir_split *split = &splits->splits[splits->next++];
        struct weir_batch *batch = weir_batch_new(ctx->plan->output, 1);
        weir_column_set_bytes(&batch->columns[0], 0, split->id, strlen(split->id));
        batch->columns[1].i64[0] = split->offset;
        batch->columns[2].i64[0] = split->size;
        batch->columns[3].i64[0] = splits->count - splits->next;
        batch->row_count = 1;
        weir_out_push(ctx->out, batch);
    }
    return WEIR_STEP_DONE;
}

static void splits_close(struct weir_op *op, struct weir_op_ctx *ctx, bool finished)
{
    (void)ctx, (void)finished;
    weir_arena_fini(&((struct splits *)op)->arena);
}

const struct weir_op_vtable weir_op_splits = {
    .name = "splits",
    .help = "Finds the parts of an input and hands them to its readers",
    .size = sizeof(struct splits),
    .options = splits_options,
    .is_source = true,
    .plan = splits_plan,
    .open = splits_open,
    .produce = splits_produce,
    .close = splits_close,
};
