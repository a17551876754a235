/* Kafka (JSON) -> filter -> 10 s tumbling count, avg, max per device -> Kafka (JSON), exactly once */
#include <weir/weir.h>

struct reading {
    struct weir_str device_id;
    double temperature;
    bool is_abnormal;
    weir_ts timestamp;
};
WEIR_ROW(reading, WEIR_FIELD(device_id, "STRING NOT NULL"), WEIR_FIELD(temperature, "DOUBLE NOT NULL"),
         WEIR_FIELD(is_abnormal, "BOOLEAN NOT NULL"), WEIR_FIELD(timestamp, "TIMESTAMP(3) NOT NULL"));

WEIR_JOB(kafka_window)
{
    const char *brokers = weir_arg(job, "brokers", NULL);
    struct weir_stream *rows = weir_source(
        job, "kafka", "topic", weir_arg(job, "input", NULL), "properties.bootstrap.servers", brokers, "format", "json",
        "scan.startup.mode", "earliest-offset", "scan.bounded.mode", "latest-offset", NULL);
    rows = weir_watermark(weir_schema(rows, WEIR_ROW_OF(reading)), "`timestamp` - INTERVAL '2' SECOND");
    rows = weir_filter(rows, "temperature > 30 AND NOT is_abnormal");
    struct weir_stream *results =
        weir_aggregate(weir_window(weir_key_by(rows, "device_id"), weir_tumbling("10 s")),
                       "device_id, window_end, COUNT(*) AS n, AVG(temperature) AS mean, MAX(temperature) AS high");
    weir_sink(results, "kafka", "topic", weir_arg(job, "output", NULL), "properties.bootstrap.servers", brokers,
              "format", "json", "delivery-guarantee", "exactly-once", "sink.transactional-id-prefix", "bench", NULL);
}
