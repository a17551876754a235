/* Ten steps on a three-field row: --steps functions (C functions) or --steps expressions. */
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

WEIR_JOB(chains)
{
    bool functions = strcmp(weir_arg(job, "steps", "functions"), "functions") == 0;
    struct weir_stream *rows =
        weir_source(job, "datagen", "rows", weir_arg(job, "rows", "50000000"), "fields.id.kind", "sequence",
                    "fields.value.kind", "sequence", "fields.weight.kind", "sequence", NULL);
    rows = weir_schema(rows, WEIR_ROW_OF(event));
    for (int i = 0; i < 10 && weir_arg_int(job, "depth", 10) > i; i++)
        rows = functions ? weir_map(rows, WEIR_MAP(event, event, step))
                         : weir_select(rows, "id, value + 1 AS value, weight");
    weir_sink(rows, "blackhole", NULL);
}
