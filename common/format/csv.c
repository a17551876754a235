/* The CSV format: RFC 4180, columns by position.
 *
 * Data path of sources and sinks, on the task's thread; a decoder or encoder belongs to one task.
 * Reading: a field is plain text, or quoted from its first character to its last, a doubled quote inside standing for one.
 * A record has exactly the schema's columns. A plain field that equals csv.null-literal is NULL (a quoted one is the text);
 * without the option an empty plain field of any type but STRING and BYTES is NULL. Plain fields of other types than
 * STRING and BYTES may have spaces around them. BYTES is base64, the rest is as in JSON (json_decode.c); ARRAY, MAP and ROW
 * have no form here. Bad is also: a quote that
 * is not closed, text behind a closing quote, invalid UTF-8. Empty lines are no records.
 * A line end inside quotes is only read with csv.multiline: then a file can be read from its beginning alone, not from a
 * split in its middle.
 * Without csv.null-literal a NULL of STRING or BYTES is written as an empty field, which reads back as an empty value.
 * csv.header: lines whose fields are exactly the column names are skipped, wherever they stand: a split needs not know
 * whether it begins the file, and files that were put together are read right.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "data/decimal.h"
#include "data/time_text.h"
#include "format/format.h"
#include "format/simdjson_shim.h"
#include "format/text_int.h"

#define RECORD_SIZE_MAX ((size_t)256 << 20)

static const struct weir_option csv_options[] = {
    {"csv.field-delimiter", WEIR_OPTION_STRING, ",", NULL, "one character between fields; \\t is a tab"},
    {"csv.quote-character", WEIR_OPTION_STRING, "\"", NULL, "one character around fields that need it"},
    {"csv.null-literal", WEIR_OPTION_STRING, "", NULL,
     "plain field that stands for NULL; without it an empty one does, except for STRING and BYTES"},
    {"csv.header", WEIR_OPTION_BOOL, "false", NULL, "skip lines that hold the column names (reading only)"},
    {"csv.multiline", WEIR_OPTION_BOOL, "false", NULL, "quoted fields may hold line ends (files are then not split)"},
    {NULL, 0, NULL, NULL, NULL},
};

struct csv_dialect {
    uint8_t delimiter;
    uint8_t quote;
    const char *null_literal; /* "" : none; owned */
    size_t null_size;
    bool header;
    bool multiline;
};

struct weir_decoder {
    struct weir_schema *schema;
    struct csv_dialect dialect;
    struct weir_timestamp_cache timestamps;
    uint8_t *text; /* an unquoted field */
    size_t text_size;
};

struct weir_encoder {
    struct weir_schema *schema;
    struct csv_dialect dialect;
};

static weir_err one_character(const char *name, const char *text, uint8_t *character, struct weir_error *error)
{
    if (strcmp(text, "\\t") == 0)
        text = "\t";
    if (strlen(text) != 1 || (unsigned char)*text >= 0x80 || *text == '\n' || *text == '\r')
        return weir_fail(error, WEIR_ERR_INVALID, "option '%s' takes one ASCII character, not '%.40s'", name, text);
    *character = (uint8_t)*text;
    return WEIR_OK;
}

static weir_err dialect_init(struct csv_dialect *dialect, const struct weir_key_value *options, int option_count,
                             struct weir_error *error)
{
    memset(dialect, 0, sizeof *dialect);
    weir_err err = one_character("csv.field-delimiter",
                                 weir_options_get(options, option_count, csv_options, "csv.field-delimiter"),
                                 &dialect->delimiter, error);
    if (!err)
        err = one_character("csv.quote-character",
                            weir_options_get(options, option_count, csv_options, "csv.quote-character"),
                            &dialect->quote, error);
    if (!err && dialect->delimiter == dialect->quote)
        err = weir_fail(error, WEIR_ERR_INVALID, "csv.field-delimiter and csv.quote-character must differ");
    if (err)
        return err;
    const char *null_literal = weir_options_get(options, option_count, csv_options, "csv.null-literal");
    dialect->null_literal = weir_strdup(null_literal ? null_literal : "");
    dialect->null_size = strlen(dialect->null_literal);
    dialect->header = weir_options_get_int(options, option_count, csv_options, "csv.header") != 0;
    dialect->multiline = weir_options_get_int(options, option_count, csv_options, "csv.multiline") != 0;
    return WEIR_OK;
}

static void dialect_fini(struct csv_dialect *dialect)
{
    free((char *)(uintptr_t)dialect->null_literal);
}

/* --- Reading */

static weir_err check_types(const struct weir_schema *schema, struct weir_error *error)
{
    char type[64];
    for (int i = 0; i < schema->field_count; i++) {
        if (weir_type_is_nested(schema->fields[i].type.id))
            return weir_fail(
                error, WEIR_ERR_INVALID,
                "csv: column '%s' is %s, which a field of a CSV record cannot hold; use json, or select what is "
                "in it as columns of its own",
                schema->fields[i].name, weir_type_print(&schema->fields[i].type, type));
    }
    return WEIR_OK;
}

static weir_err csv_decoder_new(struct weir_schema *schema, const struct weir_key_value *options, int option_count,
                                struct weir_decoder **decoder, struct weir_error *error)
{
    if (schema->field_count == 0)
        return weir_fail(error, WEIR_ERR_INVALID, "csv: a schema without columns cannot be read");
    weir_err err = check_types(schema, error);
    if (err)
        return err;
    struct weir_decoder *created = weir_zalloc(sizeof *created);
    err = dialect_init(&created->dialect, options, option_count, error);
    if (err) {
        free(created);
        return err;
    }
    created->schema = weir_schema_ref(schema);
    *decoder = created;
    return WEIR_OK;
}

static void csv_decoder_free(struct weir_decoder *decoder)
{
    if (!decoder)
        return;
    dialect_fini(&decoder->dialect);
    weir_schema_unref(decoder->schema);
    free(decoder->text);
    free(decoder);
}

struct csv_field {
    const uint8_t *text; /* without quotes */
    size_t size;
    bool quoted;
};

/* The field at *at, which ends before `end` or at a delimiter; *at moves behind its delimiter, or to NULL at the end of the
 * record. False: broken. */
static bool take_field(struct weir_decoder *decoder, const uint8_t **at, const uint8_t *end, struct csv_field *field)
{
    const uint8_t *p = *at;
    uint8_t delimiter = decoder->dialect.delimiter, quote = decoder->dialect.quote;
    if (p == end || *p != quote) {
        const uint8_t *stop = p < end ? memchr(p, delimiter, (size_t)(end - p)) : NULL;
        *field = (struct csv_field){.text = p, .size = (size_t)((stop ? stop : end) - p)};
        *at = stop ? stop + 1 : NULL;
        return true;
    }
    const uint8_t *start = ++p;
    uint8_t *copy = NULL; /* only where quotes are doubled */
    size_t size = 0;
    for (;;) {
        const uint8_t *stop = p < end ? memchr(p, quote, (size_t)(end - p)) : NULL;
        if (!stop)
            return false;
        bool doubled = stop + 1 < end && stop[1] == quote;
        if (doubled && !copy) {
            size_t most = (size_t)(end - start);
            if (decoder->text_size < most) {
                free(decoder->text);
                decoder->text = weir_alloc(most);
                decoder->text_size = most;
            }
            copy = decoder->text;
        }
        if (copy) {
            size_t part = (size_t)(stop - p) + doubled;
            memcpy(copy + size, p, part);
            size += part;
        }
        p = stop + 1 + doubled;
        if (!doubled) {
            *field = (struct csv_field){
                .text = copy ? copy : start, .size = copy ? size : (size_t)(stop - start), .quoted = true};
            break;
        }
    }
    if (p < end && *p != delimiter)
        return false;
    *at = p < end ? p + 1 : NULL;
    return true;
}

static bool is_null(const struct csv_dialect *dialect, const struct csv_field *field, enum weir_type_id type)
{
    if (field->quoted)
        return false;
    if (dialect->null_size > 0)
        return field->size == dialect->null_size && memcmp(field->text, dialect->null_literal, field->size) == 0;
    return field->size == 0 && !weir_type_is_variable(type);
}

static bool equals_ignoring_case(const struct csv_field *field, const char *word)
{
    return field->size == strlen(word) && strncasecmp((const char *)field->text, word, field->size) == 0;
}

/* -?digits within [-limit - 1, limit]. */
static bool parse_int(const struct csv_field *field, int64_t limit, int64_t *value)
{
    bool negative = field->size > 0 && field->text[0] == '-';
    size_t i = negative;
    uint64_t number = 0, most = (uint64_t)limit + negative;
    if (i == field->size)
        return false;
    for (; i < field->size; i++) {
        unsigned digit = (unsigned)field->text[i] - '0';
        if (digit > 9 || number > (most - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    *value = (int64_t)(negative ? 0 - number : number);
    return true;
}

/* A number as JSON writes it, or NaN, Infinity, -Infinity. */
static bool parse_double(const struct csv_field *field, bool narrow, double *value)
{
    const char *text = (const char *)field->text;
    size_t digits = 0;
    for (size_t i = 0; i < field->size; i++) {
        if (!strchr("+-.eE0123456789", text[i]) || text[i] == '\0')
            digits = field->size + 1; /* another character */
        digits += text[i] >= '0' && text[i] <= '9';
    }
    if (digits > 0 && digits <= field->size) {
        float value_f;
        bool ok = narrow ? weir_float_parse(text, field->size, &value_f) : weir_double_parse(text, field->size, value);
        if (ok && narrow)
            *value = (double)value_f;
        return ok;
    }
    *value = equals_ignoring_case(field, "NaN")         ? NAN
             : equals_ignoring_case(field, "Infinity")  ? INFINITY
             : equals_ignoring_case(field, "-Infinity") ? -INFINITY
                                                        : 0;
    return *value != 0;
}

static bool store_int(struct weir_column *to, int row, const struct csv_field *field)
{
    static const int64_t limits[9] = {[1] = INT8_MAX, [2] = INT16_MAX, [4] = INT32_MAX, [8] = INT64_MAX};
    int64_t value;
    int width = weir_type_width(to->type);
    if (!parse_int(field, limits[width], &value))
        return false;
    weir_column_set_int(to, row, width, value);
    return true;
}

static bool store_timestamp(struct weir_decoder *decoder, struct weir_column *to, int row,
                            const struct csv_field *field, int precision)
{
    int64_t ms;
    if (!weir_timestamp_parse_cached(&decoder->timestamps, (const char *)field->text, field->size, &ms) &&
        (!parse_int(field, INT64_MAX, &ms) || ms < WEIR_TIMESTAMP_MIN_MS || ms > WEIR_TIMESTAMP_MAX_MS))
        return false;
    to->i64[row] = weir_ms_cut(ms, precision);
    return true;
}

static bool store(struct weir_decoder *decoder, struct weir_column *to, int row, const struct weir_type *type,
                  struct csv_field *field)
{
    double value;
    const char *text;
    if (!weir_type_is_variable(type->id) && !field->quoted) {
        for (; field->size > 0 && field->text[0] == ' '; field->size--)
            field->text++;
        while (field->size > 0 && field->text[field->size - 1] == ' ')
            field->size--;
    }
    text = (const char *)field->text;
    switch (type->id) {
    case WEIR_TYPE_BOOLEAN:
        if (!equals_ignoring_case(field, "true") && !equals_ignoring_case(field, "false"))
            return false;
        weir_bit_put(to->bits, row, field->size == 4);
        return true;
    case WEIR_TYPE_FLOAT:
    case WEIR_TYPE_DOUBLE:
        if (!parse_double(field, type->id == WEIR_TYPE_FLOAT, &value))
            return false;
        if (type->id == WEIR_TYPE_FLOAT)
            to->f32[row] = (float)value;
        else
            to->f64[row] = value;
        return true;
    case WEIR_TYPE_STRING:
        weir_column_set_bytes(to, row, field->text, field->size);
        return true;
    case WEIR_TYPE_BYTES: {
        uint8_t *bytes = weir_column_reserve_bytes(to, row, field->size / 4 * 3);
        size_t size;
        if (!weir_base64_decode(field->text, field->size, bytes, &size))
            return false;
        to->offsets[row + 1] = to->offsets[row] + (int32_t)size;
        return true;
    }
    case WEIR_TYPE_DATE:
        return weir_date_parse(text, field->size, &to->i32[row]);
    case WEIR_TYPE_TIME:
        if (!weir_time_parse(text, field->size, &to->i32[row]))
            return false;
        to->i32[row] = (int32_t)weir_ms_cut(to->i32[row], type->precision);
        return true;
    case WEIR_TYPE_TIMESTAMP:
    case WEIR_TYPE_TIMESTAMP_LTZ:
        return store_timestamp(decoder, to, row, field, type->precision);
    case WEIR_TYPE_DECIMAL: {
        weir_int128 number;
        if (weir_decimal_parse(text, field->size, type->precision, type->scale, &number) != WEIR_DECIMAL_EXACT)
            return false;
        to->decimals[row] = weir_decimal_make(number);
        return true;
    }
    default:
        return store_int(to, row, field);
    }
}

static bool is_header(struct weir_decoder *decoder, const uint8_t *bytes, const uint8_t *end)
{
    const uint8_t *at = bytes;
    for (int i = 0; i < decoder->schema->field_count; i++) {
        struct csv_field field;
        const char *name = decoder->schema->fields[i].name;
        if (!at || !take_field(decoder, &at, end, &field) || field.size != strlen(name) ||
            memcmp(field.text, name, field.size) != 0)
            return false;
    }
    return at == NULL;
}

/* One record without its line end. A header adds no row and is WEIR_OK. */
static weir_err take_record(struct weir_decoder *decoder, const uint8_t *bytes, const uint8_t *end,
                            struct weir_batch *batch, struct weir_error *error)
{
    const struct weir_schema *schema = decoder->schema;
    const uint8_t *at = bytes;
    int row = batch->row_count;
    char type[64];
    if ((size_t)(end - bytes) > RECORD_SIZE_MAX)
        return weir_fail_record(error, WEIR_BAD_MALFORMED, "csv: the record is longer than 256 MiB");
    if (decoder->dialect.header && is_header(decoder, bytes, end))
        return WEIR_OK;
    if (!weir_utf8_valid(bytes, (size_t)(end - bytes)))
        return weir_fail_record(error, WEIR_BAD_MALFORMED, "csv: the record is not valid UTF-8");
    for (int i = 0; i < schema->field_count; i++) {
        const struct weir_field *column = &schema->fields[i];
        struct csv_field field;
        if (!at)
            return weir_fail_record(error, WEIR_BAD_MALFORMED,
                                    "csv: the record has %d of %d fields; column '%s' is missing", i,
                                    schema->field_count, column->name);
        if (!take_field(decoder, &at, end, &field))
            return weir_fail_record(error, WEIR_BAD_MALFORMED,
                                    "csv: column '%s' has a quote that is not closed, or text behind its closing quote",
                                    column->name);
        if (is_null(&decoder->dialect, &field, column->type.id)) {
            if (!column->type.nullable)
                return weir_fail_record(error, WEIR_BAD_VALUE, "csv: column '%s' (%s) is empty or NULL", column->name,
                                        weir_type_print(&column->type, type));
            weir_column_set_null(&batch->columns[i], row, batch->row_capacity);
        } else if (!store(decoder, &batch->columns[i], row, &column->type, &field)) {
            return weir_fail_record(error, WEIR_BAD_VALUE, "csv: column '%s' cannot take its field as %s", column->name,
                                    weir_type_print(&column->type, type));
        }
    }
    if (at)
        return weir_fail_record(error, WEIR_BAD_MALFORMED, "csv: the record has more than %d fields",
                                schema->field_count);
    batch->row_count = row + 1;
    return WEIR_OK;
}

static const uint8_t *without_line_end(const uint8_t *bytes, const uint8_t *end)
{
    if (end > bytes && end[-1] == '\n')
        end--;
    if (end > bytes && end[-1] == '\r')
        end--;
    return end;
}

static weir_err csv_decode(struct weir_decoder *decoder, const uint8_t *bytes, size_t size, bool padded,
                           struct weir_batch *batch, struct weir_error *error)
{
    (void)padded;
    weir_err err = take_record(decoder, bytes, without_line_end(bytes, bytes + size), batch, error);
    if (err)
        weir_batch_undo_row(batch);
    return err;
}

/* Behind the line end of the record at `from`, or NULL: it is not there. */
static const uint8_t *record_end(const struct weir_decoder *decoder, const uint8_t *from, const uint8_t *end)
{
    const uint8_t *newline = memchr(from, '\n', (size_t)(end - from));
    if (!decoder->dialect.multiline || !newline)
        return newline ? newline + 1 : NULL;
    /* Line ends count outside of quotes only; a quote opens a field only at its begin. */
    uint8_t delimiter = decoder->dialect.delimiter, quote = decoder->dialect.quote;
    bool quoted = false, begin = true;
    for (const uint8_t *p = from; p < end; p++) {
        if (quoted) {
            if (*p == quote && p + 1 < end && p[1] == quote)
                p++;
            else if (*p == quote)
                quoted = false;
            continue;
        }
        if (*p == '\n')
            return p + 1;
        quoted = begin && *p == quote;
        begin = *p == delimiter;
    }
    return NULL;
}

static weir_err csv_decode_lines(struct weir_decoder *decoder, const uint8_t *bytes, size_t size, bool last,
                                 struct weir_batch *batch, size_t *used, size_t *bad_at, size_t *bad_size,
                                 struct weir_error *error)
{
    const uint8_t *at = bytes, *end = bytes + size;
    weir_err err = WEIR_OK;
    size_t strings = weir_batch_bytes(batch);
    while (at < end && batch->row_count < batch->row_capacity && !err &&
           (at == bytes || strings <= WEIR_BATCH_BYTES_SOFT_MAX)) {
        const uint8_t *next = record_end(decoder, at, end);
        if (!next && !last)
            break;
        if (!next)
            next = end;
        const uint8_t *stop = without_line_end(at, next);
        if (stop > at) {
            err = take_record(decoder, at, stop, batch, error);
            strings += (size_t)(stop - at);
        }
        if (err) {
            weir_batch_undo_row(batch);
            *bad_at = (size_t)(at - bytes);
            *bad_size = (size_t)(stop - at);
        }
        at = next;
    }
    *used = (size_t)(at - bytes);
    return err;
}

/* --- Writing */

static void csv_encoder_free(struct weir_encoder *encoder)
{
    if (!encoder)
        return;
    dialect_fini(&encoder->dialect);
    weir_schema_unref(encoder->schema);
    free(encoder);
}

static weir_err csv_encoder_new(struct weir_schema *schema, const struct weir_key_value *options, int option_count,
                                struct weir_encoder **encoder, struct weir_error *error)
{
    weir_err err = check_types(schema, error);
    if (err)
        return err;
    struct weir_encoder *created = weir_zalloc(sizeof *created);
    err = dialect_init(&created->dialect, options, option_count, error);
    if (err) {
        free(created);
        return err;
    }
    if (schema->field_count == 1 && schema->fields[0].type.nullable && created->dialect.null_size == 0) {
        csv_encoder_free(created);
        return weir_fail(error, WEIR_ERR_INVALID,
                         "csv: a NULL in the only column would be an empty line, which is no record; "
                         "set csv.null-literal or make the column NOT NULL");
    }
    created->schema = weir_schema_ref(schema);
    *encoder = created;
    return WEIR_OK;
}

/* Quoted where it must be: the dialect's characters, line ends, outer spaces, what would read as NULL, an only empty field. */
static bool put_string(struct weir_buf *out, const struct csv_dialect *dialect, const uint8_t *bytes, size_t size,
                       bool alone)
{
    struct csv_field plain = {.text = bytes, .size = size};
    bool quote = is_null(dialect, &plain, WEIR_TYPE_STRING) || (size == 0 && alone);
    for (size_t i = 0; i < size && !quote; i++)
        quote = bytes[i] == dialect->delimiter || bytes[i] == dialect->quote || bytes[i] == '\n' || bytes[i] == '\r';
    if (size > 0 && (bytes[0] == ' ' || bytes[size - 1] == ' '))
        quote = true;
    if (!quote)
        return weir_buf_append(out, bytes, size);
    bool ok = weir_buf_append(out, &dialect->quote, 1);
    while (size > 0 && ok) {
        const uint8_t *inner = memchr(bytes, dialect->quote, size);
        size_t part = inner ? (size_t)(inner - bytes) + 1 : size;
        ok = weir_buf_append(out, bytes, part) && (!inner || weir_buf_append(out, &dialect->quote, 1));
        bytes += part;
        size -= part;
    }
    return ok && weir_buf_append(out, &dialect->quote, 1);
}

static bool put_double(struct weir_buf *out, double value, bool narrow)
{
    char text[32];
    if (!isfinite(value))
        return weir_buf_puts(out, isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");
    size_t size = narrow ? weir_float_print((float)value, text) : weir_double_print(value, text);
    return weir_buf_append(out, text, size);
}

static bool put_value(struct weir_buf *out, const struct weir_encoder *encoder, const struct weir_column *column,
                      const struct weir_type *type, int row)
{
    char text[WEIR_DECIMAL_TEXT_SIZE];
    size_t size;
    const uint8_t *bytes;
    switch (type->id) {
    case WEIR_TYPE_BOOLEAN:
        return weir_buf_puts(out, weir_bit_get(column->bits, row) ? "true" : "false");
    case WEIR_TYPE_INT8:
        return weir_buf_printf(out, "%d", column->i8[row]);
    case WEIR_TYPE_INT16:
        return weir_buf_printf(out, "%d", column->i16[row]);
    case WEIR_TYPE_INT32:
        return weir_buf_printf(out, "%d", (int)column->i32[row]);
    case WEIR_TYPE_INT64:
        return weir_buf_printf(out, "%lld", (long long)column->i64[row]);
    case WEIR_TYPE_FLOAT:
        return put_double(out, (double)column->f32[row], true);
    case WEIR_TYPE_DOUBLE:
        return put_double(out, column->f64[row], false);
    case WEIR_TYPE_STRING:
        bytes = weir_column_bytes(column, row, &size);
        return put_string(out, &encoder->dialect, bytes, size, encoder->schema->field_count == 1);
    case WEIR_TYPE_BYTES:
        bytes = weir_column_bytes(column, row, &size);
        if (size == 0)
            return put_string(out, &encoder->dialect, bytes, 0, true);
        if (!weir_buf_reserve(out, (size + 2) / 3 * 4))
            return false;
        out->size += weir_base64_encode(bytes, size, (char *)out->data + out->size);
        out->data[out->size] = 0;
        return true;
    case WEIR_TYPE_DATE:
        size = weir_date_print(column->i32[row], text);
        break;
    case WEIR_TYPE_TIME:
        size = weir_time_print(column->i32[row], type->precision, text);
        break;
    case WEIR_TYPE_DECIMAL:
        size = weir_decimal_print(weir_decimal_get(column->decimals[row]), type->scale, text);
        break;
    default:
        weir_assert(type->id == WEIR_TYPE_TIMESTAMP || type->id == WEIR_TYPE_TIMESTAMP_LTZ);
        size = weir_timestamp_print_sql(column->i64[row], type->precision, text);
        if (type->id == WEIR_TYPE_TIMESTAMP_LTZ)
            text[size++] = 'Z';
    }
    return weir_buf_append(out, text, size);
}

static weir_err csv_encode(struct weir_encoder *encoder, const struct weir_batch *batch, int row, struct weir_buf *out,
                           struct weir_error *error)
{
    size_t before = out->size;
    bool ok = true;
    for (int i = 0; i < encoder->schema->field_count && ok; i++) {
        const struct weir_column *column = &batch->columns[i];
        if (i > 0)
            ok = weir_buf_append(out, &encoder->dialect.delimiter, 1);
        if (ok && weir_column_is_null(column, row))
            ok = weir_buf_append(out, encoder->dialect.null_literal, encoder->dialect.null_size);
        else if (ok)
            ok = put_value(out, encoder, column, &encoder->schema->fields[i].type, row);
    }
    if (ok && weir_buf_puts(out, "\n"))
        return WEIR_OK;
    out->size = before;
    if (out->data)
        out->data[before] = 0;
    return weir_fail(error, WEIR_ERR_FULL, "csv: a record does not fit the output buffer (%zu of %zu)", before,
                     out->max);
}

extern const struct weir_format weir_format_csv;
const struct weir_format weir_format_csv = {
    .name = "csv",
    .help = "comma-separated values (RFC 4180), columns by position",
    .options = csv_options,
    .line_based = true,
    .decoder_new = csv_decoder_new,
    .decode = csv_decode,
    .decoder_free = csv_decoder_free,
    .encoder_new = csv_encoder_new,
    .encode = csv_encode,
    .encoder_free = csv_encoder_free,
    .decode_lines = csv_decode_lines,
};
