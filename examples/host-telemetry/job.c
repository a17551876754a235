/* The shortest example: this machine's counters, live; the average of every metric over five seconds, until it is cancelled. */
#include <weir/weir.h>

WEIR_JOB(host_telemetry)
{
    struct weir_stream *samples =
        weir_source(job, "host", "interval", "1 s", "samples", weir_arg(job, "samples", "0"), NULL);
    samples = weir_watermark(samples, "ts");
    struct weir_stream *averages =
        weir_aggregate(weir_window(weir_key_by(samples, "host, metric"), weir_tumbling(weir_arg(job, "window", "5 s"))),
                       "window_end, metric, AVG(`value`) AS average");
    weir_sink(averages, "print", "format", "json", NULL);
}
