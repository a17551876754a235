/* source, of messages: records that come one by one, each from a lane (a partition) and with a position in it.
 *
 * Columns that "metadata.COLUMN" names are filled from the message, those of "key.fields" by the key's format, the others by the value's. They are
 * built as batches of the same rows, whose columns are put together when they are pushed: a decoder knows nothing of the others.
 *
 * The watermark is the least of the lanes' that have not ended and are not idle. A lane that never gave a row holds it back (until
 * watermark.idle-timeout): its first row may be early. A source without lanes is idle, but not before it knows that it has none.
 *
 * What was given and not used (the output is full) stays in hand; a snapshot's position is before it. Positions of the last checkpoints are
 * remembered until one of them is known to be complete; then the reader is told.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "data/value_code.h"
#include "format/simdjson_shim.h"
#include "ops/alignment.h"
#include "ops/message_columns.h"
#include "ops/source_int.h"
#include "state/snapshot.h"

#define TOLD_MAX 32 /* checkpoints whose completion has not been seen */

struct untold { /* the reader has not been told of it */
    uint64_t checkpoint;
    char *position;
};

struct source_messages {
    struct weir_read_messages read;
    struct weir_message_columns columns;
    struct weir_decoder *key_decoder;   /* NULL: no key.fields */
    struct weir_batch *keys, *metadata; /* being built beside source->rows, row by row */
    size_t metadata_bytes;              /* keys and headers in it */
    int32_t row_lane[WEIR_BATCH_ROWS_MAX];
    struct untold untold[TOLD_MAX];
    int untold_count;
    bool idle;
    bool resumed;                            /* a lane was, since messages were asked for */
    int64_t records, bytes;                  /* that were read */
    int64_t last_timestamp_ms, fetch_lag_ms; /* of the last message that has a time; INT64_MIN: none had */
};

/* --- Open, close */

static weir_err init(struct source_messages *m, const struct weir_op_plan *plan, struct weir_schema *schema,
                     const struct weir_op_carrier *carrier, struct weir_decoder **decoder, struct weir_error *error)
{
    weir_err err = weir_message_columns_init(&m->columns, plan, schema, carrier->connector, false, error);
    if (!err && m->columns.key_schema) {
        err = weir_op_decoder_new(plan, carrier, WEIR_PART_KEY, m->columns.key_schema, &m->key_decoder, error);
        if (err)
            weir_wrap(error, "'key.fields' by format '%s' ('key.format' says which)", carrier->key_format->name);
    }
    return err ? err : weir_op_decoder_new(plan, carrier, WEIR_PART_VALUE, m->columns.value_schema, decoder, error);
}

static void fini(struct source_messages *m, const struct weir_op_carrier *carrier)
{
    weir_message_columns_fini(&m->columns);
    if (m->key_decoder)
        carrier->key_format->decoder_free(m->key_decoder);
    weir_batch_unref(m->keys);
    weir_batch_unref(m->metadata);
    for (int i = 0; i < m->untold_count; i++)
        free(m->untold[i].position);
    free(m);
}

weir_err weir_source_messages_check(const struct weir_op_plan *plan, const struct weir_op_carrier *carrier,
                                    struct weir_error *error)
{
    struct source_messages *m = weir_zalloc(sizeof *m);
    struct weir_decoder *decoder = NULL;
    weir_err err = init(m, plan, plan->declared, carrier, &decoder, error);
    if (decoder)
        carrier->format->decoder_free(decoder);
    fini(m, carrier);
    return err;
}

weir_err weir_source_messages_open(struct source *source, struct weir_op_ctx *ctx, struct weir_error *error)
{
    struct source_messages *m = source->messages = weir_zalloc(sizeof *m);
    m->last_timestamp_ms = m->fetch_lag_ms = INT64_MIN;
    weir_err err = init(m, ctx->plan, source->schema, &source->carrier, &source->decoder, error);
    m->read.want_headers = source->on_error == WEIR_ON_ERROR_DEAD_LETTER;
    for (int i = 0; !err && m->columns.metadata_schema && i < m->columns.metadata_schema->field_count; i++)
        m->read.want_headers |= m->columns.kinds[i] == WEIR_META_HEADERS;
    return err;
}

void weir_source_messages_close(struct source *source)
{
    if (source->messages)
        fini(source->messages, &source->carrier);
    source->messages = NULL;
}

/* --- Watermarks */

/* The lowest and the highest watermark of those that count. False: none does. */
static bool active_lanes(const struct source_messages *m, int64_t *least, int64_t *most)
{
    bool any = m->read.unsettled != 0;
    *least = any ? WEIR_WATERMARK_MIN : INT64_MAX;
    *most = WEIR_WATERMARK_MIN;
    for (int i = 0; i < m->read.lane_count; i++) {
        const struct weir_lane *lane = &m->read.lanes[i];
        if (lane->ended || lane->idle)
            continue;
        any = true;
        *least = lane->watermark_ms < *least ? lane->watermark_ms : *least;
        *most = lane->watermark_ms > *most ? lane->watermark_ms : *most;
    }
    return any;
}

/* Lanes that are too far ahead of the alignment group are paused, others go on. */
static void align(struct source *source, struct weir_op_ctx *ctx)
{
    struct source_messages *m = source->messages;
    const struct weir_connector *connector = source->carrier.connector;
    int64_t least, most, paused_ms = INT64_MAX;
    if (!source->align.member)
        return;
    if (!active_lanes(m, &least, &most))
        least = WEIR_ALIGNED_FREE;
    if (!connector->reader_pause) {
        (void)weir_source_align_whole(source, ctx, least, most);
        return;
    }
    int64_t bound_ms = weir_source_align_say(source, least, most);
    for (int i = 0; i < m->read.lane_count; i++) {
        struct weir_lane *lane = &m->read.lanes[i];
        bool paused = !lane->ended && !lane->idle && lane->watermark_ms > bound_ms;
        if (paused != lane->paused) {
            lane->paused = paused;
            lane->last_row_ms = weir_op_now_ms(ctx); /* it was not idle */
            connector->reader_pause(source->reader, i, paused);
            m->resumed |= !paused;
        }
        if (paused && lane->watermark_ms < paused_ms)
            paused_ms = lane->watermark_ms;
    }
    weir_source_align_pause(source, ctx, paused_ms);
}

/* After a change of lanes or their watermarks: what may be said of all. */
static void say_watermark(struct source *source, struct weir_op_ctx *ctx)
{
    struct source_messages *m = source->messages;
    int64_t least, most;
    bool any = active_lanes(m, &least, &most);
    if (any && source->marker.expr && least > WEIR_WATERMARK_MIN) {
        weir_out_watermark(ctx->out, least);
        source->marker.max_ms = least;
    }
    if (any == m->idle) {
        m->idle = !any;
        weir_out_idle(ctx->out, m->idle);
    }
}

static weir_err mark_rows(struct source *source, struct weir_op_ctx *ctx, const struct weir_batch *batch)
{
    struct source_messages *m = source->messages;
    int64_t now_ms = weir_op_now_ms(ctx);
    struct weir_column times;
    memset(&times, 0, sizeof times);
    int bad_row = -1;
    weir_err err = source->marker.expr ? weir_expr_eval(source->marker.expr, batch, source->marker.scratch, &times,
                                                        &bad_row, &ctx->error)
                                       : WEIR_OK;
    if (err)
        return weir_op_row_error("watermark.expression", batch, bad_row, &ctx->error);
    for (int r = 0; r < batch->row_count; r++) {
        struct weir_lane *lane = &m->read.lanes[m->row_lane[r]];
        lane->last_row_ms = now_ms;
        lane->idle = false;
        if (source->marker.expr && !weir_column_is_null(&times, r) && times.i64[r] > lane->watermark_ms)
            lane->watermark_ms = times.i64[r] < WEIR_WATERMARK_MAX ? times.i64[r] : WEIR_WATERMARK_MAX - 1;
    }
    weir_column_fini(&times);
    return WEIR_OK;
}

int64_t weir_source_messages_quiet(struct source *source, struct weir_op_ctx *ctx)
{
    struct source_messages *m = source->messages;
    int64_t timeout_ms = source->marker.idle_timeout_ms, now_ms = weir_op_now_ms(ctx), next = INT64_MAX;
    for (int i = 0; i < m->read.lane_count && timeout_ms > 0; i++) {
        struct weir_lane *lane = &m->read.lanes[i];
        if (lane->idle || lane->ended || lane->paused)
            continue;
        if (lane->last_row_ms == 0 || source->align.paused)
            lane->last_row_ms = now_ms; /* it has just come */
        int64_t due = lane->last_row_ms + timeout_ms;
        lane->idle = now_ms >= due;
        if (!lane->idle && due < next)
            next = due;
    }
    say_watermark(source, ctx);
    align(source, ctx);
    return m->resumed ? now_ms : next;
}

/* --- Rows */

static void drop_parts(struct source_messages *m)
{
    weir_batch_unref(m->keys);
    weir_batch_unref(m->metadata);
    m->keys = m->metadata = NULL;
}

static struct weir_batch *put_together(struct source *source, struct weir_batch *take_values)
{
    struct source_messages *m = source->messages;
    if (!m->keys && !m->metadata)
        return take_values;
    const struct weir_batch *parts[] = {
        [WEIR_PART_VALUE] = take_values, [WEIR_PART_KEY] = m->keys, [WEIR_PART_METADATA] = m->metadata};
    struct weir_batch *batch = weir_batch_new_shell(source->schema, take_values->row_count);
    for (int i = 0; i < source->schema->field_count; i++)
        weir_column_share(&batch->columns[i], &parts[m->columns.from[i].part]->columns[m->columns.from[i].at]);
    weir_batch_unref(take_values);
    drop_parts(m);
    return batch;
}

static weir_err flush(struct source *source, struct weir_op_ctx *ctx)
{
    struct source_messages *m = source->messages;
    struct weir_batch *rows = source->rows;
    source->rows = NULL;
    weir_source_flush_dead(source, ctx);
    if (!rows || rows->row_count == 0) {
        weir_batch_unref(rows);
        drop_parts(m);
        return WEIR_OK;
    }
    struct weir_batch *batch = put_together(source, rows);
    if (mark_rows(source, ctx, batch)) {
        weir_batch_unref(batch);
        return weir_wrap(&ctx->error, "%s", ctx->plan->name);
    }
    weir_out_push(ctx->out, batch);
    source->last_row_ms = weir_op_now_ms(ctx);
    if (m->last_timestamp_ms != INT64_MIN)
        weir_op_number_set(ctx->numbers, WEIR_OP_EMIT_EVENT_TIME_LAG, source->last_row_ms - m->last_timestamp_ms);
    say_watermark(source, ctx);
    align(source, ctx);
    return WEIR_OK;
}

/* Of headers with the same name the last one stays. */
static void put_headers(struct weir_column *column, int row, const struct weir_message *message)
{
    weir_column_list_begin(column, row);
    for (int i = 0; i < message->header_count; i++) {
        const struct weir_message_header *header = &message->headers[i];
        int at = weir_column_element(column);
        weir_column_set_bytes(&column->child->columns[0], at, header->name, strlen(header->name));
        if (header->value)
            weir_column_set_bytes(&column->child->columns[1], at, header->value, header->value_size);
        else
            weir_column_set_null(&column->child->columns[1], at, column->child->row_capacity);
        weir_column_element_done(column);
    }
    weir_column_list_end(column, row);
    weir_map_unique(column, row);
}

static void put_metadata(struct source_messages *m, const struct weir_message *message)
{
    struct weir_batch *batch = m->metadata;
    const struct weir_lane *lane = &m->read.lanes[message->lane];
    int row = batch->row_count++;
    m->metadata_bytes += message->key_size;
    for (int i = 0; i < message->header_count; i++)
        m->metadata_bytes += sizeof(int64_t) + message->headers[i].value_size;
    for (int i = 0; i < m->columns.metadata_schema->field_count; i++) {
        struct weir_column *column = &batch->columns[i];
        int width = weir_type_width(column->type);
        bool none = false;
        switch (m->columns.kinds[i]) {
        case WEIR_META_TOPIC:
            weir_column_set_bytes(column, row, lane->topic, strlen(lane->topic));
            break;
        case WEIR_META_PARTITION:
            weir_column_set_int(column, row, width, lane->partition);
            break;
        case WEIR_META_OFFSET:
            weir_column_set_int(column, row, width, message->position);
            break;
        case WEIR_META_TIMESTAMP:
            none = message->timestamp_ms == INT64_MIN;
            if (!none)
                weir_column_set_int(column, row, width, message->timestamp_ms);
            break;
        case WEIR_META_KEY:
            none = !message->key;
            if (!none)
                weir_column_set_bytes(column, row, message->key, message->key_size);
            break;
        case WEIR_META_HEADERS:
            put_headers(column, row, message);
            break;
        }
        if (none)
            weir_column_set_null(column, row, batch->row_capacity);
    }
}

static weir_err check_headers(const struct weir_field *field, const struct weir_message *message,
                              struct weir_error *error)
{
    const struct weir_type *value = &field->type.fields->fields[1].type;
    for (int i = 0; i < message->header_count; i++) {
        const struct weir_message_header *header = &message->headers[i];
        if (!weir_utf8_valid((const uint8_t *)header->name, strlen(header->name)))
            return weir_fail_record(error, WEIR_BAD_METADATA, "column '%s': the name of a header is not valid UTF-8",
                                    field->name);
        if (!header->value && !value->nullable)
            return weir_fail_record(error, WEIR_BAD_METADATA,
                                    "column '%s' has values that are NOT NULL, and header '%.100s' has none",
                                    field->name, header->name);
        if (header->value && value->id == WEIR_TYPE_STRING && !weir_utf8_valid(header->value, header->value_size))
            return weir_fail_record(
                error, WEIR_BAD_METADATA,
                "column '%s': header '%.100s' is not valid UTF-8: declare the column as MAP<STRING, BYTES>",
                field->name, header->name);
    }
    return WEIR_OK;
}

/* What a column that is NOT NULL or text cannot hold. */
static weir_err check_metadata(const struct source_messages *m, const struct weir_message *message,
                               struct weir_error *error)
{
    for (int i = 0; m->columns.metadata_schema && i < m->columns.metadata_schema->field_count; i++) {
        const struct weir_field *field = &m->columns.metadata_schema->fields[i];
        bool none = (m->columns.kinds[i] == WEIR_META_KEY && !message->key) ||
                    (m->columns.kinds[i] == WEIR_META_TIMESTAMP && message->timestamp_ms == INT64_MIN);
        if (none && !field->type.nullable)
            return weir_fail_record(error, WEIR_BAD_METADATA, "column '%s' is NOT NULL, and the message has no %s",
                                    field->name, weir_metadata_names[m->columns.kinds[i]]);
        if (m->columns.kinds[i] == WEIR_META_KEY && field->type.id == WEIR_TYPE_STRING && message->key &&
            !weir_utf8_valid(message->key, message->key_size))
            return weir_fail_record(
                error, WEIR_BAD_METADATA,
                "column '%s' is a STRING, and the message's key is not valid UTF-8: declare it as BYTES", field->name);
        if (m->columns.kinds[i] == WEIR_META_HEADERS && check_headers(field, message, error))
            return error->code;
    }
    return WEIR_OK;
}

/* The next row of the key's columns; NULL in all of them where the message has no key. */
static weir_err take_key(const struct source *source, const struct weir_message *message, struct weir_error *error)
{
    struct source_messages *m = source->messages;
    if (message->key) {
        weir_err err =
            source->carrier.key_format->decode(m->key_decoder, message->key, message->key_size, false, m->keys, error);
        if (err == WEIR_ERR_DATA && error->reason != WEIR_BAD_SCHEMA)
            error->reason = WEIR_BAD_METADATA;
        return err ? weir_wrap(error, "the message's key") : WEIR_OK;
    }
    for (int i = 0; i < m->keys->schema->field_count; i++)
        if (!m->keys->schema->fields[i].type.nullable)
            return weir_fail_record(error, WEIR_BAD_METADATA,
                                    "column '%s' of the key is NOT NULL, and the message has no key",
                                    m->keys->schema->fields[i].name);
    for (int i = 0; i < m->keys->schema->field_count; i++)
        weir_column_set_null(&m->keys->columns[i], m->keys->row_count, m->keys->row_capacity);
    m->keys->row_count++;
    return WEIR_OK;
}

static weir_err take(struct source *source, struct weir_op_ctx *ctx, const struct weir_message *message)
{
    struct source_messages *m = source->messages;
    weir_assert(message->lane >= 0 && message->lane < m->read.lane_count);
    m->records++;
    m->bytes += (int64_t)(message->key_size + message->value_size);
    if (message->timestamp_ms != INT64_MIN)
        m->last_timestamp_ms = message->timestamp_ms;
    if (!message->value)
        return WEIR_OK;
    weir_err err = WEIR_OK;
    if (message->value_size > source->record_size_max)
        err = weir_fail_record(&ctx->error, WEIR_BAD_TOO_LARGE, "it is longer than record.size-max, %zu bytes",
                               source->record_size_max);
    if (!err)
        err = check_metadata(m, message, &ctx->error);
    int row = source->rows->row_count;
    if (!err && m->keys)
        err = take_key(source, message, &ctx->error);
    if (!err)
        err = source->carrier.format->decode(source->decoder, message->value, message->value_size, true, source->rows,
                                             &ctx->error);
    if (!err) {
        m->row_lane[row] = message->lane;
        if (m->metadata)
            put_metadata(m, message);
        return WEIR_OK;
    }
    if (err != WEIR_ERR_DATA)
        return err;
    if (m->keys && m->keys->row_count > row) { /* the value was bad behind a good key */
        m->keys->row_count--;
        weir_batch_undo_row(m->keys);
    }
    const struct weir_lane *lane = &m->read.lanes[message->lane];
    char position[400];
    snprintf(position, sizeof position, "%.300s, partition %d, offset %" PRId64, lane->topic, lane->partition,
             message->position);
    struct weir_dead_letter letter = {.value = message->value,
                                      .value_size = message->value_size,
                                      .full_size = (int64_t)message->value_size,
                                      .position = position,
                                      .key = message->key,
                                      .key_size = message->key_size,
                                      .headers = message->headers,
                                      .header_count = message->header_count,
                                      .topic = lane->topic,
                                      .partition = lane->partition,
                                      .offset = message->position,
                                      .timestamp_ms = message->timestamp_ms};
    return weir_source_bad_record(source, ctx, &letter);
}

/* Until a batch is full or no message is left. */
static weir_err decode(struct source *source, struct weir_op_ctx *ctx)
{
    struct source_messages *m = source->messages;
    if (!source->rows) {
        source->rows = weir_batch_new(m->columns.value_schema, WEIR_BATCH_ROWS_DEFAULT);
        if (m->columns.key_schema)
            m->keys = weir_batch_new(m->columns.key_schema, WEIR_BATCH_ROWS_DEFAULT);
        if (m->columns.metadata_schema)
            m->metadata = weir_batch_new(m->columns.metadata_schema, WEIR_BATCH_ROWS_DEFAULT);
        m->metadata_bytes = 0;
    }
    weir_err err = WEIR_OK;
    while (!err && m->read.used < m->read.count) {
        if (source->rows->row_count == source->rows->row_capacity || weir_source_dead_is_full(source) ||
            m->metadata_bytes > WEIR_BATCH_BYTES_SOFT_MAX ||
            ((m->read.used & 63) == 0 &&
             weir_batch_bytes(source->rows) + (m->keys ? weir_batch_bytes(m->keys) : 0) > WEIR_BATCH_BYTES_SOFT_MAX))
            return flush(source, ctx);
        err = take(source, ctx, &m->read.messages[m->read.used++]);
    }
    return err;
}

enum weir_read weir_source_messages_read(struct source *source, struct weir_op_ctx *ctx, int64_t *wait_until_ms,
                                         bool *progress)
{
    struct source_messages *m = source->messages;
    align(source, ctx);
    if (source->align.paused)
        return weir_source_align_wait(ctx, wait_until_ms);
    while (weir_source_has_room(ctx) && !source->align.paused) {
        if (m->read.used == m->read.count) {
            m->resumed = false;
            enum weir_read read = source->carrier.connector->read_messages(source->reader, &source->connector_ctx,
                                                                           &m->read, wait_until_ms, &ctx->error);
            if (read == WEIR_READ_FAILED) {
                weir_wrap(&ctx->error, "%s", ctx->plan->name);
                return read;
            }
            if (read != WEIR_READ_DATA) {
                m->read.count = m->read.used = 0;
                return flush(source, ctx) ? WEIR_READ_FAILED : read;
            }
            m->read.used = 0;
            int64_t last_ms = m->read.messages[m->read.count - 1].timestamp_ms;
            if (last_ms != INT64_MIN)
                m->fetch_lag_ms = weir_op_now_ms(ctx) - last_ms;
        }
        *progress = true;
        if (decode(source, ctx))
            return WEIR_READ_FAILED;
        if (weir_op_should_yield(ctx))
            break;
    }
    return flush(source, ctx) ? WEIR_READ_FAILED : WEIR_READ_DATA;
}

/* --- Numbers */

static void report_lanes(struct source_messages *m, struct weir_op_numbers *numbers)
{
    struct weir_op_lane *shown = weir_alloc(WEIR_OP_LANES_SHOWN_MAX * sizeof *shown);
    int64_t pending = 0, lag_max = 0;
    bool known = m->read.lane_count == 0;
    for (int i = 0; i < m->read.lane_count; i++) {
        const struct weir_lane *lane = &m->read.lanes[i];
        int64_t lag = lane->ended ? 0 : lane->end < 0 ? -1 : lane->end > lane->next ? lane->end - lane->next : 0;
        if (lag >= 0) {
            known = true;
            pending += lag;
            lag_max = lag > lag_max ? lag : lag_max;
        }
        if (i >= WEIR_OP_LANES_SHOWN_MAX)
            continue;
        shown[i] = (struct weir_op_lane){
            .partition = lane->partition, .next = lane->next, .committed = lane->committed, .lag = lag};
        snprintf(shown[i].topic, sizeof shown[i].topic, "%s", lane->topic);
    }
    weir_op_lanes_set(numbers, shown, m->read.lane_count);
    free(shown);
    if (!known)
        return;
    weir_op_number_set(numbers, WEIR_OP_PENDING_RECORDS, pending);
    weir_op_number_set(numbers, WEIR_OP_RECORDS_LAG_MAX, lag_max);
}

/* Of its own lanes the one that the group waits for, if it is one. */
static void report_alignment(struct source *source, struct weir_op_ctx *ctx)
{
    const struct source_messages *m = source->messages;
    char holder[300];
    bool known = false;
    for (int i = 0; i < m->read.lane_count && !known; i++) {
        const struct weir_lane *lane = &m->read.lanes[i];
        known = !lane->ended && !lane->idle && lane->watermark_ms == source->align.group_ms;
        if (known)
            snprintf(holder, sizeof holder, "topic %.250s, partition %d", lane->topic, lane->partition);
    }
    weir_source_align_report(source, ctx, known ? holder : NULL);
}

void weir_source_messages_report(struct source *source, struct weir_op_ctx *ctx)
{
    struct source_messages *m = source->messages;
    if (source->carrier.connector->reader_report)
        source->carrier.connector->reader_report(source->reader, &source->connector_ctx);
    weir_op_number_set(ctx->numbers, WEIR_OP_RECORDS_CONSUMED, m->records);
    weir_op_number_set(ctx->numbers, WEIR_OP_BYTES_CONSUMED, m->bytes);
    if (m->fetch_lag_ms != INT64_MIN)
        weir_op_number_set(ctx->numbers, WEIR_OP_FETCH_EVENT_TIME_LAG, m->fetch_lag_ms);
    report_lanes(m, ctx->numbers);
    report_alignment(source, ctx);
}

/* --- Checkpoints */

static void drop_untold(struct source_messages *m, int count)
{
    for (int i = 0; i < count; i++)
        free(m->untold[i].position);
    m->untold_count -= count;
    memmove(m->untold, m->untold + count, (size_t)m->untold_count * sizeof *m->untold);
}

void weir_source_messages_snapshot(struct source *source, const struct weir_snapshot *snapshot, const char *position)
{
    struct source_messages *m = source->messages;
    const struct weir_connector *connector = source->carrier.connector;
    if (!connector->reader_complete)
        return;
    int done = 0;
    while (done < m->untold_count && m->untold[done].checkpoint <= snapshot->complete)
        done++;
    if (done > 0)
        connector->reader_complete(source->reader, m->untold[done - 1].position);
    drop_untold(m, done);
    if (snapshot->checkpoint == 0)
        return;
    if (m->untold_count == TOLD_MAX)
        drop_untold(m, 1);
    m->untold[m->untold_count++] = (struct untold){snapshot->checkpoint, weir_strdup(position)};
}
