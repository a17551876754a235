/* Types of a tree: names are resolved, implicit casts put in, forms that are written in terms of others rewritten
 * (COALESCE, NULLIF, IF and IS DISTINCT FROM become CASE and comparisons). Control path only; pure.
 *
 * Rules are Flink 1.20's: numbers widen TINYINT < SMALLINT < INT < BIGINT < FLOAT < DOUBLE, a result has the wider type of
 * its operands (TINYINT + TINYINT is TINYINT and wraps); text is compared with times as a time, never with numbers.
 * A node may be the child of several (BETWEEN, simple CASE): it is checked once, and a cast for one parent is a new node.
 * DECIMAL: results have the precision and scale that Flink gives them (decimal_result()); with FLOAT or DOUBLE all is DOUBLE.
 */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/assert.h"
#include "expr/expr_int.h"

#define NO_TYPE (-1)
/* x IN (a few) becomes x = a OR ...: vectors beat a search. */
#define IN_AS_OR_MAX 4

bool expr_is_numeric(int type)
{
    return (type >= WEIR_TYPE_INT8 && type <= WEIR_TYPE_DOUBLE) || type == WEIR_TYPE_DECIMAL;
}
bool expr_is_integer(int type)
{
    return type >= WEIR_TYPE_INT8 && type <= WEIR_TYPE_INT64;
}
static bool is_time(int type)
{
    return type >= WEIR_TYPE_DATE && type <= WEIR_TYPE_TIMESTAMP_LTZ;
}
static bool is_timestamp(int type)
{
    return type == WEIR_TYPE_TIMESTAMP || type == WEIR_TYPE_TIMESTAMP_LTZ;
}
static bool is_interval(int type)
{
    return type == EXPR_INTERVAL_MONTHS || type == EXPR_INTERVAL_MS;
}

enum phys expr_phys(int type)
{
    static const uint8_t table[EXPR_INTERVAL_MS + 1] = {
        [WEIR_TYPE_NONE] = PHYS_BOOL,         [WEIR_TYPE_BOOLEAN] = PHYS_BOOL,    [WEIR_TYPE_INT8] = PHYS_I8,
        [WEIR_TYPE_INT16] = PHYS_I16,         [WEIR_TYPE_INT32] = PHYS_I32,       [WEIR_TYPE_INT64] = PHYS_I64,
        [WEIR_TYPE_FLOAT] = PHYS_F32,         [WEIR_TYPE_DOUBLE] = PHYS_F64,      [WEIR_TYPE_STRING] = PHYS_BYTES,
        [WEIR_TYPE_BYTES] = PHYS_BYTES,       [WEIR_TYPE_DATE] = PHYS_I32,        [WEIR_TYPE_TIME] = PHYS_I32,
        [WEIR_TYPE_TIMESTAMP_LTZ] = PHYS_I64, [WEIR_TYPE_DECIMAL] = PHYS_DECIMAL, [WEIR_TYPE_ARRAY] = PHYS_NESTED,
        [WEIR_TYPE_MAP] = PHYS_NESTED,        [WEIR_TYPE_ROW] = PHYS_NESTED,      [WEIR_TYPE_TIMESTAMP] = PHYS_I64,
        [EXPR_INTERVAL_MONTHS] = PHYS_I64,    [EXPR_INTERVAL_MS] = PHYS_I64};
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

/* An integer type as a DECIMAL(p, 0), any other type as it is. */
static struct weir_type as_decimal(const struct weir_type *type)
{
    static const uint8_t digits[] = {
        [WEIR_TYPE_INT8] = 3, [WEIR_TYPE_INT16] = 5, [WEIR_TYPE_INT32] = 10, [WEIR_TYPE_INT64] = 19};
    if (!expr_is_integer((int)type->id))
        return *type;
    return (struct weir_type){.id = WEIR_TYPE_DECIMAL, .precision = digits[type->id], .nullable = type->nullable};
}

static bool common_decimal(const struct weir_type *a, const struct weir_type *b, struct weir_type *common)
{
    struct weir_type x = as_decimal(a), y = as_decimal(b);
    if (x.id != WEIR_TYPE_DECIMAL || y.id != WEIR_TYPE_DECIMAL) { /* with FLOAT or DOUBLE */
        common->id = WEIR_TYPE_DOUBLE;
        return true;
    }
    int scale = x.scale > y.scale ? x.scale : y.scale;
    int whole = x.precision - x.scale > y.precision - y.scale ? x.precision - x.scale : y.precision - y.scale;
    common->id = WEIR_TYPE_DECIMAL;
    common->precision = (uint8_t)(whole + scale > WEIR_DECIMAL_DIGITS_MAX ? WEIR_DECIMAL_DIGITS_MAX : whole + scale);
    common->scale = (uint8_t)scale;
    return true;
}

/* Two ARRAYs, MAPs or ROWs: field by field, with the first one's names. */
static bool common_nested(const struct weir_type *a, const struct weir_type *b, struct weir_type *common)
{
    int count = a->fields->field_count;
    if (a->id != b->id || count != b->fields->field_count)
        return false;
    struct weir_field *fields = weir_alloc((size_t)count * sizeof *fields);
    bool together = true;
    for (int i = 0; i < count && together; i++) {
        const struct weir_type *x = &a->fields->fields[i].type, *y = &b->fields->fields[i].type;
        fields[i].name = a->fields->fields[i].name;
        together = expr_common_type(x, y, &fields[i].type);
    }
    weir_err err = WEIR_ERR_INVALID;
    if (together)
        err = a->id == WEIR_TYPE_ROW     ? weir_type_row(fields, count, common, NULL)
              : a->id == WEIR_TYPE_ARRAY ? weir_type_array(&fields[0].type, common, NULL)
                                         : weir_type_map(&fields[0].type, &fields[1].type, common, NULL);
    free(fields);
    return !err;
}

bool expr_common_type(const struct weir_type *a, const struct weir_type *b, struct weir_type *common)
{
    int x = (int)a->id, y = (int)b->id;
    bool nullable = a->nullable || b->nullable, good = true;
    struct weir_type out = y == WEIR_TYPE_NONE ? *a : *b;
    if (x != WEIR_TYPE_NONE && y != WEIR_TYPE_NONE) {
        out = (struct weir_type){.id = a->id, .precision = a->precision > b->precision ? a->precision : b->precision};
        if (x == y && a->length == b->length)
            out.length = a->length;
        if (weir_type_is_nested(a->id) || weir_type_is_nested(b->id))
            good = weir_type_is_nested(a->id) && weir_type_is_nested(b->id) && common_nested(a, b, &out);
        else if (expr_is_numeric(x) && expr_is_numeric(y) && (x == WEIR_TYPE_DECIMAL || y == WEIR_TYPE_DECIMAL))
            good = common_decimal(a, b, &out);
        else if (expr_is_numeric(x) && expr_is_numeric(y))
            out.id = x > y ? a->id : b->id;
        else if (x != y && (is_timestamp(x) || x == WEIR_TYPE_DATE) && (is_timestamp(y) || y == WEIR_TYPE_DATE))
            out.id = x == WEIR_TYPE_TIMESTAMP_LTZ || y == WEIR_TYPE_TIMESTAMP_LTZ ? WEIR_TYPE_TIMESTAMP_LTZ
                                                                                  : WEIR_TYPE_TIMESTAMP;
        else
            good = x == y;
    }
    out.nullable = nullable;
    if (good)
        *common = out;
    return good;
}

/* For comparisons: text may stand for a time. */
static bool comparable_type(const struct weir_type *a, const struct weir_type *b, struct weir_type *common)
{
    if (a->id == WEIR_TYPE_STRING && is_time((int)b->id)) {
        *common = *b;
        common->precision = is_timestamp((int)b->id) ? 3 : b->precision;
        return true;
    }
    if (b->id == WEIR_TYPE_STRING && is_time((int)a->id))
        return comparable_type(b, a, common);
    return expr_common_type(a, b, common);
}

static bool is_exactly(const struct weir_type *a, const struct weir_type *b)
{
    if (a->id != b->id)
        return false;
    if (a->id == WEIR_TYPE_DECIMAL)
        return a->precision == b->precision && a->scale == b->scale;
    return !weir_type_is_nested(a->id) || a->fields == b->fields;
}

weir_err expr_coerce_to(struct checker *c, struct node **node, const struct weir_type *type)
{
    struct node *from = *node;
    if (is_exactly(&from->type, type))
        return WEIR_OK;
    struct node *cast = expr_node(c->arena, OP_CAST, from->column, 1, from);
    cast->type = *type;
    cast->type.nullable = from->type.nullable;
    cast->hidden_null = from->hidden_null;
    cast->has_type = true;
    *node = cast;
    if (is_interval((int)type->id) || from->type.id == WEIR_TYPE_NONE) { /* a typed NULL */
        cast->checked = true;
        return WEIR_OK;
    }
    return expr_check(c, cast);
}

weir_err expr_coerce(struct checker *c, struct node **node, int type)
{
    struct node *from = *node;
    if ((int)from->type.id == type)
        return WEIR_OK;
    struct weir_type to = {.id = (enum weir_type_id)type, .precision = from->type.precision};
    if (is_timestamp(type) && from->type.id == WEIR_TYPE_STRING)
        to.precision = 3;
    if (to.precision > 3)
        to.precision = 3;
    if (type == WEIR_TYPE_INT8 || type == WEIR_TYPE_DOUBLE || expr_is_integer(type))
        to.precision = 0;
    return expr_coerce_to(c, node, &to);
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
    if (is_timestamp(a) && b == EXPR_INTERVAL_MS)
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

/* More than 38 digits: those behind the point go first, down to 6. */
static struct weir_type adjusted(int precision, int scale, bool *cut)
{
    *cut = precision > WEIR_DECIMAL_DIGITS_MAX;
    if (*cut) {
        int whole = precision - scale, least = scale < 6 ? scale : 6;
        scale = WEIR_DECIMAL_DIGITS_MAX - whole > least ? WEIR_DECIMAL_DIGITS_MAX - whole : least;
        precision = WEIR_DECIMAL_DIGITS_MAX;
    }
    return (struct weir_type){
        .id = WEIR_TYPE_DECIMAL, .precision = (uint8_t)precision, .scale = (uint8_t)scale, .nullable = true};
}

/* Flink's LogicalTypeMerging, by its documentation. *cut: the result may have more digits than there are. */
static struct weir_type decimal_result(enum op op, const struct weir_type *a, const struct weir_type *b, bool *cut)
{
    int p1 = a->precision, s1 = a->scale, p2 = b->precision, s2 = b->scale,
        whole = p1 - s1 > p2 - s2 ? p1 - s1 : p2 - s2;
    int scale = s1 > s2 ? s1 : s2;
    switch (op) {
    case OP_MUL:
        return adjusted(p1 + p2 + 1, s1 + s2, cut);
    case OP_DIV:
        scale = s1 + p2 + 1 > 6 ? s1 + p2 + 1 : 6;
        return adjusted(p1 - s1 + s2 + scale, scale, cut);
    case OP_MOD:
        whole = p1 - s1 < p2 - s2 ? p1 - s1 : p2 - s2;
        return adjusted(whole + scale > 0 ? whole + scale : 1, scale, cut);
    default:
        return adjusted(whole + scale + 1, scale, cut);
    }
}

/* + - * / % of which one at least is a DECIMAL, and none FLOAT or DOUBLE. */
static weir_err check_decimal(struct checker *c, struct node *node)
{
    bool nullable = any_nullable(node), cut;
    for (int i = 0; i < 2; i++) {
        struct weir_type wanted = as_decimal(&node->args[i]->type);
        if (wanted.id == WEIR_TYPE_NONE)
            wanted = as_decimal(&node->args[1 - i]->type);
        weir_err err = expr_coerce_to(c, &node->args[i], &wanted);
        if (err)
            return err;
    }
    node->type = decimal_result(node->op, &node->args[0]->type, &node->args[1]->type, &cut);
    node->type.nullable = nullable;
    node->hidden_null |= cut;
    node->lazy = true;
    return WEIR_OK;
}

static weir_err check_arith(struct checker *c, struct node *node)
{
    int a = (int)node->args[0]->type.id, b = (int)node->args[1]->type.id;
    if (is_time(a) || is_time(b) || is_interval(a) || is_interval(b))
        return check_time_arith(c, node);
    struct weir_type common;
    bool together = expr_common_type(&node->args[0]->type, &node->args[1]->type, &common);
    int type = together ? (int)common.id : NO_TYPE;
    if (type == WEIR_TYPE_NONE)
        type = WEIR_TYPE_INT32;
    if (type == WEIR_TYPE_DECIMAL)
        return check_decimal(c, node);
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

static weir_err check_compare(struct checker *c, struct node *node)
{
    struct weir_type common, both[2];
    bool together = comparable_type(&node->args[0]->type, &node->args[1]->type, &common);
    if (together && weir_type_is_nested(common.id) && node->op != OP_EQ && node->op != OP_NE) {
        char a[64];
        return expr_error(c->error, WEIR_ERR_INVALID, node->column, "values of %s have no order: only = and <> go",
                          expr_type_name(&common, a));
    }
    if (!together) {
        char a[64], b[64];
        return expr_error(c->error, WEIR_ERR_INVALID, node->column, "%s and %s cannot be compared; CAST one of them",
                          expr_type_name(&node->args[0]->type, a), expr_type_name(&node->args[1]->type, b));
    }
    if (common.id == WEIR_TYPE_NONE)
        common.id = WEIR_TYPE_BOOLEAN;
    bool nullable = any_nullable(node);
    both[0] = both[1] = common;
    for (int i = 0; i < 2; i++) {
        /* Decimals are compared as they are, whatever their scales: a common type might lack digits. */
        if (common.id == WEIR_TYPE_DECIMAL && node->args[i]->type.id != WEIR_TYPE_NONE)
            both[i] = as_decimal(&node->args[i]->type);
        weir_err err = expr_coerce_to(c, &node->args[i], &both[i]);
        if (err)
            return err;
    }
    if (common.id == WEIR_TYPE_DECIMAL || weir_type_is_nested(common.id))
        node->lazy = true;
    set_type(node, WEIR_TYPE_BOOLEAN, nullable);
    return WEIR_OK;
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
        if (!comparable_type(&common, &node->args[i]->type, &common)) {
            char a[64], b[64];
            return expr_error(c->error, WEIR_ERR_INVALID, node->args[i]->column,
                              "this entry of the IN list is %s, what is looked for is %s",
                              expr_type_name(&node->args[i]->type, a), expr_type_name(&node->args[0]->type, b));
        }
        all_literals &= is_literal(node->args[i]);
    }
    bool nullable = any_nullable(node);
    if (!all_literals || node->arg_count - 1 <= IN_AS_OR_MAX || common.id >= WEIR_TYPE_DECIMAL) {
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
    for (int i = 0; i <= last; i++) {
        bool value = i % 2 == 1 || i == last;
        if (!value) {
            if ((err = want_boolean(c, &node->args[i], "WHEN")))
                return err;
            continue;
        }
        const struct weir_type *type = &node->args[i]->type;
        if (!expr_common_type(&common, type, &common)) {
            char a[64], b[64];
            return expr_error(c->error, WEIR_ERR_INVALID, node->args[i]->column,
                              "the values of CASE have no common type: %s, before it %s", expr_type_name(type, a),
                              expr_type_name(&common, b));
        }
        nullable |= type->nullable;
    }
    for (int i = 0; i <= last && common.id != WEIR_TYPE_NONE; i++) {
        if ((i % 2 == 1 || i == last) && (err = expr_coerce_to(c, &node->args[i], &common)))
            return err;
    }
    node->type = common;
    node->type.nullable = nullable;
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
    node->hidden_null = false;
    for (int i = 0; i < node->arg_count; i++) {
        bool value = i % 2 == 1 || i == node->arg_count - 1;
        node->hidden_null |= value && node->args[i]->hidden_null;
    }
    if (coalesce) {
        node->type.nullable = nullable;
        node->hidden_null = node->args[node->arg_count - 1]->hidden_null;
    }
    return err;
}

/* --- Casts */

static bool nested_cast_exists(const struct weir_type *from, const struct weir_type *to)
{
    bool convert;
    row_fn fn;
    if (!weir_type_is_nested(from->id) || !weir_type_is_nested(to->id))
        return expr_cast_find((int)from->id, (int)to->id, &convert, &fn);
    if (from->id != to->id || from->fields->field_count != to->fields->field_count)
        return false;
    for (int i = 0; i < from->fields->field_count; i++) {
        if (!nested_cast_exists(&from->fields->fields[i].type, &to->fields->fields[i].type))
            return false;
    }
    return true;
}

static weir_err check_cast(struct checker *c, struct node *node)
{
    struct node *arg = node->args[0];
    weir_assert(node->has_type);
    int from = (int)arg->type.id, to = (int)node->type.id;
    bool convert = false;
    row_fn fn = NULL;
    if (from == WEIR_TYPE_NONE) {
        node->type.nullable = true;
        return WEIR_OK;
    }
    bool nested = weir_type_is_nested(arg->type.id) && weir_type_is_nested(node->type.id);
    if (is_interval(from) ||
        (nested ? !nested_cast_exists(&arg->type, &node->type) : !expr_cast_find(from, to, &convert, &fn))) {
        char a[64], b[64];
        return expr_error(
            c->error, WEIR_ERR_INVALID, node->column, "%s cannot be cast to %s%s", expr_type_name(&arg->type, a),
            expr_type_name(&node->type, b),
            expr_is_numeric(from) && to == WEIR_TYPE_TIMESTAMP_LTZ ? "; use TO_TIMESTAMP_LTZ(number, 0 or 3)"
            : expr_is_numeric(from) && to == WEIR_TYPE_TIMESTAMP   ? "; use TO_TIMESTAMP(FROM_UNIXTIME(seconds))"
            : is_timestamp(from) && expr_is_numeric(to)            ? "; use UNIX_TIMESTAMP(CAST(timestamp AS STRING))"
                                                                   : "");
    }
    node->type.nullable = arg->type.nullable || node->op == OP_TRY_CAST;
    if (to == WEIR_TYPE_DECIMAL) { /* NULL for what has more digits */
        struct weir_type was = as_decimal(&arg->type);
        node->hidden_null |= was.id != WEIR_TYPE_DECIMAL || was.scale > node->type.scale ||
                             was.precision - was.scale > node->type.precision - node->type.scale;
    }
    node->lazy |= fn != NULL || nested;
    return WEIR_OK;
}

/* --- ARRAY, MAP, ROW */

static weir_err check_constructor(struct checker *c, struct node *node)
{
    struct weir_type parts[2] = {{.id = WEIR_TYPE_NONE}, {.id = WEIR_TYPE_NONE}};
    int step = node->op == OP_MAP ? 2 : 1;
    weir_err err = WEIR_OK;
    struct weir_error why;
    node->lazy = true;
    if (node->arg_count == 0 || node->arg_count % step != 0)
        return expr_error(c->error, WEIR_ERR_INVALID, node->column, "%s",
                          node->op == OP_MAP ? "MAP[key, value, ...] needs pairs, one at least"
                                             : "ARRAY[value, ...] and ROW(value, ...) need a value at least");
    if (node->op == OP_ROW) {
        struct weir_field *fields = weir_arena_zalloc(c->arena, (size_t)node->arg_count * sizeof *fields);
        for (int i = 0; i < node->arg_count; i++) {
            if (node->args[i]->type.id == WEIR_TYPE_NONE && (err = expr_coerce(c, &node->args[i], WEIR_TYPE_BOOLEAN)))
                return err;
            fields[i].name = weir_arena_format(c->arena, "EXPR$%d", i);
            fields[i].type = node->args[i]->type;
            fields[i].type.nullable |= node->args[i]->hidden_null;
        }
        err = node->arg_count > WEIR_FIELDS_MAX
                  ? weir_fail(&why, WEIR_ERR_FULL, "a ROW has at most %d fields", WEIR_FIELDS_MAX)
                  : weir_type_row(fields, node->arg_count, &node->type, &why);
    } else {
        for (int i = 0; i < node->arg_count; i++) {
            struct weir_type type = node->args[i]->type;
            type.nullable |= node->args[i]->hidden_null;
            if (!expr_common_type(&parts[i % step], &type, &parts[i % step])) {
                char a[64], b[64];
                return expr_error(c->error, WEIR_ERR_INVALID, node->args[i]->column,
                                  "the values have no common type: %s, before it %s", expr_type_name(&type, a),
                                  expr_type_name(&parts[i % step], b));
            }
        }
        for (int i = 0; i < step; i++) {
            if (parts[i].id == WEIR_TYPE_NONE)
                parts[i] = (struct weir_type){.id = WEIR_TYPE_BOOLEAN, .nullable = true};
            if ((int)parts[i].id > WEIR_TYPE_IDS)
                return expr_error(c->error, WEIR_ERR_UNSUPPORTED, node->column, "an INTERVAL cannot be an element");
        }
        for (int i = 0; i < node->arg_count && !err; i++)
            err = expr_coerce_to(c, &node->args[i], &parts[i % step]);
        if (err)
            return err;
        err = step == 2 ? weir_type_map(&parts[0], &parts[1], &node->type, &why)
                        : weir_type_array(&parts[0], &node->type, &why);
    }
    if (err)
        return expr_error(c->error, (enum weir_err_code)err, node->column, "%.900s", why.message);
    node->type.nullable = false;
    node->hidden_null = false;
    return WEIR_OK;
}

static weir_err check_index(struct checker *c, struct node *node)
{
    static const struct function array_at = {.name = "[]", .fn = fn_array_at}, map_at = {.name = "[]", .fn = fn_map_at};
    const struct weir_type *type = &node->args[0]->type;
    char text[64];
    weir_err err;
    if (type->id == WEIR_TYPE_ARRAY) {
        const struct node *index = node->args[1];
        if (!expr_is_integer((int)index->type.id))
            return expr_error(c->error, WEIR_ERR_INVALID, index->column,
                              "elements of an ARRAY are counted by a whole number from 1, this is %s",
                              expr_type_name(&index->type, text));
        if (index->op == OP_LITERAL && index->literal.i < 1)
            return expr_error(c->error, WEIR_ERR_INVALID, index->column, "elements of an ARRAY are counted from 1");
        err = expr_coerce(c, &node->args[1], WEIR_TYPE_INT64);
        node->type = type->fields->fields[0].type;
    } else if (type->id == WEIR_TYPE_MAP) {
        struct weir_type common, key = type->fields->fields[0].type;
        if (!expr_common_type(&key, &node->args[1]->type, &common) || !is_exactly(&common, &key)) {
            char key_text[64];
            return expr_error(c->error, WEIR_ERR_INVALID, node->args[1]->column, "the MAP's keys are %s, this is %s",
                              expr_type_name(&key, key_text), expr_type_name(&node->args[1]->type, text));
        }
        err = expr_coerce_to(c, &node->args[1], &key);
        node->type = type->fields->fields[1].type;
    } else {
        return expr_error(c->error, WEIR_ERR_INVALID, node->column,
                          "[] takes elements of an ARRAY or a MAP, this is %s", expr_type_name(type, text));
    }
    uint8_t precision = node->type.precision;
    become_call(node, node->args[0]->type.id == WEIR_TYPE_ARRAY ? &array_at : &map_at);
    node->type.precision = precision;
    node->type.nullable = true;
    return err;
}

static weir_err check_field(struct checker *c, struct node *node)
{
    const struct weir_type *type = &node->args[0]->type;
    char text[64];
    if (type->id != WEIR_TYPE_ROW)
        return expr_error(c->error, WEIR_ERR_INVALID, node->column,
                          "only a ROW has fields; what is before '.%.60s' is %s", node->name,
                          expr_type_name(type, text));
    node->index = weir_schema_find(type->fields, node->name, strlen(node->name));
    if (node->index < 0) {
        const char *names[WEIR_FIELDS_MAX];
        for (int i = 0; i < type->fields->field_count; i++)
            names[i] = type->fields->fields[i].name;
        const char *near = weir_nearest(node->name, names, type->fields->field_count);
        return expr_error(c->error, WEIR_ERR_NOT_FOUND, node->column, "%s has no field '%.100s'%s%s%s",
                          expr_type_name(type, text), node->name, near ? "; did you mean '" : "", near ? near : "",
                          near ? "'?" : "");
    }
    bool nullable = type->nullable;
    node->type = type->fields->fields[node->index].type;
    node->type.nullable |= nullable;
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
    node->type = node->args[0]->type;
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
        node->hidden_null |= node->args[i]->hidden_null;
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
        node->hidden_null = false;
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
    case OP_FIELD:
        return check_field(c, node);
    case OP_INDEX:
        return check_index(c, node);
    case OP_ARRAY:
    case OP_MAP:
    case OP_ROW:
        return check_constructor(c, node);
    }
    weir_assert(!"an operator without a check");
}
