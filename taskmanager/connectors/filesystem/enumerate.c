/* Finding the files of a source and cutting them into splits. Runs once, on the coordinator's subtask.
 *
 * path is a glob when it has one of * ? [ and no file has just that name. In directories and globs, names that begin with '.' or
 * '_' are hidden (what is not yet committed, markers), unless the pattern itself names them so. A file given by its own
 * name is always read. Splits come in the order of their paths and offsets.
 */
#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "filesystem_int.h"

#define FILES_MAX 1000000
#define DEPTH_MAX 64
#define RANGE_SIZE_MIN ((int64_t)1 << 20)
#define RANGE_SIZE_MAX ((int64_t)64 << 20)
#define RANGES_MAX 1000000

struct file {
    char *path; /* arena */
    int64_t size;
};

struct found {
    struct weir_arena *arena;
    struct file *files; /* heap */
    int count, capacity;
    bool recursive;
};

static weir_err add_file(struct found *found, const char *path, int64_t size, struct weir_error *error)
{
    if (found->count == FILES_MAX)
        return weir_fail(error, WEIR_ERR_FULL, "there are more than %d input files", FILES_MAX);
    if (found->count == found->capacity) {
        found->capacity = found->capacity ? found->capacity * 2 : 64;
        found->files = weir_realloc(found->files, (size_t)found->capacity * sizeof *found->files);
    }
    found->files[found->count++] = (struct file){weir_arena_strdup(found->arena, path), size};
    return 0;
}

static weir_err add_directory(struct found *found, const char *path, int depth, struct weir_error *error);

/* `named`: the user wrote this very name, so that it must be readable whatever it is called. */
static weir_err add_path(struct found *found, const char *path, bool named, int depth, struct weir_error *error)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        if (!named && errno == ENOENT) /* gone since it was listed, or a dangling link */
            return 0;
        return weir_fail_errno(error, errno == ENOENT ? WEIR_ERR_NOT_FOUND : WEIR_ERR_IO, "cannot read '%s'", path);
    }
    if (S_ISDIR(st.st_mode))
        return named || found->recursive ? add_directory(found, path, depth, error) : 0;
    if (!S_ISREG(st.st_mode))
        return named ? weir_fail(error, WEIR_ERR_INVALID, "'%s' is neither a file nor a directory", path) : 0;
    return add_file(found, path, st.st_size, error);
}

static bool is_hidden(const char *name)
{
    return name[0] == '.' || name[0] == '_';
}

static weir_err add_directory(struct found *found, const char *path, int depth, struct weir_error *error)
{
    if (depth > DEPTH_MAX)
        return weir_fail(error, WEIR_ERR_FULL, "'%s' is more than %d directories deep: do links go round in a circle?",
                         path, DEPTH_MAX);
    DIR *dir = opendir(path);
    if (!dir)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot list the directory '%s'", path);
    weir_err err = 0;
    size_t size = strlen(path);
    while (!err) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (!entry) {
            if (errno)
                err = weir_fail_errno(error, WEIR_ERR_IO, "cannot list the directory '%s'", path);
            break;
        }
        if (is_hidden(entry->d_name))
            continue;
        char *child = weir_format("%s%s%s", path, size && path[size - 1] == '/' ? "" : "/", entry->d_name);
        err = add_path(found, child, false, depth + 1, error);
        free(child);
    }
    closedir(dir);
    return err;
}

/* Whether the last part of a matched path is hidden and the pattern's last part does not ask for that. */
static bool hidden_match(const char *path, const char *pattern)
{
    const char *name = strrchr(path, '/'), *wanted = strrchr(pattern, '/');
    name = name ? name + 1 : path;
    wanted = wanted ? wanted + 1 : pattern;
    return is_hidden(name) && wanted[0] != name[0];
}

static weir_err glob_error(const char *path, int code, struct weir_error *error)
{
    errno = code;
    return weir_fail_errno(error, WEIR_ERR_IO, "cannot list the directory '%s'", path);
}

/* glob() calls this without an argument of ours; one enumeration runs per thread. */
static _Thread_local struct {
    char path[512];
    int code;
} glob_failure;

static int glob_failed(const char *path, int code)
{
    if (code == ENOTDIR || code == ENOENT)
        return 0;
    snprintf(glob_failure.path, sizeof glob_failure.path, "%s", path);
    glob_failure.code = code;
    return 1;
}

static weir_err add_glob(struct found *found, const char *pattern, struct weir_error *error)
{
    glob_t matches;
    int result = glob(pattern, GLOB_NOSORT, glob_failed, &matches);
    if (result == GLOB_NOMATCH)
        return weir_fail(error, WEIR_ERR_NOT_FOUND, "no file matches '%s'", pattern);
    if (result == GLOB_ABORTED)
        return glob_error(glob_failure.path, glob_failure.code, error);
    if (result)
        return weir_fail(error, WEIR_ERR_IO, "cannot expand '%s'", pattern);
    weir_err err = 0;
    for (size_t i = 0; !err && i < matches.gl_pathc; i++)
        if (!hidden_match(matches.gl_pathv[i], pattern))
            err = add_path(found, matches.gl_pathv[i], true, 0, error);
    globfree(&matches);
    if (!err && found->count == 0)
        err = weir_fail(error, WEIR_ERR_NOT_FOUND, "no file matches '%s' (hidden ones are left out)", pattern);
    return err;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct file *)a)->path, ((const struct file *)b)->path);
}

/* --- Splits */

static int64_t range_size(const struct found *found, int64_t asked, int reader_count)
{
    int64_t total = 0;
    for (int i = 0; i < found->count; i++)
        total += found->files[i].size;
    /* About four for each reader, so that a slow one does not hold up the end. */
    int64_t size = asked > 0 ? asked : total / (reader_count * 4) + 1;
    if (asked <= 0)
        size = size < RANGE_SIZE_MIN ? RANGE_SIZE_MIN : size > RANGE_SIZE_MAX ? RANGE_SIZE_MAX : size;
    while (total / size > RANGES_MAX)
        size *= 2;
    return size;
}

static void make_splits(const struct found *found, int64_t size, bool cut, struct weir_arena *arena,
                        struct weir_split **out, int *out_count)
{
    int64_t count = 0;
    for (int i = 0; i < found->count; i++)
        count += cut && !weir_fs_is_gzip(found->files[i].path) ? (found->files[i].size - 1) / size + 1 : 1;
    struct weir_split *splits = weir_arena_alloc(arena, (size_t)(count ? count : 1) * sizeof *splits);
    int n = 0;
    for (int i = 0; i < found->count; i++) {
        const struct file *file = &found->files[i];
        int64_t at = 0;
        if (cut && !weir_fs_is_gzip(file->path))
            for (; file->size - at > size; at += size)
                splits[n++] = (struct weir_split){.id = file->path, .offset = at, .size = size};
        /* The last one goes to the file's end, also when that moves. */
        splits[n++] = (struct weir_split){.id = file->path, .offset = at, .size = -1};
    }
    for (int i = 0; i < n; i++)
        splits[i].remaining = n - i - 1;
    *out = splits;
    *out_count = n;
}

weir_err weir_fs_enumerate(const struct weir_key_value *options, int option_count, int reader_count,
                           struct weir_arena *arena, struct weir_split **splits, int *split_count,
                           struct weir_error *error)
{
    const char *path = weir_options_get(options, option_count, weir_fs_source_options, "path");
    struct found found = {
        .arena = arena,
        .recursive = weir_options_get_int(options, option_count, weir_fs_source_options, "recursive") != 0,
    };
    struct stat st;
    bool is_glob = strpbrk(path, "*?[") && stat(path, &st) != 0;
    weir_err err = is_glob ? add_glob(&found, path, error) : add_path(&found, path, true, 0, error);
    if (!err) {
        qsort(found.files, (size_t)found.count, sizeof *found.files, by_path);
        int64_t asked = weir_options_get_int(options, option_count, weir_fs_source_options, "split.size");
        int64_t size = range_size(&found, asked, reader_count);
        make_splits(&found, size, reader_count > 1, arena, splits, split_count);
    }
    free(found.files);
    return err;
}
