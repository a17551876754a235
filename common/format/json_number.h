/* JSON's numbers: their grammar, and exact conversion to the columns' types. For the two readers of this folder. */
#ifndef WEIR_FORMAT_JSON_NUMBER_H
#define WEIR_FORMAT_JSON_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/simdjson_shim.h"

struct weir_json_number {
    uint64_t mantissa; /* all digits; meaningless when there are more than 19 */
    int32_t exponent;  /* of 10 */
    int32_t digits;
    bool negative;
    bool whole; /* no point, no exponent */
    const uint8_t *end;
};

/* JSON's grammar of numbers. False: none. */
static inline bool weir_json_take_number(const uint8_t *v, struct weir_json_number *number)
{
    const uint8_t *p = v;
    bool negative = *p == '-';
    p += negative;
    const uint8_t *start = p;
    uint64_t mantissa = 0;
    unsigned digit;
    while ((digit = (unsigned)*p - '0') <= 9) {
        mantissa = mantissa * 10 + digit;
        p++;
    }
    ptrdiff_t digits = p - start;
    if (digits == 0 || (*start == '0' && digits > 1))
        return false;
    int64_t exponent = 0;
    bool whole = true;
    if (*p == '.') {
        whole = false;
        start = ++p;
        while ((digit = (unsigned)*p - '0') <= 9) {
            mantissa = mantissa * 10 + digit;
            p++;
        }
        if (p == start)
            return false;
        exponent = start - p;
        digits += p - start;
    }
    if (*p == 'e' || *p == 'E') {
        whole = false;
        p++;
        bool minus = *p == '-';
        p += minus || *p == '+';
        start = p;
        int64_t written = 0;
        while ((digit = (unsigned)*p - '0') <= 9) {
            if (written < 1000000)
                written = written * 10 + digit;
            p++;
        }
        if (p == start)
            return false;
        exponent += minus ? -written : written;
    }
    number->mantissa = mantissa;
    number->exponent = exponent < -1000000 ? -1000000 : (int32_t)exponent;
    number->digits = digits > 1000000 ? 1000000 : (int32_t)digits;
    number->negative = negative;
    number->whole = whole;
    number->end = p;
    return true;
}

static const double weir_powers_of_10[23] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                             1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* Exact in one rounding when mantissa and power are both exact doubles (W. Clinger); else the library. */
static inline bool weir_json_number_to_double(const uint8_t *v, const struct weir_json_number *number, double *value)
{
    if (number->digits <= 19 && number->mantissa <= (uint64_t)1 << 53 && number->exponent >= -22 &&
        number->exponent <= 22) {
        double exact = (double)number->mantissa;
        exact = number->exponent < 0 ? exact / weir_powers_of_10[-number->exponent]
                                     : exact * weir_powers_of_10[number->exponent];
        *value = number->negative ? -exact : exact;
        return true;
    }
    return weir_double_parse((const char *)v, (size_t)(number->end - v), value);
}

static inline bool weir_json_number_to_float(const uint8_t *v, const struct weir_json_number *number, float *value)
{
    if (number->digits <= 19 && number->mantissa <= (uint64_t)1 << 24 && number->exponent >= -10 &&
        number->exponent <= 10) {
        float exact = (float)number->mantissa;
        exact = number->exponent < 0 ? exact / (float)weir_powers_of_10[-number->exponent]
                                     : exact * (float)weir_powers_of_10[number->exponent];
        *value = number->negative ? -exact : exact;
        return true;
    }
    return weir_float_parse((const char *)v, (size_t)(number->end - v), value);
}

/* A whole number in [-limit - 1, limit]. */
static inline bool weir_json_number_to_int(const struct weir_json_number *number, int64_t limit, int64_t *value)
{
    if (!number->whole || number->digits > 19 || number->mantissa > (uint64_t)limit + number->negative)
        return false;
    *value = (int64_t)(number->negative ? 0 - number->mantissa : number->mantissa);
    return true;
}

#endif
