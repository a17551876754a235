/* Entry points: one expression, and a select list. The contract is in expr.h. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/assert.h"
#include "expr/expr_int.h"

weir_err weir_expr_compile(const char *text, const struct weir_schema *schema, struct weir_expr **expr,
                           struct weir_expr_error *error)
{
    struct weir_arena arena;
    struct expr_parser parser;
    struct node *node;
    *expr = NULL;
    weir_arena_init(&arena);
    expr_parser_init(&parser, &arena, text, error);
    weir_err err = expr_parse(&parser, &node);
    if (!err)
        err = expr_compile_node(&arena, node, schema, expr, error);
    weir_arena_fini(&arena);
    return err;
}

void weir_expr_free(struct weir_expr *expr)
{
    if (!expr)
        return;
    weir_arena_fini(&expr->arena);
    free(expr);
}

const struct weir_type *weir_expr_type(const struct weir_expr *expr)
{
    return &expr->type;
}

void weir_expr_columns(const struct weir_expr *expr, uint64_t *used)
{
    for (int i = 0; i < expr->reg_count; i++) {
        if (expr->regs[i].kind == REG_INPUT)
            weir_bit_set(used, expr->regs[i].input);
    }
}

int weir_expr_is_column(const struct weir_expr *expr)
{
    const struct reg_info *reg = &expr->regs[expr->result];
    return reg->kind == REG_INPUT ? reg->input : -1;
}

/* --- Select lists */

weir_err expr_item_name(const struct expr_item *item, int index, struct weir_arena *arena, const char **name,
                        struct weir_expr_error *error)
{
    if (item->alias)
        *name = item->alias;
    else if (item->node->op == OP_COLUMN)
        *name = item->node->name;
    else if (item->node->op == OP_FIELD)
        *name = item->node->name;
    else
        *name = weir_arena_format(arena, "EXPR$%d", index);
    size_t size = strlen(*name);
    if (size == 0 || size >= WEIR_NAME_SIZE_MAX)
        return expr_error(error, WEIR_ERR_INVALID, item->node->column, "a column's name has 1 to %d bytes",
                          WEIR_NAME_SIZE_MAX - 1);
    return WEIR_OK;
}

static struct node *column_of(struct weir_arena *arena, const struct weir_schema *schema, int index, int at)
{
    struct node *node = expr_node(arena, OP_COLUMN, at, 0);
    node->name = schema->fields[index].name;
    node->index = index;
    return node;
}

static weir_err add_item(struct weir_select *select, struct weir_arena *arena, const struct expr_item *item,
                         const struct weir_schema *schema, struct weir_expr_error *error)
{
    const char *name;
    int index = select->item_count;
    if (index == WEIR_FIELDS_MAX)
        return expr_error(error, WEIR_ERR_FULL, item->node->column, "a list may have at most %d columns",
                          WEIR_FIELDS_MAX);
    weir_err err = expr_item_name(item, index, arena, &name, error);
    if (err)
        return err;
    for (int i = 0; i < index; i++) {
        if (strcmp(select->items[i].name, name) == 0)
            return expr_error(error, WEIR_ERR_EXISTS, item->node->column,
                              "there are two columns '%s'; give one another name with AS", name);
    }
    if ((err = expr_compile_node(arena, item->node, schema, &select->items[index].expr, error)))
        return err;
    select->items[index].name = weir_strdup(name);
    select->item_count++;
    return WEIR_OK;
}

static struct weir_schema *schema_of(const struct weir_select *select)
{
    struct weir_field *fields = weir_zalloc((size_t)select->item_count * sizeof *fields);
    for (int i = 0; i < select->item_count; i++) {
        fields[i].name = select->items[i].name;
        fields[i].type = select->items[i].expr->type;
        fields[i].type.nullable |= select->items[i].expr->hidden_null;
    }
    struct weir_schema *schema = weir_schema_new(fields, select->item_count);
    free(fields);
    return schema;
}

weir_err weir_select_compile(const char *text, const struct weir_schema *schema, struct weir_select **out,
                             struct weir_expr_error *error)
{
    struct weir_arena arena;
    struct expr_parser parser;
    struct expr_item *items;
    int count;
    *out = NULL;
    weir_arena_init(&arena);
    expr_parser_init(&parser, &arena, text, error);
    struct weir_select *select = weir_zalloc(sizeof *select);
    weir_err err = expr_parse_list(&parser, &items, &count);
    if (!err)
        select->items = weir_zalloc((size_t)WEIR_FIELDS_MAX * sizeof *select->items);
    for (int i = 0; i < count && !err; i++) {
        if (items[i].node->op != OP_STAR) {
            err = add_item(select, &arena, &items[i], schema, error);
            continue;
        }
        for (int c = 0; c < schema->field_count && !err; c++) {
            struct expr_item item = {.node = column_of(&arena, schema, c, items[i].node->column)};
            err = add_item(select, &arena, &item, schema, error);
        }
    }
    if (err) {
        weir_select_free(select);
    } else {
        select->schema = schema_of(select);
        *out = select;
    }
    weir_arena_fini(&arena);
    return err;
}

void weir_select_free(struct weir_select *select)
{
    if (!select)
        return;
    for (int i = 0; i < select->item_count; i++) {
        free(select->items[i].name);
        weir_expr_free(select->items[i].expr);
    }
    free(select->items);
    weir_schema_unref(select->schema);
    free(select);
}

weir_err weir_select_eval(const struct weir_select *select, const struct weir_batch *batch,
                          struct weir_expr_scratch *scratch, struct weir_batch **out, int *bad_row,
                          struct weir_error *error)
{
    struct weir_batch *result = weir_batch_new_shell(select->schema, batch->row_count);
    *out = NULL;
    for (int i = 0; i < select->item_count; i++) {
        weir_err err = weir_expr_eval(select->items[i].expr, batch, scratch, &result->columns[i], bad_row, error);
        if (err) {
            weir_batch_unref(result);
            return err;
        }
    }
    if (batch->change) {
        result->change = batch->change;
        result->change_buffer = weir_buffer_ref(batch->change_buffer);
    }
    result->origin_ns = batch->origin_ns;
    *out = result;
    return WEIR_OK;
}
