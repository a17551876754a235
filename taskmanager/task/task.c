#include "task/task.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "state/snapshot.h"

#define PUBLISH_NS 100000000

enum spent { SPENT_BUSY, SPENT_IDLE, SPENT_BACKPRESSURED };

struct held { /* a snapshot that waits for the rows that its barrier overtook, or they for it */
    uint64_t checkpoint;
    struct weir_snapshot *snapshot; /* NULL: not there yet */
    struct weir_inflight *rows;
    bool whole; /* the rows are */
    int64_t alignment_ns;
    uint64_t processed_bytes;
    bool unaligned;
    struct held *next;
};

struct weir_task {
    char *name;
    char *job_id;
    int attempt;
    struct weir_chain *chain;
    struct weir_input *input;
    void (*on_state)(void *arg, struct weir_task *task, enum weir_task_state state, const struct weir_error *error,
                     int op);
    void *arg;
    _Atomic int cancel;
    _Atomic uint64_t complete; /* the newest checkpoint that operators are to be told of; 0: they know */
    pthread_mutex_t barriers_lock;
    struct weir_barrier barriers[WEIR_TASK_BARRIERS_MAX]; /* triggered, in order */
    _Atomic int barrier_count;
    bool wants_last, wants_last_tables;
    struct weir_snapshot *last; /* FINISHED */
    bool reads_splits;          /* the head is a source that has an input: it works inside one item for long */
    struct weir_barrier cut; /* went ahead of its turn in the input, and waits to pass the chain; checkpoint 0: none */
    struct held *held;
    void (*on_snapshot)(void *arg, struct weir_snapshot *take_snapshot);
    void *on_snapshot_arg;
    enum weir_task_state state; /* the worker's */
    int64_t seen_ns;            /* until when the time is accounted for */
    int64_t published_ns;
    enum spent spent; /* what the time since then was */
    uint64_t spent_ns[3];
    struct {
        _Atomic uint64_t records_in, records_out, bytes_in, bytes_out, spent_ns[3];
        _Atomic int64_t watermark_ms;
    } stats;
};

/* --- Snapshots, and the rows that their barriers overtook */

static void drop_held(struct held **at)
{
    struct held *held = *at;
    *at = held->next;
    weir_snapshot_free(held->snapshot);
    weir_inflight_free(held->rows);
    free(held);
}

static struct held **find_held(struct weir_task *task, uint64_t checkpoint)
{
    struct held **at = &task->held;
    while (*at && (*at)->checkpoint != checkpoint)
        at = &(*at)->next;
    return at;
}

static void hand_on(struct weir_task *task, struct weir_snapshot *take_snapshot)
{
    if (task->on_snapshot)
        task->on_snapshot(task->on_snapshot_arg, take_snapshot);
    else
        weir_snapshot_free(take_snapshot);
}

static void hand_on_if_whole(struct weir_task *task, struct held **at)
{
    struct held *held = *at;
    if (!held->snapshot || !held->whole)
        return;
    struct weir_snapshot *snapshot = held->snapshot;
    snapshot->alignment_ns = held->alignment_ns;
    snapshot->processed_bytes = held->processed_bytes;
    snapshot->unaligned = held->unaligned;
    snapshot->overtaken_bytes = weir_inflight_bytes(held->rows);
    weir_inflight_into(held->rows, snapshot);
    held->snapshot = NULL;
    held->rows = NULL;
    drop_held(at);
    hand_on(task, snapshot);
}

/* All operators have given their states. */
static void take_snapshot(void *arg, struct weir_snapshot *take_snapshot)
{
    struct weir_task *task = arg;
    struct held **at = find_held(task, take_snapshot->checkpoint);
    if (*at) {
        (*at)->snapshot = take_snapshot;
        hand_on_if_whole(task, at);
        return;
    }
    take_snapshot->alignment_ns = task->input ? weir_input_alignment_ns(task->input) : 0;
    take_snapshot->processed_bytes = task->input ? weir_input_alignment_bytes(task->input) : 0;
    hand_on(task, take_snapshot);
}

static void take_recorded(struct weir_task *task)
{
    struct weir_inflight *rows;
    bool given_up;
    while (task->input && weir_input_recorded(task->input, &rows, &given_up)) {
        struct held **at = &task->held;
        while ((*at)->rows != rows)
            at = &(*at)->next;
        (*at)->whole = true;
        if (given_up)
            drop_held(at);
        else
            hand_on_if_whole(task, at);
    }
}

/* A barrier that may go ahead of what is queued passes the whole task at once, when it can. */
static bool pass_over(struct weir_task *task, int64_t now_ns)
{
    struct weir_barrier barrier;
    if (task->input && weir_chain_head_idle(task->chain))
        weir_input_done(task->input);
    if (task->input && task->cut.checkpoint == 0 && weir_chain_may_inject(task->chain) &&
        weir_input_overdue(task->input, now_ns, &barrier)) {
        task->cut = barrier;
        (void)weir_chain_inject(task->chain, &barrier);
    }
    if (!weir_chain_may_pass(task->chain, now_ns)) {
        if (task->cut.checkpoint && weir_chain_passing(task->chain).checkpoint == 0) { /* the task is about to end */
            weir_input_give_up(task->input, task->cut.checkpoint);
            task->cut.checkpoint = 0;
        }
        return false;
    }
    barrier = weir_chain_passing(task->chain);
    struct held *held = weir_zalloc(sizeof *held);
    held->checkpoint = barrier.checkpoint;
    held->rows = weir_inflight_new(weir_chain_subtask(task->chain));
    held->whole = true;
    held->unaligned = (barrier.flags & WEIR_BARRIER_OVERTAKES) && now_ns >= barrier.due_ns;
    struct weir_batch *in_hand = weir_chain_in_hand(task->chain);
    if (task->cut.checkpoint)
        held->whole = !weir_input_cut(task->input, &barrier, held->rows, in_hand);
    else if (in_hand)
        weir_input_record_in_hand(task->input, held->rows, in_hand);
    held->alignment_ns = task->input ? weir_input_alignment_ns(task->input) : 0;
    held->processed_bytes = task->input ? weir_input_alignment_bytes(task->input) : 0;
    task->cut.checkpoint = 0;
    bool whole = held->whole;
    held->whole = false; /* not before the chain has added its part */
    held->next = task->held;
    task->held = held;
    weir_chain_pass(task->chain, held->rows);
    held->whole = whole;
    hand_on_if_whole(task, &task->held);
    return true;
}

struct weir_task *weir_task_new(const struct weir_task_options *options)
{
    struct weir_task *task = weir_zalloc(sizeof *task);
    task->name = weir_strdup(options->name);
    task->job_id = weir_strdup(options->job_id ? options->job_id : "");
    task->attempt = options->attempt;
    task->chain = options->chain;
    task->input = options->input;
    task->on_state = options->on_state;
    task->arg = options->arg;
    task->spent = SPENT_IDLE;
    task->reads_splits = options->input && weir_chain_head_is_source(options->chain);
    task->wants_last = options->last_snapshot;
    task->wants_last_tables = options->last_tables;
    pthread_mutex_init(&task->barriers_lock, NULL);
    weir_chain_intercept(task->chain, take_snapshot, task, &task->on_snapshot, &task->on_snapshot_arg);
    if (task->input)
        weir_input_set_aligned(task->input, !options->at_least_once);
    atomic_init(&task->stats.watermark_ms, WEIR_WATERMARK_MIN);
    return task;
}

void weir_task_free(struct weir_task *task)
{
    if (!task)
        return;
    weir_chain_free(task->chain);
    weir_input_free(task->input);
    weir_snapshot_free(task->last);
    while (task->held)
        drop_held(&task->held);
    pthread_mutex_destroy(&task->barriers_lock);
    free(task->name);
    free(task->job_id);
    free(task);
}

void weir_task_cancel(struct weir_task *task)
{
    atomic_store(&task->cancel, 1);
}

bool weir_task_trigger(struct weir_task *task, const struct weir_barrier *barrier)
{
    pthread_mutex_lock(&task->barriers_lock);
    int count = atomic_load(&task->barrier_count);
    bool room = count < WEIR_TASK_BARRIERS_MAX;
    if (room) {
        task->barriers[count] = *barrier;
        atomic_store(&task->barrier_count, count + 1);
    }
    pthread_mutex_unlock(&task->barriers_lock);
    return room;
}

void weir_task_complete(struct weir_task *task, uint64_t checkpoint)
{
    atomic_store(&task->complete, checkpoint);
}

/* --- Statistics */

static void publish(struct weir_task *task, int64_t now_ns)
{
    task->published_ns = now_ns;
    weir_chain_publish(task->chain);
    const struct weir_op_counters *head = weir_chain_counters(task->chain, 0);
    atomic_store_explicit(&task->stats.records_in, task->input ? weir_input_records(task->input) : 0,
                          memory_order_relaxed);
    atomic_store_explicit(&task->stats.bytes_in, task->input ? weir_input_bytes(task->input) : 0, memory_order_relaxed);
    atomic_store_explicit(&task->stats.records_out, weir_chain_records_out(task->chain), memory_order_relaxed);
    atomic_store_explicit(&task->stats.bytes_out, weir_chain_bytes_out(task->chain), memory_order_relaxed);
    for (int i = 0; i < 3; i++)
        atomic_store_explicit(&task->stats.spent_ns[i], task->spent_ns[i], memory_order_relaxed);
    int64_t watermark_ms = task->input ? weir_input_watermark_ms(task->input)
                                       : atomic_load_explicit(&head->watermark_out_ms, memory_order_relaxed);
    atomic_store_explicit(&task->stats.watermark_ms, watermark_ms, memory_order_relaxed);
}

void weir_task_read_stats(const struct weir_task *task, struct weir_task_stats *stats)
{
    stats->records_in = atomic_load_explicit(&task->stats.records_in, memory_order_relaxed);
    stats->records_out = atomic_load_explicit(&task->stats.records_out, memory_order_relaxed);
    stats->bytes_in = atomic_load_explicit(&task->stats.bytes_in, memory_order_relaxed);
    stats->bytes_out = atomic_load_explicit(&task->stats.bytes_out, memory_order_relaxed);
    stats->busy_ns = atomic_load_explicit(&task->stats.spent_ns[SPENT_BUSY], memory_order_relaxed);
    stats->idle_ns = atomic_load_explicit(&task->stats.spent_ns[SPENT_IDLE], memory_order_relaxed);
    stats->backpressured_ns = atomic_load_explicit(&task->stats.spent_ns[SPENT_BACKPRESSURED], memory_order_relaxed);
    stats->watermark_ms = atomic_load_explicit(&task->stats.watermark_ms, memory_order_relaxed);
}

static void account(struct weir_task *task, int64_t now_ns, enum spent next)
{
    if (task->seen_ns && now_ns > task->seen_ns)
        task->spent_ns[task->spent] += (uint64_t)(now_ns - task->seen_ns);
    task->seen_ns = now_ns;
    task->spent = next;
}

/* --- Life */

static enum weir_progress end_task(struct weir_task *task, enum weir_task_state state, const struct weir_error *error,
                                   int op)
{
    int64_t now_ns = weir_clock_mono_ns();
    weir_chain_report(task->chain, now_ns, true);
    weir_chain_close(task->chain, state == WEIR_TASK_FINISHED);
    task->state = state;
    account(task, now_ns, SPENT_IDLE);
    publish(task, now_ns);
    task->on_state(task->arg, task, state, error, op);
    return WEIR_DONE;
}

static bool open_task(struct weir_task *task, struct weir_error *error)
{
    weir_log_scope(task->job_id, task->name, task->attempt);
    if (weir_chain_open(task->chain, error))
        return false;
    task->state = WEIR_TASK_RUNNING;
    task->on_state(task->arg, task, WEIR_TASK_RUNNING, NULL, -1);
    return true;
}

/* What comes in-band of the same checkpoint, or of an earlier one, is nothing any more. */
static bool inject_triggered(struct weir_task *task, const struct weir_barrier *barrier)
{
    if (!weir_chain_inject(task->chain, barrier))
        return false;
    weir_input_give_up(task->input, barrier->checkpoint);
    return true;
}

/* One triggered barrier to where it begins. False: there is none, or the one before is still on its way. */
static bool take_trigger(struct weir_task *task)
{
    if (atomic_load_explicit(&task->barrier_count, memory_order_relaxed) == 0)
        return false;
    pthread_mutex_lock(&task->barriers_lock);
    struct weir_barrier barrier = task->barriers[0];
    bool taken = true;
    if (task->reads_splits && weir_chain_head_idle(task->chain))
        taken = false; /* the last split, or the end, may be on its way to it, and is to be before the barrier */
    else if (!task->input)
        taken = weir_chain_inject(task->chain, &barrier);
    else if (task->reads_splits) /* it may have come in-band, before whoever hands them out had FINISHED */
        taken = weir_input_is_over(task->input, barrier.checkpoint) || inject_triggered(task, &barrier);
    else
        weir_input_trigger(task->input, &barrier);
    if (taken) {
        int left = atomic_load(&task->barrier_count) - 1;
        memmove(task->barriers, task->barriers + 1, (size_t)left * sizeof *task->barriers);
        atomic_store(&task->barrier_count, left);
    }
    pthread_mutex_unlock(&task->barriers_lock);
    return taken;
}

/* The next item from the channels to the head. */
static bool feed(struct weir_task *task, int64_t now_ns)
{
    bool triggered = take_trigger(task);
    triggered |= pass_over(task, now_ns);
    if (!task->input)
        return triggered;
    if (weir_chain_halted(task->chain))
        return triggered | weir_input_drop(task->input);
    struct weir_barrier barrier;
    if (task->reads_splits && !weir_chain_head_idle(task->chain) && weir_chain_may_inject(task->chain) &&
        weir_input_take_barrier(task->input, &barrier))
        return weir_chain_inject(task->chain, &barrier);
    if (task->reads_splits && !weir_chain_head_idle(task->chain) && weir_input_is_over_after(task->input))
        weir_chain_input_over(task->chain);
    if (weir_chain_head_idle(task->chain))
        weir_input_done(task->input);
    struct weir_item item;
    if (!weir_chain_wants_input(task->chain) || !weir_input_next(task->input, &item))
        return triggered;
    if (item.kind == WEIR_ITEM_BARRIER && (item.barrier.flags & WEIR_BARRIER_OVERTAKES))
        return weir_chain_inject(task->chain, &item.barrier);
    weir_chain_give(task->chain, &item);
    return true;
}

enum weir_progress weir_task_call(struct weir_task *task, int64_t now_ns)
{
    struct weir_error error;
    account(task, now_ns, SPENT_BUSY);
    if (atomic_load_explicit(&task->cancel, memory_order_relaxed))
        return end_task(task, WEIR_TASK_CANCELED, NULL, -1);
    if (task->state == WEIR_TASK_INITIALIZING && !open_task(task, &error)) {
        int op;
        weir_chain_error(task->chain, &op);
        return end_task(task, WEIR_TASK_FAILED, &error, op);
    }
    int64_t deadline_ns = now_ns + WEIR_TASK_CALL_NS;
    weir_chain_begin(task->chain, now_ns, deadline_ns);
    if (atomic_load_explicit(&task->complete, memory_order_relaxed))
        weir_chain_complete(task->chain, atomic_exchange(&task->complete, 0));
    bool any = false, dry = false;
    for (;;) {
        bool moved = weir_chain_run(task->chain);
        if (weir_chain_state(task->chain) != WEIR_CHAIN_RUNNING)
            break;
        moved |= feed(task, weir_clock_mono_ns());
        any |= moved;
        if (!moved) {
            dry = true;
            break;
        }
        now_ns = weir_clock_mono_ns();
        if (now_ns >= deadline_ns)
            break;
    }
    int op;
    switch (weir_chain_state(task->chain)) {
    case WEIR_CHAIN_FINISHED:
        take_recorded(task);
        if (task->wants_last && !(task->last = weir_chain_last_snapshot(task->chain, task->wants_last_tables))) {
            const struct weir_error *why = weir_chain_error(task->chain, &op);
            return end_task(task, WEIR_TASK_FAILED, why, op);
        }
        return end_task(task, WEIR_TASK_FINISHED, NULL, -1);
    case WEIR_CHAIN_FAILED: {
        const struct weir_error *why = weir_chain_error(task->chain, &op);
        return end_task(task, WEIR_TASK_FAILED, why, op);
    }
    case WEIR_CHAIN_RUNNING:
        break;
    }
    if (task->input && weir_input_error(task->input))
        return end_task(task, WEIR_TASK_FAILED, weir_input_error(task->input), -1);
    /* A barrier that waits for the chain to be empty waits for what is gathered, too. */
    any |= weir_chain_flush(task->chain, dry || weir_chain_passing(task->chain).checkpoint > 0);
    take_recorded(task);
    now_ns = weir_clock_mono_ns();
    account(task, now_ns, any ? SPENT_BUSY : weir_chain_backpressured(task->chain) ? SPENT_BACKPRESSURED : SPENT_IDLE);
    weir_chain_report(task->chain, now_ns, false);
    if (!any || now_ns - task->published_ns > PUBLISH_NS)
        publish(task, now_ns);
    return any ? WEIR_MADE_PROGRESS : WEIR_NO_PROGRESS;
}

int64_t weir_task_due_ns(const struct weir_task *task, int64_t now_ns)
{
    int64_t chain_ns = weir_chain_due_ns(task->chain, now_ns);
    int64_t barrier_ns = task->input && task->cut.checkpoint == 0 && weir_chain_may_inject(task->chain)
                             ? weir_input_due_ns(task->input)
                             : INT64_MAX;
    return barrier_ns < chain_ns ? barrier_ns : chain_ns;
}

int weir_task_wait_fd(const struct weir_task *task)
{
    return weir_chain_wait_fd(task->chain);
}

struct weir_snapshot *weir_task_take_last_snapshot(struct weir_task *task)
{
    struct weir_snapshot *last = task->last;
    task->last = NULL;
    return last;
}

void weir_task_abandon(struct weir_task *task)
{
    weir_chain_close(task->chain, false);
    task->state = WEIR_TASK_CANCELED;
}

const struct weir_chain *weir_task_chain(const struct weir_task *task)
{
    return task->chain;
}
