/* Windows: weir_window() begins the vertex, weir_aggregate() completes it. */
#include "sdk/sdk_int.h"

static void set(struct weir_stream *stream, const char *key, const char *value)
{
    if (value)
        weir_sdk_set(stream->job, stream->vertex, key, value);
}

struct weir_stream *weir_window_at(const char *file, int line, struct weir_stream *input, struct weir_window_spec spec)
{
    struct weir_stream *nothing;
    if (!weir_sdk_usable(input, file, line, "weir_window", &nothing))
        return nothing;
    const char *length = spec.size ? spec.size : spec.gap;
    const char *name = weir_text(input->job, "%s window %.100s", spec.type ? spec.type : "", length ? length : "");
    struct weir_stream *stream = weir_sdk_vertex(input->job, file, line, "window", name, input);
    if (!stream->vertex)
        return stream;
    stream->vertex->takes_aggregate = true;
    if (!spec.type || !length)
        weir_sdk_error(input->job, stream->vertex, file, line,
                       "weir_window() takes weir_tumbling(size), weir_sliding(size, slide) or weir_session(gap)");
    if (input->partition != WEIR__PARTITION__HASH)
        weir_sdk_error(input->job, stream->vertex, file, line,
                       "a window needs a keyed stream: weir_window(weir_key_by(stream, \"column\"), ...)");
    set(stream, "window.type", spec.type);
    set(stream, "window.time", spec.time);
    set(stream, "window.size", spec.size);
    set(stream, "window.slide", spec.slide);
    set(stream, "window.gap", spec.gap);
    set(stream, "window.offset", spec.offset);
    return stream;
}

/* The stream's window vertex, or NULL with *stream what to return. */
static struct sdk_vertex *window_of(const char *file, int line, struct weir_stream **stream, const char *what)
{
    if (!*stream || !(*stream)->vertex) {
        struct weir_stream *nothing;
        weir_sdk_usable(*stream, file, line, what, &nothing);
        *stream = nothing;
        return NULL;
    }
    struct sdk_vertex *vertex = (*stream)->vertex;
    if (strcmp(vertex->op, "window") == 0 && (*stream)->output == 0)
        return vertex;
    weir_sdk_error((*stream)->job, vertex, file, line, "%s() is for windows; '%s' is a %s", what, vertex->name,
                   vertex->op);
    return NULL;
}

struct weir_stream *weir_lateness_at(const char *file, int line, struct weir_stream *windowed, const char *lateness)
{
    struct sdk_vertex *vertex = window_of(file, line, &windowed, "weir_lateness");
    if (vertex && lateness)
        weir_sdk_set(windowed->job, vertex, "window.allowed-lateness", lateness);
    else if (vertex)
        weir_sdk_error(windowed->job, vertex, file, line, "weir_lateness() is given NULL");
    return windowed;
}

struct weir_stream *weir_aggregate_at(const char *file, int line, struct weir_stream *windowed, const char *columns)
{
    struct sdk_vertex *vertex = window_of(file, line, &windowed, "weir_aggregate");
    if (!vertex)
        return windowed;
    if (!columns)
        weir_sdk_error(windowed->job, vertex, file, line, "aggregates is NULL");
    else if (!vertex->takes_aggregate)
        weir_sdk_error(windowed->job, vertex, file, line,
                       "the window has its aggregates already; make another weir_window() for these");
    else
        weir_sdk_set(windowed->job, vertex, "aggregates", columns);
    vertex->takes_aggregate = false;
    return weir_sdk_stream(windowed->job, vertex, 0);
}

struct weir_stream *weir_late_at(const char *file, int line, struct weir_stream *stream)
{
    struct sdk_vertex *vertex = window_of(file, line, &stream, "weir_late");
    return weir_sdk_stream(stream->job, vertex, vertex ? 1 : 0);
}
