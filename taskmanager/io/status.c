#include "taskmanager/io/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define WAITING_MAX 16

/* A socket's path has 108 bytes; $WEIR_HOME may be longer, hence the way through the directory's descriptor. */
static void address_of(int directory, const char *name, struct sockaddr_un *address)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%.60s.sock", directory, name);
}

weir_err weir_status_listen(const char *run_directory, const char *name, int *fd, struct weir_error *error)
{
    struct sockaddr_un address;
    weir_err err = WEIR_OK;
    int directory = open(run_directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int made = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    address_of(directory, name, &address);
    unlink(address.sun_path);
    if (directory < 0 || made < 0 || bind(made, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(made, WAITING_MAX) != 0) {
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot make the status socket %s/%s.sock", run_directory, name);
        if (made >= 0)
            close(made);
        made = -1;
    }
    if (directory >= 0)
        close(directory);
    *fd = made;
    return err;
}

void weir_status_answer(int fd, const char *text)
{
    for (int i = 0; i < WAITING_MAX; i++) {
        int asker = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (asker < 0)
            return;
        ssize_t sent = send(asker, text, strlen(text), MSG_NOSIGNAL);
        (void)sent; /* a new socket has room for a line; who hung up did not want it */
        close(asker);
    }
}

void weir_status_close(const char *run_directory, const char *name, int fd)
{
    char path[4096];
    if (fd < 0)
        return;
    close(fd);
    snprintf(path, sizeof path, "%s/%.60s.sock", run_directory, name);
    unlink(path);
}
