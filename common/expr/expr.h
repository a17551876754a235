/* Expressions: SQL text -> checked, constant-folded flat steps over whole columns.
 *
 * The same text is used in weir_filter(s, "temperature > 90"), weir_select(s, "..."), WHERE and SELECT. Semantics
 * (names, types, NULL, overflow, casts) are Flink 1.20 SQL's: three-valued logic; integer arithmetic wraps around as
 * Java's does; integer division by zero and a CAST that cannot be done are errors of the record; FLOAT/DOUBLE are IEEE.
 * An error of the text says what, and `column` (from 1, in bytes) says where in the text.
 *
 * The literal 1.5 is a DECIMAL(2, 1). A bare TIMESTAMP is TIMESTAMP(3). Where a moment (TIMESTAMP_LTZ) is seen as date and time,
 * that is in the session's zone (base/zone.h), UTC by default. DECIMAL arithmetic that has no room for a result gives NULL, as
 * Flink's does, also where the type says NOT NULL; the schema of a select list says nullable there.
 * A row that is not reached raises nothing: CASE, IF, COALESCE, and AND and OR whose left side decides.
 * Bounds: 64 KiB of text, 200 levels of nesting, 1,000 operators in a row, 4,096 entries of a list.
 */
#ifndef WEIR_EXPR_EXPR_H
#define WEIR_EXPR_EXPR_H

#include "data/batch.h"

struct weir_expr;         /* one compiled scalar expression; immutable, may be shared by threads */
struct weir_expr_scratch; /* the registers of one evaluating thread */

struct weir_expr_error {
    int column; /* from 1; 0: the text as a whole */
    struct weir_error error;
};

/* `schema` names the columns that may be used. */
weir_err weir_expr_compile(const char *text, const struct weir_schema *schema, struct weir_expr **expr,
                           struct weir_expr_error *error);
void weir_expr_free(struct weir_expr *expr);
const struct weir_type *weir_expr_type(const struct weir_expr *expr);
/* Sets bit c of `used` (field_count bits) for every input column that is read. */
void weir_expr_columns(const struct weir_expr *expr, uint64_t *used);
/* The column number when the expression is nothing but a column; else -1. */
int weir_expr_is_column(const struct weir_expr *expr);

struct weir_expr_scratch *weir_expr_scratch_new(void);
void weir_expr_scratch_free(struct weir_expr_scratch *scratch);

/* Evaluates over all rows. `out` must be empty; it is filled with a column of row_count rows that the caller owns
 * (weir_column_fini), possibly sharing the input's buffers. DATA: a row failed (division by zero, bad cast); the message
 * says why and *bad_row (may be NULL) which. */
weir_err weir_expr_eval(const struct weir_expr *expr, const struct weir_batch *batch, struct weir_expr_scratch *scratch,
                        struct weir_column *out, int *bad_row, struct weir_error *error);
/* For BOOLEAN expressions: bit set where the value is TRUE (not FALSE, not NULL). mask has room for row_count bits, in
 * whole words; bits past row_count are 0. */
weir_err weir_expr_eval_mask(const struct weir_expr *expr, const struct weir_batch *batch,
                             struct weir_expr_scratch *scratch, uint64_t *mask, int *bad_row, struct weir_error *error);

/* --- A select list: "device_id, temperature * 1.8 + 32 AS fahrenheit, *" */
struct weir_select_item {
    char *name; /* the alias, or the column's name; EXPR$0 where neither is there, as Flink names it */
    struct weir_expr *expr;
};
struct weir_select {
    int item_count;
    struct weir_select_item *items;
    struct weir_schema *schema; /* of the result */
};
weir_err weir_select_compile(const char *text, const struct weir_schema *schema, struct weir_select **select,
                             struct weir_expr_error *error);
void weir_select_free(struct weir_select *select);
/* A new batch of the result; shares buffers where an item is a plain column. Change kinds are kept. */
weir_err weir_select_eval(const struct weir_select *select, const struct weir_batch *batch,
                          struct weir_expr_scratch *scratch, struct weir_batch **out, int *bad_row,
                          struct weir_error *error);

/* Names of all functions, for completion and documentation; *count is set. */
const char *const *weir_expr_function_names(int *count);
/* docs/functions.md, appended. */
weir_err weir_expr_document(struct weir_buf *out, struct weir_error *error);

#endif
