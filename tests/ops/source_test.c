/* source and splits with the real connectors and formats, in every mode of the harness: files, sockets, generated rows, /proc. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dlfcn.h>
#include <ftw.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include "ops/harness.h"
#include "ops/ops_int.h"
#include "state/snapshot.h"

#define READING "device_id STRING NOT NULL, temperature DOUBLE NOT NULL, ts TIMESTAMP(3) NOT NULL"
#define SPLIT "id STRING NOT NULL, offset BIGINT NOT NULL, size BIGINT NOT NULL, remaining BIGINT NOT NULL"

static char dir[64];

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/weir-source-XXXXXX");
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

static struct weir_harness_setup reader_setup(const char *const *options)
{
    return (struct weir_harness_setup){
        .op = &weir_op_source, .options = options, .inputs = {SPLIT}, .declared = READING};
}

/* The whole file as the one split. */
static void read_file(struct weir_harness *h, void *arg)
{
    char row[300];
    snprintf(row, sizeof row, "%s|0|-1|0", (const char *)arg);
    if (!weir_harness_rows_in(h, 0, row))
        fail_msg("%s", weir_harness_error(h));
    assert_true(weir_harness_end(h));
}

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("'%s' is not in: %s", part, text);
}

/* --- Bad records */

static const char readings[] =
    "{\"device_id\":\"a\",\"temperature\":1.5,\"ts\":\"2024-01-01T00:00:00Z\"}\r\n" /* CRLF */
    "\n"                                                                            /* empty: no record */
    "{\"device_id\":\"b\",\"ts\":\"2024-01-01T00:00:01Z\"}\n"                       /* no temperature */
    "this is not json\n"
    "{\"device_id\":\"c\",\"temperature\":\"hot\",\"ts\":\"2024-01-01T00:00:02Z\"}\n" /* wrong type */
    "{\"device_id\":\"d\",\"temperature\":null,\"ts\":\"2024-01-01T00:00:03Z\"}\n"    /* NULL */
    "{\"device_id\":\"e\xff\",\"temperature\":4,\"ts\":\"2024-01-01T00:00:04Z\"}\n"   /* invalid UTF-8 */
    "{\"device_id\":\"f\",\"temperature\":5,\"more\":[1,{}],\"ts\":\"2024-01-01T00:00:05Z\"}\n"
    "{\"device_id\":\"g\",\"temperature\":6,\"ts\":\"2024-01-01T00:00:06Z\"}"; /* no newline at the end */

static const char good_rows[] = "a|1.5|2024-01-01 00:00:00.000\n"
                                "f|5|2024-01-01 00:00:05.000\n"
                                "g|6|2024-01-01 00:00:06.000\n";

static void check_skipped(struct weir_harness *h, void *arg)
{
    (void)arg;
    assert_string_equal(weir_harness_rows(h, 0), good_rows);
    assert_int_equal(weir_harness_bad(h), 5);
    assert_int_equal(weir_harness_row_count(h, 2), 0);
}

static void test_skip(void **state)
{
    (void)state;
    put_file("r.json", readings, sizeof readings - 1);
    const char *options[] = {"connector", "filesystem", "path", dir, "format", "json", "on-error", "skip", NULL};
    struct weir_harness_setup setup = reader_setup(options);
    weir_harness_all_modes(&setup, read_file, check_skipped, (void *)in_dir("r.json"));
}

static void check_put_aside(struct weir_harness *h, void *arg)
{
    (void)arg;
    assert_string_equal(weir_harness_rows(h, 0), good_rows);
    assert_int_equal(weir_harness_bad(h), 5);
    assert_int_equal(weir_harness_row_count(h, 2), 5);
    const char *bad = weir_harness_rows(h, 2);
    static const char first[] = "{\"device_id\":\"b\",\"ts\":\"2024-01-01T00:00:01Z\"}|";
    assert_int_equal(strncmp(bad, first, sizeof first - 1), 0);
    assert_contains(bad, "temperature");
    char position[300];
    size_t byte = (size_t)(strstr(readings, "this is") - readings);
    snprintf(position, sizeof position, "|%s, byte %zu|MALFORMED|", in_dir("r.json"), byte);
    assert_contains(bad, position);
    /* The bytes as they are, how many, no key, headers, topic, partition; where in which file; when, job, operator. */
    char rest[600];
    snprintf(rest, sizeof rest, "|this is not json|16|null|null|null|null|%zu|null|%s|", byte, in_dir("r.json"));
    assert_contains(bad, rest);
    assert_contains(bad, "|INVALID_VALUE|");
    assert_contains(bad, "\nthis is not json|");
    assert_contains(bad, "e\\xFF"); /* invalid UTF-8 is made visible: a STRING stays valid */
}

static void test_dead_letter(void **state)
{
    (void)state;
    put_file("r.json", readings, sizeof readings - 1);
    const char *options[] = {"connector", "filesystem", "path", dir, "format", "json", "on-error", "dead-letter", NULL};
    struct weir_harness_setup setup = reader_setup(options);
    weir_harness_all_modes(&setup, read_file, check_put_aside, (void *)in_dir("r.json"));
    /* Nobody takes them: refused, not lost. */
    struct weir_error error;
    setup.no_sides = true;
    assert_null(weir_harness_new(&setup, &weir_harness_modes[0], &error));
    assert_contains(error.message, "give dead-letter.path");
}

static void test_fail(void **state)
{
    (void)state;
    put_file("r.json", readings, sizeof readings - 1);
    const char *options[] = {"connector", "filesystem", "path", dir, "format", "json", NULL};
    struct weir_harness_setup setup = reader_setup(options);
    for (int m = 0; weir_harness_modes[m].name; m++) {
        struct weir_error error;
        struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[m], &error);
        char row[300], position[300];
        snprintf(row, sizeof row, "%s|0|-1|0", in_dir("r.json"));
        assert_false(weir_harness_rows_in(h, 0, row));
        snprintf(position, sizeof position, "tested: bad record at %s, byte %zu: ", in_dir("r.json"),
                 (size_t)(strstr(readings, "{\"device_id\":\"b") - readings));
        assert_contains(weir_harness_error(h), position);
        assert_contains(weir_harness_error(h), "temperature");
        weir_harness_free(h);
    }
}

/* More bad records than one batch of them holds. */
static void test_many_bad(void **state)
{
    (void)state;
    struct weir_buf text;
    weir_buf_init(&text, 1 << 24);
    for (int i = 0; i < 5000; i++)
        assert_true(
            weir_buf_printf(&text, i % 5 ? "bad %d\n" : "{\"device_id\":\"x\",\"temperature\":%d,\"ts\":0}\n", i));
    put_file("many.json", text.data, text.size);
    weir_buf_fini(&text);
    const char *options[] = {"connector", "filesystem", "path", dir, "format", "json", "on-error", "dead-letter", NULL};
    struct weir_harness_setup setup = reader_setup(options);
    struct weir_error error;
    for (int m = 0; weir_harness_modes[m].name; m++) {
        struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[m], &error);
        read_file(h, (void *)in_dir("many.json"));
        assert_int_equal(weir_harness_row_count(h, 0), 1000);
        assert_int_equal(weir_harness_row_count(h, 2), 4000);
        assert_int_equal(weir_harness_bad(h), 4000);
        weir_harness_free(h);
    }
}

/* --- Long lines */

static void check_long(struct weir_harness *h, void *arg)
{
    (void)arg;
    assert_string_equal(weir_harness_rows(h, 0), "short\n12345678\nlast\n");
    assert_int_equal(weir_harness_bad(h), 3);
    assert_int_equal(weir_harness_row_count(h, 2), 3);
    assert_contains(weir_harness_rows(h, 2), "longer than record.size-max, 8 bytes");
}

static void test_long_lines(void **state)
{
    (void)state;
    /* 8 bytes are allowed; 9, a megabyte (many chunks), and an unfinished one at the end are not. */
    struct weir_buf text;
    weir_buf_init(&text, 1 << 24);
    assert_true(weir_buf_puts(&text, "short\n12345678\n123456789\n"));
    for (int i = 0; i < 100000; i++)
        assert_true(weir_buf_puts(&text, "0123456789"));
    assert_true(weir_buf_puts(&text, "\nlast\nunfinished and too long"));
    put_file("long.txt", text.data, text.size);
    const char *options[] = {"connector",       "filesystem", "path",     dir,           "format", "raw",
                             "record.size-max", "8",          "on-error", "dead-letter", NULL};
    struct weir_harness_setup setup = reader_setup(options);
    setup.declared = "line STRING NOT NULL";
    weir_harness_all_modes(&setup, read_file, check_long, (void *)in_dir("long.txt"));
    weir_buf_fini(&text);
    /* The default bound is 1 MiB: a line of just that is a record, and one byte more is not. */
    weir_buf_init(&text, 1 << 24);
    for (int extra = 0; extra < 2; extra++) {
        for (int i = 0; i < (1 << 20) + extra; i++)
            assert_true(weir_buf_puts(&text, "x"));
        assert_true(weir_buf_puts(&text, "\n"));
    }
    put_file("mega.txt", text.data, text.size);
    weir_buf_fini(&text);
    const char *defaults[] = {"connector", "filesystem", "path", dir, "format", "raw", "on-error", "skip", NULL};
    setup.options = defaults;
    struct weir_error error;
    struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
    read_file(h, (void *)in_dir("mega.txt"));
    assert_int_equal(weir_harness_row_count(h, 0), 1);
    assert_int_equal(weir_harness_bad(h), 1);
    weir_harness_free(h);
}

/* --- Splits handed out and read by several readers */

static void produce_all(struct weir_harness *h, void *arg)
{
    (void)arg;
    if (!weir_harness_produce(h))
        fail_msg("%s", weir_harness_error(h));
    assert_true(weir_harness_done(h));
}

static void test_splits(void **state)
{
    (void)state;
    /* Three files, 3000 lines; one is packed. */
    struct weir_buf text;
    weir_buf_init(&text, 1 << 24);
    for (int f = 0; f < 3; f++) {
        weir_buf_clear(&text);
        for (int i = 0; i < 1000; i++)
            assert_true(weir_buf_printf(&text, "%d\n", f * 1000 + i));
        if (f < 2) {
            put_file(f ? "b.txt" : "a.txt", text.data, text.size);
        } else {
            gzFile gz = gzopen(in_dir("c.gz"), "wb");
            assert_int_equal(gzwrite(gz, text.data, (unsigned)text.size), text.size);
            assert_int_equal(gzclose(gz), Z_OK);
        }
    }
    weir_buf_fini(&text);
    const char *split_options[] = {"connector", "filesystem", "path", dir, "split.size", "700", NULL};
    struct weir_harness_setup splits = {.op = &weir_op_splits, .options = split_options, .consumer_parallelism = 3};
    weir_harness_all_modes(&splits, produce_all, NULL, NULL);
    struct weir_error error;
    struct weir_harness *coordinator = weir_harness_new(&splits, &weir_harness_modes[3], &error);
    produce_all(coordinator, NULL);
    assert_true(weir_harness_row_count(coordinator, 0) > 10);
    /* Dealt round to three readers: each line is read once. */
    const char *options[] = {"connector", "filesystem", "path", dir, "split.size", "700", "format", "raw", NULL};
    struct weir_harness_setup setup = reader_setup(options);
    setup.declared = "line STRING NOT NULL";
    struct weir_harness *readers[3];
    for (int i = 0; i < 3; i++)
        assert_non_null(readers[i] = weir_harness_new(&setup, &weir_harness_modes[i], &error));
    char *list = weir_strdup(weir_harness_rows(coordinator, 0)), *rest = NULL;
    int n = 0;
    for (char *line = strtok_r(list, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        if (!weir_harness_rows_in(readers[n++ % 3], 0, line))
            fail_msg("reader: %s", "failed");
    free(list);
    bool seen[3000] = {false};
    int total = 0;
    for (int i = 0; i < 3; i++) {
        assert_true(weir_harness_row_count(readers[i], 0) > 0);
        char *rows = weir_strdup(weir_harness_rows(readers[i], 0));
        for (char *line = strtok_r(rows, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest), total++) {
            int number = atoi(line);
            assert_true(number >= 0 && number < 3000 && !seen[number]);
            seen[number] = true;
        }
        free(rows);
        weir_harness_free(readers[i]);
    }
    assert_int_equal(total, 3000);
    weir_harness_free(coordinator);
}

static void test_missing_input(void **state)
{
    (void)state;
    const char *options[] = {"connector", "filesystem", "path", in_dir("none.json"), NULL};
    struct weir_harness_setup splits = {.op = &weir_op_splits, .options = options};
    struct weir_error error;
    assert_null(weir_harness_new(&splits, &weir_harness_modes[0], &error));
    assert_int_equal(error.code, WEIR_ERR_NOT_FOUND);
    assert_contains(error.message, "none.json': No such file or directory");
    /* Gone between the listing and the reading. */
    const char *reader[] = {"connector", "filesystem", "path", dir, "format", "json", NULL};
    struct weir_harness_setup setup = reader_setup(reader);
    struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
    char row[300];
    snprintf(row, sizeof row, "%s|0|-1|0", in_dir("gone.json"));
    assert_false(weir_harness_rows_in(h, 0, row));
    assert_contains(weir_harness_error(h), "gone.json': No such file");
    weir_harness_free(h);
}

/* --- Watermarks of splits */

static void test_split_watermarks(void **state)
{
    (void)state;
    static const char early[] = "{\"device_id\":\"a\",\"temperature\":1,\"ts\":1000}\n"
                                "{\"device_id\":\"a\",\"temperature\":1,\"ts\":9000}\n";
    static const char late[] = "{\"device_id\":\"b\",\"temperature\":1,\"ts\":500}\n"
                               "{\"device_id\":\"b\",\"temperature\":1,\"ts\":7000}\n"
                               "{\"device_id\":\"b\",\"temperature\":1,\"ts\":6000}\n";
    put_file("1.json", early, sizeof early - 1);
    put_file("2.json", late, sizeof late - 1);
    const char *options[] = {
        "connector", "filesystem", "path", dir, "format", "json", "watermark.expression", "ts - INTERVAL '2' SECOND",
        NULL};
    struct weir_harness_setup setup = reader_setup(options);
    setup.no_restore = true; /* a restored reader goes on with its split at the next item, and this test looks before */
    for (int m = 0; weir_harness_modes[m].name; m++) {
        struct weir_error error;
        struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[m], &error);
        if (!h)
            fail_msg("%s", error.message);
        char rows[600];
        snprintf(rows, sizeof rows, "%s|0|-1|1", in_dir("1.json"));
        assert_true(weir_harness_rows_in(h, 0, rows));
        assert_int_equal(weir_harness_watermark_out(h), WEIR_WATERMARK_MIN); /* another split may be earlier */
        snprintf(rows, sizeof rows, "%s|0|-1|0", in_dir("2.json"));
        assert_true(weir_harness_rows_in(h, 0, rows));
        assert_int_equal(weir_harness_watermark_out(h), 5000); /* of this split alone: not the 7000 of the first */
        assert_true(weir_harness_end(h));
        assert_int_equal(weir_harness_watermark_out(h), WEIR_WATERMARK_MAX);
        weir_harness_free(h);
    }
}

/* --- A split that has nothing for a while */

static weir_err slack_enumerate(const struct weir_key_value *options, int count, int reader_count,
                                struct weir_arena *arena, struct weir_split **splits, int *split_count,
                                struct weir_error *error)
{
    (void)options, (void)count, (void)reader_count, (void)arena, (void)error;
    *splits = NULL;
    *split_count = 0;
    return WEIR_OK;
}

static weir_err slack_open(struct weir_connector_ctx *ctx, const struct weir_key_value *options, int count,
                           struct weir_reader **reader, struct weir_error *error)
{
    static int none;
    (void)ctx, (void)options, (void)count, (void)error;
    *reader = (struct weir_reader *)(void *)&none;
    return WEIR_OK;
}

static weir_err slack_split(struct weir_reader *reader, const struct weir_split *split, struct weir_error *error)
{
    (void)reader, (void)split, (void)error;
    return WEIR_OK;
}

static enum weir_read slack_read(struct weir_reader *reader, struct weir_connector_ctx *ctx,
                                 struct weir_read_bytes *bytes, int64_t *wait_until_ms, struct weir_error *error)
{
    (void)reader, (void)bytes, (void)error;
    *wait_until_ms = ctx->now_ms(ctx) + 700;
    return WEIR_READ_EMPTY;
}

static void slack_close(struct weir_reader *reader)
{
    (void)reader;
}

static const struct weir_option slack_options[] = {{0}};
static const struct weir_connector slack = {.size = sizeof slack,
                                            .name = "slack",
                                            .source_options = slack_options,
                                            .enumerate = slack_enumerate,
                                            .reader_open = slack_open,
                                            .reader_split = slack_split,
                                            .read = slack_read,
                                            .reader_close = slack_close};
WEIR_CONNECTORS(&slack);

/* Its reader is not called all the time. */
static void test_a_split_may_wait(void **state)
{
    (void)state;
    struct weir_error error;
    assert_int_equal(weir_connectors_load(dlopen(NULL, RTLD_NOW), &error), 0);
    const char *options[] = {"connector", "slack", "format", "json", NULL};
    struct weir_harness_setup setup = reader_setup(options);
    setup.now_ms = 5000;
    struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
    if (!h)
        fail_msg("%s", error.message);
    assert_false(weir_harness_calls(h, weir_harness_batch_of(weir_harness_input_schema(h, 0), "x|0|-1|0"), 1));
    assert_int_equal(weir_harness_timer(h), 5700);
    weir_harness_free(h);
}

/* --- What plan() refuses */

static void refused(const struct weir_harness_setup *setup, const char *part)
{
    struct weir_error error;
    struct weir_harness *h = weir_harness_new(setup, &weir_harness_modes[0], &error);
    assert_null(h);
    assert_contains(error.message, part);
}

static void refused_options(const char *const *options, const char *declared, const char *part)
{
    struct weir_harness_setup setup = {.op = &weir_op_source, .options = options, .declared = declared};
    refused(&setup, part);
}

#define OPTIONS(...) ((const char *[]){__VA_ARGS__, NULL})

static void test_refused(void **state)
{
    (void)state;
    refused_options(NULL, READING, "'connector' is missing");
    refused_options(OPTIONS("connector", "datagn"), READING, "did you mean 'datagen'?");
    refused_options(OPTIONS("connector", "print"), READING, "cannot be a source");
    refused_options(OPTIONS("connector", "filesystem", "path", "x"), READING, "needs the option 'format'");
    refused_options(OPTIONS("connector", "filesystem", "path", "x", "format", "jsn"), READING, "json");
    refused_options(OPTIONS("connector", "filesystem", "format", "json"), READING, "'path' is missing");
    refused_options(OPTIONS("connector", "filesystem", "format", "json", "path", ""), READING, "path is empty");
    refused_options(OPTIONS("connector", "filesystem", "format", "json", "path", "x"), READING,
                    "needs a vertex 'splits'");
    refused_options(OPTIONS("connector", "datagen", "rowss", "1"), READING, "did you mean 'rows'?");
    refused_options(OPTIONS("connector", "datagen", "rows", "many"), READING, "not a whole number");
    refused_options(OPTIONS("connector", "datagen", "format", "json"), READING, "carries rows");
    refused_options(OPTIONS("connector", "datagen"), NULL, "needs a schema");
    refused_options(OPTIONS("connector", "datagen", "fields.x.min", "1"), READING, "names no column");
    refused_options(OPTIONS("connector", "datagen", "fields.device_id.mim", "1"), READING, "did you mean");
    refused_options(OPTIONS("connector", "datagen", "fields.temperature.kind", "sequence"), READING, "not a kind");
    refused_options(OPTIONS("connector", "datagen", "fields.temperature.null-rate", "0.5"), READING, "NOT NULL");
    refused_options(OPTIONS("connector", "datagen", "fields.ts.step", "soon"), READING, "a duration");
    refused_options(OPTIONS("connector", "socket", "hostname", "h", "port", "0", "format", "json"), READING,
                    "port must be");
    refused_options(OPTIONS("connector", "socket", "hostname", "h", "port", "80", "format", "json"), NULL,
                    "needs a schema");
    refused_options(OPTIONS("connector", "host", "interval", "1 ms"), NULL, "at least 10 ms");
    refused_options(OPTIONS("connector", "host"), READING, "leave the schema out");
}

static void test_refused_watermark(void **state)
{
    (void)state;
    refused_options(OPTIONS("connector", "datagen", "watermark.expression", "tz - INTERVAL '2' SECOND"), READING, "tz");
    refused_options(OPTIONS("connector", "datagen", "watermark.expression", "temperature"), READING,
                    "must be a TIMESTAMP");
}

/* --- datagen */

#define GENERATED \
    "id BIGINT NOT NULL, key BIGINT NOT NULL, small TINYINT NOT NULL, heat DOUBLE, name STRING, hex STRING NOT NULL, " \
    "ok BOOLEAN NOT NULL, ts TIMESTAMP(3) NOT NULL"

static const char *const generated[] = {"connector",
                                        "datagen",
                                        "rows",
                                        "5000",
                                        "seed",
                                        "7",
                                        "fields.id.kind",
                                        "sequence",
                                        "fields.key.min",
                                        "0",
                                        "fields.key.max",
                                        "99",
                                        "fields.small.min",
                                        "-3",
                                        "fields.small.max",
                                        "3",
                                        "fields.heat.min",
                                        "10",
                                        "fields.heat.max",
                                        "20",
                                        "fields.heat.null-rate",
                                        "0.1",
                                        "fields.name.prefix",
                                        "gpu-",
                                        "fields.name.max",
                                        "9",
                                        "fields.name.null-rate",
                                        "0.2",
                                        "fields.hex.length",
                                        "20",
                                        "fields.ts.start",
                                        "2024-01-01 00:00:00",
                                        "fields.ts.step",
                                        "0.5",
                                        NULL};

static void check_generated(struct weir_harness *h, void *arg)
{
    (void)arg;
    assert_int_equal(weir_harness_row_count(h, 0), 5000);
    char *rows = weir_strdup(weir_harness_rows(h, 0)), *rest = NULL;
    int i = 0, nulls = 0, no_names = 0, keys[100] = {0};
    for (char *line = strtok_r(rows, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest), i++) {
        char *fields[8], *next = line;
        for (int f = 0; f < 8; f++)
            fields[f] = strsep(&next, "|");
        assert_null(next);
        assert_int_equal(atoi(fields[0]), i);
        int key = atoi(fields[1]), small = atoi(fields[2]);
        assert_true(key >= 0 && key <= 99 && small >= -3 && small <= 3);
        keys[key]++;
        nulls += strcmp(fields[3], "null") == 0;
        assert_true(strcmp(fields[3], "null") == 0 || (atof(fields[3]) >= 10 && atof(fields[3]) < 20));
        no_names += strcmp(fields[4], "null") == 0;
        assert_true(strcmp(fields[4], "null") == 0 || (strlen(fields[4]) == 5 && strncmp(fields[4], "gpu-", 4) == 0));
        assert_int_equal(strlen(fields[5]), 20);
        assert_int_equal(strspn(fields[5], "0123456789abcdef"), 20);
        char ts[32];
        snprintf(ts, sizeof ts, "2024-01-01 00:00:0%d.%03d", i / 2 / 1000, i / 2 % 1000);
        assert_string_equal(fields[7], ts);
    }
    free(rows);
    assert_int_equal(i, 5000);
    assert_true(nulls > 400 && nulls < 600);
    assert_true(no_names > 850 && no_names < 1150);
    for (int k = 0; k < 100; k++) /* 50 expected; 8 standard deviations */
        assert_true(keys[k] > 0 && keys[k] < 107);
}

static void test_datagen(void **state)
{
    (void)state;
    struct weir_harness_setup setup = {.op = &weir_op_source, .options = generated, .declared = GENERATED};
    weir_harness_all_modes(&setup, produce_all, check_generated, NULL);
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *sorted(char *text)
{
    char **lines = weir_alloc((strlen(text) + 1) * sizeof *lines), *rest = NULL;
    int count = 0;
    char *out = weir_zalloc(strlen(text) + 2), *at = out;
    for (char *l = strtok_r(text, "\n", &rest); l; l = strtok_r(NULL, "\n", &rest))
        lines[count++] = l;
    qsort(lines, (size_t)count, sizeof *lines, compare_lines);
    for (int i = 0; i < count; i++)
        at += sprintf(at, "%s\n", lines[i]);
    free(lines);
    free(text);
    return out;
}

static char *generate(int parallelism)
{
    struct weir_buf all;
    weir_buf_init(&all, 1 << 24);
    for (int s = 0; s < parallelism; s++) {
        struct weir_error error;
        struct weir_harness_setup setup = {.op = &weir_op_source,
                                           .options = generated,
                                           .declared = GENERATED,
                                           .parallelism = parallelism,
                                           .subtask = s};
        struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
        produce_all(h, NULL);
        assert_true(weir_buf_puts(&all, weir_harness_rows(h, 0)));
        weir_harness_free(h);
    }
    char *text = weir_strdup((const char *)all.data);
    weir_buf_fini(&all);
    return sorted(text);
}

/* The same rows at any parallelism. */
static void test_datagen_parallel(void **state)
{
    (void)state;
    char *one = generate(1), *three = generate(3), *seven = generate(7);
    assert_string_equal(one, three);
    assert_string_equal(one, seven);
    free(one);
    free(three);
    free(seven);
}

/* `parallelism` readers, each for another time, begin with *restored and leave theirs there; seen[] counts the rows. */
static void generate_for_a_while(int parallelism, struct weir_restored **restored, int64_t until_ms, int seen[1000])
{
    const char *options[] = {"connector", "datagen",        "rows",     "1000", "rows-per-second",
                             "1000",      "fields.id.kind", "sequence", NULL};
    struct weir_restored *next = weir_restored_new(1);
    for (int s = 0; s < parallelism; s++) {
        struct weir_harness_setup setup = {.op = &weir_op_source,
                                           .options = options,
                                           .declared = "id BIGINT NOT NULL",
                                           .now_ms = 5000,
                                           .parallelism = parallelism,
                                           .subtask = s,
                                           .restored = *restored};
        struct weir_error error;
        struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
        assert_non_null(h);
        assert_true(weir_harness_produce(h));
        for (int step = 0; step < 20; step++) {
            assert_true(weir_harness_advance(h, 5000 + (until_ms + 37 * s) * (step + 1) / 20));
            assert_true(weir_harness_produce(h));
        }
        char *rows = weir_strdup(weir_harness_rows(h, 0)), *rest = NULL;
        for (char *line = strtok_r(rows, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
            seen[atoi(line)]++;
        free(rows);
        struct weir_snapshot *snapshot = weir_harness_snapshot(h, 1, 0);
        struct weir_snapshot_part *part = snapshot->parts;
        assert_int_equal(part->kind, WEIR_STATE_UNION);
        uint8_t *bytes = memcpy(weir_alloc(part->bytes.size), part->bytes.data, part->bytes.size);
        weir_restored_add(next, part->uid, part->name, part->kind, s, parallelism, bytes, part->bytes.size);
        weir_snapshot_free(snapshot);
        weir_harness_free(h);
    }
    weir_restored_free(*restored);
    *restored = next;
}

/* Readers that are not equally far, dealt out anew again and again: every row once. */
static void test_datagen_rescaled(void **state)
{
    (void)state;
    static const int parallelisms[] = {3, 2, 5, 5, 1, 4};
    struct weir_restored *restored = NULL;
    int seen[1000] = {0};
    for (int i = 0; i < 6; i++)
        generate_for_a_while(parallelisms[i], &restored, i < 5 ? 60 : 5000, seen);
    for (int i = 0; i < 1000; i++)
        if (seen[i] != 1)
            fail_msg("row %d came %d times", i, seen[i]);
    weir_restored_free(restored);
}

static void test_datagen_rate(void **state)
{
    (void)state;
    const char *options[] = {"connector", "datagen",        "rows", "100", "rows-per-second", "1000", "fields.id.kind",
                             "sequence",  "fields.ts.kind", "now",  NULL};
    struct weir_harness_setup setup = {.op = &weir_op_source,
                                       .options = options,
                                       .declared = "id BIGINT NOT NULL, ts TIMESTAMP(3) NOT NULL",
                                       .now_ms = 5000};
    struct weir_error error;
    struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
    assert_true(weir_harness_produce(h));
    assert_int_equal(weir_harness_row_count(h, 0), 1); /* row 0 is due at once */
    assert_int_equal(weir_harness_timer(h), 5001);
    assert_true(weir_harness_advance(h, 5010));
    assert_true(weir_harness_produce(h));
    assert_int_equal(weir_harness_row_count(h, 0), 11);
    assert_true(weir_harness_advance(h, 5050)); /* late: it catches up */
    assert_true(weir_harness_produce(h));
    assert_int_equal(weir_harness_row_count(h, 0), 51);
    assert_false(weir_harness_done(h));
    assert_true(weir_harness_advance(h, 9000));
    assert_true(weir_harness_produce(h));
    assert_int_equal(weir_harness_row_count(h, 0), 100);
    assert_true(weir_harness_done(h));
    assert_contains(weir_harness_rows(h, 0), "99|1970-01-01 00:00:09.000\n");
    weir_harness_free(h);
}

static void test_idle(void **state)
{
    (void)state;
    const char *options[] = {"connector", "datagen", "rows-per-second", "1", "watermark.idle-timeout", "300 ms", NULL};
    struct weir_harness_setup setup = {.op = &weir_op_source, .options = options, .declared = "id TINYINT NOT NULL"};
    struct weir_error error;
    struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
    assert_true(weir_harness_produce(h));
    assert_int_equal(weir_harness_timer(h), 300);
    assert_null(strstr(weir_harness_trace(h, 0), "IDLE"));
    assert_true(weir_harness_advance(h, 300));
    assert_true(weir_harness_produce(h));
    assert_contains(weir_harness_trace(h, 0), "IDLE\n");
    assert_int_equal(weir_harness_timer(h), 1000);
    assert_true(weir_harness_advance(h, 1000));
    assert_true(weir_harness_produce(h));
    assert_contains(weir_harness_trace(h, 0), "IDLE\nACTIVE\n");
    weir_harness_free(h);
}

/* --- host */

static void test_host(void **state)
{
    (void)state;
    assert_int_equal(mkdir(in_dir("net"), 0755), 0);
    static const char stat1[] = "cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 1 1 1\n";
    static const char stat2[] = "cpu  150 0 110 730 110 0 0 0 0 0\ncpu0 1 1 1 1\n";
    static const char memory[] =
        "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 250 kB\nSwapTotal: 10 kB\nSwapFree: 4 kB\n";
    static const char net1[] = "Inter-|  Receive\n face |bytes\n    lo: 999 1 0 0 0 0 0 0 999 1 0 0 0 0 0 0\n"
                               "  eth0: 1000 1 0 0 0 0 0 0 500 1 0 0 0 0 0 0\n";
    static const char net2[] = "Inter-|  Receive\n face |bytes\n    lo: 9999 1 0 0 0 0 0 0 9999 1 0 0 0 0 0 0\n"
                               "  eth0: 3000 1 0 0 0 0 0 0 700 1 0 0 0 0 0 0\n";
    static const char disk1[] = "8 0 sda 1 0 10 0 1 0 20 0 0 0 0\n8 1 sda1 1 0 10 0 1 0 20 0 0 0 0\n";
    static const char disk2[] = "8 0 sda 1 0 14 0 1 0 28 0 0 0 0\n8 1 sda1 1 0 14 0 1 0 28 0 0 0 0\n";
    put_file("stat", stat1, sizeof stat1 - 1);
    put_file("meminfo", memory, sizeof memory - 1);
    put_file("net/dev", net1, sizeof net1 - 1);
    put_file("diskstats", disk1, sizeof disk1 - 1);
    const char *options[] = {"connector", "host", "proc", dir, "interval", "2 s", "samples", "2", NULL};
    struct weir_harness_setup setup = {.op = &weir_op_source, .options = options};
    struct weir_error error;
    struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
    if (!h)
        fail_msg("%s", error.message);
    assert_true(weir_harness_produce(h));
    assert_int_equal(weir_harness_row_count(h, 0), 0);
    assert_int_equal(weir_harness_timer(h), 2000);
    put_file("stat", stat2, sizeof stat2 - 1);
    put_file("net/dev", net2, sizeof net2 - 1);
    put_file("diskstats", disk2, sizeof disk2 - 1);
    assert_true(weir_harness_advance(h, 2000));
    assert_true(weir_harness_produce(h));
    const char *rows = weir_harness_rows(h, 0);
    assert_contains(rows, "|cpu.user.percent|50|1970-01-01 00:00:02.000\n");
    assert_contains(rows, "|cpu.system.percent|10|");
    assert_contains(rows, "|cpu.iowait.percent|10|");
    assert_contains(rows, "|cpu.busy.percent|60|");
    assert_contains(rows, "|memory.used.percent|75|");
    assert_contains(rows, "|memory.used.bytes|768000|");
    assert_contains(rows, "|swap.used.bytes|6144|");
    assert_contains(rows, "|net.received.bytes_per_s|1000|"); /* without lo */
    assert_contains(rows, "|net.sent.bytes_per_s|100|");
    assert_contains(rows, "|disk.read.bytes_per_s|1024|"); /* without the partition */
    assert_contains(rows, "|disk.written.bytes_per_s|2048|");
    assert_null(strstr(rows, "load.1min")); /* no such file here */
    assert_true(weir_harness_advance(h, 4000));
    assert_true(weir_harness_produce(h));
    assert_true(weir_harness_done(h));
    weir_harness_free(h);
    /* The machine itself, and a directory that is no /proc. */
    options[3] = "/proc";
    h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
    assert_non_null(h);
    assert_true(weir_harness_advance(h, 2000));
    assert_true(weir_harness_produce(h));
    assert_true(weir_harness_row_count(h, 0) >= 8);
    weir_harness_free(h);
    options[3] = "/nowhere";
    assert_null(weir_harness_new(&setup, &weir_harness_modes[0], &error));
    assert_contains(error.message, "/nowhere/stat");
}

/* A connector that runs on one subtask only: the others are at their end at once. */
static void test_one_subtask(void **state)
{
    (void)state;
    const char *options[] = {"connector", "host", NULL};
    struct weir_harness_setup setup = {.op = &weir_op_source, .options = options, .parallelism = 2, .subtask = 1};
    struct weir_error error;
    struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
    produce_all(h, NULL);
    weir_harness_free(h);
}

/* --- socket: the test is the server, in the same thread */

static int listen_on(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    assert_true(fd >= 0);
    address.sin_port = htons((uint16_t)*port);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

static struct weir_harness *connect_to(int port, const char *on_close, const char *attempts,
                                       const struct weir_harness_mode *mode)
{
    static char text[16];
    static const char *options[15];
    snprintf(text, sizeof text, "%d", port);
    const char *list[] = {"connector",
                          "socket",
                          "hostname",
                          "127.0.0.1",
                          "port",
                          text,
                          "format",
                          "raw",
                          "on-close",
                          on_close,
                          "reconnect.attempts",
                          attempts,
                          "reconnect.delay",
                          "1 s",
                          NULL};
    memcpy(options, list, sizeof list);
    static struct weir_harness_setup setup;
    setup = (struct weir_harness_setup){
        .op = &weir_op_source, .options = options, .declared = "line STRING NOT NULL", .no_restore = true};
    struct weir_error error;
    struct weir_harness *h = weir_harness_new(&setup, mode, &error);
    if (!h)
        fail_msg("%s", error.message);
    return h;
}

static void send_text(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Produces until so many rows are there. Bounded: each produce waits for the fd at most 2 s. */
static void produce_rows(struct weir_harness *h, int rows)
{
    for (int i = 0; i < 100 && weir_harness_row_count(h, 0) < rows && !weir_harness_done(h); i++)
        if (!weir_harness_produce(h))
            fail_msg("%s", weir_harness_error(h));
    assert_int_equal(weir_harness_row_count(h, 0), rows);
}

static void test_socket(void **state)
{
    (void)state;
    for (int m = 0; weir_harness_modes[m].name; m++) {
        int port = 0, server = listen_on(&port);
        struct weir_harness *h = connect_to(port, "end", "3", &weir_harness_modes[m]);
        struct weir_buf lines;
        weir_buf_init(&lines, 1 << 20);
        for (int i = 0; i < 3000; i++)
            assert_true(weir_buf_printf(&lines, "line %d\n", i));
        pid_t child = fork();
        if (child == 0) {
            int fd = accept(server, NULL, NULL);
            const uint8_t *p = lines.data;
            for (size_t left = lines.size; left;) {
                ssize_t n = send(fd, p, left < 4001 ? left : 4001, MSG_NOSIGNAL);
                if (n <= 0)
                    _exit(1);
                p += n;
                left -= (size_t)n;
            }
            if (send(fd, "unfinished", 10, MSG_NOSIGNAL) != 10)
                _exit(1);
            _exit(0);
        }
        produce_rows(h, 3001);
        for (int i = 0; i < 10 && !weir_harness_done(h); i++)
            assert_true(weir_harness_produce(h));
        assert_true(weir_harness_done(h));
        char *wanted = weir_format("%sunfinished\n", (const char *)lines.data);
        assert_string_equal(weir_harness_rows(h, 0), wanted);
        free(wanted);
        weir_buf_fini(&lines);
        weir_harness_free(h);
        close(server);
        int status = -1;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
}

static void test_socket_reconnect(void **state)
{
    (void)state;
    int port = 0, server = listen_on(&port);
    struct weir_harness *h = connect_to(port, "reconnect", "2", &weir_harness_modes[0]);
    assert_true(weir_harness_produce(h)); /* the kernel has connected; nothing was sent */
    int fd = accept(server, NULL, NULL);
    send_text(fd, "one\ntw");
    produce_rows(h, 1);
    send_text(fd, "o\npartial");
    produce_rows(h, 2);
    close(fd);
    produce_rows(h, 3); /* what was cut off is a record of its own */
    assert_string_equal(weir_harness_rows(h, 0), "one\ntwo\npartial\n");
    assert_true(weir_harness_timer(h) == 1000);
    assert_true(weir_harness_advance(h, 1000));
    assert_true(weir_harness_produce(h));
    fd = accept(server, NULL, NULL);
    send_text(fd, "three\n");
    produce_rows(h, 4);
    /* A reset is an error, retried as often as the option says. */
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(server);
    close(fd);
    bool ok = true;
    for (int64_t now = 1000; ok && now < 10000; now += 1000) {
        ok = weir_harness_advance(h, now) && weir_harness_produce(h);
        if (now >= 8000)
            fail_msg("it tries for ever");
    }
    assert_contains(weir_harness_error(h), "127.0.0.1:");
    assert_contains(weir_harness_error(h), "3 times in a row");
    weir_harness_free(h);
}

static void test_socket_refused(void **state)
{
    (void)state;
    int port = 0, server = listen_on(&port);
    close(server); /* nobody listens there now */
    struct weir_harness *h = connect_to(port, "end", "0", &weir_harness_modes[0]);
    assert_false(weir_harness_produce(h));
    assert_contains(weir_harness_error(h), "Connection refused");
    weir_harness_free(h);
    const char *options[] = {"connector", "socket", "hostname", "no-such-host.invalid", "port", "1",
                             "format",    "raw",    NULL};
    struct weir_harness_setup setup = {.op = &weir_op_source, .options = options, .declared = "line STRING NOT NULL"};
    struct weir_error error;
    h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
    assert_non_null(h);
    assert_false(weir_harness_produce(h)); /* resolved by the pool, not when it is opened */
    assert_contains(weir_harness_error(h), "cannot find the host 'no-such-host.invalid'");
    weir_harness_free(h);
}

/* --- socket: a server that keeps its lines */

#define REPLAY_LOG "log-1.a_B"

/* One connection: greets, is asked (or not: false), answers, and sends the log from there, 4001 bytes at a time. */
static bool serve_replay(int fd, const uint8_t *log, size_t size, bool breaks)
{
    char request[100] = "", name[40] = "", answer[200];
    long long offset = 0;
    size_t got = 0;
    if (send(fd, " ", 1, MSG_OOB | MSG_NOSIGNAL) != 1 || send(fd, "dropped\n", 8, MSG_NOSIGNAL) != 8)
        return false;
    for (ssize_t n; !memchr(request, '\n', got); got += (size_t)n)
        if ((n = recv(fd, request + got, sizeof request - 1 - got, 0)) <= 0)
            return false;
    if (strcmp(request, "weir-replay earliest\n") != 0 &&
        (sscanf(request, "weir-replay %lld %39s", &offset, name) != 2 || strcmp(name, REPLAY_LOG) != 0))
        return false;
    int length = snprintf(answer, sizeof answer, "#offset %lld " REPLAY_LOG "\n", offset);
    if (send(fd, answer, (size_t)length, MSG_NOSIGNAL) != length)
        return false;
    for (int parts = 0; (size_t)offset < size; parts++) {
        size_t part = size - (size_t)offset < 4001 ? size - (size_t)offset : 4001;
        ssize_t n = send(fd, log + offset, part, MSG_NOSIGNAL);
        if (n <= 0 || (breaks && parts == 2))
            return true; /* the reader has gone, or loses us */
        offset += n;
        poll(NULL, 0, 1);
    }
    length = snprintf(answer, sizeof answer, "#end %lld " REPLAY_LOG "\n", offset);
    return send(fd, answer, (size_t)length, MSG_NOSIGNAL) == length || breaks;
}

static struct weir_harness *replay_from(int port, const char *replay, const struct weir_harness_mode *mode)
{
    static char text[16];
    static const char *options[] = {
        "connector", "socket",          "hostname", "127.0.0.1",          "port", text, "format", "raw", "replay",
        NULL,        "reconnect.delay", "1 ms",     "reconnect.attempts", "2",    NULL};
    snprintf(text, sizeof text, "%d", port);
    options[9] = replay;
    static struct weir_harness_setup setup;
    setup = (struct weir_harness_setup){.op = &weir_op_source, .options = options, .declared = "line STRING NOT NULL"};
    struct weir_error error;
    struct weir_harness *h = weir_harness_new(&setup, mode, &error);
    if (!h)
        fail_msg("%s", error.message);
    return h;
}

/* Connections that break, and restores between any two calls: each line once. */
static void test_socket_replay(void **state)
{
    (void)state;
    for (int m = 0; weir_harness_modes[m].name; m++) {
        int port = 0, server = listen_on(&port);
        bool breaks = m % 2 == 0;
        assert_int_equal(listen(server, 100), 0); /* a restore is a connection */
        struct weir_buf lines;
        weir_buf_init(&lines, 1 << 20);
        for (int i = 0; i < 3000; i++)
            assert_true(weir_buf_printf(&lines, i % 100 ? "line %d\n" : "#end %d " REPLAY_LOG "\n", i));
        pid_t child = fork();
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (;;) {
                int fd = accept(server, NULL, NULL);
                serve_replay(fd, lines.data, lines.size, breaks);
                close(fd);
            }
        }
        struct weir_harness *h = replay_from(port, m < 4 ? "auto" : "required", &weir_harness_modes[m]);
        for (int i = 0; i < 20000 && !weir_harness_done(h); i++) {
            if (!weir_harness_produce(h))
                fail_msg("mode '%s': %s", weir_harness_modes[m].name, weir_harness_error(h));
            if (weir_harness_timer(h) <= 1000 + i) /* not what bounds an answer */
                assert_true(weir_harness_advance(h, weir_harness_timer(h)));
            else
                poll(NULL, 0, 1);
        }
        assert_true(weir_harness_done(h));
        assert_string_equal(weir_harness_rows(h, 0), (const char *)lines.data);
        weir_buf_fini(&lines);
        weir_harness_free(h);
        close(server);
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
    }
}

/* Answers `answer` to whatever it is asked. The harness's, after the source has said why it failed. */
static struct weir_harness *answered(const char *answer, bool asked_before)
{
    int port = 0, server = listen_on(&port);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (int i = 0; i < 2; i++) {
            int fd = accept(server, NULL, NULL);
            if (asked_before && i == 0) {
                static uint8_t log[20000];
                memset(log, '\n', sizeof log);
                log[0] = 'x';
                serve_replay(fd, log, sizeof log, true);
                close(fd);
                continue;
            }
            char byte;
            while (recv(fd, &byte, 1, 0) == 1 && byte != '\n')
                ;
            if (send(fd, answer, strlen(answer), MSG_NOSIGNAL) <= 0)
                _exit(1);
            poll(NULL, 0, 5000);
        }
        _exit(0);
    }
    struct weir_harness *h = replay_from(port, "required", &weir_harness_modes[0]);
    bool ok = true;
    for (int i = 0; i < 100 && ok; i++) {
        ok = weir_harness_produce(h);
        poll(NULL, 0, 20); /* the answer comes, or it never will */
        ok = ok && weir_harness_produce(h);
        if (ok && weir_harness_timer(h) != INT64_MAX)
            ok = weir_harness_advance(h, weir_harness_timer(h));
    }
    close(server);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    return h;
}

static void test_socket_replay_refused(void **state)
{
    (void)state;
    struct weir_harness *h = answered("#error offset 8002 is gone: the log holds 9000 to 20000\n", true);
    assert_contains(weir_harness_error(h), "cannot go on where the source was (log " REPLAY_LOG ", offset 12003)");
    assert_contains(weir_harness_error(h), "offset 8002 is gone: the log holds 9000 to 20000");
    weir_harness_free(h);
    h = answered("#offset 5 " REPLAY_LOG "\n", true);
    assert_contains(weir_harness_error(h), "it answers with another log or offset");
    weir_harness_free(h);
    h = answered("{\"a\":1}\n", false); /* keeps no log: it has time until then */
    assert_contains(weir_harness_error(h), "does not answer to 'weir-replay'");
    weir_harness_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_skip, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_dead_letter, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_fail, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_many_bad, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_long_lines, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_splits, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_missing_input, make_dir, remove_dir),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_datagen),
        cmocka_unit_test(test_datagen_parallel),
        cmocka_unit_test(test_datagen_rescaled),
        cmocka_unit_test(test_datagen_rate),
        cmocka_unit_test(test_idle),
        cmocka_unit_test_setup_teardown(test_host, make_dir, remove_dir),
        cmocka_unit_test(test_one_subtask),
        cmocka_unit_test(test_socket),
        cmocka_unit_test(test_socket_reconnect),
        cmocka_unit_test(test_socket_refused),
        cmocka_unit_test(test_socket_replay),
        cmocka_unit_test(test_socket_replay_refused),
        cmocka_unit_test_setup_teardown(test_split_watermarks, make_dir, remove_dir),
        cmocka_unit_test(test_a_split_may_wait),
        cmocka_unit_test(test_refused_watermark),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
