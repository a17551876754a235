#include "taskmanager/io/blocking.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/proto_memory.h"
#include "base/secret.h"
#include "graph.pb-c.h"
#include "http/http_client.h"
#include "http/tokens.h"
#include "taskmanager/io/job_output.h"

#define CODE_SIZE_MAX ((int64_t)1 << 30)
#define FETCH_TIMEOUT_MS 60000
#define DOWNLOAD_TRIES 3
#define DOWNLOAD_PAUSE_MS 500
#define OUTPUT_TRIES 8 /* about 12 s */
#define LOG_PATIENCE_MS \
    ((int64_t)60 * 60 * 1000) /* with messages that wait in a checkpoint's log: brokers may be away for long */
#define OUTPUT_PAUSE_MS 100
#define OUTPUT_PAUSE_MAX_MS 5000
#define OUTPUT_YIELD_MAX_MS 15000
#define OUTPUT_POLL_MS 20
#define OUTPUT_TIMEOUT_MS 60000 /* of a connector that came with a job */
#define THREADS_MAX 16          /* so many jobs' brokers or file servers may be away before others wait for them */

struct weir_blocking {
    struct weir_blocking_options options; /* strings owned */
    int fd;
    pthread_t threads[THREADS_MAX];
    const struct weir_blocking_work *running[THREADS_MAX]; /* by each thread; NULL: none */
    int thread_count, idle_count;
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

static weir_err download(const struct weir_blocking_options *options, const char *url, const char *path,
                         struct weir_error *error)
{
    char *token = NULL;
    weir_err err = WEIR_OK;
    if (options->rest_token_file)
        err = weir_token_read("security.rest.token-file", options->rest_token_file, &token, error);
    struct weir_http_request request = {
        .method = "GET", .url = url, .timeout_ms = FETCH_TIMEOUT_MS, .token = token, .ca_file = options->rest_ca_file};
    if (!err)
        err = weir_http_download(&request, path, CODE_SIZE_MAX, error);
    weir_secret_free(token);
    return err;
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
        for (int tries = 1;; tries++) { /* a network that is just being set up, a name server that is busy */
            err = download(options, url, part, error);
            if ((err != WEIR_ERR_IO && err != WEIR_ERR_TIMEOUT) || tries == DOWNLOAD_TRIES)
                break;
            weir_log(WARN, "%s: trying again", error->message);
            poll(NULL, 0, DOWNLOAD_PAUSE_MS);
        }
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

/* Where the job's own code is: needed when its output is a connector's that came with it. Its SHA-256 is the graph's. */
static weir_err perform_output(const struct weir_blocking_options *options, struct weir_blocking_work *work)
{
    const Weir__Control *control = work->control;
    if (weir_job_output_is_known(control))
        return weir_job_output_perform(control, &work->error);
    bool is_commit = control->body_case == WEIR__CONTROL__BODY_COMMIT_OUTPUT;
    if (is_commit)
        work->sha256 = weir_strdup(control->commit_output->code_sha256);
    else {
        Weir__JobGraph *graph = weir__job_graph__unpack(&weir_proto_memory, control->abort_output->graph.len,
                                                        control->abort_output->graph.data);
        work->sha256 = weir_strdup(graph ? graph->code_sha256 : "");
        weir__job_graph__free_unpacked(graph, NULL);
    }
    weir_err err = fetch(options, work);
    return err ? weir_wrap(&work->error, "the job's output needs a connector of its code")
               : weir_job_output_run(work->path, control, OUTPUT_TIMEOUT_MS, &work->error);
}

static weir_err output(const struct weir_blocking_options *options, struct weir_blocking_work *work)
{
    bool is_commit = work->control->body_case == WEIR__CONTROL__BODY_COMMIT_OUTPUT;
    if (is_commit && weir_fault("supervisor.commit-begun"))
        return weir_fail(&work->error, WEIR_ERR_IO, "a fault point kept output from being published");
    weir_err err = perform_output(options, work);
    if (!err && is_commit && weir_fault("supervisor.commit-done"))
        err = weir_fail(&work->error, WEIR_ERR_IO, "a fault point lost the answer of what published the output");
    return err;
}

/* --- The thread and its queues */

/* True: the thread is to end. */
static bool pause_ms(struct weir_blocking *blocking, int64_t ms)
{
    bool stop = false;
    for (int64_t until_ms = weir_clock_mono_ms() + ms; !stop && weir_clock_mono_ms() < until_ms;) {
        poll(NULL, 0, OUTPUT_POLL_MS);
        pthread_mutex_lock(&blocking->lock);
        stop = blocking->stop;
        pthread_mutex_unlock(&blocking->lock);
    }
    return stop;
}

static bool has_segments(const struct weir_blocking_work *work)
{
    const Weir__CommitOutput *output = work->kind == WEIR_BLOCKING_COMMIT ? work->control->commit_output : NULL;
    for (size_t i = 0; output && i < output->n_committables; i++)
        if (output->committables[i]->n_segments > 0)
            return true;
    return false;
}

int64_t weir_blocking_pause_ms(int failures, int64_t longest_ms)
{
    int64_t pause_ms = OUTPUT_PAUSE_MS, yield_ms = failures > 1 ? longest_ms : 0;
    for (int i = 1; i < failures && pause_ms < OUTPUT_PAUSE_MAX_MS; i++)
        pause_ms *= 2;
    for (int i = 2; i < failures && yield_ms < OUTPUT_YIELD_MAX_MS; i++)
        yield_ms *= 2;
    pause_ms = pause_ms < OUTPUT_PAUSE_MAX_MS ? pause_ms : OUTPUT_PAUSE_MAX_MS;
    yield_ms = yield_ms < OUTPUT_YIELD_MAX_MS ? yield_ms : OUTPUT_YIELD_MAX_MS;
    return pause_ms > yield_ms ? pause_ms : yield_ms;
}

/* What a complete checkpoint has made output is published whatever it takes, within reason: a disk that is full for a moment, a file server or
 * brokers that are away, should not end the job. */
static weir_err output_again_and_again(struct weir_blocking *blocking, struct weir_blocking_work *work)
{
    int64_t begun_ms = weir_clock_mono_ms(), longest_ms = 0;
    int64_t patient_until_ms = has_segments(work) ? begun_ms + LOG_PATIENCE_MS : INT64_MIN;
    weir_err err = output(&blocking->options, work);
    for (int tries = 1;
         (tries < OUTPUT_TRIES || weir_clock_mono_ms() < patient_until_ms) && work->kind == WEIR_BLOCKING_COMMIT &&
         (err == WEIR_ERR_IO || err == WEIR_ERR_TIMEOUT || err == WEIR_ERR_FULL);
         tries++) {
        int64_t took_ms = weir_clock_mono_ms() - begun_ms;
        longest_ms = took_ms > longest_ms ? took_ms : longest_ms;
        int64_t wait_ms = weir_blocking_pause_ms(tries, longest_ms);
        weir_log(WARN, "job %s: its output could not be published, and is tried again in %d ms: %s", work->job_id,
                 (int)wait_ms, work->error.message);
        if (pause_ms(blocking, wait_ms))
            break;
        free(work->sha256);
        free(work->path);
        work->sha256 = work->path = NULL;
        begun_ms = weir_clock_mono_ms();
        err = output(&blocking->options, work);
    }
    return err;
}

static bool job_is_running(const struct weir_blocking *blocking, const char *job_id)
{
    for (int i = 0; i < blocking->thread_count && job_id; i++)
        if (blocking->running[i] && blocking->running[i]->job_id && strcmp(blocking->running[i]->job_id, job_id) == 0)
            return true;
    return false;
}

/* The first that may begin: a job's output is published in order. */
static struct weir_blocking_work *take_waiting(struct weir_blocking *blocking)
{
    for (struct weir_blocking_work **at = &blocking->waiting; *at; at = &(*at)->next) {
        struct weir_blocking_work *work = *at;
        if (job_is_running(blocking, work->job_id))
            continue;
        *at = work->next;
        if (blocking->waiting_end == &work->next)
            blocking->waiting_end = at;
        work->next = NULL;
        return work;
    }
    return NULL;
}

struct thread_start {
    struct weir_blocking *blocking;
    int index;
};

static void *run(void *arg)
{
    struct thread_start start = *(struct thread_start *)arg;
    struct weir_blocking *blocking = start.blocking;
    free(arg);
    pthread_mutex_lock(&blocking->lock);
    while (!blocking->stop) {
        struct weir_blocking_work *work = take_waiting(blocking);
        if (!work) {
            blocking->idle_count++;
            pthread_cond_wait(&blocking->changed, &blocking->lock);
            blocking->idle_count--;
            continue;
        }
        blocking->running[start.index] = work;
        pthread_mutex_unlock(&blocking->lock);
        work->err = work->kind == WEIR_BLOCKING_FETCH ? fetch(&blocking->options, work)
                                                      : output_again_and_again(blocking, work);
        pthread_mutex_lock(&blocking->lock);
        blocking->running[start.index] = NULL;
        *blocking->done_end = work;
        blocking->done_end = &work->next;
        eventfd_write(blocking->fd, 1);
        pthread_cond_broadcast(&blocking->changed); /* the job's next may begin */
    }
    pthread_mutex_unlock(&blocking->lock);
    return NULL;
}

/* One more, as far as there may be more; 0, or an errno. Under the lock. */
static int start_thread(struct weir_blocking *blocking)
{
    if (blocking->thread_count == THREADS_MAX)
        return 0;
    struct thread_start *start = weir_alloc(sizeof *start);
    *start = (struct thread_start){blocking, blocking->thread_count};
    int failed = pthread_create(&blocking->threads[blocking->thread_count], NULL, run, start);
    if (failed)
        free(start);
    else
        blocking->thread_count++;
    return failed;
}

static void free_blocking(struct weir_blocking *blocking)
{
    pthread_mutex_destroy(&blocking->lock);
    pthread_cond_destroy(&blocking->changed);
    free((char *)blocking->options.rest_url);
    free((char *)blocking->options.rest_token_file);
    free((char *)blocking->options.rest_ca_file);
    free((char *)blocking->options.code_directory);
    free((char *)blocking->options.local_code);
    free(blocking);
}

weir_err weir_blocking_start(const struct weir_blocking_options *options, struct weir_blocking **out,
                             struct weir_error *error)
{
    struct weir_blocking *blocking = weir_zalloc(sizeof *blocking);
    blocking->options.rest_url = weir_strdup(options->rest_url ? options->rest_url : "");
    blocking->options.code_directory = weir_strdup(options->code_directory ? options->code_directory : "");
    blocking->options.rest_token_file = options->rest_token_file ? weir_strdup(options->rest_token_file) : NULL;
    blocking->options.rest_ca_file = options->rest_ca_file ? weir_strdup(options->rest_ca_file) : NULL;
    blocking->options.local_code = options->local_code ? weir_strdup(options->local_code) : NULL;
    blocking->waiting_end = &blocking->waiting;
    blocking->done_end = &blocking->done;
    pthread_mutex_init(&blocking->lock, NULL);
    pthread_cond_init(&blocking->changed, NULL);
    blocking->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_lock(&blocking->lock);
    int failed = blocking->fd < 0 ? errno : start_thread(blocking);
    pthread_mutex_unlock(&blocking->lock);
    if (failed) {
        errno = failed;
        weir_err err = weir_fail_errno(error, WEIR_ERR_IO, "cannot start the thread for blocking work");
        if (blocking->fd >= 0)
            close(blocking->fd);
        free_blocking(blocking);
        return err;
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
    Weir__Control *copy = weir__control__unpack(&weir_proto_memory, size, bytes);
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
    if (blocking->idle_count == 0)
        (void)start_thread(blocking); /* without it, it waits for another */
    pthread_cond_broadcast(&blocking->changed);
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
    pthread_cond_broadcast(&blocking->changed);
    pthread_mutex_unlock(&blocking->lock);
    for (int i = 0; i < blocking->thread_count; i++)
        pthread_join(blocking->threads[i], NULL);
    free_list(blocking->waiting);
    free_list(blocking->done);
    close(blocking->fd);
    free_blocking(blocking);
}
