/* See s3_int.h. Source of the order and the protocols: AWS SDKs and Tools Reference Guide, "Standardized credential providers". */
#include <ctype.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "http/http_client.h"
#include "store/s3_int.h"
#include "store/sigv4.h"

#define RENEW_BEFORE_MS (5 * 60 * 1000)
#define RETRY_AFTER_MS 10000 /* a renewal that failed, while the old ones are still good */
#define ANSWER_SIZE_MAX ((size_t)64 << 10)
#define METADATA_TIMEOUT_MS 2000

struct weir_s3_credentials {
    struct weir_http_engine *engine;
    char *access_key, *secret_key, *token, *region, *sts_endpoint;
    pthread_mutex_t mutex;  /* also held while fetching: others wait for the result */
    struct weir_s3_key now; /* access_key NULL: none yet */
    int64_t renew_at_ms;
};

/* One provider: WEIR_OK with `key` filled, NOT_FOUND: this one is not set up, go on; else it is set up and fails. */
typedef weir_err provider_fn(struct weir_s3_credentials *c, struct weir_s3_key *key, struct weir_error *error);

void weir_s3_key_fini(struct weir_s3_key *key)
{
    free(key->access_key);
    if (key->secret_key)
        explicit_bzero(key->secret_key, strlen(key->secret_key));
    free(key->secret_key);
    free(key->token);
    memset(key, 0, sizeof *key);
}

static void fill(struct weir_s3_key *key, const char *access, const char *secret, const char *token, int64_t expires_ms,
                 const char *origin)
{
    *key = (struct weir_s3_key){
        .access_key = weir_strdup(access),
        .secret_key = weir_strdup(secret),
        .token = token && *token ? weir_strdup(token) : NULL,
        .expires_ms = expires_ms,
        .origin = origin,
    };
}

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* "2026-08-30T12:36:00Z" in ms; 0: not one. */
static int64_t parse_time(const char *text)
{
    struct tm tm = {0};
    const char *rest = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
    return rest ? (int64_t)timegm(&tm) * 1000 : 0;
}

/* A small file's text without the blanks at its end; NULL and error. */
static char *read_small(const char *path, struct weir_error *error)
{
    FILE *file = fopen(path, "re");
    if (!file) {
        (void)!weir_fail_errno(error, WEIR_ERR_INVALID, "cannot read '%s'", path);
        return NULL;
    }
    char *text = weir_alloc(ANSWER_SIZE_MAX);
    size_t size = fread(text, 1, ANSWER_SIZE_MAX - 1, file);
    fclose(file);
    while (size > 0 && isspace((unsigned char)text[size - 1]))
        size--;
    text[size] = 0;
    return text;
}

/* --- Configuration, environment */

static weir_err from_configuration(struct weir_s3_credentials *c, struct weir_s3_key *key, struct weir_error *error)
{
    (void)error;
    if (!c->access_key)
        return WEIR_ERR_NOT_FOUND;
    fill(key, c->access_key, c->secret_key, c->token, INT64_MAX, "s3.access-key");
    return WEIR_OK;
}

static weir_err from_environment(struct weir_s3_credentials *c, struct weir_s3_key *key, struct weir_error *error)
{
    (void)c;
    const char *access = environment("AWS_ACCESS_KEY_ID"), *secret = environment("AWS_SECRET_ACCESS_KEY");
    if (!access && !secret)
        return WEIR_ERR_NOT_FOUND;
    if (!access || !secret)
        return weir_fail(error, WEIR_ERR_INVALID, "of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY only one is set");
    fill(key, access, secret, environment("AWS_SESSION_TOKEN"), INT64_MAX, "the environment");
    return WEIR_OK;
}

/* --- Over HTTP */

static weir_err fetch(struct weir_s3_credentials *c, struct weir_http_exchange *x, const char *what,
                      struct weir_error *error)
{
    x->connect_timeout_ms = METADATA_TIMEOUT_MS;
    if (x->timeout_ms == 0)
        x->timeout_ms = METADATA_TIMEOUT_MS * 2;
    x->response_size_max = ANSWER_SIZE_MAX;
    weir_err err = weir_http_engine_call(c->engine, x);
    if (err) {
        *error = x->error;
        return weir_wrap(error, "cannot get credentials from %s", what);
    }
    if (x->status != 200)
        return weir_fail(error, WEIR_ERR_IO, "cannot get credentials from %s: it answered %d: %.300s", what, x->status,
                         x->body_out.data ? (char *)x->body_out.data : "");
    return WEIR_OK;
}

static void put_field(struct weir_buf *form, const char *name, const char *value)
{
    weir_assert(weir_buf_printf(form, "%s%s=", form->size ? "&" : "", name));
    weir_sigv4_encode(form, value, false);
}

static weir_err from_web_identity(struct weir_s3_credentials *c, struct weir_s3_key *key, struct weir_error *error)
{
    const char *token_file = environment("AWS_WEB_IDENTITY_TOKEN_FILE"), *role = environment("AWS_ROLE_ARN");
    if (!token_file || !role)
        return WEIR_ERR_NOT_FOUND;
    char *token = read_small(token_file, error);
    if (!token)
        return weir_wrap(error, "AWS_WEB_IDENTITY_TOKEN_FILE");
    struct weir_buf form;
    weir_buf_init(&form, ANSWER_SIZE_MAX * 4);
    put_field(&form, "Action", "AssumeRoleWithWebIdentity");
    put_field(&form, "Version", "2011-06-15");
    put_field(&form, "RoleArn", role);
    put_field(&form, "RoleSessionName",
              environment("AWS_ROLE_SESSION_NAME") ? environment("AWS_ROLE_SESSION_NAME") : "weir");
    put_field(&form, "WebIdentityToken", token);
    static const char *const headers[] = {"Content-Type: application/x-www-form-urlencoded"};
    struct weir_http_exchange x = {
        .method = "POST",
        .url = c->sts_endpoint,
        .headers = headers,
        .header_count = 1,
        .body = form.data,
        .body_size = form.size,
        .timeout_ms = 15000,
    };
    char access[256], secret[256], session[8192], expires[64];
    weir_err err = fetch(c, &x, "STS", error);
    if (!err) {
        struct weir_xml answer = {x.body_out.data ? (char *)x.body_out.data : "", x.body_out.size}, found;
        if (weir_xml_find(answer, "Credentials", &found) &&
            weir_xml_text(found, "AccessKeyId", access, sizeof access) &&
            weir_xml_text(found, "SecretAccessKey", secret, sizeof secret) &&
            weir_xml_text(found, "SessionToken", session, sizeof session) &&
            weir_xml_text(found, "Expiration", expires, sizeof expires))
            fill(key, access, secret, session, parse_time(expires), "the web identity");
        else
            err = weir_fail(error, WEIR_ERR_IO, /* not what it has: that may be half of them */
                            "the answer of STS lacks AccessKeyId, SecretAccessKey, SessionToken or Expiration");
    }
    explicit_bzero(secret, sizeof secret);
    weir_http_exchange_fini(&x);
    weir_buf_fini(&form);
    free(token);
    return err;
}

/* The answer of a container's or the instance's service. */
static weir_err from_json(const struct weir_http_exchange *x, const char *origin, struct weir_s3_key *key,
                          struct weir_error *error)
{
    json_t *root = json_loadb(x->body_out.data ? (char *)x->body_out.data : "", x->body_out.size, 0, NULL);
    const char *access = json_string_value(json_object_get(root, "AccessKeyId"));
    const char *secret = json_string_value(json_object_get(root, "SecretAccessKey"));
    const char *token = json_string_value(json_object_get(root, "Token"));
    const char *expires = json_string_value(json_object_get(root, "Expiration"));
    weir_err err = WEIR_OK;
    if (access && secret)
        fill(key, access, secret, token, expires ? parse_time(expires) : INT64_MAX, origin);
    else
        err = weir_fail(error, WEIR_ERR_IO, "the answer of %s has no AccessKeyId and SecretAccessKey", origin);
    json_decref(root);
    return err;
}

static weir_err from_container(struct weir_s3_credentials *c, struct weir_s3_key *key, struct weir_error *error)
{
    const char *relative = environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
               *full = environment("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    if (!relative && !full)
        return WEIR_ERR_NOT_FOUND;
    char *url = relative ? weir_format("http://169.254.170.2%s", relative) : weir_strdup(full), *token = NULL,
         *header = NULL;
    weir_err err = WEIR_OK;
    if (environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")) {
        token = read_small(environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"), error);
        if (!token)
            err = weir_wrap(error, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    } else if (environment("AWS_CONTAINER_AUTHORIZATION_TOKEN")) {
        token = weir_strdup(environment("AWS_CONTAINER_AUTHORIZATION_TOKEN"));
    }
    if (token)
        header = weir_format("Authorization: %s", token);
    struct weir_http_exchange x = {
        .method = "GET", .url = url, .headers = (const char *const *)&header, .header_count = header ? 1 : 0};
    if (!err)
        err = fetch(c, &x, "the container's URI", error);
    if (!err)
        err = from_json(&x, "the container's URI", key, error);
    weir_http_exchange_fini(&x);
    free(header);
    free(token);
    free(url);
    return err;
}

static weir_err from_instance(struct weir_s3_credentials *c, struct weir_s3_key *key, struct weir_error *error)
{
    if (environment("AWS_EC2_METADATA_DISABLED") && strcasecmp(environment("AWS_EC2_METADATA_DISABLED"), "true") == 0)
        return WEIR_ERR_NOT_FOUND;
    const char *base = environment("AWS_EC2_METADATA_SERVICE_ENDPOINT")
                           ? environment("AWS_EC2_METADATA_SERVICE_ENDPOINT")
                           : "http://169.254.169.254";
    char *url = weir_format("%s/latest/api/token", base), *header = NULL;
    static const char *const ttl[] = {"X-aws-ec2-metadata-token-ttl-seconds: 21600"};
    struct weir_http_exchange x = {.method = "PUT", .url = url, .headers = ttl, .header_count = 1};
    weir_err err = fetch(c, &x, "the instance's metadata", error);
    if (err) { /* not on such an instance */
        err = WEIR_ERR_NOT_FOUND;
        goto out;
    }
    header = weir_format("X-aws-ec2-metadata-token: %s", x.body_out.data ? (char *)x.body_out.data : "");
    weir_http_exchange_fini(&x);
    free(url);
    url = weir_format("%s/latest/meta-data/iam/security-credentials/", base);
    x = (struct weir_http_exchange){
        .method = "GET", .url = url, .headers = (const char *const *)&header, .header_count = 1};
    err = fetch(c, &x, "the instance's metadata", error);
    if (err) {
        err = x.status == 404 ? WEIR_ERR_NOT_FOUND : err; /* an instance without a role */
        goto out;
    }
    const char *answer = x.body_out.data ? (char *)x.body_out.data : "";
    char *role = weir_strndup(answer, strcspn(answer, "\r\n"));
    weir_http_exchange_fini(&x);
    free(url);
    url = weir_format("%s/latest/meta-data/iam/security-credentials/%s", base, role);
    free(role);
    x = (struct weir_http_exchange){
        .method = "GET", .url = url, .headers = (const char *const *)&header, .header_count = 1};
    err = fetch(c, &x, "the instance's metadata", error);
    if (!err)
        err = from_json(&x, "the instance's metadata", key, error);
out:
    weir_http_exchange_fini(&x);
    free(header);
    free(url);
    return err;
}

/* --- ~/.aws/credentials */

static bool ini_value(char *line, const char *name, char **value)
{
    char *equals = strchr(line, '=');
    if (!equals)
        return false;
    char *end = equals;
    while (end > line && isspace((unsigned char)end[-1]))
        end--;
    line += strspn(line, " \t");
    if (end < line || (size_t)(end - line) != strlen(name) || strncmp(line, name, strlen(name)) != 0)
        return false;
    char *from = equals + 1 + strspn(equals + 1, " \t"), *to = from + strlen(from);
    while (to > from && isspace((unsigned char)to[-1]))
        to--;
    *to = 0;
    free(*value);
    *value = weir_strdup(from);
    return true;
}

static weir_err from_file(struct weir_s3_credentials *c, struct weir_s3_key *key, struct weir_error *error)
{
    (void)c;
    const char *profile = environment("AWS_PROFILE") ? environment("AWS_PROFILE") : "default";
    const char *named = environment("AWS_SHARED_CREDENTIALS_FILE"), *home = environment("HOME");
    if (!named && !home)
        return WEIR_ERR_NOT_FOUND;
    char *path = named ? weir_strdup(named) : weir_format("%s/.aws/credentials", home), line[8192];
    FILE *file = fopen(path, "re");
    if (!file) {
        weir_err err =
            named ? weir_fail_errno(error, WEIR_ERR_INVALID, "cannot read '%s' (AWS_SHARED_CREDENTIALS_FILE)", path)
                  : WEIR_ERR_NOT_FOUND;
        free(path);
        return err;
    }
    char *access = NULL, *secret = NULL, *token = NULL;
    bool in_profile = false;
    while (fgets(line, sizeof line, file)) {
        char *text = line + strspn(line, " \t");
        if (*text == '[') {
            size_t size = strcspn(text + 1, "]");
            in_profile = size == strlen(profile) && strncmp(text + 1, profile, size) == 0;
        } else if (in_profile && *text != '#' && *text != ';') {
            if (!ini_value(text, "aws_access_key_id", &access) && !ini_value(text, "aws_secret_access_key", &secret))
                ini_value(text, "aws_session_token", &token);
        }
    }
    fclose(file);
    weir_err err = WEIR_OK;
    if (access && secret)
        fill(key, access, secret, token, INT64_MAX, "the credentials file");
    else if (access || secret || named || environment("AWS_PROFILE"))
        err = weir_fail(error, WEIR_ERR_INVALID,
                        "'%s' has no aws_access_key_id and aws_secret_access_key for profile '%s'", path, profile);
    else
        err = WEIR_ERR_NOT_FOUND;
    free(access);
    free(secret);
    free(token);
    free(path);
    explicit_bzero(line, sizeof line);
    return err;
}

/* --- All of them */

static weir_err fetch_any(struct weir_s3_credentials *c, struct weir_s3_key *key, struct weir_error *error)
{
    static provider_fn *const providers[] = {from_configuration, from_environment, from_web_identity,
                                             from_file,          from_container,   from_instance};
    for (size_t i = 0; i < sizeof providers / sizeof *providers; i++) {
        weir_err err = providers[i](c, key, error);
        if (err != WEIR_ERR_NOT_FOUND)
            return err;
    }
    return weir_fail(
        error, WEIR_ERR_INVALID,
        "no credentials for S3 were found: set s3.access-key and s3.secret-key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
        "run where a role gives some");
}

weir_err weir_s3_credentials_get(struct weir_s3_credentials *c, struct weir_s3_key *key, struct weir_error *error)
{
    struct weir_error local;
    if (!error)
        error = &local;
    weir_err err = WEIR_OK;
    pthread_mutex_lock(&c->mutex);
    int64_t now_ms = weir_clock_wall_ms();
    if (!c->now.access_key || now_ms >= c->renew_at_ms) {
        struct weir_s3_key fresh = {0};
        err = fetch_any(c, &fresh, error);
        if (!err) {
            weir_s3_key_fini(&c->now);
            c->now = fresh;
            c->renew_at_ms = fresh.expires_ms == INT64_MAX ? INT64_MAX : fresh.expires_ms - RENEW_BEFORE_MS;
            if (c->renew_at_ms <= now_ms) /* good for less than 5 minutes: at half time */
                c->renew_at_ms = now_ms + (fresh.expires_ms - now_ms) / 2;
        } else if (c->now.access_key && now_ms < c->now.expires_ms) {
            weir_log(WARN, "S3 credentials could not be renewed, the old ones are good for another %" PRId64 " s: %s",
                     (c->now.expires_ms - now_ms) / 1000, error->message);
            c->renew_at_ms = now_ms + RETRY_AFTER_MS;
            err = WEIR_OK;
        }
    }
    if (!err)
        fill(key, c->now.access_key, c->now.secret_key, c->now.token, c->now.expires_ms, c->now.origin);
    pthread_mutex_unlock(&c->mutex);
    return err;
}

void weir_s3_credentials_expired(struct weir_s3_credentials *c, const struct weir_s3_key *key)
{
    pthread_mutex_lock(&c->mutex);
    if (c->now.access_key && strcmp(c->now.access_key, key->access_key) == 0)
        c->renew_at_ms = c->now.expires_ms = 0;
    pthread_mutex_unlock(&c->mutex);
}

static char *setting(const struct weir_config *config, const char *key)
{
    const char *value = weir_config_string(config, key);
    return value ? weir_strdup(value) : NULL;
}

struct weir_s3_credentials *weir_s3_credentials_new(const struct weir_config *config, const char *region,
                                                    struct weir_http_engine *engine)
{
    struct weir_s3_credentials *c = weir_zalloc(sizeof *c);
    c->engine = engine;
    c->access_key = setting(config, "s3.access-key");
    c->secret_key = setting(config, "s3.secret-key");
    c->token = setting(config, "s3.session-token");
    c->region = weir_strdup(region);
    c->sts_endpoint = setting(config, "s3.sts-endpoint");
    if (!c->sts_endpoint)
        c->sts_endpoint = environment("AWS_ENDPOINT_URL_STS") ? weir_strdup(environment("AWS_ENDPOINT_URL_STS"))
                                                              : weir_format("https://sts.%s.amazonaws.com/", region);
    pthread_mutex_init(&c->mutex, NULL);
    return c;
}

void weir_s3_credentials_free(struct weir_s3_credentials *c)
{
    if (!c)
        return;
    weir_s3_key_fini(&c->now);
    free(c->access_key);
    free(c->secret_key);
    free(c->token);
    free(c->region);
    free(c->sts_endpoint);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}
