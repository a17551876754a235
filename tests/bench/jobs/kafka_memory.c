/* Kafka (texts) -> by partition -> Kafka, or counted only where no --output is given */
#include <weir/weir.h>

WEIR_JOB(kafka_memory)
{
    const char *output = weir_arg(job, "output", ""), *to = weir_arg(job, "to", "");
    const char *guarantee = weir_arg(job, "guarantee", "at-least-once");
    struct weir_stream *rows =
        weir_source(job, "kafka", "topic", weir_arg(job, "input", NULL), "properties.bootstrap.servers",
                    weir_arg(job, "brokers", NULL), "format", "raw", "scan.startup.mode", "earliest-offset",
                    "scan.bounded.mode", "latest-offset", "metadata.partition", "partition", NULL);
    rows = weir_key_by(weir_columns(rows, "value STRING NOT NULL, partition INT NOT NULL"), "partition");
    if (*output)
        weir_sink(rows, "kafka", "topic", output, "properties.bootstrap.servers", to, "format", "json",
                  "delivery-guarantee", guarantee, NULL);
    else
        weir_sink(rows, "blackhole", NULL);
}
