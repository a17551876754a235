#include "base/daemon.h"

#include <errno.h>
#include <malloc.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/notify.h"

#define PAIRS_MAX 256
#define FILES_WANTED ((rlim_t)65536)

char *weir_home_directory(void)
{
    const char *home = getenv("WEIR_HOME");
    if (home && *home)
        return weir_strdup(home);
    const char *user = getenv("HOME");
    if (!user || !*user) {
        const struct passwd *entry = getpwuid(getuid());
        user = entry ? entry->pw_dir : "/tmp";
    }
    return weir_format("%s/.weir", user);
}

weir_err weir_make_directories(const char *path, struct weir_error *error)
{
    char *copy = weir_strdup(path);
    weir_err err = WEIR_OK;
    for (char *p = copy + 1; !err; p++) {
        if (*p != '/' && *p != 0)
            continue;
        char saved = *p;
        *p = 0;
        if (mkdir(copy, 0700) != 0 && errno != EEXIST)
            err = weir_fail_errno(error, WEIR_ERR_IO, "cannot make the directory %s", copy);
        *p = saved;
        if (saved == 0)
            break;
    }
    free(copy);
    return err;
}

bool weir_split_pair(char *text, struct weir_key_value *pair)
{
    char *equals = strchr(text, '=');
    if (!equals || equals == text)
        return false;
    *equals = 0;
    *pair = (struct weir_key_value){text, equals + 1};
    return true;
}

static void print_help(const char *program)
{
    printf("usage: %s [--config FILE] [-D key=value ...] [--name NAME]\n\n"
           "Runs in the foreground until SIGTERM. Configuration: -D, then the environment (WEIR_ and the key in\n"
           "capitals), then the file, then the default. Keys:\n\n",
           program);
    for (const struct weir_option *option = weir_config_table; option->name; option++)
        printf("  %s (default: %s)\n      %s\n", option->name,
               option->fallback && *option->fallback ? option->fallback : "none", option->help);
}

static void print_configuration(void)
{
    struct weir_buf out;
    weir_buf_init(&out, 1 << 20);
    weir_config_print_markdown(&out);
    if (out.data)
        fputs((const char *)out.data, stdout);
    weir_buf_fini(&out);
}

/* False: end with *exit_code. */
static bool parse(struct weir_daemon *daemon, int argc, char **argv, const char **file, int *exit_code)
{
    *exit_code = 0;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
            print_help(daemon->program);
            return false;
        }
        if (strcmp(arg, "--version") == 0) {
            printf("%s %s\n", daemon->program, WEIR_VERSION);
            return false;
        }
        if (strcmp(arg, "--print-configuration") == 0) {
            print_configuration();
            return false;
        }
        bool pair_inline = strncmp(arg, "-D", 2) == 0 && arg[2];
        if (pair_inline)
            value = arg + 2;
        if (!pair_inline && strcmp(arg, "-D") != 0 && strcmp(arg, "--config") != 0 && strcmp(arg, "--name") != 0) {
            fprintf(stderr, "%s: unknown option '%s'; see %s --help\n", daemon->program, arg, daemon->program);
            *exit_code = 2;
            return false;
        }
        if (!value) {
            fprintf(stderr, "%s: %s needs a value\n", daemon->program, arg);
            *exit_code = 2;
            return false;
        }
        if (!pair_inline)
            i++;
        if (strcmp(arg, "--config") == 0) {
            *file = value;
        } else if (strcmp(arg, "--name") == 0) {
            free(daemon->name);
            daemon->name = weir_strdup(value);
        } else if (daemon->override_count == PAIRS_MAX || !strchr(value, '=') || value[0] == '=') {
            fprintf(stderr, "%s: -D wants key=value, not '%s'\n", daemon->program, value);
            *exit_code = 2;
            return false;
        } else {
            weir_split_pair(weir_strdup(value), &daemon->overrides[daemon->override_count++]);
        }
    }
    return true;
}

static weir_err open_log(struct weir_daemon *daemon, struct weir_error *error)
{
    const char *path = weir_config_string(daemon->config, "log.file");
    struct weir_log_options options = {
        .path = path && *path ? path : NULL,
        .json = strcmp(weir_config_string(daemon->config, "log.format"), "json") == 0,
        .size_max = (size_t)weir_config_int(daemon->config, "log.file.max-size"),
        .files_max = (int)weir_config_int(daemon->config, "log.file.max-count"),
        .process = daemon->name,
    };
    weir_err err = weir_log_level_parse(weir_config_string(daemon->config, "log.level"), &options.level, error);
    return err ? err : weir_log_init(&options, error);
}

/* A service manager's own place for it (RuntimeDirectory=, LogsDirectory= of a systemd unit: the first of its list), else below $WEIR_HOME. */
static char *place_of(const struct weir_daemon *daemon, const char *variable, const char *name)
{
    const char *given = getenv(variable);
    return given && given[0] == '/' ? weir_format("%.*s", (int)strcspn(given, ":"), given)
                                    : weir_format("%s/%s", daemon->home, name);
}

static weir_err make_places(struct weir_daemon *daemon, struct weir_error *error)
{
    daemon->run_directory = place_of(daemon, "RUNTIME_DIRECTORY", "run");
    daemon->log_directory = place_of(daemon, "LOGS_DIRECTORY", "logs");
    daemon->data_directory = weir_format("%s/data", daemon->home);
    daemon->ready_path = weir_format("%s/%s.json", daemon->run_directory, daemon->name);
    weir_err err = weir_make_directories(daemon->run_directory, error);
    if (!err)
        err = weir_make_directories(daemon->log_directory, error);
    return err ? err : weir_make_directories(daemon->data_directory, error);
}

/* A connection is a file: the usual soft limit of 1,024 would let a few hundred idle strangers keep everybody else out. */
static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= FILES_WANTED || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max < FILES_WANTED ? limit.rlim_max : FILES_WANTED;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* what there is must do */
}

/* What one large message or answer took goes back to the system. (By itself malloc() would keep up to 64 MB of it.) */
static void bound_free_memory(void)
{
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    mallopt(M_TRIM_THRESHOLD, 8 << 20);
}

static weir_err enable_faults(const struct weir_daemon *daemon, struct weir_error *error)
{
    if (!weir_config_int(daemon->config, "testing.fault-points"))
        return WEIR_OK;
    char *path = weir_format("%s/fault-points", daemon->run_directory);
    const char *program = strchr(daemon->program, '-') + 1;
    weir_err err = weir_fault_enable(path, strcmp(program, "taskmanager") == 0 ? "supervisor" : program, error);
    free(path);
    if (!err)
        weir_log(WARN, "testing.fault-points is true: whoever may submit jobs may stop this process by weir fault arm");
    return err;
}

bool weir_daemon_init(struct weir_daemon *daemon, const char *program, const char *default_name, int argc, char **argv,
                      int *exit_code)
{
    memset(daemon, 0, sizeof *daemon);
    daemon->program = program;
    daemon->name = weir_strdup(default_name);
    daemon->home = weir_home_directory();
    daemon->overrides = weir_zalloc(PAIRS_MAX * sizeof *daemon->overrides);
    const char *file = NULL;
    if (!parse(daemon, argc, argv, &file, exit_code)) {
        weir_daemon_fini(daemon);
        return false;
    }
    struct weir_error error;
    weir_err err =
        weir_config_load(file, daemon->home, daemon->overrides, daemon->override_count, &daemon->config, &error);
    if (!err)
        err = make_places(daemon, &error);
    if (!err)
        err = open_log(daemon, &error);
    if (!err)
        err = enable_faults(daemon, &error);
    weir_notify_init();
    raise_file_limit();
    bound_free_memory();
    if (err) {
        fprintf(stderr, "%s: %s\n", program, error.message);
        *exit_code = err == WEIR_ERR_INVALID ? 2 : 1;
        weir_daemon_fini(daemon);
        return false;
    }
    weir_config_log_notes(daemon->config);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    daemon->stop_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (daemon->stop_fd < 0) { /* it would never end */
        (void)weir_fail_errno(&error, WEIR_ERR_IO, "cannot wait for signals");
        fprintf(stderr, "%s: %s\n", program, error.message);
        *exit_code = 1;
        weir_daemon_fini(daemon);
        return false;
    }
    return true;
}

weir_err weir_daemon_ready(struct weir_daemon *daemon, const char *fields, struct weir_error *error)
{
    char *part = weir_format("%s.%d", daemon->ready_path, (int)getpid());
    weir_err err = WEIR_OK;
    FILE *file = fopen(part, "we");
    if (!file) {
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot write %s", part);
    } else {
        fprintf(file, "{\"pid\": %d%s%s}\n", (int)getpid(), *fields ? ", " : "", fields);
        if (fclose(file) != 0 || rename(part, daemon->ready_path) != 0)
            err = weir_fail_errno(error, WEIR_ERR_IO, "cannot write %s", daemon->ready_path);
        daemon->ready = err == WEIR_OK;
        if (err)
            unlink(part);
    }
    free(part);
    return err;
}

void weir_daemon_fini(struct weir_daemon *daemon)
{
    /* Not ready: it may be that of another instance of this name. */
    if (daemon->ready && unlink(daemon->ready_path) != 0 && errno != ENOENT)
        weir_log(WARN, "cannot remove %s: %s", daemon->ready_path, strerror(errno));
    weir_log_fini();
    weir_config_free(daemon->config);
    for (int i = 0; i < daemon->override_count; i++)
        free((char *)daemon->overrides[i].key);
    free(daemon->overrides);
    free(daemon->name);
    free(daemon->home);
    free(daemon->run_directory);
    free(daemon->log_directory);
    free(daemon->data_directory);
    free(daemon->ready_path);
}
