/* TaskManagers and log files over REST.
 *
 * Log files are those that an enumeration of the directory shows, opened with openat2(RESOLVE_BENEATH) and without following links:
 * a name from outside is only ever compared with names from the directory. A TaskManager's are served when it runs on this host.
 * `?offset=N` (weir's own) serves a file from there on, so that a client can follow it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "jobmanager/rest/rest_int.h"

/* --- Log files */

static bool is_log_name(const char *name)
{
    return name[0] != '.' && (strstr(name, ".log") || strstr(name, ".out"));
}

static int open_beneath(int directory, const char *name)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    int fd = (int)syscall(SYS_openat2, directory, name, &how, sizeof how);
    if (fd < 0 && errno == ENOSYS && !strchr(name, '/') && strcmp(name, "..") != 0)
        fd = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK); /* kernels before 5.6 */
    return fd;
}

/* "taskmanager-1" owns taskmanager-1.log, .log.1, .out and taskmanager-1-executor-*.log, and not taskmanager-10's. */
static bool is_log_of(const char *name, const char *owner)
{
    size_t size = strlen(owner);
    return is_log_name(name) && (!size || (!strncmp(name, owner, size) && (name[size] == '.' || name[size] == '-')));
}

/* `owner`: whose files, "": all. */
static void list_logs(const char *path, const char *owner, struct weir_http_server_response *response)
{
    json_t *logs = json_array();
    DIR *directory = opendir(path);
    for (struct dirent *e; directory && (e = readdir(directory));) {
        struct stat st;
        if (!is_log_of(e->d_name, owner) || fstatat(dirfd(directory), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(st.st_mode))
            continue;
        json_array_append_new(logs, json_pack("{s:o, s:I, s:I}", "name", weir_rest_string(e->d_name), "size",
                                              (json_int_t)st.st_size, "mtime",
                                              (json_int_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000));
    }
    if (directory)
        closedir(directory);
    weir_http_json(response, 200, json_pack("{s:o}", "logs", logs));
}

static void serve_log(const struct weir_http_server_request *request, struct weir_http_server_response *response,
                      const char *path, const char *name, const char *whose)
{
    const char *offset_text = weir_http_query_get(request, "offset");
    char *end = NULL;
    long long offset = offset_text ? strtoll(offset_text, &end, 10) : 0;
    if (offset_text && (end == offset_text || *end || offset < 0)) {
        weir_http_fail(
            response, 400,
            "Bad request, could not parse parameters: Cannot resolve query parameter (offset) from value \"%.50s\".",
            offset_text);
        return;
    }
    int fd = -1;
    struct stat st;
    DIR *directory = opendir(path);
    for (struct dirent *e; directory && fd < 0 && (e = readdir(directory));)
        if (is_log_name(e->d_name) && !strcmp(e->d_name, name))
            fd = open_beneath(dirfd(directory), e->d_name);
    if (directory)
        closedir(directory);
    if (fd >= 0 && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))) {
        close(fd);
        fd = -1;
    }
    if (fd < 0) {
        weir_http_fail(response, 404, "This file does not exist in %s log dir.", whose);
        return;
    }
    if (offset > st.st_size)
        offset = st.st_size;
    response->content_type = "text/plain; charset=UTF-8";
    response->file_fd = fd;
    response->file_offset = (uint64_t)offset;
    response->file_size = (uint64_t)(st.st_size - offset);
}

void weir_rest_jobmanager_logs(const struct weir_http_server_request *request,
                               struct weir_http_server_response *response)
{
    const struct weir_rest *rest = request->arg;
    if (rest->options.log_dir)
        list_logs(rest->options.log_dir, "", response);
    else
        weir_http_json(response, 200, json_pack("{s:[]}", "logs"));
}

void weir_rest_jobmanager_log_file(const struct weir_http_server_request *request,
                                   struct weir_http_server_response *response)
{
    const struct weir_rest *rest = request->arg;
    if (rest->options.log_dir)
        serve_log(request, response, rest->options.log_dir, request->params[0], "JobManager");
    else
        weir_http_fail(response, 404, "This file does not exist in JobManager log dir.");
}

void weir_rest_jobmanager_log(const struct weir_http_server_request *request,
                              struct weir_http_server_response *response)
{
    const struct weir_rest *rest = request->arg;
    if (rest->options.log_dir && rest->options.log_name)
        serve_log(request, response, rest->options.log_dir, rest->options.log_name, "JobManager");
    else
        weir_http_fail(response, 404, "The JobManager logs to standard error: it was started without 'log.file'.");
}

/* --- TaskManagers */

static const struct weir_view_taskmanager *find_taskmanager(const struct weir_http_server_request *request,
                                                            struct weir_http_server_response *response,
                                                            struct weir_arena *arena)
{
    const struct weir_cluster_view *view = weir_rest_view(request);
    const struct weir_view_taskmanager *tms = NULL;
    int count = 0;
    view->taskmanagers(view->self, arena, &tms, &count);
    for (int i = 0; i < count; i++)
        if (!strcmp(tms[i].id, request->params[0]))
            return &tms[i];
    weir_http_fail(response, 404, "No TaskExecutor registered under %.100s.", request->params[0]);
    return NULL;
}

/* What `slots` of a TaskManager's are worth, in Flink's terms (memory in MB). */
static json_t *resource(const struct weir_view_taskmanager *tm, int slots)
{
    double part = tm->slots ? (double)slots / tm->slots : 0;
    return json_pack("{s:f, s:I, s:i, s:i, s:i, s:{}}", "cpuCores", tm->cpu_cores * part, "taskHeapMemory",
                     (json_int_t)((double)(tm->memory_bytes >> 20) * part), "taskOffHeapMemory", 0, "managedMemory", 0,
                     "networkMemory", 0, "extendedResources");
}

static json_t *taskmanager_json(const struct weir_view_taskmanager *tm)
{
    json_int_t free_bytes = tm->memory_bytes - (int64_t)(tm->rss_bytes + tm->executor_rss_bytes);
    json_t *memory = json_pack("{s:i, s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:I, s:I}", "frameworkHeap", 0, "taskHeap",
                               (json_int_t)tm->memory_bytes, "frameworkOffHeap", 0, "taskOffHeap", 0, "networkMemory",
                               0, "managedMemory", 0, "jvmMetaspace", 0, "jvmOverhead", 0, "totalFlinkMemory",
                               (json_int_t)tm->memory_bytes, "totalProcessMemory", (json_int_t)tm->memory_bytes);
    return json_pack("{s:o, s:o, s:i, s:i, s:I, s:i, s:i, s:o, s:o, s:{s:i, s:I, s:I, s:i}, s:o, s:b, s:o, s:i}", "id",
                     weir_rest_string(tm->id), "path", json_sprintf("weir://%s/%s", tm->host, tm->id), "dataPort",
                     tm->data_port, "jmxPort", -1, "timeSinceLastHeartbeat", (json_int_t)tm->heartbeat_wall_ms,
                     "slotsNumber", tm->slots, "freeSlots", tm->slots_free, "totalResource", resource(tm, tm->slots),
                     "freeResource", resource(tm, tm->slots_free), "hardware", "cpuCores", tm->cpu_cores,
                     "physicalMemory", (json_int_t)tm->memory_bytes, "freeMemory",
                     free_bytes > 0 ? free_bytes : (json_int_t)0, "managedMemory", 0, "memoryConfiguration", memory,
                     "blocked", 0, "weir-host", weir_rest_string(tm->host), "weir-pid", tm->pid);
}

void weir_rest_taskmanagers(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    const struct weir_cluster_view *view = weir_rest_view(request);
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_taskmanager *tms = NULL;
    int count = 0;
    view->taskmanagers(view->self, &arena, &tms, &count);
    json_t *list = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(list, taskmanager_json(&tms[i]));
    weir_http_json(response, 200, json_pack("{s:o}", "taskmanagers", list));
    weir_arena_fini(&arena);
}

void weir_rest_taskmanager(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_taskmanager *tm = find_taskmanager(request, response, &arena);
    if (tm) {
        json_t *object = taskmanager_json(tm), *slots = json_array(), *metrics = json_object();
        for (int i = 0; i < tm->allocated_count; i++)
            json_array_append_new(slots,
                                  json_pack("{s:s, s:o}", "jobId", tm->allocated_jobs[i], "resource", resource(tm, 1)));
        json_object_set_new(object, "allocatedSlots", slots);
        static const char *const zeros[] = {
            "nonHeapUsed",
            "nonHeapCommitted",
            "nonHeapMax",
            "directCount",
            "directUsed",
            "directMax",
            "mappedCount",
            "mappedUsed",
            "mappedMax",
            "memorySegmentsAvailable",
            "memorySegmentsTotal",
            "nettyShuffleMemorySegmentsAvailable",
            "nettyShuffleMemorySegmentsUsed",
            "nettyShuffleMemorySegmentsTotal",
            "nettyShuffleMemoryAvailable",
            "nettyShuffleMemoryUsed",
            "nettyShuffleMemoryTotal",
        };
        json_int_t used = (json_int_t)(tm->rss_bytes + tm->executor_rss_bytes);
        json_object_set_new(metrics, "heapUsed", json_integer(used));
        json_object_set_new(metrics, "heapCommitted", json_integer(used));
        json_object_set_new(metrics, "heapMax", json_integer(tm->memory_bytes));
        for (size_t i = 0; i < sizeof zeros / sizeof zeros[0]; i++)
            json_object_set_new(metrics, zeros[i], json_integer(0));
        json_object_set_new(metrics, "garbageCollectors",
                            json_pack("[{s:s, s:i, s:i}]", "name", "All", "count", 0, "time", 0));
        json_object_set_new(object, "metrics", metrics);
        weir_http_json(response, 200, object);
    }
    weir_arena_fini(&arena);
}

static const struct weir_view_taskmanager *find_with_logs(const struct weir_http_server_request *request,
                                                          struct weir_http_server_response *response,
                                                          struct weir_arena *arena)
{
    const struct weir_view_taskmanager *tm = find_taskmanager(request, response, arena);
    if (!tm || (tm->log_readable_here && *tm->log_directory))
        return tm;
    if (!*tm->log_directory)
        weir_http_fail(response, 404, "TaskManager %s logs to standard error: it was started without 'log.file'.",
                       tm->id);
    else
        weir_http_fail(response, 404, "The logs of TaskManager %s are on its host, in %s on %s.", tm->id,
                       tm->log_directory, tm->host);
    return NULL;
}

/* The instance's name ("taskmanager-1"), by which its files are called: from the file below run/, beside the log directory, that a
 * daemon writes when it is ready (base/daemon.h). "" when there is none. */
static void name_of(const struct weir_view_taskmanager *tm, char out[64])
{
    out[0] = 0;
    char *path = weir_format("%s/../run", tm->log_directory);
    DIR *directory = opendir(path);
    for (struct dirent *e; directory && !out[0] && (e = readdir(directory));) {
        size_t size = strlen(e->d_name);
        if (size < 6 || size - 5 >= 64 || strcmp(e->d_name + size - 5, ".json") != 0 || e->d_name[0] == '.')
            continue;
        int fd = open_beneath(dirfd(directory), e->d_name);
        json_t *file = fd >= 0 ? json_loadfd(fd, 0, NULL) : NULL;
        const char *id = json_string_value(json_object_get(file, "id"));
        if (id && !strcmp(id, tm->id))
            snprintf(out, 64, "%.*s", (int)(size - 5), e->d_name);
        json_decref(file);
        if (fd >= 0)
            close(fd);
    }
    if (directory)
        closedir(directory);
    free(path);
}

void weir_rest_taskmanager_logs(const struct weir_http_server_request *request,
                                struct weir_http_server_response *response)
{
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_taskmanager *tm = find_with_logs(request, response, &arena);
    if (tm) {
        char name[64];
        name_of(tm, name);
        list_logs(tm->log_directory, name, response);
    }
    weir_arena_fini(&arena);
}

void weir_rest_taskmanager_log_file(const struct weir_http_server_request *request,
                                    struct weir_http_server_response *response)
{
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_taskmanager *tm = find_with_logs(request, response, &arena);
    if (tm)
        serve_log(request, response, tm->log_directory, request->params[1], "TaskManager");
    weir_arena_fini(&arena);
}

void weir_rest_taskmanager_log(const struct weir_http_server_request *request,
                               struct weir_http_server_response *response)
{
    struct weir_arena arena;
    weir_arena_init(&arena);
    const struct weir_view_taskmanager *tm = find_with_logs(request, response, &arena);
    if (tm) {
        char name[64], file[72];
        name_of(tm, name);
        snprintf(file, sizeof file, "%s.log", *name ? name : "taskmanager");
        serve_log(request, response, tm->log_directory, file, "TaskManager");
    }
    weir_arena_fini(&arena);
}
