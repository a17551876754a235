/* Checked tree -> flat steps over registers. Control path only; pure.
 *
 * Constants are folded by running the very step over one row; a step that fails there (1 / 0) stays in the program and
 * fails when a row takes it. Selections are made only for subtrees that can fail or are costly (node->lazy).
 * A node with several parents is computed once, where the earlier computation covers the rows of the later one.
 * Temporaries get slots by the order of their last use, so that few buffers stay warm in the cache.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "expr/expr_int.h"

#define STEPS_MAX 20000
#define NO_SEL (-1)

struct gen {
    struct weir_arena *arena; /* of the result */
    const struct weir_schema *schema;
    struct weir_expr_error *error;
    struct step *steps;
    int step_count, step_capacity;
    struct reg_info *regs;
    int *sel_parents; /* for registers that are selections: the one they were narrowed from */
    int reg_count, reg_capacity;
    int *input_regs; /* by column, -1 */
};

static weir_err gen_node(struct gen *g, struct node *node, int sel, int *reg);

static int new_reg(struct gen *g, struct reg_info info)
{
    if (g->reg_count == g->reg_capacity) {
        g->reg_capacity = g->reg_capacity ? 2 * g->reg_capacity : 16;
        g->regs = weir_realloc(g->regs, (size_t)g->reg_capacity * sizeof *g->regs);
        g->sel_parents = weir_realloc(g->sel_parents, (size_t)g->reg_capacity * sizeof *g->sel_parents);
    }
    g->regs[g->reg_count] = info;
    g->sel_parents[g->reg_count] = NO_SEL;
    return g->reg_count++;
}

/* --- Constants */

/* Of a nested type: NULL only. */
static int new_const(struct gen *g, const struct weir_type *type, const struct value *value)
{
    enum phys phys = expr_phys((int)type->id);
    struct reg_info reg = {.kind = REG_CONST, .type = (int)type->id, .is = *type, .constant = true};
    weir_assert(phys != PHYS_NESTED || value->null);
    reg.value.type = type->id;
    uint64_t *memory = weir_arena_zalloc(g->arena, 64);
    reg.value.values = memory;
    if (value->null) {
        reg.value.validity = weir_arena_zalloc(g->arena, 64);
        reg.value.bytes = (uint8_t *)memory;
        return new_reg(g, reg);
    }
    switch (phys) {
    case PHYS_BOOL:
        reg.value.bits[0] = value->i ? ~(uint64_t)0 : 0;
        break;
    case PHYS_I8:
        reg.value.i8[0] = (int8_t)value->i;
        break;
    case PHYS_I16:
        reg.value.i16[0] = (int16_t)value->i;
        break;
    case PHYS_I32:
        reg.value.i32[0] = (int32_t)value->i;
        break;
    case PHYS_I64:
        reg.value.i64[0] = value->i;
        break;
    case PHYS_F32:
        reg.value.f32[0] = (float)value->d;
        break;
    case PHYS_F64:
        reg.value.f64[0] = value->d;
        break;
    case PHYS_DECIMAL:
        reg.value.decimals[0] = value->dec;
        break;
    case PHYS_NESTED:
        break;
    case PHYS_BYTES:
        reg.value.bytes = weir_arena_alloc(g->arena, value->n + 64);
        if (value->n)
            memcpy(reg.value.bytes, value->s, value->n);
        reg.value.offsets[1] = (int32_t)value->n;
        break;
    }
    return new_reg(g, reg);
}

static int null_const(struct gen *g, const struct weir_type *type)
{
    struct value value = {.null = true};
    return new_const(g, type, &value);
}

static bool is_const(const struct gen *g, int reg)
{
    return g->regs[reg].kind == REG_CONST;
}
static void const_value(const struct gen *g, int reg, struct value *value)
{
    eval_load(&g->regs[reg].value, expr_phys(g->regs[reg].type), 0, value);
}
static bool is_null_const(const struct gen *g, int reg)
{
    struct value value;
    if (!is_const(g, reg))
        return false;
    const_value(g, reg, &value);
    return value.null;
}

/* Runs a step whose arguments are all constants; false: it fails. */
static bool fold(struct gen *g, const struct step *step, const struct weir_type *type, int *reg)
{
    if (expr_phys((int)type->id) == PHYS_NESTED)
        return false;
    struct weir_expr_scratch *scratch = weir_expr_scratch_new();
    scratch->slots = weir_zalloc(sizeof *scratch->slots);
    scratch->slot_count = 1;
    struct reg_info *regs = weir_zalloc((size_t)(step->arg_count + 1) * sizeof *regs);
    struct weir_column *columns = weir_zalloc((size_t)(step->arg_count + 1) * sizeof *columns);
    int *args = weir_alloc((size_t)(step->arg_count + 1) * sizeof *args);
    for (int i = 0; i < step->arg_count; i++) {
        regs[i + 1] = g->regs[step->args[i]];
        columns[i + 1] = regs[i + 1].value;
        args[i] = i + 1;
    }
    regs[0] = (struct reg_info){.kind = REG_TEMP, .type = (int)type->id, .is = *type};
    struct step local = *step;
    local.args = args;
    local.out = 0;
    local.sel = NO_SEL;
    struct eval eval = {.scratch = scratch, .columns = columns, .regs = regs, .slots = scratch->slots, .rows = 1};
    bool good = local.run(&eval, &local) == WEIR_OK;
    if (good) {
        struct value value;
        eval_load(&columns[0], expr_phys((int)type->id), 0, &value);
        *reg = new_const(g, type, &value);
    }
    free(args);
    free(columns);
    free(regs);
    weir_expr_scratch_free(scratch);
    return good;
}

/* --- Steps */

static weir_err emit(struct gen *g, struct step step, const struct weir_type *type, bool strict, int *reg)
{
    bool all_const = true, all_single = true;
    for (int i = 0; i < step.arg_count; i++) {
        all_const &= is_const(g, step.args[i]);
        all_single &= g->regs[step.args[i]].constant;
        if (strict && is_null_const(g, step.args[i])) {
            *reg = null_const(g, type);
            return WEIR_OK;
        }
    }
    if (all_const && step.run != step_select && step.run != step_broadcast && fold(g, &step, type, reg))
        return WEIR_OK;
    if (g->step_count == STEPS_MAX)
        return expr_error(g->error, WEIR_ERR_FULL, step.column,
                          "the expression needs over %d steps; split it into columns", STEPS_MAX);
    step.single = all_single && step.run != step_select && step.run != step_broadcast;
    int *args = weir_arena_alloc(g->arena, (size_t)(step.arg_count + 1) * sizeof *args);
    memcpy(args, step.args, (size_t)step.arg_count * sizeof *args);
    step.args = args;
    step.out = *reg =
        new_reg(g, (struct reg_info){.kind = REG_TEMP, .type = (int)type->id, .is = *type, .constant = step.single});
    if (g->step_count == g->step_capacity) {
        g->step_capacity = g->step_capacity ? 2 * g->step_capacity : 16;
        g->steps = weir_realloc(g->steps, (size_t)g->step_capacity * sizeof *g->steps);
    }
    g->steps[g->step_count++] = step;
    return WEIR_OK;
}

static weir_err emit2(struct gen *g, const struct node *node, step_fn run, int aux, int sel,
                      const struct weir_type *type, int a, int b, int *reg)
{
    int args[2] = {a, b};
    struct step step = {
        .run = run, .aux = aux, .sel = sel, .args = args, .arg_count = b < 0 ? 1 : 2, .column = node->column};
    bool strict = run != step_logic && run != step_test && run != step_select && run != step_broadcast;
    return emit(g, step, type, strict, reg);
}

/* Word operations want one bit per row, so constants are spread out. */
static weir_err spread(struct gen *g, const struct node *node, int *reg)
{
    if (!g->regs[*reg].constant)
        return WEIR_OK;
    struct weir_type is = g->regs[*reg].is; /* the array may move */
    return emit2(g, node, step_broadcast, 0, NO_SEL, &is, *reg, -1, reg);
}

static const struct weir_type boolean = {.id = WEIR_TYPE_BOOLEAN, .nullable = true};

static weir_err narrow(struct gen *g, const struct node *node, enum select_kind kind, int condition, int sel, int *reg)
{
    weir_err err = spread(g, node, &condition);
    if (!err)
        err = emit2(g, node, step_select, (int)kind, sel, &boolean, condition, -1, reg);
    if (!err)
        g->sel_parents[*reg] = sel;
    return err;
}

static bool covers(const struct gen *g, int earlier, int sel)
{
    while (sel != earlier && sel != NO_SEL)
        sel = g->sel_parents[sel];
    return sel == earlier;
}

/* --- Nodes */

static weir_err gen_logic(struct gen *g, struct node *node, int sel, int *reg)
{
    bool and = node->op == OP_AND;
    int left, right, narrowed = sel;
    struct value value;
    weir_err err = gen_node(g, node->args[0], sel, &left);
    if (err)
        return err;
    if (is_const(g, left)) {
        const_value(g, left, &value);
        if (!value.null && (value.i != 0) != and) { /* FALSE AND x, TRUE OR x */
            *reg = left;
            return WEIR_OK;
        }
        if (!value.null)
            return gen_node(g, node->args[1], sel, reg);
    } else if (node->args[1]->lazy &&
               (err = narrow(g, node, and? SELECT_NOT_FALSE : SELECT_NOT_TRUE, left, sel, &narrowed))) {
        return err;
    }
    if ((err = gen_node(g, node->args[1], narrowed, &right)))
        return err;
    if (is_const(g, right) && !is_const(g, left)) {
        const_value(g, right, &value);
        if (!value.null && (value.i != 0) == and) {
            *reg = left;
            return WEIR_OK;
        }
    }
    if (!(is_const(g, left) && is_const(g, right)) &&
        ((err = spread(g, node, &left)) || (err = spread(g, node, &right))))
        return err;
    return emit2(g, node, step_logic, node->op, sel, &boolean, left, right, reg);
}

static weir_err gen_case(struct gen *g, struct node *node, int sel, int *reg)
{
    int *args = weir_arena_alloc(g->arena, (size_t)node->arg_count * sizeof *args), count = 0;
    int last = node->arg_count - 1, rest = sel;
    bool lazy_after = false;
    bool *lazies = weir_arena_alloc(g->arena, (size_t)node->arg_count * sizeof *lazies); /* anything lazy after i */
    for (int i = last; i >= 0; i--) {
        lazies[i] = lazy_after;
        lazy_after |= node->args[i]->lazy;
    }
    weir_err err;
    bool decided = false;
    for (int i = 0; i < last && !decided; i += 2) {
        int condition, taken = rest, value;
        if ((err = gen_node(g, node->args[i], rest, &condition)))
            return err;
        if (is_const(g, condition)) {
            struct value known;
            const_value(g, condition, &known);
            if (known.null || !known.i)
                continue;
            if ((err = gen_node(g, node->args[i + 1], rest, &value)))
                return err;
            args[count++] = value;
            decided = true;
            break;
        }
        if (node->args[i + 1]->lazy && (err = narrow(g, node, SELECT_TRUE, condition, rest, &taken)))
            return err;
        if ((err = spread(g, node, &condition)) || (err = gen_node(g, node->args[i + 1], taken, &value)))
            return err;
        args[count++] = condition;
        args[count++] = value;
        if (lazies[i + 1] && (err = narrow(g, node, SELECT_NOT_TRUE, condition, rest, &rest)))
            return err;
    }
    if (!decided) {
        if ((err = gen_node(g, node->args[last], rest, &args[count])))
            return err;
        count++;
    }
    if (count == 1) {
        *reg = args[0];
        return WEIR_OK;
    }
    struct step step = {.run = step_case, .sel = sel, .args = args, .arg_count = count, .column = node->column};
    return emit(g, step, &node->type, false, reg);
}

static struct row_call *row_call_new(struct gen *g, const struct node *node, row_fn fn)
{
    struct row_call *def = weir_arena_zalloc(g->arena, sizeof *def);
    def->fn = fn;
    def->strict = true;
    def->unit = node->unit;
    def->type = (int)node->type.id;
    def->out_type = node->type;
    def->arg_type = node->arg_count ? (int)node->args[0]->type.id : 0;
    if (node->arg_count)
        def->in_type = node->args[0]->type;
    return def;
}

/* Nothing to be done for this CAST? */
static bool is_same(const struct weir_type *from, const struct weir_type *to)
{
    if (from->id != to->id)
        return false;
    if (from->id == WEIR_TYPE_DECIMAL)
        return from->scale == to->scale && from->precision <= to->precision;
    if (weir_type_is_nested(from->id))
        return from->fields == to->fields;
    return to->id == WEIR_TYPE_STRING || to->id == WEIR_TYPE_BYTES ? to->length == 0 : to->precision >= from->precision;
}

static weir_err gen_cast(struct gen *g, struct node *node, int sel, int *reg)
{
    struct node *from = node->args[0];
    int in;
    if (from->type.id == WEIR_TYPE_NONE) {
        *reg = null_const(g, &node->type);
        return WEIR_OK;
    }
    weir_err err = gen_node(g, from, sel, &in);
    if (err)
        return err;
    if (is_same(&from->type, &node->type)) {
        *reg = in;
        return WEIR_OK;
    }
    bool convert = false, nested = weir_type_is_nested(from->type.id) && weir_type_is_nested(node->type.id);
    row_fn fn = NULL;
    bool found = nested || expr_cast_find((int)from->type.id, (int)node->type.id, &convert, &fn);
    weir_assert(found);
    struct step step = {.run = step_convert, .sel = sel, .args = &in, .arg_count = 1, .column = node->column};
    if (!convert) {
        struct row_call *def = row_call_new(g, node, fn);
        expr_cast_prepare(def, &from->type, &node->type);
        def->null_on_fail = node->op == OP_TRY_CAST;
        def->pad = node->fixed_size;
        step.run = nested ? step_cast_nested : step_rows;
        step.data = def;
    }
    return emit(g, step, &node->type, true, reg);
}

static int compare_values(const void *a, const void *b, void *phys)
{
    return expr_value_compare(*(const enum phys *)phys, a, b);
}

static weir_err gen_in(struct gen *g, struct node *node, int sel, int *reg)
{
    int subject;
    weir_err err = gen_node(g, node->args[0], sel, &subject);
    if (err)
        return err;
    struct in_set *set = weir_arena_zalloc(g->arena, sizeof *set);
    set->phys = expr_phys((int)node->args[0]->type.id);
    set->values = weir_arena_alloc(g->arena, (size_t)node->arg_count * sizeof *set->values);
    for (int i = 1; i < node->arg_count; i++) {
        int item;
        if ((err = gen_node(g, node->args[i], sel, &item)))
            return err;
        if (!is_const(g, item))
            return expr_error(g->error, WEIR_ERR_INVALID, node->args[i]->column,
                              "this entry of the IN list has no value: its cast fails");
        struct value value;
        const_value(g, item, &value);
        if (value.null)
            set->has_null = true;
        else
            set->values[set->count++] = value;
    }
    qsort_r(set->values, (size_t)set->count, sizeof *set->values, compare_values, &set->phys);
    struct row_call *def = row_call_new(g, node, fn_in_set);
    def->data = set;
    struct step step = {
        .run = step_rows, .sel = sel, .args = &subject, .arg_count = 1, .data = def, .column = node->column};
    return emit(g, step, &node->type, true, reg);
}

static weir_err gen_call(struct gen *g, struct node *node, row_fn fn, int sel, int *reg)
{
    int *args = weir_arena_alloc(g->arena, (size_t)(node->arg_count + 1) * sizeof *args);
    for (int i = 0; i < node->arg_count; i++) {
        weir_err err = gen_node(g, node->args[i], sel, &args[i]);
        if (err)
            return err;
    }
    struct step step = {
        .run = step_rows, .sel = sel, .args = args, .arg_count = node->arg_count, .column = node->column};
    bool strict = true;
    if (!fn) {
        step.run = step_math;
        step.data = node->function;
    } else {
        struct row_call *def = row_call_new(g, node, fn);
        strict = def->strict = !node->function || !(node->function->flags & FUNCTION_LENIENT);
        if (node->op == OP_LIKE && is_const(g, args[1]) && (node->arg_count < 3 || is_const(g, args[2]))) {
            struct value pattern, escape;
            const_value(g, args[1], &pattern);
            if (node->arg_count == 3)
                const_value(g, args[2], &escape);
            if (!pattern.null && (node->arg_count < 3 || !escape.null))
                def->data = expr_like_prepare(g->arena, &pattern, node->arg_count == 3 ? &escape : NULL);
        }
        step.data = def;
    }
    return emit(g, step, &node->type, strict, reg);
}

static weir_err gen_column(struct gen *g, const struct node *node, int *reg)
{
    if (g->input_regs[node->index] < 0)
        g->input_regs[node->index] = new_reg(
            g,
            (struct reg_info){.kind = REG_INPUT, .type = (int)node->type.id, .is = node->type, .input = node->index});
    *reg = g->input_regs[node->index];
    return WEIR_OK;
}

static weir_err gen_binary(struct gen *g, struct node *node, int sel, int *reg)
{
    int a, b, type = (int)node->type.id;
    enum phys phys = expr_phys((int)node->args[0]->type.id);
    weir_err err;
    if ((err = gen_node(g, node->args[0], sel, &a)) || (err = gen_node(g, node->args[1], sel, &b)))
        return err;
    step_fn run = phys == PHYS_DECIMAL  ? step_compare_decimal
                  : phys == PHYS_NESTED ? step_compare_nested
                                        : step_compare;
    if (node->op <= OP_MOD && type == WEIR_TYPE_DECIMAL) {
        run = step_decimal;
    } else if (node->op <= OP_MOD) {
        bool floating = type == WEIR_TYPE_FLOAT || type == WEIR_TYPE_DOUBLE;
        run = node->op <= OP_MUL || (node->op == OP_DIV && floating) ? step_arith : step_divide;
    }
    return emit2(g, node, run, node->op, sel, &node->type, a, b, reg);
}

/* 0 - x, whose scale is x's. */
static weir_err gen_negative(struct gen *g, struct node *node, int sel, int *reg)
{
    struct value zero = {.dec = {0, 0}};
    struct weir_type one = {.id = WEIR_TYPE_DECIMAL, .precision = 1};
    int a;
    weir_err err = gen_node(g, node->args[0], sel, &a);
    return err ? err : emit2(g, node, step_decimal, OP_SUB, sel, &node->type, new_const(g, &one, &zero), a, reg);
}

static weir_err gen_construct(struct gen *g, struct node *node, int sel, int *reg)
{
    int *args = weir_arena_alloc(g->arena, (size_t)node->arg_count * sizeof *args);
    for (int i = 0; i < node->arg_count; i++) {
        weir_err err = gen_node(g, node->args[i], sel, &args[i]);
        if (err)
            return err;
    }
    struct step step = {
        .run = step_construct, .sel = sel, .args = args, .arg_count = node->arg_count, .column = node->column};
    return emit(g, step, &node->type, false, reg);
}

static weir_err gen_fresh(struct gen *g, struct node *node, int sel, int *reg)
{
    int a, b;
    weir_err err;
    switch (node->op) {
    case OP_LITERAL:
        *reg = new_const(g, &node->type, &node->literal);
        return WEIR_OK;
    case OP_COLUMN:
        return gen_column(g, node, reg);
    case OP_ADD:
    case OP_SUB:
    case OP_MUL:
    case OP_DIV:
    case OP_MOD:
    case OP_EQ:
    case OP_NE:
    case OP_LT:
    case OP_LE:
    case OP_GT:
    case OP_GE:
        return gen_binary(g, node, sel, reg);
    case OP_NEG: {
        if (node->type.id == WEIR_TYPE_DECIMAL)
            return gen_negative(g, node, sel, reg);
        /* times -1: wraps for integers, flips the sign of zero */
        struct value minus = {.i = -1};
        if (node->type.id == WEIR_TYPE_FLOAT || node->type.id == WEIR_TYPE_DOUBLE)
            minus.d = -1;
        if ((err = gen_node(g, node->args[0], sel, &a)))
            return err;
        b = new_const(g, &node->type, &minus);
        return emit2(g, node, step_arith, OP_MUL, sel, &node->type, a, b, reg);
    }
    case OP_PLUS:
        return gen_node(g, node->args[0], sel, reg);
    case OP_AND:
    case OP_OR:
        return gen_logic(g, node, sel, reg);
    case OP_NOT:
        if ((err = gen_node(g, node->args[0], sel, &a)))
            return err;
        return emit2(g, node, step_not, 0, sel, &boolean, a, -1, reg);
    case OP_IS_NULL:
    case OP_IS_NOT_NULL:
    case OP_IS_TRUE:
    case OP_IS_NOT_TRUE:
    case OP_IS_FALSE:
    case OP_IS_NOT_FALSE:
        if ((err = gen_node(g, node->args[0], sel, &a)))
            return err;
        return emit2(g, node, step_test, node->op, sel, &boolean, a, -1, reg);
    case OP_IN:
        return gen_in(g, node, sel, reg);
    case OP_LIKE:
        return gen_call(g, node, fn_like, sel, reg);
    case OP_CAST:
    case OP_TRY_CAST:
        return gen_cast(g, node, sel, reg);
    case OP_CASE:
        return gen_case(g, node, sel, reg);
    case OP_CALL:
        return gen_call(g, node, node->function->fn, sel, reg);
    case OP_FIELD:
        if ((err = gen_node(g, node->args[0], sel, &a)))
            return err;
        return emit2(g, node, step_field, node->index, sel, &node->type, a, -1, reg);
    case OP_ARRAY:
    case OP_MAP:
    case OP_ROW:
        return gen_construct(g, node, sel, reg);
    default:
        break;
    }
    weir_assert(!"an operator without steps");
}

static weir_err gen_node(struct gen *g, struct node *node, int sel, int *reg)
{
    if (node->reg >= 0 && (!node->lazy || covers(g, node->reg_sel, sel))) {
        *reg = node->reg;
        return WEIR_OK;
    }
    weir_err err = gen_fresh(g, node, sel, reg);
    node->reg = err ? -1 : *reg;
    node->reg_sel = sel;
    return err;
}

/* --- The whole */

/* Slots by last use: a step's output takes a slot that no later step reads any more. */
static int assign_slots(struct gen *g, int result)
{
    int *last_use = weir_alloc((size_t)g->reg_count * sizeof *last_use),
        *idle = weir_alloc((size_t)g->reg_count * sizeof *idle);
    int idle_count = 0, slot_count = 0;
    for (int i = 0; i < g->reg_count; i++)
        last_use[i] = -1;
    for (int s = 0; s < g->step_count; s++) {
        const struct step *step = &g->steps[s];
        for (int i = 0; i < step->arg_count; i++)
            last_use[step->args[i]] = s;
        if (step->sel >= 0)
            last_use[step->sel] = s;
    }
    last_use[result] = g->step_count;
    for (int s = 0; s < g->step_count; s++) {
        const struct step *step = &g->steps[s];
        g->regs[step->out].slot = idle_count ? idle[--idle_count] : slot_count++;
        for (int i = -1; i < step->arg_count; i++) {
            int reg = i < 0 ? step->sel : step->args[i];
            if (reg < 0 || last_use[reg] != s || g->regs[reg].kind != REG_TEMP)
                continue;
            last_use[reg] = -2; /* an argument may be there twice */
            idle[idle_count++] = g->regs[reg].slot;
        }
        if (last_use[step->out] == -1) /* never read */
            idle[idle_count++] = g->regs[step->out].slot;
    }
    free(last_use);
    free(idle);
    return slot_count;
}

static weir_err check_result(const struct node *node, struct weir_expr_error *error)
{
    if (node->type.id == WEIR_TYPE_NONE)
        return expr_error(error, WEIR_ERR_INVALID, node->column, "NULL alone has no type; write CAST(NULL AS type)");
    if ((int)node->type.id > WEIR_TYPE_IDS)
        return expr_error(error, WEIR_ERR_UNSUPPORTED, node->column,
                          "an INTERVAL cannot be a result; add it to a time, or use TIMESTAMPDIFF");
    return WEIR_OK;
}

weir_err expr_compile_node(struct weir_arena *arena, struct node *node, const struct weir_schema *schema,
                           struct weir_expr **out, struct weir_expr_error *error)
{
    struct checker checker = {.arena = arena, .schema = schema, .error = error};
    weir_err err;
    *out = NULL;
    if ((err = expr_check(&checker, node)) || (err = check_result(node, error)))
        return err;
    struct weir_expr *expr = weir_zalloc(sizeof *expr);
    weir_arena_init(&expr->arena);
    int columns = schema ? schema->field_count : 0;
    struct gen g = {.arena = &expr->arena, .schema = schema, .error = error};
    g.input_regs = weir_alloc((size_t)(columns + 1) * sizeof *g.input_regs);
    for (int i = 0; i < columns; i++)
        g.input_regs[i] = -1;
    if (!(err = gen_node(&g, node, NO_SEL, &expr->result))) {
        expr->type = node->type;
        expr->hidden_null = node->hidden_null;
        expr->input_count = columns;
        expr->slot_count = assign_slots(&g, expr->result);
        expr->reg_count = g.reg_count;
        expr->regs = weir_arena_alloc(&expr->arena, (size_t)g.reg_count * sizeof *g.regs);
        memcpy(expr->regs, g.regs, (size_t)g.reg_count * sizeof *g.regs);
        expr->step_count = g.step_count;
        expr->steps = weir_arena_alloc(&expr->arena, (size_t)(g.step_count + 1) * sizeof *g.steps);
        if (g.step_count)
            memcpy(expr->steps, g.steps, (size_t)g.step_count * sizeof *g.steps);
        *out = expr;
    } else {
        weir_expr_free(expr);
    }
    free(g.steps);
    free(g.regs);
    free(g.sel_parents);
    free(g.input_regs);
    return err;
}
