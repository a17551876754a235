/* A job whose shape its arguments change, so that its savepoints meet others: rows of datagen are counted per key and window by the operator with the
 * uid "counts". --extra adds a second window, "extra"; --uid names the first one otherwise; --width is that of its windows, --keys the highest key; --apart puts an
 * operator between, so that tasks are cut elsewhere. */
#include <string.h>
#include <weir/weir.h>

static struct weir_stream *count(struct weir_stream *rows, const char *width, const char *uid)
{
    return weir_uid(weir_aggregate(weir_window(weir_key_by(rows, "key"), weir_tumbling(width)),
                                   "key, window_end, COUNT(*) AS n, SUM(id) AS sum"),
                    uid);
}

WEIR_JOB(shape)
{
    struct weir_stream *rows = weir_source(
        job, "datagen", "rows", weir_arg(job, "rows", "1000000000"), "rows-per-second", weir_arg(job, "rate", "20000"),
        "fields.id.kind", "sequence", "fields.key.kind", "random", "fields.key.min", "0", "fields.key.max",
        weir_arg(job, "keys", "99"), "fields.ts.kind", "time", "fields.ts.start", "0", "fields.ts.step", "1", NULL);
    rows =
        weir_uid(weir_watermark(weir_columns(rows, "id BIGINT NOT NULL, key BIGINT NOT NULL, ts TIMESTAMP(3) NOT NULL"),
                                "ts - INTERVAL '0.1' SECOND"),
                 "rows");
    if (strcmp(weir_arg(job, "apart", ""), "") != 0)
        rows = weir_uid(weir_filter(rows, "id >= 0"), "apart");
    struct weir_stream *counts = count(rows, weir_arg(job, "width", "1 s"), weir_arg(job, "uid", "counts"));
    weir_uid(weir_sink(counts, "filesystem", "path", weir_arg(job, "output", NULL), "format", "json", NULL), "out");
    const char *extra = weir_arg(job, "extra", "");
    if (strcmp(extra, "") != 0)
        weir_uid(weir_sink(count(rows, "2 s", "extra"), "filesystem", "path", extra, "format", "json", NULL),
                 "extra-out");
}
