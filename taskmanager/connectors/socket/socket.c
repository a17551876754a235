/* socket: lines from a TCP server.
 *
 * The socket is non-blocking; an epoll fd that outlives reconnects is what the worker waits on. States:
 *     RESOLVING -> CONNECTING
 *     CONNECTING -> [HEARING -> [ASKED ->]] OPEN -> (orderly end by the server) ENDED, or with on-close = reconnect WAITING
 *     CONNECTING, HEARING, ASKED, OPEN -> (error) WAITING -> CONNECTING ... ; after reconnect.attempts failures in a row the source fails.
 * A line that a broken connection cut off is given as it is: it is a bad record, counted, never dropped in silence. What the
 * server sent into a broken connection and we did not get is the server's to send again; a warning says when that happened.
 *
 * Replay: a server that keeps its lines says so by one urgent byte before the first (readers that do not know it never see it): HEARING waits for
 * that or for a line. Such a server is asked for an offset, and answers "#offset OFFSET LOG", the bytes from there, and "#end OFFSET LOG" when
 * no more will come (examples/gpu-temperature/feed.h has the whole of it). From then on `position` is the log's offset, it is what a snapshot
 * says ("LOG OFFSET"), and every further connection goes on there: nothing is lost or said twice. An end without "#end" is a broken connection.
 *
 * The name is resolved once, when the reader opens, by the pool: a resolver may take half a minute.
 */
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "connectors/connectors_int.h"

#define CHUNK_SIZE ((size_t)256 << 10)
#define PADDING 64

#define ANSWER_SIZE_MAX 400
#define ANSWER_BYTES 16384 /* looked at in one call */
#define ANSWER_MS 10000    /* so long an answer to our question may take */
#define LOG_SIZE 40

enum state { RESOLVING, WAITING, CONNECTING, HEARING, ASKED, OPEN, CUT, ENDED };
enum replay { REPLAY_OFF, REPLAY_AUTO, REPLAY_REQUIRED };

struct resolve { /* owned by the call */
    char *host, *port;
    struct addrinfo *addresses;
};

struct weir_reader {
    char *peer;                  /* "host:port" for people */
    struct weir_call *resolving; /* NULL: done */
    struct resolve *resolve;     /* the call's: to be read when it has ended */
    struct addrinfo *addresses, *next_address;
    int epoll_fd, fd;
    enum state state;
    bool reconnect; /* also after an orderly end */
    int64_t attempts_max, attempts, delay_ms, retry_at_ms;
    uint8_t *bytes;
    size_t size, capacity;
    int64_t position; /* of bytes[0] in the stream; in the server's log once there is a `log` */
    enum replay replay;
    char log[LOG_SIZE]; /* what the server calls it; "": we are not replaying */
    char answer[ANSWER_SIZE_MAX];
    size_t answer_size;
    int64_t answer_by_ms;
    enum state after_cut;
    char why[256];
};

static const struct weir_option source_options[] = {
    {"hostname", WEIR_OPTION_STRING, NULL, NULL, "The server's name or address"},
    {"port", WEIR_OPTION_INT, NULL, NULL, "The server's port"},
    {"on-close", WEIR_OPTION_ENUM, "end", "end|reconnect", "When the server closes: the stream ends, or connect again"},
    {"reconnect.attempts", WEIR_OPTION_INT, "10", NULL, "Failures in a row before the source fails"},
    {"reconnect.delay", WEIR_OPTION_DURATION, "1 s", NULL, "Time between two attempts"},
    {"replay", WEIR_OPTION_ENUM, "auto", "auto|off|required",
     "Ask the server for the position of the last checkpoint: when it says that it can; never; always"},
    {0},
};

static weir_err check(const struct weir_key_value *options, int option_count, bool sink, struct weir_error *error)
{
    (void)sink;
    int64_t port = weir_options_get_int(options, option_count, source_options, "port");
    const char *host = weir_options_get(options, option_count, source_options, "hostname");
    if (port < 1 || port > 65535)
        return weir_fail(error, WEIR_ERR_INVALID, "port must be from 1 to 65535, not %lld", (long long)port);
    if (!host || !host[0])
        return weir_fail(error, WEIR_ERR_INVALID, "hostname is empty");
    if (weir_options_get_int(options, option_count, source_options, "reconnect.attempts") < 0)
        return weir_fail(error, WEIR_ERR_INVALID, "reconnect.attempts cannot be negative");
    return 0;
}

static void reader_close(struct weir_reader *reader)
{
    if (reader->fd >= 0)
        close(reader->fd);
    if (reader->epoll_fd >= 0)
        close(reader->epoll_fd);
    weir_call_free(reader->resolving);
    if (reader->addresses)
        freeaddrinfo(reader->addresses);
    free(reader->peer);
    free(reader->bytes);
    free(reader);
}

static weir_err run_resolve(void *arg, struct weir_error *error)
{
    struct resolve *name = arg;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    int failed = getaddrinfo(name->host, name->port, &hints, &name->addresses);
    if (failed)
        return weir_fail(error, WEIR_ERR_NOT_FOUND, "connector 'socket': cannot find the host '%s': %s", name->host,
                         gai_strerror(failed));
    return 0;
}

static void free_resolve(void *arg)
{
    struct resolve *name = arg;
    if (name->addresses)
        freeaddrinfo(name->addresses);
    free(name->host);
    free(name->port);
    free(name);
}

static weir_err take_addresses(struct weir_reader *reader, struct weir_error *error)
{
    weir_err err = weir_call_result(reader->resolving, error);
    reader->next_address = reader->addresses = reader->resolve->addresses;
    reader->resolve->addresses = NULL;
    weir_call_free(reader->resolving);
    reader->resolving = NULL;
    return err;
}

static weir_err reader_open(struct weir_connector_ctx *ctx, const struct weir_key_value *options, int option_count,
                            struct weir_reader **out, struct weir_error *error)
{
    const char *host = weir_options_get(options, option_count, source_options, "hostname");
    const char *port = weir_options_get(options, option_count, source_options, "port");
    const char *on_close = weir_options_get(options, option_count, source_options, "on-close");
    struct weir_reader *reader = weir_zalloc(sizeof *reader);
    reader->fd = reader->epoll_fd = -1;
    reader->peer = weir_format("%s:%s", host, port);
    reader->reconnect = on_close[0] == 'r' || on_close[0] == 'R';
    reader->attempts_max = weir_options_get_int(options, option_count, source_options, "reconnect.attempts");
    reader->delay_ms = weir_options_get_int(options, option_count, source_options, "reconnect.delay");
    const char *replay = weir_options_get(options, option_count, source_options, "replay");
    reader->replay = replay[0] == 'o' || replay[0] == 'O'   ? REPLAY_OFF
                     : replay[0] == 'r' || replay[0] == 'R' ? REPLAY_REQUIRED
                                                            : REPLAY_AUTO;
    reader->capacity = CHUNK_SIZE;
    reader->bytes = weir_zalloc(reader->capacity + PADDING);
    reader->retry_at_ms = ctx->now_ms(ctx);
    if ((reader->epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0) {
        reader_close(reader);
        return weir_fail_errno(error, WEIR_ERR_IO, "connector 'socket': cannot make an epoll");
    }
    struct resolve *name = weir_zalloc(sizeof *name);
    name->host = weir_strdup(host);
    name->port = weir_strdup(port);
    reader->resolve = name;
    reader->resolving = ctx->call(ctx, run_resolve, name, free_resolve);
    ctx->wait_fd(ctx, reader->epoll_fd);
    *out = reader;
    return 0;
}

/* --- The connection */

static void drop_connection(struct weir_reader *reader)
{
    if (reader->fd >= 0)
        close(reader->fd); /* leaves the epoll by itself */
    reader->fd = -1;
}

/* The connection failed. False: too often. */
static bool connection_failed(struct weir_reader *reader, int64_t now_ms, int code, const char *what,
                              struct weir_error *error)
{
    snprintf(reader->why, sizeof reader->why, "%s: %s", what, strerror(code));
    drop_connection(reader);
    reader->state = WAITING;
    if (reader->next_address) /* another address of the same name: at once */
        return true;
    reader->next_address = reader->addresses;
    if (reader->attempts >= reader->attempts_max) {
        (void)weir_fail(error, WEIR_ERR_IO, "connector 'socket': %s: %s, %lld times in a row", reader->peer,
                        reader->why, (long long)reader->attempts + 1);
        return false;
    }
    reader->attempts++;
    reader->retry_at_ms = now_ms + reader->delay_ms;
    weir_log(WARN, "socket %s: %s; attempt %lld of %lld follows in %lld ms", reader->peer, reader->why,
             (long long)reader->attempts, (long long)reader->attempts_max, (long long)reader->delay_ms);
    return true;
}

static bool watch(struct weir_reader *reader, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events};
    return epoll_ctl(reader->epoll_fd, operation, reader->fd, &event) == 0;
}

static bool start_connect(struct weir_reader *reader, int64_t now_ms, struct weir_error *error)
{
    const struct addrinfo *address = reader->next_address;
    reader->next_address = address->ai_next;
    reader->fd = socket(address->ai_family, address->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, address->ai_protocol);
    if (reader->fd < 0)
        return connection_failed(reader, now_ms, errno, "no socket", error);
    if (connect(reader->fd, address->ai_addr, address->ai_addrlen) != 0 && errno != EINPROGRESS)
        return connection_failed(reader, now_ms, errno, "cannot connect", error);
    if (!watch(reader, EPOLL_CTL_ADD, EPOLLOUT))
        return connection_failed(reader, now_ms, errno, "cannot watch the socket", error);
    reader->state = CONNECTING;
    return true;
}

/* True: the connection stands, or it failed and there will be another attempt; see state. */
static bool finish_connect(struct weir_reader *reader, int64_t now_ms, struct weir_error *error)
{
    struct epoll_event event;
    if (epoll_wait(reader->epoll_fd, &event, 1, 0) <= 0)
        return true; /* still CONNECTING */
    int code = 0;
    socklen_t size = sizeof code;
    if (getsockopt(reader->fd, SOL_SOCKET, SO_ERROR, &code, &size) != 0)
        code = errno;
    if (code)
        return connection_failed(reader, now_ms, code, "cannot connect", error);
    int on = 1;
    (void)setsockopt(reader->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    if (!watch(reader, EPOLL_CTL_MOD, EPOLLIN | EPOLLPRI | EPOLLRDHUP))
        return connection_failed(reader, now_ms, errno, "cannot watch the socket", error);
    reader->next_address = reader->addresses;
    reader->state = reader->replay == REPLAY_OFF ? OPEN : HEARING;
    return true;
}

/* A connection that stood: this address is as good as another. */
static bool broke(struct weir_reader *reader, int64_t now_ms, int code, const char *what, struct weir_error *error)
{
    reader->next_address = NULL;
    return connection_failed(reader, now_ms, code, what, error);
}

/* --- Replay */

/* The first bytes that we say to it, so there is room. */
static bool ask(struct weir_reader *reader, int64_t now_ms, struct weir_error *error)
{
    char request[LOG_SIZE + 64];
    int size = reader->log[0] ? snprintf(request, sizeof request, "weir-replay %" PRId64 " %s\n",
                                         reader->position + (int64_t)reader->size, reader->log)
                              : snprintf(request, sizeof request, "weir-replay earliest\n");
    if (send(reader->fd, request, (size_t)size, MSG_NOSIGNAL) != size)
        return broke(reader, now_ms, errno, "cannot ask for an offset", error);
    reader->answer_size = 0;
    reader->answer_by_ms = now_ms + ANSWER_MS;
    reader->state = ASKED;
    return true;
}

/* Whether the server keeps a log is known once the urgent byte or anything else is here. */
static bool hear(struct weir_reader *reader, int64_t now_ms, struct weir_error *error)
{
    char byte;
    if (reader->replay == REPLAY_REQUIRED || reader->log[0] || recv(reader->fd, &byte, 1, MSG_OOB) == 1)
        return ask(reader, now_ms, error);
    ssize_t n = recv(reader->fd, &byte, 1, MSG_PEEK);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true; /* still HEARING */
    if (n < 0)
        return broke(reader, now_ms, errno, "the connection broke", error);
    weir_log(INFO, "socket %s: the server keeps no log: after a failure, what it sent since the checkpoint is lost",
             reader->peer);
    reader->replay = REPLAY_OFF;
    reader->state = OPEN;
    return true;
}

static bool refused(struct weir_reader *reader, const char *why, struct weir_error *error)
{
    (void)weir_fail(error, WEIR_ERR_NOT_FOUND,
                    "connector 'socket': %s cannot go on where the source was (log %s, offset %" PRId64 "): %s",
                    reader->peer, reader->log[0] ? reader->log : "new", reader->position + (int64_t)reader->size, why);
    return false;
}

/* A line of the server, in `answer`, without its end. Lines that it had sent before it saw the question are dropped. */
static bool take_answer(struct weir_reader *reader, struct weir_error *error)
{
    char log[LOG_SIZE];
    int64_t offset;
    int end = 0;
    if (strncmp(reader->answer, "#error ", 7) == 0)
        return refused(reader, reader->answer + 7, error);
    if (sscanf(reader->answer, "#offset %" SCNd64 " %39[0-9a-zA-Z._-]%n", &offset, log, &end) != 2 || offset < 0 ||
        reader->answer[end])
        return true;
    int64_t wanted = reader->position + (int64_t)reader->size;
    if (reader->log[0] && (offset != wanted || strcmp(log, reader->log) != 0))
        return refused(reader, "it answers with another log or offset", error);
    if (!reader->log[0]) {
        weir_log(INFO, "socket %s: reading the server's log %s from offset %" PRId64, reader->peer, log, offset);
        snprintf(reader->log, sizeof reader->log, "%s", log);
        reader->position = offset - (int64_t)reader->size;
    }
    reader->state = OPEN;
    return true;
}

/* Byte for byte up to the answer's newline: what follows is the log's. */
static bool await_answer(struct weir_reader *reader, int64_t now_ms, struct weir_error *error)
{
    for (int i = 0; i < ANSWER_BYTES && reader->state == ASKED; i++) {
        char byte;
        ssize_t n = recv(reader->fd, &byte, 1, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n <= 0)
            return broke(reader, now_ms, n < 0 ? errno : ECONNRESET,
                         "the connection ended before the answer to a question for an offset", error);
        if (byte != '\n') {
            if (reader->answer_size + 1 < sizeof reader->answer)
                reader->answer[reader->answer_size++] = byte;
            continue;
        }
        reader->answer[reader->answer_size] = 0;
        reader->answer_size = 0;
        if (!take_answer(reader, error))
            return false;
    }
    if (reader->state == ASKED && now_ms >= reader->answer_by_ms)
        return broke(reader, now_ms, ETIMEDOUT,
                     "the server does not answer to 'weir-replay': it keeps no log (replay = off reads it)", error);
    return true;
}

/* Whether the last line that was received says that this was all; it is taken off then. */
static bool take_end(struct weir_reader *reader)
{
    char wanted[LOG_SIZE + 64];
    size_t at = reader->size;
    if (!reader->log[0] || at == 0 || reader->bytes[at - 1] != '\n')
        return false;
    const uint8_t *before = memrchr(reader->bytes, '\n', at - 1);
    at = before ? (size_t)(before - reader->bytes) + 1 : 0;
    int size = snprintf(wanted, sizeof wanted, "#end %" PRId64 " %s\n", reader->position + (int64_t)at, reader->log);
    if (reader->size - at != (size_t)size || memcmp(reader->bytes + at, wanted, (size_t)size) != 0)
        return false;
    reader->size = at;
    return true;
}

/* --- Reading */

static void consume(struct weir_reader *reader, size_t used)
{
    if (used > 0) {
        memmove(reader->bytes, reader->bytes + used, reader->size - used);
        reader->size -= used;
        reader->position += (int64_t)used;
    }
    /* A long line: the source bounds what it leaves. */
    if (reader->capacity - reader->size < CHUNK_SIZE / 2) {
        reader->capacity *= 2;
        reader->bytes = weir_realloc(reader->bytes, reader->capacity + PADDING);
    }
}

static enum weir_read give(struct weir_reader *reader, struct weir_read_bytes *bytes, bool last)
{
    memset(reader->bytes + reader->size, 0, PADDING);
    bytes->bytes = reader->bytes;
    bytes->size = reader->size;
    bytes->last = last;
    bytes->position = reader->position;
    return WEIR_READ_DATA;
}

/* The connection is over: an unfinished line is given as the last one, then `next` is entered. */
static void cut(struct weir_reader *reader, enum state next)
{
    drop_connection(reader);
    reader->state = CUT;
    reader->after_cut = next;
}

static enum weir_read receive(struct weir_reader *reader, int64_t now_ms, struct weir_read_bytes *bytes,
                              struct weir_error *error)
{
    ssize_t n = recv(reader->fd, reader->bytes + reader->size, reader->capacity - reader->size, 0);
    if (n > 0) {
        reader->size += (size_t)n;
        reader->attempts = 0;
        if (take_end(reader)) {
            cut(reader, ENDED);
            return WEIR_READ_EMPTY;
        }
        return give(reader, bytes, false);
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return WEIR_READ_EMPTY;
    if (reader->log[0]) { /* what was begun is gone on with */
        return broke(reader, now_ms, n < 0 ? errno : ECONNRESET, "the connection broke", error) ? WEIR_READ_EMPTY
                                                                                                : WEIR_READ_FAILED;
    }
    if (n == 0) {
        if (reader->reconnect) {
            weir_log(INFO, "socket %s: the server closed the connection; connecting again", reader->peer);
            reader->retry_at_ms = now_ms + reader->delay_ms;
        }
        cut(reader, reader->reconnect ? WAITING : ENDED);
        return WEIR_READ_EMPTY;
    }
    weir_log(WARN, "socket %s: the connection broke after %lld bytes (%zu of them an unfinished line)", reader->peer,
             (long long)reader->position + (long long)reader->size, reader->size);
    if (!broke(reader, now_ms, errno, "the connection broke", error))
        return WEIR_READ_FAILED;
    cut(reader, WAITING);
    return WEIR_READ_EMPTY;
}

static enum weir_read read_bytes(struct weir_reader *reader, struct weir_connector_ctx *ctx,
                                 struct weir_read_bytes *bytes, int64_t *wait_until_ms, struct weir_error *error)
{
    int64_t now_ms = ctx->now_ms(ctx);
    consume(reader, bytes->used);
    bytes->used = 0;
    for (;;) {
        switch (reader->state) {
        case RESOLVING:
            if (!ctx->call_ended(ctx, reader->resolving))
                return WEIR_READ_EMPTY;
            if (take_addresses(reader, error))
                return WEIR_READ_FAILED;
            reader->state = WAITING;
            break;
        case WAITING:
            if (now_ms < reader->retry_at_ms) {
                *wait_until_ms = reader->retry_at_ms;
                return WEIR_READ_EMPTY;
            }
            if (!start_connect(reader, now_ms, error))
                return WEIR_READ_FAILED;
            break;
        case CONNECTING:
            if (!finish_connect(reader, now_ms, error))
                return WEIR_READ_FAILED;
            if (reader->state == CONNECTING)
                return WEIR_READ_EMPTY;
            break;
        case HEARING:
            if (!hear(reader, now_ms, error))
                return WEIR_READ_FAILED;
            if (reader->state == HEARING)
                return WEIR_READ_EMPTY;
            break;
        case ASKED:
            if (!await_answer(reader, now_ms, error))
                return WEIR_READ_FAILED;
            if (reader->state == ASKED) {
                *wait_until_ms = reader->answer_by_ms;
                return WEIR_READ_EMPTY;
            }
            break;
        case OPEN: {
            enum weir_read read = receive(reader, now_ms, bytes, error);
            if (read != WEIR_READ_EMPTY || reader->state == OPEN)
                return read;
            break;
        }
        case CUT:
            if (reader->size > 0)
                return give(reader, bytes, true);
            reader->state = reader->after_cut;
            break;
        case ENDED:
            return WEIR_READ_END;
        }
    }
}

/* --- Checkpoints: "LOG OFFSET" of the next byte to be given out, "off" of a server without a log, "" before that is known. */

static weir_err reader_snapshot(struct weir_reader *reader, const struct weir_read_bytes *bytes,
                                struct weir_buf *position, struct weir_error *error)
{
    (void)error;
    bool ok = true;
    if (reader->log[0])
        ok = weir_buf_printf(position, "%s %" PRId64, reader->log,
                             reader->position + (bytes ? (int64_t)bytes->used : 0));
    else if (reader->replay == REPLAY_OFF)
        ok = weir_buf_puts(position, "off");
    weir_assert(ok);
    return WEIR_OK;
}

static weir_err reader_restore(struct weir_reader *reader, const char *position, struct weir_error *error)
{
    if (!position[0])
        return WEIR_OK;
    if (strcmp(position, "off") == 0) {
        if (reader->replay == REPLAY_REQUIRED)
            return weir_fail(
                error, WEIR_ERR_INVALID,
                "connector 'socket': the checkpoint was made with replay = off, or of a server without a log: "
                "it has no offset that replay = required could begin at");
        reader->replay = REPLAY_OFF; /* its log, if it has one now, would say again what was read */
        return WEIR_OK;
    }
    int end = 0;
    if (sscanf(position, "%39[0-9a-zA-Z._-] %" SCNd64 "%n", reader->log, &reader->position, &end) != 2 ||
        reader->position < 0 || position[end])
        return weir_fail(error, WEIR_ERR_DATA, "connector 'socket': '%.100s' is no position in a server's log",
                         position);
    if (reader->replay == REPLAY_OFF) {
        weir_log(WARN, "socket %s: replay is off: what was sent since the checkpoint at offset %" PRId64 " is lost",
                 reader->peer, reader->position);
        reader->log[0] = 0;
        reader->position = 0;
    }
    return WEIR_OK;
}

const struct weir_connector weir_connector_socket = {
    .size = sizeof(struct weir_connector),
    .name = "socket",
    .help = "Lines from a TCP server",
    .source_options = source_options,
    .parallelism_max = 1,
    .check = check,
    .reader_open = reader_open,
    .read = read_bytes,
    .reader_close = reader_close,
    .reader_snapshot = reader_snapshot,
    .reader_restore = reader_restore,
};
