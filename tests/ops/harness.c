/* See harness.h. One thread; the operator under test is called from here only. */
#include "harness.h"

#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/assert.h"
#include "data/time_text.h"
#include "state/memory.h"
#include "state/snapshot.h"

#define CALLS_MAX 10000000 /* of one item: more is an operator that never says DONE */
#define TEXT_MAX ((size_t)256 << 20)

struct weir_out {
    struct weir_harness *h;
    struct weir_schema *schema;
    int pushed; /* in this call */
    int64_t watermark_ms;
    bool idle;
    int row_count;
    struct weir_buf rows, trace;
};

struct weir_task {
    struct weir_harness *h;
};

struct weir_harness {
    const struct weir_harness_setup *setup;
    struct weir_harness_mode mode;
    struct weir_op_plan plan;
    struct weir_op_ctx ctx;
    struct weir_op *op;
    struct weir_out outs[WEIR_HARNESS_OUTPUTS];
    struct weir_key_value options[64];
    struct weir_task task;
    int64_t now_ms, timer_ms;
    int wait_fd;
    unsigned asked;      /* should_yield() */
    uint64_t checkpoint; /* the last one */
    uint64_t bad, late;
    bool done, ended, failed;
    struct weir_buf committable;
    struct weir_batch *unfinished; /* weir_harness_calls() */
    struct weir_pool *pool;
};

const struct weir_harness_mode weir_harness_modes[] = {
    {.name = "as given"},
    {.name = "batches of one row", .rows = 1},
    {.name = "batches of two rows", .rows = 2},
    {.name = "full outputs", .full = true},
    {.name = "full outputs, batches of two rows, yielding", .rows = 2, .full = true, .yield = true},
    {.name = "yielding", .full = true, .yield = true},
    {.name = "restored", .restore = true},
    {.name = "restored, full outputs, batches of two rows, yielding",
     .rows = 2,
     .full = true,
     .yield = true,
     .restore = true},
    {.name = "beyond memory", .disk = true},
    {.name = "beyond memory, full outputs, yielding", .full = true, .yield = true, .disk = true},
    {.name = "beyond memory, restored", .restore = true, .disk = true},
    {.name = NULL},
};

/* --- RocksDB, one for all, made when it is first wanted */

#define DISK_BUDGET 8000

static struct weir_rocks *the_disk;
static char disk_directory[] = "/tmp/weir-harness-XXXXXX";

/* RocksDB is left open: at the end of the process its own parts may be gone already. */
static void delete_disk(void)
{
    weir_rocks_forget(disk_directory);
}

static struct weir_rocks *disk(void)
{
    struct weir_error error;
    if (the_disk)
        return the_disk;
    if (!mkdtemp(disk_directory) || weir_rocks_new(disk_directory, WEIR_ROCKS_MEMORY_MIN, &the_disk, &error))
        fail_msg("no directory for state: %s", disk_directory);
    atexit(delete_disk);
    return the_disk;
}

/* --- What the driver gives to operators */

bool weir_out_full(const struct weir_out *out)
{
    return out && out->h->mode.full && out->pushed > 0;
}

int64_t weir_out_undelivered(const struct weir_out *out)
{
    (void)out;
    return 0;
}

void weir_out_push(struct weir_out *out, struct weir_batch *batch)
{
    assert_non_null(batch);
    if (!out) {
        weir_batch_unref(batch);
        return;
    }
    if (weir_out_full(out))
        fail_msg("mode '%s': the operator pushed into an output that was full", out->h->mode.name);
    assert_true(batch->row_count > 0);
    assert_int_equal(batch->schema->field_count, out->schema->field_count);
    for (int c = 0; c < out->schema->field_count; c++)
        assert_int_equal(batch->columns[c].type, out->schema->fields[c].type.id);
    out->pushed++;
    if (out->idle) {
        out->idle = false;
        assert_true(weir_buf_puts(&out->trace, "ACTIVE\n"));
    }
    for (int r = 0; r < batch->row_count; r++) {
        size_t from = out->rows.size;
        weir_harness_print_row(batch, r, &out->rows);
        assert_true(weir_buf_puts(&out->rows, "\n"));
        assert_true(weir_buf_append(&out->trace, out->rows.data + from, out->rows.size - from));
    }
    out->row_count += batch->row_count;
    weir_batch_unref(batch);
}

void weir_out_watermark(struct weir_out *out, int64_t watermark_ms)
{
    if (!out || watermark_ms <= out->watermark_ms)
        return;
    out->watermark_ms = watermark_ms;
    if (watermark_ms == WEIR_WATERMARK_MAX)
        assert_true(weir_buf_puts(&out->trace, "W max\n"));
    else
        assert_true(weir_buf_printf(&out->trace, "W %" PRId64 "\n", watermark_ms));
}

void weir_out_idle(struct weir_out *out, bool idle)
{
    if (!out || out->idle == idle)
        return;
    out->idle = idle;
    assert_true(weir_buf_puts(&out->trace, idle ? "IDLE\n" : "ACTIVE\n"));
}

bool weir_op_should_yield(struct weir_op_ctx *ctx)
{
    struct weir_harness *h = ctx->task->h;
    return h->mode.yield && (h->asked++ & 1);
}

int64_t weir_op_now_ms(struct weir_op_ctx *ctx)
{
    return ctx->task->h->now_ms;
}

void weir_op_set_timer(struct weir_op_ctx *ctx, int64_t when_ms)
{
    struct weir_harness *h = ctx->task->h;
    if (when_ms == INT64_MAX || when_ms < h->timer_ms)
        h->timer_ms = when_ms;
}

void weir_op_wait_fd(struct weir_op_ctx *ctx, int fd)
{
    ctx->task->h->wait_fd = fd;
}

void weir_op_add_committable(struct weir_op_ctx *ctx, const char *connector, const char *committable,
                             const struct weir_output_segments *segments)
{
    (void)segments;
    struct weir_buf *buf = &ctx->task->h->committable;
    weir_buf_clear(buf);
    assert_true(weir_buf_printf(buf, "%s\n%s", connector, committable));
}

/* --- Making and freeing */

static void plan_op(struct weir_harness *h, struct weir_error *error, weir_err *err)
{
    const struct weir_harness_setup *setup = h->setup;
    struct weir_op_plan *plan = &h->plan;
    plan->name = "tested";
    plan->uid = "0123456789abcdef0123456789abcdef";
    for (int i = 0; setup->options && setup->options[i]; i += 2) {
        assert_non_null(setup->options[i + 1]);
        assert_true(plan->option_count < 64);
        h->options[plan->option_count++] = (struct weir_key_value){setup->options[i], setup->options[i + 1]};
    }
    plan->options = h->options;
    for (; plan->input_count < 16 && setup->inputs[plan->input_count]; plan->input_count++)
        if ((*err = weir_schema_parse(setup->inputs[plan->input_count], &plan->inputs[plan->input_count], error)))
            return;
    if (setup->declared && (*err = weir_schema_parse(setup->declared, &plan->declared, error)))
        return;
    int keys = 0;
    while (keys < WEIR_KEY_COLUMNS_MAX && setup->key[keys])
        keys++;
    plan->keyed = keys > 0;
    if (keys && (*err = weir_key_spec_resolve(plan->inputs[0], setup->key, keys, &plan->key, error)))
        return;
    for (keys = 0; keys < WEIR_KEY_COLUMNS_MAX && setup->key2[keys];)
        keys++;
    plan->keyed2 = keys > 0;
    plan->broadcast2 = setup->broadcast2;
    if (keys && (*err = weir_key_spec_resolve(plan->inputs[1], setup->key2, keys, &plan->key2, error)))
        return;
    *err = setup->op->plan(plan, error);
}

static void fill_ctx(struct weir_harness *h)
{
    const struct weir_harness_setup *setup = h->setup;
    struct weir_op_ctx *ctx = &h->ctx;
    ctx->plan = &h->plan;
    ctx->job_id = "00112233445566778899aabbccddeeff";
    ctx->job_name = "harness";
    ctx->task_name = "tested (1/1)";
    ctx->subtask = setup->subtask;
    ctx->parallelism = setup->parallelism ? setup->parallelism : 1;
    ctx->consumer_parallelism = setup->consumer_parallelism ? setup->consumer_parallelism : 1;
    ctx->max_parallelism = WEIR_MAX_PARALLELISM_DEFAULT;
    ctx->attempt = setup->attempt;
    for (int g = 0, first = -1; g < ctx->max_parallelism; g++)
        if (weir_key_group_subtask(g, ctx->max_parallelism, ctx->parallelism) == ctx->subtask) {
            if (first < 0)
                first = ctx->key_group_first = g;
            ctx->key_group_count++;
        }
    ctx->arguments = setup->arguments;
    while (setup->arguments && setup->arguments[ctx->argument_count])
        ctx->argument_count++;
    ctx->function = setup->function;
    ctx->function2 = setup->function2;
    ctx->on_timer = setup->on_timer;
    ctx->row_in2 = setup->row_in2;
    ctx->states = setup->states;
    while (setup->states && setup->states[ctx->state_count])
        ctx->state_count++;
    memcpy(ctx->side_decls, setup->side_decls, sizeof ctx->side_decls);
    ctx->row_in = setup->row_in;
    ctx->row_out = setup->row_out;
    ctx->watermark_ms = WEIR_WATERMARK_MIN;
    ctx->task = &h->task;
    ctx->restored = setup->restored;
    ctx->alignment = setup->alignment;
    ctx->wake = setup->wake;
    ctx->wake_arg = setup->wake_arg;
    ctx->periodic = setup->checkpoints || (h->mode.restore && !setup->no_restore);
    ctx->pool = h->pool = weir_pool_new();
    if (h->mode.disk)
        ctx->memory = weir_state_memory_new(disk(), DISK_BUDGET);
    ctx->num_records_bad = &h->bad;
    ctx->num_late_records_dropped = &h->late;
    struct weir_schema *schemas[WEIR_HARNESS_OUTPUTS] = {h->plan.output, h->plan.sides[0], h->plan.sides[1]};
    for (int i = 0; i < WEIR_HARNESS_OUTPUTS; i++)
        h->outs[i].schema = schemas[i];
    ctx->out = h->plan.output ? &h->outs[0] : NULL;
    for (int i = 0; i < 2 && !setup->no_sides; i++)
        ctx->sides[i] = h->plan.sides[i] ? &h->outs[i + 1] : NULL;
}

struct weir_harness *weir_harness_new(const struct weir_harness_setup *setup, const struct weir_harness_mode *mode,
                                      struct weir_error *error)
{
    struct weir_harness *h = weir_zalloc(sizeof *h);
    h->setup = setup;
    h->mode = *mode;
    h->now_ms = setup->now_ms;
    h->timer_ms = INT64_MAX;
    h->wait_fd = -1;
    h->task.h = h;
    weir_buf_init(&h->committable, TEXT_MAX);
    for (int i = 0; i < WEIR_HARNESS_OUTPUTS; i++) {
        struct weir_out *out = &h->outs[i];
        out->h = h;
        out->watermark_ms = WEIR_WATERMARK_MIN;
        weir_buf_init(&out->rows, TEXT_MAX);
        weir_buf_init(&out->trace, TEXT_MAX);
    }
    weir_err err = 0;
    plan_op(h, error, &err);
    if (!err) {
        fill_ctx(h);
        h->op = weir_zalloc(setup->op->size ? setup->op->size : 1);
        if (setup->op->open)
            err = setup->op->open(h->op, &h->ctx, error);
    }
    if (err) {
        weir_harness_free(h);
        return NULL;
    }
    return h;
}

void weir_harness_free(struct weir_harness *h)
{
    if (!h)
        return;
    if (h->op && h->setup->op->close)
        h->setup->op->close(h->op, &h->ctx, h->ended && !h->failed);
    free(h->op);
    weir_state_memory_free(h->ctx.memory);
    weir_batch_unref(h->unfinished);
    weir_pool_unref(h->pool);
    for (int i = 0; i < h->plan.input_count; i++)
        weir_schema_unref(h->plan.inputs[i]);
    weir_schema_unref(h->plan.declared);
    weir_schema_unref(h->plan.output);
    weir_schema_unref(h->plan.sides[0]);
    weir_schema_unref(h->plan.sides[1]);
    for (int i = 0; i < WEIR_HARNESS_OUTPUTS; i++) {
        weir_buf_fini(&h->outs[i].rows);
        weir_buf_fini(&h->outs[i].trace);
    }
    weir_buf_fini(&h->committable);
    free(h);
}

/* --- Snapshots */

static struct weir_restored *restored_of(const struct weir_harness *h, const struct weir_snapshot *snapshot)
{
    struct weir_restored *restored = weir_restored_new(snapshot->checkpoint);
    for (const struct weir_snapshot_part *part = snapshot->parts; part; part = part->next) {
        uint8_t *bytes = weir_alloc(part->bytes.size + 1);
        if (part->bytes.size > 0)
            memcpy(bytes, part->bytes.data, part->bytes.size);
        weir_restored_add(restored, part->uid, part->name, part->kind, h->ctx.subtask, h->ctx.parallelism, bytes,
                          part->bytes.size);
    }
    return restored;
}

bool weir_harness_restore(struct weir_harness *h)
{
    const struct weir_op_vtable *vtable = h->setup->op;
    struct weir_snapshot *snapshot = weir_snapshot_new(h->checkpoint + 1, h->checkpoint, 0);
    h->checkpoint++;
    weir_err err = vtable->snapshot ? vtable->snapshot(h->op, &h->ctx, snapshot, &h->ctx.error) : WEIR_OK;
    if (!err)
        err = weir_snapshot_run_syncs(snapshot, &h->ctx.error);
    if (!err)
        err = weir_snapshot_settle(snapshot, &h->ctx.error);
    struct weir_restored *restored = restored_of(h, snapshot);
    weir_snapshot_free(snapshot);
    if (!err) {
        if (vtable->close)
            vtable->close(h->op, &h->ctx, false);
        free(h->op);
        h->op = weir_zalloc(vtable->size ? vtable->size : 1);
        h->ctx.restored = restored;
        h->ctx.attempt++;
        h->ctx.watermark_ms = WEIR_WATERMARK_MIN;
        h->timer_ms = INT64_MAX;
        h->wait_fd = -1;
        err = vtable->open ? vtable->open(h->op, &h->ctx, &h->ctx.error) : WEIR_OK;
        h->ctx.restored = NULL;
    }
    weir_restored_free(restored);
    h->failed |= err != WEIR_OK;
    return err == WEIR_OK;
}

struct weir_snapshot *weir_harness_barrier(struct weir_harness *h, uint64_t checkpoint, uint64_t complete)
{
    struct weir_snapshot *snapshot = weir_snapshot_new(checkpoint, complete, 0);
    if (h->setup->op->snapshot(h->op, &h->ctx, snapshot, &h->ctx.error))
        fail_msg("%s", h->ctx.error.message);
    return snapshot;
}

struct weir_snapshot *weir_harness_snapshot(struct weir_harness *h, uint64_t checkpoint, uint64_t complete)
{
    struct weir_snapshot *snapshot = weir_harness_barrier(h, checkpoint, complete);
    if (weir_snapshot_run_syncs(snapshot, &h->ctx.error) || weir_snapshot_settle(snapshot, &h->ctx.error))
        fail_msg("%s", h->ctx.error.message);
    return snapshot;
}

static bool restores(const struct weir_harness *h)
{
    return h->mode.restore && !h->setup->no_restore;
}

/* Between two items, in the mode that does so. */
static bool between(struct weir_harness *h)
{
    return !restores(h) || weir_harness_restore(h);
}

/* --- Driving */

static void begin_call(struct weir_harness *h)
{
    for (int i = 0; i < WEIR_HARNESS_OUTPUTS; i++)
        h->outs[i].pushed = 0;
}

/* True: go on with the next item. */
static bool ended_step(struct weir_harness *h, enum weir_step step, int *calls)
{
    struct weir_error error;
    if (weir_state_memory_check(h->ctx.memory, &error))
        fail_msg("mode '%s': %s", h->mode.name, error.message);
    if (step == WEIR_STEP_FAILED) {
        h->failed = true;
        assert_int_not_equal(h->ctx.error.code, WEIR_OK);
        assert_true(h->ctx.error.message[0]);
    }
    if (step == WEIR_STEP_AGAIN && h->ctx.awaits_call) {
        h->ctx.awaits_call = false;
        poll(NULL, 0, 1);
        return false; /* however long it takes */
    }
    if (++*calls > CALLS_MAX)
        fail_msg("mode '%s': the operator said AGAIN %d times for one item", h->mode.name, CALLS_MAX);
    return step != WEIR_STEP_AGAIN;
}

static bool one_batch(struct weir_harness *h, int input, struct weir_batch *batch)
{
    enum weir_step step = WEIR_STEP_DONE;
    int calls = 0;
    assert_false(h->failed);
    if (h->ctx.memory)
        weir_state_memory_settle(h->ctx.memory);
    do {
        begin_call(h);
        step = h->setup->op->batch(h->op, &h->ctx, input, batch);
        if (step == WEIR_STEP_AGAIN && h->setup->op->is_source && restores(h))
            return weir_harness_restore(h); /* in the middle of a split, which is its state from now on */
    } while (!ended_step(h, step, &calls));
    return step == WEIR_STEP_DONE && between(h);
}

bool weir_harness_batch(struct weir_harness *h, int input, struct weir_batch *take_batch)
{
    int rows = h->mode.rows;
    bool ok = true;
    if (!rows || rows >= take_batch->row_count) {
        ok = one_batch(h, input, take_batch);
    } else {
        for (int at = 0; ok && at < take_batch->row_count; at += rows) {
            int count = take_batch->row_count - at < rows ? take_batch->row_count - at : rows;
            struct weir_batch *piece = weir_batch_slice(take_batch, at, count);
            ok = one_batch(h, input, piece);
            weir_batch_unref(piece);
        }
    }
    weir_batch_unref(take_batch);
    return ok;
}

bool weir_harness_calls(struct weir_harness *h, struct weir_batch *take_batch, int calls)
{
    enum weir_step step = WEIR_STEP_AGAIN;
    weir_batch_unref(h->unfinished);
    h->unfinished = take_batch;
    while (calls-- > 0 && step == WEIR_STEP_AGAIN) {
        bool progress;
        begin_call(h);
        step = take_batch ? h->setup->op->batch(h->op, &h->ctx, 0, take_batch)
                          : h->setup->op->produce(h->op, &h->ctx, &progress);
    }
    if (step == WEIR_STEP_FAILED)
        fail_msg("%s", h->ctx.error.message);
    return step == WEIR_STEP_DONE;
}

bool weir_harness_rows_in(struct weir_harness *h, int input, const char *rows)
{
    return weir_harness_batch(h, input, weir_harness_batch_of(h->plan.inputs[input], rows));
}

bool weir_harness_watermark(struct weir_harness *h, int64_t watermark_ms)
{
    const struct weir_op_vtable *vtable = h->setup->op;
    enum weir_step step = WEIR_STEP_DONE;
    int calls = 0;
    if (watermark_ms <= h->ctx.watermark_ms)
        return true;
    do {
        begin_call(h);
        step = vtable->watermark ? vtable->watermark(h->op, &h->ctx, watermark_ms) : WEIR_STEP_DONE;
    } while (!ended_step(h, step, &calls));
    if (step != WEIR_STEP_DONE)
        return false;
    /* Lateness is judged by the watermark before the item. */
    h->ctx.watermark_ms = watermark_ms;
    if (!vtable->makes_watermarks || watermark_ms == WEIR_WATERMARK_MAX)
        for (int i = 0; i < WEIR_HARNESS_OUTPUTS; i++)
            if (h->outs[i].schema)
                weir_out_watermark(&h->outs[i], watermark_ms);
    return watermark_ms == WEIR_WATERMARK_MAX || between(h);
}

bool weir_harness_end(struct weir_harness *h)
{
    enum weir_step step = WEIR_STEP_DONE;
    int calls = 0;
    if (!weir_harness_watermark(h, WEIR_WATERMARK_MAX))
        return false;
    do {
        begin_call(h);
        step = h->setup->op->end ? h->setup->op->end(h->op, &h->ctx) : WEIR_STEP_DONE;
    } while (!ended_step(h, step, &calls));
    h->ended = step == WEIR_STEP_DONE;
    return h->ended;
}

bool weir_harness_advance(struct weir_harness *h, int64_t now_ms)
{
    while (h->timer_ms <= now_ms) {
        if (h->timer_ms > h->now_ms)
            h->now_ms = h->timer_ms;
        h->timer_ms = INT64_MAX;
        enum weir_step step = WEIR_STEP_DONE;
        int calls = 0;
        do {
            begin_call(h);
            step = h->setup->op->timer ? h->setup->op->timer(h->op, &h->ctx, h->now_ms) : WEIR_STEP_DONE;
        } while (!ended_step(h, step, &calls));
        if (step != WEIR_STEP_DONE || !between(h))
            return false;
    }
    if (now_ms > h->now_ms)
        h->now_ms = now_ms;
    return true;
}

bool weir_harness_produce(struct weir_harness *h)
{
    for (int calls = 0; !h->done;) {
        bool progress = false;
        begin_call(h);
        if (h->timer_ms <= h->now_ms)
            h->timer_ms = INT64_MAX;
        enum weir_step step = h->setup->op->produce(h->op, &h->ctx, &progress);
        bool awaits_call = h->ctx.awaits_call; /* ended_step() waits a moment for it */
        if (ended_step(h, step, &calls)) {
            h->done = step == WEIR_STEP_DONE;
            return h->done;
        }
        if (progress && restores(h) && h->checkpoint < 1000 && !weir_harness_restore(h))
            return false;
        if (progress || awaits_call)
            continue;
        if (h->timer_ms <= h->now_ms)
            continue;
        struct pollfd wait = {.fd = h->wait_fd, .events = POLLIN};
        if (h->wait_fd < 0 || poll(&wait, 1, h->timer_ms != INT64_MAX ? 0 : 300) <= 0)
            return true;
    }
    return true;
}

bool weir_harness_done(const struct weir_harness *h)
{
    return h->done;
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The multiset, as sorted lines. */
static char *sorted_lines(const char *text)
{
    char *copy = weir_strdup(text), *rest = NULL;
    char **lines = weir_alloc((strlen(text) + 1) * sizeof *lines);
    size_t count = 0;
    struct weir_buf sorted;
    for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        lines[count++] = line;
    qsort(lines, count, sizeof *lines, compare_lines);
    weir_buf_init(&sorted, TEXT_MAX);
    for (size_t i = 0; i < count; i++)
        assert_true(weir_buf_printf(&sorted, "%s\n", lines[i]));
    free(lines);
    free(copy);
    copy = weir_strdup(sorted.data ? (const char *)sorted.data : "");
    weir_buf_fini(&sorted);
    return copy;
}

static bool same_lines(const char *a, const char *b)
{
    char *x = sorted_lines(a), *y = sorted_lines(b);
    bool same = strcmp(x, y) == 0;
    free(x);
    free(y);
    return same;
}

void weir_harness_all_modes(const struct weir_harness_setup *setup, void (*scenario)(struct weir_harness *h, void *arg),
                            void (*check)(struct weir_harness *h, void *arg), void *arg)
{
    char *wanted[WEIR_HARNESS_OUTPUTS] = {0};
    for (int m = 0; weir_harness_modes[m].name; m++) {
        struct weir_error error;
        struct weir_harness *h = weir_harness_new(setup, &weir_harness_modes[m], &error);
        if (!h)
            fail_msg("mode '%s': %s", weir_harness_modes[m].name, error.message);
        scenario(h, arg);
        if (m == 0 && check)
            check(h, arg);
        for (int i = 0; i < WEIR_HARNESS_OUTPUTS; i++) {
            char *got = weir_strdup(weir_harness_rows(h, i));
            if (m == 0) {
                wanted[i] = got;
                continue;
            }
            bool same = setup->unordered || weir_harness_modes[m].disk ? same_lines(wanted[i], got)
                                                                       : strcmp(wanted[i], got) == 0;
            if (!same)
                fail_msg("mode '%s': output %d is\n%s\nbut was\n%s", weir_harness_modes[m].name, i, got, wanted[i]);
            free(got);
        }
        weir_harness_free(h);
    }
    for (int i = 0; i < WEIR_HARNESS_OUTPUTS; i++)
        free(wanted[i]);
}

/* --- Looking */

static const char *text(const struct weir_buf *buf)
{
    return buf->data ? (const char *)buf->data : "";
}

const char *weir_harness_error(const struct weir_harness *h)
{
    return h->failed ? h->ctx.error.message : "";
}

const char *weir_harness_rows(const struct weir_harness *h, int output)
{
    return text(&h->outs[output].rows);
}

int weir_harness_row_count(const struct weir_harness *h, int output)
{
    return h->outs[output].row_count;
}

const char *weir_harness_trace(const struct weir_harness *h, int output)
{
    return text(&h->outs[output].trace);
}

int64_t weir_harness_watermark_out(const struct weir_harness *h)
{
    return h->outs[0].watermark_ms;
}

int64_t weir_harness_timer(const struct weir_harness *h)
{
    return h->timer_ms;
}

uint64_t weir_harness_bad(const struct weir_harness *h)
{
    return h->bad;
}

uint64_t weir_harness_late(const struct weir_harness *h)
{
    return h->late;
}

const char *weir_harness_committable(const struct weir_harness *h)
{
    return h->committable.size ? text(&h->committable) : NULL;
}

struct weir_schema *weir_harness_schema(const struct weir_harness *h, int output)
{
    return output == 0 ? h->plan.output : h->plan.sides[output - 1];
}

struct weir_schema *weir_harness_input_schema(const struct weir_harness *h, int input)
{
    return h->plan.inputs[input];
}

/* --- Rows as text */

static void parse_value(struct weir_batch *batch, int c, int row, const char *value, size_t size)
{
    struct weir_column *column = &batch->columns[c];
    char small[64];
    snprintf(small, sizeof small, "%.*s", (int)(size < 63 ? size : 63), value);
    if (size == 4 && memcmp(value, "null", 4) == 0) {
        weir_column_set_null(column, row, batch->row_capacity);
        return;
    }
    bool ok = true;
    char *end = NULL;
    switch (column->type) {
    case WEIR_TYPE_BOOLEAN:
        ok = strcmp(small, "true") == 0 || strcmp(small, "false") == 0;
        weir_bit_put(column->bits, row, small[0] == 't');
        break;
    case WEIR_TYPE_INT8:
        column->i8[row] = (int8_t)strtol(small, &end, 10);
        break;
    case WEIR_TYPE_INT16:
        column->i16[row] = (int16_t)strtol(small, &end, 10);
        break;
    case WEIR_TYPE_INT32:
        column->i32[row] = (int32_t)strtol(small, &end, 10);
        break;
    case WEIR_TYPE_INT64:
        column->i64[row] = strtoll(small, &end, 10);
        break;
    case WEIR_TYPE_FLOAT:
        column->f32[row] = strtof(small, &end);
        break;
    case WEIR_TYPE_DOUBLE:
        column->f64[row] = strtod(small, &end);
        break;
    case WEIR_TYPE_DATE:
        ok = weir_date_parse(value, size, &column->i32[row]);
        break;
    case WEIR_TYPE_TIME:
        ok = weir_time_parse(value, size, &column->i32[row]);
        break;
    case WEIR_TYPE_TIMESTAMP:
        column->i64[row] = strtoll(small, &end, 10);
        if (*end)
            ok = weir_timestamp_parse(value, size, &column->i64[row]), end = NULL;
        break;
    case WEIR_TYPE_STRING:
    case WEIR_TYPE_BYTES:
        weir_column_set_bytes(column, row, value, size);
        break;
    default:
        ok = false;
    }
    if (!ok || (end && *end))
        fail_msg("bad value '%s' in column %s", small, batch->schema->fields[c].name);
}

struct weir_batch *weir_harness_batch_of(struct weir_schema *schema, const char *rows)
{
    int count = 1;
    for (const char *p = rows; *p; p++)
        count += *p == '\n' && p[1];
    assert_true(count <= WEIR_BATCH_ROWS_MAX);
    struct weir_batch *batch = weir_batch_new(schema, count);
    for (int r = 0; r < count; r++) {
        for (int c = 0; c < schema->field_count; c++) {
            size_t size = strcspn(rows, "|\n");
            parse_value(batch, c, r, rows, size);
            rows += size;
            if (c + 1 < schema->field_count && *rows++ != '|')
                fail_msg("row %d has fewer than %d values", r, schema->field_count);
        }
        if (*rows && *rows++ != '\n')
            fail_msg("row %d has more than %d values", r, schema->field_count);
        batch->row_count = r + 1;
    }
    return batch;
}

void weir_harness_print_row(const struct weir_batch *batch, int row, struct weir_buf *out)
{
    static const char *const kinds[] = {"", "-U ", "+U ", "-D "};
    bool ok = !batch->change || weir_buf_puts(out, kinds[batch->change[row] & 3]);
    for (int c = 0; ok && c < batch->schema->field_count; c++) {
        const struct weir_column *column = &batch->columns[c];
        char small[64];
        const void *bytes = small;
        size_t size = 0;
        if (weir_column_is_null(column, row)) {
            bytes = "null", size = 4;
        } else {
            switch (column->type) {
            case WEIR_TYPE_BOOLEAN:
                size = (size_t)sprintf(small, "%s", weir_bit_get(column->bits, row) ? "true" : "false");
                break;
            case WEIR_TYPE_INT8:
                size = (size_t)sprintf(small, "%d", column->i8[row]);
                break;
            case WEIR_TYPE_INT16:
                size = (size_t)sprintf(small, "%d", column->i16[row]);
                break;
            case WEIR_TYPE_INT32:
                size = (size_t)sprintf(small, "%d", column->i32[row]);
                break;
            case WEIR_TYPE_INT64:
                size = (size_t)sprintf(small, "%" PRId64, column->i64[row]);
                break;
            case WEIR_TYPE_FLOAT:
                size = (size_t)sprintf(small, "%.7g", (double)column->f32[row]);
                break;
            case WEIR_TYPE_DOUBLE:
                size = (size_t)sprintf(small, "%.12g", column->f64[row]);
                break;
            case WEIR_TYPE_DATE:
                size = weir_date_print(column->i32[row], small);
                break;
            case WEIR_TYPE_TIME:
                size = weir_time_print(column->i32[row], 3, small);
                break;
            case WEIR_TYPE_TIMESTAMP:
                size = weir_timestamp_print_sql(column->i64[row], 3, small);
                break;
            default:
                bytes = weir_column_bytes(column, row, &size);
            }
        }
        ok = (c == 0 || weir_buf_puts(out, "|")) && weir_buf_append(out, bytes, size);
    }
    assert_true(ok);
}
