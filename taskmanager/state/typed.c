#include "state/typed.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "data/default_value.h"
#include "format/simdjson_shim.h"

#define VALUE_TEXT_MAX ((size_t)64 << 10)

/* --- Schemas */

weir_err weir_typed_add(struct weir_typed *typed, const char *name, const char *text, uint32_t offset,
                        struct weir_error *error)
{
    struct weir_type type;
    struct weir_buf value;
    bool given;
    if (typed->field_count == WEIR_TYPED_FIELDS_MAX)
        return weir_fail(error, WEIR_ERR_INVALID, "a value has at most %d fields", WEIR_TYPED_FIELDS_MAX);
    weir_buf_init(&value, VALUE_TEXT_MAX);
    weir_err err = weir_default_parse(text, &type, &value, &given, error);
    if (err) {
        weir_buf_fini(&value);
        return err;
    }
    if (weir_type_is_nested(type.id)) {
        char printed[64];
        weir_buf_fini(&value);
        return weir_fail(error, WEIR_ERR_UNSUPPORTED, "'%s' is %s, which a state's value cannot have", name,
                         weir_type_print(&type, printed));
    }
    typed->fields = weir_realloc(typed->fields, (size_t)(typed->field_count + 1) * sizeof *typed->fields);
    typed->fields[typed->field_count++] = (struct weir_typed_field){.name = weir_strdup(name),
                                                                    .type = type,
                                                                    .offset = offset,
                                                                    .has_default = given,
                                                                    .fallback = value.data,
                                                                    .fallback_size = value.size};
    return WEIR_OK;
}

weir_err weir_typed_scalar(struct weir_typed *typed, const char *text, struct weir_error *error)
{
    weir_err err = weir_typed_add(typed, "value", text, 0, error);
    if (!err) {
        int width = weir_type_width(typed->fields[0].type.id);
        typed->fields[0].type.nullable = false; /* a value is there, or it is not */
        weir_typed_finish(typed,
                          width                                             ? (size_t)width
                          : weir_type_is_variable(typed->fields[0].type.id) ? sizeof(struct weir_typed_str)
                                                                            : sizeof(bool),
                          -1);
    }
    return err;
}

void weir_typed_finish(struct weir_typed *typed, size_t row_size, int nulls_offset)
{
    typed->row_size = row_size;
    typed->nulls_offset = nulls_offset;
    typed->null_bytes = 0;
    for (int i = 0; i < typed->field_count; i++) {
        const struct weir_type *type = &typed->fields[i].type;
        if (type->nullable)
            typed->null_bytes = (typed->field_count + 7) / 8;
        typed->has_strings |= weir_type_is_variable(type->id);
        typed->size_max += type->id == WEIR_TYPE_BOOLEAN ? 1 : (size_t)weir_type_width(type->id);
    }
    typed->size_max += (size_t)typed->null_bytes;
}

void weir_typed_fini(struct weir_typed *typed)
{
    for (int i = 0; i < typed->field_count; i++) {
        free(typed->fields[i].name);
        free(typed->fields[i].fallback);
    }
    free(typed->fields);
    memset(typed, 0, sizeof *typed);
}

void weir_typed_print(const struct weir_typed *typed, struct weir_buf *out)
{
    struct weir_field fields[WEIR_TYPED_FIELDS_MAX];
    for (int i = 0; i < typed->field_count; i++)
        fields[i] = (struct weir_field){typed->fields[i].name, typed->fields[i].type};
    struct weir_schema *schema = weir_schema_new(fields, typed->field_count);
    bool ok = weir_schema_print(schema, out);
    weir_assert(ok); /* 64 names and types are short */
    weir_schema_unref(schema);
}

/* --- Writing */

static weir_err put_string(const struct weir_typed_field *field, const uint8_t *at, struct weir_buf *out,
                           struct weir_error *error)
{
    struct weir_typed_str text;
    memcpy(&text, at, sizeof text);
    if (!text.data && text.size > 0)
        return weir_fail(error, WEIR_ERR_USER_CODE, "'%s' has a NULL pointer and %zu bytes", field->name, text.size);
    if (text.size > WEIR_TYPED_STRING_MAX)
        return weir_fail(error, WEIR_ERR_USER_CODE, "'%s' has %zu bytes; at most %zu are possible", field->name,
                         text.size, WEIR_TYPED_STRING_MAX);
    if (field->type.id == WEIR_TYPE_STRING && !weir_utf8_valid((const uint8_t *)text.data, text.size))
        return weir_fail(error, WEIR_ERR_USER_CODE, "'%s' is text that is not valid UTF-8", field->name);
    uint32_t size = (uint32_t)text.size;
    if (!weir_buf_append(out, &size, sizeof size) || !weir_buf_append(out, text.data ? text.data : "", text.size))
        return weir_fail(error, WEIR_ERR_USER_CODE, "the value is too large");
    return WEIR_OK;
}

static weir_err put_field(const struct weir_typed_field *field, const uint8_t *row, struct weir_buf *out,
                          struct weir_error *error)
{
    const uint8_t *at = row + field->offset;
    size_t width = (size_t)weir_type_width(field->type.id);
    if (weir_type_is_variable(field->type.id))
        return put_string(field, at, out, error);
    uint8_t bit = *at != 0; /* user code may have left any value in a bool */
    bool ok = width ? weir_buf_append(out, at, width) : weir_buf_append(out, &bit, 1);
    return ok ? WEIR_OK : weir_fail(error, WEIR_ERR_USER_CODE, "the value is too large");
}

weir_err weir_typed_encode(const struct weir_typed *typed, const void *row, struct weir_buf *out,
                           struct weir_error *error)
{
    uint64_t nulls = 0;
    size_t begin = out->size;
    weir_err err = WEIR_OK;
    if (typed->nulls_offset >= 0)
        memcpy(&nulls, (const uint8_t *)row + typed->nulls_offset, sizeof nulls);
    if (typed->null_bytes) {
        uint64_t bits = typed->field_count == 64 ? nulls : nulls & (((uint64_t)1 << typed->field_count) - 1);
        if (!weir_buf_append(out, &bits, (size_t)typed->null_bytes))
            return weir_fail(error, WEIR_ERR_USER_CODE, "the value is too large");
    }
    for (int i = 0; i < typed->field_count && !err; i++) {
        const struct weir_typed_field *field = &typed->fields[i];
        if (!(nulls >> i & 1))
            err = put_field(field, row, out, error);
        else if (!field->type.nullable)
            err = weir_fail(error, WEIR_ERR_USER_CODE, "'%s' is NULL, which is NOT NULL", field->name);
    }
    if (err)
        out->size = begin;
    return err;
}

/* --- Reading */

/* May a value that was written as `from` be read as `to`? */
static bool widens(const struct weir_type *from, const struct weir_type *to)
{
    if (from->nullable && !to->nullable)
        return false;
    if (from->id == WEIR_TYPE_DECIMAL && to->id == WEIR_TYPE_DECIMAL)
        return from->scale == to->scale && from->precision <= to->precision;
    if (from->id == to->id)
        return true;
    if (from->id >= WEIR_TYPE_INT8 && from->id <= WEIR_TYPE_INT64 && to->id <= WEIR_TYPE_INT64)
        return to->id > from->id;
    return from->id == WEIR_TYPE_FLOAT && to->id == WEIR_TYPE_DOUBLE;
}

static int find_field(const struct weir_typed *typed, const char *name)
{
    for (int i = 0; i < typed->field_count; i++)
        if (strcmp(typed->fields[i].name, name) == 0)
            return i;
    return -1;
}

static weir_err match_fields(struct weir_typed_reader *reader, const struct weir_schema *from, struct weir_error *error)
{
    char was[64], is[64];
    const struct weir_typed *to = reader->to;
    reader->missing = to->field_count == 64 ? ~(uint64_t)0 : ((uint64_t)1 << to->field_count) - 1;
    for (int i = 0; i < from->field_count; i++) {
        const struct weir_field *field = &from->fields[i];
        int at = find_field(to, field->name);
        if (at < 0)
            return weir_fail(error, WEIR_ERR_INVALID, "the field '%s' is gone", field->name);
        if (!widens(&field->type, &to->fields[at].type))
            return weir_fail(error, WEIR_ERR_INVALID, "the field '%s' was %s and cannot be read as %s", field->name,
                             weir_type_print(&field->type, was), weir_type_print(&to->fields[at].type, is));
        if (field->type.nullable)
            reader->null_bytes = (from->field_count + 7) / 8;
        reader->fields[i].type = field->type;
        reader->fields[i].field = at;
        reader->missing &= ~((uint64_t)1 << at);
    }
    for (int i = 0; i < to->field_count; i++)
        if (reader->missing >> i & 1 && !to->fields[i].has_default && !to->fields[i].type.nullable)
            return weir_fail(error, WEIR_ERR_INVALID,
                             "the field '%s' is new, NOT NULL and without a value for what was written before it: "
                             "write \"%s DEFAULT ...\"",
                             to->fields[i].name, weir_type_print(&to->fields[i].type, is));
    return WEIR_OK;
}

weir_err weir_typed_reader_init(struct weir_typed_reader *reader, const struct weir_typed *to, const char *from,
                                struct weir_error *error)
{
    struct weir_schema *schema = NULL;
    weir_err err = from ? weir_schema_parse(from, &schema, error) : WEIR_OK;
    if (err)
        return err;
    *reader = (struct weir_typed_reader){.to = to, .field_count = schema ? schema->field_count : to->field_count};
    if (reader->field_count > WEIR_TYPED_FIELDS_MAX) {
        weir_schema_unref(schema);
        return weir_fail(error, WEIR_ERR_DATA, "a value has at most %d fields", WEIR_TYPED_FIELDS_MAX);
    }
    reader->fields = weir_zalloc((size_t)reader->field_count * sizeof *reader->fields);
    if (schema) {
        err = match_fields(reader, schema, error);
    } else {
        reader->null_bytes = to->null_bytes;
        for (int i = 0; i < to->field_count; i++) {
            reader->fields[i].type = to->fields[i].type;
            reader->fields[i].field = i;
        }
    }
    weir_schema_unref(schema);
    return err;
}

void weir_typed_reader_fini(struct weir_typed_reader *reader)
{
    free(reader->fields);
    memset(reader, 0, sizeof *reader);
}

static int64_t get_int(const uint8_t *at, size_t width)
{
    uint64_t value = 0;
    memcpy(&value, at, width);
    int shift = (int)(64 - 8 * width);
    return (int64_t)(value << shift) >> shift;
}

/* A fixed-width value written as `from`, into the struct as `to`. */
static void store(const struct weir_type *from, const struct weir_type *to, const uint8_t *at, uint8_t *out)
{
    size_t width = from->id == WEIR_TYPE_BOOLEAN ? 1 : (size_t)weir_type_width(from->id);
    if (from->id == to->id) {
        memcpy(out, at, width);
    } else if (from->id == WEIR_TYPE_FLOAT) {
        float narrow;
        memcpy(&narrow, at, sizeof narrow);
        double wide = (double)narrow;
        memcpy(out, &wide, sizeof wide);
    } else {
        int64_t value = get_int(at, width);
        memcpy(out, &value, (size_t)weir_type_width(to->id));
    }
}

/* Size of the field's bytes at `at` (with a string's size word); SIZE_MAX: they are not all there. */
static size_t field_size(const struct weir_type *type, const uint8_t *at, const uint8_t *end)
{
    size_t size = type->id == WEIR_TYPE_BOOLEAN ? 1 : (size_t)weir_type_width(type->id), left = (size_t)(end - at);
    if (weir_type_is_variable(type->id)) {
        uint32_t text = 0;
        if (left < sizeof text)
            return SIZE_MAX;
        memcpy(&text, at, sizeof text);
        size = sizeof text + text;
    }
    return size <= left ? size : SIZE_MAX;
}

static void store_string(const uint8_t *bytes, size_t size, uint8_t *out)
{
    struct weir_typed_str text = {(const char *)bytes, size};
    memcpy(out, &text, sizeof text);
}

static void fill_missing(const struct weir_typed_reader *reader, uint8_t *row, uint64_t *nulls)
{
    for (int i = 0; i < reader->to->field_count; i++) {
        const struct weir_typed_field *field = &reader->to->fields[i];
        if (!(reader->missing >> i & 1))
            continue;
        if (!field->has_default)
            *nulls |= (uint64_t)1 << i;
        else if (weir_type_is_variable(field->type.id))
            store_string(field->fallback_size ? field->fallback : (const uint8_t *)"", field->fallback_size,
                         row + field->offset);
        else
            memcpy(row + field->offset, field->fallback, field->fallback_size);
    }
}

bool weir_typed_read(const struct weir_typed_reader *reader, const uint8_t **at, const uint8_t *end, void *row)
{
    const struct weir_typed *to = reader->to;
    const uint8_t *next = *at, *bitmap = next;
    uint64_t nulls = 0;
    memset(row, 0, to->row_size);
    if (end - next < reader->null_bytes)
        return false;
    next += reader->null_bytes;
    for (int i = 0; i < reader->field_count; i++) {
        const struct weir_typed_reader_field *from = &reader->fields[i];
        const struct weir_typed_field *field = &to->fields[from->field];
        if (reader->null_bytes && bitmap[i / 8] >> (i % 8) & 1) {
            nulls |= (uint64_t)1 << from->field;
            continue;
        }
        size_t size = field_size(&from->type, next, end);
        if (size == SIZE_MAX)
            return false;
        if (weir_type_is_variable(from->type.id))
            store_string(next + sizeof(uint32_t), size - sizeof(uint32_t), (uint8_t *)row + field->offset);
        else
            store(&from->type, &field->type, next, (uint8_t *)row + field->offset);
        next += size;
    }
    if (reader->missing)
        fill_missing(reader, row, &nulls);
    if (to->nulls_offset >= 0)
        memcpy((uint8_t *)row + to->nulls_offset, &nulls, sizeof nulls);
    *at = next;
    return true;
}

bool weir_typed_skip(const struct weir_typed_reader *reader, const uint8_t **at, const uint8_t *end)
{
    const uint8_t *next = *at, *bitmap = next;
    if (end - next < reader->null_bytes)
        return false;
    next += reader->null_bytes;
    for (int i = 0; i < reader->field_count; i++) {
        if (reader->null_bytes && bitmap[i / 8] >> (i % 8) & 1)
            continue;
        size_t size = field_size(&reader->fields[i].type, next, end);
        if (size == SIZE_MAX)
            return false;
        next += size;
    }
    *at = next;
    return true;
}
