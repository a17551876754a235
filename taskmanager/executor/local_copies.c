/* Names: an object jobs/<job>/chk-<n>/<rest> is the file chk-<n>+<rest>; one that is being written has a dot before it. */
#include "executor/local_copies.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/daemon.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif
#define FREE_PART 20                   /* 1/20 of the disk stays free */
#define WRITE_SIZE ((size_t)256 << 10) /* at once: the kernel keeps the core until it has copied that */
#define REFERENCES_MAX 16              /* of one task */
#define SAVEPOINTS 8                   /* the newest ones are known */

struct copy {
    char *name;
    int64_t size;
    uint64_t checkpoint; /* whose barrier wrote it; 0: of a task that has FINISHED */
    bool needed;         /* while what is not is looked for */
};

struct reference {
    uint32_t vertex, subtask;
    uint64_t checkpoint; /* UINT64_MAX: every later one */
    char **names;        /* sorted */
    int count;
};

struct weir_local_copies {
    atomic_int refs;
    pthread_mutex_t mutex;
    int directory_fd;
    char *prefix; /* "jobs/<job>/" */
    int64_t size_max, size;
    uint64_t complete, savepoints[SAVEPOINTS];
    struct copy *copies; /* sorted by name */
    int copy_count, copy_capacity;
    struct reference *references;
    int reference_count, reference_capacity;
    bool said; /* that there is no room */
};

/* --- Names */

/* NULL: an object of another job, or one that cannot be a file's name here. */
static char *name_of(const struct weir_local_copies *copies, const char *object)
{
    size_t skip = strlen(copies->prefix);
    if (strncmp(object, copies->prefix, skip) != 0 || !object[skip] || object[skip] == '.' || strchr(object, '+') ||
        strlen(object + skip) > NAME_MAX - 1)
        return NULL;
    char *name = weir_strdup(object + skip);
    for (char *at = name; *at; at++)
        if (*at == '/')
            *at = '+';
    return name;
}

static uint64_t checkpoint_of(const char *name)
{
    uint64_t checkpoint;
    return sscanf(name, "chk-%" SCNu64 "+", &checkpoint) == 1 ? checkpoint : 0;
}

/* Where the copy is, or would be. */
static int place_of(const struct weir_local_copies *copies, const char *name, bool *found)
{
    int low = 0, high = copies->copy_count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (strcmp(copies->copies[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *found = low < copies->copy_count && strcmp(copies->copies[low].name, name) == 0;
    return low;
}

static void add_copy(struct weir_local_copies *copies, const char *name, int64_t size)
{
    bool found;
    int at = place_of(copies, name, &found);
    if (found) {
        copies->size += size - copies->copies[at].size;
        copies->copies[at].size = size;
        return;
    }
    if (copies->copy_count == copies->copy_capacity) {
        copies->copy_capacity = copies->copy_capacity ? copies->copy_capacity * 2 : 64;
        copies->copies = weir_realloc(copies->copies, (size_t)copies->copy_capacity * sizeof *copies->copies);
    }
    memmove(&copies->copies[at + 1], &copies->copies[at], (size_t)(copies->copy_count - at) * sizeof *copies->copies);
    copies->copies[at] = (struct copy){.name = weir_strdup(name), .size = size, .checkpoint = checkpoint_of(name)};
    copies->copy_count++;
    copies->size += size;
}

static void remove_copy(struct weir_local_copies *copies, int at)
{
    struct copy *copy = &copies->copies[at];
    (void)unlinkat(copies->directory_fd, copy->name, 0);
    copies->size -= copy->size;
    free(copy->name);
    memmove(copy, copy + 1, (size_t)(copies->copy_count - at - 1) * sizeof *copy);
    copies->copy_count--;
}

/* --- Life */

static void look_around(struct weir_local_copies *copies)
{
    int fd = openat(copies->directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        struct stat about;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (entry->d_name[0] == '.') /* was not finished */
            (void)unlinkat(copies->directory_fd, entry->d_name, 0);
        else if (fstatat(copies->directory_fd, entry->d_name, &about, AT_SYMLINK_NOFOLLOW) == 0 &&
                 S_ISREG(about.st_mode))
            add_copy(copies, entry->d_name, about.st_size);
    }
    if (dir)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
}

weir_err weir_local_copies_open(const char *directory, const char *job_id, int64_t size_max,
                                struct weir_local_copies **out, struct weir_error *error)
{
    weir_err err = weir_make_directories(directory, error);
    if (err)
        return err;
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot open %s", directory);
    struct weir_local_copies *copies = *out = weir_zalloc(sizeof *copies);
    atomic_init(&copies->refs, 1);
    pthread_mutex_init(&copies->mutex, NULL);
    copies->directory_fd = fd;
    copies->prefix = weir_format("jobs/%s/", job_id);
    copies->size_max = size_max;
    look_around(copies);
    return WEIR_OK;
}

struct weir_local_copies *weir_local_copies_ref(struct weir_local_copies *copies)
{
    if (copies)
        atomic_fetch_add(&copies->refs, 1);
    return copies;
}

static void free_reference(struct reference *reference)
{
    for (int i = 0; i < reference->count; i++)
        free(reference->names[i]);
    free(reference->names);
}

void weir_local_copies_unref(struct weir_local_copies *copies)
{
    if (!copies || atomic_fetch_sub(&copies->refs, 1) > 1)
        return;
    for (int i = 0; i < copies->copy_count; i++)
        free(copies->copies[i].name);
    for (int i = 0; i < copies->reference_count; i++)
        free_reference(&copies->references[i]);
    free(copies->copies);
    free(copies->references);
    free(copies->prefix);
    close(copies->directory_fd);
    pthread_mutex_destroy(&copies->mutex);
    free(copies);
}

/* --- Writing */

/* Takes the bytes from what may be used. */
static bool take_room(struct weir_local_copies *copies, int64_t size)
{
    struct statvfs disk;
    bool room = fstatvfs(copies->directory_fd, &disk) == 0 &&
                (int64_t)(disk.f_bavail * disk.f_frsize) - size >= (int64_t)(disk.f_blocks * disk.f_frsize) / FREE_PART;
    pthread_mutex_lock(&copies->mutex);
    bool said = copies->said;
    bool within = size <= copies->size_max - copies->size;
    if (room && within)
        copies->size += size;
    copies->said = !(room && within);
    pthread_mutex_unlock(&copies->mutex);
    if (!(room && within) && !said)
        weir_log(
            WARN,
            within
                ? "less than 5 %% of the disk is free: no local copies of checkpoints are made until there is more"
                : "the local copies of this job's checkpoints have reached taskmanager.state.local.max-size: no more are made "
                  "until some go");
    return room && within;
}

static void give_room(struct weir_local_copies *copies, int64_t size)
{
    pthread_mutex_lock(&copies->mutex);
    copies->size -= size;
    pthread_mutex_unlock(&copies->mutex);
}

int weir_local_copies_create(struct weir_local_copies *copies, const char *object, int64_t size)
{
    char *name = copies ? name_of(copies, object) : NULL;
    int fd = -1;
    if (name && take_room(copies, size)) {
        char *hidden = weir_format(".%s", name);
        /* One that is there is being written: two subtasks read the same object after a change of parallelism. */
        fd = openat(copies->directory_fd, hidden, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        free(hidden);
        if (fd < 0)
            give_room(copies, size);
    }
    free(name);
    return fd;
}

void weir_local_copies_keep(struct weir_local_copies *copies, const char *object, int64_t size, int fd)
{
    char *name = name_of(copies, object), *hidden = weir_format(".%s", name);
    pthread_mutex_lock(&copies->mutex);
    copies->size -= size;
    if (renameat(copies->directory_fd, hidden, copies->directory_fd, name) == 0)
        add_copy(copies, name, size);
    else
        (void)unlinkat(copies->directory_fd, hidden, 0);
    pthread_mutex_unlock(&copies->mutex);
    close(fd);
    free(hidden);
    free(name);
}

void weir_local_copies_drop(struct weir_local_copies *copies, const char *object, int64_t size, int fd)
{
    char *name = name_of(copies, object), *hidden = weir_format(".%s", name);
    (void)unlinkat(copies->directory_fd, hidden, 0);
    give_room(copies, size);
    close(fd);
    free(hidden);
    free(name);
}

bool weir_local_write(int fd, const void *bytes, size_t size)
{
    for (const uint8_t *at = bytes; size > 0;) {
        ssize_t n = write(fd, at, size < WRITE_SIZE ? size : WRITE_SIZE);
        if (n <= 0)
            return false;
        at += n;
        size -= (size_t)n;
        weir_thread_give_way();
    }
    return true;
}

void weir_local_copies_put(struct weir_local_copies *copies, const char *object, const void *bytes, int64_t size)
{
    int fd = weir_local_copies_create(copies, object, size);
    if (fd < 0)
        return;
    if (weir_local_write(fd, bytes, (size_t)size))
        weir_local_copies_keep(copies, object, size, fd);
    else
        weir_local_copies_drop(copies, object, size, fd);
}

/* --- Reading */

/* All of it is in memory: a disk that cannot be read shows here, and not when the bytes are used. */
static bool populate(void *base, int64_t length, int fd)
{
    if (madvise(base, (size_t)length, MADV_POPULATE_READ) == 0)
        return true;
    if (errno != EINVAL)
        return false;
    uint8_t room[65536];
    for (int64_t at = 0; at < length;) {
        ssize_t n = pread(fd, room, sizeof room, at);
        if (n <= 0)
            return false;
        at += n;
    }
    return true;
}

bool weir_local_copies_map(struct weir_local_copies *copies, const char *object, int64_t offset, int64_t size,
                           const uint8_t **bytes, void **base, int64_t *length)
{
    char *name = copies ? name_of(copies, object) : NULL;
    int fd = name ? openat(copies->directory_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    struct stat about;
    bool there =
        fd >= 0 && size > 0 && fstat(fd, &about) == 0 && offset <= about.st_size && size <= about.st_size - offset;
    free(name);
    if (there) {
        *length = about.st_size;
        *base = mmap(NULL, (size_t)*length, PROT_READ, MAP_PRIVATE, fd, 0);
        there = *base != MAP_FAILED;
        if (there && !populate(*base, *length, fd)) {
            munmap(*base, (size_t)*length);
            there = false;
        }
        *bytes = there ? (const uint8_t *)*base + offset : NULL;
    }
    if (fd >= 0)
        close(fd);
    return there;
}

void weir_local_copies_forget(struct weir_local_copies *copies, const char *object)
{
    char *name = name_of(copies, object);
    bool found = false;
    pthread_mutex_lock(&copies->mutex);
    int at = name ? place_of(copies, name, &found) : 0;
    if (found)
        remove_copy(copies, at);
    pthread_mutex_unlock(&copies->mutex);
    free(name);
}

/* --- What is needed */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* When no checkpoint becomes complete the task's oldest ones behind the newest complete one are let go of. */
static void bound_references(struct weir_local_copies *copies, const struct reference *reference)
{
    int same = 0, oldest = -1;
    for (int i = 0; i < copies->reference_count; i++) {
        const struct reference *there = &copies->references[i];
        if (there->vertex != reference->vertex || there->subtask != reference->subtask)
            continue;
        same++;
        if (there->checkpoint > copies->complete &&
            (oldest < 0 || there->checkpoint < copies->references[oldest].checkpoint))
            oldest = i;
    }
    if (same < REFERENCES_MAX || oldest < 0)
        return;
    free_reference(&copies->references[oldest]);
    copies->references[oldest] = copies->references[--copies->reference_count];
}

void weir_local_copies_refer(struct weir_local_copies *copies, uint32_t vertex, uint32_t subtask, uint64_t checkpoint,
                             const char *const *objects, int count)
{
    if (!copies)
        return;
    struct reference reference = {.vertex = vertex,
                                  .subtask = subtask,
                                  .checkpoint = checkpoint ? checkpoint : UINT64_MAX,
                                  .names = weir_alloc(((size_t)count + 1) * sizeof(char *))};
    for (int i = 0; i < count; i++) {
        char *name = name_of(copies, objects[i]);
        if (name)
            reference.names[reference.count++] = name;
    }
    qsort(reference.names, (size_t)reference.count, sizeof(char *), by_text);
    pthread_mutex_lock(&copies->mutex);
    bound_references(copies, &reference);
    if (copies->reference_count == copies->reference_capacity) {
        copies->reference_capacity = copies->reference_capacity ? copies->reference_capacity * 2 : 16;
        copies->references =
            weir_realloc(copies->references, (size_t)copies->reference_capacity * sizeof *copies->references);
    }
    copies->references[copies->reference_count++] = reference;
    pthread_mutex_unlock(&copies->mutex);
}

static void mark_needed(struct weir_local_copies *copies, const struct reference *reference)
{
    for (int i = 0; i < reference->count; i++) {
        bool found;
        int at = place_of(copies, reference->names[i], &found);
        if (found)
            copies->copies[at].needed = true;
    }
}

void weir_local_copies_savepoint(struct weir_local_copies *copies, uint64_t checkpoint)
{
    pthread_mutex_lock(&copies->mutex);
    copies->savepoints[checkpoint % SAVEPOINTS] = checkpoint;
    pthread_mutex_unlock(&copies->mutex);
}

void weir_local_copies_complete(struct weir_local_copies *copies, uint64_t checkpoint)
{
    if (!copies)
        return;
    pthread_mutex_lock(&copies->mutex);
    if (checkpoint > copies->complete && copies->savepoints[checkpoint % SAVEPOINTS] != checkpoint) {
        int kept = 0;
        copies->complete = checkpoint;
        for (int i = 0; i < copies->copy_count; i++)
            copies->copies[i].needed = copies->copies[i].checkpoint > checkpoint;
        for (int i = 0; i < copies->reference_count; i++) {
            if (copies->references[i].checkpoint < checkpoint) {
                free_reference(&copies->references[i]);
                continue;
            }
            mark_needed(copies, &copies->references[i]);
            copies->references[kept++] = copies->references[i];
        }
        copies->reference_count = kept;
        for (int i = copies->copy_count - 1; i >= 0; i--)
            if (!copies->copies[i].needed)
                remove_copy(copies, i);
    }
    pthread_mutex_unlock(&copies->mutex);
}
