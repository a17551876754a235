/* HTTP exchanges, many at a time, over libcurl's multi interface: one thread, one pool of connections. For what http_client.h is too simple
 * for: an object store's uploads and downloads, anything that is asked often or in parallel.
 *
 * An exchange is the caller's struct. Whatever happens it is done exactly once: answered (err WEIR_OK, any status), failed, or canceled
 * because the engine ends. Bounds: connections_max exchanges run, the others wait in order (their timeouts begin when they run); at most
 * waiting_max may wait.
 */
#ifndef WEIR_HTTP_HTTP_ENGINE_H
#define WEIR_HTTP_HTTP_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/mem.h"

struct weir_http_engine; /* opaque */

struct weir_http_engine_options {
    int connections_max;    /* 1..1024; 0: 16 */
    int waiting_max;        /* 0: 4096 */
    const char *ca_file;    /* PEM of authorities that are trusted besides the system's; NULL: none */
    bool proxy_environment; /* go through https_proxy and the like; default: straight */
};

enum weir_http_exchange_state { WEIR_HTTP_IDLE, WEIR_HTTP_WAITING, WEIR_HTTP_RUNNING, WEIR_HTTP_DONE };

struct weir_http_exchange {
    /* The request; what is pointed to stays until done. */
    const char *method;
    const char *url;            /* http:// or https://, sent as it is; redirects are not followed */
    const char *const *headers; /* "Name: value" each */
    int header_count;
    const void *body;
    size_t body_size;
    int connect_timeout_ms;   /* 0: 5 s */
    int timeout_ms;           /* of the whole; 0: none but the next */
    int stall_ms;             /* so long less than 1 byte/s moves: failed; 0: 30 s */
    size_t response_size_max; /* of the body of an answer 2xx; 0: 64 MiB. Others: 64 KiB */
    int response_fd;          /* a body of status 2xx goes there by pwrite; -1 or 0: into `body_out` */
    int64_t response_offset;  /* of its first byte there */

    /* The answer, once done. */
    weir_err err;            /* IO (not reachable, broken), TIMEOUT, FULL (too large), INVALID (URL), CANCELED */
    struct weir_error error; /* with effect NONE when no connection was made */
    int status;
    struct weir_buf headers_out; /* raw, of the last answer */
    struct weir_buf body_out;
    int64_t response_size; /* of the body, wherever it went */

    /* The engine's */
    enum weir_http_exchange_state state;
    struct weir_http_exchange *next;
    struct weir_http_transfer *transfer;
};

/* NULL and error: no thread, no such ca_file. */
struct weir_http_engine *weir_http_engine_new(const struct weir_http_engine_options *options, struct weir_error *error);
/* Cancels what is under way, joins the thread. NULL is allowed. */
void weir_http_engine_free(struct weir_http_engine *engine);

/* Blocks until it is done; any thread, any number of them. FULL: waiting_max are waiting. Returns exchange->err. */
weir_err weir_http_engine_call(struct weir_http_engine *engine, struct weir_http_exchange *exchange);

/* Frees the answer; the request may be started again then. */
void weir_http_exchange_fini(struct weir_http_exchange *exchange);
/* The value of an answer's header (any case), copied and cut to size; false and "": not there. */
bool weir_http_exchange_header(const struct weir_http_exchange *exchange, const char *name, char *value, size_t size);

#endif
