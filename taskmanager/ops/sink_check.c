/* sink, of messages that wait in a checkpoint's log: who publishes them is another process, later, and what it cannot do nobody would see in the job. So the
 * sink asks its connector first (check_messages()), by a call, and takes no row before there is an answer. On a stream without rows a
 * timer looks for it.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "ops/sink_int.h"

struct asked { /* the call's: it may outlive the sink */
    const struct weir_connector *connector;
    struct weir_message_check check;
};

struct sink_check {
    struct weir_call *call;
    struct asked *asked; /* the call's */
    bool answered;
};

static weir_err ask(void *arg, struct weir_error *error)
{
    struct asked *asked = arg;
    return asked->connector->check_messages(&asked->check, error);
}

static void free_asked(void *arg)
{
    struct asked *asked = arg;
    if (asked->check.free_answer)
        asked->check.free_answer(asked->check.answer);
    for (int i = 0; i < asked->check.option_count; i++) {
        free((void *)(uintptr_t)asked->check.options[i].key);
        free((void *)(uintptr_t)asked->check.options[i].value);
    }
    free((void *)(uintptr_t)asked->check.options);
    free((void *)(uintptr_t)asked->check.job_id);
    free((void *)(uintptr_t)asked->check.operator_id);
    free(asked);
}

void weir_sink_check_begin(struct sink *sink, struct weir_op_ctx *ctx)
{
    const struct weir_op_plan *plan = ctx->plan;
    if (!sink->carrier.connector->check_messages)
        return;
    struct asked *asked = weir_zalloc(sizeof *asked);
    struct weir_key_value *options = weir_zalloc((size_t)(plan->option_count + 1) * sizeof *options);
    for (int i = 0; i < plan->option_count; i++)
        options[i] = (struct weir_key_value){weir_strdup(plan->options[i].key), weir_strdup(plan->options[i].value)};
    asked->connector = sink->carrier.connector;
    asked->check = (struct weir_message_check){.size = sizeof asked->check,
                                               .option_count = plan->option_count,
                                               .job_id = weir_strdup(ctx->job_id),
                                               .operator_id = weir_strdup(plan->uid ? plan->uid : plan->name),
                                               .options = options,
                                               .subtask = ctx->subtask,
                                               .attempt = ctx->attempt};
    sink->check = weir_zalloc(sizeof *sink->check);
    sink->check->asked = asked;
    sink->check->call = weir_op_call(ctx, ask, asked, free_asked);
    weir_op_set_timer(ctx, weir_op_now_ms(ctx));
}

enum weir_step weir_sink_check_step(struct sink *sink, struct weir_op_ctx *ctx)
{
    if (!sink->check || sink->check->answered)
        return WEIR_STEP_DONE;
    if (!weir_op_call_ended(ctx, sink->check->call))
        return WEIR_STEP_AGAIN;
    sink->check->answered = true;
    return weir_call_result(sink->check->call, &ctx->error) ? WEIR_STEP_FAILED : WEIR_STEP_DONE;
}

weir_err weir_sink_check_message(const struct sink *sink, const struct weir_message_out *message,
                                 struct weir_error *error)
{
    if (!sink->check || !sink->carrier.connector->check_message)
        return WEIR_OK;
    return sink->carrier.connector->check_message(&sink->check->asked->check, message, error);
}

void weir_sink_check_free(struct sink *sink)
{
    if (sink->check)
        weir_call_free(sink->check->call);
    free(sink->check);
}
