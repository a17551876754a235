/* kafka: what all writing needs: topics by name, partitioners, one message to librdkafka. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "connectors/kafka/kafka_int.h"

#define TOPICS_MAX (WEIR_KAFKA_TOPIC_SLOTS / 2)
#define BATCH_SIZE 1000000 /* librdkafka's batch.size */
/* What waits for brokers that stand still: bytes and messages, each of which costs librdkafka some 300 bytes more. 50 ms or more at full speed. */
#define QUEUE_BYTES ((int64_t)8 << 20)
#define QUEUE_MESSAGES "50000"
#define TRANSACTION_QUEUE_BYTES ((int64_t)32 << 20)
#define TRANSACTION_QUEUE_MESSAGES "100000"

bool weir_kafka_batches_fit(const struct weir_kafka_sizes *sizes)
{
    return sizes->topic_max == 0 || sizes->topic_max >= BATCH_SIZE;
}

weir_err weir_kafka_producer_new(const struct weir_key_value *options, int option_count, const char *transactional_id,
                                 const struct weir_kafka_sizes *sizes, void (*setup)(rd_kafka_conf_t *conf),
                                 void *take_owner, void (*free_owner)(void *owner), struct weir_kafka_client **client,
                                 struct weir_error *error)
{
    /* A message of a transaction has the time of that, not the one that the user gives to those without: librdkafka refuses a longer one. */
    static const char *const ours[] = {"message.timeout.ms", "delivery.timeout.ms", "transactional.id",
                                       "enable.idempotence", NULL};
    bool in_transactions = transactional_id != NULL, by_hash;
    by_hash = strcmp(weir_kafka_sink_get(options, option_count, "sink.partitioner"), "default") == 0;
    char batch_size[24], queue_kbytes[24], timeout[24];
    snprintf(timeout, sizeof timeout, "%d", WEIR_KAFKA_TRANSACTION_TIMEOUT_MS);
    snprintf(batch_size, sizeof batch_size, "%" PRId64,
             sizes && !weir_kafka_batches_fit(sizes) ? sizes->topic_max : BATCH_SIZE);
    /* The longest message has room. */
    const char *longest = weir_kafka_property(options, option_count, "message.max.bytes");
    int64_t queue = in_transactions ? TRANSACTION_QUEUE_BYTES : QUEUE_BYTES, wanted = longest ? 2 * atoll(longest) : 0;
    snprintf(queue_kbytes, sizeof queue_kbytes, "%" PRId64, (queue > wanted ? queue : wanted) / 1024);
    const char *defaults[][2] = {
        {"enable.idempotence", "true"},
        {"compression.codec", "lz4"},
        {"partitioner", "murmur2_random"},
        /* Messages without a key are kept together for so long, and no other partitioner is asked. */
        {"sticky.partitioning.linger.ms", by_hash ? "10" : "0"},
        {"batch.size", batch_size},
        {"queue.buffering.max.kbytes", queue_kbytes},
        {"queue.buffering.max.messages", in_transactions ? TRANSACTION_QUEUE_MESSAGES : QUEUE_MESSAGES},
        {"client.id", "weir"},
        {"linger.ms", in_transactions ? "2" : "1"}, /* batches grow by themselves while brokers are busy */
        {in_transactions ? "transactional.id" : NULL, transactional_id},
        {"transaction.timeout.ms", timeout},
        {NULL, NULL},
    };
    int left = option_count;
    struct weir_key_value *list =
        in_transactions ? weir_kafka_options_without(options, option_count, ours, &left) : NULL;
    weir_err err = weir_kafka_client_new(list ? list : options, left, RD_KAFKA_PRODUCER, defaults, setup, take_owner,
                                         free_owner, client, error);
    free(list);
    return err;
}

void weir_kafka_topics_init(struct weir_kafka_topics *topics, struct weir_kafka_client *client, const char *partitioner,
                            int subtask)
{
    memset(topics, 0, sizeof *topics);
    topics->client = client;
    client->counter = (uint32_t)subtask;
    topics->partitioner = strcmp(partitioner, "round-robin") == 0 ? WEIR_KAFKA_ROUND_ROBIN
                          : strcmp(partitioner, "fixed") == 0     ? WEIR_KAFKA_FIXED
                                                                  : WEIR_KAFKA_BY_KEY;
}

void weir_kafka_topics_fini(struct weir_kafka_topics *topics)
{
    for (int i = 0; i < WEIR_KAFKA_TOPIC_SLOTS; i++)
        if (topics->slots[i])
            rd_kafka_topic_destroy(topics->slots[i]);
}

/* `topic_opaque` counts, from the subtask's index on. */
static int32_t round_robin(const rd_kafka_topic_t *topic, const void *key, size_t key_size, int32_t count,
                           void *topic_opaque, void *message_opaque)
{
    uint32_t next = __atomic_fetch_add((uint32_t *)topic_opaque, 1, __ATOMIC_RELAXED);
    (void)key, (void)key_size, (void)message_opaque;
    for (uint32_t tries = 0; tries < (uint32_t)count; tries++) {
        int32_t partition = (int32_t)((next + tries) % (uint32_t)count);
        if (rd_kafka_topic_partition_available(topic, partition))
            return partition;
    }
    return (int32_t)(next % (uint32_t)count);
}

static int32_t fixed(const rd_kafka_topic_t *topic, const void *key, size_t key_size, int32_t count, void *topic_opaque,
                     void *message_opaque)
{
    (void)topic, (void)key, (void)key_size, (void)message_opaque;
    return (int32_t)(*(const uint32_t *)topic_opaque % (uint32_t)count);
}

static rd_kafka_topic_t *new_topic(struct weir_kafka_topics *topics, const char *name)
{
    rd_kafka_topic_conf_t *conf = NULL;
    if (topics->partitioner != WEIR_KAFKA_BY_KEY) {
        conf = rd_kafka_default_topic_conf_dup(topics->client->rk);
        rd_kafka_topic_conf_set_opaque(conf, &topics->client->counter);
        rd_kafka_topic_conf_set_partitioner_cb(conf,
                                               topics->partitioner == WEIR_KAFKA_ROUND_ROBIN ? round_robin : fixed);
    }
    return rd_kafka_topic_new(topics->client->rk, name, conf);
}

static uint32_t hash(const char *bytes, size_t size)
{
    uint32_t hash = 2166136261U; /* FNV-1a */
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (uint8_t)bytes[i]) * 16777619U;
    return hash;
}

weir_err weir_kafka_topics_find(struct weir_kafka_topics *topics, const char *name, size_t size,
                                rd_kafka_topic_t **topic, struct weir_error *error)
{
    uint32_t slot = (uint32_t)hash(name, size) % WEIR_KAFKA_TOPIC_SLOTS;
    for (; topics->slots[slot]; slot = (slot + 1) % WEIR_KAFKA_TOPIC_SLOTS) {
        const char *have = rd_kafka_topic_name(topics->slots[slot]);
        if (strncmp(have, name, size) == 0 && !have[size]) {
            *topic = topics->slots[slot];
            return WEIR_OK;
        }
    }
    if (size == 0 || size > 249)
        return weir_fail(error, WEIR_ERR_DATA, "'%.*s' is no name of a topic", (int)(size > 300 ? 300 : size), name);
    if (topics->count == TOPICS_MAX)
        return weir_fail(error, WEIR_ERR_FULL, "connector 'kafka': a sink writes to at most %d topics", TOPICS_MAX);
    char *text = weir_strndup(name, size);
    topics->slots[slot] = new_topic(topics, text);
    *topic = topics->slots[slot];
    free(text);
    if (!*topic)
        return weir_kafka_fail(topics->client, WEIR_ERR_DATA, rd_kafka_last_error(), "cannot write to a topic", error);
    topics->count++;
    return WEIR_OK;
}

rd_kafka_resp_err_t weir_kafka_produce(rd_kafka_t *rk, rd_kafka_topic_t *topic, const struct weir_message_out *m,
                                       int flags, void *opaque)
{
    rd_kafka_headers_t *headers = m->header_count > 0 ? rd_kafka_headers_new((size_t)m->header_count) : NULL;
    for (int i = 0; i < m->header_count; i++)
        rd_kafka_header_add(headers, m->headers[i].name, -1, m->headers[i].value, (ssize_t)m->headers[i].value_size);
    rd_kafka_vu_t args[8] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = topic},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = m->partition < 0 ? RD_KAFKA_PARTITION_UA : m->partition},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)(uintptr_t)m->value, m->value_size}},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {(void *)(uintptr_t)m->key, m->key_size}},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = flags},
        {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = m->timestamp_ms == INT64_MIN ? 0 : m->timestamp_ms},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = opaque},
    };
    size_t count = 7;
    if (headers)
        args[count++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers};
    rd_kafka_error_t *failed = rd_kafka_produceva(rk, args, count);
    if (!failed)
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    rd_kafka_resp_err_t reason = rd_kafka_error_code(failed);
    rd_kafka_error_destroy(failed);
    if (headers)
        rd_kafka_headers_destroy(headers);
    return reason;
}
