/* source -> key_by -> map -> sink at a rate, the map on two TaskManagers: what its subtask 1 gets came from another executor. Row g is due
 * g / rate after the start; the map notes when each arrived, and near the end writes to --output the delay of every row it saw from its
 * due time, ns, as int64. The start is not known to the map: it is taken as the smallest (arrival - g / rate), so that delays are
 * relative to the fastest row. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <weir/weir.h>

struct event {
    int64_t id;
    int64_t key;
};
WEIR_ROW(event, WEIR_FIELD(id, "BIGINT NOT NULL"), WEIR_FIELD(key, "BIGINT NOT NULL"));

static int64_t *arrivals;
static int64_t row_count, rate;
static bool written;

static int note(struct weir_ctx *ctx, const struct event *in, struct event *out)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    *out = *in;
    if (!arrivals) {
        row_count = atoll(ctx->argument(ctx, "rows", "0"));
        rate = atoll(ctx->argument(ctx, "rate", "0"));
        arrivals = calloc((size_t)row_count, sizeof *arrivals);
        if (!arrivals)
            return WEIR_FAIL(ctx, "no memory for %lld rows", (long long)row_count);
    }
    arrivals[in->id] = now.tv_sec * 1000000000ll + now.tv_nsec - in->id * (1000000000ll / rate);
    if (ctx->subtask != 1 || written || in->id < row_count - rate / 10)
        return 0;
    written = true;
    int64_t first = INT64_MAX;
    for (int64_t i = 0; i < row_count; i++)
        if (arrivals[i] && arrivals[i] < first)
            first = arrivals[i];
    FILE *file = fopen(ctx->argument(ctx, "output", "latency.bin"), "w");
    if (!file)
        return WEIR_FAIL(ctx, "cannot write the delays");
    for (int64_t i = 0; i < row_count; i++) {
        int64_t delay = arrivals[i] - first;
        if (arrivals[i])
            fwrite(&delay, sizeof delay, 1, file);
    }
    if (fclose(file) != 0)
        return WEIR_FAIL(ctx, "cannot write the delays");
    return 0;
}

WEIR_JOB(latency)
{
    weir_arg(job, "output", "latency.bin");
    struct weir_stream *rows = weir_source(job, "datagen", "rows", weir_arg(job, "rows", NULL), "rows-per-second",
                                           weir_arg(job, "rate", NULL), "fields.id.kind", "sequence", "fields.key.kind",
                                           "random", "fields.key.min", "0", "fields.key.max", "999", NULL);
    rows = weir_parallelism(weir_schema(rows, WEIR_ROW_OF(event)), 1);
    rows = weir_map(weir_key_by(rows, "key"), WEIR_MAP(event, event, note), .name = "note");
    weir_parallelism(rows, 2);
    weir_parallelism(weir_sink(rows, "blackhole", NULL), 2);
}
