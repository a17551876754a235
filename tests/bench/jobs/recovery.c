/* Keyed state of --keys keys with --payload bytes each, updated at --rate rows/s; every row comes out again. When each attempt's first row came out
 * of subtask 0 goes to --output, wall clock ns as int64 by attempt; with --gaps the times between one output and the next are counted, too, in
 * buckets of 0.1 ms: what a checkpoint or a rescaling costs is seen there.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <weir/weir.h>

#define ATTEMPTS 64
#define BUCKETS 100000

struct event {
    int64_t id;
    int64_t key;
};
WEIR_ROW(event, WEIR_FIELD(id, "BIGINT NOT NULL"), WEIR_FIELD(key, "BIGINT NOT NULL"));

WEIR_VALUE_STATE(kept, "STRING");

struct notes { /* the file, mapped by every executor */
    int64_t first_ns[ATTEMPTS];
    int64_t rows;
    int64_t last_ns;
    int64_t gaps[BUCKETS];
};
static struct notes *notes;

static int64_t wall_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static int keep(struct weir_ctx *ctx, const struct event *row, struct weir_out *out)
{
    static char text[4096];
    static int64_t size;
    if (!size)
        size = atoll(ctx->argument(ctx, "payload", "100"));
    struct weir_str value = {text, (size_t)(size < (int64_t)sizeof text ? size : (int64_t)sizeof text)};
    snprintf(text, sizeof text, "%lld", (long long)row->id);
    weir_value_put(ctx, &kept, &value);
    return weir_emit(out, row);
}

static int note(struct weir_ctx *ctx, const struct event *in, struct event *out)
{
    *out = *in;
    if (ctx->subtask != 0)
        return 0;
    if (!notes) {
        int fd = open(ctx->argument(ctx, "output", "notes"), O_RDWR | O_CREAT, 0600);
        if (fd < 0 || ftruncate(fd, sizeof *notes) != 0 ||
            (notes = mmap(NULL, sizeof *notes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED)
            return WEIR_FAIL(ctx, "cannot map the notes");
        close(fd);
        notes->last_ns = wall_ns();
    }
    int64_t now = wall_ns(), gap = (now - notes->last_ns) / 100000;
    if (ctx->attempt < ATTEMPTS && !notes->first_ns[ctx->attempt])
        notes->first_ns[ctx->attempt] = now;
    notes->gaps[gap < 0 ? 0 : gap < BUCKETS ? gap : BUCKETS - 1]++;
    notes->last_ns = now;
    notes->rows++;
    return 0;
}

WEIR_JOB(recovery)
{
    weir_arg(job, "output", "notes");
    weir_arg(job, "payload", "100");
    struct weir_stream *rows = weir_source(job, "datagen", "rows-per-second", weir_arg(job, "rate", "100000"),
                                           "fields.id.kind", "sequence", NULL);
    rows = weir_uid(weir_columns(rows, "id BIGINT NOT NULL"), "rows");
    rows = weir_select(
        rows, weir_text(job, "id, id %% CAST(%lld AS BIGINT) AS key", (long long)weir_arg_int(job, "keys", 1000000)));
    rows = weir_process(weir_key_by(rows, "key"), .name = "keep", .in = WEIR_ROW_OF(event), .out = WEIR_ROW_OF(event),
                        .on_row = keep);
    rows = weir_map(weir_uid(rows, "keep"), WEIR_MAP(event, event, note), .name = "note");
    weir_sink(rows, "blackhole", NULL);
}
