/* Shared by the commands of `weir`. */
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

/* What the command line said, for all commands; each command's table says which options it takes. */
struct weir_client {
    char *rest; /* -m HOST:PORT, or NULL */
    bool json;  /* -o json */
    bool live;  /* --live */
    bool detached, local, all, follow, cancel_on_interrupt, help;
    int parallelism, taskmanagers, slots;
    const char *name;
    struct weir_key_value pairs[WEIR_CLIENT_PAIRS_MAX]; /* -D */
    int pair_count;
    char **arguments; /* what is left */
    int argument_count;
};

struct weir_command {
    const char *name;
    const char *usage;   /* after "weir NAME" */
    const char *options; /* letters and names it takes, see main.c */
    const char *help;
    int arguments_min, arguments_max; /* -1: any number */
    int (*run)(struct weir_client *client);
};
extern const struct weir_command weir_commands[]; /* ends with name NULL */

/* --- REST (rest.c) */
/* The reply's JSON (NULL with exit code != 0 and a message on standard error). `body` may be NULL; it is not freed. */
int weir_client_call(struct weir_client *client, const char *method, const char *path, json_t *body, json_t **reply);
int weir_client_upload(struct weir_client *client, const char *file, json_t **reply);
/* Text of a reply that is not JSON (logs); freed by the caller. */
int weir_client_text(struct weir_client *client, const char *path, char **text);
const char *weir_client_address(struct weir_client *client); /* "http://HOST:PORT" */
/* An id, a unique prefix of one or a unique name -> 32 hex digits. */
int weir_client_find_job(struct weir_client *client, const char *given, char id[33]);
void weir_client_print_json(const json_t *value);
const char *weir_json_text(const json_t *object, const char *key); /* "" when it is not there */
int64_t weir_json_number(const json_t *object, const char *key);

/* --- Others */
void weir_client_print_failure(FILE *to, const char *kind, const char *message, const char *operator,
                               const char * position, const char *stack);
/* Builds the graph in a child process; the bytes are freed by the caller. */
weir_err weir_client_build_graph(const struct weir_local_job *job, const struct weir_config *config, uint8_t **graph,
                                 size_t *graph_size, struct weir_error *error);
/* A daemon's program beside this one, or in PATH; freed by the caller. */
char *weir_client_binary(const char *name);

int weir_command_run(struct weir_client *client);
int weir_command_info(struct weir_client *client);
int weir_command_list(struct weir_client *client);
int weir_command_cancel(struct weir_client *client);
int weir_command_exceptions(struct weir_client *client);
int weir_command_logs(struct weir_client *client);
int weir_command_taskmanagers(struct weir_client *client);
int weir_command_config(struct weir_client *client);
int weir_command_cluster(struct weir_client *client);
int weir_command_health(struct weir_client *client);
int weir_command_help(struct weir_client *client);

#endif
