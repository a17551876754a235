/* Aggregates: compiling a grouped select list, and its results. Updates are in agg_update.c; the contract is in agg.h.
 *
 * The list is compiled in two halves: arguments and filters of the aggregates over the input, and the items over an inner
 * row of (keys, window_start, window_end, results of the aggregates).
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "data/decimal.h"
#include "data/value_code.h"
#include "expr/agg_int.h"

struct compiler {
    struct weir_agg *agg;
    struct weir_arena *arena;
    const struct weir_schema *input;
    struct weir_expr_error *error;
    int def_capacity;
};

/* --- Aggregate calls */

static const struct agg_name {
    const char *name;
    enum agg_kind kind;
} agg_names[] = {{"COUNT", AGG_COUNT}, {"SUM", AGG_SUM},         {"MIN", AGG_MIN},
                 {"MAX", AGG_MAX},     {"AVG", AGG_AVG},         {"FIRST_VALUE", AGG_FIRST},
                 {"FIRST", AGG_FIRST}, {"LAST_VALUE", AGG_LAST}, {"LAST", AGG_LAST}};

static enum agg_kind kind_of(const char *name)
{
    for (size_t i = 0; i < sizeof agg_names / sizeof *agg_names; i++) {
        if (strcmp(agg_names[i].name, name) == 0)
            return agg_names[i].kind;
    }
    weir_assert(!"the parser and the table of aggregates differ");
}

static weir_err set_result_type(struct compiler *c, const struct node *node, struct agg_def *def)
{
    if (def->kind == AGG_COUNT) {
        def->type = (struct weir_type){.id = WEIR_TYPE_INT64, .nullable = false};
        return WEIR_OK;
    }
    def->type = *weir_expr_type(def->arg);
    def->type.nullable = true;
    def->phys = expr_phys((int)def->type.id);
    if ((def->kind == AGG_SUM || def->kind == AGG_AVG) && !expr_is_numeric((int)def->type.id)) {
        char text[64];
        return expr_error(c->error, WEIR_ERR_INVALID, node->column, "%s needs a number, this is %s", node->name,
                          expr_type_name(&def->type, text));
    }
    if ((def->kind == AGG_MIN || def->kind == AGG_MAX) && def->phys == PHYS_NESTED) {
        char text[64];
        return expr_error(c->error, WEIR_ERR_INVALID, node->column, "%s: values of %s have no order", node->name,
                          expr_type_name(&def->type, text));
    }
    def->scale = def->type.scale;
    if (def->phys == PHYS_DECIMAL && (def->kind == AGG_SUM || def->kind == AGG_AVG)) {
        def->type.precision = WEIR_DECIMAL_DIGITS_MAX;
        if (def->kind == AGG_AVG && def->scale < 6)
            def->type.scale = 6;
    }
    return WEIR_OK;
}

static weir_err add_def(struct compiler *c, struct node *node)
{
    struct weir_agg *agg = c->agg;
    if (agg->def_count == AGG_DEFS_MAX)
        return expr_error(c->error, WEIR_ERR_FULL, node->column, "a list may have at most %d aggregates", AGG_DEFS_MAX);
    if (agg->def_count == c->def_capacity) {
        c->def_capacity = c->def_capacity ? 2 * c->def_capacity : 8;
        agg->defs = weir_realloc(agg->defs, (size_t)c->def_capacity * sizeof *agg->defs);
    }
    struct agg_def *def = &agg->defs[agg->def_count];
    *def = (struct agg_def){.kind = kind_of(node->name), .offset = agg->accumulator_size};
    agg->def_count++; /* what it holds is freed with the whole from here on */
    weir_err err;
    if (node->arg_count > 0 && (err = expr_compile_node(c->arena, node->args[0], c->input, &def->arg, c->error)))
        return err;
    if (node->filter) {
        int column = node->filter->column;
        if ((err = expr_compile_node(c->arena, node->filter, c->input, &def->filter, c->error)))
            return err;
        if (weir_expr_type(def->filter)->id != WEIR_TYPE_BOOLEAN)
            return expr_error(c->error, WEIR_ERR_INVALID, column, "FILTER needs a BOOLEAN condition");
    }
    if ((err = set_result_type(c, node, def)))
        return err;
    if (def->kind == AGG_COUNT && def->arg && !weir_expr_type(def->arg)->nullable &&
        weir_expr_is_column(def->arg) >= 0) {
        weir_expr_free(def->arg); /* COUNT of what is never NULL counts rows */
        def->arg = NULL;
    }
    agg->accumulator_size += def->kind == AGG_COUNT ? 8 : def->phys == PHYS_DECIMAL ? 24 : 16;
    return WEIR_OK;
}

/* --- Items: aggregates become columns of the inner row, columns are looked up there. */

static weir_err lookup(struct compiler *c, struct node *node)
{
    struct weir_agg *agg = c->agg;
    for (int i = 0; i < agg->keys.column_count; i++) {
        if (strcmp(c->input->fields[agg->keys.columns[i]].name, node->name) == 0) {
            node->index = i;
            return WEIR_OK;
        }
    }
    bool start = strcmp(node->name, "window_start") == 0, end = strcmp(node->name, "window_end") == 0;
    if (start || end) {
        if (!agg->windowed)
            return expr_error(c->error, WEIR_ERR_INVALID, node->column, "%s exists only in a window", node->name);
        node->index = agg->keys.column_count + end;
        return WEIR_OK;
    }
    if (weir_schema_find(c->input, node->name, strlen(node->name)) >= 0)
        return expr_error(c->error, WEIR_ERR_INVALID, node->column,
                          "column '%s' is no key of the group; it may only stand inside an aggregate, as in MAX(%s)",
                          node->name, node->name);
    const char *names[WEIR_KEY_COLUMNS_MAX + 2];
    int count = 0;
    for (int i = 0; i < agg->keys.column_count; i++)
        names[count++] = c->input->fields[agg->keys.columns[i]].name;
    names[count++] = "window_start";
    names[count++] = "window_end";
    const char *near = weir_nearest(node->name, names, count);
    return expr_error(c->error, WEIR_ERR_NOT_FOUND, node->column, "there is no column '%.100s'%s%s%s", node->name,
                      near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

static weir_err replace(struct compiler *c, struct node *node)
{
    if (node->op == OP_STAR)
        return expr_error(c->error, WEIR_ERR_INVALID, node->column,
                          "* cannot stand for the columns of a group; name them");
    if (node->op == OP_COLUMN)
        return node->index >= 0 ? WEIR_OK : lookup(c, node);
    if (node->op == OP_AGGREGATE) {
        int index = c->agg->inner_fixed + c->agg->def_count;
        weir_err err = add_def(c, node);
        node->op = OP_COLUMN;
        node->index = index;
        node->arg_count = 0;
        return err;
    }
    if (node->replaced) /* of several parents */
        return WEIR_OK;
    node->replaced = true;
    for (int i = 0; i < node->arg_count; i++) {
        weir_err err = replace(c, node->args[i]);
        if (err)
            return err;
    }
    return WEIR_OK;
}

static struct weir_schema *inner_schema(const struct weir_agg *agg, const struct weir_schema *input)
{
    int count = agg->inner_fixed + agg->def_count, n = 0;
    struct weir_field *fields = weir_zalloc((size_t)(count + 1) * sizeof *fields);
    for (int i = 0; i < agg->keys.column_count; i++)
        fields[n++] = input->fields[agg->keys.columns[i]];
    for (int i = 0; i < 2 && agg->windowed; i++)
        fields[n++] = (struct weir_field){.name = i ? "window_end" : "window_start",
                                          .type = {.id = WEIR_TYPE_TIMESTAMP, .precision = 3}};
    char(*names)[16] = weir_alloc((size_t)(agg->def_count + 1) * sizeof *names);
    for (int i = 0; i < agg->def_count; i++) {
        snprintf(names[i], sizeof names[i], "$%d", i);
        fields[n++] = (struct weir_field){.name = names[i], .type = agg->defs[i].type};
    }
    if (n == 0) /* neither keys nor aggregates: constants only */
        fields[n++] = (struct weir_field){.name = "$none", .type = {.id = WEIR_TYPE_BOOLEAN, .nullable = true}};
    struct weir_schema *schema = weir_schema_new(fields, n);
    free(names);
    free(fields);
    return schema;
}

static weir_err compile_items(struct compiler *c, const char *text)
{
    struct weir_agg *agg = c->agg;
    struct expr_parser parser;
    struct expr_item *items;
    int count;
    expr_parser_init(&parser, c->arena, text, c->error);
    parser.allow_aggregates = true;
    weir_err err = expr_parse_list(&parser, &items, &count);
    if (err)
        return err;
    struct weir_field *fields = weir_arena_zalloc(c->arena, (size_t)count * sizeof *fields);
    for (int i = 0; i < count; i++) {
        if ((err = expr_item_name(&items[i], i, c->arena, &fields[i].name, c->error)) ||
            (err = replace(c, items[i].node)))
            return err;
        for (int j = 0; j < i; j++) {
            if (strcmp(fields[i].name, fields[j].name) == 0)
                return expr_error(c->error, WEIR_ERR_EXISTS, items[i].node->column,
                                  "there are two columns '%s'; give one another name with AS", fields[i].name);
        }
    }
    agg->inner = inner_schema(agg, c->input);
    agg->items = weir_zalloc((size_t)count * sizeof *agg->items);
    for (int i = 0; i < count; i++) {
        if ((err = expr_compile_node(c->arena, items[i].node, agg->inner, &agg->items[i], c->error)))
            return err;
        agg->item_count++;
        fields[i].type = *weir_expr_type(agg->items[i]);
        fields[i].type.nullable |= agg->items[i]->hidden_null;
    }
    agg->schema = weir_schema_new(fields, count);
    return WEIR_OK;
}

weir_err weir_agg_compile(const char *text, const struct weir_schema *input, const struct weir_key_spec *keys,
                          bool windowed, struct weir_agg **out, struct weir_expr_error *error)
{
    struct weir_arena arena;
    struct weir_agg *agg = weir_zalloc(sizeof *agg);
    struct compiler c = {.agg = agg, .arena = &arena, .input = input, .error = error};
    *out = NULL;
    if (keys)
        agg->keys = *keys;
    agg->windowed = windowed;
    agg->inner_fixed = agg->keys.column_count + (windowed ? 2 : 0);
    agg->input = weir_schema_ref((struct weir_schema *)(uintptr_t)input);
    weir_arena_init(&arena);
    weir_err err = compile_items(&c, text);
    weir_arena_fini(&arena);
    if (err)
        weir_agg_free(agg);
    else
        *out = agg;
    return err;
}

void weir_agg_free(struct weir_agg *agg)
{
    if (!agg)
        return;
    for (int i = 0; i < agg->def_count; i++) {
        weir_expr_free(agg->defs[i].arg);
        weir_expr_free(agg->defs[i].filter);
    }
    for (int i = 0; i < agg->item_count; i++)
        weir_expr_free(agg->items[i]);
    free(agg->defs);
    free(agg->items);
    weir_schema_unref(agg->schema);
    weir_schema_unref(agg->inner);
    weir_schema_unref(agg->input);
    free(agg);
}

struct weir_schema *weir_agg_schema(const struct weir_agg *agg)
{
    return agg->schema;
}
size_t weir_agg_accumulator_size(const struct weir_agg *agg)
{
    return agg->accumulator_size ? agg->accumulator_size : 8;
}

/* --- Results */

static void put_integer(struct weir_column *column, int row, enum phys phys, int64_t value)
{
    switch (phys) {
    case PHYS_BOOL:
        weir_bit_put(column->bits, row, value != 0);
        break;
    case PHYS_I8:
        column->i8[row] = (int8_t)value;
        break;
    case PHYS_I16:
        column->i16[row] = (int16_t)value;
        break;
    case PHYS_I32:
        column->i32[row] = (int32_t)value;
        break;
    default:
        column->i64[row] = value;
    }
}

static void put_double(struct weir_column *column, int row, enum phys phys, double value)
{
    if (phys == PHYS_F32)
        column->f32[row] = (float)value;
    else
        column->f64[row] = value;
}

static void put_decimal(const struct agg_def *def, struct weir_column *column, int row, int capacity,
                        const union accumulator *acc)
{
    struct weir_decimal_operand sum = {weir_decimal_get(acc->decimal.value), def->scale},
                                count = {acc->decimal.seen, 0};
    weir_int128 value = sum.value;
    if (acc->decimal.seen <= 0 ||
        (def->kind == AGG_AVG && !weir_decimal_divide(sum, count, def->type.precision, def->type.scale, &value)))
        weir_column_set_null(column, row, capacity);
    else
        column->decimals[row] = weir_decimal_make(value);
}

static void put_nested(const struct agg_def *def, struct weir_column *column, int row, int capacity,
                       const union accumulator *acc)
{
    const uint8_t *at = acc->text.bytes;
    if (!at || !weir_value_take(column, &def->type, row, capacity, &at, at + acc->text.size))
        weir_column_set_null(column, row, capacity);
}

static void put_result(const struct agg_def *def, struct weir_column *column, int row, int capacity,
                       const uint8_t *accumulator)
{
    const union accumulator *acc = (const void *)(accumulator + def->offset);
    bool floating = def->phys == PHYS_F32 || def->phys == PHYS_F64;
    if (def->kind == AGG_COUNT) {
        column->i64[row] = acc->count;
    } else if (def->phys == PHYS_DECIMAL) {
        put_decimal(def, column, row, capacity, acc);
    } else if (def->phys == PHYS_NESTED) {
        put_nested(def, column, row, capacity, acc);
    } else if (def->phys == PHYS_BYTES) {
        if (acc->text.bytes)
            weir_column_set_bytes(column, row, acc->text.bytes, acc->text.size);
        else
            weir_column_set_null(column, row, capacity);
    } else if (acc->number.seen == 0) {
        weir_column_set_null(column, row, capacity);
    } else if (floating) {
        put_double(column, row, def->phys,
                   def->kind == AGG_AVG ? acc->number.d / (double)acc->number.seen : acc->number.d);
    } else {
        put_integer(column, row, def->phys, def->kind == AGG_AVG ? acc->number.i / acc->number.seen : acc->number.i);
    }
}

weir_err weir_agg_result(const struct weir_agg *agg, const struct weir_agg_group *groups, int count,
                         struct weir_batch **out, struct weir_error *error)
{
    weir_assert(count >= 1 && count <= WEIR_BATCH_ROWS_MAX);
    struct weir_batch *inner = weir_batch_new(agg->inner, count);
    struct weir_batch *result = NULL;
    struct weir_expr_scratch *scratch = NULL;
    struct weir_column *keys[WEIR_KEY_COLUMNS_MAX];
    weir_err err = WEIR_OK;
    *out = NULL;
    for (int i = 0; i < agg->keys.column_count; i++)
        keys[i] = &inner->columns[i];
    for (int row = 0; row < count; row++) {
        if (agg->keys.column_count > 0 && (err = weir_key_decode(groups[row].key, groups[row].key_size, &agg->keys,
                                                                 agg->input, keys, row, count, error)))
            goto out;
        if (agg->windowed) {
            inner->columns[agg->keys.column_count].i64[row] = groups[row].window_start_ms;
            inner->columns[agg->keys.column_count + 1].i64[row] = groups[row].window_end_ms;
        }
        inner->row_count = row + 1;
    }
    for (int d = 0; d < agg->def_count; d++) {
        for (int row = 0; row < count; row++)
            put_result(&agg->defs[d], &inner->columns[agg->inner_fixed + d], row, count, groups[row].accumulator);
    }
    if (agg->inner_fixed + agg->def_count == 0) {
        for (int row = 0; row < count; row++)
            weir_column_set_null(&inner->columns[0], row, count);
    }
    result = weir_batch_new_shell(agg->schema, count);
    scratch = weir_expr_scratch_new();
    for (int i = 0; i < agg->item_count && !err; i++)
        err = weir_expr_eval(agg->items[i], inner, scratch, &result->columns[i], NULL, error);
out:
    weir_expr_scratch_free(scratch);
    weir_batch_unref(inner);
    if (err)
        weir_batch_unref(result);
    else
        *out = result;
    return err;
}
