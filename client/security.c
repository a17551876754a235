/* security init: the keys and tokens of a cluster that is reached over a network, and what to write into weir.yaml. security add: a key for
 * one more TaskManager, so that it can be shut out alone. Secrets go into files of mode 0600 and are never printed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/daemon.h"
#include "base/secret.h"
#include "client_int.h"
#include "net/curve.h"

#define TOKEN_BYTES 32
#define LIST "taskmanagers.pub"

static char *at(const char *directory, const char *name)
{
    return weir_format("%s/%s", directory, name);
}

static weir_err write_file(const char *directory, const char *name, const char *text, int mode, bool replace,
                           struct weir_error *error)
{
    char *path = at(directory, name);
    weir_err err = weir_secret_write(path, text, mode, replace, error);
    free(path);
    return err;
}

static weir_err write_pair(const char *directory, const char *name, const char *owner,
                           const struct weir_curve_pair *pair, bool replace, struct weir_error *error)
{
    char public_hex[WEIR_CURVE_HEX_SIZE], secret_hex[WEIR_CURVE_HEX_SIZE];
    weir_hex_encode(pair->public_key, sizeof pair->public_key, public_hex);
    weir_hex_encode(pair->secret_key, sizeof pair->secret_key, secret_hex);
    char *text = weir_format(
        "# Secret CURVE key of %s: it stays on its hosts, readable by its user only.\npublic %s\nsecret %s\n", owner,
        public_hex, secret_hex);
    weir_err err = write_file(directory, name, text, 0600, replace, error);
    explicit_bzero(secret_hex, sizeof secret_hex);
    weir_secret_free(text);
    return err;
}

static weir_err make_keys(const char *directory, bool replace, struct weir_error *error)
{
    struct weir_curve_pair jobmanager, taskmanager;
    char hex[WEIR_CURVE_HEX_SIZE];
    weir_err err = weir_curve_pair_new(&jobmanager, error);
    if (!err)
        err = weir_curve_pair_new(&taskmanager, error);
    if (!err)
        err = write_pair(directory, "jobmanager.key", "the JobManager", &jobmanager, replace, error);
    if (!err)
        err = write_pair(directory, "taskmanager.key", "the TaskManagers", &taskmanager, replace, error);
    if (!err) {
        weir_hex_encode(jobmanager.public_key, sizeof jobmanager.public_key, hex);
        char *text = weir_format("# Public CURVE key of the JobManager, for the TaskManagers.\npublic %s\n", hex);
        err = write_file(directory, "jobmanager.pub", text, 0644, replace, error);
        free(text);
    }
    if (!err) {
        weir_hex_encode(taskmanager.public_key, sizeof taskmanager.public_key, hex);
        char *text = weir_format(
            "# Public CURVE keys of the TaskManagers that may register: a key and a name a line. Without its "
            "line a\n# TaskManager is shut out, from the next moment on.\n%s taskmanager\n",
            hex);
        err = write_file(directory, LIST, text, 0644, replace, error);
        free(text);
    }
    explicit_bzero(&jobmanager, sizeof jobmanager);
    explicit_bzero(&taskmanager, sizeof taskmanager);
    return err;
}

static weir_err make_tokens(const char *directory, bool replace, struct weir_error *error)
{
    uint8_t bytes[3][TOKEN_BYTES];
    char hex[3][2 * TOKEN_BYTES + 1];
    weir_err err = weir_random_bytes(bytes, sizeof bytes, error);
    for (int i = 0; i < 3; i++)
        weir_hex_encode(bytes[i], TOKEN_BYTES, hex[i]);
    char *all = weir_format(
        "# REST tokens of this cluster: a role and a token a line; clients send the first.\nadmin %s\nsubmit "
        "%s\nread %s\n",
        hex[0], hex[1], hex[2]);
    char *read_only =
        weir_format("# The token that may only look: for dashboards, and for TaskManagers' hosts.\nread %s\n", hex[2]);
    if (!err)
        err = write_file(directory, "rest.token", all, 0600, replace, error);
    if (!err)
        err = write_file(directory, "rest-read.token", read_only, 0600, replace, error);
    explicit_bzero(bytes, sizeof bytes);
    explicit_bzero(hex, sizeof hex);
    weir_secret_free(all);
    weir_secret_free(read_only);
    return err;
}

static const struct {
    const char *key, *file;
} lines[] = {
    {"security.curve.jobmanager-key-file", "jobmanager.key"},
    {"security.curve.jobmanager-public-key-file", "jobmanager.pub"},
    {"security.curve.taskmanager-key-file", "taskmanager.key"},
    {"security.curve.taskmanager-public-keys-file", LIST},
    {"security.rest.token-file", "rest.token"},
};
#define LINES ((int)(sizeof lines / sizeof lines[0]))

static void print_what_to_do(const struct weir_client *client, const char *directory)
{
    if (client->json) {
        json_t *configuration = json_object();
        for (int i = 0; i < LINES; i++) {
            char *path = at(directory, lines[i].file);
            json_object_set_new(configuration, lines[i].key, json_string(path));
            free(path);
        }
        json_t *reply = json_pack("{s:s, s:o}", "directory", directory, "configuration", configuration);
        weir_client_print_json(reply);
        json_decref(reply);
        return;
    }
    printf("# Keys and tokens are in %s. Lines for weir.yaml, the same on every host:\n", directory);
    for (int i = 0; i < LINES; i++)
        printf("%s: %s/%s\n", lines[i].key, directory, lines[i].file);
    printf(
        "# Copy to the JobManager's host:   jobmanager.key " LIST " rest.token\n"
        "# Copy to the TaskManagers' hosts: taskmanager.key jobmanager.pub, and rest-read.token as rest.token\n"
        "# Keep them readable by their user only (0600). Then the processes may listen beyond loopback:\n"
        "#   jobmanager.bind-host, rest.bind-address, taskmanager.bind-host (and taskmanager.host: how others reach it)\n");
}

/* The files must not be half of the old and half of the new keys: without --force nothing may be there. */
static bool anything_there(struct weir_client *client, const char *directory)
{
    bool any = false;
    for (int i = 0; i < LINES; i++) {
        char *path = at(directory, lines[i].file);
        if (access(path, F_OK) == 0) {
            weir_client_fail(client, EXIT_FAILED, "--force makes new keys and shuts out who has the old ones",
                             "%s is there already", path);
            any = true;
        }
        free(path);
        if (any)
            break;
    }
    return any;
}

static int init(struct weir_client *client, const char *directory)
{
    struct weir_error error;
    if (!client->force && anything_there(client, directory))
        return EXIT_FAILED;
    weir_err err = weir_make_directories(directory, &error);
    if (!err)
        err = make_keys(directory, client->force, &error);
    if (!err)
        err = make_tokens(directory, client->force, &error);
    if (err)
        return weir_client_fail(client, EXIT_FAILED, NULL, "%s", error.message);
    print_what_to_do(client, directory);
    return EXIT_DONE;
}

static weir_err append_to_list(const char *path, const char *hex, const char *name, struct weir_error *error)
{
    FILE *file = fopen(path, "r+e");
    if (!file)
        return weir_fail_errno(error, errno == ENOENT ? WEIR_ERR_NOT_FOUND : WEIR_ERR_IO,
                               "cannot open %s (weir security init makes it)", path);
    char line[512];
    bool there = false, ends = true;
    while (fgets(line, sizeof line, file)) {
        ends = strchr(line, '\n') != NULL;
        const char *space = strchr(line, ' ');
        there = there || (line[0] != '#' && space && strcspn(space + 1, " \t\r\n") == strlen(name) &&
                          strncmp(space + 1, name, strlen(name)) == 0);
    }
    bool ok = there || (fseek(file, 0, SEEK_END) == 0 && fprintf(file, "%s%s %s\n", ends ? "" : "\n", hex, name) > 0);
    int saved = errno;
    ok = fclose(file) == 0 && ok;
    errno = saved;
    if (there)
        return weir_fail(error, WEIR_ERR_EXISTS, "%s has a key of that name already: take its line out first", path);
    return ok ? WEIR_OK : weir_fail_errno(error, WEIR_ERR_IO, "cannot write %s", path);
}

static int add(struct weir_client *client, const char *directory, const char *name)
{
    struct weir_error error;
    struct weir_curve_pair pair;
    char hex[WEIR_CURVE_HEX_SIZE];
    size_t size = strlen(name);
    if (size == 0 || size > 60 ||
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != size || name[0] == '.')
        return weir_client_fail(client, EXIT_USAGE, NULL,
                                "a TaskManager's name is 1 to 60 letters, digits, '-', '_' and '.', not '%s'", name);
    char *list = at(directory, LIST), *file = weir_format("taskmanager-%s.key", name);
    weir_err err = weir_curve_pair_new(&pair, &error);
    if (!err && access(list, W_OK) != 0)
        err = weir_fail_errno(&error, WEIR_ERR_NOT_FOUND, "cannot write %s (weir security init makes it)", list);
    if (!err)
        err = write_pair(directory, file, name, &pair, false, &error);
    bool wrote = !err;
    weir_hex_encode(pair.public_key, sizeof pair.public_key, hex);
    if (!err)
        err = append_to_list(list, hex, name, &error);
    explicit_bzero(&pair, sizeof pair);
    if (err && wrote) { /* a key that nobody lets in */
        char *path = at(directory, file);
        unlink(path);
        free(path);
    }
    if (err)
        weir_client_fail(client, EXIT_FAILED, NULL, "%s", error.message);
    else if (client->json)
        printf("{\"key-file\": \"%s/%s\", \"public-key\": \"%s\"}\n", directory, file, hex);
    else
        printf("%s/%s is the key of %s (security.curve.taskmanager-key-file there); its line in %s lets it in\n",
               directory, file, name, list);
    free(list);
    free(file);
    return err ? EXIT_FAILED : EXIT_DONE;
}

int weir_command_security(struct weir_client *client)
{
    const char *verb = client->arguments[0];
    char *home = weir_home_directory();
    char *directory = client->dir ? realpath(client->dir, NULL) : NULL;
    if (!directory) /* a new one */
        directory = client->dir && client->dir[0] == '/' ? weir_strdup(client->dir) : NULL;
    if (!directory && client->dir) {
        char *here = realpath(".", NULL);
        directory = weir_format("%s/%s", here ? here : ".", client->dir);
        free(here);
    }
    if (!directory)
        directory = weir_format("%s/conf/security", home);
    int exit_code = EXIT_USAGE;
    if (strcmp(verb, "init") == 0 && client->argument_count == 1) {
        exit_code = init(client, directory);
    } else if (strcmp(verb, "add") == 0 && client->argument_count == 2) {
        exit_code = add(client, directory, client->arguments[1]);
    } else {
        char nearest[160];
        weir_client_fail(client, EXIT_USAGE, NULL, "weir security knows init and add NAME%s",
                         weir_client_nearest_choice(nearest, verb, "init|add"));
    }
    free(directory);
    free(home);
    return exit_code;
}
