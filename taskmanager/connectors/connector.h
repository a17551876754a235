/* Connectors inside the tree: one folder each, one line of the table (connectors/table.c). The generic operators "source", "splits" and
 * "sink" (taskmanager/ops) host them: they own the format, the bad-record policy, watermarks and counters; a connector moves bytes
 * or rows.
 *
 * The interface is the public one, include/weir/connector.h: a connector outside the tree (in a job's shared object) works as one in it.
 * What is here besides: connectors that carry rows instead of bytes, and finding a connector by name, whichever kind it is.
 *
 * A connector with an `enumerate` has a coordinator: the graph gets a vertex "splits" (parallelism 1) whose ON_DEMAND edge hands
 * splits to the readers at run time; one without computes its own share from (subtask, parallelism).
 */
#ifndef WEIR_TASKMANAGER_CONNECTORS_CONNECTOR_H
#define WEIR_TASKMANAGER_CONNECTORS_CONNECTOR_H

#include "data/batch.h"
#include "ops/op.h"
#include "weir/connector.h"

struct weir_schema *weir_split_schema(void); /* of a weir_split on the wire: id, offset, size, remaining; borrowed */

/* For connectors that carry rows. */
struct weir_connector_rows {
    /* The schema that a source gives; NULL: it must be declared (weir_schema()). May depend on options. */
    weir_err (*source_schema)(const struct weir_key_value *options, int option_count, struct weir_schema *declared,
                              struct weir_schema **schema, struct weir_error *error);
    /* In place of read(): a batch (one reference, at most WEIR_BATCH_ROWS_MAX rows). */
    enum weir_read (*read_batch)(struct weir_reader *reader, struct weir_connector_ctx *ctx, struct weir_batch **batch,
                                 int64_t *wait_until_ms, struct weir_error *error);
    /* In place of write(), or beside it: then a format may be given. */
    weir_err (*write_batch)(struct weir_writer *writer, const struct weir_batch *batch, struct weir_error *error);
};

/* For connectors inside weir that defer (weir_connector.defers) and may hold messages in transactions that stay open until their checkpoint is complete: a
 * subtask's, beside the log. What became of one is commit_messages()'s to find out (weir_message_commit.held): what no subtask has committed and
 * never will is published from the log. */
struct weir_held; /* the connector's own: of a subtask */
struct weir_held_start {
    uint64_t restored;         /* the checkpoint that the attempt begins with; 0: none */
    const char *const *states; /* what save() gave to it, of all subtasks then */
    int state_count;
    int64_t interval_ms; /* execution.checkpointing.interval */
};
struct weir_connector_held {
    bool (*wanted)(const struct weir_key_value *options, int option_count);
    weir_err (*open)(struct weir_connector_ctx *ctx, const struct weir_held_start *start,
                     const struct weir_key_value *options, int option_count, struct weir_held **held,
                     struct weir_error *error);
    /* True: write() would have to wait for a call that blocks. */
    bool (*busy)(struct weir_held *held);
    /* One message, when it is not busy; *taken false: there is no room, it is busy until there is. */
    weir_err (*write)(struct weir_held *held, const struct weir_message_out *message, bool *taken,
                      struct weir_error *error);
    /* A barrier; `transaction`: which one holds what was written since the last (weir_message_commit.held); empty: nothing was. */
    weir_err (*barrier)(struct weir_held *held, uint64_t checkpoint, struct weir_buf *transaction,
                        struct weir_error *error);
    /* The checkpoint, which this attempt has given its part of, is in HEAD: what was written before its barrier may be committed. */
    weir_err (*complete)(struct weir_held *held, uint64_t checkpoint, struct weir_error *error);
    /* After barrier(): text for who begins with this checkpoint. False: it is too large. */
    bool (*save)(struct weir_held *held, struct weir_buf *state);
    /* Nothing follows, and nobody is told of checkpoints any more: what is open is given up. Busy until it is. */
    void (*seal)(struct weir_held *held);
    /* The same for one that is just closed. What may block is left to be done: weir_call_leave() of `last`, before the process ends. */
    void (*close)(struct weir_held *held, struct weir_call_spec *last);
};

/* weir_message_commit.runtime, for connectors inside weir. */
struct weir_connector_commit {
    const char *const *names;              /* of the segments' objects: each is used once */
    const struct weir_key_value *settings; /* s3.*, of the TaskManager */
    int setting_count;
};

extern const struct weir_connector *const weir_connectors[]; /* those of the tree; NULL-terminated, sorted by name */

/* Those that the job's shared object brings (WEIR_CONNECTORS), once it has been loaded: `handle` is dlopen()'s. Nothing when it brings
 * none. INVALID: a table that cannot be used, a name that is taken. They stay for the life of the process, which hosts one job. */
weir_err weir_connectors_load(void *handle, struct weir_error *error);
/* Of the tree or of the job. */
weir_err weir_connector_find(const char *name, const struct weir_connector **connector, struct weir_error *error);

#endif
