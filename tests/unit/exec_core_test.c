/* The executor's core: each rule, then random commands against invariants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "executor/exec_core.h"

static struct weir_exec_core *core;
static char said[512]; /* effects of the last step, as text */
static int64_t wake_ms;

static void step(enum weir_exec_event_kind kind, int64_t now_ms, uint32_t attempt, enum weir_exec_state state)
{
    struct weir_exec_event event = {
        .kind = kind, .now_ms = now_ms, .task = {1, 2, attempt}, .state = state, .until_ms = (int64_t)attempt};
    struct weir_exec_effects effects;
    weir_exec_step(core, &event, &effects);
    said[0] = 0;
    for (int i = 0; i < effects.count; i++) {
        const struct weir_exec_effect *e = &effects.items[i];
        char text[64];
        if (e->kind == WEIR_EXEC_EFFECT_START)
            snprintf(text, sizeof text, "start#%u ", e->task.attempt);
        else if (e->kind == WEIR_EXEC_EFFECT_CANCEL)
            snprintf(text, sizeof text, "cancel#%u ", e->task.attempt);
        else if (e->kind == WEIR_EXEC_EFFECT_REPORT)
            snprintf(text, sizeof text, "%d#%u ", (int)e->state, e->task.attempt);
        else
            snprintf(text, sizeof text, "exit:%d ", (int)e->exit);
        strcat(said, text);
    }
    wake_ms = effects.wake_at_ms;
}
#define DEPLOY(a) step(WEIR_EXEC_EVENT_DEPLOY, 0, a, 0)
#define CANCEL(a) step(WEIR_EXEC_EVENT_CANCEL, 0, a, 0)
#define RUNNING(a) step(WEIR_EXEC_EVENT_TASK_RUNNING, 0, a, 0)
#define ENDED(a, s) step(WEIR_EXEC_EVENT_TASK_ENDED, 0, a, s)

static int begin(void **state)
{
    (void)state;
    core = weir_exec_core_new(1000000, 100);
    return 0;
}
static int end(void **state)
{
    (void)state;
    weir_exec_core_free(core);
    return 0;
}

static void a_task_lives_and_ends(void **state)
{
    (void)state;
    DEPLOY(1);
    assert_string_equal(said, "3#1 start#1 ");
    RUNNING(1);
    assert_string_equal(said, "4#1 ");
    DEPLOY(1);
    assert_string_equal(said, "4#1 ");
    ENDED(1, WEIR_EXEC_FINISHED);
    assert_string_equal(said, "5#1 ");
    DEPLOY(1);
    assert_string_equal(said, "5#1 ");
    CANCEL(1);
    assert_string_equal(said, "5#1 ");
    RUNNING(1);
    assert_string_equal(said, "");
}

static void a_cancelled_task_stays_so(void **state)
{
    (void)state;
    DEPLOY(1);
    CANCEL(1);
    assert_string_equal(said, "cancel#1 6#1 ");
    RUNNING(1); /* it opened meanwhile */
    assert_string_equal(said, "");
    CANCEL(1);
    assert_string_equal(said, "6#1 ");
    ENDED(1, WEIR_EXEC_CANCELED);
    assert_string_equal(said, "7#1 ");
}

static void a_cancellation_may_come_first(void **state)
{
    (void)state;
    CANCEL(1);
    assert_string_equal(said, "7#1 ");
    DEPLOY(1);
    assert_string_equal(said, "7#1 ");
    DEPLOY(2);
    assert_string_equal(said, "3#2 start#2 ");
    CANCEL(3); /* of the next one: the one before ends, too */
    assert_string_equal(said, "cancel#2 7#3 ");
    DEPLOY(3);
    assert_string_equal(said, "7#3 ");
    ENDED(2, WEIR_EXEC_CANCELED);
    assert_string_equal(said, "7#2 ");
}

static void a_newer_attempt_waits_for_the_older(void **state)
{
    (void)state;
    DEPLOY(1);
    RUNNING(1);
    DEPLOY(2);
    assert_string_equal(said, "cancel#1 3#2 ");
    DEPLOY(1);
    assert_string_equal(said, "");
    CANCEL(1);
    assert_string_equal(said, "");
    DEPLOY(3);
    assert_string_equal(said, "3#3 ");
    ENDED(1, WEIR_EXEC_FAILED);
    assert_string_equal(said, "8#1 3#3 start#3 ");
    ENDED(3, WEIR_EXEC_FAILED);
    assert_string_equal(said, "8#3 ");
}

static void a_queued_attempt_can_be_cancelled(void **state)
{
    (void)state;
    DEPLOY(1);
    DEPLOY(2);
    CANCEL(2);
    assert_string_equal(said, "7#2 ");
    ENDED(1, WEIR_EXEC_CANCELED);
    assert_string_equal(said, "7#1 ");
    DEPLOY(3);
    assert_string_equal(said, "3#3 start#3 ");
}

static void time_ends_it(void **state)
{
    (void)state;
    DEPLOY(1);
    step(WEIR_EXEC_EVENT_CANCEL, 50, 1, 0);
    assert_int_equal(wake_ms, 150);
    step(WEIR_EXEC_EVENT_TICK, 149, 0, 0);
    assert_string_equal(said, "");
    step(WEIR_EXEC_EVENT_TICK, 150, 0, 0);
    assert_string_equal(said, "exit:3 ");
    DEPLOY(2);
    assert_string_equal(said, "");
}

static void the_lease_only_grows(void **state)
{
    (void)state;
    step(WEIR_EXEC_EVENT_LEASE, 0, 500, 0); /* until 500: earlier than it has */
    step(WEIR_EXEC_EVENT_TICK, 600, 0, 0);
    assert_string_equal(said, "");
    step(WEIR_EXEC_EVENT_LEASE, 1000000, 1000000, 0); /* the next one that waits may be longer */
    assert_string_equal(said, "");
    step(WEIR_EXEC_EVENT_LEASE, 1000000, 2000000, 0);
    step(WEIR_EXEC_EVENT_TICK, 1000000, 0, 0);
    assert_string_equal(said, "");
    step(WEIR_EXEC_EVENT_TICK, 2000000, 0, 0);
    assert_string_equal(said, "exit:2 ");
}

/* A process that was stopped finds old commands in its line when it goes on. */
static void nothing_starts_after_the_lease(void **state)
{
    (void)state;
    struct weir_exec_event event = {.kind = WEIR_EXEC_EVENT_DEPLOY, .now_ms = 1000000, .task = {1, 2, 1}};
    struct weir_exec_effects effects;
    weir_exec_step(core, &event, &effects);
    assert_int_equal(effects.count, 1);
    assert_int_equal(effects.items[0].kind, WEIR_EXEC_EFFECT_EXIT);
    assert_int_equal(effects.items[0].exit, WEIR_EXEC_EXIT_LEASE);
}

/* Never two attempts of a subtask at once; none started twice or after its cancellation; reported ends stay. */
static void random_commands_keep_the_invariants(void **state)
{
    (void)state;
    uint64_t rng = 7;
    for (int round = 0; round < 500; round++) {
        weir_exec_core_free(core);
        core = weir_exec_core_new(INT64_MAX, INT64_MAX / 4);
        uint32_t live = 0, started = 0, cancelled_upto = 0;
        int end_state[64] = {0};
        bool asked = false;
        for (int i = 0; i < 60; i++) {
            rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17;
            uint32_t attempt = 1 + (uint32_t)(rng % 12) / (1 + (uint32_t)(60 - i) / 20);
            struct weir_exec_event event = {.now_ms = i, .task = {1, 2, attempt}};
            switch (rng >> 40 & 3) {
            case 0:
                event.kind = WEIR_EXEC_EVENT_DEPLOY;
                break;
            case 1:
                event.kind = WEIR_EXEC_EVENT_CANCEL;
                cancelled_upto = attempt > cancelled_upto ? attempt : cancelled_upto;
                break;
            case 2:
                if (!live)
                    continue;
                event.kind = WEIR_EXEC_EVENT_TASK_RUNNING;
                event.task.attempt = live;
                break;
            default:
                if (!live || (!asked && (rng >> 50 & 3)))
                    continue;
                event.kind = WEIR_EXEC_EVENT_TASK_ENDED;
                event.task.attempt = live;
                event.state = asked ? WEIR_EXEC_CANCELED : WEIR_EXEC_FINISHED;
                live = 0;
                break;
            }
            struct weir_exec_effects effects;
            weir_exec_step(core, &event, &effects);
            for (int e = 0; e < effects.count; e++) {
                const struct weir_exec_effect *effect = &effects.items[e];
                uint32_t a = effect->task.attempt;
                if (effect->kind == WEIR_EXEC_EFFECT_START) {
                    assert_int_equal(live, 0);
                    assert_true(a > started);
                    live = started = a;
                    asked = false;
                } else if (effect->kind == WEIR_EXEC_EFFECT_CANCEL) {
                    assert_int_equal(a, live);
                    assert_false(asked);
                    asked = true;
                } else if (effect->kind == WEIR_EXEC_EFFECT_REPORT) {
                    bool over = effect->state == WEIR_EXEC_FINISHED || effect->state == WEIR_EXEC_CANCELED ||
                                effect->state == WEIR_EXEC_FAILED;
                    assert_true(!end_state[a] || end_state[a] == (int)effect->state);
                    if (over)
                        end_state[a] = (int)effect->state;
                    assert_true(!over || live != a);
                }
            }
        }
    }
}

static void checkpoints_are_of_the_newest_attempt_that_runs(void **state)
{
    (void)state;
    struct weir_exec_effects effects;
    struct weir_exec_event event = {.kind = WEIR_EXEC_EVENT_DEPLOY, .task = {1, 2, 3}};
    struct weir_exec_event trigger = {.kind = WEIR_EXEC_EVENT_TRIGGER, .task = {1, 2, 3}, .checkpoint = 9};
    weir_exec_step(core, &event, &effects);
    weir_exec_step(core, &trigger, &effects); /* INITIALIZING */
    assert_int_equal(effects.count, 0);
    event.kind = WEIR_EXEC_EVENT_TASK_RUNNING;
    weir_exec_step(core, &event, &effects);
    weir_exec_step(core, &trigger, &effects);
    assert_int_equal(effects.count, 1);
    assert_int_equal(effects.items[0].kind, WEIR_EXEC_EFFECT_TRIGGER);
    assert_int_equal(effects.items[0].checkpoint, 9);
    struct weir_exec_event complete = {.kind = WEIR_EXEC_EVENT_COMPLETE, .task = {1, 2, 3}, .checkpoint = 9};
    weir_exec_step(core, &complete, &effects);
    assert_int_equal(effects.count, 1);
    assert_int_equal(effects.items[0].kind, WEIR_EXEC_EFFECT_COMPLETE);
    assert_int_equal(effects.items[0].checkpoint, 9);
    complete.task.attempt = 2; /* what it has open is no part of this checkpoint */
    weir_exec_step(core, &complete, &effects);
    assert_int_equal(effects.count, 0);
    struct weir_exec_event stored = {.kind = WEIR_EXEC_EVENT_STORED, .task = {1, 2, 3}, .checkpoint = 9};
    weir_exec_step(core, &stored, &effects);
    assert_int_equal(effects.count, 1);
    assert_int_equal(effects.items[0].kind, WEIR_EXEC_EFFECT_REPORT_CHECKPOINT);
    assert_int_equal(effects.items[0].task.attempt, 3);
    trigger.task.attempt = 2;
    weir_exec_step(core, &trigger, &effects);
    assert_int_equal(effects.count, 0);
    event.kind = WEIR_EXEC_EVENT_DEPLOY; /* a newer one waits for it */
    event.task.attempt = 4;
    weir_exec_step(core, &event, &effects);
    weir_exec_step(core, &stored, &effects);
    assert_int_equal(effects.count, 0);
    trigger.task = (struct weir_exec_task_id){7, 7, 7};
    weir_exec_step(core, &trigger, &effects);
    assert_int_equal(effects.count, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        T(a_task_lives_and_ends),
        T(a_cancelled_task_stays_so),
        T(a_cancellation_may_come_first),
        T(a_newer_attempt_waits_for_the_older),
        T(a_queued_attempt_can_be_cancelled),
        T(time_ends_it),
        T(the_lease_only_grows),
        T(nothing_starts_after_the_lease),
        T(checkpoints_are_of_the_newest_attempt_that_runs),
        T(random_commands_keep_the_invariants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
