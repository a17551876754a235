/* From the plan to a task: operators resolved in this process, a chain, its edges, channels to local and remote neighbours. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "executor/executor_int.h"
#include "graph/graph_build.h"

/* --- Operators */

static int op_of_vertex(const struct weir_plan *plan, uint32_t vertex_id)
{
    for (int i = 0; i < plan->op_count; i++)
        if (plan->ops[i].vertex->id == vertex_id)
            return i;
    return -1;
}

static struct weir_schema *schema_of(const struct weir_executor *executor, int op, uint32_t output)
{
    const struct weir_op_plan *plan = &executor->ops[op].plan;
    return output == 0 ? plan->output : output <= 2 ? plan->sides[output - 1] : NULL;
}

static weir_err resolve_inputs(struct weir_executor *executor, int index, struct weir_op_plan *plan,
                               struct weir_error *error)
{
    const Weir__JobGraph *graph = executor->plan->graph;
    uint32_t vertex_id = executor->plan->ops[index].vertex->id;
    for (size_t e = 0; e < graph->n_edges; e++) {
        const Weir__Edge *edge = graph->edges[e];
        if (edge->to != vertex_id)
            continue;
        int from = op_of_vertex(executor->plan, edge->from);
        weir_assert(from >= 0 && from < index && edge->to_input < 16); /* checked by the plan */
        struct weir_schema *schema = schema_of(executor, from, edge->from_output);
        if (!schema)
            return weir_fail(error, WEIR_ERR_INVALID, "it reads output %" PRIu32 " of '%s', which gives no rows",
                             edge->from_output, executor->plan->ops[from].vertex->name);
        plan->inputs[edge->to_input] = schema;
        if ((int)edge->to_input >= plan->input_count)
            plan->input_count = (int)edge->to_input + 1;
        plan->broadcast2 |= edge->to_input == 1 && edge->partition == WEIR__PARTITION__BROADCAST;
        if (edge->partition != WEIR__PARTITION__HASH)
            continue;
        struct weir_key_spec key;
        weir_err err = weir_key_spec_resolve(schema, (const char *const *)edge->key, (int)edge->n_key, &key, error);
        if (err)
            return err;
        if (edge->to_input == 0) {
            plan->key = key;
            plan->keyed = true;
        } else if (edge->to_input == 1) {
            plan->key2 = key;
            plan->keyed2 = true;
        }
    }
    return WEIR_OK;
}

static weir_err resolve_function(struct weir_executor *executor, const Weir__FunctionRef *ref, void **address,
                                 struct weir_error *error)
{
    *address = NULL;
    if (!ref)
        return WEIR_OK;
    if (!executor->code)
        return weir_fail(error, WEIR_ERR_INVALID, "it needs the job's code for '%s', and the job has none",
                         ref->symbol);
    return weir_job_code_resolve(executor->code, ref->offset, address, error);
}

/* What only process has. */
static weir_err resolve_process(struct weir_executor *executor, struct weir_executor_op *op, const Weir__Vertex *vertex,
                                struct weir_error *error)
{
    void *row_in2 = NULL;
    weir_err err = resolve_function(executor, vertex->function2, &op->function2, error);
    if (!err)
        err = resolve_function(executor, vertex->on_timer, &op->on_timer, error);
    if (!err)
        err = resolve_function(executor, vertex->row_in2, &row_in2, error);
    op->row_in2 = row_in2;
    op->states = weir_zalloc((vertex->n_states + 1) * sizeof *op->states);
    for (size_t i = 0; i < vertex->n_states && !err; i++) {
        void *state = NULL;
        err = resolve_function(executor, vertex->states[i], &state, error);
        op->states[op->state_count++] = state;
    }
    for (size_t i = 0; i < vertex->n_sides && i < 2 && !err; i++) {
        void *side = NULL;
        err = resolve_function(executor, vertex->sides[i], &side, error);
        op->side_decls[i] = side;
    }
    return err;
}

static weir_err resolve_op(struct weir_executor *executor, int index, struct weir_error *error)
{
    struct weir_executor_op *op = &executor->ops[index];
    const struct weir_plan_op *plan_op = &executor->plan->ops[index];
    const Weir__Vertex *vertex = plan_op->vertex;
    weir_err err = weir_op_find(vertex->op, &op->vtable, error);
    if (err)
        return err;
    op->options = weir_zalloc((vertex->n_options + 1) * sizeof *op->options);
    for (size_t i = 0; i < vertex->n_options; i++)
        op->options[i] = (struct weir_key_value){vertex->options[i]->key, vertex->options[i]->value};
    op->plan.name = vertex->name;
    op->plan.uid = plan_op->uid;
    op->plan.options = op->options;
    op->plan.option_count = (int)vertex->n_options;
    err = resolve_inputs(executor, index, &op->plan, error);
    if (!err)
        err = weir_graph_schema_read(vertex->output, &op->plan.declared, error);
    if (!err && op->vtable->plan)
        err = op->vtable->plan(&op->plan, error);
    void *row_in = NULL, *row_out = NULL;
    if (!err)
        err = resolve_function(executor, vertex->function, &op->function, error);
    if (!err)
        err = resolve_function(executor, vertex->row_in, &row_in, error);
    if (!err)
        err = resolve_function(executor, vertex->row_out, &row_out, error);
    op->row_in = row_in;
    op->row_out = row_out;
    return err ? err : resolve_process(executor, op, vertex, error);
}

weir_err weir_executor_resolve_ops(struct weir_executor *executor, struct weir_error *error)
{
    executor->ops = weir_zalloc((size_t)executor->plan->op_count * sizeof *executor->ops);
    for (int i = 0; i < executor->plan->op_count; i++) {
        weir_err err = resolve_op(executor, i, error);
        if (err) {
            weir_wrap(error, "operator '%s'", executor->plan->ops[i].vertex->name);
            return err;
        }
    }
    return weir_executor_make_links(executor, error);
}

void weir_executor_free_ops(struct weir_executor *executor)
{
    for (int i = 0; executor->ops && i < executor->plan->op_count; i++) {
        struct weir_executor_op *op = &executor->ops[i];
        weir_schema_unref(op->plan.declared);
        weir_schema_unref(op->plan.output);
        weir_schema_unref(op->plan.sides[0]);
        weir_schema_unref(op->plan.sides[1]);
        free(op->options);
        free(op->states);
    }
    weir_executor_free_links(executor);
    free(executor->ops);
    executor->ops = NULL;
}

/* --- Channels */

static struct weir_executor_location *location_of(struct weir_executor *executor, int vertex, int subtask)
{
    return &executor->locations[executor->plan->vertices[vertex].first_task + subtask];
}

static void keep_remote(struct weir_executor_task *task, struct weir_channel *take_chan)
{
    task->channels = weir_realloc(task->channels, (size_t)(task->channel_count + 1) * sizeof(struct weir_channel *));
    task->channels[task->channel_count++] = take_chan;
}

/* The local channel with these attempts: made by whichever end comes first. *complete: both are there now. One reference. */
static struct weir_channel *local_channel(struct weir_executor_task *task, uint64_t id, int credits,
                                          uint32_t from_attempt, uint32_t to_attempt, bool producer, bool *complete)
{
    struct weir_executor *executor = task->executor;
    for (struct weir_executor_local **at = &executor->locals; *at; at = &(*at)->next) {
        struct weir_executor_local *local = *at;
        if (local->chan->id != id || local->from_attempt != from_attempt || local->to_attempt != to_attempt)
            continue;
        if (local->has_producer == producer)
            continue;
        *complete = true;
        struct weir_channel *chan = local->chan;
        *at = local->next;
        free(local);
        return chan;
    }
    *complete = false;
    struct weir_executor_local *local = weir_zalloc(sizeof *local);
    local->chan = weir_channel_new(id, credits, false, false);
    local->from_attempt = from_attempt;
    local->to_attempt = to_attempt;
    local->has_producer = producer;
    local->first = task;
    local->next = executor->locals;
    executor->locals = local;
    return weir_channel_ref(local->chan);
}

void weir_executor_drop_locals(struct weir_executor *executor, const struct weir_executor_task *task)
{
    struct weir_executor_local **at = &executor->locals;
    while (*at) {
        struct weir_executor_local *local = *at;
        if (local->first != task) {
            at = &local->next;
            continue;
        }
        *at = local->next;
        weir_channel_unref(local->chan);
        free(local);
    }
}

static int credits_of(Weir__Partition partition)
{
    return partition == WEIR__PARTITION__ON_DEMAND ? WEIR_CHANNEL_CREDITS_ON_DEMAND : WEIR_CHANNEL_CREDITS;
}

static weir_err unknown_location(const struct weir_executor *executor, int vertex, int subtask,
                                 struct weir_error *error)
{
    return weir_fail(error, WEIR_ERR_PROTOCOL, "the deployment does not say where '%s' (%d/%d) runs",
                     executor->plan->vertices[vertex].name, subtask + 1, executor->plan->vertices[vertex].parallelism);
}

/* The channel of `edge` from `task` to subtask `to`. One reference for the caller. */
static weir_err channel_out(struct weir_executor_task *task, int edge, int to, struct weir_channel **out,
                            struct weir_error *error)
{
    struct weir_executor *executor = task->executor;
    const struct weir_plan_edge *plan_edge = &executor->plan->edges[edge];
    const struct weir_executor_location *where = location_of(executor, plan_edge->to_vertex, to);
    if (where->attempt == 0)
        return unknown_location(executor, plan_edge->to_vertex, to, error);
    uint64_t id = weir_channel_id(edge, (int)task->id.subtask, to);
    struct weir_channel *chan;
    if (where->executor_id) {
        chan = weir_channel_new(id, credits_of(plan_edge->partition), true, false);
        chan->producer = weir_worker_waker(task->worker);
        weir_io_add_out(
            executor->io, chan, task->id.attempt, where->attempt,
            &(struct weir_io_peer){where->executor_id, where->endpoint, where->has_key ? where->key : NULL});
        keep_remote(task, weir_channel_ref(chan));
    } else {
        bool complete;
        chan = local_channel(task, id, credits_of(plan_edge->partition), task->id.attempt, where->attempt, true,
                             &complete);
        chan->producer = weir_worker_waker(task->worker);
        if (complete)
            weir_channel_open(chan);
    }
    *out = chan;
    return WEIR_OK;
}

static weir_err channel_in(struct weir_executor_task *task, int edge, int from, struct weir_input *input, int number,
                           struct weir_error *error)
{
    struct weir_executor *executor = task->executor;
    const struct weir_plan_edge *plan_edge = &executor->plan->edges[edge];
    const struct weir_executor_location *where = location_of(executor, plan_edge->from_vertex, from);
    if (where->attempt == 0)
        return unknown_location(executor, plan_edge->from_vertex, from, error);
    uint64_t id = weir_channel_id(edge, from, (int)task->id.subtask);
    struct weir_channel *chan;
    bool complete = false;
    if (where->executor_id)
        chan = weir_channel_new(id, credits_of(plan_edge->partition), false, true);
    else
        chan = local_channel(task, id, credits_of(plan_edge->partition), where->attempt, task->id.attempt, false,
                             &complete);
    weir_channel_set_consumer(chan, weir_input_inbox(input));
    weir_input_add(input, chan, number);
    weir_input_set_link(input, weir_executor_link(executor, plan_edge->edge));
    if (where->executor_id) {
        weir_io_add_in(executor->io, chan, where->attempt, task->id.attempt,
                       schema_of(executor, plan_edge->from_op, plan_edge->edge->from_output),
                       &(struct weir_io_peer){where->executor_id, where->endpoint, where->has_key ? where->key : NULL});
        keep_remote(task, chan);
        return WEIR_OK;
    }
    if (complete)
        weir_channel_open(chan);
    weir_channel_unref(chan);
    return WEIR_OK;
}

/* --- Edges */

static int chain_index(const struct weir_plan_vertex *vertex, int op)
{
    for (int i = 0; i < vertex->op_count; i++)
        if (vertex->ops[i] == op)
            return i;
    return -1;
}

static weir_err add_output(struct weir_executor_task *task, struct weir_chain *chain, int edge,
                           struct weir_error *error)
{
    struct weir_executor *executor = task->executor;
    const struct weir_plan_edge *plan_edge = &executor->plan->edges[edge];
    const struct weir_plan_vertex *from = &executor->plan->vertices[plan_edge->from_vertex];
    const struct weir_plan_vertex *to = &executor->plan->vertices[plan_edge->to_vertex];
    bool forward = plan_edge->partition == WEIR__PARTITION__FORWARD;
    int count = forward ? 1 : to->parallelism;
    struct weir_edge_writer_options options = {
        .partition = (enum weir_edge_partition)plan_edge->partition,
        .schema = schema_of(executor, plan_edge->from_op, plan_edge->edge->from_output),
        .max_parallelism = to->max_parallelism,
        .parallelism = count,
        .channel_count = count,
        .timeout_ns = executor->buffer_timeout_ns,
        .link = weir_executor_link(executor, plan_edge->edge),
    };
    weir_err err = WEIR_OK;
    if (!options.schema)
        return weir_fail(error, WEIR_ERR_INVALID, "operator '%s' gives no rows on output %" PRIu32,
                         executor->plan->ops[plan_edge->from_op].vertex->name, plan_edge->edge->from_output);
    if (plan_edge->partition == WEIR__PARTITION__HASH)
        err = weir_key_spec_resolve(options.schema, (const char *const *)plan_edge->edge->key,
                                    (int)plan_edge->edge->n_key, &options.key, error);
    struct weir_channel **channels = weir_zalloc((size_t)count * sizeof(struct weir_channel *));
    for (int c = 0; c < count && !err; c++)
        err = channel_out(task, edge, forward ? (int)task->id.subtask : c, &channels[c], error);
    options.channels = channels;
    if (!err)
        weir_chain_add_writer(chain, chain_index(from, plan_edge->from_op), (int)plan_edge->edge->from_output,
                              weir_edge_writer_new(&options));
    for (int c = 0; c < count; c++)
        weir_channel_unref(channels[c]);
    free(channels);
    return err;
}

static weir_err add_input(struct weir_executor_task *task, struct weir_input *input, int edge, struct weir_error *error)
{
    struct weir_executor *executor = task->executor;
    const struct weir_plan_edge *plan_edge = &executor->plan->edges[edge];
    int number = (int)plan_edge->edge->to_input;
    if (plan_edge->partition == WEIR__PARTITION__FORWARD)
        return channel_in(task, edge, (int)task->id.subtask, input, number, error);
    weir_err err = WEIR_OK;
    for (int p = 0; p < executor->plan->vertices[plan_edge->from_vertex].parallelism && !err; p++)
        err = channel_in(task, edge, p, input, number, error);
    return err;
}

/* --- The chain */

static uint32_t output_towards(const struct weir_plan *plan, int parent, int child)
{
    for (size_t e = 0; e < plan->graph->n_edges; e++) {
        const Weir__Edge *edge = plan->graph->edges[e];
        if (edge->from == plan->ops[parent].vertex->id && edge->to == plan->ops[child].vertex->id)
            return edge->from_output;
    }
    return 0;
}

/* Subtasks behind the main output of an operator; its own when it is chained. */
static int consumer_parallelism(const struct weir_plan *plan, const struct weir_plan_vertex *vertex, int op)
{
    for (int i = 0; i < vertex->output_count; i++) {
        const struct weir_plan_edge *edge = &plan->edges[vertex->outputs[i]];
        if (edge->from_op == op && edge->edge->from_output == 0)
            return plan->vertices[edge->to_vertex].parallelism;
    }
    return vertex->parallelism;
}

static void wake_worker(void *arg)
{
    weir_worker_wake(arg);
}

static struct weir_chain *build_chain(struct weir_executor_task *task,
                                      void (*on_snapshot)(void *arg, struct weir_snapshot *take_snapshot))
{
    struct weir_executor *executor = task->executor;
    const struct weir_plan *plan = executor->plan;
    const struct weir_plan_vertex *vertex = &plan->vertices[task->id.vertex];
    struct weir_chain_op *ops = weir_zalloc((size_t)vertex->op_count * sizeof *ops);
    for (int i = 0; i < vertex->op_count; i++) {
        int op = vertex->ops[i], parent = plan->ops[op].upstream;
        struct weir_executor_op *resolved = &executor->ops[op];
        struct weir_op_ctx *ctx = &ops[i].ctx;
        ops[i].vtable = resolved->vtable;
        ops[i].link = i == 0 ? NULL : weir_executor_link_into(executor, op);
        ops[i].upstream = i == 0 ? -1 : chain_index(vertex, parent);
        ops[i].upstream_output = i == 0 ? 0 : (int)output_towards(plan, parent, op);
        ctx->plan = &resolved->plan;
        ctx->job_id = executor->job_id;
        ctx->job_name = executor->start->start->job_name;
        ctx->task_name = task->name;
        ctx->subtask = (int)task->id.subtask;
        ctx->parallelism = vertex->parallelism;
        ctx->consumer_parallelism = consumer_parallelism(plan, vertex, op);
        ctx->max_parallelism = vertex->max_parallelism;
        ctx->attempt = (int)task->id.attempt;
        weir_key_group_range(vertex->max_parallelism, vertex->parallelism, ctx->subtask, &ctx->key_group_first,
                             &ctx->key_group_count);
        ctx->arguments = (const char *const *)plan->graph->arguments;
        ctx->argument_count = (int)plan->graph->n_arguments;
        ctx->code = executor->code;
        ctx->restored = task->restored;
        ctx->periodic = executor->periodic;
        ctx->checkpoint_interval_ms = executor->checkpoint_interval_ms;
        if (executor->rocks && resolved->plan.keyed)
            ctx->memory = weir_state_memory_new(executor->rocks, executor->operator_memory);
        ctx->store = executor->store;
        ctx->store_settings = executor->store_settings;
        ctx->store_setting_count = (int)executor->start->n_store;
        ctx->object_name = task->object_name;
        ctx->chain_index = i;
        ctx->pool = executor->pool;
        ctx->wake = wake_worker;
        ctx->wake_arg = task->worker;
        ctx->alignment = executor->alignment;
        ctx->function = resolved->function;
        ctx->function2 = resolved->function2;
        ctx->on_timer = resolved->on_timer;
        ctx->row_in2 = resolved->row_in2;
        ctx->states = resolved->states;
        ctx->state_count = resolved->state_count;
        memcpy(ctx->side_decls, resolved->side_decls, sizeof ctx->side_decls);
        ctx->row_in = resolved->row_in;
        ctx->row_out = resolved->row_out;
    }
    struct weir_chain_options options = {.ops = ops,
                                         .op_count = vertex->op_count,
                                         .input_count = vertex->input_count,
                                         .on_snapshot = on_snapshot,
                                         .on_snapshot_arg = task};
    struct weir_chain *chain = weir_chain_new(&options);
    free(ops);
    return chain;
}

weir_err weir_executor_build_task(struct weir_executor *executor, struct weir_executor_task *task,
                                  void (*on_state)(void *arg, struct weir_task *task, enum weir_task_state state,
                                                   const struct weir_error *error, int op),
                                  void (*on_snapshot)(void *arg, struct weir_snapshot *take_snapshot),
                                  struct weir_error *error)
{
    const struct weir_plan_vertex *vertex = &executor->plan->vertices[task->id.vertex];
    task->name =
        weir_format("%s (%u/%d)#%u", vertex->name, task->id.subtask + 1, vertex->parallelism, task->id.attempt);
    task->object_name = weir_format("%u-%u-%u", task->id.vertex, task->id.subtask, task->id.attempt);
    if (vertex->input_count == 0 && !executor->ops[vertex->ops[0]].vtable->produce)
        return weir_fail(error, WEIR_ERR_INVALID, "operator '%s' has no input and is no source",
                         executor->plan->ops[vertex->ops[0]].vertex->name);
    weir_err err = executor->rocks ? weir_rocks_renew(&executor->rocks, error) : WEIR_OK;
    if (err)
        return err;
    struct weir_chain *chain = build_chain(task, on_snapshot);
    struct weir_input *input = vertex->input_count > 0 ? weir_input_new(weir_worker_waker(task->worker)) : NULL;
    for (int i = 0; i < vertex->input_count && !err; i++)
        err = add_input(task, input, vertex->inputs[i], error);
    for (int i = 0; i < vertex->output_count && !err; i++)
        err = add_output(task, chain, vertex->outputs[i], error);
    if (!err)
        err = weir_executor_replay(task, chain, input, error);
    if (err) {
        weir_chain_free(chain);
        weir_input_free(input);
        return err;
    }
    struct weir_task_options options = {
        .name = task->name,
        .job_id = executor->job_id,
        .attempt = (int)task->id.attempt,
        .chain = chain,
        .input = input,
        .on_state = on_state,
        .arg = task,
        .at_least_once = executor->at_least_once,
        .last_snapshot = executor->can_checkpoint,
        .last_tables = executor->periodic,
    };
    task->task = weir_task_new(&options);
    return WEIR_OK;
}
