/* Schema resolution: the schema that records were written with, the reader's (if there is one) and the columns, made into a program.
 * Specification 1.12, "Schema Resolution"; where no reader's schema is given, the columns are one: by name, and what they have in common with a type of Avro's is
 * taken, so that an enum or a uuid may be a STRING.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/avro_int.h"

#define DEFAULT_SIZE_MAX ((size_t)1 << 20)

struct resolver {
    struct weir_avro_reader *program;
    struct weir_error *error; /* never NULL */
};

static bool resolve(struct resolver *r, const struct weir_avro_node *writer, const struct weir_avro_node *reader,
                    const struct weir_type *type, const char *path, struct weir_avro_step *step);

/* "com.example.Reading" or "int (date)": how a message calls a type. */
static const char *describe(const struct weir_avro_node *node, char out[160])
{
    static const char *const logicals[] = {
        [WEIR_AVRO_DECIMAL] = "decimal",
        [WEIR_AVRO_DATE] = "date",
        [WEIR_AVRO_TIME_MILLIS] = "time-millis",
        [WEIR_AVRO_TIME_MICROS] = "time-micros",
        [WEIR_AVRO_TIMESTAMP_MILLIS] = "timestamp-millis",
        [WEIR_AVRO_TIMESTAMP_MICROS] = "timestamp-micros",
        [WEIR_AVRO_TIMESTAMP_NANOS] = "timestamp-nanos",
        [WEIR_AVRO_UUID] = "uuid",
    };
    const char *kind = weir_avro_kind_name(node->kind);
    if (node->name)
        snprintf(out, 160, "%s '%.100s'", kind, node->name);
    else if (node->logical)
        snprintf(out, 160, "%s (%s)", kind, logicals[node->logical]);
    else
        snprintf(out, 160, "%s", kind);
    return out;
}

static bool cannot(struct resolver *r, const struct weir_avro_node *writer, const struct weir_type *type,
                   const char *path, const char *why)
{
    char from[160], to[64];
    (void)weir_fail(r->error, WEIR_ERR_INVALID, "column '%.200s' (%s) cannot be read from %s%s%s", path,
                    weir_type_print(type, to), describe(writer, from), why ? ": " : "", why ? why : "");
    return false;
}

/* --- The reader's schema */

static bool promotes(enum weir_avro_kind from, enum weir_avro_kind to)
{
    switch (from) {
    case WEIR_AVRO_INT:
        return to == WEIR_AVRO_LONG || to == WEIR_AVRO_FLOAT || to == WEIR_AVRO_DOUBLE;
    case WEIR_AVRO_LONG:
        return to == WEIR_AVRO_FLOAT || to == WEIR_AVRO_DOUBLE;
    case WEIR_AVRO_FLOAT:
        return to == WEIR_AVRO_DOUBLE;
    case WEIR_AVRO_STRING:
        return to == WEIR_AVRO_BYTES;
    case WEIR_AVRO_BYTES:
        return to == WEIR_AVRO_STRING;
    default:
        return false;
    }
}

static bool same_name(const struct weir_avro_node *writer, const struct weir_avro_node *reader)
{
    return strcmp(weir_avro_short_name(writer->name), weir_avro_short_name(reader->name)) == 0 ||
           weir_avro_has_alias(reader->aliases, writer->name);
}

static bool matches(const struct weir_avro_node *writer, const struct weir_avro_node *reader, bool promote)
{
    if (writer->kind != reader->kind)
        return promote && promotes(writer->kind, reader->kind);
    if (writer->kind == WEIR_AVRO_FIXED)
        return writer->count == reader->count && same_name(writer, reader);
    return writer->kind != WEIR_AVRO_ENUM || same_name(writer, reader);
}

/* What of the reader's schema takes `writer`, which is no union; NULL: nothing. */
static const struct weir_avro_node *pick(const struct weir_avro_node *writer, const struct weir_avro_node *reader)
{
    if (reader->kind != WEIR_AVRO_UNION)
        return matches(writer, reader, true) ? reader : NULL;
    for (int i = 0; i < reader->count; i++) /* of records the one of the same name, if there are several */
        if (matches(writer, reader->parts[i], false) &&
            (writer->kind != WEIR_AVRO_RECORD || same_name(writer, reader->parts[i])))
            return reader->parts[i];
    for (int i = 0; i < reader->count; i++)
        if (matches(writer, reader->parts[i], true))
            return reader->parts[i];
    return NULL;
}

/* --- Scalars */

/* Which op stores a value of `writer` into a column of type `id`; SKIP: none. */
static enum weir_avro_op scalar_op(const struct weir_avro_node *writer, enum weir_type_id id)
{
    bool decimal = writer->logical == WEIR_AVRO_DECIMAL;
    switch (writer->kind) {
    case WEIR_AVRO_BOOLEAN:
        return id == WEIR_TYPE_BOOLEAN ? WEIR_AVRO_TO_BOOLEAN : WEIR_AVRO_SKIP;
    case WEIR_AVRO_INT:
        if (id >= WEIR_TYPE_INT8 && id <= WEIR_TYPE_INT32)
            return WEIR_AVRO_TO_INT;
        if (id == WEIR_TYPE_DATE && writer->logical != WEIR_AVRO_TIME_MILLIS)
            return WEIR_AVRO_TO_DATE;
        if (id == WEIR_TYPE_TIME && writer->logical != WEIR_AVRO_DATE)
            return WEIR_AVRO_TO_TIME;
        break;
    case WEIR_AVRO_LONG:
        if (id == WEIR_TYPE_TIME && writer->logical == WEIR_AVRO_TIME_MICROS)
            return WEIR_AVRO_TO_TIME;
        if ((id == WEIR_TYPE_TIMESTAMP || id == WEIR_TYPE_TIMESTAMP_LTZ) && writer->logical != WEIR_AVRO_TIME_MICROS)
            return WEIR_AVRO_TO_TIMESTAMP;
        break;
    case WEIR_AVRO_FLOAT:
        return id == WEIR_TYPE_FLOAT    ? WEIR_AVRO_FLOAT_TO_FLOAT
               : id == WEIR_TYPE_DOUBLE ? WEIR_AVRO_FLOAT_TO_DOUBLE
                                        : WEIR_AVRO_SKIP;
    case WEIR_AVRO_DOUBLE:
        return id == WEIR_TYPE_DOUBLE ? WEIR_AVRO_DOUBLE_TO_DOUBLE : WEIR_AVRO_SKIP;
    case WEIR_AVRO_BYTES:
        if (id == WEIR_TYPE_DECIMAL)
            return decimal ? WEIR_AVRO_BYTES_TO_DECIMAL : WEIR_AVRO_SKIP;
        if (id == WEIR_TYPE_STRING)
            return decimal ? WEIR_AVRO_SKIP : WEIR_AVRO_TO_STRING;
        return id == WEIR_TYPE_BYTES ? WEIR_AVRO_TO_BYTES : WEIR_AVRO_SKIP;
    case WEIR_AVRO_STRING:
        return id == WEIR_TYPE_STRING  ? WEIR_AVRO_TO_STRING
               : id == WEIR_TYPE_BYTES ? WEIR_AVRO_TO_BYTES
                                       : WEIR_AVRO_SKIP;
    case WEIR_AVRO_FIXED:
        if (id == WEIR_TYPE_DECIMAL)
            return decimal ? WEIR_AVRO_FIXED_TO_DECIMAL : WEIR_AVRO_SKIP;
        if (id == WEIR_TYPE_STRING)
            return writer->logical == WEIR_AVRO_UUID ? WEIR_AVRO_UUID_TO_STRING : WEIR_AVRO_SKIP;
        return id == WEIR_TYPE_BYTES ? WEIR_AVRO_FIXED_TO_BYTES : WEIR_AVRO_SKIP;
    case WEIR_AVRO_ENUM:
        return id == WEIR_TYPE_STRING ? WEIR_AVRO_ENUM_TO_STRING : WEIR_AVRO_SKIP;
    default:
        return WEIR_AVRO_SKIP;
    }
    return id == WEIR_TYPE_INT64    ? WEIR_AVRO_TO_INT64
           : id == WEIR_TYPE_FLOAT  ? WEIR_AVRO_INT_TO_FLOAT
           : id == WEIR_TYPE_DOUBLE ? WEIR_AVRO_INT_TO_DOUBLE
                                    : WEIR_AVRO_SKIP;
}

static const char *advice(const struct weir_avro_node *writer, enum weir_type_id id)
{
    if (writer->kind == WEIR_AVRO_LONG && id >= WEIR_TYPE_INT8 && id <= WEIR_TYPE_INT32)
        return "declare it as BIGINT";
    if (writer->kind == WEIR_AVRO_DOUBLE && id == WEIR_TYPE_FLOAT)
        return "declare it as DOUBLE";
    if (writer->logical == WEIR_AVRO_DECIMAL)
        return "declare it as DECIMAL";
    return NULL;
}

/* The symbols as the reader has them: the same, or its default, or none. */
static void resolve_enum(struct resolver *r, const struct weir_avro_node *writer, const struct weir_avro_node *reader,
                         struct weir_avro_step *step)
{
    step->symbols = weir_arena_alloc(&r->program->memory, (size_t)writer->count * sizeof *step->symbols);
    for (int i = 0; i < writer->count; i++) {
        const char *found = reader ? NULL : writer->symbols[i];
        for (int k = 0; reader && !found && k < reader->count; k++)
            if (strcmp(reader->symbols[k], writer->symbols[i]) == 0)
                found = reader->symbols[k];
        step->symbols[i] = found                                   ? found
                           : reader && reader->symbol_default >= 0 ? reader->symbols[reader->symbol_default]
                                                                   : NULL;
    }
}

static bool resolve_scalar(struct resolver *r, const struct weir_avro_node *writer, const struct weir_avro_node *reader,
                           const struct weir_type *type, const char *path, struct weir_avro_step *step)
{
    step->op = scalar_op(writer, type->id);
    if (step->op == WEIR_AVRO_SKIP)
        return cannot(r, writer, type, path, advice(writer, type->id));
    step->size = writer->count;
    bool micros = writer->logical == WEIR_AVRO_TIME_MICROS || writer->logical == WEIR_AVRO_TIMESTAMP_MICROS;
    step->divisor = writer->logical == WEIR_AVRO_TIMESTAMP_NANOS ? 1000000 : micros ? 1000 : 1;
    if (writer->kind == WEIR_AVRO_ENUM)
        resolve_enum(r, writer, reader, step);
    return true;
}

/* --- Structure */

static void resolve_skip(struct resolver *r, const struct weir_avro_node *writer, struct weir_avro_step *step)
{
    static const struct {
        enum weir_avro_op op;
        int size;
    } skips[WEIR_AVRO_KINDS] = {
        [WEIR_AVRO_NULL] = {WEIR_AVRO_SKIP_FIXED, 0},   [WEIR_AVRO_BOOLEAN] = {WEIR_AVRO_SKIP_FIXED, 1},
        [WEIR_AVRO_INT] = {WEIR_AVRO_SKIP_VARINT, 0},   [WEIR_AVRO_LONG] = {WEIR_AVRO_SKIP_VARINT, 0},
        [WEIR_AVRO_ENUM] = {WEIR_AVRO_SKIP_VARINT, 0},  [WEIR_AVRO_FLOAT] = {WEIR_AVRO_SKIP_FIXED, 4},
        [WEIR_AVRO_DOUBLE] = {WEIR_AVRO_SKIP_FIXED, 8}, [WEIR_AVRO_BYTES] = {WEIR_AVRO_SKIP_SIZED, 0},
        [WEIR_AVRO_STRING] = {WEIR_AVRO_SKIP_SIZED, 0}, /* others: SKIP */
    };
    *step = (struct weir_avro_step){
        .op = skips[writer->kind].op, .size = skips[writer->kind].size, .column = -1, .writer = writer};
    bool option = writer->kind == WEIR_AVRO_UNION && writer->count == 2 &&
                  (writer->parts[0]->kind == WEIR_AVRO_NULL) != (writer->parts[1]->kind == WEIR_AVRO_NULL);
    int null_at = option && writer->parts[1]->kind == WEIR_AVRO_NULL;
    if (option && writer->parts[1 - null_at]->kind != WEIR_AVRO_UNION) { /* the usual field: without a call for each */
        step->op = WEIR_AVRO_SKIP_OPTION;
        step->column = null_at;
        step->parts = weir_arena_zalloc(&r->program->memory, sizeof *step->parts);
        resolve_skip(r, writer->parts[1 - null_at], step->parts);
    }
    if (writer->kind == WEIR_AVRO_FIXED) {
        step->op = WEIR_AVRO_SKIP_FIXED;
        step->size = writer->count;
    }
}

static bool resolve_union(struct resolver *r, const struct weir_avro_node *writer, const struct weir_avro_node *reader,
                          const struct weir_type *type, const char *path, struct weir_avro_step *step)
{
    int null_at = -1, usable = 0;
    struct weir_avro_step *parts = weir_arena_zalloc(&r->program->memory, (size_t)writer->count * sizeof *parts);
    for (int i = 0; i < writer->count; i++) {
        parts[i].column = step->column;
        if (writer->parts[i]->kind == WEIR_AVRO_NULL)
            null_at = i;
        if (resolve(r, writer->parts[i], reader, type, path, &parts[i])) {
            usable += writer->parts[i]->kind != WEIR_AVRO_NULL;
        } else {
            parts[i] = (struct weir_avro_step){.op = WEIR_AVRO_REFUSE,
                                               .text = weir_arena_strdup(&r->program->memory, r->error->message)};
        }
    }
    if (usable == 0 && writer->count > (null_at >= 0)) /* the last reason stands in the error */
        return false;
    step->op = WEIR_AVRO_BRANCHES;
    step->parts = parts;
    step->part_count = writer->count;
    if (writer->count == 2 && null_at >= 0) {
        step->op = WEIR_AVRO_NULLABLE;
        step->size = null_at;
        step->parts = &parts[1 - null_at];
    }
    return true;
}

static bool resolve_list(struct resolver *r, const struct weir_avro_node *writer, const struct weir_avro_node *reader,
                         const struct weir_type *type, const char *path, struct weir_avro_step *step)
{
    bool map = writer->kind == WEIR_AVRO_MAP;
    if (type->id != (map ? WEIR_TYPE_MAP : WEIR_TYPE_ARRAY) ||
        (map && type->fields->fields[0].type.id != WEIR_TYPE_STRING))
        return cannot(r, writer, type, path, map ? "declare it as MAP<STRING, ...>" : "declare it as ARRAY<...>");
    step->op = map ? WEIR_AVRO_TO_MAP : WEIR_AVRO_TO_ARRAY;
    step->part_count = 1;
    step->parts = weir_arena_zalloc(&r->program->memory, sizeof *step->parts);
    step->parts->column = map;
    return resolve(r, writer->parts[0], reader ? reader->parts[0] : NULL, &type->fields->fields[map].type,
                   weir_arena_format(&r->program->memory, map ? "%s{}" : "%s[]", path), step->parts);
}

static const struct weir_avro_field *find_field(const struct weir_avro_node *record, const char *name)
{
    for (int i = 0; i < record->count; i++)
        if (strcmp(record->fields[i].name, name) == 0)
            return &record->fields[i];
    return NULL;
}

/* The writer's field that the reader's `field` (or, without a reader's schema, the column `name`) is read from; -1: none. */
static int writers_field(const struct weir_avro_node *writer, const struct weir_avro_field *field, const char *name)
{
    for (int i = 0; i < writer->count; i++)
        if (strcmp(writer->fields[i].name, name) == 0)
            return i;
    for (int i = 0; field && i < writer->count; i++)
        if (weir_avro_has_alias(field->aliases, writer->fields[i].name))
            return i;
    return -1;
}

static bool resolve_missing(struct resolver *r, const struct weir_avro_field *field, const struct weir_field *column,
                            const char *path, struct weir_avro_missing *missing)
{
    if (!field || !field->default_value) {
        if (column->type.nullable && !field)
            return true;
        (void)weir_fail(r->error, WEIR_ERR_INVALID,
                        "the schema that records were written with has no field '%.200s', and %s", path,
                        field ? "the reader's has no default for it" : "the column is NOT NULL");
        return false;
    }
    struct weir_buf bytes;
    weir_buf_init(&bytes, DEFAULT_SIZE_MAX);
    bool ok = weir_avro_put_default(field->type, field->default_value, &bytes);
    if (!ok)
        (void)weir_fail(r->error, WEIR_ERR_INVALID, "the default of field '%.200s' is no value of its type", path);
    if (ok) {
        uint8_t *copy = weir_arena_alloc(&r->program->memory, bytes.size + 1);
        struct weir_avro_step *step = weir_arena_zalloc(&r->program->memory, sizeof *step);
        memcpy(copy, bytes.data ? bytes.data : (const uint8_t *)"", bytes.size);
        missing->bytes = copy;
        missing->size = bytes.size;
        missing->step = step;
        ok = resolve(r, field->type, NULL, &column->type, path, step);
    }
    weir_buf_fini(&bytes);
    return ok;
}

static const char *path_of(struct resolver *r, const char *path, const char *name)
{
    return *path ? weir_arena_format(&r->program->memory, "%s.%s", path, name)
                 : weir_arena_strdup(&r->program->memory, name);
}

static bool resolve_record(struct resolver *r, const struct weir_avro_node *writer, const struct weir_avro_node *reader,
                           const struct weir_schema *columns, const char *path, struct weir_avro_step *step)
{
    int from[WEIR_FIELDS_MAX]; /* the writer's field of each column */
    const struct weir_avro_field *fields[WEIR_FIELDS_MAX];
    step->op = WEIR_AVRO_TO_ROW;
    step->parts = weir_arena_zalloc(&r->program->memory, ((size_t)writer->count + 1) * sizeof *step->parts);
    step->part_count = writer->count;
    step->missing = weir_arena_zalloc(&r->program->memory, ((size_t)columns->field_count + 1) * sizeof *step->missing);
    for (int i = 0; i < columns->field_count; i++) {
        const struct weir_field *column = &columns->fields[i];
        const char *own = path_of(r, path, column->name);
        fields[i] = reader ? find_field(reader, column->name) : NULL;
        if (reader && !fields[i]) {
            (void)weir_fail(r->error, WEIR_ERR_INVALID, "the reader's schema has no field '%.200s'", own);
            return false;
        }
        from[i] = writers_field(writer, fields[i], column->name);
        for (int k = 0; k < i; k++)
            if (from[k] == from[i])
                from[i] = -1; /* a field has one reader; an alias comes second */
        if (from[i] >= 0)
            continue;
        struct weir_avro_missing *missing = &step->missing[step->missing_count++];
        missing->column = i;
        if (!resolve_missing(r, fields[i], column, own, missing))
            return false;
    }
    for (int i = 0; i < writer->count; i++)
        resolve_skip(r, writer->fields[i].type, &step->parts[i]);
    for (int i = 0; i < columns->field_count; i++) {
        if (from[i] < 0)
            continue;
        struct weir_avro_step *part = &step->parts[from[i]];
        *part = (struct weir_avro_step){.column = i};
        if (!resolve(r, writer->fields[from[i]].type, fields[i] ? fields[i]->type : NULL, &columns->fields[i].type,
                     path_of(r, path, columns->fields[i].name), part))
            return false;
    }
    return true;
}

/* step->column is set. */
static bool resolve(struct resolver *r, const struct weir_avro_node *writer, const struct weir_avro_node *reader,
                    const struct weir_type *type, const char *path, struct weir_avro_step *step)
{
    step->writer = writer;
    step->type = type;
    step->path = path;
    if (writer->kind == WEIR_AVRO_UNION)
        return resolve_union(r, writer, reader, type, path, step);
    if (reader) {
        const struct weir_avro_node *picked = pick(writer, reader);
        char name[160];
        if (!picked)
            return cannot(
                r, writer, type, path,
                weir_arena_format(&r->program->memory, "the reader's schema has %s there", describe(reader, name)));
        reader = picked;
    }
    switch (writer->kind) {
    case WEIR_AVRO_NULL:
        step->op = WEIR_AVRO_TO_NULL;
        return true;
    case WEIR_AVRO_ARRAY:
    case WEIR_AVRO_MAP:
        return resolve_list(r, writer, reader, type, path, step);
    case WEIR_AVRO_RECORD:
        if (type->id != WEIR_TYPE_ROW)
            return cannot(r, writer, type, path, "declare it as ROW<...>");
        return resolve_record(r, writer, reader, type->fields, path, step);
    default:
        return resolve_scalar(r, writer, reader, type, path, step);
    }
}

weir_err weir_avro_reader_new(const struct weir_avro_schema *writer, const struct weir_avro_schema *reader,
                              const struct weir_schema *columns, struct weir_avro_reader **program,
                              struct weir_error *error)
{
    struct weir_error own;
    struct resolver resolver = {.program = weir_zalloc(sizeof *resolver.program), .error = error ? error : &own};
    const struct weir_avro_node *root = reader ? reader->root : NULL;
    char name[160];
    bool ok = false;
    weir_arena_init(&resolver.program->memory);
    if (writer->root->kind != WEIR_AVRO_RECORD)
        (void)weir_fail(resolver.error, WEIR_ERR_INVALID, "the Avro schema is %s, and rows are read from records",
                        describe(writer->root, name));
    else if (root && root->kind != WEIR_AVRO_RECORD)
        (void)weir_fail(resolver.error, WEIR_ERR_INVALID, "the reader's Avro schema is %s, and not a record",
                        describe(root, name));
    else
        ok = resolve_record(&resolver, writer->root, root, columns, "", &resolver.program->root);
    if (!ok) {
        weir_avro_reader_free(resolver.program);
        return WEIR_ERR_INVALID;
    }
    *program = resolver.program;
    return WEIR_OK;
}

void weir_avro_reader_free(struct weir_avro_reader *program)
{
    if (!program)
        return;
    weir_arena_fini(&program->memory);
    free(program);
}
