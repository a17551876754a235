/* A topic in one format into files, or into a topic in another: what tests of formats and of the schema registry look at. */
#include <stdbool.h>
#include <string.h>

#include <weir/weir.h>

WEIR_JOB(formats)
{
    const char *format = weir_arg(job, "format", "json"), *to = weir_arg(job, "to", "");
    const char *to_format = weir_arg(job, "to-format", "avro-confluent");
    bool csv = strcmp(format, "csv") == 0;
    struct weir_stream *rows;
    if (strstr(format, "-confluent"))
        rows = weir_source(
            job, "kafka", "topic", weir_arg(job, "topic", NULL), "properties.bootstrap.servers",
            weir_arg(job, "brokers", NULL), "scan.startup.mode", "earliest-offset", "scan.bounded.mode",
            weir_arg(job, "stop", "latest-offset"), "on-error", weir_arg(job, "on-error", "fail"), "format", format,
            weir_text(job, "%s.url", format), weir_arg(job, "url", NULL), weir_text(job, "%s.timeout", format),
            weir_arg(job, "timeout", "10 s"), weir_text(job, "%s.schema", format), weir_arg(job, "schema", ""),
            weir_text(job, "%s.basic-auth.user-info", format), weir_arg(job, "user-info", ""),
            weir_text(job, "%s.bearer-auth.token", format), weir_arg(job, "token", ""),
            weir_text(job, "%s.ssl.truststore.location", format), weir_arg(job, "ca", ""),
            weir_text(job, "%s.ssl.keystore.location", format), weir_arg(job, "certificate", ""),
            weir_text(job, "%s.ssl.keystore.password", format), weir_arg(job, "certificate-password", ""),
            "dead-letter.path", weir_arg(job, "dead-path", ""), NULL);
    else
        rows = weir_source(job, "kafka", "topic", weir_arg(job, "topic", NULL), "properties.bootstrap.servers",
                           weir_arg(job, "brokers", NULL), "scan.startup.mode", "earliest-offset", "scan.bounded.mode",
                           weir_arg(job, "stop", "latest-offset"), "on-error", weir_arg(job, "on-error", "fail"),
                           "format", format, "dead-letter.path", weir_arg(job, "dead-path", ""),
                           csv ? "csv.null-literal" : weir_text(job, "%s.schema", format),
                           csv ? "\\N" : weir_arg(job, "schema", ""), csv ? "csv.multiline" : NULL, "true", NULL);
    rows = weir_columns(rows, weir_arg(job, "columns", NULL));
    if (*to)
        weir_sink(rows, "kafka", "topic", to, "properties.bootstrap.servers", weir_arg(job, "brokers", NULL), "format",
                  to_format, weir_text(job, "%s.url", to_format), weir_arg(job, "url", NULL),
                  weir_text(job, "%s.schema", to_format), weir_arg(job, "to-schema", ""),
                  weir_text(job, "%s.basic-auth.user-info", to_format), weir_arg(job, "user-info", ""),
                  weir_text(job, "%s.bearer-auth.token", to_format), weir_arg(job, "token", ""),
                  weir_text(job, "%s.ssl.truststore.location", to_format), weir_arg(job, "ca", ""),
                  weir_text(job, "%s.ssl.keystore.location", to_format), weir_arg(job, "certificate", ""),
                  weir_text(job, "%s.ssl.keystore.password", to_format), weir_arg(job, "certificate-password", ""),
                  NULL);
    else
        weir_sink(rows, "filesystem", "path", weir_arg(job, "output", NULL), "format", "json", NULL);
}
