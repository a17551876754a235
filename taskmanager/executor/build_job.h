/* The child process that loads a job's shared object and prints its graph: the hidden mode
 *     weir-taskmanager build-job [--name N] [-p N] [-D k=v]... [--code-name F] [--memory BYTES] [--cpu S] [--files N] [--] JOB.so [args...]
 *
 * Standard output carries exactly one thing: with exit code 0 a serialized JobGraph, with 1 the errors as text, one a line, with 3 the
 * job's arguments (--help). What the job itself prints goes to standard error. Called by weir_job_build() (common/graph/build_client.h).
 */
#ifndef WEIR_EXECUTOR_BUILD_JOB_H
#define WEIR_EXECUTOR_BUILD_JOB_H

/* argv[0] is "build-job". Returns the exit code. User code may do anything to this process: call it in one that has nothing else to do. */
int weir_build_job_main(int argc, char **argv);

#endif
