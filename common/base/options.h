/* Option tables: what operators, connectors and formats accept, from which checking and documentation are made.
 * (The cluster's own configuration is base/config.h.)
 */
#ifndef WEIR_BASE_OPTIONS_H
#define WEIR_BASE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/mem.h"
#include "weir/connector.h" /* struct weir_option, struct weir_key_value, weir_options_get() */

/* Of a source, and looked at by the JobManager, too. */
#define WEIR_OPTION_ALIGNMENT_GROUP "scan.watermark.alignment.group"

/* Checks `given` against the tables (each ends with name == NULL; the second and third may be NULL): unknown keys (names the nearest
 * right one), missing required ones, values of a wrong type. `what` opens the message: "connector 'datagen'". */
weir_err weir_options_check(const char *what, const struct weir_key_value *given, int given_count,
                            const struct weir_option *table, const struct weir_option *table2,
                            const struct weir_option *table3, struct weir_error *error);
/* --- Parts of the above, for other tables (base/config.c) */

const struct weir_option *weir_option_find(const struct weir_option *table, const char *name); /* NULL: none */
/* Is `value` of the option's type? `what` opens the message. */
/* The choice (of "a|b") that is meant by `value`, in whatever case and with _ for -; *size: its length. NULL: none. */
const char *weir_option_choice(const char *choices, const char *value, size_t *size);
weir_err weir_option_check_value(const char *what, const struct weir_option *option, const char *value,
                                 struct weir_error *error);
/* A checked text as a number; NULL or "" gives 0. */
int64_t weir_option_to_int(const struct weir_option *option, const char *text);
/* "10 s" -> 10000, "64 mb" -> 67108864; false: not one, or over 2^53. */
bool weir_parse_duration_ms(const char *text, int64_t *out);
bool weir_parse_size(const char *text, int64_t *out);
/* The name in `names` that is nearest to `name` (Levenshtein at most 1/3 of its length, at least 1); NULL: none is near. */
const char *weir_nearest(const char *name, const char *const *names, int count);
const char *weir_option_nearest(const char *name, const struct weir_option *table, const struct weir_option *table2,
                                const struct weir_option *table3);

#endif
