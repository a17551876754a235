/* Addresses to bind: ZeroMQ binds numbers only, people configure names. */
#ifndef WEIR_NET_ADDRESS_H
#define WEIR_NET_ADDRESS_H

#include "base/error.h"

/* "tcp://localhost:6123" -> "tcp://127.0.0.1:6123"; an IPv6 address gets its brackets; other transports stay. `out`: 256 bytes. Blocks
 * while a name is resolved. */
weir_err weir_bind_endpoint(const char *endpoint, char *out, struct weir_error *error);

#endif
