/* Private to the two readers of Protobuf schemas (protobuf_schema.c of descriptors, protobuf_source.c of .proto text): the schema that is
 * being made. */
#ifndef WEIR_FORMAT_PROTOBUF_SCHEMA_INT_H
#define WEIR_FORMAT_PROTOBUF_SCHEMA_INT_H

#include "format/protobuf_schema.h"

/* Messages in messages; protoc's own bound. */
#define PROTO_NESTING_MAX 32
/* So that what a schema takes is bounded by its text: each type has its full name. */
#define PROTO_NAME_SIZE_MAX 1024
#define PROTO_TYPES_MAX 65536

enum { PROTO_PACKED_UNSAID = 0, PROTO_PACKED_NO = 1, PROTO_PACKED_YES = 2 };

/* A field, and what it takes to know the rest of it when its type is found. */
struct proto_draft {
    struct weir_proto_field field; /* without presence, packed, message, enumeration */
    struct weir_proto_features features;
    bool optional_said; /* proto3's "optional" */
    int packed_said;
    struct proto_draft *next;
};

struct proto_message {
    struct weir_proto_message message;
    struct proto_draft *drafts;
    struct proto_message *next;
    int inner_count; /* messages in it, map entries aside */
};

struct proto_enum {
    struct weir_proto_enum enumeration;
    int file;
    int capacity;
    struct proto_enum *next;
};

struct weir_proto_schema {
    struct weir_arena arena;
    struct proto_message *first;
    struct proto_enum *first_enum;
    int message_count, enum_count;
    int file_count;
    int about;                     /* the file that a message without a name is looked for in */
    struct proto_message **sorted; /* by name */
    struct proto_enum **sorted_enums;
};

struct weir_proto_features weir_proto_features_of(const char *syntax); /* "proto2", "proto3", "editions" */
struct weir_proto_schema *weir_proto_schema_begin(void);
/* `scope`: the package or the outer message's name, "" for none. NULL, here and of enums: the name is too long, or there are too many. */
struct proto_message *weir_proto_add_message(struct weir_proto_schema *schema, int file, struct proto_message *outer,
                                             const char *scope, const char *name, size_t name_size, bool map_entry);
struct proto_draft *weir_proto_add_field(struct weir_proto_schema *schema, struct proto_message *message);
int weir_proto_add_oneof(struct weir_proto_schema *schema, struct proto_message *message, const char *name,
                         size_t name_size);
struct proto_enum *weir_proto_add_enum(struct weir_proto_schema *schema, int file, const char *scope, const char *name,
                                       size_t name_size);
void weir_proto_add_value(struct weir_proto_schema *schema, struct proto_enum *enumeration, const char *name,
                          size_t name_size, int32_t number);
/* Adds the built-in files (not `given` twice), finds the types that fields name. */
weir_err weir_proto_schema_finish(struct weir_proto_schema *schema, struct weir_error *error);
/* .proto text into a schema as its next file. */
weir_err weir_proto_source_add(struct weir_proto_schema *schema, const struct weir_proto_file *file,
                               struct weir_error *error);

#endif
