/* See build_client.h. posix_spawn (no fork of a threaded process, no shell), two pipes, one poll loop with one deadline. */
#include "graph/build_client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "graph/plan.h"

#define LOG_SIZE_MAX ((size_t)64 << 10)
#define ARGUMENTS_MAX 4096

extern char **environ;

/* --- Starting */

struct command {
    char **argv;
    int count, capacity;
};

static void put(struct command *command, char *take_text)
{
    if (command->count + 1 >= command->capacity) {
        command->capacity = command->capacity ? command->capacity * 2 : 32;
        command->argv = weir_realloc(command->argv, (size_t)command->capacity * sizeof *command->argv);
    }
    command->argv[command->count++] = take_text;
    command->argv[command->count] = NULL;
}

static void put_pair(struct command *command, const char *option, char *take_value)
{
    put(command, weir_strdup(option));
    put(command, take_value);
}

static struct command command_of(const struct weir_job_build *build, int64_t timeout_ms)
{
    struct command command = {NULL, 0, 0};
    put(&command, weir_strdup(build->binary));
    put(&command, weir_strdup("build-job"));
    if (build->is_graph)
        put_pair(&command, "--input", weir_strdup("graph"));
    if (build->name)
        put_pair(&command, "--name", weir_strdup(build->name));
    if (build->code_name)
        put_pair(&command, "--code-name", weir_strdup(build->code_name));
    if (build->parallelism > 0)
        put_pair(&command, "-p", weir_format("%d", build->parallelism));
    for (int i = 0; i < build->configuration_count; i++)
        put_pair(&command, "-D", weir_format("%s=%s", build->configuration[i].key, build->configuration[i].value));
    put_pair(&command, "--memory",
             weir_format("%lld", build->memory_bytes > 0 ? (long long)build->memory_bytes : 1LL << 30));
    /* A second more than the wall clock: the sentence about that one is the clearer. */
    put_pair(&command, "--cpu", weir_format("%lld", (long long)(timeout_ms + 999) / 1000 + 1));
    put_pair(&command, "--files", weir_format("%d", build->files_max > 0 ? build->files_max : 64));
    put(&command, weir_strdup("--"));
    put(&command, weir_strdup(build->path));
    for (int i = 0; i < build->argument_count; i++)
        put(&command, weir_strdup(build->arguments[i]));
    return command;
}

/* Of the caller's environment only what a program needs to start: a cluster's secrets are not the job's. */
static struct command small_environment(void)
{
    static const char *const kept[] = {
        "PATH=",         "HOME=",          "LANG=",         "LC_",          "TZ=", "TMPDIR=", "LD_LIBRARY_PATH=",
        "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "TSAN_OPTIONS=", "LSAN_OPTIONS="};
    struct command environment = {NULL, 0, 0};
    for (char **variable = environ; *variable; variable++)
        for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
            if (strncmp(*variable, kept[i], strlen(kept[i])) == 0) {
                put(&environment, weir_strdup(*variable));
                break;
            }
    if (!environment.argv)
        put(&environment, weir_strdup("LANG=C"));
    return environment;
}

static void command_fini(struct command *command)
{
    for (int i = 0; i < command->count; i++)
        free(command->argv[i]);
    free(command->argv);
}

struct child {
    pid_t pid;
    int result_fd, log_fd;
};

static weir_err spawn_with(const struct weir_job_build *build, char **argv, char **environment, const int result[2],
                           const int log[2], pid_t *pid, struct weir_error *error)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, defaults;
    sigemptyset(&none);
    sigfillset(&defaults);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, result[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, log[1], STDERR_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    int failed = posix_spawn(pid, build->binary, &actions, &attributes, argv, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (!failed)
        return 0;
    errno = failed;
    return weir_fail_errno(error, WEIR_ERR_IO, "cannot start %s to build the graph", build->binary);
}

static weir_err start(const struct weir_job_build *build, int64_t timeout_ms, struct child *child,
                      struct weir_error *error)
{
    /* Above 2, so that neither dup2() in the child is one onto itself or onto the other. */
    int result[2] = {-1, -1}, log[2] = {-1, -1};
    if (pipe2(result, O_CLOEXEC) != 0)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot make a pipe");
    if (pipe2(log, O_CLOEXEC) != 0) {
        weir_err err = weir_fail_errno(error, WEIR_ERR_IO, "cannot make a pipe");
        close(result[0]), close(result[1]);
        return err;
    }
    struct command command = command_of(build, timeout_ms), environment = small_environment();
    weir_err err = spawn_with(build, command.argv, environment.argv, result, log, &child->pid, error);
    command_fini(&command);
    command_fini(&environment);
    close(result[1]), close(log[1]);
    child->result_fd = result[0];
    child->log_fd = log[0];
    if (err)
        close(result[0]), close(log[0]);
    return err;
}

/* --- Listening */

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

enum heard { HEARD_MORE, HEARD_END, HEARD_TOO_MUCH, HEARD_FAILED };

/* Appends what is there; past the buffer's maximum `cut` drops it. */
static enum heard hear(int fd, struct weir_buf *into, bool cut)
{
    char bytes[16384];
    ssize_t size = read(fd, bytes, sizeof bytes);
    if (size < 0)
        return errno == EINTR || errno == EAGAIN ? HEARD_MORE : HEARD_FAILED;
    if (size == 0)
        return HEARD_END;
    size_t room = into->max - into->size, more = (size_t)size;
    if (more > room && !cut)
        return HEARD_TOO_MUCH;
    if (!weir_buf_append(into, bytes, more < room ? more : room))
        return HEARD_TOO_MUCH;
    return HEARD_MORE;
}

/* Until the child has closed its result. TIMEOUT, FULL. Its log is read beside. */
static weir_err listen_to(const struct child *child, int64_t timeout_ms, struct weir_buf *result, struct weir_buf *log,
                          struct weir_error *error)
{
    int64_t deadline_ms = now_ms() + timeout_ms;
    struct pollfd fds[2] = {{child->result_fd, POLLIN, 0}, {child->log_fd, POLLIN, 0}};
    while (fds[0].fd >= 0) {
        int64_t left_ms = deadline_ms - now_ms();
        int ready = left_ms <= 0 ? 0 : poll(fds, 2, left_ms > 60000 ? 60000 : (int)left_ms);
        if (ready < 0 && errno != EINTR)
            return weir_fail_errno(error, WEIR_ERR_IO, "cannot wait for the child that builds the graph");
        if (ready <= 0 && now_ms() >= deadline_ms)
            return weir_fail(error, WEIR_ERR_TIMEOUT, "building the graph took longer than %g s",
                             (double)timeout_ms / 1000);
        if (ready <= 0)
            continue;
        if (fds[0].revents) {
            enum heard heard = hear(fds[0].fd, result, false);
            if (heard == HEARD_TOO_MUCH)
                return weir_fail(error, WEIR_ERR_FULL, "the job graph has more than the %zu bytes that are accepted",
                                 result->max);
            if (heard == HEARD_FAILED)
                return weir_fail_errno(error, WEIR_ERR_IO, "cannot read the job graph from the child that builds it");
            if (heard == HEARD_END)
                fds[0].fd = -1;
        }
        if (fds[1].fd >= 0 && fds[1].revents && hear(fds[1].fd, log, true) != HEARD_MORE)
            fds[1].fd = -1;
    }
    return 0;
}

/* What is left in the log's pipe, without waiting: a process that the job left behind may hold it open. */
static void rest_of_log(int fd, struct weir_buf *log)
{
    struct pollfd poll_fd = {fd, POLLIN, 0};
    while (log->size < log->max && poll(&poll_fd, 1, 0) == 1 && hear(fd, log, true) == HEARD_MORE)
        ;
}

/* --- Judging */

/* What people call the shared object. */
static const char *shown(const struct weir_job_build *build)
{
    return build->code_name ? build->code_name : build->path;
}

static const char *signal_name(int number, char out[32])
{
    const char *name = sigabbrev_np(number);
    if (name)
        snprintf(out, 32, "SIG%s", name);
    else
        snprintf(out, 32, "signal %d", number);
    return out;
}

static weir_err judge_signal(const struct weir_job_build *build, int number, struct weir_error *error)
{
    char name[32];
    long long memory = build->memory_bytes > 0 ? (long long)build->memory_bytes : 1LL << 30;
    if (number == SIGXCPU)
        return weir_fail(error, WEIR_ERR_TIMEOUT, "building the graph took too much CPU time");
    if (number == SIGXFSZ)
        return weir_fail(error, WEIR_ERR_USER_CODE, "the job wrote a large file while building the graph");
    return weir_fail(error, WEIR_ERR_USER_CODE,
                     "%s crashed with %s while building the graph (its memory is limited to %lld MiB)", shown(build),
                     signal_name(number, name), memory >> 20);
}

static weir_err judge(const struct weir_job_build *build, int status, struct weir_buf *result, struct weir_error *error)
{
    if (WIFSIGNALED(status))
        return judge_signal(build, WTERMSIG(status), error);
    const char *text = result->data ? (const char *)result->data : "";
    switch (WEXITSTATUS(status)) {
    case 0:
        if (result->size > 0)
            return 0;
        return weir_fail(error, WEIR_ERR_USER_CODE, "%s ended the process while building the graph", shown(build));
    case 1: {
        if (result->size == 0)
            return weir_fail(error, WEIR_ERR_USER_CODE,
                             "%s ended the process with exit code 1 while building the graph", shown(build));
        int size = (int)(result->size < WEIR_ERROR_MESSAGE_SIZE - 1 ? result->size : WEIR_ERROR_MESSAGE_SIZE - 1);
        if (size > 0 && text[size - 1] == '\n')
            size--;
        while (size > 0 && (size_t)size < result->size && (result->data[size] & 0xC0) == 0x80)
            size--; /* never inside a UTF-8 sequence */
        return weir_fail(error, WEIR_ERR_INVALID, "%.*s", size, text);
    }
    case 3:
        return weir_fail(error, WEIR_ERR_CANCELED, "%.1000s", text);
    case 127:
        return weir_fail(error, WEIR_ERR_IO, "cannot run %s to build the graph", build->binary);
    default:
        return weir_fail(error, WEIR_ERR_USER_CODE, "%s ended the process with exit code %d while building the graph",
                         shown(build), WEXITSTATUS(status));
    }
}

/* Gives the buffer's bytes away as malloc'd memory with a 0 behind them. */
static char *take_text(struct weir_buf *buf)
{
    char *text = weir_strndup(buf->data ? (const char *)buf->data : "", buf->size);
    return text;
}

static void hand_out_log(const struct weir_job_build *build, struct weir_buf *log)
{
    if (build->log)
        *build->log = log->size ? take_text(log) : NULL;
    else if (log->size)
        (void)!write(STDERR_FILENO, log->data, log->size);
}

weir_err weir_job_build(const struct weir_job_build *build, uint8_t **graph, size_t *graph_size,
                        struct weir_error *error)
{
    int64_t timeout_ms = build->timeout_ms > 0 ? build->timeout_ms : 10000;
    struct weir_error own;
    struct child child;
    *graph = NULL;
    *graph_size = 0;
    if (!error)
        error = &own;
    if (build->errors)
        *build->errors = NULL;
    if (build->help)
        *build->help = NULL;
    if (build->log)
        *build->log = NULL;
    if (build->argument_count > ARGUMENTS_MAX)
        return weir_fail(error, WEIR_ERR_FULL, "%d arguments for the job; at most %d are possible",
                         build->argument_count, ARGUMENTS_MAX);
    weir_err err = start(build, timeout_ms, &child, error);
    if (err)
        return err;

    struct weir_buf result, log;
    weir_buf_init(&result, WEIR_GRAPH_SIZE_MAX);
    weir_buf_init(&log, LOG_SIZE_MAX);
    err = listen_to(&child, timeout_ms, &result, &log, error);
    /* The result's pipe is closed by the end of the process, whose exit code is fixed by then; or it must go. Whatever it left in its
     * process group goes too. */
    int status = 0;
    (void)kill(-child.pid, SIGKILL);
    while (waitpid(child.pid, &status, 0) < 0 && errno == EINTR)
        ;
    rest_of_log(child.log_fd, &log);
    close(child.result_fd), close(child.log_fd);
    if (!err)
        err = judge(build, status, &result, error);
    hand_out_log(build, &log);
    if (!err) {
        *graph_size = result.size;
        *graph = weir_alloc(result.size);
        memcpy(*graph, result.data, result.size);
    } else if (err == WEIR_ERR_CANCELED && build->help)
        *build->help = take_text(&result);
    else if (err == WEIR_ERR_INVALID && build->errors && result.size)
        *build->errors = take_text(&result);
    weir_buf_fini(&result);
    weir_buf_fini(&log);
    return err;
}
