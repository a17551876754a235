/* Two topics whose event times are far apart, into files; --drift: how far one may be ahead of the other, without it as far as it likes. */
#include <weir/weir.h>

static struct weir_stream *topic(struct weir_job *job, const char *name)
{
    const char *drift = weir_arg(job, "drift", "");
    struct weir_stream *rows =
        weir_source(job, "kafka", "topic", name, "properties.bootstrap.servers", weir_arg(job, "brokers", NULL),
                    "format", "json", "metadata.topic", "topic", "watermark.expression", "ts",
                    drift[0] ? "scan.watermark.alignment.group" : NULL, "topics", "scan.watermark.alignment.max-drift",
                    drift, "scan.watermark.alignment.update-interval", "100 ms", NULL);
    rows = weir_columns(rows, "id BIGINT NOT NULL, ts TIMESTAMP(3) NOT NULL, topic STRING NOT NULL");
    return weir_uid(weir_name(rows, name), name);
}

WEIR_JOB(kafka_aligned)
{
    struct weir_stream *near = topic(job, weir_arg(job, "near", "near"));
    struct weir_stream *both = weir_union(near, topic(job, weir_arg(job, "far", "far")));
    weir_sink(both, "filesystem", "path", weir_arg(job, "output", NULL), "format", "json", NULL);
}
