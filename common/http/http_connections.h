/* The connections of an HTTP server, and what each is allowed: nobody holds one for nothing.
 *
 *   IDLE      no request line yet                    `timeout_ms` in all, however its bytes trickle in; then it is closed
 *   HEADERS   a request line, headers are coming     `timeout_ms` in all; then 408
 *   BODY      headers are there                      `timeout_ms` without a byte, `request_ms_max` in all; then 408
 *   HANDLER   the server works                       no bound here
 *   REPLY     the answer is being read               `request_ms_max`, and a second for each 16 KiB of it
 *   REFUSED   answered before its body was there     DRAIN_MS_MAX for the rest of it, so that the client sees the answer
 *
 * More than `connections_max`: the longest idle one goes, or the longest slow one (503 when its request had begun), so that who comes
 * and asks is heard while others only sit there. A connection whose server works, or that moves along, stays.
 *
 * Answers from here are written to the socket beside libmicrohttpd, which is only done while none of its own can be under way (IDLE,
 * HEADERS, BODY). Called by libmicrohttpd's thread; a thread of its own looks after time. Nothing blocks.
 */
#ifndef WEIR_HTTP_HTTP_CONNECTIONS_H
#define WEIR_HTTP_HTTP_CONNECTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct weir_http_connections;
struct weir_http_connection;

/* NULL, with errno: its thread cannot be started. */
struct weir_http_connections *weir_http_connections_new(int connections_max, int64_t timeout_ms,
                                                        int64_t request_ms_max);
/* After libmicrohttpd has stopped. NULL is allowed. */
void weir_http_connections_free(struct weir_http_connections *connections);

/* A connection was accepted, will be closed (its socket is still open). */
struct weir_http_connection *weir_http_connection_opened(struct weir_http_connections *connections, int fd);
void weir_http_connection_closed(struct weir_http_connections *connections, struct weir_http_connection *connection);

/* Its request's life. */
void weir_http_connection_requested(struct weir_http_connections *connections, struct weir_http_connection *connection);
void weir_http_connection_begun(struct weir_http_connections *connections, struct weir_http_connection *connection);
void weir_http_connection_moved(struct weir_http_connections *connections, struct weir_http_connection *connection,
                                int64_t bytes);
/* False: it has been answered from here; give it up. */
bool weir_http_connection_handled(struct weir_http_connections *connections, struct weir_http_connection *connection);
void weir_http_connection_replied(struct weir_http_connections *connections, struct weir_http_connection *connection,
                                  uint64_t size);
void weir_http_connection_ended(struct weir_http_connections *connections, struct weir_http_connection *connection);
/* Answers now, in the middle of the body. False: it could not. Then, and when all of the body has come, give it up. */
bool weir_http_connection_refuse(struct weir_http_connections *connections, struct weir_http_connection *connection,
                                 int status, const char *json);

#endif
