/* How long a restored state takes from its runs, in memory, to its tables: CPU time of one core. Usage: restore_bench [millions of keys] [increments]
 * [checkpoints in which the keys came]
 *
 * int64 keys with 96 bytes of value; the runs are those of checkpoints that met all keys (1: in full) and of so many increments of 5 % each, as a
 * subtask of a job with a checkpoint a second has them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "state/capture.h"
#include "state/snapshot.h"
#include "state/table.h"

#define BATCH 2048
#define VALUE 96

static void encode(void *arg, const uint8_t *value, struct weir_buf *out)
{
    const uint8_t *bytes;
    (void)arg;
    memcpy(&bytes, value, sizeof bytes);
    if (!weir_buf_append(out, bytes, VALUE))
        abort();
}

static weir_err decode(void *arg, const void *reader, const uint8_t *bytes, size_t size, uint8_t *value,
                       struct weir_arena *heap, struct weir_error *error)
{
    (void)arg;
    (void)reader;
    if (size != VALUE)
        return weir_fail(error, WEIR_ERR_DATA, "CHECKPOINT_CORRUPT: not a value");
    uint8_t *copy = weir_arena_alloc(heap, VALUE);
    memcpy(copy, bytes, VALUE);
    memcpy(value, &copy, sizeof copy);
    return WEIR_OK;
}

static struct weir_state *state_new(void)
{
    static const struct weir_state_codec codec = {
        .encode = encode, .decode = decode, .schema = "bench", .schema_size = 5};
    struct weir_state_spec spec = {.uid = "00000000000000000000000000000001",
                                   .name = "kept",
                                   .value_size = 16,
                                   .fixed_key = WEIR_TYPE_INT64,
                                   .codec = &codec,
                                   .max_parallelism = 128,
                                   .key_group_count = 128};
    return weir_state_new(&spec);
}

static void update(struct weir_state *state, int64_t from, int64_t count, int64_t keys)
{
    struct weir_state_table *table = weir_state_open(state, 0);
    for (int64_t done = 0; done < count; done += BATCH) {
        uint64_t raw[BATCH];
        uint8_t *values[BATCH];
        for (int64_t i = 0; i < BATCH; i++)
            raw[i] = (uint64_t)((from + done + i) * 7919 % keys);
        struct weir_state_keys batch = {.row_count = BATCH, .fixed = raw};
        weir_state_upsert(table, &batch, NULL, BATCH, values);
        for (int i = 0; i < BATCH; i++) {
            uint8_t *bytes;
            memcpy(&bytes, values[i], sizeof bytes);
            if (!bytes)
                bytes = weir_arena_zalloc(weir_state_heap(table), VALUE);
            memcpy(bytes, &raw[i], sizeof raw[i]);
            memcpy(values[i], &bytes, sizeof bytes);
        }
    }
}

int main(int argc, char **argv)
{
    int64_t keys = (int64_t)((argc > 1 ? atof(argv[1]) : 4) * 1e6);
    int increments = argc > 2 ? atoi(argv[2]) : 10, came = argc > 3 ? atoi(argv[3]) : 1;
    struct weir_state *state = state_new();
    struct weir_restored *restored = weir_restored_new((uint64_t)(increments + came));
    char object[] = "jobs/0/chk-1/run";
    double bytes = 0;
    for (int c = 1; c <= increments + came; c++) {
        update(state, (int64_t)c * (c <= came ? keys / came : keys / 20), c <= came ? keys / came : keys / 20, keys);
        struct weir_snapshot *snapshot = weir_snapshot_new((uint64_t)c, (uint64_t)c - 1, 0);
        weir_state_snapshot(state, snapshot);
        (void)weir_capture_step(snapshot->captures->capture, 0, NULL);
        struct weir_run_ref refs[1000] = {0};
        int count = 0;
        for (bool more = true, last = false; more && !last;) {
            struct weir_buf run;
            weir_buf_init(&run, SIZE_MAX / 2);
            if (weir_capture_next(snapshot->captures->capture, &run, &more, &last, NULL))
                abort();
            if (!more)
                break;
            bytes += (double)run.size;
            weir_restored_add(restored, "00000000000000000000000000000001", "kept", WEIR_STATE_KEYED, 0, 1, run.data,
                              run.size);
            weir_restored_origin(restored, object, 0, 0);
            refs[count].object = object;
            refs[count++].size = (int64_t)run.size;
        }
        weir_capture_written(snapshot->captures->capture, refs, count);
        weir_snapshot_free(snapshot);
    }
    int64_t entries = weir_state_entry_count(state);
    weir_state_free(state);
    state = state_new();
    struct weir_error error;
    int64_t start_ns = weir_clock_cpu_ns();
    if (weir_state_restore(state, restored, &error)) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    double s = (double)(weir_clock_cpu_ns() - start_ns) / 1e9;
    if (weir_state_entry_count(state) != entries)
        return fprintf(stderr, "%lld entries of %lld\n", (long long)weir_state_entry_count(state), (long long)entries),
               1;
    printf("restored %.0f MB of runs, %.1f M entries: %.3f CPU s, %.0f ns an entry\n", bytes / 1e6,
           (double)entries / 1e6, s, s * 1e9 / (double)entries);
    weir_state_free(state);
    weir_restored_free(restored);
    return 0;
}
