/* See graph_build.h. Strings are malloc'd, as protobuf-c's free functions expect. */
#include "graph/graph_build.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define APPEND(items, count, item) \
    ((items) = weir_realloc((items), ((count) + 1) * sizeof *(items)), (items)[(count)++] = (item))

void weir_graph_text(char **field, const char *text)
{
    if (*field && *field != (char *)protobuf_c_empty_string)
        free(*field);
    *field = weir_strdup(text);
}

Weir__JobGraph *weir_graph_new(const char *name)
{
    Weir__JobGraph *graph = weir_alloc(sizeof *graph);
    weir__job_graph__init(graph);
    graph->version = 1;
    weir_graph_text(&graph->name, name);
    return graph;
}

Weir__Vertex *weir_graph_add_vertex(Weir__JobGraph *graph, uint32_t id, const char *op, const char *name,
                                    const char *location)
{
    Weir__Vertex *vertex = weir_alloc(sizeof *vertex);
    weir__vertex__init(vertex);
    vertex->id = id;
    weir_graph_text(&vertex->op, op);
    weir_graph_text(&vertex->name, name);
    weir_graph_text(&vertex->location, location);
    APPEND(graph->vertices, graph->n_vertices, vertex);
    return vertex;
}

Weir__Edge *weir_graph_add_edge(Weir__JobGraph *graph, uint32_t from, uint32_t from_output, uint32_t to,
                                uint32_t to_input, Weir__Partition partition, const char *const *key, int key_count)
{
    Weir__Edge *edge = weir_alloc(sizeof *edge);
    weir__edge__init(edge);
    edge->from = from;
    edge->from_output = from_output;
    edge->to = to;
    edge->to_input = to_input;
    edge->partition = partition;
    for (int i = 0; i < key_count; i++)
        APPEND(edge->key, edge->n_key, weir_strdup(key[i]));
    APPEND(graph->edges, graph->n_edges, edge);
    return edge;
}

static Weir__KeyValue *key_value(const char *key, const char *value)
{
    Weir__KeyValue *pair = weir_alloc(sizeof *pair);
    weir__key_value__init(pair);
    weir_graph_text(&pair->key, key);
    weir_graph_text(&pair->value, value);
    return pair;
}

void weir_graph_add_option(Weir__Vertex *vertex, const char *key, const char *value)
{
    APPEND(vertex->options, vertex->n_options, key_value(key, value));
}

const char *weir_graph_option(const Weir__Vertex *vertex, const char *key)
{
    for (size_t i = 0; i < vertex->n_options; i++)
        if (strcmp(vertex->options[i]->key, key) == 0)
            return vertex->options[i]->value;
    return NULL;
}

void weir_graph_add_configuration(Weir__JobGraph *graph, const char *key, const char *value)
{
    APPEND(graph->configuration, graph->n_configuration, key_value(key, value));
}

void weir_graph_add_argument(Weir__JobGraph *graph, const char *argument)
{
    APPEND(graph->arguments, graph->n_arguments, weir_strdup(argument));
}

Weir__Schema *weir_graph_schema(const struct weir_schema *schema)
{
    Weir__Schema *message = weir_alloc(sizeof *message);
    weir__schema__init(message);
    for (int i = 0; schema && i < schema->field_count; i++) {
        Weir__Field *field = weir_alloc(sizeof *field);
        struct weir_buf type;
        weir_buf_init(&type, WEIR_TYPE_TEXT_MAX);
        bool whole = weir_type_text(&schema->fields[i].type, &type);
        weir_assert(whole); /* a type's text is bounded when it is made */
        weir__field__init(field);
        weir_graph_text(&field->name, schema->fields[i].name);
        weir_graph_text(&field->type, (const char *)type.data);
        weir_buf_fini(&type);
        APPEND(message->fields, message->n_fields, field);
    }
    return message;
}

weir_err weir_graph_schema_read(const Weir__Schema *message, struct weir_schema **schema, struct weir_error *error)
{
    *schema = NULL;
    if (!message || message->n_fields == 0)
        return 0;
    if (message->n_fields > WEIR_FIELDS_MAX)
        return weir_fail(error, WEIR_ERR_FULL, "a schema of %zu columns; at most %d are possible", message->n_fields,
                         WEIR_FIELDS_MAX);
    struct weir_field *fields = weir_zalloc(message->n_fields * sizeof *fields);
    weir_err err = 0;
    for (size_t i = 0; i < message->n_fields && !err; i++) {
        const char *name = message->fields[i]->name;
        fields[i].name = name;
        if (!name[0] || strlen(name) >= WEIR_NAME_SIZE_MAX)
            err = weir_fail(error, WEIR_ERR_INVALID, "column %zu of a schema has no proper name", i + 1);
        for (size_t j = 0; j < i && !err; j++)
            if (strcmp(name, fields[j].name) == 0)
                err = weir_fail(error, WEIR_ERR_INVALID, "a schema names the column '%s' twice", name);
        if (!err && weir_type_parse(message->fields[i]->type, &fields[i].type, error))
            err = weir_wrap(error, "column '%s'", name);
    }
    if (!err)
        *schema = weir_schema_new(fields, (int)message->n_fields);
    free(fields);
    return err;
}
