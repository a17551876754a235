#include "task/input.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/fault.h"
#include "base/mem.h"

#define PENDING_MAX 6

struct entry {
    struct weir_channel *chan;
    int number;
    int64_t watermark_ms;
    bool idle, ended;
    bool aligned;       /* counts in the minimum: active, and has reached the merged watermark */
    bool blocked;       /* behind the barrier that the others have not given yet */
    bool parked;        /* blocked, has data, and is not in the queue */
    uint64_t barrier;   /* the last checkpoint whose barrier it gave */
    struct entry *next; /* in the queue of channels with data */
};

struct weir_input {
    struct weir_inbox *inbox;
    struct entry **entries;
    int count, ended_count, idle_count; /* idle: not ended */
    struct entry *first, *last;         /* with data, in turn */
    struct entry *charged;              /* whose batch is being worked on */
    struct entry *stashed;              /* whose batch is in `pending` */
    const struct weir_error *error;
    int64_t watermark_ms;
    bool idle;                             /* IDLE was said */
    bool ended;                            /* END was said */
    struct weir_item pending[PENDING_MAX]; /* made by one event, not yet given */
    int pending_first, pending_count;
    struct weir_barrier barrier; /* being aligned; checkpoint 0: none */
    int barrier_missing;         /* channels that have neither given it nor ended */
    uint64_t barrier_last;       /* the newest that was said, or given up */
    bool at_least_once;
    uint64_t records, bytes;
};

static bool take_pending(struct weir_input *input, struct weir_item *item)
{
    if (input->pending_count == 0)
        return false;
    *item = input->pending[input->pending_first];
    input->pending_first = (input->pending_first + 1) % PENDING_MAX;
    input->pending_count--;
    input->ended |= item->kind == WEIR_ITEM_END;
    if (item->kind == WEIR_ITEM_BATCH)
        input->charged = input->stashed;
    return true;
}

struct weir_input *weir_input_new(struct weir_waker *waker)
{
    struct weir_input *input = weir_zalloc(sizeof *input);
    input->inbox = weir_inbox_new(waker);
    input->watermark_ms = INT64_MIN;
    return input;
}

void weir_input_free(struct weir_input *input)
{
    if (!input)
        return;
    struct weir_item item;
    while (take_pending(input, &item))
        if (item.kind == WEIR_ITEM_BATCH)
            weir_batch_unref(item.batch);
    for (int i = 0; i < input->count; i++) {
        weir_channel_unref(input->entries[i]->chan);
        free(input->entries[i]);
    }
    free(input->entries);
    weir_inbox_unref(input->inbox);
    free(input);
}

struct weir_inbox *weir_input_inbox(struct weir_input *input)
{
    return input->inbox;
}

void weir_input_add(struct weir_input *input, struct weir_channel *chan, int number)
{
    struct entry *entry = weir_zalloc(sizeof *entry);
    entry->chan = weir_channel_ref(chan);
    entry->number = number;
    entry->watermark_ms = INT64_MIN;
    entry->aligned = true;
    chan->owner = entry;
    input->entries = weir_realloc(input->entries, (size_t)(input->count + 1) * sizeof(struct entry *));
    input->entries[input->count++] = entry;
}

/* --- Merging */

static void say(struct weir_input *input, struct weir_item item)
{
    weir_assert(input->pending_count < PENDING_MAX);
    input->pending[(input->pending_first + input->pending_count++) % PENDING_MAX] = item;
}

static void say_watermark(struct weir_input *input, int64_t watermark_ms)
{
    if (watermark_ms <= input->watermark_ms)
        return;
    input->watermark_ms = watermark_ms;
    say(input, (struct weir_item){.kind = WEIR_ITEM_WATERMARK, .watermark_ms = watermark_ms});
}

/* The minimum over the channels that count. */
static void merge(struct weir_input *input)
{
    int64_t min_ms = INT64_MAX;
    bool any = false;
    for (int i = 0; i < input->count; i++) {
        const struct entry *entry = input->entries[i];
        if (entry->ended || entry->idle || !entry->aligned)
            continue;
        any = true;
        if (entry->watermark_ms < min_ms)
            min_ms = entry->watermark_ms;
    }
    if (any)
        say_watermark(input, min_ms);
}

static void say_idle(struct weir_input *input, bool idle)
{
    if (input->idle == idle)
        return;
    input->idle = idle;
    say(input, (struct weir_item){.kind = idle ? WEIR_ITEM_IDLE : WEIR_ITEM_ACTIVE});
}

/* All channels that have not ended are idle: nothing more is expected now, so the furthest of them is the time. */
static void all_idle(struct weir_input *input)
{
    int64_t max_ms = INT64_MIN;
    for (int i = 0; i < input->count; i++)
        if (!input->entries[i]->ended && input->entries[i]->watermark_ms > max_ms)
            max_ms = input->entries[i]->watermark_ms;
    say_watermark(input, max_ms);
    say_idle(input, true);
}

static void set_active(struct weir_input *input, struct entry *entry)
{
    if (!entry->idle || entry->ended)
        return;
    entry->idle = false;
    input->idle_count--;
    entry->aligned = entry->watermark_ms >= input->watermark_ms;
    say_idle(input, false);
}

static void take_watermark(struct weir_input *input, struct entry *entry, int64_t watermark_ms)
{
    set_active(input, entry);
    if (watermark_ms <= entry->watermark_ms)
        return;
    bool held_back = entry->watermark_ms <= input->watermark_ms || !entry->aligned;
    entry->watermark_ms = watermark_ms;
    if (!entry->aligned && watermark_ms >= input->watermark_ms)
        entry->aligned = true;
    if (held_back) /* only the slowest can move the minimum */
        merge(input);
}

static void take_idle(struct weir_input *input, struct entry *entry)
{
    if (entry->idle || entry->ended)
        return;
    entry->idle = true;
    input->idle_count++;
    if (input->idle_count + input->ended_count == input->count)
        all_idle(input);
    else
        merge(input);
}

/* --- Barriers */

static void enqueue(struct weir_input *input, struct entry *entry)
{
    entry->next = NULL;
    if (input->last)
        input->last->next = entry;
    else
        input->first = entry;
    input->last = entry;
}

static void unblock_all(struct weir_input *input)
{
    for (int i = 0; i < input->count; i++) {
        struct entry *entry = input->entries[i];
        entry->blocked = false;
        if (entry->parked)
            enqueue(input, entry);
        entry->parked = false;
    }
}

static void settle_barrier(struct weir_input *input)
{
    if (input->barrier.checkpoint == 0 || input->barrier_missing > 0)
        return;
    (void)weir_fault("executor.barrier-aligned");
    say(input, (struct weir_item){.kind = WEIR_ITEM_BARRIER, .barrier = input->barrier});
    input->barrier_last = input->barrier.checkpoint;
    input->barrier.checkpoint = 0;
    unblock_all(input);
}

/* False: of a checkpoint that is over. */
static bool begin_barrier(struct weir_input *input, const struct weir_barrier *barrier)
{
    if (barrier->checkpoint <= input->barrier_last || barrier->checkpoint < input->barrier.checkpoint)
        return false;
    if (barrier->checkpoint == input->barrier.checkpoint)
        return true;
    if (input->barrier.checkpoint > 0)
        unblock_all(input);
    input->barrier = *barrier;
    input->barrier_missing = input->count - input->ended_count;
    return true;
}

static void take_barrier(struct weir_input *input, struct entry *entry, const struct weir_barrier *barrier)
{
    if (!begin_barrier(input, barrier) || entry->barrier == barrier->checkpoint)
        return;
    entry->barrier = barrier->checkpoint;
    entry->blocked = !input->at_least_once;
    input->barrier_missing--;
    settle_barrier(input);
}

void weir_input_set_aligned(struct weir_input *input, bool aligned)
{
    input->at_least_once = !aligned;
}

void weir_input_trigger(struct weir_input *input, const struct weir_barrier *barrier)
{
    if (!input->ended && begin_barrier(input, barrier))
        settle_barrier(input);
}

bool weir_input_take_barrier(struct weir_input *input, struct weir_barrier *barrier)
{
    if (input->count != 1 || input->pending_count > 0)
        return false;
    struct entry *entry = input->entries[0];
    struct weir_item item;
    if (weir_channel_peek_kind(entry->chan) != WEIR_ITEM_BARRIER || !weir_channel_pop(entry->chan, &item))
        return false;
    weir_channel_done(entry->chan, false);
    *barrier = item.barrier;
    bool newer = item.barrier.checkpoint > input->barrier_last;
    if (newer)
        input->barrier_last = item.barrier.checkpoint;
    return newer;
}

static void take_end(struct weir_input *input, struct entry *entry)
{
    weir_assert(!entry->ended);
    if (entry->idle)
        input->idle_count--;
    entry->idle = false;
    entry->ended = true;
    input->ended_count++;
    if (input->barrier.checkpoint > 0 && entry->barrier != input->barrier.checkpoint) {
        input->barrier_missing--;
        settle_barrier(input); /* before what the end says: all its rows came before */
    }
    if (input->ended_count == input->count) {
        say_watermark(input, INT64_MAX);
        say(input, (struct weir_item){.kind = WEIR_ITEM_END});
    } else if (input->idle_count + input->ended_count == input->count) {
        all_idle(input);
    } else {
        merge(input);
    }
}

/* --- Channels in turn */

static void take_announced(struct weir_input *input)
{
    struct weir_ready_node *node = weir_ready_take(&input->inbox->list);
    while (node) {
        struct weir_ready_node *next = node->next;
        struct weir_channel *chan = (void *)((uint8_t *)node - offsetof(struct weir_channel, data));
        enqueue(input, chan->owner);
        node = next;
    }
}

/* A parked channel that breaks is announced already: it is seen here. */
static void look_at_parked(struct weir_input *input)
{
    for (int i = 0; i < input->count && input->barrier.checkpoint > 0 && !input->error; i++)
        if (input->entries[i]->parked && weir_channel_broken(input->entries[i]->chan))
            input->error = &input->entries[i]->chan->error;
}

/* The first channel with data and its item. A channel stays in the queue, marked queued, while it has some. */
static struct entry *pop_in_turn(struct weir_input *input, struct weir_item *item)
{
    for (;;) {
        struct entry *entry = input->first;
        if (!entry) {
            look_at_parked(input);
            return NULL;
        }
        input->first = entry->next;
        if (!input->first)
            input->last = NULL;
        if (weir_channel_broken(entry->chan) && !input->error)
            input->error = &entry->chan->error;
        if (entry->blocked) {
            entry->parked = true;
            continue;
        }
        if (weir_channel_pop(entry->chan, item)) {
            enqueue(input, entry);
            return entry;
        }
        weir_ready_done(&entry->chan->data);
        /* Pushed or broken just before: its producer found it queued and said nothing. */
        bool again = weir_channel_peek(entry->chan) || (weir_channel_broken(entry->chan) && !input->error);
        if (again && weir_ready_claim(&entry->chan->data))
            enqueue(input, entry);
    }
}

bool weir_input_next(struct weir_input *input, struct weir_item *item)
{
    weir_assert(!input->charged);
    for (;;) {
        if (take_pending(input, item))
            return true;
        take_announced(input);
        struct entry *entry = pop_in_turn(input, item);
        if (!entry || input->error) {
            if (entry && item->kind == WEIR_ITEM_BATCH)
                weir_batch_unref(item->batch);
            return false;
        }
        switch (item->kind) {
        case WEIR_ITEM_BATCH:
            item->input = entry->number;
            input->charged = entry;
            input->records += (uint64_t)item->batch->row_count;
            input->bytes += weir_batch_bytes(item->batch);
            if (!entry->idle)
                return true;
            set_active(input, entry); /* ACTIVE goes before the batch */
            if (input->pending_count > 0) {
                say(input, *item);
                input->stashed = entry;
                input->charged = NULL;
                take_pending(input, item);
            }
            return true;
        case WEIR_ITEM_WATERMARK:
            take_watermark(input, entry, item->watermark_ms);
            break;
        case WEIR_ITEM_IDLE:
            take_idle(input, entry);
            break;
        case WEIR_ITEM_ACTIVE:
            set_active(input, entry);
            break;
        case WEIR_ITEM_BARRIER:
            take_barrier(input, entry, &item->barrier);
            break;
        case WEIR_ITEM_END:
            take_end(input, entry);
            break;
        case WEIR_ITEM_NONE:
            break;
        }
        weir_channel_done(entry->chan, false);
    }
}

void weir_input_done(struct weir_input *input)
{
    if (!input->charged)
        return;
    weir_channel_done(input->charged->chan, true);
    input->charged = NULL;
}

bool weir_input_ended(const struct weir_input *input)
{
    return input->ended;
}

const struct weir_error *weir_input_error(const struct weir_input *input)
{
    return input->error;
}

int64_t weir_input_watermark_ms(const struct weir_input *input)
{
    return input->watermark_ms;
}

uint64_t weir_input_records(const struct weir_input *input)
{
    return input->records;
}

uint64_t weir_input_bytes(const struct weir_input *input)
{
    return input->bytes;
}
