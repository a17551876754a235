/* What expressions do with ARRAY, MAP and ROW: elements, casts from one into another, their text. Row by row. */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "data/value_code.h"
#include "expr/functions_int.h"

#define TEXT_SIZE_MAX ((size_t)16 << 20)

static void list_of(const struct value *list, int *first, int *count)
{
    *first = list->column->offsets[list->row];
    *count = list->column->offsets[list->row + 1] - *first;
}

static enum phys phys_of(const struct weir_column *column)
{
    return expr_phys((int)column->type);
}

/* A value of a column as a result. */
static enum fn_result give(const struct weir_column *column, int row, struct value *out)
{
    eval_load(column, phys_of(column), row, out);
    return out->null ? FN_NULL : FN_OK;
}

ROW_FN(fn_array_at)
{
    int first, count;
    (void)call;
    list_of(&a[0], &first, &count);
    if (a[1].i < 1 || a[1].i > count)
        return FN_NULL;
    return give(&a[0].column->child->columns[0], first + (int)a[1].i - 1, out);
}

static bool values_equal(enum phys phys, const struct value *a, const struct value *b)
{
    if (phys == PHYS_NESTED)
        return weir_value_equal(a->column, a->row, b->column, b->row);
    return expr_value_compare(phys, a, b) == 0;
}

ROW_FN(fn_map_at)
{
    int first, count;
    (void)call;
    list_of(&a[0], &first, &count);
    const struct weir_column *keys = &a[0].column->child->columns[0];
    enum phys phys = phys_of(keys);
    for (int i = first; i < first + count; i++) {
        struct value key;
        eval_load(keys, phys, i, &key);
        if (!key.null && values_equal(phys, &key, &a[1]))
            return give(&a[0].column->child->columns[1], i, out);
    }
    return FN_NULL;
}

ROW_FN(fn_cardinality)
{
    int first, count;
    (void)call;
    list_of(a, &first, &count);
    out->i = count;
    return FN_OK;
}

/* Of an array with one element only. */
ROW_FN(fn_element)
{
    int first, count;
    list_of(a, &first, &count);
    if (count == 0)
        return FN_NULL;
    if (count > 1) {
        snprintf(call->why, sizeof call->why, "ELEMENT takes an array of one element; this one has %d", count);
        return FN_FAIL;
    }
    return give(&a->column->child->columns[0], first, out);
}

ROW_FN(fn_array_contains)
{
    int first, count;
    (void)call;
    if (a[0].null)
        return FN_NULL;
    list_of(&a[0], &first, &count);
    const struct weir_column *elements = &a[0].column->child->columns[0];
    enum phys phys = phys_of(elements);
    out->i = 0;
    for (int i = first; i < first + count && !out->i; i++) {
        struct value element;
        eval_load(elements, phys, i, &element);
        out->i = element.null || a[1].null ? element.null && a[1].null : values_equal(phys, &element, &a[1]);
    }
    return FN_OK;
}

/* --- Building */

bool expr_column_put(struct weir_column *column, int row, int row_capacity, enum phys phys, const struct value *value)
{
    if (value->null) {
        weir_column_set_null(column, row, row_capacity);
        return true;
    }
    switch (phys) {
    case PHYS_BOOL:
        weir_bit_put(column->bits, row, value->i != 0);
        break;
    case PHYS_F32:
        column->f32[row] = (float)value->d;
        break;
    case PHYS_F64:
        column->f64[row] = value->d;
        break;
    case PHYS_BYTES:
        if (value->n > EXPR_COLUMN_SIZE_MAX - (size_t)column->offsets[row])
            return false;
        weir_column_set_bytes(column, row, value->s, value->n);
        break;
    case PHYS_DECIMAL:
        column->decimals[row] = value->dec;
        break;
    case PHYS_NESTED:
        weir_column_set_value(column, row, row_capacity, value->column, value->row);
        break;
    default:
        weir_column_set_int(column, row, expr_phys_width(phys), value->i);
    }
    return true;
}

/* --- CAST of one nested type to another */

struct nested_cast {
    struct call *call;
    bool too_large;
};

static bool cast_into(struct nested_cast *cast, const struct weir_type *from, const struct weir_column *column, int row,
                      const struct weir_type *to, struct weir_column *out, int at, int capacity);

static bool cast_children(struct nested_cast *cast, const struct weir_type *from, const struct weir_column *column,
                          int row, const struct weir_type *to, struct weir_column *out, int at)
{
    bool list = weir_type_is_list(to->id);
    int first = list ? column->offsets[row] : row, last = list ? column->offsets[row + 1] : row + 1;
    struct weir_batch *child = out->child;
    if (list)
        weir_column_list_begin(out, at);
    else
        weir_column_row_begin(out, at);
    for (int i = first; i < last; i++) {
        int element = list ? weir_column_element(out) : at;
        for (int f = 0; f < to->fields->field_count; f++) {
            if (!cast_into(cast, &from->fields->fields[f].type, &column->child->columns[f], i,
                           &to->fields->fields[f].type, &child->columns[f], element, child->row_capacity))
                return false;
        }
        child->row_count = element + 1;
    }
    if (list)
        weir_column_list_end(out, at);
    if (to->id == WEIR_TYPE_MAP)
        weir_map_unique(out, at);
    return true;
}

static bool cast_into(struct nested_cast *cast, const struct weir_type *from, const struct weir_column *column, int row,
                      const struct weir_type *to, struct weir_column *out, int at, int capacity)
{
    struct value value, made = {.s = NULL, .n = 0};
    bool convert;
    row_fn fn;
    eval_load(column, phys_of(column), row, &value);
    if (value.null) {
        weir_column_set_null(out, at, capacity);
        return true;
    }
    if (weir_type_is_nested(from->id) && weir_type_is_nested(to->id))
        return cast_children(cast, from, column, row, to, out, at);
    bool found = expr_cast_find((int)from->id, (int)to->id, &convert, &fn);
    weir_assert(found); /* check.c looked */
    if (convert) {
        expr_convert_value((int)from->id, (int)to->id, &value, &made);
    } else {
        struct row_call def = {.fn = fn};
        expr_cast_prepare(&def, from, to);
        cast->call->def = &def;
        enum fn_result result = fn(cast->call, &value, &made);
        if (result == FN_FAIL)
            return false;
        made.null = result == FN_NULL;
    }
    cast->too_large = !expr_column_put(out, at, capacity, phys_of(out), &made);
    return !cast->too_large;
}

/* Of a row into row `row` of the step's column; false: it cannot be done, and `call` says why. */
bool expr_cast_nested(struct call *call, const struct weir_column *in, int in_row, struct weir_column *out, int row)
{
    struct nested_cast cast = {.call = call};
    struct weir_type from = call->def->in_type, to = call->def->out_type;
    const struct row_call *def = call->def;
    bool good = cast_children(&cast, &from, in, in_row, &to, out, row);
    call->def = def;
    if (cast.too_large)
        snprintf(call->why, sizeof call->why, "the texts made for one batch pass %zu bytes", EXPR_COLUMN_SIZE_MAX);
    return good;
}

/* --- Text: [1, 2], {a=1}, (1, foo, TRUE) */

static bool print_column(const struct weir_type *type, const struct weir_column *column, int row, struct weir_buf *out)
{
    struct value value;
    eval_load(column, phys_of(column), row, &value);
    return value.null ? weir_buf_puts(out, "NULL") : expr_print_value(type, &value, out);
}

bool expr_print_nested(const struct weir_type *type, const struct value *value, struct weir_buf *out)
{
    const struct weir_batch *child = value->column->child;
    bool list = weir_type_is_list(type->id), map = type->id == WEIR_TYPE_MAP;
    int first = value->row, count = 1;
    if (list)
        list_of(value, &first, &count);
    bool ok = weir_buf_puts(out, map ? "{" : list ? "[" : "(");
    for (int i = first; ok && i < first + count; i++) {
        for (int f = 0; ok && f < type->fields->field_count; f++)
            ok = ((i == first && f == 0) || weir_buf_puts(out, map && f == 1 ? "=" : ", ")) &&
                 print_column(&type->fields->fields[f].type, &child->columns[f], i, out);
    }
    return ok && weir_buf_puts(out, map ? "}" : list ? "]" : ")");
}

ROW_FN(fn_nested_to_text)
{
    struct weir_buf text;
    weir_buf_init(&text, TEXT_SIZE_MAX);
    bool ok = expr_print_nested(&call->def->in_type, a, &text);
    if (ok) {
        uint8_t *to = eval_tmp(call->eval, text.size + 1);
        memcpy(to, text.data, text.size);
        out->s = to;
        out->n = text.size;
    } else {
        snprintf(call->why, sizeof call->why, "its text is longer than %zu bytes", TEXT_SIZE_MAX);
    }
    weir_buf_fini(&text);
    return ok ? FN_OK : FN_FAIL;
}
