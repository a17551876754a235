/* A topic into another: what tests of the Kafka sink look at. */
#include <weir/weir.h>

WEIR_JOB(kafka_sink)
{
    struct weir_stream *rows = weir_source(
        job, "kafka", "topic", weir_arg(job, "topic", NULL), "properties.bootstrap.servers",
        weir_arg(job, "brokers", NULL), "format", "json", "scan.bounded.mode", weir_arg(job, "stop", "unbounded"),
        "scan.topic-partition-discovery.interval", "500 ms", "properties.group.id", weir_arg(job, "group", "weir-test"),
        "metadata.k", "key", "metadata.at", "timestamp", "metadata.h", "headers", NULL);
    rows = weir_columns(
        rows, weir_text(job, "id BIGINT NOT NULL, text STRING, p INT, place STRING, k STRING, at TIMESTAMP(3), h %s",
                        weir_arg(job, "headers", "MAP<STRING, BYTES>")));
    const char *kind = weir_arg(job, "kind", "columns");
    const char *to = weir_arg(job, "to", ""), *brokers = weir_arg(job, "to-brokers", weir_arg(job, "brokers", NULL));
    const char *guarantee = weir_arg(job, "guarantee", "at-least-once"), *on_error = weir_arg(job, "on-error", "fail");
    const char *timeout = weir_arg(job, "message-timeout", "300000"), *format = weir_arg(job, "format", "json");
    const char *transaction = weir_arg(job, "transaction", "commit");
    const char *transaction_timeout = weir_arg(job, "transaction-timeout", "60000");
    if (strcmp(kind, "columns") == 0) /* key, time, partition and topic are columns */
        weir_sink(rows, "kafka", "topic", to, "properties.bootstrap.servers", brokers, "format", format,
                  "delivery-guarantee", guarantee, "sink.transaction", transaction, "on-error", on_error,
                  "properties.message.timeout.ms", timeout, "properties.transaction.timeout.ms", transaction_timeout,
                  "properties.topic.metadata.propagation.max.ms", "3000", "properties.isolation.level",
                  weir_arg(job, "isolation", "read_committed"), "properties.queue.buffering.max.messages",
                  weir_arg(job, "queue", "500000"), "properties.linger.ms", weir_arg(job, "linger", "5"), "metadata.k",
                  "key", "metadata.at", "timestamp", "metadata.p", "partition", "metadata.place", "topic", "metadata.h",
                  "headers", NULL);
    else
        weir_sink(weir_select(rows, "id, text"), "kafka", "topic", to, "properties.bootstrap.servers", brokers,
                  "format", format, "delivery-guarantee", guarantee, "on-error", on_error,
                  "properties.message.timeout.ms", timeout, "sink.partitioner", weir_arg(job, "partitioner", "default"),
                  "key.fields", weir_arg(job, "key", ""), "key.format", weir_arg(job, "key-format", ""),
                  "value.fields-include", weir_arg(job, "include", "all"), NULL);
}
