/* source in an alignment group: what is too far ahead is paused, goes on, and is never taken for idle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ops/alignment.h"
#include "ops/harness.h"
#include "ops/ops_int.h"
#include "state/snapshot.h"

#define OPTIONS(...) ((const char *[]){__VA_ARGS__, NULL})
#define ROW "ts TIMESTAMP(3) NOT NULL"
#define ALIGNED \
    "watermark.expression", "ts", "scan.watermark.alignment.group", "g", "scan.watermark.alignment.max-drift", "10 s"

/* --- A connector of messages with two lanes: each gives a row a second of event time, from its `next` on while that is below its `end` */

#define LANES 2
static struct {
    int64_t next_s, end_s;
    bool paused;
    int pauses;
} lanes[LANES];
static bool settled, bounded;
static struct weir_lane given_lanes[LANES];
static struct weir_message given[LANES];
static char texts[LANES][64 + WEIR_READ_PADDING];

static weir_err lanes_open(struct weir_connector_ctx *ctx, const struct weir_key_value *options, int count,
                           struct weir_reader **reader, struct weir_error *error)
{
    (void)ctx, (void)options, (void)count, (void)error;
    for (int i = 0; i < LANES; i++)
        given_lanes[i] =
            (struct weir_lane){.topic = "t", .partition = i, .watermark_ms = INT64_MIN, .end = -1, .committed = -1};
    *reader = (struct weir_reader *)(void *)lanes;
    return WEIR_OK;
}

static enum weir_read lanes_read(struct weir_reader *reader, struct weir_connector_ctx *ctx,
                                 struct weir_read_messages *out, int64_t *wait_until_ms, struct weir_error *error)
{
    (void)reader, (void)ctx, (void)error;
    out->unsettled = !settled;
    out->lanes = given_lanes;
    out->lane_count = settled ? LANES : 0;
    out->count = out->used = 0;
    out->messages = given;
    bool all_ended = bounded;
    for (int i = 0; i < out->lane_count; i++) {
        given_lanes[i].ended = bounded && lanes[i].next_s >= lanes[i].end_s;
        all_ended &= given_lanes[i].ended;
        if (lanes[i].paused || lanes[i].next_s >= lanes[i].end_s)
            continue;
        int size = snprintf(texts[i], 64, "{\"ts\":%lld}", (long long)lanes[i].next_s * 1000);
        given[out->count++] = (struct weir_message){.value = (const uint8_t *)texts[i],
                                                    .value_size = (size_t)size,
                                                    .lane = i,
                                                    .position = lanes[i].next_s++,
                                                    .timestamp_ms = INT64_MIN};
    }
    *wait_until_ms = INT64_MAX;
    return out->count ? WEIR_READ_DATA : all_ended && settled ? WEIR_READ_END : WEIR_READ_EMPTY;
}

static void lanes_pause(struct weir_reader *reader, int32_t lane, bool paused)
{
    (void)reader;
    assert_true(lanes[lane].paused != paused);
    lanes[lane].paused = paused;
    lanes[lane].pauses += paused;
}

static void lanes_close(struct weir_reader *reader)
{
    (void)reader;
}

static const struct weir_option no_options[] = {{0}};
static const struct weir_connector pausing = {.size = sizeof pausing,
                                              .name = "pausing",
                                              .source_options = no_options,
                                              .reader_open = lanes_open,
                                              .read_messages = lanes_read,
                                              .reader_close = lanes_close,
                                              .reader_pause = lanes_pause};
static const struct weir_connector plain = {.size = sizeof plain,
                                            .name = "plain",
                                            .source_options = no_options,
                                            .reader_open = lanes_open,
                                            .read_messages = lanes_read,
                                            .reader_close = lanes_close};
WEIR_CONNECTORS(&pausing, &plain);

static int woken;
static void wake(void *arg)
{
    ++*(int *)arg;
}

/* A batch has at most two rows or so: outputs are full after each. */
static const struct weir_harness_mode *mode(void)
{
    return &weir_harness_modes[5];
}

static struct weir_alignment *group(void)
{
    memset(lanes, 0, sizeof lanes);
    settled = true;
    bounded = false;
    woken = 0;
    return weir_alignment_new(NULL, NULL);
}

static struct weir_harness *open_source(const char *const *options, const char *declared,
                                        struct weir_alignment *alignment)
{
    static struct weir_harness_setup setups[4];
    static int next;
    struct weir_harness_setup *setup = &setups[next++ & 3];
    *setup = (struct weir_harness_setup){.op = &weir_op_source,
                                         .options = options,
                                         .declared = declared,
                                         .now_ms = 1000,
                                         .alignment = alignment,
                                         .wake = wake,
                                         .wake_arg = &woken};
    struct weir_error error;
    struct weir_harness *h = weir_harness_new(setup, mode(), &error);
    if (!h)
        fail_msg("%s", error.message);
    return h;
}

/* --- Lanes */

static void test_a_lane_ahead_waits(void **state)
{
    (void)state;
    struct weir_alignment *alignment = group();
    lanes[0].end_s = 5;
    lanes[1].next_s = 3;
    lanes[1].end_s = 100000;
    struct weir_harness *h = open_source(OPTIONS("connector", "pausing", "format", "json", ALIGNED), ROW, alignment);
    /* Of other processes nothing is known: a first batch, and no more. */
    assert_true(weir_harness_produce(h));
    int first = weir_harness_row_count(h, 0);
    assert_true(first > 0 && first < 12);
    weir_alignment_others(alignment, "g", WEIR_ALIGNED_FREE);
    assert_true(woken > 0);
    assert_true(weir_harness_produce(h));
    assert_int_equal(lanes[0].next_s, 5); /* all that there is: its watermark is at 4 s */
    assert_true(lanes[1].paused);
    assert_in_range(lanes[1].next_s, 4 + 10, 4 + 10 + 5);
    assert_int_equal(weir_harness_watermark_out(h), 4000);
    /* The slow one comes on, and the other behind it. */
    for (int i = 1; i <= 20; i++) {
        lanes[0].end_s = 5 + 7 * i;
        assert_true(weir_harness_produce(h));
        assert_in_range(lanes[1].next_s, 4 + 7 * i + 10, 4 + 7 * i + 10 + 5);
    }
    assert_true(lanes[1].pauses >= 20);
    /* It has others behind it in another process. */
    weir_alignment_others(alignment, "g", 50000);
    lanes[0].end_s = 100000;
    int64_t before = lanes[1].next_s;
    assert_true(weir_harness_produce(h));
    assert_true(lanes[0].paused && lanes[1].paused);
    assert_in_range(lanes[1].next_s, before, before + 5);
    /* A barrier while all is paused. */
    struct weir_snapshot *snapshot = weir_harness_snapshot(h, 7, 0);
    assert_non_null(snapshot->parts);
    weir_snapshot_free(snapshot);
    weir_alignment_others(alignment, "g", WEIR_ALIGNED_FREE);
    assert_true(weir_harness_produce(h));
    assert_int_equal(lanes[0].next_s, 100000);
    assert_int_equal(lanes[1].next_s, 100000);
    weir_harness_free(h);
    weir_alignment_free(alignment);
}

static void test_who_holds_nobody_back(void **state)
{
    (void)state;
    /* An idle lane; the paused one is not taken for idle, however long it waits. */
    struct weir_alignment *alignment = group();
    lanes[0].end_s = 1;
    lanes[1].end_s = 1000;
    struct weir_harness *h = open_source(
        OPTIONS("connector", "pausing", "format", "json", "watermark.idle-timeout", "5 s", ALIGNED), ROW, alignment);
    weir_alignment_others(alignment, "g", WEIR_ALIGNED_FREE);
    assert_true(weir_harness_produce(h));
    assert_true(lanes[1].paused);
    assert_true(weir_harness_advance(h, 5900));
    assert_true(weir_harness_produce(h));
    assert_true(lanes[1].paused);
    assert_int_equal(weir_harness_watermark_out(h), 0);
    assert_true(weir_harness_advance(h, 6100)); /* the slow one is idle */
    assert_true(weir_harness_produce(h));
    assert_int_equal(lanes[1].next_s, 1000);
    assert_int_equal(weir_harness_watermark_out(h), 999000);
    assert_null(strstr(weir_harness_trace(h, 0), "IDLE"));
    /* It comes back, far behind: the other waits for it, and is at 999 s all that time. */
    lanes[0].end_s = 2;
    lanes[1].end_s = 2000;
    assert_true(weir_harness_produce(h));
    assert_true(lanes[1].paused);
    assert_in_range(lanes[1].next_s, 1000, 1005);
    struct weir_aligned *other = weir_alignment_join(alignment, "g", 1000, wake, &woken);
    assert_int_equal(weir_aligned_say(other, WEIR_ALIGNED_FREE), 1000); /* lane 0 */
    /* Lane 0 idle again; the paused one counts. */
    assert_true(weir_harness_advance(h, 20000));
    weir_alignment_others(alignment, "g", 900000);
    assert_true(weir_harness_produce(h));
    assert_true(lanes[1].paused);
    assert_true(weir_harness_advance(h, 60000));
    assert_true(weir_harness_produce(h));
    assert_null(strstr(weir_harness_trace(h, 0), "IDLE"));
    weir_alignment_others(alignment, "g", WEIR_ALIGNED_FREE);
    assert_true(weir_aligned_say(other, WEIR_ALIGNED_FREE) >= 999000);
    weir_aligned_leave(other, true);
    weir_harness_free(h);
    weir_alignment_free(alignment);
    /* A lane at its end; then the whole source. */
    alignment = group();
    bounded = true;
    lanes[0].end_s = 1;
    lanes[1].end_s = 500;
    h = open_source(OPTIONS("connector", "pausing", "format", "json", ALIGNED), ROW, alignment);
    other = weir_alignment_join(alignment, "g", 1000, wake, &woken);
    (void)weir_aligned_say(other, WEIR_ALIGNED_FREE);
    weir_alignment_others(alignment, "g", WEIR_ALIGNED_FREE);
    assert_true(weir_harness_produce(h));
    assert_true(weir_harness_done(h));
    assert_int_equal(weir_harness_row_count(h, 0), 501);
    assert_true(weir_aligned_say(other, WEIR_ALIGNED_FREE) == WEIR_ALIGNED_FREE);
    weir_aligned_leave(other, true);
    weir_harness_free(h);
    weir_alignment_free(alignment);
}

/* Until a reader knows which lanes it has, it is not idle: any may come. */
static void test_lanes_not_known_yet(void **state)
{
    (void)state;
    struct weir_alignment *alignment = group();
    settled = false;
    struct weir_harness *h = open_source(OPTIONS("connector", "pausing", "format", "json", ALIGNED), ROW, alignment);
    struct weir_aligned *other = weir_alignment_join(alignment, "g", 1000, wake, &woken);
    weir_alignment_others(alignment, "g", WEIR_ALIGNED_FREE);
    assert_true(weir_harness_produce(h));
    assert_null(strstr(weir_harness_trace(h, 0), "IDLE"));
    assert_true(weir_aligned_say(other, 5000) == WEIR_ALIGNED_UNKNOWN);
    settled = true;
    for (int i = 0; i < LANES; i++)
        given_lanes[i].ended = true;
    bounded = true;
    assert_true(weir_harness_produce(h));
    assert_true(weir_harness_done(h));
    assert_int_equal(weir_aligned_say(other, 5000), 5000);
    weir_aligned_leave(other, true);
    weir_harness_free(h);
    weir_alignment_free(alignment);
}

/* --- Readers that cannot pause a lane, and those without lanes, wait as a whole */

static void test_a_whole_reader_waits(void **state)
{
    (void)state;
    const char *const *const sources[] = {
        OPTIONS("connector", "plain", "format", "json", "watermark.idle-timeout", "5 s", ALIGNED),
        OPTIONS("connector", "datagen", "fields.ts.kind", "time", "fields.ts.start", "1970-01-01 00:00:00",
                "fields.ts.step", "1 s", "watermark.idle-timeout", "5 s", ALIGNED),
    };
    for (int i = 0; i < 2; i++) {
        struct weir_alignment *alignment = group();
        lanes[0].end_s = lanes[1].end_s = 1 << 20;
        struct weir_harness *h = open_source(sources[i], ROW, alignment);
        struct weir_aligned *other = weir_alignment_join(alignment, "g", 1000, wake, &woken);
        weir_alignment_others(alignment, "g", WEIR_ALIGNED_FREE);
        (void)weir_aligned_say(other, 100000);
        assert_false(weir_harness_calls(h, NULL, 10000));
        int rows = weir_harness_row_count(h, 0);
        int64_t at_ms = weir_harness_watermark_out(h);
        assert_true(at_ms > 110000);
        assert_true(rows < 10000);
        /* Nothing moves, and it is not idle. */
        assert_true(weir_harness_advance(h, 60000));
        assert_false(weir_harness_calls(h, NULL, 100));
        assert_int_equal(weir_harness_row_count(h, 0), rows);
        assert_null(strstr(weir_harness_trace(h, 0), "IDLE"));
        assert_true(weir_harness_timer(h) < INT64_MAX);
        woken = 0;
        (void)weir_aligned_say(other, at_ms - 10000);
        assert_int_equal(woken, 1);
        assert_false(weir_harness_calls(h, NULL, 1));
        assert_true(weir_harness_row_count(h, 0) > rows);
        weir_aligned_leave(other, true);
        weir_harness_free(h);
        weir_alignment_free(alignment);
    }
}

/* In the middle of a file, with a barrier while it is paused, and again from there. */
static void test_a_split_waits(void **state)
{
    (void)state;
    char path[] = "/tmp/weir-align-XXXXXX";
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "w");
    for (int i = 0; i < 20000; i++)
        fprintf(file, "{\"ts\":%d}\n", i * 1000);
    fclose(file);
    struct weir_alignment *alignment = group();
    const char **options = OPTIONS("connector", "filesystem", "path", path, "format", "json", ALIGNED);
    struct weir_harness_setup setup = {.op = &weir_op_source,
                                       .options = options,
                                       .inputs = {"id STRING NOT NULL, offset BIGINT NOT NULL, size BIGINT NOT NULL, "
                                                  "remaining BIGINT NOT NULL"},
                                       .declared = ROW,
                                       .alignment = alignment,
                                       .wake = wake,
                                       .wake_arg = &woken};
    struct weir_error error;
    struct weir_harness *h = weir_harness_new(&setup, mode(), &error);
    assert_non_null(h);
    struct weir_aligned *other = weir_alignment_join(alignment, "g", 1000, wake, &woken);
    weir_alignment_others(alignment, "g", WEIR_ALIGNED_FREE);
    (void)weir_aligned_say(other, 1000000);
    char split[300];
    snprintf(split, sizeof split, "%s|0|-1|0", path);
    assert_false(weir_harness_calls(h, weir_harness_batch_of(weir_harness_input_schema(h, 0), split), 1000));
    int rows = weir_harness_row_count(h, 0);
    assert_in_range(rows, 1011, 1011 + WEIR_BATCH_ROWS_DEFAULT);
    struct weir_snapshot *snapshot = weir_harness_snapshot(h, 1, 0);
    struct weir_restored *restored = weir_restored_new(1);
    struct weir_snapshot_part *part = snapshot->parts;
    weir_restored_add(restored, part->uid, part->name, part->kind, 0, 1,
                      memcpy(weir_alloc(part->bytes.size), part->bytes.data, part->bytes.size), part->bytes.size);
    weir_snapshot_free(snapshot);
    weir_harness_free(h);
    /* Its next attempt waits, too, and then reads the rest. */
    setup.restored = restored;
    h = weir_harness_new(&setup, mode(), &error);
    assert_non_null(h);
    assert_true(weir_aligned_say(other, 1000000) == WEIR_ALIGNED_UNKNOWN);
    weir_alignment_others(alignment, "g", WEIR_ALIGNED_FREE);
    assert_false(weir_harness_calls(h, weir_harness_batch_of(weir_harness_input_schema(h, 0), "none|0|0|0"), 10));
    assert_int_equal(weir_harness_row_count(h, 0), 0);
    weir_aligned_leave(other, true);
    (void)weir_harness_calls(h, weir_harness_batch_of(weir_harness_input_schema(h, 0), split), 0);
    assert_false(weir_harness_calls(h, weir_harness_batch_of(weir_harness_input_schema(h, 0), split), 10));
    assert_true(weir_harness_row_count(h, 0) > 0);
    weir_harness_free(h);
    weir_restored_free(restored);
    weir_alignment_free(alignment);
    remove(path);
}

static void test_refused(void **state)
{
    (void)state;
    const struct {
        const char *const *options;
        const char *part;
    } bad[] = {
        {OPTIONS("connector", "datagen", "scan.watermark.alignment.group", "g"),
         "needs 'scan.watermark.alignment.max-drift'"},
        {OPTIONS("connector", "datagen", "scan.watermark.alignment.group", "g", "scan.watermark.alignment.max-drift",
                 "0 s"),
         "needs 'scan.watermark.alignment.max-drift'"},
        {OPTIONS("connector", "datagen", "scan.watermark.alignment.group", "g", "scan.watermark.alignment.max-drift",
                 "1 s"),
         "set 'watermark.expression'"},
        {OPTIONS("connector", "datagen", "scan.watermark.alignment.max-drift", "1 s"),
         "set 'scan.watermark.alignment.group'"},
        {OPTIONS("connector", "datagen", ALIGNED, "scan.watermark.alignment.update-interval", "1 ms"),
         "from 10 ms to 1 h"},
        {OPTIONS("connector", "datagen", ALIGNED, "scan.watermark.alignment.update-intervall", "1 s"), "did you mean"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct weir_harness_setup setup = {.op = &weir_op_source, .options = bad[i].options, .declared = ROW};
        struct weir_error error;
        assert_null(weir_harness_new(&setup, mode(), &error));
        if (!strstr(error.message, bad[i].part))
            fail_msg("'%s' is not in: %s", bad[i].part, error.message);
    }
}

static int load(void **state)
{
    struct weir_error error;
    (void)state;
    return weir_connectors_load(dlopen(NULL, RTLD_NOW), &error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_lane_ahead_waits),  cmocka_unit_test(test_who_holds_nobody_back),
        cmocka_unit_test(test_lanes_not_known_yet), cmocka_unit_test(test_a_whole_reader_waits),
        cmocka_unit_test(test_a_split_waits),       cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, load, NULL);
}
