/* filesystem: files as sources and sinks. See README.md for names and layout. */
#include "filesystem_int.h"

const struct weir_option weir_fs_source_options[] = {
    {"path", WEIR_OPTION_STRING, NULL, NULL, "A file, a directory, or a glob; .gz files are unpacked"},
    {"recursive", WEIR_OPTION_BOOL, "true", NULL, "Directories within the directory are read too"},
    {"split.size", WEIR_OPTION_SIZE, "0", NULL,
     "Larger plain files are cut into ranges where there are several readers; 0: chosen from the input's size"},
    {0},
};

const struct weir_option weir_fs_sink_options[] = {
    {"path", WEIR_OPTION_STRING, NULL, NULL,
     "The directory that the part files are put into, made when missing; or s3://BUCKET/PREFIX, by the TaskManagers' s3.* settings, "
     "where exactly-once needs a server with conditional writes, as checkpoints do"},
    {"sink.rolling-policy.file-size", WEIR_OPTION_SIZE, "128 mb", NULL,
     "A part file that reaches it is followed by another"},
    {"sink.rolling-policy.rollover-interval", WEIR_OPTION_DURATION, "30 min", NULL,
     "A part file that has been open so long is followed by another; 0: however long"},
    {"sink.rolling-policy.inactivity-interval", WEIR_OPTION_DURATION, "30 min", NULL,
     "So is one that nothing was written to for so long; 0: however long"},
    {"delivery-guarantee", WEIR_OPTION_ENUM, "exactly-once", "none|at-least-once|exactly-once",
     "A part file appears with the checkpoint behind it, or when the job has finished; or once it is ended and durable, "
     "where a restart may repeat rows, as on S3 without execution.checkpointing.interval; or, for none, once it is ended"},
    {0},
};

bool weir_fs_is_gzip(const char *path)
{
    size_t size = strlen(path);
    return size > 3 && strcmp(path + size - 3, ".gz") == 0;
}

static weir_err check(const struct weir_key_value *options, int option_count, bool sink, struct weir_error *error)
{
    const struct weir_option *table = sink ? weir_fs_sink_options : weir_fs_source_options;
    const char *path = weir_options_get(options, option_count, table, "path");
    if (!path || !path[0])
        return weir_fail(error, WEIR_ERR_INVALID, "path is empty");
    if (strlen(path) > 4000)
        return weir_fail(error, WEIR_ERR_INVALID, "path is longer than 4000 bytes");
    if (!sink && weir_fs_is_remote(path))
        return weir_fail(error, WEIR_ERR_UNSUPPORTED, "files are not read from S3: give a path of this machine");
    if (sink && weir_options_get_int(options, option_count, table, "sink.rolling-policy.file-size") < 1)
        return weir_fail(error, WEIR_ERR_INVALID, "sink.rolling-policy.file-size must be at least 1");
    return 0;
}

const struct weir_connector weir_connector_filesystem = {
    .size = sizeof(struct weir_connector),
    .name = "filesystem",
    .help = "Files: one, a directory or a glob as source; a directory of part files as sink",
    .source_options = weir_fs_source_options,
    .sink_options = weir_fs_sink_options,
    .check = check,
    .enumerate = weir_fs_enumerate,
    .reader_open = weir_fs_reader_open,
    .reader_split = weir_fs_reader_split,
    .read = weir_fs_read,
    .reader_close = weir_fs_reader_close,
    .writer_open = weir_fs_writer_open,
    .write = weir_fs_write,
    .busy = weir_fs_writer_busy,
    .seal = weir_fs_seal,
    .finish = weir_fs_finish,
    .writer_close = weir_fs_writer_close,
    .commit = weir_fs_commit,
    .abort = weir_fs_abort,
    .reader_snapshot = weir_fs_reader_snapshot,
    .reader_restore = weir_fs_reader_restore,
    .barrier = weir_fs_barrier,
    .tick = weir_fs_tick,
    .defers = weir_fs_defers,
    .commit_messages = weir_fs_commit_objects,
};
