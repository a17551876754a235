/* Messages that wait in the checkpoint's store until they may be seen: a sink's output of an epoch (the rows between two barriers), in objects
 * of some MiB that the checkpoint refers to. Once the checkpoint is complete a connector gives them to its broker
 * (struct weir_connector, commit_messages()), as often as it takes; docs/snapshot-format.md has the bytes.
 *
 * Written on the task's worker. Objects are put by calls of the pool, a full one at once, the last one of an epoch when its barrier is
 * made durable; at most two that are full are in memory.
 */
#ifndef WEIR_TASKMANAGER_OPS_OUTPUT_LOG_H
#define WEIR_TASKMANAGER_OPS_OUTPUT_LOG_H

#include "ops/op.h"
#include "state/snapshot.h"
#include "weir/connector.h"

struct weir_output_log;

/* ctx->store must be there. `ctx` lives as long as the log. */
struct weir_output_log *weir_output_log_new(struct weir_op_ctx *ctx);
void weir_output_log_free(struct weir_output_log *log); /* NULL is allowed; what is being put stays garbage */

/* True: nothing may be appended now. The task is called again when it may. */
bool weir_output_log_is_busy(struct weir_output_log *log);
/* The message is copied. FULL: it is larger than an object may be. */
weir_err weir_output_log_append(struct weir_output_log *log, const struct weir_message_out *message,
                                struct weir_error *error);
/* Takes back the message that was appended last, just now. */
void weir_output_log_take_back(struct weir_output_log *log);
/* The end of an epoch, at the barrier of `checkpoint` (0: of the task): what was appended since the one before. `segments` is the caller's to
 * free; `sync` puts what is not in the store yet, and must have run. False: nothing was appended. */
bool weir_output_log_end_epoch(struct weir_output_log *log, uint64_t checkpoint, struct weir_output_segments *segments,
                               struct weir_barrier_sync *sync);

/* The messages of an object, *count of them, in one malloc()ed array; they point into `bytes`. DATA: it is no such object. */
weir_err weir_output_log_read(const uint8_t *bytes, size_t size, struct weir_message_out **messages, int64_t *count,
                              struct weir_error *error);

#endif
