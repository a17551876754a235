/* Shared by the commands of `weir`.
 *
 * What a command prints goes to standard output; everything else (errors, notes, progress) to standard error. With `-o json` standard
 * output has JSON alone, and an error is one line {"error": {..}} on standard error. */
#ifndef WEIR_CLIENT_CLIENT_INT_H
#define WEIR_CLIENT_CLIENT_INT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/config.h"
#include "client/local.h"

/* Exit codes, see interfaces: users' scripts rely on them. */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_UNREACHABLE = 3, EXIT_NOT_FOUND = 4 };

#define WEIR_CLIENT_PAIRS_MAX 64

/* What the command line said, for all commands; each command's row says which options it takes. */
struct weir_client {
    const struct weir_command *command;
    const char *rest;   /* -m as given, or NULL */
    char *address;      /* "http://HOST:PORT", once it is known */
    char *address_from; /* where that is from: "-m", "WEIR_REST", .. */
    const char *config; /* --config, or NULL */
    bool json;          /* -o json */
    bool color[3];      /* [1], [2]: may standard output, standard error have colours */
    bool no_color;      /* --no-color */
    bool completing;    /* errors are not shown, waits are short */
    bool said;          /* an error was shown */
    bool detached, local, all, follow, live, cancel_on_interrupt, help;
    int parallelism, taskmanagers, slots; /* 0: not given */
    const char *name, *template, *schema, *row, *dir;
    const char *operator_uid, *state;
    const char *code, *to; /* of dead letters */
    bool again, dry_run;
    int limit;                                               /* 0: not given */
    struct weir_key_value properties[WEIR_CLIENT_PAIRS_MAX]; /* --property */
    int property_count;
    bool force;
    bool drain, allow_non_restored;
    const char *savepoint, *savepoint_dir, *claim_mode;
    char *token;       /* for REST, once it was looked for; NULL: none */
    char *token_wrong; /* why there is none; NULL: nobody gave one */
    bool token_known;
    bool https;                                         /* security.ssl.rest.enabled, with token_known */
    char *ca_file;                                      /* security.ssl.rest.ca-file */
    struct weir_key_value pairs[WEIR_CLIENT_PAIRS_MAX]; /* -D */
    int pair_count;
    char **arguments; /* what is left */
    int argument_count;
};

/* What a positional argument is, for completion. */
enum weir_complete {
    WEIR_COMPLETE_NONE,
    WEIR_COMPLETE_FILE,
    WEIR_COMPLETE_JOB,
    WEIR_COMPLETE_JOB_RUNNING,
    WEIR_COMPLETE_TASKMANAGER,
    WEIR_COMPLETE_KEY,
    WEIR_COMPLETE_PAIR, /* KEY=VALUE */
    WEIR_COMPLETE_COMMAND,
    WEIR_COMPLETE_CHOICE, /* of the row's `choices` */
};

struct weir_command {
    const char *name;
    const char *usage; /* after "weir NAME" */
    const char
        *options;     /* letters it takes, see weir_client_options; '-': what follows the first argument is not ours */
    const char *help; /* one line */
    const char *more; /* paragraphs and examples; NULL: none */
    const char *choices; /* what the first argument may be, "a|b|c"; NULL: anything */
    enum weir_complete first, rest;
    int arguments_min, arguments_max; /* -1: any number */
    int (*run)(struct weir_client *client);
};
extern const struct weir_command weir_commands[]; /* ends with name NULL */
const struct weir_command *weir_command_find(const char *name);

struct weir_client_option {
    char letter;
    const char *shorter, *longer, *value, *help;
    const char *choices; /* of the value */
    enum weir_complete complete;
};
extern const struct weir_client_option weir_client_options[]; /* ends with letter 0 */

/* --- Command line (options.c) */
bool weir_command_takes(const struct weir_command *command, const struct weir_client_option *option);
/* The option that `arg` names ("-p", "--name", "--name=x", "-p4") among those of a command; *value: the part behind it, or NULL. */
const struct weir_client_option *weir_command_option(const struct weir_command *command, const char *arg,
                                                     const char **value);
/* Fills the client; EXIT_DONE or EXIT_USAGE (said). */
int weir_client_parse(struct weir_client *client, int argc, char **argv);
int weir_client_unknown_command(struct weir_client *client, const char *name);

/* --- Output (output.c) */
/* Says what went wrong and returns the exit code. `hint`: a second sentence, or NULL. */
int weir_client_fail(struct weir_client *client, int exit_code, const char *hint, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* "; do you mean 'x'?" or "": the nearest of `names`. */
const char *weir_client_nearest(char out[160], const char *given, const char *const *names, int count);
/* The same among "a|b|c". */
const char *weir_client_nearest_choice(char out[160], const char *given, const char *choices);
void weir_client_note(const struct weir_client *client, const char *format, ...) __attribute__((format(printf, 2, 3)));
void weir_client_print_json(const json_t *value);                  /* with indentation */
void weir_client_print_json_line(const json_t *value);             /* in one line */
const char *weir_json_text(const json_t *object, const char *key); /* "" when it is not there */
int64_t weir_json_number(const json_t *object, const char *key);
/* A json string; bytes that are not UTF-8 become '?'. */
json_t *weir_client_string(const char *text);

enum weir_color { WEIR_COLOR_NONE, WEIR_COLOR_GOOD, WEIR_COLOR_WARN, WEIR_COLOR_BAD, WEIR_COLOR_DIM, WEIR_COLOR_HEAD };
/* The escape sequence for descriptor 1 or 2; "" where colours are not wanted. WEIR_COLOR_NONE ends a colour. */
const char *weir_client_color(const struct weir_client *client, int fd, enum weir_color color);
enum weir_color weir_client_state_color(const char *state); /* of a job or task */
int weir_client_width(int fd);                              /* columns of the terminal; 0: it is none */
/* Text from elsewhere without control characters; freed by the caller. */
char *weir_client_clean(const char *text);

/* A table with aligned columns; on a terminal its last column is cut at the edge. */
#define WEIR_TABLE_COLUMNS_MAX 12
struct weir_table {
    const char *titles[WEIR_TABLE_COLUMNS_MAX]; /* one that begins with '>' is set right */
    int column_count;
    struct weir_table_cell {
        char *text;
        enum weir_color color;
    } * cells;
    int cell_count, cell_capacity;
};
void weir_table_init(struct weir_table *table, const char *const *titles); /* ends with NULL */
void weir_table_add(struct weir_table *table, enum weir_color color, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void weir_table_print(struct weir_client *client, struct weir_table *table); /* and fini */

#define WEIR_TEXT_SIZE 48
const char *weir_text_time(char out[WEIR_TEXT_SIZE], int64_t ms); /* "2026-01-02 03:04:05", UTC; "-" below 0 */
const char *weir_text_duration(char out[WEIR_TEXT_SIZE],
                               int64_t ms); /* "850 ms", "12.3 s", "4 min 05 s", "3 h 02 min" */
const char *weir_text_bytes(char out[WEIR_TEXT_SIZE], int64_t bytes); /* "1.4 MB" */
const char *weir_text_rate(char out[WEIR_TEXT_SIZE], double per_s);   /* "12.3 k/s" */
const char *weir_text_count(char out[WEIR_TEXT_SIZE], int64_t count); /* "1,234,567" */

/* --- Progress of a job that is followed (progress.c) */
struct weir_progress {
    const struct weir_client *client;
    bool live;  /* standard error is a terminal that can move its cursor */
    bool shown; /* the line is there */
    int64_t last_ms, last_in, last_out;
    double in_per_s, out_per_s;
};
struct weir_progress_state {
    const char *state;
    int tasks_running, task_count;
    int64_t duration_ms, records_in, records_out, records_bad, records_late, restarts;
    int64_t watermark_ms; /* INT64_MIN: none */
};
void weir_progress_init(struct weir_progress *progress, const struct weir_client *client, bool wanted);
void weir_progress_show(struct weir_progress *progress, const struct weir_progress_state *state);
void weir_progress_clear(struct weir_progress *progress); /* before anything else is written */
/* From GET /jobs/:id; state->state borrows from `job`. */
void weir_progress_from_json(const json_t *job, struct weir_progress_state *state);

/* --- REST (rest.c) */
/* The reply's JSON (NULL with exit code != 0, said). `body` may be NULL; it is not freed. */
int weir_client_call(struct weir_client *client, const char *method, const char *path, json_t *body, json_t **reply);
int weir_client_upload(struct weir_client *client, const char *file, json_t **reply);
/* Text of a reply that is not JSON (logs); freed by the caller. */
int weir_client_text(struct weir_client *client, const char *path, char **text, size_t *size);
/* "http://HOST:PORT"; NULL: what was given is none (said). */
const char *weir_client_address(struct weir_client *client);
/* Where a JobManager of this host answers: of the "rest_address" of its file below run/. Freed by the caller. */
char *weir_client_host_address(const json_t *jobmanager_file);
/* An id, a unique prefix of one or a unique name -> 32 hex digits. */
int weir_client_find_job(struct weir_client *client, const char *given, char id[33]);
/* An id, or a unique prefix of one, of a TaskManager; freed by the caller. */
int weir_client_find_taskmanager(struct weir_client *client, const char *given, char **id);

/* --- Others */
/* -D, environment, file, default; EXIT_DONE or EXIT_USAGE (said). `file`: of the configuration; NULL: as always. */
int weir_client_config(struct weir_client *client, const char *file, struct weir_config **config);
/* Builds the graph in a child process; the bytes are freed by the caller. */
weir_err weir_client_build_graph(const struct weir_local_job *job, const struct weir_config *config, uint8_t **graph,
                                 size_t *graph_size, struct weir_error *error);
/* A daemon's program beside this one, or in PATH; freed by the caller. */
char *weir_client_binary(const char *name);

int weir_command_run(struct weir_client *client);
int weir_command_info(struct weir_client *client);
int weir_command_list(struct weir_client *client);
int weir_command_cancel(struct weir_client *client);
int weir_command_checkpoint(struct weir_client *client);
int weir_command_savepoint(struct weir_client *client);
int weir_command_stop(struct weir_client *client);
int weir_command_rescale(struct weir_client *client);
/* A place as the JobManager is to know it: a relative path becomes an absolute one. Freed by the caller. */
char *weir_client_place(const char *given);
int weir_command_exceptions(struct weir_client *client);
int weir_command_metrics(struct weir_client *client);
int weir_command_logs(struct weir_client *client);
int weir_command_taskmanagers(struct weir_client *client);
int weir_command_config(struct weir_client *client);
int weir_command_cluster(struct weir_client *client);
int weir_command_health(struct weir_client *client);
int weir_command_security(struct weir_client *client);
int weir_command_eval(struct weir_client *client);
int weir_command_state(struct weir_client *client);
int weir_command_dlq(struct weir_client *client);
int weir_command_new(struct weir_client *client);
int weir_command_fault(struct weir_client *client);
int weir_command_completion(struct weir_client *client);
/* `weir __complete WORD..`: candidates for the last word, one a line; what the scripts of `weir completion` call. */
int weir_client_complete(int argc, char **argv);

#endif
