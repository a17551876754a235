/* Objects as files below a directory. A write is a new file "<parent>/.put-<pid>-<n>", fsynced, renamed, its directory fsynced: a reader
 * sees the old object or the new one, and a crash leaves at most a hidden file. Its writer holds flock() of it, so that one that nobody
 * holds can be swept away. A conditional write holds flock("<parent>/.lock")
 * from the comparison to the rename, so that of two writers, also of two processes or hosts (NFS passes flock on), one is first.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/hash.h"
#include "store/store_int.h"

#define LOCK_WAIT_MS 10000
#define COPY_SIZE ((size_t)1 << 20)
#define DEPTH_MAX 32
#define HIDDEN "/.put-"

struct local {
    struct weir_store head;
    char *root; /* absolute, without a slash at the end */
};

static _Atomic uint64_t next_file; /* names of files under way, in this process */

static void local_close(struct weir_store *store)
{
    struct local *local = (struct local *)store;
    free(local->root);
    free(local);
}

static weir_err sync_directory(const char *path, struct weir_error *error)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot open the directory '%s'", path);
    weir_err err =
        fsync(fd) == 0 ? WEIR_OK : weir_fail_errno(error, WEIR_ERR_IO, "cannot fsync the directory '%s'", path);
    close(fd);
    return err;
}

/* Makes the parents of `path`, each durable in its own parent. */
static weir_err make_parents(const char *path, struct weir_error *error)
{
    char part[PATH_MAX];
    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        if (mkdir(part, 0777) == 0) {
            *strrchr(part, '/') = 0;
            weir_err err = sync_directory(*part ? part : "/", error);
            if (err)
                return err;
        } else if (errno != EEXIST) {
            enum weir_err_code code =
                errno == ENOTDIR || errno == EACCES || errno == EROFS ? WEIR_ERR_INVALID : WEIR_ERR_IO;
            return weir_fail_errno(error, code, "cannot create the directory '%s'", part);
        }
    }
    return WEIR_OK;
}

static weir_err path_of(const struct local *local, const char *key, char path[PATH_MAX], struct weir_error *error)
{
    if (snprintf(path, PATH_MAX, "%s/%s", local->root, key) >= PATH_MAX - 64)
        return weir_fail(error, WEIR_ERR_INVALID, "the path is longer than %d bytes", PATH_MAX - 64);
    return WEIR_OK;
}

static void tag_of(const void *data, size_t size, struct weir_store_tag *tag)
{
    snprintf(tag->text, sizeof tag->text, "%016" PRIx64 "-%zx", weir_xxh3(data, size), size);
}

static weir_err write_all(int fd, const char *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = write(fd, data + done, size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return WEIR_ERR_IO;
        done += (size_t)n;
    }
    return WEIR_OK;
}

static weir_err lock_parent(const char *parent, int *fd, struct weir_error *error)
{
    char path[PATH_MAX + 8];
    snprintf(path, sizeof path, "%s/.lock", parent);
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (*fd < 0)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot open '%s'", path);
    int64_t until = weir_clock_mono_ms() + LOCK_WAIT_MS;
    for (int pause_us = 200;; pause_us = pause_us < 20000 ? pause_us * 2 : pause_us) {
        if (flock(*fd, LOCK_EX | LOCK_NB) == 0)
            return WEIR_OK;
        if (errno != EWOULDBLOCK && errno != EINTR)
            break;
        if (weir_clock_mono_ms() > until) {
            close(*fd);
            return weir_fail(error, WEIR_ERR_TIMEOUT, "'%s' is locked by another process for %d s", path,
                             LOCK_WAIT_MS / 1000);
        }
        usleep((useconds_t)pause_us);
    }
    weir_err err = weir_fail_errno(error, WEIR_ERR_INVALID, "cannot lock '%s'", path);
    close(*fd);
    return err;
}

static weir_err read_whole(const char *path, struct weir_buf *out, struct weir_error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return weir_fail(error, WEIR_ERR_NOT_FOUND, "there is no such object");
    if (fd < 0 || fstat(fd, &info) != 0) {
        weir_err err = weir_fail_errno(error, WEIR_ERR_IO, "cannot open '%s'", path);
        if (fd >= 0)
            close(fd);
        return err;
    }
    weir_err err = WEIR_OK;
    if (S_ISDIR(info.st_mode))
        err = weir_fail(error, WEIR_ERR_NOT_FOUND, "there is no such object (a directory has its name)");
    else if (!weir_buf_reserve(out, (size_t)info.st_size))
        err = weir_fail(error, WEIR_ERR_FULL, "it has %lld bytes, more than %zu", (long long)info.st_size,
                        out->max - out->size);
    for (ssize_t n = 1, left = info.st_size; !err && left > 0; left -= n) {
        n = read(fd, out->data + out->size, (size_t)left);
        if (n < 0 && errno == EINTR) {
            n = 0;
            continue;
        }
        if (n <= 0) {
            err = n < 0 ? weir_fail_errno(error, WEIR_ERR_IO, "cannot read '%s'", path)
                        : weir_fail(error, WEIR_ERR_DATA, "'%s' became shorter while it was read", path);
            break;
        }
        out->size += (size_t)n;
        out->data[out->size] = 0;
    }
    close(fd);
    return err;
}

/* Does the condition hold? To be asked under the lock. */
static weir_err check(const char *path, enum weir_store_condition condition, const struct weir_store_tag *match,
                      struct weir_error *error)
{
    struct stat info;
    if (condition == WEIR_STORE_IF_ABSENT)
        return stat(path, &info) == 0 ? weir_fail(error, WEIR_ERR_EXISTS, "there is such an object already")
               : errno == ENOENT      ? WEIR_OK
                                      : weir_fail_errno(error, WEIR_ERR_IO, "cannot look at '%s'", path);
    struct weir_buf buf;
    weir_buf_init(&buf, (size_t)64 << 20);
    struct weir_store_tag tag;
    weir_err err = read_whole(path, &buf, error);
    if (!err) {
        tag_of(buf.data, buf.size, &tag);
        if (strcmp(tag.text, match->text) != 0)
            err = weir_fail(error, WEIR_ERR_EXISTS, "it has been changed since it was read");
    } else if (err == WEIR_ERR_NOT_FOUND) {
        err = weir_fail(error, WEIR_ERR_EXISTS, "it has been removed since it was read");
    }
    weir_buf_fini(&buf);
    return err;
}

/* A new hidden file, held by flock(); -1: errno says why not. A name that is taken is one of a process that had this pid before. */
static int create_held(const char *path, char temporary[PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    for (;;) {
        struct stat info;
        snprintf(temporary, PATH_MAX, "%.*s" HIDDEN "%d-%" PRIu64, (int)(slash - path), path, (int)getpid(),
                 atomic_fetch_add(&next_file, 1));
        int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno == EEXIST)
            continue;
        if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0 || fstat(fd, &info) != 0 || info.st_nlink > 0)
            return fd; /* (file systems without flock(): whoever sweeps cannot hold it either) */
        close(fd);     /* swept away between the two calls */
    }
}

/* A hidden file beside `path`, open for writing; its directories are made, again if a delete of the last object removes them meanwhile. */
static weir_err create_beside(const char *path, char temporary[PATH_MAX], int *fd, struct weir_error *error)
{
    for (int attempt = 0; attempt < 10; attempt++) {
        weir_err err = make_parents(path, error);
        if (err)
            return err;
        *fd = create_held(path, temporary);
        if (*fd >= 0)
            return WEIR_OK;
        if (errno != ENOENT)
            break;
    }
    return weir_fail_errno(error, WEIR_ERR_IO, "cannot create '%s'", temporary);
}

/* Removes what writers that died have left in a directory. */
static void sweep_directory(const char *directory)
{
    DIR *dir = opendir(directory);
    for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
        if (strncmp(entry->d_name, &HIDDEN[1], strlen(HIDDEN) - 1) != 0)
            continue;
        int fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
        if (fd >= 0)
            close(fd);
    }
    if (dir)
        closedir(dir);
}

/* Makes `fd`'s file the object. Closes fd. */
static weir_err publish(int fd, const char *temporary, const char *path, struct weir_error *error)
{
    char parent[PATH_MAX];
    snprintf(parent, sizeof parent, "%.*s", (int)(strrchr(path, '/') - path), path);
    weir_err err = WEIR_OK;
    (void)weir_fault_here("store-put-mid");
    if (fsync(fd) != 0)
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot fsync '%s'", temporary);
    if (close(fd) != 0 && !err)
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot write '%s'", temporary);
    if (!err && rename(temporary, path) != 0)
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot rename '%s' to '%s'", temporary, path);
    if (err) {
        unlink(temporary);
        return err;
    }
    err = sync_directory(parent, error);
    if (err && error)
        error->effect = WEIR_EFFECT_MAYBE;
    return err;
}

static weir_err local_put(struct weir_store *store, const char *key, const void *data, size_t size,
                          enum weir_store_condition condition, const struct weir_store_tag *match,
                          struct weir_store_tag *tag, struct weir_error *error)
{
    struct local *local = (struct local *)store;
    char path[PATH_MAX], temporary[PATH_MAX], parent[PATH_MAX];
    weir_err err = path_of(local, key, path, error);
    if (!err)
        err = make_parents(path, error); /* for the lock */
    if (err)
        return err;
    snprintf(parent, sizeof parent, "%.*s", (int)(strrchr(path, '/') - path), path);
    int lock = -1;
    if (condition != WEIR_STORE_ALWAYS) {
        err = lock_parent(parent, &lock, error);
        if (err)
            return err;
        sweep_directory(parent);
        err = check(path, condition, match, error);
    }
    if (!err) {
        int fd;
        err = create_beside(path, temporary, &fd, error);
        if (!err && write_all(fd, data, size)) {
            err = weir_fail_errno(error, WEIR_ERR_IO, "cannot write '%s'", temporary);
            close(fd);
            unlink(temporary);
        } else if (!err) {
            err = publish(fd, temporary, path, error);
        }
    }
    if (lock >= 0)
        close(lock);
    tag_of(data, size, tag);
    return err;
}

static weir_err local_get(struct weir_store *store, const char *key, struct weir_buf *out, struct weir_store_tag *tag,
                          struct weir_error *error)
{
    char path[PATH_MAX];
    weir_err err = path_of((struct local *)store, key, path, error);
    if (err)
        return err;
    size_t before = out->size;
    err = read_whole(path, out, error);
    if (!err)
        tag_of(out->data + before, out->size - before, tag);
    return err;
}

/* size bytes from one descriptor to another; the offset of `to` moves where to_offset is -1. */
static weir_err copy(int from, int64_t offset, int to, int64_t to_offset, int64_t size, uint32_t *crc,
                     struct weir_error *error)
{
    char *bytes = weir_alloc(COPY_SIZE);
    weir_err err = WEIR_OK;
    *crc = 0;
    for (int64_t done = 0; !err && done < size;) {
        size_t want = size - done < (int64_t)COPY_SIZE ? (size_t)(size - done) : COPY_SIZE;
        ssize_t n = pread(from, bytes, want, offset + done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            err = n < 0 ? weir_fail_errno(error, WEIR_ERR_IO, "cannot read")
                        : weir_fail(error, WEIR_ERR_DATA, "it ends at byte %lld, before byte %lld",
                                    (long long)(offset + done), (long long)(offset + size));
            break;
        }
        *crc = weir_crc32c(*crc, bytes, (size_t)n);
        for (ssize_t written = 0; written < n;) {
            ssize_t w = to_offset < 0 ? write(to, bytes + written, (size_t)(n - written))
                                      : pwrite(to, bytes + written, (size_t)(n - written), to_offset + done + written);
            if (w < 0 && errno != EINTR) {
                err = weir_fail_errno(error, WEIR_ERR_IO, "cannot write");
                break;
            }
            written += w > 0 ? w : 0;
        }
        done += n;
    }
    free(bytes);
    return err;
}

static weir_err local_put_file(struct weir_store *store, const char *key, int fd, int64_t size, uint32_t *crc32c,
                               struct weir_error *error)
{
    char path[PATH_MAX], temporary[PATH_MAX];
    int to = -1;
    weir_err err = path_of((struct local *)store, key, path, error);
    if (!err)
        err = create_beside(path, temporary, &to, error);
    if (err)
        return err;
    err = copy(fd, 0, to, -1, size, crc32c, error);
    if (err) {
        close(to);
        unlink(temporary);
        return err;
    }
    return publish(to, temporary, path, error);
}

static weir_err local_get_range(struct weir_store *store, const char *key, int64_t offset, int64_t size, int fd,
                                int64_t fd_offset, uint32_t *crc32c, struct weir_error *error)
{
    char path[PATH_MAX];
    weir_err err = path_of((struct local *)store, key, path, error);
    if (err)
        return err;
    int from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0)
        return errno == ENOENT || errno == ENOTDIR ? weir_fail(error, WEIR_ERR_NOT_FOUND, "there is no such object")
                                                   : weir_fail_errno(error, WEIR_ERR_IO, "cannot open '%s'", path);
    err = copy(from, offset, fd, fd_offset, size, crc32c, error);
    close(from);
    return err;
}

/* --- List: a walk in the order of keys; what begins with a dot is not an object */

struct walk {
    const char *prefix, *after;
    bool directories;
    weir_store_visit *visit;
    void *arg;
    bool stopped;
};

struct name {
    char *text; /* of a directory with a slash behind it, as in a key: so names sort as keys do */
    int64_t size, modified_ms;
};

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct name *)a)->text, ((const struct name *)b)->text);
}

/* May there be something in what begins with `key`, or be it? */
static bool is_wanted(const struct walk *w, const char *key)
{
    size_t size = strlen(key), prefix_size = strlen(w->prefix);
    bool is_directory = key[size - 1] == '/';
    if (strncmp(key, w->prefix, size < prefix_size ? size : prefix_size) != 0 || (!is_directory && size < prefix_size))
        return false;
    return is_directory ? strncmp(key, w->after, size) >= 0 : strcmp(key, w->after) > 0;
}

/* What is wanted of the directory `path`, whose key is `key` ("" or with a slash), sorted. Freed by the caller. */
static weir_err read_names(const struct walk *w, const char *path, const char *key, struct name **names, int *count,
                           struct weir_error *error)
{
    DIR *dir = opendir(path);
    if (!dir) /* removed meanwhile */
        return errno == ENOENT || errno == ENOTDIR ? WEIR_OK
                                                   : weir_fail_errno(error, WEIR_ERR_IO, "cannot open '%s'", path);
    int capacity = 0;
    errno = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL; errno = 0) {
        char sub[WEIR_STORE_KEY_SIZE_MAX + 2];
        struct stat info;
        int size = snprintf(sub, sizeof sub - 1, "%s%s/", key, entry->d_name);
        if (entry->d_name[0] == '.' || size >= (int)sizeof sub - 1) /* longer: not written by this store */
            continue;
        size_t common = strlen(w->prefix) < (size_t)size ? strlen(w->prefix) : (size_t)size - 1;
        if (strncmp(sub, w->prefix, common) != 0 || fstatat(dirfd(dir), entry->d_name, &info, 0) != 0 ||
            (!S_ISDIR(info.st_mode) && !S_ISREG(info.st_mode)))
            continue;
        const char *slash = S_ISDIR(info.st_mode) ? "/" : "";
        sub[S_ISDIR(info.st_mode) ? size : size - 1] = 0;
        if (!is_wanted(w, sub))
            continue;
        if (*count == capacity) {
            capacity = capacity ? capacity * 2 : 64;
            *names = weir_realloc(*names, (size_t)capacity * sizeof **names);
        }
        (*names)[(*count)++] = (struct name){weir_format("%s%s", entry->d_name, slash), info.st_size,
                                             info.st_mtim.tv_sec * 1000 + info.st_mtim.tv_nsec / 1000000};
    }
    weir_err err = errno ? weir_fail_errno(error, WEIR_ERR_IO, "cannot read the directory '%s'", path) : WEIR_OK;
    closedir(dir);
    if (*count)
        qsort(*names, (size_t)*count, sizeof **names, compare_names);
    return err;
}

/* One that was written to conditionally stays when its objects have gone, with its lock file. */
static bool has_objects(const char *path)
{
    bool found = false;
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && !found && (entry = readdir(dir)) != NULL;)
        found = entry->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return found;
}

static weir_err walk(struct walk *w, const char *path, const char *key, int depth, struct weir_error *error)
{
    struct name *names = NULL;
    int count = 0;
    weir_err err = read_names(w, path, key, &names, &count, error);
    for (int i = 0; i < count; i++) {
        char below[PATH_MAX], sub[WEIR_STORE_KEY_SIZE_MAX + 1];
        bool is_directory = names[i].text[strlen(names[i].text) - 1] == '/';
        snprintf(sub, sizeof sub, "%s%s", key, names[i].text);
        bool fits = snprintf(below, sizeof below, "%s/%s", path, names[i].text) < (int)sizeof below;
        bool descend = is_directory && (!w->directories || strlen(sub) <= strlen(w->prefix));
        if (err || w->stopped || !fits)
            ;
        else if (descend && depth < DEPTH_MAX)
            err = walk(w, below, sub, depth + 1, error);
        else if (!descend && is_directory == w->directories && (!is_directory || has_objects(below)))
            w->stopped = !w->visit(
                &(struct weir_store_entry){.key = sub, .size = names[i].size, .modified_ms = names[i].modified_ms},
                w->arg);
        free(names[i].text);
    }
    free(names);
    return err;
}

static weir_err local_list(struct weir_store *store, const char *prefix, const char *after, bool directories,
                           weir_store_visit *visit, void *arg, struct weir_error *error)
{
    struct walk w = {.prefix = prefix, .after = after, .directories = directories, .visit = visit, .arg = arg};
    return walk(&w, ((struct local *)store)->root, "", 0, error);
}

/* Objects, then the directories that became empty. One that was written to conditionally keeps its lock file, and so stays: a lock that
 * is removed while another waits for it would be held twice. */
static weir_err local_remove(struct weir_store *store, const char *const *keys, int count, struct weir_error *error)
{
    struct local *local = (struct local *)store;
    for (int i = 0; i < count; i++) {
        char path[PATH_MAX];
        weir_err err = path_of(local, keys[i], path, error);
        if (err)
            return err;
        if (unlink(path) != 0 && errno != ENOENT && errno != ENOTDIR)
            return weir_fail_errno(error, WEIR_ERR_IO, "cannot remove '%s'", path);
        for (char *slash = strrchr(path, '/'); slash && slash > path + strlen(local->root);
             slash = strrchr(path, '/')) {
            *slash = 0;
            if (rmdir(path) != 0)
                break;
        }
    }
    return WEIR_OK;
}

/* A directory, and those below it; then it goes if nothing is left in it. */
static void sweep_tree(const char *directory, int depth)
{
    DIR *dir = opendir(directory);
    for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
        char path[PATH_MAX];
        struct stat info;
        if (entry->d_name[0] == '.' || depth == DEPTH_MAX ||
            snprintf(path, sizeof path, "%s/%s", directory, entry->d_name) >= (int)sizeof path)
            continue;
        if (lstat(path, &info) == 0 && S_ISDIR(info.st_mode))
            sweep_tree(path, depth + 1);
    }
    if (dir)
        closedir(dir);
    sweep_directory(directory);
    (void)rmdir(directory);
}

/* Whoever lives holds a lock on what it writes: no age is asked for. */
static weir_err local_sweep(struct weir_store *store, const char *prefix, int64_t age_ms, struct weir_error *error)
{
    (void)age_ms;
    struct local *local = (struct local *)store;
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", local->root, prefix) >= (int)sizeof path)
        return weir_fail(error, WEIR_ERR_INVALID, "the path is too long");
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/')
        path[--size] = 0;
    sweep_tree(path, 0);
    return WEIR_OK;
}

static const struct weir_store_ops local_ops = {
    .close = local_close,
    .put = local_put,
    .get = local_get,
    .put_file = local_put_file,
    .get_range = local_get_range,
    .list = local_list,
    .remove = local_remove,
    .sweep = local_sweep,
};

weir_err weir_store_local_open(const char *path, struct weir_store **store, struct weir_error *error)
{
    char whole[PATH_MAX], working[PATH_MAX] = "";
    if (*path != '/' && !getcwd(working, sizeof working - 1))
        return weir_fail_errno(error, WEIR_ERR_IO, "the working directory is not known");
    if (*path != '/')
        strcat(working, "/");
    if (snprintf(whole, sizeof whole, "%s%s/", working, path) >= PATH_MAX - WEIR_STORE_KEY_SIZE_MAX)
        return weir_fail(error, WEIR_ERR_INVALID, "'%s': the path is too long", path);
    weir_err err = make_parents(whole, error);
    if (err)
        return err;
    size_t size = strlen(whole);
    while (size > 1 && whole[size - 1] == '/')
        whole[--size] = 0;
    struct stat info;
    if (stat(whole, &info) != 0 || !S_ISDIR(info.st_mode))
        return weir_fail(error, WEIR_ERR_INVALID, "'%s' is not a directory", whole);
    if (access(whole, R_OK | W_OK | X_OK) != 0)
        return weir_fail_errno(error, WEIR_ERR_INVALID, "the directory '%s' cannot be written", whole);
    struct local *local = weir_zalloc(sizeof *local);
    local->head.ops = &local_ops;
    local->head.uri = weir_format("file://%s", whole);
    local->root = weir_strdup(whole);
    *store = &local->head;
    return WEIR_OK;
}
