/* kafka: the writer of one subtask, with delivery-guarantee none or at-least-once: an idempotent producer, whose queue is bounded.
 *
 * Messages between two barriers are an epoch. A delivery report takes its message off its epoch's count; a barrier's sync waits until no epoch up
 * to its own has any left, so a checkpoint is complete only when all that was written before it is with the brokers. A message that could
 * not be delivered (message.timeout.ms) fails the task, and the rows come again.
 *
 * Reports are served by whoever polls: the worker in write and tick, a call of the pool that waits.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/op_metrics.h"
#include "connectors/kafka/kafka_int.h"

#define TICK_MS 20
#define REPORT_MS 1000
#define ROOM_WAIT_MS 1000 /* for room in the queue, before the worker looks again */

struct epoch {
    uint64_t number;
    _Atomic int64_t outstanding;
    struct epoch *next;
};

struct delivery {         /* lives as long as the client, whose owner it is */
    atomic_flag lock;     /* of `epochs` and `error` */
    struct epoch *epochs; /* newest first */
    atomic_bool failed, closed;
    _Atomic int64_t failures; /* messages that were not delivered */
    struct weir_error error;  /* failed: the first */
    struct weir_kafka_sizes sizes;
    bool is_first; /* the job's first attempt */
};

struct weir_writer {
    struct weir_connector_ctx *ctx;
    struct weir_kafka_question *question; /* of `call`; NULL: it was answered, and there is a client */
    struct weir_kafka_client *client;     /* NULL until then */
    struct delivery *delivery;            /* the client's */
    struct weir_kafka_topics topics;
    char *topic; /* "": a column says it */
    bool waits;  /* at-least-once */
    bool no_room;
    struct epoch *epoch;
    struct weir_call *call; /* busy until it has ended */
    int64_t records, bytes; /* given to librdkafka */
    uint64_t send_us, sends;
    int64_t reported_ms;
};

/* --- Delivery */

static void lock(struct delivery *d)
{
    while (atomic_flag_test_and_set_explicit(&d->lock, memory_order_acquire))
        continue;
}

static void unlock(struct delivery *d)
{
    atomic_flag_clear_explicit(&d->lock, memory_order_release);
}

static void free_delivery(void *arg)
{
    struct delivery *d = arg;
    for (struct epoch *next; d->epochs; d->epochs = next) {
        next = d->epochs->next;
        free(d->epochs);
    }
    free(d);
}

/* The next call of the writer gives it. */
static void fail(struct delivery *d, const struct weir_error *error)
{
    lock(d);
    if (!atomic_load(&d->failed))
        d->error = *error;
    unlock(d);
    atomic_store(&d->failed, true);
}

static void on_delivered(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
    const struct weir_kafka_client *client = opaque;
    struct delivery *d = client->owner;
    struct epoch *epoch = message->_private;
    (void)rk;
    if (message->err && !atomic_load(&d->failed)) {
        char what[320];
        struct weir_error error;
        snprintf(what, sizeof what, "a message to topic '%.200s', partition %d, was not delivered",
                 rd_kafka_topic_name(message->rkt), (int)message->partition);
        if (message->err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
            (void)weir_kafka_refused_size(opaque, &d->sizes, rd_kafka_topic_name(message->rkt),
                                          message->key_len + message->len, &error);
        else
            (void)weir_kafka_fail(opaque, weir_kafka_code(message->err, d->is_first), message->err, what, &error);
        fail(d, &error);
    }
    if (message->err)
        atomic_fetch_add(&d->failures, 1);
    atomic_fetch_sub(&epoch->outstanding, 1);
}

static void set_up(rd_kafka_conf_t *conf)
{
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivered);
}

static weir_err failure(struct delivery *d, struct weir_error *error)
{
    if (!atomic_load(&d->failed))
        return WEIR_OK;
    lock(d);
    if (error)
        *error = d->error;
    weir_err err = d->error.code;
    unlock(d);
    return err;
}

/* Epochs of which nothing is on its way are forgotten. */
static struct epoch *begin_epoch(struct delivery *d, uint64_t number)
{
    struct epoch *epoch = weir_zalloc(sizeof *epoch);
    epoch->number = number;
    lock(d);
    for (struct epoch **at = &d->epochs; *at;) {
        struct epoch *old = *at;
        if (atomic_load(&old->outstanding) > 0) {
            at = &old->next;
            continue;
        }
        *at = old->next;
        free(old);
    }
    epoch->next = d->epochs;
    d->epochs = epoch;
    unlock(d);
    return epoch;
}

static int64_t outstanding_upto(struct delivery *d, uint64_t number)
{
    int64_t count = 0;
    lock(d);
    for (const struct epoch *epoch = d->epochs; epoch; epoch = epoch->next)
        count += epoch->number <= number ? atomic_load(&epoch->outstanding) : 0;
    unlock(d);
    return count;
}

/* --- What blocks */

struct wait {                         /* a call's argument */
    struct weir_kafka_client *client; /* a reference */
    enum { FOR_ROOM, FOR_DELIVERY } what;
    uint64_t number; /* FOR_DELIVERY: up to this epoch */
};

static weir_err wait_for_delivery(const struct wait *wait, struct weir_error *error)
{
    struct delivery *d = wait->client->owner;
    while (outstanding_upto(d, wait->number) > 0 && !atomic_load(&d->failed)) {
        if (atomic_load(&d->closed))
            return weir_fail(error, WEIR_ERR_CANCELED, "the sink was closed before its messages were delivered");
        rd_kafka_poll(wait->client->rk, 50);
    }
    return failure(d, error);
}

static weir_err run_wait(void *arg, struct weir_error *error)
{
    struct wait *wait = arg;
    rd_kafka_t *rk = wait->client->rk;
    struct delivery *d = wait->client->owner;
    if (wait->what == FOR_DELIVERY)
        return wait_for_delivery(wait, error);
    int before = rd_kafka_outq_len(rk);
    for (int ms = 0; ms < ROOM_WAIT_MS && rd_kafka_outq_len(rk) > before - before / 4; ms += 20)
        if (atomic_load(&d->closed) || atomic_load(&d->failed))
            break;
        else
            rd_kafka_poll(rk, 20);
    return WEIR_OK;
}

static void free_wait(void *arg)
{
    struct wait *wait = arg;
    weir_kafka_client_leave(wait->client);
    free(wait);
}

static struct wait *new_wait(const struct weir_writer *writer, int what, uint64_t number)
{
    struct wait *wait = weir_zalloc(sizeof *wait);
    wait->client = weir_kafka_client_ref(writer->client);
    wait->what = what;
    wait->number = number;
    return wait;
}

static void begin(struct weir_writer *writer, int what, uint64_t number)
{
    writer->call = writer->ctx->call(writer->ctx, run_wait, new_wait(writer, what, number), free_wait);
}

/* --- Open, close */

weir_err weir_kafka_writer_open(struct weir_connector_ctx *ctx, const struct weir_key_value *options, int option_count,
                                struct weir_writer **out, struct weir_error *error)
{
    const char *guarantee = weir_kafka_sink_get(options, option_count, "delivery-guarantee");
    if (strcmp(guarantee, "exactly-once") == 0)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "connector 'kafka': 'delivery-guarantee' = 'exactly-once' needs checkpoints: set "
                         "execution.checkpointing.interval");
    if (strcmp(weir_kafka_sink_get(options, option_count, "sink.transaction"), "open") == 0)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "connector 'kafka': 'sink.transaction' = 'open' needs checkpoints: set "
                         "execution.checkpointing.interval");
    struct delivery *d = weir_zalloc(sizeof *d);
    atomic_flag_clear(&d->lock);
    struct weir_writer *writer = weir_zalloc(sizeof *writer);
    writer->ctx = ctx;
    writer->delivery = d;
    writer->topic = weir_strdup(weir_kafka_sink_get(options, option_count, "topic"));
    writer->waits = strcmp(guarantee, "none") != 0;
    writer->epoch = begin_epoch(d, 1);
    d->is_first = ctx->attempt == 1;
    writer->question = weir_kafka_question_new(options, option_count, NULL, d->is_first);
    writer->call = ctx->call(ctx, weir_kafka_ask, writer->question, weir_kafka_question_free);
    *out = writer;
    return WEIR_OK;
}

/* The brokers let it write. */
static weir_err begin_to_write(struct weir_writer *writer, const struct weir_kafka_question *question,
                               struct weir_error *error)
{
    struct delivery *d = writer->delivery;
    struct weir_kafka_client *client = NULL;
    d->sizes = question->sizes;
    weir_err err = weir_kafka_producer_new(question->options, question->option_count, NULL, &d->sizes, set_up, d, NULL,
                                           &client, error);
    if (err)
        return err;
    client->free_owner = free_delivery; /* the writer's until now */
    writer->client = client;
    weir_kafka_topics_init(&writer->topics, client,
                           weir_kafka_sink_get(question->options, question->option_count, "sink.partitioner"),
                           writer->ctx->subtask);
    return WEIR_OK;
}

void weir_kafka_writer_close(struct weir_writer *writer)
{
    atomic_store(&writer->delivery->closed, true);
    weir_call_free(writer->call);
    weir_kafka_topics_fini(&writer->topics);
    if (writer->client)
        weir_kafka_client_leave(writer->client);
    else
        free_delivery(writer->delivery);
    free(writer->topic);
    free(writer);
}

/* --- Writing */

bool weir_kafka_writer_busy(struct weir_writer *writer)
{
    if (!writer->call && writer->no_room) {
        writer->no_room = false;
        begin(writer, FOR_ROOM, 0);
    }
    if (!writer->call)
        return false;
    if (!writer->ctx->call_ended(writer->ctx, writer->call))
        return true;
    struct weir_error error;
    weir_err err = weir_call_result(writer->call, &error);
    if (!err && writer->question)
        err = begin_to_write(writer, writer->question, &error);
    if (err)
        fail(writer->delivery, &error);
    writer->question = NULL;
    weir_call_free(writer->call);
    writer->call = NULL;
    return false;
}

static weir_err refused(const struct weir_writer *writer, rd_kafka_resp_err_t reason, const struct weir_message_out *m,
                        struct weir_error *error)
{
    char what[320];
    snprintf(what, sizeof what, "a message of %zu bytes for topic '%.*s' cannot be written",
             m->value_size + m->key_size, (int)(m->topic ? m->topic_size : strlen(writer->topic)),
             m->topic ? m->topic : writer->topic);
    bool bad = reason == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE || reason == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
    return weir_kafka_fail(writer->client, bad ? WEIR_ERR_DATA : WEIR_ERR_IO, reason, what, error);
}

weir_err weir_kafka_write(struct weir_writer *writer, const struct weir_message_out *messages, int32_t count,
                          int32_t *used, struct weir_error *error)
{
    *used = 0;
    weir_err err = failure(writer->delivery, error);
    if (err)
        return err;
    rd_kafka_t *rk = writer->client->rk;
    rd_kafka_poll(rk, 0);
    for (; *used < count && !err; ++*used) {
        const struct weir_message_out *m = &messages[*used];
        const char *name = m->topic ? m->topic : writer->topic;
        size_t name_size = m->topic ? m->topic_size : strlen(name);
        rd_kafka_topic_t *topic = NULL;
        if ((err = weir_kafka_sizes_check(&writer->delivery->sizes, m, error)))
            break;
        if ((err = weir_kafka_topics_find(&writer->topics, name, name_size, &topic, error)))
            break;
        atomic_fetch_add(&writer->epoch->outstanding, 1);
        rd_kafka_resp_err_t reason = weir_kafka_produce(rk, topic, m, RD_KAFKA_MSG_F_COPY, writer->epoch);
        if (!reason) {
            writer->records++;
            writer->bytes += (int64_t)(m->key_size + m->value_size);
            continue;
        }
        atomic_fetch_sub(&writer->epoch->outstanding, 1);
        if (reason == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
            writer->no_room = true;
            break;
        }
        err = refused(writer, reason, m, error);
        break;
    }
    return err;
}

static void report(struct weir_writer *writer, int64_t now_ms)
{
    struct weir_connector_ctx *ctx = writer->ctx;
    ctx->number(ctx, WEIR_OP_RECORDS_SEND, writer->records);
    ctx->number(ctx, WEIR_OP_BYTES_SEND, writer->bytes);
    ctx->number(ctx, WEIR_OP_RECORDS_SEND_ERRORS, atomic_load(&writer->delivery->failures));
    if (now_ms < writer->reported_ms + REPORT_MS)
        return;
    writer->reported_ms = now_ms;
    int64_t latency_ms = weir_kafka_latency_ms(writer->client, WEIR_KAFKA_PRODUCED, &writer->send_us, &writer->sends);
    if (latency_ms >= 0)
        ctx->number(ctx, WEIR_OP_SEND_TIME, latency_ms);
}

weir_err weir_kafka_writer_tick(struct weir_writer *writer, int64_t now_ms, int64_t *next_ms, struct weir_error *error)
{
    bool busy = weir_kafka_writer_busy(writer);
    if (writer->client) {
        rd_kafka_poll(writer->client->rk, 0);
        report(writer, now_ms);
    }
    *next_ms = busy || outstanding_upto(writer->delivery, UINT64_MAX) > 0 ? now_ms + TICK_MS : INT64_MAX;
    return failure(writer->delivery, error);
}

/* --- Barriers and the end */

weir_err weir_kafka_writer_barrier(struct weir_writer *writer, uint64_t checkpoint, struct weir_buf *committable,
                                   struct weir_barrier_sync *sync, struct weir_error *error)
{
    (void)checkpoint, (void)committable;
    weir_err err = failure(writer->delivery, error);
    if (err || !writer->waits || !writer->client)
        return err;
    uint64_t number = writer->epoch->number;
    writer->epoch = begin_epoch(writer->delivery, number + 1);
    *sync = (struct weir_barrier_sync){
        .run = run_wait, .arg = new_wait(writer, FOR_DELIVERY, number), .free_arg = free_wait, .again = true};
    return WEIR_OK;
}

weir_err weir_kafka_writer_seal(struct weir_writer *writer, struct weir_error *error)
{
    if (writer->client) /* else it has failed */
        begin(writer, FOR_DELIVERY, UINT64_MAX);
    return failure(writer->delivery, error);
}

weir_err weir_kafka_writer_finish(struct weir_writer *writer, struct weir_buf *committable, struct weir_error *error)
{
    (void)committable;
    if (writer->client)
        report(writer, writer->ctx->now_ms(writer->ctx));
    return failure(writer->delivery, error);
}
