/* "dead-letter.*" of a source is a sink on its bad records. */
#include "sdk/sdk_int.h"

#define PREFIX "dead-letter."
#define PREFIX_SIZE (sizeof PREFIX - 1)

/* A message's headers and the rest of it are beside its value, within the 1 MB that brokers take unless they are told otherwise. */
#define TOPIC_SIZE_MAX "900 kb"

/* What a consumer is told and a producer does not know: the rest of the source's settings says how the brokers are reached. */
static bool is_of_consumers(const char *key)
{
    static const char *const names[] = {"group.",
                                        "auto.",
                                        "enable.auto",
                                        "enable.partition.eof",
                                        "fetch.",
                                        "queued.",
                                        "isolation.",
                                        "max.partition.",
                                        "max.poll.",
                                        "session.",
                                        "heartbeat.",
                                        "check.crcs",
                                        "partition.assignment.",
                                        "coordinator.",
                                        "consume.",
                                        "offset.store",
                                        "allow.auto.create"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strncmp(key + strlen("properties."), names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

static bool is_of_sink(const char *key)
{
    return strncmp(key, PREFIX, PREFIX_SIZE) == 0 && strcmp(key, PREFIX "size-max") != 0;
}

/* "" is as good as nothing: weir_arg(job, "bad", ""). */
static const char *given(const struct sdk_vertex *vertex, const char *key)
{
    const char *value = weir_sdk_get(vertex, key);
    return value && value[0] ? value : NULL;
}

static const char *what_is_wrong(const struct sdk_vertex *source, bool any)
{
    const char *on_error = weir_sdk_get(source, "on-error");
    bool path = given(source, PREFIX "path"), topic = given(source, PREFIX "topic");
    if (!path && !topic)
        return any ? "dead-letter.* needs dead-letter.path or dead-letter.topic" : NULL;
    if (path && topic)
        return "either dead-letter.path or dead-letter.topic: bad records go to one place";
    if (on_error && strcmp(on_error, "dead-letter") == 0)
        return NULL;
    return path ? "dead-letter.path needs on-error = dead-letter" : "dead-letter.topic needs on-error = dead-letter";
}

static void fill_sink(struct weir_job *job, const struct sdk_vertex *source, struct sdk_vertex *sink)
{
    bool topic = given(source, PREFIX "topic");
    weir_sdk_set(job, sink, "connector", topic ? "kafka" : "filesystem");
    weir_sdk_set(job, sink, "format", topic ? "raw" : "json");
    if (topic)
        weir_sdk_set(job, sink, "dead-letters", "true");
    for (int i = 0; topic && i < source->option_count; i++)
        if (strncmp(source->options[i].key, "properties.", 11) == 0 && !is_of_consumers(source->options[i].key))
            weir_sdk_set(job, sink, source->options[i].key, source->options[i].value);
    for (int i = 0; i < source->option_count; i++)
        if (is_of_sink(source->options[i].key) && source->options[i].value[0])
            weir_sdk_set(job, sink, source->options[i].key + PREFIX_SIZE, source->options[i].value);
}

static void expand(struct weir_job *job, struct sdk_vertex *source)
{
    bool any = false, topic = given(source, PREFIX "topic");
    for (int i = 0; i < source->option_count; i++)
        any |= is_of_sink(source->options[i].key) && source->options[i].value[0];
    const char *wrong = what_is_wrong(source, any);
    if (wrong)
        weir_graph_errors_add(&job->errors, source->id, source->name, source->location, "%s", wrong);
    struct weir_stream *sink = NULL;
    if (any && !wrong)
        sink = weir_sdk_vertex(job, "", 0, "sink", weir_text(job, "%s dead letters", source->name),
                               weir_sdk_stream(job, source, 2));
    if (sink && sink->vertex) {
        sink->vertex->location = source->location;
        if (source->uid[0])
            sink->vertex->uid = weir_text(job, "%s-dead-letters", source->uid);
        fill_sink(job, source, sink->vertex);
    }
    for (int i = source->option_count - 1; i >= 0; i--)
        if (is_of_sink(source->options[i].key))
            source->options[i] = source->options[--source->option_count];
    if (topic && !weir_sdk_get(source, PREFIX "size-max"))
        weir_sdk_set(job, source, PREFIX "size-max", TOPIC_SIZE_MAX);
}

void weir_sdk_expand_dead_letters(struct weir_job *job)
{
    for (struct sdk_vertex *vertex = job->vertices; vertex; vertex = vertex->next)
        if (strcmp(vertex->op, "source") == 0)
            expand(job, vertex);
}
