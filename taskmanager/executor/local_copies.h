/* Copies of a job's checkpoint objects on this host, for its next executor here: what it restores it reads from them, and what is missing or
 * damaged from the store. The directory belongs to the TaskManager, which outlives its executors (taskmanager/io/local_state.h).
 *
 * A file holds all bytes of one object, under the object's name. Kept is what tasks of this executor need of the newest checkpoint that is
 * known to be complete and of later ones. Copies are a convenience: whatever goes wrong with one is no error, the store has it all. They are
 * not synced: they are for a host that goes on. Nobody but the reader's checksum (that of the part, in the checkpoint's metadata) says
 * that a copy is whole.
 *
 * Any thread.
 */
#ifndef WEIR_EXECUTOR_LOCAL_COPIES_H
#define WEIR_EXECUTOR_LOCAL_COPIES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct weir_local_copies; /* opaque */

/* The directory is made where it is missing; copies that are in it are known from then on. size_max: bytes of all copies of the job; nothing is
 * copied either where the disk has less than 5 % left. */
weir_err weir_local_copies_open(const char *directory, const char *job_id, int64_t size_max,
                                struct weir_local_copies **out, struct weir_error *error);
struct weir_local_copies *weir_local_copies_ref(struct weir_local_copies *copies); /* NULL is allowed, here and below */
void weir_local_copies_unref(struct weir_local_copies *copies);

/* A file for the copy of an object of `size` bytes, to be filled; -1: there is to be none (no room, no such directory, another
 * job's object, somebody is about it).
 * Ended by _keep, with the same fd, or _drop. */
int weir_local_copies_create(struct weir_local_copies *copies, const char *object, int64_t size);
void weir_local_copies_keep(struct weir_local_copies *copies, const char *object, int64_t size, int fd);
void weir_local_copies_drop(struct weir_local_copies *copies, const char *object, int64_t size, int fd);
/* All of them, in pieces, between which others have the core; false: not, errno says why. */
bool weir_local_write(int fd, const void *bytes, size_t size);
/* Of bytes in memory: all of it. */
void weir_local_copies_put(struct weir_local_copies *copies, const char *object, const void *bytes, int64_t size);

/* [offset, offset + size) of an object's copy in memory, read-only; *base and *length for munmap(). False: there is no such copy. */
bool weir_local_copies_map(struct weir_local_copies *copies, const char *object, int64_t offset, int64_t size,
                           const uint8_t **bytes, void **base, int64_t *length);
/* It was damaged. */
void weir_local_copies_forget(struct weir_local_copies *copies, const char *object);

/* The task's part of a checkpoint is in these objects; checkpoint 0: of every later one. Strings are copied. */
void weir_local_copies_refer(struct weir_local_copies *copies, uint32_t vertex, uint32_t subtask, uint64_t checkpoint,
                             const char *const *objects, int count);
/* It is a savepoint: no copies are made of it, and what it builds on stays. */
void weir_local_copies_savepoint(struct weir_local_copies *copies, uint64_t checkpoint);
/* The newest checkpoint that is complete: what only earlier ones need goes. */
void weir_local_copies_complete(struct weir_local_copies *copies, uint64_t checkpoint);

#endif
