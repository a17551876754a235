/* A topic into another, exactly once; on the way each record is given its number within its key, from keyed state: the job of
 * tests/torture/kafka_torture.py. Transactions are short-lived on purpose. */
#include <weir/weir.h>

struct record {
    struct weir_str k;
    int64_t id;
};
WEIR_ROW(record, WEIR_FIELD(k, "STRING NOT NULL"), WEIR_FIELD(id, "BIGINT NOT NULL"));
struct numbered {
    struct weir_str k;
    int64_t id;
    int64_t n;
};
WEIR_ROW(numbered, WEIR_FIELD(k, "STRING NOT NULL"), WEIR_FIELD(id, "BIGINT NOT NULL"),
         WEIR_FIELD(n, "BIGINT NOT NULL"));
WEIR_VALUE_STATE(count_of, "BIGINT");

static int number(struct weir_ctx *ctx, const struct record *in, struct weir_out_rows *out)
{
    const int64_t *before = weir_value_get(ctx, &count_of);
    int64_t n = before ? *before + 1 : 1;
    struct numbered row = {in->k, in->id, n};
    if (weir_value_put(ctx, &count_of, &n) != 0)
        return -1;
    return weir_emit(out, &row);
}

WEIR_JOB(kafka_count)
{
    const char *brokers = weir_arg(job, "brokers", NULL);
    struct weir_stream *records =
        weir_source(job, "kafka", "topic", weir_arg(job, "topic", NULL), "properties.bootstrap.servers", brokers,
                    "format", "json", "metadata.k", "key", NULL);
    records = weir_uid(weir_columns(records, "k STRING NOT NULL, id BIGINT NOT NULL"), "records");
    struct weir_stream *numbered =
        weir_process(weir_key_by(records, "k"), .name = "numbered", WEIR_ON_ROW(record, numbered, number));
    weir_uid(weir_sink(weir_uid(numbered, "numbered"), "kafka", "topic", weir_arg(job, "to", NULL),
                       "properties.bootstrap.servers", brokers, "format", "json", "delivery-guarantee", "exactly-once",
                       "properties.transaction.timeout.ms", weir_arg(job, "transaction-timeout", "60000"),
                       "sink.transaction", weir_arg(job, "transaction", "commit"), "metadata.k", "key", NULL),
             "out");
}
