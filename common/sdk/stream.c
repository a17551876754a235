/* Sources, transformations and sinks: each call adds one vertex, or changes what its stream carries to the next one.
 *
 * Invariant: every call returns a stream, also when it failed; the error is recorded at the vertex, once.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "data/schema.h"
#include "sdk/sdk_int.h"

/* --- Vertices and streams */

struct weir_stream *weir_sdk_stream(struct weir_job *job, struct sdk_vertex *vertex, int output)
{
    struct weir_stream *stream = weir_arena_zalloc(&job->arena, sizeof *stream);
    stream->job = job;
    stream->vertex = vertex;
    stream->output = output;
    return stream;
}

static bool name_taken(const struct weir_job *job, const char *op, const char *name)
{
    for (const struct sdk_vertex *vertex = job->vertices; vertex; vertex = vertex->next)
        if (strcmp(vertex->op, op) == 0 && strcmp(vertex->name, name) == 0)
            return true;
    return false;
}

/* The name, or "name 2": a derived uid comes of operator and name, so two of one name are told apart. */
static const char *unique_name(struct weir_job *job, const char *op, const char *name)
{
    if (!name_taken(job, op, name))
        return weir_arena_strdup(&job->arena, name);
    for (int i = 2;; i++) {
        const char *numbered = weir_arena_format(&job->arena, "%s %d", name, i);
        if (!name_taken(job, op, numbered))
            return numbered;
    }
}

struct weir_stream *weir_sdk_vertex(struct weir_job *job, const char *file, int line, const char *op, const char *name,
                                    struct weir_stream *input)
{
    if (job->vertex_count == WEIR_GRAPH_VERTICES_MAX) {
        if (!weir_graph_errors_has(&job->errors, UINT32_MAX))
            weir_graph_errors_add(&job->errors, UINT32_MAX, "", weir_sdk_location(job, file, line),
                                  "a job has at most %d operators", WEIR_GRAPH_VERTICES_MAX);
        return weir_sdk_stream(job, NULL, 0);
    }
    struct sdk_vertex *vertex = weir_arena_zalloc(&job->arena, sizeof *vertex);
    vertex->id = (uint32_t)++job->vertex_count;
    vertex->op = op;
    vertex->name = unique_name(job, op, name && name[0] ? name : op);
    vertex->uid = "";
    vertex->location = weir_sdk_location(job, file, line);
    if (input)
        vertex->inputs[vertex->input_count++] = input;
    *job->vertices_end = vertex;
    job->vertices_end = &vertex->next;
    return weir_sdk_stream(job, vertex, 0);
}

/* A stream that there is no operator for: a call on NULL, or on such a stream (its error was reported where it began). */
static struct weir_stream *nothing_for(struct weir_stream *stream, const char *file, int line, const char *what)
{
    if (stream)
        return stream;
    struct weir_job *job = weir_sdk_current;
    weir_assert(job); /* the builder is called inside the WEIR_JOB function only */
    weir_sdk_error(job, NULL, file, line, "%s() is given NULL instead of a stream", what);
    return weir_sdk_stream(job, NULL, 0);
}

bool weir_sdk_usable(struct weir_stream *stream, const char *file, int line, const char *what,
                     struct weir_stream **nothing)
{
    if (!stream || !stream->vertex) {
        *nothing = nothing_for(stream, file, line, what);
        return false;
    }
    struct sdk_vertex *vertex = stream->vertex;
    if (strcmp(vertex->op, "sink") == 0) {
        weir_sdk_error(stream->job, vertex, file, line, "%s() reads from a sink, which gives no rows", what);
        *nothing = weir_sdk_stream(stream->job, NULL, 0);
        return false;
    }
    if (vertex->takes_aggregate && stream->output == 0) {
        weir_sdk_error(stream->job, vertex, file, line, "%s() reads from a window that has no weir_aggregate() yet",
                       what);
        *nothing = weir_sdk_stream(stream->job, NULL, 0);
        return false;
    }
    return true;
}

/* --- Options */

const char *weir_sdk_get(const struct sdk_vertex *vertex, const char *key)
{
    for (int i = 0; i < vertex->option_count; i++)
        if (strcmp(vertex->options[i].key, key) == 0)
            return vertex->options[i].value;
    return NULL;
}

void weir_sdk_set(struct weir_job *job, struct sdk_vertex *vertex, const char *key, const char *value)
{
    for (int i = 0; i < vertex->option_count; i++)
        if (strcmp(vertex->options[i].key, key) == 0) {
            vertex->options[i].value = weir_arena_strdup(&job->arena, value);
            return;
        }
    if (vertex->option_count == vertex->option_capacity) {
        int capacity = vertex->option_capacity ? vertex->option_capacity * 2 : 8;
        struct sdk_option *options = weir_arena_alloc(&job->arena, (size_t)capacity * sizeof *options);
        if (vertex->option_count)
            memcpy(options, vertex->options, (size_t)vertex->option_count * sizeof *options);
        vertex->options = options;
        vertex->option_capacity = capacity;
    }
    vertex->options[vertex->option_count++] =
        (struct sdk_option){weir_arena_strdup(&job->arena, key), weir_arena_strdup(&job->arena, value)};
}

/* Text that must be there: NULL is an error of the vertex. */
static void set_text(struct weir_stream *stream, const char *file, int line, const char *key, const char *value)
{
    if (!stream->vertex)
        return;
    if (!value)
        weir_sdk_error(stream->job, stream->vertex, file, line, "%s is NULL", key);
    else
        weir_sdk_set(stream->job, stream->vertex, key, value);
}

#define CONNECTOR_OPTIONS_MAX 200

static void connector_options(struct weir_stream *stream, const char *file, int line, const char *connector,
                              va_list args)
{
    struct sdk_vertex *vertex = stream->vertex;
    weir_sdk_set(stream->job, vertex, "connector", connector);
    for (int i = 0; i < CONNECTOR_OPTIONS_MAX; i++) {
        const char *key = va_arg(args, const char *);
        if (!key)
            return;
        const char *value = va_arg(args, const char *);
        if (!value) {
            weir_sdk_error(stream->job, vertex, file, line,
                           "option '%.100s' has no value: options are name and value pairs, then NULL", key);
            return;
        }
        if (weir_sdk_get(vertex, key)) {
            weir_sdk_error(stream->job, vertex, file, line, "option '%.100s' is given twice", key);
            return;
        }
        weir_sdk_set(stream->job, vertex, key, value);
    }
    weir_sdk_error(stream->job, vertex, file, line, "more than %d options: is the NULL at their end missing?",
                   CONNECTOR_OPTIONS_MAX);
}

/* --- Sources and sinks */

struct weir_stream *weir_source_at(const char *file, int line, struct weir_job *job, const char *connector, ...)
{
    struct weir_stream *stream = weir_sdk_vertex(job, file, line, "source", connector, NULL);
    if (!stream->vertex)
        return stream;
    if (!connector) {
        weir_sdk_error(job, stream->vertex, file, line, "weir_source() names no connector");
        return stream;
    }
    va_list args;
    va_start(args, connector);
    connector_options(stream, file, line, connector, args);
    va_end(args);
    return stream;
}

struct weir_stream *weir_sink_at(const char *file, int line, struct weir_stream *input, const char *connector, ...)
{
    struct weir_stream *nothing;
    if (!weir_sdk_usable(input, file, line, "weir_sink", &nothing))
        return nothing;
    struct weir_stream *stream = weir_sdk_vertex(input->job, file, line, "sink", connector, input);
    if (!stream->vertex)
        return stream;
    if (!connector) {
        weir_sdk_error(input->job, stream->vertex, file, line, "weir_sink() names no connector");
        return stream;
    }
    va_list args;
    va_start(args, connector);
    connector_options(stream, file, line, connector, args);
    va_end(args);
    return stream;
}

static bool is_source(const struct weir_stream *stream)
{
    return strcmp(stream->vertex->op, "source") == 0 && stream->output == 0;
}

/* Declares a source's schema. Takes the reference. */
static void declare(struct weir_stream *stream, const char *file, int line, const char *what,
                    struct weir_schema *take_schema)
{
    if (!is_source(stream))
        weir_sdk_error(stream->job, stream->vertex, file, line, "%s() is for sources; '%s' is a %s", what,
                       stream->vertex->name, stream->vertex->op);
    else if (stream->vertex->declared)
        weir_sdk_error(stream->job, stream->vertex, file, line, "%s(): the source's columns are declared already",
                       what);
    else {
        stream->vertex->declared = take_schema;
        return;
    }
    weir_schema_unref(take_schema);
}

struct weir_stream *weir_schema_at(const char *file, int line, struct weir_stream *stream,
                                   const struct weir_row_type *row_type)
{
    struct weir_stream *nothing;
    if (!weir_sdk_usable(stream, file, line, "weir_schema", &nothing))
        return nothing;
    struct weir_error error;
    struct weir_schema *schema;
    if (!row_type)
        weir_sdk_error(stream->job, stream->vertex, file, line, "weir_schema() is given no row type");
    else if (weir_sdk_row_schema(row_type, &schema, &error))
        weir_sdk_error(stream->job, stream->vertex, file, line, "%s", error.message);
    else
        declare(stream, file, line, "weir_schema", schema);
    return stream;
}

struct weir_stream *weir_columns_at(const char *file, int line, struct weir_stream *stream, const char *text)
{
    struct weir_stream *nothing;
    if (!weir_sdk_usable(stream, file, line, "weir_columns", &nothing))
        return nothing;
    struct weir_error error;
    struct weir_schema *schema;
    if (!text)
        weir_sdk_error(stream->job, stream->vertex, file, line, "weir_columns() is given NULL");
    else if (weir_schema_parse(text, &schema, &error))
        weir_sdk_error(stream->job, stream->vertex, file, line, "columns: %s", error.message);
    else
        declare(stream, file, line, "weir_columns", schema);
    return stream;
}

struct weir_stream *weir_watermark_at(const char *file, int line, struct weir_stream *input, const char *expression)
{
    struct weir_stream *stream = input, *nothing;
    if (!weir_sdk_usable(input, file, line, "weir_watermark", &nothing))
        return nothing;
    if (!is_source(input) || weir_sdk_get(input->vertex, "watermark.expression"))
        stream = weir_sdk_vertex(input->job, file, line, "watermark", "watermark", input);
    set_text(stream, file, line, "watermark.expression", expression);
    return stream;
}

struct weir_stream *weir_idleness_at(const char *file, int line, struct weir_stream *stream, const char *timeout)
{
    struct weir_stream *nothing;
    if (!weir_sdk_usable(stream, file, line, "weir_idleness", &nothing))
        return nothing;
    if (!weir_sdk_get(stream->vertex, "watermark.expression"))
        weir_sdk_error(stream->job, stream->vertex, file, line,
                       "weir_idleness() is for a stream that weir_watermark() gave back");
    else
        set_text(stream, file, line, "watermark.idle-timeout", timeout);
    return stream;
}

struct weir_stream *weir_bad_at(const char *file, int line, struct weir_stream *stream)
{
    struct weir_stream *nothing;
    if (!weir_sdk_usable(stream, file, line, "weir_bad", &nothing))
        return nothing;
    struct sdk_vertex *vertex = stream->vertex;
    const char *on_error = weir_sdk_get(vertex, "on-error");
    if (!is_source(stream))
        weir_sdk_error(stream->job, vertex, file, line, "weir_bad() is for sources; '%s' is a %s", vertex->name,
                       vertex->op);
    else if (on_error && strcmp(on_error, "dead-letter") != 0)
        weir_sdk_error(stream->job, vertex, file, line,
                       "weir_bad() reads the bad records, but on-error is '%.100s'; it must be dead-letter", on_error);
    else
        weir_sdk_set(stream->job, vertex, "on-error", "dead-letter");
    return weir_sdk_stream(stream->job, vertex, 2);
}

/* --- Transformations by text */

struct weir_stream *weir_filter_at(const char *file, int line, struct weir_stream *input, const char *condition)
{
    struct weir_stream *nothing;
    if (!weir_sdk_usable(input, file, line, "weir_filter", &nothing))
        return nothing;
    struct weir_stream *stream = weir_sdk_vertex(input->job, file, line, "filter", "filter", input);
    set_text(stream, file, line, "condition", condition);
    return stream;
}

struct weir_stream *weir_select_at(const char *file, int line, struct weir_stream *input, const char *columns)
{
    struct weir_stream *nothing;
    if (!weir_sdk_usable(input, file, line, "weir_select", &nothing))
        return nothing;
    struct weir_stream *stream = weir_sdk_vertex(input->job, file, line, "select", "select", input);
    set_text(stream, file, line, "columns", columns);
    return stream;
}

/* --- Partitioning: a new stream of the same vertex */

static struct weir_stream *partitioned(const char *file, int line, struct weir_stream *input, const char *what,
                                       Weir__Partition partition)
{
    struct weir_stream *nothing;
    if (!weir_sdk_usable(input, file, line, what, &nothing))
        return nothing;
    struct weir_stream *stream = weir_sdk_stream(input->job, input->vertex, input->output);
    stream->partition = partition;
    return stream;
}

struct weir_stream *weir_rebalance_at(const char *file, int line, struct weir_stream *stream)
{
    return partitioned(file, line, stream, "weir_rebalance", WEIR__PARTITION__REBALANCE);
}

struct weir_stream *weir_broadcast_at(const char *file, int line, struct weir_stream *stream)
{
    return partitioned(file, line, stream, "weir_broadcast", WEIR__PARTITION__BROADCAST);
}

#define KEY_COLUMNS_MAX 16

struct weir_stream *weir_key_by_at(const char *file, int line, struct weir_stream *input, const char *columns)
{
    struct weir_stream *stream = partitioned(file, line, input, "weir_key_by", WEIR__PARTITION__HASH);
    if (!stream->vertex)
        return stream;
    struct weir_job *job = stream->job;
    stream->key = weir_arena_alloc(&job->arena, KEY_COLUMNS_MAX * sizeof *stream->key);
    for (const char *at = columns; at;) {
        const char *comma = strchr(at, ','), *end = comma ? comma : at + strlen(at);
        while (at < end && strchr(" \t\n`", *at))
            at++;
        const char *last = end;
        while (last > at && strchr(" \t\n`", last[-1]))
            last--;
        if (last == at || stream->key_count == KEY_COLUMNS_MAX) {
            weir_sdk_error(job, NULL, file, line,
                           last == at ? "weir_key_by(\"%.200s\"): a column has no name"
                                      : "weir_key_by(\"%.200s\"): more than 16 columns",
                           columns);
            return weir_sdk_stream(job, NULL, 0);
        }
        stream->key[stream->key_count++] = weir_arena_strndup(&job->arena, at, (size_t)(last - at));
        at = comma ? comma + 1 : NULL;
    }
    if (stream->key_count)
        return stream;
    weir_sdk_error(job, NULL, file, line, "weir_key_by() names no column");
    return weir_sdk_stream(job, NULL, 0);
}

struct weir_stream *weir_union_at(const char *file, int line, struct weir_stream *const *streams, size_t count)
{
    struct weir_stream *stream = NULL, *nothing = NULL;
    for (size_t i = 0; i < count; i++) {
        if (!weir_sdk_usable(streams[i], file, line, "weir_union", &nothing))
            return nothing;
        if (i == 0)
            stream = weir_sdk_vertex(streams[0]->job, file, line, "union", "union", NULL);
        if (!stream->vertex)
            return stream;
        if (i == SDK_INPUTS_MAX) {
            weir_sdk_error(stream->job, stream->vertex, file, line, "weir_union() of %zu streams; %d are possible",
                           count, SDK_INPUTS_MAX);
            return stream;
        }
        stream->vertex->inputs[stream->vertex->input_count++] = streams[i];
    }
    return stream;
}

/* --- Settings */

static struct sdk_vertex *setting(const char *file, int line, struct weir_stream **stream, const char *what)
{
    if (*stream && (*stream)->vertex)
        return (*stream)->vertex;
    *stream = nothing_for(*stream, file, line, what);
    return NULL;
}

struct weir_stream *weir_name_at(const char *file, int line, struct weir_stream *stream, const char *name)
{
    struct sdk_vertex *vertex = setting(file, line, &stream, "weir_name");
    if (vertex && (!name || !name[0]))
        weir_sdk_error(stream->job, vertex, file, line, "weir_name() is given no name");
    else if (vertex && !vertex->name_given && strcmp(vertex->name, name) != 0) {
        vertex->name = unique_name(stream->job, vertex->op, name);
        vertex->name_given = true;
    }
    return stream;
}

struct weir_stream *weir_uid_at(const char *file, int line, struct weir_stream *stream, const char *uid)
{
    struct sdk_vertex *vertex = setting(file, line, &stream, "weir_uid");
    if (!vertex)
        return stream;
    if (!uid || !uid[0]) {
        weir_sdk_error(stream->job, vertex, file, line, "weir_uid() is given no uid");
        return stream;
    }
    for (const struct sdk_vertex *other = stream->job->vertices; other; other = other->next)
        if (other != vertex && strcmp(other->uid, uid) == 0)
            weir_sdk_error(stream->job, vertex, file, line,
                           "uid '%.200s' is already that of '%s' (%s); a uid is unique in a job", uid, other->name,
                           other->location);
    vertex->uid = weir_arena_strdup(&stream->job->arena, uid);
    return stream;
}

struct weir_stream *weir_parallelism_at(const char *file, int line, struct weir_stream *stream, int parallelism)
{
    struct sdk_vertex *vertex = setting(file, line, &stream, "weir_parallelism");
    if (vertex && (parallelism < 1 || parallelism > 32768))
        weir_sdk_error(stream->job, vertex, file, line, "parallelism %d is not possible; it must be 1 to 32768",
                       parallelism);
    else if (vertex)
        vertex->parallelism = parallelism;
    return stream;
}

struct weir_stream *weir_chaining_at(const char *file, int line, struct weir_stream *stream, bool chaining)
{
    struct sdk_vertex *vertex = setting(file, line, &stream, "weir_chaining");
    if (vertex)
        vertex->no_chaining = !chaining;
    return stream;
}
