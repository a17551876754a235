/* Protobuf records into batches, by the tables of protobuf_plan.c.
 *
 * Data path of sources, on the source's task thread. One pass over the bytes: fields that no column stands for are passed over by their wire
 * type, the others are stored as they come. What the wire allows and a column does not is settled as the specification says: of a field that
 * comes twice the last counts, messages that come in parts are merged, repeated fields may be packed or not and lie apart, a oneof's last
 * member ends the others, a field of another wire type is an unknown one, of a map's equal keys the last counts, numbers without a name in a
 * closed enum are unknown fields.
 *
 * A bad record: cut off or malformed (also in what is passed over), a STRING that is not UTF-8, a value that does not fit its column, an
 * absent field of a NOT NULL column or an absent required one that a column stands for. Missing is: a repeated field or map empty; a
 * field without presence its default; else NULL, or with read-default-values the default of a scalar.
 *
 * Bounds: recursion by the columns' types; groups by PB_GROUP_DEPTH_MAX; memory by a budget per record, since an element of two bytes may be
 * a row of a thousand columns.
 */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "data/decimal.h"
#include "data/time_text.h"
#include "data/value_code.h"
#include "format/protobuf_int.h"
#include "format/protobuf_wire.h"
#include "format/simdjson_shim.h"

/* What a record may become in memory: this, and so many times its own size. */
#define BUDGET_BYTES ((size_t)64 << 20)
#define BUDGET_TIMES 16

#define ENUM_TEXT_MAX 12
#define PADDING 64 /* behind a padded record */

struct walk {
    struct weir_pb_plan *plan;
    const uint8_t *begin, *at;
    const uint8_t *readable; /* up to there memory may be read: the record's end, or the padding's */
    bool unknown_enum;       /* one without a name was met */
    struct weir_error *error;
};

static weir_err __attribute__((noinline, cold)) malformed(const struct walk *walk, const char *what)
{
    return weir_fail_record(walk->error, WEIR_BAD_MALFORMED, "%s: the record is malformed at byte %zu: %s",
                            walk->plan->format, (size_t)(walk->at - walk->begin), what);
}

static weir_err __attribute__((noinline, cold))
bad_value(const struct walk *walk, const struct pb_entry *entry, const char *what)
{
    return weir_pb_bad_value(walk->plan, entry, what, walk->error);
}

static inline bool spend(struct walk *walk, size_t bytes)
{
    if (bytes > walk->plan->budget)
        return false;
    walk->plan->budget -= bytes;
    return true;
}

static weir_err too_large(const struct walk *walk)
{
    return weir_fail_record(walk->error, WEIR_BAD_TOO_LARGE,
                            "%s: the record would take too much memory: it has too many elements", walk->plan->format);
}

static inline bool is_seen(const struct pb_node *node, int entry)
{
    return node->seen[entry >> 6] >> (entry & 63) & 1;
}

static inline void forget_all(struct pb_node *node)
{
    node->seen[0] = 0;
    for (int word = 1; word <= node->entry_count / 64; word++)
        node->seen[word] = 0;
}

/* --- One scalar. `raw` is what the wire had: 64 or 32 bits, or a varint. */

static inline int64_t as_signed(enum weir_proto_type type, uint64_t raw)
{
    switch (type) {
    case WEIR_PROTO_INT32:
    case WEIR_PROTO_ENUM:
    case WEIR_PROTO_SFIXED32:
        return (int32_t)raw;
    case WEIR_PROTO_UINT32:
    case WEIR_PROTO_FIXED32:
        return (uint32_t)raw;
    case WEIR_PROTO_SINT32:
        return (int32_t)pb_zigzag((uint32_t)raw);
    case WEIR_PROTO_SINT64:
        return pb_zigzag(raw);
    case WEIR_PROTO_BOOL:
        return raw != 0;
    default:
        return (int64_t)raw;
    }
}

static weir_err store_int(struct walk *walk, const struct pb_entry *entry, struct weir_column *to, int row,
                          int64_t value, bool over)
{
    static const int64_t limits[9] = {[1] = INT8_MAX, [2] = INT16_MAX, [4] = INT32_MAX, [8] = INT64_MAX};
    int width = weir_type_width(to->type);
    int64_t limit = limits[width];
    if (over || value > limit || value < -limit - 1)
        return bad_value(walk, entry, "is a number that is out of range");
    weir_column_set_int(to, row, width, value);
    return WEIR_OK;
}

static weir_err store_decimal(struct walk *walk, const struct pb_entry *entry, struct weir_column *to, int row,
                              weir_int128 value)
{
    weir_int128 scaled;
    if (!weir_decimal_rescale(value, 0, entry->target.precision, entry->target.scale, &scaled))
        return bad_value(walk, entry, "is a number with more digits");
    to->decimals[row] = weir_decimal_make(scaled);
    return WEIR_OK;
}

/* A moment, a date or a time of the day. */
static weir_err store_time(struct walk *walk, const struct pb_entry *entry, struct weir_column *to, int row,
                           int64_t value)
{
    switch (to->type) {
    case WEIR_TYPE_DATE:
        if (value < WEIR_TIMESTAMP_MIN_MS / 86400000 || value > WEIR_TIMESTAMP_MAX_MS / 86400000)
            return bad_value(walk, entry, "is a number of days that is outside of the years 1 to 9999");
        to->i32[row] = (int32_t)value;
        return WEIR_OK;
    case WEIR_TYPE_TIME:
        if (value < 0 || value >= 86400000)
            return bad_value(walk, entry, "is a number that is no millisecond of a day");
        to->i32[row] = (int32_t)weir_ms_cut(value, entry->target.precision);
        return WEIR_OK;
    default:
        if (value < WEIR_TIMESTAMP_MIN_MS || value > WEIR_TIMESTAMP_MAX_MS)
            return bad_value(walk, entry, "is a time that is outside of the years 1 to 9999");
        to->i64[row] = weir_ms_cut(value, entry->target.precision);
        return WEIR_OK;
    }
}

/* The value's name; the number where an open enum has none for it. */
static weir_err store_enum_name(struct walk *walk, const struct pb_entry *entry, struct weir_column *to, int row,
                                int32_t number)
{
    const struct weir_proto_value *value = weir_pb_enum_value(entry->field->enumeration, number);
    char digits[ENUM_TEXT_MAX];
    int printed = value ? 0 : snprintf(digits, sizeof digits, "%d", number);
    size_t size = value ? strlen(value->name) : (size_t)printed;
    if (!spend(walk, size))
        return too_large(walk);
    weir_column_set_bytes(to, row, value ? value->name : digits, size);
    return WEIR_OK;
}

static inline double as_double(enum weir_proto_type type, uint64_t raw)
{
    double wide;
    float narrow;
    uint32_t bits = (uint32_t)raw;
    if (type == WEIR_PROTO_DOUBLE) {
        memcpy(&wide, &raw, sizeof wide);
        return wide;
    }
    if (type != WEIR_PROTO_FLOAT)
        return (double)as_signed(type, raw);
    memcpy(&narrow, &bits, sizeof narrow);
    return (double)narrow;
}

static inline weir_err store_number(struct walk *walk, const struct pb_entry *entry, struct weir_column *to, int row,
                                    uint64_t raw)
{
    enum weir_proto_type type = entry->type;
    bool unsigned64 = weir_pb_is_unsigned64(type);
    switch (to->type) {
    case WEIR_TYPE_BOOLEAN:
        weir_bit_put(to->bits, row, raw != 0);
        return WEIR_OK;
    case WEIR_TYPE_DOUBLE:
        to->f64[row] = as_double(type, raw);
        return WEIR_OK;
    case WEIR_TYPE_FLOAT: {
        uint32_t bits = (uint32_t)raw;
        memcpy(&to->f32[row], &bits, sizeof bits);
        return WEIR_OK;
    }
    case WEIR_TYPE_STRING:
        return store_enum_name(walk, entry, to, row, (int32_t)raw);
    case WEIR_TYPE_DECIMAL:
        return store_decimal(walk, entry, to, row,
                             unsigned64 ? (weir_int128)(weir_uint128)raw : (weir_int128)as_signed(type, raw));
    case WEIR_TYPE_DATE:
    case WEIR_TYPE_TIME:
    case WEIR_TYPE_TIMESTAMP:
    case WEIR_TYPE_TIMESTAMP_LTZ:
        return store_time(walk, entry, to, row, as_signed(type, raw));
    default:
        return store_int(walk, entry, to, row, as_signed(type, raw), unsigned64 && raw > INT64_MAX);
    }
}

/* --- One text or bytes */

static inline bool is_ascii(const uint8_t *bytes, size_t size)
{
    uint64_t any = 0, word;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        memcpy(&word, bytes + i, 8);
        any |= word;
    }
    for (; i < size; i++)
        any |= (uint64_t)bytes[i] << 56 | bytes[i];
    return (any & 0x8080808080808080u) == 0;
}

static weir_err store_decimal_text(struct walk *walk, const struct pb_entry *entry, struct weir_column *to, int row,
                                   const uint8_t *bytes, size_t size)
{
    weir_int128 value;
    switch (weir_decimal_parse((const char *)bytes, size, entry->target.precision, entry->target.scale, &value)) {
    case WEIR_DECIMAL_EXACT:
        to->decimals[row] = weir_decimal_make(value);
        return WEIR_OK;
    case WEIR_DECIMAL_NO_NUMBER:
        return bad_value(walk, entry, "is a string that is not a number");
    case WEIR_DECIMAL_ROUNDED:
        return bad_value(walk, entry, "is a number with more digits behind its point, which would be lost");
    default:
        return bad_value(walk, entry, "is a number with more digits");
    }
}

/* A string that stands for another type. */
static weir_err store_text_of(struct walk *walk, const struct pb_entry *entry, struct weir_column *to, int row,
                              const uint8_t *bytes, size_t size)
{
    const char *text = (const char *)bytes;
    switch (to->type) {
    case WEIR_TYPE_DECIMAL:
        return store_decimal_text(walk, entry, to, row, bytes, size);
    case WEIR_TYPE_DATE:
        return weir_date_parse(text, size, &to->i32[row]) ? WEIR_OK
                                                          : bad_value(walk, entry, "is not a date (2013-01-01)");
    case WEIR_TYPE_TIME:
        if (!weir_time_parse(text, size, &to->i32[row]))
            return bad_value(walk, entry, "is not a time (06:00:00)");
        to->i32[row] = (int32_t)weir_ms_cut(to->i32[row], entry->target.precision);
        return WEIR_OK;
    default:
        if (!weir_timestamp_parse_cached(&walk->plan->timestamps, text, size, &to->i64[row]))
            return bad_value(walk, entry, "is a string that is not a timestamp (2013-01-01T06:00:00Z)");
        to->i64[row] = weir_ms_cut(to->i64[row], entry->target.precision);
        return WEIR_OK;
    }
}

static inline weir_err store_bytes(struct walk *walk, const struct pb_entry *entry, struct weir_column *to, int row,
                                   const uint8_t *bytes, size_t size)
{
    if (to->type == WEIR_TYPE_STRING) {
        if (!is_ascii(bytes, size) && !weir_utf8_valid(bytes, size))
            return bad_value(walk, entry, "is not valid UTF-8");
    } else if (to->type != WEIR_TYPE_BYTES) {
        return store_text_of(walk, entry, to, row, bytes, size);
    }
    weir_column_set_bytes(to, row, bytes, size);
    return WEIR_OK;
}

/* --- What is absent */

static weir_err finish(struct walk *walk, struct pb_node *node, struct weir_batch *batch, int row);

/* The end of a message that is a ROW. */
static weir_err finish_row(struct walk *walk, struct pb_entry *entry, struct weir_column *to, int row)
{
    weir_err err = finish(walk, entry->child, to->child, row);
    if (!err)
        weir_column_row_end(to, row);
    return err;
}

static weir_err store_nothing(struct walk *walk, const struct pb_entry *entry, struct weir_batch *batch, int row)
{
    if (entry->required)
        return bad_value(walk, entry, "is a required field that is absent");
    if (!entry->nullable)
        return bad_value(walk, entry, "is absent");
    weir_column_set_null(&batch->columns[entry->column], row, batch->row_capacity);
    return WEIR_OK;
}

/* The default of one value. */
static weir_err store_default(struct walk *walk, struct pb_entry *entry, struct weir_batch *batch,
                              struct weir_column *to, int row)
{
    switch (entry->kind) {
    case PB_ROW:
        weir_column_row_begin(to, row);
        forget_all(entry->child);
        return finish_row(walk, entry, to, row);
    case PB_TIMESTAMP:
        return store_time(walk, entry, to, row, 0);
    case PB_DURATION:
        to->i64[row] = 0;
        return WEIR_OK;
    case PB_WRAPPER:
        return store_default(walk, &entry->child->entries[0], batch, to, row);
    case PB_SCALAR:
        break;
    }
    if (entry->wire != PB_LEN)
        return store_number(walk, entry, to, row, entry->default_raw);
    if (entry->default_size == 0 && !weir_type_is_variable(to->type)) { /* "" is no date and no number */
        if (!entry->target.nullable)
            return bad_value(walk, entry, "is absent");
        weir_column_set_null(to, row, batch->row_capacity);
        return WEIR_OK;
    }
    return store_bytes(walk, entry, to, row, entry->default_bytes, entry->default_size);
}

static weir_err store_absent(struct walk *walk, struct pb_entry *entry, struct weir_batch *batch, int row)
{
    struct weir_column *to = &batch->columns[entry->column];
    if (entry->number == 0)
        return store_nothing(walk, entry, batch, row);
    if (entry->repeated) {
        weir_column_list_begin(to, row);
        weir_column_list_end(to, row);
        return WEIR_OK;
    }
    if (!entry->use_default || entry->required)
        return store_nothing(walk, entry, batch, row);
    return store_default(walk, entry, batch, to, row);
}

/* The record, or the message, is read: what is absent is filled in, and what may have come in parts is ended. */
static weir_err finish_slowly(struct walk *walk, struct pb_node *node, struct weir_batch *batch, int row)
{
    weir_err err = WEIR_OK;
    for (int i = 0; i < node->entry_count && !err; i++) {
        struct pb_entry *entry = &node->entries[i];
        if (entry->column < 0)
            continue;
        struct weir_column *to = &batch->columns[entry->column];
        if (!is_seen(node, i)) {
            err = store_absent(walk, entry, batch, row);
        } else if (entry->map) {
            weir_map_unique(to, row);
        } else if (entry->kind == PB_ROW && !entry->repeated) {
            err = finish_row(walk, entry, to, row);
        }
    }
    return err;
}

static inline weir_err finish(struct walk *walk, struct pb_node *node, struct weir_batch *batch, int row)
{
    return node->simple && node->seen[0] == node->all ? WEIR_OK : finish_slowly(walk, node, batch, row);
}

/* --- Values */

static weir_err take_fields(struct walk *walk, struct pb_node *node, struct weir_batch *batch, int row,
                            const uint8_t *end, uint32_t group);

/* google.protobuf.Timestamp and Duration: seconds and nanoseconds. */
static weir_err take_time_parts(struct walk *walk, struct pb_entry *entry, struct weir_column *to, int row,
                                const uint8_t *end)
{
    uint32_t number;
    uint64_t value;
    int wire;
    while (walk->at < end) {
        if (!pb_tag(&walk->at, end, &number, &wire))
            return malformed(walk, "no field begins here");
        if (number > 2 || wire != PB_VARINT) {
            if (!pb_skip(&walk->at, end, number, wire))
                return malformed(walk, "a field is cut off");
        } else if (!pb_varint(&walk->at, end, &value)) {
            return malformed(walk, "a number is cut off");
        } else if (number == 1) {
            entry->seconds = (int64_t)value;
        } else {
            entry->nanos = (int32_t)value;
        }
    }
    bool timestamp = entry->kind == PB_TIMESTAMP;
    int64_t bound = timestamp ? WEIR_TIMESTAMP_MAX_MS / 1000 : 315576000000; /* ten thousand years */
    if (entry->seconds > bound || entry->seconds < -bound || entry->nanos > 999999999 ||
        entry->nanos < (timestamp ? 0 : -999999999))
        return bad_value(walk, entry, "has seconds or nanoseconds out of range");
    if (timestamp)
        return store_time(walk, entry, to, row, entry->seconds * 1000 + entry->nanos / 1000000);
    to->i64[row] = entry->seconds * 1000 + entry->nanos / 1000000;
    return WEIR_OK;
}

/* A message of length `size` at walk->at, or a group. `first`: it is no part of one that was begun. */
static weir_err take_message(struct walk *walk, struct pb_entry *entry, struct weir_batch *batch,
                             struct weir_column *to, int row, const uint8_t *end, bool first)
{
    weir_err err = WEIR_OK;
    switch (entry->kind) {
    case PB_ROW:
        if (first) {
            weir_column_row_begin(to, row);
            forget_all(entry->child);
        }
        return take_fields(walk, entry->child, to->child, row, end,
                           entry->type == WEIR_PROTO_GROUP ? entry->number : 0);
    case PB_WRAPPER:
        if (first)
            err = store_default(walk, entry, batch, to, row);
        entry->child->entries[0].column = (int)(to - batch->columns); /* the value goes to the wrapper's own column */
        return err ? err : take_fields(walk, entry->child, batch, row, end, 0);
    default:
        if (first)
            entry->seconds = entry->nanos = 0;
        return take_time_parts(walk, entry, to, row, end);
    }
}

static inline bool take_raw(struct walk *walk, int wire, const uint8_t *end, uint64_t *raw)
{
    switch (wire) {
    case PB_VARINT:
        return pb_varint(&walk->at, end, raw);
    case PB_FIXED64:
        if (end - walk->at < 8)
            return false;
        *raw = pb_fixed64(walk->at);
        walk->at += 8;
        return true;
    default:
        if (end - walk->at < 4)
            return false;
        *raw = pb_fixed32(walk->at);
        walk->at += 4;
        return true;
    }
}

static inline bool is_unknown_enum(const struct pb_entry *entry, uint64_t raw)
{
    return entry->type == WEIR_PROTO_ENUM && entry->field->enumeration->closed &&
           !weir_pb_enum_value(entry->field->enumeration, (int32_t)raw);
}

/* One value at walk->at into row `row` of `to`, a column of `batch`. *taken false: it is an unknown field after all. */
static inline weir_err take_value(struct walk *walk, struct pb_entry *entry, struct weir_batch *batch,
                                  struct weir_column *to, int row, const uint8_t *end, bool first, bool *taken)
{
    uint64_t raw;
    const uint8_t *bytes;
    size_t size;
    *taken = true;
    if (entry->wire == PB_GROUP)
        return take_message(walk, entry, batch, to, row, end, first);
    if (entry->wire != PB_LEN) {
        if (!take_raw(walk, entry->wire, end, &raw))
            return malformed(walk, "a number is cut off, or longer than ten bytes");
        if (is_unknown_enum(entry, raw)) {
            walk->unknown_enum = true;
            *taken = false;
            return WEIR_OK;
        }
        return store_number(walk, entry, to, row, raw);
    }
    if (!pb_len(&walk->at, end, &bytes, &size))
        return malformed(walk, "a length is cut off, or longer than what is left");
    if (entry->kind == PB_SCALAR)
        return store_bytes(walk, entry, to, row, bytes, size);
    walk->at = bytes;
    return take_message(walk, entry, batch, to, row, bytes + size, first);
}

/* An element of a list, or an entry of a map. */
static weir_err take_element(struct walk *walk, struct pb_entry *entry, struct weir_column *list, const uint8_t *end)
{
    struct weir_batch *child = list->child;
    bool taken = true;
    weir_err err;
    if (!spend(walk, entry->child ? entry->child->row_bytes + 1 : 17))
        return too_large(walk);
    int at = weir_column_element(list);
    if (entry->map) { /* the child's rows are the entries themselves */
        const uint8_t *bytes;
        size_t size;
        if (!pb_len(&walk->at, end, &bytes, &size))
            return malformed(walk, "a length is cut off, or longer than what is left");
        walk->at = bytes;
        forget_all(entry->child);
        walk->unknown_enum = false;
        err = take_fields(walk, entry->child, child, at, bytes + size, 0);
        taken = !walk->unknown_enum; /* an entry whose value has no name is an unknown field as a whole */
        if (!err && taken)
            err = finish(walk, entry->child, child, at);
    } else {
        err = take_value(walk, entry, child, &child->columns[0], at, end, true, &taken);
        if (!err && taken && entry->kind == PB_ROW)
            err = finish_row(walk, entry, &child->columns[0], at);
    }
    if (!err && taken)
        weir_column_element_done(list);
    return err;
}

static weir_err take_list(struct walk *walk, struct pb_entry *entry, struct weir_column *list, int row, int wire,
                          const uint8_t *end, bool first)
{
    weir_err err = WEIR_OK;
    if (first)
        weir_column_list_begin(list, row);
    if (wire == entry->wire) {
        err = take_element(walk, entry, list, end);
    } else { /* packed */
        const uint8_t *bytes;
        size_t size;
        if (!pb_len(&walk->at, end, &bytes, &size))
            return malformed(walk, "a length is cut off, or longer than what is left");
        walk->at = bytes;
        while (walk->at < bytes + size && !err)
            err = take_element(walk, entry, list, bytes + size);
    }
    weir_column_list_end(list, row);
    return err;
}

/* The other members of the oneof are as if they had never been. */
static void end_others(struct pb_node *node, int which)
{
    for (int i = 0; i < node->entry_count; i++)
        if (i != which && node->entries[i].oneof == node->entries[which].oneof)
            node->seen[i >> 6] &= ~((uint64_t)1 << (i & 63));
}

static weir_err take_entry(struct walk *walk, struct pb_node *node, int which, struct weir_batch *batch, int row,
                           int wire, const uint8_t *end)
{
    struct pb_entry *entry = &node->entries[which];
    bool first = !is_seen(node, which), taken = true;
    weir_err err = WEIR_OK;
    if (entry->column < 0) {
        if (!pb_skip(&walk->at, end, entry->number, wire))
            err = malformed(walk, "a field is cut off");
    } else if (entry->repeated) {
        err = take_list(walk, entry, &batch->columns[entry->column], row, wire, end, first);
    } else {
        err = take_value(walk, entry, batch, &batch->columns[entry->column], row, end, first, &taken);
    }
    if (err || !taken)
        return err;
    node->seen[which >> 6] |= (uint64_t)1 << (which & 63);
    if (entry->oneof >= 0)
        end_others(node, which);
    return WEIR_OK;
}

/* The entry that takes a field; -1: none. */
static int find_entry(const struct pb_node *node, uint32_t number, int wire)
{
    int low = 0, high = node->entry_count - 1;
    while (low <= high) {
        int middle = (low + high) / 2;
        const struct pb_entry *entry = &node->entries[middle];
        if (entry->number == number)
            return entry->wire == wire || (entry->packed && wire == PB_LEN) ? middle : -1;
        if (entry->number < number)
            low = middle + 1;
        else
            high = middle - 1;
    }
    return -1;
}

/* --- The quick way: what most fields are. Whatever is unusual is left to the careful way, with walk->at unmoved. */

/* Copies in words and looks for bytes beyond ASCII on the way; both sides have room for a word more. */
static inline uint64_t copy_words(uint8_t *to, const uint8_t *from, size_t size)
{
    uint64_t any = 0, word;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        memcpy(&word, from + i, 8);
        memcpy(to + i, &word, 8);
        any |= word;
    }
    memcpy(&word, from + i, 8);
    memcpy(to + i, &word, 8);
    return (any | (word & (((uint64_t)1 << 8 * (size - i)) - 1))) & 0x8080808080808080u;
}

static inline bool take_text_fast(struct walk *walk, struct weir_column *to, int row, const uint8_t *end)
{
    const uint8_t *at = walk->at;
    if (at == end || *at >= 0x80 || *at > end - at - 1 || walk->readable - at < 1 + *at + 8)
        return false;
    size_t size = *at++, used = (size_t)to->offsets[row];
    if (used + size + 8 > to->bytes_buffer->capacity)
        return false;
    if (copy_words(to->bytes + used, at, size) != 0 && to->type == WEIR_TYPE_STRING)
        return false;
    to->offsets[row + 1] = (int32_t)(used + size);
    walk->at = at + size;
    return true;
}

static inline bool take_fast(struct walk *walk, const struct pb_entry *entry, struct weir_batch *batch, int row,
                             const uint8_t *end)
{
    struct weir_column *to = &batch->columns[entry->column];
    const uint8_t *at = walk->at;
    uint64_t raw;
    switch (entry->fast) {
    case PB_FAST_DOUBLE:
        if (end - at < 8)
            return false;
        memcpy(&to->f64[row], at, 8);
        walk->at = at + 8;
        return true;
    case PB_FAST_TEXT:
        return take_text_fast(walk, to, row, end);
    case PB_FAST_INT64:
    case PB_FAST_INT32:
        if (!pb_varint(&at, end, &raw))
            return false;
        if (entry->fast == PB_FAST_INT64)
            to->i64[row] = (int64_t)raw;
        else
            to->i32[row] = (int32_t)raw;
        walk->at = at;
        return true;
    default:
        return false;
    }
}

static inline bool skip_fast(struct walk *walk, int wire, const uint8_t *end)
{
    const uint8_t *at = walk->at;
    uint64_t word;
    int64_t size;
    switch (wire) {
    case PB_VARINT:
        if (walk->readable - at < 8)
            return false;
        memcpy(&word, at, 8);
        word = ~word & 0x8080808080808080u; /* the first byte without the bit is the last */
        if (word == 0)
            return false;
        size = __builtin_ctzll(word) / 8 + 1;
        break;
    case PB_LEN:
        if (at == end || *at >= 0x80)
            return false;
        size = 1 + *at;
        break;
    case PB_FIXED64:
        size = 8;
        break;
    case PB_FIXED32:
        size = 4;
        break;
    default:
        return false;
    }
    if (size > end - at)
        return false;
    walk->at = at + size;
    return true;
}

/* The fields at walk->at, up to `end`, or to the end of `group`. */
static weir_err take_fields(struct walk *walk, struct pb_node *node, struct weir_batch *batch, int row,
                            const uint8_t *end, uint32_t group)
{
    while (walk->at < end) {
        uint32_t number;
        int wire, which;
        uint8_t tag = *walk->at;
        if (tag < 0x80 && tag >= 8) {
            walk->at++;
            which = node->by_tag[tag] - 1;
            number = tag >> 3;
            wire = tag & 7;
        } else {
            if (!pb_tag(&walk->at, end, &number, &wire))
                return malformed(walk, "no field begins here");
            which = find_entry(node, number, wire);
        }
        if (which >= 0) {
            if (take_fast(walk, &node->entries[which], batch, row, end)) {
                node->seen[which >> 6] |= (uint64_t)1 << (which & 63);
                continue;
            }
            weir_err err = take_entry(walk, node, which, batch, row, wire, end);
            if (err)
                return err;
        } else if (skip_fast(walk, wire, end)) {
            continue;
        } else if (wire == PB_END_GROUP && group == number) {
            return WEIR_OK;
        } else if (!pb_skip(&walk->at, end, number, wire)) {
            return malformed(walk, "a field is cut off, a group is not closed, or its wire type does not exist");
        }
    }
    return group == 0 ? WEIR_OK : malformed(walk, "a group is not closed");
}

weir_err weir_pb_decode(struct weir_pb_plan *plan, const uint8_t *bytes, size_t size, bool padded,
                        struct weir_batch *batch, struct weir_error *error)
{
    struct walk walk = {
        .plan = plan, .begin = bytes, .at = bytes, .readable = bytes + size + (padded ? PADDING : 0), .error = error};
    if (size > PB_RECORD_SIZE_MAX)
        return weir_fail_record(error, WEIR_BAD_TOO_LARGE, "%s: the record is longer than 256 MiB", plan->format);
    plan->budget = BUDGET_BYTES + BUDGET_TIMES * size;
    forget_all(plan->root);
    weir_err err = take_fields(&walk, plan->root, batch, batch->row_count, bytes + size, 0);
    if (!err)
        err = finish(&walk, plan->root, batch, batch->row_count);
    if (err)
        weir_batch_undo_row(batch);
    else
        batch->row_count++;
    return err;
}
