/* REST, as bytes on a connection: request lines, paths, queries, headers, JSON bodies, multipart uploads, chunks, pipelining. A real server with
 * all of REST's routes over a small fake cluster. Input: what a client sends.
 * Checked: what comes back is HTTP; an answer of 400 or more in JSON is {"errors": [texts]}; nothing is written outside of the
 * upload directories, and what is not stored as a shared object does not stay.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <jansson.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "fuzz/fuzz.h"
#include "jobmanager/rest/rest.h"

#define JOB "0123456789abcdef0123456789abcdef"
#define VERTEX "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define JAR "00000000-0000-0000-0000-000000000000_x.so"
#define ANSWER_MAX ((size_t)1 << 20)
#define ANSWER_WAIT_MS 5

static char directory[64];
static struct weir_rest *rest;
static struct weir_config *config;
static char *up, *code, *logs;

/* --- A cluster of one job and one TaskManager */

static const struct weir_view_task tasks[] = {{.taskmanager_id = "tm", .host = "h", .watermark_ms = INT64_MIN}};
static const struct weir_view_vertex vertex = {.id = VERTEX,
                                               .name = "v",
                                               .slot_sharing_group = "default",
                                               .parallelism = 1,
                                               .max_parallelism = 128,
                                               .tasks = tasks};

static void jobs(void *self, struct weir_arena *arena, const struct weir_view_job **out, int *count)
{
    (void)self;
    struct weir_view_job *job = weir_arena_zalloc(arena, sizeof *job);
    *job = (struct weir_view_job){.id = JOB,
                                  .name = "job \xff",
                                  .state = WEIR_VIEW_JOB_RUNNING,
                                  .status = "",
                                  .end_ms = -1,
                                  .restart_strategy = "none",
                                  .code_sha256 = "",
                                  .vertex_count = 1,
                                  .vertices = &vertex,
                                  .plan_json = "{\"jid\":\"x\",\"nodes\":[]}"};
    *out = job;
    *count = 1;
}

static bool one_job(void *self, const char *id, int parts, struct weir_arena *arena, const struct weir_view_job **job)
{
    int count;
    (void)parts;
    jobs(self, arena, job, &count);
    return !strcmp(id, JOB);
}

static void taskmanagers(void *self, struct weir_arena *arena, const struct weir_view_taskmanager **out, int *count)
{
    (void)self;
    struct weir_view_taskmanager *tm = weir_arena_zalloc(arena, sizeof *tm);
    *tm = (struct weir_view_taskmanager){.id = "tm", .host = "h", .slots = 1, .log_readable_here = true};
    tm->log_directory = weir_arena_format(arena, "%s/logs", directory);
    *out = tm;
    *count = 1;
}

static weir_err cancel(void *self, const char *id, struct weir_error *error)
{
    (void)self;
    return !strcmp(id, JOB) ? WEIR_OK : weir_fail(error, WEIR_ERR_NOT_FOUND, "no job %s", id);
}

static weir_err build(void *self, const struct weir_view_build *what, struct weir_buf *graph, struct weir_error *error)
{
    (void)self;
    for (int i = 0; i < what->argument_count; i++)
        (void)strlen(what->arguments[i]);
    if (access(what->path, R_OK) != 0)
        return weir_fail(error, WEIR_ERR_NOT_FOUND, "%s is not there", what->code_name);
    return weir_buf_puts(graph, "GRAPH") ? WEIR_OK : WEIR_ERR_FULL;
}

static weir_err submit(void *self, const struct weir_view_submission *what, char id[33], struct weir_error *error)
{
    (void)self;
    for (int i = 0; i < what->configuration_count; i++)
        if (!what->configuration[i].key[0])
            return weir_fail(error, WEIR_ERR_INVALID, "'%s'", what->configuration[i].value);
    fuzz_check(!what->job_id || strlen(what->job_id) == 32);
    memcpy(id, JOB, 33);
    return WEIR_OK;
}

static weir_err plan(void *self, const struct weir_view_submission *what, struct weir_arena *arena, const char **json,
                     struct weir_error *error)
{
    (void)self, (void)what, (void)error;
    *json = weir_arena_strdup(arena, "{\"jid\":\"x\",\"nodes\":[]}");
    return WEIR_OK;
}

static bool checkpoints(void *self, const char *id, struct weir_arena *arena, const struct weir_view_checkpoints **out)
{
    (void)self;
    struct weir_view_checkpoint *one = weir_arena_zalloc(arena, sizeof *one);
    struct weir_view_checkpoints *all = weir_arena_zalloc(arena, sizeof *all);
    one->id = 1;
    one->path = one->failure = "";
    *all = (struct weir_view_checkpoints){.enabled = true, .mode = "EXACTLY_ONCE", .state_backend = "hashmap"};
    all->retention = all->restored_path = "";
    all->count = 1;
    all->list = one;
    *out = all;
    return strcmp(id, JOB) == 0;
}

static weir_err begin(void *self, const char *id, const struct weir_view_request *request, struct weir_error *error)
{
    (void)self;
    fuzz_check(strlen(request->id) == 32);
    return strcmp(id, JOB) == 0 ? WEIR_OK : weir_fail(error, WEIR_ERR_NOT_FOUND, "no job %s", id);
}

static bool operation(void *self, const char *id, struct weir_arena *arena, struct weir_view_operation *operation)
{
    (void)self, (void)arena;
    fuzz_check(strlen(id) == 32);
    *operation = (struct weir_view_operation){.job_id = JOB};
    return true;
}

static void faults(void *self, struct weir_arena *arena, const struct weir_view_fault **faults, int *count)
{
    (void)self, (void)arena;
    *faults = NULL;
    *count = 0;
}

static weir_err fault_arm(void *self, const char *point, const char *action, struct weir_error *error)
{
    (void)self;
    return *action ? weir_fail(error, WEIR_ERR_NOT_FOUND, "no point %s", point) : WEIR_OK;
}

static bool knows_all_jobs(void *self)
{
    (void)self;
    return true;
}

static const struct weir_cluster_view view = {
    .jobs = jobs,
    .job = one_job,
    .knows_all_jobs = knows_all_jobs,
    .taskmanagers = taskmanagers,
    .cancel = cancel,
    .build = build,
    .submit = submit,
    .plan = plan,
    .checkpoints = checkpoints,
    .begin = begin,
    .operation = operation,
    .faults = faults,
    .fault_arm = fault_arm,
};

/* --- Start */

static char *below(const char *name)
{
    return weir_format("%s/%s", directory, name);
}

static void write_file(const char *name, const char *text)
{
    char *path = below(name);
    FILE *file = fopen(path, "we");
    fuzz_check(file && fputs(text, file) >= 0 && fclose(file) == 0);
    free(path);
}

static void stop(void)
{
    char command[100];
    weir_rest_stop(rest);
    weir_config_free(config);
    free(up);
    free(code);
    free(logs);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    if (system(command) != 0)
        perror(directory);
}

static void start(void)
{
    static const struct weir_key_value port[] = {{"rest.port", "0"}};
    struct weir_error error;
    char sha256[65];
    weir_sha256_hex("", 0,
                    sha256); /* OpenSSL registers what it does at exit: before stop(), so that it comes after it */
    snprintf(directory, sizeof directory, "/tmp/weir-http-fuzz-XXXXXX");
    fuzz_check(mkdtemp(directory));
    up = below("up");
    code = below("code");
    logs = below("logs");
    mkdir(up, 0700);
    mkdir(code, 0700);
    mkdir(logs, 0700);
    write_file("logs/jobmanager.log", "one line\n");
    write_file("logs/taskmanager.log", "another\n");
    fuzz_check(!weir_config_load("/dev/null", NULL, port, 1, &config, &error));
    struct weir_rest_options options = {.view = &view, .config = config, .upload_dir = up, .code_dir = code};
    options.log_dir = logs;
    options.log_name = "jobmanager.log";
    if (weir_rest_start(&options, &rest, &error)) {
        fprintf(stderr, "%s\n", error.message);
        abort();
    }
    atexit(stop);
}

/* Shared objects that were stored are removed; anything else that lies there is wrong. */
static void clean(const char *name)
{
    char *path = below(name);
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        size_t size = strlen(entry->d_name);
        if (entry->d_name[0] == '.')
            continue;
        fuzz_check(size > 3 && !strcmp(entry->d_name + size - 3, ".so"));
        unlinkat(dirfd(folder), entry->d_name, 0);
    }
    fuzz_check(folder);
    closedir(folder);
    free(path);
}

/* --- An exchange */

static size_t talk(const uint8_t *data, size_t size, char *answer)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)weir_rest_port(rest))};
    struct linger gone = {1, 0};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fuzz_check(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &gone, sizeof gone); /* no port waits after it */
    size_t got = 0;
    if (send(fd, data, size, MSG_NOSIGNAL) == (ssize_t)size)
        shutdown(fd, SHUT_WR);
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    while (got < ANSWER_MAX && poll(&wait, 1, ANSWER_WAIT_MS) == 1) {
        ssize_t n = recv(fd, answer + got, ANSWER_MAX - got, 0);
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    close(fd);
    answer[got] = 0;
    return got;
}

static void check_answer(const char *answer, size_t size)
{
    fuzz_check(strncmp(answer, "HTTP/1.", 7) == 0);
    const char *body = strstr(answer, "\r\n\r\n"), *length = strcasestr(answer, "\r\nContent-Length: ");
    int status = atoi(answer + 9);
    if (status < 400 || !body || !length || length > body || !strstr(answer, "application/json"))
        return;
    body += 4;
    size_t body_size = (size_t)atol(length + 18);
    if (body_size == 0 || body_size > size - (size_t)(body - answer))
        return; /* not all of it came in time; or the answer to a HEAD */
    json_t *json = json_loadb(body, body_size, 0, NULL);
    fuzz_check(json && json_is_string(json_array_get(json_object_get(json, "errors"), 0)));
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char answer[ANSWER_MAX + 1];
    static int runs;
    if (!rest)
        start();
    if (runs++ % 32 == 0) {
        clean("up");
        clean("code");
        write_file("up/" JAR, "\x7f"
                              "ELF");
    }
    size_t got = talk(data, size, answer);
    if (got > 12)
        check_answer(answer, got);
    return 0;
}
