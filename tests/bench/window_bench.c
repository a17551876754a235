/* 10 s tumbling count per key (100 k keys), ns per row: the window operator, and loops in C on arrays that do the same.
 *
 * All take rows from the same generator (key, time), 2,048 at a time, and give the same result rows into arrays. The loops:
 *   direct   counts[window][key]++: possible only since keys are 0..n-1, which no operator can know
 *   hash     an open-addressing table per window, keys prefetched 32 at a time: what one would write by hand for any keys
 * Both keep two windows, fire when the time passes a window's end, and copy results out. Medians of five, in one run, each
 * less and with the time of the generator. Usage: window_bench [million rows] [rows a second of event time]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "ops/op.h"

extern const struct weir_op_vtable weir_op_window;

#define KEYS 100000
#define BATCH 2048
#define RUNS 5
#define WINDOW_MS 10000

static int64_t rows_per_second = 100000;

/* --- The driver's part: outputs that are never full, and counted */

struct weir_out {
    int64_t rows, sum, batches;
    int count_column;
};
bool weir_out_full(const struct weir_out *out)
{
    (void)out;
    return false;
}
void weir_out_push(struct weir_out *out, struct weir_batch *batch)
{
    if (out) {
        out->rows += batch->row_count;
        out->batches++;
        for (int i = 0; i < batch->row_count; i++)
            out->sum += batch->columns[out->count_column].i64[i];
    }
    weir_batch_unref(batch);
}
void weir_out_watermark(struct weir_out *out, int64_t watermark_ms)
{
    (void)out, (void)watermark_ms;
}
void weir_out_idle(struct weir_out *out, bool idle)
{
    (void)out, (void)idle;
}
bool weir_op_should_yield(struct weir_op_ctx *ctx)
{
    (void)ctx;
    return false;
}
int64_t weir_op_now_ms(struct weir_op_ctx *ctx)
{
    (void)ctx;
    return 0;
}
void weir_op_set_timer(struct weir_op_ctx *ctx, int64_t when_ms)
{
    (void)ctx, (void)when_ms;
}
void weir_op_wait_fd(struct weir_op_ctx *ctx, int fd)
{
    (void)ctx, (void)fd;
}
void weir_op_add_committable(struct weir_op_ctx *ctx, const char *connector, const char *committable,
                             const struct weir_output_segments *segments)
{
    (void)segments;
    (void)ctx, (void)connector, (void)committable;
}

/* --- Rows */

static inline uint64_t mix(uint64_t g)
{
    uint64_t x = g * 0xa0761d6478bd642fu + 42;
    unsigned __int128 product = (unsigned __int128)x * (x ^ 0xe7037ed1a0b428dbu);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static __attribute__((noinline)) void generate(int64_t first, int64_t *keys, int64_t *times)
{
    double step = 1000.0 / (double)rows_per_second;
    for (int i = 0; i < BATCH; i++)
        keys[i] = (int64_t)((unsigned __int128)mix((uint64_t)(first + i)) * KEYS >> 64);
    for (int i = 0; i < BATCH; i++)
        times[i] = 1700000000000 + (int64_t)((double)(first + i) * step);
}

struct outcome {
    double taken_s;
    int64_t rows, sum;
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct outcome run_generator(int64_t rows)
{
    static int64_t keys[BATCH], times[BATCH];
    double begin = now_s();
    int64_t sum = 0;
    for (int64_t at = 0; at < rows; at += BATCH) {
        generate(at, keys, times);
        sum += keys[0];
    }
    return (struct outcome){now_s() - begin, 0, sum};
}

/* --- By hand */

struct results {
    int64_t keys[BATCH], starts[BATCH], ends[BATCH], counts[BATCH];
    int count;
    struct outcome *outcome;
};

static void results_flush(struct results *results)
{
    for (int i = 0; i < results->count; i++)
        results->outcome->sum += results->counts[i];
    results->outcome->rows += results->count;
    results->count = 0;
}

static inline void results_add(struct results *results, int64_t key, int64_t start, int64_t count)
{
    int i = results->count++;
    results->keys[i] = key;
    results->starts[i] = start;
    results->ends[i] = start + WINDOW_MS;
    results->counts[i] = count;
    if (results->count == BATCH)
        results_flush(results);
}

static void fire_direct(struct results *results, int64_t *counts, int64_t start)
{
    for (int64_t key = 0; key < KEYS; key++) {
        if (counts[key])
            results_add(results, key, start, counts[key]);
    }
    memset(counts, 0, KEYS * sizeof *counts);
}

static struct outcome run_direct(int64_t rows)
{
    static int64_t keys[BATCH], times[BATCH], counts[2][KEYS];
    static struct results results;
    struct outcome outcome = {0};
    results.outcome = &outcome;
    int64_t oldest = INT64_MAX;
    double begin = now_s();
    for (int64_t at = 0; at < rows; at += BATCH) {
        generate(at, keys, times);
        for (int i = 0; i < BATCH; i++) {
            int64_t window = times[i] / WINDOW_MS;
            counts[window & 1][keys[i]]++;
        }
        if (oldest == INT64_MAX)
            oldest = times[0] / WINDOW_MS;
        for (; oldest < times[BATCH - 1] / WINDOW_MS; oldest++)
            fire_direct(&results, counts[oldest & 1], oldest * WINDOW_MS);
    }
    fire_direct(&results, counts[oldest & 1], oldest * WINDOW_MS);
    results_flush(&results);
    outcome.taken_s = now_s() - begin;
    return outcome;
}

#define SLOTS (1u << 18)
struct slot {
    int64_t key, count; /* key + 1; 0: empty */
};

static inline uint32_t home(int64_t key)
{
    return (uint32_t)((uint64_t)key * 0x9e3779b97f4a7c15u >> 46);
}

static void fire_hash(struct results *results, struct slot *slots, int64_t start)
{
    for (uint32_t i = 0; i < SLOTS; i++) {
        if (slots[i].key)
            results_add(results, slots[i].key - 1, start, slots[i].count);
    }
    memset(slots, 0, SLOTS * sizeof *slots);
}

static struct outcome run_hash(int64_t rows)
{
    static int64_t keys[BATCH], times[BATCH];
    static struct slot tables[2][SLOTS];
    static struct results results;
    struct outcome outcome = {0};
    results.outcome = &outcome;
    int64_t oldest = INT64_MAX;
    double begin = now_s();
    for (int64_t at = 0; at < rows; at += BATCH) {
        generate(at, keys, times);
        for (int first = 0; first < BATCH; first += 32) {
            for (int i = first; i < first + 32; i++)
                __builtin_prefetch(&tables[times[i] / WINDOW_MS & 1][home(keys[i])], 1);
            for (int i = first; i < first + 32; i++) {
                struct slot *slots = tables[times[i] / WINDOW_MS & 1];
                uint32_t s = home(keys[i]);
                while (slots[s].key != keys[i] + 1 && slots[s].key)
                    s = (s + 1) & (SLOTS - 1);
                slots[s].key = keys[i] + 1;
                slots[s].count++;
            }
        }
        if (oldest == INT64_MAX)
            oldest = times[0] / WINDOW_MS;
        for (; oldest < times[BATCH - 1] / WINDOW_MS; oldest++)
            fire_hash(&results, tables[oldest & 1], oldest * WINDOW_MS);
    }
    fire_hash(&results, tables[oldest & 1], oldest * WINDOW_MS);
    results_flush(&results);
    outcome.taken_s = now_s() - begin;
    return outcome;
}

/* --- The operator */

static const char *type_of_window = "tumbling", *slide_of_window = "";

static struct outcome run_operator(int64_t rows)
{
    struct weir_error error = {0};
    struct weir_schema *schema;
    struct weir_key_value options[] = {
        {"window.type", type_of_window},
        {"time.column", "ts"},
        {"aggregates", "k, window_start, window_end, COUNT(*) AS n"},
        {"window.size", "10 s"},
        {"window.slide", slide_of_window},
    };
    if (weir_schema_parse("k BIGINT NOT NULL, ts TIMESTAMP(3) NOT NULL", &schema, &error))
        abort();
    struct weir_op_plan plan = {.name = "bench",
                                .uid = "bench",
                                .options = options,
                                .option_count = 4 + (*slide_of_window != 0),
                                .input_count = 1,
                                .inputs = {schema},
                                .key = {1, {0}},
                                .keyed = true};
    struct weir_out out = {.count_column = 3};
    uint64_t bad = 0, late = 0;
    struct weir_op_ctx ctx = {
        .plan = &plan, .parallelism = 1, .out = &out, .num_records_bad = &bad, .num_late_records_dropped = &late};
    const struct weir_op_vtable *vtable = &weir_op_window;
    struct weir_op *op = weir_zalloc(vtable->size);
    if (vtable->plan(&plan, &error) || vtable->open(op, &ctx, &error)) {
        fprintf(stderr, "window_bench: %s\n", error.message);
        exit(1);
    }
    double begin = now_s();
    for (int64_t at = 0; at < rows; at += BATCH) {
        struct weir_batch *batch = weir_batch_new(schema, BATCH);
        generate(at, batch->columns[0].i64, batch->columns[1].i64);
        batch->row_count = BATCH;
        int64_t watermark_ms = batch->columns[1].i64[BATCH - 1] - 1;
        enum weir_step step = vtable->batch(op, &ctx, 0, batch);
        weir_batch_unref(batch);
        if (step == WEIR_STEP_DONE)
            step = vtable->watermark(op, &ctx, watermark_ms);
        weir_assert(step == WEIR_STEP_DONE);
    }
    enum weir_step step = vtable->watermark(op, &ctx, WEIR_WATERMARK_MAX);
    weir_assert(step == WEIR_STEP_DONE);
    double taken = now_s() - begin;
    vtable->close(op, &ctx, true);
    free(op);
    weir_schema_unref(plan.output);
    weir_schema_unref(plan.sides[0]);
    weir_schema_unref(schema);
    return (struct outcome){taken, out.rows, out.sum};
}

/* --- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double measure(struct outcome (*run)(int64_t rows), int64_t rows, struct outcome *outcome)
{
    double taken[RUNS];
    for (int i = 0; i < RUNS; i++) {
        *outcome = run(rows);
        taken[i] = outcome->taken_s;
    }
    qsort(taken, RUNS, sizeof *taken, by_value);
    return taken[RUNS / 2] * 1e9 / (double)rows;
}

int main(int argc, char **argv)
{
    int64_t rows = (argc > 1 ? atoll(argv[1]) : 20) * 1000000 / BATCH * BATCH;
    if (argc > 2)
        rows_per_second = atoll(argv[2]);
    if (rows < BATCH || rows_per_second < 1) {
        fprintf(stderr, "usage: window_bench [million rows, at least 1] [rows a second of event time, at least 1]\n");
        return 2;
    }
    struct outcome generator, direct, hash, operator, sliding;
    double generator_ns = measure(run_generator, rows, &generator);
    double direct_ns = measure(run_direct, rows, &direct);
    double hash_ns = measure(run_hash, rows, &hash);
    double operator_ns = measure(run_operator, rows, &operator);
    type_of_window = "sliding";
    slide_of_window = "2 s";
    double sliding_ns = measure(run_operator, rows, &sliding);
    printf("%lld rows, %d keys, %lld rows a second of event time, %lld result rows\n", (long long)rows, KEYS,
           (long long)rows_per_second, (long long)operator.rows);
    printf("%-36s %8s %14s\n", "ns/row", "whole", "less generator");
    printf("%-36s %8.2f\n", "generator", generator_ns);
    printf("%-36s %8.2f %14.2f\n", "loop, direct array", direct_ns, direct_ns - generator_ns);
    printf("%-36s %8.2f %14.2f\n", "loop, hash table", hash_ns, hash_ns - generator_ns);
    printf("%-36s %8.2f %14.2f\n", "window operator, tumbling 10 s", operator_ns, operator_ns - generator_ns);
    printf("%-36s %8.2f %14.2f\n", "window operator, sliding 10 s by 2 s", sliding_ns, sliding_ns - generator_ns);
    printf("operator / direct %.2f, operator / hash %.2f (whole)\n", operator_ns / direct_ns, operator_ns / hash_ns);
    if (direct.rows != operator.rows || direct.sum != operator.sum || hash.rows != operator.rows || hash.sum !=
                       operator.sum || direct.sum != rows) {
        fprintf(stderr,
                "window_bench: results differ: direct %lld rows, sum %lld; hash %lld, %lld; operator %lld, %lld\n",
                (long long)direct.rows, (long long)direct.sum, (long long)hash.rows, (long long)hash.sum,
                (long long)operator.rows, (long long)operator.sum);
        return 1;
    }
    return 0;
}
