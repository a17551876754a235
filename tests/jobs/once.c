/* Every row counts once, whatever dies: rows are numbered (by datagen, or read from --input), go as they are into one directory, and counted per
 * key and window (--window) into another. --sleep: so many microseconds for each row, so that files last, on any machine. --count-by process: not a window counts, but
 * a function with state and timers, which keeps a second operator's list as well. */
#include <stdlib.h>
#include <time.h>
#include <weir/weir.h>

struct event {
    int64_t id;
    int64_t key;
    weir_ts ts;
};
WEIR_ROW(event, WEIR_FIELD(id, "BIGINT NOT NULL"), WEIR_FIELD(key, "BIGINT NOT NULL"),
         WEIR_FIELD(ts, "TIMESTAMP(3) NOT NULL"));

static int slowly(struct weir_ctx *ctx, const struct event *in, struct event *out)
{
    static int64_t sleep_us = -1;
    if (sleep_us < 0)
        sleep_us = atoll(ctx->argument(ctx, "sleep", "0"));
    if (sleep_us > 0)
        nanosleep(&(struct timespec){.tv_nsec = sleep_us * 1000}, NULL);
    *out = *in;
    return 0;
}

/* What the window counts, by hand: each second's count in a map, and a timer at its end. */
struct second {
    int64_t n;
    int64_t first;
};
WEIR_ROW(second, WEIR_FIELD(n, "BIGINT NOT NULL"), WEIR_FIELD(first, "BIGINT NOT NULL"));
struct counted {
    int64_t key;
    weir_ts window_end;
    int64_t n;
    int64_t first;
    int64_t total; /* of the key, so far */
    int64_t seen;  /* rows of the key in the list */
};
WEIR_ROW(counted, WEIR_FIELD(key, "BIGINT NOT NULL"), WEIR_FIELD(window_end, "TIMESTAMP(3) NOT NULL"),
         WEIR_FIELD(n, "BIGINT NOT NULL"), WEIR_FIELD(first, "BIGINT NOT NULL"), WEIR_FIELD(total, "BIGINT NOT NULL"),
         WEIR_FIELD(seen, "BIGINT NOT NULL"));

static int add(struct weir_ctx *ctx, int64_t *sum, const int64_t *value)
{
    (void)ctx;
    *sum += *value;
    return 0;
}
WEIR_MAP_STATE_OF(seconds, "BIGINT", second);
WEIR_REDUCING_STATE(total, "BIGINT", add);
WEIR_LIST_STATE(ids, "BIGINT");

static int count_row(struct weir_ctx *ctx, const struct event *in, struct weir_out *out)
{
    int64_t end = in->ts - in->ts % 1000 + 1000, one = 1;
    struct second *known = weir_map_get(ctx, &seconds, &end), now = {1, in->id};
    (void)out;
    if (known)
        now = (struct second){known->n + 1, known->first < in->id ? known->first : in->id};
    return weir_map_put(ctx, &seconds, &end, &now) || weir_reducing_add(ctx, &total, &one) ||
           weir_list_add(ctx, &ids, &in->id) || weir_timer_event(ctx, end - 1);
}

static int end_second(struct weir_ctx *ctx, weir_ts time, struct weir_out *out)
{
    int64_t end = time + 1;
    size_t seen;
    struct second *second = weir_map_get(ctx, &seconds, &end);
    (void)weir_list_get(ctx, &ids, &seen);
    if (!second)
        return WEIR_FAIL(ctx, "no count of the second that ends at %lld", (long long)end);
    struct counted row = {weir_key(ctx, event)->key,       end,          second->n, second->first,
                          *weir_reducing_get(ctx, &total), (int64_t)seen};
    return weir_map_remove(ctx, &seconds, &end) || weir_emit(out, &row);
}

WEIR_JOB(once)
{
    (void)weir_arg(job, "sleep", "0"); /* slowly() asks for it */
    const char *input = weir_arg(job, "input", "");
    struct weir_stream *rows =
        *input ? weir_source(job, "filesystem", "path", input, "format", "json", "split.size", "1 mb", NULL)
               : weir_source(job, "datagen", "rows", weir_arg(job, "rows", "100000"), "rows-per-second",
                             weir_arg(job, "rate", "20000"), "fields.id.kind", "sequence", "fields.key.kind", "random",
                             "fields.key.min", "0", "fields.key.max", weir_arg(job, "key-max", "99"), "fields.ts.kind",
                             "time", "fields.ts.start", "0", "fields.ts.step", "1", NULL);
    rows = weir_watermark(weir_columns(rows, "id BIGINT NOT NULL, key BIGINT NOT NULL, ts TIMESTAMP(3) NOT NULL"),
                          "ts - INTERVAL '0.1' SECOND");
    rows = weir_map(rows, WEIR_MAP(event, event, slowly));
    weir_sink(rows, "filesystem", "path", weir_arg(job, "rows-output", NULL), "format", "json", NULL);
    bool by_hand = strcmp(weir_arg(job, "count-by", "window"), "process") == 0;
    struct weir_stream *keyed = weir_key_by(rows, "key");
    struct weir_stream *counts =
        by_hand ? weir_process(keyed, .name = "by hand", WEIR_ON_ROW(event, counted, count_row), .on_timer = end_second)
                : weir_aggregate(weir_window(keyed, weir_tumbling(weir_arg(job, "window", "1 s"))),
                                 "key, window_end, COUNT(*) AS n, MIN(id) AS first");
    weir_sink(counts, "filesystem", "path", weir_arg(job, "output", NULL), "format", "json", NULL);
}
