/* A batch on the wire: a header and its buffers, so that receiving is pointer fix-up.
 *
 * Little-endian. Header (16 bytes): u32 magic "WBAT", u16 version 1, u16 flags (1: has change kinds),
 * u32 row_count, u32 column_count. Then per column 32 bytes: u8 type, u8 flags (1: has validity),
 * u16 0, u32 0, u64 validity size, u64 values size, u64 bytes size. Then the buffers in column order
 * (validity, values, bytes), each padded with zeros to 8 bytes; at last the change kinds.
 * A nested column's children follow it, headers and buffers alike (column_count counts the outermost only): a ROW has no
 * values; an ARRAY or MAP has offsets as values, and its children have as many rows as the last offset says.
 * The schema is not sent: both ends know it from the plan, and types are compared on receipt.
 */
#ifndef WEIR_DATA_BATCH_WIRE_H
#define WEIR_DATA_BATCH_WIRE_H

#include "data/batch.h"

/* Exact size of the encoded batch. */
size_t weir_batch_wire_size(const struct weir_batch *batch);
/* Writes weir_batch_wire_size() bytes to `out` (8-byte aligned by preference) and returns their number. */
size_t weir_batch_wire_encode(const struct weir_batch *batch, uint8_t *out);
/* Bytes from outside: every size, offset (monotone, in range), count and type is checked against `schema`
 * before use, STRING for UTF-8 is not (producers guarantee it). `owner` is the buffer that `bytes` lie in: where
 * an array is aligned to its element the column points into it (and takes a reference), else it is copied.
 * PROTOCOL on anything wrong. */
weir_err weir_batch_wire_decode(struct weir_schema *schema, struct weir_buffer *owner, const uint8_t *bytes,
                                size_t size, struct weir_batch **batch, struct weir_error *error);

#endif
