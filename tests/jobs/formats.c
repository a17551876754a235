/* A topic in one format into files, or into a topic in another: what tests of formats and of the schema registry look at. */
#include <stdbool.h>
#include <string.h>

#include <weir/weir.h>

WEIR_JOB(formats)
{
    const char *format = weir_arg(job, "format", "json"), *to = weir_arg(job, "to", "");
    bool csv = strcmp(format, "csv") == 0;
    struct weir_stream *rows;
    if (strcmp(format, "avro-confluent") == 0)
        rows =
            weir_source(job, "kafka", "topic", weir_arg(job, "topic", NULL), "properties.bootstrap.servers",
                        weir_arg(job, "brokers", NULL), "scan.startup.mode", "earliest-offset", "scan.bounded.mode",
                        weir_arg(job, "stop", "latest-offset"), "on-error", weir_arg(job, "on-error", "fail"), "format",
                        format, "avro-confluent.url", weir_arg(job, "url", NULL), "avro-confluent.timeout",
                        weir_arg(job, "timeout", "10 s"), "avro-confluent.schema", weir_arg(job, "schema", ""), NULL);
    else
        rows = weir_source(job, "kafka", "topic", weir_arg(job, "topic", NULL), "properties.bootstrap.servers",
                           weir_arg(job, "brokers", NULL), "scan.startup.mode", "earliest-offset", "scan.bounded.mode",
                           weir_arg(job, "stop", "latest-offset"), "on-error", weir_arg(job, "on-error", "fail"),
                           "format", format, csv ? "csv.null-literal" : NULL, "\\N", "csv.multiline", "true", NULL);
    rows = weir_columns(rows, weir_arg(job, "columns", NULL));
    if (*to)
        weir_sink(rows, "kafka", "topic", to, "properties.bootstrap.servers", weir_arg(job, "brokers", NULL), "format",
                  "avro-confluent", "avro-confluent.url", weir_arg(job, "url", NULL), "avro-confluent.schema",
                  weir_arg(job, "to-schema", ""), NULL);
    else
        weir_sink(rows, "filesystem", "path", weir_arg(job, "output", NULL), "format", "json", NULL);
}
