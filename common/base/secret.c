#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

static weir_err read_all(int fd, const char *what, const char *path, bool secret, char **out, struct weir_error *error)
{
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        return weir_fail(error, WEIR_ERR_INVALID, "%s: %s is not a regular file", what, path);
    if (secret && info.st_mode & S_IRWXO)
        return weir_fail(error, WEIR_ERR_INVALID, "%s: %s holds a secret and is open to everyone: run chmod 600 %s",
                         what, path, path);
    if (info.st_size > (off_t)WEIR_SECRET_FILE_MAX)
        return weir_fail(error, WEIR_ERR_INVALID, "%s: %s is larger than 1 MiB", what, path);
    size_t size = 0, max = (size_t)info.st_size;
    char *text = weir_zalloc(max + 1);
    while (size < max) {
        ssize_t got = read(fd, text + size, max - size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            weir_err err = weir_fail_errno(error, WEIR_ERR_IO, "%s: cannot read %s", what, path);
            free(text);
            return err;
        }
        if (got == 0)
            break;
        size += (size_t)got;
    }
    if (memchr(text, 0, size)) {
        free(text);
        return weir_fail(error, WEIR_ERR_INVALID, "%s: %s is not text", what, path);
    }
    *out = text;
    return WEIR_OK;
}

static weir_err read_text(const char *what, const char *path, bool secret, char **text, struct weir_error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return weir_fail_errno(error, errno == ENOENT ? WEIR_ERR_NOT_FOUND : WEIR_ERR_IO, "%s: cannot open %s", what,
                               path);
    weir_err err = read_all(fd, what, path, secret, text, error);
    close(fd);
    return err;
}

weir_err weir_secret_read(const char *what, const char *path, char **text, struct weir_error *error)
{
    return read_text(what, path, true, text, error);
}

weir_err weir_public_read(const char *what, const char *path, char **text, struct weir_error *error)
{
    return read_text(what, path, false, text, error);
}

void weir_secret_free(char *text)
{
    if (!text)
        return;
    explicit_bzero(text, strlen(text));
    free(text);
}

weir_err weir_secret_write(const char *path, const char *text, int mode, bool replace, struct weir_error *error)
{
    char *part = weir_format("%s.%d.part", path, (int)getpid());
    weir_err err = WEIR_OK;
    unlink(part);
    int fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    size_t size = strlen(text);
    if (fd < 0 || write(fd, text, size) != (ssize_t)size || fchmod(fd, (mode_t)mode) != 0 || fsync(fd) != 0)
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot write %s", part);
    if (fd >= 0)
        close(fd);
    if (!err && replace && rename(part, path) != 0)
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot write %s", path);
    if (!err && !replace && link(part, path) != 0)
        err = weir_fail_errno(error, errno == EEXIST ? WEIR_ERR_EXISTS : WEIR_ERR_IO, "cannot write %s", path);
    unlink(part);
    free(part);
    return err;
}

weir_err weir_random_bytes(void *out, size_t size, struct weir_error *error)
{
    for (size_t done = 0; done < size;) {
        ssize_t got = getrandom((uint8_t *)out + done, size - done, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return weir_fail_errno(error, WEIR_ERR_IO, "the system gives no random bytes");
        done += (size_t)got;
    }
    return WEIR_OK;
}

void weir_hex_encode(const uint8_t *bytes, size_t size, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * size] = 0;
}

static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool weir_hex_decode(const char *text, size_t size, uint8_t *out)
{
    for (size_t i = 0; i < size; i++) {
        int high = digit(text[2 * i]), low = high < 0 ? -1 : digit(text[2 * i + 1]);
        if (low < 0)
            return false;
        out[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

/* A limit of 1 byte, not 0: the kernel ignores a limit of 0 where core files go to a program. */
void weir_core_disable(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_CORE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max < 1 ? limit.rlim_max : 1;
    setrlimit(RLIMIT_CORE, &limit);
}

void weir_core_restore(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_CORE, &limit) != 0 || limit.rlim_cur != 1)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_CORE, &limit);
}
