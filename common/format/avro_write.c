/* Rows to records of Avro's binary encoding, by a program: a tree of steps in the order of the schema. Each NULL takes the null of a union, other values the first
 * branch that can have their type. Numbers may widen and times change their unit, never lose something: a decimal that does not fit exactly is DATA.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/decimal.h"
#include "format/avro_int.h"
#include "format/text_int.h"

struct write_step {
    const struct weir_avro_node *node; /* what is written, no union */
    const struct weir_type *type;
    const char *path;
    int column;           /* -1: a constant */
    int branch;           /* of the union around it; -1: there is none */
    int null_branch;      /* -1: NULL cannot be written */
    int64_t factor;       /* TIME, TIMESTAMP: units in 1 ms */
    const uint8_t *bytes; /* the constant */
    size_t size;
    int part_count;
    struct write_step *parts; /* record: fields; list: one */
};

struct weir_avro_writer {
    struct write_step root;
    struct weir_arena memory;
};

static bool put_long(struct weir_buf *out, int64_t value)
{
    uint8_t bytes[10];
    uint64_t number = (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
    size_t size = 0;
    for (; number >= 0x80; number >>= 7)
        bytes[size++] = (uint8_t)(number | 0x80);
    bytes[size++] = (uint8_t)number;
    return weir_buf_append(out, bytes, size);
}

static bool put_sized(struct weir_buf *out, const void *bytes, size_t size)
{
    return put_long(out, (int64_t)size) && weir_buf_append(out, bytes, size);
}

/* --- Defaults */

/* JSON has the bytes of bytes and fixed as characters U+0000 to U+00FF. */
static bool put_default_bytes(const struct weir_avro_node *node, const json_t *value, struct weir_buf *out)
{
    const unsigned char *text = (const unsigned char *)json_string_value(value);
    struct weir_buf bytes;
    weir_buf_init(&bytes, out->max);
    bool ok = text != NULL;
    while (ok && *text) {
        uint8_t byte = *text++;
        if (byte >= 0x80) { /* two bytes of UTF-8 */
            ok = byte <= 0xc3;
            byte = (uint8_t)(byte << 6 | (*text++ & 0x3f));
        }
        ok = ok && weir_buf_append(&bytes, &byte, 1);
    }
    if (node->kind == WEIR_AVRO_FIXED)
        ok = ok && bytes.size == (size_t)node->count && weir_buf_append(out, bytes.data, bytes.size);
    else
        ok = ok && put_sized(out, bytes.data, bytes.size);
    weir_buf_fini(&bytes);
    return ok;
}

static bool put_default_parts(const struct weir_avro_node *node, const json_t *value, struct weir_buf *out)
{
    const char *key;
    json_t *part;
    size_t count = node->kind == WEIR_AVRO_ARRAY ? json_array_size(value) : json_object_size(value);
    if (!(node->kind == WEIR_AVRO_ARRAY ? json_is_array(value) : json_is_object(value)))
        return false;
    if (node->kind == WEIR_AVRO_RECORD) {
        for (int i = 0; i < node->count; i++) {
            part = json_object_get(value, node->fields[i].name);
            const json_t *own = part ? part : node->fields[i].default_value;
            if (!own || !weir_avro_put_default(node->fields[i].type, own, out))
                return false;
        }
        return true;
    }
    if (count > 0 && !put_long(out, (int64_t)count))
        return false;
    if (node->kind == WEIR_AVRO_ARRAY) {
        for (size_t i = 0; i < count; i++)
            if (!weir_avro_put_default(node->parts[0], json_array_get(value, i), out))
                return false;
    } else {
        json_object_foreach((json_t *)(uintptr_t)value, key,
                            part) if (!put_sized(out, key, strlen(key)) ||
                                      !weir_avro_put_default(node->parts[0], part, out)) return false;
    }
    return put_long(out, 0);
}

static bool put_default_union(const struct weir_avro_node *node, const json_t *value, struct weir_buf *out)
{
    for (int i = 0; i < node->count; i++) {
        size_t before = out->size;
        if (put_long(out, i) && weir_avro_put_default(node->parts[i], value, out))
            return true;
        out->size = before;
    }
    return false;
}

bool weir_avro_put_default(const struct weir_avro_node *node, const json_t *value, struct weir_buf *out)
{
    uint8_t byte = json_is_true(value);
    double number = json_number_value(value);
    float narrow = (float)number;
    json_int_t whole = json_integer_value(value);
    const char *text = json_string_value(value);
    switch (node->kind) {
    case WEIR_AVRO_NULL:
        return json_is_null(value);
    case WEIR_AVRO_BOOLEAN:
        return json_is_boolean(value) && weir_buf_append(out, &byte, 1);
    case WEIR_AVRO_INT:
    case WEIR_AVRO_LONG:
        return json_is_integer(value) && (node->kind == WEIR_AVRO_LONG || (whole >= INT32_MIN && whole <= INT32_MAX)) &&
               put_long(out, whole);
    case WEIR_AVRO_FLOAT:
        return json_is_number(value) && weir_buf_append(out, &narrow, sizeof narrow);
    case WEIR_AVRO_DOUBLE:
        return json_is_number(value) && weir_buf_append(out, &number, sizeof number);
    case WEIR_AVRO_STRING:
        return text && put_sized(out, text, strlen(text));
    case WEIR_AVRO_ENUM:
        for (int i = 0; text && i < node->count; i++)
            if (strcmp(node->symbols[i], text) == 0)
                return put_long(out, i);
        return false;
    case WEIR_AVRO_UNION:
        return put_default_union(node, value, out);
    case WEIR_AVRO_BYTES:
    case WEIR_AVRO_FIXED:
        return put_default_bytes(node, value, out);
    default:
        return put_default_parts(node, value, out);
    }
}

/* --- The program */

struct builder {
    struct weir_avro_writer *program;
    struct weir_error *error;
};

static bool build(struct builder *b, const struct weir_avro_node *node, const struct weir_type *type, const char *path,
                  struct write_step *step);

static bool takes(const struct weir_avro_node *node, enum weir_type_id id)
{
    bool whole = id >= WEIR_TYPE_INT8 && id <= WEIR_TYPE_INT32;
    switch (node->kind) {
    case WEIR_AVRO_BOOLEAN:
        return id == WEIR_TYPE_BOOLEAN;
    case WEIR_AVRO_INT:
        return whole || (id == WEIR_TYPE_DATE && node->logical != WEIR_AVRO_TIME_MILLIS) ||
               (id == WEIR_TYPE_TIME && node->logical != WEIR_AVRO_DATE);
    case WEIR_AVRO_LONG:
        if (id == WEIR_TYPE_TIMESTAMP || id == WEIR_TYPE_TIMESTAMP_LTZ)
            return node->logical != WEIR_AVRO_TIME_MICROS;
        return whole || id == WEIR_TYPE_INT64 || (id == WEIR_TYPE_TIME && node->logical == WEIR_AVRO_TIME_MICROS);
    case WEIR_AVRO_FLOAT:
        return id == WEIR_TYPE_FLOAT;
    case WEIR_AVRO_DOUBLE:
        return whole || id == WEIR_TYPE_FLOAT || id == WEIR_TYPE_DOUBLE;
    case WEIR_AVRO_BYTES:
    case WEIR_AVRO_FIXED:
        return node->logical == WEIR_AVRO_DECIMAL ? id == WEIR_TYPE_DECIMAL : id == WEIR_TYPE_BYTES;
    case WEIR_AVRO_STRING:
    case WEIR_AVRO_ENUM:
        return id == WEIR_TYPE_STRING;
    case WEIR_AVRO_ARRAY:
        return id == WEIR_TYPE_ARRAY;
    case WEIR_AVRO_MAP:
        return id == WEIR_TYPE_MAP;
    case WEIR_AVRO_RECORD:
        return id == WEIR_TYPE_ROW;
    default:
        return false;
    }
}

static bool build_default(struct builder *b, const struct weir_avro_field *field, struct write_step *step)
{
    struct weir_buf bytes;
    weir_buf_init(&bytes, 1 << 20);
    step->column = -1;
    bool ok = field->default_value && weir_avro_put_default(field->type, field->default_value, &bytes);
    if (!ok) {
        (void)weir_fail(b->error, WEIR_ERR_INVALID,
                        "field '%.200s' of the Avro schema is no column, and it has no default", field->name);
    } else {
        uint8_t *copy = weir_arena_alloc(&b->program->memory, bytes.size + 1);
        memcpy(copy, bytes.data ? bytes.data : (const uint8_t *)"", bytes.size);
        step->bytes = copy;
        step->size = bytes.size;
    }
    weir_buf_fini(&bytes);
    return ok;
}

static bool build_record(struct builder *b, const struct weir_avro_node *node, const struct weir_schema *columns,
                         const char *path, struct write_step *step)
{
    bool used[WEIR_FIELDS_MAX] = {false};
    step->node = node;
    step->part_count = node->count;
    step->parts = weir_arena_zalloc(&b->program->memory, ((size_t)node->count + 1) * sizeof *step->parts);
    for (int i = 0; i < node->count; i++) {
        struct write_step *part = &step->parts[i];
        int column = weir_schema_find(columns, node->fields[i].name, strlen(node->fields[i].name));
        if (column < 0) {
            if (!build_default(b, &node->fields[i], part))
                return false;
            continue;
        }
        used[column] = true;
        part->column = column;
        char *own = *path ? weir_arena_format(&b->program->memory, "%s.%s", path, node->fields[i].name)
                          : weir_arena_strdup(&b->program->memory, node->fields[i].name);
        if (!build(b, node->fields[i].type, &columns->fields[column].type, own, part))
            return false;
    }
    for (int i = 0; i < columns->field_count; i++)
        if (!used[i]) {
            (void)weir_fail(b->error, WEIR_ERR_INVALID, "column '%.200s' is not in the Avro schema%s%.200s",
                            columns->fields[i].name, *path ? " of " : "", path);
            return false;
        }
    return true;
}

/* Finds the branch of a union; step->node is then what is written. */
static bool choose(struct builder *b, const struct weir_avro_node *node, const struct weir_type *type, const char *path,
                   struct write_step *step)
{
    char text[64];
    step->branch = step->null_branch = -1;
    step->node = node->kind != WEIR_AVRO_UNION && takes(node, type->id) ? node : NULL;
    for (int i = 0; node->kind == WEIR_AVRO_UNION && i < node->count; i++) {
        if (node->parts[i]->kind == WEIR_AVRO_NULL) {
            step->null_branch = i;
        } else if (!step->node && takes(node->parts[i], type->id)) {
            step->node = node->parts[i];
            step->branch = i;
        }
    }
    if (step->node)
        return true;
    (void)weir_fail(b->error, WEIR_ERR_INVALID, "column '%.200s' (%s) cannot be written as %s of the Avro schema", path,
                    weir_type_print(type, text), weir_avro_kind_name(node->kind));
    return false;
}

static bool build(struct builder *b, const struct weir_avro_node *node, const struct weir_type *type, const char *path,
                  struct write_step *step)
{
    step->type = type;
    step->path = path;
    if (!choose(b, node, type, path, step))
        return false;
    enum weir_avro_logical logical = step->node->logical;
    bool micros = logical == WEIR_AVRO_TIME_MICROS || logical == WEIR_AVRO_TIMESTAMP_MICROS;
    step->factor = logical == WEIR_AVRO_TIMESTAMP_NANOS ? 1000000 : micros ? 1000 : 1;
    if (type->id == WEIR_TYPE_ROW)
        return build_record(b, step->node, type->fields, path, step);
    if (!weir_type_is_list(type->id))
        return true;
    bool map = type->id == WEIR_TYPE_MAP;
    if (map && type->fields->fields[0].type.id != WEIR_TYPE_STRING) {
        (void)weir_fail(b->error, WEIR_ERR_INVALID, "column '%.200s': a map's keys are strings in Avro", path);
        return false;
    }
    step->part_count = 1;
    step->parts = weir_arena_zalloc(&b->program->memory, sizeof *step->parts);
    step->parts->column = map;
    return build(b, step->node->parts[0], &type->fields->fields[map].type,
                 weir_arena_format(&b->program->memory, map ? "%s{}" : "%s[]", path), step->parts);
}

weir_err weir_avro_writer_new(const struct weir_avro_schema *schema, const struct weir_schema *columns,
                              struct weir_avro_writer **program, struct weir_error *error)
{
    struct weir_error own;
    struct builder builder = {.program = weir_zalloc(sizeof *builder.program), .error = error ? error : &own};
    weir_arena_init(&builder.program->memory);
    bool ok = schema->root->kind == WEIR_AVRO_RECORD;
    if (!ok)
        (void)weir_fail(error, WEIR_ERR_INVALID, "the Avro schema is %s, and rows are written as records",
                        weir_avro_kind_name(schema->root->kind));
    ok = ok && build_record(&builder, schema->root, columns, "", &builder.program->root);
    if (!ok) {
        weir_avro_writer_free(builder.program);
        return WEIR_ERR_INVALID;
    }
    *program = builder.program;
    return WEIR_OK;
}

void weir_avro_writer_free(struct weir_avro_writer *program)
{
    if (!program)
        return;
    weir_arena_fini(&program->memory);
    free(program);
}

/* --- Writing */

struct output {
    struct weir_buf *buf;
    const char *format;
    struct weir_error *error;
};

static weir_err put_value(struct output *out, const struct write_step *step, const struct weir_column *column, int row);

static weir_err done(struct output *out, bool ok)
{
    return ok ? WEIR_OK
              : weir_fail(out->error, WEIR_ERR_FULL, "%s: a record does not fit the output buffer (%zu bytes)",
                          out->format, out->buf->max);
}

static __attribute__((noinline, cold)) weir_err bad_value(struct output *out, const struct write_step *step,
                                                          const char *what)
{
    char type[64];
    return weir_fail_record(out->error, WEIR_BAD_VALUE, "%s: column '%.200s' (%s) %s", out->format, step->path,
                            weir_type_print(step->type, type), what);
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

static double double_of(const struct weir_column *column, int row)
{
    return column->type == WEIR_TYPE_DOUBLE  ? column->f64[row]
           : column->type == WEIR_TYPE_FLOAT ? (double)column->f32[row]
                                             : (double)int_of(column, row);
}

static weir_err put_decimal(struct output *out, const struct write_step *step, const struct weir_column *column,
                            int row)
{
    const struct weir_avro_node *node = step->node;
    weir_int128 value = weir_decimal_get(column->decimals[row]), number, back;
    int precision = node->precision < WEIR_DECIMAL_DIGITS_MAX ? node->precision : WEIR_DECIMAL_DIGITS_MAX;
    if (!weir_decimal_rescale(value, step->type->scale, precision, node->scale, &number) ||
        !weir_decimal_rescale(number, node->scale, WEIR_DECIMAL_DIGITS_MAX, step->type->scale, &back) || back != value)
        return bad_value(out, step, "does not fit the schema's decimal exactly");
    uint8_t bytes[16];
    for (int i = 15; i >= 0; i--, number >>= 8)
        bytes[i] = (uint8_t)number;
    uint8_t sign = bytes[0] & 0x80 ? 0xff : 0;
    int first = 0; /* the fewest bytes that keep the sign */
    while (first < 15 && bytes[first] == sign && (bytes[first + 1] & 0x80) == (sign & 0x80))
        first++;
    size_t size = (size_t)(16 - first);
    if (node->kind == WEIR_AVRO_BYTES)
        return done(out, put_sized(out->buf, bytes + first, size));
    if (size > (size_t)node->count)
        return bad_value(out, step, "does not fit the schema's fixed");
    bool ok = true;
    for (size_t i = size; i < (size_t)node->count; i++)
        ok = ok && weir_buf_append(out->buf, &sign, 1);
    return done(out, ok && weir_buf_append(out->buf, bytes + first, size));
}

static weir_err put_text(struct output *out, const struct write_step *step, const struct weir_column *column, int row)
{
    size_t size;
    const uint8_t *bytes = weir_column_bytes(column, row, &size);
    if (step->node->kind == WEIR_AVRO_ENUM) {
        for (int i = 0; i < step->node->count; i++)
            if (strlen(step->node->symbols[i]) == size && memcmp(step->node->symbols[i], bytes, size) == 0)
                return done(out, put_long(out->buf, i));
        return bad_value(out, step, "is none of the enum's symbols");
    }
    if (step->node->kind != WEIR_AVRO_FIXED)
        return done(out, put_sized(out->buf, bytes, size));
    if (size != (size_t)step->node->count)
        return bad_value(out, step, "has not the size of the schema's fixed");
    return done(out, weir_buf_append(out->buf, bytes, size));
}

static weir_err put_list(struct output *out, const struct write_step *step, const struct weir_column *column, int row)
{
    bool map = column->type == WEIR_TYPE_MAP;
    const struct weir_batch *child = column->child;
    int first = column->offsets[row], end = column->offsets[row + 1];
    if (end > first && !put_long(out->buf, end - first))
        return done(out, false);
    for (int i = first; i < end; i++) {
        if (map) {
            size_t size;
            const uint8_t *key = weir_column_bytes(&child->columns[0], i, &size);
            if (weir_column_is_null(&child->columns[0], i))
                return bad_value(out, step, "has a NULL key");
            if (!put_sized(out->buf, key, size))
                return done(out, false);
        }
        weir_err err = put_value(out, step->parts, &child->columns[map], i);
        if (err)
            return err;
    }
    return done(out, put_long(out->buf, 0));
}

static weir_err put_fields(struct output *out, const struct write_step *step, const struct weir_batch *batch, int row)
{
    for (int i = 0; i < step->part_count; i++) {
        const struct write_step *part = &step->parts[i];
        weir_err err = part->column < 0 ? done(out, weir_buf_append(out->buf, part->bytes, part->size))
                                        : put_value(out, part, &batch->columns[part->column], row);
        if (err)
            return err;
    }
    return WEIR_OK;
}

static weir_err put_number(struct output *out, const struct write_step *step, const struct weir_column *column, int row)
{
    struct weir_buf *buf = out->buf;
    int64_t number;
    float narrow;
    double wide;
    switch (step->node->kind) {
    case WEIR_AVRO_FLOAT:
        narrow = column->f32[row];
        return done(out, weir_buf_append(buf, &narrow, sizeof narrow));
    case WEIR_AVRO_DOUBLE:
        wide = double_of(column, row);
        return done(out, weir_buf_append(buf, &wide, sizeof wide));
    default:
        if (__builtin_mul_overflow(int_of(column, row), step->factor, &number))
            return bad_value(out, step, "is a time that the schema's unit cannot express");
        return done(out, put_long(buf, number));
    }
}

static weir_err put_value(struct output *out, const struct write_step *step, const struct weir_column *column, int row)
{
    if (weir_column_is_null(column, row)) {
        if (step->null_branch < 0)
            return bad_value(out, step, "is NULL, which the Avro schema does not allow");
        return done(out, put_long(out->buf, step->null_branch));
    }
    if (step->branch >= 0 && !put_long(out->buf, step->branch))
        return done(out, false);
    uint8_t byte;
    switch (column->type) {
    case WEIR_TYPE_BOOLEAN:
        byte = weir_bit_get(column->bits, row);
        return done(out, weir_buf_append(out->buf, &byte, 1));
    case WEIR_TYPE_STRING:
    case WEIR_TYPE_BYTES:
        return put_text(out, step, column, row);
    case WEIR_TYPE_DECIMAL:
        return put_decimal(out, step, column, row);
    case WEIR_TYPE_ARRAY:
    case WEIR_TYPE_MAP:
        return put_list(out, step, column, row);
    case WEIR_TYPE_ROW:
        return put_fields(out, step, column->child, row);
    default:
        return put_number(out, step, column, row);
    }
}

weir_err weir_avro_write(const char *format, const struct weir_avro_writer *program, const struct weir_batch *batch,
                         int row, struct weir_buf *out, struct weir_error *error)
{
    struct output output = {.buf = out, .format = format, .error = error};
    return put_fields(&output, &program->root, batch, row);
}
