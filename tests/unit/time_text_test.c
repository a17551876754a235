/* Time and quantity texts: against the C library around year boundaries, round trips, and text that is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "data/time_text.h"
#include "unit/data_random.h"

static void check_day(int64_t days)
{
    time_t seconds = (time_t)(days * 86400);
    struct tm tm;
    assert_non_null(gmtime_r(&seconds, &tm));
    int64_t year;
    unsigned month, day;
    weir_civil_from_days(days, &year, &month, &day);
    assert_int_equal(year, (int64_t)tm.tm_year + 1900);
    assert_int_equal(month, tm.tm_mon + 1);
    assert_int_equal(day, tm.tm_mday);
    assert_int_equal(weir_days_from_civil(year, month, day), days);
    if (year >= 1 && year <= 9999) {
        char text[16], expected[40];
        int32_t parsed;
        size_t size = weir_date_print((int32_t)days, text);
        snprintf(expected, sizeof expected, "%04d-%02u-%02u", (int)year, month, day);
        assert_int_equal(size, 10);
        assert_memory_equal(text, expected, 10);
        assert_true(weir_date_parse(text, size, &parsed));
        assert_int_equal(parsed, days);
    }
}

static void days_agree_with_gmtime(void **state)
{
    (void)state;
    struct random random = {7};
    for (int year = -10; year <= 10010; year++) {
        struct tm tm = {.tm_year = year - 1900, .tm_mon = 0, .tm_mday = 1};
        int64_t first = timegm(&tm) / 86400;
        for (int64_t day = first - 2; day <= first + 2; day++)
            check_day(day);
        for (int64_t day = first + 57; day <= first + 61; day++) /* the end of February */
            check_day(day);
    }
    for (int i = 0; i < 20000; i++)
        check_day((int64_t)(random_next(&random) % 8000000) - 4000000);
}

static void timestamps_round_trip(void **state)
{
    (void)state;
    struct random random = {11};
    for (int i = 0; i < 50000; i++) {
        int64_t ms = (int64_t)(random_next(&random) % 315537897600000u) - 62135596800000, parsed;
        if (i % 4 == 0)
            ms -= ms % 1000;
        char text[32];
        size_t size = weir_timestamp_print_iso(ms, text);
        assert_true(weir_timestamp_parse(text, size, &parsed));
        assert_int_equal(parsed, ms);
        size = weir_timestamp_print_sql(ms, 3, text);
        assert_int_equal(size, 23);
        assert_true(weir_timestamp_parse(text, size, &parsed));
        assert_int_equal(parsed, ms);
        int32_t time = random_below(&random, 86400000), parsed_time;
        size = weir_time_print(time, 3, text);
        assert_true(weir_time_parse(text, size, &parsed_time));
        assert_int_equal(parsed_time, time);
    }
    /* Any int64 prints into its room. */
    char text[32];
    assert_in_range(weir_timestamp_print_iso(INT64_MIN, text), 1, 32);
    assert_in_range(weir_timestamp_print_iso(INT64_MAX, text), 1, 32);
    assert_in_range(weir_timestamp_print_sql(INT64_MIN, 3, text), 1, 32);
    assert_in_range(weir_date_print(INT32_MIN, text), 1, 16);
    assert_in_range(weir_date_print(INT32_MAX, text), 1, 16);
    assert_in_range(weir_time_print(INT32_MIN, 3, text), 1, 16);
}

static void timestamp_forms(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2013-01-01T06:00:00Z", 1357020000000},
        {"2013-01-01 06:00:00.123", 1357020000123},
        {"2013-01-01T06:00:00.1Z", 1357020000100},
        {"2013-01-01T06:00:00.123999999", 1357020000123},
        {"2013-01-01T06:00:00+01:00", 1357016400000},
        {"2013-01-01T06:00:00-0130", 1357025400000},
        {"2013-01-01T06:00:00+01", 1357016400000},
        {"2013-01-01T06:00", 1357020000000},
        {"2013-01-01", 1356998400000},
        {"2000-02-29", 951782400000},
        {"0001-01-01T00:00:00", -62135596800000},
        {"9999-12-31T23:59:59.999Z", 253402300799999},
        {"1969-12-31T23:59:59.999Z", -1},
    };
    static const char *const bad[] = {
        "",
        "2013",
        "2013-1-1",
        "2013-01-01T",
        "2013-01-01T6:00:00",
        "2013-13-01",
        "2013-00-01",
        "2013-02-29",
        "1900-02-29",
        "2013-04-31",
        "2013-01-00",
        "2013-01-01T24:00:00",
        "2013-01-01T23:60:00",
        "2013-01-01T23:59:60",
        "2013-01-01T06:00:00.",
        "2013-01-01T06:00:00.1234567890",
        "2013-01-01T06:00:00ZZ",
        "2013-01-01T06:00:00 ",
        " 2013-01-01",
        "2013-01-01T06:00:00+",
        "2013-01-01T06:00:00+1",
        "2013-01-01T06:00:00+01:",
        "2013-01-01T06:00:00+19:00",
        "2013-01-01T06:00:00+01:60",
        "0000-01-01",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "2013-01-01x06:00:00",
        "2013/01/01",
        "-2013-01-01",
        "1357020000000",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int64_t ms = 1;
        if (!weir_timestamp_parse(good[i].text, strlen(good[i].text), &ms) || ms != good[i].ms)
            fail_msg("%s gives %lld", good[i].text, (long long)ms);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t ms;
        /* A copy without terminator, so that a read past its end shows under AddressSanitizer. */
        size_t size = strlen(bad[i]);
        char *copy = memcpy(malloc(size + 1), bad[i], size);
        copy = realloc(copy, size ? size : 1);
        if (weir_timestamp_parse(copy, size, &ms))
            fail_msg("'%s' is accepted", bad[i]);
        free(copy);
    }
    int32_t value;
    assert_true(weir_time_parse("06:00:00.5", 10, &value));
    assert_int_equal(value, 21600500);
    assert_false(weir_time_parse("06:00:00Z", 9, &value));
    assert_false(weir_date_parse("2013-01-01T", 11, &value));
    char text[32];
    assert_int_equal(weir_timestamp_print_sql(1357020000123, 0, text), 19);
    assert_memory_equal(text, "2013-01-01 06:00:00", 19);
    assert_int_equal(weir_timestamp_print_sql(1357020000123, 1, text), 21);
    assert_memory_equal(text, "2013-01-01 06:00:00.1", 21);
    assert_int_equal(weir_timestamp_print_iso(-1, text), 24);
    assert_memory_equal(text, "1969-12-31T23:59:59.999Z", 24);
}

static void quantities(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t value; /* -1: refused */
    } durations[] = {
        {"10 s", 10000},
        {"1 d", 86400000},
        {"500ms", 500},
        {"2 min", 120000},
        {"3 h", 10800000},
        {"250", 250},
        {"0", 0},
        {" 7  SECONDS ", 7000},
        {"1500 us", 1},
        {"2000000 ns", 2},
        {"1 hour", 3600000},
        {"2 days", 172800000},
        {"", -1},
        {"s", -1},
        {"-1 s", -1},
        {"1.5 s", -1},
        {"1 sx", -1},
        {"1 s s", -1},
        {"9223372036854775807", INT64_MAX},
        {"9223372036854775808", -1},
        {"9223372036854775807 d", -1},
        {"1 ms sec", -1},
    };
    static const struct {
        const char *text;
        int64_t value;
    } sizes[] = {
        {"64 mb", 64 << 20}, {"1g", 1 << 30},          {"512", 512}, {"2 KB", 2048}, {"1 t", (int64_t)1 << 40},
        {"3 bytes", 3},      {"1 gibibytes", 1 << 30}, {"", -1},     {"mb", -1},     {"1 xb", -1},
        {"9000000 t", -1},
    };
    for (size_t i = 0; i < sizeof durations / sizeof *durations; i++) {
        int64_t value = -1;
        bool ok = weir_duration_parse(durations[i].text, &value);
        if (ok != (durations[i].value >= 0) || value != durations[i].value)
            fail_msg("'%s' gives %lld", durations[i].text, (long long)value);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int64_t value = -1;
        bool ok = weir_size_parse(sizes[i].text, &value);
        if (ok != (sizes[i].value >= 0) || value != sizes[i].value)
            fail_msg("'%s' gives %lld", sizes[i].text, (long long)value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(days_agree_with_gmtime),
        cmocka_unit_test(timestamps_round_trip),
        cmocka_unit_test(timestamp_forms),
        cmocka_unit_test(quantities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
