/* Batches on the wire (layout in batch_wire.h): one header and the buffers behind it, so that receiving is pointer
 * fix-up, never a walk over rows, except for offsets, which are checked.
 *
 * Data path: encoding runs on the sending task's thread or the exchange thread, decoding on the receiver's. Pure.
 * Invariants: what encode() writes is exactly wire_size() bytes, and decode() accepts it; decode() trusts no byte:
 * whatever comes in, the batch that goes out is safe to be worked on, or there is none.
 */
#include "data/batch_wire.h"

#include "base/assert.h"

#define MAGIC 0x54414257u /* "WBAT" */
#define VERSION 1
#define FLAG_CHANGE 1
#define FLAG_VALIDITY 1
#define HEADER_SIZE 16
#define COLUMN_HEADER_SIZE 32
/* int32 offsets */
#define BYTES_SIZE_MAX ((uint64_t)INT32_MAX)

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "arrays are sent as they lie in memory, little-endian");

static size_t padded(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

static size_t validity_size(int row_count)
{
    return weir_bitmap_words(row_count) * 8;
}

static bool has_offsets(enum weir_type_id type)
{
    return weir_type_is_variable(type) || weir_type_is_list(type);
}

static size_t values_size(enum weir_type_id type, int row_count)
{
    if (type == WEIR_TYPE_BOOLEAN)
        return validity_size(row_count);
    if (has_offsets(type))
        return ((size_t)row_count + 1) * sizeof(int32_t);
    return (size_t)row_count * (size_t)weir_type_width(type);
}

static size_t bytes_size(const struct weir_column *column, int row_count)
{
    if (!weir_type_is_variable(column->type) || row_count == 0)
        return 0;
    return (size_t)(column->offsets[row_count] - column->offsets[0]);
}

/* --- Encoding */

/* How many columns there are, with those inside of others. */
static size_t column_total(const struct weir_schema *schema)
{
    size_t total = (size_t)schema->field_count;
    for (int i = 0; i < schema->field_count; i++) {
        if (schema->fields[i].type.fields)
            total += column_total(schema->fields[i].type.fields);
    }
    return total;
}

/* The rows of the child that the column's `row_count` rows are about. A reference. */
static struct weir_batch *child_of(const struct weir_column *column, const struct weir_type *type, int row_count)
{
    if (!column->child) /* a shell without rows */
        return weir_batch_new_shell((struct weir_schema *)(uintptr_t)type->fields, 0);
    int first = 0, count = row_count;
    if (weir_type_is_list(type->id)) {
        first = row_count > 0 ? column->offsets[0] : 0;
        count = row_count > 0 ? column->offsets[row_count] - first : 0;
    }
    if (first == 0 && count == column->child->row_count)
        return weir_batch_ref(column->child);
    return weir_batch_slice(column->child, first, count); /* of a column that was cut out of another */
}

static size_t buffers_size(const struct weir_batch *batch)
{
    int row_count = batch->row_count;
    size_t size = 0;
    for (int i = 0; i < batch->schema->field_count; i++) {
        const struct weir_column *column = &batch->columns[i];
        size += column->validity ? validity_size(row_count) : 0;
        size += padded(values_size(column->type, row_count));
        size += padded(bytes_size(column, row_count));
        if (weir_type_is_nested(column->type)) {
            struct weir_batch *child = child_of(column, &batch->schema->fields[i].type, row_count);
            size += buffers_size(child);
            weir_batch_unref(child);
        }
    }
    return size;
}

size_t weir_batch_wire_size(const struct weir_batch *batch)
{
    return HEADER_SIZE + column_total(batch->schema) * COLUMN_HEADER_SIZE + buffers_size(batch) +
           (batch->change ? padded((size_t)batch->row_count) : 0);
}

static uint8_t *put(uint8_t *to, const void *bytes, size_t size)
{
    if (size > 0)
        memcpy(to, bytes, size);
    memset(to + size, 0, padded(size) - size);
    return to + padded(size);
}

/* Bits past row_count are undefined in memory; they are sent as zeros, so that equal batches have equal bytes and no old
 * memory leaves the process. */
static uint8_t *put_bits(uint8_t *to, const uint64_t *bits, int row_count)
{
    size_t size = validity_size(row_count);
    uint8_t *end = put(to, bits, size);
    if (row_count % 64 != 0) {
        uint64_t last = bits[row_count / 64] & (((uint64_t)1 << row_count % 64) - 1);
        memcpy(end - 8, &last, 8);
    }
    return end;
}

/* A column that was cut out of another begins at its own 0 on the wire. */
static uint8_t *put_offsets(uint8_t *to, const int32_t *offsets, int row_count)
{
    size_t size = ((size_t)row_count + 1) * sizeof *offsets;
    if (row_count == 0) { /* a shell without rows may have no offsets */
        memset(to, 0, padded(size));
        return to + padded(size);
    }
    int32_t base = offsets[0];
    if (base == 0)
        return put(to, offsets, size);
    for (int row = 0; row <= row_count; row++) {
        int32_t offset = offsets[row] - base;
        memcpy(to + (size_t)row * sizeof offset, &offset, sizeof offset);
    }
    memset(to + size, 0, padded(size) - size);
    return to + padded(size);
}

static void put_u32(uint8_t *to, uint32_t value)
{
    memcpy(to, &value, sizeof value);
}
static void put_u64(uint8_t *to, uint64_t value)
{
    memcpy(to, &value, sizeof value);
}

static void put_column_header(uint8_t *to, const struct weir_column *column, int row_count)
{
    memset(to, 0, COLUMN_HEADER_SIZE);
    to[0] = (uint8_t)column->type;
    to[1] = column->validity ? FLAG_VALIDITY : 0;
    put_u64(to + 8, column->validity ? validity_size(row_count) : 0);
    put_u64(to + 16, values_size(column->type, row_count));
    put_u64(to + 24, bytes_size(column, row_count));
}

struct writer {
    uint8_t *header;
    uint8_t *at;
};

static void put_columns(struct writer *writer, const struct weir_batch *batch)
{
    int row_count = batch->row_count;
    for (int i = 0; i < batch->schema->field_count; i++) {
        const struct weir_column *column = &batch->columns[i];
        uint8_t *at = writer->at;
        put_column_header(writer->header, column, row_count);
        writer->header += COLUMN_HEADER_SIZE;
        if (column->validity)
            at = put_bits(at, column->validity, row_count);
        if (column->type == WEIR_TYPE_BOOLEAN) {
            at = put_bits(at, column->bits, row_count);
        } else if (has_offsets(column->type)) {
            at = put_offsets(at, column->offsets, row_count);
            if (row_count > 0 && column->bytes)
                at = put(at, column->bytes + column->offsets[0], bytes_size(column, row_count));
        } else {
            at = put(at, column->values, values_size(column->type, row_count));
        }
        writer->at = at;
        if (weir_type_is_nested(column->type)) {
            struct weir_batch *child = child_of(column, &batch->schema->fields[i].type, row_count);
            put_columns(writer, child);
            weir_batch_unref(child);
        }
    }
}

size_t weir_batch_wire_encode(const struct weir_batch *batch, uint8_t *out)
{
    int row_count = batch->row_count;
    put_u32(out, MAGIC);
    put_u32(out + 4, VERSION | (uint32_t)(batch->change ? FLAG_CHANGE : 0) << 16);
    put_u32(out + 8, (uint32_t)row_count);
    put_u32(out + 12, (uint32_t)batch->schema->field_count);
    struct writer writer = {.header = out + HEADER_SIZE,
                            .at = out + HEADER_SIZE + column_total(batch->schema) * COLUMN_HEADER_SIZE};
    put_columns(&writer, batch);
    if (batch->change)
        writer.at = put(writer.at, batch->change, (size_t)row_count);
    return (size_t)(writer.at - out);
}

/* --- Decoding */

struct reader {
    struct weir_buffer *owner;
    const uint8_t *at;
    const uint8_t *end;
    const uint8_t *header; /* of the next column */
};

static uint32_t get_u32(const uint8_t *from)
{
    uint32_t value;
    memcpy(&value, from, sizeof value);
    return value;
}
static uint64_t get_u64(const uint8_t *from)
{
    uint64_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

/* The next `size` bytes (padded to 8), NULL: they are not there. */
static const uint8_t *take(struct reader *reader, uint64_t size)
{
    size_t left = (size_t)(reader->end - reader->at);
    if (size > left || padded((size_t)size) > left)
        return NULL;
    const uint8_t *at = reader->at;
    reader->at += padded((size_t)size);
    return at;
}

/* The array at `from`, in `owner` where it is aligned and kernels that work on whole 64-byte blocks stay inside it, else
 * copied. *buffer takes the reference. */
static void *adopt(const struct reader *reader, const uint8_t *from, size_t size, size_t align,
                   struct weir_buffer **buffer)
{
    struct weir_buffer *owner = reader->owner;
    if (owner && (uintptr_t)from % align == 0) {
        size_t offset = (size_t)(from - owner->bytes);
        if (offset + ((size + 63) & ~(size_t)63) <= owner->capacity) {
            *buffer = weir_buffer_ref(owner);
            return owner->bytes + offset;
        }
    }
    *buffer = weir_buffer_new(size);
    if (size > 0)
        memcpy((*buffer)->bytes, from, size);
    return (*buffer)->bytes;
}

static bool offsets_valid(const int32_t *offsets, int row_count, uint64_t size)
{
    int32_t wrong = offsets[0]; /* must be 0; a decrease leaves the sign bit */
    for (int row = 0; row < row_count; row++)
        wrong |= (int32_t)(((int64_t)offsets[row + 1] - offsets[row]) >> 63);
    return wrong == 0 && (uint64_t)(uint32_t)offsets[row_count] == size;
}

static weir_err decode_columns(struct reader *reader, struct weir_batch *batch, struct weir_error *error);

static weir_err decode_child(struct reader *reader, const struct weir_field *field, struct weir_column *column,
                             int row_count, struct weir_error *error)
{
    int rows = weir_type_is_list(field->type.id) ? column->offsets[row_count] : row_count;
    /* A row of any column has a bit at least. */
    if ((uint64_t)rows > 8 * (uint64_t)(reader->end - reader->at) + 64)
        return weir_fail(error, WEIR_ERR_PROTOCOL, "batch: column '%s' has %d elements, more than bytes", field->name,
                         rows);
    column->child = weir_batch_new_shell((struct weir_schema *)(uintptr_t)field->type.fields, rows);
    weir_err err = decode_columns(reader, column->child, error);
    return err ? weir_wrap(error, "in column '%s'", field->name) : WEIR_OK;
}

static weir_err decode_column(struct reader *reader, const struct weir_field *field, struct weir_column *column,
                              int row_count, struct weir_error *error)
{
    const uint8_t *header = reader->header;
    enum weir_type_id type = field->type.id;
    uint64_t validity = get_u64(header + 8), values = get_u64(header + 16), bytes = get_u64(header + 24);
    bool variable = weir_type_is_variable(type);
    reader->header += COLUMN_HEADER_SIZE;
    if (header[0] != (uint8_t)type)
        return weir_fail(error, WEIR_ERR_PROTOCOL, "batch: column '%s' has type %u on the wire, %d in the plan",
                         field->name, header[0], (int)type);
    if ((header[1] & ~FLAG_VALIDITY) != 0 || header[2] != 0 || header[3] != 0 || get_u32(header + 4) != 0)
        return weir_fail(error, WEIR_ERR_PROTOCOL, "batch: column '%s' has an unknown flag", field->name);
    if (validity != (header[1] & FLAG_VALIDITY ? validity_size(row_count) : 0) ||
        values != values_size(type, row_count) || bytes > (variable ? BYTES_SIZE_MAX : 0))
        return weir_fail(error, WEIR_ERR_PROTOCOL, "batch: column '%s' has wrong sizes for %d rows", field->name,
                         row_count);
    const uint8_t *validity_at = take(reader, validity);
    const uint8_t *values_at = validity_at ? take(reader, values) : NULL;
    const uint8_t *bytes_at = values_at ? take(reader, bytes) : NULL;
    if (!bytes_at)
        return weir_fail(error, WEIR_ERR_PROTOCOL, "batch: it ends in column '%s'", field->name);
    if (header[1] & FLAG_VALIDITY) {
        column->validity = adopt(reader, validity_at, (size_t)validity, 8, &column->validity_buffer);
        if (!field->type.nullable && weir_bitmap_count(column->validity, row_count) != row_count)
            return weir_fail(error, WEIR_ERR_PROTOCOL, "batch: column '%s' is NOT NULL and has a NULL", field->name);
    }
    int width = weir_type_width(type);
    size_t align = has_offsets(type) ? 4 : width > 0 && width < 8 ? (size_t)width : 8;
    if (type != WEIR_TYPE_ROW)
        column->values = adopt(reader, values_at, (size_t)values, align, &column->values_buffer);
    if (has_offsets(type)) {
        uint64_t size = variable ? bytes : (uint32_t)column->offsets[row_count];
        if (!offsets_valid(column->offsets, row_count, size))
            return weir_fail(error, WEIR_ERR_PROTOCOL, "batch: column '%s' has offsets that are not in order or range",
                             field->name);
    }
    if (variable)
        column->bytes = adopt(reader, bytes_at, (size_t)bytes, 1, &column->bytes_buffer);
    return weir_type_is_nested(type) ? decode_child(reader, field, column, row_count, error) : WEIR_OK;
}

static weir_err decode_columns(struct reader *reader, struct weir_batch *batch, struct weir_error *error)
{
    weir_err err = WEIR_OK;
    for (int i = 0; i < batch->schema->field_count && !err; i++)
        err = decode_column(reader, &batch->schema->fields[i], &batch->columns[i], batch->row_count, error);
    return err;
}

static weir_err decode_change(struct reader *reader, struct weir_batch *batch, struct weir_error *error)
{
    const uint8_t *at = take(reader, (uint64_t)batch->row_count);
    if (!at)
        return weir_fail(error, WEIR_ERR_PROTOCOL, "batch: it ends in the change kinds");
    batch->change = adopt(reader, at, (size_t)batch->row_count, 1, &batch->change_buffer);
    uint8_t seen = 0;
    for (int row = 0; row < batch->row_count; row++)
        seen |= batch->change[row];
    if (seen > WEIR_DELETE)
        return weir_fail(error, WEIR_ERR_PROTOCOL, "batch: a change kind that does not exist");
    return WEIR_OK;
}

weir_err weir_batch_wire_decode(struct weir_schema *schema, struct weir_buffer *owner, const uint8_t *bytes,
                                size_t size, struct weir_batch **batch, struct weir_error *error)
{
    if (size < HEADER_SIZE || get_u32(bytes) != MAGIC)
        return weir_fail(error, WEIR_ERR_PROTOCOL, "batch: %zu bytes without its header", size);
    uint32_t version = get_u32(bytes + 4) & 0xffff, flags = get_u32(bytes + 4) >> 16;
    uint32_t row_count = get_u32(bytes + 8), column_count = get_u32(bytes + 12);
    if (version != VERSION || (flags & ~(uint32_t)FLAG_CHANGE) != 0)
        return weir_fail(error, WEIR_ERR_PROTOCOL, "batch: version %u with flags %u; this is version %d", version,
                         flags, VERSION);
    if (row_count > WEIR_BATCH_ROWS_MAX)
        return weir_fail(error, WEIR_ERR_PROTOCOL, "batch: %u rows; the most is %d", row_count, WEIR_BATCH_ROWS_MAX);
    if (column_count != (uint32_t)schema->field_count)
        return weir_fail(error, WEIR_ERR_PROTOCOL, "batch: %u columns on the wire, %d in the plan", column_count,
                         schema->field_count);
    size_t headers = column_total(schema);
    if ((size - HEADER_SIZE) / COLUMN_HEADER_SIZE < headers)
        return weir_fail(error, WEIR_ERR_PROTOCOL, "batch: it ends in its column headers");
    struct reader reader = {.owner = owner,
                            .at = bytes + HEADER_SIZE + headers * COLUMN_HEADER_SIZE,
                            .end = bytes + size,
                            .header = bytes + HEADER_SIZE};
    struct weir_batch *decoded = weir_batch_new_shell(schema, (int)row_count);
    weir_err err = decode_columns(&reader, decoded, error);
    if (!err && flags & FLAG_CHANGE)
        err = decode_change(&reader, decoded, error);
    if (!err && reader.at != reader.end)
        err = weir_fail(error, WEIR_ERR_PROTOCOL, "batch: %td bytes too many", reader.end - reader.at);
    if (err) {
        weir_batch_unref(decoded);
        return err;
    }
    *batch = decoded;
    return WEIR_OK;
}
