/* taskmanager.host: a name, an address, or "auto". In a container or on a host with one address nobody wants to write it down: the
 * address that the kernel would use towards the JobManager is the one under which the other hosts of the cluster see this one. */
#include "taskmanager/io/own_host.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

#define RETRY_MS 1000

/* 1: a numeric address of loopback, 0: a numeric address of another kind, -1: a name. */
static int loopback_of(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6);
    return strcmp(host, "localhost") == 0 ? 1 : -1;
}

/* A datagram socket that is connected, and sends nothing, knows the address it would send from. */
static weir_err local_address(const struct addrinfo *peer, char out[WEIR_HOST_SIZE], struct weir_error *error)
{
    struct sockaddr_storage own;
    socklen_t size = sizeof own;
    weir_err err = WEIR_OK;
    int fd = socket(peer->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, peer->ai_addr, peer->ai_addrlen) != 0 ||
        getsockname(fd, (struct sockaddr *)&own, &size) != 0)
        err = weir_fail_errno(error, WEIR_ERR_IO, "no route to it");
    if (fd >= 0)
        close(fd);
    if (!err &&
        getnameinfo((struct sockaddr *)&own, size, out, WEIR_HOST_SIZE, NULL, 0, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        err = weir_fail(error, WEIR_ERR_IO, "its route has no address");
    return err;
}

static weir_err try_auto(const char *peer, int peer_port, char out[WEIR_HOST_SIZE], struct weir_error *error)
{
    char service[16];
    snprintf(service, sizeof service, "%d", peer_port > 0 ? peer_port : 1);
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV}, *found = NULL;
    int failed = getaddrinfo(peer, service, &hints, &found);
    if (failed)
        return weir_fail(error, WEIR_ERR_NOT_FOUND, "%s", gai_strerror(failed));
    weir_err err = weir_fail(error, WEIR_ERR_IO, "no address");
    for (const struct addrinfo *a = found; a && err; a = a->ai_next)
        err = local_address(a, out, error);
    freeaddrinfo(found);
    return err;
}

static weir_err find_auto(const char *peer, int peer_port, int stop_fd, char out[WEIR_HOST_SIZE],
                          struct weir_error *error)
{
    struct pollfd stop = {.fd = stop_fd, .events = POLLIN};
    for (int tries = 0;; tries++) {
        weir_err err = try_auto(peer, peer_port, out, error);
        if (!err) {
            weir_log(INFO, "taskmanager.host: auto is %s, the address towards the JobManager at %s", out, peer);
            return WEIR_OK;
        }
        if (tries % 10 == 0)
            weir_log(WARN, "taskmanager.host: auto waits for the JobManager's address %s: %s", peer, error->message);
        if (poll(&stop, 1, RETRY_MS) > 0)
            return weir_fail(error, WEIR_ERR_NOT_FOUND,
                             "stopped before the JobManager's address %s was known (jobmanager.rpc.address)", peer);
    }
}

weir_err weir_own_host(const char *host, const char *bind_host, const char *peer, int peer_port, int stop_fd,
                       char out[WEIR_HOST_SIZE], struct weir_error *error)
{
    weir_err err = WEIR_OK;
    if (!host || !*host)
        err = weir_fail(error, WEIR_ERR_INVALID, "'taskmanager.host' must not be empty");
    else if (strcmp(host, "auto") == 0)
        err = find_auto(peer, peer_port, stop_fd, out, error);
    else
        snprintf(out, WEIR_HOST_SIZE, "%s", host);
    if (err || loopback_of(bind_host) != 1 || loopback_of(out) == 1)
        return err;
    if (loopback_of(out) == 0)
        return weir_fail(
            error, WEIR_ERR_INVALID,
            "'taskmanager.host' is %s, but executors listen on %s only, where no other TaskManager reaches "
            "them; set 'taskmanager.bind-host' to %s or 0.0.0.0",
            out, bind_host, out);
    weir_log(WARN,
             "executors listen on %s only ('taskmanager.bind-host'): TaskManagers on other hosts will not reach them "
             "under '%s' ('taskmanager.host')",
             bind_host, out);
    return WEIR_OK;
}
