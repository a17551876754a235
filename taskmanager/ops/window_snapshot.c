/* What a window operator has in checkpoints: its state, whose values are a pane's accumulator or a key's sessions, and the watermark by which it
 * judges rows. The merged panes and keys that fire again are of one item only; which windows have fired follows from the watermark.
 * Timers of sessions are in their values. Owning thread: the worker.
 *
 * Values: a pane's accumulator (namespace: the pane's end); a key's sessions, latest first: i64 start, i64 end, i64 timer, u8 has fired, bytes
 * accumulator (namespace 0). Schema of the values: u8 type of window, u64 layout of the accumulators.
 */
#include "ops/window_int.h"

#include "base/assert.h"

#define VERSION 1

/* --- Values */

static void encode(void *arg, const uint8_t *value, struct weir_buf *out)
{
    struct weir_window *window = arg;
    if (window->spec.type == WEIR_WINDOW_SESSION)
        weir_sessions_encode(window, value, out);
    else
        weir_agg_encode(window->agg, value, out);
}

static weir_err decode(void *arg, const void *reader, const uint8_t *bytes, size_t size, uint8_t *value,
                       struct weir_arena *heap, struct weir_error *error)
{
    struct weir_window *window = arg;
    (void)reader;
    bool ok = window->spec.type == WEIR_WINDOW_SESSION ? weir_sessions_decode(window, bytes, size, value, heap)
                                                       : weir_agg_decode(window->agg, bytes, size, value, heap);
    return ok ? WEIR_OK : weir_fail(error, WEIR_ERR_DATA, "CHECKPOINT_CORRUPT: the values are not those of windows");
}

static weir_err other_schema(void *arg, const uint8_t *schema, size_t size, void **reader, struct weir_error *error)
{
    (void)arg, (void)schema, (void)size, (void)reader;
    return weir_fail(error, WEIR_ERR_INVALID,
                     "the checkpoint holds windows of another type or with other aggregates than this operator has; "
                     "give it another uid, or take the change back");
}

const struct weir_state_codec *weir_window_codec(struct weir_window *window)
{
    uint64_t layout = weir_agg_layout(window->agg);
    window->schema[0] = (uint8_t)window->spec.type;
    for (int i = 0; i < 8; i++)
        window->schema[1 + i] = (uint8_t)(layout >> (8 * i));
    window->codec = (struct weir_state_codec){
        .arg = window,
        .encode = encode,
        .decode = decode,
        .schema = window->schema,
        .schema_size = sizeof window->schema,
        .reader_new = other_schema,
    };
    return &window->codec;
}

/* --- Checkpoints */

static struct weir_state *kept(const struct weir_window *window)
{
    return window->spec.type == WEIR_WINDOW_SESSION ? window->sessions : window->panes;
}

weir_err weir_window_snapshot(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_snapshot *snapshot,
                              struct weir_error *error)
{
    struct weir_window *window = (struct weir_window *)op;
    struct weir_buf out;
    (void)error;
    weir_assert(!window->current && window->fire.phase == WEIR_FIRE_NONE); /* barriers come between items */
    weir_state_snapshot(kept(window), snapshot);
    weir_buf_init(&out, SIZE_MAX / 2);
    weir_put_u8(&out, VERSION);
    weir_put_i64(&out, window->watermark_ms);
    weir_snapshot_add(snapshot, ctx->plan->uid, WEIR_WINDOW_TIME_STATE, WEIR_STATE_KEYED, &out);
    weir_buf_fini(&out);
    return WEIR_OK;
}

weir_err weir_window_restore(struct weir_window *window, struct weir_op_ctx *ctx, struct weir_error *error)
{
    const struct weir_restored_part *part = NULL;
    int64_t watermark_ms = INT64_MAX;
    while ((part = weir_restored_next(ctx->restored, ctx->plan->uid, WEIR_WINDOW_TIME_STATE, part))) {
        struct weir_part_reader in = weir_part_read(part);
        in.bad |= weir_get_u8(&in) != VERSION;
        int64_t at_ms = weir_get_i64(&in);
        weir_err err = weir_part_read_end(&in, WEIR_WINDOW_TIME_STATE, error);
        if (err)
            return err;
        watermark_ms = at_ms < watermark_ms ? at_ms : watermark_ms;
        window->watermark_ms = watermark_ms;
    }
    weir_err err = weir_state_restore(kept(window), ctx->restored, error);
    if (!err && window->spec.type == WEIR_WINDOW_SESSION)
        weir_sessions_arm(window);
    return err;
}
