/* common/store/sigv4: the published cases (WEIR_CONFORMANCE/sigv4/v4), header and query variant. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/hash.h"
#include "store/sigv4.h"

#define PAIRS_MAX 32

static char *read_text(const char *folder, const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    if (!file)
        fail_msg("cannot read %s", path);
    char *text = calloc(1, 65536);
    assert_non_null(text);
    size_t size = fread(text, 1, 65535, file);
    fclose(file);
    for (char *r = text, *w = text;; r++) /* the files were written on both kinds of systems */
        if (*r != '\r' && (*w++ = *r) == 0)
            break;
    while (size > 0 && text[size - 1] == 0)
        size--;
    return text;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) - 'a' + 10;
}

static char *decoded(char *text)
{
    char *w = text;
    for (char *r = text; *r; r++)
        if (*r == '%') {
            *w++ = (char)(hex_digit(r[1]) * 16 + hex_digit(r[2]));
            r += 2;
        } else {
            *w++ = *r;
        }
    *w = 0;
    return text;
}

struct parsed {
    char *text, *body;
    struct weir_key_value query[PAIRS_MAX], headers[PAIRS_MAX];
    struct weir_sigv4_request request;
};

static void parse_query(struct parsed *p, char *query)
{
    for (char *save = NULL, *part = strtok_r(query, "&", &save); part; part = strtok_r(NULL, "&", &save)) {
        char *value = strchr(part, '=');
        if (value)
            *value++ = 0;
        p->query[p->request.query_count++] = (struct weir_key_value){decoded(part), value ? decoded(value) : ""};
    }
}

static void parse_request(struct parsed *p, const char *folder)
{
    memset(p, 0, sizeof *p);
    p->text = read_text(folder, "request.txt");
    char *body = strstr(p->text, "\n\n");
    if (body) {
        *body = 0;
        p->body = body + 2;
    }
    char *lines = strchr(p->text, '\n');
    *lines++ = 0;
    char *method = p->text, *path = strchr(method, ' ');
    *path++ = 0;
    *strrchr(path, ' ') = 0;
    char *query = strchr(path, '?');
    if (query) {
        *query++ = 0;
        parse_query(p, query);
    }
    for (char *line = lines; line && *line;) {
        char *end = strchr(line, '\n');
        while (end && end[1] == ' ') /* a folded value goes on */
            end = strchr(end + 1, '\n');
        if (end)
            *end++ = 0;
        char *value = strchr(line, ':');
        *value++ = 0;
        p->headers[p->request.header_count++] = (struct weir_key_value){line, value};
        line = end;
    }
    p->request.method = method;
    p->request.path = decoded(path);
    p->request.query = p->query;
    p->request.headers = p->headers;
}

static void expect(const char *folder, const char *name, const char *got)
{
    char *want = read_text(folder, name);
    size_t size = strlen(want);
    while (size > 0 && want[size - 1] == '\n')
        want[--size] = 0;
    if (strcmp(want, got) != 0)
        fail_msg("%s/%s\n--- wanted\n%s\n--- got\n%s", folder, name, want, got);
    free(want);
}

static void one_case(const char *folder)
{
    char *text = read_text(folder, "context.json");
    json_t *context = json_loads(text, 0, NULL);
    assert_non_null(context);
    free(text);
    const json_t *credentials = json_object_get(context, "credentials");
    struct weir_sigv4_key key = {
        .access_key = json_string_value(json_object_get(credentials, "access_key_id")),
        .secret_key = json_string_value(json_object_get(credentials, "secret_access_key")),
        .token = json_string_value(json_object_get(credentials, "token")),
        .region = json_string_value(json_object_get(context, "region")),
        .service = json_string_value(json_object_get(context, "service")),
        .normalize_path = json_is_true(json_object_get(context, "normalize")),
        .token_not_signed = json_is_true(json_object_get(context, "omit_session_token")),
    };
    struct tm tm = {0};
    assert_non_null(strptime(json_string_value(json_object_get(context, "timestamp")), "%Y-%m-%dT%H:%M:%SZ", &tm));
    struct parsed p;
    parse_request(&p, folder);
    p.request.time_ms = (int64_t)timegm(&tm) * 1000;
    char hash[65];
    weir_sha256_hex(p.body ? p.body : "", p.body ? strlen(p.body) : 0, hash);
    p.request.payload_hash = hash;
    struct weir_sigv4 out;
    weir_sigv4_sign_query(&p.request, &key, (int)json_integer_value(json_object_get(context, "expiration_in_seconds")),
                          &out);
    expect(folder, "query-canonical-request.txt", (char *)out.canonical.data);
    expect(folder, "query-string-to-sign.txt", (char *)out.string_to_sign.data);
    expect(folder, "query-signature.txt", out.signature);
    weir_sigv4_fini(&out);
    if (json_is_true(json_object_get(context, "sign_body")))
        p.headers[p.request.header_count++] = (struct weir_key_value){"x-amz-content-sha256", hash};
    weir_sigv4_sign_header(&p.request, &key, &out);
    expect(folder, "header-canonical-request.txt", (char *)out.canonical.data);
    expect(folder, "header-string-to-sign.txt", (char *)out.string_to_sign.data);
    expect(folder, "header-signature.txt", out.signature);
    char *sent = read_text(folder, "header-signed-request.txt");
    assert_non_null(strstr(sent, (char *)out.authorization.data));
    free(sent);
    weir_sigv4_fini(&out);
    free(p.text);
    json_decref(context);
}

static void published_cases(void **state)
{
    (void)state;
    const char *root = getenv("WEIR_CONFORMANCE");
    char folder[1024];
    snprintf(folder, sizeof folder, "%s/sigv4/v4", root ? root : "../shared/conformance");
    DIR *dir = opendir(folder);
    if (!dir && root)
        fail_msg("WEIR_CONFORMANCE is set, but there is no %s", folder);
    if (!dir) {
        print_message("no %s\n", folder);
        skip();
    }
    int count = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.')
            continue;
        char path[1300];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        one_case(path);
        count++;
    }
    closedir(dir);
    assert_true(count >= 30);
}

/* Bytes that S3 keys may have, each encoded once, and a path that is left as it is. */
static void keys_are_encoded_once(void **state)
{
    (void)state;
    struct weir_sigv4_key key = {.access_key = "a", .secret_key = "b", .region = "us-east-1", .service = "s3"};
    struct weir_key_value host = {"Host", "h"}, query[] = {{"uploads", ""}, {"prefix", "a=b&c/d e+%"}};
    struct weir_sigv4_request request = {
        .method = "GET",
        .path = "/bucket/a=b/../%41+ü//x~",
        .query = query,
        .query_count = 2,
        .headers = &host,
        .header_count = 1,
        .payload_hash = WEIR_SIGV4_UNSIGNED,
    };
    struct weir_sigv4 out;
    weir_sigv4_sign_header(&request, &key, &out);
    assert_string_equal((char *)out.path.data, "/bucket/a%3Db/../%2541%2B%C3%BC//x~");
    assert_string_equal((char *)out.query.data, "prefix=a%3Db%26c%2Fd%20e%2B%25&uploads=");
    weir_sigv4_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(published_cases), cmocka_unit_test(keys_are_encoded_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
