/* Partitioning, credits, workers, and the wire between executors (in one process, in two, with a peer that is killed, with a hostile one). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include "exchange/io_thread.h"
#include "net/frame.h"
#include "task/worker.h"
#include "unit/task_kit.h"

#define ID_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define JOB "11111111111111111111111111111111"
#define CHANNELS_MAX 64

static struct weir_error error;
static const char *program;

/* --- One writer and its channels, both ends in this thread */

struct fan {
    struct weir_waker waker;
    struct weir_inbox *inbox;
    struct weir_channel *chans[CHANNELS_MAX];
    int count;
    struct weir_edge_writer *writer;
};

static void fan_init(struct fan *f, int count, enum weir_edge_partition partition, int rows_max, int64_t timeout_ns)
{
    assert_int_equal(weir_waker_init(&f->waker, &error), 0);
    f->inbox = weir_inbox_new(&f->waker);
    f->count = count;
    for (int c = 0; c < count; c++) {
        int credits = partition == WEIR_EDGE_ON_DEMAND ? WEIR_CHANNEL_CREDITS_ON_DEMAND : WEIR_CHANNEL_CREDITS;
        f->chans[c] = weir_channel_new(weir_channel_id(0, 0, c), credits, false, false);
        weir_channel_set_consumer(f->chans[c], f->inbox);
        f->chans[c]->producer = &f->waker;
        weir_channel_open(f->chans[c]);
    }
    struct weir_edge_writer_options options = {.partition = partition,
                                               .schema = kit_schema(),
                                               .key = {.column_count = 1, .columns = {1}},
                                               .max_parallelism = 128,
                                               .parallelism = count,
                                               .channels = f->chans,
                                               .channel_count = count,
                                               .timeout_ns = timeout_ns,
                                               .rows_max = rows_max};
    f->writer = weir_edge_writer_new(&options);
}

static void fan_fini(struct fan *f)
{
    weir_edge_writer_free(f->writer);
    for (int c = 0; c < f->count; c++)
        weir_channel_unref(f->chans[c]);
    weir_inbox_unref(f->inbox);
    weir_waker_fini(&f->waker);
}

static bool give(struct fan *f, struct weir_batch *take_batch)
{
    struct weir_item item = {.kind = WEIR_ITEM_BATCH, .batch = take_batch};
    if (weir_edge_writer_take(f->writer, &item, 0))
        return true;
    weir_batch_unref(take_batch);
    return false;
}

static bool give_control(struct fan *f, enum weir_item_kind kind, int64_t watermark_ms)
{
    struct weir_item item = {.kind = kind, .watermark_ms = watermark_ms};
    return weir_edge_writer_take(f->writer, &item, 0);
}

/* Pops one item, consumed at once; NONE: empty. A batch is the caller's. */
static struct weir_item pop(struct fan *f, int c)
{
    struct weir_item item = {.kind = WEIR_ITEM_NONE};
    if (weir_channel_pop(f->chans[c], &item))
        weir_channel_done(f->chans[c], item.kind == WEIR_ITEM_BATCH);
    return item;
}

static int model_channel(int64_t key, int count)
{
    struct weir_batch *batch = weir_batch_new(kit_schema(), 1);
    batch->columns[0].i64[0] = 0;
    batch->columns[1].i64[0] = key;
    batch->row_count = 1;
    struct weir_key_spec spec = {.column_count = 1, .columns = {1}};
    uint64_t hash;
    weir_key_hash(batch, &spec, &hash);
    weir_batch_unref(batch);
    return weir_key_group_subtask(weir_key_group(hash, 128), 128, count);
}

/* Random batches and fan-outs: each row arrives once, in order per channel, at the subtask of its key group. */
static void hash_agrees_with_the_key_groups(void **state)
{
    (void)state;
    uint64_t rng = 99;
    for (int round = 0; round < 60; round++) {
        int count = 1 + (int)(kit_random(&rng) % 9), rows_max = round % 3 == 0 ? 1 : round % 3 == 1 ? 2 : 0;
        int64_t keys = 1 + (int64_t)(kit_random(&rng) % 40), next = 0, sum = 0, got_sum = 0, last[CHANNELS_MAX];
        struct fan f;
        fan_init(&f, count, WEIR_EDGE_HASH, rows_max, 5000000);
        for (int c = 0; c < count; c++)
            last[c] = -1;
        bool end_given = false;
        int ended = 0;
        for (int step = 0; ended < count; step++) {
            assert_true(step < 100000);
            weir_edge_writer_advance(f.writer, 0);
            if (!weir_edge_writer_busy(f.writer) && !end_given) {
                int rows = 1 + (int)(kit_random(&rng) % 300);
                if (step < 40 && give(&f, kit_batch(next, rows, keys))) {
                    for (int i = 0; i < rows; i++)
                        sum += next + i;
                    next += rows;
                } else if (step >= 40) {
                    end_given = give_control(&f, WEIR_ITEM_END, 0);
                }
            }
            for (int c = 0; c < count; c++) {
                struct weir_item item = pop(&f, c);
                ended += item.kind == WEIR_ITEM_END;
                if (item.kind != WEIR_ITEM_BATCH)
                    continue;
                for (int r = 0; r < item.batch->row_count; r++) {
                    assert_true(item.batch->columns[0].i64[r] > last[c]);
                    last[c] = item.batch->columns[0].i64[r];
                    got_sum += last[c];
                    assert_int_equal(model_channel(item.batch->columns[1].i64[r], count), c);
                }
                weir_batch_unref(item.batch);
            }
        }
        assert_true(sum == got_sum);
        fan_fini(&f);
    }
}

static void one_consumer_gets_the_batch_itself(void **state)
{
    (void)state;
    struct fan f;
    fan_init(&f, 1, WEIR_EDGE_HASH, 0, 5000000);
    struct weir_batch *batch = kit_batch(0, 3, 5);
    assert_true(give(&f, weir_batch_ref(batch)));
    assert_true(give_control(&f, WEIR_ITEM_WATERMARK, 7));
    struct weir_item item = pop(&f, 0);
    assert_ptr_equal(item.batch, batch);
    weir_batch_unref(item.batch);
    item = pop(&f, 0);
    assert_int_equal(item.kind, WEIR_ITEM_WATERMARK);
    weir_batch_unref(batch);
    fan_fini(&f);
    /* The same where all rows go to one of several. */
    fan_init(&f, 4, WEIR_EDGE_HASH, 0, 5000000);
    batch = kit_batch(0, 2000, 1);
    assert_true(give(&f, weir_batch_ref(batch)));
    item = pop(&f, model_channel(0, 4));
    assert_ptr_equal(item.batch, batch);
    weir_batch_unref(item.batch);
    weir_batch_unref(batch);
    fan_fini(&f);
}

static void gathered_rows_leave_by_timeout_or_when_dry(void **state)
{
    (void)state;
    struct fan f;
    fan_init(&f, 2, WEIR_EDGE_HASH, 0, 5000000);
    assert_true(give(&f, kit_batch(0, 50, 40)));
    assert_true(give_control(&f, WEIR_ITEM_WATERMARK, 30));
    assert_int_equal(pop(&f, 0).kind, WEIR_ITEM_NONE);
    assert_int_equal(weir_edge_writer_due_ns(f.writer), 5000000);
    assert_false(weir_edge_writer_flush(f.writer, 4999999, false));
    assert_int_equal(pop(&f, 0).kind, WEIR_ITEM_NONE);
    assert_true(weir_edge_writer_flush(f.writer, 5000000, false));
    int rows = 0;
    for (int c = 0; c < 2; c++) {
        struct weir_item item = pop(&f, c);
        assert_int_equal(item.kind, WEIR_ITEM_BATCH);
        rows += item.batch->row_count;
        weir_batch_unref(item.batch);
        item = pop(&f, c);
        assert_int_equal(item.kind, WEIR_ITEM_WATERMARK);
        assert_int_equal(item.watermark_ms, 30);
    }
    assert_int_equal(rows, 50);
    assert_true(weir_edge_writer_due_ns(f.writer) == INT64_MAX);
    assert_true(give(&f, kit_batch(0, 50, 40)));
    assert_true(weir_edge_writer_flush(f.writer, 1, true)); /* dry: at once */
    for (int c = 0; c < 2; c++) {
        struct weir_item item = pop(&f, c);
        assert_int_equal(item.kind, WEIR_ITEM_BATCH);
        weir_batch_unref(item.batch);
    }
    fan_fini(&f);
}

/* A consumer that does not consume: a bounded number of batches is taken; one consumed batch lets it go on; the end always fits. */
static void credits_bound_what_is_in_flight(void **state)
{
    (void)state;
    for (int partition = WEIR_EDGE_HASH; partition <= WEIR_EDGE_BROADCAST; partition++) {
        struct fan f;
        fan_init(&f, 2, (enum weir_edge_partition)partition, 4, 0);
        int taken = 0;
        for (int i = 0; i < 10000; i++) {
            weir_edge_writer_advance(f.writer, 0);
            weir_edge_writer_flush(f.writer, 0, true);
            taken += give(&f, kit_batch(i * 4, 4, 64));
        }
        assert_true(taken >= 8 && taken <= 2 * (WEIR_CHANNEL_CREDITS + 2));
        for (int i = 0; i < 1000; i++)
            give_control(&f, WEIR_ITEM_WATERMARK, i);
        for (int c = 0; c < 2; c++)
            assert_true(f.chans[c]->pushed < (uint64_t)f.chans[c]->slots);
        struct weir_item item = pop(&f, 0);
        assert_int_equal(item.kind, WEIR_ITEM_BATCH);
        weir_batch_unref(item.batch);
        assert_true(weir_edge_writer_advance(f.writer, 0) || weir_edge_writer_flush(f.writer, 0, true) ||
                    partition == WEIR_EDGE_BROADCAST);
        fan_fini(&f);
    }
}

static void on_demand_waits_until_all_was_consumed(void **state)
{
    (void)state;
    struct fan f;
    fan_init(&f, 3, WEIR_EDGE_ON_DEMAND, 0, 5000000);
    assert_true(give(&f, kit_batch(0, 5, 5))); /* five rows, one at a time: three go now */
    assert_true(weir_edge_writer_busy(f.writer));
    struct weir_item items[3];
    for (int c = 0; c < 3; c++) {
        assert_true(weir_channel_pop(f.chans[c], &items[c]));
        assert_int_equal(items[c].batch->row_count, 1);
        assert_int_equal(items[c].batch->columns[0].i64[0], c);
        weir_batch_unref(items[c].batch);
    }
    assert_false(weir_edge_writer_advance(f.writer, 0)); /* taken, not yet consumed */
    weir_channel_done(f.chans[1], true);
    weir_edge_writer_advance(f.writer, 0);
    assert_false(weir_channel_peek(f.chans[0]));
    assert_true(weir_channel_peek(f.chans[1]));
    assert_true(weir_edge_writer_busy(f.writer));
    weir_channel_done(f.chans[2], true);
    assert_true(weir_edge_writer_advance(f.writer, 0));
    assert_false(weir_edge_writer_busy(f.writer));
    assert_true(give_control(&f, WEIR_ITEM_END, 0));
    assert_false(weir_edge_writer_busy(f.writer)); /* the end needs no credit */
    fan_fini(&f);
}

static void rebalance_avoids_who_is_behind(void **state)
{
    (void)state;
    struct fan f;
    fan_init(&f, 2, WEIR_EDGE_REBALANCE, 0, 5000000);
    for (int i = 0; i < 8; i++)
        assert_true(give(&f, kit_batch(i, 1, 5)));
    for (int i = 0; i < 4; i++) { /* channel 1 consumes */
        struct weir_item item = pop(&f, 1);
        assert_int_equal(item.kind, WEIR_ITEM_BATCH);
        weir_batch_unref(item.batch);
    }
    int taken = 0;
    while (taken < 100 && give(&f, kit_batch(0, 1, 5)) && !weir_edge_writer_busy(f.writer))
        taken++;
    assert_int_equal(taken, 12);
    fan_fini(&f);
}

/* --- Tasks on workers */

struct run {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int running, ended, failed, canceled;
    struct weir_error error;
};

static void run_init(struct run *run)
{
    memset(run, 0, sizeof *run);
    pthread_mutex_init(&run->lock, NULL);
    pthread_cond_init(&run->changed, NULL);
}

static void on_state(void *arg, struct weir_task *task, enum weir_task_state state, const struct weir_error *why,
                     int op)
{
    struct run *run = arg;
    (void)task, (void)op;
    pthread_mutex_lock(&run->lock);
    run->running += state == WEIR_TASK_RUNNING;
    run->ended += state >= WEIR_TASK_FINISHED;
    run->failed += state == WEIR_TASK_FAILED;
    run->canceled += state == WEIR_TASK_CANCELED;
    if (state == WEIR_TASK_FAILED)
        run->error = *why;
    pthread_cond_broadcast(&run->changed);
    pthread_mutex_unlock(&run->lock);
}

static void wait_ended(struct run *run, int count)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60; /* a bound for a broken build, not a measurement */
    pthread_mutex_lock(&run->lock);
    int timed_out = 0;
    while (run->ended < count && !timed_out)
        timed_out = pthread_cond_timedwait(&run->changed, &run->lock, &until);
    pthread_mutex_unlock(&run->lock);
    if (timed_out) {
        fprintf(stderr, "a task did not end\n");
        abort();
    }
}

static struct weir_task *task_of(struct run *run, struct weir_chain *chain, struct weir_input *input)
{
    struct weir_task_options options = {
        .name = "task", .job_id = JOB, .attempt = 1, .chain = chain, .input = input, .on_state = on_state, .arg = run};
    return weir_task_new(&options);
}

/* A source chain with a HASH edge over `chans`. */
static struct weir_task *source_task(struct run *run, struct kit_spec *spec, struct weir_channel **chans, int count,
                                     struct weir_waker *waker)
{
    struct weir_chain_op ops[] = {kit_op(&kit_source, -1, 0, spec)};
    struct weir_chain_options options = {.ops = ops, .op_count = 1};
    struct weir_chain *chain = weir_chain_new(&options);
    for (int c = 0; c < count; c++)
        chans[c]->producer = waker;
    struct weir_edge_writer_options writer = {.partition = WEIR_EDGE_HASH,
                                              .schema = kit_schema(),
                                              .key = {.column_count = 1, .columns = {1}},
                                              .max_parallelism = 128,
                                              .parallelism = count,
                                              .channels = chans,
                                              .channel_count = count,
                                              .timeout_ns = 5000000};
    weir_chain_add_writer(chain, 0, 0, weir_edge_writer_new(&writer));
    return task_of(run, chain, NULL);
}

static struct weir_task *sink_task(struct run *run, struct kit_spec *spec, struct weir_channel **chans, int count,
                                   struct weir_waker *waker)
{
    struct weir_chain_op ops[] = {kit_op(&kit_sink, -1, 0, spec)};
    struct weir_chain_options options = {.ops = ops, .op_count = 1, .input_count = 1};
    struct weir_input *input = weir_input_new(waker);
    for (int c = 0; c < count; c++) {
        weir_channel_set_consumer(chans[c], weir_input_inbox(input));
        weir_input_add(input, chans[c], 0);
    }
    return task_of(run, weir_chain_new(&options), input);
}

static void check_counts(const struct kit_spec *sinks, int sink_count, int64_t rows, int64_t keys)
{
    int64_t total = 0, sum = 0;
    for (int s = 0; s < sink_count; s++) {
        total += sinks[s].row_count;
        sum += sinks[s].id_sum;
        assert_int_equal(sinks[s].ended, 1);
        for (int64_t k = 0; k < keys; k++)
            if (sinks[s].key_counts[k])
                assert_int_equal(model_channel(k, sink_count), s);
    }
    assert_int_equal(total, rows);
    assert_true(sum == rows * (rows - 1) / 2);
    for (int64_t k = 0; k < keys; k++) {
        int64_t want = 0, got = 0;
        for (int64_t id = 0; id < keys; id++)
            if (id * 7 % keys == k)
                want += rows / keys + (id < rows % keys);
        for (int s = 0; s < sink_count; s++)
            got += sinks[s].key_counts[k];
        assert_int_equal(got, want);
    }
}

static void local_tasks_exchange_by_key(void **state)
{
    (void)state;
    static const int batch_rows[] = {1, 2, 1000};
    for (int b = 0; b < 3; b++)
        for (int worker_count = 1; worker_count <= 2; worker_count++) {
            struct run run;
            run_init(&run);
            struct weir_worker *workers[2];
            for (int w = 0; w < worker_count; w++)
                assert_int_equal(weir_worker_start(&(struct weir_worker_options){.index = w}, &workers[w], &error), 0);
            struct kit_spec sources[2], sinks[3];
            memset(sources, 0, sizeof sources);
            memset(sinks, 0, sizeof sinks);
            struct weir_channel *chans[2][3];
            struct weir_task *tasks[5];
            int64_t rows = batch_rows[b] < 1000 ? 4000 : 400000;
            for (int p = 0; p < 2; p++)
                for (int c = 0; c < 3; c++)
                    chans[p][c] = weir_channel_new(weir_channel_id(0, p, c), 8, false, false);
            for (int c = 0; c < 3; c++) {
                struct weir_channel *into[2] = {chans[0][c], chans[1][c]};
                tasks[2 + c] = sink_task(&run, &sinks[c], into, 2, weir_worker_waker(workers[c % worker_count]));
            }
            for (int p = 0; p < 2; p++) {
                sources[p] = (struct kit_spec){
                    .rows = rows / 2, .batch_rows = batch_rows[b], .keys = 37, .watermark_every = 100};
                tasks[p] = source_task(&run, &sources[p], chans[p], 3, weir_worker_waker(workers[p % worker_count]));
            }
            for (int p = 0; p < 2; p++)
                for (int c = 0; c < 3; c++)
                    weir_channel_open(chans[p][c]);
            for (int i = 0; i < 5; i++)
                weir_worker_add(workers[i % worker_count == 0 ? 0 : worker_count - 1], tasks[i]);
            wait_ended(&run, 5);
            assert_int_equal(run.failed, 0);
            /* Both sources gave ids 0 .. rows/2 - 1. */
            int64_t total = 0, sum = 0;
            for (int c = 0; c < 3; c++) {
                total += sinks[c].row_count;
                sum += sinks[c].id_sum;
                assert_int_equal(sinks[c].finished, 1);
            }
            assert_int_equal(total, rows);
            assert_true(sum == rows / 2 * (rows / 2 - 1));
            struct weir_task_stats stats;
            weir_task_read_stats(tasks[0], &stats);
            assert_int_equal(stats.records_out, rows / 2);
            for (int w = 0; w < worker_count; w++)
                weir_worker_stop(workers[w]);
            for (int i = 0; i < 5; i++)
                weir_task_free(tasks[i]);
            for (int p = 0; p < 2; p++)
                for (int c = 0; c < 3; c++)
                    weir_channel_unref(chans[p][c]);
            for (int w = 0; w < worker_count; w++)
                weir_worker_free(workers[w]);
        }
}

static void a_backpressured_task_can_be_cancelled(void **state)
{
    (void)state;
    struct run run;
    run_init(&run);
    struct weir_worker *worker;
    assert_int_equal(weir_worker_start(&(struct weir_worker_options){.index = 0}, &worker, &error), 0);
    _Atomic int block = 1;
    struct kit_spec source = {.endless = true, .batch_rows = 100, .keys = 5}, sink = {.block = &block};
    struct weir_channel *chan = weir_channel_new(1, 8, false, false);
    struct weir_task *b = sink_task(&run, &sink, &chan, 1, weir_worker_waker(worker));
    struct weir_task *a = source_task(&run, &source, &chan, 1, weir_worker_waker(worker));
    weir_channel_open(chan);
    weir_worker_add(worker, a);
    weir_worker_add(worker, b);
    struct weir_task_stats stats;
    do /* until it stands still for want of credit */
        weir_task_read_stats(a, &stats);
    while (stats.backpressured_ns == 0);
    assert_true(stats.records_out <= 100 * 12);
    weir_task_cancel(a);
    weir_worker_wake(worker);
    wait_ended(&run, 1);
    weir_task_cancel(b); /* while it is inside a batch */
    weir_worker_wake(worker);
    wait_ended(&run, 2);
    assert_int_equal(run.canceled, 2);
    assert_int_equal(source.closed, 1);
    assert_int_equal(sink.closed, 1);
    assert_int_equal(sink.finished, 0);
    weir_worker_stop(worker);
    weir_task_free(a);
    weir_task_free(b);
    weir_channel_unref(chan);
    weir_worker_free(worker);
}

/* --- Over the wire. One side: a worker, an I/O thread, a source or a sink. */

struct side {
    struct run run;
    struct weir_worker *worker;
    struct weir_io *io;
    struct weir_task *task;
    struct weir_channel *chans[4];
    int chan_count;
    struct kit_spec spec;
};

static void side_init(struct side *side, const char *id)
{
    memset(side, 0, sizeof *side);
    run_init(&side->run);
    assert_int_equal(weir_worker_start(&(struct weir_worker_options){.index = 0}, &side->worker, &error), 0);
    struct weir_io_options options = {.executor_id = id, .job_id = JOB, .incarnation = 1, .host = "127.0.0.1"};
    assert_int_equal(weir_io_start(&options, &side->io, &error), 0);
}

static void side_fini(struct side *side)
{
    weir_worker_stop(side->worker);
    for (int c = 0; c < side->chan_count; c++)
        weir_io_remove(side->io, side->chans[c], false);
    weir_io_stop(side->io);
    weir_task_free(side->task);
    weir_worker_free(side->worker);
}

static void side_source(struct side *side, int channels, const char *peer_id, const char *endpoint)
{
    side->chan_count = channels;
    for (int c = 0; c < channels; c++)
        side->chans[c] = weir_channel_new(weir_channel_id(5, 0, c), WEIR_CHANNEL_CREDITS, true, false);
    side->task = source_task(&side->run, &side->spec, side->chans, channels, weir_worker_waker(side->worker));
    for (int c = 0; c < channels; c++)
        weir_io_add_out(side->io, side->chans[c], 1, 1, &(struct weir_io_peer){peer_id, endpoint, NULL});
    weir_worker_add(side->worker, side->task);
}

static void side_sink(struct side *side, int index, const char *peer_id, const char *endpoint)
{
    side->chan_count = 1;
    side->chans[0] = weir_channel_new(weir_channel_id(5, 0, index), WEIR_CHANNEL_CREDITS, false, true);
    side->task = sink_task(&side->run, &side->spec, side->chans, 1, weir_worker_waker(side->worker));
    weir_io_add_in(side->io, side->chans[0], 1, 1, kit_schema(), &(struct weir_io_peer){peer_id, endpoint, NULL});
    weir_worker_add(side->worker, side->task);
}

/* --- With keys: both ends prove theirs, and nobody else gets in. */

static void side_init_keys(struct side *side, const char *id, const struct weir_curve_pair *keys)
{
    memset(side, 0, sizeof *side);
    run_init(&side->run);
    assert_int_equal(weir_worker_start(&(struct weir_worker_options){.index = 0}, &side->worker, &error), 0);
    struct weir_io_options options = {.executor_id = id,
                                      .job_id = JOB,
                                      .incarnation = 1,
                                      .host = "127.0.0.1",
                                      .keys = keys,
                                      .connect_timeout_ms = 1500};
    assert_int_equal(weir_io_start(&options, &side->io, &error), 0);
}

/* `sender_knows`, `receiver_knows`: the key that each is told the other has. `wait_ms`: the receiver's deployment comes so much later. True: the
 * rows arrived; else both ends failed. */
static bool exchange_with_keys(const struct weir_curve_pair *a_keys, const struct weir_curve_pair *b_keys,
                               const uint8_t *sender_knows, const uint8_t *receiver_knows, int wait_ms)
{
    struct side a, b;
    side_init_keys(&a, ID_A, a_keys);
    side_init_keys(&b, ID_B, b_keys);
    a.spec = (struct kit_spec){.rows = 5000, .batch_rows = 500, .keys = 10};
    a.chan_count = b.chan_count = 1;
    a.chans[0] = weir_channel_new(weir_channel_id(5, 0, 0), WEIR_CHANNEL_CREDITS, true, false);
    a.task = source_task(&a.run, &a.spec, a.chans, 1, weir_worker_waker(a.worker));
    weir_io_add_out(a.io, a.chans[0], 1, 1, &(struct weir_io_peer){ID_B, weir_io_endpoint(b.io), sender_knows});
    weir_worker_add(a.worker, a.task);
    if (wait_ms)
        usleep((unsigned)wait_ms * 1000);
    b.chans[0] = weir_channel_new(weir_channel_id(5, 0, 0), WEIR_CHANNEL_CREDITS, false, true);
    b.task = sink_task(&b.run, &b.spec, b.chans, 1, weir_worker_waker(b.worker));
    weir_io_add_in(b.io, b.chans[0], 1, 1, kit_schema(),
                   &(struct weir_io_peer){ID_A, weir_io_endpoint(a.io), receiver_knows});
    weir_worker_add(b.worker, b.task);
    wait_ended(&a.run, 1);
    wait_ended(&b.run, 1);
    bool arrived = a.run.failed == 0 && b.run.failed == 0;
    if (arrived)
        assert_int_equal(b.spec.row_count, 5000);
    else
        assert_int_equal(a.run.failed + b.run.failed, 2);
    struct weir_io_counters counters;
    weir_io_read_counters(b.io, &counters);
    if (memcmp(receiver_knows, a_keys->public_key, WEIR_CURVE_KEY_SIZE) != 0)
        assert_true(counters.strangers > 0);
    side_fini(&a);
    side_fini(&b);
    return arrived;
}

static void keys_are_proven_both_ways(void **state)
{
    (void)state;
    struct weir_curve_pair a, b, other;
    assert_int_equal(weir_curve_pair_new(&a, &error), 0);
    assert_int_equal(weir_curve_pair_new(&b, &error), 0);
    assert_int_equal(weir_curve_pair_new(&other, &error), 0);
    assert_true(exchange_with_keys(&a, &b, b.public_key, a.public_key, 0));
    assert_true(exchange_with_keys(&a, &b, b.public_key, a.public_key, 300)); /* knocks until it is known */
    assert_false(exchange_with_keys(&a, &b, b.public_key, other.public_key, 0));
    assert_false(exchange_with_keys(&a, &b, other.public_key, a.public_key, 0));
}

static void two_executors_exchange_by_key(void **state)
{
    (void)state;
    static const struct {
        int batch_rows;
        int64_t rows;
    } cases[] = {{1, 3000}, {2, 3000}, {2048, 300000}};
    for (int i = 0; i < 3; i++) {
        struct side a, sinks[2];
        struct kit_spec results[2];
        side_init(&a, ID_A);
        side_init(&sinks[0], ID_B);
        a.spec = (struct kit_spec){
            .rows = cases[i].rows, .batch_rows = cases[i].batch_rows, .keys = 37, .watermark_every = 1000};
        /* Both consumers behind one executor; the producer's OPEN may come before they are there. */
        side_source(&a, 2, ID_B, weir_io_endpoint(sinks[0].io));
        sinks[1] = sinks[0];
        run_init(&sinks[1].run);
        memset(&sinks[0].spec, 0, sizeof sinks[0].spec);
        memset(&sinks[1].spec, 0, sizeof sinks[1].spec);
        side_sink(&sinks[0], 0, ID_A, weir_io_endpoint(a.io));
        side_sink(&sinks[1], 1, ID_A, weir_io_endpoint(a.io));
        wait_ended(&a.run, 1);
        wait_ended(&sinks[0].run, 1);
        wait_ended(&sinks[1].run, 1);
        assert_int_equal(a.run.failed + sinks[0].run.failed + sinks[1].run.failed, 0);
        memcpy(&results[0], &sinks[0].spec, sizeof results[0]);
        memcpy(&results[1], &sinks[1].spec, sizeof results[1]);
        check_counts(results, 2, cases[i].rows, 37);
        struct weir_io_counters counters;
        weir_io_read_counters(sinks[0].io, &counters);
        assert_int_equal(counters.messages_bad, 0);
        assert_int_equal(counters.channels_broken, 0);
        weir_io_remove(sinks[1].io, sinks[1].chans[0], false);
        side_fini(&sinks[0]);
        weir_task_free(sinks[1].task);
        side_fini(&a);
    }
}

/* --- In another process: this program again, as a sink or a source, told its peer's endpoint on stdin. */

static pid_t start_child(const char *role, int64_t rows, int *in, int *out)
{
    int to[2], from[2];
    assert_int_equal(pipe(to), 0);
    assert_int_equal(pipe(from), 0);
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)rows);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        close(to[1]);
        close(from[0]);
        execl(program, program, role, text, (char *)NULL);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    *in = to[1];
    *out = from[0];
    return pid;
}

static void read_line(int fd, char *line, size_t size)
{
    size_t at = 0;
    while (at + 1 < size && read(fd, line + at, 1) == 1 && line[at] != '\n')
        at++;
    line[at] = 0;
}

static int child(const char *role, int64_t rows)
{
    char endpoint[256];
    static struct side side;
    side_init(&side, ID_B);
    printf("%s\n", weir_io_endpoint(side.io));
    fflush(stdout);
    read_line(0, endpoint, sizeof endpoint);
    if (strcmp(role, "sink") == 0) {
        side_sink(&side, 0, ID_A, endpoint);
    } else {
        side.spec = (struct kit_spec){.rows = rows, .endless = rows == 0, .batch_rows = 1000, .keys = 37};
        side_source(&side, 1, ID_A, endpoint);
    }
    wait_ended(&side.run, 1);
    printf("%lld %lld %d\n", (long long)side.spec.row_count, (long long)side.spec.id_sum, side.run.failed);
    fflush(stdout);
    read_line(0, endpoint, sizeof endpoint); /* until the parent has seen the end, too */
    side_fini(&side);
    return 0;
}

static void two_processes_exchange_a_million_rows(void **state)
{
    (void)state;
    int in, out;
    pid_t pid = start_child("sink", 0, &in, &out);
    char line[256];
    read_line(out, line, sizeof line);
    struct side a;
    side_init(&a, ID_A);
    dprintf(in, "%s\n", weir_io_endpoint(a.io));
    int64_t rows = 1000000, got_rows, got_sum;
    a.spec = (struct kit_spec){.rows = rows, .batch_rows = 2048, .keys = 1000, .watermark_every = 10000};
    side_source(&a, 1, ID_B, line);
    wait_ended(&a.run, 1);
    assert_int_equal(a.run.failed, 0);
    int failed;
    read_line(out, line, sizeof line);
    assert_int_equal(sscanf(line, "%lld %lld %d", (long long *)&got_rows, (long long *)&got_sum, &failed), 3);
    assert_int_equal(failed, 0);
    assert_int_equal(got_rows, rows);
    assert_true(got_sum == rows * (rows - 1) / 2);
    side_fini(&a);
    close(in);
    close(out);
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
}

/* kill -9 of the peer, once as the consumer and once as the producer: the task here fails, and says why. */
static void a_killed_peer_breaks_its_channels(void **state)
{
    (void)state;
    static const char *const roles[] = {"sink", "source"};
    for (int i = 0; i < 2; i++) {
        int in, out;
        pid_t pid = start_child(roles[i], 0, &in, &out);
        char line[256];
        read_line(out, line, sizeof line);
        struct side a;
        side_init(&a, ID_A);
        dprintf(in, "%s\n", weir_io_endpoint(a.io));
        if (i == 0) {
            a.spec = (struct kit_spec){.endless = true, .batch_rows = 100, .keys = 37};
            side_source(&a, 1, ID_B, line);
        } else {
            side_sink(&a, 0, ID_B, line);
        }
        struct weir_task_stats stats;
        do
            weir_task_read_stats(a.task, &stats);
        while (stats.records_in + stats.records_out < 10000);
        kill(pid, SIGKILL);
        wait_ended(&a.run, 1);
        assert_int_equal(a.run.failed, 1);
        assert_int_equal(a.run.error.code, WEIR_ERR_CHANNEL);
        assert_non_null(strstr(a.run.error.message, ID_B));
        waitpid(pid, NULL, 0);
        side_fini(&a);
        close(in);
        close(out);
    }
}

/* The other side does not consume: what is in flight stays bounded, here and there. */
static void a_stopped_consumer_stops_the_producer(void **state)
{
    (void)state;
    struct side a, b;
    side_init(&a, ID_A);
    side_init(&b, ID_B);
    _Atomic int block = 1;
    a.spec = (struct kit_spec){.rows = 100000, .batch_rows = 100, .keys = 37};
    b.spec.block = &block;
    side_source(&a, 1, ID_B, weir_io_endpoint(b.io));
    side_sink(&b, 0, ID_A, weir_io_endpoint(a.io));
    struct weir_task_stats stats;
    do
        weir_task_read_stats(a.task, &stats);
    while (stats.records_out < 800 || stats.backpressured_ns < 50000000);
    assert_true(stats.records_out <= 100 * (WEIR_CHANNEL_CREDITS + WEIR_OUT_BATCHES_MAX + 2));
    block = 0;
    wait_ended(&b.run, 1);
    assert_int_equal(b.spec.row_count, 100000);
    side_fini(&a);
    side_fini(&b);
}

/* --- A hostile or broken peer: raw frames from a DEALER of the test's own */

struct raw {
    void *context, *dealer;
};

static void raw_init(struct raw *raw, const char *endpoint)
{
    raw->context = zmq_ctx_new();
    raw->dealer = zmq_socket(raw->context, ZMQ_DEALER);
    int zero = 0, wait_ms = 20000;
    zmq_setsockopt(raw->dealer, ZMQ_LINGER, &zero, sizeof zero);
    zmq_setsockopt(raw->dealer, ZMQ_RCVTIMEO, &wait_ms, sizeof wait_ms);
    zmq_setsockopt(raw->dealer, ZMQ_ROUTING_ID, "raw", 3);
    assert_int_equal(zmq_connect(raw->dealer, endpoint), 0);
}

static void raw_fini(struct raw *raw)
{
    zmq_close(raw->dealer);
    zmq_ctx_term(raw->context);
}

static void raw_send(struct raw *raw, enum weir_frame_type type, uint64_t seq, uint32_t attempt, const void *payload,
                     size_t size, bool spoil)
{
    static uint8_t bytes[4096];
    memcpy(bytes + WEIR_FRAME_HEADER_SIZE, payload ? payload : "", size);
    struct weir_frame frame = {.type = type,
                               .job = weir_frame_job_tag(JOB, 1),
                               .channel = weir_channel_id(5, 0, 0),
                               .seq = seq,
                               .attempt = attempt,
                               .length = (uint32_t)size};
    size_t all = weir_frame_seal(&frame, bytes);
    if (spoil)
        bytes[WEIR_FRAME_HEADER_SIZE] ^= 1;
    assert_true(zmq_send(raw->dealer, bytes, all, 0) >= 0);
}

static void raw_expect(struct raw *raw, enum weir_frame_type type)
{
    uint8_t bytes[4096];
    int size = zmq_recv(raw->dealer, bytes, sizeof bytes, 0);
    assert_true(size > 0);
    struct weir_frame frame;
    size_t used;
    assert_int_equal(weir_frame_decode(bytes, (size_t)size, &frame, &used, &error), 0);
    assert_int_equal(frame.type, type);
}

static void raw_watermark(struct raw *raw, uint64_t seq, uint32_t attempt, int64_t watermark, bool spoil)
{
    uint8_t payload[8];
    weir_put_u64(payload, (uint64_t)watermark);
    raw_send(raw, WEIR_FRAME_WATERMARK, seq, attempt, payload, 8, spoil);
}

enum attack { GAP, REPEAT, CHECKSUM, OLD_ATTEMPT, NEW_ATTEMPT, TOO_MUCH, BAD_BATCH, GARBAGE, NO_HELLO, ATTACKS };

static void broken_streams_break_the_channel(void **state)
{
    (void)state;
    for (int attack = 0; attack < ATTACKS; attack++) {
        struct side b;
        side_init(&b, ID_B);
        /* Its DEALER towards the producer: another I/O thread that answers as ID_A. */
        struct side a;
        side_init(&a, ID_A);
        side_sink(&b, 0, ID_A, weir_io_endpoint(a.io));
        struct raw raw;
        raw_init(&raw, weir_io_endpoint(b.io));
        if (attack == NO_HELLO) {
            raw_watermark(&raw, 1, 1, 5, false);
        }
        uint8_t hello[64];
        memcpy(hello, ID_A, 32);
        memcpy(hello + 32, ID_B, 32);
        raw_send(&raw, WEIR_FRAME_HELLO, 0, 0, hello, 64, false);
        raw_expect(&raw, WEIR_FRAME_HELLO_ACK);
        uint8_t consumer_attempt[4];
        weir_put_u32(consumer_attempt, 1);
        raw_send(&raw, WEIR_FRAME_OPEN, 0, 1, consumer_attempt, 4, false);
        raw_expect(&raw, WEIR_FRAME_CREDIT);
        raw_watermark(&raw, 1, 1, 10, false);
        bool breaks = true;
        const char *why = "";
        switch ((enum attack)attack) {
        case GAP:
            raw_watermark(&raw, 3, 1, 20, false);
            why = "lost";
            break;
        case REPEAT:
            raw_watermark(&raw, 1, 1, 20, false);
            why = "twice";
            break;
        case CHECKSUM:
            raw_watermark(&raw, 2, 1, 20, true);
            why = "checksum";
            break;
        case OLD_ATTEMPT:
            raw_watermark(&raw, 2, 0, 20, false);
            breaks = false;
            break;
        case NEW_ATTEMPT:
            raw_watermark(&raw, 2, 2, 20, false);
            why = "attempt 2";
            break;
        case TOO_MUCH:
            for (uint64_t i = 0; i < 3000; i++)
                raw_send(&raw, WEIR_FRAME_IDLE + (i & 1), 2 + i, 1, NULL, 0, false);
            breaks = false; /* whether it can consume them in time is open: either way nothing may crash */
            break;
        case BAD_BATCH:
            raw_send(&raw, WEIR_FRAME_BATCH, 2, 1, "not a batch, truly none", 23, false);
            why = "malformed";
            break;
        case GARBAGE:
            assert_true(zmq_send(raw.dealer, "garbage", 7, 0) > 0);
            why = "shorter";
            break;
        case NO_HELLO:
            breaks = false;
            break;
        case ATTACKS:
            break;
        }
        if (breaks) {
            wait_ended(&b.run, 1);
            assert_int_equal(b.run.failed, 1);
            assert_int_equal(b.run.error.code, WEIR_ERR_CHANNEL);
            if (!strstr(b.run.error.message, why))
                fail_msg("'%s' does not say '%s'", b.run.error.message, why);
        } else if (attack != TOO_MUCH) { /* the stream goes on */
            raw_send(&raw, WEIR_FRAME_END, 2, 1, NULL, 0, false);
            wait_ended(&b.run, 1);
            assert_int_equal(b.run.failed, 0);
            struct weir_io_counters counters;
            weir_io_read_counters(b.io, &counters);
            assert_int_equal(counters.frames_late, attack == OLD_ATTEMPT);
            assert_int_equal(counters.messages_bad, attack == NO_HELLO);
        }
        raw_fini(&raw);
        side_fini(&b);
        side_fini(&a);
    }
}

static void a_taken_port_is_named(void **state)
{
    (void)state;
    struct side a;
    side_init(&a, ID_A);
    int port = atoi(strrchr(weir_io_endpoint(a.io), ':') + 1);
    struct weir_io_options options = {.executor_id = ID_B,
                                      .job_id = JOB,
                                      .incarnation = 1,
                                      .host = "127.0.0.1",
                                      .port_first = port,
                                      .port_last = port};
    struct weir_io *io = NULL;
    assert_int_equal(weir_io_start(&options, &io, &error), WEIR_ERR_IO);
    assert_non_null(strstr(error.message, "taskmanager.data.port"));
    side_fini(&a);
}

/* Behind 0.0.0.0 or in a container the address that others use is not one to bind. */
static void is_reached_under_another_name_than_it_binds(void **state)
{
    (void)state;
    static const char *const binds[][2] = {{"0.0.0.0", "tcp://some.host:"}, {"::", "tcp://some.host:"}};
    for (size_t i = 0; i < sizeof binds / sizeof binds[0]; i++) {
        struct weir_io_options options = {
            .executor_id = ID_A, .job_id = JOB, .incarnation = 1, .host = "some.host", .bind_host = binds[i][0]};
        struct weir_io *io = NULL;
        if (weir_io_start(&options, &io, &error) != 0) {
            assert_int_equal(i, 1); /* a machine without IPv6 */
            continue;
        }
        assert_memory_equal(weir_io_endpoint(io), binds[i][1], strlen(binds[i][1]));
        assert_true(atoi(strrchr(weir_io_endpoint(io), ':') + 1) > 0);
        weir_io_stop(io);
    }
}

int main(int argc, char **argv)
{
    program = argv[0];
    if (argc > 2)
        return child(argv[1], atoll(argv[2]));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hash_agrees_with_the_key_groups),
        cmocka_unit_test(one_consumer_gets_the_batch_itself),
        cmocka_unit_test(gathered_rows_leave_by_timeout_or_when_dry),
        cmocka_unit_test(credits_bound_what_is_in_flight),
        cmocka_unit_test(on_demand_waits_until_all_was_consumed),
        cmocka_unit_test(rebalance_avoids_who_is_behind),
        cmocka_unit_test(local_tasks_exchange_by_key),
        cmocka_unit_test(a_backpressured_task_can_be_cancelled),
        cmocka_unit_test(two_executors_exchange_by_key),
        cmocka_unit_test(keys_are_proven_both_ways),
        cmocka_unit_test(two_processes_exchange_a_million_rows),
        cmocka_unit_test(a_killed_peer_breaks_its_channels),
        cmocka_unit_test(a_stopped_consumer_stops_the_producer),
        cmocka_unit_test(broken_streams_break_the_channel),
        cmocka_unit_test(a_taken_port_is_named),
        cmocka_unit_test(is_reached_under_another_name_than_it_binds),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    weir_schema_unref(kit_schema_);
    return failed;
}
