/* The table of functions, and choosing an overload. Control path only; pure.
 *
 * To add a function: a row here, its body in one of the *_fn.c files. Overloads are rows with the same name in a run;
 * the first whose arguments fit is taken. Arguments, one letter each, optional ones after '|', '*' repeats the last:
 *   s STRING   y BYTES   l any integer, as BIGINT   d any number, as DOUBLE   n any number, as it is
 *   t TIMESTAMP (also from DATE, and from text)   D DATE   H TIME   B BOOLEAN   T TIMESTAMP only
 *   g anything comparable; all g arguments get their common type   a ARRAY   c ARRAY or MAP   e the ARRAY's element
 * Results: B BOOLEAN, I INT, L BIGINT, D DOUBLE, S STRING, Y BYTES, d DATE, t TIMESTAMP(3), z TIMESTAMP_LTZ(3), 1 the first argument's
 * type, ! the ARRAY's element.
 */
#include <math.h>
#include <pthread.h>

#include "base/assert.h"
#include "expr/functions_int.h"

#define N FUNCTION_NULLABLE
#define LENIENT FUNCTION_LENIENT

static const struct function functions[] = {
    /* text */
    {"ARRAY_CONTAINS", "ae", 'B', LENIENT, fn_array_contains, NULL, 0},
    {"ASCII", "s", 'I', 0, fn_ascii, NULL, 0},
    {"BTRIM", "s|s", 'S', 0, fn_btrim, NULL, 0},
    {"CHARACTER_LENGTH", "s", 'I', 0, fn_char_length, NULL, 0},
    {"CHAR_LENGTH", "s", 'I', 0, fn_char_length, NULL, 0},
    {"CHR", "l", 'S', 0, fn_chr, NULL, 0},
    {"CARDINALITY", "c", 'I', 0, fn_cardinality, NULL, 0},
    {"CONCAT", "s*", 'S', 0, fn_concat, NULL, 0},
    {"CONCAT_WS", "ss*", 'S', LENIENT, fn_concat_ws, NULL, 0},
    {"ELEMENT", "a", '!', N, fn_element, NULL, 0},
    {"ELT", "ls*", 'S', N | LENIENT, fn_elt, NULL, 0},
    {"ELT", "ly*", 'Y', N | LENIENT, fn_elt, NULL, 0},
    {"ENDSWITH", "ss", 'B', 0, fn_ends_with, NULL, 0},
    {"ENDSWITH", "yy", 'B', 0, fn_ends_with, NULL, 0},
    {"INITCAP", "s", 'S', 0, fn_initcap, NULL, 0},
    {"INSTR", "ss|ll", 'I', 0, fn_instr, NULL, 0},
    {"IS_ALPHA", "s", 'B', LENIENT, fn_is_alpha, NULL, 0},
    {"IS_DECIMAL", "s", 'B', LENIENT, fn_is_decimal, NULL, 0},
    {"IS_DIGIT", "s", 'B', LENIENT, fn_is_digit, NULL, 0},
    {"LEFT", "sl", 'S', 0, fn_left, NULL, 0},
    {"LENGTH", "s", 'I', 0, fn_char_length, NULL, 0},
    {"LOCATE", "ss|l", 'I', 0, fn_locate, NULL, 0},
    {"LOWER", "s", 'S', 0, fn_lower, NULL, 0},
    {"LPAD", "sls", 'S', N, fn_lpad, NULL, 0},
    {"LTRIM", "s|s", 'S', 0, fn_ltrim, NULL, 0},
    {"OCTET_LENGTH", "s", 'I', 0, fn_octet_length, NULL, 0},
    {"OVERLAY", "ssl|l", 'S', 0, fn_overlay, NULL, 0},
    {"POSITION", "ss", 'I', 0, fn_position, NULL, 0},
    {"REPEAT", "sl", 'S', 0, fn_repeat, NULL, 0},
    {"REPLACE", "sss", 'S', 0, fn_replace, NULL, 0},
    {"REVERSE", "s", 'S', 0, fn_reverse, NULL, 0},
    {"RIGHT", "sl", 'S', 0, fn_right, NULL, 0},
    {"RPAD", "sls", 'S', N, fn_rpad, NULL, 0},
    {"RTRIM", "s|s", 'S', 0, fn_rtrim, NULL, 0},
    {"SPLIT_INDEX", "ssl", 'S', N, fn_split_index, NULL, 0},
    {"SPLIT_INDEX", "sll", 'S', N, fn_split_index, NULL, 1},
    {"STARTSWITH", "ss", 'B', 0, fn_starts_with, NULL, 0},
    {"STARTSWITH", "yy", 'B', 0, fn_starts_with, NULL, 0},
    {"SUBSTR", "sl|l", 'S', N, fn_substring, NULL, 0},
    {"SUBSTRING", "sl|l", 'S', N, fn_substring, NULL, 0},
    {"TRANSLATE", "sss", 'S', LENIENT, fn_translate, NULL, 0},
    {"UPPER", "s", 'S', 0, fn_upper, NULL, 0},
    {"||", "ss", 'S', 0, fn_concat, NULL, 0},
    {"||", "yy", 'Y', 0, fn_concat, NULL, 0},
    /* digests and encodings */
    {"BIN", "l", 'S', 0, fn_bin, NULL, 0},
    {"DECODE", "ys", 'S', N, fn_decode, NULL, 0},
    {"ENCODE", "ss", 'Y', 0, fn_encode, NULL, 0},
    {"FROM_BASE64", "s", 'S', N, fn_from_base64, NULL, 0},
    {"FROM_BASE64", "y", 'S', N, fn_from_base64, NULL, 0},
    {"HEX", "l", 'S', 0, fn_hex_int, NULL, 0},
    {"HEX", "s", 'S', 0, fn_hex_bytes, NULL, 0},
    {"MD5", "s", 'S', 0, fn_md5, NULL, 0},
    {"MD5", "y", 'S', 0, fn_md5, NULL, 0},
    {"SHA1", "s", 'S', 0, fn_sha1, NULL, 0},
    {"SHA1", "y", 'S', 0, fn_sha1, NULL, 0},
    {"SHA2", "sl", 'S', N, fn_sha2, NULL, 0},
    {"SHA2", "yl", 'S', N, fn_sha2, NULL, 0},
    {"SHA224", "s", 'S', 0, fn_sha224, NULL, 0},
    {"SHA224", "y", 'S', 0, fn_sha224, NULL, 0},
    {"SHA256", "s", 'S', 0, fn_sha256, NULL, 0},
    {"SHA256", "y", 'S', 0, fn_sha256, NULL, 0},
    {"SHA384", "s", 'S', 0, fn_sha384, NULL, 0},
    {"SHA384", "y", 'S', 0, fn_sha384, NULL, 0},
    {"SHA512", "s", 'S', 0, fn_sha512, NULL, 0},
    {"SHA512", "y", 'S', 0, fn_sha512, NULL, 0},
    {"TO_BASE64", "s", 'S', 0, fn_to_base64, NULL, 0},
    {"TO_BASE64", "y", 'S', 0, fn_to_base64, NULL, 0},
    {"UNHEX", "s", 'Y', N, fn_unhex, NULL, 0},
    /* numbers */
    {"ABS", "n", '1', 0, fn_abs, NULL, 0},
    {"ACOS", "d", 'D', 0, NULL, acos, 0},
    {"ASIN", "d", 'D', 0, NULL, asin, 0},
    {"ATAN", "d", 'D', 0, NULL, atan, 0},
    {"ATAN2", "dd", 'D', 0, fn_atan2, NULL, 0},
    {"CEIL", "n", '1', 0, fn_ceil, NULL, 0},
    {"COS", "d", 'D', 0, NULL, cos, 0},
    {"COSH", "d", 'D', 0, NULL, cosh, 0},
    {"COT", "d", 'D', 0, NULL, math_cot, 0},
    {"DEGREES", "d", 'D', 0, NULL, math_degrees, 0},
    {"E", "", 'D', 0, fn_e, NULL, 0},
    {"EXP", "d", 'D', 0, NULL, exp, 0},
    {"FLOOR", "n", '1', 0, fn_floor, NULL, 0},
    {"GREATEST", "g*", '1', 0, fn_greatest, NULL, 0},
    {"LEAST", "g*", '1', 0, fn_least, NULL, 0},
    {"LN", "d", 'D', 0, NULL, log, 0},
    {"LOG", "d|d", 'D', 0, fn_log, NULL, 0},
    {"LOG10", "d", 'D', 0, NULL, log10, 0},
    {"LOG2", "d", 'D', 0, NULL, log2, 0},
    {"PI", "", 'D', 0, fn_pi, NULL, 0},
    {"POWER", "dd", 'D', 0, fn_power, NULL, 0},
    {"RADIANS", "d", 'D', 0, NULL, math_radians, 0},
    {"ROUND", "n|l", '1', 0, fn_round, NULL, 0},
    {"SIGN", "n", '1', 0, fn_sign, NULL, 0},
    {"SIN", "d", 'D', 0, NULL, sin, 0},
    {"SINH", "d", 'D', 0, NULL, sinh, 0},
    {"SQRT", "d", 'D', 0, NULL, sqrt, 0},
    {"TAN", "d", 'D', 0, NULL, tan, 0},
    {"TANH", "d", 'D', 0, NULL, tanh, 0},
    {"TRUNCATE", "n|l", '1', 0, fn_truncate, NULL, 0},
    /* times */
    {"CEIL_TO", "T", '1', 0, fn_ceil_to, NULL, 0},
    {"CEIL_TO", "D", '1', 0, fn_ceil_to, NULL, 0},
    {"CEIL_TO", "H", '1', 0, fn_ceil_to, NULL, 0},
    {"DATE_FORMAT", "ts", 'S', N, fn_date_format, NULL, 0},
    {"DAYOFMONTH", "t", 'L', 0, fn_extract, NULL, UNIT_DAY},
    {"DAYOFWEEK", "t", 'L', 0, fn_extract, NULL, UNIT_DOW},
    {"DAYOFYEAR", "t", 'L', 0, fn_extract, NULL, UNIT_DOY},
    {"EXTRACT", "H", 'L', 0, fn_extract, NULL, 0},
    {"EXTRACT", "T", 'L', 0, fn_extract, NULL, 0},
    {"EXTRACT", "D", 'L', 0, fn_extract, NULL, 0},
    {"EXTRACT", "m", 'L', 0, fn_extract, NULL, 0},
    {"FLOOR_TO", "T", '1', 0, fn_floor_to, NULL, 0},
    {"FLOOR_TO", "D", '1', 0, fn_floor_to, NULL, 0},
    {"FLOOR_TO", "H", '1', 0, fn_floor_to, NULL, 0},
    {"FROM_UNIXTIME", "l|s", 'S', 0, fn_from_unixtime, NULL, 0},
    {"HOUR", "H", 'L', 0, fn_extract, NULL, UNIT_HOUR},
    {"HOUR", "t", 'L', 0, fn_extract, NULL, UNIT_HOUR},
    {"MINUTE", "H", 'L', 0, fn_extract, NULL, UNIT_MINUTE},
    {"MINUTE", "t", 'L', 0, fn_extract, NULL, UNIT_MINUTE},
    {"MONTH", "t", 'L', 0, fn_extract, NULL, UNIT_MONTH},
    {"QUARTER", "t", 'L', 0, fn_extract, NULL, UNIT_QUARTER},
    {"SECOND", "H", 'L', 0, fn_extract, NULL, UNIT_SECOND},
    {"SECOND", "t", 'L', 0, fn_extract, NULL, UNIT_SECOND},
    {"TIMESTAMPADD", "lT", '2', 0, fn_timestamp_add, NULL, 0},
    {"TIMESTAMPADD", "lD", '2', 0, fn_timestamp_add, NULL, 0},
    {"TIMESTAMPADD", "lH", '2', 0, fn_timestamp_add, NULL, 0},
    {"TIMESTAMPDIFF", "tt", 'I', 0, fn_timestamp_diff, NULL, 0},
    {"TO_DATE", "s|s", 'd', N, fn_to_date, NULL, 0},
    {"TO_TIMESTAMP", "s|s", 't', N, fn_to_timestamp, NULL, 0},
    {"TO_TIMESTAMP_LTZ", "l|l", 'z', N, fn_to_timestamp_ltz, NULL, 0},
    {"TO_TIMESTAMP_LTZ", "d|l", 'z', N, fn_double_to_timestamp_ltz, NULL, 0},
    {"TO_TIMESTAMP_LTZ", "s|ss", 'z', N, fn_text_to_timestamp_ltz, NULL, 0},
    {"UNIX_TIMESTAMP", "s|s", 'L', 0, fn_unix_timestamp, NULL, 0},
    {"WEEK", "t", 'L', 0, fn_extract, NULL, UNIT_WEEK},
    {"YEAR", "t", 'L', 0, fn_extract, NULL, UNIT_YEAR},
};
#define FUNCTION_COUNT (sizeof functions / sizeof *functions)

/* Forms that the parser and check.c know, for completion; "||", FLOOR_TO and CEIL_TO are how they name others. */
static const char *const special_names[] = {"CASE", "CAST",   "COALESCE", "IF",      "IFNULL",
                                            "MOD",  "NULLIF", "TRIM",     "TRY_CAST"};
#define SPECIAL_COUNT (sizeof special_names / sizeof *special_names)

static const char *names[FUNCTION_COUNT + SPECIAL_COUNT];
static int name_count;
static pthread_once_t names_once = PTHREAD_ONCE_INIT;

static void names_fill(void)
{
    int n = 0;
    for (size_t i = 0; i < FUNCTION_COUNT; i++) {
        const char *name = functions[i].name;
        if ((n > 0 && strcmp(names[n - 1], name) == 0) || strcmp(name, "||") == 0 || strcmp(name, "FLOOR_TO") == 0 ||
            strcmp(name, "CEIL_TO") == 0)
            continue;
        names[n++] = name;
    }
    for (size_t i = 0; i < SPECIAL_COUNT; i++)
        names[n++] = special_names[i];
    name_count = n;
}

const char *const *weir_expr_function_names(int *count)
{
    pthread_once(&names_once, names_fill);
    *count = name_count;
    return names;
}

/* --- Choosing */

/* Type that argument letter `c` wants of an argument of `type`; -1: does not fit. */
static int letter_type(char c, int type)
{
    bool null = type == WEIR_TYPE_NONE;
    switch (c) {
    case 's':
        return null || type == WEIR_TYPE_STRING ? WEIR_TYPE_STRING : -1;
    case 'y':
        return null || type == WEIR_TYPE_BYTES ? WEIR_TYPE_BYTES : -1;
    case 'l':
        return null || expr_is_integer(type) ? WEIR_TYPE_INT64 : -1;
    case 'd':
        return null || expr_is_numeric(type) ? WEIR_TYPE_DOUBLE : -1;
    case 'n':
        return null ? WEIR_TYPE_INT32 : expr_is_numeric(type) ? type : -1;
    case 't':
        return null || type == WEIR_TYPE_TIMESTAMP || type == WEIR_TYPE_DATE || type == WEIR_TYPE_STRING ||
                       type == WEIR_TYPE_TIMESTAMP_LTZ
                   ? WEIR_TYPE_TIMESTAMP
                   : -1;
    case 'T':
        return null || type == WEIR_TYPE_TIMESTAMP || type == WEIR_TYPE_TIMESTAMP_LTZ ? WEIR_TYPE_TIMESTAMP : -1;
    case 'D':
        return type == WEIR_TYPE_DATE ? type : -1;
    case 'H':
        return type == WEIR_TYPE_TIME ? type : -1;
    case 'a':
        return type == WEIR_TYPE_ARRAY ? type : -1;
    case 'c':
        return weir_type_is_list((enum weir_type_id)type) ? type : -1;
    case 'm':
        return type == EXPR_INTERVAL_MS || type == EXPR_INTERVAL_MONTHS ? type : -1;
    default:
        return type;
    }
}

static char letter(const char *spec, int index)
{
    char last = '\0';
    for (const char *p = spec; *p; p++) {
        if (*p == '|')
            continue;
        if (*p == '*')
            return last;
        if (index-- == 0)
            return *p;
        last = *p;
    }
    return '\0';
}

static bool fits(const struct function *f, const struct node *node)
{
    int least = 0;
    while (f->args[least] && f->args[least] != '|')
        least++;
    if (strchr(f->args, '*'))
        least--;
    if (node->arg_count < least)
        return false;
    for (int i = 0; i < node->arg_count; i++) {
        char c = letter(f->args, i);
        if (!c || letter_type(c, (int)node->args[i]->type.id) < 0)
            return false;
    }
    return true;
}

static int result_type(const struct function *f, const struct node *node)
{
    switch (f->result) {
    case 'B':
        return WEIR_TYPE_BOOLEAN;
    case 'I':
        return WEIR_TYPE_INT32;
    case 'L':
        return WEIR_TYPE_INT64;
    case 'D':
        return WEIR_TYPE_DOUBLE;
    case 'S':
        return WEIR_TYPE_STRING;
    case 'Y':
        return WEIR_TYPE_BYTES;
    case 'd':
        return WEIR_TYPE_DATE;
    case 't':
        return WEIR_TYPE_TIMESTAMP;
    case 'z':
        return WEIR_TYPE_TIMESTAMP_LTZ;
    case '!':
        return (int)node->args[0]->type.fields->fields[0].type.id;
    default:
        return (int)node->args[f->result - '1']->type.id;
    }
}

static weir_err unknown(struct checker *c, const struct node *node)
{
    int count;
    const char *const *known = weir_expr_function_names(&count);
    const char *near = weir_nearest(node->name, known, count);
    return expr_error(c->error, WEIR_ERR_NOT_FOUND, node->column, "there is no function %.60s%s%s%s", node->name,
                      near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

/* "UPPER takes (STRING), not (INT)". */
static weir_err misfit(struct checker *c, const struct node *node, const struct function *f)
{
    static const struct {
        char letter;
        const char *text;
    } words[] = {{'s', "STRING"},    {'y', "BYTES"},     {'l', "integer"}, {'d', "number"}, {'n', "number"},
                 {'t', "TIMESTAMP"}, {'T', "TIMESTAMP"}, {'D', "DATE"},    {'H', "TIME"},   {'m', "INTERVAL"},
                 {'g', "any"},       {'a', "ARRAY"},     {'c', "ARRAY"},   {'e', "element"}};
    struct weir_buf text;
    weir_buf_init(&text, 700);
    const char *name = f->name;
    bool good = true;
    for (bool first = true; f < functions + FUNCTION_COUNT && strcmp(f->name, name) == 0; f++, first = false) {
        good = good && weir_buf_puts(&text, first ? "(" : " or (");
        bool comma = false;
        for (const char *p = f->args; *p && good; p++) {
            if (*p == '*' || *p == '|') {
                good = weir_buf_puts(&text, *p == '*' ? ", ..." : "[");
                continue;
            }
            for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
                if (words[i].letter == *p)
                    good = good && weir_buf_printf(&text, "%s%s", comma ? ", " : "", words[i].text);
            }
            comma = true;
        }
        good = good && weir_buf_puts(&text, strchr(f->args, '|') ? "])" : ")");
    }
    good = good && weir_buf_puts(&text, ", not (");
    for (int i = 0; i < node->arg_count && good; i++) {
        char type[64];
        good = weir_buf_printf(&text, "%s%s", i ? ", " : "", expr_type_name(&node->args[i]->type, type));
    }
    weir_err err = expr_error(c->error, WEIR_ERR_INVALID, node->column, "%s takes %s%s", name, (const char *)text.data,
                              good ? ")" : "");
    weir_buf_fini(&text);
    return err;
}

static weir_err coerce_common(struct checker *c, struct node *node)
{
    struct weir_type common = {.id = WEIR_TYPE_NONE};
    for (int i = 0; i < node->arg_count; i++) {
        bool together = expr_common_type(&common, &node->args[i]->type, &common);
        if (!together || weir_type_is_nested(common.id)) {
            char a[64], b[64];
            return expr_error(c->error, WEIR_ERR_INVALID, node->args[i]->column,
                              "the arguments of %s have no common type: %s, before it %s", node->name,
                              expr_type_name(&node->args[i]->type, a), expr_type_name(&common, b));
        }
    }
    if (common.id == WEIR_TYPE_NONE)
        common.id = WEIR_TYPE_INT32;
    for (int i = 0; i < node->arg_count; i++) {
        weir_err err = expr_coerce_to(c, &node->args[i], &common);
        if (err)
            return err;
    }
    return WEIR_OK;
}

static bool unit_allowed(const struct node *node)
{
    static const uint32_t extract_only = 1u << UNIT_DOW | 1u << UNIT_DOY | 1u << UNIT_ISODOW | 1u << UNIT_ISOYEAR |
                                         1u << UNIT_EPOCH | 1u << UNIT_MICROSECOND | 1u << UNIT_NANOSECOND;
    if (node->unit == UNIT_NONE)
        return strcmp(node->name, "EXTRACT") != 0;
    if (strcmp(node->name, "EXTRACT") == 0) /* parts of a second that only a timestamp has */
        return node->args[0]->type.id == WEIR_TYPE_TIMESTAMP ||
               (node->unit != UNIT_MICROSECOND && node->unit != UNIT_NANOSECOND);
    if (extract_only >> node->unit & 1)
        return false;
    return node->name[0] != 'T' || node->unit <= UNIT_YEAR;
}

/* The first argument's type as the result's; ROUND and TRUNCATE of a DECIMAL to a known place, CEIL and FLOOR have fewer digits. */
static void first_type(struct node *node)
{
    bool nullable = node->type.nullable;
    node->type = node->args[0]->type;
    node->type.nullable = nullable;
    node->type.length = 0;
    if (node->type.id != WEIR_TYPE_DECIMAL)
        return;
    int precision = node->type.precision, scale = node->type.scale;
    node->hidden_null = true; /* 9.9 rounded has more digits */
    if (strcmp(node->name, "CEIL") == 0 || strcmp(node->name, "FLOOR") == 0) {
        node->type.scale = 0;
        node->hidden_null = scale == 0;
        return;
    }
    if (strcmp(node->name, "ROUND") != 0 && strcmp(node->name, "TRUNCATE") != 0) {
        node->hidden_null = strcmp(node->name, "SIGN") == 0 && precision == scale;
        return;
    }
    const struct node *places = node->arg_count > 1 ? node->args[1] : NULL;
    while (places && places->op == OP_CAST)
        places = places->args[0];
    if (places && (places->op != OP_LITERAL || places->literal.null))
        return;
    int64_t r = places ? places->literal.i : 0;
    if (r >= scale)
        return;
    int whole = 1 + precision - scale, digits = r < 0 ? whole : whole + (int)r;
    node->type.scale = r < 0 ? 0 : (uint8_t)r;
    node->type.precision = (uint8_t)(digits > WEIR_DECIMAL_DIGITS_MAX ? WEIR_DECIMAL_DIGITS_MAX : digits);
}

weir_err expr_function_resolve(struct checker *c, struct node *node)
{
    size_t first = 0;
    while (first < FUNCTION_COUNT && strcmp(functions[first].name, node->name) != 0)
        first++;
    if (first == FUNCTION_COUNT)
        return unknown(c, node);
    const struct function *f = &functions[first];
    while (f < functions + FUNCTION_COUNT && strcmp(f->name, node->name) == 0 && !fits(f, node))
        f++;
    if (f == functions + FUNCTION_COUNT || strcmp(f->name, node->name) != 0)
        return misfit(c, node, &functions[first]);
    if (!unit_allowed(node))
        return expr_error(c->error, WEIR_ERR_INVALID, node->column, "this unit of time cannot be used here");
    bool nullable = false;
    weir_err err;
    if (f->args[0] == 'g' && (err = coerce_common(c, node)))
        return err;
    for (int i = 0; i < node->arg_count; i++) {
        nullable |= node->args[i]->type.nullable;
        int type = letter_type(letter(f->args, i), (int)node->args[i]->type.id);
        if (letter(f->args, i) == 'e') {
            struct weir_type element = node->args[0]->type.fields->fields[0].type, common;
            if (!expr_common_type(&element, &node->args[i]->type, &common) || common.id != element.id)
                return misfit(c, node, f);
            if ((err = expr_coerce_to(c, &node->args[i], &element)))
                return err;
            continue;
        }
        if ((err = expr_coerce(c, &node->args[i], type)))
            return err;
    }
    if (strcmp(f->name, "CONCAT_WS") == 0)
        nullable = node->args[0]->type.nullable;
    node->function = f;
    if (node->unit == UNIT_NONE)
        node->unit = f->unit;
    int type = result_type(f, node);
    node->type =
        (struct weir_type){.id = (enum weir_type_id)type, .nullable = nullable || (f->flags & FUNCTION_NULLABLE)};
    if (f->result == '1')
        first_type(node);
    if (f->result == '!') {
        node->type = node->args[0]->type.fields->fields[0].type;
        node->type.nullable = true;
    }
    if (strcmp(f->name, "ARRAY_CONTAINS") == 0)
        node->type.nullable = node->args[0]->type.nullable;
    if (type == WEIR_TYPE_TIMESTAMP || type == WEIR_TYPE_TIMESTAMP_LTZ)
        node->type.precision = f->result == 't' || f->result == 'z' ? 3 : node->args[f->result - '1']->type.precision;
    if (f->result == '2' && type == WEIR_TYPE_DATE && node->unit < UNIT_DAY) { /* an hour after a date is a timestamp */
        node->type.id = WEIR_TYPE_TIMESTAMP;
        if ((err = expr_coerce(c, &node->args[1], WEIR_TYPE_TIMESTAMP)))
            return err;
    }
    node->lazy |= f->fn != NULL;
    return WEIR_OK;
}
