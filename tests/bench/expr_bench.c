/* Micro benchmark of expressions and aggregates: rows per second on one core, batches of 2,048 rows, best of five runs.
 * Usage: expr_bench [seconds per measurement, default 0.2]. WEIR_SIMD=portable shows the portable loops. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "expr/agg.h"

#define ROWS WEIR_BATCH_ROWS_DEFAULT
static double seconds = 0.2;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static struct weir_batch *make_batch(struct weir_schema *schema)
{
    struct weir_batch *batch = weir_batch_new(schema, ROWS);
    uint64_t seed = 42;
    for (int i = 0; i < ROWS; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        batch->columns[0].i64[i] = i;
        batch->columns[1].f64[i] = (double)(seed >> 40) / 167772.16;
        batch->columns[2].i64[i] = 1700000000000 + i;
        char name[16];
        int n = snprintf(name, sizeof name, "device-%d", (int)(seed >> 50));
        weir_column_set_bytes(&batch->columns[3], i, name, (size_t)n);
        batch->columns[4].i32[i] = (int32_t)(seed >> 44);
        if (i % 10 == 0)
            weir_column_set_null(&batch->columns[4], i, ROWS);
    }
    batch->row_count = ROWS;
    return batch;
}

static void bench_select(struct weir_schema *schema, struct weir_batch *batch, const char *text, int chain)
{
    struct weir_select *select;
    struct weir_expr_error why;
    struct weir_expr_scratch *scratch = weir_expr_scratch_new();
    if (weir_select_compile(text, schema, &select, &why))
        die(text, why.error.message);
    double best = 0;
    for (int run = 0; run < 5; run++) {
        double start = now(), spent;
        long rows = 0;
        do {
            for (int i = 0; i < 64; i++) {
                struct weir_batch *in = weir_batch_ref(batch), *out;
                for (int c = 0; c < chain; c++) {
                    if (weir_select_eval(select, in, scratch, &out, NULL, &why.error))
                        die(text, why.error.message);
                    weir_batch_unref(in);
                    in = out;
                }
                weir_batch_unref(in);
                rows += ROWS;
            }
        } while ((spent = now() - start) < seconds / 5);
        if ((double)rows / spent > best)
            best = (double)rows / spent;
    }
    printf("%8.1f M rows/s  %s%s\n", best / 1e6, text, chain > 1 ? "  (ten chained)" : "");
    weir_select_free(select);
    weir_expr_scratch_free(scratch);
}

static void bench_mask(struct weir_schema *schema, struct weir_batch *batch, const char *text)
{
    struct weir_expr *expr;
    struct weir_expr_error why;
    struct weir_expr_scratch *scratch = weir_expr_scratch_new();
    uint64_t mask[ROWS / 64];
    if (weir_expr_compile(text, schema, &expr, &why))
        die(text, why.error.message);
    double best = 0;
    for (int run = 0; run < 5; run++) {
        double start = now(), spent;
        long rows = 0;
        do {
            for (int i = 0; i < 64; i++) {
                if (weir_expr_eval_mask(expr, batch, scratch, mask, NULL, &why.error))
                    die(text, why.error.message);
                rows += ROWS;
            }
        } while ((spent = now() - start) < seconds / 5);
        if ((double)rows / spent > best)
            best = (double)rows / spent;
    }
    printf("%8.1f M rows/s  WHERE %s\n", best / 1e6, text);
    weir_expr_free(expr);
    weir_expr_scratch_free(scratch);
}

static void bench_agg(struct weir_schema *schema, struct weir_batch *batch, const char *text)
{
    struct weir_agg *agg;
    struct weir_expr_error why;
    struct weir_arena heap;
    uint8_t *accumulators[ROWS];
    if (weir_agg_compile(text, schema, NULL, false, &agg, &why))
        die(text, why.error.message);
    struct weir_agg_input *input = weir_agg_input_new(agg);
    size_t size = weir_agg_accumulator_size(agg);
    uint8_t *memory = calloc(1000, size);
    weir_arena_init(&heap);
    for (int i = 0; i < ROWS; i++)
        accumulators[i] = memory + (size_t)(i * 7919 % 1000) * size;
    double best = 0;
    for (int run = 0; run < 5; run++) {
        double start = now(), spent;
        long rows = 0;
        do {
            for (int i = 0; i < 16; i++) {
                if (weir_agg_prepare(agg, input, batch, NULL, &why.error))
                    die(text, why.error.message);
                weir_agg_update(agg, input, NULL, accumulators, ROWS, &heap);
                rows += ROWS;
            }
        } while ((spent = now() - start) < seconds / 5);
        if ((double)rows / spent > best)
            best = (double)rows / spent;
    }
    printf("%8.1f M rows/s  GROUP: %s\n", best / 1e6, text);
    weir_arena_fini(&heap);
    free(memory);
    weir_agg_input_free(input);
    weir_agg_free(agg);
}

int main(int argc, char **argv)
{
    struct weir_schema *schema;
    struct weir_error error;
    if (argc > 1)
        seconds = atof(argv[1]);
    if (weir_schema_parse(
            "id BIGINT NOT NULL, value DOUBLE NOT NULL, ts TIMESTAMP(3) NOT NULL, name STRING NOT NULL, n INT", &schema,
            &error))
        die("schema", error.message);
    struct weir_batch *batch = make_batch(schema);
    static const char *const three = "id, value + 1 AS value, ts, name, n";
    bench_select(schema, batch, "id, value + 1 AS value, ts", 1);
    bench_select(schema, batch, three, 1);
    bench_select(schema, batch, three, 10);
    bench_select(schema, batch, "value * 1.8 + 32 AS fahrenheit", 1);
    bench_select(schema, batch, "n + 1 AS n, n * 2 AS m", 1);
    bench_select(schema, batch, "id / 7 AS q", 1);
    bench_select(schema, batch, "n / (n - 5) AS q", 1);
    bench_select(schema, batch, "CASE WHEN value > 50 THEN value ELSE 0 END AS v", 1);
    bench_select(schema, batch, "CASE WHEN value > 90 THEN 'hot' WHEN value > 50 THEN 'warm' ELSE 'cold' END AS v", 1);
    bench_select(schema, batch, "UPPER(name) AS v", 1);
    bench_select(schema, batch, "CAST(id AS STRING) AS v", 1);
    bench_select(schema, batch, "CAST(value AS STRING) AS v", 1);
    bench_select(schema, batch, "FLOOR(ts TO MINUTE) AS v", 1);
    bench_mask(schema, batch, "value > 90");
    bench_mask(schema, batch, "value > 90 AND id < 1000 OR n = 5");
    bench_mask(schema, batch, "n BETWEEN 10 AND 1000");
    bench_mask(schema, batch, "id IN (1, 5, 9, 13, 17, 21)");
    bench_mask(schema, batch, "name LIKE '%-12%'");
    bench_mask(schema, batch, "name = 'device-77'");
    bench_agg(schema, batch, "COUNT(*) AS c");
    bench_agg(schema, batch, "COUNT(*) AS c, MIN(value) AS low, MAX(value) AS high, AVG(value) AS mean");
    bench_agg(schema, batch, "SUM(n) AS s, COUNT(*) FILTER (WHERE value > 90) AS hot");
    weir_batch_unref(batch);
    weir_schema_unref(schema);
    return 0;
}
