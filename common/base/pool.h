/* A small pool of threads for calls that may block: a file's sync, the resolution of a name. Whoever must not wait begins a call,
 * goes on with other work, and is told when it has ended.
 *
 * A call has two holders, its beginner and the pool: the argument is freed when both have let go. So a beginner that is closed
 * meanwhile lets go and never waits, however long the call still takes; nothing that it owns may be in the argument.
 * Threads are started when there is a call for them, at most POOL_THREADS_MAX, and end when there is none. The queue is bounded by
 * the beginners: each has a call or two at a time.
 */
#ifndef WEIR_BASE_POOL_H
#define WEIR_BASE_POOL_H

#include <stdbool.h>

#include "base/error.h"

struct weir_pool;
struct weir_call;

struct weir_pool *weir_pool_new(void);
/* Does not wait for calls that run: the last of them frees it. NULL is allowed. */
void weir_pool_unref(struct weir_pool *pool);

struct weir_call_spec {
    weir_err (*run)(void *arg, struct weir_error *error); /* on a thread of the pool */
    void *arg;
    void (*free_arg)(void *arg); /* on any thread */
    /* The call has ended; on a thread of the pool, must not block. Not called any more once the beginner has let go. May be NULL. */
    void (*ended)(void *arg);
    void *ended_arg;
};
/* Never blocks. Without a pool (NULL), or when no thread can be started, the call is made at once, on this thread. */
struct weir_call *weir_call_begin(struct weir_pool *pool, const struct weir_call_spec *spec);
/* Nobody waits for it, and it is made all the same: what one who is closed leaves to be done. `ended` is not looked at. */
void weir_call_leave(struct weir_pool *pool, const struct weir_call_spec *spec);
/* Until all that was left so has ended, for no longer than that: at the process's end. */
void weir_pool_settle(struct weir_pool *pool, int timeout_ms);
bool weir_call_ended(const struct weir_call *call);
/* What run() gave; the call must have ended. The argument may be read (and emptied) from now on. */
weir_err weir_call_result(const struct weir_call *call, struct weir_error *error);
/* The beginner lets go. NULL is allowed. */
void weir_call_free(struct weir_call *call);

#endif
