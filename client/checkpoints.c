/* checkpoint: what people ask of a job's checkpoints. A request is answered at once with an id; the command asks after it until it has ended. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

/* POSTs to /jobs/ID/`to` and asks /jobs/ID/`after`/TRIGGER until it has ended; *operation is what came of it. */
static int ask(struct weir_client *client, const char *id, const char *to, const char *after, json_t *body,
               json_t **operation, const char *what)
{
    json_t *reply;
    char *path = weir_format("/jobs/%s/%s", id, to);
    int exit_code = weir_client_call(client, "POST", path, body, &reply);
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
        exit_code = ask(client, id, "checkpoints", "checkpoints", NULL, &operation, "there is no checkpoint");
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
