/* kafka: markers: which checkpoints a sink has written. A marker is a message of the progress topic, key: the transactional id, value: JSON, in
 * the same transaction as the messages that it speaks of. The topic has one partition, so that nobody who adds some can hide a marker, and is
 * compacted in small segments, so that reading it stays short.
 *
 * Reading: the end that the reader must reach is the high watermark after its id was fenced; its last stable offset may be behind that while
 * others' transactions are open, and a committed marker could be hidden there. They are short: it waits, within bounds. The high watermark is
 * asked for, not taken from what is fetched: a leader that has just become one may fetch to less than was committed, and refuses to say where its
 * log ends until it knows.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json_memory.h"
#include "base/log.h"
#include "connectors/kafka/kafka_int.h"

#define TIMEOUT_MS 30000
#define READ_TIMEOUT_MS 60000
#define LEADER_TRIES 100
#define LEADER_PAUSE_MS 50

/* --- The topic */

static bool has_topic(struct weir_kafka_client *client, const char *topic, rd_kafka_resp_err_t *reason)
{
    const rd_kafka_metadata_t *metadata = NULL;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(client->rk, topic, NULL);
    *reason = handle ? rd_kafka_metadata(client->rk, 0, handle, &metadata, TIMEOUT_MS) : rd_kafka_last_error();
    rd_kafka_resp_err_t of_topic =
        !*reason && metadata->topic_cnt == 1 ? metadata->topics[0].err : RD_KAFKA_RESP_ERR_NO_ERROR;
    bool has = !*reason && metadata->topic_cnt == 1 && !of_topic && metadata->topics[0].partition_cnt > 0;
    if (weir_kafka_is_refusal(of_topic))
        *reason = of_topic;
    if (metadata)
        rd_kafka_metadata_destroy(metadata);
    if (handle)
        rd_kafka_topic_destroy(handle);
    return has;
}

static rd_kafka_resp_err_t make_topic(struct weir_kafka_client *client, const char *topic, char *why, size_t why_size)
{
    static const char *const settings[][2] = {
        {"cleanup.policy", "compact"}, {"segment.bytes", "16777216"}, {"min.cleanable.dirty.ratio", "0.1"}};
    rd_kafka_NewTopic_t *wanted = rd_kafka_NewTopic_new(topic, 1, -1, why, why_size);
    if (!wanted)
        return RD_KAFKA_RESP_ERR__INVALID_ARG;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        rd_kafka_NewTopic_set_config(wanted, settings[i][0], settings[i][1]);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client->rk);
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(client->rk, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    rd_kafka_AdminOptions_set_operation_timeout(options, TIMEOUT_MS, NULL, 0);
    rd_kafka_CreateTopics(client->rk, &wanted, 1, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 2 * TIMEOUT_MS);
    rd_kafka_resp_err_t reason = event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    if (event && !reason) {
        size_t count;
        const rd_kafka_topic_result_t **results =
            rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
        reason = count ? rd_kafka_topic_result_error(results[0]) : RD_KAFKA_RESP_ERR__FAIL;
        snprintf(why, why_size, "%s",
                 count && rd_kafka_topic_result_error_string(results[0])
                     ? rd_kafka_topic_result_error_string(results[0])
                     : "");
    }
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
    rd_kafka_NewTopic_destroy(wanted);
    return reason;
}

static void wait_a_little(void)
{
    nanosleep(&(struct timespec){.tv_nsec = LEADER_PAUSE_MS * 1000000}, NULL);
}

weir_err weir_kafka_progress_prepare(struct weir_kafka_client *client, const char *topic, bool is_first,
                                     struct weir_error *error)
{
    char why[256] = "", what[640];
    rd_kafka_resp_err_t reason;
    if (has_topic(client, topic, &reason))
        return WEIR_OK;
    snprintf(what, sizeof what, "cannot ask the brokers for the progress topic '%.100s'", topic);
    if (reason)
        return weir_kafka_fail(client, weir_kafka_code(reason, is_first), reason, what, error);
    reason = make_topic(client, topic, why, sizeof why);
    if (!reason)
        weir_log(INFO, "kafka %s: made topic %s, where exactly-once sinks remember what is written", client->brokers,
                 topic);
    if (!reason || reason == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
        for (int tries = 0; tries < LEADER_TRIES; tries++, wait_a_little()) {
            if (has_topic(client, topic, &reason))
                return WEIR_OK;
            if (reason) /* nobody answers any more: each question would take as long as this one */
                return weir_kafka_fail(client, weir_kafka_code(reason, is_first), reason, what, error);
        }
        return weir_kafka_fail(client, WEIR_ERR_IO, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, what, error);
    }
    snprintf(what, sizeof what,
             "cannot make the progress topic '%.100s' (make it, with one partition and cleanup.policy=compact)%s%s",
             topic, why[0] ? ": " : "", why);
    return weir_kafka_fail(client, weir_kafka_code(reason, is_first), reason, what, error);
}

/* --- Markers */

void weir_kafka_progress_write(const char *id, const struct weir_kafka_marker *marker, int64_t messages,
                               char value[static 256], struct weir_message_out *message)
{
    int size = snprintf(value, 256,
                        "{\"version\":1,\"checkpoint\":%" PRIu64 ",\"before\":%" PRIu64 ",\"part\":%" PRId64
                        ",\"parts\":%" PRId64 ",\"messages\":%" PRId64,
                        marker->checkpoint, marker->before, marker->part, marker->parts, messages);
    if (marker->taken)
        size += snprintf(value + size, 256 - (size_t)size, ",\"taken\":%" PRIu64, marker->taken);
    size += snprintf(value + size, 256 - (size_t)size, "}");
    *message = (struct weir_message_out){.value = (const uint8_t *)value,
                                         .value_size = (size_t)size,
                                         .key = (const uint8_t *)id,
                                         .key_size = strlen(id),
                                         .timestamp_ms = INT64_MIN};
}

bool weir_kafka_progress_parse(const rd_kafka_message_t *message, struct weir_kafka_marker *marker)
{
    weir_json_memory();
    json_t *json = json_loadb(message->payload, message->len, 0, NULL);
    json_int_t checkpoint, before, part, parts, taken = 0;
    int version;
    bool ok = json &&
              json_unpack(json, "{s:i, s:I, s:I, s:I, s:I, s?I}", "version", &version, "checkpoint", &checkpoint,
                          "before", &before, "part", &part, "parts", &parts, "taken", &taken) == 0 &&
              version == 1;
    if (ok)
        *marker = (struct weir_kafka_marker){(uint64_t)checkpoint, (uint64_t)before, part, parts, (uint64_t)taken};
    json_decref(json);
    return ok;
}

/* What it is shown is not the user's to say. */
static weir_err new_reader(const struct weir_key_value *options, int option_count, const char *(*defaults)[2],
                           struct weir_kafka_client **client, struct weir_error *error)
{
    static const char *const ours[] = {"isolation.level", "enable.partition.eof", "enable.auto.commit",
                                       "transactional.id", NULL};
    int left;
    struct weir_key_value *list = weir_kafka_options_without(options, option_count, ours, &left);
    weir_err err = weir_kafka_client_new(list, left, RD_KAFKA_CONSUMER, defaults, NULL, NULL, NULL, client, error);
    free(list);
    return err;
}

weir_err weir_kafka_progress_end(const struct weir_key_value *options, int option_count, const char *topic,
                                 int64_t *end, struct weir_error *error)
{
    /* A reader of what is committed would be told the last stable offset. */
    const char *defaults[][2] = {{"group.id", "weir"},
                                 {"enable.auto.commit", "false"},
                                 {"isolation.level", "read_uncommitted"},
                                 {"client.id", "weir"},
                                 {NULL, NULL}};
    struct weir_kafka_client *client = NULL;
    int64_t low, high;
    weir_err err = new_reader(options, option_count, defaults, &client, error);
    if (err)
        return err;
    rd_kafka_resp_err_t reason = rd_kafka_query_watermark_offsets(client->rk, topic, 0, &low, &high, TIMEOUT_MS);
    if (reason)
        err = weir_kafka_fail(client, WEIR_ERR_IO, reason, "cannot ask where the progress topic ends", error);
    else
        *end = high;
    weir_kafka_client_unref(client);
    return err;
}

/* Marks `done` at the end that must be reached. */
static weir_err take(struct weir_kafka_client *client, const char *topic, const char *id,
                     const rd_kafka_message_t *message, struct weir_publish *publish, bool *done,
                     struct weir_error *error)
{
    struct weir_kafka_marker marker;
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        *done = weir_publish_reached(publish, message->offset);
        return WEIR_OK;
    }
    if (message->err)
        return weir_kafka_fail(client, WEIR_ERR_IO, message->err, "cannot read the progress topic", error);
    if (message->key_len != strlen(id) || memcmp(message->key, id, message->key_len) != 0 || !message->payload)
        return WEIR_OK;
    if (!weir_kafka_progress_parse(message, &marker))
        return weir_fail(error, WEIR_ERR_DATA,
                         "connector 'kafka': topic %s, offset %" PRId64
                         ": this is no marker of a version that is known",
                         topic, message->offset);
    weir_publish_found(publish, &marker);
    return WEIR_OK;
}

weir_err weir_kafka_progress_open(const struct weir_key_value *options, int option_count, const char *topic,
                                  struct weir_kafka_client **out, struct weir_error *error)
{
    const char *defaults[][2] = {{"group.id", "weir"},
                                 {"enable.auto.commit", "false"},
                                 {"isolation.level", "read_committed"},
                                 {"enable.partition.eof", "true"},
                                 {"fetch.wait.max.ms", "20"},
                                 {"auto.offset.reset", "earliest"},
                                 {"client.id", "weir"},
                                 {NULL, NULL}};
    struct weir_kafka_client *client = NULL;
    weir_err err = new_reader(options, option_count, defaults, &client, error);
    if (err)
        return err;
    rd_kafka_poll_set_consumer(client->rk);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, 0)->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_resp_err_t reason = rd_kafka_assign(client->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (reason) {
        err = weir_kafka_fail(client, WEIR_ERR_IO, reason, "cannot read the progress topic", error);
        weir_kafka_client_unref(client);
        return err;
    }
    *out = client;
    return WEIR_OK;
}

weir_err weir_kafka_progress_read(const struct weir_key_value *options, int option_count, const char *topic,
                                  const char *id, struct weir_publish *publish, struct weir_error *error)
{
    struct weir_kafka_client *client = NULL;
    weir_err err = weir_kafka_progress_open(options, option_count, topic, &client, error);
    if (err)
        return err;
    int64_t deadline_ms = weir_clock_mono_ms() + READ_TIMEOUT_MS;
    for (bool done = false; !done && !err;) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(client->rk, 100);
        if (message)
            err = take(client, topic, id, message, publish, &done, error);
        if (message)
            rd_kafka_message_destroy(message);
        if (!err && !done && weir_clock_mono_ms() > deadline_ms)
            err = weir_kafka_fail(client, WEIR_ERR_TIMEOUT, RD_KAFKA_RESP_ERR__TIMED_OUT,
                                  "the progress topic's end was not reached", error);
    }
    weir_kafka_client_unref(client);
    return err;
}
