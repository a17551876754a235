/* Costs of the data plane's small steps, ns a row, on batches of the default size that stay in the cache: hashing keys, encoding
 * them, gathering, filtering, appending; and making and freeing a batch. Best of five runs; nothing is asserted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "data/row_key.h"
#include "unit/data_random.h"

#define ROWS WEIR_BATCH_ROWS_DEFAULT
#define ROUNDS 400
#define RUNS 5
#define FIRST_NAMED 6 /* schemas from here on have names of 9 and of 31 bytes, those before strings of 0 to 45 */

static double now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static uint64_t hashes[ROWS];
static uint32_t offsets[ROWS + 1];
static int32_t rows[ROWS];
static uint64_t mask[ROWS / 64];
static struct weir_buf keys;

enum what { HASH, ENCODE, GATHER, FILTER, APPEND, NEW, WHATS };

static void do_once(enum what what, struct weir_batch *batch, const struct weir_key_spec *spec)
{
    struct weir_batch *result = NULL;
    switch (what) {
    case HASH:
        weir_key_hash(batch, spec, hashes);
        break;
    case ENCODE:
        weir_key_encode(batch, spec, &keys, offsets);
        break;
    case GATHER:
        result = weir_batch_gather(batch, rows, ROWS);
        break;
    case FILTER:
        result = weir_batch_filter(batch, mask);
        break;
    case APPEND:
        result = weir_batch_new(batch->schema, ROWS);
        weir_batch_append_rows(result, batch, rows, ROWS);
        break;
    default:
        result = weir_batch_new(batch->schema, ROWS);
    }
    weir_batch_unref(result);
    __asm__ volatile("" ::: "memory");
}

static double measure(enum what what, struct weir_batch *batch, const struct weir_key_spec *spec)
{
    double best = 1e18;
    for (int run = 0; run < RUNS; run++) {
        double start = now_ns();
        for (int round = 0; round < ROUNDS; round++)
            do_once(what, batch, spec);
        double ns = (now_ns() - start) / ROUNDS / (what == NEW ? 1 : ROWS);
        best = ns < best ? ns : best;
    }
    return best;
}

/* Names as devices have them, of one length, for the first column. */
static void name_devices(struct random *random, struct weir_batch *batch, const char *prefix)
{
    char name[64];
    for (int row = 0; row < batch->row_count; row++) {
        int size = snprintf(name, sizeof name, "%s%05d", prefix, random_below(random, 100000));
        weir_column_set_bytes(&batch->columns[0], row, name, (size_t)size);
    }
}

int main(void)
{
    static const char *const prefixes[] = {NULL, "gpu-", "station/north/rack-12/gpu-"};
    static const char *const schemas[] = {
        "k BIGINT NOT NULL",
        "k INT NOT NULL",
        "k STRING NOT NULL",
        "k BIGINT",
        "k STRING NOT NULL, d DOUBLE NOT NULL, b BOOLEAN NOT NULL, t TIMESTAMP(3) NOT NULL",
        "k STRING, d DOUBLE, b BOOLEAN, t TIMESTAMP(3)",
        "k STRING NOT NULL, d DOUBLE NOT NULL",
        "k STRING NOT NULL, t TIMESTAMP(3) NOT NULL",
    };
    struct random random = {77};
    weir_buf_init(&keys, 1 << 26);
    for (int i = 0; i < ROWS; i++)
        rows[i] = random_below(&random, ROWS);
    for (int i = 0; i < ROWS / 64; i++)
        mask[i] = random_next(&random);
    printf("%-84s %6s %6s %6s %6s %6s %6s\n", "ns a row", "hash", "encode", "gather", "filter", "append", "new*");
    for (size_t s = 0; s < sizeof schemas / sizeof *schemas; s++) {
        struct weir_schema *schema;
        if (weir_schema_parse(schemas[s], &schema, NULL))
            return 1;
        struct weir_batch *batch = random_batch(&random, schema, ROWS, 8);
        if (s >= FIRST_NAMED)
            name_devices(&random, batch, prefixes[s - FIRST_NAMED + 1]);
        struct weir_key_spec spec = {.column_count = 1, .columns = {0}};
        printf("%-84s", schemas[s]);
        for (enum what what = HASH; what < WHATS; what++)
            printf(" %6.2f", measure(what, batch, &spec));
        printf("\n");
        weir_batch_unref(batch);
        weir_schema_unref(schema);
    }
    printf("*) ns a batch: made and freed\n");
    weir_buf_fini(&keys);
    return 0;
}
