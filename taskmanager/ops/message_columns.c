#include "ops/message_columns.h"

#include <stdlib.h>

#define PREFIX "metadata."

const char *const weir_metadata_names[] = {"topic", "partition", "offset", "timestamp", "key", "headers"};
#define NAMES ((int)(sizeof weir_metadata_names / sizeof *weir_metadata_names))

static const struct {
    enum weir_type_id types[2];
    const char *say;
} allowed[] = {
    [WEIR_META_TOPIC] = {{WEIR_TYPE_STRING, WEIR_TYPE_STRING}, "STRING"},
    [WEIR_META_PARTITION] = {{WEIR_TYPE_INT32, WEIR_TYPE_INT64}, "INT or BIGINT"},
    [WEIR_META_OFFSET] = {{WEIR_TYPE_INT64, WEIR_TYPE_INT64}, "BIGINT"},
    [WEIR_META_TIMESTAMP] = {{WEIR_TYPE_TIMESTAMP, WEIR_TYPE_INT64}, "TIMESTAMP(3), or BIGINT of milliseconds"},
    [WEIR_META_KEY] = {{WEIR_TYPE_STRING, WEIR_TYPE_BYTES}, "STRING or BYTES"},
    [WEIR_META_HEADERS] = {{WEIR_TYPE_MAP, WEIR_TYPE_MAP}, "MAP<STRING, BYTES>, or MAP<STRING, STRING>"},
};

static bool can_hold(const struct weir_type *type, int kind)
{
    if (type->id != allowed[kind].types[0] && type->id != allowed[kind].types[1])
        return false;
    return kind != WEIR_META_HEADERS || (type->fields->fields[0].type.id == WEIR_TYPE_STRING &&
                                         weir_type_is_variable(type->fields->fields[1].type.id));
}

/* What column `name` is of the message; -1: it is the format's, -2: the error says what is wrong. */
static int kind_of(const struct weir_op_plan *plan, const struct weir_field *field, struct weir_error *error)
{
    const char *value = NULL;
    for (int i = 0; i < plan->option_count && !value; i++)
        if (strncmp(plan->options[i].key, PREFIX, sizeof PREFIX - 1) == 0 &&
            strcmp(plan->options[i].key + sizeof PREFIX - 1, field->name) == 0)
            value = plan->options[i].value;
    if (!value)
        return -1;
    for (int kind = 0; kind < NAMES; kind++) {
        if (strcmp(value, weir_metadata_names[kind]) != 0)
            continue;
        if (can_hold(&field->type, kind))
            return kind;
        char type[64];
        (void)weir_fail(error, WEIR_ERR_INVALID, "column '%s' is %s, and a message's %s %s %s", field->name,
                        weir_type_print(&field->type, type), value, kind == WEIR_META_HEADERS ? "are" : "is",
                        allowed[kind].say);
        return -2;
    }
    const char *near = weir_nearest(value, weir_metadata_names, NAMES);
    (void)weir_fail(error, WEIR_ERR_INVALID,
                    "'" PREFIX "%s' = '%.100s': it is none of topic, partition, offset, timestamp, key, headers%s%s%s",
                    field->name, value, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    return -2;
}

/* Every metadata.COLUMN names a column. */
static weir_err check_names(const struct weir_op_plan *plan, const struct weir_schema *schema,
                            const struct weir_connector *connector, struct weir_error *error)
{
    bool has_messages = connector->read_messages || connector->write_messages;
    for (int i = 0; i < plan->option_count; i++) {
        const char *key = plan->options[i].key;
        if (strncmp(key, PREFIX, sizeof PREFIX - 1) != 0)
            continue;
        const char *name = key + sizeof PREFIX - 1;
        if (!has_messages)
            return weir_fail(error, WEIR_ERR_INVALID, "connector '%s' has no metadata: leave out '%s'", connector->name,
                             key);
        if (weir_schema_find(schema, name, strlen(name)) >= 0)
            continue;
        const char **names = weir_alloc((size_t)schema->field_count * sizeof *names);
        for (int f = 0; f < schema->field_count; f++)
            names[f] = schema->fields[f].name;
        const char *near = weir_nearest(name, names, schema->field_count);
        weir_err err = weir_fail(error, WEIR_ERR_INVALID, "'%s': there is no column '%s'%s%s%s", key, name,
                                 near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
        free(names);
        return err;
    }
    return WEIR_OK;
}

weir_err weir_message_columns_init(struct weir_message_columns *columns, const struct weir_op_plan *plan,
                                   struct weir_schema *schema, const struct weir_connector *connector, bool to_write,
                                   struct weir_error *error)
{
    *columns = (struct weir_message_columns){NULL, NULL, NULL, NULL};
    weir_err err = check_names(plan, schema, connector, error);
    if (err)
        return err;
    size_t size = (size_t)schema->field_count;
    struct weir_field *values = weir_alloc(size * sizeof *values), *others = weir_alloc(size * sizeof *others);
    columns->kinds = weir_alloc(size * sizeof *columns->kinds);
    columns->from = weir_alloc(size * sizeof *columns->from);
    int value_count = 0, other_count = 0;
    for (int i = 0; i < schema->field_count && !err; i++) {
        int kind = kind_of(plan, &schema->fields[i], error);
        if (kind == -2)
            err = WEIR_ERR_INVALID;
        else if (kind == WEIR_META_OFFSET && to_write)
            err = weir_fail(error, WEIR_ERR_INVALID, "'" PREFIX "%s': the broker gives a message its offset",
                            schema->fields[i].name);
        for (int o = 0; o < other_count && to_write && !err; o++)
            if ((int)columns->kinds[o] == kind)
                err = weir_fail(error, WEIR_ERR_INVALID, "'" PREFIX "%s' and '" PREFIX "%s': a message has one %s",
                                others[o].name, schema->fields[i].name,
                                kind == WEIR_META_HEADERS ? "set of headers" : weir_metadata_names[kind]);
        columns->from[i] = kind < 0 ? value_count : -1 - other_count;
        if (kind < 0) {
            values[value_count++] = schema->fields[i];
            continue;
        }
        columns->kinds[other_count] = (enum weir_metadata)kind;
        others[other_count++] = schema->fields[i];
    }
    if (!err && value_count == 0)
        err = weir_fail(error, WEIR_ERR_INVALID, "all columns are metadata: leave one that the format %s",
                        to_write ? "writes" : "fills");
    if (!err)
        columns->value_schema = weir_schema_new(values, value_count);
    if (!err && other_count > 0)
        columns->metadata_schema = weir_schema_new(others, other_count);
    free(values);
    free(others);
    if (err)
        weir_message_columns_fini(columns);
    return err;
}

void weir_message_columns_fini(struct weir_message_columns *columns)
{
    weir_schema_unref(columns->value_schema);
    weir_schema_unref(columns->metadata_schema);
    free(columns->kinds);
    free(columns->from);
    *columns = (struct weir_message_columns){NULL, NULL, NULL, NULL};
}
