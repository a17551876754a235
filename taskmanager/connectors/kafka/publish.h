/* kafka: in which transactions a complete checkpoint's messages go to the brokers, and what is left of them to be written: what commit.c and
 * progress.c decide, without librdkafka. Pure: no clock, I/O or thread; the simulator runs it against a model of the brokers (tests/sim/sim_kafka.c).
 *
 *   handle that knows nothing:  FENCE -> END -> READ -> what is left
 *   segments in transactions:   SETTLE, before the first part: those whose holders have committed them are left out
 *   for each part that is left: BEGIN -> PRODUCE (each of its segments) -> MARK -> COMMIT, then the handle knows its marker
 *   nothing is left:            DONE
 * Whatever fails, or may have: FAILED. The handle is worth nothing any more, and who tries again begins with a new one.
 */
#ifndef WEIR_CONNECTORS_KAFKA_PUBLISH_H
#define WEIR_CONNECTORS_KAFKA_PUBLISH_H

#include <stdbool.h>
#include <stdint.h>

#include "weir/connector.h"

/* What a transaction wrote: a message in it says so. */
struct weir_kafka_marker {
    uint64_t checkpoint, before; /* `before`: the checkpoint that was written as a whole before this one; 0: none was */
    int64_t part, parts;         /* the last one that was written: 1 to `parts`; all 0: there is no marker */
    /* Of an id that holds transactions open: what it had open up to this checkpoint, and is not written by `checkpoint`, it can never commit. */
    uint64_t taken;
};

/* What a handle knows: it lives as long as the handle, over many checkpoints. */
struct weir_publish_handle {
    bool knows; /* its id is fenced, and `marker` is the last committed one */
    struct weir_kafka_marker marker;
};

enum weir_publish_step {
    WEIR_PUBLISH_FENCE, /* take the transactional id: what it has open is settled, whoever had it is fenced */
    WEIR_PUBLISH_END, /* ask where the progress topic ends (its high watermark, not what is stable): weir_publish_end() */
    WEIR_PUBLISH_READ, /* committed markers of the id, from the topic's beginning until weir_publish_reached() */
    WEIR_PUBLISH_SETTLE, /* each that weir_publish_asks() is said to be committed or not, for good: weir_publish_settled() */
    WEIR_PUBLISH_BEGIN,   /* a transaction */
    WEIR_PUBLISH_PRODUCE, /* the messages of `segment` */
    WEIR_PUBLISH_MARK,    /* `marker`, in the same transaction */
    WEIR_PUBLISH_COMMIT,
    WEIR_PUBLISH_DONE,
    WEIR_PUBLISH_FAILED,
    WEIR_PUBLISH_EARLY /* what comes before it is not written, or in part: whoever publishes that (another job) is waited for */
};

/* Whether a sink's subtask holds a segment's messages in a transaction of its own, too (sink.transaction: open). */
enum weir_publish_held {
    WEIR_PUBLISH_NOT,      /* it never did, or it can never commit it any more */
    WEIR_PUBLISH_HELD,     /* it may, or has */
    WEIR_PUBLISH_COMMITTED /* it has: they are visible */
};

struct weir_publish {                   /* of one checkpoint of one sink */
    struct weir_publish_handle *handle; /* borrowed, as the segments are */
    uint64_t checkpoint, after;
    const struct weir_commit_segment *segments;
    int64_t segment_count, part_size;
    enum weir_publish_held *held; /* of each segment; the caller's, NULL: all are NOT */
    enum weir_publish_step step;
    int64_t written;                /* parts of it that are */
    bool asked;                     /* the brokers, for the marker */
    struct weir_kafka_marker found; /* while reading */
    int64_t end;                    /* of the progress topic: all before it must be read */
    struct weir_kafka_marker marker;
    int64_t segment, part_end;
};

/* `after`: the checkpoint that must be written before this one; 0: none. `part_size`: bytes in one transaction, so that none takes longer than it
 * may. */
void weir_publish_init(struct weir_publish *publish, struct weir_publish_handle *handle, uint64_t checkpoint,
                       uint64_t after, const struct weir_commit_segment *segments, int64_t segment_count,
                       int64_t part_size);
/* Before the first step. One for each segment, kept up to date here. */
void weir_publish_hold(struct weir_publish *publish, enum weir_publish_held *held);
/* SETTLE: segment `segment` is asked for. */
bool weir_publish_asks(const struct weir_publish *publish, int64_t segment);
/* Certain, and for good: COMMITTED, or NOT because its holder was fenced before it was looked for. */
void weir_publish_settled(struct weir_publish *publish, int64_t segment, bool committed);
/* The next step. `ok`: the one before was done, and that is certain; true the first time. */
enum weir_publish_step weir_publish_next(struct weir_publish *publish, bool ok);

/* --- Reading the progress topic */
void weir_publish_end(struct weir_publish *publish, int64_t high_watermark);
void weir_publish_found(struct weir_publish *publish,
                        const struct weir_kafka_marker *marker); /* in the topic's order */
/* Nothing that can be read lies before `offset` any more: is that enough? Committed markers may be hidden behind others' open transactions. */
bool weir_publish_reached(const struct weir_publish *publish, int64_t offset);

#endif
