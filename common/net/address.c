#include "net/address.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define OUT_SIZE 256

weir_err weir_bind_endpoint(const char *endpoint, char *out, struct weir_error *error)
{
    const char *colon = strrchr(endpoint, ':');
    if (strncmp(endpoint, "tcp://", 6) != 0 || !colon || colon < endpoint + 6) {
        snprintf(out, OUT_SIZE, "%s", endpoint);
        return WEIR_OK;
    }
    char host[200];
    const char *start = endpoint + 6;
    int size = (int)(colon - start);
    if (size > 1 && start[0] == '[' && start[size - 1] == ']') {
        start++;
        size -= 2;
    }
    snprintf(host, sizeof host, "%.*s", size, start);
    if (strcmp(host, "*") == 0) {
        snprintf(out, OUT_SIZE, "%s", endpoint);
        return WEIR_OK;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    int failed = getaddrinfo(host, NULL, &hints, &found);
    if (failed)
        return weir_fail(error, WEIR_ERR_INVALID, "cannot listen on %s: '%s' is no address of this host: %s", endpoint,
                         host, gai_strerror(failed));
    char number[NI_MAXHOST] = "";
    failed = getnameinfo(found->ai_addr, found->ai_addrlen, number, sizeof number, NULL, 0, NI_NUMERICHOST);
    bool ipv6 = found->ai_family == AF_INET6;
    freeaddrinfo(found);
    if (failed)
        return weir_fail(error, WEIR_ERR_INVALID, "cannot listen on %s: %s", endpoint, gai_strerror(failed));
    snprintf(out, OUT_SIZE, ipv6 ? "tcp://[%.180s]%.16s" : "tcp://%.180s%.16s", number, colon);
    return WEIR_OK;
}
