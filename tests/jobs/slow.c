/* Backpressure: rows are numbered, go by key to two functions that take --sleep microseconds for each, of which one counts them per key, and
 * with the count into one directory. With --short there is a second, short input, which ends early. */
#include <stdlib.h>
#include <unistd.h>
#include <weir/weir.h>

struct event {
    int64_t id;
    int64_t key;
};
WEIR_ROW(event, WEIR_FIELD(id, "BIGINT NOT NULL"), WEIR_FIELD(key, "BIGINT NOT NULL"));

struct counted {
    int64_t id;
    int64_t key;
    int64_t n;
};
WEIR_ROW(counted, WEIR_FIELD(id, "BIGINT NOT NULL"), WEIR_FIELD(key, "BIGINT NOT NULL"),
         WEIR_FIELD(n, "BIGINT NOT NULL"));
WEIR_VALUE_STATE(count, "BIGINT");

static void wait_a_little(struct weir_ctx *ctx)
{
    static int microseconds = -1;
    if (microseconds < 0)
        microseconds = atoi(ctx->argument(ctx, "sleep", "0"));
    if (microseconds > 0)
        usleep((useconds_t)microseconds);
}

static int count_slowly(struct weir_ctx *ctx, const struct event *in, struct weir_out *out)
{
    const int64_t *before = weir_value_get(ctx, &count);
    struct counted row = {in->id, in->key, before ? *before + 1 : 1};
    weir_value_put(ctx, &count, &row.n);
    wait_a_little(ctx);
    weir_emit(out, &row);
    return 0;
}

static int slowly(struct weir_ctx *ctx, const struct counted *in, struct counted *out)
{
    wait_a_little(ctx);
    *out = *in;
    return 0;
}

static struct weir_stream *numbers(struct weir_job *job, const char *rows, const char *rate)
{
    struct weir_stream *made =
        weir_source(job, "datagen", "rows", rows, "rows-per-second", rate, "fields.id.kind", "sequence",
                    "fields.key.kind", "random", "fields.key.min", "0", "fields.key.max", "99", NULL);
    return weir_columns(made, "id BIGINT NOT NULL, key BIGINT NOT NULL");
}

WEIR_JOB(slow)
{
    (void)weir_arg(job, "sleep", "0"); /* wait_a_little() asks for it */
    struct weir_stream *rows = numbers(job, weir_arg(job, "rows", "60000"), weir_arg(job, "rate", "0"));
    struct weir_stream *slow = weir_process(weir_key_by(rows, "key"), .name = "count", .in = WEIR_ROW_OF(event),
                                            .out = WEIR_ROW_OF(counted), .on_row = count_slowly);
    slow = weir_map(slow, WEIR_MAP(counted, counted, slowly));
    weir_sink(slow, "filesystem", "path", weir_arg(job, "output", NULL), "format", "json", NULL);
    const char *directory = weir_arg(job, "short", "");
    if (*directory)
        weir_sink(numbers(job, "1000", "0"), "filesystem", "path", directory, "format", "json", NULL);
}
