/* A topic of a broker that wants TLS and a login, into files. */
#include <weir/weir.h>

WEIR_JOB(kafka_login)
{
    struct weir_stream *rows = weir_source(
        job, "kafka", "topic", weir_arg(job, "topic", NULL), "format", "json", "scan.startup.mode", "earliest-offset",
        "scan.bounded.mode", "latest-offset", "properties.bootstrap.servers", weir_arg(job, "brokers", NULL),
        "properties.security.protocol", weir_arg(job, "protocol", "SASL_SSL"), "properties.ssl.ca.location",
        weir_arg(job, "ca", NULL), "properties.sasl.mechanism", weir_arg(job, "mechanism", NULL),
        "properties.sasl.username", "alice", "properties.sasl.password", weir_arg(job, "password", "alice-secret"),
        "properties.socket.connection.setup.timeout.ms", weir_arg(job, "timeout", "5000"), NULL);
    rows = weir_columns(rows, "id BIGINT NOT NULL");
    weir_sink(rows, "filesystem", "path", weir_arg(job, "output", NULL), "format", "json", NULL);
}
