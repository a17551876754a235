#include "net/control_line.h"
#include "local.h"

#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <poll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/daemon.h"
#include "base/log.h"
#include "base/proto_memory.h"
#include "client_int.h"
#include "graph.pb-c.h"
#include "graph/build_client.h"
#include "jobmanager/io/jobmanager.h"
#include "taskmanager/io/job_output.h"
#include "taskmanager/io/supervisor.h"

#define PROGRESS_MS 250
#define ENDPOINT "inproc://weir-jobmanager"

struct local {
    struct weir_client *client;
    struct weir_jobmanager *jobmanager;
    struct weir_supervisor_options supervisor;
    int ended_fd;         /* the job's end */
    char *checkpoint_dir; /* where there is no execution.checkpointing.dir; NULL: no checkpoints */
    int jobmanager_stop_fd, supervisor_stop_fd;
};

/* Without one of its halves the job would wait for ever. */
static _Noreturn void give_up(struct local *local, const struct weir_error *error)
{
    weir_client_fail(local->client, EXIT_FAILED, NULL, "%s", error->message);
    _exit(EXIT_FAILED);
}

static void *run_jobmanager(void *arg)
{
    struct local *local = arg;
    struct weir_error error;
    if (weir_jobmanager_run(local->jobmanager, &error) != WEIR_OK)
        give_up(local, &error);
    return NULL;
}

static void *run_supervisor(void *arg)
{
    struct local *local = arg;
    struct weir_error error;
    if (weir_supervisor_run(&local->supervisor, &error) != WEIR_OK)
        give_up(local, &error);
    return NULL;
}

static void job_ended(void *arg, const char *job_id)
{
    (void)job_id;
    struct local *local = arg;
    eventfd_write(local->ended_fd, 1);
}

static bool is_op(const struct weir_jm_job *job, uint32_t op, const char *name)
{
    return (int)op < job->plan->op_count && strcmp(job->plan->ops[op].vertex->op, name) == 0;
}

static void add_task(const struct weir_jm_job *job, const struct weir_jm_task *task, struct weir_progress_state *state)
{
    const Weir__TaskMetrics *metrics = task->metrics;
    state->tasks_running += task->state == WEIR__TASK_STATE__RUNNING;
    for (size_t k = 0; metrics && k < metrics->n_operators; k++) {
        const Weir__OperatorMetrics *operator_ = metrics->operators[k];
        bool sink = is_op(job, operator_->op, "sink");
        state->records_bad += (int64_t)operator_->records_bad;
        state->records_late += (int64_t)operator_->late_dropped;
        if (is_op(job, operator_->op, "source"))
            state->records_in += (int64_t)operator_->records_out;
        if (sink)
            state->records_out += (int64_t)operator_->records_in;
        int64_t at_ms = operator_->watermark_out_ms;
        if (sink && at_ms != INT64_MIN && (state->watermark_ms == INT64_MIN || at_ms < state->watermark_ms))
            state->watermark_ms = at_ms;
    }
}

/* With the lock. */
static void read_state(const struct weir_jm_job *job, struct weir_progress_state *state)
{
    int64_t end_ms = job->ended_ms >= 0 ? job->ended_ms : weir_clock_wall_ms();
    *state = (struct weir_progress_state){.state = weir_job_state_name(job->state),
                                          .task_count = job->task_count,
                                          .duration_ms = end_ms - job->started_ms,
                                          .restarts = (int64_t)job->restarts,
                                          .watermark_ms = INT64_MIN};
    for (int i = 0; i < job->task_count; i++)
        add_task(job, &job->tasks[i], state);
}

static void show_progress(struct local *local, const char *job_id, struct weir_progress *progress)
{
    struct weir_progress_state state;
    const struct weir_jm *jm = weir_jobmanager_lock(local->jobmanager);
    const struct weir_jm_job *job = weir_jm_job_find(jm, job_id);
    if (job)
        read_state(job, &state);
    weir_jobmanager_unlock(local->jobmanager);
    if (job)
        weir_progress_show(progress, &state);
}

/* A line that is kept up to date and a job that prints would write over each other. */
static bool prints_on_terminal(struct local *local, const char *job_id)
{
    bool prints = false;
    const struct weir_jm *jm = weir_jobmanager_lock(local->jobmanager);
    const struct weir_jm_job *job = weir_jm_job_find(jm, job_id);
    for (int i = 0; job && i < job->plan->op_count; i++) {
        const Weir__Vertex *vertex = job->plan->ops[i].vertex;
        for (size_t k = 0; k < vertex->n_options; k++)
            prints |=
                strcmp(vertex->options[k]->key, "connector") == 0 && strcmp(vertex->options[k]->value, "print") == 0;
    }
    weir_jobmanager_unlock(local->jobmanager);
    return prints && isatty(STDOUT_FILENO);
}

/* Waits for the end; the first Ctrl-C cancels, the second ends the process. */
static void wait_for_end(struct local *local, const char *job_id, int signal_fd)
{
    bool canceling = false;
    struct weir_progress progress;
    weir_progress_init(&progress, local->client, !prints_on_terminal(local, job_id));
    for (;;) {
        struct pollfd fds[] = {{.fd = local->ended_fd, .events = POLLIN}, {.fd = signal_fd, .events = POLLIN}};
        poll(fds, 2, progress.live ? PROGRESS_MS : -1);
        if (fds[0].revents)
            break;
        if (progress.live)
            show_progress(local, job_id, &progress);
        struct signalfd_siginfo info;
        if (!fds[1].revents || read(signal_fd, &info, sizeof info) != (ssize_t)sizeof info)
            continue;
        struct weir_error error;
        if (canceling)
            _exit(130);
        canceling = true;
        weir_progress_clear(&progress);
        weir_client_note(local->client, "canceling the job; Ctrl-C again ends this process at once");
        if (weir_jobmanager_cancel(local->jobmanager, job_id, &error) != WEIR_OK)
            weir_client_note(local->client, "cannot cancel: %s", error.message);
    }
    weir_progress_clear(&progress);
}

/* As REST words it; freed by the caller. */
static char *stack_text(const Weir__Failure *cause)
{
    const char *where = cause->operator_, *at = cause->position, *stack = cause->stack;
    return weir_format("%s: %s%s%s%s%s%s%s", *cause->kind ? cause->kind : "failure", cause->message,
                       *where ? "\n\tin operator " : "", where, *at ? "\n\tat record " : "", at, *stack ? "\n" : "",
                       stack);
}

/* The last line of standard output, behind what the job printed. */
static void print_result(const struct weir_jm_job *job, const struct weir_progress_state *state)
{
    char *stack = job->state == WEIR_JOB_FAILED && job->cause ? stack_text(job->cause) : NULL;
    json_t *failure = stack ? json_pack("{s:o, s:o}", "exceptionName", weir_client_string(job->cause->kind),
                                        "stacktrace", weir_client_string(stack))
                            : json_null();
    free(stack);
    json_t *result =
        json_pack("{s:s, s:o, s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "jobid", job->id, "name",
                  weir_client_string(job->name), "state", state->state, "detached", 0, "duration",
                  (json_int_t)state->duration_ms, "restarts", (json_int_t)state->restarts, "records-in",
                  (json_int_t)state->records_in, "records-out", (json_int_t)state->records_out, "records-bad",
                  (json_int_t)state->records_bad, "records-late", (json_int_t)state->records_late, "failure", failure);
    weir_client_print_json_line(result);
    json_decref(result);
}

static void fail_by_cause(struct weir_client *client, const Weir__Failure *cause)
{
    char *text = stack_text(cause);
    weir_client_fail(client, EXIT_FAILED, NULL, "%s", text);
    free(text);
}

static int report(struct local *local, const char *job_id)
{
    const struct weir_jm *jm = weir_jobmanager_lock(local->jobmanager);
    const struct weir_jm_job *job = weir_jm_job_find(jm, job_id);
    int exit_code = EXIT_FAILED;
    if (job) {
        struct weir_client *client = local->client;
        struct weir_progress_state state;
        read_state(job, &state);
        exit_code = job->state == WEIR_JOB_FINISHED ? EXIT_DONE : EXIT_FAILED;
        if (client->json)
            print_result(job, &state);
        if (job->state == WEIR_JOB_FAILED && job->cause)
            fail_by_cause(client, job->cause);
        else if (exit_code != EXIT_DONE && client->json)
            weir_client_fail(client, exit_code, NULL, "job %s is %s", job->name, state.state);
        weir_client_note(client, "job %s %s%s%s in %.3f s: %llu records read, %llu bad, %llu late", job->name,
                         weir_client_color(client, 2, weir_client_state_color(state.state)), state.state,
                         weir_client_color(client, 2, WEIR_COLOR_NONE), (double)state.duration_ms / 1000.0,
                         (unsigned long long)state.records_in, (unsigned long long)state.records_bad,
                         (unsigned long long)state.records_late);
    }
    weir_jobmanager_unlock(local->jobmanager);
    return exit_code;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

/* Nobody collects there after us. What a job that did not finish leaves can be looked at: weir state. */
static void drop_checkpoints(const struct local *local, const char *job_id)
{
    char *dir = weir_format("%s/jobs/%s", local->checkpoint_dir, job_id);
    if (nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
        weir_client_note(local->client, "the checkpoints in %s cannot be removed: %s", dir, strerror(errno));
    free(dir);
}

static int run_cluster(struct local *local, const struct weir_jobmanager_submission *submission, int signal_fd)
{
    pthread_t jobmanager, supervisor;
    char job_id[WEIR_JM_JOB_ID_SIZE];
    struct weir_error error;
    if (pthread_create(&jobmanager, NULL, run_jobmanager, local) != 0 ||
        pthread_create(&supervisor, NULL, run_supervisor, local) != 0) {
        weir_client_fail(local->client, EXIT_FAILED, NULL, "cannot start a thread");
        _exit(EXIT_FAILED);
    }
    int exit_code = EXIT_FAILED;
    bool submitted = weir_jobmanager_submit(local->jobmanager, submission, job_id, &error) == WEIR_OK;
    if (!submitted) {
        weir_client_fail(local->client, EXIT_FAILED, NULL, "%s", error.message);
    } else {
        wait_for_end(local, job_id, signal_fd);
        exit_code = report(local, job_id);
    }
    eventfd_write(local->supervisor_stop_fd, 1);
    pthread_join(supervisor, NULL);
    eventfd_write(local->jobmanager_stop_fd, 1);
    pthread_join(jobmanager, NULL);
    if (submitted && exit_code == EXIT_DONE && local->checkpoint_dir)
        drop_checkpoints(local, job_id);
    /* A cluster does this after the job's end; this one ends with the job. */
    if (submitted && exit_code != 0 &&
        weir_job_output_abort(submission->graph, submission->graph_size, job_id, &error) != WEIR_OK)
        weir_client_note(local->client, "what the job left cannot be removed: %s", error.message);
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

/* By the command line or by the job itself. */
static bool wants_checkpoints(const struct weir_config *config, const uint8_t *graph, size_t graph_size)
{
    static const char key[] = "execution.checkpointing.interval";
    bool wants = weir_config_int(config, key) > 0;
    Weir__JobGraph *job = weir__job_graph__unpack(&weir_proto_memory, graph_size, graph);
    for (size_t i = 0; job && i < job->n_configuration; i++)
        wants |= strcmp(job->configuration[i]->key, key) == 0;
    if (job)
        weir__job_graph__free_unpacked(job, NULL);
    return wants;
}

/* Not the directory of the cluster of $WEIR_HOME: that would take over what it finds there. */
static char *checkpoint_directory(void)
{
    char *home = weir_home_directory(), *dir = weir_format("%s/data/local", home);
    free(home);
    return dir;
}

static weir_err set_up(struct local *local, void *context, const struct weir_config *config, const char *path,
                       struct weir_error *error)
{
    local->ended_fd = eventfd(0, EFD_CLOEXEC);
    local->jobmanager_stop_fd = eventfd(0, EFD_CLOEXEC);
    local->supervisor_stop_fd = eventfd(0, EFD_CLOEXEC);
    if (local->ended_fd < 0 || local->jobmanager_stop_fd < 0 || local->supervisor_stop_fd < 0)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot make an event descriptor");
    struct weir_jobmanager_options options = {
        .zmq_context = context,
        .rpc_endpoint = ENDPOINT,
        .config = config,
        .checkpoint_dir = local->checkpoint_dir,
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
        .config = config,
    };
    return weir_jobmanager_new(&options, &local->jobmanager, error);
}

/* SIGINT and SIGTERM arrive on the descriptor; -1: it cannot be made. */
static int open_signals(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    return signalfd(-1, &signals, SFD_CLOEXEC);
}

int weir_local_run(struct weir_client *client, const struct weir_local_job *job)
{
    struct weir_error error;
    struct weir_config *config = NULL;
    uint8_t *graph = NULL;
    size_t graph_size = 0;
    struct local local = {.client = client, .ended_fd = -1};
    int exit_code = weir_client_config(client, client->config, &config);
    if (exit_code != EXIT_DONE)
        return exit_code;
    char *path = realpath(job->path, NULL);

    exit_code = EXIT_FAILED;
    weir_err err = WEIR_OK;
    if (!path)
        err = weir_fail_errno(&error, WEIR_ERR_NOT_FOUND, "cannot open the job %s", job->path);
    if (!err) {
        struct weir_log_options log = {.process = "local", .level = WEIR_LOG_ERROR};
        err = weir_log_init(&log, &error);
    }
    if (!err)
        err = weir_client_build_graph(job, config, &graph, &graph_size, &error);
    /* From here on Ctrl-C cancels the job; before, while its graph is built, it ends this process and so the child that builds. */
    int signal_fd = open_signals();
    if (!err && signal_fd < 0) /* Ctrl-C would do nothing */
        err = weir_fail_errno(&error, WEIR_ERR_IO, "cannot wait for signals");
    void *context = err ? NULL : weir_net_context_new();
    if (!err && !context)
        err = weir_fail_errno(&error, WEIR_ERR_IO, "cannot start ZeroMQ");
    if (!err && wants_checkpoints(config, graph, graph_size))
        local.checkpoint_dir = checkpoint_directory();
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
        exit_code = weir_client_fail(client, err == WEIR_ERR_NOT_FOUND ? EXIT_NOT_FOUND : EXIT_FAILED, NULL, "%s",
                                     error.message);
    }
    weir_jobmanager_free(local.jobmanager);
    weir_net_context_free(context);
    weir_config_free(config);
    free(local.checkpoint_dir);
    free(graph);
    free(path);
    if (signal_fd >= 0)
        close(signal_fd);
    return exit_code;
}
