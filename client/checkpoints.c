/* checkpoint, savepoint, stop, rescale: what people ask of a job's checkpoints. A request is answered at once with an id; the command asks after it until it has ended. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client_int.h"

#define POLL_MS_MIN 20
#define POLL_MS_MAX 500

static const char *first_line(char *text)
{
    char *end = strchr(text, '\n');
    if (end)
        *end = 0;
    return text;
}

static int ended_badly(struct weir_client *client, const json_t *cause, const char *what)
{
    char *text = weir_client_clean(weir_json_text(cause, "stack-trace"));
    int exit_code = weir_client_fail(client, EXIT_FAILED, NULL, "%s: %s", what, first_line(text));
    free(text);
    return exit_code;
}

char *weir_client_place(const char *given)
{
    if (*given == '/' || strncmp(given, "file:", 5) == 0 || strstr(given, "://"))
        return weir_strdup(given);
    char *here = getcwd(NULL, 0);
    char *place = weir_format("%s/%s", here ? here : "", given);
    free(here);
    return place;
}

/* Asks `method` of /jobs/ID/`to` and asks /jobs/ID/`after`/TRIGGER until it has ended; *operation is what came of it. */
static int ask(struct weir_client *client, const char *method, const char *id, const char *to, const char *after,
               json_t *body, json_t **operation, const char *what)
{
    json_t *reply;
    char *path = weir_format("/jobs/%s/%s", id, to);
    int exit_code = weir_client_call(client, method, path, body, &reply);
    free(path);
    if (exit_code != EXIT_DONE)
        return exit_code;
    path = weir_format("/jobs/%s/%s/%s", id, after, weir_json_text(reply, "request-id"));
    json_decref(reply);
    for (int64_t pause_ms = POLL_MS_MIN;; pause_ms = pause_ms < POLL_MS_MAX ? pause_ms * 2 : POLL_MS_MAX) {
        exit_code = weir_client_call(client, "GET", path, NULL, &reply);
        if (exit_code != EXIT_DONE)
            break;
        bool ended = strcmp(weir_json_text(json_object_get(reply, "status"), "id"), "COMPLETED") == 0;
        *operation = ended ? json_incref(json_object_get(reply, "operation")) : NULL;
        json_decref(reply);
        if (ended)
            break;
        nanosleep(&(struct timespec){.tv_sec = pause_ms / 1000, .tv_nsec = pause_ms % 1000 * 1000000}, NULL);
    }
    free(path);
    if (exit_code != EXIT_DONE)
        return exit_code;
    const json_t *cause = json_object_get(*operation, "failure-cause");
    cause = cause ? cause : json_object_get(*operation, "failureCause");
    if (cause) {
        exit_code = ended_badly(client, cause, what);
        json_decref(*operation);
    }
    return exit_code;
}

static void print_checkpoint(struct weir_client *client, const json_t *checkpoint)
{
    char duration[WEIR_TEXT_SIZE], size[WEIR_TEXT_SIZE];
    if (client->json)
        weir_client_print_json(checkpoint);
    else
        printf("%lld  %s  %s  %s\n", (long long)weir_json_number(checkpoint, "id"),
               weir_json_text(checkpoint, "external_path"),
               weir_text_duration(duration, weir_json_number(checkpoint, "end_to_end_duration")),
               weir_text_bytes(size, weir_json_number(checkpoint, "state_size")));
}

int weir_command_checkpoint(struct weir_client *client)
{
    char id[33];
    json_t *operation, *checkpoint;
    int exit_code = weir_client_find_job(client, client->arguments[0], id);
    if (exit_code == EXIT_DONE)
        exit_code = ask(client, "POST", id, "checkpoints", "checkpoints", NULL, &operation, "there is no checkpoint");
    if (exit_code != EXIT_DONE)
        return exit_code;
    char *path =
        weir_format("/jobs/%s/checkpoints/details/%lld", id, (long long)weir_json_number(operation, "checkpointId"));
    json_decref(operation);
    exit_code = weir_client_call(client, "GET", path, NULL, &checkpoint);
    free(path);
    if (exit_code != EXIT_DONE)
        return exit_code;
    print_checkpoint(client, checkpoint);
    json_decref(checkpoint);
    return EXIT_DONE;
}

/* What came of a savepoint, with what the checkpoint of it was, where that is still known. */
static int print_savepoint(struct weir_client *client, const char *id, const json_t *operation)
{
    const char *location = weir_json_text(operation, "location");
    json_t *reply = NULL, *entry, *found = NULL;
    char *path = weir_format("/jobs/%s/checkpoints", id);
    size_t i;
    if (weir_client_call(client, "GET", path, NULL, &reply) == EXIT_DONE)
        json_array_foreach(json_object_get(reply, "history"), i,
                           entry) if (strcmp(weir_json_text(entry, "external_path"), location) == 0) found = entry;
    free(path);
    if (client->json) {
        json_t *said = json_pack("{s:s, s:O, s:O?}", "jobid", id, "location", json_object_get(operation, "location"),
                                 "checkpoint", found);
        weir_client_print_json(said);
        json_decref(said);
    } else {
        printf("%s\n", location);
    }
    json_decref(reply);
    return EXIT_DONE;
}

static int savepoint(struct weir_client *client, const char *to, const char *key, const char *directory, json_t *body,
                     const char *what)
{
    char id[33];
    json_t *operation;
    if (directory) {
        char *place = weir_client_place(directory);
        json_object_set_new(body, key, weir_client_string(place));
        free(place);
    }
    int exit_code = weir_client_find_job(client, client->arguments[0], id);
    if (exit_code == EXIT_DONE)
        exit_code = ask(client, "POST", id, to, "savepoints", body, &operation, what);
    json_decref(body);
    if (exit_code != EXIT_DONE)
        return exit_code;
    exit_code = print_savepoint(client, id, operation);
    json_decref(operation);
    return exit_code;
}

int weir_command_savepoint(struct weir_client *client)
{
    return savepoint(client, "savepoints", "target-directory", client->argument_count > 1 ? client->arguments[1] : NULL,
                     json_object(), "there is no savepoint");
}

int weir_command_stop(struct weir_client *client)
{
    return savepoint(client, "stop", "targetDirectory", client->savepoint_dir,
                     json_pack("{s:b}", "drain", client->drain), "the job was not stopped with a savepoint");
}

int weir_command_rescale(struct weir_client *client)
{
    char id[33];
    json_t *operation;
    if (client->parallelism == 0)
        return weir_client_fail(client, EXIT_USAGE, NULL, "usage: weir rescale JOB --parallelism N");
    int exit_code = weir_client_find_job(client, client->arguments[0], id);
    char *to = weir_format("rescaling?parallelism=%d", client->parallelism);
    if (exit_code == EXIT_DONE)
        exit_code = ask(client, "PATCH", id, to, "rescaling", NULL, &operation, "the job was not rescaled");
    free(to);
    if (exit_code != EXIT_DONE)
        return exit_code;
    json_decref(operation);
    if (client->json) {
        json_t *said = json_pack("{s:s, s:i}", "jobid", id, "parallelism", client->parallelism);
        weir_client_print_json(said);
        json_decref(said);
    } else {
        printf("job %s runs with a parallelism of %d\n", id, client->parallelism);
    }
    return EXIT_DONE;
}
