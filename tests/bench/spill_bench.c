/* Keyed count over uniform keys: in memory, with a budget of a quarter of that, and a loop that gets and puts each row in RocksDB.
 *
 * Usage: spill_bench [million keys] [million rows in memory] [million rows beyond memory]. One line a figure: rows per
 * second of CPU time, of all threads (compaction, too).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "state/memory.h"
#include "state/table.h"

#define BATCH 2048

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t random_next(uint64_t *seed)
{
    uint64_t x = *seed;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *seed = x;
}

static void encode(void *arg, const uint8_t *value, struct weir_buf *out)
{
    (void)arg;
    if (!weir_buf_append(out, value, 8))
        abort();
}

static weir_err decode(void *arg, const void *reader, const uint8_t *bytes, size_t size, uint8_t *value,
                       struct weir_arena *heap, struct weir_error *error)
{
    (void)arg, (void)reader, (void)heap;
    if (size != 8)
        return weir_fail(error, WEIR_ERR_DATA, "not a count");
    memcpy(value, bytes, 8);
    return WEIR_OK;
}

static struct weir_rocks *open_rocks(size_t memory)
{
    char directory[] = "/tmp/weir-bench-XXXXXX";
    struct weir_rocks *rocks;
    if (!mkdtemp(directory) || weir_rocks_new(directory, memory, &rocks, NULL))
        abort();
    return rocks;
}

static double count_rows(struct weir_state_table *table, struct weir_state_memory *memory, uint64_t keys, uint64_t rows,
                         bool each_once, uint64_t *seed)
{
    static uint64_t raw[BATCH];
    static uint8_t *values[BATCH];
    double begin = cpu_s();
    for (uint64_t first = 0; first < rows; first += BATCH) {
        for (uint64_t i = 0; i < BATCH; i++)
            raw[i] = each_once ? (first + i) % keys : random_next(seed) % keys;
        struct weir_state_keys batch = {.row_count = BATCH, .fixed = raw};
        if (memory)
            weir_state_memory_settle(memory);
        weir_state_upsert(table, &batch, NULL, BATCH, values);
        for (int i = 0; i < BATCH; i++)
            ++*(int64_t *)(void *)values[i];
    }
    return (double)rows / (cpu_s() - begin);
}

/* Returns the bytes that it took. */
static size_t run(const char *name, struct weir_rocks *rocks, size_t budget, uint64_t keys, uint64_t rows)
{
    static const struct weir_state_codec codec = {.encode = encode, .decode = decode};
    struct weir_state_memory *memory = rocks ? weir_state_memory_new(rocks, budget) : NULL;
    struct weir_state *state = weir_state_new(&(struct weir_state_spec){.uid = "bench",
                                                                        .name = "counts",
                                                                        .value_size = 8,
                                                                        .fixed_key = WEIR_TYPE_INT64,
                                                                        .codec = &codec,
                                                                        .max_parallelism = 128,
                                                                        .key_group_count = 128,
                                                                        .memory = memory});
    struct weir_state_table *table = weir_state_open(state, 0);
    uint64_t seed = 88172645463325252u;
    (void)count_rows(table, memory, keys, keys, true, &seed);
    double rate = count_rows(table, memory, keys, rows, false, &seed);
    size_t bytes = weir_state_bytes(state);
    struct weir_error error = {.code = WEIR_OK};
    if (weir_state_memory_check(memory, &error) || (uint64_t)weir_state_table_count(table) != keys) {
        fprintf(stderr, "%" PRId64 " keys: %s\n", weir_state_table_count(table), error.code ? error.message : "");
        abort();
    }
    weir_state_free(state);
    weir_state_memory_free(memory);
    printf("%s %.0f\n", name, rate);
    fflush(stdout);
    return bytes;
}

/* What a state in RocksDB alone does for each row: get, add, put. The same keys and values, loaded as runs. */
static void run_loop(struct weir_rocks *rocks, uint64_t keys, uint64_t rows)
{
    enum { LOAD = 1 << 16 };
    uint8_t(*bytes)[16] = calloc(LOAD, sizeof *bytes);
    struct weir_rocks_entry *entries = calloc(LOAD, sizeof *entries);
    uint64_t seed = 88172645463325252u;
    for (uint64_t first = 0; first < keys; first += LOAD) {
        size_t count = keys - first < LOAD ? (size_t)(keys - first) : LOAD;
        for (size_t i = 0; i < count; i++) {
            uint64_t big = __builtin_bswap64(first + i), one = 1;
            memcpy(bytes[i], &big, 8);
            memcpy(bytes[i] + 8, &one, 8);
            entries[i] =
                (struct weir_rocks_entry){.key = bytes[i], .key_size = 8, .value = bytes[i] + 8, .value_size = 8};
        }
        if (weir_rocks_write(rocks, entries, count, NULL))
            abort();
    }
    double begin = cpu_s();
    for (uint64_t i = 0; i < rows; i++) {
        uint64_t big = __builtin_bswap64(random_next(&seed) % keys), count = 0;
        const uint8_t *key = (const uint8_t *)&big;
        size_t size = 8;
        struct weir_rocks_slice slice;
        if (weir_rocks_get(rocks, &key, &size, 1, &slice, NULL) || !slice.bytes)
            abort();
        memcpy(&count, slice.bytes, 8);
        weir_rocks_release(&slice, 1);
        count++;
        struct weir_rocks_entry entry = {.key = key, .key_size = 8, .value = (uint8_t *)&count, .value_size = 8};
        if (weir_rocks_write(rocks, &entry, 1, NULL))
            abort();
    }
    printf("loop %.0f\n", (double)rows / (cpu_s() - begin));
    free(bytes);
    free(entries);
}

int main(int argc, char **argv)
{
    uint64_t keys = (uint64_t)(argc > 1 ? atoi(argv[1]) : 10) * 1000000;
    uint64_t rows = (uint64_t)(argc > 2 ? atoi(argv[2]) : 40) * 1000000;
    uint64_t beyond = (uint64_t)(argc > 3 ? atoi(argv[3]) : 4) * 1000000;
    size_t bytes = run("memory", NULL, 0, keys, rows), budget = bytes / 4;
    struct weir_rocks *rocks = open_rocks(budget / 8);
    (void)run("beyond", rocks, budget / 8 * 7, keys, beyond);
    weir_rocks_free(rocks);
    rocks = open_rocks(budget); /* all the memory is its own */
    run_loop(rocks, keys, beyond / 8);
    weir_rocks_free(rocks);
    return 0;
}
