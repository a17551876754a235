/* HTTP server over libmicrohttpd: routes, bodies with bounds, streamed uploads.
 *
 * Requests are handled on one thread of the server's own (epoll), in the order in which they are complete; a handler that works
 * long holds up the others, unless its route says WEIR_HTTP_BLOCKING: then it runs on one of a few threads of the server and
 * its connection is suspended meanwhile. A handler fills the response; it may not keep the request.
 *
 * Bounds: a body over `body_size_max` (upload routes: `upload_size_max`) is answered with 413 as soon as its length is known or
 * has been passed; the request line and headers together at most 32 KiB (else 414 or 431); a request that does not arrive in time is
 * answered with 408, and who holds connections and does not use them gives way to others (http_connections.h). Uploads go to a
 * file while they arrive.
 *
 * A 401 carries WWW-Authenticate: Bearer. Errors are {"errors":["..."]}. Every route is served bare and under /v1. An unknown GET is "Unable to load requested file /x.",
 * another method on a known or unknown path "Not found: /x", both 404, as Flink answers.
 */
#ifndef WEIR_HTTP_SERVER_H
#define WEIR_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/mem.h"

#define WEIR_HTTP_PARAMS_MAX 8
#define WEIR_HTTP_QUERY_MAX 64 /* query arguments of a request; more is 400 */

struct weir_http_server;
struct json_t;

struct weir_http_query {
    const char *name, *value; /* decoded; value "" when there was none */
};

struct weir_http_server_request {
    const char *method;
    const char *path; /* decoded once, without /v1 */
    const char *params
        [WEIR_HTTP_PARAMS_MAX]; /* values of the route's :names, in order; decoded, without '/' or control characters */
    const struct weir_http_query *query;
    int query_count;
    const uint8_t *body; /* NULL: none, or an upload */
    size_t body_size;
    const char *content_type; /* or "" */
    const char
        *upload_path; /* upload routes: the file, the handler's to rename; unlinked after the handler if still there */
    const char *upload_name; /* the name that the client gave, or "" */
    const char *upload_part; /* multipart: the part's name; "": the body itself was the file */
    int64_t upload_size;
    int upload_count; /* parts with a file; only the first is kept */
    void *arg;        /* the server's */
};

struct weir_http_server_response {
    int status;               /* 200 unless changed */
    const char *content_type; /* static text; NULL: application/json; charset=UTF-8 */
    struct weir_buf body;     /* freed by the server */
    int file_fd;              /* >= 0: the body is this file from file_offset; closed by the server */
    uint64_t file_offset, file_size;
    bool no_store; /* Cache-Control: no-store */
};

typedef void weir_http_handler(const struct weir_http_server_request *request,
                               struct weir_http_server_response *response);

struct weir_http_route;
/* Asked at the headers of every request, known route (or NULL) or not, before anything of its body is read. True: go on. False: the
 * response is filled and sent at once. `client`: the address it comes from. On the server's thread. */
typedef bool weir_http_authorize(void *arg, const struct weir_http_route *route,
                                 const struct weir_http_server_request *request, const char *authorization,
                                 const char *client, struct weir_http_server_response *response);

enum weir_http_route_flags {
    WEIR_HTTP_UPLOAD = 1,   /* the body (multipart/form-data, or any other type as it is) goes to a file */
    WEIR_HTTP_BLOCKING = 2, /* the handler may take long */
    WEIR_HTTP_OPEN = 4,     /* for authorize: everyone may, it shows nothing */
    WEIR_HTTP_CHANGES = 8,  /* for authorize: it changes or runs something, although it is a GET */
};

struct weir_http_route {
    const char *method;
    const char *pattern; /* "/jobs/:jobid/plan"; a literal segment wins over a :name */
    weir_http_handler *handler;
    int flags;
};

struct weir_http_server_options {
    const char *address;                  /* NULL: 127.0.0.1 */
    int port;                             /* 0: any free one */
    const struct weir_http_route *routes; /* ends with method NULL; borrowed */
    void *arg;
    weir_http_authorize *authorize; /* NULL: everyone may everything */
    size_t body_size_max;           /* 0: 1 MiB */
    int64_t upload_size_max;        /* 0: 256 MiB */
    const char *upload_dir;         /* where uploads lie while they arrive; needed by upload routes */
    const char *certificate;        /* PEM text, copied; with it, and its key, HTTPS only */
    const char *certificate_key;
    int timeout_ms;      /* for a request's line and headers, and between parts of its body; 0: 30 s */
    int connections_max; /* 0: 256; beyond, idle and slow ones are closed */
};

/* Binds and starts. INVALID: the certificate and its key are not taken. WEIR_ERR_EXISTS: the port is in use. */
weir_err weir_http_server_start(const struct weir_http_server_options *options, struct weir_http_server **server,
                                struct weir_error *error);
int weir_http_server_port(const struct weir_http_server *server);
/* Waits for running handlers. NULL is allowed. */
void weir_http_server_stop(struct weir_http_server *server);

/* --- For handlers */

/* {"errors":[message]} with that status. */
void weir_http_fail(struct weir_http_server_response *response, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Takes the reference; a body of compact JSON. */
void weir_http_json(struct weir_http_server_response *response, int status, struct json_t *take_json);
/* NULL: not given. */
const char *weir_http_query_get(const struct weir_http_server_request *request, const char *name);
/* The body as a JSON object (a new one when the body is empty). NULL: it is not one; the response is a 400 that says where. Nesting is
 * bounded, duplicate keys and invalid UTF-8 are refused. */
struct json_t *weir_http_body_object(const struct weir_http_server_request *request,
                                     struct weir_http_server_response *response);
/* The HTTP status for an error code: INVALID 400, NOT_FOUND 404, EXISTS 409, TIMEOUT 408, FULL 413, ... */
int weir_http_status_of(enum weir_err_code code);

#endif
