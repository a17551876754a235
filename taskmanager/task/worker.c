#include "task/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define SLEEP_NS_MAX 1000000000 /* nothing is lost if a source forgot to say when it wants to be called */
#define EVENTS 16
#define UNPOLLABLE_NS 10000000 /* an fd that epoll refuses is looked at so often */

struct slot { /* of a task */
    struct weir_task *task;
    int fd; /* in epoll, one shot; -1: none */
};

struct weir_worker {
    int index;
    struct weir_waker waker;
    int epoll;
    pthread_t thread;
    struct weir_worker_options options;
    struct slot *slots; /* the worker's own */
    int slot_count, slot_capacity;
    _Atomic int64_t call_started_ns;
    _Atomic int incoming_waits;
    pthread_mutex_t lock; /* of the rest */
    struct weir_task **incoming;
    int incoming_count;
    bool stop;
};

/* --- Tasks in and out */

static bool take_incoming(struct weir_worker *worker)
{
    if (!atomic_load(&worker->incoming_waits))
        return false;
    pthread_mutex_lock(&worker->lock);
    atomic_store(&worker->incoming_waits, 0);
    for (int i = 0; i < worker->incoming_count; i++) {
        if (worker->slot_count == worker->slot_capacity) {
            worker->slot_capacity = worker->slot_capacity ? worker->slot_capacity * 2 : 8;
            worker->slots = weir_realloc(worker->slots, (size_t)worker->slot_capacity * sizeof *worker->slots);
        }
        worker->slots[worker->slot_count++] = (struct slot){.task = worker->incoming[i], .fd = -1};
    }
    worker->incoming_count = 0;
    bool stop = worker->stop;
    pthread_mutex_unlock(&worker->lock);
    return stop;
}

static void forget_fd(struct weir_worker *worker, struct slot *slot)
{
    if (slot->fd >= 0)
        epoll_ctl(worker->epoll, EPOLL_CTL_DEL, slot->fd, NULL); /* it may be closed already */
    slot->fd = -1;
}

static void forget_task(struct weir_worker *worker, int i)
{
    forget_fd(worker, &worker->slots[i]);
    worker->slots[i] = worker->slots[--worker->slot_count];
}

/* --- Sleeping */

/* Arms the fd that a task waits for. False: epoll cannot watch it. */
static bool arm(struct weir_worker *worker, struct slot *slot)
{
    int fd = weir_task_wait_fd(slot->task);
    if (slot->fd != fd)
        forget_fd(worker, slot);
    if (fd < 0)
        return true;
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.fd = fd};
    int failed = slot->fd == fd ? epoll_ctl(worker->epoll, EPOLL_CTL_MOD, fd, &event) : -1;
    if (failed)
        failed = epoll_ctl(worker->epoll, EPOLL_CTL_ADD, fd, &event);
    slot->fd = failed ? -1 : fd;
    return !failed;
}

/* To the nanosecond where the kernel can (Linux 5.11): a millisecond's rounding would be most of a row's latency. */
static void wait_for_events(struct weir_worker *worker, int64_t wait_ns)
{
    struct epoll_event events[EVENTS];
    struct timespec timeout = {.tv_sec = wait_ns / 1000000000, .tv_nsec = wait_ns % 1000000000};
    if (epoll_pwait2(worker->epoll, events, EVENTS, &timeout, NULL) < 0 && errno == ENOSYS)
        epoll_wait(worker->epoll, events, EVENTS, (int)((wait_ns + 999999) / 1000000));
}

static void sleep_until_work(struct weir_worker *worker)
{
    int64_t now_ns = weir_clock_mono_ns(), due_ns = now_ns + SLEEP_NS_MAX;
    for (int i = 0; i < worker->slot_count; i++) {
        int64_t task_ns = weir_task_due_ns(worker->slots[i].task, now_ns);
        due_ns = task_ns < due_ns ? task_ns : due_ns;
        if (!arm(worker, &worker->slots[i]) && now_ns + UNPOLLABLE_NS < due_ns)
            due_ns = now_ns + UNPOLLABLE_NS;
    }
    if (due_ns <= now_ns || !weir_waker_sleep(&worker->waker))
        return;
    wait_for_events(worker, due_ns - now_ns);
    weir_waker_end(&worker->waker);
}

/* --- The loop */

static bool call_all(struct weir_worker *worker)
{
    bool any = false;
    for (int i = 0; i < worker->slot_count;) {
        int64_t now_ns = weir_clock_mono_ns();
        atomic_store_explicit(&worker->call_started_ns, now_ns, memory_order_relaxed);
        enum weir_progress progress = weir_task_call(worker->slots[i].task, now_ns);
        any |= progress != WEIR_NO_PROGRESS;
        if (progress == WEIR_DONE)
            forget_task(worker, i);
        else
            i++;
    }
    atomic_store_explicit(&worker->call_started_ns, 0, memory_order_relaxed);
    return any;
}

static void *run(void *arg)
{
    struct weir_worker *worker = arg;
    if (worker->options.thread_started)
        worker->options.thread_started(worker->options.arg);
    for (;;) {
        weir_waker_begin(&worker->waker);
        if (take_incoming(worker))
            break;
        if (!call_all(worker))
            sleep_until_work(worker);
    }
    while (worker->slot_count > 0) {
        weir_task_abandon(worker->slots[0].task);
        forget_task(worker, 0);
    }
    if (worker->options.thread_ending)
        worker->options.thread_ending(worker->options.arg);
    return NULL;
}

/* --- Other threads */

weir_err weir_worker_start(const struct weir_worker_options *options, struct weir_worker **out,
                           struct weir_error *error)
{
    struct weir_worker *worker = weir_zalloc(sizeof *worker);
    worker->options = *options;
    worker->index = options->index;
    pthread_mutex_init(&worker->lock, NULL);
    worker->waker.fd = -1;
    worker->epoll = epoll_create1(EPOLL_CLOEXEC);
    weir_err err = worker->epoll < 0 ? weir_fail_errno(error, WEIR_ERR_IO, "cannot make a worker's epoll")
                                     : weir_waker_init(&worker->waker, error);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = worker->waker.fd};
    if (!err && epoll_ctl(worker->epoll, EPOLL_CTL_ADD, worker->waker.fd, &event) != 0)
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot watch a worker's eventfd");
    if (!err) {
        errno = pthread_create(&worker->thread, NULL, run, worker);
        if (errno)
            err = weir_fail_errno(error, WEIR_ERR_IO, "cannot start a worker thread");
    }
    if (err) {
        weir_worker_free(worker);
        return err;
    }
    char name[16];
    snprintf(name, sizeof name, "worker-%d", options->index % 10000);
    pthread_setname_np(worker->thread, name);
    *out = worker;
    return WEIR_OK;
}

void weir_worker_stop(struct weir_worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    worker->stop = true;
    atomic_store(&worker->incoming_waits, 1);
    pthread_mutex_unlock(&worker->lock);
    weir_wake(&worker->waker);
    pthread_join(worker->thread, NULL);
}

void weir_worker_free(struct weir_worker *worker)
{
    if (!worker)
        return;
    if (worker->epoll >= 0)
        close(worker->epoll);
    weir_waker_fini(&worker->waker);
    pthread_mutex_destroy(&worker->lock);
    free(worker->slots);
    free(worker->incoming);
    free(worker);
}

struct weir_waker *weir_worker_waker(struct weir_worker *worker)
{
    return &worker->waker;
}

void weir_worker_add(struct weir_worker *worker, struct weir_task *task)
{
    pthread_mutex_lock(&worker->lock);
    worker->incoming =
        weir_realloc(worker->incoming, (size_t)(worker->incoming_count + 1) * sizeof(struct weir_task *));
    worker->incoming[worker->incoming_count++] = task;
    atomic_store(&worker->incoming_waits, 1);
    pthread_mutex_unlock(&worker->lock);
    weir_wake(&worker->waker);
}

void weir_worker_wake(struct weir_worker *worker)
{
    weir_wake(&worker->waker);
}

int64_t weir_worker_call_started_ns(const struct weir_worker *worker)
{
    return atomic_load_explicit(&worker->call_started_ns, memory_order_relaxed);
}

pthread_t weir_worker_thread(const struct weir_worker *worker)
{
    return worker->thread;
}
