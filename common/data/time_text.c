/* Dates, times, timestamps, durations and sizes as text. Pure; used by formats, expressions, options.
 *
 * Calendar arithmetic: days are counted in eras of 400 years that begin on 1 March (H. Hinnant, "chrono-compatible
 * low-level date algorithms"), so that there is no table and no loop. All functions are total: any bytes may come in.
 */
#include "data/time_text.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define DAY_MS ((int64_t)86400000)
/* 0001-01-01T00:00:00.000 and 9999-12-31T23:59:59.999 */
#define TIMESTAMP_MIN_MS (-(int64_t)62135596800000)
#define TIMESTAMP_MAX_MS ((int64_t)253402300799999)

int64_t weir_days_from_civil(int64_t year, unsigned month, unsigned day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    unsigned year_of_era = (unsigned)(year - era * 400);
    unsigned day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    unsigned day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + (int64_t)day_of_era - 719468;
}

void weir_civil_from_days(int64_t days, int64_t *year, unsigned *month, unsigned *day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    unsigned day_of_era = (unsigned)(days - era * 146097);
    unsigned year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned shifted = (5 * day_of_year + 2) / 153; /* months since March */
    *day = day_of_year - (153 * shifted + 2) / 5 + 1;
    *month = shifted < 10 ? shifted + 3 : shifted - 9;
    *year = (int64_t)year_of_era + era * 400 + (*month <= 2);
}

/* --- Parsing: each taker moves *p and is false when what it wants is not there */

static bool take_2(const char **p, const char *end, unsigned *value)
{
    const char *at = *p;
    if (end - at < 2)
        return false;
    unsigned high = (unsigned)(unsigned char)at[0] - '0', low = (unsigned)(unsigned char)at[1] - '0';
    if (high > 9 || low > 9)
        return false;
    *value = high * 10 + low;
    *p = at + 2;
    return true;
}

static bool take_char(const char **p, const char *end, char c)
{
    if (*p == end || **p != c)
        return false;
    ++*p;
    return true;
}

static unsigned month_days(int64_t year, unsigned month)
{
    static const uint8_t days[13] = {0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month] + (month == 2 && leap);
}

static bool take_date(const char **p, const char *end, int64_t *days)
{
    unsigned century, rest, month, day;
    if (!take_2(p, end, &century) || !take_2(p, end, &rest) || !take_char(p, end, '-') || !take_2(p, end, &month) ||
        !take_char(p, end, '-') || !take_2(p, end, &day))
        return false;
    int64_t year = (int64_t)century * 100 + rest;
    if (year < 1 || month < 1 || month > 12 || day < 1)
        return false;
    if (day > 28 && day > month_days(year, month))
        return false;
    *days = weir_days_from_civil(year, month, day);
    return true;
}

/* HH:MM[:SS[.digits]] -> ms of the day. */
static bool take_time(const char **p, const char *end, int64_t *ms)
{
    unsigned hour, minute, second = 0, fraction = 0;
    if (!take_2(p, end, &hour) || !take_char(p, end, ':') || !take_2(p, end, &minute) || hour > 23 || minute > 59)
        return false;
    if (take_char(p, end, ':')) {
        if (!take_2(p, end, &second) || second > 59)
            return false;
        if (take_char(p, end, '.')) {
            int digits = 0;
            for (; *p < end && isdigit((unsigned char)**p); ++*p, digits++) {
                if (digits < 3)
                    fraction = fraction * 10 + (unsigned)(**p - '0');
            }
            if (digits < 1 || digits > 9)
                return false;
            for (; digits < 3; digits++)
                fraction *= 10;
        }
    }
    *ms = ((int64_t)hour * 60 + minute) * 60000 + (int64_t)second * 1000 + fraction;
    return true;
}

/* Z, +HH, +HHMM, +HH:MM or nothing -> ms to subtract. */
static bool take_zone(const char **p, const char *end, int64_t *offset_ms)
{
    *offset_ms = 0;
    if (*p == end)
        return true;
    if (take_char(p, end, 'Z') || take_char(p, end, 'z'))
        return true;
    bool minus = take_char(p, end, '-');
    if (!minus && !take_char(p, end, '+'))
        return false;
    unsigned hours, minutes = 0;
    if (!take_2(p, end, &hours))
        return false;
    bool colon = take_char(p, end, ':');
    if ((colon || *p < end) && !take_2(p, end, &minutes))
        return false;
    if (minutes > 59 || hours * 60 + minutes > 18 * 60) /* the bound of ISO offsets in Java */
        return false;
    int64_t ms = ((int64_t)hours * 60 + minutes) * 60000;
    *offset_ms = minus ? -ms : ms;
    return true;
}

bool weir_timestamp_parse(const char *text, size_t size, int64_t *ms)
{
    const char *p = text, *end = text + size;
    int64_t days, time_ms = 0, offset_ms = 0;
    if (!take_date(&p, end, &days))
        return false;
    if (p < end) {
        if (*p != 'T' && *p != ' ' && *p != 't')
            return false;
        p++;
        if (!take_time(&p, end, &time_ms) || !take_zone(&p, end, &offset_ms) || p != end)
            return false;
    }
    int64_t value = days * DAY_MS + time_ms - offset_ms;
    if (value < TIMESTAMP_MIN_MS || value > TIMESTAMP_MAX_MS)
        return false;
    *ms = value;
    return true;
}

bool weir_date_parse(const char *text, size_t size, int32_t *days)
{
    const char *p = text, *end = text + size;
    int64_t value;
    if (!take_date(&p, end, &value) || p != end)
        return false;
    *days = (int32_t)value;
    return true;
}

bool weir_time_parse(const char *text, size_t size, int32_t *ms)
{
    const char *p = text, *end = text + size;
    int64_t value;
    if (!take_time(&p, end, &value) || p != end)
        return false;
    *ms = (int32_t)value;
    return true;
}

/* --- Printing */

static char *put_2(char *p, unsigned value)
{
    p[0] = (char)('0' + value / 10 % 10);
    p[1] = (char)('0' + value % 10);
    return p + 2;
}

static char *put_3(char *p, unsigned value)
{
    p[0] = (char)('0' + value / 100 % 10);
    return put_2(p + 1, value);
}

/* Four digits for the years that have them; a day out of range prints its year in full, for a person to see (the
 * widest int64 of ms is +-292278994 years: "-292275055-05-16T16:47:04.192Z" fits 32 bytes). */
static char *put_date(char *p, int64_t days)
{
    int64_t year;
    unsigned month, day;
    weir_civil_from_days(days, &year, &month, &day);
    if (year >= 0 && year <= 9999) {
        p = put_2(p, (unsigned)year / 100);
        p = put_2(p, (unsigned)year % 100);
    } else {
        p += snprintf(p, 12, "%lld", (long long)year);
    }
    *p++ = '-';
    p = put_2(p, month);
    *p++ = '-';
    return put_2(p, day);
}

static char *put_time(char *p, unsigned ms, int digits)
{
    unsigned second = ms / 1000, fraction = ms % 1000;
    p = put_2(p, second / 3600);
    *p++ = ':';
    p = put_2(p, second / 60 % 60);
    *p++ = ':';
    p = put_2(p, second % 60);
    if (digits > 0) {
        *p++ = '.';
        put_3(p, fraction);
        p += digits > 3 ? 3 : digits;
    }
    return p;
}

static void split_ms(int64_t ms, int64_t *days, unsigned *time_ms)
{
    int64_t rest = ms % DAY_MS;
    *days = ms / DAY_MS - (rest < 0);
    *time_ms = (unsigned)(rest < 0 ? rest + DAY_MS : rest);
}

size_t weir_timestamp_print_iso(int64_t ms, char out[32])
{
    int64_t days;
    unsigned time_ms;
    split_ms(ms, &days, &time_ms);
    char *p = put_date(out, days);
    *p++ = 'T';
    p = put_time(p, time_ms, time_ms % 1000 ? 3 : 0);
    *p++ = 'Z';
    return (size_t)(p - out);
}

size_t weir_timestamp_print_sql(int64_t ms, int precision, char out[32])
{
    int64_t days;
    unsigned time_ms;
    split_ms(ms, &days, &time_ms);
    char *p = put_date(out, days);
    *p++ = ' ';
    p = put_time(p, time_ms, precision);
    return (size_t)(p - out);
}

size_t weir_date_print(int32_t days, char out[16])
{
    return (size_t)(put_date(out, days) - out);
}

size_t weir_time_print(int32_t ms, int precision, char out[16])
{
    int64_t days;
    unsigned time_ms; /* a time out of the day wraps into it */
    split_ms(ms, &days, &time_ms);
    return (size_t)(put_time(out, time_ms, precision) - out);
}

/* --- Durations and sizes: digits, then a unit or none */

struct unit {
    const char *names; /* space-separated */
    int64_t multiply;
    int64_t divide;
};

static const struct unit duration_units[] = {
    {"ms milli millis millisecond milliseconds", 1, 1},
    {"ns nano nanos nanosecond nanoseconds", 1, 1000000},
    {"us \xc2\xb5s micro micros microsecond microseconds", 1, 1000},
    {"s sec secs second seconds", 1000, 1},
    {"min m minute minutes", 60000, 1},
    {"h hour hours", 3600000, 1},
    {"d day days", 86400000, 1},
    {NULL, 0, 0},
};

static const struct unit size_units[] = {
    {"b bytes", 1, 1},
    {"k kb kibibytes", (int64_t)1 << 10, 1},
    {"m mb mebibytes", (int64_t)1 << 20, 1},
    {"g gb gibibytes", (int64_t)1 << 30, 1},
    {"t tb tebibytes", (int64_t)1 << 40, 1},
    {NULL, 0, 0},
};

static bool names_have(const char *names, const char *name, size_t size)
{
    for (const char *p = names; *p != '\0';) {
        size_t word = strcspn(p, " ");
        if (word == size && strncasecmp(p, name, size) == 0)
            return true;
        p += word + (p[word] == ' ');
    }
    return false;
}

static bool quantity_parse(const char *text, const struct unit *units, int64_t *value)
{
    const char *p = text + strspn(text, " \t\r\n");
    if (!isdigit((unsigned char)*p))
        return false;
    int64_t number = 0;
    for (; isdigit((unsigned char)*p); p++) {
        if (__builtin_mul_overflow(number, 10, &number) || __builtin_add_overflow(number, *p - '0', &number))
            return false;
    }
    p += strspn(p, " \t\r\n");
    size_t size = strlen(p);
    while (size > 0 && strchr(" \t\r\n", p[size - 1]))
        size--;
    if (size == 0) {
        *value = number;
        return true;
    }
    for (const struct unit *unit = units; unit->names; unit++) {
        if (names_have(unit->names, p, size)) {
            if (__builtin_mul_overflow(number, unit->multiply, &number))
                return false;
            *value = number / unit->divide;
            return true;
        }
    }
    return false;
}

bool weir_duration_parse(const char *text, int64_t *ms)
{
    return quantity_parse(text, duration_units, ms);
}

bool weir_size_parse(const char *text, int64_t *bytes)
{
    return quantity_parse(text, size_units, bytes);
}
