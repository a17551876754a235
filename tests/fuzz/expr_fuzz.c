/* Expressions: parse, check, compile, and evaluate. Input: a byte for what the text is, then the text: an expression, a select list, or
 * the select list of a window.
 *
 * Checked: a batch at once gives what its rows give one by one, errors included; what is a condition gives the same as a mask.
 */
#include <ctype.h>
#include <math.h>

#include "expr/agg.h"
#include "expr/expr.h"
#include "fuzz/fuzz.h"
#include "unit/data_random.h"

#define ROWS 70 /* more than a word of a bitmap */

static struct weir_schema *schema;
static struct weir_batch *batch;

static void prepare(void)
{
    struct random random = {3};
    fuzz_check(!weir_schema_parse(
        "device_id STRING NOT NULL, temperature DOUBLE, n INT, number BIGINT NOT NULL, " ALL_TYPES_SCHEMA
            KEYABLE_TYPES_SCHEMA MAP_TYPES_SCHEMA,
        &schema, NULL));
    batch = random_batch(&random, schema, ROWS, 4);
}

/* Text whose value is another one each time. */
static bool varies(const char *text)
{
    static const char *const words[] = {"RAND", "UUID", "CURRENT", "NOW", "LOCAL", "PROCTIME", "UNIX_TIMESTAMP"};
    char *upper = weir_strdup(text);
    for (char *c = upper; *c; c++)
        *c = (char)toupper((unsigned char)*c);
    bool found = false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        found |= strstr(upper, words[i]) != NULL;
    free(upper);
    return found;
}

static bool same(const struct weir_column *a, int row_a, const struct weir_column *b, int row_b)
{
    if (a->type == b->type && !weir_column_is_null(a, row_a) && !weir_column_is_null(b, row_b)) {
        if (a->type == WEIR_TYPE_DOUBLE && isnan(a->f64[row_a]))
            return isnan(b->f64[row_b]);
        if (a->type == WEIR_TYPE_FLOAT && isnan(a->f32[row_a]))
            return isnan(b->f32[row_b]);
    }
    return same_value(a, row_a, b, row_b);
}

static void compare_rows(const struct weir_expr *expr, struct weir_expr_scratch *scratch, const struct weir_column *all,
                         weir_err all_err, int bad_row)
{
    struct weir_error error;
    int failed = 0;
    for (int row = 0; row < ROWS; row++) {
        struct weir_batch *one = weir_batch_slice(batch, row, 1);
        struct weir_column column = {.type = WEIR_TYPE_NONE};
        int bad = -1;
        weir_err err = weir_expr_eval(expr, one, scratch, &column, &bad, &error);
        fuzz_check(!err || bad == 0);
        fuzz_check(!all_err || row != bad_row || err);
        if (!err && !all_err)
            fuzz_check(same(all, row, &column, 0));
        failed += err != WEIR_OK;
        if (!err)
            weir_column_fini(&column);
        weir_batch_unref(one);
    }
    fuzz_check((failed > 0) == (all_err != WEIR_OK));
}

static void evaluate(const struct weir_expr *expr, const char *text)
{
    struct weir_expr_scratch *scratch = weir_expr_scratch_new();
    struct weir_column column = {.type = WEIR_TYPE_NONE};
    struct weir_error error;
    int bad_row = -1;
    weir_err err = weir_expr_eval(expr, batch, scratch, &column, &bad_row, &error);
    fuzz_check(!err || (err == WEIR_ERR_DATA && bad_row >= 0 && bad_row < ROWS));
    if (!err)
        fuzz_check(column.type == weir_expr_type(expr)->id);
    if (!varies(text))
        compare_rows(expr, scratch, &column, err, bad_row);
    if (weir_expr_type(expr)->id == WEIR_TYPE_BOOLEAN && !varies(text)) {
        uint64_t mask[(ROWS + 63) / 64];
        weir_err mask_err = weir_expr_eval_mask(expr, batch, scratch, mask, &bad_row, &error);
        fuzz_check((mask_err != WEIR_OK) == (err != WEIR_OK));
        for (int row = 0; !err && row < ROWS; row++)
            fuzz_check(weir_bit_get(mask, row) ==
                       (!weir_column_is_null(&column, row) && weir_bit_get(column.bits, row)));
    }
    if (!err)
        weir_column_fini(&column);
    weir_expr_scratch_free(scratch);
}

static void one_expression(const char *text)
{
    struct weir_expr *expr = NULL;
    struct weir_expr_error error;
    if (weir_expr_compile(text, schema, &expr, &error)) {
        fuzz_check(error.column >= 0 && (size_t)error.column <= strlen(text) + 1);
        return;
    }
    evaluate(expr, text);
    weir_expr_free(expr);
}

static void select_list(const char *text)
{
    struct weir_select *select = NULL;
    struct weir_expr_error error;
    struct weir_error why;
    if (weir_select_compile(text, schema, &select, &error))
        return;
    struct weir_expr_scratch *scratch = weir_expr_scratch_new();
    struct weir_batch *out = NULL;
    int bad_row;
    if (!weir_select_eval(select, batch, scratch, &out, &bad_row, &why)) {
        fuzz_check(out->row_count == ROWS && out->schema->field_count == select->item_count);
        weir_batch_unref(out);
    }
    weir_expr_scratch_free(scratch);
    weir_select_free(select);
}

static void window_list(const char *text)
{
    struct weir_agg *agg = NULL;
    struct weir_expr_error compile_error;
    struct weir_error error;
    struct weir_key_spec keys = {.column_count = 1, .columns = {0}};
    if (weir_agg_compile(text, schema, &keys, true, &agg, &compile_error))
        return;
    size_t size = weir_agg_accumulator_size(agg);
    uint8_t *accumulators[ROWS], *cells = weir_zalloc(2 * size + 8);
    struct weir_arena heap;
    struct weir_agg_input *input = weir_agg_input_new(agg);
    int bad_row;
    weir_arena_init(&heap);
    for (int i = 0; i < ROWS; i++)
        accumulators[i] = cells + (size_t)(i & 1) * size;
    if (!weir_agg_prepare(agg, input, batch, &bad_row, &error)) {
        weir_agg_update(agg, input, NULL, accumulators, ROWS, &heap);
        weir_agg_merge(agg, cells, cells + size, &heap);
        static const uint8_t key[] = {1, 0, 0, 0, 1, 'k'};
        struct weir_agg_group group = {
            .key = key, .key_size = sizeof key, .accumulator = cells, .window_start_ms = 0, .window_end_ms = 1000};
        struct weir_batch *out = NULL;
        if (!weir_agg_result(agg, &group, 1, &out, &error)) {
            fuzz_check(out->row_count == 1);
            weir_batch_unref(out);
        }
    }
    weir_agg_input_free(input);
    weir_arena_fini(&heap);
    weir_agg_free(agg);
    free(cells);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    uint8_t how = (uint8_t)fuzz_number(&in, 1);
    if (!batch)
        prepare();
    char *text = fuzz_text(in);
    if (how % 3 == 0)
        one_expression(text);
    else if (how % 3 == 1)
        select_list(text);
    else
        window_list(text);
    free(text);
    return 0;
}
