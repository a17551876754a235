/* process: older schemas, other parallelisms, state of the operator, two inputs, and what functions do wrong. */
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

struct event {
    int64_t key;
    int64_t a;
};
WEIR_ROW(event, WEIR_FIELD(key, "BIGINT NOT NULL"), WEIR_FIELD(a, "BIGINT NOT NULL"));
#define EVENT "key BIGINT NOT NULL, a BIGINT NOT NULL"
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

static const char *const options[] = {"row.in", EVENT, NULL};
static const char *const options2[] = {"row.in", EVENT, "row.in2", EVENT, NULL};
static struct weir_harness_setup setup_of(void *function, const void *const *states)
{
    return (struct weir_harness_setup){.op = &weir_op_process,
                                       .options = options,
                                       .inputs = {EVENT},
                                       .declared = SAID,
                                       .key = {"key"},
                                       .row_in = &weir_row_event,
                                       .row_out = &weir_row_said,
                                       .function = function,
                                       .states = states,
                                       .checkpoints = true};
}

static struct weir_harness *begin(const struct weir_harness_setup *setup)
{
    struct weir_error error;
    struct weir_harness *h = weir_harness_new(setup, &weir_harness_modes[0], &error);
    if (!h)
        fail_msg("%s", error.message);
    return h;
}

static void add_parts(struct weir_restored *restored, struct weir_snapshot *snapshot, int subtask, int parallelism)
{
    for (const struct weir_snapshot_part *part = snapshot->parts; part; part = part->next) {
        uint8_t *bytes = weir_alloc(part->bytes.size + 1);
        if (part->bytes.size)
            memcpy(bytes, part->bytes.data, part->bytes.size);
        weir_restored_add(restored, part->uid, part->name, part->kind, subtask, parallelism, bytes, part->bytes.size);
    }
    weir_snapshot_free(snapshot);
}

/* --- Schemas
 * The functions of an old and a new version of a job; the states have the same names. */

struct old_profile {
    WEIR_NULLS(old_profile);
    int32_t visits;
    float score;
    struct weir_str name;
};
WEIR_ROW_NULLS(old_profile, WEIR_FIELD(visits, "INT NOT NULL"), WEIR_FIELD(score, "FLOAT"),
               WEIR_FIELD(name, "STRING NOT NULL"));
struct new_profile {
    WEIR_NULLS(new_profile);
    struct weir_str city;
    int64_t visits;
    struct weir_str name;
    double score;
    int64_t level;
    bool active;
    struct weir_str note;
};
WEIR_ROW_NULLS(new_profile, WEIR_FIELD(city, "STRING"), WEIR_FIELD(visits, "BIGINT NOT NULL"),
               WEIR_FIELD(name, "STRING"), WEIR_FIELD(score, "DOUBLE"), WEIR_FIELD(level, "BIGINT NOT NULL DEFAULT -3"),
               WEIR_FIELD(active, "BOOLEAN NOT NULL DEFAULT TRUE"),
               WEIR_FIELD(note, "STRING NOT NULL DEFAULT 'it''s new'"));

/* Both versions name their states alike. */
#ifdef __clang__
#pragma clang diagnostic ignored "-Winitializer-overrides"
#else
#pragma GCC diagnostic ignored "-Woverride-init"
#endif
WEIR_VALUE_STATE_OF(old_value, old_profile, .name = "value");
WEIR_LIST_STATE_OF(old_list, old_profile, .name = "list");
WEIR_MAP_STATE_OF(old_map, "INT", old_profile, .name = "map");
WEIR_VALUE_STATE(old_number, "SMALLINT", .name = "number");
WEIR_UNION_LIST_STATE_OF(old_own, old_profile, .name = "own");
static const void *const old_states[] = {&old_value.decl,  &old_list.decl, &old_map.decl,
                                         &old_number.decl, &old_own.decl,  NULL};
WEIR_VALUE_STATE_OF(new_value, new_profile, .name = "value");
WEIR_LIST_STATE_OF(new_list, new_profile, .name = "list");
WEIR_MAP_STATE_OF(new_map, "INT", new_profile, .name = "map");
WEIR_VALUE_STATE(new_number, "BIGINT", .name = "number", .ttl = "1 h");
WEIR_UNION_LIST_STATE_OF(new_own, new_profile, .name = "own");
static const void *const new_states[] = {&new_value.decl,  &new_list.decl, &new_map.decl,
                                         &new_number.decl, &new_own.decl,  NULL};

static int write_old(struct weir_ctx *ctx, const struct event *in, struct weir_out_rows *out)
{
    char *text = ctx->scratch(ctx, 64);
    struct old_profile p = {.visits = -(int32_t)in->a,
                            .score = (float)in->a / 2,
                            .name = {text, (size_t)snprintf(text, 64, "n%lld", (long long)in->a)}};
    int16_t n = (int16_t)in->a;
    (void)out;
    weir_set_null((&p), score, in->a % 2 == 1);
    for (int32_t i = 0; i < 100; i++)
        if (weir_list_add(ctx, &old_list, &p) || weir_map_put(ctx, &old_map, &i, &p))
            return -1;
    return weir_list_add(ctx, &old_own, &p) || weir_value_put(ctx, &old_value, &p) ||
           weir_value_put(ctx, &old_number, &n);
}

static int show(struct weir_ctx *ctx, const struct new_profile *p, struct weir_out_rows *out)
{
    return say(ctx, out, "%lld %s%g %.*s %d %lld %d %.*s", (long long)p->visits, weir_is_null(p, score) ? "null" : "",
               p->score, (int)p->name.size, p->name.data, weir_is_null(p, city), (long long)p->level, p->active,
               (int)p->note.size, p->note.data);
}

static int read_new(struct weir_ctx *ctx, const struct event *in, struct weir_out_rows *out)
{
    struct weir_cursor at = {{0}}, map_at = {{0}};
    struct new_profile *p = weir_value_get(ctx, &new_value);
    int64_t *n = weir_value_get(ctx, &new_number);
    int count = 0;
    int32_t *k;
    (void)in;
    if (!p || !n || show(ctx, p, out))
        return -1;
    while ((p = weir_list_next(ctx, &new_list, &at)))
        count += p->active && p->level == -3 && p->name.data[0] == 'n';
    while ((p = weir_map_next(ctx, &new_map, &map_at, &k)))
        count += p->note.size == 8 && weir_is_null(p, city);
    struct weir_cursor own_at = {{0}};
    while ((p = weir_list_next(ctx, &new_own, &own_at)))
        count += 1000 * p->active;
    return say(ctx, out, "%lld %d", (long long)*n, count);
}

/* What `written` has, with `read` declared under the same names. */
static struct weir_harness *reopen(struct weir_harness *written, struct weir_harness_setup *setup,
                                   struct weir_restored *restored, struct weir_error *error)
{
    add_parts(restored, weir_harness_snapshot(written, 1, 0), 0, 1);
    weir_harness_free(written);
    setup->restored = restored;
    return weir_harness_new(setup, &weir_harness_modes[0], error);
}

static void older_schemas_are_read(void **state)
{
    struct weir_error error;
    struct weir_restored *restored = weir_restored_new(1);
    struct weir_harness_setup setup = setup_of((void *)write_old, old_states);
    struct weir_harness *h = begin(&setup);
    (void)state;
    assert_true(weir_harness_rows_in(h, 0, "1|4\n2|5\n3|0"));
    setup.function = (void *)read_new;
    setup.states = new_states;
    h = reopen(h, &setup, restored, &error);
    if (!h)
        fail_msg("%s", error.message);
    if (!weir_harness_rows_in(h, 0, "1|0\n2|0\n3|0"))
        fail_msg("%s", weir_harness_error(h));
    assert_string_equal(weir_harness_rows(h, 0), "-4 2 n4 1 -3 1 it's new\n4 3200\n"
                                                 "-5 null0 n5 1 -3 1 it's new\n5 3200\n"
                                                 "0 0 n0 1 -3 1 it's new\n0 3200\n");
    weir_harness_free(h);
    weir_restored_free(restored);
}

struct fewer {
    WEIR_NULLS(fewer);
    int32_t visits;
    float score;
};
WEIR_ROW_NULLS(fewer, WEIR_FIELD(visits, "INT NOT NULL"), WEIR_FIELD(score, "FLOAT"));
struct narrower {
    WEIR_NULLS(narrower);
    int16_t visits;
    float score;
    struct weir_str name;
};
WEIR_ROW_NULLS(narrower, WEIR_FIELD(visits, "SMALLINT NOT NULL"), WEIR_FIELD(score, "FLOAT"),
               WEIR_FIELD(name, "STRING NOT NULL"));
struct stricter {
    WEIR_NULLS(stricter);
    int32_t visits;
    float score;
    struct weir_str name;
    int64_t more;
};
WEIR_ROW_NULLS(stricter, WEIR_FIELD(visits, "INT NOT NULL"), WEIR_FIELD(score, "FLOAT NOT NULL"),
               WEIR_FIELD(name, "STRING NOT NULL"));
struct asks {
    WEIR_NULLS(asks);
    int32_t visits;
    float score;
    struct weir_str name;
    int64_t more;
};
WEIR_ROW_NULLS(asks, WEIR_FIELD(visits, "INT NOT NULL"), WEIR_FIELD(score, "FLOAT"),
               WEIR_FIELD(name, "STRING NOT NULL"), WEIR_FIELD(more, "BIGINT NOT NULL"));
WEIR_VALUE_STATE_OF(fewer_value, fewer, .name = "value");
WEIR_VALUE_STATE_OF(narrower_value, narrower, .name = "value");
WEIR_VALUE_STATE_OF(stricter_value, stricter, .name = "value");
WEIR_VALUE_STATE_OF(asks_value, asks, .name = "value");
WEIR_VALUE_STATE(text_value, "STRING", .name = "value");
WEIR_LIST_STATE_OF(list_value, old_profile, .name = "value");
WEIR_MAP_STATE_OF(other_map, "BIGINT", old_profile, .name = "map");
WEIR_VALUE_STATE(narrow_number, "TINYINT", .name = "number");
WEIR_SPLIT_LIST_STATE_OF(split_own, old_profile, .name = "own");

static void schemas_that_do_not_fit_are_refused(void **state)
{
    static const struct {
        const struct weir_state_decl *decl;
        const char *says, *also;
    } cases[] = {
        {&fewer_value.decl, "state 'value'", "the field 'name' is gone"},
        {&narrower_value.decl, "was VALUE (visits INT NOT NULL",
         "the field 'visits' was INT NOT NULL and cannot be read as SMALLINT"},
        {&stricter_value.decl, "declared as VALUE (visits INT NOT NULL, score FLOAT NOT NULL", "cannot be read"},
        {&asks_value.decl, "state 'value'", "write \"BIGINT NOT NULL DEFAULT ...\""},
        {&text_value.decl, "(value STRING NOT NULL)", "the field 'visits' is gone"},
        {&list_value.decl, "is declared as LIST (visits", "another form"},
        {&other_map.decl, "state 'map' was MAP by (value INT NOT NULL)", "map's key cannot change"},
        {&narrow_number.decl, "state 'number'", "was SMALLINT NOT NULL and cannot be read as TINYINT NOT NULL"},
        {&split_own.decl, "state 'own' was UNION LIST", "another form"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct weir_error error;
        struct weir_restored *restored = weir_restored_new(1);
        struct weir_harness_setup setup = setup_of((void *)write_old, old_states);
        struct weir_harness *h = begin(&setup);
        assert_true(weir_harness_rows_in(h, 0, "1|4"));
        const void *const states[] = {cases[i].decl, NULL};
        setup.states = states;
        h = reopen(h, &setup, restored, &error);
        assert_null(h);
        if (!strstr(error.message, cases[i].says) || !strstr(error.message, cases[i].also))
            fail_msg("%s\n%s\n%s", error.message, cases[i].says, cases[i].also);
        weir_restored_free(restored);
    }
}

static void key_types_cannot_change(void **state)
{
    struct weir_error error;
    struct weir_restored *restored = weir_restored_new(1);
    struct weir_harness_setup setup = setup_of((void *)write_old, old_states);
    struct weir_harness *h = begin(&setup);
    (void)state;
    assert_true(weir_harness_rows_in(h, 0, "1|4"));
    setup.key[1] = "a";
    h = reopen(h, &setup, restored, &error);
    assert_null(h);
    assert_non_null(strstr(error.message, "keys of BIGINT, and the stream is keyed by BIGINT, BIGINT now"));
    weir_restored_free(restored);
}

/* Whatever the bytes are: refused or read, never a crash. */
static void damaged_values_are_found(void **state)
{
    struct weir_harness_setup setup = setup_of((void *)write_old, old_states);
    struct weir_harness *h = begin(&setup);
    struct weir_error error;
    int refused = 0;
    (void)state;
    assert_true(weir_harness_rows_in(h, 0, "1|4"));
    for (int i = 0; i < 300; i++) {
        struct weir_restored *restored = weir_restored_new(1);
        add_parts(restored, weir_harness_snapshot(h, (uint64_t)i + 1, 0), 0, 1);
        for (struct weir_restored_part *part = restored->parts; part; part = part->next)
            if (strcmp(part->name, "own") == 0) {
                if (i % 2)
                    part->size -= 1 + (size_t)i / 2 % part->size;
                else
                    part->bytes[(size_t)i / 2 % part->size] ^= (uint8_t)(1 + i);
            }
        struct weir_harness_setup again = setup;
        again.restored = restored;
        struct weir_harness *other = weir_harness_new(&again, &weir_harness_modes[0], &error);
        refused += !other;
        weir_harness_free(other);
        weir_restored_free(restored);
    }
    assert_true(refused > 200);
    weir_harness_free(h);
}

/* --- Other parallelisms: 2, then 3, against one that never stopped */

WEIR_VALUE_STATE(count, "BIGINT");
WEIR_LIST_STATE(all, "BIGINT");
WEIR_MAP_STATE(by_rest, "BIGINT", "BIGINT");
WEIR_SPLIT_LIST_STATE(dealt, "STRING");
WEIR_UNION_LIST_STATE(shared, "BIGINT");
static const void *const counting_states[] = {&count.decl, &all.decl, &by_rest.decl, &dealt.decl, &shared.decl, NULL};

static int counting(struct weir_ctx *ctx, const struct event *in, struct weir_out_rows *out)
{
    int64_t *n = weir_value_get(ctx, &count), next = n ? *n + 1 : 1, rest = in->a % 50;
    int64_t *m = weir_map_get(ctx, &by_rest, &rest), sum = m ? *m + in->a : in->a;
    size_t length;
    struct weir_str text = weir_str("element");
    if (weir_value_put(ctx, &count, &next) || weir_list_add(ctx, &all, &in->a) ||
        weir_map_put(ctx, &by_rest, &rest, &sum) || weir_list_add(ctx, &dealt, &text) ||
        weir_list_add(ctx, &shared, &in->a) || weir_timer_event(ctx, in->a * 100))
        return -1;
    int64_t *values = weir_list_get(ctx, &all, &length), total = 0;
    for (size_t i = 0; i < length; i++)
        total += values[i];
    return say(ctx, out, "%lld: %lld %lld %lld", (long long)in->key, (long long)next, (long long)sum, (long long)total);
}

static int counting_timer(struct weir_ctx *ctx, weir_ts time, struct weir_out_rows *out)
{
    int64_t *n = weir_value_get(ctx, &count);
    return say(ctx, out, "%lld at %lld: %lld", (long long)weir_key(ctx, event)->key, (long long)time, (long long)*n);
}

/* How many elements the operator's lists have, at the end. */
static int lengths(struct weir_ctx *ctx, const struct event *in, struct weir_out_rows *out)
{
    struct weir_cursor at = {{0}}, shared_at = {{0}};
    int here = 0, everywhere = 0;
    (void)in;
    while (weir_list_next(ctx, &dealt, &at))
        here++;
    while (weir_list_next(ctx, &shared, &shared_at))
        everywhere++;
    return say(ctx, out, "%d %d", here, everywhere);
}

static int subtask_of(int64_t key, int parallelism)
{
    uint8_t bytes[9] = {1};
    uint64_t big = __builtin_bswap64((uint64_t)key ^ (uint64_t)1 << 63);
    memcpy(bytes + 1, &big, 8);
    int group = weir_key_group(weir_xxh3(bytes, sizeof bytes), WEIR_MAX_PARALLELISM_DEFAULT);
    return weir_key_group_subtask(group, WEIR_MAX_PARALLELISM_DEFAULT, parallelism);
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Adds the lines of what came out. */
static void gather(char **lines, int *line_count, const char *rows)
{
    while (*rows) {
        size_t size = strcspn(rows, "\n");
        lines[(*line_count)++] = weir_strndup(rows, size);
        rows += size + 1;
    }
}

#define ROWS 3000
/* Runs rows [0, ROWS) with these parallelisms, one after the other; the sorted lines. */
static int run_at(const int *parallelisms, int stages, char **lines, struct weir_harness **last)
{
    struct weir_harness_setup setup = setup_of((void *)counting, counting_states);
    struct weir_restored *restored = NULL;
    int line_count = 0;
    setup.on_timer = (void *)counting_timer;
    for (int stage = 0; stage < stages; stage++) {
        int parallelism = parallelisms[stage];
        struct weir_restored *next = weir_restored_new((uint64_t)stage + 1);
        for (int subtask = 0; subtask < parallelism; subtask++) {
            struct weir_harness_setup own = setup;
            own.parallelism = parallelism;
            own.subtask = subtask;
            own.restored = restored;
            struct weir_harness *h = begin(&own);
            for (int i = ROWS / stages * stage; i < ROWS / stages * (stage + 1); i++) {
                char row[64];
                int64_t key = i * 7919 % 60;
                if (subtask_of(key, parallelism) != subtask)
                    continue;
                snprintf(row, sizeof row, "%lld|%d", (long long)key, i);
                if (!weir_harness_rows_in(h, 0, row))
                    fail_msg("%s", weir_harness_error(h));
            }
            assert_true(weir_harness_watermark(h, ROWS / stages * (stage + 1) * 90));
            gather(lines, &line_count, weir_harness_rows(h, 0));
            add_parts(next, weir_harness_snapshot(h, (uint64_t)stage + 1, 0), subtask, parallelism);
            if (last && stage + 1 == stages)
                last[subtask] = h;
            else
                weir_harness_free(h);
        }
        weir_restored_free(restored);
        restored = next;
    }
    weir_restored_free(restored);
    qsort(lines, (size_t)line_count, sizeof *lines, compare_lines);
    return line_count;
}

static void another_parallelism_changes_nothing(void **state)
{
    static const int one[] = {1, 1, 1}, changing[] = {2, 3, 1}, up[] = {1, 4, 5};
    static char *wanted[4 * ROWS], *got[4 * ROWS];
    const int *const tried[] = {changing, up};
    (void)state;
    int count_wanted = run_at(one, 3, wanted, NULL);
    assert_true(count_wanted > ROWS);
    for (size_t t = 0; t < 2; t++) {
        int count_got = run_at(tried[t], 3, got, NULL);
        assert_int_equal(count_got, count_wanted);
        for (int i = 0; i < count_got; i++) {
            assert_string_equal(got[i], wanted[i]);
            free(got[i]);
        }
    }
    for (int i = 0; i < count_wanted; i++)
        free(wanted[i]);
}

static void lists_of_the_operator_are_dealt_out(void **state)
{
    struct weir_harness_setup setup = setup_of((void *)counting, counting_states);
    struct weir_restored *restored = weir_restored_new(1);
    int dealt_total = 0;
    (void)state;
    setup.on_timer = (void *)counting_timer;
    setup.parallelism = 2;
    for (setup.subtask = 0; setup.subtask < 2; setup.subtask++) {
        struct weir_harness_setup own = setup;
        struct weir_harness *h = begin(&own);
        for (int i = 0; i < 500 + setup.subtask; i++)
            assert_true(weir_harness_rows_in(h, 0, "1|1"));
        add_parts(restored, weir_harness_snapshot(h, 1, 0), setup.subtask, 2);
        weir_harness_free(h);
    }
    setup.restored = restored;
    setup.parallelism = 3;
    setup.function = (void *)lengths;
    for (setup.subtask = 0; setup.subtask < 3; setup.subtask++) {
        int here, everywhere;
        struct weir_harness_setup own = setup;
        struct weir_harness *h = begin(&own);
        assert_true(weir_harness_rows_in(h, 0, "1|1"));
        assert_int_equal(sscanf(weir_harness_rows(h, 0), "%d %d", &here, &everywhere), 2);
        assert_int_equal(everywhere, 1001);
        assert_in_range(here, 330, 337);
        dealt_total += here;
        weir_harness_free(h);
    }
    assert_int_equal(dealt_total, 1001);
    weir_restored_free(restored);
}

/* --- Two inputs */

WEIR_BROADCAST_STATE(rules, "BIGINT", "BIGINT");
static const void *const two_states[] = {&count.decl, &rules.decl, NULL};

static int keyed_side(struct weir_ctx *ctx, const struct event *in, struct weir_out_rows *out)
{
    int64_t *n = weir_value_get(ctx, &count), next = n ? *n + 1 : 1;
    int64_t *rule = weir_map_get(ctx, &rules, &in->a);
    if (weir_value_put(ctx, &count, &next))
        return -1;
    return say(ctx, out, "%lld %lld %lld", (long long)in->key, (long long)next, rule ? (long long)*rule : -1);
}

static int rule_side(struct weir_ctx *ctx, const struct event *in, struct weir_out_rows *out)
{
    (void)out;
    if (in->key == -1) /* a mistake */
        return weir_value_get(ctx, &count) != NULL;
    return in->a < 0 ? weir_map_remove(ctx, &rules, &in->key) : weir_map_put(ctx, &rules, &in->key, &in->a);
}

static int same_key_side(struct weir_ctx *ctx, const struct event *in, struct weir_out_rows *out)
{
    int64_t *n = weir_value_get(ctx, &count), more = (n ? *n : 0) + 100;
    (void)in, (void)out;
    return weir_value_put(ctx, &count, &more);
}

static struct weir_harness_setup two_inputs(void *function2, bool broadcast)
{
    struct weir_harness_setup setup = setup_of((void *)keyed_side, two_states);
    setup.options = options2;
    setup.inputs[1] = EVENT;
    setup.row_in2 = &weir_row_event;
    setup.function2 = function2;
    setup.broadcast2 = broadcast;
    if (!broadcast)
        setup.key2[0] = "key";
    return setup;
}

static void rules_scenario(struct weir_harness *h, void *arg)
{
    (void)arg;
    assert_true(weir_harness_rows_in(h, 0, "1|7\n2|7"));
    assert_true(weir_harness_rows_in(h, 1, "7|70\n8|80"));
    assert_true(weir_harness_rows_in(h, 0, "1|7\n1|8\n2|9"));
    assert_true(weir_harness_rows_in(h, 1, "7|-1"));
    assert_true(weir_harness_rows_in(h, 0, "1|7\n1|8"));
    assert_true(weir_harness_end(h));
}

static void rules_check(struct weir_harness *h, void *arg)
{
    (void)arg;
    assert_string_equal(weir_harness_rows(h, 0), "1 1 -1\n2 1 -1\n1 2 70\n1 3 80\n2 2 -1\n1 4 -1\n1 5 80\n");
}

static void join_scenario(struct weir_harness *h, void *arg)
{
    (void)arg;
    assert_true(weir_harness_rows_in(h, 0, "1|7\n2|7"));
    assert_true(weir_harness_rows_in(h, 1, "1|0\n3|0\n3|0"));
    assert_true(weir_harness_rows_in(h, 0, "1|7\n2|8\n3|9"));
    assert_true(weir_harness_end(h));
}

static void join_check(struct weir_harness *h, void *arg)
{
    (void)arg;
    assert_string_equal(weir_harness_rows(h, 0), "1 1 -1\n2 1 -1\n1 102 -1\n2 2 -1\n3 201 -1\n");
}

static void two_inputs_share_their_state(void **state)
{
    struct weir_harness_setup broadcast = two_inputs((void *)rule_side, true);
    struct weir_harness_setup join = two_inputs((void *)same_key_side, false);
    (void)state;
    weir_harness_all_modes(&broadcast, rules_scenario, rules_check, NULL);
    weir_harness_all_modes(&join, join_scenario, join_check, NULL);
}

/* --- Mistakes */

enum mistake { BAD_TEXT, NULL_VALUE, NULL_FIELD, OLD_CURSOR, BROADCAST_WRITE, NO_TIMER, UNDECLARED, IGNORED, RETURNS };
WEIR_VALUE_STATE(text, "STRING");
WEIR_VALUE_STATE(undeclared, "BIGINT");
static const void *const mistake_states[] = {&text.decl, &all.decl, &old_value.decl, &rules.decl, NULL};

static int make_mistake(struct weir_ctx *ctx, const struct event *in, struct weir_out_rows *out)
{
    static struct weir_cursor kept;
    struct weir_str bad = {"\xff\xfe", 2};
    struct old_profile p = {.visits = 1, .name = {"", 0}};
    int64_t seven = 7, *none = NULL;
    (void)out;
    switch ((enum mistake)in->a) {
    case BAD_TEXT:
        return weir_value_put(ctx, &text, &bad);
    case IGNORED:
        (void)weir_value_put(ctx, &text, &bad);
        return 0;
    case NULL_VALUE:
        return weir_list_add(ctx, &all, none);
    case NULL_FIELD:
        weir_set_null((&p), name, true);
        return weir_value_put(ctx, &old_value, &p);
    case OLD_CURSOR:
        weir_list_add(ctx, &all, &seven);
        return weir_list_next(ctx, &all, &kept) == NULL;
    case BROADCAST_WRITE:
        return weir_map_put(ctx, &rules, &seven, &seven);
    case NO_TIMER:
        return weir_timer_event(ctx, 1);
    case UNDECLARED:
        return weir_value_put(ctx, &undeclared, &seven);
    default:
        return 42;
    }
}

static void mistakes_fail_the_task_with_a_sentence(void **state)
{
    static const char *const says[] = {
        [BAD_TEXT] = "state 'text', a value: 'value' is text that is not valid UTF-8",
        [IGNORED] = "not valid UTF-8",
        [NULL_VALUE] = "state 'all' is given NULL as a value",
        [NULL_FIELD] = "state 'value', a value: 'name' is NULL, which is NOT NULL",
        [OLD_CURSOR] = "a cursor on state 'all' is of an earlier call",
        [BROADCAST_WRITE] = "broadcast state 'rules' may be changed in .on_row2",
        [NO_TIMER] = "a timer is set, and weir_process() has no .on_timer",
        [UNDECLARED] = "a state is used that the job's object does not declare",
        [RETURNS] = "the function returned 42",
    };
    (void)state;
    for (int i = 0; i <= RETURNS; i++) {
        struct weir_harness_setup setup = setup_of((void *)make_mistake, mistake_states);
        struct weir_harness *h = begin(&setup);
        char rows[64];
        snprintf(rows, sizeof rows, "5|%d\n5|%d", i, i);
        assert_false(weir_harness_rows_in(h, 0, rows));
        if (!strstr(weir_harness_error(h), says[i]))
            fail_msg("%s\n%s", weir_harness_error(h), says[i]);
        assert_non_null(strstr(weir_harness_error(h), "\"key\": 5"));
        weir_harness_free(h);
    }
}

static void state_of_a_key_needs_a_key(void **state)
{
    struct weir_harness_setup setup = setup_of((void *)keyed_side, two_states);
    (void)state;
    setup.key[0] = NULL;
    struct weir_harness *h = begin(&setup);
    assert_false(weir_harness_rows_in(h, 0, "5|5"));
    assert_non_null(strstr(weir_harness_error(h), "state 'count' belongs to a key: weir_process(weir_key_by("));
    weir_harness_free(h);
    setup = two_inputs((void *)rule_side, true);
    h = begin(&setup);
    assert_false(weir_harness_rows_in(h, 1, "-1|5"));
    assert_non_null(strstr(weir_harness_error(h), "rows of a broadcast input have none"));
    weir_harness_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(older_schemas_are_read),
        cmocka_unit_test(schemas_that_do_not_fit_are_refused),
        cmocka_unit_test(key_types_cannot_change),
        cmocka_unit_test(damaged_values_are_found),
        cmocka_unit_test(another_parallelism_changes_nothing),
        cmocka_unit_test(lists_of_the_operator_are_dealt_out),
        cmocka_unit_test(two_inputs_share_their_state),
        cmocka_unit_test(mistakes_fail_the_task_with_a_sentence),
        cmocka_unit_test(state_of_a_key_needs_a_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
