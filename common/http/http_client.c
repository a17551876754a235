/* HTTP client over libcurl's easy interface, one handle a call: the `weir` command makes a handful of calls, and a TaskManager
 * fetches code from a thread of its own; nothing here is on a hot path. */
#include "http/http_client.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/secret.h"
#include "http/http_int.h"

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void init_curl(void)
{
    curl_global_init(CURL_GLOBAL_ALL);
}

void weir_http_init(void)
{
    pthread_once(&curl_once, init_curl);
}

struct sink {
    struct weir_buf *buf; /* or */
    int fd;
    int64_t size, size_max;
    bool full;
    int write_errno;
};

static size_t take_bytes(char *data, size_t one, size_t size, void *arg)
{
    (void)one;
    struct sink *sink = arg;
    sink->size += (int64_t)size;
    if (sink->size > sink->size_max) {
        sink->full = true;
        return 0;
    }
    if (sink->buf) {
        sink->full = !weir_buf_append(sink->buf, data, size);
        return sink->full ? 0 : size;
    }
    for (size_t done = 0; done < size;) {
        ssize_t n = write(sink->fd, data + done, size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            sink->write_errno = errno;
            return 0;
        }
        done += (size_t)n;
    }
    return size;
}

/* "127.0.0.1:8081" of "http://127.0.0.1:8081/jobs". */
static void authority_of(const char *url, char out[256])
{
    const char *start = strstr(url, "://");
    start = start ? start + 3 : url;
    snprintf(out, 256, "%.*s", (int)strcspn(start, "/?"), start);
}

static bool may_want_certificate(const struct weir_http_trouble *trouble)
{
    return trouble->certificate_option && !trouble->certificate_given && strncmp(trouble->url, "https:", 6) == 0;
}

weir_err weir_http_explain(const struct weir_http_trouble *trouble, struct weir_error *error)
{
    char authority[256];
    authority_of(trouble->url, authority);
    CURLcode code = (CURLcode)trouble->code;
    const char *text = *trouble->detail ? trouble->detail : curl_easy_strerror(code);
    long os_errno = 0;
    double connected = 0;
    curl_easy_getinfo(trouble->curl, CURLINFO_OS_ERRNO, &os_errno);
    curl_easy_getinfo(trouble->curl, CURLINFO_CONNECT_TIME, &connected);
    weir_err err;
    if (trouble->full)
        err = weir_fail(error, WEIR_ERR_FULL, "the answer of %s is larger than %lld bytes", authority,
                        (long long)trouble->size_max);
    else if (trouble->write_errno)
        err = weir_fail(error, WEIR_ERR_IO, "cannot store the answer of %s: %s", authority,
                        strerror(trouble->write_errno));
    else if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL)
        err = weir_fail(error, WEIR_ERR_INVALID, "'%s' is not a URL of HTTP", trouble->url);
    else if (code == CURLE_OPERATION_TIMEDOUT && connected > 0)
        err = weir_fail(error, WEIR_ERR_TIMEOUT, "%s did not answer within %d ms", authority, trouble->timeout_ms);
    else if (code == CURLE_OPERATION_TIMEDOUT)
        err = weir_fail(error, WEIR_ERR_IO, "%s is not reachable: no connection in time", authority);
    else if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
        err = weir_fail(error, WEIR_ERR_IO, "the certificate of %s is not believed: %s (%s)", authority, text,
                        trouble->ca_option ? trouble->ca_option : "security.ssl.rest.ca-file");
    else if (code == CURLE_SSL_CERTPROBLEM)
        err = weir_fail(error, WEIR_ERR_INVALID, "our certificate for %s cannot be used: %s (%s)", authority, text,
                        trouble->certificate_option ? trouble->certificate_option : "no option names it");
    else if (code == CURLE_SSL_CONNECT_ERROR)
        err = weir_fail(error, WEIR_ERR_IO, "%s does not speak TLS, or not ours: %s%s", authority, text,
                        trouble->ca_option ? "" : " (security.ssl.rest.enabled)");
    else if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST)
        err = weir_fail(error, WEIR_ERR_IO, "%s is not reachable: %s", authority,
                        os_errno ? strerror((int)os_errno) : text);
    else if (code == CURLE_OUT_OF_MEMORY)
        weir_out_of_memory(0);
    else /* TLS 1.3 turns a client away after the handshake, and not always with a reason that libcurl passes on */
        err = weir_fail(error, WEIR_ERR_IO, "the connection to %s broke: %s%s%s%s", authority, text,
                        may_want_certificate(trouble) ? "; does it demand a certificate (" : "",
                        may_want_certificate(trouble) ? trouble->certificate_option : "",
                        may_want_certificate(trouble) ? ")?" : "");
    long sent = 0; /* on a connection that was there already, connected is 0 */
    curl_easy_getinfo(trouble->curl, CURLINFO_REQUEST_SIZE, &sent);
    if (error)
        error->effect = connected > 0 || sent > 0 ? WEIR_EFFECT_MAYBE : WEIR_EFFECT_NONE;
    return err;
}

/* libcurl copies what it is given: a call that fails had no memory for the copy. */
static void must(CURLcode code)
{
    if (code == CURLE_OUT_OF_MEMORY)
        weir_out_of_memory(0);
    weir_assert(code == CURLE_OK);
}

static struct curl_slist *add_header(struct curl_slist *headers, const char *line)
{
    struct curl_slist *longer = curl_slist_append(headers, line);
    if (!longer)
        weir_out_of_memory(strlen(line));
    return longer;
}

/* Who asks, and whom we believe. */
static struct curl_slist *add_credentials(CURL *curl, const struct weir_http_request *request,
                                          struct curl_slist *headers)
{
    if (request->token) {
        char *line = weir_format("Authorization: Bearer %s", request->token);
        headers = add_header(headers, line);
        weir_secret_free(line);
    }
    if (request->ca_file)
        must(curl_easy_setopt(curl, CURLOPT_CAINFO, request->ca_file));
    if (request->user_info) {
        must(curl_easy_setopt(curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC));
        must(curl_easy_setopt(curl, CURLOPT_USERPWD, request->user_info));
    }
    if (request->certificate_file)
        must(curl_easy_setopt(curl, CURLOPT_SSLCERT, request->certificate_file));
    if (request->certificate_password)
        must(curl_easy_setopt(curl, CURLOPT_KEYPASSWD, request->certificate_password));
    if (request->any_certificate) {
        must(curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L));
        must(curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L));
    }
    return headers;
}

static weir_err perform(const struct weir_http_request *request, struct sink *sink, int *status,
                        struct weir_error *error)
{
    weir_http_init();
    weir_err err = WEIR_OK;
    int timeout_ms = request->timeout_ms ? request->timeout_ms : 60000;
    CURL *curl = curl_easy_init();
    if (!curl)
        weir_out_of_memory(0);
    struct curl_slist *headers = NULL;
    curl_mime *mime = NULL;
    char detail[CURL_ERROR_SIZE] = "";
    must(curl_easy_setopt(curl, CURLOPT_URL, request->url));
    must(curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https"));
    must(curl_easy_setopt(curl, CURLOPT_PROXY, "")); /* a cluster is not reached through a proxy of the environment */
    must(curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L));
    must(curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail));
    must(curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS,
                          (long)(request->connect_timeout_ms ? request->connect_timeout_ms : 5000)));
    must(curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms));
    must(curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_bytes));
    must(curl_easy_setopt(curl, CURLOPT_WRITEDATA, sink));
    must(curl_easy_setopt(curl, CURLOPT_USERAGENT, "weir/" WEIR_VERSION));
    if (request->upload_path) {
        if (access(request->upload_path, R_OK) != 0) {
            err = weir_fail_errno(error, errno == ENOENT ? WEIR_ERR_NOT_FOUND : WEIR_ERR_IO, "cannot read '%s'",
                                  request->upload_path);
            goto out;
        }
        mime = curl_mime_init(curl);
        curl_mimepart *part = mime ? curl_mime_addpart(mime) : NULL;
        if (!part)
            weir_out_of_memory(0);
        must(curl_mime_name(part, request->upload_part ? request->upload_part : "jarfile"));
        CURLcode read = curl_mime_filedata(part, request->upload_path);
        if (read == CURLE_READ_ERROR) {
            err = weir_fail_errno(error, WEIR_ERR_IO, "cannot read '%s'", request->upload_path);
            goto out;
        }
        must(read);
        must(curl_mime_type(part, "application/octet-stream"));
        must(curl_easy_setopt(curl, CURLOPT_MIMEPOST, mime));
        headers = add_header(headers, "Expect: 100-continue"); /* a refusal comes before the file is sent */
    } else if (request->body || strcmp(request->method, "GET") != 0) {
        char type[160];
        snprintf(type, sizeof type, "Content-Type: %s",
                 request->content_type ? request->content_type : "application/json");
        headers = add_header(headers, type);
        if (request->body_size <= (size_t)1 << 20)
            headers = add_header(headers, "Expect:");
        must(curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_size));
        must(curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body ? request->body : ""));
    }
    headers = add_credentials(curl, request, headers);
    must(curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers));
    must(curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method));
    CURLcode code = curl_easy_perform(curl);
    if (code != CURLE_OK) {
        struct weir_http_trouble trouble = {
            .code = (int)code,
            .curl = curl,
            .url = request->url,
            .full = sink->full,
            .size_max = sink->size_max,
            .write_errno = sink->write_errno,
            .timeout_ms = timeout_ms,
            .detail = detail,
            .ca_option = request->ca_option,
            .certificate_option = request->certificate_option,
            .certificate_given = request->certificate_file != NULL,
        };
        err = weir_http_explain(&trouble, error);
        goto out;
    }
    long http_status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &http_status);
    *status = (int)http_status;
out:
    curl_slist_free_all(headers);
    curl_mime_free(mime);
    curl_easy_cleanup(curl);
    return err;
}

weir_err weir_http_call(const struct weir_http_request *request, struct weir_http_response *response,
                        struct weir_error *error)
{
    size_t max = request->response_size_max ? request->response_size_max : (size_t)64 << 20;
    response->status = 0;
    weir_buf_init(&response->body, max);
    struct sink sink = {.buf = &response->body, .fd = -1, .size_max = (int64_t)max};
    weir_err err = perform(request, &sink, &response->status, error);
    if (err)
        weir_buf_fini(&response->body);
    return err;
}

void weir_http_response_fini(struct weir_http_response *response)
{
    weir_buf_fini(&response->body);
}

weir_err weir_http_download(const struct weir_http_request *request, const char *path, int64_t size_max,
                            struct weir_error *error)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot create '%s'", path);
    struct sink sink = {.fd = fd, .size_max = size_max};
    int status = 0;
    weir_err err = perform(request, &sink, &status, error);
    if (!err && status != 200) {
        char text[512];
        ssize_t n = pread(fd, text, sizeof text - 1, 0);
        text[n > 0 ? n : 0] = 0;
        err = weir_fail(error, status == 404 ? WEIR_ERR_NOT_FOUND : WEIR_ERR_IO, "%s answered %d: %s", request->url,
                        status, text);
    }
    if (close(fd) != 0 && !err)
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot write '%s'", path);
    if (err)
        unlink(path);
    return err;
}

char *weir_http_escape(const char *text)
{
    char *out = weir_alloc(strlen(text) * 3 + 1), *to = out;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if (isalnum(*c) || strchr("-._~", *c))
            *to++ = (char)*c;
        else
            to += sprintf(to, "%%%02X", *c);
    *to = 0;
    return out;
}
