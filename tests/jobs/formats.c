/* A topic in one format into files, or into a topic in another: what tests of formats and of the schema registry look at. */
#include <stdbool.h>
#include <string.h>

#include <weir/weir.h>

WEIR_JOB(formats)
{
    const char *format = weir_arg(job, "format", "json"), *to = weir_arg(job, "to", "");
    const char *to_format = weir_arg(job, "to-format", "avro-confluent");
    bool csv = strcmp(format, "csv") == 0, protobuf = strcmp(format, "protobuf") == 0;
    struct weir_stream *rows;
    if (strstr(format, "-confluent"))
        rows = weir_source(job, "kafka", "topic", weir_arg(job, "topic", NULL), "properties.bootstrap.servers",
                           weir_arg(job, "brokers", NULL), "scan.startup.mode", "earliest-offset", "scan.bounded.mode",
                           weir_arg(job, "stop", "latest-offset"), "on-error", weir_arg(job, "on-error", "fail"),
                           "format", format, weir_text(job, "%s.url", format), weir_arg(job, "url", NULL),
                           weir_text(job, "%s.timeout", format), weir_arg(job, "timeout", "10 s"),
                           weir_text(job, "%s.schema", format), weir_arg(job, "schema", ""), NULL);
    else
        rows = weir_source(job, "kafka", "topic", weir_arg(job, "topic", NULL), "properties.bootstrap.servers",
                           weir_arg(job, "brokers", NULL), "scan.startup.mode", "earliest-offset", "scan.bounded.mode",
                           weir_arg(job, "stop", "latest-offset"), "on-error", weir_arg(job, "on-error", "fail"),
                           "format", format,
                           csv        ? "csv.null-literal"
                           : protobuf ? "protobuf.schema"
                                      : NULL,
                           csv ? "\\N" : weir_arg(job, "schema", ""), csv ? "csv.multiline" : NULL, "true", NULL);
    rows = weir_columns(rows, weir_arg(job, "columns", NULL));
    if (*to)
        weir_sink(rows, "kafka", "topic", to, "properties.bootstrap.servers", weir_arg(job, "brokers", NULL), "format",
                  to_format, weir_text(job, "%s.url", to_format), weir_arg(job, "url", NULL),
                  weir_text(job, "%s.schema", to_format), weir_arg(job, "to-schema", ""), NULL);
    else
        weir_sink(rows, "filesystem", "path", weir_arg(job, "output", NULL), "format", "json", NULL);
}
