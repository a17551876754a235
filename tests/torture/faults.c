/* The C library's functions that can fail, so that they do: see faults.h.
 *
 * What is replaced: what weir and its libraries call for memory, files, sockets, threads and processes. libc's own inner calls are not seen
 * (fopen's open, printf's write): hence the kinds of stdio. Descriptors that are neither file, socket nor pipe (eventfd, epoll) are left
 * alone: the kernel does not fail those, and libraries rightly assume so. EAGAIN is given on non-blocking descriptors only. */
#include "torture/faults.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <malloc.h>
#include <limits.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

const char *const fault_names[FAULT_KINDS_MAX] = {
#define X(name) #name,
    FAULT_KINDS(X)
#undef X
};

static struct fault_block *block;
static bool paused;
static _Thread_local int inside; /* our own calls are not counted */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *p);

/* The next definition of a function: libc's. */
#define NEXT(name) \
    static __typeof__(&name) next; \
    if (!next) { \
        inside++; \
        next = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
        inside--; \
    }

/* --- Deciding */

/* The stack as text, without memory: module and offset by frame. */
static void note_frames(char *out, size_t room, int skip)
{
    void *frames[FAULT_FRAMES + 4];
    int count = backtrace(frames, FAULT_FRAMES + 4);
    size_t size = 0;
    for (int i = skip; i < count; i++) {
        Dl_info info;
        char text[128];
        if (!dladdr(frames[i], &info) || !info.dli_fname)
            continue;
        const char *slash = strrchr(info.dli_fname, '/');
        int n = snprintf(text, sizeof text, "%s%.60s+0x%lx", size ? " " : "", slash ? slash + 1 : info.dli_fname,
                         (unsigned long)((char *)frames[i] - (char *)info.dli_fbase - 1));
        if (n < 0 || size + (size_t)n >= room)
            break;
        memcpy(out + size, text, (size_t)n + 1);
        size += (size_t)n;
    }
}

static bool is_below(const char *path, int fd)
{
    char link[64], target[PATH_MAX];
    if (!block->below[0])
        return true;
    if (!path) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        long size = syscall(SYS_readlinkat, AT_FDCWD, link, target, sizeof target - 1);
        if (size <= 0)
            return false;
        target[size] = 0;
        path = target;
    }
    return strncmp(path, block->below, strlen(block->below)) == 0;
}

/* OpenSSL makes thousands of calls when it starts, and goes without what fails: in a preloaded process they would hide all others. */
static struct {
    uintptr_t from, to;
} quiet[4];
static int quiet_count;

static int find_quiet(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size, (void)arg;
    if (!strstr(info->dlpi_name, "libcrypto.so") && !strstr(info->dlpi_name, "libssl.so"))
        return 0;
    uintptr_t from = UINTPTR_MAX, to = 0;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD) {
            uintptr_t start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr, end = start + info->dlpi_phdr[i].p_memsz;
            from = start < from ? start : from;
            to = end > to ? end : to;
        }
    if (quiet_count < 4) {
        quiet[quiet_count].from = from;
        quiet[quiet_count++].to = to;
    }
    return 0;
}

static bool is_quiet(const void *caller)
{
    for (int i = 0; i < quiet_count; i++)
        if ((uintptr_t)caller >= quiet[i].from && (uintptr_t)caller < quiet[i].to)
            return true;
    return false;
}

/* True: this call fails, errno says how (or is FAULT_SHORT). `path` or `fd` (>= 0) is what the filter looks at. */
static bool strikes_from(enum fault_kind kind, const char *path, int fd, const void *caller)
{
    if (!block || paused || inside || is_quiet(caller))
        return false;
    inside++;
    int saved = errno;
    bool strikes = false;
    if (kind == FAULT_alloc || (!path && fd < 0) || is_below(path, fd)) {
        uint64_t n = atomic_fetch_add(&block->counts[kind], 1) + 1;
        strikes = block->armed && block->kind == (uint64_t)kind && (block->onward ? n >= block->nth : n == block->nth);
    }
    if (strikes && block->error == EAGAIN && fd >= 0 && !(syscall(SYS_fcntl, fd, F_GETFL, 0) & O_NONBLOCK))
        strikes = false;
    if (strikes && atomic_fetch_add(&block->hits, 1) == 0)
        note_frames(block->where, sizeof block->where, 2);
    errno = strikes ? (int)block->error : saved;
    inside--;
    return strikes;
}

/* In the replaced functions themselves: the caller is theirs. */
#define strikes_at(kind, path, fd) strikes_from(kind, path, fd, __builtin_return_address(0))
#define strikes(kind) strikes_at(kind, NULL, -1)

void faults_use(struct fault_block *use)
{
    void *frame[4];
    (void)backtrace(frame, 4); /* loads what it needs, now */
    block = use;
}

void faults_pause(bool pause)
{
    paused = pause;
}

static void on_crash(int number)
{
    inside++;
    if (block && !block->crash[0])
        note_frames(block->crash, sizeof block->crash, 1);
    signal(number, SIG_DFL);
    raise(number);
    inside--;
}

void faults_watch_crashes(void)
{
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    struct sigaction action = {.sa_handler = on_crash, .sa_flags = (int)SA_NODEFER};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaction(numbers[i], &action, NULL);
}

/* --- Which process this is */

static const char *role_of(void)
{
    static char text[8192];
    int fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC, 0);
    long size = fd >= 0 ? syscall(SYS_read, fd, text, sizeof text - 2) : 0;
    if (fd >= 0)
        syscall(SYS_close, fd);
    if (size <= 0)
        return "";
    text[size] = text[size + 1] = 0;
    const char *slash = strrchr(text, '/'), *name = slash ? slash + 1 : text, *first = text + strlen(text) + 1;
    if (strcmp(name, "weir-executor") == 0)
        return "executor";
    if (strcmp(name, "weir-taskmanager") == 0)
        return strcmp(first, "build-job") == 0 ? "build-job" : "taskmanager";
    return strncmp(name, "weir-", 5) == 0 ? name + 5 : name;
}

__attribute__((constructor)) static void attach(void)
{
    char path[4096];
    const char *directory = getenv("TORTURE_DIR");
    if (!directory)
        return;
    snprintf(path, sizeof path, "%s/%.100s", directory, role_of());
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0)
        return;
    void *at = (void *)syscall(SYS_mmap, NULL, sizeof *block, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (at == MAP_FAILED)
        return;
    dl_iterate_phdr(find_quiet, NULL);
    faults_use(at);
    faults_watch_crashes();
}

/* --- Memory */

static void *counted(void *p)
{
    if (p && block)
        atomic_fetch_add_explicit(&block->live, 1, memory_order_relaxed);
    return p;
}

void *malloc(size_t size)
{
    return strikes(FAULT_alloc) ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return strikes(FAULT_alloc) ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *old, size_t size)
{
    if (strikes(FAULT_alloc))
        return NULL;
    void *p = __libc_realloc(old, size);
    return old ? p : counted(p);
}

void *memalign(size_t alignment, size_t size)
{
    return strikes(FAULT_alloc) ? NULL : counted(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    void *p = memalign(alignment, size);
    if (!p)
        return ENOMEM;
    *out = p;
    return 0;
}

void free(void *p)
{
    if (p && block)
        atomic_fetch_sub_explicit(&block->live, 1, memory_order_relaxed);
    __libc_free(p);
}

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    if (strikes(FAULT_mmap))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, at, size, protection, flags, fd, offset);
}
void *mmap64(void *, size_t, int, int, int, off_t) __attribute__((alias("mmap")));

/* --- Files by name */

static int open_at(int directory, const char *path, int flags, va_list rest)
{
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    return strikes_at(FAULT_open, path, -1) ? -1 : (int)syscall(SYS_openat, directory, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    int fd = open_at(AT_FDCWD, path, flags, rest);
    va_end(rest);
    return fd;
}
int open64(const char *, int, ...) __attribute__((alias("open")));

int openat(int directory, const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    int fd = open_at(directory, path, flags, rest);
    va_end(rest);
    return fd;
}
int openat64(int, const char *, int, ...) __attribute__((alias("openat")));

int __open_2(const char *path, int flags);
int __open_2(const char *path, int flags)
{
    return open(path, flags);
}
int __open64_2(const char *, int);
int __open64_2(const char *, int) __attribute__((alias("__open_2")));
int __openat_2(int directory, const char *path, int flags);
int __openat_2(int directory, const char *path, int flags)
{
    return openat(directory, path, flags);
}
int __openat64_2(int, const char *, int);
int __openat64_2(int, const char *, int) __attribute__((alias("__openat_2")));

FILE *fopen(const char *path, const char *mode)
{
    NEXT(fopen)
    return strikes_at(FAULT_open, path, -1) ? NULL : next(path, mode);
}
FILE *fopen64(const char *, const char *) __attribute__((alias("fopen")));

FILE *fdopen(int fd, const char *mode)
{
    NEXT(fdopen)
    return strikes_at(FAULT_open, NULL, fd) ? NULL : next(fd, mode);
}

DIR *opendir(const char *path)
{
    NEXT(opendir)
    return strikes_at(FAULT_open, path, -1) ? NULL : next(path);
}

struct dirent *readdir(DIR *directory)
{
    NEXT(readdir)
    return strikes_at(FAULT_read, NULL, dirfd(directory)) && errno != FAULT_SHORT ? NULL : next(directory);
}
struct dirent64 *readdir64(DIR *) __attribute__((alias("readdir")));

int mkstemp(char *path)
{
    NEXT(mkstemp)
    return strikes_at(FAULT_open, path, -1) ? -1 : next(path);
}
int mkstemp64(char *) __attribute__((alias("mkstemp")));

int mkostemps(char *path, int suffix, int flags)
{
    NEXT(mkostemps)
    return strikes_at(FAULT_open, path, -1) ? -1 : next(path, suffix, flags);
}

int mkostemp(char *path, int flags)
{
    NEXT(mkostemp)
    return strikes_at(FAULT_open, path, -1) ? -1 : next(path, flags);
}

int rename(const char *from, const char *to)
{
    return strikes_at(FAULT_rename, to, -1) ? -1 : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat(int from_at, const char *from, int to_at, const char *to)
{
    return strikes_at(FAULT_rename, to, -1) ? -1 : (int)syscall(SYS_renameat2, from_at, from, to_at, to, 0);
}

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned int flags)
{
    return strikes_at(FAULT_rename, to, -1) ? -1 : (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
}

int link(const char *from, const char *to)
{
    return strikes_at(FAULT_rename, to, -1) ? -1 : (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlink(const char *path)
{
    return strikes_at(FAULT_unlink, path, -1) ? -1 : (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

int unlinkat(int at, const char *path, int flags)
{
    return strikes_at(FAULT_unlink, path, -1) ? -1 : (int)syscall(SYS_unlinkat, at, path, flags);
}

int rmdir(const char *path)
{
    return strikes_at(FAULT_unlink, path, -1) ? -1 : (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
}

int mkdir(const char *path, mode_t mode)
{
    return strikes_at(FAULT_mkdir, path, -1) ? -1 : (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

int mkdirat(int at, const char *path, mode_t mode)
{
    return strikes_at(FAULT_mkdir, path, -1) ? -1 : (int)syscall(SYS_mkdirat, at, path, mode);
}

int stat(const char *restrict path, struct stat *restrict out)
{
    NEXT(stat)
    return strikes_at(FAULT_stat, path, -1) ? -1 : next(path, out);
}

int lstat(const char *restrict path, struct stat *restrict out)
{
    NEXT(lstat)
    return strikes_at(FAULT_stat, path, -1) ? -1 : next(path, out);
}

int fstat(int fd, struct stat *out)
{
    NEXT(fstat)
    return strikes_at(FAULT_stat, NULL, fd) ? -1 : next(fd, out);
}

int fstatat(int at, const char *restrict path, struct stat *restrict out, int flags)
{
    NEXT(fstatat)
    return strikes_at(FAULT_stat, path, -1) ? -1 : next(at, path, out, flags);
}

int access(const char *path, int mode)
{
    NEXT(access)
    return strikes_at(FAULT_stat, path, -1) ? -1 : next(path, mode);
}

char *realpath(const char *restrict path, char *restrict out)
{
    NEXT(realpath)
    return strikes_at(FAULT_stat, path, -1) ? NULL : next(path, out);
}

int truncate(const char *path, off_t size)
{
    return strikes_at(FAULT_truncate, path, -1) ? -1 : (int)syscall(SYS_truncate, path, size);
}

int ftruncate(int fd, off_t size)
{
    return strikes_at(FAULT_truncate, NULL, fd) ? -1 : (int)syscall(SYS_ftruncate, fd, size);
}
int ftruncate64(int, off_t) __attribute__((alias("ftruncate")));

int posix_fallocate(int fd, off_t offset, off_t size)
{
    NEXT(posix_fallocate)
    return strikes_at(FAULT_truncate, NULL, fd) ? errno : next(fd, offset, size);
}

/* --- Descriptors */

enum sort { SORT_FILE, SORT_STREAM, SORT_OTHER };

static enum sort sort_of(int fd)
{
    struct stat info;
    int saved = errno;
    inside++;
    int failed = fstatat(fd, "", &info, AT_EMPTY_PATH);
    inside--;
    errno = saved;
    if (failed)
        return SORT_OTHER;
    return S_ISREG(info.st_mode)                              ? SORT_FILE
           : S_ISSOCK(info.st_mode) || S_ISFIFO(info.st_mode) ? SORT_STREAM
                                                              : SORT_OTHER;
}

/* True: the transfer fails, or *size became 1. */
static bool strikes_transfer(enum fault_kind kind, int fd, size_t *size)
{
    if (!strikes_at(kind, NULL, fd))
        return false;
    if (errno == EPIPE || errno == ECONNRESET) { /* then it is broken indeed */
        int saved = errno;
        syscall(SYS_shutdown, fd, SHUT_RDWR);
        errno = saved;
    }
    if (errno != FAULT_SHORT)
        return true;
    if (*size > 1)
        *size = 1;
    return false;
}

static bool strikes_fd(bool in, int fd, size_t *size)
{
    if (!block || paused || inside)
        return false;
    enum sort sort = sort_of(fd);
    if (sort == SORT_OTHER)
        return false;
    enum fault_kind kind = sort == SORT_FILE ? (in ? FAULT_read : FAULT_write) : in ? FAULT_recv : FAULT_send;
    return strikes_transfer(kind, fd, size);
}

ssize_t read(int fd, void *bytes, size_t size)
{
    return strikes_fd(true, fd, &size) ? -1 : syscall(SYS_read, fd, bytes, size);
}

ssize_t __read_chk(int fd, void *bytes, size_t size, size_t room);
ssize_t __read_chk(int fd, void *bytes, size_t size, size_t room)
{
    if (size > room)
        abort();
    return read(fd, bytes, size);
}

ssize_t pread(int fd, void *bytes, size_t size, off_t at)
{
    return strikes_fd(true, fd, &size) ? -1 : syscall(SYS_pread64, fd, bytes, size, at);
}
ssize_t pread64(int, void *, size_t, off_t) __attribute__((alias("pread")));

ssize_t __pread_chk(int fd, void *bytes, size_t size, off_t at, size_t room);
ssize_t __pread_chk(int fd, void *bytes, size_t size, off_t at, size_t room)
{
    if (size > room)
        abort();
    return pread(fd, bytes, size, at);
}
ssize_t __pread64_chk(int, void *, size_t, off_t, size_t);
ssize_t __pread64_chk(int, void *, size_t, off_t, size_t) __attribute__((alias("__pread_chk")));

ssize_t readv(int fd, const struct iovec *parts, int count)
{
    size_t size = SIZE_MAX;
    if (strikes_fd(true, fd, &size))
        return -1;
    return size == 1 && count > 0 ? syscall(SYS_read, fd, parts[0].iov_base, parts[0].iov_len ? 1 : 0)
                                  : syscall(SYS_readv, fd, parts, count);
}

ssize_t write(int fd, const void *bytes, size_t size)
{
    return strikes_fd(false, fd, &size) ? -1 : syscall(SYS_write, fd, bytes, size);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at)
{
    return strikes_fd(false, fd, &size) ? -1 : syscall(SYS_pwrite64, fd, bytes, size, at);
}
ssize_t pwrite64(int, const void *, size_t, off_t) __attribute__((alias("pwrite")));

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    size_t size = SIZE_MAX;
    if (strikes_fd(false, fd, &size))
        return -1;
    if (size != 1)
        return syscall(SYS_writev, fd, parts, count);
    for (int i = 0; i < count; i++)
        if (parts[i].iov_len)
            return syscall(SYS_write, fd, parts[i].iov_base, 1);
    return 0;
}

int close(int fd)
{
    bool file = block && !paused && !inside && sort_of(fd) == SORT_FILE;
    bool fails = file && strikes_at(FAULT_close, NULL, fd);
    int saved = errno;
    int result = (int)syscall(SYS_close, fd);
    if (!fails)
        return result;
    errno = saved;
    return -1;
}

int fsync(int fd)
{
    return strikes_at(FAULT_sync, NULL, fd) ? -1 : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return strikes_at(FAULT_sync, NULL, fd) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

/* --- stdio: what libc does inside is not seen, its outcome is changed */

/* glibc: the flag that ferror() reads, and clearerr() clears. */
#define STREAM_ERROR 0x20

size_t fread(void *restrict bytes, size_t size, size_t count, FILE *restrict file)
{
    NEXT(fread)
    if (strikes_at(FAULT_read, NULL, fileno(file))) {
        if (errno != FAULT_SHORT) {
            file->_flags |= STREAM_ERROR;
            return 0;
        }
        /* fread itself goes on after a short read */
    }
    return next(bytes, size, count, file);
}

size_t __fread_chk(void *restrict bytes, size_t room, size_t size, size_t count, FILE *restrict file);
size_t __fread_chk(void *restrict bytes, size_t room, size_t size, size_t count, FILE *restrict file)
{
    if (size * count > room)
        abort();
    return fread(bytes, size, count, file);
}

char *fgets(char *restrict text, int size, FILE *restrict file)
{
    NEXT(fgets)
    if (strikes_at(FAULT_read, NULL, fileno(file)) && errno != FAULT_SHORT) {
        file->_flags |= STREAM_ERROR;
        return NULL;
    }
    return next(text, size, file);
}

ssize_t getline(char **restrict text, size_t *restrict size, FILE *restrict file)
{
    NEXT(getline)
    if (strikes_at(FAULT_read, NULL, fileno(file)) && errno != FAULT_SHORT) {
        file->_flags |= STREAM_ERROR;
        return -1;
    }
    return next(text, size, file);
}

int fflush(FILE *file)
{
    NEXT(fflush)
    if (!file || file == stderr)
        return next(file);
    if (strikes_at(FAULT_stdio, NULL, fileno(file)) && errno != FAULT_SHORT) {
        file->_flags |= STREAM_ERROR;
        return EOF;
    }
    return next(file);
}

int fclose(FILE *file)
{
    NEXT(fclose)
    bool fails = file != stderr && strikes_at(FAULT_stdio, NULL, fileno(file)) && errno != FAULT_SHORT;
    int saved = errno;
    inside++;
    int result = next(file);
    inside--;
    if (!fails)
        return result;
    errno = saved;
    return EOF;
}

/* --- Sockets */

int socket(int domain, int type, int protocol)
{
    return strikes(FAULT_socket) ? -1 : (int)syscall(SYS_socket, domain, type, protocol);
}

int connect(int fd, const struct sockaddr *to, socklen_t size)
{
    return strikes(FAULT_connect) ? -1 : (int)syscall(SYS_connect, fd, to, size);
}

int bind(int fd, const struct sockaddr *to, socklen_t size)
{
    return strikes(FAULT_bind) ? -1 : (int)syscall(SYS_bind, fd, to, size);
}

int listen(int fd, int backlog)
{
    return strikes(FAULT_bind) ? -1 : (int)syscall(SYS_listen, fd, backlog);
}

int accept4(int fd, struct sockaddr *from, socklen_t *restrict size, int flags)
{
    return strikes_at(FAULT_accept, NULL, fd) ? -1 : (int)syscall(SYS_accept4, fd, from, size, flags);
}

int accept(int fd, struct sockaddr *from, socklen_t *restrict size)
{
    return accept4(fd, from, size, 0);
}

ssize_t sendto(int fd, const void *bytes, size_t size, int flags, const struct sockaddr *to, socklen_t to_size)
{
    return strikes_transfer(FAULT_send, fd, &size) ? -1 : syscall(SYS_sendto, fd, bytes, size, flags, to, to_size);
}

ssize_t send(int fd, const void *bytes, size_t size, int flags)
{
    return sendto(fd, bytes, size, flags, NULL, 0);
}

/* A message in parts: a short transfer sends or takes the first byte of the first part. */
static struct msghdr first_byte(const struct msghdr *message, struct iovec *part)
{
    struct msghdr cut = *message;
    for (size_t i = 0; i < message->msg_iovlen; i++)
        if (message->msg_iov[i].iov_len) {
            *part = (struct iovec){message->msg_iov[i].iov_base, 1};
            cut.msg_iov = part;
            cut.msg_iovlen = 1;
            break;
        }
    return cut;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    size_t size = SIZE_MAX;
    struct iovec part;
    if (strikes_transfer(FAULT_send, fd, &size))
        return -1;
    struct msghdr cut = size == 1 ? first_byte(message, &part) : *message;
    return syscall(SYS_sendmsg, fd, &cut, flags);
}

ssize_t recvfrom(int fd, void *restrict bytes, size_t size, int flags, struct sockaddr *from,
                 socklen_t *restrict from_size)
{
    return strikes_transfer(FAULT_recv, fd, &size) ? -1
                                                   : syscall(SYS_recvfrom, fd, bytes, size, flags, from, from_size);
}

ssize_t recv(int fd, void *bytes, size_t size, int flags)
{
    return recvfrom(fd, bytes, size, flags, NULL, NULL);
}

ssize_t __recv_chk(int fd, void *bytes, size_t size, size_t room, int flags);
ssize_t __recv_chk(int fd, void *bytes, size_t size, size_t room, int flags)
{
    if (size > room)
        abort();
    return recv(fd, bytes, size, flags);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    size_t size = SIZE_MAX;
    struct iovec part;
    if (strikes_transfer(FAULT_recv, fd, &size))
        return -1;
    if (size != 1)
        return syscall(SYS_recvmsg, fd, message, flags);
    struct msghdr cut = first_byte(message, &part);
    ssize_t got = syscall(SYS_recvmsg, fd, &cut, flags);
    message->msg_flags = cut.msg_flags;
    message->msg_namelen = cut.msg_namelen;
    message->msg_controllen = cut.msg_controllen;
    return got;
}

/* --- Waiting */

int poll(struct pollfd *fds, nfds_t count, int ms)
{
    NEXT(poll)
    return strikes(FAULT_poll) ? -1 : next(fds, count, ms);
}

int __poll_chk(struct pollfd *fds, nfds_t count, int ms, size_t room);
int __poll_chk(struct pollfd *fds, nfds_t count, int ms, size_t room)
{
    if (count * sizeof *fds > room)
        abort();
    return poll(fds, count, ms);
}

int select(int count, fd_set *restrict in, fd_set *restrict out, fd_set *restrict other, struct timeval *restrict time)
{
    NEXT(select)
    return strikes(FAULT_poll) ? -1 : next(count, in, out, other, time);
}

int epoll_wait(int fd, struct epoll_event *events, int max, int ms)
{
    NEXT(epoll_wait)
    return strikes(FAULT_poll) ? -1 : next(fd, events, max, ms);
}

int epoll_create1(int flags)
{
    return strikes(FAULT_epoll) ? -1 : (int)syscall(SYS_epoll_create1, flags);
}

int epoll_create(int size)
{
    (void)size;
    return epoll_create1(0);
}

int epoll_ctl(int fd, int what, int of, struct epoll_event *event)
{
    return what == EPOLL_CTL_ADD && strikes(FAULT_epoll) ? -1 : (int)syscall(SYS_epoll_ctl, fd, what, of, event);
}

int eventfd(unsigned int count, int flags)
{
    return strikes(FAULT_event) ? -1 : (int)syscall(SYS_eventfd2, count, flags);
}

int signalfd(int fd, const sigset_t *signals, int flags)
{
    NEXT(signalfd)
    return strikes(FAULT_event) ? -1 : next(fd, signals, flags);
}

int timerfd_create(int clock, int flags)
{
    return strikes(FAULT_event) ? -1 : (int)syscall(SYS_timerfd_create, clock, flags);
}

/* --- Processes and threads */

int pipe2(int ends[2], int flags)
{
    return strikes(FAULT_pipe) ? -1 : (int)syscall(SYS_pipe2, ends, flags);
}

int pipe(int ends[2])
{
    return pipe2(ends, 0);
}

int socketpair(int domain, int type, int protocol, int ends[2])
{
    return strikes(FAULT_pipe) ? -1 : (int)syscall(SYS_socketpair, domain, type, protocol, ends);
}

int dup(int fd)
{
    return strikes(FAULT_pipe) ? -1 : (int)syscall(SYS_dup, fd);
}

int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attributes, void *(*run)(void *),
                   void *restrict arg)
{
    NEXT(pthread_create)
    return strikes(FAULT_thread) ? errno : next(thread, attributes, run, arg);
}

int posix_spawn(pid_t *restrict pid, const char *restrict path, const posix_spawn_file_actions_t *actions,
                const posix_spawnattr_t *restrict attributes, char *const argv[restrict], char *const env[restrict])
{
    NEXT(posix_spawn)
    return strikes(FAULT_spawn) ? errno : next(pid, path, actions, attributes, argv, env);
}

pid_t fork(void)
{
    NEXT(fork)
    return strikes(FAULT_spawn) ? -1 : next();
}

pid_t waitpid(pid_t pid, int *status, int options)
{
    NEXT(waitpid)
    return strikes(FAULT_wait) ? -1 : next(pid, status, options);
}
