/* process: timers of event and processing time, and time to live. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ops/harness.h"
#include "ops/ops_int.h"
#include "state/snapshot.h"
#include "weir/weir.h"

struct command {
    struct weir_str key;
    int32_t op;
    int64_t a;
};
WEIR_ROW(command, WEIR_FIELD(key, "STRING NOT NULL"), WEIR_FIELD(op, "INT NOT NULL"), WEIR_FIELD(a, "BIGINT NOT NULL"));
#define COMMAND "key STRING NOT NULL, op INT NOT NULL, a BIGINT NOT NULL"
struct said {
    struct weir_str key;
    int64_t time;
    int64_t count;
};
WEIR_ROW(said, WEIR_FIELD(key, "STRING NOT NULL"), WEIR_FIELD(time, "BIGINT NOT NULL"),
         WEIR_FIELD(count, "BIGINT NOT NULL"));
#define SAID "key STRING NOT NULL, time BIGINT NOT NULL, count BIGINT NOT NULL"

WEIR_VALUE_STATE(fired, "BIGINT");
WEIR_VALUE_STATE(short_lived, "BIGINT", .ttl = "100 ms");
WEIR_VALUE_STATE(used, "STRING", .ttl = "100 ms", .ttl_update = WEIR_TTL_ON_READ_AND_WRITE);
WEIR_LIST_STATE(recent, "BIGINT", .ttl = "100 ms");
WEIR_MAP_STATE(recent_keys, "BIGINT", "BIGINT", .ttl = "100 ms");
WEIR_MAP_STATE(used_keys, "BIGINT", "BIGINT", .ttl = "100 ms", .ttl_update = WEIR_TTL_ON_READ_AND_WRITE);
static const void *const states[] = {&fired.decl,       &short_lived.decl, &used.decl, &recent.decl,
                                     &recent_keys.decl, &used_keys.decl,   NULL};

enum op { SET_EVENT, DELETE_EVENT, SET_PROCESSING, DELETE_PROCESSING, PUT, GET, ADD, SIZE, MAP_PUT, MAP_SIZE, MAP_GET };

static int give(struct weir_ctx *ctx, int64_t time, int64_t count, struct weir_out_rows *out)
{
    struct said row = {weir_key(ctx, command)->key, time, count};
    return weir_emit(out, &row);
}

static int do_ttl(struct weir_ctx *ctx, const struct command *in, struct weir_out_rows *out)
{
    struct weir_cursor at = {{0}}, map_at = {{0}};
    int64_t count = 0, *v, *k;
    struct weir_str *s;
    switch (in->op) {
    case PUT:
        return weir_value_put(ctx, &short_lived, &in->a) || weir_value_put(ctx, &used, &in->key);
    case GET:
        v = weir_value_get(ctx, &short_lived);
        s = weir_value_get(ctx, &used);
        return give(ctx, v ? *v : -1, s ? (int64_t)s->size : -1, out);
    case ADD:
        return weir_list_add(ctx, &recent, &in->a);
    case SIZE:
        while (weir_list_next(ctx, &recent, &at))
            count++;
        return give(ctx, 0, count, out);
    case MAP_PUT:
        return weir_map_put(ctx, &recent_keys, &in->a, &in->a) || weir_map_put(ctx, &used_keys, &in->a, &in->a);
    case MAP_GET:
        v = weir_map_get(ctx, &recent_keys, &in->a);
        k = weir_map_get(ctx, &used_keys, &in->a);
        return give(ctx, v ? *v : -1, k ? *k : -1, out);
    default:
        while (weir_map_next(ctx, &recent_keys, &map_at, &k))
            count++;
        return give(ctx, 1, count, out);
    }
}

static int on_row(struct weir_ctx *ctx, const struct command *in, struct weir_out_rows *out)
{
    switch (in->op) {
    case SET_EVENT:
        return weir_timer_event(ctx, in->a);
    case DELETE_EVENT:
        return weir_timer_event_delete(ctx, in->a);
    case SET_PROCESSING:
        return weir_timer_processing(ctx, in->a);
    case DELETE_PROCESSING:
        return weir_timer_processing_delete(ctx, in->a);
    default:
        return do_ttl(ctx, in, out);
    }
}

/* Says how often this key's have fired; one at 1000 sets the next two, of which the first is due at once. */
static int on_timer(struct weir_ctx *ctx, weir_ts time, struct weir_out_rows *out)
{
    int64_t *n = weir_value_get(ctx, &fired), next = n ? *n + 1 : 1;
    if (weir_value_put(ctx, &fired, &next))
        return -1;
    if (weir_timer_kind(ctx) == WEIR_TIMER_EVENT && time == 1000 &&
        (weir_timer_event(ctx, 500) || weir_timer_event(ctx, 50000)))
        return -1;
    return give(ctx, weir_timer_kind(ctx) == WEIR_TIMER_EVENT ? time : -time, next, out);
}

static const char *const options[] = {"row.in", COMMAND, NULL};
static const struct weir_harness_setup setup = {.op = &weir_op_process,
                                                .options = options,
                                                .inputs = {COMMAND},
                                                .declared = SAID,
                                                .key = {"key"},
                                                .row_in = &weir_row_command,
                                                .row_out = &weir_row_said,
                                                .function = (void *)on_row,
                                                .on_timer = (void *)on_timer,
                                                .states = states,
                                                .checkpoints = true};

/* --- Event time */

static void event_scenario(struct weir_harness *h, void *arg)
{
    (void)arg;
    assert_true(
        weir_harness_rows_in(h, 0,
                             "a|0|3000\nb|0|2000\na|0|1000\na|0|1000\na|0|3000\nlonger than a slot holds|0|2500\n"
                             "c|0|2200\nc|1|2200\nc|1|2201\nc|0|70000\nb|0|9000000\nb|0|-5"));
    assert_true(weir_harness_watermark(h, -6));
    assert_int_equal(weir_harness_row_count(h, 0), 0);
    assert_true(weir_harness_watermark(h, 2499));
    assert_true(weir_harness_watermark(h, 3000));
    /* Deleted and set again: once. One that is late by the watermark fires with the next. */
    assert_true(weir_harness_rows_in(h, 0, "c|1|70000\nc|0|70000\nb|0|10"));
    assert_true(weir_harness_watermark(h, 3001));
    assert_true(weir_harness_watermark(h, 70000));
    assert_true(weir_harness_end(h));
}

static void event_check(struct weir_harness *h, void *arg)
{
    (void)arg;
    assert_string_equal(weir_harness_trace(h, 0), "W -6\n"
                                                  "b|-5|1\na|1000|1\na|500|2\nb|2000|2\nW 2499\n"
                                                  "longer than a slot holds|2500|1\na|3000|3\nW 3000\n"
                                                  "b|10|3\nW 3001\n"
                                                  "a|50000|4\nc|70000|1\nW 70000\n"
                                                  "b|9000000|4\nW max\n");
}

static void timers_fire_in_time_order_before_the_watermark(void **state)
{
    (void)state;
    weir_harness_all_modes(&setup, event_scenario, event_check, NULL);
}

/* Against a model: sets and deletes at random, some of them far apart. */
#define TIMES 64
static void random_scenario(struct weir_harness *h, void *arg)
{
    static const int64_t spread[] = {1, 977, 65536, 40000000};
    bool set[10][TIMES] = {{false}};
    uint64_t seed = 12345;
    int64_t step = *(const int64_t *)arg, expected = 0;
    step = spread[step];
    for (int i = 0; i < 6000; i++) {
        char row[64];
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        int key = (int)(seed >> 33) % 10, at = (int)(seed >> 40) % TIMES, op = (seed >> 50) % 3 == 0;
        set[key][at] = op == SET_EVENT;
        snprintf(row, sizeof row, "k%d|%d|%lld", key, op, (long long)(at + 100) * step);
        assert_true(weir_harness_rows_in(h, 0, row));
        if (i % 1500 == 1499) {
            int until = (i / 1500 + 1) * TIMES / 4;
            assert_true(weir_harness_watermark(h, (int64_t)(until + 100) * step - 1));
            for (int k = 0; k < 10; k++)
                for (int t = 0; t < until; t++) {
                    expected += set[k][t];
                    set[k][t] = false;
                }
            assert_int_equal(weir_harness_row_count(h, 0), expected);
        }
    }
    assert_true(weir_harness_end(h));
}

static void timers_are_those_that_were_set_and_not_deleted(void **state)
{
    (void)state;
    for (int64_t i = 0; i < 4; i++) {
        struct weir_error error;
        for (int m = 0; m < 7; m += 6) { /* as given; restored after every row */
            struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[m], &error);
            assert_non_null(h);
            random_scenario(h, &i);
            weir_harness_free(h);
        }
    }
}

/* --- Processing time */

static void processing_scenario(struct weir_harness *h, void *arg)
{
    (void)arg;
    assert_true(weir_harness_rows_in(h, 0, "a|2|200\nb|2|100\na|2|200\nb|2|300\nb|3|300\nc|2|5000"));
    assert_int_equal(weir_harness_timer(h), 100);
    assert_true(weir_harness_advance(h, 99));
    assert_int_equal(weir_harness_row_count(h, 0), 0);
    assert_true(weir_harness_advance(h, 100));
    assert_true(weir_harness_advance(h, 400));
    assert_true(weir_harness_end(h));
}

static void processing_check(struct weir_harness *h, void *arg)
{
    (void)arg;
    assert_string_equal(weir_harness_rows(h, 0), "b|-100|1\na|-200|1\n"); /* c's is not waited for */
}

static void processing_timers_fire_by_the_clock(void **state)
{
    (void)state;
    weir_harness_all_modes(&setup, processing_scenario, processing_check, NULL);
}

/* --- Time to live */

static void ttl_scenario(struct weir_harness *h, void *arg)
{
    (void)arg;
    assert_true(weir_harness_rows_in(h, 0, "a|4|7\na|5|0\na|6|1\na|6|2\na|8|1\na|8|2"));
    assert_true(weir_harness_advance(h, 60));
    assert_true(weir_harness_rows_in(h, 0, "a|5|0\na|6|3\na|8|2\na|10|1\nb|4|1"));
    assert_true(weir_harness_advance(h, 99));
    assert_true(weir_harness_rows_in(h, 0, "a|5|0\na|7|0\na|9|0\na|10|1"));
    assert_true(weir_harness_advance(h, 100));
    assert_true(weir_harness_rows_in(h, 0, "a|5|0\na|7|0\na|9|0\na|10|1"));
    assert_true(weir_harness_advance(h, 1000));
    assert_true(weir_harness_rows_in(h, 0, "a|5|0\na|7|0\na|9|0\na|10|1\nb|5|0"));
    assert_true(weir_harness_end(h));
}

static void ttl_check(struct weir_harness *h, void *arg)
{
    (void)arg;
    assert_string_equal(weir_harness_rows(h, 0),
                        "a|7|1\n"                                     /* at 0 */
                        "a|7|1\na|1|1\n"                              /* at 60: reads renew what is renewed by reads */
                        "a|7|1\na|0|3\na|1|2\na|1|1\n"                /* at 99 */
                        "a|-1|1\na|0|1\na|1|1\na|-1|1\n"              /* at 100: what was written at 0 is gone */
                        "a|-1|-1\na|0|0\na|1|0\na|-1|-1\nb|-1|-1\n"); /* at 1000 */
}

static void what_has_expired_is_never_given(void **state)
{
    (void)state;
    weir_harness_all_modes(&setup, ttl_scenario, ttl_check, NULL);
}

static int64_t kept_bytes(struct weir_harness *h)
{
    static uint64_t checkpoint = 1;
    struct weir_snapshot *snapshot = weir_harness_snapshot(h, checkpoint++, 0);
    int64_t size = 0;
    for (const struct weir_snapshot_part *part = snapshot->parts; part; part = part->next)
        size += (int64_t)part->bytes.size;
    weir_snapshot_free(snapshot);
    return size;
}

/* It is removed in passing, too: nobody asks for it again. */
static void what_has_expired_is_cleaned_up(void **state)
{
    struct weir_error error;
    struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
    char row[64];
    (void)state;
    assert_non_null(h);
    int64_t empty = kept_bytes(h);
    for (int i = 0; i < 500; i++) {
        snprintf(row, sizeof row, "key-%d|4|1\nkey-%d|6|1\nkey-%d|8|%d\nbig|6|%d\nbig|8|%d", i, i, i, i, i, i);
        assert_true(weir_harness_rows_in(h, 0, row));
    }
    assert_true(kept_bytes(h) > empty + 500 * 50);
    assert_true(weir_harness_advance(h, 1000));
    for (int i = 0; i < 400; i++) {
        snprintf(row, sizeof row, "other|0|%d", 1 << 20);
        assert_true(weir_harness_rows_in(h, 0, row));
    }
    assert_true(kept_bytes(h) < empty + 3000);
    weir_harness_free(h);
}

/* `count` rows of keys that nobody had before. */
static void new_keys(struct weir_harness *h, int *next, int count, int op)
{
    struct weir_buf rows;
    weir_buf_init(&rows, (size_t)1 << 20);
    for (int i = 0; i < count; i++)
        assert_true(weir_buf_printf(&rows, "%sk%d|%d|1", i ? "\n" : "", (*next)++, op));
    assert_true(weir_harness_rows_in(h, 0, (const char *)rows.data));
    weir_buf_fini(&rows);
}

/* Keys that come once and never again: no more of them stay than about twice what is within its time. */
static void the_walk_keeps_up_with_new_keys(void **state)
{
    struct weir_error error;
    struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
    int next = 0;
    (void)state;
    for (int i = 0; i < 10; i++)
        new_keys(h, &next, 500, ADD);
    int64_t live = kept_bytes(h);
    for (int i = 1; i <= 90; i++) {
        assert_true(weir_harness_advance(h, i * 10));
        new_keys(h, &next, 500, ADD);
    }
    int64_t kept = kept_bytes(h);
    if (kept > 3 * live)
        fail_msg("%lld bytes are kept, and %lld within their time", (long long)kept, (long long)live);
    weir_harness_free(h);
}

/* A stream that is silent: its next checkpoint in full has nothing of what is over, wherever the walk is. */
static void what_is_over_is_not_written_in_full(void **state)
{
    struct weir_error error;
    (void)state;
    for (int m = 0; weir_harness_modes[m].name; m++) {
        if (m != 0 && !weir_harness_modes[m].disk)
            continue;
        struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[m], &error);
        int next = 0;
        int64_t empty = kept_bytes(h);
        for (int i = 0; i < 10; i++)
            new_keys(h, &next, 500, PUT);
        assert_true(kept_bytes(h) > empty + 100000);
        assert_true(weir_harness_advance(h, 100));
        assert_int_equal(kept_bytes(h), empty);
        assert_true(weir_harness_rows_in(h, 0, "k7|4|1"));
        assert_true(kept_bytes(h) > empty);
        weir_harness_free(h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_in_time_order_before_the_watermark),
        cmocka_unit_test(timers_are_those_that_were_set_and_not_deleted),
        cmocka_unit_test(processing_timers_fire_by_the_clock),
        cmocka_unit_test(what_has_expired_is_never_given),
        cmocka_unit_test(what_has_expired_is_cleaned_up),
        cmocka_unit_test(the_walk_keeps_up_with_new_keys),
        cmocka_unit_test(what_is_over_is_not_written_in_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
