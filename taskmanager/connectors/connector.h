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
