/* The I/O thread's receiving half: the ROUTER, connections by routing id, data into channels, credits out. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "data/batch_wire.h"
#include "exchange/io_int.h"

#define RECEIVE_BURST 64
#define STRANGER_SIZE_MAX 4096 /* HELLO goes alone */

/* --- Connections */

static struct weir_io_conn *find_conn(struct weir_io *io, const void *routing_id, size_t size)
{
    for (int i = 0; i < io->conn_count; i++) {
        struct weir_io_conn *conn = io->conns[i];
        if (!conn->gone && conn->routing_id_size == size && memcmp(conn->routing_id, routing_id, size) == 0)
            return conn;
    }
    return NULL;
}

static void break_conn(struct weir_io *io, struct weir_io_conn *conn, const char *why)
{
    for (struct weir_io_port *port = io->ports; port; port = port->next)
        if (!port->out && port->conn == conn) {
            weir_io_break_port(io, port, "data from executor %s cannot be trusted: %s", conn->executor_id, why);
            port->conn = NULL;
        }
}

static void forget_opens(struct weir_io *io, const struct weir_io_conn *conn)
{
    for (size_t b = 0; b < io->opens.bucket_count; b++)
        for (struct weir_io_link *link = io->opens.buckets[b], *next; link; link = next) {
            next = link->next;
            struct weir_io_open *open = (struct weir_io_open *)(void *)link;
            if (open->conn == conn) {
                weir_io_table_remove(&io->opens, link);
                free(open);
            }
        }
}

/* Out of use from now on; freed by sweep(), because callers may still hold it. */
static void conn_gone(struct weir_io *io, struct weir_io_conn *conn, const char *why)
{
    conn->gone = true;
    break_conn(io, conn, why);
    forget_opens(io, conn);
    io->conns_gone = true;
}

static void sweep(struct weir_io *io)
{
    if (!io->conns_gone)
        return;
    io->conns_gone = false;
    int kept = 0;
    for (int i = 0; i < io->conn_count; i++) {
        if (io->conns[i]->gone)
            free(io->conns[i]);
        else
            io->conns[kept++] = io->conns[i];
    }
    io->conn_count = kept;
}

/* Sends to a connection. False: nobody is there. */
static bool send_to(struct weir_io *io, struct weir_io_conn *conn, const void *bytes, size_t size)
{
    if (weir_zmq_send(io->router, conn->routing_id, conn->routing_id_size, ZMQ_DONTWAIT | ZMQ_SNDMORE) < 0)
        return false;
    return weir_zmq_send(io->router, bytes, size, ZMQ_DONTWAIT) >= 0;
}

static const char *take_hello(struct weir_io *io, const struct weir_frame *frame, const void *routing_id, size_t size)
{
    char sender[WEIR_IO_ID_SIZE] = {0}, receiver[WEIR_IO_ID_SIZE] = {0};
    memcpy(sender, frame->payload, 32);
    memcpy(receiver, frame->payload + 32, 32);
    bool ours = frame->job == io->job && strcmp(receiver, io->id) == 0;
    if (!ours)
        return "HELLO to another executor";
    for (int i = 0; i < io->conn_count; i++)
        if (!io->conns[i]->gone && strcmp(io->conns[i]->executor_id, sender) == 0)
            conn_gone(io, io->conns[i], "it connected anew");
    if (io->conn_count == WEIR_IO_CONNECTIONS_MAX)
        return "too many connections";
    struct weir_io_conn *conn = weir_zalloc(sizeof *conn);
    memcpy(conn->routing_id, routing_id, size);
    conn->routing_id_size = size;
    memcpy(conn->executor_id, sender, sizeof sender);
    io->conns = weir_realloc(io->conns, (size_t)(io->conn_count + 1) * sizeof(struct weir_io_conn *));
    io->conns[io->conn_count++] = conn;

    uint8_t bytes[WEIR_FRAME_HEADER_SIZE + 64] = {0};
    memcpy(bytes + WEIR_FRAME_HEADER_SIZE, io->id, strlen(io->id));
    memcpy(bytes + WEIR_FRAME_HEADER_SIZE + 32, sender, strlen(sender));
    struct weir_frame answer = {.type = WEIR_FRAME_HELLO_ACK, .job = io->job, .length = 64};
    size_t answer_size = weir_frame_seal(&answer, bytes);
    (void)send_to(io, conn, bytes, answer_size); /* gone already: its own deadline finds out */
    return NULL;
}

/* --- Credits */

void weir_io_grant(struct weir_io *io, struct weir_io_port *port)
{
    if (port->done || !port->conn)
        return;
    uint8_t bytes[WEIR_FRAME_HEADER_SIZE + 16];
    struct weir_channel *chan = port->chan;
    weir_put_u64(bytes + WEIR_FRAME_HEADER_SIZE, atomic_load(&chan->item_limit));
    weir_put_u64(bytes + WEIR_FRAME_HEADER_SIZE + 8, atomic_load(&chan->batch_limit));
    struct weir_frame frame = {.type = WEIR_FRAME_CREDIT,
                               .job = io->job,
                               .channel = chan->id,
                               .attempt = port->consumer_attempt,
                               .length = 16};
    size_t size = weir_frame_seal(&frame, bytes);
    if (!send_to(io, port->conn, bytes, size))
        conn_gone(io, port->conn, "it is not reachable any more");
}

/* --- Opening */

static void bind_port(struct weir_io *io, struct weir_io_port *port, struct weir_io_conn *conn)
{
    if (strcmp(conn->executor_id, port->peer->id) != 0) {
        weir_io_break_port(io, port, "executor %s sends on a channel of executor %s", conn->executor_id,
                           port->peer->id);
        return;
    }
    if (port->conn && port->conn != conn) {
        weir_io_break_port(io, port, "executor %s opened the channel a second time", conn->executor_id);
        return;
    }
    port->conn = conn;
    weir_io_grant(io, port);
}

void weir_io_in_added(struct weir_io *io, struct weir_io_port *port)
{
    struct weir_io_open *open = (struct weir_io_open *)(void *)weir_io_table_find(&io->opens, port->chan->id);
    if (!open || open->consumer_attempt > port->consumer_attempt)
        return;
    bool match = open->consumer_attempt == port->consumer_attempt && open->producer_attempt == port->producer_attempt;
    struct weir_io_conn *conn = open->conn;
    weir_io_table_remove(&io->opens, &open->link);
    free(open);
    if (match)
        bind_port(io, port, conn);
}

static const char *take_open(struct weir_io *io, const struct weir_frame *frame, struct weir_io_conn *conn)
{
    uint32_t consumer_attempt = weir_get_u32(frame->payload);
    struct weir_io_port *port = (struct weir_io_port *)(void *)weir_io_table_find(&io->ins, frame->channel);
    if (port && port->consumer_attempt == consumer_attempt && port->producer_attempt == frame->attempt) {
        bind_port(io, port, conn);
        return NULL;
    }
    if (port && (consumer_attempt < port->consumer_attempt || frame->attempt < port->producer_attempt)) {
        weir_io_count(&io->frames_late, 1);
        return NULL;
    }
    struct weir_io_open *open = (struct weir_io_open *)(void *)weir_io_table_find(&io->opens, frame->channel);
    if (!open) {
        if (io->opens.count >= WEIR_IO_OPENS_MAX)
            return "too many channels wait for their consumers";
        open = weir_zalloc(sizeof *open);
        open->link.key = frame->channel;
        weir_io_table_add(&io->opens, &open->link);
    } else if (open->consumer_attempt > consumer_attempt || open->producer_attempt > frame->attempt) {
        weir_io_count(&io->frames_late, 1);
        return NULL;
    }
    open->consumer_attempt = consumer_attempt;
    open->producer_attempt = frame->attempt;
    open->conn = conn;
    return NULL;
}

/* --- Data */

static bool make_item(struct weir_io *io, struct weir_io_port *port, const struct weir_frame *frame,
                      struct weir_buffer *owner, struct weir_item *item)
{
    item->kind = (enum weir_item_kind)frame->type;
    if (frame->type == WEIR_FRAME_WATERMARK)
        item->watermark_ms = (int64_t)weir_get_u64(frame->payload);
    if (frame->type == WEIR_FRAME_BARRIER) {
        item->barrier.checkpoint = weir_get_u64(frame->payload);
        item->barrier.complete = weir_get_u64(frame->payload + 16);
        item->barrier.flags = weir_get_u32(frame->payload + 24);
        item->barrier.due_ns = weir_clock_mono_ns() + (int64_t)weir_get_u32(frame->payload + 28) * 1000000;
        uint64_t sent = weir_get_u64(frame->payload + 8);
        if (item->barrier.checkpoint > item->barrier.complete && sent == port->chan->batches_pushed)
            return true;
        weir_io_break_port(io, port,
                           "the barrier of checkpoint %llu from executor %s follows %llu batches, %llu have come",
                           (unsigned long long)item->barrier.checkpoint, port->peer->id, (unsigned long long)sent,
                           (unsigned long long)port->chan->batches_pushed);
        return false;
    }
    if (frame->type != WEIR_FRAME_BATCH)
        return true;
    struct weir_error error;
    if (weir_batch_wire_decode(port->schema, owner, frame->payload, frame->length, &item->batch, &error)) {
        weir_io_break_port(io, port, "a batch from executor %s is malformed: %s", port->peer->id, error.message);
        return false;
    }
    if (item->batch->row_count > 0)
        return true;
    weir_batch_unref(item->batch);
    weir_io_break_port(io, port, "a batch from executor %s has no rows", port->peer->id);
    return false;
}

static void take_data(struct weir_io *io, const struct weir_frame *frame, struct weir_io_conn *conn,
                      struct weir_buffer *owner)
{
    struct weir_io_port *port = (struct weir_io_port *)(void *)weir_io_table_find(&io->ins, frame->channel);
    if (!port || frame->attempt < port->producer_attempt) {
        weir_io_count(&io->frames_late, 1); /* of a task or an attempt that is over */
        return;
    }
    if (frame->attempt != port->producer_attempt || port->conn != conn) {
        weir_io_break_port(io, port,
                           "executor %s sends on the channel as attempt %u, expected is attempt %u of executor %s",
                           conn->executor_id, frame->attempt, port->producer_attempt, port->peer->id);
        return;
    }
    if (frame->seq != port->seq + 1) {
        weir_io_break_port(io, port, "frame %llu from executor %s follows frame %llu: %s",
                           (unsigned long long)frame->seq, conn->executor_id, (unsigned long long)port->seq,
                           frame->seq > port->seq ? "frames are lost" : "a frame came twice");
        return;
    }
    struct weir_channel *chan = port->chan;
    bool batch = frame->type == WEIR_FRAME_BATCH;
    if (batch ? !weir_channel_has_batch_room(chan)
              : !weir_channel_has_item_room(chan, (enum weir_item_kind)frame->type)) {
        weir_io_break_port(io, port, "executor %s sent more than its credit", conn->executor_id);
        return;
    }
    struct weir_item item = {.kind = WEIR_ITEM_NONE};
    if (!make_item(io, port, frame, owner, &item))
        return;
    port->seq++;
    weir_channel_push(chan, &item);
    if (item.kind == WEIR_ITEM_END)
        weir_io_port_done(io, port);
}

static const char *take_frame(struct weir_io *io, const struct weir_frame *frame, struct weir_io_conn **conn,
                              const void *routing_id, size_t routing_id_size, struct weir_buffer *owner)
{
    if (frame->type == WEIR_FRAME_HELLO) {
        const char *why = take_hello(io, frame, routing_id, routing_id_size);
        *conn = find_conn(io, routing_id, routing_id_size);
        return why;
    }
    if (!*conn)
        return "data before HELLO";
    if (frame->job != io->job)
        return "a frame of another job";
    switch (frame->type) {
    case WEIR_FRAME_OPEN:
        return take_open(io, frame, *conn);
    case WEIR_FRAME_BATCH:
    case WEIR_FRAME_WATERMARK:
    case WEIR_FRAME_BARRIER:
    case WEIR_FRAME_IDLE:
    case WEIR_FRAME_ACTIVE:
    case WEIR_FRAME_END:
        take_data(io, frame, *conn, owner);
        return NULL;
    case WEIR_FRAME_HELLO:
    case WEIR_FRAME_HELLO_ACK:
    case WEIR_FRAME_CREDIT:
        break;
    }
    return "a frame that goes the other way";
}

static void drop(struct weir_io *io, struct weir_io_conn *conn, size_t size, const char *why)
{
    static struct weir_log_gate gate;
    unsigned long long left_out;
    weir_io_count(&io->messages_bad, 1);
    if (weir_log_gate_pass(&gate, &left_out))
        weir_log(WARN, "a data message of %zu bytes from %s was dropped, and %llu more: %s", size,
                 conn ? conn->executor_id : "a stranger", left_out, why);
    if (conn)
        break_conn(io, conn, why);
}

static void take_message(struct weir_io *io, const void *routing_id, size_t routing_id_size, zmq_msg_t *message)
{
    size_t size = zmq_msg_size(message), at = 0, used = 0;
    struct weir_io_conn *conn = find_conn(io, routing_id, routing_id_size);
    if (!conn && size > STRANGER_SIZE_MAX) {
        drop(io, NULL, size, "data before HELLO");
        return;
    }
    /* Copied once, so that every array lies aligned in memory that batches can share. */
    struct weir_buffer *owner = weir_buffer_new(size ? size : 1);
    memcpy(owner->bytes, zmq_msg_data(message), size);
    const char *why = size == 0 ? "an empty message" : NULL;
    struct weir_error error;
    while (at < size && !why && !(conn && conn->gone)) {
        struct weir_frame frame;
        if (weir_frame_decode(owner->bytes + at, size - at, &frame, &used, &error))
            why = error.message;
        else
            why = take_frame(io, &frame, &conn, routing_id, routing_id_size, owner);
        at += used;
    }
    weir_buffer_unref(owner);
    if (!why)
        return;
    drop(io, conn, size, why);
}

bool weir_io_receive(struct weir_io *io)
{
    bool any = false;
    sweep(io);
    for (int i = 0; i < RECEIVE_BURST; i++) {
        zmq_msg_t id, message;
        zmq_msg_init(&id);
        if (weir_zmq_msg_recv(&id, io->router, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&id);
            break;
        }
        any = true;
        int parts = 1;
        bool more = zmq_msg_more(&id);
        zmq_msg_init(&message);
        while (more) {
            zmq_msg_close(&message);
            zmq_msg_init(&message);
            if (weir_zmq_msg_recv(&message, io->router, 0) < 0)
                break;
            parts++;
            more = zmq_msg_more(&message);
        }
        size_t id_size = zmq_msg_size(&id);
        if (parts == 2 && id_size > 0 && id_size <= WEIR_IO_ROUTING_ID_SIZE) {
            weir_io_count(&io->messages_in, 1);
            weir_io_count(&io->bytes_in, zmq_msg_size(&message));
            take_message(io, zmq_msg_data(&id), id_size, &message);
        } else {
            weir_io_count(&io->messages_bad, 1);
        }
        zmq_msg_close(&message);
        zmq_msg_close(&id);
    }
    return any;
}

void weir_io_receive_fini(struct weir_io *io)
{
    for (size_t b = 0; b < io->opens.bucket_count; b++)
        for (struct weir_io_link *link = io->opens.buckets[b], *next; link; link = next) {
            next = link->next;
            free(link);
        }
    for (int i = 0; i < io->conn_count; i++)
        free(io->conns[i]);
    free(io->conns);
}
