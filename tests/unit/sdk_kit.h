/* Shared by the SDK's tests: builds a job whose function is in the test itself, with or without the check by the operator table. */
#ifndef WEIR_TESTS_SDK_KIT_H
#define WEIR_TESTS_SDK_KIT_H

#include <stdlib.h>
#include <string.h>

#include "connectors/connector.h"
#include "graph/check.h"
#include "graph/graph_build.h"
#include "ops/op.h"
#include "sdk/sdk.h"

static weir_err kit_find_source(const char *name, struct weir_graph_source *source, struct weir_error *error)
{
    const struct weir_connector *connector;
    weir_err err = weir_connector_find(name, &connector, error);
    if (!err)
        *source = (struct weir_graph_source){connector->enumerate != NULL, connector->parallelism_max};
    return err;
}
static const struct weir_graph_ops kit_ops = {weir_op_find, kit_find_source};

struct kit {
    Weir__JobGraph *graph;
    struct weir_graph_errors errors;
    bool ok;
    struct weir_buf text; /* the errors */
};

/* `arguments` end with NULL (or are NULL). */
static void kit_build(struct kit *kit, struct weir_job_descriptor *descriptor, void (*build)(struct weir_job *job),
                      const char *const *arguments, bool check)
{
    struct weir_sdk_request request = {.arguments = arguments};
    while (arguments && arguments[request.argument_count])
        request.argument_count++;
    *descriptor = (struct weir_job_descriptor){WEIR_JOB_MAGIC, WEIR_ABI_MAJOR, WEIR_ABI_MINOR, "tested", build};
    *kit = (struct kit){.graph = NULL};
    struct weir_job *job = weir_sdk_begin(&request);
    weir_sdk_build(job, descriptor);
    kit->ok = weir_sdk_end(job, &kit->graph, &kit->errors);
    if (check)
        kit->ok = weir_graph_check(kit->graph, &kit_ops, &kit->errors);
    weir_sdk_free(job);
    weir_buf_init(&kit->text, 1 << 20);
    if (!weir_graph_errors_print(&kit->errors, &kit->text))
        abort();
}

static inline void kit_fini(struct kit *kit)
{
    weir__job_graph__free_unpacked(kit->graph, NULL);
    weir_graph_errors_fini(&kit->errors);
    weir_buf_fini(&kit->text);
}

static inline const char *kit_text(const struct kit *kit)
{
    return kit->text.data ? (const char *)kit->text.data : "";
}

static inline Weir__Vertex *kit_vertex(const struct kit *kit, const char *name)
{
    for (size_t i = 0; i < kit->graph->n_vertices; i++)
        if (strcmp(kit->graph->vertices[i]->name, name) == 0)
            return kit->graph->vertices[i];
    return NULL;
}

static inline Weir__Edge *kit_edge(const struct kit *kit, const char *from, const char *to)
{
    const Weir__Vertex *a = kit_vertex(kit, from), *b = kit_vertex(kit, to);
    for (size_t i = 0; a && b && i < kit->graph->n_edges; i++)
        if (kit->graph->edges[i]->from == a->id && kit->graph->edges[i]->to == b->id)
            return kit->graph->edges[i];
    return NULL;
}

#endif
