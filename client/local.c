#include "local.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <poll.h>
#include <unistd.h>
#include <zmq.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/daemon.h"
#include "base/log.h"
#include "client_int.h"
#include "graph/build_client.h"
#include "jobmanager/io/jobmanager.h"
#include "taskmanager/io/job_output.h"
#include "taskmanager/io/supervisor.h"

#define ENDPOINT "inproc://weir-jobmanager"

struct local {
    struct weir_jobmanager *jobmanager;
    struct weir_supervisor_options supervisor;
    int ended_fd; /* the job's end */
    int jobmanager_stop_fd, supervisor_stop_fd;
};

static void *run_jobmanager(void *arg)
{
    struct local *local = arg;
    struct weir_error error;
    if (weir_jobmanager_run(local->jobmanager, &error) != WEIR_OK)
        weir_log(ERROR, "%s", error.message);
    return NULL;
}

static void *run_supervisor(void *arg)
{
    struct local *local = arg;
    struct weir_error error;
    if (weir_supervisor_run(&local->supervisor, &error) != WEIR_OK)
        weir_log(ERROR, "%s", error.message);
    return NULL;
}

static void job_ended(void *arg, const char *job_id)
{
    (void)job_id;
    struct local *local = arg;
    eventfd_write(local->ended_fd, 1);
}

/* Waits for the end; the first Ctrl-C cancels, the second ends the process. */
static void wait_for_end(struct local *local, const char *job_id, int signal_fd)
{
    bool canceling = false;
    for (;;) {
        struct pollfd fds[] = {{.fd = local->ended_fd, .events = POLLIN}, {.fd = signal_fd, .events = POLLIN}};
        poll(fds, 2, -1);
        if (fds[0].revents)
            return;
        struct signalfd_siginfo info;
        if (!fds[1].revents || read(signal_fd, &info, sizeof info) != (ssize_t)sizeof info)
            continue;
        struct weir_error error;
        if (canceling)
            _exit(130);
        canceling = true;
        if (weir_jobmanager_cancel(local->jobmanager, job_id, &error) != WEIR_OK)
            fprintf(stderr, "weir: cannot cancel: %s\n", error.message);
    }
}

static int report(struct local *local, const char *job_id)
{
    const struct weir_jm *jm = weir_jobmanager_lock(local->jobmanager);
    const struct weir_jm_job *job = weir_jm_job_find(jm, job_id);
    int exit_code = 1;
    if (job) {
        exit_code = job->state == WEIR_JOB_FINISHED ? 0 : 1;
        uint64_t in = 0, bad = 0, late = 0;
        for (int i = 0; i < job->task_count; i++) {
            const Weir__TaskMetrics *metrics = job->tasks[i].metrics;
            for (size_t k = 0; metrics && k < metrics->n_operators; k++) {
                bad += metrics->operators[k]->records_bad;
                late += metrics->operators[k]->late_dropped;
                int op = (int)metrics->operators[k]->op;
                if (op < job->plan->op_count && strcmp(job->plan->ops[op].vertex->op, "source") == 0)
                    in += metrics->operators[k]->records_out;
            }
        }
        if (job->state == WEIR_JOB_FAILED && job->cause)
            weir_client_print_failure(stderr, job->cause->kind, job->cause->message, job->cause->operator_,
                                      job->cause->position, job->cause->stack);
        fprintf(stderr, "weir: job %s %s in %.3f s: %llu records read, %llu bad, %llu late\n", job->name,
                weir_job_state_name(job->state), (double)(job->ended_ms - job->started_ms) / 1000.0,
                (unsigned long long)in, (unsigned long long)bad, (unsigned long long)late);
    }
    weir_jobmanager_unlock(local->jobmanager);
    return exit_code;
}

static int run_cluster(struct local *local, const struct weir_jobmanager_submission *submission, int signal_fd)
{
    pthread_t jobmanager, supervisor;
    char job_id[WEIR_JM_JOB_ID_SIZE];
    struct weir_error error;
    if (pthread_create(&jobmanager, NULL, run_jobmanager, local) != 0 ||
        pthread_create(&supervisor, NULL, run_supervisor, local) != 0) {
        fprintf(stderr, "weir: cannot start a thread\n");
        _exit(1);
    }
    int exit_code = 1;
    bool submitted = weir_jobmanager_submit(local->jobmanager, submission, job_id, &error) == WEIR_OK;
    if (!submitted) {
        fprintf(stderr, "weir: %s\n", error.message);
    } else {
        wait_for_end(local, job_id, signal_fd);
        exit_code = report(local, job_id);
    }
    eventfd_write(local->supervisor_stop_fd, 1);
    pthread_join(supervisor, NULL);
    eventfd_write(local->jobmanager_stop_fd, 1);
    pthread_join(jobmanager, NULL);
    /* A cluster does this after the job's end; this one ends with the job. */
    if (submitted && exit_code != 0 &&
        weir_job_output_abort(submission->graph, submission->graph_size, job_id, &error) != WEIR_OK)
        fprintf(stderr, "weir: what the job left cannot be removed: %s\n", error.message);
    return exit_code;
}

static int slots_needed(struct local *local, const struct weir_jobmanager_submission *submission)
{
    struct weir_plan *plan;
    struct weir_error error;
    if (weir_jobmanager_plan(local->jobmanager, submission, &plan, &error) != WEIR_OK)
        return 1; /* the submission says why */
    int slots = plan->slots_needed;
    weir_plan_free(plan);
    return slots;
}

static weir_err set_up(struct local *local, void *context, const struct weir_config *config, const char *path,
                       struct weir_error *error)
{
    local->ended_fd = eventfd(0, EFD_CLOEXEC);
    local->jobmanager_stop_fd = eventfd(0, EFD_CLOEXEC);
    local->supervisor_stop_fd = eventfd(0, EFD_CLOEXEC);
    struct weir_jobmanager_options options = {
        .zmq_context = context,
        .rpc_endpoint = ENDPOINT,
        .config = config,
        .leader_epoch = (uint64_t)weir_clock_wall_ms(),
        .stop_fd = local->jobmanager_stop_fd,
        .job_ended = job_ended,
        .arg = local,
    };
    local->supervisor = (struct weir_supervisor_options){
        .zmq_context = context,
        .rpc_endpoint = ENDPOINT,
        .host = "127.0.0.1",
        .name = "local",
        .run_directory = "",
        .log_directory = "",
        .code_directory = "",
        .stop_fd = local->supervisor_stop_fd,
        .local_code = path,
    };
    return weir_jobmanager_new(&options, &local->jobmanager, error);
}

int weir_local_run(const struct weir_local_job *job)
{
    struct weir_error error;
    struct weir_config *config = NULL;
    uint8_t *graph = NULL;
    size_t graph_size = 0;
    struct local local = {.ended_fd = -1};
    char *home = weir_home_directory();
    char *path = realpath(job->path, NULL);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);

    int exit_code = 1;
    weir_err err = weir_config_load(NULL, home, job->overrides, job->override_count, &config, &error);
    if (!err && !path)
        err = weir_fail_errno(&error, WEIR_ERR_NOT_FOUND, "cannot open the job %s", job->path);
    if (!err) {
        struct weir_log_options log = {.process = "local", .level = WEIR_LOG_ERROR};
        err = weir_log_init(&log, &error);
    }
    if (!err)
        err = weir_client_build_graph(job, config, &graph, &graph_size, &error);
    void *context = zmq_ctx_new();
    if (!err)
        err = set_up(&local, context, config, path, &error);
    if (!err) {
        struct weir_jobmanager_submission submission = {
            .graph = graph,
            .graph_size = graph_size,
            .configuration = job->overrides,
            .configuration_count = job->override_count,
            .parallelism = job->parallelism,
        };
        local.supervisor.slots = (uint32_t)slots_needed(&local, &submission);
        exit_code = run_cluster(&local, &submission, signal_fd);
    } else {
        fprintf(stderr, "weir: %s\n", error.message);
        exit_code = err == WEIR_ERR_NOT_FOUND ? 4 : 1;
    }
    weir_jobmanager_free(local.jobmanager);
    zmq_ctx_term(context);
    weir_config_free(config);
    free(graph);
    free(path);
    free(home);
    return exit_code;
}
