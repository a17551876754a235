/* .proto source for columns: what a sink registers that was given no schema of its own. Fields are numbered as the columns stand. */
#include <stdio.h>
#include <string.h>

#include "format/protobuf_int.h"

struct text {
    struct weir_buf *out;
    bool whole;
};

static void put(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct text *text, const char *format, ...)
{
    char part[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(part, sizeof part, format, args);
    va_end(args);
    text->whole = text->whole && weir_buf_puts(text->out, part);
}

static bool is_identifier(const char *name)
{
    size_t letters = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789");
    return name[0] && !name[letters] && !(name[0] >= '0' && name[0] <= '9') && letters < 200;
}

/* NULL: a nested type. */
static const char *scalar(const struct weir_type *type)
{
    switch (type->id) {
    case WEIR_TYPE_BOOLEAN:
        return "bool";
    case WEIR_TYPE_INT8:
    case WEIR_TYPE_INT16:
    case WEIR_TYPE_INT32:
    case WEIR_TYPE_DATE:
    case WEIR_TYPE_TIME:
        return "int32";
    case WEIR_TYPE_INT64:
        return "int64";
    case WEIR_TYPE_FLOAT:
        return "float";
    case WEIR_TYPE_DOUBLE:
        return "double";
    case WEIR_TYPE_BYTES:
        return "bytes";
    case WEIR_TYPE_TIMESTAMP:
    case WEIR_TYPE_TIMESTAMP_LTZ:
        return "google.protobuf.Timestamp";
    case WEIR_TYPE_STRING:
    case WEIR_TYPE_DECIMAL:
        return "string";
    default:
        return NULL;
    }
}

static bool is_key(const struct weir_type *type)
{
    return type->id == WEIR_TYPE_BOOLEAN || type->id == WEIR_TYPE_STRING ||
           (type->id >= WEIR_TYPE_INT8 && type->id <= WEIR_TYPE_INT64);
}

static weir_err put_fields(struct text *text, const struct weir_schema *columns, struct weir_error *error);

/* The type's name: a scalar's, or "RowN" of a message that is put before the field. */
static weir_err put_row(struct text *text, const char *column, const struct weir_type *type, int number,
                        struct weir_error *error)
{
    if (type->id != WEIR_TYPE_ROW)
        return scalar(type) ? WEIR_OK
                            : weir_fail(error, WEIR_ERR_INVALID,
                                        "column '%.200s' is an ARRAY or MAP in another one, for which Protobuf has no "
                                        "form: put it into a ROW",
                                        column);
    put(text, "message Row%d {\n", number);
    weir_err err = put_fields(text, type->fields, error);
    put(text, "}\n");
    return err;
}

static void put_type(struct text *text, const struct weir_type *type, int number)
{
    if (type->id == WEIR_TYPE_ROW)
        put(text, "Row%d", number);
    else
        put(text, "%s", scalar(type));
}

static weir_err put_field(struct text *text, const struct weir_field *column, int number, struct weir_error *error)
{
    const struct weir_type *type = &column->type, *value = type;
    if (!is_identifier(column->name))
        return weir_fail(error, WEIR_ERR_INVALID,
                         "the column name '%.200s' can be no field's name in Protobuf: letters, digits and _ alone",
                         column->name);
    if (type->id == WEIR_TYPE_ARRAY || type->id == WEIR_TYPE_MAP)
        value = &type->fields->fields[type->id == WEIR_TYPE_MAP].type;
    if (type->id == WEIR_TYPE_MAP && !is_key(&type->fields->fields[0].type))
        return weir_fail(error, WEIR_ERR_INVALID,
                         "column '%.200s' is a MAP whose key Protobuf cannot have: text, whole numbers or booleans",
                         column->name);
    weir_err err = put_row(text, column->name, value, number, error);
    if (err)
        return err;
    if (type->id == WEIR_TYPE_MAP) {
        put(text, "map<%s, ", scalar(&type->fields->fields[0].type));
        put_type(text, value, number);
        put(text, ">");
    } else {
        put(text, type->id == WEIR_TYPE_ARRAY                   ? "repeated "
                  : type->nullable && type->id != WEIR_TYPE_ROW ? "optional "
                                                                : "");
        put_type(text, value, number);
    }
    put(text, " %s = %d;\n", column->name, number);
    return WEIR_OK;
}

static weir_err put_fields(struct text *text, const struct weir_schema *columns, struct weir_error *error)
{
    weir_err err = WEIR_OK;
    for (int i = 0; i < columns->field_count && !err; i++)
        err = put_field(text, &columns->fields[i], i + 1, error);
    return err;
}

weir_err weir_pb_derive(const struct weir_schema *columns, struct weir_buf *out, struct weir_error *error)
{
    struct text text = {out, true};
    put(&text, "syntax = \"proto3\";\nimport \"google/protobuf/timestamp.proto\";\nmessage Row {\n");
    weir_err err = put_fields(&text, columns, error);
    put(&text, "}\n");
    return err || text.whole ? err : weir_fail(error, WEIR_ERR_FULL, "the columns' schema is too large");
}
