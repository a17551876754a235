/* source: hosts a connector's reader.
 *
 * A byte reader gives lines; they are decoded here into batches of the declared schema, with the bound on a record's size, the
 * policy for bad records ("on-error") and their counter. A row reader gives batches. Watermarks come from an expression over the
 * rows, per split.
 *
 * A reader of messages gives records one by one, each with a place of its own: source_messages.c.
 *
 * Two ways of being driven. Without an input the driver calls produce(). With one (the connector has splits, and the vertex
 * "splits" hands them out) each row of an input batch is a split, and batch() reads it to its end, saying AGAIN in between.
 * A split's watermark is sent only when none is left to be assigned (the split said so, remaining = 0, or the input's end is next):
 * until then a later split may hold earlier rows, and the reader's watermark is minus infinity.
 *
 * Checkpoints: the state "reader" is where it reads. Without splits that is the reader's position; with them every split that it was given
 * and has not ended, with the position in the one that it is reading; they are read first in a later attempt, before
 * anything of the input. Format: u8 1, u32 count, then for each: bytes id, i64 offset, i64 size, i64 remaining, u8 begun, and when begun
 * i64 watermark, u8 in the middle of a line to be skipped, bytes position (the connector's own). Without splits there is one, without a name.
 *
 * Invariant: no decoded row is held between two calls, so a barrier never overtakes one. Each round of a call begins with room in
 * every output and pushes at most one batch into each.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/log.h"
#include "ops/alignment.h"
#include "ops/message_columns.h"
#include "ops/source_int.h"
#include "state/snapshot.h"

#define DEAD_ROWS_MAX 256
#define SHOWN_SIZE ((size_t)120) /* of a bad record in a message */
#define DEAD_SIZE_MAX ((int64_t)64 << 20)

#define STATE "reader"
#define STATE_VERSION 1

static const struct weir_option source_options[] = {
    {"connector", WEIR_OPTION_STRING, NULL, NULL, "Where the rows come from"},
    {"format", WEIR_OPTION_STRING, "", NULL,
     "How bytes become rows: json, csv, avro-confluent, ..., one of the formats below"},
    {"on-error", WEIR_OPTION_ENUM, "fail", "fail|skip|dead-letter",
     "What to do with a bad record: fail the task, drop and count it, or put it aside (side output 2)"},
    {"dead-letter.path", WEIR_OPTION_STRING, "", NULL,
     "Directory, or s3://BUCKET/PREFIX, where bad records are written as JSON lines"},
    {"dead-letter.topic", WEIR_OPTION_STRING, "", NULL,
     "Or the topic that they are written to as the messages that they were, with headers that say what is known of them"},
    {"dead-letter.size-max", WEIR_OPTION_SIZE, "16 mb", NULL,
     "Of a bad record that is longer only the first 4096 bytes are kept; 900 kb with dead-letter.topic"},
    {"dead-letter.", WEIR_OPTION_STRING, "", NULL,
     "dead-letter.NAME: option NAME of the sink that writes them: dead-letter.delivery-guarantee, dead-letter.properties.bootstrap.servers"},
    {"record.size-max", WEIR_OPTION_SIZE, "1 mb", NULL, "A longer record is a bad one"},
    {"watermark.expression", WEIR_OPTION_STRING, "", NULL,
     "TIMESTAMP expression; no later row is expected to be earlier: timestamp - INTERVAL '2' SECOND"},
    {"watermark.idle-timeout", WEIR_OPTION_DURATION, "0", NULL,
     "After so long without rows the source does not hold back others; 0: it always does"},
    {WEIR_OPTION_ALIGNMENT_GROUP, WEIR_OPTION_STRING, "", NULL,
     "The alignment group: a source, reader or partition whose watermark is too far ahead of the slowest of all sources in the group is not "
     "read until that has caught up"},
    {"scan.watermark.alignment.max-drift", WEIR_OPTION_DURATION, "", NULL,
     "How far ahead of the group's slowest is too far, in event time"},
    {"scan.watermark.alignment.update-interval", WEIR_OPTION_DURATION, "1 s", NULL,
     "How often executors tell each other, by the JobManager, how far they are; within one it is known at once"},
    {"metadata.", WEIR_OPTION_STRING, "", NULL,
     "metadata.COLUMN: what the column holds of each message: topic, partition, offset, timestamp, key, headers"},
    WEIR_MESSAGE_OPTIONS("How bytes become rows", "How bytes become them"),
    {0},
};

static const char *option(const struct weir_op_plan *plan, const char *name)
{
    return weir_options_get(plan->options, plan->option_count, source_options, name);
}

static int64_t option_int(const struct weir_op_plan *plan, const char *name)
{
    return weir_options_get_int(plan->options, plan->option_count, source_options, name);
}

/* --- Plan */

static weir_err no_message_options(const struct weir_op_plan *plan, const struct weir_connector *connector,
                                   struct weir_error *error)
{
    for (int i = 0; i < plan->option_count; i++) {
        const char *key = plan->options[i].key;
        if (strncmp(key, "metadata.", 9) == 0)
            return weir_fail(error, WEIR_ERR_INVALID, "connector '%s' has no metadata: leave out '%s'", connector->name,
                             key);
        if (strncmp(key, "key.", 4) == 0 || strncmp(key, "value.", 6) == 0)
            return weir_fail(error, WEIR_ERR_INVALID, "connector '%s' reads no messages: leave out '%s'",
                             connector->name, key);
    }
    return WEIR_OK;
}

static weir_err find_schema(struct weir_op_plan *plan, const struct weir_op_carrier *carrier, struct weir_error *error)
{
    const struct weir_connector *connector = carrier->connector;
    weir_err err = WEIR_OK;
    if (!carrier->format) {
        if ((err = no_message_options(plan, connector, error)))
            return err;
        if (connector->rows->source_schema)
            return connector->rows->source_schema(plan->options, plan->option_count, plan->declared, &plan->output,
                                                  error);
        if (!plan->declared)
            return weir_fail(error, WEIR_ERR_INVALID, "connector '%s' needs a schema: declare its columns",
                             connector->name);
        plan->output = weir_schema_ref(plan->declared);
        return 0;
    }
    if (!plan->declared)
        return weir_fail(error, WEIR_ERR_INVALID, "format '%s' needs a schema: declare the columns",
                         carrier->format->name);
    if (!connector->read_messages && !carrier->format->line_based)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "connector '%s' reads lines, and records of format '%s' are not lines", connector->name,
                         carrier->format->name);
    if (connector->read_messages) {
        if ((err = weir_source_messages_check(plan, carrier, error)))
            return err;
    } else {
        struct weir_decoder *decoder = NULL;
        if ((err = no_message_options(plan, connector, error)) ||
            (err = weir_op_decoder_new(plan, carrier, WEIR_PART_VALUE, plan->declared, &decoder, error)))
            return err;
        carrier->format->decoder_free(decoder);
    }
    plan->output = weir_schema_ref(plan->declared);
    return 0;
}

static weir_err source_plan(struct weir_op_plan *plan, struct weir_error *error)
{
    struct weir_op_carrier carrier;
    weir_err err = weir_op_carrier_find(plan, source_options, WEIR_CARRIER_SOURCE, &carrier, error);
    if (err)
        return err;
    if (carrier.connector->enumerate && plan->input_count == 0)
        return weir_fail(error, WEIR_ERR_INVALID, "connector '%s' needs a vertex 'splits' before it",
                         carrier.connector->name);
    if (!carrier.connector->enumerate && plan->input_count > 0)
        return weir_fail(error, WEIR_ERR_INVALID, "connector '%s' has no splits, so it takes no input",
                         carrier.connector->name);
    if (option_int(plan, "record.size-max") < 1 || option_int(plan, "record.size-max") > (int64_t)256 << 20)
        return weir_fail(error, WEIR_ERR_INVALID, "record.size-max must be from 1 byte to 256 mb");
    if (option_int(plan, "dead-letter.size-max") < 0 || option_int(plan, "dead-letter.size-max") > DEAD_SIZE_MAX)
        return weir_fail(error, WEIR_ERR_INVALID, "dead-letter.size-max must be at most 64 mb");
    if ((err = find_schema(plan, &carrier, error)))
        return err;
    const char *expression = option(plan, "watermark.expression");
    if (expression)
        err = weir_watermarker_check(expression, plan->output, error);
    if (!err)
        err = weir_source_align_check(
            option(plan, WEIR_OPTION_ALIGNMENT_GROUP), option(plan, "scan.watermark.alignment.max-drift"),
            option_int(plan, "scan.watermark.alignment.max-drift"),
            option_int(plan, "scan.watermark.alignment.update-interval"), expression != NULL, error);
    if (!err && carrier.format)
        plan->sides[1] = weir_dead_letter_schema();
    if (err) {
        weir_schema_unref(plan->output);
        plan->output = NULL;
    }
    return err;
}

/* --- Open, close */

static weir_err restore(struct source *source, struct weir_op_ctx *ctx, struct weir_error *error);

/* Once, before the first checkpoint. */
static void warn_of_checkpoints(struct source *source, const struct weir_op_ctx *ctx)
{
    const struct weir_connector *connector = source->carrier.connector;
    if (connector->reader_restore || ctx->subtask > 0 || source->warned)
        return;
    source->warned = true;
    weir_log(
        WARN,
        "%s: a reader of connector '%s' cannot go on where a checkpoint says (it has no reader_restore()): after a "
        "failure %s",
        ctx->plan->name, connector->name,
        connector->enumerate ? "a split that was begun is read again from its beginning, and its rows count twice"
                             : "rows that its source gave since the checkpoint are lost, or come twice");
}

static weir_err source_open(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_error *error)
{
    struct source *source = (struct source *)op;
    const struct weir_op_plan *plan = ctx->plan;
    weir_err err = weir_op_carrier_find(plan, source_options, WEIR_CARRIER_SOURCE, &source->carrier, error);
    if (err)
        return err;
    const struct weir_connector *connector = source->carrier.connector;
    if (ctx->periodic)
        warn_of_checkpoints(source, ctx);
    source->schema = plan->output;
    source->dead_schema = plan->sides[1];
    source->on_error = weir_on_error_parse(option(plan, "on-error"));
    if (source->carrier.format)
        weir_op_may_have_bad(ctx);
    source->record_size_max = (size_t)option_int(plan, "record.size-max");
    source->dead_size_max = (size_t)option_int(plan, "dead-letter.size-max");
    if (source->on_error == WEIR_ON_ERROR_DEAD_LETTER && source->carrier.format && !ctx->sides[1])
        return weir_fail(error, WEIR_ERR_INVALID,
                         "%s: on-error is dead-letter, but nothing takes the bad records: give dead-letter.path",
                         plan->name);
    err = weir_watermarker_open(&source->marker, option(plan, "watermark.expression"), source->schema,
                                option_int(plan, "watermark.idle-timeout"), weir_op_now_ms(ctx), error);
    if (err)
        return err;
    source->nothing = connector->parallelism_max > 0 && ctx->subtask >= connector->parallelism_max;
    if (source->nothing)
        return 0;
    if (connector->read_messages)
        err = weir_source_messages_open(source, ctx, error);
    else if (source->carrier.format)
        err = weir_op_decoder_new(plan, &source->carrier, WEIR_PART_VALUE, source->schema, &source->decoder, error);
    if (err)
        return weir_wrap(error, "%s", plan->name);
    weir_source_align_open(source, ctx, option(plan, WEIR_OPTION_ALIGNMENT_GROUP),
                           option_int(plan, "scan.watermark.alignment.max-drift"),
                           option_int(plan, "scan.watermark.alignment.update-interval"));
    weir_op_connector_ctx(&source->connector_ctx, ctx, source->schema);
    if ((err =
             connector->reader_open(&source->connector_ctx, plan->options, plan->option_count, &source->reader, error)))
        return weir_wrap(error, "%s", plan->name);
    err = restore(source, ctx, error);
    return err ? weir_wrap(error, "%s", plan->name) : WEIR_OK;
}

static void free_restored(struct source *source)
{
    for (int i = 0; i < source->restored_count; i++) {
        free((char *)(uintptr_t)source->restored[i].split.id);
        free(source->restored[i].position);
    }
    free(source->restored);
    source->restored = NULL;
    source->restored_count = source->restored_at = 0;
}

static void source_close(struct weir_op *op, struct weir_op_ctx *ctx, bool finished)
{
    struct source *source = (struct source *)op;
    (void)ctx;
    weir_source_align_close(source, finished);
    if (source->reader)
        source->carrier.connector->reader_close(source->reader);
    if (source->decoder)
        source->carrier.format->decoder_free(source->decoder);
    weir_batch_unref(source->rows);
    weir_batch_unref(source->dead);
    weir_source_messages_close(source);
    weir_watermarker_close(&source->marker);
    free(source->split_id);
    free_restored(source);
}

/* --- Batches out */

bool weir_source_has_room(const struct weir_op_ctx *ctx)
{
    return !weir_out_full(ctx->out) && !weir_out_full(ctx->sides[1]);
}

/* No other split will be read behind the one in hand. */
static bool is_last_split(const struct source *source, const struct weir_op_ctx *ctx)
{
    if (source->split_remaining == 0)
        return true;
    if (!ctx->input_over && ctx->watermark_ms != WEIR_WATERMARK_MAX)
        return false;
    int in_input = source->splits ? source->splits->row_count - source->split_row : 0;
    return source->restored_count - source->restored_at + in_input <= 1;
}

static void push_watermark(const struct source *source, const struct weir_op_ctx *ctx)
{
    if (source->marker.max_ms != WEIR_WATERMARK_MIN && is_last_split(source, ctx))
        weir_out_watermark(ctx->out, source->marker.max_ms);
}

/* How far the reader is, or the split in hand: no other source need wait for one that is idle. False: it is too far ahead. */
static bool aligned(struct source *source, struct weir_op_ctx *ctx)
{
    int64_t at_ms = source->marker.idle ? WEIR_ALIGNED_FREE : source->marker.max_ms;
    return weir_source_align_whole(source, ctx, at_ms, source->marker.max_ms);
}

static weir_err push_rows(struct source *source, struct weir_op_ctx *ctx, struct weir_batch *take_batch)
{
    weir_err err = weir_watermarker_rows(&source->marker, take_batch, weir_op_now_ms(ctx), &ctx->error);
    if (err) {
        weir_batch_unref(take_batch);
        return weir_wrap(&ctx->error, "%s", ctx->plan->name);
    }
    weir_out_push(ctx->out, take_batch);
    source->last_row_ms = weir_op_now_ms(ctx);
    push_watermark(source, ctx);
    (void)aligned(source, ctx);
    return 0;
}

void weir_source_flush_dead(struct source *source, struct weir_op_ctx *ctx)
{
    struct weir_batch *dead = source->dead;
    source->dead = NULL;
    if (dead && dead->row_count > 0)
        weir_out_push(ctx->sides[1], dead);
    else
        weir_batch_unref(dead);
}

/* Nothing that was built stays behind. */
static weir_err flush(struct source *source, struct weir_op_ctx *ctx)
{
    struct weir_batch *rows = source->rows;
    source->rows = NULL;
    weir_source_flush_dead(source, ctx);
    if (rows && rows->row_count > 0)
        return push_rows(source, ctx, rows);
    weir_batch_unref(rows);
    return 0;
}

/* --- Bad records */

weir_err weir_source_bad_record(struct source *source, struct weir_op_ctx *ctx, const struct weir_dead_letter *letter)
{
    weir_op_count_bad(ctx, ctx->error.reason, 1);
    if (source->on_error == WEIR_ON_ERROR_SKIP)
        return 0;
    if (source->on_error == WEIR_ON_ERROR_DEAD_LETTER) {
        if (!source->dead)
            source->dead = weir_batch_new(source->dead_schema, DEAD_ROWS_MAX);
        weir_dead_letter_put(source->dead, ctx, letter, source->dead_size_max);
        return 0;
    }
    size_t shown = letter->value_size < SHOWN_SIZE ? letter->value_size : SHOWN_SIZE;
    struct weir_buf text;
    weir_buf_init(&text, SIZE_MAX / 2);
    weir_dead_letter_text(&text, letter->value, shown);
    char why[WEIR_ERROR_MESSAGE_SIZE];
    snprintf(why, sizeof why, "%s", ctx->error.message);
    weir_err err = weir_fail_record(&ctx->error, ctx->error.reason,
                                    "%s: bad record at %s: %.300s: %s%s (on-error = skip or dead-letter goes on)",
                                    ctx->plan->name, letter->position, why, text.data ? (const char *)text.data : "",
                                    (int64_t)shown != letter->full_size ? "..." : "");
    weir_buf_fini(&text);
    return err;
}

/* The same of the line at bytes[at..at+size). `whole`: all of it is there. */
static weir_err bad_line(struct source *source, struct weir_op_ctx *ctx, size_t at, size_t size, bool whole)
{
    char position[400];
    int64_t byte = source->split_offset + source->bytes.position + (int64_t)at;
    snprintf(position, sizeof position, "%.300s, byte %" PRId64, source->split_id ? source->split_id : ctx->plan->name,
             byte);
    struct weir_dead_letter letter = {.value = source->bytes.bytes + at,
                                      .value_size = size,
                                      .full_size = whole ? (int64_t)size : -1,
                                      .position = position,
                                      .header_count = -1,
                                      .offset = byte,
                                      .timestamp_ms = INT64_MIN,
                                      .path = source->split_id};
    return weir_source_bad_record(source, ctx, &letter);
}

bool weir_source_dead_is_full(const struct source *source)
{
    return source->dead &&
           (source->dead->row_count == DEAD_ROWS_MAX || weir_batch_bytes(source->dead) > WEIR_BATCH_BYTES_SOFT_MAX);
}

/* --- Lines */

/* For formats without decode_lines. The same contract. */
static weir_err decode_line_by_line(struct source *source, const uint8_t *bytes, size_t size, bool last, size_t *used,
                                    size_t *bad_at, size_t *bad_size, struct weir_error *error)
{
    const struct weir_format *format = source->carrier.format;
    struct weir_batch *rows = source->rows;
    size_t at = 0;
    weir_err err = 0;
    while (!err && at < size && rows->row_count < rows->row_capacity) {
        const uint8_t *newline = memchr(bytes + at, '\n', size - at);
        if (!newline && !last)
            break;
        size_t end = newline ? (size_t)(newline - bytes) : size;
        size_t next = newline ? end + 1 : end;
        if (end > at && bytes[end - 1] == '\r')
            end--;
        if (end > at) {
            *bad_at = at, *bad_size = end - at;
            err = format->decode(source->decoder, bytes + at, end - at, true, rows, error);
        }
        at = next;
    }
    *used = at;
    return err;
}

enum progress { MORE_BYTES, ROUND_DONE, BROKEN };

/* Bytes of a line that was too long are dropped to its end. */
static bool skip_line(struct source *source)
{
    const struct weir_read_bytes *b = &source->bytes;
    const uint8_t *newline = memchr(b->bytes + source->at, '\n', b->size - source->at);
    source->at = newline ? (size_t)(newline - b->bytes) + 1 : b->size;
    source->skipping = !newline && !b->last;
    return newline != NULL;
}

/* Decodes what is in hand until a batch is full or bytes are wanted. */
static enum progress decode_bytes(struct source *source, struct weir_op_ctx *ctx)
{
    const struct weir_format *format = source->carrier.format;
    const struct weir_read_bytes *b = &source->bytes;
    if (!source->rows)
        source->rows = weir_batch_new(source->schema, WEIR_BATCH_ROWS_DEFAULT);
    while (source->at < b->size) {
        if (source->skipping) {
            skip_line(source);
            continue;
        }
        size_t left = b->size - source->at, used = 0, bad_at = 0, bad_size = 0;
        /* One byte more than a record may have: no newline in there means that it is too long. */
        size_t window = left <= source->record_size_max ? left : source->record_size_max + 1;
        bool last = b->last && window == left;
        const uint8_t *bytes = b->bytes + source->at;
        weir_err err = format->decode_lines
                           ? format->decode_lines(source->decoder, bytes, window, last, source->rows, &used, &bad_at,
                                                  &bad_size, &ctx->error)
                           : decode_line_by_line(source, bytes, window, last, &used, &bad_at, &bad_size, &ctx->error);
        if (err == WEIR_ERR_DATA) {
            err = bad_line(source, ctx, source->at + bad_at, bad_size, true);
            weir_assert(used > 0);
        } else if (!err && used == 0 && source->rows->row_count < source->rows->row_capacity) {
            if (window <= source->record_size_max) {
                weir_assert(!last);
                return MORE_BYTES;
            }
            (void)weir_fail_record(&ctx->error, WEIR_BAD_TOO_LARGE, "it is longer than record.size-max, %zu bytes",
                                   source->record_size_max);
            err = bad_line(source, ctx, source->at, window, false);
            source->skipping = true;
        }
        if (err)
            return BROKEN;
        source->at += used;
        if (source->rows->row_count == source->rows->row_capacity || weir_source_dead_is_full(source) ||
            weir_batch_bytes(source->rows) > WEIR_BATCH_BYTES_SOFT_MAX)
            return ROUND_DONE;
    }
    return MORE_BYTES;
}

/* --- Reading: one call's worth. WEIR_READ_DATA: call again. */

static enum weir_read read_bytes(struct source *source, struct weir_op_ctx *ctx, int64_t *wait_until_ms, bool *progress)
{
    while (weir_source_has_room(ctx) && !source->align.paused) {
        enum progress step = source->has_bytes ? decode_bytes(source, ctx) : MORE_BYTES;
        if (step == BROKEN || (step == ROUND_DONE && flush(source, ctx)))
            return WEIR_READ_FAILED;
        if (step == MORE_BYTES) {
            source->bytes.used = source->has_bytes ? source->at : 0;
            enum weir_read read = source->carrier.connector->read(source->reader, &source->connector_ctx,
                                                                  &source->bytes, wait_until_ms, &ctx->error);
            source->at = 0;
            source->has_bytes = read == WEIR_READ_DATA;
            if (read == WEIR_READ_FAILED) {
                weir_wrap(&ctx->error, "%s", ctx->plan->name);
                return read;
            }
            if (read != WEIR_READ_DATA)
                return flush(source, ctx) ? WEIR_READ_FAILED : read;
        }
        *progress = true;
        if (weir_op_should_yield(ctx))
            break;
    }
    return flush(source, ctx) ? WEIR_READ_FAILED : WEIR_READ_DATA;
}

static enum weir_read read_rows(struct source *source, struct weir_op_ctx *ctx, int64_t *wait_until_ms, bool *progress)
{
    while (weir_source_has_room(ctx) && !source->align.paused) {
        struct weir_batch *batch = NULL;
        enum weir_read read = source->carrier.connector->rows->read_batch(source->reader, &source->connector_ctx,
                                                                          &batch, wait_until_ms, &ctx->error);
        if (read == WEIR_READ_FAILED)
            weir_wrap(&ctx->error, "%s", ctx->plan->name);
        if (read != WEIR_READ_DATA)
            return read;
        *progress = true;
        if (push_rows(source, ctx, batch))
            return WEIR_READ_FAILED;
        if (weir_op_should_yield(ctx))
            break;
    }
    return WEIR_READ_DATA;
}

static enum weir_read read_some(struct source *source, struct weir_op_ctx *ctx, int64_t *wait_until_ms, bool *progress)
{
    *wait_until_ms = INT64_MAX;
    if (source->messages)
        return weir_source_messages_read(source, ctx, wait_until_ms, progress);
    if (!aligned(source, ctx)) {
        source->marker.last_row_ms = weir_op_now_ms(ctx); /* it is not idle */
        return weir_source_align_wait(ctx, wait_until_ms);
    }
    return source->carrier.format ? read_bytes(source, ctx, wait_until_ms, progress)
                                  : read_rows(source, ctx, wait_until_ms, progress);
}

static enum weir_step source_produce(struct weir_op *op, struct weir_op_ctx *ctx, bool *progress)
{
    struct source *source = (struct source *)op;
    int64_t wait_until_ms;
    *progress = false;
    if (source->nothing)
        return WEIR_STEP_DONE;
    switch (read_some(source, ctx, &wait_until_ms, progress)) {
    case WEIR_READ_END:
        weir_source_align_end(source);
        return WEIR_STEP_DONE;
    case WEIR_READ_FAILED:
        return WEIR_STEP_FAILED;
    case WEIR_READ_DATA:
        return WEIR_STEP_AGAIN;
    case WEIR_READ_EMPTY:
        break;
    }
    int64_t due = source->messages ? weir_source_messages_quiet(source, ctx)
                                   : weir_watermarker_quiet(&source->marker, ctx->out, weir_op_now_ms(ctx));
    if (source->marker.idle)
        (void)aligned(source, ctx);
    if (due < wait_until_ms)
        wait_until_ms = due;
    if (wait_until_ms != INT64_MAX)
        weir_op_set_timer(ctx, wait_until_ms);
    return WEIR_STEP_AGAIN;
}

static void source_report(struct weir_op *op, struct weir_op_ctx *ctx)
{
    struct source *source = (struct source *)op;
    if (source->nothing)
        return;
    if (source->last_row_ms == 0)
        source->last_row_ms = weir_op_now_ms(ctx);
    weir_op_number_set(ctx->numbers, WEIR_OP_SOURCE_IDLE_TIME, source->last_row_ms);
    if (source->marker.max_ms != WEIR_WATERMARK_MIN)
        weir_op_number_set(ctx->numbers, WEIR_OP_WATERMARK_LAG, source->marker.max_ms);
    if (source->messages && source->reader) /* there is none when it could not be opened */
        weir_source_messages_report(source, ctx);
    else
        weir_source_align_report(source, ctx, NULL);
}

/* --- Splits as input */

static struct weir_split split_of(const struct weir_batch *batch, int row)
{
    size_t size = 0;
    const char *id = (const char *)weir_column_bytes(&batch->columns[0], row, &size);
    return (struct weir_split){.id = weir_strndup(id, size),
                               .offset = batch->columns[1].i64[row],
                               .size = batch->columns[2].i64[row],
                               .remaining = batch->columns[3].i64[row]};
}

/* The id is taken over. */
static weir_err begin_split(struct source *source, struct weir_op_ctx *ctx, const struct weir_split *split)
{
    free(source->split_id);
    source->split_id = (char *)(uintptr_t)split->id;
    source->split_offset = split->offset;
    source->split_size = split->size;
    source->split_remaining = split->remaining;
    source->bytes = (struct weir_read_bytes){.bytes = NULL};
    source->at = 0;
    source->has_bytes = source->skipping = false;
    source->marker.max_ms = WEIR_WATERMARK_MIN; /* watermarks are per split */
    if (source->carrier.connector->reader_split(source->reader, split, &ctx->error))
        return weir_wrap(&ctx->error, "%s", ctx->plan->name);
    source->in_split = true;
    return 0;
}

/* Reads the split that was begun. DONE: it is at its end. */
static enum weir_step read_split(struct source *source, struct weir_op_ctx *ctx)
{
    int64_t wait_until_ms;
    bool progress = false;
    enum weir_read read = read_some(source, ctx, &wait_until_ms, &progress);
    if (read == WEIR_READ_FAILED)
        return WEIR_STEP_FAILED;
    if (read == WEIR_READ_EMPTY) {
        push_watermark(source, ctx); /* that it is the last split may be news */
        if (wait_until_ms != INT64_MAX)
            weir_op_set_timer(ctx, wait_until_ms);
    }
    if (read != WEIR_READ_END)
        return WEIR_STEP_AGAIN;
    source->in_split = false;
    return WEIR_STEP_DONE;
}

static weir_err begin_restored(struct source *source, struct weir_op_ctx *ctx, struct open_split *open)
{
    const struct weir_connector *connector = source->carrier.connector;
    struct weir_split split = open->split;
    open->split.id = NULL;
    weir_err err = begin_split(source, ctx, &split);
    if (err || !open->begun || !connector->reader_restore)
        return err; /* without it the split is read again */
    if (connector->reader_restore(source->reader, open->position, &ctx->error))
        return weir_wrap(&ctx->error, "%s", ctx->plan->name);
    source->marker.max_ms = open->watermark_ms;
    source->skipping = open->skipping;
    return WEIR_OK;
}

/* Splits of an earlier attempt come before what the input says, whatever that is. */
static enum weir_step read_restored(struct source *source, struct weir_op_ctx *ctx)
{
    while (source->restored_at < source->restored_count) {
        if (!weir_source_has_room(ctx))
            return WEIR_STEP_AGAIN;
        if (!source->in_split && begin_restored(source, ctx, &source->restored[source->restored_at]))
            return WEIR_STEP_FAILED;
        enum weir_step step = read_split(source, ctx);
        if (step != WEIR_STEP_DONE)
            return step;
        source->restored_at++;
    }
    free_restored(source);
    return weir_source_has_room(ctx) ? WEIR_STEP_DONE : WEIR_STEP_AGAIN;
}

/* What is left of a batch joins the splits that the snapshot has; the first of all may have been begun. */
static enum weir_step keep_splits(struct source *source)
{
    int left = source->splits->row_count - source->split_row, had = source->restored_count - source->restored_at;
    struct open_split *all = weir_zalloc((size_t)(had + left + 1) * sizeof *all);
    for (int i = 0; i < had; i++) {
        all[i] = source->restored[source->restored_at + i];
        source->restored[source->restored_at + i] = (struct open_split){.begun = false};
    }
    for (int i = 0; i < left; i++)
        all[had + i].split = split_of(source->splits, source->split_row + i);
    free_restored(source);
    source->restored = all;
    source->restored_count = had + left;
    source->split_row = 0;
    source->splits = NULL;
    return WEIR_STEP_DONE;
}

static enum weir_step source_batch(struct weir_op *op, struct weir_op_ctx *ctx, int input, struct weir_batch *batch)
{
    struct source *source = (struct source *)op;
    (void)input;
    source->splits = batch;
    if (ctx->draining)
        return keep_splits(source);
    if (source->restored_count > 0) {
        enum weir_step step = read_restored(source, ctx);
        if (step != WEIR_STEP_DONE)
            return step;
    }
    while (source->split_row < batch->row_count) {
        if (!source->in_split) {
            struct weir_split split = split_of(batch, source->split_row);
            if (begin_split(source, ctx, &split))
                return WEIR_STEP_FAILED;
        }
        enum weir_step step = read_split(source, ctx);
        if (step != WEIR_STEP_DONE)
            return step;
        source->split_row++;
        if (!weir_source_has_room(ctx) && source->split_row < batch->row_count)
            return WEIR_STEP_AGAIN;
    }
    source->split_row = 0;
    source->splits = NULL;
    return WEIR_STEP_DONE;
}

static enum weir_step source_watermark(struct weir_op *op, struct weir_op_ctx *ctx, int64_t watermark_ms)
{
    struct source *source = (struct source *)op;
    enum weir_step step = source->restored_count > 0 && !ctx->draining ? read_restored(source, ctx) : WEIR_STEP_DONE;
    if (step == WEIR_STEP_DONE && watermark_ms == WEIR_WATERMARK_MAX)
        weir_source_align_end(source); /* no split follows */
    return step;
}

/* --- Checkpoints */

static void put_split(struct weir_buf *out, const struct weir_split *split, bool begun)
{
    weir_put_bytes(out, split->id, strlen(split->id));
    weir_put_i64(out, split->offset);
    weir_put_i64(out, split->size);
    weir_put_i64(out, split->remaining);
    weir_put_u8(out, begun);
}

/* Where the reader is, in the split that was begun or in all that it reads. */
static weir_err put_reading(struct source *source, const struct weir_snapshot *snapshot, struct weir_buf *out,
                            struct weir_error *error)
{
    const struct weir_connector *connector = source->carrier.connector;
    struct weir_read_bytes bytes = source->bytes;
    struct weir_buf position;
    weir_buf_init(&position, SIZE_MAX / 2);
    bytes.used = source->at;
    weir_err err = connector->reader_snapshot
                       ? connector->reader_snapshot(source->reader, source->has_bytes ? &bytes : NULL, &position, error)
                       : WEIR_OK;
    weir_put_i64(out, source->marker.max_ms);
    weir_put_u8(out, source->skipping);
    weir_put_bytes(out, position.data, position.size);
    if (!err && source->messages && position.size > 0)
        weir_source_messages_snapshot(source, snapshot, (const char *)position.data);
    weir_buf_fini(&position);
    return err;
}

static weir_err put_splits(struct source *source, const struct weir_snapshot *snapshot, struct weir_buf *out,
                           struct weir_error *error)
{
    int left = source->splits ? source->splits->row_count - source->split_row : 0;
    int restored = source->restored_count - source->restored_at;
    weir_put_u32(out, (uint32_t)(left + restored));
    weir_err err = WEIR_OK;
    for (int i = 0; i < restored && !err; i++) {
        const struct open_split *open = &source->restored[source->restored_at + i];
        bool now = i == 0 && source->in_split;
        struct weir_split split = open->split;
        if (now)
            split.id = source->split_id;
        put_split(out, &split, now || open->begun);
        if (now) {
            err = put_reading(source, snapshot, out, error);
        } else if (open->begun) {
            weir_put_i64(out, open->watermark_ms);
            weir_put_u8(out, open->skipping);
            weir_put_bytes(out, open->position, strlen(open->position));
        }
    }
    for (int i = 0; i < left && !err; i++) {
        bool now = i == 0 && restored == 0 && source->in_split;
        struct weir_split split = split_of(source->splits, source->split_row + i);
        put_split(out, &split, now);
        free((char *)(uintptr_t)split.id);
        if (now)
            err = put_reading(source, snapshot, out, error);
    }
    return err;
}

static weir_err source_snapshot(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_snapshot *snapshot,
                                struct weir_error *error)
{
    struct source *source = (struct source *)op;
    if (source->nothing)
        return WEIR_OK;
    if (snapshot->checkpoint != 0)
        warn_of_checkpoints(source, ctx);
    struct weir_buf out;
    weir_buf_init(&out, SIZE_MAX / 2);
    weir_put_u8(&out, STATE_VERSION);
    weir_err err;
    bool splits = source->carrier.connector->enumerate != NULL;
    if (splits) {
        err = put_splits(source, snapshot, &out, error);
    } else {
        weir_put_u32(&out, 1);
        put_split(&out, &(struct weir_split){.id = ""}, true);
        err = put_reading(source, snapshot, &out, error);
    }
    enum weir_state_kind kind = splits                                      ? WEIR_STATE_SPLIT
                                : source->carrier.connector->reader_rescale ? WEIR_STATE_UNION
                                                                            : WEIR_STATE_SUBTASK;
    if (!err)
        weir_snapshot_add(snapshot, ctx->plan->uid, STATE, kind, &out);
    weir_buf_fini(&out);
    return err ? weir_wrap(error, "%s", ctx->plan->name) : WEIR_OK;
}

/* `mine`: else it is another subtask's, and passed by. */
static void get_split(struct source *source, struct weir_part_reader *in, bool mine)
{
    size_t size;
    source->restored = weir_realloc(source->restored, (size_t)(source->restored_count + 1) * sizeof *source->restored);
    struct open_split *open = &source->restored[source->restored_count++];
    *open = (struct open_split){.begun = false};
    const uint8_t *id = weir_get_bytes(in, &size);
    open->split.id = weir_strndup((const char *)id, size);
    open->split.offset = weir_get_i64(in);
    open->split.size = weir_get_i64(in);
    open->split.remaining = weir_get_i64(in);
    open->begun = weir_get_u8(in) != 0;
    if (open->begun) {
        open->watermark_ms = weir_get_i64(in);
        open->skipping = weir_get_u8(in) != 0;
        const uint8_t *position = weir_get_bytes(in, &size);
        open->position = weir_strndup((const char *)position, size);
    }
    if (mine)
        return;
    free((char *)(uintptr_t)open->split.id);
    free(open->position);
    source->restored_count--;
}

/* A reader without splits goes on from here: where it was, or, with another parallelism, with its share of what all have left. */
static weir_err restore_reader(struct source *source, bool rescaled, struct weir_error *error)
{
    const struct weir_connector *connector = source->carrier.connector;
    const struct open_split *open = &source->restored[0];
    weir_err err = WEIR_OK;
    source->marker.max_ms = open->watermark_ms;
    if (!rescaled) {
        source->skipping = open->skipping;
        if (open->position && connector->reader_restore)
            err = connector->reader_restore(source->reader, open->position, error);
        return err;
    }
    if (!connector->reader_rescale)
        return weir_fail(error, WEIR_ERR_UNSUPPORTED, "connector '%s' cannot go on with another parallelism",
                         connector->name);
    const char **positions = weir_alloc((size_t)source->restored_count * sizeof *positions);
    for (int i = 0; i < source->restored_count; i++) {
        positions[i] = source->restored[i].position ? source->restored[i].position : "";
        if (source->restored[i].watermark_ms < source->marker.max_ms)
            source->marker.max_ms = source->restored[i].watermark_ms;
    }
    err = connector->reader_rescale(source->reader, positions, source->restored_count, error);
    free(positions);
    return err;
}

/* Splits are kept for batch(). */
static weir_err restore(struct source *source, struct weir_op_ctx *ctx, struct weir_error *error)
{
    const struct weir_connector *connector = source->carrier.connector;
    const struct weir_restored_part *part = NULL;
    int64_t number = 0;
    bool rescaled = false;
    while ((part = weir_restored_next(ctx->restored, ctx->plan->uid, STATE, part))) {
        struct weir_part_reader in = weir_part_read(part);
        in.bad |= weir_get_u8(&in) != STATE_VERSION;
        uint32_t count = weir_get_u32(&in);
        bool all = !connector->enumerate && part->parallelism != ctx->parallelism;
        rescaled |= all;
        for (uint32_t i = 0; i < count && !in.bad; i++)
            get_split(source, &in, all || weir_restored_is_mine(part, ctx->subtask, ctx->parallelism, number++));
        weir_err err = weir_part_read_end(&in, STATE, error);
        if (err)
            return err;
    }
    /* A watermark of one is no bound for the rows of those behind it. */
    for (int i = 0; i < source->restored_count; i++)
        if (source->restored[i].split.remaining < source->restored_count - 1 - i)
            source->restored[i].split.remaining = source->restored_count - 1 - i;
    if (connector->enumerate || source->restored_count == 0)
        return WEIR_OK;
    weir_err err = restore_reader(source, rescaled, error);
    free_restored(source);
    return err;
}

const struct weir_op_vtable weir_op_source = {
    .name = "source",
    .help = "Reads rows by a connector",
    .size = sizeof(struct source),
    .options = source_options,
    .is_source = true,
    .plan = source_plan,
    .open = source_open,
    .batch = source_batch,
    .watermark = source_watermark,
    .snapshot = source_snapshot,
    .produce = source_produce,
    .report = source_report,
    .close = source_close,
};
