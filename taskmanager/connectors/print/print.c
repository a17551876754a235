/* print: rows on standard output (or error), for people.
 *
 * Without a format a row is as Flink prints it, +I[gpu-1, 71.5, null]; with one (json, csv) it is that record. A prefix stands before
 * each line: "ALERT> ", with the subtask's number where there are several. Every batch is written at once, so nothing is
 * kept back; one lock per process keeps the lines of different subtasks whole.
 */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "connectors/connectors_int.h"
#include "data/decimal.h"
#include "data/time_text.h"

#define OUTPUT_SIZE_MAX ((size_t)256 << 20)

struct weir_writer {
    struct weir_schema *schema;
    char *prefix; /* "" or "ALERT:2> " */
    int fd;
    struct weir_buf text;
};

static pthread_mutex_t output_lock = PTHREAD_MUTEX_INITIALIZER;

static const struct weir_option sink_options[] = {
    {"prefix", WEIR_OPTION_STRING, "", NULL, "Stands before each line"},
    {"standard-error", WEIR_OPTION_BOOL, "false", NULL, "Print to standard error instead of standard output"},
    {0},
};

static weir_err writer_open(struct weir_connector_ctx *ctx, const struct weir_key_value *options, int option_count,
                            struct weir_writer **out, struct weir_error *error)
{
    (void)error;
    struct weir_writer *writer = weir_zalloc(sizeof *writer);
    const char *prefix = weir_options_get(options, option_count, sink_options, "prefix");
    prefix = prefix ? prefix : "";
    if (ctx->parallelism > 1)
        writer->prefix = weir_format("%s%s%d> ", prefix, prefix[0] ? ":" : "", ctx->subtask + 1);
    else
        writer->prefix = weir_format("%s%s", prefix, prefix[0] ? "> " : "");
    writer->schema = weir_schema_ref(ctx->schema);
    writer->fd = weir_options_get_int(options, option_count, sink_options, "standard-error") ? 2 : 1;
    weir_buf_init(&writer->text, OUTPUT_SIZE_MAX);
    *out = writer;
    return 0;
}

static weir_err write_all(struct weir_writer *writer, const uint8_t *bytes, size_t size, struct weir_error *error)
{
    weir_err err = 0;
    fflush(writer->fd == 1 ? stdout : stderr);
    pthread_mutex_lock(&output_lock);
    while (size > 0 && !err) {
        ssize_t n = write(writer->fd, bytes, size);
        if (n >= 0) {
            bytes += n;
            size -= (size_t)n;
        } else if (errno != EINTR) {
            err = weir_fail_errno(error, WEIR_ERR_IO, "cannot print to standard %s",
                                  writer->fd == 1 ? "output" : "error");
        }
    }
    pthread_mutex_unlock(&output_lock);
    return err;
}

static weir_err full(struct weir_error *error)
{
    return weir_fail(error, WEIR_ERR_FULL, "print: one batch has more than %zu bytes as text", OUTPUT_SIZE_MAX);
}

static weir_err write_bytes(struct weir_writer *writer, const uint8_t *bytes, size_t size, int row_count,
                            struct weir_error *error)
{
    (void)row_count;
    if (!writer->prefix[0])
        return write_all(writer, bytes, size, error);
    weir_buf_clear(&writer->text);
    while (size > 0) {
        const uint8_t *newline = memchr(bytes, '\n', size);
        size_t line = newline ? (size_t)(newline - bytes) + 1 : size;
        if (!weir_buf_puts(&writer->text, writer->prefix) || !weir_buf_append(&writer->text, bytes, line))
            return full(error);
        bytes += line;
        size -= line;
    }
    return write_all(writer, writer->text.data, writer->text.size, error);
}

/* --- A row as Flink prints it (Java's string forms) */

/* Shortest digits that read back the same, as Double.toString() writes them: 1.0, 1.0E10, NaN, Infinity. */
static bool put_double(struct weir_buf *out, double value, bool single)
{
    if (isnan(value))
        return weir_buf_puts(out, "NaN");
    if (isinf(value))
        return weir_buf_puts(out, value > 0 ? "Infinity" : "-Infinity");
    char text[48];
    int digits = 1, digits_max = single ? 9 : 17;
    for (; digits <= digits_max; digits++) {
        snprintf(text, sizeof text, "%.*e", digits - 1, value);
        if (single ? strtof(text, NULL) == (float)value : strtod(text, NULL) == value)
            break;
    }
    int exponent = atoi(strchr(text, 'e') + 1);
    if (value == 0 || (exponent >= -3 && exponent < 7)) {
        int decimals = digits - 1 - exponent;
        return weir_buf_printf(out, "%.*f", decimals > 1 ? decimals : 1, value);
    }
    char mantissa[48];
    snprintf(mantissa, sizeof mantissa, "%.*s", (int)(strchr(text, 'e') - text), text);
    return weir_buf_printf(out, "%s%sE%d", mantissa, strchr(mantissa, '.') ? "" : ".0", exponent);
}

/* LocalDateTime.toString(): seconds and their fraction only where they are not 0. */
static bool put_timestamp(struct weir_buf *out, int64_t ms)
{
    char text[32];
    size_t size = weir_timestamp_print_sql(ms, 3, text);
    if (size == 23) {
        text[10] = 'T';
        if (memcmp(text + 19, ".000", 4) == 0)
            size = memcmp(text + 16, ":00", 3) == 0 ? 16 : 19;
    }
    return weir_buf_append(out, text, size);
}

static bool put_nested(struct weir_buf *out, const struct weir_column *column, int row);

static bool put_value(struct weir_buf *out, const struct weir_column *column, const struct weir_type *type, int row)
{
    char text[WEIR_DECIMAL_TEXT_SIZE];
    const uint8_t *bytes;
    size_t size;
    if (weir_column_is_null(column, row))
        return weir_buf_puts(out, "null");
    switch (column->type) {
    case WEIR_TYPE_BOOLEAN:
        return weir_buf_puts(out, weir_bit_get(column->bits, row) ? "true" : "false");
    case WEIR_TYPE_INT8:
        return weir_buf_printf(out, "%d", column->i8[row]);
    case WEIR_TYPE_INT16:
        return weir_buf_printf(out, "%d", column->i16[row]);
    case WEIR_TYPE_INT32:
        return weir_buf_printf(out, "%d", column->i32[row]);
    case WEIR_TYPE_INT64:
        return weir_buf_printf(out, "%lld", (long long)column->i64[row]);
    case WEIR_TYPE_FLOAT:
        return put_double(out, (double)column->f32[row], true);
    case WEIR_TYPE_DOUBLE:
        return put_double(out, column->f64[row], false);
    case WEIR_TYPE_DATE:
        return weir_buf_append(out, text, weir_date_print(column->i32[row], text));
    case WEIR_TYPE_TIME:
        return weir_buf_append(out, text, weir_time_print(column->i32[row], 0, text));
    case WEIR_TYPE_TIMESTAMP:
        return put_timestamp(out, column->i64[row]);
    case WEIR_TYPE_STRING:
        bytes = weir_column_bytes(column, row, &size);
        return weir_buf_append(out, bytes, size);
    case WEIR_TYPE_BYTES: {
        bytes = weir_column_bytes(column, row, &size);
        bool ok = weir_buf_puts(out, "[");
        for (size_t i = 0; ok && i < size; i++)
            ok = weir_buf_printf(out, "%s%d", i ? ", " : "", (int)(int8_t)bytes[i]);
        return ok && weir_buf_puts(out, "]");
    }
    case WEIR_TYPE_TIMESTAMP_LTZ:
        return weir_buf_append(out, text, weir_timestamp_print_iso(column->i64[row], text));
    case WEIR_TYPE_DECIMAL:
        return weir_buf_append(out, text,
                               weir_decimal_print(weir_decimal_get(column->decimals[row]), type->scale, text));
    default:
        return put_nested(out, column, row);
    }
}

/* As Java prints them: [1, 2], {a=1}, +I[1, x]. */
static bool put_nested(struct weir_buf *out, const struct weir_column *column, int row)
{
    const struct weir_batch *child = column->child;
    bool list = weir_type_is_list(column->type), map = column->type == WEIR_TYPE_MAP;
    int first = list ? column->offsets[row] : row, last = list ? column->offsets[row + 1] : row + 1;
    bool ok = weir_buf_puts(out, map ? "{" : list ? "[" : "+I[");
    for (int i = first; ok && i < last; i++) {
        for (int field = 0; ok && field < child->schema->field_count; field++)
            ok = ((i == first && field == 0) || weir_buf_puts(out, map && field == 1 ? "=" : ", ")) &&
                 put_value(out, &child->columns[field], &child->schema->fields[field].type, i);
    }
    return ok && weir_buf_puts(out, map ? "}" : "]");
}

static weir_err write_batch(struct weir_writer *writer, const struct weir_batch *batch, struct weir_error *error)
{
    static const char *const kinds[] = {"+I[", "-U[", "+U[", "-D["};
    struct weir_buf *text = &writer->text;
    bool ok = true;
    weir_buf_clear(text);
    for (int r = 0; ok && r < batch->row_count; r++) {
        ok =
            weir_buf_puts(text, writer->prefix) && weir_buf_puts(text, kinds[batch->change ? batch->change[r] & 3 : 0]);
        for (int c = 0; ok && c < batch->schema->field_count; c++)
            ok = (c == 0 || weir_buf_puts(text, ", ")) &&
                 put_value(text, &batch->columns[c], &batch->schema->fields[c].type, r);
        ok = ok && weir_buf_puts(text, "]\n");
    }
    return ok ? write_all(writer, text->data, text->size, error) : full(error);
}

static void writer_close(struct weir_writer *writer)
{
    weir_schema_unref(writer->schema);
    weir_buf_fini(&writer->text);
    free(writer->prefix);
    free(writer);
}

static const struct weir_connector_rows rows_interface = {.write_batch = write_batch};

const struct weir_connector weir_connector_print = {
    .size = sizeof(struct weir_connector),
    .name = "print",
    .help = "Prints rows on standard output",
    .sink_options = sink_options,
    .writer_open = writer_open,
    .write = write_bytes,
    .writer_close = writer_close,
    .rows = &rows_interface,
};
