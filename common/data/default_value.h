/* A field's type with the value that it has where it was not written yet: "BIGINT NOT NULL DEFAULT 0", "STRING DEFAULT 'none'". For row
 * structs of state, whose snapshots may be older than the field. */
#ifndef WEIR_DATA_DEFAULT_VALUE_H
#define WEIR_DATA_DEFAULT_VALUE_H

#include "data/schema.h"

/* The type, and in `value` (cleared first) the default's bytes: a fixed-width value as in memory, BOOLEAN one byte, text as it is. *given:
 * there is a DEFAULT. INVALID: no type, or a default that is none of its values. */
weir_err weir_default_parse(const char *text, struct weir_type *type, struct weir_buf *value, bool *given,
                            struct weir_error *error);

#endif
