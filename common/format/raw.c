/* The raw format: a record is the value of the one STRING or BYTES column, as it is.
 *
 * Data path, on the task's thread. A STRING that is not valid UTF-8 is a bad record. In files and byte streams records are
 * lines: the line end ("\n" or "\r\n") is not part of the value, an empty line is an empty value. NULL is written as an
 * empty record. A value that holds a line end becomes several lines there: raw has no escapes.
 */
#include <stdlib.h>
#include <string.h>

#include "format/format.h"
#include "format/simdjson_shim.h"

#define RECORD_SIZE_MAX ((size_t)256 << 20)

static const struct weir_option raw_options[] = {{NULL, 0, NULL, NULL, NULL}};

struct weir_decoder {
    bool text;
    const char *name; /* of the column; in `schema` */
    struct weir_schema *schema;
};

static weir_err check_schema(const struct weir_schema *schema, struct weir_error *error)
{
    if (schema->field_count != 1 || !weir_type_is_variable(schema->fields[0].type.id))
        return weir_fail(error, WEIR_ERR_INVALID,
                         "raw takes a schema of one STRING or BYTES column; this one has %d column%s%s",
                         schema->field_count, schema->field_count == 1 ? "" : "s",
                         schema->field_count == 1 ? " of another type" : "");
    return WEIR_OK;
}

static weir_err raw_decoder_new(struct weir_schema *schema, const struct weir_key_value *options, int option_count,
                                struct weir_decoder **decoder, struct weir_error *error)
{
    (void)options, (void)option_count;
    weir_err err = check_schema(schema, error);
    if (err)
        return err;
    struct weir_decoder *created = weir_zalloc(sizeof *created);
    created->schema = weir_schema_ref(schema);
    created->name = schema->fields[0].name;
    created->text = schema->fields[0].type.id == WEIR_TYPE_STRING;
    *decoder = created;
    return WEIR_OK;
}

static void raw_decoder_free(struct weir_decoder *decoder)
{
    if (!decoder)
        return;
    weir_schema_unref(decoder->schema);
    free(decoder);
}

static weir_err raw_decode(struct weir_decoder *decoder, const uint8_t *bytes, size_t size, bool padded,
                           struct weir_batch *batch, struct weir_error *error)
{
    (void)padded;
    if (size > RECORD_SIZE_MAX)
        return weir_fail_record(error, WEIR_BAD_TOO_LARGE, "raw: the record is longer than 256 MiB");
    if (decoder->text && !weir_utf8_valid(bytes, size))
        return weir_fail_record(error, WEIR_BAD_VALUE, "raw: column '%s' is not valid UTF-8", decoder->name);
    weir_column_set_bytes(&batch->columns[0], batch->row_count, bytes, size);
    batch->row_count++;
    return WEIR_OK;
}

static weir_err raw_decode_lines(struct weir_decoder *decoder, const uint8_t *bytes, size_t size, bool last,
                                 struct weir_batch *batch, size_t *used, size_t *bad_at, size_t *bad_size,
                                 struct weir_error *error)
{
    size_t at = 0, total = weir_batch_bytes(batch);
    weir_err err = WEIR_OK;
    while (at < size && batch->row_count < batch->row_capacity && !err &&
           (at == 0 || total <= WEIR_BATCH_BYTES_SOFT_MAX)) {
        const uint8_t *newline = memchr(bytes + at, '\n', size - at);
        if (!newline && !last)
            break;
        size_t line_size = newline ? (size_t)(newline - bytes) - at : size - at;
        size_t next = at + line_size + (newline != NULL);
        if (newline && line_size > 0 && bytes[at + line_size - 1] == '\r')
            line_size--;
        err = raw_decode(decoder, bytes + at, line_size, true, batch, error);
        if (err) {
            *bad_at = at;
            *bad_size = line_size;
        }
        total += line_size;
        at = next;
    }
    *used = at;
    return err;
}

static weir_err raw_encoder_new(struct weir_schema *schema, const struct weir_key_value *options, int option_count,
                                struct weir_encoder **encoder, struct weir_error *error)
{
    (void)options, (void)option_count;
    weir_err err = check_schema(schema, error);
    if (!err)
        *encoder = (struct weir_encoder *)weir_schema_ref(schema); /* it needs nothing of its own */
    return err;
}

static void raw_encoder_free(struct weir_encoder *encoder)
{
    weir_schema_unref((struct weir_schema *)encoder);
}

static weir_err raw_encode(struct weir_encoder *encoder, const struct weir_batch *batch, int row, struct weir_buf *out,
                           struct weir_error *error)
{
    (void)encoder;
    size_t size = 0, before = out->size;
    const uint8_t *bytes = NULL;
    if (!weir_column_is_null(&batch->columns[0], row))
        bytes = weir_column_bytes(&batch->columns[0], row, &size);
    if (weir_buf_reserve(out, size + 1) && weir_buf_append(out, bytes, size) && weir_buf_puts(out, "\n"))
        return WEIR_OK;
    return weir_fail(error, WEIR_ERR_FULL, "raw: a record of %zu bytes does not fit the output buffer (%zu of %zu)",
                     size, before, out->max);
}

extern const struct weir_format weir_format_raw;
const struct weir_format weir_format_raw = {
    .name = "raw",
    .help = "one STRING or BYTES column: the record as it is",
    .options = raw_options,
    .line_based = true,
    .decoder_new = raw_decoder_new,
    .decode = raw_decode,
    .decoder_free = raw_decoder_free,
    .encoder_new = raw_encoder_new,
    .encode = raw_encode,
    .encoder_free = raw_encoder_free,
    .decode_lines = raw_decode_lines,
};
