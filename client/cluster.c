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
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/daemon.h"
#include "client_int.h"

#define START_TIMEOUT_MS 15000
#define STOP_TIMEOUT_MS 10000
#define POLL_MS 5
#define DAEMONS_MAX 256
#define ARGUMENTS_MAX (2 * WEIR_CLIENT_PAIRS_MAX + 32)

extern char **environ;

struct daemon_file {
    char name[64];
    pid_t pid;
    json_t *file;
};

static bool is_alive(pid_t pid)
{
    /* A pid that was given to another program in the meantime is not ours. */
    char path[64], target[4096];
    snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
    ssize_t size = pid > 1 ? readlink(path, target, sizeof target - 1) : -1;
    if (size <= 0)
        return false;
    target[size] = 0;
    const char *slash = strrchr(target, '/');
    return strncmp(slash ? slash + 1 : target, "weir-", 5) == 0;
}

/* The daemons recorded in run/; TaskManagers first. */
static int read_daemons(const char *home, struct daemon_file *daemons)
{
    char *path = weir_format("%s/run", home);
    DIR *directory = opendir(path);
    int count = 0;
    for (struct dirent *entry; directory && count < DAEMONS_MAX && (entry = readdir(directory));) {
        size_t size = strlen(entry->d_name);
        if (size < 6 || size >= sizeof daemons->name || strcmp(entry->d_name + size - 5, ".json") != 0)
            continue;
        char *file = weir_format("%s/%s", path, entry->d_name);
        json_t *json = json_load_file(file, 0, NULL);
        free(file);
        if (!json)
            continue;
        struct daemon_file *daemon = &daemons[count++];
        snprintf(daemon->name, sizeof daemon->name, "%.*s", (int)(size - 5), entry->d_name);
        daemon->pid = (pid_t)weir_json_number(json, "pid");
        daemon->file = json;
        if (strcmp(daemon->name, "jobmanager") != 0 && count > 1) {
            struct daemon_file swap = daemons[0];
            daemons[0] = *daemon;
            *daemon = swap;
        }
    }
    if (directory)
        closedir(directory);
    free(path);
    return count;
}

static void free_daemons(struct daemon_file *daemons, int count)
{
    for (int i = 0; i < count; i++)
        json_decref(daemons[i].file);
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

/* Starts one daemon in a session of its own; its early errors go to logs/NAME.out. */
static pid_t start_daemon(const char *program, const char *home, const char *name, char **more, int more_count)
{
    char *binary = weir_client_binary(program);
    char *output = weir_format("%s/logs/%s.out", home, name);
    char *log = weir_format("log.file=%s/logs/%s.log", home, name);
    char *argv[ARGUMENTS_MAX + 8] = {binary, weir_strdup("--name"), weir_strdup(name), weir_strdup("-D"), log};
    int argc = 5;
    for (int i = 0; i < more_count && argc < ARGUMENTS_MAX; i++)
        argv[argc++] = more[i];
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_APPEND, 0640);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    pid_t pid = 0;
    int failed = posix_spawnp(&pid, binary, &actions, &attributes, argv, environ);
    if (failed)
        fprintf(stderr, "weir: cannot start %s: %s\n", binary, strerror(failed));
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    free(argv[1]);
    free(argv[2]);
    free(argv[3]);
    free(log);
    free(output);
    free(binary);
    return failed ? 0 : pid;
}

static void print_last_lines(const char *home, const char *name)
{
    char *path = weir_format("%s/logs/%s.out", home, name);
    FILE *file = fopen(path, "re");
    char line[1024];
    while (file && fgets(line, sizeof line, file))
        fprintf(stderr, "    %s", line);
    if (file)
        fclose(file);
    free(path);
}

/* Waits for run/NAME.json; NULL: it ended or took too long (said). */
static json_t *wait_ready(const char *home, const char *name, pid_t pid, int64_t deadline_ms)
{
    char *path = weir_format("%s/run/%s.json", home, name);
    json_t *file = NULL;
    for (;;) {
        file = json_load_file(path, 0, NULL);
        if (file && weir_json_number(file, "pid") == pid)
            break;
        json_decref(file);
        file = NULL;
        int status;
        if (waitpid(pid, &status, WNOHANG) == pid) {
            fprintf(stderr, "weir: %s ended at its start:\n", name);
            print_last_lines(home, name);
            break;
        }
        if (weir_clock_mono_ms() > deadline_ms) {
            fprintf(stderr, "weir: %s is not ready after %d s; see %s/logs/%s.log\n", name, START_TIMEOUT_MS / 1000,
                    home, name);
            break;
        }
        poll(NULL, 0, POLL_MS);
    }
    free(path);
    return file;
}

struct start {
    struct weir_client *client;
    const struct weir_config *config;
    const char *home;
    char *pairs[2 * WEIR_CLIENT_PAIRS_MAX]; /* the user's -D, as arguments */
    int pair_count;
    int rest_port, rpc_port;
};

static void add_pair(char **arguments, int *count, char *pair)
{
    arguments[(*count)++] = weir_strdup("-D");
    arguments[(*count)++] = pair;
}

/* A port left at its default that another program has: any free one. */
static bool port_is_taken(const struct weir_config *config, const char *key)
{
    return strcmp(weir_config_origin(config, key), "default") == 0 && !port_is_free((int)weir_config_int(config, key));
}

static int start_jobmanager(struct start *start)
{
    char *arguments[ARGUMENTS_MAX];
    int count = 0;
    for (int i = 0; i < start->pair_count; i++)
        arguments[count++] = weir_strdup(start->pairs[i]);
    if (port_is_taken(start->config, "rest.port"))
        add_pair(arguments, &count, weir_strdup("rest.port=0"));
    if (port_is_taken(start->config, "jobmanager.rpc.port"))
        add_pair(arguments, &count, weir_strdup("jobmanager.rpc.port=0"));
    pid_t pid = start_daemon("weir-jobmanager", start->home, "jobmanager", arguments, count);
    for (int i = 0; i < count; i++)
        free(arguments[i]);
    json_t *file = pid ? wait_ready(start->home, "jobmanager", pid, weir_clock_mono_ms() + START_TIMEOUT_MS) : NULL;
    if (!file)
        return EXIT_FAILED;
    start->rest_port = (int)weir_json_number(file, "rest_port");
    start->rpc_port = (int)weir_json_number(file, "rpc_port");
    json_decref(file);
    return EXIT_DONE;
}

static int start_taskmanagers(struct start *start)
{
    pid_t pids[DAEMONS_MAX];
    char name[64];
    for (int i = 0; i < start->client->taskmanagers; i++) {
        char *arguments[ARGUMENTS_MAX];
        int count = 0;
        for (int k = 0; k < start->pair_count; k++)
            arguments[count++] = weir_strdup(start->pairs[k]);
        add_pair(arguments, &count, weir_format("jobmanager.rpc.port=%d", start->rpc_port));
        add_pair(arguments, &count, weir_format("rest.port=%d", start->rest_port));
        add_pair(arguments, &count, weir_format("taskmanager.numberOfTaskSlots=%d", start->client->slots));
        snprintf(name, sizeof name, "taskmanager-%d", i + 1);
        pids[i] = start_daemon("weir-taskmanager", start->home, name, arguments, count);
        for (int k = 0; k < count; k++)
            free(arguments[k]);
        if (!pids[i])
            return EXIT_FAILED;
    }
    int64_t deadline_ms = weir_clock_mono_ms() + START_TIMEOUT_MS;
    for (int i = 0; i < start->client->taskmanagers; i++) {
        snprintf(name, sizeof name, "taskmanager-%d", i + 1);
        json_t *file = wait_ready(start->home, name, pids[i], deadline_ms);
        if (!file)
            return EXIT_FAILED;
        json_decref(file);
    }
    return EXIT_DONE;
}

/* SIGTERM to the TaskManagers, then to the JobManager; SIGKILL to what has not ended in time. */
static int stop_daemons(struct daemon_file *daemons, int count)
{
    int stopped = 0;
    for (int round = 0; round < 2; round++) {
        int64_t deadline_ms = weir_clock_mono_ms() + STOP_TIMEOUT_MS;
        for (int i = 0; i < count; i++)
            if ((strcmp(daemons[i].name, "jobmanager") == 0) == (round == 1) && is_alive(daemons[i].pid))
                stopped += kill(daemons[i].pid, SIGTERM) == 0;
        for (int i = 0; i < count; i++) {
            if ((strcmp(daemons[i].name, "jobmanager") == 0) != (round == 1))
                continue;
            while (is_alive(daemons[i].pid)) {
                waitpid(daemons[i].pid, NULL, WNOHANG);
                if (weir_clock_mono_ms() > deadline_ms) {
                    fprintf(stderr, "weir: %s does not end; killing it\n", daemons[i].name);
                    kill(daemons[i].pid, SIGKILL);
                    deadline_ms = INT64_MAX;
                }
                poll(NULL, 0, POLL_MS);
            }
        }
    }
    return stopped;
}

static int cluster_stop(struct weir_client *client, const char *home)
{
    struct daemon_file daemons[DAEMONS_MAX];
    int count = read_daemons(home, daemons);
    int stopped = stop_daemons(daemons, count);
    for (int i = 0; i < count; i++) { /* what a killed daemon left */
        char *path = weir_format("%s/run/%s.json", home, daemons[i].name);
        unlink(path);
        free(path);
        path = weir_format("%s/run/%s.sock", home, daemons[i].name);
        unlink(path);
        free(path);
    }
    free_daemons(daemons, count);
    if (client->json)
        printf("{\"stopped\": %d}\n", stopped);
    else if (stopped)
        printf("stopped %d processes\n", stopped);
    else
        printf("no cluster is running in %s\n", home);
    return EXIT_DONE;
}

static int cluster_start(struct weir_client *client, const char *home)
{
    struct weir_error error;
    struct weir_config *config;
    struct daemon_file daemons[DAEMONS_MAX];
    int count = read_daemons(home, daemons);
    for (int i = 0; i < count; i++)
        if (is_alive(daemons[i].pid)) {
            fprintf(stderr, "weir: a cluster is already running in %s (%s, pid %d); weir cluster stop ends it\n", home,
                    daemons[i].name, (int)daemons[i].pid);
            free_daemons(daemons, count);
            return EXIT_FAILED;
        }
    free_daemons(daemons, count);
    if (client->taskmanagers > DAEMONS_MAX - 1) {
        fprintf(stderr, "weir: at most %d TaskManagers on one host\n", DAEMONS_MAX - 1);
        return EXIT_USAGE;
    }
    char *logs = weir_format("%s/logs", home);
    weir_err err = weir_config_load(NULL, home, client->pairs, client->pair_count, &config, &error);
    if (!err)
        err = weir_make_directories(logs, &error);
    free(logs);
    if (err) {
        fprintf(stderr, "weir: %s\n", error.message);
        return err == WEIR_ERR_INVALID ? EXIT_USAGE : EXIT_FAILED;
    }
    struct start start = {.client = client, .config = config, .home = home};
    for (int i = 0; i < client->pair_count; i++)
        add_pair(start.pairs, &start.pair_count, weir_format("%s=%s", client->pairs[i].key, client->pairs[i].value));
    int exit_code = start_jobmanager(&start);
    if (exit_code == EXIT_DONE)
        exit_code = start_taskmanagers(&start);
    if (exit_code != EXIT_DONE) {
        count = read_daemons(home, daemons);
        stop_daemons(daemons, count);
        free_daemons(daemons, count);
    } else if (client->json) {
        printf("{\"rest\": \"http://127.0.0.1:%d\", \"taskmanagers\": %d, \"slots\": %d}\n", start.rest_port,
               client->taskmanagers, client->taskmanagers * client->slots);
    } else {
        printf("JobManager at http://127.0.0.1:%d, %d TaskManager%s with %d slot%s each; files in %s\n",
               start.rest_port, client->taskmanagers, client->taskmanagers == 1 ? "" : "s", client->slots,
               client->slots == 1 ? "" : "s", home);
    }
    for (int i = 0; i < start.pair_count; i++)
        free(start.pairs[i]);
    weir_config_free(config);
    return exit_code;
}

static int cluster_status(struct weir_client *client, const char *home)
{
    struct daemon_file daemons[DAEMONS_MAX];
    int count = read_daemons(home, daemons), alive = 0;
    json_t *list = json_array();
    for (int i = count - 1; i >= 0; i--) {
        bool lives = is_alive(daemons[i].pid);
        alive += lives;
        json_t *entry = json_deep_copy(daemons[i].file);
        json_object_set_new(entry, "name", json_string(daemons[i].name));
        json_object_set_new(entry, "running", json_boolean(lives));
        json_array_append_new(list, entry);
        if (!client->json)
            printf("%-16s pid %-7d %s\n", daemons[i].name, (int)daemons[i].pid, lives ? "running" : "dead");
    }
    int exit_code = alive ? EXIT_DONE : EXIT_UNREACHABLE;
    json_t *overview = NULL;
    if (alive)
        exit_code = weir_client_call(client, "GET", "/overview", NULL, &overview);
    if (client->json) {
        json_t *reply = json_pack("{s:o, s:O?}", "processes", list, "overview", overview);
        weir_client_print_json(reply);
        json_decref(reply);
    } else if (!alive) {
        printf("no cluster is running in %s\n", home);
    } else if (overview) {
        printf("%s: %d TaskManagers, %d of %d slots free, %d jobs running\n", weir_client_address(client),
               (int)weir_json_number(overview, "taskmanagers"), (int)weir_json_number(overview, "slots-available"),
               (int)weir_json_number(overview, "slots-total"), (int)weir_json_number(overview, "jobs-running"));
    }
    if (!client->json)
        json_decref(list);
    json_decref(overview);
    free_daemons(daemons, count);
    return exit_code;
}

int weir_command_cluster(struct weir_client *client)
{
    static const char *const verbs[] = {"start", "stop", "status"};
    const char *verb = client->arguments[0];
    char *home = weir_home_directory();
    int exit_code = EXIT_USAGE;
    if (strcmp(verb, "start") == 0) {
        exit_code = cluster_start(client, home);
    } else if (strcmp(verb, "stop") == 0) {
        exit_code = cluster_stop(client, home);
    } else if (strcmp(verb, "status") == 0) {
        exit_code = cluster_status(client, home);
    } else {
        const char *nearest = weir_nearest(verb, verbs, 3);
        fprintf(stderr, "weir: weir cluster knows start, stop and status, not '%s'%s%s%s\n", verb,
                nearest ? "; do you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
    }
    free(home);
    return exit_code;
}
