/* What several operators share: the policy for bad rows, expressions with good messages, what a connector sees of its operator. */
#include <stdio.h>
#include <strings.h>

#include "base/assert.h"
#include "ops/ops_int.h"

enum weir_on_error weir_on_error_parse(const char *text)
{
    if (!text || strcasecmp(text, "fail") == 0)
        return WEIR_ON_ERROR_FAIL;
    return strcasecmp(text, "skip") == 0 ? WEIR_ON_ERROR_SKIP : WEIR_ON_ERROR_DEAD_LETTER;
}

void weir_op_may_have_bad(struct weir_op_ctx *ctx)
{
    for (int reason = 0; reason < WEIR_BAD_REASONS; reason++)
        weir_op_number_add(ctx->numbers, (enum weir_op_metric)(WEIR_OP_BAD_OTHER + reason), 0);
}

void weir_op_count_bad(struct weir_op_ctx *ctx, enum weir_bad_reason reason, int count)
{
    _Static_assert(WEIR_OP_RECORDS_BAD_RATE - WEIR_OP_BAD_OTHER == WEIR_BAD_REASONS, "each has a counter");
    *ctx->num_records_bad += (uint64_t)count;
    weir_op_number_add(ctx->numbers, (enum weir_op_metric)(WEIR_OP_BAD_OTHER + reason), count);
}

weir_err weir_op_expr(const char *option, const char *text, const struct weir_schema *schema, struct weir_expr **expr,
                      struct weir_error *error)
{
    struct weir_expr_error wrong = {.column = 0};
    if (!weir_expr_compile(text, schema, expr, &wrong))
        return 0;
    enum weir_err_code code = wrong.error.code ? wrong.error.code : WEIR_ERR_INVALID;
    /* The message begins with "column N: " where there is one; the graph's check puts the operator and its source line before it. */
    return weir_fail(error, code, "%s%s%.600s (in \"%.200s\")", option, wrong.column > 0 ? ", " : ": ",
                     wrong.error.message, text);
}

weir_err weir_op_row_error(const char *what, const struct weir_batch *batch, int row, struct weir_error *error)
{
    struct weir_buf record;
    weir_buf_init(&record, 1 << 20);
    bool printed = row >= 0 && row < batch->row_count && weir_batch_print_row(batch, row, &record);
    int size = (int)(record.size < 200 ? record.size : 200);
    /* Never cut inside a UTF-8 sequence. */
    while (size > 0 && (size_t)size < record.size && (record.data[size] & 0xC0) == 0x80)
        size--;
    weir_err err = printed ? weir_wrap(error, "%s: record %.*s%s", what, size, (const char *)record.data,
                                       (size_t)size < record.size ? "..." : "")
                           : weir_wrap(error, "%s", what);
    weir_buf_fini(&record);
    return err;
}

/* --- Good rows */

struct halving {
    const struct weir_batch *batch;
    weir_err (*eval)(void *arg, const struct weir_batch *piece, struct weir_error *error);
    void *arg;
    uint64_t *mask;
    int bad;
};

static weir_err halve(struct halving *h, int first, int count, struct weir_error *error)
{
    struct weir_batch *piece = weir_batch_slice(h->batch, first, count);
    weir_err err = h->eval(h->arg, piece, error);
    weir_batch_unref(piece);
    if (!err) {
        for (int i = first; i < first + count; i++)
            weir_bit_set(h->mask, i);
        return 0;
    }
    if (err != WEIR_ERR_DATA)
        return err;
    if (count == 1) {
        h->bad++;
        return 0;
    }
    err = halve(h, first, count / 2, error);
    return err ? err : halve(h, first + count / 2, count - count / 2, error);
}

int weir_op_good_rows(const struct weir_batch *batch,
                      weir_err (*eval)(void *arg, const struct weir_batch *piece, struct weir_error *error), void *arg,
                      uint64_t *mask, weir_err *err, struct weir_error *error)
{
    struct halving h = {.batch = batch, .eval = eval, .arg = arg, .mask = mask};
    memset(mask, 0, weir_bitmap_words(batch->row_count) * sizeof *mask);
    *err = halve(&h, 0, batch->row_count, error);
    return h.bad;
}

/* --- What a connector sees of the operator that hosts it */

static int64_t connector_now_ms(struct weir_connector_ctx *ctx)
{
    return weir_op_now_ms(ctx->runtime);
}

static void connector_wait_fd(struct weir_connector_ctx *ctx, int fd)
{
    weir_op_wait_fd(ctx->runtime, fd);
}

static struct weir_call *connector_call(struct weir_connector_ctx *ctx,
                                        weir_err (*run)(void *arg, struct weir_error *error), void *take_arg,
                                        void (*free_arg)(void *arg))
{
    return weir_op_call(ctx->runtime, run, take_arg, free_arg);
}

static bool connector_call_ended(struct weir_connector_ctx *ctx, const struct weir_call *call)
{
    return weir_op_call_ended(ctx->runtime, call);
}

static void connector_number(struct weir_connector_ctx *ctx, int metric, int64_t value)
{
    const struct weir_op_ctx *op = ctx->runtime;
    weir_op_number_set(op->numbers, (enum weir_op_metric)metric, value);
}

void weir_op_connector_ctx(struct weir_connector_ctx *out, struct weir_op_ctx *ctx, struct weir_schema *schema)
{
    const struct weir_op_plan *plan = ctx->plan;
    *out = (struct weir_connector_ctx){
        .size = sizeof *out,
        .subtask = ctx->subtask,
        .parallelism = ctx->parallelism,
        .attempt = ctx->attempt,
        .job_id = ctx->job_id,
        .job_name = ctx->job_name,
        .operator_id = plan->uid ? plan->uid : plan->name,
        .now_ms = connector_now_ms,
        .wait_fd = connector_wait_fd,
        .call = connector_call,
        .call_ended = connector_call_ended,
        .schema = schema,
        .runtime = ctx,
        .checkpoints = ctx->periodic || ctx->restored,
        .number = connector_number,
    };
}

/* --- Calls that may block */

struct weir_call *weir_op_call(struct weir_op_ctx *ctx, weir_err (*run)(void *arg, struct weir_error *error),
                               void *take_arg, void (*free_arg)(void *arg))
{
    struct weir_call_spec spec = {
        .run = run, .arg = take_arg, .free_arg = free_arg, .ended = ctx->wake, .ended_arg = ctx->wake_arg};
    return weir_call_begin(ctx->pool, &spec);
}

bool weir_op_call_ended(struct weir_op_ctx *ctx, const struct weir_call *call)
{
    bool ended = weir_call_ended(call);
    ctx->awaits_call |= !ended;
    return ended;
}
