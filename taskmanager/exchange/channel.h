/* A channel: one producer subtask to one consumer subtask of an edge, a bounded single-producer single-consumer ring of items.
 *
 * Local: both ends are tasks of this executor; a batch is passed by reference. Remote, sending side: the producer is a task and
 * the reader is the I/O thread. Remote, receiving side: the I/O thread is the producer and the consumer a task.
 *
 * Credits: the consumer's side sets two limits that only rise, how many batches and how many items in all may have been pushed since
 * the beginning. A batch needs both; a watermark, idleness, barrier or end only the second, of which one is reserved
 * for the end, some more for barriers. A batch frees its credit when the consumer's head operator is done with it, not when it is taken.
 * Limits begin at 0: a local channel is opened when its consumer is there, a remote sending one by the receiver's first grant.
 *
 * A broken channel (lost peer, gap, bad checksum) carries its error; both ends look at weir_channel_broken().
 * References: producer, consumer and I/O thread hold one each; the last one frees what is left in the ring.
 */
#ifndef WEIR_EXCHANGE_CHANNEL_H
#define WEIR_EXCHANGE_CHANNEL_H

#include <pthread.h>

#include "data/batch.h"
#include "exchange/wake.h"

/* Batches in flight per channel: with batches of 0.5 to 5 ms of work about 10 to 50 ms. */
#define WEIR_CHANNEL_CREDITS 8
#define WEIR_CHANNEL_CREDITS_ON_DEMAND 1

enum weir_item_kind { /* part of the frame format: never renumber */
                      WEIR_ITEM_NONE = 0,
                      WEIR_ITEM_BATCH = 1,
                      WEIR_ITEM_WATERMARK = 2,
                      WEIR_ITEM_BARRIER = 3,
                      WEIR_ITEM_IDLE = 4,
                      WEIR_ITEM_ACTIVE = 5,
                      WEIR_ITEM_END = 6
};
enum weir_barrier_flags {                             /* part of the frame format */
                          WEIR_BARRIER_SAVEPOINT = 1, /* of a savepoint: it is aligned, whatever the mode */
                          WEIR_BARRIER_STOP = 2, /* nothing follows it: tasks halt behind it until they are cancelled */
                          WEIR_BARRIER_DRAIN = 4, /* no checkpoint: sources end here, as at the end of their input */
                          WEIR_BARRIER_OVERTAKES =
                              8, /* it may turn unaligned: from due_ns on it waits for nothing queued */
                          WEIR_BARRIER_IN_ORDER =
                              16 /* OVERTAKES, but not on FORWARD edges: rows without a key that another
                                    parallelism deals out would lose their order */
};
/* Everything before it is in checkpoint `checkpoint`, everything behind it is not. */
struct weir_barrier {
    uint64_t checkpoint; /* from 1; never used twice in a job */
    uint64_t complete;   /* the newest checkpoint that is known to be complete; 0: none */
    uint32_t flags;
    int64_t due_ns; /* OVERTAKES: monotonic, this host's; frames carry what is left of the wait */
};

struct weir_item {
    enum weir_item_kind kind;
    int input; /* of the receiving operator */
    union {
        struct weir_batch *batch; /* one reference */
        int64_t watermark_ms;
        struct weir_barrier barrier;
    };
};

/* Which channel: edge of the plan, subtasks at both ends. */
static inline uint64_t weir_channel_id(int edge, int from_subtask, int to_subtask)
{
    return (uint64_t)edge << 40 | (uint64_t)from_subtask << 20 | (uint64_t)to_subtask;
}
static inline int weir_channel_edge(uint64_t id)
{
    return (int)(id >> 40);
}
static inline int weir_channel_from(uint64_t id)
{
    return (int)(id >> 20 & 0xfffff);
}
static inline int weir_channel_to(uint64_t id)
{
    return (int)(id & 0xfffff);
}

enum { WEIR_NODE_DATA, WEIR_NODE_GRANT };

struct weir_channel {
    _Atomic int refs;
    uint64_t id;
    int credits; /* of batches */
    int slots;   /* a power of two */
    bool remote_out, remote_in;
    struct weir_item *ring;
    /* To the consumer: node 'data' is added to its list when something was pushed. Set before the first push. */
    struct weir_ready_node data;
    struct weir_inbox *consumer; /* a reference */
    /* To the producer's worker. Remote receiving side: to the I/O thread instead, through node 'grant'. */
    struct weir_waker *producer;
    struct weir_ready_node grant;
    struct weir_ready_list *granter;
    void *owner; /* of the consumer: its input's entry, the I/O thread's entry */
    void *granter_owner;

    _Alignas(64) uint64_t pushed; /* producer: items */
    uint64_t batches_pushed;
    uint64_t item_limit_seen, batch_limit_seen;
    bool closed; /* the end was pushed */

    _Alignas(64) _Atomic uint64_t tail; /* items pushed, published */
    _Alignas(64) _Atomic uint64_t item_limit;
    _Atomic uint64_t batch_limit;
    _Atomic int producer_waits;
    _Atomic int broken;          /* 1: error is set */
    _Alignas(64) uint64_t head;  /* consumer: items taken */
    uint64_t done, batches_done; /* consumer: items, batches it is done with */
    uint64_t batches_granted;    /* remote_in: batches_done when the I/O thread was last told */
    uint64_t items_granted;
    struct weir_error error; /* written before `broken` */
};

/* One reference. `credits` at least 1. */
struct weir_channel *weir_channel_new(uint64_t id, int credits, bool remote_out, bool remote_in);
/* Before the first push; a reference is taken. */
void weir_channel_set_consumer(struct weir_channel *chan, struct weir_inbox *inbox);
/* Local and remote_in, once, when the consumer is set: the whole credit is there. */
void weir_channel_open(struct weir_channel *chan);
struct weir_channel *weir_channel_ref(struct weir_channel *chan);
void weir_channel_unref(struct weir_channel *chan);

/* --- Producer */
bool weir_channel_has_batch_room(struct weir_channel *chan);
bool weir_channel_has_item_room(struct weir_channel *chan, enum weir_item_kind kind);
/* Everything that was pushed has been consumed: the whole credit is there. */
bool weir_channel_is_drained(struct weir_channel *chan);
/* Asks to be woken when a limit rises. True: it rose meanwhile, look again. */
bool weir_channel_wait(struct weir_channel *chan);
/* There is room (asserted). Takes the batch's reference. Wakes the consumer. */
void weir_channel_push(struct weir_channel *chan, const struct weir_item *item);
static inline bool weir_channel_broken(const struct weir_channel *chan)
{
    return atomic_load_explicit(&chan->broken, memory_order_acquire) == 1;
}

/* --- Consumer */
bool weir_channel_peek(struct weir_channel *chan); /* something is there */
/* What the next pop gives; NONE: nothing. */
enum weir_item_kind weir_channel_peek_kind(struct weir_channel *chan);
bool weir_channel_pop(struct weir_channel *chan, struct weir_item *item);
/* Item number `at`, counted from the channel's beginning, which stays there; NULL: it is not there yet. It was not popped. */
const struct weir_item *weir_channel_look(struct weir_channel *chan, uint64_t at);
/* Done with an item that was popped: gives its room, and for a batch its credit, back. Not for remote_out. */
void weir_channel_done(struct weir_channel *chan, bool was_batch);

/* --- The I/O thread */
/* Raises the limits of a remote_out channel to what the peer granted; false: they would fall or leap (not ours to believe). */
bool weir_channel_grant(struct weir_channel *chan, uint64_t item_limit, uint64_t batch_limit);
/* Any thread: the first error stays. Wakes both ends. */
void weir_channel_break(struct weir_channel *chan, const struct weir_error *error);

#endif
