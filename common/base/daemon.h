/* What both daemons do before their own work: command line, $WEIR_HOME, log, signals, and the file in run/ that says "ready".
 *
 *   weir-jobmanager|weir-taskmanager [--config FILE] [-D key=value ...] [--name NAME] [--help] [--version] [--print-configuration]
 */
#ifndef WEIR_BASE_DAEMON_H
#define WEIR_BASE_DAEMON_H

#include "base/config.h"

struct weir_daemon {
    const char *program;  /* "weir-jobmanager" */
    char *name;           /* of the instance: "jobmanager", "taskmanager-1"; names its files */
    char *home;           /* $WEIR_HOME or ~/.weir */
    char *run_directory;  /* HOME/run; $RUNTIME_DIRECTORY where systemd gives one */
    char *log_directory;  /* HOME/logs; $LOGS_DIRECTORY */
    char *data_directory; /* HOME/data */
    struct weir_config *config;
    int stop_fd;                      /* readable after SIGTERM or SIGINT */
    char *ready_path;                 /* written by weir_daemon_ready() */
    bool ready;                       /* it was */
    struct weir_key_value *overrides; /* the -D pairs */
    int override_count;
};

/* Parses, loads, makes the directories, opens the log, blocks SIGTERM and SIGINT (they arrive on stop_fd). Returns true to go on; false: *exit_code says
 * how to end (help was printed, or an error was); then there is nothing to fini. Call before any thread is started. */
bool weir_daemon_init(struct weir_daemon *daemon, const char *program, const char *default_name, int argc, char **argv,
                      int *exit_code);
void weir_daemon_fini(struct weir_daemon *daemon); /* removes the ready file, if this one wrote it */
/* Writes run/NAME.json = {"pid": .., <fields>} through a temporary name. `fields` is JSON text without braces, may be "". */
weir_err weir_daemon_ready(struct weir_daemon *daemon, const char *fields, struct weir_error *error);
/* "key=value" -> pair (pointers into `text`, which is cut at '='); false: no '='. */
bool weir_split_pair(char *text, struct weir_key_value *pair);
/* $WEIR_HOME, else ~/.weir; freed by the caller. */
char *weir_home_directory(void);
/* mkdir -p, 0700. */
weir_err weir_make_directories(const char *path, struct weir_error *error);

#endif
