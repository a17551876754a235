/* kafka: exactly once. A complete checkpoint's messages, all subtasks', go to the brokers in one short transaction with a marker (progress.c);
 * what could take longer than a transaction may goes in parts, each with its own transaction and marker. What is to be done, step by step, is
 * decided by publish.c; here it is done.
 *
 * One transactional id per sink. A producer that has just been made knows nothing: init_transactions settles whatever its id has left open, and fences
 * whoever has it still; then the last committed marker says what is written. From then on it knows, until something fails: then it is dropped
 * and the next one asks again. So however often a checkpoint is committed, by whatever processes, in whatever state they were left, each
 * message can be seen once by who reads committed.
 *
 * Producers are kept from commit to commit, because making one takes a while; by transactional id, in this process.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "connectors/kafka/kafka_int.h"

#define PART_SIZE ((int64_t)64 << 20)
#define INIT_TIMEOUT_MS 60000
#define COMMIT_TIMEOUT_MS 60000
#define CONFIG_TIMEOUT_MS 5000 /* for the topic's settings, which only help */
#define IDLE_MS 60000          /* after which a producer is let go, when there is another commit */

struct producer {
    char *id; /* transactional */
    bool in_use;
    int64_t used_ms; /* when it was let go */
    struct weir_kafka_client *client;
    struct weir_kafka_topics topics;
    struct weir_publish_handle handle; /* what it knows */
    struct producer *next;
};

struct delivery { /* the client's owner */
    atomic_flag taken;
    atomic_int failed; /* rd_kafka_resp_err_t of the first message that was not delivered; the others are set before */
    char topic[256];   /* its */
    size_t size;
    struct weir_kafka_sizes sizes;
};

static pthread_mutex_t producers_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t producers_changed = PTHREAD_COND_INITIALIZER;
static struct producer *producers;

static const char *get(const struct weir_message_commit *commit, const char *name)
{
    return weir_kafka_sink_get(commit->options, commit->option_count, name);
}

/* --- Producers */

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

static void producer_free(struct producer *producer)
{
    weir_kafka_topics_fini(&producer->topics);
    weir_kafka_client_unref(producer->client); /* waits: what it was given may be freed then */
    free(producer->id);
    free(producer);
}

static weir_err failed(struct producer *producer, rd_kafka_error_t *take_reason, const char *what,
                       struct weir_error *error)
{
    rd_kafka_resp_err_t code = rd_kafka_error_code(take_reason);
    char text[512];
    snprintf(text, sizeof text, "%s: %s", what, rd_kafka_error_string(take_reason));
    rd_kafka_error_destroy(take_reason);
    rd_kafka_poll(producer->client->rk, 0);
    return weir_kafka_fail(producer->client, weir_kafka_is_refusal(code) ? WEIR_ERR_INVALID : WEIR_ERR_IO, code, text,
                           error);
}

static weir_err client_new(const struct weir_message_commit *commit, const char *id,
                           const struct weir_kafka_sizes *sizes, struct weir_kafka_client **client,
                           struct weir_error *error)
{
    struct delivery *d = weir_zalloc(sizeof *d);
    atomic_flag_clear(&d->taken);
    d->sizes = *sizes;
    return weir_kafka_producer_new(commit->options, commit->option_count, id, sizes, set_up, d, free, client, error);
}

/* It knows nothing yet. Batches must fit the topic, which is settled when a client is made. */
static weir_err producer_new(const struct weir_message_commit *commit, const char *id, struct producer **out,
                             struct weir_error *error)
{
    struct weir_kafka_client *client = NULL;
    struct weir_kafka_sizes sizes;
    weir_kafka_sizes_init(&sizes, commit->options, commit->option_count);
    weir_err err = client_new(commit, id, &sizes, &client, error);
    if (!err && get(commit, "topic")[0]) {
        weir_kafka_sizes_ask(&sizes, client, commit->options, commit->option_count, get(commit, "topic"),
                             CONFIG_TIMEOUT_MS);
        if (weir_kafka_batches_fit(&sizes)) {
            ((struct delivery *)client->owner)->sizes = sizes;
        } else {
            weir_kafka_client_unref(client);
            err = client_new(commit, id, &sizes, &client, error);
        }
    }
    if (err)
        return err;
    struct producer *producer = weir_zalloc(sizeof *producer);
    producer->client = client;
    producer->id = weir_strdup(id);
    weir_kafka_topics_init(&producer->topics, producer->client, get(commit, "sink.partitioner"), 0);
    *out = producer;
    return WEIR_OK;
}

/* The kept one, which nobody else may use meanwhile; NULL: there is none. Others that nobody has used for long are let go. */
static struct producer *producer_take(const char *id)
{
    struct producer *old = NULL, *found = NULL;
    int64_t now_ms = weir_clock_mono_ms();
    pthread_mutex_lock(&producers_lock);
    for (struct producer **at = &producers; *at;) {
        struct producer *producer = *at;
        if (strcmp(producer->id, id) == 0) {
            if (producer->in_use) {
                pthread_cond_wait(&producers_changed, &producers_lock);
                at = &producers;
                continue;
            }
            found = producer;
        } else if (!producer->in_use && now_ms > producer->used_ms + IDLE_MS) {
            *at = producer->next;
            producer->next = old;
            old = producer;
            continue;
        }
        at = &producer->next;
    }
    if (found)
        found->in_use = true;
    pthread_mutex_unlock(&producers_lock);
    for (struct producer *next; old; old = next) {
        next = old->next;
        producer_free(old);
    }
    return found;
}

static void producer_keep(struct producer *producer, bool is_new)
{
    pthread_mutex_lock(&producers_lock);
    producer->in_use = false;
    producer->used_ms = weir_clock_mono_ms();
    if (is_new) {
        producer->next = producers;
        producers = producer;
    }
    pthread_cond_broadcast(&producers_changed);
    pthread_mutex_unlock(&producers_lock);
}

static void producer_drop(struct producer *producer, bool is_new)
{
    pthread_mutex_lock(&producers_lock);
    for (struct producer **at = &producers; *at && !is_new; at = &(*at)->next)
        if (*at == producer) {
            *at = producer->next;
            break;
        }
    pthread_cond_broadcast(&producers_changed);
    pthread_mutex_unlock(&producers_lock);
    producer_free(producer);
}

/* --- Messages */

static weir_err produce(struct producer *producer, const struct weir_message_out *message, const char *topic,
                        size_t topic_size, int flags, struct weir_error *error)
{
    rd_kafka_topic_t *handle;
    weir_err err = weir_kafka_topics_find(&producer->topics, topic, topic_size, &handle, error);
    for (int64_t deadline_ms = weir_clock_mono_ms() + COMMIT_TIMEOUT_MS; !err;) {
        rd_kafka_resp_err_t reason = weir_kafka_produce(producer->client->rk, handle, message, flags, NULL);
        if (!reason)
            return WEIR_OK;
        if (reason == RD_KAFKA_RESP_ERR__QUEUE_FULL && weir_clock_mono_ms() < deadline_ms) {
            rd_kafka_poll(producer->client->rk, 20);
            continue;
        }
        char what[320];
        snprintf(what, sizeof what, "a message of %zu bytes for topic '%.*s' cannot be written",
                 message->value_size + message->key_size, (int)topic_size, topic);
        bool bad = reason == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE || reason == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
        err = weir_kafka_fail(producer->client, bad ? WEIR_ERR_DATA : WEIR_ERR_IO, reason, what, error);
    }
    return err;
}

/* Everything is with the brokers, or something is not: no waiting for a transaction that cannot be committed. */
static weir_err flush(struct producer *producer, struct weir_error *error)
{
    struct delivery *d = producer->client->owner;
    int64_t deadline_ms = weir_clock_mono_ms() + COMMIT_TIMEOUT_MS;
    while (rd_kafka_outq_len(producer->client->rk) > 0 && !atomic_load(&d->failed) &&
           weir_clock_mono_ms() < deadline_ms)
        rd_kafka_flush(producer->client->rk, 100);
    rd_kafka_resp_err_t reason = (rd_kafka_resp_err_t)atomic_load(&d->failed);
    if (!reason && rd_kafka_outq_len(producer->client->rk) > 0)
        reason = RD_KAFKA_RESP_ERR__TIMED_OUT;
    if (!reason)
        return WEIR_OK;
    char what[320];
    if (reason == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
        return weir_kafka_refused_size(producer->client, &d->sizes, d->topic, d->size, error);
    bool bad = reason == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || reason == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
               reason == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION || weir_kafka_is_refusal(reason);
    snprintf(what, sizeof what, "a message of the transaction%s%s was not delivered", d->topic[0] ? ", to topic " : "",
             d->topic);
    return weir_kafka_fail(producer->client, bad ? WEIR_ERR_INVALID : WEIR_ERR_IO, reason, what, error);
}

/* --- Steps */

static weir_err fence(struct producer *producer, const struct weir_message_commit *commit, struct weir_error *error)
{
    weir_err err = weir_kafka_progress_prepare(producer->client, get(commit, "sink.progress-topic"), false, error);
    rd_kafka_error_t *reason = err ? NULL : rd_kafka_init_transactions(producer->client->rk, INIT_TIMEOUT_MS);
    if (reason)
        err = failed(producer, reason, "cannot begin transactions", error);
    if (!err && weir_fault("supervisor.kafka-fenced"))
        err = weir_fail(error, WEIR_ERR_IO, "a fault point ended the commit after its id was fenced");
    return err;
}

struct written { /* in the transaction that is open */
    bool open;
    int64_t begun_ms, messages, bytes;
};

/* A message points into its segment, so all of it is with the brokers before the next one is read. */
static weir_err produce_segment(struct producer *producer, struct weir_message_commit *commit, int64_t segment,
                                struct written *written, struct weir_error *error)
{
    const char *topic = get(commit, "topic");
    const struct weir_message_out *list = NULL;
    int64_t count = 0;
    weir_err err = commit->read(commit, segment, &list, &count, error);
    for (int64_t i = 0; i < count && !err; i++)
        err = produce(producer, &list[i], list[i].topic ? list[i].topic : topic,
                      list[i].topic ? list[i].topic_size : strlen(topic), 0, error);
    written->messages += count;
    for (int64_t i = 0; i < count && !err; i++)
        written->bytes += (int64_t)(list[i].key_size + list[i].value_size);
    return err ? err : flush(producer, error);
}

static weir_err mark(struct producer *producer, const struct weir_message_commit *commit,
                     const struct weir_kafka_marker *marker, int64_t messages, struct weir_error *error)
{
    const char *progress = get(commit, "sink.progress-topic");
    if (weir_fault("supervisor.kafka-produced"))
        return weir_fail(error, WEIR_ERR_IO, "a fault point ended the commit before its marker");
    char value[256];
    struct weir_message_out message;
    weir_kafka_progress_write(producer->id, marker, messages, value, &message);
    message.partition = 0;
    return produce(producer, &message, progress, strlen(progress), RD_KAFKA_MSG_F_COPY, error);
}

static weir_err commit_transaction(struct producer *producer, struct weir_error *error)
{
    if (weir_fault("supervisor.kafka-commit-begun"))
        return weir_fail(error, WEIR_ERR_IO, "a fault point ended the commit before its transaction was committed");
    rd_kafka_error_t *reason = rd_kafka_commit_transaction(producer->client->rk, COMMIT_TIMEOUT_MS);
    if (reason)
        return failed(producer, reason, "cannot commit a transaction", error);
    if (weir_fault("supervisor.kafka-committed"))
        return weir_fail(error, WEIR_ERR_IO, "a fault point lost the answer to a committed transaction");
    return WEIR_OK;
}

static weir_err perform(struct producer *producer, struct weir_message_commit *commit, struct weir_publish *publish,
                        struct written *written, struct weir_error *error)
{
    rd_kafka_error_t *reason;
    const char *progress = get(commit, "sink.progress-topic");
    switch (publish->step) {
    case WEIR_PUBLISH_FENCE:
        return fence(producer, commit, error);
    case WEIR_PUBLISH_END:
        return weir_kafka_progress_end(commit->options, commit->option_count, progress, publish, error);
    case WEIR_PUBLISH_READ:
        return weir_kafka_progress_read(commit->options, commit->option_count, progress, producer->id, publish, error);
    case WEIR_PUBLISH_BEGIN:
        *written = (struct written){.open = true, .begun_ms = weir_clock_mono_ms()};
        reason = rd_kafka_begin_transaction(producer->client->rk);
        return reason ? failed(producer, reason, "cannot begin a transaction", error) : WEIR_OK;
    case WEIR_PUBLISH_PRODUCE:
        return produce_segment(producer, commit, publish->segment, written, error);
    case WEIR_PUBLISH_MARK:
        return mark(producer, commit, &publish->marker, written->messages, error);
    default:
        return commit_transaction(producer, error);
    }
}

/* For people to look at. */
static void count_transaction(struct weir_message_commit *commit, struct written *written, bool committed)
{
    written->open = false;
    commit->transaction_ms = weir_clock_mono_ms() - written->begun_ms;
    commit->transactions += committed;
    commit->failed_transactions += !committed;
    commit->records += committed ? written->messages : 0;
    commit->bytes += committed ? written->bytes : 0;
}

/* --- A checkpoint */

static weir_err commit_checkpoint(struct producer *producer, struct weir_message_commit *commit,
                                  struct weir_error *error)
{
    struct weir_publish publish;
    weir_err err = WEIR_OK;
    struct written written = {.open = false};
    weir_publish_init(&publish, &producer->handle, commit->checkpoint, commit->after, commit->segments,
                      commit->segment_count, PART_SIZE);
    while (weir_publish_next(&publish, !err) < WEIR_PUBLISH_DONE) {
        err = perform(producer, commit, &publish, &written, error);
        if (written.open && (err || publish.step == WEIR_PUBLISH_COMMIT))
            count_transaction(commit, &written, !err);
    }
    const struct weir_kafka_marker *have = &producer->handle.marker;
    if (publish.step != WEIR_PUBLISH_EARLY)
        return err;
    producer->handle.knows = false; /* somebody else goes on with this id */
    return weir_fail(error, WEIR_ERR_IO,
                     "connector 'kafka': output of checkpoint %" PRIu64 " of job %s follows that of %" PRIu64
                     ", and only that of %" PRIu64 " is there (transactions %" PRId64 " of %" PRId64
                     " of %s): the job that it is of must publish it",
                     commit->checkpoint, commit->job_id, commit->after, have->checkpoint, have->part, have->parts,
                     producer->id);
}

static char *id_of(const struct weir_key_value *options, int option_count, const char *job_id, const char *operator_id,
                   const char *more)
{
    return weir_format("%s-%s-%s%s", weir_kafka_sink_get(options, option_count, "sink.transactional-id-prefix"), job_id,
                       operator_id, more);
}

/* Transactions are tried by an id of their own: whoever publishes at the moment is not disturbed. */
weir_err weir_kafka_check_messages(struct weir_message_check *check, struct weir_error *error)
{
    char *id = check->subtask == 0
                   ? id_of(check->options, check->option_count, check->job_id, check->operator_id, "-check")
                   : NULL;
    struct weir_kafka_question *question =
        weir_kafka_question_new(check->options, check->option_count, id, check->attempt == 1);
    check->answer = question;
    check->free_answer = weir_kafka_question_free;
    free(id);
    return weir_kafka_ask(question, error);
}

weir_err weir_kafka_check_message(const struct weir_message_check *check, const struct weir_message_out *message,
                                  struct weir_error *error)
{
    const struct weir_kafka_question *question = check->answer;
    return weir_kafka_sizes_check(&question->sizes, message, error);
}

weir_err weir_kafka_commit(struct weir_message_commit *commit, struct weir_error *error)
{
    char *id = id_of(commit->options, commit->option_count, commit->job_id, commit->operator_id, "");
    struct producer *producer = producer_take(id);
    bool is_new = !producer;
    weir_err err = is_new ? producer_new(commit, id, &producer, error) : WEIR_OK;
    if (!err)
        err = commit_checkpoint(producer, commit, error);
    if (producer && producer->handle.knows)
        producer_keep(producer, is_new);
    else if (producer)
        producer_drop(producer, is_new); /* what it has left open is settled by the next one */
    free(id);
    return err;
}
