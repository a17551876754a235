/* A container's first process inherits all orphans (what a job's own code starts and leaves, for instance) and must wait for them, else
 * they stay as zombies until the container's process limit is reached. And the kernel takes default actions away from it: abort() would
 * not end it. So a daemon that is number 1 stays behind as a minimal init, and runs as its child.
 */
#include "base/init.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Waits for whoever has ended; the exit code of `child`, or -1: it has not. */
static int reap_all(pid_t child)
{
    int status, code = -1;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        if (pid == child)
            code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    return code;
}

void weir_init_if_first(void)
{
    if (getpid() != 1)
        return;
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t child = fork();
    if (child < 0)
        fprintf(stderr, "weir: cannot fork: %s; running as process 1 itself\n", strerror(errno));
    if (child <= 0) {
        sigprocmask(SIG_SETMASK, &before, NULL);
        return;
    }
    int signal_number = SIGCHLD; /* who ended before signals were waited for has told nobody */
    for (;; signal_number = sigwaitinfo(&all, NULL)) {
        if (signal_number == SIGCHLD) {
            int code = reap_all(child);
            if (code >= 0)
                _exit(code);
        } else if (signal_number > 0) {
            kill(child, signal_number);
        }
    }
}
