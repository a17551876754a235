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

/* --- The key's columns */

static const char *option(const struct weir_op_plan *plan, const char *name)
{
    for (int i = 0; i < plan->option_count; i++)
        if (strcmp(plan->options[i].key, name) == 0)
            return plan->options[i].value;
    return "";
}

/* Where column `column` of the whole is in the key; -1: it is not. */
static int place_in_key(const struct weir_message_columns *columns, int column)
{
    for (int i = 0; columns->key_schema && i < columns->key_schema->field_count; i++)
        if (columns->of_key[i] == column)
            return i;
    return -1;
}

static weir_err find_key_field(const struct weir_schema *schema, const char *name, size_t size, const char *prefix,
                               int *column, struct weir_error *error)
{
    size_t skip = strlen(prefix);
    *column = weir_schema_find(schema, name, size);
    if (*column < 0)
        return weir_fail(error, WEIR_ERR_INVALID, "'key.fields': there is no column '%.*s'", (int)size, name);
    if (strncmp(name, prefix, skip) != 0 || size == skip)
        return weir_fail(
            error, WEIR_ERR_INVALID,
            "'key.fields': column '%.*s' has not the prefix '%s' of 'key.fields-prefix', or is no more than it",
            (int)size, name, prefix);
    return WEIR_OK;
}

static weir_err find_key(struct weir_message_columns *columns, const struct weir_op_plan *plan,
                         const struct weir_schema *schema, struct weir_error *error)
{
    const char *prefix = option(plan, "key.fields-prefix");
    struct weir_field *fields = weir_alloc((size_t)schema->field_count * sizeof *fields);
    int count = 0;
    weir_err err = WEIR_OK;
    for (const char *at = option(plan, "key.fields"); *at && !err;) {
        size_t size = strcspn(at, ";");
        int column;
        if (size > 0 && !(err = find_key_field(schema, at, size, prefix, &column, error))) {
            for (int i = 0; i < count && !err; i++)
                if (columns->of_key[i] == column)
                    err =
                        weir_fail(error, WEIR_ERR_INVALID, "'key.fields': column '%.*s' is there twice", (int)size, at);
            if (!err) {
                columns->of_key[count] = column;
                fields[count] = schema->fields[column];
                fields[count++].name += strlen(prefix);
            }
        }
        at += size + (at[size] == ';');
    }
    if (!err && count > 0)
        columns->key_schema = weir_schema_new(fields, count);
    else if (!err && option(plan, "key.fields")[0])
        err = weir_fail(error, WEIR_ERR_INVALID, "'key.fields' names no column");
    free(fields);
    return err;
}

static weir_err check_key(const struct weir_message_columns *columns, const struct weir_op_plan *plan,
                          const struct weir_schema *schema, bool except_key, struct weir_error *error)
{
    const char *prefix = option(plan, "key.fields-prefix");
    if (!columns->key_schema && (*prefix || except_key))
        return weir_fail(error, WEIR_ERR_INVALID, "'%s' needs 'key.fields': which columns are the key",
                         *prefix ? "key.fields-prefix" : "value.fields-include");
    if (*prefix && !except_key)
        return weir_fail(
            error, WEIR_ERR_INVALID,
            "'key.fields-prefix' needs 'value.fields-include' = 'except-key': the value's columns have no prefix");
    for (int i = 0; i < schema->field_count; i++)
        if (columns->from[i].part == WEIR_PART_METADATA && place_in_key(columns, i) >= 0)
            return weir_fail(error, WEIR_ERR_INVALID, "column '%s' is either of 'key.fields' or 'metadata.%s'",
                             schema->fields[i].name, schema->fields[i].name);
    return WEIR_OK;
}

/* --- All of them */

static weir_err check_written(const struct weir_message_columns *columns, const struct weir_field *field, int kind,
                              const struct weir_field *others, int other_count, struct weir_error *error)
{
    if (kind == WEIR_META_OFFSET)
        return weir_fail(error, WEIR_ERR_INVALID, "'" PREFIX "%s': the broker gives a message its offset", field->name);
    if (kind == WEIR_META_KEY && columns->key_schema)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "the key is either 'key.fields' or a column that '" PREFIX "%s' names", field->name);
    for (int o = 0; o < other_count; o++)
        if ((int)columns->kinds[o] == kind)
            return weir_fail(error, WEIR_ERR_INVALID, "'" PREFIX "%s' and '" PREFIX "%s': a message has one %s",
                             others[o].name, field->name,
                             kind == WEIR_META_HEADERS ? "set of headers" : weir_metadata_names[kind]);
    return WEIR_OK;
}

/* Each column to its part; `fields` and `others` have room for all. */
static weir_err divide(struct weir_message_columns *columns, const struct weir_op_plan *plan,
                       const struct weir_schema *schema, bool to_write, struct weir_field *fields,
                       struct weir_field *others, struct weir_error *error)
{
    size_t size;
    const char *include = weir_option_choice("all|except-key", option(plan, "value.fields-include"), &size);
    bool except_key = include && *include == 'e';
    int value_count = 0, other_count = 0;
    weir_err err = WEIR_OK;
    for (int i = 0; i < schema->field_count && !err; i++) {
        const struct weir_field *field = &schema->fields[i];
        int kind = kind_of(plan, field, error), in_key = place_in_key(columns, i);
        if (kind == -2)
            return WEIR_ERR_INVALID;
        if (kind >= 0) {
            err = to_write ? check_written(columns, field, kind, others, other_count, error) : WEIR_OK;
            columns->from[i] = (struct weir_column_place){WEIR_PART_METADATA, other_count};
            columns->kinds[other_count] = (enum weir_metadata)kind;
            others[other_count++] = *field;
        } else if (in_key >= 0 && except_key) {
            columns->from[i] = (struct weir_column_place){WEIR_PART_KEY, in_key};
        } else {
            columns->from[i] = (struct weir_column_place){WEIR_PART_VALUE, value_count};
            columns->of_value[value_count] = i;
            fields[value_count++] = *field;
        }
    }
    if (err || (err = check_key(columns, plan, schema, except_key, error)))
        return err;
    if (value_count == 0)
        return weir_fail(error, WEIR_ERR_INVALID, "all columns are %s: leave one that the format %s",
                         columns->key_schema ? "of the key, or metadata" : "metadata", to_write ? "writes" : "fills");
    columns->value_schema = weir_schema_new(fields, value_count);
    if (other_count > 0)
        columns->metadata_schema = weir_schema_new(others, other_count);
    return WEIR_OK;
}

weir_err weir_message_columns_init(struct weir_message_columns *columns, const struct weir_op_plan *plan,
                                   struct weir_schema *schema, const struct weir_connector *connector, bool to_write,
                                   struct weir_error *error)
{
    *columns = (struct weir_message_columns){.value_schema = NULL};
    weir_err err = check_names(plan, schema, connector, error);
    if (err)
        return err;
    size_t size = (size_t)schema->field_count;
    struct weir_field *fields = weir_alloc(size * sizeof *fields), *others = weir_alloc(size * sizeof *others);
    columns->kinds = weir_alloc(size * sizeof *columns->kinds);
    columns->from = weir_alloc(size * sizeof *columns->from);
    columns->of_value = weir_alloc(size * sizeof *columns->of_value);
    columns->of_key = weir_alloc(size * sizeof *columns->of_key);
    err = find_key(columns, plan, schema, error);
    if (!err)
        err = divide(columns, plan, schema, to_write, fields, others, error);
    free(fields);
    free(others);
    if (err)
        weir_message_columns_fini(columns);
    return err;
}

void weir_message_columns_fini(struct weir_message_columns *columns)
{
    weir_schema_unref(columns->value_schema);
    weir_schema_unref(columns->key_schema);
    weir_schema_unref(columns->metadata_schema);
    free(columns->kinds);
    free(columns->from);
    free(columns->of_value);
    free(columns->of_key);
    *columns = (struct weir_message_columns){.value_schema = NULL};
}
