/* Rows into messages with a key of some columns, or back: what tests of keys with a format of their own look at. */
#include <string.h>

#include <weir/weir.h>

WEIR_JOB(keyed)
{
    const char *topic = weir_arg(job, "topic", NULL), *brokers = weir_arg(job, "brokers", NULL);
    const char *url = weir_arg(job, "url", NULL), *output = weir_arg(job, "output", "");
    const char *key_format = weir_arg(job, "key-format", "avro-confluent");
    const char *key_url = strstr(key_format, "-confluent") ? weir_text(job, "key.%s.url", key_format) : NULL;
    const char *include = weir_arg(job, "include", "EXCEPT_KEY"), *prefix = weir_arg(job, "prefix", "k_");
    const char *key_fields = weir_arg(job, "key", "k_id;k_name");
    const char *columns = weir_arg(job, "columns", "k_id BIGINT, k_name STRING, id BIGINT NOT NULL, note STRING");
    if (*output) {
        struct weir_stream *rows =
            weir_source(job, "kafka", "topic", topic, "properties.bootstrap.servers", brokers, "scan.bounded.mode",
                        "latest-offset", "value.format", "json", "value.json.fail-on-missing-field", "false",
                        "on-error", weir_arg(job, "on-error", "fail"), "dead-letter.path",
                        weir_arg(job, "dead-path", ""), "key.fields", key_fields, "key.fields-prefix", prefix,
                        "value.fields-include", include, "key.format", key_format, key_url, url, NULL);
        weir_sink(weir_columns(rows, columns), "filesystem", "path", output, "format", "json", NULL);
        return;
    }
    struct weir_stream *rows =
        weir_source(job, "kafka", "topic", weir_arg(job, "from", NULL), "properties.bootstrap.servers", brokers,
                    "scan.bounded.mode", "latest-offset", "format", "json", NULL);
    weir_sink(weir_columns(rows, columns), "kafka", "topic", topic, "properties.bootstrap.servers", brokers,
              "value.format", "json", "value.json.encode.ignore-null-fields", "true", "key.fields", key_fields,
              "key.fields-prefix", prefix, "value.fields-include", include, "key.format", key_format, key_url, url,
              NULL);
}
