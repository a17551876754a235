/* A topic of a broker that wants TLS and a login, into files or another topic. */
#include <weir/weir.h>

WEIR_JOB(kafka_login)
{
    struct weir_stream *rows = weir_source(
        job, "kafka", "topic", weir_arg(job, "topic", NULL), "format", "json", "scan.startup.mode", "earliest-offset",
        "scan.bounded.mode", "latest-offset", "properties.bootstrap.servers", weir_arg(job, "brokers", NULL),
        "properties.security.protocol", weir_arg(job, "protocol", "SASL_SSL"), "properties.ssl.ca.location",
        weir_arg(job, "ca", NULL), "properties.sasl.mechanism", weir_arg(job, "mechanism", NULL),
        "properties.sasl.username", "alice", "properties.sasl.password", weir_arg(job, "password", "alice-secret"),
        "properties.socket.connection.setup.timeout.ms", weir_arg(job, "timeout", "5000"), "record.size-max",
        weir_arg(job, "size-max", "1 mb"), NULL);
    rows = weir_columns(rows, "id BIGINT NOT NULL");
    const char *to = weir_arg(job, "to", ""), *output = weir_arg(job, "output", NULL);
    const char *guarantee = weir_arg(job, "guarantee", ""), *password = weir_arg(job, "to-password", "alice-secret");
    if (!to[0])
        weir_sink(rows, "filesystem", "path", output, "format", "json", NULL);
    else
        weir_sink(rows, "kafka", "topic", to, "format", "json", "delivery-guarantee", guarantee,
                  "properties.bootstrap.servers", weir_arg(job, "to-brokers", weir_arg(job, "brokers", NULL)),
                  "properties.security.protocol", "SASL_SSL", "properties.ssl.ca.location", weir_arg(job, "ca", NULL),
                  "properties.sasl.mechanism", weir_arg(job, "mechanism", NULL), "properties.sasl.username", "alice",
                  "properties.sasl.password", password, "properties.socket.connection.setup.timeout.ms",
                  weir_arg(job, "to-timeout", "60000"), "properties.topic.metadata.propagation.max.ms", "3000",
                  "sink.transactional-id-prefix", weir_arg(job, "prefix", "weir"), "sink.progress-topic",
                  weir_arg(job, "progress", "weir-progress"), "properties.compression.codec",
                  weir_arg(job, "codec", "lz4"), "properties.transaction.timeout.ms",
                  weir_arg(job, "transaction-timeout", "60000"), NULL);
}
