/* common/store: one suite over a directory and, where WEIR_TEST_S3 names a running S3 server, over that (tests/e2e/store_test.py). */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/hash.h"
#include "store/store.h"

static char directory[64];
static struct weir_config *config;
static struct weir_store *store;
static struct weir_error error;

#define ok(call) \
    do { \
        error.message[0] = 0; \
        if (call) \
            fail_msg("%s: %s", #call, error.message); \
    } while (0)

static struct weir_config *config_with(const struct weir_key_value *more, int count)
{
    struct weir_key_value pairs[16];
    int n = 0;
    const char *endpoint = getenv("WEIR_TEST_S3");
    if (endpoint)
        pairs[n++] = (struct weir_key_value){"s3.endpoint", endpoint};
    pairs[n++] = (struct weir_key_value){"s3.upload.part-size", "5 mb"};
    for (int i = 0; i < count; i++)
        pairs[n++] = more[i];
    struct weir_config *out = NULL;
    ok(weir_config_load(NULL, directory, pairs, n, &out, &error));
    return out;
}

static int open_store(void **state)
{
    const char *uri = *state;
    config = config_with(NULL, 0);
    char *whole = strcmp(uri, "local") == 0
                      ? weir_format("file://%s/store/%lld", directory, (long long)weir_clock_wall_ns())
                      : weir_format("s3://weir-test/t%lld", (long long)weir_clock_wall_ns());
    ok(weir_store_open(whole, config, &store, &error));
    assert_string_equal(weir_store_uri(store), whole);
    free(whole);
    return 0;
}

static int close_store(void **state)
{
    (void)state;
    weir_store_close(store);
    weir_config_free(config);
    return 0;
}

static void put(const char *key, const char *text)
{
    ok(weir_store_put(store, key, text, strlen(text), WEIR_STORE_ALWAYS, NULL, NULL, &error));
}

static void assert_object(const char *key, const char *text)
{
    struct weir_buf buf;
    weir_buf_init(&buf, 1 << 20);
    ok(weir_store_get(store, key, &buf, NULL, &error));
    assert_int_equal(buf.size, strlen(text));
    assert_memory_equal(buf.data ? (char *)buf.data : "", text, strlen(text));
    weir_buf_fini(&buf);
}

static void small_objects(void **state)
{
    (void)state;
    put("a", "one");
    put("deep/er/and deeper/k=v&w+x~%41'\"<>", "two");
    put("empty", "");
    put("a", "three");
    assert_object("a", "three");
    assert_object("deep/er/and deeper/k=v&w+x~%41'\"<>", "two");
    assert_object("empty", "");
    struct weir_buf buf;
    weir_buf_init(&buf, 4);
    assert_int_equal(weir_store_get(store, "a", &buf, NULL, &error), WEIR_ERR_FULL);
    assert_int_equal(weir_store_get(store, "nothing", &buf, NULL, &error), WEIR_ERR_NOT_FOUND);
    assert_int_equal(weir_store_get(store, "a/b", &buf, NULL, &error), WEIR_ERR_NOT_FOUND);
    assert_int_equal(buf.size, 0);
    weir_buf_fini(&buf);
}

static void conditions(void **state)
{
    (void)state;
    struct weir_store_tag first, second, third, read;
    ok(weir_store_put(store, "job/HEAD", "1", 1, WEIR_STORE_IF_ABSENT, NULL, &first, &error));
    assert_int_equal(weir_store_put(store, "job/HEAD", "x", 1, WEIR_STORE_IF_ABSENT, NULL, &second, &error),
                     WEIR_ERR_EXISTS);
    ok(weir_store_put(store, "job/HEAD", "2", 1, WEIR_STORE_IF_MATCH, &first, &second, &error));
    assert_string_not_equal(first.text, second.text);
    assert_int_equal(weir_store_put(store, "job/HEAD", "x", 1, WEIR_STORE_IF_MATCH, &first, &third, &error),
                     WEIR_ERR_EXISTS);
    assert_object("job/HEAD", "2");
    struct weir_buf buf;
    weir_buf_init(&buf, 100);
    ok(weir_store_get(store, "job/HEAD", &buf, &read, &error));
    assert_string_equal(read.text, second.text);
    weir_buf_fini(&buf);
    const char *keys[] = {"job/HEAD"};
    ok(weir_store_delete(store, keys, 1, &error));
    assert_int_equal(weir_store_put(store, "job/HEAD", "3", 1, WEIR_STORE_IF_MATCH, &second, &third, &error),
                     WEIR_ERR_EXISTS);
    ok(weir_store_probe(store, "", &error));
    ok(weir_store_probe(store, "some/where", &error));
}

/* Writers race for each version of one object: exactly one wins each round. */
enum { WRITERS = 8, ROUNDS = 25 };
static struct weir_store_tag race_tag;
static _Atomic int winners[ROUNDS];
static pthread_barrier_t race_barrier;

static void *race(void *arg)
{
    char text[32];
    for (int round = 0; round < ROUNDS; round++) {
        struct weir_error mine;
        struct weir_store_tag before = race_tag, after;
        pthread_barrier_wait(&race_barrier);
        snprintf(text, sizeof text, "%d of %d", round, (int)(intptr_t)arg);
        weir_err err = weir_store_put(store, "race", text, strlen(text), WEIR_STORE_IF_MATCH, &before, &after, &mine);
        if (!err) {
            atomic_fetch_add(&winners[round], 1);
            race_tag = after;
        } else if (err != WEIR_ERR_EXISTS) {
            atomic_fetch_add(&winners[round], 1000);
        }
        pthread_barrier_wait(&race_barrier);
    }
    return NULL;
}

static void one_winner(void **state)
{
    (void)state;
    memset(winners, 0, sizeof winners);
    ok(weir_store_put(store, "race", "start", 5, WEIR_STORE_IF_ABSENT, NULL, &race_tag, &error));
    pthread_t threads[WRITERS];
    pthread_barrier_init(&race_barrier, NULL, WRITERS);
    for (intptr_t i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race, (void *)i), 0);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&race_barrier);
    for (int round = 0; round < ROUNDS; round++)
        assert_int_equal(winners[round], 1);
}

static bool count_entry(const struct weir_store_entry *entry, void *arg)
{
    int *count = arg;
    (*count)++;
    assert_true(entry->size == 1);
    assert_true(entry->modified_ms > weir_clock_wall_ms() - 3600000 &&
                entry->modified_ms < weir_clock_wall_ms() + 3600000);
    return true;
}

static bool stop_at_three(const struct weir_store_entry *entry, void *arg)
{
    (void)entry;
    return ++*(int *)arg < 3;
}

static int count_of(const char *prefix)
{
    int count = 0;
    ok(weir_store_list(store, prefix, "", count_entry, &count, &error));
    return count;
}

#define PAGE 255

struct page {
    const char **keys;
    int at;
};

static bool see_page(const struct weir_store_entry *entry, void *arg)
{
    struct page *page = arg;
    assert_string_equal(entry->key, page->keys[page->at]);
    return ++page->at % PAGE != 0;
}

/* Appended while there is room. */
static bool see_name(const struct weir_store_entry *entry, void *arg)
{
    char *text = arg;
    if (strlen(text) + strlen(entry->key) < 300)
        strcat(strcat(text, entry->key), " ");
    return true;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list_and_delete(void **state)
{
    (void)state;
    enum { MANY = 1020 }; /* more than one page */
    static char names[MANY][40];
    const char *keys[MANY];
    for (int i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "list/%d/chk&%d", i % 7, i);
        keys[i] = names[i];
        put(names[i], "x");
    }
    put("lisa", "x");
    assert_int_equal(count_of("list/"), MANY);
    assert_int_equal(count_of("list"), MANY);
    assert_int_equal(count_of("lis"), MANY + 1);
    int expected = 0;
    for (int i = 0; i < MANY; i++)
        expected += strncmp(names[i], "list/3/chk&1", 12) == 0;
    assert_int_equal(count_of("list/3/chk&1"), expected);
    assert_int_equal(count_of("nothing/"), 0);
    int seen = 0;
    ok(weir_store_list(store, "list/", "", stop_at_three, &seen, &error));
    assert_int_equal(seen, 3);
    qsort(keys, MANY, sizeof *keys, compare_keys);
    struct page page = {.keys = keys}; /* in order, a page at a time */
    for (int from = 0; from <= MANY; from += PAGE) {
        int before = page.at;
        ok(weir_store_list(store, "list/", from ? keys[from - 1] : "", see_page, &page, &error));
        assert_int_equal(page.at - before, from + PAGE <= MANY ? PAGE : MANY - from);
    }
    ok(weir_store_list(store, "list/", "list/4", see_page, (page.at = 584, &page), &error));
    put("list-a", "x"); /* '-' is less than '/' */
    put("list/3-", "x");
    char text[400] = "";
    ok(weir_store_list_directories(store, "list/", see_name, text, &error));
    assert_string_equal(text, "list/0/ list/1/ list/2/ list/3/ list/4/ list/5/ list/6/ ");
    ok(weir_store_list_directories(store, "", see_name, (*text = 0, text), &error));
    assert_string_equal(text, "list/ ");
    ok(weir_store_list(store, "lis", "lis", see_name, (*text = 0, text), &error));
    assert_memory_equal(text, "lisa list-a list/0/chk&0 ", 25);
    ok(weir_store_list(store, "list/", "list/3-", see_name, (*text = 0, text), &error));
    assert_memory_equal(text, "list/3/", 7);
    ok(weir_store_delete(store, (const char *const[]){"list-a", "list/3-"}, 2, &error));
    ok(weir_store_delete(store, keys, 1000, &error));
    ok(weir_store_delete(store, keys, 1000, &error)); /* gone already */
    assert_int_equal(count_of("list/"), MANY - 1000);
    ok(weir_store_delete(store, keys + 1000, MANY - 1000, &error));
    assert_int_equal(count_of("list/"), 0);
    assert_int_equal(count_of(""), 1);
}

static char *make_file(const char *name, size_t size, uint32_t *crc)
{
    char *path = weir_format("%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    uint64_t x = 88172645463325252ull;
    *crc = 0;
    for (size_t done = 0; done < size;) {
        uint64_t block[1024];
        for (int i = 0; i < 1024; i++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            block[i] = x;
        }
        size_t part = size - done < sizeof block ? size - done : sizeof block;
        assert_int_equal(fwrite(block, 1, part, file), part);
        *crc = weir_crc32c(*crc, block, part);
        done += part;
    }
    assert_int_equal(fclose(file), 0);
    return path;
}

static void files_and_ranges(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 5 << 20, (5 << 20) + 1, 17000001};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint32_t crc, sent, got;
        int64_t size;
        char *path = make_file("upload", sizes[i], &crc), *copy = weir_format("%s/copy", directory);
        ok(weir_store_put_file(store, "files/one", path, &size, &sent, &error));
        assert_int_equal(size, sizes[i]);
        assert_int_equal(sent, crc);
        int fd = open(copy, O_RDWR | O_CREAT | O_TRUNC, 0600);
        ok(weir_store_get_range(store, "files/one", 0, size, fd, 100, &got, &error));
        assert_int_equal(got, crc);
        struct stat info;
        fstat(fd, &info);
        assert_int_equal(info.st_size, sizes[i] ? sizes[i] + 100 : 0);
        if (sizes[i] > 6000) { /* a part across the border of parts */
            unsigned char a[3000], b[3000];
            int original = open(path, O_RDONLY);
            ok(weir_store_get_range(store, "files/one", size - 3500, 3000, fd, 0, &got, &error));
            assert_int_equal(pread(fd, a, 3000, 0), 3000);
            assert_int_equal(pread(original, b, 3000, size - 3500), 3000);
            assert_memory_equal(a, b, 3000);
            assert_int_equal(got, weir_crc32c(0, b, 3000));
            close(original);
            assert_int_not_equal(weir_store_get_range(store, "files/one", size - 10, 3000, fd, 0, &got, &error),
                                 WEIR_OK);
        }
        close(fd);
        unlink(path);
        unlink(copy);
        free(path);
        free(copy);
    }
    uint32_t crc;
    assert_int_equal(weir_store_get_range(store, "files/none", 0, 10, 1, 0, &crc, &error), WEIR_ERR_NOT_FOUND);
    assert_int_not_equal(weir_store_put_file(store, "files/two", "/does/not/exist", NULL, NULL, &error), WEIR_OK);
    assert_int_equal(count_of("files/two"), 0);
}

/* --- Writers that die */

/* A process that is killed when the object's parts are written and it cannot be seen yet. */
static void die_in_put(const char *uri, const char *key, const char *path)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct weir_store *own = NULL;
        if (weir_fault_enable(NULL, "executor", &error) == 0 &&
            weir_fault_arm("executor.store-put-mid", "kill", 1, &error) == 0 &&
            weir_store_open(uri, config, &own, &error) == 0)
            (void)!weir_store_put_file(own, key, path, NULL, NULL, &error);
        _exit(1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void what_the_dead_left(void **state)
{
    (void)state;
    uint32_t crc;
    char *path = make_file("upload", 11000000, &crc);
    die_in_put(weir_store_uri(store), "dead/one/object", path);
    die_in_put(weir_store_uri(store), "dead/two/object", path);
    die_in_put(weir_store_uri(store), "live/object", path);
    put("dead/two/other", "2");
    assert_int_equal(count_of("dead/"), 1);
    ok(weir_store_sweep(store, "dead/", 0, &error));
    ok(weir_store_sweep(store, "dead/none/", 0, &error));
    assert_object("dead/two/other", "2");
    put("dead/one/object", "1"); /* a name that was swept can be used */
    assert_object("dead/one/object", "1");
    ok(weir_store_put_file(store, "live/object", path, NULL, NULL, &error));
    ok(weir_store_sweep(store, "", 0, &error));
    uint32_t got;
    int fd = open(path, O_RDWR);
    ok(weir_store_get_range(store, "live/object", 0, 11000000, fd, 0, &got, &error));
    assert_int_equal(got, crc);
    close(fd);
    free(path);
}

/* --- A directory */

static int hidden_files(const char *below)
{
    char *command = weir_format("find '%s/%s' -name '.put*' | wc -l", weir_store_uri(store) + 7, below);
    FILE *pipe = popen(command, "r");
    int count = -1;
    assert_non_null(pipe);
    assert_int_equal(fscanf(pipe, "%d", &count), 1);
    pclose(pipe);
    free(command);
    return count;
}

static void hidden_files_of_the_dead(void **state)
{
    (void)state;
    uint32_t crc;
    char *path = make_file("upload", 1000, &crc);
    die_in_put(weir_store_uri(store), "a/one/object", path);
    die_in_put(weir_store_uri(store), "a/two/object", path);
    assert_int_equal(hidden_files("a"), 2);
    char *held = weir_format("%s/a/two/.put-1-1", weir_store_uri(store) + 7);
    int fd = open(held, O_WRONLY | O_CREAT, 0600); /* of a writer that lives */
    assert_int_equal(flock(fd, LOCK_EX), 0);
    ok(weir_store_sweep(store, "a/one/", 0, &error));
    assert_int_equal(hidden_files("a"), 2);
    ok(weir_store_sweep(store, "a/", 0, &error));
    assert_int_equal(hidden_files("a"), 1);
    close(fd);
    struct weir_store_tag tag; /* who holds the lock of a directory sweeps it */
    ok(weir_store_put(store, "a/two/HEAD", "1", 1, WEIR_STORE_IF_ABSENT, NULL, &tag, &error));
    assert_int_equal(hidden_files("a"), 0);
    /* The numbers of an earlier process with this pid, as the first one of a container has it each time. */
    for (int i = 0; i < 2000; i++) {
        char *taken = weir_format("%s/a/two/.put-%d-%d", weir_store_uri(store) + 7, (int)getpid(), i);
        close(open(taken, O_WRONLY | O_CREAT, 0600));
        free(taken);
    }
    put("a/two/object", "2");
    assert_object("a/two/object", "2");
    free(held);
    free(path);
}

static void nothing_half_written(void **state)
{
    (void)state;
    put("x/y", "1");
    char *path = weir_format("%s/x", weir_store_uri(store) + 7);
    DIR *dir = opendir(path);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.' || strncmp(entry->d_name, ".put", 4) == 0;
    closedir(dir);
    free(path);
    assert_int_equal(count, 1);
    const char *keys[] = {"x/y"};
    ok(weir_store_delete(store, keys, 1, &error));
    char *gone = weir_format("%s/x", weir_store_uri(store) + 7);
    assert_int_not_equal(access(gone, F_OK), 0); /* an empty directory goes too */
    free(gone);
}

static void refused_uris(void **state)
{
    (void)state;
    static const struct {
        const char *uri, *says;
    } cases[] = {
        {"http://x/y", "a store is"},
        {"s3://", "bucket"},
        {"s3://UP/x", "bucket"},
        {"s3://ab", "bucket"},
        {"s3://bucket//x", "empty parts"},
        {"s3://bucket/../x", "'..'"},
        {"file:relative", "begins with /"},
        {"file://", "begins with /"},
        {"", "empty"},
        {"/dev/null", "directory"},
        {"/dev/null/x", "directory"},
    };
    config = config_with(NULL, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct weir_store *none = NULL;
        assert_int_not_equal(weir_store_open(cases[i].uri, config, &none, &error), WEIR_OK);
        assert_null(none);
        if (!strstr(error.message, cases[i].says))
            fail_msg("%s: %s", cases[i].uri, error.message);
    }
    weir_config_free(config);
}

static void joined_checksums(void **state)
{
    (void)state;
    unsigned char bytes[5000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * i >> 3);
    for (size_t at = 0; at <= sizeof bytes; at += 499)
        assert_int_equal(weir_crc32c_join(weir_crc32c(0, bytes, at), weir_crc32c(0, bytes + at, sizeof bytes - at),
                                          (int64_t)(sizeof bytes - at)),
                         weir_crc32c(0, bytes, sizeof bytes));
}

/* --- S3 */

static void open_with(const char *uri, const char *key, const char *value, struct weir_store **out)
{
    struct weir_key_value more = {key, value};
    struct weir_config *own = config_with(&more, 1);
    ok(weir_store_open(uri, own, out, &error));
    weir_config_free(own);
}

static void s3_refusals(void **state)
{
    (void)state;
    struct weir_store *other = NULL;
    open_with("s3://no-such-bucket-here/x", "s3.attempts", "2", &other);
    assert_int_equal(weir_store_put(other, "a", "1", 1, WEIR_STORE_ALWAYS, NULL, NULL, &error), WEIR_ERR_INVALID);
    assert_non_null(strstr(error.message, "there is no bucket 'no-such-bucket-here'"));
    weir_store_close(other);
    struct weir_key_value wrong[] = {{"s3.access-key", getenv("AWS_ACCESS_KEY_ID")}, {"s3.secret-key", "wrong"}};
    struct weir_config *own = config_with(wrong, 2);
    ok(weir_store_open("s3://weir-test/x", own, &other, &error));
    weir_config_free(own);
    assert_int_equal(weir_store_put(other, "a", "1", 1, WEIR_STORE_ALWAYS, NULL, NULL, &error), WEIR_ERR_INVALID);
    assert_non_null(strstr(error.message, "SignatureDoesNotMatch"));
    assert_null(strstr(error.message, "wrong"));
    weir_store_close(other);
    open_with("s3://weir-test/x", "s3.endpoint", "http://127.0.0.1:1", &other); /* nobody there: bounded */
    assert_int_equal(weir_store_put(other, "a", "1", 1, WEIR_STORE_ALWAYS, NULL, NULL, &error), WEIR_ERR_IO);
    assert_int_equal(error.effect, WEIR_EFFECT_NONE);
    assert_non_null(strstr(error.message, "127.0.0.1:1 is not reachable"));
    weir_store_close(other);
}

static int make_directory(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/weir-store-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    return system(command);
}

static char local_uri[] = "local", s3_uri[] = "s3";

#define both(test, where) \
    { \
#test " (" #where ")", test, open_store, close_store, where##_uri \
    }

int main(int argc, char **argv)
{
    const struct CMUnitTest local[] = {
        both(small_objects, local),      both(conditions, local),
        both(one_winner, local),         both(list_and_delete, local),
        both(files_and_ranges, local),   both(nothing_half_written, local),
        both(what_the_dead_left, local), both(hidden_files_of_the_dead, local),
        cmocka_unit_test(refused_uris),  cmocka_unit_test(joined_checksums),
    };
    const struct CMUnitTest s3[] = {
        both(small_objects, s3),    both(conditions, s3),  both(one_winner, s3),         both(list_and_delete, s3),
        both(files_and_ranges, s3), both(s3_refusals, s3), both(what_the_dead_left, s3),
    };
    const struct CMUnitTest small[] = {both(small_objects, s3)};
    if (argc > 1 && strcmp(argv[1], "small") == 0)
        return cmocka_run_group_tests_name("s3", small, make_directory, remove_directory);
    const struct CMUnitTest repeated[] = {both(small_objects, s3), both(list_and_delete, s3),
                                          both(files_and_ranges, s3)};
    if (getenv("WEIR_TEST_S3_TROUBLE"))
        return cmocka_run_group_tests_name("s3", repeated, make_directory, remove_directory);
    if (getenv("WEIR_TEST_S3"))
        return cmocka_run_group_tests_name("s3", s3, make_directory, remove_directory);
    return cmocka_run_group_tests_name("local", local, make_directory, remove_directory);
}
