/* Text of an expression -> tokens. Called on the control path only; pure.
 *
 * Words are case-insensitive and come out as written; `quoted` names, 'strings' ('' is one quote) and X'hex' come out
 * unescaped. Comments: "-- to the end of the line" and slash-star ones. Every byte sequence ends in a token or in an
 * error with its column.
 */
#include <ctype.h>
#include <string.h>

#include "expr/expr_int.h"

static weir_err take_quoted(struct expr_parser *p, char quote, enum token_kind kind)
{
    size_t start = p->at, size = 0;
    char *out = weir_arena_alloc(p->arena, p->size - p->at + 1);
    for (size_t i = start + 1; i < p->size; i++) {
        if (p->text[i] == quote) {
            if (i + 1 == p->size || p->text[i + 1] != quote) {
                out[size] = '\0';
                p->at = i + 1;
                p->token.kind = kind;
                p->token.text = out;
                p->token.size = size;
                return WEIR_OK;
            }
            i++;
        }
        out[size++] = p->text[i];
    }
    return expr_error(p->error, WEIR_ERR_INVALID, (int)start + 1, "%s that begins here has no closing %c",
                      kind == TOKEN_QUOTED ? "the name" : "the string", quote);
}

static int hex_digit(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : -1;
}

static weir_err take_hex(struct expr_parser *p)
{
    int column = p->token.column;
    p->at++;
    weir_err err = take_quoted(p, '\'', TOKEN_BYTES);
    if (err)
        return err;
    if (p->token.size % 2)
        return expr_error(p->error, WEIR_ERR_INVALID, column, "X'...' needs an even number of hexadecimal digits");
    uint8_t *out = weir_arena_alloc(p->arena, p->token.size / 2 + 1);
    for (size_t i = 0; i < p->token.size; i += 2) {
        int high = hex_digit(p->token.text[i]), low = hex_digit(p->token.text[i + 1]);
        if (high < 0 || low < 0)
            return expr_error(p->error, WEIR_ERR_INVALID, column,
                              "X'...' holds something else than hexadecimal digits");
        out[i / 2] = (uint8_t)(high << 4 | low);
    }
    p->token.text = (const char *)out;
    p->token.size /= 2;
    return WEIR_OK;
}

static weir_err take_number(struct expr_parser *p)
{
    size_t start = p->at, i = start;
    p->token.kind = TOKEN_INTEGER;
    while (i < p->size && isdigit((unsigned char)p->text[i]))
        i++;
    if (i < p->size && p->text[i] == '.') {
        p->token.kind = TOKEN_DECIMAL;
        for (i++; i < p->size && isdigit((unsigned char)p->text[i]);)
            i++;
    }
    if (i < p->size && (p->text[i] == 'e' || p->text[i] == 'E')) {
        size_t e = i + 1;
        if (e < p->size && (p->text[e] == '+' || p->text[e] == '-'))
            e++;
        if (e == p->size || !isdigit((unsigned char)p->text[e]))
            return expr_error(p->error, WEIR_ERR_INVALID, (int)start + 1,
                              "the number has no digits after its exponent");
        p->token.kind = TOKEN_DOUBLE;
        for (i = e; i < p->size && isdigit((unsigned char)p->text[i]);)
            i++;
    }
    if (i < p->size && (isalpha((unsigned char)p->text[i]) || p->text[i] == '_'))
        return expr_error(p->error, WEIR_ERR_INVALID, (int)i + 1, "a letter follows the number directly");
    p->token.text = weir_arena_strndup(p->arena, p->text + start, i - start);
    p->token.size = i - start;
    p->at = i;
    return WEIR_OK;
}

/* Blanks and comments. */
static weir_err skip(struct expr_parser *p)
{
    for (;;) {
        while (p->at < p->size && isspace((unsigned char)p->text[p->at]))
            p->at++;
        if (p->at + 1 < p->size && p->text[p->at] == '-' && p->text[p->at + 1] == '-') {
            while (p->at < p->size && p->text[p->at] != '\n')
                p->at++;
        } else if (p->at + 1 < p->size && p->text[p->at] == '/' && p->text[p->at + 1] == '*') {
            const char *end = strstr(p->text + p->at + 2, "*/");
            if (!end)
                return expr_error(p->error, WEIR_ERR_INVALID, (int)p->at + 1,
                                  "the comment that begins here has no end");
            p->at = (size_t)(end + 2 - p->text);
        } else {
            return WEIR_OK;
        }
    }
}

weir_err expr_lexer_next(struct expr_parser *p)
{
    weir_err err = skip(p);
    if (err)
        return err;
    p->token = (struct token){.column = (int)p->at + 1, .text = "", .kind = TOKEN_END};
    if (p->at == p->size)
        return WEIR_OK;
    char c = p->text[p->at], next = p->at + 1 < p->size ? p->text[p->at + 1] : '\0';
    if (c == '\'')
        return take_quoted(p, '\'', TOKEN_STRING);
    if (c == '`')
        return take_quoted(p, '`', TOKEN_QUOTED);
    if ((c == 'x' || c == 'X') && next == '\'')
        return take_hex(p);
    if (isdigit((unsigned char)c) || (c == '.' && isdigit((unsigned char)next)))
        return take_number(p);
    if (isalpha((unsigned char)c) || c == '_' || (c & 0x80)) {
        size_t i = p->at;
        while (i < p->size &&
               (isalnum((unsigned char)p->text[i]) || p->text[i] == '_' || p->text[i] == '$' || (p->text[i] & 0x80)))
            i++;
        p->token.kind = TOKEN_WORD;
        p->token.size = i - p->at;
        p->token.text = weir_arena_strndup(p->arena, p->text + p->at, p->token.size);
        p->at = i;
        return WEIR_OK;
    }
    static const char *const operators[] = {"<>", "<=", ">=", "!=", "||", "=", "<", ">", "+", "-",
                                            "*",  "/",  "%",  "(",  ")",  ",", ".", "[", "]"};
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
        size_t size = strlen(operators[i]);
        if (p->size - p->at >= size && memcmp(p->text + p->at, operators[i], size) == 0) {
            p->token.kind = TOKEN_OPERATOR;
            p->token.text = operators[i];
            p->token.size = size;
            p->at += size;
            return WEIR_OK;
        }
    }
    if (c == '"')
        return expr_error(p->error, WEIR_ERR_INVALID, p->token.column,
                          "\" does not quote anything here: strings are 'quoted', names `quoted`");
    if (isprint((unsigned char)c))
        return expr_error(p->error, WEIR_ERR_INVALID, p->token.column, "'%c' has no meaning here", c);
    return expr_error(p->error, WEIR_ERR_INVALID, p->token.column, "the byte 0x%02x has no meaning here",
                      (unsigned)(unsigned char)c);
}
