/* datagen -> key_by -> one window over all rows -> files: the state is an entry for each of --keys keys, and nothing goes before the end. */
#include <stdio.h>
#include <stdlib.h>

#include <weir/weir.h>

WEIR_JOB(large_state)
{
    char last[32];
    snprintf(last, sizeof last, "%ld", atol(weir_arg(job, "keys", "1000")) - 1);
    struct weir_stream *rows =
        weir_source(job, "datagen", "rows", weir_arg(job, "rows", "10000"), "fields.key.kind", "random",
                    "fields.key.min", "0", "fields.key.max", last, "fields.v.kind", "sequence", "fields.ts.kind",
                    "time", "fields.ts.start", "0", "fields.ts.step", "0.001", NULL);
    rows = weir_watermark(weir_columns(rows, "key BIGINT NOT NULL, v BIGINT NOT NULL, ts TIMESTAMP(3) NOT NULL"),
                          "ts - INTERVAL '0.001' SECOND");
    struct weir_stream *results =
        weir_aggregate(weir_window(weir_key_by(rows, "key"), weir_tumbling("30 d")),
                       "key, COUNT(*) AS n, SUM(v) AS total, MIN(v) AS low, MAX(v) AS high, FIRST_VALUE(v) AS first");
    weir_sink(results, "filesystem", "path", weir_arg(job, "output", ""), "format", "csv", NULL);
}
