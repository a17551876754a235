/* RocksDB below state tables, against a sorted array: writes small and large, removals, gets, iteration, drops, snapshots; and directories that
 * cannot be written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "state/rocks.h"

#define KEYS 20000 /* possible ones */
#define MEMORY ((size_t)4 << 20)

static char scratch[64];

static int set_up(void **unused)
{
    (void)unused;
    snprintf(scratch, sizeof scratch, "/tmp/weir-rocks-XXXXXX");
    return mkdtemp(scratch) ? 0 : -1;
}

static int tear_down(void **unused)
{
    (void)unused;
    return rmdir(scratch); /* fails when something is left */
}

static uint64_t random_next(uint64_t *seed)
{
    uint64_t x = *seed += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* --- The model: what each key's value is, 0: none. A key is two bytes of prefix (its last decimal digit) and the number. */

static uint64_t model[KEYS];

static uint32_t key_of(int number, uint8_t key[16])
{
    return (uint32_t)snprintf((char *)key, 16, "p%d%07d", number % 10, number);
}

/* The n-th in the order of keys. */
static int in_order(int n)
{
    return n % (KEYS / 10) * 10 + n / (KEYS / 10);
}

struct store {
    struct weir_rocks *rocks;
    struct weir_rocks_entry *entries;
    uint8_t (*keys)[16];
    uint64_t *values;
};

static void open_store(struct store *store)
{
    char *path = weir_format("%s/a/b", scratch);
    assert_int_equal(weir_rocks_new(path, MEMORY, &store->rocks, NULL), WEIR_OK);
    free(path);
    store->entries = calloc(KEYS, sizeof *store->entries);
    store->keys = calloc(KEYS, sizeof *store->keys);
    store->values = calloc(KEYS, sizeof *store->values);
    memset(model, 0, sizeof model);
}

static void close_store(struct store *store)
{
    weir_rocks_free(store->rocks);
    free(store->entries);
    free(store->keys);
    free(store->values);
    char *path = weir_format("%s/a", scratch);
    assert_int_equal(rmdir(path), 0); /* b is gone */
    free(path);
}

/* Changes about one key in `of`, in order. */
static void write_some(struct store *store, uint64_t of, uint64_t *seed)
{
    size_t count = 0;
    for (int n = 0; n < KEYS; n++) {
        int number = in_order(n);
        if (random_next(seed) % of)
            continue;
        bool removed = random_next(seed) % 5 == 0;
        model[number] = removed ? 0 : random_next(seed) | 1;
        store->values[count] = model[number];
        store->entries[count] = (struct weir_rocks_entry){.key = store->keys[count],
                                                          .key_size = key_of(number, store->keys[count]),
                                                          .value = (uint8_t *)&store->values[count],
                                                          .value_size = 8,
                                                          .removed = removed};
        count++;
    }
    assert_int_equal(weir_rocks_write(store->rocks, store->entries, count, NULL), WEIR_OK);
}

static void check_gets(struct store *store, uint64_t *seed)
{
    enum { COUNT = 500 };
    const uint8_t *keys[COUNT];
    size_t sizes[COUNT];
    int numbers[COUNT];
    struct weir_rocks_slice values[COUNT];
    for (int i = 0; i < COUNT; i++) {
        numbers[i] = (int)(random_next(seed) % KEYS);
        sizes[i] = key_of(numbers[i], store->keys[i]);
        keys[i] = store->keys[i];
    }
    assert_int_equal(weir_rocks_get(store->rocks, keys, sizes, COUNT, values, NULL), WEIR_OK);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(values[i].bytes != NULL, model[numbers[i]] != 0);
        if (values[i].bytes) {
            assert_int_equal(values[i].size, 8);
            assert_memory_equal(values[i].bytes, &model[numbers[i]], 8);
        }
    }
    weir_rocks_release(values, COUNT);
}

static void check_walk(struct weir_rocks *rocks, const char *prefix, const struct weir_rocks_snapshot *snapshot,
                       const uint64_t *expected)
{
    struct weir_rocks_iterator *iterator = weir_rocks_iterate(rocks, (const uint8_t *)prefix, strlen(prefix), snapshot);
    struct weir_rocks_entry entry;
    uint8_t key[16];
    bool more;
    for (int n = 0; n < KEYS; n++) {
        uint32_t size = key_of(in_order(n), key);
        if (!expected[in_order(n)] || strncmp((char *)key, prefix, strlen(prefix)) != 0)
            continue;
        assert_int_equal(weir_rocks_next(iterator, &entry, &more, NULL), WEIR_OK);
        assert_true(more);
        assert_int_equal(entry.key_size, size);
        assert_memory_equal(entry.key, key, size);
        assert_memory_equal(entry.value, &expected[in_order(n)], 8);
    }
    assert_int_equal(weir_rocks_next(iterator, &entry, &more, NULL), WEIR_OK);
    assert_false(more);
    weir_rocks_iterator_free(iterator);
}

static void against_the_model(void **unused)
{
    (void)unused;
    struct store store;
    uint64_t seed = 7;
    open_store(&store);
    assert_int_equal(weir_rocks_memory(store.rocks), 0); /* nothing was written: it is not open */
    check_gets(&store, &seed);
    check_walk(store.rocks, "p", NULL, model);
    struct weir_rocks_snapshot *empty = weir_rocks_snapshot_new(store.rocks);
    static const uint64_t nothing[KEYS];
    for (int round = 0; round < 40; round++) {
        write_some(&store, round % 3 == 0 ? 3 : round % 3 == 1 ? 400 : 10, &seed);
        check_gets(&store, &seed);
        if (round % 7 == 6) {
            char prefix[3] = {'p', (char)('0' + round % 10), 0};
            assert_int_equal(weir_rocks_drop(store.rocks, (uint8_t *)prefix, 2, NULL), WEIR_OK);
            for (int i = round % 10; i < KEYS; i += 10)
                model[i] = 0;
            check_gets(&store, &seed);
        }
        if (round % 10 == 9) {
            check_walk(store.rocks, "p", NULL, model);
            check_walk(store.rocks, "p4", NULL, model);
            check_walk(store.rocks, "q", NULL, model);
        }
    }
    check_walk(store.rocks, "p", empty, nothing);
    weir_rocks_snapshot_free(store.rocks, empty);
    static uint64_t before[KEYS];
    memcpy(before, model, sizeof before);
    struct weir_rocks_snapshot *snapshot = weir_rocks_snapshot_new(store.rocks);
    write_some(&store, 2, &seed);
    assert_int_equal(weir_rocks_drop(store.rocks, (const uint8_t *)"p3", 2, NULL), WEIR_OK);
    check_walk(store.rocks, "p", snapshot, before);
    weir_rocks_snapshot_free(store.rocks, snapshot);
    assert_true(weir_rocks_memory(store.rocks) > 0);
    assert_true(weir_rocks_memory(store.rocks) < 2 * MEMORY);
    close_store(&store);
}

/* What an executor that was killed has left is not read. */
static void what_is_there_is_deleted(void **unused)
{
    (void)unused;
    char *path = weir_format("%s/CURRENT", scratch), *directory = weir_format("%s/x", scratch);
    assert_int_equal(mkdir(directory, 0700), 0);
    char *inside = weir_format("%s/CURRENT", directory);
    FILE *file = fopen(inside, "w");
    assert_non_null(file);
    fputs("rubbish", file);
    fclose(file);
    struct weir_rocks *rocks;
    uint8_t value = 1;
    struct weir_rocks_entry entry = {.key = &value, .key_size = 1, .value = &value, .value_size = 1};
    assert_int_equal(weir_rocks_new(directory, MEMORY, &rocks, NULL), WEIR_OK);
    assert_int_equal(weir_rocks_write(rocks, &entry, 1, NULL), WEIR_OK);
    weir_rocks_free(rocks);
    assert_int_equal(access(directory, F_OK), -1);
    free(path);
    free(directory);
    free(inside);
}

static void directory_that_cannot_be_made(void **unused)
{
    (void)unused;
    char *path = weir_format("%s/file", scratch), *below = weir_format("%s/file/state", scratch);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    struct weir_rocks *rocks;
    struct weir_error error;
    assert_int_equal(weir_rocks_new(below, MEMORY, &rocks, &error), WEIR_ERR_IO);
    assert_non_null(strstr(error.message, "WEIR_HOME"));
    assert_non_null(strstr(error.message, below));
    assert_null(rocks);
    unlink(path);
    free(path);
    free(below);
}

static void full_disk(void **unused)
{
    (void)unused;
    if (mount("none", scratch, "tmpfs", 0, "size=3m") != 0) {
        print_message("a small disk is a tmpfs: only root may mount one\n");
        skip();
    }
    char *path = weir_format("%s/state", scratch);
    struct weir_rocks *rocks;
    struct weir_error error = {.code = WEIR_OK};
    assert_int_equal(weir_rocks_new(path, MEMORY, &rocks, &error), WEIR_OK);
    enum { COUNT = 2000, SIZE = 500 };
    static uint8_t keys[COUNT][8], value[SIZE];
    static struct weir_rocks_entry entries[COUNT];
    weir_err err = WEIR_OK;
    for (int round = 0; round < 20 && !err; round++) {
        for (int i = 0; i < COUNT; i++) {
            snprintf((char *)keys[i], 8, "%02u%04u", (unsigned)round % 100, (unsigned)i % 10000);
            entries[i] = (struct weir_rocks_entry){
                .key = keys[i], .key_size = 6, .value = value, .value_size = round % 2 ? SIZE : 20};
        }
        err = weir_rocks_write(rocks, entries, round % 4 == 3 ? 1000 : COUNT, &error);
    }
    assert_int_equal(err, WEIR_ERR_IO);
    if (!strstr(error.message, "is full") || !strstr(error.message, path))
        fail_msg("%s", error.message);
    /* There is room again, but not for this one. */
    struct weir_rocks *old = weir_rocks_ref(rocks), *same;
    assert_int_equal(mount("none", scratch, "tmpfs", MS_REMOUNT, "size=30m"), 0);
    assert_int_equal(weir_rocks_write(old, entries, COUNT, NULL), WEIR_ERR_IO);
    assert_int_equal(weir_rocks_renew(&rocks, &error), WEIR_OK);
    assert_ptr_not_equal(rocks, old);
    assert_int_equal(weir_rocks_write(rocks, entries, COUNT, &error), WEIR_OK);
    same = rocks;
    assert_int_equal(weir_rocks_renew(&rocks, &error), WEIR_OK);
    assert_ptr_equal(rocks, same);
    weir_rocks_free(old);
    weir_rocks_free(rocks);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(umount(scratch), 0);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(against_the_model, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_there_is_deleted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(directory_that_cannot_be_made, set_up, tear_down),
        cmocka_unit_test_setup_teardown(full_disk, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
