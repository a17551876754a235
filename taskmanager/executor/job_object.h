/* Looking at a job's shared object before any of its code runs: file and ELF header, architecture, and the ABI that its descriptor
 * (weir_job_descriptor, weir/weir.h) asks for, read from the file.
 */
#ifndef WEIR_EXECUTOR_JOB_OBJECT_H
#define WEIR_EXECUTOR_JOB_OBJECT_H

#include "base/error.h"

/* INVALID, with a sentence that begins with the file's name: not there, not a shared object, cut off, for another machine, without
 * WEIR_JOB, of a newer ABI. Blocks for reading the file. */
weir_err weir_job_object_check(const char *path, struct weir_error *error);
/* The same; the sentence begins with `name`: what people call a file that is kept under another name. */
weir_err weir_job_object_check_as(const char *path, const char *name, struct weir_error *error);

#endif
