/* Who may connect to the CURVE servers of a ZeroMQ context (ZAP, RFC 27): libzmq asks once for each connection, here is the answer.
 *
 * Opened before the first server socket is bound: without a handler libzmq would let everyone in. No thread of its own: the thread
 * that owns it polls and serves it; until then a connection waits (the handshake's own time limit bounds that).
 */
#ifndef WEIR_NET_ZAP_H
#define WEIR_NET_ZAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct weir_zap;

/* `address`: the client's. The key was proven by the handshake. */
typedef bool weir_zap_allow(void *arg, const uint8_t *key, const char *address);

weir_err weir_zap_open(void *zmq_context, weir_zap_allow *allow, void *arg, struct weir_zap **zap,
                       struct weir_error *error);
void *weir_zap_socket(const struct weir_zap *zap); /* to poll */
/* Answers what waits; true: something did. Never blocks. */
bool weir_zap_serve(struct weir_zap *zap);
void weir_zap_close(struct weir_zap *zap); /* NULL is allowed */

#endif
