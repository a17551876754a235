/* The chain driver and the input: order, fan-out, backpressure inside a chain, merging of watermarks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <semaphore.h>

#include "unit/task_kit.h"

static struct weir_error error;

static struct weir_chain *chain_of(const struct weir_chain_op *ops, int count, int inputs, int batches_max)
{
    struct weir_chain_options options = {
        .ops = ops, .op_count = count, .input_count = inputs, .batches_max = batches_max};
    struct weir_chain *chain = weir_chain_new(&options);
    assert_int_equal(weir_chain_open(chain, &error), 0);
    return chain;
}

static void rows_pass_in_order(void **state)
{
    (void)state;
    static const int sizes[] = {1, 2, 7, 2048};
    for (size_t s = 0; s < 4; s++) {
        struct kit_spec source = {.rows = 20, .batch_rows = sizes[s], .keys = 5, .watermark_every = 10};
        struct kit_spec pass = {0}, sink = {0};
        weir_buf_init(&sink.trace, 10000);
        struct weir_chain_op ops[] = {kit_op(&kit_source, -1, 0, &source), kit_op(&kit_pass_op, 0, 0, &pass),
                                      kit_op(&kit_pass_op, 1, 0, &pass), kit_op(&kit_sink, 2, 0, &sink)};
        struct weir_chain *chain = chain_of(ops, 4, 0, 0);
        kit_drive(chain);
        assert_int_equal(weir_chain_state(chain), WEIR_CHAIN_FINISHED);
        assert_int_equal(sink.row_count, 20);
        assert_int_equal(sink.id_sum, 190);
        if (sizes[s] == 7)
            assert_string_equal((const char *)sink.trace.data, "B7 B7 W14 B6 WMAX END ");
        if (sizes[s] == 2048)
            assert_string_equal((const char *)sink.trace.data, "B20 WMAX END ");
        weir_chain_publish(chain);
        const struct weir_op_counters *counters = weir_chain_counters(chain, 1);
        assert_int_equal(counters->records_in, 20);
        assert_int_equal(counters->records_out, 20);
        assert_true(counters->watermark_out_ms == WEIR_WATERMARK_MAX);
        const struct weir_chain_committable *committables;
        assert_int_equal(weir_chain_committables(chain, &committables), 1);
        assert_string_equal(committables[0].connector, "kit");
        weir_chain_close(chain, true);
        assert_int_equal(sink.finished, 1);
        assert_int_equal(source.closed, 1);
        weir_chain_free(chain);
        weir_buf_fini(&sink.trace);
    }
}

/* Every output holds one batch, every operator stops at every other call, one repeats its input. */
static void full_outputs_lose_nothing(void **state)
{
    (void)state;
    for (int copies = 1; copies < 6; copies++)
        for (int batch_rows = 1; batch_rows < 3; batch_rows++) {
            struct kit_spec source = {.rows = 101, .batch_rows = batch_rows, .keys = 5};
            struct kit_spec pass = {.again_first = true}, repeat = {.copies = copies}, sink = {.again_first = true};
            struct weir_chain_op ops[] = {kit_op(&kit_source, -1, 0, &source), kit_op(&kit_pass_op, 0, 0, &pass),
                                          kit_op(&kit_pass_op, 1, 0, &repeat), kit_op(&kit_sink, 2, 0, &sink)};
            struct weir_chain *chain = chain_of(ops, 4, 0, 1);
            kit_drive(chain);
            assert_int_equal(weir_chain_state(chain), WEIR_CHAIN_FINISHED);
            assert_int_equal(sink.row_count, 101 * copies);
            assert_int_equal(sink.id_sum, 5050 * copies);
            assert_int_equal(sink.ended, 1);
            weir_chain_free(chain);
        }
}

static void fan_out_is_by_reference(void **state)
{
    (void)state;
    struct kit_spec source = {.rows = 10, .batch_rows = 10, .keys = 5}, pass = {0}, a = {0}, b = {.again_first = true};
    weir_buf_init(&a.trace, 1000);
    weir_buf_init(&b.trace, 1000);
    struct weir_chain_op ops[] = {kit_op(&kit_source, -1, 0, &source), kit_op(&kit_sink, 0, 0, &a),
                                  kit_op(&kit_pass_op, 0, 0, &pass), kit_op(&kit_sink, 2, 0, &b)};
    struct weir_chain *chain = chain_of(ops, 4, 0, 0);
    kit_drive(chain);
    assert_int_equal(weir_chain_state(chain), WEIR_CHAIN_FINISHED);
    assert_ptr_equal(a.last_batch, b.last_batch);
    assert_string_equal((const char *)a.trace.data, "B10 WMAX END ");
    assert_string_equal((const char *)b.trace.data, "B10 WMAX END ");
    weir_chain_free(chain);
    weir_buf_fini(&a.trace);
    weir_buf_fini(&b.trace);
}

static enum weir_step side_batch(struct weir_op *op, struct weir_op_ctx *ctx, int input, struct weir_batch *batch)
{
    (void)op, (void)input;
    weir_out_push(batch->columns[0].i64[0] % 2 ? ctx->sides[0] : ctx->out, weir_batch_ref(batch));
    weir_out_push(ctx->sides[1], weir_batch_ref(batch)); /* nobody listens */
    return WEIR_STEP_DONE;
}

static void side_outputs_go_their_own_way(void **state)
{
    (void)state;
    static const struct weir_op_vtable side = {.name = "side", .batch = side_batch};
    struct kit_spec source = {.rows = 10, .batch_rows = 1, .keys = 5}, even = {0}, odd = {0};
    struct weir_chain_op ops[] = {kit_op(&kit_source, -1, 0, &source), kit_op(&side, 0, 0, NULL),
                                  kit_op(&kit_sink, 1, 0, &even), kit_op(&kit_sink, 1, 1, &odd)};
    struct weir_chain *chain = chain_of(ops, 4, 0, 0);
    kit_drive(chain);
    assert_int_equal(weir_chain_state(chain), WEIR_CHAIN_FINISHED);
    assert_int_equal(even.id_sum, 20);
    assert_int_equal(odd.id_sum, 25);
    assert_int_equal(odd.ended, 1);
    weir_chain_free(chain);
}

static uint64_t told;

static weir_err be_told(struct weir_op *op, struct weir_op_ctx *ctx, uint64_t checkpoint, struct weir_error *why)
{
    (void)op, (void)ctx;
    told = checkpoint;
    return checkpoint == 9 ? weir_fail(why, WEIR_ERR_IO, "its transaction is lost") : WEIR_OK;
}

/* To those that ask for it; what they cannot do fails the task. */
static void complete_checkpoints_are_told(void **state)
{
    (void)state;
    struct weir_op_vtable holder = kit_sink;
    holder.complete = be_told;
    struct kit_spec source = {.rows = 10, .batch_rows = 1, .keys = 5}, sink = {0};
    struct weir_chain_op ops[] = {kit_op(&kit_source, -1, 0, &source), kit_op(&holder, 0, 0, &sink)};
    struct weir_chain *chain = chain_of(ops, 2, 0, 0);
    weir_chain_complete(chain, 8);
    assert_int_equal(told, 8);
    assert_int_equal(weir_chain_state(chain), WEIR_CHAIN_RUNNING);
    weir_chain_complete(chain, 9);
    int op;
    assert_int_equal(weir_chain_state(chain), WEIR_CHAIN_FAILED);
    assert_string_equal(weir_chain_error(chain, &op)->message, "its transaction is lost");
    assert_int_equal(op, 1);
    weir_chain_free(chain);
}

static void a_failure_names_its_operator(void **state)
{
    (void)state;
    struct kit_spec source = {.rows = 100, .batch_rows = 10, .keys = 5}, pass = {.fail_at = 50}, sink = {0};
    struct weir_chain_op ops[] = {kit_op(&kit_source, -1, 0, &source), kit_op(&kit_pass_op, 0, 0, &pass),
                                  kit_op(&kit_sink, 1, 0, &sink)};
    struct weir_chain *chain = chain_of(ops, 3, 0, 0);
    kit_drive(chain);
    assert_int_equal(weir_chain_state(chain), WEIR_CHAIN_FAILED);
    int op;
    assert_string_equal(weir_chain_error(chain, &op)->message, "row 50 is one too many");
    assert_int_equal(op, 1);
    assert_int_equal(sink.ended, 0);
    weir_chain_close(chain, false);
    assert_int_equal(sink.closed, 1);
    assert_int_equal(sink.finished, 0);
    weir_chain_free(chain);
}

static enum weir_step own_watermark(struct weir_op *op, struct weir_op_ctx *ctx, int input, struct weir_batch *batch)
{
    (void)op, (void)input;
    int64_t id = batch->columns[0].i64[batch->row_count - 1];
    weir_out_push(ctx->out, weir_batch_ref(batch));
    weir_out_watermark(ctx->out, id - 3);
    if (id == 7)
        weir_out_idle(ctx->out, true);
    return WEIR_STEP_DONE;
}

static void own_watermarks_replace_those_of_the_input(void **state)
{
    (void)state;
    static const struct weir_op_vtable marker = {.name = "marker", .batch = own_watermark, .makes_watermarks = true};
    struct kit_spec source = {.rows = 16, .batch_rows = 4, .keys = 5, .watermark_every = 1}, sink = {0};
    weir_buf_init(&sink.trace, 1000);
    struct weir_chain_op ops[] = {kit_op(&kit_source, -1, 0, &source), kit_op(&marker, 0, 0, NULL),
                                  kit_op(&kit_sink, 1, 0, &sink)};
    struct weir_chain *chain = chain_of(ops, 3, 0, 0);
    kit_drive(chain);
    assert_string_equal((const char *)sink.trace.data, "B4 W0 B4 W4 B4 W8 B4 W12 WMAX END ");
    weir_chain_free(chain);
    weir_buf_fini(&sink.trace);
}

/* --- Calls that block */

static sem_t gate;
static int end_calls;
static _Atomic int woken;

static weir_err pass_gate(void *arg, struct weir_error *why)
{
    (void)arg, (void)why;
    while (sem_wait(&gate) != 0 && errno == EINTR)
        continue;
    return 0;
}

static void count_wake(void *arg)
{
    (void)arg;
    woken++;
}

static enum weir_step gated_end(struct weir_op *op, struct weir_op_ctx *ctx)
{
    struct weir_call **call = (struct weir_call **)(void *)op;
    struct weir_call_spec spec = {.run = pass_gate, .ended = ctx->wake};
    end_calls++;
    if (!*call)
        *call = weir_call_begin(ctx->pool, &spec);
    ctx->awaits_call |= !weir_call_ended(*call);
    return weir_call_ended(*call) ? WEIR_STEP_DONE : WEIR_STEP_AGAIN;
}

static void gated_close(struct weir_op *op, struct weir_op_ctx *ctx, bool finished)
{
    (void)ctx, (void)finished;
    weir_call_free(*(struct weir_call **)(void *)op);
}

/* An operator that waits for a call says AGAIN once a turn: the task makes no progress, and its worker may sleep until it is woken. A chain
 * that is closed meanwhile does not wait for it. */
static void a_call_that_blocks(void **state)
{
    (void)state;
    static const struct weir_op_vtable gated = {
        .name = "gated", .size = sizeof(struct weir_call *), .end = gated_end, .close = gated_close};
    for (int closed_early = 0; closed_early < 2; closed_early++) {
        struct weir_pool *pool = weir_pool_new();
        sem_init(&gate, 0, 0);
        end_calls = 0;
        woken = 0;
        struct kit_spec source = {.rows = 16, .batch_rows = 4, .keys = 5};
        struct weir_chain_op ops[] = {kit_op(&kit_source, -1, 0, &source), kit_op(&gated, 0, 0, NULL)};
        ops[1].ctx.pool = pool;
        ops[1].ctx.wake = count_wake;
        struct weir_chain *chain = chain_of(ops, 2, 0, 0);
        int turns = 0;
        for (; end_calls < 20; turns++) {
            assert_true(turns < 1000);
            weir_chain_begin(chain, weir_clock_mono_ns(), INT64_MAX);
            bool moved = weir_chain_run(chain);
            assert_true(end_calls <= 1 || !moved);
        }
        assert_int_equal(weir_chain_state(chain), WEIR_CHAIN_RUNNING);
        assert_true(turns >= 20);
        if (closed_early)
            weir_chain_free(chain);
        sem_post(&gate);
        if (!closed_early) {
            for (int i = 0; !woken; i++) {
                assert_true(i < 20000);
                poll(NULL, 0, 1);
            }
            weir_chain_begin(chain, weir_clock_mono_ns(), INT64_MAX);
            weir_chain_run(chain);
            assert_int_equal(weir_chain_state(chain), WEIR_CHAIN_FINISHED);
            weir_chain_free(chain);
        }
        weir_pool_unref(pool);
    }
}

/* --- Two operators that work as one */

struct fused {
    struct weir_op_ctx *last; /* whose output the results go to */
    bool absorbed;
};
static weir_err fused_open(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_error *why)
{
    (void)why;
    ((struct fused *)op)->last = ctx;
    return 0;
}
static bool fused_absorb(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_op *next,
                         struct weir_op_ctx *next_ctx)
{
    (void)ctx, (void)next_ctx;
    ((struct fused *)op)->last = ((struct fused *)next)->last;
    ((struct fused *)next)->absorbed = true;
    return true;
}
static enum weir_step fused_batch(struct weir_op *op, struct weir_op_ctx *ctx, int input, struct weir_batch *batch)
{
    struct fused *fused = (struct fused *)op;
    (void)input;
    weir_assert(!fused->absorbed);
    if (weir_out_full(fused->last->out))
        return WEIR_STEP_AGAIN;
    weir_out_push(fused->last->out, weir_batch_ref(batch));
    if (ctx != fused->last)
        *fused->last->num_records_in += (uint64_t)batch->row_count;
    return WEIR_STEP_DONE;
}

static void absorbed_operators_keep_the_order(void **state)
{
    (void)state;
    static const struct weir_op_vtable fused = {.name = "fused",
                                                .size = sizeof(struct fused),
                                                .open = fused_open,
                                                .absorb = fused_absorb,
                                                .batch = fused_batch};
    for (int batches_max = 1; batches_max < 3; batches_max++) {
        struct kit_spec source = {.rows = 16, .batch_rows = 4, .keys = 5, .watermark_every = 4};
        struct kit_spec sink = {.again_first = true}, pass = {0};
        weir_buf_init(&sink.trace, 1000);
        struct weir_chain_op ops[] = {kit_op(&kit_source, -1, 0, &source), kit_op(&fused, 0, 0, NULL),
                                      kit_op(&fused, 1, 0, NULL),          kit_op(&fused, 2, 0, NULL),
                                      kit_op(&kit_pass_op, 3, 0, &pass),   kit_op(&kit_sink, 4, 0, &sink)};
        struct weir_chain *chain = chain_of(ops, 6, 0, batches_max);
        kit_drive(chain);
        assert_int_equal(weir_chain_state(chain), WEIR_CHAIN_FINISHED);
        assert_string_equal((const char *)sink.trace.data, "B4 W4 B4 W8 B4 W12 B4 WMAX END ");
        weir_chain_publish(chain);
        assert_int_equal(weir_chain_counters(chain, 3)->records_in, 16);
        assert_int_equal(weir_chain_counters(chain, 3)->records_out, 16);
        assert_true(weir_chain_counters(chain, 3)->watermark_in_ms == WEIR_WATERMARK_MAX);
        weir_chain_free(chain);
        weir_buf_fini(&sink.trace);
    }
}

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
        weir_input_add(f->input, f->chans[c], c % 2);
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

static void push(struct feed *f, int c, enum weir_item_kind kind, int64_t watermark_ms)
{
    struct weir_item item = {.kind = kind, .watermark_ms = watermark_ms};
    if (kind == WEIR_ITEM_BATCH) {
        item.batch = kit_batch(watermark_ms, 1, 5);
        assert_true(weir_channel_has_batch_room(f->chans[c]));
    } else {
        assert_true(weir_channel_has_item_room(f->chans[c], kind));
    }
    weir_channel_push(f->chans[c], &item);
}

/* Everything that the input has, as text. */
static const char *drain(struct feed *f)
{
    static char text[4096];
    size_t at = 0;
    text[0] = 0;
    struct weir_item item;
    while (weir_input_next(f->input, &item)) {
        switch (item.kind) {
        case WEIR_ITEM_BATCH:
            at += (size_t)sprintf(text + at, "%d:B%lld ", item.input, (long long)item.batch->columns[0].i64[0]);
            weir_batch_unref(item.batch);
            break;
        case WEIR_ITEM_WATERMARK:
            at += (size_t)(item.watermark_ms == INT64_MAX ? sprintf(text + at, "WMAX ")
                                                          : sprintf(text + at, "W%lld ", (long long)item.watermark_ms));
            break;
        case WEIR_ITEM_IDLE:
            at += (size_t)sprintf(text + at, "IDLE ");
            break;
        case WEIR_ITEM_ACTIVE:
            at += (size_t)sprintf(text + at, "ACTIVE ");
            break;
        case WEIR_ITEM_END:
            at += (size_t)sprintf(text + at, "END ");
            break;
        case WEIR_ITEM_BARRIER: /* barrier_test */
        case WEIR_ITEM_NONE:
            break;
        }
        weir_input_done(f->input);
    }
    return text;
}

static void watermarks_are_the_minimum(void **state)
{
    (void)state;
    struct feed f;
    feed_init(&f, 3);
    push(&f, 0, WEIR_ITEM_WATERMARK, 10);
    push(&f, 1, WEIR_ITEM_WATERMARK, 20);
    assert_string_equal(drain(&f), "");
    push(&f, 2, WEIR_ITEM_WATERMARK, 5);
    assert_string_equal(drain(&f), "W5 ");
    push(&f, 2, WEIR_ITEM_WATERMARK, 30);
    assert_string_equal(drain(&f), "W10 ");
    push(&f, 0, WEIR_ITEM_IDLE, 0);
    assert_string_equal(drain(&f), "W20 ");
    push(&f, 1, WEIR_ITEM_IDLE, 0);
    assert_string_equal(drain(&f), "W30 ");
    push(&f, 2, WEIR_ITEM_IDLE, 0);
    assert_string_equal(drain(&f), "IDLE ");
    /* Back with an old watermark: it does not hold the others back until it has caught up. */
    push(&f, 0, WEIR_ITEM_ACTIVE, 0);
    assert_string_equal(drain(&f), "ACTIVE ");
    push(&f, 2, WEIR_ITEM_BATCH, 77);
    assert_string_equal(drain(&f), "0:B77 ");
    push(&f, 2, WEIR_ITEM_WATERMARK, 40);
    assert_string_equal(drain(&f), "W40 ");
    push(&f, 0, WEIR_ITEM_WATERMARK, 45);
    push(&f, 2, WEIR_ITEM_WATERMARK, 50);
    assert_string_equal(drain(&f), "W45 ");
    push(&f, 0, WEIR_ITEM_END, 0);
    assert_string_equal(drain(&f), "W50 ");
    push(&f, 1, WEIR_ITEM_END, 0);
    assert_string_equal(drain(&f), "");
    push(&f, 2, WEIR_ITEM_BATCH, 1);
    push(&f, 2, WEIR_ITEM_END, 0);
    assert_string_equal(drain(&f), "0:B1 WMAX END ");
    assert_true(weir_input_ended(f.input));
    feed_fini(&f);
}

static void an_idle_input_wakes_with_a_batch(void **state)
{
    (void)state;
    struct feed f;
    feed_init(&f, 2);
    push(&f, 0, WEIR_ITEM_IDLE, 0);
    push(&f, 1, WEIR_ITEM_IDLE, 0);
    assert_string_equal(drain(&f), "IDLE ");
    push(&f, 1, WEIR_ITEM_BATCH, 9);
    assert_string_equal(drain(&f), "ACTIVE 1:B9 ");
    /* Its credit came back: all eight can be pushed at once. */
    for (int i = 0; i < 8; i++)
        push(&f, 1, WEIR_ITEM_BATCH, i);
    assert_false(weir_channel_has_batch_room(f.chans[1]));
    push(&f, 1, WEIR_ITEM_WATERMARK, 5); /* needs no credit */
    push(&f, 1, WEIR_ITEM_END, 0);
    push(&f, 0, WEIR_ITEM_END, 0);
    const char *text = drain(&f);
    assert_non_null(strstr(text, "1:B7 "));
    assert_non_null(strstr(text, "WMAX END "));
    feed_fini(&f);
}

static void channels_are_served_in_turn(void **state)
{
    (void)state;
    struct feed f;
    feed_init(&f, 3);
    for (int i = 0; i < 3; i++)
        for (int c = 0; c < 3; c++)
            push(&f, c, WEIR_ITEM_BATCH, c * 10 + i);
    assert_string_equal(drain(&f), "0:B0 1:B10 0:B20 0:B1 1:B11 0:B21 0:B2 1:B12 0:B22 ");
    feed_fini(&f);
}

/* Against a plain model: the merged watermark never falls, never passes the slowest active channel, and reaches it. */
static void random_merging_agrees_with_a_model(void **state)
{
    (void)state;
    uint64_t rng = 12345;
    for (int round = 0; round < 300; round++) {
        struct feed f;
        int count = 1 + (int)(kit_random(&rng) % 5);
        feed_init(&f, count);
        int64_t marks[8], out = INT64_MIN;
        bool ended[8] = {false};
        for (int c = 0; c < count; c++)
            marks[c] = INT64_MIN;
        for (int step = 0; step < 60; step++) {
            int c = (int)(kit_random(&rng) % (uint64_t)count);
            if (ended[c])
                continue;
            if (kit_random(&rng) % 20 == 0) {
                push(&f, c, WEIR_ITEM_END, 0);
                ended[c] = true;
            } else {
                int64_t mark = (int64_t)(kit_random(&rng) % 1000);
                push(&f, c, WEIR_ITEM_WATERMARK, mark);
                marks[c] = mark > marks[c] ? mark : marks[c];
            }
            int64_t min = INT64_MAX;
            for (int i = 0; i < count; i++)
                if (!ended[i] && marks[i] < min)
                    min = marks[i];
            out = min > out ? min : out;
            drain(&f);
            assert_true(weir_input_watermark_ms(f.input) == out);
        }
        feed_fini(&f);
    }
}

static void a_broken_channel_is_reported(void **state)
{
    (void)state;
    struct feed f;
    feed_init(&f, 2);
    struct weir_error why;
    (void)weir_fail(&why, WEIR_ERR_CHANNEL, "the wire is cut");
    assert_null(weir_input_error(f.input));
    weir_channel_break(f.chans[1], &why);
    assert_string_equal(drain(&f), "");
    assert_non_null(weir_input_error(f.input));
    assert_string_equal(weir_input_error(f.input)->message, "the wire is cut");
    feed_fini(&f);
}

/* --- Timers */

static enum weir_step timer_batch(struct weir_op *op, struct weir_op_ctx *ctx, int input, struct weir_batch *batch)
{
    (void)op, (void)input, (void)batch;
    weir_op_set_timer(ctx, weir_op_now_ms(ctx) + 5);
    return WEIR_STEP_DONE;
}
static enum weir_step timer_fired(struct weir_op *op, struct weir_op_ctx *ctx, int64_t now_ms)
{
    int *calls = (int *)op;
    (void)now_ms;
    if (++*calls == 1)
        return WEIR_STEP_AGAIN;
    weir_out_push(ctx->out, kit_batch(1, 1, 5));
    return WEIR_STEP_DONE;
}

static void timers_fire_between_items(void **state)
{
    (void)state;
    static const struct weir_op_vtable timed = {
        .name = "timed", .size = sizeof(int), .batch = timer_batch, .timer = timer_fired};
    struct kit_spec sink = {0};
    struct weir_chain_op ops[] = {kit_op(&timed, -1, 0, NULL), kit_op(&kit_sink, 0, 0, &sink)};
    struct weir_chain *chain = chain_of(ops, 2, 1, 0);
    struct weir_item item = {.kind = WEIR_ITEM_BATCH, .batch = kit_batch(0, 1, 5)};
    assert_true(weir_chain_wants_input(chain));
    weir_chain_give(chain, &item);
    int64_t begin_ns = weir_clock_mono_ns();
    for (int i = 0; sink.row_count == 0 && weir_clock_mono_ns() - begin_ns < 5000000000; i++) {
        int64_t now_ns = weir_clock_mono_ns();
        weir_chain_begin(chain, now_ns, now_ns + WEIR_TASK_CALL_NS);
        weir_chain_run(chain);
        if (i == 0)
            assert_true(weir_chain_due_ns(chain, now_ns) != INT64_MAX);
    }
    assert_int_equal(sink.row_count, 1);
    item.kind = WEIR_ITEM_END;
    weir_chain_give(chain, &item);
    kit_drive(chain);
    assert_int_equal(weir_chain_state(chain), WEIR_CHAIN_FINISHED);
    weir_chain_free(chain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_pass_in_order),
        cmocka_unit_test(full_outputs_lose_nothing),
        cmocka_unit_test(fan_out_is_by_reference),
        cmocka_unit_test(side_outputs_go_their_own_way),
        cmocka_unit_test(complete_checkpoints_are_told),
        cmocka_unit_test(a_failure_names_its_operator),
        cmocka_unit_test(own_watermarks_replace_those_of_the_input),
        cmocka_unit_test(absorbed_operators_keep_the_order),
        cmocka_unit_test(watermarks_are_the_minimum),
        cmocka_unit_test(an_idle_input_wakes_with_a_batch),
        cmocka_unit_test(channels_are_served_in_turn),
        cmocka_unit_test(random_merging_agrees_with_a_model),
        cmocka_unit_test(a_broken_channel_is_reported),
        cmocka_unit_test(timers_fire_between_items),
        cmocka_unit_test(a_call_that_blocks),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    weir_schema_unref(kit_schema_);
    return failed;
}
