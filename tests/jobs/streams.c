/* Small graphs for jobs_test.py and bad_input_test.py, chosen by --graph; each is compared with a plain model of the same name there.
 * Events {id, key, value, ts} are read from --input (json or csv); what comes out goes to --output and, for some graphs,
 * to --second. */
#include <stdio.h>
#include <weir/weir.h>

struct event {
    int64_t id;
    struct weir_str key;
    int32_t value;
    weir_ts ts;
};
WEIR_ROW(event, WEIR_FIELD(id, "BIGINT NOT NULL"), WEIR_FIELD(key, "STRING NOT NULL"),
         WEIR_FIELD(value, "INT NOT NULL"), WEIR_FIELD(ts, "TIMESTAMP(3) NOT NULL"));

struct stamped {
    int64_t id;
    int32_t subtask;
    int32_t parallelism;
};
WEIR_ROW(stamped, WEIR_FIELD(id, "BIGINT NOT NULL"), WEIR_FIELD(subtask, "INT NOT NULL"),
         WEIR_FIELD(parallelism, "INT NOT NULL"));

struct piece {
    int64_t id;
    struct weir_str letter;
    weir_ts ts;
};
WEIR_ROW(piece, WEIR_FIELD(id, "BIGINT NOT NULL"), WEIR_FIELD(letter, "STRING NOT NULL"),
         WEIR_FIELD(ts, "TIMESTAMP(3) NOT NULL"));

/* Which subtask saw the row: shows where a partitioner sent it. */
static int stamp(struct weir_ctx *ctx, const struct event *in, struct stamped *out)
{
    out->id = in->id;
    out->subtask = ctx->subtask;
    out->parallelism = ctx->parallelism;
    return 0;
}

/* One row a byte of the key, and none for keys that begin with 'x'. */
static int letters(struct weir_ctx *ctx, const struct event *in, struct weir_out_rows *out)
{
    (void)ctx;
    if (in->key.size > 0 && in->key.data[0] == 'x')
        return 0;
    for (size_t i = 0; i < in->key.size; i++) {
        struct piece row = {.id = in->id, .letter = {in->key.data + i, 1}, .ts = in->ts};
        int failed = weir_emit(out, &row);
        if (failed)
            return failed;
    }
    return 0;
}

static struct weir_stream *read_events(struct weir_job *job, const char *path, const char *format)
{
    struct weir_stream *events;
    const char *on_error = weir_arg(job, "on-error", "fail"), *size_max = weir_arg(job, "record-size-max", "1 mb");
    const char *split = weir_arg(job, "split-size", "0"), *dead = weir_arg(job, "dead-letter", "");
    if (strcmp(format, "csv") == 0)
        events = weir_source(job, "filesystem", "path", path, "format", "csv", "csv.header",
                             weir_arg(job, "csv-header", "false"), "on-error", on_error, "record.size-max", size_max,
                             "split.size", split, NULL);
    else if (*dead)
        events = weir_source(job, "filesystem", "path", path, "format", "json", "on-error", "dead-letter",
                             "dead-letter.path", dead, "record.size-max", size_max, "split.size", split, NULL);
    else
        events = weir_source(job, "filesystem", "path", path, "format", "json", "on-error", on_error, "record.size-max",
                             size_max, "split.size", split, NULL);
    events = weir_watermark(weir_schema(events, WEIR_ROW_OF(event)), "ts - INTERVAL '3' SECOND");
    return weir_name(events, "events");
}

/* At a rate, so that batches leave over a while: round robin by batch then comes to everyone. */
static struct weir_stream *paced_events(struct weir_job *job)
{
    struct weir_stream *events =
        weir_source(job, "datagen", "rows", "2000", "rows-per-second", "5000", "fields.id.kind", "sequence",
                    "fields.key.kind", "random", "fields.value.kind", "random", "fields.ts.kind", "time",
                    "fields.ts.start", "0", "fields.ts.step", "1", NULL);
    return weir_parallelism(weir_schema(events, WEIR_ROW_OF(event)), 1);
}

static void write_to(struct weir_job *job, struct weir_stream *rows, const char *argument)
{
    const char *format = weir_arg(job, "output-format", "json"), *path = weir_arg(job, argument, "");
    if (strcmp(path, "-") == 0)
        weir_sink(rows, "print", "format", "json", NULL);
    else if (*path)
        weir_name(weir_sink(rows, "filesystem", "path", path, "format", format, NULL), argument);
    else
        weir_sink(rows, "blackhole", NULL);
}

static struct weir_stream *windowed(struct weir_job *job, struct weir_stream *events, const char *graph)
{
    struct weir_window_spec spec = weir_tumbling("10 s");
    if (strcmp(graph, "sliding") == 0)
        spec = weir_sliding("10 s", "4 s");
    else if (strcmp(graph, "session") == 0)
        spec = weir_session("900 ms");
    else if (strcmp(graph, "offset") == 0)
        spec = weir_offset(spec, "3 s");
    return weir_aggregate(
        weir_lateness(weir_window(weir_key_by(events, "key"), spec), weir_arg(job, "lateness", "0 s")),
        "key, window_start, window_end, COUNT(*) AS n, SUM(`value`) AS total, MIN(`value`) AS low, "
        "MAX(`value`) AS high, COUNT(*) FILTER (WHERE `value` % 2 = 0) AS even");
}

/* Raw lines in, raw lines out. */
static void raw_lines(struct weir_job *job)
{
    struct weir_stream *lines =
        weir_source(job, "filesystem", "path", weir_arg(job, "input", NULL), "format", "raw", NULL);
    lines = weir_filter(weir_columns(lines, "line STRING NOT NULL"), "line LIKE '%7%'");
    write_to(job, weir_select(lines, "UPPER(line) AS line"), "output");
}

WEIR_JOB(streams)
{
    const char *graph = weir_arg(job, "graph", "copy");
    weir_arg(job, "second", "");
    if (strcmp(graph, "raw") == 0) {
        raw_lines(job);
        return;
    }
    if (strcmp(graph, "rebalance") == 0) {
        struct weir_stream *all = weir_rebalance(paced_events(job));
        write_to(job, weir_map(all, WEIR_MAP(event, stamped, stamp)), "output");
        return;
    }
    struct weir_stream *events = read_events(job, weir_arg(job, "input", NULL), weir_arg(job, "format", "json")),
                       *rows = events;
    if (strcmp(graph, "select") == 0) {
        rows = weir_filter(events, "`value` % 3 = 0 AND key <> 'k4'");
        rows = weir_select(
            rows,
            "id, UPPER(key) AS name, `value` * 2 + 1 AS odd, CASE WHEN `value` > 50 THEN 'high' ELSE NULL END AS tag");
    } else if (strcmp(graph, "union") == 0) {
        struct weir_stream *other = read_events(job, weir_arg(job, "other", NULL), "json");
        rows = weir_union(weir_filter(events, "`value` < 50"), weir_filter(events, "`value` >= 90"), other);
    } else if (strcmp(graph, "broadcast") == 0) {
        rows = weir_map(weir_broadcast(weir_parallelism(events, 1)), WEIR_MAP(event, stamped, stamp));
    } else if (strcmp(graph, "flat_map") == 0) {
        rows = weir_flat_map(events, WEIR_FLAT_MAP(event, piece, letters), .name = "letters");
        rows = weir_aggregate(weir_window(weir_key_by(rows, "letter"), weir_tumbling("3650 d")),
                              "letter, COUNT(*) AS n, SUM(id) AS ids");
    } else if (strcmp(graph, "unchained") == 0) {
        rows = weir_chaining(weir_filter(events, "`value` >= 10"), false);
        rows = weir_chaining(weir_map(rows, WEIR_MAP(event, stamped, stamp)), false);
    } else if (strcmp(graph, "parallelisms") == 0) {
        weir_parallelism(events, 2);
        rows = weir_parallelism(weir_filter(events, "`value` >= 10"), 3);
        rows = weir_parallelism(weir_map(rows, WEIR_MAP(event, stamped, stamp)), 1);
    } else if (strcmp(graph, "copy") != 0) {
        rows = windowed(job, events, graph);
        if (strcmp(graph, "late") == 0)
            write_to(job, weir_late(rows), "second");
    }
    write_to(job, rows, "output");
}
