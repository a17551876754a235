/* splits: the coordinator of a source whose connector has splits (files). It finds them when it opens and hands one
 * at a time to whichever reader has credit and asks: its output edge is ON_DEMAND, and a batch is one split.
 *
 * Checkpoints: the state "splits" is those that no reader has got; the others are their readers'. Barriers do not wait until those that were
 * pushed are asked for. A later attempt hands out these, and does
 * not look for files again. Format: u8 1, u32 count, then for each: bytes id, i64 offset, i64 size.
 */
#include "ops/ops_int.h"
#include "state/snapshot.h"

#define STATE "splits"
#define STATE_VERSION 1

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
    {"dead-letter.topic", WEIR_OPTION_STRING, "", NULL, "As the source's"},
    {"dead-letter.size-max", WEIR_OPTION_SIZE, "16 mb", NULL, "As the source's"},
    {"record.size-max", WEIR_OPTION_SIZE, "1 mb", NULL, "As the source's"},
    {"watermark.expression", WEIR_OPTION_STRING, "", NULL, "As the source's"},
    {"watermark.idle-timeout", WEIR_OPTION_DURATION, "0", NULL, "As the source's"},
    {WEIR_OPTION_ALIGNMENT_GROUP, WEIR_OPTION_STRING, "", NULL, "As the source's"},
    {"scan.watermark.alignment.max-drift", WEIR_OPTION_DURATION, "", NULL, "As the source's"},
    {"scan.watermark.alignment.update-interval", WEIR_OPTION_DURATION, "1 s", NULL, "As the source's"},
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

static weir_err restore(struct splits *splits, const struct weir_restored_part *part, struct weir_error *error)
{
    struct weir_part_reader in = weir_part_read(part);
    in.bad |= weir_get_u8(&in) != STATE_VERSION;
    uint32_t count = weir_get_u32(&in);
    in.bad |= count > part->size; /* each takes some bytes */
    splits->splits = weir_arena_zalloc(&splits->arena, (in.bad ? 1 : (size_t)count + 1) * sizeof *splits->splits);
    for (uint32_t i = 0; i < count && !in.bad; i++) {
        size_t size;
        const uint8_t *id = weir_get_bytes(&in, &size);
        struct weir_split *split = &splits->splits[splits->count++];
        split->id = weir_arena_strndup(&splits->arena, (const char *)id, size);
        split->offset = weir_get_i64(&in);
        split->size = weir_get_i64(&in);
    }
    return weir_part_read_end(&in, STATE, error);
}

static weir_err splits_snapshot(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_snapshot *snapshot,
                                struct weir_error *error)
{
    const struct splits *splits = (struct splits *)op;
    (void)error;
    if (ctx->subtask > 0)
        return WEIR_OK;
    /* One a batch, asked for in the order in which they were pushed. */
    int next = splits->next - (int)weir_out_undelivered(ctx->out);
    struct weir_buf out;
    weir_buf_init(&out, SIZE_MAX / 2);
    weir_put_u8(&out, STATE_VERSION);
    weir_put_u32(&out, (uint32_t)(splits->count - next));
    for (int i = next; i < splits->count; i++) {
        weir_put_bytes(&out, splits->splits[i].id, strlen(splits->splits[i].id));
        weir_put_i64(&out, splits->splits[i].offset);
        weir_put_i64(&out, splits->splits[i].size);
    }
    weir_snapshot_add(snapshot, ctx->plan->uid, STATE, WEIR_STATE_UNION, &out);
    return WEIR_OK;
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
    const struct weir_restored_part *part = weir_restored_next(ctx->restored, ctx->plan->uid, STATE, NULL);
    if (part)
        return restore(splits, part, error);
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
    .snapshot = splits_snapshot,
    .close = splits_close,
};
