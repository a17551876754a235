/* The filesystem connector's own parts against real files: finding, cutting, reading, committing. What operators make of them is in
 * tests/ops/source_test.c and sink_test.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "connectors/connector.h"
#include "connectors/connectors_int.h"
#include "ops/harness.h"

static char dir[64];

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/weir-connectors-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *in_dir(const char *name)
{
    static char paths[8][256];
    static int next;
    char *path = paths[next++ & 7];
    snprintf(path, 256, "%s/%s", dir, name);
    return path;
}

static void put_file(const char *name, const void *bytes, size_t size)
{
    FILE *f = fopen(in_dir(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static void put_text(const char *name, const char *text)
{
    put_file(name, text, strlen(text));
}

static size_t put_gzip(const char *name, const char *mode, const void *bytes, size_t size)
{
    gzFile f = gzopen(in_dir(name), mode);
    assert_non_null(f);
    assert_int_equal(gzwrite(f, bytes, (unsigned)size), size);
    assert_int_equal(gzclose(f), Z_OK);
    struct stat st;
    assert_int_equal(stat(in_dir(name), &st), 0);
    return (size_t)st.st_size;
}

static uint64_t seed = 1;
static uint32_t next_random(uint32_t bound)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % bound);
}

/* --- Finding */

struct splits {
    struct weir_arena arena;
    struct weir_split *list;
    int count;
};

static weir_err find(struct splits *splits, const char *path, const char *size, int readers, struct weir_error *error)
{
    struct weir_key_value options[] = {{"path", path}, {"split.size", size ? size : "0"}};
    weir_arena_init(&splits->arena);
    return weir_connector_filesystem.enumerate(options, 2, readers, &splits->arena, &splits->list, &splits->count,
                                               error);
}

static void assert_found(const char *path, const char *const *names)
{
    struct splits splits;
    struct weir_error error;
    if (find(&splits, path, NULL, 1, &error))
        fail_msg("%s", error.message);
    for (int i = 0; i < splits.count; i++) {
        assert_non_null(names[i]);
        assert_string_equal(splits.list[i].id, in_dir(names[i]));
        assert_int_equal(splits.list[i].remaining, splits.count - i - 1);
    }
    assert_null(names[splits.count]);
    weir_arena_fini(&splits.arena);
}

static void test_find(void **state)
{
    (void)state;
    assert_int_equal(mkdir(in_dir("sub"), 0755), 0);
    put_text("b.json", "1\n");
    put_text("a.json", "1\n");
    put_text("c.csv", "1\n");
    put_text(".hidden.json", "1\n");
    put_text("_SUCCESS.json", "1\n");
    put_text("sub/d.json", "1\n");
    put_text("sub/.part-0", "1\n");
    assert_found(dir, (const char *[]){"a.json", "b.json", "c.csv", "sub/d.json", NULL});
    assert_found(in_dir("*.json"), (const char *[]){"a.json", "b.json", NULL});
    assert_found(in_dir("[bc].*"), (const char *[]){"b.json", "c.csv", NULL});
    assert_found(in_dir("*/d.json"), (const char *[]){"sub/d.json", NULL});
    assert_found(in_dir("_*.json"), (const char *[]){"_SUCCESS.json", NULL});
    /* A name of its own is always read, and so is one that only looks like a pattern. */
    assert_found(in_dir(".hidden.json"), (const char *[]){".hidden.json", NULL});
    put_text("odd[1].json", "1\n");
    assert_found(in_dir("odd[1].json"), (const char *[]){"odd[1].json", NULL});
}

static void assert_not_found(const char *path, weir_err code, const char *part)
{
    struct splits splits;
    struct weir_error error;
    assert_int_equal(find(&splits, path, NULL, 1, &error), code);
    if (!strstr(error.message, part))
        fail_msg("'%s' is not in: %s", part, error.message);
    weir_arena_fini(&splits.arena);
}

static void test_find_errors(void **state)
{
    (void)state;
    assert_not_found(in_dir("none.json"), WEIR_ERR_NOT_FOUND, "none.json': No such file");
    assert_not_found(in_dir("*.none"), WEIR_ERR_NOT_FOUND, "no file matches");
    put_text("_only.json", "1\n");
    assert_not_found(in_dir("?only.json"), WEIR_ERR_NOT_FOUND, "hidden");
    assert_int_equal(mkfifo(in_dir("fifo"), 0600), 0);
    assert_not_found(in_dir("fifo"), WEIR_ERR_INVALID, "neither a file nor a directory");
    /* A link in a circle is bounded. */
    assert_int_equal(mkdir(in_dir("loop"), 0755), 0);
    assert_int_equal(symlink("..", in_dir("loop/up")), 0);
    struct splits splits;
    struct weir_error error;
    assert_int_not_equal(find(&splits, dir, NULL, 1, &error), 0);
    weir_arena_fini(&splits.arena);
    if (geteuid() == 0)
        return; /* root may read everything */
    assert_int_equal(mkdir(in_dir("secret"), 0), 0);
    assert_not_found(in_dir("secret"), WEIR_ERR_IO, "secret': Permission denied");
}

static void test_cuts(void **state)
{
    (void)state;
    struct splits splits;
    struct weir_error error;
    put_text("plain", "0123456789");
    put_gzip("packed.gz", "wb", "0123456789", 10);
    put_text("empty", "");
    assert_int_equal(find(&splits, dir, "4", 1, &error), 0); /* one reader: nothing is cut */
    assert_int_equal(splits.count, 3);
    weir_arena_fini(&splits.arena);
    assert_int_equal(find(&splits, dir, "4", 2, &error), 0);
    assert_int_equal(splits.count, 5);
    static const int64_t wanted[][2] = {{0, -1}, {0, -1}, {0, 4}, {4, 4}, {8, -1}};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(splits.list[i].offset, wanted[i][0]);
        assert_int_equal(splits.list[i].size, wanted[i][1]);
        assert_int_equal(splits.list[i].remaining, 4 - i);
    }
    weir_arena_fini(&splits.arena);
}

/* --- Reading */

struct reading {
    struct weir_reader *reader;
    struct weir_connector_ctx ctx;
};

static void open_reader(struct reading *r)
{
    memset(r, 0, sizeof *r);
    assert_int_equal(weir_connector_filesystem.reader_open(&r->ctx, NULL, 0, &r->reader, NULL), 0);
}

/* Appends the split's lines to `out`; consumes whole lines, as the source does. */
static enum weir_read read_split(struct reading *r, const struct weir_split *split, struct weir_buf *out,
                                 struct weir_error *error)
{
    struct weir_read_bytes bytes = {.used = 0};
    if (weir_connector_filesystem.reader_split(r->reader, split, error))
        return WEIR_READ_FAILED;
    int64_t position = -1;
    for (int calls = 0; calls < 1000000; calls++) {
        int64_t wait = 0;
        enum weir_read read = weir_connector_filesystem.read(r->reader, &r->ctx, &bytes, &wait, error);
        if (read != WEIR_READ_DATA)
            return read;
        if (position >= 0)
            assert_int_equal(bytes.position, position);
        for (int i = 0; i < 64; i++) { /* readable padding */
            const volatile uint8_t *padding = bytes.bytes + bytes.size + i;
            (void)*padding;
        }
        const uint8_t *newline = bytes.size ? memrchr(bytes.bytes, '\n', bytes.size) : NULL;
        bytes.used = bytes.last ? bytes.size : newline ? (size_t)(newline - bytes.bytes) + 1 : 0;
        position = bytes.used ? bytes.position + (int64_t)bytes.used : -1;
        assert_true(weir_buf_append(out, bytes.bytes, bytes.used));
        if (bytes.last && bytes.used && bytes.bytes[bytes.used - 1] != '\n')
            assert_true(weir_buf_puts(out, "\n"));
    }
    fail_msg("the reader does not end");
    return WEIR_READ_FAILED;
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_lines(struct weir_buf *buf)
{
    char **lines = weir_alloc((buf->size + 1) * sizeof *lines);
    int count = 0;
    char *copy = weir_strndup((const char *)buf->data, buf->size), *rest = NULL;
    for (char *l = strtok_r(copy, "\n", &rest); l; l = strtok_r(NULL, "\n", &rest))
        lines[count++] = l;
    qsort(lines, (size_t)count, sizeof *lines, compare_lines);
    weir_buf_clear(buf);
    for (int i = 0; i < count; i++)
        assert_true(weir_buf_puts(buf, lines[i]) && weir_buf_puts(buf, "\n"));
    free(copy);
    free(lines);
}

/* Every line of a file is in exactly one range, whatever the cut. */
static void test_ranges_random(void **state)
{
    (void)state;
    struct reading r;
    open_reader(&r);
    struct weir_buf text, got;
    weir_buf_init(&text, 1 << 24);
    weir_buf_init(&got, 1 << 24);
    for (int round = 0; round < 300; round++) {
        weir_buf_clear(&text);
        weir_buf_clear(&got);
        int lines = (int)next_random(40);
        for (int i = 0; i < lines; i++) {
            assert_true(weir_buf_printf(&text, "%d:", i));
            for (uint32_t n = next_random(next_random(8) ? 12 : 60); n; n--)
                assert_true(weir_buf_puts(&text, "x"));
            if (i + 1 < lines || next_random(2))
                assert_true(weir_buf_puts(&text, next_random(4) ? "\n" : "\n\n"));
        }
        put_file("ranges", text.data ? text.data : (const uint8_t *)"", text.size);
        char size[24];
        snprintf(size, sizeof size, "%u", 1 + next_random(next_random(3) ? 20 : 200));
        struct splits splits;
        struct weir_error error;
        assert_int_equal(find(&splits, in_dir("ranges"), size, 3, &error), 0);
        for (int i = splits.count - 1; i >= 0; i--) /* in any order */
            if (read_split(&r, &splits.list[i], &got, &error) != WEIR_READ_END)
                fail_msg("%s", error.message);
        weir_arena_fini(&splits.arena);
        if (text.size == 0)
            continue;
        if (text.data[text.size - 1] != '\n')
            assert_true(weir_buf_puts(&text, "\n"));
        sort_lines(&text);
        sort_lines(&got);
        assert_string_equal((const char *)got.data, (const char *)text.data);
    }
    weir_connector_filesystem.reader_close(r.reader);
    weir_buf_fini(&text);
    weir_buf_fini(&got);
}

static void test_shrunk_file(void **state)
{
    (void)state;
    struct reading r;
    struct weir_buf got;
    struct weir_error error;
    open_reader(&r);
    weir_buf_init(&got, 1 << 20);
    put_text("short", "a\nb\nc\n");
    struct weir_split split = {.id = in_dir("short"), .offset = 2, .size = 100};
    assert_int_equal(read_split(&r, &split, &got, &error), WEIR_READ_FAILED);
    assert_non_null(strstr(error.message, "became shorter"));
    weir_connector_filesystem.reader_close(r.reader);
    weir_buf_fini(&got);
}

/* --- gzip */

static void fill_lines(struct weir_buf *text, int lines)
{
    weir_buf_init(text, 1 << 26);
    for (int i = 0; i < lines; i++)
        assert_true(weir_buf_printf(text, "{\"line\":%d,\"noise\":\"%08x%08x\"}\n", i, next_random(0x7fffffff),
                                    next_random(0x7fffffff)));
}

static void test_gzip(void **state)
{
    (void)state;
    struct reading r;
    struct weir_buf text, got;
    struct weir_error error;
    open_reader(&r);
    fill_lines(&text, 30000); /* several chunks */
    weir_buf_init(&got, 1 << 26);
    struct weir_split split = {.id = in_dir("many.gz"), .offset = 0, .size = -1};
    /* Three members, cut in the middle of lines, one of them empty. */
    size_t cut = text.size / 3 + 7;
    put_gzip("many.gz", "wb", text.data, cut);
    put_gzip("many.gz", "ab", "", 0);
    put_gzip("many.gz", "ab", text.data + cut, text.size - cut);
    assert_int_equal(read_split(&r, &split, &got, &error), WEIR_READ_END);
    assert_int_equal(got.size, text.size);
    assert_memory_equal(got.data, text.data, text.size);
    /* Zeros behind it are padding; anything else is an error. */
    FILE *f = fopen(split.id, "ab");
    assert_int_equal(fwrite("\0\0\0\0", 1, 4, f), 4);
    assert_int_equal(fclose(f), 0);
    weir_buf_clear(&got);
    assert_int_equal(read_split(&r, &split, &got, &error), WEIR_READ_END);
    assert_int_equal(got.size, text.size);
    f = fopen(split.id, "ab");
    assert_int_equal(fwrite("rubbish", 1, 7, f), 7);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(read_split(&r, &split, &got, &error), WEIR_READ_FAILED);
    assert_non_null(strstr(error.message, "many.gz"));
    assert_non_null(strstr(error.message, "not gzip data"));
    weir_connector_filesystem.reader_close(r.reader);
    weir_buf_fini(&text);
    weir_buf_fini(&got);
}

static void test_gzip_truncated(void **state)
{
    (void)state;
    struct reading r;
    struct weir_buf text, got;
    struct weir_error error;
    open_reader(&r);
    fill_lines(&text, 2000);
    weir_buf_init(&got, 1 << 26);
    size_t size = put_gzip("t.gz", "wb", text.data, text.size);
    struct weir_split split = {.id = in_dir("t.gz"), .offset = 0, .size = -1};
    /* At every place: in the header, the data, the checksum. */
    static const int at[] = {0, 1, 5, 10, 11, 500, -9, -8, -4, -1};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        put_gzip("t.gz", "wb", text.data, text.size);
        assert_int_equal(truncate(split.id, at[i] < 0 ? (off_t)size + at[i] : at[i]), 0);
        if (read_split(&r, &split, &got, &error) != WEIR_READ_FAILED)
            fail_msg("cut at %d: no error", at[i]);
        assert_non_null(strstr(error.message, "t.gz' is truncated"));
    }
    /* A flipped bit is found by the checksum at the latest. */
    put_gzip("t.gz", "wb", text.data, text.size);
    int fd = open(split.id, O_RDWR);
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, (off_t)size / 2), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)size / 2), 1);
    close(fd);
    assert_int_equal(read_split(&r, &split, &got, &error), WEIR_READ_FAILED);
    assert_non_null(strstr(error.message, "t.gz"));
    put_text("plain.gz", "this is no gzip data\n");
    split.id = in_dir("plain.gz");
    assert_int_equal(read_split(&r, &split, &got, &error), WEIR_READ_FAILED);
    assert_non_null(strstr(error.message, "not valid gzip"));
    weir_connector_filesystem.reader_close(r.reader);
    weir_buf_fini(&text);
    weir_buf_fini(&got);
}

/* --- The table */

static void test_table(void **state)
{
    (void)state;
    const struct weir_connector *connector;
    struct weir_error error;
    for (int i = 0; weir_connectors[i]; i++) {
        assert_int_equal(weir_connector_find(weir_connectors[i]->name, &connector, &error), 0);
        assert_ptr_equal(connector, weir_connectors[i]);
        assert_true(i == 0 || strcmp(weir_connectors[i - 1]->name, connector->name) < 0);
        assert_true(connector->source_options || connector->sink_options);
        assert_true(!connector->source_options || connector->read || connector->read_messages ||
                    connector->rows->read_batch);
        assert_true(!connector->sink_options || connector->write || connector->write_messages ||
                    connector->rows->write_batch);
        assert_true(!connector->enumerate || connector->reader_split);
    }
    assert_int_equal(weir_connector_find("filesytem", &connector, &error), WEIR_ERR_INVALID);
    assert_non_null(strstr(error.message, "did you mean 'filesystem'?"));
    assert_int_equal(weir_connector_find("xyzzy", &connector, &error), WEIR_ERR_INVALID);
    assert_non_null(strstr(error.message, "there are blackhole, datagen, filesystem"));
    assert_ptr_equal(weir_split_schema(), weir_split_schema());
}

static void test_commit_rubbish(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "1 2",
                                        "0 0 0-1 abcdef01 job 0\nrelative",
                                        "0 0 0-1 ../../ab job 0\n/tmp",
                                        "0 0 0-1 abcdef01 ../job 0\n/tmp",
                                        "0 0 1-0 abcdef01 job 0\n/tmp"};
    struct weir_error error;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(weir_connector_filesystem.commit(texts[i], &error), WEIR_ERR_PROTOCOL);
    char text[200];
    snprintf(text, sizeof text, "0 0 0-1 abcdef01 job 0\n%s", dir);
    assert_int_equal(weir_connector_filesystem.commit(text, &error), WEIR_ERR_NOT_FOUND);
    assert_non_null(strstr(error.message, "is gone"));
}

/* --- Objects */

static weir_err read_a_line(struct weir_message_commit *commit, int64_t segment,
                            const struct weir_message_out **messages, int64_t *count, struct weir_error *error)
{
    static const struct weir_message_out line = {.value = (const uint8_t *)"line\n", .value_size = 5};
    (void)commit, (void)segment, (void)error;
    *messages = &line;
    *count = 1;
    return WEIR_OK;
}

static weir_err (*read_objects)(struct weir_message_commit *commit, int64_t segment,
                                const struct weir_message_out **messages, int64_t *count,
                                struct weir_error *error) = read_a_line;

static weir_err commit_object(const char *directory, uint64_t checkpoint, uint64_t since, uint64_t after,
                              struct weir_error *error)
{
    char segment[64];
    snprintf(segment, sizeof segment, "%s1-0-2-log1-%d", directory, (int)since);
    const char *const names[] = {segment};
    const struct weir_connector_commit runtime = {.names = names};
    const struct weir_key_value options[] = {{"path", dir}};
    const struct weir_commit_segment segments[] = {{5, 1, since}};
    struct weir_message_commit commit = {.size = sizeof commit,
                                         .option_count = 1,
                                         .job_id = "0123456789abcdef0123456789abcdef",
                                         .operator_id = "op",
                                         .checkpoint = checkpoint,
                                         .options = options,
                                         .segments = segments,
                                         .segment_count = 1,
                                         .read = read_objects,
                                         .runtime = (void *)(uintptr_t)&runtime,
                                         .after = after};
    return weir_connector_filesystem.commit_messages(&commit, error);
}

#define OWN "jobs/j/chk-1/"
#define COPIED "jobs/k/chk-5/restored-0_"

/* Output that another job has begun with comes after what comes before it: else its own job would take that for published. Both put the same objects. */
static void test_objects_in_order(void **state)
{
    struct weir_error error;
    struct splits splits;
    (void)state;
    assert_int_equal(commit_object(COPIED, 5, 4, 3, &error), WEIR_ERR_IO);
    assert_non_null(strstr(error.message, "follows that of 3"));
    assert_int_equal(commit_object(OWN, 3, 2, 0, &error), WEIR_OK);
    assert_int_equal(commit_object(OWN, 4, 3, 0, &error), WEIR_OK);
    assert_int_equal(commit_object(COPIED, 5, 4, 3, &error), WEIR_OK);
    assert_int_equal(find(&splits, dir, NULL, 1, &error), WEIR_OK);
    assert_int_equal(splits.count, 3);
    weir_arena_fini(&splits.arena);
    assert_int_equal(commit_object(OWN, 5, 4, 0, &error), WEIR_OK); /* again, by whoever comes second */
    assert_int_equal(commit_object(OWN, 4, 3, 0, &error), WEIR_OK);
    assert_int_equal(find(&splits, dir, NULL, 1, &error), WEIR_OK);
    assert_int_equal(splits.count, 3);
    weir_arena_fini(&splits.arena);
    assert_int_equal(commit_object("jobs/k/chk-5/restored-0_nothing-", 6, 5, 0, &error), WEIR_ERR_PROTOCOL);
}

static weir_err another_goes_on(struct weir_message_commit *commit, int64_t segment,
                                const struct weir_message_out **messages, int64_t *count, struct weir_error *error)
{
    if (commit->checkpoint == 5)
        assert_int_equal(commit_object(OWN, 6, 5, 0, error), WEIR_OK);
    return read_a_line(commit, segment, messages, count, error);
}

/* Whoever is late does not say that less is published. */
static void test_objects_published_late(void **state)
{
    struct weir_error error;
    (void)state;
    read_objects = another_goes_on;
    assert_int_equal(commit_object(OWN, 5, 4, 0, &error), WEIR_OK);
    read_objects = read_a_line;
    assert_int_equal(commit_object(COPIED, 7, 6, 6, &error), WEIR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_find, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_find_errors, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_cuts, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_ranges_random, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_shrunk_file, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_gzip, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_gzip_truncated, make_dir, remove_dir),
        cmocka_unit_test(test_table),
        cmocka_unit_test_setup_teardown(test_commit_rubbish, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_objects_in_order, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_objects_published_late, make_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
