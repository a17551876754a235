/* Types and schemas: parsing and printing of their SQL text, lookup, comparison.
 *
 * Control path: called when a graph is built, checked or deployed, never per row. Pure: no I/O, no clock; the one state is
 * the table of nested types' schemas, under its lock.
 * Text form: a type name, its parameters, and NOT NULL (nullable is the default and is not printed). CHAR(n) is kept
 * as VARCHAR(n) and BINARY(n) as VARBINARY(n): lengths are carried, not enforced. A bare VARCHAR is STRING, a bare
 * TIMESTAMP or TIMESTAMP_LTZ has 3 digits (Flink's would be 6, which weir does not hold), a bare TIME is TIME(0), a bare
 * DECIMAL is DECIMAL(10, 0). ARRAY<T>, T ARRAY, MAP<K, V>, ROW<name T 'comment', ...> (or with parentheses) as Flink
 * writes them; they are printed as Flink prints them, a ROW's names in backticks.
 */
#include "data/schema.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "base/hash.h"

enum params {
    PARAM_NONE,
    PARAM_LENGTH,
    PARAM_LENGTH_ONE,
    PARAM_PRECISION,
    PARAM_DECIMAL, /* (precision, scale) */
    PARAM_FIELDS   /* <types> */
};

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
    {"TIMESTAMP_LTZ", WEIR_TYPE_TIMESTAMP_LTZ, PARAM_PRECISION},
    {"DECIMAL", WEIR_TYPE_DECIMAL, PARAM_DECIMAL},
    {"DEC", WEIR_TYPE_DECIMAL, PARAM_DECIMAL},
    {"NUMERIC", WEIR_TYPE_DECIMAL, PARAM_DECIMAL},
    {"ARRAY", WEIR_TYPE_ARRAY, PARAM_FIELDS},
    {"MAP", WEIR_TYPE_MAP, PARAM_FIELDS},
    {"ROW", WEIR_TYPE_ROW, PARAM_FIELDS},
};

/* Flink's names that are no types here. */
static const char *const later_names[] = {"MULTISET", "INTERVAL", "RAW", "STRUCTURED", "VARIANT"};

#define TYPES_ALLOWED \
    "BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, FLOAT, DOUBLE, DECIMAL(1 to 38, scale), STRING, VARCHAR(n), CHAR(n), " \
    "BYTES, VARBINARY(n), BINARY(n), DATE, TIME(0 to 3), TIMESTAMP(0 to 3), TIMESTAMP_LTZ(0 to 3), ARRAY<type>, " \
    "MAP<type, type>, ROW<name type, ...>, each with NOT NULL or without"

#define TIMESTAMP_PRECISION_DEFAULT 3
#define DECIMAL_PRECISION_DEFAULT 10
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

/* --- Names */

static bool is_name_start(unsigned char c)
{
    return isalpha(c) || c == '_' || c >= 0x80;
}

static bool is_name_char(unsigned char c)
{
    return is_name_start(c) || isdigit(c) || c == '$';
}

/* A plain or `quoted` name at *p, into arena memory. */
static weir_err take_name(const char **p, struct weir_arena *arena, const char *what, const char **name,
                          struct weir_error *error)
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
            return weir_fail(error, WEIR_ERR_INVALID, "%s: the quoted name at '%.40s' has no closing `", what, start);
        if (*at == '`')
            at++;
    } else {
        if (!is_name_start((unsigned char)*at))
            return weir_fail(error, WEIR_ERR_INVALID, "%s: a column name is expected at '%.40s'", what, at);
        while (is_name_char((unsigned char)*at) && size < WEIR_NAME_SIZE_MAX)
            text[size++] = *at++;
    }
    if (size == 0)
        return weir_fail(error, WEIR_ERR_INVALID, "%s: an empty column name", what);
    if (size >= WEIR_NAME_SIZE_MAX)
        return weir_fail(error, WEIR_ERR_INVALID, "%s: the name '%.40s...' is longer than %d bytes", what, text,
                         WEIR_NAME_SIZE_MAX - 1);
    *name = weir_arena_strndup(arena, text, size);
    *p = at;
    return WEIR_OK;
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
        else if (name->id != WEIR_TYPE_TIME)
            type->precision = TIMESTAMP_PRECISION_DEFAULT;
        break;
    default:
        break;
    }
    return WEIR_OK;
}

/* "(precision, scale)", "(precision)" or nothing. */
static weir_err parse_decimal(const char *text, const char **p, struct weir_type *type, struct weir_error *error)
{
    int64_t numbers[2] = {DECIMAL_PRECISION_DEFAULT, 0};
    const char *at = skip_space(*p);
    if (*at == '(') {
        for (int i = 0; i < 2 && *at != ')'; i++) {
            at = skip_space(at + 1);
            if (!isdigit((unsigned char)*at))
                return type_unknown(text, error);
            for (numbers[i] = 0; isdigit((unsigned char)*at); at++)
                numbers[i] = numbers[i] > 1000 ? numbers[i] : numbers[i] * 10 + (*at - '0');
            at = skip_space(at);
            if (*at != ')' && (i == 1 || *at != ','))
                return type_unknown(text, error);
        }
        *p = at + 1;
    }
    if (numbers[0] < 1 || numbers[0] > WEIR_DECIMAL_DIGITS_MAX || numbers[1] > numbers[0])
        return weir_fail(error, WEIR_ERR_INVALID,
                         "type '%.100s': a DECIMAL(precision, scale) has 1 to %d digits, of which 0 to all are "
                         "behind the point",
                         text, WEIR_DECIMAL_DIGITS_MAX);
    type->precision = (uint8_t)numbers[0];
    type->scale = (uint8_t)numbers[1];
    return WEIR_OK;
}

static weir_err parse_type(const char *text, const char **p, int depth, struct weir_type *type,
                           struct weir_error *error);

static weir_err take_mark(const char *text, const char **p, char mark, struct weir_error *error)
{
    const char *at = skip_space(*p);
    if (*at != mark)
        return weir_fail(error, WEIR_ERR_INVALID, "type '%.100s': '%c' is expected at '%.40s'", text, mark, at);
    *p = at + 1;
    return WEIR_OK;
}

/* 'a comment, which says nothing here' */
static weir_err skip_comment(const char *text, const char **p, struct weir_error *error)
{
    const char *at = skip_space(*p);
    if (*at != '\'')
        return WEIR_OK;
    for (at++; *at && (*at != '\'' || at[1] == '\''); at++)
        at += *at == '\'';
    if (!*at)
        return weir_fail(error, WEIR_ERR_INVALID, "type '%.100s': a comment has no closing quote", text);
    *p = at + 1;
    return WEIR_OK;
}

/* "name T, ..." up to `end`; the opening one is taken. */
static weir_err parse_row_fields(const char *text, const char **p, char end, int depth, struct weir_type *type,
                                 struct weir_error *error)
{
    struct weir_arena arena;
    weir_arena_init(&arena);
    struct weir_field *fields = weir_arena_alloc(&arena, WEIR_FIELDS_MAX * sizeof *fields);
    int count = 0;
    weir_err err = WEIR_OK;
    for (;;) {
        if (count == WEIR_FIELDS_MAX) {
            err = weir_fail(error, WEIR_ERR_INVALID, "type '%.60s...': a ROW has at most %d fields", text,
                            WEIR_FIELDS_MAX);
            goto out;
        }
        struct weir_field *field = &fields[count];
        if ((err = take_name(p, &arena, "type", &field->name, error)) ||
            (err = parse_type(text, p, depth + 1, &field->type, error)) || (err = skip_comment(text, p, error)))
            goto out;
        for (int i = 0; i < count; i++) {
            if (strcmp(fields[i].name, field->name) == 0) {
                err = weir_fail(error, WEIR_ERR_INVALID, "type '%.100s': it names the field '%s' twice", text,
                                field->name);
                goto out;
            }
        }
        count++;
        *p = skip_space(*p);
        if (**p != ',')
            break;
        ++*p;
    }
    err = take_mark(text, p, end, error);
    if (!err)
        err = weir_type_row(fields, count, type, error);
out:
    weir_arena_fini(&arena);
    return err;
}

static weir_err parse_fields(const char *text, const char **p, int depth, struct weir_type *type,
                             struct weir_error *error)
{
    enum weir_type_id id = type->id;
    struct weir_type first, second;
    weir_err err;
    const char *at = skip_space(*p);
    if (id == WEIR_TYPE_ROW && *at == '(') {
        *p = at + 1;
        return parse_row_fields(text, p, ')', depth, type, error);
    }
    if (*at != '<')
        return weir_fail(error, WEIR_ERR_INVALID, "type '%.100s': write %s", text,
                         id == WEIR_TYPE_ARRAY ? "ARRAY<type>"
                         : id == WEIR_TYPE_MAP ? "MAP<type, type>"
                                               : "ROW<name type, ...>");
    *p = at + 1;
    if (id == WEIR_TYPE_ROW)
        return parse_row_fields(text, p, '>', depth, type, error);
    if ((err = parse_type(text, p, depth + 1, &first, error)))
        return err;
    if (id == WEIR_TYPE_MAP &&
        ((err = take_mark(text, p, ',', error)) || (err = parse_type(text, p, depth + 1, &second, error))))
        return err;
    if ((err = take_mark(text, p, '>', error)))
        return err;
    return id == WEIR_TYPE_MAP ? weir_type_map(&first, &second, type, error) : weir_type_array(&first, type, error);
}

static void take_nullability(const char **p, bool *wrong, struct weir_type *type)
{
    if (take_word(p, "NOT")) {
        *wrong = !take_word(p, "NULL");
        type->nullable = false;
    } else {
        (void)take_word(p, "NULL");
    }
}

/* One type at *p, which moves behind it. `text` is all of it, for messages. */
static weir_err parse_type(const char *text, const char **p, int depth, struct weir_type *type,
                           struct weir_error *error)
{
    const struct type_name *name = NULL;
    if (depth > WEIR_TYPE_DEPTH_MAX)
        return weir_fail(error, WEIR_ERR_INVALID, "type '%.60s...': it is nested over %d levels deep", text,
                         WEIR_TYPE_DEPTH_MAX);
    for (size_t i = 0; i < sizeof later_names / sizeof *later_names; i++) {
        if (take_word(p, later_names[i]))
            return weir_fail(error, WEIR_ERR_UNSUPPORTED, "type '%.100s': weir does not have %s; it has %s", text,
                             later_names[i], TYPES_ALLOWED);
    }
    for (size_t i = 0; i < sizeof type_names / sizeof *type_names && !name; i++) {
        if (take_word(p, type_names[i].name))
            name = &type_names[i];
    }
    if (!name)
        return type_unknown(text, error);
    struct weir_type parsed = {.id = name->id, .nullable = true};
    if (name->id == WEIR_TYPE_DOUBLE)
        (void)take_word(p, "PRECISION");
    weir_err err = name->params == PARAM_FIELDS    ? parse_fields(text, p, depth, &parsed, error)
                   : name->params == PARAM_DECIMAL ? parse_decimal(text, p, &parsed, error)
                                                   : parse_params(name, text, p, &parsed, error);
    if (err)
        return err;
    bool wrong = false;
    if (name->id == WEIR_TYPE_TIMESTAMP && take_word(p, "WITH")) {
        bool local = take_word(p, "LOCAL");
        if (!take_word(p, "TIME") || !take_word(p, "ZONE"))
            return type_unknown(text, error);
        if (!local)
            return weir_fail(error, WEIR_ERR_UNSUPPORTED,
                             "type '%.100s': a time that keeps the zone it was written with is not there; use "
                             "TIMESTAMP_LTZ(3), a moment",
                             text);
        parsed.id = WEIR_TYPE_TIMESTAMP_LTZ;
    } else if (name->params == PARAM_PRECISION && name->id != WEIR_TYPE_TIMESTAMP_LTZ && take_word(p, "WITHOUT")) {
        wrong = !take_word(p, "TIME") || !take_word(p, "ZONE");
    }
    if (!wrong)
        take_nullability(p, &wrong, &parsed);
    for (; !wrong && take_word(p, "ARRAY") && !err; depth++) {
        struct weir_type element = parsed;
        if (depth >= WEIR_TYPE_DEPTH_MAX)
            return weir_fail(error, WEIR_ERR_INVALID, "type '%.60s...': it is nested over %d levels deep", text,
                             WEIR_TYPE_DEPTH_MAX);
        if (!(err = weir_type_array(&element, &parsed, error)))
            take_nullability(p, &wrong, &parsed);
    }
    if (wrong)
        return type_unknown(text, error);
    *type = parsed;
    return err;
}

weir_err weir_type_parse(const char *text, struct weir_type *type, struct weir_error *error)
{
    const char *p = text;
    struct weir_type parsed;
    weir_err err = parse_type(text, &p, 1, &parsed, error);
    if (err)
        return err;
    if (*skip_space(p) != '\0')
        return type_unknown(text, error);
    *type = parsed;
    return WEIR_OK;
}

/* --- Printing */

/* Nested types aside. */
static void print_simple(const struct weir_type *type, char out[64])
{
    const char *suffix = type->nullable ? "" : " NOT NULL";
    switch (type->id) {
    case WEIR_TYPE_STRING:
    case WEIR_TYPE_BYTES:
        if (type->length > 0) {
            snprintf(out, 64, "%s(%d)%s", type->id == WEIR_TYPE_STRING ? "VARCHAR" : "VARBINARY", type->length, suffix);
            return;
        }
        break;
    case WEIR_TYPE_TIME:
    case WEIR_TYPE_TIMESTAMP:
    case WEIR_TYPE_TIMESTAMP_LTZ:
        snprintf(out, 64, "%s(%d)%s",
                 type->id == WEIR_TYPE_TIME        ? "TIME"
                 : type->id == WEIR_TYPE_TIMESTAMP ? "TIMESTAMP"
                                                   : "TIMESTAMP_LTZ",
                 type->precision, suffix);
        return;
    case WEIR_TYPE_DECIMAL:
        snprintf(out, 64, "DECIMAL(%d, %d)%s", type->precision, type->scale, suffix);
        return;
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
}

static bool print_quoted(const char *name, struct weir_buf *out)
{
    if (!weir_buf_puts(out, "`"))
        return false;
    for (const char *p = name; *p != '\0'; p++) {
        if (!weir_buf_append(out, p, 1) || (*p == '`' && !weir_buf_append(out, p, 1)))
            return false;
    }
    return weir_buf_puts(out, "`");
}

/* "ARRAY<..>" and so on, without NOT NULL. */
static bool print_nested(enum weir_type_id id, const struct weir_field *fields, int count, struct weir_buf *out)
{
    if (!weir_buf_puts(out, id == WEIR_TYPE_ARRAY ? "ARRAY<" : id == WEIR_TYPE_MAP ? "MAP<" : "ROW<"))
        return false;
    for (int i = 0; i < count; i++) {
        if ((i > 0 && !weir_buf_puts(out, ", ")) ||
            (id == WEIR_TYPE_ROW && (!print_quoted(fields[i].name, out) || !weir_buf_puts(out, " "))) ||
            !weir_type_text(&fields[i].type, out))
            return false;
    }
    return weir_buf_puts(out, ">");
}

bool weir_type_text(const struct weir_type *type, struct weir_buf *out)
{
    char text[64];
    if (weir_type_is_nested(type->id))
        return print_nested(type->id, type->fields->fields, type->fields->field_count, out) &&
               (type->nullable || weir_buf_puts(out, " NOT NULL"));
    print_simple(type, text);
    return weir_buf_puts(out, text);
}

char *weir_type_print(const struct weir_type *type, char out[64])
{
    if (!weir_type_is_nested(type->id)) {
        print_simple(type, out);
        return out;
    }
    struct weir_buf text;
    weir_buf_init(&text, WEIR_TYPE_TEXT_MAX);
    bool whole = weir_type_text(type, &text);
    const char *printed = text.data ? (const char *)text.data : "";
    if (whole && text.size < 64)
        memcpy(out, printed, text.size + 1);
    else
        snprintf(out, 64, "%.60s...", printed);
    weir_buf_fini(&text);
    return out;
}

/* --- Comparing */

bool weir_type_equal(const struct weir_type *a, const struct weir_type *b)
{
    if (a->id != b->id || a->precision != b->precision || a->scale != b->scale)
        return false;
    if (a->fields == b->fields)
        return true;
    if (a->fields->field_count != b->fields->field_count)
        return false;
    for (int i = 0; i < a->fields->field_count; i++) {
        if (strcmp(a->fields->fields[i].name, b->fields->fields[i].name) != 0 ||
            !weir_type_equal(&a->fields->fields[i].type, &b->fields->fields[i].type))
            return false;
    }
    return true;
}

bool weir_type_same(const struct weir_type *a, const struct weir_type *b)
{
    return a->id == b->id && a->precision == b->precision && a->scale == b->scale && a->nullable == b->nullable &&
           a->length == b->length && a->fields == b->fields;
}

bool weir_type_has(const struct weir_type *type, enum weir_type_id id)
{
    if (type->id == id)
        return true;
    for (int i = 0; type->fields && i < type->fields->field_count; i++) {
        if (weir_type_has(&type->fields->fields[i].type, id))
            return true;
    }
    return false;
}

/* --- Schemas of nested types: one for all equal types. They are found by the type's text. */

#define INTERNED_BUCKETS 1024

struct interned {
    struct interned *next;
    struct weir_schema *schema;
    char text[];
};
static struct interned *interned[INTERNED_BUCKETS];
static int interned_count;
static pthread_mutex_t interned_lock = PTHREAD_MUTEX_INITIALIZER;

/* The schema for these fields; NULL: there are too many. */
static const struct weir_schema *intern(const char *text, size_t size, const struct weir_field *fields, int count)
{
    struct interned **bucket = &interned[weir_xxh3(text, size) % INTERNED_BUCKETS], *found;
    pthread_mutex_lock(&interned_lock);
    for (found = *bucket; found && strcmp(found->text, text) != 0;)
        found = found->next;
    if (!found && interned_count < WEIR_TYPES_NESTED_MAX) {
        found = weir_alloc(sizeof *found + size + 1);
        memcpy(found->text, text, size + 1);
        found->schema = weir_schema_new(fields, count);
        found->next = *bucket;
        *bucket = found;
        interned_count++;
    }
    pthread_mutex_unlock(&interned_lock);
    return found ? found->schema : NULL;
}

static int type_depth(const struct weir_type *type)
{
    int depth = 0;
    for (int i = 0; type->fields && i < type->fields->field_count; i++) {
        int below = type_depth(&type->fields->fields[i].type);
        depth = below > depth ? below : depth;
    }
    return depth + 1;
}

static weir_err nested_type(enum weir_type_id id, const struct weir_field *fields, int count, struct weir_type *type,
                            struct weir_error *error)
{
    struct weir_buf text;
    weir_err err = WEIR_OK;
    for (int i = 0; i < count; i++) {
        if (type_depth(&fields[i].type) >= WEIR_TYPE_DEPTH_MAX)
            return weir_fail(error, WEIR_ERR_INVALID, "the type is nested over %d levels deep", WEIR_TYPE_DEPTH_MAX);
    }
    if (count == 0) /* what has no fields has no bytes, and nothing would bound how many there are */
        return weir_fail(error, WEIR_ERR_INVALID, "a ROW has at least one field");
    weir_buf_init(&text, WEIR_TYPE_TEXT_MAX - 16);
    struct weir_type made = {.id = id, .nullable = true};
    if (!print_nested(id, fields, count, &text))
        err = weir_fail(error, WEIR_ERR_FULL, "the type's text is longer than %zu bytes", WEIR_TYPE_TEXT_MAX);
    else if (!(made.fields = intern((const char *)text.data, text.size, fields, count)))
        err = weir_fail(error, WEIR_ERR_FULL, "there are more than %d different nested types", WEIR_TYPES_NESTED_MAX);
    else
        *type = made;
    weir_buf_fini(&text);
    return err;
}

weir_err weir_type_array(const struct weir_type *element, struct weir_type *type, struct weir_error *error)
{
    struct weir_field field = {"element", *element};
    return nested_type(WEIR_TYPE_ARRAY, &field, 1, type, error);
}

weir_err weir_type_map(const struct weir_type *key, const struct weir_type *value, struct weir_type *type,
                       struct weir_error *error)
{
    struct weir_field fields[2] = {{"key", *key}, {"value", *value}};
    return nested_type(WEIR_TYPE_MAP, fields, 2, type, error);
}

weir_err weir_type_row(const struct weir_field *fields, int field_count, struct weir_type *type,
                       struct weir_error *error)
{
    return nested_type(WEIR_TYPE_ROW, fields, field_count, type, error);
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
            a->fields[i].type.nullable != b->fields[i].type.nullable ||
            (a->fields[i].type.fields && !weir_schema_equal(a->fields[i].type.fields, b->fields[i].type.fields)))
            return false;
    }
    return true;
}

/* The type's text ends at a comma outside of parentheses, angle brackets and quotes. */
static const char *type_end(const char *p)
{
    int depth = 0;
    for (; *p != '\0'; p++) {
        if (*p == '`' || *p == '\'') {
            const char *close = strchr(p + 1, *p);
            if (close)
                p = close;
        } else if (*p == '(' || *p == '<')
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
    weir_err err = take_name(p, arena, "column list", &field->name, error);
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
    return plain ? weir_buf_puts(out, name) : print_quoted(name, out);
}

bool weir_schema_print(const struct weir_schema *schema, struct weir_buf *out)
{
    for (int i = 0; i < schema->field_count; i++) {
        if (i > 0 && !weir_buf_puts(out, ", "))
            return false;
        if (!print_name(schema->fields[i].name, out) || !weir_buf_puts(out, " ") ||
            !weir_type_text(&schema->fields[i].type, out))
            return false;
    }
    return true;
}
