/* The table of options, and the command line read by it. */
#include <stdlib.h>
#include <string.h>

#include "base/daemon.h"
#include "client_int.h"

/* letter: what a command's `options` lists; capital 'C' and 'h' belong to all. */
const struct weir_client_option weir_client_options[] = {
    {'d', "-d", "--detached", NULL, "do not follow the job; print its id", NULL, WEIR_COMPLETE_NONE},
    {'l', NULL, "--local", NULL, "here, without a cluster", NULL, WEIR_COMPLETE_NONE},
    {'p', "-p", "--parallelism", "N", "parallelism of operators that give none", NULL, WEIR_COMPLETE_NONE},
    {'n', NULL, "--name", "NAME", "name of the job", NULL, WEIR_COMPLETE_NONE},
    {'i', NULL, "--cancel-on-interrupt", NULL, "Ctrl-C cancels the job instead of detaching from it", NULL,
     WEIR_COMPLETE_NONE},
    {'a', "-a", "--all", NULL, "ended jobs too", NULL, WEIR_COMPLETE_NONE},
    {'f', "-f", "--follow", NULL, "go on printing what is added", NULL, WEIR_COMPLETE_NONE},
    {'L', NULL, "--live", NULL, "a TaskManager that has lost its JobManager is well, too", NULL, WEIR_COMPLETE_NONE},
    {'t', NULL, "--taskmanagers", "N", "how many TaskManagers (1)", NULL, WEIR_COMPLETE_NONE},
    {'s', NULL, "--slots", "N", "slots of each (taskmanager.numberOfTaskSlots)", NULL, WEIR_COMPLETE_NONE},
    {'k', NULL, "--dir", "DIR", "where the files are (conf/security below $WEIR_HOME)", NULL, WEIR_COMPLETE_FILE},
    {'F', NULL, "--force", NULL, "replace files that are there: who has the old keys is shut out", NULL,
     WEIR_COMPLETE_NONE},
    {'T', NULL, "--template", "NAME", "which template (window)", "window|function", WEIR_COMPLETE_CHOICE},
    {'S', NULL, "--schema", "COLUMNS", "names and types: 'id BIGINT NOT NULL, name STRING'", NULL, WEIR_COMPLETE_NONE},
    {'r', NULL, "--row", "JSON", "the columns' values", NULL, WEIR_COMPLETE_NONE},
    {'P', "-s", "--from-savepoint", "PATH", "begin with this savepoint, or checkpoint of another job", NULL,
     WEIR_COMPLETE_FILE},
    {'A', NULL, "--allow-non-restored-state", NULL, "leave behind state of operators that the job does not have", NULL,
     WEIR_COMPLETE_NONE},
    {'M', NULL, "--claim-mode", "MODE",
     "claim: the savepoint is removed once it is not needed; no_claim (the default): it stays", "claim|no_claim",
     WEIR_COMPLETE_CHOICE},
    {'R', NULL, "--drain", NULL, "let sources end and windows fire first, for a job that is not to go on", NULL,
     WEIR_COMPLETE_NONE},
    {'v', NULL, "--savepoint", "DIR", "where the savepoint is made (execution.checkpointing.savepoint-dir)", NULL,
     WEIR_COMPLETE_FILE},
    {'u', NULL, "--operator", "UID", "an operator's uid, as the job gives it or as state inspect shows it", NULL,
     WEIR_COMPLETE_NONE},
    {'e', NULL, "--state", "NAME", "name of a state of it", NULL, WEIR_COMPLETE_NONE},
    {'q', NULL, "--code", "CODE", "only those with this error code, as MALFORMED", NULL, WEIR_COMPLETE_NONE},
    {'N', NULL, "--limit", "N", "at most so many", NULL, WEIR_COMPLETE_NONE},
    {'w', NULL, "--to", "TARGET", "where to: a directory, or kafka://BROKERS[/TOPIC]", NULL, WEIR_COMPLETE_FILE},
    {'G', NULL, "--again", NULL, "those that were replayed before, too", NULL, WEIR_COMPLETE_NONE},
    {'y', NULL, "--dry-run", NULL, "only say how many it would be", NULL, WEIR_COMPLETE_NONE},
    {'x', NULL, "--property", "NAME=VALUE", "a setting of librdkafka, as security.protocol=SASL_SSL", NULL,
     WEIR_COMPLETE_NONE},
    {'D', "-D", NULL, "KEY=VALUE", "a configuration key, see docs/configuration.md", NULL, WEIR_COMPLETE_PAIR},
    {'c', NULL, "--config", "FILE", "the configuration (else $WEIR_CONF, $WEIR_HOME/conf/weir.yaml, ..)", NULL,
     WEIR_COMPLETE_FILE},
    {'m', "-m", "--jobmanager", "HOST:PORT", "the cluster's REST address (else $WEIR_REST, else that of $WEIR_HOME)",
     NULL, WEIR_COMPLETE_NONE},
    {'o', "-o", "--output", "FORMAT", "json or text (text)", "json|text", WEIR_COMPLETE_CHOICE},
    {'C', NULL, "--no-color", NULL, "no colours (nor with NO_COLOR set; never but on a terminal)", NULL,
     WEIR_COMPLETE_NONE},
    {'h', "-h", "--help", NULL, "explain the command", NULL, WEIR_COMPLETE_NONE},
    {0, NULL, NULL, NULL, NULL, NULL, WEIR_COMPLETE_NONE},
};
#define OPTIONS_MAX 32

/* command NULL: before a command; what most of them take. */
bool weir_command_takes(const struct weir_command *command, const struct weir_client_option *option)
{
    if (option->letter == 'h' || option->letter == 'C')
        return true;
    return strchr(command ? command->options : "moc", option->letter) != NULL;
}

static bool is_name(const char *name, const char *arg, size_t size)
{
    return name && strlen(name) == size && strncmp(name, arg, size) == 0;
}

static const struct weir_client_option *find(const struct weir_command *command, const char *arg, size_t size)
{
    for (const struct weir_client_option *option = weir_client_options; option->letter; option++)
        if ((is_name(option->shorter, arg, size) || is_name(option->longer, arg, size)) &&
            weir_command_takes(command, option))
            return option;
    return NULL;
}

const struct weir_client_option *weir_command_option(const struct weir_command *command, const char *arg,
                                                     const char **value)
{
    bool is_long = strncmp(arg, "--", 2) == 0;
    const char *equals = is_long ? strchr(arg, '=') : NULL;
    const struct weir_client_option *option = find(command, arg, equals ? (size_t)(equals - arg) : strlen(arg));
    *value = option && equals ? equals + 1 : NULL;
    if (!option && !is_long && arg[1] && arg[2]) { /* -Dkey=value, -p4 */
        option = find(command, arg, 2);
        option = option && option->value ? option : NULL;
        *value = option ? arg + 2 : NULL;
    }
    return option;
}

int weir_client_unknown_command(struct weir_client *client, const char *name)
{
    const char *names[OPTIONS_MAX];
    char nearest[160];
    int count = 0;
    for (const struct weir_command *command = weir_commands; command->name && count < OPTIONS_MAX; command++)
        names[count++] = command->name;
    return weir_client_fail(client, EXIT_USAGE, NULL, "unknown command '%.200s'%s; see weir help", name,
                            weir_client_nearest(nearest, name, names, count));
}

static int unknown_option(struct weir_client *client, const char *arg)
{
    const char *names[OPTIONS_MAX];
    char nearest[160];
    int count = 0;
    const char *equals = strchr(arg, '=');
    char *name = weir_strndup(arg, equals ? (size_t)(equals - arg) : strlen(arg));
    for (const struct weir_client_option *option = weir_client_options; option->letter; option++)
        if (weir_command_takes(client->command, option) && option->longer && count < OPTIONS_MAX)
            names[count++] = option->longer;
    int exit_code = weir_client_fail(client, EXIT_USAGE, NULL, "unknown option '%.200s' of weir %s%s; see weir help %s",
                                     arg, client->command->name, weir_client_nearest(nearest, name, names, count),
                                     client->command->name);
    free(name);
    return exit_code;
}

static int parse_count(struct weir_client *client, const char *option, const char *value, int *out)
{
    char *end;
    long count = strtol(value, &end, 10);
    if (*value == 0 || *end != 0 || count < 1 || count > 32768)
        return weir_client_fail(client, EXIT_USAGE, NULL, "%s wants a number from 1 to 32768, not '%.200s'", option,
                                value);
    *out = (int)count;
    return EXIT_DONE;
}

/* `what`: the option and the name of what comes first. */
static int add_pair(struct weir_client *client, struct weir_key_value *pairs, int *count, const char *what,
                    const char *value)
{
    if (*count == WEIR_CLIENT_PAIRS_MAX)
        return weir_client_fail(client, EXIT_USAGE, NULL, "more than %d times %s", WEIR_CLIENT_PAIRS_MAX, what);
    char *pair = weir_strdup(value); /* the pair's, once it is one */
    if (!weir_split_pair(pair, &pairs[*count])) {
        free(pair);
        return weir_client_fail(client, EXIT_USAGE, NULL, "%s=VALUE, not '%.200s'", what, value);
    }
    ++*count;
    return EXIT_DONE;
}

static int apply_value(struct weir_client *client, const struct weir_client_option *option, const char *value)
{
    char nearest[160];
    switch (option->letter) {
    case 'n':
        client->name = value;
        return EXIT_DONE;
    case 'p':
        return parse_count(client, "-p", value, &client->parallelism);
    case 't':
        return parse_count(client, "--taskmanagers", value, &client->taskmanagers);
    case 's':
        return parse_count(client, "--slots", value, &client->slots);
    case 'P':
        client->savepoint = value;
        return EXIT_DONE;
    case 'v':
        client->savepoint_dir = value;
        return EXIT_DONE;
    case 'M':
        client->claim_mode = value;
        if (strcmp(value, "claim") == 0 || strcmp(value, "no_claim") == 0)
            return EXIT_DONE;
        return weir_client_fail(client, EXIT_USAGE, NULL, "--claim-mode knows claim and no_claim, not '%.200s'%s",
                                value, weir_client_nearest_choice(nearest, value, option->choices));
    case 'T':
        client->template = value;
        return EXIT_DONE;
    case 'S':
        client->schema = value;
        return EXIT_DONE;
    case 'u':
        client->operator_uid = value;
        return EXIT_DONE;
    case 'e':
        client->state = value;
        return EXIT_DONE;
    case 'q':
        client->code = value;
        return EXIT_DONE;
    case 'w':
        client->to = value;
        return EXIT_DONE;
    case 'N':
        return parse_count(client, "--limit", value, &client->limit);
    case 'x':
        return add_pair(client, client->properties, &client->property_count, "--property wants NAME", value);
    case 'r':
        client->row = value;
        return EXIT_DONE;
    case 'k':
        client->dir = value;
        return EXIT_DONE;
    case 'c':
        client->config = value;
        return EXIT_DONE;
    case 'm':
        client->rest = value;
        return EXIT_DONE;
    case 'o':
        client->json = strcmp(value, "json") == 0;
        if (client->json || strcmp(value, "text") == 0)
            return EXIT_DONE;
        return weir_client_fail(client, EXIT_USAGE, NULL, "-o knows json and text, not '%.200s'%s", value,
                                weir_client_nearest_choice(nearest, value, option->choices));
    default:
        return add_pair(client, client->pairs, &client->pair_count, "-D wants KEY", value);
    }
}

static void apply_switch(struct weir_client *client, char letter)
{
    client->detached |= letter == 'd';
    client->local |= letter == 'l';
    client->all |= letter == 'a';
    client->follow |= letter == 'f';
    client->live |= letter == 'L';
    client->force |= letter == 'F';
    client->again |= letter == 'G';
    client->dry_run |= letter == 'y';
    client->drain |= letter == 'R';
    client->allow_non_restored |= letter == 'A';
    client->cancel_on_interrupt |= letter == 'i';
    client->no_color |= letter == 'C';
    client->help |= letter == 'h';
}

/* Options may stand anywhere before a job's own arguments ('-' in the command's options: what follows the first argument is not ours). */
int weir_client_parse(struct weir_client *client, int argc, char **argv)
{
    const struct weir_command *command = client->command;
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
        const char *value;
        const struct weir_client_option *option = weir_command_option(command, arg, &value);
        if (!option)
            return unknown_option(client, arg);
        if (value && !option->value)
            return weir_client_fail(client, EXIT_USAGE, NULL, "%s takes no value: '%.200s'", option->longer, arg);
        if (!option->value) {
            apply_switch(client, option->letter);
            continue;
        }
        if (!value)
            value = ++i < argc ? argv[i] : NULL;
        if (!value)
            return weir_client_fail(client, EXIT_USAGE, NULL, "%.200s needs a value (%s)", arg, option->value);
        int exit_code = apply_value(client, option, value);
        if (exit_code != EXIT_DONE)
            return exit_code;
    }
    return EXIT_DONE;
}
