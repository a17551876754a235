/* The I/O thread of an executor: owns every ZeroMQ data socket.
 *
 * One ROUTER, bound within the port range, takes data from all peers; one DEALER per peer executor sends to it and learns, by its
 * monitor, when the peer is gone. Credits for a channel go back through the ROUTER on the connection that its data came on.
 *
 *   sender's DEALER                         receiver's ROUTER
 *     HELLO (both executor ids)   ------->   checks that it is meant
 *     <-------  HELLO_ACK
 *     OPEN (channel, attempts)    ------->   kept until the consumer is deployed
 *     <-------  CREDIT (limits)              the consumer is there
 *     BATCH, WATERMARK, ... END   ------->   seq 1, 2, 3 ...
 *     <-------  CREDIT
 *
 * With keys, both ends prove theirs: a DEALER speaks only to the key that the JobManager named for that executor, the ROUTER lets in only
 * keys that it named. A peer may knock before our own deployment has come; it is refused then and knocks again until its time to connect
 * has passed.
 *
 * A gap, a repeat, a wrong checksum or a wrong attempt within a channel breaks it; a lost connection breaks every channel with that
 * peer. Frames of attempts that are over are dropped and counted. Nothing is repaired in place.
 *
 * Calls are made by the executor's control thread; none blocks except start and stop.
 */
#ifndef WEIR_EXCHANGE_IO_THREAD_H
#define WEIR_EXCHANGE_IO_THREAD_H

#include "exchange/channel.h"
#include "net/curve.h"

struct weir_io;

struct weir_io_options {
    const char *executor_id; /* 32 hex digits; strings are copied */
    const char *job_id;
    uint64_t incarnation;
    const char *host;                   /* name or address to be reached at: "127.0.0.1" */
    const char *bind_host;              /* address to bind; NULL or "": host */
    int port_first, port_last;          /* 0: any free port */
    const struct weir_curve_pair *keys; /* copied; NULL: without CURVE, every peer is believed */
    int64_t connect_timeout_ms;         /* until a peer has answered HELLO; 0: 10 s */
};
weir_err weir_io_start(const struct weir_io_options *options, struct weir_io **io, struct weir_error *error);
const char *weir_io_endpoint(const struct weir_io *io); /* "tcp://HOST:PORT" */
/* Ends the thread and its sockets; what was not sent is lost. */
void weir_io_stop(struct weir_io *io);

struct weir_io_peer {
    const char *executor_id;
    const char *endpoint;
    const uint8_t *public_key; /* WEIR_CURVE_KEY_SIZE bytes, copied; NULL: none is known */
};
/* A sending channel (remote_out): sets its consumer. Takes a reference of its own. */
void weir_io_add_out(struct weir_io *io, struct weir_channel *chan, uint32_t producer_attempt,
                     uint32_t consumer_attempt, const struct weir_io_peer *peer);
/* A receiving channel (remote_in) whose consumer is set; opens it and sets its granter. */
void weir_io_add_in(struct weir_io *io, struct weir_channel *chan, uint32_t producer_attempt, uint32_t consumer_attempt,
                    struct weir_schema *schema, const struct weir_io_peer *peer);
/* The task at this end is over and touches the channel no more. `drain`: what it pushed is still sent. Takes over the
 * caller's reference. */
void weir_io_remove(struct weir_io *io, struct weir_channel *take_chan, bool drain);

struct weir_io_counters {
    uint64_t messages_in, messages_out, bytes_in, bytes_out;
    uint64_t frames_late;  /* of channels and attempts that are over */
    uint64_t messages_bad; /* strangers, bytes that are no frames */
    uint64_t channels_broken;
    uint64_t strangers; /* connections with keys that were not (yet) known */
};
void weir_io_read_counters(struct weir_io *io, struct weir_io_counters *counters);

#endif
