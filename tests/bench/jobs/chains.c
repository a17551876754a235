/* Ten steps on a three-field row: --steps functions (one C function ten times), different (ten of them) or expressions. */
#include <weir/weir.h>

struct event {
    int64_t id;
    int64_t value;
    int64_t weight;
};
WEIR_ROW(event, WEIR_FIELD(id, "BIGINT NOT NULL"), WEIR_FIELD(value, "BIGINT NOT NULL"),
         WEIR_FIELD(weight, "BIGINT NOT NULL"));

static int step(struct weir_ctx *ctx, const struct event *in, struct event *out)
{
    (void)ctx;
    out->id = in->id;
    out->value = in->value + 1;
    out->weight = in->weight;
    return 0;
}

/* As the ten classes of tests/bench/rival/Rival.java. */
#define STEP(n, a, b) \
    static int step_##n(struct weir_ctx *ctx, const struct event *in, struct event *out) \
    { \
        (void)ctx; \
        out->id = in->id; \
        out->value = in->value * (a) + (b); \
        out->weight = in->weight ^ in->value; \
        return 0; \
    }
STEP(0, 3, 1)
STEP(1, 5, 2)
STEP(2, 7, 3)
STEP(3, 9, 4)
STEP(4, 11, 5)
STEP(5, 13, 6)
STEP(6, 15, 7)
STEP(7, 17, 8)
STEP(8, 19, 9)
STEP(9, 21, 10)

static struct weir_stream *different_steps(struct weir_stream *rows)
{
    rows = weir_map(rows, WEIR_MAP(event, event, step_0));
    rows = weir_map(rows, WEIR_MAP(event, event, step_1));
    rows = weir_map(rows, WEIR_MAP(event, event, step_2));
    rows = weir_map(rows, WEIR_MAP(event, event, step_3));
    rows = weir_map(rows, WEIR_MAP(event, event, step_4));
    rows = weir_map(rows, WEIR_MAP(event, event, step_5));
    rows = weir_map(rows, WEIR_MAP(event, event, step_6));
    rows = weir_map(rows, WEIR_MAP(event, event, step_7));
    rows = weir_map(rows, WEIR_MAP(event, event, step_8));
    return weir_map(rows, WEIR_MAP(event, event, step_9));
}

WEIR_JOB(chains)
{
    bool functions = strcmp(weir_arg(job, "steps", "functions"), "functions") == 0;
    struct weir_stream *rows =
        weir_source(job, "datagen", "rows", weir_arg(job, "rows", "50000000"), "fields.id.kind", "sequence",
                    "fields.value.kind", "sequence", "fields.weight.kind", "sequence", NULL);
    rows = weir_schema(rows, WEIR_ROW_OF(event));
    if (strcmp(weir_arg(job, "steps", "functions"), "different") == 0) {
        weir_sink(different_steps(rows), "blackhole", NULL);
        return;
    }
    for (int i = 0; i < 10 && weir_arg_int(job, "depth", 10) > i; i++)
        rows = functions ? weir_map(rows, WEIR_MAP(event, event, step))
                         : weir_select(rows, "id, value + 1 AS value, weight");
    weir_sink(rows, "blackhole", NULL);
}
