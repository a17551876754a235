/* libzmq's calls that a signal may interrupt (EINTR): made again, so that a message of parts is never left half sent or half taken. */
#ifndef WEIR_NET_ZMQ_CALLS_H
#define WEIR_NET_ZMQ_CALLS_H

#include <errno.h>
#include <zmq.h>

#define WEIR_ZMQ_AGAIN(call) \
    int result; \
    do \
        result = call; \
    while (result < 0 && errno == EINTR); \
    return result

static inline int weir_zmq_bind(void *socket, const char *endpoint)
{
    WEIR_ZMQ_AGAIN(zmq_bind(socket, endpoint));
}
static inline int weir_zmq_connect(void *socket, const char *endpoint)
{
    WEIR_ZMQ_AGAIN(zmq_connect(socket, endpoint));
}
static inline int weir_zmq_socket_monitor(void *socket, const char *endpoint, int events)
{
    WEIR_ZMQ_AGAIN(zmq_socket_monitor(socket, endpoint, events));
}
static inline int weir_zmq_send(void *socket, const void *bytes, size_t size, int flags)
{
    WEIR_ZMQ_AGAIN(zmq_send(socket, bytes, size, flags));
}
static inline int weir_zmq_recv(void *socket, void *bytes, size_t size, int flags)
{
    WEIR_ZMQ_AGAIN(zmq_recv(socket, bytes, size, flags));
}
static inline int weir_zmq_msg_send(zmq_msg_t *message, void *socket, int flags)
{
    WEIR_ZMQ_AGAIN(zmq_msg_send(message, socket, flags));
}
static inline int weir_zmq_msg_recv(zmq_msg_t *message, void *socket, int flags)
{
    WEIR_ZMQ_AGAIN(zmq_msg_recv(message, socket, flags));
}

#endif
