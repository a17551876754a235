#include "connectors/kafka/dead_letters.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "connectors/kafka/kafka_int.h"

#define TIMEOUT_MS 30000
#define READ_TIMEOUT_MS 90000 /* a transaction that somebody left open ends before */

/* --- Reading */

static weir_err new_consumer(const struct weir_key_value *options, int option_count, const char *group,
                             const char *isolation, struct weir_kafka_client **client, struct weir_error *error)
{
    static const char *const ours[] = {"group.id",           "isolation.level",  "enable.partition.eof",
                                       "enable.auto.commit", "transactional.id", NULL};
    const char *defaults[][2] = {{"group.id", group},
                                 {"isolation.level", isolation},
                                 {"enable.partition.eof", "true"},
                                 {"enable.auto.commit", "false"},
                                 {"client.id", "weir"},
                                 {NULL, NULL}};
    int left;
    struct weir_key_value *list = weir_kafka_options_without(options, option_count, ours, &left);
    weir_err err = weir_kafka_client_new(list, left, RD_KAFKA_CONSUMER, defaults, NULL, NULL, NULL, client, error);
    free(list);
    if (!err)
        rd_kafka_poll_set_consumer((*client)->rk);
    return err;
}

/* Where each partition ends: beyond what readers of what is committed are shown while a transaction is open. */
static weir_err find_ends(const struct weir_key_value *options, int option_count, const char *topic, int partitions,
                          int64_t *ends, struct weir_error *error)
{
    struct weir_kafka_client *client = NULL;
    int64_t low;
    weir_err err = new_consumer(options, option_count, "weir-dlq", "read_uncommitted", &client, error);
    for (int i = 0; i < partitions && !err; i++) {
        rd_kafka_resp_err_t reason = rd_kafka_query_watermark_offsets(client->rk, topic, i, &low, &ends[i], TIMEOUT_MS);
        if (reason)
            err = weir_kafka_fail(client, WEIR_ERR_IO, reason, "cannot ask where the topic ends", error);
    }
    weir_kafka_client_unref(client);
    return err;
}

static weir_err assign_all(struct weir_kafka_client *client, const char *topic, int *partitions,
                           struct weir_error *error)
{
    rd_kafka_topic_t *handle = rd_kafka_topic_new(client->rk, topic, NULL);
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t reason = rd_kafka_metadata(client->rk, 0, handle, &metadata, TIMEOUT_MS);
    if (!reason)
        reason = metadata->topics[0].err;
    *partitions = reason ? 0 : metadata->topics[0].partition_cnt;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(*partitions);
    for (int i = 0; i < *partitions; i++)
        rd_kafka_topic_partition_list_add(list, topic, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
    if (!reason)
        reason = rd_kafka_assign(client->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (metadata)
        rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(handle);
    if (!reason)
        return WEIR_OK;
    char what[320];
    snprintf(what, sizeof what, "topic '%.200s' cannot be read", topic);
    bool none = reason == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || reason == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
    return weir_kafka_fail(client, none ? WEIR_ERR_NOT_FOUND : WEIR_ERR_IO, reason, what, error);
}

#define HEADERS_MAX 1000

static bool give(const rd_kafka_message_t *raw, weir_kafka_visit *visit, void *arg)
{
    struct weir_message_header headers[HEADERS_MAX];
    struct weir_message message = {.value = raw->payload,
                                   .value_size = raw->len,
                                   .key = raw->key,
                                   .key_size = raw->key_len,
                                   .lane = raw->partition,
                                   .headers = headers,
                                   .position = raw->offset};
    rd_kafka_timestamp_type_t type;
    message.timestamp_ms = rd_kafka_message_timestamp(raw, &type);
    rd_kafka_headers_t *list;
    const void *value;
    if (!rd_kafka_message_headers(raw, &list))
        while (message.header_count < HEADERS_MAX &&
               !rd_kafka_header_get_all(list, (size_t)message.header_count, &headers[message.header_count].name, &value,
                                        &headers[message.header_count].value_size))
            headers[message.header_count++].value = value;
    return visit(&message, arg);
}

weir_err weir_kafka_read_all(const struct weir_key_value *options, int option_count, const char *topic,
                             weir_kafka_visit *visit, void *arg, struct weir_error *error)
{
    struct weir_kafka_client *client = NULL;
    int left = 0;
    weir_err err = new_consumer(options, option_count, "weir-dlq", "read_committed", &client, error);
    if (err)
        return err;
    err = assign_all(client, topic, &left, error);
    int64_t *ends = weir_zalloc(((size_t)left + 1) * sizeof *ends); /* -1: it was reached */
    if (!err)
        err = find_ends(options, option_count, topic, left, ends, error);
    int64_t deadline_ms = weir_clock_mono_ms() + READ_TIMEOUT_MS;
    while (!err && left > 0) {
        rd_kafka_message_t *raw = rd_kafka_consumer_poll(client->rk, 100);
        if (raw && raw->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            bool reached = ends[raw->partition] >= 0 && raw->offset >= ends[raw->partition];
            left -= reached;
            ends[raw->partition] = reached ? -1 : ends[raw->partition];
        } else if (raw && raw->err) {
            err = weir_kafka_fail(client, WEIR_ERR_IO, raw->err, "the dead letters cannot be read", error);
        } else if (raw && !give(raw, visit, arg)) {
            left = 0;
        }
        if (raw && !raw->err)
            deadline_ms = weir_clock_mono_ms() + READ_TIMEOUT_MS;
        if (raw)
            rd_kafka_message_destroy(raw);
        if (left > 0 && weir_clock_mono_ms() > deadline_ms)
            err = weir_kafka_fail(client, WEIR_ERR_TIMEOUT, RD_KAFKA_RESP_ERR__TIMED_OUT,
                                  "the end of the dead letters was not reached: a transaction is open there", error);
    }
    free(ends);
    weir_kafka_client_unref(client);
    return err;
}

/* --- Writing again */

struct weir_kafka_replay {
    struct weir_kafka_client *client;
    struct weir_kafka_topics topics;
    const struct weir_key_value *options; /* borrowed */
    int option_count;
    bool is_transactional, open;
};

struct delivery {
    atomic_int failed;
};

static void on_delivered(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
    struct delivery *d = ((const struct weir_kafka_client *)opaque)->owner;
    (void)rk;
    if (message->err)
        atomic_store(&d->failed, message->err);
}

static void set_up(rd_kafka_conf_t *conf)
{
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivered);
}

static weir_err check(struct weir_kafka_replay *replay, rd_kafka_error_t *take_reason, const char *what,
                      struct weir_error *error)
{
    if (!take_reason)
        return WEIR_OK;
    rd_kafka_resp_err_t code = rd_kafka_error_code(take_reason);
    char text[512];
    snprintf(text, sizeof text, "%s: %s", what, rd_kafka_error_string(take_reason));
    rd_kafka_error_destroy(take_reason);
    return weir_kafka_fail(replay->client, WEIR_ERR_IO, code, text, error);
}

weir_err weir_kafka_replay_open(const struct weir_key_value *options, int option_count, const char *id,
                                struct weir_kafka_replay **out, struct weir_error *error)
{
    static const char *const ours[] = {"transactional.id", "enable.idempotence", NULL};
    const char *defaults[][2] = {{"enable.idempotence", "true"},
                                 {"compression.codec", "lz4"},
                                 {"partitioner", "murmur2_random"},
                                 {"client.id", "weir"},
                                 {id ? "transactional.id" : NULL, id},
                                 {"transaction.timeout.ms", "60000"},
                                 {NULL, NULL}};
    struct weir_kafka_replay *replay = weir_zalloc(sizeof *replay);
    int left;
    struct weir_key_value *list = weir_kafka_options_without(options, option_count, ours, &left);
    weir_err err = weir_kafka_client_new(list, left, RD_KAFKA_PRODUCER, defaults, set_up,
                                         weir_zalloc(sizeof(struct delivery)), free, &replay->client, error);
    free(list);
    if (err) {
        free(replay);
        return err;
    }
    replay->options = options;
    replay->option_count = option_count;
    weir_kafka_topics_init(&replay->topics, replay->client, "default", 0);
    replay->is_transactional = id != NULL;
    if (id)
        err = check(replay, rd_kafka_init_transactions(replay->client->rk, TIMEOUT_MS * 2), "cannot begin transactions",
                    error);
    if (err)
        weir_kafka_replay_close(replay);
    else
        *out = replay;
    return err;
}

weir_err weir_kafka_replay_has(struct weir_kafka_replay *replay, const char *mark, const char *topic, bool *has,
                               struct weir_error *error)
{
    struct weir_kafka_client *client = NULL;
    weir_err err = new_consumer(replay->options, replay->option_count, mark, "read_committed", &client, error);
    if (err)
        return err;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, 0);
    rd_kafka_resp_err_t reason = rd_kafka_committed(client->rk, list, TIMEOUT_MS);
    *has = !reason && list->elems[0].offset >= 0;
    if (reason)
        err = weir_kafka_fail(client, WEIR_ERR_IO, reason, "cannot ask what became of an earlier replay", error);
    rd_kafka_topic_partition_list_destroy(list);
    weir_kafka_client_unref(client);
    return err;
}

weir_err weir_kafka_replay_begin(struct weir_kafka_replay *replay, struct weir_error *error)
{
    weir_err err = check(replay, rd_kafka_begin_transaction(replay->client->rk), "cannot begin a transaction", error);
    replay->open = !err;
    return err;
}

weir_err weir_kafka_replay_send(struct weir_kafka_replay *replay, const struct weir_message_out *message,
                                struct weir_error *error)
{
    rd_kafka_topic_t *topic;
    rd_kafka_resp_err_t reason;
    weir_err err = weir_kafka_topics_find(&replay->topics, message->topic, message->topic_size, &topic, error);
    int64_t deadline_ms = weir_clock_mono_ms() + TIMEOUT_MS;
    if (err)
        return err;
    while ((reason = weir_kafka_produce(replay->client->rk, topic, message, RD_KAFKA_MSG_F_COPY, NULL)) ==
               RD_KAFKA_RESP_ERR__QUEUE_FULL &&
           weir_clock_mono_ms() < deadline_ms)
        rd_kafka_poll(replay->client->rk, 20);
    char what[320];
    snprintf(what, sizeof what, "a record of topic '%.*s' cannot be written", (int)message->topic_size, message->topic);
    return reason ? weir_kafka_fail(replay->client, WEIR_ERR_IO, reason, what, error) : WEIR_OK;
}

static weir_err put_mark(struct weir_kafka_replay *replay, const char *mark, const char *topic,
                         struct weir_error *error)
{
    struct weir_kafka_client *client = NULL;
    weir_err err = new_consumer(replay->options, replay->option_count, mark, "read_committed", &client, error);
    if (err)
        return err;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, 0)->offset = 1;
    rd_kafka_consumer_group_metadata_t *group = rd_kafka_consumer_group_metadata(client->rk);
    err = check(replay, rd_kafka_send_offsets_to_transaction(replay->client->rk, list, group, TIMEOUT_MS),
                "cannot mark the transaction", error);
    rd_kafka_consumer_group_metadata_destroy(group);
    rd_kafka_topic_partition_list_destroy(list);
    weir_kafka_client_unref(client);
    return err;
}

weir_err weir_kafka_replay_commit(struct weir_kafka_replay *replay, const char *mark, const char *topic,
                                  struct weir_error *error)
{
    struct delivery *d = replay->client->owner;
    weir_err err = mark ? put_mark(replay, mark, topic, error) : WEIR_OK;
    if (!err)
        (void)rd_kafka_flush(replay->client->rk, TIMEOUT_MS);
    rd_kafka_resp_err_t reason = (rd_kafka_resp_err_t)atomic_load(&d->failed);
    if (!err && reason)
        err = weir_kafka_fail(replay->client, WEIR_ERR_IO, reason, "a record was not taken", error);
    if (!err && rd_kafka_outq_len(replay->client->rk) > 0)
        err = weir_kafka_fail(replay->client, WEIR_ERR_TIMEOUT, RD_KAFKA_RESP_ERR__TIMED_OUT,
                              "the brokers have not taken all records", error);
    if (!err && replay->is_transactional)
        err = check(replay, rd_kafka_commit_transaction(replay->client->rk, TIMEOUT_MS),
                    "cannot commit the transaction", error);
    replay->open = replay->is_transactional && err;
    return err;
}

void weir_kafka_replay_close(struct weir_kafka_replay *replay)
{
    if (!replay)
        return;
    if (replay->open) {
        rd_kafka_error_t *ignored = rd_kafka_abort_transaction(replay->client->rk, TIMEOUT_MS);
        if (ignored)
            rd_kafka_error_destroy(ignored);
    }
    weir_kafka_topics_fini(&replay->topics);
    weir_kafka_client_unref(replay->client);
    free(replay);
}
