/* Backpressure: rows are numbered, go by key to functions that take --sleep microseconds for each, and as they are into one directory. With --short
 * there is a second, short input, which ends early. */
#include <stdlib.h>
#include <unistd.h>
#include <weir/weir.h>

struct event {
    int64_t id;
    int64_t key;
};
WEIR_ROW(event, WEIR_FIELD(id, "BIGINT NOT NULL"), WEIR_FIELD(key, "BIGINT NOT NULL"));

static int slowly(struct weir_ctx *ctx, const struct event *in, struct event *out)
{
    static int microseconds = -1;
    if (microseconds < 0)
        microseconds = atoi(ctx->argument(ctx, "sleep", "0"));
    if (microseconds > 0)
        usleep((useconds_t)microseconds);
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
    (void)weir_arg(job, "sleep", "0"); /* slowly() asks for it */
    struct weir_stream *rows = numbers(job, weir_arg(job, "rows", "60000"), weir_arg(job, "rate", "0"));
    struct weir_stream *slow = weir_map(weir_key_by(rows, "key"), WEIR_MAP(event, event, slowly));
    weir_sink(slow, "filesystem", "path", weir_arg(job, "output", NULL), "format", "json", NULL);
    const char *directory = weir_arg(job, "short", "");
    if (*directory)
        weir_sink(numbers(job, "1000", "0"), "filesystem", "path", directory, "format", "json", NULL);
}
