#include "base/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/thread.h"

#define POOL_THREADS_MAX 4

struct weir_call {
    struct weir_call_spec spec;
    struct weir_pool *pool; /* a reference; NULL: made at once */
    _Atomic bool done;
    weir_err err;
    struct weir_error error;
    int holders;            /* under the pool's lock: the beginner, the pool */
    bool let_go;            /* under the pool's lock: by the beginner */
    bool is_left;           /* it is made all the same */
    struct weir_call *next; /* in the queue */
};

struct weir_pool {
    pthread_mutex_t lock;
    int refs; /* of the owner, of threads, of calls */
    int threads;
    int left; /* calls that are made though nobody waits for them */
    pthread_cond_t settled;
    struct weir_call *first, **end;
};

struct weir_pool *weir_pool_new(void)
{
    struct weir_pool *pool = weir_zalloc(sizeof *pool);
    pthread_mutex_init(&pool->lock, NULL);
    weir_cond_init(&pool->settled);
    pool->refs = 1;
    pool->end = &pool->first;
    return pool;
}

/* Unlocks; the last one frees. */
static void drop_ref(struct weir_pool *pool)
{
    bool last = --pool->refs == 0;
    pthread_mutex_unlock(&pool->lock);
    if (!last)
        return;
    weir_assert(!pool->first && pool->threads == 0);
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->settled);
    free(pool);
}

void weir_pool_unref(struct weir_pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    drop_ref(pool);
}

static void free_call(struct weir_call *call)
{
    if (call->spec.free_arg)
        call->spec.free_arg(call->spec.arg);
    free(call);
}

/* One of the two holders lets go, with the lock held; the call's reference of the pool goes with the last. */
static void drop_call(struct weir_pool *pool, struct weir_call *call)
{
    if (--call->holders > 0) {
        pthread_mutex_unlock(&pool->lock);
        return;
    }
    pthread_mutex_unlock(&pool->lock);
    free_call(call);
    weir_pool_unref(pool);
}

static void make_call(struct weir_call *call)
{
    call->err = call->spec.run(call->spec.arg, &call->error);
}

static void *run_thread(void *arg)
{
    struct weir_pool *pool = arg;
    pthread_mutex_lock(&pool->lock);
    for (struct weir_call *call; (call = pool->first);) {
        pool->first = call->next;
        if (!pool->first)
            pool->end = &pool->first;
        bool wanted = !call->let_go || call->is_left, is_left = call->is_left;
        pthread_mutex_unlock(&pool->lock);
        if (wanted)
            make_call(call);
        pthread_mutex_lock(&pool->lock);
        atomic_store_explicit(&call->done, true, memory_order_release);
        if (!call->let_go && call->spec.ended)
            call->spec.ended(call->spec.ended_arg);
        drop_call(pool, call);
        pthread_mutex_lock(&pool->lock);
        pool->left -= is_left;
        if (is_left && pool->left == 0)
            pthread_cond_broadcast(&pool->settled);
    }
    pool->threads--;
    drop_ref(pool);
    return NULL;
}

/* With the lock held. */
static bool start_thread(struct weir_pool *pool)
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    bool started = pthread_create(&thread, &attributes, run_thread, pool) == 0;
    pthread_attr_destroy(&attributes);
    pool->refs += started;
    pool->threads += started;
    return started;
}

static struct weir_call *begin(struct weir_pool *pool, const struct weir_call_spec *spec, bool is_left)
{
    struct weir_call *call = weir_zalloc(sizeof *call);
    call->spec = *spec;
    call->is_left = is_left;
    if (pool) {
        pthread_mutex_lock(&pool->lock);
        if (pool->threads < POOL_THREADS_MAX)
            start_thread(pool);
        if (pool->threads > 0) {
            call->pool = pool;
            call->holders = 2;
            pool->refs++;
            pool->left += is_left;
            *pool->end = call;
            pool->end = &call->next;
            pthread_mutex_unlock(&pool->lock);
            return call;
        }
        pthread_mutex_unlock(&pool->lock);
    }
    make_call(call);
    atomic_store(&call->done, true);
    return call;
}

struct weir_call *weir_call_begin(struct weir_pool *pool, const struct weir_call_spec *spec)
{
    return begin(pool, spec, false);
}

void weir_call_leave(struct weir_pool *pool, const struct weir_call_spec *spec)
{
    weir_call_free(begin(pool, spec, true));
}

void weir_pool_settle(struct weir_pool *pool, int timeout_ms)
{
    struct timespec until = weir_cond_until(timeout_ms);
    pthread_mutex_lock(&pool->lock);
    while (pool->left > 0 && pthread_cond_timedwait(&pool->settled, &pool->lock, &until) == 0)
        continue;
    pthread_mutex_unlock(&pool->lock);
}

bool weir_call_ended(const struct weir_call *call)
{
    return atomic_load_explicit(&call->done, memory_order_acquire);
}

weir_err weir_call_result(const struct weir_call *call, struct weir_error *error)
{
    weir_assert(weir_call_ended(call));
    if (call->err && error)
        *error = call->error;
    return call->err;
}

void weir_call_free(struct weir_call *call)
{
    if (!call)
        return;
    if (!call->pool) {
        free_call(call);
        return;
    }
    struct weir_pool *pool = call->pool;
    pthread_mutex_lock(&pool->lock);
    call->let_go = true;
    drop_call(pool, call);
}
