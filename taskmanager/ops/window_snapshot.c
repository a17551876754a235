/* What a window operator has in checkpoints: its state, whose values are a pane's accumulator or a key's sessions, and the watermark by which it
 * judges rows. The merged panes and keys that fire again are of one item only; which windows have fired follows from the watermark.
 * Timers of sessions are in their values. Owning thread: the worker.
 *
 * Values: a pane's accumulator (namespace: the pane's end); a key's sessions, latest first: i64 start, i64 end, i64 timer, u8 has fired, bytes
 * accumulator (namespace 0). Schema of the values: u8 type of window, u64 layout of the accumulators; and for people, who read states by
 * `weir state read` (client/state_rows.c), as lines: type, size, slide, offset in ms; numbers of the key's columns; columns of the input; aggregates.
 */
#include "ops/window_int.h"

#include <inttypes.h>

#include "base/assert.h"

#define VERSION 1
#define SCHEMA_SIZE 9 /* of what must be the same */

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

/* What is text in it may have changed. */
static weir_err other_schema(void *arg, const uint8_t *schema, size_t size, void **reader, struct weir_error *error)
{
    const struct weir_window *window = arg;
    (void)reader;
    if (size >= SCHEMA_SIZE && memcmp(schema, window->schema.data, SCHEMA_SIZE) == 0)
        return WEIR_OK;
    return weir_fail(error, WEIR_ERR_INVALID,
                     "the checkpoint holds windows of another type or with other aggregates than this operator has; "
                     "give it another uid, or take the change back");
}

const struct weir_state_codec *weir_window_codec(struct weir_window *window, const struct weir_op_plan *plan,
                                                 const char *aggregates)
{
    static const char *const types[] = {
        [WEIR_WINDOW_TUMBLING] = "tumbling", [WEIR_WINDOW_SLIDING] = "sliding", [WEIR_WINDOW_SESSION] = "session"};
    const struct weir_window_spec *spec = &window->spec;
    weir_buf_init(&window->schema, SIZE_MAX / 2);
    weir_put_u8(&window->schema, (uint8_t)spec->type);
    weir_put_i64(&window->schema, (int64_t)weir_agg_layout(window->agg));
    bool ok = weir_buf_printf(&window->schema, "%s %" PRId64 " %" PRId64 " %" PRId64 "\n", types[spec->type],
                              spec->size_ms, spec->slide_ms, spec->offset_ms);
    for (int i = 0; ok && plan->keyed && i < plan->key.column_count; i++)
        ok = weir_buf_printf(&window->schema, "%s%d", i ? " " : "", plan->key.columns[i]);
    ok = ok && weir_buf_puts(&window->schema, "\n") && weir_schema_print(plan->inputs[0], &window->schema) &&
         weir_buf_puts(&window->schema, "\n") && weir_buf_puts(&window->schema, aggregates);
    weir_assert(ok);
    window->codec = (struct weir_state_codec){
        .arg = window,
        .encode = encode,
        .decode = decode,
        .schema = window->schema.data,
        .schema_size = window->schema.size,
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
