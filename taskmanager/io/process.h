/* Executor processes: start, kill, and the records by which a later boot finds orphans.
 *
 * An executor is exec'd from this binary (never forked from a threaded process): fd 3 is its control line, fd 4 the write end of a
 * pipe on which its crash handler leaves a packed Failure. It leads a process group of its own. A record
 * `executors/<executor id>` in the run directory holds "pid start_time" while it lives.
 */
#ifndef WEIR_TASKMANAGER_IO_PROCESS_H
#define WEIR_TASKMANAGER_IO_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "taskmanager/core/tm.h"

#define WEIR_EXECUTOR_CRASH_SIZE_MAX 65536

struct weir_process {
    pid_t pid;
    int control_fd; /* ours, non-blocking */
    int crash_fd;   /* read end, non-blocking */
};
struct weir_process_spec {
    const char *binary; /* "/proc/self/exe" */
    const char *executor_id;
    const char *run_directory;
    const char *output_path; /* its standard output and error, appended; NULL: this process's own */
    char *const *arguments;  /* after the binary's name, NULL-terminated */
};
weir_err weir_process_spawn(const struct weir_process_spec *spec, struct weir_process *process,
                            struct weir_error *error);
void weir_process_kill(pid_t pid);
/* After the process has been waited for. */
void weir_process_forget(const char *run_directory, const char *executor_id);

/* What executors print goes to one file that they hold open for appending: when it has passed `size_max` bytes it is copied to PATH.1 and
 * emptied. What is printed between the two is lost, as with any copy-and-truncate rotation. */
void weir_process_rotate_output(const char *path, int64_t size_max);

/* Records of an earlier boot; at most `max`. */
int weir_process_orphans(const char *run_directory, struct weir_tm_orphan *orphans, int max);
/* SIGKILL if pid and start time match, and the record goes. */
void weir_process_kill_orphan(const char *run_directory, const struct weir_tm_orphan *orphan);

#endif
