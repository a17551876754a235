#include "taskmanager/io/blocking.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "connectors/connector.h"
#include "graph.pb-c.h"
#include "http/http_client.h"

#define CODE_SIZE_MAX ((int64_t)1 << 30)
#define FETCH_TIMEOUT_MS 60000

struct weir_blocking {
    struct weir_blocking_options options; /* strings owned */
    int fd;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stop;
    struct weir_blocking_work *waiting, **waiting_end;
    struct weir_blocking_work *done, **done_end;
};

/* --- What may block */

static bool file_matches(const char *path, const char *sha256)
{
    char hex[65];
    return weir_sha256_file_hex(path, hex, NULL) == WEIR_OK && strcmp(hex, sha256) == 0;
}

static weir_err fetch(const struct weir_blocking_options *options, struct weir_blocking_work *work)
{
    if (options->local_code) {
        work->path = weir_strdup(options->local_code);
        return WEIR_OK;
    }
    struct weir_error *error = &work->error;
    if (strlen(work->sha256) != 64 || strspn(work->sha256, "0123456789abcdef") != 64)
        return weir_fail(error, WEIR_ERR_INVALID, "'%.80s' is no SHA-256", work->sha256);
    if (mkdir(options->code_directory, 0700) != 0 && errno != EEXIST)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot make the directory %s", options->code_directory);
    char *path = weir_format("%s/%s.so", options->code_directory, work->sha256);
    char *part = weir_format("%s.%d.part", path, (int)getpid());
    char *url = weir_format("%s/weir/code/%s", options->rest_url, work->sha256);
    weir_err err = WEIR_OK;
    if (!file_matches(path, work->sha256)) {
        err = weir_http_download(url, part, CODE_SIZE_MAX, FETCH_TIMEOUT_MS, error);
        if (!err && !file_matches(part, work->sha256))
            err = weir_fail(error, WEIR_ERR_DATA, "the job's code from %s does not match its SHA-256", url);
        if (!err && rename(part, path) != 0)
            err = weir_fail_errno(error, WEIR_ERR_IO, "cannot name %s", path);
        unlink(part);
    }
    if (err)
        free(path);
    else
        work->path = path;
    free(part);
    free(url);
    return err;
}

static weir_err commit(struct weir_blocking_work *work)
{
    const Weir__CommitOutput *output = work->control->commit_output;
    for (size_t i = 0; i < output->n_committables; i++) {
        const struct weir_connector *connector;
        weir_err err = weir_connector_find(output->committables[i]->connector, &connector, &work->error);
        if (!err && connector->commit)
            err = connector->commit(output->committables[i]->text, &work->error);
        if (err)
            return err;
    }
    return WEIR_OK;
}

static weir_err abort_vertex(const Weir__Vertex *vertex, const char *job_id, struct weir_error *error)
{
    struct weir_key_value *options = weir_alloc((vertex->n_options + 1) * sizeof *options);
    const char *name = NULL;
    for (size_t i = 0; i < vertex->n_options; i++) {
        options[i] = (struct weir_key_value){vertex->options[i]->key, vertex->options[i]->value};
        if (strcmp(options[i].key, "connector") == 0)
            name = options[i].value;
    }
    const struct weir_connector *connector = NULL;
    weir_err err = name ? weir_connector_find(name, &connector, error) : WEIR_OK;
    if (!err && connector && connector->abort)
        err = connector->abort(options, (int)vertex->n_options, job_id, error);
    free(options);
    return err;
}

weir_err weir_blocking_abort_graph(const uint8_t *bytes, size_t size, const char *job_id, struct weir_error *error)
{
    Weir__JobGraph *graph = weir__job_graph__unpack(NULL, size, bytes);
    if (!graph)
        return weir_fail(error, WEIR_ERR_PROTOCOL, "the graph of job %s cannot be read", job_id);
    weir_err err = WEIR_OK;
    for (size_t i = 0; i < graph->n_vertices; i++)
        if (strcmp(graph->vertices[i]->op, "sink") == 0) {
            weir_err failed = abort_vertex(graph->vertices[i], job_id, error);
            err = err ? err : failed;
        }
    weir__job_graph__free_unpacked(graph, NULL);
    return err;
}

static weir_err abort_output(struct weir_blocking_work *work)
{
    const Weir__AbortOutput *output = work->control->abort_output;
    return weir_blocking_abort_graph(output->graph.data, output->graph.len, work->job_id, &work->error);
}

/* --- The thread and its queues */

static void *run(void *arg)
{
    struct weir_blocking *blocking = arg;
    pthread_mutex_lock(&blocking->lock);
    while (!blocking->stop) {
        struct weir_blocking_work *work = blocking->waiting;
        if (!work) {
            pthread_cond_wait(&blocking->changed, &blocking->lock);
            continue;
        }
        blocking->waiting = work->next;
        if (!blocking->waiting)
            blocking->waiting_end = &blocking->waiting;
        pthread_mutex_unlock(&blocking->lock);
        work->next = NULL;
        work->err = work->kind == WEIR_BLOCKING_FETCH    ? fetch(&blocking->options, work)
                    : work->kind == WEIR_BLOCKING_COMMIT ? commit(work)
                                                         : abort_output(work);
        pthread_mutex_lock(&blocking->lock);
        *blocking->done_end = work;
        blocking->done_end = &work->next;
        eventfd_write(blocking->fd, 1);
    }
    pthread_mutex_unlock(&blocking->lock);
    return NULL;
}

weir_err weir_blocking_start(const struct weir_blocking_options *options, struct weir_blocking **out,
                             struct weir_error *error)
{
    struct weir_blocking *blocking = weir_zalloc(sizeof *blocking);
    blocking->options.rest_url = weir_strdup(options->rest_url ? options->rest_url : "");
    blocking->options.code_directory = weir_strdup(options->code_directory ? options->code_directory : "");
    blocking->options.local_code = options->local_code ? weir_strdup(options->local_code) : NULL;
    blocking->waiting_end = &blocking->waiting;
    blocking->done_end = &blocking->done;
    pthread_mutex_init(&blocking->lock, NULL);
    pthread_cond_init(&blocking->changed, NULL);
    blocking->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int failed = blocking->fd < 0 ? errno : pthread_create(&blocking->thread, NULL, run, blocking);
    if (failed) {
        errno = failed;
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot start the thread for blocking work");
    }
    *out = blocking;
    return WEIR_OK;
}

int weir_blocking_fd(const struct weir_blocking *blocking)
{
    return blocking->fd;
}

static Weir__Control *copy_control(const Weir__Control *control)
{
    size_t size = weir__control__get_packed_size(control);
    uint8_t *bytes = weir_alloc(size);
    weir__control__pack(control, bytes);
    Weir__Control *copy = weir__control__unpack(NULL, size, bytes);
    free(bytes);
    return copy;
}

void weir_blocking_submit(struct weir_blocking *blocking, enum weir_blocking_kind kind, const char *sha256,
                          const char *job_id, const Weir__Control *control)
{
    struct weir_blocking_work *work = weir_zalloc(sizeof *work);
    work->kind = kind;
    work->sha256 = sha256 ? weir_strdup(sha256) : NULL;
    work->job_id = job_id ? weir_strdup(job_id) : NULL;
    work->control = control ? copy_control(control) : NULL;
    pthread_mutex_lock(&blocking->lock);
    *blocking->waiting_end = work;
    blocking->waiting_end = &work->next;
    pthread_cond_signal(&blocking->changed);
    pthread_mutex_unlock(&blocking->lock);
}

struct weir_blocking_work *weir_blocking_take(struct weir_blocking *blocking)
{
    eventfd_t ignored;
    pthread_mutex_lock(&blocking->lock);
    struct weir_blocking_work *work = blocking->done;
    if (work) {
        blocking->done = work->next;
        if (!blocking->done)
            blocking->done_end = &blocking->done;
    } else {
        eventfd_read(blocking->fd, &ignored);
    }
    pthread_mutex_unlock(&blocking->lock);
    return work;
}

void weir_blocking_work_free(struct weir_blocking_work *work)
{
    free(work->sha256);
    free(work->job_id);
    free(work->path);
    if (work->control)
        weir__control__free_unpacked(work->control, NULL);
    free(work);
}

static void free_list(struct weir_blocking_work *work)
{
    for (struct weir_blocking_work *next; work; work = next) {
        next = work->next;
        weir_blocking_work_free(work);
    }
}

void weir_blocking_stop(struct weir_blocking *blocking)
{
    if (!blocking)
        return;
    pthread_mutex_lock(&blocking->lock);
    blocking->stop = true;
    pthread_cond_signal(&blocking->changed);
    pthread_mutex_unlock(&blocking->lock);
    pthread_join(blocking->thread, NULL);
    free_list(blocking->waiting);
    free_list(blocking->done);
    close(blocking->fd);
    pthread_mutex_destroy(&blocking->lock);
    pthread_cond_destroy(&blocking->changed);
    free((char *)blocking->options.rest_url);
    free((char *)blocking->options.code_directory);
    free((char *)blocking->options.local_code);
    free(blocking);
}
