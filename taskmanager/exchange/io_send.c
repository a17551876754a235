/* The I/O thread's sending half: DEALERs to the peers, frames joined into messages, credits coming back. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "data/batch_wire.h"
#include "exchange/io_int.h"

#define POOL_IDLE_MAX 32 /* buffers of WEIR_IO_MESSAGE_SIZE */
#define RECEIVE_BURST 64
#define KNOCK_AGAIN_NS 20000000 /* after a refusal: the other side may not have its deployment yet */

/* --- Buffers */

static void give_back(void *data, void *hint)
{
    struct weir_io_buffer *buffer = hint;
    (void)data;
    (void)atomic_load(&buffer->handed);
    struct weir_io_pool *pool = buffer->pool;
    if (buffer->capacity != WEIR_IO_MESSAGE_SIZE || atomic_load(&pool->idle_count) >= POOL_IDLE_MAX) {
        free(buffer);
        return;
    }
    atomic_fetch_add(&pool->idle_count, 1);
    struct weir_io_buffer *top = atomic_load(&pool->given_back);
    do
        buffer->next = top;
    while (!atomic_compare_exchange_weak(&pool->given_back, &top, buffer));
}

static struct weir_io_buffer *take_buffer(struct weir_io_pool *pool, size_t size)
{
    if (size <= WEIR_IO_MESSAGE_SIZE) {
        size = WEIR_IO_MESSAGE_SIZE;
        if (!pool->idle)
            pool->idle = atomic_exchange(&pool->given_back, NULL);
        if (pool->idle) {
            struct weir_io_buffer *buffer = pool->idle;
            pool->idle = buffer->next;
            atomic_fetch_sub(&pool->idle_count, 1);
            return buffer;
        }
    }
    struct weir_io_buffer *buffer = weir_alloc(sizeof *buffer + size);
    buffer->pool = pool;
    buffer->capacity = size;
    atomic_init(&buffer->handed, 0);
    return buffer;
}

void weir_io_pool_fini(struct weir_io_pool *pool)
{
    struct weir_io_buffer *lists[2] = {pool->idle, atomic_exchange(&pool->given_back, NULL)};
    for (int i = 0; i < 2; i++)
        for (struct weir_io_buffer *buffer = lists[i], *next; buffer; buffer = next) {
            next = buffer->next;
            free(buffer);
        }
}

/* --- Peers */

static weir_err open_dealer(struct weir_io *io, struct weir_io_peer_conn *peer, struct weir_error *error)
{
    peer->dealer = zmq_socket(io->context, ZMQ_DEALER);
    if (!peer->dealer)
        return weir_fail(error, WEIR_ERR_IO, "%s", zmq_strerror(errno));
    weir_err err = weir_io_socket_options(peer->dealer, error);
    if (err)
        return err;
    char name[WEIR_IO_ROUTING_ID_SIZE], address[128];
    int size = snprintf(name, sizeof name, "%s.%u", io->id, peer->generation);
    snprintf(address, sizeof address, "inproc://monitor-%p-%u", (void *)peer, peer->generation);
    if (io->with_keys && !peer->has_key)
        return weir_fail(error, WEIR_ERR_PROTOCOL,
                         "it has no CURVE key and this executor has: are the security.curve "
                         "keys set at every TaskManager?");
    if (io->with_keys && (err = weir_curve_client(peer->dealer, &io->keys, peer->key, error)))
        return err;
    int events = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                 ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL;
    if (zmq_setsockopt(peer->dealer, ZMQ_ROUTING_ID, name, (size_t)size) != 0 ||
        weir_zmq_socket_monitor(peer->dealer, address, events) != 0)
        return weir_fail(error, WEIR_ERR_IO, "%s", zmq_strerror(errno));
    peer->monitor = zmq_socket(io->context, ZMQ_PAIR);
    if (!peer->monitor || weir_zmq_connect(peer->monitor, address) != 0 ||
        weir_zmq_connect(peer->dealer, peer->endpoint) != 0)
        return weir_fail(error, WEIR_ERR_IO, "%s", zmq_strerror(errno));
    return WEIR_OK;
}

void weir_io_peer_close(struct weir_io *io, struct weir_io_peer_conn *peer)
{
    (void)io;
    if (peer->dealer) {
        weir_zmq_socket_monitor(peer->dealer, NULL, 0);
        zmq_close(peer->dealer);
    }
    if (peer->monitor)
        zmq_close(peer->monitor);
    peer->dealer = peer->monitor = NULL;
    free(peer->out);
    peer->out = NULL;
    peer->out_used = 0;
    peer->connected = false;
}

static void connect_peer(struct weir_io *io, struct weir_io_peer_conn *peer)
{
    peer->generation++; /* a half-open older connection keeps its routing id at the other side */
    peer->state = WEIR_IO_PEER_CONNECTING;
    peer->retry_ns = 0;
    struct weir_error error;
    if (open_dealer(io, peer, &error)) {
        weir_log(ERROR, "cannot open a data connection to %s: %s", peer->endpoint, error.message);
        peer->deadline_ns = 0; /* its channels break in the next round */
    }
}

/* ZeroMQ gives a connection up for good that was refused. */
static void refused(struct weir_io *io, struct weir_io_peer_conn *peer, const char *why, int64_t now_ns)
{
    weir_io_peer_close(io, peer);
    peer->refused = why;
    peer->retry_ns = now_ns + KNOCK_AGAIN_NS;
}

bool weir_io_peer_allow(void *arg, const uint8_t *key, const char *address)
{
    struct weir_io *io = arg;
    for (int i = 0; i < io->peer_count; i++)
        if (io->peers[i]->has_key && memcmp(io->peers[i]->key, key, sizeof io->peers[i]->key) == 0)
            return true;
    weir_io_count(&io->strangers, 1);
    weir_log(DEBUG, "a data connection from %s with a key that is not (yet) known was refused", address);
    return false;
}

struct weir_io_peer_conn *weir_io_peer_get(struct weir_io *io, const struct weir_io_command *command)
{
    const char *id = command->peer_id;
    struct weir_io_peer_conn *peer = NULL;
    for (int i = 0; i < io->peer_count && !peer; i++)
        if (strcmp(io->peers[i]->id, id) == 0)
            peer = io->peers[i];
    if (!peer) {
        peer = weir_zalloc(sizeof *peer);
        snprintf(peer->id, sizeof peer->id, "%s", id);
        peer->state = WEIR_IO_PEER_LOST;
        io->peers = weir_realloc(io->peers, (size_t)(io->peer_count + 1) * sizeof(struct weir_io_peer_conn *));
        io->peers[io->peer_count++] = peer;
    }
    if (peer->state != WEIR_IO_PEER_LOST)
        return peer;
    weir_assert(!peer->dealer);
    snprintf(peer->endpoint, sizeof peer->endpoint, "%s", command->peer_endpoint);
    peer->has_key = command->peer_has_key;
    memcpy(peer->key, command->peer_key, sizeof peer->key);
    peer->refused = NULL;
    peer->deadline_ns = weir_clock_mono_ns() + io->connect_timeout_ns;
    connect_peer(io, peer);
    return peer;
}

static void peer_lost(struct weir_io *io, struct weir_io_peer_conn *peer, const char *why)
{
    weir_io_peer_close(io, peer);
    peer->state = WEIR_IO_PEER_LOST;
    int broken = 0;
    for (struct weir_io_port *port = io->ports; port; port = port->next)
        if (port->peer == peer && !port->done) {
            weir_io_break_port(io, port, "the data connection from %s to executor %s at %s is lost: %s", io->endpoint,
                               peer->id, peer->endpoint, why);
            port->conn = NULL;
            broken++;
        }
    if (broken > 0)
        weir_log(WARN, "data connection to executor %s at %s is lost, %d channels with it: %s", peer->id,
                 peer->endpoint, broken, why);
    else
        weir_log(DEBUG, "data connection to executor %s at %s has ended: %s", peer->id, peer->endpoint, why);
}

/* --- Frames into messages */

void weir_io_peer_send(struct weir_io *io, struct weir_io_peer_conn *peer)
{
    struct weir_io_buffer *buffer = peer->out;
    size_t size = peer->out_used;
    peer->out = NULL;
    peer->out_used = 0;
    zmq_msg_t message;
    atomic_store(&buffer->handed, 1);
    if (zmq_msg_init_data(&message, buffer->bytes, size, give_back, buffer) != 0) {
        free(buffer);
        peer_lost(io, peer, zmq_strerror(errno));
        return;
    }
    if (weir_zmq_msg_send(&message, peer->dealer, ZMQ_DONTWAIT) < 0) {
        int saved = errno; /* without a bound on the queue: there is no connection */
        zmq_msg_close(&message);
        peer_lost(io, peer, saved == EAGAIN ? "not connected" : zmq_strerror(saved));
        return;
    }
    weir_io_count(&io->messages_out, 1);
    weir_io_count(&io->bytes_out, size);
}

/* Room for a frame with that payload in the peer's message; NULL: the peer was lost. */
static uint8_t *reserve(struct weir_io *io, struct weir_io_peer_conn *peer, size_t payload_size)
{
    size_t size = weir_frame_size(payload_size);
    if (peer->out && peer->out_used + size > peer->out->capacity) {
        weir_io_peer_send(io, peer);
        if (!peer->dealer)
            return NULL;
    }
    if (!peer->out)
        peer->out = take_buffer(&io->pool, size);
    return peer->out->bytes + peer->out_used;
}

static void seal(struct weir_io_peer_conn *peer, const struct weir_frame *frame, uint8_t *at)
{
    peer->out_used += weir_frame_seal(frame, at);
}

static void send_hello(struct weir_io *io, struct weir_io_peer_conn *peer)
{
    uint8_t bytes[WEIR_FRAME_HEADER_SIZE + 64];
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes + WEIR_FRAME_HEADER_SIZE, io->id, strlen(io->id));
    memcpy(bytes + WEIR_FRAME_HEADER_SIZE + 32, peer->id, strlen(peer->id));
    struct weir_frame frame = {.type = WEIR_FRAME_HELLO, .job = io->job, .length = 64};
    size_t size = weir_frame_seal(&frame, bytes);
    if (weir_zmq_send(peer->dealer, bytes, size, ZMQ_DONTWAIT) >= 0)
        peer->state = WEIR_IO_PEER_GREETED;
    /* else: the connection is not attached yet; the next round tries again */
}

void weir_io_send_open(struct weir_io *io, struct weir_io_port *port)
{
    uint8_t *at = reserve(io, port->peer, 4);
    if (!at)
        return;
    weir_put_u32(at + WEIR_FRAME_HEADER_SIZE, port->consumer_attempt);
    struct weir_frame frame = {.type = WEIR_FRAME_OPEN,
                               .job = io->job,
                               .channel = port->chan->id,
                               .attempt = port->producer_attempt,
                               .length = 4};
    seal(port->peer, &frame, at);
    port->opened = true;
}

static void put_barrier(uint8_t *out, const struct weir_barrier *barrier, uint64_t batches_sent)
{
    weir_put_u64(out, barrier->checkpoint);
    weir_put_u64(out + 8, batches_sent);
    weir_put_u64(out + 16, barrier->complete);
    weir_put_u32(out + 24, barrier->flags);
    int64_t wait_ns = barrier->due_ns - weir_clock_mono_ns();
    int64_t wait_ms = wait_ns > 0 ? (wait_ns - 1) / 1000000 + 1 : 0;
    bool overtakes = barrier->flags & WEIR_BARRIER_OVERTAKES;
    weir_put_u32(out + 28, !overtakes ? 0 : wait_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)wait_ms);
}

/* One item as a frame. False: the peer was lost, or the item can never go. The item's batch is released. */
static bool send_item(struct weir_io *io, struct weir_io_port *port, struct weir_item *item)
{
    struct weir_frame frame = {.type = (enum weir_frame_type)item->kind,
                               .job = io->job,
                               .channel = port->chan->id,
                               .seq = port->seq + 1,
                               .attempt = port->producer_attempt};
    size_t size = item->kind == WEIR_ITEM_BATCH       ? weir_batch_wire_size(item->batch)
                  : item->kind == WEIR_ITEM_WATERMARK ? 8
                  : item->kind == WEIR_ITEM_BARRIER   ? 32
                                                      : 0;
    uint8_t *at = NULL;
    if (size > WEIR_FRAME_PAYLOAD_MAX)
        weir_io_break_port(io, port, "a batch of %zu bytes is larger than a frame may be", size);
    else
        at = reserve(io, port->peer, size);
    if (at) {
        if (item->kind == WEIR_ITEM_BATCH)
            weir_batch_wire_encode(item->batch, at + WEIR_FRAME_HEADER_SIZE);
        else if (item->kind == WEIR_ITEM_WATERMARK)
            weir_put_u64(at + WEIR_FRAME_HEADER_SIZE, (uint64_t)item->watermark_ms);
        else if (item->kind == WEIR_ITEM_BARRIER)
            put_barrier(at + WEIR_FRAME_HEADER_SIZE, &item->barrier, port->batches_sent);
        frame.length = (uint32_t)size;
        seal(port->peer, &frame, at);
        port->seq++;
        port->batches_sent += item->kind == WEIR_ITEM_BATCH;
    }
    if (item->kind == WEIR_ITEM_BATCH)
        weir_batch_unref(item->batch);
    return at != NULL;
}

void weir_io_drain(struct weir_io *io, struct weir_io_port *port)
{
    struct weir_item item;
    while (!port->done && weir_channel_pop(port->chan, &item)) {
        if (!send_item(io, port, &item))
            return;
        if (item.kind == WEIR_ITEM_END)
            weir_io_port_done(io, port);
    }
}

/* --- What comes back on a DEALER */

static void peer_ready(struct weir_io *io, struct weir_io_peer_conn *peer)
{
    peer->state = WEIR_IO_PEER_READY;
    weir_log(DEBUG, "data connection to executor %s at %s stands", peer->id, peer->endpoint);
    for (struct weir_io_port *port = io->ports; port && peer->dealer; port = port->next)
        if (port->out && port->peer == peer && !port->done && !port->opened)
            weir_io_send_open(io, port);
}

static void take_credit(struct weir_io *io, const struct weir_frame *frame)
{
    struct weir_io_port *port = (struct weir_io_port *)(void *)weir_io_table_find(&io->outs, frame->channel);
    if (!port || frame->attempt != port->consumer_attempt) {
        weir_io_count(&io->frames_late, 1);
        return;
    }
    uint64_t items = weir_get_u64(frame->payload), batches = weir_get_u64(frame->payload + 8);
    if (!weir_channel_grant(port->chan, items, batches))
        weir_io_break_port(io, port, "executor %s granted more credit than there is", port->peer->id);
}

static const char *take_answer(struct weir_io *io, struct weir_io_peer_conn *peer, const struct weir_frame *frame)
{
    if (frame->job != io->job)
        return "it belongs to another job";
    switch (frame->type) {
    case WEIR_FRAME_HELLO_ACK: {
        char id[WEIR_IO_ID_SIZE] = {0};
        memcpy(id, frame->payload, 32);
        if (strcmp(id, peer->id) != 0)
            return "another executor answers there";
        if (peer->state == WEIR_IO_PEER_GREETED)
            peer_ready(io, peer);
        return NULL;
    }
    case WEIR_FRAME_CREDIT:
        if (peer->state == WEIR_IO_PEER_READY)
            take_credit(io, frame);
        return NULL;
    default:
        return "it sent data where only credits go";
    }
}

static bool receive_answers(struct weir_io *io, struct weir_io_peer_conn *peer)
{
    bool any = false;
    for (int i = 0; i < RECEIVE_BURST && peer->dealer; i++) {
        zmq_msg_t message;
        zmq_msg_init(&message);
        if (weir_zmq_msg_recv(&message, peer->dealer, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&message);
            break;
        }
        any = true;
        const uint8_t *bytes = zmq_msg_data(&message);
        size_t size = zmq_msg_size(&message), at = 0, used = 0;
        const char *why = NULL;
        struct weir_error error;
        while (at < size && !why) {
            struct weir_frame frame;
            if (weir_frame_decode(bytes + at, size - at, &frame, &used, &error))
                why = error.message;
            else
                why = take_answer(io, peer, &frame);
            at += used;
        }
        zmq_msg_close(&message);
        if (why) {
            weir_io_count(&io->messages_bad, 1);
            peer_lost(io, peer, why);
        }
    }
    return any;
}

/* --- Monitor */

static const char *explain_refusal(uint16_t event)
{
    return event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH ? "it refused this executor's key"
                                                    : "it did not agree on keys with this executor";
}

static bool next_event(void *monitor, uint16_t *event)
{
    zmq_msg_t message;
    zmq_msg_init(&message);
    if (weir_zmq_msg_recv(&message, monitor, ZMQ_DONTWAIT) < 0) {
        zmq_msg_close(&message);
        return false;
    }
    *event = 0;
    if (zmq_msg_size(&message) >= sizeof *event)
        memcpy(event, zmq_msg_data(&message), sizeof *event);
    bool more = zmq_msg_more(&message);
    zmq_msg_close(&message);
    if (more) { /* the address, unused */
        zmq_msg_init(&message);
        if (weir_zmq_msg_recv(&message, monitor, 0) < 0)
            *event = 0;
        zmq_msg_close(&message);
    }
    return true;
}

bool weir_io_peer_serve(struct weir_io *io, struct weir_io_peer_conn *peer, int64_t now_ns)
{
    bool any = false;
    uint16_t event;
    bool ended = false;
    while (peer->monitor && next_event(peer->monitor, &event)) {
        any = true;
        if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
            ended |= peer->state != WEIR_IO_PEER_CONNECTING; /* an end and a new connection between two looks */
            peer->connected = true;
        } else if (event == ZMQ_EVENT_DISCONNECTED) {
            ended |= peer->state != WEIR_IO_PEER_CONNECTING;
            peer->connected = false;
        } else if (peer->state == WEIR_IO_PEER_CONNECTING && event != ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL) {
            refused(io, peer, explain_refusal(event), now_ns);
        }
    }
    if (peer->retry_ns && now_ns >= peer->retry_ns && now_ns <= peer->deadline_ns)
        connect_peer(io, peer);
    if (peer->dealer)
        any |= receive_answers(io, peer); /* what came before the end */
    if (ended && peer->state != WEIR_IO_PEER_LOST)
        peer_lost(io, peer, "the peer closed it, died, or was not heard any more");
    if (peer->connected && peer->state == WEIR_IO_PEER_CONNECTING)
        send_hello(io, peer);
    if ((peer->state == WEIR_IO_PEER_CONNECTING || peer->state == WEIR_IO_PEER_GREETED) && now_ns > peer->deadline_ns)
        peer_lost(io, peer, peer->refused ? peer->refused : "no answer within the time to connect");
    return any;
}
