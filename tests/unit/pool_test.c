/* Calls that block, off the caller's thread: results, telling the beginner, letting go before and after the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/pool.h"

#define MANY 200

struct work {
    int value;
    sem_t *gate; /* NULL: runs through */
    pthread_t beginner;
    bool on_another_thread;
};
static _Atomic int freed, told, running, running_max;

static weir_err run(void *arg, struct weir_error *error)
{
    struct work *work = arg;
    int now = ++running;
    for (int max = running_max; now > max && !atomic_compare_exchange_weak(&running_max, &max, now);)
        continue;
    work->on_another_thread = !pthread_equal(pthread_self(), work->beginner);
    if (work->gate)
        while (sem_wait(work->gate) != 0 && errno == EINTR)
            continue;
    running--;
    work->value *= 2;
    return work->value < 0 ? weir_fail(error, WEIR_ERR_IO, "it is %d", work->value) : WEIR_OK;
}

static void free_work(void *arg)
{
    freed++;
    free(arg);
}

static void tell(void *arg)
{
    ++*(_Atomic int *)arg;
}

static struct weir_call *begin(struct weir_pool *pool, int value, sem_t *gate, struct work **out)
{
    struct work *work = weir_zalloc(sizeof *work);
    *work = (struct work){.value = value, .gate = gate, .beginner = pthread_self()};
    if (out)
        *out = work;
    struct weir_call_spec spec = {.run = run, .arg = work, .free_arg = free_work, .ended = tell, .ended_arg = &told};
    return weir_call_begin(pool, &spec);
}

static void wait_until(_Atomic int *value, int wanted)
{
    for (int i = 0; *value != wanted; i++) {
        if (i > 20000)
            fail_msg("%d, not %d, after 20 s", *value, wanted);
        poll(NULL, 0, 1);
    }
}

static void reset(void)
{
    freed = told = running = running_max = 0;
}

static void results(void **state)
{
    (void)state;
    reset();
    struct weir_error error;
    struct weir_pool *pool = weir_pool_new();
    sem_t gate;
    sem_init(&gate, 0, 0);
    struct work *work;
    struct weir_call *good = begin(pool, 21, &gate, &work), *bad = begin(pool, -1, NULL, NULL);
    wait_until(&told, 1);
    assert_true(weir_call_ended(bad));
    assert_int_equal(weir_call_result(bad, &error), WEIR_ERR_IO);
    assert_string_equal(error.message, "it is -2");
    assert_false(weir_call_ended(good)); /* the gate is shut: nobody waited for it */
    sem_post(&gate);
    wait_until(&told, 2);
    assert_int_equal(weir_call_result(good, &error), WEIR_OK);
    assert_int_equal(work->value, 42); /* still there */
    assert_true(work->on_another_thread);
    weir_call_free(good);
    weir_call_free(bad);
    weir_call_free(NULL);
    wait_until(&freed, 2);
    weir_pool_unref(pool);
    sem_destroy(&gate);
}

/* A beginner that lets go is not told any more; what was not begun is not made; the pool outlives its owner until the last call has ended. */
static void letting_go(void **state)
{
    (void)state;
    reset();
    struct weir_pool *pool = weir_pool_new();
    sem_t gate;
    sem_init(&gate, 0, 0);
    struct weir_call *calls[MANY];
    for (int i = 0; i < MANY; i++)
        calls[i] = begin(pool, i, &gate, NULL);
    wait_until(&running, 4);
    for (int i = 0; i < MANY; i++)
        weir_call_free(calls[i]);
    weir_pool_unref(pool);
    weir_pool_unref(NULL);
    assert_int_equal(freed, 0);
    for (int i = 0; i < 4; i++)
        sem_post(&gate); /* the others are not run */
    wait_until(&freed, MANY);
    assert_int_equal(told, 0);
    assert_int_equal(running_max, 4);
    sem_destroy(&gate);
}

static _Atomic int left_freed;

static void free_left(void *arg)
{
    poll(NULL, 0, 50); /* who does not wait for it comes too early */
    left_freed++;
    free(arg);
}

/* What is left to be done is done, also behind calls that nobody wants any more; who ends waits for it, or for as long as it may. */
static void leaving(void **state)
{
    (void)state;
    reset();
    struct weir_pool *pool = weir_pool_new();
    sem_t gate;
    sem_init(&gate, 0, 0);
    struct weir_call *calls[6];
    for (int i = 0; i < 6; i++)
        calls[i] = begin(pool, i, &gate, NULL);
    struct work *work = weir_zalloc(sizeof *work);
    *work = (struct work){.value = 1, .gate = &gate, .beginner = pthread_self()};
    weir_call_leave(pool, &(struct weir_call_spec){.run = run, .arg = work, .free_arg = free_left});
    wait_until(&running, 4);
    for (int i = 0; i < 6; i++)
        weir_call_free(calls[i]);
    weir_pool_settle(pool, 1);
    assert_int_equal(left_freed, 0);
    for (int i = 0; i < 5; i++) /* the four that run, and the one that is left */
        sem_post(&gate);
    weir_pool_settle(pool, 20000);
    assert_int_equal(left_freed, 1);
    wait_until(&freed, 6);
    weir_pool_settle(pool, 20000); /* nothing is left */
    weir_pool_unref(pool);
    sem_destroy(&gate);
}

static void many(void **state)
{
    (void)state;
    reset();
    struct weir_pool *pool = weir_pool_new();
    struct weir_call *calls[MANY];
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < MANY; i++)
            calls[i] = begin(pool, i, NULL, NULL);
        wait_until(&told, (round + 1) * MANY);
        for (int i = 0; i < MANY; i++)
            weir_call_free(calls[i]);
    }
    weir_pool_unref(pool);
    wait_until(&freed, 5 * MANY);
}

static void without_a_pool(void **state)
{
    (void)state;
    reset();
    struct work *work;
    struct weir_call *call = begin(NULL, 4, NULL, &work);
    assert_true(weir_call_ended(call));
    assert_int_equal(work->value, 8);
    assert_false(work->on_another_thread);
    weir_call_free(call);
    assert_int_equal(freed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results), cmocka_unit_test(letting_go),     cmocka_unit_test(leaving),
        cmocka_unit_test(many),    cmocka_unit_test(without_a_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
