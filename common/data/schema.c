/* Types and schemas: parsing and printing of their SQL text, lookup, comparison.
 *
 * Control path: called when a graph is built, checked or deployed, never per row. Pure: no I/O, no clock, no state.
 * Text form: a type name, its parameters, and NOT NULL (nullable is the default and is not printed). CHAR(n) is kept
 * as VARCHAR(n) and BINARY(n) as VARBINARY(n): lengths are carried, not enforced. A bare VARCHAR is STRING, a bare
 * TIMESTAMP is TIMESTAMP(3) (Flink's would be 6, which weir does not hold), a bare TIME is TIME(0).
 */
#include "data/schema.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"

enum params { PARAM_NONE, PARAM_LENGTH, PARAM_LENGTH_ONE, PARAM_PRECISION };

static const struct type_name {
    const char *name;
    enum weir_type_id id;
    enum params params;
} type_names[] = {
    {"BOOLEAN", WEIR_TYPE_BOOLEAN, PARAM_NONE},
    {"TINYINT", WEIR_TYPE_INT8, PARAM_NONE},
    {"SMALLINT", WEIR_TYPE_INT16, PARAM_NONE},
    {"INT", WEIR_TYPE_INT32, PARAM_NONE},
    {"INTEGER", WEIR_TYPE_INT32, PARAM_NONE},
    {"BIGINT", WEIR_TYPE_INT64, PARAM_NONE},
    {"FLOAT", WEIR_TYPE_FLOAT, PARAM_NONE},
    {"DOUBLE", WEIR_TYPE_DOUBLE, PARAM_NONE},
    {"STRING", WEIR_TYPE_STRING, PARAM_NONE},
    {"VARCHAR", WEIR_TYPE_STRING, PARAM_LENGTH},
    {"CHAR", WEIR_TYPE_STRING, PARAM_LENGTH_ONE},
    {"BYTES", WEIR_TYPE_BYTES, PARAM_NONE},
    {"VARBINARY", WEIR_TYPE_BYTES, PARAM_LENGTH},
    {"BINARY", WEIR_TYPE_BYTES, PARAM_LENGTH_ONE},
    {"DATE", WEIR_TYPE_DATE, PARAM_NONE},
    {"TIME", WEIR_TYPE_TIME, PARAM_PRECISION},
    {"TIMESTAMP", WEIR_TYPE_TIMESTAMP, PARAM_PRECISION},
};

/* Names that have their room but no format yet. */
static const char *const later_names[] = {"TIMESTAMP_LTZ", "DECIMAL", "DEC",      "NUMERIC", "ARRAY",
                                          "MAP",           "ROW",     "MULTISET", "INTERVAL"};

#define TYPES_ALLOWED \
    "BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, FLOAT, DOUBLE, STRING, VARCHAR(n), CHAR(n), BYTES, VARBINARY(n), " \
    "BINARY(n), DATE, TIME(0 to 3), TIMESTAMP(0 to 3), each with NOT NULL or without"

#define TIMESTAMP_PRECISION_DEFAULT 3
#define SUBSECOND_DIGITS_MAX 3

/* --- A cursor over text */

static const char *skip_space(const char *p)
{
    while (isspace((unsigned char)*p))
        p++;
    return p;
}

/* Takes the keyword at *p when it stands there as a whole word. */
static bool take_word(const char **p, const char *word)
{
    const char *at = skip_space(*p);
    size_t size = strlen(word);
    if (strncasecmp(at, word, size) != 0 || isalnum((unsigned char)at[size]) || at[size] == '_')
        return false;
    *p = at + size;
    return true;
}

/* "(n)" at *p: 1 taken, 0 not there, -1 malformed. */
static int take_number(const char **p, int64_t max, int64_t *number)
{
    const char *at = skip_space(*p);
    if (*at != '(')
        return 0;
    at = skip_space(at + 1);
    if (!isdigit((unsigned char)*at))
        return -1;
    int64_t n = 0;
    for (; isdigit((unsigned char)*at); at++) {
        n = n * 10 + (*at - '0');
        if (n > max)
            return -1;
    }
    at = skip_space(at);
    if (*at != ')')
        return -1;
    *number = n;
    *p = at + 1;
    return 1;
}

/* --- Types */

static weir_err type_unknown(const char *text, struct weir_error *error)
{
    return weir_fail(error, WEIR_ERR_INVALID, "'%.100s' is not a type; allowed are %s", text, TYPES_ALLOWED);
}

static weir_err parse_params(const struct type_name *name, const char *text, const char **p, struct weir_type *type,
                             struct weir_error *error)
{
    int64_t number = 0;
    int taken = take_number(p, INT32_MAX, &number);
    if (taken < 0 || (taken > 0 && name->params == PARAM_NONE))
        return type_unknown(text, error);
    switch (name->params) {
    case PARAM_NONE:
        break;
    case PARAM_LENGTH:
    case PARAM_LENGTH_ONE:
        if (taken && number == 0)
            return weir_fail(error, WEIR_ERR_INVALID, "type '%.100s': the length must be at least 1", text);
        if (taken)
            type->length = number == INT32_MAX ? 0 : (int32_t)number;
        else
            type->length = name->params == PARAM_LENGTH_ONE ? 1 : 0;
        break;
    case PARAM_PRECISION:
        if (taken && number > SUBSECOND_DIGITS_MAX)
            return weir_fail(error, number <= 9 ? WEIR_ERR_UNSUPPORTED : WEIR_ERR_INVALID,
                             "type '%.100s': weir keeps milliseconds; write a precision of 0 to 3", text);
        if (taken)
            type->precision = (uint8_t)number;
        else if (name->id == WEIR_TYPE_TIMESTAMP)
            type->precision = TIMESTAMP_PRECISION_DEFAULT;
        break;
    }
    return WEIR_OK;
}

weir_err weir_type_parse(const char *text, struct weir_type *type, struct weir_error *error)
{
    const char *p = text;
    const struct type_name *name = NULL;
    for (size_t i = 0; i < sizeof later_names / sizeof *later_names; i++) {
        if (take_word(&p, later_names[i]))
            return weir_fail(error, WEIR_ERR_UNSUPPORTED, "type '%.100s': weir does not have %s yet; it has %s", text,
                             later_names[i], TYPES_ALLOWED);
    }
    for (size_t i = 0; i < sizeof type_names / sizeof *type_names && !name; i++) {
        if (take_word(&p, type_names[i].name))
            name = &type_names[i];
    }
    if (!name)
        return type_unknown(text, error);
    struct weir_type parsed = {.id = name->id, .nullable = true};
    if (name->id == WEIR_TYPE_DOUBLE)
        (void)take_word(&p, "PRECISION");
    weir_err err = parse_params(name, text, &p, &parsed, error);
    if (err)
        return err;
    if (name->id == WEIR_TYPE_TIMESTAMP && take_word(&p, "WITH"))
        return weir_fail(error, WEIR_ERR_UNSUPPORTED,
                         "type '%.100s': weir has no timestamps with a time zone yet; use TIMESTAMP(3), in UTC", text);
    if (name->params == PARAM_PRECISION && take_word(&p, "WITHOUT") &&
        !(take_word(&p, "TIME") && take_word(&p, "ZONE")))
        return type_unknown(text, error);
    if (take_word(&p, "NOT")) {
        if (!take_word(&p, "NULL"))
            return type_unknown(text, error);
        parsed.nullable = false;
    } else {
        (void)take_word(&p, "NULL");
    }
    if (*skip_space(p) != '\0')
        return type_unknown(text, error);
    *type = parsed;
    return WEIR_OK;
}

char *weir_type_print(const struct weir_type *type, char out[64])
{
    const char *suffix = type->nullable ? "" : " NOT NULL";
    switch (type->id) {
    case WEIR_TYPE_STRING:
    case WEIR_TYPE_BYTES:
        if (type->length > 0) {
            snprintf(out, 64, "%s(%d)%s", type->id == WEIR_TYPE_STRING ? "VARCHAR" : "VARBINARY", type->length, suffix);
            return out;
        }
        break;
    case WEIR_TYPE_TIME:
    case WEIR_TYPE_TIMESTAMP:
        snprintf(out, 64, "%s(%d)%s", type->id == WEIR_TYPE_TIME ? "TIME" : "TIMESTAMP", type->precision, suffix);
        return out;
    default:
        break;
    }
    const char *base = type->id == WEIR_TYPE_NONE ? "NULL" : "UNKNOWN";
    for (size_t i = 0; i < sizeof type_names / sizeof *type_names; i++) {
        if (type_names[i].id == type->id) {
            base = type_names[i].name;
            break;
        }
    }
    snprintf(out, 64, "%s%s", base, suffix);
    return out;
}

bool weir_type_equal(const struct weir_type *a, const struct weir_type *b)
{
    return a->id == b->id && a->precision == b->precision && a->scale == b->scale;
}

/* --- Schemas */

struct weir_schema *weir_schema_new(const struct weir_field *fields, int field_count)
{
    weir_assert(field_count >= 0);
    weir_assert(field_count <= WEIR_FIELDS_MAX);
    /* One block: the header, the fields, the names. */
    size_t size = sizeof(struct weir_schema) + (size_t)field_count * sizeof(struct weir_field);
    size_t names_at = size;
    for (int i = 0; i < field_count; i++)
        size += strlen(fields[i].name) + 1;
    struct weir_schema *schema = weir_alloc(size);
    schema->refs = 1;
    schema->field_count = field_count;
    char *names = (char *)schema + names_at;
    for (int i = 0; i < field_count; i++) {
        size_t name_size = strlen(fields[i].name) + 1;
        schema->fields[i] = fields[i];
        schema->fields[i].name = memcpy(names, fields[i].name, name_size);
        names += name_size;
    }
    return schema;
}

struct weir_schema *weir_schema_ref(struct weir_schema *schema)
{
    __atomic_fetch_add(&schema->refs, 1, __ATOMIC_RELAXED);
    return schema;
}

void weir_schema_unref(struct weir_schema *schema)
{
    if (schema && __atomic_fetch_sub(&schema->refs, 1, __ATOMIC_ACQ_REL) == 1)
        free(schema);
}

int weir_schema_find(const struct weir_schema *schema, const char *name, size_t name_size)
{
    for (int i = 0; i < schema->field_count; i++) {
        const char *field = schema->fields[i].name;
        if (strlen(field) == name_size && memcmp(field, name, name_size) == 0)
            return i;
    }
    return -1;
}

bool weir_schema_equal(const struct weir_schema *a, const struct weir_schema *b)
{
    if (a == b)
        return true;
    if (a->field_count != b->field_count)
        return false;
    for (int i = 0; i < a->field_count; i++) {
        if (strcmp(a->fields[i].name, b->fields[i].name) != 0 ||
            !weir_type_equal(&a->fields[i].type, &b->fields[i].type) ||
            a->fields[i].type.nullable != b->fields[i].type.nullable)
            return false;
    }
    return true;
}

static bool is_name_start(unsigned char c)
{
    return isalpha(c) || c == '_' || c >= 0x80;
}

static bool is_name_char(unsigned char c)
{
    return is_name_start(c) || isdigit(c) || c == '$';
}

/* A plain or `quoted` name at *p, into arena memory. */
static weir_err take_name(const char **p, struct weir_arena *arena, const char **name, struct weir_error *error)
{
    const char *at = skip_space(*p);
    char text[WEIR_NAME_SIZE_MAX + 1];
    size_t size = 0;
    if (*at == '`') {
        const char *start = at++;
        while (*at != '\0' && (*at != '`' || at[1] == '`')) {
            if (size == WEIR_NAME_SIZE_MAX)
                break;
            at += *at == '`'; /* a doubled backtick is one */
            text[size++] = *at++;
        }
        if (*at == '\0')
            return weir_fail(error, WEIR_ERR_INVALID, "column list: the quoted name at '%.40s' has no closing `",
                             start);
        if (*at == '`')
            at++;
    } else {
        if (!is_name_start((unsigned char)*at))
            return weir_fail(error, WEIR_ERR_INVALID, "column list: a column name is expected at '%.40s'", at);
        while (is_name_char((unsigned char)*at) && size < WEIR_NAME_SIZE_MAX)
            text[size++] = *at++;
    }
    if (size == 0)
        return weir_fail(error, WEIR_ERR_INVALID, "column list: an empty column name");
    if (size >= WEIR_NAME_SIZE_MAX)
        return weir_fail(error, WEIR_ERR_INVALID, "column list: the name '%.40s...' is longer than %d bytes", text,
                         WEIR_NAME_SIZE_MAX - 1);
    *name = weir_arena_strndup(arena, text, size);
    *p = at;
    return WEIR_OK;
}

/* The type's text ends at a comma outside of parentheses and angle brackets. */
static const char *type_end(const char *p)
{
    int depth = 0;
    for (; *p != '\0'; p++) {
        if (*p == '(' || *p == '<')
            depth++;
        else if (*p == ')' || *p == '>')
            depth--;
        else if (*p == ',' && depth <= 0)
            break;
    }
    return p;
}

static weir_err parse_field(const char **p, struct weir_arena *arena, struct weir_field *field,
                            struct weir_error *error)
{
    weir_err err = take_name(p, arena, &field->name, error);
    if (err)
        return err;
    const char *start = skip_space(*p);
    const char *end = type_end(start);
    const char *text = weir_arena_strndup(arena, start, (size_t)(end - start));
    if (start == end)
        return weir_fail(error, WEIR_ERR_INVALID, "column '%s' has no type", field->name);
    err = weir_type_parse(text, &field->type, error);
    if (err)
        return weir_wrap(error, "column '%s'", field->name);
    *p = end;
    return WEIR_OK;
}

weir_err weir_schema_parse(const char *text, struct weir_schema **schema, struct weir_error *error)
{
    struct weir_arena arena = {0};
    weir_arena_init(&arena);
    struct weir_field *fields = weir_arena_alloc(&arena, WEIR_FIELDS_MAX * sizeof *fields);
    int count = 0;
    const char *p = text;
    weir_err err = WEIR_OK;
    if (*skip_space(p) == '\0') {
        err = weir_fail(error, WEIR_ERR_INVALID, "the column list is empty; write 'name TYPE, name TYPE'");
        goto out;
    }
    for (;;) {
        if (count == WEIR_FIELDS_MAX) {
            err = weir_fail(error, WEIR_ERR_INVALID, "the column list has more than %d columns", WEIR_FIELDS_MAX);
            goto out;
        }
        err = parse_field(&p, &arena, &fields[count], error);
        if (err)
            goto out;
        for (int i = 0; i < count; i++) {
            if (strcmp(fields[i].name, fields[count].name) == 0) {
                err = weir_fail(error, WEIR_ERR_INVALID, "the column list names '%s' twice", fields[i].name);
                goto out;
            }
        }
        count++;
        if (*p == '\0')
            break;
        p++; /* the comma */
    }
    *schema = weir_schema_new(fields, count);
out:
    weir_arena_fini(&arena);
    return err;
}

static bool print_name(const char *name, struct weir_buf *out)
{
    bool plain = is_name_start((unsigned char)name[0]);
    for (const char *p = name; *p != '\0' && plain; p++)
        plain = is_name_char((unsigned char)*p);
    if (plain)
        return weir_buf_puts(out, name);
    if (!weir_buf_puts(out, "`"))
        return false;
    for (const char *p = name; *p != '\0'; p++) {
        if (!weir_buf_append(out, p, 1) || (*p == '`' && !weir_buf_append(out, p, 1)))
            return false;
    }
    return weir_buf_puts(out, "`");
}

bool weir_schema_print(const struct weir_schema *schema, struct weir_buf *out)
{
    char text[64];
    for (int i = 0; i < schema->field_count; i++) {
        if (i > 0 && !weir_buf_puts(out, ", "))
            return false;
        if (!print_name(schema->fields[i].name, out) || !weir_buf_puts(out, " ") ||
            !weir_buf_puts(out, weir_type_print(&schema->fields[i].type, text)))
            return false;
    }
    return true;
}
