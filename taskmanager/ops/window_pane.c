/* Tumbling and sliding windows: rows update one pane each, windows fire by merging their panes.
 *
 * State: one table per pane, namespace = the pane's end. Which windows have fired follows from the watermark alone
 * (window_end - 1 <= watermark), so that nothing else need be kept. A pane is dropped when its last window has passed its allowed
 * lateness. Windows fire in the order of their ends, and within one in the order of the table. Owning thread: the worker.
 */
#include "ops/window_int.h"

#include "base/assert.h"

#define TIME_LIMIT (WEIR_WINDOW_TIME_MAX + ((int64_t)1 << 56)) /* beyond every window end */

static int64_t clamp(int64_t time_ms)
{
    return time_ms < -TIME_LIMIT ? -TIME_LIMIT : time_ms > TIME_LIMIT ? TIME_LIMIT : time_ms;
}

/* Watermark at which the pane's last window is beyond its lateness. */
static int64_t pane_cleanup_ms(const struct weir_window_spec *spec, struct weir_pane pane)
{
    return weir_window_last_end(spec, pane) - 1 + spec->lateness_ms;
}

/* --- Update */

static void update_group(struct weir_window *window, const struct weir_window_group *group)
{
    struct weir_state_table *table = weir_state_open(window->panes, group->pane.end_ms);
    const int32_t *rows = window->groups->rows ? window->groups->rows + group->first : NULL;
    if (window->global) { /* one key */
        weir_state_upsert(table, &window->keys, NULL, 1, window->values);
        for (int i = 1; i < group->count; i++)
            window->values[i] = window->values[0];
    } else {
        weir_state_upsert(table, &window->keys, rows, group->count, window->values);
    }
    weir_agg_update(window->agg, window->input, rows, window->values, group->count, weir_state_heap(table));
}

static void push_late_groups(struct weir_window *window, struct weir_op_ctx *ctx)
{
    const struct weir_window_groups *groups = window->groups;
    int count = 0;
    for (int i = 0; i < window->current->row_count; i++) {
        if (groups->groups[groups->rows ? groups->group_of_row[i] : 0].late)
            window->rows[count++] = i;
    }
    weir_window_push_late(window, ctx, window->rows, count);
}

weir_err weir_panes_update(struct weir_window *window, struct weir_op_ctx *ctx)
{
    const struct weir_window_spec *spec = &window->spec;
    struct weir_window_groups *groups = window->groups;
    const int64_t *times = weir_window_times(window);
    if (times) {
        weir_window_group_rows(spec, times, window->current->row_count, groups);
    } else { /* every row has the same time */
        weir_window_group_rows(spec, &window->row_time_ms, 1, groups);
        groups->groups[0].count = window->current->row_count;
    }
    bool late = false;
    int64_t again_first = INT64_MAX;
    window->again_up_to_ms = INT64_MIN;
    for (int g = 0; g < groups->count; g++) {
        struct weir_window_group *group = &groups->groups[g];
        if (pane_cleanup_ms(spec, group->pane) <= window->watermark_ms) {
            group->late = late = true;
            continue;
        }
        update_group(window, group);
        int64_t first = weir_window_first_end(spec, group->pane);
        if (first - 1 > window->watermark_ms)
            continue;
        /* Windows that fired already: all up to the watermark that are not beyond their lateness. */
        int64_t last = weir_window_last_end(spec, group->pane);
        int64_t alive = clamp(window->watermark_ms - spec->lateness_ms) + 2; /* the first end that is */
        again_first = first < again_first ? first : again_first;
        if (again_first < alive)
            again_first = alive;
        if (last - 1 > window->watermark_ms)
            last = window->watermark_ms + 1;
        window->again_up_to_ms = last > window->again_up_to_ms ? last : window->again_up_to_ms;
    }
    window->again_after_ms = again_first == INT64_MAX ? INT64_MAX : again_first - 1;
    if (late)
        push_late_groups(window, ctx);
    return WEIR_OK;
}

/* --- Firing */

int64_t weir_panes_next_end(const struct weir_window *window, int64_t after_ms)
{
    const struct weir_window_spec *spec = &window->spec;
    int64_t after = clamp(after_ms);
    if (after >= TIME_LIMIT)
        return INT64_MAX;
    int64_t end = weir_window_end_after(spec, after);
    int64_t pane_end = weir_state_next(window->panes, end - spec->size_ms + 1);
    if (pane_end == INT64_MAX)
        return INT64_MAX;
    int64_t first = weir_window_first_end(spec, weir_window_pane_ending(spec, pane_end));
    return first > end ? first : end;
}

/* The next pane of the window that ends at `window_end_ms` and has rows, from pane end `from_ms` on; INT64_MAX: none. */
static int64_t next_pane(const struct weir_window *window, int64_t window_end_ms, int64_t from_ms)
{
    int64_t begin = window_end_ms - window->spec.size_ms + 1;
    int64_t pane_ms = weir_state_next(window->panes, from_ms > begin ? from_ms : begin);
    return pane_ms <= window_end_ms ? pane_ms : INT64_MAX;
}

static enum weir_step fail(struct weir_op_ctx *ctx)
{
    weir_assert(ctx->error.code != WEIR_OK);
    return WEIR_STEP_FAILED;
}

/* Merges the panes of fire.window_end_ms into one table, from fire.pane_ms and its cursor on. */
static enum weir_step merge_panes(struct weir_window *window, struct weir_op_ctx *ctx)
{
    struct weir_fire *fire = &window->fire;
    struct weir_state_table *into = fire->table;
    while (fire->pane_ms != INT64_MAX) {
        struct weir_state_table *from = weir_state_find(window->panes, fire->pane_ms);
        struct weir_state_keys keys;
        int count;
        while ((count = weir_state_walk_keys(from, &fire->cursor, &keys, window->values2, WEIR_WINDOW_ROWS)) > 0) {
            weir_state_upsert(into, &keys, NULL, count, window->values);
            for (int i = 0; i < count; i++)
                weir_agg_merge(window->agg, window->values[i], window->values2[i], weir_state_heap(into));
            if (weir_op_should_yield(ctx))
                return WEIR_STEP_AGAIN;
        }
        fire->cursor = 0;
        fire->pane_ms = next_pane(window, fire->window_end_ms, fire->pane_ms + 1);
    }
    return WEIR_STEP_DONE;
}

static enum weir_step emit_table(struct weir_window *window, struct weir_op_ctx *ctx)
{
    struct weir_fire *fire = &window->fire;
    for (;;) {
        if (weir_out_full(ctx->out))
            return WEIR_STEP_AGAIN;
        int count = weir_state_walk_entries(fire->table, &fire->cursor, window->entries, window->emit_rows);
        if (count == 0)
            return WEIR_STEP_DONE;
        for (int i = 0; i < count; i++) {
            const struct weir_state_entry *entry = &window->entries[i];
            window->results[i] = (struct weir_agg_group){
                .key = entry->key,
                .key_size = entry->key_size,
                .accumulator = entry->value,
                .window_start_ms = fire->window_end_ms - window->spec.size_ms,
                .window_end_ms = fire->window_end_ms,
            };
        }
        if (weir_window_emit(window, ctx, count))
            return fail(ctx);
        if (weir_op_should_yield(ctx))
            return WEIR_STEP_AGAIN;
    }
}

/* Drops panes that no window after `done_ms` needs and that are beyond their lateness at `target_ms`. */
static void drop_panes(struct weir_window *window, int64_t done_ms, int64_t target_ms)
{
    for (;;) {
        int64_t pane_ms = weir_state_next(window->panes, INT64_MIN);
        if (pane_ms == INT64_MAX)
            return;
        struct weir_pane pane = weir_window_pane_ending(&window->spec, pane_ms);
        if (weir_window_last_end(&window->spec, pane) > done_ms || pane_cleanup_ms(&window->spec, pane) > target_ms)
            return;
        weir_state_drop(window->panes, pane_ms);
    }
}

/* The next window's panes: one is emitted where it lies, more are merged first. False: no more windows up to the target. */
static bool begin_window(struct weir_window *window, int64_t target_ms)
{
    struct weir_fire *fire = &window->fire;
    int64_t end = weir_panes_next_end(window, fire->after_ms);
    if (end == INT64_MAX || end - 1 > target_ms)
        return false;
    fire->window_end_ms = end;
    fire->cursor = 0;
    fire->pane_ms = next_pane(window, end, INT64_MIN);
    weir_assert(fire->pane_ms != INT64_MAX);
    if (next_pane(window, end, fire->pane_ms + 1) == INT64_MAX) {
        fire->table = weir_state_find(window->panes, fire->pane_ms);
        fire->phase = WEIR_FIRE_EMIT;
        return true;
    }
    fire->table = weir_state_open(window->merged, 0);
    weir_state_reserve(fire->table, weir_state_table_count(weir_state_find(window->panes, fire->pane_ms)));
    fire->phase = WEIR_FIRE_MERGE;
    return true;
}

enum weir_step weir_panes_fire(struct weir_window *window, struct weir_op_ctx *ctx, int64_t target_ms)
{
    struct weir_fire *fire = &window->fire;
    enum weir_step step;
    for (;;) {
        switch (fire->phase) {
        case WEIR_FIRE_NONE:
            fire->after_ms = window->watermark_ms == INT64_MAX ? INT64_MAX : window->watermark_ms + 1;
            fire->phase = WEIR_FIRE_NEXT;
            break;
        case WEIR_FIRE_NEXT:
            if (!begin_window(window, target_ms)) {
                drop_panes(window, INT64_MAX, target_ms);
                fire->phase = WEIR_FIRE_NONE;
                return WEIR_STEP_DONE;
            }
            break;
        case WEIR_FIRE_MERGE:
            if ((step = merge_panes(window, ctx)) != WEIR_STEP_DONE)
                return step;
            fire->phase = WEIR_FIRE_EMIT;
            break;
        case WEIR_FIRE_EMIT:
            if ((step = emit_table(window, ctx)) != WEIR_STEP_DONE)
                return step;
            weir_state_drop(window->merged, 0);
            fire->after_ms = fire->window_end_ms;
            drop_panes(window, fire->after_ms, target_ms);
            fire->phase = WEIR_FIRE_NEXT;
            break;
        }
    }
}

/* --- Results again: windows that have fired and got late rows within their lateness, those keys only, once a batch */

/* Collects the keys of the current batch that belong to the window; false: none. */
static bool collect_dirty(struct weir_window *window, int64_t window_end_ms)
{
    const struct weir_window_groups *groups = window->groups;
    bool any = false;
    for (int g = 0; g < groups->count; g++) {
        const struct weir_window_group *group = &groups->groups[g];
        if (group->late || group->pane.end_ms > window_end_ms ||
            group->pane.start_ms < window_end_ms - window->spec.size_ms)
            continue;
        const int32_t *rows = groups->rows ? groups->rows + group->first : NULL;
        weir_state_upsert(weir_state_open(window->dirty, 0), &window->keys, rows, window->global ? 1 : group->count,
                          window->values);
        any = true;
    }
    return any;
}

/* The next window to fire again; INT64_MAX: none. A window with late rows is found through the batch's panes. */
static int64_t next_again(struct weir_window *window, int64_t after_ms)
{
    const struct weir_window_groups *groups = window->groups;
    const struct weir_window_spec *spec = &window->spec;
    int64_t next = INT64_MAX;
    int64_t end = weir_window_end_after(spec, after_ms);
    for (int g = 0; g < groups->count; g++) {
        const struct weir_window_group *group = &groups->groups[g];
        int64_t first = weir_window_first_end(spec, group->pane), last = weir_window_last_end(spec, group->pane);
        int64_t candidate = first > end ? first : end;
        if (!group->late && candidate <= last && candidate < next)
            next = candidate;
    }
    return next <= window->again_up_to_ms ? next : INT64_MAX;
}

/* Accumulators of dirty keys over the window's panes -> results. */
static void merge_dirty(struct weir_window *window, const struct weir_state_keys *keys, int count)
{
    int64_t end = window->fire.window_end_ms;
    size_t size = window->accumulator_size;
    if (!window->chunk_accumulators)
        window->chunk_accumulators = weir_alloc(WEIR_WINDOW_ROWS * size);
    memset(window->chunk_accumulators, 0, (size_t)count * size);
    weir_arena_reset(&window->chunk_heap);
    for (int64_t pane_ms = next_pane(window, end, INT64_MIN); pane_ms != INT64_MAX;
         pane_ms = next_pane(window, end, pane_ms + 1)) {
        weir_state_lookup(weir_state_find(window->panes, pane_ms), keys, NULL, count, window->values);
        for (int i = 0; i < count; i++) {
            if (window->values[i])
                weir_agg_merge(window->agg, window->chunk_accumulators + (size_t)i * size, window->values[i],
                               &window->chunk_heap);
        }
    }
}

static enum weir_step emit_dirty(struct weir_window *window, struct weir_op_ctx *ctx)
{
    struct weir_fire *fire = &window->fire;
    for (;;) {
        if (weir_out_full(ctx->out))
            return WEIR_STEP_AGAIN;
        struct weir_state_keys keys;
        int64_t cursor = fire->cursor;
        int count = weir_state_walk_keys(fire->table, &cursor, &keys, window->values2, window->emit_rows);
        if (count == 0)
            return WEIR_STEP_DONE;
        int same = weir_state_walk_entries(fire->table, &fire->cursor, window->entries, count); /* their encodings */
        weir_assert(same == count);
        merge_dirty(window, &keys, count);
        for (int i = 0; i < count; i++) {
            window->results[i] = (struct weir_agg_group){
                .key = window->entries[i].key,
                .key_size = window->entries[i].key_size,
                .accumulator = window->chunk_accumulators + (size_t)i * window->accumulator_size,
                .window_start_ms = fire->window_end_ms - window->spec.size_ms,
                .window_end_ms = fire->window_end_ms,
            };
        }
        if (weir_window_emit(window, ctx, count))
            return fail(ctx);
        if (weir_op_should_yield(ctx))
            return WEIR_STEP_AGAIN;
    }
}

enum weir_step weir_panes_again(struct weir_window *window, struct weir_op_ctx *ctx)
{
    struct weir_fire *fire = &window->fire;
    if (window->again_after_ms == INT64_MAX)
        return WEIR_STEP_DONE;
    for (;;) {
        if (fire->phase == WEIR_FIRE_NONE) {
            int64_t end = next_again(window, window->again_after_ms);
            if (end == INT64_MAX)
                break;
            bool any = collect_dirty(window, end);
            weir_assert(any);
            fire->window_end_ms = end;
            fire->cursor = 0;
            fire->table = weir_state_find(window->dirty, 0);
            fire->phase = WEIR_FIRE_EMIT;
        }
        enum weir_step step = emit_dirty(window, ctx);
        if (step != WEIR_STEP_DONE)
            return step;
        weir_state_drop(window->dirty, 0);
        window->again_after_ms = fire->window_end_ms;
        fire->phase = WEIR_FIRE_NONE;
    }
    window->again_after_ms = INT64_MAX;
    return WEIR_STEP_DONE;
}
