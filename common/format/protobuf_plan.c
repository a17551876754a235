/* Columns and a Protobuf message -> the tables that records are read and written by. Once per decoder or encoder; errors are of the kind that
 * a job is refused for, and name column and field.
 *
 * Which column takes which field:
 *   bool BOOLEAN; integers any integer column (each value must fit), DECIMAL, and those of 32 bits DOUBLE; 32 bits with a sign also
 *   DATE (days) and TIME (ms of the day), 64 bits with a sign also TIMESTAMP and TIMESTAMP_LTZ (ms since 1970); float and double FLOAT and
 *   DOUBLE, widened only; string STRING, and DECIMAL, DATE, TIME, TIMESTAMP as text; bytes BYTES; enum STRING (its name) or an integer (its
 *   number); messages ROW; google.protobuf.Timestamp TIMESTAMP and TIMESTAMP_LTZ, Duration BIGINT (ms), the wrappers what they wrap; repeated
 *   ARRAY; map MAP.
 * When writing, a value must fit the field; what would lose digits whatever the value is refused here.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/options.h"
#include "format/protobuf_int.h"
#include "format/protobuf_wire.h"

/* --- Sentences */

static weir_err refuse(const struct weir_pb_plan *plan, const char *path, const struct weir_type *type,
                       struct weir_error *error, const char *format, ...) __attribute__((format(printf, 5, 6)));
static weir_err refuse(const struct weir_pb_plan *plan, const char *path, const struct weir_type *type,
                       struct weir_error *error, const char *format, ...)
{
    char text[64], what[512];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return weir_fail(error, WEIR_ERR_INVALID, "%s: column '%.200s' (%s): %s", plan->format, path,
                     weir_type_print(type, text), what);
}

static const char *proto_type_name(const struct weir_proto_field *field)
{
    static const char *const names[] = {
        [WEIR_PROTO_DOUBLE] = "double",     [WEIR_PROTO_FLOAT] = "float",   [WEIR_PROTO_INT64] = "int64",
        [WEIR_PROTO_UINT64] = "uint64",     [WEIR_PROTO_INT32] = "int32",   [WEIR_PROTO_FIXED64] = "fixed64",
        [WEIR_PROTO_FIXED32] = "fixed32",   [WEIR_PROTO_BOOL] = "bool",     [WEIR_PROTO_STRING] = "string",
        [WEIR_PROTO_BYTES] = "bytes",       [WEIR_PROTO_UINT32] = "uint32", [WEIR_PROTO_SFIXED32] = "sfixed32",
        [WEIR_PROTO_SFIXED64] = "sfixed64", [WEIR_PROTO_SINT32] = "sint32", [WEIR_PROTO_SINT64] = "sint64",
    };
    return field->message       ? field->message->name
           : field->enumeration ? field->enumeration->name
           : field->type_name   ? field->type_name
                                : names[field->type];
}

weir_err weir_pb_bad_value(const struct weir_pb_plan *plan, const struct pb_entry *entry, const char *what,
                           struct weir_error *error)
{
    char type[64];
    return weir_fail_record(error, WEIR_BAD_VALUE, "%s: column '%.200s' (%s) %s", plan->format, entry->path,
                            weir_type_print(&entry->target, type), what);
}

/* --- Which column takes which field */

static bool is_integer(enum weir_type_id id)
{
    return id >= WEIR_TYPE_INT8 && id <= WEIR_TYPE_INT64;
}

static bool is_moment(enum weir_type_id id)
{
    return id == WEIR_TYPE_TIMESTAMP || id == WEIR_TYPE_TIMESTAMP_LTZ;
}

static bool integer_fits(enum weir_proto_type from, const struct weir_type *type, bool encode)
{
    bool wide = from == WEIR_PROTO_INT64 || from == WEIR_PROTO_SINT64 || from == WEIR_PROTO_SFIXED64;
    bool narrow = from == WEIR_PROTO_INT32 || from == WEIR_PROTO_SINT32 || from == WEIR_PROTO_SFIXED32;
    if (is_integer(type->id))
        return true;
    if (type->id == WEIR_TYPE_DECIMAL)
        return !encode || type->scale == 0;
    if (type->id == WEIR_TYPE_DOUBLE)
        return !encode && !wide && !weir_pb_is_unsigned64(from);
    if (type->id == WEIR_TYPE_DATE || type->id == WEIR_TYPE_TIME)
        return narrow;
    return is_moment(type->id) && wide;
}

static bool scalar_fits(enum weir_proto_type from, const struct weir_type *type, bool encode)
{
    switch (from) {
    case WEIR_PROTO_BOOL:
        return type->id == WEIR_TYPE_BOOLEAN;
    case WEIR_PROTO_FLOAT:
        return type->id == WEIR_TYPE_FLOAT || (type->id == WEIR_TYPE_DOUBLE && !encode);
    case WEIR_PROTO_DOUBLE: /* an INT is a double, too */
        return type->id == WEIR_TYPE_DOUBLE ||
               (encode && (type->id == WEIR_TYPE_FLOAT || (is_integer(type->id) && type->id != WEIR_TYPE_INT64)));
    case WEIR_PROTO_STRING:
        return type->id == WEIR_TYPE_STRING || type->id == WEIR_TYPE_DECIMAL || type->id == WEIR_TYPE_DATE ||
               type->id == WEIR_TYPE_TIME || is_moment(type->id);
    case WEIR_PROTO_BYTES:
        return type->id == WEIR_TYPE_BYTES;
    case WEIR_PROTO_ENUM:
        return type->id == WEIR_TYPE_STRING || is_integer(type->id);
    default:
        return integer_fits(from, type, encode);
    }
}

/* "Int64Value" of google.protobuf? */
static bool is_wrapper(const char *name)
{
    static const char *const names[] = {"Double", "Float", "Int64",  "UInt64", "Int32",
                                        "UInt32", "Bool",  "String", "Bytes"};
    char wrapper[64];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(wrapper, sizeof wrapper, "google.protobuf.%sValue", names[i]);
        if (strcmp(name, wrapper) == 0)
            return true;
    }
    return false;
}

static weir_err find_kind(struct weir_pb_plan *plan, struct pb_entry *entry, struct weir_error *error)
{
    const struct weir_proto_field *field = entry->field;
    const struct weir_type *type = &entry->target;
    bool fits = false;
    entry->kind = PB_SCALAR;
    if (field->type == WEIR_PROTO_NAMED || (field->type == WEIR_PROTO_MESSAGE && !field->message) ||
        (field->type == WEIR_PROTO_ENUM && !field->enumeration) || (field->type == WEIR_PROTO_GROUP && !field->message))
        return refuse(plan, entry->path, type, error,
                      "the type '%.200s' of field '%.100s' is not in the schema (give what it imports, too: protoc "
                      "--include_imports)",
                      field->type_name ? field->type_name : "", field->name);
    if (!field->message) {
        fits = scalar_fits(field->type, type, plan->encode);
    } else if (type->id == WEIR_TYPE_ROW) {
        entry->kind = PB_ROW;
        fits = true;
    } else if (strcmp(field->message->name, "google.protobuf.Timestamp") == 0) {
        entry->kind = PB_TIMESTAMP;
        fits = is_moment(type->id);
    } else if (strcmp(field->message->name, "google.protobuf.Duration") == 0) {
        entry->kind = PB_DURATION;
        fits = type->id == WEIR_TYPE_INT64;
    } else if (is_wrapper(field->message->name) && field->message->field_count == 1) {
        entry->kind = PB_WRAPPER;
        fits = scalar_fits(field->message->fields[0].type, type, plan->encode);
    }
    return fits ? WEIR_OK
                : refuse(plan, entry->path, type, error, "the field '%.100s' is %s%.200s, which %s", field->name,
                         field->repeated ? "repeated " : "", proto_type_name(field),
                         plan->encode ? "cannot take it" : "it cannot take");
}

/* --- What an absent field is */

static size_t unescape(const char *from, uint8_t *to)
{
    static const char letters[] = "ntrabfv", values[] = "\n\t\r\a\b\f\v";
    size_t size = 0;
    for (const char *c = from; *c;) {
        if (*c != '\\' || !c[1]) {
            to[size++] = (uint8_t)*c++;
            continue;
        }
        c++;
        const char *letter = strchr(letters, *c);
        unsigned value = 0;
        int digits = 0;
        if (*c >= '0' && *c <= '7') {
            for (; digits < 3 && *c >= '0' && *c <= '7'; digits++)
                value = value * 8 + (unsigned)(*c++ - '0');
        } else if (*c == 'x' || *c == 'X') {
            char hex[3] = {c[1], c[1] ? c[2] : 0, 0}, *end;
            value = (unsigned)strtoul(hex, &end, 16);
            c += 1 + (end - hex);
        } else {
            value = letter ? (unsigned char)values[letter - letters] : (unsigned char)*c;
            c++;
        }
        to[size++] = (uint8_t)value;
    }
    return size;
}

static void set_default(struct weir_pb_plan *plan, struct pb_entry *entry)
{
    const struct weir_proto_field *field = entry->field;
    const char *text = field->default_text;
    entry->default_bytes = (const uint8_t *)"";
    switch (field->type) {
    case WEIR_PROTO_STRING:
    case WEIR_PROTO_BYTES:
        if (text) {
            uint8_t *bytes = weir_arena_alloc(&plan->arena, strlen(text) + 1);
            entry->default_bytes = bytes;
            entry->default_size = field->type == WEIR_PROTO_BYTES ? unescape(text, bytes) : strlen(text);
            if (field->type == WEIR_PROTO_STRING)
                memcpy(bytes, text, entry->default_size);
        }
        break;
    case WEIR_PROTO_ENUM: {
        const struct weir_proto_enum *enumeration = field->enumeration;
        entry->default_raw =
            enumeration && enumeration->value_count > 0 ? (uint64_t)(int64_t)enumeration->values[0].number : 0;
        for (int i = 0; enumeration && text && i < enumeration->value_count; i++)
            if (strcmp(enumeration->values[i].name, text) == 0)
                entry->default_raw = (uint64_t)(int64_t)enumeration->values[i].number;
        break;
    }
    case WEIR_PROTO_BOOL:
        entry->default_raw = text && strcmp(text, "true") == 0;
        break;
    case WEIR_PROTO_FLOAT: {
        float value = text ? strtof(text, NULL) : 0;
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        entry->default_raw = bits;
        break;
    }
    case WEIR_PROTO_DOUBLE: {
        double value = text ? strtod(text, NULL) : 0;
        memcpy(&entry->default_raw, &value, sizeof value);
        break;
    }
    default: {
        uint64_t value = !text ? 0 : text[0] == '-' ? (uint64_t)strtoll(text, NULL, 0) : strtoull(text, NULL, 0);
        bool zigzag = field->type == WEIR_PROTO_SINT32 || field->type == WEIR_PROTO_SINT64;
        entry->default_raw = zigzag ? value << 1 ^ (uint64_t)((int64_t)value >> 63) : value;
    }
    }
}

/* --- Nodes */

static int wire_of(enum weir_proto_type type)
{
    switch (type) {
    case WEIR_PROTO_DOUBLE:
    case WEIR_PROTO_FIXED64:
    case WEIR_PROTO_SFIXED64:
        return PB_FIXED64;
    case WEIR_PROTO_FLOAT:
    case WEIR_PROTO_FIXED32:
    case WEIR_PROTO_SFIXED32:
        return PB_FIXED32;
    case WEIR_PROTO_STRING:
    case WEIR_PROTO_BYTES:
    case WEIR_PROTO_MESSAGE:
        return PB_LEN;
    case WEIR_PROTO_GROUP:
        return PB_GROUP;
    default:
        return PB_VARINT;
    }
}

static size_t row_bytes_of(const struct weir_type *type)
{
    size_t bytes =
        weir_type_is_variable(type->id) || weir_type_is_list(type->id) ? 4 : (size_t)weir_type_width(type->id);
    if (type->id == WEIR_TYPE_ROW)
        for (int i = 0; i < type->fields->field_count; i++)
            bytes += row_bytes_of(&type->fields->fields[i].type);
    return bytes + 1;
}

static enum pb_fast fast_of(const struct pb_entry *entry)
{
    enum weir_type_id to = entry->target.id;
    if (entry->kind != PB_SCALAR || entry->repeated || entry->oneof >= 0 || entry->column < 0)
        return PB_FAST_NONE;
    switch (entry->type) {
    case WEIR_PROTO_DOUBLE:
        return to == WEIR_TYPE_DOUBLE ? PB_FAST_DOUBLE : PB_FAST_NONE;
    case WEIR_PROTO_STRING:
    case WEIR_PROTO_BYTES:
        return weir_type_is_variable(to) ? PB_FAST_TEXT : PB_FAST_NONE;
    case WEIR_PROTO_INT64:
        return to == WEIR_TYPE_INT64 ? PB_FAST_INT64 : PB_FAST_NONE;
    case WEIR_PROTO_INT32:
        return to == WEIR_TYPE_INT32 ? PB_FAST_INT32 : PB_FAST_NONE;
    default:
        return PB_FAST_NONE;
    }
}

static int compare_entries(const void *a, const void *b)
{
    const struct pb_entry *x = a, *y = b;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return x->column - y->column; /* those without a field */
}

static void finish_node(struct weir_pb_plan *plan, struct pb_node *node)
{
    qsort(node->entries, (size_t)node->entry_count, sizeof *node->entries, compare_entries);
    node->seen = weir_arena_zalloc(&plan->arena, ((size_t)node->entry_count / 64 + 1) * sizeof *node->seen);
    node->all = node->entry_count >= 64 ? UINT64_MAX : ((uint64_t)1 << node->entry_count) - 1;
    node->simple = node->entry_count <= 64;
    for (int i = 0; i < node->entry_count; i++) {
        struct pb_entry *entry = &node->entries[i];
        entry->fast = fast_of(entry);
        node->simple &= entry->column >= 0 && !entry->map && entry->kind != PB_ROW;
        node->has_oneof |= entry->oneof >= 0;
        node->row_bytes += (entry->column >= 0 ? row_bytes_of(&entry->target) : 0) + entry->default_size;
        if (entry->number == 0 || entry->number >= 16)
            continue;
        node->by_tag[entry->number << 3 | (uint32_t)entry->wire] = (uint16_t)(i + 1);
        if (entry->packed)
            node->by_tag[entry->number << 3 | PB_LEN] = (uint16_t)(i + 1);
    }
}

static weir_err make_node(struct weir_pb_plan *plan, const struct weir_proto_message *message,
                          const struct weir_schema *columns, const char *path, enum weir_type_id parent,
                          struct pb_node **made, struct weir_error *error);

/* What the column is made of: the type of one value, and whether it is a list of them. */
static weir_err find_shape(struct weir_pb_plan *plan, struct pb_entry *entry, const struct weir_type *type,
                           struct weir_error *error)
{
    const struct weir_proto_field *field = entry->field;
    bool is_map = field->message && field->message->map_entry;
    entry->target = *type;
    if (field->repeated != weir_type_is_list(type->id))
        return refuse(plan, entry->path, type, error, "the field '%.100s' is%s repeated, so that it %s", field->name,
                      field->repeated ? "" : " not",
                      is_map            ? "takes a MAP"
                      : field->repeated ? "takes an ARRAY"
                                        : "takes no ARRAY or MAP");
    entry->repeated = field->repeated;
    entry->map = type->id == WEIR_TYPE_MAP;
    if (entry->map && !is_map)
        return refuse(plan, entry->path, type, error, "the field '%.100s' is repeated but no map: it takes an ARRAY",
                      field->name);
    if (entry->map) { /* an entry of a map is a message, of the columns "key" and "value" */
        entry->kind = PB_ROW;
        return WEIR_OK;
    }
    if (field->repeated) {
        entry->target = type->fields->fields[0].type;
        entry->path = weir_arena_format(&plan->arena, "%s[]", entry->path);
    }
    return find_kind(plan, entry, error);
}

static weir_err make_entry(struct weir_pb_plan *plan, struct pb_entry *entry, const struct weir_type *type,
                           struct weir_error *error)
{
    const struct weir_proto_field *field = entry->field;
    weir_err err = find_shape(plan, entry, type, error);
    if (err)
        return err;
    entry->number = field->number;
    entry->type = field->type;
    entry->wire = wire_of(field->type);
    entry->packed = field->repeated && !field->message && entry->wire != PB_LEN;
    entry->required = field->required;
    entry->presence = field->presence;
    entry->oneof = field->oneof;
    entry->use_default = !field->presence || (plan->read_defaults && !field->message && field->oneof < 0);
    set_default(plan, entry);
    if (entry->kind == PB_ROW) {
        const struct weir_schema *inner = entry->map ? type->fields : entry->target.fields;
        return make_node(plan, field->message, inner, entry->path, entry->map ? WEIR_TYPE_MAP : WEIR_TYPE_ROW,
                         &entry->child, error);
    }
    if (entry->kind != PB_WRAPPER)
        return WEIR_OK;
    struct pb_node *node = weir_arena_zalloc(&plan->arena, sizeof *node);
    node->message = field->message;
    node->entries = weir_arena_zalloc(&plan->arena, sizeof *node->entries);
    node->entry_count = 1;
    struct pb_entry *value = node->entries;
    *value = *entry;
    value->field = &field->message->fields[0];
    value->kind = PB_SCALAR;
    value->repeated = value->presence = value->required = false;
    value->oneof = -1;
    value->number = value->field->number;
    value->type = value->field->type;
    value->wire = wire_of(value->type);
    set_default(plan, value);
    finish_node(plan, node);
    entry->child = node;
    return WEIR_OK;
}

static const char *path_of(struct weir_pb_plan *plan, const char *path, enum weir_type_id parent, int column,
                           const char *name)
{
    if (parent == WEIR_TYPE_ROW)
        return weir_arena_format(&plan->arena, "%s.%s", path, name);
    if (parent == WEIR_TYPE_MAP)
        return weir_arena_format(&plan->arena, column == 0 ? "%s's key" : "%s{}", path);
    return name;
}

static weir_err no_field(struct weir_pb_plan *plan, const struct weir_proto_message *message, const char *path,
                         const struct weir_field *column, struct weir_error *error)
{
    const char *names[256] = {NULL};
    int count = 0;
    for (int i = 0; i < message->field_count && count < 256; i++)
        names[count++] = message->fields[i].name;
    const char *near = weir_nearest(column->name, names, count);
    return refuse(plan, path, &column->type, error,
                  near ? "the message '%.200s' has no field '%.100s'; did you mean '%.100s'?"
                       : "the message '%.200s' has no field '%.100s'%s",
                  message->name, column->name, near ? near : "");
}

/* The members of a oneof that no column takes: each ends what was said before it. */
static int add_silent_members(const struct weir_proto_message *message, struct pb_entry *entries, int count)
{
    int with_columns = count;
    for (int f = 0; f < message->field_count; f++) {
        const struct weir_proto_field *field = &message->fields[f];
        bool taken = false, matters = false;
        for (int i = 0; i < with_columns; i++) {
            taken |= entries[i].field == field;
            matters |= entries[i].field && entries[i].oneof == field->oneof;
        }
        if (field->oneof >= 0 && matters && !taken)
            entries[count++] = (struct pb_entry){.field = field,
                                                 .number = field->number,
                                                 .type = field->type,
                                                 .wire = wire_of(field->type),
                                                 .oneof = field->oneof,
                                                 .column = -1,
                                                 .path = ""};
    }
    return count;
}

static weir_err make_node(struct weir_pb_plan *plan, const struct weir_proto_message *message,
                          const struct weir_schema *columns, const char *path, enum weir_type_id parent,
                          struct pb_node **made, struct weir_error *error)
{
    struct pb_node *node = weir_arena_zalloc(&plan->arena, sizeof *node);
    weir_err err = WEIR_OK;
    node->message = message;
    node->entries = weir_arena_zalloc(&plan->arena, ((size_t)columns->field_count + (size_t)message->field_count) *
                                                        sizeof *node->entries);
    for (int i = 0; i < columns->field_count && !err; i++) {
        const struct weir_field *column = &columns->fields[i];
        struct pb_entry *entry = &node->entries[node->entry_count++];
        entry->path = path_of(plan, path, parent, i, column->name);
        entry->column = i;
        entry->nullable = column->type.nullable;
        entry->target = column->type;
        entry->oneof = -1;
        entry->presence = true;
        entry->field = weir_proto_field_find(message, column->name);
        if (entry->field)
            err = make_entry(plan, entry, &column->type, error);
        else if (!plan->lenient || !column->type.nullable)
            err = no_field(plan, message, entry->path, column, error);
    }
    if (err)
        return err;
    if (!plan->encode)
        node->entry_count = add_silent_members(message, node->entries, node->entry_count);
    finish_node(plan, node);
    *made = node;
    return WEIR_OK;
}

weir_err weir_pb_plan_new(struct weir_schema *columns, const struct weir_proto_message *message,
                          const struct weir_pb_options *options, struct weir_pb_plan **plan, struct weir_error *error)
{
    struct weir_pb_plan *made = weir_zalloc(sizeof *made);
    weir_arena_init(&made->arena);
    made->columns = weir_schema_ref(columns);
    made->format = options->format;
    made->encode = options->encode;
    made->read_defaults = options->read_defaults;
    made->lenient = options->lenient;
    weir_err err = make_node(made, message, columns, "", WEIR_TYPE_NONE, &made->root, error);
    if (err)
        weir_pb_plan_free(made);
    else
        *plan = made;
    return err;
}

void weir_pb_plan_free(struct weir_pb_plan *plan)
{
    if (!plan)
        return;
    weir_schema_unref(plan->columns);
    weir_arena_fini(&plan->arena);
    free(plan);
}

const struct weir_proto_value *weir_pb_enum_value(const struct weir_proto_enum *enumeration, int32_t number)
{
    if (number >= 0 && number < enumeration->value_count && enumeration->values[number].number == number)
        return &enumeration->values[number]; /* the usual enum: 0, 1, 2, ... */
    for (int i = 0; i < enumeration->value_count; i++)
        if (enumeration->values[i].number == number)
            return &enumeration->values[i];
    return NULL;
}
