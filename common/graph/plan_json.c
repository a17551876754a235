/* The plan as Flink's REST shows it: {jid, name, type, nodes[]}, consumers before producers as Flink lists them. */
#include <jansson.h>
#include <string.h>

#include "base/assert.h"
#include "base/json_memory.h"
#include "base/mem.h"
#include "graph/plan.h"

#define DESCRIPTION_SIZE_MAX ((size_t)64 << 20) /* never reached: 1,000 operators with names of 512 bytes */

static const char *ship_strategy(Weir__Partition partition)
{
    switch (partition) {
    case WEIR__PARTITION__FORWARD:
        return "FORWARD";
    case WEIR__PARTITION__HASH:
        return "HASH";
    case WEIR__PARTITION__REBALANCE:
        return "REBALANCE";
    case WEIR__PARTITION__BROADCAST:
        return "BROADCAST";
    case WEIR__PARTITION__ON_DEMAND:
        return "ON_DEMAND";
    default:
        return "UNKNOWN";
    }
}

/* The page shows descriptions as HTML. */
static bool append_escaped(struct weir_buf *out, const char *s)
{
    bool room = true;
    for (; *s && room; s++)
        switch (*s) {
        case '&':
            room = weir_buf_puts(out, "&amp;");
            break;
        case '<':
            room = weir_buf_puts(out, "&lt;");
            break;
        case '>':
            room = weir_buf_puts(out, "&gt;");
            break;
        case '"':
            room = weir_buf_puts(out, "&quot;");
            break;
        default:
            room = weir_buf_append(out, s, 1);
        }
    return room;
}

/* Flink's tree: "a<br/>:- b<br/>:  +- c<br/>+- d<br/>". `prefix` stands before this operator's children. */
static void append_tree(const struct weir_plan *plan, const struct weir_plan_vertex *vertex, int op, const char *prefix,
                        struct weir_buf *out)
{
    const Weir__Vertex *v = plan->ops[op].vertex;
    if (!append_escaped(out, v->name[0] ? v->name : v->op) || !weir_buf_puts(out, "<br/>"))
        return;
    int children = 0, seen = 0;
    for (int k = 0; k < vertex->op_count; k++)
        children += plan->ops[vertex->ops[k]].upstream == op;
    for (int k = 0; k < vertex->op_count; k++) {
        if (plan->ops[vertex->ops[k]].upstream != op)
            continue;
        bool last = ++seen == children;
        if (!weir_buf_printf(out, "%s%s", prefix, last ? "+- " : ":- "))
            return;
        size_t size = strlen(prefix);
        char *deeper = weir_alloc(size + 4);
        memcpy(deeper, prefix, size);
        memcpy(deeper + size, last ? "   " : ":  ", 4);
        append_tree(plan, vertex, vertex->ops[k], deeper, out);
        free(deeper);
    }
}

static json_t *node_json(const struct weir_plan *plan, const struct weir_plan_vertex *vertex)
{
    struct weir_buf description;
    weir_buf_init(&description, DESCRIPTION_SIZE_MAX);
    append_tree(plan, vertex, vertex->ops[0], "", &description);
    json_t *node =
        json_pack("{s:s s:i s:s s:s s:s%}", "id", vertex->id, "parallelism", vertex->parallelism, "operator", "",
                  "operator_strategy", "", "description", (const char *)description.data, description.size);
    weir_buf_fini(&description);
    weir_assert(node);
    if (vertex->input_count) {
        json_t *inputs = json_array();
        for (int k = 0; k < vertex->input_count; k++) {
            const struct weir_plan_edge *edge = &plan->edges[vertex->inputs[k]];
            json_array_append_new(inputs, json_pack("{s:i s:s s:s s:s}", "num", k, "id",
                                                    plan->vertices[edge->from_vertex].id, "ship_strategy",
                                                    ship_strategy(edge->partition), "exchange", "pipelined_bounded"));
        }
        json_object_set_new(node, "inputs", inputs);
    }
    json_object_set_new(node, "optimizer_properties", json_object());
    return node;
}

struct json_t *weir_plan_json(const struct weir_plan *plan, const char *job_id)
{
    weir_json_memory();
    json_t *nodes = json_array();
    for (int v = plan->vertex_count; v-- > 0;)
        json_array_append_new(nodes, node_json(plan, &plan->vertices[v]));
    return json_pack("{s:s s:s s:s s:o}", "jid", job_id, "name", plan->graph->name, "type", "STREAMING", "nodes",
                     nodes);
}
