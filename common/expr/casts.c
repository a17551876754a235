/* Casts that are not plain conversions between numbers: from and to text, bytes, and between times. Row functions.
 *
 * What is allowed and what comes out is Flink's CAST: text is trimmed, "1.9" is the integer 1, a value out of range is an
 * error of the record (NULL with TRY_CAST); numbers and times do not turn into each other. A number with more digits than a
 * DECIMAL has becomes NULL. TIMESTAMP_LTZ is seen in the session's zone by all other types. The string forms are Java's
 * (1.0E10) and SQL's (2024-01-31 12:00:00.123, TRUE). The table is in docs/functions.md.
 */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/zone.h"
#include "data/decimal.h"
#include "data/time_text.h"
#include "expr/expr_int.h"

#define DAY_MS ((int64_t)86400000)

static void trim(const char **s, size_t *n)
{
    while (*n > 0 && (unsigned char)**s <= ' ') {
        ++*s;
        --*n;
    }
    while (*n > 0 && (unsigned char)(*s)[*n - 1] <= ' ')
        --*n;
}

/* --- Numbers as text */

/* Up to six places, the common case: a decimal of at most 15 digits that reads back as `d` is the shortest one. */
static size_t print_short(double d, char out[40])
{
    double size = fabs(d);
    if (!(size >= 1e-3 && size < 1e7))
        return 0;
    int64_t millionths = llround(size * 1e6);
    if ((double)millionths / 1e6 != size)
        return 0;
    char *p = out;
    if (d < 0)
        *p++ = '-';
    int64_t whole = millionths / 1000000, rest = millionths % 1000000;
    char digits[8];
    int n = 0;
    do {
        digits[n++] = (char)('0' + whole % 10);
        whole /= 10;
    } while (whole > 0);
    while (n > 0)
        *p++ = digits[--n];
    *p++ = '.';
    for (int64_t unit = 100000; unit > 0 && (rest > 0 || unit == 100000); unit /= 10) {
        *p++ = (char)('0' + rest / unit);
        rest %= unit;
    }
    return (size_t)(p - out);
}

size_t expr_print_double(double d, bool is_float, char out[40])
{
    size_t quick = is_float ? 0 : print_short(d, out);
    if (quick)
        return quick;
    if (isnan(d))
        return (size_t)sprintf(out, "NaN");
    if (isinf(d))
        return (size_t)sprintf(out, d < 0 ? "-Infinity" : "Infinity");
    if (d == 0)
        return (size_t)sprintf(out, signbit(d) ? "-0.0" : "0.0");
    /* d.ddde[+-]xx with the fewest digits, two at least, that give the same value. All decimals of 15 (FLOAT: 6) digits
     * give different values, so where that many do, they are the shortest form with zeros at its end; except where the
     * numbers themselves get coarse. */
    bool coarse = fabs(d) < (is_float ? 1e-36 : 1e-300);
    char digits[40];
    for (int precision = coarse ? 1 : is_float ? 5 : 14;; precision++) {
        snprintf(digits, sizeof digits, "%.*e", precision, d);
        if (precision >= 17 || (is_float ? strtof(digits, NULL) == (float)d : strtod(digits, NULL) == d))
            break;
    }
    char *p = out;
    const char *s = digits;
    if (*s == '-')
        *p++ = *s++;
    char *e = strchr(digits, 'e');
    int exponent = atoi(e + 1), count = 0;
    char plain[24];
    for (; s < e; s++) {
        if (*s != '.')
            plain[count++] = *s;
    }
    while (count > 1 && plain[count - 1] == '0')
        count--;
    if (exponent < -3 || exponent >= 7) {
        *p++ = plain[0];
        *p++ = '.';
        if (count == 1)
            *p++ = '0';
        for (int i = 1; i < count; i++)
            *p++ = plain[i];
        return (size_t)(p + sprintf(p, "E%d", exponent) - out);
    }
    if (exponent < 0) {
        *p++ = '0';
        *p++ = '.';
        for (int i = -1; i > exponent; i--)
            *p++ = '0';
        for (int i = 0; i < count; i++)
            *p++ = plain[i];
        return (size_t)(p - out);
    }
    for (int i = 0; i <= exponent; i++)
        *p++ = i < count ? plain[i] : '0';
    *p++ = '.';
    if (count <= exponent + 1)
        *p++ = '0';
    for (int i = exponent + 1; i < count; i++)
        *p++ = plain[i];
    return (size_t)(p - out);
}

static bool parse_number(const uint8_t *bytes, size_t n, double *d)
{
    const char *s = (const char *)bytes;
    trim(&s, &n);
    char copy[512];
    if (n == 0 || n >= sizeof copy)
        return false;
    memcpy(copy, s, n);
    copy[n] = '\0';
    for (size_t i = 0; i < n; i++) {
        if (s[i] == 'x' || s[i] == 'X' || s[i] == 'p' || s[i] == 'P' || s[i] == '(')
            return false; /* strtod would read hexadecimal and nan(...) */
    }
    char *end;
    *d = strtod(copy, &end);
    if (*end == 'd' || *end == 'D' || *end == 'f' || *end == 'F') /* as Java allows */
        end++;
    return *end == '\0' && strcspn(copy, "\f\v\n") == n;
}

/* Digits with a sign and perhaps a fraction, which is cut off. */
static bool parse_integer(const uint8_t *bytes, size_t n, int64_t *out)
{
    const char *s = (const char *)bytes;
    trim(&s, &n);
    size_t i = 0;
    bool minus = n > 0 && s[0] == '-';
    if (n > 0 && (s[0] == '-' || s[0] == '+'))
        i++;
    if (i == n)
        return false;
    int64_t value = 0;
    for (; i < n && s[i] != '.'; i++) {
        if (!isdigit((unsigned char)s[i]) || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, s[i] - '0', &value)) /* kept negative: the range is larger there */
            return false;
    }
    for (i += i < n; i < n; i++) {
        if (!isdigit((unsigned char)s[i]))
            return false;
    }
    if (!minus && value == INT64_MIN)
        return false;
    *out = minus ? value : -value;
    return true;
}

/* --- Times as text; months, days, hours may have one digit, parts at the end may be missing */

static bool take_digits(const char **s, const char *end, int max, int *value)
{
    int digits = 0, v = 0;
    for (; *s < end && isdigit((unsigned char)**s); ++*s, digits++) {
        if (digits == max)
            return false;
        v = v * 10 + (**s - '0');
    }
    *value = v;
    return digits > 0;
}

static bool date_part(const char **s, const char *end, int64_t *days)
{
    int year, month = 1, day = 1;
    if (!take_digits(s, end, 4, &year))
        return false;
    if (*s < end && **s == '-') {
        ++*s;
        if (!take_digits(s, end, 2, &month))
            return false;
        if (*s < end && **s == '-') {
            ++*s;
            if (!take_digits(s, end, 2, &day))
                return false;
        }
    }
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > 31)
        return false;
    *days = weir_days_from_civil(year, (unsigned)month, (unsigned)day);
    int64_t y;
    unsigned m, d;
    weir_civil_from_days(*days, &y, &m, &d);
    return m == (unsigned)month; /* 30 February is none */
}

static bool time_part(const char **s, const char *end, int64_t *ms)
{
    int hour, minute = 0, second = 0, fraction = 0;
    if (!take_digits(s, end, 2, &hour))
        return false;
    if (*s < end && **s == ':') {
        ++*s;
        if (!take_digits(s, end, 2, &minute))
            return false;
        if (*s < end && **s == ':') {
            ++*s;
            if (!take_digits(s, end, 2, &second))
                return false;
            if (*s < end && **s == '.') {
                int scale = 100;
                for (++*s; *s < end && isdigit((unsigned char)**s); ++*s, scale /= 10)
                    fraction += scale * (**s - '0');
            }
        }
    }
    *ms = ((int64_t)hour * 3600 + minute * 60 + second) * 1000 + fraction;
    return hour < 24 && minute < 60 && second < 60;
}

bool expr_parse_timestamp(const char *s, size_t n, int64_t *ms)
{
    trim(&s, &n);
    const char *end = s + n;
    int64_t days, time = 0;
    if (memchr(s, '-', n) == NULL || !date_part(&s, end, &days))
        return false;
    if (s < end) {
        if (*s != ' ' && *s != 'T')
            return false;
        s++;
        if (!time_part(&s, end, &time))
            return false;
    }
    *ms = days * DAY_MS + time;
    return s == end;
}

bool expr_parse_date(const char *s, size_t n, int32_t *days)
{
    trim(&s, &n);
    const char *end = s + n;
    int64_t value, time;
    if (!date_part(&s, end, &value))
        return false;
    if (s < end && (*s == ' ' || *s == 'T')) { /* a timestamp's date */
        s++;
        if (!time_part(&s, end, &time))
            return false;
    }
    *days = (int32_t)value;
    return s == end;
}

bool expr_parse_time(const char *s, size_t n, int32_t *ms)
{
    trim(&s, &n);
    const char *end = s + n;
    int64_t value;
    if (!time_part(&s, end, &value) || s != end)
        return false;
    *ms = (int32_t)value;
    return true;
}

/* --- From text */

static enum fn_result bad(struct call *call, const struct value *a, const char *type)
{
    snprintf(call->why, sizeof call->why, "'%.*s' cannot be cast to %s", a->n > 60 ? 60 : (int)a->n, (const char *)a->s,
             type);
    return FN_FAIL;
}

static enum fn_result to_boolean(struct call *call, const struct value *a, struct value *out)
{
    static const char *const words[] = {"t", "true", "y", "yes", "1", "f", "false", "n", "no", "0"};
    const char *s = (const char *)a->s;
    size_t n = a->n;
    trim(&s, &n);
    for (int i = 0; i < 10; i++) {
        if (strlen(words[i]) == n && strncasecmp(words[i], s, n) == 0) {
            out->i = i < 5;
            return FN_OK;
        }
    }
    return bad(call, a, "BOOLEAN");
}

static enum fn_result to_integer(struct call *call, const struct value *a, struct value *out)
{
    static const struct {
        int type;
        const char *name;
        int64_t max;
    } types[] = {{WEIR_TYPE_INT8, "TINYINT", INT8_MAX},
                 {WEIR_TYPE_INT16, "SMALLINT", INT16_MAX},
                 {WEIR_TYPE_INT32, "INT", INT32_MAX},
                 {WEIR_TYPE_INT64, "BIGINT", INT64_MAX}};
    int k = call->def->type - WEIR_TYPE_INT8;
    int64_t i;
    if (!parse_integer(a->s, a->n, &i) || i > types[k].max || i < -types[k].max - 1)
        return bad(call, a, types[k].name);
    out->i = i;
    return FN_OK;
}

static enum fn_result to_double(struct call *call, const struct value *a, struct value *out)
{
    if (!parse_number(a->s, a->n, &out->d))
        return bad(call, a, call->def->type == WEIR_TYPE_FLOAT ? "FLOAT" : "DOUBLE");
    return FN_OK;
}

static enum fn_result to_date(struct call *call, const struct value *a, struct value *out)
{
    int32_t days;
    if (!expr_parse_date((const char *)a->s, a->n, &days))
        return bad(call, a, "DATE");
    out->i = days;
    return FN_OK;
}

static enum fn_result to_time(struct call *call, const struct value *a, struct value *out)
{
    int32_t ms;
    if (!expr_parse_time((const char *)a->s, a->n, &ms))
        return bad(call, a, "TIME");
    out->i = ms;
    return FN_OK;
}

/* Drops the digits of a second past the precision. */
static int64_t cut(int64_t ms, int precision)
{
    static const int64_t parts[] = {1000, 100, 10, 1};
    int64_t part = parts[precision < 0 ? 0 : precision > 3 ? 3 : precision];
    int64_t rest = ms % part;
    return ms - (rest < 0 ? rest + part : rest);
}

static enum fn_result to_timestamp(struct call *call, const struct value *a, struct value *out)
{
    int64_t ms;
    if (!expr_parse_timestamp((const char *)a->s, a->n, &ms))
        return bad(call, a, "TIMESTAMP");
    out->i = cut(ms, call->def->length);
    return FN_OK;
}

/* --- Decimals */

/* NULL: it has more digits than there are. */
static enum fn_result give_decimal(enum weir_decimal_text parsed, weir_int128 value, struct value *out)
{
    if (parsed == WEIR_DECIMAL_OVERFLOW)
        return FN_NULL;
    out->dec = weir_decimal_make(value);
    return FN_OK;
}

static enum fn_result text_to_decimal(struct call *call, const struct value *a, struct value *out)
{
    const struct weir_type *to = &call->def->out_type;
    const char *s = (const char *)a->s;
    size_t n = a->n;
    weir_int128 value = 0;
    trim(&s, &n);
    enum weir_decimal_text parsed = weir_decimal_parse(s, n, to->precision, to->scale, &value);
    return parsed == WEIR_DECIMAL_NO_NUMBER ? bad(call, a, "DECIMAL") : give_decimal(parsed, value, out);
}

static enum fn_result integer_to_decimal(struct call *call, const struct value *a, struct value *out)
{
    const struct weir_type *to = &call->def->out_type;
    weir_int128 value;
    if (!weir_decimal_rescale(a->i, 0, to->precision, to->scale, &value))
        return FN_NULL;
    out->dec = weir_decimal_make(value);
    return FN_OK;
}

static enum fn_result double_to_decimal(struct call *call, const struct value *a, struct value *out)
{
    const struct weir_type *to = &call->def->out_type;
    weir_int128 value = 0;
    enum weir_decimal_text parsed =
        weir_decimal_from_double(a->d, call->def->arg_type == WEIR_TYPE_FLOAT, to->precision, to->scale, &value);
    if (parsed == WEIR_DECIMAL_NO_NUMBER) {
        snprintf(call->why, sizeof call->why, "NaN and infinities cannot be cast to DECIMAL");
        return FN_FAIL;
    }
    return give_decimal(parsed, value, out);
}

static enum fn_result decimal_to_decimal(struct call *call, const struct value *a, struct value *out)
{
    const struct weir_type *from = &call->def->in_type, *to = &call->def->out_type;
    weir_int128 value;
    if (!weir_decimal_rescale(weir_decimal_get(a->dec), from->scale, to->precision, to->scale, &value))
        return FN_NULL;
    out->dec = weir_decimal_make(value);
    return FN_OK;
}

/* As Java's BigDecimal.longValue(): the fraction is cut off, and what does not fit wraps. */
static enum fn_result decimal_to_integer(struct call *call, const struct value *a, struct value *out)
{
    weir_int128 value = weir_decimal_get(a->dec);
    for (int scale = call->def->in_type.scale; scale > 0; scale--)
        value /= 10;
    out->i = (int64_t)(uint64_t)(weir_uint128)value;
    if (call->def->type != WEIR_TYPE_INT64)
        expr_convert_value(WEIR_TYPE_INT64, call->def->type, out, out);
    return FN_OK;
}

static enum fn_result decimal_to_double(struct call *call, const struct value *a, struct value *out)
{
    out->d = weir_decimal_to_double(weir_decimal_get(a->dec), call->def->in_type.scale);
    return FN_OK;
}

/* --- Moments and the session's zone */

static enum fn_result text_to_ltz(struct call *call, const struct value *a, struct value *out)
{
    int64_t ms;
    const char *s = (const char *)a->s;
    size_t n = a->n;
    trim(&s, &n);
    if (expr_parse_timestamp(s, n, &ms))
        ms = weir_zone_to_utc(ms);
    else if (!weir_timestamp_parse(s, n, &ms)) /* with a zone of its own */
        return bad(call, a, "TIMESTAMP_LTZ");
    out->i = cut(ms, call->def->length);
    return FN_OK;
}

static enum fn_result timestamp_to_ltz(struct call *call, const struct value *a, struct value *out)
{
    out->i = cut(weir_zone_to_utc(a->i), call->def->length);
    return FN_OK;
}
static enum fn_result date_to_ltz(struct call *call, const struct value *a, struct value *out)
{
    (void)call;
    out->i = weir_zone_to_utc(a->i * DAY_MS);
    return FN_OK;
}
static enum fn_result ltz_to_timestamp(struct call *call, const struct value *a, struct value *out)
{
    out->i = cut(weir_zone_to_local(a->i), call->def->length);
    return FN_OK;
}
static enum fn_result ltz_to_ltz(struct call *call, const struct value *a, struct value *out)
{
    out->i = cut(a->i, call->def->length);
    return FN_OK;
}

/* --- To text and bytes */

/* Cuts (and, for CHAR and BINARY, pads) to the wanted length. */
static enum fn_result bounded(struct call *call, const uint8_t *s, size_t n, struct value *out)
{
    size_t length = (size_t)call->def->length;
    bool text = call->def->type == WEIR_TYPE_STRING;
    out->s = s;
    out->n = n;
    if (length == 0)
        return FN_OK;
    size_t characters = text ? utf8_count(s, n) : n;
    if (characters > length) {
        size_t i = 0;
        for (size_t c = 0; i < n; i++) {
            if ((!text || (s[i] & 0xc0) != 0x80) && c++ == length)
                break;
        }
        out->n = i;
    } else if (characters < length && call->def->pad) {
        uint8_t *to = eval_tmp(call->eval, n + length - characters + 64);
        memmove(to, s, n); /* s may lie there already */
        memset(to + n, text ? ' ' : 0, length - characters);
        out->s = to;
        out->n = n + length - characters;
    }
    return FN_OK;
}

static enum fn_result same_bytes(struct call *call, const struct value *a, struct value *out)
{
    return bounded(call, a->s, a->n, out);
}

bool expr_print_value(const struct weir_type *type, const struct value *a, struct weir_buf *out)
{
    char text[64];
    size_t n;
    switch (type->id) {
    case WEIR_TYPE_BOOLEAN:
        n = (size_t)sprintf(text, a->i ? "TRUE" : "FALSE");
        break;
    case WEIR_TYPE_FLOAT:
    case WEIR_TYPE_DOUBLE:
        n = expr_print_double(a->d, type->id == WEIR_TYPE_FLOAT, text);
        break;
    case WEIR_TYPE_DATE:
        n = weir_date_print((int32_t)a->i, text);
        break;
    case WEIR_TYPE_TIME:
        n = weir_time_print((int32_t)a->i, type->precision, text);
        break;
    case WEIR_TYPE_TIMESTAMP:
        n = weir_timestamp_print_sql(a->i, type->precision, text);
        break;
    case WEIR_TYPE_TIMESTAMP_LTZ:
        n = weir_timestamp_print_sql(weir_zone_to_local(a->i), type->precision, text);
        break;
    case WEIR_TYPE_DECIMAL:
        n = weir_decimal_print(weir_decimal_get(a->dec), type->scale, text);
        break;
    case WEIR_TYPE_STRING:
    case WEIR_TYPE_BYTES:
        return a->n == 0 || weir_buf_append(out, a->s, a->n);
    case WEIR_TYPE_ARRAY:
    case WEIR_TYPE_MAP:
    case WEIR_TYPE_ROW:
        return expr_print_nested(type, a, out);
    default:
        n = (size_t)sprintf(text, "%lld", (long long)a->i);
    }
    return weir_buf_append(out, text, n);
}

/* Types whose text is short. */
static enum fn_result to_text(struct call *call, const struct value *a, struct value *out)
{
    struct weir_buf text;
    weir_buf_init(&text, 256);
    bool ok = expr_print_value(&call->def->in_type, a, &text);
    size_t n = text.size;
    uint8_t *to = eval_tmp(call->eval, n + 128 + (size_t)(call->def->pad ? call->def->length : 0));
    if (ok && n > 0)
        memcpy(to, text.data, n);
    weir_buf_fini(&text);
    return bounded(call, to, n, out);
}

/* --- Between times */

static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return q - (a % b < 0);
}

static enum fn_result date_to_timestamp(struct call *call, const struct value *a, struct value *out)
{
    (void)call;
    out->i = a->i * DAY_MS;
    return FN_OK;
}
static enum fn_result time_to_timestamp(struct call *call, const struct value *a, struct value *out)
{
    out->i = cut(a->i, call->def->length);
    return FN_OK;
}
static enum fn_result timestamp_to_date(struct call *call, const struct value *a, struct value *out)
{
    (void)call;
    out->i = floor_div(a->i, DAY_MS);
    return FN_OK;
}
static enum fn_result timestamp_to_time(struct call *call, const struct value *a, struct value *out)
{
    out->i = cut(a->i - floor_div(a->i, DAY_MS) * DAY_MS, call->def->length);
    return FN_OK;
}

static enum fn_result ltz_to_date(struct call *call, const struct value *a, struct value *out)
{
    struct value local = {.i = weir_zone_to_local(a->i)};
    return timestamp_to_date(call, &local, out);
}
static enum fn_result ltz_to_time(struct call *call, const struct value *a, struct value *out)
{
    struct value local = {.i = weir_zone_to_local(a->i)};
    return timestamp_to_time(call, &local, out);
}

static bool is_plain(int type)
{
    return type >= WEIR_TYPE_BOOLEAN && type <= WEIR_TYPE_DOUBLE;
}

void expr_cast_prepare(struct row_call *def, const struct weir_type *from, const struct weir_type *to)
{
    def->strict = true;
    def->type = (int)to->id;
    def->arg_type = (int)from->id;
    def->in_type = *from;
    def->out_type = *to;
    def->length = to->id == WEIR_TYPE_STRING || to->id == WEIR_TYPE_BYTES ? to->length : to->precision;
}

static int64_t java_long(double d)
{
    return d != d ? 0 : d >= 9223372036854775808.0 ? INT64_MAX : d <= -9223372036854775808.0 ? INT64_MIN : (int64_t)d;
}

void expr_convert_value(int from, int to, const struct value *a, struct value *out)
{
    bool floating = from == WEIR_TYPE_FLOAT || from == WEIR_TYPE_DOUBLE;
    int64_t i = floating ? java_long(a->d) : a->i;
    double d = floating ? a->d : (double)a->i;
    if (floating && to != WEIR_TYPE_INT64) /* by way of INT */
        i = i > INT32_MAX ? INT32_MAX : i < INT32_MIN ? INT32_MIN : i;
    out->null = false;
    switch (to) {
    case WEIR_TYPE_BOOLEAN:
        out->i = floating ? a->d != 0 : a->i != 0;
        break;
    case WEIR_TYPE_INT8:
        out->i = (int8_t)i;
        break;
    case WEIR_TYPE_INT16:
        out->i = (int16_t)i;
        break;
    case WEIR_TYPE_INT32:
        out->i = (int32_t)i;
        break;
    case WEIR_TYPE_FLOAT:
        out->d = (double)(float)d;
        break;
    case WEIR_TYPE_DOUBLE:
        out->d = d;
        break;
    default: /* INT64, and what has the same form */
        out->i = i;
    }
}

/* DECIMAL from and to. */
static row_fn decimal_cast(int from, int to)
{
    if (to == WEIR_TYPE_DECIMAL)
        return from == WEIR_TYPE_STRING                              ? text_to_decimal
               : from == WEIR_TYPE_DECIMAL                           ? decimal_to_decimal
               : from == WEIR_TYPE_FLOAT || from == WEIR_TYPE_DOUBLE ? double_to_decimal
               : expr_is_integer(from) || from == WEIR_TYPE_BOOLEAN  ? integer_to_decimal
                                                                     : NULL;
    return expr_is_integer(to)                               ? decimal_to_integer
           : to == WEIR_TYPE_FLOAT || to == WEIR_TYPE_DOUBLE ? decimal_to_double
                                                             : NULL;
}

bool expr_cast_find(int from, int to, bool *convert, row_fn *fn)
{
    bool from_text = from == WEIR_TYPE_STRING;
    *convert = false;
    *fn = NULL;
    if (is_plain(from) && is_plain(to)) {
        *convert = true;
        return true;
    }
    if (to == WEIR_TYPE_STRING) {
        *fn = from_text || from == WEIR_TYPE_BYTES           ? same_bytes
              : weir_type_is_nested((enum weir_type_id)from) ? fn_nested_to_text
                                                             : to_text;
        return from < WEIR_TYPE_IDS && from != WEIR_TYPE_NONE;
    }
    if (from == WEIR_TYPE_DECIMAL || to == WEIR_TYPE_DECIMAL) {
        *fn = decimal_cast(from, to);
        return *fn != NULL;
    }
    switch (to) {
    case WEIR_TYPE_BOOLEAN:
        *fn = from_text ? to_boolean : NULL;
        break;
    case WEIR_TYPE_INT8:
    case WEIR_TYPE_INT16:
    case WEIR_TYPE_INT32:
    case WEIR_TYPE_INT64:
        *fn = from_text ? to_integer : NULL;
        break;
    case WEIR_TYPE_FLOAT:
    case WEIR_TYPE_DOUBLE:
        *fn = from_text ? to_double : NULL;
        break;
    case WEIR_TYPE_BYTES:
        *fn = from_text || from == WEIR_TYPE_BYTES ? same_bytes : NULL;
        break;
    case WEIR_TYPE_DATE:
        *fn = from_text                         ? to_date
              : from == WEIR_TYPE_TIMESTAMP     ? timestamp_to_date
              : from == WEIR_TYPE_TIMESTAMP_LTZ ? ltz_to_date
                                                : NULL;
        *convert = from == to;
        break;
    case WEIR_TYPE_TIME:
        *fn = from_text                                   ? to_time
              : from == WEIR_TYPE_TIMESTAMP || from == to ? timestamp_to_time
              : from == WEIR_TYPE_TIMESTAMP_LTZ           ? ltz_to_time
                                                          : NULL;
        break;
    case WEIR_TYPE_TIMESTAMP_LTZ:
        *fn = from_text                                               ? text_to_ltz
              : from == WEIR_TYPE_DATE                                ? date_to_ltz
              : from == WEIR_TYPE_TIME || from == WEIR_TYPE_TIMESTAMP ? timestamp_to_ltz
              : from == to                                            ? ltz_to_ltz
                                                                      : NULL;
        break;
    case WEIR_TYPE_TIMESTAMP:
        *fn = from_text                              ? to_timestamp
              : from == WEIR_TYPE_DATE               ? date_to_timestamp
              : from == WEIR_TYPE_TIMESTAMP_LTZ      ? ltz_to_timestamp
              : from == WEIR_TYPE_TIME || from == to ? time_to_timestamp
                                                     : NULL;
        break;
    default:
        break;
    }
    return *convert || *fn;
}
