/* Completing and type-checking a JobGraph with the operator table at hand.
 *
 * Walks the vertices in topological order and asks each operator's plan() (taskmanager/ops/op.h) for the schemas it gives, so
 * that a wrong option, a wrong expression and a type that does not fit are found before anything runs. All errors are
 * reported; what lies behind a broken vertex is not blamed for it.
 *
 * What it adds to the graph: a vertex "splits" before each source whose connector has a coordinator; "time.column" of event-time
 * windows; parallelism 1 for sources whose connector cannot have more; the schemas of every output. Checking a graph that is
 * complete already changes nothing.
 *
 * Runs in the child process that builds the graph. It has no user code to call: functions are references only.
 */
#ifndef WEIR_GRAPH_CHECK_H
#define WEIR_GRAPH_CHECK_H

#include "base/error.h"
#include "graph.pb-c.h"
#include "graph/graph_errors.h"

struct weir_op_vtable;

struct weir_graph_source {
    bool has_splits;     /* a coordinator hands out its parts */
    int parallelism_max; /* 0: any */
};

/* The tables of the task side, which common/ does not link. */
struct weir_graph_ops {
    weir_err (*find_op)(const char *name, const struct weir_op_vtable **vtable, struct weir_error *error);
    /* Of a source connector; an error is an unknown one. */
    weir_err (*find_source)(const char *connector, struct weir_graph_source *source, struct weir_error *error);
};

/* True: no errors in `errors`, which may already hold some (their vertices are left out). */
bool weir_graph_check(Weir__JobGraph *graph, const struct weir_graph_ops *ops, struct weir_graph_errors *errors);

#endif
