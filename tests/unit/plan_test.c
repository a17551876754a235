/* common/graph: checks, order, chains, uids, regions, names, JSON; and that damaged bytes never crash it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/plan.h"

/* --- A graph under construction; everything static, packed when built. */

struct graph {
    Weir__JobGraph job;
    Weir__Vertex vertices[16], *vertex_list[16];
    Weir__Edge edges[32], *edge_list[32];
    Weir__KeyValue config[4], *config_list[4];
    Weir__KeyValue group[16], *group_list[16];
    Weir__Schema side, *side_list[1];
    char *key[1];
};

static void graph_init(struct graph *g)
{
    memset(g, 0, sizeof *g);
    weir__job_graph__init(&g->job);
    weir__schema__init(&g->side);
    g->side_list[0] = &g->side;
    g->key[0] = (char *)"k";
    g->job.version = 1;
    g->job.name = (char *)"job";
    g->job.vertices = g->vertex_list;
    g->job.edges = g->edge_list;
    g->job.configuration = g->config_list;
}

static Weir__Vertex *vertex(struct graph *g, uint32_t id, const char *op, const char *name, uint32_t parallelism)
{
    size_t i = g->job.n_vertices++;
    Weir__Vertex *v = g->vertex_list[i] = &g->vertices[i];
    weir__vertex__init(v);
    v->id = id;
    v->op = (char *)op;
    v->name = (char *)name;
    v->parallelism = parallelism;
    return v;
}

static Weir__Edge *edge(struct graph *g, uint32_t from, uint32_t to, Weir__Partition partition)
{
    size_t i = g->job.n_edges++;
    Weir__Edge *e = g->edge_list[i] = &g->edges[i];
    weir__edge__init(e);
    e->from = from;
    e->to = to;
    e->partition = partition;
    if (partition == WEIR__PARTITION__HASH) {
        e->n_key = 1;
        e->key = g->key;
    }
    for (size_t k = 0; k < i; k++) /* inputs are numbered as they come */
        e->to_input += g->edge_list[k]->to == to;
    return e;
}

static void configure(struct graph *g, const char *key, const char *value)
{
    size_t i = g->job.n_configuration++;
    g->config_list[i] = &g->config[i];
    weir__key_value__init(&g->config[i]);
    g->config[i].key = (char *)key;
    g->config[i].value = (char *)value;
}

static const struct weir_plan_options defaults = {.parallelism = 1, .chaining = true};

static weir_err build(const struct graph *g, struct weir_plan **plan, struct weir_error *error)
{
    size_t size = weir__job_graph__get_packed_size(&g->job);
    uint8_t *bytes = malloc(size + 1);
    weir__job_graph__pack(&g->job, bytes);
    weir_err err = weir_plan_build(bytes, size, &defaults, plan, error);
    free(bytes);
    return err;
}

static struct weir_plan *must_build(const struct graph *g)
{
    struct weir_plan *plan;
    struct weir_error error = {0};
    if (build(g, &plan, &error) != WEIR_OK)
        fail_msg("%s", error.message);
    return plan;
}

static void must_fail(const struct graph *g, weir_err code, const char *words)
{
    struct weir_plan *plan;
    struct weir_error error = {0};
    assert_int_equal(build(g, &plan, &error), code);
    assert_null(plan);
    if (!strstr(error.message, words))
        fail_msg("'%s' is not in: %s", words, error.message);
}

/* source(1) -> filter(2) -hash-> window(3) -> sink(4) */
static void window_job(struct graph *g, uint32_t parallelism)
{
    graph_init(g);
    g->job.parallelism = parallelism;
    vertex(g, 1, "filesystem", "readings", 0)->location = (char *)"job.c:12";
    vertex(g, 2, "filter", "filter", 0);
    vertex(g, 3, "window", "window", 0);
    vertex(g, 4, "filesystem", "out", 0);
    edge(g, 1, 2, WEIR__PARTITION__FORWARD);
    edge(g, 2, 3, WEIR__PARTITION__HASH);
    edge(g, 3, 4, WEIR__PARTITION__FORWARD);
}

/* --- Tests */

static void chains_and_names(void **state)
{
    (void)state;
    struct graph g;
    window_job(&g, 3);
    struct weir_plan *plan = must_build(&g);
    assert_int_equal(plan->op_count, 4);
    assert_int_equal(plan->vertex_count, 2);
    assert_int_equal(plan->edge_count, 1);
    assert_string_equal(plan->vertices[0].name, "Source: readings -> filter");
    assert_string_equal(plan->vertices[1].name, "window -> Sink: out");
    assert_int_equal(plan->vertices[1].first_task, 3);
    assert_int_equal(plan->task_count, 6);
    assert_int_equal(plan->slots_needed, 3);
    assert_int_equal(plan->region_count, 1);
    assert_int_equal(plan->task_region_count, 1);
    assert_int_equal(plan->vertices[0].output_count, 1);
    assert_int_equal(plan->vertices[1].inputs[0], 0);
    assert_int_equal(plan->edges[0].from_op, 1);
    assert_int_equal(plan->edges[0].to_op, 2);
    assert_int_equal(strlen(plan->vertices[0].id), 32);
    assert_int_equal(plan->vertices[0].max_parallelism, 128);
    weir_plan_free(plan);
}

static void chaining_off(void **state)
{
    (void)state;
    struct graph g;
    window_job(&g, 2);
    configure(&g, "pipeline.operator-chaining.enabled", "false");
    struct weir_plan *plan = must_build(&g);
    assert_int_equal(plan->vertex_count, 4);
    assert_int_equal(plan->edge_count, 3);
    assert_int_equal(plan->edges[0].partition, WEIR__PARTITION__FORWARD);
    weir_plan_free(plan);

    window_job(&g, 2);
    g.vertices[3].no_chaining = true;
    plan = must_build(&g);
    assert_int_equal(plan->vertex_count, 3);
    weir_plan_free(plan);

    window_job(&g, 2);
    g.vertices[1].parallelism = 3; /* unequal: FORWARD becomes REBALANCE */
    plan = must_build(&g);
    assert_int_equal(plan->vertex_count, 3);
    assert_int_equal(plan->edges[0].partition, WEIR__PARTITION__REBALANCE);
    assert_int_equal(plan->slots_needed, 3);
    weir_plan_free(plan);

    window_job(&g, 2);
    configure(&g, "pipeline.operator-chaining.enabled", "maybe");
    must_fail(&g, WEIR_ERR_INVALID, "maybe");
}

static void slot_sharing_groups(void **state)
{
    (void)state;
    struct graph g;
    window_job(&g, 2);
    weir__key_value__init(&g.group[0]);
    g.group[0].key = (char *)"slot-sharing-group";
    g.group[0].value = (char *)"other";
    g.group_list[0] = &g.group[0];
    g.vertices[1].options = g.group_list;
    g.vertices[1].n_options = 1;
    struct weir_plan *plan = must_build(&g);
    assert_int_equal(plan->vertex_count, 3); /* source | filter | window -> out: inherited */
    assert_string_equal(plan->vertices[0].slot_sharing_group, "default");
    assert_string_equal(plan->vertices[2].slot_sharing_group, "other");
    assert_int_equal(plan->slots_needed, 4);
    weir_plan_free(plan);
}

static void side_outputs_and_branches(void **state)
{
    (void)state;
    struct graph g;
    graph_init(&g);
    vertex(&g, 1, "datagen", "in", 0);
    Weir__Vertex *window = vertex(&g, 2, "window", "window", 0);
    window->n_side_outputs = 1;
    window->side_outputs = g.side_list;
    vertex(&g, 3, "print", "out", 0);
    vertex(&g, 4, "map", "fix", 0);
    vertex(&g, 5, "print", "late", 0);
    edge(&g, 1, 2, WEIR__PARTITION__HASH);
    edge(&g, 2, 3, WEIR__PARTITION__FORWARD);
    edge(&g, 2, 4, WEIR__PARTITION__FORWARD)->from_output = 1;
    edge(&g, 4, 5, WEIR__PARTITION__FORWARD);
    struct weir_plan *plan = must_build(&g);
    assert_int_equal(plan->vertex_count, 2);
    assert_string_equal(plan->vertices[1].name, "window -> (Sink: out, fix -> Sink: late)");
    assert_int_equal(plan->ops[3].upstream, 1);
    assert_int_equal(plan->ops[4].upstream, 3);
    json_t *json = weir_plan_json(plan, "00000000000000000000000000000001");
    json_t *first = json_array_get(json_object_get(json, "nodes"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "description")),
                        "window<br/>:- out<br/>+- fix<br/>   +- late<br/>");
    json_t *input = json_array_get(json_object_get(first, "inputs"), 0);
    assert_string_equal(json_string_value(json_object_get(input, "ship_strategy")), "HASH");
    assert_string_equal(json_string_value(json_object_get(input, "id")), plan->vertices[0].id);
    assert_null(json_object_get(json_array_get(json_object_get(json, "nodes"), 1), "inputs"));
    json_decref(json);
    weir_plan_free(plan);
    g.edges[2].from_output = 2;
    must_fail(&g, WEIR_ERR_INVALID, "output 2");
}

/* A diamond: the join has two inputs and so heads a chain; the branches chain to the source. */
static void diamond(void **state)
{
    (void)state;
    struct graph g;
    graph_init(&g);
    g.job.parallelism = 4;
    vertex(&g, 1, "datagen", "in", 0);
    vertex(&g, 2, "map", "same", 0);
    vertex(&g, 3, "map", "same", 0);
    vertex(&g, 4, "union", "both", 0);
    vertex(&g, 5, "print", "out", 0);
    edge(&g, 1, 2, WEIR__PARTITION__FORWARD);
    edge(&g, 1, 3, WEIR__PARTITION__FORWARD);
    edge(&g, 2, 4, WEIR__PARTITION__FORWARD);
    edge(&g, 3, 4, WEIR__PARTITION__FORWARD);
    edge(&g, 4, 5, WEIR__PARTITION__FORWARD);
    struct weir_plan *plan = must_build(&g);
    assert_int_equal(plan->vertex_count, 2);
    assert_int_equal(plan->vertices[1].input_count, 2);
    assert_string_not_equal(plan->ops[1].uid, plan->ops[2].uid); /* alike, and still told apart */
    assert_int_equal(plan->region_count, 1);
    assert_int_equal(plan->task_region_count, 4); /* forward edges: each subtask is a region of its own */
    for (int t = 0; t < 8; t++)
        assert_int_equal(plan->task_regions[t], t % 4);
    weir_plan_free(plan);
    g.vertices[2].uid = g.vertices[1].uid = (char *)"u";
    must_fail(&g, WEIR_ERR_EXISTS, "uid 'u'");
}

static void regions(void **state)
{
    (void)state;
    struct graph g;
    graph_init(&g);
    vertex(&g, 1, "splits", "splits", 1);
    vertex(&g, 2, "filesystem", "files", 2);
    vertex(&g, 3, "print", "out", 2);
    vertex(&g, 4, "datagen", "other", 2);
    vertex(&g, 5, "print", "end", 2);
    edge(&g, 1, 2, WEIR__PARTITION__ON_DEMAND);
    edge(&g, 2, 3, WEIR__PARTITION__FORWARD);
    edge(&g, 4, 5, WEIR__PARTITION__FORWARD);
    struct weir_plan *plan = must_build(&g);
    assert_int_equal(plan->vertex_count, 3);
    assert_string_equal(plan->vertices[0].name, "splits");
    assert_string_equal(plan->vertices[1].name, "Source: files -> Sink: out");
    assert_int_equal(plan->region_count, 2);
    assert_int_equal(plan->task_region_count, 3); /* coordinator and readers together; the other's subtasks apart */
    assert_int_equal(plan->task_regions[0], 0);
    assert_int_equal(plan->task_regions[2], 0);
    assert_int_equal(plan->task_regions[3], 1);
    assert_int_equal(plan->task_regions[4], 2);
    weir_plan_free(plan);
}

static void uids_are_stable(void **state)
{
    (void)state;
    struct graph g;
    window_job(&g, 1);
    struct weir_plan *before = must_build(&g);
    Weir__Vertex *swap = g.vertex_list[0]; /* the order in the message does not matter */
    g.vertex_list[0] = g.vertex_list[2];
    g.vertex_list[2] = swap;
    Weir__Edge *swap_edge = g.edge_list[0];
    g.edge_list[0] = g.edge_list[2];
    g.edge_list[2] = swap_edge;
    g.job.parallelism = 5; /* nor does parallelism */
    struct weir_plan *after = must_build(&g);
    for (int i = 0; i < 4; i++)
        assert_string_equal(before->ops[i].uid, after->ops[i].uid);
    weir_plan_free(after);
    g.vertices[1].uid = (char *)"mine";
    struct weir_plan *given = must_build(&g);
    assert_true(given->ops[1].uid_given);
    assert_string_equal(before->ops[0].uid, given->ops[0].uid);
    assert_string_not_equal(before->ops[1].uid, given->ops[1].uid);
    g.vertices[1].name = (char *)"renamed"; /* a given uid does not move with the name */
    struct weir_plan *renamed = must_build(&g);
    assert_string_equal(renamed->ops[1].uid, given->ops[1].uid);
    weir_plan_free(before);
    weir_plan_free(given);
    weir_plan_free(renamed);
}

static void bad_graphs(void **state)
{
    (void)state;
    struct graph g;
    graph_init(&g);
    must_fail(&g, WEIR_ERR_INVALID, "no vertices");
    window_job(&g, 1);
    g.job.version = 2;
    must_fail(&g, WEIR_ERR_UNSUPPORTED, "version 2");
    window_job(&g, 1);
    edge(&g, 3, 2, WEIR__PARTITION__REBALANCE);
    must_fail(&g, WEIR_ERR_INVALID, "cycle");
    window_job(&g, 1);
    edge(&g, 4, 1, WEIR__PARTITION__REBALANCE);
    must_fail(&g, WEIR_ERR_INVALID, "cycle");
    window_job(&g, 1);
    edge(&g, 1, 99, WEIR__PARTITION__FORWARD);
    must_fail(&g, WEIR_ERR_INVALID, "no vertex 99");
    window_job(&g, 1);
    g.vertices[2].id = 2;
    must_fail(&g, WEIR_ERR_INVALID, "two vertices have the id 2");
    window_job(&g, 1);
    g.edges[1].n_key = 0;
    must_fail(&g, WEIR_ERR_INVALID, "names no key");
    window_job(&g, 1);
    edge(&g, 1, 3, WEIR__PARTITION__FORWARD)->to_input = 0;
    must_fail(&g, WEIR_ERR_INVALID, "input 0");
    window_job(&g, 1);
    g.edges[1].to_input = 1;
    must_fail(&g, WEIR_ERR_INVALID, "not numbered");
    window_job(&g, 1);
    g.vertices[1].name = (char *)"bad \xff name";
    must_fail(&g, WEIR_ERR_INVALID, "UTF-8");
    graph_init(&g);
    vertex(&g, 1, "datagen", "alone", 1);
    must_fail(&g, WEIR_ERR_INVALID, "no sink");
    vertex(&g, 2, "map", "apart", 1);
    must_fail(&g, WEIR_ERR_INVALID, "nothing is connected");
}

static void parallelism_bounds(void **state)
{
    (void)state;
    struct graph g;
    window_job(&g, 1);
    g.vertices[0].parallelism = 40000;
    must_fail(&g, WEIR_ERR_INVALID, "job.c:12");
    g.vertices[0].parallelism = UINT32_MAX;
    must_fail(&g, WEIR_ERR_INVALID, "32768");
    g.vertices[0].parallelism = 3;
    g.job.max_parallelism = 2;
    must_fail(&g, WEIR_ERR_INVALID, "max parallelism of 2");
    g.job.max_parallelism = 40000;
    must_fail(&g, WEIR_ERR_INVALID, "32768");
    window_job(&g, 0);
    configure(&g, "parallelism.default", "0");
    must_fail(&g, WEIR_ERR_INVALID, "parallelism.default");
    window_job(&g, 0);
    configure(&g, "parallelism.default", "4");
    struct weir_plan *plan = must_build(&g);
    assert_int_equal(plan->vertices[0].parallelism, 4);
    weir_plan_free(plan);
    window_job(&g, 32768);
    must_fail(&g, WEIR_ERR_FULL, "subtasks");
}

/* Damaged and truncated bytes: an error or a plan, never a crash; and a bomb of empty messages meets the budget. */
static void damaged_bytes(void **state)
{
    (void)state;
    struct graph g;
    window_job(&g, 2);
    size_t size = weir__job_graph__get_packed_size(&g.job);
    uint8_t *good = malloc(size), *bad = malloc(size);
    weir__job_graph__pack(&g.job, good);
    struct weir_plan *plan;
    struct weir_error error;
    uint64_t random = 7;
    for (int round = 0; round < 20000; round++) {
        memcpy(bad, good, size);
        for (int k = 0; k < 1 + round % 4; k++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            bad[(random >> 33) % size] = (uint8_t)(random >> 24);
        }
        if (weir_plan_build(bad, round % 5 ? size : (random >> 40) % size, &defaults, &plan, &error) == WEIR_OK)
            weir_plan_free(plan);
        else
            assert_true(error.message[0]);
    }
    free(good);
    free(bad);
    assert_int_equal(weir_plan_build(NULL, 0, &defaults, &plan, &error), WEIR_ERR_INVALID);
    size = (size_t)8 << 20;
    uint8_t *bomb = malloc(size);
    for (size_t i = 0; i < size; i += 2) {
        bomb[i] = 3 << 3 | 2; /* vertices: empty */
        bomb[i + 1] = 0;
    }
    assert_int_equal(weir_plan_build(bomb, size, &defaults, &plan, &error), WEIR_ERR_FULL);
    assert_int_equal(weir_plan_build(bomb, WEIR_GRAPH_SIZE_MAX + 1, &defaults, &plan, &error), WEIR_ERR_FULL);
    free(bomb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chains_and_names),
        cmocka_unit_test(chaining_off),
        cmocka_unit_test(slot_sharing_groups),
        cmocka_unit_test(side_outputs_and_branches),
        cmocka_unit_test(diamond),
        cmocka_unit_test(regions),
        cmocka_unit_test(uids_are_stable),
        cmocka_unit_test(bad_graphs),
        cmocka_unit_test(parallelism_bounds),
        cmocka_unit_test(damaged_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
