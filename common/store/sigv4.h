/* AWS Signature Version 4, as a pure function of request, key and time; proved against the published cases
 * (tests/unit/sigv4_test.c). Source: "Signature Version 4 signing process", AWS General Reference.
 *
 * Paths, query names and values are given as literal bytes and encoded here, once and for both the URL and the signature: what is
 * sent and what is signed cannot differ.
 */
#ifndef WEIR_STORE_SIGV4_H
#define WEIR_STORE_SIGV4_H

#include "base/mem.h"
#include "base/options.h"

#define WEIR_SIGV4_UNSIGNED "UNSIGNED-PAYLOAD"
#define WEIR_SIGV4_DATE_SIZE 17 /* "20150830T123600Z" and its 0 */

struct weir_sigv4_key {
    const char *access_key, *secret_key;
    const char *token; /* of temporary credentials; NULL: none */
    const char *region, *service;
    bool normalize_path;   /* resolve "." and "..", join slashes: every service but S3 */
    bool token_not_signed; /* sent, but added after signing (a few services) */
};

struct weir_sigv4_request {
    const char *method;
    const char *path; /* "/bucket/key", not encoded */
    const struct weir_key_value *query;
    int query_count;
    const struct weir_key_value *headers; /* Host among them; all are signed. Names in any case */
    int header_count;
    const char *payload_hash; /* SHA-256 of the body in hex, or WEIR_SIGV4_UNSIGNED */
    int64_t time_ms;          /* since 1970 */
};

/* What was made on the way, for tests and for the message when a server refuses a signature. */
struct weir_sigv4 {
    struct weir_buf canonical, string_to_sign;
    struct weir_buf authorization;   /* header variant: value of Authorization */
    struct weir_buf query;           /* encoded, in canonical order; query variant: with the signature */
    struct weir_buf path;            /* encoded */
    char date[WEIR_SIGV4_DATE_SIZE]; /* header variant: value of x-amz-date, which must be sent */
    char signature[65];
};

/* Signs with a header. To be sent besides the request's own headers: x-amz-date, x-amz-security-token where there is a token,
 * Authorization. `out` is filled whole; weir_sigv4_fini() frees it. */
void weir_sigv4_sign_header(const struct weir_sigv4_request *request, const struct weir_sigv4_key *key,
                            struct weir_sigv4 *out);
/* Signs a URL that is good for expires_s seconds (1..604800). */
void weir_sigv4_sign_query(const struct weir_sigv4_request *request, const struct weir_sigv4_key *key, int expires_s,
                           struct weir_sigv4 *out);
void weir_sigv4_fini(struct weir_sigv4 *out);

/* Percent-encodes all but A-Z a-z 0-9 - . _ ~ and, where keep_slash, '/'. */
void weir_sigv4_encode(struct weir_buf *out, const char *text, bool keep_slash);

#endif
