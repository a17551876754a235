/* Rows on their way when a barrier overtook them: the channel state of a subtask's snapshot (Flink's FLIP-76).
 *
 * Rows lie in front of an operator, on an edge of the job graph: `weir_link` names that place by the uids at both ends, never by a place in a
 * chain, so that they are found again when the chain was cut otherwise. What a consumer had not taken yet is written by the consumer ("in"),
 * what a producer had not put into a channel yet by the producer, for the consumer's subtask ("out"). A restore gives both to the consumer,
 * which takes them before anything new: from one producer first what was "in", then what was "out".
 *
 * A part: u8 1 (version), u8 partition, bytes key columns ("a,b"), then records: u8 kind, u32 subtask of the producer, and
 *   kind 1: bytes a batch in its wire form (data/batch_wire.h);
 *   kind 2: i64 a watermark. Left out when the parallelism is another one.
 * State name: "rows:<uid of the producer>:<its output>:<the consumer's input>:in", or ":out:<the consumer's subtask>".
 *
 * Owned by one worker until it is in a snapshot; encoded by the thread that stores that.
 */
#ifndef WEIR_EXCHANGE_INFLIGHT_H
#define WEIR_EXCHANGE_INFLIGHT_H

#include "data/row_key.h"
#include "exchange/channel.h"

struct weir_snapshot; /* state/snapshot.h */
struct weir_restored;

/* Of one subtask in one checkpoint. Credits and queues bound what is overtaken to much less, but for what still comes on a channel whose own
 * barrier is late: with more the checkpoint fails. */
#define WEIR_INFLIGHT_BYTES_MAX ((size_t)256 << 20)
#define WEIR_LINK_NAME_SIZE 64

enum weir_edge_partition { /* proto's Partition, by value; written into checkpoints */
                           WEIR_EDGE_FORWARD = 0,
                           WEIR_EDGE_HASH = 1,
                           WEIR_EDGE_REBALANCE = 2,
                           WEIR_EDGE_BROADCAST = 3,
                           WEIR_EDGE_ON_DEMAND = 4
};

struct weir_link { /* an edge of the job graph */
    char to_uid[33];
    char name[WEIR_LINK_NAME_SIZE]; /* "rows:<from uid>:<output>:<input>" */
    enum weir_edge_partition partition;
    char *key;                  /* HASH: names of the columns, "a,b"; else "" */
    struct weir_key_spec spec;  /* HASH */
    struct weir_schema *schema; /* of the rows */
    int parallelism;            /* of the consumer */
    int max_parallelism;        /* the same */
};
void weir_link_init(struct weir_link *link, const char *from_uid, int output, const char *to_uid, int input);
void weir_link_fini(struct weir_link *link);
/* A barrier may overtake rows there. Not what every consumer must get alike, nor splits, which are in their coordinator's state. */
static inline bool weir_link_overtakes(const struct weir_link *link)
{
    return link && link->partition != WEIR_EDGE_BROADCAST && link->partition != WEIR_EDGE_ON_DEMAND;
}

/* The same for one barrier. */
static inline bool weir_link_overtaken_by(const struct weir_link *link, const struct weir_barrier *barrier)
{
    return weir_link_overtakes(link) &&
           !((barrier->flags & WEIR_BARRIER_IN_ORDER) && link->partition == WEIR_EDGE_FORWARD);
}

/* --- While a checkpoint is taken */
struct weir_inflight;

struct weir_inflight *weir_inflight_new(int subtask);
void weir_inflight_free(struct weir_inflight *rows); /* NULL is allowed */
/* Rows, or a watermark, of subtask `from` in front of this subtask, in their order. References are taken. Of kinds other than BATCH and
 * WATERMARK nothing is kept. */
void weir_inflight_in(struct weir_inflight *rows, const struct weir_link *link, int from, const struct weir_item *item);
/* Of this subtask, for subtask `to`. */
void weir_inflight_out(struct weir_inflight *rows, const struct weir_link *link, int to, const struct weir_item *item);
size_t weir_inflight_bytes(const struct weir_inflight *rows);
/* Adds the parts, which are encoded when the snapshot's syncs run. Too many bytes: those fail. */
void weir_inflight_into(struct weir_inflight *take_rows, struct weir_snapshot *snapshot);

/* --- At a restore */
struct weir_inflight_item {
    const struct weir_link *link;
    int from; /* subtask of the producer then */
    struct weir_item item;
};
struct weir_inflight_list {
    struct weir_inflight_item *items;
    int count, next; /* [next, count) are left */
};
void weir_inflight_list_fini(struct weir_inflight_list *list);
/* Appends what is for `subtask` on that link; *parts is raised by the number of parts that were read. DATA: damaged, or the edge is
 * another one now. */
weir_err weir_inflight_read(const struct weir_restored *restored, const struct weir_link *link, int subtask,
                            struct weir_inflight_list *list, int *parts, struct weir_error *error);

#endif
