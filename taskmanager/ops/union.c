/* union: the rows of all inputs, in the order in which they come. Watermarks are merged before they get here. */
#include "ops/ops_int.h"

static const struct weir_option union_options[] = {{0}};

static weir_err union_plan(struct weir_op_plan *plan, struct weir_error *error)
{
    weir_err err = weir_options_check("union", plan->options, plan->option_count, union_options, NULL, NULL, error);
    if (err)
        return err;
    struct weir_schema *first = plan->inputs[0];
    for (int i = 1; i < plan->input_count; i++) {
        struct weir_schema *other = plan->inputs[i];
        if (other->field_count != first->field_count)
            return weir_fail(error, WEIR_ERR_INVALID, "input %d has %d columns, and input 1 has %d", i + 1,
                             other->field_count, first->field_count);
        for (int c = 0; c < first->field_count; c++) {
            const struct weir_field *a = &first->fields[c], *b = &other->fields[c];
            char want[64], got[64];
            if (!weir_type_equal(&a->type, &b->type) || (b->type.nullable && !a->type.nullable))
                return weir_fail(error, WEIR_ERR_INVALID, "column %d, '%s', is %s in input %d and %s in input 1", c + 1,
                                 a->name, weir_type_print(&b->type, got), i + 1, weir_type_print(&a->type, want));
        }
    }
    plan->output = weir_schema_ref(first);
    return 0;
}

static enum weir_step union_batch(struct weir_op *op, struct weir_op_ctx *ctx, int input, struct weir_batch *batch)
{
    (void)op, (void)input;
    weir_out_push(ctx->out, weir_batch_ref(batch));
    return WEIR_STEP_DONE;
}

const struct weir_op_vtable weir_op_union = {
    .name = "union",
    .help = "The rows of several streams of the same types",
    .options = union_options,
    .plan = union_plan,
    .batch = union_batch,
};
