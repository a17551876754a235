/* Column by column: one typed loop a field, then its NULLs. What user code left is checked before it becomes a column. */
#include "ops/row_convert.h"

#include "format/simdjson_shim.h"

#define STRING_SIZE_MAX ((size_t)64 << 20)

static weir_err check_column(const char *option, const struct weir_field *field, const struct weir_schema *input,
                             struct weir_error *error)
{
    char has[64], wants[64];
    int column = weir_schema_find(input, field->name, strlen(field->name));
    if (column < 0) {
        const char *names[WEIR_FIELDS_MAX];
        for (int i = 0; i < input->field_count; i++)
            names[i] = input->fields[i].name;
        const char *near = weir_nearest(field->name, names, input->field_count);
        return weir_fail(error, WEIR_ERR_INVALID, "%s: the input has no column '%s'%s%s%s", option, field->name,
                         near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    const struct weir_type *type = &input->fields[column].type;
    if (type->id != field->type.id || (type->id == WEIR_TYPE_DECIMAL && !weir_type_equal(type, &field->type)))
        return weir_fail(error, WEIR_ERR_INVALID, "%s: column '%s' is %s, but the row struct has it as %s", option,
                         field->name, weir_type_print(type, has), weir_type_print(&field->type, wants));
    if (type->nullable && !field->type.nullable)
        return weir_fail(
            error, WEIR_ERR_INVALID,
            "%s: column '%s' may be NULL, but the row struct has it as %s: filter it (\"%s IS NOT NULL\" does not "
            "change the type, COALESCE does), or give the struct WEIR_NULLS",
            option, field->name, weir_type_print(&field->type, wants), field->name);
    return 0;
}

weir_err weir_row_check_columns(const char *option, const char *text, const struct weir_schema *input,
                                struct weir_error *error)
{
    struct weir_schema *row = NULL;
    weir_err err = weir_schema_parse(text, &row, error);
    if (err)
        return weir_wrap(error, "%s", option);
    for (int i = 0; i < row->field_count && !err; i++)
        err = check_column(option, &row->fields[i], input, error);
    weir_schema_unref(row);
    return err;
}

weir_err weir_row_converter_init(struct weir_row_converter *converter, const struct weir_row_type *type,
                                 const struct weir_schema *schema, struct weir_error *error)
{
    converter->row_size = type->size;
    converter->nulls_offset = type->nulls_offset;
    converter->fields = weir_zalloc(type->field_count * sizeof *converter->fields);
    for (int strings = 0; strings < 2; strings++) {
        for (uint32_t i = 0; i < type->field_count; i++) {
            const struct weir_row_field *from = &type->fields[i];
            int column = weir_schema_find(schema, from->name, strlen(from->name));
            if (column < 0)
                return weir_fail(error, WEIR_ERR_INVALID, "struct %s: there is no column '%s'", type->name, from->name);
            const struct weir_type *column_type = &schema->fields[column].type;
            if (weir_type_is_variable(column_type->id) != (from->c_kind == WEIR_C_STR) ||
                (weir_type_width(column_type->id) && weir_type_width(column_type->id) != from->size))
                return weir_fail(error, WEIR_ERR_INVALID, "struct %s: the field '%s' does not fit its column",
                                 type->name, from->name);
            if (weir_type_is_variable(column_type->id) != (strings == 1))
                continue;
            if (!column_type->nullable)
                converter->never_null |= (uint64_t)1 << i;
            converter->fields[converter->field_count++] = (struct weir_row_converter_field){
                .type = column_type->id,
                .column = column,
                .width = weir_type_width(column_type->id),
                .offset = from->offset,
                .null_bit = (uint64_t)1 << i,
                .nullable = column_type->nullable && type->nulls_offset >= 0,
                .name = from->name,
            };
        }
        if (strings == 0)
            converter->fixed_count = converter->field_count;
    }
    converter->has_strings = converter->fixed_count < converter->field_count;
    return 0;
}

#define EACH_ROW(c_type, expression) \
    for (int i = 0; i < count; i++, to += size) { \
        c_type value = (expression); \
        memcpy(to, &value, sizeof value); \
    }

static void load_field(const struct weir_row_converter_field *field, const struct weir_column *column, int first,
                       int count, uint8_t *to, size_t size)
{
    switch (field->type) {
    case WEIR_TYPE_BOOLEAN:
        EACH_ROW(bool, weir_bit_get(column->bits, first + i)) break;
    case WEIR_TYPE_STRING:
    case WEIR_TYPE_BYTES:
        EACH_ROW(struct weir_str,
                 ((struct weir_str){(const char *)column->bytes + column->offsets[first + i],
                                    (size_t)(column->offsets[first + i + 1] - column->offsets[first + i])}))
        break;
    default:
        switch (field->width) {
        case 1:
            EACH_ROW(int8_t, column->i8[first + i]) break;
        case 2:
            EACH_ROW(int16_t, column->i16[first + i]) break;
        case 4:
            EACH_ROW(int32_t, column->i32[first + i]) break;
        case 16:
            EACH_ROW(struct weir_decimal, column->decimals[first + i]) break;
        default:
            EACH_ROW(int64_t, column->i64[first + i]) break;
        }
    }
}

static size_t field_size(const struct weir_row_converter_field *field)
{
    return field->width                       ? (size_t)field->width
           : field->type == WEIR_TYPE_BOOLEAN ? sizeof(bool)
                                              : sizeof(struct weir_str);
}

void weir_row_load(const struct weir_row_converter *converter, const struct weir_batch *batch, int first, int count,
                   uint8_t *rows)
{
    size_t size = converter->row_size;
    if (converter->nulls_offset >= 0)
        for (int i = 0; i < count; i++)
            memset(rows + (size_t)i * size + converter->nulls_offset, 0, sizeof(uint64_t));
    for (int f = 0; f < converter->field_count; f++) {
        const struct weir_row_converter_field *field = &converter->fields[f];
        const struct weir_column *column = &batch->columns[field->column];
        load_field(field, column, first, count, rows + field->offset, size);
        if (!column->validity)
            continue;
        for (int i = 0; i < count; i++) {
            if (weir_bit_get(column->validity, first + i))
                continue;
            uint8_t *row = rows + (size_t)i * size;
            memset(row + field->offset, 0, field_size(field));
            if (converter->nulls_offset >= 0) {
                uint64_t nulls;
                memcpy(&nulls, row + converter->nulls_offset, sizeof nulls);
                nulls |= field->null_bit;
                memcpy(row + converter->nulls_offset, &nulls, sizeof nulls);
            }
        }
    }
}

#define EACH_VALUE(member, c_type) \
    for (int i = 0; i < count; i++, from += size) \
        memcpy(&column->member[at + i], from, sizeof(c_type));

static void store_values(const struct weir_row_converter_field *field, const uint8_t *from, size_t size, int count,
                         struct weir_column *column, int at)
{
    switch (field->width) {
    case 0:
        for (int i = 0; i < count; i++, from += size)
            weir_bit_put(column->bits, at + i, *from != 0); /* a byte: user code may have left any value in a bool */
        break;
    case 1:
        EACH_VALUE(i8, int8_t) break;
    case 2:
        EACH_VALUE(i16, int16_t) break;
    case 4:
        EACH_VALUE(i32, int32_t) break;
    case 16:
        EACH_VALUE(decimals, struct weir_decimal) break;
    default:
        EACH_VALUE(i64, int64_t) break;
    }
}

void weir_row_store_fixed(const struct weir_row_converter *converter, const uint8_t *rows, int count,
                          struct weir_batch *batch, int at)
{
    size_t size = converter->row_size;
    for (int f = 0; f < converter->fixed_count; f++) {
        const struct weir_row_converter_field *field = &converter->fields[f];
        struct weir_column *column = &batch->columns[field->column];
        store_values(field, rows + field->offset, size, count, column, at);
        if (!field->nullable)
            continue;
        for (int i = 0; i < count; i++) {
            if (!(weir_row_nulls(converter, rows + (size_t)i * size) & field->null_bit)) {
                if (column->validity)
                    weir_bit_set(column->validity, at + i);
                continue;
            }
            weir_column_set_null(column, at + i, batch->row_capacity);
        }
    }
}

/* Eight ASCII bytes at a time; what is not ASCII is looked at closely. */
static bool utf8_ok(const char *text, size_t size)
{
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        uint64_t word;
        memcpy(&word, text + i, sizeof word);
        if (word & 0x8080808080808080u)
            return weir_utf8_valid((const uint8_t *)text, size);
    }
    for (; i < size; i++)
        if (text[i] & 0x80)
            return weir_utf8_valid((const uint8_t *)text, size);
    return true;
}

weir_err weir_row_store_strings(const struct weir_row_converter *converter, const uint8_t *row,
                                struct weir_batch *batch, int at, size_t *bytes, struct weir_error *error)
{
    uint64_t nulls = weir_row_nulls(converter, row);
    for (int f = converter->fixed_count; f < converter->field_count; f++) {
        const struct weir_row_converter_field *field = &converter->fields[f];
        struct weir_column *column = &batch->columns[field->column];
        struct weir_str text;
        memcpy(&text, row + field->offset, sizeof text);
        if (nulls & field->null_bit) {
            weir_column_set_null(column, at, batch->row_capacity);
            continue;
        }
        if (!text.data && text.size > 0)
            return weir_fail(error, WEIR_ERR_USER_CODE, "the function gave '%s' a NULL pointer and %zu bytes",
                             field->name, text.size);
        if (text.size > STRING_SIZE_MAX)
            return weir_fail(error, WEIR_ERR_USER_CODE, "the function gave '%s' %zu bytes; at most %zu are possible",
                             field->name, text.size, STRING_SIZE_MAX);
        if (field->type == WEIR_TYPE_STRING && !utf8_ok(text.data, text.size))
            return weir_fail(error, WEIR_ERR_USER_CODE, "the function gave '%s' text that is not valid UTF-8",
                             field->name);
        if (column->validity)
            weir_bit_set(column->validity, at);
        weir_column_set_bytes(column, at, text.data ? text.data : "", text.size);
        *bytes += text.size;
    }
    return 0;
}

weir_err weir_row_null_error(const struct weir_row_converter *converter, uint64_t wrong, struct weir_error *error)
{
    const char *name = "";
    for (int f = converter->field_count - 1; f >= 0; f--)
        if (wrong & converter->fields[f].null_bit)
            name = converter->fields[f].name;
    return weir_fail(error, WEIR_ERR_USER_CODE, "the function left '%s' NULL, which is NOT NULL", name);
}
