/* The quick reader of JSON lines: records that repeat the shape of one before are taken straight from their bytes.
 *
 * A shape is the text between the values of a record that the full reader (json_decode.c) found valid, as it stands: names, colons,
 * commas, spaces. A line whose bytes repeat it with plain values between is valid JSON without being indexed.
 * Any other line (escapes, other order, "NaN", white space elsewhere, bad ones) is left to the full reader, which alone
 * decides what a bad record is. Owned by a decoder; on its thread. Nothing here blocks or fails.
 */
#ifndef WEIR_FORMAT_JSON_EXPECT_H
#define WEIR_FORMAT_JSON_EXPECT_H

#include "data/batch.h"
#include "format/text_int.h"

struct weir_json_expect;

/* `schema` and `timestamps` are borrowed for its life. */
struct weir_json_expect *weir_json_expect_new(const struct weir_schema *schema,
                                              struct weir_timestamp_cache *timestamps);
void weir_json_expect_free(struct weir_json_expect *expect);

/* Takes the shape of the line at `bytes`, which ends with '\n' (64 bytes of padding behind) and which the full reader took as one
 * record or as white space. Forgets the shape before. False: no shape that can be expected (nested, a column missing or
 * doubled, a type other than booleans, numbers, strings and timestamps, escapes in names, white space at the ends). */
bool weir_json_expect_learn(struct weir_json_expect *expect, const uint8_t *bytes);

/* Adds the lines from bytes[0] on that have the shape, until one has not or the batch is full; returns the bytes that they take.
 * bytes[size - 1] is '\n', and 64 bytes of padding follow. 0 without a shape. */
size_t weir_json_expect_take(struct weir_json_expect *expect, const uint8_t *bytes, size_t size,
                             struct weir_batch *batch);

#endif
