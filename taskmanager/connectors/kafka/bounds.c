/* kafka: how much librdkafka may hold for a reader, by scan.fetch-memory.
 *
 * What it holds: its queue, which is one for all partitions of a handle, and whose bounds are looked at before more is asked for; then an answer of a broker
 * (one at a time of each), as it came and unpacked: up to 255 times as long with lz4, and in its queue whatever the bounds are. So an answer is asked for in
 * small pieces. A batch is never cut, and an answer has one at least.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "connectors/kafka/kafka_int.h"

#define MESSAGE_COST 512 /* bytes, of a small message in the queue */
/* 205 KiB by default: where a batch of 1 MB is unpacked into 1.75 times as much until it fits, that takes 1.1. */
#define ANSWER_SHARE 40
#define ANSWER_MAX ((int64_t)50 << 20)     /* librdkafka's own default */
#define MESSAGE_MIN ((int64_t)1000)        /* what librdkafka takes for message.max.bytes */
#define MESSAGE_DEFAULT ((int64_t)1000000) /* its own default */
/* The first librdkafka that has fetch.queue.backoff.ms. Older ones look at a full queue once a second: all that they fetch is a queue a second, and theirs is
 * large. */
#define BACKOFF_VERSION 0x020200ff
#define OLD_MEMORY ((int64_t)32 << 20)
#define OLD_ANSWER ((int64_t)16 << 20)

static int64_t property(const struct weir_key_value *options, int option_count, const char *name)
{
    const char *value = weir_kafka_property(options, option_count, name);
    return value ? atoll(value) : 0;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

void weir_kafka_bounds_init(struct weir_kafka_bounds *bounds, const struct weir_key_value *options, int option_count,
                            int rdkafka_version)
{
    int64_t memory = weir_options_get_int(options, option_count, weir_kafka_source_options, "scan.fetch-memory");
    bool looks_soon = rdkafka_version >= BACKOFF_VERSION;
    if (!looks_soon)
        memory = most(memory, OLD_MEMORY);
    int64_t answer = least(looks_soon ? memory / ANSWER_SHARE : OLD_ANSWER, ANSWER_MAX);
    /* librdkafka wants the longest message to be at most an answer; of a consumer's messages it says nothing else. */
    int64_t longest = property(options, option_count, "message.max.bytes");
    int64_t asked = property(options, option_count, "fetch.max.bytes");
    answer = most(answer, longest);
    longest = most(least(MESSAGE_DEFAULT, asked > 0 ? asked : answer), MESSAGE_MIN);
    snprintf(bounds->queue_kbytes, sizeof bounds->queue_kbytes, "%" PRId64, memory / 2 / 1024);
    snprintf(bounds->queue_count, sizeof bounds->queue_count, "%" PRId64, least(memory / MESSAGE_COST, 10000000));
    snprintf(bounds->answer_bytes, sizeof bounds->answer_bytes, "%" PRId64, answer);
    snprintf(bounds->message_bytes, sizeof bounds->message_bytes, "%" PRId64, longest);
    bounds->backoff_ms = looks_soon ? "5" : NULL;
}
