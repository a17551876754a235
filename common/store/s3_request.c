/* One request: signed, sent, repeated where that is safe, its refusal put into words. */
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/thread.h"
#include "store/s3_int.h"
#include "store/sigv4.h"

#define PAUSE_FIRST_MS 50
#define PAUSE_MAX_MS 5000
#define STALL_MS 30000
#define TURN_SIZE ((size_t)256 << 10) /* so large an upload waits for its turn */
#define REDO 1                        /* verdicts of judge() */
#define HEADERS_MAX (WEIR_S3_PAIRS_MAX + 8)

int weir_s3_turns_ms = 500;

struct weir_xml weir_s3_answer(const struct weir_s3_call *call)
{
    return (struct weir_xml){call->body_out.data ? (const char *)call->body_out.data : "", call->body_out.size};
}

void weir_s3_call_fini(struct weir_s3_call *call)
{
    weir_buf_fini(&call->body_out);
}

/* Between none and all of a time that doubles: many that were refused together do not come back together. */
static void pause_before(int attempt, int64_t at_least_ms)
{
    int64_t bound = PAUSE_FIRST_MS << (attempt < 10 ? attempt : 10);
    if (bound > PAUSE_MAX_MS)
        bound = PAUSE_MAX_MS;
    int64_t seed = weir_clock_mono_ns();
    int64_t ms = (int64_t)(weir_xxh3(&seed, sizeof seed) % (uint64_t)bound) + 1;
    if (ms < at_least_ms)
        ms = at_least_ms;
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&pause, NULL);
}

static void crc32c_base64(const void *data, size_t size, char out[16])
{
    uint32_t crc = weir_crc32c_background(data, size);
    unsigned char bytes[4] = {(unsigned char)(crc >> 24), (unsigned char)(crc >> 16), (unsigned char)(crc >> 8),
                              (unsigned char)crc};
    EVP_EncodeBlock((unsigned char *)out, bytes, 4);
}

/* --- Turns: for a while large uploads go one after the other. To a server near by they get there no later, and one on the same host does not keep
 * all of its cores from those who process rows. When there is still more after that (a distant server, a large checkpoint) all go beside each other. */

static void begin_turn(struct weir_s3 *s3)
{
    pthread_mutex_lock(&s3->turns_mutex);
    if (s3->uploads + s3->uploads_waiting == 0)
        s3->turns_until = weir_cond_until(weir_s3_turns_ms);
    s3->uploads_waiting++;
    while (s3->uploads > 0 && pthread_cond_timedwait(&s3->turns_changed, &s3->turns_mutex, &s3->turns_until) == 0)
        ;
    s3->uploads_waiting--;
    s3->uploads++;
    pthread_mutex_unlock(&s3->turns_mutex);
}

static void end_turn(struct weir_s3 *s3)
{
    pthread_mutex_lock(&s3->turns_mutex);
    s3->uploads--;
    pthread_cond_signal(&s3->turns_changed);
    pthread_mutex_unlock(&s3->turns_mutex);
}

static weir_err send_in_turn(struct weir_s3 *s3, struct weir_http_exchange *x)
{
    bool waits = x->body_size >= TURN_SIZE;
    if (waits)
        begin_turn(s3);
    weir_err err = weir_http_engine_call(s3->engine, x);
    if (waits)
        end_turn(s3);
    return err;
}

/* --- One attempt */

static weir_err attempt(struct weir_s3 *s3, struct weir_s3_call *call, const struct weir_s3_key *key,
                        const char *payload_hash, struct weir_http_exchange *x)
{
    char *host = s3->path_style ? weir_strdup(s3->host) : weir_format("%s.%s", s3->bucket, s3->host);
    char *path = s3->path_style ? weir_format("/%s%s%s", s3->bucket, call->key ? "/" : "", call->key ? call->key : "")
                                : weir_format("/%s", call->key ? call->key : "");
    char checksum[16];
    struct weir_key_value pairs[HEADERS_MAX];
    int count = 0;
    pairs[count++] = (struct weir_key_value){"host", host};
    pairs[count++] = (struct weir_key_value){"x-amz-content-sha256", payload_hash};
    if (call->checksum) {
        crc32c_base64(call->body, call->body_size, checksum);
        pairs[count++] = (struct weir_key_value){"x-amz-checksum-crc32c", checksum};
    }
    for (int i = 0; i < call->header_count; i++)
        pairs[count++] = call->headers[i];
    struct weir_sigv4_key signing = {
        .access_key = key->access_key,
        .secret_key = key->secret_key,
        .token = key->token,
        .region = s3->region,
        .service = "s3",
    };
    struct weir_sigv4_request request = {
        .method = call->method,
        .path = path,
        .query = call->query,
        .query_count = call->query_count,
        .headers = pairs,
        .header_count = count,
        .payload_hash = payload_hash,
        .time_ms = weir_clock_wall_ms() + atomic_load(&s3->skew_ms),
    };
    struct weir_sigv4 sigv4;
    weir_sigv4_sign_header(&request, &signing, &sigv4);
    char *lines[HEADERS_MAX + 3];
    int line_count = 0;
    for (int i = 0; i < count; i++)
        lines[line_count++] = weir_format("%s: %s", pairs[i].key, pairs[i].value);
    lines[line_count++] = weir_format("x-amz-date: %s", sigv4.date);
    lines[line_count++] = weir_format("Authorization: %s", (char *)sigv4.authorization.data);
    if (key->token)
        lines[line_count++] = weir_format("x-amz-security-token: %s", key->token);
    char *url = weir_format("%s://%s%s%s%s", s3->scheme, host, (char *)sigv4.path.data, sigv4.query.size ? "?" : "",
                            sigv4.query.data ? (char *)sigv4.query.data : "");
    *x = (struct weir_http_exchange){
        .method = call->method,
        .url = url,
        .headers = (const char *const *)lines,
        .header_count = line_count,
        .body = call->body,
        .body_size = call->body_size,
        .stall_ms = STALL_MS,
        .response_size_max = call->response_max,
        .response_fd = call->response_fd,
        .response_offset = call->response_offset,
    };
    weir_err err = send_in_turn(s3, x);
    x->url = NULL; /* the caller reads the answer only */
    x->headers = NULL;
    for (int i = 0; i < line_count; i++)
        free(lines[i]);
    free(url);
    free(host);
    free(path);
    weir_sigv4_fini(&sigv4);
    return err;
}

/* --- What an answer means */

struct refusal {
    char code[64], message[400];
    bool bare; /* no body */
};

static void read_refusal(const struct weir_http_exchange *x, struct refusal *refusal)
{
    struct weir_xml answer = {x->body_out.data ? (const char *)x->body_out.data : "", x->body_out.size}, inside;
    if (!weir_xml_find(answer, "Error", &inside))
        inside = answer;
    weir_xml_text(inside, "Code", refusal->code, sizeof refusal->code);
    weir_xml_text(inside, "Message", refusal->message, sizeof refusal->message);
    refusal->bare = x->body_out.size == 0;
    if (!refusal->code[0]) /* HEAD has no body; a proxy has another one */
        snprintf(refusal->code, sizeof refusal->code, "HTTP status %d", x->status);
}

/* The server's clock, from Date, when it is ours that is off. */
static bool correct_clock(struct weir_s3 *s3, const struct weir_http_exchange *x)
{
    char date[64];
    struct tm tm = {0};
    if (!weir_http_exchange_header(x, "Date", date, sizeof date) || !strptime(date, "%a, %d %b %Y %H:%M:%S", &tm))
        return false;
    int64_t skew_ms = (int64_t)timegm(&tm) * 1000 - weir_clock_wall_ms();
    weir_log(WARN,
             "this host's clock differs by %" PRId64 " s from that of %s: requests are signed with the server's time",
             skew_ms / 1000, s3->host);
    atomic_store(&s3->skew_ms, skew_ms);
    return true;
}

/* Of a 404. Whatever else is not found, a user or a service or a proxy's page, says nothing of the object: taken for absence it would end a job. */
static bool says_absent(const struct refusal *r)
{
    const char *code = r->code;
    return strcmp(code, "NoSuchKey") == 0 || strcmp(code, "NotFound") == 0 || strcmp(code, "NoSuchUpload") == 0 ||
           strcmp(code, "NoSuchVersion") == 0 || r->bare;
}

static weir_err refused(struct weir_s3 *s3, const struct weir_s3_call *call, const struct weir_s3_key *key, int status,
                        const struct refusal *r, struct weir_error *error)
{
    const char *code = r->code;
    if (strcmp(code, "NoSuchBucket") == 0)
        return weir_fail(error, WEIR_ERR_INVALID, "there is no bucket '%s' at %s: create it, or correct the name",
                         s3->bucket, s3->host);
    if (strcmp(code, "InvalidAccessKeyId") == 0 || strcmp(code, "XAdminUserNotFound") == 0)
        return weir_fail(error, WEIR_ERR_INVALID, "the access key '%.8s...' from %s is not known to %s (%s)",
                         key->access_key, key->origin, s3->host, code);
    if (status == 404 && says_absent(r))
        return weir_fail(error, WEIR_ERR_NOT_FOUND, "there is no such object");
    if (status == 412 || status == 409)
        return weir_fail(error, WEIR_ERR_EXISTS, "a condition did not hold (%s)", code);
    if (status == 301 || status == 307 || strcmp(code, "AuthorizationHeaderMalformed") == 0)
        return weir_fail(error, WEIR_ERR_INVALID, "bucket '%s' is not in region '%s': set s3.region (%s)", s3->bucket,
                         s3->region, r->message);
    if (status == 401 || status == 403)
        return weir_fail(error, WEIR_ERR_INVALID, "%s refuses %s with the credentials from %s: %s %s", s3->host,
                         call->method, key->origin, code, r->message);
    if (status >= 500 || status == 429)
        return weir_fail(error, WEIR_ERR_IO, "%s answered %d %s %s, %d times", s3->host, status, code, r->message,
                         call->once ? 1 : s3->attempts_max);
    return weir_fail(error, WEIR_ERR_INVALID, "%s refused the request: %d %s %s", s3->host, status, code, r->message);
}

/* REDO: again after a pause. Otherwise the end: WEIR_OK or an error. */
static int judge(struct weir_s3 *s3, struct weir_s3_call *call, const struct weir_s3_key *key,
                 const struct weir_http_exchange *x, bool last, bool *corrected, weir_err *result,
                 struct weir_error *error)
{
    *result = x->err;
    if (x->err) {
        if (error)
            *error = x->error;
        bool may_pass = x->err == WEIR_ERR_IO || x->err == WEIR_ERR_TIMEOUT;
        return may_pass && !last && (!call->once || x->error.effect == WEIR_EFFECT_NONE) ? REDO : 0;
    }
    if (x->status / 100 == 2)
        return 0;
    struct refusal r = {0};
    read_refusal(x, &r);
    bool skewed = strcmp(r.code, "RequestTimeTooSkewed") == 0 || strcmp(r.code, "RequestExpired") == 0;
    bool expired = strcmp(r.code, "ExpiredToken") == 0 || strcmp(r.code, "ExpiredTokenException") == 0 ||
                   strcmp(r.code, "TokenRefreshRequired") == 0;
    if (skewed && !*corrected && correct_clock(s3, x))
        return *corrected = true, REDO;
    if (expired && !*corrected) {
        weir_s3_credentials_expired(s3->credentials, key);
        return *corrected = true, REDO;
    }
    /* A 503 was refused before anything happened; of a 500 nobody knows. */
    bool may_pass = x->status >= 500 || x->status == 429 || strcmp(r.code, "RequestTimeout") == 0;
    if (may_pass && !last && (!call->once || x->status == 503 || x->status == 429))
        return REDO;
    *result = refused(s3, call, key, x->status, &r, error);
    if (error)
        error->effect = x->status >= 500 && x->status != 503 ? WEIR_EFFECT_MAYBE : WEIR_EFFECT_NONE;
    return 0;
}

weir_err weir_s3_perform(struct weir_s3 *s3, struct weir_s3_call *call, struct weir_error *error)
{
    char hash[65] = WEIR_SIGV4_UNSIGNED; /* the checksum that is signed says whether it came as it was sent */
    if (!call->checksum || !s3->guarded)
        weir_sha256_hex(call->body ? call->body : "", call->body_size, hash);
    weir_buf_init(&call->body_out, 1); /* until there is an answer */
    bool corrected = false;
    weir_err err = WEIR_OK;
    for (int n = 0;; n++) {
        struct weir_s3_key key = {0};
        err = weir_s3_credentials_get(s3->credentials, &key, error);
        if (err)
            return err;
        struct weir_http_exchange x;
        (void)!attempt(s3, call, &key, hash, &x); /* judge() reads x.err */
        int verdict = judge(s3, call, &key, &x, n + 1 >= s3->attempts_max, &corrected, &err, error);
        weir_s3_key_fini(&key);
        char retry_after[16] = "";
        if (verdict == REDO) {
            weir_http_exchange_header(&x, "Retry-After", retry_after, sizeof retry_after);
            weir_http_exchange_fini(&x);
            long seconds = strtol(retry_after, NULL, 10);
            pause_before(n, seconds > 0 && seconds <= 20 ? seconds * 1000 : 0);
            continue;
        }
        call->status = x.status;
        call->response_size = x.response_size;
        char length[32];
        call->content_size =
            weir_http_exchange_header(&x, "Content-Length", length, sizeof length) ? strtoll(length, NULL, 10) : -1;
        weir_http_exchange_header(&x, "ETag", call->etag, sizeof call->etag);
        call->body_out = x.body_out;
        weir_buf_init(&x.body_out, 1);
        weir_http_exchange_fini(&x);
        return err;
    }
}
