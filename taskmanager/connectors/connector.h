/* Connectors: one folder each, one line of the table (connectors/table.c). The generic operators "source", "splits" and "sink"
 * (taskmanager/ops) host them: they own the format, the bad-record policy, watermarks and counters; a connector moves bytes
 * or rows.
 *
 * A reader is byte-oriented (`read` gives records to decode by the `format` option) or row-oriented (`read_batch`).
 * A connector with an `enumerate` has a coordinator: the graph gets a vertex "splits" (parallelism 1) whose ON_DEMAND edge hands
 * splits to the readers at run time; one without computes its own share from (subtask, parallelism).
 */
#ifndef WEIR_TASKMANAGER_CONNECTORS_CONNECTOR_H
#define WEIR_TASKMANAGER_CONNECTORS_CONNECTOR_H

#include "ops/op.h"

/* A part of the input, read by one reader at a time. On the wire a row of weir_split_schema(). */
struct weir_split {
    const char *id;    /* unique in the source, e.g. the path */
    int64_t offset;    /* where to begin, bytes; a reader resynchronises to the next record when it is not 0 */
    int64_t size;      /* bytes from offset; -1: to the end */
    int64_t remaining; /* splits not yet assigned after this one; 0: all are assigned */
};
struct weir_schema *weir_split_schema(void); /* borrowed; id, offset, size, remaining */

enum weir_read {
    WEIR_READ_DATA,  /* something was given */
    WEIR_READ_EMPTY, /* nothing now: wait_fd or wait_until_ms says when to come again */
    WEIR_READ_END,   /* this split (or the source) is at its end */
    WEIR_READ_FAILED
};

/* Records given by a byte reader: `bytes` holds whole lines or one message, padded by 64 readable bytes, valid until the next call. */
struct weir_read_bytes {
    const uint8_t *bytes;
    size_t size;
    bool last;   /* nothing follows in this split: an unfinished last line is a record */
    size_t used; /* set by the caller before the next read(): how much of `bytes` it consumed; the rest is given again,
                          with more behind it */
    int64_t position; /* of bytes[0] in the split, for messages */
};

struct weir_reader; /* private */
struct weir_writer; /* private */

struct weir_connector {
    const char *name; /* "filesystem" */
    const char *help;
    const struct weir_option *source_options; /* NULL: cannot be a source */
    const struct weir_option *sink_options;   /* NULL: cannot be a sink */
    bool takes_format;                        /* needs the "format" option */
    bool bounded;
    int parallelism_max; /* 1 for socket and host sources; 0: any */
    /* Row-oriented sources: the schema they give; NULL: it must be declared (weir_schema()). May depend on options. */
    weir_err (*source_schema)(const struct weir_key_value *options, int option_count, struct weir_schema *declared,
                              struct weir_schema **schema, struct weir_error *error);
    /* Checks of options that the tables cannot express, done when the graph is built; may be NULL. Never does I/O. */
    weir_err (*check)(const struct weir_key_value *options, int option_count, bool sink, struct weir_error *error);

    /* The coordinator: called once on the subtask of "splits", may read directories. Appends to `splits` (arena memory). */
    weir_err (*enumerate)(const struct weir_key_value *options, int option_count, int reader_count,
                          struct weir_arena *arena, struct weir_split **splits, int *split_count,
                          struct weir_error *error);

    /* --- Source */
    weir_err (*reader_open)(struct weir_op_ctx *ctx, const struct weir_key_value *options, int option_count,
                            struct weir_schema *schema, struct weir_reader **reader, struct weir_error *error);
    /* Begins a split (connectors with enumerate). */
    weir_err (*reader_split)(struct weir_reader *reader, const struct weir_split *split, struct weir_error *error);
    enum weir_read (*read)(struct weir_reader *reader, struct weir_op_ctx *ctx, struct weir_read_bytes *bytes,
                           int64_t *wait_until_ms, struct weir_error *error);
    /* Row-oriented: a batch (one reference, at most WEIR_BATCH_ROWS_MAX rows). */
    enum weir_read (*read_batch)(struct weir_reader *reader, struct weir_op_ctx *ctx, struct weir_batch **batch,
                                 int64_t *wait_until_ms, struct weir_error *error);
    void (*reader_close)(struct weir_reader *reader);

    /* --- Sink */
    weir_err (*writer_open)(struct weir_op_ctx *ctx, const struct weir_key_value *options, int option_count,
                            struct weir_schema *schema, struct weir_writer **writer, struct weir_error *error);
    /* takes_format: encoded records of a batch; else NULL and write_batch is used. Must not block for long. */
    weir_err (*write)(struct weir_writer *writer, const uint8_t *bytes, size_t size, int row_count,
                      struct weir_error *error);
    weir_err (*write_batch)(struct weir_writer *writer, const struct weir_batch *batch, struct weir_error *error);
    /* The inbox ran dry: let people see what was written (print flushes; a rolling file need not). May be NULL. */
    weir_err (*flush)(struct weir_writer *writer, struct weir_error *error);
    /* The input ended: data is made durable under hidden names, and what must be published is described in `committable` (text of
     * the connector's own, at most 64 KiB; empty: nothing). It is committed when the whole JOB has finished. May be NULL. */
    weir_err (*finish)(struct weir_writer *writer, struct weir_buf *committable, struct weir_error *error);
    void (*writer_close)(struct weir_writer *writer);
    /* Publishes what finish() described; any process on a host that reaches the storage may be asked, also twice: idempotent. */
    weir_err (*commit)(const char *committable, struct weir_error *error);
    /* The job ended without finishing: removes what its attempts left under hidden names. Idempotent. */
    weir_err (*abort)(const struct weir_key_value *options, int option_count, const char *job_id,
                      struct weir_error *error);
};

extern const struct weir_connector *const weir_connectors[]; /* NULL-terminated, sorted by name */
weir_err weir_connector_find(const char *name, const struct weir_connector **connector, struct weir_error *error);

#endif
