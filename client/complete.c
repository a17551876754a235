/* Completion. The shells' scripts are thin: they call `weir __complete WORD..` with the words of the line so far, the last one unfinished,
 * and get the candidates, one a line; a first line ":files" asks the shell for file names. So all shells know what the tables of
 * commands and options say, and ids of jobs and TaskManagers, and configuration keys. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "client_int.h"

/* --- The scripts */

static const char bash_script[] =
    "# bash completion of weir; made by `weir completion bash`\n"
    "_weir() {\n"
    "    local words=() word line i before\n"
    "    # HOST:PORT and KEY=VALUE are one word each, which bash takes apart\n"
    "    for ((i = 1; i <= COMP_CWORD; i++)); do\n"
    "        word=${COMP_WORDS[i]}\n"
    "        if [[ ${#words[@]} -gt 0 && ($word == [:=]* || ${COMP_WORDS[i - 1]} == *[:=]) ]]; then\n"
    "            words[${#words[@]} - 1]+=$word\n"
    "        else\n"
    "            words+=(\"$word\")\n"
    "        fi\n"
    "    done\n"
    "    word=${words[${#words[@]} - 1]}\n"
    "    before=${word%\"${word##*[:=]}\"}\n"
    "    COMPREPLY=()\n"
    "    while IFS= read -r line; do\n"
    "        if [[ $line == :files ]]; then\n"
    "            compopt -o default 2>/dev/null\n"
    "        else\n"
    "            COMPREPLY+=(\"${line#\"$before\"}\")\n"
    "        fi\n"
    "    done < <(\"${COMP_WORDS[0]}\" __complete \"${words[@]}\" 2>/dev/null)\n"
    "    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null\n"
    "    return 0\n"
    "}\n"
    "complete -F _weir weir\n";

static const char zsh_script[] =
    "#compdef weir\n"
    "# zsh completion of weir; made by `weir completion zsh`\n"
    "_weir() {\n"
    "    local -a answers keys\n"
    "    answers=(\"${(@f)$(\"${words[1]}\" __complete \"${(@)words[2,CURRENT]}\" 2>/dev/null)}\")\n"
    "    if [[ ${answers[1]} == :files ]]; then\n"
    "        _files\n"
    "        shift answers\n"
    "    fi\n"
    "    answers=(${answers:#})\n"
    "    keys=(${(M)answers:#*=})\n"
    "    answers=(${answers:#*=})\n"
    "    (( ${#keys} )) && compadd -S '' -- $keys\n"
    "    (( ${#answers} )) && compadd -- $answers\n"
    "    return 0\n"
    "}\n"
    "if [[ $funcstack[1] == _weir ]]; then\n"
    "    _weir \"$@\"\n"
    "else\n"
    "    compdef _weir weir\n"
    "fi\n";

static const char fish_script[] =
    "# fish completion of weir; made by `weir completion fish`\n"
    "function __weir_complete\n"
    "    set -l words (commandline -opc)\n"
    "    set -l answers ($words[1] __complete $words[2..-1] (commandline -ct) 2>/dev/null)\n"
    "    if test \"$answers[1]\" = :files\n"
    "        __fish_complete_path (commandline -ct)\n"
    "        set -e answers[1]\n"
    "    end\n"
    "    printf '%s\\n' $answers\n"
    "end\n"
    "complete -c weir -f -a '(__weir_complete)'\n";

int weir_command_completion(struct weir_client *client)
{
    static const struct {
        const char *shell, *script;
    } rows[] = {{"bash", bash_script}, {"zsh", zsh_script}, {"fish", fish_script}};
    char nearest[160];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(client->arguments[0], rows[i].shell) == 0) {
            fputs(rows[i].script, stdout);
            return EXIT_DONE;
        }
    return weir_client_fail(client, EXIT_USAGE, NULL, "weir completes in bash, zsh and fish, not '%.200s'%s",
                            client->arguments[0],
                            weir_client_nearest_choice(nearest, client->arguments[0], client->command->choices));
}

/* --- The candidates */

struct word {
    struct weir_client *client;
    const char *text; /* the unfinished word, or the part of it that is a value */
    const char *lead; /* what stands before that part: "--output=", "-D", "" */
};

static void offer(const struct word *word, const char *candidate)
{
    if (strncmp(candidate, word->text, strlen(word->text)) == 0)
        printf("%s%s\n", word->lead, candidate);
}

static void offer_choices(const struct word *word, const char *choices)
{
    char *copy = weir_strdup(choices), *save = NULL;
    for (char *choice = strtok_r(copy, "|", &save); choice; choice = strtok_r(NULL, "|", &save))
        offer(word, choice);
    free(copy);
}

static void offer_commands(const struct word *word)
{
    for (const struct weir_command *command = weir_commands; command->name; command++)
        offer(word, command->name);
}

static void offer_options(const struct weir_command *command, const struct word *word)
{
    for (const struct weir_client_option *option = weir_client_options; option->letter; option++) {
        if (!weir_command_takes(command, option))
            continue;
        if (option->longer)
            offer(word, option->longer);
        if (option->shorter && (!option->longer || strncmp(word->text, "--", 2) != 0))
            offer(word, option->shorter);
    }
}

/* Ids and the names that are words. */
static void offer_jobs(const struct word *word, bool running)
{
    json_t *reply, *job;
    size_t i;
    if (weir_client_call(word->client, "GET", "/jobs/overview", NULL, &reply) != EXIT_DONE)
        return;
    json_array_foreach(json_object_get(reply, "jobs"), i, job)
    {
        const char *name = weir_json_text(job, "name");
        if (running && weir_json_number(job, "end-time") >= 0)
            continue;
        offer(word, weir_json_text(job, "jid"));
        if (*name && !strpbrk(name, " \t\n'\"\\$`*?[]{}()<>|&;!~#"))
            offer(word, name);
    }
    json_decref(reply);
}

static void offer_taskmanagers(const struct word *word)
{
    json_t *reply, *taskmanager;
    size_t i;
    if (weir_client_call(word->client, "GET", "/taskmanagers", NULL, &reply) != EXIT_DONE)
        return;
    json_array_foreach(json_object_get(reply, "taskmanagers"), i, taskmanager)
        offer(word, weir_json_text(taskmanager, "id"));
    json_decref(reply);
}

/* Keys; of a pair, once the key is there, the values it may have. */
static void offer_pairs(const struct word *word)
{
    const char *equals = strchr(word->text, '=');
    for (const struct weir_option *option = weir_config_table; option->name; option++) {
        size_t size = strlen(option->name);
        char *pair;
        if (!equals) {
            pair = weir_format("%s=", option->name);
            offer(word, pair);
            free(pair);
            continue;
        }
        const char *choices = option->choices                    ? option->choices
                              : option->type == WEIR_OPTION_BOOL ? "true|false"
                                                                 : NULL;
        if ((size_t)(equals - word->text) != size || strncmp(word->text, option->name, size) != 0 || !choices)
            continue;
        char *copy = weir_strdup(choices), *save = NULL;
        for (char *choice = strtok_r(copy, "|", &save); choice; choice = strtok_r(NULL, "|", &save)) {
            pair = weir_format("%s=%s", option->name, choice);
            offer(word, pair);
            free(pair);
        }
        free(copy);
    }
}

static void offer_kind(const struct word *word, enum weir_complete kind, const char *choices)
{
    switch (kind) {
    case WEIR_COMPLETE_FILE:
        printf(":files\n");
        break;
    case WEIR_COMPLETE_JOB:
    case WEIR_COMPLETE_JOB_RUNNING:
        offer_jobs(word, kind == WEIR_COMPLETE_JOB_RUNNING);
        break;
    case WEIR_COMPLETE_TASKMANAGER:
        offer_taskmanagers(word);
        break;
    case WEIR_COMPLETE_KEY:
        for (const struct weir_option *option = weir_config_table; option->name; option++)
            offer(word, option->name);
        break;
    case WEIR_COMPLETE_PAIR:
        offer_pairs(word);
        break;
    case WEIR_COMPLETE_COMMAND:
        offer_commands(word);
        break;
    case WEIR_COMPLETE_CHOICE:
        offer_choices(word, choices);
        break;
    case WEIR_COMPLETE_NONE:
        break;
    }
}

/* What stands before the word: its command, how many arguments, an option that waits for its value. */
struct before {
    const struct weir_command *command;
    const struct weir_client_option *option;
    const char *first; /* argument */
    int arguments;
    bool plain; /* after "--", or among a job's own arguments */
};

static void look(struct weir_client *client, struct before *before, bool *unknown, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        const char *value = NULL, *arg = argv[i];
        bool is_option = !before->plain && arg[0] == '-' && arg[1];
        const struct weir_client_option *option = is_option ? weir_command_option(before->command, arg, &value) : NULL;
        if (is_option && strcmp(arg, "--") == 0) {
            before->plain = true;
        } else if (option && option->value) {
            if (!value && i + 1 == argc) {
                before->option = option;
                return;
            }
            value = value ? value : argv[++i];
            if (option->letter == 'm')
                client->rest = value;
        } else if (is_option) {
            continue;
        } else if (!before->command) {
            before->command = weir_command_find(arg);
            *unknown = !before->command;
            if (*unknown)
                return;
        } else {
            before->first = before->arguments++ ? before->first : arg;
            before->plain = before->plain || strchr(before->command->options, '-');
        }
    }
}

/* Among the arguments of a command. */
static void offer_argument(const struct word *word, const struct before *before)
{
    const struct weir_command *command = before->command;
    bool logs = command->run == weir_command_logs;
    if (command->arguments_max >= 0 && before->arguments >= command->arguments_max)
        return;
    if (logs && before->arguments == 0)
        offer(word, "taskmanager");
    if (logs && before->arguments == 1 && strcmp(before->first, "taskmanager") != 0)
        return;
    offer_kind(word, before->arguments == 0 ? command->first : command->rest, command->choices);
}

int weir_client_complete(int argc, char **argv)
{
    struct weir_client client = {.completing = true};
    struct before before = {.command = NULL};
    const char *last = argc > 0 ? argv[argc - 1] : "", *value = NULL;
    bool unknown = false;
    look(&client, &before, &unknown, argc - 1, argv);
    bool is_option = !before.plain && !before.option && last[0] == '-';
    const struct weir_client_option *option = is_option ? weir_command_option(before.command, last, &value) : NULL;
    option = before.option ? before.option : value ? option : NULL;
    char *lead = weir_strndup(last, value ? (size_t)(value - last) : 0);
    struct word word = {.client = &client, .text = value ? value : last, .lead = lead};
    if (option) {
        offer_kind(&word, option->complete, option->choices);
    } else if (is_option) {
        offer_options(before.command, &word);
        if (!before.command)
            offer(&word, "--version");
    } else if (before.command) {
        offer_argument(&word, &before);
    } else if (!unknown) {
        offer_commands(&word);
    }
    free(lead);
    free(client.address);
    free(client.address_from);
    return EXIT_DONE;
}
