/* Runs of state entries: written in any order and read back sorted, by key groups, merged against a model, damaged byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "data/row_key.h"
#include "statefile/run.h"

#define MAX_PARALLELISM 16
#define KEYS 40
#define NAMESPACES 3
#define RUNS 12

static uint64_t random_next(uint64_t *seed)
{
    uint64_t x = *seed += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint32_t key_of(int number, uint8_t key[64])
{
    uint32_t size = (uint32_t)number % 20;
    memset(key, number / 20, size);
    key[size] = (uint8_t)number;
    return size + 1;
}

static int group_of(const uint8_t *key, uint32_t size)
{
    return weir_key_group(weir_xxh3(key, size), MAX_PARALLELISM);
}

static void add(struct weir_records *records, int number, int64_t namespace, const void *value, size_t size)
{
    uint8_t key[64];
    uint32_t key_size = key_of(number, key);
    weir_records_begin(records, group_of(key, key_size), key, key_size, namespace,
                       value ? WEIR_RECORD_VALUE : WEIR_RECORD_REMOVED);
    if (value)
        assert_true(weir_buf_append(&records->bytes, value, size));
    weir_records_end(records);
}

static struct weir_run_info info_of(uint64_t checkpoint)
{
    return (struct weir_run_info){.uid = "u",
                                  .name = "n",
                                  .checkpoint = checkpoint,
                                  .max_parallelism = MAX_PARALLELISM,
                                  .key_group_count = MAX_PARALLELISM,
                                  .schema = (const uint8_t *)"words",
                                  .schema_size = 5};
}

/* More than a block of records, read whole and by key groups; the bytes of a range alone are enough for it. */
static void ranges(void **state)
{
    (void)state;
    struct weir_records records;
    weir_records_init(&records);
    static uint8_t large[200000];
    int count = 20000;
    for (int i = 0; i < count; i++) {
        uint8_t key[8];
        uint64_t number = (uint64_t)i * 0x9e3779b97f4a7c15u;
        memcpy(key, &number, 8);
        weir_records_begin(&records, group_of(key, 8), key, 8, i % 2 ? -i : i, WEIR_RECORD_VALUE);
        assert_true(weir_buf_append(&records.bytes, large, i == 777 ? sizeof large : 20));
        weir_records_end(&records);
    }
    struct weir_run_info info = info_of(7);
    struct weir_buf bytes;
    weir_buf_init(&bytes, SIZE_MAX / 2);
    weir_records_write((const struct weir_records *const[]){&records}, 1, &info, &bytes);
    weir_records_fini(&records);
    struct weir_run *run;
    assert_int_equal(weir_run_open(bytes.data, bytes.size, &run, NULL), WEIR_OK);
    assert_int_equal(weir_run_info(run)->value_count, count);
    int seen = 0;
    for (int first = 0; first < MAX_PARALLELISM; first += 5) {
        int groups = first + 5 > MAX_PARALLELISM ? MAX_PARALLELISM - first : 5;
        uint64_t offset, size;
        weir_run_range(run, first, groups, &offset, &size);
        assert_true(size > 0 && size < bytes.size);
        /* As if only these blocks and the index had been fetched. */
        uint8_t *some = calloc(1, bytes.size);
        memcpy(some + offset, bytes.data + offset, size);
        size_t index = bytes.size - 8000;
        memcpy(some + index, bytes.data + index, bytes.size - index);
        struct weir_run *part;
        assert_int_equal(weir_run_open(some, bytes.size, &part, NULL), WEIR_OK);
        struct weir_run_cursor cursor;
        struct weir_record record, last = {.key_group = -1};
        bool more;
        weir_run_seek(&cursor, part, first, groups);
        while (weir_run_next(&cursor, &record, &more, NULL) == WEIR_OK && more) {
            assert_true(record.key_group >= first && record.key_group < first + groups);
            assert_true(weir_record_compare(&last, &record) < 0);
            assert_int_equal(record.key_group, group_of(record.key, record.key_size));
            last = record;
            seen++;
        }
        weir_run_close(part);
        free(some);
    }
    assert_int_equal(seen, count);
    weir_run_close(run);
    weir_buf_fini(&bytes);
}

/* Many records of few key groups, the highest among them, out of several sets, whose keys differ late and in their length; what is removed in one set and has
 * a value in another keeps the value. */
static void few_groups(void **state)
{
    enum { SETS = 5, COUNT = 30000 };
    (void)state;
    struct weir_records records[SETS];
    const struct weir_records *sets[SETS];
    uint64_t seed = 5;
    int removed = 0;
    for (int s = 0; s < SETS; s++) {
        weir_records_init(&records[s]);
        sets[s] = &records[s];
    }
    for (int i = 0; i < COUNT; i++) {
        uint8_t key[32] = "the same for all of them";
        uint64_t number = (uint64_t)i * 0x9e3779b97f4a7c15u >> (i % 3 * 8);
        uint32_t size = 16 + (uint32_t)(i % 9);
        memcpy(key + 14, &number, 8);
        int group = i % 7 ? 3 : WEIR_MAX_PARALLELISM_LIMIT - 1, in = (int)(random_next(&seed) % SETS);
        bool is_removed = i % 5 == 0, twice = i % 10 == 1;
        removed += is_removed;
        weir_records_begin(&records[in], group, key, size, i, is_removed ? WEIR_RECORD_REMOVED : WEIR_RECORD_VALUE);
        weir_records_end(&records[in]);
        if (twice) {
            in = (int)(random_next(&seed) % SETS);
            weir_records_begin(&records[in], group, key, size, i, WEIR_RECORD_REMOVED);
            weir_records_end(&records[in]);
        }
    }
    struct weir_run_info info = info_of(7);
    info.max_parallelism = info.key_group_count = WEIR_MAX_PARALLELISM_LIMIT;
    struct weir_buf bytes;
    weir_buf_init(&bytes, SIZE_MAX / 2);
    weir_records_write(sets, SETS, &info, &bytes);
    struct weir_run *run;
    assert_int_equal(weir_run_open(bytes.data, bytes.size, &run, NULL), WEIR_OK);
    assert_int_equal(weir_run_info(run)->value_count, COUNT - removed);
    assert_int_equal(weir_run_info(run)->removed_count, removed);
    struct weir_run_cursor cursor;
    struct weir_record record, last = {.key_group = -1};
    bool more;
    int seen = 0;
    weir_run_seek(&cursor, run, 0, WEIR_MAX_PARALLELISM_LIMIT);
    while (weir_run_next(&cursor, &record, &more, NULL) == WEIR_OK && more) {
        assert_true(weir_record_compare(&last, &record) < 0);
        last = record;
        seen++;
    }
    assert_int_equal(seen, COUNT);
    weir_run_close(run);
    weir_buf_fini(&bytes);
    for (int s = 0; s < SETS; s++)
        weir_records_fini(&records[s]);
}

static weir_err read_all(const struct weir_run *run, struct weir_error *error)
{
    struct weir_run_cursor cursor;
    struct weir_record record;
    bool more = true;
    weir_err err = WEIR_OK;
    weir_run_seek(&cursor, run, 0, MAX_PARALLELISM);
    while (!err && more)
        err = weir_run_next(&cursor, &record, &more, error);
    return err;
}

/* Every byte that is changed is found, and so is every size. */
static void damage(void **state)
{
    (void)state;
    struct weir_records records;
    weir_records_init(&records);
    for (int i = 0; i < KEYS; i++)
        add(&records, i, i % NAMESPACES, i % 5 ? "value" : NULL, 5);
    int64_t dropped[] = {-4, 9};
    struct weir_run_info info = info_of(3);
    info.dropped = dropped;
    info.dropped_count = 2;
    struct weir_buf bytes;
    weir_buf_init(&bytes, SIZE_MAX / 2);
    weir_records_write((const struct weir_records *const[]){&records}, 1, &info, &bytes);
    weir_records_fini(&records);
    for (size_t i = 0; i < 2 * bytes.size; i++) {
        size_t size = i < bytes.size ? bytes.size : i - bytes.size;
        uint8_t *copy = malloc(size + 1); /* its end is the end: what reads beyond is found */
        memcpy(copy, bytes.data, size);
        if (i < bytes.size)
            copy[i] ^= 1 << i % 8;
        struct weir_run *run;
        struct weir_error error = {0};
        weir_err err = weir_run_open(copy, size, &run, &error);
        if (!err) {
            err = read_all(run, &error);
            weir_run_close(run);
        }
        if (!err)
            fail_msg("byte %zu: nobody saw it", i);
        if (err == WEIR_ERR_DATA)
            assert_non_null(strstr(error.message, "CHECKPOINT_CORRUPT"));
        free(copy);
    }
    weir_buf_fini(&bytes);
}

/* Whoever has compared the bytes with a checksum does not pay for it again; a check that is asked for looks all the same. */
static void trusted(void **state)
{
    (void)state;
    struct weir_records records;
    struct weir_run_info info = info_of(3);
    struct weir_buf bytes;
    struct weir_run *run;
    weir_records_init(&records);
    weir_buf_init(&bytes, SIZE_MAX / 2);
    add(&records, 1, 0, "value", 5);
    weir_records_write((const struct weir_records *const[]){&records}, 1, &info, &bytes);
    weir_records_fini(&records);
    for (size_t i = 0; i + 5 <= bytes.size; i++)
        if (memcmp(bytes.data + i, "value", 5) == 0)
            bytes.data[i] = 'V';
    assert_int_equal(weir_run_open(bytes.data, bytes.size, &run, NULL), WEIR_OK);
    assert_int_equal(read_all(run, NULL), WEIR_ERR_DATA);
    weir_run_trust(run);
    assert_int_equal(read_all(run, NULL), WEIR_OK);
    assert_int_equal(weir_run_check(run, 0, MAX_PARALLELISM, NULL), WEIR_ERR_DATA);
    weir_run_close(run);
    weir_buf_fini(&bytes);
}

/* What the runs should be together: -1 is nothing. */
static int model[KEYS][NAMESPACES];

static void random_run(uint64_t *seed, uint64_t checkpoint, uint32_t segment, struct weir_buf *bytes)
{
    struct weir_records records;
    weir_records_init(&records);
    int64_t dropped[NAMESPACES];
    struct weir_run_info info = info_of(checkpoint);
    info.segment = segment;
    info.dropped = dropped;
    for (int n = 0; n < NAMESPACES && segment == 0; n++)
        if (random_next(seed) % 6 == 0) {
            dropped[info.dropped_count++] = n;
            for (int k = 0; k < KEYS; k++)
                model[k][n] = -1;
        }
    for (int k = 0; k < KEYS; k++)
        for (int n = 0; n < NAMESPACES; n++) {
            int what = (int)(random_next(seed) % 8), value = (int)(random_next(seed) % 1000);
            if (what == 0 || what == 1)
                add(&records, k, n, &value, sizeof value);
            if (what == 1 || what == 2) /* 1: both; the value wins */
                add(&records, k, n, NULL, 0);
            if (what <= 2)
                model[k][n] = what == 2 ? -1 : value;
        }
    weir_records_write((const struct weir_records *const[]){&records}, 1, &info, bytes);
    weir_records_fini(&records);
}

static void check_merge(struct weir_run *const *runs, int count, int first, int groups)
{
    struct weir_merge_source sources[RUNS];
    for (int i = 0; i < count; i++) /* in no order */
        sources[i] = (struct weir_merge_source){runs[(i * 5 + 3) % count], first, groups};
    struct weir_merge *merge = weir_merge_new(sources, count);
    int seen = 0, expected = 0;
    struct weir_record record, last = {.key_group = -1};
    bool more;
    while (weir_merge_next(merge, &record, NULL, &more, NULL) == WEIR_OK && more) {
        assert_true(weir_record_compare(&last, &record) < 0);
        last = record;
        int k = record.key[record.key_size - 1], value;
        memcpy(&value, record.value, sizeof value);
        assert_int_equal(value, model[k][record.namespace]);
        seen++;
    }
    weir_merge_free(merge);
    for (int k = 0; k < KEYS; k++) {
        uint8_t key[64];
        int group = group_of(key, key_of(k, key));
        for (int n = 0; n < NAMESPACES; n++)
            expected += model[k][n] >= 0 && group >= first && group < first + groups;
    }
    assert_int_equal(seen, expected);
}

static void merged(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < 300; round++) {
        uint64_t seed = round;
        struct weir_buf bytes[RUNS];
        struct weir_run *runs[RUNS];
        memset(model, -1, sizeof model);
        int count = 1 + (int)(random_next(&seed) % (RUNS - 1));
        if (count % 5 == 0)
            count++;
        uint64_t checkpoint = 5;
        uint32_t segment = 0;
        for (int i = 0; i < count; i++) {
            weir_buf_init(&bytes[i], SIZE_MAX / 2);
            random_run(&seed, checkpoint, segment, &bytes[i]);
            assert_int_equal(weir_run_open(bytes[i].data, bytes[i].size, &runs[i], NULL), WEIR_OK);
            if (random_next(&seed) % 3 == 0) {
                segment++;
            } else {
                checkpoint += 1 + random_next(&seed) % 3;
                segment = 0;
            }
        }
        check_merge(runs, count, 0, MAX_PARALLELISM);
        check_merge(runs, count, 3, 6);
        for (int i = 0; i < count; i++) {
            weir_run_close(runs[i]);
            weir_buf_fini(&bytes[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges),  cmocka_unit_test(few_groups), cmocka_unit_test(damage),
        cmocka_unit_test(trusted), cmocka_unit_test(merged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
