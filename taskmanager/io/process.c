#include "taskmanager/io/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

#define RECORDS "executors"
#define ARGUMENTS_MAX 32
#define CONTROL_FD 3
#define CRASH_FD 4

static void record_path(char out[4096], const char *run_directory, const char *executor_id)
{
    snprintf(out, 4096, "%s/" RECORDS "/%s", run_directory, executor_id);
}

/* Field 22 of /proc/PID/stat; 0: no such process. */
static uint64_t start_time_of(pid_t pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = 0;
    const char *p = strrchr(text, ')'); /* the name may hold anything */
    if (!p)
        return 0;
    p++;
    for (int field = 3; field <= 22 && p; field++) {
        p = strchr(p, ' ');
        if (p)
            p++;
    }
    return p ? strtoull(p, NULL, 10) : 0;
}

static weir_err write_record(const struct weir_process_spec *spec, pid_t pid, struct weir_error *error)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/" RECORDS, spec->run_directory);
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot make the directory %s", path);
    record_path(path, spec->run_directory, spec->executor_id);
    FILE *file = fopen(path, "we");
    if (!file)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot record the executor in %s", path);
    fprintf(file, "%d %" PRIu64 "\n", (int)pid, start_time_of(pid));
    return fclose(file) == 0 ? WEIR_OK : weir_fail_errno(error, WEIR_ERR_IO, "cannot write %s", path);
}

static int add_actions(posix_spawn_file_actions_t *actions, const struct weir_process_spec *spec, int control,
                       int crash)
{
    int failed = posix_spawn_file_actions_adddup2(actions, control, CONTROL_FD);
    failed |= posix_spawn_file_actions_adddup2(actions, crash, CRASH_FD);
    failed |= posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
    if (spec->output_path) {
        failed |= posix_spawn_file_actions_addopen(actions, 1, spec->output_path, O_WRONLY | O_CREAT | O_APPEND, 0640);
        failed |= posix_spawn_file_actions_adddup2(actions, 1, 2);
    }
    return failed;
}

static int spawn(const struct weir_process_spec *spec, int control, int crash, pid_t *pid)
{
    char name[] = "weir-executor";
    char *argv[ARGUMENTS_MAX + 2] = {name};
    int argc = 1;
    for (int i = 0; spec->arguments[i] && argc < ARGUMENTS_MAX; i++)
        argv[argc++] = spec->arguments[i];

    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    int failed = add_actions(&actions, spec, control, crash);
    if (!failed)
        failed = posix_spawn(pid, spec->binary, &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return failed;
}

/* dup2 onto itself would leave close-on-exec set: keep our ends above the numbers that the child uses. */
static int move_up(int fd)
{
    if (fd < 0 || fd > 10)
        return fd;
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 11);
    close(fd);
    return moved;
}

weir_err weir_process_spawn(const struct weir_process_spec *spec, struct weir_process *process,
                            struct weir_error *error)
{
    int pair[2] = {-1, -1}, pipe_ends[2] = {-1, -1};
    weir_err err = WEIR_OK;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0 ||
        pipe2(pipe_ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot make the executor's control line");
        goto out;
    }
    for (int i = 0; i < 2; i++) {
        pair[i] = move_up(pair[i]);
        pipe_ends[i] = move_up(pipe_ends[i]);
    }
    int failed = spawn(spec, pair[1], pipe_ends[1], &process->pid);
    if (failed) {
        errno = failed;
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot start the executor process");
        goto out;
    }
    err = write_record(spec, process->pid, error);
    if (err) {
        weir_process_kill(process->pid); /* it is waited for like any other */
        err = WEIR_OK;
    }
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    process->control_fd = pair[0];
    process->crash_fd = pipe_ends[0];
    pair[0] = pipe_ends[0] = -1;
out:
    for (int i = 0; i < 2; i++) {
        if (pair[i] >= 0)
            close(pair[i]);
        if (pipe_ends[i] >= 0)
            close(pipe_ends[i]);
    }
    return err;
}

void weir_process_kill(pid_t pid)
{
    kill(-pid, SIGKILL);
    kill(pid, SIGKILL);
}

void weir_process_forget(const char *run_directory, const char *executor_id)
{
    char path[4096];
    record_path(path, run_directory, executor_id);
    unlink(path);
}

void weir_process_rotate_output(const char *path, int64_t size_max)
{
    struct stat info;
    if (stat(path, &info) != 0 || info.st_size <= size_max)
        return;
    char kept[4200];
    snprintf(kept, sizeof kept, "%s.1", path);
    int from = open(path, O_RDWR | O_CLOEXEC), to = open(kept, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    uint8_t bytes[65536];
    ssize_t got = -1;
    while (from >= 0 && to >= 0 && (got = read(from, bytes, sizeof bytes)) > 0)
        if (write(to, bytes, (size_t)got) != got)
            break; /* the disk is full: the bound matters more than the copy */
    if (from >= 0 && ftruncate(from, 0) == 0 && got != 0)
        unlink(kept);
    if (from >= 0)
        close(from);
    if (to >= 0)
        close(to);
}

static bool is_executor_id(const char *name)
{
    return strlen(name) == WEIR_TM_EXECUTOR_ID_SIZE - 1 &&
           strspn(name, "0123456789abcdef") == WEIR_TM_EXECUTOR_ID_SIZE - 1;
}

int weir_process_orphans(const char *run_directory, struct weir_tm_orphan *orphans, int max)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/" RECORDS, run_directory);
    DIR *directory = opendir(path);
    if (!directory)
        return 0;
    int count = 0;
    for (struct dirent *entry; count < max && (entry = readdir(directory));) {
        if (!is_executor_id(entry->d_name))
            continue;
        struct weir_tm_orphan *orphan = &orphans[count];
        memcpy(orphan->executor_id, entry->d_name, sizeof orphan->executor_id);
        record_path(path, run_directory, entry->d_name);
        FILE *file = fopen(path, "re");
        if (!file)
            continue;
        if (fscanf(file, "%" SCNu32 " %" SCNu64, &orphan->pid, &orphan->start_time) == 2)
            count++;
        fclose(file);
    }
    closedir(directory);
    return count;
}

void weir_process_kill_orphan(const char *run_directory, const struct weir_tm_orphan *orphan)
{
    pid_t pid = (pid_t)orphan->pid;
    if (pid > 1 && orphan->start_time != 0 && start_time_of(pid) == orphan->start_time)
        weir_process_kill(pid);
    weir_process_forget(run_directory, orphan->executor_id);
}
