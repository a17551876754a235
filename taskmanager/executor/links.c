/* The edges of the job graph as places for rows that a barrier overtook, and such rows back to where they were on their way to. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "executor/executor_int.h"

static int op_of(const struct weir_plan *plan, uint32_t vertex_id)
{
    int i = 0;
    while (i < plan->op_count && plan->ops[i].vertex->id != vertex_id)
        i++;
    weir_assert(i < plan->op_count); /* checked by the plan */
    return i;
}

static weir_err make_link(struct weir_executor *executor, const Weir__Edge *edge, struct weir_link *link,
                          struct weir_error *error)
{
    const struct weir_plan *plan = executor->plan;
    int from = op_of(plan, edge->from), to = op_of(plan, edge->to);
    const struct weir_plan_vertex *vertex = &plan->vertices[plan->ops[to].chain];
    const struct weir_op_plan *source = &executor->ops[from].plan;
    struct weir_schema *schema = edge->from_output == 0 ? source->output : source->sides[edge->from_output - 1];
    weir_link_init(link, plan->ops[from].uid, (int)edge->from_output, plan->ops[to].uid, (int)edge->to_input);
    link->schema = schema ? weir_schema_ref(schema) : NULL;
    link->parallelism = vertex->parallelism;
    link->max_parallelism = vertex->max_parallelism;
    link->partition = (enum weir_edge_partition)edge->partition;
    for (int e = 0; e < plan->edge_count; e++)
        if (plan->edges[e].edge == edge) /* between chains: as it is there */
            link->partition = (enum weir_edge_partition)plan->edges[e].partition;
    if (edge->partition != WEIR__PARTITION__HASH || !schema)
        return WEIR_OK;
    size_t size = 1;
    for (size_t k = 0; k < edge->n_key; k++)
        size += strlen(edge->key[k]) + 1;
    link->key = weir_realloc(link->key, size);
    link->key[0] = 0;
    for (size_t k = 0; k < edge->n_key; k++) {
        if (k > 0)
            strcat(link->key, ",");
        strcat(link->key, edge->key[k]);
    }
    return weir_key_spec_resolve(schema, (const char *const *)edge->key, (int)edge->n_key, &link->spec, error);
}

weir_err weir_executor_make_links(struct weir_executor *executor, struct weir_error *error)
{
    const Weir__JobGraph *graph = executor->plan->graph;
    weir_err err = WEIR_OK;
    executor->links = weir_zalloc((graph->n_edges + 1) * sizeof *executor->links);
    for (size_t e = 0; e < graph->n_edges && !err; e++)
        err = make_link(executor, graph->edges[e], &executor->links[executor->link_count++], error);
    return err;
}

void weir_executor_free_links(struct weir_executor *executor)
{
    for (int i = 0; i < executor->link_count; i++)
        weir_link_fini(&executor->links[i]);
    free(executor->links);
    executor->links = NULL;
    executor->link_count = 0;
}

const struct weir_link *weir_executor_link(const struct weir_executor *executor, const Weir__Edge *edge)
{
    const Weir__JobGraph *graph = executor->plan->graph;
    for (size_t e = 0; e < graph->n_edges; e++)
        if (graph->edges[e] == edge)
            return &executor->links[e];
    return NULL;
}

const struct weir_link *weir_executor_link_into(const struct weir_executor *executor, int op)
{
    const Weir__JobGraph *graph = executor->plan->graph;
    for (size_t e = 0; e < graph->n_edges; e++)
        if (graph->edges[e]->to == executor->plan->ops[op].vertex->id)
            return &executor->links[e];
    return NULL;
}

static weir_err replay_edge(struct weir_executor_task *task, const struct weir_link *link, int number,
                            struct weir_chain *chain, int chain_op, struct weir_input *input, int *parts,
                            struct weir_error *error)
{
    struct weir_inflight_list list = {NULL, 0, 0};
    weir_err err = weir_link_overtakes(link) && link->schema
                       ? weir_inflight_read(task->restored, link, (int)task->id.subtask, &list, parts, error)
                       : WEIR_OK;
    if (!err && list.count > 0 && chain_op == 0)
        weir_input_replay(input, &list, number);
    else if (!err && list.count > 0)
        weir_chain_replay(chain, chain_op, &list);
    weir_inflight_list_fini(&list);
    return err;
}

weir_err weir_executor_replay(struct weir_executor_task *task, struct weir_chain *chain, struct weir_input *input,
                              struct weir_error *error)
{
    const struct weir_executor *executor = task->executor;
    const struct weir_plan *plan = executor->plan;
    const struct weir_plan_vertex *vertex = &plan->vertices[task->id.vertex];
    const Weir__JobGraph *graph = plan->graph;
    int there = 0, parts = 0;
    weir_err err = WEIR_OK;
    for (const struct weir_restored_part *part = task->restored ? task->restored->parts : NULL; part; part = part->next)
        there += part->kind == WEIR_STATE_ROWS || part->kind == WEIR_STATE_ROWS_KEYED;
    for (int i = 0; i < vertex->op_count && there > 0 && !err; i++)
        for (size_t e = 0; e < graph->n_edges && !err; e++)
            if (graph->edges[e]->to == plan->ops[vertex->ops[i]].vertex->id)
                err = replay_edge(task, &executor->links[e], (int)graph->edges[e]->to_input, chain, i, input, &parts,
                                  error);
    if (!err && parts < there)
        err =
            weir_fail(error, WEIR_ERR_INVALID,
                      "the checkpoint holds rows that were on their way to an operator of '%s' on an edge that is not "
                      "there any more: begin from a savepoint, which holds none",
                      vertex->name);
    return err;
}
