/* Runs compiled steps over a batch: registers, the numeric, logical and choosing steps, and the driver of row functions.
 *
 * Data path; one thread per scratch. A register is a view (struct weir_column): of an input column, of a constant (one
 * value in row 0), or of a slot of the scratch, whose buffers stay from batch to batch. The result's buffers are handed
 * out and the slot gets new ones the next time. Validity is combined word by word; a column without NULLs has none.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "data/decimal.h"
#include "data/value_code.h"
#include "expr/expr_int.h"
#include "expr/kernels.h"

/* --- Scratch */

struct weir_expr_scratch *weir_expr_scratch_new(void)
{
    return weir_zalloc(sizeof(struct weir_expr_scratch));
}

void weir_expr_scratch_free(struct weir_expr_scratch *scratch)
{
    if (!scratch)
        return;
    for (int i = 0; i < scratch->slot_count; i++) {
        weir_buffer_unref(scratch->slots[i].values);
        weir_buffer_unref(scratch->slots[i].validity);
        weir_buffer_unref(scratch->slots[i].bytes);
        weir_batch_unref(scratch->slots[i].child);
    }
    free(scratch->slots);
    free(scratch->columns);
    free(scratch->active);
    free(scratch->tmp);
    free(scratch->choice);
    free(scratch);
}

static void scratch_fit(struct weir_expr_scratch *scratch, int slots, int columns)
{
    if (scratch->slot_count < slots) {
        scratch->slots = weir_realloc(scratch->slots, (size_t)slots * sizeof *scratch->slots);
        memset(scratch->slots + scratch->slot_count, 0, (size_t)(slots - scratch->slot_count) * sizeof *scratch->slots);
        scratch->slot_count = slots;
    }
    if (scratch->column_count < columns) {
        scratch->columns = weir_realloc(scratch->columns, (size_t)columns * sizeof *scratch->columns);
        scratch->column_count = columns;
    }
}

static uint64_t *active_words(struct eval *eval)
{
    struct weir_expr_scratch *scratch = eval->scratch;
    size_t words = weir_bitmap_words(eval->rows);
    if (scratch->active_words < words) {
        free(scratch->active);
        scratch->active = weir_alloc(words * 8);
        scratch->active_words = words;
    }
    return scratch->active;
}

uint8_t *eval_tmp(struct eval *eval, size_t size)
{
    struct weir_expr_scratch *scratch = eval->scratch;
    if (scratch->tmp_size < size) {
        size_t wanted = size < 2 * scratch->tmp_size ? 2 * scratch->tmp_size : size;
        scratch->tmp = weir_realloc(scratch->tmp, wanted);
        scratch->tmp_size = wanted;
    }
    return scratch->tmp;
}

static void buffer_fit(struct weir_buffer **buffer, size_t size)
{
    /* One that a view has put here (step_field()) is somebody else's too. */
    if (*buffer && (*buffer)->capacity >= size && __atomic_load_n(&(*buffer)->refs, __ATOMIC_ACQUIRE) == 1)
        return;
    weir_buffer_unref(*buffer);
    *buffer = weir_buffer_new(size);
}

/* --- Out columns */

static struct weir_column *out_column(struct eval *eval, const struct step *step, bool with_values)
{
    struct weir_column *out = &eval->columns[step->out];
    const struct reg_info *reg = &eval->regs[step->out];
    memset(out, 0, sizeof *out);
    out->type = (enum weir_type_id)reg->type;
    if (!with_values)
        return out;
    enum phys phys = expr_phys(reg->type);
    struct slot *slot = &eval->slots[reg->slot];
    if (phys == PHYS_NESTED) { /* its child grows with what is put there: new each time */
        weir_buffer_unref(slot->values);
        weir_batch_unref(slot->child);
        weir_column_init(out, &reg->is, eval->rows > 0 ? eval->rows : 1);
        slot->values = out->values_buffer;
        slot->child = out->child;
        out->values_buffer = NULL;
        return out;
    }
    size_t rows = (size_t)eval->rows;
    size_t size = phys == PHYS_BOOL    ? weir_bitmap_words(eval->rows) * 8
                  : phys == PHYS_BYTES ? (rows + 1) * sizeof(int32_t)
                                       : rows * (size_t)expr_phys_width(phys);
    buffer_fit(&slot->values, size);
    out->values = slot->values->bytes;
    if (phys == PHYS_BYTES) {
        buffer_fit(&slot->bytes, rows * 16 + 64);
        out->bytes = slot->bytes->bytes;
        out->offsets[0] = 0;
    }
    return out;
}

/* A bitmap for the out column, undefined bits. */
static uint64_t *new_validity(struct eval *eval, const struct step *step)
{
    struct slot *slot = &eval->slots[eval->regs[step->out].slot];
    buffer_fit(&slot->validity, weir_bitmap_words(eval->rows) * 8);
    uint64_t *validity = (uint64_t *)(void *)slot->validity->bytes;
    eval->columns[step->out].validity = validity;
    return validity;
}

static void set_null(struct eval *eval, const struct step *step, int row)
{
    struct weir_column *out = &eval->columns[step->out];
    if (!out->validity)
        memset(new_validity(eval, step), 0xff, weir_bitmap_words(eval->rows) * 8);
    weir_bit_clear(out->validity, row);
}

__attribute__((format(printf, 4, 5))) static weir_err fail_row(struct eval *eval, const struct step *step, int row,
                                                               const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    eval->bad_row = row;
    return weir_fail(eval->error, WEIR_ERR_DATA, "%s (column %d of the expression)", text, step->column);
}

static const struct weir_column *arg(const struct eval *eval, const struct step *step, int i)
{
    return &eval->columns[step->args[i]];
}
static bool is_constant(const struct eval *eval, const struct step *step, int i)
{
    return eval->rows > 1 && eval->regs[step->args[i]].constant;
}

/* Word `w` of an argument's validity. */
static uint64_t valid_word(const struct eval *eval, const struct step *step, int i, size_t w)
{
    const struct weir_column *column = arg(eval, step, i);
    if (!column->validity)
        return ~(uint64_t)0;
    return eval->regs[step->args[i]].constant ? (column->validity[0] & 1 ? ~(uint64_t)0 : 0) : column->validity[w];
}

/* The out column's validity: NULL where an argument is. Call after out_column(). */
static void and_validity(struct eval *eval, const struct step *step)
{
    size_t words = weir_bitmap_words(eval->rows);
    uint64_t *validity = NULL;
    for (int i = 0; i < step->arg_count; i++) {
        if (!arg(eval, step, i)->validity)
            continue;
        bool first = !validity;
        if (first)
            validity = new_validity(eval, step);
        for (size_t w = 0; w < words; w++)
            validity[w] = (first ? ~(uint64_t)0 : validity[w]) & valid_word(eval, step, i, w);
    }
}

/* Rows that are selected and have no NULL argument; NULL: all rows. Sets the out column's validity (arguments' AND). */
static const uint64_t *active_rows(struct eval *eval, const struct step *step, bool strict)
{
    const struct weir_column *out = &eval->columns[step->out];
    if (strict)
        and_validity(eval, step);
    const uint64_t *sel = step->sel >= 0 && !step->single ? eval->columns[step->sel].bits : NULL;
    if (!sel && !out->validity)
        return NULL;
    uint64_t *active = active_words(eval);
    size_t words = weir_bitmap_words(eval->rows);
    for (size_t w = 0; w < words; w++)
        active[w] = (sel ? sel[w] : ~(uint64_t)0) & (out->validity ? out->validity[w] : ~(uint64_t)0);
    return active;
}

/* --- Arithmetic */

weir_err step_arith(struct eval *eval, const struct step *step)
{
    struct weir_column *out = out_column(eval, step, true);
    int op = step->aux == OP_ADD ? 0 : step->aux == OP_SUB ? 1 : step->aux == OP_MUL ? 2 : 3;
    enum shape shape = is_constant(eval, step, 0) ? SHAPE_SV : is_constant(eval, step, 1) ? SHAPE_VS : SHAPE_VV;
    arith_kernel kernel = kernels_get()->arith[op][expr_phys(eval->regs[step->out].type) - PHYS_I8][shape];
    kernel(out->values, arg(eval, step, 0)->values, arg(eval, step, 1)->values, eval->rows);
    and_validity(eval, step);
    return WEIR_OK;
}

/* Integer division. INT_MIN / -1 is INT_MIN, as in Java: computed unsigned. */
#define DIVIDE(name, T, U) \
    static int name(T *restrict out, const T *restrict a, int a_step, const T *restrict b, int b_step, int count, \
                    const uint64_t *active, bool modulo) \
    { \
        if (b_step == 0 && a_step == 1 && *b != 0 && *b != -1) { \
            const T y = *b; \
            if (modulo) { \
                for (int i = 0; i < count; i++) \
                    out[i] = (T)(a[i] % y); \
            } else { \
                for (int i = 0; i < count; i++) \
                    out[i] = (T)(a[i] / y); \
            } \
            return -1; \
        } \
        for (int i = 0; i < count; i++) { \
            T x = a[i * a_step], y = b[i * b_step]; \
            if (y == 0) { \
                if (!active || weir_bit_get(active, i)) \
                    return i; \
                out[i] = 0; \
            } else if (y == -1) { \
                out[i] = modulo ? 0 : (T)(0 - (U)x); \
            } else { \
                out[i] = modulo ? (T)(x % y) : (T)(x / y); \
            } \
        } \
        return -1; \
    }
DIVIDE(divide_i8, int8_t, uint32_t)
DIVIDE(divide_i16, int16_t, uint32_t)
DIVIDE(divide_i32, int32_t, uint32_t)
DIVIDE(divide_i64, int64_t, uint64_t)

weir_err step_divide(struct eval *eval, const struct step *step)
{
    struct weir_column *out = out_column(eval, step, true);
    const struct weir_column *a = arg(eval, step, 0), *b = arg(eval, step, 1);
    int a_step = !is_constant(eval, step, 0), b_step = !is_constant(eval, step, 1), n = eval->rows, bad = -1;
    bool modulo = step->aux == OP_MOD;
    const uint64_t *active = active_rows(eval, step, true);
    switch (expr_phys(eval->regs[step->out].type)) {
    case PHYS_I8:
        bad = divide_i8(out->i8, a->i8, a_step, b->i8, b_step, n, active, modulo);
        break;
    case PHYS_I16:
        bad = divide_i16(out->i16, a->i16, a_step, b->i16, b_step, n, active, modulo);
        break;
    case PHYS_I32:
        bad = divide_i32(out->i32, a->i32, a_step, b->i32, b_step, n, active, modulo);
        break;
    case PHYS_I64:
        bad = divide_i64(out->i64, a->i64, a_step, b->i64, b_step, n, active, modulo);
        break;
    case PHYS_F32:
        for (int i = 0; i < n; i++)
            out->f32[i] = fmodf(a->f32[i * a_step], b->f32[i * b_step]);
        break;
    case PHYS_F64:
        for (int i = 0; i < n; i++)
            out->f64[i] = fmod(a->f64[i * a_step], b->f64[i * b_step]);
        break;
    default:
        weir_assert(!"division of something that is no number");
    }
    return bad >= 0 ? fail_row(eval, step, bad, "division by zero") : WEIR_OK;
}

weir_err step_math(struct eval *eval, const struct step *step)
{
    const struct function *function = step->data;
    struct weir_column *out = out_column(eval, step, true);
    const double *in = arg(eval, step, 0)->f64;
    for (int i = 0; i < eval->rows; i++)
        out->f64[i] = function->math(in[i]);
    and_validity(eval, step);
    return WEIR_OK;
}

weir_err step_convert(struct eval *eval, const struct step *step)
{
    const struct kernels *kernels = kernels_get();
    struct weir_column *out = out_column(eval, step, true);
    const struct weir_column *in = arg(eval, step, 0);
    enum phys from = expr_phys(eval->regs[step->args[0]].type), to = expr_phys(eval->regs[step->out].type);
    int n = eval->rows;
    if (to == PHYS_BOOL) {
        static const double zero; /* all zero bytes: zero in every type */
        kernels->compare[OP_NE - OP_EQ][from - PHYS_I8][SHAPE_VS](out->bits, in->values, &zero, n);
    } else if (from == PHYS_BOOL) {
        uint8_t *bytes = eval_tmp(eval, (size_t)n);
        kernels->bits_to_bytes(bytes, in->bits, n);
        kernels->convert[0][to - PHYS_I8](out->values, bytes, n);
    } else {
        kernels->convert[from - PHYS_I8][to - PHYS_I8](out->values, in->values, n);
    }
    and_validity(eval, step);
    return WEIR_OK;
}

/* --- Comparison */

static int compare_bytes(const uint8_t *a, size_t n, const uint8_t *b, size_t m)
{
    size_t least = n < m ? n : m;
    int order = least ? memcmp(a, b, least) : 0;
    return order ? order : (n > m) - (n < m);
}

int expr_value_compare(enum phys phys, const struct value *a, const struct value *b)
{
    if (phys == PHYS_BYTES)
        return compare_bytes(a->s, a->n, b->s, b->n);
    if (phys == PHYS_DECIMAL) { /* of one scale */
        weir_int128 x = weir_decimal_get(a->dec), y = weir_decimal_get(b->dec);
        return (x > y) - (x < y);
    }
    if (phys == PHYS_F32 || phys == PHYS_F64)
        return (a->d > b->d) - (a->d < b->d);
    return (a->i > b->i) - (a->i < b->i);
}

static bool order_is(int op, int order)
{
    switch (op) {
    case OP_EQ:
        return order == 0;
    case OP_NE:
        return order != 0;
    case OP_LT:
        return order < 0;
    case OP_LE:
        return order <= 0;
    case OP_GT:
        return order > 0;
    default:
        return order >= 0;
    }
}

static void compare_text(struct eval *eval, const struct step *step, uint64_t *out)
{
    const struct weir_column *a = arg(eval, step, 0), *b = arg(eval, step, 1);
    int a_step = !is_constant(eval, step, 0), b_step = !is_constant(eval, step, 1);
    bool equality = step->aux == OP_EQ || step->aux == OP_NE;
    for (int base = 0; base < eval->rows; base += 64) {
        int end = eval->rows - base < 64 ? eval->rows - base : 64;
        uint64_t word = 0;
        for (int i = 0; i < end; i++) {
            size_t n, m;
            const uint8_t *s = weir_column_bytes(a, (base + i) * a_step, &n);
            const uint8_t *t = weir_column_bytes(b, (base + i) * b_step, &m);
            bool is = equality ? (n == m && (n == 0 || memcmp(s, t, n) == 0)) == (step->aux == OP_EQ)
                               : order_is(step->aux, compare_bytes(s, n, t, m));
            word |= (uint64_t)is << i;
        }
        out[base >> 6] = word;
    }
}

static uint64_t compare_bits(int op, uint64_t a, uint64_t b)
{
    switch (op) {
    case OP_EQ:
        return ~(a ^ b);
    case OP_NE:
        return a ^ b;
    case OP_LT:
        return ~a & b;
    case OP_LE:
        return ~a | b;
    case OP_GT:
        return a & ~b;
    default:
        return a | ~b;
    }
}

weir_err step_compare(struct eval *eval, const struct step *step)
{
    static const enum op swapped[] = {OP_EQ, OP_NE, OP_GT, OP_GE, OP_LT, OP_LE};
    struct weir_column *out = out_column(eval, step, true);
    const struct weir_column *a = arg(eval, step, 0), *b = arg(eval, step, 1);
    enum phys phys = expr_phys(eval->regs[step->args[0]].type);
    bool a_constant = is_constant(eval, step, 0), b_constant = is_constant(eval, step, 1);
    if (phys == PHYS_BYTES) {
        compare_text(eval, step, out->bits);
    } else if (phys == PHYS_BOOL) {
        size_t words = weir_bitmap_words(eval->rows);
        for (size_t w = 0; w < words; w++) {
            uint64_t x = a_constant ? (uint64_t)0 - (a->bits[0] & 1) : a->bits[w];
            uint64_t y = b_constant ? (uint64_t)0 - (b->bits[0] & 1) : b->bits[w];
            out->bits[w] = compare_bits(step->aux, x, y);
        }
    } else {
        int op = a_constant ? swapped[step->aux - OP_EQ] : (enum op)step->aux;
        compare_kernel kernel =
            kernels_get()->compare[op - OP_EQ][phys - PHYS_I8][a_constant || b_constant ? SHAPE_VS : SHAPE_VV];
        if (a_constant)
            kernel(out->bits, b->values, a->values, eval->rows);
        else
            kernel(out->bits, a->values, b->values, eval->rows);
    }
    and_validity(eval, step);
    return WEIR_OK;
}

/* --- Logic, on words: true = bits & validity, false = ~bits & validity */

weir_err step_logic(struct eval *eval, const struct step *step)
{
    struct weir_column *out = out_column(eval, step, true);
    const struct weir_column *a = arg(eval, step, 0), *b = arg(eval, step, 1);
    size_t words = weir_bitmap_words(eval->rows);
    bool and = step->aux == OP_AND;
    if (!a->validity && !b->validity) {
        for (size_t w = 0; w < words; w++)
            out->bits[w] = and? a->bits[w] & b->bits[w] : a->bits[w] | b->bits[w];
        return WEIR_OK;
    }
    uint64_t *validity = new_validity(eval, step);
    for (size_t w = 0; w < words; w++) {
        uint64_t va = valid_word(eval, step, 0, w), vb = valid_word(eval, step, 1, w);
        uint64_t ta = a->bits[w] & va, tb = b->bits[w] & vb, fa = ~a->bits[w] & va, fb = ~b->bits[w] & vb;
        uint64_t is_true = and? ta & tb : ta | tb, is_false = and? fa | fb : fa & fb;
        out->bits[w] = is_true;
        validity[w] = is_true | is_false;
    }
    return WEIR_OK;
}

weir_err step_not(struct eval *eval, const struct step *step)
{
    struct weir_column *out = out_column(eval, step, true);
    const struct weir_column *in = arg(eval, step, 0);
    size_t words = weir_bitmap_words(eval->rows);
    for (size_t w = 0; w < words; w++)
        out->bits[w] = ~in->bits[w];
    and_validity(eval, step);
    return WEIR_OK;
}

weir_err step_test(struct eval *eval, const struct step *step)
{
    struct weir_column *out = out_column(eval, step, true);
    const struct weir_column *in = arg(eval, step, 0);
    size_t words = weir_bitmap_words(eval->rows);
    for (size_t w = 0; w < words; w++) {
        uint64_t valid = valid_word(eval, step, 0, w), bits;
        switch (step->aux) {
        case OP_IS_NULL:
            bits = ~valid;
            break;
        case OP_IS_NOT_NULL:
            bits = valid;
            break;
        case OP_IS_TRUE:
            bits = in->bits[w] & valid;
            break;
        case OP_IS_NOT_TRUE:
            bits = ~(in->bits[w] & valid);
            break;
        case OP_IS_FALSE:
            bits = ~in->bits[w] & valid;
            break;
        default:
            bits = ~(~in->bits[w] & valid);
        }
        out->bits[w] = bits;
    }
    return WEIR_OK;
}

/* The rows of the selection (or all) for which the condition holds, fails, or is not false. */
weir_err step_select(struct eval *eval, const struct step *step)
{
    struct weir_column *out = out_column(eval, step, true);
    const struct weir_column *in = arg(eval, step, 0);
    const uint64_t *sel = step->sel >= 0 ? eval->columns[step->sel].bits : NULL;
    size_t words = weir_bitmap_words(eval->rows);
    for (size_t w = 0; w < words; w++) {
        uint64_t valid = valid_word(eval, step, 0, w), bits = in->bits[w];
        uint64_t is = step->aux == SELECT_TRUE       ? bits & valid
                      : step->aux == SELECT_NOT_TRUE ? ~(bits & valid)
                                                     : ~(~bits & valid);
        out->bits[w] = is & (sel ? sel[w] : ~(uint64_t)0);
    }
    return WEIR_OK;
}

/* --- Values row by row */

void eval_load(const struct weir_column *column, enum phys phys, int row, struct value *value)
{
    value->null = weir_column_is_null(column, row);
    switch (phys) {
    case PHYS_BOOL:
        value->i = weir_bit_get(column->bits, row);
        break;
    case PHYS_I8:
        value->i = column->i8[row];
        break;
    case PHYS_I16:
        value->i = column->i16[row];
        break;
    case PHYS_I32:
        value->i = column->i32[row];
        break;
    case PHYS_I64:
        value->i = column->i64[row];
        break;
    case PHYS_F32:
        value->d = (double)column->f32[row];
        break;
    case PHYS_F64:
        value->d = column->f64[row];
        break;
    case PHYS_BYTES:
        value->s = weir_column_bytes(column, row, &value->n);
        break;
    case PHYS_DECIMAL:
        value->dec = column->decimals[row];
        break;
    case PHYS_NESTED:
        value->column = column;
        value->row = row;
        break;
    }
}

/* Appends at `row`; false: the column would be too large. */
static bool put_bytes(struct eval *eval, const struct step *step, int row, const uint8_t *s, size_t n)
{
    struct weir_column *out = &eval->columns[step->out];
    struct slot *slot = &eval->slots[eval->regs[step->out].slot];
    size_t used = (size_t)out->offsets[row];
    if (n > EXPR_COLUMN_SIZE_MAX - used)
        return false;
    if (used + n + 16 > slot->bytes->capacity) {
        struct weir_buffer *larger = weir_buffer_new(2 * (used + n) + 64);
        memcpy(larger->bytes, slot->bytes->bytes, used);
        weir_buffer_unref(slot->bytes);
        slot->bytes = larger;
        out->bytes = larger->bytes;
    }
    if (n > 0)
        memcpy(out->bytes + used, s, n);
    out->offsets[row + 1] = (int32_t)(used + n);
    return true;
}

/* False only for bytes that do not fit. */
static bool put(struct eval *eval, const struct step *step, enum phys phys, int row, const struct value *value)
{
    struct weir_column *out = &eval->columns[step->out];
    switch (phys) {
    case PHYS_BOOL:
        weir_bit_put(out->bits, row, value->i != 0);
        break;
    case PHYS_I8:
        out->i8[row] = (int8_t)value->i;
        break;
    case PHYS_I16:
        out->i16[row] = (int16_t)value->i;
        break;
    case PHYS_I32:
        out->i32[row] = (int32_t)value->i;
        break;
    case PHYS_I64:
        out->i64[row] = value->i;
        break;
    case PHYS_F32:
        out->f32[row] = (float)value->d;
        break;
    case PHYS_F64:
        out->f64[row] = value->d;
        break;
    case PHYS_BYTES:
        return put_bytes(eval, step, row, value->s, value->n);
    case PHYS_DECIMAL:
        out->decimals[row] = value->dec;
        break;
    case PHYS_NESTED:
        if (value->column)
            weir_column_set_value(out, row, eval->rows, value->column, value->row);
        else
            weir_column_skip(out, row);
        break;
    }
    return true;
}

#define ROW_ARGS_LOCAL 8

weir_err step_rows(struct eval *eval, const struct step *step)
{
    const struct row_call *def = step->data;
    struct call call = {.eval = eval, .def = def, .arg_count = step->arg_count};
    struct value few[ROW_ARGS_LOCAL], *args = few;
    if (step->arg_count > ROW_ARGS_LOCAL)
        args = weir_alloc((size_t)step->arg_count * sizeof *args);
    struct weir_column *out = out_column(eval, step, true);
    if (expr_phys(eval->regs[step->out].type) == PHYS_BOOL)
        memset(out->bits, 0, weir_bitmap_words(eval->rows) * 8); /* set bit by bit: words must be defined */
    enum phys phys = expr_phys(eval->regs[step->out].type);
    const uint64_t *active = active_rows(eval, step, def->strict);
    for (int i = 0; i < step->arg_count; i++) {
        if (is_constant(eval, step, i))
            eval_load(arg(eval, step, i), expr_phys(eval->regs[step->args[i]].type), 0, &args[i]);
    }
    static const struct value nothing = {.s = NULL, .n = 0};
    weir_err err = WEIR_OK;
    for (int row = 0; row < eval->rows && !err; row++) {
        struct value value = nothing;
        if (active && !weir_bit_get(active, row)) {
            (void)put(eval, step, phys, row, &nothing);
            continue;
        }
        for (int i = 0; i < step->arg_count; i++) {
            if (!is_constant(eval, step, i))
                eval_load(arg(eval, step, i), expr_phys(eval->regs[step->args[i]].type), row, &args[i]);
        }
        enum fn_result result = def->fn(&call, args, &value);
        if (result == FN_FAIL && !def->null_on_fail)
            err = fail_row(eval, step, row, "%s", call.why);
        else if (result != FN_OK) {
            set_null(eval, step, row);
            (void)put(eval, step, phys, row, &nothing);
        } else if (phys == PHYS_BYTES && value.n > EXPR_VALUE_SIZE_MAX)
            err = fail_row(eval, step, row, "a text of %zu bytes was made; at most %zu are allowed", value.n,
                           EXPR_VALUE_SIZE_MAX);
        else if (!put(eval, step, phys, row, &value))
            err = fail_row(eval, step, row, "the texts made for one batch pass %zu bytes", EXPR_COLUMN_SIZE_MAX);
    }
    if (args != few)
        free(args);
    return err;
}

/* --- Decimals: row by row, with what overflows NULL */

static struct weir_decimal_operand operand(const struct eval *eval, const struct step *step, int i, int row)
{
    const struct weir_column *column = arg(eval, step, i);
    return (struct weir_decimal_operand){weir_decimal_get(column->decimals[is_constant(eval, step, i) ? 0 : row]),
                                         eval->regs[step->args[i]].is.scale};
}

weir_err step_decimal(struct eval *eval, const struct step *step)
{
    struct weir_column *out = out_column(eval, step, true);
    const struct weir_type *type = &eval->regs[step->out].is;
    const uint64_t *active = active_rows(eval, step, true);
    for (int row = 0; row < eval->rows; row++) {
        weir_int128 value = 0;
        bool good = true;
        if (!active || weir_bit_get(active, row)) {
            struct weir_decimal_operand a = operand(eval, step, 0, row), b = operand(eval, step, 1, row);
            if (step->aux >= OP_DIV && b.value == 0)
                return fail_row(eval, step, row, "division by zero");
            good = step->aux == OP_MUL   ? weir_decimal_multiply(a, b, type->precision, type->scale, &value)
                   : step->aux == OP_DIV ? weir_decimal_divide(a, b, type->precision, type->scale, &value)
                   : step->aux == OP_MOD
                       ? weir_decimal_modulo(a, b, type->precision, type->scale, &value)
                       : weir_decimal_add(a, b, step->aux == OP_SUB, type->precision, type->scale, &value);
        }
        if (!good)
            set_null(eval, step, row);
        out->decimals[row] = weir_decimal_make(good ? value : 0);
    }
    return WEIR_OK;
}

weir_err step_compare_decimal(struct eval *eval, const struct step *step)
{
    struct weir_column *out = out_column(eval, step, true);
    for (int base = 0; base < eval->rows; base += 64) {
        int end = eval->rows - base < 64 ? eval->rows - base : 64;
        uint64_t word = 0;
        for (int i = 0; i < end; i++) {
            int order = weir_decimal_compare(operand(eval, step, 0, base + i), operand(eval, step, 1, base + i));
            word |= (uint64_t)order_is(step->aux, order) << i;
        }
        out->bits[base >> 6] = word;
    }
    and_validity(eval, step);
    return WEIR_OK;
}

/* --- ARRAY, MAP, ROW */

weir_err step_compare_nested(struct eval *eval, const struct step *step)
{
    struct weir_column *out = out_column(eval, step, true);
    const struct weir_column *a = arg(eval, step, 0), *b = arg(eval, step, 1);
    memset(out->bits, 0, weir_bitmap_words(eval->rows) * 8);
    const uint64_t *active = active_rows(eval, step, true);
    for (int row = 0; row < eval->rows; row++) {
        if (active && !weir_bit_get(active, row))
            continue;
        bool equal = weir_value_equal(a, is_constant(eval, step, 0) ? 0 : row, b, is_constant(eval, step, 1) ? 0 : row);
        weir_bit_put(out->bits, row, equal == (step->aux == OP_EQ));
    }
    return WEIR_OK;
}

/* A field of a ROW is a column that is there already: the slot takes references, and only NULLs of the ROW are added. */
weir_err step_field(struct eval *eval, const struct step *step)
{
    struct weir_column *out = &eval->columns[step->out];
    struct slot *slot = &eval->slots[eval->regs[step->out].slot];
    const struct weir_column *in = arg(eval, step, 0);
    const struct weir_column *field = &in->child->columns[step->aux];
    struct weir_column view;
    weir_column_share(&view, field);
    weir_buffer_unref(slot->values);
    weir_buffer_unref(slot->bytes);
    weir_batch_unref(slot->child);
    slot->values = view.values_buffer;
    slot->bytes = view.bytes_buffer;
    slot->child = view.child;
    weir_buffer_unref(view.validity_buffer);
    *out = view;
    out->values_buffer = out->bytes_buffer = out->validity_buffer = NULL;
    out->type = (enum weir_type_id)eval->regs[step->out].type;
    out->validity = NULL;
    if (!field->validity && !in->validity)
        return WEIR_OK;
    uint64_t *validity = new_validity(eval, step);
    for (size_t w = 0; w < weir_bitmap_words(eval->rows); w++)
        validity[w] = (field->validity ? field->validity[w] : ~(uint64_t)0) & valid_word(eval, step, 0, w);
    return WEIR_OK;
}

weir_err step_cast_nested(struct eval *eval, const struct step *step)
{
    const struct row_call *def = step->data;
    struct call call = {.eval = eval, .def = def, .arg_count = 1};
    struct weir_column *out = out_column(eval, step, true);
    const uint64_t *active = active_rows(eval, step, true);
    for (int row = 0; row < eval->rows; row++) {
        if (active && !weir_bit_get(active, row)) {
            weir_column_skip(out, row);
        } else if (!expr_cast_nested(&call, arg(eval, step, 0), is_constant(eval, step, 0) ? 0 : row, out, row)) {
            if (!def->null_on_fail)
                return fail_row(eval, step, row, "%s", call.why);
            set_null(eval, step, row);
            weir_column_skip(out, row);
        }
    }
    return WEIR_OK;
}

weir_err step_construct(struct eval *eval, const struct step *step)
{
    const struct weir_type *type = &eval->regs[step->out].is;
    struct weir_column *out = out_column(eval, step, true);
    int fields = type->fields->field_count;
    bool list = weir_type_is_list(type->id);
    const uint64_t *active = active_rows(eval, step, false);
    for (int row = 0; row < eval->rows; row++) {
        if (active && !weir_bit_get(active, row)) {
            weir_column_skip(out, row);
            continue;
        }
        if (list)
            weir_column_list_begin(out, row);
        else
            weir_column_row_begin(out, row);
        for (int i = 0; i < step->arg_count; i++) {
            int field = i % fields, at = row;
            if (list)
                at = field == 0 ? weir_column_element(out) : out->child->row_count;
            struct value value;
            enum phys phys = expr_phys(eval->regs[step->args[i]].type);
            eval_load(arg(eval, step, i), phys, is_constant(eval, step, i) ? 0 : row, &value);
            if (!expr_column_put(&out->child->columns[field], at, out->child->row_capacity, phys, &value))
                return fail_row(eval, step, row, "the texts made for one batch pass %zu bytes", EXPR_COLUMN_SIZE_MAX);
            if (list && field == fields - 1)
                weir_column_element_done(out);
        }
        if (list)
            weir_column_list_end(out, row);
        else
            weir_column_row_end(out, row);
        if (type->id == WEIR_TYPE_MAP)
            weir_map_unique(out, row);
    }
    return WEIR_OK;
}

/* --- CASE and constants as columns */

weir_err step_broadcast(struct eval *eval, const struct step *step)
{
    struct weir_column *out = out_column(eval, step, true);
    enum phys phys = expr_phys(eval->regs[step->out].type);
    struct value value;
    const struct weir_column *in = arg(eval, step, 0);
    eval_load(in, phys, 0, &value);
    if (value.null)
        memset(new_validity(eval, step), 0, weir_bitmap_words(eval->rows) * 8);
    if (phys == PHYS_BOOL) {
        memset(out->bits, value.i && !value.null ? 0xff : 0, weir_bitmap_words(eval->rows) * 8);
        return WEIR_OK;
    }
    if (value.null)
        value = (struct value){.s = NULL, .n = 0};
    for (int i = 0; i < eval->rows; i++) {
        if (!put(eval, step, phys, i, &value))
            return fail_row(eval, step, i, "the texts made for one batch pass %zu bytes", EXPR_COLUMN_SIZE_MAX);
    }
    return WEIR_OK;
}

/* CASE with one condition over anything but text: word operations and one vector choice. */
static void case_simple(struct eval *eval, const struct step *step)
{
    struct weir_column *out = out_column(eval, step, true);
    const struct weir_column *condition = arg(eval, step, 0), *a = arg(eval, step, 1), *b = arg(eval, step, 2);
    bool a_constant = is_constant(eval, step, 1), b_constant = is_constant(eval, step, 2);
    enum phys phys = expr_phys(eval->regs[step->out].type);
    size_t words = weir_bitmap_words(eval->rows);
    uint64_t *mask = active_words(eval);
    for (size_t w = 0; w < words; w++)
        mask[w] = condition->bits[w] & valid_word(eval, step, 0, w);
    if (phys == PHYS_BOOL) {
        for (size_t w = 0; w < words; w++) {
            uint64_t x = a_constant ? (uint64_t)0 - (a->bits[0] & 1) : a->bits[w];
            uint64_t y = b_constant ? (uint64_t)0 - (b->bits[0] & 1) : b->bits[w];
            out->bits[w] = (mask[w] & x) | (~mask[w] & y);
        }
    } else {
        int width = expr_phys_width(phys);
        kernels_get()->choose[width == 8 ? 3 : width / 2](out->values, mask, a->values, !a_constant, b->values,
                                                          !b_constant, eval->rows);
    }
    if (a->validity || b->validity) {
        uint64_t *validity = new_validity(eval, step);
        for (size_t w = 0; w < words; w++)
            validity[w] = (mask[w] & valid_word(eval, step, 1, w)) | (~mask[w] & valid_word(eval, step, 2, w));
    }
}

/* The number of the value argument that each row takes. */
static const uint16_t *case_choices(struct eval *eval, const struct step *step)
{
    struct weir_expr_scratch *scratch = eval->scratch;
    if (scratch->choice_rows < eval->rows) {
        free(scratch->choice);
        scratch->choice = weir_alloc((size_t)eval->rows * sizeof *scratch->choice);
        scratch->choice_rows = eval->rows;
    }
    uint16_t *choice = scratch->choice;
    for (int i = 0; i < eval->rows; i++)
        choice[i] = (uint16_t)(step->arg_count - 1);
    for (int c = step->arg_count - 3; c >= 0; c -= 2) { /* the first that is true is written last */
        const struct weir_column *condition = arg(eval, step, c);
        for (int base = 0; base < eval->rows; base += 64) {
            uint64_t word = condition->bits[base >> 6] & valid_word(eval, step, c, (size_t)base >> 6);
            if (eval->rows - base < 64)
                word &= ((uint64_t)1 << (eval->rows - base)) - 1;
            for (; word; word &= word - 1)
                choice[base + __builtin_ctzll(word)] = (uint16_t)(c + 1);
        }
    }
    return choice;
}

weir_err step_case(struct eval *eval, const struct step *step)
{
    enum phys phys = expr_phys(eval->regs[step->out].type);
    if (step->arg_count == 3 && phys < PHYS_BYTES) {
        case_simple(eval, step);
        return WEIR_OK;
    }
    struct weir_column *out = out_column(eval, step, true);
    if (phys == PHYS_BOOL)
        memset(out->bits, 0, weir_bitmap_words(eval->rows) * 8);
    const uint16_t *choice = case_choices(eval, step);
    for (int row = 0; row < eval->rows; row++) {
        int c = choice[row];
        struct value value;
        eval_load(arg(eval, step, c), phys, is_constant(eval, step, c) ? 0 : row, &value);
        if (value.null) {
            set_null(eval, step, row);
            value = (struct value){.s = NULL, .n = 0};
        }
        if (!put(eval, step, phys, row, &value))
            return fail_row(eval, step, row, "the texts made for one batch pass %zu bytes", EXPR_COLUMN_SIZE_MAX);
    }
    return WEIR_OK;
}

/* --- Running */

static int first_selected(const struct eval *eval, const struct step *step)
{
    if (step->sel < 0)
        return 0;
    const uint64_t *sel = eval->columns[step->sel].bits;
    for (int base = 0; base < eval->rows; base += 64) {
        uint64_t word = sel[base >> 6];
        if (eval->rows - base < 64)
            word &= ((uint64_t)1 << (eval->rows - base)) - 1;
        if (word)
            return base + __builtin_ctzll(word);
    }
    return -1;
}

/* A step over constants that could not be folded because it fails: it does so here when any row takes it. */
static weir_err run_single(struct eval *eval, const struct step *step)
{
    int row = first_selected(eval, step);
    struct eval one = *eval;
    one.rows = 1;
    if (row < 0) {
        struct weir_column *out = out_column(&one, step, true);
        if (expr_phys(eval->regs[step->out].type) == PHYS_NESTED)
            weir_column_skip(out, 0);
        else
            memset(out->values, 0, 8);
        set_null(&one, step, 0);
        return WEIR_OK;
    }
    weir_err err = step->run(&one, step);
    if (err)
        eval->bad_row = row;
    return err;
}

static weir_err run(struct eval *eval, const struct weir_expr *expr, const struct weir_batch *batch)
{
    for (int i = 0; i < expr->reg_count; i++) {
        if (expr->regs[i].kind == REG_INPUT)
            eval->columns[i] = batch->columns[expr->regs[i].input];
        else if (expr->regs[i].kind == REG_CONST)
            eval->columns[i] = expr->regs[i].value;
    }
    for (int i = 0; i < expr->step_count; i++) {
        const struct step *step = &expr->steps[i];
        weir_err err = step->single ? run_single(eval, step) : step->run(eval, step);
        if (err)
            return err;
    }
    return WEIR_OK;
}

static weir_err begin(struct eval *eval, const struct weir_expr *expr, const struct weir_batch *batch,
                      struct weir_expr_scratch *scratch, int *bad_row, struct weir_error *error)
{
    weir_assert(batch->schema->field_count >= expr->input_count);
    scratch_fit(scratch, expr->slot_count + 1, expr->reg_count + 1);
    *eval = (struct eval){.expr = expr,
                          .scratch = scratch,
                          .columns = scratch->columns,
                          .regs = expr->regs,
                          .slots = scratch->slots,
                          .rows = batch->row_count,
                          .bad_row = -1,
                          .error = error};
    weir_err err = run(eval, expr, batch);
    if (err && bad_row)
        *bad_row = eval->bad_row;
    return err;
}

/* The buffers of a temporary go to the caller. */
static void hand_out(struct eval *eval, int reg, struct weir_column *out)
{
    struct slot *slot = &eval->slots[eval->regs[reg].slot];
    *out = eval->columns[reg];
    out->values_buffer = slot->values;
    slot->values = NULL;
    if (out->validity) {
        out->validity_buffer = slot->validity;
        slot->validity = NULL;
    }
    if (out->bytes) {
        out->bytes_buffer = slot->bytes;
        slot->bytes = NULL;
    }
    if (out->child) { /* else it is of an earlier step in the same slot */
        out->child = slot->child;
        slot->child = NULL;
    }
}

weir_err weir_expr_eval(const struct weir_expr *expr, const struct weir_batch *batch, struct weir_expr_scratch *scratch,
                        struct weir_column *out, int *bad_row, struct weir_error *error)
{
    struct eval eval;
    memset(out, 0, sizeof *out);
    weir_err err = begin(&eval, expr, batch, scratch, bad_row, error);
    if (err)
        return err;
    const struct reg_info *reg = &expr->regs[expr->result];
    if (reg->kind == REG_INPUT) {
        weir_column_share(out, &batch->columns[reg->input]);
    } else if (reg->constant) {
        /* one register past the others stands for the column of equal values */
        struct reg_info regs[2] = {*reg,
                                   {.kind = REG_TEMP, .type = reg->type, .is = reg->is, .slot = expr->slot_count}};
        struct weir_column columns[2] = {eval.columns[expr->result], {0}};
        int args[1] = {0};
        struct step step = {.out = 1, .sel = -1, .arg_count = 1, .args = args, .column = 1};
        eval.regs = regs;
        eval.columns = columns;
        if ((err = step_broadcast(&eval, &step))) {
            if (bad_row)
                *bad_row = eval.bad_row;
            return err;
        }
        hand_out(&eval, 1, out);
    } else {
        hand_out(&eval, expr->result, out);
    }
    out->type = expr->type.id;
    return WEIR_OK;
}

weir_err weir_expr_eval_mask(const struct weir_expr *expr, const struct weir_batch *batch,
                             struct weir_expr_scratch *scratch, uint64_t *mask, int *bad_row, struct weir_error *error)
{
    struct eval eval;
    weir_assert(expr->type.id == WEIR_TYPE_BOOLEAN);
    weir_err err = begin(&eval, expr, batch, scratch, bad_row, error);
    if (err)
        return err;
    const struct weir_column *column = &eval.columns[expr->result];
    size_t words = weir_bitmap_words(eval.rows);
    if (expr->regs[expr->result].constant) {
        bool on = weir_bit_get(column->bits, 0) && !weir_column_is_null(column, 0);
        memset(mask, on ? 0xff : 0, words * 8);
    } else {
        for (size_t w = 0; w < words; w++)
            mask[w] = column->bits[w] & (column->validity ? column->validity[w] : ~(uint64_t)0);
    }
    if (eval.rows % 64) /* bits past the last row are 0, so that the mask can be counted by words */
        mask[words - 1] &= ((uint64_t)1 << (eval.rows % 64)) - 1;
    return WEIR_OK;
}
