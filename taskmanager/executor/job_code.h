/* The job's shared object in an executor: loaded once, never unloaded (the process ends with the job). */
#ifndef WEIR_EXECUTOR_JOB_CODE_H
#define WEIR_EXECUTOR_JOB_CODE_H

#include <stdint.h>

#include "base/error.h"

struct weir_job_code;

/* `path` is verified already (by its SHA-256) and was loaded once by the child that built the graph. */
weir_err weir_job_code_open(const char *path, struct weir_job_code **code, struct weir_error *error);
/* Forgets it; the object stays loaded. NULL is fine. */
void weir_job_code_free(struct weir_job_code *code);
/* A FunctionRef's offset -> address; PROTOCOL when it does not lie inside the object. */
weir_err weir_job_code_resolve(const struct weir_job_code *code, uint64_t offset, void **address,
                               struct weir_error *error);

#endif
