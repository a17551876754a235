/* A job whose function goes wrong on demand: --fault none|segv|abort|fpe|hang|leak|fail|scribble at row --at of subtask 0, in attempt --attempt only
 * (0: in every one). What is counted goes to --output: a count per key over all rows. */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include <weir/weir.h>

struct event {
    int64_t id;
    int64_t key;
    weir_ts ts;
};
WEIR_ROW(event, WEIR_FIELD(id, "BIGINT NOT NULL"), WEIR_FIELD(key, "BIGINT NOT NULL"),
         WEIR_FIELD(ts, "TIMESTAMP(3) NOT NULL"));

static volatile int zero;
static volatile int forever = 1;

__attribute__((noinline)) static void go_wrong_by_segv(void)
{
    *(volatile int *)(uintptr_t)zero = 1;
}

/* Into files that are not its own: its executor's control line and crash report. */
static void scribble(void)
{
    static char rubbish[60000];
    memset(rubbish, 0x7f, sizeof rubbish);
    for (int fd = 3; fd <= 4; fd++)
        if (write(fd, rubbish, sizeof rubbish) < 0)
            continue;
}

static int maybe_fail(struct weir_ctx *ctx, const struct event *in, struct event *out)
{
    *out = *in;
    static int64_t at = -1, attempt;
    static const char *fault;
    if (at < 0) {
        fault = ctx->argument(ctx, "fault", "none");
        attempt = atoll(ctx->argument(ctx, "attempt", "1"));
        at = atoll(ctx->argument(ctx, "at", "1000"));
    }
    if (in->id < at || (attempt && ctx->attempt != attempt))
        return 0;
    if (strcmp(fault, "segv") == 0)
        go_wrong_by_segv();
    else if (strcmp(fault, "abort") == 0)
        abort();
    else if (strcmp(fault, "fpe") == 0)
        raise(SIGFPE);
    else if (strcmp(fault, "fail") == 0)
        return WEIR_FAIL(ctx, "row %lld is not to my taste", (long long)in->id);
    if (strcmp(fault, "scribble") == 0 && in->id == at)
        scribble();
    while (strcmp(fault, "hang") == 0 && forever)
        continue;
    while (strcmp(fault, "leak") == 0) {
        char *p = malloc(1 << 20);
        if (!p)
            abort();
        memset(p, 1, 1 << 20);
        usleep(1000); /* whoever watches has a second */
    }
    return 0;
}

WEIR_JOB(faults)
{
    weir_arg(job, "fault", "none");
    weir_arg(job, "at", "1000");
    weir_arg(job, "attempt", "1");
    struct weir_stream *events = weir_source(
        job, "datagen", "rows", weir_arg(job, "rows", "100000"), "rows-per-second", weir_arg(job, "rate", "0"),
        "fields.id.kind", "sequence", "fields.key.kind", "random", "fields.key.min", "0", "fields.key.max", "99",
        "fields.ts.kind", "time", "fields.ts.start", "0", "fields.ts.step", "1", NULL);
    events = weir_watermark(weir_schema(events, WEIR_ROW_OF(event)), "ts");
    events = weir_map(events, WEIR_MAP(event, event, maybe_fail), .name = "fault");
    struct weir_stream *counts = weir_aggregate(weir_window(weir_key_by(events, "key"), weir_tumbling("3650 d")),
                                                "key, COUNT(*) AS n, SUM(id) AS total");
    const char *output = weir_arg(job, "output", "");
    if (*output)
        weir_sink(counts, "filesystem", "path", output, "format", "json", NULL);
    else
        weir_sink(counts, "blackhole", NULL);
}
