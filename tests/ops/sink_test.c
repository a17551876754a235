/* sink with the real connectors: part files and their publication, a full disk, print, blackhole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ops/harness.h"
#include "ops/ops_int.h"
#include "state/snapshot.h"

#include "connectors/connectors_int.h"

#define ROW "id BIGINT NOT NULL, name STRING, heat DOUBLE, at TIMESTAMP(3)"

static char dir[64];

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/weir-sink-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("'%s' is not in: %s", part, text);
}

static char *read_text(const char *path)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *text = weir_zalloc(1 << 22);
    size_t size = fread(text, 1, (1 << 22) - 1, f);
    fclose(f);
    text[size] = 0;
    return text;
}

/* Contents of all files in `path` whose names begin with `prefix`, in the order of names; *count of them. */
static char *read_parts(const char *path, const char *prefix, int *count)
{
    struct dirent **names;
    struct weir_buf all;
    weir_buf_init(&all, 1 << 24);
    int n = scandir(path, &names, NULL, alphasort);
    assert_true(n >= 0);
    *count = 0;
    for (int i = 0; i < n; i++) {
        if (strncmp(names[i]->d_name, prefix, strlen(prefix)) == 0) {
            char *file = weir_format("%s/%s", path, names[i]->d_name), *text = read_text(file);
            assert_true(weir_buf_puts(&all, text));
            free(text);
            free(file);
            ++*count;
        }
        free(names[i]);
    }
    free(names);
    char *text = weir_strdup(all.data ? (const char *)all.data : "");
    weir_buf_fini(&all);
    return text;
}

static weir_err commit(const struct weir_harness *h, struct weir_error *error)
{
    const char *text = weir_harness_committable(h);
    assert_non_null(text);
    const char *newline = strchr(text, '\n');
    const struct weir_connector *connector;
    char *name = weir_strndup(text, (size_t)(newline - text));
    assert_int_equal(weir_connector_find(name, &connector, NULL), 0);
    free(name);
    return connector->commit(newline + 1, error);
}

static struct weir_harness *open_sink(const char *const *options, int attempt, const struct weir_harness_mode *mode)
{
    static struct weir_harness_setup setup;
    setup = (struct weir_harness_setup){
        .op = &weir_op_sink, .options = options, .inputs = {ROW}, .attempt = attempt, .no_restore = true};
    struct weir_error error;
    struct weir_harness *h = weir_harness_new(&setup, mode, &error);
    if (!h)
        fail_msg("%s", error.message);
    return h;
}

static const char three_rows[] =
    "1|one|1.5|2024-01-01 00:00:00\n2|null|null|null\n3|dr\xc3\xa9i|-3|2024-01-01 12:30:00.25";

/* --- Files */

static int commit_all(const struct weir_snapshot *snapshot)
{
    struct weir_error error;
    int count = 0;
    for (const struct weir_snapshot_committable *c = snapshot->committables; c; c = c->next, count++) {
        assert_string_equal(c->connector, "filesystem");
        if (weir_connector_filesystem.commit(c->text, &error))
            fail_msg("%s", error.message);
    }
    return count;
}

/* What barriers close is pending until one says that a checkpoint which carried it is complete; a later attempt begins with nothing. */
static void check_barriers(bool periodic)
{
    char *out = weir_format("%s/barriers%s", dir, periodic ? "" : "-on-demand");
    const char *options[] = {"connector", "filesystem", "path", out, "format", "csv", NULL};
    struct weir_harness_setup setup = {.op = &weir_op_sink,
                                       .options = options,
                                       .inputs = {ROW},
                                       .attempt = 1,
                                       .no_restore = true,
                                       .checkpoints = periodic};
    struct weir_error error;
    int count;
    struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
    assert_true(weir_harness_rows_in(h, 0, "1|one|1|0"));
    struct weir_snapshot *first = weir_harness_snapshot(h, 1, 0);
    assert_true(weir_harness_rows_in(h, 0, "2|two|1|0"));
    struct weir_snapshot *second =
        weir_harness_snapshot(h, 2, 0); /* the first was given up, say: its rows are the second's, too */
    free(read_parts(out, "part-", &count));
    assert_int_equal(count, 0);
    assert_int_equal(commit_all(second), 2);
    assert_int_equal(commit_all(first), 1); /* again does nothing */
    struct weir_snapshot *third = weir_harness_snapshot(h, 3, 2);
    assert_int_equal(commit_all(third), 0);
    assert_true(weir_harness_rows_in(h, 0, "3|three|1|0"));
    struct weir_snapshot *fourth =
        weir_harness_snapshot(h, 4, 3); /* complete, but not published when the attempt is lost */
    assert_true(weir_harness_rows_in(h, 0, "4|lost|1|0"));
    weir_harness_free(h);
    struct weir_restored *restored = weir_restored_new(4);
    setup.attempt = 2;
    setup.restored = restored;
    h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
    assert_int_equal(commit_all(fourth), 1);
    assert_true(weir_harness_rows_in(h, 0, "5|five|1|0"));
    struct weir_snapshot *fifth = weir_harness_snapshot(h, 5, 4);
    assert_int_equal(commit_all(fifth), 1); /* and removes what the first attempt left */
    assert_true(weir_harness_rows_in(h, 0, "6|six|1|0"));
    assert_true(weir_harness_end(h));
    struct weir_snapshot *last = weir_harness_snapshot(h, 0, 5);
    assert_int_equal(commit_all(last), 0); /* end() has given the rest */
    assert_int_equal(commit(h, &error), 0);
    weir_harness_free(h);
    weir_restored_free(restored);
    char *text = read_parts(out, "part-", &count);
    assert_int_equal(count, 5);
    assert_string_equal(
        text,
        "1,one,1.0,1970-01-01 00:00:00.000\n2,two,1.0,1970-01-01 00:00:00.000\n3,three,1.0,1970-01-01 00:00:00.000\n"
        "5,five,1.0,1970-01-01 00:00:00.000\n6,six,1.0,1970-01-01 00:00:00.000\n");
    free(text);
    free(read_parts(out, ".part-", &count));
    assert_int_equal(count, 0);
    struct weir_snapshot *all[] = {first, second, third, fourth, fifth, last};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        weir_snapshot_free(all[i]);
    free(out);
}

static void test_barriers(void **state)
{
    (void)state;
    check_barriers(true);
    check_barriers(false); /* somebody asked for each */
}

/* An attempt that died left a file; the next one has no rows until its first barrier, and nothing follows that (weir stop). */
static void test_first_barrier_without_rows(void **state)
{
    (void)state;
    char *out = weir_format("%s/first-barrier", dir);
    const char *options[] = {"connector", "filesystem", "path", out, "format", "csv", NULL};
    struct weir_harness_setup setup = {.op = &weir_op_sink,
                                       .options = options,
                                       .inputs = {ROW},
                                       .attempt = 1,
                                       .no_restore = true,
                                       .checkpoints = true};
    struct weir_error error;
    int count;
    struct weir_harness *died = weir_harness_new(&setup, &weir_harness_modes[0], &error);
    assert_true(weir_harness_rows_in(died, 0, "1|one|1|0"));
    weir_snapshot_free(weir_harness_snapshot(died, 1, 0));
    free(read_parts(out, ".part-", &count));
    assert_int_equal(count, 1);
    setup.attempt = 2;
    struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
    struct weir_snapshot *snapshot = weir_harness_snapshot(h, 2, 0);
    assert_int_equal(commit_all(snapshot), 1);
    free(read_parts(out, ".part-", &count));
    assert_int_equal(count, 0);
    weir_snapshot_free(snapshot);
    snapshot = weir_harness_snapshot(h, 3, 2); /* that was all */
    assert_null(snapshot->committables);
    weir_snapshot_free(snapshot);
    weir_harness_free(h);
    weir_harness_free(died);
    free(out);
}

static void test_files(void **state)
{
    (void)state;
    char *out = weir_format("%s/deep/er/out", dir);
    const char *options[] = {"connector", "filesystem", "path", out, "format", "csv", NULL};
    int count;
    char *text;
    for (int m = 0; weir_harness_modes[m].name; m++) {
        struct weir_error error;
        struct weir_harness *h = open_sink(options, m, &weir_harness_modes[m]);
        assert_true(weir_harness_rows_in(h, 0, three_rows));
        assert_true(weir_harness_end(h));
        /* Nothing is to be seen before it is committed. */
        free(read_parts(out, "part-", &count)); /* those of the modes before */
        assert_int_equal(count, m);
        text = read_parts(out, ".part-", &count);
        assert_int_equal(count, 1);
        assert_contains(text, "one");
        free(text);
        assert_int_equal(commit(h, &error), 0);
        assert_int_equal(commit(h, &error), 0); /* twice is once */
        char prefix[32];
        snprintf(prefix, sizeof prefix, "part-0-%d-0-", m);
        text = read_parts(out, prefix, &count);
        assert_int_equal(count, 1);
        assert_string_equal(text,
                            "1,one,1.5,2024-01-01 00:00:00.000\n2,,,\n3,dr\xc3\xa9i,-3.0,2024-01-01 12:30:00.250\n");
        free(text);
        free(read_parts(out, ".part-", &count));
        assert_int_equal(count, 0);
        weir_harness_free(h);
        struct weir_key_value abort_options[] = {{"path", out}};
        assert_int_equal(weir_connector_filesystem.abort(abort_options, 1, "00112233445566778899aabbccddeeff", &error),
                         0);
    }
    free(read_parts(out, "part-", &count)); /* what is committed, abort() leaves alone */
    int modes = 0;
    while (weir_harness_modes[modes].name)
        modes++;
    assert_int_equal(count, modes);
    free(out);
}

static void test_rolling(void **state)
{
    (void)state;
    const char *options[] = {"connector", "filesystem", "path", dir, "format", "csv", "sink.rolling-policy.file-size",
                             "100",       NULL};
    struct weir_harness *h = open_sink(options, 0, &weir_harness_modes[1]);
    struct weir_buf rows;
    weir_buf_init(&rows, 1 << 20);
    for (int i = 0; i < 100; i++)
        assert_true(weir_buf_printf(&rows, "%d|ten bytes|1|0\n", i));
    assert_true(weir_harness_rows_in(h, 0, (const char *)rows.data));
    assert_true(weir_harness_end(h));
    struct weir_error error;
    int count;
    assert_int_equal(commit(h, &error), 0);
    char *text = read_parts(dir, "part-", &count);
    assert_true(count > 20 && count <= 50);
    int lines = 0;
    for (const char *p = text; *p; p++)
        lines += *p == '\n';
    assert_int_equal(lines, 100);
    free(text);
    weir_buf_fini(&rows);
    weir_harness_free(h);
}

/* A file ends some time after it was begun, or after it was last written to, whether rows come or not. */
static void test_rolling_by_time(void **state)
{
    (void)state;
    const char *options[] = {"connector",
                             "filesystem",
                             "path",
                             dir,
                             "format",
                             "json",
                             "sink.rolling-policy.rollover-interval",
                             "10 s",
                             "sink.rolling-policy.inactivity-interval",
                             "4 s",
                             "delivery-guarantee",
                             "at-least-once",
                             NULL};
    struct weir_harness_setup setup = {
        .op = &weir_op_sink, .options = options, .inputs = {ROW}, .no_restore = true, .now_ms = 1000};
    struct weir_error error;
    int count;
    struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
    assert_non_null(h);
    assert_true(weir_harness_timer(h) == INT64_MAX);
    for (int64_t now = 1000; now < 10000; now += 3000) { /* 1, 4, 7: never four seconds without a row */
        assert_true(weir_harness_advance(h, now));
        assert_true(weir_harness_rows_in(h, 0, three_rows));
        free(read_parts(dir, ".part-0-0-0-", &count));
        assert_int_equal(count, 1);
    }
    assert_true(weir_harness_advance(h, 10000));
    assert_true(weir_harness_rows_in(h, 0, three_rows));
    assert_true(weir_harness_advance(h, 10999));
    free(read_parts(dir, ".part-0-0-0-", &count));
    assert_int_equal(count, 1);
    assert_true(weir_harness_advance(h, 11000));
    assert_true(weir_harness_rows_in(h, 0, three_rows)); /* into another one */
    for (int i = 0; i < 1000 && (free(read_parts(dir, "part-0-0-0-", &count)), count == 0); i++)
        poll(NULL, 0, 5); /* the pool syncs and publishes it */
    assert_int_equal(count, 1);
    free(read_parts(dir, ".part-0-0-1-", &count));
    assert_int_equal(count, 1);
    assert_true(weir_harness_advance(h, 14999));
    free(read_parts(dir, ".part-0-0-1-", &count));
    assert_int_equal(count, 1);
    /* At 15000; a little later while the first is not synced yet. */
    for (int i = 0; i < 1000 && (free(read_parts(dir, "part-0-0-1-", &count)), count == 0); i++) {
        assert_true(weir_harness_advance(h, 15000 + i * 100));
        poll(NULL, 0, 5);
    }
    assert_int_equal(count, 1);
    assert_true(weir_harness_timer(h) == INT64_MAX);
    assert_true(weir_harness_end(h));
    weir_harness_free(h);
    free(read_parts(dir, ".part-", &count));
    assert_int_equal(count, 0);
}

/* Published when it is ended: nothing is left to commit, and a barrier counts once the file has its name. */
/* --- A connector whose output could not be made durable, and who forgets it */

static int fickle_syncs;

static weir_err fickle_sync(void *arg, struct weir_error *error)
{
    (void)arg;
    return fickle_syncs++ == 0 ? weir_fail(error, WEIR_ERR_IO, "the disk has eaten it") : WEIR_OK;
}

static void fickle_nothing(void *arg)
{
    (void)arg;
}

static weir_err fickle_open(struct weir_connector_ctx *ctx, const struct weir_key_value *options, int option_count,
                            struct weir_writer **writer, struct weir_error *error)
{
    (void)ctx, (void)options, (void)option_count, (void)error;
    *writer = (struct weir_writer *)(void *)&fickle_syncs;
    return WEIR_OK;
}

static weir_err fickle_write(struct weir_writer *writer, const uint8_t *bytes, size_t size, int row_count,
                             struct weir_error *error)
{
    (void)writer, (void)bytes, (void)size, (void)row_count, (void)error;
    return WEIR_OK;
}

static weir_err fickle_barrier(struct weir_writer *writer, uint64_t checkpoint, struct weir_buf *committable,
                               struct weir_barrier_sync *sync, struct weir_error *error)
{
    (void)writer, (void)error;
    if (checkpoint == 1)
        *sync = (struct weir_barrier_sync){.run = fickle_sync, .free_arg = fickle_nothing};
    return weir_buf_puts(committable, "part") ? WEIR_OK : WEIR_ERR_FULL;
}

static void fickle_close(struct weir_writer *writer)
{
    (void)writer;
}

static weir_err fickle_commit(const char *committable, struct weir_error *error)
{
    (void)committable, (void)error;
    return WEIR_OK;
}

static const struct weir_option fickle_options[] = {{0}};
static const struct weir_connector fickle = {.size = sizeof fickle,
                                             .name = "fickle",
                                             .sink_options = fickle_options,
                                             .writer_open = fickle_open,
                                             .write = fickle_write,
                                             .writer_close = fickle_close,
                                             .barrier = fickle_barrier,
                                             .commit = fickle_commit};
WEIR_CONNECTORS(&fickle);

/* What checkpoint 1 could not sync rides in checkpoint 2, which must not become complete because a second try says otherwise. */
static void test_a_sync_that_failed_stays_so(void **state)
{
    (void)state;
    struct weir_error error;
    void *self = dlopen(NULL, RTLD_NOW);
    assert_int_equal(weir_connectors_load(self, &error), 0);
    const char *options[] = {"connector", "fickle", "format", "csv", NULL};
    struct weir_harness_setup setup = {.op = &weir_op_sink,
                                       .options = options,
                                       .inputs = {ROW},
                                       .attempt = 1,
                                       .no_restore = true,
                                       .checkpoints = true};
    struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
    assert_non_null(h);
    assert_true(weir_harness_rows_in(h, 0, "1|one|1|0"));
    for (int checkpoint = 1; checkpoint <= 2; checkpoint++) {
        struct weir_snapshot *snapshot = weir_harness_barrier(h, (uint64_t)checkpoint, 0);
        assert_int_equal(weir_snapshot_run_syncs(snapshot, &error), WEIR_ERR_IO);
        assert_string_equal(error.message, "the disk has eaten it");
        weir_snapshot_free(snapshot);
    }
    assert_int_equal(fickle_syncs, 1);
    weir_harness_free(h);
    dlclose(self);
}

static void test_at_once(void **state)
{
    (void)state;
    static const char *const guarantees[] = {"at-least-once", "none"};
    for (int g = 0; g < 2; g++) {
        char *out = weir_format("%s/%s", dir, guarantees[g]);
        const char *options[] = {"connector", "filesystem",         "path",        out, "format",
                                 "csv",       "delivery-guarantee", guarantees[g], NULL};
        struct weir_harness_setup setup = {.op = &weir_op_sink,
                                           .options = options,
                                           .inputs = {ROW},
                                           .attempt = 1,
                                           .no_restore = true,
                                           .checkpoints = true};
        struct weir_error error;
        int count;
        struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
        assert_non_null(h);
        assert_true(weir_harness_rows_in(h, 0, "1|one|1|0"));
        struct weir_snapshot *snapshot = weir_harness_snapshot(h, 1, 0);
        assert_null(snapshot->committables);
        assert_non_null(snapshot->syncs);
        weir_snapshot_free(snapshot);
        free(read_parts(out, "part-", &count));
        assert_int_equal(count, 1);
        assert_true(weir_harness_rows_in(h, 0, "2|two|1|0"));
        weir_harness_free(h); /* lost, and its file with it */
        setup.attempt = 2;
        h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
        assert_non_null(h);
        free(read_parts(out, ".part-", &count));
        assert_int_equal(count, 0);
        assert_true(weir_harness_rows_in(h, 0, "2|two|1|0"));
        assert_true(weir_harness_end(h));
        assert_null(weir_harness_committable(h));
        weir_harness_free(h);
        char *text = read_parts(out, "part-", &count);
        assert_string_equal(text, "1,one,1.0,1970-01-01 00:00:00.000\n2,two,1.0,1970-01-01 00:00:00.000\n");
        free(text);
        free(out);
    }
}

static void test_nothing_written(void **state)
{
    (void)state;
    const char *options[] = {"connector", "filesystem", "path", dir, "format", "json", NULL};
    struct weir_harness *h = open_sink(options, 0, &weir_harness_modes[0]);
    assert_true(weir_harness_end(h));
    struct weir_error error;
    assert_int_equal(commit(h, &error), 0);
    weir_harness_free(h);
    int count;
    free(read_parts(dir, ".part-", &count));
    assert_int_equal(count, 0);
    free(read_parts(dir, "part-", &count));
    assert_int_equal(count, 0);
}

/* An attempt that was taken for dead goes on for a while and makes a file after the next one has opened: the commit removes that, whether
 * the last attempt had rows or not, and no other subtask's or job's, unless there is no such subtask any more. */
static void test_leftovers_of_a_zombie(void **state)
{
    (void)state;
    const char *options[] = {"connector", "filesystem", "path", dir, "format", "json", NULL};
    for (int with_rows = 0, fewer = 0; fewer < 2; with_rows ? fewer++ : with_rows++) {
        struct weir_error error;
        int count;
        static struct weir_harness_setup others[2];
        struct weir_harness *zombies[2];
        for (int i = 0; i < 2; i++) { /* subtask 0 and 1 */
            others[i] = (struct weir_harness_setup){
                .op = &weir_op_sink, .options = options, .inputs = {ROW}, .subtask = i, .parallelism = 2};
            assert_non_null(zombies[i] = weir_harness_new(&others[i], &weir_harness_modes[0], &error));
        }
        struct weir_harness_setup last = {.op = &weir_op_sink,
                                          .options = options,
                                          .inputs = {ROW},
                                          .attempt = 1 + fewer,
                                          .parallelism = fewer ? 1 : 2};
        struct weir_harness *h = weir_harness_new(&last, &weir_harness_modes[0], &error);
        assert_non_null(h);
        for (int i = 0; i < 2; i++)
            assert_true(weir_harness_rows_in(zombies[i], 0, three_rows));
        if (with_rows)
            assert_true(weir_harness_rows_in(h, 0, three_rows));
        assert_true(weir_harness_end(h));
        assert_int_equal(commit(h, &error), 0);
        free(read_parts(dir, "part-", &count));
        assert_int_equal(count, with_rows + fewer);
        free(read_parts(dir, ".part-0-", &count));
        assert_int_equal(count, 0);
        free(read_parts(dir, ".part-1-", &count));
        assert_int_equal(count, !fewer); /* there is no such subtask any more */
        weir_harness_free(h);
        for (int i = 0; i < 2; i++)
            weir_harness_free(zombies[i]);
    }
}

/* What a failed attempt left is removed by the next one, and by abort(); another job's is not. */
static void test_leftovers(void **state)
{
    (void)state;
    const char *options[] = {"connector", "filesystem", "path", dir, "format", "json", NULL};
    char *foreign = weir_format("%s/.part-0-0-0-12345678.ffffffffffffffffffffffffffffffff", dir);
    int fd = open(foreign, O_WRONLY | O_CREAT, 0600), count;
    assert_true(fd >= 0);
    close(fd);
    for (int attempt = 0; attempt < 3; attempt++) {
        struct weir_harness *h = open_sink(options, attempt, &weir_harness_modes[0]);
        free(read_parts(dir, ".part-", &count));
        assert_int_equal(count, 1); /* the other job's */
        assert_true(weir_harness_rows_in(h, 0, three_rows));
        weir_harness_free(h); /* without an end: it failed */
        free(read_parts(dir, ".part-", &count));
        assert_int_equal(count, 2);
    }
    struct weir_key_value abort_options[] = {{"path", dir}};
    struct weir_error error;
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(weir_connector_filesystem.abort(abort_options, 1, "00112233445566778899aabbccddeeff", &error),
                         0);
        free(read_parts(dir, ".part-", &count));
        assert_int_equal(count, 1);
    }
    assert_int_equal(access(foreign, F_OK), 0);
    free(foreign);
}

/* A file that somebody put under the final name is not overwritten. */
static void test_name_taken(void **state)
{
    (void)state;
    const char *options[] = {"connector", "filesystem", "path", dir, "format", "json", NULL};
    struct weir_harness *h = open_sink(options, 0, &weir_harness_modes[0]);
    assert_true(weir_harness_rows_in(h, 0, three_rows));
    assert_true(weir_harness_end(h));
    struct dirent **names;
    int n = scandir(dir, &names, NULL, alphasort);
    char *taken = NULL;
    for (int i = 0; i < n; i++) {
        if (strncmp(names[i]->d_name, ".part-", 6) == 0)
            taken = weir_format("%s/%.*s", dir, (int)strcspn(names[i]->d_name + 1, "."), names[i]->d_name + 1);
        free(names[i]);
    }
    free(names);
    int fd = open(taken, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0 && write(fd, "mine", 4) == 4);
    close(fd);
    struct weir_error error;
    assert_int_equal(commit(h, &error), WEIR_ERR_EXISTS);
    assert_contains(error.message, taken);
    char *text = read_text(taken);
    assert_string_equal(text, "mine");
    free(text);
    assert_int_equal(unlink(taken), 0);
    assert_int_equal(commit(h, &error), 0);
    /* Gone from under both names: said, not swallowed. */
    assert_int_equal(unlink(taken), 0);
    assert_int_equal(commit(h, &error), WEIR_ERR_NOT_FOUND);
    free(taken);
    weir_harness_free(h);
}

/* The disk is full: the file-size limit gives the same short write and error. */
static void test_disk_full(void **state)
{
    (void)state;
    const char *options[] = {"connector", "filesystem", "path", dir, "format", "json", NULL};
    struct rlimit before, small = {.rlim_cur = 300000, .rlim_max = 300000};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    struct weir_harness *h = open_sink(options, 0, &weir_harness_modes[0]);
    struct weir_buf rows;
    weir_buf_init(&rows, 1 << 20);
    for (int i = 0; i < 4000; i++)
        assert_true(weir_buf_printf(&rows, "%d|some text that takes room|1|0\n", i));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    bool ok = true;
    for (int i = 0; ok && i < 10; i++)
        ok = weir_harness_rows_in(h, 0, (const char *)rows.data);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_false(ok);
    assert_contains(weir_harness_error(h), "cannot write to '");
    assert_contains(weir_harness_error(h), dir);
    assert_contains(weir_harness_error(h), "File too large");
    weir_harness_free(h);
    /* The same at the end, when the last buffer is written. */
    h = open_sink(options, 1, &weir_harness_modes[0]);
    small.rlim_cur = 10;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    ok = weir_harness_rows_in(h, 0, three_rows);
    bool ended = ok && weir_harness_end(h);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(ok);
    assert_false(ended);
    assert_null(weir_harness_committable(h));
    assert_contains(weir_harness_error(h), "File too large");
    weir_harness_free(h);
    weir_buf_fini(&rows);
}

static void test_bad_directory(void **state)
{
    (void)state;
    char *file = weir_format("%s/file", dir), *below = weir_format("%s/file/out", dir);
    int fd = open(file, O_WRONLY | O_CREAT, 0600);
    close(fd);
    struct weir_error error;
    const char *options[] = {"connector", "filesystem", "path", file, "format", "json", NULL};
    struct weir_harness_setup setup = {.op = &weir_op_sink, .options = options, .inputs = {ROW}};
    assert_null(weir_harness_new(&setup, &weir_harness_modes[0], &error));
    assert_contains(error.message, "is there and is not a directory");
    options[3] = below;
    assert_null(weir_harness_new(&setup, &weir_harness_modes[0], &error));
    assert_contains(error.message, "cannot make the directory");
    free(file);
    free(below);
}

/* --- print */

static char *printed(const char *const *options, int parallelism, bool changes)
{
    char *path = weir_format("%s/printed", dir);
    fflush(stdout);
    int saved = dup(1), fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(saved >= 0 && fd >= 0);
    dup2(fd, 1);
    struct weir_harness_setup setup = {.op = &weir_op_sink,
                                       .options = options,
                                       .inputs = {ROW},
                                       .parallelism = parallelism,
                                       .subtask = parallelism - 1};
    struct weir_error error;
    struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
    bool ok = h != NULL;
    if (ok) {
        struct weir_batch *batch = weir_harness_batch_of(weir_harness_input_schema(h, 0), three_rows);
        static uint8_t kinds[64] = {WEIR_UPDATE_BEFORE, WEIR_UPDATE_AFTER, WEIR_DELETE};
        if (changes)
            batch->change = kinds;
        ok = weir_harness_batch(h, 0, batch) && weir_harness_end(h);
        weir_harness_free(h);
    }
    fflush(stdout);
    dup2(saved, 1);
    close(saved);
    close(fd);
    assert_true(ok);
    char *text = read_text(path);
    free(path);
    return text;
}

static void test_print(void **state)
{
    (void)state;
    char *text = printed((const char *[]){"connector", "print", NULL}, 1, false);
    assert_string_equal(text, "+I[1, one, 1.5, 2024-01-01T00:00]\n+I[2, null, null, null]\n"
                              "+I[3, dr\xc3\xa9i, -3.0, 2024-01-01T12:30:00.250]\n");
    free(text);
    text = printed((const char *[]){"connector", "print", NULL}, 1, true);
    assert_contains(text, "-U[1, one");
    assert_contains(text, "+U[2, null");
    assert_contains(text, "-D[3, dr");
    free(text);
    text = printed((const char *[]){"connector", "print", "prefix", "ALERT", "format", "csv", NULL}, 1, false);
    assert_string_equal(text, "ALERT> 1,one,1.5,2024-01-01 00:00:00.000\nALERT> 2,,,\n"
                              "ALERT> 3,dr\xc3\xa9i,-3.0,2024-01-01 12:30:00.250\n");
    free(text);
    text = printed((const char *[]){"connector", "print", "prefix", "A", NULL}, 2, false);
    assert_int_equal(strncmp(text, "A:2> +I[1", 9), 0);
    free(text);
    text = printed((const char *[]){"connector", "print", NULL}, 3, false);
    assert_int_equal(strncmp(text, "3> +I[1", 7), 0);
    free(text);
}

/* --- blackhole, and what plan() refuses */

static void swallow(struct weir_harness *h, void *arg)
{
    (void)arg;
    uint64_t before = weir_blackhole_rows();
    assert_true(weir_harness_rows_in(h, 0, three_rows));
    assert_true(weir_harness_end(h));
    assert_int_equal(weir_blackhole_rows() - before, 3);
}

static void test_blackhole(void **state)
{
    (void)state;
    const char *options[] = {"connector", "blackhole", NULL};
    struct weir_harness_setup setup = {.op = &weir_op_sink, .options = options, .inputs = {ROW}};
    weir_harness_all_modes(&setup, swallow, NULL, NULL);
}

static void refused(const char *const *options, const char *part)
{
    struct weir_harness_setup setup = {.op = &weir_op_sink, .options = options, .inputs = {ROW}};
    struct weir_error error;
    assert_null(weir_harness_new(&setup, &weir_harness_modes[0], &error));
    assert_contains(error.message, part);
}

#define OPTIONS(...) ((const char *[]){__VA_ARGS__, NULL})

static void test_refused(void **state)
{
    (void)state;
    refused(NULL, "'connector' is missing");
    refused(OPTIONS("connector", "blackhol"), "did you mean 'blackhole'?");
    refused(OPTIONS("connector", "datagen"), "cannot be a sink");
    refused(OPTIONS("connector", "filesystem", "path", "x"), "needs the option 'format'");
    refused(OPTIONS("connector", "filesystem", "format", "json"), "'path' is missing");
    refused(OPTIONS("connector", "filesystem", "path", "", "format", "json"), "path is empty");
    refused(OPTIONS("connector", "filesystem", "path", "x", "format", "jsn"), "json");
    refused(OPTIONS("connector", "filesystem", "path", "x", "format", "raw"), "raw"); /* one column only */
    refused(OPTIONS("connector", "print", "prefx", "x"), "did you mean 'prefix'?");
    refused(OPTIONS("connector", "filesystem", "path", "x", "format", "json", "sink.rolling-policy.file-size", "0"),
            "at least 1");
}

/* Updates do not go into files that only append. */
static void test_updates(void **state)
{
    (void)state;
    const char *options[] = {"connector", "filesystem", "path", dir, "format", "json", NULL};
    struct weir_harness *h = open_sink(options, 0, &weir_harness_modes[0]);
    struct weir_batch *batch = weir_harness_batch_of(weir_harness_input_schema(h, 0), three_rows);
    static uint8_t kinds[64] = {WEIR_INSERT, WEIR_DELETE, WEIR_INSERT};
    batch->change = kinds;
    assert_false(weir_harness_batch(h, 0, batch));
    assert_contains(weir_harness_error(h), "only appends");
    weir_harness_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_barriers, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_first_barrier_without_rows, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_files, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_rolling, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_nothing_written, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_rolling_by_time, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_at_once, make_dir, remove_dir),
        cmocka_unit_test(test_a_sync_that_failed_stays_so),
        cmocka_unit_test_setup_teardown(test_leftovers_of_a_zombie, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_leftovers, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_name_taken, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_disk_full, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_bad_directory, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_print, make_dir, remove_dir),
        cmocka_unit_test(test_blackhole),
        cmocka_unit_test(test_refused),
        cmocka_unit_test_setup_teardown(test_updates, make_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
