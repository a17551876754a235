/* run (uploads, submits, follows), info. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/daemon.h"
#include "client_int.h"
#include "graph/build_client.h"
#include "graph/plan.h"

#define POLL_INTERVAL_MS 100

void weir_client_print_failure(FILE *to, const char *kind, const char *message, const char *operator,
                               const char * position, const char *stack)
{
    fprintf(to, "weir: %s: %s\n", kind && *kind ? kind : "failure", message ? message : "");
    if (operator&& * operator)
        fprintf(to, "      operator: %s\n", operator);
    if (position && *position)
        fprintf(to, "      record: %s\n", position);
    if (stack && *stack)
        fprintf(to, "%s\n", stack);
}

static json_t *run_body(struct weir_client *client)
{
    json_t *body = json_object(), *arguments = json_array(), *configuration = json_object();
    for (int i = 1; i < client->argument_count; i++)
        json_array_append_new(arguments, json_string(client->arguments[i]));
    for (int i = 0; i < client->pair_count; i++)
        json_object_set_new(configuration, client->pairs[i].key, json_string(client->pairs[i].value));
    json_object_set_new(body, "programArgsList", arguments);
    json_object_set_new(body, "flinkConfiguration", configuration);
    if (client->parallelism > 0)
        json_object_set_new(body, "parallelism", json_integer(client->parallelism));
    if (client->name)
        json_object_set_new(body, "jobName", json_string(client->name));
    return body;
}

/* Uploads and submits; id is set. The uploaded object is removed again: the job keeps its own copy. */
static int submit(struct weir_client *client, char id[33])
{
    json_t *upload, *reply = NULL;
    if (access(client->arguments[0], R_OK) != 0) {
        fprintf(stderr, "weir: cannot open the job %s: %s\n", client->arguments[0], strerror(errno));
        return EXIT_NOT_FOUND;
    }
    int exit_code = weir_client_upload(client, client->arguments[0], &upload);
    if (exit_code != EXIT_DONE)
        return exit_code;
    const char *file = weir_json_text(upload, "filename");
    const char *slash = strrchr(file, '/');
    char *path = weir_format("/jars/%s/run", slash ? slash + 1 : file);
    json_t *body = run_body(client);
    exit_code = weir_client_call(client, "POST", path, body, &reply);
    if (exit_code == EXIT_DONE)
        snprintf(id, 33, "%s", weir_json_text(reply, "jobid"));
    json_decref(body);
    json_decref(reply);
    free(path);
    path = weir_format("/jars/%s", slash ? slash + 1 : file);
    if (weir_client_call(client, "DELETE", path, NULL, &reply) == EXIT_DONE)
        json_decref(reply);
    free(path);
    json_decref(upload);
    return exit_code;
}

static int open_signals(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    return signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

struct totals {
    int64_t read, written;
};

static struct totals totals_of(const json_t *job)
{
    struct totals totals = {0, 0};
    json_t *vertices = json_object_get(job, "vertices"), *vertex;
    size_t i;
    json_array_foreach(vertices, i, vertex)
    {
        json_t *metrics = json_object_get(vertex, "metrics");
        if (strncmp(weir_json_text(vertex, "name"), "Source:", 7) == 0)
            totals.read += weir_json_number(metrics, "write-records");
        totals.written += weir_json_number(metrics, "write-records");
    }
    return totals;
}

static void print_end(struct weir_client *client, const json_t *job, const char *state)
{
    fprintf(stderr, "weir: job %s is %s after %.3f s\n", weir_json_text(job, "jid"), state,
            (double)weir_json_number(job, "duration") / 1000.0);
    int restarts = (int)weir_json_number(job, "weir-restarts");
    if (restarts > 0)
        fprintf(
            stderr,
            "weir: it was restarted %d time%s, each time from the beginning: there are no checkpoints yet. Files hold what the "
            "last attempt wrote, once; what a print sink or another system was shown may be repeated\n",
            restarts, restarts == 1 ? "" : "s");
    if (strcmp(state, "FAILED") != 0)
        return;
    char *path = weir_format("/jobs/%s/exceptions", weir_json_text(job, "jid"));
    json_t *reply;
    if (weir_client_call(client, "GET", path, NULL, &reply) == EXIT_DONE) {
        json_t *entry = json_array_get(json_object_get(json_object_get(reply, "exceptionHistory"), "entries"), 0);
        fprintf(stderr, "weir: %s%s%s\n%s\n", weir_json_text(entry, "exceptionName"),
                *weir_json_text(entry, "taskName") ? " in " : "", weir_json_text(entry, "taskName"),
                weir_json_text(entry, "stacktrace"));
        json_decref(reply);
    }
    free(path);
}

static bool is_terminal(const char *state)
{
    return strcmp(state, "FINISHED") == 0 || strcmp(state, "FAILED") == 0 || strcmp(state, "CANCELED") == 0;
}

/* Ctrl-C; true: stop following. */
static bool interrupted(struct weir_client *client, const char *id)
{
    if (!client->cancel_on_interrupt) {
        fprintf(stderr, "\nweir: detached; the job goes on. Cancel it with: weir cancel %s\n", id);
        return true;
    }
    fprintf(stderr, "\nweir: canceling the job\n");
    char *path = weir_format("/jobs/%s?mode=cancel", id);
    json_t *reply;
    weir_client_call(client, "PATCH", path, NULL, &reply);
    json_decref(reply);
    free(path);
    client->cancel_on_interrupt = false;
    return false;
}

static int follow(struct weir_client *client, const char *id, int signal_fd)
{
    char last[32] = "", last_status[256] = "";
    char *path = weir_format("/jobs/%s", id);
    int exit_code = EXIT_DONE;
    bool live = isatty(2);
    for (;;) {
        json_t *job;
        exit_code = weir_client_call(client, "GET", path, NULL, &job);
        if (exit_code != EXIT_DONE)
            break;
        const char *state = weir_json_text(job, "state"), *status = weir_json_text(job, "status");
        if (strcmp(state, last) != 0)
            fprintf(stderr, "%sweir: %s\n", live ? "\r\033[K" : "", state);
        snprintf(last, sizeof last, "%s", state);
        if (*status && strcmp(status, last_status) != 0)
            fprintf(stderr, "weir: %s\n", status);
        snprintf(last_status, sizeof last_status, "%s", status);
        bool ended = is_terminal(state);
        if (ended) {
            print_end(client, job, state);
            exit_code = strcmp(state, "FINISHED") == 0 ? EXIT_DONE : EXIT_FAILED;
        } else if (live) {
            struct totals totals = totals_of(job);
            fprintf(stderr, "\r\033[Kweir: %lld records read, %lld passed on, %.1f s", (long long)totals.read,
                    (long long)totals.written, (double)weir_json_number(job, "duration") / 1000.0);
        }
        json_decref(job);
        if (ended)
            break;
        struct pollfd fd = {.fd = signal_fd, .events = POLLIN};
        struct signalfd_siginfo info;
        if (poll(&fd, 1, POLL_INTERVAL_MS) > 0 && read(signal_fd, &info, sizeof info) > 0 && interrupted(client, id))
            break;
    }
    free(path);
    return exit_code;
}

static int run_local(struct weir_client *client)
{
    struct weir_local_job job = {
        .path = client->arguments[0],
        .name = client->name,
        .parallelism = client->parallelism,
        .arguments = client->arguments + 1,
        .argument_count = client->argument_count - 1,
        .overrides = client->pairs,
        .override_count = client->pair_count,
    };
    return weir_local_run(&job);
}

static bool wants_job_help(const struct weir_client *client);

/* A mistyped -D is a mistake of the command line, said before anything is uploaded. */
static int check_pairs(const struct weir_client *client)
{
    struct weir_error error;
    struct weir_config *config = NULL;
    char *home = weir_home_directory();
    weir_err err = weir_config_load(NULL, home, client->pairs, client->pair_count, &config, &error);
    if (err)
        fprintf(stderr, "weir: %s\n", error.message);
    weir_config_free(config);
    free(home);
    return err ? EXIT_USAGE : EXIT_DONE;
}

int weir_command_run(struct weir_client *client)
{
    if (check_pairs(client) != EXIT_DONE)
        return EXIT_USAGE;
    if (wants_job_help(client))
        return weir_command_info(client);
    if (client->local)
        return run_local(client);
    int signal_fd = open_signals();
    char id[33] = "";
    int exit_code = submit(client, id);
    if (exit_code != EXIT_DONE)
        return exit_code;
    if (client->detached && client->json) {
        json_t *reply = json_pack("{s:s}", "jobid", id);
        weir_client_print_json(reply);
        json_decref(reply);
    } else if (client->detached) {
        printf("%s\n", id);
    } else {
        fprintf(stderr, "weir: job %s submitted to %s\n", id, weir_client_address(client));
        exit_code = follow(client, id, signal_fd);
    }
    close(signal_fd);
    return exit_code;
}

weir_err weir_client_build_graph(const struct weir_local_job *job, const struct weir_config *config, uint8_t **graph,
                                 size_t *graph_size, struct weir_error *error)
{
    char *binary = weir_client_binary("weir-taskmanager");
    struct weir_job_build build = {
        .binary = binary,
        .path = job->path,
        .name = job->name,
        .parallelism = job->parallelism,
        .arguments = (const char *const *)job->arguments,
        .argument_count = job->argument_count,
        .timeout_ms = weir_config_int(config, "job.build.timeout"),
        .memory_bytes = weir_config_int(config, "job.build.memory"),
        .files_max = (int)weir_config_int(config, "job.build.max-open-files"),
        .configuration = job->overrides,
        .configuration_count = job->override_count,
    };
    char *help = NULL;
    build.help = &help;
    weir_err err = weir_job_build(&build, graph, graph_size, error);
    if (err == WEIR_ERR_CANCELED && help) {
        fputs(help, stdout);
        fflush(stdout);
        exit(EXIT_DONE);
    }
    free(help);
    free(binary);
    return err;
}

/* `weir run job.so --help`: the job's arguments, found without a cluster. */
static bool wants_job_help(const struct weir_client *client)
{
    for (int i = 1; i < client->argument_count; i++)
        if (strcmp(client->arguments[i], "--help") == 0)
            return true;
    return false;
}

static void print_plan(const struct weir_plan *plan)
{
    printf("%s: %d operators in %d tasks' chains, %d subtasks, %d slots needed, %d region%s\n", plan->graph->name,
           plan->op_count, plan->vertex_count, plan->task_count, plan->slots_needed, plan->region_count,
           plan->region_count == 1 ? "" : "s");
    for (int i = 0; i < plan->vertex_count; i++) {
        const struct weir_plan_vertex *vertex = &plan->vertices[i];
        printf("  [%d] %s (parallelism %d)\n", i, vertex->name, vertex->parallelism);
        for (int k = 0; k < vertex->output_count; k++) {
            const struct weir_plan_edge *edge = &plan->edges[vertex->outputs[k]];
            static const char *const names[] = {"FORWARD", "HASH", "REBALANCE", "BROADCAST", "ON_DEMAND"};
            printf("      -> [%d] %s\n", edge->to_vertex, names[edge->partition]);
        }
    }
}

int weir_command_info(struct weir_client *client)
{
    struct weir_error error;
    struct weir_config *config = NULL;
    struct weir_plan *plan = NULL;
    uint8_t *graph = NULL;
    size_t size = 0;
    char *home = weir_home_directory();
    struct weir_local_job job = {
        .path = client->arguments[0],
        .name = client->name,
        .parallelism = client->parallelism,
        .arguments = client->arguments + 1,
        .argument_count = client->argument_count - 1,
    };
    weir_err err = weir_config_load(NULL, home, client->pairs, client->pair_count, &config, &error);
    if (!err && access(job.path, R_OK) != 0)
        err = weir_fail_errno(&error, WEIR_ERR_NOT_FOUND, "cannot open the job %s", job.path);
    if (!err)
        err = weir_client_build_graph(&job, config, &graph, &size, &error);
    if (!err) {
        struct weir_plan_options options = {
            .parallelism =
                client->parallelism ? client->parallelism : (int)weir_config_int(config, "parallelism.default"),
            .max_parallelism = (int)weir_config_int(config, "pipeline.max-parallelism"),
            .chaining = weir_config_int(config, "pipeline.operator-chaining.enabled") != 0,
        };
        err = weir_plan_build(graph, size, &options, &plan, &error);
    }
    if (err) {
        fprintf(stderr, "weir: %s\n", error.message);
    } else if (client->json) {
        json_t *json = weir_plan_json(plan, "00000000000000000000000000000000");
        weir_client_print_json(json);
        json_decref(json);
    } else {
        print_plan(plan);
    }
    if (plan)
        weir_plan_free(plan);
    weir_config_free(config);
    free(graph);
    free(home);
    return err == WEIR_OK ? EXIT_DONE : err == WEIR_ERR_NOT_FOUND ? EXIT_NOT_FOUND : EXIT_FAILED;
}
