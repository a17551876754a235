/* Numbers that some operators have beside the counters that all have: what a source or sink knows of its broker. One table for who counts (the
 * operators), who carries (heartbeats) and who shows them (REST, Prometheus, `weir metrics`). */
#ifndef WEIR_BASE_OP_METRICS_H
#define WEIR_BASE_OP_METRICS_H

#include <stdbool.h>
#include <stdint.h>

/* Part of control.proto: never renumber. */
enum weir_op_metric {
    WEIR_OP_PENDING_RECORDS = 0,
    WEIR_OP_RECORDS_LAG_MAX = 1,
    WEIR_OP_RECORDS_CONSUMED = 2,
    WEIR_OP_BYTES_CONSUMED = 3,
    WEIR_OP_FETCH_LATENCY = 4,
    WEIR_OP_FETCH_EVENT_TIME_LAG = 5,
    WEIR_OP_EMIT_EVENT_TIME_LAG = 6,
    WEIR_OP_WATERMARK_LAG = 7,
    WEIR_OP_SOURCE_IDLE_TIME = 8,
    WEIR_OP_COMMITS_SUCCEEDED = 9,
    WEIR_OP_COMMITS_FAILED = 10,
    WEIR_OP_RECORDS_SEND = 11,
    WEIR_OP_BYTES_SEND = 12,
    WEIR_OP_RECORDS_SEND_ERRORS = 13,
    WEIR_OP_SEND_TIME = 14,
    WEIR_OP_TRANSACTIONS_COMMITTED = 15,
    WEIR_OP_TRANSACTIONS_ABORTED = 16,
    WEIR_OP_TRANSACTION_TIME = 17,
    WEIR_OP_WATERMARK_ALIGNMENT_DRIFT = 18,
    WEIR_OP_BAD_OTHER = 19, /* this and the following five: as enum weir_bad_reason */
    WEIR_OP_BAD_MALFORMED = 20,
    WEIR_OP_BAD_VALUE = 21,
    WEIR_OP_BAD_SCHEMA = 22,
    WEIR_OP_BAD_METADATA = 23,
    WEIR_OP_BAD_TOO_LARGE = 24,
    WEIR_OP_RECORDS_BAD_RATE = 25,
    WEIR_OP_METRICS
};
#define WEIR_OP_METRIC_NONE INT64_MIN /* the operator has no such number, or not yet */

struct weir_op_metric_kind {
    const char *name;     /* as Flink has it where it has one; in REST and `weir metrics -o json` */
    const char *exported; /* to Prometheus */
    const char *flink;    /* the same under Flink's name; NULL: it has none */
    const char
        *code;    /* the label "code" of one of several that have a name together and follow each other; NULL: none */
    bool counts;  /* it only rises; of subtasks the sum is meant */
    bool adds;    /* a gauge of which the sum is meant; else the largest */
    bool is_age;  /* what is kept is a time (ms since 1970), what is shown how long ago that is */
    bool is_rate; /* what is kept are thousandths */
    const char *help;
};
extern const struct weir_op_metric_kind weir_op_metric_kinds[WEIR_OP_METRICS];

/* Of two subtasks' values what stands for both. */
int64_t weir_op_metric_merge(enum weir_op_metric metric, int64_t a, int64_t b);

#endif
