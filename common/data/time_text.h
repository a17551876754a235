/* Dates, times, timestamps, durations and sizes as text. Proleptic Gregorian calendar, years 0001 to 9999. */
#ifndef WEIR_DATA_TIME_TEXT_H
#define WEIR_DATA_TIME_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* "2013-01-01T06:00:00Z", "2013-01-01 06:00:00.123", "2013-01-01T06:00:00+01:00", "2013-01-01" -> ms since the epoch, UTC.
 * More than 3 digits of a second are cut. False: not a timestamp (nothing may follow it). */
bool weir_timestamp_parse(const char *text, size_t size, int64_t *ms);
/* "2013-01-01T06:00:00Z", with ".123" when ms are not 0; returns the size (at most 32, no terminator needed). */
size_t weir_timestamp_print_iso(int64_t ms, char out[32]);
/* "2013-01-01 06:00:00.123": Flink's string form with `precision` digits. */
size_t weir_timestamp_print_sql(int64_t ms, int precision, char out[32]);
bool weir_date_parse(const char *text, size_t size, int32_t *days);
size_t weir_date_print(int32_t days, char out[16]);
bool weir_time_parse(const char *text, size_t size, int32_t *ms); /* "06:00:00[.123]" */
size_t weir_time_print(int32_t ms, int precision, char out[16]);

int64_t weir_days_from_civil(int64_t year, unsigned month, unsigned day);
void weir_civil_from_days(int64_t days, int64_t *year, unsigned *month, unsigned *day);

/* "10 s", "1 d", "500ms", "2 min", "3 h": Flink's duration units (ns us ms s min h d and their long names); a bare number is ms.
 * False on overflow or rubbish. */
bool weir_duration_parse(const char *text, int64_t *ms);
/* "64 mb", "1g", "512": Flink's memory units, powers of 1024; a bare number is bytes. */
bool weir_size_parse(const char *text, int64_t *bytes);

#endif
