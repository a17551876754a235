/* What a Protobuf schema says: messages, fields, enums, by name. Read from a FileDescriptorSet (what `protoc --descriptor_set_out` writes) or
 * from .proto text. Immutable once made; plain memory, no I/O.
 *
 * A type that a field names and that is nowhere is no error until a column needs it: `message` and `enumeration` are NULL then. The types of
 * google/protobuf/{timestamp,duration,wrappers,any,empty,struct,field_mask}.proto are known without being given.
 */
#ifndef WEIR_FORMAT_PROTOBUF_SCHEMA_H
#define WEIR_FORMAT_PROTOBUF_SCHEMA_H

#include "base/error.h"
#include "base/mem.h"

/* As in descriptor.proto. */
enum weir_proto_type {
    WEIR_PROTO_NAMED = 0, /* a message or an enum: which one is seen when the name is found */
    WEIR_PROTO_DOUBLE = 1,
    WEIR_PROTO_FLOAT = 2,
    WEIR_PROTO_INT64 = 3,
    WEIR_PROTO_UINT64 = 4,
    WEIR_PROTO_INT32 = 5,
    WEIR_PROTO_FIXED64 = 6,
    WEIR_PROTO_FIXED32 = 7,
    WEIR_PROTO_BOOL = 8,
    WEIR_PROTO_STRING = 9,
    WEIR_PROTO_GROUP = 10,
    WEIR_PROTO_MESSAGE = 11,
    WEIR_PROTO_BYTES = 12,
    WEIR_PROTO_UINT32 = 13,
    WEIR_PROTO_ENUM = 14,
    WEIR_PROTO_SFIXED32 = 15,
    WEIR_PROTO_SFIXED64 = 16,
    WEIR_PROTO_SINT32 = 17,
    WEIR_PROTO_SINT64 = 18,
};

/* What is not plain proto2 or proto3, but is inherited from file to message to field (editions call it features). */
struct weir_proto_features {
    bool implicit_presence; /* a scalar that is its default is not written */
    bool closed_enum;       /* numbers without a name are unknown fields */
    bool packed;
    bool delimited; /* messages are written as groups */
};

struct weir_proto_value {
    const char *name;
    int32_t number;
};

struct weir_proto_enum {
    const char *name; /* "package.Outer.Inner" */
    struct weir_proto_value *values;
    int value_count;
    bool closed;
};

struct weir_proto_message;
struct weir_proto_field {
    const char *name;
    uint32_t number;
    enum weir_proto_type type;
    bool repeated;
    bool required;
    bool presence; /* absent is told from default */
    bool packed;   /* when written */
    int oneof;     /* index into the message's oneofs; -1: none */
    const char *type_name;
    const char *default_text; /* as in descriptor.proto; NULL: none is declared */
    const struct weir_proto_message *message;
    const struct weir_proto_enum *enumeration;
};

struct weir_proto_message {
    const char *name;                       /* "package.Outer.Inner" */
    const struct weir_proto_message *outer; /* NULL: at the top of its file */
    int index;                              /* among its neighbours, as declared */
    int file;                               /* which of the files; the built-in ones come last */
    struct weir_proto_field *fields;        /* by number */
    int field_count;
    const char **oneofs;
    int oneof_count;
    bool map_entry;
};

struct weir_proto_schema;

/* INVALID: not a FileDescriptorSet; says what. */
weir_err weir_proto_schema_read(const uint8_t *bytes, size_t size, struct weir_proto_schema **schema,
                                struct weir_error *error);

/* .proto text by the names it is imported by; the last one is what it is about. */
struct weir_proto_file {
    const char *name;
    const char *text;
};
/* INVALID names file and line. */
weir_err weir_proto_schema_parse(const struct weir_proto_file *files, int file_count, struct weir_proto_schema **schema,
                                 struct weir_error *error);
void weir_proto_schema_free(struct weir_proto_schema *schema); /* NULL is allowed */

/* By full name, or by the last parts of one that is unique: "shop.Order", "Order". NULL `name`: the only message at the top of the last file.
 * INVALID names the nearest, or says that there are several. */
weir_err weir_proto_schema_message(const struct weir_proto_schema *schema, const char *name,
                                   const struct weir_proto_message **message, struct weir_error *error);
/* By indexes, outermost first, in the last file; map entries do not count. NULL: there is none. */
const struct weir_proto_message *weir_proto_schema_at(const struct weir_proto_schema *schema, const int *indexes,
                                                      int count);
const struct weir_proto_field *weir_proto_field_find(const struct weir_proto_message *message, const char *name);

#endif
