#include "base/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

static struct sockaddr_un address;
static socklen_t address_size; /* 0: nobody to tell */

void weir_notify_init(void)
{
    const char *name = getenv("NOTIFY_SOCKET");
    size_t size = name ? strlen(name) : 0;
    address_size = 0;
    if (size > 0 && size < sizeof address.sun_path && (name[0] == '/' || name[0] == '@')) {
        memset(&address, 0, sizeof address);
        address.sun_family = AF_UNIX;
        memcpy(address.sun_path, name, size);
        if (name[0] == '@') /* the abstract namespace: the name begins with a zero and has no end mark */
            address.sun_path[0] = 0;
        address_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + (name[0] == '/'));
    } else if (size > 0) {
        weir_log(WARN, "NOTIFY_SOCKET '%.100s' is no path of a socket: nobody is told that this process is ready",
                 name);
    }
    unsetenv("NOTIFY_SOCKET");
}

void weir_notify(const char *state)
{
    if (address_size == 0)
        return;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address, address_size) < 0)
        weir_log(WARN, "cannot tell the service manager '%.60s': %s", state, strerror(errno));
    if (fd >= 0)
        close(fd);
}
