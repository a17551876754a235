/* connector.h: sources and sinks of your own. docs/connector-tutorial.md writes one step by step.
 *
 * A connector is a table of functions (struct weir_connector) beside a table of its options. It moves bytes: a format
 * ("format" = "json", "csv", "raw") makes rows of them, and the runtime owns bad records, watermarks, counters and backpressure. A job's
 * shared object brings its connectors with one line, and then uses them by name as those of weir itself:
 *
 *     static const struct weir_connector primes = {.size = sizeof primes, .name = "primes", ...};
 *     WEIR_CONNECTORS(&primes);
 *     WEIR_JOB(count) { struct weir_stream *s = weir_source(job, "primes", "to", "1000", "format", "json", NULL); ... }
 *
 * Where what is called
 * - check(): in the process that builds the graph. No I/O: a graph is also built where the data is not.
 * - enumerate(): on the one subtask of the vertex "splits", when the source starts. It may read directories, not wait for long.
 * - reader_*, writer_*: on the worker thread of one subtask, one call at a time. No call may block: read() gives what is there, or says
 *   EMPTY and what to wait for. Several subtasks are called at the same time; a static variable is shared by those of one process.
 * - A subtask that is started again (a restart, another attempt) opens a new reader or writer; the old one is closed, or its process
 *   was killed.
 *
 * Of the runtime a connector needs weir_fail() and its neighbours (error.h), the functions at the end of this file, and
 * what struct weir_connector_ctx points to; they are in libweir or come as pointers.
 */
#ifndef WEIR_CONNECTOR_H
#define WEIR_CONNECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- Options: what weir_source(job, "primes", "to", "1000", ...) may say. Checked when the graph is built; a misspelt name gets the
 * nearest right one. */

enum weir_option_type {
    WEIR_OPTION_STRING,
    WEIR_OPTION_INT,
    WEIR_OPTION_DOUBLE,
    WEIR_OPTION_BOOL,
    WEIR_OPTION_DURATION, /* "10 s" -> ms */
    WEIR_OPTION_SIZE,     /* "64 mb" -> bytes */
    WEIR_OPTION_ENUM,     /* `choices` separated by '|' */
    WEIR_OPTION_FILE /* formats only: a text, or the path of a file that is read where the job is built; `choices` "binary": base64 of it */
};

struct weir_option {
    const char *name; /* one that ends in '.' stands for every key with that prefix: "fields." */
    enum weir_option_type type;
    const char *fallback; /* default as text; NULL: required; "": none */
    const char *choices;  /* ENUM and FILE only */
    const char *help;
};

struct weir_key_value {
    const char *key;
    const char *value;
};

/* Value or default as text; NULL: neither. `table` is the connector's own, which ends with name NULL; values are already checked. */
const char *weir_options_get(const struct weir_key_value *given, int given_count, const struct weir_option *table,
                             const char *name);
/* The same, converted (durations ms, sizes bytes, bool 0/1). Asserts that the option is in the table; "" gives 0. */
int64_t weir_options_get_int(const struct weir_key_value *given, int given_count, const struct weir_option *table,
                             const char *name);
double weir_options_get_double(const struct weir_key_value *given, int given_count, const struct weir_option *table,
                               const char *name);

/* --- What a reader or writer may know of and ask of the runtime. Lives as long as the reader or writer. */

struct weir_schema; /* opaque */
struct weir_call;   /* opaque */
struct weir_connector_ctx {
    uint32_t size;   /* of this struct */
    int32_t subtask; /* 0-based */
    int32_t parallelism;
    int32_t attempt;    /* 1: the first */
    const char *job_id; /* 32 hex digits */
    const char *job_name;
    const char *operator_id; /* uid, or the name without one: the same in every attempt */
    /* Wall clock, ms; the same within one call. */
    int64_t (*now_ms)(struct weir_connector_ctx *ctx);
    /* A source that has nothing now is called again when this descriptor is readable; -1: none. An epoll is one, too. */
    void (*wait_fd)(struct weir_connector_ctx *ctx, int fd);
    /* What may block (the resolution of a name, a file's sync) is done by run(take_arg) on another thread. When it has ended, the
     * subtask is called again; call_ended(), weir_call_result() say what came of it. weir_call_free() lets go of it, at any time and without
     * waiting: so `take_arg` must hold nothing of the reader's or writer's; it is freed by free_arg when the call has ended and been let go. */
    struct weir_call *(*call)(struct weir_connector_ctx *ctx, weir_err (*run)(void *arg, struct weir_error *error),
                              void *take_arg, void (*free_arg)(void *arg));
    /* False: a reader that cannot go on without it says EMPTY, a writer is busy(). */
    bool (*call_ended)(struct weir_connector_ctx *ctx, const struct weir_call *call);
    struct weir_schema *schema; /* of the rows; for connectors inside weir */
    void *runtime;              /* the runtime's own */
    /* The job makes checkpoints, or begins with one: what earlier attempts left under hidden names may be output yet. A job without may
     * be asked for one: barrier() comes all the same. */
    bool checkpoints;
    void (*number)(struct weir_connector_ctx *ctx, int metric, int64_t value); /* for connectors inside weir */
};

/* --- Sources */

/* A part of the input, read by one reader at a time. */
struct weir_split {
    const char *id;    /* unique in the source, e.g. the path */
    int64_t offset;    /* where to begin, bytes; what an offset means is the connector's affair */
    int64_t size;      /* bytes from offset; -1: to the end */
    int64_t remaining; /* splits not yet assigned after this one; 0: all are assigned. The runtime sets it. */
};

enum weir_read {
    WEIR_READ_DATA,  /* something was given */
    WEIR_READ_EMPTY, /* nothing now: wait_fd or *wait_until_ms (wall clock) says when to come again */
    WEIR_READ_END,   /* this split (or the source) is at its end */
    WEIR_READ_FAILED /* the error says why */
};

/* What read() gives: `bytes` holds lines, with 64 readable bytes behind them, valid until the next call. The last line may be unfinished:
 * then it is given again, with more behind it. The struct is the same from call to call and all zero at a split's beginning. */
struct weir_read_bytes {
    const uint8_t *bytes;
    size_t size;
    bool last; /* nothing follows in this split: an unfinished last line is a record */
    size_t
        used; /* set by the caller before the next read(): how much of `bytes` it consumed. The reader drops that much, and
                          sets it back to 0 */
    int64_t position; /* of bytes[0] in the split, for messages */
};
#define WEIR_READ_PADDING 64

/* --- Messages: for sources whose records come one by one with a key and a place of their own (a broker's), in place of read(). The
 * format decodes each value; columns that the job names ("metadata.COLUMN" = "offset") are what the broker knows of the message. */

struct weir_message_header {
    const char *name;
    const uint8_t *value; /* NULL: none */
    size_t value_size;
};

struct weir_message {
    const uint8_t *value; /* WEIR_READ_PADDING readable bytes follow; NULL: none (a tombstone), which gives no row */
    const uint8_t *key;   /* NULL: none */
    size_t value_size, key_size;
    int32_t lane; /* which of the reader's lanes it is from */
    int32_t header_count;
    const struct weir_message_header *headers;
    int64_t position;     /* in the lane: the offset */
    int64_t timestamp_ms; /* INT64_MIN: none */
};

/* A part of the input that is in order in itself: a partition. Watermarks are kept per lane, and the source's is the least of them. */
struct weir_lane {
    const char *topic; /* valid as long as the reader */
    int32_t partition;
    bool ended;  /* set by the reader: nothing follows, it does not hold back the others */
    bool idle;   /* this and the three below are the runtime's; a new lane has all zero, but watermark_ms */
    bool paused; /* reader_pause() was called */
    int64_t last_row_ms;
    int64_t watermark_ms; /* INT64_MIN: none yet. reader_snapshot() keeps it, reader_restore() brings it back */
    /* The reader's, for people to look at (reader_report()): -1: not known. */
    int64_t next;      /* the position to be read next */
    int64_t end;       /* behind the last message that is there: end - next are waiting */
    int64_t committed; /* what the broker was told last */
};

/* What read_messages() gives, valid until the next call; the struct stays where it is as long as the reader. */
struct weir_read_messages {
    const struct weir_message *messages;
    int32_t count;
    int32_t used; /* the runtime's: how many of them are done. Those behind are not in reader_snapshot()'s position */
    struct weir_lane *lanes; /* may be added to in read_messages(), never taken from */
    int32_t lane_count;
    int32_t want_headers; /* the runtime's: 0 where nobody looks at headers, which may then be left out */
    int32_t
        unsettled; /* the reader's: not 0 while it looks for its first lanes: until then it may have any, and others wait for it */
};

/* A message to be written: what write_messages() is given, valid during the call. */
struct weir_message_out {
    const uint8_t *value, *key; /* NULL: none */
    size_t value_size, key_size;
    const char *topic; /* topic_size bytes; NULL: the sink's own */
    size_t topic_size;
    int64_t timestamp_ms; /* INT64_MIN: the time of writing */
    int32_t partition;    /* -1: the partitioner's choice */
    int32_t header_count;
    const struct weir_message_header *headers;
};

/* --- The table */

struct weir_reader; /* the connector's own; each connector defines them as it likes */
struct weir_writer;
struct weir_arena;          /* memory that lives as long as the coordinator */
struct weir_buf;            /* bytes that grow */
struct weir_connector_rows; /* connectors inside weir may carry rows */
struct weir_connector_held; /* and may hold transactions open */

/* What makes the output of a barrier durable. run() is called once, on any thread; when it fails no checkpoint that carries that output becomes
 * complete. The argument is freed, on any thread, when it is not needed any more. */
struct weir_barrier_sync {
    weir_err (*run)(void *arg, struct weir_error *error);
    void *arg;
    void (*free_arg)(void *arg);
    bool again; /* one that failed may be run again, for a later checkpoint */
};

/* Messages that waited in a checkpoint's output log (struct weir_connector, defers()): those of one sink that its complete checkpoint publishes.
 * A segment's messages are one subtask's, in order; a subtask's segments are in order, too. */
struct weir_commit_segment {
    int64_t size, records; /* bytes in the log, messages */
    uint64_t since;        /* every checkpoint with a higher id publishes it: when one of them has, it is left out */
};

struct weir_message_commit {
    uint32_t size; /* of this struct */
    int32_t option_count;
    const char *job_id;                   /* 32 hex digits */
    const char *operator_id;              /* of the sink */
    uint64_t checkpoint;                  /* ids rise, and are never used twice in a job */
    const struct weir_key_value *options; /* the sink's */
    const struct weir_commit_segment *segments;
    int64_t segment_count;
    /* The messages of a segment. They are valid until the next read(). */
    weir_err (*read)(struct weir_message_commit *commit, int64_t segment, const struct weir_message_out **messages,
                     int64_t *count, struct weir_error *error);
    void *runtime; /* the runtime's own */
    /* Another job's output, which this one has begun with: that of this checkpoint of it must be there before (WEIR_ERR_IO until it is: the
     * commit is tried again). 0: none. */
    uint64_t after;
    /* The connector's, for people to look at: what this call did. */
    int64_t records, bytes;                    /* that were published */
    int64_t transactions, failed_transactions; /* committed; begun and not */
    int64_t transaction_ms;                    /* how long the last one was open */
    /* Of each segment, for connectors inside weir: the transaction that its messages are in, too; NULL: none. */
    const char *const *held;
};

/* What a sink whose messages wait in the log is asked before there are any: whether it will be able to publish them. */
struct weir_message_check {
    uint32_t size; /* of this struct */
    int32_t option_count;
    const char *job_id;      /* 32 hex digits */
    const char *operator_id; /* of the sink */
    const struct weir_key_value *options;
    int32_t subtask; /* what is asked once is asked by the first, 0 */
    int32_t attempt; /* 1: the first */
    /* The connector's, for check_message(), and how it is freed. */
    void *answer;
    void (*free_answer)(void *answer);
};

struct weir_connector {
    uint32_t size;           /* sizeof(struct weir_connector): what a newer one has behind it reads as zero */
    int32_t parallelism_max; /* of the source; 1 for one that cannot be shared; 0: any */
    const char *name;        /* "primes" */
    const char *help;        /* one line */
    const struct weir_option *source_options; /* ends with name NULL; NULL: cannot be a source */
    const struct weir_option *sink_options;   /* NULL: cannot be a sink */
    /* Checks of options that the tables cannot express, when the graph is built; may be NULL. Never does I/O. */
    weir_err (*check)(const struct weir_key_value *options, int option_count, bool sink, struct weir_error *error);

    /* The coordinator; NULL: there are no splits, and each reader computes its own share from (subtask, parallelism). Called once; `splits`
     * is an array of *split_count in the arena's memory, ids too. They are handed out in this order, one at a time, to readers that
     * have nothing to do; `reader_count` says how many there are. */
    weir_err (*enumerate)(const struct weir_key_value *options, int option_count, int reader_count,
                          struct weir_arena *arena, struct weir_split **splits, int *split_count,
                          struct weir_error *error);

    /* --- Source */
    weir_err (*reader_open)(struct weir_connector_ctx *ctx, const struct weir_key_value *options, int option_count,
                            struct weir_reader **reader, struct weir_error *error);
    /* Begins a split (connectors with enumerate). The one before has ended. */
    weir_err (*reader_split)(struct weir_reader *reader, const struct weir_split *split, struct weir_error *error);
    enum weir_read (*read)(struct weir_reader *reader, struct weir_connector_ctx *ctx, struct weir_read_bytes *bytes,
                           int64_t *wait_until_ms, struct weir_error *error);
    void (*reader_close)(struct weir_reader *reader); /* after reader_open() said 0, once */

    /* --- Sink */
    weir_err (*writer_open)(struct weir_connector_ctx *ctx, const struct weir_key_value *options, int option_count,
                            struct weir_writer **writer, struct weir_error *error);
    /* True: write(), seal() and finish() would have to wait for a call that blocks: they are put off. May be NULL. */
    bool (*busy)(struct weir_writer *writer);
    /* Encoded records, each with the newline that ends it. Must not block for long. */
    weir_err (*write)(struct weir_writer *writer, const uint8_t *bytes, size_t size, int row_count,
                      struct weir_error *error);
    /* The inbox ran dry: let people see what was written. May be NULL. */
    weir_err (*flush)(struct weir_writer *writer, struct weir_error *error);
    /* The input of this subtask ended: begins to make what was written durable (by a call); when busy() is not true any more, finish()
     * follows. May be NULL. */
    weir_err (*seal)(struct weir_writer *writer, struct weir_error *error);
    /* What was written is durable now. What is to be published only when the whole JOB has finished is left under hidden names and described
     * in `committable` (text of the connector's own, at most 64 KiB; empty: nothing). May be NULL. */
    weir_err (*finish)(struct weir_writer *writer, struct weir_buf *committable, struct weir_error *error);
    void (*writer_close)(struct weir_writer *writer); /* after writer_open() said 0, once; also without finish() */
    /* Publishes what finish() described; any process on a host that reaches the storage may be asked, also twice: idempotent. */
    weir_err (*commit)(const char *committable, struct weir_error *error);
    /* The job ended without finishing: removes what its attempts left under hidden names. Idempotent. May be NULL. */
    weir_err (*abort)(const struct weir_key_value *options, int option_count, const char *job_id,
                      struct weir_error *error);

    const struct weir_connector_rows *rows; /* NULL outside of weir: bytes, by a format */

    /* --- Checkpoints. All may be NULL. A reader without them simply goes on from where a new one begins: what its source gave since the
     * checkpoint is lost, or read twice (a split is read again from its beginning). A writer without barrier() writes at least once; one
     * with commit() needs barrier() in a job that has checkpoints. */
    /* Appends to `position` (text of the reader's own) what reader_restore() needs to go on right behind what was given out. `bytes`: what
     * read() gave last, `used` says how much of it was consumed; NULL: nothing of it is left, or the reader gives rows. */
    weir_err (*reader_snapshot)(struct weir_reader *reader, const struct weir_read_bytes *bytes,
                                struct weir_buf *position, struct weir_error *error);
    /* In a later attempt, before the first read(); with splits after reader_split() with the split that was being read. */
    weir_err (*reader_restore)(struct weir_reader *reader, const char *position, struct weir_error *error);
    /* A barrier: what was written up to here belongs to `checkpoint`, and commit() of what is put into `committable` (empty: there is nothing)
     * will publish it once that is complete. Must not block: what must be done by then (with or without a committable) is done by `sync`, if set,
     * on another thread. */
    weir_err (*barrier)(struct weir_writer *writer, uint64_t checkpoint, struct weir_buf *committable,
                        struct weir_barrier_sync *sync, struct weir_error *error);

    /* --- Sinks that end a file (or the like) by time. Called after writes and when *next_ms has come (wall clock; INT64_MAX, which it is
     * before the call: not until something is written). May be NULL. */
    weir_err (*tick)(struct weir_writer *writer, int64_t now_ms, int64_t *next_ms, struct weir_error *error);

    /* Sources without splits, in place of reader_restore() when the parallelism is another one than `count`: the positions of all `count` readers
     * then, by subtask. Together the new readers go on with all that was left, and nothing twice. NULL: the parallelism of the source
     * cannot change. */
    weir_err (*reader_rescale)(struct weir_reader *reader, const char *const *positions, int count,
                               struct weir_error *error);

    /* --- Messages, in place of read(). DATA: there are some; called again when all were used. EMPTY: lanes may have changed all the
     * same. Sources with splits cannot have it. */
    enum weir_read (*read_messages)(struct weir_reader *reader, struct weir_connector_ctx *ctx,
                                    struct weir_read_messages *messages, int64_t *wait_until_ms,
                                    struct weir_error *error);
    /* The position that reader_snapshot() once gave is in a complete checkpoint: a broker may be told how far the job has come. Must not
     * block. May be NULL. */
    void (*reader_complete)(struct weir_reader *reader, const char *position);
    /* In place of write(). Takes the first *used of the messages; fewer than `count`: there is no room for more now, and busy() is true
     * until there is. DATA: messages[*used] can never be written (it is too large), the sink's on-error says what becomes of it. Must not
     * block. */
    weir_err (*write_messages)(struct weir_writer *writer, const struct weir_message_out *messages, int32_t count,
                               int32_t *used, struct weir_error *error);
    /* In a job with checkpoints: true when the sink's messages are to wait in the checkpoint's output log until it is complete, for
     * commit_messages(). No writer is opened then. A sink of bytes has messages without keys, each some records. May be NULL. */
    bool (*defers)(const struct weir_key_value *options, int option_count);
    /* Publishes them, each once, whatever was done before: it is asked again after a failure, and by another process when one was lost,
     * which may still be at it. Checkpoints come in order. May block, for a minute; IO and TIMEOUT: it will be tried again. */
    weir_err (*commit_messages)(struct weir_message_commit *commit, struct weir_error *error);
    /* Brings `next`, `end` and `committed` of the lanes up to date; about once a second, also while nothing is read because there is no
     * room for output. Must not block. May be NULL. */
    void (*reader_report)(struct weir_reader *reader, struct weir_connector_ctx *ctx);
    /* Of a sink that defers: each subtask asks when it begins, and writes nothing before it has the answer. May block, for a minute; an error
     * fails the task. May be NULL. */
    weir_err (*check_messages)(struct weir_message_check *check, struct weir_error *error);
    /* DATA: the message can never be published, and the sink's on-error says what becomes of it. Must not block. NULL: none is refused. */
    weir_err (*check_message)(const struct weir_message_check *check, const struct weir_message_out *message,
                              struct weir_error *error);
    /* Nothing more of this lane is to be given (what has been given, stays), until it is called again with `paused` false; what is fetched and
     * kept meanwhile must be bounded. The lane is too far ahead of others (scan.watermark.alignment.*). NULL: it cannot; then no
     * lane is read while all are too far ahead. Must not block. */
    void (*reader_pause)(struct weir_reader *reader, int32_t lane, bool paused);
    const struct weir_connector_held *held; /* NULL outside of weir: messages that wait in the log are nowhere else */
};

/* --- The connectors that a shared object brings: WEIR_CONNECTORS(&first, &second); once, at file scope */

#define WEIR_CONNECTORS_MAX 64
struct weir_job_connectors {
    uint32_t size; /* of this struct */
    uint32_t count;
    const struct weir_connector *const *connectors;
};
extern __attribute__((visibility("default"))) const struct weir_job_connectors weir_job_connectors;

#define WEIR_CONNECTORS(...) \
    static const struct weir_connector *const weir_job_connector_list[] = {__VA_ARGS__}; \
    __attribute__((used)) const struct weir_job_connectors weir_job_connectors = { \
        sizeof(struct weir_job_connectors), sizeof weir_job_connector_list / sizeof *weir_job_connector_list, \
        weir_job_connector_list}

/* --- Calls that block: see weir_connector_ctx */

/* What run() gave; the call must have ended. Its argument may be read (and emptied) from then on. */
weir_err weir_call_result(const struct weir_call *call, struct weir_error *error);
void weir_call_free(struct weir_call *call); /* NULL is allowed */

/* --- Helpers. Memory of the daemons: running out of it ends the process. */

void *weir_arena_zalloc(struct weir_arena *arena, size_t size);
char *weir_arena_strdup(struct weir_arena *arena, const char *s);
char *weir_arena_format(struct weir_arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Appends; false: it would pass the buffer's bound, and nothing was appended. */
bool weir_buf_puts(struct weir_buf *buf, const char *s) __attribute__((warn_unused_result));
bool weir_buf_printf(struct weir_buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3), warn_unused_result));

#ifdef __cplusplus
}
#endif
#endif
