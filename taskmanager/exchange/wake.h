/* Waking a thread that may sleep, and lists of what is ready for it.
 *
 * A waker has three states. Its owner, before it looks for work, sets AWAKE; with nothing found it tries AWAKE -> SLEEPING and
 * then waits for `fd` in its epoll or poll. Whoever made work for it sets NOTIFIED, and writes to the eventfd only when it finds
 * SLEEPING: waking an awake thread costs one atomic exchange and no system call, and no wake-up is ever lost, because
 * the owner cannot fall asleep on NOTIFIED.
 *
 * A ready list is a stack to which any thread adds and from which its owner takes all. A node is in the list at most once.
 */
#ifndef WEIR_EXCHANGE_WAKE_H
#define WEIR_EXCHANGE_WAKE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum { WEIR_WAKER_AWAKE, WEIR_WAKER_SLEEPING, WEIR_WAKER_NOTIFIED };

struct weir_waker {
    _Atomic int state;
    int fd; /* eventfd, non-blocking */
};
weir_err weir_waker_init(struct weir_waker *waker, struct weir_error *error);
void weir_waker_fini(struct weir_waker *waker);
/* Any thread; never blocks. */
void weir_wake(struct weir_waker *waker);
/* The owner, before it looks for work. */
static inline void weir_waker_begin(struct weir_waker *waker)
{
    atomic_exchange(&waker->state, WEIR_WAKER_AWAKE);
}
/* The owner, with nothing to do: true: it may wait for fd; false: somebody notified it meanwhile. */
static inline bool weir_waker_sleep(struct weir_waker *waker)
{
    int awake = WEIR_WAKER_AWAKE;
    return atomic_compare_exchange_strong(&waker->state, &awake, WEIR_WAKER_SLEEPING);
}
/* The owner, after waiting: empties the eventfd. */
void weir_waker_end(struct weir_waker *waker);

struct weir_ready_node {
    struct weir_ready_node *next;
    _Atomic int queued;
    int kind; /* for the owner of the list: what the node is part of */
};
struct weir_ready_list {
    struct weir_ready_node *_Atomic top;
    struct weir_waker *waker; /* of the list's owner; set before anything is added */
};
/* A consumer's list, kept alive by the channels that announce themselves in it: a producer may outlive its consumer. */
struct weir_inbox {
    _Atomic int refs;
    _Atomic int urgent; /* a barrier that may overtake was pushed since the consumer looked */
    struct weir_ready_list list;
};
struct weir_inbox *weir_inbox_new(
    struct weir_waker *waker); /* one reference; the waker lives as long as the executor */
struct weir_inbox *weir_inbox_ref(struct weir_inbox *inbox);
void weir_inbox_unref(struct weir_inbox *inbox);

/* Any thread. True: it was not in the list. The owner is woken when it was not. */
bool weir_ready_add(struct weir_ready_list *list, struct weir_ready_node *node);
/* The owner: everything in the list, oldest first, linked by next. Each stays marked queued until weir_ready_done(). */
struct weir_ready_node *weir_ready_take(struct weir_ready_list *list);
/* The owner: what comes after this is announced anew. Call it before looking into what the node stands for the last time. */
static inline void weir_ready_done(struct weir_ready_node *node)
{
    atomic_exchange(&node->queued, 0);
}
/* The owner: marks a node that it keeps itself; false: somebody has queued it meanwhile. */
static inline bool weir_ready_claim(struct weir_ready_node *node)
{
    return atomic_exchange(&node->queued, 1) == 0;
}

#endif
