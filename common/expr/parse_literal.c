/* The parser's small steps (take this word, this operator, else say what should stand here) and its literals: numbers, intervals, dates
 * and times. Control path only; pure.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "data/decimal.h"
#include "expr/parse_int.h"

/* --- Small steps */

bool expr_is_word(const struct expr_parser *p, const char *word)
{
    return p->token.kind == TOKEN_WORD && strcasecmp(p->token.text, word) == 0;
}

bool expr_is_operator(const struct expr_parser *p, const char *text)
{
    return p->token.kind == TOKEN_OPERATOR && strcmp(p->token.text, text) == 0;
}

weir_err expr_unexpected(struct expr_parser *p, const char *wanted)
{
    const struct token *t = &p->token;
    if (t->kind == TOKEN_END)
        return expr_error(p->error, WEIR_ERR_INVALID, t->column, "the text ends where %s should stand", wanted);
    if (t->kind == TOKEN_STRING)
        return expr_error(p->error, WEIR_ERR_INVALID, t->column, "%s should stand here, not the string '%.40s'", wanted,
                          t->text);
    if (t->kind == TOKEN_BYTES)
        return expr_error(p->error, WEIR_ERR_INVALID, t->column, "%s should stand here, not X'...'", wanted);
    return expr_error(p->error, WEIR_ERR_INVALID, t->column, "%s should stand here, not %.60s", wanted, t->text);
}

weir_err expr_take_operator(struct expr_parser *p, const char *text)
{
    if (!expr_is_operator(p, text)) {
        char wanted[8];
        snprintf(wanted, sizeof wanted, "'%s'", text);
        return expr_unexpected(p, wanted);
    }
    return expr_lexer_next(p);
}

weir_err expr_take_word(struct expr_parser *p, const char *word)
{
    if (!expr_is_word(p, word))
        return expr_unexpected(p, word);
    return expr_lexer_next(p);
}

weir_err expr_try_word(struct expr_parser *p, const char *word, bool *there)
{
    *there = expr_is_word(p, word);
    return *there ? expr_lexer_next(p) : WEIR_OK;
}

/* --- Literals */

struct node *expr_literal(struct expr_parser *p, int type, int column)
{
    struct node *node = expr_node(p->arena, OP_LITERAL, column, 0);
    node->type = (struct weir_type){.id = (enum weir_type_id)type, .nullable = type == WEIR_TYPE_NONE};
    node->literal.null = type == WEIR_TYPE_NONE;
    return node;
}

/* 12.50 is a DECIMAL(4, 2): all digits that are written. */
static weir_err take_decimal(struct expr_parser *p, bool negative, struct node **out)
{
    const struct token *t = &p->token;
    const char *point = strchr(t->text, '.');
    size_t scale = point ? strlen(point + 1) : 0, digits = t->size - (point != NULL);
    const char *text = t->text;
    for (; digits > WEIR_DECIMAL_DIGITS_MAX && *text == '0'; text++)
        digits--;
    weir_int128 value;
    if (digits == 0 || digits > WEIR_DECIMAL_DIGITS_MAX ||
        weir_decimal_parse(text, strlen(text), WEIR_DECIMAL_DIGITS_MAX, (int)scale, &value) != WEIR_DECIMAL_EXACT)
        return expr_error(p->error, WEIR_ERR_INVALID, t->column,
                          "the number has over %d digits; write it as a DOUBLE (1e39)", WEIR_DECIMAL_DIGITS_MAX);
    *out = expr_literal(p, WEIR_TYPE_DECIMAL, t->column);
    (*out)->type.precision = (uint8_t)digits;
    (*out)->type.scale = (uint8_t)scale;
    (*out)->literal.dec = weir_decimal_make(negative ? -value : value);
    return expr_lexer_next(p);
}

weir_err expr_take_number(struct expr_parser *p, bool negative, struct node **out)
{
    const struct token *t = &p->token;
    if (t->kind == TOKEN_INTEGER) {
        errno = 0;
        unsigned long long n = strtoull(t->text, NULL, 10);
        unsigned long long max = (unsigned long long)INT64_MAX + (negative ? 1 : 0);
        if (errno == ERANGE || n > max)
            return take_decimal(p, negative, out);
        int64_t value = negative ? (int64_t)(0 - n) : (int64_t)n;
        *out = expr_literal(p, value == (int32_t)value ? WEIR_TYPE_INT32 : WEIR_TYPE_INT64, t->column);
        (*out)->literal.i = value;
    } else if (t->kind == TOKEN_DECIMAL) {
        return take_decimal(p, negative, out);
    } else {
        *out = expr_literal(p, WEIR_TYPE_DOUBLE, t->column);
        double d = strtod(t->text, NULL);
        (*out)->literal.d = negative ? -d : d;
    }
    return expr_lexer_next(p);
}

/* NONE: not a unit. */
static enum unit unit_of(const char *word)
{
    static const struct {
        const char *name;
        enum unit unit;
    } units[] = {{"MILLISECOND", UNIT_MILLISECOND},
                 {"SECOND", UNIT_SECOND},
                 {"MINUTE", UNIT_MINUTE},
                 {"HOUR", UNIT_HOUR},
                 {"DAY", UNIT_DAY},
                 {"WEEK", UNIT_WEEK},
                 {"MONTH", UNIT_MONTH},
                 {"QUARTER", UNIT_QUARTER},
                 {"YEAR", UNIT_YEAR},
                 {"DECADE", UNIT_DECADE},
                 {"CENTURY", UNIT_CENTURY},
                 {"MILLENNIUM", UNIT_MILLENNIUM},
                 {"DOW", UNIT_DOW},
                 {"DOY", UNIT_DOY},
                 {"ISODOW", UNIT_ISODOW},
                 {"ISOYEAR", UNIT_ISOYEAR},
                 {"EPOCH", UNIT_EPOCH},
                 {"MICROSECOND", UNIT_MICROSECOND},
                 {"NANOSECOND", UNIT_NANOSECOND}};
    if (strncasecmp(word, "SQL_TSI_", 8) == 0)
        word += 8;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcasecmp(units[i].name, word) == 0)
            return units[i].unit;
        size_t size = strlen(units[i].name); /* Flink takes SECONDS as SECOND too */
        if (i < 11 && strncasecmp(units[i].name, word, size) == 0 && strcasecmp(word + size, "S") == 0)
            return units[i].unit;
    }
    return UNIT_NONE;
}

weir_err expr_take_unit(struct expr_parser *p, enum unit *unit)
{
    *unit = p->token.kind == TOKEN_WORD ? unit_of(p->token.text) : UNIT_NONE;
    if (*unit == UNIT_NONE)
        return expr_unexpected(p, "a unit of time (SECOND, MINUTE, HOUR, DAY, MONTH, YEAR, ...)");
    return expr_lexer_next(p);
}

/* "(3)" or "(2, 3)" after a unit: precisions do not change the value. */
static weir_err skip_precision(struct expr_parser *p)
{
    weir_err err;
    if (!expr_is_operator(p, "("))
        return WEIR_OK;
    do {
        if ((err = expr_lexer_next(p)))
            return err;
        if (p->token.kind != TOKEN_INTEGER)
            return expr_unexpected(p, "a precision");
        if ((err = expr_lexer_next(p)))
            return err;
    } while (expr_is_operator(p, ","));
    return expr_take_operator(p, ")");
}

/* "12", "0.008", "-10 00:00:00.004", "2-3": numbers from unit `first` down to `last`. */
static bool interval_value(const char *text, enum unit first, enum unit last, int64_t *value, bool *months)
{
    static const enum unit chain_ms[] = {UNIT_DAY, UNIT_HOUR, UNIT_MINUTE, UNIT_SECOND, UNIT_NONE};
    static const enum unit chain_months[] = {UNIT_YEAR, UNIT_MONTH, UNIT_NONE};
    *months = expr_unit_months(first) > 0;
    const enum unit *chain = *months ? chain_months : chain_ms;
    const char *s = text + strspn(text, " ");
    bool minus = *s == '-';
    if (*s == '-' || *s == '+')
        s++;
    int64_t total = 0;
    enum unit unit = first;
    for (bool start = true;; start = false) {
        if (!start) {
            while (*chain != unit && *chain != UNIT_NONE)
                chain++;
            if (*chain == UNIT_NONE || *++chain == UNIT_NONE)
                return false;
            unit = *chain;
            char want = *months ? '-' : unit == UNIT_HOUR ? ' ' : ':';
            if (*s++ != want)
                return false;
            s += strspn(s, " ");
        }
        if (!isdigit((unsigned char)*s))
            return false;
        int64_t n = 0, factor = *months ? expr_unit_months(unit) : expr_unit_ms(unit);
        for (; isdigit((unsigned char)*s); s++) {
            if (n > 100000000000) /* far past the years that there are */
                return false;
            n = n * 10 + (*s - '0');
        }
        if (factor == 0 || __builtin_mul_overflow(n, factor, &n) || __builtin_add_overflow(total, n, &total))
            return false;
        if (unit == UNIT_SECOND && *s == '.') {
            int64_t digit = 100;
            for (s++; isdigit((unsigned char)*s); s++, digit /= 10)
                total += digit * (*s - '0');
        }
        if (unit == last)
            break;
    }
    s += strspn(s, " ");
    *value = minus ? -total : total;
    return *s == '\0';
}

weir_err expr_take_interval(struct expr_parser *p, struct node **out)
{
    int column = p->token.column;
    weir_err err = expr_lexer_next(p);
    bool minus = expr_is_operator(p, "-");
    if (!err && (minus || expr_is_operator(p, "+")))
        err = expr_lexer_next(p);
    if (err)
        return err;
    if (p->token.kind != TOKEN_STRING)
        return expr_unexpected(p, "a string after INTERVAL");
    const char *text = p->token.text;
    enum unit first, last;
    bool range = false;
    if ((err = expr_lexer_next(p)) || (err = expr_take_unit(p, &first)) || (err = skip_precision(p)) ||
        (err = expr_try_word(p, "TO", &range)))
        return err;
    last = first;
    if (range && ((err = expr_take_unit(p, &last)) || (err = skip_precision(p))))
        return err;
    int64_t value;
    bool months;
    if (!interval_value(text, first, last, &value, &months))
        return expr_error(p->error, WEIR_ERR_INVALID, column, "'%.60s' is not an interval of this unit", text);
    *out = expr_literal(p, months ? EXPR_INTERVAL_MONTHS : EXPR_INTERVAL_MS, column);
    (*out)->literal.i = minus ? -value : value;
    return WEIR_OK;
}

/* DATE '...', TIME '...', TIMESTAMP '...'; the token is the word. */
weir_err expr_take_time(struct expr_parser *p, struct node **out)
{
    int column = p->token.column;
    bool date = toupper((unsigned char)p->token.text[0]) == 'D';
    bool timestamp = p->token.size == 9;
    weir_err err = expr_lexer_next(p);
    if (err)
        return err;
    const char *s = p->token.text;
    size_t n = p->token.size;
    bool good;
    int64_t i64 = 0;
    int32_t i32 = 0;
    const char *point = memchr(s, '.', n);
    size_t digits = point ? (size_t)(s + n - point - 1) : 0;
    if (timestamp)
        good = n > 10 && expr_parse_timestamp(s, n, &i64);
    else if (date)
        good = n <= 10 && expr_parse_date(s, n, &i32);
    else
        good = expr_parse_time(s, n, &i32);
    if (!good)
        return expr_error(p->error, WEIR_ERR_INVALID, p->token.column, "'%.60s' is not a %s", s,
                          timestamp ? "timestamp as in '2024-01-31 12:00:00.123'"
                          : date    ? "date as in '2024-01-31'"
                                    : "time as in '12:00:00'");
    if (!date && digits > 3)
        return expr_error(p->error, WEIR_ERR_UNSUPPORTED, p->token.column,
                          "'%.60s' has more than 3 digits of a second; time is kept in milliseconds", s);
    *out = expr_literal(p, timestamp ? WEIR_TYPE_TIMESTAMP : date ? WEIR_TYPE_DATE : WEIR_TYPE_TIME, column);
    (*out)->literal.i = timestamp ? i64 : i32;
    (*out)->type.precision = (uint8_t)digits;
    return expr_lexer_next(p);
}
