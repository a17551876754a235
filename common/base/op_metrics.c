#include "base/op_metrics.h"

#include <stddef.h>

#define OPERATOR "flink_taskmanager_job_task_operator_"

/* By why they are bad: the name of dead letters' column `code`. */
#define BAD(name) \
    { \
        "numRecordsBad." name, "weir_operator_num_records_bad_by_code_total", OPERATOR "code_numRecordsBad", \
            .code = (name), .counts = true, .help = "Records that could not be used, by why." \
    }

const struct weir_op_metric_kind weir_op_metric_kinds[WEIR_OP_METRICS] = {
    [WEIR_OP_PENDING_RECORDS] = {"pendingRecords", "weir_operator_pending_records", OPERATOR "pendingRecords",
                                 .adds = true, .help = "Records that the source has not read yet."},
    [WEIR_OP_RECORDS_LAG_MAX] = {"records-lag-max", "weir_operator_records_lag_max",
                                 OPERATOR "KafkaSourceReader_KafkaConsumer_records_lag_max",
                                 .help = "Records not read yet, of the partition with most of them."},
    [WEIR_OP_RECORDS_CONSUMED] = {"records-consumed-total", "weir_operator_records_consumed_total",
                                  OPERATOR "KafkaSourceReader_KafkaConsumer_records_consumed_total", .counts = true,
                                  .help = "Records that were read, bad ones too."},
    [WEIR_OP_BYTES_CONSUMED] = {"bytes-consumed-total", "weir_operator_bytes_consumed_total",
                                OPERATOR "KafkaSourceReader_KafkaConsumer_bytes_consumed_total", .counts = true,
                                .help = "Bytes of their keys and values."},
    [WEIR_OP_FETCH_LATENCY] = {"fetch-latency-avg", "weir_operator_fetch_latency_ms",
                               OPERATOR "KafkaSourceReader_KafkaConsumer_fetch_latency_avg",
                               .help = "Time until a broker answered a fetch, with what it waited for data; the last "
                                       "second's mean."},
    [WEIR_OP_FETCH_EVENT_TIME_LAG] = {"currentFetchEventTimeLag", "weir_operator_fetch_event_time_lag_ms",
                                      OPERATOR "currentFetchEventTimeLag",
                                      .help = "From a record's timestamp until it was fetched."},
    [WEIR_OP_EMIT_EVENT_TIME_LAG] = {"currentEmitEventTimeLag", "weir_operator_emit_event_time_lag_ms",
                                     OPERATOR "currentEmitEventTimeLag",
                                     .help = "From a record's timestamp until it went out as a row."},
    [WEIR_OP_WATERMARK_LAG] = {"watermarkLag", "weir_operator_watermark_lag_ms", OPERATOR "watermarkLag",
                               .is_age = true, .help = "How far the watermark is behind the clock."},
    [WEIR_OP_SOURCE_IDLE_TIME] = {"sourceIdleTime", "weir_operator_source_idle_time_ms", OPERATOR "sourceIdleTime",
                                  .is_age = true, .help = "Time since the source's last record."},
    [WEIR_OP_COMMITS_SUCCEEDED] = {"commitsSucceeded", "weir_operator_commits_succeeded_total",
                                   OPERATOR "KafkaSourceReader_commitsSucceeded", .counts = true,
                                   .help = "Commits of offsets to the consumer group."},
    [WEIR_OP_COMMITS_FAILED] = {"commitsFailed", "weir_operator_commits_failed_total",
                                OPERATOR "KafkaSourceReader_commitsFailed", .counts = true,
                                .help = "Commits of offsets that failed; checkpoints have them all the same."},
    [WEIR_OP_RECORDS_SEND] = {"numRecordsSend", "weir_operator_num_records_send_total", OPERATOR "numRecordsSend",
                              .counts = true, .help = "Records given to the brokers."},
    [WEIR_OP_BYTES_SEND] = {"numBytesSend", "weir_operator_num_bytes_send_total", OPERATOR "numBytesSend",
                            .counts = true, .help = "Bytes of their keys and values."},
    [WEIR_OP_RECORDS_SEND_ERRORS] = {"numRecordsSendErrors", "weir_operator_num_records_send_errors_total",
                                     OPERATOR "numRecordsSendErrors", .counts = true,
                                     .help = "Records that were not delivered."},
    [WEIR_OP_SEND_TIME] = {"currentSendTime", "weir_operator_current_send_time_ms", OPERATOR "currentSendTime",
                           .help = "Time until a broker had taken the last records."},
    [WEIR_OP_TRANSACTIONS_COMMITTED] = {"transactionsCommitted", "weir_operator_transactions_committed_total", NULL,
                                        .counts = true, .help = "Transactions that were committed."},
    [WEIR_OP_TRANSACTIONS_ABORTED] = {"transactionsAborted", "weir_operator_transactions_aborted_total", NULL,
                                      .counts = true,
                                      .help = "Transactions that were begun and not committed, and then tried anew."},
    [WEIR_OP_TRANSACTION_TIME] = {"currentTransactionTime", "weir_operator_current_transaction_time_ms", NULL,
                                  .help = "How long the last transaction was open."},
    [WEIR_OP_WATERMARK_ALIGNMENT_DRIFT] = {"watermarkAlignmentDrift", "weir_operator_watermark_alignment_drift_ms",
                                           OPERATOR "watermarkAlignmentDrift",
                                           .help =
                                               "How far what it reads is ahead of the slowest of its alignment group."},
    [WEIR_OP_BAD_OTHER] = BAD("OTHER"),
    [WEIR_OP_BAD_MALFORMED] = BAD("MALFORMED"),
    [WEIR_OP_BAD_VALUE] = BAD("INVALID_VALUE"),
    [WEIR_OP_BAD_SCHEMA] = BAD("SCHEMA"),
    [WEIR_OP_BAD_METADATA] = BAD("METADATA"),
    [WEIR_OP_BAD_TOO_LARGE] = BAD("TOO_LARGE"),
    [WEIR_OP_RECORDS_BAD_RATE] = {"numRecordsBadPerSecond", "weir_operator_num_records_bad_per_second",
                                  OPERATOR "numRecordsBadPerSecond", .adds = true, .is_rate = true,
                                  .help = "Records a second that could not be used, the last minute's mean."},
};

int64_t weir_op_metric_merge(enum weir_op_metric metric, int64_t a, int64_t b)
{
    const struct weir_op_metric_kind *kind = &weir_op_metric_kinds[metric];
    if (a == WEIR_OP_METRIC_NONE || b == WEIR_OP_METRIC_NONE)
        return a == WEIR_OP_METRIC_NONE ? b : a;
    return kind->counts || kind->adds ? a + b : a > b ? a : b;
}
