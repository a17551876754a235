/* Reading a JobGraph from outside: size cap, memory budget, and the checks that need no order of the vertices.
 *
 * First step of weir_plan_build() (plan.c). Pure. After it, the rest of the folder may index by ids without fear.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/unpack.h"
#include "graph/plan_int.h"

/* --- Parse */

weir_err weir_graph_parse(const uint8_t *bytes, size_t size, Weir__JobGraph **graph, struct weir_error *error)
{
    *graph = NULL;
    if (size == 0)
        return weir_fail(error, WEIR_ERR_INVALID, "the job graph is empty");
    if (size > WEIR_GRAPH_SIZE_MAX)
        return weir_fail(error, WEIR_ERR_FULL, "the job graph has %zu bytes, more than the %zu that are accepted", size,
                         WEIR_GRAPH_SIZE_MAX);
    bool spent;
    *graph = (Weir__JobGraph *)weir_unpack(&weir__job_graph__descriptor, bytes, size, &spent);
    if (*graph)
        return WEIR_OK;
    if (spent)
        return weir_fail(error, WEIR_ERR_FULL, "the job graph of %zu bytes needs too much memory when it is read",
                         size);
    return weir_fail(error, WEIR_ERR_PROTOCOL, "the %zu bytes are not a serialized JobGraph", size);
}

/* --- Small helpers */

const char *weir_graph_where(const Weir__Vertex *vertex, char *out, size_t size)
{
    if (vertex->location && vertex->location[0])
        snprintf(out, size, " (%.200s)", vertex->location);
    else
        out[0] = 0;
    return out;
}

int weir_graph_vertex_index(const Weir__JobGraph *graph, uint32_t id)
{
    for (size_t i = 0; i < graph->n_vertices; i++)
        if (graph->vertices[i]->id == id)
            return (int)i;
    return -1;
}

const char *weir_graph_configuration(const Weir__JobGraph *graph, const char *key)
{
    for (size_t i = graph->n_configuration; i-- > 0;)
        if (strcmp(graph->configuration[i]->key, key) == 0)
            return graph->configuration[i]->value;
    return NULL;
}

/* --- Checks */

/* Bytes of the UTF-8 character at s (which ends with 0); 0: it is none. */
static size_t utf8_size(const unsigned char *s)
{
    if (s[0] < 0x80)
        return 1;
    size_t size = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0; /* overlong, a surrogate, beyond U+10FFFF */
    return size;
}

/* Valid UTF-8 (it goes into JSON), no control characters, bounded. */
static bool name_ok(const char *s, size_t max)
{
    size_t size = strlen(s), step;
    if (size > max)
        return false;
    for (size_t i = 0; i < size; i += step) {
        step = utf8_size((const unsigned char *)s + i);
        if (step == 0 || (unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            return false;
    }
    return true;
}

static weir_err check_vertex(const Weir__Vertex *vertex, struct weir_error *error)
{
    char where[300];
    weir_graph_where(vertex, where, sizeof where);
    if (!name_ok(vertex->name, WEIR_GRAPH_NAME_SIZE_MAX))
        return weir_fail(error, WEIR_ERR_INVALID,
                         "vertex %" PRIu32 "%s: its name is longer than %d bytes or not plain UTF-8 text", vertex->id,
                         where, WEIR_GRAPH_NAME_SIZE_MAX);
    if (vertex->id == 0)
        return weir_fail(error, WEIR_ERR_INVALID, "vertex '%s'%s: its id is 0; ids begin at 1", vertex->name, where);
    if (!vertex->op[0] || !name_ok(vertex->op, 64))
        return weir_fail(error, WEIR_ERR_INVALID, "vertex '%s'%s: it names no operator", vertex->name, where);
    if (!name_ok(vertex->uid, WEIR_GRAPH_NAME_SIZE_MAX))
        return weir_fail(error, WEIR_ERR_INVALID,
                         "vertex '%s'%s: its uid is longer than %d bytes or not plain UTF-8 text", vertex->name, where,
                         WEIR_GRAPH_NAME_SIZE_MAX);
    if (vertex->n_options > WEIR_GRAPH_OPTIONS_MAX)
        return weir_fail(error, WEIR_ERR_FULL, "vertex '%s'%s: %zu options, more than %d", vertex->name, where,
                         vertex->n_options, WEIR_GRAPH_OPTIONS_MAX);
    for (size_t i = 0; i < vertex->n_options; i++)
        if (!vertex->options[i]->key[0] || !name_ok(vertex->options[i]->key, 256))
            return weir_fail(error, WEIR_ERR_INVALID, "vertex '%s'%s: option %zu has no proper name", vertex->name,
                             where, i);
    if (vertex->n_side_outputs > 8)
        return weir_fail(error, WEIR_ERR_FULL, "vertex '%s'%s: %zu side outputs, more than 8", vertex->name, where,
                         vertex->n_side_outputs);
    return WEIR_OK;
}

static int compare_ids(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static weir_err check_unique_ids(const Weir__JobGraph *graph, struct weir_error *error)
{
    uint32_t *ids = weir_alloc(graph->n_vertices * sizeof *ids);
    for (size_t i = 0; i < graph->n_vertices; i++)
        ids[i] = graph->vertices[i]->id;
    qsort(ids, graph->n_vertices, sizeof *ids, compare_ids);
    weir_err err = WEIR_OK;
    for (size_t i = 1; i < graph->n_vertices && !err; i++)
        if (ids[i] == ids[i - 1])
            err = weir_fail(error, WEIR_ERR_INVALID, "two vertices have the id %" PRIu32, ids[i]);
    free(ids);
    return err;
}

static weir_err check_unique_uids(const Weir__JobGraph *graph, struct weir_error *error)
{
    for (size_t i = 0; i < graph->n_vertices; i++) {
        if (!graph->vertices[i]->uid[0])
            continue;
        for (size_t j = 0; j < i; j++)
            if (strcmp(graph->vertices[i]->uid, graph->vertices[j]->uid) == 0) {
                char where[300];
                return weir_fail(error, WEIR_ERR_EXISTS,
                                 "vertex '%s'%s: uid '%s' is already that of '%s'; uids are unique in a job",
                                 graph->vertices[i]->name, weir_graph_where(graph->vertices[i], where, sizeof where),
                                 graph->vertices[i]->uid, graph->vertices[j]->name);
            }
    }
    return WEIR_OK;
}

static weir_err check_edge(const Weir__JobGraph *graph, size_t number, struct weir_error *error)
{
    const Weir__Edge *edge = graph->edges[number];
    int from = weir_graph_vertex_index(graph, edge->from), to = weir_graph_vertex_index(graph, edge->to);
    if (from < 0 || to < 0)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "edge %zu goes from vertex %" PRIu32 " to %" PRIu32 ", but there is no vertex %" PRIu32,
                         number, edge->from, edge->to, from < 0 ? edge->from : edge->to);
    char where[300];
    const Weir__Vertex *producer = graph->vertices[from], *consumer = graph->vertices[to];
    if (edge->from_output > producer->n_side_outputs)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "vertex '%s'%s: an edge to '%s' leaves from output %" PRIu32 ", but there are only %zu",
                         producer->name, weir_graph_where(producer, where, sizeof where), consumer->name,
                         edge->from_output, producer->n_side_outputs + 1);
    if (edge->to_input >= WEIR_GRAPH_INPUTS_MAX)
        return weir_fail(error, WEIR_ERR_FULL,
                         "vertex '%s'%s: input %" PRIu32 " is beyond the %d that a vertex can have", consumer->name,
                         weir_graph_where(consumer, where, sizeof where), edge->to_input, WEIR_GRAPH_INPUTS_MAX);
    if ((unsigned)edge->partition > WEIR__PARTITION__ON_DEMAND)
        return weir_fail(error, WEIR_ERR_UNSUPPORTED, "vertex '%s'%s: unknown partitioning %d of its input from '%s'",
                         consumer->name, weir_graph_where(consumer, where, sizeof where), (int)edge->partition,
                         producer->name);
    if (edge->partition == WEIR__PARTITION__HASH && edge->n_key == 0)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "vertex '%s'%s: its hash-partitioned input from '%s' names no key column", consumer->name,
                         weir_graph_where(consumer, where, sizeof where), producer->name);
    return WEIR_OK;
}

/* Inputs of each vertex are numbered 0..n-1, each once. */
static weir_err check_inputs(const Weir__JobGraph *graph, struct weir_error *error)
{
    for (size_t i = 0; i < graph->n_vertices; i++) {
        const Weir__Vertex *vertex = graph->vertices[i];
        char where[300];
        weir_graph_where(vertex, where, sizeof where);
        uint32_t seen = 0;
        int count = 0;
        for (size_t e = 0; e < graph->n_edges; e++) {
            if (graph->edges[e]->to != vertex->id)
                continue;
            uint32_t bit = 1u << graph->edges[e]->to_input;
            if (seen & bit)
                return weir_fail(error, WEIR_ERR_INVALID,
                                 "vertex '%s'%s: two edges go to its input %" PRIu32 "; join them with a union",
                                 vertex->name, where, graph->edges[e]->to_input);
            seen |= bit;
            count++;
        }
        if (seen != (1u << count) - 1)
            return weir_fail(error, WEIR_ERR_INVALID, "vertex '%s'%s: its %d inputs are not numbered 0 to %d",
                             vertex->name, where, count, count - 1);
    }
    return WEIR_OK;
}

static weir_err check_ends(const Weir__JobGraph *graph, struct weir_error *error)
{
    bool source = false, sink = false;
    for (size_t i = 0; i < graph->n_vertices; i++) {
        bool in = false, out = false;
        for (size_t e = 0; e < graph->n_edges; e++) {
            in |= graph->edges[e]->to == graph->vertices[i]->id;
            out |= graph->edges[e]->from == graph->vertices[i]->id;
        }
        source |= !in;
        sink |= in && !out;
        if (!in && !out && graph->n_vertices > 1) {
            char where[300];
            return weir_fail(error, WEIR_ERR_INVALID, "vertex '%s'%s: nothing is connected to it",
                             graph->vertices[i]->name, weir_graph_where(graph->vertices[i], where, sizeof where));
        }
    }
    if (!source)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "the job has no source: every vertex has an input, so they form a cycle");
    if (!sink)
        return weir_fail(error, WEIR_ERR_INVALID, "the job has no sink: nothing takes the rows of its source");
    return WEIR_OK;
}

weir_err weir_graph_check_shape(const Weir__JobGraph *graph, struct weir_error *error)
{
    if (graph->version != 1)
        return weir_fail(error, WEIR_ERR_UNSUPPORTED,
                         "the job graph has version %" PRIu32 "; this weir reads version 1", graph->version);
    if (!name_ok(graph->name, WEIR_GRAPH_NAME_SIZE_MAX))
        return weir_fail(error, WEIR_ERR_INVALID, "the job's name is longer than %d bytes or not plain UTF-8 text",
                         WEIR_GRAPH_NAME_SIZE_MAX);
    if (graph->n_vertices == 0)
        return weir_fail(error, WEIR_ERR_INVALID, "the job graph has no vertices");
    if (graph->n_vertices > WEIR_GRAPH_VERTICES_MAX)
        return weir_fail(error, WEIR_ERR_FULL, "the job graph has %zu vertices, more than %d", graph->n_vertices,
                         WEIR_GRAPH_VERTICES_MAX);
    if (graph->n_edges > WEIR_GRAPH_EDGES_MAX)
        return weir_fail(error, WEIR_ERR_FULL, "the job graph has %zu edges, more than %d", graph->n_edges,
                         WEIR_GRAPH_EDGES_MAX);
    for (size_t i = 0; i < graph->n_vertices; i++) {
        weir_err err = check_vertex(graph->vertices[i], error);
        if (err)
            return err;
    }
    weir_err err = check_unique_ids(graph, error);
    if (!err)
        err = check_unique_uids(graph, error);
    for (size_t e = 0; e < graph->n_edges && !err; e++)
        err = check_edge(graph, e, error);
    if (!err)
        err = check_inputs(graph, error);
    return err ? err : check_ends(graph, error);
}
