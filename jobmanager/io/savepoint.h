/* Savepoints, and checkpoints of other jobs, as directories: found, read and checked, copied, removed. All calls block; paths come from
 * people: every mistake is a sentence that says what to do.
 *
 * A PATH is the directory of a savepoint (it has _metadata), or of a checkpoint (jobs/<id>/chk-<n>, it has metadata), or that object in
 * it: file:///DIR, s3://BUCKET/PREFIX, or an absolute path.
 */
#ifndef WEIR_JOBMANAGER_IO_SAVEPOINT_H
#define WEIR_JOBMANAGER_IO_SAVEPOINT_H

#include "base/config.h"
#include "jobmanager/core/jm.h"
#include "store/store.h"

struct weir_savepoint {
    Weir__Snapshot *snapshot; /* NULL: taken by the caller */
    char *path;               /* of its directory, as a URI */
    char *uri;                /* the store in which its objects have the names that the snapshot says */
};
/* Everything that it needs is there, with the size that it needs; contents are checked when they are read. `config`: s3.* keys. NOT_FOUND, INVALID,
 * DATA (CHECKPOINT_CORRUPT). */
weir_err weir_savepoint_read(const char *path, const struct weir_config *config, struct weir_savepoint *out,
                             struct weir_error *error);
void weir_savepoint_fini(struct weir_savepoint *savepoint);

/* A directory in which savepoints are to be made: it is there afterwards, and can be written to. *uri is freed by the caller. */
weir_err weir_savepoint_target(const char *directory, const struct weir_config *config, char **uri,
                               struct weir_error *error);

/* Removes a savepoint's directory; no other kind. */
weir_err weir_savepoint_dispose(const char *path, const struct weir_config *config, struct weir_error *error);

weir_err weir_savepoint_copy(struct weir_store *from, struct weir_store *to, const struct weir_jm_copy *copy,
                             struct weir_error *error);
/* Every object of the store whose key begins so. */
weir_err weir_savepoint_remove(struct weir_store *store, const char *prefix, struct weir_error *error);

#endif
