/* What of a complete checkpoint goes to Kafka, step by step (connectors/kafka/publish.h): the whole plan of each case as a line of text. With brokers that fail: tests/sim. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "connectors/kafka/publish.h"

#define FAILS_NEVER (-1)

struct plan { /* of one sink's checkpoint */
    struct weir_publish_handle handle;
    struct weir_kafka_marker there; /* with the brokers; .checkpoint 0: none */
    struct weir_commit_segment segments[8];
    int64_t segment_count;
    uint64_t checkpoint, after;
    enum weir_publish_held held[8]; /* before */
    bool has_committed[8];          /* what is found out of those that are asked for */
    int fails_at;                   /* which step is not known to be done */
    char text[512];
};

static void say(struct plan *plan, const char *format, ...)
{
    size_t size = strlen(plan->text);
    va_list list;
    va_start(list, format);
    vsnprintf(plan->text + size, sizeof plan->text - size, format, list);
    va_end(list);
}

static const char *run(struct plan *plan)
{
    static const char *const names[] = {"fence", "end",    "read", "settle", "begin", "",
                                        "",      "commit", "done", "failed", "early"};
    struct weir_publish publish;
    enum weir_publish_step step;
    plan->text[0] = '\0';
    weir_publish_init(&publish, &plan->handle, plan->checkpoint, plan->after, plan->segments, plan->segment_count, 100);
    weir_publish_hold(&publish, plan->held);
    bool ok = true;
    for (int n = 0; n < 64; n++) {
        step = weir_publish_next(&publish, ok);
        if (step == WEIR_PUBLISH_PRODUCE)
            say(plan, " %" PRId64, publish.segment);
        else if (step == WEIR_PUBLISH_MARK)
            say(plan, " [%" PRIu64 " after %" PRIu64 ": %" PRId64 "/%" PRId64 "]", publish.marker.checkpoint,
                publish.marker.before, publish.marker.part, publish.marker.parts);
        else
            say(plan, "%s%s", n ? " " : "", names[step]);
        if (step >= WEIR_PUBLISH_DONE)
            break;
        if (step == WEIR_PUBLISH_END)
            weir_publish_end(&publish, 10);
        if (step == WEIR_PUBLISH_READ && plan->there.checkpoint)
            weir_publish_found(&publish, &plan->there);
        ok = n != plan->fails_at;
        for (int64_t i = 0; step == WEIR_PUBLISH_SETTLE && ok && i < plan->segment_count; i++)
            if (weir_publish_asks(&publish, i)) {
                say(plan, " %" PRId64 "%s", i, plan->has_committed[i] ? "+" : "-");
                weir_publish_settled(&publish, i, plan->has_committed[i]);
            }
    }
    return plan->text;
}

static struct plan plan_of(uint64_t checkpoint, int64_t segment_count)
{
    struct plan plan = {.checkpoint = checkpoint, .segment_count = segment_count, .fails_at = FAILS_NEVER};
    for (int64_t i = 0; i < segment_count; i++)
        plan.segments[i] = (struct weir_commit_segment){.size = 40, .records = 1, .since = checkpoint - 1};
    return plan;
}

static void test_a_handle_that_knows_nothing_asks(void **state)
{
    struct plan plan = plan_of(5, 2);
    (void)state;
    assert_string_equal(run(&plan), "fence end read begin 0 1 [5 after 0: 1/1] commit done");
    assert_true(plan.handle.knows && plan.handle.marker.checkpoint == 5);
    /* From then on it knows: the next one, and the same again. */
    plan.checkpoint = 6;
    plan.segments[0].since = plan.segments[1].since = 5;
    assert_string_equal(run(&plan), "begin 0 1 [6 after 5: 1/1] commit done");
    assert_string_equal(run(&plan), "done");
}

static void test_what_is_written_is_not_written_again(void **state)
{
    struct plan plan = plan_of(5, 1);
    (void)state;
    plan.there = (struct weir_kafka_marker){5, 4, 1, 1, 0};
    assert_string_equal(run(&plan), "fence end read done");
    plan = plan_of(5, 1);
    plan.there = (struct weir_kafka_marker){7, 6, 1, 1, 0}; /* somebody has gone on */
    assert_string_equal(run(&plan), "fence end read done");
    plan = plan_of(5, 1);
    plan.there = (struct weir_kafka_marker){4, 3, 1, 1, 0};
    assert_string_equal(run(&plan), "fence end read begin 0 [5 after 4: 1/1] commit done");
}

/* A segment of an earlier epoch that was pending in a checkpoint which has been published. */
static void test_segments_that_an_earlier_one_had(void **state)
{
    struct plan plan = plan_of(7, 3);
    (void)state;
    plan.segments[0].since = 4; /* pending from 5 on, which was published */
    plan.segments[1].since = 5; /* from 6 on: 6 never became complete */
    plan.segments[2].since = 6;
    plan.there = (struct weir_kafka_marker){5, 4, 1, 1, 0};
    assert_string_equal(run(&plan), "fence end read begin 1 2 [7 after 5: 1/1] commit done");
    plan = plan_of(7, 1);
    plan.segments[0].since = 3;
    plan.there = (struct weir_kafka_marker){5, 4, 1, 1, 0}; /* all of it was: the marker is written all the same */
    assert_string_equal(run(&plan), "fence end read begin [7 after 5: 1/1] commit done");
}

static void test_parts(void **state)
{
    struct plan plan = plan_of(5, 5); /* 40 bytes each, 100 in a part */
    (void)state;
    assert_string_equal(run(&plan),
                        "fence end read begin 0 1 [5 after 0: 1/3] commit begin 2 3 [5 after 0: 2/3] commit begin 4 "
                        "[5 after 0: 3/3] commit done");
    plan = plan_of(5, 5); /* somebody was lost behind the second */
    plan.there = (struct weir_kafka_marker){5, 4, 2, 3, 0};
    assert_string_equal(run(&plan), "fence end read begin 4 [5 after 4: 3/3] commit done");
    plan = plan_of(5, 2);
    plan.segments[0].size = 1000; /* larger than a part: one of its own */
    assert_string_equal(run(&plan),
                        "fence end read begin 0 [5 after 0: 1/2] commit begin 1 [5 after 0: 2/2] commit done");
}

/* What may have failed is not known to be undone: the handle knows nothing any more, and whoever tries again asks. */
static void test_doubt(void **state)
{
    static const char *const texts[] = {"fence failed",
                                        "fence end failed",
                                        "fence end read failed",
                                        "fence end read begin failed",
                                        "fence end read begin 0 failed",
                                        "fence end read begin 0 [5 after 0: 1/1] failed",
                                        "fence end read begin 0 [5 after 0: 1/1] commit failed"};
    (void)state;
    for (int at = 0; at < (int)(sizeof texts / sizeof *texts); at++) {
        struct plan plan = plan_of(5, 1);
        plan.fails_at = at;
        assert_string_equal(run(&plan), texts[at]);
        assert_false(plan.handle.knows);
        plan.fails_at = FAILS_NEVER;
        assert_string_equal(run(&plan), "fence end read begin 0 [5 after 0: 1/1] commit done");
    }
    struct plan plan = plan_of(5, 1); /* one that knew, too */
    plan.handle = (struct weir_publish_handle){true, {4, 3, 1, 1, 0}};
    plan.fails_at = 3;
    assert_string_equal(run(&plan), "begin 0 [5 after 4: 1/1] commit failed");
    plan.there = (struct weir_kafka_marker){5, 4, 1, 1, 0}; /* it was committed: only the answer was lost */
    plan.fails_at = FAILS_NEVER;
    assert_string_equal(run(&plan), "fence end read done");
}

/* Output that another job began with: what comes before it is that job's to write. */
static void test_too_early(void **state)
{
    struct plan plan = plan_of(9, 1);
    (void)state;
    plan.after = 8;
    plan.there = (struct weir_kafka_marker){7, 6, 1, 1, 0};
    assert_string_equal(run(&plan), "fence end read early");
    plan.there = (struct weir_kafka_marker){8, 7, 1, 1, 0};
    plan.handle.knows = false;
    assert_string_equal(run(&plan), "fence end read begin 0 [9 after 8: 1/1] commit done");
    plan = plan_of(9, 1); /* a handle that knew of less asks once more before it says so */
    plan.after = 8;
    plan.handle = (struct weir_publish_handle){true, {7, 6, 1, 1, 0}};
    plan.there = (struct weir_kafka_marker){8, 7, 1, 1, 0};
    assert_string_equal(run(&plan), "fence end read begin 0 [9 after 8: 1/1] commit done");
    plan = plan_of(9, 1); /* another checkpoint that is there in part */
    plan.there = (struct weir_kafka_marker){8, 7, 1, 2, 0};
    assert_string_equal(run(&plan), "fence end read early");
    plan = plan_of(9, 1); /* a job that began with a later one writes this with it, and has not yet done so */
    plan.handle = (struct weir_publish_handle){true, {10, 8, 1, 2, 0}};
    plan.there = plan.handle.marker;
    assert_string_equal(run(&plan), "fence end read early");
    plan.there.part = 2;
    plan.handle.knows = false;
    assert_string_equal(run(&plan), "fence end read done");
}

static void test_reading_ends_at_the_high_watermark(void **state)
{
    struct weir_publish_handle handle = {.knows = false};
    struct weir_commit_segment segment = {.size = 1, .records = 1};
    struct weir_publish publish;
    (void)state;
    weir_publish_init(&publish, &handle, 2, 0, &segment, 1, 100);
    assert_int_equal(weir_publish_next(&publish, true), WEIR_PUBLISH_FENCE);
    assert_int_equal(weir_publish_next(&publish, true), WEIR_PUBLISH_END);
    weir_publish_end(&publish, 42);
    assert_int_equal(weir_publish_next(&publish, true), WEIR_PUBLISH_READ);
    assert_false(weir_publish_reached(&publish, 41)); /* somebody else's open transaction hides what is behind */
    assert_true(weir_publish_reached(&publish, 42));
    weir_publish_found(&publish, &(struct weir_kafka_marker){1, 0, 1, 1, 0});
    weir_publish_found(&publish, &(struct weir_kafka_marker){2, 1, 1, 1, 0}); /* the last one counts */
    assert_int_equal(weir_publish_next(&publish, true), WEIR_PUBLISH_DONE);
}

/* Transactions that subtasks hold open: what they have committed is left out, the marker is written all the same. */
static void test_what_holders_have_committed(void **state)
{
    struct plan plan = plan_of(5, 3);
    (void)state;
    plan.held[0] = plan.held[2] = WEIR_PUBLISH_HELD;
    plan.has_committed[0] = true;
    assert_string_equal(run(&plan), "fence end read settle 0+ 2- begin 1 2 [5 after 0: 1/1] commit done");
    plan = plan_of(5, 2);
    plan.held[0] = plan.held[1] = WEIR_PUBLISH_HELD;
    plan.has_committed[0] = plan.has_committed[1] = true;
    assert_string_equal(run(&plan), "fence end read settle 0+ 1+ begin [5 after 0: 1/1] commit done");
    /* Whoever knows already asks for none of it; what an earlier checkpoint has published has no holder any more. */
    assert_string_equal(run(&plan), "done");
    plan = plan_of(7, 2);
    plan.held[0] = plan.held[1] = WEIR_PUBLISH_HELD;
    plan.segments[0].since = 4;
    plan.there = (struct weir_kafka_marker){5, 4, 1, 1, 0};
    assert_string_equal(run(&plan), "fence end read settle 1- begin 1 [7 after 5: 1/1] commit done");
    /* Not found out: nothing is begun. */
    plan = plan_of(5, 1);
    plan.held[0] = WEIR_PUBLISH_HELD;
    plan.fails_at = 3;
    assert_string_equal(run(&plan), "fence end read settle failed");
    assert_false(plan.handle.knows);
}

/* Parts are counted in markers: who goes on with what another has begun leaves out the same. */
static void test_parts_of_what_is_held(void **state)
{
    struct plan plan = plan_of(5, 5); /* 40 bytes each, 100 in a part */
    (void)state;
    plan.held[1] = plan.held[2] = WEIR_PUBLISH_HELD;
    plan.has_committed[1] = true;
    assert_string_equal(run(&plan), "fence end read settle 1+ 2- begin 0 2 [5 after 0: 1/2] commit begin 3 4 [5 after "
                                    "0: 2/2] commit done");
    plan = plan_of(5, 5);
    plan.held[1] = plan.held[2] = WEIR_PUBLISH_HELD;
    plan.has_committed[1] = true;
    plan.there = (struct weir_kafka_marker){5, 0, 1, 2, 0};
    assert_string_equal(run(&plan), "fence end read settle 1+ 2- begin 3 4 [5 after 0: 2/2] commit done");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_handle_that_knows_nothing_asks),
        cmocka_unit_test(test_what_is_written_is_not_written_again),
        cmocka_unit_test(test_segments_that_an_earlier_one_had),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_doubt),
        cmocka_unit_test(test_too_early),
        cmocka_unit_test(test_what_holders_have_committed),
        cmocka_unit_test(test_parts_of_what_is_held),
        cmocka_unit_test(test_reading_ends_at_the_high_watermark),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
