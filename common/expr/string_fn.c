/* Functions over text, row by row. Positions count characters (UTF-8), from 1, as Flink's do. A result may point into an
 * argument or into eval_tmp(); the driver copies it. Bytes that are not UTF-8 are taken as characters of one byte each
 * where they do not continue one; nothing here reads past the end of a value.
 */
#include <ctype.h>
#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <wctype.h>

#include "expr/functions_int.h"

/* --- UTF-8 */

size_t utf8_count(const uint8_t *s, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += (s[i] & 0xc0) != 0x80;
    return count;
}

/* Bytes of the character at s (n > 0). */
static size_t utf8_size(const uint8_t *s, size_t n)
{
    size_t size = 1;
    while (size < n && (s[size] & 0xc0) == 0x80)
        size++;
    return size;
}

/* Where character number `index` (from 0) begins; n past the end. */
static size_t utf8_offset(const uint8_t *s, size_t n, int64_t index)
{
    size_t i = 0;
    while (i < n && index-- > 0)
        i += utf8_size(s + i, n - i);
    return i;
}

static uint32_t utf8_decode(const uint8_t *s, size_t size)
{
    if (size == 1)
        return s[0];
    uint32_t c = s[0] & (0x7fu >> size);
    for (size_t i = 1; i < size && i < 4; i++)
        c = c << 6 | (s[i] & 0x3fu);
    return c;
}

static size_t utf8_encode(uint32_t c, uint8_t out[4])
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    size_t size = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = size - 1; i > 0; i--, c >>= 6)
        out[i] = (uint8_t)(0x80 | (c & 0x3f));
    out[0] = (uint8_t)((0xf00 >> size) | c);
    return size;
}

static enum fn_result text(struct value *out, const uint8_t *s, size_t n)
{
    out->s = s;
    out->n = n;
    return FN_OK;
}

static enum fn_result too_long(struct call *call)
{
    snprintf(call->why, sizeof call->why, "the function would make a text of over %zu bytes", EXPR_VALUE_SIZE_MAX);
    return FN_FAIL;
}

/* --- Case */

static locale_t unicode_locale; /* (locale_t)0: only ASCII has case */
static pthread_once_t unicode_once = PTHREAD_ONCE_INIT;
static void unicode_init(void)
{
    unicode_locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

static uint32_t char_case(uint32_t c, bool up)
{
    if (c < 0x80)
        return (uint32_t)(up ? (c >= 'a' && c <= 'z' ? c - 32 : c) : (c >= 'A' && c <= 'Z' ? c + 32 : c));
    pthread_once(&unicode_once, unicode_init);
    if (!unicode_locale)
        return c;
    return (uint32_t)(up ? towupper_l((wint_t)c, unicode_locale) : towlower_l((wint_t)c, unicode_locale));
}

static bool is_letter_or_digit(uint32_t c)
{
    if (c < 0x80)
        return isalnum((int)c);
    pthread_once(&unicode_once, unicode_init);
    return unicode_locale && iswalnum_l((wint_t)c, unicode_locale);
}

enum case_kind { CASE_UP, CASE_DOWN, CASE_INITIAL };
static enum fn_result change_case(struct call *call, const struct value *a, struct value *out, enum case_kind kind)
{
    uint8_t *to = eval_tmp(call->eval, a->n * 4 + 4);
    size_t n = 0;
    bool start = true;
    for (size_t i = 0; i < a->n;) {
        size_t size = utf8_size(a->s + i, a->n - i);
        if (size > 4 || (size == 1 && a->s[i] >= 0x80)) { /* not UTF-8: as it is */
            memcpy(to + n, a->s + i, size);
            n += size;
        } else {
            uint32_t c = utf8_decode(a->s + i, size);
            n += utf8_encode(char_case(c, kind == CASE_UP || (kind == CASE_INITIAL && start)), to + n);
            start = !is_letter_or_digit(c);
        }
        i += size;
    }
    return text(out, to, n);
}
ROW_FN(fn_upper)
{
    return change_case(call, a, out, CASE_UP);
}
ROW_FN(fn_lower)
{
    return change_case(call, a, out, CASE_DOWN);
}
ROW_FN(fn_initcap)
{
    return change_case(call, a, out, CASE_INITIAL);
}

/* --- Trimming */

static bool set_has(const struct value *set, const uint8_t *c, size_t size)
{
    for (size_t i = 0; i < set->n;) {
        size_t here = utf8_size(set->s + i, set->n - i);
        if (here == size && memcmp(set->s + i, c, size) == 0)
            return true;
        i += here;
    }
    return false;
}

static enum fn_result trim(struct call *call, const struct value *a, struct value *out, bool left, bool right)
{
    static const struct value blank = {.s = (const uint8_t *)" ", .n = 1};
    const struct value *set = call->arg_count > 1 ? &a[1] : &blank;
    const uint8_t *s = a->s, *end = a->s + a->n;
    while (left && s < end) {
        size_t size = utf8_size(s, (size_t)(end - s));
        if (!set_has(set, s, size))
            break;
        s += size;
    }
    while (right && s < end) {
        const uint8_t *last = end - 1;
        while (last > s && (*last & 0xc0) == 0x80)
            last--;
        if (!set_has(set, last, (size_t)(end - last)))
            break;
        end = last;
    }
    return text(out, s, (size_t)(end - s));
}
ROW_FN(fn_btrim)
{
    return trim(call, a, out, true, true);
}
ROW_FN(fn_ltrim)
{
    return trim(call, a, out, true, false);
}
ROW_FN(fn_rtrim)
{
    return trim(call, a, out, false, true);
}

/* --- Size and parts */

ROW_FN(fn_char_length)
{
    (void)call;
    out->i = (int64_t)utf8_count(a->s, a->n);
    return FN_OK;
}
ROW_FN(fn_octet_length)
{
    (void)call;
    out->i = (int64_t)a->n;
    return FN_OK;
}

static enum fn_result part(const struct value *a, int64_t start, int64_t count, struct value *out)
{
    size_t from = utf8_offset(a->s, a->n, start);
    size_t size = utf8_offset(a->s + from, a->n - from, count);
    return text(out, a->s + from, size);
}

ROW_FN(fn_substring)
{
    int64_t count = (int64_t)utf8_count(a->s, a->n), length = call->arg_count > 2 ? a[2].i : INT32_MAX, start = 0;
    if (length < 0)
        return FN_NULL;
    if (a[1].i > 0)
        start = a[1].i - 1;
    else if (a[1].i < 0)
        start = count + a[1].i;
    if (start < 0 || start >= count)
        return text(out, a->s, 0);
    return part(a, start, length, out);
}
ROW_FN(fn_left)
{
    (void)call;
    return part(a, 0, a[1].i < 0 ? 0 : a[1].i, out);
}
ROW_FN(fn_right)
{
    (void)call;
    int64_t count = (int64_t)utf8_count(a->s, a->n), want = a[1].i < 0 ? 0 : a[1].i;
    return part(a, want < count ? count - want : 0, want, out);
}

ROW_FN(fn_split_index)
{
    uint8_t character[4];
    struct value delimiter = a[1];
    if (call->def->unit) { /* the delimiter as a code point */
        if (a[1].i < 0 || a[1].i > 255)
            return FN_NULL;
        delimiter.s = character;
        delimiter.n = utf8_encode((uint32_t)a[1].i, character);
    }
    if (a[2].i < 0 || delimiter.n == 0)
        return FN_NULL;
    const uint8_t *s = a->s, *end = a->s + a->n;
    for (int64_t index = a[2].i;; index--) {
        const uint8_t *hit = s < end ? memmem(s, (size_t)(end - s), delimiter.s, delimiter.n) : NULL;
        if (index == 0 && a->n > 0)
            return text(out, s, (size_t)((hit ? hit : end) - s));
        if (!hit)
            return FN_NULL;
        s = hit + delimiter.n;
    }
}

ROW_FN(fn_overlay)
{
    int64_t count = (int64_t)utf8_count(a->s, a->n), start = a[2].i;
    int64_t length = call->arg_count > 3 ? a[3].i : (int64_t)utf8_count(a[1].s, a[1].n);
    if (start <= 0 || start > count)
        return text(out, a->s, a->n);
    size_t from = utf8_offset(a->s, a->n, start - 1), to = a->n;
    if (length >= 0 && length <= count)
        to = utf8_offset(a->s, a->n, start - 1 + length);
    uint8_t *made = eval_tmp(call->eval, a->n + a[1].n + 1);
    memcpy(made, a->s, from);
    memcpy(made + from, a[1].s, a[1].n);
    memcpy(made + from + a[1].n, a->s + to, a->n - to);
    return text(out, made, from + a[1].n + a->n - to);
}

/* --- Searching */

/* Character position (from 1) of the first `needle` at or after character `from` (from 1); 0: none. */
static int64_t find(const struct value *text_, const struct value *needle, int64_t from)
{
    if (from < 1)
        return 0;
    size_t at = utf8_offset(text_->s, text_->n, from - 1);
    if (needle->n == 0)
        return from <= (int64_t)utf8_count(text_->s, text_->n) + 1 ? from : 0;
    const uint8_t *hit = at < text_->n ? memmem(text_->s + at, text_->n - at, needle->s, needle->n) : NULL;
    return hit ? from + (int64_t)utf8_count(text_->s + at, (size_t)(hit - text_->s) - at) : 0;
}
ROW_FN(fn_position)
{
    (void)call;
    out->i = find(&a[1], &a[0], 1);
    return FN_OK;
}
ROW_FN(fn_locate)
{
    out->i = find(&a[1], &a[0], call->arg_count > 2 ? a[2].i : 1);
    return FN_OK;
}

static size_t reverse_into(const struct value *a, uint8_t *to)
{
    for (size_t i = 0; i < a->n;) {
        size_t size = utf8_size(a->s + i, a->n - i);
        memcpy(to + a->n - i - size, a->s + i, size);
        i += size;
    }
    return a->n;
}

ROW_FN(fn_instr)
{
    int64_t start = call->arg_count > 2 ? a[2].i : 1, nth = call->arg_count > 3 ? a[3].i : 1, at = 0;
    if (nth <= 0) {
        snprintf(call->why, sizeof call->why, "INSTR counts appearances from 1, not %lld", (long long)nth);
        return FN_FAIL;
    }
    struct value where = a[0], what = a[1];
    bool backward = start < 0;
    if (backward) {
        uint8_t *tmp = eval_tmp(call->eval, a[0].n + a[1].n + 1);
        where.n = reverse_into(&a[0], tmp);
        where.s = tmp;
        what.n = reverse_into(&a[1], tmp + where.n);
        what.s = tmp + where.n;
        start = start == INT64_MIN ? INT64_MAX : -start;
    }
    out->i = 0;
    for (; nth > 0 && start > 0; nth--) {
        at = find(&where, &what, start);
        if (at == 0)
            return FN_OK;
        start = at + 1;
    }
    out->i =
        at > 0 && backward ? (int64_t)utf8_count(a[0].s, a[0].n) + 2 - at - (int64_t)utf8_count(a[1].s, a[1].n) : at;
    return FN_OK;
}
ROW_FN(fn_starts_with)
{
    (void)call;
    out->i = a[0].n >= a[1].n && (a[1].n == 0 || memcmp(a[0].s, a[1].s, a[1].n) == 0);
    return FN_OK;
}
ROW_FN(fn_ends_with)
{
    (void)call;
    out->i = a[0].n >= a[1].n && (a[1].n == 0 || memcmp(a[0].s + a[0].n - a[1].n, a[1].s, a[1].n) == 0);
    return FN_OK;
}

/* --- Joining and making */

ROW_FN(fn_concat)
{
    size_t n = 0;
    for (int i = 0; i < call->arg_count; i++)
        n += a[i].n;
    if (n > EXPR_VALUE_SIZE_MAX)
        return too_long(call);
    uint8_t *to = eval_tmp(call->eval, n + 1);
    n = 0;
    for (int i = 0; i < call->arg_count; i++) {
        if (a[i].n)
            memcpy(to + n, a[i].s, a[i].n);
        n += a[i].n;
    }
    return text(out, to, n);
}

ROW_FN(fn_concat_ws)
{
    if (a[0].null)
        return FN_NULL;
    size_t n = 1;
    for (int i = 1; i < call->arg_count; i++)
        n += a[i].null ? 0 : a[i].n + a[0].n;
    if (n > EXPR_VALUE_SIZE_MAX)
        return too_long(call);
    uint8_t *to = eval_tmp(call->eval, n);
    bool first = true;
    n = 0;
    for (int i = 1; i < call->arg_count; i++) {
        if (a[i].null)
            continue;
        if (!first) {
            memcpy(to + n, a[0].s, a[0].n);
            n += a[0].n;
        }
        if (a[i].n)
            memcpy(to + n, a[i].s, a[i].n);
        n += a[i].n;
        first = false;
    }
    return text(out, to, n);
}

ROW_FN(fn_replace)
{
    if (a[1].n == 0)
        return text(out, a->s, a->n);
    size_t hits = 0;
    const uint8_t *s = a->s, *end = a->s + a->n;
    for (const uint8_t *hit; s < end && (hit = memmem(s, (size_t)(end - s), a[1].s, a[1].n)); s = hit + a[1].n)
        hits++;
    if (hits == 0)
        return text(out, a->s, a->n);
    size_t size = a->n + hits * a[2].n - hits * a[1].n;
    if (size > EXPR_VALUE_SIZE_MAX)
        return too_long(call);
    uint8_t *to = eval_tmp(call->eval, size + 1);
    size_t n = 0;
    s = a->s;
    while (hits-- > 0) {
        const uint8_t *hit = memmem(s, (size_t)(end - s), a[1].s, a[1].n);
        memcpy(to + n, s, (size_t)(hit - s));
        n += (size_t)(hit - s);
        memcpy(to + n, a[2].s, a[2].n);
        n += a[2].n;
        s = hit + a[1].n;
    }
    memcpy(to + n, s, (size_t)(end - s));
    return text(out, to, n + (size_t)(end - s));
}

static enum fn_result pad(struct call *call, const struct value *a, struct value *out, bool left)
{
    int64_t want = a[1].i, have = (int64_t)utf8_count(a->s, a->n);
    size_t unit = utf8_count(a[2].s, a[2].n);
    if (want < 0 || unit == 0)
        return FN_NULL;
    if (want <= have)
        return part(a, 0, want, out);
    size_t missing = (size_t)(want - have);
    if (missing > EXPR_VALUE_SIZE_MAX || (missing / unit + 1) * a[2].n + a->n > EXPR_VALUE_SIZE_MAX)
        return too_long(call);
    uint8_t *to = eval_tmp(call->eval, (missing / unit + 1) * a[2].n + a->n + 1);
    size_t n = 0;
    if (!left) {
        memcpy(to, a->s, a->n);
        n = a->n;
    }
    for (; missing >= unit; missing -= unit, n += a[2].n)
        memcpy(to + n, a[2].s, a[2].n);
    size_t rest = utf8_offset(a[2].s, a[2].n, (int64_t)missing);
    memcpy(to + n, a[2].s, rest);
    n += rest;
    if (left) {
        memcpy(to + n, a->s, a->n);
        n += a->n;
    }
    return text(out, to, n);
}
ROW_FN(fn_lpad)
{
    return pad(call, a, out, true);
}
ROW_FN(fn_rpad)
{
    return pad(call, a, out, false);
}

ROW_FN(fn_reverse)
{
    uint8_t *to = eval_tmp(call->eval, a->n + 1);
    return text(out, to, reverse_into(a, to));
}

ROW_FN(fn_repeat)
{
    int64_t times = a[1].i;
    if (times <= 0 || a->n == 0)
        return text(out, a->s, 0);
    if ((uint64_t)times > EXPR_VALUE_SIZE_MAX / a->n)
        return too_long(call);
    uint8_t *to = eval_tmp(call->eval, a->n * (size_t)times);
    for (int64_t i = 0; i < times; i++)
        memcpy(to + (size_t)i * a->n, a->s, a->n);
    return text(out, to, a->n * (size_t)times);
}

ROW_FN(fn_ascii)
{
    (void)call;
    out->i = a->n ? (int8_t)a->s[0] : 0;
    return FN_OK;
}

ROW_FN(fn_chr)
{
    uint8_t *to = eval_tmp(call->eval, 4);
    if (a->i < 0)
        return text(out, to, 0);
    return text(out, to, utf8_encode((uint32_t)(a->i & 0xff), to));
}

/* Characters of a[1] become those of a[2] at the same place, or vanish where there is none. */
ROW_FN(fn_translate)
{
    if (a[0].null)
        return FN_NULL;
    if (a[1].null || a[1].n == 0)
        return text(out, a->s, a->n);
    size_t to_count = a[2].null ? 0 : utf8_count(a[2].s, a[2].n), n = 0;
    uint8_t *to = eval_tmp(call->eval, a->n * 4 + 4);
    for (size_t i = 0, size; i < a->n; i += size) {
        size = utf8_size(a->s + i, a->n - i);
        size_t k = 0, at = 0, here = 0;
        for (; at < a[1].n; at += here, k++) {
            here = utf8_size(a[1].s + at, a[1].n - at);
            if (here == size && memcmp(a[1].s + at, a->s + i, size) == 0)
                break;
        }
        if (at >= a[1].n) {
            memcpy(to + n, a->s + i, size);
            n += size;
        } else if (k < to_count) {
            size_t from = utf8_offset(a[2].s, a[2].n, (int64_t)k), got = utf8_size(a[2].s + from, a[2].n - from);
            if (got > 4)
                got = 4;
            memcpy(to + n, a[2].s + from, got);
            n += got;
        }
    }
    return text(out, to, n);
}

ROW_FN(fn_elt)
{
    if (a[0].null)
        return FN_NULL;
    if (a[0].i < 0) {
        snprintf(call->why, sizeof call->why, "ELT counts from 1, not %lld", (long long)a[0].i);
        return FN_FAIL;
    }
    if (a[0].i == 0 || a[0].i >= call->arg_count || a[a[0].i].null)
        return FN_NULL;
    return text(out, a[a[0].i].s, a[a[0].i].n);
}

/* --- Tests of content; NULL is none of these */

ROW_FN(fn_is_digit)
{
    (void)call;
    out->i = !a->null && a->n > 0;
    for (size_t i = 0; out->i && i < a->n; i++)
        out->i = isdigit(a->s[i]) != 0;
    return FN_OK;
}

ROW_FN(fn_is_alpha)
{
    (void)call;
    bool good = !a->null && a->n > 0;
    size_t n = good ? a->n : 0; /* the value of a NULL is undefined */
    for (size_t i = 0, size; good && i < n; i += size) {
        size = utf8_size(a->s + i, n - i);
        uint32_t c = utf8_decode(a->s + i, size);
        good = is_letter_or_digit(c) && !(c < 0x80 && isdigit((int)c));
    }
    out->i = good;
    return FN_OK;
}

ROW_FN(fn_is_decimal)
{
    (void)call;
    size_t i = 0, digits = 0, points = 0;
    size_t n = a->null ? 0 : a->n;
    if (n > 0 && (a->s[0] == '-' || a->s[0] == '+'))
        i++;
    bool good = true;
    for (; i < n && good; i++) {
        digits += isdigit(a->s[i]) != 0;
        points += a->s[i] == '.';
        good = isdigit(a->s[i]) || a->s[i] == '.';
    }
    out->i = good && digits > 0 && points <= 1;
    return FN_OK;
}

/* --- LIKE and IN */

enum like_form { LIKE_EQUAL, LIKE_PREFIX, LIKE_SUFFIX, LIKE_CONTAINS };
struct like {
    enum like_form form;
    const uint8_t *s;
    size_t n;
};

/* Text with at most a % at either end and no _ and no escape. */
const void *expr_like_prepare(struct weir_arena *arena, const struct value *pattern, const struct value *escape)
{
    size_t first = 0, last = pattern->n;
    while (first < last && pattern->s[first] == '%')
        first++;
    while (last > first && pattern->s[last - 1] == '%')
        last--;
    for (size_t i = 0; i < pattern->n; i++) {
        uint8_t c = pattern->s[i];
        if (c == '_' || c == '\\' || (c == '%' && i >= first && i < last))
            return NULL;
        if (escape && memchr(escape->s, c, escape->n))
            return NULL;
    }
    if (escape && utf8_count(escape->s, escape->n) != 1)
        return NULL;
    struct like *like = weir_arena_zalloc(arena, sizeof *like);
    bool open_start = first > 0, open_end = last < pattern->n;
    like->form = open_start && open_end ? LIKE_CONTAINS
                 : open_start           ? LIKE_SUFFIX
                 : open_end             ? LIKE_PREFIX
                                        : LIKE_EQUAL;
    like->n = last - first;
    uint8_t *copy = weir_arena_alloc(arena, like->n + 1);
    if (like->n)
        memcpy(copy, pattern->s + first, like->n);
    like->s = copy;
    return like;
}

static bool like_quick(const struct like *like, const struct value *a)
{
    if (a->n < like->n)
        return false;
    if (like->n == 0)
        return like->form != LIKE_EQUAL || a->n == 0;
    switch (like->form) {
    case LIKE_EQUAL:
        return a->n == like->n && memcmp(a->s, like->s, like->n) == 0;
    case LIKE_PREFIX:
        return memcmp(a->s, like->s, like->n) == 0;
    case LIKE_SUFFIX:
        return memcmp(a->s + a->n - like->n, like->s, like->n) == 0;
    default:
        return memmem(a->s, a->n, like->s, like->n) != NULL;
    }
}

/* The usual two-pointer match: on failure go back to the last % and let it take one character more. */
static bool like_match(const struct value *a, const struct value *pattern, const uint8_t *escape, size_t escape_size)
{
    const uint8_t *s = a->s, *end = a->s + a->n, *p = pattern->s, *p_end = pattern->s + pattern->n;
    const uint8_t *retry_s = NULL, *retry_p = NULL;
    while (s < end || p < p_end) {
        if (p < p_end) {
            size_t size = utf8_size(p, (size_t)(p_end - p));
            bool escaped = escape_size && size == escape_size && memcmp(p, escape, size) == 0;
            if (!escaped && *p == '%') {
                retry_p = ++p;
                retry_s = s;
                continue;
            }
            const uint8_t *literal = p;
            if (escaped) {
                literal = p + size;
                size = utf8_size(literal, (size_t)(p_end - literal));
            }
            if (s < end) {
                size_t here = utf8_size(s, (size_t)(end - s));
                if ((!escaped && *p == '_') || (here == size && memcmp(s, literal, size) == 0)) {
                    p = literal + size;
                    s += here;
                    continue;
                }
            }
        }
        if (!retry_p || retry_s >= end)
            return false;
        retry_s += utf8_size(retry_s, (size_t)(end - retry_s));
        s = retry_s;
        p = retry_p;
    }
    return true;
}

/* What follows an escape must be %, _ or the escape itself. */
static bool like_pattern_good(const struct value *pattern, const uint8_t *escape, size_t escape_size)
{
    for (size_t i = 0; i < pattern->n;) {
        size_t size = utf8_size(pattern->s + i, pattern->n - i);
        if (size == escape_size && memcmp(pattern->s + i, escape, size) == 0) {
            i += size;
            if (i == pattern->n)
                return false;
            size = utf8_size(pattern->s + i, pattern->n - i);
            bool self = size == escape_size && memcmp(pattern->s + i, escape, size) == 0;
            if (!self && pattern->s[i] != '%' && pattern->s[i] != '_')
                return false;
        }
        i += size;
    }
    return true;
}

ROW_FN(fn_like)
{
    if (call->def->data) {
        out->i = like_quick(call->def->data, a);
        return FN_OK;
    }
    const uint8_t *escape = (const uint8_t *)"\\";
    size_t escape_size = 1;
    if (call->arg_count > 2) {
        escape = a[2].s;
        escape_size = a[2].n;
        if (utf8_count(escape, escape_size) != 1) {
            snprintf(call->why, sizeof call->why, "ESCAPE needs one character, not '%.*s'",
                     a[2].n > 60 ? 60 : (int)a[2].n, (const char *)a[2].s);
            return FN_FAIL;
        }
    }
    if (!like_pattern_good(&a[1], escape, escape_size)) {
        snprintf(call->why, sizeof call->why,
                 "in the LIKE pattern '%.*s' the escape character stands before something else than %%, _ or itself",
                 a[1].n > 60 ? 60 : (int)a[1].n, (const char *)a[1].s);
        return FN_FAIL;
    }
    out->i = like_match(&a[0], &a[1], escape, escape_size);
    return FN_OK;
}

ROW_FN(fn_in_set)
{
    const struct in_set *set = call->def->data;
    int low = 0, high = set->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        int order = expr_value_compare(set->phys, &set->values[middle], a);
        if (order == 0 && !((set->phys == PHYS_F32 || set->phys == PHYS_F64) && a->d != a->d)) {
            out->i = 1;
            return FN_OK;
        }
        if (order == 0)
            break; /* NaN equals nothing */
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    out->i = 0;
    return set->has_null ? FN_NULL : FN_OK;
}
