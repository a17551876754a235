/* Session windows: per key a list of sessions that grow and merge; a session fires when its gap has passed.
 *
 * A row at t is the session [t, t + gap); sessions of a key that touch are one (Flink's TimeWindow.intersects, ends included). A row is
 * late when, merged with what it touches, its session is beyond the allowed lateness; sessions that are kept are not, so only a row that
 * touches none can be late. A session that has fired and gets another row within its lateness fires again, once a batch.
 *
 * State: one table; the value is a pointer to the key's sessions, latest first, in the table's heap. Nodes are recycled by a free list;
 * what variable-size accumulators leave behind is reclaimed by copying all to a new heap when it has doubled. Timers are a heap of (time, key id); each session has one valid timer (`timer_ms`), not
 * later than its end or cleanup, so that a growing session costs no timer per row: an early one is set again when it comes up.
 * Owning thread: the worker.
 */
#include "ops/window_int.h"

#include <stdlib.h>

#include "base/assert.h"

#define FIRED 1u
#define DIRTY 2u
#define REMOVED INT64_MIN /* as timer_ms: goes as soon as its result is out */
#define COMPACT_MIN ((size_t)1 << 20)

struct weir_session_node {
    struct weir_session_node *next; /* older */
    int64_t start_ms, end_ms;
    int64_t timer_ms;
    uint64_t flags;
    uint8_t accumulator[];
};

static struct weir_session_node **list_of(uint8_t *value)
{
    return (struct weir_session_node **)(void *)value;
}

static struct weir_state_table *table_of(struct weir_window *window)
{
    return weir_state_open(window->sessions, 0);
}

/* --- Timers */

static bool timer_before(const struct weir_session_timer *a, const struct weir_session_timer *b)
{
    if (a->time_ms != b->time_ms)
        return a->time_ms < b->time_ms;
    return a->id.head != b->id.head ? a->id.head < b->id.head : a->id.kind < b->id.kind;
}

static void timer_push(struct weir_window *window, int64_t time_ms, struct weir_state_id id)
{
    if (window->timer_count == window->timer_capacity) {
        window->timer_capacity = window->timer_capacity ? window->timer_capacity * 2 : 64;
        window->timers = weir_realloc(window->timers, (size_t)window->timer_capacity * sizeof *window->timers);
    }
    struct weir_session_timer timer = {time_ms, id};
    int at = window->timer_count++;
    while (at > 0 && timer_before(&timer, &window->timers[(at - 1) / 2])) {
        window->timers[at] = window->timers[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    window->timers[at] = timer;
}

static struct weir_session_timer timer_pop(struct weir_window *window)
{
    struct weir_session_timer first = window->timers[0], last = window->timers[--window->timer_count];
    int at = 0;
    for (;;) {
        int child = 2 * at + 1;
        if (child >= window->timer_count)
            break;
        if (child + 1 < window->timer_count && timer_before(&window->timers[child + 1], &window->timers[child]))
            child++;
        if (!timer_before(&window->timers[child], &last))
            break;
        window->timers[at] = window->timers[child];
        at = child;
    }
    if (window->timer_count > 0)
        window->timers[at] = last;
    return first;
}

/* When the session has something to do: fire at its end, or go at the end of its lateness. */
static void timer_arm(struct weir_window *window, struct weir_session_node *node, struct weir_state_id id)
{
    int64_t due = node->flags & FIRED ? node->end_ms + window->spec.lateness_ms : node->end_ms;
    if (node->timer_ms <= due)
        return; /* comes up in time, and is set again then */
    node->timer_ms = due;
    timer_push(window, due, id);
}

int64_t weir_sessions_next_end(const struct weir_window *window)
{
    return window->timer_count ? window->timers[0].time_ms : INT64_MAX;
}

/* --- Nodes */

static size_t node_size(const struct weir_window *window)
{
    return sizeof(struct weir_session_node) + window->accumulator_size;
}

static struct weir_session_node *node_new(struct weir_window *window, struct weir_arena *heap)
{
    struct weir_session_node *node = window->free_nodes;
    if (node)
        window->free_nodes = node->next;
    else
        node = weir_arena_alloc(heap, node_size(window));
    memset(node, 0, node_size(window));
    node->timer_ms = INT64_MAX;
    return node;
}

static void node_free(struct weir_window *window, struct weir_session_node *node)
{
    node->next = window->free_nodes;
    window->free_nodes = node;
}

/* Copies a key's sessions, leaving behind what is dead in the heap. */
static void move_sessions(void *arg, uint8_t *value, struct weir_arena *heap)
{
    struct weir_window *window = arg;
    struct weir_session_node **end = list_of(value);
    for (const struct weir_session_node *old = *end; old; old = old->next) {
        struct weir_session_node *node = node_new(window, heap);
        node->start_ms = old->start_ms;
        node->end_ms = old->end_ms;
        node->timer_ms = old->timer_ms;
        node->flags = old->flags;
        weir_agg_merge(window->agg, node->accumulator, old->accumulator, heap);
        *end = node;
        end = &node->next;
    }
}

static void compact(struct weir_window *window)
{
    struct weir_state_table *table = table_of(window);
    if (weir_state_heap(table)->size_total <= window->heap_bytes_compact)
        return;
    window->free_nodes = NULL;
    weir_state_compact(table, move_sessions, window);
    size_t live = weir_state_heap(table)->size_total;
    window->heap_bytes_compact = 2 * live > COMPACT_MIN ? 2 * live : COMPACT_MIN;
}

/* --- Update
 *
 * Rows are taken in order. Their accumulators are updated together, at the end or before two sessions merge. */

struct pending {
    int32_t *rows;
    uint8_t **accumulators;
    int count;
};

static void flush(struct weir_window *window, struct weir_state_table *table, struct pending *pending)
{
    if (pending->count)
        weir_agg_update(window->agg, window->input, pending->rows, pending->accumulators, pending->count,
                        weir_state_heap(table));
    pending->count = 0;
}

/* `newer` goes into `older`, the next of the list, which takes its place. */
static void merge_nodes(struct weir_window *window, struct weir_state_table *table, struct weir_session_node **link)
{
    struct weir_session_node *newer = *link, *older = newer->next;
    if (newer->end_ms > older->end_ms)
        older->end_ms = newer->end_ms;
    weir_agg_merge(window->agg, older->accumulator, newer->accumulator, weir_state_heap(table));
    if (newer->timer_ms < older->timer_ms)
        older->timer_ms = newer->timer_ms;
    older->flags |= newer->flags;
    *link = older;
    node_free(window, newer);
}

/* The session of a row at time_ms, made, grown or merged; NULL: the row is late. */
static struct weir_session_node *session_for(struct weir_window *window, struct weir_state_table *table, uint8_t *value,
                                             int64_t time_ms, struct pending *pending)
{
    int64_t start_ms = time_ms, end_ms = time_ms + window->spec.gap_ms;
    struct weir_session_node **link = list_of(value);
    while (*link && (*link)->start_ms > end_ms)
        link = &(*link)->next;
    struct weir_session_node *node = *link;
    if (!node || node->end_ms < start_ms) {
        if (end_ms - 1 + window->spec.lateness_ms <= window->watermark_ms)
            return NULL;
        node = node_new(window, weir_state_heap(table));
        node->start_ms = start_ms;
        node->end_ms = end_ms;
        node->next = *link;
        *link = node;
        return node;
    }
    if (end_ms > node->end_ms)
        node->end_ms = end_ms;
    if (start_ms < node->start_ms)
        node->start_ms = start_ms;
    while (node->next && node->next->end_ms >= node->start_ms) {
        flush(window, table, pending);
        merge_nodes(window, table, link);
        node = *link;
    }
    return node;
}

/* Whether it fires again at the end of the batch or, once its end is in the future, (again) by its timer. */
static void after_row(struct weir_window *window, struct weir_session_node *node, struct weir_state_id id)
{
    if (node->end_ms - 1 > window->watermark_ms) {
        node->flags = 0;
    } else if (!(node->flags & DIRTY)) {
        node->flags |= DIRTY | FIRED;
        window->session_dirty[window->session_dirty_count++] = id;
    }
    timer_arm(window, node, id);
}

/* Keys that a late row alone had inserted go again. */
static void remove_empty(struct weir_window *window, struct weir_state_table *table, const int32_t *rows, int count)
{
    for (int i = 0; i < count; i++) {
        uint8_t *value;
        weir_state_lookup(table, &window->keys, &rows[i], 1, &value);
        if (value && !*list_of(value))
            weir_state_remove_value(table, value);
    }
}

weir_err weir_sessions_update(struct weir_window *window, struct weir_op_ctx *ctx)
{
    compact(window);
    struct weir_state_table *table = table_of(window);
    const int64_t *times = weir_window_times(window);
    int row_count = window->current->row_count;
    int32_t *late = window->rows;
    int late_count = 0;
    struct pending pending = {.rows = window->groups->row_space, .accumulators = window->values2};
    weir_state_upsert(table, &window->keys, NULL, row_count, window->values);
    if (window->moves != weir_state_moves(table)) {
        window->moves = weir_state_moves(table);
        window->free_nodes = NULL;
    }
    for (int i = 0; i < row_count; i++)
        __builtin_prefetch(*list_of(window->values[i]), 1);
    window->session_dirty_count = window->session_dirty_at = 0;
    for (int i = 0; i < row_count; i++) {
        uint8_t *value = window->values[i];
        struct weir_session_node *node =
            session_for(window, table, value, times ? times[i] : window->row_time_ms, &pending);
        if (!node) {
            late[late_count++] = i;
            continue;
        }
        pending.rows[pending.count] = i;
        pending.accumulators[pending.count++] = node->accumulator;
        if (node->end_ms - 1 <= window->watermark_ms || node->flags || node->timer_ms == INT64_MAX)
            after_row(window, node, weir_state_id_of(table, value));
    }
    flush(window, table, &pending);
    if (late_count) {
        remove_empty(window, table, late, late_count);
        weir_window_push_late(window, ctx, late, late_count);
    }
    return WEIR_OK;
}

/* --- Results */

/* Adds the session to the results; its key is kept until they are emitted. */
static void add_result(struct weir_window *window, const struct weir_state_entry *entry,
                       const struct weir_session_node *node, int at)
{
    bool ok = weir_buf_append(&window->emit_keys, entry->key, entry->key_size);
    weir_assert(ok); /* emit_rows keys: each was in a batch of at most 1 GiB */
    window->results[at] = (struct weir_agg_group){
        .key_size = entry->key_size,
        .accumulator = node->accumulator,
        .window_start_ms = node->start_ms,
        .window_end_ms = node->end_ms,
    };
}

/* Keys are put in place only now, since their buffer grew. */
static weir_err emit_results(struct weir_window *window, struct weir_op_ctx *ctx, int count)
{
    const uint8_t *key = window->emit_keys.data ? window->emit_keys.data : (const uint8_t *)"";
    for (int i = 0; i < count; i++) {
        window->results[i].key = key;
        key += window->results[i].key_size;
    }
    weir_err err = count ? weir_window_emit(window, ctx, count) : WEIR_OK;
    weir_buf_clear(&window->emit_keys);
    return err;
}

enum weir_step weir_sessions_again(struct weir_window *window, struct weir_op_ctx *ctx)
{
    struct weir_state_table *table = table_of(window);
    while (window->session_dirty_at < window->session_dirty_count) {
        if (weir_out_full(ctx->out))
            return WEIR_STEP_AGAIN;
        int count = 0;
        while (window->session_dirty_at < window->session_dirty_count && count < window->emit_rows &&
               window->emit_keys.size < WEIR_BATCH_BYTES_SOFT_MAX) {
            struct weir_state_id id = window->session_dirty[window->session_dirty_at];
            struct weir_state_entry entry;
            int64_t cursor = 0;
            bool more = false;
            while (!more && weir_state_find_id(table, id, &cursor, &entry)) {
                for (struct weir_session_node *node = *list_of(entry.value); node; node = node->next) {
                    if (!(node->flags & DIRTY))
                        continue;
                    if (count == window->emit_rows) {
                        more = true;
                        break;
                    }
                    node->flags &= ~(uint64_t)DIRTY;
                    add_result(window, &entry, node, count++);
                }
            }
            if (more)
                break;
            window->session_dirty_at++;
        }
        if (emit_results(window, ctx, count))
            return WEIR_STEP_FAILED;
        if (weir_op_should_yield(ctx))
            return WEIR_STEP_AGAIN;
    }
    return WEIR_STEP_DONE;
}

/* --- Firing */

/* Unlinks one session that is marked, and its key with the last one. */
static void remove_session(struct weir_window *window, struct weir_state_table *table, struct weir_state_id id)
{
    struct weir_state_entry entry;
    int64_t cursor = 0;
    while (weir_state_find_id(table, id, &cursor, &entry)) {
        for (struct weir_session_node **link = list_of(entry.value); *link; link = &(*link)->next) {
            struct weir_session_node *node = *link;
            if (node->timer_ms != REMOVED)
                continue;
            *link = node->next;
            node_free(window, node);
            if (!*list_of(entry.value))
                weir_state_remove_value(table, entry.value);
            return;
        }
    }
}

/* One timer: sets it again, fires its session, or marks it REMOVED (results still point to it). Returns the new number of results. */
static int handle_timer(struct weir_window *window, struct weir_state_table *table, struct weir_session_timer timer,
                        int count, int *removed_count)
{
    struct weir_state_entry entry;
    int64_t cursor = 0;
    while (weir_state_find_id(table, timer.id, &cursor, &entry)) {
        for (struct weir_session_node *node = *list_of(entry.value); node; node = node->next) {
            if (node->timer_ms != timer.time_ms)
                continue;
            weir_state_touch(table, entry.value);
            bool fired = node->flags & FIRED;
            int64_t due = fired ? node->end_ms + window->spec.lateness_ms : node->end_ms;
            if (due > timer.time_ms) {
                node->timer_ms = INT64_MAX;
                timer_arm(window, node, timer.id);
                return count;
            }
            node->flags |= FIRED;
            if (!fired)
                add_result(window, &entry, node, count++);
            if (fired || window->spec.lateness_ms == 0) {
                node->timer_ms = REMOVED;
                window->session_dirty[(*removed_count)++] = timer.id;
            } else {
                node->timer_ms = INT64_MAX;
                timer_arm(window, node, timer.id);
            }
            return count;
        }
    }
    return count; /* its session has merged into another one */
}

enum weir_step weir_sessions_fire(struct weir_window *window, struct weir_op_ctx *ctx, int64_t target_ms)
{
    struct weir_state_table *table = table_of(window);
    while (window->timer_count > 0 && window->timers[0].time_ms - 1 <= target_ms) {
        if (weir_out_full(ctx->out))
            return WEIR_STEP_AGAIN;
        int count = 0, removed = 0;
        for (int handled = 0; handled < WEIR_WINDOW_ROWS && count < window->emit_rows &&
                              window->emit_keys.size < WEIR_BATCH_BYTES_SOFT_MAX && window->timer_count > 0 &&
                              window->timers[0].time_ms - 1 <= target_ms;
             handled++)
            count = handle_timer(window, table, timer_pop(window), count, &removed);
        weir_err err = emit_results(window, ctx, count);
        for (int i = 0; i < removed; i++)
            remove_session(window, table, window->session_dirty[i]);
        if (ctx->memory) /* timers bring sessions back from disk */
            weir_state_memory_settle(ctx->memory);
        if (err)
            return WEIR_STEP_FAILED;
        if (weir_op_should_yield(ctx))
            return WEIR_STEP_AGAIN;
    }
    return WEIR_STEP_DONE;
}

/* --- Life */

void weir_sessions_open(struct weir_window *window, const struct weir_state_spec *spec)
{
    struct weir_state_spec own = *spec;
    own.name = WEIR_WINDOW_STATE;
    own.value_size = sizeof(struct weir_session_node *);
    window->sessions = weir_state_new(&own);
    window->session_dirty = weir_alloc(WEIR_BATCH_ROWS_MAX * sizeof *window->session_dirty);
    window->heap_bytes_compact = COMPACT_MIN;
    weir_buf_init(&window->emit_keys, SIZE_MAX / 2);
}

void weir_sessions_encode(struct weir_window *window, const uint8_t *value, struct weir_buf *out)
{
    const struct weir_session_node *node;
    memcpy(&node, value, sizeof node);
    for (; node; node = node->next) {
        weir_put_i64(out, node->start_ms);
        weir_put_i64(out, node->end_ms);
        weir_put_i64(out, node->timer_ms);
        weir_put_u8(out, (uint8_t)(node->flags & FIRED));
        size_t at = out->size;
        weir_put_u32(out, 0);
        weir_agg_encode(window->agg, node->accumulator, out);
        size_t size = out->size - at - 4;
        weir_assert(size <= UINT32_MAX);
        for (int i = 0; i < 4; i++)
            out->data[at + (size_t)i] = (uint8_t)(size >> (8 * i));
    }
}

bool weir_sessions_decode(struct weir_window *window, const uint8_t *bytes, size_t size, uint8_t *value,
                          struct weir_arena *heap)
{
    struct weir_part_reader in = {.at = bytes, .end = bytes + size};
    struct weir_session_node **link = list_of(value);
    while (in.at < in.end) {
        struct weir_session_node *node = *link = weir_arena_zalloc(heap, node_size(window)); /* a heap of any kind */
        node->start_ms = weir_get_i64(&in);
        node->end_ms = weir_get_i64(&in);
        node->timer_ms = weir_get_i64(&in);
        node->flags = weir_get_u8(&in) ? FIRED : 0;
        size_t accumulator_size;
        const uint8_t *accumulator = weir_get_bytes(&in, &accumulator_size);
        if (in.bad || !weir_agg_decode(window->agg, accumulator, accumulator_size, node->accumulator, heap))
            return false;
        link = &node->next;
    }
    return *list_of(value) != NULL; /* a key without sessions is not kept */
}

void weir_sessions_arm(struct weir_window *window)
{
    struct weir_state_table *table = table_of(window);
    int64_t cursor = 0;
    int count;
    while ((count = weir_state_walk_entries(table, &cursor, window->entries, WEIR_BATCH_ROWS_MAX)) > 0)
        for (int i = 0; i < count; i++) {
            uint8_t *value = window->entries[i].value;
            struct weir_state_id id = weir_state_id_of_key(table, window->entries[i].key, window->entries[i].key_size);
            for (struct weir_session_node *node = *list_of(value); node; node = node->next) {
                if (node->timer_ms != INT64_MAX)
                    timer_push(window, node->timer_ms, id);
                else
                    timer_arm(window, node, id);
            }
        }
}

void weir_sessions_close(struct weir_window *window)
{
    weir_state_free(window->sessions);
    free(window->session_dirty);
    free(window->timers);
    weir_buf_fini(&window->emit_keys);
    weir_buf_fini(&window->schema);
}
