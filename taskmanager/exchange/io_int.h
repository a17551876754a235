/* Shared by the io_*.c files only. Everything here belongs to the I/O thread, except where it says otherwise. */
#ifndef WEIR_EXCHANGE_IO_INT_H
#define WEIR_EXCHANGE_IO_INT_H

#include <pthread.h>

#include "base/mem.h"
#include "exchange/io_thread.h"
#include "net/curve.h"
#include "net/frame.h"
#include "net/zap.h"
#include "net/zmq_calls.h"

#define WEIR_IO_ID_SIZE 33 /* executor id as text */
#define WEIR_IO_ROUTING_ID_SIZE 64
#define WEIR_IO_CONNECTIONS_MAX 4096
#define WEIR_IO_OPENS_MAX (1 << 20)              /* OPEN frames waiting for their consumer's deployment */
#define WEIR_IO_MESSAGE_SIZE ((size_t)128 << 10) /* frames are joined up to this */
#define WEIR_IO_MESSAGE_MAX ((int64_t)WEIR_FRAME_PAYLOAD_MAX + 4096)

/* --- A table of things by channel id */
struct weir_io_link {
    uint64_t key;
    struct weir_io_link *next;
};
struct weir_io_table {
    struct weir_io_link **buckets;
    size_t bucket_count, count;
};
struct weir_io_link *weir_io_table_find(const struct weir_io_table *table, uint64_t key);
void weir_io_table_add(struct weir_io_table *table, struct weir_io_link *link);
void weir_io_table_remove(struct weir_io_table *table, struct weir_io_link *link);

/* --- Buffers of outgoing messages: given back by ZeroMQ's thread */
struct weir_io_buffer {
    struct weir_io_buffer *next;
    struct weir_io_pool *pool;
    size_t capacity;
    _Atomic int handed; /* orders what the I/O thread wrote before what ZeroMQ's thread does on giving it back */
    _Alignas(16) uint8_t bytes[];
};
struct weir_io_pool {
    struct weir_io_buffer *_Atomic given_back;
    _Atomic int idle_count;
    struct weir_io_buffer *idle;
};

enum weir_io_peer_state { WEIR_IO_PEER_CONNECTING, WEIR_IO_PEER_GREETED, WEIR_IO_PEER_READY, WEIR_IO_PEER_LOST };

struct weir_io_peer_conn { /* towards another executor: a DEALER */
    char id[WEIR_IO_ID_SIZE];
    char endpoint[256];
    enum weir_io_peer_state state;
    unsigned generation;
    bool connected; /* the transport is; HELLO can go */
    int64_t deadline_ns;
    int64_t retry_ns;    /* CONNECTING: the last try was refused, the next begins then; 0: none is due */
    const char *refused; /* why; NULL: it was not */
    bool has_key;
    uint8_t key[WEIR_CURVE_KEY_SIZE];
    void *dealer, *monitor;
    struct weir_io_buffer *out; /* frames for it; NULL: none */
    size_t out_used;
};

struct weir_io_conn { /* from another executor: a routing id of the ROUTER */
    uint8_t routing_id[WEIR_IO_ROUTING_ID_SIZE];
    size_t routing_id_size;
    char executor_id[WEIR_IO_ID_SIZE];
    bool gone; /* replaced or unreachable */
};

struct weir_io_port {         /* a channel's end here */
    struct weir_io_link link; /* first; key: channel id */
    bool out;
    bool done;    /* its end was sent or received, or it is broken: out of the table */
    bool removed; /* by the control thread */
    bool opened;  /* out: OPEN was sent */
    struct weir_channel *chan;
    struct weir_schema *schema;
    uint32_t producer_attempt, consumer_attempt;
    uint64_t seq;          /* last one sent or received */
    uint64_t batches_sent; /* said with barriers */
    struct weir_io_peer_conn *peer;
    struct weir_io_conn *conn;            /* in: where its credits go; NULL: no OPEN yet */
    struct weir_io_port *next, *previous; /* all ports */
};

struct weir_io_open { /* an OPEN before its consumer */
    struct weir_io_link link;
    uint32_t producer_attempt, consumer_attempt;
    struct weir_io_conn *conn;
};

enum weir_io_command_kind { WEIR_IO_ADD, WEIR_IO_REMOVE };
struct weir_io_command {
    enum weir_io_command_kind kind;
    struct weir_io_port *port; /* ADD */
    char peer_id[WEIR_IO_ID_SIZE];
    char peer_endpoint[256];
    bool peer_has_key;
    uint8_t peer_key[WEIR_CURVE_KEY_SIZE];
    struct weir_channel *chan; /* REMOVE */
    bool drain;
    struct weir_io_command *next;
};

struct weir_io {
    char id[WEIR_IO_ID_SIZE];
    uint64_t job;
    char endpoint[256];
    int64_t connect_timeout_ns;
    bool with_keys;
    struct weir_curve_pair keys;
    struct weir_zap *zap;
    void *context, *router;
    struct weir_waker waker;
    struct weir_inbox *inbox; /* channels with something for the I/O thread */
    struct weir_io_port *ports;
    struct weir_io_table outs, ins, opens;
    struct weir_io_peer_conn **peers;
    int peer_count;
    struct weir_io_conn **conns;
    int conn_count;
    bool conns_gone; /* some are to be freed */
    struct weir_io_pool pool;
    zmq_pollitem_t *polled;
    int polled_count;

    pthread_t thread;
    pthread_mutex_t lock; /* of the two below */
    struct weir_io_command *first_command, *last_command;
    bool stop;
    _Atomic int commands_waiting;

    _Atomic uint64_t messages_in, messages_out, bytes_in, bytes_out, frames_late, messages_bad, channels_broken,
        strangers;
};

static inline void weir_io_count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

/* --- io_thread.c */
weir_err weir_io_socket_options(void *socket, struct weir_error *error);
void weir_io_break_port(struct weir_io *io, struct weir_io_port *port, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void weir_io_port_done(struct weir_io *io, struct weir_io_port *port);

/* --- io_send.c */
struct weir_io_peer_conn *weir_io_peer_get(struct weir_io *io, const struct weir_io_command *command);
/* Of the ZAP handler: some peer has that key. */
bool weir_io_peer_allow(void *io, const uint8_t *key, const char *address);
/* Its sockets' news: HELLO_ACK, credits, loss. True: something happened. */
bool weir_io_peer_serve(struct weir_io *io, struct weir_io_peer_conn *peer, int64_t now_ns);
void weir_io_peer_close(struct weir_io *io, struct weir_io_peer_conn *peer);
void weir_io_send_open(struct weir_io *io, struct weir_io_port *port);
/* Puts what the producer has pushed into the peer's message. */
void weir_io_drain(struct weir_io *io, struct weir_io_port *port);
void weir_io_peer_send(struct weir_io *io, struct weir_io_peer_conn *peer);
void weir_io_pool_fini(struct weir_io_pool *pool);

/* --- io_receive.c */
bool weir_io_receive(struct weir_io *io);
void weir_io_in_added(struct weir_io *io, struct weir_io_port *port);
void weir_io_grant(struct weir_io *io, struct weir_io_port *port);
void weir_io_receive_fini(struct weir_io *io);

#endif
