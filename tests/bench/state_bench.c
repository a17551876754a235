/* Batched upserts into a state table, rows per second: int64 keys (inline), nullable int64, strings of 16 bytes; from 1 k to 10 M keys.
 *
 * Beside it, in the same run, the simplest loop on an array that does the same for int64 keys 0..n-1 (counts[key]++), which no hash
 * table can reach. Medians of five. Usage: state_bench [rows per run in millions]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "state/table.h"

#define BATCH 2048
#define RUNS 5

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
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

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *figures)
{
    qsort(figures, RUNS, sizeof *figures, by_value);
    return figures[RUNS / 2];
}

static double run_array(const struct weir_batch *const *batches, int count, int keys)
{
    int64_t *counts = calloc((size_t)keys, sizeof *counts);
    double begin = 0;
    for (int pass = 0; pass < 2; pass++) {
        begin = now_s();
        for (int b = 0; b < count; b++) {
            const int64_t *key = batches[b]->columns[0].i64;
            for (int i = 0; i < BATCH; i++)
                counts[key[i]]++;
        }
        __asm__ volatile("" : : "r"(counts) : "memory");
    }
    double taken = now_s() - begin;
    free(counts);
    return taken;
}

/* As a state that goes into checkpoints: it keeps account of what changes. */
static void encode(void *arg, const uint8_t *value, struct weir_buf *out)
{
    (void)arg;
    if (!weir_buf_append(out, value, 8))
        abort();
}

static double run_table(const struct weir_batch *const *batches, int count, const struct weir_schema *schema)
{
    struct weir_key_spec spec = {.column_count = 1, .columns = {0}};
    struct weir_state_key_scratch *scratch = weir_state_key_scratch_new(schema, &spec);
    const struct weir_state_codec codec = {.encode = encode};
    struct weir_state *state =
        weir_state_new(&(struct weir_state_spec){.uid = "bench",
                                                 .name = "counts",
                                                 .value_size = 8,
                                                 .fixed_key = weir_state_fixed_key(schema, &spec),
                                                 .codec = &codec});
    struct weir_state_table *table = weir_state_open(state, 0);
    uint8_t *values[BATCH];
    double begin = 0;
    for (int pass = 0; pass < 2; pass++) { /* the first one grows it */
        begin = now_s();
        for (int b = 0; b < count; b++) {
            struct weir_state_keys keys;
            weir_state_keys(scratch, batches[b], &keys);
            weir_state_upsert(table, &keys, NULL, BATCH, values);
            for (int i = 0; i < BATCH; i++)
                ++*(int64_t *)(void *)values[i];
        }
    }
    double taken = now_s() - begin;
    weir_state_free(state);
    weir_state_key_scratch_free(scratch);
    return taken;
}

static struct weir_batch **make_batches(struct weir_schema *schema, int count, int keys)
{
    struct weir_batch **batches = malloc((size_t)count * sizeof *batches);
    uint64_t seed = 88172645463325252u;
    for (int b = 0; b < count; b++) {
        batches[b] = weir_batch_new(schema, BATCH);
        struct weir_column *column = &batches[b]->columns[0];
        for (int i = 0; i < BATCH; i++) {
            uint64_t key = random_next(&seed) % (uint64_t)keys;
            char text[32];
            if (column->type == WEIR_TYPE_INT64)
                column->i64[i] = (int64_t)key;
            else
                weir_column_set_bytes(column, i, text, (size_t)snprintf(text, sizeof text, "device-%09d", (int)key));
            if (schema->fields[0].type.nullable && i % 100 == 0)
                weir_column_set_null(column, i, BATCH);
        }
        batches[b]->row_count = BATCH;
    }
    return batches;
}

static void bench(const char *columns, int keys, int rows)
{
    struct weir_schema *schema = NULL;
    if (weir_schema_parse(columns, &schema, NULL) != WEIR_OK)
        abort();
    int count = rows / BATCH;
    struct weir_batch **batches = make_batches(schema, count, keys);
    double table[RUNS], array[RUNS];
    bool plain = schema->fields[0].type.id == WEIR_TYPE_INT64 && !schema->fields[0].type.nullable;
    for (int i = 0; i < RUNS; i++) {
        table[i] = run_table((const struct weir_batch *const *)batches, count, schema);
        array[i] = plain ? run_array((const struct weir_batch *const *)batches, count, keys) : 1;
    }
    double done = (double)count * BATCH;
    printf("%-24s %9d keys  %7.1f M rows/s  %5.2f ns/row", columns, keys, done / median(table) / 1e6,
           median(table) * 1e9 / done);
    if (plain)
        printf("   (array: %.1f M rows/s)", done / median(array) / 1e6);
    printf("\n");
    fflush(stdout);
    for (int b = 0; b < count; b++)
        weir_batch_unref(batches[b]);
    free(batches);
    weir_schema_unref(schema);
}

int main(int argc, char **argv)
{
    int rows = (argc > 1 ? atoi(argv[1]) : 8) * 1000000;
    if (rows < 1000000 || rows > 100000000) {
        fprintf(stderr, "state_bench: rows per run in millions must be 1 to 100, not '%s'\n", argv[1]);
        return 2;
    }
    static const int keys[] = {1000, 10000, 100000, 1000000, 10000000};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        bench("k BIGINT NOT NULL", keys[i], rows);
    bench("k BIGINT", 100000, rows);
    bench("k STRING NOT NULL", 10000, rows / 4);
    bench("k STRING NOT NULL", 100000, rows / 4);
    bench("k STRING NOT NULL", 1000000, rows / 4);
    return 0;
}
