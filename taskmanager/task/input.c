#include "task/input.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"

#define PENDING_MAX 4

struct entry {
    struct weir_channel *chan;
    int number;
    int64_t watermark_ms;
    bool idle, ended;
    bool aligned;       /* counts in the minimum: active, and has reached the merged watermark */
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

static void take_end(struct weir_input *input, struct entry *entry)
{
    weir_assert(!entry->ended);
    if (entry->idle)
        input->idle_count--;
    entry->idle = false;
    entry->ended = true;
    input->ended_count++;
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

static void enqueue(struct weir_input *input, struct entry *entry)
{
    entry->next = NULL;
    if (input->last)
        input->last->next = entry;
    else
        input->first = entry;
    input->last = entry;
}

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

/* The first channel with data and its item. A channel stays in the queue, marked queued, while it has some. */
static struct entry *pop_in_turn(struct weir_input *input, struct weir_item *item)
{
    for (;;) {
        struct entry *entry = input->first;
        if (!entry)
            return NULL;
        input->first = entry->next;
        if (!input->first)
            input->last = NULL;
        if (weir_channel_broken(entry->chan) && !input->error)
            input->error = &entry->chan->error;
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
