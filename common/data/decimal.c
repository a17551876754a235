/* Decimals (decimal.h). Pure; called on the data path by expressions, aggregates and formats.
 *
 * What fits 128 bits is computed there; the rest in `wide` numbers, a magnitude of 384 bits beside its sign: the widest
 * intermediate result is the dividend of DECIMAL(38, 0) / DECIMAL(38, 38), 82 digits.
 */
#include "data/decimal.h"

#include <ctype.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "data/schema.h"

#define WORDS 6
#define DIGITS_MAX WEIR_DECIMAL_DIGITS_MAX

typedef weir_uint128 uint128;

static const uint64_t powers[20] = {1,
                                    10,
                                    100,
                                    1000,
                                    10000,
                                    100000,
                                    1000000,
                                    10000000,
                                    100000000,
                                    1000000000,
                                    10000000000,
                                    100000000000,
                                    1000000000000,
                                    10000000000000,
                                    100000000000000,
                                    1000000000000000,
                                    10000000000000000,
                                    100000000000000000,
                                    1000000000000000000,
                                    10000000000000000000u};

static weir_int128 power(int exponent)
{
    weir_assert(exponent >= 0 && exponent <= DIGITS_MAX);
    return exponent <= 19 ? (weir_int128)powers[exponent]
                          : (weir_int128)powers[19] * (weir_int128)powers[exponent - 19];
}

static uint128 magnitude(weir_int128 value)
{
    return value < 0 ? 0 - (uint128)value : (uint128)value;
}

int weir_decimal_digits(weir_int128 value)
{
    uint128 rest = magnitude(value);
    int digits = 1;
    while (digits <= DIGITS_MAX && rest >= (uint128)power(digits))
        digits++;
    return digits;
}

bool weir_decimal_fits(weir_int128 value, int precision)
{
    return magnitude(value) < (uint128)power(precision);
}

/* --- Wide magnitudes, least word first */

struct wide {
    uint64_t w[WORDS];
};

static struct wide wide_of(uint128 value)
{
    struct wide wide = {{(uint64_t)value, (uint64_t)(value >> 64)}};
    return wide;
}

static bool wide_is_small(const struct wide *a)
{
    uint64_t high = 0;
    for (int i = 2; i < WORDS; i++)
        high |= a->w[i];
    return high == 0;
}

/* False: it does not fit. */
static bool wide_times(struct wide *a, uint64_t factor)
{
    uint128 carry = 0;
    for (int i = 0; i < WORDS; i++) {
        carry += (uint128)a->w[i] * factor;
        a->w[i] = (uint64_t)carry;
        carry >>= 64;
    }
    return carry == 0;
}

static bool wide_scale_up(struct wide *a, int digits)
{
    for (; digits > 0; digits -= 19) {
        if (!wide_times(a, powers[digits < 19 ? digits : 19]))
            return false;
    }
    return true;
}

/* Divides; returns the remainder. */
static uint64_t wide_over(struct wide *a, uint64_t divisor)
{
    uint128 rest = 0;
    for (int i = WORDS - 1; i >= 0; i--) {
        rest = rest << 64 | a->w[i];
        a->w[i] = (uint64_t)(rest / divisor);
        rest %= divisor;
    }
    return (uint64_t)rest;
}

static int wide_compare(const struct wide *a, const struct wide *b)
{
    for (int i = WORDS - 1; i >= 0; i--) {
        if (a->w[i] != b->w[i])
            return a->w[i] < b->w[i] ? -1 : 1;
    }
    return 0;
}

static void wide_add(struct wide *a, const struct wide *b)
{
    uint128 carry = 0;
    for (int i = 0; i < WORDS; i++) {
        carry += (uint128)a->w[i] + b->w[i];
        a->w[i] = (uint64_t)carry;
        carry >>= 64;
    }
}

/* b <= a */
static void wide_subtract(struct wide *a, const struct wide *b)
{
    uint64_t borrow = 0;
    for (int i = 0; i < WORDS; i++) {
        uint128 taken = (uint128)b->w[i] + borrow;
        borrow = (uint128)a->w[i] < taken;
        a->w[i] = (uint64_t)(a->w[i] - taken);
    }
}

static struct wide wide_product(uint128 a, uint128 b)
{
    struct wide low = wide_of(a), high = wide_of(a), product = {{0}};
    (void)wide_times(&low, (uint64_t)b);
    (void)wide_times(&high, (uint64_t)(b >> 64));
    memcpy(product.w + 1, high.w, (WORDS - 1) * sizeof *high.w);
    wide_add(&product, &low);
    return product;
}

/* Bit by bit: rare, and the numbers are short. *a becomes the quotient. */
static struct wide wide_divide(struct wide *a, const struct wide *b)
{
    struct wide rest = {{0}}, quotient = {{0}};
    for (int bit = WORDS * 64 - 1; bit >= 0; bit--) {
        for (int i = WORDS - 1; i > 0; i--)
            rest.w[i] = rest.w[i] << 1 | rest.w[i - 1] >> 63;
        rest.w[0] = rest.w[0] << 1 | (a->w[bit / 64] >> (bit % 64) & 1);
        if (wide_compare(&rest, b) >= 0) {
            wide_subtract(&rest, b);
            quotient.w[bit / 64] |= (uint64_t)1 << (bit % 64);
        }
    }
    *a = quotient;
    return rest;
}

/* --- Results */

static bool take_result(bool negative, uint128 value, int precision, weir_int128 *out)
{
    if (value >= (uint128)power(precision))
        return false;
    *out = negative ? -(weir_int128)value : (weir_int128)value;
    return true;
}

/* HALF_UP looks at the first digit that goes and no other. */
static bool wide_result(bool negative, struct wide *value, int scale, int precision, int to_scale, weir_int128 *out)
{
    if (to_scale > scale) {
        if (!wide_scale_up(value, to_scale - scale))
            return false;
    } else if (to_scale < scale) {
        int drop = scale - to_scale - 1;
        for (; drop > 0; drop -= 19)
            (void)wide_over(value, powers[drop < 19 ? drop : 19]);
        if (wide_over(value, 10) >= 5) {
            struct wide one = wide_of(1);
            wide_add(value, &one);
        }
    }
    if (!wide_is_small(value))
        return false;
    return take_result(negative, (uint128)value->w[1] << 64 | value->w[0], precision, out);
}

bool weir_decimal_rescale(weir_int128 value, int scale, int to_precision, int to_scale, weir_int128 *out)
{
    if (scale == to_scale) {
        *out = value;
        return weir_decimal_fits(value, to_precision);
    }
    weir_int128 small;
    if (to_scale > scale && !__builtin_mul_overflow(value, power(to_scale - scale), &small)) {
        *out = small;
        return weir_decimal_fits(small, to_precision);
    }
    struct wide wide = wide_of(magnitude(value));
    return wide_result(value < 0, &wide, scale, to_precision, to_scale, out);
}

bool weir_decimal_add(struct weir_decimal_operand a, struct weir_decimal_operand b, bool subtract, int precision,
                      int scale, weir_int128 *out)
{
    int common = a.scale > b.scale ? a.scale : b.scale;
    weir_int128 x, y, sum;
    if (!__builtin_mul_overflow(a.value, power(common - a.scale), &x) &&
        !__builtin_mul_overflow(b.value, power(common - b.scale), &y) &&
        !(subtract ? __builtin_sub_overflow(x, y, &sum) : __builtin_add_overflow(x, y, &sum)))
        return weir_decimal_rescale(sum, common, precision, scale, out);
    struct wide wide = wide_of(magnitude(a.value)), other = wide_of(magnitude(b.value));
    bool negative = a.value < 0, other_negative = (b.value < 0) != subtract;
    (void)wide_scale_up(&wide, common - a.scale);
    (void)wide_scale_up(&other, common - b.scale);
    if (negative == other_negative) {
        wide_add(&wide, &other);
    } else if (wide_compare(&wide, &other) >= 0) {
        wide_subtract(&wide, &other);
    } else {
        wide_subtract(&other, &wide);
        wide = other;
        negative = other_negative;
    }
    return wide_result(negative, &wide, common, precision, scale, out);
}

bool weir_decimal_multiply(struct weir_decimal_operand a, struct weir_decimal_operand b, int precision, int scale,
                           weir_int128 *out)
{
    weir_int128 product;
    if (!__builtin_mul_overflow(a.value, b.value, &product))
        return weir_decimal_rescale(product, a.scale + b.scale, precision, scale, out);
    struct wide wide = wide_product(magnitude(a.value), magnitude(b.value));
    return wide_result((a.value < 0) != (b.value < 0), &wide, a.scale + b.scale, precision, scale, out);
}

bool weir_decimal_divide(struct weir_decimal_operand a, struct weir_decimal_operand b, int precision, int scale,
                         weir_int128 *out)
{
    /* a.value * 10^up / b.value has `scale` digits behind the point */
    int up = scale - a.scale + b.scale;
    bool negative = (a.value < 0) != (b.value < 0);
    weir_int128 small;
    if (up >= 0 && up <= DIGITS_MAX && !__builtin_mul_overflow(a.value, power(up), &small)) {
        uint128 n = magnitude(small), d = magnitude(b.value), quotient = n / d, rest = n % d;
        return take_result(negative, quotient + (rest >= d - rest), precision, out);
    }
    struct wide n = wide_of(magnitude(a.value)), d = wide_of(magnitude(b.value));
    if (up >= 0 ? !wide_scale_up(&n, up) : !wide_scale_up(&d, -up))
        return false;
    struct wide rest = wide_divide(&n, &d);
    wide_subtract(&d, &rest);
    if (wide_compare(&rest, &d) >= 0) {
        struct wide one = wide_of(1);
        wide_add(&n, &one);
    }
    return wide_result(negative, &n, scale, precision, scale, out);
}

bool weir_decimal_modulo(struct weir_decimal_operand a, struct weir_decimal_operand b, int precision, int scale,
                         weir_int128 *out)
{
    int common = a.scale > b.scale ? a.scale : b.scale;
    weir_int128 x, y;
    if (!__builtin_mul_overflow(a.value, power(common - a.scale), &x) &&
        !__builtin_mul_overflow(b.value, power(common - b.scale), &y))
        return weir_decimal_rescale(y == -1 ? 0 : x % y, common, precision, scale, out);
    struct wide n = wide_of(magnitude(a.value)), d = wide_of(magnitude(b.value));
    (void)wide_scale_up(&n, common - a.scale);
    (void)wide_scale_up(&d, common - b.scale);
    struct wide rest = wide_divide(&n, &d);
    return wide_result(a.value < 0, &rest, common, precision, scale, out);
}

int weir_decimal_compare(struct weir_decimal_operand a, struct weir_decimal_operand b)
{
    if (a.scale == b.scale)
        return (a.value > b.value) - (a.value < b.value);
    int common = a.scale > b.scale ? a.scale : b.scale;
    weir_int128 x, y;
    if (!__builtin_mul_overflow(a.value, power(common - a.scale), &x) &&
        !__builtin_mul_overflow(b.value, power(common - b.scale), &y))
        return (x > y) - (x < y);
    if ((a.value < 0) != (b.value < 0))
        return a.value < 0 ? -1 : 1;
    struct wide m = wide_of(magnitude(a.value)), n = wide_of(magnitude(b.value));
    (void)wide_scale_up(&m, common - a.scale);
    (void)wide_scale_up(&n, common - b.scale);
    return a.value < 0 ? wide_compare(&n, &m) : wide_compare(&m, &n);
}

/* --- Text */

size_t weir_decimal_print(weir_int128 value, int scale, char out[WEIR_DECIMAL_TEXT_SIZE])
{
    char digits[DIGITS_MAX + 2];
    uint128 rest = magnitude(value);
    int count = 0;
    char *p = out;
    while (rest > UINT64_MAX) { /* 19 digits at a time, then in one word */
        uint64_t part = (uint64_t)(rest % powers[19]);
        rest /= powers[19];
        for (int i = 0; i < 19; i++, part /= 10)
            digits[count++] = (char)('0' + part % 10);
    }
    for (uint64_t part = (uint64_t)rest; part > 0; part /= 10)
        digits[count++] = (char)('0' + part % 10);
    while (count <= scale)
        digits[count++] = '0';
    if (value < 0)
        *p++ = '-';
    while (count > 0) {
        if (count == scale)
            *p++ = '.';
        *p++ = digits[--count];
    }
    return (size_t)(p - out);
}

/* The exponent behind 'e', held to what makes a difference. */
static bool take_exponent(const char *p, const char *end, int64_t *exponent)
{
    bool minus = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+'))
        p++;
    if (p == end)
        return false;
    int64_t value = 0;
    for (; p < end; p++) {
        if (!isdigit((unsigned char)*p))
            return false;
        if (value < 1000000000)
            value = value * 10 + (*p - '0');
    }
    *exponent = minus ? -value : value;
    return true;
}

enum weir_decimal_text weir_decimal_parse(const char *text, size_t size, int precision, int scale, weir_int128 *out)
{
    const char *p = text, *end = text + size;
    bool minus = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+'))
        p++;
    const char *first = p;
    int64_t whole = 0, fraction = 0, exponent = 0; /* digits before and behind the point */
    for (; p < end && isdigit((unsigned char)*p); p++)
        whole++;
    if (p < end && *p == '.') {
        for (p++; p < end && isdigit((unsigned char)*p); p++)
            fraction++;
    }
    const char *last = p;
    if (whole + fraction == 0 || (p < end && *p != 'e' && *p != 'E') ||
        (p < end && !take_exponent(p + 1, end, &exponent)))
        return WEIR_DECIMAL_NO_NUMBER;
    /* The digits that are kept are those of a place 10^-scale and higher. */
    int64_t place = whole + exponent; /* the next digit's: so many places before the point end with it */
    uint128 value = 0, limit = (uint128)power(precision);
    bool up = false, lost = false;
    for (p = first; p < last; p++) {
        if (*p == '.')
            continue;
        unsigned digit = (unsigned)(*p - '0');
        place--; /* this digit counts 10^place */
        if (place >= -(int64_t)scale) {
            value = value * 10 + digit;
            if (value >= limit)
                return WEIR_DECIMAL_OVERFLOW;
        } else {
            up |= place == -(int64_t)scale - 1 && digit >= 5;
            lost |= digit != 0;
        }
    }
    for (; value > 0 && place > -(int64_t)scale; place--) {
        value *= 10;
        if (value >= limit)
            return WEIR_DECIMAL_OVERFLOW;
    }
    value += up;
    if (!take_result(minus, value, precision, out))
        return WEIR_DECIMAL_OVERFLOW;
    return lost ? WEIR_DECIMAL_ROUNDED : WEIR_DECIMAL_EXACT;
}

/* --- Floating */

double weir_decimal_to_double(weir_int128 value, int scale)
{
    static const double exact[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                   1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    if (scale <= 22 && magnitude(value) <= (uint128)1 << 53) /* both are exact: one rounding */
        return (double)(int64_t)value / exact[scale];
    char text[WEIR_DECIMAL_TEXT_SIZE + 1];
    text[weir_decimal_print(value, scale, text)] = '\0';
    return strtod(text, NULL);
}

enum weir_decimal_text weir_decimal_from_double(double number, bool single, int precision, int scale, weir_int128 *out)
{
    char text[64];
    if (!isfinite(number))
        return WEIR_DECIMAL_NO_NUMBER;
    for (int digits = single ? 6 : 15;; digits++) {
        snprintf(text, sizeof text, "%.*e", digits - 1, number);
        if (digits == (single ? 9 : 17) ||
            (single ? strtof(text, NULL) == (float)number : strtod(text, NULL) == number))
            break;
    }
    return weir_decimal_parse(text, strlen(text), precision, scale, out);
}
