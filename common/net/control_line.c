/* See control_line.h. A dead peer is found like this: the monitor reports that some connection ended (ZeroMQ does not say whose); then every
 * known peer is probed with an empty message, which MANDATORY makes fail with EHOSTUNREACH for a peer that is gone. The router drops
 * a peer shortly after the event, so probing is repeated a few times. Clients ignore empty messages.
 */
#include "net/control_line.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/unpack.h"
#include "net/zmq_calls.h"

#define PEERS_MAX 4096
#define PROBES 8
#define PROBE_INTERVAL_MS 10
#define QUEUE_MESSAGES_MAX 1000

/* Within one process a message's bytes change threads by libzmq's own synchronisation, which ThreadSanitizer does not see: libzmq is built
 * without it. */
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#define handed_over(message) __tsan_release(zmq_msg_data(message))
#define taken_over(message) __tsan_acquire(zmq_msg_data(message))
#else
#define handed_over(message) ((void)(message))
#define taken_over(message) ((void)(message))
#endif

struct peer {
    char id[WEIR_PEER_ID_SIZE];
};

struct weir_line {
    void *context;
    void *socket;
    void *monitor; /* PAIR, or NULL for inproc */
    bool server;
    char endpoint[256];
    char id[WEIR_PEER_ID_SIZE / 2]; /* client: opens the routing id */
    unsigned connection;            /* client: counts connections */
    bool announced;                 /* client, inproc: CONNECTED was reported */
    int probes_left;
    int64_t probe_at_ms;
    int probe_index; /* next peer to probe in this round; -1: no round is running */
    struct peer *peers;
    int peer_count;
};

static weir_err set_int(void *socket, int option, int value, struct weir_error *error)
{
    if (zmq_setsockopt(socket, option, &value, sizeof value) != 0)
        return weir_fail(error, WEIR_ERR_IO, "cannot set ZeroMQ option %d: %s", option, zmq_strerror(errno));
    return WEIR_OK;
}

static weir_err set_common_options(void *socket, struct weir_error *error)
{
    int64_t size_max = (int64_t)WEIR_CONTROL_SIZE_MAX;
    if (zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &size_max, sizeof size_max) != 0)
        return weir_fail(error, WEIR_ERR_IO, "cannot cap ZeroMQ messages: %s", zmq_strerror(errno));
    static const struct {
        int option, value;
    } options[] = {
        {ZMQ_LINGER, 0},
        {ZMQ_IMMEDIATE, 1},
        {ZMQ_HANDSHAKE_IVL, 5000},
        {ZMQ_HEARTBEAT_IVL, 1000},
        {ZMQ_HEARTBEAT_TIMEOUT, 3000},
        {ZMQ_HEARTBEAT_TTL, 3000},
        {ZMQ_SNDHWM, QUEUE_MESSAGES_MAX},
        {ZMQ_RCVHWM, QUEUE_MESSAGES_MAX},
        {ZMQ_RECONNECT_IVL, 100},
        {ZMQ_RECONNECT_IVL_MAX, 1000},
        {ZMQ_IPV6, 1},
    };
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        weir_err err = set_int(socket, options[i].option, options[i].value, error);
        if (err)
            return err;
    }
    return WEIR_OK;
}

static weir_err open_monitor(struct weir_line *line, int events, struct weir_error *error)
{
    if (strncmp(line->endpoint, "inproc:", 7) == 0)
        return WEIR_OK;
    char address[64];
    snprintf(address, sizeof address, "inproc://monitor-%p-%u", (void *)line, line->connection);
    if (weir_zmq_socket_monitor(line->socket, address, events) != 0)
        return weir_fail(error, WEIR_ERR_IO, "cannot watch the control socket: %s", zmq_strerror(errno));
    line->monitor = zmq_socket(line->context, ZMQ_PAIR);
    if (!line->monitor || weir_zmq_connect(line->monitor, address) != 0)
        return weir_fail(error, WEIR_ERR_IO, "cannot watch the control socket: %s", zmq_strerror(errno));
    return WEIR_OK;
}

static void close_sockets(struct weir_line *line)
{
    if (line->socket) {
        if (line->monitor)
            weir_zmq_socket_monitor(line->socket, NULL, 0);
        int zero = 0;
        zmq_setsockopt(line->socket, ZMQ_LINGER, &zero, sizeof zero);
        zmq_close(line->socket);
    }
    if (line->monitor)
        zmq_close(line->monitor);
    line->socket = line->monitor = NULL;
}

weir_err weir_line_serve(void *zmq_context, const char *endpoint, struct weir_line **out, struct weir_error *error)
{
    struct weir_line *line = weir_zalloc(sizeof *line);
    line->context = zmq_context;
    line->server = true;
    line->probe_index = -1;
    line->peers = weir_zalloc(PEERS_MAX * sizeof *line->peers);
    snprintf(line->endpoint, sizeof line->endpoint, "%s", endpoint);
    line->socket = zmq_socket(zmq_context, ZMQ_ROUTER);
    weir_err err =
        line->socket ? WEIR_OK : weir_fail(error, WEIR_ERR_IO, "cannot make a ZeroMQ socket: %s", zmq_strerror(errno));
    if (!err)
        err = set_common_options(line->socket, error);
    if (!err)
        err = set_int(line->socket, ZMQ_ROUTER_MANDATORY, 1, error);
    if (!err)
        err = open_monitor(line, ZMQ_EVENT_DISCONNECTED, error);
    if (!err && weir_zmq_bind(line->socket, endpoint) != 0)
        err = weir_fail(error, WEIR_ERR_IO,
                        "cannot listen on %s: %s (is another JobManager running? choose another jobmanager.rpc.port)",
                        endpoint, zmq_strerror(errno));
    size_t size = sizeof line->endpoint;
    if (!err && zmq_getsockopt(line->socket, ZMQ_LAST_ENDPOINT, line->endpoint, &size) != 0)
        err = weir_fail(error, WEIR_ERR_IO, "cannot read back the endpoint: %s", zmq_strerror(errno));
    if (err) {
        weir_line_close(line);
        return err;
    }
    *out = line;
    return WEIR_OK;
}

const char *weir_line_endpoint(const struct weir_line *line)
{
    return line->endpoint;
}

weir_err weir_line_client(void *zmq_context, const char *endpoint, const char *id, struct weir_line **out,
                          struct weir_error *error)
{
    struct weir_line *line = weir_zalloc(sizeof *line);
    line->context = zmq_context;
    line->probe_index = -1;
    snprintf(line->endpoint, sizeof line->endpoint, "%s", endpoint);
    snprintf(line->id, sizeof line->id, "%s", id);
    weir_err err = weir_line_reconnect(line, error);
    if (err) {
        weir_line_close(line);
        return err;
    }
    *out = line;
    return WEIR_OK;
}

weir_err weir_line_reconnect(struct weir_line *line, struct weir_error *error)
{
    weir_assert(!line->server);
    close_sockets(line);
    line->connection++;
    line->announced = false;
    line->socket = zmq_socket(line->context, ZMQ_DEALER);
    if (!line->socket)
        return weir_fail(error, WEIR_ERR_IO, "cannot make a ZeroMQ socket: %s", zmq_strerror(errno));
    weir_err err = set_common_options(line->socket, error);
    if (err)
        return err;
    char routing_id[WEIR_PEER_ID_SIZE];
    int size = snprintf(routing_id, sizeof routing_id, "%s#%u", line->id, line->connection);
    if (zmq_setsockopt(line->socket, ZMQ_ROUTING_ID, routing_id, (size_t)size) != 0)
        return weir_fail(error, WEIR_ERR_IO, "cannot name the control socket: %s", zmq_strerror(errno));
    err = open_monitor(line, ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED, error);
    if (err)
        return err;
    if (weir_zmq_connect(line->socket, line->endpoint) != 0)
        return weir_fail(error, WEIR_ERR_IO, "cannot connect to %s: %s", line->endpoint, zmq_strerror(errno));
    return WEIR_OK;
}

void weir_line_close(struct weir_line *line)
{
    if (!line)
        return;
    close_sockets(line);
    free(line->peers);
    free(line);
}

bool weir_line_send(struct weir_line *line, const char *peer, const Weir__Control *control)
{
    size_t size = weir__control__get_packed_size(control);
    weir_assert(size <= WEIR_CONTROL_SIZE_MAX);
    zmq_msg_t message;
    if (zmq_msg_init_size(&message, size) != 0)
        return false;
    weir__control__pack(control, zmq_msg_data(&message));
    handed_over(&message);
    if (line->server && weir_zmq_send(line->socket, peer, strlen(peer), ZMQ_DONTWAIT | ZMQ_SNDMORE) < 0) {
        zmq_msg_close(&message);
        return false;
    }
    if (weir_zmq_msg_send(&message, line->socket, ZMQ_DONTWAIT) < 0) {
        zmq_msg_close(&message);
        return false;
    }
    return true;
}

static int socket_fd(void *socket)
{
    int fd = -1;
    size_t size = sizeof fd;
    if (!socket || zmq_getsockopt(socket, ZMQ_FD, &fd, &size) != 0)
        return -1;
    return fd;
}

int weir_line_fd(const struct weir_line *line)
{
    return socket_fd(line->socket);
}

int weir_line_monitor_fd(const struct weir_line *line)
{
    return socket_fd(line->monitor);
}

int weir_line_wait_ms(const struct weir_line *line)
{
    if (line->probe_index >= 0)
        return 0;
    if (line->probes_left == 0)
        return -1;
    int64_t wait_ms = line->probe_at_ms - weir_clock_mono_ms();
    return wait_ms > 0 ? (int)wait_ms : 0;
}

/* --- Peers of a server */

static void remember_peer(struct weir_line *line, const char *id)
{
    for (int i = 0; i < line->peer_count; i++)
        if (strcmp(line->peers[i].id, id) == 0)
            return;
    if (line->peer_count < PEERS_MAX)
        snprintf(line->peers[line->peer_count++].id, WEIR_PEER_ID_SIZE, "%s", id);
}

/* Probes the next peers of a round; true when one is gone (event is filled). */
static bool probe_next(struct weir_line *line, struct weir_line_event *event)
{
    if (line->probe_index < 0) {
        if (line->probes_left == 0 || weir_clock_mono_ms() < line->probe_at_ms)
            return false;
        line->probes_left--;
        line->probe_at_ms = weir_clock_mono_ms() + PROBE_INTERVAL_MS;
        line->probe_index = 0;
    }
    while (line->probe_index < line->peer_count) {
        struct peer *peer = &line->peers[line->probe_index];
        bool gone = weir_zmq_send(line->socket, peer->id, strlen(peer->id), ZMQ_DONTWAIT | ZMQ_SNDMORE) < 0 &&
                    errno == EHOSTUNREACH;
        if (!gone) {
            weir_zmq_send(line->socket, "", 0, ZMQ_DONTWAIT);
            line->probe_index++;
            continue;
        }
        event->kind = WEIR_LINE_DISCONNECTED;
        memcpy(event->peer, peer->id, sizeof event->peer);
        *peer = line->peers[--line->peer_count];
        return true;
    }
    line->probe_index = -1;
    return false;
}

/* --- Receiving */

static bool next_monitor_event(struct weir_line *line, struct weir_line_event *event)
{
    for (;;) {
        zmq_msg_t message;
        zmq_msg_init(&message);
        if (weir_zmq_msg_recv(&message, line->monitor, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&message);
            return false;
        }
        uint16_t kind = 0;
        if (zmq_msg_size(&message) >= sizeof kind)
            memcpy(&kind, zmq_msg_data(&message), sizeof kind);
        bool more = zmq_msg_more(&message);
        zmq_msg_close(&message);
        while (more) { /* the address, unused */
            zmq_msg_init(&message);
            if (weir_zmq_msg_recv(&message, line->monitor, 0) < 0) {
                zmq_msg_close(&message);
                return false;
            }
            more = zmq_msg_more(&message);
            zmq_msg_close(&message);
        }
        if (line->server) {
            if (kind == ZMQ_EVENT_DISCONNECTED) {
                line->probes_left = PROBES;
                line->probe_at_ms = weir_clock_mono_ms();
            }
            continue;
        }
        event->kind = kind == ZMQ_EVENT_DISCONNECTED ? WEIR_LINE_DISCONNECTED : WEIR_LINE_CONNECTED;
        return true;
    }
}

/* Reads the parts of one message: [peer] payload. False: nothing there. */
static bool receive(struct weir_line *line, struct weir_line_event *event, zmq_msg_t *payload, bool *well_formed)
{
    zmq_msg_init(payload);
    if (weir_zmq_msg_recv(payload, line->socket, ZMQ_DONTWAIT) < 0)
        return false;
    *well_formed = true;
    if (line->server) {
        size_t size = zmq_msg_size(payload);
        *well_formed = size > 0 && size < WEIR_PEER_ID_SIZE && !memchr(zmq_msg_data(payload), 0, size);
        if (*well_formed) {
            memcpy(event->peer, zmq_msg_data(payload), size);
            event->peer[size] = 0;
        } else {
            snprintf(event->peer, sizeof event->peer, "?");
        }
        if (!zmq_msg_more(payload)) {
            *well_formed = false;
            return true;
        }
        zmq_msg_close(payload);
        zmq_msg_init(payload);
        if (weir_zmq_msg_recv(payload, line->socket, 0) < 0)
            return false;
    }
    bool more = zmq_msg_more(payload);
    while (more) { /* too many parts: a stranger */
        *well_formed = false;
        zmq_msg_t rest;
        zmq_msg_init(&rest);
        more = weir_zmq_msg_recv(&rest, line->socket, 0) >= 0 && zmq_msg_more(&rest);
        zmq_msg_close(&rest);
    }
    return true;
}

bool weir_line_next(struct weir_line *line, struct weir_line_event *event)
{
    memset(event, 0, sizeof *event);
    if (!line->socket)
        return false;
    if (!line->server && !line->monitor && !line->announced) {
        line->announced = true;
        event->kind = WEIR_LINE_CONNECTED;
        return true;
    }
    if (line->monitor && next_monitor_event(line, event))
        return true;
    for (;;) {
        zmq_msg_t payload;
        bool well_formed;
        if (!receive(line, event, &payload, &well_formed)) {
            zmq_msg_close(&payload);
            break;
        }
        taken_over(&payload);
        size_t size = zmq_msg_size(&payload);
        if (well_formed && size == 0) { /* a probe */
            zmq_msg_close(&payload);
            continue;
        }
        Weir__Control *control = well_formed && size <= WEIR_CONTROL_SIZE_MAX
                                     ? (Weir__Control *)weir_unpack(&weir__control__descriptor,
                                                                    zmq_msg_data(&payload), size, NULL)
                                     : NULL;
        zmq_msg_close(&payload);
        event->kind = control ? WEIR_LINE_MESSAGE : WEIR_LINE_BAD_MESSAGE;
        event->control = control;
        if (line->server && control)
            remember_peer(line, event->peer);
        return true;
    }
    return line->server && probe_next(line, event);
}
