/* weir-taskmanager: the supervisor; and, by its first argument, what it execs: an executor, or the child that builds a job's graph. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/daemon.h"
#include "base/log.h"
#include "executor/build_job.h"
#include "executor/executor.h"
#include "taskmanager/io/supervisor.h"

#define CONTROL_FD 3
#define ARGUMENTS_MAX 24

static void say_ready(void *arg, const char *taskmanager_id)
{
    char fields[128];
    struct weir_error error;
    snprintf(fields, sizeof fields, "\"id\": \"%s\"", taskmanager_id);
    if (weir_daemon_ready(arg, fields, &error) != WEIR_OK)
        weir_log(ERROR, "%s", error.message);
}

static int run_executor(int argc, char **argv)
{
    struct weir_daemon daemon;
    int exit_code;
    if (!weir_daemon_init(&daemon, "weir-executor", "executor", argc, argv, &exit_code))
        return exit_code;
    exit_code = weir_executor_run(CONTROL_FD);
    weir_daemon_fini(&daemon);
    return exit_code;
}

/* The supervisor's own -D pairs that an executor's log needs. */
static void executor_arguments(const struct weir_daemon *daemon, char **arguments)
{
    int count = 0;
    for (int i = 0; i < daemon->override_count && count + 2 < ARGUMENTS_MAX; i++) {
        const struct weir_key_value *pair = &daemon->overrides[i];
        if (strncmp(pair->key, "log.", 4) != 0 || strcmp(pair->key, "log.file") == 0)
            continue;
        arguments[count++] = weir_strdup("-D");
        arguments[count++] = weir_format("%s=%s", pair->key, pair->value);
    }
}

static int run_supervisor(int argc, char **argv)
{
    struct weir_daemon daemon;
    int exit_code;
    if (!weir_daemon_init(&daemon, "weir-taskmanager", "taskmanager", argc, argv, &exit_code))
        return exit_code;
    struct weir_error error;
    int port_first = 0, port_last = 0;
    weir_err err = weir_config_check_bind(daemon.config, "taskmanager.bind-host", &error);
    if (!err &&
        !weir_config_parse_ports(weir_config_string(daemon.config, "taskmanager.data.port"), &port_first, &port_last))
        err = weir_fail(&error, WEIR_ERR_INVALID, "taskmanager.data.port: '%s' is no port or range of ports",
                        weir_config_string(daemon.config, "taskmanager.data.port"));
    if (!err) {
        const char *jobmanager = weir_config_string(daemon.config, "jobmanager.rpc.address");
        char *arguments[ARGUMENTS_MAX] = {NULL};
        executor_arguments(&daemon, arguments);
        struct weir_supervisor_options options = {
            .rpc_endpoint =
                weir_format("tcp://%s:%d", jobmanager, (int)weir_config_int(daemon.config, "jobmanager.rpc.port")),
            .rest_url = weir_format("http://%s:%d", jobmanager, (int)weir_config_int(daemon.config, "rest.port")),
            .host = weir_config_string(daemon.config, "taskmanager.host"),
            .name = daemon.name,
            .run_directory = daemon.run_directory,
            .log_directory = daemon.log_directory,
            .code_directory = weir_format("%s/code", daemon.data_directory),
            .slots = (uint32_t)weir_config_int(daemon.config, "taskmanager.numberOfTaskSlots"),
            .port_first = (uint32_t)port_first,
            .port_last = (uint32_t)port_last,
            .executor_memory_max = weir_config_int(daemon.config, "taskmanager.executor.memory"),
            .output_size_max = weir_config_int(daemon.config, "log.file.max-size"),
            .stop_fd = daemon.stop_fd,
            .executor_arguments = arguments,
            .registered = say_ready,
            .arg = &daemon,
        };
        err = weir_supervisor_run(&options, &error);
        free((char *)options.rpc_endpoint);
        free((char *)options.rest_url);
        free((char *)options.code_directory);
        for (int i = 0; i < ARGUMENTS_MAX; i++)
            free(arguments[i]);
    }
    if (err)
        fprintf(stderr, "weir-taskmanager: %s\n", error.message);
    weir_daemon_fini(&daemon);
    return err == WEIR_OK ? 0 : err == WEIR_ERR_INVALID ? 2 : 1;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "executor") == 0)
        return run_executor(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "build-job") == 0)
        return weir_build_job_main(argc - 1, argv + 1);
    return run_supervisor(argc, argv);
}
