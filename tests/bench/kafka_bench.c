/* Kafka as the benches use it, by librdkafka alone.
 * usage: kafka_bench fill BROKERS TOPIC ROWS    readings of 200 bytes in JSON, lz4, over the topic's partitions in turn; 10 k devices, 50 k readings a second of
 *                                               event time. Row i is a function of i
 *        kafka_bench texts BROKERS TOPIC MB SHORTEST LONGEST VARIETY
 *                                               fill it with MB million bytes of texts, SHORTEST to LONGEST bytes each, lz4: of phrases of which there are VARIETY (512:
 *                                               a third of the bytes is left when they are packed; 1: a hundredth). Prints "ROWS"
 *        kafka_bench loop BROKERS TOPIC         what a bare loop needs to read the topic to its end: the batch consumer and simdjson over the four members that the job
 *                                               reads. Prints "ROWS CPU-SECONDS WALL-SECONDS"
 *        kafka_bench latency BROKERS FROM TO RATE WARM-S SECONDS ISOLATION
 *                                               how long messages of 200 bytes in JSON, lz4, are on their way from one topic to the other: a row each 1/RATE s, whatever
 *                                               became of those before it (a row that this program is late with counts from when it was due). Those of the first WARM-S
 *                                               seconds are not counted. Prints "rows N lost N doubled N p50 MS p99 MS p99.9 MS most MS" */
#include <errno.h>
#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
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

/* A phrase of 24 bytes, one of `variety`, which are as random as text is. */
static void write_phrase(char *to, uint64_t which)
{
    for (int i = 0; i < 24; i++)
        to[i] = i % 6 == 5 ? ' ' : (char)('a' + (int)(mixed(which * 24 + (uint64_t)i) % 26));
}

static int texts(const char *brokers, const char *topic, int64_t size_mb, uint64_t shortest, uint64_t longest,
                 uint64_t variety)
{
    static char phrases[1 << 16][24], line[1 << 20];
    const char *options[] = {"compression.type", "lz4", "linger.ms", "50", "queue.buffering.max.messages",
                             "200000",           NULL};
    if (variety < 1 || variety > 1 << 16 || shortest < 24 || longest < shortest || longest + 24 > sizeof line)
        die("texts", "of 24 to 1,000,000 bytes, 1 to 65536 phrases");
    for (uint64_t i = 0; i < variety; i++)
        write_phrase(phrases[i], i);
    rd_kafka_t *kafka = client(RD_KAFKA_PRODUCER, brokers, options);
    rd_kafka_topic_t *handle = rd_kafka_topic_new(kafka, topic, NULL);
    int partitions = partitions_of(kafka, topic);
    int64_t rows = 0;
    for (int64_t written = 0; written < size_mb * 1000000; rows++) {
        uint64_t random = mixed((uint64_t)rows + 1), size = shortest + random % (longest - shortest + 1);
        for (uint64_t at = 0; at < size; at += 24)
            memcpy(line + at, phrases[(random = mixed(random)) % variety], 24);
        while (rd_kafka_produce(handle, (int32_t)(rows % partitions), RD_KAFKA_MSG_F_COPY, line, size, NULL, 0, NULL) !=
               0) {
            if (errno != ENOBUFS)
                die("produce", rd_kafka_err2str(rd_kafka_last_error()));
            rd_kafka_poll(kafka, 10);
        }
        if (rows % 1000 == 0)
            rd_kafka_poll(kafka, 0);
        written += (int64_t)size;
    }
    if (rd_kafka_flush(kafka, 120000))
        die("flush", "not all is written within two minutes");
    printf("%" PRId64 "\n", rows);
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

/* --- Latency */

#define GIVE_UP_NS (60 * INT64_C(1000000000)) /* after the last row was written */

struct stream {
    const char *brokers, *from, *to, *isolation;
    int64_t rate, warm, rows; /* `rows`: those of the warm-up, too */
    int64_t start_ns;
    _Atomic int64_t written_ns; /* 0: not all are */
};

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void sleep_until(int64_t ns)
{
    struct timespec until = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

/* Row `id` has its number and when it is due first. */
static void write_row(rd_kafka_topic_t *topic, int64_t id, int64_t due_ns)
{
    char line[MESSAGE_SIZE + 1];
    uint64_t random = mixed((uint64_t)id + 1);
    int size = snprintf(line, sizeof line,
                        "{\"id\":%" PRId64 ",\"due\":%" PRId64
                        ",\"device_id\":\"sensor-%05d\",\"temperature\":%d.%02d,\"note\":\"",
                        id, due_ns, (int)(random % DEVICES), (int)(random >> 20 & 63) + 20, (int)(random >> 26 & 63));
    while (size < MESSAGE_SIZE - 2)
        line[size] = (char)('a' + (int)(mixed(random + (uint64_t)size) % 26)), size++;
    memcpy(line + size, "\"}", 2);
    if (rd_kafka_produce(topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, line, MESSAGE_SIZE, NULL, 0, NULL) != 0)
        die("produce", rd_kafka_err2str(rd_kafka_last_error()));
}

static void *write_stream(void *arg)
{
    struct stream *stream = arg;
    const char *options[] = {"compression.type",   "lz4",  "linger.ms", "1", "queue.buffering.max.messages", "2000000",
                             "batch.num.messages", "1000", NULL};
    rd_kafka_t *kafka = client(RD_KAFKA_PRODUCER, stream->brokers, options);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(kafka, stream->from, NULL);
    partitions_of(kafka, stream->from);
    sleep_until(stream->start_ns);
    for (int64_t id = 0; id < stream->rows;) {
        int64_t now = now_ns(), due;
        while (id < stream->rows && (due = stream->start_ns + id * 1000000000 / stream->rate) <= now)
            write_row(topic, id++, due);
        rd_kafka_poll(kafka, 0);
        sleep_until(now + 1000000);
    }
    if (rd_kafka_flush(kafka, 60000))
        die("flush", "not all is written within a minute");
    stream->written_ns = now_ns();
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void print_delays(const struct stream *stream, int64_t *delays, int64_t doubled)
{
    int64_t count = 0, wanted = stream->rows - stream->warm;
    for (int64_t id = stream->warm; id < stream->rows; id++)
        if (delays[id])
            delays[count++] = delays[id];
    qsort(delays, (size_t)count, sizeof *delays, by_size);
    if (count == 0)
        die(stream->to, "no row of those to be counted has come");
    printf("rows %" PRId64 " lost %" PRId64 " doubled %" PRId64 " p50 %.2f p99 %.2f p99.9 %.2f most %.2f\n", count,
           wanted - count, doubled, (double)delays[count / 2] / 1e6, (double)delays[count * 99 / 100] / 1e6,
           (double)delays[count * 999 / 1000] / 1e6, (double)delays[count - 1] / 1e6);
}

static int64_t number_behind(const rd_kafka_message_t *message, const char *name)
{
    const char *at = memmem(message->payload, message->len, name, strlen(name));
    if (!at)
        die(name, "a message without it");
    return strtoll(at + strlen(name), NULL, 10); /* the note is behind it */
}

static int latency(struct stream *stream)
{
    static rd_kafka_message_t *messages[BATCH];
    const char *options[] = {"group.id",        "kafka-bench", "enable.auto.commit", "false", "isolation.level",
                             stream->isolation, NULL};
    int64_t *delays = calloc((size_t)stream->rows, sizeof *delays), left = stream->rows, doubled = 0;
    rd_kafka_t *kafka = client(RD_KAFKA_CONSUMER, stream->brokers, options);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(kafka, stream->to, NULL);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(kafka);
    for (int p = partitions_of(kafka, stream->to); p-- > 0;)
        if (rd_kafka_consume_start_queue(topic, p, RD_KAFKA_OFFSET_BEGINNING, queue) != 0)
            die(stream->to, rd_kafka_err2str(rd_kafka_last_error()));
    stream->start_ns = now_ns() + 500000000;
    pthread_t writer;
    if (!delays || pthread_create(&writer, NULL, write_stream, stream) != 0)
        die("latency", "no thread or no memory");
    while (left > 0 && (!stream->written_ns || now_ns() < stream->written_ns + GIVE_UP_NS)) {
        /* One, then all that are there: a batch is waited for until it is full. */
        rd_kafka_message_t *first = rd_kafka_consume_queue(queue, 100);
        ssize_t got = first ? rd_kafka_consume_batch_queue(queue, 0, messages + 1, BATCH - 1) + 1 : 0;
        int64_t now = now_ns();
        messages[0] = first;
        for (ssize_t i = 0; i < got; i++) {
            if (messages[i]->err)
                die("consume", rd_kafka_message_errstr(messages[i]));
            int64_t id = number_behind(messages[i], "\"id\":");
            if (id < 0 || id >= stream->rows)
                die("consume", "a row that was never written");
            doubled += delays[id] != 0;
            left -= delays[id] == 0;
            if (!delays[id])
                delays[id] = now - number_behind(messages[i], "\"due\":");
            rd_kafka_message_destroy(messages[i]);
        }
    }
    print_delays(stream, delays, doubled);
    return 0; /* the process ends */
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "fill") == 0)
        return fill(argv[2], argv[3], atoll(argv[4]));
    if (argc == 8 && strcmp(argv[1], "texts") == 0)
        return texts(argv[2], argv[3], atoll(argv[4]), strtoull(argv[5], NULL, 10), strtoull(argv[6], NULL, 10),
                     strtoull(argv[7], NULL, 10));
    if (argc == 4 && strcmp(argv[1], "loop") == 0)
        return loop(argv[2], argv[3]);
    if (argc == 9 && strcmp(argv[1], "latency") == 0) {
        int64_t rate = atoll(argv[5]), warm = rate * atoll(argv[6]);
        struct stream stream = {argv[2], argv[3], argv[4], argv[8], rate, warm, warm + rate * atoll(argv[7]), 0, 0};
        return latency(&stream);
    }
    fprintf(stderr, "usage: kafka_bench fill BROKERS TOPIC ROWS | loop BROKERS TOPIC\n"
                    "       kafka_bench latency BROKERS FROM TO RATE WARM-S SECONDS ISOLATION\n");
    return 2;
}
