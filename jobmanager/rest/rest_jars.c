/* Shared objects over REST: upload, list, plan, run, delete (paths and bodies of Flink's jars), and the store of code by content
 * from which TaskManagers fetch.
 *
 * An upload lies as <uuid>_NAME.so in upload_dir until it is deleted. A run hashes it and links it into code_dir as <sha256>.so, so
 * that deleting the upload does not take the code from a running job. Code that no unended job uses goes at the next run, when it is
 * older than CODE_GRACE_MS (a submission may be under way with it), and all of it at start.
 *
 * Nothing here loads a shared object: the view's build() does that in a child process. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "jobmanager/rest/rest_int.h"

#define CODE_GRACE_MS 600000
#define NAME_SIZE_MAX 128
#define ARGUMENTS_MAX 1000
#define UUID_SIZE 36

/* --- Names */

static void make_uuid(char out[UUID_SIZE + 1])
{
    unsigned char b[16];
    ssize_t n = getrandom(b, sizeof b, 0);
    weir_assert(n == sizeof b);
    b[6] = (unsigned char)((b[6] & 15) | 0x40);
    b[8] = (unsigned char)((b[8] & 63) | 0x80);
    snprintf(out, UUID_SIZE + 1, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

/* Letters, digits, '.', '_', '-', '+'; not hidden; ends in .so. */
static bool is_good_name(const char *name)
{
    size_t size = strlen(name);
    if (size < 4 || size > NAME_SIZE_MAX || name[0] == '.' || strcmp(name + size - 3, ".so") != 0)
        return false;
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("._-+", *c))
            return false;
    return true;
}

static bool is_jar_id(const char *id)
{
    if (strlen(id) < UUID_SIZE + 2 || id[UUID_SIZE] != '_')
        return false;
    for (int i = 0; i < UUID_SIZE; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? id[i] != '-' : !isxdigit((unsigned char)id[i]))
            return false;
    }
    return is_good_name(id + UUID_SIZE + 1);
}

/* The upload's path; NULL: there is none, the response is the error with `status`. Freed by the caller. */
static char *find_jar(const struct weir_http_server_request *request, struct weir_http_server_response *response,
                      int status)
{
    const struct weir_rest *rest = request->arg;
    const char *id = request->params[0];
    if (is_jar_id(id)) {
        char *path = weir_format("%s/%s", rest->options.upload_dir, id);
        struct stat st;
        if (lstat(path, &st) == 0 && S_ISREG(st.st_mode))
            return path;
        free(path);
    }
    weir_http_fail(response, status, "File %.200s does not exist in %s.", id, rest->options.upload_dir);
    return NULL;
}

static bool may_submit(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    const struct weir_rest *rest = request->arg;
    if (weir_config_int(rest->options.config, "web.submit.enable"))
        return true;
    weir_http_fail(response, 403, "Uploading and running code over REST is switched off ('web.submit.enable').");
    return false;
}

/* --- Upload, list, delete */

void weir_rest_jar_upload(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    const struct weir_rest *rest = request->arg;
    if (!may_submit(request, response))
        return;
    if (request->upload_count != 1 || !*request->upload_part || !request->upload_path) {
        weir_http_fail(response, 400, "Exactly 1 file must be sent, as multipart/form-data; received %d.",
                       *request->upload_part ? request->upload_count : 0);
        return;
    }
    const char *slash = strrchr(request->upload_name, '/');
    const char *name = slash ? slash + 1 : request->upload_name;
    if (!is_good_name(name)) {
        weir_http_fail(
            response, 400,
            "The file name '%.150s' is not accepted: it must end in .so and have at most %d letters, digits or ._-+ .",
            name, NAME_SIZE_MAX);
        return;
    }
    char uuid[UUID_SIZE + 1];
    make_uuid(uuid);
    char *path = weir_format("%s/%s_%s", rest->options.upload_dir, uuid, name);
    if (rename(request->upload_path, path) != 0) {
        weir_log(ERROR, "cannot keep an upload as '%s': %s", path, strerror(errno));
        weir_http_fail(response, 500, "The server cannot keep the upload; its log says why.");
    } else {
        weir_http_json(response, 200, json_pack("{s:o, s:s}", "filename", weir_rest_string(path), "status", "success"));
    }
    free(path);
}

struct jar {
    char id[UUID_SIZE + NAME_SIZE_MAX + 2];
    int64_t uploaded_ms;
};

static int newest_first(const void *a, const void *b)
{
    const struct jar *x = a, *y = b;
    return x->uploaded_ms > y->uploaded_ms ? -1 : x->uploaded_ms < y->uploaded_ms ? 1 : strcmp(x->id, y->id);
}

void weir_rest_jars(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    const struct weir_rest *rest = request->arg;
    DIR *directory = opendir(rest->options.upload_dir);
    if (!directory) {
        weir_http_fail(response, 500, "The upload directory cannot be read.");
        return;
    }
    struct jar *jars = NULL;
    int count = 0, capacity = 0;
    for (struct dirent *e; (e = readdir(directory));) {
        struct stat st;
        if (!is_jar_id(e->d_name) || fstatat(dirfd(directory), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(st.st_mode))
            continue;
        if (count == capacity) {
            capacity = capacity ? capacity * 2 : 16;
            jars = weir_realloc(jars, (size_t)capacity * sizeof *jars);
        }
        snprintf(jars[count].id, sizeof jars[count].id, "%.*s", (int)sizeof jars[count].id - 1, e->d_name);
        jars[count].uploaded_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
        count++;
    }
    closedir(directory);
    if (count)
        qsort(jars, (size_t)count, sizeof *jars, newest_first);
    json_t *files = json_array();
    for (int i = 0; i < count; i++) {
        const char *name = jars[i].id + UUID_SIZE + 1;
        json_array_append_new(files, json_pack("{s:s, s:s, s:I, s:[{s:s%, s:n}]}", "id", jars[i].id, "name", name,
                                               "uploaded", (json_int_t)jars[i].uploaded_ms, "entry", "name", name,
                                               strlen(name) - 3, "description"));
    }
    free(jars);
    weir_http_json(response, 200,
                   json_pack("{s:o, s:o}", "address",
                             json_sprintf("http://%s:%d", weir_config_string(rest->options.config, "rest.bind-address"),
                                          weir_http_server_port(rest->server)),
                             "files", files));
}

void weir_rest_jar_delete(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    if (!may_submit(request, response))
        return;
    char *path = find_jar(request, response, 400);
    if (!path)
        return;
    if (unlink(path) != 0 && errno != ENOENT)
        weir_http_fail(response, 500, "Failed to delete %s: %s", request->params[0], strerror(errno));
    else
        weir_http_json(response, 200, json_object());
    free(path);
}

/* --- The code store */

static bool is_sha256(const char *text)
{
    return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

/* The hash of "<sha256>.so", or false. */
static bool code_name(const char *file, char sha256[65])
{
    if (strlen(file) != 67 || strcmp(file + 64, ".so") != 0)
        return false;
    snprintf(sha256, 65, "%.64s", file);
    return is_sha256(sha256);
}

void weir_rest_code_clear(const char *path)
{
    DIR *directory = opendir(path);
    char sha256[65];
    for (struct dirent *e; directory && (e = readdir(directory));)
        if (code_name(e->d_name, sha256) || !strncmp(e->d_name, ".code-", 6))
            unlinkat(dirfd(directory), e->d_name, 0);
    if (directory)
        closedir(directory);
}

/* Under code_lock. */
static void collect_code(struct weir_rest *rest)
{
    const struct weir_cluster_view *view = rest->options.view;
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_job *jobs = NULL;
    int count = 0;
    view->jobs(view->self, &arena, &jobs, &count);
    DIR *directory = opendir(rest->options.code_dir);
    for (struct dirent *e; directory && (e = readdir(directory));) {
        char sha256[65];
        struct stat st;
        if (!code_name(e->d_name, sha256) || fstatat(dirfd(directory), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        bool used = weir_clock_wall_ms() - (int64_t)st.st_ctim.tv_sec * 1000 < CODE_GRACE_MS;
        for (int i = 0; i < count && !used; i++)
            used = !weir_rest_job_ended(jobs[i].state) && !strcmp(jobs[i].code_sha256, sha256);
        if (!used)
            unlinkat(dirfd(directory), e->d_name, 0);
    }
    if (directory)
        closedir(directory);
    weir_arena_fini(&arena);
}

static weir_err copy_file(const char *from, const char *to, struct weir_error *error)
{
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    weir_err err = WEIR_OK;
    if (in < 0 || out < 0)
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot copy '%s' to '%s'", from, to);
    while (!err) {
        ssize_t n = copy_file_range(in, NULL, out, NULL, (size_t)1 << 30, 0);
        if (n == 0)
            break;
        if (n < 0)
            err = weir_fail_errno(error, WEIR_ERR_IO, "cannot copy '%s' to '%s'", from, to);
    }
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    return err;
}

/* The upload into the store; *path is freed by the caller. */
static weir_err store_code(struct weir_rest *rest, const char *jar, char sha256[65], char **path,
                           struct weir_error *error)
{
    weir_err err = weir_sha256_file_hex(jar, sha256, error);
    if (err)
        return err;
    char *to = weir_format("%s/%s.so", rest->options.code_dir, sha256);
    char *temporary = weir_format("%s/.code-%s", rest->options.code_dir, sha256);
    pthread_mutex_lock(&rest->code_lock);
    collect_code(rest);
    /* Linked anew even when it is there: that makes it young again for collect_code(). */
    unlink(temporary);
    if (link(jar, temporary) != 0)
        err = copy_file(jar, temporary, error);
    if (!err && rename(temporary, to) != 0)
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot store the job's code as '%s'", to);
    unlink(temporary); /* rename() leaves it there when both names are the same file */
    pthread_mutex_unlock(&rest->code_lock);
    free(temporary);
    if (err)
        free(to);
    else
        *path = to;
    return err;
}

void weir_rest_code(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    const struct weir_rest *rest = request->arg;
    const char *sha256 = request->params[0];
    if (!is_sha256(sha256)) {
        weir_http_fail(response, 400, "'%.80s' is no SHA-256 in lower-case hex.", sha256);
        return;
    }
    char *path = weir_format("%s/%s.so", rest->options.code_dir, sha256);
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    free(path);
    if (fd < 0 || fstat(fd, &st) != 0) {
        if (fd >= 0)
            close(fd);
        weir_http_fail(response, 404, "There is no code with the SHA-256 %s.", sha256);
        return;
    }
    response->file_fd = fd;
    response->file_size = (uint64_t)st.st_size;
    response->content_type = "application/octet-stream";
}

/* --- Plan and run */

struct run { /* the options of both, from body and query; all in the arena */
    const char **arguments;
    int argument_count;
    int parallelism; /* 0: none */
    const char *job_id, *name;
    const char *savepoint_path; /* NULL: none */
    bool allow_non_restored, claim;
    struct weir_key_value *configuration;
    int configuration_count;
};

static bool bad(struct weir_http_server_response *response, const char *field, const char *why)
{
    weir_http_fail(response, 400, "The field '%s' %s.", field, why);
    return false;
}

static bool add_argument(struct run *run, struct weir_arena *arena, const char *text, size_t size,
                         struct weir_http_server_response *response)
{
    if (run->argument_count == ARGUMENTS_MAX)
        return bad(response, "programArgsList", "has more than 1000 arguments");
    run->arguments[run->argument_count++] = weir_arena_strndup(arena, text, size);
    return true;
}

/* One text of arguments, separated by blanks, with quotes. */
static bool split_arguments(struct run *run, struct weir_arena *arena, const char *text,
                            struct weir_http_server_response *response)
{
    while (*text) {
        text += strspn(text, " \t\n");
        if (!*text)
            break;
        char quote = *text == '"' || *text == '\'' ? *text : 0;
        size_t size = quote ? strcspn(text + 1, quote == '"' ? "\"" : "'") : strcspn(text, " \t\n");
        if (quote && !text[1 + size])
            return bad(response, "programArgs", "has a quote without an end");
        if (!add_argument(run, arena, text + (quote != 0), size, response))
            return false;
        text += size + (quote ? 2 : 0);
    }
    return true;
}

static bool read_parallelism(struct run *run, json_int_t value, struct weir_http_server_response *response)
{
    if (value < 1 || value > 32768)
        return bad(response, "parallelism", "must be between 1 and 32768");
    run->parallelism = (int)value;
    return true;
}

/* LEGACY leaves the savepoint to whoever made it, and so does NO_CLAIM here: its objects are copied. */
static bool read_claim(struct run *run, const char *text, struct weir_http_server_response *response)
{
    run->claim = !strcasecmp(text, "CLAIM");
    return run->claim || !strcasecmp(text, "NO_CLAIM") || !strcasecmp(text, "LEGACY") ||
           bad(response, "claimMode", "must be CLAIM, NO_CLAIM or LEGACY");
}

static bool read_query(const struct weir_http_server_request *request, struct run *run, struct weir_arena *arena,
                       struct weir_http_server_response *response)
{
    const char *text = weir_http_query_get(request, "parallelism");
    if (text) {
        char *end = NULL;
        long value = strtol(text, &end, 10);
        if (end == text || *end || !read_parallelism(run, value, response))
            return bad(response, "parallelism", "must be between 1 and 32768");
    }
    text = weir_http_query_get(request, "savepointPath");
    if (text && *text)
        run->savepoint_path = weir_arena_strdup(arena, text);
    text = weir_http_query_get(request, "allowNonRestoredState");
    run->allow_non_restored = text && !strcasecmp(text, "true");
    text = weir_http_query_get(request, "claimMode");
    if (text && !read_claim(run, text, response))
        return false;
    text = weir_http_query_get(request, "program-args");
    if (text && !split_arguments(run, arena, text, response))
        return false;
    text = weir_http_query_get(request, "programArg"); /* a,b,c */
    while (text && *text) {
        size_t size = strcspn(text, ",");
        if (!add_argument(run, arena, text, size, response))
            return false;
        text += size + (text[size] == ',');
    }
    return true;
}

static bool read_configuration(struct run *run, struct weir_arena *arena, json_t *object,
                               struct weir_http_server_response *response)
{
    if (!json_is_object(object))
        return bad(response, "flinkConfiguration", "must be an object");
    run->configuration = weir_arena_alloc(arena, (json_object_size(object) + 1) * sizeof *run->configuration);
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        char *text;
        if (json_is_string(value))
            text = weir_arena_strdup(arena, json_string_value(value));
        else if (json_is_boolean(value))
            text = weir_arena_strdup(arena, json_is_true(value) ? "true" : "false");
        else if (json_is_integer(value))
            text = weir_arena_format(arena, "%lld", (long long)json_integer_value(value));
        else if (json_is_real(value))
            text = weir_arena_format(arena, "%.17g", json_real_value(value));
        else
            return bad(response, "flinkConfiguration", "has a value that is no text, number or boolean");
        run->configuration[run->configuration_count++] = (struct weir_key_value){weir_arena_strdup(arena, key), text};
    }
    return true;
}

static bool read_arguments(struct run *run, struct weir_arena *arena, json_t *list,
                           struct weir_http_server_response *response)
{
    if (!json_is_array(list))
        return bad(response, "programArgsList", "must be a list of texts");
    run->argument_count = 0;
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        if (!json_is_string(item))
            return bad(response, "programArgsList", "must be a list of texts");
        if (!add_argument(run, arena, json_string_value(item), json_string_length(item), response))
            return false;
    }
    return true;
}

/* Fields that are not known are ignored, as Flink does. The body wins over the query. */
static bool read_body(json_t *body, struct run *run, struct weir_arena *arena,
                      struct weir_http_server_response *response)
{
    json_t *value = json_object_get(body, "parallelism");
    if (value && !json_is_null(value)) {
        if (!json_is_integer(value))
            return bad(response, "parallelism", "must be a whole number");
        if (!read_parallelism(run, json_integer_value(value), response))
            return false;
    }
    value = json_object_get(body, "programArgs");
    if (value && !json_is_null(value)) {
        run->argument_count = 0;
        if (!json_is_string(value))
            return bad(response, "programArgs", "must be a text");
        if (!split_arguments(run, arena, json_string_value(value), response))
            return false;
    }
    value = json_object_get(body, "programArgsList");
    if (value && !json_is_null(value) && !read_arguments(run, arena, value, response))
        return false;
    value = json_object_get(body, "jobId");
    if (value && !json_is_null(value)) {
        char *id = weir_arena_alloc(arena, 33);
        if (!json_is_string(value) || !weir_rest_parse_id(json_string_value(value), "jobId", id, response))
            return bad(response, "jobId", "must be 32 hex digits");
        run->job_id = id;
    }
    value = json_object_get(body, "jobName");
    if (value && !json_is_null(value)) {
        if (!json_is_string(value) || json_string_length(value) == 0 || json_string_length(value) > 255)
            return bad(response, "jobName", "must be a text of 1 to 255 bytes");
        run->name = weir_arena_strdup(arena, json_string_value(value));
    }
    value = json_object_get(body, "savepointPath");
    if (value && !json_is_null(value)) {
        if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value))
            return bad(response, "savepointPath", "must be a text");
        run->savepoint_path = json_string_length(value) ? weir_arena_strdup(arena, json_string_value(value)) : NULL;
    }
    value = json_object_get(body, "allowNonRestoredState");
    if (value && !json_is_null(value) && !json_is_boolean(value))
        return bad(response, "allowNonRestoredState", "must be true or false");
    if (json_is_boolean(value))
        run->allow_non_restored = json_is_true(value);
    value = json_object_get(body, "claimMode");
    value = value ? value : json_object_get(body, "restoreMode"); /* its older name */
    if (value && !json_is_null(value) &&
        !read_claim(run, json_is_string(value) ? json_string_value(value) : "", response))
        return false;
    value = json_object_get(body, "flinkConfiguration");
    return !value || json_is_null(value) || read_configuration(run, arena, value, response);
}

typedef weir_err run_finish(const struct weir_http_server_request *request,
                            const struct weir_view_submission *submission, struct weir_arena *arena, json_t **reply,
                            struct weir_error *error);

static weir_err finish_run(const struct weir_http_server_request *request,
                           const struct weir_view_submission *submission, struct weir_arena *arena, json_t **reply,
                           struct weir_error *error)
{
    (void)arena;
    const struct weir_cluster_view *view = weir_rest_view(request);
    char id[33] = "";
    weir_err err = view->submit(view->self, submission, id, error);
    if (!err)
        *reply = json_pack("{s:s}", "jobid", id);
    return err;
}

static weir_err finish_plan(const struct weir_http_server_request *request,
                            const struct weir_view_submission *submission, struct weir_arena *arena, json_t **reply,
                            struct weir_error *error)
{
    const struct weir_cluster_view *view = weir_rest_view(request);
    const char *text = NULL;
    weir_err err = view->plan(view->self, submission, arena, &text, error);
    if (!err) {
        json_t *plan = json_loads(text, 0, NULL);
        weir_assert(plan != NULL);
        *reply = json_pack("{s:o}", "plan", plan);
    }
    return err;
}

static void build_and(run_finish *finish, const struct weir_http_server_request *request,
                      struct weir_http_server_response *response)
{
    struct weir_rest *rest = request->arg;
    const struct weir_cluster_view *view = weir_rest_view(request);
    if (!may_submit(request, response))
        return;
    struct weir_arena arena;
    struct weir_buf graph;
    struct weir_error error = {0};
    json_t *body = NULL, *reply = NULL;
    char *path = NULL, *jar = NULL, sha256[65];
    weir_arena_init(&arena);
    weir_buf_init(&graph, WEIR_REST_GRAPH_SIZE_MAX);
    struct run run = {.arguments = weir_arena_alloc(&arena, ARGUMENTS_MAX * sizeof *run.arguments)};

    jar = find_jar(request, response, 404);
    if (!jar)
        goto out;
    if (!strcmp(request->method, "GET"))
        body = json_object(); /* Flink's client sends {} with a GET; nothing in it counts */
    else
        body = weir_http_body_object(request, response);
    if (!body || !read_query(request, &run, &arena, response) || !read_body(body, &run, &arena, response))
        goto out;
    weir_err err = store_code(rest, jar, sha256, &path, &error);
    if (!err) {
        struct weir_view_build build = {path, request->params[0] + UUID_SIZE + 1, sha256, run.arguments,
                                        run.argument_count};
        err = view->build(view->self, &build, &graph, &error);
    }
    if (!err) {
        struct weir_view_submission submission = {
            .graph = graph.data ? graph.data : (const uint8_t *)"",
            .graph_size = graph.size,
            .parallelism = run.parallelism,
            .job_id = run.job_id,
            .name = run.name,
            .configuration = run.configuration,
            .configuration_count = run.configuration_count,
            .savepoint_path = run.savepoint_path,
            .allow_non_restored = run.allow_non_restored,
            .claim = run.claim,
        };
        err = finish(request, &submission, &arena, &reply, &error);
    }
    if (err == WEIR_ERR_NOT_FOUND) /* a savepoint that the body names; the path of the request was found */
        weir_http_fail(response, 400, "%s", error.message);
    else if (err)
        weir_rest_fail(response, &error);
    else
        weir_http_json(response, 200, reply);
out:
    json_decref(body);
    free(path);
    free(jar);
    weir_buf_fini(&graph);
    weir_arena_fini(&arena);
}

void weir_rest_jar_run(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    build_and(finish_run, request, response);
}

void weir_rest_jar_plan(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    build_and(finish_plan, request, response);
}
