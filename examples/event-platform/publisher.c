/* Publishes made-up events of three kinds to three Kafka topics, content, creator and temperature, until it is told to end or --seconds are over.
 *
 * usage: event-platform-publisher --brokers HOST:PORT,.. [--rate 200] [--seconds 0] [--bad 1] [--seed 1]
 *
 * --rate     events a second of each kind       --bad   percent that are none: cut off, without a required column, of a wrong type
 * --seconds  0: until SIGTERM or SIGINT
 *
 * Every event has an id (content-17), and the key that its topic is partitioned by. The producer is idempotent: brokers may come and go, and each event is in
 * its topic once. At the end it says what the brokers have acknowledged. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TICK_MS 20
#define EVENT_MAX_SIZE 512
#define FLUSH_MS 120000

enum kind { CONTENT, CREATOR, TEMPERATURE, KINDS };
static const char *const topics[KINDS] = {"content", "creator", "temperature"};
static uint64_t acknowledged[KINDS], refused;
static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static uint64_t state;
static uint64_t next_random(void) /* splitmix64 */
{
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static unsigned below(unsigned bound)
{
    return (unsigned)(next_random() % bound);
}

static int64_t now_ms(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * (int64_t)1000 + now.tv_nsec / 1000000;
}

/* --- Events */

static int put_time(char *out, size_t size)
{
    int64_t ms = now_ms(CLOCK_REALTIME);
    time_t seconds = (time_t)(ms / 1000);
    struct tm parts;
    char text[32];
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", gmtime_r(&seconds, &parts));
    return snprintf(out, size, "%s.%03dZ", text, (int)(ms % 1000));
}

/* One event as JSON; its key. */
static void make_event(enum kind kind, uint64_t number, char event[static EVENT_MAX_SIZE], char key[static 32])
{
    static const char *const titles[] = {"A walk in the rain", "How glass is made", "Ten knots", "The last tram"};
    static const char *const names[] = {"Ada", "Bo", "Chiara", "Dmitri", "Enid"};
    static const char *const tags[] = {"[]", "[\"craft\"]", "[\"city\",\"night\"]", "[\"how-to\",\"craft\",\"long\"]"};
    char at[40];
    put_time(at, sizeof at);
    if (kind == TEMPERATURE) {
        bool abnormal = below(100) < 5;
        snprintf(key, 32, "gpu-%u", below(20));
        snprintf(event, EVENT_MAX_SIZE,
                 "{\"id\":\"temperature-%" PRIu64
                 "\",\"device_id\":\"%s\",\"temperature\":%.1f,\"is_abnormal\":%s,\"at\":\"%s\"}",
                 number, key, (abnormal ? 91 : 55) + below(100) / 10.0, abnormal ? "true" : "false", at);
        return;
    }
    unsigned creator = below(50);
    snprintf(key, 32, "creator-%u", creator);
    if (kind == CONTENT)
        snprintf(
            event, EVENT_MAX_SIZE,
            "{\"id\":\"content-%" PRIu64
            "\",\"creator_id\":\"%s\",\"title\":\"%s\",\"tags\":%s,\"price\":%u.%02u,\"premium\":%s,\"at\":\"%s\"}",
            number, key, titles[below(4)], tags[below(4)], below(40), below(100), below(4) ? "false" : "true", at);
    else
        snprintf(
            event, EVENT_MAX_SIZE,
            "{\"id\":\"creator-%" PRIu64
            "\",\"creator_id\":\"%s\",\"name\":\"%s\",\"followers\":%u,\"share\":0.%04u,\"verified\":%s,\"at\":\"%s\"}",
            number, key, names[creator % 5], below(1000) * below(1000), below(10000), below(3) ? "false" : "true", at);
}

/* What a processor cannot take: half of it, a column that is missing, one of a wrong type. */
static void spoil(char *event)
{
    char *at = strstr(event, "\"at\":"), *name;
    switch (below(3)) {
    case 0:
        event[strlen(event) / 2] = 0;
        return;
    case 1:
        memcpy(at, "\"on\":", 5);
        return;
    default:
        name = strstr(event, "_id\":\"");
        memcpy(name + 1, "ID", 2);
    }
}

/* --- Kafka */

static void on_delivered(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
    (void)rk, (void)opaque;
    if (message->err)
        refused++;
    else
        acknowledged[(intptr_t)message->_private]++;
}

static rd_kafka_t *make_producer(const char *brokers)
{
    const char *const settings[][2] = {{"bootstrap.servers", brokers},    {"enable.idempotence", "true"},
                                       {"compression.codec", "lz4"},      {"linger.ms", "5"},
                                       {"partitioner", "murmur2_random"}, {"log_level", "2"}};
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char why[512];
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], why, sizeof why) != RD_KAFKA_CONF_OK) {
            fprintf(stderr, "event-platform-publisher: %s\n", why);
            rd_kafka_conf_destroy(conf);
            return NULL;
        }
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivered);
    rd_kafka_t *producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!producer) {
        fprintf(stderr, "event-platform-publisher: %s\n", why);
        rd_kafka_conf_destroy(conf);
    }
    return producer;
}

/* Waits while the producer's queue is full: brokers are away. False: it cannot be published. */
static bool publish(rd_kafka_t *producer, enum kind kind, const char *key, const char *event)
{
    rd_kafka_resp_err_t err;
    while ((err = rd_kafka_producev(
                producer, RD_KAFKA_V_TOPIC(topics[kind]), RD_KAFKA_V_KEY((void *)(uintptr_t)key, strlen(key)),
                RD_KAFKA_V_VALUE((void *)(uintptr_t)event, strlen(event)), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                RD_KAFKA_V_OPAQUE((void *)(intptr_t)kind), RD_KAFKA_V_END)) == RD_KAFKA_RESP_ERR__QUEUE_FULL)
        rd_kafka_poll(producer, TICK_MS);
    if (err)
        fprintf(stderr, "event-platform-publisher: %s: %s\n", topics[kind], rd_kafka_err2str(err));
    return !err;
}

static bool publish_all(rd_kafka_t *producer, unsigned rate, int64_t seconds, double bad)
{
    char event[EVENT_MAX_SIZE], key[32];
    int64_t start_ms = now_ms(CLOCK_MONOTONIC);
    uint64_t number = 0;
    for (int64_t at_ms = 0; !stop && (seconds == 0 || at_ms < seconds * 1000);) {
        for (uint64_t due = (uint64_t)at_ms * rate / 1000; number < due; number++)
            for (int kind = 0; kind < KINDS; kind++) {
                make_event((enum kind)kind, number, event, key);
                if (below(100000) < bad * 1000)
                    spoil(event);
                if (!publish(producer, (enum kind)kind, key, event))
                    return false;
            }
        rd_kafka_poll(producer, TICK_MS);
        at_ms = now_ms(CLOCK_MONOTONIC) - start_ms;
    }
    return true;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"brokers", 1, NULL, 'b'}, {"rate", 1, NULL, 'r'},
                                            {"seconds", 1, NULL, 't'}, {"bad", 1, NULL, 'p'},
                                            {"seed", 1, NULL, 's'},    {NULL, 0, NULL, 0}};
    const char *brokers = NULL;
    unsigned rate = 200;
    int64_t seconds = 0;
    double bad = 1;
    state = 1;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'b':
            brokers = optarg;
            break;
        case 'r':
            rate = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 't':
            seconds = strtoll(optarg, NULL, 10);
            break;
        case 'p':
            bad = strtod(optarg, NULL);
            break;
        case 's':
            state = strtoull(optarg, NULL, 10);
            break;
        default:
            return 2;
        }
    }
    if (!brokers || optind < argc || rate == 0 || rate > 100000 || seconds < 0 || bad < 0 || bad > 100) {
        fprintf(
            stderr,
            "usage: event-platform-publisher --brokers HOST:PORT,.. [--rate 200] [--seconds 0] [--bad 1] [--seed 1]\n");
        return 2;
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    rd_kafka_t *producer = make_producer(brokers);
    if (!producer)
        return 1;
    bool ok = publish_all(producer, rate, seconds, bad);
    ok = rd_kafka_flush(producer, FLUSH_MS) == RD_KAFKA_RESP_ERR_NO_ERROR && ok && refused == 0;
    printf("published %" PRIu64 " content, %" PRIu64 " creator and %" PRIu64 " temperature events",
           acknowledged[CONTENT], acknowledged[CREATOR], acknowledged[TEMPERATURE]);
    printf(ok ? "\n" : "; %" PRIu64 " were refused, %d not answered\n", refused, rd_kafka_outq_len(producer));
    rd_kafka_destroy(producer);
    return ok ? 0 : 1;
}
