/* Kafka (JSON) -> Kafka (JSON): each row as it is, as kafka_bench latency writes and reads them */
#include <weir/weir.h>

WEIR_JOB(kafka_latency)
{
    const char *brokers = weir_arg(job, "brokers", NULL);
    struct weir_stream *rows =
        weir_source(job, "kafka", "topic", weir_arg(job, "input", NULL), "properties.bootstrap.servers", brokers,
                    "format", "json", "scan.startup.mode", "earliest-offset", NULL);
    rows = weir_columns(
        rows,
        "id BIGINT NOT NULL, due BIGINT NOT NULL, device_id STRING NOT NULL, temperature DOUBLE NOT NULL, note STRING");
    weir_sink(rows, "kafka", "topic", weir_arg(job, "output", NULL), "properties.bootstrap.servers", brokers, "format",
              "json", "delivery-guarantee", weir_arg(job, "guarantee", NULL), "sink.transaction",
              weir_arg(job, "transaction", "commit"), NULL);
}
