/* The control line between JobManager and TaskManagers: one Control (proto/control.proto) a ZeroMQ message.
 *
 * The server is a ROUTER, a client a DEALER; options are those of the reliability rules (MANDATORY, IMMEDIATE, HANDOVER off, heartbeats
 * 1 s / 3 s, handshake 5 s, size cap, LINGER 0). A client makes a new socket with a new routing id for each connection, so that
 * a half-open old one never blocks it. The transport's own events are reported: the server learns of a dead peer
 * at once by its connection's end (a monitor event, then a probe of every peer), the client of a broken line.
 *
 * One thread owns a line. Nothing blocks except weir_line_poll().
 */
#ifndef WEIR_NET_CONTROL_LINE_H
#define WEIR_NET_CONTROL_LINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "control.pb-c.h"
#include "net/curve.h"

#define WEIR_CONTROL_SIZE_MAX ((size_t)32 << 20)
#define WEIR_PEER_ID_SIZE 64 /* routing id as text, with its end */

struct weir_line;

enum weir_line_event_kind {
    WEIR_LINE_MESSAGE,      /* control is set; the receiver frees it with weir__control__free_unpacked(control, NULL) */
    WEIR_LINE_CONNECTED,    /* client: the handshake is done */
    WEIR_LINE_DISCONNECTED, /* client: the line broke; server: `peer` is gone */
    WEIR_LINE_BAD_MESSAGE,  /* server: `peer` sent something that is no Control; it was dropped */
    WEIR_LINE_REFUSED /* server: somebody was turned away, `text` says who and why; at most one in REFUSED_INTERVAL */
};
#define WEIR_LINE_TEXT_SIZE 512
struct weir_line_event {
    enum weir_line_event_kind kind;
    char peer[WEIR_PEER_ID_SIZE]; /* server only */
    Weir__Control *control;
    char text
        [WEIR_LINE_TEXT_SIZE]; /* REFUSED; client, DISCONNECTED: why the other side did not take us, "" when it simply ended */
};

/* `endpoint`: "tcp://127.0.0.1:6123" ("tcp://127.0.0.1:0": any port; a host name is resolved) or "inproc://name". `zmq_context` and
 * `curve` are borrowed. With keys (curve->on), only clients whose public key is in the file curve->allowed_path are heard; the file is
 * read anew when it changes, and a key that has left it is not heard any more, connected or not. */
weir_err weir_line_serve(void *zmq_context, const char *endpoint, const struct weir_curve *curve,
                         struct weir_line **line, struct weir_error *error);
/* The endpoint as bound, with the real port. */
const char *weir_line_endpoint(const struct weir_line *line);
/* Begins to connect (again); `id` opens the routing id. Closes an earlier connection of this line. */
weir_err weir_line_client(void *zmq_context, const char *endpoint, const char *id, const struct weir_curve *curve,
                          struct weir_line **line, struct weir_error *error);
weir_err weir_line_reconnect(struct weir_line *line, struct weir_error *error);
void weir_line_close(struct weir_line *line); /* NULL is allowed; does not block */

/* False: the peer is unreachable (server) or nothing is connected or the queue is full (client). Never blocks. */
bool weir_line_send(struct weir_line *line, const char *peer, const Weir__Control *control);

/* A file descriptor that is readable when weir_line_next() may have something. Edge-triggered as ZeroMQ's is: call
 * weir_line_next() until it returns false before waiting on it. */
int weir_line_fd(const struct weir_line *line);
int weir_line_monitor_fd(const struct weir_line *line); /* -1: none (inproc) */
int weir_line_zap_fd(const struct weir_line *line);     /* who may connect is asked here; -1: nobody asks */
bool weir_line_next(struct weir_line *line, struct weir_line_event *event);
/* Connections and messages that were turned away since the start. Any thread. */
uint64_t weir_line_refused(const struct weir_line *line);
/* When the line wants weir_line_next() called even if nothing is readable (probing peers): ms from now, -1: no need. */
int weir_line_wait_ms(const struct weir_line *line);

/* ZeroMQ's context: one for a process, for all lines and data sockets in it. Freeing waits for its sockets to be closed. */
void *weir_net_context_new(void);
void weir_net_context_free(void *context);

#endif
