/* Job graphs: parsed within a budget, checked for their shape, planned, shown as JSON; then completed and type-checked with all
 * operators and connectors, as the child does it that checks a graph from outside. Input: a serialized JobGraph.
 * Checked: the plan is the same each time; a graph that was completed is complete.
 */
#include <jansson.h>

#include "connectors/connector.h"
#include "fuzz/fuzz.h"
#include "graph/check.h"
#include "graph/plan.h"
#include "ops/op.h"

static weir_err find_source(const char *name, struct weir_graph_source *source, struct weir_error *error)
{
    const struct weir_connector *connector;
    weir_err err = weir_connector_find(name, &connector, error);
    if (!err)
        *source = (struct weir_graph_source){connector->enumerate != NULL, connector->parallelism_max};
    return err;
}

static const struct weir_graph_ops ops = {weir_op_find, find_source};
static const struct weir_plan_options options = {.parallelism = 2, .max_parallelism = 128, .chaining = true};

static char *show(const struct weir_plan *plan)
{
    json_t *json = weir_plan_json(plan, "0123456789abcdef0123456789abcdef");
    fuzz_check(json);
    char *text = json_dumps(json, JSON_COMPACT);
    fuzz_check(text);
    json_decref(json);
    return text;
}

static void plan_twice(const struct weir_plan *plan, const uint8_t *bytes, size_t size)
{
    struct weir_plan *again = NULL;
    fuzz_check(!weir_plan_build(bytes, size, &options, &again, NULL));
    char *first = show(plan), *second = show(again);
    fuzz_check(strcmp(first, second) == 0);
    free(first);
    free(second);
    weir_plan_free(again);
}

static void check_types(const uint8_t *bytes, size_t size)
{
    Weir__JobGraph *graph = weir__job_graph__unpack(NULL, size, bytes);
    struct weir_graph_errors errors = {.count = 0}, none = {.count = 0};
    struct weir_buf text;
    fuzz_check(graph);
    weir_buf_init(&text, (size_t)1 << 22);
    if (weir_graph_check(graph, &ops, &errors)) {
        size_t before = weir__job_graph__get_packed_size(graph);
        fuzz_check(weir_graph_check(graph, &ops, &none));
        fuzz_check(weir__job_graph__get_packed_size(graph) == before);
    } else {
        fuzz_check(errors.count > 0);
    }
    fuzz_check(weir_graph_errors_print(&errors, &text));
    weir_graph_errors_fini(&errors);
    weir_graph_errors_fini(&none);
    weir_buf_fini(&text);
    weir__job_graph__free_unpacked(graph, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct weir_plan *plan = NULL;
    struct weir_error error;
    if (weir_plan_build(data, size, &options, &plan, &error)) {
        fuzz_check(error.message[0]);
        return 0;
    }
    fuzz_check(plan->task_count > 0 && plan->vertex_count <= plan->op_count);
    plan_twice(plan, data, size);
    check_types(data, size);
    weir_plan_free(plan);
    return 0;
}
