/* The supervisor's loop. One thread owns everything here: the core, the control line, the executors' lines. What happened becomes an
 * event of the core; its effects are performed in order. ZeroMQ's descriptor is edge-triggered, so the line is drained after every
 * round in which anything was sent, before poll().
 */
#include "taskmanager/io/supervisor.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/proto_memory.h"
#include "executor/executor.h"
#include "state/rocks.h"
#include "taskmanager/io/blocking.h"
#include "taskmanager/io/commit_messages.h"
#include "taskmanager/io/executor_line.h"
#include "taskmanager/io/faults.h"
#include "taskmanager/io/local_state.h"
#include "taskmanager/io/process.h"
#include "taskmanager/io/status.h"
#include "net/control_line.h"
#include "taskmanager/core/tm.h"

#define EXECUTORS_MAX 256
#define ORPHANS_MAX 256
#define REAP_INTERVAL_MS 5
#define METRICS_INTERVAL_MS 500
/* Of a container's memory, what executors may use; the rest is the supervisor's, and room to notice one that grows. */
#define EXECUTORS_MEMORY_PERCENT 85
#define ATTEMPTS_SAID 4
#define TROUBLE_INTERVAL_MS 30000 /* the same is not said again before */
#define BROKEN_LINE \
    "what came over its control line was no message: does the job's code write to a file descriptor that it did not " \
    "open (3)?"
#define STORE_KEYS_MAX 32
#define FIXED_FDS 5 /* line, monitor, blocking work, stop, status */

struct executor {
    char id[WEIR_TM_EXECUTOR_ID_SIZE];
    char job_id[WEIR_TM_JOB_ID_SIZE];
    pid_t pid; /* 0: a thread */
    pthread_t thread;
    atomic_int thread_done;
    int thread_fd; /* the thread's end of the line */
    int thread_result;
    int crash_fd;
    struct weir_executor_line line;
    struct weir_buf crash; /* a packed Failure, left by the crash handler */
    bool ending;           /* its line or crash pipe closed: wait for the process */
    bool broken;           /* it sent what is no message */
};

struct supervisor {
    const struct weir_supervisor_options *options;
    struct weir_tm *tm;
    struct weir_line *line;
    void *context;
    struct weir_blocking *blocking;
    struct weir_local_state *local;
    struct executor *executors[EXECUTORS_MAX];
    int executor_count;
    int64_t wake_at_ms;
    int64_t metrics_at_ms;
    bool announced;
    weir_err failed; /* ends the run, with `error` */
    struct weir_error error;
    char id[64];
    struct weir_limits limits;         /* oom_kill_count: as of the last look */
    int attempts;                      /* connections that were begun since the last registration */
    char trouble[WEIR_LINE_TEXT_SIZE]; /* what was last said about why there is none; "": nothing */
    int64_t trouble_due_ms;
};

static void handle(struct supervisor *s, struct weir_tm_event *event);

static struct executor *find_executor(struct supervisor *s, const char *id)
{
    for (int i = 0; i < s->executor_count; i++)
        if (strcmp(s->executors[i]->id, id) == 0)
            return s->executors[i];
    return NULL;
}

/* --- Effects */

static void spawn_failed(struct supervisor *s, const char *executor_id, const char *why)
{
    struct weir_tm_event event = {
        .kind = WEIR_TM_EVENT_EXECUTOR_EXITED, .executor_id = executor_id, .exit_code = 127, .text = why};
    handle(s, &event);
}

static void *run_executor_thread(void *arg)
{
    struct executor *executor = arg;
    executor->thread_result = weir_executor_run(executor->thread_fd);
    close(executor->thread_fd);
    atomic_store(&executor->thread_done, 1);
    return NULL;
}

static weir_err start_thread(struct executor *executor, struct weir_error *error)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot make the executor's control line");
    weir_executor_line_init(&executor->line, pair[0]);
    executor->thread_fd = pair[1];
    errno = pthread_create(&executor->thread, NULL, run_executor_thread, executor);
    if (errno) {
        close(pair[1]);
        weir_executor_line_fini(&executor->line);
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot start the executor");
    }
    return WEIR_OK;
}

static void output_path(const struct supervisor *s, char out[4096])
{
    snprintf(out, 4096, "%s/%s.out", s->options->log_directory, s->options->name);
}

static weir_err start_process(struct supervisor *s, struct executor *executor, struct weir_error *error)
{
    char output[4096], log[4200];
    output_path(s, output);
    snprintf(log, sizeof log, "log.file=%s/%s-executor-%.8s.log", s->options->log_directory, s->options->name,
             executor->id);
    char mode[] = "executor", d[] = "-D", none[] = "log.file=";
    char *arguments[32] = {mode, d, s->options->output_inherited ? none : log};
    int count = 3;
    for (int i = 0; s->options->executor_arguments && s->options->executor_arguments[i] && count < 31; i++)
        arguments[count++] = s->options->executor_arguments[i];
    struct weir_process process;
    struct weir_process_spec spec = {
        .binary = "/proc/self/exe",
        .executor_id = executor->id,
        .run_directory = s->options->run_directory,
        .output_path = s->options->output_inherited ? NULL : output,
        .arguments = arguments,
    };
    weir_err err = weir_process_spawn(&spec, &process, error);
    if (err)
        return err;
    executor->pid = process.pid;
    executor->crash_fd = process.crash_fd;
    weir_executor_line_init(&executor->line, process.control_fd);
    return WEIR_OK;
}

static void do_spawn(struct supervisor *s, const char *executor_id, const char *job_id)
{
    struct weir_error error;
    if (s->executor_count == EXECUTORS_MAX) {
        spawn_failed(s, executor_id, "this TaskManager runs as many executors as it can");
        return;
    }
    struct executor *executor = weir_zalloc(sizeof *executor);
    snprintf(executor->id, sizeof executor->id, "%s", executor_id);
    snprintf(executor->job_id, sizeof executor->job_id, "%s", job_id);
    executor->crash_fd = -1;
    weir_buf_init(&executor->crash, WEIR_EXECUTOR_CRASH_SIZE_MAX);
    weir_err err = s->options->local_code ? start_thread(executor, &error) : start_process(s, executor, &error);
    if (err) {
        free(executor);
        spawn_failed(s, executor_id, error.message);
        return;
    }
    s->executors[s->executor_count++] = executor;
    weir_local_state_used(s->local, job_id);
    (void)weir_fault("supervisor.executor-spawned");
    struct weir_tm_event event = {.kind = WEIR_TM_EVENT_EXECUTOR_SPAWNED,
                                  .executor_id = executor->id,
                                  .pid = (uint32_t)(executor->pid ? executor->pid : getpid())};
    handle(s, &event);
}

/* What an executor that was killed has left on disk: of one, or (id NULL) of all. */
static void forget_state(const char *directory, const char *id)
{
    size_t size = id ? strlen(id) : 0;
    DIR *dir = opendir(directory);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        const char *rest = entry->d_name + size; /* ID, ID.2, ... */
        if (entry->d_name[0] == '.' || (id && (strncmp(entry->d_name, id, size) != 0 || (*rest && *rest != '.'))))
            continue;
        char *path = weir_format("%s/%s", directory, entry->d_name);
        weir_rocks_forget(path);
        free(path);
    }
    if (dir)
        closedir(dir);
}

static void do_kill(struct supervisor *s, const char *executor_id)
{
    struct executor *executor = find_executor(s, executor_id);
    if (!executor)
        return;
    if (executor->pid) {
        weir_process_kill(executor->pid);
        return;
    }
    weir_log(ERROR, "the job's code does not return; a local run can only end with its process");
    fprintf(stderr, "weir: the job's code does not return; ending the process\n");
    _exit(1);
}

/* A TaskManager that does not get through says so: at once when the other side gave a reason, and again and again. */
static void say_trouble(struct supervisor *s, const char *why)
{
    int64_t now_ms = weir_clock_mono_ms();
    if (strcmp(s->trouble, why) == 0 && now_ms < s->trouble_due_ms)
        return;
    if (why != s->trouble)
        snprintf(s->trouble, sizeof s->trouble, "%s", why);
    s->trouble_due_ms = now_ms + TROUBLE_INTERVAL_MS;
    weir_log(WARN, "%s", why);
}

static void do_connect(struct supervisor *s)
{
    struct weir_error error;
    if (!weir_tm_registered(s->tm) && ++s->attempts % ATTEMPTS_SAID == 0) {
        char text[WEIR_LINE_TEXT_SIZE];
        snprintf(text, sizeof text,
                 "no answer from a JobManager at %s yet (jobmanager.rpc.address, "
                 "jobmanager.rpc.port); it is tried again and again",
                 s->options->rpc_endpoint);
        say_trouble(s, s->trouble[0] ? s->trouble : text);
    }
    weir_err err =
        s->line ? weir_line_reconnect(s->line, &error)
                : weir_line_client(s->context, s->options->rpc_endpoint, s->id, s->options->curve, &s->line, &error);
    if (!err)
        return;
    weir_log(ERROR, "cannot open the line to the JobManager: %s", error.message);
    struct weir_tm_event event = {.kind = WEIR_TM_EVENT_LINE_BROKEN};
    handle(s, &event);
}

static void do_log(const struct weir_tm_effect *effect)
{
    weir_log_scope(effect->job_id, NULL, -1);
    switch (effect->level) {
    case WEIR_TM_LOG_INFO:
        weir_log(INFO, "%s", effect->text);
        break;
    case WEIR_TM_LOG_WARN:
        weir_log(WARN, "%s", effect->text);
        break;
    case WEIR_TM_LOG_ERROR:
        weir_log(ERROR, "%s", effect->text);
        break;
    }
    weir_log_scope(NULL, NULL, -1);
}

/* What reaches checkpoints, by our own configuration: at most STORE_KEYS_MAX; how many. */
static size_t store_settings(const struct supervisor *s, Weir__KeyValue *pairs, Weir__KeyValue **pointers)
{
    size_t count = 0;
    for (const struct weir_option *option = weir_config_table; option->name && s->options->config; option++) {
        const char *value = weir_config_string(s->options->config, option->name);
        if (!value ||
            (strncmp(option->name, "s3.", 3) != 0 && strcmp(option->name, "execution.checkpointing.dir") != 0))
            continue;
        weir_assert(count < STORE_KEYS_MAX);
        Weir__KeyValue *pair = pointers[count] = &pairs[count];
        count++;
        weir__key_value__init(pair);
        pair->key = (char *)(uintptr_t)option->name;
        pair->value = (char *)(uintptr_t)value;
    }
    return count;
}

/* Executors get it with their first message: an argument or the environment would show secrets. */
static bool send_start(struct supervisor *s, struct executor *executor, const Weir__Control *control)
{
    Weir__KeyValue pairs[STORE_KEYS_MAX], *pointers[STORE_KEYS_MAX];
    Weir__ExecutorStart start = *control->executor_start;
    Weir__Control message = *control;
    start.n_store = store_settings(s, pairs, pointers);
    start.store = pointers;
    if (s->options->state_directory)
        start.state_directory = (char *)(uintptr_t)s->options->state_directory;
    char local[4096] = "";
    if (s->options->local_directory && executor->job_id[0] && !strchr(executor->job_id, '/'))
        snprintf(local, sizeof local, "%s/%s", s->options->local_directory, executor->job_id);
    start.local_directory = local;
    start.local_size_max = s->options->local_size_max;
    message.executor_start = &start;
    return weir_executor_line_send(&executor->line, &message);
}

static void submit_commit(struct supervisor *s, const struct weir_tm_effect *effect)
{
    Weir__KeyValue pairs[STORE_KEYS_MAX], *pointers[STORE_KEYS_MAX];
    Weir__CommitOutput output = *effect->control->commit_output;
    Weir__Control message = *effect->control;
    output.n_store_settings = store_settings(s, pairs, pointers);
    output.store_settings = pointers;
    message.commit_output = &output;
    weir_blocking_submit(s->blocking, WEIR_BLOCKING_COMMIT, NULL, effect->job_id, &message);
}

static void perform(struct supervisor *s, const struct weir_tm_effect *effect)
{
    struct executor *executor;
    switch (effect->kind) {
    case WEIR_TM_EFFECT_CONNECT:
        do_connect(s);
        break;
    case WEIR_TM_EFFECT_SEND:
        if (s->line)
            weir_line_send(s->line, NULL, effect->control);
        weir_tm_faults_sent(effect->control);
        break;
    case WEIR_TM_EFFECT_SEND_EXECUTOR:
        executor = find_executor(s, effect->executor_id);
        if (executor && !(effect->control->body_case == WEIR__CONTROL__BODY_EXECUTOR_START
                              ? send_start(s, executor, effect->control)
                              : weir_executor_line_send(&executor->line, effect->control)))
            executor->ending = true;
        break;
    case WEIR_TM_EFFECT_FETCH_CODE:
        weir_blocking_submit(s->blocking, WEIR_BLOCKING_FETCH, effect->sha256, NULL, NULL);
        break;
    case WEIR_TM_EFFECT_SPAWN:
        do_spawn(s, effect->executor_id, effect->job_id);
        break;
    case WEIR_TM_EFFECT_KILL:
        do_kill(s, effect->executor_id);
        break;
    case WEIR_TM_EFFECT_KILL_ORPHAN:
        weir_process_kill_orphan(s->options->run_directory, effect->orphan);
        break;
    case WEIR_TM_EFFECT_COMMIT:
        submit_commit(s, effect);
        break;
    case WEIR_TM_EFFECT_ABORT:
        weir_blocking_submit(s->blocking, WEIR_BLOCKING_ABORT, NULL, effect->job_id, effect->control);
        break;
    case WEIR_TM_EFFECT_LOG:
        do_log(effect);
        break;
    }
}

/* Effects are valid until the next step, and some of them (spawning) cause one: such a step is done after the effects of this one. */
struct pending {
    struct weir_tm_event event;
    char executor_id[WEIR_TM_EXECUTOR_ID_SIZE];
    char text[WEIR_ERROR_MESSAGE_SIZE];
};
static _Thread_local struct pending pending[EXECUTORS_MAX];
static _Thread_local int pending_count;
static _Thread_local bool stepping;

static void step(struct supervisor *s, struct weir_tm_event *event)
{
    struct weir_tm_effects effects;
    event->now_ms = weir_clock_mono_ms();
    weir_tm_step(s->tm, event, &effects);
    s->wake_at_ms = effects.wake_at_ms;
    for (int i = 0; i < effects.count; i++)
        perform(s, &effects.items[i]);
}

static void handle(struct supervisor *s, struct weir_tm_event *event)
{
    if (stepping) {
        weir_assert(pending_count < EXECUTORS_MAX);
        struct pending *p = &pending[pending_count++];
        p->event = *event;
        snprintf(p->executor_id, sizeof p->executor_id, "%s", event->executor_id ? event->executor_id : "");
        snprintf(p->text, sizeof p->text, "%s", event->text ? event->text : "");
        p->event.executor_id = p->executor_id;
        p->event.text = p->text;
        return;
    }
    stepping = true;
    step(s, event);
    while (pending_count > 0) {
        struct pending first = pending[0];
        memmove(pending, pending + 1, (size_t)--pending_count * sizeof *pending);
        first.event.executor_id = first.executor_id;
        first.event.text = first.text;
        step(s, &first.event);
    }
    stepping = false;
    if (s->attempts > 0 && weir_tm_registered(s->tm)) {
        s->attempts = 0;
        s->trouble[0] = 0;
    }
    if (!s->announced && weir_tm_registered(s->tm)) {
        s->announced = true;
        if (s->options->registered)
            s->failed = s->options->registered(s->options->arg, s->id, &s->error);
    }
}

/* --- Executors' ends */

static void read_crash_report(struct executor *executor)
{
    uint8_t bytes[4096];
    while (executor->crash_fd >= 0) {
        ssize_t got = read(executor->crash_fd, bytes, sizeof bytes);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got <= 0) {
            close(executor->crash_fd);
            executor->crash_fd = -1;
            executor->ending = true;
        } else if (!weir_buf_append(&executor->crash, bytes, (size_t)got)) {
            return;
        }
    }
}

static void read_messages(struct supervisor *s, struct executor *executor)
{
    bool open = weir_executor_line_fill(&executor->line);
    bool broken = false;
    for (Weir__Control *control; (control = weir_executor_line_next(&executor->line, &broken));) {
        weir_tm_faults_received(control);
        struct weir_tm_event event = {
            .kind = WEIR_TM_EVENT_EXECUTOR_MESSAGE, .executor_id = executor->id, .control = control};
        handle(s, &event);
        weir__control__free_unpacked(control, NULL);
    }
    if (broken && !executor->broken) {
        executor->broken = true;
        weir_log(ERROR, "executor %s sent what is no control message; killing it", executor->id);
        do_kill(s, executor->id);
    }
    if (!open || broken)
        executor->ending = true;
}

static bool has_ended(struct executor *executor, int *exit_code, int *signal_number)
{
    *exit_code = *signal_number = 0;
    if (!executor->pid) {
        if (!atomic_load(&executor->thread_done))
            return false;
        pthread_join(executor->thread, NULL);
        *exit_code = executor->thread_result;
        return true;
    }
    int status;
    pid_t got = waitpid(executor->pid, &status, WNOHANG);
    if (got == 0 || (got < 0 && errno == EINTR))
        return false;
    if (got > 0 && WIFSIGNALED(status))
        *signal_number = WTERMSIG(status);
    else if (got > 0)
        *exit_code = WEXITSTATUS(status);
    return true;
}

/* The kernel has killed a process of this container since the last look; `text` says so. */
static bool kernel_killed_for_memory(struct supervisor *s, char *text, size_t size)
{
    struct weir_limits now;
    weir_limits_read("", &now);
    bool more = now.oom_kill_count > s->limits.oom_kill_count;
    s->limits.oom_kill_count = now.oom_kill_count;
    if (now.memory_max)
        snprintf(text, size, "killed by the kernel for memory: the limit of this container is %" PRId64 " MB",
                 now.memory_max >> 20);
    else
        snprintf(text, size, "killed by the kernel: the machine's memory was used up");
    return more;
}

/* Reports executor `i` if its process has ended. */
static bool reap(struct supervisor *s, int i)
{
    struct executor *executor = s->executors[i];
    int exit_code, signal_number;
    if (!has_ended(executor, &exit_code, &signal_number))
        return false;
    read_messages(s, executor);
    read_crash_report(executor);
    s->executors[i] = s->executors[--s->executor_count];
    Weir__Failure *failure = executor->crash.size
                                 ? weir__failure__unpack(&weir_proto_memory, executor->crash.size, executor->crash.data)
                                 : NULL;
    char text[160];
    bool killed_for_memory = signal_number == SIGKILL && kernel_killed_for_memory(s, text, sizeof text);
    struct weir_tm_event event = {
        .text = executor->broken    ? BROKEN_LINE
                : killed_for_memory ? text
                                    : NULL,
        .kind = WEIR_TM_EVENT_EXECUTOR_EXITED,
        .executor_id = executor->id,
        .exit_code = exit_code,
        .signal = signal_number,
        .failure = failure,
    };
    handle(s, &event);
    if (failure)
        weir__failure__free_unpacked(failure, NULL);
    if (executor->pid)
        weir_process_forget(s->options->run_directory, executor->id);
    if (executor->pid && s->options->state_directory)
        forget_state(s->options->state_directory, executor->id);
    bool last = true;
    for (int k = 0; k < s->executor_count; k++)
        last &= strcmp(s->executors[k]->job_id, executor->job_id) != 0;
    if (last)
        weir_local_state_unused(s->local, executor->job_id, weir_clock_mono_ms());
    if (executor->crash_fd >= 0)
        close(executor->crash_fd);
    weir_executor_line_fini(&executor->line);
    weir_buf_fini(&executor->crash);
    free(executor);
    return true;
}

/* --- What else happens */

static bool drain_line(struct supervisor *s)
{
    bool any = false;
    struct weir_line_event e;
    while (s->line && weir_line_next(s->line, &e)) {
        any = true;
        struct weir_tm_event event = {.control = e.control};
        switch (e.kind) {
        case WEIR_LINE_MESSAGE:
            weir_tm_faults_received(e.control);
            if (e.control->body_case == WEIR__CONTROL__BODY_FAULT) {
                weir__control__free_unpacked(e.control, NULL);
                continue;
            }
            event.kind = WEIR_TM_EVENT_MESSAGE;
            break;
        case WEIR_LINE_CONNECTED:
            event.kind = WEIR_TM_EVENT_LINE_CONNECTED;
            break;
        case WEIR_LINE_DISCONNECTED:
            event.kind = WEIR_TM_EVENT_LINE_BROKEN;
            if (e.text[0])
                say_trouble(s, e.text);
            break;
        case WEIR_LINE_REFUSED:
            continue;
        case WEIR_LINE_BAD_MESSAGE:
            weir_log(WARN, "the JobManager's line carried what is no control message; dropped");
            continue;
        }
        handle(s, &event);
        if (e.control)
            weir__control__free_unpacked(e.control, NULL);
    }
    return any;
}

static bool drain_blocking(struct supervisor *s)
{
    bool any = false;
    for (struct weir_blocking_work *work; (work = weir_blocking_take(s->blocking)); any = true) {
        struct weir_tm_event event = {.sha256 = work->sha256, .job_id = work->job_id};
        Weir__Failure failure = WEIR__FAILURE__INIT;
        char kind[] = "OutputCommitFailed";
        failure.kind = kind;
        failure.message = work->error.message;
        if (work->kind == WEIR_BLOCKING_FETCH) {
            event.kind = work->err ? WEIR_TM_EVENT_CODE_FAILED : WEIR_TM_EVENT_CODE_READY;
            event.text = work->err ? work->error.message : work->path;
        } else if (work->kind == WEIR_BLOCKING_COMMIT) {
            event.kind = WEIR_TM_EVENT_COMMITTED;
            event.checkpoint = work->control->commit_output->checkpoint;
            event.failure = work->err ? &failure : NULL;
        } else {
            if (work->err)
                weir_log(WARN, "job %s: cannot remove its unfinished output: %s", work->job_id, work->error.message);
            weir_blocking_work_free(work);
            continue;
        }
        handle(s, &event);
        weir_blocking_work_free(work);
    }
    return any;
}

static uint64_t rss_bytes_of(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "re");
    uint64_t pages = 0;
    if (file) {
        if (fscanf(file, "%*u %" SCNu64, &pages) != 1)
            pages = 0;
        fclose(file);
    }
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint32_t threads_of_this_process(void)
{
    unsigned threads = 0;
    char line[128];
    FILE *file = fopen("/proc/self/status", "re");
    while (file && fgets(line, sizeof line, file) && sscanf(line, "Threads: %u", &threads) != 1)
        ;
    if (file)
        fclose(file);
    return threads;
}

static void measure(struct supervisor *s)
{
    Weir__ProcessMetrics process = WEIR__PROCESS_METRICS__INIT;
    process.rss_bytes = rss_bytes_of(getpid());
    process.cpu_ns = (uint64_t)weir_clock_cpu_ns();
    process.threads = threads_of_this_process();
    for (int i = 0; i < s->executor_count; i++) {
        struct weir_tm_event reading = {.kind = WEIR_TM_EVENT_EXECUTOR_MEMORY, .executor_id = s->executors[i]->id};
        if (!s->executors[i]->pid)
            continue; /* a thread of this process */
        reading.rss_bytes = rss_bytes_of(s->executors[i]->pid);
        handle(s, &reading);
    }
    struct weir_arena arena;
    weir_arena_init(&arena);
    weir_commit_numbers(&arena, &process);
    struct weir_tm_event event = {.kind = WEIR_TM_EVENT_PROCESS_METRICS, .process = &process};
    handle(s, &event);
    weir_arena_fini(&arena);
    weir_tm_faults_report(s->line);
    if (s->options->output_size_max > 0 && !s->options->output_inherited) {
        char output[4096];
        output_path(s, output);
        weir_process_rotate_output(output, s->options->output_size_max);
    }
}

static bool run_timers(struct supervisor *s)
{
    int64_t now_ms = weir_clock_mono_ms();
    bool any = false;
    if (now_ms >= s->metrics_at_ms) {
        s->metrics_at_ms = now_ms + METRICS_INTERVAL_MS;
        measure(s);
        any = true;
    }
    if (now_ms >= s->wake_at_ms) {
        struct weir_tm_event event = {.kind = WEIR_TM_EVENT_TICK};
        handle(s, &event);
        any = true;
    }
    weir_local_state_timers(s->local, now_ms);
    for (int i = s->executor_count - 1; i >= 0; i--)
        any |= reap(s, i);
    return any;
}

static int wait_ms(const struct supervisor *s)
{
    int64_t now_ms = weir_clock_mono_ms();
    int64_t until_ms = s->metrics_at_ms < s->wake_at_ms ? s->metrics_at_ms : s->wake_at_ms;
    for (int i = 0; i < s->executor_count; i++)
        if (s->executors[i]->ending && until_ms > now_ms + REAP_INTERVAL_MS)
            until_ms = now_ms + REAP_INTERVAL_MS;
    int line_ms = s->line ? weir_line_wait_ms(s->line) : -1;
    int64_t ms = until_ms - now_ms;
    if (line_ms >= 0 && ms > line_ms)
        ms = line_ms;
    return ms < 0 ? 0 : ms > METRICS_INTERVAL_MS ? METRICS_INTERVAL_MS : (int)ms;
}

static int set_up_poll(const struct supervisor *s, struct pollfd *fds)
{
    fds[0] = (struct pollfd){.fd = s->line ? weir_line_fd(s->line) : -1, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = s->line ? weir_line_monitor_fd(s->line) : -1, .events = POLLIN};
    fds[2] = (struct pollfd){.fd = weir_blocking_fd(s->blocking), .events = POLLIN};
    fds[3] = (struct pollfd){.fd = s->options->stop_fd, .events = POLLIN};
    fds[4] = (struct pollfd){.fd = s->options->status_fd > 0 ? s->options->status_fd : -1, .events = POLLIN};
    int count = FIXED_FDS;
    for (int i = 0; i < s->executor_count; i++) {
        struct executor *executor = s->executors[i];
        short events = POLLIN | (weir_executor_line_wants_write(&executor->line) ? POLLOUT : 0);
        fds[count++] = (struct pollfd){.fd = executor->line.fd, .events = events};
        fds[count++] = (struct pollfd){.fd = executor->crash_fd, .events = POLLIN};
    }
    return count;
}

static void answer_status(const struct supervisor *s)
{
    char text[256];
    snprintf(text, sizeof text, "{\"id\": \"%s\", \"registered\": %s, \"slots\": %u, \"executors\": %d}\n", s->id,
             weir_tm_registered(s->tm) ? "true" : "false", s->options->slots, s->executor_count);
    weir_status_answer(s->options->status_fd, text);
}

/* One round of the loop; false: stop. */
static bool run_once(struct supervisor *s)
{
    while (drain_line(s) || run_timers(s))
        continue;
    struct pollfd fds[FIXED_FDS + 2 * EXECUTORS_MAX];
    int executors_before = s->executor_count;
    int count = set_up_poll(s, fds);
    if (poll(fds, (nfds_t)count, wait_ms(s)) < 0 && errno != EINTR) {
        s->failed = weir_fail_errno(&s->error, WEIR_ERR_IO, "cannot wait for events");
        return false;
    }
    if (fds[3].revents)
        return false;
    if (fds[2].revents)
        drain_blocking(s);
    if (fds[4].revents)
        answer_status(s);
    struct executor *polled[EXECUTORS_MAX];
    memcpy(polled, s->executors, (size_t)executors_before * sizeof *polled);
    for (int i = 0; i < executors_before; i++) {
        struct pollfd *line = &fds[FIXED_FDS + 2 * i];
        if (line->revents & POLLOUT && !weir_executor_line_flush(&polled[i]->line))
            polled[i]->ending = true;
        if (line->revents & (POLLIN | POLLHUP | POLLERR))
            read_messages(s, polled[i]);
        if (line[1].revents)
            read_crash_report(polled[i]);
    }
    return true;
}

/* Closing the control lines ends the executors; those that do not end in time are killed. */
static void stop_executors(struct supervisor *s)
{
    for (int i = 0; i < s->executor_count; i++) {
        shutdown(s->executors[i]->line.fd, SHUT_RDWR);
        s->executors[i]->ending = true;
    }
    int64_t kill_at_ms = weir_clock_mono_ms() + 2000;
    while (s->executor_count > 0) {
        bool any = false;
        for (int i = s->executor_count - 1; i >= 0; i--)
            any |= reap(s, i);
        if (!any)
            poll(NULL, 0, REAP_INTERVAL_MS);
        if (weir_clock_mono_ms() > kill_at_ms) {
            for (int i = 0; i < s->executor_count; i++)
                do_kill(s, s->executors[i]->id);
            kill_at_ms = INT64_MAX;
        }
    }
}

static void make_id(struct supervisor *s)
{
    uint32_t random = 0;
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
        random = (uint32_t)weir_clock_mono_ns();
    snprintf(s->id, sizeof s->id, "%.24s-%d-%06" PRIx32, s->options->host, (int)getpid(), random & 0xffffff);
}

static void set_budget(const struct supervisor *s, struct weir_tm_options *tm)
{
    int64_t slots = s->options->slots;
    if (s->options->executor_memory_max != WEIR_SUPERVISOR_MEMORY_AUTO) {
        tm->executor_memory_max = s->options->executor_memory_max;
        return;
    }
    tm->slot_memory_max = s->limits.memory_max / 100 * EXECUTORS_MEMORY_PERCENT / slots;
    if (tm->slot_memory_max)
        weir_log(INFO,
                 "the memory limit of this container is %" PRId64 " MB: an executor may use %" PRId64
                 " MB for each of the %" PRId64 " slots (taskmanager.executor.memory)",
                 s->limits.memory_max >> 20, tm->slot_memory_max >> 20, slots);
}

weir_err weir_supervisor_run(const struct weir_supervisor_options *options, struct weir_error *error)
{
    struct supervisor *s = weir_zalloc(sizeof *s);
    s->options = options;
    s->wake_at_ms = 0;
    weir_limits_read("", &s->limits);
    s->context = options->zmq_context ? options->zmq_context : weir_net_context_new();
    if (!s->context) {
        free(s);
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot start ZeroMQ");
    }
    make_id(s);
    struct weir_blocking_options blocking = {
        .rest_url = options->rest_url,
        .rest_token_file = options->rest_token_file,
        .rest_ca_file = options->rest_ca_file,
        .code_directory = options->code_directory,
        .local_code = options->local_code,
    };
    weir_err err = weir_blocking_start(&blocking, &s->blocking, error);
    if (err) {
        if (!options->zmq_context)
            weir_net_context_free(s->context);
        free(s);
        return err;
    }
    struct weir_tm_options tm;
    weir_tm_options_init(&tm);
    tm.taskmanager_id = s->id;
    tm.host = options->host;
    tm.bind_host = options->bind_host ? options->bind_host : "";
    tm.curve = options->curve && options->curve->on;
    tm.log_directory = options->output_inherited ? "" : options->log_directory;
    tm.slots = options->slots;
    tm.port_first = options->port_first;
    tm.port_last = options->port_last;
    tm.cpu_cores = (uint32_t)s->limits.cpu_count;
    tm.pid = (uint32_t)getpid();
    tm.memory_bytes = s->limits.memory_bytes;
    set_budget(s, &tm);
    tm.executor_silence_ms = options->executor_silence_ms;
    s->tm = weir_tm_new(&tm);

    if (options->state_directory)
        forget_state(options->state_directory, NULL);
    s->local = weir_local_state_new(options->local_directory);
    struct weir_tm_orphan orphans[ORPHANS_MAX];
    struct weir_tm_event start = {.kind = WEIR_TM_EVENT_START, .orphans = orphans};
    start.orphan_count = options->local_code ? 0 : weir_process_orphans(options->run_directory, orphans, ORPHANS_MAX);
    handle(s, &start);
    weir_log(INFO, "TaskManager %s with %u slots, JobManager at %s", s->id, options->slots, options->rpc_endpoint);
    while (!s->failed && run_once(s))
        continue;
    weir_log(INFO, "TaskManager %s stops", s->id);
    stop_executors(s);
    weir_blocking_stop(s->blocking);
    weir_local_state_free(s->local);
    weir_line_close(s->line);
    weir_tm_free(s->tm);
    if (!options->zmq_context)
        weir_net_context_free(s->context);
    err = s->failed;
    if (err)
        *error = s->error;
    free(s);
    return err;
}
