/* See check.h. Pure; one pass over the vertices in topological order. */
#include "graph/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "expr/expr.h"
#include "graph/graph_build.h"
#include "ops/op.h"

#define INPUTS_MAX 16
#define OUTPUTS 3 /* main, late, bad */

struct node {
    Weir__Vertex *vertex;
    Weir__Edge *inputs[INPUTS_MAX];
    int input_count;
    int waiting; /* inputs that are not checked yet */
    bool done;
    bool broken;  /* it or something before it has an error */
    bool is_read; /* something takes one of its outputs */
    struct weir_schema *outputs[OUTPUTS];
};

struct check {
    Weir__JobGraph *graph;
    const struct weir_graph_ops *ops;
    struct weir_graph_errors *errors;
    struct node *nodes;
    int count;
};

static struct node *node_of(struct check *check, uint32_t id)
{
    for (int i = 0; i < check->count; i++)
        if (check->nodes[i].vertex->id == id)
            return &check->nodes[i];
    return NULL;
}

#define FAIL(check, node, ...) \
    ((node)->broken = true, weir_graph_errors_add((check)->errors, (node)->vertex->id, (node)->vertex->name, \
                                                  (node)->vertex->location, __VA_ARGS__))

/* --- Completing */

static uint32_t next_id(const Weir__JobGraph *graph)
{
    uint32_t id = 0;
    for (size_t i = 0; i < graph->n_vertices; i++)
        if (graph->vertices[i]->id > id)
            id = graph->vertices[i]->id;
    return id + 1;
}

static bool has_input(const Weir__JobGraph *graph, uint32_t id)
{
    for (size_t e = 0; e < graph->n_edges; e++)
        if (graph->edges[e]->to == id)
            return true;
    return false;
}

static void add_splits(Weir__JobGraph *graph, const Weir__Vertex *source)
{
    char name[600], uid[600];
    snprintf(name, sizeof name, "%.500s splits", source->name);
    Weir__Vertex *splits = weir_graph_add_vertex(graph, next_id(graph), "splits", name, source->location);
    if (source->uid[0]) {
        snprintf(uid, sizeof uid, "%.500s-splits", source->uid);
        weir_graph_text(&splits->uid, uid);
    }
    splits->parallelism = 1;
    for (size_t i = 0; i < source->n_options; i++)
        weir_graph_add_option(splits, source->options[i]->key, source->options[i]->value);
    weir_graph_add_edge(graph, splits->id, 0, source->id, 0, WEIR__PARTITION__ON_DEMAND, NULL, 0);
}

static void complete_sources(Weir__JobGraph *graph, const struct weir_graph_ops *ops, struct weir_graph_errors *errors)
{
    size_t count = graph->n_vertices; /* splits are added behind */
    for (size_t i = 0; i < count; i++) {
        Weir__Vertex *vertex = graph->vertices[i];
        if (strcmp(vertex->op, "source") != 0 || weir_graph_errors_has(errors, vertex->id))
            continue;
        const char *connector = weir_graph_option(vertex, "connector");
        struct weir_graph_source source = {false, 0};
        struct weir_error error;
        if (!connector)
            continue; /* plan() says so */
        if (ops->find_source(connector, &source, &error)) {
            weir_graph_errors_add(errors, vertex->id, vertex->name, vertex->location, "%s", error.message);
            continue;
        }
        if (source.parallelism_max > 0 && (int)vertex->parallelism > source.parallelism_max)
            weir_graph_errors_add(errors, vertex->id, vertex->name, vertex->location,
                                  "connector '%s' reads with a parallelism of at most %d, not %u", connector,
                                  source.parallelism_max, vertex->parallelism);
        else if (source.parallelism_max == 1)
            vertex->parallelism = 1;
        if (source.has_splits && !has_input(graph, vertex->id))
            add_splits(graph, vertex);
    }
}

/* --- The column that carries event time */

/* Which TIMESTAMP column does the watermark's expression read? -1: none, or several; an expression error is another vertex's. */
static int watermark_column(const char *text, const struct weir_schema *schema)
{
    struct weir_expr *expr = NULL;
    struct weir_expr_error error;
    if (weir_expr_compile(text, schema, &expr, &error))
        return -1;
    uint64_t used[(WEIR_FIELDS_MAX + 63) / 64] = {0};
    weir_expr_columns(expr, used);
    weir_expr_free(expr);
    int found = -1;
    for (int i = 0; i < schema->field_count; i++) {
        if (!weir_bit_get(used, i) || schema->fields[i].type.id != WEIR_TYPE_TIMESTAMP)
            continue;
        if (found >= 0)
            return -1;
        found = i;
    }
    return found;
}

/* The nearest vertex upstream with a watermark strategy, along first inputs. After a window, time is window_end's. */
static struct node *watermark_node(struct check *check, struct node *node, const char **text)
{
    for (int hops = 0; node->input_count > 0 && hops < check->count; hops++) {
        node = node_of(check, node->inputs[0]->from);
        *text = weir_graph_option(node->vertex, "watermark.expression");
        if ((*text && (*text)[0]) || strcmp(node->vertex->op, "window") == 0)
            return node;
    }
    return NULL;
}

static void find_time_column(struct check *check, struct node *node, const struct weir_schema *input)
{
    const char *time = weir_graph_option(node->vertex, "window.time"), *text = NULL, *column = NULL;
    if (weir_graph_option(node->vertex, "time.column") || (time && strcmp(time, "event") != 0))
        return;
    struct node *from = watermark_node(check, node, &text);
    if (!from) {
        FAIL(check, node,
             "an event-time window needs a watermark: weir_watermark(stream, \"timestamp - INTERVAL '2' SECOND\") "
             "before it, or weir_processing_time()");
        return;
    }
    if (strcmp(from->vertex->op, "window") == 0)
        column = "window_end";
    else {
        int index = watermark_column(text, from->outputs[0]);
        if (index < 0) {
            FAIL(
                check, node,
                "which column is the event time? The watermark of '%s' (%.200s) must read exactly one TIMESTAMP column",
                from->vertex->name, text);
            return;
        }
        column = from->outputs[0]->fields[index].name;
    }
    int at = weir_schema_find(input, column, strlen(column));
    if (at < 0)
        FAIL(check, node,
             "the event time column '%s' of '%s' is not in the window's input: keep it in the select list or row "
             "struct before",
             column, from->vertex->name);
    else if (input->fields[at].type.id != WEIR_TYPE_TIMESTAMP)
        FAIL(check, node, "the event time column '%s' is no longer a TIMESTAMP in the window's input", column);
    else
        weir_graph_add_option(node->vertex, "time.column", column);
}

/* --- One vertex */

static int compare_inputs(const void *a, const void *b)
{
    const Weir__Edge *x = *(Weir__Edge *const *)a, *y = *(Weir__Edge *const *)b;
    return (x->to_input > y->to_input) - (x->to_input < y->to_input);
}

/* Schemas and key of the inputs. False: something before is broken, or an error was added. */
static bool plan_inputs(struct check *check, struct node *node, struct weir_op_plan *plan)
{
    struct weir_error error;
    for (int i = 0; i < node->input_count; i++) {
        const Weir__Edge *edge = node->inputs[i];
        struct node *from = node_of(check, edge->from);
        if (from->broken) {
            node->broken = true;
            return false;
        }
        struct weir_schema *schema = edge->from_output < OUTPUTS ? from->outputs[edge->from_output] : NULL;
        if (!schema) {
            FAIL(check, node, "it reads %s of '%s', which gives none",
                 edge->from_output == 0   ? "rows"
                 : edge->from_output == 1 ? "late rows"
                                          : "bad records",
                 from->vertex->name);
            return false;
        }
        plan->inputs[plan->input_count++] = schema;
        plan->broadcast2 |= i == 1 && edge->partition == WEIR__PARTITION__BROADCAST;
        if (edge->partition != WEIR__PARTITION__HASH)
            continue;
        struct weir_key_spec key;
        if (weir_key_spec_resolve(schema, (const char *const *)edge->key, (int)edge->n_key, &key, &error)) {
            FAIL(check, node, "key: %s", error.message);
            return false;
        }
        if (i == 0) {
            plan->key = key;
            plan->keyed = true;
        } else if (i == 1) {
            plan->key2 = key;
            plan->keyed2 = true;
        }
    }
    return true;
}

/* What plan() gave goes into the vertex, unless it is there already. */
static void keep_schemas(struct node *node, struct weir_op_plan *plan)
{
    Weir__Vertex *vertex = node->vertex;
    node->outputs[0] = plan->output;
    node->outputs[1] = plan->sides[0];
    node->outputs[2] = plan->sides[1];
    if (vertex->output)
        weir__schema__free_unpacked(vertex->output, NULL);
    vertex->output = weir_graph_schema(plan->output);
    for (size_t i = 0; i < vertex->n_side_outputs; i++)
        weir__schema__free_unpacked(vertex->side_outputs[i], NULL);
    free(vertex->side_outputs);
    vertex->side_outputs = NULL;
    vertex->n_side_outputs = plan->sides[1] ? 2 : plan->sides[0] ? 1 : 0;
    if (vertex->n_side_outputs == 0)
        return;
    vertex->side_outputs = weir_alloc(vertex->n_side_outputs * sizeof *vertex->side_outputs);
    for (size_t i = 0; i < vertex->n_side_outputs; i++)
        vertex->side_outputs[i] = weir_graph_schema(plan->sides[i]);
}

static void run_plan(struct check *check, struct node *node, const struct weir_op_vtable *op, struct weir_op_plan *plan)
{
    const Weir__Vertex *vertex = node->vertex;
    struct weir_key_value *options = weir_zalloc((vertex->n_options + 1) * sizeof *options);
    for (size_t i = 0; i < vertex->n_options; i++)
        options[i] = (struct weir_key_value){vertex->options[i]->key, vertex->options[i]->value};
    plan->name = vertex->name;
    plan->uid = vertex->uid;
    plan->options = options;
    plan->option_count = (int)vertex->n_options;
    struct weir_error error;
    if (op->plan(plan, &error)) {
        FAIL(check, node, "%s", error.message);
        weir_schema_unref(plan->output);
        weir_schema_unref(plan->sides[0]);
        weir_schema_unref(plan->sides[1]);
    } else
        keep_schemas(node, plan);
    free(options);
}

static void check_node(struct check *check, struct node *node)
{
    const Weir__Vertex *vertex = node->vertex;
    const struct weir_op_vtable *op;
    struct weir_op_plan plan = {.name = NULL};
    struct weir_error error;
    if (weir_graph_errors_has(check->errors, vertex->id)) {
        node->broken = true;
        return;
    }
    if (check->ops->find_op(vertex->op, &op, &error)) {
        FAIL(check, node, "%s", error.message);
        return;
    }
    if (!plan_inputs(check, node, &plan))
        return;
    bool no_input = op->is_source || strcmp(vertex->op, "splits") == 0;
    bool is_function =
        strcmp(vertex->op, "map") == 0 || strcmp(vertex->op, "flat_map") == 0 || strcmp(vertex->op, "process") == 0;
    if (node->input_count == 0 && !no_input)
        FAIL(check, node, "the operator '%s' has no input", vertex->op);
    else if (op->needs_key && !plan.keyed)
        FAIL(check, node, "it needs a keyed stream: weir_key_by(stream, \"column\")");
    else if (is_function && (!vertex->function || !vertex->row_in || !vertex->row_out))
        FAIL(check, node, "the operator '%s' names no function and row types", vertex->op);
    else if (weir_graph_schema_read(vertex->output, &plan.declared, &error))
        FAIL(check, node, "%s", error.message);
    else if (strcmp(vertex->op, "window") == 0)
        find_time_column(check, node, plan.inputs[0]);
    if (!node->broken)
        run_plan(check, node, op, &plan);
    if (!node->broken && !node->is_read && node->outputs[0])
        FAIL(check, node, "its rows go nowhere: end the stream in a weir_sink()");
    weir_schema_unref(plan.declared);
}

/* --- The walk */

static bool link_nodes(struct check *check)
{
    for (int i = 0; i < check->count; i++)
        check->nodes[i].vertex = check->graph->vertices[i];
    for (size_t e = 0; e < check->graph->n_edges; e++) {
        Weir__Edge *edge = check->graph->edges[e];
        struct node *from = node_of(check, edge->from), *to = node_of(check, edge->to);
        if (!from || !to) {
            weir_graph_errors_add(check->errors, 0, "", "", "an edge names vertex %u, which is not in the graph",
                                  from ? edge->to : edge->from);
            return false;
        }
        if (to->input_count == INPUTS_MAX) {
            FAIL(check, to, "it has more than %d inputs", INPUTS_MAX);
            return false;
        }
        to->inputs[to->input_count++] = edge;
        to->waiting++;
        from->is_read = true;
    }
    for (int i = 0; i < check->count; i++)
        qsort(check->nodes[i].inputs, (size_t)check->nodes[i].input_count, sizeof(Weir__Edge *), compare_inputs);
    return true;
}

static void report_cycle(struct check *check)
{
    char names[600];
    size_t size = 0;
    const Weir__Vertex *first = NULL;
    names[0] = 0;
    for (int i = 0; i < check->count && size < 400; i++) {
        if (check->nodes[i].done)
            continue;
        if (!first)
            first = check->nodes[i].vertex;
        size += (size_t)snprintf(names + size, sizeof names - size, "%s'%.60s'", size ? ", " : "",
                                 check->nodes[i].vertex->name);
    }
    weir_graph_errors_add(check->errors, first->id, first->name, first->location,
                          "the graph has a cycle, which streams cannot have: among %s", names);
}

bool weir_graph_check(Weir__JobGraph *graph, const struct weir_graph_ops *ops, struct weir_graph_errors *errors)
{
    complete_sources(graph, ops, errors);
    struct check check = {.graph = graph, .ops = ops, .errors = errors, .count = (int)graph->n_vertices};
    check.nodes = weir_zalloc((size_t)(check.count + 1) * sizeof *check.nodes);
    int done = 0;
    bool progress = link_nodes(&check);
    while (progress) {
        progress = false;
        for (int i = 0; i < check.count; i++) {
            struct node *node = &check.nodes[i];
            if (node->done || node->waiting > 0)
                continue;
            check_node(&check, node);
            node->done = progress = true;
            done++;
            for (size_t e = 0; e < graph->n_edges; e++)
                if (graph->edges[e]->from == node->vertex->id)
                    node_of(&check, graph->edges[e]->to)->waiting--;
        }
        if (!progress && done < check.count)
            report_cycle(&check);
    }
    for (int i = 0; i < check.count; i++)
        for (int j = 0; j < OUTPUTS; j++)
            weir_schema_unref(check.nodes[i].outputs[j]);
    free(check.nodes);
    return errors->count == 0 && errors->dropped == 0;
}
