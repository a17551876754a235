/* list, cancel, exceptions, metrics, taskmanagers, config. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/daemon.h"
#include "client_int.h"

#define BAD "numRecordsBad"
#define LAGGING_SHOWN_MAX 20

static bool has_ended(const json_t *job)
{
    return weir_json_number(job, "end-time") >= 0;
}

static const char *or_dash(const char *text)
{
    return *text ? text : "-";
}

/* --- list, cancel, exceptions */

static void print_jobs(struct weir_client *client, const json_t *jobs)
{
    static const char *const titles[] = {"ID", "STATE", ">TASKS", "STARTED (UTC)", "DURATION", "NAME", NULL};
    struct weir_table table;
    char started[WEIR_TEXT_SIZE], duration[WEIR_TEXT_SIZE];
    size_t i;
    json_t *job;
    weir_table_init(&table, titles);
    json_array_foreach(jobs, i, job)
    {
        const char *state = weir_json_text(job, "state");
        const json_t *tasks = json_object_get(job, "tasks");
        weir_table_add(&table, WEIR_COLOR_NONE, "%s", weir_json_text(job, "jid"));
        weir_table_add(&table, weir_client_state_color(state), "%s", state);
        weir_table_add(&table, WEIR_COLOR_NONE, "%d/%d", (int)weir_json_number(tasks, "running"),
                       (int)weir_json_number(tasks, "total"));
        weir_table_add(&table, WEIR_COLOR_NONE, "%s", weir_text_time(started, weir_json_number(job, "start-time")));
        weir_table_add(&table, WEIR_COLOR_NONE, "%s", weir_text_duration(duration, weir_json_number(job, "duration")));
        weir_table_add(&table, WEIR_COLOR_NONE, "%s", weir_json_text(job, "name"));
    }
    weir_table_print(client, &table);
}

int weir_command_list(struct weir_client *client)
{
    json_t *reply, *job;
    int exit_code = weir_client_call(client, "GET", "/jobs/overview", NULL, &reply);
    if (exit_code != EXIT_DONE)
        return exit_code;
    json_t *shown = json_array();
    size_t i;
    json_array_foreach(json_object_get(reply, "jobs"), i, job) if (client->all || !has_ended(job))
        json_array_append(shown, job);
    if (client->json)
        weir_client_print_json(shown);
    else if (json_array_size(shown) == 0)
        printf("no %sjobs\n", client->all ? "" : "running ");
    else
        print_jobs(client, shown);
    if (json_object_get(reply, "weir-incomplete"))
        fprintf(stderr, "weir: there may be more: %s\n", weir_json_text(reply, "weir-incomplete"));
    json_decref(shown);
    json_decref(reply);
    return EXIT_DONE;
}

int weir_command_cancel(struct weir_client *client)
{
    char id[33];
    int exit_code = weir_client_find_job(client, client->arguments[0], id);
    if (exit_code != EXIT_DONE)
        return exit_code;
    char *path = weir_format("/jobs/%s?mode=cancel", id);
    json_t *reply;
    exit_code = weir_client_call(client, "PATCH", path, NULL, &reply);
    free(path);
    if (exit_code != EXIT_DONE)
        return exit_code;
    json_decref(reply);
    if (client->json) {
        json_t *said = json_pack("{s:s}", "jobid", id);
        weir_client_print_json(said);
        json_decref(said);
    } else {
        printf("canceling job %s\n", id);
    }
    return EXIT_DONE;
}

/* GET /jobs/:id<rest> of the job that the first argument names. */
static int get_job(struct weir_client *client, const char *rest, json_t **reply)
{
    char id[33];
    *reply = NULL;
    int exit_code = weir_client_find_job(client, client->arguments[0], id);
    if (exit_code != EXIT_DONE)
        return exit_code;
    char *path = weir_format("/jobs/%s%s", id, rest);
    exit_code = weir_client_call(client, "GET", path, NULL, reply);
    free(path);
    return exit_code;
}

int weir_command_exceptions(struct weir_client *client)
{
    json_t *reply, *entry;
    int exit_code = get_job(client, "/exceptions", &reply);
    if (exit_code != EXIT_DONE)
        return exit_code;
    const json_t *entries = json_object_get(json_object_get(reply, "exceptionHistory"), "entries");
    size_t i;
    if (client->json)
        weir_client_print_json(reply);
    else if (json_array_size(entries) == 0)
        printf("no exceptions\n");
    else
        json_array_foreach(entries, i, entry)
        {
            char when[WEIR_TEXT_SIZE];
            char *text = weir_client_clean(weir_json_text(entry, "stacktrace"));
            printf("%s  %s%s%s  %s  %s\n%s\n\n", weir_text_time(when, weir_json_number(entry, "timestamp")),
                   weir_client_color(client, 1, WEIR_COLOR_BAD), weir_json_text(entry, "exceptionName"),
                   weir_client_color(client, 1, WEIR_COLOR_NONE), or_dash(weir_json_text(entry, "taskName")),
                   or_dash(weir_json_text(entry, "taskManagerId")), text);
            free(text);
        }
    json_decref(reply);
    return EXIT_DONE;
}

/* --- metrics: one or two looks at a job */

struct look {
    json_t *job;
    int64_t at_ms;
};

static const json_t *operator_at(const json_t *job, size_t vertex, size_t index)
{
    return json_array_get(json_object_get(json_array_get(json_object_get(job, "vertices"), vertex), "weir-operators"),
                          index);
}

/* Between the looks where there are two; else over the job's life. */
static double rate_of(const json_t *now, const json_t *before, const char *key, double seconds)
{
    int64_t count = weir_json_number(now, key), earlier = weir_json_number(before, key);
    return seconds > 0 ? (double)(count >= earlier ? count - earlier : 0) / seconds : 0;
}

static json_t *operator_metrics(const json_t *now, const json_t *before, double seconds)
{
    const json_t *watermark = json_object_get(now, "watermark");
    return json_pack(
        "{s:s, s:s, s:I, s:f, s:I, s:f, s:I, s:f, s:I, s:O?, s:O?, s:O?}", "name", weir_json_text(now, "name"), "op",
        weir_json_text(now, "op"), "records-in", (json_int_t)weir_json_number(now, "records-in"),
        "records-in-per-second", rate_of(now, before, "records-in", seconds), "records-out",
        (json_int_t)weir_json_number(now, "records-out"), "records-out-per-second",
        rate_of(now, before, "records-out", seconds), "records-bad", (json_int_t)weir_json_number(now, "records-bad"),
        "records-bad-per-second", rate_of(now, before, "records-bad", seconds), "late-dropped",
        (json_int_t)weir_json_number(now, "late-dropped"), "watermark", watermark, "metrics",
        json_object_get(now, "metrics"), "partitions", json_object_get(now, "partitions"));
}

/* Parts of the subtasks' time, 0 to 1. */
static void add_shares(json_t *vertex, const json_t *now, const json_t *before)
{
    static const char *const keys[] = {"accumulated-busy-time", "accumulated-backpressured-time",
                                       "accumulated-idle-time"};
    static const char *const names[] = {"busy", "backpressured", "idle"};
    double parts[3], sum = 0;
    for (int i = 0; i < 3; i++)
        sum += parts[i] = (double)(weir_json_number(now, keys[i]) - weir_json_number(before, keys[i]));
    for (int i = 0; i < 3; i++)
        json_object_set_new(vertex, names[i], json_real(sum > 0 && parts[i] > 0 ? parts[i] / sum : 0));
}

static json_t *job_metrics(const struct look *now, const struct look *before)
{
    double seconds = before->job ? (double)(now->at_ms - before->at_ms) / 1000.0
                                 : (double)weir_json_number(now->job, "duration") / 1000.0;
    json_t *vertices = json_array(), *vertex, *operator_;
    size_t v, o;
    json_array_foreach(json_object_get(now->job, "vertices"), v, vertex)
    {
        const json_t *earlier = json_array_get(json_object_get(before->job, "vertices"), v);
        const json_t *metrics = json_object_get(vertex, "metrics");
        json_t *operators = json_array();
        json_array_foreach(json_object_get(vertex, "weir-operators"), o, operator_)
            json_array_append_new(operators, operator_metrics(operator_, operator_at(before->job, v, o), seconds));
        json_t *entry = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I}", "id", weir_json_text(vertex, "id"), "name",
                                  weir_json_text(vertex, "name"), "status", weir_json_text(vertex, "status"),
                                  "parallelism", (json_int_t)weir_json_number(vertex, "parallelism"), "read-bytes",
                                  (json_int_t)weir_json_number(metrics, "read-bytes"), "write-bytes",
                                  (json_int_t)weir_json_number(metrics, "write-bytes"));
        add_shares(entry, metrics, json_object_get(earlier, "metrics"));
        json_object_set_new(entry, "operators", operators);
        json_array_append_new(vertices, entry);
    }
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:o}", "jobid", weir_json_text(now->job, "jid"), "name",
                     weir_json_text(now->job, "name"), "state", weir_json_text(now->job, "state"), "duration",
                     (json_int_t)weir_json_number(now->job, "duration"), "restarts",
                     (json_int_t)weir_json_number(now->job, "weir-restarts"), "vertices", vertices);
}

static void add_operator_row(struct weir_table *table, const json_t *operator_)
{
    char text[WEIR_TEXT_SIZE];
    const json_t *watermark = json_object_get(operator_, "watermark");
    weir_table_add(table, WEIR_COLOR_NONE, "  %s", weir_json_text(operator_, "name"));
    for (int i = 0; i < 2; i++)
        weir_table_add(table, WEIR_COLOR_NONE, "-");
    for (int i = 0; i < 2; i++) {
        const char *key = i ? "records-out" : "records-in";
        const char *rate = i ? "records-out-per-second" : "records-in-per-second";
        weir_table_add(table, WEIR_COLOR_NONE, "%s", weir_text_count(text, weir_json_number(operator_, key)));
        weir_table_add(table, WEIR_COLOR_NONE, "%s",
                       weir_text_rate(text, json_real_value(json_object_get(operator_, rate))));
    }
    weir_table_add(table, WEIR_COLOR_NONE, "%s", weir_text_count(text, weir_json_number(operator_, "records-bad")));
    weir_table_add(table, WEIR_COLOR_NONE, "%s", weir_text_count(text, weir_json_number(operator_, "late-dropped")));
    int64_t at_ms = json_integer_value(watermark);
    bool shown = json_is_integer(watermark) && at_ms >= 0 && at_ms < 253402300800000LL;
    weir_table_add(table, WEIR_COLOR_NONE, "%s",
                   shown                        ? weir_text_time(text, at_ms)
                   : json_is_integer(watermark) ? "end of input"
                                                : "-");
}

static void add_vertex_row(struct weir_table *table, const json_t *vertex)
{
    const char *status = weir_json_text(vertex, "status");
    weir_table_add(table, weir_client_state_color(status), "%s x %d %s", weir_json_text(vertex, "name"),
                   (int)weir_json_number(vertex, "parallelism"), status);
    weir_table_add(table, WEIR_COLOR_NONE, "%.0f %%", 100 * json_real_value(json_object_get(vertex, "busy")));
    weir_table_add(table, WEIR_COLOR_NONE, "%.0f %%", 100 * json_real_value(json_object_get(vertex, "backpressured")));
    for (int i = 3; i < table->column_count; i++)
        weir_table_add(table, WEIR_COLOR_NONE, "%s", "");
}

/* Lines below the table: what sources and sinks say of their brokers, and the partitions that are behind. */
static void print_numbers(const json_t *operator_)
{
    char *name = weir_client_clean(weir_json_text(operator_, "name"));
    json_t *metrics = json_object_get(operator_, "metrics"), *value, *partition;
    const char *key;
    size_t p, shown = 0;
    bool any = false;
    json_object_foreach(metrics, key, value)
    {
        if (json_number_value(value) == 0 && strncmp(key, BAD, sizeof BAD - 1) == 0)
            continue; /* none is bad: the table says so */
        if (!any)
            printf("%s:", name);
        any = true;
        if (json_is_real(value))
            printf(" %s=%.3g", key, json_real_value(value));
        else
            printf(" %s=%lld", key, (long long)json_integer_value(value));
    }
    if (any)
        printf("\n");
    json_array_foreach(json_object_get(operator_, "partitions"), p, partition)
    {
        int64_t lag = weir_json_number(partition, "lag");
        if (lag <= 0)
            continue;
        if (shown++ == LAGGING_SHOWN_MAX) {
            printf("  ... and others (-o json shows them)\n");
            break;
        }
        char *topic = weir_client_clean(weir_json_text(partition, "topic"));
        printf("  %s, partition %d: at offset %lld, %lld records are waiting\n", topic,
               (int)weir_json_number(partition, "partition"), (long long)weir_json_number(partition, "current-offset"),
               (long long)lag);
        free(topic);
    }
    free(name);
}

static void print_metrics(struct weir_client *client, const json_t *metrics)
{
    static const char *const titles[] = {
        "TASKS AND OPERATORS", ">BUSY", ">BLOCKED", ">IN", ">IN/S", ">OUT", ">OUT/S", ">BAD", ">LATE",
        "WATERMARK (UTC)",     NULL};
    char duration[WEIR_TEXT_SIZE];
    struct weir_table table;
    size_t v, o;
    json_t *vertex, *operator_;
    const char *state = weir_json_text(metrics, "state");
    char *name = weir_client_clean(weir_json_text(metrics, "name"));
    printf("%s  %s  %s%s%s for %s, %d restarts\n", weir_json_text(metrics, "jobid"), name,
           weir_client_color(client, 1, weir_client_state_color(state)), state,
           weir_client_color(client, 1, WEIR_COLOR_NONE),
           weir_text_duration(duration, weir_json_number(metrics, "duration")),
           (int)weir_json_number(metrics, "restarts"));
    free(name);
    weir_table_init(&table, titles);
    json_array_foreach(json_object_get(metrics, "vertices"), v, vertex)
    {
        add_vertex_row(&table, vertex);
        json_array_foreach(json_object_get(vertex, "operators"), o, operator_) add_operator_row(&table, operator_);
    }
    weir_table_print(client, &table);
    json_array_foreach(json_object_get(metrics, "vertices"), v, vertex)
        json_array_foreach(json_object_get(vertex, "operators"), o, operator_) print_numbers(operator_);
}

int weir_command_metrics(struct weir_client *client)
{
    struct look before = {NULL, 0}, now = {NULL, weir_clock_mono_ms()};
    int exit_code = get_job(client, "", &now.job);
    if (exit_code == EXIT_DONE && !has_ended(now.job)) {
        before = now;
        poll(NULL, 0, 1000);
        now.at_ms = weir_clock_mono_ms();
        exit_code = get_job(client, "", &now.job);
    }
    if (exit_code == EXIT_DONE) {
        json_t *metrics = job_metrics(&now, &before);
        if (client->json)
            weir_client_print_json(metrics);
        else
            print_metrics(client, metrics);
        json_decref(metrics);
    }
    json_decref(now.job);
    json_decref(before.job);
    return exit_code;
}

/* --- taskmanagers, config */

static void print_taskmanagers(struct weir_client *client, const json_t *all)
{
    static const char *const titles[] = {"ID",           ">SLOTS", ">FREE", ">CPUS",      ">MEMORY",
                                         ">FREE MEMORY", ">PID",   "HOST",  "LAST HEARD", NULL};
    struct weir_table table;
    char text[WEIR_TEXT_SIZE];
    size_t i;
    json_t *taskmanager;
    int64_t now_ms = weir_clock_wall_ms();
    weir_table_init(&table, titles);
    json_array_foreach(all, i, taskmanager)
    {
        const json_t *hardware = json_object_get(taskmanager, "hardware");
        int64_t heard_ms = weir_json_number(taskmanager, "timeSinceLastHeartbeat"); /* Flink's name for a time */
        int free_slots = (int)weir_json_number(taskmanager, "freeSlots");
        weir_table_add(&table, WEIR_COLOR_NONE, "%s", weir_json_text(taskmanager, "id"));
        weir_table_add(&table, WEIR_COLOR_NONE, "%d", (int)weir_json_number(taskmanager, "slotsNumber"));
        weir_table_add(&table, free_slots ? WEIR_COLOR_GOOD : WEIR_COLOR_NONE, "%d", free_slots);
        weir_table_add(&table, WEIR_COLOR_NONE, "%d", (int)weir_json_number(hardware, "cpuCores"));
        weir_table_add(&table, WEIR_COLOR_NONE, "%s",
                       weir_text_bytes(text, weir_json_number(hardware, "physicalMemory")));
        weir_table_add(&table, WEIR_COLOR_NONE, "%s", weir_text_bytes(text, weir_json_number(hardware, "freeMemory")));
        weir_table_add(&table, WEIR_COLOR_NONE, "%d", (int)weir_json_number(taskmanager, "weir-pid"));
        weir_table_add(&table, WEIR_COLOR_NONE, "%s", weir_json_text(taskmanager, "weir-host"));
        weir_table_add(&table, WEIR_COLOR_NONE, "%s ago",
                       weir_text_duration(text, now_ms > heard_ms ? now_ms - heard_ms : 0));
    }
    weir_table_print(client, &table);
}

int weir_command_taskmanagers(struct weir_client *client)
{
    json_t *reply;
    int exit_code = weir_client_call(client, "GET", "/taskmanagers", NULL, &reply);
    if (exit_code != EXIT_DONE)
        return exit_code;
    const json_t *all = json_object_get(reply, "taskmanagers");
    if (client->json)
        weir_client_print_json(all);
    else if (json_array_size(all) == 0)
        printf("no TaskManagers\n");
    else
        print_taskmanagers(client, all);
    json_decref(reply);
    return EXIT_DONE;
}

int weir_client_config(struct weir_client *client, const char *file, struct weir_config **config)
{
    struct weir_error error;
    char *home = weir_home_directory();
    weir_err err = weir_config_load(file, home, client->pairs, client->pair_count, config, &error);
    free(home);
    if (err)
        return weir_client_fail(client, EXIT_USAGE, NULL, "%s", error.message);
    for (int i = 0; i < weir_config_note_count(*config); i++)
        weir_client_note(client, "note: %s", weir_config_note(*config, i));
    return EXIT_DONE;
}

/* The same list as GET /jobmanager/config, of a process that would be started here. */
static int local_config(struct weir_client *client, json_t **list)
{
    struct weir_config *config;
    int exit_code = weir_client_config(client, client->config, &config);
    if (exit_code != EXIT_DONE)
        return exit_code;
    *list = json_array();
    for (const struct weir_option *option = weir_config_table; option->name; option++) {
        const char *value = weir_config_string(config, option->name);
        if (!value)
            continue;
        json_array_append_new(*list,
                              json_pack("{s:s, s:o, s:o}", "key", option->name, "value",
                                        weir_client_string(weir_config_is_secret(option->name) ? "******" : value),
                                        "origin", weir_client_string(weir_config_origin(config, option->name))));
    }
    weir_config_free(config);
    return EXIT_DONE;
}

static bool is_wanted(const struct weir_client *client, const char *key)
{
    for (int i = 0; i < client->argument_count; i++)
        if (strncmp(key, client->arguments[i], strlen(client->arguments[i])) == 0)
            return true;
    return client->argument_count == 0;
}

/* Every KEY must be one, or the beginning of one. */
static int check_keys(struct weir_client *client)
{
    for (int i = 0; i < client->argument_count; i++) {
        const char *given = client->arguments[i];
        bool known = false;
        for (const struct weir_option *option = weir_config_table; option->name && !known; option++)
            known = strncmp(option->name, given, strlen(given)) == 0;
        if (known)
            continue;
        const char *nearest = weir_option_nearest(given, weir_config_table, NULL, NULL);
        return weir_client_fail(client, EXIT_USAGE, NULL, "unknown configuration key '%.200s'%s%s%s", given,
                                nearest ? "; do you mean '" : "; docs/configuration.md lists all",
                                nearest ? nearest : "", nearest ? "'?" : "");
    }
    return EXIT_DONE;
}

int weir_command_config(struct weir_client *client)
{
    json_t *reply = NULL, *entry;
    int exit_code = check_keys(client);
    if (exit_code == EXIT_DONE && (client->local || client->pair_count || client->config))
        exit_code = local_config(client, &reply);
    else if (exit_code == EXIT_DONE)
        exit_code = weir_client_call(client, "GET", "/jobmanager/config", NULL, &reply);
    if (exit_code != EXIT_DONE)
        return exit_code;
    json_t *shown = json_array();
    size_t i;
    json_array_foreach(reply, i, entry) if (is_wanted(client, weir_json_text(entry, "key")))
        json_array_append(shown, entry);
    if (client->json)
        weir_client_print_json(shown);
    else
        json_array_foreach(shown, i, entry)
        {
            const char *origin = weir_json_text(entry, "origin");
            char *value = weir_client_clean(weir_json_text(entry, "value"));
            printf("%s: %s%s  # %s%s\n", weir_json_text(entry, "key"), value,
                   weir_client_color(client, 1, WEIR_COLOR_DIM), origin, weir_client_color(client, 1, WEIR_COLOR_NONE));
            free(value);
        }
    json_decref(shown);
    json_decref(reply);
    return EXIT_DONE;
}
