/* Under which address others reach this TaskManager (taskmanager.host). */
#ifndef WEIR_TASKMANAGER_IO_OWN_HOST_H
#define WEIR_TASKMANAGER_IO_OWN_HOST_H

#include "base/error.h"

#define WEIR_HOST_SIZE 256

/* `host` as configured; "auto": the local address of a route to `peer` (nothing is sent). A `peer` whose name is not known yet is asked
 * for again every second, until stop_fd is readable (NOT_FOUND). INVALID: an address that others cannot reach, since executors listen
 * on loopback. Blocks. */
weir_err weir_own_host(const char *host, const char *bind_host, const char *peer, int peer_port, int stop_fd,
                       char out[WEIR_HOST_SIZE], struct weir_error *error);

#endif
