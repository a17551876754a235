/* One question to a registry: to the server that answered last, then to the others, again and again until one answers or the time is up.
 * All questions may be asked twice: registering a schema a second time gives the same id. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json_memory.h"
#include "base/secret.h"
#include "http/http_client.h"
#include "registry/registry_int.h"

#define ATTEMPT_MS_MAX 5000
#define PAUSE_MS_MIN 50
#define PAUSE_MS_MAX 2000

/* --- From options */

static char *option_copy(const char *format, const struct weir_key_value *options, int option_count,
                         const struct weir_option *table, const char *name)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", format, name);
    const char *value = weir_options_get(options, option_count, table, key);
    return value && *value ? weir_strdup(value) : NULL;
}

/* "http://a:8081, http://b:8081/" -> urls, without the slash at the end. */
static weir_err take_urls(struct weir_registry_server *server, const char *text, struct weir_error *error)
{
    for (const char *at = text; *at;) {
        size_t size = strcspn(at, ",");
        const char *next = at + size + (at[size] == ',');
        for (; size > 0 && *at == ' '; at++)
            size--;
        while (size > 0 && (at[size - 1] == ' ' || at[size - 1] == '/'))
            size--;
        if (size == 0 || (strncmp(at, "http://", 7) != 0 && strncmp(at, "https://", 8) != 0))
            return weir_fail(error, WEIR_ERR_INVALID,
                             "'%s.url' is '%.200s': it takes http://HOST:PORT or https://HOST:PORT", server->format,
                             text);
        if (memchr(at, '@', size))
            return weir_fail(error, WEIR_ERR_INVALID,
                             "'%s.url' has a user in it: give USER:PASSWORD as '%s.basic-auth.user-info'",
                             server->format, server->format);
        if (server->url_count == WEIR_REGISTRY_URLS_MAX)
            return weir_fail(error, WEIR_ERR_INVALID, "'%s.url' has more than %d URLs", server->format,
                             WEIR_REGISTRY_URLS_MAX);
        server->urls[server->url_count++] = weir_strndup(at, size);
        at = next;
    }
    return server->url_count > 0 ? WEIR_OK : weir_fail(error, WEIR_ERR_INVALID, "'%s.url' is empty", server->format);
}

weir_err weir_registry_server_init(struct weir_registry_server *server, const char *format,
                                   const struct weir_key_value *options, int option_count,
                                   const struct weir_option *table, struct weir_error *error)
{
    char timeout[128];
    memset(server, 0, sizeof *server);
    server->format = format;
    char *urls = option_copy(format, options, option_count, table, "url");
    weir_err err = take_urls(server, urls ? urls : "", error);
    free(urls);
    if (err)
        return err;
    snprintf(timeout, sizeof timeout, "%s.timeout", format);
    int64_t timeout_ms = weir_options_get_int(options, option_count, table, timeout);
    if (timeout_ms < 1 || timeout_ms > 600000)
        return weir_fail(error, WEIR_ERR_INVALID, "'%s' must be from 1 ms to 10 min", timeout);
    server->timeout_ms = (int)timeout_ms;
    server->user_info = option_copy(format, options, option_count, table, "basic-auth.user-info");
    server->token = option_copy(format, options, option_count, table, "bearer-auth.token");
    server->ca_file = option_copy(format, options, option_count, table, "ssl.truststore.location");
    server->certificate_file = option_copy(format, options, option_count, table, "ssl.keystore.location");
    server->certificate_password = option_copy(format, options, option_count, table, "ssl.keystore.password");
    if (server->user_info && server->token)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "'%s.basic-auth.user-info' and '%s.bearer-auth.token' are both given: which one?", format,
                         format);
    if (server->user_info && !strchr(server->user_info, ':'))
        return weir_fail(error, WEIR_ERR_INVALID, "'%s.basic-auth.user-info' takes USER:PASSWORD", format);
    return WEIR_OK;
}

void weir_registry_server_fini(struct weir_registry_server *server)
{
    for (int i = 0; i < server->url_count; i++)
        free(server->urls[i]);
    weir_secret_free(server->user_info);
    weir_secret_free(server->token);
    weir_secret_free(server->certificate_password);
    free(server->ca_file);
    free(server->certificate_file);
}

/* --- Asking */

/* What an answer's status means, where it is no answer to the question. */
static weir_err check_status(const struct weir_registry_server *server, const char *url, int status,
                             const json_t *answer, struct weir_error *error)
{
    const char *message = json_string_value(json_object_get(answer, "message"));
    if (status == 401 || status == 403)
        return weir_fail(error, WEIR_ERR_INVALID, "the schema registry %.200s refuses us (HTTP %d%s%.200s): check %s",
                         url, status, message ? ", " : "", message ? message : "",
                         server->user_info ? "basic-auth.user-info"
                         : server->token   ? "bearer-auth.token"
                                           : "basic-auth.user-info or bearer-auth.token, of which none is given");
    if (status == 429 || status >= 500)
        return weir_fail(error, WEIR_ERR_IO, "the schema registry %.200s has trouble: HTTP %d%s%.300s", url, status,
                         message ? ", " : "", message ? message : "");
    /* An error of a registry has a code of its own beside the text; a server of something else has not. */
    bool registry = status / 100 == 2 ? answer != NULL : json_is_integer(json_object_get(answer, "error_code"));
    if (!registry)
        return weir_fail(
            error, WEIR_ERR_PROTOCOL,
            "%.200s does not answer as a schema registry does (HTTP %d): is the path right? Apicurio's ends in "
            "/apis/ccompat/v7",
            url, status);
    return WEIR_OK;
}

static weir_err attempt(const struct weir_registry_server *server, const char *url, const char *path, const char *body,
                        int timeout_ms, int *status, json_t **answer, struct weir_error *error)
{
    struct weir_http_response response;
    char *whole = weir_format("%s%s", url, path), option[128], own[128];
    snprintf(option, sizeof option, "%s.ssl.truststore.location", server->format);
    snprintf(own, sizeof own, "%s.ssl.keystore.location", server->format);
    struct weir_http_request request = {
        .method = body ? "POST" : "GET",
        .url = whole,
        .body = body,
        .body_size = body ? strlen(body) : 0,
        .content_type = "application/vnd.schemaregistry.v1+json",
        .token = server->token,
        .user_info = server->user_info,
        .ca_file = server->ca_file,
        .ca_option = option,
        .certificate_file = server->certificate_file,
        .certificate_password = server->certificate_password,
        .certificate_option = own,
        .connect_timeout_ms = timeout_ms,
        .timeout_ms = timeout_ms,
        .response_size_max = WEIR_REGISTRY_ANSWER_SIZE_MAX,
    };
    weir_err err = weir_http_call(&request, &response, error);
    free(whole);
    if (err)
        return weir_wrap(error, "the schema registry");
    *answer = response.body.data ? json_loadb((const char *)response.body.data, response.body.size, 0, NULL) : NULL;
    *status = response.status;
    weir_http_response_fini(&response);
    err = check_status(server, url, *status, *answer, error);
    if (err) {
        json_decref(*answer);
        *answer = NULL;
    }
    return err;
}

static bool may_be_asked_again(weir_err err)
{
    return err == WEIR_ERR_IO || err == WEIR_ERR_TIMEOUT;
}

weir_err weir_registry_call(struct weir_registry_server *server, const char *path, const char *body, int *status,
                            json_t **answer, struct weir_error *error)
{
    struct weir_error own;
    if (!error)
        error = &own;
    weir_json_memory();
    int64_t deadline_ms = weir_clock_mono_ms() + server->timeout_ms;
    int asked = 0;
    for (int64_t pause_ms = PAUSE_MS_MIN;; pause_ms = pause_ms * 2 < PAUSE_MS_MAX ? pause_ms * 2 : PAUSE_MS_MAX) {
        int64_t left_ms = deadline_ms - weir_clock_mono_ms();
        for (int i = 0; i < server->url_count && left_ms > 0; i++) {
            int at = (server->url_good + i) % server->url_count;
            int timeout_ms = left_ms < ATTEMPT_MS_MAX ? (int)left_ms : ATTEMPT_MS_MAX;
            weir_err err = attempt(server, server->urls[at], path, body, timeout_ms, status, answer, error);
            asked++;
            if (!may_be_asked_again(err)) {
                server->url_good = at;
                return err;
            }
            left_ms = deadline_ms - weir_clock_mono_ms();
        }
        if (left_ms <= pause_ms)
            break;
        struct timespec pause = {pause_ms / 1000, pause_ms % 1000 * 1000000};
        nanosleep(&pause, NULL);
    }
    char text[WEIR_ERROR_MESSAGE_SIZE];
    memcpy(text, error->message, sizeof text);
    return weir_fail(error, WEIR_ERR_IO, "%.800s (asked %d time%s in %d ms)", text, asked, asked == 1 ? "" : "s",
                     server->timeout_ms);
}
