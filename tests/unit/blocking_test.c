/* What a supervisor's blocking work waits for between two tries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "taskmanager/io/blocking.h"

struct contender {
    int64_t begins_ms; /* the next try, or the one under way */
    int64_t longest_ms;
    int failures;
};

/* Two publish the same, and take it away from each other when they begin. When one has got through; -1: none within an hour. */
static int64_t contend(int64_t takes_ms, int64_t apart_ms)
{
    struct contender all[2] = {{0, 0, 0}, {apart_ms, 0, 0}};
    for (int running = 0; all[running].begins_ms < 3600000;) {
        struct contender *now = &all[running], *other = &all[!running];
        if (now->begins_ms + takes_ms <= other->begins_ms)
            return now->begins_ms + takes_ms;
        int64_t took_ms = other->begins_ms - now->begins_ms;
        now->longest_ms = took_ms > now->longest_ms ? took_ms : now->longest_ms;
        now->begins_ms = other->begins_ms + weir_blocking_pause_ms(++now->failures, now->longest_ms);
        running = !running;
    }
    return -1;
}

static void one_of_two_gets_through(void **state)
{
    (void)state;
    for (int64_t takes_ms = 10; takes_ms <= 12000; takes_ms += takes_ms / 3 + 1)
        for (int64_t apart_ms = 1; apart_ms < takes_ms; apart_ms += takes_ms / 7 + 1) {
            int64_t done_ms = contend(takes_ms, apart_ms);
            assert_true(done_ms >= 0 && done_ms < 10 * takes_ms + 5000);
        }
}

static void the_first_failure_costs_little(void **state)
{
    (void)state;
    assert_int_equal(weir_blocking_pause_ms(1, 30000), 100);
    assert_int_equal(weir_blocking_pause_ms(3, 1), 400);
    assert_int_equal(weir_blocking_pause_ms(100, 1), 15000);
    assert_int_equal(weir_blocking_pause_ms(100, 0), 5000);
    assert_int_equal(weir_blocking_pause_ms(100, INT64_MAX / 2), 15000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_of_two_gets_through),
        cmocka_unit_test(the_first_failure_costs_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
