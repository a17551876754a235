/* Row types and the functions on them. A row type comes from the job's object: it is checked here before anything trusts it. */
#include <dlfcn.h>
#include <stdio.h>

#include "data/default_value.h"
#include "data/schema.h"
#include "sdk/sdk_int.h"

static const char *kind_text(const struct weir_row_field *field, char out[32])
{
    switch (field->c_kind) {
    case WEIR_C_BOOL:
        return "bool";
    case WEIR_C_FLOAT:
        return field->size == 4 ? "float" : "double";
    case WEIR_C_STR:
        return "struct weir_str";
    case WEIR_C_DECIMAL:
        return "struct weir_decimal";
    default:
        snprintf(out, 32, "an integer of %d bits", field->size * 8);
        return out;
    }
}

static bool kind_fits(const struct weir_row_field *field, const struct weir_type *type)
{
    int width = weir_type_width(type->id);
    switch (type->id) {
    case WEIR_TYPE_BOOLEAN:
        return field->c_kind == WEIR_C_BOOL && field->size == sizeof(bool);
    case WEIR_TYPE_STRING:
    case WEIR_TYPE_BYTES:
        return field->c_kind == WEIR_C_STR && field->size == sizeof(struct weir_str);
    case WEIR_TYPE_DECIMAL:
        return field->c_kind == WEIR_C_DECIMAL && field->size == sizeof(struct weir_decimal);
    case WEIR_TYPE_FLOAT:
    case WEIR_TYPE_DOUBLE:
        return field->c_kind == WEIR_C_FLOAT && field->size == width;
    default:
        return field->c_kind == WEIR_C_INT && width > 0 && field->size == width;
    }
}

static weir_err check_field(const struct weir_row_type *row, const struct weir_row_field *field, struct weir_field *out,
                            struct weir_error *error)
{
    if (!field->name || !field->name[0] || !field->type || field->offset > row->size ||
        field->size > row->size - field->offset)
        return weir_fail(error, WEIR_ERR_INVALID, "struct %s: a field is not described by WEIR_FIELD", row->name);
    out->name = field->name;
    if (strlen(field->name) >= WEIR_NAME_SIZE_MAX)
        return weir_fail(error, WEIR_ERR_INVALID, "struct %s: the name %.40s... is too long", row->name, field->name);
    struct weir_buf value;
    bool given;
    weir_buf_init(&value, (size_t)64 << 10);
    weir_err err = weir_default_parse(field->type, &out->type, &value, &given, error);
    weir_buf_fini(&value);
    if (err)
        return weir_wrap(error, "struct %s, field %s", row->name, field->name);
    char text[64], kind[32];
    if (!kind_fits(field, &out->type))
        return weir_fail(error, WEIR_ERR_INVALID, "struct %s, field %s: its C type is %s, which does not fit %s",
                         row->name, field->name, kind_text(field, kind), weir_type_print(&out->type, text));
    if (out->type.nullable && row->nulls_offset < 0)
        return weir_fail(
            error, WEIR_ERR_INVALID,
            "struct %s, field %s: %s may be NULL, and the struct has no room for that: write NOT NULL, or begin it "
            "with WEIR_NULLS(%s) and bind it with WEIR_ROW_NULLS",
            row->name, field->name, field->type, row->name);
    return 0;
}

weir_err weir_sdk_row_schema(const struct weir_row_type *row, struct weir_schema **schema, struct weir_error *error)
{
    struct weir_field fields[WEIR_ROW_FIELDS_MAX];
    if (!row->name || !row->fields || row->field_count == 0 || row->field_count > WEIR_ROW_FIELDS_MAX)
        return weir_fail(error, WEIR_ERR_INVALID, "a row type has 1 to %d fields", WEIR_ROW_FIELDS_MAX);
    if (row->size > WEIR_ROW_SIZE_MAX)
        return weir_fail(error, WEIR_ERR_INVALID, "struct %s has %u bytes; at most %d are possible", row->name,
                         row->size, WEIR_ROW_SIZE_MAX);
    if (row->nulls_offset >= 0 &&
        (row->size < sizeof(uint64_t) || (uint32_t)row->nulls_offset > row->size - sizeof(uint64_t)))
        return weir_fail(error, WEIR_ERR_INVALID, "struct %s: its weir_nulls lie outside of it", row->name);
    for (uint32_t i = 0; i < row->field_count; i++) {
        weir_err err = check_field(row, &row->fields[i], &fields[i], error);
        if (err)
            return err;
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(fields[i].name, fields[j].name) == 0)
                return weir_fail(error, WEIR_ERR_INVALID, "struct %s names the field %s twice", row->name,
                                 fields[i].name);
    }
    *schema = weir_schema_new(fields, (int)row->field_count);
    return 0;
}

bool weir_sdk_in_job(const struct weir_job *job, const void *address)
{
    Dl_info info;
    return dladdr(address, &info) && info.dli_fbase == job->code_base;
}

static struct weir_stream *row_function(const char *file, int line, struct weir_stream *input,
                                        const struct weir_map_spec *given, const char *op, const char *what)
{
    struct weir_stream *nothing;
    if (!weir_sdk_usable(input, file, line, what, &nothing))
        return nothing;
    struct weir_map_spec spec = {.size = 0};
    memcpy(&spec, given, given->size < sizeof spec ? given->size : sizeof spec); /* an older job's is shorter */
    struct weir_job *job = input->job;
    struct weir_stream *stream = weir_sdk_vertex(job, file, line, op, spec.name, input);
    struct sdk_vertex *vertex = stream->vertex;
    if (!vertex)
        return stream;
    vertex->name_given = spec.name != NULL;
    if (!spec.in || !spec.out || !spec.function) {
        weir_sdk_error(job, vertex, file, line,
                       "%s() needs .in, .out and .function: WEIR_MAP(in, out, function) sets them", what);
        return stream;
    }
    if (!weir_sdk_in_job(job, spec.function) || !weir_sdk_in_job(job, spec.in) || !weir_sdk_in_job(job, spec.out)) {
        weir_sdk_error(
            job, vertex, file, line,
            "the function and its row types must be defined in the job's own object, not in a library it links");
        return stream;
    }
    struct weir_error error;
    struct weir_schema *in = NULL, *out = NULL;
    struct weir_buf text;
    weir_buf_init(&text, (size_t)1 << 20);
    if (weir_sdk_row_schema(spec.in, &in, &error) || weir_sdk_row_schema(spec.out, &out, &error))
        weir_sdk_error(job, vertex, file, line, "%s", error.message);
    else if (!weir_schema_print(in, &text))
        weir_sdk_error(job, vertex, file, line, "struct %s: its columns as text are too long", spec.in->name);
    else {
        weir_sdk_set(job, vertex, "row.in", (const char *)text.data);
        vertex->declared = weir_schema_ref(out);
        vertex->function = spec.function;
        vertex->row_in = spec.in;
        vertex->row_out = spec.out;
    }
    weir_buf_fini(&text);
    weir_schema_unref(in);
    weir_schema_unref(out);
    return stream;
}

struct weir_stream *weir_map_at(const char *file, int line, struct weir_stream *stream,
                                const struct weir_map_spec *spec)
{
    return row_function(file, line, stream, spec, "map", "weir_map");
}

struct weir_stream *weir_flat_map_at(const char *file, int line, struct weir_stream *stream,
                                     const struct weir_map_spec *spec)
{
    return row_function(file, line, stream, spec, "flat_map", "weir_flat_map");
}
