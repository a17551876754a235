/* A Protobuf schema from descriptors, and how its names are found.
 *
 * A FileDescriptorSet is itself Protobuf: it is taken apart by its field numbers (descriptor.proto), what is not needed is passed over. It
 * comes from outside: every length is checked by the wire's functions, nesting is bounded, and what is made of it is a few times its size.
 * Owned by whoever made it; immutable from weir_proto_schema_finish() on.
 */
#include "format/protobuf_schema.h"

#include <stdlib.h>
#include <string.h>

#include "base/options.h"
#include "format/protobuf_schema_int.h"
#include "format/protobuf_wire.h"

/* --- Building, for both readers */

struct weir_proto_features weir_proto_features_of(const char *syntax)
{
    if (strcmp(syntax, "proto3") == 0)
        return (struct weir_proto_features){.implicit_presence = true, .packed = true};
    if (strcmp(syntax, "editions") == 0)
        return (struct weir_proto_features){.packed = true};
    return (struct weir_proto_features){.closed_enum = true};
}

struct weir_proto_schema *weir_proto_schema_begin(void)
{
    struct weir_proto_schema *schema = weir_zalloc(sizeof *schema);
    weir_arena_init(&schema->arena);
    return schema;
}

/* NULL: too long, or there are too many types. */
static const char *full_name(struct weir_proto_schema *schema, const char *scope, const char *name, size_t name_size)
{
    if (strlen(scope) + name_size >= PROTO_NAME_SIZE_MAX ||
        schema->message_count + schema->enum_count >= PROTO_TYPES_MAX)
        return NULL;
    return weir_arena_format(&schema->arena, "%s%s%.*s", scope, scope[0] ? "." : "", (int)name_size, name);
}

struct proto_message *weir_proto_add_message(struct weir_proto_schema *schema, int file, struct proto_message *outer,
                                             const char *scope, const char *name, size_t name_size, bool map_entry)
{
    const char *full = full_name(schema, scope, name, name_size);
    if (!full)
        return NULL;
    struct proto_message *added = weir_arena_zalloc(&schema->arena, sizeof *added);
    added->message.name = full;
    added->message.outer = outer ? &outer->message : NULL;
    added->message.file = file;
    added->message.map_entry = map_entry;
    added->next = schema->first;
    schema->first = added;
    schema->message_count++;
    return added;
}

struct proto_draft *weir_proto_add_field(struct weir_proto_schema *schema, struct proto_message *message)
{
    struct proto_draft *draft = weir_arena_zalloc(&schema->arena, sizeof *draft);
    draft->field.oneof = -1;
    draft->next = message->drafts;
    message->drafts = draft;
    message->message.field_count++;
    return draft;
}

int weir_proto_add_oneof(struct weir_proto_schema *schema, struct proto_message *message, const char *name,
                         size_t name_size)
{
    struct weir_proto_message *to = &message->message;
    int count = to->oneof_count;
    if ((count & (count - 1)) == 0) { /* a power of two: full */
        const char **more = weir_arena_alloc(&schema->arena, (size_t)(count ? 2 * count : 1) * sizeof *more);
        if (count > 0)
            memcpy(more, to->oneofs, (size_t)count * sizeof *more);
        to->oneofs = more;
    }
    to->oneofs[count] = weir_arena_strndup(&schema->arena, name, name_size);
    return to->oneof_count++;
}

struct proto_enum *weir_proto_add_enum(struct weir_proto_schema *schema, int file, const char *scope, const char *name,
                                       size_t name_size)
{
    const char *full = full_name(schema, scope, name, name_size);
    if (!full)
        return NULL;
    struct proto_enum *added = weir_arena_zalloc(&schema->arena, sizeof *added);
    added->enumeration.name = full;
    added->file = file;
    added->next = schema->first_enum;
    schema->first_enum = added;
    schema->enum_count++;
    return added;
}

void weir_proto_add_value(struct weir_proto_schema *schema, struct proto_enum *enumeration, const char *name,
                          size_t name_size, int32_t number)
{
    struct weir_proto_enum *to = &enumeration->enumeration;
    if (to->value_count == enumeration->capacity) {
        enumeration->capacity = enumeration->capacity ? 2 * enumeration->capacity : 8;
        struct weir_proto_value *more = weir_arena_alloc(&schema->arena, (size_t)enumeration->capacity * sizeof *more);
        if (to->value_count > 0)
            memcpy(more, to->values, (size_t)to->value_count * sizeof *more);
        to->values = more;
    }
    to->values[to->value_count++] =
        (struct weir_proto_value){weir_arena_strndup(&schema->arena, name, name_size), number};
}

/* --- Finding names */

static int compare_messages(const void *a, const void *b)
{
    return strcmp((*(struct proto_message *const *)a)->message.name, (*(struct proto_message *const *)b)->message.name);
}

static int compare_enums(const void *a, const void *b)
{
    return strcmp((*(struct proto_enum *const *)a)->enumeration.name,
                  (*(struct proto_enum *const *)b)->enumeration.name);
}

static const struct weir_proto_message *message_named(const struct weir_proto_schema *schema, const char *name)
{
    struct proto_message wanted = {.message = {.name = name}}, *key = &wanted;
    struct proto_message **found =
        bsearch(&key, schema->sorted, (size_t)schema->message_count, sizeof(void *), compare_messages);
    return found ? &(*found)->message : NULL;
}

static const struct weir_proto_enum *enum_named(const struct weir_proto_schema *schema, const char *name)
{
    struct proto_enum wanted = {.enumeration = {.name = name}}, *key = &wanted;
    struct proto_enum **found =
        bsearch(&key, schema->sorted_enums, (size_t)schema->enum_count, sizeof(void *), compare_enums);
    return found ? &(*found)->enumeration : NULL;
}

/* The field's type as it is named: from the innermost scope outwards, or as it stands behind a point. */
static void find_type(struct weir_proto_schema *schema, const char *scope, struct weir_proto_field *field)
{
    const char *name = field->type_name;
    if (!name)
        return;
    struct weir_buf path;
    weir_buf_init(&path, (size_t)1 << 20);
    size_t scope_size = name[0] == '.' ? 0 : strlen(scope);
    name += name[0] == '.';
    for (;;) {
        weir_buf_clear(&path);
        if (!weir_buf_printf(&path, "%.*s%s%s", (int)scope_size, scope, scope_size ? "." : "", name))
            break;
        field->message = message_named(schema, (const char *)path.data);
        field->enumeration = field->message ? NULL : enum_named(schema, (const char *)path.data);
        if (field->message || field->enumeration || scope_size == 0)
            break;
        const char *dot = memrchr(scope, '.', scope_size);
        scope_size = dot ? (size_t)(dot - scope) : 0;
    }
    weir_buf_fini(&path);
    if (field->type == WEIR_PROTO_NAMED)
        field->type = field->message ? WEIR_PROTO_MESSAGE : field->enumeration ? WEIR_PROTO_ENUM : WEIR_PROTO_NAMED;
}

static bool packable(enum weir_proto_type type)
{
    return type != WEIR_PROTO_STRING && type != WEIR_PROTO_BYTES && type != WEIR_PROTO_MESSAGE &&
           type != WEIR_PROTO_GROUP && type != WEIR_PROTO_NAMED;
}

static int compare_fields(const void *a, const void *b)
{
    uint32_t x = ((const struct weir_proto_field *)a)->number, y = ((const struct weir_proto_field *)b)->number;
    return x < y ? -1 : x > y;
}

static weir_err finish_message(struct weir_proto_schema *schema, struct proto_message *from, struct weir_error *error)
{
    struct weir_proto_message *message = &from->message;
    int count = 0;
    message->fields = weir_arena_alloc(&schema->arena, ((size_t)message->field_count + 1) * sizeof *message->fields);
    for (struct proto_draft *draft = from->drafts; draft; draft = draft->next) {
        struct weir_proto_field *field = &draft->field;
        find_type(schema, message->name, field);
        if (field->type == WEIR_PROTO_MESSAGE && draft->features.delimited &&
            !(field->message && field->message->map_entry))
            field->type = WEIR_PROTO_GROUP;
        bool holds_message = field->type == WEIR_PROTO_MESSAGE || field->type == WEIR_PROTO_GROUP;
        field->presence = !field->repeated && (holds_message || field->oneof >= 0 || draft->optional_said ||
                                               !draft->features.implicit_presence);
        if (message->map_entry) /* a key or value that is absent is its default */
            field->presence = field->required = false;
        field->packed = field->repeated && packable(field->type) &&
                        (draft->packed_said == PROTO_PACKED_UNSAID ? draft->features.packed
                                                                   : draft->packed_said == PROTO_PACKED_YES);
        message->fields[count++] = *field;
    }
    qsort(message->fields, (size_t)count, sizeof *message->fields, compare_fields);
    for (int i = 1; i < count; i++)
        if (message->fields[i].number == message->fields[i - 1].number)
            return weir_fail(error, WEIR_ERR_INVALID, "message '%.200s' has two fields with the number %u",
                             message->name, message->fields[i].number);
    return WEIR_OK;
}

/* The types that come with Protobuf itself. */
static const struct weir_proto_file well_known[] = {
    {"google/protobuf/timestamp.proto",
     "syntax='proto3'; package google.protobuf; message Timestamp { int64 seconds = 1; int32 nanos = 2; }"},
    {"google/protobuf/duration.proto",
     "syntax='proto3'; package google.protobuf; message Duration { int64 seconds = 1; int32 nanos = 2; }"},
    {"google/protobuf/wrappers.proto",
     "syntax='proto3'; package google.protobuf; message DoubleValue { double value = 1; } message FloatValue { float value = "
     "1; } message Int64Value { int64 value = 1; } message UInt64Value { uint64 value = 1; } message Int32Value { int32 "
     "value = 1; } message UInt32Value { uint32 value = 1; } message BoolValue { bool value = 1; } message StringValue { "
     "string value = 1; } message BytesValue { bytes value = 1; }"},
    {"google/protobuf/any.proto",
     "syntax='proto3'; package google.protobuf; message Any { string type_url = 1; bytes value = 2; }"},
    {"google/protobuf/empty.proto", "syntax='proto3'; package google.protobuf; message Empty {}"},
    {"google/protobuf/field_mask.proto",
     "syntax='proto3'; package google.protobuf; message FieldMask { repeated string paths = 1; }"},
    {"google/protobuf/struct.proto",
     "syntax='proto3'; package google.protobuf; message Struct { map<string, Value> fields = 1; } message Value { oneof kind "
     "{ NullValue null_value = 1; double number_value = 2; string string_value = 3; bool bool_value = 4; Struct struct_value "
     "= 5; ListValue list_value = 6; } } enum NullValue { NULL_VALUE = 0; } message ListValue { repeated Value values = 1; }"},
};

/* A file of well_known[] is left out where the schema brings its first message along. */
static weir_err add_well_known(struct weir_proto_schema *schema, struct weir_error *error)
{
    static const char *const first[] = {"Timestamp", "Duration", "DoubleValue", "Any", "Empty", "FieldMask", "Struct"};
    weir_err err = WEIR_OK;
    uint32_t brought = 0;
    for (const struct proto_message *message = schema->first; message; message = message->next)
        for (size_t i = 0; i < sizeof first / sizeof *first; i++)
            if (strncmp(message->message.name, "google.protobuf.", 16) == 0 &&
                strcmp(message->message.name + 16, first[i]) == 0)
                brought |= 1u << i;
    for (size_t i = 0; !err && i < sizeof well_known / sizeof *well_known; i++)
        if (!(brought & 1u << i))
            err = weir_proto_source_add(schema, &well_known[i], error);
    return err;
}

static weir_err sort_names(struct weir_proto_schema *schema, struct weir_error *error)
{
    int count = 0;
    schema->sorted = weir_arena_alloc(&schema->arena, ((size_t)schema->message_count + 1) * sizeof(void *));
    for (struct proto_message *message = schema->first; message; message = message->next)
        schema->sorted[count++] = message;
    qsort(schema->sorted, (size_t)count, sizeof(void *), compare_messages);
    for (int i = 1; i < count; i++)
        if (compare_messages(&schema->sorted[i - 1], &schema->sorted[i]) == 0)
            return weir_fail(error, WEIR_ERR_INVALID, "message '%.200s' is there twice",
                             schema->sorted[i]->message.name);
    count = 0;
    schema->sorted_enums = weir_arena_alloc(&schema->arena, ((size_t)schema->enum_count + 1) * sizeof(void *));
    for (struct proto_enum *item = schema->first_enum; item; item = item->next)
        schema->sorted_enums[count++] = item;
    qsort(schema->sorted_enums, (size_t)count, sizeof(void *), compare_enums);
    return WEIR_OK;
}

weir_err weir_proto_schema_finish(struct weir_proto_schema *schema, struct weir_error *error)
{
    schema->about = schema->file_count - 1;
    weir_err err = add_well_known(schema, error);
    if (!err)
        err = sort_names(schema, error);
    for (struct proto_message *message = schema->first; message && !err; message = message->next)
        err = finish_message(schema, message, error);
    return err;
}

void weir_proto_schema_free(struct weir_proto_schema *schema)
{
    if (!schema)
        return;
    weir_arena_fini(&schema->arena);
    free(schema);
}

/* Does `full` end in `name`, at a point? */
static bool ends_in(const char *full, const char *name)
{
    size_t full_size = strlen(full), size = strlen(name);
    return size > 0 && full_size >= size && strcmp(full + full_size - size, name) == 0 &&
           (full_size == size || full[full_size - size - 1] == '.');
}

#define NEAREST_MAX 256

static weir_err no_message(const struct weir_proto_schema *schema, const char *name, struct weir_error *error)
{
    const char *names[NEAREST_MAX] = {NULL};
    int count = 0;
    for (int i = 0; i < schema->message_count && count < NEAREST_MAX; i++)
        if (schema->sorted[i]->message.file <= schema->about && !schema->sorted[i]->message.map_entry)
            names[count++] = schema->sorted[i]->message.name;
    const char *near = weir_nearest(name, names, count);
    for (int i = 0; !near && i < count; i++) {
        const char *last = strrchr(names[i], '.');
        near = weir_nearest(name, (const char *const[]){last ? last + 1 : names[i]}, 1) ? names[i] : NULL;
    }
    if (near)
        return weir_fail(error, WEIR_ERR_INVALID, "there is no message '%.200s'; did you mean '%.200s'?", name, near);
    return weir_fail(error, WEIR_ERR_INVALID, "there is no message '%.200s'%s%.200s", name,
                     count > 0 ? "; there is " : "", count > 0 ? names[0] : "");
}

weir_err weir_proto_schema_message(const struct weir_proto_schema *schema, const char *name,
                                   const struct weir_proto_message **message, struct weir_error *error)
{
    const struct weir_proto_message *found = name ? message_named(schema, name) : NULL;
    for (int i = 0; !found && i < schema->message_count; i++) {
        const struct weir_proto_message *candidate = &schema->sorted[i]->message;
        bool fits = name ? !candidate->map_entry && ends_in(candidate->name, name)
                         : candidate->file == schema->about && !candidate->outer;
        if (!fits)
            continue;
        for (int j = i + 1; j < schema->message_count; j++) {
            const struct weir_proto_message *other = &schema->sorted[j]->message;
            if (name ? !other->map_entry && ends_in(other->name, name) : other->file == schema->about && !other->outer)
                return weir_fail(
                    error, WEIR_ERR_INVALID,
                    name
                        ? "there are several messages '%.200s': '%.200s' and '%.200s', among others; give the whole name"
                        : "%sthere are several messages, '%.200s' and '%.200s' among others: say which by its name",
                    name ? name : "", candidate->name, other->name);
        }
        found = candidate;
    }
    if (!found)
        return name ? no_message(schema, name, error)
                    : weir_fail(error, WEIR_ERR_INVALID, "there is no message in the schema");
    *message = found;
    return WEIR_OK;
}

const struct weir_proto_message *weir_proto_schema_at(const struct weir_proto_schema *schema, const int *indexes,
                                                      int count)
{
    const struct weir_proto_message *outer = NULL;
    for (int level = 0; level < count; level++) {
        const struct weir_proto_message *found = NULL;
        for (const struct proto_message *at = schema->first; at && !found; at = at->next)
            if (at->message.file == schema->about && at->message.outer == outer && !at->message.map_entry &&
                at->message.index == indexes[level])
                found = &at->message;
        if (!found)
            return NULL;
        outer = found;
    }
    return outer;
}

const struct weir_proto_field *weir_proto_field_find(const struct weir_proto_message *message, const char *name)
{
    for (int i = 0; i < message->field_count; i++)
        if (strcmp(message->fields[i].name, name) == 0)
            return &message->fields[i];
    return NULL;
}

/* --- Descriptors */

struct item {
    uint32_t number;
    int wire;
    uint64_t value; /* of a varint */
    const uint8_t *bytes;
    size_t size;
};

struct reader {
    const uint8_t *at, *end;
    bool bad;
};

/* The next varint or length-delimited field; others are passed over. False: the end, or it is bad. */
static bool next(struct reader *reader, struct item *item)
{
    while (reader->at < reader->end) {
        bool ok = pb_tag(&reader->at, reader->end, &item->number, &item->wire);
        if (ok && item->wire == PB_VARINT)
            ok = pb_varint(&reader->at, reader->end, &item->value);
        else if (ok && item->wire == PB_LEN)
            ok = pb_len(&reader->at, reader->end, &item->bytes, &item->size);
        else if (ok && pb_skip(&reader->at, reader->end, item->number, item->wire))
            continue;
        else
            ok = false;
        reader->bad |= !ok;
        return ok;
    }
    return false;
}

static struct reader read_of(const uint8_t *bytes, size_t size)
{
    return (struct reader){bytes, bytes + size, false};
}

/* Is it this field, of length-delimited kind? */
static bool is_len(const struct item *item, uint32_t number)
{
    return item->number == number && item->wire == PB_LEN;
}

static bool is_int(const struct item *item, uint32_t number)
{
    return item->number == number && item->wire == PB_VARINT;
}

static void read_features(struct item from, struct weir_proto_features *features)
{
    struct reader reader = read_of(from.bytes, from.size);
    for (struct item item; next(&reader, &item);) {
        if (is_int(&item, 1)) /* field_presence: EXPLICIT, IMPLICIT, LEGACY_REQUIRED */
            features->implicit_presence = item.value == 2;
        else if (is_int(&item, 2)) /* enum_type: OPEN, CLOSED */
            features->closed_enum = item.value == 2;
        else if (is_int(&item, 3)) /* repeated_field_encoding: PACKED, EXPANDED */
            features->packed = item.value == 1;
        else if (is_int(&item, 5)) /* message_encoding: LENGTH_PREFIXED, DELIMITED */
            features->delimited = item.value == 2;
    }
}

struct file {
    struct weir_proto_schema *schema;
    int number;
    struct weir_error *error;
};

static weir_err broken(const struct file *file, const char *what)
{
    return weir_fail(file->error, WEIR_ERR_INVALID,
                     "this is not a FileDescriptorSet (protoc --include_imports --descriptor_set_out): %s", what);
}

static weir_err read_enum(const struct file *file, struct item from, const char *scope,
                          struct weir_proto_features features)
{
    struct reader reader = read_of(from.bytes, from.size);
    struct proto_enum *enumeration = NULL;
    for (struct item item; next(&reader, &item);) {
        if (is_len(&item, 1) && !enumeration)
            enumeration = weir_proto_add_enum(file->schema, file->number, scope, (const char *)item.bytes, item.size);
        else if (is_len(&item, 3)) {
            struct reader options = read_of(item.bytes, item.size);
            for (struct item option; next(&options, &option);)
                if (is_len(&option, 7))
                    read_features(option, &features);
        }
    }
    if (reader.bad || !enumeration)
        return broken(file, "an enum is cut off, or has no name or too long a one");
    enumeration->enumeration.closed = features.closed_enum;
    reader = read_of(from.bytes, from.size);
    for (struct item item; next(&reader, &item);) {
        if (!is_len(&item, 2))
            continue;
        struct reader inner = read_of(item.bytes, item.size);
        struct item name = {.bytes = (const uint8_t *)""};
        int32_t number = 0;
        for (struct item part; next(&inner, &part);) {
            if (is_len(&part, 1))
                name = part;
            else if (is_int(&part, 2))
                number = (int32_t)part.value;
        }
        weir_proto_add_value(file->schema, enumeration, (const char *)name.bytes, name.size, number);
    }
    return WEIR_OK;
}

static void read_field_options(struct item from, struct proto_draft *draft)
{
    struct reader reader = read_of(from.bytes, from.size);
    for (struct item item; next(&reader, &item);) {
        if (is_int(&item, 2))
            draft->packed_said = item.value ? PROTO_PACKED_YES : PROTO_PACKED_NO;
        else if (is_len(&item, 21)) {
            struct reader inner = read_of(item.bytes, item.size);
            for (struct item part; next(&inner, &part);)
                if (is_int(&part, 1) && part.value == 3) /* LEGACY_REQUIRED */
                    draft->field.required = true;
            read_features(item, &draft->features);
        }
    }
}

static weir_err read_field(const struct file *file, struct item from, struct proto_message *to,
                           struct weir_proto_features features)
{
    struct weir_arena *arena = &file->schema->arena;
    struct proto_draft *draft = weir_proto_add_field(file->schema, to);
    struct weir_proto_field *field = &draft->field;
    struct reader reader = read_of(from.bytes, from.size);
    uint64_t number = 0, type = 0, oneof = UINT64_MAX;
    draft->features = features;
    for (struct item item; next(&reader, &item);) {
        if (is_len(&item, 1))
            field->name = weir_arena_strndup(arena, (const char *)item.bytes, item.size);
        else if (is_int(&item, 3))
            number = item.value;
        else if (is_int(&item, 4)) {
            field->required = item.value == 2;
            field->repeated = item.value == 3;
        } else if (is_int(&item, 5))
            type = item.value;
        else if (is_len(&item, 6))
            field->type_name = weir_arena_strndup(arena, (const char *)item.bytes, item.size);
        else if (is_len(&item, 7))
            field->default_text = weir_arena_strndup(arena, (const char *)item.bytes, item.size);
        else if (is_len(&item, 8))
            read_field_options(item, draft);
        else if (is_int(&item, 9))
            oneof = item.value;
        else if (is_int(&item, 17))
            draft->optional_said = item.value != 0;
    }
    if (reader.bad || !field->name || number < 1 || number > PB_NUMBER_MAX || type > WEIR_PROTO_SINT64 ||
        (type == 0 && !field->type_name) || (oneof != UINT64_MAX && oneof >= (uint64_t)to->message.oneof_count))
        return broken(file, "a field is cut off, or its name, number, type or oneof is wrong");
    field->number = (uint32_t)number;
    field->type = (enum weir_proto_type)type;
    if (oneof != UINT64_MAX && !draft->optional_said) /* the oneof of an "optional" is a mere form */
        field->oneof = (int)oneof;
    return WEIR_OK;
}

/* Name, options and oneofs of a message, which its fields need. */
static weir_err read_message_head(const struct file *file, struct item from, struct proto_message *outer,
                                  const char *scope, struct weir_proto_features *features, struct proto_message **made)
{
    struct reader reader = read_of(from.bytes, from.size);
    struct item name = {.bytes = NULL};
    bool map_entry = false;
    for (struct item item; next(&reader, &item);) {
        if (is_len(&item, 1))
            name = item;
        else if (is_len(&item, 7)) {
            struct reader options = read_of(item.bytes, item.size);
            for (struct item option; next(&options, &option);) {
                if (is_int(&option, 7))
                    map_entry = option.value != 0;
                else if (is_len(&option, 12))
                    read_features(option, features);
            }
        }
    }
    if (reader.bad || !name.bytes)
        return broken(file, "a message is cut off or has no name");
    *made = weir_proto_add_message(file->schema, file->number, outer, scope, (const char *)name.bytes, name.size,
                                   map_entry);
    if (!*made)
        return broken(file, "a message's name is too long, or there are too many");
    reader = read_of(from.bytes, from.size);
    for (struct item item; next(&reader, &item);) {
        if (!is_len(&item, 8))
            continue;
        struct reader inner = read_of(item.bytes, item.size);
        struct item oneof = {.bytes = (const uint8_t *)""};
        for (struct item part; next(&inner, &part);)
            if (is_len(&part, 1))
                oneof = part;
        (void)weir_proto_add_oneof(file->schema, *made, (const char *)oneof.bytes, oneof.size);
    }
    return WEIR_OK;
}

static weir_err read_message(const struct file *file, struct item from, struct proto_message *outer, const char *scope,
                             struct weir_proto_features features, int depth, int *index)
{
    struct proto_message *message;
    if (depth == PROTO_NESTING_MAX)
        return broken(file, "messages are nested more than 32 deep");
    weir_err err = read_message_head(file, from, outer, scope, &features, &message);
    if (err)
        return err;
    message->message.index = message->message.map_entry ? -1 : (*index)++;
    struct reader reader = read_of(from.bytes, from.size);
    for (struct item item; !err && next(&reader, &item);) {
        if (is_len(&item, 2))
            err = read_field(file, item, message, features);
        else if (is_len(&item, 3))
            err = read_message(file, item, message, message->message.name, features, depth + 1, &message->inner_count);
        else if (is_len(&item, 4))
            err = read_enum(file, item, message->message.name, features);
    }
    return err;
}

static weir_err read_file(struct file *file, struct item from)
{
    const char *package = "", *syntax = "proto2";
    struct weir_arena *arena = &file->schema->arena;
    struct reader reader = read_of(from.bytes, from.size);
    struct item options = {.bytes = NULL};
    for (struct item item; next(&reader, &item);) {
        if (is_len(&item, 2))
            package = weir_arena_strndup(arena, (const char *)item.bytes, item.size);
        else if (is_len(&item, 12))
            syntax = weir_arena_strndup(arena, (const char *)item.bytes, item.size);
        else if (is_len(&item, 8))
            options = item;
    }
    if (reader.bad)
        return broken(file, "a file in it is cut off");
    struct weir_proto_features features = weir_proto_features_of(syntax);
    if (options.bytes) {
        reader = read_of(options.bytes, options.size);
        for (struct item option; next(&reader, &option);)
            if (is_len(&option, 50))
                read_features(option, &features);
    }
    int index = 0;
    weir_err err = WEIR_OK;
    reader = read_of(from.bytes, from.size);
    for (struct item item; !err && next(&reader, &item);) {
        if (is_len(&item, 4))
            err = read_message(file, item, NULL, package, features, 0, &index);
        else if (is_len(&item, 5))
            err = read_enum(file, item, package, features);
    }
    return err;
}

weir_err weir_proto_schema_read(const uint8_t *bytes, size_t size, struct weir_proto_schema **schema,
                                struct weir_error *error)
{
    struct weir_proto_schema *made = weir_proto_schema_begin();
    struct file file = {.schema = made, .error = error};
    struct reader reader = read_of(bytes, size);
    weir_err err = WEIR_OK;
    for (struct item item; !err && next(&reader, &item);) {
        if (!is_len(&item, 1)) {
            err = broken(&file, "it holds other things than files");
            break;
        }
        file.number = made->file_count++;
        err = read_file(&file, item);
    }
    if (!err && (reader.bad || made->message_count == 0))
        err = broken(&file, reader.bad ? "it is cut off" : "it holds no message");
    if (!err)
        err = weir_proto_schema_finish(made, error);
    if (err) {
        weir_proto_schema_free(made);
        return err;
    }
    *schema = made;
    return WEIR_OK;
}
