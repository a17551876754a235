/* Code that only some processors run, beside its portable twin on the same random columns: the same bits. (A NaN is a NaN: which of two
 * operands' it is, is the compiler's choice.) What the processor cannot run is skipped by its name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "data_random.h"
#include "expr/kernels.h"

#define ROWS_MAX 333
#define ROUNDS 40
static const int widths[KERNEL_TYPES] = {1, 2, 4, 8, 4, 8};
enum { TYPE_F32 = 4, TYPE_F64 = 5 };

static const struct kernels *special(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        return &kernels_avx2;
#endif
    return NULL;
}

static void fill(struct random *random, int type, void *column)
{
    static const double odd[] = {0.0,    -0.0,    INFINITY, -INFINITY, NAN, 1e300, -1e300,
                                 0x1p31, -0x1p31, 0x1p63,   -0x1p63,   0.5, -0.5};
    for (int i = 0; i < ROWS_MAX; i++) {
        uint64_t bits = random_next(random);
        if (random_below(random, 4) == 0) /* 0, -1, and the ends of the types' ranges */
            bits = (uint64_t)(int64_t)(random_below(random, 3) - 1) ^ (random_below(random, 2) ? INT64_MAX : 0);
        double number = random_below(random, 3) == 0
                            ? odd[random_below(random, (int)(sizeof odd / sizeof *odd))]
                            : (double)(int64_t)bits / (double)(1 + random_below(random, 1 << 20));
        float narrow = (float)number;
        char *at = (char *)column + i * widths[type];
        memcpy(at,
               type == TYPE_F32   ? (const void *)&narrow
               : type == TYPE_F64 ? (const void *)&number
                                  : &bits,
               (size_t)widths[type]);
    }
}

static void assert_same(int type, const void *a, const void *b, int count, const char *what, int row, int column)
{
    for (int i = 0; i < count; i++) {
        const char *x = (const char *)a + i * widths[type], *y = (const char *)b + i * widths[type];
        float fx, fy;
        double dx, dy;
        if (memcmp(x, y, (size_t)widths[type]) == 0)
            continue;
        if (type == TYPE_F32) {
            memcpy(&fx, x, sizeof fx), memcpy(&fy, y, sizeof fy);
            dx = fx, dy = fy;
        } else if (type == TYPE_F64) {
            memcpy(&dx, x, sizeof dx), memcpy(&dy, y, sizeof dy);
        } else {
            dx = dy = 0;
        }
        if (!isnan(dx) || !isnan(dy))
            fail_msg("%s[%d][%d]: row %d of %d differs", what, row, column, i, count);
    }
}

struct columns {
    uint64_t a[ROWS_MAX], b[ROWS_MAX], first[ROWS_MAX + 64], second[ROWS_MAX + 64];
};

static void arithmetic(void **state)
{
    const struct kernels *x = &kernels_portable, *y = *state;
    static struct columns c;
    struct random random = {1};
    for (int round = 0; round < ROUNDS; round++)
        for (int op = 0; op < 4; op++)
            for (int type = 0; type < KERNEL_TYPES; type++)
                for (int shape = 0; shape < 3; shape++) {
                    int count = random_below(&random, ROWS_MAX + 1);
                    assert_int_equal(!x->arith[op][type][shape], !y->arith[op][type][shape]);
                    if (!x->arith[op][type][shape])
                        continue;
                    fill(&random, type, c.a), fill(&random, type, c.b);
                    x->arith[op][type][shape](c.first, c.a, c.b, count);
                    y->arith[op][type][shape](c.second, c.a, c.b, count);
                    assert_same(type, c.first, c.second, count, "arith", op, type);
                }
}

static void conversion(void **state)
{
    const struct kernels *x = &kernels_portable, *y = *state;
    static struct columns c;
    struct random random = {2};
    for (int round = 0; round < ROUNDS; round++)
        for (int from = 0; from < KERNEL_TYPES; from++)
            for (int to = 0; to < KERNEL_TYPES; to++) {
                int count = random_below(&random, ROWS_MAX + 1);
                assert_int_equal(!x->convert[from][to], !y->convert[from][to]);
                if (!x->convert[from][to])
                    continue;
                fill(&random, from, c.a);
                x->convert[from][to](c.first, c.a, count);
                y->convert[from][to](c.second, c.a, count);
                assert_same(to, c.first, c.second, count, "convert", from, to);
            }
}

static void comparison(void **state)
{
    const struct kernels *x = &kernels_portable, *y = *state;
    static struct columns c;
    struct random random = {3};
    for (int round = 0; round < ROUNDS; round++)
        for (int op = 0; op < 6; op++)
            for (int type = 0; type < KERNEL_TYPES; type++)
                for (int shape = 0; shape < 2; shape++) {
                    int count = random_below(&random, ROWS_MAX + 1);
                    fill(&random, type, c.a), fill(&random, type, c.b);
                    if (random_below(&random, 2)) /* many equal ones */
                        memcpy(c.b, c.a, sizeof c.b / 2);
                    x->compare[op][type][shape](c.first, c.a, c.b, count);
                    y->compare[op][type][shape](c.second, c.a, c.b, count);
                    for (int i = 0; i < count; i++)
                        if ((c.first[i / 64] ^ c.second[i / 64]) >> (i % 64) & 1)
                            fail_msg("compare[%d][%d][%d]: row %d of %d differs", op, type, shape, i, count);
                }
}

static void choice_and_bits(void **state)
{
    const struct kernels *x = &kernels_portable, *y = *state;
    static struct columns c;
    static uint64_t mask[ROWS_MAX / 64 + 1];
    struct random random = {4};
    for (int round = 0; round < ROUNDS * 4; round++) {
        int count = random_below(&random, ROWS_MAX + 1), a_step = random_below(&random, 2),
            b_step = random_below(&random, 2);
        for (int i = 0; i <= ROWS_MAX / 64; i++)
            mask[i] = random_next(&random);
        fill(&random, 3, c.a), fill(&random, 3, c.b);
        for (int width = 0; width < 4; width++) {
            x->choose[width](c.first, mask, c.a, a_step, c.b, b_step, count);
            y->choose[width](c.second, mask, c.a, a_step, c.b, b_step, count);
            assert_same(width, c.first, c.second, count, "choose", width, a_step * 2 + b_step);
        }
        x->bits_to_bytes((uint8_t *)c.first, mask, count);
        y->bits_to_bytes((uint8_t *)c.second, mask, count);
        assert_memory_equal(c.first, c.second, count);
        memcpy(c.a, c.first, sizeof c.a);
        x->bytes_to_bits(c.first, (const uint8_t *)c.a, count);
        y->bytes_to_bits(c.second, (const uint8_t *)c.a, count);
        for (int i = 0; i < count; i++)
            assert_int_equal(c.first[i / 64] >> (i % 64) & 1, c.second[i / 64] >> (i % 64) & 1);
    }
}

/* With WEIR_SIMD=portable every choice at run time falls on the portable code: the other tests run so, too (simd_test.py). */
static void the_switch(void **state)
{
    (void)state;
    const char *wish = getenv("WEIR_SIMD");
    bool portable = wish && strcmp(wish, "portable") == 0;
    assert_ptr_equal(kernels_get(), portable || !special() ? &kernels_portable : special());
}

static int set_up(void **state)
{
    *state = (void *)(uintptr_t)(special() ? special() : &kernels_portable);
    return 0;
}

int main(void)
{
    if (!special())
        printf("# no instructions beyond the portable ones here: the kernels are compared with themselves\n");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arithmetic),      cmocka_unit_test(conversion), cmocka_unit_test(comparison),
        cmocka_unit_test(choice_and_bits), cmocka_unit_test(the_switch),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
