#include <stdlib.h>
#include <string.h>

#include "base/daemon.h"
#include "client_int.h"
#include "http/http_client.h"

#define TIMEOUT_MS 60000

const char *weir_json_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

int64_t weir_json_number(const json_t *object, const char *key)
{
    return (int64_t)json_number_value(json_object_get(object, key));
}

void weir_client_print_json(const json_t *value)
{
    char *text = json_dumps(value, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    printf("%s\n", text ? text : "null");
    free(text);
}

/* The port of the cluster under $WEIR_HOME; 0: none is running there. */
static int home_port(void)
{
    char *home = weir_home_directory();
    char *path = weir_format("%s/run/jobmanager.json", home);
    json_t *file = json_load_file(path, 0, NULL);
    int port = (int)weir_json_number(file, "rest_port");
    json_decref(file);
    free(path);
    free(home);
    return port;
}

const char *weir_client_address(struct weir_client *client)
{
    if (client->rest && strncmp(client->rest, "http", 4) == 0)
        return client->rest;
    const char *given = client->rest ? client->rest : getenv("WEIR_REST");
    int port = given && *given ? 0 : home_port();
    char *address;
    if (given && *given)
        address = strncmp(given, "http", 4) == 0 ? weir_strdup(given) : weir_format("http://%s", given);
    else
        address = weir_format("http://127.0.0.1:%d", port ? port : 8081);
    free(client->rest);
    client->rest = address;
    return address;
}

/* {"errors": [..]} as one sentence; else the body as it is. */
static void print_error(int status, const char *body)
{
    json_t *reply = json_loads(body ? body : "", 0, NULL);
    json_t *errors = json_object_get(reply, "errors");
    size_t i;
    json_t *text;
    if (json_array_size(errors) == 0)
        fprintf(stderr, "weir: the JobManager answered %d: %.500s\n", status, body ? body : "");
    json_array_foreach(errors, i, text)
        fprintf(stderr, "weir: %s\n", json_string_value(text) ? json_string_value(text) : "unknown error");
    json_decref(reply);
}

/* EXIT_DONE: the response is there and must be freed. */
static int call(struct weir_client *client, struct weir_http_request *request, const char *path,
                struct weir_http_response *response)
{
    struct weir_error error;
    char *url = weir_format("%s%s", weir_client_address(client), path);
    request->url = url;
    request->timeout_ms = TIMEOUT_MS;
    weir_err err = weir_http_call(request, response, &error);
    free(url);
    if (err) {
        fprintf(stderr, "weir: %s\n", error.message);
        if (err == WEIR_ERR_IO)
            fprintf(
                stderr,
                "weir: is a cluster running? Start one with `weir cluster start`, or name another with -m HOST:PORT\n");
        return err == WEIR_ERR_IO || err == WEIR_ERR_TIMEOUT ? EXIT_UNREACHABLE : EXIT_FAILED;
    }
    if (response->status >= 200 && response->status < 300)
        return EXIT_DONE;
    int status = response->status;
    print_error(status, (const char *)response->body.data);
    weir_http_response_fini(response);
    return status == 404 ? EXIT_NOT_FOUND : EXIT_FAILED;
}

static int json_reply(struct weir_client *client, struct weir_http_request *request, const char *path, json_t **reply)
{
    struct weir_http_response response;
    *reply = NULL;
    int exit_code = call(client, request, path, &response);
    if (exit_code != EXIT_DONE)
        return exit_code;
    const char *text = response.body.data ? (const char *)response.body.data : "{}";
    *reply = json_loads(*text ? text : "{}", JSON_DECODE_ANY, NULL);
    weir_http_response_fini(&response);
    if (!*reply)
        fprintf(stderr, "weir: what answers at %s is no JobManager\n", weir_client_address(client));
    return *reply ? EXIT_DONE : EXIT_FAILED;
}

int weir_client_call(struct weir_client *client, const char *method, const char *path, json_t *body, json_t **reply)
{
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    struct weir_http_request request = {.method = method};
    if (text) {
        request.body = text;
        request.body_size = strlen(text);
        request.content_type = "application/json";
    }
    int exit_code = json_reply(client, &request, path, reply);
    free(text);
    return exit_code;
}

int weir_client_upload(struct weir_client *client, const char *file, json_t **reply)
{
    struct weir_http_request request = {.method = "POST", .upload_path = file};
    return json_reply(client, &request, "/jars/upload", reply);
}

int weir_client_text(struct weir_client *client, const char *path, char **text)
{
    struct weir_http_request request = {.method = "GET", .response_size_max = (size_t)512 << 20};
    struct weir_http_response response;
    *text = NULL;
    int exit_code = call(client, &request, path, &response);
    if (exit_code != EXIT_DONE)
        return exit_code;
    *text = weir_strdup(response.body.data ? (const char *)response.body.data : "");
    weir_http_response_fini(&response);
    return EXIT_DONE;
}

int weir_client_find_job(struct weir_client *client, const char *given, char id[33])
{
    json_t *reply;
    int exit_code = weir_client_call(client, "GET", "/jobs/overview", NULL, &reply);
    if (exit_code != EXIT_DONE)
        return exit_code;
    size_t i, size = strlen(given);
    json_t *job;
    int matches = 0, running = 0;
    char running_id[33] = "";
    const char *names[256];
    int name_count = 0;
    json_array_foreach(json_object_get(reply, "jobs"), i, job)
    {
        const char *jid = weir_json_text(job, "jid"), *name = weir_json_text(job, "name");
        if (name_count < 256)
            names[name_count++] = name;
        if (strncmp(jid, given, size) != 0 && strcmp(name, given) != 0)
            continue;
        matches++;
        snprintf(id, 33, "%s", jid);
        if (weir_json_number(job, "end-time") < 0) {
            running++;
            snprintf(running_id, sizeof running_id, "%s", jid);
        }
    }
    if (matches > 1 && running == 1) { /* of several by that name the one that has not ended is meant */
        memcpy(id, running_id, sizeof running_id);
        matches = 1;
    }
    if (matches == 0) {
        const char *nearest = weir_nearest(given, names, name_count);
        fprintf(stderr, "weir: there is no job '%s'%s%s%s; see weir list -a\n", given, nearest ? "; do you mean '" : "",
                nearest ? nearest : "", nearest ? "'?" : "");
        exit_code = EXIT_NOT_FOUND;
    } else if (matches > 1) {
        fprintf(stderr, "weir: '%s' fits %d jobs; give the id, see weir list -a\n", given, matches);
        exit_code = EXIT_USAGE;
    }
    json_decref(reply);
    return exit_code;
}
