/* Private to common/sdk: the job and its streams while they are recorded. All memory is the job's arena. */
#ifndef WEIR_SDK_SDK_INT_H
#define WEIR_SDK_SDK_INT_H

#include "graph/plan.h"
#include "sdk/sdk.h"

#define SDK_INPUTS_MAX 16 /* struct weir_op_plan.inputs */
#define SDK_ARGUMENTS_MAX 256

struct sdk_option {
    const char *key, *value;
};

struct sdk_vertex {
    uint32_t id; /* from 1 */
    const char *op;
    const char *name;
    bool name_given;
    const char *uid;      /* "" */
    const char *location; /* "job.c:42" */
    struct sdk_option *options;
    int option_count, option_capacity;
    struct weir_schema *declared; /* one reference, or NULL */
    int parallelism;              /* 0: the job's */
    bool no_chaining;
    const void *function, *function2, *on_timer; /* the last two: process */
    const struct weir_row_type *row_in, *row_in2, *row_out;
    const struct weir_state_decl **states; /* process: state_count of them */
    int state_count;
    const struct weir_side_decl *sides[2]; /* process: outputs 1 and 2, those that are read; or NULL */
    struct weir_stream *inputs[SDK_INPUTS_MAX];
    int input_count;
    bool takes_aggregate; /* a window that still has none */
    struct sdk_vertex *next;
};

struct weir_stream {
    struct weir_job *job;
    struct sdk_vertex *vertex; /* NULL: it came of a call on nothing; every call on it is ignored */
    int output;                /* 0, 1 late, 2 bad */
    Weir__Partition partition;
    const char **key;
    int key_count;
};

struct sdk_asked { /* an argument that the job looked for */
    const char *name, *fallback, *kind;
};

struct weir_job {
    struct weir_arena arena;
    struct weir_sdk_request request;
    const char *name; /* given by weir_job_name(), or the descriptor's */
    int parallelism;
    const void *code_base; /* load address of the object that the job is in */
    struct sdk_vertex *vertices, **vertices_end;
    int vertex_count;
    struct sdk_asked asked[SDK_ARGUMENTS_MAX];
    int asked_count;
    struct weir_graph_errors errors;
};

extern _Thread_local struct weir_job *weir_sdk_current; /* the job being built: for calls on a NULL stream */

const char *weir_sdk_location(struct weir_job *job, const char *file, int line);
/* Records the first error of a vertex (NULL: of the job). */
void weir_sdk_error(struct weir_job *job, struct sdk_vertex *vertex, const char *file, int line, const char *format,
                    ...) __attribute__((format(printf, 5, 6)));
/* Sets or replaces an option. */
void weir_sdk_set(struct weir_job *job, struct sdk_vertex *vertex, const char *key, const char *value);
const char *weir_sdk_get(const struct sdk_vertex *vertex, const char *key);

/* A new vertex with one input (NULL: none yet) and the stream of its output; never NULL. */
struct weir_stream *weir_sdk_vertex(struct weir_job *job, const char *file, int line, const char *op, const char *name,
                                    struct weir_stream *input);
/* Is it in the object that the job is in? Its offset from there is how the cluster finds it. */
bool weir_sdk_in_job(const struct weir_job *job, const void *address);
/* Checks that the stream can be read on: not NULL, not a sink's, not an unfinished window. `what` is the call's name. On false,
 * *nothing is the stream to return. */
bool weir_sdk_usable(struct weir_stream *stream, const char *file, int line, const char *what,
                     struct weir_stream **nothing);
struct weir_stream *weir_sdk_stream(struct weir_job *job, struct sdk_vertex *vertex, int output);
/* Sources with "dead-letter.*" get a sink. */
void weir_sdk_expand_dead_letters(struct weir_job *job);
/* Arguments that were given and never asked for. */
void weir_sdk_check_arguments(struct weir_job *job);

#endif
