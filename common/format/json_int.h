/* Private to the JSON format: its option table, and the two halves that json.c puts into the vtable. */
#ifndef WEIR_FORMAT_JSON_INT_H
#define WEIR_FORMAT_JSON_INT_H

#include "format/format.h"
#include "format/json_schema.h"

extern const struct weir_option weir_json_options[];
extern const struct weir_format weir_format_json;
/* A JSON Schema for what is written of these columns; freed by the caller. */
char *weir_json_schema_derive(const struct weir_schema *columns);

weir_err weir_json_decoder_new(struct weir_schema *schema, const struct weir_key_value *options, int option_count,
                               struct weir_decoder **decoder, struct weir_error *error);
weir_err weir_json_decode(struct weir_decoder *decoder, const uint8_t *bytes, size_t size, bool padded,
                          struct weir_batch *batch, struct weir_error *error);
weir_err weir_json_decode_lines(struct weir_decoder *decoder, const uint8_t *bytes, size_t size, bool last,
                                struct weir_batch *batch, size_t *used, size_t *bad_at, size_t *bad_size,
                                struct weir_error *error);
/* INVALID: JSON has no form for it. */
weir_err weir_json_check_type(const char *column, const struct weir_type *type, struct weir_error *error);
/* The option json.schema; NULL where it is not given. INVALID. */
weir_err weir_json_schema_option(const struct weir_key_value *options, int option_count,
                                 struct weir_json_schema **schema, struct weir_error *error);
/* By a JSON Schema: then records are taken one by one. */
bool weir_json_is_checked(const struct weir_decoder *decoder);
void weir_json_decoder_free(struct weir_decoder *decoder);

#endif
