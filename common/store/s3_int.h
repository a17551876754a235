/* The S3 store's parts: settings, credentials, and one signed request. */
#ifndef WEIR_STORE_S3_INT_H
#define WEIR_STORE_S3_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/config.h"
#include "http/http_engine.h"
#include "store/s3_xml.h"
#include "store/store_int.h"

/* --- Credentials (s3_credentials.c). Tried in this order, the first that is there counts: s3.access-key and s3.secret-key; the environment
 * (AWS_ACCESS_KEY_ID, ...); a web identity (AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN: STS); ~/.aws/credentials (AWS_PROFILE); a
 * container's URI (AWS_CONTAINER_CREDENTIALS_*); the instance's metadata (IMDSv2). Temporary ones are renewed 5 minutes before they end. */

struct weir_s3_key {
    char *access_key, *secret_key;
    char *token;        /* NULL: none */
    int64_t expires_ms; /* wall clock; INT64_MAX: never */
    const char *origin; /* for messages: "the environment" */
};

struct weir_s3_credentials; /* opaque, thread-safe */

struct weir_s3_credentials *weir_s3_credentials_new(const struct weir_config *config, const char *region,
                                                    struct weir_http_engine *engine);
void weir_s3_credentials_free(struct weir_s3_credentials *credentials);
/* A copy of what is good now, by weir_s3_key_fini(). Blocks while they are fetched. INVALID: there are none anywhere. */
weir_err weir_s3_credentials_get(struct weir_s3_credentials *credentials, struct weir_s3_key *key,
                                 struct weir_error *error);
/* The server called `key` expired: the next get fetches anew. */
void weir_s3_credentials_expired(struct weir_s3_credentials *credentials, const struct weir_s3_key *key);
void weir_s3_key_fini(struct weir_s3_key *key);

/* --- The store */

struct weir_s3 {
    struct weir_store head;
    char *scheme, *host; /* of the endpoint, host with its port */
    bool guarded;        /* nobody else can change what is on its way there: TLS, or it is this host */
    char *bucket, *region;
    char *prefix; /* "" or "a/b/" */
    bool path_style;
    int64_t part_size;
    int parallel; /* parts of one object at a time */
    int attempts_max;
    struct weir_http_engine *engine;
    struct weir_s3_credentials *credentials;
    _Atomic int64_t skew_ms; /* server's clock - ours */
    pthread_mutex_t turns_mutex;
    pthread_cond_t turns_changed;
    int uploads, uploads_waiting; /* large ones under way, and behind them */
    struct timespec turns_until;  /* the end of turns, until none is under way or waits any more */
};

extern int weir_s3_turns_ms; /* for so long at a time large uploads take turns */

/* --- One request (s3_request.c) */

#define WEIR_S3_PAIRS_MAX 6

struct weir_s3_call {
    const char *method;
    const char *key; /* whole, with the prefix; NULL: the bucket */
    struct weir_key_value query[WEIR_S3_PAIRS_MAX];
    int query_count;
    struct weir_key_value headers[WEIR_S3_PAIRS_MAX]; /* Host, x-amz-* of the signature are added */
    int header_count;
    const void *body;
    size_t body_size;
    bool checksum; /* send x-amz-checksum-crc32c of the body */
    bool once;     /* not repeated when it may have happened: conditional writes */
    size_t response_max;
    int response_fd; /* 0: into body_out */
    int64_t response_offset;

    /* the answer */
    int status;
    struct weir_buf body_out;
    char etag[128];
    int64_t response_size; /* of the body that came */
    int64_t content_size;  /* as Content-Length says (HEAD); -1: it does not */
};

/* WEIR_OK: status 2xx. Repeats with growing, random pauses what may pass: broken connections, 5xx, 429, a clock that is off, expired credentials. Otherwise the
 * error says what a person can do: NOT_FOUND (404), EXISTS (409, 412), INVALID (403, 301, no bucket), IO, TIMEOUT. */
weir_err weir_s3_perform(struct weir_s3 *s3, struct weir_s3_call *call, struct weir_error *error);
void weir_s3_call_fini(struct weir_s3_call *call);
struct weir_xml weir_s3_answer(const struct weir_s3_call *call);

#endif
