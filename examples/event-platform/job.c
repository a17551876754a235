/* The processors of the event platform: one binary, --type says which. The events of a topic are checked against their columns, enriched, and written to
 * TYPE-results; what is no event of its type goes to dead-letters, with the reason and the place it came from. Both exactly once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/weir.h>

struct processor {
    const char *type;    /* the topic it reads, too */
    const char *key;     /* the column that the results are keyed by */
    const char *columns; /* of an event; NOT NULL: without it, it is none */
    const char *select;  /* what a result has of it */
};

static const struct processor processors[] = {
    {"content", "creator_id",
     "id STRING NOT NULL, creator_id STRING NOT NULL, title STRING NOT NULL, tags ARRAY<STRING>, price DECIMAL(10, 2) NOT NULL, "
     "premium BOOLEAN NOT NULL, `at` TIMESTAMP(3) NOT NULL",
     "id, creator_id, UPPER(title) AS title, CARDINALITY(tags) AS tag_count, CAST(price * 1.19 AS DECIMAL(10, 2)) AS price_with_tax, "
     "premium, `at`"},
    {"creator", "creator_id",
     "id STRING NOT NULL, creator_id STRING NOT NULL, name STRING NOT NULL, followers BIGINT NOT NULL, share DECIMAL(6, 4), "
     "verified BOOLEAN NOT NULL, `at` TIMESTAMP(3) NOT NULL",
     "id, creator_id, name, CASE WHEN followers >= 100000 THEN 'star' WHEN followers >= 1000 THEN 'known' ELSE 'new' END AS tier, "
     "share, verified, `at`"},
    {"temperature", "device_id",
     "id STRING NOT NULL, device_id STRING NOT NULL, temperature DOUBLE NOT NULL, is_abnormal BOOLEAN NOT NULL, "
     "`at` TIMESTAMP(3) NOT NULL",
     "id, device_id, temperature, temperature * 1.8 + 32 AS fahrenheit, is_abnormal OR temperature > 90 AS alert, `at`"},
};
/* Where an event lay: who counts them again finds each by it. */
#define PLACE "source_partition INT NOT NULL, source_offset BIGINT NOT NULL"

static const struct processor *find(const char *type)
{
    for (size_t i = 0; i < sizeof processors / sizeof *processors; i++)
        if (strcmp(processors[i].type, type) == 0)
            return &processors[i];
    fprintf(stderr, "--type %s: there are processors for content, creator and temperature\n", type);
    exit(1);
}

WEIR_JOB(event_platform)
{
    const struct processor *processor = find(weir_arg(job, "type", "content"));
    const char *brokers = weir_arg(job, "brokers", NULL);
    weir_job_name(job, weir_text(job, "%s processor", processor->type));

    struct weir_stream *events = weir_source(
        job, "kafka", "topic", processor->type, "properties.bootstrap.servers", brokers, "format", "json", "on-error",
        "dead-letter", "metadata.source_partition", "partition", "metadata.source_offset", "offset", NULL);
    events = weir_uid(weir_columns(events, weir_text(job, "%s, %s", processor->columns, PLACE)), "events");
    struct weir_stream *results =
        weir_select(events, weir_text(job, "%s, source_partition, source_offset", processor->select));
    weir_uid(weir_sink(weir_uid(results, "enrich"), "kafka", "topic", weir_text(job, "%s-results", processor->type),
                       "properties.bootstrap.servers", brokers, "format", "json", "key.fields", processor->key,
                       "delivery-guarantee", "exactly-once", NULL),
             "results");

    struct weir_stream *letters = weir_select(weir_bad(events), "record, code, error, topic, `partition`, `offset`");
    weir_uid(weir_sink(weir_uid(letters, "letters"), "kafka", "topic", "dead-letters", "properties.bootstrap.servers",
                       brokers, "format", "json", "delivery-guarantee", "exactly-once", NULL),
             "dead-letters");
}
