/* Private to common/expr: syntax tree, checked types, compiled program.
 *
 * Flow: text -> lexer.c (tokens) -> parse.c (tree) -> check.c (types, coercions; operators that are written in terms of
 * others are rewritten here) -> compile.c (flat steps over registers, constants folded) -> eval.c (runs the steps).
 * A tree lives in the arena of the weir_expr that is being compiled and is not needed once the steps are there.
 *
 * Laziness. A step that can fail, or is costly, takes a selection: a bitmap register of the rows that are really
 * evaluated (CASE branches, the right side of AND and OR). Steps that cannot fail run over all rows: what they compute
 * for rows that are not taken is never looked at.
 */
#ifndef WEIR_EXPR_EXPR_INT_H
#define WEIR_EXPR_EXPR_INT_H

#include "data/batch.h"
#include "expr/expr.h"

#define EXPR_TEXT_SIZE_MAX ((size_t)64 << 10)
#define EXPR_NESTING_MAX 200                     /* of the text: parentheses, calls, prefix operators */
#define EXPR_DEPTH_MAX 1000                      /* of the tree: a + a + a + ... is a deep tree without nesting */
#define EXPR_ARGS_MAX 4096                       /* of one IN list or call */
#define EXPR_VALUE_SIZE_MAX ((size_t)16 << 20)   /* of one string made by a function */
#define EXPR_COLUMN_SIZE_MAX ((size_t)512 << 20) /* of one column of such strings */

/* Types that exist only between an expression's steps. Both are int64. */
enum {
    EXPR_INTERVAL_MONTHS = WEIR_TYPE_IDS + 1,
    EXPR_INTERVAL_MS,
};

/* How values lie in memory. The order of the numeric ones is the order of implicit widening. */
enum phys {
    PHYS_BOOL,
    PHYS_I8,
    PHYS_I16,
    PHYS_I32,
    PHYS_I64,
    PHYS_F32,
    PHYS_F64,
    PHYS_BYTES,
    PHYS_DECIMAL,
    PHYS_NESTED
};
enum phys expr_phys(int type);
static inline int expr_phys_width(enum phys phys)
{
    static const uint8_t widths[] = {0, 1, 2, 4, 8, 4, 8, 0, 16, 0};
    return widths[phys];
}

enum unit {
    UNIT_NONE,
    UNIT_MILLISECOND,
    UNIT_SECOND,
    UNIT_MINUTE,
    UNIT_HOUR,
    UNIT_DAY,
    UNIT_WEEK,
    UNIT_MONTH,
    UNIT_QUARTER,
    UNIT_YEAR,
    UNIT_DECADE,
    UNIT_CENTURY,
    UNIT_MILLENNIUM,
    UNIT_DOW,
    UNIT_DOY,
    UNIT_ISODOW,
    UNIT_ISOYEAR,
    UNIT_EPOCH,
    UNIT_MICROSECOND,
    UNIT_NANOSECOND
};
int64_t expr_unit_ms(enum unit unit); /* of one; 0: it is counted in months, or not at all */
int expr_unit_months(enum unit unit); /* of one; 0: it is counted in ms */

/* --- Tokens */
enum token_kind {
    TOKEN_END,
    TOKEN_WORD,
    TOKEN_QUOTED,
    TOKEN_STRING,
    TOKEN_BYTES,
    TOKEN_INTEGER,
    TOKEN_DECIMAL,
    TOKEN_DOUBLE,
    TOKEN_OPERATOR
};
struct token {
    enum token_kind kind;
    int column;       /* from 1, in bytes of the text */
    const char *text; /* unescaped, NUL-terminated; an operator's characters */
    size_t size;
};
struct expr_parser {
    struct weir_arena *arena;
    const char *text;
    size_t size;
    size_t at;          /* next byte to be read */
    struct token token; /* the one looked at */
    int nesting;
    bool allow_aggregates;
    struct weir_expr_error *error;
};
weir_err expr_lexer_next(struct expr_parser *parser); /* moves parser->token on */
weir_err expr_error(struct weir_expr_error *error, enum weir_err_code code, int column, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* --- Tree */
enum op {
    OP_LITERAL,
    OP_COLUMN,
    OP_AGGREGATE,
    OP_STAR,
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_MOD,
    OP_NEG,
    OP_PLUS,
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE, /* this order is the order of the kernels */
    OP_DISTINCT,
    OP_NOT_DISTINCT,
    OP_AND,
    OP_OR,
    OP_NOT,
    OP_IS_NULL,
    OP_IS_NOT_NULL,
    OP_IS_TRUE,
    OP_IS_NOT_TRUE,
    OP_IS_FALSE,
    OP_IS_NOT_FALSE,
    OP_IN,   /* args[0] IN (the rest) */
    OP_LIKE, /* string, pattern[, escape] */
    OP_CAST,
    OP_TRY_CAST,
    OP_CASE, /* condition, value, condition, value, ..., else */
    OP_CALL,
    OP_FIELD, /* row.name */
    OP_INDEX, /* array[i], map[key] */
    OP_ARRAY,
    OP_MAP, /* key, value, key, value, ... */
    OP_ROW
};

struct value {
    union {
        int64_t i; /* also BOOLEAN */
        double d;  /* also FLOAT */
        struct {
            const uint8_t *s;
            size_t n;
        };
        struct weir_decimal dec;
        struct { /* ARRAY, MAP, ROW: where it lies; NULL: nothing */
            const struct weir_column *column;
            int row;
        };
    };
    bool null;
};

struct function;
struct node {
    enum op op;
    int column; /* of the text */
    int depth;
    struct weir_type type; /* set by check.c */
    bool checked;
    bool replaced;    /* agg.c has been here */
    bool lazy;        /* it or something below it takes a selection */
    bool hidden_null; /* may be NULL though its type says NOT NULL, as Flink's does: a DECIMAL that overflows */
    bool fixed_size;  /* CAST: CHAR(n), BINARY(n): padded */
    bool has_type;    /* CAST: `type` is the wanted type */
    enum unit unit;
    int arg_count;
    struct node **args;
    const char *name; /* column, call, aggregate (upper case) */
    const struct function *function;
    struct value literal;
    struct node *filter; /* aggregate */
    int index;           /* column of the schema; of an aggregate, its number */
    int reg;             /* compile.c: the register that holds it, or -1 */
    int reg_sel;         /* compile.c: the selection it was computed under */
};

/* One item of a list: expression [AS alias]. Items with op STAR stand for all columns. */
struct expr_item {
    struct node *node;
    const char *alias; /* NULL: none */
};
void expr_parser_init(struct expr_parser *parser, struct weir_arena *arena, const char *text,
                      struct weir_expr_error *error);
weir_err expr_parse(struct expr_parser *parser, struct node **node); /* one whole expression */
weir_err expr_parse_list(struct expr_parser *parser, struct expr_item **items, int *count);
struct node *expr_node(struct weir_arena *arena, enum op op, int column, int arg_count, ...);

/* --- Checking */
struct checker {
    struct weir_arena *arena;
    const struct weir_schema *schema;
    struct weir_expr_error *error;
};
weir_err expr_check(struct checker *checker, struct node *node);
/* Wraps *node in a cast where its type is not `type` yet (no check that Flink would do it implicitly). */
weir_err expr_coerce(struct checker *checker, struct node **node, int type);
weir_err expr_coerce_to(struct checker *checker, struct node **node, const struct weir_type *type);
/* A type as SQL writes it, intervals too. */
const char *expr_type_name(const struct weir_type *type, char out[64]);
/* What CASE, COALESCE, a comparison make of two types, nullable where one is; false: they do not go together. */
bool expr_common_type(const struct weir_type *a, const struct weir_type *b, struct weir_type *common);
bool expr_is_numeric(int type); /* DECIMAL too */
bool expr_is_integer(int type);

/* --- Program */
struct eval;
struct step;
typedef weir_err (*step_fn)(struct eval *eval, const struct step *step);

enum reg_kind { REG_TEMP, REG_INPUT, REG_CONST };
struct reg_info {
    enum reg_kind kind;
    int type;            /* enum weir_type_id or an interval */
    struct weir_type is; /* all of it */
    bool constant;       /* holds one value in row 0 (REG_CONST, or a temporary all of whose arguments are constant) */
    int input;           /* REG_INPUT: column */
    int slot;            /* REG_TEMP: storage in the scratch */
    struct weir_column value; /* REG_CONST */
};

struct step {
    step_fn run;
    int out;
    int sel; /* register of the selection, -1: all rows */
    int arg_count;
    int *args;
    int column;  /* of the text */
    bool single; /* constant arguments: run over one row */
    int aux;
    const void *data;
};

struct weir_expr {
    struct weir_arena arena;
    struct weir_type type;
    bool hidden_null;
    int reg_count;
    struct reg_info *regs;
    int slot_count;
    int step_count;
    struct step *steps;
    int result;
    int input_count; /* columns of the schema */
};

/* Storage of one temporary; reused from batch to batch. */
struct slot {
    struct weir_buffer *values;
    struct weir_buffer *validity;
    struct weir_buffer *bytes;
    struct weir_batch *child;
};
struct weir_expr_scratch {
    struct slot *slots;
    int slot_count;
    struct weir_column *columns; /* views of the registers during one evaluation */
    int column_count;
    uint64_t *active; /* a bitmap for the step that is running */
    size_t active_words;
    uint8_t *tmp; /* bytes for the function that is running */
    size_t tmp_size;
    uint16_t *choice; /* CASE: the branch of each row */
    int choice_rows;
};

struct eval {
    const struct weir_expr *expr;
    struct weir_expr_scratch *scratch;
    struct weir_column *columns; /* [reg] */
    const struct reg_info *regs;
    struct slot *slots; /* of temporaries, by regs[].slot */
    int rows;
    int bad_row;
    struct weir_error *error;
};

/* Checks and compiles a tree; the result does not point into it. `arena` is the tree's. */
weir_err expr_compile_node(struct weir_arena *arena, struct node *node, const struct weir_schema *schema,
                           struct weir_expr **expr, struct weir_expr_error *error);
/* The schema field names of a parsed list: alias, column name, or EXPR$n. */
weir_err expr_item_name(const struct expr_item *item, int index, struct weir_arena *arena, const char **name,
                        struct weir_expr_error *error);

/* eval.c: what the steps are made of */
uint8_t *eval_tmp(struct eval *eval, size_t size); /* valid until the next call */
void eval_load(const struct weir_column *column, enum phys phys, int row, struct value *value);

weir_err step_arith(struct eval *eval, const struct step *step);   /* aux: OP_ADD, OP_SUB, OP_MUL */
weir_err step_divide(struct eval *eval, const struct step *step);  /* aux: OP_DIV, OP_MOD */
weir_err step_compare(struct eval *eval, const struct step *step); /* aux: OP_EQ ... OP_GE */
weir_err step_logic(struct eval *eval, const struct step *step);   /* aux: OP_AND, OP_OR */
weir_err step_not(struct eval *eval, const struct step *step);
weir_err step_test(struct eval *eval, const struct step *step);    /* aux: OP_IS_NULL ... OP_IS_NOT_FALSE */
weir_err step_convert(struct eval *eval, const struct step *step); /* number to number, and same layout */
weir_err step_case(struct eval *eval, const struct step *step);
weir_err step_broadcast(struct eval *eval, const struct step *step);
weir_err step_decimal(struct eval *eval, const struct step *step);         /* aux: OP_ADD ... OP_MOD */
weir_err step_compare_decimal(struct eval *eval, const struct step *step); /* aux: OP_EQ ... OP_GE */
weir_err step_compare_nested(struct eval *eval, const struct step *step);  /* aux: OP_EQ, OP_NE */
weir_err step_field(struct eval *eval, const struct step *step);           /* aux: which field of the ROW */
weir_err step_construct(struct eval *eval, const struct step *step);       /* ARRAY, MAP, ROW of the arguments */
weir_err step_cast_nested(struct eval *eval, const struct step *step);     /* data: struct row_call */
enum select_kind { SELECT_TRUE, SELECT_NOT_TRUE, SELECT_NOT_FALSE };
weir_err step_select(struct eval *eval, const struct step *step); /* aux: select_kind */
weir_err step_rows(struct eval *eval, const struct step *step);   /* data: struct row_call */

/* --- Functions by row (strings, time, casts from text) */
enum fn_result { FN_OK, FN_NULL, FN_FAIL };
struct call {
    struct eval *eval;
    const struct row_call *def;
    char why[256]; /* FN_FAIL: the sentence */
    int arg_count;
};
typedef enum fn_result (*row_fn)(struct call *call, const struct value *args, struct value *out);
struct row_call {
    row_fn fn;
    bool strict;       /* a NULL argument makes NULL; else args[i].null is to be looked at */
    bool null_on_fail; /* TRY_CAST */
    enum unit unit;
    int type;                           /* of the result */
    int arg_type;                       /* of the first argument */
    struct weir_type out_type, in_type; /* the same, whole */
    int length;                         /* CAST to a bounded string: its length; precision of a timestamp */
    bool pad;
    const void *data; /* prepared from constants: IN set, LIKE pattern */
};

/* result: B boolean, I int, L bigint, D double, S string, Y bytes, d date, t time, T timestamp(3), 1 as the first
 * argument, = the common type of all */
struct function {
    const char *name;
    const char *args; /* see functions.c */
    char result;
    uint8_t flags;
    row_fn fn;
    double (*math)(double);
    enum unit unit;
};
enum { FUNCTION_NULLABLE = 1, FUNCTION_LENIENT = 2 /* looks at NULLs itself */, FUNCTION_NOT_NULL = 4 };
/* Finds the overload for checked arguments and coerces them; sets node->type. */
weir_err expr_function_resolve(struct checker *checker, struct node *node);
weir_err step_math(struct eval *eval, const struct step *step); /* data: struct function */

/* --- nested.c */
enum fn_result fn_array_at(struct call *call, const struct value *a, struct value *out);
enum fn_result fn_map_at(struct call *call, const struct value *a, struct value *out);
enum fn_result fn_cardinality(struct call *call, const struct value *a, struct value *out);
enum fn_result fn_element(struct call *call, const struct value *a, struct value *out);
enum fn_result fn_array_contains(struct call *call, const struct value *a, struct value *out);
enum fn_result fn_nested_to_text(struct call *call, const struct value *a, struct value *out);
bool expr_cast_nested(struct call *call, const struct weir_column *in, int in_row, struct weir_column *out, int row);
bool expr_print_nested(const struct weir_type *type, const struct value *value, struct weir_buf *out);
/* Sets row `row` of a column that is being built. False: a text does not fit. */
bool expr_column_put(struct weir_column *column, int row, int row_capacity, enum phys phys, const struct value *value);

/* --- casts.c */
/* What a CAST needs to know of its types. */
void expr_cast_prepare(struct row_call *def, const struct weir_type *from, const struct weir_type *to);
/* One value by a plain conversion between numbers, as the kernels do it. */
void expr_convert_value(int from, int to, const struct value *a, struct value *out);
/* A value's string form, appended to `out`; false: full. */
bool expr_print_value(const struct weir_type *type, const struct value *value, struct weir_buf *out);
/* NULL: never a cast. *convert: by step_convert (numbers, same layout) instead. Explicit casts only. */
bool expr_cast_find(int from, int to, bool *convert, row_fn *fn);
bool expr_parse_timestamp(const char *s, size_t n, int64_t *ms); /* as Flink's CAST accepts it */
bool expr_parse_date(const char *s, size_t n, int32_t *days);
bool expr_parse_time(const char *s, size_t n, int32_t *ms);
size_t expr_print_double(double d, bool is_float, char out[40]); /* as Java's Double.toString */

/* --- time_fn.c, string_fn.c: used by the compiler directly */
enum fn_result fn_add_months(struct call *call, const struct value *a, struct value *out);
enum fn_result fn_date_add_ms(struct call *call, const struct value *a, struct value *out);
enum fn_result fn_time_add_ms(struct call *call, const struct value *a, struct value *out);
enum fn_result fn_like(struct call *call, const struct value *a, struct value *out);
enum fn_result fn_in_set(struct call *call, const struct value *a, struct value *out);
/* Prepared from a constant pattern; NULL: none of the quick forms. */
const void *expr_like_prepare(struct weir_arena *arena, const struct value *pattern, const struct value *escape);
struct in_set {
    enum phys phys;
    bool has_null;
    int count;
    struct value *values; /* sorted */
};
int expr_value_compare(enum phys phys, const struct value *a, const struct value *b);
size_t utf8_count(const uint8_t *s, size_t n); /* characters */

#endif
