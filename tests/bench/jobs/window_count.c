/* datagen (100 k keys) -> key_by -> 10 s tumbling count -> blackhole (or files below --output) */
#include <weir/weir.h>

WEIR_JOB(window_count)
{
    struct weir_stream *rows = weir_source(job, "datagen", "rows", weir_arg(job, "rows", "50000000"), "fields.key.kind",
                                           "random", "fields.key.min", "0", "fields.key.max", "99999", "fields.ts.kind",
                                           "time", "fields.ts.start", "0", "fields.ts.step", "0.01", NULL);
    rows = weir_watermark(weir_columns(rows, "key BIGINT NOT NULL, ts TIMESTAMP(3) NOT NULL"),
                          "ts - INTERVAL '0.001' SECOND");
    struct weir_stream *results =
        weir_aggregate(weir_window(weir_key_by(rows, "key"), weir_tumbling("10 s")), "key, window_end, COUNT(*) AS n");
    const char *output = weir_arg(job, "output", "");
    if (*output)
        weir_sink(results, "filesystem", "path", output, "format", "csv", NULL);
    else
        weir_sink(results, "blackhole", NULL);
}
