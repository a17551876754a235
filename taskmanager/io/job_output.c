/* See job_output.h. The parent runs on the thread for blocking work; the child has one thread. */
#include "taskmanager/io/job_output.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/proto_memory.h"
#include "connectors/connector.h"
#include "taskmanager/io/commit_messages.h"
#include "graph.pb-c.h"

#define CONTROL_SIZE_MAX ((size_t)256 << 20)

extern char **environ;

/* --- Doing it */

static weir_err commit(const Weir__CommitOutput *output, struct weir_error *error)
{
    for (size_t i = 0; i < output->n_committables; i++) {
        const struct weir_connector *connector;
        weir_err err = weir_connector_find(output->committables[i]->connector, &connector, error);
        if (!err && connector->commit && output->committables[i]->n_segments == 0)
            err = connector->commit(output->committables[i]->text, error);
        if (err)
            return err;
    }
    return weir_commit_messages(output, error);
}

static const char *connector_of(const Weir__Vertex *vertex)
{
    for (size_t i = 0; i < vertex->n_options; i++)
        if (strcmp(vertex->options[i]->key, "connector") == 0)
            return vertex->options[i]->value;
    return NULL;
}

static weir_err abort_vertex(const Weir__Vertex *vertex, const char *job_id, struct weir_error *error)
{
    const char *name = connector_of(vertex);
    const struct weir_connector *connector = NULL;
    weir_err err = name ? weir_connector_find(name, &connector, error) : WEIR_OK;
    if (err || !connector || !connector->abort)
        return err;
    struct weir_key_value *options = weir_alloc((vertex->n_options + 1) * sizeof *options);
    for (size_t i = 0; i < vertex->n_options; i++)
        options[i] = (struct weir_key_value){vertex->options[i]->key, vertex->options[i]->value};
    err = connector->abort(options, (int)vertex->n_options, job_id, error);
    free(options);
    return err;
}

weir_err weir_job_output_abort(const uint8_t *bytes, size_t size, const char *job_id, struct weir_error *error)
{
    Weir__JobGraph *graph = weir__job_graph__unpack(&weir_proto_memory, size, bytes);
    if (!graph)
        return weir_fail(error, WEIR_ERR_PROTOCOL, "the graph of job %s cannot be read", job_id);
    weir_err err = WEIR_OK;
    for (size_t i = 0; i < graph->n_vertices; i++)
        if (strcmp(graph->vertices[i]->op, "sink") == 0) {
            weir_err failed = abort_vertex(graph->vertices[i], job_id, error);
            err = err ? err : failed;
        }
    weir__job_graph__free_unpacked(graph, NULL);
    return err;
}

weir_err weir_job_output_perform(const Weir__Control *control, struct weir_error *error)
{
    if (control->body_case == WEIR__CONTROL__BODY_COMMIT_OUTPUT)
        return commit(control->commit_output, error);
    if (control->body_case == WEIR__CONTROL__BODY_ABORT_OUTPUT)
        return weir_job_output_abort(control->abort_output->graph.data, control->abort_output->graph.len,
                                     control->abort_output->job_id, error);
    return weir_fail(error, WEIR_ERR_PROTOCOL, "this is neither CommitOutput nor AbortOutput");
}

/* --- Which process */

bool weir_job_output_is_known(const Weir__Control *control)
{
    const struct weir_connector *connector;
    bool known = true;
    if (control->body_case == WEIR__CONTROL__BODY_COMMIT_OUTPUT) {
        const Weir__CommitOutput *output = control->commit_output;
        for (size_t i = 0; i < output->n_committables && known; i++)
            known = !weir_connector_find(output->committables[i]->connector, &connector, NULL);
        return known;
    }
    Weir__JobGraph *graph = weir__job_graph__unpack(&weir_proto_memory, control->abort_output->graph.len,
                                                    control->abort_output->graph.data);
    for (size_t i = 0; graph && i < graph->n_vertices && known; i++) {
        const char *name = strcmp(graph->vertices[i]->op, "sink") == 0 ? connector_of(graph->vertices[i]) : NULL;
        known = !name || !weir_connector_find(name, &connector, NULL);
    }
    weir__job_graph__free_unpacked(graph, NULL);
    return known;
}

/* --- The parent */

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A file in memory that holds the message: the child reads it at its own speed, whatever its size. -1: errno says why. */
static int message_fd(const Weir__Control *control)
{
    size_t size = weir__control__get_packed_size(control);
    uint8_t *bytes = weir_alloc(size + 1);
    weir__control__pack(control, bytes);
    int fd = memfd_create("weir-job-output", MFD_CLOEXEC);
    size_t at = 0;
    while (fd >= 0 && at < size) {
        ssize_t n = write(fd, bytes + at, size - at);
        if (n > 0)
            at += (size_t)n;
        else if (errno != EINTR)
            break;
    }
    free(bytes);
    if (fd >= 0 && (at < size || lseek(fd, 0, SEEK_SET) != 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

static int spawn_child(const char *code_path, int in, int out, pid_t *pid)
{
    char name[] = "weir-taskmanager", mode[] = "job-output";
    char *argv[] = {name, mode, (char *)(uintptr_t)code_path, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    int failed = posix_spawn(pid, "/proc/self/exe", &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return failed;
}

/* What the child says until it closes its output, cut; false: it did not within the time. */
static bool listen_to(int fd, int64_t timeout_ms, char *text, size_t text_size)
{
    int64_t deadline_ms = now_ms() + timeout_ms, left_ms;
    size_t size = 0;
    while ((left_ms = deadline_ms - now_ms()) > 0) {
        struct pollfd poll_fd = {fd, POLLIN, 0};
        if (poll(&poll_fd, 1, left_ms > 60000 ? 60000 : (int)left_ms) <= 0)
            continue;
        char bytes[1024];
        ssize_t n = read(fd, bytes, sizeof bytes);
        if (n == 0 || (n < 0 && errno != EINTR))
            break;
        size_t room = text_size - 1 - size;
        if (n > 0) {
            memcpy(text + size, bytes, (size_t)n < room ? (size_t)n : room);
            size += (size_t)n < room ? (size_t)n : room;
        }
    }
    text[size] = 0;
    return left_ms > 0;
}

weir_err weir_job_output_run(const char *code_path, const Weir__Control *control, int64_t timeout_ms,
                             struct weir_error *error)
{
    char text[WEIR_ERROR_MESSAGE_SIZE];
    int in = message_fd(control), out[2] = {-1, -1}, status = 0;
    pid_t pid = -1;
    if (in < 0 || pipe2(out, O_CLOEXEC) != 0) {
        weir_err err = weir_fail_errno(error, WEIR_ERR_IO, "cannot hand the output to a child process");
        if (in >= 0)
            close(in);
        return err;
    }
    int failed = spawn_child(code_path, in, out[1], &pid);
    close(in);
    close(out[1]);
    if (failed) {
        close(out[0]);
        errno = failed;
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot start a child process for the job's connectors");
    }
    bool in_time = listen_to(out[0], timeout_ms, text, sizeof text);
    close(out[0]);
    if (!in_time)
        kill(-pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!in_time)
        return weir_fail(error, WEIR_ERR_TIMEOUT, "a connector of the job needed more than %g s to publish its output",
                         (double)timeout_ms / 1000);
    if (WIFSIGNALED(status))
        return weir_fail(error, WEIR_ERR_USER_CODE, "a connector of the job crashed with signal %d when it published",
                         WTERMSIG(status));
    if (WEXITSTATUS(status) == 0)
        return WEIR_OK;
    return weir_fail(error, WEIR_ERR_IO, "%s",
                     text[0] ? text : "a connector of the job ended its process while it published");
}

/* --- The child */

static Weir__Control *read_message(void)
{
    struct weir_buf bytes;
    char part[16384];
    weir_buf_init(&bytes, CONTROL_SIZE_MAX);
    for (size_t size; (size = fread(part, 1, sizeof part, stdin)) > 0;)
        if (!weir_buf_append(&bytes, part, size))
            break;
    Weir__Control *control = weir__control__unpack(&weir_proto_memory, bytes.size, bytes.data);
    weir_buf_fini(&bytes);
    return control;
}

int weir_job_output_main(int argc, char **argv)
{
    struct weir_error error;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (argc != 2) {
        fprintf(stderr, "usage: job-output JOB.so < CONTROL\n");
        return 2;
    }
    /* What the job's code prints goes elsewhere: standard output is the error's alone. */
    int result = dup(STDOUT_FILENO);
    if (result < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        return 2;
    weir_err err = WEIR_OK;
    Weir__Control *control = read_message();
    void *handle = control ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!control)
        err = weir_fail(&error, WEIR_ERR_PROTOCOL, "the message to job-output cannot be read");
    else if (!handle)
        err = weir_fail(&error, WEIR_ERR_INVALID, "cannot load the job's code: %s", dlerror());
    else
        err = weir_connectors_load(handle, &error);
    if (!err)
        err = weir_job_output_perform(control, &error);
    if (err)
        dprintf(result, "%s", error.message);
    fflush(NULL);
    _exit(err ? 1 : 0); /* nothing that the job registered runs: it could hang */
}
