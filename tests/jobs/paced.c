/* A well-behaved job that runs at a rate: every second a line with the count of rows, by event time. */
#include <weir/weir.h>

WEIR_JOB(paced)
{
    struct weir_stream *rows = weir_source(job, "datagen", "rows", weir_arg(job, "rows", "1000000"), "rows-per-second",
                                           weir_arg(job, "rate", "100000"), "fields.key.kind", "random",
                                           "fields.key.min", "0", "fields.key.max", "999", "fields.ts.kind", "time",
                                           "fields.ts.start", "0", "fields.ts.step", "0.01", NULL);
    rows = weir_watermark(weir_columns(rows, "key BIGINT NOT NULL, ts TIMESTAMP(3) NOT NULL"),
                          "ts - INTERVAL '0.001' SECOND");
    struct weir_stream *counts =
        weir_aggregate(weir_window(weir_key_by(rows, "key"), weir_tumbling("1 s")), "key, window_end, COUNT(*) AS n");
    weir_sink(counts, "filesystem", "path", weir_arg(job, "output", NULL), "format", "json", NULL);
}
