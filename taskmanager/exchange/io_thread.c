/* The I/O thread's life, its commands and its loop. See io_thread.h for the protocol. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "exchange/io_int.h"
#include "net/address.h"

#define CONNECT_TIMEOUT_MS 10000
#define POLL_MS 500 /* bound on a sleep: deadlines are looked at */
#define RETRY_MS 1  /* while a HELLO waits for its connection */

/* --- Table */

static size_t bucket_of(const struct weir_io_table *table, uint64_t key)
{
    return (size_t)((key * 0x9e3779b97f4a7c15u) >> 32) & (table->bucket_count - 1);
}

struct weir_io_link *weir_io_table_find(const struct weir_io_table *table, uint64_t key)
{
    if (!table->count)
        return NULL;
    struct weir_io_link *link = table->buckets[bucket_of(table, key)];
    while (link && link->key != key)
        link = link->next;
    return link;
}

void weir_io_table_add(struct weir_io_table *table, struct weir_io_link *link)
{
    if (table->count >= table->bucket_count) {
        struct weir_io_table bigger = {.bucket_count = table->bucket_count ? table->bucket_count * 2 : 64};
        bigger.buckets = weir_zalloc(bigger.bucket_count * sizeof(struct weir_io_link *));
        for (size_t i = 0; i < table->bucket_count; i++)
            for (struct weir_io_link *l = table->buckets[i], *next; l; l = next) {
                next = l->next;
                size_t b = bucket_of(&bigger, l->key);
                l->next = bigger.buckets[b];
                bigger.buckets[b] = l;
            }
        free(table->buckets);
        table->buckets = bigger.buckets;
        table->bucket_count = bigger.bucket_count;
    }
    size_t b = bucket_of(table, link->key);
    link->next = table->buckets[b];
    table->buckets[b] = link;
    table->count++;
}

void weir_io_table_remove(struct weir_io_table *table, struct weir_io_link *link)
{
    struct weir_io_link **at = &table->buckets[bucket_of(table, link->key)];
    while (*at != link) {
        weir_assert(*at != NULL);
        at = &(*at)->next;
    }
    *at = link->next;
    table->count--;
}

static void table_fini(struct weir_io_table *table)
{
    free(table->buckets);
    memset(table, 0, sizeof *table);
}

/* --- Sockets */

weir_err weir_io_socket_options(void *socket, struct weir_error *error)
{
    int64_t message_max = WEIR_IO_MESSAGE_MAX;
    int failed = zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &message_max, sizeof message_max);
    static const struct {
        int option, value;
    } options[] = {
        {ZMQ_LINGER, 0},
        {ZMQ_IMMEDIATE, 1},
        {ZMQ_HANDSHAKE_IVL, 5000},
        {ZMQ_HEARTBEAT_IVL, 1000},
        {ZMQ_HEARTBEAT_TIMEOUT, 3000},
        {ZMQ_HEARTBEAT_TTL, 3000},
        {ZMQ_SNDHWM, 0},
        {ZMQ_RCVHWM, 0}, /* credits bound what is in flight */
        {ZMQ_RECONNECT_IVL, 20},
        {ZMQ_RECONNECT_IVL_MAX, 500},
        {ZMQ_CONNECT_TIMEOUT,
         2000}, /* of one try: after a cut network came back the system's own would wait for minutes */
        {ZMQ_IPV6, 1},
    };
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        failed |= zmq_setsockopt(socket, options[i].option, &options[i].value, sizeof options[i].value);
    if (failed)
        return weir_fail(error, WEIR_ERR_IO, "cannot set the options of a data socket: %s", zmq_strerror(errno));
    return WEIR_OK;
}

static bool is_bare_ipv6(const char *host)
{
    return strchr(host, ':') && host[0] != '[';
}

static weir_err bind_router(struct weir_io *io, const struct weir_io_options *options, struct weir_error *error)
{
    io->router = zmq_socket(io->context, ZMQ_ROUTER);
    if (!io->router)
        return weir_fail(error, WEIR_ERR_IO, "cannot make the data socket: %s", zmq_strerror(errno));
    weir_err err = weir_io_socket_options(io->router, error);
    if (err)
        return err;
    int one = 1;
    if (zmq_setsockopt(io->router, ZMQ_ROUTER_MANDATORY, &one, sizeof one) != 0)
        return weir_fail(error, WEIR_ERR_IO, "cannot set the options of the data socket: %s", zmq_strerror(errno));
    if (options->keys) {
        err = weir_zap_open(io->context, weir_io_peer_allow, io, &io->zap, error);
        if (!err)
            err = weir_curve_server(io->router, options->keys, error);
        if (err)
            return err;
    }
    const char *host = options->host && options->host[0] ? options->host : "127.0.0.1";
    const char *bind_host = options->bind_host && options->bind_host[0] ? options->bind_host : host;
    const char *open = is_bare_ipv6(bind_host) ? "[" : "", *close = *open ? "]" : "";
    int first = options->port_first, last = options->port_last > first ? options->port_last : first, bound = -1;
    for (int port = first; port <= last && bound != 0; port++) {
        char endpoint[256], bindable[256];
        if (port == 0)
            snprintf(endpoint, sizeof endpoint, "tcp://%s%.180s%s:*", open, bind_host, close);
        else
            snprintf(endpoint, sizeof endpoint, "tcp://%s%.180s%s:%d", open, bind_host, close, port);
        err = weir_bind_endpoint(endpoint, bindable, error);
        if (err)
            return weir_wrap(error, "taskmanager.bind-host, taskmanager.host");
        bound = weir_zmq_bind(io->router, bindable);
        if (bound != 0 && errno != EADDRINUSE)
            break;
    }
    if (bound != 0)
        return weir_fail(error, WEIR_ERR_IO, "cannot listen for data on %s, ports %d to %d (taskmanager.data.port): %s",
                         bind_host, first, last, zmq_strerror(errno));
    char address[256];
    size_t size = sizeof address;
    if (zmq_getsockopt(io->router, ZMQ_LAST_ENDPOINT, address, &size) != 0)
        return weir_fail(error, WEIR_ERR_IO, "cannot read back the data endpoint: %s", zmq_strerror(errno));
    /* A name is kept as it was given: others resolve it. */
    const char *port = strrchr(address, ':');
    snprintf(io->endpoint, sizeof io->endpoint, is_bare_ipv6(host) ? "tcp://[%.200s]%.16s" : "tcp://%.200s%.16s", host,
             port ? port : "");
    return WEIR_OK;
}

/* --- Ports */

void weir_io_port_done(struct weir_io *io, struct weir_io_port *port)
{
    if (port->done)
        return;
    port->done = true;
    weir_io_table_remove(port->out ? &io->outs : &io->ins, &port->link);
}

void weir_io_break_port(struct weir_io *io, struct weir_io_port *port, const char *format, ...)
{
    if (port->done)
        return;
    weir_io_port_done(io, port);
    struct weir_error error = {.code = WEIR_ERR_CHANNEL};
    va_list args;
    va_start(args, format);
    vsnprintf(error.message, sizeof error.message, format, args);
    va_end(args);
    weir_channel_break(port->chan, &error);
    weir_io_count(&io->channels_broken, 1);
}

static void free_port(struct weir_io *io, struct weir_io_port *port)
{
    weir_io_port_done(io, port);
    if (port->next)
        port->next->previous = port->previous;
    if (port->previous)
        port->previous->next = port->next;
    else
        io->ports = port->next;
    weir_channel_unref(port->chan);
    weir_schema_unref(port->schema);
    free(port);
}

static void add_port(struct weir_io *io, struct weir_io_command *command)
{
    struct weir_io_port *port = command->port;
    port->next = io->ports;
    if (port->next)
        port->next->previous = port;
    io->ports = port;
    port->link.key = port->chan->id;
    if (port->out)
        port->chan->owner = port;
    else
        port->chan->granter_owner = port;
    struct weir_io_table *table = port->out ? &io->outs : &io->ins;
    struct weir_io_link *older = weir_io_table_find(table, port->chan->id);
    if (older) /* of an attempt that is over and whose removal comes later */
        weir_io_break_port(io, (struct weir_io_port *)(void *)older, "a newer attempt of the task has taken its place");
    weir_io_table_add(table, &port->link);
    port->peer = weir_io_peer_get(io, command);
    if (port->out) {
        if (port->peer->state == WEIR_IO_PEER_READY)
            weir_io_send_open(io, port);
    } else {
        weir_io_in_added(io, port);
    }
}

static void remove_port(struct weir_io *io, struct weir_io_command *command)
{
    struct weir_channel *chan = command->chan;
    struct weir_io_port *port = chan->remote_out ? chan->owner : chan->granter_owner;
    if (port) {
        if (command->drain && port->out && !port->done)
            port->removed = true; /* until its end is sent */
        else
            free_port(io, port);
    }
    weir_channel_unref(chan);
}

/* --- Commands, from the control thread */

static void submit(struct weir_io *io, struct weir_io_command *command)
{
    pthread_mutex_lock(&io->lock);
    if (io->last_command)
        io->last_command->next = command;
    else
        io->first_command = command;
    io->last_command = command;
    atomic_store(&io->commands_waiting, 1);
    pthread_mutex_unlock(&io->lock);
    weir_wake(&io->waker);
}

static void submit_add(struct weir_io *io, struct weir_channel *chan, bool out, uint32_t producer_attempt,
                       uint32_t consumer_attempt, struct weir_schema *schema, const struct weir_io_peer *peer)
{
    struct weir_io_command *command = weir_zalloc(sizeof *command);
    command->kind = WEIR_IO_ADD;
    command->port = weir_zalloc(sizeof *command->port);
    command->port->out = out;
    command->port->chan = weir_channel_ref(chan);
    command->port->schema = schema ? weir_schema_ref(schema) : NULL;
    command->port->producer_attempt = producer_attempt;
    command->port->consumer_attempt = consumer_attempt;
    snprintf(command->peer_id, sizeof command->peer_id, "%s", peer->executor_id);
    snprintf(command->peer_endpoint, sizeof command->peer_endpoint, "%s", peer->endpoint);
    command->peer_has_key = peer->public_key != NULL;
    if (peer->public_key)
        memcpy(command->peer_key, peer->public_key, sizeof command->peer_key);
    submit(io, command);
}

void weir_io_add_out(struct weir_io *io, struct weir_channel *chan, uint32_t producer_attempt,
                     uint32_t consumer_attempt, const struct weir_io_peer *peer)
{
    weir_assert(chan->remote_out);
    weir_channel_set_consumer(chan, io->inbox);
    submit_add(io, chan, true, producer_attempt, consumer_attempt, NULL, peer);
}

void weir_io_add_in(struct weir_io *io, struct weir_channel *chan, uint32_t producer_attempt, uint32_t consumer_attempt,
                    struct weir_schema *schema, const struct weir_io_peer *peer)
{
    weir_assert(chan->remote_in && chan->consumer);
    chan->granter = &io->inbox->list;
    weir_channel_open(chan);
    submit_add(io, chan, false, producer_attempt, consumer_attempt, schema, peer);
}

void weir_io_remove(struct weir_io *io, struct weir_channel *take_chan, bool drain)
{
    struct weir_io_command *command = weir_zalloc(sizeof *command);
    command->kind = WEIR_IO_REMOVE;
    command->chan = take_chan;
    command->drain = drain;
    submit(io, command);
}

static struct weir_io_command *take_commands(struct weir_io *io, bool *stop)
{
    *stop = false;
    if (!atomic_load(&io->commands_waiting))
        return NULL;
    pthread_mutex_lock(&io->lock);
    struct weir_io_command *command = io->first_command;
    io->first_command = io->last_command = NULL;
    atomic_store(&io->commands_waiting, 0);
    *stop = io->stop;
    pthread_mutex_unlock(&io->lock);
    return command;
}

static void run_commands(struct weir_io *io, struct weir_io_command *command)
{
    while (command) {
        struct weir_io_command *next = command->next;
        if (command->kind == WEIR_IO_ADD)
            add_port(io, command);
        else
            remove_port(io, command);
        free(command);
        command = next;
    }
}

/* --- The loop */

/* Channels that have something for us: data to send, credits to grant. */
static bool serve_ready(struct weir_io *io)
{
    struct weir_ready_node *node = weir_ready_take(&io->inbox->list);
    bool any = node != NULL;
    while (node) {
        struct weir_ready_node *next = node->next;
        weir_ready_done(node);
        if (node->kind == WEIR_NODE_DATA) {
            struct weir_channel *chan = (void *)((uint8_t *)node - offsetof(struct weir_channel, data));
            struct weir_io_port *port = chan->owner;
            if (port)
                weir_io_drain(io, port);
            if (port && port->done && port->removed)
                free_port(io, port);
        } else {
            struct weir_channel *chan = (void *)((uint8_t *)node - offsetof(struct weir_channel, grant));
            if (chan->granter_owner)
                weir_io_grant(io, chan->granter_owner);
        }
        node = next;
    }
    return any;
}

static bool serve_peers(struct weir_io *io, int64_t now_ns)
{
    bool any = false;
    for (int i = 0; i < io->peer_count; i++) {
        any |= weir_io_peer_serve(io, io->peers[i], now_ns);
        if (io->peers[i]->out)
            weir_io_peer_send(io, io->peers[i]);
    }
    return any;
}

static void fill_poll(struct weir_io *io)
{
    io->polled = weir_realloc(io->polled, (size_t)(3 + 2 * io->peer_count) * sizeof *io->polled);
    int n = 0;
    io->polled[n++] = (zmq_pollitem_t){.fd = io->waker.fd, .events = ZMQ_POLLIN};
    io->polled[n++] = (zmq_pollitem_t){.socket = io->router, .events = ZMQ_POLLIN};
    if (io->zap)
        io->polled[n++] = (zmq_pollitem_t){.socket = weir_zap_socket(io->zap), .events = ZMQ_POLLIN};
    for (int i = 0; i < io->peer_count; i++) {
        if (!io->peers[i]->dealer)
            continue;
        io->polled[n++] = (zmq_pollitem_t){.socket = io->peers[i]->dealer, .events = ZMQ_POLLIN};
        io->polled[n++] = (zmq_pollitem_t){.socket = io->peers[i]->monitor, .events = ZMQ_POLLIN};
    }
    io->polled_count = n;
}

static void wait_for_work(struct weir_io *io)
{
    long wait_ms = POLL_MS;
    for (int i = 0; i < io->peer_count; i++)
        if (io->peers[i]->state == WEIR_IO_PEER_CONNECTING && (io->peers[i]->connected || io->peers[i]->retry_ns))
            wait_ms = RETRY_MS;
    if (!weir_waker_sleep(&io->waker))
        return;
    fill_poll(io);
    zmq_poll(io->polled, io->polled_count, wait_ms);
    weir_waker_end(&io->waker);
}

static void *run(void *arg)
{
    struct weir_io *io = arg;
    weir_log_scope(NULL, "io", -1);
    for (;;) {
        weir_waker_begin(&io->waker);
        bool stop;
        struct weir_io_command *commands = take_commands(io, &stop);
        bool any = serve_ready(io); /* before the commands: nothing of a removed channel is left in the list then */
        run_commands(io, commands);
        any |= commands != NULL;
        if (stop)
            break;
        any |= io->zap && weir_zap_serve(io->zap);
        any |= serve_peers(io, weir_clock_mono_ns());
        any |= weir_io_receive(io);
        if (!any)
            wait_for_work(io);
    }
    return NULL;
}

/* --- Start and stop */

static void close_all(struct weir_io *io)
{
    while (io->ports)
        free_port(io, io->ports);
    for (int i = 0; i < io->peer_count; i++) {
        weir_io_peer_close(io, io->peers[i]);
        free(io->peers[i]);
    }
    free(io->peers);
    weir_io_receive_fini(io);
    if (io->router)
        zmq_close(io->router);
    weir_zap_close(io->zap);
    explicit_bzero(&io->keys, sizeof io->keys);
    if (io->context)
        while (zmq_ctx_term(io->context) != 0 && errno == EINTR)
            ;
    weir_io_pool_fini(&io->pool);
    table_fini(&io->outs);
    table_fini(&io->ins);
    table_fini(&io->opens);
    free(io->polled);
    weir_inbox_unref(io->inbox);
    weir_waker_fini(&io->waker);
    pthread_mutex_destroy(&io->lock);
    free(io);
}

weir_err weir_io_start(const struct weir_io_options *options, struct weir_io **out, struct weir_error *error)
{
    struct weir_io *io = weir_zalloc(sizeof *io);
    pthread_mutex_init(&io->lock, NULL);
    io->waker.fd = -1;
    snprintf(io->id, sizeof io->id, "%s", options->executor_id);
    io->job = weir_frame_job_tag(options->job_id, options->incarnation);
    io->connect_timeout_ns = (options->connect_timeout_ms ? options->connect_timeout_ms : CONNECT_TIMEOUT_MS) * 1000000;
    io->with_keys = options->keys != NULL;
    if (options->keys)
        io->keys = *options->keys;
    weir_err err = weir_waker_init(&io->waker, error);
    io->inbox = weir_inbox_new(&io->waker);
    if (!err) {
        io->context = zmq_ctx_new();
        err =
            io->context ? bind_router(io, options, error) : weir_fail_errno(error, WEIR_ERR_IO, "cannot start ZeroMQ");
    }
    if (!err) {
        errno = pthread_create(&io->thread, NULL, run, io);
        if (errno)
            err = weir_fail_errno(error, WEIR_ERR_IO, "cannot start the I/O thread");
    }
    if (err) {
        close_all(io);
        return err;
    }
    *out = io;
    return WEIR_OK;
}

const char *weir_io_endpoint(const struct weir_io *io)
{
    return io->endpoint;
}

void weir_io_stop(struct weir_io *io)
{
    if (!io)
        return;
    pthread_mutex_lock(&io->lock);
    io->stop = true;
    atomic_store(&io->commands_waiting, 1);
    pthread_mutex_unlock(&io->lock);
    weir_wake(&io->waker);
    pthread_join(io->thread, NULL);
    close_all(io);
}

void weir_io_read_counters(struct weir_io *io, struct weir_io_counters *counters)
{
    *counters = (struct weir_io_counters){
        .messages_in = atomic_load(&io->messages_in),
        .messages_out = atomic_load(&io->messages_out),
        .bytes_in = atomic_load(&io->bytes_in),
        .bytes_out = atomic_load(&io->bytes_out),
        .frames_late = atomic_load(&io->frames_late),
        .messages_bad = atomic_load(&io->messages_bad),
        .channels_broken = atomic_load(&io->channels_broken),
        .strangers = atomic_load(&io->strangers),
    };
}
