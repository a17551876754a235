/* Private to the operator "sink": its state, shared by the writing of lines and rows (sink.c) and of messages (sink_messages.c). */
#ifndef WEIR_TASKMANAGER_OPS_SINK_INT_H
#define WEIR_TASKMANAGER_OPS_SINK_INT_H

#include "ops/ops_int.h"

#define WEIR_SINK_WRITE_SIZE ((size_t)128 << 10) /* encoded bytes per write() */
#define WEIR_SINK_RECORD_SIZE_MAX ((size_t)64 << 20)

struct sink_pending;
struct sink_messages;
struct weir_output_log;

struct sink {
    struct weir_op_carrier carrier;
    struct weir_connector_ctx connector_ctx;
    struct weir_writer *writer; /* NULL: messages go into `log` */
    struct weir_output_log *log;
    struct weir_held *held;   /* beside `log`: messages are in an open transaction, too; NULL: they are not */
    char *log_text;           /* of its committables */
    struct sink_check *check; /* of what goes into the log; NULL: none is needed */
    struct weir_encoder *encoder;
    enum weir_on_error on_error;
    struct weir_buf bytes;
    int row; /* next row of the current batch: the cursor across AGAIN */
    bool unflushed;
    int64_t tick_ms;              /* the connector's tick is due; INT64_MAX: not before the next row */
    struct sink_pending *pending; /* in the order of their checkpoints */
    int pending_count;
    bool sealed;                    /* the connector has begun to make everything durable */
    struct sink_messages *messages; /* NULL: the connector has none */
};

extern const struct weir_option weir_sink_options[];

bool weir_sink_is_busy(const struct sink *sink);
/* Row `row` cannot be written, ctx->error says why: DATA when it is to be skipped, and was counted; else the error is wrapped and given. */
weir_err weir_sink_bad_row(struct sink *sink, struct weir_op_ctx *ctx, const struct weir_batch *batch, int row);

/* --- sink_check.c: whether the messages of a log can be published, asked before there are any */

/* Begins to ask. */
void weir_sink_check_begin(struct sink *sink, struct weir_op_ctx *ctx);
/* AGAIN until there is an answer, then DONE; FAILED: ctx->error says why they cannot. */
enum weir_step weir_sink_check_step(struct sink *sink, struct weir_op_ctx *ctx);
/* DATA: never this one. There is an answer. */
weir_err weir_sink_check_message(const struct sink *sink, const struct weir_message_out *message,
                                 struct weir_error *error);
void weir_sink_check_free(struct sink *sink);

/* --- Messages: a value by the format, a key by its own, columns that are the message's ("metadata.COLUMN" = "key") */

/* Everything that can be said of the options without a broker. */
weir_err weir_sink_messages_check(const struct weir_op_plan *plan, const struct weir_op_carrier *carrier,
                                  struct weir_error *error);
weir_err weir_sink_messages_open(struct sink *sink, struct weir_op_ctx *ctx, struct weir_error *error);
void weir_sink_messages_close(struct sink *sink);
/* Writes rows from the cursor on. AGAIN when the time is up, or there is no room. */
enum weir_step weir_sink_messages_write(struct sink *sink, struct weir_op_ctx *ctx, const struct weir_batch *batch);

#endif
