/* The temperature job: validates readings, computes per device and window the count, lowest, highest and mean temperature, and alerts
 * when the mean passes a threshold. Input: JSON lines {device_id, temperature, is_abnormal, timestamp} from files or a TCP server. */
#include <inttypes.h>
#include <stdio.h>
#include <weir/weir.h>

struct reading {
    struct weir_str device_id;
    double temperature;
    bool is_abnormal;
    weir_ts timestamp;
};
WEIR_ROW(reading, WEIR_FIELD(device_id, "STRING NOT NULL"), WEIR_FIELD(temperature, "DOUBLE NOT NULL"),
         WEIR_FIELD(is_abnormal, "BOOLEAN NOT NULL"), WEIR_FIELD(timestamp, "TIMESTAMP(3) NOT NULL"));

static struct weir_stream *read_input(struct weir_job *job, const char *input, const char *output)
{
    const char *bad = weir_text(job, "%s/bad", output);
    char host[256];
    int port;
    if (sscanf(input, "tcp://%255[^:]:%d", host, &port) == 2)
        return weir_source(job, "socket", "hostname", host, "port", weir_text(job, "%d", port), "format", "json",
                           "replay", weir_arg(job, "replay", "auto"), "on-error", "dead-letter", "dead-letter.path",
                           bad, NULL);
    return weir_source(job, "filesystem", "path", input, "format", "json", "on-error", "dead-letter",
                       "dead-letter.path", bad, NULL);
}

WEIR_JOB(gpu_temperature)
{
    const char *output = weir_arg(job, "output", "out");
    const char *window = weir_arg(job, "window", "10 s");
    int64_t lateness_ms = weir_arg_duration(job, "lateness", "2 s"); /* how far readings may be out of order */
    double threshold = weir_arg_double(job, "threshold", 80);

    struct weir_stream *readings = read_input(job, weir_arg(job, "input", NULL), output);
    readings = weir_watermark(weir_schema(readings, WEIR_ROW_OF(reading)),
                              weir_text(job, "timestamp - INTERVAL '%" PRId64 ".%03d' SECOND", lateness_ms / 1000,
                                        (int)(lateness_ms % 1000)));
    weir_uid(weir_name(readings, "readings"), "readings");

    struct weir_stream *windows =
        weir_aggregate(weir_window(weir_key_by(readings, "device_id"), weir_tumbling(window)),
                       "device_id, window_start, window_end, COUNT(*) AS readings, "
                       "MIN(temperature) AS low, MAX(temperature) AS high, AVG(temperature) AS mean, "
                       "COUNT(*) FILTER (WHERE is_abnormal) AS abnormal");
    weir_uid(weir_name(windows, "windows"), "windows");
    struct weir_stream *alerts = weir_name(weir_filter(windows, weir_text(job, "mean > %.17g", threshold)), "alerts");

    weir_sink(windows, "filesystem", "path", weir_text(job, "%s/windows", output), "format", "json", NULL);
    weir_sink(alerts, "filesystem", "path", weir_text(job, "%s/alerts", output), "format", "json", NULL);
    if (weir_arg_bool(job, "show", false)) {
        weir_sink(windows, "print", "prefix", "window ", "format", "json", NULL);
        weir_sink(alerts, "print", "prefix", "ALERT  ", "format", "json", NULL);
    }
}
