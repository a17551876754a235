/* kafka: topics of Apache Kafka. See README.md. */
#include <regex.h>
#include <string.h>

#include "connectors/kafka/kafka_int.h"

const struct weir_option weir_kafka_source_options[] = {
    {"topic", WEIR_OPTION_STRING, "", NULL, "The topics, separated by ';'"},
    {"topic-pattern", WEIR_OPTION_STRING, "", NULL,
     "Instead of 'topic': all topics whose whole name this regular expression matches"},
    {"properties.", WEIR_OPTION_STRING, "", NULL,
     "properties.NAME: any setting of librdkafka; properties.bootstrap.servers is required"},
    {"scan.startup.mode", WEIR_OPTION_ENUM, "earliest-offset",
     "earliest-offset|latest-offset|group-offsets|timestamp|specific-offsets", "Where reading begins"},
    {"scan.startup.specific-offsets", WEIR_OPTION_STRING, "", NULL,
     "partition:0,offset:42;partition:1,offset:300; others begin at their beginning"},
    {"scan.startup.timestamp-millis", WEIR_OPTION_INT, "0", NULL, "Begin with the first record at or after this time"},
    {"scan.bounded.mode", WEIR_OPTION_ENUM, "unbounded",
     "unbounded|latest-offset|group-offsets|timestamp|specific-offsets",
     "Where reading ends: never, or where the topic ends when the job begins, ..."},
    {"scan.bounded.specific-offsets", WEIR_OPTION_STRING, "", NULL, "The first offsets that are not read"},
    {"scan.bounded.timestamp-millis", WEIR_OPTION_INT, "0", NULL, "End before the first record at or after this time"},
    {"scan.topic-partition-discovery.interval", WEIR_OPTION_DURATION, "30 s", NULL,
     "How often to look for new topics and partitions; 0: never"},
    {"scan.fetch-memory", WEIR_OPTION_SIZE, "8 mb", NULL,
     "About what each reader (subtask) may hold of messages that are fetched and not read, of all its partitions together, 1 mb to 2 gb: half of it for "
     "their bytes; a fortieth is asked for at a time, as it is packed. What properties.fetch.* and properties.queued.* say wins"},
    {"scan.offset-lost", WEIR_OPTION_ENUM, "fail", "fail|earliest|latest",
     "When the offset to go on from is gone (retention): fail the job, or go on from the earliest or latest there is, losing rows"},
    {0},
};

const struct weir_option weir_kafka_sink_options[] = {
    {"topic", WEIR_OPTION_STRING, "", NULL,
     "The topic; a column may say another for each row: 'metadata.COLUMN' = 'topic'"},
    {"properties.", WEIR_OPTION_STRING, "", NULL,
     "properties.NAME: any setting of librdkafka; properties.bootstrap.servers is required"},
    {"delivery-guarantee", WEIR_OPTION_ENUM, "", "none|at-least-once|exactly-once",
     "none: what was not delivered when the job fails is lost; at-least-once: it is written again; exactly-once: each checkpoint's messages are "
     "written in one transaction when it is complete. exactly-once in a job with execution.checkpointing.interval, else at-least-once, where nothing is said"},
    {"sink.transaction", WEIR_OPTION_ENUM, "commit", "commit|open",
     "exactly-once: commit: a transaction is open for the moment of its commit, after the checkpoint; open: each subtask writes into one that stays open until "
     "its checkpoint is complete, so that little is left to do then; readers of its topics wait for open ones, after a crash for at most "
     "properties.transaction.timeout.ms, which must be longer than execution.checkpointing.interval. Its other limits: docs/sdk.md, Kafka"},
    {"sink.transactional-id-prefix", WEIR_OPTION_STRING, "weir", NULL,
     "exactly-once: transactional ids are PREFIX-JOB-OPERATOR; what the brokers' ACLs allow"},
    {"sink.progress-topic", WEIR_OPTION_STRING, "weir-progress", NULL,
     "exactly-once: the topic that remembers which checkpoints are written, of one partition, compacted; made when it is not there"},
    {"sink.partitioner", WEIR_OPTION_ENUM, "default", "default|round-robin|fixed",
     "default: by the key's hash (as the Java client), else at random; round-robin; fixed: each subtask writes to one partition"},
    {0},
};

static const char *get(const struct weir_key_value *options, int count, const char *name)
{
    const char *value = weir_options_get(options, count, weir_kafka_source_options, name);
    return value ? value : "";
}

const char *weir_kafka_sink_get(const struct weir_key_value *options, int count, const char *name)
{
    const char *value = weir_options_get(options, count, weir_kafka_sink_options, name);
    return value ? value : "";
}

static weir_err check_topics(const char *topic, const char *pattern, struct weir_error *error)
{
    if (!topic[0] == !pattern[0])
        return weir_fail(error, WEIR_ERR_INVALID, "either 'topic' or 'topic-pattern' must be given");
    regex_t regex;
    if (!pattern[0])
        return WEIR_OK;
    int failed = regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB);
    if (failed) {
        char why[128];
        regerror(failed, &regex, why, sizeof why);
        return weir_fail(error, WEIR_ERR_INVALID, "'topic-pattern' = '%.100s' is no regular expression: %s", pattern,
                         why);
    }
    regfree(&regex);
    return WEIR_OK;
}

static weir_err check_places(const struct weir_key_value *options, int count, const char *which,
                             struct weir_error *error)
{
    char mode_name[64], offsets_name[64];
    snprintf(mode_name, sizeof mode_name, "scan.%s.mode", which);
    snprintf(offsets_name, sizeof offsets_name, "scan.%s.specific-offsets", which);
    const char *mode = get(options, count, mode_name), *offsets = get(options, count, offsets_name);
    if (strcmp(mode, "specific-offsets") == 0 && !offsets[0])
        return weir_fail(error, WEIR_ERR_INVALID, "'%s' is specific-offsets: '%s' must say which", mode_name,
                         offsets_name);
    if (strcmp(mode, "group-offsets") == 0 && !weir_kafka_property(options, count, "group.id"))
        return weir_fail(error, WEIR_ERR_INVALID, "'%s' is group-offsets: 'properties.group.id' must name the group",
                         mode_name);
    struct weir_kafka_places places = {.count = 0};
    weir_err err = offsets[0] ? weir_kafka_places_parse(offsets_name, offsets, &places, error) : WEIR_OK;
    weir_kafka_places_fini(&places);
    return err;
}

static bool defers(const struct weir_key_value *options, int option_count)
{
    const char *guarantee = weir_kafka_sink_get(options, option_count, "delivery-guarantee");
    const char *partitioner = weir_kafka_sink_get(options, option_count, "sink.partitioner");
    return strcmp(guarantee, "exactly-once") == 0 || (!guarantee[0] && strcmp(partitioner, "fixed") != 0);
}

static weir_err check_sink(const struct weir_key_value *options, int count, struct weir_error *error)
{
    const char *topic = weir_kafka_sink_get(options, count, "topic");
    bool by_column = false;
    for (int i = 0; i < count; i++)
        by_column |= strncmp(options[i].key, "metadata.", 9) == 0 && strcmp(options[i].value, "topic") == 0;
    if (!topic[0] && !by_column)
        return weir_fail(
            error, WEIR_ERR_INVALID,
            "'topic' is missing: the topic to write to, or a column that says it ('metadata.COLUMN' = 'topic')");
    if (weir_kafka_property(options, count, "transactional.id"))
        return weir_fail(error, WEIR_ERR_INVALID,
                         "leave out 'properties.transactional.id': 'sink.transactional-id-prefix' says how it begins");
    if (strcmp(weir_kafka_sink_get(options, count, "delivery-guarantee"), "exactly-once") == 0 &&
        strcmp(weir_kafka_sink_get(options, count, "sink.partitioner"), "fixed") == 0)
        return weir_fail(
            error, WEIR_ERR_INVALID,
            "'sink.partitioner' = 'fixed' goes with at-least-once: with exactly-once all subtasks' messages are written by one "
            "producer");
    const char *guarantee = weir_kafka_sink_get(options, count, "delivery-guarantee");
    if (strcmp(weir_kafka_sink_get(options, count, "sink.transaction"), "open") == 0 && !defers(options, count))
        return weir_fail(error, WEIR_ERR_INVALID,
                         "'sink.transaction' = 'open' is a way of exactly-once: leave out %s, or 'sink.transaction'",
                         guarantee[0] ? "'delivery-guarantee'" : "'sink.partitioner' = 'fixed'");
    return weir_kafka_check(options, count, error);
}

static weir_err check(const struct weir_key_value *options, int count, bool sink, struct weir_error *error)
{
    if (sink)
        return check_sink(options, count, error);
    weir_err err = check_topics(get(options, count, "topic"), get(options, count, "topic-pattern"), error);
    if (!err)
        err = check_places(options, count, "startup", error);
    if (!err)
        err = check_places(options, count, "bounded", error);
    int64_t memory = weir_options_get_int(options, count, weir_kafka_source_options, "scan.fetch-memory");
    if (!err && (memory < WEIR_KAFKA_MEMORY_MIN || memory > WEIR_KAFKA_MEMORY_MAX))
        err = weir_fail(error, WEIR_ERR_INVALID, "'scan.fetch-memory' must be from 1 mb to 2 gb");
    const char *reset = weir_kafka_property(options, count, "auto.offset.reset");
    if (!err && reset && strcmp(reset, "earliest") != 0 && strcmp(reset, "latest") != 0 && strcmp(reset, "none") != 0)
        err = weir_fail(error, WEIR_ERR_INVALID, "'properties.auto.offset.reset' must be earliest, latest or none");
    return err ? err : weir_kafka_check(options, count, error);
}

const struct weir_connector weir_connector_kafka = {
    .size = sizeof(struct weir_connector),
    .name = "kafka",
    .help = "Topics of Apache Kafka",
    .source_options = weir_kafka_source_options,
    .sink_options = weir_kafka_sink_options,
    .check = check,
    .reader_open = weir_kafka_reader_open,
    .read_messages = weir_kafka_read,
    .reader_close = weir_kafka_reader_close,
    .reader_snapshot = weir_kafka_reader_snapshot,
    .reader_restore = weir_kafka_reader_restore,
    .reader_rescale = weir_kafka_reader_rescale,
    .reader_complete = weir_kafka_reader_complete,
    .reader_report = weir_kafka_reader_report,
    .reader_pause = weir_kafka_reader_pause,
    .writer_open = weir_kafka_writer_open,
    .write_messages = weir_kafka_write,
    .busy = weir_kafka_writer_busy,
    .tick = weir_kafka_writer_tick,
    .barrier = weir_kafka_writer_barrier,
    .seal = weir_kafka_writer_seal,
    .finish = weir_kafka_writer_finish,
    .writer_close = weir_kafka_writer_close,
    .defers = defers,
    .commit_messages = weir_kafka_commit,
    .check_messages = weir_kafka_check_messages,
    .check_message = weir_kafka_check_message,
    .held = &weir_kafka_held,
};
