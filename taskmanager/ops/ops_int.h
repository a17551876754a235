/* Private to taskmanager/ops: the entries of the table, and what several operators share. */
#ifndef WEIR_TASKMANAGER_OPS_INT_H
#define WEIR_TASKMANAGER_OPS_INT_H

#include "connectors/connector.h"
#include "expr/expr.h"
#include "format/format.h"
#include "ops/op.h"
#include "ops/op_numbers.h"

extern const struct weir_op_vtable weir_op_filter;
extern const struct weir_op_vtable weir_op_flat_map;
extern const struct weir_op_vtable weir_op_map;
extern const struct weir_op_vtable weir_op_process;
extern const struct weir_op_vtable weir_op_select;
extern const struct weir_op_vtable weir_op_sink;
extern const struct weir_op_vtable weir_op_source;
extern const struct weir_op_vtable weir_op_splits;
extern const struct weir_op_vtable weir_op_union;
extern const struct weir_op_vtable weir_op_watermark;
extern const struct weir_op_vtable weir_op_window;

/* --- What to do with a record that cannot be used: "on-error". */
enum weir_on_error { WEIR_ON_ERROR_FAIL, WEIR_ON_ERROR_SKIP, WEIR_ON_ERROR_DEAD_LETTER };
enum weir_on_error weir_on_error_parse(const char *text);

/* open() of an operator that may have them: its counters begin with 0, so that a rise can be seen. */
void weir_op_may_have_bad(struct weir_op_ctx *ctx);
/* `count` of them, for a reason. */
void weir_op_count_bad(struct weir_op_ctx *ctx, enum weir_bad_reason reason, int count);

/* Compiles `text` of option `option`; the sentence begins "option, column 15: ". */
weir_err weir_op_expr(const char *option, const char *text, const struct weir_schema *schema, struct weir_expr **expr,
                      struct weir_error *error);
/* Wraps `error` of row `row` of `batch` with the record itself (cut to 200 bytes). */
weir_err weir_op_row_error(const char *what, const struct weir_batch *batch, int row, struct weir_error *error);

/* --- Rows that an expression can evaluate.
 * Evaluates by halving until every row is known to be good or bad; `eval` returns 0 or DATA. mask gets a bit per good row.
 * Returns how many are bad; a code other than DATA ends it with *err. */
int weir_op_good_rows(const struct weir_batch *batch,
                      weir_err (*eval)(void *arg, const struct weir_batch *piece, struct weir_error *error), void *arg,
                      uint64_t *mask, weir_err *err, struct weir_error *error);

/* --- The connector and formats of a source, splits or sink vertex, with its options checked (carrier.c). */
struct weir_op_carrier {
    const struct weir_connector *connector;
    const struct weir_format *format;     /* of values, or of lines; NULL: rows */
    const struct weir_format *key_format; /* of the columns that key.fields names; NULL: it names none */
    const char *value_prefix; /* of the options of `format`: "value." where it is given as value.format, else "" */
};
enum weir_carrier_use {
    WEIR_CARRIER_SOURCE,
    WEIR_CARRIER_SPLITS,
    WEIR_CARRIER_SINK
}; /* SPLITS: the format may be missing */
weir_err weir_op_carrier_find(const struct weir_op_plan *plan, const struct weir_option *own, enum weir_carrier_use use,
                              struct weir_op_carrier *carrier, struct weir_error *error);
/* A decoder or encoder of `part` by its format, which is not NULL, with the options that are its own. */
enum weir_message_part { WEIR_PART_VALUE, WEIR_PART_KEY, WEIR_PART_METADATA };
weir_err weir_op_decoder_new(const struct weir_op_plan *plan, const struct weir_op_carrier *carrier,
                             enum weir_message_part part, struct weir_schema *schema, struct weir_decoder **decoder,
                             struct weir_error *error);
weir_err weir_op_encoder_new(const struct weir_op_plan *plan, const struct weir_op_carrier *carrier,
                             enum weir_message_part part, struct weir_schema *schema, struct weir_encoder **encoder,
                             struct weir_error *error);

/* Rows of the option tables of sources and sinks. Flink's names. Those that end with '.' stand behind the others that begin so. */
#define WEIR_MESSAGE_OPTIONS(values_how, keys_how) \
    {"key.fields", WEIR_OPTION_STRING, "", NULL, "The columns that make the message's key, separated by ';'"}, \
        {"key.format", WEIR_OPTION_STRING, "", NULL, keys_how "; raw where nothing is said"}, \
        {"key.fields-prefix", WEIR_OPTION_STRING, "", NULL, \
         "Their names begin so, for names that the value has too; in the key they are without it"}, \
        {"key.", WEIR_OPTION_STRING, "", NULL, \
         "key.FORMAT.NAME: option NAME of the key's format: key.avro-confluent.url"}, \
        {"value.format", WEIR_OPTION_STRING, "", NULL, values_how ", instead of 'format'"}, \
        {"value.fields-include", WEIR_OPTION_ENUM, "all", "all|except-key", \
         "Whether the key's columns are in the value, too"}, \
    { \
        "value.", WEIR_OPTION_STRING, "", NULL, \
            "value.FORMAT.NAME: with value.format, option NAME of that format: value.avro-confluent.url" \
    }

/* For the connector's reader or writer; `out` lives as long as that. */
void weir_op_connector_ctx(struct weir_connector_ctx *out, struct weir_op_ctx *ctx, struct weir_schema *schema);

/* --- Watermarks by an expression: the maximum over the rows so far. */
struct weir_watermarker {
    struct weir_expr *expr; /* NULL: none */
    struct weir_expr_scratch *scratch;
    int64_t max_ms;          /* WEIR_WATERMARK_MIN: none yet */
    int64_t idle_timeout_ms; /* 0: never idle */
    int64_t last_row_ms;     /* processing time */
    bool idle;
};
/* Only checks the text (plan). */
weir_err weir_watermarker_check(const char *text, const struct weir_schema *schema, struct weir_error *error);
/* Empty text: no expression. */
weir_err weir_watermarker_open(struct weir_watermarker *marker, const char *text, const struct weir_schema *schema,
                               int64_t idle_timeout_ms, int64_t now_ms, struct weir_error *error);
weir_err weir_watermarker_rows(struct weir_watermarker *marker, const struct weir_batch *batch, int64_t now_ms,
                               struct weir_error *error);
/* Nothing came: marks `out` idle when it is time to, and returns when to look again (INT64_MAX: no need). */
int64_t weir_watermarker_quiet(struct weir_watermarker *marker, struct weir_out *out, int64_t now_ms);
void weir_watermarker_close(struct weir_watermarker *marker);

#endif
