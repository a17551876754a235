/* `weir run --local`: JobManager, TaskManager and executor in this one process, for debuggers and for speed of start. */
#ifndef WEIR_CLIENT_LOCAL_H
#define WEIR_CLIENT_LOCAL_H

#include "base/options.h"

struct weir_local_job {
    const char *path; /* of the shared object */
    const char *name; /* NULL: the job's own */
    int parallelism;  /* 0: parallelism.default */
    char **arguments; /* of the job */
    int argument_count;
    const struct weir_key_value *overrides; /* -D */
    int override_count;
};
struct weir_client;
/* Runs the job to its end, or until Ctrl-C, which cancels it. Returns the exit code. Blocks. */
int weir_local_run(struct weir_client *client, const struct weir_local_job *job);

#endif
