/* What a process operator has in checkpoints. Keyed states and timers are state tables, which bring themselves. The operator's own states are a
 * part each: u8 1, bytes schema, i64 count, then the elements as they lie in pages. All parts go to all subtasks (UNION): a split list is dealt
 * out element by element when the parallelism has changed, else each subtask goes on with its own; a union list is all of them; of broadcast
 * state, which is the same everywhere, each takes one copy.
 *
 * Time to live: what has expired is never given. It is removed by a walk over all entries, in memory and on disk, that goes on with each item, by
 * more entries than the item can have added, so that no more of them are past their time than live, and with each barrier; and values that
 * are past it are left out of checkpoints in full, which consolidate earlier ones (table.h, struct weir_state_codec). */
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/log.h"
#include "ops/process_int.h"

#define VERSION 1
#define CLEAN_ENTRIES 64    /* looked at in a step of the walk: at least one per item */
#define CLEAN_ENTRIES_ROW 2 /* and so many for each of its rows */
#define CLEAN_STEPS_BARRIER 16
#define COMPACT_ITEMS 256 /* between two looks at the heaps */

static void clean_step(struct weir_process *process);

/* --- Snapshot */

static void put_elements(struct weir_process_state *state, struct weir_buf *out, int64_t *count)
{
    const struct weir_process_key *key = &state->process->operator_key;
    struct weir_process_blob *head = weir_process_find(state, key, 0);
    uint32_t pages = head ? weir_process_head_get(head).pages : 0;
    *count = head ? weir_process_head_get(head).count : 0;
    for (int64_t page = 0; page <= pages; page++) {
        struct weir_process_blob *blob = weir_process_find(state, key, page);
        if (!blob)
            continue;
        const uint8_t *bytes = weir_process_bytes(blob);
        size_t at = weir_process_elements_at(blob, bytes);
        bool ok = weir_buf_append(out, bytes + at, blob->size - at);
        weir_assert(ok);
    }
}

weir_err weir_process_snapshot(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_snapshot *snapshot,
                               struct weir_error *error)
{
    struct weir_process *process = (struct weir_process *)op;
    (void)error;
    process->now_ms = weir_op_now_ms(ctx);
    for (int i = 0; i < CLEAN_STEPS_BARRIER; i++)
        clean_step(process);
    for (int i = 0; i < process->state_count; i++) {
        struct weir_process_state *state = &process->states[i];
        if (!state->used)
            continue; /* what is empty would only bind a later version to its schema */
        if (state->keyed) {
            weir_state_snapshot(state->state, snapshot);
            continue;
        }
        struct weir_buf elements, out;
        int64_t count;
        weir_buf_init(&elements, SIZE_MAX / 2);
        weir_buf_init(&out, SIZE_MAX / 2);
        put_elements(state, &elements, &count);
        weir_put_u8(&out, VERSION);
        weir_put_bytes(&out, state->schema, strlen(state->schema));
        weir_put_i64(&out, count);
        bool ok = weir_buf_append(&out, elements.data, elements.size);
        weir_assert(ok);
        weir_snapshot_add(snapshot, ctx->plan->uid, state->name, WEIR_STATE_UNION, &out);
        weir_buf_fini(&elements);
        weir_buf_fini(&out);
    }
    for (int i = 0; i < 2 && process->keyed; i++)
        weir_state_snapshot(process->timers[i].state.state, snapshot);
    return WEIR_OK;
}

/* --- Restore */

/* Is the element with this number of the part of `subtask` (of `parallelism`) ours? */
static bool is_ours(const struct weir_process_state *state, const struct weir_op_ctx *ctx,
                    const struct weir_restored_part *part, int64_t number)
{
    if (state->form == WEIR_FORM_UNION_LIST)
        return true;
    if (state->form == WEIR_FORM_BROADCAST)
        return part->subtask == ctx->subtask % part->parallelism;
    if (part->parallelism == ctx->parallelism)
        return part->subtask == ctx->subtask;
    return (number + part->subtask) % ctx->parallelism == ctx->subtask;
}

static bool take_elements(struct weir_process_state *state, const struct weir_op_ctx *ctx,
                          const struct weir_restored_part *part, const uint8_t *at, const uint8_t *end, int64_t count)
{
    const struct weir_process_key *key = &state->process->operator_key;
    struct weir_process_element element;
    bool bad = false;
    int64_t number = 0;
    for (; weir_process_element_next(state, &at, end, &element, &bad); number++) {
        size_t size = (size_t)(element.end - element.begin);
        if (!is_ours(state, ctx, part, number))
            continue;
        if (weir_process_is_map(state))
            weir_process_map_insert(state, key, element.key, element.key_size, element.begin, size);
        else
            weir_process_list_append(state, key, element.begin, size);
    }
    return !bad && number == count;
}

/* The elements in our schema: those of an older one go through the codec as a page does. */
static weir_err convert(struct weir_process_state *state, const uint8_t *schema, size_t schema_size,
                        const uint8_t *bytes, size_t size, struct weir_buf *out, struct weir_error *error)
{
    const struct weir_state_codec *codec = &state->codec;
    struct weir_buf page;
    void *reader = NULL;
    uint8_t slot[offsetof(struct weir_process_blob, here) + 64] = {0};
    const uint8_t tag = WEIR_PROCESS_PAGE;
    weir_assert(state->here_max <= 64);
    weir_err err = WEIR_OK;
    if (schema_size != strlen(state->schema) || memcmp(schema, state->schema, schema_size) != 0)
        err = codec->reader_new(codec->arg, schema, schema_size, &reader, error);
    if (err)
        return err;
    weir_buf_init(&page, SIZE_MAX / 2);
    bool ok = weir_buf_append(&page, &tag, 1) && weir_buf_append(&page, bytes, size);
    weir_assert(ok);
    struct weir_arena heap;
    weir_arena_init(&heap);
    err = codec->decode(codec->arg, reader, page.data, page.size, slot, &heap, error);
    if (!err) {
        struct weir_process_blob *blob = (struct weir_process_blob *)(void *)slot;
        ok = weir_buf_append(out, weir_process_bytes(blob) + 1, blob->size - 1);
        weir_assert(ok);
    }
    weir_arena_fini(&heap);
    if (reader)
        codec->reader_free(codec->arg, reader);
    weir_buf_fini(&page);
    return err;
}

static weir_err restore_own(struct weir_process_state *state, struct weir_op_ctx *ctx, struct weir_error *error)
{
    const struct weir_restored_part *part = NULL;
    while ((part = weir_restored_next(ctx->restored, ctx->plan->uid, state->name, part))) {
        struct weir_part_reader in = weir_part_read(part);
        struct weir_buf elements;
        size_t schema_size;
        in.bad |= weir_get_u8(&in) != VERSION || part->parallelism < 1;
        const uint8_t *schema = weir_get_bytes(&in, &schema_size);
        int64_t count = weir_get_i64(&in);
        weir_buf_init(&elements, SIZE_MAX / 2);
        weir_err err = WEIR_OK;
        if (!in.bad)
            err = convert(state, schema, schema_size, in.at, (size_t)(in.end - in.at), &elements, error);
        if (!err && !in.bad) {
            in.bad = !take_elements(state, ctx, part, elements.data, elements.data + elements.size, count);
            in.at = in.end;
        }
        weir_buf_fini(&elements);
        if (!err)
            err = weir_part_read_end(&in, state->name, error);
        if (err)
            return err;
    }
    return WEIR_OK;
}

/* A state of the checkpoint that nobody declares is let go, but not in silence. */
static void report_unknown(const struct weir_process *process, const struct weir_op_ctx *ctx)
{
    for (const struct weir_restored_part *part = ctx->restored ? ctx->restored->parts : NULL; part; part = part->next) {
        bool known = strcmp(part->uid, ctx->plan->uid) != 0 || part->name[0] == '_';
        for (int i = 0; i < process->state_count && !known; i++)
            known = strcmp(process->states[i].name, part->name) == 0;
        if (!known)
            weir_log(WARN,
                     "operator '%s': state '%s' is in the checkpoint, and the job no longer declares it: "
                     "its content is dropped",
                     ctx->plan->name, part->name);
    }
}

weir_err weir_process_restore(struct weir_process *process, struct weir_op_ctx *ctx, struct weir_error *error)
{
    weir_err err = WEIR_OK;
    if (!ctx->restored)
        return WEIR_OK;
    report_unknown(process, ctx);
    for (int i = 0; i < process->state_count && !err; i++) {
        struct weir_process_state *state = &process->states[i];
        if (!state->state)
            continue;
        err = state->keyed ? weir_state_restore(state->state, ctx->restored, error) : restore_own(state, ctx, error);
        state->used = weir_state_entry_count(state->state) > 0;
    }
    for (int i = 0; i < 2 && process->keyed && !err; i++) {
        err = weir_state_restore(process->timers[i].state.state, ctx->restored, error);
        if (!err)
            weir_process_timers_rebuild(&process->timers[i]);
    }
    return err;
}

/* --- Time to live */

/* Takes expired elements out of a page; true: some were. */
static bool drop_expired(struct weir_process_state *state, struct weir_process_blob *blob, int64_t namespace,
                         int64_t *count, int64_t *bytes)
{
    struct weir_process_element element;
    struct weir_buf *kept = &state->process->page;
    const uint8_t *begin = weir_process_bytes(blob), *end = begin + blob->size;
    size_t from = weir_process_elements_at(blob, begin);
    const uint8_t *at = begin + from;
    bool bad = false;
    *count = *bytes = 0;
    weir_buf_clear(kept);
    while (weir_process_element_next(state, &at, end, &element, &bad)) {
        size_t size = (size_t)(element.end - element.begin);
        if (weir_process_expired(state, element.touched)) {
            (*count)++;
            *bytes += (int64_t)size;
        } else {
            bool ok = weir_buf_append(kept, element.begin, size);
            weir_assert(ok);
        }
    }
    if (bad || *count == 0)
        return false;
    weir_process_touch(state, namespace, blob);
    weir_process_splice(state, namespace, blob, from, blob->size - from, kept->data, kept->size);
    return true;
}

static void clean_page(struct weir_process_state *state, const struct weir_process_key *key, int64_t namespace)
{
    struct weir_process_blob *blob = weir_process_find(state, key, namespace);
    int64_t count, bytes;
    if (!blob || !drop_expired(state, blob, namespace, &count, &bytes))
        return;
    bool is_map = weir_process_is_map(state);
    if (namespace != 0 && blob->size == 1 && is_map)
        weir_process_remove(state, key, namespace);
    struct weir_process_blob *head_blob = weir_process_find(state, key, 0);
    if (!head_blob)
        return;
    struct weir_process_head head = weir_process_head_get(head_blob);
    head.count -= count;
    head.bytes -= bytes;
    if (head.count <= 0) {
        weir_process_clear_key(state, key);
        return;
    }
    weir_process_touch(state, 0, head_blob);
    weir_process_head_put(head_blob, &head);
}

/* What was walked over may have been a copy of an older value. */
static void clean_value(struct weir_process_state *state, const struct weir_process_key *key)
{
    struct weir_process_blob *blob = weir_process_find(state, key, 0);
    if (blob && weir_process_expired(state, weir_process_bytes(blob)))
        weir_process_remove_blob(state, 0, blob);
}

/* Something in it has expired? */
static bool is_stale(struct weir_process_state *state, struct weir_process_blob *blob)
{
    struct weir_process_element element;
    const uint8_t *begin = weir_process_bytes(blob), *end = begin + blob->size;
    bool bad = false;
    if (!weir_process_is_paged(state))
        return weir_process_expired(state, begin);
    const uint8_t *at = begin + weir_process_elements_at(blob, begin);
    while (weir_process_element_next(state, &at, end, &element, &bad))
        if (weir_process_expired(state, element.touched))
            return true;
    return false;
}

/* Keys of up to CLEAN_ENTRIES entries of which something has expired, one after the other in `keys`: removal moves entries, so it comes after
 * the walk. */
static int find_stale(struct weir_process_state *state, struct weir_state_table *table, struct weir_buf *keys,
                      uint32_t *sizes)
{
    struct weir_state_entry entries[CLEAN_ENTRIES];
    int stale = 0, count = weir_state_walk_entries(table, &state->walk_cursor, entries, CLEAN_ENTRIES);
    weir_buf_clear(keys);
    for (int i = 0; i < count; i++) {
        if (!is_stale(state, (struct weir_process_blob *)(void *)entries[i].value))
            continue;
        bool ok = weir_buf_append(keys, entries[i].key, entries[i].key_size);
        weir_assert(ok);
        sizes[stale++] = entries[i].key_size;
    }
    if (count == 0) {
        state->walk_cursor = 0;
        state->walk_namespace++;
    }
    return stale;
}

static void clean_state(struct weir_process_state *state)
{
    struct weir_buf *keys = &state->process->encoded_key;
    uint32_t sizes[CLEAN_ENTRIES];
    int64_t namespace = weir_state_next(state->state, state->walk_namespace);
    if (namespace == INT64_MAX) {
        state->walk_namespace = state->walk_cursor = 0;
        return;
    }
    if (namespace != state->walk_namespace) {
        state->walk_namespace = namespace;
        state->walk_cursor = 0;
    }
    int stale = find_stale(state, weir_process_table(state, namespace), keys, sizes);
    const uint8_t *at = keys->data;
    for (int i = 0; i < stale; at += sizes[i], i++) {
        struct weir_process_key key = {.bytes = at, .size = sizes[i], .hash = weir_xxh3(at, sizes[i])};
        if (weir_process_is_paged(state))
            clean_page(state, &key, namespace);
        else
            clean_value(state, &key);
    }
}

static void clean_step(struct weir_process *process)
{
    for (int i = 0; i < process->state_count; i++) {
        int at = (process->ttl_turn + i) % process->state_count;
        if (!process->states[at].ttl_ms || !process->states[at].state || !process->states[at].used)
            continue;
        clean_state(&process->states[at]);
        process->ttl_turn = (at + 1) % process->state_count;
        return;
    }
}

void weir_process_clean(struct weir_process *process, int rows)
{
    if (++process->items % COMPACT_ITEMS == 0) {
        for (int i = 0; i < process->state_count; i++)
            weir_process_compact(&process->states[i]);
        for (int i = 0; i < 2; i++)
            weir_process_compact(&process->timers[i].state);
    }
    int ttl_states = 0;
    for (int i = 0; i < process->state_count; i++)
        ttl_states += process->states[i].ttl_ms && process->states[i].used;
    for (int done = 0; done <= rows * CLEAN_ENTRIES_ROW * ttl_states && ttl_states > 0; done += CLEAN_ENTRIES)
        clean_step(process);
}
