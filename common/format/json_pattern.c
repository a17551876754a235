/* See json_pattern.h. The pattern is rewritten once: classes (\d \w \s), escapes, (?:...) and lazy quantifiers become what POSIX has. The library
 * goes by the locale for what a character is, so that patterns are compiled and matched in C.UTF-8.
 */
#include "format/json_pattern.h"

#include <locale.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* Counts multiply what the library makes of a pattern. */
#define COUNTS_PRODUCT_MAX 20000
#define TEXT_SIZE_MAX 4096

struct weir_json_pattern {
    regex_t regex;
    locale_t locale;
};

struct rewrite {
    const char *at;
    struct weir_buf out;
    long counts; /* their product */
    const char *wrong;
};

static void put(struct rewrite *rewrite, const char *text)
{
    if (!weir_buf_puts(&rewrite->out, text))
        rewrite->wrong = "it is too long";
}

static void put_literal(struct rewrite *rewrite, unsigned code, bool bracket)
{
    char text[8] = {0};
    if (code == 0) {
        rewrite->wrong = "it asks for NUL";
    } else if (code < 0x80) {
        if (!bracket && strchr(".[]{}()*+?^$|\\", (int)code))
            put(rewrite, "\\");
        text[0] = (char)code;
    } else if (code < 0x800) {
        text[0] = (char)(0xc0 | code >> 6);
        text[1] = (char)(0x80 | (code & 63));
    } else {
        text[0] = (char)(0xe0 | code >> 12);
        text[1] = (char)(0x80 | (code >> 6 & 63));
        text[2] = (char)(0x80 | (code & 63));
    }
    put(rewrite, text);
}

static bool hex(const char *at, int digits, unsigned *code)
{
    *code = 0;
    for (int i = 0; i < digits; i++) {
        char c = at[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return false;
        *code = *code * 16 + (unsigned)digit;
    }
    return true;
}

/* \d and the like; false: no class. */
static bool put_class(struct rewrite *rewrite, char letter, bool bracket)
{
    static const struct {
        char letter;
        const char *inside;
    } classes[] = {{'d', "0-9"}, {'w', "A-Za-z0-9_"}, {'s', " \t\n\r\f\v\xc2\xa0\xef\xbb\xbf\xe2\x80\xa8\xe2\x80\xa9"}};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        if (letter == classes[i].letter) {
            put(rewrite, bracket ? "" : "[");
            put(rewrite, classes[i].inside);
            put(rewrite, bracket ? "" : "]");
            return true;
        }
        if (letter == classes[i].letter - 'a' + 'A') {
            if (bracket)
                rewrite->wrong = "a negated class within [...] is not supported";
            put(rewrite, "[^");
            put(rewrite, classes[i].inside);
            put(rewrite, "]");
            return true;
        }
    }
    return false;
}

/* rewrite->at is behind the backslash. */
static void put_escape(struct rewrite *rewrite, bool bracket)
{
    static const char letters[] = "ntrfv", values[] = "\n\t\r\f\v";
    char letter = *rewrite->at;
    const char *known = letter ? strchr(letters, letter) : NULL;
    unsigned code;
    if (!letter) {
        rewrite->wrong = "it ends in a backslash";
        return;
    }
    rewrite->at++;
    if (put_class(rewrite, letter, bracket))
        return;
    if (known) {
        put_literal(rewrite, (unsigned)values[known - letters], bracket);
    } else if ((letter == 'u' || letter == 'x') && hex(rewrite->at, letter == 'u' ? 4 : 2, &code)) {
        rewrite->at += letter == 'u' ? 4 : 2;
        if (code >= 0xd800 && code < 0xe000)
            rewrite->wrong = "surrogates are not supported: write the character itself";
        put_literal(rewrite, code, bracket);
    } else if (!bracket && (letter == 'b' || letter == 'B')) {
        put(rewrite, letter == 'b' ? "\\b" : "\\B");
    } else if ((letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
               (letter >= '0' && letter <= '9')) {
        rewrite->wrong =
            letter >= '1' && letter <= '9' ? "back references are not supported" : "an escape is not supported";
    } else {
        put_literal(rewrite, (unsigned char)letter, bracket);
    }
}

/* rewrite->at is behind '['. In POSIX a backslash is a plain character there, and ']' stands first, '-' last, '^' not first. */
static void put_bracket(struct rewrite *rewrite)
{
    bool negated = *rewrite->at == '^';
    rewrite->at += negated;
    struct rewrite inside = {.at = rewrite->at};
    bool close = false, minus = false, caret = false, open = false;
    weir_buf_init(&inside.out, TEXT_SIZE_MAX);
    while (*inside.at && *inside.at != ']' && !inside.wrong) {
        char c = *inside.at++;
        char next = *inside.at;
        if (c == '\\' && next && strchr("]-^[", next)) {
            inside.at++;
            close |= next == ']';
            minus |= next == '-';
            caret |= next == '^';
            open |= next == '[';
        } else if (c == '\\') {
            put_escape(&inside, true);
        } else if (c == '-' && (inside.out.size == 0 || next == ']')) {
            minus = true;
        } else if (c == '^' || c == '[') {
            caret |= c == '^';
            open |= c == '[';
        } else {
            put(&inside, (char[]){c, 0});
        }
    }
    rewrite->at = inside.at + (*inside.at == ']');
    if (!*inside.at)
        inside.wrong = "[ is not closed";
    if (inside.out.size == 0 && !close && !minus && !open && !caret)
        inside.wrong = "[] matches nothing";
    bool first = !negated && !close && !open && inside.out.size == 0; /* where '^' would negate */
    if (caret && first && !minus) {
        put(rewrite, "\\^");
    } else {
        put(rewrite, negated ? "[^" : "[");
        put(rewrite, close ? "]" : "");
        put(rewrite, inside.out.data ? (const char *)inside.out.data : "");
        put(rewrite, open ? "[" : "");
        put(rewrite, caret && first ? "-^" : caret && minus ? "^-" : caret ? "^" : minus ? "-" : "");
        put(rewrite, "]");
    }
    if (inside.wrong)
        rewrite->wrong = inside.wrong;
    weir_buf_fini(&inside.out);
}

/* "{2,5}" at rewrite->at, or a brace that is none. */
static void put_count(struct rewrite *rewrite)
{
    int least = -1, most = -1, size = 0;
    const char *at = rewrite->at;
    if (sscanf(at, "{%4d,%4d}%n", &least, &most, &size) < 2 || size == 0) {
        most = least;
        size = 0;
        if (sscanf(at, "{%4d,}%n", &least, &size) < 1 || size == 0)
            size = 0, (void)sscanf(at, "{%4d}%n", &least, &size);
        most = least;
    }
    if (size == 0 || least < 0 || most < least) {
        put(rewrite, "\\{");
        rewrite->at++;
        return;
    }
    rewrite->counts *= most > 0 ? most : 1;
    if (rewrite->counts > COUNTS_PRODUCT_MAX)
        rewrite->wrong = "its counts are too large";
    char text[32];
    snprintf(text, sizeof text, "%.*s", size, at);
    put(rewrite, text);
    rewrite->at += size;
}

static void rewrite_all(struct rewrite *rewrite)
{
    bool quantified = false; /* a '?' now makes it lazy, which changes nothing */
    while (*rewrite->at && !rewrite->wrong) {
        char c = *rewrite->at;
        bool quantifier = c == '*' || c == '+' || c == '?';
        if (c == '?' && quantified) {
            rewrite->at++;
            quantified = false;
            continue;
        }
        if (c == '{') {
            put_count(rewrite);
            quantified = true;
            continue;
        }
        quantified = quantifier;
        rewrite->at++;
        if (c == '\\') {
            put_escape(rewrite, false);
        } else if (c == '[') {
            put_bracket(rewrite);
        } else if (c == '(' && *rewrite->at == '?') {
            if (rewrite->at[1] != ':')
                rewrite->wrong = "look-around and named groups are not supported";
            rewrite->at += 2;
            put(rewrite, "(");
        } else if (c == '}' || c == ']') {
            put(rewrite, c == '}' ? "\\}" : "\\]");
        } else {
            put(rewrite, (char[]){c, 0});
        }
    }
}

weir_err weir_json_pattern_new(const char *text, struct weir_json_pattern **pattern, struct weir_error *error)
{
    struct rewrite rewrite = {.at = text, .counts = 1};
    char why[200] = "";
    weir_buf_init(&rewrite.out, TEXT_SIZE_MAX);
    put(&rewrite, "");
    rewrite_all(&rewrite);
    struct weir_json_pattern *made = weir_zalloc(sizeof *made);
    made->locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    if (!rewrite.wrong && made->locale == (locale_t)0)
        rewrite.wrong = "this system has no locale C.UTF-8";
    bool compiled = false;
    if (!rewrite.wrong) {
        locale_t before = uselocale(made->locale);
        int result = regcomp(&made->regex, (const char *)rewrite.out.data, REG_EXTENDED | REG_NOSUB);
        if (result != 0)
            regerror(result, &made->regex, why, sizeof why);
        uselocale(before);
        compiled = result == 0;
        rewrite.wrong = compiled ? NULL : why;
    }
    weir_buf_fini(&rewrite.out);
    if (compiled) {
        *pattern = made;
        return WEIR_OK;
    }
    weir_err err = weir_fail(error, WEIR_ERR_INVALID, "'%.200s' cannot be used as a pattern: %s", text, rewrite.wrong);
    if (made->locale != (locale_t)0)
        freelocale(made->locale);
    free(made);
    return err;
}

void weir_json_pattern_free(struct weir_json_pattern *pattern)
{
    if (!pattern)
        return;
    regfree(&pattern->regex);
    freelocale(pattern->locale);
    free(pattern);
}

bool weir_json_pattern_matches(const struct weir_json_pattern *pattern, const char *text)
{
    locale_t before = uselocale(pattern->locale);
    bool matches = regexec(&pattern->regex, text, 0, NULL, 0) == 0;
    uselocale(before);
    return matches;
}
