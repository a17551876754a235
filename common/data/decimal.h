/* DECIMAL(precision, scale): arithmetic on unscaled 128-bit numbers, and their text.
 *
 * A value is the number times 10^scale. It has at most `precision` (1 to 38) digits, so that any fits 127 bits. Results are
 * rounded HALF_UP to the wanted scale, as Java's BigDecimal does; a function is false when the result has more digits than the
 * wanted precision (SQL's NULL). Intermediate results are as wide as they need be. All are total and pure.
 */
#ifndef WEIR_DATA_DECIMAL_H
#define WEIR_DATA_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>

#include "weir/decimal.h"

#define WEIR_DECIMAL_TEXT_SIZE 48 /* sign, 38 digits, point, zero before it */

/* Digits of a value, at least 1. */
int weir_decimal_digits(weir_int128 value);
bool weir_decimal_fits(weir_int128 value, int precision);
bool weir_decimal_rescale(weir_int128 value, int scale, int to_precision, int to_scale, weir_int128 *out);

struct weir_decimal_operand {
    weir_int128 value;
    int scale;
};
bool weir_decimal_add(struct weir_decimal_operand a, struct weir_decimal_operand b, bool subtract, int precision,
                      int scale, weir_int128 *out);
bool weir_decimal_multiply(struct weir_decimal_operand a, struct weir_decimal_operand b, int precision, int scale,
                           weir_int128 *out);
/* b is not zero. */
bool weir_decimal_divide(struct weir_decimal_operand a, struct weir_decimal_operand b, int precision, int scale,
                         weir_int128 *out);
bool weir_decimal_modulo(struct weir_decimal_operand a, struct weir_decimal_operand b, int precision, int scale,
                         weir_int128 *out);
int weir_decimal_compare(struct weir_decimal_operand a, struct weir_decimal_operand b); /* < 0, 0, > 0 */

/* "-12.34", digits always before the point and `scale` of them behind it; no NUL. Returns its size. */
size_t weir_decimal_print(weir_int128 value, int scale, char out[WEIR_DECIMAL_TEXT_SIZE]);
enum weir_decimal_text {
    WEIR_DECIMAL_EXACT,
    WEIR_DECIMAL_ROUNDED, /* digits behind `scale` that are not zero were rounded away */
    WEIR_DECIMAL_OVERFLOW,
    WEIR_DECIMAL_NO_NUMBER
};
/* [+-]digits[.digits][e[+-]digits], nothing around it. */
enum weir_decimal_text weir_decimal_parse(const char *text, size_t size, int precision, int scale, weir_int128 *out);
double weir_decimal_to_double(weir_int128 value, int scale); /* the nearest */
/* Of the shortest text that stands for the number; `single`: it is a FLOAT. NO_NUMBER: NaN, infinities. */
enum weir_decimal_text weir_decimal_from_double(double number, bool single, int precision, int scale, weir_int128 *out);

#endif
