/* Which columns are in a message's value ("value.fields-include"), which in its key ("key.fields", "key.fields-prefix"), and which are the message's
 * own (its key as it is, its time, its place): "metadata.COLUMN" = "timestamp". Shared by sources and sinks. */
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
    struct weir_schema *value_schema;    /* of the columns that are the value's format's */
    struct weir_schema *key_schema;      /* of key.fields, by their names in the key; NULL: there are none */
    struct weir_schema *metadata_schema; /* of the others; NULL: there are none */
    int *of_value, *of_key;              /* which columns of the whole theirs are */
    enum weir_metadata *kinds;           /* of the columns of metadata_schema */
    struct weir_column_place {
        enum weir_message_part part; /* of a column that value and key have: the value, as in Flink */
        int at;                      /* in that part's schema */
    } * from;                        /* of each column of the whole */
};

/* INVALID: a "metadata.COLUMN" that names no column, or no kind; a type that cannot hold it; what a sink (`to_write`) cannot set; key.fields that are no
 * columns, or the key twice; no column left for the format; a connector without messages. On failure nothing is left to be freed. */
weir_err weir_message_columns_init(struct weir_message_columns *columns, const struct weir_op_plan *plan,
                                   struct weir_schema *schema, const struct weir_connector *connector, bool to_write,
                                   struct weir_error *error);
void weir_message_columns_fini(struct weir_message_columns *columns); /* all zero is allowed */

#endif
