/* The two kinds of stores, for store.c. Keys are checked before they come here. Functions as in store.h. */
#ifndef WEIR_STORE_STORE_INT_H
#define WEIR_STORE_STORE_INT_H

#include "store/store.h"

struct weir_store_ops {
    void (*close)(struct weir_store *store);
    weir_err (*put)(struct weir_store *store, const char *key, const void *data, size_t size,
                    enum weir_store_condition condition, const struct weir_store_tag *match, struct weir_store_tag *tag,
                    struct weir_error *error);
    weir_err (*get)(struct weir_store *store, const char *key, struct weir_buf *out, struct weir_store_tag *tag,
                    struct weir_error *error);
    weir_err (*put_file)(struct weir_store *store, const char *key, int fd, int64_t size, uint32_t *crc32c,
                         struct weir_error *error);
    weir_err (*get_range)(struct weir_store *store, const char *key, int64_t offset, int64_t size, int fd,
                          int64_t fd_offset, uint32_t *crc32c, struct weir_error *error);
    weir_err (*list)(struct weir_store *store, const char *prefix, const char *after, bool directories,
                     weir_store_visit *visit, void *arg, struct weir_error *error);
    weir_err (*remove)(struct weir_store *store, const char *const *keys, int count, struct weir_error *error);
    weir_err (*sweep)(struct weir_store *store, const char *prefix, int64_t age_ms, struct weir_error *error);
};

struct weir_store { /* the head of each kind's own struct */
    const struct weir_store_ops *ops;
    char *uri;
    int more_refs; /* atomic, beside the first */
};

weir_err weir_store_local_open(const char *path, struct weir_store **store, struct weir_error *error);
weir_err weir_store_s3_open(const char *uri, const struct weir_config *config, struct weir_store **store,
                            struct weir_error *error);

#endif
