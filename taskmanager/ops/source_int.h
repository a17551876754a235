/* Private to the operator "source": its state, shared by the reading of lines and rows (source.c) and of messages (source_messages.c). */
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

    struct source_messages *messages; /* NULL: the connector has none */
};

/* What is done with a record that cannot be used, ctx->error says why: it is put aside, counted, or the error is wrapped and given. */
weir_err weir_source_bad_record(struct source *source, struct weir_op_ctx *ctx, const struct weir_dead_letter *letter);
bool weir_source_dead_is_full(const struct source *source);
bool weir_source_has_room(const struct weir_op_ctx *ctx);
/* Pushes what was put aside. */
void weir_source_flush_dead(struct source *source, struct weir_op_ctx *ctx);

/* --- Messages: rows of values, columns of what the broker knows ("metadata.COLUMN" = "offset"), watermarks by lane */

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

#endif
