/* list, cancel, exceptions, logs, taskmanagers, config. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client_int.h"

static void format_time(int64_t ms, char out[32])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm parts;
    if (ms < 0 || !gmtime_r(&seconds, &parts) || strftime(out, 32, "%Y-%m-%d %H:%M:%S", &parts) == 0)
        snprintf(out, 32, "-");
}

static bool has_ended(const json_t *job)
{
    return weir_json_number(job, "end-time") >= 0;
}

int weir_command_list(struct weir_client *client)
{
    json_t *reply;
    int exit_code = weir_client_call(client, "GET", "/jobs/overview", NULL, &reply);
    if (exit_code != EXIT_DONE)
        return exit_code;
    json_t *jobs = json_object_get(reply, "jobs"), *job, *shown = json_array();
    size_t i;
    json_array_foreach(jobs, i, job) if (client->all || !has_ended(job)) json_array_append(shown, job);
    if (client->json) {
        weir_client_print_json(shown);
    } else if (json_array_size(shown) == 0) {
        printf("no %sjobs\n", client->all ? "" : "running ");
    } else {
        printf("%-32s  %-11s %-19s  %s\n", "ID", "STATE", "STARTED (UTC)", "NAME");
        json_array_foreach(shown, i, job)
        {
            char started[32];
            format_time(weir_json_number(job, "start-time"), started);
            printf("%-32s  %-11s %-19s  %s\n", weir_json_text(job, "jid"), weir_json_text(job, "state"), started,
                   weir_json_text(job, "name"));
        }
    }
    json_decref(shown);
    json_decref(reply);
    return EXIT_DONE;
}

int weir_command_cancel(struct weir_client *client)
{
    char id[33];
    int exit_code = weir_client_find_job(client, client->arguments[0], id);
    if (exit_code != EXIT_DONE)
        return exit_code;
    char *path = weir_format("/jobs/%s?mode=cancel", id);
    json_t *reply;
    exit_code = weir_client_call(client, "PATCH", path, NULL, &reply);
    free(path);
    if (exit_code == EXIT_DONE && client->json)
        weir_client_print_json(reply);
    else if (exit_code == EXIT_DONE)
        printf("canceling job %s\n", id);
    json_decref(reply);
    return exit_code;
}

int weir_command_exceptions(struct weir_client *client)
{
    char id[33];
    int exit_code = weir_client_find_job(client, client->arguments[0], id);
    if (exit_code != EXIT_DONE)
        return exit_code;
    char *path = weir_format("/jobs/%s/exceptions", id);
    json_t *reply;
    exit_code = weir_client_call(client, "GET", path, NULL, &reply);
    free(path);
    if (exit_code != EXIT_DONE)
        return exit_code;
    json_t *entries = json_object_get(json_object_get(reply, "exceptionHistory"), "entries"), *entry;
    size_t i;
    if (client->json)
        weir_client_print_json(reply);
    else if (json_array_size(entries) == 0)
        printf("no exceptions\n");
    else
        json_array_foreach(entries, i, entry)
        {
            char when[32];
            format_time(weir_json_number(entry, "timestamp"), when);
            printf("%s  %s  %s  %s\n%s\n\n", when, weir_json_text(entry, "exceptionName"),
                   weir_json_text(entry, "taskName"), weir_json_text(entry, "taskManagerId"),
                   weir_json_text(entry, "stacktrace"));
        }
    json_decref(reply);
    return EXIT_DONE;
}

/* Prints the lines of `text` that speak of job `id` ("": all). */
static void print_lines(const char *text, const char *id, const char *where)
{
    for (const char *line = text; *line;) {
        size_t size = strcspn(line, "\n");
        char *copy = weir_strndup(line, size);
        if (!*id || strstr(copy, id))
            printf("%s%s%s\n", where, *where ? ": " : "", copy);
        free(copy);
        line += size + (line[size] == '\n');
    }
}

static int print_taskmanager_logs(struct weir_client *client, const char *taskmanager, const char *job)
{
    char *path = weir_format("/taskmanagers/%s/logs", taskmanager);
    json_t *reply, *log;
    int exit_code = weir_client_call(client, "GET", path, NULL, &reply);
    free(path);
    if (exit_code != EXIT_DONE)
        return exit_code;
    size_t i;
    json_array_foreach(json_object_get(reply, "logs"), i, log)
    {
        const char *name = weir_json_text(log, "name");
        char *text = NULL;
        path = weir_format("/taskmanagers/%s/logs/%s", taskmanager, name);
        if (weir_json_number(log, "size") > 0 && weir_client_text(client, path, &text) == EXIT_DONE)
            print_lines(text, strstr(name, ".out") ? "" : job, name);
        free(text);
        free(path);
    }
    json_decref(reply);
    return EXIT_DONE;
}

int weir_command_logs(struct weir_client *client)
{
    if (strcmp(client->arguments[0], "taskmanager") == 0) {
        if (client->argument_count < 2) {
            fprintf(stderr, "weir: usage: weir logs taskmanager ID; see weir taskmanagers\n");
            return EXIT_USAGE;
        }
        return print_taskmanager_logs(client, client->arguments[1], "");
    }
    char id[33];
    int exit_code = weir_client_find_job(client, client->arguments[0], id);
    if (exit_code != EXIT_DONE)
        return exit_code;
    char *text;
    if (weir_client_text(client, "/jobmanager/log", &text) == EXIT_DONE) {
        print_lines(text, id, "jobmanager");
        free(text);
    }
    json_t *reply, *taskmanager;
    exit_code = weir_client_call(client, "GET", "/taskmanagers", NULL, &reply);
    if (exit_code != EXIT_DONE)
        return exit_code;
    size_t i;
    json_array_foreach(json_object_get(reply, "taskmanagers"), i, taskmanager)
        print_taskmanager_logs(client, weir_json_text(taskmanager, "id"), id);
    json_decref(reply);
    return EXIT_DONE;
}

int weir_command_taskmanagers(struct weir_client *client)
{
    json_t *reply, *taskmanager;
    int exit_code = weir_client_call(client, "GET", "/taskmanagers", NULL, &reply);
    if (exit_code != EXIT_DONE)
        return exit_code;
    json_t *all = json_object_get(reply, "taskmanagers");
    size_t i;
    if (client->json)
        weir_client_print_json(all);
    else
        printf("%-40s %5s %5s  %s\n", "ID", "SLOTS", "FREE", "DATA PORT");
    if (!client->json)
        json_array_foreach(all, i, taskmanager) printf(
            "%-40s %5d %5d  %d\n", weir_json_text(taskmanager, "id"), (int)weir_json_number(taskmanager, "slotsNumber"),
            (int)weir_json_number(taskmanager, "freeSlots"), (int)weir_json_number(taskmanager, "dataPort"));
    json_decref(reply);
    return EXIT_DONE;
}

int weir_command_config(struct weir_client *client)
{
    json_t *reply, *entry;
    int exit_code = weir_client_call(client, "GET", "/jobmanager/config", NULL, &reply);
    if (exit_code != EXIT_DONE)
        return exit_code;
    size_t i;
    if (client->json)
        weir_client_print_json(reply);
    else
        json_array_foreach(reply, i, entry)
            printf("%s: %s\n", weir_json_text(entry, "key"), weir_json_text(entry, "value"));
    json_decref(reply);
    return EXIT_DONE;
}
