/* Kafka as the benches use it, by librdkafka alone.
 * usage: kafka_bench fill BROKERS TOPIC ROWS    readings of 200 bytes in JSON, lz4, over the topic's partitions in turn; 10 k devices, 50 k readings a second of
 *                                               event time. Row i is a function of i
 *        kafka_bench loop BROKERS TOPIC         what a bare loop needs to read the topic to its end: the batch consumer and simdjson over the four members that the job
 *                                               reads. Prints "ROWS CPU-SECONDS WALL-SECONDS" */
#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "simdjson_walk.h"

#define DEVICES 10000
#define ROWS_PER_S 50000
#define MESSAGE_SIZE 200
#define CHUNK ((size_t)1 << 20)
#define BATCH 2000

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void die(const char *what, const char *why)
{
    fprintf(stderr, "kafka_bench: %s: %s\n", what, why);
    exit(1);
}

static rd_kafka_t *client(rd_kafka_type_t type, const char *brokers, const char *const *options)
{
    char error[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (rd_kafka_conf_set(conf, "bootstrap.servers", brokers, error, sizeof error) != RD_KAFKA_CONF_OK)
        die("bootstrap.servers", error);
    for (; *options; options += 2)
        if (rd_kafka_conf_set(conf, options[0], options[1], error, sizeof error) != RD_KAFKA_CONF_OK)
            die(options[0], error);
    rd_kafka_t *kafka = rd_kafka_new(type, conf, error, sizeof error);
    if (!kafka)
        die("client", error);
    return kafka;
}

static uint64_t mixed(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static int partitions_of(rd_kafka_t *kafka, const char *topic)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(kafka, topic, NULL);
    rd_kafka_resp_err_t err = rd_kafka_metadata(kafka, 0, handle, &metadata, 30000);
    if (err)
        die(topic, rd_kafka_err2str(err));
    int count = metadata->topics[0].partition_cnt;
    rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(handle);
    return count;
}

static int fill(const char *brokers, const char *topic, int64_t rows)
{
    const char *options[] = {"compression.type", "lz4", "linger.ms", "50", "queue.buffering.max.messages",
                             "200000",           NULL};
    rd_kafka_t *kafka = client(RD_KAFKA_PRODUCER, brokers, options);
    rd_kafka_topic_t *handle = rd_kafka_topic_new(kafka, topic, NULL);
    int partitions = partitions_of(kafka, topic);
    for (int64_t i = 0; i < rows; i++) {
        char line[MESSAGE_SIZE + 64], time_text[32];
        uint64_t random = mixed((uint64_t)i + 1);
        int64_t ms = i / (ROWS_PER_S / 1000);
        time_t at = 1700000000 + ms / 1000;
        struct tm tm;
        strftime(time_text, sizeof time_text, "%Y-%m-%dT%H:%M:%S", gmtime_r(&at, &tm));
        int size = snprintf(
            line, sizeof line,
            "{\"device_id\":\"sensor-%05d\",\"temperature\":%d.%02d,\"is_abnormal\":%s,\"timestamp\":\"%s.%03dZ\","
            "\"site\":\"plant-%02d\",\"firmware\":\"4.%d.%d\",\"note\":\"",
            (int)(random % DEVICES), (int)(random >> 20 & 63) + 20, (int)(random >> 26 & 63),
            random >> 40 & 31 ? "false" : "true", time_text, (int)(ms % 1000), (int)(random >> 32 & 31),
            (int)(random >> 45 & 7), (int)(random >> 48 & 63));
        while (size < MESSAGE_SIZE - 2)
            line[size] = (char)('a' + (int)(mixed(random + (uint64_t)size) % 26)), size++;
        memcpy(line + size, "\"}", 2);
        while (rd_kafka_produce(handle, (int32_t)(i % partitions), RD_KAFKA_MSG_F_COPY, line, (size_t)size + 2, NULL, 0,
                                NULL) != 0) {
            if (errno != ENOBUFS)
                die("produce", rd_kafka_err2str(rd_kafka_last_error()));
            rd_kafka_poll(kafka, 10);
        }
        if (i % 1000 == 0)
            rd_kafka_poll(kafka, 0);
    }
    if (rd_kafka_flush(kafka, 120000))
        die("flush", "not all is written within two minutes");
    rd_kafka_topic_destroy(handle);
    rd_kafka_destroy(kafka);
    return 0;
}

static void walk(uint8_t *bytes, size_t *size, int64_t *rows)
{
    struct walk_sums sums;
    memset(bytes + *size, ' ', 64);
    if (*size && simdjson_walk_lines(bytes, *size, 1, &sums) != 0)
        die("simdjson", "a message is no reading");
    *rows += *size ? (int64_t)sums.records : 0;
    *size = 0;
}

static int loop(const char *brokers, const char *topic)
{
    static uint8_t bytes[CHUNK + 64];
    static rd_kafka_message_t *messages[BATCH];
    const char *options[] = {"group.id", "kafka-bench",     "enable.auto.commit", "false", "enable.partition.eof",
                             "true",     "isolation.level", "read_committed",     NULL};
    rd_kafka_t *kafka = client(RD_KAFKA_CONSUMER, brokers, options);
    rd_kafka_topic_t *handle = rd_kafka_topic_new(kafka, topic, NULL);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(kafka);
    int open = partitions_of(kafka, topic);
    double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID), wall = seconds(CLOCK_MONOTONIC);
    for (int p = 0; p < open; p++)
        if (rd_kafka_consume_start_queue(handle, p, RD_KAFKA_OFFSET_BEGINNING, queue) != 0)
            die(topic, rd_kafka_err2str(rd_kafka_last_error()));
    int64_t rows = 0;
    size_t size = 0;
    while (open > 0) {
        ssize_t got = rd_kafka_consume_batch_queue(queue, 1000, messages, BATCH);
        for (ssize_t i = 0; i < got; i++) {
            rd_kafka_message_t *message = messages[i];
            if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
                open--;
            else if (message->err)
                die("consume", rd_kafka_message_errstr(message));
            else {
                if (size + message->len + 1 > CHUNK)
                    walk(bytes, &size, &rows);
                memcpy(bytes + size, message->payload, message->len);
                size += message->len;
                bytes[size++] = '\n';
            }
            rd_kafka_message_destroy(message);
        }
    }
    walk(bytes, &size, &rows);
    printf("%lld %.3f %.3f\n", (long long)rows, seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu,
           seconds(CLOCK_MONOTONIC) - wall);
    return 0; /* the process ends: no need to wait for librdkafka's threads */
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "fill") == 0)
        return fill(argv[2], argv[3], atoll(argv[4]));
    if (argc == 4 && strcmp(argv[1], "loop") == 0)
        return loop(argv[2], argv[3]);
    fprintf(stderr, "usage: kafka_bench fill BROKERS TOPIC ROWS | loop BROKERS TOPIC\n");
    return 2;
}
