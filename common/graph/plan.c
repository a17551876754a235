/* From a checked JobGraph to the physical plan: order, parallelism, uids, chains, regions, slots, names. See plan.h.
 *
 * Pure and deterministic: the order of vertices and edges in the message does not matter, only ids do. Operators are ordered
 * topologically, the smallest id first among those that could come next; chains in the order of their heads.
 */
#include "graph/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/options.h"
#include "graph/plan_int.h"

struct op_extra {
    int parallelism, max_parallelism;
    const char *group; /* borrowed from an option, or "default" */
    int *in_edges;     /* graph edges by to_input */
    int in_count;
    bool source, sink; /* for the name */
};

struct build {
    const struct weir_plan_options *options;
    Weir__JobGraph *graph;
    struct weir_plan *plan;
    struct op_extra *extra; /* per op */
    int *op_of_vertex;      /* graph vertex index -> op */
    int *from_op, *to_op;   /* per graph edge */
    int *edge_order;        /* graph edges sorted by (to op, to_input) */
};

/* --- Order */

static int vertex_at(const struct build *build, uint32_t id)
{
    int i = weir_graph_vertex_index(build->graph, id);
    weir_assert(i >= 0);
    return i;
}

static weir_err order_ops(struct build *build, struct weir_error *error)
{
    const Weir__JobGraph *graph = build->graph;
    int count = (int)graph->n_vertices, edges = (int)graph->n_edges;
    int *waiting = weir_zalloc((size_t)count * sizeof *waiting); /* inputs not yet placed; -1: placed */
    int *from = weir_alloc((size_t)(edges + 1) * sizeof *from), *to = weir_alloc((size_t)(edges + 1) * sizeof *to);
    for (int e = 0; e < edges; e++) {
        from[e] = vertex_at(build, graph->edges[e]->from);
        to[e] = vertex_at(build, graph->edges[e]->to);
        waiting[to[e]]++;
    }
    weir_err err = WEIR_OK;
    for (int placed = 0; placed < count && !err; placed++) {
        int best = -1, stuck = -1;
        for (int v = 0; v < count; v++) {
            if (waiting[v] == 0 && (best < 0 || graph->vertices[v]->id < graph->vertices[best]->id))
                best = v;
            if (waiting[v] > 0 && (stuck < 0 || graph->vertices[v]->id < graph->vertices[stuck]->id))
                stuck = v;
        }
        if (best < 0) {
            char where[300];
            err =
                weir_fail(error, WEIR_ERR_INVALID, "the job graph has a cycle that vertex '%s'%s is part of or behind",
                          graph->vertices[stuck]->name, weir_graph_where(graph->vertices[stuck], where, sizeof where));
            break;
        }
        waiting[best] = -1;
        for (int e = 0; e < edges; e++)
            if (from[e] == best)
                waiting[to[e]]--;
        build->op_of_vertex[best] = placed;
        build->plan->ops[placed].vertex = graph->vertices[best];
        build->plan->ops[placed].index = placed;
        build->plan->ops[placed].upstream = -1;
    }
    for (int e = 0; e < edges && !err; e++) {
        build->from_op[e] = build->op_of_vertex[from[e]];
        build->to_op[e] = build->op_of_vertex[to[e]];
    }
    free(waiting);
    free(from);
    free(to);
    return err;
}

/* Insertion by (to op, input): few edges, and already nearly in order. */
static void order_edges(struct build *build)
{
    int count = (int)build->graph->n_edges;
    for (int e = 0; e < count; e++) {
        int at = e;
        while (at > 0) {
            int before = build->edge_order[at - 1];
            if (build->to_op[before] < build->to_op[e] ||
                (build->to_op[before] == build->to_op[e] &&
                 build->graph->edges[before]->to_input <= build->graph->edges[e]->to_input))
                break;
            build->edge_order[at] = before;
            at--;
        }
        build->edge_order[at] = e;
    }
    for (int i = 0; i < count; i++) {
        struct op_extra *extra = &build->extra[build->to_op[build->edge_order[i]]];
        if (!extra->in_edges)
            extra->in_edges = &build->edge_order[i];
        extra->in_count++;
    }
}

/* --- Parallelism, slot sharing groups */

static const char *vertex_option(const Weir__Vertex *vertex, const char *key)
{
    for (size_t i = vertex->n_options; i-- > 0;)
        if (strcmp(vertex->options[i]->key, key) == 0)
            return vertex->options[i]->value;
    return NULL;
}

static weir_err config_int(const struct build *build, const char *key, int fallback, int *out, struct weir_error *error)
{
    const char *text = weir_graph_configuration(build->graph, key);
    *out = fallback;
    if (!text)
        return WEIR_OK;
    char *end;
    long value = strtol(text, &end, 10);
    if (end == text || *end || value < 1 || value > WEIR_GRAPH_PARALLELISM_MAX)
        return weir_fail(error, WEIR_ERR_INVALID, "%s: '%.100s' is not a number from 1 to %d", key, text,
                         WEIR_GRAPH_PARALLELISM_MAX);
    *out = (int)value;
    return WEIR_OK;
}

/* Flink's default: half as much again as the parallelism, as a power of two, at least 128. */
static int default_max_parallelism(int parallelism)
{
    int max = 128;
    while (max < parallelism + parallelism / 2 && max < WEIR_GRAPH_PARALLELISM_MAX)
        max *= 2;
    return max;
}

static weir_err resolve_parallelism(struct build *build, struct weir_error *error)
{
    int job_default, job_max;
    weir_err err = config_int(build, "parallelism.default", build->options->parallelism, &job_default, error);
    if (!err)
        err = config_int(build, "pipeline.max-parallelism", build->options->max_parallelism, &job_max, error);
    if (err)
        return err;
    if (build->graph->parallelism)
        job_default = (int)(build->graph->parallelism > INT32_MAX ? INT32_MAX : build->graph->parallelism);
    if (build->graph->max_parallelism)
        job_max = (int)(build->graph->max_parallelism > INT32_MAX ? INT32_MAX : build->graph->max_parallelism);
    if (build->options->parallelism_override > 0)
        job_default = build->options->parallelism_override;
    if (job_default < 1)
        job_default = 1;
    if (job_max > WEIR_GRAPH_PARALLELISM_MAX)
        return weir_fail(error, WEIR_ERR_INVALID, "the job's max parallelism of %d is over the %d that is possible",
                         job_max, WEIR_GRAPH_PARALLELISM_MAX);
    int64_t tasks = 0;
    for (int i = 0; i < build->plan->op_count; i++) {
        const Weir__Vertex *vertex = build->plan->ops[i].vertex;
        uint32_t wanted = vertex->parallelism ? vertex->parallelism : (uint32_t)job_default;
        int max = job_max > 0 ? job_max : WEIR_GRAPH_PARALLELISM_MAX;
        if (wanted > (uint32_t)max) {
            char where[300];
            return weir_fail(error, WEIR_ERR_INVALID,
                             "vertex '%s'%s: parallelism %" PRIu32 " is over the max parallelism of %d; "
                             "lower it, or raise pipeline.max-parallelism",
                             vertex->name, weir_graph_where(vertex, where, sizeof where), wanted, max);
        }
        build->extra[i].parallelism = (int)wanted;
        build->extra[i].max_parallelism = job_max > 0 ? job_max : default_max_parallelism((int)wanted);
        tasks += wanted;
    }
    if (tasks > WEIR_GRAPH_TASKS_MAX)
        return weir_fail(error, WEIR_ERR_FULL,
                         "the job has %" PRId64 " operator subtasks, more than the %d that are accepted", tasks,
                         WEIR_GRAPH_TASKS_MAX);
    return WEIR_OK;
}

/* Flink's rule: the group given; else that of the inputs when they agree; else "default". */
static void resolve_groups(struct build *build)
{
    for (int i = 0; i < build->plan->op_count; i++) {
        struct op_extra *extra = &build->extra[i];
        const char *group = vertex_option(build->plan->ops[i].vertex, "slot-sharing-group");
        if (!group || !group[0]) {
            group = extra->in_count ? build->extra[build->from_op[extra->in_edges[0]]].group : "default";
            for (int k = 1; k < extra->in_count; k++)
                if (strcmp(group, build->extra[build->from_op[extra->in_edges[k]]].group) != 0)
                    group = "default";
        }
        extra->group = group;
    }
}

/* --- Uids */

static void hash_text(XXH3_state_t *state, const char *text)
{
    uint32_t size = (uint32_t)strlen(text);
    uint8_t prefix[4] = {(uint8_t)size, (uint8_t)(size >> 8), (uint8_t)(size >> 16), (uint8_t)(size >> 24)};
    XXH3_128bits_update(state, prefix, sizeof prefix);
    XXH3_128bits_update(state, text, size);
}

static void hash_hex(const XXH3_state_t *state, char out[WEIR_VERTEX_ID_SIZE])
{
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    snprintf(out, WEIR_VERTEX_ID_SIZE, "%016" PRIx64 "%016" PRIx64, (uint64_t)hash.high64, (uint64_t)hash.low64);
}

static bool uid_taken(const struct weir_plan *plan, int before, const char *uid)
{
    for (int i = 0; i < before; i++)
        if (strcmp(plan->ops[i].uid, uid) == 0)
            return true;
    return false;
}

void weir_plan_given_uid(const char *given, char out[WEIR_VERTEX_ID_SIZE])
{
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        weir_out_of_memory(0);
    XXH3_128bits_reset(state);
    hash_text(state, "uid");
    hash_text(state, given);
    hash_hex(state, out);
    XXH3_freeState(state);
}

/* Two alike operators behind the same input (both sides of a self-union) differ only by their place: a counter tells them apart. */
static void derive_uids(struct build *build)
{
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        weir_out_of_memory(0);
    for (int i = 0; i < build->plan->op_count; i++) {
        struct weir_plan_op *op = &build->plan->ops[i];
        const struct op_extra *extra = &build->extra[i];
        op->uid_given = op->vertex->uid[0] != 0;
        char nth[16];
        for (int n = 0; n == 0 || uid_taken(build->plan, i, op->uid); n++) {
            XXH3_128bits_reset(state);
            snprintf(nth, sizeof nth, "%d", n);
            hash_text(state, op->uid_given ? "uid" : "derived");
            if (n)
                hash_text(state, nth);
            if (op->uid_given) {
                hash_text(state, op->vertex->uid);
            } else {
                hash_text(state, op->vertex->op);
                hash_text(state, op->vertex->name);
                for (int k = 0; k < extra->in_count; k++) {
                    snprintf(nth, sizeof nth, "%" PRIu32, build->graph->edges[extra->in_edges[k]]->from_output);
                    hash_text(state, build->plan->ops[build->from_op[extra->in_edges[k]]].uid);
                    hash_text(state, nth);
                }
            }
            hash_hex(state, op->uid);
        }
    }
    XXH3_freeState(state);
}

/* --- Chains */

static bool chains_to_input(const struct build *build, int op, bool chaining)
{
    const struct op_extra *extra = &build->extra[op];
    if (!chaining || extra->in_count != 1 || build->plan->ops[op].vertex->no_chaining)
        return false;
    int from = build->from_op[extra->in_edges[0]];
    return build->graph->edges[extra->in_edges[0]]->partition == WEIR__PARTITION__FORWARD &&
           build->extra[from].parallelism == extra->parallelism && strcmp(build->extra[from].group, extra->group) == 0;
}

static weir_err make_chains(struct build *build, struct weir_error *error)
{
    struct weir_plan *plan = build->plan;
    bool chaining = build->options->chaining;
    const char *text = weir_graph_configuration(build->graph, "pipeline.operator-chaining.enabled");
    if (!text)
        text = weir_graph_configuration(build->graph, "pipeline.operator-chaining"); /* its older spelling */
    if (text && strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "pipeline.operator-chaining.enabled: '%.100s' is neither true nor false", text);
    if (text)
        chaining = text[0] == 't';
    for (int i = 0; i < plan->op_count; i++) {
        struct weir_plan_op *op = &plan->ops[i];
        if (chains_to_input(build, i, chaining)) {
            op->upstream = build->from_op[build->extra[i].in_edges[0]];
            op->chain = plan->ops[op->upstream].chain;
        } else {
            op->chain = plan->vertex_count++;
        }
    }
    plan->vertices = weir_zalloc((size_t)plan->vertex_count * sizeof *plan->vertices);
    for (int i = 0; i < plan->op_count; i++)
        plan->vertices[plan->ops[i].chain].op_count++;
    for (int v = 0; v < plan->vertex_count; v++) {
        plan->vertices[v].ops = weir_alloc((size_t)plan->vertices[v].op_count * sizeof(int));
        plan->vertices[v].op_count = 0;
    }
    for (int i = 0; i < plan->op_count; i++) {
        struct weir_plan_vertex *vertex = &plan->vertices[plan->ops[i].chain];
        if (vertex->op_count == 0) {
            vertex->parallelism = build->extra[i].parallelism;
            vertex->max_parallelism = build->extra[i].max_parallelism;
            vertex->slot_sharing_group = weir_strdup(build->extra[i].group);
            memcpy(vertex->id, plan->ops[i].uid, sizeof vertex->id);
        }
        vertex->ops[vertex->op_count++] = i;
    }
    return WEIR_OK;
}

/* Channels between chains. A chain's non-head operators have exactly one input, the chained one: so edges enter heads only. */
static void make_edges(struct build *build)
{
    struct weir_plan *plan = build->plan;
    int count = (int)build->graph->n_edges;
    plan->edges = weir_zalloc((size_t)(count + 1) * sizeof *plan->edges);
    for (int i = 0; i < count; i++) {
        int e = build->edge_order[i], from = build->from_op[e], to = build->to_op[e];
        if (plan->ops[to].upstream >= 0)
            continue;
        struct weir_plan_edge *edge = &plan->edges[plan->edge_count++];
        edge->edge = build->graph->edges[e];
        edge->from_op = from;
        edge->to_op = to;
        edge->from_vertex = plan->ops[from].chain;
        edge->to_vertex = plan->ops[to].chain;
        edge->partition = edge->edge->partition;
        if (edge->partition == WEIR__PARTITION__FORWARD &&
            build->extra[from].parallelism != build->extra[to].parallelism)
            edge->partition = WEIR__PARTITION__REBALANCE;
        plan->vertices[edge->from_vertex].output_count++;
        plan->vertices[edge->to_vertex].input_count++;
    }
    for (int v = 0; v < plan->vertex_count; v++) {
        struct weir_plan_vertex *vertex = &plan->vertices[v];
        vertex->inputs = weir_alloc((size_t)(vertex->input_count + 1) * sizeof(int));
        vertex->outputs = weir_alloc((size_t)(vertex->output_count + 1) * sizeof(int));
        vertex->input_count = vertex->output_count = 0;
    }
    for (int e = 0; e < plan->edge_count; e++) {
        struct weir_plan_vertex *from = &plan->vertices[plan->edges[e].from_vertex];
        struct weir_plan_vertex *to = &plan->vertices[plan->edges[e].to_vertex];
        from->outputs[from->output_count++] = e;
        to->inputs[to->input_count++] = e;
    }
}

/* --- Regions and slots */

static int find_root(int *parent, int i)
{
    while (parent[i] != i)
        i = parent[i] = parent[parent[i]];
    return i;
}

static void join(int *parent, int a, int b)
{
    a = find_root(parent, a);
    b = find_root(parent, b);
    if (a < b) /* the smallest is the root: regions are numbered by their first member */
        parent[b] = a;
    else
        parent[a] = b;
}

/* Replaces each member's root by a dense number; returns how many there are. */
static int number_roots(int *parent, int count, int *out)
{
    int next = 0;
    for (int i = 0; i < count; i++) {
        int root = find_root(parent, i);
        out[i] = root == i ? next++ : out[root];
    }
    return next;
}

static void make_regions(struct weir_plan *plan)
{
    int tasks = 0;
    for (int v = 0; v < plan->vertex_count; v++) {
        plan->vertices[v].first_task = tasks;
        tasks += plan->vertices[v].parallelism;
    }
    plan->task_count = tasks;
    int *by_vertex = weir_alloc((size_t)plan->vertex_count * sizeof(int)),
        *by_task = weir_alloc((size_t)tasks * sizeof(int));
    int *regions = weir_alloc((size_t)plan->vertex_count * sizeof(int));
    plan->task_regions = weir_alloc((size_t)tasks * sizeof(int));
    for (int v = 0; v < plan->vertex_count; v++)
        by_vertex[v] = v;
    for (int t = 0; t < tasks; t++)
        by_task[t] = t;
    for (int e = 0; e < plan->edge_count; e++) {
        const struct weir_plan_vertex *from = &plan->vertices[plan->edges[e].from_vertex];
        const struct weir_plan_vertex *to = &plan->vertices[plan->edges[e].to_vertex];
        join(by_vertex, plan->edges[e].from_vertex, plan->edges[e].to_vertex);
        if (plan->edges[e].partition == WEIR__PARTITION__FORWARD) {
            for (int i = 0; i < from->parallelism; i++)
                join(by_task, from->first_task + i, to->first_task + i);
        } else {
            for (int i = 0; i < from->parallelism; i++)
                join(by_task, from->first_task, from->first_task + i);
            for (int i = 0; i < to->parallelism; i++)
                join(by_task, from->first_task, to->first_task + i);
        }
    }
    plan->region_count = number_roots(by_vertex, plan->vertex_count, regions);
    for (int v = 0; v < plan->vertex_count; v++)
        plan->vertices[v].region = regions[v];
    plan->task_region_count = number_roots(by_task, tasks, plan->task_regions);
    free(by_vertex);
    free(by_task);
    free(regions);
}

static void count_slots(struct weir_plan *plan)
{
    for (int v = 0; v < plan->vertex_count; v++) {
        int largest = plan->vertices[v].parallelism;
        bool first = true;
        for (int w = 0; w < plan->vertex_count; w++) {
            if (strcmp(plan->vertices[w].slot_sharing_group, plan->vertices[v].slot_sharing_group) != 0)
                continue;
            if (w < v)
                first = false;
            if (plan->vertices[w].parallelism > largest)
                largest = plan->vertices[w].parallelism;
        }
        if (first)
            plan->slots_needed += largest;
    }
}

/* --- Names */

static void classify_ends(struct build *build)
{
    for (int i = 0; i < build->plan->op_count; i++) {
        struct op_extra *extra = &build->extra[i];
        bool demanded = false, other_input = false, consumed = false;
        for (size_t e = 0; e < build->graph->n_edges; e++) {
            bool on_demand = build->graph->edges[e]->partition == WEIR__PARTITION__ON_DEMAND;
            if (build->from_op[e] == i) {
                consumed = true;
                demanded |= on_demand;
            }
            if (build->to_op[e] == i && !on_demand)
                other_input = true;
        }
        extra->source = !other_input && !demanded; /* a splits coordinator is no source itself, its readers are */
        extra->sink = other_input && !consumed;
    }
}

static const char *op_prefix(const struct build *build, int op)
{
    const char *name = build->plan->ops[op].vertex->name;
    if (build->extra[op].source && strncmp(name, "Source: ", 8) != 0)
        return "Source: ";
    if (build->extra[op].sink && strncmp(name, "Sink: ", 6) != 0)
        return "Sink: ";
    return "";
}

/* Flink's form: "a -> b -> (c, d -> e)". */
static void append_name(const struct build *build, const struct weir_plan_vertex *vertex, int op, struct weir_buf *out)
{
    const Weir__Vertex *v = build->plan->ops[op].vertex;
    bool room = weir_buf_printf(out, "%s%s", op_prefix(build, op), v->name[0] ? v->name : v->op);
    int children = 0;
    for (int k = 0; k < vertex->op_count; k++)
        children += build->plan->ops[vertex->ops[k]].upstream == op;
    if (children == 0 || !room)
        return;
    room = weir_buf_puts(out, children > 1 ? " -> (" : " -> ");
    for (int k = 0, n = 0; k < vertex->op_count && room; k++) {
        if (build->plan->ops[vertex->ops[k]].upstream != op)
            continue;
        if (n++ > 0)
            room = weir_buf_puts(out, ", ");
        append_name(build, vertex, vertex->ops[k], out);
    }
    if (children > 1 && room)
        room = weir_buf_puts(out, ")");
    (void)room; /* a name at its maximum is cut: it is for people */
}

static void make_names(struct build *build)
{
    classify_ends(build);
    for (int v = 0; v < build->plan->vertex_count; v++) {
        struct weir_plan_vertex *vertex = &build->plan->vertices[v];
        struct weir_buf name;
        weir_buf_init(&name, 4096);
        append_name(build, vertex, vertex->ops[0], &name);
        vertex->name = weir_strndup((const char *)name.data, name.size);
        weir_buf_fini(&name);
    }
}

/* --- Entry points */

weir_err weir_plan_build(const uint8_t *bytes, size_t size, const struct weir_plan_options *options,
                         struct weir_plan **plan, struct weir_error *error)
{
    *plan = NULL;
    struct build build = {.options = options};
    weir_err err = weir_graph_parse(bytes, size, &build.graph, error);
    if (err)
        return err;
    err = weir_graph_check_shape(build.graph, error);
    if (err) {
        weir__job_graph__free_unpacked(build.graph, NULL);
        return err;
    }
    size_t ops = build.graph->n_vertices, edges = build.graph->n_edges + 1;
    build.plan = weir_zalloc(sizeof *build.plan);
    build.plan->graph = build.graph;
    build.plan->op_count = (int)ops;
    build.plan->ops = weir_zalloc(ops * sizeof *build.plan->ops);
    build.extra = weir_zalloc(ops * sizeof *build.extra);
    build.op_of_vertex = weir_zalloc(ops * sizeof(int));
    build.from_op = weir_zalloc(edges * sizeof(int));
    build.to_op = weir_zalloc(edges * sizeof(int));
    build.edge_order = weir_zalloc(edges * sizeof(int));

    err = order_ops(&build, error);
    if (!err) {
        order_edges(&build);
        err = resolve_parallelism(&build, error);
    }
    if (!err) {
        resolve_groups(&build);
        derive_uids(&build);
        err = make_chains(&build, error);
    }
    if (!err) {
        make_edges(&build);
        make_regions(build.plan);
        count_slots(build.plan);
        make_names(&build);
        *plan = build.plan;
    } else {
        weir_plan_free(build.plan);
    }
    free(build.extra);
    free(build.op_of_vertex);
    free(build.from_op);
    free(build.to_op);
    free(build.edge_order);
    return err;
}

const char *weir_plan_alignment_group(const struct weir_plan_op *op)
{
    const Weir__Vertex *vertex = op->vertex;
    if (strcmp(vertex->op, "source") != 0)
        return NULL;
    for (size_t i = 0; i < vertex->n_options; i++)
        if (strcmp(vertex->options[i]->key, WEIR_OPTION_ALIGNMENT_GROUP) == 0 && vertex->options[i]->value[0])
            return vertex->options[i]->value;
    return NULL;
}

void weir_plan_free(struct weir_plan *plan)
{
    if (!plan)
        return;
    for (int v = 0; plan->vertices && v < plan->vertex_count; v++) {
        free(plan->vertices[v].name);
        free(plan->vertices[v].ops);
        free(plan->vertices[v].inputs);
        free(plan->vertices[v].outputs);
        free(plan->vertices[v].slot_sharing_group);
    }
    free(plan->vertices);
    free(plan->edges);
    free(plan->ops);
    free(plan->task_regions);
    weir__job_graph__free_unpacked(plan->graph, NULL);
    free(plan);
}
