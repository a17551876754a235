/* Objects on S3. Small ones are one PUT or GET; files go in parts of s3.upload.part-size, a few at a time, each read, checksummed and repeated
 * by itself, so that memory is parallel x part size and a broken connection costs a part. What is sent carries a CRC-32C that the server
 * verifies; what is read is checksummed for the caller.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/thread.h"
#include "store/s3_int.h"

#define SMALL_SIZE_MAX ((size_t)64 << 20)
#define LIST_ANSWER_MAX ((size_t)8 << 20)
#define PARTS_MAX 10000
#define PARALLEL_MAX 64
#define TOKEN_SIZE 4096 /* of a list's next page */

static struct weir_s3 *s3_of(struct weir_store *store)
{
    return (struct weir_s3 *)store;
}

static char *whole_key(const struct weir_s3 *s3, const char *key)
{
    return weir_format("%s%s", s3->prefix, key);
}

static void add_query(struct weir_s3_call *call, const char *key, const char *value)
{
    weir_assert(call->query_count < WEIR_S3_PAIRS_MAX);
    call->query[call->query_count++] = (struct weir_key_value){key, value};
}

static void add_header(struct weir_s3_call *call, const char *key, const char *value)
{
    weir_assert(call->header_count < WEIR_S3_PAIRS_MAX);
    call->headers[call->header_count++] = (struct weir_key_value){key, value};
}

/* --- Small objects */

static weir_err s3_put(struct weir_store *store, const char *key, const void *data, size_t size,
                       enum weir_store_condition condition, const struct weir_store_tag *match,
                       struct weir_store_tag *tag, struct weir_error *error)
{
    struct weir_s3 *s3 = s3_of(store);
    if (size > SMALL_SIZE_MAX)
        return weir_fail(error, WEIR_ERR_FULL, "%zu bytes are too many for one request", size);
    char *whole = whole_key(s3, key);
    struct weir_s3_call call = {
        .method = "PUT",
        .key = whole,
        .body = data,
        .body_size = size,
        .checksum = true,
        .once = condition != WEIR_STORE_ALWAYS,
        .response_max = LIST_ANSWER_MAX,
    };
    add_header(&call, "content-type", "application/octet-stream");
    if (condition == WEIR_STORE_IF_ABSENT)
        add_header(&call, "if-none-match", "*");
    if (condition == WEIR_STORE_IF_MATCH)
        add_header(&call, "if-match", match->text);
    weir_err err = weir_s3_perform(s3, &call, error);
    if (err == WEIR_ERR_NOT_FOUND && condition == WEIR_STORE_IF_MATCH) /* S3 answers 404 when the object is gone */
        err = weir_fail(error, WEIR_ERR_EXISTS, "it has been removed since it was read");
    if (!err && !call.etag[0])
        err = weir_fail(error, WEIR_ERR_UNSUPPORTED, "%s gives no ETag", s3->host);
    snprintf(tag->text, sizeof tag->text, "%s", call.etag);
    weir_s3_call_fini(&call);
    free(whole);
    return err;
}

static weir_err s3_get(struct weir_store *store, const char *key, struct weir_buf *out, struct weir_store_tag *tag,
                       struct weir_error *error)
{
    struct weir_s3 *s3 = s3_of(store);
    char *whole = whole_key(s3, key);
    size_t room = out->max - out->size;
    struct weir_s3_call call = {.method = "GET", .key = whole, .response_max = room > 0 ? room : 1};
    weir_err err = weir_s3_perform(s3, &call, error);
    if (!err && !weir_buf_append(out, call.body_out.data ? call.body_out.data : (const void *)"", call.body_out.size))
        err = weir_fail(error, WEIR_ERR_FULL, "it has more than %zu bytes", room);
    snprintf(tag->text, sizeof tag->text, "%s", call.etag);
    weir_s3_call_fini(&call);
    free(whole);
    return err;
}

/* --- Work in parts: up to s3->parallel threads take one part after the other; the first error ends all. */

struct parts {
    struct weir_s3 *s3;
    weir_err (*one)(struct parts *parts, int index, struct weir_error *error);
    const char *key; /* whole */
    int count;
    int64_t size, part_size; /* of the object or range, of all parts but the last */
    int fd;
    int64_t fd_offset, offset; /* of byte 0 of the range: in the file, in the object */
    const char *upload_id;
    char (*etags)[128];
    uint32_t *crcs;
    pthread_mutex_t mutex;
    int next;
    weir_err err;
    struct weir_error error;
};

static int64_t part_size(const struct parts *parts, int index)
{
    int64_t left = parts->size - (int64_t)index * parts->part_size;
    return left < parts->part_size ? left : parts->part_size;
}

static void *take_parts(void *arg)
{
    struct parts *parts = arg;
    for (;;) {
        pthread_mutex_lock(&parts->mutex);
        int index = parts->err || parts->next >= parts->count ? -1 : parts->next++;
        pthread_mutex_unlock(&parts->mutex);
        if (index < 0)
            return NULL;
        struct weir_error error = {0};
        weir_err err = parts->one(parts, index, &error);
        pthread_mutex_lock(&parts->mutex);
        if (err && !parts->err) {
            parts->err = err;
            parts->error = error;
        }
        pthread_mutex_unlock(&parts->mutex);
    }
}

static weir_err run_parts(struct parts *parts, struct weir_error *error)
{
    pthread_t threads[PARALLEL_MAX];
    int helpers = 0, wanted = (parts->count < parts->s3->parallel ? parts->count : parts->s3->parallel) - 1;
    pthread_mutex_init(&parts->mutex, NULL);
    while (helpers < wanted && pthread_create(&threads[helpers], NULL, take_parts, parts) == 0)
        helpers++; /* fewer are slower, no more */
    take_parts(parts);
    for (int i = 0; i < helpers; i++)
        pthread_join(threads[i], NULL);
    pthread_mutex_destroy(&parts->mutex);
    if (parts->err && error)
        *error = parts->error;
    return parts->err;
}

/* --- Files to objects */

static weir_err read_part(const struct parts *parts, int index, char *data, struct weir_error *error)
{
    int64_t size = part_size(parts, index), from = (int64_t)index * parts->part_size;
    for (int64_t done = 0; done < size;) {
        ssize_t n = pread(parts->fd, data + done, (size_t)(size - done), from + done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return weir_fail_errno(error, WEIR_ERR_IO, "cannot read the local file");
        if (n == 0)
            return weir_fail(error, WEIR_ERR_DATA, "the local file became shorter while it was read");
        done += n;
    }
    parts->crcs[index] = weir_crc32c(0, data, (size_t)size);
    return WEIR_OK;
}

static weir_err upload_part(struct parts *parts, int index, struct weir_error *error)
{
    size_t size = (size_t)part_size(parts, index);
    char *data = weir_alloc(size + 1), number[16];
    weir_err err = read_part(parts, index, data, error);
    if (!err) {
        snprintf(number, sizeof number, "%d", index + 1);
        struct weir_s3_call call = {
            .method = "PUT",
            .key = parts->key,
            .body = data,
            .body_size = size,
            .checksum = true,
            .response_max = LIST_ANSWER_MAX,
        };
        if (parts->upload_id) {
            add_query(&call, "partNumber", number);
            add_query(&call, "uploadId", parts->upload_id);
        }
        err = weir_s3_perform(parts->s3, &call, error);
        if (parts->etags)
            snprintf(parts->etags[index], sizeof parts->etags[index], "%s", call.etag);
        weir_s3_call_fini(&call);
    }
    free(data);
    return err;
}

static weir_err begin_upload(struct weir_s3 *s3, const char *key, char *upload_id, size_t size,
                             struct weir_error *error)
{
    struct weir_s3_call call = {.method = "POST", .key = key, .response_max = LIST_ANSWER_MAX};
    add_query(&call, "uploads", "");
    add_header(&call, "content-type", "application/octet-stream");
    add_header(&call, "x-amz-checksum-algorithm", "CRC32C");
    weir_err err = weir_s3_perform(s3, &call, error);
    if (!err && !weir_xml_text(weir_s3_answer(&call), "UploadId", upload_id, size))
        err = weir_fail(error, WEIR_ERR_IO, "%s gives no UploadId", s3->host);
    weir_s3_call_fini(&call);
    return err;
}

/* Adds a part's line: the server wants back the checksum that it was given. */
static void describe_part(struct weir_buf *body, int index, const char *etag, uint32_t crc)
{
    unsigned char bytes[4] = {(unsigned char)(crc >> 24), (unsigned char)(crc >> 16), (unsigned char)(crc >> 8),
                              (unsigned char)crc},
                  text[16];
    char escaped[6 * 128]; /* of an ETag that is nothing but & */
    EVP_EncodeBlock(text, bytes, 4);
    weir_assert(weir_xml_escape(etag, escaped, sizeof escaped));
    weir_assert(weir_buf_printf(
        body, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag><ChecksumCRC32C>%s</ChecksumCRC32C></Part>", index + 1,
        escaped, (char *)text));
}

/* The answer may be 200 and yet an error: it is sent before the work is done. */
static weir_err end_upload(struct parts *parts, struct weir_error *error)
{
    struct weir_buf body;
    weir_buf_init(&body, (size_t)8 << 20);
    weir_assert(weir_buf_puts(&body, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"));
    for (int i = 0; i < parts->count; i++)
        describe_part(&body, i, parts->etags[i], parts->crcs[i]);
    weir_assert(weir_buf_puts(&body, "</CompleteMultipartUpload>"));
    weir_err err = WEIR_OK;
    for (int n = 0; n < parts->s3->attempts_max; n++) {
        struct weir_s3_call call = {.method = "POST",
                                    .key = parts->key,
                                    .body = body.data,
                                    .body_size = body.size,
                                    .response_max = LIST_ANSWER_MAX};
        add_query(&call, "uploadId", parts->upload_id);
        add_header(&call, "content-type", "application/xml");
        err = weir_s3_perform(parts->s3, &call, error);
        char code[64] = "", message[300];
        struct weir_xml inside;
        bool refused = !err && weir_xml_find(weir_s3_answer(&call), "Error", &inside);
        if (!err && !refused && !weir_xml_find(weir_s3_answer(&call), "CompleteMultipartUploadResult", &inside))
            err = weir_fail(error, WEIR_ERR_IO, "%s answers something else than S3 does", parts->s3->host);
        if (refused) {
            weir_xml_text(inside, "Code", code, sizeof code);
            weir_xml_text(inside, "Message", message, sizeof message);
            err = weir_fail(error, WEIR_ERR_IO, "%s could not join the parts: %s %s", parts->s3->host, code, message);
        }
        weir_s3_call_fini(&call);
        if (!refused || (strcmp(code, "InternalError") != 0 && strcmp(code, "SlowDown") != 0))
            break;
    }
    weir_buf_fini(&body);
    return err;
}

static void abort_upload(struct parts *parts)
{
    struct weir_s3_call call = {.method = "DELETE", .key = parts->key, .response_max = LIST_ANSWER_MAX};
    add_query(&call, "uploadId", parts->upload_id);
    struct weir_error error;
    if (weir_s3_perform(parts->s3, &call, &error) && error.code != WEIR_ERR_NOT_FOUND)
        weir_log(WARN, "parts of %s remain on %s until its life cycle rule removes them: %s", parts->key,
                 parts->s3->host, error.message);
    weir_s3_call_fini(&call);
}

/* Did the object arrive all the same? After a lost reply to the last request. */
static bool has_size(struct weir_s3 *s3, const char *key, int64_t size)
{
    struct weir_s3_call call = {.method = "HEAD", .key = key, .response_max = 1};
    struct weir_error error;
    weir_err err = weir_s3_perform(s3, &call, &error);
    bool same = !err && call.content_size == size;
    weir_s3_call_fini(&call);
    return same;
}

static weir_err s3_put_file(struct weir_store *store, const char *key, int fd, int64_t size, uint32_t *crc32c,
                            struct weir_error *error)
{
    struct weir_s3 *s3 = s3_of(store);
    char *whole = whole_key(s3, key), upload_id[1024] = "";
    struct parts parts = {
        .s3 = s3, .one = upload_part, .key = whole, .size = size, .fd = fd, .part_size = s3->part_size};
    while ((size + parts.part_size - 1) / parts.part_size > PARTS_MAX)
        parts.part_size *= 2;
    parts.count = size > 0 ? (int)((size + parts.part_size - 1) / parts.part_size) : 1;
    parts.crcs = weir_zalloc((size_t)parts.count * sizeof *parts.crcs);
    weir_err err;
    if (parts.count == 1) {
        err = upload_part(&parts, 0, error);
        goto out;
    }
    parts.etags = weir_zalloc((size_t)parts.count * sizeof *parts.etags);
    err = begin_upload(s3, whole, upload_id, sizeof upload_id, error);
    if (err)
        goto out;
    parts.upload_id = upload_id;
    err = run_parts(&parts, error);
    (void)weir_fault_here("store-put-mid");
    if (!err)
        err = end_upload(&parts, error);
    if (err && has_size(s3, whole, size))
        err = WEIR_OK;
    if (err)
        abort_upload(&parts);
out:
    *crc32c = parts.crcs[0];
    for (int i = 1; i < parts.count; i++)
        *crc32c = weir_crc32c_join(*crc32c, parts.crcs[i], part_size(&parts, i));
    free(parts.etags);
    free(parts.crcs);
    free(whole);
    return err;
}

/* --- Objects to files */

static weir_err checksum_file(int fd, int64_t offset, int64_t size, uint32_t *crc, struct weir_error *error)
{
    size_t room = (size_t)1 << 18;
    char *data = weir_alloc(room);
    weir_err err = WEIR_OK;
    for (int64_t done = 0; done < size;) {
        ssize_t n = pread(fd, data, size - done < (int64_t)room ? (size_t)(size - done) : room, offset + done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            err = weir_fail_errno(error, WEIR_ERR_IO, "cannot read back what was stored");
            break;
        }
        *crc = weir_crc32c(*crc, data, (size_t)n);
        done += n;
    }
    free(data);
    return err;
}

static weir_err download_part(struct parts *parts, int index, struct weir_error *error)
{
    char range[64];
    int64_t at = (int64_t)index * parts->part_size, size = part_size(parts, index);
    struct weir_s3_call call = {
        .method = "GET",
        .key = parts->key,
        .response_max = (size_t)size,
        .response_fd = parts->fd,
        .response_offset = parts->fd_offset + at,
    };
    snprintf(range, sizeof range, "bytes=%lld-%lld", (long long)(parts->offset + at),
             (long long)(parts->offset + at + size - 1));
    add_header(&call, "range", range);
    weir_err err = weir_s3_perform(parts->s3, &call, error);
    if (!err && call.response_size != size)
        err = weir_fail(error, WEIR_ERR_DATA, "%lld of %lld bytes came from byte %lld on",
                        (long long)call.response_size, (long long)size, (long long)(parts->offset + at));
    weir_s3_call_fini(&call);
    return err ? err : checksum_file(parts->fd, parts->fd_offset + at, size, &parts->crcs[index], error);
}

static weir_err s3_get_range(struct weir_store *store, const char *key, int64_t offset, int64_t size, int fd,
                             int64_t fd_offset, uint32_t *crc32c, struct weir_error *error)
{
    struct weir_s3 *s3 = s3_of(store);
    *crc32c = 0;
    if (size == 0)
        return WEIR_OK;
    char *whole = whole_key(s3, key);
    struct parts parts = {
        .s3 = s3,
        .one = download_part,
        .key = whole,
        .size = size,
        .part_size = s3->part_size,
        .count = (int)((size + s3->part_size - 1) / s3->part_size),
        .fd = fd,
        .fd_offset = fd_offset,
        .offset = offset,
    };
    parts.crcs = weir_zalloc((size_t)parts.count * sizeof *parts.crcs);
    weir_err err = run_parts(&parts, error);
    for (int i = 0; i < parts.count; i++)
        *crc32c = i == 0 ? parts.crcs[0] : weir_crc32c_join(*crc32c, parts.crcs[i], part_size(&parts, i));
    free(parts.crcs);
    free(whole);
    return err;
}

/* --- List, delete */

static int64_t time_of(struct weir_xml in, const char *tag)
{
    char text[64];
    struct tm tm = {0};
    bool good = weir_xml_text(in, tag, text, sizeof text) && strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    return good ? (int64_t)timegm(&tm) * 1000 : 0;
}

static bool read_entry(const struct weir_s3 *s3, struct weir_xml contents, const char *tag,
                       struct weir_store_entry *entry, char key[WEIR_STORE_KEY_SIZE_MAX + 1024])
{
    char text[64];
    weir_xml_text(contents, tag, key, WEIR_STORE_KEY_SIZE_MAX + 1024);
    if (strncmp(key, s3->prefix, strlen(s3->prefix)) != 0)
        return false;
    memset(entry, 0, sizeof *entry);
    entry->key = key + strlen(s3->prefix);
    if (weir_xml_text(contents, "Size", text, sizeof text))
        entry->size = strtoll(text, NULL, 10);
    entry->modified_ms = time_of(contents, "LastModified");
    return true;
}

/* Is there another page, and by which token? What lists only a part, and does not say how to go on, would pass for all there is. */
static weir_err read_page(const struct weir_s3 *s3, struct weir_xml answer, char token[TOKEN_SIZE], bool *more,
                          struct weir_error *error)
{
    char truncated[8], before[TOKEN_SIZE];
    struct weir_xml inside;
    *more = false;
    if (!weir_xml_find(answer, "ListBucketResult", &inside))
        return weir_fail(error, WEIR_ERR_IO, "%s answers something else than S3 does", s3->host);
    if (!weir_xml_text(answer, "IsTruncated", truncated, sizeof truncated) || strcmp(truncated, "true") != 0)
        return WEIR_OK;
    memcpy(before, token, TOKEN_SIZE);
    bool given = weir_xml_text(answer, "NextContinuationToken", token, TOKEN_SIZE);
    if (!given || !token[0] || strlen(token) == TOKEN_SIZE - 1 || strcmp(token, before) == 0)
        return weir_fail(error, WEIR_ERR_IO, "%s gives a part of its list, and no token to go on with", s3->host);
    *more = true;
    return WEIR_OK;
}

static weir_err s3_list(struct weir_store *store, const char *prefix, const char *after, bool directories,
                        weir_store_visit *visit, void *arg, struct weir_error *error)
{
    struct weir_s3 *s3 = s3_of(store);
    char *whole = whole_key(s3, prefix), *whole_after = whole_key(s3, after);
    char token[TOKEN_SIZE] = "", key[WEIR_STORE_KEY_SIZE_MAX + 1024];
    weir_err err = WEIR_OK;
    for (bool more = true; more && !err;) {
        struct weir_s3_call call = {.method = "GET", .response_max = LIST_ANSWER_MAX};
        if (directories)
            add_query(&call, "delimiter", "/");
        add_query(&call, "list-type", "2");
        add_query(&call, "prefix", whole);
        if (*after && !token[0])
            add_query(&call, "start-after", whole_after);
        if (token[0])
            add_query(&call, "continuation-token", token);
        err = weir_s3_perform(s3, &call, error);
        struct weir_xml rest = weir_s3_answer(&call), contents;
        if (!err)
            err = read_page(s3, rest, token, &more, error);
        struct weir_store_entry entry;
        while (!err && weir_xml_next(&rest, directories ? "CommonPrefixes" : "Contents", &contents))
            if (read_entry(s3, contents, directories ? "Prefix" : "Key", &entry, key) && !visit(&entry, arg)) {
                more = false;
                break;
            }
        weir_s3_call_fini(&call);
    }
    free(whole);
    free(whole_after);
    return err;
}

static weir_err s3_remove(struct weir_store *store, const char *const *keys, int count, struct weir_error *error)
{
    struct weir_s3 *s3 = s3_of(store);
    struct weir_buf body;
    weir_buf_init(&body, (size_t)16 << 20);
    weir_assert(weir_buf_puts(&body, "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>"));
    for (int i = 0; i < count; i++) {
        char *whole = whole_key(s3, keys[i]), escaped[WEIR_STORE_KEY_SIZE_MAX * 12];
        weir_assert(weir_xml_escape(whole, escaped, sizeof escaped));
        weir_assert(weir_buf_printf(&body, "<Object><Key>%s</Key></Object>", escaped));
        free(whole);
    }
    weir_assert(weir_buf_puts(&body, "</Delete>"));
    unsigned char md5[16], md5_text[32];
    unsigned md5_size = sizeof md5;
    weir_assert(EVP_Digest(body.data, body.size, md5, &md5_size, EVP_md5(), NULL) == 1);
    EVP_EncodeBlock(md5_text, md5, 16);
    struct weir_s3_call call = {
        .method = "POST", .body = body.data, .body_size = body.size, .checksum = true, .response_max = LIST_ANSWER_MAX};
    add_query(&call, "delete", "");
    add_header(&call, "content-type", "application/xml");
    add_header(&call, "content-md5", (char *)md5_text);
    weir_err err = weir_s3_perform(s3, &call, error);
    struct weir_xml rest = weir_s3_answer(&call), one;
    while (!err && weir_xml_next(&rest, "Error", &one)) {
        char code[64], key[512], message[300];
        weir_xml_text(one, "Code", code, sizeof code);
        weir_xml_text(one, "Key", key, sizeof key);
        weir_xml_text(one, "Message", message, sizeof message);
        if (strcmp(code, "NoSuchKey") != 0)
            err = weir_fail(error, WEIR_ERR_IO, "%s: %s %s", key, code, message);
    }
    weir_s3_call_fini(&call);
    weir_buf_fini(&body);
    return err;
}

/* Uploads in parts that nobody will end. Of an upload that has just been ended, or aborted by another, abort_upload() hears that it is gone. */
static weir_err s3_sweep(struct weir_store *store, const char *prefix, int64_t age_ms, struct weir_error *error)
{
    struct weir_s3 *s3 = s3_of(store);
    char *whole = whole_key(s3, prefix);
    struct weir_s3_call call = {.method = "GET", .response_max = LIST_ANSWER_MAX};
    add_query(&call, "uploads", "");
    add_query(&call, "prefix", whole);
    weir_err err = weir_s3_perform(s3, &call, error);
    struct weir_xml rest = weir_s3_answer(&call), one;
    while (!err && weir_xml_next(&rest, "Upload", &one)) {
        char key[WEIR_STORE_KEY_SIZE_MAX + 1024], id[1024];
        if (!weir_xml_text(one, "Key", key, sizeof key) || strncmp(key, whole, strlen(whole)) != 0 ||
            !weir_xml_text(one, "UploadId", id, sizeof id) ||
            (age_ms > 0 && time_of(one, "Initiated") > weir_clock_wall_ms() - age_ms))
            continue;
        struct parts parts = {.s3 = s3, .key = key, .upload_id = id};
        abort_upload(&parts);
    }
    weir_s3_call_fini(&call);
    free(whole);
    return err;
}

/* --- Open */

static void s3_close(struct weir_store *store)
{
    struct weir_s3 *s3 = s3_of(store);
    weir_http_engine_free(s3->engine);
    weir_s3_credentials_free(s3->credentials);
    pthread_cond_destroy(&s3->turns_changed);
    pthread_mutex_destroy(&s3->turns_mutex);
    free(s3->scheme);
    free(s3->host);
    free(s3->bucket);
    free(s3->region);
    free(s3->prefix);
    free(s3);
}

static const struct weir_store_ops s3_ops = {
    .close = s3_close,
    .put = s3_put,
    .get = s3_get,
    .put_file = s3_put_file,
    .get_range = s3_get_range,
    .list = s3_list,
    .remove = s3_remove,
    .sweep = s3_sweep,
};

/* "s3://bucket/a/b/" -> "bucket", "a/b/". */
static weir_err split_uri(struct weir_s3 *s3, const char *uri, struct weir_error *error)
{
    const char *bucket = uri + 5, *slash = strchr(bucket, '/');
    size_t size = slash ? (size_t)(slash - bucket) : strlen(bucket);
    for (size_t i = 0; i < size; i++)
        if (!(islower((unsigned char)bucket[i]) || isdigit((unsigned char)bucket[i]) || strchr("-.", bucket[i])))
            size = 0;
    if (size < 3 || size > 63)
        return weir_fail(error, WEIR_ERR_INVALID, "'%s': after s3:// comes a bucket, 3 to 63 of a-z 0-9 - and .", uri);
    s3->bucket = weir_strndup(bucket, size);
    const char *prefix = slash ? slash + 1 : "";
    size_t prefix_size = strlen(prefix);
    while (prefix_size > 0 && prefix[prefix_size - 1] == '/')
        prefix_size--;
    if (prefix_size > 0 &&
        (*prefix == '/' || strstr(prefix, "//") || strstr(prefix, "/../") || strncmp(prefix, "../", 3) == 0))
        return weir_fail(error, WEIR_ERR_INVALID, "'%s': the prefix has empty parts or '..'", uri);
    if (prefix_size > WEIR_STORE_KEY_SIZE_MAX / 2)
        return weir_fail(error, WEIR_ERR_INVALID, "'%s': the prefix has more than %d bytes", uri,
                         WEIR_STORE_KEY_SIZE_MAX / 2);
    s3->prefix = prefix_size ? weir_format("%.*s/", (int)prefix_size, prefix) : weir_strdup("");
    s3->head.uri = weir_format("s3://%s%s%.*s", s3->bucket, prefix_size ? "/" : "", (int)prefix_size, prefix);
    return WEIR_OK;
}

static bool is_this_host(const char *host)
{
    char name[64];
    unsigned char address[16];
    size_t size = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    if (snprintf(name, sizeof name, "%.*s", (int)size, host) >= (int)sizeof name)
        return false;
    return strcmp(name, "localhost") == 0 || strcmp(name, "[::1]") == 0 ||
           (inet_pton(AF_INET, name, address) == 1 && address[0] == 127);
}

static weir_err read_endpoint(struct weir_s3 *s3, const struct weir_config *config, struct weir_error *error)
{
    const char *endpoint = weir_config_string(config, "s3.endpoint"),
               *style = weir_config_string(config, "s3.path-style-access");
    if (!endpoint) {
        s3->scheme = weir_strdup("https");
        s3->host = weir_format("s3.%s.amazonaws.com", s3->region);
    } else {
        const char *host = strstr(endpoint, "://");
        size_t scheme_size = host ? (size_t)(host - endpoint) : 0;
        host = host ? host + 3 : endpoint;
        size_t size = strcspn(host, "/?#");
        if ((scheme_size && strncmp(endpoint, "http", scheme_size) != 0 &&
             strncmp(endpoint, "https", scheme_size) != 0) ||
            size == 0 || host[size + (host[size] == '/')] || memchr(host, '@', size))
            return weir_fail(error, WEIR_ERR_INVALID,
                             "s3.endpoint '%s': it is http://HOST[:PORT] or https://HOST[:PORT]", endpoint);
        s3->scheme = scheme_size ? weir_strndup(endpoint, scheme_size) : weir_strdup("https");
        s3->host = weir_strndup(host, size);
    }
    s3->guarded = strcmp(s3->scheme, "https") == 0 || is_this_host(s3->host);
    s3->path_style =
        strcmp(style, "true") == 0 || (strcmp(style, "auto") == 0 && (endpoint || strchr(s3->bucket, '.')));
    return WEIR_OK;
}

weir_err weir_store_s3_open(const char *uri, const struct weir_config *config, struct weir_store **store,
                            struct weir_error *error)
{
    struct weir_s3 *s3 = weir_zalloc(sizeof *s3);
    s3->head.ops = &s3_ops;
    pthread_mutex_init(&s3->turns_mutex, NULL);
    weir_cond_init(&s3->turns_changed);
    s3->region = weir_strdup(weir_config_string(config, "s3.region"));
    s3->part_size = weir_config_int(config, "s3.upload.part-size");
    s3->parallel = (int)weir_config_int(config, "s3.parallel-parts");
    s3->attempts_max = (int)weir_config_int(config, "s3.attempts");
    weir_err err = split_uri(s3, uri, error);
    if (!err)
        err = read_endpoint(s3, config, error);
    if (!err && !weir_config_string(config, "s3.access-key") != !weir_config_string(config, "s3.secret-key"))
        err = weir_fail(error, WEIR_ERR_INVALID, "s3.access-key and s3.secret-key are set together or not at all");
    if (!err) {
        const char *ca = weir_config_string(config, "s3.ca-file");
        struct weir_http_engine_options options = {.connections_max = (int)weir_config_int(config, "s3.connections"),
                                                   .ca_file = ca};
        s3->engine = weir_http_engine_new(&options, error);
        err = s3->engine ? WEIR_OK : WEIR_ERR_INVALID;
    }
    if (err) {
        free(s3->head.uri);
        s3_close(&s3->head);
        return err;
    }
    s3->credentials = weir_s3_credentials_new(config, s3->region, s3->engine);
    *store = &s3->head;
    return WEIR_OK;
}
