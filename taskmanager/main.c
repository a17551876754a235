/* weir-taskmanager: the supervisor; and, by its first argument, what it execs: an executor, the child that builds a job's graph, or the
 * child that publishes output by a connector of the job. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/daemon.h"
#include "base/init.h"
#include "base/log.h"
#include "base/notify.h"
#include "base/secret.h"
#include "executor/build_job.h"
#include "executor/executor.h"
#include "expr/expr.h"
#include "ops/document.h"
#include "http/tokens.h"
#include "taskmanager/io/job_output.h"
#include "taskmanager/io/own_host.h"
#include "taskmanager/io/status.h"
#include "taskmanager/io/supervisor.h"

#define CONTROL_FD 3
#define ARGUMENTS_MAX 24
#define EXECUTOR_MMAP_THRESHOLD \
    (4 \
     << 20) /* it unpacks batches of a MB or two all the time: new pages for each cost as much as the rest of reading them */

static weir_err say_ready(void *arg, const char *taskmanager_id, struct weir_error *error)
{
    char fields[128];
    snprintf(fields, sizeof fields, "\"id\": \"%s\"", taskmanager_id);
    weir_err err = weir_daemon_ready(arg, fields, error);
    if (err)
        return err;
    char *status = weir_format("STATUS=registered at the JobManager as %s", taskmanager_id);
    weir_notify(status);
    free(status);
    return WEIR_OK;
}

/* To a service manager it is ready before it is registered: the JobManager may be started later, and on another host. */
static void say_started(const struct weir_supervisor_options *options)
{
    char *status = weir_format("READY=1\nSTATUS=looks for the JobManager at %s", options->rpc_endpoint);
    weir_notify(status);
    free(status);
}

static int run_executor(int argc, char **argv)
{
    struct weir_daemon daemon;
    int exit_code;
    if (!weir_daemon_init(&daemon, "weir-executor", "executor", argc, argv, &exit_code))
        return exit_code;
    weir_core_restore(); /* its keys are worth nothing once it has ended, and a core of user code is wanted */
    mallopt(M_MMAP_THRESHOLD, EXECUTOR_MMAP_THRESHOLD);
    exit_code = weir_executor_run(CONTROL_FD);
    weir_daemon_fini(&daemon);
    return exit_code;
}

/* How this process logs, for its executors: they do not see its command line. */
static void executor_arguments(const struct weir_daemon *daemon, char **arguments)
{
    static const char *const keys[] = {"log.format", "log.level", "log.file.max-size", "log.file.max-count",
                                       "testing.fault-points"};
    int count = 0;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        arguments[count++] = weir_strdup("-D");
        arguments[count++] = weir_format("%s=%s", keys[i], weir_config_string(daemon->config, keys[i]));
    }
}

/* "auto", or a size; the configuration was checked. */
static int64_t executor_memory(const struct weir_config *config)
{
    int64_t bytes = 0;
    const char *text = weir_config_string(config, "taskmanager.executor.memory");
    if (strcmp(text, "auto") == 0)
        return WEIR_SUPERVISOR_MEMORY_AUTO;
    return weir_parse_size(text, &bytes) ? bytes : 0;
}

/* "tcp://" and "http://" want brackets around an IPv6 address. */
static char *endpoint_of(const char *scheme, const char *host, int64_t port)
{
    bool bare_ipv6 = strchr(host, ':') && host[0] != '[';
    return weir_format(bare_ipv6 ? "%s://[%s]:%d" : "%s://%s:%d", scheme, host, (int)port);
}

/* Read for each use; here so that a mistake is said at the start and not with the first job. */
static weir_err check_token(const struct weir_config *config, struct weir_error *error)
{
    static const char key[] = "security.rest.token-file";
    const char *path = weir_config_string(config, key);
    char *token = NULL;
    weir_err err = path ? weir_token_read(key, path, &token, error) : WEIR_OK;
    weir_secret_free(token);
    return err;
}

static int run_supervisor(int argc, char **argv)
{
    struct weir_daemon daemon;
    int exit_code;
    if (!weir_daemon_init(&daemon, "weir-taskmanager", "taskmanager", argc, argv, &exit_code))
        return exit_code;
    struct weir_error error;
    int port_first = 0, port_last = 0;
    char host[WEIR_HOST_SIZE];
    struct weir_curve curve = {.on = false};
    const char *jobmanager = weir_config_string(daemon.config, "jobmanager.rpc.address");
    const char *bind_host = weir_config_string(daemon.config, "taskmanager.bind-host");
    const char *ports = weir_config_string(daemon.config, "taskmanager.data.port");
    int64_t rpc_port = weir_config_int(daemon.config, "jobmanager.rpc.port");
    weir_err err = weir_config_check_bind(daemon.config, "taskmanager.bind-host", &error);
    if (!err)
        err = weir_curve_of_taskmanager(daemon.config, &curve, &error);
    if (!err)
        err = check_token(daemon.config, &error);
    if (curve.on)
        weir_core_disable();
    if (!err && !weir_config_parse_ports(ports, &port_first, &port_last))
        err = weir_fail(&error, WEIR_ERR_INVALID, "taskmanager.data.port: '%s' is no port or range of ports", ports);
    if (!err && (!jobmanager || !*jobmanager))
        err = weir_fail(&error, WEIR_ERR_INVALID, "'jobmanager.rpc.address' must not be empty");
    if (!err)
        err = weir_own_host(weir_config_string(daemon.config, "taskmanager.host"), bind_host, jobmanager, (int)rpc_port,
                            daemon.stop_fd, host, &error);
    int status_fd = -1;
    if (!err)
        err = weir_status_listen(daemon.run_directory, daemon.name, &status_fd, &error);
    if (!err) {
        char *arguments[ARGUMENTS_MAX] = {0};
        executor_arguments(&daemon, arguments);
        const char *log_file = weir_config_string(daemon.config, "log.file");
        bool https = weir_config_int(daemon.config, "security.ssl.rest.enabled") != 0;
        struct weir_supervisor_options options = {
            .rpc_endpoint = endpoint_of("tcp", jobmanager, rpc_port),
            .rest_url = endpoint_of(https ? "https" : "http", jobmanager, weir_config_int(daemon.config, "rest.port")),
            .rest_token_file = weir_config_string(daemon.config, "security.rest.token-file"),
            .rest_ca_file = weir_config_string(daemon.config, "security.ssl.rest.ca-file"),
            .curve = &curve,
            .host = host,
            .bind_host = bind_host,
            .name = daemon.name,
            .run_directory = daemon.run_directory,
            .log_directory = daemon.log_directory,
            .code_directory = weir_format("%s/code", daemon.data_directory),
            .state_directory = weir_format("%s/state/%s", daemon.data_directory, daemon.name),
            .local_directory = weir_format("%s/local/%s", daemon.data_directory, daemon.name),
            .local_size_max = weir_config_int(daemon.config, "taskmanager.state.local.max-size"),
            .slots = (uint32_t)weir_config_int(daemon.config, "taskmanager.numberOfTaskSlots"),
            .port_first = (uint32_t)port_first,
            .port_last = (uint32_t)port_last,
            .executor_memory_max = executor_memory(daemon.config),
            .executor_silence_ms = weir_config_int(daemon.config, "taskmanager.executor.silence-timeout"),
            .output_size_max = weir_config_int(daemon.config, "log.file.max-size"),
            .output_inherited = !log_file || !*log_file,
            .stop_fd = daemon.stop_fd,
            .status_fd = status_fd,
            .config = daemon.config,
            .executor_arguments = arguments,
            .registered = say_ready,
            .arg = &daemon,
        };
        say_started(&options);
        err = weir_supervisor_run(&options, &error);
        free((char *)options.rpc_endpoint);
        free((char *)options.rest_url);
        free((char *)options.code_directory);
        free((char *)options.state_directory);
        free((char *)options.local_directory);
        for (int i = 0; i < ARGUMENTS_MAX; i++)
            free(arguments[i]);
    }
    weir_status_close(daemon.run_directory, daemon.name, status_fd);
    if (err)
        fprintf(stderr, "weir-taskmanager: %s\n", error.message);
    weir_curve_fini(&curve);
    weir_daemon_fini(&daemon);
    return err == WEIR_OK ? 0 : err == WEIR_ERR_INVALID ? 2 : 1;
}

/* A generated document on standard output: docs/connectors.md, docs/functions.md. */
static int print_document(weir_err (*document)(struct weir_buf *out, struct weir_error *error))
{
    struct weir_buf text;
    struct weir_error error;
    weir_buf_init(&text, (size_t)1 << 20);
    if (document(&text, &error)) {
        fprintf(stderr, "weir-taskmanager: %s\n", error.message);
        weir_buf_fini(&text);
        return 1;
    }
    fwrite(text.data, 1, text.size, stdout);
    weir_buf_fini(&text);
    return fflush(stdout) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--print-connectors") == 0)
        return print_document(weir_connectors_document);
    if (argc == 2 && strcmp(argv[1], "--print-functions") == 0)
        return print_document(weir_expr_document);
    if (argc > 1 && strcmp(argv[1], "executor") == 0)
        return run_executor(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "build-job") == 0)
        return weir_build_job_main(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "job-output") == 0)
        return weir_job_output_main(argc - 1, argv + 1);
    weir_init_if_first();
    return run_supervisor(argc, argv);
}
