/* The producer's end of one edge: decides for each row to which channel it goes, and gathers rows into batches per channel.
 *
 * HASH by key group, REBALANCE by batch, BROADCAST, FORWARD, ON_DEMAND (one row at a time to whichever consumer has finished all it was
 * given). With one channel, or when all rows of a batch go to one, the batch is passed on by reference.
 * Rows gathered for a channel leave when the batch is full (its rows shrink as the fan-out grows), when the producer ran dry,
 * or when the oldest of them is `timeout_ns` old. A watermark leaves a gathering channel behind the rows that were given before
 * it, together with the batch; only the newest is sent. On a channel passed by reference it keeps its place, and watermarks
 * between two batches collapse only when the ring has no room.
 *
 * Owned by the producer's worker thread. Nothing blocks: what has no room is kept, at most one input item and one batch a channel.
 */
#ifndef WEIR_EXCHANGE_EDGE_WRITER_H
#define WEIR_EXCHANGE_EDGE_WRITER_H

#include "exchange/inflight.h"

struct weir_edge_writer;

struct weir_edge_writer_options {
    enum weir_edge_partition partition;
    struct weir_schema *schema;     /* borrowed for the call; a reference is taken */
    struct weir_key_spec key;       /* HASH */
    int max_parallelism;            /* HASH: of the consumer */
    int parallelism;                /* HASH: of the consumer = channel_count */
    struct weir_channel **channels; /* one per consumer subtask; references are taken */
    int channel_count;
    int64_t timeout_ns;           /* execution.buffer-timeout; 0: every row leaves at once */
    int rows_max;                 /* of a gathered batch; 0: by the fan-out */
    const struct weir_link *link; /* borrowed; NULL: no barrier overtakes here */
};
struct weir_edge_writer *weir_edge_writer_new(const struct weir_edge_writer_options *options);
void weir_edge_writer_free(struct weir_edge_writer *writer);

/* Takes the item (a batch's reference too) unless it says false: no room, the producer is woken when there is some. */
bool weir_edge_writer_take(struct weir_edge_writer *writer, const struct weir_item *item, int64_t now_ns);
/* Goes on with what was taken. True: something left. */
bool weir_edge_writer_advance(struct weir_edge_writer *writer, int64_t now_ns);
/* An item that was taken is not yet gathered or sent in full: backpressure. */
bool weir_edge_writer_busy(const struct weir_edge_writer *writer);
/* `dry`: everything gathered leaves; else what is older than the timeout. What has no credit stays and is tried again. True:
 * something left. */
bool weir_edge_writer_flush(struct weir_edge_writer *writer, int64_t now_ns, bool dry);
/* When the next flush is due, INT64_MAX: nothing is gathered, or it waits for credit. */
int64_t weir_edge_writer_due_ns(const struct weir_edge_writer *writer);
/* The first broken channel's error, or NULL. */
const struct weir_error *weir_edge_writer_error(const struct weir_edge_writer *writer);

/* --- Barriers that do not wait for their turn. All others are items like any. */

/* Nothing that it has taken is still here. */
bool weir_edge_writer_settled(const struct weir_edge_writer *writer);
/* Rows, and the last watermark, that it has taken and not put into a channel: each for its consumer. */
void weir_edge_writer_record(const struct weir_edge_writer *writer, struct weir_inflight *rows);
/* The same of an item that it has not taken yet. */
void weir_edge_writer_record_item(struct weir_edge_writer *writer, const struct weir_item *item,
                                  struct weir_inflight *rows);
/* Puts the barrier into every channel that is not closed, ahead of what the writer has; where there is no room it goes ahead of whatever
 * comes next. ON_DEMAND: rows that nobody has asked for stay behind it, and are in the producer's state. */
void weir_edge_writer_overtake(struct weir_edge_writer *writer, const struct weir_barrier *barrier);
/* ON_DEMAND: rows that it has taken and not handed out. */
int weir_edge_writer_undelivered(const struct weir_edge_writer *writer);
bool weir_edge_writer_is_on_demand(const struct weir_edge_writer *writer);
/* Barriers overtake what it has (not BROADCAST). */
bool weir_edge_writer_overtaken_by(const struct weir_edge_writer *writer, const struct weir_barrier *barrier);

uint64_t weir_edge_writer_bytes(const struct weir_edge_writer *writer); /* that left, all channels */

#endif
