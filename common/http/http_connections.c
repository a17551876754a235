#include "http/http_connections.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"

#define DRAIN_MS_MAX 10000
#define REPLY_BYTES_PER_S 16384
#define SLOW_BYTES_PER_S 65536 /* below it a body does not "move along" */
#define SLOW_AFTER_MS 1000
#define NEW_MS 200 /* so long a connection has to say what it wants before others may take its place */
#define TICK_MS 250
#define HANGUP_MS 500

enum state { IDLE, HEADERS, BODY, HANDLER, REPLY, REFUSED, CLOSING };

struct weir_http_connection {
    struct weir_http_connection *next, *previous;
    int fd;
    enum state state;
    int64_t since_ms; /* in this state */
    int64_t moved_ms, moved;
    int64_t reply_ms_max;
};

struct weir_http_connections {
    int connections_max;
    int64_t timeout_ms, request_ms_max;
    pthread_mutex_t lock; /* guards all below, and the connections */
    pthread_cond_t wake;
    pthread_t thread;
    bool stop;
    int count;
    struct weir_http_connection *first;
};

static void enter(struct weir_http_connection *connection, enum state state)
{
    connection->state = state;
    connection->since_ms = connection->moved_ms = weir_clock_mono_ms();
    connection->moved = 0;
}

/* --- Answers from here */

static const char *reason_of(int status)
{
    return status == 408 ? "Request Timeout" : status == 413 ? "Content Too Large" : "Service Unavailable";
}

static bool say(const struct weir_http_connection *connection, int status, const char *json)
{
    char text[1024];
    int size = snprintf(text, sizeof text,
                        "HTTP/1.1 %d %s\r\nContent-Type: application/json; charset=UTF-8\r\nContent-Length: %zu\r\n"
                        "Connection: close\r\n\r\n%s",
                        status, reason_of(status), strlen(json), json);
    weir_assert(size > 0 && (size_t)size < sizeof text);
    return send(connection->fd, text, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL) == size;
}

/* libmicrohttpd sees the end of the connection and closes it. */
static void end(struct weir_http_connection *connection, int status, const char *json)
{
    if (status && (connection->state == HEADERS || connection->state == BODY))
        (void)say(connection, status, json); /* it goes one way or the other */
    shutdown(connection->fd, SHUT_RDWR);
    enter(connection, CLOSING);
}

/* --- Time */

static bool is_late(const struct weir_http_connections *connections, const struct weir_http_connection *connection,
                    int64_t now_ms)
{
    int64_t age_ms = now_ms - connection->since_ms;
    switch (connection->state) {
    case IDLE:
    case HEADERS:
        return age_ms >= connections->timeout_ms;
    case BODY:
        return age_ms >= connections->request_ms_max || now_ms - connection->moved_ms >= connections->timeout_ms;
    case REPLY:
        return age_ms >= connection->reply_ms_max;
    case REFUSED:
        return age_ms >= DRAIN_MS_MAX;
    default:
        return false;
    }
}

/* The other side has gone in the middle of its request. libmicrohttpd may miss that: it reads what came together with the end of the
 * connection, and its edge-triggered epoll does not tell it of the end a second time. */
static bool has_hung_up(const struct weir_http_connection *connection, int64_t now_ms)
{
    if (connection->state > BODY || now_ms - connection->moved_ms < HANGUP_MS)
        return false;
    struct pollfd fd = {.fd = connection->fd, .events = POLLRDHUP};
    return poll(&fd, 1, 0) == 1 && fd.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

/* May another one take its place? */
static bool is_idle_or_slow(const struct weir_http_connection *connection, int64_t now_ms)
{
    int64_t age_ms = now_ms - connection->since_ms;
    switch (connection->state) {
    case IDLE:
    case HEADERS:
        return age_ms >= NEW_MS;
    case BODY:
        return age_ms >= SLOW_AFTER_MS && connection->moved < SLOW_BYTES_PER_S * age_ms / 1000;
    case REPLY:
    case REFUSED:
        return age_ms >= SLOW_AFTER_MS;
    default:
        return false;
    }
}

static void make_room(struct weir_http_connections *connections, int64_t now_ms)
{
    int closing = 0;
    for (struct weir_http_connection *c = connections->first; c; c = c->next)
        closing += c->state == CLOSING;
    for (int over = connections->count - closing - connections->connections_max; over > 0; over--) {
        struct weir_http_connection *oldest = NULL;
        for (struct weir_http_connection *c = connections->first; c; c = c->next)
            if (is_idle_or_slow(c, now_ms) && (!oldest || c->since_ms < oldest->since_ms))
                oldest = c;
        if (!oldest)
            return;
        end(oldest, 503, "{\"errors\":[\"There are too many connections, and this one was slow.\"]}");
    }
}

static void *main_loop(void *arg)
{
    struct weir_http_connections *connections = arg;
    pthread_mutex_lock(&connections->lock);
    while (!connections->stop) {
        int64_t now_ms = weir_clock_mono_ms();
        for (struct weir_http_connection *c = connections->first; c; c = c->next)
            if (is_late(connections, c, now_ms))
                end(c, 408, "{\"errors\":[\"The request did not arrive in time.\"]}");
            else if (has_hung_up(c, now_ms))
                end(c, 0, NULL);
        make_room(connections, now_ms);
        struct timespec until = weir_cond_until(TICK_MS);
        pthread_cond_timedwait(&connections->wake, &connections->lock, &until);
        while (!connections->first && !connections->stop) /* nothing to look after */
            pthread_cond_wait(&connections->wake, &connections->lock);
    }
    pthread_mutex_unlock(&connections->lock);
    return NULL;
}

/* --- Interface */

struct weir_http_connections *weir_http_connections_new(int connections_max, int64_t timeout_ms, int64_t request_ms_max)
{
    struct weir_http_connections *connections = weir_zalloc(sizeof *connections);
    connections->connections_max = connections_max;
    connections->timeout_ms = timeout_ms;
    connections->request_ms_max = request_ms_max;
    pthread_mutex_init(&connections->lock, NULL);
    weir_cond_init(&connections->wake);
    int failed = pthread_create(&connections->thread, NULL, main_loop, connections);
    if (failed) {
        pthread_mutex_destroy(&connections->lock);
        pthread_cond_destroy(&connections->wake);
        free(connections);
        errno = failed;
        return NULL;
    }
    return connections;
}

void weir_http_connections_free(struct weir_http_connections *connections)
{
    if (!connections)
        return;
    pthread_mutex_lock(&connections->lock);
    connections->stop = true;
    pthread_cond_signal(&connections->wake);
    pthread_mutex_unlock(&connections->lock);
    pthread_join(connections->thread, NULL);
    while (connections->first)
        weir_http_connection_closed(connections, connections->first);
    pthread_mutex_destroy(&connections->lock);
    pthread_cond_destroy(&connections->wake);
    free(connections);
}

struct weir_http_connection *weir_http_connection_opened(struct weir_http_connections *connections, int fd)
{
    struct weir_http_connection *connection = weir_zalloc(sizeof *connection);
    connection->fd = fd;
    enter(connection, IDLE);
    pthread_mutex_lock(&connections->lock);
    connection->next = connections->first;
    if (connection->next)
        connection->next->previous = connection;
    else
        pthread_cond_signal(&connections->wake);
    connections->first = connection;
    connections->count++;
    if (connections->count > connections->connections_max)
        make_room(connections, connection->since_ms);
    pthread_mutex_unlock(&connections->lock);
    return connection;
}

void weir_http_connection_closed(struct weir_http_connections *connections, struct weir_http_connection *connection)
{
    pthread_mutex_lock(&connections->lock);
    if (connection->next)
        connection->next->previous = connection->previous;
    if (connection->previous)
        connection->previous->next = connection->next;
    else
        connections->first = connection->next;
    connections->count--;
    pthread_mutex_unlock(&connections->lock);
    free(connection);
}

/* False: it is refused or being closed, and stays so. */
static bool move_on(struct weir_http_connections *connections, struct weir_http_connection *connection,
                    enum state state)
{
    pthread_mutex_lock(&connections->lock);
    bool live = connection->state != REFUSED && connection->state != CLOSING;
    if (live)
        enter(connection, state);
    pthread_mutex_unlock(&connections->lock);
    return live;
}

void weir_http_connection_requested(struct weir_http_connections *connections, struct weir_http_connection *connection)
{
    (void)move_on(connections, connection, HEADERS);
}

void weir_http_connection_begun(struct weir_http_connections *connections, struct weir_http_connection *connection)
{
    (void)move_on(connections, connection, BODY);
}

void weir_http_connection_moved(struct weir_http_connections *connections, struct weir_http_connection *connection,
                                int64_t bytes)
{
    pthread_mutex_lock(&connections->lock);
    connection->moved += bytes;
    connection->moved_ms = weir_clock_mono_ms();
    pthread_mutex_unlock(&connections->lock);
}

bool weir_http_connection_handled(struct weir_http_connections *connections, struct weir_http_connection *connection)
{
    return move_on(connections, connection, HANDLER);
}

void weir_http_connection_replied(struct weir_http_connections *connections, struct weir_http_connection *connection,
                                  uint64_t size)
{
    connection->reply_ms_max = connections->request_ms_max + (int64_t)(size / REPLY_BYTES_PER_S) * 1000;
    (void)move_on(connections, connection, REPLY);
}

void weir_http_connection_ended(struct weir_http_connections *connections, struct weir_http_connection *connection)
{
    (void)move_on(connections, connection, IDLE);
}

bool weir_http_connection_refuse(struct weir_http_connections *connections, struct weir_http_connection *connection,
                                 int status, const char *json)
{
    pthread_mutex_lock(&connections->lock);
    bool said = connection->state == BODY && say(connection, status, json);
    if (said) {
        shutdown(connection->fd, SHUT_WR);
        enter(connection, REFUSED);
    }
    pthread_mutex_unlock(&connections->lock);
    return said;
}
