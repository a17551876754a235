/* Columns of wide and nested types: windows whose keys are decimals, rows and arrays, with such values in their state. */
#include <weir/weir.h>

WEIR_JOB(types)
{
    struct weir_stream *rows = weir_source(job, "datagen", "rows", weir_arg(job, "rows", "40000"), "rows-per-second",
                                           weir_arg(job, "rate", "0"), "fields.n.kind", "sequence", "fields.ts.kind",
                                           "time", "fields.ts.start", "0", "fields.ts.step", "1", NULL);
    rows = weir_watermark(weir_columns(rows, "n BIGINT NOT NULL, ts TIMESTAMP(3) NOT NULL"), "ts");
    rows = weir_uid(
        weir_select(rows, "ts, CAST(n % 3 AS DECIMAL(30, 2)) / 8 AS price, ROW(n % 2, CAST(n % 5 AS STRING)) AS place, "
                          "ARRAY[n % 2, CAST(NULL AS BIGINT)] AS tags, MAP['n', n] AS more, "
                          "TO_TIMESTAMP_LTZ(n, 3) AS seen"),
        "nested");
    struct weir_stream *sums =
        weir_aggregate(weir_window(weir_key_by(rows, "price, place, tags"), weir_tumbling("1 s")),
                       "price, place, tags, window_end, COUNT(*) AS n, SUM(price) AS total, AVG(price) AS mean, "
                       "FIRST_VALUE(more) AS more, MAX(seen) AS seen, MIN(place.`EXPR$1`) AS deep");
    weir_sink(weir_uid(sums, "sums"), "filesystem", "path", weir_arg(job, "output", NULL), "format", "json", NULL);
}
