/* Between parse.c and parse_literal.c only. Each step fails with what should have stood at the token, and moves past it otherwise. */
#ifndef WEIR_EXPR_PARSE_INT_H
#define WEIR_EXPR_PARSE_INT_H

#include "expr/expr_int.h"

bool expr_is_word(const struct expr_parser *p, const char *word);
bool expr_is_operator(const struct expr_parser *p, const char *text);
weir_err expr_unexpected(struct expr_parser *p, const char *wanted); /* always an error */
weir_err expr_take_operator(struct expr_parser *p, const char *text);
weir_err expr_take_word(struct expr_parser *p, const char *word);
weir_err expr_try_word(struct expr_parser *p, const char *word, bool *there); /* taken when it stands here */

struct node *expr_literal(struct expr_parser *p, int type, int column);
weir_err expr_take_number(struct expr_parser *p, bool negative, struct node **out); /* the token is its digits */
weir_err expr_take_unit(struct expr_parser *p, enum unit *unit);
weir_err expr_take_interval(struct expr_parser *p, struct node **out); /* the token is INTERVAL */
weir_err expr_take_time(struct expr_parser *p,
                        struct node **out); /* the token is DATE, TIME or TIMESTAMP, a string follows */

#endif
