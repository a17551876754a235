/* One thread runs curl_multi; a mutex guards the queue and the states; what runs belongs to the thread alone. */
#include "http/http_engine.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/assert.h"
#include "http/http_int.h"

#define HEADERS_SIZE_MAX ((size_t)64 << 10)
#define BODY_SIZE_MAX ((size_t)64 << 20)
#define REFUSAL_SIZE_MAX ((size_t)64 << 10) /* of the body of an answer other than 2xx */
#define POLL_MS 1000

struct weir_http_transfer { /* a running exchange's side of curl */
    CURL *curl;
    struct curl_slist *headers;
    char detail[CURL_ERROR_SIZE];
    bool full;
    int write_errno;
};

struct weir_http_engine {
    struct weir_http_engine_options options;
    char *ca_file;
    CURLM *multi;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t done;
    /* under the mutex */
    struct weir_http_exchange *first, *last; /* waiting */
    int waiting;
    bool stopping;
    /* the thread's */
    struct weir_http_exchange *running;
    int running_count;
};

/* --- What curl calls */

static size_t take_header(char *data, size_t one, size_t size, void *arg)
{
    (void)one;
    struct weir_http_exchange *x = arg;
    if (size >= 5 && memcmp(data, "HTTP/", 5) == 0) /* after a 100 Continue */
        weir_buf_clear(&x->headers_out);
    return weir_buf_append(&x->headers_out, data, size) ? size : 0;
}

static size_t take_body(char *data, size_t one, size_t size, void *arg)
{
    (void)one;
    struct weir_http_exchange *x = arg;
    long status = 0;
    curl_easy_getinfo(x->transfer->curl, CURLINFO_RESPONSE_CODE, &status);
    bool refused = status / 100 != 2, to_file = x->response_fd > 0 && !refused;
    size_t max = refused ? REFUSAL_SIZE_MAX : x->response_size_max ? x->response_size_max : BODY_SIZE_MAX;
    if ((size_t)x->response_size + size > max || (!to_file && !weir_buf_append(&x->body_out, data, size))) {
        x->transfer->full = true;
        return 0;
    }
    for (size_t done = 0; to_file && done < size;) {
        ssize_t n =
            pwrite(x->response_fd, data + done, size - done, x->response_offset + x->response_size + (int64_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            x->transfer->write_errno = errno;
            return 0;
        }
        done += (size_t)n;
    }
    x->response_size += (int64_t)size;
    return size;
}

/* --- One exchange on the thread */

static void begin(struct weir_http_engine *engine, struct weir_http_exchange *x)
{
    struct weir_http_transfer *transfer = weir_zalloc(sizeof *transfer);
    CURL *curl = curl_easy_init();
    weir_assert(curl != NULL);
    x->transfer = transfer;
    transfer->curl = curl;
    bool has_type = false;
    for (int i = 0; i < x->header_count; i++) {
        transfer->headers = curl_slist_append(transfer->headers, x->headers[i]);
        has_type |= strncasecmp(x->headers[i], "Content-Type:", 13) == 0;
    }
    transfer->headers = curl_slist_append(transfer->headers, "Expect:");
    if (!has_type)
        transfer->headers = curl_slist_append(transfer->headers, "Content-Type:");
    curl_easy_setopt(curl, CURLOPT_URL, x->url);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    if (!engine->options.proxy_environment)
        curl_easy_setopt(curl, CURLOPT_PROXY, "");
    if (engine->ca_file)
        curl_easy_setopt(curl, CURLOPT_CAINFO, engine->ca_file);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, transfer->detail);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)(x->connect_timeout_ms ? x->connect_timeout_ms : 5000));
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)x->timeout_ms);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)(x->stall_ms ? (x->stall_ms + 999) / 1000 : 30));
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, x);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "weir/" WEIR_VERSION);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, transfer->headers);
    curl_easy_setopt(curl, CURLOPT_PRIVATE, x);
    if (strcmp(x->method, "HEAD") == 0) {
        curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    } else if (x->body || strcmp(x->method, "PUT") == 0 || strcmp(x->method, "POST") == 0) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)x->body_size);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, x->body ? x->body : "");
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, x->method);
    } else if (strcmp(x->method, "GET") != 0) {
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, x->method);
    }
    weir_assert(curl_multi_add_handle(engine->multi, curl) == CURLM_OK);
    x->next = engine->running;
    engine->running = x;
    engine->running_count++;
}

/* After this the exchange is its owner's again. */
static void finish(struct weir_http_engine *engine, struct weir_http_exchange *x)
{
    struct weir_http_transfer *transfer = x->transfer;
    if (transfer) {
        for (struct weir_http_exchange **at = &engine->running; *at; at = &(*at)->next)
            if (*at == x) {
                *at = x->next;
                break;
            }
        engine->running_count--;
        curl_multi_remove_handle(engine->multi, transfer->curl);
        curl_easy_cleanup(transfer->curl);
        curl_slist_free_all(transfer->headers);
        free(transfer);
        x->transfer = NULL;
    }
    pthread_mutex_lock(&engine->mutex);
    x->state = WEIR_HTTP_DONE;
    x->next = NULL;
    pthread_cond_broadcast(&engine->done);
    pthread_mutex_unlock(&engine->mutex);
}

static void conclude(struct weir_http_engine *engine, struct weir_http_exchange *x, CURLcode code)
{
    struct weir_http_transfer *transfer = x->transfer;
    long status = 0;
    curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &status);
    x->status = (int)status;
    if (code != CURLE_OK) {
        struct weir_http_trouble trouble = {
            .code = (int)code,
            .curl = transfer->curl,
            .url = x->url,
            .full = transfer->full,
            .size_max = (int64_t)(x->response_size_max ? x->response_size_max : BODY_SIZE_MAX),
            .write_errno = transfer->write_errno,
            .timeout_ms = x->timeout_ms ? x->timeout_ms
                          : x->stall_ms ? x->stall_ms
                                        : 30000,
            .detail = transfer->detail,
        };
        x->err = weir_http_explain(&trouble, &x->error);
    }
    finish(engine, x);
}

static void cancel(struct weir_http_engine *engine, struct weir_http_exchange *x)
{
    x->err = weir_fail(&x->error, WEIR_ERR_CANCELED, "canceled: %s %s", x->method, x->url);
    x->error.effect = x->transfer ? WEIR_EFFECT_MAYBE : WEIR_EFFECT_NONE;
    finish(engine, x);
}

/* --- The thread */

/* Takes from the queue what may run, or what must end: a list. */
static struct weir_http_exchange *take_waiting(struct weir_http_engine *engine, bool *stopping)
{
    struct weir_http_exchange *taken = NULL, **end = &taken;
    pthread_mutex_lock(&engine->mutex);
    *stopping = engine->stopping;
    int room = engine->options.connections_max - engine->running_count;
    struct weir_http_exchange **at = &engine->first, *kept = NULL;
    while (*at) {
        struct weir_http_exchange *x = *at;
        if (!*stopping && room <= 0) {
            kept = x;
            at = &x->next;
            continue;
        }
        room--;
        *at = x->next;
        x->next = NULL;
        x->state = WEIR_HTTP_RUNNING;
        engine->waiting--;
        *end = x;
        end = &x->next;
    }
    engine->last = kept;
    pthread_mutex_unlock(&engine->mutex);
    return taken;
}

static void cancel_running(struct weir_http_engine *engine)
{
    for (struct weir_http_exchange *x = engine->running, *next; x; x = next) {
        next = x->next;
        cancel(engine, x);
    }
}

static void *run(void *arg)
{
    struct weir_http_engine *engine = arg;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    for (bool stopping = false; !stopping;) {
        struct weir_http_exchange *list = take_waiting(engine, &stopping);
        while (list) {
            struct weir_http_exchange *x = list;
            list = x->next;
            if (stopping)
                cancel(engine, x);
            else
                begin(engine, x);
        }
        if (stopping)
            cancel_running(engine);
        int active, left;
        weir_assert(curl_multi_perform(engine->multi, &active) == CURLM_OK);
        bool ended = false;
        for (CURLMsg *message; (message = curl_multi_info_read(engine->multi, &left)) != NULL;)
            if (message->msg == CURLMSG_DONE) {
                struct weir_http_exchange *x = NULL;
                curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&x);
                conclude(engine, x, message->data.result);
                ended = true;
            }
        if (!ended && !stopping)
            curl_multi_poll(engine->multi, NULL, 0, POLL_MS, NULL);
    }
    return NULL;
}

/* --- For callers */

struct weir_http_engine *weir_http_engine_new(const struct weir_http_engine_options *options, struct weir_error *error)
{
    weir_http_init();
    if (options->ca_file && access(options->ca_file, R_OK) != 0) {
        (void)!weir_fail_errno(error, WEIR_ERR_NOT_FOUND, "cannot read the certificates in '%s'", options->ca_file);
        return NULL;
    }
    struct weir_http_engine *engine = weir_zalloc(sizeof *engine);
    engine->options = *options;
    if (engine->options.connections_max == 0)
        engine->options.connections_max = 16;
    if (engine->options.waiting_max == 0)
        engine->options.waiting_max = 4096;
    engine->ca_file = options->ca_file ? weir_strdup(options->ca_file) : NULL;
    engine->multi = curl_multi_init();
    weir_assert(engine->multi != NULL);
    curl_multi_setopt(engine->multi, CURLMOPT_MAXCONNECTS, (long)engine->options.connections_max);
    pthread_mutex_init(&engine->mutex, NULL);
    pthread_cond_init(&engine->done, NULL);
    int failed = pthread_create(&engine->thread, NULL, run, engine);
    if (failed) {
        errno = failed;
        (void)!weir_fail_errno(error, WEIR_ERR_IO, "cannot start a thread");
        curl_multi_cleanup(engine->multi);
        free(engine->ca_file);
        free(engine);
        return NULL;
    }
    return engine;
}

void weir_http_engine_free(struct weir_http_engine *engine)
{
    if (!engine)
        return;
    pthread_mutex_lock(&engine->mutex);
    engine->stopping = true;
    pthread_mutex_unlock(&engine->mutex);
    curl_multi_wakeup(engine->multi);
    pthread_join(engine->thread, NULL);
    curl_multi_cleanup(engine->multi);
    pthread_mutex_destroy(&engine->mutex);
    pthread_cond_destroy(&engine->done);
    free(engine->ca_file);
    free(engine);
}

static weir_err start(struct weir_http_engine *engine, struct weir_http_exchange *x, struct weir_error *error)
{
    weir_assert(x->state == WEIR_HTTP_IDLE);
    x->err = WEIR_OK;
    x->status = 0;
    x->response_size = 0;
    x->next = NULL;
    memset(&x->error, 0, sizeof x->error);
    weir_buf_init(&x->headers_out, HEADERS_SIZE_MAX);
    size_t max = x->response_size_max ? x->response_size_max : BODY_SIZE_MAX;
    weir_buf_init(&x->body_out, max > REFUSAL_SIZE_MAX ? max : REFUSAL_SIZE_MAX);
    pthread_mutex_lock(&engine->mutex);
    bool full = engine->waiting >= engine->options.waiting_max;
    if (!full) {
        x->state = WEIR_HTTP_WAITING;
        if (engine->last)
            engine->last->next = x;
        else
            engine->first = x;
        engine->last = x;
        engine->waiting++;
    }
    pthread_mutex_unlock(&engine->mutex);
    if (full)
        return weir_fail(error, WEIR_ERR_FULL, "%d HTTP requests are waiting already", engine->options.waiting_max);
    curl_multi_wakeup(engine->multi);
    return WEIR_OK;
}

static void wait_for(struct weir_http_engine *engine, const struct weir_http_exchange *x)
{
    pthread_mutex_lock(&engine->mutex);
    while (x->state != WEIR_HTTP_DONE)
        pthread_cond_wait(&engine->done, &engine->mutex);
    pthread_mutex_unlock(&engine->mutex);
}

weir_err weir_http_engine_call(struct weir_http_engine *engine, struct weir_http_exchange *x)
{
    struct weir_error error = {0};
    weir_err err = start(engine, x, &error);
    if (err) {
        x->err = err;
        x->error = error;
        return err;
    }
    wait_for(engine, x);
    return x->err;
}

void weir_http_exchange_fini(struct weir_http_exchange *x)
{
    weir_assert(x->state == WEIR_HTTP_IDLE || x->state == WEIR_HTTP_DONE);
    weir_buf_fini(&x->headers_out);
    weir_buf_fini(&x->body_out);
    x->state = WEIR_HTTP_IDLE;
}

bool weir_http_exchange_header(const struct weir_http_exchange *x, const char *name, char *value, size_t size)
{
    size_t name_size = strlen(name);
    weir_assert(size > 0);
    value[0] = 0;
    for (const char *line = (const char *)x->headers_out.data; line && *line;) {
        const char *end = strchr(line, '\n');
        if (strncasecmp(line, name, name_size) == 0 && line[name_size] == ':') {
            const char *from = line + name_size + 1;
            from += strspn(from, " \t");
            size_t length = strcspn(from, "\r\n");
            while (length > 0 && (from[length - 1] == ' ' || from[length - 1] == '\t'))
                length--;
            if (length >= size)
                length = size - 1;
            memcpy(value, from, length);
            value[length] = 0;
            return true;
        }
        line = end ? end + 1 : NULL;
    }
    return false;
}
