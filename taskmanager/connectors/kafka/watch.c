/* kafka: what the progress topic says of some ids, followed as it grows: who waits for others' markers (commit.c for those that hold transactions open,
 * held.c for what is to be published before it may write). One thread at a time.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "connectors/kafka/kafka_int.h"

#define IDS_MAX 100000
#define REACH_TIMEOUT_MS 60000
#define POLL_MS 50

struct entry {
    char *id;
    struct weir_kafka_marker marker; /* the last committed one */
};

struct weir_kafka_watch {
    struct weir_key_value *options; /* copies */
    int option_count;
    char *topic;
    struct weir_kafka_client *client;
    char **prefixes;
    int prefix_count;
    struct entry *list;
    int count, capacity;
    int64_t reached; /* all that is committed before this offset is known */
};

struct weir_key_value *weir_kafka_options_copy(const struct weir_key_value *options, int option_count)
{
    struct weir_key_value *copy = weir_zalloc((size_t)(option_count + 1) * sizeof *copy);
    for (int i = 0; i < option_count; i++)
        copy[i] = (struct weir_key_value){weir_strdup(options[i].key), weir_strdup(options[i].value)};
    return copy;
}

void weir_kafka_options_free(struct weir_key_value *copy, int option_count)
{
    for (int i = 0; i < option_count; i++) {
        free((void *)(uintptr_t)copy[i].key);
        free((void *)(uintptr_t)copy[i].value);
    }
    free(copy);
}

weir_err weir_kafka_watch_new(const struct weir_key_value *options, int option_count, const char *topic,
                              struct weir_kafka_watch **out, struct weir_error *error)
{
    struct weir_kafka_client *client = NULL;
    weir_err err = weir_kafka_progress_open(options, option_count, topic, &client, error);
    if (err)
        return err;
    struct weir_kafka_watch *watch = weir_zalloc(sizeof *watch);
    watch->options = weir_kafka_options_copy(options, option_count);
    watch->option_count = option_count;
    watch->topic = weir_strdup(topic);
    watch->client = client;
    *out = watch;
    return WEIR_OK;
}

void weir_kafka_watch_free(struct weir_kafka_watch *watch)
{
    if (!watch)
        return;
    weir_kafka_client_unref(watch->client);
    weir_kafka_options_free(watch->options, watch->option_count);
    for (int i = 0; i < watch->prefix_count; i++)
        free(watch->prefixes[i]);
    free(watch->prefixes);
    for (int i = 0; i < watch->count; i++)
        free(watch->list[i].id);
    free(watch->list);
    free(watch->topic);
    free(watch);
}

void weir_kafka_watch_add(struct weir_kafka_watch *watch, const char *prefix)
{
    weir_assert(watch->count == 0); /* nothing has been read yet */
    watch->prefixes = weir_realloc(watch->prefixes, (size_t)(watch->prefix_count + 1) * sizeof *watch->prefixes);
    watch->prefixes[watch->prefix_count++] = weir_strdup(prefix);
}

static struct entry *find(const struct weir_kafka_watch *watch, const char *id, size_t size)
{
    for (int i = 0; i < watch->count; i++)
        if (strncmp(watch->list[i].id, id, size) == 0 && !watch->list[i].id[size])
            return &watch->list[i];
    return NULL;
}

struct weir_kafka_marker weir_kafka_watch_find(const struct weir_kafka_watch *watch, const char *id)
{
    const struct entry *entry = find(watch, id, strlen(id));
    return entry ? entry->marker : (struct weir_kafka_marker){.checkpoint = 0};
}

const char *weir_kafka_watch_id(const struct weir_kafka_watch *watch, int index)
{
    return index < watch->count ? watch->list[index].id : NULL;
}

static bool is_wanted(const struct weir_kafka_watch *watch, const rd_kafka_message_t *message)
{
    for (int i = 0; i < watch->prefix_count && message->payload; i++) {
        size_t size = strlen(watch->prefixes[i]);
        if (message->key_len >= size && memcmp(message->key, watch->prefixes[i], size) == 0)
            return true;
    }
    return false;
}

static weir_err take(struct weir_kafka_watch *watch, const rd_kafka_message_t *message, struct weir_error *error)
{
    struct weir_kafka_marker marker;
    if (message->err && message->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
        return weir_kafka_fail(watch->client, WEIR_ERR_IO, message->err, "cannot read the progress topic", error);
    watch->reached = message->err ? message->offset : message->offset + 1;
    if (message->err || !is_wanted(watch, message))
        return WEIR_OK;
    if (!weir_kafka_progress_parse(message, &marker))
        return weir_fail(error, WEIR_ERR_DATA,
                         "connector 'kafka': topic %s, offset %lld: this is no marker of a version that is known",
                         watch->topic, (long long)message->offset);
    struct entry *entry = find(watch, message->key, message->key_len);
    if (!entry && watch->count == IDS_MAX)
        return weir_fail(error, WEIR_ERR_FULL, "connector 'kafka': topic %s has markers of more than %d ids of a sink",
                         watch->topic, IDS_MAX);
    if (!entry) {
        if (watch->count == watch->capacity) {
            watch->capacity = watch->capacity ? watch->capacity * 2 : 16;
            watch->list = weir_realloc(watch->list, (size_t)watch->capacity * sizeof *watch->list);
        }
        entry = &watch->list[watch->count++];
        entry->id = weir_strndup(message->key, message->key_len);
    }
    entry->marker = marker;
    return WEIR_OK;
}

weir_err weir_kafka_watch_look(struct weir_kafka_watch *watch, int timeout_ms, struct weir_error *error)
{
    weir_err err = WEIR_OK;
    bool more = true;
    for (int ms = timeout_ms; more && !err; ms = 0) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(watch->client->rk, ms);
        more = message != NULL;
        if (message) {
            err = take(watch, message, error);
            rd_kafka_message_destroy(message);
        }
    }
    return err;
}

weir_err weir_kafka_watch_reach_end(struct weir_kafka_watch *watch, struct weir_error *error)
{
    int64_t end = 0, deadline_ms = weir_clock_mono_ms() + REACH_TIMEOUT_MS;
    weir_err err = weir_kafka_progress_end(watch->options, watch->option_count, watch->topic, &end, error);
    while (!err && watch->reached < end) {
        err = weir_kafka_watch_look(watch, POLL_MS, error);
        if (!err && watch->reached < end && weir_clock_mono_ms() > deadline_ms)
            err = weir_kafka_fail(watch->client, WEIR_ERR_TIMEOUT, RD_KAFKA_RESP_ERR__TIMED_OUT,
                                  "the progress topic's end was not reached", error);
    }
    return err;
}

weir_err weir_kafka_take_over(struct weir_kafka_watch *watch, struct weir_kafka_transaction *txn, uint64_t upto,
                              struct weir_kafka_marker *marker, struct weir_error *error)
{
    weir_err err = weir_kafka_watch_reach_end(watch, error);
    if (err)
        return err;
    *marker = weir_kafka_watch_find(watch, weir_kafka_transaction_id(txn));
    if (marker->taken < upto)
        marker->taken = upto;
    err = weir_kafka_transaction_begin(txn, error);
    if (!err)
        err = weir_kafka_transaction_mark(txn, watch->topic, marker, 0, error);
    if (!err)
        err = weir_kafka_transaction_flush(txn, error);
    return err ? err : weir_kafka_transaction_commit(txn, error);
}
