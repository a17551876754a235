/* Functions over times, row by row. Times are milliseconds without a zone (proleptic Gregorian); the session's zone is UTC.
 * DATE arguments of the functions that take TIMESTAMP come in as midnight.
 */
#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#include "base/zone.h"
#include "data/time_text.h"
#include "expr/functions_int.h"

#define DAY_MS ((int64_t)86400000)

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}
static int64_t floor_mod(int64_t a, int64_t b)
{
    int64_t rest = a % b;
    return rest < 0 ? rest + b : rest;
}
static unsigned days_of_month(int64_t year, unsigned month)
{
    int64_t next = month == 12 ? weir_days_from_civil(year + 1, 1, 1) : weir_days_from_civil(year, month + 1, 1);
    return (unsigned)(next - weir_days_from_civil(year, month, 1));
}
int64_t expr_unit_ms(enum unit unit)
{
    switch (unit) {
    case UNIT_MILLISECOND:
        return 1;
    case UNIT_SECOND:
        return 1000;
    case UNIT_MINUTE:
        return 60000;
    case UNIT_HOUR:
        return 3600000;
    case UNIT_DAY:
        return DAY_MS;
    case UNIT_WEEK:
        return 7 * DAY_MS;
    default:
        return 0;
    }
}

int expr_unit_months(enum unit unit)
{
    return unit == UNIT_MONTH ? 1 : unit == UNIT_QUARTER ? 3 : unit == UNIT_YEAR ? 12 : 0;
}

/* --- Adding. Sums that leave int64 wrap, as Java's. */

/* The day of the month stays where the new month has it, else it is its last. */
static int64_t add_months(int64_t days, int64_t months)
{
    int64_t year;
    unsigned month, day;
    weir_civil_from_days(days, &year, &month, &day);
    int64_t index = (int64_t)((uint64_t)(year * 12 + (int64_t)month - 1) + (uint64_t)months);
    year = floor_div(index, 12);
    if (year > 100000000 || year < -100000000) /* far past any calendar */
        return 0;
    month = (unsigned)floor_mod(index, 12) + 1;
    unsigned last = days_of_month(year, month);
    return weir_days_from_civil(year, month, day < last ? day : last);
}

static int64_t timestamp_add_months(int64_t ms, int64_t months)
{
    int64_t days = floor_div(ms, DAY_MS);
    return add_months(days, months) * DAY_MS + floor_mod(ms, DAY_MS);
}

ROW_FN(fn_add_months)
{
    out->i = call->def->arg_type == WEIR_TYPE_DATE ? add_months(a[0].i, a[1].i) : timestamp_add_months(a[0].i, a[1].i);
    return FN_OK;
}
ROW_FN(fn_date_add_ms)
{
    (void)call;
    out->i = a[0].i + floor_div(a[1].i, DAY_MS);
    return FN_OK;
}
ROW_FN(fn_time_add_ms)
{
    (void)call;
    out->i = floor_mod(a[0].i + a[1].i % DAY_MS, DAY_MS);
    return FN_OK;
}

/* TIMESTAMPADD(unit, count, time) */
ROW_FN(fn_timestamp_add)
{
    int months = expr_unit_months(call->def->unit);
    uint64_t count = (uint64_t)a[0].i;
    if (call->def->type == WEIR_TYPE_TIME) {
        out->i = months
                     ? a[1].i
                     : floor_mod(a[1].i + (int64_t)(count * (uint64_t)expr_unit_ms(call->def->unit)) % DAY_MS, DAY_MS);
    } else if (months) {
        int64_t all = (int64_t)(count * (uint64_t)months);
        out->i = call->def->type == WEIR_TYPE_DATE ? add_months(a[1].i, all) : timestamp_add_months(a[1].i, all);
    } else if (call->def->type == WEIR_TYPE_DATE) {
        out->i = (int64_t)((uint64_t)a[1].i + count * (uint64_t)(expr_unit_ms(call->def->unit) / DAY_MS));
    } else {
        out->i = (int64_t)((uint64_t)a[1].i + count * (uint64_t)expr_unit_ms(call->def->unit));
    }
    return FN_OK;
}

/* TIMESTAMPDIFF(unit, from, to): whole units, cut towards zero. */
ROW_FN(fn_timestamp_diff)
{
    int64_t from = a[0].i, to = a[1].i;
    int months = expr_unit_months(call->def->unit);
    if (!months) {
        out->i = (int64_t)((uint64_t)to - (uint64_t)from) / expr_unit_ms(call->def->unit);
        return FN_OK;
    }
    bool minus = to < from;
    if (minus) {
        int64_t swap = from;
        from = to;
        to = swap;
    }
    int64_t y0, y1;
    unsigned m0, m1, day;
    weir_civil_from_days(floor_div(from, DAY_MS), &y0, &m0, &day);
    weir_civil_from_days(floor_div(to, DAY_MS), &y1, &m1, &day);
    int64_t count = (y1 - y0) * 12 + (int64_t)m1 - (int64_t)m0;
    if (timestamp_add_months(from, count) > to)
        count--;
    out->i = (minus ? -count : count) / months;
    return FN_OK;
}

/* --- EXTRACT */

static int64_t iso_week(int64_t days, int64_t *iso_year)
{
    int64_t monday = floor_mod(days + 3, 7); /* 0 = Monday */
    int64_t thursday = days - monday + 3;
    unsigned month, day;
    weir_civil_from_days(thursday, iso_year, &month, &day);
    return (thursday - weir_days_from_civil(*iso_year, 1, 1)) / 7 + 1;
}

static int64_t extract(enum unit unit, int64_t ms)
{
    int64_t days = floor_div(ms, DAY_MS), rest = floor_mod(ms, DAY_MS), year, iso_year;
    unsigned month, day;
    weir_civil_from_days(days, &year, &month, &day);
    switch (unit) {
    case UNIT_NANOSECOND:
        return rest % 1000 * 1000000;
    case UNIT_MICROSECOND:
        return rest % 1000 * 1000;
    case UNIT_MILLISECOND:
        return rest % 1000;
    case UNIT_SECOND:
        return rest / 1000 % 60;
    case UNIT_MINUTE:
        return rest / 60000 % 60;
    case UNIT_HOUR:
        return rest / 3600000;
    case UNIT_DAY:
        return day;
    case UNIT_WEEK:
        return iso_week(days, &iso_year);
    case UNIT_MONTH:
        return month;
    case UNIT_QUARTER:
        return (month - 1) / 3 + 1;
    case UNIT_YEAR:
        return year;
    case UNIT_DECADE:
        return floor_div(year, 10);
    case UNIT_CENTURY:
        return year > 0 ? (year + 99) / 100 : -((99 - year) / 100);
    case UNIT_MILLENNIUM:
        return year > 0 ? (year + 999) / 1000 : -((999 - year) / 1000);
    case UNIT_DOW:
        return floor_mod(days + 4, 7) + 1; /* Sunday is 1 */
    case UNIT_DOY:
        return days - weir_days_from_civil(year, 1, 1) + 1;
    case UNIT_ISODOW:
        return floor_mod(days + 3, 7) + 1; /* Monday is 1 */
    case UNIT_ISOYEAR:
        iso_week(days, &iso_year);
        return iso_year;
    case UNIT_EPOCH:
        return floor_div(ms, 1000);
    default:
        return 0;
    }
}

ROW_FN(fn_extract)
{
    enum unit unit = call->def->unit;
    switch (call->def->arg_type) {
    case EXPR_INTERVAL_MONTHS:
        out->i = unit == UNIT_YEAR ? a->i / 12 : unit == UNIT_MONTH ? a->i % 12 : 0;
        return FN_OK;
    case EXPR_INTERVAL_MS:
        out->i = unit == UNIT_DAY     ? a->i / DAY_MS
                 : unit == UNIT_EPOCH ? a->i / 1000
                 : unit < UNIT_DAY    ? a->i / expr_unit_ms(unit) %
                                         (unit == UNIT_HOUR          ? 24
                                          : unit == UNIT_MILLISECOND ? 1000
                                                                     : 60)
                                   : 0;
        return FN_OK;
    case WEIR_TYPE_DATE:
        out->i = extract(unit, a->i * DAY_MS);
        return FN_OK;
    default:
        out->i = extract(unit, a->i);
        return FN_OK;
    }
}

/* --- FLOOR and CEIL to a unit */

/* First day of the unit (months and longer) that `days` is in; `next`: of the one after it. */
static int64_t unit_start(enum unit unit, int64_t days, bool next)
{
    int64_t year;
    unsigned month, day;
    weir_civil_from_days(days, &year, &month, &day);
    int64_t years = unit == UNIT_DECADE ? 10 : unit == UNIT_CENTURY ? 100 : unit == UNIT_MILLENNIUM ? 1000 : 1;
    switch (unit) {
    case UNIT_MONTH:
    case UNIT_QUARTER: {
        int64_t size = unit == UNIT_MONTH ? 1 : 3, index = year * 12 + (int64_t)month - 1;
        index = floor_div(index, size) * size + (next ? size : 0);
        return weir_days_from_civil(floor_div(index, 12), (unsigned)floor_mod(index, 12) + 1, 1);
    }
    case UNIT_YEAR:
    case UNIT_DECADE:
        return weir_days_from_civil(floor_div(year, years) * years + (next ? years : 0), 1, 1);
    default: /* centuries begin with a year 1 */
        return weir_days_from_civil(floor_div(year - 1, years) * years + 1 + (next ? years : 0), 1, 1);
    }
}

static int64_t round_to(enum unit unit, int64_t ms, bool up)
{
    if (ms > INT64_MAX / 2 || ms < INT64_MIN / 2) /* no such time; nothing here may overflow */
        return ms;
    if (unit == UNIT_WEEK) { /* from Sunday */
        int64_t shift = 4 * DAY_MS, week = 7 * DAY_MS;
        int64_t start = floor_div(ms + shift, week) * week - shift;
        return up && start != ms ? start + week : start;
    }
    int64_t size = expr_unit_ms(unit);
    if (size) {
        int64_t start = floor_div(ms, size) * size;
        return up && start != ms ? start + size : start;
    }
    int64_t days = floor_div(ms, DAY_MS), start = unit_start(unit, days, false) * DAY_MS;
    return up && start != ms ? unit_start(unit, days, true) * DAY_MS : start;
}

static enum fn_result to_unit(struct call *call, const struct value *a, struct value *out, bool up)
{
    enum unit unit = call->def->unit;
    switch (call->def->arg_type) {
    case WEIR_TYPE_DATE:
        if (unit == UNIT_DAY) /* Flink's CEIL of a date to DAY is the next day */
            out->i = a->i + up;
        else
            out->i = unit < UNIT_DAY ? a->i : floor_div(round_to(unit, a->i * DAY_MS, up), DAY_MS);
        return FN_OK;
    case WEIR_TYPE_TIME:
        out->i = unit < UNIT_DAY ? round_to(unit, a->i, up) : a->i;
        return FN_OK;
    default:
        out->i = round_to(unit, a->i, up);
        return FN_OK;
    }
}
ROW_FN(fn_floor_to)
{
    return to_unit(call, a, out, false);
}
ROW_FN(fn_ceil_to)
{
    return to_unit(call, a, out, true);
}

/* --- Patterns of Java: y M d D H h m s S a E and 'text' */

static const char *const day_names[] = {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"};
static const char *const month_names[] = {"January", "February", "March",     "April",   "May",      "June",
                                          "July",    "August",   "September", "October", "November", "December"};

/* Letters alike at p. */
static size_t run_of(const uint8_t *p, const uint8_t *end)
{
    size_t n = 1;
    while (p + n < end && p[n] == *p)
        n++;
    return n;
}

/* One field of `n` letters; -1: none such. */
static int format_field(char *to, size_t room, char letter, size_t n, int64_t ms)
{
    int64_t days = floor_div(ms, DAY_MS);
    int width = n > 9 ? 9 : (int)n;
    int64_t hour = extract(UNIT_HOUR, ms), year = extract(UNIT_YEAR, ms), month = extract(UNIT_MONTH, ms);
    switch (letter) {
    case 'y':
    case 'u':
        if (n == 2)
            return snprintf(to, room, "%02d", (int)floor_mod(year, 100));
        return snprintf(to, room, "%0*lld", width, (long long)year);
    case 'M':
    case 'L':
        if (n >= 3)
            return snprintf(to, room, "%.*s", n == 3 ? 3 : 20, month_names[month - 1]);
        return snprintf(to, room, "%0*d", width, (int)month);
    case 'd':
        return snprintf(to, room, "%0*d", width, (int)extract(UNIT_DAY, ms));
    case 'D':
        return snprintf(to, room, "%0*d", width, (int)extract(UNIT_DOY, ms));
    case 'H':
        return snprintf(to, room, "%0*d", width, (int)hour);
    case 'k':
        return snprintf(to, room, "%0*d", width, hour == 0 ? 24 : (int)hour);
    case 'K':
        return snprintf(to, room, "%0*d", width, (int)(hour % 12));
    case 'h':
        return snprintf(to, room, "%0*d", width, hour % 12 == 0 ? 12 : (int)(hour % 12));
    case 'm':
        return snprintf(to, room, "%0*d", width, (int)extract(UNIT_MINUTE, ms));
    case 's':
        return snprintf(to, room, "%0*d", width, (int)extract(UNIT_SECOND, ms));
    case 'S': { /* digits of a second: milliseconds, then zeros */
        char digits[16];
        snprintf(digits, sizeof digits, "%03d000000", (int)extract(UNIT_MILLISECOND, ms));
        return snprintf(to, room, "%.*s", width, digits);
    }
    case 'a':
        return snprintf(to, room, hour < 12 ? "AM" : "PM");
    case 'E':
        return snprintf(to, room, "%.*s", n <= 3 ? 3 : 20, day_names[floor_mod(days + 3, 7)]);
    default:
        return -1;
    }
}

static enum fn_result bad_pattern(struct call *call, const struct value *pattern)
{
    snprintf(call->why, sizeof call->why, "'%.*s' is not a pattern for times: letters are y M d D H h k K m s S a E",
             pattern->n > 60 ? 60 : (int)pattern->n, (const char *)pattern->s);
    return FN_FAIL;
}

static enum fn_result format_time(struct call *call, int64_t ms, const struct value *pattern, struct value *out)
{
    size_t room = pattern->n * 12 + 64, n = 0;
    char *to = (char *)eval_tmp(call->eval, room + 64);
    const uint8_t *p = pattern->s, *end = p + pattern->n;
    while (p < end) {
        if (*p == '\'') {
            if (p + 1 < end && p[1] == '\'') {
                to[n++] = '\'';
                p += 2;
                continue;
            }
            for (p++; p < end && *p != '\''; p++)
                to[n++] = (char)*p;
            p += p < end;
        } else if (isalpha(*p)) {
            size_t run = run_of(p, end);
            int made = format_field(to + n, 64, (char)*p, run, ms);
            if (made < 0)
                return bad_pattern(call, pattern);
            n += (size_t)made;
            p += run;
        } else {
            to[n++] = (char)*p++;
        }
    }
    out->s = (const uint8_t *)to;
    out->n = n;
    return FN_OK;
}

ROW_FN(fn_date_format)
{
    return format_time(call, a[0].i, &a[1], out);
}

static const struct value pattern_default = {.s = (const uint8_t *)"yyyy-MM-dd HH:mm:ss", .n = 19};

ROW_FN(fn_from_unixtime)
{
    int64_t ms;
    if (__builtin_mul_overflow(a[0].i, (int64_t)1000, &ms))
        return FN_NULL;
    return format_time(call, ms, call->arg_count > 1 ? &a[1] : &pattern_default, out);
}

struct fields {
    int64_t year, month, day, hour, minute, second, ms, doy;
    int pm; /* -1: not said */
};

/* A number of `min` to `max` digits. */
static bool take_number(const uint8_t **s, const uint8_t *end, size_t min, size_t max, int64_t *value)
{
    size_t n = 0;
    int64_t v = 0;
    for (; n < max && *s < end && isdigit(**s); n++, ++*s)
        v = v * 10 + (**s - '0');
    *value = v;
    return n >= min;
}

/* One field of the text; `adjacent`: another number follows without a separator. 1 taken, 0 does not fit, -1 no such field. */
static int parse_field(const uint8_t **s, const uint8_t *end, char letter, size_t n, bool adjacent, struct fields *f)
{
    size_t max = adjacent || n > 1 ? (n > 2 && letter == 'y' && !adjacent ? 9 : n) : 2;
    switch (letter) {
    case 'y':
    case 'u':
        if (!take_number(s, end, n, max < n ? n : max, &f->year))
            return 0;
        if (n == 2)
            f->year += 2000;
        return 1;
    case 'M':
    case 'L':
        if (n >= 3) {
            for (int i = 0; i < 12; i++) {
                size_t size = n == 3 ? 3 : strlen(month_names[i]);
                if ((size_t)(end - *s) >= size && strncasecmp((const char *)*s, month_names[i], size) == 0) {
                    f->month = i + 1;
                    *s += size;
                    return 1;
                }
            }
            return 0;
        }
        return take_number(s, end, n, max, &f->month);
    case 'd':
        return take_number(s, end, n, max, &f->day);
    case 'D':
        return take_number(s, end, 1, adjacent ? n : 3, &f->doy);
    case 'H':
    case 'k':
        return take_number(s, end, n, max, &f->hour);
    case 'h':
    case 'K':
        if (!take_number(s, end, n, max, &f->hour) || f->hour > 12)
            return 0;
        f->hour %= 12;
        f->pm = f->pm < 0 ? 0 : f->pm;
        return 1;
    case 'm':
        return take_number(s, end, n, max, &f->minute);
    case 's':
        return take_number(s, end, n, max, &f->second);
    case 'S': {
        int64_t scale = 100;
        if (*s == end || !isdigit(**s))
            return 0;
        for (f->ms = 0; *s < end && isdigit(**s); ++*s, scale /= 10)
            f->ms += scale * (**s - '0');
        return 1;
    }
    case 'a':
        if (end - *s < 2 || (*s)[1] == '\0')
            return 0;
        f->pm = toupper(**s) == 'P';
        *s += 2;
        return 1;
    default:
        return -1;
    }
}

/* Text by a pattern -> ms. 1 good, 0 does not fit, -1 bad pattern. */
static int parse_time(const struct value *text, const struct value *pattern, int64_t *ms)
{
    struct fields f = {.year = 1970, .month = 1, .day = 1, .pm = -1};
    const uint8_t *s = text->s, *s_end = s + text->n, *p = pattern->s, *end = p + pattern->n;
    while (p < end) {
        if (isalpha(*p)) {
            size_t run = run_of(p, end);
            bool adjacent = p + run < end && isalpha(p[run]);
            int taken = parse_field(&s, s_end, (char)*p, run, adjacent, &f);
            if (taken <= 0)
                return taken;
            p += run;
            continue;
        }
        if (*p == '\'' && ++p < end && *p != '\'') {
            for (; p < end && *p != '\''; p++, s++) {
                if (s == s_end || *s != *p)
                    return 0;
            }
            p += p < end;
            continue;
        }
        if (p == end || s == s_end || *s != *p)
            return 0;
        p++;
        s++;
    }
    if (s != s_end || f.month < 1 || f.month > 12 || f.day < 1 || f.day > 31 || f.hour > 23 || f.minute > 59 ||
        f.second > 59 || f.year > 9999)
        return 0;
    if (f.day > days_of_month(f.year, (unsigned)f.month))
        return 0;
    if (f.pm == 1)
        f.hour += 12;
    int64_t days = weir_days_from_civil(f.year, (unsigned)f.month, (unsigned)f.day) + (f.doy > 0 ? f.doy - 1 : 0);
    *ms = days * DAY_MS + f.hour * 3600000 + f.minute * 60000 + f.second * 1000 + f.ms;
    return 1;
}

ROW_FN(fn_to_timestamp)
{
    if (call->arg_count == 1)
        return expr_parse_timestamp((const char *)a->s, a->n, &out->i) ? FN_OK : FN_NULL;
    int good = parse_time(&a[0], &a[1], &out->i);
    return good < 0 ? bad_pattern(call, &a[1]) : good ? FN_OK : FN_NULL;
}

/* --- TO_TIMESTAMP_LTZ: of seconds (0, the default here is 3) or milliseconds (3), or of text in the session's zone or another */

/* 0001-01-01T00:00:00.000 and 9999-12-31T23:59:59.999 */
#define MOMENT_MIN_MS (-(int64_t)62135596800000)
#define MOMENT_MAX_MS ((int64_t)253402300799999)

static enum fn_result moment(struct call *call, double number, int64_t whole, bool floating, const struct value *places,
                             struct value *out)
{
    int64_t precision = call->arg_count > 1 ? places->i : 3, ms;
    if (precision != 0 && precision != 3) {
        snprintf(call->why, sizeof call->why, "TO_TIMESTAMP_LTZ counts seconds (0) or milliseconds (3), not %lld",
                 (long long)precision);
        return FN_FAIL;
    }
    if (floating) {
        number *= precision == 0 ? 1000 : 1;
        if (!(number > -1e17 && number < 1e17))
            return FN_NULL;
        ms = (int64_t)number;
    } else if (__builtin_mul_overflow(whole, precision == 0 ? (int64_t)1000 : (int64_t)1, &ms)) {
        return FN_NULL;
    }
    if (ms < MOMENT_MIN_MS || ms > MOMENT_MAX_MS)
        return FN_NULL;
    out->i = ms;
    return FN_OK;
}

ROW_FN(fn_to_timestamp_ltz)
{
    return moment(call, 0, a[0].i, false, &a[1], out);
}
ROW_FN(fn_double_to_timestamp_ltz)
{
    return moment(call, a[0].d, 0, true, &a[1], out);
}
ROW_FN(fn_text_to_timestamp_ltz)
{
    int good = call->arg_count > 1 ? parse_time(&a[0], &a[1], &out->i)
                                   : expr_parse_timestamp((const char *)a->s, a->n, &out->i);
    if (good < 0)
        return bad_pattern(call, &a[1]);
    if (!good)
        return FN_NULL;
    if (call->arg_count < 3) {
        out->i = weir_zone_to_utc(out->i);
        return FN_OK;
    }
    char name[64];
    snprintf(name, sizeof name, "%.*s", a[2].n > 60 ? 60 : (int)a[2].n, (const char *)a[2].s);
    if (!weir_zone_named_to_utc(name, &out->i)) {
        snprintf(call->why, sizeof call->why, "'%s' is no time zone", name);
        return FN_FAIL;
    }
    return FN_OK;
}

ROW_FN(fn_to_date)
{
    int32_t days;
    if (call->arg_count == 1) {
        if (!expr_parse_date((const char *)a->s, a->n, &days))
            return FN_NULL;
        out->i = days;
        return FN_OK;
    }
    int good = parse_time(&a[0], &a[1], &out->i);
    out->i = floor_div(out->i, DAY_MS);
    return good < 0 ? bad_pattern(call, &a[1]) : good ? FN_OK : FN_NULL;
}

/* Text that does not fit gives the smallest BIGINT, as in Flink. */
ROW_FN(fn_unix_timestamp)
{
    int64_t ms;
    int good = parse_time(&a[0], call->arg_count > 1 ? &a[1] : &pattern_default, &ms);
    if (good < 0)
        return bad_pattern(call, &a[1]);
    out->i = good ? floor_div(ms, 1000) : INT64_MIN;
    return FN_OK;
}
