/* The JSON format: its options, and rows as JSON lines.
 *
 * Data path of sinks: encode() runs once per row on the sink's task thread. An encoder belongs to one task.
 * What is written: one object per line, members in the schema's order. BOOLEAN, integers and numbers as such, numbers in
 * the shortest form that reads back the same; NaN and infinities, which JSON lacks, as the strings "NaN", "Infinity",
 * "-Infinity" (as Jackson does; the decoder takes them back); STRING escaped as little as RFC 8259 asks; BYTES as base64;
 * DATE "2013-01-01", TIME "06:00:00", TIMESTAMP "2013-01-01T06:00:00Z" (with .123 where there are ms) or in SQL's form,
 * TIMESTAMP_LTZ the same, with its Z in SQL's form too; DECIMAL as a number with all its digits, never an exponent; ARRAY
 * as an array, ROW as an object, MAP (whose keys are text) as one.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "data/decimal.h"
#include "data/time_text.h"
#include "format/json_int.h"
#include "format/simdjson_shim.h"
#include "format/text_int.h"

const struct weir_option weir_json_options[] = {
    {"json.timestamp-format.standard", WEIR_OPTION_ENUM, "ISO-8601", "ISO-8601|SQL",
     "how TIMESTAMP is written: 2013-01-01T06:00:00Z or 2013-01-01 06:00:00.000; reading takes both, and epoch ms"},
    {"json.fail-on-missing-field", WEIR_OPTION_BOOL, "false", NULL,
     "a record without a nullable column's field is bad, instead of NULL"},
    {"json.schema", WEIR_OPTION_FILE, "", NULL,
     "a JSON Schema that records are checked by when they are read: a path, read where the job is built, or the text itself ({...})"},
    {"json.encode.ignore-null-fields", WEIR_OPTION_BOOL, "false", NULL, "leave out members that are NULL"},
    {NULL, 0, NULL, NULL, NULL},
};

weir_err weir_json_check_type(const char *column, const struct weir_type *type, struct weir_error *error)
{
    char text[64];
    if (type->id == WEIR_TYPE_MAP && type->fields->fields[0].type.id != WEIR_TYPE_STRING)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "json: column '%s' has a %s: the names of a JSON object are text, so that the keys of a MAP "
                         "must be STRING",
                         column, weir_type_print(type, text));
    for (int i = 0; type->fields && i < type->fields->field_count; i++) {
        weir_err err = weir_json_check_type(column, &type->fields->fields[i].type, error);
        if (err)
            return err;
    }
    return WEIR_OK;
}

struct key_text {
    char *text; /* "name": with its comma before it, but for the first */
    size_t size;
};

struct weir_encoder {
    struct weir_schema *schema;
    bool sql_timestamps;
    bool ignore_nulls;
    struct key_text *keys; /* schema->field_count */
    size_t fixed_max;      /* most bytes of a row without its STRING and BYTES values */
};

/* The most a fixed-width value takes as text. */
#define VALUE_TEXT_MAX 48
/* One byte becomes at most \u0000. */
#define ESCAPE_MAX 6

/* 0: as it is; 'u': \u00XX; else the letter after the backslash. */
static const uint8_t escapes[256] = {
    [0] = 'u',    [1] = 'u',    [2] = 'u',    [3] = 'u',    [4] = 'u',    [5] = 'u',     [6] = 'u',
    [7] = 'u',    ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', [0x0b] = 'u', ['\f'] = 'f',  ['\r'] = 'r',
    [0x0e] = 'u', [0x0f] = 'u', [0x10] = 'u', [0x11] = 'u', [0x12] = 'u', [0x13] = 'u',  [0x14] = 'u',
    [0x15] = 'u', [0x16] = 'u', [0x17] = 'u', [0x18] = 'u', [0x19] = 'u', [0x1a] = 'u',  [0x1b] = 'u',
    [0x1c] = 'u', [0x1d] = 'u', [0x1e] = 'u', [0x1f] = 'u', ['"'] = '"',  ['\\'] = '\\',
};

/* The string with its quotes; room for ESCAPE_MAX * size + 2. */
static uint8_t *put_string(uint8_t *p, const uint8_t *bytes, size_t size)
{
    static const char hex[] = "0123456789abcdef";
    *p++ = '"';
    for (size_t i = 0; i < size; i++) {
        uint8_t c = bytes[i], escape = escapes[c];
        if (escape == 0) {
            *p++ = c;
            continue;
        }
        *p++ = '\\';
        *p++ = escape;
        if (escape == 'u') {
            *p++ = '0';
            *p++ = '0';
            *p++ = (uint8_t)hex[c >> 4];
            *p++ = (uint8_t)hex[c & 15];
        }
    }
    *p++ = '"';
    return p;
}

static uint8_t *put_int(uint8_t *p, int64_t value)
{
    uint8_t digits[20];
    int count = 0;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    if (value < 0)
        *p++ = '-';
    do
        digits[count++] = (uint8_t)('0' + rest % 10);
    while ((rest /= 10) != 0);
    while (count > 0)
        *p++ = digits[--count];
    return p;
}

static uint8_t *put_text(uint8_t *p, const char *text)
{
    size_t size = strlen(text);
    memcpy(p, text, size);
    return p + size;
}

static uint8_t *put_special(uint8_t *p, double value)
{
    return put_text(p, isnan(value) ? "\"NaN\"" : value > 0 ? "\"Infinity\"" : "\"-Infinity\"");
}

static weir_err encoder_new(struct weir_schema *schema, const struct weir_key_value *options, int option_count,
                            struct weir_encoder **encoder, struct weir_error *error)
{
    for (int i = 0; i < schema->field_count; i++) {
        weir_err err = weir_json_check_type(schema->fields[i].name, &schema->fields[i].type, error);
        if (err)
            return err;
    }
    struct weir_encoder *created = weir_zalloc(sizeof *created);
    created->schema = weir_schema_ref(schema);
    created->sql_timestamps =
        strcmp(weir_options_get(options, option_count, weir_json_options, "json.timestamp-format.standard"), "SQL") ==
        0;
    created->ignore_nulls =
        weir_options_get_int(options, option_count, weir_json_options, "json.encode.ignore-null-fields") != 0;
    created->keys = weir_zalloc(((size_t)schema->field_count + 1) * sizeof *created->keys);
    created->fixed_max = 8;
    for (int i = 0; i < schema->field_count; i++) {
        const char *name = schema->fields[i].name;
        uint8_t *text = weir_alloc(strlen(name) * ESCAPE_MAX + 8), *p = text;
        *p++ = ',';
        p = put_string(p, (const uint8_t *)name, strlen(name));
        *p++ = ':';
        created->keys[i] = (struct key_text){.text = (char *)text, .size = (size_t)(p - text)};
        created->fixed_max += created->keys[i].size + VALUE_TEXT_MAX;
    }
    *encoder = created;
    return WEIR_OK;
}

static void encoder_free(struct weir_encoder *encoder)
{
    if (!encoder)
        return;
    for (int i = 0; i < encoder->schema->field_count; i++)
        free(encoder->keys[i].text);
    free(encoder->keys);
    weir_schema_unref(encoder->schema);
    free(encoder);
}

static size_t escaped_size(const uint8_t *bytes, size_t size)
{
    size_t escaped = size;
    for (size_t i = 0; i < size; i++)
        escaped += escapes[bytes[i]] == 0 ? 0 : escapes[bytes[i]] == 'u' ? ESCAPE_MAX - 1 : 1;
    return escaped;
}

static size_t text_size_max(const struct weir_column *column, int row, bool close)
{
    size_t size;
    const uint8_t *bytes = weir_column_bytes(column, row, &size);
    if (column->type == WEIR_TYPE_BYTES)
        return (size + 2) / 3 * 4;
    return close ? escaped_size(bytes, size) : ESCAPE_MAX * size;
}

/* A bound of a value that is inside of another, with what is around it. */
static size_t nested_size_max(const struct weir_column *column, int row, bool close)
{
    size_t size = VALUE_TEXT_MAX;
    if (weir_type_is_variable(column->type))
        return size + text_size_max(column, row, close);
    if (!column->child)
        return size;
    const struct weir_batch *child = column->child;
    bool list = weir_type_is_list(column->type);
    int first = list ? column->offsets[row] : row, last = list ? column->offsets[row + 1] : row + 1;
    for (int i = first; i < last; i++) {
        for (int field = 0; field < child->schema->field_count; field++) {
            size += nested_size_max(&child->columns[field], i, close);
            if (!list)
                size += ESCAPE_MAX * strlen(child->schema->fields[field].name);
        }
    }
    return size;
}

/* A bound of the row's text: at a glance, or close by a look at each byte. */
static size_t row_size_max(const struct weir_encoder *encoder, const struct weir_batch *batch, int row, bool close)
{
    size_t size = encoder->fixed_max;
    for (int i = 0; i < encoder->schema->field_count; i++) {
        const struct weir_column *column = &batch->columns[i];
        if (weir_type_is_variable(column->type))
            size += text_size_max(column, row, close);
        else if (column->child)
            size += nested_size_max(column, row, close);
    }
    return size;
}

static uint8_t *put_nested(uint8_t *p, const struct weir_encoder *encoder, const struct weir_column *column, int row);

static uint8_t *put_value(uint8_t *p, const struct weir_encoder *encoder, const struct weir_column *column,
                          const struct weir_type *type, int row)
{
    size_t size;
    const uint8_t *bytes;
    switch (column->type) {
    case WEIR_TYPE_BOOLEAN:
        return put_text(p, weir_bit_get(column->bits, row) ? "true" : "false");
    case WEIR_TYPE_INT8:
        return put_int(p, column->i8[row]);
    case WEIR_TYPE_INT16:
        return put_int(p, column->i16[row]);
    case WEIR_TYPE_INT32:
        return put_int(p, column->i32[row]);
    case WEIR_TYPE_INT64:
        return put_int(p, column->i64[row]);
    case WEIR_TYPE_FLOAT:
        if (!isfinite(column->f32[row]))
            return put_special(p, (double)column->f32[row]);
        return p + weir_float_print(column->f32[row], (char *)p);
    case WEIR_TYPE_DOUBLE:
        if (!isfinite(column->f64[row]))
            return put_special(p, column->f64[row]);
        return p + weir_double_print(column->f64[row], (char *)p);
    case WEIR_TYPE_DECIMAL:
        return p + weir_decimal_print(weir_decimal_get(column->decimals[row]), type->scale, (char *)p);
    case WEIR_TYPE_STRING:
        bytes = weir_column_bytes(column, row, &size);
        return put_string(p, bytes, size);
    case WEIR_TYPE_ARRAY:
    case WEIR_TYPE_MAP:
    case WEIR_TYPE_ROW:
        return put_nested(p, encoder, column, row);
    case WEIR_TYPE_BYTES:
        bytes = weir_column_bytes(column, row, &size);
        *p++ = '"';
        p += weir_base64_encode(bytes, size, (char *)p);
        break;
    case WEIR_TYPE_DATE:
        *p++ = '"';
        p += weir_date_print(column->i32[row], (char *)p);
        break;
    case WEIR_TYPE_TIME:
        *p++ = '"';
        p += weir_time_print(column->i32[row], type->precision, (char *)p);
        break;
    case WEIR_TYPE_TIMESTAMP:
    case WEIR_TYPE_TIMESTAMP_LTZ:
        *p++ = '"';
        p += encoder->sql_timestamps ? weir_timestamp_print_sql(column->i64[row], type->precision, (char *)p)
                                     : weir_timestamp_print_iso(column->i64[row], (char *)p);
        if (encoder->sql_timestamps && column->type == WEIR_TYPE_TIMESTAMP_LTZ)
            *p++ = 'Z';
        break;
    default:
        weir_assert(!"a type without JSON form");
    }
    *p++ = '"';
    return p;
}

/* A value inside of another. */
static uint8_t *put_field(uint8_t *p, const struct weir_encoder *encoder, const struct weir_batch *child, int field,
                          int row)
{
    if (weir_column_is_null(&child->columns[field], row))
        return put_text(p, "null");
    return put_value(p, encoder, &child->columns[field], &child->schema->fields[field].type, row);
}

static uint8_t *put_list(uint8_t *p, const struct weir_encoder *encoder, const struct weir_column *column, int row)
{
    const struct weir_batch *child = column->child;
    bool map = column->type == WEIR_TYPE_MAP, first = true;
    *p++ = map ? '{' : '[';
    for (int i = column->offsets[row]; i < column->offsets[row + 1]; i++) {
        if (!first)
            *p++ = ',';
        first = false;
        if (map) {
            p = weir_column_is_null(&child->columns[0], i) ? put_text(p, "\"null\"")
                                                           : put_field(p, encoder, child, 0, i);
            *p++ = ':';
        }
        p = put_field(p, encoder, child, map, i);
    }
    *p++ = map ? '}' : ']';
    return p;
}

static uint8_t *put_nested(uint8_t *p, const struct weir_encoder *encoder, const struct weir_column *column, int row)
{
    if (weir_type_is_list(column->type))
        return put_list(p, encoder, column, row);
    const struct weir_batch *child = column->child;
    bool first = true;
    *p++ = '{';
    for (int i = 0; i < child->schema->field_count; i++) {
        const char *name = child->schema->fields[i].name;
        if (encoder->ignore_nulls && weir_column_is_null(&child->columns[i], row))
            continue;
        if (!first)
            *p++ = ',';
        first = false;
        p = put_string(p, (const uint8_t *)name, strlen(name));
        *p++ = ':';
        p = put_field(p, encoder, child, i, row);
    }
    *p++ = '}';
    return p;
}

static weir_err encode(struct weir_encoder *encoder, const struct weir_batch *batch, int row, struct weir_buf *out,
                       struct weir_error *error)
{
    size_t most = row_size_max(encoder, batch, row, false);
    if (!weir_buf_reserve(out, most)) {
        most = row_size_max(encoder, batch, row, true);
        if (!weir_buf_reserve(out, most))
            return weir_fail(error, WEIR_ERR_FULL,
                             "json: a record of up to %zu bytes does not fit the output buffer (%zu of %zu)", most,
                             out->size, out->max);
    }
    uint8_t *start = out->data + out->size, *p = start;
    for (int i = 0; i < encoder->schema->field_count; i++) {
        const struct weir_column *column = &batch->columns[i];
        bool null = weir_column_is_null(column, row);
        if (null && encoder->ignore_nulls)
            continue;
        memcpy(p, encoder->keys[i].text, encoder->keys[i].size);
        p += encoder->keys[i].size;
        p = null ? put_text(p, "null") : put_value(p, encoder, column, &encoder->schema->fields[i].type, row);
    }
    if (p == start)
        *p++ = '{'; /* no member */
    *start = '{';   /* over the first comma */
    *p++ = '}';
    *p++ = '\n';
    *p = 0;
    out->size += (size_t)(p - start);
    weir_assert((size_t)(p - start) < most);
    return WEIR_OK;
}

weir_err weir_json_schema_option(const struct weir_key_value *options, int option_count,
                                 struct weir_json_schema **schema, struct weir_error *error)
{
    const char *text = weir_options_get(options, option_count, weir_json_options, "json.schema");
    struct weir_json_document document = {"", text};
    if (!text || !text[0] || !weir_json_schema_new(&document, 1, schema, error))
        return WEIR_OK;
    return weir_wrap(error, "'json.schema'");
}

/* Lines that are checked by a schema are taken one by one: each is parsed whole, so that there is nothing to be won. */
static weir_err decode_lines(struct weir_decoder *decoder, const uint8_t *bytes, size_t size, bool last,
                             struct weir_batch *batch, size_t *used, size_t *bad_at, size_t *bad_size,
                             struct weir_error *error)
{
    weir_err err = WEIR_OK;
    size_t at = 0;
    if (!weir_json_is_checked(decoder))
        return weir_json_decode_lines(decoder, bytes, size, last, batch, used, bad_at, bad_size, error);
    while (at < size && batch->row_count < batch->row_capacity && !err &&
           (at == 0 || weir_batch_bytes(batch) <= WEIR_BATCH_BYTES_SOFT_MAX)) {
        const uint8_t *newline = memchr(bytes + at, '\n', size - at);
        size_t end = newline ? (size_t)(newline - bytes) : size, content = end;
        if (!newline && !last)
            break;
        while (content > at && (bytes[content - 1] == ' ' || bytes[content - 1] == '\t' || bytes[content - 1] == '\r'))
            content--;
        err = content > at ? weir_json_decode(decoder, bytes + at, content - at, true, batch, error) : WEIR_OK;
        if (err) {
            *bad_at = at;
            *bad_size = end - at;
        }
        at = end + (newline != NULL);
    }
    *used = at;
    return err;
}

const struct weir_format weir_format_json = {
    .name = "json",
    .help = "JSON objects, one per record or line",
    .options = weir_json_options,
    .line_based = true,
    .decoder_new = weir_json_decoder_new,
    .decode = weir_json_decode,
    .decoder_free = weir_json_decoder_free,
    .encoder_new = encoder_new,
    .encode = encode,
    .encoder_free = encoder_free,
    .decode_lines = decode_lines,
};
