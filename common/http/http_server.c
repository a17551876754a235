/* HTTP server over libmicrohttpd. See http_server.h for the contract.
 *
 * Life of a request (struct exchange): begin() at the headers: route, who may, limits -> receive() for each piece of the body, into memory
 * or a file -> dispatch() when all is there: the handler at once, or on a pool thread with the connection suspended -> answer().
 *
 * An oversized body is answered with 413 as soon as it is known to be one, and then thrown away, up to DRAIN_MAX and for some seconds
 * (http_connections.h), so that a client that writes before it reads sees the 413 and not a reset. One that is announced as larger
 * than that, or that asked first (Expect), is not read at all.
 *
 * libmicrohttpd's own unescaping is switched off: a path is split first and decoded then, so that %2F stays inside its segment.
 *
 * Browsers: a request that changes something and carries an Origin must come from the page itself (Origin equals Host), and while
 * we listen on loopback that Host must be a loopback name: so no other site in a user's browser can submit code here.
 */
#include "http/http_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <microhttpd.h>
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/json_memory.h"
#include "base/log.h"
#include "http/http_connections.h"

#define SEGMENTS_MAX 16
#define POOL_THREADS 4
#define DRAIN_MAX ((int64_t)64 << 20)
#define CONNECTION_MEMORY ((size_t)64 << 10) /* request line, headers and read buffer of a connection */
#define REQUEST_MS_MAX 600000                /* from its headers to its last byte */
#define JSON_DEPTH_MAX 64
#define TOO_LARGE "The request body is larger than the %lld bytes that this server takes."

struct exchange;

struct weir_http_server {
    struct MHD_Daemon *daemon;
    struct weir_http_connections *connections;
    struct weir_http_server_options options;
    char *address, *upload_dir;
    bool on_loopback;
    int port;
    pthread_t threads[POOL_THREADS];
    int thread_count;
    pthread_mutex_t lock; /* guards the four below */
    pthread_cond_t work;
    struct exchange *first, *last; /* waiting for a pool thread; bounded by connections_max */
    bool stopping;
    uint64_t uploads; /* names of upload files; atomic */
};

struct exchange {
    struct weir_http_server *server;
    struct MHD_Connection *connection;
    struct weir_http_connection *tracked;
    struct exchange *next;
    const struct weir_http_route *route; /* NULL: none fits */
    struct weir_http_server_request request;
    struct weir_http_server_response response;
    struct weir_arena arena;
    struct weir_buf body;
    int64_t received, limit;
    bool over;     /* the body is too large: drain, then 413 */
    bool failed;   /* response is an error already: drain, then answer */
    bool done;     /* the handler has run */
    bool refused;  /* by authorize: answered at the headers */
    int upload_fd; /* -1: none */
    struct MHD_PostProcessor *multipart;
};

/* --- For handlers */

void weir_http_fail(struct weir_http_server_response *response, int status, const char *format, ...)
{
    char message[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    json_t *text = json_string(message);
    if (!text) /* a message that was cut inside a character, or quotes bytes that are not UTF-8 */ {
        for (char *c = message; *c; c++)
            if ((unsigned char)*c >= 0x80)
                *c = '?';
        text = json_string(message);
    }
    weir_http_json(response, status, json_pack("{s:[o]}", "errors", text));
}

void weir_http_json(struct weir_http_server_response *response, int status, json_t *take_json)
{
    weir_assert(take_json != NULL);
    char *text = json_dumps(take_json, JSON_COMPACT);
    json_decref(take_json);
    weir_assert(text != NULL);
    weir_buf_clear(&response->body);
    bool ok = weir_buf_puts(&response->body, text);
    free(text);
    response->status = status;
    if (!ok) {
        response->status = 500;
        ok = weir_buf_puts(&response->body, "{\"errors\":[\"The answer is too large.\"]}");
        weir_assert(ok);
    }
}

const char *weir_http_query_get(const struct weir_http_server_request *request, const char *name)
{
    for (int i = 0; i < request->query_count; i++)
        if (!strcmp(request->query[i].name, name))
            return request->query[i].value;
    return NULL;
}

static bool is_too_deep(const uint8_t *text, size_t size)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < size; i++) {
        uint8_t c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > JSON_DEPTH_MAX)
                return true;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return false;
}

json_t *weir_http_body_object(const struct weir_http_server_request *request,
                              struct weir_http_server_response *response)
{
    if (request->body_size == 0)
        return json_object();
    if (is_too_deep(request->body, request->body_size)) {
        weir_http_fail(response, 400, "The request body is nested deeper than %d.", JSON_DEPTH_MAX);
        return NULL;
    }
    json_error_t error;
    json_t *json = json_loadb((const char *)request->body, request->body_size, JSON_REJECT_DUPLICATES, &error);
    if (json && json_is_object(json))
        return json;
    if (json)
        weir_http_fail(response, 400, "The request body must be a JSON object.");
    else
        weir_http_fail(response, 400, "The request body is not JSON: line %d, column %d: %s.", error.line, error.column,
                       error.text);
    json_decref(json);
    return NULL;
}

int weir_http_status_of(enum weir_err_code code)
{
    switch (code) {
    case WEIR_OK:
        return 200;
    case WEIR_ERR_INVALID:
    case WEIR_ERR_DATA:
    case WEIR_ERR_USER_CODE:
    case WEIR_ERR_UNSUPPORTED:
    case WEIR_ERR_PROTOCOL:
        return 400;
    case WEIR_ERR_NOT_FOUND:
        return 404;
    case WEIR_ERR_EXISTS:
        return 409;
    case WEIR_ERR_TIMEOUT:
        return 408;
    case WEIR_ERR_FULL:
        return 413;
    case WEIR_ERR_CANCELED:
        return 503;
    default:
        return 500;
    }
}

/* --- Paths and routes */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Percent-decoding in place. false: a broken escape or a NUL. */
static bool decode(char *text)
{
    char *to = text;
    for (const char *c = text; *c; c++) {
        if (*c != '%') {
            *to++ = *c;
            continue;
        }
        int high = hex_digit(c[1]), low = high < 0 ? -1 : hex_digit(c[2]);
        if (low < 0 || (high == 0 && low == 0))
            return false;
        *to++ = (char)(high * 16 + low);
        c += 2;
    }
    *to = 0;
    return true;
}

/* Splits and decodes. -1: not a path that anything here may see. A trailing slash is not a segment. */
static int split_path(struct exchange *exchange, const char *url, const char *segments[SEGMENTS_MAX])
{
    int count = 0;
    while (*url == '/') {
        url++;
        size_t size = strcspn(url, "/");
        if (size == 0 && !url[0])
            break;
        if (count == SEGMENTS_MAX)
            return -1;
        char *segment = weir_arena_strndup(&exchange->arena, url, size);
        if (!decode(segment) || !strcmp(segment, ".") || !strcmp(segment, ".."))
            return -1;
        for (const char *c = segment; *c; c++)
            if (*c == '/' || *c == '\\' || (unsigned char)*c < 0x20 || *c == 0x7F)
                return -1;
        segments[count++] = segment;
        url += size;
    }
    return *url ? -1 : count;
}

/* Number of literal segments if the pattern fits, else -1. */
static int match(const char *pattern, const char *const *segments, int count, const char **params)
{
    int literals = 0, param = 0, i = 0;
    while (*pattern == '/') {
        pattern++;
        size_t size = strcspn(pattern, "/");
        if (size == 0)
            break;
        if (i == count)
            return -1;
        if (*pattern == ':') {
            params[param++] = segments[i];
        } else {
            if (strlen(segments[i]) != size || memcmp(segments[i], pattern, size) != 0)
                return -1;
            literals++;
        }
        i++;
        pattern += size;
    }
    return i == count ? literals : -1;
}

static void find_route(struct exchange *exchange, const char *const *segments, int count)
{
    int best = -1;
    for (const struct weir_http_route *r = exchange->server->options.routes; r->method; r++) {
        const char *params[WEIR_HTTP_PARAMS_MAX] = {0};
        if (strcmp(r->method, exchange->request.method) != 0)
            continue;
        int literals = match(r->pattern, segments, count, params);
        if (literals > best) {
            best = literals;
            exchange->route = r;
            memcpy(exchange->request.params, params, sizeof params);
        }
    }
}

/* --- Beginning */

static void fail_early(struct exchange *exchange, int status, const char *message)
{
    if (!exchange->failed)
        weir_http_fail(&exchange->response, status, "%s", message);
    exchange->failed = true;
}

struct query_reader {
    struct exchange *exchange;
    struct weir_http_query *items;
    int count;
};

static enum MHD_Result read_query(void *arg, enum MHD_ValueKind kind, const char *key, const char *value)
{
    (void)kind;
    struct query_reader *reader = arg;
    if (reader->count == WEIR_HTTP_QUERY_MAX) {
        fail_early(reader->exchange, 400, "Too many query parameters.");
        return MHD_NO;
    }
    char *k = weir_arena_strdup(&reader->exchange->arena, key);
    char *v = weir_arena_strdup(&reader->exchange->arena, value ? value : "");
    if (!decode(k) || !decode(v)) {
        fail_early(reader->exchange, 400, "A query parameter is not encoded correctly.");
        return MHD_NO;
    }
    reader->items[reader->count++] = (struct weir_http_query){k, v};
    return MHD_YES;
}

static bool is_loopback_host(const char *host)
{
    char name[256];
    if (*host == '[')
        return !strncmp(host, "[::1]", 5);
    snprintf(name, sizeof name, "%.*s", (int)strcspn(host, ":"), host);
    struct in_addr v4;
    if (inet_pton(AF_INET, name, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    return !strcasecmp(name, "localhost");
}

static bool is_foreign_page(const struct exchange *exchange)
{
    if (!strcmp(exchange->request.method, "GET"))
        return false;
    const char *origin = MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, "Origin");
    const char *host = MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, "Host");
    if (!origin)
        return false;
    const char *authority = strstr(origin, "://");
    if (!authority || !host || strcasecmp(authority + 3, host) != 0)
        return true;
    return exchange->server->on_loopback && !is_loopback_host(host);
}

static bool is_authorized(struct exchange *exchange)
{
    char client[INET6_ADDRSTRLEN] = "?";
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(exchange->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (info && info->client_addr && info->client_addr->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)info->client_addr)->sin_addr, client,
                  sizeof client);
    else if (info && info->client_addr && info->client_addr->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)info->client_addr)->sin6_addr, client,
                  sizeof client);
    return exchange->server->options.authorize(
        exchange->server->options.arg, exchange->route, &exchange->request,
        MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, "Authorization"), client,
        &exchange->response);
}

static void open_upload(struct exchange *exchange)
{
    struct weir_http_server *server = exchange->server;
    uint64_t number = __atomic_add_fetch(&server->uploads, 1, __ATOMIC_RELAXED);
    char *path = weir_arena_format(&exchange->arena, "%s/.upload-%d-%llu", server->upload_dir, (int)getpid(),
                                   (unsigned long long)number);
    exchange->upload_fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (exchange->upload_fd < 0) {
        weir_log(ERROR, "cannot create the upload file '%s': %s", path, strerror(errno));
        fail_early(exchange, 500, "The server cannot store uploads; its log says why.");
        return;
    }
    exchange->request.upload_path = path;
}

static enum MHD_Result take_part(void *arg, enum MHD_ValueKind kind, const char *key, const char *filename,
                                 const char *content_type, const char *transfer_encoding, const char *data,
                                 uint64_t offset, size_t size);

static struct weir_http_connection *tracked_of(struct MHD_Connection *connection)
{
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

static struct exchange *begin(struct weir_http_server *server, struct MHD_Connection *connection, const char *url,
                              const char *method)
{
    struct exchange *exchange = weir_zalloc(sizeof *exchange);
    exchange->server = server;
    exchange->connection = connection;
    exchange->tracked = tracked_of(connection);
    weir_http_connection_begun(server->connections, exchange->tracked);
    exchange->upload_fd = -1;
    weir_arena_init(&exchange->arena);
    exchange->response = (struct weir_http_server_response){.status = 200, .file_fd = -1};
    weir_buf_init(&exchange->response.body, (size_t)256 << 20);
    struct weir_http_server_request *request = &exchange->request;
    request->arg = server->options.arg;
    request->method = weir_arena_strdup(&exchange->arena, method);
    request->upload_name = request->upload_part = "";
    const char *type = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Type");
    request->content_type = weir_arena_strdup(&exchange->arena, type ? type : "");

    const char *segments[SEGMENTS_MAX];
    int count = split_path(exchange, url, segments);
    request->path = weir_arena_strdup(&exchange->arena, url);
    if (count < 0) {
        fail_early(exchange, 400, "Bad request: the path is not acceptable.");
        count = 0;
    } else {
        bool v1 = count && !strcmp(segments[0], "v1");
        find_route(exchange, segments + v1, count - v1);
    }
    if (server->options.authorize && !is_authorized(exchange)) {
        exchange->refused = true;
        weir_buf_init(&exchange->body, 0);
        return exchange;
    }
    struct query_reader reader = {exchange,
                                  weir_arena_alloc(&exchange->arena, WEIR_HTTP_QUERY_MAX * sizeof *reader.items), 0};
    MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, read_query, &reader);
    request->query = reader.items;
    request->query_count = reader.count;
    if (is_foreign_page(exchange))
        fail_early(exchange, 403, "Requests from other sites' pages are not accepted.");

    bool upload = exchange->route && exchange->route->flags & WEIR_HTTP_UPLOAD && !exchange->failed;
    exchange->limit = upload ? server->options.upload_size_max : (int64_t)server->options.body_size_max;
    /* A multipart body is a little more than its file. */
    if (upload && !strncasecmp(request->content_type, "multipart/form-data", 19))
        exchange->limit += 65536;
    weir_buf_init(&exchange->body, upload ? 0 : (size_t)exchange->limit);
    const char *length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");
    int64_t announced = length ? strtoll(length, NULL, 10) : 0;
    if (announced > exchange->limit)
        exchange->over = true;
    if (upload && !exchange->over) {
        open_upload(exchange);
        if (!strncasecmp(request->content_type, "multipart/", 10)) {
            exchange->multipart = MHD_create_post_processor(connection, 32768, take_part, exchange);
            if (!exchange->multipart)
                fail_early(exchange, 400, "The multipart body has no boundary.");
        } else {
            request->upload_count = 1;
        }
    }
    return exchange;
}

/* --- Receiving */

static void write_upload(struct exchange *exchange, const char *data, size_t size)
{
    while (size && !exchange->failed) {
        ssize_t n = write(exchange->upload_fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            weir_log(ERROR, "cannot write an upload to '%s': %s", exchange->request.upload_path, strerror(errno));
            fail_early(exchange, errno == ENOSPC ? 507 : 500,
                       errno == ENOSPC ? "The server has no space left for the upload."
                                       : "The server cannot store the upload; its log says why.");
            return;
        }
        data += n;
        size -= (size_t)n;
        exchange->request.upload_size += n;
    }
}

static enum MHD_Result take_part(void *arg, enum MHD_ValueKind kind, const char *key, const char *filename,
                                 const char *content_type, const char *transfer_encoding, const char *data,
                                 uint64_t offset, size_t size)
{
    (void)kind, (void)content_type, (void)transfer_encoding;
    struct exchange *exchange = arg;
    struct weir_http_server_request *request = &exchange->request;
    if (!filename)
        return MHD_YES;
    if (offset == 0) {
        request->upload_count++;
        if (request->upload_count == 1) {
            request->upload_name = weir_arena_strdup(&exchange->arena, filename);
            request->upload_part = weir_arena_strdup(&exchange->arena, key ? key : "");
        }
    }
    if (request->upload_count == 1)
        write_upload(exchange, data, size);
    return MHD_YES;
}

/* The 413 at once. If that cannot be, it comes when all has been read. */
static void refuse_over(struct exchange *exchange)
{
    char json[200];
    snprintf(json, sizeof json, "{\"errors\":[\"" TOO_LARGE "\"]}", (long long)exchange->limit);
    exchange->over = true;
    (void)weir_http_connection_refuse(exchange->server->connections, exchange->tracked, 413, json);
}

/* false: give the connection up. */
static bool receive(struct exchange *exchange, const char *data, size_t size)
{
    exchange->received += (int64_t)size;
    weir_http_connection_moved(exchange->server->connections, exchange->tracked, (int64_t)size);
    if (exchange->received > exchange->limit && !exchange->over)
        refuse_over(exchange);
    if (exchange->over || exchange->failed)
        return exchange->received <= exchange->limit + DRAIN_MAX;
    if (exchange->multipart) {
        if (MHD_post_process(exchange->multipart, data, size) != MHD_YES)
            fail_early(exchange, 400, "The multipart body is broken.");
    } else if (exchange->upload_fd >= 0) {
        write_upload(exchange, data, size);
    } else if (!weir_buf_append(&exchange->body, data, size)) {
        refuse_over(exchange);
    }
    return true;
}

/* --- Answering */

static void remove_upload(struct exchange *exchange)
{
    if (exchange->upload_fd >= 0)
        close(exchange->upload_fd);
    exchange->upload_fd = -1;
    if (exchange->request.upload_path)
        unlink(exchange->request.upload_path);
    exchange->request.upload_path = NULL;
}

static enum MHD_Result answer(struct exchange *exchange)
{
    remove_upload(exchange); /* so that it is gone when the client has its answer */
    struct weir_http_server_response *r = &exchange->response;
    struct MHD_Response *response;
    uint64_t reply_size = r->file_fd >= 0 ? r->file_size : r->body.size;
    if (r->file_fd >= 0) {
        response = MHD_create_response_from_fd_at_offset64(r->file_size, r->file_fd, r->file_offset);
        if (response)
            r->file_fd = -1; /* libmicrohttpd closes it */
    } else {
        size_t size = r->body.size;
        response = MHD_create_response_from_buffer(size, r->body.data, MHD_RESPMEM_MUST_FREE);
        if (response)
            weir_buf_init(&r->body, r->body.max);
    }
    if (!response)
        return MHD_NO;
    const char *type = r->content_type ? r->content_type : "application/json; charset=UTF-8";
    MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (!strncmp(type, "text/html", 9)) {
        MHD_add_response_header(
            response, "Content-Security-Policy",
            "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
        MHD_add_response_header(response, "X-Frame-Options", "DENY");
    }
    if (r->status == 401)
        MHD_add_response_header(response, "WWW-Authenticate", "Bearer realm=\"weir\"");
    if (r->no_store)
        MHD_add_response_header(response, "Cache-Control", "no-store");
    if (exchange->over)
        MHD_add_response_header(response, "Connection", "close");
    weir_http_connection_replied(exchange->server->connections, exchange->tracked, reply_size);
    enum MHD_Result result = MHD_queue_response(exchange->connection, (unsigned)r->status, response);
    MHD_destroy_response(response);
    return result;
}

static void fail_over(struct exchange *exchange)
{
    weir_http_fail(&exchange->response, 413, TOO_LARGE, (long long)exchange->limit);
}

static void fail_unknown(struct exchange *exchange)
{
    if (!strcmp(exchange->request.method, "GET"))
        weir_http_fail(&exchange->response, 404, "Unable to load requested file %s.", exchange->request.path);
    else
        weir_http_fail(&exchange->response, 404, "Not found: %s", exchange->request.path);
}

static void run_handler(struct exchange *exchange)
{
    exchange->route->handler(&exchange->request, &exchange->response);
    remove_upload(exchange);
    exchange->done = true;
}

static void *pool_main(void *arg)
{
    struct weir_http_server *server = arg;
    pthread_mutex_lock(&server->lock);
    for (;;) {
        while (!server->first && !server->stopping)
            pthread_cond_wait(&server->work, &server->lock);
        struct exchange *exchange = server->first;
        if (!exchange)
            break;
        server->first = exchange->next;
        if (!server->first)
            server->last = NULL;
        pthread_mutex_unlock(&server->lock);
        run_handler(exchange);
        MHD_resume_connection(exchange->connection);
        pthread_mutex_lock(&server->lock);
    }
    pthread_mutex_unlock(&server->lock);
    return NULL;
}

/* Suspends and queues; false while stopping. */
static bool hand_to_pool(struct exchange *exchange)
{
    struct weir_http_server *server = exchange->server;
    pthread_mutex_lock(&server->lock);
    bool ok = !server->stopping;
    if (ok) {
        MHD_suspend_connection(exchange->connection); /* before a pool thread can resume it */
        *(server->last ? &server->last->next : &server->first) = exchange;
        server->last = exchange;
        pthread_cond_signal(&server->work);
    }
    pthread_mutex_unlock(&server->lock);
    return ok;
}

/* All of the request is there. */
static enum MHD_Result dispatch(struct exchange *exchange)
{
    if (!weir_http_connection_handled(exchange->server->connections, exchange->tracked))
        return MHD_NO; /* answered already */
    if (exchange->multipart) {
        MHD_destroy_post_processor(exchange->multipart); /* flushes */
        exchange->multipart = NULL;
    }
    if (exchange->upload_fd >= 0) {
        close(exchange->upload_fd);
        exchange->upload_fd = -1;
    }
    exchange->request.body = exchange->body.data;
    exchange->request.body_size = exchange->body.size;
    if (exchange->over) {
        fail_over(exchange);
    } else if (exchange->failed) {
        /* answered below */
    } else if (!exchange->route) {
        fail_unknown(exchange);
    } else if (exchange->route->flags & WEIR_HTTP_BLOCKING) {
        if (hand_to_pool(exchange))
            return MHD_YES;
        weir_http_fail(&exchange->response, 503, "The server is shutting down.");
    } else {
        run_handler(exchange);
    }
    return answer(exchange);
}

/* --- libmicrohttpd's callbacks */

static enum MHD_Result on_access(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
                                 const char *version, const char *data, size_t *size, void **state)
{
    (void)version;
    struct exchange *exchange = *state;
    if (!exchange) {
        *state = exchange = begin(arg, connection, url, method);
        if (exchange->refused)
            return answer(exchange);
        if (exchange->over) {
            const char *length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");
            bool asked = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Expect") != NULL;
            if (asked || !length || strtoll(length, NULL, 10) > exchange->limit + DRAIN_MAX) {
                fail_over(exchange);
                return answer(exchange);
            }
            refuse_over(exchange);
        }
        return MHD_YES;
    }
    if (exchange->done)
        return answer(exchange);
    if (*size) {
        size_t n = *size;
        *size = 0;
        return receive(exchange, data, n) ? MHD_YES : MHD_NO;
    }
    return dispatch(exchange);
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code)
{
    (void)arg, (void)connection, (void)code;
    struct exchange *exchange = *state;
    if (!exchange)
        return;
    *state = NULL;
    weir_http_connection_ended(exchange->server->connections, exchange->tracked);
    if (exchange->multipart)
        MHD_destroy_post_processor(exchange->multipart);
    remove_upload(exchange);
    if (exchange->response.file_fd >= 0)
        close(exchange->response.file_fd);
    weir_buf_fini(&exchange->response.body);
    weir_buf_fini(&exchange->body);
    weir_arena_fini(&exchange->arena);
    free(exchange);
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct weir_http_server *server = arg;
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        *context = weir_http_connection_opened(
            server->connections, MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd);
    else
        weir_http_connection_closed(server->connections, *context);
}

static void *on_request_line(void *arg, const char *uri, struct MHD_Connection *connection)
{
    struct weir_http_server *server = arg;
    (void)uri;
    weir_http_connection_requested(server->connections, tracked_of(connection));
    return NULL; /* the exchange begins with the headers */
}

static size_t keep_escapes(void *arg, struct MHD_Connection *connection, char *text)
{
    (void)arg, (void)connection;
    return strlen(text);
}

__attribute__((format(printf, 2, 0))) static void on_mhd_log(void *arg, const char *format, va_list args)
{
    (void)arg;
    char text[512];
    vsnprintf(text, sizeof text, format, args);
    size_t size = strlen(text);
    while (size && text[size - 1] == '\n')
        text[--size] = 0;
    weir_log(DEBUG, "http: %s", text);
}

/* --- Start and stop */

static weir_err listen_on(const char *address, int port, int *out_fd, int *out_port, struct weir_error *error)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found = NULL;
    char service[16];
    snprintf(service, sizeof service, "%d", port);
    int rc = getaddrinfo(address, service, &hints, &found);
    if (rc != 0)
        return weir_fail(error, WEIR_ERR_INVALID, "cannot listen on %s: %s", address, gai_strerror(rc));
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;
    weir_err err = WEIR_OK;
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, 128) != 0) {
        if (errno == EADDRINUSE)
            err = weir_fail(error, WEIR_ERR_EXISTS, "cannot listen on %s:%d: the port is in use by another process",
                            address, port);
        else
            err = weir_fail_errno(error, WEIR_ERR_IO, "cannot listen on %s:%d", address, port);
    } else {
        struct sockaddr_storage bound;
        socklen_t size = sizeof bound;
        getsockname(fd, (struct sockaddr *)&bound, &size);
        *out_port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                                      : ((struct sockaddr_in *)&bound)->sin_port);
    }
    freeaddrinfo(found);
    if (err && fd >= 0)
        close(fd);
    *out_fd = fd;
    return err;
}

static void free_server(struct weir_http_server *server)
{
    pthread_mutex_destroy(&server->lock);
    pthread_cond_destroy(&server->work);
    free(server->address);
    free(server->upload_dir);
    free(server);
}

weir_err weir_http_server_start(const struct weir_http_server_options *options, struct weir_http_server **out,
                                struct weir_error *error)
{
    weir_json_memory();
    struct weir_http_server *server = weir_zalloc(sizeof *server);
    server->options = *options;
    server->address = weir_strdup(options->address ? options->address : "127.0.0.1");
    server->upload_dir = options->upload_dir ? weir_strdup(options->upload_dir) : NULL;
    server->on_loopback = is_loopback_host(server->address) || !strcmp(server->address, "::1");
    if (!server->options.body_size_max)
        server->options.body_size_max = (size_t)1 << 20;
    if (!server->options.upload_size_max)
        server->options.upload_size_max = (int64_t)256 << 20;
    for (const struct weir_http_route *r = options->routes; r->method; r++)
        weir_assert(!(r->flags & WEIR_HTTP_UPLOAD) || server->upload_dir);
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->work, NULL);
    int fd = -1;
    weir_err err = listen_on(server->address, options->port, &fd, &server->port, error);
    if (err) {
        free_server(server);
        return err;
    }
    int timeout_ms = options->timeout_ms ? options->timeout_ms : 30000;
    int connections_max = options->connections_max ? options->connections_max : 256;
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)options->certificate},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)options->certificate_key},
        {MHD_OPTION_END, 0, NULL},
    };
    bool with_tls = options->certificate != NULL;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | MHD_USE_ITC;
    server->connections = weir_http_connections_new(connections_max, timeout_ms, REQUEST_MS_MAX);
    if (!server->connections) {
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot start the HTTP server's threads");
        close(fd);
        free_server(server);
        return err;
    }
    server->daemon = MHD_start_daemon(
        flags | (with_tls ? MHD_USE_TLS : 0), 0, NULL, NULL, on_access, server, MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log,
        NULL, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_URI_LOG_CALLBACK, on_request_line, server,
        MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)timeout_ms / 1000 + 5, /* readers that stand still: the others are timed by http_connections.c */
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)connections_max * 4, /* meanwhile */
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
        MHD_OPTION_ARRAY, with_tls ? tls : tls + 2, MHD_OPTION_END);
    if (!server->daemon) {
        close(fd);
        if (with_tls)
            err = weir_fail(error, WEIR_ERR_INVALID, "TLS does not take the certificate and its key%s",
                            MHD_is_feature_supported(MHD_FEATURE_TLS) == MHD_YES
                                ? ""
                                : ": this libmicrohttpd was built without TLS");
        else
            err = weir_fail_errno(error, WEIR_ERR_IO, "cannot start the HTTP server on %s:%d", server->address,
                                  server->port);
        weir_http_connections_free(server->connections);
        free_server(server);
        return err;
    }
    for (; server->thread_count < POOL_THREADS; server->thread_count++) {
        errno = pthread_create(&server->threads[server->thread_count], NULL, pool_main, server);
        if (errno) {
            err = weir_fail_errno(error, WEIR_ERR_IO, "cannot start the HTTP server's threads");
            weir_http_server_stop(server);
            return err;
        }
    }
    *out = server;
    return WEIR_OK;
}

int weir_http_server_port(const struct weir_http_server *server)
{
    return server->port;
}

void weir_http_server_stop(struct weir_http_server *server)
{
    if (!server)
        return;
    pthread_mutex_lock(&server->lock);
    server->stopping = true;
    pthread_cond_broadcast(&server->work);
    pthread_mutex_unlock(&server->lock);
    for (int i = 0; i < server->thread_count; i++) /* they finish what is queued, so that nothing is suspended below */
        pthread_join(server->threads[i], NULL);
    MHD_stop_daemon(server->daemon);
    weir_http_connections_free(server->connections);
    free_server(server);
}
