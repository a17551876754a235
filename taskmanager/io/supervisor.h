/* The TaskManager's process: how it is started, by taskmanager/main.c and by `weir run --local`. */
#ifndef WEIR_TASKMANAGER_IO_SUPERVISOR_H
#define WEIR_TASKMANAGER_IO_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"
#include "base/error.h"
#include "net/curve.h"

#define WEIR_SUPERVISOR_MEMORY_AUTO (-1)

struct weir_supervisor_options {
    void *zmq_context;           /* borrowed; NULL: one of its own */
    const char *rpc_endpoint;    /* the JobManager's: "tcp://HOST:PORT", "inproc://NAME" */
    const char *rest_url;        /* the JobManager's, for job code: "http://HOST:PORT" */
    const char *rest_token_file; /* borrowed: read for each request to it; NULL: it wants none */
    const char *rest_ca_file;    /* of an https URL; NULL: the system's */
    const struct weir_curve
        *curve;            /* borrowed; NULL or off: no keys, neither to the JobManager nor between executors */
    const char *host;      /* under which others reach this one */
    const char *bind_host; /* where executors listen; NULL: host */
    const char *name;      /* "taskmanager-1": opens the executors' log names */
    const char *run_directory, *log_directory, *code_directory;
    const char *state_directory; /* its executors' alone; NULL: they make one below $TMPDIR */
    const char *local_directory; /* for local copies of checkpoints, a directory for each job; NULL: none are made */
    int64_t local_size_max;      /* of one job's */
    uint32_t slots;
    uint32_t port_first, port_last; /* for executors; 0: any */
    /* Resident bytes; an executor that uses more is killed with a report. 0: no limit; WEIR_SUPERVISOR_MEMORY_AUTO: each slot's part of
     * the memory limit of this process's control group, where it has one. */
    int64_t executor_memory_max;
    int64_t executor_silence_ms; /* an executor that is silent for so long is killed; 0: never */
    int64_t output_size_max;     /* of what executors print; then it is rotated */
    bool output_inherited; /* executors log and print to this process's standard error and output instead of files */
    int status_fd;         /* of weir_status_listen(); 0 or -1: none */
    int stop_fd;           /* readable: end; -1: never */
    /* `weir run --local`: the executor is a thread of this process and this is the job's shared object; else NULL. */
    const char *local_code;
    const struct weir_config
        *config; /* borrowed: s3.* of it, by which executors reach checkpoints; NULL: no such keys */
    char *const *executor_arguments; /* more arguments for an executor process, NULL-terminated; may be NULL */
    /* Called by the supervisor's thread at the first registration; may be NULL. */
    /* An error ends the run: a TaskManager that cannot say that it is there is not left half started. */
    weir_err (*registered)(void *arg, const char *taskmanager_id, struct weir_error *error);
    void *arg;
};
/* Runs until stop_fd is readable; then stops its executors. Blocks. */
weir_err weir_supervisor_run(const struct weir_supervisor_options *options, struct weir_error *error);

#endif
