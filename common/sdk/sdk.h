/* Running the build of a job: what the process that loaded the shared object calls.
 *
 *     job = weir_sdk_begin(&request);  weir_sdk_build(job, descriptor);
 *     if (weir_sdk_help_wanted(job)) weir_sdk_help(job, out); else ok = weir_sdk_end(job, &graph, &errors);
 *     weir_sdk_free(job);
 *
 * One thread, one build at a time. The graph that comes out is as recorded: weir_graph_check() (common/graph/check.h) completes and
 * checks it.
 */
#ifndef WEIR_SDK_SDK_H
#define WEIR_SDK_SDK_H

#include "base/options.h"
#include "graph.pb-c.h"
#include "graph/graph_errors.h"
#include "weir/weir.h"

struct weir_sdk_request {
    const char *name;                           /* over the job's own; NULL: that */
    int parallelism;                            /* over the job's own; 0: that */
    const struct weir_key_value *configuration; /* -D */
    int configuration_count;
    const char *const *arguments; /* what follows the shared object on the command line */
    int argument_count;
    const char *code_name;   /* file name of the shared object, or NULL */
    const char *code_sha256; /* 64 hex digits, or NULL */
};

struct weir_job *weir_sdk_begin(const struct weir_sdk_request *request);
void weir_sdk_build(struct weir_job *job, const struct weir_job_descriptor *descriptor);
/* --help or -h is among the arguments. */
bool weir_sdk_help_wanted(const struct weir_job *job);
/* A line for each argument that the job asked for; false: out is full. */
bool weir_sdk_help(const struct weir_job *job, struct weir_buf *out) __attribute__((warn_unused_result));
/* The graph is made in any case, so that the rest of it can be checked too; *graph is freed with weir__job_graph__free_unpacked(graph,
 * NULL). False: `errors` (the caller's, added to) has something. */
bool weir_sdk_end(struct weir_job *job, Weir__JobGraph **graph, struct weir_graph_errors *errors);
void weir_sdk_free(struct weir_job *job);

/* The schema that a row type declares. INVALID: a field whose C type does not fit, a doubled name, NULL without room for it. */
struct weir_schema;
weir_err weir_sdk_row_schema(const struct weir_row_type *type, struct weir_schema **schema, struct weir_error *error);

#endif
