/* Columns that are a message's own (its key, its time, its place), beside those that a format fills or writes: "metadata.COLUMN" = "key".
 * Shared by sources and sinks. */
#ifndef WEIR_TASKMANAGER_OPS_MESSAGE_COLUMNS_H
#define WEIR_TASKMANAGER_OPS_MESSAGE_COLUMNS_H

#include "ops/ops_int.h"

enum weir_metadata {
    WEIR_META_TOPIC,
    WEIR_META_PARTITION,
    WEIR_META_OFFSET,
    WEIR_META_TIMESTAMP,
    WEIR_META_KEY,
    WEIR_META_HEADERS
};
extern const char *const weir_metadata_names[]; /* as options say them */

struct weir_message_columns {
    struct weir_schema *value_schema;    /* of the columns that are the format's */
    struct weir_schema *metadata_schema; /* of the others; NULL: there are none */
    enum weir_metadata *kinds;           /* of the columns of metadata_schema */
    int *from; /* of each column of the whole: value column i as i, metadata column i as -1 - i */
};

/* INVALID: a "metadata.COLUMN" that names no column, or no kind; a type that cannot hold it; what a sink (`to_write`) cannot set; no column
 * left for the format; a connector without messages. On failure nothing is left to be freed. */
weir_err weir_message_columns_init(struct weir_message_columns *columns, const struct weir_op_plan *plan,
                                   struct weir_schema *schema, const struct weir_connector *connector, bool to_write,
                                   struct weir_error *error);
void weir_message_columns_fini(struct weir_message_columns *columns); /* all zero is allowed */

#endif
