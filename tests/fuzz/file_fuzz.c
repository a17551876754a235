/* Reading files, as the filesystem source does: plain ones by ranges, .gz ones as streams. Input: a byte (odd: gzip), a byte for the size of
 * the ranges, then the file.
 * Checked: the lines of all ranges together are the file's lines, each once, at any cut; a .gz file ends or fails, within its bounds.
 */
#include <fcntl.h>
#include <unistd.h>

#include "connectors/filesystem/filesystem_int.h"
#include "fuzz/fuzz.h"

#define UNPACKED_MAX ((size_t)16 << 20)

static char path[2][64];

static void make_files(void)
{
    snprintf(path[0], sizeof path[0], "/tmp/weir-file-fuzz-%d", (int)getpid());
    snprintf(path[1], sizeof path[1], "/tmp/weir-file-fuzz-%d.gz", (int)getpid());
}

static void remove_files(void)
{
    unlink(path[0]);
    unlink(path[1]);
}

/* Reads a split to its end into `out`, taking whole lines as a format does. False: it failed, or is too much. */
static bool read_split(struct weir_reader *reader, const char *name, int64_t offset, int64_t size, struct weir_buf *out)
{
    struct weir_split split = {.id = name, .offset = offset, .size = size};
    struct weir_read_bytes bytes = {.used = 0};
    struct weir_error error;
    int64_t wait_ms;
    if (weir_fs_reader_split(reader, &split, &error))
        return false;
    for (;;) {
        enum weir_read read = weir_fs_read(reader, NULL, &bytes, &wait_ms, &error);
        if (read == WEIR_READ_END)
            return true;
        if (read == WEIR_READ_FAILED)
            return false;
        fuzz_check(read == WEIR_READ_DATA);
        const uint8_t *end = bytes.size > 0 ? memrchr(bytes.bytes, '\n', bytes.size) : NULL;
        bytes.used = bytes.last ? bytes.size : end ? (size_t)(end - bytes.bytes) + 1 : 0;
        if (bytes.used == 0 && bytes.size > (size_t)1 << 20)
            bytes.used = bytes.size; /* a line beyond record.size-max */
        if (!weir_buf_append(out, bytes.bytes, bytes.used))
            return false; /* small files that unpack to much: work, but no memory */
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    if (!path[0][0]) {
        make_files();
        atexit(remove_files);
    }
    int gzip = (int)fuzz_number(&in, 1) & 1;
    int64_t range = 1 + (int64_t)fuzz_number(&in, 1);
    int fd = open(path[gzip], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    fuzz_check(fd >= 0 && write(fd, in.left ? in.at : (const uint8_t *)"", in.left) == (ssize_t)in.left);
    close(fd);
    struct weir_reader *reader = NULL;
    struct weir_buf out;
    weir_buf_init(&out, UNPACKED_MAX);
    fuzz_check(!weir_fs_reader_open(NULL, NULL, 0, &reader, NULL));
    if (gzip) {
        (void)read_split(reader, path[1], 0, -1, &out);
    } else {
        int64_t at = 0, whole = (int64_t)in.left;
        for (; whole - at > range && at / range < 300; at += range)
            fuzz_check(read_split(reader, path[0], at, range, &out));
        fuzz_check(read_split(reader, path[0], at, -1, &out));
        fuzz_check(out.size == in.left && (in.left == 0 || memcmp(out.data, in.at, in.left) == 0));
    }
    weir_fs_reader_close(reader);
    weir_buf_fini(&out);
    return 0;
}
