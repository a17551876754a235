#include "ops/dead_letter.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"

#define TEXT_SIZE ((size_t)64 << 10) /* of a record that is shown as text; its bytes are there, too */

struct weir_schema *weir_dead_letter_schema(void)
{
    struct weir_schema *schema = NULL;
    weir_err err = weir_schema_parse(
        "record STRING NOT NULL, error STRING NOT NULL, position STRING NOT NULL, code STRING NOT NULL, "
        "`value` BYTES NOT NULL, value_size BIGINT, `key` BYTES, headers ARRAY<ROW<name STRING NOT NULL, `value` BYTES>>, "
        "topic STRING, `partition` INT, `offset` BIGINT, `timestamp` TIMESTAMP_LTZ(3), path STRING, "
        "failed_at TIMESTAMP_LTZ(3) NOT NULL, job_id STRING NOT NULL, job_name STRING NOT NULL, "
        "operator_id STRING NOT NULL, operator_name STRING NOT NULL",
        &schema, NULL);
    weir_assert(!err && schema->field_count == WEIR_DEAD_COLUMNS);
    return schema;
}

/* --- Text */

/* How many bytes from `s` are one valid UTF-8 sequence; 0: none. */
static size_t utf8_sequence(const uint8_t *s, size_t size)
{
    if (s[0] < 0x80)
        return 1;
    size_t n = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    if (s[0] < 0xC2 || s[0] > 0xF4 || n > size)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] >= 0xA0) || (s[0] == 0xF0 && s[1] < 0x90) ||
        (s[0] == 0xF4 && s[1] >= 0x90))
        return 0;
    return n;
}

void weir_dead_letter_text(struct weir_buf *out, const uint8_t *bytes, size_t size)
{
    bool ok = weir_buf_reserve(out, size * 4);
    for (size_t i = 0; ok && i < size;) {
        size_t n = utf8_sequence(bytes + i, size - i);
        ok = n ? weir_buf_append(out, bytes + i, n) : weir_buf_printf(out, "\\x%02X", bytes[i]);
        i += n ? n : 1;
    }
    weir_assert(ok);
}

/* --- Rows */

static void set_text(struct weir_batch *batch, enum weir_dead_column column, const char *text)
{
    int row = batch->row_count;
    if (text)
        weir_column_set_bytes(&batch->columns[column], row, text, strlen(text));
    else
        weir_column_set_null(&batch->columns[column], row, batch->row_capacity);
}

static void set_number(struct weir_batch *batch, enum weir_dead_column at, bool is_there, int64_t number)
{
    struct weir_column *column = &batch->columns[at];
    if (is_there)
        weir_column_set_int(column, batch->row_count, weir_type_width(column->type), number);
    else
        weir_column_set_null(column, batch->row_count, batch->row_capacity);
}

static void set_headers(struct weir_batch *batch, const struct weir_dead_letter *letter)
{
    struct weir_column *column = &batch->columns[WEIR_DEAD_HEADERS];
    if (letter->header_count < 0) {
        weir_column_set_null(column, batch->row_count, batch->row_capacity);
        return;
    }
    weir_column_list_begin(column, batch->row_count);
    for (int i = 0; i < letter->header_count; i++) {
        const struct weir_message_header *header = &letter->headers[i];
        int at = weir_column_element(column);
        struct weir_column *element = &column->child->columns[0];
        weir_column_row_begin(element, at);
        struct weir_batch *fields = element->child;
        struct weir_buf name; /* a header's name should be UTF-8, and nobody checks */
        weir_buf_init(&name, SIZE_MAX / 2);
        weir_dead_letter_text(&name, (const uint8_t *)header->name, strlen(header->name));
        weir_column_set_bytes(&fields->columns[0], at, name.data, name.size);
        weir_buf_fini(&name);
        if (header->value)
            weir_column_set_bytes(&fields->columns[1], at, header->value, header->value_size);
        else
            weir_column_set_null(&fields->columns[1], at, fields->row_capacity);
        weir_column_row_end(element, at);
        weir_column_element_done(column);
    }
    weir_column_list_end(column, batch->row_count);
}

void weir_dead_letter_put(struct weir_batch *batch, struct weir_op_ctx *ctx, const struct weir_dead_letter *letter,
                          size_t size_max)
{
    const struct weir_op_plan *plan = ctx->plan;
    bool cut = letter->full_size < 0 || letter->value_size > size_max;
    size_t kept = cut && letter->value_size > WEIR_DEAD_CUT_SIZE ? WEIR_DEAD_CUT_SIZE : letter->value_size;
    bool is_message = letter->topic != NULL;
    struct weir_buf text;
    weir_buf_init(&text, SIZE_MAX / 2);
    weir_dead_letter_text(&text, letter->value, kept < TEXT_SIZE ? kept : TEXT_SIZE);
    weir_column_set_bytes(&batch->columns[WEIR_DEAD_RECORD], batch->row_count, text.data, text.size);
    weir_buf_fini(&text);
    set_text(batch, WEIR_DEAD_ERROR, ctx->error.message);
    set_text(batch, WEIR_DEAD_POSITION, letter->position);
    set_text(batch, WEIR_DEAD_CODE, weir_bad_name(ctx->error.reason));
    weir_column_set_bytes(&batch->columns[WEIR_DEAD_VALUE], batch->row_count, letter->value, kept);
    set_number(batch, WEIR_DEAD_VALUE_SIZE, letter->full_size >= 0, letter->full_size);
    if (letter->key)
        weir_column_set_bytes(&batch->columns[WEIR_DEAD_KEY], batch->row_count, letter->key, letter->key_size);
    else
        set_text(batch, WEIR_DEAD_KEY, NULL);
    set_headers(batch, letter);
    set_text(batch, WEIR_DEAD_TOPIC, letter->topic);
    set_number(batch, WEIR_DEAD_PARTITION, is_message, letter->partition);
    set_number(batch, WEIR_DEAD_OFFSET, is_message || letter->path, letter->offset);
    set_number(batch, WEIR_DEAD_TIMESTAMP, letter->timestamp_ms != INT64_MIN, letter->timestamp_ms);
    set_text(batch, WEIR_DEAD_PATH, letter->path);
    set_number(batch, WEIR_DEAD_FAILED_AT, true, weir_op_now_ms(ctx));
    set_text(batch, WEIR_DEAD_JOB_ID, ctx->job_id ? ctx->job_id : "");
    set_text(batch, WEIR_DEAD_JOB_NAME, ctx->job_name ? ctx->job_name : "");
    set_text(batch, WEIR_DEAD_OPERATOR_ID, plan->uid ? plan->uid : "");
    set_text(batch, WEIR_DEAD_OPERATOR_NAME, plan->name);
    batch->row_count++;
}

/* --- As a message */

static const struct {
    const char *name;
    enum weir_dead_column column;
} weir_headers[] = {
    {"weir.error.code", WEIR_DEAD_CODE},
    {"weir.error.text", WEIR_DEAD_ERROR},
    {"weir.failed-at", WEIR_DEAD_FAILED_AT},
    {"weir.job.id", WEIR_DEAD_JOB_ID},
    {"weir.job.name", WEIR_DEAD_JOB_NAME},
    {"weir.operator.id", WEIR_DEAD_OPERATOR_ID},
    {"weir.operator.name", WEIR_DEAD_OPERATOR_NAME},
    {"weir.position", WEIR_DEAD_POSITION},
    {"weir.topic", WEIR_DEAD_TOPIC},
    {"weir.partition", WEIR_DEAD_PARTITION},
    {"weir.offset", WEIR_DEAD_OFFSET},
    {"weir.timestamp", WEIR_DEAD_TIMESTAMP},
    {"weir.path", WEIR_DEAD_PATH},
    {"weir.value-size", WEIR_DEAD_VALUE_SIZE},
    {"weir.headers", WEIR_DEAD_HEADERS},
};

void weir_dead_letter_headers(const struct weir_batch *batch, int row, struct weir_dead_headers *headers)
{
    _Static_assert(sizeof weir_headers / sizeof *weir_headers == WEIR_DEAD_HEADERS_MAX, "each has room");
    headers->count = 0;
    for (int i = 0; i < WEIR_DEAD_HEADERS_MAX; i++) {
        const struct weir_column *column = &batch->columns[weir_headers[i].column];
        if (weir_column_is_null(column, row))
            continue;
        char *number = headers->numbers[headers->count];
        struct weir_message_header *header = &headers->list[headers->count++];
        header->name = weir_headers[i].name;
        if (column->type == WEIR_TYPE_STRING) {
            header->value = weir_column_bytes(column, row, &header->value_size);
            continue;
        }
        int64_t value = column->type == WEIR_TYPE_ARRAY   ? column->offsets[row + 1] - column->offsets[row]
                        : column->type == WEIR_TYPE_INT32 ? column->i32[row]
                                                          : column->i64[row];
        header->value_size = (size_t)snprintf(number, sizeof headers->numbers[0], "%" PRId64, value);
        header->value = (const uint8_t *)number;
    }
}
