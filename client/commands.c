/* The table of commands, the command line, help. */
#include "commands.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/daemon.h"
#include "client_int.h"

const struct weir_command weir_commands[] = {
    {"run", "[options] JOB.so [job arguments]", "dlpnDmo-i", "Submit a job and follow it to its end.", 1, -1,
     weir_command_run},
    {"info", "[options] JOB.so [job arguments]", "pnDo-", "Show the plan of a job without running it.", 1, -1,
     weir_command_info},
    {"list", "[-a]", "amo", "List the running jobs; -a: the ended ones too.", 0, 0, weir_command_list},
    {"cancel", "JOB", "mo", "Cancel a job. JOB is an id, a unique prefix of one, or a unique name.", 1, 1,
     weir_command_cancel},
    {"exceptions", "JOB", "mo", "Show what went wrong in a job, newest first.", 1, 1, weir_command_exceptions},
    {"logs", "JOB | taskmanager ID", "mo", "Print the log lines of a job, or the logs of a TaskManager.", 1, 2,
     weir_command_logs},
    {"taskmanagers", "", "mo", "List the TaskManagers and their slots.", 0, 0, weir_command_taskmanagers},
    {"config", "", "mo", "Print the JobManager's configuration.", 0, 0, weir_command_config},
    {"cluster", "start|stop|status [options]", "tsDo", "Start, stop or look at a cluster on this host.", 1, 1,
     weir_command_cluster},
    {"health", "[--live] [NAME]", "Lo",
     "Ask the daemons of $WEIR_HOME whether they can do their work; --live: whether they answer. For probes.", 0, 1,
     weir_command_health},
    {"help", "[COMMAND]", "", "Explain a command.", 0, 1, weir_command_help},
    {NULL, NULL, NULL, NULL, 0, 0, NULL},
};

/* letter: what a command's `options` lists. */
static const struct option_row {
    char letter;
    const char *shorter, *longer, *value, *help;
} option_rows[] = {
    {'d', "-d", "--detached", NULL, "do not follow the job; print its id"},
    {'l', NULL, "--local", NULL, "run in this process, without a cluster"},
    {'p', "-p", "--parallelism", "N", "parallelism of operators that give none"},
    {'n', NULL, "--name", "NAME", "name of the job"},
    {'D', "-D", NULL, "KEY=VALUE", "a configuration key, see docs/configuration.md"},
    {'i', NULL, "--cancel-on-interrupt", NULL, "Ctrl-C cancels the job instead of detaching from it"},
    {'a', "-a", "--all", NULL, "ended jobs too"},
    {'L', NULL, "--live", NULL, "a TaskManager that has lost its JobManager is well, too"},
    {'t', NULL, "--taskmanagers", "N", "how many TaskManagers (1)"},
    {'s', NULL, "--slots", "N", "slots of each (1)"},
    {'m', "-m", "--jobmanager", "HOST:PORT",
     "the cluster's REST address (else $WEIR_REST, else the cluster under $WEIR_HOME)"},
    {'o', "-o", "--output", "json", "print JSON"},
    {'h', "-h", "--help", NULL, "explain the command"},
};
#define OPTION_ROWS ((int)(sizeof option_rows / sizeof option_rows[0]))

static const struct weir_command *find_command(const char *name)
{
    for (const struct weir_command *command = weir_commands; command->name; command++)
        if (strcmp(command->name, name) == 0)
            return command;
    return NULL;
}

static int unknown_command(const char *name)
{
    const char *names[32];
    int count = 0;
    for (const struct weir_command *command = weir_commands; command->name; command++)
        names[count++] = command->name;
    const char *nearest = weir_nearest(name, names, count);
    fprintf(stderr, "weir: unknown command '%s'%s%s%s; see weir help\n", name, nearest ? "; do you mean '" : "",
            nearest ? nearest : "", nearest ? "'?" : "");
    return EXIT_USAGE;
}

static void print_command_help(const struct weir_command *command)
{
    printf("usage: weir %s %s\n\n%s\n", command->name, command->usage, command->help);
    for (int i = 0; i < OPTION_ROWS; i++) {
        const struct option_row *row = &option_rows[i];
        if (!strchr(command->options, row->letter))
            continue;
        char left[64];
        snprintf(left, sizeof left, "%s%s%s%s%s", row->shorter ? row->shorter : "",
                 row->shorter && row->longer ? ", " : "", row->longer ? row->longer : "", row->value ? " " : "",
                 row->value ? row->value : "");
        printf("  %-28s %s\n", left, row->help);
    }
}

static void print_help(void)
{
    printf("weir %s, a distributed stream processor\n\nusage: weir COMMAND [options]\n\n", WEIR_VERSION);
    for (const struct weir_command *command = weir_commands; command->name; command++)
        printf("  %-13s %s\n", command->name, command->help);
    printf("\nweir help COMMAND explains one; docs/ the rest.\n"
           "Exit codes: 0 done, 1 the job or request failed, 2 usage, 3 cluster not reachable, 4 not found.\n");
}

int weir_command_help(struct weir_client *client)
{
    if (client->argument_count == 0) {
        print_help();
        return EXIT_DONE;
    }
    const struct weir_command *command = find_command(client->arguments[0]);
    if (!command)
        return unknown_command(client->arguments[0]);
    print_command_help(command);
    return EXIT_DONE;
}

/* --- Parsing */

static const struct option_row *find_option(const struct weir_command *command, const char *arg, size_t size)
{
    for (int i = 0; i < OPTION_ROWS; i++) {
        const struct option_row *row = &option_rows[i];
        bool fits = (row->shorter && strlen(row->shorter) == size && strncmp(row->shorter, arg, size) == 0) ||
                    (row->longer && strlen(row->longer) == size && strncmp(row->longer, arg, size) == 0);
        if (fits && (row->letter == 'h' || strchr(command->options, row->letter)))
            return row;
    }
    return NULL;
}

static int unknown_option(const struct weir_command *command, const char *arg)
{
    const char *names[2 * OPTION_ROWS];
    int count = 0;
    for (int i = 0; i < OPTION_ROWS; i++)
        if (strchr(command->options, option_rows[i].letter) && option_rows[i].longer)
            names[count++] = option_rows[i].longer;
    const char *nearest = weir_nearest(arg, names, count);
    fprintf(stderr, "weir: unknown option '%s' of weir %s%s%s%s; see weir help %s\n", arg, command->name,
            nearest ? "; do you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "", command->name);
    return EXIT_USAGE;
}

static int parse_count(const char *option, const char *value, int *out)
{
    char *end;
    long count = strtol(value, &end, 10);
    if (*value == 0 || *end != 0 || count < 1 || count > 32768) {
        fprintf(stderr, "weir: %s wants a number from 1 to 32768, not '%s'\n", option, value);
        return EXIT_USAGE;
    }
    *out = (int)count;
    return EXIT_DONE;
}

static int apply(struct weir_client *client, const struct option_row *row, const char *value)
{
    switch (row->letter) {
    case 'd':
        client->detached = true;
        break;
    case 'l':
        client->local = true;
        break;
    case 'a':
        client->all = true;
        break;
    case 'L':
        client->live = true;
        break;
    case 'i':
        client->cancel_on_interrupt = true;
        break;
    case 'h':
        client->help = true;
        break;
    case 'n':
        client->name = value;
        break;
    case 'p':
        return parse_count("-p", value, &client->parallelism);
    case 't':
        return parse_count("--taskmanagers", value, &client->taskmanagers);
    case 's':
        return parse_count("--slots", value, &client->slots);
    case 'm':
        free(client->rest);
        client->rest = strncmp(value, "http", 4) == 0 ? weir_strdup(value) : weir_format("http://%s", value);
        break;
    case 'o':
        if (strcmp(value, "json") != 0) {
            fprintf(stderr, "weir: -o knows json only, not '%s'\n", value);
            return EXIT_USAGE;
        }
        client->json = true;
        break;
    case 'D': {
        if (client->pair_count == WEIR_CLIENT_PAIRS_MAX) {
            fprintf(stderr, "weir: more than %d -D\n", WEIR_CLIENT_PAIRS_MAX);
            return EXIT_USAGE;
        }
        char *pair = weir_strdup(value); /* the pair's, once it is one */
        if (!weir_split_pair(pair, &client->pairs[client->pair_count])) {
            free(pair);
            fprintf(stderr, "weir: -D wants KEY=VALUE, not '%s'\n", value);
            return EXIT_USAGE;
        }
        client->pair_count++;
        break;
    }
    default:
        break;
    }
    return EXIT_DONE;
}

/* Options may stand anywhere before a job's own arguments ('-' in the command's options: what follows the first argument is not ours). */
static int parse(struct weir_client *client, const struct weir_command *command, int argc, char **argv)
{
    client->arguments = weir_zalloc(((size_t)argc + 1) * sizeof *client->arguments);
    bool keep_rest = strchr(command->options, '-') != NULL, plain = false;
    for (int i = 0; i < argc; i++) {
        char *arg = argv[i];
        if (plain || arg[0] != '-' || arg[1] == 0) {
            client->arguments[client->argument_count++] = arg;
            plain = plain || keep_rest;
            continue;
        }
        if (strcmp(arg, "--") == 0) {
            plain = true;
            continue;
        }
        const char *value = strncmp(arg, "--", 2) == 0 ? strchr(arg, '=') : NULL;
        const struct option_row *row = find_option(command, arg, value ? (size_t)(value - arg) : strlen(arg));
        if (!row && arg[1] && arg[2] && arg[1] != '-') { /* -Dkey=value, -p4 */
            row = find_option(command, arg, 2);
            value = row && row->value ? arg + 1 : NULL;
        }
        if (!row)
            return unknown_option(command, arg);
        if (value)
            value++;
        else if (row->value)
            value = ++i < argc ? argv[i] : NULL;
        if (row->value && !value) {
            fprintf(stderr, "weir: %s needs a value (%s)\n", arg, row->value);
            return EXIT_USAGE;
        }
        int exit_code = apply(client, row, value);
        if (exit_code != EXIT_DONE)
            return exit_code;
    }
    return EXIT_DONE;
}

static void free_client(struct weir_client *client)
{
    for (int i = 0; i < client->pair_count; i++)
        free((char *)client->pairs[i].key);
    free(client->arguments);
    free(client->rest);
}

char *weir_client_binary(const char *name)
{
    char self[4096];
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    if (size > 0) {
        self[size] = 0;
        char *slash = strrchr(self, '/');
        if (slash) {
            *slash = 0;
            char *path = weir_format("%s/%s", self, name);
            if (access(path, X_OK) == 0)
                return path;
            free(path);
        }
    }
    return weir_strdup(name);
}

int weir_client_main(int argc, char **argv)
{
    if (argc < 2) {
        print_help();
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("weir %s\n", WEIR_VERSION);
        return EXIT_DONE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help();
        return EXIT_DONE;
    }
    const struct weir_command *command = find_command(argv[1]);
    if (!command)
        return unknown_command(argv[1]);
    struct weir_client client = {.taskmanagers = 1, .slots = 1};
    int exit_code = parse(&client, command, argc - 2, argv + 2);
    if (exit_code == EXIT_DONE && client.help) {
        print_command_help(command);
    } else if (exit_code == EXIT_DONE &&
               (client.argument_count < command->arguments_min ||
                (command->arguments_max >= 0 && client.argument_count > command->arguments_max))) {
        fprintf(stderr, "weir: usage: weir %s %s\n", command->name, command->usage);
        exit_code = EXIT_USAGE;
    } else if (exit_code == EXIT_DONE) {
        exit_code = command->run(&client);
    }
    free_client(&client);
    return exit_code;
}
