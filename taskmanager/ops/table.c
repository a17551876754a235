/* The operator table: the one place that names every operator. Adding one is its file and a line here. */
#include "ops/op.h"

#include "ops/ops_int.h"

const struct weir_op_vtable *const weir_ops[] = {
    &weir_op_filter, &weir_op_flat_map, &weir_op_map,   &weir_op_process,   &weir_op_select, &weir_op_sink,
    &weir_op_source, &weir_op_splits,   &weir_op_union, &weir_op_watermark, &weir_op_window, NULL,
};

weir_err weir_op_find(const char *name, const struct weir_op_vtable **vtable, struct weir_error *error)
{
    const char *names[sizeof weir_ops / sizeof *weir_ops] = {0};
    int count = 0;
    for (; weir_ops[count]; count++) {
        if (strcmp(weir_ops[count]->name, name) == 0) {
            *vtable = weir_ops[count];
            return 0;
        }
        names[count] = weir_ops[count]->name;
    }
    const char *near = weir_nearest(name, names, count);
    return weir_fail(error, WEIR_ERR_INVALID, "there is no operator '%s'%s%s%s", name, near ? "; did you mean '" : "",
                     near ? near : "", near ? "'?" : "");
}
