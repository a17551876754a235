/* What the object store has of a job: graph, code, HEAD, metadata. All calls block; they are made on the pool (job_store.c).
 *
 * Objects begin with 16 bytes: "WEIR" and a kind, then the XXH3 of the rest. The shared object is a plain file, known by its SHA-256.
 * What is missing or does not fit is CORRUPT, with a text that names the object.
 */
#ifndef WEIR_JOBMANAGER_IO_JOB_FILES_H
#define WEIR_JOBMANAGER_IO_JOB_FILES_H

#include "jobmanager/core/jm.h"
#include "store/store.h"

#define WEIR_JOB_ENVELOPE_SIZE 16 /* statefile/metadata.h */

/* `out` has room for the envelope and `size` bytes. */
void weir_job_seal(const char kind[4], const uint8_t *bytes, size_t size, uint8_t *out);
/* The rest is what was sealed. */
bool weir_job_unseal(const char kind[4], const uint8_t *bytes, size_t size);

/* jobs/<id>/graph-<sha256>, and jobs/<id>/code-<sha256> from `code_dir`/<sha256>.so; "": no code. */
weir_err weir_job_files_put(struct weir_store *store, const char *job_id, const uint8_t *graph, size_t graph_size,
                            const char *code_sha256, const char *code_dir, struct weir_error *error);

/* The jobs that have objects ("jobs/<id>/", without an age), sorted. objects[i].key and objects are freed by the caller. */
weir_err weir_job_files_list_jobs(struct weir_store *store, struct weir_jm_object **objects, int *count,
                                  struct weir_error *error);
/* Likewise the objects whose key begins with `prefix` and is greater than `after`, a page of them. *more: there may be others behind it. */
weir_err weir_job_files_list(struct weir_store *store, const char *prefix, const char *after,
                             struct weir_jm_object **objects, int *count, bool *more, struct weir_error *error);
/* Removes what begins with `prefix`, if nothing there is younger than `age_ms`. */
weir_err weir_job_files_remove(struct weir_store *store, const char *prefix, int64_t age_ms, struct weir_error *error);

struct weir_job_files {
    enum weir_jm_read_result result;
    struct weir_error error; /* FAILED, CORRUPT */
    struct weir_store_tag tag;
    Weir__Head *head; /* NULL: there is none, or it is what is corrupt */
    struct weir_buf graph;
    Weir__Snapshot **snapshots; /* by head->retained; NULL where it is corrupt */
};
/* The code is put into `code_dir` when it is not there and the job still needs it; NULL: not looked at. */
void weir_job_files_get(struct weir_store *store, const char *job_id, const char *code_dir, struct weir_job_files *out);
void weir_job_files_fini(struct weir_job_files *files);

#endif
