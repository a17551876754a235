/* From a JobGraph to a physical plan: checks, chaining, parallelism, regions.
 *
 * Pure and deterministic: the JobManager, every executor and `weir info` derive the same plan from the same bytes, so that
 * a deployment names only (vertex, subtask, attempt). Terms are Flink's: a plan vertex is a chain of operators (a JobVertex),
 * its subtasks are the tasks.
 *
 * Checks (each a sentence with the vertex's name and location): version, ids unique, edges between known vertices, no cycle,
 * at least one source and one sink, 1 <= parallelism <= max parallelism <= 32768, names and sizes bounded, HASH edges have keys.
 * Types and options are checked where the operator table is at hand, by weir_graph_check() through `struct weir_graph_ops`.
 */
#ifndef WEIR_GRAPH_PLAN_H
#define WEIR_GRAPH_PLAN_H

#include "base/error.h"
#include "graph.pb-c.h"

#define WEIR_GRAPH_VERTICES_MAX 1000
#define WEIR_GRAPH_SIZE_MAX ((size_t)16 << 20) /* serialized */
#define WEIR_VERTEX_ID_SIZE 33                 /* 32 hex digits and the end */

struct weir_plan_op {
    const Weir__Vertex *vertex;    /* borrowed from the graph */
    int index;                     /* in weir_plan.ops */
    int chain;                     /* the plan vertex it is in */
    int upstream;                  /* op before it in the chain; -1: the chain's head */
    char uid[WEIR_VERTEX_ID_SIZE]; /* 32 hex: hash of the given uid, or of (op, name, upstreams' uids) */
    bool uid_given;
};

/* One subtask-to-subtask fan of channels between two chains. Edge number = index in weir_plan.edges. */
struct weir_plan_edge {
    const Weir__Edge *edge;
    int from_op, to_op;         /* op indexes */
    int from_vertex, to_vertex; /* plan vertex indexes */
    Weir__Partition partition;  /* after FORWARD became REBALANCE where parallelisms differ */
};

struct weir_plan_vertex {
    char id[WEIR_VERTEX_ID_SIZE]; /* 32 hex, derived from the head's uid */
    char *name; /* "Source: readings -> filter -> Sink: out", Flink's way: ", " and parentheses for branches */
    int parallelism, max_parallelism;
    int op_count;
    int *ops;   /* op indexes; [0] is the head; a parent comes before its children */
    int region; /* 0..region_count-1: weakly connected by pipelined edges */
    int input_count, output_count;
    int *inputs;              /* edge indexes into the head, by input number then edge number */
    int *outputs;             /* edge indexes */
    char *slot_sharing_group; /* "default"; option slot-sharing-group of an operator, inherited from its first input */
    int first_task;           /* index of subtask 0 among the plan's tasks (vertices in order, then subtasks) */
};

struct weir_plan {
    Weir__JobGraph *graph; /* owned */
    int op_count, vertex_count, edge_count, region_count;
    struct weir_plan_op *ops;          /* topological order */
    struct weir_plan_vertex *vertices; /* topological order */
    struct weir_plan_edge *edges;      /* between chains only */
    int task_count;                    /* sum of parallelisms */
    int *task_regions;     /* per task: pipelined region by subtasks (a FORWARD edge joins subtask i with i only), */
    int task_region_count; /* numbered in order of their first task: what restarts together */
    int slots_needed;      /* the largest parallelism per slot sharing group, summed */
};

struct weir_plan_options {
    int parallelism_override; /* of vertices without one, whatever the graph has; 0: none */
    int parallelism;          /* of vertices without one, when the graph has none; at least 1 */
    int max_parallelism;      /* when the graph has none */
    bool chaining;            /* pipeline.operator-chaining.enabled; the graph's own configuration wins */
};

/* The 32 hex digits of a uid that the job gave. */
void weir_plan_given_uid(const char *given, char out[WEIR_VERTEX_ID_SIZE]);

/* `bytes` from outside. On success *plan owns everything. */
weir_err weir_plan_build(const uint8_t *bytes, size_t size, const struct weir_plan_options *options,
                         struct weir_plan **plan, struct weir_error *error);
void weir_plan_free(struct weir_plan *plan);
/* The alignment group of a source; NULL: it is in none. */
const char *weir_plan_alignment_group(const struct weir_plan_op *op);
/* Flink's {jid, name, type, nodes[]} as in rest-api.md ("plan"), a new jansson object (struct json_t *). */
struct json_t;
struct json_t *weir_plan_json(const struct weir_plan *plan, const char *job_id);

#endif
