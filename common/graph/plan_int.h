/* Shared by the files of common/graph only. */
#ifndef WEIR_GRAPH_PLAN_INT_H
#define WEIR_GRAPH_PLAN_INT_H

#include "graph/plan.h"

#define WEIR_GRAPH_EDGES_MAX 10000
#define WEIR_GRAPH_TASKS_MAX 100000
#define WEIR_GRAPH_INPUTS_MAX 16 /* of one vertex: struct weir_op_plan.inputs */
#define WEIR_GRAPH_PARALLELISM_MAX 32768
#define WEIR_GRAPH_NAME_SIZE_MAX 512
#define WEIR_GRAPH_OPTIONS_MAX 1000

/* Unpacks within a memory budget. The graph is freed with weir__job_graph__free_unpacked(graph, NULL). */
weir_err weir_graph_parse(const uint8_t *bytes, size_t size, Weir__JobGraph **graph, struct weir_error *error);
/* Everything about one message that needs no order: counts, ids, names, edges' ends, options. */
weir_err weir_graph_check_shape(const Weir__JobGraph *graph, struct weir_error *error);
/* " (job.c:42)", or "" without a location; `out` of at least 300 bytes. Returns out. */
const char *weir_graph_where(const Weir__Vertex *vertex, char *out, size_t size);
/* Index in graph->vertices, or -1. Asserts nothing: ids come from outside. */
int weir_graph_vertex_index(const Weir__JobGraph *graph, uint32_t id);
/* A value of graph->configuration, the last one given; NULL: none. */
const char *weir_graph_configuration(const Weir__JobGraph *graph, const char *key);

#endif
