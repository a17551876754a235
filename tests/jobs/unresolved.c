/* Uses a function that nobody defines: a shared object links all the same. */
#include <weir/weir.h>

int nobody_defines_this(int x);

struct number {
    int64_t id;
};
WEIR_ROW(number, WEIR_FIELD(id, "BIGINT NOT NULL"));

static int use(struct weir_ctx *ctx, const struct number *in, struct number *out)
{
    (void)ctx;
    out->id = nobody_defines_this((int)in->id);
    return 0;
}

WEIR_JOB(unresolved)
{
    struct weir_stream *rows = weir_schema(weir_source(job, "datagen", "rows", "10", NULL), WEIR_ROW_OF(number));
    weir_sink(weir_map(rows, WEIR_MAP(number, number, use)), "blackhole", NULL);
}
