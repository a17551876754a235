/* Records, good and bad, from a topic or from files: what tests of dead letters run. */
#include <weir/weir.h>

WEIR_JOB(dead_letters)
{
    const char *brokers = weir_arg(job, "brokers", ""), *format = weir_arg(job, "format", "json");
    const char *on_error = weir_arg(job, "on-error", "dead-letter"), *path = weir_arg(job, "dead-path", "");
    const char *topic = weir_arg(job, "dead-topic", ""), *size_max = weir_arg(job, "size-max", "1 mb");
    struct weir_stream *rows;
    if (brokers[0])
        rows = weir_source(job, "kafka", "topic", weir_arg(job, "topic", NULL), "properties.bootstrap.servers", brokers,
                           "properties.group.id", "dead-letters-test", "scan.bounded.mode",
                           weir_arg(job, "stop", "unbounded"), "format", format, "on-error", on_error,
                           "dead-letter.path", path, "dead-letter.topic", topic, "record.size-max", size_max, NULL);
    else
        rows = weir_source(job, "filesystem", "path", weir_arg(job, "input", NULL), "format", format, "on-error",
                           on_error, "dead-letter.path", path, "record.size-max", size_max, NULL);
    rows = weir_uid(weir_columns(rows, weir_arg(job, "columns", "id BIGINT NOT NULL")), "readings-v1");
    weir_sink(rows, "filesystem", "path", weir_arg(job, "output", NULL), "format", "json", NULL);
}
