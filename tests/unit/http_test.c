/* common/http: server and client against each other, and the server against raw bytes. */
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/hash.h"
#include "http/http_client.h"
#include "http/http_server.h"

static char directory[64];
static struct weir_http_server *server;
static pthread_barrier_t barrier;

static void echo(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    json_t *query = json_object();
    for (int i = 0; i < request->query_count; i++)
        json_object_set_new(query, request->query[i].name, json_string(request->query[i].value));
    weir_http_json(response, 200,
                   json_pack("{s:s, s:s, s:i, s:o, s:s}", "path", request->path, "first",
                             request->params[0] ? request->params[0] : "-", "body", (int)request->body_size, "query",
                             query, "arg", (const char *)request->arg));
}

static void literal(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    (void)request;
    weir_http_json(response, 200, json_pack("{s:b}", "literal", 1));
}

static void body(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    json_t *object = weir_http_body_object(request, response);
    if (object)
        weir_http_json(response, 200, object);
}

static void upload(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    char hex[65] = "";
    if (request->upload_path)
        weir_sha256_file_hex(request->upload_path, hex, NULL);
    weir_http_json(response, 200,
                   json_pack("{s:s, s:s, s:I, s:i, s:s}", "name", request->upload_name, "part", request->upload_part,
                             "size", (json_int_t)request->upload_size, "count", request->upload_count, "sha", hex));
}

static void meet(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    pthread_barrier_wait(&barrier);
    echo(request, response);
}

static void file(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    (void)request;
    char path[128];
    snprintf(path, sizeof path, "%s/served", directory);
    response->file_fd = open(path, O_RDONLY);
    response->file_offset = 2;
    response->file_size = 5;
    response->content_type = "text/plain";
}

static void fails(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    (void)request;
    weir_http_fail(response, 409, "not \xff utf-8 \"%s\"", "x");
}

static const struct weir_http_route routes[] = {
    {"GET", "/", echo, 0},
    {"GET", "/echo/:name", echo, 0},
    {"GET", "/echo/literal", literal, 0},
    {"GET", "/echo/:name/x/:other", echo, 0},
    {"POST", "/body", body, 0},
    {"PATCH", "/echo/:name", echo, 0},
    {"POST", "/upload", upload, WEIR_HTTP_UPLOAD | WEIR_HTTP_BLOCKING},
    {"GET", "/meet", meet, WEIR_HTTP_BLOCKING},
    {"GET", "/file", file, 0},
    {"GET", "/fails", fails, 0},
    {NULL, NULL, NULL, 0},
};

static char *url_of(const char *path)
{
    static char url[512];
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", weir_http_server_port(server), path);
    return url;
}

static json_t *call(const char *method, const char *path, const char *text, int status)
{
    struct weir_http_request request = {
        .method = method, .url = url_of(path), .body = text, .body_size = text ? strlen(text) : 0};
    struct weir_http_response response;
    struct weir_error error;
    if (weir_http_call(&request, &response, &error))
        fail_msg("%s", error.message);
    if (response.status != status)
        fail_msg("%s %s: %d %s", method, path, response.status, (char *)response.body.data);
    json_t *json = json_loads(response.body.data ? (char *)response.body.data : "", 0, NULL);
    assert_non_null(json);
    weir_http_response_fini(&response);
    return json;
}

static void expect(json_t *json, const char *key, const char *value)
{
    const char *text = json_string_value(json_object_get(json, key));
    assert_non_null(text);
    assert_string_equal(text, value);
}

static void expect_error(json_t *json, const char *part)
{
    assert_int_equal(json_object_size(json), 1);
    const char *text = json_string_value(json_array_get(json_object_get(json, "errors"), 0));
    assert_non_null(text);
    if (!strstr(text, part))
        fail_msg("'%s' lacks '%s'", text, part);
    json_decref(json);
}

static void routing(void **state)
{
    (void)state;
    json_t *json = call("GET", "/echo/a%20b%C3%A4?q=1%262&e&p=a+b", NULL, 200);
    expect(json, "first", "a b\xC3\xA4");
    expect(json, "arg", "the arg");
    expect(json_object_get(json, "query"), "q", "1&2");
    expect(json_object_get(json, "query"), "e", "");
    expect(json_object_get(json, "query"), "p", "a b");
    json_decref(json);
    json = call("GET", "/v1/echo/z", NULL, 200);
    expect(json, "first", "z");
    json_decref(json);
    json = call("GET", "/v1/echo/literal", NULL, 200);
    assert_true(json_is_true(json_object_get(json, "literal")));
    json_decref(json);
    json_decref(call("GET", "/", NULL, 200));
    json_decref(call("GET", "/v1", NULL, 200));
    json = call("GET", "/echo/one/x/two", "{}", 200); /* a GET with a body, as Flink's client sends */
    expect(json, "first", "one");
    json_decref(json);
    json_decref(call("PATCH", "/echo/one", NULL, 200));
    expect_error(call("GET", "/nosuch", NULL, 404), "Unable to load requested file /nosuch.");
    expect_error(call("GET", "/v2/echo/x", NULL, 404), "Unable to load requested file /v2/echo/x.");
    expect_error(call("POST", "/echo/x", "{}", 404), "Not found: /echo/x");
    expect_error(call("DELETE", "/", NULL, 404), "Not found: /");
    expect_error(call("GET", "/fails", NULL, 409), "not ? utf-8 \"x\"");
}

static void json_bodies(void **state)
{
    (void)state;
    json_t *json = call("POST", "/body", "{\"a\":[1,{}]}", 200);
    assert_int_equal(json_array_size(json_object_get(json, "a")), 2);
    json_decref(json);
    json = call("POST", "/body", "", 200);
    assert_int_equal(json_object_size(json), 0);
    json_decref(json);
    expect_error(call("POST", "/body", "{\"a\":", 400), "not JSON: line 1");
    expect_error(call("POST", "/body", "[1]", 400), "must be a JSON object");
    expect_error(call("POST", "/body", "{\"a\":1,\"a\":2}", 400), "duplicate");
    expect_error(call("POST", "/body", "{\"a\":\"\xff\"}", 400), "not JSON");
    char deep[2000] = "{\"a\":";
    memset(deep + 5, '[', 900);
    memset(deep + 905, ']', 900);
    strcpy(deep + 1805, "}");
    expect_error(call("POST", "/body", deep, 400), "nested deeper");
}

static void bodies_are_bounded(void **state)
{
    (void)state;
    size_t size = 3 << 20;
    char *big = malloc(size + 1);
    memset(big, ' ', size);
    big[size] = 0;
    expect_error(call("POST", "/body", big, 413), "larger than the 1048576 bytes");
    expect_error(call("POST", "/nosuch", big, 413), "larger");
    big[1 << 20] = 0;
    expect_error(call("POST", "/body", big, 400), "not JSON"); /* just fits */
    free(big);
}

static char *write_temporary(const char *name, size_t size)
{
    static char path[160];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *f = fopen(path, "w");
    for (size_t i = 0; i < size; i++)
        fputc((int)(i * 31 % 251), f);
    fclose(f);
    return path;
}

static int files_in(const char *path)
{
    int count = 0;
    DIR *d = opendir(path);
    for (struct dirent *e; (e = readdir(d));)
        count += e->d_name[0] != '.' || !strncmp(e->d_name, ".upload", 7);
    closedir(d);
    return count;
}

static void uploads(void **state)
{
    (void)state;
    char sha[65], up[100];
    snprintf(up, sizeof up, "%s/up", directory);
    static const size_t sizes[] = {0, 1, 70000, 2 << 20, (4 << 20)};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const char *path = write_temporary("job.so", sizes[i]);
        weir_sha256_file_hex(path, sha, NULL);
        struct weir_http_request request = {.method = "POST", .url = url_of("/upload"), .upload_path = path};
        struct weir_http_response response;
        struct weir_error error;
        assert_int_equal(weir_http_call(&request, &response, &error), 0);
        assert_int_equal(response.status, 200);
        json_t *json = json_loads((char *)response.body.data, 0, NULL);
        expect(json, "name", "job.so");
        expect(json, "part", "jarfile");
        expect(json, "sha", sha);
        assert_int_equal(json_integer_value(json_object_get(json, "size")), sizes[i]);
        json_decref(json);
        weir_http_response_fini(&response);
        assert_int_equal(files_in(up), 0);
    }
    const char *path = write_temporary("job.so", (5 << 20));
    struct weir_http_request request = {.method = "POST", .url = url_of("/upload"), .upload_path = path};
    struct weir_http_response response;
    assert_int_equal(weir_http_call(&request, &response, NULL), 0);
    assert_int_equal(response.status, 413);
    weir_http_response_fini(&response);
    /* The body itself, without multipart. */
    json_t *json = call("POST", "/upload", "plain bytes", 200);
    expect(json, "part", "");
    assert_int_equal(json_integer_value(json_object_get(json, "size")), 11);
    json_decref(json);
    request = (struct weir_http_request){.method = "POST", .url = url_of("/upload"), .upload_path = "/nonexistent"};
    assert_int_equal(weir_http_call(&request, &response, NULL), WEIR_ERR_NOT_FOUND);
    assert_int_equal(files_in(up), 0);
}

static int raw_connect(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)weir_http_server_port(server)),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    struct timeval t = {20, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    return fd;
}

/* Sends and reads to the end (Connection: close is in the text). */
static void raw(const char *text, size_t size, char *reply, size_t reply_size)
{
    int fd = raw_connect();
    size_t sent = 0, got = 0;
    while (sent < size) {
        ssize_t n = send(fd, text + sent, size - sent, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        sent += (size_t)n;
    }
    for (ssize_t n; got < reply_size - 1 && (n = recv(fd, reply + got, reply_size - 1 - got, 0)) > 0;)
        got += (size_t)n;
    reply[got] = 0;
    close(fd);
}

static void expect_raw(const char *text, const char *status)
{
    char reply[8192];
    raw(text, strlen(text), reply, sizeof reply);
    if (!strstr(reply, status))
        fail_msg("'%.80s' -> '%.300s', not %s", text, reply, status);
}

static void hostile_requests(void **state)
{
    (void)state;
#define END " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    expect_raw("GET /echo/x" END, " 200 ");
    expect_raw("GET /echo/.." END, " 400 ");
    expect_raw("GET /echo/%2e%2e" END, " 400 ");
    expect_raw("GET /echo/%2e%2e%2fetc%2fpasswd" END, " 400 ");
    expect_raw("GET /echo/a%00b" END, " 400 ");
    expect_raw("GET /echo/a%0ab" END, " 400 ");
    expect_raw("GET /echo/a%5cb" END, " 400 ");
    expect_raw("GET /echo/%zz" END, " 400 ");
    expect_raw("GET /echo/x?a=%zz" END, " 400 ");
    expect_raw("GET /echo//x" END, " 404 ");
    expect_raw("HEAD /echo/x" END, " 404 ");
    expect_raw("OPTIONS /echo/x" END, " 404 ");
    /* 10 GB announced. */
    expect_raw("POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 10737418240\r\n\r\n{\"a\"", " 413 ");
    expect_raw("POST /body HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2000000\r\n\r\n", " 413 ");
    /* Headers and request lines that do not end. */
    char *big = malloc(300000);
    int n = sprintf(big, "GET /echo/x HTTP/1.1\r\nHost: x\r\nX: ");
    memset(big + n, 'a', 200000);
    char reply[4096];
    strcpy(big + n + 200000, "\r\n\r\n");
    raw(big, strlen(big), reply, sizeof reply);
    assert_null(strstr(reply, " 200 "));
    n = sprintf(big, "GET /echo/");
    memset(big + n, 'a', 200000);
    strcpy(big + n + 200000, END);
    raw(big, strlen(big), reply, sizeof reply);
    assert_null(strstr(reply, " 200 "));
    /* More query arguments than bounds allow. */
    n = sprintf(big, "GET /echo/x?");
    for (int i = 0; i < 100; i++)
        n += sprintf(big + n, "a%d=1&", i);
    strcpy(big + n, END);
    expect_raw(big, " 400 ");
    /* Chunked, without an announced length. */
    n = sprintf(big, "POST /body HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
    char *chunked = malloc(3 << 20);
    size_t at = (size_t)n;
    memcpy(chunked, big, at);
    for (int i = 0; i < 20; i++) {
        at += (size_t)sprintf(chunked + at, "%x\r\n", 100000);
        memset(chunked + at, ' ', 100000);
        at += 100000;
        at += (size_t)sprintf(chunked + at, "\r\n");
    }
    at += (size_t)sprintf(chunked + at, "0\r\n\r\n");
    raw(chunked, at, reply, sizeof reply);
    assert_non_null(strstr(reply, " 413 "));
    free(chunked);
    free(big);
    /* Multipart that is none, and one whose end is missing. */
    expect_raw(
        "POST /upload HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: multipart/form-data\r\nContent-Length: 3\r\n\r\nabc",
        " 400 ");
    int fd = raw_connect();
    const char *half =
        "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 500\r\n\r\n"
        "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"../../x.so\"\r\n\r\nabc";
    assert_true(send(fd, half, strlen(half), 0) > 0);
    close(fd);
    /* Other sites' pages. */
#define POST(host, origin) \
    "POST /body HTTP/1.1\r\nHost: " host "\r\nOrigin: " origin "\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
    expect_raw(POST("127.0.0.1:1", "http://127.0.0.1:1"), " 200 ");
    expect_raw(POST("localhost:1", "http://localhost:1"), " 200 ");
    expect_raw(POST("127.0.0.1:1", "http://evil.example"), " 403 ");
    expect_raw(POST("evil.example", "http://evil.example"), " 403 ");
    expect_raw(POST("127.0.0.1:1", "null"), " 403 ");
    expect_raw("GET /echo/x" END, " 200 "); /* still there */
}

static void *call_meet(void *arg)
{
    char *url = arg;
    struct weir_http_request request = {.method = "GET", .url = url};
    struct weir_http_response response;
    long ok = weir_http_call(&request, &response, NULL) == 0 && response.status == 200;
    if (ok)
        weir_http_response_fini(&response);
    return (void *)ok;
}

static void blocking_handlers_run_side_by_side(void **state)
{
    (void)state;
    pthread_barrier_init(&barrier, NULL, 4);
    char *url = strdup(url_of("/meet"));
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, call_meet, url);
    for (int i = 0; i < 4; i++) {
        void *ok;
        pthread_join(threads[i], &ok);
        assert_non_null(ok);
    }
    free(url);
    pthread_barrier_destroy(&barrier);
}

static weir_err download(const char *from, const char *path, int64_t size_max, struct weir_error *error)
{
    struct weir_http_request request = {.method = "GET", .url = url_of(from), .timeout_ms = 5000};
    return weir_http_download(&request, path, size_max, error);
}

static void files_and_download(void **state)
{
    (void)state;
    char path[160], text[64];
    snprintf(path, sizeof path, "%s/served", directory);
    FILE *f = fopen(path, "w");
    fputs("0123456789", f);
    fclose(f);
    struct weir_error error;
    snprintf(path, sizeof path, "%s/got", directory);
    assert_int_equal(download("/file", path, 100, &error), 0);
    f = fopen(path, "r");
    assert_non_null(fgets(text, sizeof text, f));
    fclose(f);
    assert_string_equal(text, "23456");
    assert_int_equal(download("/file", path, 4, &error), WEIR_ERR_FULL);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(download("/none", path, 100, &error), WEIR_ERR_NOT_FOUND);
    assert_non_null(strstr(error.message, "404"));
}

static void client_errors(void **state)
{
    (void)state;
    struct weir_error error;
    struct weir_http_response response;
    struct weir_http_request request = {.method = "GET", .url = "http://127.0.0.1:1/x"};
    assert_int_equal(weir_http_call(&request, &response, &error), WEIR_ERR_IO);
    assert_non_null(strstr(error.message, "127.0.0.1:1 is not reachable"));
    assert_int_equal(error.effect, WEIR_EFFECT_NONE);
    request.url = "file:///etc/passwd";
    assert_int_equal(weir_http_call(&request, &response, &error), WEIR_ERR_INVALID);
    request.url = url_of("/echo/x");
    request.response_size_max = 10;
    assert_int_equal(weir_http_call(&request, &response, &error), WEIR_ERR_FULL);
    /* A server that accepts and says nothing. */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    assert_int_equal(bind(fd, (struct sockaddr *)&a, size), 0);
    assert_int_equal(listen(fd, 1), 0);
    getsockname(fd, (struct sockaddr *)&a, &size);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", ntohs(a.sin_port));
    request = (struct weir_http_request){.method = "GET", .url = url, .timeout_ms = 100};
    assert_int_equal(weir_http_call(&request, &response, &error), WEIR_ERR_TIMEOUT);
    close(fd);
    char *escaped = weir_http_escape("a b/\xC3\xA4?");
    assert_string_equal(escaped, "a%20b%2F%C3%A4%3F");
    free(escaped);
    /* The port of a running server. */
    struct weir_http_server *second = NULL;
    struct weir_http_server_options options = {
        .port = weir_http_server_port(server), .routes = routes, .upload_dir = directory};
    assert_int_equal(weir_http_server_start(&options, &second, &error), WEIR_ERR_EXISTS);
    assert_non_null(strstr(error.message, "in use"));
}

static int start(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/weir-http-test-XXXXXX");
    if (!mkdtemp(directory))
        return -1;
    char up[100];
    snprintf(up, sizeof up, "%s/up", directory);
    mkdir(up, 0700);
    static char arg[] = "the arg";
    struct weir_http_server_options options = {
        .routes = routes, .arg = arg, .upload_size_max = 4 << 20, .upload_dir = up};
    struct weir_error error;
    return weir_http_server_start(&options, &server, &error);
}

static int stop(void **state)
{
    (void)state;
    weir_http_server_stop(server);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command);
}

/* --- Those who hold connections and do not use them: on a server of few connections and little patience */

static struct weir_http_server *usual_server;

static int start_impatient(void **state)
{
    (void)state;
    char up[100];
    snprintf(up, sizeof up, "%s/up", directory);
    static char arg[] = "the arg";
    struct weir_http_server_options options = {
        .routes = routes, .arg = arg, .upload_dir = up, .timeout_ms = 300, .connections_max = 8};
    usual_server = server;
    return weir_http_server_start(&options, &server, NULL);
}

static int stop_impatient(void **state)
{
    (void)state;
    weir_http_server_stop(server);
    server = usual_server;
    return 0;
}

static void read_all(int fd, char *reply, size_t size)
{
    size_t got = 0;
    for (ssize_t n; got < size - 1 && (n = recv(fd, reply + got, size - 1 - got, 0)) > 0;)
        got += (size_t)n;
    reply[got] = 0;
}

static void slow_requests_get_408(void **state)
{
    (void)state;
    char up[100];
    snprintf(up, sizeof up, "%s/up", directory);
    static const char *const beginnings[] = {
        "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{",
        "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
        "POST /nosuch HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        "GET /echo/x HTTP/1.1\r\nHost: x\r\nX-Endless: a",
    };
    char reply[4096];
    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++) {
        int fd = raw_connect();
        assert_true(send(fd, beginnings[i], strlen(beginnings[i]), 0) > 0);
        read_all(fd, reply, sizeof reply);
        assert_memory_equal(reply, "HTTP/1.1 408 ", 13);
        assert_non_null(strstr(reply, "{\"errors\":[\"The request did not arrive in time.\"]}"));
        close(fd);
    }
    /* No request line at all, or one whose letters trickle in: closed without a word. */
    int fd = raw_connect();
    for (int i = 0; send(fd, "G", 1, MSG_NOSIGNAL) == 1; i++) {
        assert_true(i < 200);
        usleep(100000);
    }
    close(fd);
    /* Header lines that go on and on. */
    fd = raw_connect();
    assert_true(send(fd, beginnings[3], strlen(beginnings[3]), 0) > 0);
    for (int i = 0; send(fd, "a: b\r\n", 6, MSG_NOSIGNAL) == 6; i++) {
        assert_true(i < 200);
        usleep(100000);
    }
    close(fd);
    for (int i = 0; i < 100 && files_in(up) > 0; i++)
        usleep(100000);
    assert_int_equal(files_in(up), 0);
}

static void who_holds_connections_gives_way(void **state)
{
    (void)state;
    int held[60];
    const char *head = "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n";
    for (int i = 0; i < 60; i++) {
        held[i] = raw_connect();
        if (i % 3) /* a third says nothing, a third a part of its headers, a third all but the body */
            (void)!send(held[i], head, i % 3 == 1 ? 30 : strlen(head), MSG_NOSIGNAL);
        if (i % 10 == 9)
            json_decref(call("GET", "/echo/x", NULL, 200));
    }
    for (int i = 0; i < 60; i++)
        close(held[i]);
    json_decref(call("GET", "/echo/x", NULL, 200));
}

/* The 413 is there while the client still writes; and one that never ends is cut off. */
static void endless_upload_is_answered_and_cut_off(void **state)
{
    (void)state;
    int fd = raw_connect();
    const char *head = "POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    char *chunk = malloc(100100), reply[4096];
    assert_true(send(fd, head, strlen(head), 0) > 0);
    size_t size = (size_t)sprintf(chunk, "%x\r\n", 100000);
    memset(chunk + size, ' ', 100000);
    memcpy(chunk + size + 100000, "\r\n", 2);
    size += 100002;
    ssize_t got = 0;
    int sent = 0;
    for (; sent < 2000; sent++) {
        if (send(fd, chunk, size, MSG_NOSIGNAL) != (ssize_t)size)
            break;
        if (got <= 0)
            got = recv(fd, reply, sizeof reply, MSG_DONTWAIT);
    }
    if (got <= 0)
        got = recv(fd, reply, sizeof reply, MSG_DONTWAIT);
    assert_true(sent < 2000); /* of 200 MB */
    assert_true(got > 13);
    assert_memory_equal(reply, "HTTP/1.1 413 ", 13);
    free(chunk);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routing),
        cmocka_unit_test(json_bodies),
        cmocka_unit_test(bodies_are_bounded),
        cmocka_unit_test(uploads),
        cmocka_unit_test(hostile_requests),
        cmocka_unit_test_setup_teardown(slow_requests_get_408, start_impatient, stop_impatient),
        cmocka_unit_test_setup_teardown(who_holds_connections_gives_way, start_impatient, stop_impatient),
        cmocka_unit_test(endless_upload_is_answered_and_cut_off),
        cmocka_unit_test(blocking_handlers_run_side_by_side),
        cmocka_unit_test(files_and_download),
        cmocka_unit_test(client_errors),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
