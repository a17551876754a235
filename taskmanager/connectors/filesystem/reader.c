/* Reading one split: a plain file, a byte range of one, or a .gz file as a stream.
 *
 * A range [offset, offset + size) owns the lines that begin in it: a range that does not begin at 0 starts after the first newline
 * at or after offset - 1, and the last line may end behind the range. So every line belongs to exactly one range, at
 * any cut. `position` counts from the split's offset (in a .gz file, in the unpacked bytes).
 *
 * One call reads at most CHUNK_SIZE bytes behind what the caller left. The buffer grows when a line does not fit; the caller
 * bounds that, since it consumes a line that is too long.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/assert.h"
#include "filesystem_int.h"

#define CHUNK_SIZE ((size_t)128 << 10) /* stays in the cache close by until it is decoded */
#define PADDING 64

struct weir_reader {
    char *path;
    int fd; /* -1: no split */
    bool gzip;
    int64_t start;     /* the split's offset */
    int64_t file_at;   /* next byte to read of the file */
    int64_t range_end; /* lines that begin here or later are not ours; -1: to the file's end */
    int64_t skip;      /* unpacked bytes that an earlier attempt has read */
    bool aligning;     /* the first bytes are another range's line */
    bool at_end;       /* nothing more comes from the file */

    /* bytes[0..size) were read and not consumed; bytes[0] is at `position` of the file (or of the unpacked stream). */
    uint8_t *bytes;
    size_t size, capacity;
    int64_t position;

    z_stream zip;
    bool zip_open;
    bool zip_in_member; /* a member has begun and not ended */
    uint8_t *packed;    /* CHUNK_SIZE */
};

weir_err weir_fs_reader_open(struct weir_connector_ctx *ctx, const struct weir_key_value *options, int option_count,
                             struct weir_reader **out, struct weir_error *error)
{
    (void)ctx, (void)options, (void)option_count, (void)error;
    struct weir_reader *reader = weir_zalloc(sizeof *reader);
    reader->fd = -1;
    reader->capacity = 2 * CHUNK_SIZE;
    reader->bytes = weir_zalloc(reader->capacity + PADDING);
    *out = reader;
    return 0;
}

static void end_split(struct weir_reader *reader)
{
    if (reader->fd >= 0)
        close(reader->fd);
    reader->fd = -1;
    if (reader->zip_open)
        inflateEnd(&reader->zip);
    reader->zip_open = false;
    free(reader->path);
    reader->path = NULL;
}

void weir_fs_reader_close(struct weir_reader *reader)
{
    end_split(reader);
    free(reader->packed);
    free(reader->bytes);
    free(reader);
}

weir_err weir_fs_reader_split(struct weir_reader *reader, const struct weir_split *split, struct weir_error *error)
{
    end_split(reader);
    reader->path = weir_strdup(split->id);
    reader->fd = open(split->id, O_RDONLY | O_CLOEXEC);
    if (reader->fd < 0)
        return weir_fail_errno(error, errno == ENOENT ? WEIR_ERR_NOT_FOUND : WEIR_ERR_IO, "cannot open '%s'",
                               split->id);
    reader->gzip = weir_fs_is_gzip(split->id);
    weir_assert(!reader->gzip || split->offset == 0);
    reader->start = split->offset;
    reader->aligning = split->offset > 0;
    reader->file_at = reader->position = split->offset - reader->aligning;
    reader->range_end = split->size < 0 ? -1 : split->offset + split->size;
    reader->at_end = false;
    reader->size = 0;
    reader->skip = 0;
    (void)posix_fadvise(reader->fd, reader->file_at, split->size < 0 ? 0 : split->size, POSIX_FADV_SEQUENTIAL);
    if (reader->gzip) {
        if (!reader->packed)
            reader->packed = weir_alloc(CHUNK_SIZE);
        memset(&reader->zip, 0, sizeof reader->zip);
        int result = inflateInit2(&reader->zip, 15 + 16);
        if (result != Z_OK)
            return weir_fail(error, WEIR_ERR_NO_MEMORY, "cannot unpack '%s': %s", split->id, zError(result));
        reader->zip_open = true;
        reader->zip_in_member = true; /* an empty file is no gzip file */
    }
    return 0;
}

/* --- Filling. Each adds up to CHUNK_SIZE bytes or sets at_end. */

static weir_err read_file(struct weir_reader *reader, uint8_t *to, size_t room, size_t *got, struct weir_error *error)
{
    ssize_t n;
    do
        n = pread(reader->fd, to, room, reader->file_at);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot read '%s' at byte %" PRId64, reader->path, reader->file_at);
    reader->file_at += n;
    *got = (size_t)n;
    return 0;
}

static weir_err fill_plain(struct weir_reader *reader, struct weir_error *error)
{
    size_t got = 0;
    weir_err err = read_file(reader, reader->bytes + reader->size, CHUNK_SIZE, &got, error);
    if (err)
        return err;
    reader->size += got;
    reader->at_end = got == 0;
    /* Ranges were cut by the size that the file had: a file that is shorter now has lost lines. */
    if (reader->at_end && reader->file_at < reader->range_end)
        return weir_fail(error, WEIR_ERR_IO,
                         "'%s' became shorter while it was read: %" PRId64 " bytes, %" PRId64 " expected", reader->path,
                         reader->file_at, reader->range_end);
    return 0;
}

static weir_err truncated(const struct weir_reader *reader, struct weir_error *error)
{
    return weir_fail(error, WEIR_ERR_IO,
                     "'%s' is truncated: its gzip data ends at byte %" PRId64 " in the middle of a member (%" PRId64
                     " bytes were unpacked)",
                     reader->path, reader->file_at, reader->position + (int64_t)reader->size);
}

/* Packed bytes into zip.next_in. At the file's end it leaves avail_in 0 and sets at_end, or fails inside a member. */
static weir_err fill_packed(struct weir_reader *reader, struct weir_error *error)
{
    size_t got = 0;
    weir_err err = read_file(reader, reader->packed, CHUNK_SIZE, &got, error);
    if (err)
        return err;
    reader->zip.next_in = reader->packed;
    reader->zip.avail_in = (uInt)got;
    if (got > 0)
        return 0;
    if (reader->zip_in_member)
        return truncated(reader, error);
    reader->at_end = true;
    return 0;
}

/* Between members: another one, zeros that pad the file, or rubbish. */
static weir_err next_member(struct weir_reader *reader, struct weir_error *error)
{
    while (reader->zip.avail_in > 0 && *reader->zip.next_in == 0) {
        reader->zip.next_in++;
        reader->zip.avail_in--;
    }
    if (reader->zip.avail_in == 0)
        return 0;
    if (*reader->zip.next_in != 0x1f)
        return weir_fail(error, WEIR_ERR_IO,
                         "'%s': what follows the gzip data before byte %" PRId64 " is not gzip data", reader->path,
                         reader->file_at);
    inflateReset(&reader->zip);
    reader->zip_in_member = true;
    return 0;
}

static weir_err fill_gzip(struct weir_reader *reader, struct weir_error *error)
{
    z_stream *zip = &reader->zip;
    size_t before = reader->size;
    zip->next_out = reader->bytes + reader->size;
    zip->avail_out = (uInt)CHUNK_SIZE;
    weir_err err = 0;
    while (!err && zip->avail_out > 0 && !reader->at_end) {
        if (zip->avail_in == 0) {
            /* What was unpacked goes out before more is read: a call's work stays bounded. */
            if (reader->size > before)
                break;
            if ((err = fill_packed(reader, error)) || reader->at_end)
                break;
        }
        if (!reader->zip_in_member) {
            err = next_member(reader, error);
            continue;
        }
        int result = inflate(zip, Z_NO_FLUSH);
        reader->size = before + (CHUNK_SIZE - zip->avail_out);
        if (result == Z_STREAM_END)
            reader->zip_in_member = false;
        else if (result != Z_OK && result != Z_BUF_ERROR)
            err = weir_fail(error, WEIR_ERR_IO, "'%s' is not valid gzip data before byte %" PRId64 ": %s", reader->path,
                            reader->file_at, zip->msg ? zip->msg : zError(result));
    }
    return err;
}

static weir_err fill(struct weir_reader *reader, struct weir_error *error)
{
    if (reader->capacity - reader->size < CHUNK_SIZE) {
        reader->capacity = reader->capacity * 2;
        reader->bytes = weir_realloc(reader->bytes, reader->capacity + PADDING);
    }
    return reader->gzip ? fill_gzip(reader, error) : fill_plain(reader, error);
}

static void consume(struct weir_reader *reader, size_t used)
{
    weir_assert(used <= reader->size);
    memmove(reader->bytes, reader->bytes + used, reader->size - used);
    reader->size -= used;
    reader->position += (int64_t)used;
}

/* --- Ranges */

/* Drops the line that began before the range. True: aligned (or at the end of the file). */
static bool align(struct weir_reader *reader)
{
    const uint8_t *newline = memchr(reader->bytes, '\n', reader->size);
    consume(reader, newline ? (size_t)(newline - reader->bytes) + 1 : reader->size);
    reader->aligning = !newline && !reader->at_end;
    return !reader->aligning;
}

/* How many bytes in hand are ours: all, unless the range's end is among them: then to the end of the line that begins before it.
 * *complete: that end was found. */
static size_t own_size(const struct weir_reader *reader, bool *complete)
{
    *complete = reader->at_end;
    if (reader->range_end < 0 || reader->position + (int64_t)reader->size < reader->range_end)
        return reader->size;
    /* The first newline at or after the range's last byte ends our last line. */
    int64_t from = reader->range_end - 1 - reader->position;
    if (from < 0) {
        /* All of ours is consumed when position reached the end; one byte before it may be a long line's middle. */
        from = 0;
        if (reader->position >= reader->range_end) {
            *complete = true;
            return 0;
        }
    }
    const uint8_t *newline = memchr(reader->bytes + from, '\n', reader->size - (size_t)from);
    if (!newline)
        return reader->size;
    *complete = true;
    return (size_t)(newline - reader->bytes) + 1;
}

/* --- Positions: "<byte of the file, or of what is unpacked> <aligning>" */

weir_err weir_fs_reader_snapshot(struct weir_reader *reader, const struct weir_read_bytes *bytes,
                                 struct weir_buf *position, struct weir_error *error)
{
    (void)error;
    int64_t at = reader->position + (bytes ? (int64_t)bytes->used : 0) + reader->skip;
    bool ok = weir_buf_printf(position, "%" PRId64 " %d", at, reader->aligning);
    weir_assert(ok);
    return WEIR_OK;
}

weir_err weir_fs_reader_restore(struct weir_reader *reader, const char *position, struct weir_error *error)
{
    int64_t at;
    int aligning;
    if (sscanf(position, "%" SCNd64 " %d", &at, &aligning) != 2 || at < 0)
        return weir_fail(error, WEIR_ERR_DATA, "'%.100s' is no position in '%s'", position, reader->path);
    if (reader->gzip)
        reader->skip = at; /* unpacked again */
    else
        reader->file_at = reader->position = at;
    reader->aligning = aligning;
    return WEIR_OK;
}

/* Unpacks what an earlier attempt has read, some of it a call. */
static weir_err skip_some(struct weir_reader *reader, struct weir_error *error)
{
    weir_err err = fill(reader, error);
    if (err)
        return err;
    int64_t size = (int64_t)reader->size < reader->skip ? (int64_t)reader->size : reader->skip;
    consume(reader, (size_t)size);
    reader->skip -= size;
    if (reader->skip > 0 && reader->at_end)
        return weir_fail(error, WEIR_ERR_IO,
                         "'%s' is shorter than when it was read before: %" PRId64 " bytes are missing", reader->path,
                         reader->skip);
    return WEIR_OK;
}

enum weir_read weir_fs_read(struct weir_reader *reader, struct weir_connector_ctx *ctx, struct weir_read_bytes *bytes,
                            int64_t *wait_until_ms, struct weir_error *error)
{
    (void)ctx, (void)wait_until_ms;
    weir_assert(reader->fd >= 0);
    size_t used = bytes->used;
    bytes->used = 0;
    consume(reader, used);
    if (reader->skip > 0) {
        if (skip_some(reader, error))
            return WEIR_READ_FAILED;
        bytes->bytes = reader->bytes; /* nothing for the caller yet, but work was done */
        bytes->size = 0;
        bytes->last = false;
        bytes->position = reader->position - reader->start;
        return WEIR_READ_DATA;
    }
    bool complete = false;
    size_t own = own_size(reader, &complete);
    if (reader->aligning && reader->range_end >= 0 && reader->position >= reader->range_end)
        reader->aligning = false; /* one line covers the whole range: nothing here is ours */
    if (!complete || reader->aligning) {
        if (fill(reader, error))
            return WEIR_READ_FAILED;
        if (reader->aligning && !align(reader)) {
            bytes->bytes = reader->bytes; /* nothing for the caller yet, but work was done */
            bytes->size = 0;
            bytes->last = false;
            bytes->position = reader->position - reader->start;
            return WEIR_READ_DATA;
        }
        own = own_size(reader, &complete);
    }
    if (complete && own == 0) {
        end_split(reader);
        return WEIR_READ_END;
    }
    memset(reader->bytes + reader->size, 0, PADDING);
    bytes->bytes = reader->bytes;
    bytes->size = own;
    bytes->last = complete;
    bytes->position = reader->position - reader->start;
    return WEIR_READ_DATA;
}
