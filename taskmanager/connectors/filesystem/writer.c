/* Part files. A subtask writes
 *     .part-<subtask>-<attempt>-<n>-<tag>.<job id>      hidden, while the job runs
 *     part-<subtask>-<attempt>-<n>-<tag>                once committed
 * <tag> is 8 hex digits of a hash over job and vertex, so that two jobs, or two sinks of one job, can share a directory and
 * never overwrite each other. n counts from 0; a file that reaches the rolling size is closed and made durable by the pool, while
 * another follows; at most one full file is being synced at a time, until then the next one grows beyond its size or the rows wait.
 *
 * A file is in progress while it is written to, pending once it is ended, committed when it has its final name. It ends by size, by the
 * time since it was begun or last written to (tick), and at each barrier: the files since the one before are its checkpoint's, durable before
 * that counts. n goes on counting, and attempts are never used twice, so no name is.
 *
 * Commit renames the hidden files that a committable names and syncs the directory. Doing so twice is the same as once; a file that
 * is there under neither name is an error. What older attempts of the same subtask left is removed at the commit (what of it was output
 * was committed before: checkpoints are, in order), and, where no checkpoint can be complete, when the writer opens; what a job that failed left, by abort().
 * At its first barrier, where nothing may follow (weir stop), and at its end a subtask has a committable also without files, which removes, too,
 * what older attempts of subtasks left that are no more (the parallelism was higher).
 *
 * With delivery-guarantee = at-least-once or none there is no committable: whoever ends a file gives it its final name, after the sync or
 * without one; a barrier waits for that.
 *
 * The committable is "<subtask> <attempt> <first>-<end> <tag> <job id> <parallelism>\n<directory>": files first to end - 1; the parallelism
 * in a subtask's first and last one, else 0.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/fault.h"
#include "base/hash.h"
#include "filesystem_int.h"

#define BUFFER_SIZE ((size_t)256 << 10)
#define FLUSH_AHEAD_SIZE ((int64_t)8 << 20) /* the kernel begins to write so much early: the sync at the end is short */
#define NAME_SIZE WEIR_FS_NAME_SIZE
#define SYNC_AGAIN_MS 100

struct weir_writer {
    struct weir_fs_objects *objects; /* on S3, and nothing of what follows; NULL: in a directory */
    char *dir;                       /* absolute */
    int subtask, attempt;
    char tag[9];
    char job_id[40];
    int64_t file_size_max, rollover_ms, inactivity_ms; /* 0: no bound in time */
    int64_t begun_ms, written_ms;                      /* the current file; 0: not since the last tick */
    bool at_once, unsynced;                            /* files are published when they are ended; without a sync */
    int fd;                                            /* of the current hidden file; -1: none is open */
    int first;                                         /* of the files since the last barrier */
    int count;                                         /* files begun */
    int64_t size;                                      /* of the current file, buffer included */
    int64_t flushed_ahead;
    uint8_t *buffer;
    size_t used;
    struct weir_connector_ctx *ctx;
    struct weir_call *rolled, *last; /* being synced: the file that was full, the one at the end; NULL: none */
    struct sync *syncs;              /* of the files since the last barrier but the open one, one reference each */
    struct sync *before;             /* what the last barrier began to sync: when that fails, so does the task */
    bool sealed;
    bool described; /* the first committable is given */
};

struct part {
    int subtask, attempt;
    int parallelism; /* 0: not to be looked at */
    const char *tag, *job_id;
};

static void hidden_name(const struct part *part, int n, char out[NAME_SIZE])
{
    snprintf(out, NAME_SIZE, ".part-%d-%d-%d-%s.%s", part->subtask, part->attempt, n, part->tag, part->job_id);
}

static void final_name(const struct part *part, int n, char out[NAME_SIZE])
{
    snprintf(out, NAME_SIZE, "part-%d-%d-%d-%s", part->subtask, part->attempt, n, part->tag);
}

static struct part part_of(const struct weir_writer *writer)
{
    return (struct part){writer->subtask, writer->attempt, 0, writer->tag, writer->job_id};
}

/* --- The directory */

/* mkdir -p. */
static weir_err make_directories(const char *path, struct weir_error *error)
{
    char *copy = weir_strdup(path);
    weir_err err = 0;
    for (char *slash = copy + 1; !err && *slash; slash++) {
        if (*slash != '/')
            continue;
        *slash = 0;
        if (mkdir(copy, 0777) != 0 && errno != EEXIST)
            err = weir_fail_errno(error, WEIR_ERR_IO, "cannot make the directory '%s'", copy);
        *slash = '/';
    }
    if (!err && mkdir(copy, 0777) != 0 && errno != EEXIST)
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot make the directory '%s'", copy);
    free(copy);
    struct stat st;
    if (!err && (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)))
        err = weir_fail(error, WEIR_ERR_IO, "'%s' is there and is not a directory", path);
    return err;
}

/* Removes hidden files that `is_leftover` picks. A missing directory has none. */
static weir_err remove_hidden(const char *dir, bool (*is_leftover)(const char *name, const void *arg), const void *arg,
                              struct weir_error *error)
{
    DIR *stream = opendir(dir);
    if (!stream)
        return errno == ENOENT ? 0 : weir_fail_errno(error, WEIR_ERR_IO, "cannot list the directory '%s'", dir);
    weir_err err = 0;
    struct dirent *entry;
    while (!err && (entry = readdir(stream)))
        if (strncmp(entry->d_name, ".part-", 6) == 0 && is_leftover(entry->d_name, arg) &&
            unlinkat(dirfd(stream), entry->d_name, 0) != 0 && errno != ENOENT)
            err = weir_fail_errno(error, WEIR_ERR_IO, "cannot remove what an earlier attempt left, '%s/%s'", dir,
                                  entry->d_name);
    closedir(stream);
    return err;
}

static bool has_suffix(const char *name, const char *suffix)
{
    size_t size = strlen(name), suffix_size = strlen(suffix);
    return size >= suffix_size && strcmp(name + size - suffix_size, suffix) == 0;
}

/* Of the same job, vertex and subtask, by an earlier attempt (or by this one, were it opened twice). */
static bool is_older_attempt_or_this(const char *name, const void *arg)
{
    const struct part *part = arg;
    int subtask, attempt, n;
    char suffix[64];
    snprintf(suffix, sizeof suffix, "-%s.%s", part->tag, part->job_id);
    return sscanf(name, ".part-%d-%d-%d-", &subtask, &attempt, &n) == 3 && subtask == part->subtask &&
           attempt <= part->attempt && has_suffix(name, suffix);
}

static bool is_older_attempt(const char *name, const void *arg)
{
    const struct part *part = arg;
    int subtask, attempt, n;
    char suffix[64];
    snprintf(suffix, sizeof suffix, "-%s.%s", part->tag, part->job_id);
    return sscanf(name, ".part-%d-%d-%d-", &subtask, &attempt, &n) == 3 && has_suffix(name, suffix) &&
           ((subtask == part->subtask && attempt < part->attempt) ||
            (part->parallelism > 0 && subtask >= part->parallelism && attempt <= part->attempt));
}

static bool is_of_job(const char *name, const void *arg)
{
    return has_suffix(name, arg);
}

weir_err weir_fs_abort(const struct weir_key_value *options, int option_count, const char *job_id,
                       struct weir_error *error)
{
    char suffix[64];
    snprintf(suffix, sizeof suffix, ".%s", job_id);
    return remove_hidden(weir_options_get(options, option_count, weir_fs_sink_options, "path"), is_of_job, suffix,
                         error);
}

/* --- Writing */

void weir_fs_tag(const char *job_id, const char *operator_id, char tag[9])
{
    char *both = weir_format("%s %s", job_id, operator_id);
    snprintf(tag, 9, "%08x", (unsigned)(weir_xxh3(both, strlen(both)) & 0xffffffffu));
    free(both);
}

static weir_err open_objects(struct weir_connector_ctx *ctx, const struct weir_key_value *options, int option_count,
                             struct weir_writer **out, struct weir_error *error)
{
    struct weir_fs_objects *objects;
    weir_err err = weir_fs_objects_open(ctx, options, option_count, &objects, error);
    if (err)
        return err;
    *out = weir_zalloc(sizeof **out);
    (*out)->fd = -1;
    (*out)->objects = objects;
    return WEIR_OK;
}

weir_err weir_fs_writer_open(struct weir_connector_ctx *ctx, const struct weir_key_value *options, int option_count,
                             struct weir_writer **out, struct weir_error *error)
{
    const char *path = weir_options_get(options, option_count, weir_fs_sink_options, "path");
    if (weir_fs_is_remote(path))
        return open_objects(ctx, options, option_count, out, error);
    weir_err err = make_directories(path, error);
    if (err)
        return err;
    char *dir = realpath(path, NULL);
    if (!dir)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot resolve the directory '%s'", path);
    struct weir_writer *writer = weir_zalloc(sizeof *writer);
    writer->dir = dir;
    writer->fd = -1;
    writer->ctx = ctx;
    writer->subtask = ctx->subtask;
    writer->attempt = ctx->attempt;
    writer->file_size_max =
        weir_options_get_int(options, option_count, weir_fs_sink_options, "sink.rolling-policy.file-size");
    writer->rollover_ms =
        weir_options_get_int(options, option_count, weir_fs_sink_options, "sink.rolling-policy.rollover-interval");
    writer->inactivity_ms =
        weir_options_get_int(options, option_count, weir_fs_sink_options, "sink.rolling-policy.inactivity-interval");
    const char *guarantee = weir_options_get(options, option_count, weir_fs_sink_options, "delivery-guarantee");
    writer->at_once = guarantee[0] != 'e' && guarantee[0] != 'E';
    writer->unsynced = guarantee[0] == 'n' || guarantee[0] == 'N';
    writer->buffer = weir_alloc(BUFFER_SIZE);
    snprintf(writer->job_id, sizeof writer->job_id, "%s", ctx->job_id);
    weir_fs_tag(ctx->job_id, ctx->operator_id, writer->tag);
    struct part part = part_of(writer);
    /* With neither an interval nor something to begin with no checkpoint is complete, so nothing of them is output. */
    if ((!ctx->checkpoints || writer->at_once) && (err = remove_hidden(dir, is_older_attempt_or_this, &part, error))) {
        weir_fs_writer_close(writer);
        return err;
    }
    *out = writer;
    return 0;
}

static weir_err write_failed(const struct weir_writer *writer, const char *what, struct weir_error *error)
{
    char name[NAME_SIZE];
    struct part part = part_of(writer);
    hidden_name(&part, writer->count - 1, name);
    return weir_fail_errno(error, WEIR_ERR_IO, "cannot %s '%s/%s'", what, writer->dir, name);
}

static weir_err begin_file(struct weir_writer *writer, struct weir_error *error)
{
    char name[NAME_SIZE];
    struct part part = part_of(writer);
    hidden_name(&part, writer->count, name);
    char *path = weir_format("%s/%s", writer->dir, name);
    writer->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    weir_err err = 0;
    if (writer->fd < 0)
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot make the file '%s'", path);
    free(path);
    if (err)
        return err;
    writer->count++;
    writer->size = writer->flushed_ahead = writer->begun_ms = writer->written_ms = 0;
    return 0;
}

static weir_err write_out(struct weir_writer *writer, const uint8_t *bytes, size_t size, struct weir_error *error)
{
    while (size > 0) {
        ssize_t n = write(writer->fd, bytes, size);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return write_failed(writer, "write to", error);
        }
        bytes += n;
        size -= (size_t)n;
    }
    return 0;
}

static weir_err flush_buffer(struct weir_writer *writer, struct weir_error *error)
{
    weir_err err = write_out(writer, writer->buffer, writer->used, error);
    if (err)
        return err;
    writer->used = 0;
    if (writer->size - writer->flushed_ahead >= FLUSH_AHEAD_SIZE) {
        (void)sync_file_range(writer->fd, writer->flushed_ahead, writer->size - writer->flushed_ahead,
                              SYNC_FILE_RANGE_WRITE);
        writer->flushed_ahead = writer->size;
    }
    return 0;
}

/* --- Making files durable: by the pool, a sync may take seconds */

/* Done once, by whoever comes first: the call that began with it, or a checkpoint that needs it. What came of it stays. */
struct sync {
    _Atomic int refs;
    _Atomic int state; /* 0, SYNCED or SYNC_FAILED */
    pthread_mutex_t lock;
    struct weir_error error;
    int fd; /* -1: closed */
    char *path, *dir;
    char *final; /* published at once, as this; NULL: by a commit */
    bool unsynced;
    struct sync *next; /* of those that a barrier needs; a reference */
};
enum { SYNCED = 1, SYNC_FAILED = 2 };

static weir_err sync_directory(const char *dir, struct weir_error *error)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot open the directory '%s'", dir);
    weir_err err = 0;
    if (fsync(fd) != 0)
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot make the directory '%s' durable", dir);
    close(fd);
    return err;
}

static weir_err make_durable(struct sync *sync, struct weir_error *error)
{
    if (!sync->unsynced && fsync(sync->fd) != 0)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot make durable '%s'", sync->path);
    int fd = sync->fd;
    sync->fd = -1;
    if (close(fd) != 0)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot close '%s'", sync->path);
    if (sync->final && rename(sync->path, sync->final) != 0)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot publish '%s' as '%s'", sync->path, sync->final);
    return sync->unsynced ? WEIR_OK : sync_directory(sync->dir, error);
}

static weir_err run_sync(void *arg, struct weir_error *error)
{
    struct sync *sync = arg;
    pthread_mutex_lock(&sync->lock);
    if (!sync->state)
        sync->state = make_durable(sync, &sync->error) ? SYNC_FAILED : SYNCED;
    pthread_mutex_unlock(&sync->lock);
    if (sync->state == SYNCED)
        return WEIR_OK;
    *error = sync->error;
    return sync->error.code;
}

static weir_err run_syncs(void *arg, struct weir_error *error)
{
    weir_err err = WEIR_OK;
    for (struct sync *sync = arg; sync && !err; sync = sync->next)
        err = run_sync(sync, error);
    return err;
}

static void free_sync(void *arg)
{
    for (struct sync *sync = arg, *next; sync && --sync->refs == 0; sync = next) {
        next = sync->next;
        if (sync->fd >= 0)
            close(sync->fd);
        pthread_mutex_destroy(&sync->lock);
        free(sync->path);
        free(sync->final);
        free(sync->dir);
        free(sync);
    }
}

static struct sync *ref_sync(struct sync *sync)
{
    sync->refs++;
    return sync;
}

/* For what is durable no barrier has to wait. */
static void forget_synced(struct weir_writer *writer)
{
    for (struct sync **at = &writer->syncs; *at;) {
        struct sync *sync = *at;
        if (sync->state != SYNCED || sync->refs > 1) {
            at = &sync->next;
            continue;
        }
        *at = sync->next;
        sync->next = NULL;
        free_sync(sync);
    }
}

/* The current file is complete. `syncing`: it is made durable at once, by a call; NULL: by the barrier. */
static weir_err end_file(struct weir_writer *writer, struct weir_call **syncing, struct weir_error *error)
{
    weir_err err = flush_buffer(writer, error);
    if (err)
        return err;
    weir_assert(!syncing || !*syncing);
    char name[NAME_SIZE];
    struct part part = part_of(writer);
    hidden_name(&part, writer->count - 1, name);
    struct sync *sync = weir_zalloc(sizeof *sync);
    pthread_mutex_init(&sync->lock, NULL);
    sync->refs = 1;
    sync->fd = writer->fd;
    sync->path = weir_format("%s/%s", writer->dir, name);
    sync->dir = weir_strdup(writer->dir);
    sync->unsynced = writer->unsynced;
    if (writer->at_once) {
        final_name(&part, writer->count - 1, name);
        sync->final = weir_format("%s/%s", writer->dir, name);
    }
    writer->fd = -1;
    forget_synced(writer);
    sync->next = writer->syncs;
    writer->syncs = sync; /* the list has the newest one's reference */
    if (syncing)
        *syncing = writer->ctx->call(writer->ctx, run_sync, ref_sync(sync), free_sync);
    return 0;
}

/* What came of a sync that has ended. */
static weir_err take_synced(struct weir_call **syncing, struct weir_error *error)
{
    if (!*syncing || !weir_call_ended(*syncing))
        return 0;
    weir_err err = weir_call_result(*syncing, error);
    weir_call_free(*syncing);
    *syncing = NULL;
    return err;
}

/* Rows go on into the next file while one is synced; they wait when that one is full too. */
bool weir_fs_writer_busy(struct weir_writer *writer)
{
    if (writer->objects)
        return weir_fs_objects_busy(writer->objects);
    bool wait = writer->sealed || (writer->fd >= 0 && writer->size >= writer->file_size_max);
    return wait && ((writer->rolled && !writer->ctx->call_ended(writer->ctx, writer->rolled)) ||
                    (writer->last && !writer->ctx->call_ended(writer->ctx, writer->last)));
}

/* Rows that could not be made durable are lost to every later checkpoint, too: a new attempt writes them again. */
static weir_err check_before(const struct weir_writer *writer, struct weir_error *error)
{
    for (const struct sync *sync = writer->before; sync; sync = sync->next)
        if (sync->state == SYNC_FAILED) {
            *error = sync->error;
            return sync->error.code;
        }
    return WEIR_OK;
}

weir_err weir_fs_write(struct weir_writer *writer, const uint8_t *bytes, size_t size, int row_count,
                       struct weir_error *error)
{
    (void)row_count;
    if (writer->objects)
        return weir_fs_objects_write(writer->objects, bytes, size, error);
    weir_err err = take_synced(&writer->rolled, error);
    if (!err)
        err = check_before(writer, error);
    if (err || (writer->fd < 0 && (err = begin_file(writer, error))))
        return err;
    if (writer->used + size > BUFFER_SIZE && (err = flush_buffer(writer, error)))
        return err;
    writer->size += (int64_t)size;
    writer->written_ms = 0;
    if (size > BUFFER_SIZE) {
        err = write_out(writer, bytes, size, error);
    } else {
        memcpy(writer->buffer + writer->used, bytes, size);
        writer->used += size;
    }
    if (!err && writer->size >= writer->file_size_max && !writer->rolled)
        err = end_file(writer, &writer->rolled, error);
    return err;
}

/* Files end by time here, the others where they are written. The time of a write is that of the tick that follows it. */
weir_err weir_fs_tick(struct weir_writer *writer, int64_t now_ms, int64_t *next_ms, struct weir_error *error)
{
    if (writer->objects)
        return WEIR_OK;
    weir_err err = take_synced(&writer->rolled, error);
    if (err || writer->fd < 0 || writer->sealed)
        return err;
    if (!writer->begun_ms)
        writer->begun_ms = now_ms;
    if (!writer->written_ms)
        writer->written_ms = now_ms;
    int64_t due_ms = writer->rollover_ms > 0 ? writer->begun_ms + writer->rollover_ms : INT64_MAX;
    if (writer->inactivity_ms > 0 && writer->written_ms + writer->inactivity_ms < due_ms)
        due_ms = writer->written_ms + writer->inactivity_ms;
    if (due_ms > now_ms || writer->size == 0) {
        *next_ms = due_ms;
        return WEIR_OK;
    }
    if (writer->rolled) { /* the one before is being synced yet */
        *next_ms = now_ms + SYNC_AGAIN_MS;
        return WEIR_OK;
    }
    return end_file(writer, &writer->rolled, error);
}

static weir_err describe(const struct weir_writer *writer, int parallelism, struct weir_buf *committable,
                         struct weir_error *error)
{
    if (!weir_buf_printf(committable, "%d %d %d-%d %s %s %d\n%s", writer->subtask, writer->attempt, writer->first,
                         writer->count, writer->tag, writer->job_id, parallelism, writer->dir))
        return weir_fail(error, WEIR_ERR_FULL, "the directory's name '%.200s...' is too long", writer->dir);
    return WEIR_OK;
}

weir_err weir_fs_barrier(struct weir_writer *writer, uint64_t checkpoint, struct weir_buf *committable,
                         struct weir_barrier_sync *sync, struct weir_error *error)
{
    (void)checkpoint;
    if (writer->objects) {
        weir_fs_objects_barrier(writer->objects, sync);
        return WEIR_OK;
    }
    weir_err err = check_before(writer, error);
    if (!err && writer->fd >= 0)
        err = end_file(writer, NULL, error);
    bool first = !writer->described && !writer->at_once;
    if (err || (writer->first == writer->count && !first))
        return err;
    if (!writer->at_once && (err = describe(writer, first ? writer->ctx->parallelism : 0, committable, error)))
        return err;
    writer->described = true;
    if (writer->first == writer->count)
        return WEIR_OK;
    writer->first = writer->count;
    free_sync(writer->before);
    writer->before = writer->syncs;
    writer->syncs = NULL;
    *sync = (struct weir_barrier_sync){.run = run_syncs, .arg = ref_sync(writer->before), .free_arg = free_sync};
    return WEIR_OK;
}

weir_err weir_fs_seal(struct weir_writer *writer, struct weir_error *error)
{
    if (writer->objects)
        return weir_fs_objects_seal(writer->objects, error);
    writer->sealed = true;
    return writer->fd >= 0 ? end_file(writer, &writer->last, error) : WEIR_OK;
}

/* Also without rows: what earlier attempts left is removed at the commit. */
weir_err weir_fs_finish(struct weir_writer *writer, struct weir_buf *committable, struct weir_error *error)
{
    if (writer->objects)
        return weir_fs_objects_finish(writer->objects, error);
    weir_err err = take_synced(&writer->rolled, error);
    err = err ? err : take_synced(&writer->last, error);
    if (err)
        return err;
    weir_assert(!writer->rolled && !writer->last);
    return writer->at_once ? WEIR_OK : describe(writer, writer->ctx->parallelism, committable, error);
}

void weir_fs_writer_close(struct weir_writer *writer)
{
    weir_fs_objects_close(writer->objects);
    weir_call_free(writer->rolled);
    weir_call_free(writer->last);
    free_sync(writer->syncs);
    free_sync(writer->before);
    if (writer->fd >= 0)
        close(writer->fd);
    free(writer->buffer);
    free(writer->dir);
    free(writer);
}

/* --- Committing */

static weir_err commit_file(int dir_fd, const char *dir, const struct part *part, int n, struct weir_error *error)
{
    char hidden[NAME_SIZE], final[NAME_SIZE];
    struct stat st;
    hidden_name(part, n, hidden);
    final_name(part, n, final);
    if (renameat2(dir_fd, hidden, dir_fd, final, RENAME_NOREPLACE) == 0)
        return weir_fault("supervisor.commit-file")
                   ? weir_fail(error, WEIR_ERR_IO, "a fault point failed what publishes '%s/%s'", dir, final)
                   : WEIR_OK;
    if (errno == EINVAL || errno == ENOSYS || errno == ENOTSUP) {
        /* A file system that cannot refuse to replace: nobody else makes files of this tag, so looking first is enough. */
        if (fstatat(dir_fd, final, &st, 0) == 0 && fstatat(dir_fd, hidden, &st, 0) == 0)
            errno = EEXIST;
        else if (renameat(dir_fd, hidden, dir_fd, final) == 0)
            return 0;
    }
    if (errno == EEXIST)
        return weir_fail(error, WEIR_ERR_EXISTS, "'%s/%s' is there already, and so is '%s' that would become it", dir,
                         final, hidden);
    if (errno != ENOENT)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot publish '%s/%s' as '%s'", dir, hidden, final);
    if (fstatat(dir_fd, final, &st, 0) == 0)
        return 0; /* committed before */
    return weir_fail(
        error, WEIR_ERR_NOT_FOUND,
        "'%s/%s' is gone: its rows cannot be published. It was removed, or the TaskManagers do not share this directory: "
        "they must all see the same files there",
        dir, hidden);
}

weir_err weir_fs_commit(const char *committable, struct weir_error *error)
{
    struct part part = {.parallelism = 0};
    int first, end, dir_at = -1;
    char tag[9], job_id[40];
    if (sscanf(committable, "%d %d %d-%d %8[0-9a-f] %39[^ \n] %d\n%n", &part.subtask, &part.attempt, &first, &end, tag,
               job_id, &part.parallelism, &dir_at) != 7 ||
        dir_at < 0 || committable[dir_at] != '/' || strchr(job_id, '/') || first < 0 || end < first)
        return weir_fail(error, WEIR_ERR_PROTOCOL, "this describes no part files: '%.100s'", committable);
    part.tag = tag;
    part.job_id = job_id;
    const char *dir = committable + dir_at;
    int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot open the directory '%s'", dir);
    weir_err err = 0;
    for (int n = first; !err && n < end; n++)
        err = commit_file(dir_fd, dir, &part, n, error);
    /* An attempt that was lost may have made files after this one had begun (its process was stopped, and then went on). */
    if (!err)
        err = remove_hidden(dir, is_older_attempt, &part, error);
    if (!err && fsync(dir_fd) != 0)
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot make the directory '%s' durable", dir);
    close(dir_fd);
    return err;
}
