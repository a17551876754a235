#include "net/zap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/secret.h"
#include "net/curve.h"
#include "net/zmq_calls.h"

#define ENDPOINT "inproc://zeromq.zap.01"
#define FRAME_MAX 256
#define BURST 64

enum { VERSION, REQUEST_ID, DOMAIN, ADDRESS, IDENTITY, MECHANISM, CREDENTIALS, FRAMES };

struct weir_zap {
    void *socket;
    weir_zap_allow *allow;
    void *arg;
};

struct frame {
    char bytes[FRAME_MAX];
    size_t size;
};

weir_err weir_zap_open(void *zmq_context, weir_zap_allow *allow, void *arg, struct weir_zap **out,
                       struct weir_error *error)
{
    struct weir_zap *zap = weir_zalloc(sizeof *zap);
    int zero = 0;
    zap->allow = allow;
    zap->arg = arg;
    zap->socket = zmq_socket(zmq_context, ZMQ_REP);
    if (!zap->socket || zmq_setsockopt(zap->socket, ZMQ_LINGER, &zero, sizeof zero) != 0 ||
        weir_zmq_bind(zap->socket, ENDPOINT) != 0) {
        weir_err err =
            weir_fail(error, WEIR_ERR_IO, "cannot answer for who may connect (ZAP): %s", zmq_strerror(errno));
        weir_zap_close(zap);
        return err;
    }
    *out = zap;
    return WEIR_OK;
}

void *weir_zap_socket(const struct weir_zap *zap)
{
    return zap->socket;
}

void weir_zap_close(struct weir_zap *zap)
{
    if (!zap)
        return;
    if (zap->socket)
        zmq_close(zap->socket);
    free(zap);
}

/* The frames of one request; -1: none waits. A frame that is too long counts as empty. */
static int receive(struct weir_zap *zap, struct frame *frames)
{
    int count = 0;
    for (bool more = true; more; count++) {
        struct frame ignored, *frame = count < FRAMES ? &frames[count] : &ignored;
        int size = weir_zmq_recv(zap->socket, frame->bytes, sizeof frame->bytes, count == 0 ? ZMQ_DONTWAIT : 0);
        if (size < 0)
            return -1;
        frame->size = (size_t)size < sizeof frame->bytes ? (size_t)size : 0;
        int flag = 0;
        size_t flag_size = sizeof flag;
        more = zmq_getsockopt(zap->socket, ZMQ_RCVMORE, &flag, &flag_size) == 0 && flag;
    }
    return count;
}

static bool is_text(const struct frame *frame, const char *text)
{
    return frame->size == strlen(text) && memcmp(frame->bytes, text, frame->size) == 0;
}

static void answer(struct weir_zap *zap, const struct frame *id, bool allowed, const char *user)
{
    weir_zmq_send(zap->socket, "1.0", 3, ZMQ_SNDMORE);
    weir_zmq_send(zap->socket, id->bytes, id->size, ZMQ_SNDMORE);
    weir_zmq_send(zap->socket, allowed ? "200" : "400", 3, ZMQ_SNDMORE);
    weir_zmq_send(zap->socket, allowed ? "OK" : "unknown key", allowed ? 2 : 11, ZMQ_SNDMORE);
    weir_zmq_send(zap->socket, user, strlen(user), ZMQ_SNDMORE);
    weir_zmq_send(zap->socket, "", 0, 0);
}

bool weir_zap_serve(struct weir_zap *zap)
{
    int served = 0;
    for (; served < BURST; served++) {
        struct frame frames[FRAMES];
        int count = receive(zap, frames);
        if (count < 0)
            break;
        bool well_formed = count == FRAMES && is_text(&frames[VERSION], "1.0") &&
                           is_text(&frames[MECHANISM], "CURVE") && frames[CREDENTIALS].size == WEIR_CURVE_KEY_SIZE;
        char user[WEIR_CURVE_HEX_SIZE] = "";
        bool allowed = false;
        if (well_formed) {
            uint8_t key[WEIR_CURVE_KEY_SIZE];
            memcpy(key, frames[CREDENTIALS].bytes, sizeof key);
            frames[ADDRESS].bytes[frames[ADDRESS].size] = 0;
            allowed = zap->allow(zap->arg, key, frames[ADDRESS].bytes);
            weir_hex_encode(key, sizeof key, user);
        }
        answer(zap, &frames[count > REQUEST_ID ? REQUEST_ID : VERSION], allowed, allowed ? user : "");
    }
    return served > 0;
}
