/* Private to the operator "source": its state, shared by the reading of lines and rows (source.c), of messages (source_messages.c) and its
 * alignment with other sources (source_align.c). */
#ifndef WEIR_TASKMANAGER_OPS_SOURCE_INT_H
#define WEIR_TASKMANAGER_OPS_SOURCE_INT_H

#include "ops/dead_letter.h"
#include "ops/ops_int.h"

struct open_split { /* as it is kept: given and not ended */
    struct weir_split split;
    bool begun;
    int64_t watermark_ms;
    bool skipping;
    char *position;
};

struct source_align {            /* source_align.c */
    struct weir_aligned *member; /* NULL: it is not aligned, and the rest does not matter */
    const char *group;           /* borrowed from the plan */
    int64_t max_drift_ms;
    int64_t group_ms;                 /* the group's watermark, as it was heard last */
    int64_t most_ms;                  /* of what is furthest ahead here */
    bool paused;                      /* the whole reader, or the split in hand */
    bool waits;                       /* something is paused */
    bool told;                        /* that the group is stuck, */
    int64_t stuck_ms, stuck_since_ms; /* where, since when (wall clock) */
};

struct source {
    struct weir_op_carrier carrier;
    struct weir_connector_ctx connector_ctx;
    struct weir_reader *reader;
    struct weir_decoder *decoder;
    struct weir_schema *schema; /* borrowed from the plan */
    struct weir_schema *dead_schema;
    enum weir_on_error on_error;
    size_t record_size_max, dead_size_max;
    struct weir_watermarker marker;
    bool warned;  /* of a reader that cannot be restored */
    bool nothing; /* a subtask beyond the connector's parallelism_max */

    struct weir_batch *rows; /* being built, within a call */
    struct weir_batch *dead;

    /* The bytes in hand: [at, bytes.size) are not consumed. */
    struct weir_read_bytes bytes;
    size_t at;
    bool has_bytes;
    bool skipping; /* the rest of a line that was too long */

    bool in_split;
    int split_row; /* of the input batch */
    char *split_id;
    int64_t split_offset;
    int64_t split_size, split_remaining;
    const struct weir_batch *splits; /* the input batch in hand; borrowed from the driver */

    struct open_split *restored; /* from a checkpoint */
    int restored_count, restored_at;

    int64_t last_row_ms; /* when rows went out last */
    struct source_align align;

    struct source_messages *messages; /* NULL: the connector has none */
};

/* What is done with a record that cannot be used, ctx->error says why: it is put aside, counted, or the error is wrapped and given. */
weir_err weir_source_bad_record(struct source *source, struct weir_op_ctx *ctx, const struct weir_dead_letter *letter);
bool weir_source_dead_is_full(const struct source *source);
bool weir_source_has_room(const struct weir_op_ctx *ctx);
/* Pushes what was put aside. */
void weir_source_flush_dead(struct source *source, struct weir_op_ctx *ctx);

/* --- Messages: rows of values, columns of what the broker knows ("metadata.COLUMN" = "offset"), watermarks by lane */

/* Everything that can be said of the options without a broker. */
weir_err weir_source_messages_check(const struct weir_op_plan *plan, const struct weir_op_carrier *carrier,
                                    struct weir_error *error);
weir_err weir_source_messages_open(struct source *source, struct weir_op_ctx *ctx, struct weir_error *error);
void weir_source_messages_close(struct source *source);
/* One call's worth. DATA: call again. */
enum weir_read weir_source_messages_read(struct source *source, struct weir_op_ctx *ctx, int64_t *wait_until_ms,
                                         bool *progress);
/* Nothing came: lanes become idle when it is time to, and when to look again (INT64_MAX: no need). */
int64_t weir_source_messages_quiet(struct source *source, struct weir_op_ctx *ctx);
void weir_source_messages_report(struct source *source, struct weir_op_ctx *ctx);
/* Remembers the position of a checkpoint, and tells the reader of those that are complete. */
void weir_source_messages_snapshot(struct source *source, const struct weir_snapshot *snapshot, const char *position);

/* --- Alignment with the other sources of a group. Watermarks may be WEIR_ALIGNED_UNKNOWN and WEIR_ALIGNED_FREE. */

/* The options of an alignment; NULL: not given. */
weir_err weir_source_align_check(const char *group, const char *max_drift, int64_t max_drift_ms, int64_t interval_ms,
                                 bool has_watermarks, struct weir_error *error);
void weir_source_align_open(struct source *source, struct weir_op_ctx *ctx, const char *group, int64_t max_drift_ms,
                            int64_t interval_ms);
void weir_source_align_close(struct source *source, bool finished);
/* It has read all that it will: nobody waits for it. */
void weir_source_align_end(struct source *source);
/* Says how far it is, and returns the bound: what has a higher watermark is not to be read. */
int64_t weir_source_align_say(struct source *source, int64_t least_ms, int64_t most_ms);
/* The least watermark of what is paused now; INT64_MAX: nothing is. It is called again when that may go on. */
void weir_source_align_pause(struct source *source, struct weir_op_ctx *ctx, int64_t paused_ms);
/* Both, of a reader that is read or paused as a whole. False: it is paused. */
bool weir_source_align_whole(struct source *source, struct weir_op_ctx *ctx, int64_t least_ms, int64_t most_ms);
/* EMPTY, in place of reading what is paused. */
enum weir_read weir_source_align_wait(struct weir_op_ctx *ctx, int64_t *wait_until_ms);
/* `holder`: of its own what the group waits for; NULL: it is another's. */
void weir_source_align_report(struct source *source, struct weir_op_ctx *ctx, const char *holder);

#endif
