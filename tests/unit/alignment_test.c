/* taskmanager/ops/alignment: what a group of sources knows of each other, within a process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "ops/alignment.h"

#define UNKNOWN WEIR_ALIGNED_UNKNOWN
#define FREE WEIR_ALIGNED_FREE

static void count(void *arg)
{
    ++*(int *)arg;
}

static void test_the_least_counts(void **state)
{
    (void)state;
    int changed = 0, woken[2] = {0};
    struct weir_alignment *alignment = weir_alignment_new(count, &changed);
    assert_true(weir_alignment_interval_ms(alignment) == INT64_MAX);
    struct weir_aligned *a = weir_alignment_join(alignment, "g", 1000, count, &woken[0]);
    struct weir_aligned *b = weir_alignment_join(alignment, "g", 200, count, &woken[1]);
    struct weir_aligned *stranger = weir_alignment_join(alignment, "other", 500, count, &changed);
    assert_int_equal(weir_alignment_interval_ms(alignment), 200);
    assert_int_equal(changed, 3);
    /* Nothing is known: of b, and of other processes. */
    assert_true(weir_aligned_say(a, 5000) == UNKNOWN);
    assert_true(weir_aligned_say(b, 100) == UNKNOWN);
    assert_int_equal(changed, 4); /* now all of this process are known */
    weir_alignment_others(alignment, "g", FREE);
    assert_int_equal(weir_aligned_say(a, 5000), 100);
    weir_alignment_others(alignment, "g", 50);
    assert_int_equal(weir_aligned_say(a, 5000), 50);
    weir_alignment_others(alignment, "unheard of", 1);
    /* Idle ones, and those that have ended, hold back nobody. */
    weir_alignment_others(alignment, "g", FREE);
    (void)weir_aligned_say(b, FREE);
    assert_int_equal(weir_aligned_say(a, 5000), 5000);
    (void)weir_aligned_say(b, 700);
    assert_int_equal(weir_aligned_say(a, 5000), 700);
    assert_int_equal(changed, 4); /* the rest can wait for the interval */
    weir_aligned_leave(b, true);
    assert_int_equal(weir_aligned_say(a, 5000), 5000);
    weir_aligned_leave(a, true);
    weir_aligned_leave(stranger, true);
    weir_aligned_leave(NULL, true);
    weir_alignment_free(alignment);
    weir_alignment_free(NULL);
}

static void test_who_waits_is_woken(void **state)
{
    (void)state;
    int woken[2] = {0};
    struct weir_alignment *alignment = weir_alignment_new(NULL, NULL);
    struct weir_aligned *a = weir_alignment_join(alignment, "g", 1000, count, &woken[0]);
    struct weir_aligned *b = weir_alignment_join(alignment, "g", 1000, count, &woken[1]);
    weir_alignment_others(alignment, "g", FREE);
    (void)weir_aligned_say(a, 5000);
    (void)weir_aligned_say(b, 0);
    weir_aligned_await(a, 4000);
    (void)weir_aligned_say(b, 3999);
    assert_int_equal(woken[0], 0);
    (void)weir_aligned_say(b, 4000);
    assert_int_equal(woken[0], 1);
    (void)weir_aligned_say(b, 5000); /* once */
    assert_int_equal(woken[0], 1);
    assert_int_equal(woken[1], 0);
    weir_aligned_await(a, 6000);
    weir_aligned_await(a, INT64_MAX); /* it waits no more */
    (void)weir_aligned_say(b, 7000);
    assert_int_equal(woken[0], 1);
    /* What came between the look and the wait is not missed. */
    (void)weir_aligned_say(a, 9000);
    weir_aligned_await(a, 7000);
    assert_int_equal(woken[0], 2);
    /* By other processes, and by one that leaves. */
    weir_alignment_others(alignment, "g", 100);
    weir_aligned_await(a, 7000);
    assert_int_equal(woken[0], 2);
    weir_alignment_others(alignment, "g", FREE);
    assert_int_equal(woken[0], 3);
    weir_aligned_await(a, 8000);
    weir_aligned_leave(b, true);
    assert_int_equal(woken[0], 4);
    weir_aligned_leave(a, true);
    weir_alignment_free(alignment);
}

/* A reader whose task failed comes again, elsewhere perhaps: until then nobody runs ahead. */
static void test_one_that_failed_is_waited_for(void **state)
{
    (void)state;
    int woken = 0;
    struct weir_alignment *alignment = weir_alignment_new(NULL, NULL);
    struct weir_aligned *a = weir_alignment_join(alignment, "g", 1000, count, &woken);
    struct weir_aligned *b = weir_alignment_join(alignment, "g", 1000, count, &woken);
    weir_alignment_others(alignment, "g", FREE);
    (void)weir_aligned_say(b, 10);
    assert_int_equal(weir_aligned_say(a, 5000), 10);
    weir_aligned_await(a, 4000);
    weir_aligned_leave(b, false);
    assert_true(weir_aligned_say(a, 5000) == UNKNOWN);
    assert_int_equal(woken, 0);
    struct weir_alignment_group *groups;
    assert_int_equal(weir_alignment_groups(alignment, &groups), 1);
    assert_string_equal(groups[0].name, "g");
    assert_int_equal(groups[0].members, 1);
    assert_int_equal(groups[0].watermark_ms, 5000);
    free(groups);
    weir_aligned_leave(a, true);
    assert_int_equal(weir_alignment_groups(alignment, &groups), 1); /* the JobManager is to hear of it */
    assert_int_equal(groups[0].members, 0);
    free(groups);
    weir_alignment_free(alignment);
}

static void test_bounds(void **state)
{
    (void)state;
    assert_int_equal(weir_alignment_bound_ms(1000, 500), 1500);
    assert_true(weir_alignment_bound_ms(UNKNOWN, 500) == UNKNOWN);
    assert_true(weir_alignment_bound_ms(FREE, 500) == FREE);
    assert_true(weir_alignment_bound_ms(FREE - 1, 500) == INT64_MAX);
    assert_true(weir_alignment_bound_ms(UNKNOWN + 1, 500) == UNKNOWN + 501);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_least_counts),
        cmocka_unit_test(test_who_waits_is_woken),
        cmocka_unit_test(test_one_that_failed_is_waited_for),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
