/* cluster start|stop|status: daemons of this host, under one $WEIR_HOME. A daemon says that it is ready by run/NAME.json. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/daemon.h"
#include "client_int.h"

#define START_TIMEOUT_MS 15000
#define STOP_TIMEOUT_MS 10000
#define POLL_MS 5
#define DAEMONS_MAX 256
#define ARGUMENTS_MAX (2 * WEIR_CLIENT_PAIRS_MAX + 32)
#define LAST_LINES 10

extern char **environ;

struct daemon_file {
    char name[64];
    pid_t pid;
    json_t *file;
};

/* The value of a variable in another process's environment; NULL: not set, or not to be read. Freed by the caller. */
static char *variable_of(pid_t pid, const char *name)
{
    char path[64], *value = NULL, *line = NULL;
    size_t size = 0, name_size = strlen(name);
    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    FILE *file = fopen(path, "re");
    while (file && !value && getdelim(&line, &size, 0, file) > 0)
        if (strncmp(line, name, name_size) == 0 && line[name_size] == '=')
            value = weir_strdup(line + name_size + 1);
    free(line);
    if (file)
        fclose(file);
    return value;
}

static bool same_place(const char *a, const char *b)
{
    struct stat x, y;
    return strcmp(a, b) == 0 || (stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

/* A pid that was given to another program in the meantime is not ours; nor is a daemon of another $WEIR_HOME. */
static bool is_alive(pid_t pid, const char *home)
{
    char path[64], target[4096];
    snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
    ssize_t size = pid > 1 ? readlink(path, target, sizeof target - 1) : -1;
    if (size <= 0)
        return false;
    target[size] = 0;
    const char *slash = strrchr(target, '/');
    if (strncmp(slash ? slash + 1 : target, "weir-", 5) != 0)
        return false;
    char *theirs = variable_of(pid, "WEIR_HOME");
    if (!theirs || !*theirs) {
        char *user = variable_of(pid, "HOME");
        free(theirs);
        theirs = user ? weir_format("%s/.weir", user) : NULL;
        free(user);
    }
    bool ours = !theirs || same_place(theirs, home);
    free(theirs);
    return ours;
}

static int by_name(const void *a, const void *b)
{
    return strverscmp(((const struct daemon_file *)a)->name, ((const struct daemon_file *)b)->name);
}

static void free_daemons(struct daemon_file *daemons, int count)
{
    for (int i = 0; i < count; i++)
        json_decref(daemons[i].file);
}

/* The daemons recorded in run/: the JobManager, then the TaskManagers. -1: they cannot be listed (said). */
static int read_daemons(struct weir_client *client, const char *home, struct daemon_file *daemons)
{
    char *path = weir_format("%s/run", home);
    errno = 0;
    DIR *directory = opendir(path);
    int count = 0;
    for (struct dirent *entry; directory && count < DAEMONS_MAX && (errno = 0, entry = readdir(directory));) {
        size_t size = strlen(entry->d_name);
        if (size < 6 || size >= sizeof daemons->name || strcmp(entry->d_name + size - 5, ".json") != 0)
            continue;
        char *file = weir_format("%s/%s", path, entry->d_name);
        json_t *json = json_load_file(file, 0, NULL);
        free(file);
        if (!json && errno == ENOENT)
            errno = 0; /* it has just ended */
        if (!json && errno)
            break;
        if (!json)
            continue;
        struct daemon_file *daemon = &daemons[count++];
        snprintf(daemon->name, sizeof daemon->name, "%.*s", (int)(size - 5), entry->d_name);
        daemon->pid = (pid_t)weir_json_number(json, "pid");
        daemon->file = json;
    }
    int failed = errno == ENOENT ? 0 : errno;
    if (directory)
        closedir(directory);
    if (failed)
        weir_client_fail(client, EXIT_FAILED, NULL, "cannot see what runs in %s: %s", path, strerror(failed));
    free(path);
    if (failed) {
        free_daemons(daemons, count);
        return -1;
    }
    qsort(daemons, (size_t)count, sizeof *daemons, by_name);
    return count;
}

static bool port_is_free(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    bool ok = bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return ok;
}

struct start {
    struct weir_client *client;
    const struct weir_config *config;
    const char *home;
    int taskmanagers, slots;
    int rest_port, rpc_port;
    char *address;
    pid_t pids[DAEMONS_MAX]; /* what was started, in order */
    int pid_count;
};

/* A daemon's command line. */
struct line {
    char *argv[ARGUMENTS_MAX + 1];
    int argc;
};

static void add(struct line *line, char *take_text)
{
    weir_assert(line->argc < ARGUMENTS_MAX);
    line->argv[line->argc++] = take_text;
}

static void add_pair(struct line *line, char *take_pair)
{
    add(line, weir_strdup("-D"));
    add(line, take_pair);
}

static struct line line_of(const struct start *start, const char *program, const char *name)
{
    struct line line = {.argc = 0};
    add(&line, weir_client_binary(program));
    add(&line, weir_strdup("--name"));
    add(&line, weir_strdup(name));
    if (start->client->config) {
        add(&line, weir_strdup("--config"));
        add(&line, weir_strdup(start->client->config));
    }
    add_pair(&line, weir_format("log.file=%s/logs/%s.log", start->home, name));
    for (int i = 0; i < start->client->pair_count; i++)
        add_pair(&line, weir_format("%s=%s", start->client->pairs[i].key, start->client->pairs[i].value));
    return line;
}

static char *output_path(const char *home, const char *name)
{
    return weir_format("%s/logs/%s.out", home, name);
}

static int64_t file_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
}

/* Starts one daemon in a session of its own; its early errors go to logs/NAME.out. False: it cannot be started (said). */
static bool start_daemon(struct start *start, const char *name, struct line *line)
{
    char *output = output_path(start->home, name);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_APPEND, 0640);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    pid_t pid = 0;
    int failed = posix_spawnp(&pid, line->argv[0], &actions, &attributes, line->argv, environ);
    if (failed)
        weir_client_fail(start->client, EXIT_FAILED, NULL, "cannot start %s with its output in %s: %s", line->argv[0],
                         output, strerror(failed));
    else
        start->pids[start->pid_count++] = pid;
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    for (int i = 0; i < line->argc; i++)
        free(line->argv[i]);
    free(output);
    return !failed;
}

/* The last lines of a file from `offset` on, each behind four spaces. */
static void add_last_lines(struct weir_buf *out, const char *path, int64_t offset)
{
    char lines[LAST_LINES][512] = {{0}};
    int count = 0;
    FILE *file = fopen(path, "re");
    if (!file || fseek(file, (long)offset, SEEK_SET) != 0) {
        if (file)
            fclose(file);
        return;
    }
    while (fgets(lines[count % LAST_LINES], sizeof lines[0], file))
        count++;
    fclose(file);
    bool ok = true;
    for (int i = count > LAST_LINES ? count - LAST_LINES : 0; i < count && ok; i++) {
        char *line = lines[i % LAST_LINES];
        line[strcspn(line, "\n")] = 0;
        ok = weir_buf_printf(out, "\n    %s", line);
    }
}

struct place { /* where a daemon's words begin that are of this start */
    int64_t output, log;
};

static struct place place_of(const char *home, const char *name)
{
    char *output = output_path(home, name), *log = weir_format("%s/logs/%s.log", home, name);
    struct place place = {file_size(output), file_size(log)};
    free(output);
    free(log);
    return place;
}

/* Says what happened to a daemon, with its last words. */
static void fail_with_words(struct start *start, const char *name, const struct place *from, const char *what)
{
    struct weir_buf words;
    char *output = output_path(start->home, name), *log = weir_format("%s/logs/%s.log", start->home, name);
    weir_buf_init(&words, (size_t)64 << 10);
    add_last_lines(&words, output, from->output);
    if (words.size == 0)
        add_last_lines(&words, log, from->log);
    weir_client_fail(start->client, EXIT_FAILED, NULL, "%s %s; its logs are %s and %s%s%s", name, what, log, output,
                     words.size ? ":" : "", words.data ? (const char *)words.data : "");
    weir_buf_fini(&words);
    free(output);
    free(log);
}

static void describe_end(char out[96], int status)
{
    if (WIFSIGNALED(status))
        snprintf(out, 96, "ended at its start by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(out, 96, "ended at its start with exit code %d", WEXITSTATUS(status));
}

/* Waits for run/NAME.json; NULL: it ended or took too long (said). */
static json_t *wait_ready(struct start *start, const char *name, pid_t pid, const struct place *from,
                          int64_t deadline_ms)
{
    char *path = weir_format("%s/run/%s.json", start->home, name);
    json_t *file = NULL;
    for (;;) {
        char what[96];
        int status;
        file = json_load_file(path, 0, NULL);
        if (file && weir_json_number(file, "pid") == pid)
            break;
        json_decref(file);
        file = NULL;
        if (waitpid(pid, &status, WNOHANG) == pid) {
            describe_end(what, status);
            fail_with_words(start, name, from, what);
            break;
        }
        if (weir_clock_mono_ms() > deadline_ms) {
            snprintf(what, sizeof what, "is not ready after %d s", START_TIMEOUT_MS / 1000);
            fail_with_words(start, name, from, what);
            break;
        }
        poll(NULL, 0, POLL_MS);
    }
    free(path);
    return file;
}

/* A port left at its default that another program has: any free one. */
static bool port_is_taken(const struct weir_config *config, const char *key)
{
    return strcmp(weir_config_origin(config, key), "default") == 0 && !port_is_free((int)weir_config_int(config, key));
}

static int start_jobmanager(struct start *start)
{
    struct line line = line_of(start, "weir-jobmanager", "jobmanager");
    struct place from = place_of(start->home, "jobmanager");
    if (port_is_taken(start->config, "rest.port"))
        add_pair(&line, weir_strdup("rest.port=0"));
    if (port_is_taken(start->config, "jobmanager.rpc.port"))
        add_pair(&line, weir_strdup("jobmanager.rpc.port=0"));
    if (!start_daemon(start, "jobmanager", &line))
        return EXIT_FAILED;
    int64_t deadline_ms = weir_clock_mono_ms() + START_TIMEOUT_MS;
    json_t *file = wait_ready(start, "jobmanager", start->pids[0], &from, deadline_ms);
    if (!file)
        return EXIT_FAILED;
    start->rest_port = (int)weir_json_number(file, "rest_port");
    start->rpc_port = (int)weir_json_number(file, "rpc_port");
    start->address = weir_client_host_address(file);
    json_decref(file);
    return EXIT_DONE;
}

static int start_taskmanagers(struct start *start)
{
    struct place *from = weir_zalloc((size_t)start->taskmanagers * sizeof *from);
    char name[64];
    int exit_code = EXIT_DONE;
    for (int i = 0; i < start->taskmanagers && exit_code == EXIT_DONE; i++) {
        snprintf(name, sizeof name, "taskmanager-%d", i + 1);
        struct line line = line_of(start, "weir-taskmanager", name);
        from[i] = place_of(start->home, name);
        add_pair(&line, weir_format("jobmanager.rpc.port=%d", start->rpc_port));
        add_pair(&line, weir_format("rest.port=%d", start->rest_port));
        add_pair(&line, weir_format("taskmanager.numberOfTaskSlots=%d", start->slots));
        exit_code = start_daemon(start, name, &line) ? EXIT_DONE : EXIT_FAILED;
    }
    int64_t deadline_ms = weir_clock_mono_ms() + START_TIMEOUT_MS;
    for (int i = 0; i < start->taskmanagers && exit_code == EXIT_DONE; i++) {
        snprintf(name, sizeof name, "taskmanager-%d", i + 1);
        json_t *file = wait_ready(start, name, start->pids[i + 1], &from[i], deadline_ms);
        exit_code = file ? EXIT_DONE : EXIT_FAILED;
        json_decref(file);
    }
    free(from);
    return exit_code;
}

/* What was started and did not become a cluster: ready or not, it ends. */
static void undo(struct start *start)
{
    int64_t deadline_ms = weir_clock_mono_ms() + STOP_TIMEOUT_MS;
    for (int i = start->pid_count; i-- > 0;)
        kill(start->pids[i], SIGTERM);
    for (int i = start->pid_count; i-- > 0;)
        while (waitpid(start->pids[i], NULL, WNOHANG) == 0) {
            if (weir_clock_mono_ms() > deadline_ms)
                kill(start->pids[i], SIGKILL);
            poll(NULL, 0, POLL_MS);
        }
}

/* SIGTERM to the TaskManagers, then to the JobManager; SIGKILL to what has not ended in time. */
static int stop_daemons(struct weir_client *client, const char *home, struct daemon_file *daemons, int count)
{
    int stopped = 0;
    for (int round = 0; round < 2; round++) {
        int64_t deadline_ms = weir_clock_mono_ms() + STOP_TIMEOUT_MS;
        for (int i = 0; i < count; i++)
            if ((strcmp(daemons[i].name, "jobmanager") == 0) == (round == 1) && is_alive(daemons[i].pid, home))
                stopped += kill(daemons[i].pid, SIGTERM) == 0;
        for (int i = 0; i < count; i++) {
            if ((strcmp(daemons[i].name, "jobmanager") == 0) != (round == 1))
                continue;
            while (is_alive(daemons[i].pid, home)) {
                waitpid(daemons[i].pid, NULL, WNOHANG);
                if (weir_clock_mono_ms() > deadline_ms) {
                    weir_client_note(client, "%s does not end; killing it", daemons[i].name);
                    kill(daemons[i].pid, SIGKILL);
                    deadline_ms = INT64_MAX;
                }
                poll(NULL, 0, POLL_MS);
            }
        }
    }
    return stopped;
}

/* One start or stop of a home at a time; -1: another one is at work, or the directory cannot be written (said). */
static int lock_home(struct weir_client *client, const char *home)
{
    struct weir_error error;
    char *run = weir_format("%s/run", home), *logs = weir_format("%s/logs", home);
    int fd = -1;
    weir_err err = weir_make_directories(run, &error);
    if (!err)
        err = weir_make_directories(logs, &error);
    if (err)
        weir_client_fail(client, EXIT_FAILED, "it is the place of a cluster's logs and files; set WEIR_HOME to another",
                         "%s", error.message);
    else if (access(run, W_OK) != 0 || access(logs, W_OK) != 0 ||
             (fd = open(run, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        weir_client_fail(client, EXIT_FAILED, "it is the place of a cluster's logs and files; set WEIR_HOME to another",
                         "cannot write below %s: %s", home, strerror(errno));
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
        weir_client_fail(client, EXIT_FAILED, NULL, "another weir cluster start or stop is at work in %s", home);
        close(fd);
        fd = -1;
    }
    free(logs);
    free(run);
    return fd;
}

static int cluster_stop(struct weir_client *client, const char *home)
{
    struct daemon_file daemons[DAEMONS_MAX];
    int count = read_daemons(client, home, daemons);
    if (count < 0)
        return EXIT_FAILED;
    int lock = count ? lock_home(client, home) : -1;
    if (count && lock < 0) {
        free_daemons(daemons, count);
        return EXIT_FAILED;
    }
    int stopped = stop_daemons(client, home, daemons, count);
    for (int i = 0; i < count; i++) { /* what a killed daemon left */
        char *path = weir_format("%s/run/%s.json", home, daemons[i].name);
        unlink(path);
        free(path);
        path = weir_format("%s/run/%s.sock", home, daemons[i].name);
        unlink(path);
        free(path);
    }
    free_daemons(daemons, count);
    if (lock >= 0)
        close(lock);
    if (client->json)
        printf("{\"stopped\": %d}\n", stopped);
    else if (stopped)
        printf("stopped %d process%s\n", stopped, stopped == 1 ? "" : "es");
    else
        printf("no cluster is running in %s\n", home);
    return EXIT_DONE;
}

/* EXIT_DONE: none runs in this home. */
static int check_none_runs(struct weir_client *client, const char *home)
{
    struct daemon_file daemons[DAEMONS_MAX];
    int count = read_daemons(client, home, daemons), exit_code = count < 0 ? EXIT_FAILED : EXIT_DONE;
    for (int i = 0; i < count && exit_code == EXIT_DONE; i++)
        if (is_alive(daemons[i].pid, home))
            exit_code = weir_client_fail(client, EXIT_FAILED, NULL,
                                         "a cluster is already running in %s (%s, pid %d); weir cluster stop ends it",
                                         home, daemons[i].name, (int)daemons[i].pid);
    free_daemons(daemons, count < 0 ? 0 : count);
    return exit_code;
}

static void print_started(const struct start *start)
{
    if (start->client->json) {
        json_t *reply = json_pack("{s:s, s:i, s:i, s:s}", "rest", start->address, "taskmanagers", start->taskmanagers,
                                  "slots", start->taskmanagers * start->slots, "home", start->home);
        weir_client_print_json(reply);
        json_decref(reply);
        return;
    }
    printf("JobManager at %s, %d TaskManager%s with %d slot%s each; files in %s\n", start->address, start->taskmanagers,
           start->taskmanagers == 1 ? "" : "s", start->slots, start->slots == 1 ? "" : "s", start->home);
}

static int cluster_start(struct weir_client *client, const char *home)
{
    struct weir_config *config;
    if (client->taskmanagers > DAEMONS_MAX - 1)
        return weir_client_fail(client, EXIT_USAGE, NULL, "at most %d TaskManagers on one host", DAEMONS_MAX - 1);
    int exit_code = weir_client_config(client, client->config, &config);
    if (exit_code != EXIT_DONE)
        return exit_code;
    int lock = lock_home(client, home);
    exit_code = lock < 0 ? EXIT_FAILED : check_none_runs(client, home);
    if (exit_code == EXIT_DONE) {
        struct start start = {.client = client, .config = config, .home = home};
        start.taskmanagers = client->taskmanagers ? client->taskmanagers : 1;
        start.slots = client->slots ? client->slots : (int)weir_config_int(config, "taskmanager.numberOfTaskSlots");
        exit_code = start_jobmanager(&start);
        if (exit_code == EXIT_DONE)
            exit_code = start_taskmanagers(&start);
        if (exit_code == EXIT_DONE)
            print_started(&start);
        else
            undo(&start);
        free(start.address);
    }
    if (lock >= 0)
        close(lock);
    weir_config_free(config);
    return exit_code;
}

static json_t *list_processes(struct weir_client *client, const char *home, int *alive)
{
    struct daemon_file daemons[DAEMONS_MAX];
    int count = read_daemons(client, home, daemons);
    if (count < 0)
        return NULL;
    json_t *list = json_array();
    *alive = 0;
    for (int i = 0; i < count; i++) {
        bool lives = is_alive(daemons[i].pid, home);
        *alive += lives;
        json_t *entry = json_deep_copy(daemons[i].file);
        json_object_set_new(entry, "name", json_string(daemons[i].name));
        json_object_set_new(entry, "running", json_boolean(lives));
        json_array_append_new(list, entry);
        if (!client->json)
            printf("%-16s pid %-7d %s%s%s\n", daemons[i].name, (int)daemons[i].pid,
                   weir_client_color(client, 1, lives ? WEIR_COLOR_GOOD : WEIR_COLOR_BAD), lives ? "running" : "dead",
                   weir_client_color(client, 1, WEIR_COLOR_NONE));
    }
    free_daemons(daemons, count);
    return list;
}

static void print_overview(struct weir_client *client, const json_t *overview)
{
    int taskmanagers = (int)weir_json_number(overview, "taskmanagers"),
        jobs = (int)weir_json_number(overview, "jobs-running");
    printf("%s: %d TaskManager%s, %d of %d slots free, %d job%s running\n", weir_client_address(client), taskmanagers,
           taskmanagers == 1 ? "" : "s", (int)weir_json_number(overview, "slots-available"),
           (int)weir_json_number(overview, "slots-total"), jobs, jobs == 1 ? "" : "s");
}

/* Of this home; with -m or WEIR_REST of the cluster that is named, wherever its processes are. */
static int cluster_status(struct weir_client *client, const char *home)
{
    const char *variable = getenv("WEIR_REST");
    bool named = client->rest || (variable && *variable);
    int alive = 0, exit_code = EXIT_DONE;
    json_t *list = named ? json_array() : list_processes(client, home, &alive), *overview = NULL;
    if (!list)
        return EXIT_FAILED;
    if (alive || named)
        exit_code = weir_client_call(client, "GET", "/overview", NULL, &overview);
    else if (!client->json)
        printf("no cluster is running in %s\n", home);
    if (client->json) {
        json_t *reply = json_pack("{s:O, s:O?}", "processes", list, "overview", overview);
        weir_client_print_json(reply);
        json_decref(reply);
    } else if (overview) {
        print_overview(client, overview);
    }
    if (!alive && !named)
        exit_code = client->json ? weir_client_fail(client, EXIT_UNREACHABLE, NULL, "no cluster is running in %s", home)
                                 : EXIT_UNREACHABLE;
    json_decref(list);
    json_decref(overview);
    return exit_code;
}

static int check_options(struct weir_client *client, const char *verb)
{
    bool starts = strcmp(verb, "start") == 0, status = strcmp(verb, "status") == 0;
    const char *wrong = starts                 ? NULL
                        : client->taskmanagers ? "--taskmanagers"
                        : client->slots        ? "--slots"
                        : client->pair_count   ? "-D"
                        : client->config       ? "--config"
                                               : NULL;
    if (!status && client->rest)
        wrong = "-m";
    if (wrong)
        return weir_client_fail(client, EXIT_USAGE, NULL, "%s does not go with weir cluster %s", wrong, verb);
    return EXIT_DONE;
}

int weir_command_cluster(struct weir_client *client)
{
    static const struct {
        const char *name;
        int (*run)(struct weir_client *client, const char *home);
    } verbs[] = {{"start", cluster_start}, {"stop", cluster_stop}, {"status", cluster_status}};
    const char *verb = client->arguments[0];
    char nearest[160];
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(verb, verbs[i].name) != 0)
            continue;
        char *home = weir_home_directory();
        int exit_code = check_options(client, verb);
        if (exit_code == EXIT_DONE)
            exit_code = verbs[i].run(client, home);
        free(home);
        return exit_code;
    }
    return weir_client_fail(client, EXIT_USAGE, NULL, "weir cluster knows start, stop and status, not '%.200s'%s", verb,
                            weir_client_nearest_choice(nearest, verb, client->command->choices));
}
