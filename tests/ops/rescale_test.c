/* Every operator: a snapshot between any two inputs, restored with the same, a higher and a lower parallelism, and what comes out is the same rows as
 * without. Parts are dealt as the JobManager deals them (jm_checkpoint.c, part_is_for()). An operator of the table without a case here fails the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <ftw.h>
#include <sys/stat.h>

#include "connectors/connectors_int.h"
#include "ops/harness.h"
#include "ops/ops_int.h"
#include "state/snapshot.h"
#include "weir/weir.h"

#define SUBTASKS_MAX 4
#define SPLIT "id STRING NOT NULL, offset BIGINT NOT NULL, size BIGINT NOT NULL, remaining BIGINT NOT NULL"
#define EVENT "key BIGINT NOT NULL, n BIGINT NOT NULL, ts TIMESTAMP(3) NOT NULL"

struct event {
    int64_t key;
    int64_t n;
    weir_ts ts;
};
WEIR_ROW(event, WEIR_FIELD(key, "BIGINT NOT NULL"), WEIR_FIELD(n, "BIGINT NOT NULL"),
         WEIR_FIELD(ts, "TIMESTAMP(3) NOT NULL"));

static int negate(struct weir_ctx *ctx, const struct event *in, struct event *out)
{
    (void)ctx;
    *out = *in;
    out->n = -in->n;
    return 0;
}

static int twice(struct weir_ctx *ctx, const struct event *in, struct weir_out_rows *out)
{
    (void)ctx;
    return weir_emit(out, in) || weir_emit(out, in);
}

WEIR_VALUE_STATE(sum, "BIGINT");
WEIR_LIST_STATE(all, "BIGINT");
WEIR_MAP_STATE(by_n, "BIGINT", "BIGINT");
static const void *const states[] = {&sum.decl, &all.decl, &by_n.decl, NULL};

/* Each key's sum so far, how many it had of this n, and its list at the end. */
static int remember(struct weir_ctx *ctx, const struct event *in, struct weir_out_rows *out)
{
    const int64_t *was = weir_value_get(ctx, &sum), *had = weir_map_get(ctx, &by_n, &in->n);
    int64_t now = (was ? *was : 0) + in->n, count = (had ? *had : 0) + 1;
    weir_value_put(ctx, &sum, &now);
    weir_map_put(ctx, &by_n, &in->n, &count);
    weir_list_add(ctx, &all, &in->n);
    struct event row = {in->key, now * 1000 + count, in->ts};
    return weir_emit(out, &row) || weir_timer_event(ctx, in->ts + 3000);
}

static int remind(struct weir_ctx *ctx, weir_ts time, struct weir_out_rows *out)
{
    int64_t total = 0;
    size_t count = 0;
    const int64_t *list = weir_list_get(ctx, &all, &count);
    for (size_t i = 0; i < count; i++)
        total += list[i];
    struct event row = {weir_key(ctx, event)->key, total, time};
    return weir_emit(out, &row);
}

/* --- Inputs */

struct item {
    int input;
    char *rows; /* NULL: a watermark */
    int64_t watermark_ms;
};

struct items {
    struct item list[64];
    int count;
};

/* Rows of some keys, out of order, and watermarks between them. */
static void make_events(struct items *items, int inputs)
{
    uint32_t random = 12345;
    for (int i = 0; i < 24; i++) {
        struct item *item = &items->list[items->count++];
        if (i % 3 == 2) {
            *item = (struct item){.watermark_ms = i * 400};
            continue;
        }
        struct weir_buf rows;
        weir_buf_init(&rows, 1 << 16);
        for (int r = 0; r < 5; r++) {
            random = random * 1103515245u + 12345u;
            assert_true(weir_buf_printf(&rows, "%s%u|%u|%u", r ? "\n" : "", (random >> 16) % 9, (random >> 8) % 4,
                                        (unsigned)(i * 400 + (int)((random >> 4) % 1500))));
        }
        *item = (struct item){.input = i % inputs, .rows = weir_strdup((const char *)rows.data)};
        weir_buf_fini(&rows);
    }
}

/* --- Cases */

struct rescale_case {
    struct weir_harness_setup setup;
    bool pulls;      /* a source: driven by calls, not by items */
    bool splits_in;  /* its items are splits, each read in several calls */
    bool one;        /* its parallelism is always 1 */
    const char *out; /* a sink's directory */
};

static char dir[64];

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/weir-rescale-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

struct fleet {
    const struct rescale_case *of;
    int parallelism;
    struct weir_harness_setup setups[SUBTASKS_MAX];
    struct weir_harness *h[SUBTASKS_MAX];
    struct weir_restored *restored[SUBTASKS_MAX];
    int next; /* the subtask of the next row without a key */
};

static void open_fleet(struct fleet *fleet, const struct rescale_case *of, int parallelism, int attempt,
                       struct weir_restored *const *restored)
{
    *fleet = (struct fleet){.of = of, .parallelism = of->one ? 1 : parallelism};
    for (int i = 0; i < fleet->parallelism; i++) {
        struct weir_error error;
        fleet->setups[i] = of->setup;
        fleet->setups[i].parallelism = fleet->parallelism;
        fleet->setups[i].subtask = i;
        fleet->setups[i].attempt = attempt;
        fleet->setups[i].consumer_parallelism = parallelism;
        fleet->setups[i].checkpoints = true;
        fleet->setups[i].restored = fleet->restored[i] = restored ? restored[i] : NULL;
        /* Full outputs: a source says AGAIN after each batch. */
        fleet->h[i] = weir_harness_new(&fleet->setups[i], &weir_harness_modes[3], &error);
        if (!fleet->h[i])
            fail_msg("%s, %d of %d: %s", of->setup.op->name, i, fleet->parallelism, error.message);
    }
}

static void close_fleet(struct fleet *fleet)
{
    for (int i = 0; i < fleet->parallelism; i++) {
        weir_harness_free(fleet->h[i]);
        weir_restored_free(fleet->restored[i]);
    }
}

/* Rows of a keyed stream go to whom their key group belongs, others in turn. */
static void feed_rows(struct fleet *fleet, int input, const char *rows)
{
    const struct weir_harness_setup *setup = &fleet->of->setup;
    struct weir_schema *schema = weir_harness_input_schema(fleet->h[0], input);
    struct weir_batch *batch = weir_harness_batch_of(schema, rows);
    uint64_t hashes[64];
    int32_t own[64];
    assert_true(batch->row_count <= 64);
    if (setup->key[0]) {
        struct weir_key_spec key;
        assert_int_equal(weir_key_spec_resolve(schema, setup->key, 1, &key, NULL), 0);
        weir_key_hash(batch, &key, hashes);
    }
    for (int i = 0; i < fleet->parallelism; i++) {
        int count = 0;
        for (int r = 0; r < batch->row_count; r++) {
            int group = setup->key[0] ? weir_key_group(hashes[r], WEIR_MAX_PARALLELISM_DEFAULT) : 0;
            int to = setup->key[0] ? weir_key_group_subtask(group, WEIR_MAX_PARALLELISM_DEFAULT, fleet->parallelism)
                                   : (fleet->next + r) % fleet->parallelism;
            if (to == i)
                own[count++] = r;
        }
        if (count > 0 && !weir_harness_batch(fleet->h[i], input, weir_batch_gather(batch, own, count)))
            fail_msg("%s: %s", setup->op->name, weir_harness_error(fleet->h[i]));
    }
    fleet->next += batch->row_count;
    weir_batch_unref(batch);
}

static void feed(struct fleet *fleet, const struct item *item)
{
    if (item->rows) {
        feed_rows(fleet, item->input, item->rows);
        return;
    }
    for (int i = 0; i < fleet->parallelism; i++)
        if (!weir_harness_watermark(fleet->h[i], item->watermark_ms))
            fail_msg("%s: %s", fleet->of->setup.op->name, weir_harness_error(fleet->h[i]));
}

static void commit(const char *text)
{
    struct weir_error error;
    if (weir_connector_filesystem.commit(text, &error))
        fail_msg("%s", error.message);
}

static void end_fleet(struct fleet *fleet)
{
    for (int i = 0; i < fleet->parallelism; i++) {
        if (!weir_harness_end(fleet->h[i]))
            fail_msg("%s: %s", fleet->of->setup.op->name, weir_harness_error(fleet->h[i]));
        if (fleet->of->out && weir_harness_committable(fleet->h[i]))
            commit(strchr(weir_harness_committable(fleet->h[i]), '\n') + 1);
    }
}

/* --- What came out, as a multiset of lines */

static void collect(const struct fleet *fleet, struct weir_buf *out)
{
    for (int i = 0; i < fleet->parallelism; i++)
        for (int o = 0; o < WEIR_HARNESS_OUTPUTS; o++)
            assert_true(weir_buf_puts(out, weir_harness_rows(fleet->h[i], o)));
}

static void collect_files(const char *path, struct weir_buf *out)
{
    DIR *stream = opendir(path);
    assert_non_null(stream);
    for (struct dirent *entry; (entry = readdir(stream));) {
        char name[400], line[400];
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        FILE *file = strncmp(entry->d_name, "part-", 5) == 0 ? fopen(name, "r") : NULL;
        while (file && fgets(line, sizeof line, file))
            assert_true(weir_buf_puts(out, line));
        if (file)
            fclose(file);
        if (entry->d_name[0] != '.' || strncmp(entry->d_name, ".part", 5) == 0)
            assert_int_equal(remove(name), 0);
    }
    closedir(stream);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *sorted(struct weir_buf *lines)
{
    char *text = weir_strdup(lines->data ? (const char *)lines->data : ""), *rest = NULL;
    int count = 0;
    for (const char *p = text; *p; p++)
        count += *p == '\n';
    char **list = weir_alloc(((size_t)count + 1) * sizeof *list);
    count = 0;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        list[count++] = line;
    qsort(list, (size_t)count, sizeof *list, by_text);
    struct weir_buf out;
    weir_buf_init(&out, 64 << 20);
    for (int i = 0; i < count; i++)
        assert_true(weir_buf_printf(&out, "%s\n", list[i]));
    char *result = weir_strdup(out.data ? (const char *)out.data : "");
    weir_buf_fini(&out);
    free(list);
    free(text);
    return result;
}

/* --- A checkpoint, and its parts dealt to a new fleet */

static bool is_for(const struct weir_snapshot_part *part, int from, int of, int subtask, int parallelism)
{
    int first, count, part_first, part_count;
    switch (part->kind) {
    case WEIR_STATE_UNION:
        return true;
    case WEIR_STATE_SPLIT:
        return of != parallelism || from == subtask;
    case WEIR_STATE_KEYED:
        weir_key_group_range(WEIR_MAX_PARALLELISM_DEFAULT, parallelism, subtask, &first, &count);
        weir_key_group_range(WEIR_MAX_PARALLELISM_DEFAULT, of, from, &part_first, &part_count);
        return first < part_first + part_count && part_first < first + count;
    default:
        if (of != parallelism)
            fail_msg("state '%s' is of one subtask: its operator could not be rescaled", part->name);
        return from == subtask;
    }
}

static void deal(const struct fleet *from, int parallelism, struct weir_restored **restored)
{
    for (int i = 0; i < parallelism; i++)
        restored[i] = weir_restored_new(1);
    for (int f = 0; f < from->parallelism; f++) {
        if (!from->of->setup.op->snapshot)
            continue;
        struct weir_snapshot *snapshot = weir_harness_snapshot(from->h[f], 1, 0);
        for (const struct weir_snapshot_committable *c = snapshot->committables; c; c = c->next)
            commit(c->text);
        for (const struct weir_snapshot_part *part = snapshot->parts; part; part = part->next)
            for (int i = 0; i < parallelism; i++) {
                if (!is_for(part, f, from->parallelism, i, parallelism))
                    continue;
                uint8_t *bytes = weir_alloc(part->bytes.size + 1);
                memcpy(bytes, part->bytes.data, part->bytes.size);
                weir_restored_add(restored[i], part->uid, part->name, part->kind, f, from->parallelism, bytes,
                                  part->bytes.size);
            }
        weir_snapshot_free(snapshot);
    }
}

/* Runs the items; after the first `cut` of them (or calls of a source) the fleet is replaced. cut < 0: by none. True: that far it goes. */
static bool run(const struct rescale_case *of, const struct items *items, int cut, int before, int after, char **rows)
{
    struct fleet fleet;
    struct weir_buf out;
    struct weir_restored *restored[SUBTASKS_MAX];
    bool more = !of->pulls && cut < items->count;
    weir_buf_init(&out, 64 << 20);
    open_fleet(&fleet, of, before, 1, NULL);
    for (int i = 0; i < cut && !of->pulls; i++)
        feed(&fleet, &items->list[i]);
    for (int i = 0; of->pulls && cut >= 0 && i < fleet.parallelism; i++) {
        struct weir_batch *splits = NULL;
        if (of->splits_in) {
            struct weir_buf own;
            weir_buf_init(&own, 1 << 16);
            for (int s = i; s < items->count; s += fleet.parallelism)
                assert_true(weir_buf_printf(&own, "%s%s", own.size ? "\n" : "", items->list[s].rows));
            splits = weir_harness_batch_of(weir_harness_input_schema(fleet.h[i], 0), (const char *)own.data);
            weir_buf_fini(&own);
        }
        more |= !weir_harness_calls(fleet.h[i], splits, cut);
    }
    if (cut >= 0) {
        int parallelism = of->one ? 1 : after;
        deal(&fleet, parallelism, restored);
        collect(&fleet, &out);
        close_fleet(&fleet);
        open_fleet(&fleet, of, after, 2, restored);
    }
    for (int i = cut < 0 ? 0 : cut; i < items->count && (!of->pulls || (of->splits_in && cut < 0)); i++)
        feed(&fleet, &items->list[i]);
    for (int i = 0; of->pulls && !of->splits_in && i < fleet.parallelism; i++)
        assert_true(weir_harness_produce(fleet.h[i]));
    end_fleet(&fleet);
    collect(&fleet, &out);
    close_fleet(&fleet);
    if (of->out)
        collect_files(of->out, &out);
    *rows = sorted(&out);
    weir_buf_fini(&out);
    return more;
}

static void check_case(const struct rescale_case *of, const struct items *items)
{
    static const int ways[][2] = {{2, 2}, {2, 3}, {3, 2}, {1, 4}};
    char *wanted;
    (void)run(of, items, -1, 2, 2, &wanted);
    if (!of->setup.op->is_source)
        assert_true(wanted[0]);
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        if (of->one && ways[w][0] == 1)
            continue; /* for one reader files are not cut */
        bool more = true;
        for (int cut = of->splits_in; more; cut++) { /* splits that were taken are state, others are the channel's */
            char *got;
            assert_true(cut < 1000);
            more = run(of, items, cut, ways[w][0], ways[w][1], &got);
            if (strcmp(got, wanted) != 0) {
                size_t at = 0;
                while (got[at] == wanted[at])
                    at++;
                while (at > 0 && got[at - 1] != '\n')
                    at--;
                fail_msg("%s, after %d, from %d to %d: \n%.300s...\nwhere it was\n%.300s", of->setup.op->name, cut,
                         ways[w][0], ways[w][1], got + at, wanted + at);
            }
            free(got);
        }
    }
    free(wanted);
}

/* --- The operators */

static void make_files(struct items *splits)
{
    for (int f = 0; f < 5; f++) {
        char path[100];
        snprintf(path, sizeof path, "%s/in-%d", dir, f);
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        for (int i = 0; i < 3000; i++)
            fprintf(file, "%d\n", f * 10000 + i);
        assert_int_equal(fclose(file), 0);
        if (splits)
            splits->list[splits->count++].rows = weir_format("%s|0|-1|%d", path, 4 - f);
    }
}

static const char *const filter_options[] = {"condition", "n > 1", NULL};
static const char *const select_options[] = {"columns", "key, n * 2 AS m", NULL};
static const char *const row_options[] = {"row.in", EVENT, NULL};
static const char *const watermark_options[] = {"watermark.expression", "ts - INTERVAL '2' SECOND", NULL};

static bool find_case(const struct weir_op_vtable *op, int number, struct rescale_case *of, struct items *items)
{
    struct weir_harness_setup *setup = &of->setup;
    *of = (struct rescale_case){.setup = {.op = op, .inputs = {EVENT}}};
    *items = (struct items){.count = 0};
    if (op == &weir_op_source || op == &weir_op_splits) {
        static const char *source[] = {"connector", "filesystem", "path", dir, "format", "raw", NULL};
        static const char *splits[] = {"connector", "filesystem", "path", dir, "split.size", "2000", NULL};
        bool reads = op == &weir_op_source;
        *of = (struct rescale_case){
            .setup = {.op = op, .options = reads ? source : splits}, .pulls = true, .splits_in = reads, .one = !reads};
        setup->inputs[0] = reads ? SPLIT : NULL;
        setup->declared = reads ? "line STRING NOT NULL" : NULL;
        make_files(reads ? items : NULL);
        return number == 0;
    }
    make_events(items, op == &weir_op_union ? 2 : 1);
    if (op == &weir_op_filter) {
        setup->options = filter_options;
    } else if (op == &weir_op_select) {
        setup->options = select_options;
    } else if (op == &weir_op_union) {
        setup->inputs[1] = EVENT;
    } else if (op == &weir_op_map || op == &weir_op_flat_map || op == &weir_op_process) {
        setup->options = row_options;
        setup->declared = EVENT;
        setup->row_in = setup->row_out = &weir_row_event;
        setup->function = op == &weir_op_map        ? (void *)negate
                          : op == &weir_op_flat_map ? (void *)twice
                                                    : (void *)remember;
        if (op == &weir_op_process) {
            setup->key[0] = "key";
            setup->states = states;
            setup->on_timer = (void *)remind;
        }
    } else if (op == &weir_op_watermark) {
        setup->options = watermark_options;
    } else if (op == &weir_op_sink) {
        static char out[80];
        snprintf(out, sizeof out, "%s/out", dir);
        of->out = out;
        static const char *options[] = {"connector", "filesystem", "path", out, "format", "json", NULL};
        setup->options = options;
    } else if (op == &weir_op_window) {
        static const char *const windows[3][14] = {
            {"window.type", "tumbling", "window.size", "1 s", "window.allowed-lateness", "500 ms", "time.column", "ts",
             "aggregates", "key, window_end, COUNT(*) AS c, SUM(n) AS s", NULL},
            {"window.type", "sliding", "window.size", "2500 ms", "window.slide", "1 s", "time.column", "ts",
             "aggregates", "key, window_end, COUNT(*) AS c, MAX(n) AS s", NULL},
            {"window.type", "session", "window.gap", "700 ms", "time.column", "ts", "aggregates",
             "key, window_start, window_end, COUNT(*) AS c", NULL}};
        setup->options = windows[number % 3];
        setup->key[0] = "key";
        return number < 3;
    } else {
        return false;
    }
    return number == 0;
}

static void free_items(struct items *items)
{
    for (int i = 0; i < items->count; i++)
        free(items->list[i].rows);
}

static void test_every_operator(void **state)
{
    (void)state;
    for (int i = 0; weir_ops[i]; i++) {
        struct rescale_case of;
        struct items items;
        int number = 0;
        while (find_case(weir_ops[i], number, &of, &items)) {
            check_case(&of, &items);
            free_items(&items);
            number++;
        }
        free_items(&items);
        if (number == 0)
            fail_msg(
                "the operator '%s' has no case here: how are its rows the same after a restore at another parallelism?",
                weir_ops[i]->name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_operator, make_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
