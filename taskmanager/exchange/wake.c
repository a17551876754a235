#include "exchange/wake.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mem.h"

weir_err weir_waker_init(struct weir_waker *waker, struct weir_error *error)
{
    atomic_init(&waker->state, WEIR_WAKER_AWAKE);
    waker->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (waker->fd < 0)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot make an eventfd");
    return WEIR_OK;
}

void weir_waker_fini(struct weir_waker *waker)
{
    if (waker->fd >= 0)
        close(waker->fd);
    waker->fd = -1;
}

void weir_wake(struct weir_waker *waker)
{
    if (atomic_exchange(&waker->state, WEIR_WAKER_NOTIFIED) != WEIR_WAKER_SLEEPING)
        return;
    uint64_t one = 1;
    ssize_t written;
    do
        written = write(waker->fd, &one, sizeof one);
    while (written < 0 && errno == EINTR); /* EAGAIN: it is readable already */
}

void weir_waker_end(struct weir_waker *waker)
{
    uint64_t count;
    ssize_t got = read(waker->fd, &count, sizeof count);
    (void)got; /* nothing there: it woke for another reason */
}

struct weir_inbox *weir_inbox_new(struct weir_waker *waker)
{
    struct weir_inbox *inbox = weir_zalloc(sizeof *inbox);
    atomic_init(&inbox->refs, 1);
    inbox->list.waker = waker;
    return inbox;
}

struct weir_inbox *weir_inbox_ref(struct weir_inbox *inbox)
{
    atomic_fetch_add_explicit(&inbox->refs, 1, memory_order_relaxed);
    return inbox;
}

void weir_inbox_unref(struct weir_inbox *inbox)
{
    if (inbox && atomic_fetch_sub_explicit(&inbox->refs, 1, memory_order_acq_rel) == 1)
        free(inbox);
}

bool weir_ready_add(struct weir_ready_list *list, struct weir_ready_node *node)
{
    if (atomic_exchange(&node->queued, 1))
        return false;
    struct weir_ready_node *top = atomic_load(&list->top);
    do
        node->next = top;
    while (!atomic_compare_exchange_weak(&list->top, &top, node));
    weir_wake(list->waker);
    return true;
}

struct weir_ready_node *weir_ready_take(struct weir_ready_list *list)
{
    if (!atomic_load_explicit(&list->top, memory_order_relaxed))
        return NULL;
    struct weir_ready_node *node = atomic_exchange(&list->top, NULL), *oldest = NULL;
    while (node) {
        struct weir_ready_node *next = node->next;
        node->next = oldest;
        oldest = node;
        node = next;
    }
    return oldest;
}
