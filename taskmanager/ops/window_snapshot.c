/* The window operator's state in checkpoints: one part "windows" of kind KEYED. Little-endian:
 *     u8 1, u8 enum weir_window_type, u64 layout of the accumulators (expr/agg.h), i64 watermark, then for each entry
 *     u32 size of what follows, u16 key group (big-endian), bytes key (canonical), i64 namespace, value
 * Value of a pane (namespace: its end): the accumulator. Of a session (namespace 0, a record each, latest first): i64 start, i64 end, u8 has
 * fired, the accumulator. What is left out is rebuilt: timers, merged panes.
 *
 * A restored subtask takes the entries of its own key groups from every part that it is given. Owning thread: the worker.
 */
#include "ops/window_int.h"

#include "base/assert.h"
#include "base/hash.h"

#define VERSION 1

static void put_key(struct weir_window *window, struct weir_buf *out, const struct weir_state_entry *entry,
                    int64_t namespace)
{
    int group = weir_key_group(weir_xxh3(entry->key, entry->key_size), window->max_parallelism);
    weir_put_u8(out, (uint8_t)(group >> 8));
    weir_put_u8(out, (uint8_t)group);
    weir_put_bytes(out, entry->key, entry->key_size);
    weir_put_i64(out, namespace);
}

/* A record's size is known when it is there. */
static size_t begin_record(struct weir_buf *out)
{
    size_t at = out->size;
    weir_put_u32(out, 0);
    return at;
}

static void end_record(struct weir_buf *out, size_t at)
{
    size_t size = out->size - at - 4;
    weir_assert(size <= UINT32_MAX);
    for (int i = 0; i < 4; i++)
        out->data[at + (size_t)i] = (uint8_t)(size >> (8 * i));
}

static void put_panes(struct weir_window *window, struct weir_buf *out)
{
    for (int64_t pane_ms = weir_state_next(window->panes, INT64_MIN); pane_ms != INT64_MAX;
         pane_ms = weir_state_next(window->panes, pane_ms + 1)) {
        struct weir_state_table *table = weir_state_find(window->panes, pane_ms);
        int64_t cursor = 0;
        int count;
        while ((count = weir_state_walk_entries(table, &cursor, window->entries, WEIR_BATCH_ROWS_MAX)) > 0)
            for (int i = 0; i < count; i++) {
                size_t at = begin_record(out);
                put_key(window, out, &window->entries[i], pane_ms);
                weir_agg_encode(window->agg, window->entries[i].value, out);
                end_record(out, at);
            }
    }
}

weir_err weir_window_snapshot(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_snapshot *snapshot,
                              struct weir_error *error)
{
    struct weir_window *window = (struct weir_window *)op;
    struct weir_buf out;
    (void)error;
    weir_assert(!window->current && window->fire.phase == WEIR_FIRE_NONE); /* barriers come between items */
    weir_buf_init(&out, SIZE_MAX / 2);
    weir_put_u8(&out, VERSION);
    weir_put_u8(&out, (uint8_t)window->spec.type);
    weir_put_i64(&out, (int64_t)weir_agg_layout(window->agg));
    weir_put_i64(&out, window->watermark_ms);
    if (window->spec.type == WEIR_WINDOW_SESSION) {
        struct weir_state_entry entry;
        struct weir_session_kept kept;
        for (struct weir_session_walk walk = {.index = 0}; weir_sessions_walk(window, &walk, &entry, &kept);) {
            size_t at = begin_record(&out);
            put_key(window, &out, &entry, 0);
            weir_put_i64(&out, kept.start_ms);
            weir_put_i64(&out, kept.end_ms);
            weir_put_u8(&out, kept.fired);
            weir_agg_encode(window->agg, kept.accumulator, &out);
            end_record(&out, at);
        }
    } else {
        put_panes(window, &out);
    }
    weir_snapshot_add(snapshot, ctx->plan->uid, WEIR_WINDOW_STATE, WEIR_STATE_KEYED, &out);
    weir_buf_fini(&out);
    return WEIR_OK;
}

/* --- Restore */

static bool take_value(struct weir_window *window, const uint8_t *key, size_t key_size, int64_t namespace,
                       struct weir_part_reader *in)
{
    if (window->spec.type == WEIR_WINDOW_SESSION) {
        struct weir_session_kept kept;
        kept.start_ms = weir_get_i64(in);
        kept.end_ms = weir_get_i64(in);
        kept.fired = weir_get_u8(in) != 0;
        return !in->bad &&
               weir_sessions_put(window, key, (uint32_t)key_size, &kept, in->at, (size_t)(in->end - in->at));
    }
    struct weir_state_table *table = weir_state_open(window->panes, namespace);
    uint8_t *value = in->bad ? NULL : weir_state_put(table, key, (uint32_t)key_size);
    return value && weir_agg_decode(window->agg, in->at, (size_t)(in->end - in->at), value, weir_state_heap(table));
}

/* One entry; those of other key groups are somebody else's. */
static void take_entry(struct weir_window *window, const struct weir_op_ctx *ctx, struct weir_part_reader *in)
{
    size_t size, key_size;
    struct weir_part_reader record;
    record.at = weir_get_bytes(in, &size);
    record.end = record.at + size;
    record.bad = in->bad;
    int group = weir_get_u8(&record) << 8;
    group |= weir_get_u8(&record);
    const uint8_t *key = weir_get_bytes(&record, &key_size);
    int64_t namespace = weir_get_i64(&record);
    if (!record.bad && (group < ctx->key_group_first || group >= ctx->key_group_first + ctx->key_group_count))
        return;
    in->bad |= record.bad || !take_value(window, key, key_size, namespace, &record);
}

weir_err weir_window_restore(struct weir_window *window, struct weir_op_ctx *ctx, struct weir_error *error)
{
    const struct weir_restored_part *part = NULL;
    int64_t watermark_ms = INT64_MAX;
    while ((part = weir_restored_next(ctx->restored, ctx->plan->uid, WEIR_WINDOW_STATE, part))) {
        struct weir_part_reader in = weir_part_read(part);
        in.bad |= weir_get_u8(&in) != VERSION;
        int type = weir_get_u8(&in);
        uint64_t layout = (uint64_t)weir_get_i64(&in);
        int64_t at_ms = weir_get_i64(&in);
        if (!in.bad && (type != (int)window->spec.type || layout != weir_agg_layout(window->agg)))
            return weir_fail(
                error, WEIR_ERR_INVALID,
                "the checkpoint holds windows of another type or with other aggregates than this operator has; "
                "give it another uid, or take the change back");
        watermark_ms = at_ms < watermark_ms ? at_ms : watermark_ms;
        while (!in.bad && in.at < in.end)
            take_entry(window, ctx, &in);
        weir_err err = weir_part_read_end(&in, WEIR_WINDOW_STATE, error);
        if (err)
            return err;
        window->watermark_ms = watermark_ms;
    }
    return WEIR_OK;
}
