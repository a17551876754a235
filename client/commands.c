/* The table of commands, help, and what happens around a command: descriptors, colours, the check that its output arrived. Completion
 * (complete.c) and docs/cli.md are made from the tables here and in options.c. */
#include "commands.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/daemon.h"
#include "base/log.h"
#include "base/secret.h"
#include "client_int.h"

#define JOB_WORDS "JOB is an id, a unique beginning of one, or a unique name."

static int command_help(struct weir_client *client);

const struct weir_command weir_commands[] = {
    {"run", "[options] JOB.so [job arguments]", "dlpncDPAMimo-", "Submit a job and follow it to its end.",
     "While it is followed on a terminal, one line shows its state, tasks, records and rates. Ctrl-C stops following: the\n"
     "job goes on. With --local the job runs in this process, and Ctrl-C cancels it.\n"
     "weir run JOB.so --help lists the job's own arguments. PATH is a savepoint's directory, or that of a checkpoint.\n\n"
     "  weir run --local job.so --input readings.json\n"
     "  weir run -d -p 4 --name readings -D restart-strategy.type=none job.so --input readings.json\n",
     NULL, WEIR_COMPLETE_FILE, WEIR_COMPLETE_FILE, 1, -1, weir_command_run},
    {"info", "[options] JOB.so [job arguments]", "pncDo-", "Show the plan of a job without running it.", NULL, NULL,
     WEIR_COMPLETE_FILE, WEIR_COMPLETE_FILE, 1, -1, weir_command_info},
    {"new", "[--template NAME] DIRECTORY", "To", "Make a job that builds and runs: source, Makefile, test, sample.",
     "The directory is made; its last part is the job's name: letters, digits, - and _, beginning with a letter.\n"
     "Templates: window (the default: counts and means of JSON records over time), function (a C function per record),\n"
     "state (one that remembers, with timers).\n\n"
     "  weir new readings && cd readings && make && make test\n",
     NULL, WEIR_COMPLETE_NONE, WEIR_COMPLETE_NONE, 1, 1, weir_command_new},
    {"list", "[-a]", "amo", "List the running jobs; -a: the ended ones too.", NULL, NULL, WEIR_COMPLETE_NONE,
     WEIR_COMPLETE_NONE, 0, 0, weir_command_list},
    {"cancel", "JOB", "mo", "Cancel a job.", JOB_WORDS "\n", NULL, WEIR_COMPLETE_JOB_RUNNING, WEIR_COMPLETE_NONE, 1, 1,
     weir_command_cancel},
    {"checkpoint", "JOB", "mo", "Have a checkpoint made now; print its number, place, duration and size.",
     JOB_WORDS
     " One that makes none by itself (execution.checkpointing.interval) makes\nthis one, and goes back to it after a failure.\n",
     NULL, WEIR_COMPLETE_JOB_RUNNING, WEIR_COMPLETE_NONE, 1, 1, weir_command_checkpoint},
    {"savepoint", "JOB [DIR]", "mo", "Make a savepoint; print where it is. The job goes on.",
     JOB_WORDS
     " DIR is a directory that the JobManager can write to, or\ns3://BUCKET/PREFIX; without one it is execution.checkpointing.savepoint-dir. "
     "A savepoint is a\ndirectory of its own, can be moved, and stays until somebody removes it.\n\n"
     "  weir savepoint readings /var/lib/weir/savepoints\n"
     "  weir run -s /var/lib/weir/savepoints/savepoint-4f0a11-5d1c8e9a7b20 -p 8 readings.so\n",
     NULL, WEIR_COMPLETE_JOB_RUNNING, WEIR_COMPLETE_FILE, 1, 2, weir_command_savepoint},
    {"stop", "[--drain] [--savepoint DIR] JOB", "Rvmo",
     "Stop a job with a savepoint; print where it is. Nothing after the savepoint is output.",
     JOB_WORDS " The job is FINISHED afterwards, and weir run -s begins\nwhere it ended. "
               "With --drain its sources end first, and its windows fire as at the end of a bounded input.\n\n"
               "  weir stop --savepoint /var/lib/weir/savepoints readings\n",
     NULL, WEIR_COMPLETE_JOB_RUNNING, WEIR_COMPLETE_NONE, 1, 1, weir_command_stop},
    {"rescale", "JOB --parallelism N", "pmo",
     "Give a running job another parallelism: a checkpoint, and it goes on from it.",
     JOB_WORDS
     " Operators that set their own parallelism keep it. N is at\nmost the job's max parallelism, which is fixed.\n\n"
     "  weir rescale readings --parallelism 4\n",
     NULL, WEIR_COMPLETE_JOB_RUNNING, WEIR_COMPLETE_NONE, 1, 1, weir_command_rescale},
    {"exceptions", "JOB", "mo", "Show what went wrong in a job, newest first.", JOB_WORDS "\n", NULL, WEIR_COMPLETE_JOB,
     WEIR_COMPLETE_NONE, 1, 1, weir_command_exceptions},
    {"metrics", "JOB", "mo", "Show the records, rates, load and watermarks of a job's tasks.",
     JOB_WORDS
     " Rates are those of one second between two looks\nwhile the job runs, and the whole job's afterwards.\n",
     NULL, WEIR_COMPLETE_JOB, WEIR_COMPLETE_NONE, 1, 1, weir_command_metrics},
    {"logs", "[-f] JOB | taskmanager ID", "fmo", "Print the log lines of a job, or the logs of a TaskManager.",
     JOB_WORDS
     " ID is an id of weir taskmanagers, or a unique\nbeginning of one. -f goes on until the job has ended, or until Ctrl-C.\n",
     NULL, WEIR_COMPLETE_JOB, WEIR_COMPLETE_TASKMANAGER, 1, 2, weir_command_logs},
    {"taskmanagers", "", "mo", "List the TaskManagers and their slots.", NULL, NULL, WEIR_COMPLETE_NONE,
     WEIR_COMPLETE_NONE, 0, 0, weir_command_taskmanagers},
    {"config", "[--local] [KEY..]", "lcDmo", "Print the configuration in effect, and where each value is from.",
     "Of the cluster's JobManager; with --local (or -D, --config) what a process started here would have.\n"
     "A value is from -D, the environment, a line of a file, or the default. KEY is a key or a beginning of keys.\n\n"
     "  weir config rest.\n"
     "  weir config --local -D parallelism.default=4 parallelism.default\n",
     NULL, WEIR_COMPLETE_KEY, WEIR_COMPLETE_KEY, 0, -1, weir_command_config},
    {"cluster", "start|stop|status [options]", "tscDmo", "Start, stop or look at a cluster on this host.",
     "It belongs to $WEIR_HOME (default ~/.weir): its logs, its files, and its addresses, which the other commands find\n"
     "there. Ports that another program has are replaced by free ones, unless they were configured.\n\n"
     "  weir cluster start --taskmanagers 2 --slots 4 -D rest.port=8081\n",
     "start|stop|status", WEIR_COMPLETE_CHOICE, WEIR_COMPLETE_NONE, 1, 1, weir_command_cluster},
    {"health", "[--live] [NAME]", "Lo", "Ask the daemons of $WEIR_HOME whether they can do their work. For probes.",
     "With --live: whether they answer; a TaskManager that has lost its JobManager is well, too.\n"
     "NAME is that of a daemon, as in $WEIR_HOME/run: jobmanager, taskmanager-1.\n",
     NULL, WEIR_COMPLETE_NONE, WEIR_COMPLETE_NONE, 0, 1, weir_command_health},
    {"security", "init|add [NAME] [options]", "kFo", "Make the keys and tokens of a cluster that spans hosts.",
     "init makes CURVE keys for the JobManager and the TaskManagers and tokens for REST, in files that only their owner reads,\n"
     "and prints the lines for weir.yaml and which file belongs on which host. add NAME makes a key for one more\n"
     "TaskManager and lets it in; taking its line out of taskmanagers.pub shuts it out.\n\n"
     "  weir security init\n"
     "  weir security add rack-7\n",
     "init|add", WEIR_COMPLETE_CHOICE, WEIR_COMPLETE_NONE, 1, 2, weir_command_security},
    {"eval", "[--schema COLUMNS] [--row JSON] [EXPRESSION..]", "SrDco",
     "Evaluate SQL expressions and print type and value.",
     "Without an EXPRESSION, each line of standard input is one. A result is a line: the type, a tab, the value as SQL casts\n"
     "it to a string, NULL for null; newline, tab and backslash are \\n \\t \\\\. One that fails is \"error\", a tab, and why, and\n"
     "the exit code is 1. COLUMNS are written as in CREATE TABLE. The row is an object of names and values, or an array\n"
     "of values in the columns' order; dates, times, timestamps and decimals are strings, bytes \"0x..\", a map\n"
     "{\"$map\": [[key, value], ..]}, a row an array. -D table.local-time-zone=ZONE is the zone of the session.\n"
     "Without --schema the types follow from the values: INT or BIGINT, DOUBLE, BOOLEAN, STRING; or the row is an array of\n"
     "{\"name\": .., \"type\": .., \"value\": ..}.\n\n"
     "  weir eval \"UPPER('weir')\" '1 + 2 * 3'\n"
     "  weir eval --schema 'id BIGINT NOT NULL, t TIMESTAMP(3)' --row '[7, \"2026-01-02 03:04:05\"]' 'EXTRACT(YEAR FROM t) + id'\n",
     NULL, WEIR_COMPLETE_NONE, WEIR_COMPLETE_NONE, 0, -1, weir_command_eval},
    {"state", "inspect|read PATH [--operator UID --state NAME]", "ueDco", "Show what a checkpoint or savepoint holds.",
     "inspect prints the operators, their states with kind and size, and where sources were. read prints the entries of one\n"
     "state as JSON, a line each. PATH is the directory of a checkpoint or savepoint, or its metadata file: a path, file:PATH\n"
     "or s3://BUCKET/PREFIX (with -D s3.endpoint=.. and so on, as in the cluster's configuration). No cluster is asked, and\n"
     "nothing is written. What is damaged is an error, CHECKPOINT_CORRUPT, and exit code 1.\n\n"
     "  weir state inspect ~/.weir/data/checkpoints/jobs/ID/chk-42\n"
     "  weir state read s3://bucket/savepoint-1 --operator windows --state windows\n",
     "inspect|read", WEIR_COMPLETE_CHOICE, WEIR_COMPLETE_FILE, 2, 2, weir_command_state},
    {"dlq", "list|show|replay PLACE [options]", "qNwGyxDco", "Look at dead letters, and submit them again.",
     "PLACE is where a source's dead-letter.path or dead-letter.topic is: a directory, s3://BUCKET/PREFIX (with -D\n"
     "s3.endpoint=.. and so on), or kafka://BROKERS/TOPIC (with --property for what the brokers demand). list counts them by\n"
     "job and code; show prints them as JSON, a line each. replay writes the records again as they were, with their keys and\n"
     "headers: to the topic and partition that each is from, at the dead letters' own brokers or those of --to, or to the topic of\n"
     "--to; or as lines of a new file in the directory --to. Each once: what was replayed is remembered in PLACE, also when a\n"
     "replay is cut short.\n\n"
     "  weir dlq list kafka://broker:9092/readings-dead\n"
     "  weir dlq show /var/lib/readings/bad --code MALFORMED --limit 10\n"
     "  weir dlq replay kafka://broker:9092/readings-dead --dry-run\n",
     "list|show|replay", WEIR_COMPLETE_CHOICE, WEIR_COMPLETE_FILE, 2, 2, weir_command_dlq},
    {"fault", "list | reset | arm POINT[:NTH] ACTION", "amo",
     "For tests: make a process die, stop, fail or be slow at a point.",
     "A cluster with testing.fault-points=true counts how often it passes named points; an armed one acts once, on its NTH\n"
     "pass from now (1), in whichever process that is. ACTION: kill (SIGKILL), stop (SIGSTOP), error, delay=MS.\n"
     "list prints the points that were passed or are armed, with -a all there are; reset disarms them and sets their\n"
     "counts to 0.\n\n"
     "  weir fault arm executor.object-put-begun:3 kill\n"
     "  weir fault list -a\n",
     "list|reset|arm", WEIR_COMPLETE_CHOICE, WEIR_COMPLETE_NONE, 1, 3, weir_command_fault},
    {"completion", "bash|zsh|fish", "", "Print the completion script of a shell.",
     "  source <(weir completion bash)                                  # now; or for every shell:\n"
     "  weir completion bash > ~/.local/share/bash-completion/completions/weir\n"
     "  weir completion zsh > \"${fpath[1]}/_weir\"\n"
     "  weir completion fish > ~/.config/fish/completions/weir.fish\n",
     "bash|zsh|fish", WEIR_COMPLETE_CHOICE, WEIR_COMPLETE_NONE, 1, 1, weir_command_completion},
    {"help", "[COMMAND]", "o", "Explain a command.", NULL, NULL, WEIR_COMPLETE_COMMAND, WEIR_COMPLETE_NONE, 0, 1,
     command_help},
    {NULL, NULL, NULL, NULL, NULL, NULL, WEIR_COMPLETE_NONE, WEIR_COMPLETE_NONE, 0, 0, NULL},
};

const struct weir_command *weir_command_find(const char *name)
{
    for (const struct weir_command *command = weir_commands; command->name; command++)
        if (strcmp(command->name, name) == 0)
            return command;
    return NULL;
}

/* --- Help */

static void option_text(const struct weir_client_option *option, char out[64])
{
    snprintf(out, 64, "%s%s%s%s%s", option->shorter ? option->shorter : "",
             option->shorter && option->longer ? ", " : "", option->longer ? option->longer : "",
             option->value ? " " : "", option->value ? option->value : "");
}

static void print_command_help(const struct weir_command *command)
{
    printf("usage: weir %s%s%s\n\n%s\n", command->name, *command->usage ? " " : "", command->usage, command->help);
    if (command->more)
        printf("\n%s", command->more);
    printf("\nOptions:\n");
    for (const struct weir_client_option *option = weir_client_options; option->letter; option++) {
        char left[64];
        if (!weir_command_takes(command, option))
            continue;
        option_text(option, left);
        printf("  %-30s %s\n", left, option->help);
    }
}

static void print_help(void)
{
    printf("weir %s, a distributed stream processor\n\nusage: weir COMMAND [options]\n\n", WEIR_VERSION);
    for (const struct weir_command *command = weir_commands; command->name; command++)
        printf("  %-13s %s\n", command->name, command->help);
    printf("\nweir help COMMAND explains one; docs/cli.md has them all. weir --version prints the version.\n"
           "Exit codes: 0 done, 1 the job or request failed, 2 usage, 3 cluster not reachable, 4 not found.\n");
}

static json_t *command_json(const struct weir_command *command)
{
    json_t *options = json_array();
    for (const struct weir_client_option *option = weir_client_options; option->letter; option++)
        if (weir_command_takes(command, option))
            json_array_append_new(options, json_pack("{s:s?, s:s?, s:s?, s:s}", "short", option->shorter, "long",
                                                     option->longer, "value", option->value, "help", option->help));
    return json_pack("{s:s, s:s, s:s, s:o}", "name", command->name, "usage", command->usage, "help", command->help,
                     "options", options);
}

static int print_help_json(const struct weir_command *only)
{
    json_t *list = json_array();
    for (const struct weir_command *command = weir_commands; command->name; command++)
        if (!only || command == only)
            json_array_append_new(list, command_json(command));
    json_t *help = json_pack("{s:s, s:o}", "version", WEIR_VERSION, "commands", list);
    weir_client_print_json(help);
    json_decref(help);
    return EXIT_DONE;
}

static int command_help(struct weir_client *client)
{
    const struct weir_command *command = NULL;
    if (client->argument_count > 0 && !(command = weir_command_find(client->arguments[0])))
        return weir_client_unknown_command(client, client->arguments[0]);
    if (client->json)
        return print_help_json(command);
    if (command)
        print_command_help(command);
    else
        print_help();
    return EXIT_DONE;
}

/* --- Around a command */

/* A closed descriptor 0, 1 or 2 would be given to the first socket or file that is opened, and output would go there. */
static void hold_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) {
            /* In the wrong direction on purpose: writing fails as it would on a closed one. */
            int opened = open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
            if (opened >= 0 && opened != fd)
                close(opened);
        }
}

static bool terminal_has_colors(int fd)
{
    const char *term = getenv("TERM"), *none = getenv("NO_COLOR");
    return isatty(fd) && !(none && *none) && !(term && (!*term || strcmp(term, "dumb") == 0));
}

/* Daemons and jobs are started with it; theirs must be the same place from another directory. */
static void make_home_absolute(void)
{
    const char *home = getenv("WEIR_HOME");
    char *directory = home && *home && *home != '/' ? getcwd(NULL, 0) : NULL;
    if (!directory)
        return;
    char *path = weir_format("%s/%s", directory, home);
    setenv("WEIR_HOME", path, 1);
    free(path);
    free(directory);
}

/* Output that did not arrive (a full disk, a closed descriptor) is a failure, whatever the command says. */
static int close_output(struct weir_client *client, int exit_code)
{
    bool failed = ferror(stdout) != 0;
    errno = 0;
    if (fflush(stdout) == 0 && !failed)
        return exit_code;
    const char *why = errno ? strerror(errno) : "an earlier part of it is missing";
    return exit_code == EXIT_DONE
               ? weir_client_fail(client, EXIT_FAILED, NULL, "cannot write to standard output: %s", why)
               : exit_code;
}

static void free_client(struct weir_client *client)
{
    for (int i = 0; i < client->pair_count; i++)
        free((char *)client->pairs[i].key);
    for (int i = 0; i < client->property_count; i++)
        free((char *)client->properties[i].key);
    free(client->arguments);
    free(client->address);
    free(client->address_from);
    free(client->token_wrong);
    free(client->ca_file);
    weir_secret_free(client->token);
}

static int run_command(struct weir_client *client, int argc, char **argv)
{
    const struct weir_command *command = client->command;
    int exit_code = weir_client_parse(client, argc, argv);
    if (exit_code != EXIT_DONE)
        return exit_code;
    if (client->no_color)
        client->color[1] = client->color[2] = false;
    if (client->help && client->json)
        return print_help_json(command);
    if (client->help) {
        print_command_help(command);
        return EXIT_DONE;
    }
    if (client->argument_count < command->arguments_min ||
        (command->arguments_max >= 0 && client->argument_count > command->arguments_max))
        return weir_client_fail(client, EXIT_USAGE, NULL, "usage: weir %s %s", command->name, command->usage);
    return command->run(client);
}

static int dispatch(struct weir_client *client, int argc, char **argv)
{
    /* Options may stand before the command; they are its own. */
    int at = 1;
    for (const char *value; at < argc && argv[at][0] == '-' && argv[at][1]; at++) {
        const struct weir_client_option *option = weir_command_option(NULL, argv[at], &value);
        if (strcmp(argv[at], "--version") == 0 || strcmp(argv[at], "-V") == 0) {
            printf(client->json ? "{\"version\": \"%s\"}\n" : "weir %s\n", WEIR_VERSION);
            return EXIT_DONE;
        }
        if (option && option->letter == 'h') {
            print_help();
            return EXIT_DONE;
        }
        if (!option)
            return weir_client_fail(client, EXIT_USAGE, "see weir help", "unknown option '%.200s'", argv[at]);
        at += option->value && !value;
    }
    if (at >= argc) {
        fflush(stdout);
        int kept = dup(STDOUT_FILENO); /* the help is what went wrong here */
        dup2(STDERR_FILENO, STDOUT_FILENO);
        print_help();
        fflush(stdout);
        dup2(kept, STDOUT_FILENO);
        close(kept);
        return EXIT_USAGE;
    }
    client->command = weir_command_find(argv[at]);
    if (!client->command)
        return weir_client_unknown_command(client, argv[at]);
    char **rest = weir_alloc((size_t)argc * sizeof *rest);
    int count = 0;
    for (int i = 1; i < argc; i++)
        if (i != at)
            rest[count++] = argv[i];
    int exit_code = run_command(client, count, rest);
    free(rest);
    return exit_code;
}

/* Errors of the command line itself are to be JSON too, wherever -o stands in it. */
static bool wants_json(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        bool option = strcmp(argv[i], "-o") == 0 || strcmp(argv[i], "--output") == 0;
        if ((option && i + 1 < argc && strcmp(argv[i + 1], "json") == 0) || strcmp(argv[i], "-ojson") == 0 ||
            strcmp(argv[i], "--output=json") == 0)
            return true;
        size_t size = strlen(argv[i]);
        if (argv[i][0] != '-' && size > 3 && strcmp(argv[i] + size - 3, ".so") == 0)
            return false; /* what follows are the job's arguments */
    }
    return false;
}

int weir_client_main(int argc, char **argv)
{
    hold_standard_descriptors();
    make_home_absolute();
    if (argc > 1 && strcmp(argv[1], "__complete") == 0)
        return weir_client_complete(argc - 2, argv + 2);
    weir_log_level_min = WEIR_LOG_ERROR;
    struct weir_client client = {.json = wants_json(argc, argv)};
    client.color[1] = terminal_has_colors(1);
    client.color[2] = terminal_has_colors(2);
    int exit_code = close_output(&client, dispatch(&client, argc, argv));
    free_client(&client);
    return exit_code;
}
