#include "jobmanager/io/daemon.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/daemon.h"
#include "base/log.h"
#include "base/notify.h"
#include "base/secret.h"
#include "jobmanager/io/view.h"
#include "jobmanager/rest/rest.h"

/* The epoch that the directory's newest JobManager took; 0: none. */
static uint64_t read_leader_epoch(const char *data_directory)
{
    uint64_t epoch = 0;
    char *path = weir_format("%s/leader-epoch", data_directory);
    FILE *file = fopen(path, "re");
    if (file && fscanf(file, "%" SCNu64, &epoch) != 1)
        epoch = 0;
    if (file)
        fclose(file);
    free(path);
    return epoch;
}

static bool epoch_exists(void *arg, uint64_t epoch)
{
    const struct weir_daemon *daemon = arg;
    return read_leader_epoch(daemon->data_directory) >= epoch;
}

/* Greater than that of every earlier JobManager that used this directory, and, by the clock, than those that did not. */
static weir_err next_leader_epoch(const char *data_directory, uint64_t *epoch, struct weir_error *error)
{
    char *path = weir_format("%s/leader-epoch", data_directory);
    char *part = weir_format("%s.part", path);
    uint64_t last = read_leader_epoch(data_directory);
    weir_err err = WEIR_OK;
    *epoch = (uint64_t)weir_clock_wall_ms();
    if (*epoch <= last)
        *epoch = last + 1;
    FILE *file = fopen(part, "we");
    if (!file || fprintf(file, "%" PRIu64 "\n", *epoch) < 0 || fflush(file) != 0 || fsync(fileno(file)) != 0)
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot write %s", part);
    if (file)
        fclose(file);
    if (!err && rename(part, path) != 0)
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot write %s", path);
    free(path);
    free(part);
    return err;
}

/* weir-taskmanager beside this binary; it builds the graphs. */
static char *find_taskmanager(void)
{
    char self[4096];
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    self[size > 0 ? size : 0] = 0;
    char *slash = strrchr(self, '/');
    if (!slash)
        return weir_strdup("weir-taskmanager");
    *slash = 0;
    return weir_format("%s/weir-taskmanager", self);
}

static int port_of(const char *endpoint)
{
    const char *colon = strrchr(endpoint, ':');
    return colon ? atoi(colon + 1) : 0;
}

static weir_err serve(struct weir_daemon *daemon, struct weir_jobmanager *jobmanager, bool curve_on, const char *code,
                      struct weir_error *error)
{
    const char *upload_dir = weir_config_string(daemon->config, "web.upload.dir");
    char *jars = upload_dir && *upload_dir ? weir_strdup(upload_dir) : weir_format("%s/jars", daemon->data_directory);
    char *binary = find_taskmanager();
    const char *log = weir_config_string(daemon->config, "log.file");
    const char *slash = log ? strrchr(log, '/') : NULL;
    struct weir_jobmanager_view view = {
        .jobmanager = jobmanager,
        .config = daemon->config,
        .taskmanager_binary = binary,
        .log_directory = daemon->log_directory,
    };
    weir_jobmanager_view_init(&view);
    struct weir_rest_options options = {
        .view = &view.view,
        .config = daemon->config,
        .upload_dir = jars,
        .code_dir = code,
        .log_dir = daemon->log_directory,
        .log_name = slash ? slash + 1 : NULL,
    };
    struct weir_rest *rest = NULL;
    weir_err err = weir_rest_start(&options, &rest, error);
    if (!err) {
        char fields[256];
        snprintf(fields, sizeof fields, "\"rest_port\": %d, \"rpc_port\": %d, \"rest_address\": \"%s\"%s",
                 weir_rest_port(rest), port_of(weir_jobmanager_endpoint(jobmanager)),
                 weir_config_string(daemon->config, "rest.bind-address"),
                 weir_rest_tls(rest) ? ", \"rest_tls\": true" : "");
        weir_log(INFO, "JobManager listens on %s (%s), REST on port %d (%s)", weir_jobmanager_endpoint(jobmanager),
                 curve_on ? "CURVE" : "no keys", weir_rest_port(rest), weir_rest_security(rest));
        err = weir_daemon_ready(daemon, fields, error);
        if (!err)
            weir_notify("READY=1\nSTATUS=accepts jobs");
    }
    if (!err)
        err = weir_jobmanager_run(jobmanager, error);
    weir_log(INFO, "JobManager stops");
    weir_rest_stop(rest);
    free(jars);
    free(binary);
    return err;
}

int weir_jobmanager_main(int argc, char **argv)
{
    struct weir_daemon daemon;
    int exit_code;
    if (!weir_daemon_init(&daemon, "weir-jobmanager", "jobmanager", argc, argv, &exit_code))
        return exit_code;
    struct weir_error error;
    struct weir_jobmanager *jobmanager = NULL;
    struct weir_curve curve = {.on = false};
    uint64_t epoch = 0;
    char *checkpoints = weir_format("%s/checkpoints", daemon.data_directory);
    char *code = weir_format("%s/job-code", daemon.data_directory);
    char *endpoint = weir_format("tcp://%s:%d", weir_config_string(daemon.config, "jobmanager.bind-host"),
                                 (int)weir_config_int(daemon.config, "jobmanager.rpc.port"));
    weir_err err = weir_config_check_bind(daemon.config, "jobmanager.bind-host", &error);
    if (!err)
        err = weir_curve_of_jobmanager(daemon.config, &curve, &error);
    if (curve.on)
        weir_core_disable();
    if (!err)
        err = next_leader_epoch(daemon.data_directory, &epoch, &error);
    if (!err) {
        struct weir_jobmanager_options options = {
            .rpc_endpoint = endpoint,
            .curve = &curve,
            .config = daemon.config,
            .checkpoint_dir = checkpoints,
            .code_dir = code,
            .recovers = true,
            .leader_epoch = epoch,
            .stop_fd = daemon.stop_fd,
            .epoch_exists = epoch_exists,
            .arg = &daemon,
        };
        err = weir_jobmanager_new(&options, &jobmanager, &error);
    }
    if (!err)
        err = serve(&daemon, jobmanager, curve.on, code, &error);
    if (err) {
        weir_log(ERROR, "%s", error.message);
        fprintf(stderr, "weir-jobmanager: %s\n", error.message);
    }
    weir_jobmanager_free(jobmanager);
    weir_curve_fini(&curve);
    free(endpoint);
    free(checkpoints);
    free(code);
    weir_daemon_fini(&daemon);
    return err == WEIR_OK ? 0 : err == WEIR_ERR_INVALID ? 2 : 1;
}
