/* An object store: immutable objects under keys, and conditional writes for the few that change. A directory (`file:///var/lib/weir` or a
 * path) or S3 (`s3://bucket/prefix`), behind one vtable.
 *
 * All calls block, for a bounded time, and may come from any thread. Keys are "a/b/c": 1 to 1024 bytes, segments that are not empty and
 * do not begin with a dot; DATA where another one is to be read. Errors: NOT_FOUND no such object; EXISTS a condition did not hold; INVALID what a person must change (no such
 * bucket, refused credentials, not a directory); IO and TIMEOUT what may pass (repeated already, where a repeat is safe); DATA a
 * checksum that does not fit. `error->effect` says whether a failed write may have happened all the same.
 *
 * Conditional writes are not repeated after a lost reply: a repeat could meet its own success as EXISTS. Whoever writes conditionally puts
 * a nonce into the object, and after EXISTS, IO or TIMEOUT reads and compares it.
 */
#ifndef WEIR_STORE_STORE_H
#define WEIR_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"
#include "base/error.h"
#include "base/mem.h"

#define WEIR_STORE_KEY_SIZE_MAX 1024
#define WEIR_STORE_DELETE_MAX 1000 /* keys of one weir_store_delete() */

struct weir_store; /* opaque */

struct weir_store_tag { /* a version of an object (S3's ETag): equal tags, equal bytes */
    char text[128];
};

enum weir_store_condition {
    WEIR_STORE_ALWAYS,
    WEIR_STORE_IF_ABSENT, /* there is no such object */
    WEIR_STORE_IF_MATCH   /* it has this tag */
};

struct weir_store_entry {
    char *key;
    int64_t size;
    int64_t modified_ms; /* by the store's clock */
};

/* `uri`: file:PATH, file://PATH, s3://BUCKET[/PREFIX], or a path. The s3.* keys of `config` are read. Makes no request; a directory is
 * created. INVALID: another scheme, no bucket, bad settings. */
weir_err weir_store_open(const char *uri, const struct weir_config *config, struct weir_store **store,
                         struct weir_error *error);
struct weir_store *weir_store_ref(struct weir_store *store); /* NULL is allowed */
void weir_store_close(
    struct weir_store *store); /* lets go of one reference; with the last no call may be under way. NULL is allowed */
const char *weir_store_uri(const struct weir_store *store); /* normalised, without credentials */

/* Small objects, whole in memory. `match` for IF_MATCH; `tag` (may be NULL) gets the new version's. */
weir_err weir_store_put(struct weir_store *store, const char *key, const void *data, size_t size,
                        enum weir_store_condition condition, const struct weir_store_tag *match,
                        struct weir_store_tag *tag, struct weir_error *error);
/* Appends the object to `out`; more than out->max bytes: FULL. `tag` may be NULL. */
weir_err weir_store_get(struct weir_store *store, const char *key, struct weir_buf *out, struct weir_store_tag *tag,
                        struct weir_error *error);

/* Large objects, streamed, in parallel parts where the store can; unconditional: their names are used once. *crc32c (may be NULL) is
 * that of the bytes sent; they were checked on arrival. */
weir_err weir_store_put_file(struct weir_store *store, const char *key, const char *path, int64_t *size,
                             uint32_t *crc32c, struct weir_error *error);
/* [offset, offset + size) of the object into `fd` at `fd_offset`; the range must exist. Compare *crc32c (may be NULL) with what is known. */
weir_err weir_store_get_range(struct weir_store *store, const char *key, int64_t offset, int64_t size, int fd,
                              int64_t fd_offset, uint32_t *crc32c, struct weir_error *error);

/* Every object whose key begins with `prefix` ("" for all) and is greater than `after` ("": all of them), in the order of keys, byte by byte; what has no key
 * as above is passed over. visit returns false to stop (that is no error); with the last key as `after` a later call goes on. */
typedef bool weir_store_visit(const struct weir_store_entry *entry, void *arg);
weir_err weir_store_list(struct weir_store *store, const char *prefix, const char *after, weir_store_visit *visit,
                         void *arg, struct weir_error *error);
/* The directories right below `prefix` ("a/", or "") in which there are objects, in order: entries "a/b/", of which only the key counts. */
weir_err weir_store_list_directories(struct weir_store *store, const char *prefix, weir_store_visit *visit, void *arg,
                                     struct weir_error *error);
/* What is not there is not an error. On an error some may be gone. */
weir_err weir_store_delete(struct weir_store *store, const char *const *keys, int count, struct weir_error *error);

/* Removes what writers that died left below `prefix` and no list shows: a directory's hidden files, S3's parts of uploads that nobody ended
 * and that began at least `age_ms` ago by the store's clock. What a living process is writing there so long fails on S3, and goes on in a directory. */
weir_err weir_store_sweep(struct weir_store *store, const char *prefix, int64_t age_ms, struct weir_error *error);

/* Shows that conditional writes work (rule 1 of the object store): a second IF_ABSENT and an IF_MATCH with an old tag must both be
 * refused. UNSUPPORTED, with a sentence for people, when they are not. Writes and removes one object below `prefix`. */
weir_err weir_store_probe(struct weir_store *store, const char *prefix, struct weir_error *error);

#endif
