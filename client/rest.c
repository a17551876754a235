/* The cluster over REST: its address, requests, and finding what people name. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/clock.h"
#include "base/daemon.h"
#include "base/secret.h"
#include "client_int.h"
#include "http/http_client.h"
#include "http/tokens.h"

#define TIMEOUT_MS 30000
#define SUBMIT_TIMEOUT_MS 600000 /* an upload, the build of a graph: job.build.timeout bounds that */
#define TOKEN_KEY "security.rest.token-file"
#define COMPLETING_TIMEOUT_MS 1000
#define TAKEOVER_TIMEOUT_MS 30000 /* until a JobManager that has just begun knows its jobs */
#define TAKEOVER_PAUSE_MS 100

/* --- Address */

static bool is_port(const char *text)
{
    char *end;
    long port = isdigit((unsigned char)*text) ? strtol(text, &end, 10) : 0;
    return port > 0 && port <= 65535 && !*end;
}

/* "HOST:PORT", "HOST", "[V6]:PORT" or a URL of HTTP -> "http://HOST:PORT"; NULL: none of them. Freed by the caller. */
static char *parse_address(const char *given, bool https)
{
    size_t size = strlen(given);
    size_t scheme = strncmp(given, "http://", 7) == 0 ? 7 : strncmp(given, "https://", 8) == 0 ? 8 : 0;
    while (scheme && size > scheme && given[size - 1] == '/')
        size--;
    if (scheme)
        return size > scheme ? weir_strndup(given, size) : NULL;
    const char *bracket = given[0] == '[' ? strchr(given, ']') : NULL;
    const char *colon = strchr(bracket ? bracket : given, ':');
    size_t host_size = colon ? (size_t)(colon - given) : size;
    if (host_size == 0 || size > 300 || (given[0] == '[' && !bracket) || (colon && !is_port(colon + 1)))
        return NULL;
    for (const char *c = given; *c; c++)
        if ((unsigned char)*c <= ' ' || strchr("/?#@\\\"<>", *c))
            return NULL;
    return weir_format("%s://%s%s", https ? "https" : "http", given, colon ? "" : ":8081");
}

char *weir_client_host_address(const json_t *jobmanager_file)
{
    const char *host = weir_json_text(jobmanager_file, "rest_address");
    if (!*host || strcmp(host, "0.0.0.0") == 0)
        host = "127.0.0.1";
    if (strcmp(host, "::") == 0)
        host = "::1";
    bool v6 = strchr(host, ':') != NULL;
    return weir_format("%s://%s%s%s:%d", json_is_true(json_object_get(jobmanager_file, "rest_tls")) ? "https" : "http",
                       v6 ? "[" : "", host, v6 ? "]" : "", (int)weir_json_number(jobmanager_file, "rest_port"));
}

/* Of the cluster under $WEIR_HOME; NULL: none is running there, or (*failed) nobody can tell (said). */
static char *home_address(struct weir_client *client, char **from, bool *failed)
{
    char *home = weir_home_directory();
    char *path = weir_format("%s/run/jobmanager.json", home);
    errno = 0;
    json_t *file = json_load_file(path, 0, NULL);
    *failed = !file && errno && errno != ENOENT && errno != ENOTDIR;
    if (*failed) /* the default would be another cluster's */
        weir_client_fail(client, EXIT_FAILED, "-m HOST:PORT names a cluster, too", "cannot read %s: %s", path,
                         strerror(errno));
    char *address = weir_json_number(file, "rest_port") > 0 ? weir_client_host_address(file) : NULL;
    if (address)
        *from = weir_format("the cluster of %s", home);
    json_decref(file);
    free(path);
    free(home);
    return address;
}

/* How this user is let in: TLS by the configuration, the token by WEIR_REST_TOKEN, else the first of the configured file. A configuration that
 * cannot be read is not this command's business, unless the cluster wants a token. */
static void find_token(struct weir_client *client)
{
    const char *given = getenv("WEIR_REST_TOKEN");
    struct weir_error error;
    struct weir_config *config = NULL;
    client->token_known = true;
    char *home = weir_home_directory();
    weir_err err = weir_config_load(client->config, home, NULL, 0, &config, &error);
    free(home);
    const char *path = err ? NULL : weir_config_string(config, TOKEN_KEY);
    const char *ca_file = err ? NULL : weir_config_string(config, "security.ssl.rest.ca-file");
    client->https = !err && weir_config_int(config, "security.ssl.rest.enabled");
    client->ca_file = ca_file ? weir_strdup(ca_file) : NULL;
    if (given && *given)
        client->token = weir_strdup(given);
    else if (path)
        err = weir_token_read(TOKEN_KEY, path, &client->token, &error);
    if (err && !client->token)
        client->token_wrong = weir_strdup(error.message);
    weir_config_free(config);
}

const char *weir_client_address(struct weir_client *client)
{
    if (client->address)
        return client->address;
    if (!client->token_known)
        find_token(client);
    const char *variable = getenv("WEIR_REST"), *given = client->rest ? client->rest : variable;
    if (client->rest || (given && *given)) {
        client->address_from = weir_strdup(client->rest ? "-m" : "WEIR_REST");
        client->address = parse_address(given, client->https);
        if (!client->address)
            weir_client_fail(client, EXIT_USAGE, NULL, "%s wants HOST:PORT, not '%.200s'", client->address_from, given);
        return client->address;
    }
    bool failed;
    client->address = home_address(client, &client->address_from, &failed);
    if (!client->address && !failed) {
        client->address = weir_strdup("http://127.0.0.1:8081");
        client->address_from = weir_strdup("the default");
    }
    return client->address;
}

/* --- Requests */

/* What to do about a 401; freed by the caller. */
static char *token_hint(const struct weir_client *client)
{
    if (client->token_wrong)
        return weir_format("no token was sent: %s", client->token_wrong);
    return weir_format("%s; set WEIR_REST_TOKEN, or " TOKEN_KEY " in the configuration, to a token of this cluster",
                       client->token ? "the token that was sent is not the right one" : "no token was sent");
}

/* {"errors": [..]} as sentences; else the body as it is. */
static int fail_by_answer(struct weir_client *client, int status, const char *body)
{
    json_t *reply = json_loads(body ? body : "", 0, NULL);
    json_t *errors = json_object_get(reply, "errors"), *text;
    int exit_code = status == 404 ? EXIT_NOT_FOUND : EXIT_FAILED;
    struct weir_buf said;
    size_t i;
    weir_buf_init(&said, (size_t)1 << 20);
    bool ok = true;
    json_array_foreach(errors, i, text) ok =
        ok && json_is_string(text) && weir_buf_printf(&said, "%s%s", i ? "\n" : "", json_string_value(text));
    char *hint = status == 401 ? token_hint(client) : NULL;
    if (said.size && ok)
        weir_client_fail(client, exit_code, hint, "%s", (const char *)said.data);
    else
        weir_client_fail(client, exit_code, NULL, "what answers at %s said %d: %.500s", client->address, status,
                         body ? body : "");
    free(hint);
    weir_buf_fini(&said);
    json_decref(reply);
    return exit_code;
}

static int fail_by_error(struct weir_client *client, weir_err err, const char *message)
{
    if (err != WEIR_ERR_IO)
        return weir_client_fail(client, err == WEIR_ERR_TIMEOUT ? EXIT_UNREACHABLE : EXIT_FAILED, NULL, "%s", message);
    char *hint =
        weir_format("that address is from %s; is a cluster running? Start one with `weir cluster start`, or name "
                    "another with -m HOST:PORT",
                    client->address_from);
    weir_client_fail(client, EXIT_UNREACHABLE, hint, "%s", message);
    free(hint);
    return EXIT_UNREACHABLE;
}

/* EXIT_DONE: the response is there and must be freed. */
static int call(struct weir_client *client, struct weir_http_request *request, const char *path,
                struct weir_http_response *response)
{
    struct weir_error error;
    const char *address = weir_client_address(client);
    if (!address)
        return EXIT_USAGE;
    char *url = weir_format("%s%s", address, path);
    request->url = url;
    request->token = client->token;
    request->ca_file = client->ca_file;
    request->timeout_ms = client->completing                     ? COMPLETING_TIMEOUT_MS
                          : strcmp(request->method, "POST") == 0 ? SUBMIT_TIMEOUT_MS
                                                                 : TIMEOUT_MS;
    request->connect_timeout_ms = client->completing ? COMPLETING_TIMEOUT_MS : 0;
    weir_err err = weir_http_call(request, response, &error);
    free(url);
    if (err)
        return fail_by_error(client, err, error.message);
    if (response->status >= 200 && response->status < 300)
        return EXIT_DONE;
    int exit_code = fail_by_answer(client, response->status, (const char *)response->body.data);
    weir_http_response_fini(response);
    return exit_code;
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
    if (*reply)
        return EXIT_DONE;
    return weir_client_fail(client, EXIT_FAILED, NULL, "what answers at %s is no JobManager", client->address);
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

int weir_client_text(struct weir_client *client, const char *path, char **text, size_t *size)
{
    struct weir_http_request request = {.method = "GET", .response_size_max = (size_t)512 << 20};
    struct weir_http_response response;
    *text = NULL;
    *size = 0;
    int exit_code = call(client, &request, path, &response);
    if (exit_code != EXIT_DONE)
        return exit_code;
    *size = response.body.size;
    *text = weir_strndup(response.body.data ? (const char *)response.body.data : "", response.body.size);
    weir_http_response_fini(&response);
    return EXIT_DONE;
}

/* --- Jobs and TaskManagers by what people type */

#define CANDIDATES_MAX 256

/* How well `given` names a job: 3 its id, 2 its name, 1 a beginning of its id. */
static int fit(const json_t *job, const char *given)
{
    const char *id = weir_json_text(job, "jid");
    if (strcasecmp(id, given) == 0)
        return 3;
    if (strcmp(weir_json_text(job, "name"), given) == 0)
        return 2;
    return strncasecmp(id, given, strlen(given)) == 0;
}

static int ambiguous(struct weir_client *client, const char *given, const json_t *const *jobs, int count)
{
    struct weir_buf list;
    weir_buf_init(&list, 4096);
    bool ok = true;
    for (int i = 0; i < count && ok; i++)
        ok = weir_buf_printf(&list, "%s%s (%s, %s)", i ? ", " : "", weir_json_text(jobs[i], "jid"),
                             weir_json_text(jobs[i], "name"), weir_json_text(jobs[i], "state"));
    int exit_code = weir_client_fail(client, EXIT_USAGE, NULL, "'%.200s' fits %d jobs: %s%s; give more of the id",
                                     given, count, list.data ? (const char *)list.data : "", ok ? "" : ", ..");
    weir_buf_fini(&list);
    return exit_code;
}

static int no_such_job(struct weir_client *client, const char *given, const json_t *jobs)
{
    const char *names[CANDIDATES_MAX];
    char nearest[160];
    int count = 0;
    size_t i;
    json_t *job;
    json_array_foreach(jobs, i, job) if (count < CANDIDATES_MAX) names[count++] = weir_json_text(job, "name");
    return weir_client_fail(client, EXIT_NOT_FOUND, NULL, "there is no job '%.200s'%s; see weir list -a", given,
                            weir_client_nearest(nearest, given, names, count));
}

/* *known false: it is among no jobs so far, but a JobManager that has just begun does not know all yet. */
static int find_job_now(struct weir_client *client, const char *given, char id[33], bool *known)
{
    json_t *reply, *job;
    int exit_code = weir_client_call(client, "GET", "/jobs/overview", NULL, &reply);
    if (exit_code != EXIT_DONE)
        return exit_code;
    const json_t *found[CANDIDATES_MAX], *running = NULL;
    int count = 0, running_count = 0, best = 1;
    size_t i;
    json_array_foreach(json_object_get(reply, "jobs"), i, job)
    {
        int fits = fit(job, given);
        if (fits > best)
            count = running_count = 0;
        best = fits > best ? fits : best;
        if (fits != best || count == CANDIDATES_MAX)
            continue;
        found[count++] = job;
        if (weir_json_number(job, "end-time") < 0) {
            running = job;
            running_count++;
        }
    }
    if (count > 1 && running_count == 1) { /* of several the one that has not ended is meant */
        found[0] = running;
        count = 1;
    }
    if (json_object_get(reply, "weir-incomplete") && best < 3) /* another one may fit, or fit better */
        *known = false;
    else if (count == 1)
        snprintf(id, 33, "%s", weir_json_text(found[0], "jid"));
    else if (count == 0)
        exit_code = no_such_job(client, given, json_object_get(reply, "jobs"));
    else
        exit_code = ambiguous(client, given, found, count);
    json_decref(reply);
    return exit_code;
}

int weir_client_find_job(struct weir_client *client, const char *given, char id[33])
{
    if (!*given)
        return weir_client_fail(client, EXIT_USAGE, NULL, "JOB is empty; see weir list");
    for (int64_t deadline_ms = weir_clock_mono_ms() + TAKEOVER_TIMEOUT_MS;;) {
        bool known = true;
        int exit_code = find_job_now(client, given, id, &known);
        if (known || client->completing)
            return exit_code;
        if (weir_clock_mono_ms() > deadline_ms)
            return weir_client_fail(
                client, EXIT_UNREACHABLE, NULL,
                "job '%.200s' is not known after %d s: the JobManager at %s has begun anew, and cannot read the "
                "jobs of its checkpoint storage; its log says why",
                given, TAKEOVER_TIMEOUT_MS / 1000, client->address);
        nanosleep(&(struct timespec){.tv_nsec = TAKEOVER_PAUSE_MS * 1000000}, NULL);
    }
}

int weir_client_find_taskmanager(struct weir_client *client, const char *given, char **id)
{
    json_t *reply, *taskmanager;
    *id = NULL;
    if (!*given)
        return weir_client_fail(client, EXIT_USAGE, NULL, "ID is empty; see weir taskmanagers");
    int exit_code = weir_client_call(client, "GET", "/taskmanagers", NULL, &reply);
    if (exit_code != EXIT_DONE)
        return exit_code;
    const char *names[CANDIDATES_MAX], *found = NULL, *other = NULL;
    char nearest[160];
    int count = 0, fits = 0;
    size_t i;
    json_array_foreach(json_object_get(reply, "taskmanagers"), i, taskmanager)
    {
        const char *name = weir_json_text(taskmanager, "id");
        if (count < CANDIDATES_MAX)
            names[count++] = name;
        if (strcmp(name, given) == 0) {
            found = name;
            fits = 1;
            break;
        }
        if (strncmp(name, given, strlen(given)) == 0) {
            other = found;
            found = name;
            fits++;
        }
    }
    if (fits == 1)
        *id = weir_strdup(found);
    else if (fits > 1)
        exit_code = weir_client_fail(client, EXIT_USAGE, NULL,
                                     "'%.200s' fits %d TaskManagers, %s and %s among them; give more of the id", given,
                                     fits, other, found);
    else
        exit_code =
            weir_client_fail(client, EXIT_NOT_FOUND, NULL, "there is no TaskManager '%.200s'%s; see weir taskmanagers",
                             given, weir_client_nearest(nearest, given, names, count));
    json_decref(reply);
    return exit_code;
}
