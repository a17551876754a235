#include "exchange/channel.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"

#define BARRIER_SLOTS 4

/* Room for control items between batches; when it is used up watermarks collapse at the producer. */
static int slots_for(int credits)
{
    int slots = 16;
    while (slots < 2 * credits + 8)
        slots *= 2;
    return slots;
}

struct weir_channel *weir_channel_new(uint64_t id, int credits, bool remote_out, bool remote_in)
{
    weir_assert(credits >= 1);
    struct weir_channel *chan = aligned_alloc(64, (sizeof *chan + 63) & ~(size_t)63);
    weir_assert(chan != NULL);
    memset(chan, 0, sizeof *chan);
    atomic_init(&chan->refs, 1);
    chan->id = id;
    chan->credits = credits;
    chan->slots = slots_for(credits);
    chan->remote_out = remote_out;
    chan->remote_in = remote_in;
    chan->data.kind = WEIR_NODE_DATA;
    chan->grant.kind = WEIR_NODE_GRANT;
    chan->ring = weir_zalloc((size_t)chan->slots * sizeof *chan->ring);
    return chan;
}

static void wake_producer(struct weir_channel *chan)
{
    if (atomic_load(&chan->producer_waits) && atomic_exchange(&chan->producer_waits, 0))
        weir_wake(chan->producer);
}

void weir_channel_set_consumer(struct weir_channel *chan, struct weir_inbox *inbox)
{
    weir_assert(!chan->consumer && chan->pushed == 0);
    chan->consumer = weir_inbox_ref(inbox);
}

void weir_channel_open(struct weir_channel *chan)
{
    atomic_store(&chan->batch_limit, (uint64_t)chan->credits);
    atomic_store(&chan->item_limit, (uint64_t)chan->slots);
    wake_producer(chan);
}

struct weir_channel *weir_channel_ref(struct weir_channel *chan)
{
    atomic_fetch_add_explicit(&chan->refs, 1, memory_order_relaxed);
    return chan;
}

void weir_channel_unref(struct weir_channel *chan)
{
    if (!chan || atomic_fetch_sub_explicit(&chan->refs, 1, memory_order_acq_rel) != 1)
        return;
    struct weir_item item;
    while (weir_channel_pop(chan, &item))
        if (item.kind == WEIR_ITEM_BATCH)
            weir_batch_unref(item.batch);
    weir_inbox_unref(chan->consumer);
    free(chan->ring);
    free(chan);
}

/* --- Producer */

bool weir_channel_has_item_room(struct weir_channel *chan, enum weir_item_kind kind)
{
    /* The last one is the end's, those before it are barriers', which do not wait behind watermarks. */
    uint64_t need = chan->pushed + (kind == WEIR_ITEM_END ? 1 : kind == WEIR_ITEM_BARRIER ? 2 : 2 + BARRIER_SLOTS);
    if (need <= chan->item_limit_seen)
        return true;
    chan->item_limit_seen = atomic_load(&chan->item_limit);
    return need <= chan->item_limit_seen;
}

bool weir_channel_has_batch_room(struct weir_channel *chan)
{
    if (chan->batches_pushed >= chan->batch_limit_seen) {
        chan->batch_limit_seen = atomic_load(&chan->batch_limit);
        if (chan->batches_pushed >= chan->batch_limit_seen)
            return false;
    }
    return weir_channel_has_item_room(chan, WEIR_ITEM_BATCH);
}

bool weir_channel_is_drained(struct weir_channel *chan)
{
    chan->batch_limit_seen = atomic_load(&chan->batch_limit);
    return chan->batch_limit_seen >= chan->batches_pushed + (uint64_t)chan->credits;
}

bool weir_channel_wait(struct weir_channel *chan)
{
    uint64_t items = chan->item_limit_seen, batches = chan->batch_limit_seen;
    atomic_store(&chan->producer_waits, 1);
    chan->item_limit_seen = atomic_load(&chan->item_limit);
    chan->batch_limit_seen = atomic_load(&chan->batch_limit);
    return items != chan->item_limit_seen || batches != chan->batch_limit_seen;
}

void weir_channel_push(struct weir_channel *chan, const struct weir_item *item)
{
    weir_assert(!chan->closed);
    weir_assert(chan->pushed < chan->item_limit_seen);
    chan->ring[chan->pushed & (uint64_t)(chan->slots - 1)] = *item;
    chan->pushed++;
    if (item->kind == WEIR_ITEM_BATCH) {
        weir_assert(chan->batches_pushed < chan->batch_limit_seen);
        chan->batches_pushed++;
    }
    chan->closed = item->kind == WEIR_ITEM_END;
    atomic_store_explicit(&chan->tail, chan->pushed, memory_order_release);
    bool overtakes = item->kind == WEIR_ITEM_BARRIER && (item->barrier.flags & WEIR_BARRIER_OVERTAKES);
    if (overtakes)
        atomic_store(&chan->consumer->urgent, 1);
    if (!weir_ready_add(&chan->consumer->list, &chan->data) && overtakes)
        weir_wake(chan->consumer->list.waker); /* announced before, but what is ahead of it may have to wait */
}

/* --- Consumer */

bool weir_channel_peek(struct weir_channel *chan)
{
    return chan->head != atomic_load_explicit(&chan->tail, memory_order_acquire);
}

enum weir_item_kind weir_channel_peek_kind(struct weir_channel *chan)
{
    return weir_channel_peek(chan) ? chan->ring[chan->head & (uint64_t)(chan->slots - 1)].kind : WEIR_ITEM_NONE;
}

bool weir_channel_pop(struct weir_channel *chan, struct weir_item *item)
{
    if (!weir_channel_peek(chan))
        return false;
    *item = chan->ring[chan->head & (uint64_t)(chan->slots - 1)];
    chan->head++;
    return true;
}

const struct weir_item *weir_channel_look(struct weir_channel *chan, uint64_t at)
{
    weir_assert(at >= chan->head);
    if (at >= atomic_load_explicit(&chan->tail, memory_order_acquire))
        return NULL;
    return &chan->ring[at & (uint64_t)(chan->slots - 1)];
}

void weir_channel_done(struct weir_channel *chan, bool was_batch)
{
    chan->done++;
    if (was_batch) {
        chan->batches_done++;
        atomic_store(&chan->batch_limit, chan->batches_done + (uint64_t)chan->credits);
    }
    atomic_store(&chan->item_limit, chan->done + (uint64_t)chan->slots);
    if (!chan->remote_in) {
        wake_producer(chan);
        return;
    }
    /* A grant is a message: every half of the credit, so that the producer does not run out before it has the other half. */
    bool due = (chan->batches_done - chan->batches_granted) * 2 >= (uint64_t)chan->credits ||
               (chan->done - chan->items_granted) * 2 >= (uint64_t)chan->slots;
    if (due) {
        chan->batches_granted = chan->batches_done;
        chan->items_granted = chan->done;
        weir_ready_add(chan->granter, &chan->grant);
    }
}

/* --- I/O thread */

bool weir_channel_grant(struct weir_channel *chan, uint64_t item_limit, uint64_t batch_limit)
{
    uint64_t items = atomic_load_explicit(&chan->item_limit, memory_order_relaxed);
    uint64_t batches = atomic_load_explicit(&chan->batch_limit, memory_order_relaxed);
    if (item_limit < items || batch_limit < batches || item_limit > chan->head + (uint64_t)chan->slots ||
        batch_limit > chan->head + (uint64_t)chan->credits)
        return false;
    atomic_store(&chan->batch_limit, batch_limit);
    atomic_store(&chan->item_limit, item_limit);
    wake_producer(chan);
    return true;
}

void weir_channel_break(struct weir_channel *chan, const struct weir_error *error)
{
    int intact = 0;
    if (!atomic_compare_exchange_strong(&chan->broken, &intact, -1))
        return;
    chan->error = *error;
    atomic_store(&chan->broken, 1);
    if (!chan->remote_out && chan->consumer && !weir_ready_add(&chan->consumer->list, &chan->data))
        weir_wake(chan->consumer->list.waker); /* announced before, but perhaps put aside: behind a barrier */
    if (!chan->remote_in && chan->producer)
        weir_wake(chan->producer);
}
