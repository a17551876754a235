/* Rows into Protobuf records, by the tables of protobuf_plan.c.
 *
 * Data path of sinks, on the sink's task thread. Fields are written in the order of their numbers, as Protobuf's own libraries do. NULL is an
 * absent field; a field without presence that is its default is not written. What Protobuf cannot say is an error of the row: NULL in a
 * required field, in an array or as a map's key or value, two members of a oneof, a number that does not fit, a name that the enum has not.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/options.h"
#include "data/decimal.h"
#include "data/time_text.h"
#include "format/protobuf_int.h"
#include "format/protobuf_wire.h"

#define SCALAR_SIZE_MAX 24 /* tag and number */

struct writer {
    struct weir_pb_plan *plan;
    struct weir_buf *out;
    struct weir_error *error;
};

static weir_err bad_value(const struct writer *writer, const struct pb_entry *entry, const char *what)
{
    return weir_pb_bad_value(writer->plan, entry, what, writer->error);
}

static weir_err full(const struct writer *writer)
{
    return weir_fail(writer->error, WEIR_ERR_FULL, "%s: the record does not fit the output buffer (%zu bytes)",
                     writer->plan->format, writer->out->max);
}

/* --- Bytes */

static bool put_varint(struct weir_buf *out, uint64_t value)
{
    if (!weir_buf_reserve(out, PB_VARINT_SIZE_MAX))
        return false;
    out->size = (size_t)(pb_put_varint(out->data + out->size, value) - out->data);
    return true;
}

static bool put_tag(struct weir_buf *out, uint32_t number, int wire)
{
    return put_varint(out, (uint64_t)number << 3 | (uint32_t)wire);
}

static bool put_raw(struct weir_buf *out, int wire, uint64_t raw)
{
    if (wire == PB_VARINT)
        return put_varint(out, raw);
    return weir_buf_append(out, &raw, wire == PB_FIXED64 ? 8 : 4);
}

/* Room for a length, which end_length() sets. */
static bool begin_length(struct weir_buf *out, size_t *at)
{
    *at = out->size;
    return weir_buf_append(out, "", 1);
}

/* What was written behind begin_length() is as long as it is: a length of more than one byte pushes it back. */
static bool end_length(struct weir_buf *out, size_t at)
{
    uint8_t length[PB_VARINT_SIZE_MAX];
    size_t size = out->size - at - 1, more = (size_t)(pb_put_varint(length, size) - length) - 1;
    if (!weir_buf_reserve(out, more))
        return false;
    memmove(out->data + at + 1 + more, out->data + at + 1, size);
    memcpy(out->data + at, length, more + 1);
    out->size += more;
    return true;
}

/* --- Scalars */

static bool integer_in_range(enum weir_proto_type type, weir_int128 value)
{
    switch (type) {
    case WEIR_PROTO_UINT32:
    case WEIR_PROTO_FIXED32:
        return value >= 0 && value <= UINT32_MAX;
    case WEIR_PROTO_UINT64:
    case WEIR_PROTO_FIXED64:
        return value >= 0 && value <= UINT64_MAX;
    case WEIR_PROTO_INT64:
    case WEIR_PROTO_SINT64:
    case WEIR_PROTO_SFIXED64:
        return value >= INT64_MIN && value <= INT64_MAX;
    default:
        return value >= INT32_MIN && value <= INT32_MAX;
    }
}

static weir_err integer_raw(const struct writer *writer, const struct pb_entry *entry, weir_int128 value, uint64_t *raw)
{
    if (!integer_in_range(entry->type, value))
        return bad_value(writer, entry, "is a number that its field cannot take");
    int64_t number = (int64_t)value;
    if (entry->type == WEIR_PROTO_SINT32)
        *raw = (uint32_t)((uint32_t)number << 1 ^ (uint32_t)((int32_t)number >> 31));
    else if (entry->type == WEIR_PROTO_SINT64)
        *raw = (uint64_t)number << 1 ^ (uint64_t)(number >> 63);
    else
        *raw = (uint64_t)number; /* of 64 bits also where the field has 32: a negative one takes ten bytes */
    return WEIR_OK;
}

/* From its name, or its number in digits (as an open enum's number without a name is read). */
static weir_err enum_raw(const struct writer *writer, const struct pb_entry *entry, const uint8_t *bytes, size_t size,
                         uint64_t *raw)
{
    const struct weir_proto_enum *enumeration = entry->field->enumeration;
    char text[16], what[256], *end = text;
    for (int i = 0; i < enumeration->value_count; i++) {
        const struct weir_proto_value *value = &enumeration->values[i];
        if (strlen(value->name) == size && memcmp(value->name, bytes, size) == 0) {
            *raw = (uint64_t)(int64_t)value->number;
            return WEIR_OK;
        }
    }
    if (size > 0 && size < 12 && (bytes[0] == '-' || (bytes[0] >= '0' && bytes[0] <= '9'))) {
        memcpy(text, bytes, size);
        text[size] = 0;
        long long number = strtoll(text, &end, 10);
        if (!*end && number >= INT32_MIN && number <= INT32_MAX && !enumeration->closed) {
            *raw = (uint64_t)number;
            return WEIR_OK;
        }
    }
    snprintf(what, sizeof what, "is '%.*s', which is no value of %.150s", size < 60 ? (int)size : 60,
             (const char *)bytes, enumeration->name);
    return bad_value(writer, entry, what);
}

static int64_t int_of(const struct weir_column *column, int row)
{
    switch (weir_type_width(column->type)) {
    case 1:
        return column->i8[row];
    case 2:
        return column->i16[row];
    case 4:
        return column->i32[row];
    default:
        return column->i64[row];
    }
}

static uint64_t float_bits(const struct weir_column *column, int row, enum weir_proto_type type)
{
    uint64_t raw = 0;
    double wide = column->type == WEIR_TYPE_DOUBLE  ? column->f64[row]
                  : column->type == WEIR_TYPE_FLOAT ? (double)column->f32[row]
                                                    : (double)int_of(column, row);
    if (type == WEIR_PROTO_DOUBLE) {
        memcpy(&raw, &wide, sizeof wide);
        return raw;
    }
    memcpy(&raw, &column->f32[row], sizeof column->f32[row]);
    return raw;
}

static weir_err number_raw(const struct writer *writer, const struct pb_entry *entry, const struct weir_column *column,
                           int row, uint64_t *raw)
{
    size_t size;
    const uint8_t *bytes;
    switch (column->type) {
    case WEIR_TYPE_BOOLEAN:
        *raw = weir_bit_get(column->bits, row);
        return WEIR_OK;
    case WEIR_TYPE_STRING:
        bytes = weir_column_bytes(column, row, &size);
        return enum_raw(writer, entry, bytes, size, raw);
    case WEIR_TYPE_DECIMAL:
        return integer_raw(writer, entry, weir_decimal_get(column->decimals[row]), raw);
    default:
        if (entry->type == WEIR_PROTO_DOUBLE || entry->type == WEIR_PROTO_FLOAT) {
            *raw = float_bits(column, row, entry->type);
            return WEIR_OK;
        }
        return integer_raw(writer, entry, int_of(column, row), raw);
    }
}

#define TEXT_SIZE_MAX 64

/* The bytes of a string or bytes field; those that are made lie in `text`. */
static const uint8_t *text_of(const struct pb_entry *entry, const struct weir_column *column, int row,
                              char text[TEXT_SIZE_MAX], size_t *size)
{
    switch (column->type) {
    case WEIR_TYPE_DECIMAL:
        *size = weir_decimal_print(weir_decimal_get(column->decimals[row]), entry->target.scale, text);
        return (const uint8_t *)text;
    case WEIR_TYPE_DATE:
        *size = weir_date_print(column->i32[row], text);
        return (const uint8_t *)text;
    case WEIR_TYPE_TIME:
        *size = weir_time_print(column->i32[row], entry->target.precision, text);
        return (const uint8_t *)text;
    case WEIR_TYPE_TIMESTAMP:
    case WEIR_TYPE_TIMESTAMP_LTZ:
        *size = weir_timestamp_print_iso(column->i64[row], text);
        return (const uint8_t *)text;
    default:
        return weir_column_bytes(column, row, size);
    }
}

/* A scalar with its tag, or, with `bare`, without: in a packed list. `always`: also where it is the default. */
static weir_err put_scalar(const struct writer *writer, const struct pb_entry *entry, const struct weir_column *column,
                           int row, bool always, bool bare)
{
    char text[TEXT_SIZE_MAX];
    size_t size = 0;
    if (entry->wire == PB_LEN) {
        const uint8_t *bytes = text_of(entry, column, row, text, &size);
        if (size == 0 && !always)
            return WEIR_OK;
        bool ok = put_tag(writer->out, entry->number, PB_LEN) && put_varint(writer->out, size) &&
                  weir_buf_append(writer->out, bytes, size);
        return ok ? WEIR_OK : full(writer);
    }
    uint64_t raw = 0;
    weir_err err = number_raw(writer, entry, column, row, &raw);
    if (err || (raw == 0 && !always))
        return err;
    bool ok = (bare || put_tag(writer->out, entry->number, entry->wire)) && put_raw(writer->out, entry->wire, raw);
    return ok ? WEIR_OK : full(writer);
}

/* --- Messages */

static weir_err put_fields(const struct writer *writer, const struct pb_node *node, const struct weir_batch *batch,
                           int row, bool always);

static weir_err put_seconds(const struct writer *writer, const struct pb_entry *entry, int64_t ms)
{
    int64_t seconds = ms / 1000, rest = ms % 1000;
    if (rest < 0 && entry->kind == PB_TIMESTAMP) { /* its nanoseconds count forwards */
        rest += 1000;
        seconds--;
    }
    bool ok =
        (seconds == 0 || (put_tag(writer->out, 1, PB_VARINT) && put_varint(writer->out, (uint64_t)seconds))) &&
        (rest == 0 || (put_tag(writer->out, 2, PB_VARINT) && put_varint(writer->out, (uint64_t)(rest * 1000000))));
    return ok ? WEIR_OK : full(writer);
}

static weir_err put_body(const struct writer *writer, const struct pb_entry *entry, const struct weir_column *column,
                         int row)
{
    if (entry->map)
        return put_fields(writer, entry->child, column->child, row, true);
    switch (entry->kind) {
    case PB_ROW:
        return put_fields(writer, entry->child, column->child, row, false);
    case PB_WRAPPER:
        return put_scalar(writer, &entry->child->entries[0], column, row, false, false);
    default:
        return put_seconds(writer, entry, column->i64[row]);
    }
}

/* A message, a group, an entry of a map. */
static weir_err put_message(const struct writer *writer, const struct pb_entry *entry, const struct weir_column *column,
                            int row)
{
    size_t at = 0;
    bool group = entry->wire == PB_GROUP;
    if (!put_tag(writer->out, entry->number, entry->wire) || (!group && !begin_length(writer->out, &at)))
        return full(writer);
    weir_err err = put_body(writer, entry, column, row);
    if (err)
        return err;
    return (group ? put_tag(writer->out, entry->number, PB_END_GROUP) : end_length(writer->out, at)) ? WEIR_OK
                                                                                                     : full(writer);
}

static weir_err put_list(const struct writer *writer, const struct pb_entry *entry, const struct weir_column *column,
                         int row)
{
    const struct weir_batch *child = column->child;
    int first = column->offsets[row], end = column->offsets[row + 1];
    bool packed = entry->field->packed && !entry->map;
    size_t at = 0;
    weir_err err = WEIR_OK;
    if (first == end)
        return WEIR_OK;
    if (packed && (!put_tag(writer->out, entry->number, PB_LEN) || !begin_length(writer->out, &at)))
        return full(writer);
    for (int i = first; i < end && !err; i++) {
        for (int c = 0; c < child->schema->field_count && !err; c++)
            if (weir_column_is_null(&child->columns[c], i))
                err = bad_value(writer, entry,
                                entry->map ? "has a key or value that is NULL, which Protobuf cannot say"
                                           : "has an element that is NULL, which Protobuf cannot say");
        if (err)
            break;
        if (entry->map)
            err = put_message(writer, entry, column, i);
        else if (entry->kind == PB_SCALAR)
            err = put_scalar(writer, entry, &child->columns[0], i, true, packed);
        else
            err = put_message(writer, entry, &child->columns[0], i);
    }
    return err || !packed || end_length(writer->out, at) ? err : full(writer);
}

/* Of a oneof, one member at most. */
static weir_err check_oneofs(const struct writer *writer, const struct pb_node *node, const struct weir_batch *batch,
                             int row)
{
    char what[300];
    for (int i = 0; i < node->entry_count; i++) {
        const struct pb_entry *entry = &node->entries[i];
        if (entry->oneof < 0 || weir_column_is_null(&batch->columns[entry->column], row))
            continue;
        for (int j = i + 1; j < node->entry_count; j++) {
            const struct pb_entry *other = &node->entries[j];
            if (other->oneof != entry->oneof || weir_column_is_null(&batch->columns[other->column], row))
                continue;
            snprintf(what, sizeof what, "and '%.100s' are both set, of which the oneof '%.100s' takes one", other->path,
                     node->message->oneofs[entry->oneof]);
            return bad_value(writer, entry, what);
        }
    }
    return WEIR_OK;
}

static weir_err put_fields(const struct writer *writer, const struct pb_node *node, const struct weir_batch *batch,
                           int row, bool always)
{
    weir_err err = node->has_oneof ? check_oneofs(writer, node, batch, row) : WEIR_OK;
    for (int i = 0; i < node->entry_count && !err; i++) {
        const struct pb_entry *entry = &node->entries[i];
        const struct weir_column *column = &batch->columns[entry->column];
        if (weir_column_is_null(column, row)) {
            if (entry->required)
                err = bad_value(writer, entry, "is NULL, and its field is required");
        } else if (entry->repeated) {
            err = put_list(writer, entry, column, row);
        } else if (entry->kind == PB_SCALAR) {
            err = put_scalar(writer, entry, column, row, always || entry->presence, false);
        } else {
            err = put_message(writer, entry, column, row);
        }
    }
    return err;
}

weir_err weir_pb_encode(struct weir_pb_plan *plan, const struct weir_batch *batch, int row, struct weir_buf *out,
                        struct weir_error *error)
{
    struct writer writer = {.plan = plan, .out = out, .error = error};
    size_t before = out->size;
    weir_err err = put_fields(&writer, plan->root, batch, row, false);
    if (err)
        out->size = before;
    if (out->data)
        out->data[out->size] = 0;
    return err;
}
