/* sink: hosts a connector's writer.
 *
 * With a format rows are encoded here, a few hundred KiB at a time, and the connector writes bytes; else it gets batches.
 * What finish() describes is committed when the whole job has finished. A connector that keeps bytes back is flushed
 * FLUSH_DELAY_MS after the last batch, so that people see what was written.
 *
 * With checkpoints, barrier() closes what was written before each. It is pending from then on, and rides in every snapshot until a barrier
 * says that a checkpoint which carried it is complete (docs/checkpoints.md, "Output"). A restored sink has nothing pending.
 *
 * Messages that wait in the log may be in a transaction of the connector's, too, that it holds open until complete() (`held`).
 */
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/json_memory.h"
#include "ops/output_log.h"
#include "ops/sink_int.h"
#include "state/snapshot.h"

#define COMMITTABLE_SIZE_MAX ((size_t)64 << 10)
#define FLUSH_DELAY_MS 5
#define CHECK_POLL_MS 50
#define HELD_STATE "transactions"
#define PENDING_MAX 10000 /* checkpoints, one after the other, none of which became complete */

struct shared_sync { /* of a pending entry and of the snapshots that carry it */
    _Atomic int refs;
    struct weir_barrier_sync sync;
    pthread_mutex_t lock; /* of the two below, and of running it */
    enum { SYNC_WANTED, SYNC_DONE, SYNC_FAILED } state;
    struct weir_error error; /* FAILED */
};

struct sink_pending { /* output of the rows before a barrier */
    uint64_t checkpoint;
    char *committable;                    /* NULL: nothing to publish, but what was written must have been synced */
    struct weir_output_segments segments; /* of the output log */
    struct shared_sync *sync;             /* NULL: none is needed */
};

const struct weir_option weir_sink_options[] = {
    {"connector", WEIR_OPTION_STRING, NULL, NULL, "Where the rows go"},
    {"format", WEIR_OPTION_STRING, "", NULL,
     "How rows become bytes: json, csv, avro-confluent, ..., one of the formats below"},
    {"on-error", WEIR_OPTION_ENUM, "fail", "fail|skip", "What to do with a row that the format cannot carry"},
    {"metadata.", WEIR_OPTION_STRING, "", NULL,
     "metadata.COLUMN: what the column is of each message, instead of a part of its value: topic, partition, timestamp, key, headers"},
    WEIR_MESSAGE_OPTIONS("How rows become bytes", "How they become bytes"),
    {"dead-letters", WEIR_OPTION_BOOL, "false", NULL,
     "The rows are those of weir_bad(): each becomes the message that it was, and headers say what is known of it. Takes format raw"},
    {0},
};

static weir_err no_message_options(const struct weir_op_plan *plan, const struct weir_connector *connector,
                                   struct weir_error *error)
{
    for (int i = 0; i < plan->option_count; i++) {
        const char *key = plan->options[i].key;
        if (strncmp(key, "metadata.", 9) == 0 || strncmp(key, "key.", 4) == 0 || strncmp(key, "value.", 6) == 0 ||
            strcmp(key, "dead-letters") == 0)
            return weir_fail(error, WEIR_ERR_INVALID, "connector '%s' writes no messages: leave out '%s'",
                             connector->name, key);
    }
    return WEIR_OK;
}

static weir_err sink_plan(struct weir_op_plan *plan, struct weir_error *error)
{
    struct weir_op_carrier carrier;
    weir_err err = weir_op_carrier_find(plan, weir_sink_options, WEIR_CARRIER_SINK, &carrier, error);
    if (err)
        return err;
    if (carrier.connector->write_messages)
        return weir_sink_messages_check(plan, &carrier, error);
    if ((err = no_message_options(plan, carrier.connector, error)) || !carrier.format)
        return err;
    if (!carrier.format->line_based)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "connector '%s' writes lines, and records of format '%s' are not lines",
                         carrier.connector->name, carrier.format->name);
    struct weir_encoder *encoder = NULL;
    if ((err = weir_op_encoder_new(plan, &carrier, WEIR_PART_VALUE, plan->inputs[0], &encoder, error)))
        return err;
    carrier.format->encoder_free(encoder);
    return 0;
}

/* What commit_messages() is told of the sink; the same from all subtasks. */
static char *describe(const struct weir_op_plan *plan)
{
    weir_json_memory();
    json_t *options = json_object(), *all = json_object();
    for (int i = 0; i < plan->option_count; i++)
        json_object_set_new(options, plan->options[i].key, json_string_nocheck(plan->options[i].value));
    json_object_set_new(all, "operator", json_string_nocheck(plan->uid ? plan->uid : plan->name));
    json_object_set_new(all, "options", options);
    char *text = json_dumps(all, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(all);
    return text;
}

static bool publishes_at_the_end(const struct weir_connector *connector)
{
    return connector->commit && !connector->barrier;
}

/* Where the connector is to hold transactions open: what earlier attempts say of theirs is all subtasks' affair. */
static weir_err open_held(struct sink *sink, struct weir_op_ctx *ctx, struct weir_error *error)
{
    const struct weir_op_plan *plan = ctx->plan;
    const struct weir_connector_held *held = sink->carrier.connector->held;
    if (!held || !held->wanted(plan->options, plan->option_count))
        return WEIR_OK;
    struct weir_held_start start = {.restored = ctx->restored ? ctx->restored->checkpoint : 0,
                                    .interval_ms = ctx->checkpoint_interval_ms};
    char **states = NULL;
    const struct weir_restored_part *part = NULL;
    while ((part = weir_restored_next(ctx->restored, plan->uid, HELD_STATE, part))) {
        states = weir_realloc(states, (size_t)(start.state_count + 1) * sizeof *states);
        states[start.state_count++] = weir_strndup((const char *)part->bytes, part->size);
    }
    start.states = (const char *const *)states;
    weir_op_connector_ctx(&sink->connector_ctx, ctx, plan->inputs[0]);
    weir_err err = held->open(&sink->connector_ctx, &start, plan->options, plan->option_count, &sink->held, error);
    for (int i = 0; i < start.state_count; i++)
        free(states[i]);
    free(states);
    return err ? weir_wrap(error, "%s", plan->name) : WEIR_OK;
}

static weir_err sink_open(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_error *error)
{
    struct sink *sink = (struct sink *)op;
    const struct weir_op_plan *plan = ctx->plan;
    weir_buf_init(&sink->bytes, WEIR_SINK_RECORD_SIZE_MAX);
    weir_err err = weir_op_carrier_find(plan, weir_sink_options, WEIR_CARRIER_SINK, &sink->carrier, error);
    if (err)
        return err;
    sink->on_error =
        weir_on_error_parse(weir_options_get(plan->options, plan->option_count, weir_sink_options, "on-error"));
    if (sink->carrier.format)
        weir_op_may_have_bad(ctx);
    if (sink->carrier.connector->write_messages)
        err = weir_sink_messages_open(sink, ctx, error);
    else if (sink->carrier.format)
        err = weir_op_encoder_new(plan, &sink->carrier, WEIR_PART_VALUE, plan->inputs[0], &sink->encoder, error);
    if (err)
        return weir_wrap(error, "%s", plan->name);
    if (ctx->periodic && publishes_at_the_end(sink->carrier.connector))
        return weir_fail(
            error, WEIR_ERR_UNSUPPORTED,
            "connector '%s' publishes only at the job's end: it has no barrier(), so a job with checkpoints "
            "(execution.checkpointing.interval) would lose rows with it",
            sink->carrier.connector->name);
    if (ctx->periodic && ctx->store && sink->carrier.connector->defers &&
        sink->carrier.connector->defers(plan->options, plan->option_count)) {
        sink->log = weir_output_log_new(ctx);
        sink->log_text = describe(plan);
        weir_sink_check_begin(sink, ctx);
        return open_held(sink, ctx, error);
    }
    weir_op_connector_ctx(&sink->connector_ctx, ctx, plan->inputs[0]);
    if ((err = sink->carrier.connector->writer_open(&sink->connector_ctx, plan->options, plan->option_count,
                                                    &sink->writer, error)))
        return weir_wrap(error, "%s", plan->name);
    if (weir_sink_is_busy(sink)) /* what it asks for first is heard of without a row, too */
        weir_op_set_timer(ctx, weir_op_now_ms(ctx) + CHECK_POLL_MS);
    return 0;
}

static enum weir_step failed(struct weir_op_ctx *ctx)
{
    weir_wrap(&ctx->error, "%s", ctx->plan->name);
    return WEIR_STEP_FAILED;
}

bool weir_sink_is_busy(const struct sink *sink)
{
    if (sink->log)
        return weir_output_log_is_busy(sink->log) || (sink->held && sink->carrier.connector->held->busy(sink->held));
    return sink->carrier.connector->busy && sink->carrier.connector->busy(sink->writer);
}

weir_err weir_sink_bad_row(struct sink *sink, struct weir_op_ctx *ctx, const struct weir_batch *batch, int row)
{
    if (sink->on_error != WEIR_ON_ERROR_SKIP)
        return weir_op_row_error("row cannot be written", batch, row, &ctx->error);
    weir_op_count_bad(ctx, ctx->error.reason, 1);
    return WEIR_ERR_DATA;
}

static weir_err encode_row(struct sink *sink, struct weir_op_ctx *ctx, const struct weir_batch *batch, int row)
{
    size_t before = sink->bytes.size;
    weir_err err = sink->carrier.format->encode(sink->encoder, batch, row, &sink->bytes, &ctx->error);
    if (!err)
        return 0;
    sink->bytes.size = before; /* a half-written record is taken back */
    if (err == WEIR_ERR_FULL)
        (void)weir_fail_record(&ctx->error, WEIR_BAD_TOO_LARGE, "a row is larger than %zu bytes as %s",
                               WEIR_SINK_RECORD_SIZE_MAX, sink->carrier.format->name);
    else if (err != WEIR_ERR_DATA)
        return err;
    return weir_sink_bad_row(sink, ctx, batch, row);
}

static weir_err write_bytes(struct sink *sink, struct weir_op_ctx *ctx, int count)
{
    const struct weir_message_out piece = {.value = sink->bytes.data, .value_size = sink->bytes.size, .partition = -1};
    return sink->log
               ? weir_output_log_append(sink->log, &piece, &ctx->error)
               : sink->carrier.connector->write(sink->writer, sink->bytes.data, sink->bytes.size, count, &ctx->error);
}

/* Encodes rows from the cursor on and writes them; AGAIN when the time is up. */
static enum weir_step write_encoded(struct sink *sink, struct weir_op_ctx *ctx, const struct weir_batch *batch)
{
    while (sink->row < batch->row_count) {
        int count = 0;
        if (weir_sink_is_busy(sink))
            return WEIR_STEP_AGAIN;
        weir_buf_clear(&sink->bytes);
        while (sink->row < batch->row_count && sink->bytes.size < WEIR_SINK_WRITE_SIZE) {
            if (batch->change && batch->change[sink->row] != WEIR_INSERT) {
                (void)weir_fail(&ctx->error, WEIR_ERR_UNSUPPORTED,
                                "the rows are updates, and connector '%s' with format '%s' only appends",
                                sink->carrier.connector->name, sink->carrier.format->name);
                return failed(ctx);
            }
            weir_err err = encode_row(sink, ctx, batch, sink->row);
            if (err && !(err == WEIR_ERR_DATA && sink->on_error == WEIR_ON_ERROR_SKIP))
                return failed(ctx);
            count += !err;
            sink->row++;
        }
        if (count && write_bytes(sink, ctx, count))
            return failed(ctx);
        if (sink->row < batch->row_count && weir_op_should_yield(ctx))
            return WEIR_STEP_AGAIN;
    }
    sink->row = 0;
    return WEIR_STEP_DONE;
}

static enum weir_step tick(struct sink *sink, struct weir_op_ctx *ctx)
{
    if (!sink->carrier.connector->tick || sink->log)
        return WEIR_STEP_DONE;
    sink->tick_ms = INT64_MAX;
    if (sink->carrier.connector->tick(sink->writer, weir_op_now_ms(ctx), &sink->tick_ms, &ctx->error))
        return failed(ctx);
    if (sink->tick_ms != INT64_MAX)
        weir_op_set_timer(ctx, sink->tick_ms);
    return WEIR_STEP_DONE;
}

static enum weir_step sink_batch(struct weir_op *op, struct weir_op_ctx *ctx, int input, struct weir_batch *batch)
{
    struct sink *sink = (struct sink *)op;
    const struct weir_connector *connector = sink->carrier.connector;
    (void)input;
    enum weir_step checked = weir_sink_check_step(sink, ctx);
    if (checked != WEIR_STEP_DONE)
        return checked == WEIR_STEP_FAILED ? failed(ctx) : checked;
    if (connector->flush && !sink->unflushed) {
        sink->unflushed = true;
        weir_op_set_timer(ctx, weir_op_now_ms(ctx) + FLUSH_DELAY_MS);
    }
    if (sink->carrier.format) {
        enum weir_step step =
            sink->messages ? weir_sink_messages_write(sink, ctx, batch) : write_encoded(sink, ctx, batch);
        return step == WEIR_STEP_DONE ? tick(sink, ctx) : step;
    }
    if (weir_sink_is_busy(sink))
        return WEIR_STEP_AGAIN;
    if (connector->rows->write_batch(sink->writer, batch, &ctx->error))
        return failed(ctx);
    return tick(sink, ctx);
}

/* Rows before the cursor are with the writer, or in its queue. */
static int sink_cut(struct weir_op *op, struct weir_op_ctx *ctx, const struct weir_batch *batch)
{
    const struct sink *sink = (struct sink *)op;
    (void)ctx, (void)batch;
    return sink->row;
}

static enum weir_step sink_timer(struct weir_op *op, struct weir_op_ctx *ctx, int64_t now_ms)
{
    struct sink *sink = (struct sink *)op;
    enum weir_step checked = weir_sink_check_step(sink, ctx);
    if (checked == WEIR_STEP_FAILED)
        return failed(ctx);
    if (checked == WEIR_STEP_AGAIN)
        weir_op_set_timer(ctx, now_ms + CHECK_POLL_MS);
    if (sink->sealed || sink->log)
        return WEIR_STEP_DONE;
    sink->unflushed = false;
    if (sink->carrier.connector->flush && sink->carrier.connector->flush(sink->writer, &ctx->error))
        return failed(ctx);
    return tick(sink, ctx);
}

/* --- Checkpoints */

static void free_sync(void *arg)
{
    struct shared_sync *shared = arg;
    if (!shared || --shared->refs > 0)
        return;
    shared->sync.free_arg(shared->sync.arg);
    pthread_mutex_destroy(&shared->lock);
    free(shared);
}

/* Once, for whichever checkpoint comes first. What could not be made durable is lost, even if a second try says otherwise (fsync forgets its
 * errors): no checkpoint that carries it becomes complete. */
static weir_err run_sync(void *arg, struct weir_error *error)
{
    struct shared_sync *shared = arg;
    pthread_mutex_lock(&shared->lock);
    if (shared->state == SYNC_WANTED)
        shared->state = shared->sync.run(shared->sync.arg, &shared->error) ? SYNC_FAILED : SYNC_DONE;
    bool failed = shared->state == SYNC_FAILED;
    if (failed)
        *error = shared->error;
    if (failed && shared->sync.again)
        shared->state = SYNC_WANTED;
    pthread_mutex_unlock(&shared->lock);
    return failed ? error->code : WEIR_OK;
}

static void drop_complete(struct sink *sink, uint64_t complete)
{
    int done = 0;
    while (done < sink->pending_count && sink->pending[done].checkpoint <= complete) {
        free(sink->pending[done].committable);
        weir_output_segments_fini(&sink->pending[done].segments);
        free_sync(sink->pending[done].sync);
        done++;
    }
    sink->pending_count -= done;
    if (done > 0)
        memmove(sink->pending, sink->pending + done, (size_t)sink->pending_count * sizeof *sink->pending);
}

static struct sink_pending *new_pending(struct sink *sink, uint64_t checkpoint, const struct weir_barrier_sync *sync)
{
    sink->pending = weir_realloc(sink->pending, (size_t)(sink->pending_count + 1) * sizeof *sink->pending);
    struct sink_pending *pending = &sink->pending[sink->pending_count++];
    *pending = (struct sink_pending){.checkpoint = checkpoint};
    if (sync->run) {
        pending->sync = weir_zalloc(sizeof *pending->sync);
        pending->sync->refs = 1;
        pending->sync->sync = *sync;
        pthread_mutex_init(&pending->sync->lock, NULL);
    }
    return pending;
}

/* The epoch's messages are in it, too. */
static weir_err close_transaction(struct sink *sink, struct weir_op_ctx *ctx, struct sink_pending *pending,
                                  struct weir_error *error)
{
    struct weir_buf transaction;
    weir_buf_init(&transaction, COMMITTABLE_SIZE_MAX);
    weir_err err = sink->carrier.connector->held->barrier(sink->held, pending->checkpoint, &transaction, error);
    if (!err && transaction.size > 0)
        pending->segments.transaction = weir_strndup((const char *)transaction.data, transaction.size);
    weir_buf_fini(&transaction);
    return err ? weir_wrap(error, "%s", ctx->plan->name) : WEIR_OK;
}

static weir_err save_held(struct sink *sink, struct weir_op_ctx *ctx, struct weir_snapshot *snapshot,
                          struct weir_error *error)
{
    struct weir_buf state;
    weir_buf_init(&state, COMMITTABLE_SIZE_MAX);
    bool ok = sink->carrier.connector->held->save(sink->held, &state);
    if (ok && state.size > 0)
        weir_snapshot_add(snapshot, ctx->plan->uid, HELD_STATE, WEIR_STATE_UNION, &state);
    weir_buf_fini(&state);
    return ok ? WEIR_OK
              : weir_fail(error, WEIR_ERR_FULL, "%s: the state of its transactions is too large", ctx->plan->name);
}

static weir_err add_pending(struct sink *sink, struct weir_op_ctx *ctx, uint64_t checkpoint, struct weir_error *error)
{
    struct weir_barrier_sync sync = {.run = NULL};
    struct weir_output_segments segments;
    if (sink->log) {
        if (!weir_output_log_end_epoch(sink->log, checkpoint, &segments, &sync))
            return WEIR_OK;
        struct sink_pending *pending = new_pending(sink, checkpoint, &sync);
        pending->committable = weir_strdup(sink->log_text);
        pending->segments = segments;
        return sink->held ? close_transaction(sink, ctx, pending, error) : WEIR_OK;
    }
    struct weir_buf committable;
    weir_buf_init(&committable, COMMITTABLE_SIZE_MAX);
    weir_err err = sink->carrier.connector->barrier(sink->writer, checkpoint, &committable, &sync, error);
    if (err) {
        weir_buf_fini(&committable);
        return weir_wrap(error, "%s", ctx->plan->name);
    }
    if (committable.size > 0 || sync.run) {
        struct sink_pending *pending = new_pending(sink, checkpoint, &sync);
        pending->committable = committable.size ? weir_strdup((const char *)committable.data) : NULL;
    }
    weir_buf_fini(&committable);
    return WEIR_OK;
}

/* What was written since the last barrier is published with the job's next checkpoint; the last snapshot makes it durable. */
static void end_log(struct sink *sink, struct weir_op_ctx *ctx)
{
    struct weir_barrier_sync sync = {.run = NULL};
    struct weir_output_segments segments;
    if (!weir_output_log_end_epoch(sink->log, 0, &segments, &sync))
        return;
    weir_op_add_committable(ctx, sink->carrier.connector->name, sink->log_text, &segments);
    weir_output_segments_fini(&segments);
    (void)new_pending(sink, UINT64_MAX, &sync);
}

/* In a job that makes no checkpoints by itself: the one that somebody asked for fails, and the job goes on. */
static weir_err refuse_checkpoint(void *arg, struct weir_error *error)
{
    const struct weir_connector *connector = arg;
    return weir_fail(error, WEIR_ERR_UNSUPPORTED,
                     "connector '%s' publishes only at the job's end: it has no barrier(), so who began with this "
                     "checkpoint would lose rows",
                     connector->name);
}

static void keep(void *arg)
{
    (void)arg;
}

static weir_err sink_snapshot(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_snapshot *snapshot,
                              struct weir_error *error)
{
    struct sink *sink = (struct sink *)op;
    const struct weir_connector *connector = sink->carrier.connector;
    weir_err err = WEIR_OK;
    if (!sink->log && !sink->sealed && connector->flush && (err = connector->flush(sink->writer, error)))
        return weir_wrap(error, "%s", ctx->plan->name);
    if (snapshot->checkpoint != 0 && publishes_at_the_end(connector))
        weir_snapshot_add_sync(snapshot, refuse_checkpoint, (void *)(uintptr_t)connector, keep);
    if (!sink->log && !connector->barrier)
        return WEIR_OK;
    drop_complete(sink, snapshot->complete);
    if (sink->pending_count == PENDING_MAX)
        return weir_fail(error, WEIR_ERR_FULL,
                         "%s: the output of %d checkpoints waits for one of them to become complete", ctx->plan->name,
                         PENDING_MAX);
    if (snapshot->checkpoint != 0 && (err = add_pending(sink, ctx, snapshot->checkpoint, error)))
        return err;
    if (sink->held && (err = save_held(sink, ctx, snapshot, error)))
        return err;
    for (int i = 0; i < sink->pending_count; i++) {
        struct sink_pending *pending = &sink->pending[i];
        if (pending->committable)
            weir_snapshot_add_committable(snapshot, connector->name, pending->committable, &pending->segments);
        if (!pending->sync)
            continue;
        pending->sync->refs++;
        weir_snapshot_add_sync(snapshot, run_sync, pending->sync, free_sync);
    }
    return WEIR_OK;
}

static weir_err sink_complete(struct weir_op *op, struct weir_op_ctx *ctx, uint64_t checkpoint,
                              struct weir_error *error)
{
    struct sink *sink = (struct sink *)op;
    weir_err err =
        sink->held && !sink->sealed ? sink->carrier.connector->held->complete(sink->held, checkpoint, error) : WEIR_OK;
    return err ? weir_wrap(error, "%s", ctx->plan->name) : WEIR_OK;
}

/* --- The end */

static enum weir_step sink_end(struct weir_op *op, struct weir_op_ctx *ctx)
{
    struct sink *sink = (struct sink *)op;
    const struct weir_connector *connector = sink->carrier.connector;
    enum weir_step checked = weir_sink_check_step(sink, ctx);
    if (checked != WEIR_STEP_DONE)
        return checked == WEIR_STEP_FAILED ? failed(ctx) : checked;
    weir_op_set_timer(ctx, INT64_MAX);
    if (sink->held && !sink->sealed) {
        sink->sealed = true;
        connector->held->seal(sink->held);
    }
    if (sink->held && connector->held->busy(sink->held))
        return WEIR_STEP_AGAIN;
    if (sink->log) {
        end_log(sink, ctx);
        return WEIR_STEP_DONE;
    }
    if (connector->flush && connector->flush(sink->writer, &ctx->error))
        return failed(ctx);
    if (!connector->finish)
        return WEIR_STEP_DONE;
    if (!sink->sealed && !weir_sink_is_busy(sink)) {
        sink->sealed = true;
        if (connector->seal && connector->seal(sink->writer, &ctx->error))
            return failed(ctx);
    }
    if (!sink->sealed || weir_sink_is_busy(sink))
        return WEIR_STEP_AGAIN;
    struct weir_buf committable;
    weir_buf_init(&committable, COMMITTABLE_SIZE_MAX);
    enum weir_step step = WEIR_STEP_DONE;
    if (connector->finish(sink->writer, &committable, &ctx->error))
        step = failed(ctx);
    else if (committable.size > 0)
        weir_op_add_committable(ctx, connector->name, (const char *)committable.data, NULL);
    weir_buf_fini(&committable);
    return step;
}

static void sink_close(struct weir_op *op, struct weir_op_ctx *ctx, bool finished)
{
    struct sink *sink = (struct sink *)op;
    (void)finished;
    if (sink->writer)
        sink->carrier.connector->writer_close(sink->writer);
    if (sink->held) {
        struct weir_call_spec last;
        sink->carrier.connector->held->close(sink->held, &last);
        weir_call_leave(ctx->pool, &last);
    }
    if (sink->encoder)
        sink->carrier.format->encoder_free(sink->encoder);
    weir_sink_messages_close(sink);
    drop_complete(sink, UINT64_MAX);
    weir_sink_check_free(sink);
    weir_output_log_free(sink->log);
    free(sink->log_text);
    free(sink->pending);
    weir_buf_fini(&sink->bytes);
}

const struct weir_op_vtable weir_op_sink = {
    .name = "sink",
    .help = "Writes rows by a connector",
    .size = sizeof(struct sink),
    .options = weir_sink_options,
    .plan = sink_plan,
    .open = sink_open,
    .batch = sink_batch,
    .cut = sink_cut,
    .end = sink_end,
    .snapshot = sink_snapshot,
    .complete = sink_complete,
    .timer = sink_timer,
    .close = sink_close,
};
