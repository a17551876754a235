/* The job while it is built: arguments, errors, memory. First in the flow; stream.c adds vertices, resolve.c ends it. */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arguments.h"
#include "base/assert.h"
#include "data/schema.h"
#include "data/time_text.h"
#include "sdk/sdk_int.h"

_Thread_local struct weir_job *weir_sdk_current;

struct weir_job *weir_sdk_begin(const struct weir_sdk_request *request)
{
    struct weir_job *job = weir_zalloc(sizeof *job);
    weir_arena_init(&job->arena);
    job->request = *request;
    job->vertices_end = &job->vertices;
    return job;
}

void weir_sdk_build(struct weir_job *job, const struct weir_job_descriptor *descriptor)
{
    Dl_info info;
    weir_assert(!weir_sdk_current);
    if (dladdr(descriptor, &info))
        job->code_base = info.dli_fbase;
    job->name = descriptor->name && descriptor->name[0] ? descriptor->name : "job";
    weir_sdk_current = job;
    descriptor->build(job);
    weir_sdk_current = NULL;
}

void weir_sdk_free(struct weir_job *job)
{
    if (!job)
        return;
    for (struct sdk_vertex *vertex = job->vertices; vertex; vertex = vertex->next)
        weir_schema_unref(vertex->declared);
    weir_graph_errors_fini(&job->errors);
    weir_arena_fini(&job->arena);
    free(job);
}

/* --- Errors */

const char *weir_sdk_location(struct weir_job *job, const char *file, int line)
{
    const char *slash = strrchr(file, '/');
    return weir_arena_format(&job->arena, "%s:%d", slash ? slash + 1 : file, line);
}

void weir_sdk_error(struct weir_job *job, struct sdk_vertex *vertex, const char *file, int line, const char *format,
                    ...)
{
    if (vertex && weir_graph_errors_has(&job->errors, vertex->id))
        return;
    char message[1500];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    weir_graph_errors_add(&job->errors, vertex ? vertex->id : 0, vertex ? vertex->name : "",
                          weir_sdk_location(job, file, line), "%s", message);
}

/* --- Job-wide settings */

void weir_job_name(struct weir_job *job, const char *name)
{
    if (name && name[0])
        job->name = weir_arena_strdup(&job->arena, name);
}

void weir_job_parallelism_at(const char *file, int line, struct weir_job *job, int parallelism)
{
    if (parallelism < 1 || parallelism > 32768)
        weir_sdk_error(job, NULL, file, line, "the job's parallelism is %d; it must be 1 to 32768", parallelism);
    else
        job->parallelism = parallelism;
}

const char *weir_text(struct weir_job *job, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = NULL;
    int size = vasprintf(&text, format, args);
    va_end(args);
    if (size < 0)
        weir_out_of_memory(strlen(format));
    char *copy = weir_arena_strdup(&job->arena, text);
    free(text);
    return copy;
}

/* --- Arguments */

static const char *ask(struct weir_job *job, const char *file, int line, const char *name, const char *fallback,
                       const char *kind)
{
    if (!name || !name[0]) {
        weir_sdk_error(job, NULL, file, line, "weir_arg() without a name");
        return NULL;
    }
    for (int i = 0; i < job->asked_count; i++)
        if (strcmp(job->asked[i].name, name) == 0)
            return weir_argument_find(job->request.arguments, job->request.argument_count, name);
    if (job->asked_count == SDK_ARGUMENTS_MAX) {
        weir_sdk_error(job, NULL, file, line, "a job asks for at most %d arguments", SDK_ARGUMENTS_MAX);
        return NULL;
    }
    job->asked[job->asked_count++] = (struct sdk_asked){
        weir_arena_strdup(&job->arena, name), fallback ? weir_arena_strdup(&job->arena, fallback) : NULL, kind};
    return weir_argument_find(job->request.arguments, job->request.argument_count, name);
}

const char *weir_arg_at(const char *file, int line, struct weir_job *job, const char *name, const char *fallback)
{
    const char *value = ask(job, file, line, name, fallback, "text");
    if (!value && !fallback && !weir_sdk_help_wanted(job))
        weir_sdk_error(job, NULL, file, line, "the job needs an argument: --%s VALUE", name ? name : "");
    if (!value && !fallback) /* not "", which a connector would complain about as well */
        return weir_arena_format(&job->arena, "(--%s)", name ? name : "");
    return weir_arena_strdup(&job->arena, value ? value : fallback);
}

int64_t weir_arg_int_at(const char *file, int line, struct weir_job *job, const char *name, int64_t fallback)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)fallback);
    const char *value = ask(job, file, line, name, text, "whole number");
    if (!value)
        return fallback;
    char *end;
    errno = 0;
    long long number = strtoll(value, &end, 10);
    if (end == value || *end || errno) {
        weir_sdk_error(job, NULL, file, line, "argument --%s: '%.200s' is not a whole number", name, value);
        return fallback;
    }
    return number;
}

double weir_arg_double_at(const char *file, int line, struct weir_job *job, const char *name, double fallback)
{
    char text[32];
    snprintf(text, sizeof text, "%g", fallback);
    const char *value = ask(job, file, line, name, text, "number");
    if (!value)
        return fallback;
    char *end;
    double number = strtod(value, &end);
    if (end == value || *end || !(number - number == 0)) {
        weir_sdk_error(job, NULL, file, line, "argument --%s: '%.200s' is not a number", name, value);
        return fallback;
    }
    return number;
}

int64_t weir_arg_duration_at(const char *file, int line, struct weir_job *job, const char *name, const char *fallback)
{
    const char *text = weir_arg_at(file, line, job, name, fallback);
    int64_t ms = 0;
    if (!weir_duration_parse(text, &ms))
        weir_sdk_error(job, NULL, file, line, "argument --%s: '%.200s' is not a duration, as '10 s' or '1 d'", name,
                       text);
    return ms;
}

bool weir_arg_bool_at(const char *file, int line, struct weir_job *job, const char *name, bool fallback)
{
    const char *value = ask(job, file, line, name, fallback ? "true" : "false", "true or false");
    if (!value)
        return fallback;
    if (!value[0] || strcmp(value, "true") == 0)
        return true;
    if (strcmp(value, "false") != 0)
        weir_sdk_error(job, NULL, file, line, "argument --%s: '%.200s' is neither true nor false", name, value);
    return false;
}

bool weir_sdk_help_wanted(const struct weir_job *job)
{
    for (int i = 0; i < job->request.argument_count; i++)
        if (strcmp(job->request.arguments[i], "--help") == 0 || strcmp(job->request.arguments[i], "-h") == 0)
            return true;
    return false;
}

bool weir_sdk_help(const struct weir_job *job, struct weir_buf *out)
{
    if (!weir_buf_printf(out, "Arguments of %s:%s\n", job->name, job->asked_count ? "" : " none"))
        return false;
    for (int i = 0; i < job->asked_count; i++) {
        const struct sdk_asked *asked = &job->asked[i];
        bool ok = asked->fallback ? weir_buf_printf(out, "  --%-20s %s, default: %s\n", asked->name, asked->kind,
                                                    asked->fallback[0] ? asked->fallback : "(empty)")
                                  : weir_buf_printf(out, "  --%-20s %s, required\n", asked->name, asked->kind);
        if (!ok)
            return false;
    }
    return true;
}

/* After the build: what was given and never asked for. */
void weir_sdk_check_arguments(struct weir_job *job)
{
    const char *const *arguments = job->request.arguments;
    const char *names[SDK_ARGUMENTS_MAX];
    for (int i = 0; i < job->asked_count; i++)
        names[i] = job->asked[i].name;
    int count = job->request.argument_count;
    struct weir_argument argument;
    for (int i = 0; i < count; i += argument.used) {
        if (!weir_argument_at(arguments, count, i, &argument)) {
            weir_graph_errors_add(&job->errors, 0, "", "", "argument '%.200s' is not of the form --name value",
                                  arguments[i]);
            continue;
        }
        char *given = weir_arena_strndup(&job->arena, argument.name, argument.name_size);
        bool known = false;
        for (int j = 0; j < job->asked_count && !known; j++)
            known = strcmp(names[j], given) == 0;
        if (known) {
            int next = i + argument.used;
            if (weir_argument_find(arguments + next, count - next, given))
                weir_graph_errors_add(&job->errors, 0, "", "", "argument --%.200s is given twice", given);
            continue;
        }
        const char *near = weir_nearest(given, names, job->asked_count);
        if (near)
            weir_graph_errors_add(&job->errors, 0, "", "", "the job has no argument --%.200s; did you mean --%s?",
                                  given, near);
        else
            weir_graph_errors_add(&job->errors, 0, "", "",
                                  "the job has no argument --%.200s; --help lists those it has", given);
    }
}
