/* The window operator against a plain model: every row is looked at in every window it belongs to, results are lists.
 *
 * Random runs: late and out-of-order rows, watermarks that stand and jump, sessions that merge, slides that do not divide the size,
 * offsets, times before 1970, lateness, NULLs, several key types, in all modes of the harness. Then single cases: options,
 * processing time, bad rows, far-off times, order, growth.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/assert.h"
#include "data/time_text.h"
#include "ops/harness.h"
#include "state/snapshot.h"
#include "ops/window_int.h"

static uint64_t random_next(uint64_t *seed)
{
    uint64_t x = *seed += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static int64_t random_below(uint64_t *seed, int64_t below)
{
    return (int64_t)(random_next(seed) % (uint64_t)below);
}

/* --- The model */

enum kind { TUMBLING, SLIDING, SESSION };

struct config {
    const char *name;
    enum kind kind;
    int64_t size, slide, gap, offset, lateness;
    int64_t origin;          /* where times begin */
    const char *key_type;    /* NULL: not keyed */
    const char *const *keys; /* texts of the keys, ended by NULL */
    int disorder;            /* a row is up to so many ms before the newest */
    const char *text_min;    /* the aggregate over text: MIN(s) */
};

struct result {
    char key[32];
    int64_t start, end;
    int64_t rows, values, sum, low, high;
    char text[16]; /* smallest; "": none */
    bool dirty;
};

struct model {
    const struct config *config;
    struct result *results;
    int count, capacity;
    int64_t watermark;
    char *out, *late; /* lines expected of this step */
    size_t out_size, late_size;
    int late_count;
};

static void add_line(char **lines, size_t *size, const char *line)
{
    size_t more = strlen(line) + 1;
    *lines = realloc(*lines, *size + more + 1);
    memcpy(*lines + *size, line, more - 1);
    (*lines)[*size + more - 1] = '\n';
    *size += more;
    (*lines)[*size] = 0;
}

static void time_text(int64_t ms, char out[40])
{
    struct weir_schema *schema;
    assert_int_equal(weir_schema_parse("t TIMESTAMP(3)", &schema, NULL), WEIR_OK);
    struct weir_batch *batch = weir_batch_new(schema, 1);
    batch->columns[0].i64[0] = ms;
    batch->row_count = 1;
    struct weir_buf buf;
    weir_buf_init(&buf, 100);
    weir_harness_print_row(batch, 0, &buf);
    snprintf(out, 40, "%s", (const char *)buf.data);
    weir_buf_fini(&buf);
    weir_batch_unref(batch);
    weir_schema_unref(schema);
}

static void model_emit(struct model *model, const struct result *r)
{
    char start[40], end[40], numbers[128], line[320];
    time_text(r->start, start);
    time_text(r->end, end);
    if (r->values)
        snprintf(numbers, sizeof numbers, "%lld|%lld|%lld", (long long)r->sum, (long long)r->low, (long long)r->high);
    else
        snprintf(numbers, sizeof numbers, "null|null|null");
    snprintf(line, sizeof line, "%s%s%s|%s|%lld|%lld|%s|%s", r->key, model->config->key_type ? "|" : "", start, end,
             (long long)r->rows, (long long)r->values, numbers, r->text[0] ? r->text : "null");
    add_line(&model->out, &model->out_size, line);
}

static struct result *model_result(struct model *model, const char *key, int64_t start, int64_t end)
{
    for (int i = 0; i < model->count; i++) {
        struct result *r = &model->results[i];
        if (r->start == start && r->end == end && strcmp(r->key, key) == 0)
            return r;
    }
    if (model->count == model->capacity) {
        model->capacity = model->capacity ? model->capacity * 2 : 64;
        model->results = realloc(model->results, (size_t)model->capacity * sizeof *model->results);
    }
    struct result *r = &model->results[model->count++];
    memset(r, 0, sizeof *r);
    snprintf(r->key, sizeof r->key, "%s", key);
    r->start = start;
    r->end = end;
    return r;
}

static void result_add(struct result *r, bool has_value, int64_t value, const char *text)
{
    r->rows++;
    if (has_value) {
        r->low = r->values && r->low < value ? r->low : value;
        r->high = r->values && r->high > value ? r->high : value;
        r->sum += value;
        r->values++;
    }
    if (text[0] && (!r->text[0] || strcmp(text, r->text) < 0))
        snprintf(r->text, sizeof r->text, "%s", text);
}

static void result_merge(struct result *into, const struct result *from)
{
    into->rows += from->rows;
    if (from->values) {
        into->low = into->values && into->low < from->low ? into->low : from->low;
        into->high = into->values && into->high > from->high ? into->high : from->high;
        into->sum += from->sum;
        into->values += from->values;
    }
    if (from->text[0] && (!into->text[0] || strcmp(from->text, into->text) < 0))
        memcpy(into->text, from->text, sizeof into->text);
    into->start = into->start < from->start ? into->start : from->start;
    into->end = into->end > from->end ? into->end : from->end;
}

/* False: late. */
static bool model_row_session(struct model *model, const char *key, int64_t time, bool has_value, int64_t value,
                              const char *text)
{
    struct result row = {.start = time, .end = time + model->config->gap};
    snprintf(row.key, sizeof row.key, "%s", key);
    result_add(&row, has_value, value, text);
    bool touched = false;
    for (int i = 0; i < model->count; i++) {
        struct result *r = &model->results[i];
        if (strcmp(r->key, key) || r->start > row.end || r->end < row.start)
            continue;
        result_merge(&row, r);
        touched = true;
        *r = model->results[--model->count];
        i = -1; /* what has grown may touch more */
    }
    if (!touched && row.end - 1 + model->config->lateness <= model->watermark)
        return false;
    row.dirty = row.end - 1 <= model->watermark;
    *model_result(model, key, INT64_MIN, INT64_MIN) = row;
    return true;
}

static bool model_row(struct model *model, const char *key, int64_t time, bool has_value, int64_t value,
                      const char *text)
{
    const struct config *c = model->config;
    if (c->kind == SESSION)
        return model_row_session(model, key, time, has_value, value, text);
    int64_t slide = c->kind == TUMBLING ? c->size : c->slide;
    bool late = true;
    /* All starts offset + k * slide in (time - size, time], found the slow way. */
    for (int64_t start = time - c->size + 1; start <= time; start++) {
        if ((start - c->offset) % slide != 0)
            continue;
        if (start + c->size - 1 + c->lateness <= model->watermark)
            continue;
        late = false;
        struct result *r = model_result(model, key, start, start + c->size);
        result_add(r, has_value, value, text);
        r->dirty = r->end - 1 <= model->watermark;
    }
    return !late;
}

static int by_end(const void *a, const void *b)
{
    const struct result *x = a, *y = b;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return strcmp(x->key, y->key);
}

static void sort_results(struct model *model)
{
    if (model->count)
        qsort(model->results, (size_t)model->count, sizeof *model->results, by_end);
}

static void model_end_batch(struct model *model)
{
    sort_results(model);
    for (int i = 0; i < model->count; i++) {
        if (model->results[i].dirty)
            model_emit(model, &model->results[i]);
        model->results[i].dirty = false;
    }
}

static void model_watermark(struct model *model, int64_t watermark)
{
    sort_results(model);
    int kept = 0;
    for (int i = 0; i < model->count; i++) {
        struct result *r = &model->results[i];
        if (r->end - 1 <= watermark && r->end - 1 > model->watermark)
            model_emit(model, r);
        if (watermark == INT64_MAX || r->end - 1 + model->config->lateness <= watermark)
            continue;
        model->results[kept++] = *r;
    }
    model->count = kept;
    model->watermark = watermark;
}

/* --- Comparison of one step: the same lines in any order of keys, ends ascending */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *sorted(const char *text)
{
    int count = 0, at = 0;
    for (const char *p = text; *p; p++)
        count += *p == '\n';
    char *copy = strdup(text), *out = malloc(strlen(text) + 1);
    char **lines = calloc((size_t)count + 1, sizeof *lines);
    for (char *line = strtok(copy, "\n"); line; line = strtok(NULL, "\n"))
        lines[at++] = line;
    qsort(lines, (size_t)at, sizeof *lines, by_text);
    out[0] = 0;
    char *end = out;
    for (int i = 0; i < at; i++)
        end += sprintf(end, "%s\n", lines[i]);
    free(lines);
    free(copy);
    return out;
}

static void expect_same(const char *what, const char *config, const char *got, const char *expected)
{
    char *a = sorted(got), *b = sorted(expected ? expected : "");
    if (strcmp(a, b))
        fail_msg("%s, %s:\n--- got\n%s--- expected\n%s", config, what, a, b);
    free(a);
    free(b);
}

/* Window ends of the rows of one step never fall. */
static void expect_ends_ascend(const struct config *config, const char *rows)
{
    int column = config->key_type ? 2 : 1;
    char last[40] = "";
    for (const char *line = rows; *line; line = strchr(line, '\n') + 1) {
        const char *field = line;
        for (int i = 0; i < column; i++)
            field = strchr(field, '|') + 1;
        char end[40] = "";
        memcpy(end, field, strcspn(field, "|"));
        if (config->origin >= 0)
            assert_true(strcmp(last, end) <= 0);
        memcpy(last, end, sizeof last);
    }
}

/* --- One random run */

static const char *duration(int64_t ms, char out[32])
{
    snprintf(out, 32, "%lld ms", (long long)ms);
    return out;
}

struct reached {
    int late, again;
};

static void run(const struct config *config, const struct weir_harness_mode *mode, uint64_t seed,
                struct reached *reached)
{
    static const char *const types[] = {"tumbling", "sliding", "session"};
    static const char *const texts[] = {"", "pear", "fig", "apple", "quince-is-long", "b"};
    char size[32], slide[32], gap[32], offset[32], lateness[32], columns[128], aggregates[256];
    const char *options[24];
    int o = 0;
    options[o++] = "window.type", options[o++] = types[config->kind];
    options[o++] = "time.column", options[o++] = "ts";
    if (config->kind != SESSION) {
        options[o++] = "window.size", options[o++] = duration(config->size, size);
        options[o++] = "window.offset", options[o++] = duration(config->offset, offset);
    }
    if (config->kind == SLIDING)
        options[o++] = "window.slide", options[o++] = duration(config->slide, slide);
    if (config->kind == SESSION)
        options[o++] = "window.gap", options[o++] = duration(config->gap, gap);
    options[o++] = "window.allowed-lateness", options[o++] = duration(config->lateness, lateness);
    snprintf(
        aggregates, sizeof aggregates,
        "%swindow_start, window_end, COUNT(*) AS n, COUNT(v) AS vs, SUM(v) AS s, MIN(v) AS lo, MAX(v) AS hi, MIN(t) AS first_text",
        config->key_type ? "k, " : "");
    options[o++] = "aggregates", options[o++] = aggregates;
    options[o] = NULL;
    snprintf(columns, sizeof columns, "k %s, v BIGINT, t STRING, ts TIMESTAMP(3)",
             config->key_type ? config->key_type : "BIGINT");
    struct weir_harness_setup setup = {.op = &weir_op_window, .options = options, .inputs = {columns}};
    if (config->key_type)
        setup.key[0] = "k";
    struct weir_error error = {0};
    struct weir_harness *h = weir_harness_new(&setup, mode, &error);
    if (!h)
        fail_msg("%s: %s", config->name, error.message);

    struct model model = {.config = config, .watermark = INT64_MIN};
    size_t seen = 0, late_seen = 0;
    int64_t newest = config->origin, watermark = INT64_MIN;
    int key_count = 0;
    while (config->keys && config->keys[key_count])
        key_count++;
    int late_total = 0, again_total = 0;
    for (int step = 0; step < 60; step++) {
        bool is_watermark = random_below(&seed, 3) == 0;
        if (is_watermark) {
            int64_t next = newest - random_below(&seed, config->disorder + 1);
            if (random_below(&seed, 10) == 0)
                newest += 3 * (config->size + config->gap);
            if (next <= watermark)
                continue;
            watermark = next;
            assert_true(weir_harness_watermark(h, watermark));
            model_watermark(&model, watermark);
        } else {
            int rows = (int)random_below(&seed, mode->rows ? mode->rows : 40) + 1;
            char *text = NULL;
            size_t text_size = 0;
            for (int i = 0; i < rows; i++) {
                const char *key = config->keys ? config->keys[random_below(&seed, key_count)] : "1";
                newest += random_below(&seed, 1 + (config->size + config->gap) / 16);
                int64_t time = newest - (random_below(&seed, 4) ? random_below(&seed, config->disorder / 8 + 1)
                                                                : random_below(&seed, 2 * config->disorder + 1));
                bool has_value = random_below(&seed, 5) > 0;
                int64_t value = random_below(&seed, 2000) - 1000;
                const char *t = texts[random_below(&seed, 6)];
                char row[128], value_text[24];
                snprintf(value_text, sizeof value_text, "%lld", (long long)value);
                snprintf(row, sizeof row, "%s|%s|%s|%lld", key, has_value ? value_text : "null", t[0] ? t : "null",
                         (long long)time);
                add_line(&text, &text_size, row);
                if (!model_row(&model, config->key_type ? key : "", time, has_value, value, t)) {
                    char ts[40];
                    time_text(time, ts);
                    snprintf(row, sizeof row, "%s|%s|%s|%s", key, has_value ? value_text : "null", t[0] ? t : "null",
                             ts);
                    add_line(&model.late, &model.late_size, row);
                    late_total++;
                }
            }
            text[text_size - 1] = 0; /* no line after the last */
            assert_true(weir_harness_rows_in(h, 0, text));
            free(text);
            model_end_batch(&model);
            again_total += model.out_size > 0;
        }
        const char *out = weir_harness_rows(h, 0), *late = weir_harness_rows(h, 1);
        expect_same(is_watermark ? "results of a watermark" : "results again", config->name, out + seen, model.out);
        expect_ends_ascend(config, config->kind == SESSION && !is_watermark ? "" : out + seen);
        if (strcmp(late + late_seen, model.late ? model.late : ""))
            fail_msg("%s, late rows:\n--- got\n%s--- expected\n%s", config->name, late + late_seen,
                     model.late ? model.late : "");
        seen += model.out_size;
        late_seen += model.late_size;
        model.out_size = model.late_size = 0;
        if (model.out)
            model.out[0] = 0;
        if (model.late)
            model.late[0] = 0;
    }
    model_watermark(&model, INT64_MAX);
    assert_true(weir_harness_end(h));
    expect_same("results of the end", config->name, weir_harness_rows(h, 0) + seen, model.out);
    assert_int_equal(model.count, 0);
    reached->late += late_total;
    reached->again += again_total;
    weir_harness_free(h);
    free(model.results);
    free(model.out);
    free(model.late);
}

static const char *const number_keys[] = {"1", "-7", "0", "null", "123456789", NULL};
static const char *const small_keys[] = {"1", "-7", "0", "100", NULL};
static const char *const text_keys[] = {"a", "device-with-a-long-name-17", "null", "b", "", NULL};
static const char *const double_keys[] = {"0.5", "-1.25", "null", NULL};
static const char *const bool_keys[] = {"true", "false", NULL};
static const char *const one_key[] = {"7", NULL};

static const struct config configs[] = {
    {"tumbling", TUMBLING, .size = 100, .key_type = "BIGINT", .keys = number_keys, .disorder = 120,
     .origin = 1700000000000},
    {"tumbling, lateness", TUMBLING, .size = 100, .lateness = 70, .key_type = "STRING", .keys = text_keys,
     .disorder = 150},
    {"tumbling, offset, before 1970", TUMBLING, .size = 100, .offset = 33, .lateness = 1, .key_type = "INT NOT NULL",
     .keys = small_keys, .disorder = 150, .origin = -5000},
    {"tumbling of 1 ms", TUMBLING, .size = 1, .lateness = 3, .key_type = "SMALLINT", .keys = small_keys, .disorder = 9},
    {"tumbling, all rows", TUMBLING, .size = 64, .lateness = 64, .disorder = 150},
    {"sliding", SLIDING, .size = 100, .slide = 20, .key_type = "BIGINT NOT NULL", .keys = small_keys, .disorder = 150},
    {"sliding, odd", SLIDING, .size = 97, .slide = 31, .offset = 5, .lateness = 40, .key_type = "DOUBLE",
     .keys = double_keys, .disorder = 180},
    {"sliding, odd, before 1970", SLIDING, .size = 50, .slide = 49, .lateness = 200, .key_type = "BOOLEAN NOT NULL",
     .keys = bool_keys, .disorder = 190, .origin = -3000},
    {"sliding by 1 ms", SLIDING, .size = 13, .slide = 1, .lateness = 5, .key_type = "STRING NOT NULL",
     .keys = small_keys, .disorder = 30},
    {"sliding by its size", SLIDING, .size = 40, .slide = 40, .lateness = 10, .key_type = "TINYINT", .keys = small_keys,
     .disorder = 80},
    {"sliding, all rows", SLIDING, .size = 60, .slide = 25, .lateness = 30, .disorder = 120},
    {"sessions", SESSION, .gap = 20, .key_type = "BIGINT", .keys = number_keys, .disorder = 150},
    {"sessions, lateness", SESSION, .gap = 11, .lateness = 60, .key_type = "STRING", .keys = text_keys,
     .disorder = 150},
    {"sessions, one key, much lateness", SESSION, .gap = 3, .lateness = 500, .key_type = "INT NOT NULL",
     .keys = one_key, .disorder = 400},
    {"sessions, before 1970", SESSION, .gap = 40, .lateness = 1, .key_type = "DOUBLE", .keys = double_keys,
     .disorder = 150, .origin = -2000},
    {"sessions, all rows", SESSION, .gap = 2, .lateness = 15, .disorder = 120},
};

static void against_the_model(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        struct reached reached = {0};
        for (int m = 0; weir_harness_modes[m].name; m++) {
            for (uint64_t seed = 1; seed <= 4; seed++)
                run(&configs[i], &weir_harness_modes[m], seed * 1000 + i, &reached);
        }
        print_message("             %s: %d late rows, results again after %d batches\n", configs[i].name, reached.late,
                      reached.again);
        assert_true(reached.late > 20); /* or it does not test what it says */
        assert_true(configs[i].lateness <= 1 || reached.again > 20);
    }
}

/* --- Single cases */

#define INPUT "k BIGINT NOT NULL, v BIGINT, ts TIMESTAMP(3)"

static struct weir_harness *open_window(const char *const *options, const struct weir_harness_mode *mode, bool keyed)
{
    static struct weir_harness_setup setup;
    setup = (struct weir_harness_setup){.op = &weir_op_window, .options = options, .inputs = {INPUT}, .now_ms = 1000};
    if (keyed)
        setup.key[0] = "k";
    struct weir_error error = {0};
    struct weir_harness *h = weir_harness_new(&setup, mode, &error);
    if (!h)
        fail_msg("%s", error.message);
    return h;
}

static void expect_refused(const char *input, bool keyed, int parallelism, const char *const *options,
                           const char *sentence)
{
    struct weir_harness_setup setup = {
        .op = &weir_op_window, .options = options, .inputs = {input}, .parallelism = parallelism};
    if (keyed)
        setup.key[0] = "k";
    struct weir_error error = {0};
    struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[0], &error);
    if (h)
        fail_msg("accepted, where this was expected: %s", sentence);
    if (!strstr(error.message, sentence))
        fail_msg("got:      %s\nexpected: %s", error.message, sentence);
}

#define OPTIONS(...) \
    (const char *const[]) \
    { \
        __VA_ARGS__, NULL \
    }
#define COUNT_ALL "aggregates", "k, window_start, window_end, COUNT(*) AS n"
#define TIME "time.column", "ts"

static void bad_options(void **state)
{
    (void)state;
    expect_refused(INPUT, true, 1, OPTIONS("window.size", "10 s", COUNT_ALL, TIME), "window.type");
    expect_refused(INPUT, true, 1, OPTIONS("window.type", "hopping", "window.size", "10 s", COUNT_ALL, TIME),
                   "tumbling|sliding|session");
    expect_refused(INPUT, true, 1, OPTIONS("window.type", "tumbling", COUNT_ALL, TIME), "needs 'window.size'");
    expect_refused(INPUT, true, 1, OPTIONS("window.type", "tumbling", "window.size", "0 s", COUNT_ALL, TIME),
                   "at least 1 ms");
    expect_refused(INPUT, true, 1, OPTIONS("window.type", "tumbling", "window.size", "ten", COUNT_ALL, TIME),
                   "not a duration");
    expect_refused(INPUT, true, 1,
                   OPTIONS("window.type", "tumbling", "window.size", "1 s", "window.slide", "1 s", COUNT_ALL, TIME),
                   "a tumbling window has no 'window.slide'");
    expect_refused(INPUT, true, 1,
                   OPTIONS("window.type", "tumbling", "window.size", "1 s", "window.gap", "1 s", COUNT_ALL, TIME),
                   "a tumbling window has no 'window.gap'");
    expect_refused(INPUT, true, 1, OPTIONS("window.type", "sliding", "window.size", "10 s", COUNT_ALL, TIME),
                   "needs 'window.slide'");
    expect_refused(INPUT, true, 1,
                   OPTIONS("window.type", "sliding", "window.size", "10 s", "window.slide", "11 s", COUNT_ALL, TIME),
                   "longer than 'window.size'");
    expect_refused(INPUT, true, 1,
                   OPTIONS("window.type", "sliding", "window.size", "10 d", "window.slide", "1 ms", COUNT_ALL, TIME),
                   "at most 10000 are possible");
    expect_refused(INPUT, true, 1, OPTIONS("window.type", "session", COUNT_ALL, TIME), "needs 'window.gap'");
    expect_refused(INPUT, true, 1,
                   OPTIONS("window.type", "session", "window.gap", "1 s", "window.size", "1 s", COUNT_ALL, TIME),
                   "a session window has no 'window.size'");
    expect_refused(INPUT, true, 1,
                   OPTIONS("window.type", "session", "window.gap", "1 s", "window.offset", "1 s", COUNT_ALL, TIME),
                   "a session window has no 'window.offset'");
    expect_refused(INPUT, true, 1,
                   OPTIONS("window.type", "tumbling", "window.size", "1 s", "window.offset", "-1 s", COUNT_ALL, TIME),
                   "must be shorter than the window");
    expect_refused(INPUT, true, 1,
                   OPTIONS("window.type", "tumbling", "window.size", "1 s", "window.offset", "- x", COUNT_ALL, TIME),
                   "'window.offset' is not a duration");
    expect_refused(INPUT, true, 1, OPTIONS("window.type", "tumbling", "window.size", "1 s", COUNT_ALL),
                   "needs a watermark strategy");
    expect_refused(INPUT, true, 1,
                   OPTIONS("window.type", "tumbling", "window.size", "1 s", COUNT_ALL, "time.column", "tss"),
                   "did you mean 'ts'?");
    expect_refused(INPUT, true, 1,
                   OPTIONS("window.type", "tumbling", "window.size", "1 s", COUNT_ALL, "time.column", "v"),
                   "is BIGINT, and must be TIMESTAMP");
    expect_refused(INPUT, true, 1,
                   OPTIONS("window.type", "tumbling", "window.size", "1 s", COUNT_ALL, "window.time", "processing",
                           "window.allowed-lateness", "1 s"),
                   "no row is late");
    expect_refused(INPUT, true, 1,
                   OPTIONS("window.type", "tumbling", "window.size", "1 s", "aggregates", "k, MEDIAN(v) AS m", TIME),
                   "aggregates, column 11: ");
    expect_refused(INPUT, true, 1,
                   OPTIONS("window.type", "tumbling", "window.size", "1 s", "aggregates", "k, SUM(w)", TIME), "w");
    expect_refused(INPUT, true, 1,
                   OPTIONS("window.type", "tumbling", "window.size", "1 s", "window.length", "1 s", COUNT_ALL, TIME),
                   "window.length");
    expect_refused(INPUT, false, 2,
                   OPTIONS("window.type", "tumbling", "window.size", "1 s", "aggregates", "COUNT(*) AS n", TIME),
                   "parallelism 1");
}

static void rows_without_a_time(void **state)
{
    (void)state;
    const char *const fails[] = {"window.type", "tumbling", "window.size", "10 ms", COUNT_ALL, TIME, NULL};
    const char *const skips[] = {"window.type", "tumbling", "window.size", "10 ms", COUNT_ALL,
                                 TIME,          "on-error", "skip",        NULL};
    const char *const bad[] = {"1|5|4\n2|5|null", "2|1|4611686018427387905", "3|1|-4611686018427387905",
                               "3|1|9223372036854775807", "3|1|-9223372036854775808"};
    const char *const why[] = {"is NULL", "146 million years", "146 million years", "146 million years",
                               "146 million years"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct weir_harness *h = open_window(fails, &weir_harness_modes[0], true);
        assert_false(weir_harness_rows_in(h, 0, bad[i]));
        if (!strstr(weir_harness_error(h), why[i]))
            fail_msg("%s", weir_harness_error(h));
        assert_int_equal(weir_harness_bad(h), 1);
        weir_harness_free(h);
        h = open_window(skips, &weir_harness_modes[0], true);
        assert_true(weir_harness_rows_in(h, 0, bad[i]));
        assert_true(weir_harness_rows_in(h, 0, "9|9|9"));
        assert_int_equal(weir_harness_bad(h), 1);
        assert_true(weir_harness_end(h));
        assert_int_equal(weir_harness_row_count(h, 0), i == 0 ? 2 : 1);
        weir_harness_free(h);
    }
}

static void rows_whose_argument_fails(void **state)
{
    (void)state;
    const char *const fails[] = {"window.type",         "tumbling", "window.size", "10 ms", "aggregates",
                                 "k, SUM(10 / v) AS s", TIME,       NULL};
    const char *const skips[] = {"window.type",         "tumbling", "window.size", "10 ms", "aggregates",
                                 "k, SUM(10 / v) AS s", TIME,       "on-error",    "skip",  NULL};
    struct weir_harness *h = open_window(fails, &weir_harness_modes[0], true);
    assert_false(weir_harness_rows_in(h, 0, "1|5|4\n1|0|4\n1|2|4"));
    assert_non_null(strstr(weir_harness_error(h), "zero"));
    assert_int_equal(weir_harness_bad(h), 1);
    weir_harness_free(h);
    h = open_window(skips, &weir_harness_modes[0], true);
    assert_true(weir_harness_rows_in(h, 0, "1|5|4\n1|0|4\n1|2|4\n1|0|5"));
    assert_true(weir_harness_rows_in(h, 0, "1|0|4"));
    assert_true(weir_harness_end(h));
    assert_int_equal(weir_harness_bad(h), 3);
    assert_string_equal(weir_harness_rows(h, 0), "1|7\n");
    weir_harness_free(h);
}

/* The outermost times that are accepted, with the longest windows. */
static void far_times(void **state)
{
    (void)state;
    static const char *const types[][10] = {
        {"window.type", "tumbling", "window.size", "9007199254740992", NULL},
        {"window.type", "sliding", "window.size", "9007199254740991", "window.slide", "9007199254740000", NULL},
        {"window.type", "session", "window.gap", "9007199254740992", NULL},
        {"window.type", "tumbling", "window.size", "1", NULL},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const char *options[20];
        int o = 0;
        for (; types[i][o]; o++)
            options[o] = types[i][o];
        options[o++] = "aggregates", options[o++] = "k, COUNT(*) AS n";
        options[o++] = "time.column", options[o++] = "ts";
        options[o++] = "window.allowed-lateness", options[o++] = "9007199254740992";
        options[o] = NULL;
        struct weir_harness *h = open_window(options, &weir_harness_modes[0], true);
        assert_true(weir_harness_rows_in(h, 0, "1|1|-4611686018427387904\n2|1|4611686018427387904"));
        assert_true(weir_harness_watermark(h, INT64_MIN + 1));
        assert_int_equal(weir_harness_row_count(h, 0), 0);
        assert_true(weir_harness_watermark(h, 0));
        assert_int_equal(weir_harness_row_count(h, 0), 1);
        assert_true(weir_harness_rows_in(h, 0, "1|1|-4611686018427387904"));
        assert_int_equal(weir_harness_row_count(h, 1), 1);
        assert_true(weir_harness_watermark(h, INT64_MAX - 1));
        assert_true(weir_harness_rows_in(h, 0, "2|1|4611686018427387904"));
        assert_int_equal(weir_harness_row_count(h, 1), 2);
        assert_true(weir_harness_end(h));
        /* One result a row; a row where two sliding windows overlap is in both. */
        assert_in_range(weir_harness_row_count(h, 0), 2, i == 1 ? 4 : 2);
        weir_harness_free(h);
    }
}

static void late_rows_that_nobody_takes(void **state)
{
    (void)state;
    const char *const options[] = {"window.type", "tumbling", "window.size", "10 ms", COUNT_ALL, TIME, NULL};
    struct weir_harness_setup setup = {
        .op = &weir_op_window, .options = options, .inputs = {INPUT}, .key = {"k"}, .no_sides = true};
    struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[0], NULL);
    assert_non_null(h);
    assert_true(weir_harness_watermark(h, 19));
    assert_true(weir_harness_rows_in(h, 0, "1|1|19\n1|1|20\n1|1|3"));
    assert_int_equal(weir_harness_late(h), 2);
    assert_true(weir_harness_end(h));
    assert_string_equal(weir_harness_rows(h, 0), "1|1970-01-01 00:00:00.020|1970-01-01 00:00:00.030|1\n");
    weir_harness_free(h);
}

static void negative_offset(void **state)
{
    (void)state;
    const char *const options[] = {"window.type", "tumbling", "window.size", "1 d", "window.offset",
                                   "-8 h",        COUNT_ALL,  TIME,          NULL};
    struct weir_harness *h = open_window(options, &weir_harness_modes[0], true);
    assert_true(weir_harness_rows_in(h, 0, "1|1|2024-05-01 15:59:59\n1|1|2024-05-01 16:00:00"));
    assert_true(weir_harness_end(h));
    assert_string_equal(weir_harness_rows(h, 0), "1|2024-04-30 16:00:00.000|2024-05-01 16:00:00.000|1\n"
                                                 "1|2024-05-01 16:00:00.000|2024-05-02 16:00:00.000|1\n");
    weir_harness_free(h);
}

static void processing_scenario(struct weir_harness *h, void *arg)
{
    (void)arg;
    /* now = 1000 */
    assert_true(weir_harness_rows_in(h, 0, "1|1|null\n2|1|null\n1|1|5"));
    assert_int_equal(weir_harness_timer(h), 1500);
    assert_true(weir_harness_watermark(h, 5000)); /* means nothing here */
    assert_int_equal(weir_harness_row_count(h, 0), 0);
    assert_true(weir_harness_advance(h, 1499));
    assert_true(weir_harness_rows_in(h, 0, "2|1|null"));
    assert_int_equal(weir_harness_row_count(h, 0), 0);
    assert_true(weir_harness_advance(h, 1500));
    assert_int_equal(weir_harness_row_count(h, 0), 2);
    assert_int_equal(weir_harness_timer(h), INT64_MAX);
    assert_true(weir_harness_rows_in(h, 0, "2|1|null"));
    assert_int_equal(weir_harness_timer(h), 2000);
    assert_true(weir_harness_end(h)); /* does not wait for 2000 */
}

static void processing_check(struct weir_harness *h, void *arg)
{
    (void)arg;
    char *rows = sorted(weir_harness_rows(h, 0));
    assert_string_equal(rows, "1|1970-01-01 00:00:01.000|1970-01-01 00:00:01.500|2\n"
                              "2|1970-01-01 00:00:01.000|1970-01-01 00:00:01.500|2\n"
                              "2|1970-01-01 00:00:01.500|1970-01-01 00:00:02.000|1\n");
    free(rows);
}

static void processing_time(void **state)
{
    (void)state;
    const char *const options[] = {"window.type", "tumbling",   "window.size", "500 ms",
                                   "window.time", "processing", COUNT_ALL,     NULL};
    struct weir_harness_setup setup = {
        .op = &weir_op_window, .options = options, .inputs = {INPUT}, .key = {"k"}, .now_ms = 1000, .unordered = true};
    weir_harness_all_modes(&setup, processing_scenario, processing_check, NULL);
}

static void processing_session_scenario(struct weir_harness *h, void *arg)
{
    (void)arg;
    assert_true(weir_harness_rows_in(h, 0, "1|1|null"));
    assert_true(weir_harness_advance(h, 1060));
    assert_true(weir_harness_rows_in(h, 0, "1|1|null"));
    assert_true(weir_harness_advance(h, 1159));
    assert_int_equal(weir_harness_row_count(h, 0), 0);
    assert_true(weir_harness_advance(h, 1160));
    assert_string_equal(weir_harness_rows(h, 0), "1|1970-01-01 00:00:01.000|1970-01-01 00:00:01.160|2\n");
    assert_true(weir_harness_rows_in(h, 0, "1|1|null"));
    assert_true(weir_harness_end(h));
    assert_int_equal(weir_harness_row_count(h, 0), 2);
}

static void processing_time_sessions(void **state)
{
    (void)state;
    const char *const options[] = {"window.type", "session",    "window.gap", "100 ms",
                                   "window.time", "processing", COUNT_ALL,    NULL};
    struct weir_harness_setup setup = {
        .op = &weir_op_window, .options = options, .inputs = {INPUT}, .key = {"k"}, .now_ms = 1000};
    weir_harness_all_modes(&setup, processing_session_scenario, NULL, NULL);
}

/* Two windows, 10,000 keys, first and last values: results in more than one batch, the watermark behind the last. */
static void many_keys_scenario(struct weir_harness *h, void *arg)
{
    (void)arg;
    struct weir_schema *schema = weir_harness_input_schema(h, 0);
    for (int first = 0; first < 20000; first += 4000) {
        struct weir_batch *batch = weir_batch_new(schema, 4000);
        for (int i = 0; i < 4000; i++) {
            batch->columns[0].i64[i] = (first + i) % 10000;
            batch->columns[1].i64[i] = first + i;
            batch->columns[2].i64[i] = (first + i) % 7 == 0 ? 15 : 5;
        }
        batch->row_count = 4000;
        assert_true(weir_harness_batch(h, 0, batch));
    }
    assert_true(weir_harness_watermark(h, 100));
    assert_true(weir_harness_end(h));
}

static void many_keys_check(struct weir_harness *h, void *arg)
{
    int *expected = arg;
    assert_int_equal(weir_harness_row_count(h, 0), *expected);
    const char *trace = weir_harness_trace(h, 0);
    const char *watermark = strstr(trace, "W 100\n");
    assert_non_null(watermark);
    assert_string_equal(watermark, "W 100\nW max\n");
    char line[64];
    for (int key = 0; key < 10000; key += 611) {
        int early = key % 7 == 0 ? key + 10000 : key;
        if (key % 7 != 0 && (key + 10000) % 7 != 0)
            snprintf(line, sizeof line, "%d|2|%d|%d\n", key, key, key + 10000);
        else
            snprintf(line, sizeof line, "%d|1|%d|%d\n", key, early, early);
        if (!strstr(weir_harness_rows(h, 0), line))
            fail_msg("not there: %s", line);
    }
}

/* --- Another parallelism: each subtask takes the entries of its key groups from all parts that it is given */

/* Rows of all harnesses, sorted; they are ended and freed. */
static char *results_of(struct weir_harness **harnesses, int count)
{
    char *lines[2000];
    int line_count = 0;
    for (int h = 0; h < count; h++) {
        assert_true(weir_harness_end(harnesses[h]));
        char *text = weir_strdup(weir_harness_rows(harnesses[h], 0)), *rest = NULL;
        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
            assert_true(line_count < 2000);
            lines[line_count++] = weir_strdup(line);
        }
        free(text);
        weir_harness_free(harnesses[h]);
    }
    qsort(lines, (size_t)line_count, sizeof *lines, by_text);
    struct weir_buf all;
    weir_buf_init(&all, 1 << 20);
    for (int l = 0; l < line_count; l++) {
        assert_true(weir_buf_printf(&all, "%s\n", lines[l]));
        free(lines[l]);
    }
    return (char *)all.data;
}

static void open_all(struct weir_harness_setup *setup, int parallelism, const struct weir_restored *restored,
                     struct weir_harness **out)
{
    struct weir_error error;
    setup->parallelism = parallelism;
    setup->restored = restored;
    for (int s = 0; s < parallelism; s++) {
        setup->subtask = s;
        out[s] = weir_harness_new(setup, &weir_harness_modes[0], &error);
        if (!out[s])
            fail_msg("%s", error.message);
    }
}

static void give_rows(struct weir_harness **harnesses, int parallelism, int round)
{
    for (int key = 0; key < 300; key++) {
        char row[64];
        snprintf(row, sizeof row, "%d|%d|%d", key, key * 3 + round, 5 + round * 7 + key % 3);
        struct weir_schema *schema = weir_harness_input_schema(harnesses[0], 0);
        struct weir_batch *batch = weir_harness_batch_of(schema, row);
        struct weir_key_spec spec;
        const char *column = "k";
        uint64_t hash;
        assert_int_equal(weir_key_spec_resolve(schema, &column, 1, &spec, NULL), 0);
        weir_key_hash(batch, &spec, &hash);
        int group = weir_key_group(hash, WEIR_MAX_PARALLELISM_DEFAULT);
        assert_true(weir_harness_batch(
            harnesses[weir_key_group_subtask(group, WEIR_MAX_PARALLELISM_DEFAULT, parallelism)], 0, batch));
    }
}

static void rescaled(const char *const *options, int from, int to)
{
    struct weir_harness_setup setup = {.op = &weir_op_window, .options = options, .inputs = {INPUT}, .key = {"k"}};
    struct weir_harness *plain[1], *before[8], *after[8];
    open_all(&setup, 1, NULL, plain);
    give_rows(plain, 1, 0);
    give_rows(plain, 1, 1);
    char *want = results_of(plain, 1);
    open_all(&setup, from, NULL, before);
    give_rows(before, from, 0);
    struct weir_restored *restored = weir_restored_new(1);
    for (int s = 0; s < from; s++) {
        struct weir_snapshot *snapshot = weir_harness_snapshot(before[s], 1, 0);
        for (const struct weir_snapshot_part *part = snapshot->parts; part; part = part->next) {
            uint8_t *bytes = weir_alloc(part->bytes.size);
            memcpy(bytes, part->bytes.data, part->bytes.size);
            weir_restored_add(restored, part->uid, part->name, part->kind, s, from, bytes, part->bytes.size);
        }
        weir_snapshot_free(snapshot);
        weir_harness_free(before[s]);
    }
    open_all(&setup, to, restored, after);
    weir_restored_free(restored);
    give_rows(after, to, 1);
    char *got = results_of(after, to);
    assert_true(strlen(got) > 3000);
    assert_string_equal(got, want);
    free(want);
    free(got);
}

static void another_parallelism(void **state)
{
    (void)state;
    const char *const tumbling[] = {"window.type", "tumbling",
                                    "window.size", "10 ms",
                                    "aggregates",  "k, window_end, COUNT(*) AS n, SUM(v) AS s, MAX(v) AS z",
                                    TIME,          NULL};
    const char *const sessions[] = {"window.type", "session",
                                    "window.gap",  "10 ms",
                                    "aggregates",  "k, window_start, window_end, COUNT(*) AS n, LAST_VALUE(v) AS z",
                                    TIME,          NULL};
    rescaled(tumbling, 2, 3);
    rescaled(tumbling, 3, 1);
    rescaled(sessions, 2, 3);
    rescaled(sessions, 5, 2);
}

static void many_keys(void **state)
{
    (void)state;
    const char *const options[] = {"window.type", "tumbling",
                                   "window.size", "10 ms",
                                   "aggregates",  "k, COUNT(*) AS n, FIRST_VALUE(v) AS a, LAST_VALUE(v) AS z",
                                   TIME,          NULL};
    /* Within a window the order is the table's, the same in all modes; a restored table would be another one. */
    struct weir_harness_setup setup = {
        .op = &weir_op_window, .options = options, .inputs = {INPUT}, .key = {"k"}, .no_restore = true};
    int expected = 0;
    for (int key = 0; key < 10000; key++)
        expected += 1 + ((key % 7 == 0) != ((key + 10000) % 7 == 0));
    weir_harness_all_modes(&setup, many_keys_scenario, many_keys_check, &expected);
}

/* A batch whose rows are all in windows of their own. */
static void a_window_per_row(void **state)
{
    (void)state;
    const char *const options[] = {
        "window.type", "tumbling", "window.size", "10 ms", "aggregates", "window_start, COUNT(*) AS n", TIME, NULL};
    struct weir_harness *h = open_window(options, &weir_harness_modes[0], true);
    for (int round = 0; round < 3; round++) {
        struct weir_batch *batch = weir_batch_new(weir_harness_input_schema(h, 0), 4096);
        for (int i = 0; i < 4096; i++) {
            batch->columns[0].i64[i] = 1;
            batch->columns[1].i64[i] = 1;
            batch->columns[2].i64[i] = (int64_t)(i * 2731 % 4096) * 10 + round;
        }
        batch->row_count = 4096;
        assert_true(weir_harness_batch(h, 0, batch));
    }
    assert_true(weir_harness_end(h));
    assert_int_equal(weir_harness_row_count(h, 0), 4096);
    const char *row = weir_harness_rows(h, 0);
    for (int i = 0; i < 4096; i++, row = strchr(row, '\n') + 1) {
        char start[40], line[64];
        time_text(i * 10, start);
        int size = snprintf(line, sizeof line, "%s|3\n", start);
        assert_memory_equal(row, line, (size_t)size);
    }
    weir_harness_free(h);
}

/* Sessions of keys that never come again: what the operator holds stays small. */
static void session_churn(void **state)
{
    (void)state;
    const char *const options[] = {
        "window.type", "session", "window.gap", "10 ms", "aggregates", "k, MIN(s) AS s, COUNT(*) AS n", TIME, NULL};
    struct weir_harness_setup setup = {.op = &weir_op_window,
                                       .options = options,
                                       .inputs = {"k STRING NOT NULL, s STRING, ts TIMESTAMP(3)"},
                                       .key = {"k"}};
    struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[0], NULL);
    assert_non_null(h);
    struct weir_schema *schema = weir_harness_input_schema(h, 0);
    int key = 0;
    for (int round = 0; round < 300; round++) {
        struct weir_batch *batch = weir_batch_new(schema, 500);
        for (int i = 0; i < 500; i++, key++) {
            char text[64];
            int size = snprintf(text, sizeof text, "a-key-that-is-not-inline-%09d", key);
            weir_column_set_bytes(&batch->columns[0], i, text, (size_t)size);
            weir_column_set_bytes(&batch->columns[1], i, text, (size_t)size);
            batch->columns[2].i64[i] = round;
        }
        batch->row_count = 500;
        assert_true(weir_harness_batch(h, 0, batch));
        assert_true(weir_harness_watermark(h, round));
    }
    assert_true(weir_harness_end(h));
    assert_int_equal(weir_harness_row_count(h, 0), 150000);
    assert_non_null(
        strstr(weir_harness_rows(h, 0), "a-key-that-is-not-inline-000149999|a-key-that-is-not-inline-000149999|1\n"));
    weir_harness_free(h);
}

/* Rows that are late leave no trace of their keys. */
static void late_keys_are_not_kept(void **state)
{
    (void)state;
    const struct weir_key_value options[] = {
        {"window.type", "session"}, {"window.gap", "10 ms"}, {"aggregates", "k, COUNT(*) AS n"}, {"time.column", "ts"}};
    struct weir_schema *schema;
    assert_int_equal(weir_schema_parse(INPUT, &schema, NULL), WEIR_OK);
    struct weir_op_plan plan = {.name = "w",
                                .uid = "w",
                                .options = options,
                                .option_count = 4,
                                .input_count = 1,
                                .inputs = {schema},
                                .key = {1, {0}},
                                .keyed = true};
    uint64_t bad = 0, late = 0;
    struct weir_op_ctx ctx = {
        .plan = &plan, .parallelism = 1, .num_records_bad = &bad, .num_late_records_dropped = &late};
    struct weir_window *window = weir_zalloc(weir_op_window.size);
    struct weir_op *op = (struct weir_op *)window;
    assert_int_equal(weir_op_window.plan(&plan, NULL), WEIR_OK);
    assert_int_equal(weir_op_window.open(op, &ctx, NULL), WEIR_OK);
    assert_int_equal(weir_op_window.watermark(op, &ctx, 100), WEIR_STEP_DONE);
    struct weir_batch *batch = weir_harness_batch_of(schema, "1|1|50\n2|1|200\n3|1|60\n1|1|70\n4|1|92\n5|1|91");
    assert_int_equal(weir_op_window.batch(op, &ctx, 0, batch), WEIR_STEP_DONE);
    assert_int_equal(late, 4);
    assert_int_equal(weir_state_entry_count(window->sessions), 2);
    weir_op_window.close(op, &ctx, false);
    weir_batch_unref(batch);
    weir_schema_unref(plan.output);
    weir_schema_unref(plan.sides[0]);
    weir_schema_unref(schema);
    free(window);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_the_model),
        cmocka_unit_test(bad_options),
        cmocka_unit_test(rows_without_a_time),
        cmocka_unit_test(rows_whose_argument_fails),
        cmocka_unit_test(far_times),
        cmocka_unit_test(late_rows_that_nobody_takes),
        cmocka_unit_test(negative_offset),
        cmocka_unit_test(processing_time),
        cmocka_unit_test(processing_time_sessions),
        cmocka_unit_test(another_parallelism),
        cmocka_unit_test(many_keys),
        cmocka_unit_test(a_window_per_row),
        cmocka_unit_test(session_churn),
        cmocka_unit_test(late_keys_are_not_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
