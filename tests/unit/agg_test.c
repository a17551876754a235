/* Aggregates: types and errors of the list, results against a plain model (random rows, groups, filters, NULLs, batch sizes
 * around the word size, rows picked and repeated), merging. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "expr/agg.h"

static uint64_t seed = 7;
static uint32_t rnd(uint32_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % below;
}

static struct weir_schema *schema_of(const char *text)
{
    struct weir_schema *schema;
    struct weir_error error;
    if (weir_schema_parse(text, &schema, &error))
        fail_msg("%s", error.message);
    return schema;
}

#define COLUMNS "k INT NOT NULL, n INT, t TINYINT, x DOUBLE, f FLOAT, p BOOLEAN, s STRING, ts TIMESTAMP(3), key2 STRING"

static struct weir_key_spec key_spec(const struct weir_schema *schema, int count)
{
    const char *const names[] = {"k", "key2"};
    struct weir_key_spec spec = {0};
    if (count > 0)
        assert_int_equal(weir_key_spec_resolve(schema, names, count, &spec, NULL), 0);
    return spec;
}

static void test_types(void **state)
{
    (void)state;
    static const struct {
        const char *text, *types;
    } cases[] = {
        {"COUNT(*)", "EXPR$0 BIGINT NOT NULL"},
        {"k, COUNT(n) AS c", "k INT NOT NULL, c BIGINT NOT NULL"},
        {"SUM(n) s, SUM(t) AS st, SUM(x) AS sx", "s INT, st TINYINT, sx DOUBLE"},
        {"MIN(s) AS a, MAX(ts) AS b, FIRST_VALUE(p) AS c, LAST(f) AS d",
         "a STRING, b TIMESTAMP(3), c BOOLEAN, d FLOAT"},
        {"AVG(n) AS a, AVG(x) AS b", "a INT, b DOUBLE"},
        {"window_start, window_end", "window_start TIMESTAMP(3) NOT NULL, window_end TIMESTAMP(3) NOT NULL"},
        {"SUM(n) / COUNT(*) AS m, k + 1 AS k1", "m BIGINT, k1 INT NOT NULL"},
        {"COUNT(*) FILTER (WHERE p AND x > 5) AS hot", "hot BIGINT NOT NULL"},
        {"CASE WHEN COUNT(*) > 1 THEN MAX(n + 1) ELSE 0 END AS v, 'x' AS c", "v INT, c STRING NOT NULL"},
    };
    struct weir_schema *schema = schema_of(COLUMNS);
    struct weir_key_spec keys = key_spec(schema, 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct weir_agg *agg;
        struct weir_expr_error error;
        struct weir_buf text;
        if (weir_agg_compile(cases[i].text, schema, &keys, true, &agg, &error))
            fail_msg("%s: %s", cases[i].text, error.error.message);
        weir_buf_init(&text, 4096);
        assert_true(weir_schema_print(weir_agg_schema(agg), &text));
        assert_string_equal((char *)text.data, cases[i].types);
        assert_int_equal(weir_agg_accumulator_size(agg) % 8, 0);
        weir_buf_fini(&text);
        weir_agg_free(agg);
    }
    weir_schema_unref(schema);
}

static void test_errors(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int column;
        const char *part;
    } cases[] = {
        {"n", 1, "'n' is no key"},
        {"k, MAX(n) + x", 13, "'x' is no key"},
        {"COUNT(*), foo", 11, "there is no column 'foo'"},
        {"MAX(nn)", 5, "did you mean 'n'"},
        {"SUM(s)", 1, "SUM needs a number, this is STRING"},
        {"AVG(p)", 1, "AVG needs a number"},
        {"MAX(MIN(n))", 5, "not inside another aggregate"},
        {"COUNT(*) FILTER (WHERE n)", 24, "FILTER needs a BOOLEAN"},
        {"COUNT(DISTINCT n)", 7, "DISTINCT"},
        {"COUNT(*) FILTER n", 17, "'('"},
        {"SUM(*)", 5, "an expression"},
        {"*", 1, "name them"},
        {"k, k", 4, "two columns 'k'"},
        {"SUM()", 5, "an expression"},
        {"COUNT(*) AS c, COUNT(*) AS c", 16, "two columns"},
        {"window_star", 1, "did you mean window_start"},
        {"", 1, "the text ends"},
    };
    struct weir_schema *schema = schema_of(COLUMNS);
    struct weir_key_spec keys = key_spec(schema, 1);
    struct weir_agg *agg;
    struct weir_expr_error error;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        weir_err err = weir_agg_compile(cases[i].text, schema, &keys, true, &agg, &error);
        if (!err || error.column != cases[i].column || !strstr(error.error.message, cases[i].part) || agg)
            fail_msg("%s: column %d, %s", cases[i].text, error.column, err ? error.error.message : "compiles");
    }
    assert_int_equal(weir_agg_compile("window_start, COUNT(*)", schema, &keys, false, &agg, &error), WEIR_ERR_INVALID);
    assert_non_null(strstr(error.error.message, "only in a window"));
    weir_schema_unref(schema);
}

/* --- Against a model */

#define GROUPS 5
struct model { /* of one group */
    int64_t rows, n_count, hot;
    int64_t n_sum, n_hot, n_hot_count;
    int n_min, n_max, n_first, n_last;
    int8_t t_sum;
    double x_sum, x_min, x_max;
    int64_t x_count;
    bool p_max, p_seen;
    char s_min[32], s_last[32];
    bool s_seen;
};
#define LIST \
    "k, window_start, COUNT(*) AS c, COUNT(n) AS nc, SUM(n) AS ns, MIN(n) AS nmin, MAX(n) AS nmax, FIRST(n) AS nf, " \
    "LAST(n) AS nl, SUM(t) AS st, AVG(x) AS xa, MIN(x) AS xmin, MAX(x) AS xmax, MAX(p) AS pm, MIN(s) AS smin, " \
    "LAST_VALUE(s) AS sl, COUNT(*) FILTER (WHERE x > 0) AS hot, SUM(n) * 2 + COUNT(*) AS e, AVG(n) AS na, " \
    "window_end, key2, SUM(n) FILTER (WHERE x > 0) AS nhot, COUNT(n) FILTER (WHERE x > 0) AS chot"

static struct weir_batch *random_batch(struct weir_schema *schema, int rows)
{
    struct weir_batch *batch = weir_batch_new(schema, rows);
    for (int i = 0; i < rows; i++) {
        batch->columns[0].i32[i] = (int32_t)rnd(GROUPS);
        for (int c = 1; c < schema->field_count; c++) {
            struct weir_column *column = &batch->columns[c];
            if (c != 8 && rnd(3) == 0) {
                weir_column_set_null(column, i, rows);
                continue;
            }
            char text[32];
            switch (column->type) {
            case WEIR_TYPE_INT32:
                column->i32[i] = (int32_t)rnd(2000) - 1000;
                break;
            case WEIR_TYPE_INT8:
                column->i8[i] = (int8_t)rnd(256);
                break;
            case WEIR_TYPE_DOUBLE:
                column->f64[i] = (double)((int)rnd(2000) - 1000) / 4;
                break;
            case WEIR_TYPE_FLOAT:
                column->f32[i] = (float)rnd(100);
                break;
            case WEIR_TYPE_BOOLEAN:
                weir_bit_put(column->bits, i, rnd(2));
                break;
            case WEIR_TYPE_STRING:
                snprintf(text, sizeof text, c == 8 ? "key" : "%.*s%u", (int)rnd(20), "zzzzzzzzzzzzzzzzzzzzz",
                         rnd(1000));
                weir_column_set_bytes(column, i, text, strlen(text));
                break;
            default:
                column->i64[i] = rnd(100000);
            }
        }
        batch->row_count = i + 1;
    }
    return batch;
}

static void model_add(struct model *m, const struct weir_batch *batch, int row)
{
    const struct weir_column *c = batch->columns;
    m->rows++;
    if (!weir_column_is_null(&c[1], row)) {
        int n = c[1].i32[row];
        m->n_min = m->n_count == 0 || n < m->n_min ? n : m->n_min;
        m->n_max = m->n_count == 0 || n > m->n_max ? n : m->n_max;
        m->n_first = m->n_count == 0 ? n : m->n_first;
        m->n_last = n;
        m->n_sum += n;
        if (!weir_column_is_null(&c[3], row) && c[3].f64[row] > 0) {
            m->n_hot += n;
            m->n_hot_count++;
        }
        m->n_count++;
    }
    if (!weir_column_is_null(&c[2], row))
        m->t_sum = (int8_t)(m->t_sum + c[2].i8[row]);
    if (!weir_column_is_null(&c[3], row)) {
        double x = c[3].f64[row];
        m->x_min = m->x_count == 0 || x < m->x_min ? x : m->x_min;
        m->x_max = m->x_count == 0 || x > m->x_max ? x : m->x_max;
        m->x_sum += x;
        m->x_count++;
        m->hot += x > 0;
    }
    if (!weir_column_is_null(&c[5], row)) {
        m->p_seen = true;
        m->p_max |= weir_bit_get(c[5].bits, row);
    }
    if (!weir_column_is_null(&c[6], row)) {
        size_t n;
        char text[32];
        const uint8_t *s = weir_column_bytes(&c[6], row, &n);
        snprintf(text, sizeof text, "%.*s", (int)n, (const char *)s);
        if (!m->s_seen || strcmp(text, m->s_min) < 0)
            memcpy(m->s_min, text, sizeof text);
        memcpy(m->s_last, text, sizeof text);
        m->s_seen = true;
    }
}

static void assert_text(const struct weir_column *column, int row, const char *want)
{
    size_t n;
    const uint8_t *s = weir_column_bytes(column, row, &n);
    assert_int_equal(n, strlen(want));
    assert_memory_equal(s, want, n);
}

static void check_group(const struct weir_batch *out, int row, int k, const struct model *m)
{
    const struct weir_column *c = out->columns;
    bool n = m->n_count > 0, x = m->x_count > 0;
    assert_int_equal(c[0].i32[row], k);
    assert_int_equal(c[1].i64[row], 1000 * k);
    assert_int_equal(c[19].i64[row], 1000 * k + 10);
    assert_int_equal(c[2].i64[row], m->rows);
    assert_int_equal(c[3].i64[row], m->n_count);
    for (int i = 4; i <= 8; i++)
        assert_int_equal(weir_column_is_null(&c[i], row), !n);
    if (n) {
        assert_int_equal(c[4].i32[row], m->n_sum);
        assert_int_equal(c[5].i32[row], m->n_min);
        assert_int_equal(c[6].i32[row], m->n_max);
        assert_int_equal(c[7].i32[row], m->n_first);
        assert_int_equal(c[8].i32[row], m->n_last);
        assert_int_equal(c[17].i64[row], m->n_sum * 2 + m->rows);
        assert_int_equal(c[18].i32[row], m->n_sum / m->n_count);
    }
    if (!weir_column_is_null(&c[9], row))
        assert_int_equal(c[9].i8[row], m->t_sum);
    assert_int_equal(weir_column_is_null(&c[10], row), !x);
    if (x) {
        assert_true(fabs(c[10].f64[row] - m->x_sum / (double)m->x_count) < 1e-9);
        assert_true(c[11].f64[row] == m->x_min && c[12].f64[row] == m->x_max);
    }
    assert_int_equal(weir_column_is_null(&c[13], row), !m->p_seen);
    if (m->p_seen)
        assert_int_equal(weir_bit_get(c[13].bits, row), m->p_max);
    assert_int_equal(weir_column_is_null(&c[14], row), !m->s_seen);
    if (m->s_seen) {
        assert_text(&c[14], row, m->s_min);
        assert_text(&c[15], row, m->s_last);
    }
    assert_int_equal(c[16].i64[row], m->hot);
    assert_text(&c[20], row, "key");
    assert_int_equal(c[22].i64[row], m->n_hot_count);
    assert_int_equal(weir_column_is_null(&c[21], row), m->n_hot_count == 0);
    if (m->n_hot_count > 0)
        assert_int_equal(c[21].i32[row], m->n_hot);
}

struct fixture {
    struct weir_schema *schema;
    struct weir_key_spec keys;
    struct weir_agg *agg;
    struct weir_agg_input *input;
    struct weir_arena heap;
    uint8_t *accumulators[GROUPS];
    struct model models[GROUPS];
};

static void fixture_init(struct fixture *f)
{
    struct weir_expr_error error;
    memset(f, 0, sizeof *f);
    f->schema = schema_of(COLUMNS);
    f->keys = key_spec(f->schema, 2);
    if (weir_agg_compile(LIST, f->schema, &f->keys, true, &f->agg, &error))
        fail_msg("%s", error.error.message);
    f->input = weir_agg_input_new(f->agg);
    weir_arena_init(&f->heap);
    for (int g = 0; g < GROUPS; g++)
        f->accumulators[g] = weir_zalloc(weir_agg_accumulator_size(f->agg));
}

static void fixture_fini(struct fixture *f)
{
    for (int g = 0; g < GROUPS; g++)
        free(f->accumulators[g]);
    weir_agg_input_free(f->input);
    weir_agg_free(f->agg);
    weir_arena_fini(&f->heap);
    weir_schema_unref(f->schema);
}

/* All rows, or a random choice of them with repeats. */
static void feed(struct fixture *f, int rows, bool pick)
{
    struct weir_batch *batch = random_batch(f->schema, rows);
    uint8_t **accumulators = weir_alloc((size_t)rows * sizeof *accumulators);
    int32_t *chosen = weir_alloc((size_t)rows * sizeof *chosen);
    for (int i = 0; i < rows; i++) {
        chosen[i] = pick ? (int32_t)rnd((uint32_t)rows) : i;
        int group = batch->columns[0].i32[chosen[i]];
        accumulators[i] = f->accumulators[group];
        model_add(&f->models[group], batch, chosen[i]);
    }
    assert_int_equal(weir_agg_prepare(f->agg, f->input, batch, NULL, NULL), 0);
    weir_agg_update(f->agg, f->input, pick ? chosen : NULL, accumulators, rows, &f->heap);
    free(accumulators);
    free(chosen);
    weir_batch_unref(batch);
}

static void check_all(struct fixture *f, uint8_t **accumulators)
{
    struct weir_schema *key_schema = f->schema;
    struct weir_agg_group groups[GROUPS];
    struct weir_buf keys;
    struct weir_batch *batch = weir_batch_new(key_schema, GROUPS), *out;
    uint32_t offsets[GROUPS + 1];
    for (int g = 0; g < GROUPS; g++) {
        for (int c = 1; c < key_schema->field_count - 1; c++)
            weir_column_set_null(&batch->columns[c], g, GROUPS);
        batch->columns[0].i32[g] = g;
        weir_column_set_bytes(&batch->columns[8], g, "key", 3);
        batch->row_count = g + 1;
    }
    weir_buf_init(&keys, (size_t)1 << 30);
    weir_key_encode(batch, &f->keys, &keys, offsets);
    for (int g = 0; g < GROUPS; g++)
        groups[g] = (struct weir_agg_group){keys.data + offsets[g], offsets[g + 1] - offsets[g], accumulators[g],
                                            1000 * g, 1000 * g + 10};
    assert_int_equal(weir_agg_result(f->agg, groups, GROUPS, &out, NULL), 0);
    for (int g = 0; g < GROUPS; g++)
        check_group(out, g, g, &f->models[g]);
    weir_batch_unref(out);
    assert_int_equal(weir_agg_result(f->agg, groups + 2, 1, &out, NULL), 0);
    check_group(out, 0, 2, &f->models[2]);
    weir_batch_unref(out);
    weir_batch_unref(batch);
    weir_buf_fini(&keys);
}

static void test_model(void **state)
{
    (void)state;
    static const int sizes[] = {1, 2, 63, 64, 65, 2048};
    for (int round = 0; round < 12; round++) {
        struct fixture f;
        fixture_init(&f);
        check_all(&f, f.accumulators); /* nothing seen: counts 0, the rest NULL */
        for (int i = 0; i < 6; i++)
            feed(&f, sizes[(i + round) % 6], (i + round) % 2);
        check_all(&f, f.accumulators);
        fixture_fini(&f);
    }
}

/* Two halves merged are the whole; the halves may go on afterwards. */
static void test_merge(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    size_t size = weir_agg_accumulator_size(f.agg);
    uint8_t *early[GROUPS], *late[GROUPS], *whole[GROUPS];
    feed(&f, 200, false);
    for (int g = 0; g < GROUPS; g++) {
        early[g] = f.accumulators[g];
        late[g] = f.accumulators[g] = weir_zalloc(size);
        whole[g] = weir_zalloc(size);
    }
    feed(&f, 100, false);
    for (int g = 0; g < GROUPS; g++) {
        weir_agg_merge(f.agg, whole[g], early[g], &f.heap);
        weir_agg_merge(f.agg, whole[g], late[g], &f.heap);
    }
    check_all(&f, whole);
    struct model before[GROUPS];
    memcpy(before, f.models, sizeof before);
    feed(&f, 300, false); /* into `late`: the merged ones share nothing with it */
    memcpy(f.models, before, sizeof before);
    check_all(&f, whole);
    for (int g = 0; g < GROUPS; g++) {
        free(early[g]);
        free(whole[g]);
    }
    fixture_fini(&f);
}

static void test_row_errors(void **state)
{
    (void)state;
    struct weir_schema *schema = schema_of("n INT NOT NULL");
    struct weir_batch *batch = weir_batch_new(schema, 70);
    struct weir_agg *agg;
    struct weir_error error;
    int row = -1;
    for (int i = 0; i < 70; i++)
        batch->columns[0].i32[i] = i == 66 ? 0 : 1;
    batch->row_count = 70;
    assert_int_equal(weir_agg_compile("SUM(10 / n)", schema, NULL, false, &agg, NULL), 0);
    struct weir_agg_input *input = weir_agg_input_new(agg);
    assert_int_equal(weir_agg_prepare(agg, input, batch, &row, &error), WEIR_ERR_DATA);
    assert_int_equal(row, 66);
    assert_non_null(strstr(error.message, "division by zero"));
    weir_agg_input_free(input);
    weir_agg_free(agg);
    weir_batch_unref(batch);
    weir_schema_unref(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_types), cmocka_unit_test(test_errors),
                                       cmocka_unit_test(test_model), cmocka_unit_test(test_merge),
                                       cmocka_unit_test(test_row_errors)};
    return cmocka_run_group_tests_name("agg", tests, NULL, NULL);
}
