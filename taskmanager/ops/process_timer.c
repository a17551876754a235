/* Timers: one for each (key, time), kept as the times of a key in a state table, and in a heap that says which is next. The heap is rebuilt from
 * the table; a timer that was deleted leaves its place in the heap until its time comes, or until too many have. Flink's semantics
 * (InternalTimerServiceImpl): a timer is gone before its function is called, which may set it again. Of the same time, those of other keys
 * come in the order of their hashes, whatever the order in which they were set.
 *
 * Owning thread: the worker. */
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "ops/process_int.h"

#define BUCKET_BITS 16 /* a namespace is about a minute */
#define GARBAGE_MIN 1024
#define TIME_SIZE sizeof(int64_t)

static int64_t bucket_of(int64_t time)
{
    return time >> BUCKET_BITS;
}

/* --- The heap */

static bool before(const struct weir_process_due *a, const struct weir_process_due *b)
{
    if (a->time != b->time)
        return a->time < b->time;
    if (a->id.kind != b->id.kind)
        return a->id.kind < b->id.kind;
    return a->id.head < b->id.head;
}

static void sift_down(struct weir_process_timers *timers, int64_t at, struct weir_process_due due)
{
    struct weir_process_due *heap = timers->heap;
    for (;;) {
        int64_t child = 2 * at + 1;
        if (child >= timers->count)
            break;
        if (child + 1 < timers->count && before(&heap[child + 1], &heap[child]))
            child++;
        if (!before(&heap[child], &due))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = due;
}

static void push(struct weir_process_timers *timers, struct weir_process_due due)
{
    if (timers->count == timers->capacity) {
        timers->capacity = timers->capacity ? timers->capacity * 2 : 64;
        timers->heap = weir_realloc(timers->heap, (size_t)timers->capacity * sizeof *timers->heap);
    }
    int64_t at = timers->count++;
    while (at > 0 && before(&due, &timers->heap[(at - 1) / 2])) {
        timers->heap[at] = timers->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    timers->heap[at] = due;
}

static void pop(struct weir_process_timers *timers)
{
    struct weir_process_due last = timers->heap[--timers->count];
    if (timers->count > 0)
        sift_down(timers, 0, last);
}

static void append_entry(struct weir_process_timers *timers, const struct weir_state_table *table,
                         const struct weir_state_entry *entry)
{
    struct weir_process_blob *blob = (struct weir_process_blob *)(void *)entry->value;
    const uint8_t *bytes = weir_process_bytes(blob);
    for (size_t i = 0; i < blob->size; i += TIME_SIZE) {
        struct weir_process_due due = {.id = weir_state_id_of_key(table, entry->key, entry->key_size)};
        memcpy(&due.time, bytes + i, TIME_SIZE);
        push(timers, due);
    }
}

void weir_process_timers_rebuild(struct weir_process_timers *timers)
{
    struct weir_state_entry entries[64];
    struct weir_state *state = timers->state.state;
    timers->count = 0;
    for (int64_t bucket = weir_state_next(state, INT64_MIN); bucket != INT64_MAX;
         bucket = weir_state_next(state, bucket + 1)) {
        struct weir_state_table *table = weir_process_table(&timers->state, bucket);
        int64_t cursor = 0;
        int count;
        while ((count = weir_state_walk_entries(table, &cursor, entries, 64)) > 0)
            for (int i = 0; i < count; i++)
                append_entry(timers, table, &entries[i]);
    }
    timers->set = timers->count;
}

/* --- The times of a key */

/* Where `time` is in the sorted times, or would be. */
static size_t place_of(struct weir_process_blob *blob, int64_t time, bool *there)
{
    const uint8_t *bytes = weir_process_bytes(blob);
    size_t low = 0, high = blob->size / TIME_SIZE;
    int64_t at = 0;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        memcpy(&at, bytes + middle * TIME_SIZE, TIME_SIZE);
        if (at < time)
            low = middle + 1;
        else
            high = middle;
    }
    *there = low * TIME_SIZE < blob->size && (memcpy(&at, bytes + low * TIME_SIZE, TIME_SIZE), at == time);
    return low * TIME_SIZE;
}

static void set_timer(struct weir_process *process, struct weir_process_timers *timers, int64_t time)
{
    bool there;
    struct weir_process_state *state = &timers->state;
    int64_t bucket = bucket_of(time);
    struct weir_process_blob *blob = weir_process_make(state, &process->key, bucket);
    size_t at = place_of(blob, time, &there);
    if (there)
        return;
    weir_process_splice(state, bucket, blob, at, 0, &time, TIME_SIZE);
    struct weir_state_table *table = weir_process_table(state, bucket);
    push(timers, (struct weir_process_due){time, weir_state_id_of(table, (const uint8_t *)blob)});
    timers->set++;
    if (timers == &process->timers[1])
        weir_op_set_timer(process->op_ctx, time);
}

/* Takes the time out of the entry, which is touched. */
static void take_time(struct weir_process_timers *timers, int64_t bucket, struct weir_process_blob *blob, size_t at)
{
    struct weir_process_state *state = &timers->state;
    timers->set--;
    if (blob->size > TIME_SIZE) {
        weir_process_splice(state, bucket, blob, at, TIME_SIZE, NULL, 0);
        return;
    }
    weir_process_remove_blob(state, bucket, blob);
}

static void delete_timer(struct weir_process *process, struct weir_process_timers *timers, int64_t time)
{
    bool there = false;
    int64_t bucket = bucket_of(time);
    struct weir_process_blob *blob = weir_process_find(&timers->state, &process->key, bucket);
    size_t at = blob ? place_of(blob, time, &there) : 0;
    if (!there)
        return;
    weir_process_touch(&timers->state, bucket, blob);
    take_time(timers, bucket, blob, at);
    if (timers->count > GARBAGE_MIN && timers->count / 2 > timers->set)
        weir_process_timers_rebuild(timers);
}

weir_err weir_process_timer_set(struct weir_process *process, enum weir_timer_type type, bool set, int64_t time)
{
    struct weir_process_timers *timers = &process->timers[type == WEIR_TIMER_PROCESSING];
    if (set)
        set_timer(process, timers, time);
    else
        delete_timer(process, timers, time);
    return WEIR_OK;
}

/* --- Firing */

/* The timer's entry: its key goes to process->timer_key, its time is taken out. False: it was deleted. */
static bool take_due(struct weir_process *process, struct weir_process_timers *timers, struct weir_process_due due)
{
    int64_t bucket = bucket_of(due.time), cursor = 0;
    struct weir_state_table *table = weir_process_table(&timers->state, bucket);
    struct weir_state_entry entry;
    while (table && weir_state_find_id(table, due.id, &cursor, &entry)) {
        bool there;
        struct weir_process_blob *blob = (struct weir_process_blob *)(void *)entry.value;
        size_t at = place_of(blob, due.time, &there);
        if (!there)
            continue; /* another key of the same hash */
        weir_buf_clear(&process->timer_key);
        bool ok = weir_buf_append(&process->timer_key, entry.key, entry.key_size);
        weir_assert(ok);
        weir_state_touch(table, entry.value);
        take_time(timers, bucket, blob, at);
        process->key = (struct weir_process_key){.bytes = process->timer_key.data,
                                                 .size = (uint32_t)process->timer_key.size,
                                                 .hash = weir_xxh3(process->timer_key.data, process->timer_key.size)};
        return true;
    }
    return false;
}

bool weir_process_timer_due(struct weir_process *process, struct weir_process_timers *timers, int64_t until,
                            int64_t *time)
{
    while (timers->count > 0 && timers->heap[0].time <= until) {
        struct weir_process_due due = timers->heap[0];
        pop(timers);
        if (!take_due(process, timers, due))
            continue;
        *time = due.time;
        return true;
    }
    return false;
}

int64_t weir_process_timers_next(const struct weir_process_timers *timers)
{
    return timers->count > 0 ? timers->heap[0].time : INT64_MAX;
}
