/* @NAME@: counts and means per sensor and window.
 *
 * Input: lines of JSON, {"sensor": "kitchen", "celsius": 21.5, "at": "2026-01-05T08:00:01Z"}. Lines that are none of these are kept
 * below OUTPUT/bad. Output: lines of JSON in OUTPUT/windows, one per sensor and window. */
#include <weir/weir.h>

WEIR_JOB(TEMPLATE_IDENT)
{
    const char *output = weir_arg(job, "output", "out");
    const char *window = weir_arg(job, "window", "1 min");

    struct weir_stream *readings =
        weir_source(job, "filesystem", "path", weir_arg(job, "input", "input.jsonl"), "format", "json", "on-error",
                    "dead-letter", "dead-letter.path", weir_text(job, "%s/bad", output), NULL);
    readings = weir_columns(readings, "sensor STRING NOT NULL, celsius DOUBLE NOT NULL, `at` TIMESTAMP(3) NOT NULL");
    /* Readings may be up to ten seconds out of order; what comes later than that is counted as late and left out. */
    readings = weir_watermark(readings, "`at` - INTERVAL '10' SECOND");
    weir_uid(weir_name(readings, "readings"), "readings");

    struct weir_stream *windows = weir_aggregate(
        weir_window(weir_key_by(readings, "sensor"), weir_tumbling(window)),
        "sensor, window_start, COUNT(*) AS readings, MIN(celsius) AS low, MAX(celsius) AS high, AVG(celsius) AS mean");
    weir_uid(weir_name(windows, "windows"), "windows");

    weir_sink(windows, "filesystem", "path", weir_text(job, "%s/windows", output), "format", "json", NULL);
}
