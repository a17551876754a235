#include "jobmanager/io/savepoint.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/proto_memory.h"
#include "jobmanager/io/job_files.h"
#include "statefile/metadata.h"

#define METADATA_SIZE_MAX ((size_t)256 << 20)
#define MEMORY_SIZE_MAX ((int64_t)16 << 20) /* larger objects are copied by way of a file */

/* --- Paths */

/* A local path in it; NULL: it is another store's. */
static const char *local_path(const char *uri)
{
    if (strncmp(uri, "file:", 5) == 0) {
        const char *path = uri + 5;
        if (strncmp(path, "//", 2) == 0)
            path += 2;
        return strncmp(path, "localhost/", 10) == 0 ? path + 9 : path;
    }
    return strstr(uri, "://") ? NULL : uri;
}

static weir_err check_path(const char *path, struct weir_error *error)
{
    const char *local = local_path(path);
    if (!*path)
        return weir_fail(error, WEIR_ERR_INVALID, "the path is empty");
    if (strlen(path) > WEIR_STORE_KEY_SIZE_MAX)
        return weir_fail(error, WEIR_ERR_INVALID, "the path has more than %d bytes", WEIR_STORE_KEY_SIZE_MAX);
    if (local && *local != '/')
        return weir_fail(error, WEIR_ERR_INVALID,
                         "'%.200s': the JobManager needs an absolute path, file:///DIR or s3://BUCKET/PREFIX", path);
    return WEIR_OK;
}

static bool cut_end(char *path, const char *end)
{
    size_t size = strlen(path), cut = strlen(end);
    if (size < cut || strcmp(path + size - cut, end) != 0)
        return false;
    path[size - cut] = 0;
    return true;
}

/* Without a / at its end, or the name of the metadata object. Freed by the caller. */
static char *directory_of(const char *path)
{
    char *directory = weir_strdup(path);
    while (strlen(directory) > 1 && cut_end(directory, "/"))
        continue;
    if (!cut_end(directory, "/_metadata"))
        (void)cut_end(directory, "/metadata");
    return directory;
}

static weir_err must_exist(const char *directory, struct weir_error *error)
{
    const char *local = local_path(directory);
    struct stat st;
    if (!local || (stat(local, &st) == 0 && S_ISDIR(st.st_mode)))
        return WEIR_OK;
    return weir_fail(error, WEIR_ERR_NOT_FOUND,
                     "there is no savepoint or checkpoint %s: the directory is not there; weir looks for it on the "
                     "JobManager's host",
                     directory);
}

/* --- Reading */

/* Names that weir gives: a store's keys, which are not to lead anywhere else. */
static bool name_is_good(const char *name, bool directories)
{
    if (strlen(name) > WEIR_STORE_KEY_SIZE_MAX)
        return false;
    for (const char *at = name;; at++) {
        size_t size = strcspn(at, "/");
        if (size == 0 || *at == '.' || (!directories && at[size]))
            return false;
        for (size_t i = 0; i < size; i++)
            if ((unsigned char)at[i] < 0x20)
                return false;
        at += size;
        if (!*at)
            return true;
    }
}

static weir_err parse(const struct weir_buf *buf, const char *where, Weir__Snapshot **snapshot,
                      struct weir_error *error)
{
    weir_err err = weir_metadata_parse(buf->data, buf->size, snapshot, error);
    if (err)
        return weir_wrap(error,
                         err == WEIR_ERR_DATA ? "the metadata of %s was damaged, or is another program's"
                                              : "the metadata of %s",
                         where);
    for (size_t i = 0; i < (*snapshot)->n_parts; i++) {
        const Weir__StatePart *part = (*snapshot)->parts[i];
        if (part->object[0] && !name_is_good(part->object, !(*snapshot)->savepoint))
            return weir_fail(error, WEIR_ERR_DATA,
                             "CHECKPOINT_CORRUPT: the metadata of %s names an object '%.200s', which cannot be", where,
                             part->object);
    }
    return WEIR_OK;
}

static weir_err get_metadata(struct weir_store *store, const char *where, Weir__Snapshot **snapshot,
                             struct weir_error *error)
{
    static const char *const names[] = {"_metadata", "metadata"};
    struct weir_buf buf;
    weir_err err = WEIR_ERR_NOT_FOUND;
    for (int i = 0; i < 2 && err == WEIR_ERR_NOT_FOUND; i++) {
        weir_buf_init(&buf, METADATA_SIZE_MAX);
        err = weir_store_get(store, names[i], &buf, NULL, error);
        if (!err)
            err = parse(&buf, where, snapshot, error);
        weir_buf_fini(&buf);
    }
    if (err == WEIR_ERR_NOT_FOUND)
        return weir_fail(error, err,
                         "there is no savepoint or checkpoint %s: it has neither _metadata nor metadata; name the "
                         "directory that has",
                         where);
    return err;
}

/* jobs/<id>/chk-<n> is below the store that the names of a checkpoint's objects begin at. Freed by the caller; NULL: it is elsewhere. */
static char *root_of(const char *directory, const Weir__Snapshot *snapshot)
{
    char *root = weir_strdup(directory);
    char *below = weir_format("/jobs/%s/chk-%" PRIu64, snapshot->job_id, snapshot->checkpoint);
    bool found = cut_end(root, below);
    free(below);
    if (found)
        return root;
    free(root);
    return NULL;
}

struct sizes { /* of objects, by key */
    struct object_size {
        char *key;
        int64_t size;
    } * list;
    int count, capacity;
};

static bool see_size(const struct weir_store_entry *entry, void *arg)
{
    struct sizes *sizes = arg;
    if (sizes->count == sizes->capacity) {
        sizes->capacity = sizes->capacity ? sizes->capacity * 2 : 64;
        sizes->list = weir_realloc(sizes->list, (size_t)sizes->capacity * sizeof *sizes->list);
    }
    sizes->list[sizes->count++] = (struct object_size){weir_strdup(entry->key), entry->size};
    return true;
}

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct object_size *)a)->key, ((const struct object_size *)b)->key);
}

static weir_err check_objects(struct weir_store *store, const char *prefix, const Weir__Snapshot *snapshot,
                              const char *where, struct weir_error *error)
{
    struct sizes sizes = {0};
    weir_err err = weir_store_list(store, prefix, "", see_size, &sizes, error);
    if (!err && sizes.count)
        qsort(sizes.list, (size_t)sizes.count, sizeof *sizes.list, compare);
    for (size_t i = 0; i < snapshot->n_parts && !err; i++) {
        const Weir__StatePart *part = snapshot->parts[i];
        if (!part->object[0])
            continue;
        struct object_size key = {part->object, 0};
        const struct object_size *found =
            sizes.count ? bsearch(&key, sizes.list, (size_t)sizes.count, sizeof key, compare) : NULL;
        if (!found)
            err = weir_fail(error, WEIR_ERR_DATA,
                            "CHECKPOINT_CORRUPT: %s needs %s, which is not there: copy or move its directory whole",
                            where, part->object);
        else if (found->size < part->offset + part->size)
            err = weir_fail(error, WEIR_ERR_DATA,
                            "CHECKPOINT_CORRUPT: %s needs %" PRId64 " bytes of %s, which has %" PRId64
                            ": copy its directory again",
                            where, part->offset + part->size, part->object, found->size);
    }
    for (int i = 0; i < sizes.count; i++)
        free(sizes.list[i].key);
    free(sizes.list);
    return err;
}

static weir_err check_and_place(struct weir_store *store, const struct weir_config *config, struct weir_savepoint *out,
                                struct weir_error *error)
{
    if (out->snapshot->savepoint) {
        out->uri = weir_strdup(out->path);
        return check_objects(store, "", out->snapshot, out->path, error);
    }
    out->uri = root_of(out->path, out->snapshot);
    if (!out->uri)
        return weir_fail(
            error, WEIR_ERR_INVALID,
            "%s is a checkpoint that has been moved: it needs objects of its job's directory; name it where "
            "it was made (.../jobs/%s/chk-%" PRIu64 "), or make a savepoint, which can be moved",
            out->path, out->snapshot->job_id, out->snapshot->checkpoint);
    struct weir_store *root;
    weir_err err = weir_store_open(out->uri, config, &root, error);
    if (err)
        return err;
    char *prefix = weir_format("jobs/%s/", out->snapshot->job_id);
    err = check_objects(root, prefix, out->snapshot, out->path, error);
    free(prefix);
    weir_store_close(root);
    return err;
}

weir_err weir_savepoint_read(const char *path, const struct weir_config *config, struct weir_savepoint *out,
                             struct weir_error *error)
{
    memset(out, 0, sizeof *out);
    weir_err err = check_path(path, error);
    if (err)
        return err;
    char *directory = directory_of(path);
    struct weir_store *store = NULL;
    err = must_exist(directory, error);
    if (!err)
        err = weir_store_open(directory, config, &store, error);
    if (!err) {
        out->path = weir_strdup(weir_store_uri(store));
        err = get_metadata(store, out->path, &out->snapshot, error);
    }
    if (!err)
        err = check_and_place(store, config, out, error);
    weir_store_close(store);
    free(directory);
    if (err)
        weir_savepoint_fini(out);
    return err;
}

void weir_savepoint_fini(struct weir_savepoint *savepoint)
{
    if (savepoint->snapshot)
        weir__snapshot__free_unpacked(savepoint->snapshot, NULL);
    free(savepoint->path);
    free(savepoint->uri);
    memset(savepoint, 0, sizeof *savepoint);
}

/* --- Where to */

weir_err weir_savepoint_target(const char *directory, const struct weir_config *config, char **uri,
                               struct weir_error *error)
{
    struct weir_store *store = NULL;
    uint64_t number = 0;
    weir_err err = check_path(directory, error);
    char *path = err ? NULL : directory_of(directory);
    if (!err)
        err = weir_store_open(path, config, &store, error);
    if (!err && getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number)
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot get random numbers");
    char *key = weir_format("savepoint-test-%016" PRIx64, number);
    if (!err)
        err = weir_store_put(store, key, "weir", 4, WEIR_STORE_ALWAYS, NULL, NULL, error);
    if (!err)
        err = weir_store_delete(store, (const char *const[]){key}, 1, error);
    if (!err)
        *uri = weir_strdup(weir_store_uri(store));
    else
        (void)!weir_wrap(error, "savepoints cannot be kept in %s; name a directory that the JobManager can write to",
                         directory);
    free(key);
    free(path);
    weir_store_close(store);
    return err;
}

/* --- Copying and removing */

/* What was fetched into `fd` is what was written. */
static weir_err check_copy(struct weir_store *from, const struct weir_jm_copy *copy, int fd, struct weir_error *error)
{
    uint8_t *bytes = mmap(NULL, (size_t)copy->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot look at the copy of %s", copy->from);
    weir_err err = WEIR_OK;
    for (int i = 0; i < copy->check_count && !err; i++) {
        const struct weir_jm_copy_check *check = &copy->checks[i];
        if (weir_crc32c(0, bytes + check->offset, (size_t)check->size) != check->crc32c)
            err = weir_fail(error, WEIR_ERR_DATA,
                            "CHECKPOINT_CORRUPT: %s/%s is not what was written: the checksum of %" PRId64
                            " bytes from %" PRId64 " on does not fit",
                            weir_store_uri(from), copy->from, check->size, check->offset);
    }
    munmap(bytes, (size_t)copy->size);
    return err;
}

weir_err weir_savepoint_copy(struct weir_store *from, struct weir_store *to, const struct weir_jm_copy *copy,
                             struct weir_error *error)
{
    FILE *file = NULL;
    int fd = -1;
    if (copy->size <= MEMORY_SIZE_MAX)
        fd = memfd_create("weir-copy", MFD_CLOEXEC);
    else if ((file = tmpfile()))
        fd = fileno(file);
    if (fd < 0)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot make a temporary file for %s", copy->from);
    int64_t size;
    weir_err err = copy->size > 0 ? weir_store_get_range(from, copy->from, 0, copy->size, fd, 0, NULL, error) : WEIR_OK;
    if (!err && copy->size > 0)
        err = check_copy(from, copy, fd, error);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (!err)
        err = weir_store_put_file(to, copy->to, path, &size, NULL, error);
    if (file)
        fclose(file);
    else
        close(fd);
    return err;
}

struct keys {
    char *list[WEIR_STORE_DELETE_MAX];
    int count;
};

static bool collect(const struct weir_store_entry *entry, void *arg)
{
    struct keys *keys = arg;
    keys->list[keys->count++] = weir_strdup(entry->key);
    return keys->count < WEIR_STORE_DELETE_MAX;
}

weir_err weir_savepoint_remove(struct weir_store *store, const char *prefix, struct weir_error *error)
{
    struct keys *keys = weir_zalloc(sizeof *keys);
    weir_err err;
    bool more;
    do {
        keys->count = 0;
        err = weir_store_list(store, prefix, "", collect, keys, error);
        if (!err)
            err = weir_store_delete(store, (const char *const *)keys->list, keys->count, error);
        more = keys->count == WEIR_STORE_DELETE_MAX;
        for (int i = 0; i < keys->count; i++)
            free(keys->list[i]);
    } while (!err && more);
    free(keys);
    return err ? err : weir_store_sweep(store, prefix, 0, error);
}

weir_err weir_savepoint_dispose(const char *path, const struct weir_config *config, struct weir_error *error)
{
    weir_err err = check_path(path, error);
    char *directory = err ? NULL : directory_of(path);
    struct weir_store *store = NULL;
    Weir__Snapshot *snapshot = NULL;
    if (!err)
        err = must_exist(directory, error);
    if (!err)
        err = weir_store_open(directory, config, &store, error);
    if (!err)
        err = get_metadata(store, directory, &snapshot, error);
    if (!err && !snapshot->savepoint)
        err = weir_fail(error, WEIR_ERR_INVALID,
                        "%s is a checkpoint, not a savepoint: checkpoints are removed by their job's JobManager",
                        directory);
    if (!err)
        err = weir_savepoint_remove(store, "", error);
    const char *local = err ? NULL : local_path(directory);
    if (local)
        (void)!rmdir(local); /* what else is in it stays */
    if (snapshot)
        weir__snapshot__free_unpacked(snapshot, NULL);
    weir_store_close(store);
    free(directory);
    return err;
}
