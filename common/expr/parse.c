/* Tokens -> tree, by precedence (Calcite's numbers, which are Flink's). Control path only; pure.
 *
 * Recursion is bounded by EXPR_NESTING_MAX, the depth of the tree by EXPR_DEPTH_MAX, the text by EXPR_TEXT_SIZE_MAX, so
 * that no text can exhaust the stack of this or of a later pass. DATE, TIME, TIMESTAMP and INTERVAL open a literal only
 * where a string follows, so that columns may have these names.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/assert.h"
#include "data/time_text.h"
#include "expr/parse_int.h"

enum {
    PREC_NONE = 0,
    PREC_OR = 22,
    PREC_AND = 24,
    PREC_NOT = 26,
    PREC_IS = 28,
    PREC_COMPARE = 30,
    PREC_LIKE = 32,
    PREC_ADD = 40,
    PREC_MUL = 60,
    PREC_CONCAT = 60,
    PREC_SIGN = 80
};

static weir_err parse_expr(struct expr_parser *p, int precedence, struct node **out);

weir_err expr_error(struct weir_expr_error *error, enum weir_err_code code, int column, const char *format, ...)
{
    char text[WEIR_ERROR_MESSAGE_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!error)
        return code;
    error->column = column;
    if (column > 0)
        return weir_fail(&error->error, code, "column %d: %s", column, text);
    return weir_fail(&error->error, code, "%s", text);
}

struct node *expr_node(struct weir_arena *arena, enum op op, int column, int arg_count, ...)
{
    struct node *node = weir_arena_zalloc(arena, sizeof *node);
    node->op = op;
    node->column = column;
    node->reg = -1;
    node->index = -1;
    node->depth = 1;
    node->arg_count = arg_count;
    if (arg_count > 0)
        node->args = weir_arena_zalloc(arena, (size_t)arg_count * sizeof *node->args);
    va_list args;
    va_start(args, arg_count);
    for (int i = 0; i < arg_count; i++) {
        node->args[i] = va_arg(args, struct node *);
        if (node->args[i] && node->args[i]->depth >= node->depth)
            node->depth = node->args[i]->depth + 1;
    }
    va_end(args);
    return node;
}

/* --- Small steps */

/* The byte after the current token, blanks aside: what a word is depends on what follows. */
static char peek(const struct expr_parser *p)
{
    size_t i = p->at;
    while (i < p->size && isspace((unsigned char)p->text[i]))
        i++;
    return i < p->size ? p->text[i] : '\0';
}

static weir_err check_depth(struct expr_parser *p, const struct node *node)
{
    if (node->depth > EXPR_DEPTH_MAX)
        return expr_error(p->error, WEIR_ERR_FULL, node->column,
                          "the expression is over %d operators deep; split it into columns", EXPR_DEPTH_MAX);
    return WEIR_OK;
}

struct node_list {
    struct node **nodes;
    int count;
    int capacity;
};
static weir_err list_add(struct expr_parser *p, struct node_list *list, struct node *node)
{
    if (list->count == EXPR_ARGS_MAX)
        return expr_error(p->error, WEIR_ERR_FULL, node->column, "a list may have at most %d entries", EXPR_ARGS_MAX);
    if (list->count == list->capacity) {
        int capacity = list->capacity ? list->capacity * 2 : 8;
        struct node **nodes = weir_arena_alloc(p->arena, (size_t)capacity * sizeof *nodes);
        if (list->count)
            memcpy(nodes, list->nodes, (size_t)list->count * sizeof *nodes);
        list->nodes = nodes;
        list->capacity = capacity;
    }
    list->nodes[list->count++] = node;
    return WEIR_OK;
}

static struct node *node_of_list(struct expr_parser *p, enum op op, int column, const struct node_list *list)
{
    struct node *node = expr_node(p->arena, op, column, 0);
    node->args = list->nodes;
    node->arg_count = list->count;
    for (int i = 0; i < list->count; i++) {
        if (list->nodes[i]->depth >= node->depth)
            node->depth = list->nodes[i]->depth + 1;
    }
    return node;
}

static const char *upper(struct expr_parser *p, const char *word)
{
    char *copy = weir_arena_strdup(p->arena, word);
    for (char *c = copy; *c; c++)
        *c = (char)toupper((unsigned char)*c);
    return copy;
}

/* --- Calls and special forms */

static weir_err arguments(struct expr_parser *p, struct node_list *list)
{
    weir_err err;
    while (!expr_is_operator(p, ")")) {
        struct node *arg;
        if (list->count > 0 && (err = expr_take_operator(p, ",")))
            return err;
        if ((err = parse_expr(p, PREC_NONE, &arg)) || (err = list_add(p, list, arg)))
            return err;
    }
    return expr_lexer_next(p);
}

/* type text up to the closing parenthesis of CAST( ... AS here) */
static weir_err take_type(struct expr_parser *p, struct node *cast)
{
    int column = p->token.column, level = 0;
    size_t start = (size_t)column - 1, end = start;
    cast->fixed_size = expr_is_word(p, "CHAR") || expr_is_word(p, "BINARY");
    bool is_interval = expr_is_word(p, "INTERVAL");
    if (p->token.kind != TOKEN_WORD)
        return expr_unexpected(p, "a type");
    while (level > 0 || !expr_is_operator(p, ")")) {
        level += expr_is_operator(p, "(") || expr_is_operator(p, "<");
        level -= expr_is_operator(p, ")") || expr_is_operator(p, ">");
        if (p->token.kind == TOKEN_END)
            return expr_unexpected(p, "')'");
        end = p->at;
        weir_err err = expr_lexer_next(p);
        if (err)
            return err;
    }
    char *text = weir_arena_strndup(p->arena, p->text + start, end - start);
    struct weir_error why;
    if (is_interval)
        return expr_error(p->error, WEIR_ERR_UNSUPPORTED, column, "a CAST to INTERVAL is not built");
    weir_err err = weir_type_parse(text, &cast->type, &why);
    if (err)
        return expr_error(p->error, (enum weir_err_code)err, column, "%.900s", why.message);
    cast->has_type = true;
    return WEIR_OK;
}

static weir_err cast(struct expr_parser *p, bool try, struct node **out)
{
    int column = p->token.column;
    struct node *arg;
    weir_err err;
    if ((err = expr_lexer_next(p)) || (err = expr_take_operator(p, "(")) || (err = parse_expr(p, PREC_NONE, &arg)) ||
        (err = expr_take_word(p, "AS")))
        return err;
    *out = expr_node(p->arena, try ? OP_TRY_CAST : OP_CAST, column, 1, arg);
    if ((err = take_type(p, *out)))
        return err;
    return expr_take_operator(p, ")");
}

/* CASE WHEN c THEN v ... END and CASE x WHEN v1, v2 THEN r ... END; the second becomes the first. */
static weir_err case_form(struct expr_parser *p, struct node **out)
{
    int column = p->token.column;
    weir_err err = expr_lexer_next(p);
    if (err)
        return err;
    struct node *subject = NULL;
    if (!expr_is_word(p, "WHEN") && (err = parse_expr(p, PREC_NONE, &subject)))
        return err;
    if (!expr_is_word(p, "WHEN"))
        return expr_unexpected(p, "WHEN");
    struct node_list list = {0};
    bool more;
    while (!(err = expr_try_word(p, "WHEN", &more)) && more) {
        struct node *condition = NULL, *value;
        for (;;) {
            struct node *one;
            if ((err = parse_expr(p, PREC_NONE, &one)))
                return err;
            if (subject)
                one = expr_node(p->arena, OP_EQ, one->column, 2, subject, one);
            condition = condition ? expr_node(p->arena, OP_OR, one->column, 2, condition, one) : one;
            if ((err = check_depth(p, condition)))
                return err;
            if (!subject || !expr_is_operator(p, ","))
                break;
            if ((err = expr_lexer_next(p)))
                return err;
        }
        if ((err = expr_take_word(p, "THEN")) || (err = parse_expr(p, PREC_NONE, &value)) ||
            (err = list_add(p, &list, condition)) || (err = list_add(p, &list, value)))
            return err;
    }
    if (err)
        return err;
    bool otherwise;
    struct node *value = NULL;
    if ((err = expr_try_word(p, "ELSE", &otherwise)) || (otherwise && (err = parse_expr(p, PREC_NONE, &value))))
        return err;
    if ((err = list_add(p, &list, value ? value : expr_literal(p, WEIR_TYPE_NONE, column))) ||
        (err = expr_take_word(p, "END")))
        return err;
    *out = node_of_list(p, OP_CASE, column, &list);
    return check_depth(p, *out);
}

static struct node *call(struct expr_parser *p, const char *name, int column, const struct node_list *list)
{
    struct node *node = node_of_list(p, OP_CALL, column, list);
    node->name = name;
    return node;
}

static struct node *call_of(struct expr_parser *p, const char *name, int column, struct node *a, struct node *b)
{
    struct node *node = expr_node(p->arena, OP_CALL, column, b ? 2 : 1, a, b);
    node->name = name;
    return node;
}

/* EXTRACT(unit FROM x), TIMESTAMPADD(unit, n, t), TIMESTAMPDIFF(unit, a, b); "(" is the token. */
static weir_err unit_first(struct expr_parser *p, const char *name, int column, struct node **out)
{
    enum unit unit;
    weir_err err;
    struct node_list list = {0};
    if ((err = expr_lexer_next(p)) || (err = expr_take_unit(p, &unit)))
        return err;
    if (strcmp(name, "EXTRACT") == 0) {
        struct node *arg;
        if ((err = expr_take_word(p, "FROM")) || (err = parse_expr(p, PREC_NONE, &arg)) ||
            (err = list_add(p, &list, arg)) || (err = expr_take_operator(p, ")")))
            return err;
    } else if ((err = expr_take_operator(p, ",")) || (err = arguments(p, &list))) {
        return err;
    }
    *out = call(p, name, column, &list);
    (*out)->unit = unit;
    return WEIR_OK;
}

/* TRIM([BOTH|LEADING|TRAILING] [characters] FROM text) and TRIM(text); "(" is the token. */
static weir_err trim(struct expr_parser *p, int column, struct node **out)
{
    weir_err err = expr_lexer_next(p);
    const char *name = "BTRIM";
    bool there = false, side = false;
    if (!err && (err = expr_try_word(p, "BOTH", &there)) == WEIR_OK && there)
        side = true;
    if (!err && !side && !(err = expr_try_word(p, "LEADING", &there)) && there) {
        side = true;
        name = "LTRIM";
    }
    if (!err && !side && !(err = expr_try_word(p, "TRAILING", &there)) && there) {
        side = true;
        name = "RTRIM";
    }
    struct node *first = NULL, *text = NULL;
    if (err || (!(side && expr_is_word(p, "FROM")) && (err = parse_expr(p, PREC_NONE, &first))))
        return err;
    if (side || expr_is_word(p, "FROM")) {
        if ((err = expr_take_word(p, "FROM")) || (err = parse_expr(p, PREC_NONE, &text)))
            return err;
        *out = call_of(p, name, column, text, first);
        if (!first)
            (*out)->arg_count = 1;
    } else {
        *out = call_of(p, name, column, first, NULL);
    }
    return expr_take_operator(p, ")");
}

/* Functions whose arguments may be separated by words: SUBSTRING(x FROM a FOR n), OVERLAY(x PLACING y FROM a FOR n),
 * POSITION(a IN b), FLOOR(x TO unit). "(" is the token. */
static weir_err worded(struct expr_parser *p, const char *name, int column, struct node **out)
{
    static const char *const words[] = {"PLACING", "FROM", "FOR"};
    struct node_list list = {0};
    enum unit unit = UNIT_NONE;
    weir_err err = expr_lexer_next(p);
    while (!err && !expr_is_operator(p, ")")) {
        struct node *arg;
        if (list.count > 0) {
            bool there = expr_is_operator(p, ",");
            if (there && (err = expr_lexer_next(p)))
                return err;
            for (int i = 0; !there && i < 3; i++) {
                if ((err = expr_try_word(p, words[i], &there)))
                    return err;
            }
            if (!there && strcmp(name, "POSITION") == 0 && (err = expr_try_word(p, "IN", &there)))
                return err;
            if (!there && expr_is_word(p, "TO")) {
                if ((err = expr_lexer_next(p)) || (err = expr_take_unit(p, &unit)))
                    return err;
                break;
            }
            if (!there)
                return expr_unexpected(p, "',' or ')'");
        }
        /* POSITION(a IN b): IN is not the operator here */
        int precedence = strcmp(name, "POSITION") == 0 ? PREC_LIKE : PREC_NONE;
        if ((err = parse_expr(p, precedence, &arg)) || (err = list_add(p, &list, arg)))
            return err;
    }
    if (err || (err = expr_take_operator(p, ")")))
        return err;
    if (unit != UNIT_NONE)
        name = strcmp(name, "FLOOR") == 0 ? "FLOOR_TO" : "CEIL_TO";
    *out = call(p, name, column, &list);
    (*out)->unit = unit;
    return WEIR_OK;
}

static bool is_aggregate(const char *name)
{
    static const char *const names[] = {"COUNT",       "SUM",   "MIN",        "MAX", "AVG",
                                        "FIRST_VALUE", "FIRST", "LAST_VALUE", "LAST"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name) == 0)
            return true;
    }
    return false;
}

static weir_err aggregate(struct expr_parser *p, const char *name, int column, struct node **out)
{
    if (!p->allow_aggregates)
        return expr_error(
            p->error, WEIR_ERR_INVALID, column,
            "the aggregate %s may only stand in the select list of a window or group, and not inside another aggregate",
            name);
    p->allow_aggregates = false; /* no aggregate inside an aggregate */
    struct node_list list = {0};
    weir_err err = expr_lexer_next(p);
    if (!err && expr_is_word(p, "DISTINCT"))
        err = expr_error(p->error, WEIR_ERR_UNSUPPORTED, p->token.column, "DISTINCT in an aggregate is not built");
    if (err)
        return err;
    if (expr_is_operator(p, "*") && strcmp(name, "COUNT") == 0)
        err = expr_lexer_next(p);
    else {
        struct node *arg;
        if (!(err = parse_expr(p, PREC_NONE, &arg)))
            err = list_add(p, &list, arg);
    }
    if (err || (err = expr_take_operator(p, ")")))
        return err;
    *out = node_of_list(p, OP_AGGREGATE, column, &list);
    (*out)->name = name;
    bool filter;
    if ((err = expr_try_word(p, "FILTER", &filter)))
        return err;
    if (filter && ((err = expr_take_operator(p, "(")) || (err = expr_take_word(p, "WHERE")) ||
                   (err = parse_expr(p, PREC_NONE, &(*out)->filter)) || (err = expr_take_operator(p, ")"))))
        return err;
    p->allow_aggregates = true;
    return WEIR_OK;
}

/* A word with "(" behind it. */
static weir_err function_call(struct expr_parser *p, struct node **out)
{
    static const char *const worded_names[] = {"SUBSTRING", "SUBSTR", "OVERLAY", "POSITION",
                                               "FLOOR",     "CEIL",   "CEILING"};
    int column = p->token.column;
    const char *name = upper(p, p->token.text);
    weir_err err;
    if (strcmp(name, "CAST") == 0 || strcmp(name, "TRY_CAST") == 0)
        return cast(p, name[0] == 'T', out);
    if ((err = expr_lexer_next(p)))
        return err;
    if (is_aggregate(name))
        return aggregate(p, name, column, out);
    if (strcmp(name, "EXTRACT") == 0 || strcmp(name, "TIMESTAMPADD") == 0 || strcmp(name, "TIMESTAMPDIFF") == 0)
        return unit_first(p, name, column, out);
    if (strcmp(name, "TRIM") == 0)
        return trim(p, column, out);
    for (size_t i = 0; i < sizeof worded_names / sizeof *worded_names; i++) {
        if (strcmp(worded_names[i], name) == 0)
            return worded(p, strcmp(name, "CEILING") == 0 ? "CEIL" : name, column, out);
    }
    struct node_list list = {0};
    if ((err = expr_lexer_next(p)) || (err = arguments(p, &list)))
        return err;
    *out = strcmp(name, "ROW") == 0 ? node_of_list(p, OP_ROW, column, &list) : call(p, name, column, &list);
    return WEIR_OK;
}

static bool is_reserved(const char *word)
{
    static const char *const words[] = {"AND", "OR", "NOT",     "WHEN", "THEN",  "ELSE",   "END",  "FROM",    "AS",
                                        "IS",  "IN", "BETWEEN", "LIKE", "WHERE", "SELECT", "CASE", "SIMILAR", "ESCAPE"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcasecmp(words[i], word) == 0)
            return true;
    }
    return false;
}

static weir_err column_node(struct expr_parser *p, struct node **out)
{
    *out = expr_node(p->arena, OP_COLUMN, p->token.column, 0);
    (*out)->name = p->token.text;
    return expr_lexer_next(p);
}

/* ARRAY[a, b], MAP[k, v]: the token is the word, "[" follows. */
static weir_err bracketed(struct expr_parser *p, enum op op, struct node **out)
{
    int column = p->token.column;
    struct node_list list = {0};
    weir_err err;
    if ((err = expr_lexer_next(p)) || (err = expr_take_operator(p, "[")))
        return err;
    while (!expr_is_operator(p, "]")) {
        struct node *arg;
        if (list.count > 0 && (err = expr_take_operator(p, ",")))
            return err;
        if ((err = parse_expr(p, PREC_NONE, &arg)) || (err = list_add(p, &list, arg)))
            return err;
    }
    *out = node_of_list(p, op, column, &list);
    return expr_lexer_next(p);
}

/* (a, b) is ROW(a, b); "(" and the first value have been taken. */
static weir_err row_of(struct expr_parser *p, int column, struct node **out)
{
    struct node_list list = {0};
    weir_err err = list_add(p, &list, *out);
    while (!err && expr_is_operator(p, ",")) {
        struct node *arg;
        if ((err = expr_lexer_next(p)) || (err = parse_expr(p, PREC_NONE, &arg)) || (err = list_add(p, &list, arg)))
            return err;
    }
    *out = node_of_list(p, OP_ROW, column, &list);
    return err ? err : expr_take_operator(p, ")");
}

/* x[i], x.name, as often as they stand there. */
static weir_err postfix(struct expr_parser *p, struct node **out)
{
    for (;;) {
        int column = p->token.column;
        weir_err err;
        if (expr_is_operator(p, "[")) {
            struct node *index;
            if ((err = expr_lexer_next(p)) || (err = parse_expr(p, PREC_NONE, &index)) ||
                (err = expr_take_operator(p, "]")))
                return err;
            *out = expr_node(p->arena, OP_INDEX, column, 2, *out, index);
        } else if (expr_is_operator(p, ".")) {
            if ((err = expr_lexer_next(p)))
                return err;
            if (p->token.kind != TOKEN_WORD && p->token.kind != TOKEN_QUOTED)
                return expr_unexpected(p, "the name of a field");
            *out = expr_node(p->arena, OP_FIELD, column, 1, *out);
            (*out)->name = p->token.text;
            if ((err = expr_lexer_next(p)))
                return err;
        } else {
            return WEIR_OK;
        }
        if ((err = check_depth(p, *out)))
            return err;
    }
}

static weir_err word(struct expr_parser *p, struct node **out)
{
    const char *text = p->token.text;
    int column = p->token.column;
    char next = peek(p);
    if (next == '\'' &&
        (strcasecmp(text, "DATE") == 0 || strcasecmp(text, "TIME") == 0 || strcasecmp(text, "TIMESTAMP") == 0))
        return expr_take_time(p, out);
    if (strcasecmp(text, "INTERVAL") == 0 && (next == '\'' || next == '-' || next == '+'))
        return expr_take_interval(p, out);
    if (strcasecmp(text, "CASE") == 0)
        return case_form(p, out);
    if (is_reserved(text))
        return expr_unexpected(p, "an expression");
    if (next == '[' && (strcasecmp(text, "ARRAY") == 0 || strcasecmp(text, "MAP") == 0))
        return bracketed(p, toupper((unsigned char)text[0]) == 'A' ? OP_ARRAY : OP_MAP, out);
    if (next == '(')
        return function_call(p, out);
    bool yes = strcasecmp(text, "TRUE") == 0;
    if (yes || strcasecmp(text, "FALSE") == 0) {
        *out = expr_literal(p, WEIR_TYPE_BOOLEAN, column);
        (*out)->literal.i = yes;
        return expr_lexer_next(p);
    }
    if (strcasecmp(text, "NULL") == 0 || strcasecmp(text, "UNKNOWN") == 0) {
        *out = expr_literal(p, text[0] == 'U' || text[0] == 'u' ? WEIR_TYPE_BOOLEAN : WEIR_TYPE_NONE, column);
        (*out)->literal.null = true;
        (*out)->type.nullable = true;
        return expr_lexer_next(p);
    }
    return column_node(p, out);
}

static weir_err primary(struct expr_parser *p, struct node **out)
{
    const struct token *t = &p->token;
    int column = t->column;
    weir_err err;
    switch (t->kind) {
    case TOKEN_INTEGER:
    case TOKEN_DECIMAL:
    case TOKEN_DOUBLE:
        return expr_take_number(p, false, out);
    case TOKEN_STRING:
    case TOKEN_BYTES:
        *out = expr_literal(p, t->kind == TOKEN_STRING ? WEIR_TYPE_STRING : WEIR_TYPE_BYTES, column);
        (*out)->literal.s = (const uint8_t *)t->text;
        (*out)->literal.n = t->size;
        return expr_lexer_next(p);
    case TOKEN_QUOTED:
        if (peek(p) == '(')
            return function_call(p, out);
        return column_node(p, out);
    case TOKEN_WORD:
        return word(p, out);
    case TOKEN_OPERATOR:
        if (expr_is_operator(p, "(")) {
            if ((err = expr_lexer_next(p)) || (err = parse_expr(p, PREC_NONE, out)))
                return err;
            return expr_is_operator(p, ",") ? row_of(p, column, out) : expr_take_operator(p, ")");
        }
        break;
    case TOKEN_END:
        break;
    }
    return expr_unexpected(p, "an expression");
}

static weir_err prefix(struct expr_parser *p, struct node **out)
{
    int column = p->token.column;
    struct node *arg;
    weir_err err;
    if (expr_is_word(p, "NOT")) {
        if ((err = expr_lexer_next(p)) || (err = parse_expr(p, PREC_NOT, &arg)))
            return err;
        *out = expr_node(p->arena, OP_NOT, column, 1, arg);
        return WEIR_OK;
    }
    if (expr_is_operator(p, "-") || expr_is_operator(p, "+")) {
        bool minus = expr_is_operator(p, "-");
        if ((err = expr_lexer_next(p)))
            return err;
        if (minus && p->token.kind >= TOKEN_INTEGER && p->token.kind <= TOKEN_DOUBLE)
            return expr_take_number(p, true, out);
        if ((err = parse_expr(p, PREC_SIGN, &arg)))
            return err;
        *out = expr_node(p->arena, minus ? OP_NEG : OP_PLUS, column, 1, arg);
        return WEIR_OK;
    }
    err = primary(p, out);
    return err ? err : postfix(p, out);
}

/* --- Infix */

static struct node *negate(struct expr_parser *p, bool negated, struct node *node)
{
    return negated ? expr_node(p->arena, OP_NOT, node->column, 1, node) : node;
}

static weir_err in_list(struct expr_parser *p, int column, struct node *left, struct node **out)
{
    struct node_list list = {0};
    weir_err err;
    if ((err = list_add(p, &list, left)) || (err = expr_take_operator(p, "(")))
        return err;
    do {
        struct node *item;
        if ((err = parse_expr(p, PREC_NONE, &item)) || (err = list_add(p, &list, item)))
            return err;
    } while (expr_is_operator(p, ",") && !(err = expr_lexer_next(p)));
    if (err || (err = expr_take_operator(p, ")")))
        return err;
    *out = node_of_list(p, OP_IN, column, &list);
    return WEIR_OK;
}

/* x [NOT] IN | BETWEEN | LIKE: the token is that word. */
static weir_err in_between_like(struct expr_parser *p, struct node *left, struct node **out)
{
    int column = p->token.column;
    bool negated, there, symmetric = false;
    struct node *a, *b;
    weir_err err;
    if ((err = expr_try_word(p, "NOT", &negated)) || (err = expr_try_word(p, "IN", &there)))
        return err;
    if (there) {
        if ((err = in_list(p, column, left, out)))
            return err;
    } else if (expr_is_word(p, "BETWEEN")) {
        if ((err = expr_lexer_next(p)) || (err = expr_try_word(p, "SYMMETRIC", &symmetric)) ||
            (!symmetric && (err = expr_try_word(p, "ASYMMETRIC", &there))) || (err = parse_expr(p, PREC_LIKE, &a)) ||
            (err = expr_take_word(p, "AND")) || (err = parse_expr(p, PREC_LIKE, &b)))
            return err;
        *out = expr_node(p->arena, OP_AND, column, 2, expr_node(p->arena, OP_GE, column, 2, left, a),
                         expr_node(p->arena, OP_LE, column, 2, left, b));
        if (symmetric)
            *out = expr_node(p->arena, OP_OR, column, 2, *out,
                             expr_node(p->arena, OP_AND, column, 2, expr_node(p->arena, OP_GE, column, 2, left, b),
                                       expr_node(p->arena, OP_LE, column, 2, left, a)));
    } else if (expr_is_word(p, "LIKE")) {
        if ((err = expr_lexer_next(p)) || (err = parse_expr(p, PREC_LIKE, &a)) ||
            (err = expr_try_word(p, "ESCAPE", &there)) || (there && (err = parse_expr(p, PREC_LIKE, &b))))
            return err;
        *out = there ? expr_node(p->arena, OP_LIKE, column, 3, left, a, b)
                     : expr_node(p->arena, OP_LIKE, column, 2, left, a);
    } else if (expr_is_word(p, "SIMILAR")) {
        return expr_error(p->error, WEIR_ERR_UNSUPPORTED, p->token.column, "SIMILAR TO is not built; LIKE is");
    } else {
        return expr_unexpected(p, "IN, BETWEEN or LIKE");
    }
    *out = negate(p, negated, *out);
    return WEIR_OK;
}

/* x IS [NOT] NULL | TRUE | FALSE | UNKNOWN | DISTINCT FROM y: the token is IS. */
static weir_err is_form(struct expr_parser *p, struct node *left, struct node **out)
{
    int column = p->token.column;
    bool negated, there;
    weir_err err;
    if ((err = expr_lexer_next(p)) || (err = expr_try_word(p, "NOT", &negated)) ||
        (err = expr_try_word(p, "DISTINCT", &there)))
        return err;
    if (there) {
        struct node *right;
        if ((err = expr_take_word(p, "FROM")) || (err = parse_expr(p, PREC_IS, &right)))
            return err;
        *out = expr_node(p->arena, negated ? OP_NOT_DISTINCT : OP_DISTINCT, column, 2, left, right);
        return WEIR_OK;
    }
    enum op op;
    if (expr_is_word(p, "NULL") || expr_is_word(p, "UNKNOWN"))
        op = negated ? OP_IS_NOT_NULL : OP_IS_NULL;
    else if (expr_is_word(p, "TRUE"))
        op = negated ? OP_IS_NOT_TRUE : OP_IS_TRUE;
    else if (expr_is_word(p, "FALSE"))
        op = negated ? OP_IS_NOT_FALSE : OP_IS_FALSE;
    else
        return expr_unexpected(p, "NULL, TRUE, FALSE, UNKNOWN or DISTINCT FROM");
    *out = expr_node(p->arena, op, column, 1, left);
    return expr_lexer_next(p);
}

static const struct infix {
    const char *text;
    int precedence;
    enum op op;
} infixes[] = {
    {"=", PREC_COMPARE, OP_EQ},   {"<>", PREC_COMPARE, OP_NE}, {"!=", PREC_COMPARE, OP_NE}, {"<", PREC_COMPARE, OP_LT},
    {"<=", PREC_COMPARE, OP_LE},  {">", PREC_COMPARE, OP_GT},  {">=", PREC_COMPARE, OP_GE}, {"+", PREC_ADD, OP_ADD},
    {"-", PREC_ADD, OP_SUB},      {"*", PREC_MUL, OP_MUL},     {"/", PREC_MUL, OP_DIV},     {"%", PREC_MUL, OP_MOD},
    {"||", PREC_CONCAT, OP_CALL}, {"AND", PREC_AND, OP_AND},   {"OR", PREC_OR, OP_OR},
};

/* The infix operator at the token with a precedence above `floor`, or NULL. */
static const struct infix *infix_at(const struct expr_parser *p, int floor)
{
    if (p->token.kind != TOKEN_OPERATOR && p->token.kind != TOKEN_WORD)
        return NULL;
    for (size_t i = 0; i < sizeof infixes / sizeof *infixes; i++) {
        if (strcasecmp(infixes[i].text, p->token.text) == 0)
            return infixes[i].precedence > floor ? &infixes[i] : NULL;
    }
    return NULL;
}

static weir_err infix_loop(struct expr_parser *p, int floor, struct node **left)
{
    for (;;) {
        weir_err err;
        int column = p->token.column;
        const struct infix *infix = infix_at(p, floor);
        if (infix) {
            struct node *right;
            if ((err = expr_lexer_next(p)) || (err = parse_expr(p, infix->precedence, &right)))
                return err;
            *left = infix->op == OP_CALL ? call_of(p, "||", column, *left, right)
                                         : expr_node(p->arena, infix->op, column, 2, *left, right);
        } else if (floor < PREC_IS && expr_is_word(p, "IS")) {
            if ((err = is_form(p, *left, left)))
                return err;
        } else if (floor < PREC_LIKE &&
                   (expr_is_word(p, "IN") || expr_is_word(p, "BETWEEN") || expr_is_word(p, "LIKE") ||
                    expr_is_word(p, "NOT") || expr_is_word(p, "SIMILAR"))) {
            if ((err = in_between_like(p, *left, left)))
                return err;
        } else {
            return WEIR_OK;
        }
        if ((err = check_depth(p, *left)))
            return err;
    }
}

static weir_err parse_expr(struct expr_parser *p, int precedence, struct node **out)
{
    if (p->nesting == EXPR_NESTING_MAX)
        return expr_error(p->error, WEIR_ERR_FULL, p->token.column, "the expression is nested over %d levels deep",
                          EXPR_NESTING_MAX);
    p->nesting++;
    weir_err err = prefix(p, out);
    if (!err)
        err = infix_loop(p, precedence, out);
    p->nesting--;
    return err;
}

/* --- Whole texts */

void expr_parser_init(struct expr_parser *p, struct weir_arena *arena, const char *text, struct weir_expr_error *error)
{
    *p = (struct expr_parser){.arena = arena, .text = text, .size = strlen(text), .error = error};
}

static weir_err begin(struct expr_parser *p)
{
    if (p->size > EXPR_TEXT_SIZE_MAX)
        return expr_error(p->error, WEIR_ERR_FULL, 0, "the text has %zu bytes; at most %zu are allowed", p->size,
                          EXPR_TEXT_SIZE_MAX);
    return expr_lexer_next(p);
}

weir_err expr_parse(struct expr_parser *p, struct node **node)
{
    weir_err err = begin(p);
    if (!err)
        err = parse_expr(p, PREC_NONE, node);
    if (!err && p->token.kind != TOKEN_END)
        err = expr_unexpected(p, "an operator or the end");
    return err;
}

static weir_err parse_item(struct expr_parser *p, struct expr_item *item)
{
    weir_err err;
    item->alias = NULL;
    if (expr_is_operator(p, "*")) {
        item->node = expr_node(p->arena, OP_STAR, p->token.column, 0);
        return expr_lexer_next(p);
    }
    bool as;
    if ((err = parse_expr(p, PREC_NONE, &item->node)) || (err = expr_try_word(p, "AS", &as)))
        return err;
    bool name = p->token.kind == TOKEN_QUOTED || p->token.kind == TOKEN_WORD;
    if (as && !name)
        return expr_unexpected(p, "a name");
    if (name) {
        item->alias = p->token.text;
        if (p->token.size == 0 || p->token.size > WEIR_NAME_SIZE_MAX || strlen(p->token.text) != p->token.size)
            return expr_error(p->error, WEIR_ERR_INVALID, p->token.column, "a name has 1 to %d bytes",
                              WEIR_NAME_SIZE_MAX);
        err = expr_lexer_next(p);
    }
    return err;
}

weir_err expr_parse_list(struct expr_parser *p, struct expr_item **items, int *count)
{
    weir_err err = begin(p);
    *count = 0;
    *items = NULL;
    int capacity = 0;
    while (!err) {
        if (*count == WEIR_FIELDS_MAX)
            return expr_error(p->error, WEIR_ERR_FULL, p->token.column, "a list may have at most %d columns",
                              WEIR_FIELDS_MAX);
        if (*count == capacity) {
            capacity = capacity ? capacity * 2 : 8;
            struct expr_item *more = weir_arena_alloc(p->arena, (size_t)capacity * sizeof *more);
            if (*count)
                memcpy(more, *items, (size_t)*count * sizeof *more);
            *items = more;
        }
        if ((err = parse_item(p, &(*items)[*count])))
            return err;
        ++*count;
        if (p->token.kind == TOKEN_END)
            return WEIR_OK;
        if (!expr_is_operator(p, ","))
            return expr_unexpected(p, "',', AS or the end");
        err = expr_lexer_next(p);
    }
    return err;
}
