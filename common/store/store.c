/* Opens a URI, checks keys, dispatches. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "store/store_int.h"

weir_err weir_store_open(const char *uri, const struct weir_config *config, struct weir_store **store,
                         struct weir_error *error)
{
    *store = NULL;
    if (strncmp(uri, "s3://", 5) == 0)
        return weir_store_s3_open(uri, config, store, error);
    const char *path = uri;
    if (strncmp(uri, "file:", 5) == 0) {
        path = uri + 5;
        if (strncmp(path, "//", 2) == 0)
            path += 2;
        if (strncmp(path, "localhost/", 10) == 0)
            path += 9;
    } else if (strstr(uri, "://")) {
        return weir_fail(error, WEIR_ERR_INVALID, "'%s': a store is file:///PATH, s3://BUCKET/PREFIX or a path", uri);
    }
    if (*path != '/' && strncmp(uri, "file:", 5) == 0)
        return weir_fail(error, WEIR_ERR_INVALID, "'%s': the path after file: begins with /", uri);
    if (*path == 0)
        return weir_fail(error, WEIR_ERR_INVALID, "the store's path is empty");
    return weir_store_local_open(path, store, error);
}

struct weir_store *weir_store_ref(struct weir_store *store)
{
    if (store)
        __atomic_add_fetch(&store->more_refs, 1, __ATOMIC_RELAXED);
    return store;
}

void weir_store_close(struct weir_store *store)
{
    if (!store || __atomic_fetch_sub(&store->more_refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    free(store->uri);
    store->uri = NULL;
    store->ops->close(store);
}

const char *weir_store_uri(const struct weir_store *store)
{
    return store->uri;
}

/* Keys that are written are made by weir itself: a wrong one is a mistake in the program. Those that are read may come from an object (HEAD,
 * metadata) that somebody else wrote, and what is listed may be another program's. */
static bool key_is_valid(const char *key, bool prefix)
{
    if (strlen(key) > WEIR_STORE_KEY_SIZE_MAX || (*key == 0 && !prefix))
        return false;
    for (const char *at = key; *at;) {
        size_t size = strcspn(at, "/");
        if (size == 0 || *at == '.')
            return false;
        at += size;
        if (*at == '/' && *++at == 0)
            return prefix;
    }
    return true;
}

static weir_err no_name(const struct weir_store *store, const char *key, struct weir_error *error)
{
    return weir_fail(error, WEIR_ERR_DATA, "CHECKPOINT_CORRUPT: '%.200s' is no name of an object in %s", key,
                     store->uri);
}

weir_err weir_store_put(struct weir_store *store, const char *key, const void *data, size_t size,
                        enum weir_store_condition condition, const struct weir_store_tag *match,
                        struct weir_store_tag *tag, struct weir_error *error)
{
    weir_assert(key_is_valid(key, false));
    weir_assert((condition == WEIR_STORE_IF_MATCH) == (match != NULL));
    struct weir_store_tag unused;
    weir_err err = store->ops->put(store, key, data, size, condition, match, tag ? tag : &unused, error);
    return err ? weir_wrap(error, "cannot write %s/%s", store->uri, key) : WEIR_OK;
}

weir_err weir_store_get(struct weir_store *store, const char *key, struct weir_buf *out, struct weir_store_tag *tag,
                        struct weir_error *error)
{
    if (!key_is_valid(key, false))
        return no_name(store, key, error);
    struct weir_store_tag unused;
    weir_err err = store->ops->get(store, key, out, tag ? tag : &unused, error);
    return err ? weir_wrap(error, "cannot read %s/%s", store->uri, key) : WEIR_OK;
}

weir_err weir_store_put_file(struct weir_store *store, const char *key, const char *path, int64_t *size,
                             uint32_t *crc32c, struct weir_error *error)
{
    weir_assert(key_is_valid(key, false));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0) {
        weir_err err = weir_fail_errno(error, WEIR_ERR_IO, "cannot read '%s'", path);
        if (fd >= 0)
            close(fd);
        return err;
    }
    uint32_t crc = 0;
    weir_err err = store->ops->put_file(store, key, fd, info.st_size, &crc, error);
    close(fd);
    if (size)
        *size = info.st_size;
    if (crc32c)
        *crc32c = crc;
    return err ? weir_wrap(error, "cannot write %s/%s", store->uri, key) : WEIR_OK;
}

weir_err weir_store_get_range(struct weir_store *store, const char *key, int64_t offset, int64_t size, int fd,
                              int64_t fd_offset, uint32_t *crc32c, struct weir_error *error)
{
    if (!key_is_valid(key, false))
        return no_name(store, key, error);
    weir_assert(offset >= 0 && size >= 0);
    uint32_t crc = 0;
    weir_err err = store->ops->get_range(store, key, offset, size, fd, fd_offset, &crc, error);
    if (crc32c)
        *crc32c = crc;
    return err ? weir_wrap(error, "cannot read %s/%s", store->uri, key) : WEIR_OK;
}

struct listing {
    bool directories;
    weir_store_visit *visit;
    void *arg;
};

/* What weir could not have written is passed over: markers of "folders", which other programs make on S3, end with a slash. */
static bool visit_own(const struct weir_store_entry *entry, void *arg)
{
    const struct listing *listing = arg;
    return !key_is_valid(entry->key, listing->directories) || listing->visit(entry, listing->arg);
}

static weir_err list(struct weir_store *store, const char *prefix, const char *after, bool directories,
                     weir_store_visit *visit, void *arg, struct weir_error *error)
{
    weir_assert(key_is_valid(prefix, true) && (!*after || key_is_valid(after, true)));
    struct listing listing = {directories, visit, arg};
    weir_err err = store->ops->list(store, prefix, after, directories, visit_own, &listing, error);
    return err ? weir_wrap(error, "cannot list %s/%s", store->uri, prefix) : WEIR_OK;
}

weir_err weir_store_list(struct weir_store *store, const char *prefix, const char *after, weir_store_visit *visit,
                         void *arg, struct weir_error *error)
{
    return list(store, prefix, after, false, visit, arg, error);
}

weir_err weir_store_list_directories(struct weir_store *store, const char *prefix, weir_store_visit *visit, void *arg,
                                     struct weir_error *error)
{
    weir_assert(!*prefix || prefix[strlen(prefix) - 1] == '/');
    return list(store, prefix, "", true, visit, arg, error);
}

weir_err weir_store_delete(struct weir_store *store, const char *const *keys, int count, struct weir_error *error)
{
    weir_assert(count >= 0 && count <= WEIR_STORE_DELETE_MAX);
    for (int i = 0; i < count; i++)
        weir_assert(key_is_valid(keys[i], false));
    if (count == 0)
        return WEIR_OK;
    weir_err err = store->ops->remove(store, keys, count, error);
    return err ? weir_wrap(error, "cannot delete in %s", store->uri) : WEIR_OK;
}

weir_err weir_store_sweep(struct weir_store *store, const char *prefix, int64_t age_ms, struct weir_error *error)
{
    weir_assert(key_is_valid(prefix, true));
    weir_err err = store->ops->sweep(store, prefix, age_ms, error);
    return err ? weir_wrap(error, "cannot sweep %s/%s", store->uri, prefix) : WEIR_OK;
}

static weir_err probe(struct weir_store *store, const char *key, struct weir_error *error)
{
    struct weir_store_tag first, second;
    weir_err err = weir_store_put(store, key, "1", 1, WEIR_STORE_IF_ABSENT, NULL, &first, error);
    if (err)
        return err;
    err = weir_store_put(store, key, "2", 1, WEIR_STORE_IF_ABSENT, NULL, &second, error);
    if (!err)
        return weir_fail(
            error, WEIR_ERR_UNSUPPORTED,
            "%s does not refuse a second write with If-None-Match: two JobManagers could both believe that they own a job. "
            "Use a store with conditional writes (AWS S3, MinIO, versitygw, Ceph from 19.2, or a directory)",
            store->uri);
    if (err != WEIR_ERR_EXISTS)
        return err;
    err = weir_store_put(store, key, "2", 1, WEIR_STORE_IF_MATCH, &first, &second, error);
    if (err)
        return err;
    err = weir_store_put(store, key, "3", 1, WEIR_STORE_IF_MATCH, &first, &second, error);
    if (!err)
        return weir_fail(error, WEIR_ERR_UNSUPPORTED,
                         "%s does not refuse a write with an old tag in If-Match: use a store with conditional writes",
                         store->uri);
    return err == WEIR_ERR_EXISTS ? WEIR_OK : err;
}

weir_err weir_store_probe(struct weir_store *store, const char *prefix, struct weir_error *error)
{
    char key[WEIR_STORE_KEY_SIZE_MAX];
    int size = snprintf(key, sizeof key, "%s%sprobe-%llx-%x", prefix, *prefix ? "/" : "",
                        (unsigned long long)weir_clock_wall_ns(), (unsigned)getpid());
    weir_assert(size > 0 && size < (int)sizeof key);
    weir_err err = probe(store, key, error);
    const char *keys[] = {key};
    struct weir_error ignored; /* a probe left behind does no harm */
    (void)!weir_store_delete(store, keys, 1, &ignored);
    return err;
}
