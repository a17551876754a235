/* sink, of messages: a row becomes a value (columns by the format), a key, and what the broker is told of it.
 *
 * The key is a column ("metadata.COLUMN" = "key"), as it is, or some columns by a format of their own ("key.fields", "key.format"). A batch is
 * seen as two others that share its columns: the value's and the key's. Rows are encoded a few hundred at a time; those that the connector
 * has no room for are encoded again when it has.
 */
#include <stdlib.h>

#include "ops/dead_letter.h"
#include "ops/message_columns.h"
#include "ops/output_log.h"
#include "ops/sink_int.h"

#define MESSAGES_MAX 512

struct sink_messages {
    struct weir_message_columns columns;
    const struct weir_format *key_format; /* NULL: no key.fields */
    struct weir_encoder *key_encoder;
    struct weir_message_out out[MESSAGES_MAX];
    size_t value_at[MESSAGES_MAX], key_at[MESSAGES_MAX]; /* in sink->bytes, where out[] has sizes only */
    struct weir_buf headers; /* struct weir_message_header of all messages in turn, whose names are in `names` */
    struct weir_buf names;   /* each with the NUL that ends it */
    int row_of[MESSAGES_MAX];
    struct weir_dead_headers *dead; /* of each message; NULL: the rows are no dead letters */
    uint64_t key_encoded[(MESSAGES_MAX + 63) / 64];
};

/* --- Open, close */

static void fini(struct sink_messages *m)
{
    weir_message_columns_fini(&m->columns);
    weir_buf_fini(&m->headers);
    weir_buf_fini(&m->names);
    if (m->key_encoder)
        m->key_format->encoder_free(m->key_encoder);
    free(m->dead);
    free(m);
}

/* Rows of weir_bad(): the value is a column, and weir_dead_letter_headers() say the rest. */
static weir_err init_dead_letters(struct sink_messages *m, const struct weir_op_plan *plan, struct weir_error *error)
{
    struct weir_schema *schema = weir_dead_letter_schema();
    bool fits = weir_schema_equal(schema, plan->inputs[0]);
    if (fits) {
        weir_schema_unref(m->columns.value_schema);
        m->columns.value_schema = weir_schema_new(&schema->fields[WEIR_DEAD_VALUE], 1);
        m->columns.of_value[0] = WEIR_DEAD_VALUE;
    }
    weir_schema_unref(schema);
    if (!fits)
        return weir_fail(error, WEIR_ERR_INVALID, "'dead-letters' is for the rows of weir_bad(), as they are");
    m->dead = weir_zalloc(MESSAGES_MAX * sizeof *m->dead);
    return WEIR_OK;
}

static weir_err open_key(struct sink_messages *m, const struct weir_op_plan *plan,
                         const struct weir_op_carrier *carrier, struct weir_error *error)
{
    m->key_format = carrier->key_format;
    if (!m->key_format)
        return WEIR_OK;
    weir_err err = weir_op_encoder_new(plan, carrier, WEIR_PART_KEY, m->columns.key_schema, &m->key_encoder, error);
    return err ? weir_wrap(error, "'key.fields' by format '%s' ('key.format' says which)", m->key_format->name)
               : WEIR_OK;
}

static weir_err init(struct sink_messages *m, const struct weir_op_plan *plan, const struct weir_op_carrier *carrier,
                     struct weir_encoder **encoder, struct weir_error *error)
{
    weir_buf_init(&m->headers, WEIR_SINK_RECORD_SIZE_MAX);
    weir_buf_init(&m->names, WEIR_SINK_RECORD_SIZE_MAX);
    weir_err err = weir_message_columns_init(&m->columns, plan, plan->inputs[0], carrier->connector, true, error);
    bool dead = weir_options_get_int(plan->options, plan->option_count, weir_sink_options, "dead-letters");
    if (!err)
        err = dead ? init_dead_letters(m, plan, error) : open_key(m, plan, carrier, error);
    return err ? err : weir_op_encoder_new(plan, carrier, WEIR_PART_VALUE, m->columns.value_schema, encoder, error);
}

weir_err weir_sink_messages_check(const struct weir_op_plan *plan, const struct weir_op_carrier *carrier,
                                  struct weir_error *error)
{
    struct sink_messages *m = weir_zalloc(sizeof *m);
    struct weir_encoder *encoder = NULL;
    weir_err err = init(m, plan, carrier, &encoder, error);
    if (encoder)
        carrier->format->encoder_free(encoder);
    fini(m);
    return err;
}

weir_err weir_sink_messages_open(struct sink *sink, struct weir_op_ctx *ctx, struct weir_error *error)
{
    sink->messages = weir_zalloc(sizeof *sink->messages);
    return init(sink->messages, ctx->plan, &sink->carrier, &sink->encoder, error);
}

void weir_sink_messages_close(struct sink *sink)
{
    if (sink->messages)
        fini(sink->messages);
    sink->messages = NULL;
}

/* --- Rows */

static struct weir_batch *view(const struct weir_batch *batch, struct weir_schema *schema, const int *columns)
{
    struct weir_batch *view = weir_batch_new_shell(schema, batch->row_count);
    for (int i = 0; i < schema->field_count; i++)
        weir_column_share(&view->columns[i], &batch->columns[columns[i]]);
    return view;
}

/* Where headers and their names are is said when all messages' are there. */
static weir_err put_header(struct sink_messages *m, const void *name, size_t name_size,
                           const struct weir_message_header *header, struct weir_message_out *out,
                           struct weir_error *error)
{
    if (!weir_buf_append(&m->names, name, name_size) || !weir_buf_append(&m->names, "", 1) ||
        !weir_buf_append(&m->headers, header, sizeof *header))
        return weir_fail_record(error, WEIR_BAD_TOO_LARGE, "the headers are larger than %zu bytes",
                                WEIR_SINK_RECORD_SIZE_MAX);
    out->header_count++;
    return WEIR_OK;
}

/* Entries [at, end) of two columns become the message's headers. */
static weir_err put_headers(struct sink_messages *m, const struct weir_column *names, const struct weir_column *values,
                            int at, int end, const char *column, struct weir_message_out *out, struct weir_error *error)
{
    weir_err err = WEIR_OK;
    for (; at < end && !err; at++) {
        struct weir_message_header header = {.name = NULL};
        size_t name_size;
        const uint8_t *text = weir_column_bytes(names, at, &name_size);
        if (weir_column_is_null(names, at) || (name_size > 0 && memchr(text, 0, name_size)))
            return weir_fail_record(error, WEIR_BAD_METADATA, "column '%s': a header's name cannot be %s", column,
                                    weir_column_is_null(names, at) ? "NULL" : "one that has a NUL byte");
        if (!weir_column_is_null(values, at)) {
            header.value = weir_column_bytes(values, at, &header.value_size);
            header.value = header.value_size > 0 ? header.value : (const uint8_t *)""; /* empty is not none */
        }
        if ((err = put_header(m, text, name_size, &header, out, error)))
            return weir_wrap(error, "column '%s'", column);
    }
    return WEIR_OK;
}

/* The message that the row was, and what is known of it. */
static weir_err put_dead_letter(struct sink_messages *m, const struct weir_batch *batch, int row, int index,
                                struct weir_message_out *out, struct weir_error *error)
{
    const struct weir_column *key = &batch->columns[WEIR_DEAD_KEY], *list = &batch->columns[WEIR_DEAD_HEADERS];
    weir_err err = WEIR_OK;
    out->timestamp_ms = batch->columns[WEIR_DEAD_FAILED_AT].i64[row];
    if (!weir_column_is_null(key, row)) {
        out->key = weir_column_bytes(key, row, &out->key_size);
        out->key = out->key_size > 0 ? out->key : (const uint8_t *)"";
    }
    if (!weir_column_is_null(list, row)) {
        const struct weir_batch *pairs = list->child->columns[0].child;
        err = put_headers(m, &pairs->columns[0], &pairs->columns[1], list->offsets[row], list->offsets[row + 1],
                          "headers", out, error);
    }
    weir_dead_letter_headers(batch, row, &m->dead[index]);
    for (int i = 0; i < m->dead[index].count && !err; i++) {
        const struct weir_message_header *header = &m->dead[index].list[i];
        err = put_header(m, header->name, strlen(header->name), header, out, error);
    }
    return err;
}

/* Nothing is added any more, so nothing moves. */
static void say_where_headers_are(struct sink_messages *m, int count)
{
    struct weir_message_header *header = (struct weir_message_header *)(void *)m->headers.data;
    const char *name = (const char *)m->names.data;
    for (int i = 0; i < count; i++) {
        m->out[i].headers = m->out[i].header_count > 0 ? header : NULL;
        for (int h = 0; h < m->out[i].header_count; h++, header++) {
            header->name = name;
            name += strlen(name) + 1;
        }
    }
}

/* What the columns say of row `row`. The batch's bytes are valid longer than the message. */
static weir_err put_metadata(struct sink_messages *m, const struct weir_batch *batch, int row,
                             struct weir_message_out *out, struct weir_error *error)
{
    for (int i = 0; i < batch->schema->field_count; i++) {
        const struct weir_column *column = &batch->columns[i];
        if (m->columns.from[i].part != WEIR_PART_METADATA || weir_column_is_null(column, row))
            continue;
        int64_t number = 0;
        weir_err err = WEIR_OK;
        switch (m->columns.kinds[m->columns.from[i].at]) {
        case WEIR_META_TOPIC:
            out->topic = (const char *)weir_column_bytes(column, row, &out->topic_size);
            break;
        case WEIR_META_KEY:
            out->key = weir_column_bytes(column, row, &out->key_size);
            break;
        case WEIR_META_TIMESTAMP:
            out->timestamp_ms = column->i64[row];
            if (out->timestamp_ms < 0)
                return weir_fail_record(error, WEIR_BAD_METADATA,
                                        "column '%s' is a time before 1970, which no message can have",
                                        batch->schema->fields[i].name);
            break;
        case WEIR_META_PARTITION:
            number = column->type == WEIR_TYPE_INT32 ? column->i32[row] : column->i64[row];
            if (number < 0 || number > INT32_MAX)
                return weir_fail_record(error, WEIR_BAD_METADATA, "column '%s': there is no partition %lld",
                                        batch->schema->fields[i].name, (long long)number);
            out->partition = (int32_t)number;
            break;
        case WEIR_META_HEADERS:
            err = put_headers(m, &column->child->columns[0], &column->child->columns[1], column->offsets[row],
                              column->offsets[row + 1], batch->schema->fields[i].name, out, error);
            break;
        case WEIR_META_OFFSET:
            break;
        }
        if (err)
            return err;
    }
    return WEIR_OK;
}

/* Appends the row as one record, without the line's end. */
static weir_err encode(const struct weir_format *format, struct weir_encoder *encoder, const struct weir_batch *batch,
                       int row, struct weir_buf *bytes, size_t *at, size_t *size, struct weir_error *error)
{
    *at = bytes->size;
    weir_err err = format->encode(encoder, batch, row, bytes, error);
    if (err == WEIR_ERR_FULL)
        err = weir_fail_record(error, WEIR_BAD_TOO_LARGE, "a row is larger than %zu bytes as %s",
                               WEIR_SINK_RECORD_SIZE_MAX, format->name);
    if (err)
        return err;
    if (format->line_based && bytes->size > *at && bytes->data[bytes->size - 1] == '\n')
        bytes->size--;
    *size = bytes->size - *at;
    return WEIR_OK;
}

/* Row `row` as message `index`; on an error nothing was added. */
static weir_err add_message(struct sink *sink, const struct weir_batch *batch, const struct weir_batch *value,
                            const struct weir_batch *key, int row, int index, struct weir_error *error)
{
    struct sink_messages *m = sink->messages;
    struct weir_message_out *out = &m->out[index];
    size_t before = sink->bytes.size, headers_before = m->headers.size, names_before = m->names.size;
    *out = (struct weir_message_out){.timestamp_ms = INT64_MIN, .partition = -1};
    m->row_of[index] = row;
    weir_err err = encode(sink->carrier.format, sink->encoder, value, row, &sink->bytes, &m->value_at[index],
                          &out->value_size, error);
    if (!err && key)
        err = encode(m->key_format, m->key_encoder, key, row, &sink->bytes, &m->key_at[index], &out->key_size, error);
    if (!err && m->dead)
        err = put_dead_letter(m, batch, row, index, out, error);
    else if (!err && m->columns.metadata_schema)
        err = put_metadata(m, batch, row, out, error);
    weir_bit_put(m->key_encoded, index, key != NULL);
    if (err) {
        sink->bytes.size = before;
        m->headers.size = headers_before;
        m->names.size = names_before;
    }
    return err;
}

/* Encodes rows from *row on. */
static weir_err encode_some(struct sink *sink, struct weir_op_ctx *ctx, const struct weir_batch *batch,
                            const struct weir_batch *value, const struct weir_batch *key, int *row, int *count)
{
    struct sink_messages *m = sink->messages;
    *count = 0;
    weir_buf_clear(&sink->bytes);
    weir_buf_clear(&m->headers);
    weir_buf_clear(&m->names);
    for (; *row < batch->row_count && *count < MESSAGES_MAX && sink->bytes.size < WEIR_SINK_WRITE_SIZE; ++*row) {
        if (batch->change && batch->change[*row] != WEIR_INSERT)
            return weir_fail(&ctx->error, WEIR_ERR_UNSUPPORTED,
                             "the rows are updates, and connector '%s' with format '%s' only appends",
                             sink->carrier.connector->name, sink->carrier.format->name);
        weir_err err = add_message(sink, batch, value, key, *row, *count, &ctx->error);
        if (!err)
            ++*count;
        else if (err != WEIR_ERR_DATA || (err = weir_sink_bad_row(sink, ctx, batch, *row)) != WEIR_ERR_DATA ||
                 sink->on_error != WEIR_ON_ERROR_SKIP)
            return err;
    }
    for (int i = 0; i < *count; i++) { /* the bytes do not move any more */
        m->out[i].value = sink->bytes.data + m->value_at[i];
        if (weir_bit_get(m->key_encoded, i))
            m->out[i].key = sink->bytes.data + m->key_at[i];
    }
    say_where_headers_are(m, *count);
    return WEIR_OK;
}

static weir_err write_messages(struct sink *sink, struct weir_op_ctx *ctx, const struct weir_message_out *messages,
                               int32_t count, int32_t *used)
{
    if (!sink->log)
        return sink->carrier.connector->write_messages(sink->writer, messages, count, used, &ctx->error);
    for (*used = 0; *used < count; ++*used) {
        struct weir_message_out message = messages[*used];
        weir_err err = weir_sink_check_message(sink, &message, &ctx->error);
        if (err)
            return err;
        if (message.timestamp_ms == INT64_MIN)
            message.timestamp_ms = weir_op_now_ms(ctx);
        if (weir_output_log_append(sink->log, &message, &ctx->error))
            return weir_fail_record(&ctx->error, WEIR_BAD_TOO_LARGE, "a message of %zu bytes is too large",
                                    message.key_size + message.value_size);
        bool taken = true;
        if (sink->held)
            err = sink->carrier.connector->held->write(sink->held, &message, &taken, &ctx->error);
        if (err || !taken) { /* in both or in neither */
            weir_output_log_take_back(sink->log);
            return err;
        }
    }
    return WEIR_OK;
}

/* Gives all, or those that there is room for; the cursor is behind them. */
static weir_err give(struct sink *sink, struct weir_op_ctx *ctx, const struct weir_batch *batch, int count, int after)
{
    const struct sink_messages *m = sink->messages;
    for (int at = 0; at < count;) {
        int32_t used = 0;
        weir_err err = write_messages(sink, ctx, m->out + at, count - at, &used);
        at += used;
        if (err == WEIR_ERR_DATA) {
            err = weir_sink_bad_row(sink, ctx, batch, m->row_of[at]);
            if (sink->on_error != WEIR_ON_ERROR_SKIP)
                return err;
            at++;
        } else if (err) {
            return err;
        } else if (at < count) { /* no room */
            sink->row = m->row_of[at];
            return WEIR_OK;
        }
    }
    sink->row = after;
    return WEIR_OK;
}

enum weir_step weir_sink_messages_write(struct sink *sink, struct weir_op_ctx *ctx, const struct weir_batch *batch)
{
    const struct sink_messages *m = sink->messages;
    struct weir_batch *value = view(batch, m->columns.value_schema, m->columns.of_value);
    struct weir_batch *key = m->key_format ? view(batch, m->columns.key_schema, m->columns.of_key) : NULL;
    enum weir_step step = WEIR_STEP_DONE;
    while (step == WEIR_STEP_DONE && sink->row < batch->row_count) {
        int after = sink->row, count;
        if (weir_sink_is_busy(sink)) {
            step = WEIR_STEP_AGAIN;
        } else if (encode_some(sink, ctx, batch, value, key, &after, &count) || give(sink, ctx, batch, count, after)) {
            weir_wrap(&ctx->error, "%s", ctx->plan->name);
            step = WEIR_STEP_FAILED;
        } else if (sink->row < batch->row_count && weir_op_should_yield(ctx)) {
            step = WEIR_STEP_AGAIN;
        }
    }
    weir_batch_unref(value);
    weir_batch_unref(key);
    if (step == WEIR_STEP_DONE)
        sink->row = 0;
    return step;
}
