/* Making and changing JobGraph messages in memory. What is made here is freed with weir__job_graph__free_unpacked(graph, NULL).
 * One thread; aborts when there is no memory.
 */
#ifndef WEIR_GRAPH_GRAPH_BUILD_H
#define WEIR_GRAPH_GRAPH_BUILD_H

#include "data/schema.h"
#include "graph.pb-c.h"

Weir__JobGraph *weir_graph_new(const char *name); /* version 1 */
/* Replaces a string field; `text` is copied. */
void weir_graph_text(char **field, const char *text);
/* An empty vertex at the end of the graph. */
Weir__Vertex *weir_graph_add_vertex(Weir__JobGraph *graph, uint32_t id, const char *op, const char *name,
                                    const char *location);
Weir__Edge *weir_graph_add_edge(Weir__JobGraph *graph, uint32_t from, uint32_t from_output, uint32_t to,
                                uint32_t to_input, Weir__Partition partition, const char *const *key, int key_count);
void weir_graph_add_option(Weir__Vertex *vertex, const char *key, const char *value);
/* NULL: not there. */
const char *weir_graph_option(const Weir__Vertex *vertex, const char *key);
void weir_graph_add_configuration(Weir__JobGraph *graph, const char *key, const char *value);
void weir_graph_add_argument(Weir__JobGraph *graph, const char *argument);
/* NULL gives the empty schema. */
Weir__Schema *weir_graph_schema(const struct weir_schema *schema);
/* The inverse; an empty message gives NULL. INVALID: a type or name that cannot be. */
weir_err weir_graph_schema_read(const Weir__Schema *message, struct weir_schema **schema, struct weir_error *error);

#endif
