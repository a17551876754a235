/* run: uploads, submits, follows; or hands over to local.c. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "client_int.h"

#define POLL_MS_MIN 100 /* while a job is young */
#define POLL_MS_MAX 500
#define YOUNG_MS 5000

/* --- Submission */

/* JSON has no other bytes; what was typed must arrive as it is or not at all. */
static int check_text(struct weir_client *client)
{
    for (int i = 1; i < client->argument_count; i++) {
        json_t *text = json_string(client->arguments[i]);
        if (!text)
            return weir_client_fail(client, EXIT_USAGE, NULL, "argument %d of the job is not UTF-8: '%.200s'", i,
                                    client->arguments[i]);
        json_decref(text);
    }
    json_t *name = json_string(client->name ? client->name : "");
    if (!name)
        return weir_client_fail(client, EXIT_USAGE, NULL, "--name is not UTF-8: '%.200s'", client->name);
    json_decref(name);
    for (int i = 0; i < client->pair_count; i++) {
        json_t *value = json_string(client->pairs[i].value);
        if (!value)
            return weir_client_fail(client, EXIT_USAGE, NULL, "the value of -D %s is not UTF-8", client->pairs[i].key);
        json_decref(value);
    }
    return EXIT_DONE;
}

static json_t *run_body(struct weir_client *client)
{
    json_t *body = json_object(), *arguments = json_array(), *configuration = json_object();
    for (int i = 1; i < client->argument_count; i++)
        json_array_append_new(arguments, json_string(client->arguments[i]));
    for (int i = 0; i < client->pair_count; i++)
        json_object_set_new(configuration, client->pairs[i].key, json_string(client->pairs[i].value));
    json_object_set_new(body, "programArgsList", arguments);
    json_object_set_new(body, "flinkConfiguration", configuration);
    if (client->parallelism > 0)
        json_object_set_new(body, "parallelism", json_integer(client->parallelism));
    if (client->savepoint) {
        char *place = weir_client_place(client->savepoint);
        json_object_set_new(body, "savepointPath", weir_client_string(place));
        free(place);
        json_object_set_new(body, "allowNonRestoredState", json_boolean(client->allow_non_restored));
        json_object_set_new(
            body, "claimMode",
            json_string(client->claim_mode && strcmp(client->claim_mode, "claim") == 0 ? "CLAIM" : "NO_CLAIM"));
    }
    if (client->name)
        json_object_set_new(body, "jobName", json_string(client->name));
    return body;
}

/* Uploads and submits; id is set. The uploaded object is removed again: the job keeps its own copy. */
static int submit(struct weir_client *client, char id[33])
{
    json_t *upload, *reply = NULL;
    int exit_code = weir_client_upload(client, client->arguments[0], &upload);
    if (exit_code != EXIT_DONE)
        return exit_code;
    const char *file = weir_json_text(upload, "filename");
    const char *slash = strrchr(file, '/');
    char *path = weir_format("/jars/%s/run", slash ? slash + 1 : file);
    json_t *body = run_body(client);
    exit_code = weir_client_call(client, "POST", path, body, &reply);
    if (exit_code == EXIT_DONE)
        snprintf(id, 33, "%s", weir_json_text(reply, "jobid"));
    json_decref(body);
    json_decref(reply);
    free(path);
    path = weir_format("/jars/%s", slash ? slash + 1 : file);
    bool completing = client->completing;
    client->completing = exit_code != EXIT_DONE; /* the first error is the one to show */
    if (weir_client_call(client, "DELETE", path, NULL, &reply) == EXIT_DONE)
        json_decref(reply);
    client->completing = completing;
    free(path);
    json_decref(upload);
    return exit_code;
}

/* --- Following */

/* Before there is a job's id there is nothing to detach from: a server that does not answer must not hold a person up. */
static void interrupted_early(int number)
{
    static const char text[] = "\nweir: interrupted while the job was submitted; weir list shows whether it runs\n";
    ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
    _exit(written >= 0 ? 128 + number : 128);
}

static sigset_t interrupts;

/* The descriptor on which Ctrl-C arrives once it is blocked; -1: it cannot be made. */
static int watch_signals(void)
{
    struct sigaction action = {.sa_handler = interrupted_early};
    sigemptyset(&interrupts);
    sigaddset(&interrupts, SIGINT);
    sigaddset(&interrupts, SIGTERM);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    return signalfd(-1, &interrupts, SFD_CLOEXEC | SFD_NONBLOCK);
}

static json_t *newest_exception(struct weir_client *client, const char *id)
{
    char *path = weir_format("/jobs/%s/exceptions", id);
    json_t *reply, *entry = NULL;
    if (weir_client_call(client, "GET", path, NULL, &reply) == EXIT_DONE) {
        entry = json_incref(json_array_get(json_object_get(json_object_get(reply, "exceptionHistory"), "entries"), 0));
        json_decref(reply);
    }
    free(path);
    return entry;
}

static void print_result(const json_t *job, bool detached, const json_t *failure)
{
    struct weir_progress_state state;
    weir_progress_from_json(job, &state);
    json_t *result =
        json_pack("{s:O, s:O, s:O, s:b, s:O, s:I, s:I, s:I, s:I, s:I, s:O?}", "jobid", json_object_get(job, "jid"),
                  "name", json_object_get(job, "name"), "state", json_object_get(job, "state"), "detached", detached,
                  "duration", json_object_get(job, "duration"), "restarts", (json_int_t)state.restarts, "records-in",
                  (json_int_t)state.records_in, "records-out", (json_int_t)state.records_out, "records-bad",
                  (json_int_t)state.records_bad, "records-late", (json_int_t)state.records_late, "failure", failure);
    weir_client_print_json(result);
    json_decref(result);
}

static bool has_checkpoints(struct weir_client *client, const char *id)
{
    char *path = weir_format("/jobs/%s/config", id);
    json_t *reply = NULL;
    bool has = false;
    if (weir_client_call(client, "GET", path, NULL, &reply) == EXIT_DONE) {
        const json_t *own = json_object_get(json_object_get(reply, "execution-config"), "user-config");
        const char *interval = weir_json_text(own, "execution.checkpointing.interval");
        has = *interval && strtol(interval, NULL, 10) > 0;
    }
    json_decref(reply);
    free(path);
    return has;
}

static int end(struct weir_client *client, const json_t *job)
{
    const char *id = weir_json_text(job, "jid"), *state = weir_json_text(job, "state");
    char duration[WEIR_TEXT_SIZE];
    int restarts = (int)weir_json_number(job, "weir-restarts");
    json_t *failure = strcmp(state, "FAILED") == 0 ? newest_exception(client, id) : NULL;
    if (client->json)
        print_result(job, false, failure);
    weir_client_note(
        client, "job %s is %s%s%s after %s", id, weir_client_color(client, 2, weir_client_state_color(state)), state,
        weir_client_color(client, 2, WEIR_COLOR_NONE), weir_text_duration(duration, weir_json_number(job, "duration")));
    if (restarts > 0)
        weir_client_note(
            client, "it was restarted %d time%s%s", restarts, restarts == 1 ? "" : "s",
            has_checkpoints(client, id)
                ? ", from its newest checkpoint: what a print sink or another system was shown may be repeated"
                : ", each time from the beginning, or from the newest checkpoint that was asked for: it makes none by "
                  "itself (execution.checkpointing.interval). Files hold what the last attempt wrote, once; what a "
                  "print sink or another system was shown may be repeated");
    int exit_code = EXIT_DONE;
    if (failure)
        exit_code =
            weir_client_fail(client, EXIT_FAILED, NULL, "%s%s%s", weir_json_text(failure, "taskName"),
                             *weir_json_text(failure, "taskName") ? ":\n" : "", weir_json_text(failure, "stacktrace"));
    else if (strcmp(state, "FINISHED") != 0 && client->json)
        exit_code = weir_client_fail(client, EXIT_FAILED, NULL, "job %s is %s", id, state);
    else if (strcmp(state, "FINISHED") != 0)
        exit_code = EXIT_FAILED;
    json_decref(failure);
    return exit_code;
}

static bool has_ended(const char *state)
{
    return strcmp(state, "FINISHED") == 0 || strcmp(state, "FAILED") == 0 || strcmp(state, "CANCELED") == 0;
}

/* Ctrl-C; true: stop following. */
static bool interrupted(struct weir_client *client, const json_t *job, const char *id)
{
    if (!client->cancel_on_interrupt) {
        if (client->json)
            print_result(job, true, NULL);
        weir_client_note(client, "detached; the job goes on. Cancel it with: weir cancel %s", id);
        return true;
    }
    weir_client_note(client, "canceling the job");
    char *path = weir_format("/jobs/%s?mode=cancel", id);
    json_t *reply;
    if (weir_client_call(client, "PATCH", path, NULL, &reply) == EXIT_DONE)
        json_decref(reply);
    free(path);
    client->cancel_on_interrupt = false; /* a second Ctrl-C detaches */
    return false;
}

/* Says what is new: a state, or what the job waits for. */
static void show_changes(struct weir_client *client, struct weir_progress *progress, const json_t *job, char last[32],
                         char last_status[256])
{
    const char *state = weir_json_text(job, "state"), *status = weir_json_text(job, "status");
    bool new_state = strcmp(state, last) != 0, new_status = *status && strcmp(status, last_status) != 0;
    if (new_state || new_status)
        weir_progress_clear(progress);
    if (new_state)
        weir_client_note(client, "%s%s%s", weir_client_color(client, 2, weir_client_state_color(state)), state,
                         weir_client_color(client, 2, WEIR_COLOR_NONE));
    if (new_status)
        weir_client_note(client, "%s", status);
    snprintf(last, 32, "%s", state);
    snprintf(last_status, 256, "%s", status);
}

static int follow(struct weir_client *client, const char *id, int signal_fd)
{
    char last[32] = "", last_status[256] = "";
    char *path = weir_format("/jobs/%s", id);
    int exit_code = EXIT_DONE;
    int64_t start_ms = weir_clock_mono_ms();
    struct weir_progress progress;
    weir_progress_init(&progress, client, true);
    for (bool done = false; !done;) {
        json_t *job;
        exit_code = weir_client_call(client, "GET", path, NULL, &job);
        if (exit_code != EXIT_DONE)
            break;
        show_changes(client, &progress, job, last, last_status);
        if (has_ended(last)) {
            weir_progress_clear(&progress);
            exit_code = end(client, job);
            json_decref(job);
            break;
        }
        struct weir_progress_state state;
        weir_progress_from_json(job, &state);
        weir_progress_show(&progress, &state);
        struct pollfd fd = {.fd = signal_fd, .events = POLLIN};
        struct signalfd_siginfo info;
        bool young = weir_clock_mono_ms() - start_ms < YOUNG_MS;
        if (poll(&fd, 1, young ? POLL_MS_MIN : POLL_MS_MAX) > 0 && read(signal_fd, &info, sizeof info) > 0) {
            weir_progress_clear(&progress);
            done = interrupted(client, job, id);
        }
        json_decref(job);
    }
    weir_progress_clear(&progress);
    free(path);
    return exit_code;
}

/* --- The command */

static int run_local(struct weir_client *client)
{
    struct weir_local_job job = {
        .path = client->arguments[0],
        .name = client->name,
        .parallelism = client->parallelism,
        .arguments = client->arguments + 1,
        .argument_count = client->argument_count - 1,
        .overrides = client->pairs,
        .override_count = client->pair_count,
    };
    return weir_local_run(client, &job);
}

/* `weir run job.so --help`: the job's arguments, found without a cluster. */
static bool wants_job_help(const struct weir_client *client)
{
    for (int i = 1; i < client->argument_count; i++)
        if (strcmp(client->arguments[i], "--help") == 0)
            return true;
    return false;
}

/* A mistyped -D is a mistake of the command line, said before anything is uploaded. Whatever else is configured on this host does not
 * concern a job of the cluster. */
static int check_pairs(struct weir_client *client)
{
    struct weir_config *config;
    int exit_code = weir_client_config(client, "/dev/null", &config);
    if (exit_code == EXIT_DONE)
        weir_config_free(config);
    return exit_code;
}

int weir_command_run(struct weir_client *client)
{
    if (client->local && (client->detached || client->rest))
        return weir_client_fail(client, EXIT_USAGE, NULL,
                                "--local runs the job in this process: %s does not go with it",
                                client->detached ? "-d" : "-m");
    if (!client->savepoint && (client->allow_non_restored || client->claim_mode))
        return weir_client_fail(client, EXIT_USAGE, NULL, "%s goes with -s PATH",
                                client->claim_mode ? "--claim-mode" : "--allow-non-restored-state");
    if (client->local && client->savepoint)
        return weir_client_fail(client, EXIT_USAGE, NULL,
                                "-s needs a cluster's checkpoint storage: it does not go with --local");
    if (client->config && !client->local)
        return weir_client_fail(client, EXIT_USAGE, NULL,
                                "--config goes with --local: a cluster has its own; give -D KEY=VALUE for the job");
    if (wants_job_help(client))
        return weir_command_info(client);
    int exit_code = check_text(client);
    if (exit_code == EXIT_DONE && client->local)
        return run_local(client);
    if (exit_code == EXIT_DONE)
        exit_code = check_pairs(client);
    if (exit_code != EXIT_DONE)
        return exit_code;
    struct stat st;
    if (access(client->arguments[0], R_OK) != 0 || stat(client->arguments[0], &st) != 0)
        return weir_client_fail(client, EXIT_NOT_FOUND, NULL, "cannot open the job %s: %s", client->arguments[0],
                                strerror(errno));
    if (S_ISDIR(st.st_mode))
        return weir_client_fail(client, EXIT_FAILED, NULL, "%s is a directory, not a job's shared object",
                                client->arguments[0]);
    int signal_fd = watch_signals();
    if (signal_fd < 0) /* Ctrl-C would do nothing */
        return weir_client_fail(client, EXIT_FAILED, NULL, "cannot wait for signals: %s", strerror(errno));
    char id[33] = "";
    exit_code = submit(client, id);
    sigprocmask(SIG_BLOCK, &interrupts, NULL); /* from here on they arrive on the descriptor */
    if (exit_code == EXIT_DONE && client->detached && client->json) {
        json_t *reply = json_pack("{s:s}", "jobid", id);
        weir_client_print_json(reply);
        json_decref(reply);
    } else if (exit_code == EXIT_DONE && client->detached) {
        printf("%s\n", id);
    } else if (exit_code == EXIT_DONE) {
        weir_client_note(client, "job %s submitted to %s", id, weir_client_address(client));
        exit_code = follow(client, id, signal_fd);
    }
    close(signal_fd);
    return exit_code;
}
