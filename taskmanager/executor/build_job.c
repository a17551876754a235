/* See build_job.h. One thread. Order: limits, then a look at the file, then the dynamic linker, then the job's function, then the check. */
#include "executor/build_job.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/zone.h"
#include "base/hash.h"
#include "base/proto_memory.h"
#include "connectors/connector.h"
#include "executor/job_object.h"
#include "executor/option_files.h"
#include "graph/check.h"
#include "graph/plan.h"
#include "ops/op.h"
#include "sdk/sdk.h"

enum { EXIT_GRAPH = 0, EXIT_ERRORS = 1, EXIT_USAGE = 2, EXIT_HELP = 3 };
#define CONFIGURATION_MAX 256
#define FILE_SIZE_MAX ((rlim_t)16 << 20) /* of a file that the job writes while it builds */

struct build {
    struct weir_sdk_request request;
    struct weir_key_value configuration[CONFIGURATION_MAX];
    const char *path;
    const char *shown;                        /* its name in messages: --code-name, else the path */
    bool is_graph;                            /* the path is a serialized JobGraph's, which is only checked */
    long long memory_bytes, cpu_s, files_max; /* 0: no limit */
    char sha256[65];
    int result_fd;
};

/* --- Command line */

static bool number(const char *text, long long min, long long max, long long *value)
{
    char *end;
    errno = 0;
    *value = strtoll(text, &end, 10);
    return end != text && !*end && !errno && *value >= min && *value <= max;
}

static bool add_configuration(struct build *build, char *pair)
{
    char *equals = strchr(pair, '=');
    if (!equals || equals == pair || build->request.configuration_count == CONFIGURATION_MAX)
        return false;
    *equals = 0;
    build->configuration[build->request.configuration_count++] = (struct weir_key_value){pair, equals + 1};
    struct weir_error error; /* the executor says what is wrong with one; constants are computed in it here */
    (void)(strcmp(pair, "table.local-time-zone") == 0 && weir_zone_set_session(equals + 1, &error));
    return true;
}

static bool parse(struct build *build, int argc, char **argv)
{
    int i = 1;
    long long value = 0;
    for (; i < argc && argv[i][0] == '-'; i++) {
        const char *option = argv[i];
        if (strcmp(option, "--") == 0) {
            i++;
            break;
        }
        if (++i == argc)
            return false;
        bool ok = true;
        if (strcmp(option, "--name") == 0)
            build->request.name = argv[i];
        else if (strcmp(option, "--code-name") == 0)
            build->request.code_name = argv[i];
        else if (strcmp(option, "--input") == 0)
            ok = build->is_graph = strcmp(argv[i], "graph") == 0;
        else if (strcmp(option, "-p") == 0) {
            ok = number(argv[i], 1, 32768, &value);
            build->request.parallelism = (int)value;
        } else if (strcmp(option, "-D") == 0)
            ok = add_configuration(build, argv[i]);
        else if (strcmp(option, "--memory") == 0)
            ok = number(argv[i], 0, LLONG_MAX, &build->memory_bytes);
        else if (strcmp(option, "--cpu") == 0)
            ok = number(argv[i], 0, 1000000, &build->cpu_s);
        else if (strcmp(option, "--files") == 0)
            ok = number(argv[i], 0, 1000000, &build->files_max);
        else
            ok = false;
        if (!ok) {
            fprintf(stderr, "build-job: %s %s cannot be read\n", option, argv[i]);
            return false;
        }
    }
    if (i >= argc)
        return false;
    build->path = argv[i++];
    build->request.configuration = build->configuration;
    build->request.arguments = (const char *const *)(argv + i);
    build->request.argument_count = argc - i;
    build->shown = build->request.code_name ? build->request.code_name : build->path;
    if (!build->request.code_name) {
        const char *slash = strrchr(build->path, '/');
        build->request.code_name = slash ? slash + 1 : build->path;
    }
    return true;
}

/* --- Limits */

static void limit(int resource, rlim_t value)
{
    struct rlimit now;
    if (getrlimit(resource, &now) == 0 && (now.rlim_max == RLIM_INFINITY || now.rlim_max > value))
        now.rlim_max = value;
    now.rlim_cur = now.rlim_max < value ? now.rlim_max : value;
    (void)setrlimit(resource, &now); /* lowering one's own limits does not fail */
}

static void set_limits(const struct build *build)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody waits for the graph of a process that is gone */
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_FSIZE, FILE_SIZE_MAX);
    if (build->cpu_s > 0)
        limit(RLIMIT_CPU, (rlim_t)build->cpu_s);
    if (build->files_max > 0)
        limit(RLIMIT_NOFILE, (rlim_t)build->files_max);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* their shadow memory is address space */
    if (build->memory_bytes > 0)
        limit(RLIMIT_AS, (rlim_t)build->memory_bytes);
#endif
}

/* Standard output is the result's alone: what the job prints goes to standard error. */
static bool keep_result_fd(struct build *build)
{
    build->result_fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    return build->result_fd >= 0 && dup2(STDERR_FILENO, STDOUT_FILENO) >= 0;
}

static int write_result(const struct build *build, const void *bytes, size_t size, int exit_code)
{
    const char *at = bytes;
    while (size > 0) {
        ssize_t written = write(build->result_fd, at, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0) { /* mostly nobody reads any more */
            fprintf(stderr, "build-job: cannot write the result: %s\n", strerror(errno));
            return EXIT_USAGE;
        }
        at += written;
        size -= (size_t)written;
    }
    return exit_code;
}

/* What a job that asks for too much is told, instead of an abort. */
static const struct build *without_memory;

static void say_out_of_memory(size_t size)
{
    char line[200];
    int length = snprintf(line, sizeof line,
                          "out of memory while building the graph: %zu bytes more are not to be had (job.build.memory "
                          "limits the job to %lld MiB)\n",
                          size, (long long)without_memory->memory_bytes >> 20);
    _exit(write_result(without_memory, line, (size_t)length, EXIT_ERRORS));
}

static int write_error(const struct build *build, const char *message)
{
    char line[WEIR_ERROR_MESSAGE_SIZE + 1];
    int size = snprintf(line, sizeof line, "%.1022s\n", message);
    return write_result(build, line, (size_t)size, EXIT_ERRORS);
}

/* --- Loading */

/* Why dlopen() failed, as a sentence. */
static void say_load_error(const char *path, const char *why, struct weir_error *error)
{
    static const char undefined[] = "undefined symbol: ";
    const char *symbol = why ? strstr(why, undefined) : NULL;
    if (symbol) {
        symbol += sizeof undefined - 1;
        (void)weir_fail(
            error, WEIR_ERR_INVALID,
            "%s uses '%.*s', which is neither in it nor in a library it is linked with: link what defines it, and build the "
            "job with -lweir",
            path, (int)strcspn(symbol, " \t\n("), symbol);
    } else
        (void)weir_fail(error, WEIR_ERR_INVALID, "cannot load %s: %s", path,
                        why ? why : "the dynamic linker says no more");
}

static weir_err load(const struct build *build, const struct weir_job_descriptor **descriptor, struct weir_error *error)
{
    /* Without a '/' the linker would search its path. */
    char path[PATH_MAX];
    if (!realpath(build->path, path))
        return weir_fail_errno(error, WEIR_ERR_INVALID, "cannot open %s", build->shown);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        say_load_error(build->shown, dlerror(), error);
        return WEIR_ERR_INVALID;
    }
    *descriptor = dlsym(handle, "weir_job_descriptor");
    if (!*descriptor)
        return weir_fail(error, WEIR_ERR_INVALID, "%s holds no job: it defines no WEIR_JOB(name) { ... }",
                         build->shown);
    return weir_connectors_load(handle, error) ? weir_wrap(error, "%s", build->shown) : 0;
}

/* --- Tables of the task side */

static weir_err find_source(const char *name, struct weir_graph_source *source, struct weir_error *error)
{
    const struct weir_connector *connector;
    weir_err err = weir_connector_find(name, &connector, error);
    if (!err)
        *source = (struct weir_graph_source){connector->enumerate != NULL, connector->parallelism_max};
    return err;
}

static const struct weir_graph_ops graph_ops = {weir_op_find, find_source};

/* --- The build */

static int write_graph(const struct build *build, const Weir__JobGraph *graph)
{
    size_t size = weir__job_graph__get_packed_size(graph);
    if (size > WEIR_GRAPH_SIZE_MAX) {
        char message[200];
        snprintf(message, sizeof message, "the job graph has %zu bytes, more than the %zu that are accepted", size,
                 WEIR_GRAPH_SIZE_MAX);
        return write_error(build, message);
    }
    uint8_t *bytes = weir_alloc(size);
    weir__job_graph__pack(graph, bytes);
    return write_result(build, bytes, size, EXIT_GRAPH);
}

static int finish_graph(const struct build *build, Weir__JobGraph *graph, struct weir_graph_errors *errors)
{
    struct weir_buf text;
    if (weir_graph_check(graph, &graph_ops, errors))
        return write_graph(build, graph);
    weir_buf_init(&text, (size_t)1 << 20);
    if (!weir_graph_errors_print(errors, &text))
        return write_error(build, "the job has errors, too long to print");
    return write_result(build, text.data, text.size, EXIT_ERRORS);
}

/* A graph that someone else made. Its shape is checked first: what comes then relies on it. */
static int check_graph(const struct build *build)
{
    struct weir_buf bytes;
    struct weir_error error;
    weir_buf_init(&bytes, WEIR_GRAPH_SIZE_MAX + 1);
    FILE *file = fopen(build->path, "re");
    if (!file) {
        (void)weir_fail_errno(&error, WEIR_ERR_IO, "cannot read the job graph");
        return write_error(build, error.message);
    }
    char part[16384];
    for (size_t size; (size = fread(part, 1, sizeof part, file)) > 0;)
        if (!weir_buf_append(&bytes, part, size))
            break; /* too large, says weir_plan_build() */
    bool unread = ferror(file);
    fclose(file);
    if (unread)
        return write_error(build, "cannot read the job graph");
    const uint8_t *data = bytes.data ? (const uint8_t *)bytes.data : (const uint8_t *)"";
    struct weir_plan_options options = {.parallelism = 1, .max_parallelism = 32768, .chaining = true};
    struct weir_plan *plan = NULL;
    struct weir_graph_errors errors = {.count = 0};
    if (weir_plan_build(data, bytes.size, &options, &plan, &error))
        return write_error(build, error.message);
    weir_plan_free(plan);
    Weir__JobGraph *graph = weir__job_graph__unpack(&weir_proto_memory, bytes.size, data);
    return graph ? finish_graph(build, graph, &errors) : write_error(build, "this is not a serialized JobGraph");
}

static int build_graph(struct build *build)
{
    const struct weir_job_descriptor *descriptor = NULL;
    struct weir_error error;
    weir_err err = weir_job_object_check_as(build->path, build->shown, &error);
    if (!err)
        err = weir_sha256_file_hex(build->path, build->sha256, &error);
    if (!err)
        err = load(build, &descriptor, &error);
    if (err)
        return write_error(build, error.message);
    build->request.code_sha256 = build->sha256;
    struct weir_job *job = weir_sdk_begin(&build->request);
    weir_sdk_build(job, descriptor);

    struct weir_buf text;
    weir_buf_init(&text, (size_t)1 << 20);
    if (weir_sdk_help_wanted(job))
        return weir_sdk_help(job, &text) ? write_result(build, text.data, text.size, EXIT_HELP)
                                         : write_error(build, "the job's arguments are too many to list");
    struct weir_graph_errors errors = {.count = 0};
    Weir__JobGraph *graph = NULL;
    (void)weir_sdk_end(job, &graph, &errors);
    weir_option_files_read(graph, &errors);
    return finish_graph(build, graph, &errors);
}

int weir_build_job_main(int argc, char **argv)
{
    static struct build build;
    if (!parse(&build, argc, argv)) {
        fprintf(
            stderr,
            "usage: build-job [--name N] [-p N] [-D key=value] [--code-name F] [--memory BYTES] [--cpu S] [--files N] [--] "
            "JOB.so [arguments]\n");
        return EXIT_USAGE;
    }
    if (!keep_result_fd(&build)) {
        perror("build-job: standard output");
        return EXIT_USAGE;
    }
    without_memory = &build;
    weir_on_out_of_memory(say_out_of_memory);
    set_limits(&build);
    int exit_code = build.is_graph ? check_graph(&build) : build_graph(&build);
    fflush(NULL);
    _exit(exit_code); /* nothing that the job registered runs: it could hang */
}
