/* Formats: bytes of records <-> batches. One file and one line of the table (format.c) each; shared by all connectors.
 *
 * A decoder is given whole records (the connector splits lines or messages) and fills a batch that is being built,
 * for the columns of `schema` only. What a bad record is: it cannot be parsed, a value does not fit its column's type
 * (no silent cast, but an integer may widen and fit a DOUBLE), a NOT NULL column is missing or null, a STRING is not valid
 * UTF-8. A bad record adds no row. Unknown fields are ignored. Column names match exactly.
 */
#ifndef WEIR_FORMAT_FORMAT_H
#define WEIR_FORMAT_FORMAT_H

#include "base/options.h"
#include "data/batch.h"

struct weir_decoder;
struct weir_encoder;

struct weir_format {
    const char *name; /* "json" */
    const char *help;
    const struct weir_option *options; /* prefixed by the format's name: "json.timestamp-format" */
    bool line_based;                   /* records are lines when the carrier is a file or a byte stream */
    /* A schema of a kind that the format cannot carry is INVALID here. Borrowed arguments; may be NULL: cannot decode/encode. */
    weir_err (*decoder_new)(struct weir_schema *schema, const struct weir_key_value *options, int option_count,
                            struct weir_decoder **decoder, struct weir_error *error);
    /* One record into row `batch->row_count`, which is raised on success. On DATA nothing is added and `error` says why, naming the
     * column. `padded`: at least 64 readable bytes follow `bytes + size` (simdjson needs them; otherwise it copies).  */
    weir_err (*decode)(struct weir_decoder *decoder, const uint8_t *bytes, size_t size, bool padded,
                       struct weir_batch *batch, struct weir_error *error);
    void (*decoder_free)(struct weir_decoder *decoder);

    weir_err (*encoder_new)(struct weir_schema *schema, const struct weir_key_value *options, int option_count,
                            struct weir_encoder **encoder, struct weir_error *error);
    /* Appends row `row` as one record, with the line end when line_based. FULL: the record does not fit `out`. */
    weir_err (*encode)(struct weir_encoder *encoder, const struct weir_batch *batch, int row, struct weir_buf *out,
                       struct weir_error *error);
    void (*encoder_free)(struct weir_encoder *encoder);

    /* Optional fast path for line_based formats: decodes lines of `bytes[0..size)` (padded by 64 bytes) until the batch is full or
     * the bytes end at the last '\n' (or at `size` when `last`); *used is how far it came. Stops at a bad record with DATA,
     * *used just past it and bad_at/bad_size set to it: the caller treats it by policy and calls again. */
    weir_err (*decode_lines)(struct weir_decoder *decoder, const uint8_t *bytes, size_t size, bool last,
                             struct weir_batch *batch, size_t *used, size_t *bad_at, size_t *bad_size,
                             struct weir_error *error);
};

/* NULL-terminated table. */
extern const struct weir_format *const weir_formats[];
/* INVALID names the nearest. */
weir_err weir_format_find(const char *name, const struct weir_format **format, struct weir_error *error);

#endif
