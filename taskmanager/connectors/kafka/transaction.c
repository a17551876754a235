/* kafka: a producer with a transactional id: what commit.c (a checkpoint in one short transaction) and held.c (one that stays open until its checkpoint is
 * complete) do with it. Each call may wait for brokers, within its bound, where the header says so.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "connectors/kafka/kafka_int.h"

#define INIT_TIMEOUT_MS 60000
#define COMMIT_TIMEOUT_MS 60000
#define CONFIG_TIMEOUT_MS 5000 /* for the topic's settings, which only help */

struct delivery { /* the client's owner */
    atomic_flag taken;
    atomic_int failed; /* rd_kafka_resp_err_t of the first message that was not delivered; the others are set before */
    char topic[256];   /* its */
    size_t size;
    struct weir_kafka_sizes sizes;
};

struct weir_kafka_transaction {
    char *id;
    struct weir_kafka_client *client;
    struct weir_kafka_topics topics;
};

/* --- Life */

static void on_delivered(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
    const struct weir_kafka_client *client = opaque;
    struct delivery *d = client->owner;
    (void)rk;
    if (!message->err || atomic_flag_test_and_set(&d->taken))
        return;
    snprintf(d->topic, sizeof d->topic, "%s", rd_kafka_topic_name(message->rkt));
    d->size = message->key_len + message->len;
    atomic_store(&d->failed, message->err);
}

static void set_up(rd_kafka_conf_t *conf)
{
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivered);
}

static weir_err client_new(const struct weir_key_value *options, int option_count, const char *id,
                           const struct weir_kafka_sizes *sizes, struct weir_kafka_client **client,
                           struct weir_error *error)
{
    struct delivery *d = weir_zalloc(sizeof *d);
    atomic_flag_clear(&d->taken);
    d->sizes = *sizes;
    return weir_kafka_producer_new(options, option_count, id, sizes, set_up, d, free, client, error);
}

weir_err weir_kafka_transaction_new(const struct weir_key_value *options, int option_count, const char *id, int subtask,
                                    struct weir_kafka_transaction **out, struct weir_error *error)
{
    const char *topic = weir_kafka_sink_get(options, option_count, "topic");
    struct weir_kafka_client *client = NULL;
    struct weir_kafka_sizes sizes;
    weir_kafka_sizes_init(&sizes, options, option_count);
    weir_err err = client_new(options, option_count, id, &sizes, &client, error);
    if (!err && topic[0]) {
        weir_kafka_sizes_ask(&sizes, client, options, option_count, topic, CONFIG_TIMEOUT_MS);
        if (weir_kafka_batches_fit(&sizes)) {
            ((struct delivery *)client->owner)->sizes = sizes;
        } else {
            weir_kafka_client_unref(client);
            err = client_new(options, option_count, id, &sizes, &client, error);
        }
    }
    if (err)
        return err;
    struct weir_kafka_transaction *txn = weir_zalloc(sizeof *txn);
    txn->client = client;
    txn->id = weir_strdup(id);
    weir_kafka_topics_init(&txn->topics, client, weir_kafka_sink_get(options, option_count, "sink.partitioner"),
                           subtask);
    *out = txn;
    return WEIR_OK;
}

void weir_kafka_transaction_free(struct weir_kafka_transaction *txn)
{
    if (!txn)
        return;
    weir_kafka_topics_fini(&txn->topics);
    weir_kafka_client_unref(txn->client); /* waits: what it was given may be freed then */
    free(txn->id);
    free(txn);
}

const char *weir_kafka_transaction_id(const struct weir_kafka_transaction *txn)
{
    return txn->id;
}

int weir_kafka_transaction_left(const struct weir_kafka_transaction *txn)
{
    return rd_kafka_outq_len(txn->client->rk);
}

void weir_kafka_transaction_poll(struct weir_kafka_transaction *txn, int ms)
{
    rd_kafka_poll(txn->client->rk, ms);
}

/* --- Transactions */

static weir_err failed(struct weir_kafka_transaction *txn, rd_kafka_error_t *take_reason, const char *what,
                       struct weir_error *error)
{
    rd_kafka_resp_err_t code = rd_kafka_error_code(take_reason);
    char text[512];
    snprintf(text, sizeof text, "%s: %s", what, rd_kafka_error_string(take_reason));
    rd_kafka_error_destroy(take_reason);
    rd_kafka_poll(txn->client->rk, 0);
    return weir_kafka_fail(txn->client, weir_kafka_is_refusal(code) ? WEIR_ERR_INVALID : WEIR_ERR_IO, code, text,
                           error);
}

weir_err weir_kafka_transaction_fence(struct weir_kafka_transaction *txn, const char *progress_topic,
                                      struct weir_error *error)
{
    weir_err err = weir_kafka_progress_prepare(txn->client, progress_topic, false, error);
    rd_kafka_error_t *reason = err ? NULL : rd_kafka_init_transactions(txn->client->rk, INIT_TIMEOUT_MS);
    return reason ? failed(txn, reason, "cannot begin transactions", error) : err;
}

weir_err weir_kafka_transaction_begin(struct weir_kafka_transaction *txn, struct weir_error *error)
{
    rd_kafka_error_t *reason = rd_kafka_begin_transaction(txn->client->rk);
    return reason ? failed(txn, reason, "cannot begin a transaction", error) : WEIR_OK;
}

weir_err weir_kafka_transaction_commit(struct weir_kafka_transaction *txn, struct weir_error *error)
{
    rd_kafka_error_t *reason = rd_kafka_commit_transaction(txn->client->rk, COMMIT_TIMEOUT_MS);
    return reason ? failed(txn, reason, "cannot commit a transaction", error) : WEIR_OK;
}

weir_err weir_kafka_transaction_abort(struct weir_kafka_transaction *txn, int timeout_ms, struct weir_error *error)
{
    rd_kafka_purge(txn->client->rk, RD_KAFKA_PURGE_F_QUEUE);
    rd_kafka_error_t *reason = rd_kafka_abort_transaction(txn->client->rk, timeout_ms);
    if (reason)
        return failed(txn, reason, "cannot abort a transaction", error);
    struct delivery *d = txn->client->owner; /* what was purged is no failure */
    rd_kafka_poll(txn->client->rk, 0);
    atomic_store(&d->failed, 0);
    atomic_flag_clear(&d->taken);
    return WEIR_OK;
}

/* --- Messages */

weir_err weir_kafka_transaction_try(struct weir_kafka_transaction *txn, const struct weir_message_out *message,
                                    const char *topic, size_t topic_size, int flags, bool *taken,
                                    struct weir_error *error)
{
    rd_kafka_topic_t *handle;
    *taken = false;
    weir_err err = weir_kafka_topics_find(&txn->topics, topic, topic_size, &handle, error);
    if (err)
        return err;
    rd_kafka_resp_err_t reason = weir_kafka_produce(txn->client->rk, handle, message, flags, NULL);
    *taken = !reason;
    if (!reason || reason == RD_KAFKA_RESP_ERR__QUEUE_FULL)
        return WEIR_OK;
    char what[320];
    snprintf(what, sizeof what, "a message of %zu bytes for topic '%.*s' cannot be written",
             message->value_size + message->key_size, (int)topic_size, topic);
    bool bad = reason == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE || reason == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
    return weir_kafka_fail(txn->client, bad ? WEIR_ERR_DATA : WEIR_ERR_IO, reason, what, error);
}

weir_err weir_kafka_transaction_produce(struct weir_kafka_transaction *txn, const struct weir_message_out *message,
                                        const char *topic, size_t topic_size, int flags, struct weir_error *error)
{
    bool taken = false;
    int64_t deadline_ms = weir_clock_mono_ms() + COMMIT_TIMEOUT_MS;
    for (;;) {
        weir_err err = weir_kafka_transaction_try(txn, message, topic, topic_size, flags, &taken, error);
        if (err || taken)
            return err;
        if (weir_clock_mono_ms() >= deadline_ms)
            return weir_kafka_fail(txn->client, WEIR_ERR_IO, RD_KAFKA_RESP_ERR__QUEUE_FULL,
                                   "a message found no room in the queue", error);
        rd_kafka_poll(txn->client->rk, 20);
    }
}

weir_err weir_kafka_transaction_mark(struct weir_kafka_transaction *txn, const char *progress_topic,
                                     const struct weir_kafka_marker *marker, int64_t messages, struct weir_error *error)
{
    char value[256];
    struct weir_message_out message;
    weir_kafka_progress_write(txn->id, marker, messages, value, &message);
    message.partition = 0;
    return weir_kafka_transaction_produce(txn, &message, progress_topic, strlen(progress_topic), RD_KAFKA_MSG_F_COPY,
                                          error);
}

weir_err weir_kafka_transaction_failure(struct weir_kafka_transaction *txn, struct weir_error *error)
{
    struct delivery *d = txn->client->owner;
    rd_kafka_resp_err_t reason = (rd_kafka_resp_err_t)atomic_load(&d->failed);
    if (!reason)
        return WEIR_OK;
    char what[320];
    if (reason == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
        return weir_kafka_refused_size(txn->client, &d->sizes, d->topic, d->size, error);
    bool bad = reason == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || reason == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
               reason == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION || weir_kafka_is_refusal(reason);
    snprintf(what, sizeof what, "a message of the transaction%s%s was not delivered", d->topic[0] ? ", to topic " : "",
             d->topic);
    return weir_kafka_fail(txn->client, bad ? WEIR_ERR_INVALID : WEIR_ERR_IO, reason, what, error);
}

weir_err weir_kafka_transaction_flush(struct weir_kafka_transaction *txn, struct weir_error *error)
{
    const struct delivery *d = txn->client->owner;
    int64_t deadline_ms = weir_clock_mono_ms() + COMMIT_TIMEOUT_MS;
    while (rd_kafka_outq_len(txn->client->rk) > 0 && !atomic_load(&d->failed) && weir_clock_mono_ms() < deadline_ms)
        rd_kafka_flush(txn->client->rk, 100);
    weir_err err = weir_kafka_transaction_failure(txn, error);
    if (!err && rd_kafka_outq_len(txn->client->rk) > 0)
        err = weir_kafka_fail(txn->client, WEIR_ERR_IO, RD_KAFKA_RESP_ERR__TIMED_OUT,
                              "a message of the transaction was not delivered", error);
    return err;
}
