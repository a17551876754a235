/* See weir/testing.h. One operator, one subtask, no thread: each call drives one item to its end, as the driver of a task would (op.h).
 *
 * Rows go in through the writer that functions emit with, and come out through the converter that functions read with, so that they are
 * checked as in a job. Batches are kept until the end: rows that the user has point into them.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "ops/row_writer.h"
#include "sdk/sdk_int.h"
#include "state/snapshot.h"
#include "weir/testing.h"

#define OUTPUTS 3 /* the main one, side outputs 1 and 2 */
#define ARGUMENTS_MAX 64
#define COLUMNS_TEXT_MAX ((size_t)1 << 20)

extern const struct weir_op_vtable weir_op_process;

struct weir_out { /* an output; or where rows become batches on their way in */
    const struct weir_row_type *type;
    struct weir_schema *schema;
    struct weir_row_converter converter;
    struct weir_batch **batches;
    int batch_count;
    int batch, row; /* the next that is taken */
};

struct weir_task {
    struct weir_test *test;
};

struct weir_test {
    const char *file; /* where it was made, for messages */
    int line;
    const struct weir_op_vtable *vtable;
    struct weir_op *op; /* NULL: nothing has happened yet */
    struct weir_op_plan plan;
    struct weir_op_ctx ctx;
    struct weir_task task;
    struct weir_key_value options[4];
    struct weir_arena arena;
    const struct weir_row_type *in[2];
    struct weir_row_writer writers[2];
    struct weir_out inbox[2], outs[OUTPUTS];
    int side_count;
    const char *arguments[2 * ARGUMENTS_MAX + 1];
    int64_t now_ms, timer_ms;
    uint64_t checkpoint, bad, late;
    bool restores, failed, asked, ended;
};

/* --- Mistakes */

__attribute__((noreturn, format(printf, 2, 3))) static void die(const struct weir_test *test, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fprintf(stderr, "%s:%d: ", test->file, test->line);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static void check(const struct weir_test *test, weir_err err, const struct weir_error *error)
{
    if (err)
        die(test, "%s", error->message);
}

/* WEIR_ROW gives each source file that has it a description of its own. */
static bool same(const struct weir_row_type *a, const struct weir_row_type *b)
{
    return a == b || (a && b && a->size == b->size && strcmp(a->name, b->name) == 0);
}

static void failed(struct weir_test *test)
{
    test->failed = true;
    test->asked = false;
}

static void go_on(const struct weir_test *test)
{
    if (test->failed && test->asked)
        die(test, "the function failed before, which weir_test_fails() said: the test takes nothing more");
    if (test->failed)
        die(test, "the function failed: %s", test->ctx.error.message);
    if (test->ended)
        die(test, "nothing comes after weir_test_end()");
}

/* --- What the driver gives to operators */

bool weir_out_full(const struct weir_out *out)
{
    (void)out;
    return false;
}

void weir_out_push(struct weir_out *out, struct weir_batch *batch)
{
    if (!out) {
        weir_batch_unref(batch);
        return;
    }
    out->batches = weir_realloc(out->batches, (size_t)(out->batch_count + 1) * sizeof(struct weir_batch *));
    out->batches[out->batch_count++] = batch;
}

bool weir_op_should_yield(struct weir_op_ctx *ctx)
{
    (void)ctx;
    return false;
}

int64_t weir_op_now_ms(struct weir_op_ctx *ctx)
{
    return ctx->task->test->now_ms;
}

void weir_op_set_timer(struct weir_op_ctx *ctx, int64_t when_ms)
{
    struct weir_test *test = ctx->task->test;
    if (when_ms == INT64_MAX || when_ms < test->timer_ms)
        test->timer_ms = when_ms;
}

/* The row is not shown: the test has it. */
weir_err weir_op_row_error(const char *what, const struct weir_batch *batch, int row, struct weir_error *error)
{
    (void)batch, (void)row;
    return weir_wrap(error, "%s", what);
}

/* --- Making */

static struct weir_schema *schema_of(struct weir_test *test, const struct weir_row_type *type, const char *what)
{
    struct weir_schema *schema;
    struct weir_error error;
    if (!type)
        die(test, "%s is missing", what);
    check(test, weir_sdk_row_schema(type, &schema, &error), &error);
    return schema;
}

static void add_option(struct weir_test *test, const char *name, const struct weir_schema *schema)
{
    struct weir_buf text;
    weir_buf_init(&text, COLUMNS_TEXT_MAX);
    if (!weir_schema_print(schema, &text))
        die(test, "the columns of a row struct are too long as text");
    test->options[test->plan.option_count++] =
        (struct weir_key_value){name, weir_arena_strdup(&test->arena, (const char *)text.data)};
    weir_buf_fini(&text);
}

static void add_input(struct weir_test *test, int input, const struct weir_row_type *type, const char *what)
{
    struct weir_error error;
    struct weir_schema *schema = schema_of(test, type, what);
    test->in[input] = type;
    test->plan.inputs[input] = schema;
    test->plan.input_count = input + 1;
    add_option(test, input ? "row.in2" : "row.in", schema);
    check(test, weir_row_writer_init(&test->writers[input], type, schema, &test->inbox[input], &error), &error);
}

static void add_output(struct weir_test *test, int output, const struct weir_row_type *type, const char *what)
{
    struct weir_error error;
    struct weir_out *out = &test->outs[output];
    out->type = type;
    out->schema = schema_of(test, type, what);
    check(test, weir_row_converter_init(&out->converter, type, out->schema, &error), &error);
}

static bool resolve_key(struct weir_test *test, const char *columns, const struct weir_schema *schema,
                        struct weir_key_spec *key)
{
    const char *names[WEIR_KEY_COLUMNS_MAX];
    int count = 0;
    struct weir_error error;
    for (const char *at = columns; at; at = strchr(at, ',')) {
        at += strspn(at, ", \t\n`");
        if (count == WEIR_KEY_COLUMNS_MAX)
            die(test, "a key has at most %d columns", WEIR_KEY_COLUMNS_MAX);
        names[count++] = weir_arena_strndup(&test->arena, at, strcspn(at, ", \t\n`"));
    }
    if (count)
        check(test, weir_key_spec_resolve(schema, names, count, key, &error), &error);
    return count > 0;
}

static void add_states(struct weir_test *test, const struct weir_process_spec *spec)
{
    const void **states =
        weir_arena_alloc(&test->arena, (size_t)(spec->states_end - spec->states + 1) * sizeof *states);
    for (const struct weir_state_decl *const *state = spec->states; state < spec->states_end; state++)
        if (*state)
            states[test->ctx.state_count++] = *state;
    test->ctx.states = states;
}

static void fill_ctx(struct weir_test *test, const struct weir_process_spec *spec)
{
    struct weir_op_ctx *ctx = &test->ctx;
    ctx->plan = &test->plan;
    ctx->job_id = "00000000000000000000000000000000";
    ctx->job_name = "test";
    ctx->task_name = test->plan.name;
    ctx->parallelism = ctx->consumer_parallelism = 1;
    ctx->max_parallelism = ctx->key_group_count = WEIR_MAX_PARALLELISM_DEFAULT;
    ctx->attempt = 1;
    ctx->arguments = test->arguments;
    ctx->function = (void *)(uintptr_t)spec->on_row;
    ctx->function2 = (void *)(uintptr_t)spec->on_row2;
    ctx->on_timer = __extension__(void *) spec->on_timer;
    ctx->row_in = spec->in;
    ctx->row_in2 = spec->in2;
    ctx->row_out = spec->out;
    ctx->out = &test->outs[0];
    ctx->watermark_ms = WEIR_WATERMARK_MIN;
    ctx->periodic = true;
    ctx->task = &test->task;
    ctx->num_records_bad = &test->bad;
    ctx->num_late_records_dropped = &test->late;
    add_states(test, spec);
}

struct weir_test *weir_test_process_at(const char *file, int line, const char *key, const char *key2, bool broadcast,
                                       const struct weir_process_spec *spec)
{
    struct weir_test *test = weir_zalloc(sizeof *test);
    test->file = file;
    test->line = line;
    test->vtable = &weir_op_process;
    test->task.test = test;
    test->timer_ms = INT64_MAX;
    weir_arena_init(&test->arena);
    if (spec->size != sizeof *spec)
        die(test, "the test was compiled against another version of weir: compile it again");
    if (!spec->on_row)
        die(test, ".on_row is missing");
    if (spec->in2 && !spec->on_row2)
        die(test, ".on_row2 is missing");
    if ((key2 || broadcast) && !spec->in2)
        die(test, ".in2 is missing");
    test->plan.name = spec->name ? spec->name : "process";
    test->plan.uid = "00000000000000000000000000000000";
    test->plan.options = test->options;
    add_input(test, 0, spec->in, ".in");
    if (spec->in2)
        add_input(test, 1, spec->in2, ".in2");
    add_output(test, 0, spec->out, ".out");
    test->plan.declared = test->outs[0].schema;
    test->plan.keyed = resolve_key(test, key, test->plan.inputs[0], &test->plan.key);
    test->plan.keyed2 = resolve_key(test, key2, test->plan.inputs[1], &test->plan.key2);
    test->plan.broadcast2 = broadcast;
    fill_ctx(test, spec);
    return test;
}

void weir_test_side_at(struct weir_test *test, const struct weir_side_decl *side)
{
    if (test->op)
        die(test, "weir_test_side() comes before the first row");
    if (test->side_count == 2)
        die(test, "an operator has at most two side outputs");
    add_output(test, 1 + test->side_count, side->row, "the side output's row");
    add_option(test, test->side_count ? "row.side2" : "row.side1", test->outs[1 + test->side_count].schema);
    test->ctx.side_decls[test->side_count] = side;
    test->ctx.sides[test->side_count] = &test->outs[1 + test->side_count];
    test->side_count++;
}

void weir_test_argument(struct weir_test *test, const char *name, const char *value)
{
    if (test->op)
        die(test, "weir_test_argument() comes before the first row");
    if (test->ctx.argument_count + 2 > 2 * ARGUMENTS_MAX)
        die(test, "at most %d arguments", ARGUMENTS_MAX);
    test->arguments[test->ctx.argument_count++] = weir_arena_format(&test->arena, "--%s", name);
    test->arguments[test->ctx.argument_count++] = weir_arena_strdup(&test->arena, value);
}

void weir_test_restore_always(struct weir_test *test)
{
    test->restores = true;
}

static void open_op(struct weir_test *test, const struct weir_restored *restored)
{
    struct weir_error error;
    if (!test->plan.output) /* planned once */
        check(test, test->vtable->plan(&test->plan, &error), &error);
    test->op = weir_zalloc(test->vtable->size);
    test->ctx.restored = restored;
    check(test, test->vtable->open(test->op, &test->ctx, &error), &error);
    test->ctx.restored = NULL;
}

static void begin(struct weir_test *test)
{
    go_on(test);
    if (!test->op)
        open_op(test, NULL);
}

static void close_op(struct weir_test *test)
{
    if (test->op)
        test->vtable->close(test->op, &test->ctx, test->ended && !test->failed);
    free(test->op);
    test->op = NULL;
}

static void free_out(struct weir_out *out)
{
    for (int i = 0; i < out->batch_count; i++)
        weir_batch_unref(out->batches[i]);
    free(out->batches);
    free(out->converter.fields);
    weir_schema_unref(out->schema);
}

void weir_test_free(struct weir_test *test)
{
    if (!test)
        return;
    if (test->failed && !test->asked)
        go_on(test);
    close_op(test);
    for (int i = 0; i < test->plan.input_count; i++) {
        weir_row_writer_fini(&test->writers[i]);
        weir_schema_unref(test->plan.inputs[i]);
        free_out(&test->inbox[i]);
    }
    weir_schema_unref(test->plan.output);
    weir_schema_unref(test->plan.sides[0]);
    weir_schema_unref(test->plan.sides[1]);
    for (int i = 0; i < OUTPUTS; i++)
        free_out(&test->outs[i]);
    weir_arena_fini(&test->arena);
    free(test);
}

/* --- Snapshots */

static struct weir_restored *restored_of(const struct weir_snapshot *snapshot)
{
    struct weir_restored *restored = weir_restored_new(snapshot->checkpoint);
    for (const struct weir_snapshot_part *part = snapshot->parts; part; part = part->next) {
        uint8_t *bytes = weir_alloc(part->bytes.size + 1);
        if (part->bytes.size > 0)
            memcpy(bytes, part->bytes.data, part->bytes.size);
        weir_restored_add(restored, part->uid, part->name, part->kind, 0, 1, bytes, part->bytes.size);
    }
    return restored;
}

void weir_test_restore(struct weir_test *test)
{
    struct weir_error error;
    begin(test);
    struct weir_snapshot *snapshot = weir_snapshot_new(test->checkpoint + 1, test->checkpoint, 0);
    test->checkpoint++;
    check(test, test->vtable->snapshot(test->op, &test->ctx, snapshot, &error), &error);
    check(test, weir_snapshot_run_syncs(snapshot, &error), &error);
    check(test, weir_snapshot_settle(snapshot, &error), &error);
    struct weir_restored *restored = restored_of(snapshot);
    weir_snapshot_free(snapshot);
    close_op(test);
    test->ctx.attempt++;
    test->ctx.watermark_ms = WEIR_WATERMARK_MIN;
    test->timer_ms = INT64_MAX;
    open_op(test, restored);
    weir_restored_free(restored);
}

/* --- Items */

/* After an item, which the operator did or failed at. */
static bool done(struct weir_test *test, enum weir_step step, bool may_restore)
{
    if (step == WEIR_STEP_FAILED) {
        failed(test);
        return false;
    }
    weir_assert(step == WEIR_STEP_DONE);
    if (test->restores && may_restore)
        weir_test_restore(test);
    return true;
}

static bool give_batch(struct weir_test *test, int input, struct weir_batch *batch)
{
    enum weir_step step = WEIR_STEP_AGAIN;
    while (step == WEIR_STEP_AGAIN)
        step = test->vtable->batch(test->op, &test->ctx, input, batch);
    return done(test, step, true);
}

void weir_test_put_all_at(struct weir_test *test, int input, const struct weir_row_type *type, const void *rows,
                          size_t count)
{
    struct weir_error error;
    struct weir_out *inbox = &test->inbox[input];
    begin(test);
    if (!same(type, test->in[input]))
        die(test, "its %s input takes rows of struct %s, not of %s", input ? "second" : "first",
            test->in[input] ? test->in[input]->name : "nothing", type->name);
    for (size_t i = 0; i < count; i++) {
        const uint8_t *row = (const uint8_t *)rows + i * type->size;
        check(test, weir_row_writer_put(&test->writers[input], row, &error), &error);
        if (!test->restores && i + 1 < count)
            continue; /* together */
        check(test, weir_row_writer_finish(&test->writers[input], &error), &error);
        while (!weir_row_writer_drain(&test->writers[input]))
            continue;
        for (; inbox->batch < inbox->batch_count; inbox->batch++)
            if (!give_batch(test, input, inbox->batches[inbox->batch]))
                return;
    }
}

void weir_test_put_at(struct weir_test *test, int input, const struct weir_row_type *type, const void *row)
{
    weir_test_put_all_at(test, input, type, row, 1);
}

void weir_test_watermark(struct weir_test *test, weir_ts watermark)
{
    begin(test);
    if (watermark <= test->ctx.watermark_ms)
        return;
    enum weir_step step = WEIR_STEP_AGAIN;
    while (step == WEIR_STEP_AGAIN)
        step = test->vtable->watermark ? test->vtable->watermark(test->op, &test->ctx, watermark) : WEIR_STEP_DONE;
    test->ctx.watermark_ms = watermark; /* lateness is judged by the one before the item */
    /* One that goes on from a snapshot hears of the watermark again, as from its inputs. */
    if (done(test, step, watermark != WEIR_WATERMARK_MAX))
        test->ctx.watermark_ms = watermark;
}

void weir_test_time(struct weir_test *test, weir_ts now)
{
    begin(test);
    while (test->timer_ms <= now) {
        if (test->timer_ms > test->now_ms)
            test->now_ms = test->timer_ms;
        test->timer_ms = INT64_MAX;
        enum weir_step step = WEIR_STEP_AGAIN;
        while (step == WEIR_STEP_AGAIN)
            step = test->vtable->timer ? test->vtable->timer(test->op, &test->ctx, test->now_ms) : WEIR_STEP_DONE;
        if (!done(test, step, true))
            return;
    }
    if (now > test->now_ms)
        test->now_ms = now;
}

void weir_test_end(struct weir_test *test)
{
    weir_test_watermark(test, WEIR_WATERMARK_MAX);
    if (test->failed)
        return;
    enum weir_step step = WEIR_STEP_AGAIN;
    while (step == WEIR_STEP_AGAIN)
        step = test->vtable->end ? test->vtable->end(test->op, &test->ctx) : WEIR_STEP_DONE;
    test->ended = done(test, step, false);
}

const char *weir_test_fails(struct weir_test *test)
{
    if (!test->failed)
        return NULL;
    test->asked = true;
    return test->ctx.error.message;
}

/* --- What came out */

const void *weir_test_take_at(struct weir_test *test, const struct weir_side_decl *side,
                              const struct weir_row_type *type)
{
    struct weir_out *out = &test->outs[0];
    for (int i = 0; side && i < 2 && out == &test->outs[0]; i++)
        if (test->ctx.side_decls[i] == side)
            out = &test->outs[1 + i];
    if (side && out == &test->outs[0])
        die(test, "weir_test_side() did not ask for the side output '%s'", side->name);
    if (!same(type, out->type))
        die(test, "it emits rows of struct %s, not of %s", out->type->name, type->name);
    if (out->batch == out->batch_count)
        return NULL;
    uint8_t *row = weir_arena_zalloc(&test->arena, type->size);
    weir_row_load(&out->converter, out->batches[out->batch], out->row, 1, row);
    if (++out->row == out->batches[out->batch]->row_count) {
        out->row = 0;
        out->batch++;
    }
    return row;
}

weir_ts weir_test_timer(const struct weir_test *test)
{
    return test->timer_ms;
}
