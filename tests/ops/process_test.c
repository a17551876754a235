/* process: every kind of state against a simple model, timers, time to live, older schemas, two inputs, other parallelisms, mistakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "ops/harness.h"
#include "ops/ops_int.h"
#include "state/snapshot.h"
#include "weir/weir.h"

/* --- Rows: what to do with which state; what was found, as text */

struct command {
    int64_t key;
    int32_t op;
    int64_t a;
    struct weir_str s;
};
WEIR_ROW(command, WEIR_FIELD(key, "BIGINT NOT NULL"), WEIR_FIELD(op, "INT NOT NULL"), WEIR_FIELD(a, "BIGINT NOT NULL"),
         WEIR_FIELD(s, "STRING NOT NULL"));
#define COMMAND "key BIGINT NOT NULL, op INT NOT NULL, a BIGINT NOT NULL, s STRING NOT NULL"
struct said {
    struct weir_str text;
};
WEIR_ROW(said, WEIR_FIELD(text, "STRING NOT NULL"));
#define SAID "text STRING NOT NULL"

static int say(struct weir_ctx *ctx, struct weir_out_rows *out, const char *format, ...)
{
    char *text = ctx->scratch(ctx, 400);
    va_list args;
    va_start(args, format);
    int size = vsnprintf(text, 400, format, args);
    va_end(args);
    struct said row = {{text, (size_t)(size < 399 ? size : 399)}};
    return weir_emit(out, &row);
}

/* --- States */

struct profile {
    WEIR_NULLS(profile);
    int64_t visits;
    struct weir_str name;
    double score;
};
WEIR_ROW_NULLS(profile, WEIR_FIELD(visits, "BIGINT NOT NULL"), WEIR_FIELD(name, "STRING"), WEIR_FIELD(score, "DOUBLE"));
struct mean {
    int64_t count;
    int64_t sum;
};
WEIR_ROW(mean, WEIR_FIELD(count, "BIGINT NOT NULL"), WEIR_FIELD(sum, "BIGINT NOT NULL"));

static int add_up(struct weir_ctx *ctx, int64_t *sum, const int64_t *value)
{
    (void)ctx;
    *sum += *value;
    return 0;
}
static int mean_add(struct weir_ctx *ctx, struct mean *mean, const int64_t *value)
{
    (void)ctx;
    mean->count++;
    mean->sum += *value;
    return 0;
}
static int mean_result(struct weir_ctx *ctx, const struct mean *mean, double *result)
{
    (void)ctx;
    *result = (double)mean->sum / (double)mean->count;
    return 0;
}

WEIR_VALUE_STATE(number, "BIGINT");
WEIR_VALUE_STATE(text, "STRING");
WEIR_VALUE_STATE_OF(about, profile);
WEIR_LIST_STATE(history, "STRING");
WEIR_MAP_STATE(seen, "BIGINT", "STRING");
WEIR_MAP_STATE(ratios, "DOUBLE", "INT");
WEIR_REDUCING_STATE(sum, "BIGINT", add_up);
WEIR_AGGREGATING_STATE(average, mean, int64_t, double, mean_add, mean_result);
static const void *const all_states[] = {&number.decl, &text.decl, &about.decl,   &history.decl, &seen.decl,
                                         &ratios.decl, &sum.decl,  &average.decl, NULL};

enum op {
    NUMBER_PUT,
    NUMBER_GET,
    NUMBER_CLEAR,
    TEXT_PUT,
    TEXT_GET,
    ABOUT,
    HISTORY_ADD,
    HISTORY_SUM,
    HISTORY_GET,
    HISTORY_CLEAR,
    HISTORY_UPDATE,
    SEEN_PUT,
    SEEN_GET,
    SEEN_REMOVE,
    SEEN_SUM,
    SEEN_SIFT,
    SEEN_CLEAR,
    RATIO,
    SUM,
    AVERAGE,
    OPS
};

static uint64_t hash_str(struct weir_str s)
{
    return weir_xxh3(s.data, s.size);
}

static int history_ops(struct weir_ctx *ctx, const struct command *in, struct weir_out_rows *out)
{
    struct weir_cursor at = {{0}};
    uint64_t mixed = 0;
    size_t count = 0;
    struct weir_str *v;
    switch (in->op) {
    case HISTORY_ADD:
        return weir_list_add(ctx, &history, &in->s);
    case HISTORY_CLEAR:
        return weir_list_clear(ctx, &history);
    case HISTORY_SUM:
        for (; (v = weir_list_next(ctx, &history, &at)); count++)
            mixed = mixed * 31 + hash_str(*v);
        return say(ctx, out, "%lld history %zu %llx", (long long)in->key, count, (unsigned long long)mixed);
    case HISTORY_UPDATE: /* keeps the last of them, twice */
        v = weir_list_get(ctx, &history, &count);
        if (v) {
            struct weir_str two[2] = {v[count - 1], v[count - 1]};
            return weir_list_update(ctx, &history, two, 2);
        }
        return 0;
    default:
        v = weir_list_get(ctx, &history, &count);
        for (size_t i = 0; i < count; i++)
            mixed = mixed * 31 + hash_str(v[i]);
        return say(ctx, out, "%lld history %zu %llx", (long long)in->key, count, (unsigned long long)mixed);
    }
}

static int seen_ops(struct weir_ctx *ctx, const struct command *in, struct weir_out_rows *out)
{
    struct weir_cursor at = {{0}};
    uint64_t mixed = 0;
    int count = 0;
    int64_t *k;
    struct weir_str *v;
    switch (in->op) {
    case SEEN_PUT:
        return weir_map_put(ctx, &seen, &in->a, &in->s);
    case SEEN_GET:
        v = weir_map_get(ctx, &seen, &in->a);
        return v ? say(ctx, out, "%lld seen %lld %.*s", (long long)in->key, (long long)in->a, (int)v->size, v->data)
                 : say(ctx, out, "%lld seen %lld not", (long long)in->key, (long long)in->a);
    case SEEN_REMOVE:
        return weir_map_remove(ctx, &seen, &in->a);
    case SEEN_CLEAR:
        return weir_map_clear(ctx, &seen);
    case SEEN_SIFT: /* on the way: removes every third, changes the others, adds some; each is seen once */
        for (; (v = weir_map_next(ctx, &seen, &at, &k)); count++) {
            if (*k >= 100000)
                continue; /* new ones may be seen or not */
            mixed += hash_str(*v) ^ (uint64_t)*k;
            int64_t more = 100000 + *k;
            if (*k % 3 == 0 ? weir_map_remove(ctx, &seen, k) : weir_map_put(ctx, &seen, k, &in->s))
                return -1;
            if (weir_map_put(ctx, &seen, &more, &in->s) || weir_map_remove(ctx, &seen, &more))
                return -1;
        }
        return say(ctx, out, "%lld sifted %llx", (long long)in->key, (unsigned long long)mixed);
    default:
        for (; (v = weir_map_next(ctx, &seen, &at, &k)); count++)
            mixed += hash_str(*v) ^ (uint64_t)*k;
        return say(ctx, out, "%lld seen %d %llx", (long long)in->key, count, (unsigned long long)mixed);
    }
}

static int about_op(struct weir_ctx *ctx, const struct command *in, struct weir_out_rows *out)
{
    struct profile *p = weir_value_get(ctx, &about), next = {.visits = 1};
    if (p)
        next = *p, next.visits++;
    weir_set_null((&next), name, in->a % 3 == 0);
    weir_set_null((&next), score, in->a % 2 == 0);
    next.name = in->s;
    next.score = (double)in->a / 4;
    if (weir_value_put(ctx, &about, &next))
        return -1;
    p = weir_value_get(ctx, &about);
    return say(ctx, out, "%lld about %lld %.*s %g", (long long)in->key, (long long)p->visits,
               weir_is_null(p, name) ? 4 : (int)p->name.size, weir_is_null(p, name) ? "null" : p->name.data,
               weir_is_null(p, score) ? -1 : p->score);
}

static int do_command(struct weir_ctx *ctx, const struct command *in, struct weir_out_rows *out)
{
    int64_t *n;
    struct weir_str *s;
    double mean = 0, ratio = in->a % 7 == 0 ? -0.0 : (double)(in->a % 7) / 2;
    switch (in->op) {
    case NUMBER_PUT:
        return weir_value_put(ctx, &number, &in->a);
    case NUMBER_GET:
        n = weir_value_get(ctx, &number);
        return n ? say(ctx, out, "%lld number %lld", (long long)in->key, (long long)*n)
                 : say(ctx, out, "%lld number none", (long long)in->key);
    case NUMBER_CLEAR:
        return weir_value_clear(ctx, &number);
    case TEXT_PUT:
        return weir_value_put(ctx, &text, &in->s);
    case TEXT_GET:
        s = weir_value_get(ctx, &text);
        return s ? say(ctx, out, "%lld text %.*s", (long long)in->key, (int)s->size, s->data)
                 : say(ctx, out, "%lld text none", (long long)in->key);
    case ABOUT:
        return about_op(ctx, in, out);
    case RATIO: {
        int32_t *count = weir_map_get(ctx, &ratios, &ratio), next = count ? *count + 1 : 1;
        if (weir_map_put(ctx, &ratios, &ratio, &next))
            return -1;
        return say(ctx, out, "%lld ratio %g %d", (long long)in->key, ratio + 0.0, next);
    }
    case SUM:
        if (weir_reducing_add(ctx, &sum, &in->a))
            return -1;
        return say(ctx, out, "%lld sum %lld", (long long)in->key, (long long)*weir_reducing_get(ctx, &sum));
    case AVERAGE:
        if (in->a % 5 == 0)
            return weir_aggregating_clear(ctx, &average);
        if (weir_aggregating_add(ctx, &average, &in->a) || !weir_aggregating_get(ctx, &average, &mean))
            return -1;
        return say(ctx, out, "%lld average %.6g", (long long)in->key, mean);
    default:
        return in->op >= SEEN_PUT ? seen_ops(ctx, in, out) : history_ops(ctx, in, out);
    }
}

/* --- The model: arrays, one step after the other */

#define KEYS 7
#define MAP_KEYS 400
#define LIST_MAX 4000
struct model {
    bool has_number, has_text;
    int64_t number, visits, sum, count, total;
    char text[64];
    char *list[LIST_MAX];
    int list_count;
    char *map[MAP_KEYS];
    int ratios[7];
};

static void model_list(struct model *m, const struct command *c, struct weir_buf *out)
{
    uint64_t mixed = 0;
    char *last;
    switch (c->op) {
    case HISTORY_ADD:
        assert_true(m->list_count < LIST_MAX);
        m->list[m->list_count++] = weir_strndup(c->s.data, c->s.size);
        return;
    case HISTORY_UPDATE:
    case HISTORY_CLEAR:
        if (m->list_count == 0)
            return;
        last = m->list[m->list_count - 1];
        for (int i = 0; i < m->list_count - 1; i++)
            free(m->list[i]);
        m->list_count = 0;
        if (c->op == HISTORY_UPDATE) {
            m->list[m->list_count++] = last;
            m->list[m->list_count++] = weir_strdup(last);
        } else {
            free(last);
        }
        return;
    default:
        for (int i = 0; i < m->list_count; i++)
            mixed = mixed * 31 + weir_xxh3(m->list[i], strlen(m->list[i]));
        assert_true(weir_buf_printf(out, "%lld history %d %llx\n", (long long)c->key, m->list_count,
                                    (unsigned long long)mixed));
    }
}

static void model_map(struct model *m, const struct command *c, struct weir_buf *out)
{
    uint64_t mixed = 0;
    int count = 0;
    if (c->op == SEEN_PUT || c->op == SEEN_REMOVE) {
        free(m->map[c->a]);
        m->map[c->a] = c->op == SEEN_PUT ? weir_strndup(c->s.data, c->s.size) : NULL;
        return;
    }
    if (c->op == SEEN_GET) {
        const char *v = m->map[c->a];
        assert_true(weir_buf_printf(out, "%lld seen %lld %s\n", (long long)c->key, (long long)c->a, v ? v : "not"));
        return;
    }
    for (int i = 0; i < MAP_KEYS; i++) {
        if (!m->map[i])
            continue;
        count++;
        mixed += weir_xxh3(m->map[i], strlen(m->map[i])) ^ (uint64_t)i;
        if (c->op == SEEN_CLEAR || c->op == SEEN_SIFT) {
            free(m->map[i]);
            m->map[i] = c->op == SEEN_SIFT && i % 3 ? weir_strndup(c->s.data, c->s.size) : NULL;
        }
    }
    bool ok = true;
    if (c->op == SEEN_SIFT)
        ok = weir_buf_printf(out, "%lld sifted %llx\n", (long long)c->key, (unsigned long long)mixed);
    else if (c->op == SEEN_SUM)
        ok = weir_buf_printf(out, "%lld seen %d %llx\n", (long long)c->key, count, (unsigned long long)mixed);
    assert_true(ok);
}

static void model_step(struct model *m, const struct command *c, struct weir_buf *out)
{
    bool ok = true;
    long long key = (long long)c->key;
    switch (c->op) {
    case NUMBER_PUT:
    case NUMBER_CLEAR:
        m->has_number = c->op == NUMBER_PUT;
        m->number = c->a;
        break;
    case NUMBER_GET:
        ok = m->has_number ? weir_buf_printf(out, "%lld number %lld\n", key, (long long)m->number)
                           : weir_buf_printf(out, "%lld number none\n", key);
        break;
    case TEXT_PUT:
        m->has_text = true;
        snprintf(m->text, sizeof m->text, "%.*s", (int)c->s.size, c->s.data);
        break;
    case TEXT_GET:
        ok = weir_buf_printf(out, "%lld text %s\n", key, m->has_text ? m->text : "none");
        break;
    case ABOUT:
        ok = weir_buf_printf(out, "%lld about %lld %.*s %g\n", key, (long long)++m->visits,
                             c->a % 3 ? (int)c->s.size : 4, c->a % 3 ? c->s.data : "null",
                             c->a % 2 ? (double)c->a / 4 : -1);
        break;
    case RATIO:
        ok = weir_buf_printf(out, "%lld ratio %g %d\n", key, (double)(c->a % 7) / 2, ++m->ratios[c->a % 7]);
        break;
    case SUM:
        ok = weir_buf_printf(out, "%lld sum %lld\n", key, (long long)(m->sum += c->a));
        break;
    case AVERAGE:
        m->count = c->a % 5 ? m->count + 1 : 0;
        m->total = c->a % 5 ? m->total + c->a : 0;
        ok = m->count == 0 || weir_buf_printf(out, "%lld average %.6g\n", key, (double)m->total / (double)m->count);
        break;
    default:
        if (c->op >= SEEN_PUT)
            model_map(m, c, out);
        else
            model_list(m, c, out);
    }
    assert_true(ok);
}

static void model_free(struct model *m)
{
    for (int k = 0; k < KEYS; k++) {
        for (int i = 0; i < m[k].list_count; i++)
            free(m[k].list[i]);
        for (int i = 0; i < MAP_KEYS; i++)
            free(m[k].map[i]);
    }
    free(m);
}

/* --- Commands from a seed */

static uint64_t random_state;
static uint64_t rnd(uint64_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % below;
}

#define COMMANDS 4000
struct script {
    struct weir_buf rows[COMMANDS / 100]; /* batches of 100, as text */
    struct weir_buf wanted;
};

static void make_script(struct script *script, uint64_t seed)
{
    struct model *model = weir_zalloc(KEYS * sizeof *model);
    random_state = seed * 0x9e3779b97f4a7c15u + 1;
    weir_buf_init(&script->wanted, (size_t)64 << 20);
    for (int i = 0; i < COMMANDS; i++) {
        char s[41];
        size_t size = rnd(40);
        for (size_t j = 0; j < size; j++)
            s[j] = (char)('a' + rnd(26));
        s[size] = 0;
        /* One key has most of it, and what makes things large comes more often than what empties them. */
        struct command c = {rnd(3) ? 0 : (int64_t)rnd(KEYS), (int32_t)rnd(OPS), (int64_t)rnd(MAP_KEYS), {s, size}};
        if ((c.op == HISTORY_CLEAR || c.op == HISTORY_UPDATE || c.op == SEEN_CLEAR || c.op == SEEN_SIFT) && rnd(8))
            c.op = rnd(2) ? SEEN_PUT : HISTORY_ADD;
        struct weir_buf *rows = &script->rows[i / 100];
        if (i % 100 == 0)
            weir_buf_init(rows, 1 << 20);
        assert_true(
            weir_buf_printf(rows, "%s%lld|%d|%lld|%s", i % 100 ? "\n" : "", (long long)c.key, c.op, (long long)c.a, s));
        model_step(&model[c.key], &c, &script->wanted);
    }
    model_free(model);
}

static void free_script(struct script *script)
{
    for (int i = 0; i < COMMANDS / 100; i++)
        weir_buf_fini(&script->rows[i]);
    weir_buf_fini(&script->wanted);
}

static const char *const command_options[] = {"row.in", COMMAND, NULL};
static const struct weir_harness_setup command_setup = {.op = &weir_op_process,
                                                        .options = command_options,
                                                        .inputs = {COMMAND},
                                                        .declared = SAID,
                                                        .key = {"key"},
                                                        .row_in = &weir_row_command,
                                                        .row_out = &weir_row_said,
                                                        .function = (void *)do_command,
                                                        .states = all_states,
                                                        .checkpoints = true};

static void script_scenario(struct weir_harness *h, void *arg)
{
    struct script *script = arg;
    for (int i = 0; i < COMMANDS / 100; i++)
        if (!weir_harness_rows_in(h, 0, (const char *)script->rows[i].data))
            fail_msg("%s", weir_harness_error(h));
    assert_true(weir_harness_end(h));
}

static void script_check(struct weir_harness *h, void *arg)
{
    struct script *script = arg;
    assert_string_equal(weir_harness_rows(h, 0), (const char *)script->wanted.data);
}

static void states_do_what_a_model_does(void **state)
{
    (void)state;
    const char *given = getenv("SEED");
    for (uint64_t seed = given ? strtoull(given, NULL, 10) : 1, i = 0; i < (given ? 1 : 2); i++, seed++) {
        struct script script;
        make_script(&script, seed);
        struct weir_harness_setup setup = command_setup;
        weir_harness_all_modes(&setup, script_scenario, script_check, &script);
        free_script(&script);
    }
}

/* The same with keys that are no fixed-width number. */
static void states_of_text_keys(void **state)
{
    struct script script;
    (void)state;
    make_script(&script, 99);
    struct weir_harness_setup setup = command_setup;
    setup.key[0] = "key";
    setup.key[1] = "op"; /* every kind of state has keys of its own then: only the modes are compared */
    weir_harness_all_modes(&setup, script_scenario, NULL, &script);
    free_script(&script);
}

/* Large values of sizes that change: their memory is used again, or made anew, and they stay what they are. */
static void values_change_their_size(void **state)
{
    struct weir_error error;
    struct weir_harness *h = weir_harness_new(&command_setup, &weir_harness_modes[0], &error);
    struct weir_buf row, wanted;
    char last[3] = "", *big = weir_alloc(100000);
    size_t sizes[3] = {0};
    (void)state;
    assert_non_null(h);
    weir_buf_init(&row, (size_t)1 << 20);
    weir_buf_init(&wanted, (size_t)64 << 20);
    memset(big, 0, 100000);
    random_state = 5;
    for (int i = 0; i < 700; i++) {
        int key = (int)rnd(3);
        last[key] = (char)('a' + rnd(26));
        sizes[key] = rnd(2) ? rnd(100000) : rnd(100);
        memset(big, last[key], sizes[key]);
        weir_buf_clear(&row);
        assert_true(weir_buf_printf(&row, "%d|%d|0|%.*s", key, TEXT_PUT, (int)sizes[key], big));
        assert_true(weir_harness_rows_in(h, 0, (const char *)row.data));
        for (int k = 0; i % 100 == 99 && k < 3; k++) {
            weir_buf_clear(&row);
            memset(big, last[k], sizes[k]);
            assert_true(weir_buf_printf(&row, "%d|%d|0|", k, TEXT_GET));
            assert_true(weir_harness_rows_in(h, 0, (const char *)row.data));
            assert_true(weir_buf_printf(&wanted, "%d text %.*s\n", k, (int)(sizes[k] < 392 ? sizes[k] : 392), big));
        }
    }
    assert_string_equal(weir_harness_rows(h, 0), (const char *)wanted.data);
    weir_buf_fini(&row);
    weir_buf_fini(&wanted);
    weir_harness_free(h);
    free(big);
}

/* --- Side outputs */

WEIR_SIDE_OUTPUT(odd, said);
WEIR_SIDE_OUTPUT(late, command);
WEIR_SIDE_OUTPUT(unread, said);

/* Rows below 50 go aside as they came, odd ones as text, more of them than a batch at once; the rest is passed on. */
static int sort_out(struct weir_ctx *ctx, const struct command *in, struct weir_out_rows *out)
{
    char *copy = ctx->scratch(ctx, in->s.size + 1);
    memcpy(copy, in->s.data, in->s.size);
    struct said said = {{copy, in->s.size}};
    if (in->a < 50)
        return weir_emit_side(ctx, &late, in);
    for (int i = 0; i < 3 && in->op % 2; i++)
        if (weir_emit_side(ctx, &odd, &said) || weir_emit_side(ctx, &unread, &said))
            return -1;
    copy[0] = '!'; /* what was emitted is a copy */
    return in->op % 2 ? 0 : weir_emit(out, &said);
}

static void sort_scenario(struct weir_harness *h, void *arg)
{
    (void)arg;
    assert_true(weir_harness_rows_in(h, 0, "1|0|100|a\n2|1|100|b\n3|1|120|c\n4|2|130|d"));
    assert_true(weir_harness_rows_in(h, 0, "1|0|49|e\n2|1|5|f\n3|0|111|g"));
    assert_true(weir_harness_end(h));
}

static void sort_check(struct weir_harness *h, void *arg)
{
    (void)arg;
    assert_string_equal(weir_harness_rows(h, 0), "!\n!\n!\n");
    assert_string_equal(weir_harness_rows(h, 1), "b\nb\nb\nc\nc\nc\n");
    assert_string_equal(weir_harness_rows(h, 2), "1|0|49|e\n2|1|5|f\n");
}

static void side_outputs(void **state)
{
    static const char *const options[] = {"row.in", COMMAND, "row.side1", SAID, "row.side2", COMMAND, NULL};
    (void)state;
    struct weir_harness_setup setup = command_setup;
    setup.options = options;
    setup.function = (void *)sort_out;
    setup.side_decls[0] = &odd.decl;
    setup.side_decls[1] = &late.decl;
    weir_harness_all_modes(&setup, sort_scenario, sort_check, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_change_their_size),
        cmocka_unit_test(side_outputs),
        cmocka_unit_test(states_do_what_a_model_does),
        cmocka_unit_test(states_of_text_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
