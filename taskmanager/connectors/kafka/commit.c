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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "connectors/kafka/kafka_int.h"

#define PART_SIZE ((int64_t)64 << 20)
#define ID_SIZE 1024
#define HOLDER_WAIT_MS 15000 /* for the marker of one who holds a transaction open, and may commit it */
#define HOLDER_POLL_MS 20
#define IDLE_MS 60000 /* after which a producer is let go, when there is another commit */

struct producer {
    struct weir_kafka_transaction *txn;
    bool in_use;
    int64_t used_ms;                   /* when it was let go */
    struct weir_publish_handle handle; /* what it knows */
    struct weir_kafka_watch *watch;    /* NULL: nobody has asked what holders have committed */
    struct producer *next;
};

static pthread_mutex_t producers_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t producers_changed = PTHREAD_COND_INITIALIZER;
static struct producer *producers;

static const char *get(const struct weir_message_commit *commit, const char *name)
{
    return weir_kafka_sink_get(commit->options, commit->option_count, name);
}

/* --- Producers */

static void producer_free(struct producer *producer)
{
    weir_kafka_transaction_free(producer->txn);
    weir_kafka_watch_free(producer->watch);
    free(producer);
}

/* It knows nothing yet. */
static weir_err producer_new(const struct weir_message_commit *commit, const char *id, struct producer **out,
                             struct weir_error *error)
{
    struct weir_kafka_transaction *txn = NULL;
    weir_err err = weir_kafka_transaction_new(commit->options, commit->option_count, id, 0, &txn, error);
    if (err)
        return err;
    struct producer *producer = weir_zalloc(sizeof *producer);
    producer->txn = txn;
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
        if (strcmp(weir_kafka_transaction_id(producer->txn), id) == 0) {
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

/* --- Steps */

static weir_err fence(struct producer *producer, const struct weir_message_commit *commit, struct weir_error *error)
{
    weir_err err = weir_kafka_transaction_fence(producer->txn, get(commit, "sink.progress-topic"), error);
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
        err = weir_kafka_transaction_produce(producer->txn, &list[i], list[i].topic ? list[i].topic : topic,
                                             list[i].topic ? list[i].topic_size : strlen(topic), 0, error);
    written->messages += count;
    for (int64_t i = 0; i < count && !err; i++)
        written->bytes += (int64_t)(list[i].key_size + list[i].value_size);
    return err ? err : weir_kafka_transaction_flush(producer->txn, error);
}

static weir_err mark(struct producer *producer, const struct weir_message_commit *commit,
                     const struct weir_kafka_marker *marker, int64_t messages, struct weir_error *error)
{
    const char *progress = get(commit, "sink.progress-topic");
    if (weir_fault("supervisor.kafka-produced"))
        return weir_fail(error, WEIR_ERR_IO, "a fault point ended the commit before its marker");
    return weir_kafka_transaction_mark(producer->txn, progress, marker, messages, error);
}

static weir_err commit_transaction(struct producer *producer, struct weir_error *error)
{
    if (weir_fault("supervisor.kafka-commit-begun"))
        return weir_fail(error, WEIR_ERR_IO, "a fault point ended the commit before its transaction was committed");
    weir_err err = weir_kafka_transaction_commit(producer->txn, error);
    if (err)
        return err;
    if (weir_fault("supervisor.kafka-committed"))
        return weir_fail(error, WEIR_ERR_IO, "a fault point lost the answer to a committed transaction");
    return WEIR_OK;
}

/* --- What holders have committed: asked of the progress topic, where a marker comes when one has. */

/* "ID:EPOCH", into `id`. */
static weir_err parse_held(const char *text, char *id, size_t id_size, uint64_t *epoch, struct weir_error *error)
{
    const char *colon = strrchr(text, ':');
    char *end = NULL;
    *epoch = colon ? strtoull(colon + 1, &end, 10) : 0;
    if (*epoch == 0 || *end || (size_t)(colon - text) >= id_size)
        return weir_fail(error, WEIR_ERR_DATA, "connector 'kafka': '%.200s' names no transaction", text);
    snprintf(id, id_size, "%.*s", (int)(colon - text), text);
    return WEIR_OK;
}

/* By the markers that have come. *open: some segments' holders may still commit; *first: one of them. */
static weir_err look_at_markers(struct producer *producer, const struct weir_message_commit *commit,
                                struct weir_publish *publish, int64_t *first, bool *open, struct weir_error *error)
{
    *open = false;
    for (int64_t i = 0; i < commit->segment_count; i++) {
        char id[ID_SIZE];
        uint64_t epoch;
        if (!weir_publish_asks(publish, i))
            continue;
        weir_err err = parse_held(commit->held[i], id, sizeof id, &epoch, error);
        if (err)
            return err;
        struct weir_kafka_marker marker = weir_kafka_watch_find(producer->watch, id);
        if (marker.checkpoint >= epoch || marker.taken >= epoch)
            weir_publish_settled(publish, i, marker.checkpoint >= epoch);
        else if (!*open)
            *first = i;
        *open |= weir_publish_asks(publish, i);
    }
    return WEIR_OK;
}

/* Nothing is heard of it: it is fenced, and never commits what it has not. */
static weir_err fence_holder(struct producer *producer, const struct weir_message_commit *commit, int64_t segment,
                             struct weir_error *error)
{
    char id[ID_SIZE];
    uint64_t epoch;
    struct weir_kafka_transaction *txn = NULL;
    struct weir_kafka_marker marker;
    weir_err err = parse_held(commit->held[segment], id, sizeof id, &epoch, error);
    if (err)
        return err;
    weir_log(WARN,
             "kafka: transaction %s, open for checkpoint %" PRIu64
             ", was not committed within %d s: it is aborted, and its messages are published from the checkpoint",
             id, epoch, HOLDER_WAIT_MS / 1000);
    err = weir_kafka_transaction_new(commit->options, commit->option_count, id, 0, &txn, error);
    if (!err)
        err = weir_kafka_transaction_fence(txn, get(commit, "sink.progress-topic"), error);
    if (!err)
        err = weir_kafka_take_over(producer->watch, txn, epoch, &marker, error);
    if (!err) /* its own marker, that is there before one is looked for again */
        err = weir_kafka_watch_reach_end(producer->watch, error);
    weir_kafka_transaction_free(txn);
    return err;
}

static weir_err settle(struct producer *producer, const struct weir_message_commit *commit,
                       struct weir_publish *publish, struct weir_error *error)
{
    weir_err err = WEIR_OK;
    int64_t first = 0, deadline_ms = weir_clock_mono_ms() + HOLDER_WAIT_MS;
    bool open = true;
    if (!producer->watch) {
        err = weir_kafka_watch_new(commit->options, commit->option_count, get(commit, "sink.progress-topic"),
                                   &producer->watch, error);
        if (!err)
            weir_kafka_watch_add(producer->watch, weir_kafka_transaction_id(producer->txn));
    }
    while (open && !err) {
        err = weir_kafka_watch_look(producer->watch, HOLDER_POLL_MS, error);
        if (!err)
            err = look_at_markers(producer, commit, publish, &first, &open, error);
        if (open && !err && weir_clock_mono_ms() > deadline_ms)
            err = fence_holder(producer, commit, first, error);
    }
    if (!err && weir_fault("supervisor.kafka-settled"))
        err = weir_fail(error, WEIR_ERR_IO, "a fault point ended the commit after its holders were asked");
    return err;
}

static weir_err perform(struct producer *producer, struct weir_message_commit *commit, struct weir_publish *publish,
                        struct written *written, struct weir_error *error)
{
    int64_t end = 0;
    weir_err err;
    const char *progress = get(commit, "sink.progress-topic");
    switch (publish->step) {
    case WEIR_PUBLISH_FENCE:
        return fence(producer, commit, error);
    case WEIR_PUBLISH_END:
        err = weir_kafka_progress_end(commit->options, commit->option_count, progress, &end, error);
        weir_publish_end(publish, end);
        return err;
    case WEIR_PUBLISH_READ:
        return weir_kafka_progress_read(commit->options, commit->option_count, progress,
                                        weir_kafka_transaction_id(producer->txn), publish, error);
    case WEIR_PUBLISH_SETTLE:
        return settle(producer, commit, publish, error);
    case WEIR_PUBLISH_BEGIN:
        *written = (struct written){.open = true, .begun_ms = weir_clock_mono_ms()};
        return weir_kafka_transaction_begin(producer->txn, error);
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
    enum weir_publish_held *held = weir_zalloc((size_t)commit->segment_count * sizeof *held);
    weir_publish_init(&publish, &producer->handle, commit->checkpoint, commit->after, commit->segments,
                      commit->segment_count, PART_SIZE);
    for (int64_t i = 0; i < commit->segment_count; i++)
        held[i] = commit->held && commit->held[i] ? WEIR_PUBLISH_HELD : WEIR_PUBLISH_NOT;
    weir_publish_hold(&publish, held);
    while (weir_publish_next(&publish, !err) < WEIR_PUBLISH_DONE) {
        err = perform(producer, commit, &publish, &written, error);
        if (written.open && (err || publish.step == WEIR_PUBLISH_COMMIT))
            count_transaction(commit, &written, !err);
    }
    for (int64_t i = 0; i < commit->segment_count && publish.step == WEIR_PUBLISH_DONE; i++)
        if (held[i] == WEIR_PUBLISH_COMMITTED) {
            commit->records += commit->segments[i].records;
            commit->bytes += commit->segments[i].size;
        }
    free(held);
    const struct weir_kafka_marker *have = &producer->handle.marker;
    if (publish.step != WEIR_PUBLISH_EARLY)
        return err;
    producer->handle.knows = false; /* somebody else goes on with this id */
    if (have->checkpoint > commit->checkpoint)
        return weir_fail(error, WEIR_ERR_IO,
                         "connector 'kafka': output of checkpoint %" PRIu64
                         " of job %s is published together with that of %" PRIu64
                         ", by a job that began with that one, and so far transactions %" PRId64 " of %" PRId64
                         " of %s are there: that job must go on",
                         commit->checkpoint, commit->job_id, have->checkpoint, have->part, have->parts,
                         weir_kafka_transaction_id(producer->txn));
    return weir_fail(error, WEIR_ERR_IO,
                     "connector 'kafka': output of checkpoint %" PRIu64 " of job %s follows that of %" PRIu64
                     ", and only that of %" PRIu64 " is there (transactions %" PRId64 " of %" PRId64
                     " of %s): the job that it is of must publish it",
                     commit->checkpoint, commit->job_id, commit->after, have->checkpoint, have->part, have->parts,
                     weir_kafka_transaction_id(producer->txn));
}

char *weir_kafka_sink_id(const struct weir_key_value *options, int option_count, const char *job_id,
                         const char *operator_id, const char *more)
{
    return weir_format("%s-%s-%s%s", weir_kafka_sink_get(options, option_count, "sink.transactional-id-prefix"), job_id,
                       operator_id, more);
}

/* Transactions are tried by an id of their own: whoever publishes at the moment is not disturbed. */
weir_err weir_kafka_check_messages(struct weir_message_check *check, struct weir_error *error)
{
    char *id = check->subtask == 0 ? weir_kafka_sink_id(check->options, check->option_count, check->job_id,
                                                        check->operator_id, "-check")
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
    char *id = weir_kafka_sink_id(commit->options, commit->option_count, commit->job_id, commit->operator_id, "");
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
