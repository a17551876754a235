/* kafka: a librdkafka handle from "properties.*", what it says, and its end.
 *
 * A property is librdkafka's own, passed through as it is. Values are never logged: some are passwords. librdkafka tries again for ever when
 * brokers are gone; what it says of them is logged, and kept for the message of the call that gives up.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "base/assert.h"
#include "base/log.h"
#include "connectors/kafka/kafka_int.h"

#define PREFIX "properties."
#define PREFIX_SIZE (sizeof PREFIX - 1)
#define API_PRODUCE 0 /* of Kafka's protocol */
#define API_FETCH 1
#define OURS "auto.offset.reset" /* what the user says of it is done where the group's offsets are looked up */

const char *weir_kafka_property(const struct weir_key_value *options, int option_count, const char *name)
{
    const char *value = NULL;
    for (int i = 0; i < option_count; i++)
        if (strncmp(options[i].key, PREFIX, PREFIX_SIZE) == 0 && strcmp(options[i].key + PREFIX_SIZE, name) == 0)
            value = options[i].value;
    return value;
}

struct weir_key_value *weir_kafka_options_without(const struct weir_key_value *options, int option_count,
                                                  const char *const *names, int *left)
{
    struct weir_key_value *list = weir_alloc((size_t)(option_count + 1) * sizeof *list);
    *left = 0;
    for (int i = 0; i < option_count; i++) {
        bool wanted = true;
        for (int n = 0; names[n]; n++)
            wanted &= strncmp(options[i].key, PREFIX, PREFIX_SIZE) != 0 ||
                      strcmp(options[i].key + PREFIX_SIZE, names[n]) != 0;
        if (wanted)
            list[(*left)++] = options[i];
    }
    return list;
}

/* --- What it says */

static void lock(struct weir_kafka_client *client)
{
    while (__atomic_exchange_n(&client->lock, 1, __ATOMIC_ACQUIRE))
        continue;
}

static void unlock(struct weir_kafka_client *client)
{
    __atomic_store_n(&client->lock, 0, __ATOMIC_RELEASE);
}

/* What may be behind it, where librdkafka's words lead elsewhere. */
static const char *hint_at(const char *reason)
{
    if (rd_kafka_version() < 0x020601ff && strstr(reason, "uthentication failed") && strstr(reason, "SCRAM-"))
        return "; brokers from 4.0 on refuse the SCRAM of librdkafka before 2.6.1, which this is, as if the password were wrong";
    if (strstr(reason, "Disconnected") || (strstr(reason, "Send failed") && strstr(reason, "tls_")))
        return "; is properties.security.protocol that of the broker's listener?";
    return "";
}

static void remember(struct weir_kafka_client *client, const char *reason)
{
    lock(client);
    snprintf(client->last_error, sizeof client->last_error, "%s%s", reason, hint_at(reason));
    unlock(client);
}

static void on_error(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
    struct weir_kafka_client *client = opaque;
    (void)rk;
    if (code == RD_KAFKA_RESP_ERR__AUTHENTICATION)
        __atomic_store_n(&client->locked_out, 1, __ATOMIC_RELAXED);
    if (code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) /* why they are was said before */
        remember(client, reason);
    weir_log(WARN, "kafka %s: %s (%s)", client->brokers, reason, rd_kafka_err2name((rd_kafka_resp_err_t)code));
}

static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    if (strcmp(facility, "FAIL") ==
        0) { /* "[thrd:...]: " and why a connection failed, which is no error to librdkafka */
        const char *reason = strstr(text, "]: ");
        remember(rd_kafka_opaque(rk), reason ? reason + 3 : text);
    }
    /* CONFWARN: a sink's properties are given to the consumer of its progress topic, too. */
    if (level <= LOG_WARNING && strcmp(facility, "CONFWARN") != 0)
        weir_log(WARN, "kafka: %s: %s", facility, text);
    else
        weir_log(DEBUG, "kafka: %s: %s", facility, text);
}

bool weir_kafka_is_locked_out(const struct weir_kafka_client *client)
{
    return __atomic_load_n(&client->locked_out, __ATOMIC_RELAXED);
}

weir_err weir_kafka_fail(struct weir_kafka_client *client, weir_err code, rd_kafka_resp_err_t reason, const char *what,
                         struct weir_error *error)
{
    char last[sizeof client->last_error];
    lock(client);
    memcpy(last, client->last_error, sizeof last);
    unlock(client);
    return weir_fail(error, code, "connector 'kafka': %s: %s (brokers %s%s%s)", what, rd_kafka_err2str(reason),
                     client->brokers, last[0] ? "; " : "", last);
}

/* --- What brokers take */

static rd_kafka_resp_err_t on_response(rd_kafka_t *rk, int fd, const char *broker, int32_t broker_id, int16_t api,
                                       int16_t version, int32_t id, size_t size, int64_t took_us,
                                       rd_kafka_resp_err_t failed, void *opaque)
{
    struct weir_kafka_client *client = opaque;
    (void)rk, (void)fd, (void)broker, (void)broker_id, (void)version, (void)id, (void)size;
    if (failed || took_us < 0 || (api != API_PRODUCE && api != API_FETCH))
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    enum weir_kafka_answer answer = api == API_FETCH ? WEIR_KAFKA_FETCHED : WEIR_KAFKA_PRODUCED;
    __atomic_fetch_add(&client->response_us[answer], (uint64_t)took_us, __ATOMIC_RELAXED);
    __atomic_fetch_add(&client->responses[answer], 1, __ATOMIC_RELAXED);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t on_new(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *opaque, char *why, size_t why_size)
{
    (void)conf, (void)why, (void)why_size;
    return rd_kafka_interceptor_add_on_response_received(rk, "weir", on_response, opaque);
}

int64_t weir_kafka_latency_ms(const struct weir_kafka_client *client, enum weir_kafka_answer answer, uint64_t *us,
                              uint64_t *count)
{
    uint64_t now_us = __atomic_load_n(&client->response_us[answer], __ATOMIC_RELAXED);
    uint64_t now_count = __atomic_load_n(&client->responses[answer], __ATOMIC_RELAXED);
    int64_t mean_ms = now_count > *count ? (int64_t)((now_us - *us) / (now_count - *count) / 1000) : -1;
    *us = now_us;
    *count = now_count;
    return mean_ms;
}

/* --- Settings */

static weir_err set(rd_kafka_conf_t *conf, const char *name, const char *value, struct weir_error *error)
{
    char why[256] = "";
    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) == RD_KAFKA_CONF_OK)
        return WEIR_OK;
    if (strcmp(name, "sasl.jaas.config") == 0)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "'" PREFIX "sasl.jaas.config' is for Java clients: give 'properties.sasl.username' and "
                         "'properties.sasl.password'");
    return weir_fail(error, WEIR_ERR_INVALID, "'" PREFIX "%s': %s", name, why);
}

static weir_err settings(const struct weir_key_value *options, int option_count, const char *(*defaults)[2],
                         rd_kafka_conf_t **out, struct weir_error *error)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    weir_err err = WEIR_OK;
    for (int i = 0; defaults && defaults[i][0] && !err; i++)
        if (!weir_kafka_property(options, option_count, defaults[i][0]) || strcmp(defaults[i][0], OURS) == 0)
            err = set(conf, defaults[i][0], defaults[i][1], error);
    for (int i = 0; i < option_count && !err; i++) {
        if (strncmp(options[i].key, PREFIX, PREFIX_SIZE) != 0)
            continue;
        const char *name = options[i].key + PREFIX_SIZE;
        if (strcmp(name, OURS) != 0)
            err = set(conf, name, options[i].value, error);
    }
    if (err)
        rd_kafka_conf_destroy(conf);
    else
        *out = conf;
    return err;
}

weir_err weir_kafka_check(const struct weir_key_value *options, int option_count, struct weir_error *error)
{
    const char *brokers = weir_kafka_property(options, option_count, "bootstrap.servers");
    if (!brokers || !brokers[0])
        return weir_fail(error, WEIR_ERR_INVALID,
                         "'properties.bootstrap.servers' is missing: the brokers' addresses, HOST:PORT,HOST:PORT");
    rd_kafka_conf_t *conf = NULL;
    weir_err err = settings(options, option_count, NULL, &conf, error);
    if (!err)
        rd_kafka_conf_destroy(conf);
    return err;
}

/* What rd_kafka_new() says of a file names the property, not the file. */
static const char *file_of(const char *why, const struct weir_key_value *options, int option_count)
{
    char name[64];
    size_t size = strcspn(why, " ");
    if (size >= sizeof name || size < 9 || strncmp(why + size - 9, ".location", 9) != 0)
        return NULL;
    memcpy(name, why, size);
    name[size] = '\0';
    return weir_kafka_property(options, option_count, name);
}

/* --- Life */

static void free_client(struct weir_kafka_client *client)
{
    if (client->free_owner)
        client->free_owner(client->owner);
    free(client->brokers);
    free(client);
}

weir_err weir_kafka_client_new(const struct weir_key_value *options, int option_count, rd_kafka_type_t type,
                               const char *(*defaults)[2], void (*setup)(rd_kafka_conf_t *conf), void *take_owner,
                               void (*free_owner)(void *owner), struct weir_kafka_client **out,
                               struct weir_error *error)
{
    rd_kafka_conf_t *conf = NULL;
    weir_err err = settings(options, option_count, defaults, &conf, error);
    if (err) {
        if (free_owner)
            free_owner(take_owner);
        return err;
    }
    struct weir_kafka_client *client = weir_zalloc(sizeof *client);
    client->refs = 1;
    client->brokers = weir_strdup(weir_kafka_property(options, option_count, "bootstrap.servers"));
    client->owner = take_owner;
    client->free_owner = free_owner;
    rd_kafka_conf_set_opaque(conf, client);
    if (setup)
        setup(conf);
    rd_kafka_conf_interceptor_add_on_new(conf, "weir", on_new, client);
    rd_kafka_conf_set_error_cb(conf, on_error);
    rd_kafka_conf_set_log_cb(conf, on_log);
    char why[256] = "";
    client->rk = rd_kafka_new(type, conf, why, sizeof why);
    if (client->rk) {
        *out = client;
        return WEIR_OK;
    }
    rd_kafka_conf_destroy(conf);
    free_client(client);
    const char *file = file_of(why, options, option_count);
    return weir_fail(error, WEIR_ERR_INVALID, "connector 'kafka': %s%s%s", file ? file : "", file ? ": " : "", why);
}

struct weir_kafka_client *weir_kafka_client_ref(struct weir_kafka_client *client)
{
    __atomic_add_fetch(&client->refs, 1, __ATOMIC_RELAXED);
    return client;
}

static void destroy(struct weir_kafka_client *client)
{
    rd_kafka_destroy_flags(client->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    free_client(client);
}

void weir_kafka_client_unref(struct weir_kafka_client *client)
{
    if (client && __atomic_sub_fetch(&client->refs, 1, __ATOMIC_ACQ_REL) == 0)
        destroy(client);
}

static void *destroy_later(void *arg)
{
    destroy(arg);
    return NULL;
}

void weir_kafka_client_leave(struct weir_kafka_client *client)
{
    if (!client || __atomic_sub_fetch(&client->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    pthread_t thread;
    if (pthread_create(&thread, NULL, destroy_later, client) == 0)
        pthread_detach(thread);
    else
        destroy(client);
}
