/* What can go wrong while a graph is built, chosen by --how: bad_input_test.py shows what is said about each. */
#include <stdlib.h>
#include <weir/weir.h>

struct wrong {
    int64_t id;
    double key;
};
WEIR_ROW(wrong, WEIR_FIELD(id, "BIGINT NOT NULL"), WEIR_FIELD(key, "DOUBLE NOT NULL"));

static volatile int zero, forever = 1;

static int pass(struct weir_ctx *ctx, const struct wrong *in, struct wrong *out)
{
    (void)ctx;
    *out = *in;
    return 0;
}

static struct weir_stream *numbers(struct weir_job *job)
{
    return weir_columns(weir_source(job, "datagen", "rows", "10", NULL), "id BIGINT NOT NULL, key STRING NOT NULL");
}

WEIR_JOB(mistakes)
{
    const char *how = weir_arg(job, "how", "");
    struct weir_stream *rows = numbers(job);
    while (strcmp(how, "loop") == 0 && forever)
        continue;
    if (strcmp(how, "crash") == 0)
        *(volatile int *)(uintptr_t)zero = 1;
    else if (strcmp(how, "exit") == 0)
        exit(0);
    else if (strcmp(how, "memory") == 0)
        *(volatile char *)malloc((size_t)8 << 30) = 1; /* NULL under the limit: a crash, which is the point */
    else if (strcmp(how, "column") == 0)
        rows = weir_name(weir_filter(rows, "id > 3 AND kex = 'a'"), "hot");
    else if (strcmp(how, "syntax") == 0)
        rows = weir_name(weir_filter(rows, "id > 3 AND AND"), "hot");
    else if (strcmp(how, "expression-type") == 0)
        rows = weir_name(weir_filter(rows, "key + 1"), "hot");
    else if (strcmp(how, "row-type") == 0)
        rows = weir_map(rows, WEIR_MAP(wrong, wrong, pass), .name = "warm");
    else if (strcmp(how, "union-type") == 0)
        rows = weir_name(weir_union(rows, weir_select(numbers(job), "id, id AS key")), "all");
    else if (strcmp(how, "option") == 0)
        rows = weir_columns(weir_source(job, "datagen", "row", "10", NULL), "id BIGINT NOT NULL");
    else if (strcmp(how, "connector") == 0)
        rows = weir_columns(weir_source(job, "filesytem", "path", "x", NULL), "id BIGINT NOT NULL");
    else if (strcmp(how, "two") == 0)
        rows = weir_name(weir_filter(weir_name(weir_filter(rows, "idd > 3"), "first"), "key = 'a'"), "second"),
        weir_sink(weir_name(weir_filter(numbers(job), "kez = 'b'"), "third"), "blackhole", NULL);
    weir_sink(rows, "blackhole", NULL);
}
