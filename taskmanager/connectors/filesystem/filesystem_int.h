/* Private to connectors/filesystem. */
#ifndef WEIR_CONNECTORS_FILESYSTEM_INT_H
#define WEIR_CONNECTORS_FILESYSTEM_INT_H

#include "connectors/connectors_int.h"

extern const struct weir_option weir_fs_source_options[];
extern const struct weir_option weir_fs_sink_options[];

bool weir_fs_is_gzip(const char *path); /* by its name */

/* enumerate.c */
weir_err weir_fs_enumerate(const struct weir_key_value *options, int option_count, int reader_count,
                           struct weir_arena *arena, struct weir_split **splits, int *split_count,
                           struct weir_error *error);

/* reader.c */
weir_err weir_fs_reader_open(struct weir_connector_ctx *ctx, const struct weir_key_value *options, int option_count,
                             struct weir_reader **reader, struct weir_error *error);
weir_err weir_fs_reader_split(struct weir_reader *reader, const struct weir_split *split, struct weir_error *error);
enum weir_read weir_fs_read(struct weir_reader *reader, struct weir_connector_ctx *ctx, struct weir_read_bytes *bytes,
                            int64_t *wait_until_ms, struct weir_error *error);
weir_err weir_fs_reader_snapshot(struct weir_reader *reader, const struct weir_read_bytes *bytes,
                                 struct weir_buf *position, struct weir_error *error);
weir_err weir_fs_reader_restore(struct weir_reader *reader, const char *position, struct weir_error *error);
void weir_fs_reader_close(struct weir_reader *reader);

/* objects.c: part files on S3 */
struct weir_fs_objects;
bool weir_fs_is_remote(const char *path);
bool weir_fs_defers(const struct weir_key_value *options, int option_count);
weir_err weir_fs_commit_objects(struct weir_message_commit *commit, struct weir_error *error);
/* What the writer does there, where no log is kept. */
weir_err weir_fs_objects_open(struct weir_connector_ctx *ctx, const struct weir_key_value *options, int option_count,
                              struct weir_fs_objects **objects, struct weir_error *error);
bool weir_fs_objects_busy(struct weir_fs_objects *objects);
weir_err weir_fs_objects_write(struct weir_fs_objects *objects, const uint8_t *bytes, size_t size,
                               struct weir_error *error);
void weir_fs_objects_barrier(struct weir_fs_objects *objects, struct weir_barrier_sync *sync);
weir_err weir_fs_objects_seal(struct weir_fs_objects *objects, struct weir_error *error);
weir_err weir_fs_objects_finish(struct weir_fs_objects *objects, struct weir_error *error);
void weir_fs_objects_close(struct weir_fs_objects *objects); /* NULL is allowed */

/* writer.c */
#define WEIR_FS_NAME_SIZE 160
void weir_fs_tag(const char *job_id, const char *operator_id, char tag[9]); /* in the names of its part files */
weir_err weir_fs_writer_open(struct weir_connector_ctx *ctx, const struct weir_key_value *options, int option_count,
                             struct weir_writer **writer, struct weir_error *error);
weir_err weir_fs_write(struct weir_writer *writer, const uint8_t *bytes, size_t size, int row_count,
                       struct weir_error *error);
bool weir_fs_writer_busy(struct weir_writer *writer);
weir_err weir_fs_seal(struct weir_writer *writer, struct weir_error *error);
weir_err weir_fs_finish(struct weir_writer *writer, struct weir_buf *committable, struct weir_error *error);
weir_err weir_fs_barrier(struct weir_writer *writer, uint64_t checkpoint, struct weir_buf *committable,
                         struct weir_barrier_sync *sync, struct weir_error *error);
weir_err weir_fs_tick(struct weir_writer *writer, int64_t now_ms, int64_t *next_ms, struct weir_error *error);
void weir_fs_writer_close(struct weir_writer *writer);
weir_err weir_fs_commit(const char *committable, struct weir_error *error);
weir_err weir_fs_abort(const struct weir_key_value *options, int option_count, const char *job_id,
                       struct weir_error *error);

#endif
