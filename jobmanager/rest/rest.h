/* The JobManager's REST interface: Flink's v1 paths and bodies, and the page at /.
 *
 * It sees the cluster only through cluster_view.h. Threads: those of common/http; nothing here is shared between requests except
 * the options, which are constant.
 */
#ifndef WEIR_JOBMANAGER_REST_REST_H
#define WEIR_JOBMANAGER_REST_REST_H

#include "base/config.h"
#include "base/error.h"
#include "jobmanager/rest/cluster_view.h"

struct weir_rest;

struct weir_rest_options {
    const struct weir_cluster_view *view; /* borrowed */
    const struct weir_config
        *config;            /* borrowed; rest.*, web.*, security.insecure, and all of it for /jobmanager/config */
    const char *upload_dir; /* shared objects as <uuid>_name.so; made when it is not there */
    const char
        *code_dir; /* the same by content: <sha256>.so, for GET /weir/code/:sha256 (TaskManagers fetch it there) */
    const char *log_dir;  /* the JobManager's log files; NULL: none */
    const char *log_name; /* its own log file in log_dir, for /jobmanager/log; NULL: none */
};
/* Binds rest.bind-address:rest.port (weir_config_check_bind() first) and serves. */
weir_err weir_rest_start(const struct weir_rest_options *options, struct weir_rest **rest, struct weir_error *error);
int weir_rest_port(const struct weir_rest *rest);
const char *weir_rest_security(const struct weir_rest *rest); /* in words, for the log */
bool weir_rest_tls(const struct weir_rest *rest);
void weir_rest_stop(struct weir_rest *rest); /* waits for running requests; NULL is allowed */

#endif
