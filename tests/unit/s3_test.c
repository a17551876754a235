/* S3 servers, proxies and services of credentials that answer what they should not: no answer makes the store crash, or believe that there is less
 * than there is. The store's requests against real servers are in store_test.c. */
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "store/s3_int.h"
#include "tests/unit/s3_fake.h"

#define ANSWERS_MAX 8

static struct fake_answer answers[ANSWERS_MAX];
static int answer_count, asked;
static char urls[ANSWERS_MAX][200];

static sem_t gate;
static atomic_bool gated; /* each answer waits at the gate, and all are good */
static atomic_bool any;   /* all are good */

static struct fake_answer fake_answer(const struct weir_http_exchange *request)
{
    if (gated)
        sem_wait(&gate);
    if (any)
        usleep(1000); /* who does not wait is under way meanwhile */
    if (gated || any)
        return (struct fake_answer){200, "ETag: x\r\n", "", 0};
    assert_true(asked < answer_count);
    snprintf(urls[asked], sizeof urls[0], "%s %s", request->method, request->url);
    return answers[asked++];
}

static struct weir_store *store;
static struct weir_config *config;
static struct weir_error error;

static void begin(bool keys)
{
    answer_count = asked = 0;
    store = fake_open(keys, &config);
}

static void end(void)
{
    assert_int_equal(asked, answer_count);
    weir_store_close(store);
    weir_config_free(config);
}

static void will_answer(int status, const char *headers, const char *body)
{
    assert_true(answer_count < ANSWERS_MAX);
    answers[answer_count++] = (struct fake_answer){status, headers, body, strlen(body)};
}

static bool see(const struct weir_store_entry *entry, void *arg)
{
    char *seen = arg;
    snprintf(seen + strlen(seen), 200 - strlen(seen), "%s ", entry->key);
    return true;
}

static weir_err list_of(char seen[200])
{
    seen[0] = 0;
    return weir_store_list(store, "jobs/", "", see, seen, &error);
}

#define LIST "<?xml?><ListBucketResult xmlns=\"x\">"
#define ENTRY(key) "<Contents><Key>root/" key "</Key><Size>1</Size></Contents>"

static void lists(void **state)
{
    (void)state;
    char seen[200];
    begin(true);
    will_answer(
        200, NULL,
        LIST ENTRY(
            "jobs/a/HEAD") "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken></ListBucketResult>");
    will_answer(200, NULL, LIST ENTRY("jobs/b/HEAD") "<IsTruncated>false</IsTruncated></ListBucketResult>");
    assert_int_equal(list_of(seen), WEIR_OK);
    assert_string_equal(seen, "jobs/a/HEAD jobs/b/HEAD ");
    assert_non_null(strstr(urls[1], "continuation-token=t"));
    end();
    /* What would pass for an empty list, or for all of it. */
    static const char *const wrong[] = {
        "",
        "<html><body>Welcome</body></html>",
        LIST ENTRY("jobs/a/HEAD") "<IsTruncated>true</IsTruncated></ListBucketResult>",
        LIST "<IsTruncated>true</IsTruncated><NextContinuationToken></NextContinuationToken></ListBucketResult>",
        LIST ENTRY("jobs/a/HEAD"),
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        begin(true);
        will_answer(200, NULL, wrong[i]);
        assert_int_equal(list_of(seen), WEIR_ERR_IO);
        assert_non_null(strstr(error.message, "fake"));
        end();
    }
    /* The same token for ever. */
    begin(true);
    for (int i = 0; i < 2; i++)
        will_answer(
            200, NULL,
            LIST "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken></ListBucketResult>");
    assert_int_equal(list_of(seen), WEIR_ERR_IO);
    end();
}

/* Behind a key, and only directories: what is asked for, on each page. */
static void pages_and_directories(void **state)
{
    (void)state;
    char seen[200] = "";
    begin(true);
    will_answer(200, NULL,
                LIST
                "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken></ListBucketResult>");
    will_answer(200, NULL, LIST ENTRY("jobs/b/HEAD") "</ListBucketResult>");
    assert_int_equal(weir_store_list(store, "jobs/", "jobs/a/HEAD", see, seen, &error), WEIR_OK);
    assert_string_equal(seen, "jobs/b/HEAD ");
    assert_non_null(strstr(urls[0], "start-after=root%2Fjobs%2Fa%2FHEAD"));
    assert_null(strstr(urls[0], "delimiter"));
    assert_null(strstr(urls[1], "start-after"));
    end();
    begin(true);
    will_answer(200, NULL,
                LIST ENTRY("jobs/x") "<CommonPrefixes><Prefix>root/jobs/a/</Prefix></CommonPrefixes>"
                                     "<CommonPrefixes><Prefix>root/jobs//</Prefix></CommonPrefixes>"
                                     "<CommonPrefixes><Prefix>elsewhere/</Prefix></CommonPrefixes></ListBucketResult>");
    seen[0] = 0;
    assert_int_equal(weir_store_list_directories(store, "jobs/", see, seen, &error), WEIR_OK);
    assert_string_equal(seen, "jobs/a/ ");
    assert_non_null(strstr(urls[0], "delimiter=%2F"));
    end();
}

/* Markers of folders, as consoles make them, and what else weir does not write: not its affair, and never in its way. */
static void other_programs(void **state)
{
    (void)state;
    char seen[200];
    begin(true);
    will_answer(200, NULL,
                LIST ENTRY("jobs/") ENTRY("jobs/a/") ENTRY("jobs//b") ENTRY("jobs/.x")
                    ENTRY("jobs/a/HEAD") "<Contents><Key>elsewhere/jobs/c</Key></Contents></ListBucketResult>");
    assert_int_equal(list_of(seen), WEIR_OK);
    assert_string_equal(seen, "jobs/a/HEAD ");
    end();
}

/* Names that come from an object that was read. */
static void names_that_cannot_be(void **state)
{
    (void)state;
    static const char *const names[] = {"", "/etc/passwd", "../x", "a//b", "a/", ".hidden", "a/../../b"};
    begin(true);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct weir_buf out;
        weir_buf_init(&out, 100);
        assert_int_equal(weir_store_get(store, names[i], &out, NULL, &error), WEIR_ERR_DATA);
        assert_non_null(strstr(error.message, "CHECKPOINT_CORRUPT"));
        assert_int_equal(weir_store_get_range(store, names[i], 0, 1, 1, 0, NULL, &error), WEIR_ERR_DATA);
        weir_buf_fini(&out);
    }
    end();
}

static void what_is_absent(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        weir_err err;
    } cases[] = {{"<Error><Code>NoSuchKey</Code></Error>", WEIR_ERR_NOT_FOUND},
                 {"", WEIR_ERR_NOT_FOUND},
                 {"<html>nginx: 404 Not Found</html>", WEIR_ERR_INVALID}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct weir_buf out;
        weir_buf_init(&out, 100);
        begin(true);
        will_answer(404, NULL, cases[i].body);
        assert_int_equal(weir_store_get(store, "a", &out, NULL, &error), cases[i].err);
        end();
        weir_buf_fini(&out);
    }
}

/* A file in two parts. */
static weir_err put_parts(const char *etag, const char *joined)
{
    int fd = memfd_create("file", MFD_CLOEXEC);
    char path[40];
    assert_int_equal(ftruncate(fd, 6 << 20), 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    begin(true);
    will_answer(200, NULL, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>");
    will_answer(200, etag, "");
    will_answer(200, etag, "");
    will_answer(200, NULL, joined);
    bool good = strstr(joined, "CompleteMultipartUploadResult") != NULL;
    if (!good) { /* is it there all the same? no; so it is given up */
        will_answer(404, NULL, "");
        will_answer(204, NULL, "");
    }
    weir_err err = weir_store_put_file(store, "a", path, NULL, NULL, &error);
    end();
    close(fd);
    return err;
}

static void uploads_in_parts(void **state)
{
    (void)state;
    char etag[300] = "ETag: ";
    memset(etag + 6, '&', 200);
    static const char done[] = "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>";
    assert_int_equal(put_parts("ETag: x\r\n", done), WEIR_OK);
    assert_int_equal(put_parts(etag, done), WEIR_OK);
    assert_int_equal(put_parts(NULL, done), WEIR_OK);
    assert_int_equal(put_parts("ETag: x\r\n", "<Error><Code>Oops</Code></Error>"), WEIR_ERR_IO);
    assert_int_equal(put_parts("ETag: x\r\n", "<html>all is well</html>"), WEIR_ERR_IO);
}

/* Services of credentials that answer nothing, or half. */
static void credentials(void **state)
{
    (void)state;
    static const char *const unset[] = {"AWS_ACCESS_KEY_ID",
                                        "AWS_SECRET_ACCESS_KEY",
                                        "AWS_WEB_IDENTITY_TOKEN_FILE",
                                        "AWS_ROLE_ARN",
                                        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                                        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                                        "AWS_EC2_METADATA_DISABLED",
                                        "AWS_SHARED_CREDENTIALS_FILE",
                                        "AWS_PROFILE"};
    struct weir_buf out;
    weir_buf_init(&out, 100);
    for (size_t i = 0; i < sizeof unset / sizeof *unset; i++)
        unsetenv(unset[i]);
    setenv("HOME", "/nowhere", 1);
    begin(false); /* the instance's metadata: token, role, keys */
    will_answer(200, NULL, "token");
    will_answer(200, NULL, "");
    will_answer(200, NULL, "");
    assert_int_not_equal(weir_store_get(store, "a", &out, NULL, &error), WEIR_OK);
    end();
    setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/dev/null", 1);
    setenv("AWS_ROLE_ARN", "r", 1);
    static const char *const half[] = {"", "<Credentials><SecretAccessKey>hidden</SecretAccessKey></Credentials>"};
    for (size_t i = 0; i < 2; i++) {
        begin(false);
        will_answer(200, NULL, half[i]);
        assert_int_not_equal(weir_store_get(store, "a", &out, NULL, &error), WEIR_OK);
        assert_non_null(strstr(error.message, "STS"));
        assert_null(strstr(error.message, "hidden"));
        end();
    }
    weir_buf_fini(&out);
}

#define UPLOAD_SIZE ((size_t)1 << 20)

static void *upload(void *arg)
{
    size_t size = *(const size_t *)arg;
    char *data = weir_zalloc(size), key[40];
    for (int i = 0; i < 20; i++) {
        struct weir_error why;
        snprintf(key, sizeof key, "%p-%d", (void *)data, i);
        weir_assert(weir_store_put(store, key, data, size, WEIR_STORE_ALWAYS, NULL, NULL, &why) == WEIR_OK);
    }
    free(data);
    return NULL;
}

static pthread_barrier_t start;

static void *upload_together(void *arg)
{
    pthread_barrier_wait(&start);
    return upload(arg);
}

/* Large uploads go one after the other, small ones wait for none. */
static void turns(void **state)
{
    (void)state;
    static size_t sizes[] = {UPLOAD_SIZE, UPLOAD_SIZE, UPLOAD_SIZE};
    pthread_t threads[3];
    weir_s3_turns_ms = 60000;
    begin(true);
    any = true;
    fake_most = 0;
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, upload, &sizes[i]), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(fake_most, 1);
    any = false;
    end();
}

/* They do so for a while only, however soon each of them gets through: a distant server takes many at once. */
static void turns_end(void **state)
{
    (void)state;
    static size_t sizes[] = {UPLOAD_SIZE, UPLOAD_SIZE, UPLOAD_SIZE};
    pthread_t threads[3];
    weir_s3_turns_ms = 0; /* it has passed */
    begin(true);
    any = true;
    fake_most = 0;
    pthread_barrier_init(&start, NULL, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, upload_together, &sizes[i]), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&start);
    assert_true(fake_most > 1);
    any = false;
    end();
}

static void wait_under_way(int count)
{
    for (int i = 0; fake_under_way < count; i++) {
        assert_true(i < 6000);
        usleep(10000);
    }
}

/* An upload that takes long keeps neither large nor small ones waiting for ever. */
static void turns_pass(void **state)
{
    (void)state;
    static size_t sizes[] = {UPLOAD_SIZE, UPLOAD_SIZE, 10};
    pthread_t threads[3];
    weir_s3_turns_ms = 100;
    begin(true);
    sem_init(&gate, 0, 0);
    gated = true;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, upload, &sizes[i]), 0);
        wait_under_way(i + 1);
    }
    gated = false;
    any = true;
    sem_post(&gate);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    any = false;
    sem_destroy(&gate);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists),          cmocka_unit_test(pages_and_directories),
        cmocka_unit_test(other_programs), cmocka_unit_test(names_that_cannot_be),
        cmocka_unit_test(what_is_absent), cmocka_unit_test(uploads_in_parts),
        cmocka_unit_test(credentials),    cmocka_unit_test(turns),
        cmocka_unit_test(turns_end),      cmocka_unit_test(turns_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
