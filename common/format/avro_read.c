/* Records of Avro's binary encoding into batches, by a program (avro_int.h).
 *
 * Nothing is believed of the bytes: lengths are compared with what is left, counts of elements with the bytes that they need at least (and of
 * elements without bytes a few thousand at most), numbers with their range, nesting that only the bytes bound (recursive types, which are skipped) with DEPTH_MAX.
 * What is not wanted is skipped without looking at it, so that text in it may be broken; but the record must end where its schema says.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "data/decimal.h"
#include "data/value_code.h"
#include "format/avro_int.h"
#include "format/simdjson_shim.h"
#include "format/text_int.h"

#define DEPTH_MAX 100
#define EMPTY_ELEMENTS_MAX 4096         /* of a list whose elements have no bytes */
#define ELEMENTS_MAX ((int64_t)1 << 22) /* of any list */
#define RECORD_SIZE_MAX ((size_t)256 << 20)
#define DAYS_MIN (-719162) /* 0001-01-01 */
#define DAYS_MAX 2932896   /* 9999-12-31 */
#define BLOCK 16           /* bytes that may be written behind a short text: weir_column_reserve_bytes() */

struct input {
    const uint8_t *at, *end;
    const char *format; /* opens messages */
    struct weir_error *error;
};

/* --- Sentences */

static __attribute__((noinline, cold)) weir_err bad(struct input *in, const char *what)
{
    return weir_fail_record(in->error, WEIR_BAD_MALFORMED, "%s: the record %s", in->format, what);
}

static __attribute__((noinline, cold)) weir_err cut_off(struct input *in)
{
    return bad(in, "is cut off, or was written with another schema");
}

static __attribute__((noinline, cold)) weir_err bad_value(struct input *in, const struct weir_avro_step *step,
                                                          const char *what)
{
    char type[64];
    return weir_fail_record(in->error, WEIR_BAD_VALUE, "%s: column '%.200s' (%s) %s", in->format, step->path,
                            weir_type_print(step->type, type), what);
}

/* --- Bytes. All false: cut off. */

static bool take_varint_slow(struct input *in, uint64_t *value)
{
    uint64_t number = 0;
    for (int shift = 0; shift < 70 && in->at < in->end; shift += 7) {
        uint8_t byte = *in->at++;
        if (shift == 63 && byte > 1)
            return false; /* more than 64 bits */
        number |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *value = number;
            return true;
        }
    }
    return false;
}

static inline bool take_long(struct input *in, int64_t *value)
{
    uint64_t number;
    if (in->at < in->end && *in->at < 0x80)
        number = *in->at++;
    else if (!take_varint_slow(in, &number))
        return false;
    *value = (int64_t)(number >> 1) ^ -(int64_t)(number & 1);
    return true;
}

static inline bool take_bytes(struct input *in, size_t size, const uint8_t **bytes)
{
    if (size > (size_t)(in->end - in->at))
        return false;
    *bytes = in->at;
    in->at += size;
    return true;
}

static inline bool take_sized(struct input *in, const uint8_t **bytes, size_t *size)
{
    int64_t length;
    if (!take_long(in, &length) || length < 0)
        return false;
    *size = (size_t)length;
    return take_bytes(in, *size, bytes);
}

/* The number of the next block's elements, 0 at the end; *size is -1 or its bytes. */
static bool take_block(struct input *in, int64_t *count, int64_t *size)
{
    *size = -1;
    if (!take_long(in, count))
        return false;
    if (*count >= 0)
        return true;
    if (*count == INT64_MIN || !take_long(in, size) || *size < 0 || *size > in->end - in->at)
        return false;
    *count = -*count;
    return true;
}

/* --- Skipping */

static weir_err skip(struct input *in, const struct weir_avro_node *node, int depth);

static weir_err skip_list(struct input *in, const struct weir_avro_node *node, int depth)
{
    for (;;) {
        const uint8_t *bytes;
        size_t key_size;
        int64_t count, size;
        if (!take_block(in, &count, &size))
            return cut_off(in);
        if (count == 0)
            return WEIR_OK;
        if (size >= 0) {
            in->at += size;
            continue;
        }
        if (node->kind == WEIR_AVRO_ARRAY && node->parts[0]->may_be_empty)
            continue;
        for (int64_t i = 0; i < count; i++) { /* each has a byte at least */
            if (node->kind == WEIR_AVRO_MAP && !take_sized(in, &bytes, &key_size))
                return cut_off(in);
            weir_err err = skip(in, node->parts[0], depth + 1);
            if (err)
                return err;
        }
    }
}

static weir_err skip(struct input *in, const struct weir_avro_node *node, int depth)
{
    static const uint8_t sizes[WEIR_AVRO_KINDS] = {
        [WEIR_AVRO_BOOLEAN] = 1, [WEIR_AVRO_FLOAT] = 4, [WEIR_AVRO_DOUBLE] = 8};
    const uint8_t *bytes;
    size_t size = sizes[node->kind];
    int64_t number = 0;
    if (node->may_be_empty)
        return WEIR_OK;
    if (depth > DEPTH_MAX)
        return bad(in, "is nested too deep");
    switch (node->kind) {
    case WEIR_AVRO_INT:
    case WEIR_AVRO_LONG:
    case WEIR_AVRO_ENUM:
        return take_long(in, &number) ? WEIR_OK : cut_off(in);
    case WEIR_AVRO_BYTES:
    case WEIR_AVRO_STRING:
        return take_sized(in, &bytes, &size) ? WEIR_OK : cut_off(in);
    case WEIR_AVRO_RECORD:
        for (int i = 0; i < node->count; i++) {
            weir_err err = skip(in, node->fields[i].type, depth + 1);
            if (err)
                return err;
        }
        return WEIR_OK;
    case WEIR_AVRO_UNION:
        if (!take_long(in, &number) || number < 0 || number >= node->count)
            return cut_off(in);
        return skip(in, node->parts[number], depth + 1);
    case WEIR_AVRO_ARRAY:
    case WEIR_AVRO_MAP:
        return skip_list(in, node, depth);
    case WEIR_AVRO_FIXED:
        size = (size_t)node->count;
        break;
    default:
        break;
    }
    return take_bytes(in, size, &bytes) ? WEIR_OK : cut_off(in);
}

/* --- Scalars */

static inline bool is_ascii(const uint8_t *bytes, size_t size)
{
    uint64_t word, seen = 0;
    for (; size >= 8; size -= 8, bytes += 8) {
        memcpy(&word, bytes, 8);
        seen |= word;
    }
    for (; size > 0; size--)
        seen |= *bytes++;
    return (seen & 0x8080808080808080u) == 0;
}

/* `end`: of what may be read, behind `bytes`. */
static inline void store_bytes(struct weir_column *to, int row, const uint8_t *bytes, size_t size, const uint8_t *end)
{
    size_t used = (size_t)to->offsets[row];
    if (size <= BLOCK && end - bytes >= BLOCK && to->bytes_buffer && used + BLOCK <= to->bytes_buffer->capacity) {
        memcpy(to->bytes + used, bytes, BLOCK); /* the usual case: one block, whatever its size */
        to->offsets[row + 1] = (int32_t)(used + size);
        return;
    }
    weir_column_set_bytes(to, row, bytes, size);
}

static weir_err read_text(struct input *in, const struct weir_avro_step *step, struct weir_column *to, int row)
{
    const uint8_t *bytes;
    size_t size;
    if (!take_sized(in, &bytes, &size))
        return cut_off(in);
    if (step->op == WEIR_AVRO_TO_STRING && !is_ascii(bytes, size) && !weir_utf8_valid(bytes, size))
        return bad_value(in, step, "is not valid UTF-8");
    store_bytes(to, row, bytes, size, in->end);
    return WEIR_OK;
}

static weir_err read_int(struct input *in, const struct weir_avro_step *step, struct weir_column *to, int row)
{
    static const int64_t limits[5] = {[1] = INT8_MAX, [2] = INT16_MAX, [4] = INT32_MAX};
    int64_t value;
    int width = weir_type_width(to->type);
    if (!take_long(in, &value))
        return cut_off(in);
    if (value > limits[width] || value < -limits[width] - 1)
        return bad_value(in, step, "is a number that is out of range");
    weir_column_set_int(to, row, width, value);
    return WEIR_OK;
}

static inline int64_t floor_div(int64_t value, int64_t by)
{
    return value / by - (value % by < 0);
}

static weir_err read_time(struct input *in, const struct weir_avro_step *step, struct weir_column *to, int row)
{
    int64_t value;
    if (!take_long(in, &value))
        return cut_off(in);
    if (step->op == WEIR_AVRO_TO_DATE) {
        if (value < DAYS_MIN || value > DAYS_MAX)
            return bad_value(in, step, "is a date outside the years 1 to 9999");
        to->i32[row] = (int32_t)value;
        return WEIR_OK;
    }
    value = floor_div(value, step->divisor);
    if (step->op == WEIR_AVRO_TO_TIME) {
        if (value < 0 || value >= 86400000)
            return bad_value(in, step, "is not a time of a day");
        to->i32[row] = (int32_t)weir_ms_cut(value, step->type->precision);
        return WEIR_OK;
    }
    if (value < WEIR_TIMESTAMP_MIN_MS || value > WEIR_TIMESTAMP_MAX_MS)
        return bad_value(in, step, "is a time outside the years 1 to 9999");
    to->i64[row] = weir_ms_cut(value, step->type->precision);
    return WEIR_OK;
}

/* Big-endian two's complement, of any length. False: no bytes, or more than 128 bits. */
static bool to_int128(const uint8_t *bytes, size_t size, weir_int128 *value)
{
    if (size == 0)
        return false;
    uint8_t sign = bytes[0] & 0x80 ? 0xff : 0;
    for (; size > 16; size--, bytes++)
        if (bytes[0] != sign || (bytes[1] & 0x80) != (sign & 0x80))
            return false;
    weir_uint128 number = sign ? ~(weir_uint128)0 : 0;
    for (size_t i = 0; i < size; i++)
        number = number << 8 | bytes[i];
    *value = (weir_int128)number;
    return true;
}

static weir_err read_decimal(struct input *in, const struct weir_avro_step *step, struct weir_column *to, int row)
{
    const uint8_t *bytes;
    size_t size = (size_t)step->size;
    weir_int128 value, rescaled, back;
    if (!(step->op == WEIR_AVRO_FIXED_TO_DECIMAL ? take_bytes(in, size, &bytes) : take_sized(in, &bytes, &size)))
        return cut_off(in);
    int from = step->writer->scale, scale = step->type->scale;
    bool fits = to_int128(bytes, size, &value) && weir_decimal_fits(value, WEIR_DECIMAL_DIGITS_MAX) &&
                from <= WEIR_DECIMAL_DIGITS_MAX;
    if (fits && from == scale)
        fits = weir_decimal_fits(rescaled = value, step->type->precision);
    else if (fits) /* there and back: nothing was rounded away */
        fits = weir_decimal_rescale(value, from, step->type->precision, scale, &rescaled) &&
               weir_decimal_rescale(rescaled, scale, WEIR_DECIMAL_DIGITS_MAX, from, &back) && back == value;
    if (!fits)
        return bad_value(in, step, "is a decimal that does not fit exactly");
    to->decimals[row] = weir_decimal_make(rescaled);
    return WEIR_OK;
}

static weir_err read_fixed(struct input *in, const struct weir_avro_step *step, struct weir_column *to, int row)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *bytes;
    if (!take_bytes(in, (size_t)step->size, &bytes))
        return cut_off(in);
    if (step->op == WEIR_AVRO_FIXED_TO_BYTES) {
        weir_column_set_bytes(to, row, bytes, (size_t)step->size);
        return WEIR_OK;
    }
    uint8_t *out = weir_column_reserve_bytes(to, row, 36); /* a uuid */
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *out++ = '-';
        *out++ = (uint8_t)digits[bytes[i] >> 4];
        *out++ = (uint8_t)digits[bytes[i] & 15];
    }
    return WEIR_OK;
}

static weir_err read_enum(struct input *in, const struct weir_avro_step *step, struct weir_column *to, int row)
{
    int64_t number;
    if (!take_long(in, &number) || number < 0 || number >= step->writer->count)
        return cut_off(in);
    const char *symbol = step->symbols[number];
    if (!symbol)
        return weir_fail_record(in->error, WEIR_BAD_VALUE,
                                "%s: column '%.200s' is '%.100s', which the reader's enum has not, nor a default",
                                in->format, step->path, step->writer->symbols[number]);
    weir_column_set_bytes(to, row, symbol, strlen(symbol));
    return WEIR_OK;
}

/* int, long, float, double into FLOAT and DOUBLE. */
static weir_err read_double(struct input *in, const struct weir_avro_step *step, struct weir_column *to, int row)
{
    const uint8_t *bytes = NULL;
    int64_t whole;
    float narrow;
    bool from_int = step->op == WEIR_AVRO_INT_TO_FLOAT || step->op == WEIR_AVRO_INT_TO_DOUBLE;
    if (!(from_int ? take_long(in, &whole) : take_bytes(in, step->op == WEIR_AVRO_DOUBLE_TO_DOUBLE ? 8 : 4, &bytes)))
        return cut_off(in);
    switch (step->op) {
    case WEIR_AVRO_INT_TO_FLOAT:
        to->f32[row] = (float)whole;
        break;
    case WEIR_AVRO_INT_TO_DOUBLE:
        to->f64[row] = (double)whole;
        break;
    case WEIR_AVRO_FLOAT_TO_FLOAT:
        memcpy(&to->f32[row], bytes, 4);
        break;
    case WEIR_AVRO_FLOAT_TO_DOUBLE:
        memcpy(&narrow, bytes, 4);
        to->f64[row] = (double)narrow;
        break;
    default:
        memcpy(&to->f64[row], bytes, 8);
    }
    return WEIR_OK;
}

/* --- Structure */

static weir_err read_value(struct input *in, const struct weir_avro_step *step, struct weir_batch *batch,
                           struct weir_column *to, int row);

static weir_err read_null(struct input *in, const struct weir_avro_step *step, struct weir_batch *batch,
                          struct weir_column *to, int row)
{
    if (!step->type->nullable)
        return bad_value(in, step, "is null");
    weir_column_set_null(to, row, batch->row_capacity);
    return WEIR_OK;
}

static weir_err read_union(struct input *in, const struct weir_avro_step *step, struct weir_batch *batch,
                           struct weir_column *to, int row)
{
    int64_t branch;
    if (!take_long(in, &branch) || branch < 0 || branch >= step->writer->count)
        return cut_off(in);
    if (step->op == WEIR_AVRO_NULLABLE)
        return branch == step->size ? read_null(in, step, batch, to, row) : read_value(in, step->parts, batch, to, row);
    return read_value(in, &step->parts[branch], batch, to, row);
}

static weir_err read_list(struct input *in, const struct weir_avro_step *step, struct weir_column *to, int row)
{
    bool map = step->op == WEIR_AVRO_TO_MAP;
    const struct weir_avro_step *element = step->parts;
    bool empty = !map && element->writer->may_be_empty;
    int64_t count, size, all = 0;
    weir_column_list_begin(to, row);
    for (;;) {
        if (!take_block(in, &count, &size))
            return cut_off(in);
        if (count == 0)
            break;
        if (empty ? count > EMPTY_ELEMENTS_MAX - all : count > in->end - in->at || count > ELEMENTS_MAX - all)
            return bad_value(in, step, "claims to have more elements than the record can hold");
        for (all += count; count > 0; count--) {
            int at = weir_column_element(to);
            struct weir_batch *child = to->child;
            const uint8_t *key;
            size_t key_size;
            if (map) {
                if (!take_sized(in, &key, &key_size))
                    return cut_off(in);
                if (!weir_utf8_valid(key, key_size))
                    return bad_value(in, step, "has a key that is not valid UTF-8");
                weir_column_set_bytes(&child->columns[0], at, key, key_size);
            }
            weir_err err = read_value(in, element, child, &child->columns[map], at);
            if (err)
                return err;
            weir_column_element_done(to);
        }
    }
    weir_column_list_end(to, row);
    if (map)
        weir_map_unique(to, row);
    return WEIR_OK;
}

static weir_err read_missing(struct input *in, const struct weir_avro_step *step, struct weir_batch *batch, int row)
{
    for (int i = 0; i < step->missing_count; i++) {
        const struct weir_avro_missing *missing = &step->missing[i];
        struct weir_column *to = &batch->columns[missing->column];
        if (!missing->bytes) {
            weir_column_set_null(to, row, batch->row_capacity);
            continue;
        }
        struct input value = *in;
        value.at = missing->bytes;
        value.end = missing->bytes + missing->size;
        weir_err err = read_value(&value, missing->step, batch, to, row);
        if (err)
            return err;
    }
    return WEIR_OK;
}

static inline weir_err skip_field(struct input *in, const struct weir_avro_step *step)
{
    const uint8_t *bytes;
    size_t size;
    int64_t number;
    bool there;
    if (step->op == WEIR_AVRO_SKIP_OPTION) {
        if (!take_long(in, &number) || number < 0 || number > 1)
            return cut_off(in);
        if (number == step->column)
            return WEIR_OK;
        step = step->parts;
    }
    switch (step->op) {
    case WEIR_AVRO_SKIP_VARINT:
        there = take_long(in, &number);
        break;
    case WEIR_AVRO_SKIP_SIZED:
        there = take_sized(in, &bytes, &size);
        break;
    case WEIR_AVRO_SKIP_FIXED:
        there = take_bytes(in, (size_t)step->size, &bytes);
        break;
    default:
        return skip(in, step->writer, 0);
    }
    return there ? WEIR_OK : cut_off(in);
}

/* The fields of a record into row `row` of `batch`. */
static weir_err read_fields(struct input *in, const struct weir_avro_step *step, struct weir_batch *batch, int row)
{
    const struct weir_avro_step *part = step->parts, *end = part + step->part_count;
    for (; part < end; part++) {
        weir_err err = part->column < 0 || part->op <= WEIR_AVRO_SKIP_OPTION
                           ? skip_field(in, part)
                           : read_value(in, part, batch, &batch->columns[part->column], row);
        if (err)
            return err;
    }
    return step->missing_count > 0 ? read_missing(in, step, batch, row) : WEIR_OK;
}

static weir_err read_row(struct input *in, const struct weir_avro_step *step, struct weir_column *to, int row)
{
    weir_column_row_begin(to, row);
    weir_err err = read_fields(in, step, to->child, row);
    if (!err)
        weir_column_row_end(to, row);
    return err;
}

static weir_err read_value(struct input *in, const struct weir_avro_step *step, struct weir_batch *batch,
                           struct weir_column *to, int row)
{
    const uint8_t *bytes;
    switch (step->op) {
    case WEIR_AVRO_TO_NULL:
        return read_null(in, step, batch, to, row);
    case WEIR_AVRO_NULLABLE:
    case WEIR_AVRO_BRANCHES:
        return read_union(in, step, batch, to, row);
    case WEIR_AVRO_REFUSE:
        return weir_fail_record(in->error, WEIR_BAD_SCHEMA, "%s: %s", in->format, step->text);
    case WEIR_AVRO_TO_ROW:
        return read_row(in, step, to, row);
    case WEIR_AVRO_TO_ARRAY:
    case WEIR_AVRO_TO_MAP:
        return read_list(in, step, to, row);
    case WEIR_AVRO_TO_BOOLEAN:
        if (!take_bytes(in, 1, &bytes))
            return cut_off(in);
        if (*bytes > 1)
            return bad_value(in, step, "is neither true nor false");
        weir_bit_put(to->bits, row, *bytes);
        return WEIR_OK;
    case WEIR_AVRO_TO_INT:
        return read_int(in, step, to, row);
    case WEIR_AVRO_TO_INT64:
        return take_long(in, &to->i64[row]) ? WEIR_OK : cut_off(in);
    case WEIR_AVRO_TO_STRING:
    case WEIR_AVRO_TO_BYTES:
        return read_text(in, step, to, row);
    case WEIR_AVRO_FIXED_TO_BYTES:
    case WEIR_AVRO_UUID_TO_STRING:
        return read_fixed(in, step, to, row);
    case WEIR_AVRO_ENUM_TO_STRING:
        return read_enum(in, step, to, row);
    case WEIR_AVRO_TO_DATE:
    case WEIR_AVRO_TO_TIME:
    case WEIR_AVRO_TO_TIMESTAMP:
        return read_time(in, step, to, row);
    case WEIR_AVRO_BYTES_TO_DECIMAL:
    case WEIR_AVRO_FIXED_TO_DECIMAL:
        return read_decimal(in, step, to, row);
    default:
        return read_double(in, step, to, row);
    }
}

weir_err weir_avro_read(const char *format, const struct weir_avro_reader *program, const uint8_t *bytes, size_t size,
                        struct weir_batch *batch, struct weir_error *error)
{
    struct input in = {.at = bytes, .end = bytes + size, .format = format, .error = error};
    if (size > RECORD_SIZE_MAX)
        return bad(&in, "is longer than 256 MiB");
    weir_err err = read_fields(&in, &program->root, batch, batch->row_count);
    if (!err && in.at != in.end)
        err = bad(&in, "goes on behind its last field: it was written with another schema");
    if (err)
        weir_batch_undo_row(batch);
    else
        batch->row_count++;
    return err;
}
