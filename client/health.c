/* weir health: are the daemons of this $WEIR_HOME well? For a container's probes and for people. A JobManager is asked over REST (a
 * path that wants no token), a TaskManager through its socket in run/. */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/daemon.h"
#include "client_int.h"
#include "http/http_client.h"

#define TIMEOUT_MS 3000
#define ANSWER_SIZE 1024

struct health {
    bool live;  /* it answers */
    bool ready; /* it can do its work */
    char text[256];
};

static void ask_jobmanager(const json_t *file, struct health *health)
{
    int port = (int)weir_json_number(file, "rest_port");
    char *base = weir_client_host_address(file), *url = weir_format("%s/weir/health", base);
    free(base);
    struct weir_http_request request = {.method = "GET",
                                        .url = url,
                                        .any_certificate = true,
                                        .connect_timeout_ms = TIMEOUT_MS,
                                        .timeout_ms = TIMEOUT_MS};
    struct weir_http_response response;
    struct weir_error error;
    if (weir_http_call(&request, &response, &error) != WEIR_OK) {
        snprintf(health->text, sizeof health->text, "%.200s", error.message);
    } else {
        health->live = health->ready = response.status < 500;
        snprintf(health->text, sizeof health->text, "REST on port %d%s", port,
                 health->live ? "" : " answers with an error of its own");
        weir_http_response_fini(&response);
    }
    free(url);
}

/* The line that the socket says; false: nothing in time. */
static bool read_status(const char *run_directory, const char *name, char answer[ANSWER_SIZE])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval timeout = {.tv_sec = TIMEOUT_MS / 1000};
    int directory = open(run_directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%.60s.sock", directory, name);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    ssize_t size = -1;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        size = recv(fd, answer, ANSWER_SIZE - 1, MSG_WAITALL);
    answer[size > 0 ? size : 0] = 0;
    close(fd);
    close(directory);
    return size > 0;
}

static void ask_taskmanager(const char *run_directory, const char *name, struct health *health)
{
    char answer[ANSWER_SIZE];
    json_t *status = read_status(run_directory, name, answer) ? json_loads(answer, 0, NULL) : NULL;
    if (!status) {
        snprintf(health->text, sizeof health->text, "it does not answer");
        return;
    }
    health->live = true;
    health->ready = json_is_true(json_object_get(status, "registered"));
    snprintf(health->text, sizeof health->text, "%s, %d slots, %d executors",
             health->ready ? "registered at the JobManager" : "not registered at the JobManager",
             (int)weir_json_number(status, "slots"), (int)weir_json_number(status, "executors"));
    json_decref(status);
}

/* "taskmanager-1.sock" -> "taskmanager-1", a TaskManager; "jobmanager.json" with a port -> a JobManager. False: neither. */
static bool ask(const char *run_directory, const char *entry, char name[64], struct health *health)
{
    const char *dot = strrchr(entry, '.');
    if (!dot || dot == entry || (size_t)(dot - entry) >= 64)
        return false;
    snprintf(name, 64, "%.*s", (int)(dot - entry), entry);
    *health = (struct health){0};
    if (strcmp(dot, ".sock") == 0) {
        ask_taskmanager(run_directory, name, health);
        return true;
    }
    if (strcmp(dot, ".json") != 0)
        return false;
    char *path = weir_format("%s/%s", run_directory, entry);
    json_t *file = json_load_file(path, 0, NULL);
    free(path);
    bool is_jobmanager = json_object_get(file, "rest_port") != NULL;
    if (is_jobmanager)
        ask_jobmanager(file, health);
    json_decref(file);
    return is_jobmanager;
}

int weir_command_health(struct weir_client *client)
{
    char *home = weir_home_directory();
    char *run_directory = weir_format("%s/run", home);
    const char *wanted = client->argument_count ? client->arguments[0] : NULL;
    json_t *list = json_array();
    bool all_well = true;
    DIR *directory = opendir(run_directory);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        char name[64];
        struct health health;
        size_t size = wanted ? strlen(wanted) : 0;
        if (wanted && (strncmp(entry->d_name, wanted, size) != 0 || entry->d_name[size] != '.'))
            continue;
        if (!ask(run_directory, entry->d_name, name, &health))
            continue;
        all_well = all_well && (client->live ? health.live : health.ready);
        json_array_append_new(list, json_pack("{s:s, s:b, s:b, s:s}", "name", name, "live", health.live, "ready",
                                              health.ready, "text", health.text));
        if (!client->json)
            printf("%s: %s: %s\n", name,
                   health.ready  ? "ready"
                   : health.live ? "live, not ready"
                                 : "dead",
                   health.text);
    }
    if (directory)
        closedir(directory);
    int exit_code = json_array_size(list) == 0 ? EXIT_UNREACHABLE : all_well ? EXIT_DONE : EXIT_FAILED;
    if (client->json) {
        json_t *reply = json_pack("{s:O, s:b}", "daemons", list, "healthy", exit_code == EXIT_DONE);
        weir_client_print_json(reply);
        json_decref(reply);
    }
    if (exit_code == EXIT_UNREACHABLE)
        weir_client_fail(client, exit_code, NULL, "no %s runs in %s", wanted ? wanted : "daemon", home);
    else if (exit_code != EXIT_DONE && client->json)
        weir_client_fail(client, exit_code, NULL, "not every daemon of %s is well", home);
    json_decref(list);
    free(run_directory);
    free(home);
    return exit_code;
}
