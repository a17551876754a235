/* Functions over numbers that are more than one call of libm. Results have the type of the argument where the table says
 * so: integers come in value.i and are narrowed (wrapping) when they are stored. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "data/decimal.h"
#include "data/schema.h"
#include "expr/functions_int.h"

static bool is_floating(const struct call *call)
{
    return call->def->arg_type == WEIR_TYPE_DOUBLE || call->def->arg_type == WEIR_TYPE_FLOAT;
}

double math_cot(double x)
{
    return 1.0 / tan(x);
}
double math_degrees(double x)
{
    return x * (180.0 / M_PI);
}
double math_radians(double x)
{
    return x * (M_PI / 180.0);
}

static bool is_decimal(const struct call *call)
{
    return call->def->arg_type == WEIR_TYPE_DECIMAL;
}

/* The number as DECIMAL of the result's type; NULL: it has more digits. */
static enum fn_result give_decimal(const struct call *call, weir_int128 value, int scale, struct value *out)
{
    weir_int128 made;
    if (!weir_decimal_rescale(value, scale, call->def->out_type.precision, call->def->out_type.scale, &made))
        return FN_NULL;
    out->dec = weir_decimal_make(made);
    return FN_OK;
}

/* A DECIMAL without what is behind the point: up, down, or towards zero (0). */
static weir_int128 whole_of(const struct call *call, const struct value *a, int direction)
{
    weir_int128 value = weir_decimal_get(a->dec), unit = 1;
    for (int i = 0; i < call->def->in_type.scale; i++)
        unit *= 10;
    weir_int128 rest = value % unit;
    return value / unit + (direction > 0 && rest > 0) - (direction < 0 && rest < 0);
}

ROW_FN(fn_abs)
{
    if (is_decimal(call)) {
        weir_int128 value = weir_decimal_get(a->dec);
        out->dec = weir_decimal_make(value < 0 ? -value : value);
    } else if (is_floating(call))
        out->d = fabs(a->d);
    else
        out->i = a->i < 0 ? (int64_t)(0 - (uint64_t)a->i) : a->i;
    return FN_OK;
}
ROW_FN(fn_ceil)
{
    if (is_decimal(call))
        return give_decimal(call, whole_of(call, a, 1), 0, out);
    if (is_floating(call))
        out->d = ceil(a->d);
    else
        out->i = a->i;
    return FN_OK;
}
ROW_FN(fn_floor)
{
    if (is_decimal(call))
        return give_decimal(call, whole_of(call, a, -1), 0, out);
    if (is_floating(call))
        out->d = floor(a->d);
    else
        out->i = a->i;
    return FN_OK;
}
ROW_FN(fn_sign)
{
    if (is_decimal(call)) {
        weir_int128 value = weir_decimal_get(a->dec);
        return give_decimal(call, (value > 0) - (value < 0), 0, out);
    }
    if (is_floating(call))
        out->d = a->d > 0 ? 1 : a->d < 0 ? -1 : a->d; /* keeps NaN and the zeros */
    else
        out->i = (a->i > 0) - (a->i < 0);
    return FN_OK;
}

/* --- ROUND and TRUNCATE: of the decimal text of the number, as Flink's BigDecimal does it (2.675 to 2 places is 2.68) */

static double decimal_cut(double d, int digits, bool is_float, bool round)
{
    char text[40], *point;
    size_t n = expr_print_double(fabs(d), is_float, text);
    text[n] = '\0';
    char *e = strchr(text, 'E');
    int exponent = e ? atoi(e + 1) : 0, count = 0;
    char plain[48];
    if (e)
        *e = '\0';
    point = strchr(text, '.');
    int whole = (int)(point - text) + exponent; /* digits before the point */
    for (char *p = text; *p; p++) {
        if (*p != '.')
            plain[count++] = *p;
    }
    int keep = whole + digits;
    if (keep >= count)
        return d;
    if (keep < 0)
        return 0;
    bool up = round && plain[keep] >= '5';
    char made[64];
    int size = 0;
    made[size++] = '0';
    for (int i = 0; i < keep; i++)
        made[size++] = plain[i];
    for (int i = size - 1; up && i >= 0; i--) {
        up = made[i] == '9';
        made[i] = up ? '0' : (char)(made[i] + 1);
    }
    snprintf(made + size, sizeof made - (size_t)size, "e%d", -digits);
    double result = is_float ? (double)strtof(made, NULL) : strtod(made, NULL);
    return d < 0 ? -result : result;
}

static double cut_double(double d, int64_t digits64, bool is_float, bool round)
{
    int digits = digits64 > 400 ? 400 : digits64 < -400 ? -400 : (int)digits64;
    if (!isfinite(d) || d == 0)
        return d;
    if (digits >= 0 && digits <= 15 && !is_float) { /* exact unless the number is close to a half or a whole */
        static const double powers[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                        1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
        double scaled = fabs(d) * powers[digits];
        if (scaled < 1e15) {
            double below = floor(scaled), rest = scaled - below, slack = scaled * 1e-15 + 1e-9;
            bool clear = round ? fabs(rest - 0.5) > slack : rest > slack && rest < 1 - slack;
            if (clear) {
                double result = (round && rest > 0.5 ? below + 1 : below) / powers[digits];
                return d < 0 ? -result : result;
            }
        }
    }
    return decimal_cut(d, digits, is_float, round);
}

static int64_t cut_integer(int64_t i, int64_t digits, bool round)
{
    if (digits >= 0)
        return i;
    if (digits < -18)
        return 0;
    int64_t unit = 1;
    while (digits++ < 0)
        unit *= 10;
    int64_t rest = i % unit, base = i - rest;
    if (round && llabs(rest) * 2 >= unit)
        base = (int64_t)((uint64_t)base + (uint64_t)(i < 0 ? -unit : unit));
    return base;
}

static enum fn_result cut_decimal(struct call *call, const struct value *a, int64_t digits, struct value *out,
                                  bool round)
{
    int scale = call->def->in_type.scale;
    weir_int128 value = weir_decimal_get(a->dec), unit = 1;
    if (digits >= scale)
        return give_decimal(call, value, scale, out);
    if (scale - digits > WEIR_DECIMAL_DIGITS_MAX)
        return give_decimal(call, 0, 0, out);
    for (int64_t i = digits; i < scale; i++)
        unit *= 10;
    weir_int128 rest = value % unit, half = unit / 2;
    value -= rest;
    if (round && (rest >= half || -rest >= half))
        value += rest < 0 ? -unit : unit;
    return give_decimal(call, value, scale, out);
}

static enum fn_result cut(struct call *call, const struct value *a, struct value *out, bool round)
{
    int64_t digits = call->arg_count > 1 ? a[1].i : 0;
    if (is_decimal(call))
        return cut_decimal(call, a, digits, out, round);
    if (is_floating(call))
        out->d = cut_double(a->d, digits, call->def->arg_type == WEIR_TYPE_FLOAT, round);
    else
        out->i = cut_integer(a->i, digits, round);
    return FN_OK;
}
ROW_FN(fn_round)
{
    return cut(call, a, out, true);
}
ROW_FN(fn_truncate)
{
    return cut(call, a, out, false);
}

/* --- Others */

ROW_FN(fn_power)
{
    (void)call;
    out->d = pow(a[0].d, a[1].d);
    return FN_OK;
}
ROW_FN(fn_atan2)
{
    (void)call;
    out->d = atan2(a[0].d, a[1].d);
    return FN_OK;
}
ROW_FN(fn_log)
{
    double x = a[call->arg_count - 1].d, base = call->arg_count > 1 ? a[0].d : M_E;
    if (!(x > 0) || !(base > 0)) {
        snprintf(call->why, sizeof call->why, "LOG needs numbers above 0");
        return FN_FAIL;
    }
    out->d = call->arg_count > 1 ? log(x) / log(base) : log(x);
    return FN_OK;
}
ROW_FN(fn_pi)
{
    (void)call;
    (void)a;
    out->d = M_PI;
    return FN_OK;
}
ROW_FN(fn_e)
{
    (void)call;
    (void)a;
    out->d = M_E;
    return FN_OK;
}

static enum fn_result extreme(struct call *call, const struct value *a, struct value *out, int sign)
{
    enum phys phys = expr_phys(call->def->arg_type);
    const struct value *best = a;
    for (int i = 1; i < call->arg_count; i++) {
        if (expr_value_compare(phys, &a[i], best) * sign > 0)
            best = &a[i];
    }
    *out = *best;
    return FN_OK;
}
ROW_FN(fn_greatest)
{
    return extreme(call, a, out, 1);
}
ROW_FN(fn_least)
{
    return extreme(call, a, out, -1);
}
