/* socket: lines from a TCP server.
 *
 * The socket is non-blocking; an epoll fd that outlives reconnects is what the worker waits on. States:
 *     RESOLVING -> CONNECTING
 *     CONNECTING -> OPEN -> (orderly end by the server) ENDED, or with on-close = reconnect WAITING
 *     CONNECTING, OPEN -> (error) WAITING -> CONNECTING ... ; after reconnect.attempts failures in a row the source fails.
 * A line that a broken connection cut off is given as it is: it is a bad record, counted, never dropped in silence. What the
 * server sent into a broken connection and we did not get is the server's to send again; a warning says when that happened.
 * The name is resolved once, when the reader opens, by the pool: a resolver may take half a minute.
 */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "connectors/connectors_int.h"

#define CHUNK_SIZE ((size_t)256 << 10)
#define PADDING 64

enum state { RESOLVING, WAITING, CONNECTING, OPEN, CUT, ENDED };

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
    int64_t position; /* of bytes[0] in the stream */
    enum state after_cut;
    char why[256];
};

static const struct weir_option source_options[] = {
    {"hostname", WEIR_OPTION_STRING, NULL, NULL, "The server's name or address"},
    {"port", WEIR_OPTION_INT, NULL, NULL, "The server's port"},
    {"on-close", WEIR_OPTION_ENUM, "end", "end|reconnect", "When the server closes: the stream ends, or connect again"},
    {"reconnect.attempts", WEIR_OPTION_INT, "10", NULL, "Failures in a row before the source fails"},
    {"reconnect.delay", WEIR_OPTION_DURATION, "1 s", NULL, "Time between two attempts"},
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
    if (!watch(reader, EPOLL_CTL_MOD, EPOLLIN | EPOLLRDHUP))
        return connection_failed(reader, now_ms, errno, "cannot watch the socket", error);
    reader->state = OPEN;
    reader->next_address = reader->addresses;
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
        return give(reader, bytes, false);
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return WEIR_READ_EMPTY;
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
    reader->next_address = NULL;
    if (!connection_failed(reader, now_ms, errno, "the connection broke", error))
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
};
