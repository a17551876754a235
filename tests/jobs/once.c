/* Every row counts once, whatever dies: rows are numbered (by datagen, or read from --input), go as they are into one directory, and counted per
 * key and window into another. --spin: loops so many times for each row, so that files last. */
#include <stdlib.h>
#include <weir/weir.h>

struct event {
    int64_t id;
    int64_t key;
    weir_ts ts;
};
WEIR_ROW(event, WEIR_FIELD(id, "BIGINT NOT NULL"), WEIR_FIELD(key, "BIGINT NOT NULL"),
         WEIR_FIELD(ts, "TIMESTAMP(3) NOT NULL"));

static int slowly(struct weir_ctx *ctx, const struct event *in, struct event *out)
{
    static int64_t spin = -1;
    if (spin < 0)
        spin = atoll(ctx->argument(ctx, "spin", "0"));
    for (volatile int64_t i = 0; i < spin; i++)
        continue;
    *out = *in;
    return 0;
}

WEIR_JOB(once)
{
    (void)weir_arg(job, "spin", "0"); /* slowly() asks for it */
    const char *input = weir_arg(job, "input", "");
    struct weir_stream *rows =
        *input ? weir_source(job, "filesystem", "path", input, "format", "json", "split.size", "1 mb", NULL)
               : weir_source(job, "datagen", "rows", weir_arg(job, "rows", "100000"), "rows-per-second",
                             weir_arg(job, "rate", "20000"), "fields.id.kind", "sequence", "fields.key.kind", "random",
                             "fields.key.min", "0", "fields.key.max", "99", "fields.ts.kind", "time", "fields.ts.start",
                             "0", "fields.ts.step", "1", NULL);
    rows = weir_watermark(weir_columns(rows, "id BIGINT NOT NULL, key BIGINT NOT NULL, ts TIMESTAMP(3) NOT NULL"),
                          "ts - INTERVAL '0.1' SECOND");
    rows = weir_map(rows, WEIR_MAP(event, event, slowly));
    weir_sink(rows, "filesystem", "path", weir_arg(job, "rows-output", NULL), "format", "json", NULL);
    struct weir_stream *counts = weir_aggregate(weir_window(weir_key_by(rows, "key"), weir_tumbling("1 s")),
                                                "key, window_end, COUNT(*) AS n, MIN(id) AS first");
    weir_sink(counts, "filesystem", "path", weir_arg(job, "output", NULL), "format", "json", NULL);
}
