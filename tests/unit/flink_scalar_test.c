/* Flink's own scalar cases (results of Flink 2.2), those whose types and functions exist here.
 *
 * Read from $WEIR_CONFORMANCE/flink-scalar (default ../shared/conformance); skipped where the folder is absent. A case is
 * supported when it compiles; then its result (and, where given, its type: kind and nullability) must be Flink's. Cases
 * that Flink refuses must be refused. Left out with a count: columns of types and values that are not set here (DECIMAL, nested:
 * tests/e2e/eval_test.py has them), what depends on the zone where it is not told, and a bare TIMESTAMP (6 digits there).
 */
#include <ctype.h>
#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <cmocka.h>

#include "base/zone.h"
#include "data/decimal.h"
#include "data/time_text.h"
#include "expr/expr.h"

static struct {
    int passed, refused, unsupported, no_values, zone, decimal, precision, failed;
} counts;

static bool has_decimal_literal(const char *sql)
{
    bool quoted = false;
    for (const char *p = sql; *p; p++) {
        if (*p == '\'')
            quoted = !quoted;
        if (!quoted && *p == '.' && (isdigit((unsigned char)p[1]) || (p > sql && isdigit((unsigned char)p[-1]))))
            return true;
    }
    return false;
}

/* --- The one-row table */

struct table {
    struct weir_schema *schema;
    struct weir_batch *batch;
    bool any_value;
    bool nulls_are_values;
};

static size_t unhex(const char *s, uint8_t *out)
{
    size_t n = 0;
    for (s += 2; s[0] && s[1]; s += 2)
        sscanf(s, "%2hhx", &out[n++]);
    return n;
}

static bool set_value(struct weir_column *column, const struct weir_type *is, int row, const char *type,
                      const json_t *value);

static bool set_part(struct weir_batch *child, int field, int row, const json_t *value)
{
    const struct weir_type *type = &child->schema->fields[field].type;
    if (!json_is_null(value))
        return set_value(&child->columns[field], type, row, NULL, value);
    weir_column_set_null(&child->columns[field], row, child->row_capacity);
    return true;
}

/* [..], {"$map": [[k, v], ..]}, {"$row": "+I", "f": [..]}. */
static bool set_nested(struct weir_column *column, int row, const json_t *value)
{
    struct weir_batch *child = column->child;
    const json_t *list = column->type == WEIR_TYPE_MAP   ? json_object_get(value, "$map")
                         : column->type == WEIR_TYPE_ROW ? json_object_get(value, "f")
                                                         : value;
    bool good = json_is_array(list);
    if (column->type == WEIR_TYPE_ROW) {
        weir_column_row_begin(column, row);
        for (int i = 0; good && i < child->schema->field_count; i++)
            good = set_part(child, i, row, json_array_get(list, (size_t)i));
        weir_column_row_end(column, row);
        return good;
    }
    weir_column_list_begin(column, row);
    for (size_t i = 0; good && i < json_array_size(list); i++) {
        const json_t *part = json_array_get(list, i);
        int at = weir_column_element(column);
        good = column->type == WEIR_TYPE_ARRAY
                   ? set_part(child, 0, at, part)
                   : set_part(child, 0, at, json_array_get(part, 0)) && set_part(child, 1, at, json_array_get(part, 1));
        if (good)
            weir_column_element_done(column);
    }
    weir_column_list_end(column, row);
    return good;
}

static bool set_decimal(struct weir_column *column, const struct weir_type *is, int row, const json_t *value)
{
    char text[64];
    weir_int128 number;
    if (json_is_null(value))
        return false;
    if (json_is_string(value))
        snprintf(text, sizeof text, "%s", json_string_value(value));
    else
        snprintf(text, sizeof text, "%.15g", json_number_value(value));
    if (weir_decimal_parse(text, strlen(text), is->precision, is->scale, &number) > WEIR_DECIMAL_ROUNDED)
        return false;
    column->decimals[row] = weir_decimal_make(number);
    return true;
}

static bool set_value(struct weir_column *column, const struct weir_type *is, int row, const char *type,
                      const json_t *value)
{
    char text[64] = "";
    int64_t i64 = 0;
    int32_t i32 = 0;
    if (json_is_string(value))
        snprintf(text, sizeof text, "%s", json_string_value(value));
    else if (json_is_integer(value))
        i64 = json_integer_value(value);
    switch (column->type) {
    case WEIR_TYPE_BOOLEAN:
        weir_bit_put(column->bits, row, json_is_true(value));
        return json_is_boolean(value);
    case WEIR_TYPE_INT8:
        column->i8[row] = (int8_t)i64;
        return json_is_integer(value);
    case WEIR_TYPE_INT16:
        column->i16[row] = (int16_t)i64;
        return json_is_integer(value);
    case WEIR_TYPE_INT32:
        column->i32[row] = (int32_t)i64;
        return json_is_integer(value);
    case WEIR_TYPE_INT64:
        column->i64[row] = i64;
        return json_is_integer(value);
    case WEIR_TYPE_FLOAT:
        column->f32[row] = (float)json_number_value(value);
        return json_is_number(value);
    case WEIR_TYPE_DOUBLE:
        column->f64[row] = json_number_value(value);
        return json_is_number(value);
    case WEIR_TYPE_STRING:
        if (!json_is_string(value))
            return false;
        if (type && strncmp(type, "CHAR(", 5) == 0) { /* padded in Flink's tables */
            snprintf(text, sizeof text, "%-*s", atoi(type + 5), json_string_value(value));
            weir_column_set_bytes(column, row, text, strlen(text));
            return true;
        }
        weir_column_set_bytes(column, row, json_string_value(value), json_string_length(value));
        return true;
    case WEIR_TYPE_BYTES: {
        uint8_t bytes[512];
        if (strncmp(text, "0x", 2) != 0)
            return false;
        weir_column_set_bytes(column, row, bytes, unhex(json_string_value(value), bytes));
        return true;
    }
    case WEIR_TYPE_DATE:
        return weir_date_parse(text, strlen(text), &i32) && (column->i32[row] = i32, true);
    case WEIR_TYPE_TIME:
        return weir_time_parse(text, strlen(text), &i32) && (column->i32[row] = i32 / 1000 * 1000, true);
    case WEIR_TYPE_DECIMAL:
        return set_decimal(column, is, row, value);
    case WEIR_TYPE_ARRAY:
    case WEIR_TYPE_MAP:
    case WEIR_TYPE_ROW:
        return set_nested(column, row, value);
    case WEIR_TYPE_TIMESTAMP:
    case WEIR_TYPE_TIMESTAMP_LTZ:
        return weir_timestamp_parse(text, strlen(text), &i64) && (column->i64[row] = i64, true);
    default:
        return false;
    }
}

static const char *guessed_type(const json_t *value)
{
    return json_is_string(value)    ? "STRING NOT NULL"
           : json_is_integer(value) ? "INT NOT NULL"
           : json_is_boolean(value) ? "BOOLEAN NOT NULL"
                                    : "ROW";
}

/* Fields of types that do not exist here are left out. */
static void table_init(struct table *table, json_t *json, bool nulls_are_values)
{
    struct weir_field fields[256];
    json_t *values[256], *field;
    const char *types[256];
    size_t i;
    int count = 0;
    *table = (struct table){.nulls_are_values = nulls_are_values};
    json_array_foreach(json, i, field)
    {
        json_t *value = json_object_get(field, "value");
        const char *type = json_string_value(json_object_get(field, "type"));
        table->any_value |= !json_is_null(value);
        fields[count].name = json_string_value(json_object_get(field, "name"));
        if (weir_type_parse(type ? type : guessed_type(value), &fields[count].type, NULL) == WEIR_OK) {
            types[count] = type;
            values[count++] = value;
        }
    }
    if (count == 0)
        fields[count++] = (struct weir_field){.name = "$none", .type = {.id = WEIR_TYPE_BOOLEAN, .nullable = true}};
    table->schema = weir_schema_new(fields, count);
    table->batch = weir_batch_new(table->schema, 1);
    for (int c = 0; c < count; c++) {
        struct weir_column *column = &table->batch->columns[c];
        if (strcmp(fields[c].name, "$none") == 0 || !set_value(column, &fields[c].type, 0, types[c], values[c]))
            weir_column_set_null(column, 0, 1);
    }
    table->batch->row_count = 1;
}

static void table_fini(struct table *table)
{
    weir_batch_unref(table->batch);
    weir_schema_unref(table->schema);
}

/* --- One expression */

/* Flink's string form of the result: CAST(x AS STRING), NULL for null. */
static void to_text(struct weir_batch *batch, char *out, size_t room)
{
    struct weir_select *select;
    struct weir_batch *texts;
    struct weir_expr_scratch *scratch = weir_expr_scratch_new();
    struct weir_expr_error error;
    assert_int_equal(weir_select_compile("CAST(`EXPR$0` AS STRING) AS t", batch->schema, &select, &error), 0);
    assert_int_equal(weir_select_eval(select, batch, scratch, &texts, NULL, NULL), 0);
    if (weir_column_is_null(&texts->columns[0], 0)) {
        snprintf(out, room, "NULL");
    } else {
        size_t n;
        const uint8_t *s = weir_column_bytes(&texts->columns[0], 0, &n);
        snprintf(out, room, "%.*s", (int)n, (const char *)s);
    }
    weir_batch_unref(texts);
    weir_select_free(select);
    weir_expr_scratch_free(scratch);
}

/* A recorded value as the text that CAST makes of it, for what is nested. */
static void json_text(const json_t *value, struct weir_buf *out)
{
    const json_t *map = json_object_get(value, "$map"), *row = json_object_get(value, "f"),
                 *list = map   ? map
                         : row ? row
                               : value;
    bool ok = true;
    if (json_is_array(list)) {
        ok = weir_buf_puts(out, map ? "{" : row ? "(" : "[");
        for (size_t i = 0; i < json_array_size(list); i++) {
            const json_t *part = json_array_get(list, i);
            ok = ok && (i == 0 || weir_buf_puts(out, ", "));
            json_text(map ? json_array_get(part, 0) : part, out);
            ok = ok && (!map || weir_buf_puts(out, "="));
            if (map)
                json_text(json_array_get(part, 1), out);
        }
        ok = ok && weir_buf_puts(out, map ? "}" : row ? ")" : "]");
    } else if (json_is_null(value)) {
        ok = weir_buf_puts(out, "NULL");
    } else if (json_is_string(value)) {
        ok = weir_buf_puts(out, json_string_value(value));
    } else if (json_is_boolean(value)) {
        ok = weir_buf_puts(out, json_is_true(value) ? "TRUE" : "FALSE");
    } else {
        ok = json_is_integer(value) ? weir_buf_printf(out, "%lld", (long long)json_integer_value(value))
                                    : weir_buf_printf(out, "%.15g", json_number_value(value));
    }
    assert_true(ok);
}

static bool json_equals(const json_t *want, const struct weir_type *type, const struct weir_batch *batch,
                        const char *got)
{
    if (weir_type_is_nested(type->id) && !json_is_null(want)) {
        struct weir_buf text;
        weir_buf_init(&text, 1 << 16);
        json_text(want, &text);
        bool same = strcmp(got, (const char *)text.data) == 0;
        weir_buf_fini(&text);
        return same;
    }
    if (json_is_null(want))
        return strcmp(got, "NULL") == 0;
    if (json_is_boolean(want))
        return strcmp(got, json_is_true(want) ? "TRUE" : "FALSE") == 0;
    if (json_is_number(want)) {
        double g = strtod(got, NULL), w = json_number_value(want);
        return type->id == WEIR_TYPE_FLOAT ? (float)g == (float)w : g == w;
    }
    const char *text = json_string_value(want);
    if (!text)
        return false;
    if (type->id == WEIR_TYPE_TIMESTAMP || type->id == WEIR_TYPE_TIMESTAMP_LTZ) {
        int64_t a, b;
        return weir_timestamp_parse(text, strlen(text), &a) && weir_timestamp_parse(got, strlen(got), &b) && a == b;
    }
    if (type->id == WEIR_TYPE_TIME) {
        int32_t a, b;
        return weir_time_parse(text, strlen(text), &a) && weir_time_parse(got, strlen(got), &b) && a == b;
    }
    if (type->id == WEIR_TYPE_BYTES) {
        uint8_t bytes[512];
        size_t n = unhex(text, bytes), have;
        const uint8_t *value = weir_column_bytes(&batch->columns[0], 0, &have);
        return have == n && memcmp(bytes, value, n) == 0;
    }
    return strcmp(text, got) == 0;
}

/* Java's libm and this one's may differ in the last bit, and older JDKs print more digits than needed. */
static bool close_enough(double a, double b)
{
    return fabs(a - b) <= 4e-16 * fabs(a);
}

struct expectation {
    const json_t *result; /* typed; or */
    const char *text;     /* string form; or neither: refused */
    const char *type;     /* may be NULL */
    bool at_runtime;      /* refused then */
};

static void report(const char *file, const char *sql, const char *got, const struct expectation *want)
{
    char *json = want->result ? json_dumps(want->result, JSON_ENCODE_ANY) : NULL;
    print_message("  FAILED %s: %s\n    gives %s, Flink: %s %s\n", file, sql, got,
                  want->text ? want->text
                  : json     ? json
                             : "refuses it",
                  want->type ? want->type : "");
    free(json);
    counts.failed++;
}

static void run_expression(const char *file, const struct table *table, const char *sql, const struct expectation *want,
                           const char *zone)
{
    struct weir_select *select;
    struct weir_expr_error error;
    bool refused = !want->result && !want->text;
    if (strncmp(file, "ComparisonFunction", 18) == 0) /* recorded in America/Los_Angeles, in the winter */
        zone = "-08:00";
    if (weir_zone_set_session(zone ? zone : "UTC", NULL)) { /* without tzdata */
        counts.zone++;
        return;
    }
    char *list = weir_format("%s AS `EXPR$0`", sql);
    weir_err err = weir_select_compile(list, table->schema, &select, &error);
    free(list);
    if (err) {
        if (refused && !want->at_runtime)
            counts.refused++;
        else {
            counts.unsupported++;
            if (getenv("WEIR_TEST_VERBOSE"))
                print_message("  unsupported %s: %s\n    %s\n", file, sql, error.error.message);
        }
        return;
    }
    uint64_t used[WEIR_FIELDS_MAX / 64] = {0};
    weir_expr_columns(select->items[0].expr, used);
    bool uses = weir_bitmap_count(used, table->schema->field_count) > 0;
    if (uses && !table->any_value && !table->nulls_are_values) {
        counts.no_values++;
        goto out;
    }
    if (zone && strcmp(zone, "UTC") != 0 && strcasestr(sql, "unix")) {
        counts.zone++;
        goto out;
    }
    if (strncmp(sql, "CEIL(", 5) == 0 &&
        strstr(sql, "TIMESTAMP_LTZ")) { /* down in Flink: its zone is taken off twice */
        counts.zone++;
        goto out;
    }
    struct weir_expr_scratch *scratch = weir_expr_scratch_new();
    struct weir_batch *result;
    struct weir_error why;
    char got[4096];
    err = weir_select_eval(select, table->batch, scratch, &result, NULL, &why);
    weir_expr_scratch_free(scratch);
    if (err) {
        if (refused)
            counts.refused++;
        else
            report(file, sql, why.message, want);
        goto out;
    }
    to_text(result, got, sizeof got);
    const struct weir_type *type = &select->schema->fields[0].type;
    struct weir_type wanted;
    bool good = !refused && (want->text ? strcmp(want->text, got) == 0 : json_equals(want->result, type, result, got));
    if (good && want->type && weir_type_parse(want->type, &wanted, NULL) == WEIR_OK &&
        (wanted.id != type->id || wanted.nullable != type->nullable)) {
        char text[64];
        snprintf(got, sizeof got, "the type %s", weir_type_print(type, text));
        good = false;
    }
    if (good)
        counts.passed++;
    else if (want->text && type->id == WEIR_TYPE_DOUBLE && close_enough(strtod(want->text, NULL), strtod(got, NULL)))
        counts.passed++;
    else if (has_decimal_literal(sql))
        counts.decimal++;
    else if (strstr(sql, "AS TIMESTAMP)")) /* TIMESTAMP(6) in Flink, TIMESTAMP(3) here */
        counts.precision++;
    else
        report(file, sql, got, want);
    weir_batch_unref(result);
out:
    weir_select_free(select);
}

/* Calls run_expression for each expression of a list (split at commas outside of everything). */
static void run_list(const char *file, const struct table *table, const char *sql, json_t *test)
{
    json_t *results = json_object_get(test, "results"), *types = json_object_get(test, "types");
    const char *phase = json_string_value(json_object_get(test, "phase"));
    char *copy = strdup(sql), *start = copy;
    int depth = 0;
    size_t index = 0;
    bool quoted = false;
    for (char *p = copy;; p++) {
        quoted ^= *p == '\'';
        depth += !quoted && (*p == '(' || *p == '[');
        depth -= !quoted && (*p == ')' || *p == ']');
        if (*p && (quoted || depth > 0 || *p != ','))
            continue;
        bool end = !*p;
        *p = '\0';
        struct expectation want = {.result = json_array_get(results, index),
                                   .type = json_string_value(json_array_get(types, index)),
                                   .at_runtime = phase && strcmp(phase, "runtime") == 0};
        run_expression(file, table, start, &want, NULL);
        index++;
        if (end)
            break;
        start = p + 1;
    }
    free(copy);
}

static void run_file(const char *path, const char *name)
{
    json_error_t why;
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, &why), *item, *test;
    size_t i, t;
    struct table table;
    assert_non_null(root);
    if (json_object_get(root, "cases")) {
        table_init(&table, json_object_get(root, "fields"), false);
        json_array_foreach(json_object_get(root, "cases"), i, item)
        {
            struct expectation want = {.text = json_string_value(json_object_get(item, "expected"))};
            run_expression(name, &table, json_string_value(json_object_get(item, "sql")), &want,
                           json_string_value(json_object_get(item, "timezone")));
        }
        table_fini(&table);
    }
    json_array_foreach(json_object_get(root, "sets"), i, item)
    {
        table_init(&table, json_object_get(item, "fields"), true);
        json_array_foreach(json_object_get(item, "tests"), t, test)
            run_list(name, &table, json_string_value(json_object_get(test, "sql")), test);
        table_fini(&table);
    }
    json_decref(root);
}

static void test_all(void **state)
{
    (void)state;
    const char *folder = getenv("WEIR_CONFORMANCE");
    char path[4096];
    snprintf(path, sizeof path, "%s/flink-scalar", folder ? folder : "../shared/conformance");
    struct dirent **names;
    int count = scandir(path, &names, NULL, alphasort);
    if (count < 0 && folder)
        fail_msg("WEIR_CONFORMANCE=%s has no flink-scalar", folder);
    if (count < 0) {
        print_message("  skipped: there is no folder of Flink's cases (set WEIR_CONFORMANCE)\n");
        skip();
    }
    for (int i = 0; i < count; i++) {
        if (strstr(names[i]->d_name, ".json")) {
            char file[8192];
            snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
            run_file(file, names[i]->d_name);
        }
        free(names[i]);
    }
    free(names);
    print_message("  %d passed, %d refused as Flink does, %d not supported yet, %d without values, %d other zone, "
                  "%d with DECIMAL literals, %d with TIMESTAMP(6), %d failed\n",
                  counts.passed, counts.refused, counts.unsupported, counts.no_values, counts.zone, counts.decimal,
                  counts.precision, counts.failed);
    assert_int_equal(counts.failed, 0);
    assert_true(counts.passed > 100); /* the cases were really read */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all)};
    return cmocka_run_group_tests_name("flink_scalar", tests, NULL, NULL);
}
