/* Batches: building, sharing, moving rows (against a plain model), recycled buffers across threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "unit/data_random.h"

static const int row_counts[] = {1, 2, 3, 63, 64, 65, 127, 128, 1000, 4096};
#define ROW_COUNTS (int)(sizeof row_counts / sizeof *row_counts)

static struct weir_schema *schema_of(const char *text)
{
    struct weir_schema *schema;
    struct weir_error error;
    if (weir_schema_parse(text, &schema, &error))
        fail_msg("%s", error.message);
    return schema;
}

static void mark_changes(struct random *random, struct weir_batch *batch)
{
    batch->change_buffer = weir_buffer_new((size_t)batch->row_capacity);
    batch->change = batch->change_buffer->bytes;
    for (int row = 0; row < batch->row_count; row++)
        batch->change[row] = (uint8_t)random_below(random, 4);
}

static void rows_are_what_was_set(void **state)
{
    (void)state;
    struct weir_schema *schema = schema_of("a INT, s STRING, b BOOLEAN NOT NULL");
    struct weir_batch *batch = weir_batch_new(schema, 3);
    assert_null(batch->columns[0].validity);
    batch->columns[0].i32[0] = 7;
    weir_column_set_bytes(&batch->columns[1], 0, "x\"y", 3);
    weir_bit_put(batch->columns[2].bits, 0, true);
    batch->row_count = 1;
    weir_column_set_null(&batch->columns[0], 1, 3);
    weir_column_set_null(&batch->columns[1], 1, 3);
    weir_bit_put(batch->columns[2].bits, 1, false);
    batch->row_count = 2;
    /* A row that is begun and forgotten leaves nothing behind. */
    weir_column_set_null(&batch->columns[0], 2, 3);
    weir_column_set_bytes(&batch->columns[1], 2, "gone", 4);
    weir_batch_undo_row(batch);
    batch->columns[0].i32[2] = 9;
    weir_column_set_bytes(&batch->columns[1], 2, "", 0);
    weir_bit_put(batch->columns[2].bits, 2, true);
    batch->row_count = 3;
    static const char *const expected[] = {"{\"a\": 7, \"s\": \"x\\\"y\", \"b\": true}",
                                           "{\"a\": null, \"s\": null, \"b\": false}",
                                           "{\"a\": 9, \"s\": \"\", \"b\": true}"};
    struct weir_buf out;
    weir_buf_init(&out, 1000);
    for (int row = 0; row < 3; row++) {
        weir_buf_clear(&out);
        assert_true(weir_batch_print_row(batch, row, &out));
        assert_string_equal((const char *)out.data, expected[row]);
    }
    assert_int_equal((uintptr_t)batch->columns[0].i32 % 64, 0);
    assert_int_equal(weir_batch_bytes(batch), 12 + 8 + 16 + 3 + 8 + 8);
    struct weir_buf tiny;
    weir_buf_init(&tiny, 8);
    assert_false(weir_batch_print_row(batch, 0, &tiny));
    weir_buf_fini(&tiny);
    weir_buf_fini(&out);
    weir_batch_unref(batch);
    weir_batch_unref(NULL);
    weir_schema_unref(schema);
}

static void rows_move_as_in_the_model(void **state)
{
    (void)state;
    struct random random = {3};
    struct weir_schema *schema = schema_of(ALL_TYPES_SCHEMA KEYABLE_TYPES_SCHEMA MAP_TYPES_SCHEMA);
    static int32_t rows[WEIR_BATCH_ROWS_MAX];
    for (int i = 0; i < ROW_COUNTS * 3; i++) {
        int row_count = row_counts[i % ROW_COUNTS];
        struct weir_batch *batch = random_batch(&random, schema, row_count, i / ROW_COUNTS * 3);
        if (i % 2)
            mark_changes(&random, batch);
        batch->origin_ns = 5;

        int count = random_below(&random, WEIR_BATCH_ROWS_MAX + 1);
        for (int j = 0; j < count; j++)
            rows[j] = random_below(&random, row_count);
        struct weir_batch *gathered = weir_batch_gather(batch, rows, count);
        assert_int_equal(gathered->row_count, count);
        assert_int_equal(gathered->origin_ns, 5);
        for (int j = 0; j < count; j++)
            assert_true(same_row(gathered, j, batch, rows[j]));
        weir_batch_unref(gathered);

        int first = random_below(&random, row_count);
        count = random_below(&random, row_count - first + 1);
        struct weir_batch *slice = weir_batch_slice(batch, first, count);
        assert_int_equal(slice->row_count, count);
        for (int j = 0; j < count; j++)
            assert_true(same_row(slice, j, batch, first + j));
        weir_batch_unref(slice);

        uint64_t mask[WEIR_BATCH_ROWS_MAX / 64];
        for (int mode = 0; mode < 4; mode++) { /* none, some, most, all; bits past row_count are noise */
            int expected = 0;
            for (size_t w = 0; w < weir_bitmap_words(row_count); w++)
                mask[w] = mode == 0   ? 0
                          : mode == 1 ? random_next(&random)
                          : mode == 2 ? random_next(&random) | random_next(&random) | random_next(&random)
                                      : ~(uint64_t)0;
            if (row_count % 64)
                mask[row_count / 64] ^= ~(uint64_t)0 << row_count % 64;
            struct weir_batch *kept = weir_batch_filter(batch, mask);
            for (int row = 0; row < row_count; row++) {
                if (weir_bit_get(mask, row))
                    assert_true(same_row(kept, expected++, batch, row));
            }
            assert_int_equal(kept->row_count, expected);
            assert_true((kept == batch) == (expected == row_count));
            weir_batch_unref(kept);
        }
        weir_batch_unref(batch);
    }
    weir_schema_unref(schema);
}

static void appended_rows_are_in_order(void **state)
{
    (void)state;
    struct random random = {4};
    struct weir_schema *schema = schema_of(ALL_TYPES_SCHEMA KEYABLE_TYPES_SCHEMA MAP_TYPES_SCHEMA);
    for (int round = 0; round < 30; round++) {
        struct weir_batch *to = weir_batch_new(schema, WEIR_BATCH_ROWS_MAX);
        struct weir_batch *sources[8];
        int source_of[WEIR_BATCH_ROWS_MAX], row_of[WEIR_BATCH_ROWS_MAX];
        for (int s = 0; s < 8; s++) {
            sources[s] = random_batch(&random, schema, row_counts[random_below(&random, ROW_COUNTS)],
                                      random_below(&random, 3) * 2);
            sources[s]->origin_ns = random_below(&random, 100);
            if (random_below(&random, 3) == 0)
                mark_changes(&random, sources[s]);
            int32_t rows[512];
            int count = random_below(&random, 512), first = to->row_count;
            for (int j = 0; j < count; j++) {
                rows[j] = random_below(&random, sources[s]->row_count);
                source_of[first + j] = s;
                row_of[first + j] = rows[j];
            }
            weir_batch_append_rows(to, sources[s], rows, count);
            assert_int_equal(to->row_count, first + count);
        }
        for (int row = 0; row < to->row_count; row++)
            assert_true(same_row(to, row, sources[source_of[row]], row_of[row]));
        for (int s = 0; s < 8; s++) {
            assert_true(sources[s]->origin_ns == 0 || to->origin_ns <= sources[s]->origin_ns);
            weir_batch_unref(sources[s]);
        }
        weir_batch_unref(to);
    }
    weir_schema_unref(schema);
}

static void shared_columns_outlive_their_batch(void **state)
{
    (void)state;
    struct random random = {5};
    struct weir_schema *schema = schema_of(ALL_TYPES_SCHEMA KEYABLE_TYPES_SCHEMA MAP_TYPES_SCHEMA);
    struct weir_batch *batch = random_batch(&random, schema, 65, 3);
    struct weir_batch *copy = weir_batch_slice(batch, 0, 65);
    struct weir_batch *shell = weir_batch_new_shell(schema, 65);
    for (int i = 0; i < schema->field_count; i++) {
        weir_column_share(&shell->columns[i], &batch->columns[i]);
        assert_ptr_equal(shell->columns[i].values, batch->columns[i].values);
    }
    weir_batch_unref(batch);
    for (int row = 0; row < 65; row++)
        assert_true(same_row(shell, row, copy, row));
    weir_column_fini(&shell->columns[7]);
    assert_null(shell->columns[7].bytes);
    weir_batch_unref(shell);
    weir_batch_unref(copy);
    weir_schema_unref(schema);
}

static void bitmaps_count(void **state)
{
    (void)state;
    uint64_t bits[3] = {~(uint64_t)0, 5, ~(uint64_t)0};
    assert_int_equal(weir_bitmap_count(bits, 0), 0);
    assert_int_equal(weir_bitmap_count(bits, 1), 1);
    assert_int_equal(weir_bitmap_count(bits, 63), 63);
    assert_int_equal(weir_bitmap_count(bits, 64), 64);
    assert_int_equal(weir_bitmap_count(bits, 66), 65);
    assert_int_equal(weir_bitmap_count(bits, 129), 67);
}

static void large_strings_grow(void **state)
{
    (void)state;
    struct weir_schema *schema = schema_of("s STRING");
    struct weir_batch *batch = weir_batch_new(schema, 3);
    size_t size = 3000000;
    char *text = malloc(size);
    for (size_t i = 0; i < size; i++)
        text[i] = (char)('a' + i % 26);
    for (int row = 0; row < 3; row++) {
        weir_column_set_bytes(&batch->columns[0], row, text, size - (size_t)row);
        batch->row_count = row + 1;
    }
    for (int row = 0; row < 3; row++) {
        size_t got;
        const uint8_t *bytes = weir_column_bytes(&batch->columns[0], row, &got);
        assert_int_equal(got, size - (size_t)row);
        assert_memory_equal(bytes, text, got);
    }
    free(text);
    weir_batch_unref(batch);
    weir_schema_unref(schema);
}

/* Buffers of every size class: distinct, aligned, large enough, writable to the end. */
static void buffers_do_not_overlap(void **state)
{
    (void)state;
    enum { COUNT = 400 };
    struct weir_buffer *buffers[COUNT];
    struct random random = {6};
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < COUNT; i++) {
            size_t size = (size_t)1 << random_below(&random, i % 40 == 0 ? 23 : 16);
            size += random_next(&random) % size;
            buffers[i] = weir_buffer_new(size);
            assert_true(buffers[i]->capacity >= size);
            assert_int_equal(buffers[i]->capacity % 64, 0);
            assert_int_equal((uintptr_t)buffers[i]->bytes % 64, 0);
            assert_int_equal(buffers[i]->refs, 1);
            memset(buffers[i]->bytes, i & 0xff, buffers[i]->capacity);
        }
        for (int i = 0; i < COUNT; i++) {
            assert_int_equal(buffers[i]->bytes[0], i & 0xff);
            assert_int_equal(buffers[i]->bytes[buffers[i]->capacity - 1], i & 0xff);
            weir_buffer_unref(buffers[i]);
        }
    }
}

/* What the depots give meanwhile. */
static size_t make_and_free(int count, size_t size)
{
    struct weir_buffer *buffers[1000];
    size_t before = weir_buffer_depot_bytes();
    assert_in_range(count, 1, 1000);
    for (int i = 0; i < count; i++)
        buffers[i] = weir_buffer_new(size);
    size_t given = before - weir_buffer_depot_bytes();
    for (int i = 0; i < count; i++)
        weir_buffer_unref(buffers[i]);
    assert_in_range(weir_buffer_depot_bytes(), 0, 16 << 20);
    return given;
}

/* What lies idle has a bound, and makes room for the sizes that are asked for now. */
static void idle_buffers_are_bounded(void **state)
{
    (void)state;
    make_and_free(1000, 100000);
    if (weir_buffer_depot_bytes() == 0) /* a sanitizer sees each buffer's end */
        skip();
    assert_in_range(weir_buffer_depot_bytes(), 12 << 20, 16 << 20);
    for (int i = 0; i < 20; i++)
        make_and_free(60, 200000);
    assert_in_range(make_and_free(60, 200000), 50 * 200000, 16 << 20);
}

/* One thread makes, the other frees, through a small ring; each checks that nobody wrote into what it holds. */
enum { RING = 64, HANDOVERS = 30000 };
static struct weir_batch *ring[RING];
static pthread_mutex_t ring_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ring_moved = PTHREAD_COND_INITIALIZER;
static int ring_in, ring_out;

static void *consume(void *argument)
{
    int *wrong = argument;
    for (int i = 0; i < HANDOVERS; i++) {
        pthread_mutex_lock(&ring_lock);
        while (ring_in == ring_out)
            pthread_cond_wait(&ring_moved, &ring_lock);
        struct weir_batch *batch = ring[ring_out++ % RING];
        pthread_cond_signal(&ring_moved);
        pthread_mutex_unlock(&ring_lock);
        for (int row = 0; row < batch->row_count; row++)
            *wrong += batch->columns[0].i64[row] != i + row;
        weir_batch_unref(batch);
    }
    return NULL;
}

static void buffers_cross_threads(void **state)
{
    (void)state;
    struct weir_schema *schema = schema_of("a BIGINT NOT NULL, s STRING");
    pthread_t thread;
    int wrong = 0;
    assert_int_equal(pthread_create(&thread, NULL, consume, &wrong), 0);
    for (int i = 0; i < HANDOVERS; i++) {
        struct weir_batch *batch = weir_batch_new(schema, 128);
        for (int row = 0; row < 128; row++) {
            batch->columns[0].i64[row] = i + row;
            weir_column_set_bytes(&batch->columns[1], row, "abc", 3);
        }
        batch->row_count = 128;
        pthread_mutex_lock(&ring_lock);
        while (ring_in - ring_out == RING)
            pthread_cond_wait(&ring_moved, &ring_lock);
        ring[ring_in++ % RING] = batch;
        pthread_cond_signal(&ring_moved);
        pthread_mutex_unlock(&ring_lock);
    }
    pthread_join(thread, NULL);
    assert_int_equal(wrong, 0);
    assert_int_equal(schema->refs, 1);
    weir_schema_unref(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_what_was_set),
        cmocka_unit_test(rows_move_as_in_the_model),
        cmocka_unit_test(appended_rows_are_in_order),
        cmocka_unit_test(shared_columns_outlive_their_batch),
        cmocka_unit_test(bitmaps_count),
        cmocka_unit_test(large_strings_grow),
        cmocka_unit_test(buffers_do_not_overlap),
        cmocka_unit_test(idle_buffers_are_bounded),
        cmocka_unit_test(buffers_cross_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
