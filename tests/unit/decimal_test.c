/* Decimals: text, rounding, and arithmetic against a model that counts in digits, as wide as it takes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "data/decimal.h"
#include "unit/data_random.h"

static weir_int128 number(const char *text, int scale)
{
    weir_int128 value;
    assert_int_equal(weir_decimal_parse(text, strlen(text), 38, scale, &value), WEIR_DECIMAL_EXACT);
    return value;
}

static void expect_text(weir_int128 value, int scale, const char *expected)
{
    char text[WEIR_DECIMAL_TEXT_SIZE + 1];
    text[weir_decimal_print(value, scale, text)] = '\0';
    assert_string_equal(text, expected);
}

static void text_and_back(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int precision, scale;
        enum weir_decimal_text result;
        const char *printed;
    } cases[] = {
        {"0", 1, 0, WEIR_DECIMAL_EXACT, "0"},
        {"-0.00", 5, 2, WEIR_DECIMAL_EXACT, "0.00"},
        {"+12.5", 5, 2, WEIR_DECIMAL_EXACT, "12.50"},
        {"999.99", 5, 2, WEIR_DECIMAL_EXACT, "999.99"},
        {"999.994", 5, 2, WEIR_DECIMAL_ROUNDED, "999.99"},
        {"999.995", 5, 2, WEIR_DECIMAL_OVERFLOW, NULL},
        {"-0.005", 5, 2, WEIR_DECIMAL_ROUNDED, "-0.01"},
        {"0.0049999", 5, 2, WEIR_DECIMAL_ROUNDED, "0.00"},
        {"1000", 5, 2, WEIR_DECIMAL_OVERFLOW, NULL},
        {"00000000000000000000000000000000000000000001", 5, 2, WEIR_DECIMAL_EXACT, "1.00"},
        {"1.", 5, 2, WEIR_DECIMAL_EXACT, "1.00"},
        {".5", 5, 2, WEIR_DECIMAL_EXACT, "0.50"},
        {"1e2", 5, 2, WEIR_DECIMAL_EXACT, "100.00"},
        {"1E-2", 5, 2, WEIR_DECIMAL_EXACT, "0.01"},
        {"123e-400", 5, 2, WEIR_DECIMAL_ROUNDED, "0.00"},
        {"0e999999999999", 5, 2, WEIR_DECIMAL_EXACT, "0.00"},
        {"1e999999999999", 5, 2, WEIR_DECIMAL_OVERFLOW, NULL},
        {"99999999999999999999999999999999999999", 38, 0, WEIR_DECIMAL_EXACT, "99999999999999999999999999999999999999"},
        {"100000000000000000000000000000000000000", 38, 0, WEIR_DECIMAL_OVERFLOW, NULL},
        {"-0.99999999999999999999999999999999999999", 38, 38, WEIR_DECIMAL_EXACT,
         "-0.99999999999999999999999999999999999999"},
        {"", 5, 2, WEIR_DECIMAL_NO_NUMBER, NULL},
        {"-", 5, 2, WEIR_DECIMAL_NO_NUMBER, NULL},
        {".", 5, 2, WEIR_DECIMAL_NO_NUMBER, NULL},
        {"1e", 5, 2, WEIR_DECIMAL_NO_NUMBER, NULL},
        {"1 ", 5, 2, WEIR_DECIMAL_NO_NUMBER, NULL},
        {"NaN", 5, 2, WEIR_DECIMAL_NO_NUMBER, NULL},
        {"1.2.3", 5, 2, WEIR_DECIMAL_NO_NUMBER, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        weir_int128 value = 77;
        enum weir_decimal_text result =
            weir_decimal_parse(cases[i].text, strlen(cases[i].text), cases[i].precision, cases[i].scale, &value);
        if (result != cases[i].result)
            fail_msg("'%s' gives %d", cases[i].text, (int)result);
        if (cases[i].printed)
            expect_text(value, cases[i].scale, cases[i].printed);
    }
    assert_int_equal(weir_decimal_digits(0), 1);
    assert_int_equal(weir_decimal_digits(-999), 3);
    assert_int_equal(weir_decimal_digits(number("99999999999999999999999999999999999999", 0)), 38);
}

/* --- Exact sums and products, as text of up to 100 digits: every result is checked by multiplying out. */

#define DIGITS 120
struct big {
    int digit[DIGITS]; /* least first */
};
static struct big big_of(weir_int128 value)
{
    struct big big = {{0}};
    weir_uint128 rest = value < 0 ? 0 - (weir_uint128)value : (weir_uint128)value;
    for (int i = 0; rest; i++, rest /= 10)
        big.digit[i] = (int)(rest % 10);
    return big;
}
static struct big big_shift(struct big a, int by)
{
    struct big out = {{0}};
    for (int i = 0; i < DIGITS; i++) {
        if (i - by >= 0 && i - by < DIGITS)
            out.digit[i] = a.digit[i - by];
    }
    return out;
}
static struct big big_add(struct big a, struct big b, int sign)
{
    int carry = 0;
    for (int i = 0; i < DIGITS; i++) {
        int digit = a.digit[i] + sign * b.digit[i] + carry;
        carry = digit < 0 ? -1 : digit / 10;
        a.digit[i] = (digit + 10) % 10;
    }
    return a;
}
static struct big big_multiply(struct big a, struct big b)
{
    struct big out = {{0}};
    for (int i = 0; i < DIGITS; i++) {
        for (int k = 0; k < b.digit[i]; k++)
            out = big_add(out, big_shift(a, i), 1);
    }
    return out;
}
static int big_compare(const struct big *a, const struct big *b)
{
    for (int i = DIGITS - 1; i >= 0; i--) {
        if (a->digit[i] != b->digit[i])
            return a->digit[i] < b->digit[i] ? -1 : 1;
    }
    return 0;
}

static weir_int128 random_decimal(struct random *random)
{
    int digits = 1 + random_below(random, 38);
    weir_int128 value = 0;
    for (int i = 0; i < digits; i++)
        value = value * 10 + random_below(random, 10);
    return random_below(random, 2) ? value : -value;
}

/* |exact| * 10^-from as the result at `scale`: is `got` within half of its last digit, and NULL only where it must be? */
static void check_result(struct big exact, int from, bool fits, weir_int128 got, int precision, int scale)
{
    struct big twice_unit = big_of(1), doubled = big_add(exact, exact, 1), result = big_of(got);
    if (from > scale)
        twice_unit = big_shift(twice_unit, from - scale);
    else
        doubled = big_shift(doubled, scale - from);
    if (!fits) { /* exact * 2 + unit >= 2 * 10^precision * unit */
        struct big limit =
            big_multiply(twice_unit, big_add(big_shift(big_of(1), precision), big_shift(big_of(1), precision), 1));
        doubled = big_add(doubled, twice_unit, 1);
        assert_true(big_compare(&doubled, &limit) >= 0);
        return;
    }
    /* 2 * result - 1 <= 2 * exact / unit < 2 * result + 1 */
    struct big low = big_multiply(twice_unit, big_add(result, result, 1));
    struct big high = big_add(low, twice_unit, 1);
    assert_true(big_compare(&doubled, &high) < 0);
    doubled = big_add(doubled, twice_unit, 1);
    assert_true(big_compare(&low, &doubled) <= 0);
    assert_true(weir_decimal_fits(got, precision));
}

static void results_are_exact_and_rounded(void **state)
{
    (void)state;
    struct random random = {11};
    int nulls = 0, values = 0;
    for (int i = 0; i < 3000; i++) {
        struct weir_decimal_operand a = {random_decimal(&random), random_below(&random, 39)},
                                    b = {random_decimal(&random), random_below(&random, 39)};
        int precision = 20 + random_below(&random, 19), scale = random_below(&random, precision + 1);
        weir_int128 got = 0;
        bool fits = weir_decimal_multiply(a, b, precision, scale, &got);
        check_result(big_multiply(big_of(a.value), big_of(b.value)), a.scale + b.scale, fits, got, precision, scale);
        int common = a.scale > b.scale ? a.scale : b.scale;
        struct big x = big_shift(big_of(a.value), common - a.scale), y = big_shift(big_of(b.value), common - b.scale);
        bool same_sign = (a.value < 0) == (b.value < 0);
        int order = big_compare(&x, &y);
        struct big sum = same_sign ? big_add(x, y, 1) : order >= 0 ? big_add(x, y, -1) : big_add(y, x, -1);
        got = 0;
        fits = weir_decimal_add(a, b, false, precision, scale, &got);
        check_result(sum, common, fits, got, precision, scale);
        *(fits ? &values : &nulls) += 1;
        int signed_order = same_sign                                    ? (a.value < 0 ? -order : order)
                           : order == 0 && a.value == 0 && b.value == 0 ? 0
                           : a.value < b.value                          ? -1
                                                                        : 1;
        if (a.value == 0 || b.value == 0)
            signed_order = (a.value > b.value) - (a.value < b.value);
        assert_int_equal(weir_decimal_compare(a, b), signed_order);
        got = 0;
        if (weir_decimal_rescale(a.value, a.scale, precision, scale, &got))
            check_result(big_of(a.value), a.scale, true, got, precision, scale);
        if (b.value == 0)
            continue;
        /* The remainder is smaller than b, has a's sign, and a - remainder is a multiple of b. */
        if (weir_decimal_modulo(a, b, 38, common, &got)) {
            struct big rest = big_of(got);
            assert_true(big_compare(&rest, &y) < 0);
            assert_true(got == 0 || (got < 0) == (a.value < 0));
        }
    }
    assert_true(nulls > 100 && values > 100);
}

static void division(void **state)
{
    (void)state;
    static const struct {
        const char *a;
        int a_scale;
        const char *b;
        int b_scale, precision, scale;
        const char *result;
    } cases[] = {
        {"1", 0, "3", 0, 38, 10, "0.3333333333"},
        {"2", 0, "3", 0, 38, 10, "0.6666666667"},
        {"-2", 0, "3", 0, 38, 10, "-0.6666666667"},
        {"1.00", 2, "8", 0, 10, 2, "0.13"},
        {"1514356320000", 0, "6", 0, 30, 11, "252392720000.00000000000"},
        {"99999999999999999999999999999999999999", 0, "99999999999999999999999999999999999998", 0, 38, 6, "1.000000"},
        {"99999999999999999999999999999999999999", 0, "0.99999999999999999999999999999999999999", 38, 38, 0,
         "100000000000000000000000000000000000000"},
        {"1", 0, "0.00000000000000000000000000000000000001", 38, 38, 6, NULL},
        {"5", 0, "99999999999999999999999999999999999999", 0, 38, 38, "0.00000000000000000000000000000000000005"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct weir_decimal_operand a = {number(cases[i].a, cases[i].a_scale), cases[i].a_scale},
                                    b = {number(cases[i].b, cases[i].b_scale), cases[i].b_scale};
        weir_int128 got = 0;
        bool fits = weir_decimal_divide(a, b, cases[i].precision, cases[i].scale, &got);
        bool wanted = cases[i].result && strlen(cases[i].result) < 39 + (size_t)(cases[i].scale ? 2 : 0);
        if (fits != wanted)
            fail_msg("%s / %s", cases[i].a, cases[i].b);
        if (wanted)
            expect_text(got, cases[i].scale, cases[i].result);
    }
}

static void floating(void **state)
{
    (void)state;
    weir_int128 value;
    assert_int_equal(weir_decimal_from_double(0.1, false, 10, 3, &value), WEIR_DECIMAL_EXACT);
    expect_text(value, 3, "0.100");
    assert_int_equal(weir_decimal_from_double((double)-12.345f, true, 5, 3, &value), WEIR_DECIMAL_EXACT);
    expect_text(value, 3, "-12.345");
    assert_int_equal(weir_decimal_from_double(1e300, false, 38, 3, &value), WEIR_DECIMAL_OVERFLOW);
    assert_int_equal(weir_decimal_from_double(NAN, false, 38, 3, &value), WEIR_DECIMAL_NO_NUMBER);
    assert_int_equal(weir_decimal_from_double(-INFINITY, false, 38, 3, &value), WEIR_DECIMAL_NO_NUMBER);
    assert_true(weir_decimal_to_double(number("123456789.123456789123456789", 18), 18) == 123456789.123456789123456789);
    assert_true(weir_decimal_to_double(-15, 1) == -1.5);
    struct random random = {12};
    for (int i = 0; i < 2000; i++) {
        weir_int128 d = random_decimal(&random);
        int scale = random_below(&random, 39);
        char text[WEIR_DECIMAL_TEXT_SIZE + 1];
        text[weir_decimal_print(d, scale, text)] = '\0';
        assert_true(weir_decimal_to_double(d, scale) == strtod(text, NULL));
        assert_int_equal(weir_decimal_parse(text, strlen(text), 38, scale, &value), WEIR_DECIMAL_EXACT);
        assert_true(value == d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_and_back),
        cmocka_unit_test(results_are_exact_and_rounded),
        cmocka_unit_test(division),
        cmocka_unit_test(floating),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
