/* Publishing and removing output by a connector that the job's shared object brings: in a child process, because its code is never loaded
 * into the TaskManager. The child is this binary, `weir-taskmanager job-output JOB.so`, with the packed Control (CommitOutput or
 * AbortOutput) on standard input; an error is a sentence on standard output and exit code 1.
 */
#ifndef WEIR_TASKMANAGER_IO_JOB_OUTPUT_H
#define WEIR_TASKMANAGER_IO_JOB_OUTPUT_H

#include "base/error.h"
#include "control.pb-c.h"

/* Does it all in this process, by connectors that are known here. */
weir_err weir_job_output_perform(const Weir__Control *control, struct weir_error *error);
weir_err weir_job_output_abort(const uint8_t *graph, size_t size, const char *job_id, struct weir_error *error);
/* Is every connector that it names known here? Then no child is needed. */
bool weir_job_output_is_known(const Weir__Control *control);
/* Does it in a child that loads `code_path` first. Blocks, for at most timeout_ms. */
weir_err weir_job_output_run(const char *code_path, const Weir__Control *control, int64_t timeout_ms,
                             struct weir_error *error);
/* The child. argv[0] is "job-output". */
int weir_job_output_main(int argc, char **argv);

#endif
