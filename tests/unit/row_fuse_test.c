/* Fused row functions: chains of map and flat_map whose stages are taken over by the first (absorb), against the same functions applied one
 * after the other in the test. The driver here is the smallest that can be: outputs are lists of rows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ops/ops_int.h"
#include "weir/weir.h"

struct row {
    int64_t id;
    double value;
    weir_ts at;
};
WEIR_ROW(row, WEIR_FIELD(id, "BIGINT NOT NULL"), WEIR_FIELD(value, "DOUBLE NOT NULL"),
         WEIR_FIELD(at, "TIMESTAMP(3) NOT NULL"));
#define ROW "id BIGINT NOT NULL, value DOUBLE NOT NULL, `at` TIMESTAMP(3) NOT NULL"

/* The same layout by another name, and another one. */
struct twin {
    int64_t id;
    double value;
    weir_ts at;
};
WEIR_ROW(twin, WEIR_FIELD(id, "BIGINT NOT NULL"), WEIR_FIELD(value, "DOUBLE NOT NULL"),
         WEIR_FIELD(at, "TIMESTAMP(3) NOT NULL"));
struct other {
    double value;
    int64_t id;
};
WEIR_ROW(other, WEIR_FIELD(id, "BIGINT NOT NULL"), WEIR_FIELD(value, "DOUBLE NOT NULL"));
struct named {
    int64_t id;
    struct weir_str name;
};
WEIR_ROW(named, WEIR_FIELD(id, "BIGINT NOT NULL"), WEIR_FIELD(name, "STRING NOT NULL"));
#define NAMED "id BIGINT NOT NULL, name STRING NOT NULL"

/* --- The driver's side of op.h */

struct weir_out {
    int64_t count;
    int64_t hash;         /* of rows in order */
    bool full, full_once; /* full_once: full after every push until the next call */
};

bool weir_out_full(const struct weir_out *out)
{
    return out->full;
}
void weir_out_push(struct weir_out *out, struct weir_batch *batch)
{
    assert_false(out->full);
    assert_true(batch->row_count > 0);
    for (int i = 0; i < batch->row_count; i++) {
        size_t size = 0;
        out->hash = (int64_t)((uint64_t)out->hash * 31 + (uint64_t)batch->columns[0].i64[i]);
        if (batch->columns[1].type == WEIR_TYPE_DOUBLE)
            out->hash = (int64_t)((uint64_t)out->hash * 31 + (uint64_t)(batch->columns[1].f64[i] * 4));
        else
            out->hash = (int64_t)((uint64_t)out->hash * 31 + (weir_column_bytes(&batch->columns[1], i, &size), size));
    }
    out->count += batch->row_count;
    out->full = out->full_once;
    weir_batch_unref(batch);
}
void weir_out_watermark(struct weir_out *out, int64_t watermark_ms)
{
    (void)out, (void)watermark_ms;
}
void weir_out_idle(struct weir_out *out, bool idle)
{
    (void)out, (void)idle;
}
static uint64_t yields;
bool weir_op_should_yield(struct weir_op_ctx *ctx)
{
    (void)ctx;
    return yields && ++yields % 3 == 0;
}
int64_t weir_op_now_ms(struct weir_op_ctx *ctx)
{
    (void)ctx;
    return 0;
}
void weir_op_set_timer(struct weir_op_ctx *ctx, int64_t when_ms)
{
    (void)ctx, (void)when_ms;
}
void weir_op_wait_fd(struct weir_op_ctx *ctx, int fd)
{
    (void)ctx, (void)fd;
}
void weir_op_add_committable(struct weir_op_ctx *ctx, const char *connector, const char *committable,
                             const struct weir_output_segments *segments)
{
    (void)segments;
    (void)ctx, (void)connector, (void)committable;
}

/* --- A chain */

#define OPS_MAX 12
struct link {
    const struct weir_op_vtable *vtable;
    const struct weir_row_type *in, *out;
    const char *in_columns, *out_columns;
    void *function;
};
struct chain {
    int count;
    struct weir_op *ops[OPS_MAX];
    struct weir_op_ctx ctx[OPS_MAX];
    struct weir_op_plan plan[OPS_MAX];
    struct weir_key_value options[OPS_MAX];
    uint64_t in[OPS_MAX], out[OPS_MAX];
    struct weir_out outs[OPS_MAX];
    bool absorbed[OPS_MAX]; /* op i + 1 by op i */
};

static void chain_open(struct chain *chain, const struct link *links, int count)
{
    struct weir_error error;
    *chain = (struct chain){.count = count};
    for (int i = 0; i < count; i++) {
        struct weir_op_plan *plan = &chain->plan[i];
        chain->options[i] = (struct weir_key_value){"row.in", links[i].in_columns};
        *plan = (struct weir_op_plan){.name = links[i].vtable->name,
                                      .uid = "",
                                      .options = &chain->options[i],
                                      .option_count = 1,
                                      .input_count = 1};
        assert_int_equal(weir_schema_parse(links[i].in_columns, &plan->inputs[0], &error), 0);
        assert_int_equal(weir_schema_parse(links[i].out_columns, &plan->declared, &error), 0);
        if (links[i].vtable->plan(plan, &error))
            fail_msg("%s", error.message);
        chain->ctx[i] = (struct weir_op_ctx){.plan = plan,
                                             .parallelism = 1,
                                             .function = links[i].function,
                                             .row_in = links[i].in,
                                             .row_out = links[i].out,
                                             .out = &chain->outs[i],
                                             .num_records_in = &chain->in[i],
                                             .num_records_out = &chain->out[i]};
        chain->ops[i] = weir_zalloc(links[i].vtable->size);
        if (links[i].vtable->open(chain->ops[i], &chain->ctx[i], &error))
            fail_msg("%s", error.message);
    }
    for (int i = count - 2; i >= 0; i--)
        chain->absorbed[i] =
            links[i].vtable->absorb(chain->ops[i], &chain->ctx[i], chain->ops[i + 1], &chain->ctx[i + 1]);
}

static enum weir_step chain_push(struct chain *chain, const struct link *links, struct weir_batch *take_batch)
{
    enum weir_step step;
    struct weir_out *out = &chain->outs[chain->count - 1];
    int calls = 0;
    do {
        out->full = false;
        step = links[0].vtable->batch(chain->ops[0], &chain->ctx[0], 0, take_batch);
        assert_true(++calls < 1000000);
    } while (step == WEIR_STEP_AGAIN);
    weir_batch_unref(take_batch);
    return step;
}

static void chain_close(struct chain *chain, const struct link *links)
{
    for (int i = 0; i < chain->count; i++) {
        links[i].vtable->close(chain->ops[i], &chain->ctx[i], true);
        free(chain->ops[i]);
        weir_schema_unref(chain->plan[i].inputs[0]);
        weir_schema_unref(chain->plan[i].declared);
        weir_schema_unref(chain->plan[i].output);
    }
}

static struct weir_batch *batch_of(struct chain *chain, int64_t first, int count)
{
    struct weir_batch *batch = weir_batch_new(chain->plan[0].inputs[0], count);
    for (int i = 0; i < count; i++) {
        batch->columns[0].i64[i] = first + i;
        batch->columns[1].f64[i] = (double)(first + i) / 4;
        batch->columns[2].i64[i] = 0;
    }
    batch->row_count = count;
    return batch;
}

/* --- Functions */

static int add(struct weir_ctx *ctx, const struct row *in, struct row *out)
{
    (void)ctx;
    assert_int_equal(out->id, 0);
    out->id = in->id + 1;
    out->value = in->value + 0.25;
    out->at = in->at + 1;
    return 0;
}

static int twice(struct weir_ctx *ctx, const struct row *in, struct weir_out_rows *out)
{
    (void)ctx;
    if (in->id % 3 == 0)
        return 0;
    struct row copy = *in;
    copy.value = -copy.value;
    int result = weir_emit(out, in);
    return result ? result : weir_emit(out, &copy);
}

static int name(struct weir_ctx *ctx, const struct row *in, struct named *out)
{
    int size = (int)(in->id % 50);
    char *text = ctx->scratch(ctx, (size_t)size);
    memset(text, 'a', (size_t)size);
    out->id = in->id;
    out->name = (struct weir_str){text, (size_t)size};
    return 0;
}

static int fail_at_40(struct weir_ctx *ctx, const struct row *in, struct row *out)
{
    *out = *in;
    return in->id == 40 ? WEIR_FAIL(ctx, "forty is too many") : 0;
}

#define MAP(fn) \
    { \
        &weir_op_map, &weir_row_row, &weir_row_row, ROW, ROW, (void *)(fn) \
    }

static void ten_maps_are_one_pass(void **state)
{
    struct link links[10];
    struct chain chain;
    (void)state;
    for (int i = 0; i < 10; i++)
        links[i] = (struct link)MAP(add);
    for (yields = 0; yields < 2; yields++) {
        uint64_t kept = yields;
        chain_open(&chain, links, 10);
        for (int i = 0; i < 9; i++)
            assert_true(chain.absorbed[i]);
        chain.outs[9].full_once = kept == 1;
        int64_t hash = 0, next = 0;
        static const int sizes[] = {1, 2, 127, 128, 129, 1000, 4096, 1};
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            assert_int_equal(chain_push(&chain, links, batch_of(&chain, next, sizes[s])), WEIR_STEP_DONE);
            for (int i = 0; i < sizes[s]; i++, next++) {
                hash = (int64_t)((uint64_t)hash * 31 + (uint64_t)(next + 10));
                hash = (int64_t)((uint64_t)hash * 31 + (uint64_t)(next + 10));
            }
        }
        assert_int_equal(chain.outs[9].count, next);
        assert_int_equal(chain.outs[9].hash, hash);
        /* The first's input and the last's output are the driver's to count. */
        assert_int_equal(chain.in[0], 0);
        assert_int_equal(chain.out[9], 0);
        for (int i = 1; i < 10; i++) {
            assert_int_equal(chain.in[i], next);
            assert_int_equal(chain.out[i - 1], next);
        }
        chain_close(&chain, links);
        yields = kept;
    }
    yields = 0;
}

/* flat_map between maps, strings at the end: by row, with the same results as one function after the other. */
static void flat_maps_fuse_too(void **state)
{
    const struct link links[] = {MAP(add),
                                 {&weir_op_flat_map, &weir_row_row, &weir_row_row, ROW, ROW, (void *)twice},
                                 MAP(add),
                                 {&weir_op_map, &weir_row_row, &weir_row_named, ROW, NAMED, (void *)name}};
    struct chain chain;
    (void)state;
    for (int mode = 0; mode < 2; mode++) {
        yields = (uint64_t)mode;
        chain_open(&chain, links, 4);
        chain.outs[3].full_once = mode == 1;
        int64_t hash = 0, count = 0;
        for (int64_t first = 0; first < 20000; first += 2500) {
            assert_int_equal(chain_push(&chain, links, batch_of(&chain, first, 2500)), WEIR_STEP_DONE);
            for (int64_t id = first; id < first + 2500; id++)
                for (int copy = 0; copy < 2 && (id + 1) % 3 != 0; copy++, count++) {
                    hash = (int64_t)((uint64_t)hash * 31 + (uint64_t)(id + 2));
                    hash = (int64_t)((uint64_t)hash * 31 + (uint64_t)((id + 2) % 50));
                }
        }
        assert_int_equal(chain.outs[3].count, count);
        assert_int_equal(chain.outs[3].hash, hash);
        assert_int_equal(chain.in[1], 20000);
        assert_int_equal(chain.out[1], count);
        assert_int_equal(chain.in[3], count);
        chain_close(&chain, links);
    }
    yields = 0;
}

static void only_the_same_layout_is_fused(void **state)
{
    const struct link twins[] = {MAP(add), {&weir_op_map, &weir_row_twin, &weir_row_twin, ROW, ROW, (void *)add}};
    const struct link others[] = {
        MAP(add),
        {&weir_op_map, &weir_row_other, &weir_row_row, "id BIGINT NOT NULL, value DOUBLE NOT NULL", ROW, (void *)add}};
    struct chain chain;
    (void)state;
    chain_open(&chain, twins, 2);
    assert_true(chain.absorbed[0]);
    chain_close(&chain, twins);
    chain_open(&chain, others, 2);
    assert_false(chain.absorbed[0]);
    chain_close(&chain, others);
}

static void a_failing_stage_is_named_with_the_record(void **state)
{
    const struct link links[] = {MAP(add), MAP(add), MAP(fail_at_40), MAP(add)};
    struct chain chain;
    (void)state;
    chain_open(&chain, links, 4);
    chain.plan[0].name = "first";
    chain.plan[2].name = "guard";
    assert_int_equal(chain_push(&chain, links, batch_of(&chain, 0, 100)), WEIR_STEP_FAILED);
    const char *message = chain.ctx[0].error.message;
    if (!strstr(message, "first: record ") || !strstr(message, "38") || !strstr(message, "guard: forty is too many"))
        fail_msg("%s", message);
    chain_close(&chain, links);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_maps_are_one_pass),
        cmocka_unit_test(flat_maps_fuse_too),
        cmocka_unit_test(only_the_same_layout_is_fused),
        cmocka_unit_test(a_failing_stage_is_named_with_the_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
