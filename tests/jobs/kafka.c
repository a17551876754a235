/* A topic, row by row, into files: what tests of the Kafka source look at. */
#include <weir/weir.h>

WEIR_JOB(kafka)
{
    struct weir_stream *rows = weir_source(
        job, "kafka", weir_arg(job, "by", "topic"), weir_arg(job, "topic", NULL), "properties.bootstrap.servers",
        weir_arg(job, "brokers", NULL), "format", weir_arg(job, "format", "json"), "scan.startup.mode",
        weir_arg(job, "start", "earliest-offset"), "scan.startup.specific-offsets", weir_arg(job, "start-offsets", ""),
        "scan.startup.timestamp-millis", weir_arg(job, "start-time", "0"), "scan.bounded.mode",
        weir_arg(job, "stop", "unbounded"), "scan.bounded.specific-offsets", weir_arg(job, "stop-offsets", ""),
        "scan.topic-partition-discovery.interval", weir_arg(job, "discovery", "500 ms"), "scan.offset-lost",
        weir_arg(job, "lost", "fail"), "on-error", weir_arg(job, "on-error", "fail"), "properties.group.id",
        weir_arg(job, "group", "weir-test"), "properties.auto.offset.reset", weir_arg(job, "reset", "none"),
        "properties.socket.connection.setup.timeout.ms", weir_arg(job, "timeout", "30000"), "metadata.topic", "topic",
        "metadata.p", "partition", "metadata.o", "offset", "metadata.k", "key", "metadata.at", "timestamp",
        "metadata.h", "headers", NULL);
    rows = weir_columns(rows, "id BIGINT NOT NULL, topic STRING NOT NULL, p INT NOT NULL, o BIGINT NOT NULL, k STRING, "
                              "at TIMESTAMP(3), h MAP<STRING, BYTES> NOT NULL");
    weir_sink(rows, "filesystem", "path", weir_arg(job, "output", NULL), "format", "json", NULL);
}
