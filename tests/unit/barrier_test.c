/* Barriers: alignment in a task's input, their way through a chain, and the cut they make through a small job, which must be consistent: what
 * the sources had given when the barrier passed them is what the sinks had got when it passed those, at every checkpoint. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "state/snapshot.h"
#include "tests/unit/task_kit.h"

static struct weir_error error;

/* --- Input */

struct feed {
    struct weir_waker waker;
    struct weir_input *input;
    struct weir_channel *chans[8];
    int count;
};

static void feed_init(struct feed *f, int count)
{
    assert_int_equal(weir_waker_init(&f->waker, &error), 0);
    f->input = weir_input_new(&f->waker);
    f->count = count;
    for (int c = 0; c < count; c++) {
        f->chans[c] = weir_channel_new(weir_channel_id(0, c, 0), 8, false, false);
        weir_channel_set_consumer(f->chans[c], weir_input_inbox(f->input));
        f->chans[c]->producer = &f->waker;
        weir_input_add(f->input, f->chans[c], 0);
        weir_channel_open(f->chans[c]);
    }
}

static void feed_fini(struct feed *f)
{
    for (int c = 0; c < f->count; c++)
        weir_channel_unref(f->chans[c]);
    weir_input_free(f->input);
    weir_waker_fini(&f->waker);
}

static void push(struct feed *f, int c, enum weir_item_kind kind, int64_t value)
{
    struct weir_item item = {.kind = kind};
    if (kind == WEIR_ITEM_BATCH)
        item.batch = kit_batch(value, 1, 5);
    else if (kind == WEIR_ITEM_BARRIER)
        item.barrier = (struct weir_barrier){.checkpoint = (uint64_t)value};
    else
        item.watermark_ms = value;
    assert_true(kind == WEIR_ITEM_BATCH ? weir_channel_has_batch_room(f->chans[c])
                                        : weir_channel_has_item_room(f->chans[c], kind));
    weir_channel_push(f->chans[c], &item);
}

static const char *drain(struct feed *f)
{
    static char text[4096];
    size_t at = 0;
    text[0] = 0;
    struct weir_item item;
    while (weir_input_next(f->input, &item)) {
        if (item.kind == WEIR_ITEM_BATCH) {
            at += (size_t)sprintf(text + at, "B%lld ", (long long)item.batch->columns[0].i64[0]);
            weir_batch_unref(item.batch);
        } else if (item.kind == WEIR_ITEM_WATERMARK) {
            at += (size_t)(item.watermark_ms == INT64_MAX ? sprintf(text + at, "WMAX ")
                                                          : sprintf(text + at, "W%lld ", (long long)item.watermark_ms));
        } else if (item.kind == WEIR_ITEM_BARRIER) {
            at += (size_t)sprintf(text + at, "|%llu ", (unsigned long long)item.barrier.checkpoint);
        } else {
            at += (size_t)sprintf(text + at, "%s ",
                                  item.kind == WEIR_ITEM_IDLE     ? "IDLE"
                                  : item.kind == WEIR_ITEM_ACTIVE ? "ACTIVE"
                                                                  : "END");
        }
        weir_input_done(f->input);
    }
    return text;
}

static void channels_wait_for_each_other(void **state)
{
    (void)state;
    struct feed f;
    feed_init(&f, 3);
    push(&f, 0, WEIR_ITEM_BATCH, 1);
    push(&f, 0, WEIR_ITEM_BARRIER, 1);
    push(&f, 0, WEIR_ITEM_BATCH, 2); /* behind it: not yet */
    push(&f, 1, WEIR_ITEM_BATCH, 11);
    assert_string_equal(drain(&f), "B1 B11 ");
    push(&f, 0, WEIR_ITEM_WATERMARK, 50);
    push(&f, 1, WEIR_ITEM_BATCH, 12);
    push(&f, 2, WEIR_ITEM_BARRIER, 1);
    assert_string_equal(drain(&f), "B12 ");
    push(&f, 1, WEIR_ITEM_BATCH, 13);
    push(&f, 1, WEIR_ITEM_BARRIER, 1);
    push(&f, 1, WEIR_ITEM_BATCH, 14);
    const char *text = drain(&f);
    assert_true(strncmp(text, "B13 |1 ", 7) == 0);
    assert_non_null(strstr(text, "B2 "));
    assert_non_null(strstr(text, "B14 "));
    push(&f, 0, WEIR_ITEM_BARRIER, 1); /* of a checkpoint that is over */
    assert_string_equal(drain(&f), "");
    feed_fini(&f);
}

static void nothing_waits_with_at_least_once(void **state)
{
    (void)state;
    struct feed f;
    feed_init(&f, 2);
    weir_input_set_aligned(f.input, false);
    push(&f, 0, WEIR_ITEM_BARRIER, 1);
    push(&f, 0, WEIR_ITEM_BATCH, 2);
    assert_string_equal(drain(&f), "B2 ");
    push(&f, 1, WEIR_ITEM_BARRIER, 1);
    assert_string_equal(drain(&f), "|1 ");
    feed_fini(&f);
}

static void an_end_counts_as_a_barrier(void **state)
{
    (void)state;
    struct feed f;
    feed_init(&f, 3);
    push(&f, 0, WEIR_ITEM_END, 0);
    push(&f, 1, WEIR_ITEM_BARRIER, 4);
    push(&f, 1, WEIR_ITEM_END, 0);
    assert_string_equal(drain(&f), "");
    push(&f, 2, WEIR_ITEM_BATCH, 1);
    push(&f, 2, WEIR_ITEM_END, 0);
    assert_string_equal(drain(&f), "B1 |4 WMAX END ");
    feed_fini(&f);
}

static void a_newer_barrier_gives_up_an_older(void **state)
{
    (void)state;
    struct feed f;
    feed_init(&f, 2);
    push(&f, 0, WEIR_ITEM_BARRIER, 1);
    push(&f, 0, WEIR_ITEM_BATCH, 1);
    assert_string_equal(drain(&f), "");
    push(&f, 1, WEIR_ITEM_BARRIER, 2); /* 1 was aborted before it came here */
    push(&f, 1, WEIR_ITEM_BATCH, 2);
    assert_string_equal(drain(&f), "B1 ");
    push(&f, 0, WEIR_ITEM_BARRIER, 2);
    assert_string_equal(drain(&f), "|2 B2 ");
    push(&f, 1, WEIR_ITEM_BARRIER, 1);
    assert_string_equal(drain(&f), "");
    feed_fini(&f);
}

static void a_trigger_stands_for_producers_that_are_gone(void **state)
{
    (void)state;
    struct feed f;
    feed_init(&f, 2);
    push(&f, 0, WEIR_ITEM_BATCH, 1);
    push(&f, 0, WEIR_ITEM_END, 0);
    assert_string_equal(drain(&f), "B1 ");
    weir_input_trigger(f.input, &(struct weir_barrier){.checkpoint = 3});
    assert_string_equal(drain(&f), "");
    push(&f, 1, WEIR_ITEM_BATCH, 2); /* the last rows were still on their way */
    push(&f, 1, WEIR_ITEM_END, 0);
    assert_string_equal(drain(&f), "B2 |3 WMAX END ");
    weir_input_trigger(f.input, &(struct weir_barrier){.checkpoint = 4});
    assert_string_equal(drain(&f), "");
    feed_fini(&f);
}

static void a_blocked_channel_that_breaks_is_seen(void **state)
{
    (void)state;
    struct feed f;
    feed_init(&f, 2);
    push(&f, 0, WEIR_ITEM_BARRIER, 1);
    push(&f, 0, WEIR_ITEM_BATCH, 1);
    assert_string_equal(drain(&f), "");
    struct weir_error why;
    (void)weir_fail(&why, WEIR_ERR_CHANNEL, "gone");
    weir_waker_begin(&f.waker);
    assert_true(weir_waker_sleep(&f.waker));
    weir_channel_break(f.chans[0], &why);
    assert_int_equal(atomic_load(&f.waker.state), WEIR_WAKER_NOTIFIED);
    assert_string_equal(drain(&f), "");
    assert_string_equal(weir_input_error(f.input)->message, "gone");
    feed_fini(&f);
}

/* --- A job: sources -> hash -> middle tasks -> rebalance -> sinks, all on this thread */

enum { SOURCES = 3, MIDDLES = 2, SINKS = 2, TASKS = SOURCES + MIDDLES + SINKS, CHECKPOINTS_MAX = 64 };

struct cut { /* what a subtask had when a barrier passed it */
    int64_t rows, id_sum;
};

struct job {
    struct weir_waker waker;
    struct weir_task *tasks[TASKS];
    struct cut cuts[CHECKPOINTS_MAX][TASKS];
    bool acked[CHECKPOINTS_MAX][TASKS];
    struct kit_spec specs[TASKS];
    struct arg {
        struct job *job;
        int task;
    } args[TASKS];
    bool done[TASKS];
};

/* The counting operator's state is its spec's; a source's is where it stands. */
static weir_err snapshot_counts(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_snapshot *snapshot,
                                struct weir_error *out)
{
    (void)out;
    struct kit_state *own = (struct kit_state *)op;
    const struct kit_spec *spec = (const struct kit_spec *)ctx->function;
    struct cut cut = {spec->row_count, spec->id_sum};
    if (ctx->plan->name[0] == 's' && ctx->plan->name[1] == 'o') {
        int64_t n = own->next;
        cut = (struct cut){n, n * (n - 1) / 2 * ctx->parallelism + n * ctx->subtask};
    }
    struct weir_buf bytes;
    weir_buf_init(&bytes, sizeof cut);
    weir_assert(weir_buf_append(&bytes, &cut, sizeof cut));
    weir_snapshot_add(snapshot, ctx->plan->name, "count", WEIR_STATE_SUBTASK, &bytes);
    return WEIR_OK;
}

static enum weir_step count_and_pass(struct weir_op *op, struct weir_op_ctx *ctx, int input, struct weir_batch *batch)
{
    (void)op, (void)input;
    struct kit_spec *spec = kit_spec_of(ctx);
    if (weir_out_full(ctx->out))
        return WEIR_STEP_AGAIN;
    for (int r = 0; r < batch->row_count; r++)
        spec->id_sum += batch->columns[0].i64[r];
    spec->row_count += batch->row_count;
    weir_out_push(ctx->out, weir_batch_ref(batch));
    return WEIR_STEP_DONE;
}

static void on_snapshot(void *arg, struct weir_snapshot *snapshot)
{
    const struct arg *a = arg;
    assert_true(snapshot->checkpoint < CHECKPOINTS_MAX);
    assert_false(a->job->acked[snapshot->checkpoint][a->task]);
    a->job->acked[snapshot->checkpoint][a->task] = true;
    struct cut *cut = &a->job->cuts[snapshot->checkpoint][a->task];
    for (const struct weir_snapshot_part *part = snapshot->parts; part; part = part->next)
        memcpy(cut, part->bytes.data, sizeof *cut); /* the last operator's, or the only one's */
    weir_snapshot_free(snapshot);
}

static void on_state(void *arg, struct weir_task *task, enum weir_task_state task_state, const struct weir_error *why,
                     int op)
{
    (void)task, (void)op;
    const struct arg *a = arg;
    if (task_state == WEIR_TASK_FAILED)
        fail_msg("task %d: %s", a->task, why->message);
    a->job->done[a->task] |= task_state == WEIR_TASK_FINISHED;
}

static struct weir_op_vtable source_op, middle_op, sink_op;
static struct weir_op_plan source_plan = {.name = "source"}, pass_plan = {.name = "pass"},
                           middle_plan = {.name = "middle"}, sink_plan = {.name = "sink"};

static struct weir_edge_writer *writer_to(struct job *job, int edge, int from, struct weir_input **inputs, int count,
                                          enum weir_edge_partition partition)
{
    struct weir_channel *chans[8];
    for (int c = 0; c < count; c++) {
        chans[c] = weir_channel_new(weir_channel_id(edge, from, c), 2, false, false);
        weir_channel_set_consumer(chans[c], weir_input_inbox(inputs[c]));
        chans[c]->producer = &job->waker;
        weir_input_add(inputs[c], chans[c], 0);
        weir_channel_open(chans[c]);
    }
    struct weir_edge_writer_options options = {
        .partition = partition,
        .schema = kit_schema(),
        .key = {.column_count = 1, .columns = {1}},
        .max_parallelism = 128,
        .parallelism = count,
        .channels = chans,
        .channel_count = count,
        .timeout_ns = 1000000,
        .rows_max = 7,
    };
    struct weir_edge_writer *writer = weir_edge_writer_new(&options);
    for (int c = 0; c < count; c++)
        weir_channel_unref(chans[c]);
    return writer;
}

static struct weir_chain *chain_of(struct job *job, int task, const struct weir_chain_op *ops, int count,
                                   bool has_input)
{
    struct weir_chain_options options = {
        .ops = ops,
        .op_count = count,
        .input_count = has_input,
        .on_snapshot = on_snapshot,
        .on_snapshot_arg = &job->args[task],
    };
    return weir_chain_new(&options);
}

static void build(struct job *job, int64_t rows, bool at_least_once)
{
    source_op = kit_source;
    source_op.snapshot = snapshot_counts;
    middle_op = kit_pass_op;
    middle_op.batch = count_and_pass;
    middle_op.snapshot = snapshot_counts;
    sink_op = kit_sink;
    sink_op.snapshot = snapshot_counts;
    memset(job, 0, sizeof *job);
    assert_int_equal(weir_waker_init(&job->waker, &error), 0);
    struct weir_input *inputs[TASKS] = {0};
    for (int t = 0; t < TASKS; t++) {
        job->args[t] = (struct arg){job, t};
        job->specs[t] = (struct kit_spec){.rows = rows, .batch_rows = 11, .keys = 50};
        if (t >= SOURCES)
            inputs[t] = weir_input_new(&job->waker);
    }
    for (int t = 0; t < TASKS; t++) {
        struct kit_spec *spec = &job->specs[t];
        struct weir_chain_op ops[2] = {
            kit_op(t < SOURCES             ? &source_op
                   : t < SOURCES + MIDDLES ? &middle_op
                                           : &sink_op,
                   -1, 0, spec),
            kit_op(&kit_pass_op, 0, 0, spec),
        };
        ops[0].ctx.plan = t < SOURCES ? &source_plan : t < SOURCES + MIDDLES ? &middle_plan : &sink_plan;
        ops[0].ctx.parallelism = SOURCES;
        ops[0].ctx.subtask = t;
        ops[1].ctx.plan = &pass_plan;
        struct weir_chain *chain = chain_of(job, t, ops, t < SOURCES ? 2 : 1, t >= SOURCES);
        if (t < SOURCES)
            weir_chain_add_writer(chain, 1, 0, writer_to(job, 0, t, inputs + SOURCES, MIDDLES, WEIR_EDGE_HASH));
        else if (t < SOURCES + MIDDLES)
            weir_chain_add_writer(chain, 0, 0,
                                  writer_to(job, 1, t, inputs + SOURCES + MIDDLES, SINKS, WEIR_EDGE_REBALANCE));
        struct weir_task_options options = {.name = "task",
                                            .chain = chain,
                                            .input = inputs[t],
                                            .on_state = on_state,
                                            .arg = &job->args[t],
                                            .at_least_once = at_least_once};
        job->tasks[t] = weir_task_new(&options);
    }
}

static void tear_down(struct job *job)
{
    for (int t = 0; t < TASKS; t++)
        weir_task_free(job->tasks[t]);
    weir_waker_fini(&job->waker);
}

static struct cut sum(const struct job *job, int checkpoint, int first, int count)
{
    struct cut out = {0, 0};
    for (int t = first; t < first + count; t++) {
        out.rows += job->cuts[checkpoint][t].rows;
        out.id_sum += job->cuts[checkpoint][t].id_sum;
    }
    return out;
}

/* Runs the job in a random order of calls, triggering checkpoints on the way. Returns how many were complete. */
static int run_job(struct job *job, uint64_t seed)
{
    uint64_t rng = seed * 7919 + 1;
    int triggered = 0, left = TASKS;
    for (int step = 0; left > 0; step++) {
        assert_true(step < 2000000);
        bool last_complete = triggered == 0;
        for (int t = 0, acks = 0; t < TASKS; t++)
            last_complete |= (acks += job->acked[triggered][t]) == TASKS;
        /* Mostly one after the other; sometimes the next one overtakes, and gives up the last. */
        if (kit_random(&rng) % (last_complete ? 10 : 300) == 0 && triggered + 1 < CHECKPOINTS_MAX && !job->done[0] &&
            !job->done[1] && !job->done[2]) {
            struct weir_barrier barrier = {.checkpoint = (uint64_t)++triggered};
            for (int t = 0; t < SOURCES; t++)
                if (!weir_task_trigger(job->tasks[t], &barrier))
                    assert_true(triggered > WEIR_TASK_BARRIERS_MAX);
        }
        int t = (int)(kit_random(&rng) % TASKS);
        if (!job->done[t]) {
            weir_task_call(job->tasks[t], weir_clock_mono_ns());
            left -= job->done[t];
        }
    }
    int complete = 0;
    for (int c = 1; c <= triggered; c++) {
        int acks = 0;
        for (int t = 0; t < TASKS; t++)
            acks += job->acked[c][t];
        complete += acks == TASKS;
        if (acks < TASKS) /* a source had ended */
            memset(job->acked[c], 0, sizeof job->acked[c]);
    }
    return complete;
}

static void the_cut_is_consistent(void **state)
{
    (void)state;
    static struct job job;
    int complete = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        build(&job, 8000, false);
        complete += run_job(&job, seed);
        for (int c = 1; c < CHECKPOINTS_MAX; c++) {
            if (!job.acked[c][0])
                continue;
            struct cut sources = sum(&job, c, 0, SOURCES), middles = sum(&job, c, SOURCES, MIDDLES),
                       sinks = sum(&job, c, SOURCES + MIDDLES, SINKS);
            assert_int_equal(sources.rows, middles.rows);
            assert_int_equal(sources.id_sum, middles.id_sum);
            assert_int_equal(sources.rows, sinks.rows);
            assert_int_equal(sources.id_sum, sinks.id_sum);
        }
        int64_t rows = 0;
        for (int t = SOURCES + MIDDLES; t < TASKS; t++)
            rows += job.specs[t].row_count;
        assert_int_equal(rows, 3 * 8000);
        tear_down(&job);
    }
    assert_true(complete > 100);
}

/* Calls every task in a random order until `done` says so, or `steps` are over. */
static bool run_until(struct job *job, uint64_t seed, int steps, bool (*done)(const struct job *job))
{
    uint64_t rng = seed * 104729 + 1;
    for (int step = 0; step < steps; step++) {
        if (done && done(job))
            return true;
        int t = (int)(kit_random(&rng) % TASKS);
        if (!job->done[t])
            weir_task_call(job->tasks[t], weir_clock_mono_ns());
    }
    return !done;
}

static bool all_acked(const struct job *job)
{
    for (int t = 0; t < TASKS; t++)
        if (!job->acked[1][t])
            return false;
    return true;
}

static bool all_done(const struct job *job)
{
    for (int t = 0; t < TASKS; t++)
        if (!job->done[t])
            return false;
    return true;
}

/* What follows a barrier that stops the job is nothing, though sources and timers would have more. */
static void nothing_follows_a_barrier_that_stops(void **state)
{
    (void)state;
    static struct job job;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        build(&job, 1000000, seed % 2 == 0);
        run_until(&job, seed, 200, NULL);
        for (int t = 0; t < SOURCES; t++)
            assert_true(
                weir_task_trigger(job.tasks[t], &(struct weir_barrier){.checkpoint = 1, .flags = WEIR_BARRIER_STOP}));
        assert_true(run_until(&job, seed + 1, 1000000, all_acked));
        struct cut sources = sum(&job, 1, 0, SOURCES), sinks = sum(&job, 1, SOURCES + MIDDLES, SINKS);
        assert_int_equal(sources.rows, sinks.rows);
        assert_true(sources.rows > 0);
        run_until(&job, seed + 2, 300, NULL);
        int64_t rows = 0;
        for (int t = SOURCES + MIDDLES; t < TASKS; t++)
            rows += job.specs[t].row_count;
        assert_int_equal(rows, sinks.rows);
        for (int t = 0; t < TASKS; t++) {
            assert_false(job.done[t]);
            weir_task_cancel(job.tasks[t]);
            assert_int_equal(weir_task_call(job.tasks[t], weir_clock_mono_ns()), WEIR_DONE);
        }
        tear_down(&job);
    }
}

/* Sources that are drained end where they are: no checkpoint, and every row comes out. */
static void drained_sources_end(void **state)
{
    (void)state;
    static struct job job;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        build(&job, 1000000, false);
        run_until(&job, seed, 200, NULL);
        for (int t = 0; t < SOURCES; t++)
            assert_true(
                weir_task_trigger(job.tasks[t], &(struct weir_barrier){.checkpoint = 1, .flags = WEIR_BARRIER_DRAIN}));
        assert_true(run_until(&job, seed + 1, 1000000, all_done));
        int64_t in = 0, rows = 0;
        for (int t = SOURCES; t < TASKS; t++)
            *(t < SOURCES + MIDDLES ? &in : &rows) += job.specs[t].row_count;
        assert_int_equal(rows, in);
        assert_true(rows > 0 && rows < 3 * 1000000);
        for (int t = 0; t < TASKS; t++)
            assert_false(job.acked[1][t]);
        tear_down(&job);
    }
}

/* With at-least-once the sinks may be ahead of the sources, never behind. */
static void without_alignment_nothing_is_missing(void **state)
{
    (void)state;
    static struct job job;
    int complete = 0, ahead = 0;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        build(&job, 8000, true);
        complete += run_job(&job, seed);
        for (int c = 1; c < CHECKPOINTS_MAX; c++) {
            if (!job.acked[c][0])
                continue;
            int64_t sources = sum(&job, c, 0, SOURCES).rows, sinks = sum(&job, c, SOURCES + MIDDLES, SINKS).rows;
            assert_true(sinks >= sources);
            ahead += sinks > sources;
        }
        tear_down(&job);
    }
    assert_true(complete > 50);
    assert_true(ahead > 0);
}

/* --- A reader of splits: what it was given before a barrier is in its state, begun or not */

struct reader {
    const struct weir_batch *in_hand;
    int calls;
    int done;
};
static int splits_kept, splits_done; /* at the snapshot; -1: there was none */
static int snapshots;
static bool reader_is_slow;

static enum weir_step reader_batch(struct weir_op *op, struct weir_op_ctx *ctx, int input, struct weir_batch *batch)
{
    struct reader *reader = (struct reader *)op;
    (void)ctx, (void)input;
    reader->in_hand = batch;
    if (++reader->calls % 4 != 0 || reader_is_slow)
        return WEIR_STEP_AGAIN;
    reader->in_hand = NULL;
    reader->done++;
    return WEIR_STEP_DONE;
}

static enum weir_step reader_produce(struct weir_op *op, struct weir_op_ctx *ctx, bool *progress)
{
    (void)op, (void)ctx, (void)progress;
    return WEIR_STEP_DONE;
}

static weir_err reader_snapshot(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_snapshot *snapshot,
                                struct weir_error *why)
{
    const struct reader *reader = (struct reader *)op;
    (void)ctx, (void)why;
    if (snapshot->checkpoint == 0)
        return WEIR_OK;
    splits_kept = reader->in_hand != NULL;
    splits_done = reader->done;
    snapshots++;
    return WEIR_OK;
}

static const struct weir_op_vtable reader_op = {.name = "reader",
                                                .size = sizeof(struct reader),
                                                .is_source = true,
                                                .batch = reader_batch,
                                                .produce = reader_produce,
                                                .snapshot = reader_snapshot};

static struct weir_chain *reader_chain(void)
{
    static struct kit_spec spec;
    struct weir_chain_op op = kit_op(&reader_op, -1, 0, &spec);
    struct weir_chain_options options = {.ops = &op, .op_count = 1, .input_count = 1};
    splits_kept = splits_done = -1;
    snapshots = 0;
    return weir_chain_new(&options);
}

static void a_split_that_was_just_given_is_kept(void **state)
{
    (void)state;
    struct weir_chain *chain = reader_chain();
    assert_int_equal(weir_chain_open(chain, &error), 0);
    struct weir_item item = {.kind = WEIR_ITEM_BATCH, .batch = kit_batch(1, 1, 5)};
    weir_chain_give(chain, &item);
    assert_true(weir_chain_inject(chain, &(struct weir_barrier){.checkpoint = 1}));
    int64_t now_ns = weir_clock_mono_ns();
    weir_chain_begin(chain, now_ns, now_ns + WEIR_TASK_CALL_NS);
    while (weir_chain_run(chain))
        continue;
    assert_int_equal(splits_kept + splits_done, 1);
    /* The next barrier may come as an item: not before this one is on its way. */
    assert_true(weir_chain_wants_input(chain));
    assert_true(weir_chain_inject(chain, &(struct weir_barrier){.checkpoint = 2}));
    assert_false(weir_chain_wants_input(chain));
    weir_chain_close(chain, false);
    weir_chain_free(chain);
}

static void no_state_change(void *arg, struct weir_task *task, enum weir_task_state task_state,
                            const struct weir_error *why, int op)
{
    (void)arg, (void)task, (void)task_state, (void)why, (void)op;
}

/* Its coordinator has FINISHED, so the JobManager begins the barrier here; the last split is still in the channel. */
static void a_split_on_its_way_comes_before_a_triggered_barrier(void **state)
{
    (void)state;
    struct feed f;
    feed_init(&f, 1);
    struct weir_task_options options = {
        .name = "reader", .chain = reader_chain(), .input = f.input, .on_state = no_state_change};
    struct weir_task *task = weir_task_new(&options);
    assert_true(weir_task_trigger(task, &(struct weir_barrier){.checkpoint = 1}));
    (void)weir_task_call(task, weir_clock_mono_ns()); /* nothing is there yet */
    assert_int_equal(splits_kept, -1);
    push(&f, 0, WEIR_ITEM_BATCH, 1);
    push(&f, 0, WEIR_ITEM_END, 0);
    while (weir_task_call(task, weir_clock_mono_ns()) != WEIR_DONE)
        continue;
    assert_int_not_equal(splits_kept + splits_done,
                         0); /* in the snapshot, or there was none and the last one says it */
    f.input = NULL;
    weir_task_free(task);
    feed_fini(&f);
}

/* Begun by the JobManager and brought in-band, whichever comes first: a sink that took it twice would give files to a checkpoint that has
 * been reported without them. */
static void a_reader_passes_each_barrier_once(void **state)
{
    (void)state;
    for (int triggered_first = 0; triggered_first < 2; triggered_first++) {
        struct feed f;
        feed_init(&f, 1);
        struct weir_task_options options = {
            .name = "reader", .chain = reader_chain(), .input = f.input, .on_state = no_state_change};
        struct weir_task *task = weir_task_new(&options);
        const struct weir_barrier barrier = {.checkpoint = 1};
        for (int split = 0; split < 3; split++) {
            push(&f, 0, WEIR_ITEM_BATCH, split);
            if (split == !triggered_first)
                assert_true(weir_task_trigger(task, &barrier));
            if (split == triggered_first)
                push(&f, 0, WEIR_ITEM_BARRIER, 1);
            for (int call = 0; call < 6; call++) {
                reader_is_slow = call < 3; /* barriers find it in the middle of the split */
                (void)weir_task_call(task, weir_clock_mono_ns());
            }
        }
        assert_int_equal(snapshots, 1);
        push(&f, 0, WEIR_ITEM_END, 0);
        while (weir_task_call(task, weir_clock_mono_ns()) != WEIR_DONE)
            continue;
        f.input = NULL;
        weir_task_free(task);
        feed_fini(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(channels_wait_for_each_other),
        cmocka_unit_test(nothing_waits_with_at_least_once),
        cmocka_unit_test(an_end_counts_as_a_barrier),
        cmocka_unit_test(a_newer_barrier_gives_up_an_older),
        cmocka_unit_test(a_trigger_stands_for_producers_that_are_gone),
        cmocka_unit_test(a_split_that_was_just_given_is_kept),
        cmocka_unit_test(a_split_on_its_way_comes_before_a_triggered_barrier),
        cmocka_unit_test(a_reader_passes_each_barrier_once),
        cmocka_unit_test(a_blocked_channel_that_breaks_is_seen),
        cmocka_unit_test(the_cut_is_consistent),
        cmocka_unit_test(nothing_follows_a_barrier_that_stops),
        cmocka_unit_test(drained_sources_end),
        cmocka_unit_test(without_alignment_nothing_is_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
