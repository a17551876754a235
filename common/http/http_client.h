/* HTTP client over libcurl: one blocking call a request, for the `weir` command and for fetching a job's code.
 *
 * Every call has a bound on its time and on the size of the answer. Errors are sentences for people: "cannot reach 127.0.0.1:8081:
 * connection refused". Any thread; calls share nothing.
 */
#ifndef WEIR_HTTP_CLIENT_H
#define WEIR_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/mem.h"

struct weir_http_request {
    const char *method; /* "GET", "POST", "PATCH", "DELETE", "PUT" */
    const char *url;    /* http:// or https:// only; redirects are not followed */
    const void *body;   /* or NULL */
    size_t body_size;
    const char *content_type; /* of body; NULL: application/json */
    const char *upload_path;  /* a file to send as the one multipart part, streamed; then no body */
    const char *upload_part;  /* its name; NULL: "jarfile" */
    const char *token;        /* sent as Authorization: Bearer; NULL: none */
    const char *user_info;    /* "user:password", sent as Authorization: Basic; NULL: none */
    const char *ca_file;      /* for https: who may have signed the server's certificate; NULL: the system's list */
    const char *ca_option; /* which option names it, for messages; NULL: the cluster's own, security.ssl.rest.ca-file */
    const char *certificate_file;     /* for https: PEM of the client's certificate and its key; NULL: none */
    const char *certificate_password; /* of that key; NULL: none */
    const char *certificate_option;   /* which option names it, for messages */
    bool any_certificate;             /* for https: whoever answers is believed; only where nothing secret is sent */
    int connect_timeout_ms;           /* 0: 5 s */
    int timeout_ms;                   /* whole exchange; 0: 60 s */
    size_t response_size_max;         /* 0: 64 MiB */
};

struct weir_http_response {
    int status;
    struct weir_buf body; /* by weir_http_response_fini() */
};

/* WEIR_OK: there was an answer, of whatever status. WEIR_ERR_IO: not reachable (error->effect NONE when the connection was
 * never made, MAYBE when it broke later), TIMEOUT, FULL (answer too large), INVALID (URL), NOT_FOUND (no such upload_path).
 * Blocks. *response is valid only after WEIR_OK. */
weir_err weir_http_call(const struct weir_http_request *request, struct weir_http_response *response,
                        struct weir_error *error);
void weir_http_response_fini(struct weir_http_response *response);

/* The request's answer (its method is GET) into a new file (replaced when it exists; removed again on failure). An answer other than 200 is an error with its message:
 * NOT_FOUND for 404, else IO; FULL when the body is larger than size_max. Blocks. */
weir_err weir_http_download(const struct weir_http_request *request, const char *path, int64_t size_max,
                            struct weir_error *error);

/* Percent-encodes one path segment or query value. Freed by the caller. */
char *weir_http_escape(const char *text);

#endif
