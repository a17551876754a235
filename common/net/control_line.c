/* See control_line.h. A dead peer is found like this: the monitor reports that some connection ended (ZeroMQ does not say whose); then every
 * known peer is probed with an empty message, which MANDATORY makes fail with EHOSTUNREACH for a peer that is gone. The router drops
 * a peer shortly after the event, so probing is repeated a few times. Clients ignore empty messages.
 */
#include "net/control_line.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/unpack.h"
#include "base/secret.h"
#include "net/address.h"
#include "net/zap.h"
#include "net/zmq_calls.h"

#define PEERS_MAX 4096
#define PROBES 8
#define PROBE_INTERVAL_MS 10
#define QUEUE_MESSAGES_MAX 1000
#define CONNECT_TIMEOUT_MS \
    2000 /* of one attempt: after a cut network came back the system's own would wait for minutes */
#define REFUSED_INTERVAL_MS 5000 /* between two reports of strangers */

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

/* Reported apart, so that noise from strangers does not hide a TaskManager that somebody wonders about. */
enum refusal { REFUSED_KEY, REFUSED_STRANGER, REFUSALS };

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
    const struct weir_curve *curve; /* NULL: no keys */
    struct weir_zap *zap;           /* server with keys */
    struct weir_curve_list *allowed;
    struct refusals {
        uint64_t count; /* since the last report */
        int64_t due_ms; /* when the next may be made */
        char text[WEIR_LINE_TEXT_SIZE - 64];
    } refusals[REFUSALS];
    _Atomic uint64_t refused; /* all since the start */
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
        {ZMQ_CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS},
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

/* --- Who may connect */

static void refuse(struct weir_line *line, enum refusal refusal, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void refuse(struct weir_line *line, enum refusal refusal, const char *format, ...)
{
    struct refusals *refusals = &line->refusals[refusal];
    va_list args;
    va_start(args, format);
    vsnprintf(refusals->text, sizeof refusals->text, format, args);
    va_end(args);
    refusals->count++;
    line->refused++;
}

uint64_t weir_line_refused(const struct weir_line *line)
{
    return line->refused;
}

static bool allow(void *arg, const uint8_t *key, const char *address)
{
    struct weir_line *line = arg;
    if (weir_curve_list_has(line->allowed, key, NULL))
        return true;
    char hex[WEIR_CURVE_HEX_SIZE];
    weir_hex_encode(key, WEIR_CURVE_KEY_SIZE, hex);
    refuse(line, REFUSED_KEY, "refused a TaskManager at %s: its public key %s is not in %s", address, hex,
           line->curve->allowed_path);
    return false;
}

static weir_err serve_with_keys(struct weir_line *line, struct weir_error *error)
{
    weir_err err = weir_curve_list_open("security.curve.taskmanager-public-keys-file", line->curve->allowed_path,
                                        &line->allowed, error);
    if (!err)
        err = weir_zap_open(line->context, allow, line, &line->zap, error);
    return err ? err : weir_curve_server(line->socket, &line->curve->own, error);
}

/* Whether a message's sender is still in the list: its key may have been removed since it connected. */
static bool is_still_allowed(struct weir_line *line, zmq_msg_t *message)
{
    if (!line->allowed)
        return true;
    uint8_t key[WEIR_CURVE_KEY_SIZE];
    const char *user = zmq_msg_gets(message, "User-Id");
    if (user && weir_hex_decode(user, sizeof key, key) && weir_curve_list_has(line->allowed, key, NULL))
        return true;
    refuse(line, REFUSED_KEY, "what a connected TaskManager sends is dropped: its public key %s was removed from %s",
           user ? user : "", line->curve->allowed_path);
    return false;
}

/* Strangers may come by the thousand: one report for all since the last. */
static bool report_refused(struct weir_line *line, struct weir_line_event *event)
{
    int64_t now_ms = weir_clock_mono_ms();
    struct refusals *refusals = line->refusals;
    while (refusals < line->refusals + REFUSALS && (refusals->count == 0 || now_ms < refusals->due_ms))
        refusals++;
    if (refusals == line->refusals + REFUSALS)
        return false;
    event->kind = WEIR_LINE_REFUSED;
    int used = snprintf(event->text, sizeof event->text, "%s", refusals->text);
    if (refusals->count > 1 && used > 0 && (size_t)used < sizeof event->text)
        snprintf(event->text + used, sizeof event->text - (size_t)used, " (the last of %llu)",
                 (unsigned long long)refusals->count);
    refusals->count = 0;
    refusals->due_ms = now_ms + REFUSED_INTERVAL_MS;
    return true;
}

weir_err weir_line_serve(void *zmq_context, const char *endpoint, const struct weir_curve *curve,
                         struct weir_line **out, struct weir_error *error)
{
    struct weir_line *line = weir_zalloc(sizeof *line);
    line->context = zmq_context;
    line->curve = curve && curve->on ? curve : NULL;
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
    if (!err && line->curve)
        err = serve_with_keys(line, error);
    if (!err)
        err = open_monitor(line, ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL, error);
    char bindable[256];
    if (!err)
        err = weir_bind_endpoint(endpoint, bindable, error);
    if (!err && weir_zmq_bind(line->socket, bindable) != 0)
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

weir_err weir_line_client(void *zmq_context, const char *endpoint, const char *id, const struct weir_curve *curve,
                          struct weir_line **out, struct weir_error *error)
{
    struct weir_line *line = weir_zalloc(sizeof *line);
    line->context = zmq_context;
    line->curve = curve && curve->on ? curve : NULL;
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
    if (line->curve)
        err = weir_curve_client(line->socket, &line->curve->own, line->curve->server_key, error);
    if (!err)
        err = open_monitor(line,
                           ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH |
                               ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL,
                           error);
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
    weir_zap_close(line->zap);
    weir_curve_list_free(line->allowed);
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
    bool sent = weir_zmq_msg_send(&message, line->socket, ZMQ_DONTWAIT) >= 0;
    if (!sent && errno == EAGAIN && !line->server) {
        /* A send looks for news of the connection only now and then: that it is there may have been said by the monitor first. Asking for
         * events looks in any case. */
        int events;
        size_t events_size = sizeof events;
        sent = zmq_getsockopt(line->socket, ZMQ_EVENTS, &events, &events_size) == 0 && (events & ZMQ_POLLOUT) &&
               weir_zmq_msg_send(&message, line->socket, ZMQ_DONTWAIT) >= 0;
    }
    if (!sent)
        zmq_msg_close(&message);
    return sent;
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

int weir_line_zap_fd(const struct weir_line *line)
{
    return line->zap ? socket_fd(weir_zap_socket(line->zap)) : -1;
}

int weir_line_wait_ms(const struct weir_line *line)
{
    if (line->probe_index >= 0)
        return 0;
    int64_t due_ms = INT64_MAX;
    if (line->probes_left > 0)
        due_ms = line->probe_at_ms;
    for (int i = 0; i < REFUSALS; i++)
        if (line->refusals[i].count > 0 && line->refusals[i].due_ms < due_ms)
            due_ms = line->refusals[i].due_ms;
    if (due_ms == INT64_MAX)
        return -1;
    int64_t wait_ms = due_ms - weir_clock_mono_ms();
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

static bool is_probing(const struct weir_line *line)
{
    return line->probe_index >= 0 || (line->probes_left > 0 && weir_clock_mono_ms() >= line->probe_at_ms);
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

/* What a failed handshake means for a TaskManager. `value`: of the monitor's event. */
static void explain_refusal(const struct weir_line *line, uint16_t kind, uint32_t value, char *text, size_t size)
{
    if (kind == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)
        snprintf(text, size,
                 "the JobManager at %s refused this TaskManager's key: add its public key to the JobManager's "
                 "security.curve.taskmanager-public-keys-file",
                 line->endpoint);
    else if (kind == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL && value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH &&
             !line->curve)
        snprintf(text, size,
                 "the JobManager at %s wants CURVE keys and this TaskManager has none: set "
                 "security.curve.taskmanager-key-file and security.curve.jobmanager-public-key-file",
                 line->endpoint);
    else if (kind == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL && value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)
        snprintf(text, size,
                 "what listens at %s has no CURVE keys and this TaskManager has: set "
                 "security.curve.jobmanager-key-file at the JobManager",
                 line->endpoint);
    else if (kind == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL)
        snprintf(text, size, "what listens at %s does not speak the JobManager's protocol (error 0x%x)", line->endpoint,
                 (unsigned)value);
    else if (line->curve)
        snprintf(text, size,
                 "the JobManager at %s ended the connection before the keys were agreed: is "
                 "security.curve.jobmanager-public-key-file its present public key?",
                 line->endpoint);
    else
        snprintf(
            text, size,
            "the connection to %s ended before anything was agreed: does the JobManager want CURVE keys, which this "
            "TaskManager has not (security.curve.taskmanager-key-file), or is that not its port?",
            line->endpoint);
}

/* Kind and value of the next event of the monitor; false: none. */
static bool read_monitor(struct weir_line *line, uint16_t *kind, uint32_t *value)
{
    zmq_msg_t message;
    zmq_msg_init(&message);
    if (weir_zmq_msg_recv(&message, line->monitor, ZMQ_DONTWAIT) < 0) {
        zmq_msg_close(&message);
        return false;
    }
    *kind = 0;
    *value = 0;
    if (zmq_msg_size(&message) >= sizeof *kind + sizeof *value) {
        memcpy(kind, zmq_msg_data(&message), sizeof *kind);
        memcpy(value, (uint8_t *)zmq_msg_data(&message) + sizeof *kind, sizeof *value);
    }
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
    return true;
}

static void take_server_event(struct weir_line *line, uint16_t kind)
{
    if (kind == ZMQ_EVENT_DISCONNECTED) {
        line->probes_left = PROBES;
        line->probe_at_ms = weir_clock_mono_ms();
    } else if (kind == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL && line->curve) {
        refuse(line, REFUSED_STRANGER,
               "turned away a connection on %s that had no CURVE keys or not the JobManager's present public key",
               line->endpoint);
    } else if (kind == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL) {
        refuse(line, REFUSED_STRANGER,
               "turned away a connection on %s that does not speak weir's protocol, or wants CURVE keys",
               line->endpoint);
    }
}

static bool next_monitor_event(struct weir_line *line, struct weir_line_event *event)
{
    uint16_t kind;
    uint32_t value;
    while (read_monitor(line, &kind, &value)) {
        if (line->server) {
            take_server_event(line, kind);
            continue;
        }
        if (kind == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
            event->kind = WEIR_LINE_CONNECTED;
            return true;
        }
        event->kind = WEIR_LINE_DISCONNECTED;
        if (kind != ZMQ_EVENT_DISCONNECTED)
            explain_refusal(line, kind, value, event->text, sizeof event->text);
        return true;
    }
    return false;
}

/* What our own clients call themselves. Others' names would get into logs as they are. */
static bool is_plain(const uint8_t *id, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (id[i] < 0x20 || id[i] > 0x7e)
            return false;
    return true;
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
        *well_formed = size > 0 && size < WEIR_PEER_ID_SIZE && is_plain(zmq_msg_data(payload), size);
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

/* Messages that are there; false: none (any more). */
static bool next_message(struct weir_line *line, struct weir_line_event *event)
{
    for (;;) {
        zmq_msg_t payload;
        bool well_formed;
        if (!receive(line, event, &payload, &well_formed)) {
            zmq_msg_close(&payload);
            return false;
        }
        taken_over(&payload);
        size_t size = zmq_msg_size(&payload);
        if (!is_still_allowed(line, &payload)) {
            zmq_msg_close(&payload);
            continue;
        }
        if (well_formed && size == 0) { /* a probe */
            zmq_msg_close(&payload);
            continue;
        }
        Weir__Control *control =
            well_formed && size <= WEIR_CONTROL_SIZE_MAX
                ? (Weir__Control *)weir_unpack(&weir__control__descriptor, zmq_msg_data(&payload), size, NULL)
                : NULL;
        zmq_msg_close(&payload);
        event->kind = control ? WEIR_LINE_MESSAGE : WEIR_LINE_BAD_MESSAGE;
        event->control = control;
        if (line->server && control)
            remember_peer(line, event->peer);
        return true;
    }
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
    if (line->zap)
        weir_zap_serve(line->zap);
    if (line->monitor && next_monitor_event(line, event))
        return true;
    if (report_refused(line, event))
        return true;
    if (next_message(line, event))
        return true;
    if (!line->server || !is_probing(line))
        return false;
    /* A probe is a send, and that may take notice of a message which the descriptor does not show again. */
    return probe_next(line, event) || next_message(line, event);
}

void *weir_net_context_new(void)
{
    return zmq_ctx_new();
}

void weir_net_context_free(void *context)
{
    zmq_ctx_term(context);
}
