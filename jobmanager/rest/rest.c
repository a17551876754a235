/* The REST interface: start and stop, the table of routes, and what concerns the cluster as a whole. Jobs are in rest_jobs.c,
 * uploads in rest_jars.c, TaskManagers and logs in rest_taskmanagers.c, Prometheus text in rest_metrics.c. */
#include "jobmanager/rest/rest.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/secret.h"
#include "jobmanager/rest/rest_int.h"

#define TOKEN_KEY "security.rest.token-file"
#define REFUSED_INTERVAL_MS 5000

const char *const weir_view_job_state_names[WEIR_VIEW_JOB_STATES] = {
    "INITIALIZING", "CREATED",  "RUNNING",    "FAILING",   "FAILED",      "CANCELLING",
    "CANCELED",     "FINISHED", "RESTARTING", "SUSPENDED", "RECONCILING",
};
const char *const weir_view_task_state_names[WEIR_VIEW_TASK_STATES] = {
    "CREATED",  "SCHEDULED", "DEPLOYING", "INITIALIZING", "RUNNING",
    "FINISHED", "CANCELING", "CANCELED",  "FAILED",       "RECONCILING",
};

/* --- Helpers */

bool weir_rest_parse_id(const char *text, const char *what, char out[33], struct weir_http_server_response *response)
{
    bool ok = strlen(text) == 32;
    for (int i = 0; ok && i < 32; i++) {
        ok = isxdigit((unsigned char)text[i]);
        out[i] = (char)tolower((unsigned char)text[i]);
    }
    out[32] = 0;
    if (!ok)
        weir_http_fail(
            response, 400,
            "Bad request, could not parse parameters: Cannot resolve path parameter (%s) from value \"%.100s\".", what,
            text);
    return ok;
}

void weir_rest_no_job(const struct weir_http_server_request *request, struct weir_http_server_response *response,
                      const char *what, const char *id)
{
    const struct weir_cluster_view *view = weir_rest_view(request);
    if (view->knows_all_jobs(view->self))
        weir_http_fail(response, 404, "%sJob %s not found", what, id);
    else
        weir_http_fail(response, 503, "Job %s is not known yet: %s", id, WEIR_REST_READING);
}

const struct weir_view_job *weir_rest_find_job(const struct weir_http_server_request *request,
                                               struct weir_http_server_response *response, int parts,
                                               struct weir_arena *arena)
{
    char id[33];
    const struct weir_view_job *job = NULL;
    const struct weir_cluster_view *view = weir_rest_view(request);
    if (!weir_rest_parse_id(request->params[0], "jobid", id, response))
        return NULL;
    if (!view->job(view->self, id, parts, arena, &job)) {
        weir_rest_no_job(request, response, "", id);
        return NULL;
    }
    return job;
}

void weir_rest_fail(struct weir_http_server_response *response, const struct weir_error *error)
{
    weir_http_fail(response, weir_http_status_of(error->code), "%s", error->message);
}

json_t *weir_rest_string(const char *text)
{
    json_t *json = json_string(text);
    if (json)
        return json;
    char *copy = weir_strdup(text); /* names and messages may quote bytes that are not UTF-8 */
    for (char *c = copy; *c; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    json = json_string(copy);
    free(copy);
    return json;
}

weir_err weir_rest_random_id(char out[33], struct weir_error *error)
{
    uint8_t bytes[16];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot get random numbers");
    for (int i = 0; i < 16; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    return WEIR_OK;
}

bool weir_rest_job_ended(enum weir_view_job_state state)
{
    return state == WEIR_VIEW_JOB_FAILED || state == WEIR_VIEW_JOB_CANCELED || state == WEIR_VIEW_JOB_FINISHED;
}

/* --- The cluster */

static void overview(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    const struct weir_cluster_view *view = weir_rest_view(request);
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_job *jobs = NULL;
    const struct weir_view_taskmanager *tms = NULL;
    int job_count = 0, tm_count = 0, slots = 0, slots_free = 0;
    int running = 0, finished = 0, canceled = 0, failed = 0;
    view->jobs(view->self, &arena, &jobs, &job_count);
    view->taskmanagers(view->self, &arena, &tms, &tm_count);
    for (int i = 0; i < tm_count; i++) {
        slots += tms[i].slots;
        slots_free += tms[i].slots_free;
    }
    for (int i = 0; i < job_count; i++) {
        finished += jobs[i].state == WEIR_VIEW_JOB_FINISHED;
        canceled += jobs[i].state == WEIR_VIEW_JOB_CANCELED;
        failed += jobs[i].state == WEIR_VIEW_JOB_FAILED;
        running += !weir_rest_job_ended(jobs[i].state);
    }
    weir_http_json(response, 200,
                   json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:s, s:s}", "taskmanagers", tm_count,
                             "taskmanagers-blocked", 0, "slots-total", slots, "slots-available", slots_free,
                             "slots-free-and-blocked", 0, "jobs-running", running, "jobs-finished", finished,
                             "jobs-cancelled", canceled, "jobs-failed", failed, "flink-version",
                             WEIR_REST_FLINK_VERSION, "flink-commit", "weir-" WEIR_VERSION, "weir-version",
                             WEIR_VERSION));
    weir_arena_fini(&arena);
}

static void config(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    const struct weir_rest *rest = request->arg;
    const struct weir_config *c = rest->options.config;
    time_t now = time(NULL);
    struct tm tm;
    localtime_r(&now, &tm);
    weir_http_json(response, 200,
                   json_pack("{s:I, s:s, s:i, s:s, s:s, s:s, s:b, s:{s:b, s:b, s:b, s:b}}", "refresh-interval",
                             (json_int_t)weir_config_int(c, "web.refresh-interval"), "timezone-name", tm.tm_zone,
                             "timezone-offset", (int)tm.tm_gmtoff * 1000, "flink-version", WEIR_REST_FLINK_VERSION,
                             "flink-revision", "weir-" WEIR_VERSION, "weir-version", WEIR_VERSION, "weir-insecure",
                             weir_config_int(c, "security.insecure") && !rest->tokens, "features", "web-submit",
                             (int)weir_config_int(c, "web.submit.enable"), "web-cancel",
                             (int)weir_config_int(c, "web.cancel.enable"), "web-rescale", 0, "web-history", 0));
}

static void jobmanager_config(const struct weir_http_server_request *request,
                              struct weir_http_server_response *response)
{
    const struct weir_rest *rest = request->arg;
    json_t *list = json_array();
    for (const struct weir_option *o = weir_config_table; o->name; o++) {
        const char *value = weir_config_string(rest->options.config, o->name);
        if (!value)
            continue;
        json_array_append_new(list,
                              json_pack("{s:s, s:o, s:o}", "key", o->name, "value",
                                        weir_rest_string(weir_config_is_secret(o->name) ? "******" : value), "origin",
                                        weir_rest_string(weir_config_origin(rest->options.config, o->name))));
    }
    weir_http_json(response, 200, list);
}

static void environment(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    (void)request;
    struct utsname name;
    uname(&name);
    weir_http_json(response, 200,
                   json_pack("{s:{s:s, s:s, s:[]}, s:[]}", "jvm", "version", "weir " WEIR_VERSION, "arch", name.machine,
                             "options", "classpath"));
}

/* For probes: that this process answers, nothing else. */
static void health(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    (void)request;
    weir_http_json(response, 200, json_pack("{s:s}", "status", "ok"));
}

static void datasets(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    (void)request;
    weir_http_json(response, 200, json_pack("{s:[]}", "dataSets"));
}

static void page(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    (void)request;
    response->content_type = "text/html; charset=UTF-8";
    response->no_store = true;
    if (!weir_buf_append(&response->body, weir_rest_page_start, (size_t)(weir_rest_page_end - weir_rest_page_start)))
        weir_http_fail(response, 500, "The page is too large.");
}

/* --- Routes */

static const struct weir_http_route routes[] = {
    {"GET", "/", page, WEIR_HTTP_OPEN}, /* the page itself: it asks for the token */
    {"GET", "/index.html", page, WEIR_HTTP_OPEN},
    {"GET", "/weir/health", health, WEIR_HTTP_OPEN},
    {"GET", "/overview", overview, 0},
    {"GET", "/config", config, 0},
    {"GET", "/datasets", datasets, 0},
    {"GET", "/metrics", weir_rest_metrics, 0},
    {"GET", "/jobmanager/config", jobmanager_config, 0},
    {"GET", "/jobmanager/environment", environment, 0},
    {"GET", "/jobmanager/logs", weir_rest_jobmanager_logs, 0},
    {"GET", "/jobmanager/logs/:file", weir_rest_jobmanager_log_file, 0},
    {"GET", "/jobmanager/log", weir_rest_jobmanager_log, 0},
    {"GET", "/taskmanagers", weir_rest_taskmanagers, 0},
    {"GET", "/taskmanagers/:taskmanagerid", weir_rest_taskmanager, 0},
    {"GET", "/taskmanagers/:taskmanagerid/logs", weir_rest_taskmanager_logs, 0},
    {"GET", "/taskmanagers/:taskmanagerid/logs/:file", weir_rest_taskmanager_log_file, 0},
    {"GET", "/taskmanagers/:taskmanagerid/log", weir_rest_taskmanager_log, 0},
    {"GET", "/jobs", weir_rest_jobs, 0},
    {"POST", "/jobs", weir_rest_job_submit, WEIR_HTTP_UPLOAD | WEIR_HTTP_BLOCKING},
    {"GET", "/jobs/overview", weir_rest_jobs_overview, 0},
    {"GET", "/jobs/:jobid", weir_rest_job, 0},
    {"PATCH", "/jobs/:jobid", weir_rest_job_cancel, WEIR_HTTP_BLOCKING},
    {"GET", "/jobs/:jobid/yarn-cancel", weir_rest_job_yarn_cancel, WEIR_HTTP_BLOCKING | WEIR_HTTP_CHANGES},
    {"GET", "/jobs/:jobid/plan", weir_rest_job_plan, 0},
    {"GET", "/jobs/:jobid/config", weir_rest_job_config, 0},
    {"GET", "/jobs/:jobid/exceptions", weir_rest_job_exceptions, 0},
    {"GET", "/jobs/:jobid/status", weir_rest_job_status, 0},
    {"GET", "/jobs/:jobid/execution-result", weir_rest_job_result, 0},
    {"GET", "/jobs/:jobid/accumulators", weir_rest_job_accumulators, 0},
    {"GET", "/jobs/:jobid/vertices/:vertexid", weir_rest_vertex, 0},
    {"GET", "/jobs/:jobid/vertices/:vertexid/subtasktimes", weir_rest_vertex_subtasktimes, 0},
    {"GET", "/jobs/:jobid/vertices/:vertexid/accumulators", weir_rest_vertex_accumulators, 0},
    {"GET", "/jobs/:jobid/vertices/:vertexid/subtasks/accumulators", weir_rest_vertex_subtask_accumulators, 0},
    {"GET", "/jobs/:jobid/vertices/:vertexid/subtasks/:subtaskindex", weir_rest_subtask, 0},
    {"GET", "/jobs/:jobid/vertices/:vertexid/taskmanagers", weir_rest_vertex_taskmanagers, 0},
    {"GET", "/jobs/:jobid/vertices/:vertexid/watermarks", weir_rest_vertex_watermarks, 0},
    {"GET", "/jobs/:jobid/checkpoints", weir_rest_checkpoints, 0},
    {"POST", "/jobs/:jobid/checkpoints", weir_rest_checkpoint_begin, WEIR_HTTP_BLOCKING},
    {"GET", "/jobs/:jobid/checkpoints/config", weir_rest_checkpoint_config, 0},
    {"GET", "/jobs/:jobid/checkpoints/details/:checkpointid", weir_rest_checkpoint, 0},
    {"GET", "/jobs/:jobid/checkpoints/details/:checkpointid/subtasks/:vertexid", weir_rest_checkpoint_vertex, 0},
    {"GET", "/jobs/:jobid/checkpoints/:triggerid", weir_rest_checkpoint_operation, 0},
    {"POST", "/jobs/:jobid/savepoints", weir_rest_savepoint_begin, WEIR_HTTP_BLOCKING},
    {"GET", "/jobs/:jobid/savepoints/:triggerid", weir_rest_savepoint_operation, 0},
    {"POST", "/jobs/:jobid/stop", weir_rest_job_stop, WEIR_HTTP_BLOCKING},
    {"PATCH", "/jobs/:jobid/rescaling", weir_rest_rescale, WEIR_HTTP_BLOCKING},
    {"GET", "/jobs/:jobid/rescaling/:triggerid", weir_rest_rescale_operation, 0},
    {"GET", "/jobs/:jobid/resource-requirements", weir_rest_requirements, 0},
    {"PUT", "/jobs/:jobid/resource-requirements", weir_rest_requirements_put, WEIR_HTTP_BLOCKING},
    {"POST", "/savepoint-disposal", weir_rest_disposal_begin, WEIR_HTTP_BLOCKING},
    {"GET", "/savepoint-disposal/:triggerid", weir_rest_disposal, 0},
    {"GET", "/jars", weir_rest_jars, 0},
    {"POST", "/jars/upload", weir_rest_jar_upload, WEIR_HTTP_UPLOAD | WEIR_HTTP_BLOCKING},
    {"DELETE", "/jars/:jarid", weir_rest_jar_delete, 0},
    {"POST", "/jars/:jarid/run", weir_rest_jar_run, WEIR_HTTP_BLOCKING},
    {"GET", "/jars/:jarid/plan", weir_rest_jar_plan, WEIR_HTTP_BLOCKING | WEIR_HTTP_CHANGES},
    {"POST", "/jars/:jarid/plan", weir_rest_jar_plan, WEIR_HTTP_BLOCKING},
    {"GET", "/weir/code/:sha256", weir_rest_code, 0},
    {"GET", "/weir/faults", weir_rest_faults, 0},
    {"POST", "/weir/faults", weir_rest_fault_arm, 0},
    {"DELETE", "/weir/faults", weir_rest_faults_reset, 0},
    {NULL, NULL, NULL, 0},
};

/* --- Who may */

static void log_refusal(struct weir_rest *rest, const struct weir_http_server_request *request, const char *client,
                        const char *why)
{
    int64_t now_ms = weir_clock_mono_ms();
    rest->refused++;
    rest->refused_unsaid++;
    if (now_ms < rest->refused_due_ms)
        return;
    weir_log(WARN, "refused %s %.200s from %s: %s (%llu refused since the last such line)", request->method,
             request->path, client, why, (unsigned long long)rest->refused_unsaid);
    rest->refused_unsaid = 0;
    rest->refused_due_ms = now_ms + REFUSED_INTERVAL_MS;
}

static bool authorize(void *arg, const struct weir_http_route *route, const struct weir_http_server_request *request,
                      const char *authorization, const char *client, struct weir_http_server_response *response)
{
    struct weir_rest *rest = arg;
    if (route && route->flags & WEIR_HTTP_OPEN)
        return true;
    enum weir_role role = weir_tokens_role(rest->tokens, authorization);
    if (role == WEIR_ROLE_NONE) {
        const char *why = authorization ? "the token is not one of this cluster's"
                                        : "a token is needed (Authorization: Bearer TOKEN)";
        log_refusal(rest, request, client, why);
        weir_http_fail(response, 401, "Unauthorized: %s.", why);
        return false;
    }
    bool changes = strcmp(request->method, "GET") != 0 || (route && route->flags & WEIR_HTTP_CHANGES);
    if (changes && role < WEIR_ROLE_SUBMIT) {
        log_refusal(rest, request, client, "the token's role is read");
        weir_http_fail(response, 403, "Forbidden: the token's role is read, this needs submit or admin.");
        return false;
    }
    return true;
}

/* --- Start and stop */

static weir_err make_directory(const char *path, struct weir_error *error)
{
    char *copy = weir_strdup(path);
    for (char *slash = copy + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        mkdir(copy, 0755);
        *slash = '/';
    }
    free(copy);
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot make the directory '%s'", path);
    return WEIR_OK;
}

static void free_rest(struct weir_rest *rest)
{
    free((char *)rest->options.upload_dir);
    free((char *)rest->options.code_dir);
    free((char *)rest->options.log_dir);
    free((char *)rest->options.log_name);
    weir_tokens_close(rest->tokens);
    pthread_mutex_destroy(&rest->code_lock);
    free(rest);
}

/* NULL for both: REST is not to use TLS. */
static weir_err read_certificate(const struct weir_config *config, char **certificate, char **key,
                                 struct weir_error *error)
{
    static const char certificate_name[] = "security.ssl.rest.certificate-file";
    static const char key_name[] = "security.ssl.rest.key-file";
    if (!weir_config_int(config, "security.ssl.rest.enabled"))
        return WEIR_OK;
    const char *certificate_path = weir_config_string(config, certificate_name);
    const char *key_path = weir_config_string(config, key_name);
    if (!certificate_path || !key_path)
        return weir_fail(error, WEIR_ERR_INVALID, "'security.ssl.rest.enabled' is true and '%s' is not set",
                         certificate_path ? key_name : certificate_name);
    weir_err err = weir_public_read(certificate_name, certificate_path, certificate, error);
    if (err)
        return err;
    err = weir_secret_read(key_name, key_path, key, error);
    if (err) {
        free(*certificate);
        *certificate = NULL;
    }
    return err;
}

weir_err weir_rest_start(const struct weir_rest_options *options, struct weir_rest **out, struct weir_error *error)
{
    const struct weir_config *c = options->config;
    weir_err err = weir_config_check_bind(c, "rest.bind-address", error);
    if (!err)
        err = make_directory(options->upload_dir, error);
    if (!err)
        err = make_directory(options->code_dir, error);
    if (err)
        return err;
    struct weir_rest *rest = weir_zalloc(sizeof *rest);
    rest->options = *options;
    rest->options.upload_dir = weir_strdup(options->upload_dir);
    rest->options.code_dir = weir_strdup(options->code_dir);
    rest->options.log_dir = options->log_dir ? weir_strdup(options->log_dir) : NULL;
    rest->options.log_name = options->log_name ? weir_strdup(options->log_name) : NULL;
    rest->started_ms = weir_clock_wall_ms();
    pthread_mutex_init(&rest->code_lock, NULL);
    weir_rest_code_clear(rest->options.code_dir);
    const char *token_file = weir_config_string(c, TOKEN_KEY);
    err = token_file ? weir_tokens_open(TOKEN_KEY, token_file, &rest->tokens, error) : WEIR_OK;
    if (err) {
        free_rest(rest);
        return err;
    }
    char *certificate = NULL, *certificate_key = NULL;
    if ((err = read_certificate(c, &certificate, &certificate_key, error))) {
        free_rest(rest);
        return err;
    }
    rest->tls = certificate != NULL;
    struct weir_http_server_options server = {
        .address = weir_config_string(c, "rest.bind-address"),
        .port = (int)weir_config_int(c, "rest.port"),
        .routes = routes,
        .arg = rest,
        .authorize = token_file ? authorize : NULL,
        .certificate = certificate,
        .certificate_key = certificate_key,
        .body_size_max = (size_t)weir_config_int(c, "rest.server.max-content-length"),
        .upload_size_max = weir_config_int(c, "rest.upload-max-size"),
        .upload_dir = rest->options.upload_dir,
        .timeout_ms = (int)weir_config_int(c, "rest.server.timeout"),
        .connections_max = (int)weir_config_int(c, "rest.server.max-connections"),
    };
    err = weir_http_server_start(&server, &rest->server, error);
    free(certificate);
    weir_secret_free(certificate_key);
    if (err) {
        free_rest(rest);
        return weir_wrap(error, "the REST interface (rest.bind-address, rest.port)");
    }
    *out = rest;
    return WEIR_OK;
}

const char *weir_rest_security(const struct weir_rest *rest)
{
    return rest->tokens ? rest->tls ? "TLS and a token" : "a token, no TLS" : rest->tls ? "TLS, no token" : "no token";
}

bool weir_rest_tls(const struct weir_rest *rest)
{
    return rest->tls;
}

int weir_rest_port(const struct weir_rest *rest)
{
    return weir_http_server_port(rest->server);
}

void weir_rest_stop(struct weir_rest *rest)
{
    if (!rest)
        return;
    weir_http_server_stop(rest->server);
    free_rest(rest);
}
