#include "jobmanager/io/jobmanager.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/proto_memory.h"
#include "base/thread.h"
#include "jobmanager/io/faults.h"
#include "jobmanager/io/job_store.h"
#include "jobmanager/io/savepoint.h"
#include "net/control_line.h"

#define REQUEST_TIMEOUT_MS 30000
#define RESTORE_TIMEOUT_MS 600000 /* a savepoint is copied first */
#define WAIT_MS_MAX 1000
#define MESSAGES_AT_ONCE 256
#define LIST_INTERVAL_MS_MIN 1000

/* A question of another thread; lives on that thread's stack while it waits. */
struct request {
    struct weir_jm_event event;
    uint64_t id;
    bool taken, answered;
    enum weir_err_code code;
    struct weir_error *error;
    struct request *next;
};

struct weir_jobmanager {
    struct weir_jobmanager_options options;
    void *context;
    struct weir_line *line;
    struct weir_pool *pool;
    struct weir_jm_faults *faults;
    struct weir_job_store *store; /* the loop's; NULL: there is none */
    struct weir_jm *jm;           /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t answered;
    struct request *requests; /* under lock: waiting, then taken until answered */
    uint64_t request_count;
    bool stopped; /* under lock: nothing is answered any more */
    int wake_fd;
    int64_t wake_at_ms;
    bool fenced;
};

static uint64_t random_u64(void)
{
    uint64_t value = 0;
    if (getrandom(&value, sizeof value, 0) != (ssize_t)sizeof value)
        value = (uint64_t)weir_clock_mono_ns() ^ (uint64_t)getpid() << 32;
    return value;
}

/* On a thread of the pool. */
static void wake(void *arg)
{
    struct weir_jobmanager *jobmanager = arg;
    eventfd_write(jobmanager->wake_fd, 1);
}

static weir_err open_store(struct weir_jobmanager *jobmanager, struct weir_error *error)
{
    const char *dir = weir_config_string(jobmanager->options.config, "execution.checkpointing.dir");
    if (!dir || !*dir)
        dir = jobmanager->options.checkpoint_dir;
    if (!dir)
        return WEIR_OK;
    jobmanager->pool = weir_pool_new();
    jobmanager->store = weir_job_store_new(dir, jobmanager->options.config, jobmanager->pool,
                                           jobmanager->options.code_dir, wake, jobmanager, error);
    return jobmanager->store ? WEIR_OK : (weir_err)error->code;
}

weir_err weir_jobmanager_new(const struct weir_jobmanager_options *options, struct weir_jobmanager **out,
                             struct weir_error *error)
{
    struct weir_jobmanager *jobmanager = weir_zalloc(sizeof *jobmanager);
    jobmanager->options = *options;
    jobmanager->context = options->zmq_context ? options->zmq_context : weir_net_context_new();
    jobmanager->faults = weir_jm_faults_new();
    pthread_mutex_init(&jobmanager->lock, NULL);
    weir_cond_init(&jobmanager->answered);
    jobmanager->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct weir_jm_options core;
    weir_jm_options_init(&core);
    core.leader_epoch = options->leader_epoch;
    core.seed = random_u64();
    core.heartbeat_interval_ms = weir_config_int(options->config, "heartbeat.interval");
    core.heartbeat_timeout_ms = weir_config_int(options->config, "heartbeat.timeout");
    weir_err err = WEIR_OK;
    if (!jobmanager->context)
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot start ZeroMQ");
    else if (jobmanager->wake_fd < 0)
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot make an event descriptor");
    else if (core.heartbeat_interval_ms <= 0 || core.heartbeat_timeout_ms < 3 * core.heartbeat_interval_ms)
        err = weir_fail(error, WEIR_ERR_INVALID, "heartbeat.timeout must be at least three times heartbeat.interval");
    if (!err)
        err = open_store(jobmanager, error);
    core.recovers = options->recovers && jobmanager->store;
    int64_t grace_ms = weir_config_int(options->config, "execution.checkpointing.gc-grace");
    core.list_interval_ms = grace_ms < LIST_INTERVAL_MS_MIN ? LIST_INTERVAL_MS_MIN : grace_ms;
    core.headless_grace_ms = grace_ms > core.headless_grace_ms ? grace_ms : core.headless_grace_ms;
    if (!err)
        jobmanager->jm = weir_jm_new(&core);
    if (!err)
        err = weir_line_serve(jobmanager->context, options->rpc_endpoint, options->curve, &jobmanager->line, error);
    if (err) {
        weir_jobmanager_free(jobmanager);
        return err;
    }
    *out = jobmanager;
    return WEIR_OK;
}

const char *weir_jobmanager_endpoint(const struct weir_jobmanager *jobmanager)
{
    return weir_line_endpoint(jobmanager->line);
}

void weir_jobmanager_free(struct weir_jobmanager *jobmanager)
{
    if (!jobmanager)
        return;
    weir_line_close(jobmanager->line);
    weir_job_store_free(jobmanager->store);
    weir_pool_unref(jobmanager->pool);
    weir_jm_free(jobmanager->jm);
    weir_jm_faults_free(jobmanager->faults);
    if (!jobmanager->options.zmq_context)
        weir_net_context_free(jobmanager->context);
    if (jobmanager->wake_fd >= 0)
        close(jobmanager->wake_fd);
    pthread_mutex_destroy(&jobmanager->lock);
    pthread_cond_destroy(&jobmanager->answered);
    free(jobmanager);
}

/* --- The loop */

static void answer(struct weir_jobmanager *jobmanager, const struct weir_jm_effect *effect)
{
    for (struct request **at = &jobmanager->requests; *at; at = &(*at)->next) {
        struct request *request = *at;
        if (request->id != effect->request)
            continue;
        *at = request->next;
        request->answered = true;
        request->code = effect->code;
        if (effect->code != WEIR_OK)
            request->code = (enum weir_err_code)weir_fail(request->error, effect->code, "%s", effect->text);
        pthread_cond_broadcast(&jobmanager->answered);
        return;
    }
}

static void do_log(enum weir_jm_log_level level, const char *job_id, const char *text)
{
    weir_log_scope(job_id, NULL, -1);
    switch (level) {
    case WEIR_JM_LOG_INFO:
        weir_log(INFO, "%s", text);
        break;
    case WEIR_JM_LOG_WARN:
        weir_log(WARN, "%s", text);
        break;
    case WEIR_JM_LOG_ERROR:
        weir_log(ERROR, "%s", text);
        break;
    }
    weir_log_scope(NULL, NULL, -1);
}

static void perform(struct weir_jobmanager *jobmanager, const struct weir_jm_effect *effect)
{
    switch (effect->kind) {
    case WEIR_JM_EFFECT_SEND:
        weir_jm_faults_at(effect->control, false, false);
        weir_line_send(jobmanager->line, effect->peer, effect->control);
        weir_jm_faults_at(effect->control, false, true);
        break;
    case WEIR_JM_EFFECT_REPLY:
        answer(jobmanager, effect);
        break;
    case WEIR_JM_EFFECT_LOG:
        do_log(effect->level, effect->job_id, effect->text);
        break;
    case WEIR_JM_EFFECT_TM_LOST:
        do_log(WEIR_JM_LOG_WARN, NULL, effect->text);
        break;
    case WEIR_JM_EFFECT_JOB_ENDED:
        if (jobmanager->options.job_ended)
            jobmanager->options.job_ended(jobmanager->options.arg, effect->job_id);
        break;
    case WEIR_JM_EFFECT_JOB_DROPPED:
        break;
    case WEIR_JM_EFFECT_STORE_PUT:
    case WEIR_JM_EFFECT_STORE_COPY:
    case WEIR_JM_EFFECT_STORE_DROP:
    case WEIR_JM_EFFECT_STORE_LIST:
    case WEIR_JM_EFFECT_STORE_DELETE:
    case WEIR_JM_EFFECT_STORE_SWEEP:
    case WEIR_JM_EFFECT_HEAD_PUT:
    case WEIR_JM_EFFECT_HEAD_GET:
    case WEIR_JM_EFFECT_JOB_STORE:
    case WEIR_JM_EFFECT_JOBS_LIST:
    case WEIR_JM_EFFECT_JOB_READ:
        weir_job_store_begin(jobmanager->store, effect);
        break;
    case WEIR_JM_EFFECT_FENCED:
        do_log(WEIR_JM_LOG_ERROR, NULL, effect->text);
        jobmanager->fenced = true;
        break;
    }
}

/* Under the lock. */
static void step(struct weir_jobmanager *jobmanager, struct weir_jm_event *event)
{
    struct weir_jm_effects effects;
    event->now_ms = weir_clock_mono_ms();
    event->wall_ms = weir_clock_wall_ms();
    weir_jm_step(jobmanager->jm, event, &effects);
    jobmanager->wake_at_ms = effects.wake_at_ms;
    for (int i = 0; i < effects.count; i++)
        perform(jobmanager, &effects.items[i]);
}

/* The core ends this JobManager when it is shown a later leader epoch; so one that nobody has does not get there. */
static bool is_believable(struct weir_jobmanager *jobmanager, const struct weir_line_event *e)
{
    static struct weir_log_gate gate;
    unsigned long long left_out;
    const struct weir_jobmanager_options *options = &jobmanager->options;
    if (e->kind != WEIR_LINE_MESSAGE || e->control->leader_epoch <= options->leader_epoch ||
        (options->epoch_exists && options->epoch_exists(options->arg, e->control->leader_epoch)))
        return true;
    if (weir_log_gate_pass(&gate, &left_out))
        weir_log(WARN,
                 "%s speaks of leader epoch %llu, and the newest known here is %llu: the message is dropped, and %llu "
                 "more like it; does it belong to another cluster, or is there a second JobManager?",
                 e->peer, (unsigned long long)e->control->leader_epoch, (unsigned long long)options->leader_epoch,
                 left_out);
    return false;
}

static void report_bad_message(const struct weir_line_event *e)
{
    static struct weir_log_gate gate;
    unsigned long long left_out;
    if (weir_log_gate_pass(&gate, &left_out))
        weir_log(WARN, "%s sent what is no control message; it is dropped, and %llu more like it", e->peer, left_out);
}

/* Bounded: whoever sends without end must not hold up requests, timers and the end. */
static bool drain_line(struct weir_jobmanager *jobmanager)
{
    bool any = false;
    struct weir_line_event e;
    for (int i = 0; i < MESSAGES_AT_ONCE && weir_line_next(jobmanager->line, &e); i++) {
        any = true;
        struct weir_jm_event event = {.peer = e.peer, .control = e.control};
        weir_jm_faults_event(jobmanager->faults, &e);
        if (e.kind == WEIR_LINE_MESSAGE && e.control->body_case == WEIR__CONTROL__BODY_FAULT) {
            weir__control__free_unpacked(e.control, NULL);
            continue;
        }
        if (e.kind == WEIR_LINE_BAD_MESSAGE) {
            report_bad_message(&e);
            continue;
        }
        if (!is_believable(jobmanager, &e)) {
            weir__control__free_unpacked(e.control, NULL);
            continue;
        }
        if (e.kind == WEIR_LINE_REFUSED) {
            weir_log(WARN, "%s", e.text);
            continue;
        }
        event.kind = e.kind == WEIR_LINE_MESSAGE ? WEIR_JM_EVENT_MESSAGE : WEIR_JM_EVENT_DISCONNECTED;
        if (e.control)
            weir_jm_faults_at(e.control, true, false);
        pthread_mutex_lock(&jobmanager->lock);
        step(jobmanager, &event);
        pthread_mutex_unlock(&jobmanager->lock);
        if (e.control) {
            weir_jm_faults_at(e.control, true, true);
            weir__control__free_unpacked(e.control, NULL);
        }
    }
    return any;
}

static bool run_requests_and_timers(struct weir_jobmanager *jobmanager)
{
    bool any = false;
    pthread_mutex_lock(&jobmanager->lock);
    for (;;) {
        struct request *request = jobmanager->requests;
        while (request && request->taken)
            request = request->next;
        if (!request)
            break;
        request->taken = true;
        step(jobmanager, &request->event);
        any = true;
    }
    if (weir_clock_mono_ms() >= jobmanager->wake_at_ms) {
        struct weir_jm_event event = {.kind = WEIR_JM_EVENT_TICK};
        step(jobmanager, &event);
        any = true;
    }
    pthread_mutex_unlock(&jobmanager->lock);
    return any;
}

static void complete_read(struct weir_jobmanager *jobmanager, struct weir_jm_read *read, const char *job_id,
                          struct weir_error *error);

static bool take_stored(struct weir_jobmanager *jobmanager)
{
    bool any = false;
    struct weir_jm_event event;
    while (jobmanager->store && weir_job_store_take(jobmanager->store, &event)) {
        any = true;
        struct weir_jm_read read;
        struct weir_error error;
        if (event.read) {
            read = *event.read;
            event.read = &read;
            complete_read(jobmanager, &read, event.job_id, &error);
        }
        pthread_mutex_lock(&jobmanager->lock);
        step(jobmanager, &event);
        pthread_mutex_unlock(&jobmanager->lock);
    }
    return any;
}

static int wait_ms(const struct weir_jobmanager *jobmanager)
{
    int64_t ms = jobmanager->wake_at_ms - weir_clock_mono_ms();
    int line_ms = weir_line_wait_ms(jobmanager->line);
    if (line_ms >= 0 && ms > line_ms)
        ms = line_ms;
    return ms < 0 ? 0 : ms > WAIT_MS_MAX ? WAIT_MS_MAX : (int)ms;
}

weir_err weir_jobmanager_run(struct weir_jobmanager *jobmanager, struct weir_error *error)
{
    weir_err err = WEIR_OK;
    for (;;) {
        bool any = drain_line(jobmanager);
        any |= take_stored(jobmanager);
        any |= run_requests_and_timers(jobmanager);
        any |= weir_jm_faults_send(jobmanager->faults, jobmanager->line);
        if (jobmanager->fenced) {
            err = weir_fail(error, WEIR_ERR_CANCELED, "another JobManager has taken over");
            break;
        }
        struct pollfd fds[] = {
            {.fd = weir_line_fd(jobmanager->line), .events = POLLIN},
            {.fd = weir_line_monitor_fd(jobmanager->line), .events = POLLIN},
            {.fd = jobmanager->wake_fd, .events = POLLIN},
            {.fd = jobmanager->options.stop_fd, .events = POLLIN},
            {.fd = weir_line_zap_fd(jobmanager->line), .events = POLLIN},
        };
        if (poll(fds, 5, any ? 0 : wait_ms(jobmanager)) < 0 && errno != EINTR) {
            err = weir_fail_errno(error, WEIR_ERR_IO, "cannot wait for events");
            break;
        }
        if (fds[3].revents)
            break;
        eventfd_t ignored;
        if (fds[2].revents)
            eventfd_read(jobmanager->wake_fd, &ignored);
    }
    pthread_mutex_lock(&jobmanager->lock);
    jobmanager->stopped = true;
    pthread_cond_broadcast(&jobmanager->answered);
    pthread_mutex_unlock(&jobmanager->lock);
    return err;
}

/* --- Other threads */

static void take_back(struct weir_jobmanager *jobmanager, struct request *request)
{
    for (struct request **at = &jobmanager->requests; *at; at = &(*at)->next)
        if (*at == request) {
            *at = request->next;
            return;
        }
}

static weir_err ask(struct weir_jobmanager *jobmanager, struct weir_jm_event *event, struct weir_error *error)
{
    struct request request = {.event = *event, .error = error};
    struct timespec deadline = weir_cond_until(event->restore ? RESTORE_TIMEOUT_MS : REQUEST_TIMEOUT_MS);
    pthread_mutex_lock(&jobmanager->lock);
    request.id = request.event.request = ++jobmanager->request_count;
    struct request **at = &jobmanager->requests;
    while (*at)
        at = &(*at)->next;
    *at = &request;
    eventfd_write(jobmanager->wake_fd, 1);
    int timed_out = 0;
    while (!request.answered && !jobmanager->stopped && !timed_out)
        timed_out = pthread_cond_timedwait(&jobmanager->answered, &jobmanager->lock, &deadline);
    weir_err err = request.code;
    if (!request.answered) {
        if (!request.taken) {
            weir_plan_free(request.event.take_plan);
            weir_plan_free(request.event.operation.take_plan);
            if (request.event.restore)
                weir__snapshot__free_unpacked(request.event.restore->take_snapshot, NULL);
        }
        take_back(jobmanager, &request);
        err = weir_fail(error, WEIR_ERR_TIMEOUT, "the JobManager %s",
                        jobmanager->stopped ? "is shutting down" : "did not answer in time");
    }
    pthread_mutex_unlock(&jobmanager->lock);
    return err;
}

/* The job's configuration: the graph's, then the submission's; checked against the table. *pairs is freed by the caller. */
static weir_err job_configuration(const struct weir_jobmanager_submission *submission, const Weir__JobGraph *graph,
                                  struct weir_key_value **pairs, int *count, struct weir_error *error)
{
    int own = graph ? (int)graph->n_configuration : 0;
    *pairs = weir_alloc(((size_t)own + (size_t)submission->configuration_count + 2) * sizeof **pairs);
    *count = 0;
    for (int i = 0; i < own; i++)
        (*pairs)[(*count)++] = (struct weir_key_value){graph->configuration[i]->key, graph->configuration[i]->value};
    for (int i = 0; i < submission->configuration_count; i++)
        (*pairs)[(*count)++] = submission->configuration[i];
    (void)error;
    return WEIR_OK;
}

static weir_err build_plan(struct weir_jobmanager *jobmanager, const struct weir_jobmanager_submission *submission,
                           const struct weir_config *config, struct weir_plan **plan, struct weir_error *error)
{
    (void)jobmanager;
    struct weir_plan_options options = {
        .parallelism =
            submission->parallelism ? submission->parallelism : (int)weir_config_int(config, "parallelism.default"),
        .parallelism_override = (int)weir_config_int(config, "pipeline.parallelism-override"),
        .max_parallelism = (int)weir_config_int(config, "pipeline.max-parallelism"),
        .chaining = weir_config_int(config, "pipeline.operator-chaining.enabled") != 0,
    };
    return weir_plan_build(submission->graph, submission->graph_size, &options, plan, error);
}

weir_err weir_jobmanager_plan(struct weir_jobmanager *jobmanager, const struct weir_jobmanager_submission *submission,
                              struct weir_plan **plan, struct weir_error *error)
{
    struct weir_config *config;
    weir_err err = weir_config_overlay(jobmanager->options.config, submission->configuration,
                                       submission->configuration_count, &config, error);
    if (err)
        return err;
    err = build_plan(jobmanager, submission, config, plan, error);
    weir_config_free(config);
    return err;
}

/* What executors need of the cluster's configuration, and every key that the job set itself. */
static const char *const executor_keys[] = {
    "execution.buffer-timeout",
    "execution.checkpointing.aligned-checkpoint-timeout",
    "execution.checkpointing.interval",
    "execution.checkpointing.mode",
    "execution.checkpointing.unaligned.enabled",
    "heartbeat.interval",
    "heartbeat.timeout",
    "parallelism.default",
    "pipeline.max-parallelism",
    "pipeline.operator-chaining.enabled",
    "pipeline.parallelism-override",
    "state.backend.local-recovery",
    "state.backend.type",
    "state.memory.size",
    "table.local-time-zone",
    "task.cancellation.timeout",
};
#define EXECUTOR_KEYS (sizeof executor_keys / sizeof executor_keys[0])

static void set_job_options(const struct weir_jobmanager *jobmanager, struct weir_jm_job_options *options,
                            const struct weir_config *config)
{
    const char *dir = weir_config_string(jobmanager->options.config, "execution.checkpointing.dir");
    weir_jm_job_options_init(options);
    for (const struct weir_option *option = weir_config_table; option->name; option++) {
        const char *value = weir_config_string(config, option->name);
        if (value && *value &&
            (strncmp(option->name, "restart-strategy.", 17) == 0 ||
             strncmp(option->name, "execution.checkpointing.", 24) == 0 ||
             strcmp(option->name, "task.cancellation.timeout") == 0)) {
            struct weir_error ignored;
            if (weir_jm_job_options_set(options, option->name, value, &ignored) == WEIR_ERR_INVALID)
                weir_log(WARN, "%s", ignored.message);
        }
    }
    options->outlives_jobmanager = options->checkpoint_interval_ms > 0 || (dir && *dir);
}

static weir_err check_checkpointing(const struct weir_jobmanager *jobmanager, const struct weir_config *config,
                                    const struct weir_key_value *pairs, int count, struct weir_error *error)
{
    const char *dir = weir_config_string(jobmanager->options.config, "execution.checkpointing.dir");
    for (int i = 0; i < count; i++)
        if (strcmp(pairs[i].key, "execution.checkpointing.dir") == 0 && strcmp(pairs[i].value, dir ? dir : "") != 0)
            return weir_fail(
                error, WEIR_ERR_INVALID,
                "execution.checkpointing.dir is the cluster's: set it where the JobManager starts, not with a job");
    if (weir_config_int(config, "execution.checkpointing.interval") > 0 && !jobmanager->store)
        return weir_fail(
            error, WEIR_ERR_INVALID,
            "execution.checkpointing.interval is set, and this JobManager has no execution.checkpointing.dir");
    if (weir_config_int(config, "execution.checkpointing.unaligned.enabled") &&
        strcmp(weir_config_string(config, "execution.checkpointing.mode"), "at-least-once") == 0)
        return weir_fail(
            error, WEIR_ERR_INVALID,
            "execution.checkpointing.unaligned.enabled needs execution.checkpointing.mode exactly-once: with "
            "at-least-once barriers wait for nothing already");
    return WEIR_OK;
}

/* A job that does not say how many key groups it has gets those of its savepoint: they cannot change. */
static weir_err read_savepoint(struct weir_jobmanager *jobmanager, const struct weir_jobmanager_submission *submission,
                               const Weir__JobGraph *graph, struct weir_key_value *pairs, int *count, char text[16],
                               struct weir_savepoint *savepoint, struct weir_error *error)
{
    if (!jobmanager->store)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "a job that begins with a savepoint needs checkpoint storage, and this JobManager has no "
                         "execution.checkpointing.dir");
    weir_err err = weir_savepoint_read(submission->savepoint_path, jobmanager->options.config, savepoint, error);
    if (err)
        return err;
    bool given = graph->max_parallelism > 0 || savepoint->snapshot->max_parallelism == 0;
    for (int i = 0; i < *count; i++)
        given |= strcmp(pairs[i].key, "pipeline.max-parallelism") == 0;
    if (!given) {
        snprintf(text, 16, "%" PRIu32, savepoint->snapshot->max_parallelism);
        pairs[(*count)++] = (struct weir_key_value){"pipeline.max-parallelism", text};
    }
    return WEIR_OK;
}

weir_err weir_jobmanager_submit(struct weir_jobmanager *jobmanager, const struct weir_jobmanager_submission *submission,
                                char *job_id, struct weir_error *error)
{
    struct weir_plan *plan = NULL;
    struct weir_config *config = NULL;
    struct weir_key_value *pairs = NULL;
    int count = 0;
    Weir__JobGraph *graph = submission->graph_size <= WEIR_GRAPH_SIZE_MAX
                                ? weir__job_graph__unpack(&weir_proto_memory, submission->graph_size, submission->graph)
                                : NULL;
    weir_err err = graph ? job_configuration(submission, graph, &pairs, &count, error)
                         : weir_fail(error, WEIR_ERR_INVALID, "this is not a serialized JobGraph of at most 16 MiB");
    struct weir_savepoint savepoint = {0};
    char max_parallelism[16];
    if (!err && submission->savepoint_path)
        err = read_savepoint(jobmanager, submission, graph, pairs, &count, max_parallelism, &savepoint, error);
    if (!err)
        err = weir_config_overlay(jobmanager->options.config, pairs, count, &config, error);
    if (!err)
        err = check_checkpointing(jobmanager, config, pairs, count, error);
    if (!err)
        err = build_plan(jobmanager, submission, config, &plan, error);
    if (!err) {
        if (submission->job_id)
            snprintf(job_id, WEIR_JM_JOB_ID_SIZE, "%s", submission->job_id);
        else
            snprintf(job_id, WEIR_JM_JOB_ID_SIZE, "%016" PRIx64 "%016" PRIx64, random_u64(), random_u64());
        struct weir_key_value *all = weir_alloc((EXECUTOR_KEYS + 1 + (size_t)count) * sizeof *all);
        int all_count = 0;
        if (jobmanager->store) /* where the parts must be, whatever is set elsewhere */
            all[all_count++] =
                (struct weir_key_value){"execution.checkpointing.dir", weir_job_store_uri(jobmanager->store)};
        for (size_t i = 0; i < EXECUTOR_KEYS; i++)
            all[all_count++] = (struct weir_key_value){executor_keys[i], weir_config_string(config, executor_keys[i])};
        for (int i = 0; i < count; i++)
            all[all_count++] = pairs[i];
        char parallelism[16];
        snprintf(parallelism, sizeof parallelism, "%d", submission->parallelism);
        for (int i = 0; i < all_count && submission->parallelism > 0; i++)
            if (strcmp(all[i].key, "parallelism.default") == 0)
                all[i].value = parallelism;
        struct weir_jm_event event = {
            .kind = WEIR_JM_EVENT_SUBMIT,
            .job_id = job_id,
            .take_plan = plan,
            .graph = submission->graph,
            .graph_size = submission->graph_size,
            .configuration = all,
            .configuration_count = all_count,
        };
        set_job_options(jobmanager, &event.job_options, config);
        event.durable = jobmanager->store && (jobmanager->options.recovers || savepoint.snapshot);
        struct weir_jm_restore restore = {
            .take_snapshot = savepoint.snapshot,
            .path = savepoint.path,
            .uri = savepoint.uri,
            .allow_non_restored = submission->allow_non_restored,
            .claim = submission->claim,
        };
        event.restore = savepoint.snapshot ? &restore : NULL;
        savepoint.snapshot = NULL;
        err = ask(jobmanager, &event, error);
        free(all);
    }
    weir_savepoint_fini(&savepoint);
    weir_config_free(config);
    free(pairs);
    if (graph)
        weir__job_graph__free_unpacked(graph, NULL);
    return err;
}

/* --- Jobs of earlier JobManagers */

/* A plan without operators, so that a damaged job can be listed. */
static struct weir_plan *empty_plan(const struct weir_jm_read *read)
{
    Weir__JobGraph graph;
    weir__job_graph__init(&graph);
    graph.version = 1;
    graph.name = read->head ? read->head->name : (char *)"(damaged)";
    size_t size = weir__job_graph__get_packed_size(&graph);
    uint8_t *bytes = weir_alloc(size);
    weir__job_graph__pack(&graph, bytes);
    struct weir_plan *plan = weir_zalloc(sizeof *plan);
    plan->graph = weir__job_graph__unpack(&weir_proto_memory, size, bytes);
    free(bytes);
    weir_assert(plan->graph != NULL);
    return plan;
}

/* The checkpoint directory is this JobManager's: it may have been moved. */
static void set_directory(const struct weir_jobmanager *jobmanager, const Weir__Head *head)
{
    for (size_t i = 0; i < head->n_configuration; i++)
        if (strcmp(head->configuration[i]->key, "execution.checkpointing.dir") == 0) {
            free(head->configuration[i]->value);
            head->configuration[i]->value = weir_strdup(weir_job_store_uri(jobmanager->store));
        }
}

static weir_err plan_again(struct weir_jobmanager *jobmanager, struct weir_jm_read *read, struct weir_error *error)
{
    const Weir__Head *head = read->head;
    struct weir_config *config = NULL;
    struct weir_key_value *pairs = weir_alloc((head->n_configuration + 1) * sizeof *pairs);
    set_directory(jobmanager, head);
    for (size_t i = 0; i < head->n_configuration; i++)
        pairs[i] = (struct weir_key_value){head->configuration[i]->key, head->configuration[i]->value};
    weir_err err = weir_config_overlay(jobmanager->options.config, pairs, (int)head->n_configuration, &config, error);
    struct weir_jobmanager_submission submission = {.graph = read->graph, .graph_size = read->graph_size};
    if (!err)
        err = build_plan(jobmanager, &submission, config, &read->take_plan, error);
    if (!err)
        set_job_options(jobmanager, &read->options, config);
    weir_config_free(config);
    free(pairs);
    return err;
}

static void complete_read(struct weir_jobmanager *jobmanager, struct weir_jm_read *read, const char *job_id,
                          struct weir_error *error)
{
    weir_jm_job_options_init(&read->options);
    if (read->result == WEIR_JM_READ_OK && plan_again(jobmanager, read, error) != WEIR_OK) {
        (void)!weir_wrap(error, "jobs/%s: its graph and configuration make no job any more", job_id);
        read->result = WEIR_JM_READ_CORRUPT;
        read->text = error->message;
    }
    if (read->result == WEIR_JM_READ_CORRUPT && !read->take_plan)
        read->take_plan = empty_plan(read);
}

weir_err weir_jobmanager_cancel(struct weir_jobmanager *jobmanager, const char *job_id, struct weir_error *error)
{
    struct weir_jm_event event = {.kind = WEIR_JM_EVENT_CANCEL, .job_id = job_id};
    return ask(jobmanager, &event, error);
}

/* --- Operations on checkpoints */

/* The plan of a job with another parallelism. */
static weir_err plan_rescaled(struct weir_jobmanager *jobmanager, const char *job_id, int parallelism,
                              struct weir_plan **plan, struct weir_error *error)
{
    struct weir_config *config = NULL;
    uint8_t *graph = NULL;
    size_t size = 0;
    char text[16];
    snprintf(text, sizeof text, "%d", parallelism);
    pthread_mutex_lock(&jobmanager->lock);
    const struct weir_jm_job *job = weir_jm_job_find(jobmanager->jm, job_id);
    weir_err err = job ? WEIR_OK : weir_fail(error, WEIR_ERR_NOT_FOUND, "there is no job %s", job_id);
    int max = job && job->plan->vertex_count ? job->plan->vertices[0].max_parallelism : parallelism;
    if (!err && parallelism > max)
        err =
            weir_fail(error, WEIR_ERR_INVALID,
                      "a parallelism of %d is more than the job's max parallelism, %d, which is fixed when a job first "
                      "starts (pipeline.max-parallelism)",
                      parallelism, max);
    if (!err) {
        struct weir_key_value *pairs = weir_alloc((size_t)(job->configuration_count + 1) * sizeof *pairs);
        for (int i = 0; i < job->configuration_count; i++)
            pairs[i] = job->configuration[i];
        pairs[job->configuration_count] = (struct weir_key_value){"pipeline.parallelism-override", text};
        err = weir_config_overlay(jobmanager->options.config, pairs, job->configuration_count + 1, &config, error);
        graph = weir_jm_job_graph(job, &size);
        free(pairs);
    }
    pthread_mutex_unlock(&jobmanager->lock);
    struct weir_jobmanager_submission submission = {.graph = graph, .graph_size = size};
    if (!err)
        err = build_plan(jobmanager, &submission, config, plan, error);
    weir_config_free(config);
    free(graph);
    return err;
}

static weir_err find_target(struct weir_jobmanager *jobmanager, const char *directory, char **uri,
                            struct weir_error *error)
{
    if (!directory || !*directory)
        directory = weir_config_string(jobmanager->options.config, "execution.checkpointing.savepoint-dir");
    if (!directory || !*directory)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "no directory for savepoints is configured: name one, or set "
                         "execution.checkpointing.savepoint-dir");
    return weir_savepoint_target(directory, jobmanager->options.config, uri, error);
}

bool weir_jobmanager_has_savepoint_dir(const struct weir_jobmanager *jobmanager)
{
    const char *directory = weir_config_string(jobmanager->options.config, "execution.checkpointing.savepoint-dir");
    return directory && *directory;
}

weir_err weir_jobmanager_operation(struct weir_jobmanager *jobmanager, const struct weir_jobmanager_request *wanted,
                                   struct weir_error *error)
{
    struct weir_error why;
    weir_err wrong = WEIR_OK;
    char *uri = NULL;
    struct weir_jm_request operation = {
        .kind = wanted->kind, .id = wanted->id, .drain = wanted->drain, .parallelism = wanted->parallelism};
    if (wanted->kind == WEIR_JM_OPERATION_SAVEPOINT || wanted->kind == WEIR_JM_OPERATION_STOP)
        wrong = find_target(jobmanager, wanted->directory, &uri, &why);
    else if (wanted->kind == WEIR_JM_OPERATION_RESCALE)
        wrong = plan_rescaled(jobmanager, wanted->job_id, wanted->parallelism, &operation.take_plan, &why);
    operation.target = uri;
    operation.failure = wrong ? why.message : NULL;
    struct weir_jm_event event = {.kind = WEIR_JM_EVENT_OPERATION, .job_id = wanted->job_id, .operation = operation};
    weir_err err = ask(jobmanager, &event, error);
    free(uri);
    return err;
}

weir_err weir_jobmanager_dispose(struct weir_jobmanager *jobmanager, const char *path, struct weir_error *error)
{
    return weir_savepoint_dispose(path, jobmanager->options.config, error);
}

const char *weir_jobmanager_checkpoint_uri(const struct weir_jobmanager *jobmanager)
{
    return jobmanager->store ? weir_job_store_uri(jobmanager->store) : NULL;
}

void weir_jobmanager_faults(struct weir_jobmanager *jobmanager, struct weir_arena *arena,
                            const struct weir_view_fault **faults, int *count)
{
    weir_jm_faults_list(jobmanager->faults, arena, faults, count);
}

weir_err weir_jobmanager_fault_arm(struct weir_jobmanager *jobmanager, const char *point, const char *action,
                                   struct weir_error *error)
{
    weir_err err = weir_jm_faults_arm(jobmanager->faults, point, action, error);
    eventfd_write(jobmanager->wake_fd, 1);
    return err;
}

uint64_t weir_jobmanager_refused(const struct weir_jobmanager *jobmanager)
{
    return weir_line_refused(jobmanager->line);
}

const struct weir_jm *weir_jobmanager_lock(struct weir_jobmanager *jobmanager)
{
    pthread_mutex_lock(&jobmanager->lock);
    return jobmanager->jm;
}

void weir_jobmanager_unlock(struct weir_jobmanager *jobmanager)
{
    pthread_mutex_unlock(&jobmanager->lock);
}
