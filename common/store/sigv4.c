/* See sigv4.h. The names are those of the specification: canonical request -> string to sign -> signature. */
#include "store/sigv4.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/hash.h"

#define TEXT_SIZE_MAX ((size_t)1 << 20) /* of one request's text; keys are at most 1 KiB */

static void put(struct weir_buf *buf, const char *text)
{
    weir_assert(weir_buf_puts(buf, text)); /* callers bound what they sign */
}

static void put_char(struct weir_buf *buf, char c)
{
    weir_assert(weir_buf_append(buf, &c, 1));
}

void weir_sigv4_encode(struct weir_buf *out, const char *text, bool keep_slash)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if ((*c < 0x80 && isalnum(*c)) || strchr("-._~", *c) || (keep_slash && *c == '/'))
            put_char(out, (char)*c);
        else
            weir_assert(weir_buf_printf(out, "%%%02X", *c));
}

static void format_date(int64_t time_ms, char out[WEIR_SIGV4_DATE_SIZE])
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    strftime(out, WEIR_SIGV4_DATE_SIZE, "%Y%m%dT%H%M%SZ", &tm);
}

/* --- Canonical request */

/* RFC 3986, 5.2.4, and runs of slashes as one. */
static char *normalized(const char *path)
{
    char *out = weir_alloc(strlen(path) + 2), *end = out;
    while (*path) {
        while (*path == '/')
            path++;
        size_t size = strcspn(path, "/");
        if (size == 2 && memcmp(path, "..", 2) == 0) {
            while (end > out && *--end != '/') {
            }
        } else if (size > 0 && !(size == 1 && *path == '.')) {
            *end++ = '/';
            memcpy(end, path, size);
            end += size;
        }
        path += size;
    }
    *end = 0;
    return out;
}

static void canonical_path(struct weir_buf *out, const char *path, bool normalize)
{
    if (!normalize) {
        weir_sigv4_encode(out, *path ? path : "/", true);
        return;
    }
    char *clean = normalized(path);
    weir_sigv4_encode(out, clean, true);
    if (out->size == 0 || (path[strlen(path) - 1] == '/' && out->data[out->size - 1] != '/'))
        put_char(out, '/');
    free(clean);
}

struct pair {
    char *name, *value;
    int index; /* keeps the order of equal names */
};

static int by_name_and_value(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : strcmp(x->value, y->value);
}

static int by_name_and_index(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : x->index - y->index;
}

static char *encoded(const char *text)
{
    struct weir_buf buf;
    weir_buf_init(&buf, TEXT_SIZE_MAX);
    weir_sigv4_encode(&buf, text, false);
    char *out = weir_strndup(buf.data ? (const char *)buf.data : "", buf.size);
    weir_buf_fini(&buf);
    return out;
}

static void canonical_query(struct weir_buf *out, const struct weir_key_value *query, int count)
{
    struct pair *pairs = weir_alloc((size_t)(count + 1) * sizeof *pairs);
    for (int i = 0; i < count; i++)
        pairs[i] = (struct pair){encoded(query[i].key), encoded(query[i].value ? query[i].value : ""), i};
    qsort(pairs, (size_t)count, sizeof *pairs, by_name_and_value);
    for (int i = 0; i < count; i++) {
        weir_assert(weir_buf_printf(out, "%s%s=%s", i ? "&" : "", pairs[i].name, pairs[i].value));
        free(pairs[i].name);
        free(pairs[i].value);
    }
    free(pairs);
}

static char *lowered(const char *name)
{
    char *out = weir_strdup(name);
    for (char *c = out; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return out;
}

/* Without blanks at the ends, runs of them as one. */
static char *trimmed(const char *value)
{
    char *out = weir_alloc(strlen(value) + 1), *end = out;
    for (; *value; value++)
        if (!isspace((unsigned char)*value))
            *end++ = *value;
        else if (end > out && end[-1] != ' ')
            *end++ = ' ';
    if (end > out && end[-1] == ' ')
        end--;
    *end = 0;
    return out;
}

/* "name:value\n" each, equal names joined by ','; and the names joined by ';'. */
static void canonical_headers(struct weir_buf *out, struct weir_buf *names, const struct weir_key_value *headers,
                              int count)
{
    struct pair *pairs = weir_alloc((size_t)(count + 1) * sizeof *pairs);
    for (int i = 0; i < count; i++)
        pairs[i] = (struct pair){lowered(headers[i].key), trimmed(headers[i].value), i};
    qsort(pairs, (size_t)count, sizeof *pairs, by_name_and_index);
    for (int i = 0; i < count; i++) {
        bool repeated = i > 0 && strcmp(pairs[i].name, pairs[i - 1].name) == 0;
        if (repeated)
            weir_assert(weir_buf_printf(out, ",%s", pairs[i].value));
        else
            weir_assert(weir_buf_printf(out, "%s%s:%s", i ? "\n" : "", pairs[i].name, pairs[i].value));
        if (!repeated)
            weir_assert(weir_buf_printf(names, "%s%s", names->size ? ";" : "", pairs[i].name));
    }
    if (count > 0)
        put_char(out, '\n');
    for (int i = 0; i < count; i++) {
        free(pairs[i].name);
        free(pairs[i].value);
    }
    free(pairs);
}

/* --- Signature */

static void hmac(const void *key, size_t key_size, const char *text, unsigned char out[32])
{
    unsigned size = 32;
    weir_assert(HMAC(EVP_sha256(), key, (int)key_size, (const unsigned char *)text, strlen(text), out, &size) != NULL);
}

static void sign(const struct weir_sigv4_request *request, const struct weir_sigv4_key *key, const char *date,
                 const char *scope, const char *signed_names, const char *headers, struct weir_sigv4 *out)
{
    put(&out->canonical, request->method);
    put(&out->canonical, "\n");
    put(&out->canonical, (char *)out->path.data);
    put(&out->canonical, "\n");
    put(&out->canonical, out->query.data ? (char *)out->query.data : "");
    weir_assert(weir_buf_printf(&out->canonical, "\n%s\n%s\n%s", headers, signed_names, request->payload_hash));
    char hash[65];
    weir_sha256_hex(out->canonical.data, out->canonical.size, hash);
    weir_assert(weir_buf_printf(&out->string_to_sign, "AWS4-HMAC-SHA256\n%s\n%s\n%s", date, scope, hash));
    char day[9];
    snprintf(day, sizeof day, "%.8s", date);
    char *secret = weir_format("AWS4%s", key->secret_key);
    unsigned char mac[32];
    hmac(secret, strlen(secret), day, mac);
    hmac(mac, sizeof mac, key->region, mac);
    hmac(mac, sizeof mac, key->service, mac);
    hmac(mac, sizeof mac, "aws4_request", mac);
    hmac(mac, sizeof mac, (char *)out->string_to_sign.data, mac);
    for (int i = 0; i < 32; i++)
        snprintf(out->signature + 2 * i, 3, "%02x", mac[i]);
    free(secret);
}

static char *scope_of(const struct weir_sigv4_key *key, const char *date)
{
    return weir_format("%.8s/%s/%s/aws4_request", date, key->region, key->service);
}

static void init(struct weir_sigv4 *out)
{
    memset(out, 0, sizeof *out);
    struct weir_buf *all[] = {&out->canonical, &out->string_to_sign, &out->authorization, &out->query, &out->path};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        weir_buf_init(all[i], TEXT_SIZE_MAX);
}

void weir_sigv4_fini(struct weir_sigv4 *out)
{
    struct weir_buf *all[] = {&out->canonical, &out->string_to_sign, &out->authorization, &out->query, &out->path};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        weir_buf_fini(all[i]);
}

void weir_sigv4_sign_header(const struct weir_sigv4_request *request, const struct weir_sigv4_key *key,
                            struct weir_sigv4 *out)
{
    init(out);
    format_date(request->time_ms, out->date);
    char *scope = scope_of(key, out->date);
    int count = request->header_count;
    struct weir_key_value *headers = weir_alloc((size_t)(count + 2) * sizeof *headers);
    if (count > 0)
        memcpy(headers, request->headers, (size_t)count * sizeof *headers);
    headers[count++] = (struct weir_key_value){"x-amz-date", out->date};
    if (key->token && !key->token_not_signed)
        headers[count++] = (struct weir_key_value){"x-amz-security-token", key->token};
    struct weir_buf text, names;
    weir_buf_init(&text, TEXT_SIZE_MAX);
    weir_buf_init(&names, TEXT_SIZE_MAX);
    canonical_headers(&text, &names, headers, count);
    canonical_path(&out->path, request->path, key->normalize_path);
    canonical_query(&out->query, request->query, request->query_count);
    sign(request, key, out->date, scope, (char *)names.data, (char *)text.data, out);
    weir_assert(weir_buf_printf(&out->authorization,
                                "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s", key->access_key,
                                scope, (char *)names.data, out->signature));
    weir_buf_fini(&text);
    weir_buf_fini(&names);
    free(headers);
    free(scope);
}

void weir_sigv4_sign_query(const struct weir_sigv4_request *request, const struct weir_sigv4_key *key, int expires_s,
                           struct weir_sigv4 *out)
{
    weir_assert(expires_s > 0 && expires_s <= 604800);
    init(out);
    format_date(request->time_ms, out->date);
    char *scope = scope_of(key, out->date), *credential = weir_format("%s/%s", key->access_key, scope), expires[16];
    snprintf(expires, sizeof expires, "%d", expires_s);
    struct weir_buf text, names;
    weir_buf_init(&text, TEXT_SIZE_MAX);
    weir_buf_init(&names, TEXT_SIZE_MAX);
    canonical_headers(&text, &names, request->headers, request->header_count);
    int count = request->query_count;
    struct weir_key_value *query = weir_alloc((size_t)(count + 6) * sizeof *query);
    if (count > 0)
        memcpy(query, request->query, (size_t)count * sizeof *query);
    query[count++] = (struct weir_key_value){"X-Amz-Algorithm", "AWS4-HMAC-SHA256"};
    query[count++] = (struct weir_key_value){"X-Amz-Credential", credential};
    query[count++] = (struct weir_key_value){"X-Amz-Date", out->date};
    query[count++] = (struct weir_key_value){"X-Amz-Expires", expires};
    query[count++] = (struct weir_key_value){"X-Amz-SignedHeaders", (char *)names.data};
    if (key->token && !key->token_not_signed)
        query[count++] = (struct weir_key_value){"X-Amz-Security-Token", key->token};
    canonical_path(&out->path, request->path, key->normalize_path);
    canonical_query(&out->query, query, count);
    sign(request, key, out->date, scope, (char *)names.data, (char *)text.data, out);
    if (key->token && key->token_not_signed) {
        put(&out->query, "&X-Amz-Security-Token=");
        weir_sigv4_encode(&out->query, key->token, false);
    }
    weir_assert(weir_buf_printf(&out->query, "&X-Amz-Signature=%s", out->signature));
    weir_buf_fini(&text);
    weir_buf_fini(&names);
    free(query);
    free(credential);
    free(scope);
}
