/* A JSON Schema for columns, as the JSON format writes them: what a sink registers that was given none. */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/json_memory.h"
#include "format/json_int.h"

static json_t *of_columns(const struct weir_schema *columns);

static json_t *of_type(const struct weir_type *type)
{
    const char *kind = "string";
    json_t *schema = NULL;
    switch (type->id) {
    case WEIR_TYPE_BOOLEAN:
        kind = "boolean";
        break;
    case WEIR_TYPE_INT8:
    case WEIR_TYPE_INT16:
    case WEIR_TYPE_INT32:
    case WEIR_TYPE_INT64:
        kind = "integer";
        break;
    case WEIR_TYPE_DECIMAL:
        kind = "number";
        break;
    case WEIR_TYPE_FLOAT:
    case WEIR_TYPE_DOUBLE: /* NaN and the infinities are strings */
        schema = json_pack("{s:[s, s]}", "type", "number", "string");
        break;
    case WEIR_TYPE_ARRAY:
        schema = json_pack("{s:s, s:o}", "type", "array", "items", of_type(&type->fields->fields[0].type));
        break;
    case WEIR_TYPE_MAP:
        schema =
            json_pack("{s:s, s:o}", "type", "object", "additionalProperties", of_type(&type->fields->fields[1].type));
        break;
    case WEIR_TYPE_ROW:
        schema = of_columns(type->fields);
        break;
    default:
        break;
    }
    if (!schema)
        schema = json_pack("{s:s}", "type", kind);
    return type->nullable ? json_pack("{s:[{s:s}, o]}", "oneOf", "type", "null", schema) : schema;
}

/* Members that are NULL may be left out. */
static json_t *of_columns(const struct weir_schema *columns)
{
    json_t *properties = json_object(), *required = json_array();
    for (int i = 0; i < columns->field_count; i++) {
        const struct weir_field *field = &columns->fields[i];
        (void)json_object_set_new(properties, field->name, of_type(&field->type));
        if (!field->type.nullable)
            (void)json_array_append_new(required, json_string(field->name));
    }
    return json_pack("{s:s, s:o, s:o}", "type", "object", "properties", properties, "required", required);
}

char *weir_json_schema_derive(const struct weir_schema *columns)
{
    weir_json_memory();
    json_t *schema = of_columns(columns);
    (void)json_object_set_new(schema, "$schema", json_string("http://json-schema.org/draft-07/schema#"));
    char *text = json_dumps(schema, JSON_COMPACT);
    json_decref(schema);
    return text;
}
