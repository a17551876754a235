/* datagen -> key_by -> files: the state is an entry for each of --keys keys, and nothing goes before the end. --by window: one window over all
 * rows, which gives a line for each key at its end. --by function: a C function, which gives what it has of the key for each 16th row. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weir/weir.h>

struct row {
    int64_t key;
    int64_t v;
    weir_ts ts;
};
WEIR_ROW(row, WEIR_FIELD(key, "BIGINT NOT NULL"), WEIR_FIELD(v, "BIGINT NOT NULL"),
         WEIR_FIELD(ts, "TIMESTAMP(3) NOT NULL"));

struct sums {
    int64_t n, total, low, high, first;
};
WEIR_ROW(sums, WEIR_FIELD(n, "BIGINT NOT NULL"), WEIR_FIELD(total, "BIGINT NOT NULL"),
         WEIR_FIELD(low, "BIGINT NOT NULL"), WEIR_FIELD(high, "BIGINT NOT NULL"), WEIR_FIELD(first, "BIGINT NOT NULL"));
struct key_sums {
    int64_t key, n, total, low, high, first;
};
WEIR_ROW(key_sums, WEIR_FIELD(key, "BIGINT NOT NULL"), WEIR_FIELD(n, "BIGINT NOT NULL"),
         WEIR_FIELD(total, "BIGINT NOT NULL"), WEIR_FIELD(low, "BIGINT NOT NULL"), WEIR_FIELD(high, "BIGINT NOT NULL"),
         WEIR_FIELD(first, "BIGINT NOT NULL"));
WEIR_VALUE_STATE_OF(kept, sums);

static int sum_row(struct weir_ctx *ctx, const struct row *in, struct weir_out *out)
{
    const struct sums *known = weir_value_get(ctx, &kept);
    struct sums now = {1, in->v, in->v, in->v, in->v};
    if (known)
        now = (struct sums){known->n + 1, known->total + in->v, known->low < in->v ? known->low : in->v,
                            known->high > in->v ? known->high : in->v, known->first};
    struct key_sums line = {in->key, now.n, now.total, now.low, now.high, now.first};
    return weir_value_put(ctx, &kept, &now) || (in->v % 16 == 0 && weir_emit(out, &line));
}

WEIR_JOB(large_state)
{
    char last[32];
    snprintf(last, sizeof last, "%ld", atol(weir_arg(job, "keys", "1000")) - 1);
    struct weir_stream *rows = weir_source(job, "datagen", "rows", weir_arg(job, "rows", "10000"), "rows-per-second",
                                           weir_arg(job, "rate", "0"), "fields.key.kind", "random", "fields.key.min",
                                           "0", "fields.key.max", last, "fields.v.kind", "sequence", "fields.ts.kind",
                                           "time", "fields.ts.start", "0", "fields.ts.step", "0.001", NULL);
    rows = weir_watermark(weir_columns(rows, "key BIGINT NOT NULL, v BIGINT NOT NULL, ts TIMESTAMP(3) NOT NULL"),
                          "ts - INTERVAL '0.001' SECOND");
    struct weir_stream *keyed = weir_key_by(rows, "key");
    bool by_function = strcmp(weir_arg(job, "by", "window"), "function") == 0;
    struct weir_stream *results =
        by_function
            ? weir_process(keyed, .name = "sums", WEIR_ON_ROW(row, key_sums, sum_row))
            : weir_aggregate(
                  weir_window(keyed, weir_tumbling("30 d")),
                  "key, COUNT(*) AS n, SUM(v) AS total, MIN(v) AS low, MAX(v) AS high, FIRST_VALUE(v) AS first");
    weir_sink(results, "filesystem", "path", weir_arg(job, "output", ""), "format", "csv", NULL);
}
