/* The JobManager's requests to the object store, off its loop: graphs, code, metadata objects, HEAD, garbage. Each runs on the pool and ends as one event
 * for the core; the loop is woken and takes them. Bounded by what the core has under way: a few per job.
 *
 * The objects: job_files.h.
 */
#ifndef WEIR_JOBMANAGER_IO_JOB_STORE_H
#define WEIR_JOBMANAGER_IO_JOB_STORE_H

#include "base/config.h"
#include "base/pool.h"
#include "jobmanager/core/jm.h"

struct weir_job_store;

/* Opens `uri`, with the s3.* keys of `config` (borrowed), and shows that conditional writes work there: blocks for a moment. `code_dir` (NULL: none): jobs'
 * shared objects, from which those of submissions are stored and into which those of recovered jobs are put. `wake` is called, on any
 * thread, when something can be taken. NULL and error: not usable. */
struct weir_job_store *weir_job_store_new(const char *uri, const struct weir_config *config, struct weir_pool *pool,
                                          const char *code_dir, void (*wake)(void *arg), void *arg,
                                          struct weir_error *error);
const char *weir_job_store_uri(const struct weir_job_store *store);
/* Waits for what is under way, for 3 s at most; what takes longer ends with the process. NULL is allowed. */
void weir_job_store_free(struct weir_job_store *store);

/* One of STORE_*, HEAD_*, JOB_STORE, JOBS_LIST, JOB_READ; what it points to is copied. */
void weir_job_store_begin(struct weir_job_store *store, const struct weir_jm_effect *effect);
/* The event of one that has ended; its strings are good until the next call. JOB_READ: plan and options are to be added. False: none. */
bool weir_job_store_take(struct weir_job_store *store, struct weir_jm_event *event);

#endif
