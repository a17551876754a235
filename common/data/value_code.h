/* One value of any type as bytes: the canonical encoding of row_key.h, with its flag. State keeps values of nested types so, and
 * keys are made of it. A MAP, which is no key, is u32 big-endian count, then key and value with their flags, in the map's order. */
#ifndef WEIR_DATA_VALUE_CODE_H
#define WEIR_DATA_VALUE_CODE_H

#include "data/batch.h"

/* Bytes of the encoding of the value at `row`, flag included. */
size_t weir_value_size(const struct weir_column *column, int row);
/* Writes it to `at`, and returns where it ends. `canonical`: -0.0 is written as 0.0 and every NaN as one, as in keys; else bits
 * stay as they are. */
uint8_t *weir_value_put(const struct weir_column *column, int row, bool canonical, uint8_t *at);
/* The value at *at, which moves behind it, into row `row` of a column that is being built. False: the bytes are not a value of this
 * type; the row may then be set again, or undone. Text is not checked for UTF-8. */
bool weir_value_take(struct weir_column *to, const struct weir_type *type, int row, int row_capacity,
                     const uint8_t **at, const uint8_t *end);
/* MAP: of entries with the same key the last one's value stays, at the first one's place. For a list that was just ended. */
void weir_map_unique(struct weir_column *column, int row);
/* Equal values, NULLs too: numbers and texts as bits, floating numbers as = has them, maps whatever the order of their entries. */
bool weir_value_equal(const struct weir_column *a, int a_row, const struct weir_column *b, int b_row);

#endif
