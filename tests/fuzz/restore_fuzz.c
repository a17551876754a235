/* What an operator begins with: parts of a checkpoint, as the executor hands them to it after their checksums have been compared.
 *
 * Input: u8 which operator (below; + 128: checksums within runs are left as they are, + 64: states beyond memory), then parts: u8 name
 * (of the operator's states; the last one is unknown to it), u8 kind, u8 subtask, u8 parallelism, u16 size, the bytes.
 * Checked: it is refused with a sentence, as damaged or as not fitting, or it works: takes rows, gives a snapshot, and what begins with that
 * snapshot gives the same rows as the one that gave it.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "fuzz/run_fit.h"
#include "ops/harness.h"
#include "ops/ops_int.h"
#include "state/snapshot.h"
#include "weir/weir.h"

#define UID "0123456789abcdef0123456789abcdef" /* the harness's */
#define EVENT "key BIGINT NOT NULL, n BIGINT, ts TIMESTAMP(3) NOT NULL, name STRING"
#define SPLIT "id STRING NOT NULL, offset BIGINT NOT NULL, size BIGINT NOT NULL, remaining BIGINT NOT NULL"
#define PARTS_MAX 8
#define IN_FD 300
#define IN_PATH "/proc/self/fd/300"

/* --- A function with every form of state, in an old and a new version */

struct event {
    WEIR_NULLS(event);
    int64_t key;
    int64_t n;
    weir_ts ts;
    struct weir_str name;
};
WEIR_ROW_NULLS(event, WEIR_FIELD(key, "BIGINT NOT NULL"), WEIR_FIELD(n, "BIGINT"),
               WEIR_FIELD(ts, "TIMESTAMP(3) NOT NULL"), WEIR_FIELD(name, "STRING"));

struct profile {
    WEIR_NULLS(profile);
    int32_t visits;
    float score;
    struct weir_str name;
};
WEIR_ROW_NULLS(profile, WEIR_FIELD(visits, "INT NOT NULL"), WEIR_FIELD(score, "FLOAT"),
               WEIR_FIELD(name, "STRING NOT NULL"));
struct wider {
    WEIR_NULLS(wider);
    struct weir_str city;
    int64_t visits;
    struct weir_str name;
    double score;
    bool active;
};
WEIR_ROW_NULLS(wider, WEIR_FIELD(city, "STRING"), WEIR_FIELD(visits, "BIGINT NOT NULL"), WEIR_FIELD(name, "STRING"),
               WEIR_FIELD(score, "DOUBLE"), WEIR_FIELD(active, "BOOLEAN NOT NULL DEFAULT TRUE"));

static int add_up(struct weir_ctx *ctx, int64_t *sum, const int64_t *value)
{
    (void)ctx;
    *sum = (int64_t)((uint64_t)*sum + (uint64_t)*value);
    return 0;
}

#ifdef __clang__
#pragma clang diagnostic ignored "-Winitializer-overrides"
#else
#pragma GCC diagnostic ignored "-Woverride-init"
#endif
WEIR_VALUE_STATE_OF(value, profile);
WEIR_LIST_STATE_OF(list, profile);
WEIR_MAP_STATE_OF(map, "INT", profile);
WEIR_REDUCING_STATE(sum, "BIGINT", add_up);
WEIR_VALUE_STATE(short_lived, "SMALLINT", .ttl = "1 h");
WEIR_SPLIT_LIST_STATE(dealt, "STRING");
WEIR_UNION_LIST_STATE_OF(own, profile);
static const void *const states[] = {&value.decl,       &list.decl,  &map.decl, &sum.decl,
                                     &short_lived.decl, &dealt.decl, &own.decl, NULL};
WEIR_VALUE_STATE_OF(new_value, wider, .name = "value");
WEIR_LIST_STATE_OF(new_list, wider, .name = "list");
WEIR_MAP_STATE_OF(new_map, "INT", wider, .name = "map");
WEIR_VALUE_STATE(new_short_lived, "BIGINT", .name = "short_lived");
WEIR_UNION_LIST_STATE_OF(new_own, wider, .name = "own");
static const void *const new_states[] = {&new_value.decl,       &new_list.decl, &new_map.decl,
                                         &new_short_lived.decl, &new_own.decl,  NULL};

static int say(struct weir_ctx *ctx, struct weir_out_rows *out, const struct event *in, int64_t n)
{
    struct event row = *in;
    (void)ctx;
    weir_set_null(&row, n, false);
    row.n = n;
    return weir_emit(out, &row);
}

static int use_old(struct weir_ctx *ctx, const struct event *in, struct weir_out_rows *out)
{
    const struct profile *was = weir_value_get(ctx, &value);
    struct profile now = {.visits = was ? (int32_t)((uint32_t)was->visits + 1) : 1, .name = in->name};
    int64_t count = now.visits, one = in->n;
    int16_t small = 7;
    const int32_t *entry;
    struct weir_cursor at = {{0}};
    for (const struct profile *p; (p = weir_list_next(ctx, &list, &at));)
        count += (int64_t)p->name.size;
    at = (struct weir_cursor){{0}};
    for (const struct profile *p; (p = weir_map_next(ctx, &map, &at, &entry));)
        count += (int64_t)p->name.size;
    at = (struct weir_cursor){{0}};
    for (const struct weir_str *s; (s = weir_list_next(ctx, &dealt, &at));)
        count += (int64_t)s->size;
    const int16_t *had = weir_value_get(ctx, &short_lived);
    count += had ? *had : 0;
    int32_t key = (int32_t)in->key;
    return say(ctx, out, in, count) || weir_value_put(ctx, &value, &now) || weir_list_add(ctx, &list, &now) ||
           weir_map_put(ctx, &map, &key, &now) || weir_reducing_add(ctx, &sum, &one) ||
           weir_value_put(ctx, &short_lived, &small) || weir_list_add(ctx, &dealt, &in->name) ||
           weir_list_add(ctx, &own, &now) || weir_timer_event(ctx, in->ts + 2000);
}

static int use_new(struct weir_ctx *ctx, const struct event *in, struct weir_out_rows *out)
{
    const struct wider *was = weir_value_get(ctx, &new_value);
    struct wider now = {.visits = was ? (int64_t)((uint64_t)was->visits + 1) : 1, .name = in->name};
    int64_t count = now.visits;
    const int32_t *entry;
    struct weir_cursor at = {{0}};
    for (const struct wider *p; (p = weir_list_next(ctx, &new_list, &at));)
        count = (int64_t)((uint64_t)count + (uint64_t)p->visits + p->active);
    at = (struct weir_cursor){{0}};
    for (const struct wider *p; (p = weir_map_next(ctx, &new_map, &at, &entry));)
        count = (int64_t)((uint64_t)count + p->city.size + p->name.size);
    at = (struct weir_cursor){{0}};
    for (const struct wider *p; (p = weir_list_next(ctx, &new_own, &at));)
        count = (int64_t)((uint64_t)count + p->name.size);
    const int64_t *had = weir_value_get(ctx, &new_short_lived);
    count = (int64_t)((uint64_t)count + (uint64_t)(had ? *had : 0));
    return say(ctx, out, in, count) || weir_value_put(ctx, &new_value, &now) || weir_list_add(ctx, &new_list, &now);
}

static int on_timer(struct weir_ctx *ctx, weir_ts time, struct weir_out_rows *out)
{
    const int64_t *total = weir_reducing_get(ctx, &sum);
    struct event row = {.ts = time, .n = total ? *total : -1, .key = weir_key(ctx, event)->key};
    return weir_emit(out, &row);
}

static int on_timer_new(struct weir_ctx *ctx, weir_ts time, struct weir_out_rows *out)
{
    struct event row = {.ts = time, .key = weir_key(ctx, event)->key};
    return weir_emit(out, &row);
}

/* --- The operators */

#define AGGREGATES "key, window_start, window_end, COUNT(*) AS c, SUM(n) AS s, MAX(name) AS m, AVG(n) AS a"
static const char *const tumbling[] = {
    "window.type", "tumbling",   "window.size", "1 s", "window.allowed-lateness", "500 ms", "time.column",
    "ts",          "aggregates", AGGREGATES,    NULL};
static const char *const sliding[] = {"window.type",  "sliding",  "window.size", "2500 ms",
                                      "window.slide", "1 s",      "time.column", "ts",
                                      "aggregates",   AGGREGATES, NULL};
static const char *const sessions[] = {"window.type", "session",    "window.gap", "700 ms", "time.column",
                                       "ts",          "aggregates", AGGREGATES,   NULL};
static const char *const process[] = {"row.in", EVENT, NULL};
static const char *const watermarks[] = {"watermark.expression", "ts - INTERVAL '2' SECOND", NULL};
static const char *const generated[] = {"connector", "datagen", "rows", "50", NULL};
static const char *const files[] = {"connector", "filesystem", "path", IN_PATH, "format", "raw", NULL};
static const char *const split_files[] = {"connector", "filesystem", "path", IN_PATH, "split.size", "2000", NULL};

static const struct target {
    const struct weir_op_vtable *op;
    const char *const *options;
    const char *names[8]; /* of its states */
    bool keyed, source, splits;
} targets[] = {
    {&weir_op_window, tumbling, {"windows", "watermark", "?"}, .keyed = true},
    {&weir_op_window, sliding, {"windows", "watermark", "?"}, .keyed = true},
    {&weir_op_window, sessions, {"windows", "watermark", "?"}, .keyed = true},
    {&weir_op_process,
     process,
     {"value", "list", "map", "sum", "short_lived", "dealt", "_event_timers", "own"},
     .keyed = true},
    {&weir_op_process,
     process,
     {"value", "list", "map", "sum", "short_lived", "_processing_timers", "_event_timers", "own"},
     .keyed = true},
    {&weir_op_watermark, watermarks, {"watermark", "?"}, .keyed = false},
    {&weir_op_source, generated, {"reader", "?"}, .source = true},
    {&weir_op_source, files, {"reader", "?"}, .source = true, .splits = true},
    {&weir_op_splits, split_files, {"splits", "?"}, .source = true},
};
#define TARGETS (int)(sizeof targets / sizeof *targets)

static struct weir_harness_setup setup_of(int number, const struct weir_restored *restored)
{
    const struct target *target = &targets[number];
    bool is_process = target->op == &weir_op_process, is_new = is_process && target->names[5][0] == '_';
    struct weir_harness_setup setup = {.op = target->op,
                                       .options = target->options,
                                       .inputs = {target->splits   ? SPLIT
                                                  : target->source ? NULL
                                                                   : EVENT},
                                       .declared = target->splits                  ? "line STRING NOT NULL"
                                                   : target->op == &weir_op_source ? "n BIGINT NOT NULL"
                                                   : is_process                    ? EVENT
                                                                                   : NULL,
                                       .checkpoints = true,
                                       .restored = restored};
    if (target->keyed)
        setup.key[0] = "key";
    if (is_process) {
        setup.row_in = setup.row_out = &weir_row_event;
        setup.function = is_new ? (void *)use_new : (void *)use_old;
        setup.on_timer = is_new ? (void *)on_timer_new : (void *)on_timer;
        setup.states = is_new ? new_states : states;
    }
    return setup;
}

/* Its path is always the same, so that positions in the corpus fit. */
static void make_file(void)
{
    static bool made;
    char text[900 * 4];
    int size = 0;
    if (made)
        return;
    for (int i = 0; i < 900; i++)
        size += snprintf(text + size, sizeof text - (size_t)size, "%d\n", i);
    int fd = memfd_create("in", MFD_CLOEXEC);
    fuzz_check(fd >= 0 && write(fd, text, (size_t)size) == size && dup2(fd, IN_FD) == IN_FD);
    close(fd);
    made = true;
}

/* --- One input */

static struct weir_restored *parts_of(struct fuzz_input *in, const struct target *target, bool fit)
{
    struct weir_restored *restored = weir_restored_new(3);
    int names = 0;
    while (names < 8 && target->names[names])
        names++;
    for (int i = 0; i < PARTS_MAX && in->left > 0; i++) {
        const char *name = target->names[fuzz_number(in, 1) % (unsigned)names];
        enum weir_state_kind kind = (enum weir_state_kind)(1 + fuzz_number(in, 1) % 6);
        int subtask = (int)fuzz_number(in, 1), parallelism = (int)fuzz_number(in, 1);
        struct fuzz_input part = fuzz_take(in, (size_t)fuzz_number(in, 2));
        uint8_t *bytes = weir_alloc(part.left + 1);
        if (part.left)
            memcpy(bytes, part.at, part.left);
        if (fit)
            fuzz_fit_run(bytes, part.left);
        /* What the metadata's reader lets through. */
        parallelism += parallelism == 0;
        weir_restored_add(restored, UID, name, kind, subtask % parallelism, parallelism, bytes, part.left);
    }
    return restored;
}

/* False: it failed, and said why. */
static bool work(struct weir_harness *h, const struct target *target)
{
    if (target->splits || target->source)
        return !target->splits ? weir_harness_produce(h) : weir_harness_end(h);
    return weir_harness_rows_in(h, 0, "5|3|1000|ab\n6|null|1500|null\n5|4|2600|c\n-1|9|2600|d") &&
           weir_harness_watermark(h, 2000) && weir_harness_rows_in(h, 0, "5|1|3100|e\n7|2|3300|f") &&
           weir_harness_end(h);
}

static struct weir_restored *restored_of(struct weir_harness *h)
{
    struct weir_snapshot *snapshot = weir_harness_snapshot(h, 4, 3);
    struct weir_restored *restored = weir_restored_new(4);
    for (const struct weir_snapshot_part *part = snapshot->parts; part; part = part->next) {
        uint8_t *bytes = weir_alloc(part->bytes.size + 1);
        if (part->bytes.size)
            memcpy(bytes, part->bytes.data, part->bytes.size);
        weir_restored_add(restored, part->uid, part->name, part->kind, 0, 1, bytes, part->bytes.size);
    }
    weir_snapshot_free(snapshot);
    return restored;
}

static void again(int number, struct weir_restored *take_restored, const struct weir_harness_mode *mode, bool worked,
                  const char *rows)
{
    struct weir_error error;
    struct weir_harness_setup setup = setup_of(number, take_restored);
    struct weir_harness *h = weir_harness_new(&setup, mode, &error);
    if (!h)
        fprintf(stderr, "its own snapshot: %s\n", error.message);
    fuzz_check(h);
    fuzz_check(work(h, &targets[number]) == worked);
    fuzz_check(strcmp(weir_harness_rows(h, 0), rows) == 0);
    weir_harness_free(h);
    weir_restored_free(take_restored);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    struct weir_error error = {.code = WEIR_OK};
    unsigned what = (unsigned)fuzz_number(&in, 1);
    int number = (int)(what & 63) % TARGETS;
    const struct target *target = &targets[number];
    make_file();
    weir_log_level_min = WEIR_LOG_ERROR; /* a state that is dropped is worth a line, not thousands */
    struct weir_harness_mode mode = weir_harness_modes[0];
    mode.disk = what & 64 && target->keyed;
    struct weir_restored *restored = parts_of(&in, target, what < 128), *given = NULL;
    struct weir_harness_setup setup = setup_of(number, restored);
    struct weir_harness *h = weir_harness_new(&setup, &mode, &error);
    if (!h) {
        fuzz_check(error.message[0]);
        fuzz_check(error.code == WEIR_ERR_DATA || error.code == WEIR_ERR_INVALID ||
                   error.code == WEIR_ERR_UNSUPPORTED || error.code == WEIR_ERR_NOT_FOUND);
    } else {
        if (target->op->snapshot)
            given = restored_of(h);
        bool worked = work(h, target);
        fuzz_check(worked || weir_harness_error(h)[0]);
        if (given)
            again(number, given, &mode, worked, weir_harness_rows(h, 0));
        weir_harness_free(h);
    }
    weir_restored_free(restored);
    return 0;
}

/* --- Seeds: what the operators themselves give after some rows */

/* `as` the same, or one that has all but some of its states. */
static void put_target(fuzz_put *put, int number, int as)
{
    const struct target *target = &targets[number];
    struct weir_harness_setup setup = setup_of(number, NULL);
    struct weir_error error;
    /* Full outputs: a source has not given all after one call. */
    struct weir_harness *h = weir_harness_new(&setup, &weir_harness_modes[3], &error);
    struct weir_buf out;
    char name[40];
    fuzz_check(h);
    if (target->splits) {
        char row[100];
        snprintf(row, sizeof row, "%s|0|-1|0", IN_PATH);
        weir_harness_calls(h, weir_harness_batch_of(weir_harness_input_schema(h, 0), row), 1);
    } else if (target->source) {
        weir_harness_calls(h, NULL, 1);
    } else {
        fuzz_check(weir_harness_rows_in(h, 0, "5|3|1000|ab\n6|null|1500|null\n5|4|2600|c"));
        fuzz_check(weir_harness_watermark(h, 1200));
    }
    if (target->op->snapshot) {
        struct weir_snapshot *snapshot = weir_harness_snapshot(h, 3, 0);
        weir_buf_init(&out, 1 << 20);
        weir_put_u8(&out, (uint8_t)as);
        for (const struct weir_snapshot_part *part = snapshot->parts; part; part = part->next) {
            uint8_t which = 0;
            while (which < 8 && targets[as].names[which] && strcmp(targets[as].names[which], part->name) != 0)
                which++;
            if (which == 8 || !targets[as].names[which])
                continue;
            weir_put_u8(&out, which);
            weir_put_u8(&out, (uint8_t)(part->kind - 1));
            weir_put_u8(&out, 0);
            weir_put_u8(&out, 1);
            weir_put_u8(&out, (uint8_t)part->bytes.size);
            weir_put_u8(&out, (uint8_t)(part->bytes.size >> 8));
            fuzz_check(weir_buf_append(&out, part->bytes.data, part->bytes.size));
        }
        snprintf(name, sizeof name, "%s-%d", target->op->name, as);
        put(name, out.data, out.size);
        weir_buf_fini(&out);
        weir_snapshot_free(snapshot);
    }
    weir_harness_free(h);
}

void fuzz_seeds(fuzz_put *put)
{
    make_file();
    for (int i = 0; i < TARGETS; i++)
        put_target(put, targets[i].names[5] && targets[i].names[5][0] == '_' ? i - 1 : i, i);
}
