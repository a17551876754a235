/* Tiny operators and helpers for tests of chains, exchange and executor. Rows are (id BIGINT, key BIGINT). */
#ifndef WEIR_TESTS_TASK_KIT_H
#define WEIR_TESTS_TASK_KIT_H

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "ops/op.h"
#include "task/task.h"

static struct weir_schema *kit_schema_;
__attribute__((unused)) static struct weir_schema *kit_schema(void)
{
    if (!kit_schema_) {
        struct weir_error error;
        weir_assert(!weir_schema_parse("id BIGINT NOT NULL, key BIGINT NOT NULL", &kit_schema_, &error));
    }
    return kit_schema_;
}

__attribute__((unused)) static uint64_t kit_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Rows with ids first, first + 1, ...; key = id * 7 % keys. */
__attribute__((unused)) static struct weir_batch *kit_batch(int64_t first, int count, int64_t keys)
{
    struct weir_batch *batch = weir_batch_new(kit_schema(), count);
    for (int i = 0; i < count; i++) {
        batch->columns[0].i64[i] = first + i;
        batch->columns[1].i64[i] = (first + i) * 7 % keys;
    }
    batch->row_count = count;
    return batch;
}

/* What an operator of a test is told, through weir_op_plan.options' place: a pointer in ctx->function. */
struct kit_spec {
    int64_t rows;   /* source: how many */
    int batch_rows; /* source */
    int64_t keys;
    int64_t watermark_every; /* source: rows between watermarks (= the id reached); 0: none */
    int64_t rate;            /* source: rows a second, id = when the row was due, ns; 0: as fast as it can */
    bool stamp_now;          /* with a rate: id = when it was made */
    int copies;              /* repeat: pushes each batch so many times, one a step */
    bool again_first;        /* says AGAIN once before it does anything with an item */
    bool endless;            /* source */
    int64_t fail_at;         /* fails when it has seen this many rows; 0: never */
    _Atomic int *block;      /* sink: while it is 1 batches are not consumed (a timer asks again) */
    /* results */
    _Atomic int64_t row_count, id_sum, ended, opened, closed, finished;
    int64_t key_counts[1024];
    struct weir_buf trace; /* "B3 W10 IDLE ACTIVE END " */
    const struct weir_batch *last_batch;
    int64_t latency_count;
    int64_t *latencies_ns; /* of each row's id as the time when it was due, up to latency_max */
    int64_t latency_max;
};

struct kit_state {
    int64_t next;
    int step;
    bool asked;
    int64_t start_ns;
};

static struct kit_spec *kit_spec_of(struct weir_op_ctx *ctx)
{
    return (struct kit_spec *)ctx->function;
}

static void kit_trace(struct kit_spec *spec, const char *format, ...) __attribute__((format(printf, 2, 3)));
#include <stdarg.h>
#include <stdio.h>
static void kit_trace(struct kit_spec *spec, const char *format, ...)
{
    if (!spec->trace.max)
        return;
    char text[64];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    weir_assert(weir_buf_puts(&spec->trace, text));
}

static weir_err kit_open(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_error *error)
{
    (void)op, (void)error;
    kit_spec_of(ctx)->opened++;
    return 0;
}

static void kit_close(struct weir_op *op, struct weir_op_ctx *ctx, bool finished)
{
    (void)op;
    if (finished)
        kit_spec_of(ctx)->finished++;
    kit_spec_of(ctx)->closed++;
}

/* --- source: kit_spec.rows rows, id = row number * parallelism + subtask */
static enum weir_step kit_produce(struct weir_op *op, struct weir_op_ctx *ctx, bool *progress)
{
    struct kit_state *state = (struct kit_state *)op;
    struct kit_spec *spec = kit_spec_of(ctx);
    if (!state->start_ns)
        state->start_ns = weir_clock_mono_ns();
    while (!weir_out_full(ctx->out)) {
        if (state->next >= spec->rows && !spec->endless)
            return WEIR_STEP_DONE;
        int count = spec->batch_rows;
        if (!spec->endless && spec->rows - state->next < count)
            count = (int)(spec->rows - state->next);
        if (spec->rate) {
            int64_t now_ns = weir_clock_mono_ns();
            int64_t due = (now_ns - state->start_ns) / 1000 * spec->rate / 1000000;
            if (due <= state->next) {
                weir_op_set_timer(ctx, weir_op_now_ms(ctx) + 1);
                return WEIR_STEP_AGAIN;
            }
            if (due - state->next < count)
                count = (int)(due - state->next);
        }
        struct weir_batch *batch = weir_batch_new(kit_schema(), count);
        int64_t made_ns = spec->stamp_now ? weir_clock_mono_ns() : 0;
        for (int i = 0; i < count; i++) {
            int64_t row = state->next + i, id = row * ctx->parallelism + ctx->subtask;
            batch->columns[0].i64[i] = made_ns      ? made_ns
                                       : spec->rate ? state->start_ns + row * 1000000000 / spec->rate
                                                    : id;
            batch->columns[1].i64[i] = id * 7 % spec->keys;
        }
        batch->row_count = count;
        weir_out_push(ctx->out, batch);
        int64_t before = state->next;
        state->next += count;
        if (spec->watermark_every && before / spec->watermark_every != state->next / spec->watermark_every)
            weir_out_watermark(ctx->out, state->next * ctx->parallelism);
        *progress = true;
        if (weir_op_should_yield(ctx))
            break;
    }
    return WEIR_STEP_AGAIN;
}

/* --- pass: by reference; repeat: `copies` times */
static enum weir_step kit_pass(struct weir_op *op, struct weir_op_ctx *ctx, int input, struct weir_batch *batch)
{
    struct kit_state *state = (struct kit_state *)op;
    struct kit_spec *spec = kit_spec_of(ctx);
    (void)input;
    if (spec->again_first && !state->asked) {
        state->asked = true;
        return WEIR_STEP_AGAIN;
    }
    state->asked = false;
    if (state->step == 0) {
        spec->row_count += batch->row_count;
        if (spec->fail_at && spec->row_count >= spec->fail_at) {
            (void)weir_fail(&ctx->error, WEIR_ERR_DATA, "row %lld is one too many", (long long)spec->row_count);
            return WEIR_STEP_FAILED;
        }
    }
    int copies = spec->copies ? spec->copies : 1;
    while (state->step < copies) {
        if (weir_out_full(ctx->out))
            return WEIR_STEP_AGAIN;
        weir_out_push(ctx->out, weir_batch_ref(batch));
        state->step++;
    }
    state->step = 0;
    return WEIR_STEP_DONE;
}

/* --- sink */
static enum weir_step kit_sink_batch(struct weir_op *op, struct weir_op_ctx *ctx, int input, struct weir_batch *batch)
{
    struct kit_state *state = (struct kit_state *)op;
    struct kit_spec *spec = kit_spec_of(ctx);
    (void)input;
    if (spec->block && *spec->block) {
        weir_op_set_timer(ctx, weir_op_now_ms(ctx) + 1);
        return WEIR_STEP_AGAIN;
    }
    if (spec->again_first && !state->asked) {
        state->asked = true;
        return WEIR_STEP_AGAIN;
    }
    state->asked = false;
    int64_t now_ns = spec->latencies_ns ? weir_clock_mono_ns() : 0, sum = 0;
    for (int r = 0; r < batch->row_count; r++) {
        sum += batch->columns[0].i64[r];
        spec->key_counts[batch->columns[1].i64[r] & 1023]++;
        if (spec->latencies_ns && spec->latency_count < spec->latency_max)
            spec->latencies_ns[spec->latency_count++] = now_ns - batch->columns[0].i64[r];
    }
    spec->id_sum += sum;
    spec->row_count += batch->row_count;
    spec->last_batch = batch;
    kit_trace(spec, "B%d ", batch->row_count);
    return WEIR_STEP_DONE;
}

static enum weir_step kit_sink_watermark(struct weir_op *op, struct weir_op_ctx *ctx, int64_t watermark_ms)
{
    (void)op;
    if (watermark_ms == WEIR_WATERMARK_MAX)
        kit_trace(kit_spec_of(ctx), "WMAX ");
    else
        kit_trace(kit_spec_of(ctx), "W%lld ", (long long)watermark_ms);
    return WEIR_STEP_DONE;
}

static enum weir_step kit_sink_end(struct weir_op *op, struct weir_op_ctx *ctx)
{
    (void)op;
    kit_trace(kit_spec_of(ctx), "END ");
    kit_spec_of(ctx)->ended++;
    weir_op_add_committable(ctx, "kit", "done", NULL);
    return WEIR_STEP_DONE;
}

__attribute__((unused)) static const struct weir_op_vtable kit_source = {.name = "kit_source",
                                                                         .size = sizeof(struct kit_state),
                                                                         .is_source = true,
                                                                         .open = kit_open,
                                                                         .produce = kit_produce,
                                                                         .close = kit_close};
__attribute__((unused)) static const struct weir_op_vtable kit_pass_op = {
    .name = "kit_pass", .size = sizeof(struct kit_state), .open = kit_open, .batch = kit_pass, .close = kit_close};
__attribute__((unused)) static const struct weir_op_vtable kit_sink = {.name = "kit_sink",
                                                                       .size = sizeof(struct kit_state),
                                                                       .open = kit_open,
                                                                       .batch = kit_sink_batch,
                                                                       .watermark = kit_sink_watermark,
                                                                       .end = kit_sink_end,
                                                                       .close = kit_close};

__attribute__((unused)) static struct weir_op_plan kit_plan = {.name = "kit"};

__attribute__((unused)) static struct weir_chain_op kit_op(const struct weir_op_vtable *vtable, int upstream,
                                                           int output, struct kit_spec *spec)
{
    return (struct weir_chain_op){
        .vtable = vtable,
        .upstream = upstream,
        .upstream_output = output,
        .ctx = {.plan = &kit_plan,
                .job_id = "job",
                .task_name = "task",
                .parallelism = 1,
                .max_parallelism = 128,
                .function = spec},
    };
}

__attribute__((unused)) static void kit_drive(struct weir_chain *chain)
{
    for (int i = 0; i < 1000000 && weir_chain_state(chain) == WEIR_CHAIN_RUNNING; i++) {
        int64_t now_ns = weir_clock_mono_ns();
        weir_chain_begin(chain, now_ns, now_ns + WEIR_TASK_CALL_NS);
        weir_chain_run(chain);
    }
}

#endif
