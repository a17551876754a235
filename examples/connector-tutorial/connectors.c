/* A source and a sink outside of weir's tree, against its installed headers. docs/connector-tutorial.md explains them part by part.
 *
 * "divisors" gives a JSON line for each number: {"number":91,"divisor":7}, its smallest divisor above 1. Ranges of numbers are its splits.
 * "report" writes lines into files that appear when the job has finished, all together.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <weir/connector.h>

/* --- The source: options and their check */

static const struct weir_option divisors_options[] = {
    {"from", WEIR_OPTION_INT, "2", NULL, "The first number"},
    {"to", WEIR_OPTION_INT, NULL, NULL, "The last number"},
    {"split.numbers", WEIR_OPTION_INT, "1000", NULL, "Numbers of one split"},
    {NULL, 0, NULL, NULL, NULL},
};

static int64_t number_of(const struct weir_key_value *options, int count, const char *name)
{
    return weir_options_get_int(options, count, divisors_options, name);
}

static weir_err divisors_check(const struct weir_key_value *options, int count, bool sink, struct weir_error *error)
{
    (void)sink;
    if (number_of(options, count, "from") < 2)
        return weir_fail(error, WEIR_ERR_INVALID, "from must be 2 or more");
    if (number_of(options, count, "to") < number_of(options, count, "from"))
        return weir_fail(error, WEIR_ERR_INVALID, "to must not be less than from");
    if (number_of(options, count, "split.numbers") < 1)
        return weir_fail(error, WEIR_ERR_INVALID, "split.numbers must be 1 or more");
    return 0;
}

/* --- The source: its splits */

static weir_err divisors_enumerate(const struct weir_key_value *options, int option_count, int reader_count,
                                   struct weir_arena *arena, struct weir_split **splits, int *split_count,
                                   struct weir_error *error)
{
    int64_t from = number_of(options, option_count, "from"), to = number_of(options, option_count, "to");
    int64_t size = number_of(options, option_count, "split.numbers"), count = (to - from) / size + 1;
    (void)reader_count;
    if (count > 1000000)
        return weir_fail(error, WEIR_ERR_INVALID, "%" PRId64 " splits are too many: make split.numbers larger", count);
    struct weir_split *made = weir_arena_zalloc(arena, (size_t)count * sizeof *made);
    for (int64_t i = 0; i < count; i++) {
        made[i].offset = from + i * size;
        made[i].size = made[i].offset + size <= to ? size : to - made[i].offset + 1;
        made[i].id = weir_arena_format(arena, "numbers from %" PRId64, made[i].offset);
    }
    *splits = made;
    *split_count = (int)count;
    return 0;
}

/* --- The source: its reader */

#define LINES_SIZE 16384
#define LINE_SIZE_MAX 80

struct weir_reader {
    int64_t next, end; /* of the split */
    int64_t position;  /* bytes given in this split */
    size_t size;       /* of text[] */
    char text[LINES_SIZE + WEIR_READ_PADDING];
};

static weir_err divisors_open(struct weir_connector_ctx *ctx, const struct weir_key_value *options, int option_count,
                              struct weir_reader **reader, struct weir_error *error)
{
    (void)ctx, (void)options, (void)option_count;
    *reader = calloc(1, sizeof **reader);
    return *reader ? 0 : weir_fail(error, WEIR_ERR_NO_MEMORY, "no memory");
}

static weir_err divisors_split(struct weir_reader *reader, const struct weir_split *split, struct weir_error *error)
{
    (void)error;
    reader->next = split->offset;
    reader->end = split->offset + split->size;
    reader->position = 0;
    reader->size = 0;
    return 0;
}

static int64_t smallest_divisor(int64_t number)
{
    for (int64_t d = 2; d * d <= number; d++)
        if (number % d == 0)
            return d;
    return number;
}

static enum weir_read divisors_read(struct weir_reader *reader, struct weir_connector_ctx *ctx,
                                    struct weir_read_bytes *bytes, int64_t *wait_until_ms, struct weir_error *error)
{
    (void)ctx, (void)wait_until_ms, (void)error;
    /* What the format has used is dropped; what it has not is given again, with more behind it. */
    memmove(reader->text, reader->text + bytes->used, reader->size - bytes->used);
    reader->size -= bytes->used;
    reader->position += (int64_t)bytes->used;
    bytes->used = 0;
    for (; reader->next < reader->end && reader->size + LINE_SIZE_MAX <= LINES_SIZE; reader->next++)
        reader->size += (size_t)snprintf(reader->text + reader->size, LINE_SIZE_MAX,
                                         "{\"number\":%" PRId64 ",\"divisor\":%" PRId64 "}\n", reader->next,
                                         smallest_divisor(reader->next));
    if (reader->size == 0)
        return WEIR_READ_END;
    bytes->bytes = (const uint8_t *)reader->text;
    bytes->size = reader->size;
    bytes->last = reader->next == reader->end;
    bytes->position = reader->position;
    return WEIR_READ_DATA;
}

static void divisors_close(struct weir_reader *reader)
{
    free(reader);
}

const struct weir_connector divisors_connector = {
    .size = sizeof(struct weir_connector),
    .name = "divisors",
    .help = "Numbers with their smallest divisors",
    .source_options = divisors_options,
    .check = divisors_check,
    .enumerate = divisors_enumerate,
    .reader_open = divisors_open,
    .reader_split = divisors_split,
    .read = divisors_read,
    .reader_close = divisors_close,
};

/* --- The sink. A subtask's file is DIR/.report-JOB-SUBTASK while it is written, and DIR/report-SUBTASK once committed. Another
 * attempt of the subtask begins it anew: the one before has ended by then. */

static const struct weir_option report_options[] = {
    {"path", WEIR_OPTION_STRING, NULL, NULL, "Directory of the files; it is made"},
    {NULL, 0, NULL, NULL, NULL},
};

struct weir_writer {
    FILE *file;
    char hidden[4096], final[4096];
};

static weir_err report_open(struct weir_connector_ctx *ctx, const struct weir_key_value *options, int option_count,
                            struct weir_writer **out, struct weir_error *error)
{
    const char *path = weir_options_get(options, option_count, report_options, "path");
    char dir[PATH_MAX];
    if ((mkdir(path, 0777) != 0 && errno != EEXIST) || !realpath(path, dir))
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot make the directory '%s'", path);
    struct weir_writer *writer = calloc(1, sizeof *writer);
    if (!writer)
        return weir_fail(error, WEIR_ERR_NO_MEMORY, "no memory");
    int hidden = snprintf(writer->hidden, sizeof writer->hidden, "%s/.report-%s-%d", dir, ctx->job_id, ctx->subtask);
    int final = snprintf(writer->final, sizeof writer->final, "%s/report-%d", dir, ctx->subtask);
    bool fits = hidden < (int)sizeof writer->hidden && final < (int)sizeof writer->final;
    writer->file = fits ? fopen(writer->hidden, "wbe") : NULL;
    if (!writer->file) {
        weir_err err = weir_fail_errno(error, WEIR_ERR_IO, "cannot write '%s'", writer->hidden);
        free(writer);
        return err;
    }
    *out = writer;
    return 0;
}

static weir_err report_write(struct weir_writer *writer, const uint8_t *bytes, size_t size, int row_count,
                             struct weir_error *error)
{
    (void)row_count;
    if (fwrite(bytes, 1, size, writer->file) != size)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot write '%s'", writer->hidden);
    return 0;
}

/* Durable under its hidden name; the text says what commit() has to do. */
static weir_err report_finish(struct weir_writer *writer, struct weir_buf *committable, struct weir_error *error)
{
    if (fflush(writer->file) != 0 || fsync(fileno(writer->file)) != 0)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot write '%s'", writer->hidden);
    if (!weir_buf_printf(committable, "%s\n%s", writer->hidden, writer->final))
        return weir_fail(error, WEIR_ERR_FULL, "the path is too long");
    return 0;
}

static void report_close(struct weir_writer *writer)
{
    fclose(writer->file);
    free(writer);
}

/* May come twice: then the hidden file is gone and the other one is there. */
static weir_err report_commit(const char *committable, struct weir_error *error)
{
    const char *newline = strchr(committable, '\n');
    if (!newline)
        return weir_fail(error, WEIR_ERR_PROTOCOL, "this is no text of report's finish()");
    char hidden[4096];
    snprintf(hidden, sizeof hidden, "%.*s", (int)(newline - committable), committable);
    if (rename(hidden, newline + 1) == 0 || (errno == ENOENT && access(newline + 1, F_OK) == 0))
        return 0;
    return weir_fail_errno(error, WEIR_ERR_IO, "cannot rename '%s'", hidden);
}

/* The job was cancelled or has failed: nothing of it stays. */
static weir_err report_abort(const struct weir_key_value *options, int option_count, const char *job_id,
                             struct weir_error *error)
{
    const char *path = weir_options_get(options, option_count, report_options, "path");
    char prefix[64];
    int size = snprintf(prefix, sizeof prefix, ".report-%.40s-", job_id);
    DIR *dir = opendir(path);
    if (!dir)
        return errno == ENOENT ? 0 : weir_fail_errno(error, WEIR_ERR_IO, "cannot read '%s'", path);
    for (const struct dirent *entry; (entry = readdir(dir));)
        if (strncmp(entry->d_name, prefix, (size_t)size) == 0)
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
    closedir(dir);
    return 0;
}

const struct weir_connector report_connector = {
    .size = sizeof(struct weir_connector),
    .name = "report",
    .help = "Files that appear when the job has finished",
    .sink_options = report_options,
    .writer_open = report_open,
    .write = report_write,
    .finish = report_finish,
    .writer_close = report_close,
    .commit = report_commit,
    .abort = report_abort,
};
