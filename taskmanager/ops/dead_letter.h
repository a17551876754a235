/* Dead letters: records that could not be used, as rows. One schema, whatever the source and whatever the reason; docs/dead-letters.md has
 * its columns. The source's second side output carries them, and a sink writes them where "dead-letter.path" or "dead-letter.topic" says.
 */
#ifndef WEIR_TASKMANAGER_OPS_DEAD_LETTER_H
#define WEIR_TASKMANAGER_OPS_DEAD_LETTER_H

#include "ops/ops_int.h"

struct weir_dead_letter { /* what is borrowed lives as long as the call */
    const uint8_t *value; /* the record */
    size_t value_size;    /* of what is in hand */
    int64_t full_size;    /* of the record; -1: longer than what is in hand, nobody knows how much */
    const char *position; /* where it is from, for people */
    const uint8_t *key;   /* this and the four below are a message's; NULL: none */
    size_t key_size;
    const struct weir_message_header *headers; /* `header_count` of them; -1: it is no message */
    int header_count;
    const char *topic; /* NULL: it is no message */
    int32_t partition;
    int64_t offset;       /* in the partition, or in the file in bytes */
    int64_t timestamp_ms; /* INT64_MIN: none */
    const char *path;     /* of the file; NULL: none */
};

/* The row's columns, in this order. */
enum weir_dead_column {
    WEIR_DEAD_RECORD,
    WEIR_DEAD_ERROR,
    WEIR_DEAD_POSITION,
    WEIR_DEAD_CODE,
    WEIR_DEAD_VALUE,
    WEIR_DEAD_VALUE_SIZE,
    WEIR_DEAD_KEY,
    WEIR_DEAD_HEADERS,
    WEIR_DEAD_TOPIC,
    WEIR_DEAD_PARTITION,
    WEIR_DEAD_OFFSET,
    WEIR_DEAD_TIMESTAMP,
    WEIR_DEAD_PATH,
    WEIR_DEAD_FAILED_AT,
    WEIR_DEAD_JOB_ID,
    WEIR_DEAD_JOB_NAME,
    WEIR_DEAD_OPERATOR_ID,
    WEIR_DEAD_OPERATOR_NAME,
    WEIR_DEAD_COLUMNS
};

struct weir_schema *weir_dead_letter_schema(void); /* a new reference */
/* Appends a row; ctx->error says why. Of a record with more than `size_max` bytes the first WEIR_DEAD_CUT_SIZE are kept. */
void weir_dead_letter_put(struct weir_batch *batch, struct weir_op_ctx *ctx, const struct weir_dead_letter *letter,
                          size_t size_max);
#define WEIR_DEAD_CUT_SIZE ((size_t)4096)

/* --- As a message: value and key as they were, and headers: the message's own, then "weir.*", which say what the other columns do. */

#define WEIR_DEAD_HEADERS_MAX 15
struct weir_dead_headers {
    struct weir_message_header list[WEIR_DEAD_HEADERS_MAX];
    int count;
    char numbers[WEIR_DEAD_HEADERS_MAX][24]; /* the values of some */
};
/* The "weir.*" headers of row `row`; they point into the batch and into themselves. */
void weir_dead_letter_headers(const struct weir_batch *batch, int row, struct weir_dead_headers *headers);

/* Bytes as UTF-8: what is not is written as \xNN. */
void weir_dead_letter_text(struct weir_buf *out, const uint8_t *bytes, size_t size);

#endif
