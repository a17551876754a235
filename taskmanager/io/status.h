/* A TaskManager's answer to "are you well?": a socket run/NAME.sock, on which the loop itself says one line of JSON and hangs up. A stuck
 * loop says nothing. Asked by `weir health`: TaskManagers have no port of their own that a container's probe could ask. */
#ifndef WEIR_TASKMANAGER_IO_STATUS_H
#define WEIR_TASKMANAGER_IO_STATUS_H

#include "base/error.h"

/* Replaces a socket that an earlier process of this name left. */
weir_err weir_status_listen(const char *run_directory, const char *name, int *fd, struct weir_error *error);
/* Answers all who wait; never blocks. */
void weir_status_answer(int fd, const char *text);
void weir_status_close(const char *run_directory, const char *name, int fd); /* fd -1: nothing */

#endif
