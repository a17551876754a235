/* What an S3 server, a proxy before it, STS or the instance's metadata answer. Input: u8 which call (list, put, get, file in parts, range, delete,
 * sweep; + 128: credentials are fetched first), then answers, each: u8 status, u8 size of its headers, the headers, u16 size of its body,
 * the body. There are as many answers as there are, then the connection breaks.
 * Checked: every call ends, with an error that says something or with what the answers had; keys that are listed are keys.
 */
#include <pthread.h>
#include <sys/mman.h>
#include <time.h>

#include "base/log.h"
#include "fuzz/fuzz.h"
#include "tests/unit/s3_fake.h"

#define ASKED_MAX 40

static struct fuzz_input answers;
static int asked;
static char headers[300];
static uint8_t *body;

/* Pauses before repeats, also those that a server asks for, are none. */
int nanosleep(const struct timespec *time, struct timespec *left)
{
    (void)time, (void)left;
    return 0;
}

static struct fake_answer fake_answer(const struct weir_http_exchange *request)
{
    static const int statuses[] = {200, 204, 206, 301, 400, 403, 404, 409, 412, 500, 503};
    fuzz_check(request->url && request->method);
    free(body);
    body = NULL;
    if (answers.left == 0 || ++asked > ASKED_MAX)
        return (struct fake_answer){.status = 0};
    struct fake_answer answer = {.status = statuses[fuzz_number(&answers, 1) % 11], .headers = headers};
    struct fuzz_input text = fuzz_take(&answers, (size_t)fuzz_number(&answers, 1));
    snprintf(headers, sizeof headers, "%.*s\r\n", (int)text.left, text.left ? (const char *)text.at : "");
    struct fuzz_input bytes = fuzz_take(&answers, (size_t)fuzz_number(&answers, 2));
    body = weir_alloc(bytes.left + 1); /* no longer than it is */
    if (bytes.left)
        memcpy(body, bytes.at, bytes.left);
    answer.body = body;
    answer.size = bytes.left;
    return answer;
}

static bool see(const struct weir_store_entry *entry, void *arg)
{
    int *count = arg;
    fuzz_check(entry->key[0] && entry->key[0] != '/' && !strstr(entry->key, "//"));
    return ++*count < 1000;
}

static weir_err call(struct weir_store *store, unsigned what, struct weir_error *error)
{
    static const char *const keys[] = {"jobs/a", "jobs/b"};
    struct weir_store_tag tag = {"\"x\""}, now;
    struct weir_buf out;
    char path[40];
    int count = 0, fd = memfd_create("file", MFD_CLOEXEC);
    weir_err err;
    weir_buf_init(&out, 1 << 16);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    switch (what % 7) {
    case 0:
        err = what / 7 % 2 ? weir_store_list_directories(store, "jobs/", see, &count, error)
                           : weir_store_list(store, "jobs/", what / 14 % 2 ? "jobs/a" : "", see, &count, error);
        break;
    case 1:
        err = weir_store_put(store, "jobs/a", "text", 4, WEIR_STORE_IF_MATCH, &tag, &now, error);
        break;
    case 2:
        err = weir_store_get(store, "jobs/a", &out, &now, error);
        break;
    case 3: /* in two parts */
        fuzz_check(ftruncate(fd, (5 << 20) + 1) == 0);
        err = weir_store_put_file(store, "jobs/a", path, NULL, NULL, error);
        break;
    case 4:
        err = weir_store_get_range(store, "jobs/a", 3, 10, fd, 0, NULL, error);
        break;
    case 5:
        err = weir_store_delete(store, keys, 2, error);
        break;
    default:
        err = weir_store_sweep(store, "jobs/", what / 7 % 2 ? 1000 : 0, error);
    }
    weir_buf_fini(&out);
    close(fd);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct weir_error error = {.code = WEIR_OK};
    struct weir_config *config;
    answers = (struct fuzz_input){data, size};
    asked = 0;
    weir_log_level_min = WEIR_LOG_ERROR;
    setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/dev/null", 1);
    unsigned what = (unsigned)fuzz_number(&answers, 1);
    if (what & 64)
        setenv("AWS_ROLE_ARN", "role", 1); /* else the instance's metadata */
    else
        unsetenv("AWS_ROLE_ARN");
    setenv("HOME", "/nowhere", 1);
    struct weir_store *store = fake_open(what < 128, &config);
    weir_err err = call(store, what & 63, &error);
    fuzz_check(!err || error.message[0]);
    weir_store_close(store);
    weir_config_free(config);
    free(body);
    body = NULL;
    return 0;
}

/* --- Seeds */

static struct weir_buf seed;

static void begin(uint8_t what)
{
    weir_buf_clear(&seed);
    fuzz_check(weir_buf_append(&seed, &what, 1));
}

static void add(uint8_t status, const char *lines, const char *text)
{
    uint8_t head[] = {status, (uint8_t)strlen(lines)}, size[] = {(uint8_t)strlen(text), (uint8_t)(strlen(text) >> 8)};
    fuzz_check(weir_buf_append(&seed, head, 2) && weir_buf_puts(&seed, lines) && weir_buf_append(&seed, size, 2) &&
               weir_buf_puts(&seed, text));
}

void fuzz_seeds(fuzz_put *put)
{
#define ENTRY \
    "<Contents><Key>root/jobs/a</Key><Size>12</Size><LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents>"
    weir_buf_init(&seed, 1 << 16);
    begin(0);
    add(0, "",
        "<ListBucketResult>" ENTRY
        "<IsTruncated>true</IsTruncated><NextContinuationToken>t&amp;&#x41;</NextContinuationToken></ListBucketResult>");
    add(0, "", "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>");
    put("list", seed.data, seed.size);
    begin(1);
    add(0, "ETag: \"abc\"", "");
    put("put", seed.data, seed.size);
    begin(2);
    add(6, "Date: Sat, 21 Nov 2026 15:00:00 GMT", "<Error><Code>NoSuchKey</Code><Message>no</Message></Error>");
    put("get-absent", seed.data, seed.size);
    begin(2);
    add(5, "Date: Sat, 21 Nov 2026 15:00:00 GMT", "<Error><Code>RequestTimeTooSkewed</Code></Error>");
    add(0, "ETag: \"abc\"", "the object");
    put("get-skewed", seed.data, seed.size);
    begin(3);
    add(0, "", "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>");
    add(0, "ETag: \"1\"", "");
    add(0, "ETag: \"2\"", "");
    add(0, "", "<CompleteMultipartUploadResult><ETag>\"3\"</ETag></CompleteMultipartUploadResult>");
    put("parts", seed.data, seed.size);
    begin(4);
    add(2, "Content-Length: 10", "0123456789");
    put("range", seed.data, seed.size);
    begin(5);
    add(0, "",
        "<DeleteResult><Error><Key>root/jobs/a</Key><Code>InternalError</Code><Message>no</Message></Error></DeleteResult>");
    put("delete", seed.data, seed.size);
    begin(6);
    add(0, "",
        "<ListMultipartUploadsResult><Upload><Key>root/jobs/a</Key><UploadId>u</UploadId></Upload></ListMultipartUploadsResult>");
    add(1, "", "");
    put("sweep", seed.data, seed.size);
    begin(128 + 64 + 2);
    add(0, "",
        "<Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>S</SecretAccessKey><SessionToken>T</SessionToken><Expiration>2036-01-02T03:04:05Z</Expiration></Credentials>");
    add(0, "ETag: \"abc\"", "the object");
    put("sts", seed.data, seed.size);
    begin(128 + 2);
    add(0, "", "token");
    add(0, "", "role\n");
    add(0, "",
        "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\",\"Token\":\"T\",\"Expiration\":\"2036-01-02T03:04:05Z\"}");
    add(0, "ETag: \"abc\"", "the object");
    put("instance", seed.data, seed.size);
    weir_buf_fini(&seed);
}
