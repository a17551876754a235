/* RocksDB as a place on this host's disk for state that memory has no room for: sorted keys to values, of one executor.
 *
 * It is a cache of what checkpoints have, or of what is in no checkpoint yet: gone with its executor. Hence no log, and a directory
 * of its own that is made by weir_rocks_new() and deleted by weir_rocks_free(). RocksDB itself is opened by the first write: an executor whose
 * state fits into memory has no files, no threads and no memory of it.
 *
 * Any thread. Calls read and write this host's disk, and may wait for it.
 */
#ifndef WEIR_TASKMANAGER_STATE_ROCKS_H
#define WEIR_TASKMANAGER_STATE_ROCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define WEIR_ROCKS_MEMORY_MIN ((size_t)1 << 20)

struct weir_rocks; /* opaque */
/* Makes `directory`, with those above it, and sees that files can be written there; what is in it already is deleted. memory: what RocksDB
 * may hold in block cache and write buffers, at least WEIR_ROCKS_MEMORY_MIN; indexes and filters of its files come on top, see
 * weir_rocks_memory(). IO: what is wrong with the directory, and what to do. */
weir_err weir_rocks_new(const char *directory, size_t memory, struct weir_rocks **rocks, struct weir_error *error);
/* One that could not write (a full disk) or read goes on failing when there is room again: in its place comes one in DIRECTORY.2, .3, ... for
 * those who begin anew; the reference goes over to it. One that has not failed stays. IO: as above. */
weir_err weir_rocks_renew(struct weir_rocks **rocks, struct weir_error *error);
struct weir_rocks *weir_rocks_ref(struct weir_rocks *rocks);
void weir_rocks_free(
    struct weir_rocks *rocks); /* a reference; NULL is allowed. With the last one no iterator or snapshot is left */
uint32_t weir_rocks_number(struct weir_rocks *rocks); /* 1, 2, ...: to begin one's keys with */
/* Memory in bytes: block cache, write buffers, indexes and filters. Looked up at most every few milliseconds. */
size_t weir_rocks_memory(struct weir_rocks *rocks);
/* How many share it; and for each its part of what weir_rocks_memory() is beyond `memory`. */
void weir_rocks_share(struct weir_rocks *rocks, int change);
size_t weir_rocks_excess(struct weir_rocks *rocks);
/* Deletes what the directory of an executor that was killed has left. */
void weir_rocks_forget(const char *directory);

struct weir_rocks_entry {
    const uint8_t *key, *value;
    uint32_t key_size, value_size;
    bool removed; /* the key goes */
};
/* Many entries one by one, ascending by key (bytes, then length), each key once; all or nothing. `count`: about how many; many become a file of
 * their own, which is far cheaper. Errors of put are end's. begin that fails makes nothing; end always frees. */
struct weir_rocks_writer;
weir_err weir_rocks_begin(struct weir_rocks *rocks, size_t count, struct weir_rocks_writer **writer,
                          struct weir_error *error);
void weir_rocks_put(struct weir_rocks_writer *writer, const uint8_t *key, size_t key_size, const uint8_t *value,
                    size_t value_size);
weir_err weir_rocks_end(struct weir_rocks_writer *take_writer, struct weir_error *error);
/* The same at once. */
weir_err weir_rocks_write(struct weir_rocks *rocks, const struct weir_rocks_entry *entries, size_t count,
                          struct weir_error *error);
/* All keys that begin with `prefix` go. */
weir_err weir_rocks_drop(struct weir_rocks *rocks, const uint8_t *prefix, size_t prefix_size, struct weir_error *error);

struct weir_rocks_slice {
    const uint8_t *bytes; /* NULL: there is no such key */
    size_t size;
    void *pin;
};
/* Values of `count` keys (ascending is faster), fetched together; free them all with weir_rocks_release(). */
weir_err weir_rocks_get(struct weir_rocks *rocks, const uint8_t *const *keys, const size_t *key_sizes, size_t count,
                        struct weir_rocks_slice *values, struct weir_error *error);
void weir_rocks_release(struct weir_rocks_slice *values, size_t count);

/* What is there now, whatever is written later. */
struct weir_rocks_snapshot;
struct weir_rocks_snapshot *weir_rocks_snapshot_new(struct weir_rocks *rocks);
void weir_rocks_snapshot_free(struct weir_rocks *rocks, struct weir_rocks_snapshot *snapshot);

/* Keys that begin with `prefix`, in order, as of the snapshot (NULL: of now). */
struct weir_rocks_iterator;
struct weir_rocks_iterator *weir_rocks_iterate(struct weir_rocks *rocks, const uint8_t *prefix, size_t prefix_size,
                                               const struct weir_rocks_snapshot *snapshot);
/* *more false: that was all. Key and value are valid until the next call. */
weir_err weir_rocks_next(struct weir_rocks_iterator *iterator, struct weir_rocks_entry *entry, bool *more,
                         struct weir_error *error);
void weir_rocks_iterator_free(struct weir_rocks_iterator *iterator); /* NULL is allowed */

#endif
