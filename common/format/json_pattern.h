/* Patterns of JSON Schema (ECMA-262) by the C library's extended regular expressions: what is regular in both. Whether a text matches is
 * all that is asked, so that lazy and greedy, capturing and not, are the same.
 */
#ifndef WEIR_FORMAT_JSON_PATTERN_H
#define WEIR_FORMAT_JSON_PATTERN_H

#include <stdbool.h>

#include "base/error.h"

struct weir_json_pattern;
/* INVALID: not a pattern, or one with look-around, back references, \p{...}, or too large counts. */
weir_err weir_json_pattern_new(const char *text, struct weir_json_pattern **pattern, struct weir_error *error);
void weir_json_pattern_free(struct weir_json_pattern *pattern); /* NULL is allowed */
/* Anywhere in the text; one with a NUL in it is looked at up to there. */
bool weir_json_pattern_matches(const struct weir_json_pattern *pattern, const char *text);

#endif
