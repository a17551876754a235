/* Between the files of jobmanager/rest only. */
#ifndef WEIR_JOBMANAGER_REST_REST_INT_H
#define WEIR_JOBMANAGER_REST_REST_INT_H

#include <jansson.h>
#include <pthread.h>

#include "http/http_server.h"
#include "http/tokens.h"
#include "jobmanager/rest/rest.h"

#define WEIR_REST_FLINK_VERSION "1.20"
#define WEIR_REST_GRAPH_SIZE_MAX ((size_t)16 << 20) /* as WEIR_GRAPH_SIZE_MAX */

struct weir_rest {
    struct weir_rest_options options; /* strings owned */
    struct weir_http_server *server;
    pthread_mutex_t code_lock; /* one at a time stores or collects in code_dir */
    int64_t started_ms;
    bool tls;
    struct weir_tokens *tokens; /* NULL: none is wanted. With the two below: the server's thread */
    int64_t refused_due_ms;     /* when the next refusal may be logged */
    uint64_t refused_unsaid;
    _Atomic uint64_t refused; /* requests without a token that allows them */
};

static inline const struct weir_cluster_view *weir_rest_view(const struct weir_http_server_request *request)
{
    return ((const struct weir_rest *)request->arg)->options.view;
}

/* Takes and checks ":jobid"; the response is a 400 when it is none. `out` has room for 33 bytes. */
bool weir_rest_parse_id(const char *text, const char *what, char out[33], struct weir_http_server_response *response);
#define WEIR_REST_READING "the JobManager has just begun, and is reading the jobs of the checkpoint storage; ask again"
/* 404, after `what`; 503 while the JobManager has not read all jobs of its storage: this one may be among them. */
void weir_rest_no_job(const struct weir_http_server_request *request, struct weir_http_server_response *response,
                      const char *what, const char *id);
/* The job with the parts, in the arena; NULL: the response is the error. */
const struct weir_view_job *weir_rest_find_job(const struct weir_http_server_request *request,
                                               struct weir_http_server_response *response, int parts,
                                               struct weir_arena *arena);
/* A response from a failed call. */
void weir_rest_fail(struct weir_http_server_response *response, const struct weir_error *error);
/* A string that is always valid JSON. */
json_t *weir_rest_string(const char *text);
/* 32 hex digits that nobody guesses. */
weir_err weir_rest_random_id(char out[33], struct weir_error *error);
bool weir_rest_job_ended(enum weir_view_job_state state);
/* rest_vertices.c: from start to end, or to now while end_ms is -1; never negative. */
json_int_t weir_rest_duration_ms(int64_t start_ms, int64_t end_ms, int64_t now_ms);
/* rest_vertices.c: as it stands in a job's "vertices". */
json_t *weir_rest_vertex_json(const struct weir_view_job *job, const struct weir_view_vertex *vertex, int64_t now_ms);

weir_http_handler weir_rest_jobs, weir_rest_jobs_overview, weir_rest_job, weir_rest_job_plan, weir_rest_job_config,
    weir_rest_job_exceptions, weir_rest_job_status, weir_rest_job_result, weir_rest_job_accumulators,
    weir_rest_job_cancel, weir_rest_job_yarn_cancel, weir_rest_job_submit, weir_rest_vertex,
    weir_rest_vertex_subtasktimes, weir_rest_vertex_accumulators, weir_rest_vertex_subtask_accumulators,
    weir_rest_vertex_taskmanagers, weir_rest_vertex_watermarks, weir_rest_subtask;
weir_http_handler weir_rest_jars, weir_rest_jar_upload, weir_rest_jar_delete, weir_rest_jar_run, weir_rest_jar_plan,
    weir_rest_code;
weir_http_handler weir_rest_taskmanagers, weir_rest_taskmanager, weir_rest_taskmanager_logs,
    weir_rest_taskmanager_log_file, weir_rest_taskmanager_log, weir_rest_jobmanager_logs, weir_rest_jobmanager_log_file,
    weir_rest_jobmanager_log;
weir_http_handler weir_rest_metrics;
weir_http_handler weir_rest_faults, weir_rest_fault_arm, weir_rest_faults_reset;
weir_http_handler weir_rest_checkpoints, weir_rest_checkpoint_config, weir_rest_checkpoint, weir_rest_checkpoint_vertex,
    weir_rest_checkpoint_begin, weir_rest_checkpoint_operation, weir_rest_savepoint_begin,
    weir_rest_savepoint_operation, weir_rest_job_stop, weir_rest_rescale, weir_rest_rescale_operation,
    weir_rest_requirements, weir_rest_requirements_put, weir_rest_disposal_begin, weir_rest_disposal;

extern const char weir_rest_page_start[], weir_rest_page_end[]; /* web/index.html */

/* rest_jars.c: the code store. */
void weir_rest_code_clear(const char *directory);

#endif
