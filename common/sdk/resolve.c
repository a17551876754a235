/* The recorded calls -> Weir__JobGraph. Last in the flow; what needs operators or connectors is left to weir_graph_check(). */
#include "graph/graph_build.h"
#include "sdk/sdk_int.h"

static Weir__FunctionRef *reference(const struct weir_job *job, const void *address, const char *symbol)
{
    if (!address)
        return NULL;
    Weir__FunctionRef *ref = weir_alloc(sizeof *ref);
    weir__function_ref__init(ref);
    ref->offset = (uint64_t)((uintptr_t)address - (uintptr_t)job->code_base);
    weir_graph_text(&ref->symbol, symbol);
    return ref;
}

static void resolve_vertex(const struct weir_job *job, Weir__JobGraph *graph, const struct sdk_vertex *from)
{
    Weir__Vertex *vertex = weir_graph_add_vertex(graph, from->id, from->op, from->name, from->location);
    weir_graph_text(&vertex->uid, from->uid);
    vertex->parallelism = (uint32_t)from->parallelism;
    vertex->no_chaining = from->no_chaining;
    for (int i = 0; i < from->option_count; i++)
        weir_graph_add_option(vertex, from->options[i].key, from->options[i].value);
    vertex->output = weir_graph_schema(from->declared);
    vertex->function = reference(job, from->function, from->name);
    vertex->function2 = reference(job, from->function2, from->name);
    vertex->on_timer = reference(job, from->on_timer, from->name);
    vertex->row_in = reference(job, from->row_in, from->row_in ? from->row_in->name : "");
    vertex->row_in2 = reference(job, from->row_in2, from->row_in2 ? from->row_in2->name : "");
    vertex->row_out = reference(job, from->row_out, from->row_out ? from->row_out->name : "");
    if (from->state_count)
        vertex->states = weir_zalloc((size_t)from->state_count * sizeof(Weir__FunctionRef *));
    for (int i = 0; i < from->state_count; i++)
        vertex->states[vertex->n_states++] = reference(job, from->states[i], from->states[i]->name);
    vertex->sides = weir_zalloc(2 * sizeof(Weir__FunctionRef *));
    for (int i = 0; i < 2 && from->sides[i]; i++)
        vertex->sides[vertex->n_sides++] = reference(job, from->sides[i], from->sides[i]->name);
    for (int i = 0; i < from->input_count; i++) {
        const struct weir_stream *input = from->inputs[i];
        weir_graph_add_edge(graph, input->vertex->id, (uint32_t)input->output, from->id, (uint32_t)i, input->partition,
                            input->key, input->key_count);
    }
}

bool weir_sdk_end(struct weir_job *job, Weir__JobGraph **graph, struct weir_graph_errors *errors)
{
    const struct weir_sdk_request *request = &job->request;
    weir_sdk_expand_dead_letters(job);
    weir_sdk_check_arguments(job);
    for (struct sdk_vertex *vertex = job->vertices; vertex; vertex = vertex->next)
        if (vertex->takes_aggregate && !weir_graph_errors_has(&job->errors, vertex->id))
            weir_graph_errors_add(&job->errors, vertex->id, vertex->name, vertex->location,
                                  "the window has no weir_aggregate()");
    if (!job->vertices && job->errors.count == 0)
        weir_graph_errors_add(&job->errors, 0, "", "",
                              "the job has no operators: it needs a weir_source() and a weir_sink()");

    Weir__JobGraph *made = weir_graph_new(request->name && request->name[0] ? request->name : job->name);
    made->parallelism = (uint32_t)(request->parallelism > 0 ? request->parallelism : job->parallelism);
    if (request->code_name)
        weir_graph_text(&made->code_name, request->code_name);
    if (request->code_sha256)
        weir_graph_text(&made->code_sha256, request->code_sha256);
    for (int i = 0; i < request->configuration_count; i++)
        weir_graph_add_configuration(made, request->configuration[i].key, request->configuration[i].value);
    for (int i = 0; i < request->argument_count; i++)
        weir_graph_add_argument(made, request->arguments[i]);
    for (const struct sdk_vertex *vertex = job->vertices; vertex; vertex = vertex->next)
        resolve_vertex(job, made, vertex);
    *graph = made;

    for (int i = 0; i < job->errors.count; i++) {
        const struct weir_graph_error *item = &job->errors.items[i];
        weir_graph_errors_add(errors, item->vertex_id, item->operator_name, item->location, "%s", item->message);
    }
    errors->dropped += job->errors.dropped;
    return job->errors.count == 0;
}
