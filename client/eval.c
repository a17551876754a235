/* eval: SQL expressions over at most one row, here, without a cluster.
 *
 * The row's columns are read one by one, so that a column of a type that does not exist is missed only by an expression that uses it. */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/zone.h"
#include "client_int.h"
#include "data/decimal.h"
#include "data/time_text.h"
#include "data/value_code.h"
#include "expr/expr.h"

struct column {
    char *name;
    char *type_text; /* as it was written */
    struct weir_type type;
    char *why_missing; /* NULL: it is there */
    json_t *value;     /* borrowed; NULL: none was given */
};

struct row {
    struct column *columns;
    int count;
    struct weir_schema *schema;
    struct weir_batch *batch;
};

/* --- Columns */

static void add_column(struct row *row, const char *name, const char *type_text, const struct weir_type *type,
                       const char *why_missing, json_t *value)
{
    row->columns = weir_realloc(row->columns, ((size_t)row->count + 1) * sizeof *row->columns);
    row->columns[row->count++] = (struct column){.name = weir_strdup(name),
                                                 .type_text = weir_strdup(type_text),
                                                 .type = type ? *type : (struct weir_type){.id = WEIR_TYPE_NONE},
                                                 .why_missing = why_missing ? weir_strdup(why_missing) : NULL,
                                                 .value = value};
}

/* One "name TYPE" of a column list. */
static int add_declared(struct weir_client *client, struct row *row, const char *text)
{
    struct weir_schema *schema;
    struct weir_error error;
    if (weir_schema_parse(text, &schema, &error) == WEIR_OK) {
        add_column(row, schema->fields[0].name, text, &schema->fields[0].type, NULL, NULL);
        weir_schema_unref(schema);
        return EXIT_DONE;
    }
    text += strspn(text, " \t\n");
    char *quote = *text == '`' ? strchr(text + 1, '`') : NULL;
    size_t size = quote ? (size_t)(quote - text) - 1 : strcspn(text, " \t\n");
    if (size == 0 || (!quote && !text[size]))
        return weir_client_fail(client, EXIT_USAGE, NULL, "--schema: %s", error.message);
    struct weir_type type;
    char *name = weir_strndup(text + (quote != NULL), size);
    if (weir_type_parse(quote ? quote + 1 : text + size, &type, &error) == WEIR_OK) {
        free(name); /* it is the name that is wrong */
        return weir_client_fail(client, EXIT_USAGE, NULL, "--schema: '%.200s' is no column", text);
    }
    add_column(row, name, text, NULL, error.message, NULL);
    free(name);
    return EXIT_DONE;
}

/* Cut at the commas that are outside of everything. */
static int add_schema(struct weir_client *client, struct row *row)
{
    char *copy = weir_strdup(client->schema), *start = copy;
    int depth = 0, exit_code = EXIT_DONE;
    bool quoted = false;
    for (char *c = copy; exit_code == EXIT_DONE; c++) {
        quoted ^= *c == '`';
        depth += !quoted && (*c == '(' || *c == '<');
        depth -= !quoted && (*c == ')' || *c == '>');
        if (*c && (quoted || depth > 0 || *c != ','))
            continue;
        bool last = !*c;
        *c = 0;
        exit_code = add_declared(client, row, start);
        if (last)
            break;
        start = c + 1;
    }
    free(copy);
    return exit_code;
}

static const char *guessed_type(const json_t *value)
{
    if (json_is_integer(value))
        return json_integer_value(value) >= INT32_MIN && json_integer_value(value) <= INT32_MAX ? "INT NOT NULL"
                                                                                                : "BIGINT NOT NULL";
    return json_is_string(value)    ? "STRING NOT NULL"
           : json_is_boolean(value) ? "BOOLEAN NOT NULL"
           : json_is_real(value)    ? "DOUBLE NOT NULL"
           : json_is_null(value)    ? "STRING"
                                    : "ROW";
}

static void add_typed(struct row *row, const char *name, const char *type_text, json_t *value)
{
    struct weir_type type;
    struct weir_error error;
    if (!type_text)
        type_text = guessed_type(value);
    if (weir_type_parse(type_text, &type, &error) == WEIR_OK)
        add_column(row, name, type_text, &type, NULL, value);
    else
        add_column(row, name, type_text, NULL, error.message, value);
}

/* [{"name": .., "type": .., "value": ..}, ..] */
static int add_described(struct weir_client *client, struct row *row, json_t *list)
{
    size_t i;
    json_t *entry;
    json_array_foreach(list, i, entry)
    {
        const char *name = json_string_value(json_object_get(entry, "name"));
        json_t *value = json_object_get(entry, "value");
        if (!name || !value)
            return weir_client_fail(
                client, EXIT_USAGE, NULL,
                "--row: without --schema an array has {\"name\": .., \"type\": .., \"value\": ..} only; "
                "entry %zu is not one",
                i);
        add_typed(row, name, json_string_value(json_object_get(entry, "type")), value);
    }
    return EXIT_DONE;
}

/* --- Values */

static int hex_digit(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : -1;
}

static bool set_bytes(struct weir_column *to, int row, const char *text)
{
    size_t size = strlen(text);
    if (size % 2 || strncmp(text, "0x", 2) != 0)
        return false;
    uint8_t *bytes = weir_alloc(size / 2 + 1);
    bool ok = true;
    for (size_t i = 2; i < size && ok; i += 2) {
        int high = hex_digit(text[i]), low = hex_digit(text[i + 1]);
        ok = high >= 0 && low >= 0;
        bytes[i / 2 - 1] = (uint8_t)(high << 4 | low);
    }
    if (ok)
        weir_column_set_bytes(to, row, bytes, size / 2 - 1);
    free(bytes);
    return ok;
}

/* CHAR(n) is filled up with spaces. */
static void set_string(struct weir_column *to, const struct column *column, const json_t *value)
{
    const char *at = strcasestr(column->type_text, "CHAR(");
    bool is_char = at && (at == column->type_text || isspace((unsigned char)at[-1]));
    size_t size = json_string_length(value), characters = 0;
    for (size_t i = 0; i < size; i++)
        characters += ((unsigned char)json_string_value(value)[i] & 0xc0) != 0x80;
    size_t wanted = is_char && column->type.length > 0 ? (size_t)column->type.length : 0;
    size_t pad = wanted > characters ? wanted - characters : 0;
    char *text = weir_alloc(size + pad + 1);
    memcpy(text, json_string_value(value), size);
    memset(text + size, ' ', pad);
    weir_column_set_bytes(to, 0, text, size + pad);
    free(text);
}

static bool set_integer(struct weir_column *to, int row, const json_t *value)
{
    static const int64_t limits[9] = {[1] = INT8_MAX, [2] = INT16_MAX, [4] = INT32_MAX, [8] = INT64_MAX};
    int64_t number = (int64_t)json_integer_value(value);
    int width = weir_type_width(to->type);
    if (!json_is_integer(value) || number > limits[width] || number < -limits[width] - 1)
        return false;
    weir_column_set_int(to, row, width, number);
    return true;
}

/* Numbers; and NaN and Infinity, which JSON has not, as strings. */
static bool set_real(struct weir_column *to, int row, const json_t *value)
{
    double number = json_number_value(value);
    if (json_is_string(value)) {
        char *end;
        number = strtod(json_string_value(value), &end);
        if (!*json_string_value(value) || *end)
            return false;
    } else if (!json_is_number(value)) {
        return false;
    }
    if (to->type == WEIR_TYPE_FLOAT)
        to->f32[row] = (float)number;
    else
        to->f64[row] = number;
    return true;
}

static int64_t cut_to(int64_t ms, int precision)
{
    static const int units[] = {1000, 100, 10, 1};
    int unit = units[precision < 3 ? precision : 3];
    int64_t rest = ms % unit;
    return ms - (rest < 0 ? rest + unit : rest);
}

static bool set_time(struct weir_column *to, const struct weir_type *type, int row, const char *text)
{
    int32_t small;
    int64_t large;
    switch (to->type) {
    case WEIR_TYPE_DATE:
        if (!weir_date_parse(text, strlen(text), &small))
            return false;
        to->i32[row] = small;
        return true;
    case WEIR_TYPE_TIME:
        if (!weir_time_parse(text, strlen(text), &small))
            return false;
        to->i32[row] = (int32_t)cut_to(small, type->precision);
        return true;
    default:
        if (!weir_timestamp_parse(text, strlen(text), &large))
            return false;
        to->i64[row] = cut_to(large, type->precision);
        return true;
    }
}

/* A string, or a number; what has more digits than the column is NULL, as in Flink's tables. */
static bool set_decimal(struct weir_column *to, const struct weir_type *type, int row, int capacity,
                        const json_t *value)
{
    weir_int128 number;
    char text[64];
    const char *given = json_string_value(value);
    if (!given && !json_is_number(value))
        return false;
    if (!given) {
        if (json_is_integer(value))
            snprintf(text, sizeof text, "%lld", (long long)json_integer_value(value));
        else
            snprintf(text, sizeof text, "%.15g", json_number_value(value));
        given = text;
    }
    enum weir_decimal_text parsed = weir_decimal_parse(given, strlen(given), type->precision, type->scale, &number);
    if (parsed == WEIR_DECIMAL_NO_NUMBER || (parsed == WEIR_DECIMAL_OVERFLOW && !type->nullable))
        return false;
    if (parsed == WEIR_DECIMAL_OVERFLOW)
        weir_column_set_null(to, row, capacity);
    else
        to->decimals[row] = weir_decimal_make(number);
    return true;
}

static bool set_typed(struct weir_column *to, const struct weir_type *type, int row, int capacity, const json_t *value);

static bool set_part(struct weir_batch *child, int field, int row, const json_t *value)
{
    return set_typed(&child->columns[field], &child->schema->fields[field].type, row, child->row_capacity, value);
}

/* [a, b], {"$map": [[k, v], ..]}; a JSON object where the keys are text. */
static bool set_list(struct weir_column *to, int row, const json_t *value)
{
    struct weir_batch *child = to->child;
    bool map = to->type == WEIR_TYPE_MAP, ok = true;
    const json_t *list = map ? json_object_get(value, "$map") : value;
    const char *name;
    json_t *element, *text;
    size_t i;
    weir_column_list_begin(to, row);
    if (map && !list) {
        ok = json_is_object(value);
        json_object_foreach((json_t *)(uintptr_t)value, name, element)
        {
            int at = weir_column_element(to);
            text = json_string(name);
            ok = ok && set_part(child, 0, at, text) && set_part(child, 1, at, element);
            json_decref(text);
            weir_column_element_done(to);
        }
    } else {
        ok = json_is_array(list);
        json_array_foreach(list, i, element)
        {
            int at = weir_column_element(to);
            ok = ok && (map ? json_array_size(element) == 2 && set_part(child, 0, at, json_array_get(element, 0)) &&
                                  set_part(child, 1, at, json_array_get(element, 1))
                            : set_part(child, 0, at, element));
            if (!ok)
                break;
            weir_column_element_done(to);
        }
    }
    weir_column_list_end(to, row);
    if (ok && map)
        weir_map_unique(to, row);
    return ok;
}

/* [a, b], {"name": a, ..}, or {"$row": .., "f": [a, b]}. */
static bool set_row(struct weir_column *to, int row, const json_t *value)
{
    struct weir_batch *child = to->child;
    int count = child->schema->field_count;
    const json_t *list = json_object_get(value, "$row") ? json_object_get(value, "f") : value;
    if (json_is_array(list) ? json_array_size(list) != (size_t)count : !json_is_object(list))
        return false;
    weir_column_row_begin(to, row);
    for (int i = 0; i < count; i++) {
        const json_t *part = json_is_array(list) ? json_array_get(list, (size_t)i)
                                                 : json_object_get(list, child->schema->fields[i].name);
        if (!set_part(child, i, row, part))
            return false;
    }
    weir_column_row_end(to, row);
    return true;
}

static bool set_typed(struct weir_column *to, const struct weir_type *type, int row, int capacity, const json_t *value)
{
    if (!value || json_is_null(value)) {
        if (type->nullable)
            weir_column_set_null(to, row, capacity);
        return type->nullable;
    }
    switch (to->type) {
    case WEIR_TYPE_BOOLEAN:
        weir_bit_put(to->bits, row, json_is_true(value));
        return json_is_boolean(value);
    case WEIR_TYPE_INT8:
    case WEIR_TYPE_INT16:
    case WEIR_TYPE_INT32:
    case WEIR_TYPE_INT64:
        return set_integer(to, row, value);
    case WEIR_TYPE_FLOAT:
    case WEIR_TYPE_DOUBLE:
        return set_real(to, row, value);
    case WEIR_TYPE_STRING:
        if (json_is_string(value))
            weir_column_set_bytes(to, row, json_string_value(value), json_string_length(value));
        return json_is_string(value);
    case WEIR_TYPE_BYTES:
        return json_is_string(value) && set_bytes(to, row, json_string_value(value));
    case WEIR_TYPE_DECIMAL:
        return set_decimal(to, type, row, capacity, value);
    case WEIR_TYPE_ARRAY:
    case WEIR_TYPE_MAP:
        return set_list(to, row, value);
    case WEIR_TYPE_ROW:
        return set_row(to, row, value);
    default:
        return json_is_string(value) && set_time(to, type, row, json_string_value(value));
    }
}

static bool set_value(struct weir_column *to, const struct column *column)
{
    if (to->type != WEIR_TYPE_STRING || !json_is_string(column->value))
        return set_typed(to, &column->type, 0, 1, column->value);
    set_string(to, column, column->value);
    return true;
}

/* A value that its type cannot have: the column is NULL, and an expression that uses it is told. */
static void bad_value(struct weir_client *client, struct column *column)
{
    char type[64];
    char *json = json_dumps(column->value, JSON_ENCODE_ANY | JSON_COMPACT);
    column->why_missing =
        weir_format("it is %s, which %.200s is not", weir_type_print(&column->type, type), json ? json : "its value");
    weir_client_note(client, "note: --row: column '%s' is left out: %s", column->name, column->why_missing);
    free(json);
}

static void check_value(struct weir_client *client, struct column *column)
{
    struct weir_field field = {column->name, column->type};
    if (column->why_missing)
        return;
    if (!column->value || json_is_null(column->value)) {
        if (!column->type.nullable)
            column->why_missing = weir_strdup("it is NOT NULL and has no value");
        return;
    }
    struct weir_schema *schema = weir_schema_new(&field, 1);
    struct weir_batch *batch = weir_batch_new(schema, 1);
    if (!set_value(&batch->columns[0], column))
        bad_value(client, column);
    weir_batch_unref(batch);
    weir_schema_unref(schema);
}

/* The batch of the columns that are there. */
static void fill(struct weir_client *client, struct row *row)
{
    struct weir_field *fields = weir_zalloc(((size_t)row->count + 1) * sizeof *fields);
    const struct column **from = weir_zalloc(((size_t)row->count + 1) * sizeof *from);
    int count = 0;
    for (int i = 0; i < row->count; i++) {
        struct column *column = &row->columns[i];
        check_value(client, column);
        if (column->why_missing)
            continue;
        from[count] = column;
        fields[count++] = (struct weir_field){column->name, column->type};
    }
    if (count == 0) /* a batch has at least one */
        fields[count++] = (struct weir_field){"(none)", {.id = WEIR_TYPE_BOOLEAN, .nullable = true}};
    row->schema = weir_schema_new(fields, count);
    row->batch = weir_batch_new(row->schema, 1);
    for (int c = 0; c < count; c++) {
        const json_t *value = from[c] ? from[c]->value : NULL;
        if (!value || json_is_null(value))
            weir_column_set_null(&row->batch->columns[c], 0, 1);
        else
            (void)set_value(&row->batch->columns[c], from[c]);
    }
    row->batch->row_count = 1;
    free(from);
    free(fields);
}

static int take_values(struct weir_client *client, struct row *row, json_t *values)
{
    const char *name;
    json_t *value;
    if (json_is_array(values) && (int)json_array_size(values) != row->count)
        return weir_client_fail(client, EXIT_USAGE, NULL, "--row has %zu values for %d columns",
                                json_array_size(values), row->count);
    for (int i = 0; i < row->count && json_is_array(values); i++)
        row->columns[i].value = json_array_get(values, (size_t)i);
    json_object_foreach(values, name, value)
    {
        const char *names[WEIR_FIELDS_MAX];
        char nearest[160];
        int at = -1;
        for (int i = 0; i < row->count; i++) {
            names[i] = row->columns[i].name;
            at = strcmp(names[i], name) == 0 ? i : at;
        }
        if (at < 0)
            return weir_client_fail(client, EXIT_USAGE, NULL, "--row: there is no column '%s'%s", name,
                                    weir_client_nearest(nearest, name, names, row->count));
        row->columns[at].value = value;
    }
    return EXIT_DONE;
}

static int make_row(struct weir_client *client, struct row *row, json_t *values)
{
    const char *name;
    json_t *value;
    int exit_code = EXIT_DONE;
    if (client->schema)
        exit_code = add_schema(client, row);
    else if (json_is_array(values))
        exit_code = add_described(client, row, values);
    else
        json_object_foreach(values, name, value) add_typed(row, name, NULL, value);
    if (exit_code == EXIT_DONE && row->count > WEIR_FIELDS_MAX)
        exit_code = weir_client_fail(client, EXIT_USAGE, NULL, "there are more than %d columns", WEIR_FIELDS_MAX);
    for (int i = 0; i < row->count && exit_code == EXIT_DONE; i++)
        for (int k = 0; k < i; k++)
            if (strcmp(row->columns[i].name, row->columns[k].name) == 0)
                return weir_client_fail(client, EXIT_USAGE, NULL, "there are two columns '%s'", row->columns[i].name);
    if (exit_code == EXIT_DONE && client->schema && values)
        exit_code = take_values(client, row, values);
    if (exit_code == EXIT_DONE)
        fill(client, row);
    return exit_code;
}

static void row_fini(struct row *row)
{
    for (int i = 0; i < row->count; i++) {
        free(row->columns[i].name);
        free(row->columns[i].type_text);
        free(row->columns[i].why_missing);
    }
    free(row->columns);
    weir_batch_unref(row->batch);
    weir_schema_unref(row->schema);
}

/* --- Expressions */

struct result {
    char *type;
    char *value; /* NULL: null */
    size_t value_size;
    char *why; /* NULL: it has a value */
};

/* CAST(x AS STRING) of a one-row column. */
static weir_err to_text(const struct weir_column *column, const struct weir_type *type, struct result *result,
                        struct weir_error *error)
{
    if (weir_column_is_null(column, 0) || type->id == WEIR_TYPE_NONE)
        return WEIR_OK;
    struct weir_field field = {"x", *type};
    struct weir_schema *schema = weir_schema_new(&field, 1);
    struct weir_batch *batch = weir_batch_new_shell(schema, 1);
    struct weir_expr_scratch *scratch = weir_expr_scratch_new();
    struct weir_expr_error why;
    struct weir_expr *expr;
    struct weir_column text = {.type = WEIR_TYPE_NONE};
    weir_column_share(&batch->columns[0], column);
    weir_err err = weir_expr_compile("CAST(x AS STRING)", schema, &expr, &why);
    if (err) {
        *error = why.error;
    } else {
        err = weir_expr_eval(expr, batch, scratch, &text, NULL, error);
        if (!err && !weir_column_is_null(&text, 0)) {
            const uint8_t *bytes = weir_column_bytes(&text, 0, &result->value_size);
            result->value = weir_alloc(result->value_size + 1);
            memcpy(result->value, bytes, result->value_size);
            result->value[result->value_size] = 0;
        }
        if (!err)
            weir_column_fini(&text);
        weir_expr_free(expr);
    }
    weir_expr_scratch_free(scratch);
    weir_batch_unref(batch);
    weir_schema_unref(schema);
    return err;
}

static bool is_word_character(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

static bool mentions(const char *text, const char *name)
{
    size_t size = strlen(name);
    for (const char *at = text; size && (at = strstr(at, name)); at++)
        if ((at == text || !is_word_character(at[-1])) && !is_word_character(at[size]))
            return true;
    return false;
}

/* "unknown column 'x'" says too little when x was declared with a type that does not exist. */
static char *explain(const struct row *row, const char *text, const struct weir_expr_error *error)
{
    char *why = weir_strdup(error->error.message);
    for (int i = 0; i < row->count; i++) {
        const struct column *column = &row->columns[i];
        if (!column->why_missing || !mentions(text, column->name))
            continue;
        char *longer = weir_format("%s; column '%s': %s", why, column->name, column->why_missing);
        free(why);
        return longer;
    }
    return why;
}

static char *type_text(const struct weir_type *type)
{
    struct weir_buf out;
    weir_buf_init(&out, WEIR_TYPE_TEXT_MAX);
    char *text = weir_strdup(weir_type_text(type, &out) ? (const char *)out.data : "?");
    weir_buf_fini(&out);
    return text;
}

static void evaluate(const struct row *row, const char *text, struct result *result)
{
    struct weir_expr *expr;
    struct weir_expr_error error;
    struct weir_error why;
    *result = (struct result){.value = NULL};
    json_t *utf8 = json_string(text);
    json_decref(utf8);
    if (!utf8) {
        result->why = weir_strdup("the expression is not UTF-8");
        return;
    }
    if (weir_expr_compile(text, row->schema, &expr, &error) != WEIR_OK) {
        result->why = explain(row, text, &error);
        return;
    }
    struct weir_expr_scratch *scratch = weir_expr_scratch_new();
    struct weir_column column = {.type = WEIR_TYPE_NONE};
    result->type = type_text(weir_expr_type(expr));
    weir_err err = weir_expr_eval(expr, row->batch, scratch, &column, NULL, &why);
    if (!err) {
        err = to_text(&column, weir_expr_type(expr), result, &why);
        weir_column_fini(&column);
    }
    if (err)
        result->why = weir_strdup(why.message);
    weir_expr_scratch_free(scratch);
    weir_expr_free(expr);
}

static void print_escaped(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        switch (text[i]) {
        case '\n':
            fputs("\\n", stdout);
            break;
        case '\t':
            fputs("\\t", stdout);
            break;
        case '\\':
            fputs("\\\\", stdout);
            break;
        default:
            putchar(text[i]);
        }
    putchar('\n');
}

static void print_result(const struct weir_client *client, const char *text, const struct result *result)
{
    if (client->json) {
        json_t *line = json_pack("{s:o}", "expression", weir_client_string(text));
        if (result->why) {
            json_object_set_new(line, "error", weir_client_string(result->why));
        } else {
            json_object_set_new(line, "type", json_string(result->type));
            json_object_set_new(line, "value", result->value ? weir_client_string(result->value) : json_null());
        }
        weir_client_print_json_line(line);
        json_decref(line);
    } else if (result->why) {
        fputs("error\t", stdout);
        print_escaped(result->why, strlen(result->why));
    } else {
        printf("%s\t", result->type);
        print_escaped(result->value ? result->value : "NULL", result->value ? result->value_size : 4);
    }
}

/* False: it failed. */
static bool evaluate_and_print(const struct weir_client *client, const struct row *row, const char *text)
{
    struct result result;
    evaluate(row, text, &result);
    print_result(client, text, &result);
    bool ok = !result.why;
    free(result.type);
    free(result.value);
    free(result.why);
    return ok;
}

static bool evaluate_lines(const struct weir_client *client, const struct row *row)
{
    char *line = NULL;
    size_t capacity = 0;
    bool ok = true;
    for (ssize_t size; (size = getline(&line, &capacity, stdin)) > 0 && !ferror(stdout);) {
        if (line[size - 1] == '\n')
            line[--size] = 0;
        if (size && line[size - 1] == '\r')
            line[--size] = 0;
        if (strlen(line) != (size_t)size) {
            struct result result = {.why = weir_strdup("the line has a NUL byte")};
            print_result(client, "", &result);
            free(result.why);
            ok = false;
            continue;
        }
        ok = evaluate_and_print(client, row, line) && ok;
    }
    free(line);
    return ok;
}

int weir_command_eval(struct weir_client *client)
{
    struct row row = {NULL, 0, NULL, NULL};
    json_error_t why;
    struct weir_config *config = NULL;
    struct weir_error error;
    int configured = weir_client_config(client, client->config, &config);
    if (configured != EXIT_DONE)
        return configured;
    weir_err err = weir_zone_set_session(weir_config_string(config, "table.local-time-zone"), &error);
    weir_config_free(config);
    if (err)
        return weir_client_fail(client, EXIT_USAGE, NULL, "table.local-time-zone: %s", error.message);
    json_t *values = client->row ? json_loads(client->row, JSON_ALLOW_NUL, &why) : NULL;
    if (client->row && !values)
        return weir_client_fail(client, EXIT_USAGE, NULL, "--row is no JSON object or array: %s at column %d", why.text,
                                why.column);
    int exit_code = make_row(client, &row, values);
    if (exit_code == EXIT_DONE) {
        bool ok = client->argument_count > 0 || evaluate_lines(client, &row);
        for (int i = 0; i < client->argument_count; i++)
            ok = evaluate_and_print(client, &row, client->arguments[i]) && ok;
        exit_code = ok ? EXIT_DONE : EXIT_FAILED;
    }
    row_fini(&row);
    json_decref(values);
    return exit_code;
}
