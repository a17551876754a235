/* info: the plan of a job, and a job's own --help. The graph is built in a child process. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client_int.h"
#include "graph/build_client.h"
#include "graph/plan.h"

char *weir_client_binary(const char *name)
{
    char self[4096];
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    if (size > 0) {
        self[size] = 0;
        char *slash = strrchr(self, '/');
        if (slash) {
            *slash = 0;
            char *path = weir_format("%s/%s", self, name);
            if (access(path, X_OK) == 0)
                return path;
            free(path);
        }
    }
    return weir_strdup(name);
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
    if (err == WEIR_ERR_CANCELED && help)
        fputs(help, stdout);
    free(help);
    free(binary);
    return err;
}

static void print_plan(const struct weir_plan *plan)
{
    printf("%s: %d operators in %d tasks' chains, %d subtasks, %d slot%s needed, %d region%s\n", plan->graph->name,
           plan->op_count, plan->vertex_count, plan->task_count, plan->slots_needed, plan->slots_needed == 1 ? "" : "s",
           plan->region_count, plan->region_count == 1 ? "" : "s");
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

static weir_err plan_of(struct weir_client *client, const struct weir_config *config, struct weir_plan **plan,
                        struct weir_error *error)
{
    uint8_t *graph = NULL;
    size_t size = 0;
    struct weir_local_job job = {
        .path = client->arguments[0],
        .name = client->name,
        .parallelism = client->parallelism,
        .arguments = client->arguments + 1,
        .argument_count = client->argument_count - 1,
        .overrides = client->pairs,
        .override_count = client->pair_count,
    };
    if (access(job.path, R_OK) != 0)
        return weir_fail_errno(error, WEIR_ERR_NOT_FOUND, "cannot open the job %s", job.path);
    weir_err err = weir_client_build_graph(&job, config, &graph, &size, error);
    if (!err) {
        int given = client->parallelism;
        struct weir_plan_options options = {
            .parallelism = given ? given : (int)weir_config_int(config, "parallelism.default"),
            .max_parallelism = (int)weir_config_int(config, "pipeline.max-parallelism"),
            .chaining = weir_config_int(config, "pipeline.operator-chaining.enabled") != 0,
        };
        err = weir_plan_build(graph, size, &options, plan, error);
    }
    free(graph);
    return err;
}

int weir_command_info(struct weir_client *client)
{
    struct weir_error error;
    struct weir_config *config;
    struct weir_plan *plan = NULL;
    int exit_code = weir_client_config(client, client->config, &config);
    if (exit_code != EXIT_DONE)
        return exit_code;
    weir_err err = plan_of(client, config, &plan, &error);
    if (err == WEIR_ERR_CANCELED) { /* --help, which was printed */
        exit_code = EXIT_DONE;
    } else if (err) {
        exit_code = weir_client_fail(client, err == WEIR_ERR_NOT_FOUND ? EXIT_NOT_FOUND : EXIT_FAILED, NULL, "%s",
                                     error.message);
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
    return exit_code;
}
