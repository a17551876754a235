/* The output log: what is read is what was appended, epoch by epoch, wherever objects end; what is damaged is said to be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "ops/output_log.h"
#include "state/snapshot.h"
#include "store/store.h"

static struct weir_store *store;
static char directory[64];

static void made_progress(void *arg)
{
    (void)arg;
}

static struct weir_op_ctx ctx_from(const struct weir_restored *restored)
{
    static struct weir_op_plan plan = {.uid = "0011"};
    return (struct weir_op_ctx){.job_id = "0123456789abcdef0123456789abcdef",
                                .plan = &plan,
                                .store = store,
                                .object_name = "1-0-2",
                                .restored = restored,
                                .wake = made_progress};
}

static void append(struct weir_output_log *log, const char *key, const char *value, size_t value_size,
                   const char *topic, int partition, int64_t time_ms)
{
    struct weir_message_out message = {.value = (const uint8_t *)value,
                                       .value_size = value_size,
                                       .key = (const uint8_t *)key,
                                       .key_size = key ? strlen(key) : 0,
                                       .topic = topic,
                                       .topic_size = topic ? strlen(topic) : 0,
                                       .partition = partition,
                                       .timestamp_ms = time_ms};
    struct weir_error error;
    assert_false(weir_output_log_is_busy(log));
    assert_int_equal(weir_output_log_append(log, &message, &error), WEIR_OK);
}

static void end_epoch(struct weir_output_log *log, uint64_t checkpoint, struct weir_output_segments *segments)
{
    struct weir_barrier_sync sync;
    struct weir_error error;
    assert_true(weir_output_log_end_epoch(log, checkpoint, segments, &sync));
    assert_true(sync.again);
    assert_int_equal(sync.run(sync.arg, &error), WEIR_OK);
    assert_int_equal(sync.run(sync.arg, &error), WEIR_OK); /* for a later checkpoint */
    sync.free_arg(sync.arg);
}

static struct weir_message_out *read_object(const struct weir_output_segment *segment, struct weir_buf *bytes,
                                            int64_t *count)
{
    struct weir_message_out *messages = NULL;
    struct weir_error error;
    weir_buf_init(bytes, (size_t)segment->size);
    assert_int_equal(weir_store_get(store, segment->object, bytes, NULL, &error), WEIR_OK);
    assert_int_equal(bytes->size, segment->size);
    assert_int_equal(weir_crc32c(0, bytes->data, bytes->size), segment->crc32c);
    assert_int_equal(weir_output_log_read(bytes->data, bytes->size, &messages, count, &error), WEIR_OK);
    assert_int_equal(*count, segment->records);
    return messages;
}

/* Every cut and every bit: an error or messages, never what is behind the end (the sanitizers look). */
static void try_damaged(struct weir_buf *bytes, int64_t whole)
{
    struct weir_error error;
    int64_t count;
    for (size_t cut = 0; cut < bytes->size; cut++) {
        uint8_t *copy = malloc(cut + 1);
        memcpy(copy, bytes->data, cut);
        struct weir_message_out *some = NULL;
        if (!weir_output_log_read(copy, cut, &some, &count, &error))
            assert_true(count < whole);
        free(some);
        free(copy);
    }
    for (size_t bit = 0; bit < bytes->size * 8; bit++) {
        struct weir_message_out *some = NULL;
        bytes->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        (void)!weir_output_log_read(bytes->data, bytes->size, &some, &count, &error);
        free(some);
        bytes->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void test_messages_come_back(void **state)
{
    struct weir_op_ctx ctx = ctx_from(NULL);
    struct weir_output_log *log = weir_output_log_new(&ctx);
    struct weir_output_segments segments;
    struct weir_barrier_sync sync;
    (void)state;
    assert_false(weir_output_log_end_epoch(log, 3, &segments, &sync)); /* nothing was appended */
    append(log, "k", "v", 1, NULL, -1, 5);
    append(log, NULL, "", 0, "a-topic", 7, INT64_MIN);
    append(log, "", NULL, 0, NULL, 0, INT64_MAX);
    end_epoch(log, 4, &segments);
    assert_int_equal(segments.count, 1);
    assert_int_equal(segments.since, 3);
    assert_string_equal(segments.sink, "0011");
    struct weir_buf bytes;
    int64_t count;
    struct weir_message_out *m = read_object(&segments.list[0], &bytes, &count);
    assert_int_equal(count, 3);
    assert_true(m[0].key_size == 1 && m[0].key[0] == 'k' && m[0].value_size == 1 && m[0].value[0] == 'v');
    assert_true(!m[0].topic && m[0].partition == -1 && m[0].timestamp_ms == 5);
    assert_true(!m[1].key && m[1].value && m[1].value_size == 0 && m[1].partition == 7 &&
                m[1].timestamp_ms == INT64_MIN);
    assert_true(m[1].topic_size == 7 && memcmp(m[1].topic, "a-topic", 7) == 0);
    assert_true(m[2].key && m[2].key_size == 0 && !m[2].value && m[2].partition == 0 && m[2].timestamp_ms == INT64_MAX);
    free(m);

    try_damaged(&bytes, 3);
    weir_buf_fini(&bytes);
    weir_output_segments_fini(&segments);
    append(log, "later", "x", 1, NULL, -1, 1);
    end_epoch(log, 0, &segments); /* the task's end */
    assert_int_equal(segments.since, 4);
    weir_output_segments_fini(&segments);
    weir_output_log_free(log);
}

/* More than an object holds: several, in order; nothing of an attempt that was restored bears an older checkpoint's id. */
/* Beside messages without, and in any cut and with any bit turned: headers, or an error. */
static void test_headers_come_back(void **state)
{
    struct weir_op_ctx ctx = ctx_from(NULL);
    struct weir_output_log *log = weir_output_log_new(&ctx);
    struct weir_output_segments segments;
    const struct weir_message_header headers[] = {
        {"name", (const uint8_t *)"value", 5}, {"", NULL, 0}, {"empty", (const uint8_t *)"", 0}};
    struct weir_error error;
    (void)state;
    for (int i = 0; i < 40; i++) {
        struct weir_message_out message = {.partition = -1, .header_count = i % 4, .headers = headers};
        assert_int_equal(weir_output_log_append(log, &message, &error), WEIR_OK);
    }
    end_epoch(log, 4, &segments);
    struct weir_buf bytes;
    int64_t count;
    struct weir_message_out *m = read_object(&segments.list[0], &bytes, &count);
    for (int i = 0; i < 40; i++) {
        assert_int_equal(m[i].header_count, i % 4);
        for (int h = 0; h < m[i].header_count; h++) {
            assert_string_equal(m[i].headers[h].name, headers[h].name);
            assert_int_equal(m[i].headers[h].value_size, headers[h].value_size);
            assert_int_equal(!m[i].headers[h].value, !headers[h].value);
            assert_memory_equal(m[i].headers[h].value ? m[i].headers[h].value : (const uint8_t *)"",
                                headers[h].value ? headers[h].value : (const uint8_t *)"", headers[h].value_size);
        }
    }
    free(m);
    try_damaged(&bytes, 40);
    weir_buf_fini(&bytes);
    weir_output_segments_fini(&segments);
    weir_output_log_free(log);
}

/* The last message, and no other; alone it leaves no object. */
static void test_what_is_taken_back(void **state)
{
    struct weir_op_ctx ctx = ctx_from(NULL);
    struct weir_output_log *log = weir_output_log_new(&ctx);
    struct weir_output_segments segments;
    struct weir_barrier_sync sync;
    (void)state;
    append(log, "k", "gone", 4, NULL, -1, 1);
    weir_output_log_take_back(log);
    assert_false(weir_output_log_end_epoch(log, 4, &segments, &sync));
    append(log, "k", "stays", 5, NULL, -1, 2);
    append(log, "other", "gone again", 10, "topic", 3, 3);
    weir_output_log_take_back(log);
    append(log, NULL, "last", 4, NULL, -1, 4);
    end_epoch(log, 5, &segments);
    struct weir_buf bytes;
    int64_t count;
    struct weir_message_out *m = read_object(&segments.list[0], &bytes, &count);
    assert_int_equal(count, 2);
    assert_int_equal(m[0].timestamp_ms, 2);
    assert_int_equal(m[1].timestamp_ms, 4);
    assert_memory_equal(m[1].value, "last", 4);
    free(m);
    weir_buf_fini(&bytes);
    weir_output_segments_fini(&segments);
    weir_output_log_free(log);
}

/* Two sinks in one task: each has objects of its own. */
static void test_two_logs_of_a_task(void **state)
{
    (void)state;
    struct weir_op_ctx ctx[2] = {ctx_from(NULL), ctx_from(NULL)};
    ctx[1].chain_index = 3;
    struct weir_output_log *logs[2];
    struct weir_output_segments segments[2];
    static const char *const values[2] = {"of the first", "of the other one"};
    for (int i = 0; i < 2; i++) {
        logs[i] = weir_output_log_new(&ctx[i]);
        append(logs[i], "k", values[i], strlen(values[i]), NULL, -1, 0);
    }
    for (int i = 0; i < 2; i++)
        end_epoch(logs[i], 5, &segments[i]);
    for (int i = 0; i < 2; i++) {
        struct weir_buf bytes;
        int64_t count;
        assert_int_equal(segments[i].count, 1);
        struct weir_message_out *messages = read_object(&segments[i].list[0], &bytes, &count);
        assert_int_equal(messages[0].value_size, strlen(values[i]));
        assert_memory_equal(messages[0].value, values[i], strlen(values[i]));
        free(messages);
        weir_buf_fini(&bytes);
        weir_output_segments_fini(&segments[i]);
        weir_output_log_free(logs[i]);
    }
}

static void test_large_epochs(void **state)
{
    struct weir_restored restored = {.checkpoint = 41};
    struct weir_op_ctx ctx = ctx_from(&restored);
    struct weir_output_log *log = weir_output_log_new(&ctx);
    struct weir_output_segments segments;
    enum { SIZE = 100000, COUNT = 300 };
    char *value = calloc(1, SIZE);
    (void)state;
    for (int i = 0; i < COUNT; i++) {
        memcpy(value, &i, sizeof i);
        append(log, NULL, value, SIZE, NULL, -1, i);
    }
    end_epoch(log, 42, &segments);
    assert_int_equal(segments.since, 41);
    assert_true(segments.count >= 3);
    int next = 0;
    for (int s = 0; s < segments.count; s++) {
        struct weir_buf bytes;
        int64_t count;
        struct weir_message_out *m = read_object(&segments.list[s], &bytes, &count);
        assert_non_null(strstr(segments.list[s].object, "/chk-41/1-0-2-log"));
        for (int64_t i = 0; i < count; i++, next++) {
            assert_int_equal(m[i].timestamp_ms, next);
            assert_memory_equal(m[i].value, &next, sizeof next);
        }
        free(m);
        weir_buf_fini(&bytes);
    }
    assert_int_equal(next, COUNT);
    weir_output_segments_fini(&segments);
    append(log, NULL, value, SIZE, NULL, -1, 1); /* never ended: freed */
    weir_output_log_free(log);
    free(value);
}

static int open_store(void **state)
{
    struct weir_error error;
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/weir-output-log-XXXXXX");
    return mkdtemp(directory) && !weir_store_open(directory, NULL, &store, &error) ? 0 : -1;
}

static int close_store(void **state)
{
    char command[128];
    (void)state;
    weir_store_close(store);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_come_back), cmocka_unit_test(test_headers_come_back),
        cmocka_unit_test(test_what_is_taken_back), cmocka_unit_test(test_two_logs_of_a_task),
        cmocka_unit_test(test_large_epochs),
    };
    return cmocka_run_group_tests(tests, open_store, close_store);
}
