/* kafka: 'sink.transaction' = 'open': what a subtask writes is, besides the checkpoint's log, in a transaction of its own that stays open until its
 * checkpoint is complete; then only the marker and the commit are left to do.
 *
 * The log is the truth: whatever becomes of a transaction, commit.c publishes from the log what no holder has committed, and it decides that by
 * the markers: one that a holder has committed is there, with its messages, for good; of one that is not there its holder is fenced first, so
 * that it never comes. So a holder may be killed, fenced or timed out at any point.
 *
 *   slots       each epoch has its own transaction, and so its own producer and id (ID-open-SUBTASK-SLOT): the next epoch is written while the last
 *               one waits for its checkpoint. Two, as a rule; one more for each checkpoint that did not become complete in time.
 *   order       an epoch's messages are with the brokers before the next one's are written, and epochs are committed in order: what is read committed
 *               is in the order of the partitions. A holder that fails fails its task: nothing is written behind what is published later.
 *   beginning   takes its ids over (who had them is fenced; a marker says so, for who publishes), and those of subtasks that are no more; then
 *               writes nothing until what earlier attempts had written is published: the log's messages would come behind it.
 *
 * The subtask's worker owns `struct weir_held`, calls share `struct holder`, most of which is settled before the first of them.
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

#define SLOTS_FIRST 2
#define SLOTS_MAX 16
#define ROOM_WAIT_MS 1000
#define PUBLISHED_WAIT_MS 500 /* at a time */
#define PUBLISHED_TIMEOUT_MS 120000
#define ABORT_TIMEOUT_MS 5000

struct slot {
    struct weir_kafka_transaction *txn;
    enum { SLOT_FREE, SLOT_OPEN, SLOT_CLOSED } state; /* CLOSED: it waits for its checkpoint */
    uint64_t epoch;                                   /* CLOSED: the checkpoint whose barrier closed it */
    int64_t messages;
    struct weir_kafka_marker marker; /* the last one */
};

struct before { /* output of earlier attempts, maybe of another job */
    char *id;   /* who publishes it */
    uint64_t epoch;
};

struct holder {
    atomic_int refs;
    struct weir_key_value *options; /* copies */
    int option_count;
    char *id; /* of the sink */
    const char *progress_topic;
    int subtask, parallelism;
    uint64_t restored;
    struct before *befores;
    int before_count;
    struct weir_kafka_watch *watch; /* until all is published; the calls', one after the other */
    int64_t deadline_ms;
    int waits_for;        /* slot, of a call that waits for brokers */
    pthread_mutex_t lock; /* of the rest */
    pthread_cond_t changed;
    struct slot slots[SLOTS_MAX];
    int slot_count;
    uint64_t complete; /* checkpoint */
    bool is_published, is_queued, is_settling,
        is_closed; /* is_queued: run_commit() is on its way; is_settling: one commits, or gives up */
    bool has_failed;
    struct weir_error error; /* has_failed: the first */
};

struct weir_held {
    struct weir_connector_ctx *ctx;
    struct holder *holder;
    const char *topic; /* "": a column says it */
    int current;       /* slot; -1: none */
    uint64_t epoch;    /* the last one that had messages; 0: none of this attempt */
    bool no_room, sealed;
    struct weir_call *call, *commit; /* busy until the first has ended */
};

/* --- Life */

static void holder_unref(void *arg)
{
    struct holder *holder = arg;
    if (atomic_fetch_sub(&holder->refs, 1) > 1)
        return;
    for (int i = 0; i < holder->slot_count; i++)
        weir_kafka_transaction_free(holder->slots[i].txn);
    weir_kafka_watch_free(holder->watch);
    for (int i = 0; i < holder->before_count; i++)
        free(holder->befores[i].id);
    free(holder->befores);
    weir_kafka_options_free(holder->options, holder->option_count);
    pthread_mutex_destroy(&holder->lock);
    pthread_cond_destroy(&holder->changed);
    free(holder->id);
    free(holder);
}

static struct holder *holder_ref(struct holder *holder)
{
    atomic_fetch_add(&holder->refs, 1);
    return holder;
}

static void fail(struct holder *holder, const struct weir_error *error)
{
    pthread_mutex_lock(&holder->lock);
    if (!holder->has_failed)
        holder->error = *error;
    holder->has_failed = true;
    pthread_mutex_unlock(&holder->lock);
}

static weir_err failure(struct holder *holder, struct weir_error *error)
{
    weir_err err = WEIR_OK;
    pthread_mutex_lock(&holder->lock);
    if (holder->has_failed) {
        *error = holder->error;
        err = error->code;
    }
    pthread_mutex_unlock(&holder->lock);
    return err ? weir_wrap(error, "an open transaction is lost (nothing of it is: it is published from the checkpoint)")
               : WEIR_OK;
}

static bool is_closed(struct holder *holder)
{
    pthread_mutex_lock(&holder->lock);
    bool closed = holder->is_closed;
    pthread_mutex_unlock(&holder->lock);
    return closed;
}

/* --- Beginning */

static char *id_of_slot(const struct holder *holder, int slot)
{
    return weir_format("%s-open-%d-%d", holder->id, holder->subtask, slot);
}

/* Another producer, that has fenced its id. Whoever looks at the slots sees it whole. */
static weir_err add_slot(struct holder *holder, struct weir_error *error)
{
    struct slot slot = {.txn = NULL};
    char *id = id_of_slot(holder, holder->slot_count);
    weir_err err =
        weir_kafka_transaction_new(holder->options, holder->option_count, id, holder->subtask, &slot.txn, error);
    if (!err)
        err = weir_kafka_transaction_fence(slot.txn, holder->progress_topic, error);
    if (!err && weir_fault("executor.kafka-fenced"))
        err = weir_fail(error, WEIR_ERR_IO, "a fault point ended the sink after its id was fenced");
    if (!err && !holder->watch) {
        err =
            weir_kafka_watch_new(holder->options, holder->option_count, holder->progress_topic, &holder->watch, error);
        if (!err)
            weir_kafka_watch_add(holder->watch, holder->id);
        for (int i = 0; i < holder->before_count && !err; i++)
            weir_kafka_watch_add(holder->watch, holder->befores[i].id);
    }
    if (!err)
        err = weir_kafka_take_over(holder->watch, slot.txn, holder->restored, &slot.marker, error);
    if (err) {
        weir_kafka_transaction_free(slot.txn);
    } else {
        pthread_mutex_lock(&holder->lock);
        holder->slots[holder->slot_count++] = slot;
        pthread_mutex_unlock(&holder->lock);
    }
    free(id);
    return err;
}

/* An id that earlier attempts have used, and that this one takes over: a subtask's that is no more, a slot's that it has not needed yet. */
static bool is_left_behind(const struct holder *holder, const char *id)
{
    int subtask, slot, size = 0;
    size_t prefix = strlen(holder->id);
    if (strncmp(id, holder->id, prefix) != 0 || sscanf(id + prefix, "-open-%d-%d%n", &subtask, &slot, &size) != 2 ||
        id[prefix + (size_t)size] || subtask < 0)
        return false;
    return subtask % holder->parallelism == holder->subtask &&
           (subtask != holder->subtask || slot >= holder->slot_count);
}

static weir_err take_left_behind(struct holder *holder, struct weir_error *error)
{
    weir_err err = WEIR_OK;
    const char *id;
    for (int i = 0; (id = weir_kafka_watch_id(holder->watch, i)) && !err && !is_closed(holder); i++) {
        struct weir_kafka_transaction *txn = NULL;
        struct weir_kafka_marker marker;
        if (!is_left_behind(holder, id))
            continue;
        err = weir_kafka_transaction_new(holder->options, holder->option_count, id, 0, &txn, error);
        if (!err)
            err = weir_kafka_transaction_fence(txn, holder->progress_topic, error);
        if (!err)
            err = weir_kafka_take_over(holder->watch, txn, holder->restored, &marker, error);
        weir_kafka_transaction_free(txn);
    }
    return err;
}

static weir_err run_begin(void *arg, struct weir_error *error)
{
    struct holder *holder = arg;
    weir_err err = WEIR_OK;
    while (holder->slot_count < SLOTS_FIRST && !err && !is_closed(holder))
        err = add_slot(holder, error);
    return err ? err : take_left_behind(holder, error);
}

static bool all_is_published(const struct holder *holder)
{
    for (int i = 0; i < holder->before_count; i++) {
        struct weir_kafka_marker marker = weir_kafka_watch_find(holder->watch, holder->befores[i].id);
        bool whole = marker.checkpoint > 0 && marker.part == marker.parts;
        if (marker.checkpoint < holder->befores[i].epoch || (marker.checkpoint == holder->befores[i].epoch && !whole))
            return false;
    }
    return true;
}

/* For a while. */
static weir_err run_wait_published(void *arg, struct weir_error *error)
{
    struct holder *holder = arg;
    int64_t now_ms = weir_clock_mono_ms(), until_ms = now_ms + PUBLISHED_WAIT_MS;
    weir_err err = WEIR_OK;
    if (holder->deadline_ms == 0)
        holder->deadline_ms = now_ms + PUBLISHED_TIMEOUT_MS;
    while (!err && !all_is_published(holder) && now_ms < until_ms && !is_closed(holder)) {
        err = weir_kafka_watch_look(holder->watch, 50, error);
        now_ms = weir_clock_mono_ms();
    }
    if (err)
        return err;
    bool published = all_is_published(holder);
    if (!published && now_ms > holder->deadline_ms)
        return weir_fail(error, WEIR_ERR_TIMEOUT,
                         "connector 'kafka': output of earlier attempts, up to checkpoint %" PRIu64
                         ", is not published after %d s, and nothing can be written into a transaction before it is",
                         holder->restored, PUBLISHED_TIMEOUT_MS / 1000);
    pthread_mutex_lock(&holder->lock);
    holder->is_published = published;
    pthread_mutex_unlock(&holder->lock);
    if (published) {
        weir_kafka_watch_free(holder->watch);
        holder->watch = NULL;
    }
    return WEIR_OK;
}

static weir_err run_add_slot(void *arg, struct weir_error *error)
{
    struct holder *holder = arg;
    weir_err err = add_slot(holder, error);
    weir_kafka_watch_free(holder->watch);
    holder->watch = NULL;
    return err;
}

/* --- Waiting for brokers */

static weir_err run_flush(void *arg, struct weir_error *error)
{
    struct holder *holder = arg;
    return weir_kafka_transaction_flush(holder->slots[holder->waits_for].txn, error);
}

static weir_err run_wait_room(void *arg, struct weir_error *error)
{
    struct holder *holder = arg;
    struct weir_kafka_transaction *txn = holder->slots[holder->waits_for].txn;
    int before = weir_kafka_transaction_left(txn);
    for (int ms = 0; ms < ROOM_WAIT_MS && weir_kafka_transaction_left(txn) > before - before / 4; ms += 20) {
        if (is_closed(holder))
            break;
        weir_kafka_transaction_poll(txn, 20);
    }
    return weir_kafka_transaction_failure(txn, error);
}

/* --- Committing */

/* The oldest that may be committed, or NULL. Under the lock. */
static struct slot *next_to_commit(struct holder *holder)
{
    struct slot *first = NULL;
    for (int i = 0; i < holder->slot_count; i++) {
        struct slot *slot = &holder->slots[i];
        if (slot->state == SLOT_CLOSED && slot->epoch <= holder->complete && (!first || slot->epoch < first->epoch))
            first = slot;
    }
    return holder->is_closed || holder->has_failed ? NULL : first;
}

static weir_err commit_slot(struct holder *holder, struct slot *slot, struct weir_error *error)
{
    struct weir_kafka_marker marker = {.checkpoint = slot->epoch, .part = 1, .parts = 1, .taken = slot->marker.taken};
    weir_err err = weir_kafka_transaction_flush(slot->txn, error);
    if (!err && weir_fault("executor.kafka-commit-begun"))
        err = weir_fail(error, WEIR_ERR_IO, "a fault point ended the sink before its marker");
    if (!err)
        err = weir_kafka_transaction_mark(slot->txn, holder->progress_topic, &marker, slot->messages, error);
    if (!err && weir_fault("executor.kafka-marked"))
        err = weir_fail(error, WEIR_ERR_IO, "a fault point ended the sink before its transaction was committed");
    if (!err)
        err = weir_kafka_transaction_commit(slot->txn, error);
    if (!err && weir_fault("executor.kafka-committed"))
        err = weir_fail(error, WEIR_ERR_IO, "a fault point lost the answer to a committed transaction");
    if (!err)
        slot->marker = marker;
    return err;
}

static weir_err run_commit(void *arg, struct weir_error *error)
{
    struct holder *holder = arg;
    weir_err err = WEIR_OK;
    struct slot *slot;
    pthread_mutex_lock(&holder->lock);
    holder->is_queued = false;
    if (holder->is_closed) { /* what is open is given up, perhaps right now */
        pthread_mutex_unlock(&holder->lock);
        return WEIR_OK;
    }
    holder->is_settling = true;
    while (!err && (slot = next_to_commit(holder))) {
        pthread_mutex_unlock(&holder->lock);
        err = commit_slot(holder, slot, error);
        if (err)
            fail(holder, error);
        pthread_mutex_lock(&holder->lock);
        slot->state = err ? SLOT_CLOSED : SLOT_FREE;
    }
    holder->is_settling = false;
    pthread_cond_broadcast(&holder->changed);
    pthread_mutex_unlock(&holder->lock);
    return WEIR_OK;
}

/* --- The end: what is open is aborted, and a marker says so: who publishes it from the log need not wait for it. */

static void give_up_slot(struct holder *holder, struct slot *slot)
{
    struct weir_error error;
    struct weir_kafka_marker marker = slot->marker;
    bool was_closed = slot->state == SLOT_CLOSED;
    weir_err err = weir_kafka_transaction_abort(slot->txn, ABORT_TIMEOUT_MS, &error);
    slot->state = SLOT_FREE;
    if (!err && was_closed) {
        marker.taken = slot->epoch;
        err = weir_kafka_transaction_begin(slot->txn, &error);
        if (!err)
            err = weir_kafka_transaction_mark(slot->txn, holder->progress_topic, &marker, 0, &error);
        if (!err)
            err = weir_kafka_transaction_flush(slot->txn, &error);
        if (!err)
            err = weir_kafka_transaction_commit(slot->txn, &error);
    }
    if (err) /* its next owner, who publishes, or the brokers' timeout will */
        weir_log(INFO, "kafka: open transaction %s is left behind: %s", weir_kafka_transaction_id(slot->txn),
                 error.message);
}

static weir_err run_give_up(void *arg, struct weir_error *error)
{
    struct holder *holder = arg;
    (void)error;
    pthread_mutex_lock(&holder->lock);
    while (holder->is_settling) /* bounded as commits and aborts are */
        pthread_cond_wait(&holder->changed, &holder->lock);
    holder->is_settling = true;
    int count = holder->slot_count;
    pthread_mutex_unlock(&holder->lock);
    for (int i = 0; i < count; i++)
        if (holder->slots[i].state != SLOT_FREE)
            give_up_slot(holder, &holder->slots[i]);
    pthread_mutex_lock(&holder->lock);
    holder->is_settling = false;
    pthread_cond_broadcast(&holder->changed);
    pthread_mutex_unlock(&holder->lock);
    return WEIR_OK;
}

static void close_holder(struct holder *holder)
{
    pthread_mutex_lock(&holder->lock);
    holder->is_closed = true;
    pthread_mutex_unlock(&holder->lock);
}

/* --- The worker's side */

static void begin(struct weir_held *held, weir_err (*run)(void *arg, struct weir_error *error))
{
    held->call = held->ctx->call(held->ctx, run, holder_ref(held->holder), holder_unref);
}

static void add_before(struct holder *holder, const char *id, size_t size, uint64_t epoch)
{
    for (int i = 0; i < holder->before_count; i++)
        if (strncmp(holder->befores[i].id, id, size) == 0 && !holder->befores[i].id[size]) {
            if (epoch > holder->befores[i].epoch)
                holder->befores[i].epoch = epoch;
            return;
        }
    holder->befores = weir_realloc(holder->befores, (size_t)(holder->before_count + 1) * sizeof *holder->befores);
    holder->befores[holder->before_count++] = (struct before){weir_strndup(id, size), epoch};
}

/* What a snapshot of an earlier attempt says, in lines "EPOCH ID". */
static weir_err take_befores(struct holder *holder, const char *text, struct weir_error *error)
{
    while (*text) {
        char *id;
        uint64_t epoch = strtoull(text, &id, 10);
        const char *end = strchr(text, '\n');
        if (*id != ' ' || epoch == 0 || !end || end <= id + 1)
            return weir_fail(error, WEIR_ERR_DATA, "CHECKPOINT_CORRUPT: this is no state of a sink's transactions");
        add_before(holder, id + 1, (size_t)(end - id - 1), epoch);
        text = end + 1;
    }
    return WEIR_OK;
}

static weir_err check_timeout(const struct weir_key_value *options, int option_count, int64_t interval_ms,
                              struct weir_error *error)
{
    const char *text = weir_kafka_property(options, option_count, "transaction.timeout.ms");
    int64_t timeout_ms = text ? atoll(text) : WEIR_KAFKA_TRANSACTION_TIMEOUT_MS;
    if (timeout_ms > interval_ms)
        return WEIR_OK;
    return weir_fail(
        error, WEIR_ERR_INVALID,
        "connector 'kafka': with 'sink.transaction' = 'open' a transaction is open from its first row until its "
        "checkpoint is complete, so 'properties.transaction.timeout.ms' (%" PRId64
        ") must be longer than execution.checkpointing.interval (%" PRId64
        " ms) and what a checkpoint takes: raise it (brokers allow transaction.max.timeout.ms, 15 minutes "
        "where nothing is said), make checkpoints more often, or leave out 'sink.transaction'",
        timeout_ms, interval_ms);
}

static weir_err held_open(struct weir_connector_ctx *ctx, const struct weir_held_start *start,
                          const struct weir_key_value *options, int option_count, struct weir_held **out,
                          struct weir_error *error)
{
    weir_err err = check_timeout(options, option_count, start->interval_ms, error);
    if (err)
        return err;
    struct holder *holder = weir_zalloc(sizeof *holder);
    atomic_init(&holder->refs, 1);
    pthread_mutex_init(&holder->lock, NULL);
    pthread_cond_init(&holder->changed, NULL);
    holder->options = weir_kafka_options_copy(options, option_count);
    holder->option_count = option_count;
    holder->id = weir_kafka_sink_id(options, option_count, ctx->job_id, ctx->operator_id, "");
    holder->progress_topic = weir_kafka_sink_get(holder->options, option_count, "sink.progress-topic");
    holder->subtask = ctx->subtask;
    holder->parallelism = ctx->parallelism;
    holder->restored = start->restored;
    for (int i = 0; i < start->state_count && !err; i++)
        err = take_befores(holder, start->states[i], error);
    if (err) {
        holder_unref(holder);
        return err;
    }
    struct weir_held *held = weir_zalloc(sizeof *held);
    held->ctx = ctx;
    held->holder = holder;
    held->topic = weir_kafka_sink_get(holder->options, option_count, "topic");
    held->current = -1;
    begin(held, run_begin);
    *out = held;
    return WEIR_OK;
}

/* The call that has ended: nothing failed? */
static bool take_call(struct weir_held *held)
{
    struct weir_error error;
    weir_err err = weir_call_result(held->call, &error);
    if (err)
        fail(held->holder, &error);
    weir_call_free(held->call);
    held->call = NULL;
    return !err;
}

/* A slot for the next epoch's messages: true, or a call makes one. */
static bool find_slot(struct weir_held *held)
{
    struct holder *holder = held->holder;
    struct weir_error error;
    pthread_mutex_lock(&holder->lock);
    for (int i = 0; i < holder->slot_count && held->current < 0; i++)
        if (holder->slots[i].state == SLOT_FREE)
            held->current = i;
    int count = holder->slot_count;
    pthread_mutex_unlock(&holder->lock);
    if (held->current >= 0)
        return true;
    if (count == SLOTS_MAX) {
        (void)weir_fail(&error, WEIR_ERR_FULL,
                        "connector 'kafka': %d transactions are open, and none of their checkpoints becomes complete",
                        SLOTS_MAX);
        fail(holder, &error);
        return true;
    }
    begin(held, run_add_slot);
    return false;
}

static bool held_busy(struct weir_held *held)
{
    struct holder *holder = held->holder;
    if (held->call && !held->ctx->call_ended(held->ctx, held->call))
        return true;
    if (held->call && !take_call(held))
        return false;
    pthread_mutex_lock(&holder->lock);
    bool failed = holder->has_failed, published = holder->is_published;
    pthread_mutex_unlock(&holder->lock);
    if (failed || held->sealed)
        return false; /* the next write says it */
    if (!published) {
        begin(held, run_wait_published);
        return true;
    }
    if (held->no_room) {
        held->no_room = false;
        holder->waits_for = held->current;
        begin(held, run_wait_room);
        return true;
    }
    return held->current < 0 && !find_slot(held);
}

static weir_err held_write(struct weir_held *held, const struct weir_message_out *message, bool *taken,
                           struct weir_error *error)
{
    struct holder *holder = held->holder;
    *taken = false;
    weir_err err = failure(holder, error);
    if (err)
        return err;
    weir_assert(held->current >= 0 && !held->no_room);
    struct slot *slot = &holder->slots[held->current];
    if (slot->state == SLOT_FREE) {
        if ((err = weir_kafka_transaction_begin(slot->txn, error)))
            return err;
        pthread_mutex_lock(&holder->lock);
        slot->state = SLOT_OPEN;
        slot->messages = 0;
        pthread_mutex_unlock(&holder->lock);
    }
    weir_kafka_transaction_poll(slot->txn, 0);
    err = weir_kafka_transaction_failure(slot->txn, error);
    if (!err)
        err = weir_kafka_transaction_try(slot->txn, message, message->topic ? message->topic : held->topic,
                                         message->topic ? message->topic_size : strlen(held->topic),
                                         RD_KAFKA_MSG_F_COPY, taken, error);
    slot->messages += *taken;
    held->no_room = !err && !*taken;
    return err;
}

static weir_err held_barrier(struct weir_held *held, uint64_t checkpoint, struct weir_buf *transaction,
                             struct weir_error *error)
{
    struct holder *holder = held->holder;
    weir_err err = failure(holder, error);
    if (err || held->current < 0 || holder->slots[held->current].state != SLOT_OPEN)
        return err;
    struct slot *slot = &holder->slots[held->current];
    pthread_mutex_lock(&holder->lock);
    slot->state = SLOT_CLOSED;
    slot->epoch = checkpoint;
    pthread_mutex_unlock(&holder->lock);
    if (!weir_buf_printf(transaction, "%s:%" PRIu64, weir_kafka_transaction_id(slot->txn), checkpoint))
        return weir_fail(error, WEIR_ERR_FULL, "a transactional id is too long");
    held->epoch = checkpoint;
    holder->waits_for = held->current;
    held->current = -1;
    held->no_room = false;
    weir_call_free(held->call); /* one that waits for room in it */
    begin(held, run_flush);
    return WEIR_OK;
}

static weir_err held_complete(struct weir_held *held, uint64_t checkpoint, struct weir_error *error)
{
    struct holder *holder = held->holder;
    pthread_mutex_lock(&holder->lock);
    if (checkpoint > holder->complete)
        holder->complete = checkpoint;
    bool wanted = !holder->is_queued && !holder->is_settling && next_to_commit(holder);
    holder->is_queued |= wanted;
    pthread_mutex_unlock(&holder->lock);
    if (wanted) {
        weir_call_free(held->commit);
        held->commit = held->ctx->call(held->ctx, run_commit, holder_ref(holder), holder_unref);
    }
    return failure(holder, error);
}

static bool held_save(struct weir_held *held, struct weir_buf *state)
{
    struct holder *holder = held->holder;
    pthread_mutex_lock(&holder->lock);
    bool published = holder->is_published, ok = true;
    pthread_mutex_unlock(&holder->lock);
    for (int i = 0; i < holder->before_count && !published && ok; i++)
        ok = weir_buf_printf(state, "%" PRIu64 " %s\n", holder->befores[i].epoch, holder->befores[i].id);
    return ok && (held->epoch == 0 || weir_buf_printf(state, "%" PRIu64 " %s\n", held->epoch, holder->id));
}

static void held_seal(struct weir_held *held)
{
    held->sealed = true;
    close_holder(held->holder);
    weir_call_free(held->call);
    begin(held, run_give_up);
}

/* Also where nothing is open: producers take a while to end. */
static void held_close(struct weir_held *held, struct weir_call_spec *last)
{
    close_holder(held->holder);
    weir_call_free(held->call);
    weir_call_free(held->commit);
    *last = (struct weir_call_spec){.run = run_give_up, .arg = held->holder, .free_arg = holder_unref};
    free(held);
}

static bool held_wanted(const struct weir_key_value *options, int option_count)
{
    return strcmp(weir_kafka_sink_get(options, option_count, "sink.transaction"), "open") == 0;
}

const struct weir_connector_held weir_kafka_held = {
    .wanted = held_wanted,
    .open = held_open,
    .busy = held_busy,
    .write = held_write,
    .barrier = held_barrier,
    .complete = held_complete,
    .save = held_save,
    .seal = held_seal,
    .close = held_close,
};
