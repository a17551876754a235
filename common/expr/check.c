/* Types of a tree: names are resolved, implicit casts put in, forms that are written in terms of others rewritten
 * (COALESCE, NULLIF, IF and IS DISTINCT FROM become CASE and comparisons). Control path only; pure.
 *
 * Rules are Flink 1.20's: numbers widen TINYINT < SMALLINT < INT < BIGINT < FLOAT < DOUBLE, a result has the wider type of
 * its operands (TINYINT + TINYINT is TINYINT and wraps); text is compared with times as a time, never with numbers.
 * A node may be the child of several (BETWEEN, simple CASE): it is checked once, and a cast for one parent is a new node.
 * DECIMAL does not exist yet: the literal 1.5 is a DOUBLE.
 */
#include <stdio.h>
#include <strings.h>

#include "base/assert.h"
#include "expr/expr_int.h"

#define NO_TYPE (-1)
/* x IN (a few) becomes x = a OR ...: vectors beat a search. */
#define IN_AS_OR_MAX 4

bool expr_is_numeric(int type)
{
    return type >= WEIR_TYPE_INT8 && type <= WEIR_TYPE_DOUBLE;
}
bool expr_is_integer(int type)
{
    return type >= WEIR_TYPE_INT8 && type <= WEIR_TYPE_INT64;
}
static bool is_time(int type)
{
    return type >= WEIR_TYPE_DATE && type <= WEIR_TYPE_TIMESTAMP;
}
static bool is_interval(int type)
{
    return type == EXPR_INTERVAL_MONTHS || type == EXPR_INTERVAL_MS;
}

enum phys expr_phys(int type)
{
    static const uint8_t table[EXPR_INTERVAL_MS + 1] = {
        [WEIR_TYPE_NONE] = PHYS_BOOL,     [WEIR_TYPE_BOOLEAN] = PHYS_BOOL,   [WEIR_TYPE_INT8] = PHYS_I8,
        [WEIR_TYPE_INT16] = PHYS_I16,     [WEIR_TYPE_INT32] = PHYS_I32,      [WEIR_TYPE_INT64] = PHYS_I64,
        [WEIR_TYPE_FLOAT] = PHYS_F32,     [WEIR_TYPE_DOUBLE] = PHYS_F64,     [WEIR_TYPE_STRING] = PHYS_BYTES,
        [WEIR_TYPE_BYTES] = PHYS_BYTES,   [WEIR_TYPE_DATE] = PHYS_I32,       [WEIR_TYPE_TIME] = PHYS_I32,
        [WEIR_TYPE_TIMESTAMP] = PHYS_I64, [EXPR_INTERVAL_MONTHS] = PHYS_I64, [EXPR_INTERVAL_MS] = PHYS_I64};
    return (enum phys)table[type];
}

const char *expr_type_name(const struct weir_type *type, char out[64])
{
    int id = (int)type->id;
    struct weir_type plain = *type;
    plain.nullable = true;
    if (id == WEIR_TYPE_NONE)
        return strcpy(out, "NULL");
    if (is_interval(id))
        return strcpy(out, id == EXPR_INTERVAL_MS ? "INTERVAL SECOND" : "INTERVAL MONTH");
    return weir_type_print(&plain, out);
}

int expr_common_type(const struct weir_type *a, const struct weir_type *b)
{
    int x = (int)a->id, y = (int)b->id;
    if (x == y || y == WEIR_TYPE_NONE)
        return x;
    if (x == WEIR_TYPE_NONE)
        return y;
    if (expr_is_numeric(x) && expr_is_numeric(y))
        return x > y ? x : y;
    if ((x == WEIR_TYPE_DATE && y == WEIR_TYPE_TIMESTAMP) || (y == WEIR_TYPE_DATE && x == WEIR_TYPE_TIMESTAMP))
        return WEIR_TYPE_TIMESTAMP;
    return NO_TYPE;
}

/* For comparisons: text may stand for a time. */
static int comparable_type(const struct weir_type *a, const struct weir_type *b)
{
    if (a->id == WEIR_TYPE_STRING && is_time((int)b->id))
        return (int)b->id;
    if (b->id == WEIR_TYPE_STRING && is_time((int)a->id))
        return (int)a->id;
    return expr_common_type(a, b);
}

weir_err expr_coerce(struct checker *c, struct node **node, int type)
{
    struct node *from = *node;
    if ((int)from->type.id == type)
        return WEIR_OK;
    struct node *cast = expr_node(c->arena, OP_CAST, from->column, 1, from);
    cast->type = (struct weir_type){
        .id = (enum weir_type_id)type, .precision = from->type.precision, .nullable = from->type.nullable};
    if (type == WEIR_TYPE_TIMESTAMP && from->type.id == WEIR_TYPE_STRING)
        cast->type.precision = 3;
    cast->has_type = true;
    *node = cast;
    if (is_interval(type) || from->type.id == WEIR_TYPE_NONE) { /* a typed NULL */
        cast->checked = true;
        return WEIR_OK;
    }
    return expr_check(c, cast);
}

static weir_err fail_types(struct checker *c, const struct node *node, const char *what)
{
    char a[64], b[64];
    if (node->arg_count > 1)
        return expr_error(c->error, WEIR_ERR_INVALID, node->column, "%s does not go with %s and %s", what,
                          expr_type_name(&node->args[0]->type, a), expr_type_name(&node->args[1]->type, b));
    return expr_error(c->error, WEIR_ERR_INVALID, node->column, "%s does not go with %s", what,
                      expr_type_name(&node->args[0]->type, a));
}

static bool any_nullable(const struct node *node)
{
    for (int i = 0; i < node->arg_count; i++) {
        if (node->args[i]->type.nullable)
            return true;
    }
    return false;
}

static void set_type(struct node *node, int type, bool nullable)
{
    node->type = (struct weir_type){.id = (enum weir_type_id)type, .nullable = nullable};
}

/* --- Columns */

static weir_err check_column(struct checker *c, struct node *node)
{
    const struct weir_schema *schema = c->schema;
    if (node->index < 0)
        node->index = schema ? weir_schema_find(schema, node->name, strlen(node->name)) : -1;
    if (node->index >= 0) {
        node->type = schema->fields[node->index].type;
        if (node->type.id > WEIR_TYPE_TIMESTAMP)
            return expr_error(c->error, WEIR_ERR_UNSUPPORTED, node->column,
                              "column '%s' has a type that expressions cannot read yet", node->name);
        return WEIR_OK;
    }
    const char *names[WEIR_FIELDS_MAX];
    int count = schema ? schema->field_count : 0;
    for (int i = 0; i < count; i++)
        names[i] = schema->fields[i].name;
    const char *near = weir_nearest(node->name, names, count);
    if (near)
        return expr_error(c->error, WEIR_ERR_NOT_FOUND, node->column, "there is no column '%.100s'; did you mean '%s'?",
                          node->name, near);
    struct weir_buf list;
    weir_buf_init(&list, 400);
    for (int i = 0; i < count && list.size < 300; i++) {
        if (!weir_buf_printf(&list, "%s%.60s", i ? ", " : "", names[i]))
            break;
    }
    weir_err err = expr_error(c->error, WEIR_ERR_NOT_FOUND, node->column, "there is no column '%.100s'; there are: %s",
                              node->name, list.size ? (const char *)list.data : "none");
    weir_buf_fini(&list);
    return err;
}

/* --- Arithmetic */

static const char *op_text(enum op op)
{
    static const char *const texts[] = {
        [OP_ADD] = "+", [OP_SUB] = "-", [OP_MUL] = "*", [OP_DIV] = "/", [OP_MOD] = "%", [OP_NEG] = "-", [OP_PLUS] = "+",
        [OP_EQ] = "=",  [OP_NE] = "<>", [OP_LT] = "<",  [OP_LE] = "<=", [OP_GT] = ">",  [OP_GE] = ">="};
    return texts[op];
}

/* The node becomes a call of an internal function (by row). */
static void become_call(struct node *node, const struct function *function)
{
    node->op = OP_CALL;
    node->function = function;
    node->name = function->name;
    node->lazy = true;
}

static weir_err check_time_arith(struct checker *c, struct node *node)
{
    static const struct function add_months = {.name = "+", .fn = fn_add_months};
    static const struct function date_add = {.name = "+", .fn = fn_date_add_ms};
    static const struct function time_add = {.name = "+", .fn = fn_time_add_ms};
    int a = (int)node->args[0]->type.id, b = (int)node->args[1]->type.id;
    if (node->op == OP_ADD && is_interval(a) && is_time(b)) {
        struct node *swap = node->args[0];
        node->args[0] = node->args[1];
        node->args[1] = swap;
        a = (int)node->args[0]->type.id;
        b = (int)node->args[1]->type.id;
    }
    bool nullable = any_nullable(node);
    if ((node->op == OP_ADD || node->op == OP_SUB) && a == b && is_interval(a)) {
        set_type(node, a, nullable);
        return WEIR_OK;
    }
    if (node->op == OP_MUL && (is_interval(a) || is_interval(b))) {
        int number = is_interval(a) ? 1 : 0, interval = is_interval(a) ? a : b;
        if (!expr_is_integer((int)node->args[number]->type.id))
            return fail_types(c, node, op_text(node->op));
        weir_err err = expr_coerce(c, &node->args[number], WEIR_TYPE_INT64);
        set_type(node, interval, nullable);
        return err;
    }
    if (is_time(a) && a == b && node->op == OP_SUB)
        return expr_error(c->error, WEIR_ERR_UNSUPPORTED, node->column,
                          "times are not subtracted with -; use TIMESTAMPDIFF(unit, from, to)");
    if (!is_time(a) || !is_interval(b) || (node->op != OP_ADD && node->op != OP_SUB))
        return fail_types(c, node, op_text(node->op));
    uint8_t precision = node->args[0]->type.precision;
    if (b == EXPR_INTERVAL_MS && !(node->args[1]->op == OP_LITERAL && node->args[1]->literal.i % 1000 == 0))
        precision = 3;
    set_type(node, a, nullable);
    node->type.precision = a == WEIR_TYPE_DATE ? 0 : precision;
    if (a == WEIR_TYPE_TIMESTAMP && b == EXPR_INTERVAL_MS)
        return WEIR_OK; /* plain 64-bit arithmetic */
    if (node->op == OP_SUB) {
        node->args[1] = expr_node(c->arena, OP_NEG, node->column, 1, node->args[1]);
        weir_err err = expr_check(c, node->args[1]);
        if (err)
            return err;
    }
    become_call(node, b == EXPR_INTERVAL_MONTHS ? (a == WEIR_TYPE_TIME ? &time_add : &add_months)
                      : a == WEIR_TYPE_DATE     ? &date_add
                                                : &time_add);
    if (a == WEIR_TYPE_TIME && b == EXPR_INTERVAL_MONTHS)
        return fail_types(c, node, op_text(OP_ADD));
    return WEIR_OK;
}

static weir_err check_arith(struct checker *c, struct node *node)
{
    int a = (int)node->args[0]->type.id, b = (int)node->args[1]->type.id;
    if (is_time(a) || is_time(b) || is_interval(a) || is_interval(b))
        return check_time_arith(c, node);
    int type = expr_common_type(&node->args[0]->type, &node->args[1]->type);
    if (type == WEIR_TYPE_NONE)
        type = WEIR_TYPE_INT32;
    if (type == NO_TYPE || !expr_is_numeric(type)) {
        if (node->op == OP_ADD && (a == WEIR_TYPE_STRING || b == WEIR_TYPE_STRING))
            return expr_error(c->error, WEIR_ERR_INVALID, node->column, "+ does not join text; use || or CONCAT");
        return fail_types(c, node, op_text(node->op));
    }
    bool nullable = any_nullable(node);
    weir_err err;
    if ((err = expr_coerce(c, &node->args[0], type)) || (err = expr_coerce(c, &node->args[1], type)))
        return err;
    set_type(node, type, nullable);
    if ((node->op == OP_DIV || node->op == OP_MOD) && expr_is_integer(type)) {
        struct node *divisor = node->args[1];
        while (divisor->op == OP_CAST && expr_is_integer((int)divisor->type.id))
            divisor = divisor->args[0];
        node->lazy |= divisor->op != OP_LITERAL || divisor->literal.null || divisor->literal.i == 0;
        if (node->op == OP_MOD && b != WEIR_TYPE_NONE && b < type) { /* Flink: the type of the divisor */
            struct node *copy = weir_arena_alloc(c->arena, sizeof *copy);
            *copy = *node;
            copy->checked = true;
            node->op = OP_CAST;
            node->arg_count = 1;
            node->args = weir_arena_alloc(c->arena, sizeof *node->args);
            node->args[0] = copy;
            node->type.id = (enum weir_type_id)b;
            node->has_type = true;
        }
    }
    return WEIR_OK;
}

/* --- Comparison */

static weir_err coerce_both(struct checker *c, struct node *node, int type)
{
    weir_err err = expr_coerce(c, &node->args[0], type);
    return err ? err : expr_coerce(c, &node->args[1], type);
}

static weir_err check_compare(struct checker *c, struct node *node)
{
    int type = comparable_type(&node->args[0]->type, &node->args[1]->type);
    if (type == NO_TYPE) {
        char a[64], b[64];
        return expr_error(c->error, WEIR_ERR_INVALID, node->column, "%s and %s cannot be compared; CAST one of them",
                          expr_type_name(&node->args[0]->type, a), expr_type_name(&node->args[1]->type, b));
    }
    bool nullable = any_nullable(node);
    weir_err err = coerce_both(c, node, type == WEIR_TYPE_NONE ? WEIR_TYPE_BOOLEAN : type);
    set_type(node, WEIR_TYPE_BOOLEAN, nullable);
    return err;
}

/* a IS DISTINCT FROM b: NOT ((a = b) IS TRUE OR (a IS NULL AND b IS NULL)). */
static weir_err check_distinct(struct checker *c, struct node *node)
{
    struct node *a = node->args[0], *b = node->args[1];
    int at = node->column;
    struct node *same = expr_node(c->arena, OP_OR, at, 2,
                                  expr_node(c->arena, OP_IS_TRUE, at, 1, expr_node(c->arena, OP_EQ, at, 2, a, b)),
                                  expr_node(c->arena, OP_AND, at, 2, expr_node(c->arena, OP_IS_NULL, at, 1, a),
                                            expr_node(c->arena, OP_IS_NULL, at, 1, b)));
    node->op = node->op == OP_DISTINCT ? OP_NOT : OP_IS_TRUE;
    node->arg_count = 1;
    node->args[0] = same;
    weir_err err = expr_check(c, same);
    node->lazy |= same->lazy;
    set_type(node, WEIR_TYPE_BOOLEAN, false);
    return err;
}

/* Equalities of items [first, last), joined by OR as a balanced tree. */
static struct node *or_tree(struct checker *c, struct node *node, int first, int last)
{
    if (last - first == 1)
        return expr_node(c->arena, OP_EQ, node->column, 2, node->args[0], node->args[first]);
    int middle = first + (last - first) / 2;
    return expr_node(c->arena, OP_OR, node->column, 2, or_tree(c, node, first, middle), or_tree(c, node, middle, last));
}

static bool is_literal(const struct node *node)
{
    while (node->op == OP_CAST || node->op == OP_TRY_CAST || node->op == OP_NEG)
        node = node->args[0];
    return node->op == OP_LITERAL;
}

static weir_err check_in(struct checker *c, struct node *node)
{
    struct weir_type common = node->args[0]->type;
    bool all_literals = true;
    for (int i = 1; i < node->arg_count; i++) {
        int type = comparable_type(&common, &node->args[i]->type);
        if (type == NO_TYPE) {
            char a[64], b[64];
            return expr_error(c->error, WEIR_ERR_INVALID, node->args[i]->column,
                              "this entry of the IN list is %s, what is looked for is %s",
                              expr_type_name(&node->args[i]->type, a), expr_type_name(&node->args[0]->type, b));
        }
        common.id = (enum weir_type_id)type;
        all_literals &= is_literal(node->args[i]);
    }
    bool nullable = any_nullable(node);
    if (!all_literals || node->arg_count - 1 <= IN_AS_OR_MAX) {
        struct node *tree = or_tree(c, node, 1, node->arg_count);
        weir_err err = expr_check(c, tree);
        *node = *tree;
        return err;
    }
    for (int i = 0; i < node->arg_count; i++) {
        weir_err err = expr_coerce(c, &node->args[i], common.id ? (int)common.id : WEIR_TYPE_BOOLEAN);
        if (err)
            return err;
    }
    node->lazy = true;
    set_type(node, WEIR_TYPE_BOOLEAN, nullable);
    return WEIR_OK;
}

/* --- Logic */

static weir_err want_boolean(struct checker *c, struct node **node, const char *what)
{
    if ((*node)->type.id == WEIR_TYPE_NONE)
        return expr_coerce(c, node, WEIR_TYPE_BOOLEAN);
    if ((*node)->type.id == WEIR_TYPE_BOOLEAN)
        return WEIR_OK;
    char a[64];
    return expr_error(c->error, WEIR_ERR_INVALID, (*node)->column, "%s needs a BOOLEAN, this is %s", what,
                      expr_type_name(&(*node)->type, a));
}

static weir_err check_logic(struct checker *c, struct node *node)
{
    const char *what = node->op == OP_AND ? "AND" : node->op == OP_OR ? "OR" : node->op == OP_NOT ? "NOT" : "IS";
    for (int i = 0; i < node->arg_count; i++) {
        weir_err err = want_boolean(c, &node->args[i], what);
        if (err)
            return err;
    }
    set_type(node, WEIR_TYPE_BOOLEAN, node->op >= OP_IS_TRUE ? false : any_nullable(node));
    return WEIR_OK;
}

static weir_err check_like(struct checker *c, struct node *node)
{
    for (int i = 0; i < node->arg_count; i++) {
        if (node->args[i]->type.id != WEIR_TYPE_STRING && node->args[i]->type.id != WEIR_TYPE_NONE)
            return fail_types(c, node, "LIKE");
        weir_err err = expr_coerce(c, &node->args[i], WEIR_TYPE_STRING);
        if (err)
            return err;
    }
    node->lazy = true;
    set_type(node, WEIR_TYPE_BOOLEAN, any_nullable(node));
    return WEIR_OK;
}

/* --- CASE and what becomes it */

static weir_err check_case(struct checker *c, struct node *node)
{
    struct weir_type common = {.id = WEIR_TYPE_NONE};
    weir_err err;
    int last = node->arg_count - 1;
    bool nullable = false;
    uint8_t precision = 0;
    for (int i = 0; i <= last; i++) {
        bool value = i % 2 == 1 || i == last;
        if (!value) {
            if ((err = want_boolean(c, &node->args[i], "WHEN")))
                return err;
            continue;
        }
        const struct weir_type *type = &node->args[i]->type;
        int together = expr_common_type(&common, type);
        if (together == NO_TYPE) {
            char a[64], b[64];
            return expr_error(c->error, WEIR_ERR_INVALID, node->args[i]->column,
                              "the values of CASE have no common type: %s, before it %s", expr_type_name(type, a),
                              expr_type_name(&common, b));
        }
        common.id = (enum weir_type_id)together;
        nullable |= type->nullable;
        precision = type->precision > precision ? type->precision : precision;
    }
    for (int i = 0; i <= last && common.id != WEIR_TYPE_NONE; i++) {
        if ((i % 2 == 1 || i == last) && (err = expr_coerce(c, &node->args[i], (int)common.id)))
            return err;
    }
    set_type(node, (int)common.id, nullable);
    node->type.precision = precision;
    return WEIR_OK;
}

static void become_case(struct checker *c, struct node *node, int arg_count)
{
    node->op = OP_CASE;
    node->arg_count = arg_count;
    node->args = weir_arena_zalloc(c->arena, (size_t)arg_count * sizeof *node->args);
}

static weir_err check_case_like(struct checker *c, struct node *node, bool *done)
{
    const char *name = node->name;
    struct node **args = node->args;
    int count = node->arg_count, at = node->column;
    bool coalesce = strcmp(name, "COALESCE") == 0 || strcmp(name, "IFNULL") == 0;
    bool nullif = strcmp(name, "NULLIF") == 0;
    *done = coalesce || nullif || strcmp(name, "IF") == 0;
    if (!*done)
        return WEIR_OK;
    if (coalesce ? count < 1 || (name[0] == 'I' && count != 2) : count != (nullif ? 2 : 3))
        return expr_error(c->error, WEIR_ERR_INVALID, at, "%s takes %s", name,
                          coalesce && name[0] == 'C'    ? "at least one argument"
                          : name[0] == 'I' && !coalesce ? "3 arguments: a condition, a value and another"
                                                        : "2 arguments");
    bool nullable = true;
    if (coalesce) {
        become_case(c, node, 2 * count - 1);
        for (int i = 0; i < count; i++) {
            nullable &= args[i]->type.nullable;
            if (i < count - 1)
                node->args[2 * i] = expr_node(c->arena, OP_IS_NOT_NULL, at, 1, args[i]);
            node->args[i < count - 1 ? 2 * i + 1 : 2 * i] = args[i];
        }
    } else {
        become_case(c, node, 3);
        node->args[0] = nullif ? expr_node(c->arena, OP_EQ, at, 2, args[0], args[1]) : args[0];
        node->args[1] = nullif ? expr_node(c->arena, OP_LITERAL, at, 0) : args[1];
        node->args[2] = nullif ? args[0] : args[2];
        if (nullif) {
            node->args[1]->literal.null = true;
            node->args[1]->type.nullable = true;
        }
    }
    for (int i = 0; i < node->arg_count; i++) {
        weir_err err = expr_check(c, node->args[i]);
        if (err)
            return err;
        node->lazy |= node->args[i]->lazy;
    }
    weir_err err = check_case(c, node);
    if (coalesce)
        node->type.nullable = nullable;
    return err;
}

/* --- Casts */

static weir_err check_cast(struct checker *c, struct node *node)
{
    struct node *arg = node->args[0];
    weir_assert(node->has_type);
    int from = (int)arg->type.id, to = (int)node->type.id;
    bool convert;
    row_fn fn;
    if (from == WEIR_TYPE_NONE) {
        node->type.nullable = true;
        return WEIR_OK;
    }
    if (is_interval(from) || !expr_cast_find(from, to, &convert, &fn)) {
        char a[64], b[64];
        return expr_error(
            c->error, WEIR_ERR_INVALID, node->column, "%s cannot be cast to %s%s", expr_type_name(&arg->type, a),
            expr_type_name(&node->type, b),
            expr_is_numeric(from) && to == WEIR_TYPE_TIMESTAMP   ? "; use TO_TIMESTAMP(FROM_UNIXTIME(seconds))"
            : from == WEIR_TYPE_TIMESTAMP && expr_is_numeric(to) ? "; use UNIX_TIMESTAMP(CAST(timestamp AS STRING))"
                                                                 : "");
    }
    node->type.nullable = arg->type.nullable || node->op == OP_TRY_CAST;
    node->lazy |= fn != NULL;
    return WEIR_OK;
}

/* --- All */

static weir_err check_sign(struct checker *c, struct node *node)
{
    int type = (int)node->args[0]->type.id;
    if (type == WEIR_TYPE_NONE) {
        weir_err err = expr_coerce(c, &node->args[0], WEIR_TYPE_INT32);
        if (err)
            return err;
        type = WEIR_TYPE_INT32;
    }
    if (!expr_is_numeric(type) && !is_interval(type))
        return fail_types(c, node, op_text(node->op));
    set_type(node, type, node->args[0]->type.nullable);
    return WEIR_OK;
}

static weir_err check_call(struct checker *c, struct node *node)
{
    bool done;
    weir_err err = check_case_like(c, node, &done);
    if (err || done)
        return err;
    if (strcmp(node->name, "MOD") == 0) {
        if (node->arg_count != 2)
            return expr_error(c->error, WEIR_ERR_INVALID, node->column, "MOD takes (number, number)");
        node->op = OP_MOD;
        return check_arith(c, node);
    }
    return expr_function_resolve(c, node);
}

weir_err expr_check(struct checker *c, struct node *node)
{
    if (node->checked)
        return WEIR_OK;
    node->checked = true;
    for (int i = 0; i < node->arg_count; i++) {
        weir_err err = expr_check(c, node->args[i]);
        if (err)
            return err;
        node->lazy |= node->args[i]->lazy;
    }
    switch (node->op) {
    case OP_LITERAL:
        return WEIR_OK;
    case OP_COLUMN:
        return check_column(c, node);
    case OP_STAR:
        return expr_error(c->error, WEIR_ERR_INVALID, node->column,
                          "* stands for all columns and takes no part in an expression");
    case OP_AGGREGATE:
        return expr_error(c->error, WEIR_ERR_INVALID, node->column, "an aggregate cannot stand here");
    case OP_ADD:
    case OP_SUB:
    case OP_MUL:
    case OP_DIV:
    case OP_MOD:
        return check_arith(c, node);
    case OP_NEG:
    case OP_PLUS:
        return check_sign(c, node);
    case OP_EQ:
    case OP_NE:
    case OP_LT:
    case OP_LE:
    case OP_GT:
    case OP_GE:
        return check_compare(c, node);
    case OP_DISTINCT:
    case OP_NOT_DISTINCT:
        return check_distinct(c, node);
    case OP_AND:
    case OP_OR:
    case OP_NOT:
    case OP_IS_TRUE:
    case OP_IS_NOT_TRUE:
    case OP_IS_FALSE:
    case OP_IS_NOT_FALSE:
        return check_logic(c, node);
    case OP_IS_NULL:
    case OP_IS_NOT_NULL:
        set_type(node, WEIR_TYPE_BOOLEAN, false);
        return node->args[0]->type.id == WEIR_TYPE_NONE ? expr_coerce(c, &node->args[0], WEIR_TYPE_BOOLEAN) : WEIR_OK;
    case OP_IN:
        return check_in(c, node);
    case OP_LIKE:
        return check_like(c, node);
    case OP_CAST:
    case OP_TRY_CAST:
        return check_cast(c, node);
    case OP_CASE:
        return check_case(c, node);
    case OP_CALL:
        return check_call(c, node);
    }
    weir_assert(!"an operator without a check");
}
