/* JSON file -> filter -> 1 min tumbling count, avg, max per device (10 k) -> blackhole (or files below --output) */
#include <weir/weir.h>

struct reading {
    struct weir_str device_id;
    double temperature;
    bool is_abnormal;
    weir_ts timestamp;
};
WEIR_ROW(reading, WEIR_FIELD(device_id, "STRING NOT NULL"), WEIR_FIELD(temperature, "DOUBLE NOT NULL"),
         WEIR_FIELD(is_abnormal, "BOOLEAN NOT NULL"), WEIR_FIELD(timestamp, "TIMESTAMP(3) NOT NULL"));

WEIR_JOB(json_window)
{
    struct weir_stream *rows =
        weir_source(job, "filesystem", "path", weir_arg(job, "input", NULL), "format", "json", NULL);
    rows = weir_watermark(weir_schema(rows, WEIR_ROW_OF(reading)), "`timestamp` - INTERVAL '2' SECOND");
    rows = weir_filter(rows, "temperature > 30");
    struct weir_stream *results =
        weir_aggregate(weir_window(weir_key_by(rows, "device_id"), weir_tumbling("1 min")),
                       "device_id, window_end, COUNT(*) AS n, AVG(temperature) AS mean, MAX(temperature) AS high");
    const char *output = weir_arg(job, "output", "");
    if (*output)
        weir_sink(results, "filesystem", "path", output, "format", "csv", NULL);
    else
        weir_sink(results, "blackhole", NULL);
}
