/* Building a job's graph in a child process: its code never runs in the caller.
 *
 * The child is this machine's weir-taskmanager in the mode build-job (taskmanager/executor/build_job.h), in a process group of its own,
 * with a small environment, limits on memory, CPU time, open files and file sizes, and without core files. It is killed when it is not
 * done in time; what it prints is bounded. Blocks for up to timeout_ms. Thread-safe.
 */
#ifndef WEIR_GRAPH_BUILD_CLIENT_H
#define WEIR_GRAPH_BUILD_CLIENT_H

#include <stdint.h>

#include "base/options.h"

struct weir_job_build {
    const char *binary; /* path of weir-taskmanager */
    const char *path;   /* of the shared object */
    bool is_graph;      /* `path` is a serialized JobGraph from outside, to be completed and checked: no code is run */
    const char *code_name;        /* what people call it, when `path` is not that; NULL: the last part of path */
    const char *name;             /* of the job; NULL: its own */
    int parallelism;              /* 0: its own */
    const char *const *arguments; /* of the job */
    int argument_count;
    const struct weir_key_value *configuration; /* -D of the submission: into the graph */
    int configuration_count;
    int64_t timeout_ms;   /* wall and CPU time; 0: 10 s */
    int64_t memory_bytes; /* address space; 0: 1 GiB */
    int files_max;        /* open files; 0: 64 */
    /* Optional results, the caller's to free(); NULL: not wanted. They are set to NULL when there is nothing. */
    char **errors; /* every error, one a line (the error's message holds as many of them as fit) */
    char **help;   /* the job was asked for --help: the code is CANCELED and this its arguments */
    char **log;    /* what the job printed, cut at 64 KiB; where this is NULL it goes to standard error */
};

/* On success *graph (size *graph_size, free()) is a serialized JobGraph, completed and checked. INVALID: errors of the job; USER_CODE: it
 * crashed; TIMEOUT; FULL: it printed too much; CANCELED: --help; IO: the child could not be run. */
weir_err weir_job_build(const struct weir_job_build *build, uint8_t **graph, size_t *graph_size,
                        struct weir_error *error);

#endif
