/* logs: of a TaskManager, or the lines of all logs that speak of a job. With -f what is added is printed too, by asking for each file from
 * where the last answer ended. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "client_int.h"

#define FOLLOW_MS 500
#define FILES_MAX 1024

struct log_file {
    char *path; /* REST: "/taskmanagers/ID/logs/NAME" */
    char *name;
    int64_t offset;
    int64_t size;   /* as it was listed last */
    bool elsewhere; /* it cannot be had over REST: said once */
    char *rest;     /* an unfinished line */
};

struct logs {
    struct weir_client *client;
    const char *job; /* only lines with it; "": all */
    struct log_file files[FILES_MAX];
    int file_count;
};

static struct log_file *find_file(struct logs *logs, const char *path, const char *name)
{
    for (int i = 0; i < logs->file_count; i++)
        if (strcmp(logs->files[i].path, path) == 0)
            return &logs->files[i];
    if (logs->file_count == FILES_MAX)
        return NULL;
    struct log_file *file = &logs->files[logs->file_count++];
    *file = (struct log_file){.path = weir_strdup(path), .name = weir_strdup(name), .rest = weir_strdup("")};
    return file;
}

static void print_line(struct logs *logs, const struct log_file *file, const char *line)
{
    /* What jobs print has no job in it. */
    bool wanted = !*logs->job || strstr(file->name, ".out") || strstr(line, logs->job);
    if (!wanted)
        return;
    if (logs->client->json) {
        json_t *entry =
            json_pack("{s:o, s:o}", "file", weir_client_string(file->name), "line", weir_client_string(line));
        weir_client_print_json_line(entry);
        json_decref(entry);
    } else {
        printf("%s%s:%s %s\n", weir_client_color(logs->client, 1, WEIR_COLOR_DIM), file->name,
               weir_client_color(logs->client, 1, WEIR_COLOR_NONE), line);
    }
}

/* `flush`: an unfinished last line too. */
static void print_text(struct logs *logs, struct log_file *file, const char *text, bool flush)
{
    char *all = weir_format("%s%s", file->rest, text), *line = all;
    for (char *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        print_line(logs, file, line);
    }
    free(file->rest);
    file->rest = weir_strdup(flush ? "" : line);
    if (flush && *line)
        print_line(logs, file, line);
    free(all);
}

static int print_file(struct logs *logs, struct log_file *file, bool flush)
{
    char *text;
    size_t size;
    if (file->size < file->offset) /* it was rotated */
        file->offset = 0;
    if (file->size == file->offset && !flush)
        return EXIT_DONE;
    char *path = weir_format("%s?offset=%lld", file->path, (long long)file->offset);
    int exit_code = weir_client_text(logs->client, path, &text, &size);
    free(path);
    if (exit_code != EXIT_DONE)
        return exit_code;
    file->offset += (int64_t)size;
    print_text(logs, file, text, flush);
    free(text);
    return EXIT_DONE;
}

/* The files of a JobManager or TaskManager; those that jobs' executors begin while one follows are among them. */
static int print_files(struct logs *logs, const char *base, bool flush)
{
    json_t *reply, *log;
    size_t i;
    char *path = weir_format("%s/logs", base);
    int exit_code = weir_client_call(logs->client, "GET", path, NULL, &reply);
    free(path);
    if (exit_code != EXIT_DONE)
        return exit_code;
    json_array_foreach(json_object_get(reply, "logs"), i, log)
    {
        const char *name = weir_json_text(log, "name");
        path = weir_format("%s/logs/%s", base, name);
        struct log_file *file = find_file(logs, path, name);
        free(path);
        if (!file)
            continue;
        file->size = weir_json_number(log, "size");
        exit_code = print_file(logs, file, flush);
        if (exit_code == EXIT_NOT_FOUND) /* rotated away in between */
            exit_code = EXIT_DONE;
        if (exit_code != EXIT_DONE)
            break;
    }
    json_decref(reply);
    return exit_code;
}

/* Logs that are on another host, or on standard error, do not keep the others from being shown: it is said once where they are. */
static int forgive(struct logs *logs, struct log_file *file, int exit_code)
{
    if (exit_code != EXIT_NOT_FOUND)
        return exit_code;
    logs->client->said = false;
    file->elsewhere = true;
    return EXIT_DONE;
}

static int print_jobmanager_log(struct logs *logs, bool flush)
{
    struct log_file *file = find_file(logs, "/jobmanager/log", "jobmanager");
    if (!file || file->elsewhere)
        return EXIT_DONE;
    file->size = INT64_MAX; /* it is not listed apart: always ask */
    return forgive(logs, file, print_file(logs, file, flush));
}

/* The JobManager's lines about the job, then those of all TaskManagers. */
static int print_job_logs(struct logs *logs, bool flush)
{
    json_t *reply, *taskmanager;
    size_t i;
    int exit_code = print_jobmanager_log(logs, flush);
    if (exit_code == EXIT_DONE)
        exit_code = weir_client_call(logs->client, "GET", "/taskmanagers", NULL, &reply);
    if (exit_code != EXIT_DONE)
        return exit_code;
    json_array_foreach(json_object_get(reply, "taskmanagers"), i, taskmanager)
    {
        char *base = weir_format("/taskmanagers/%s", weir_json_text(taskmanager, "id"));
        struct log_file *all = find_file(logs, base, "");
        if (all && !all->elsewhere)
            exit_code = forgive(logs, all, print_files(logs, base, flush));
        free(base);
        if (exit_code != EXIT_DONE)
            break;
    }
    json_decref(reply);
    return exit_code;
}

static bool job_has_ended(struct weir_client *client, const char *id)
{
    json_t *job;
    char *path = weir_format("/jobs/%s", id);
    bool ended =
        weir_client_call(client, "GET", path, NULL, &job) != EXIT_DONE || weir_json_number(job, "end-time") >= 0;
    json_decref(job);
    free(path);
    return ended;
}

/* `taskmanager` NULL: the logs of the job. */
static int print_or_follow(struct logs *logs, const char *taskmanager)
{
    char *base = taskmanager ? weir_format("/taskmanagers/%s", taskmanager) : NULL;
    int exit_code = EXIT_DONE;
    for (bool last = !logs->client->follow;; poll(NULL, 0, FOLLOW_MS)) {
        bool ended = last || (!taskmanager && job_has_ended(logs->client, logs->job));
        exit_code = base ? print_files(logs, base, ended) : print_job_logs(logs, ended);
        if (exit_code != EXIT_DONE || ended || logs->client->said)
            break;
        fflush(stdout);
        if (ferror(stdout))
            break;
    }
    free(base);
    return exit_code;
}

int weir_command_logs(struct weir_client *client)
{
    const char *first = client->arguments[0];
    bool of_taskmanager = strcmp(first, "taskmanager") == 0 && client->argument_count == 2;
    char id[33] = "", *taskmanager = NULL;
    int exit_code;
    if (strcmp(first, "taskmanager") == 0 && !of_taskmanager)
        return weir_client_fail(client, EXIT_USAGE, NULL, "usage: weir logs taskmanager ID; see weir taskmanagers");
    if (client->argument_count == 2 && !of_taskmanager) {
        char nearest[160];
        return weir_client_fail(client, EXIT_USAGE, NULL, "usage: weir logs %s, not '%.200s'%s", client->command->usage,
                                first, weir_client_nearest_choice(nearest, first, "taskmanager"));
    }
    if (of_taskmanager)
        exit_code = weir_client_find_taskmanager(client, client->arguments[1], &taskmanager);
    else
        exit_code = weir_client_find_job(client, first, id);
    if (exit_code != EXIT_DONE)
        return exit_code;
    struct logs *logs = weir_zalloc(sizeof *logs);
    logs->client = client;
    logs->job = id;
    exit_code = print_or_follow(logs, taskmanager);
    for (int i = 0; i < logs->file_count; i++) {
        free(logs->files[i].path);
        free(logs->files[i].name);
        free(logs->files[i].rest);
    }
    free(logs);
    free(taskmanager);
    return exit_code;
}
