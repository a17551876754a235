/* An S3 store whose requests never leave the process: this file takes the place of http/http_engine.c, and asks fake_answer() of the program
 * that includes it. One program includes it once. */
#ifndef WEIR_TESTS_S3_FAKE_H
#define WEIR_TESTS_S3_FAKE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/assert.h"
#include "http/http_engine.h"
#include "store/store.h"

struct fake_answer {
    int status;          /* 0: the connection breaks */
    const char *headers; /* "ETag: x\r\n..." */
    const void *body;
    size_t size;
};
/* What is asked of the store, one after the other. Threads of one store call it with the engine's lock held. */
static struct fake_answer fake_answer(const struct weir_http_exchange *request);

static pthread_mutex_t fake_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int fake_under_way, fake_most; /* requests */
struct weir_http_engine {
    int unused;
};

struct weir_http_engine *weir_http_engine_new(const struct weir_http_engine_options *options, struct weir_error *error)
{
    (void)options, (void)error;
    return weir_zalloc(sizeof(struct weir_http_engine));
}

void weir_http_engine_free(struct weir_http_engine *engine)
{
    free(engine);
}

weir_err weir_http_engine_call(struct weir_http_engine *engine, struct weir_http_exchange *x)
{
    (void)engine;
    int under_way = atomic_fetch_add(&fake_under_way, 1) + 1, seen = atomic_load(&fake_most);
    while (seen < under_way && !atomic_compare_exchange_weak(&fake_most, &seen, under_way))
        ;
    pthread_mutex_lock(&fake_lock);
    struct fake_answer answer = fake_answer(x);
    weir_buf_init(&x->headers_out, 1 << 20);
    weir_buf_init(&x->body_out, 64 << 20);
    x->status = answer.status;
    size_t most = x->response_size_max && answer.status / 100 == 2 ? x->response_size_max : 64 << 10;
    bool to_file = x->response_fd > 0 && answer.status / 100 == 2;
    if (answer.status == 0)
        x->err = weir_fail(&x->error, WEIR_ERR_IO, "the connection broke");
    else if (answer.size > most)
        x->err = weir_fail(&x->error, WEIR_ERR_FULL, "the answer is too large");
    else if (to_file && pwrite(x->response_fd, answer.body, answer.size, x->response_offset) != (ssize_t)answer.size)
        x->err = weir_fail_errno(&x->error, WEIR_ERR_IO, "cannot write");
    else
        x->err = WEIR_OK;
    if (!x->err && !to_file && answer.size)
        (void)!weir_buf_append(&x->body_out, answer.body, answer.size);
    if (answer.headers)
        (void)!weir_buf_puts(&x->headers_out, answer.headers);
    x->response_size = (int64_t)answer.size;
    pthread_mutex_unlock(&fake_lock);
    atomic_fetch_sub(&fake_under_way, 1);
    return x->err;
}

void weir_http_exchange_fini(struct weir_http_exchange *x)
{
    weir_buf_fini(&x->headers_out);
    weir_buf_fini(&x->body_out);
}

/* As the engine's. */
bool weir_http_exchange_header(const struct weir_http_exchange *x, const char *name, char *value, size_t size)
{
    value[0] = 0;
    for (const char *line = (const char *)x->headers_out.data; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncasecmp(line, name, strlen(name)) != 0 || line[strlen(name)] != ':')
            continue;
        const char *from = line + strlen(name) + 1 + strspn(line + strlen(name) + 1, " ");
        snprintf(value, size, "%.*s", (int)strcspn(from, "\r\n"), from);
        return true;
    }
    return false;
}

/* `keys`: with credentials of its own; else they come from the environment. */
static inline struct weir_store *fake_open(bool keys, struct weir_config **config)
{
    struct weir_error error;
    struct weir_store *store;
    const struct weir_key_value pairs[] = {{"s3.endpoint", "http://fake"},  {"s3.attempts", "1"},
                                           {"s3.upload.part-size", "5 mb"}, {"s3.parallel-parts", "1"},
                                           {"s3.access-key", "A"},          {"s3.secret-key", "S"}};
    weir_err err = weir_config_load(NULL, "/nowhere", pairs, keys ? 6 : 4, config, &error);
    weir_assert(!err);
    err = weir_store_open("s3://bucket/root", *config, &store, &error);
    weir_assert(!err);
    return store;
}

#endif
