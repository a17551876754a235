/* Private to the Protobuf formats: columns and a message compiled to tables, which records are read and written by.
 *
 * A plan is a tree of nodes, one for each message that a column of type ROW, ARRAY<ROW> or MAP stands for, as deep as the columns' types
 * are, and so never recursive, however recursive the message may be. It belongs to one decoder or encoder, on its thread.
 */
#ifndef WEIR_FORMAT_PROTOBUF_INT_H
#define WEIR_FORMAT_PROTOBUF_INT_H

#include "data/batch.h"
#include "format/protobuf_schema.h"
#include "format/text_int.h"

#define PB_RECORD_SIZE_MAX ((size_t)256 << 20)

enum pb_kind {
    PB_SCALAR,
    PB_ROW,       /* a message or a group: child is its node */
    PB_TIMESTAMP, /* google.protobuf.Timestamp */
    PB_DURATION,  /* google.protobuf.Duration, as milliseconds */
    PB_WRAPPER,   /* google.protobuf.Int64Value and the like: child is a node of its value, whose column is this one */
};

/* What most columns are, for the quick way: one value, no oneof, nothing to convert. */
enum pb_fast { PB_FAST_NONE, PB_FAST_DOUBLE, PB_FAST_TEXT, PB_FAST_INT64, PB_FAST_INT32 };

/* A field that a column stands for, or (column -1) one that only ends what another member of its oneof said. */
struct pb_entry {
    const struct weir_proto_field *field; /* NULL: the message has none for this column, which is NULL */
    uint32_t number;                      /* 0 without a field */
    enum weir_proto_type type;
    enum pb_kind kind;
    enum pb_fast fast;
    int wire;    /* of one value */
    bool packed; /* a repeated scalar: length-delimited is right, too */
    bool repeated;
    bool map; /* repeated, into a MAP */
    bool required;
    bool presence;
    bool use_default;        /* absent is the default, not NULL */
    int oneof;               /* -1: none */
    int column;              /* of the batch that the node is read into */
    struct weir_type target; /* what one value is stored as: the column's, or its ARRAY's element's */
    bool nullable;           /* the column */
    struct pb_node *child;
    const char *path; /* for messages: "order.items[].price" */
    /* The value of an absent field. */
    uint64_t default_raw; /* as fixed64, fixed32 or varint bits */
    const uint8_t *default_bytes;
    size_t default_size;
    /* PB_TIMESTAMP, PB_DURATION: what the parts of a message that comes in several have said so far. */
    int64_t seconds;
    int32_t nanos;
};

struct pb_node {
    const struct weir_proto_message *message;
    struct pb_entry *entries; /* by field number */
    int entry_count;
    uint16_t by_tag[128]; /* a tag of one byte -> 1 + the entry that takes this wire type; 0: none */
    uint64_t *seen;       /* a bit an entry */
    uint64_t all;         /* of the first 64: which there are */
    bool simple;          /* at most 64 entries, none of which is a list or a message: all seen is all done */
    bool has_oneof;
    size_t row_bytes; /* that one row of it takes, lists and text aside */
};

struct weir_pb_plan {
    struct weir_arena arena;
    struct weir_schema *columns;
    struct pb_node *root;
    const char *format; /* its name, for messages */
    bool encode;
    bool read_defaults;
    bool lenient; /* a column without a field is NULL */
    size_t budget;
    struct weir_timestamp_cache timestamps;
};

struct weir_pb_options {
    const char *format;
    bool encode;
    bool read_defaults;
    bool lenient;
};
/* INVALID names column and field. `message` must outlive the plan. */
weir_err weir_pb_plan_new(struct weir_schema *columns, const struct weir_proto_message *message,
                          const struct weir_pb_options *options, struct weir_pb_plan **plan, struct weir_error *error);
void weir_pb_plan_free(struct weir_pb_plan *plan); /* NULL is allowed */

/* As a format's decode() and encode(), the latter without a line's end. */
weir_err weir_pb_decode(struct weir_pb_plan *plan, const uint8_t *bytes, size_t size, bool padded,
                        struct weir_batch *batch, struct weir_error *error);
weir_err weir_pb_encode(struct weir_pb_plan *plan, const struct weir_batch *batch, int row, struct weir_buf *out,
                        struct weir_error *error);

/* .proto source whose message "Row" has the columns as its fields. INVALID: Protobuf cannot say one. */
weir_err weir_pb_derive(const struct weir_schema *columns, struct weir_buf *out, struct weir_error *error);

/* "protobuf: column 'a.b' (INT, field 'b' of 'x.Y') is ..." */
weir_err weir_pb_bad_value(const struct weir_pb_plan *plan, const struct pb_entry *entry, const char *what,
                           struct weir_error *error);
const struct weir_proto_value *weir_pb_enum_value(const struct weir_proto_enum *enumeration, int32_t number);
static inline bool weir_pb_is_unsigned64(enum weir_proto_type type)
{
    return type == WEIR_PROTO_UINT64 || type == WEIR_PROTO_FIXED64;
}

#endif
