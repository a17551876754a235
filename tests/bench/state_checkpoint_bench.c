/* Checkpoints of a large state while it is being updated: how long the worker is kept from its rows, how many rows a second go with and without
 * them, and how much is written. Usage: state_checkpoint_bench [millions of keys] [seconds]
 *
 * A worker as in a task: rounds of about a millisecond of batches (2048 rows of int64 keys, 96 bytes of value), a slice of capture after
 * each; every second a barrier, between which the rows meet 5 % of the keys. Another thread sorts what was captured and writes it into
 * files. "gap" is the time from one batch's end to the next one's, of those in which a barrier or a capture came between; all of the others are
 * beside it, so that what the machine does by itself shows.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "state/capture.h"
#include "state/snapshot.h"
#include "state/table.h"

#define BATCH 2048
#define VALUE 96
#define ROUND_NS 1000000
#define SLICE_NS 250000
#define INTERVAL_NS 1000000000
#define GAPS_MAX 4000000

static void encode(void *arg, const uint8_t *value, struct weir_buf *out)
{
    (void)arg;
    if (!weir_buf_append(out, value, VALUE))
        abort();
}

/* --- The writer: what the executor's pool does */

static char directory[] = "/tmp/weir-bench-XXXXXX";
static _Atomic int64_t written, complete;
static _Atomic(struct weir_snapshot *) given;
static atomic_bool over;

static void write_snapshot(struct weir_snapshot *snapshot)
{
    struct weir_capture *capture = snapshot->captures->capture;
    struct weir_run_ref refs[1000];
    int count = 0;
    for (bool more = true, last = false; more && !last;) {
        struct weir_buf run;
        weir_buf_init(&run, SIZE_MAX / 2);
        if (weir_capture_next(capture, &run, &more, &last, NULL))
            abort();
        if (more) {
            char *path = weir_format("%s/run", directory);
            int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
            for (size_t at = 0; at < run.size;) {
                ssize_t n = write(fd, run.data + at, run.size - at);
                if (n <= 0)
                    abort();
                at += (size_t)n;
            }
            close(fd);
            written += (int64_t)run.size;
            refs[count++] = (struct weir_run_ref){path, 0, (int64_t)run.size, 0};
        }
        weir_buf_fini(&run);
    }
    weir_capture_written(capture, refs, count);
    while (count > 0)
        free(refs[--count].object);
    complete = (int64_t)snapshot->checkpoint;
    weir_snapshot_free(snapshot);
}

static void *writer(void *arg)
{
    (void)arg;
    while (!atomic_load(&over)) {
        struct weir_snapshot *snapshot = atomic_exchange(&given, NULL);
        if (snapshot)
            write_snapshot(snapshot);
        else
            usleep(1000);
    }
    return NULL;
}

/* --- The worker */

static struct weir_state *state;
static struct weir_state_table *table;
static int64_t keys_count;
static uint64_t seed = 88172645463325252u;

static uint64_t random_next(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void give_batch(const uint64_t *raw)
{
    uint8_t *values[BATCH];
    struct weir_state_keys keys = {.row_count = BATCH, .fixed = raw};
    weir_state_upsert(table, &keys, NULL, BATCH, values);
    for (int i = 0; i < BATCH; i++)
        ++*(int64_t *)(void *)values[i];
}

/* Keys of the interval: a twentieth of all, scattered over them. */
static void batch_of(int64_t interval, uint64_t *raw)
{
    for (int i = 0; i < BATCH; i++)
        raw[i] = random_next() % (uint64_t)(keys_count / 20) * 20 + (uint64_t)interval % 20;
}

static int64_t gaps[2][GAPS_MAX], busy[2][GAPS_MAX]; /* wall, and what this thread worked meanwhile */
static int gap_count[2];
static uint32_t changed_now;       /* twentieths of the keys, since the last barrier */
static int64_t changed_twentieths; /* that the barriers had to bring */

static int64_t thread_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double quantile_ms(int64_t *values, int count, double q)
{
    qsort(values, (size_t)count, sizeof *values, by_value);
    return count ? (double)values[(int)((double)(count - 1) * q)] / 1e6 : 0;
}

struct rate { /* rows a second: by the clock, and of this thread's own time */
    double wall, own;
};

static struct rate run(int seconds, bool checkpoints)
{
    static uint64_t number;
    static uint64_t raw[BATCH];
    struct weir_capture *capture = NULL;
    int64_t begin_ns = weir_clock_mono_ns(), now_ns = begin_ns, round_ns = begin_ns, last_ns, rows = 0, interval = 0;
    int64_t begin_busy_ns = thread_ns(), last_busy_ns = begin_busy_ns;
    bool between = false;
    last_ns = begin_ns;
    while (now_ns - begin_ns < (int64_t)seconds * 1000000000) {
        batch_of(interval, raw);
        changed_now |= 1u << interval % 20;
        give_batch(raw);
        rows += BATCH;
        now_ns = weir_clock_mono_ns();
        int64_t busy_ns = thread_ns();
        if (checkpoints && gap_count[between] < GAPS_MAX) {
            busy[between][gap_count[between]] = busy_ns - last_busy_ns;
            gaps[between][gap_count[between]++] = now_ns - last_ns;
        }
        last_ns = now_ns;
        last_busy_ns = busy_ns;
        between = false;
        if (now_ns - round_ns < ROUND_NS)
            continue;
        if (capture) {
            between = true;
            if (weir_capture_step(capture, SLICE_NS, NULL)) {
                weir_capture_unref(capture);
                capture = NULL;
            }
        }
        round_ns = now_ns;
        if (now_ns - begin_ns < (interval + 1) * INTERVAL_NS)
            continue;
        interval++;
        if (!checkpoints || capture || atomic_load(&given) || complete != (int64_t)number)
            continue; /* the last one is still being written: none at a time more */
        between = true;
        changed_twentieths += __builtin_popcount(changed_now);
        changed_now = 0;
        struct weir_snapshot *snapshot = weir_snapshot_new(++number, (uint64_t)complete, 0);
        weir_state_snapshot(state, snapshot);
        capture = weir_capture_ref(snapshot->captures->capture);
        atomic_store(&given, snapshot);
    }
    double taken = (double)(weir_clock_mono_ns() - begin_ns) / 1e9, own = (double)(thread_ns() - begin_busy_ns) / 1e9;
    while (capture && !weir_capture_step(capture, SLICE_NS, NULL))
        continue;
    weir_capture_unref(capture);
    while (complete != (int64_t)number)
        usleep(1000);
    return (struct rate){(double)rows / taken, (double)rows / own};
}

int main(int argc, char **argv)
{
    keys_count = (int64_t)(1e6 * (argc > 1 ? atof(argv[1]) : 2));
    int seconds = argc > 2 ? atoi(argv[2]) : 8;
    const struct weir_state_codec codec = {.encode = encode};
    state = weir_state_new(&(struct weir_state_spec){.uid = "bench",
                                                     .name = "values",
                                                     .value_size = VALUE,
                                                     .fixed_key = WEIR_TYPE_INT64,
                                                     .codec = &codec,
                                                     .max_parallelism = 128,
                                                     .key_group_count = 128});
    table = weir_state_open(state, 0);
    weir_state_reserve(table, keys_count);
    static uint64_t raw[BATCH];
    for (int64_t key = 0; key < keys_count; key += BATCH) {
        for (int i = 0; i < BATCH; i++)
            raw[i] = (uint64_t)((key + i) % keys_count);
        give_batch(raw);
    }
    if (!mkdtemp(directory))
        abort();
    pthread_t thread;
    pthread_create(&thread, NULL, writer, NULL);
    struct rate without = run(seconds, false);
    struct rate first = run(3, true); /* the one in full */
    double full = (double)written;
    double full_p99 = quantile_ms(gaps[1], gap_count[1], 0.99), full_max = quantile_ms(gaps[1], gap_count[1], 1);
    double full_busy = quantile_ms(busy[1], gap_count[1], 1);
    int64_t full_count = complete;
    changed_twentieths = 0;
    gap_count[0] = gap_count[1] = 0;
    struct rate with = run(seconds, true);
    atomic_store(&over, true);
    pthread_join(thread, NULL);
    double changed = (double)changed_twentieths / 20 * full;
    printf("state %.0f MB, first run %.0f MB, then %d increments\n", (double)weir_state_bytes(state) / 1e6, full / 1e6,
           (int)(complete - full_count));
    printf(
        "rows/s: %.1f M without checkpoints, %.1f M during the first, %.1f M with: %.1f %%; of the thread's own time %.1f "
        "M and %.1f M: %.1f %%\n",
        without.wall / 1e6, first.wall / 1e6, with.wall / 1e6, 100 * with.wall / without.wall, without.own / 1e6,
        with.own / 1e6, 100 * with.own / without.own);
    printf("gap in full: p99 %.2f ms, most %.2f ms, at work %.2f ms\n", full_p99, full_max, full_busy);
    printf("gap: p99 %.2f ms, most %.2f ms, at work p99 %.2f ms, most %.2f ms\n",
           quantile_ms(gaps[1], gap_count[1], 0.99), quantile_ms(gaps[1], gap_count[1], 1),
           quantile_ms(busy[1], gap_count[1], 0.99), quantile_ms(busy[1], gap_count[1], 1));
    printf("other batches: p99 %.2f ms, most %.2f ms, at work p99 %.2f ms, most %.2f ms\n",
           quantile_ms(gaps[0], gap_count[0], 0.99), quantile_ms(gaps[0], gap_count[0], 1),
           quantile_ms(busy[0], gap_count[0], 0.99), quantile_ms(busy[0], gap_count[0], 1));
    printf("written: %.2f bytes for a byte that changed\n", changed > 0 ? ((double)written - full) / changed : 0);
    char *path = weir_format("%s/run", directory);
    unlink(path);
    rmdir(directory);
    free(path);
    weir_state_free(state);
    return 0;
}
