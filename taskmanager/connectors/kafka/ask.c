/* kafka: what a sink asks the brokers before it writes, so that what they refuse is said when a job begins, not when its first message is on its way: whether
 * they can be reached and let it in, whether its topic is there and how large a message of it may be; exactly once, whether it may have
 * transactions and the progress topic. All of it blocks.
 *
 * What is refused is wrong in the options or in the brokers' ACLs: in a job's first attempt trying again cannot help, and the job fails (INVALID). In
 * a later one it has worked before, and the restart strategy decides, as where brokers are away (IO).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "connectors/kafka/kafka_int.h"

#define TIMEOUT_MS 30000
#define SLICE_MS 500 /* of a question, longer each time: why nobody answers is looked at in between */
#define SLICE_MAX_MS 4000
#define UNKNOWN_MS 20000        /* a topic that the question makes takes a busy broker seconds */
#define CONFIG_TIMEOUT_MS 20000 /* for the topic's settings, of brokers that are there */
#define PAUSE_MS 100
#define BATCH_HEAD 61         /* bytes of a batch before its first record, */
#define RECORD_HEAD 7         /* and of a record besides key and value: at least */
#define MESSAGE_MAX "1000000" /* message.max.bytes of librdkafka, where nothing is said */

/* --- Sizes */

static int64_t property_number(const struct weir_key_value *options, int count, const char *name, const char *fallback)
{
    const char *value = weir_kafka_property(options, count, name);
    return atoll(value ? value : fallback);
}

static bool is_compressed(const struct weir_key_value *options, int count)
{
    const char *codec = weir_kafka_property(options, count, "compression.codec");
    const char *type = weir_kafka_property(options, count, "compression.type");
    codec = type ? type : codec;
    return !codec || strcmp(codec, "none") != 0;
}

void weir_kafka_sizes_init(struct weir_kafka_sizes *sizes, const struct weir_key_value *options, int count)
{
    *sizes = (struct weir_kafka_sizes){.message_max = property_number(options, count, "message.max.bytes", MESSAGE_MAX),
                                       .certain_max = INT64_MAX};
}

/* What the brokers say of the topic: max.message.bytes holds for a batch as it is sent. */
static void take_setting(struct weir_kafka_sizes *sizes, bool *changed, const rd_kafka_ConfigEntry_t *entry)
{
    const char *name = rd_kafka_ConfigEntry_name(entry), *value = rd_kafka_ConfigEntry_value(entry);
    if (value && strcmp(name, "max.message.bytes") == 0)
        sizes->topic_max = atoll(value);
    if (value && strcmp(name, "compression.type") == 0)
        *changed = strcmp(value, "producer") != 0 && strcmp(value, "uncompressed") != 0;
}

void weir_kafka_sizes_ask(struct weir_kafka_sizes *sizes, struct weir_kafka_client *client,
                          const struct weir_key_value *options, int option_count, const char *topic, int timeout_ms)
{
    bool changed = false; /* brokers compress again what they are sent */
    rd_kafka_ConfigResource_t *wanted = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client->rk);
    rd_kafka_AdminOptions_t *admin = rd_kafka_AdminOptions_new(client->rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_AdminOptions_set_request_timeout(admin, timeout_ms, NULL, 0);
    rd_kafka_DescribeConfigs(client->rk, &wanted, 1, admin, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, timeout_ms + 1000);
    if (event && !rd_kafka_event_error(event)) {
        size_t count = 0, entry_count = 0;
        const rd_kafka_ConfigResource_t **found =
            rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event), &count);
        const rd_kafka_ConfigEntry_t **entries = count && !rd_kafka_ConfigResource_error(found[0])
                                                     ? rd_kafka_ConfigResource_configs(found[0], &entry_count)
                                                     : NULL;
        for (size_t i = 0; i < entry_count; i++)
            take_setting(sizes, &changed, entries[i]);
    }
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_AdminOptions_destroy(admin);
    rd_kafka_queue_destroy(queue);
    rd_kafka_ConfigResource_destroy(wanted);
    if (sizes->topic_max > BATCH_HEAD + RECORD_HEAD && !changed && !is_compressed(options, option_count))
        sizes->certain_max = sizes->topic_max - BATCH_HEAD - RECORD_HEAD;
}

weir_err weir_kafka_sizes_check(const struct weir_kafka_sizes *sizes, const struct weir_message_out *message,
                                struct weir_error *error)
{
    int64_t size = (int64_t)(message->key_size + message->value_size);
    if (size > sizes->message_max)
        return weir_fail(error, WEIR_ERR_DATA,
                         "connector 'kafka': a message of %" PRId64 " bytes is larger than %" PRId64
                         ", 'properties.message.max.bytes'",
                         size, sizes->message_max);
    if (!message->topic && size > sizes->certain_max)
        return weir_fail(error, WEIR_ERR_DATA,
                         "connector 'kafka': a message of %" PRId64
                         " bytes, without compression, is larger than the topic's max.message.bytes, %" PRId64,
                         size, sizes->topic_max);
    return WEIR_OK;
}

weir_err weir_kafka_refused_size(struct weir_kafka_client *client, const struct weir_kafka_sizes *sizes,
                                 const char *topic, size_t size, struct weir_error *error)
{
    char what[480], limit[32] = "";
    if (sizes->topic_max > 0)
        snprintf(limit, sizeof limit, " = %lld", (long long)sizes->topic_max);
    snprintf(
        what, sizeof what,
        "topic '%.249s' refuses a message of %zu bytes, or the batch that it was sent in, which is larger than the topic's "
        "max.message.bytes%s: raise that, or lower 'properties.batch.size'",
        topic, size, limit);
    return weir_kafka_fail(client, WEIR_ERR_INVALID, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, what, error);
}

/* --- The topic */

bool weir_kafka_is_refusal(rd_kafka_resp_err_t reason)
{
    switch (reason) {
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
        return true;
    default:
        return false;
    }
}

weir_err weir_kafka_code(rd_kafka_resp_err_t reason, bool is_first)
{
    return is_first && weir_kafka_is_refusal(reason) ? WEIR_ERR_INVALID : WEIR_ERR_IO;
}

/* *of_topic: what they say of the topic; nothing, where rows say which. */
static rd_kafka_resp_err_t ask_once(struct weir_kafka_client *client, const char *topic, int timeout_ms,
                                    rd_kafka_resp_err_t *of_topic)
{
    const rd_kafka_metadata_t *metadata = NULL;
    rd_kafka_topic_t *handle = topic[0] ? rd_kafka_topic_new(client->rk, topic, NULL) : NULL;
    rd_kafka_resp_err_t reason = rd_kafka_metadata(client->rk, 0, handle, &metadata, timeout_ms);
    *of_topic = !reason && handle && metadata->topic_cnt == 1 ? metadata->topics[0].err : RD_KAFKA_RESP_ERR_NO_ERROR;
    rd_kafka_poll(client->rk, 0); /* why there is no answer */
    if (metadata)
        rd_kafka_metadata_destroy(metadata);
    if (handle)
        rd_kafka_topic_destroy(handle);
    return reason;
}

static weir_err say_why(const struct weir_kafka_question *question, struct weir_kafka_client *client,
                        rd_kafka_resp_err_t reason, rd_kafka_resp_err_t of_topic, struct weir_error *error)
{
    char what[480];
    bool is_login = weir_kafka_is_locked_out(client);
    if (of_topic == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || of_topic == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)
        return weir_fail(error, question->is_first ? WEIR_ERR_INVALID : WEIR_ERR_IO,
                         "connector 'kafka': unknown topic '%.249s' on %s, where none is made by writing to it "
                         "(auto.create.topics.enable): create it, or mend the option 'topic'",
                         question->topic, client->brokers);
    if (of_topic)
        snprintf(what, sizeof what, "topic '%.249s' cannot be written to", question->topic);
    else if (is_login)
        snprintf(what, sizeof what, "cannot log in to the brokers, by 'properties.sasl.*'");
    else
        snprintf(what, sizeof what, "cannot reach the brokers of 'properties.bootstrap.servers'");
    reason = of_topic ? of_topic : is_login ? RD_KAFKA_RESP_ERR__AUTHENTICATION : reason;
    return weir_kafka_fail(client, weir_kafka_code(reason, question->is_first), reason, what, error);
}

static weir_err ask_topic(const struct weir_kafka_question *question, struct weir_kafka_client *client,
                          struct weir_error *error)
{
    int64_t begun_ms = weir_clock_mono_ms();
    int64_t timeout_ms =
        property_number(question->options, question->option_count, "socket.connection.setup.timeout.ms", "30000");
    for (int slice_ms = SLICE_MS;; slice_ms = slice_ms < SLICE_MAX_MS ? 2 * slice_ms : SLICE_MAX_MS) {
        int64_t left_ms = begun_ms + timeout_ms - weir_clock_mono_ms();
        int wait_ms = left_ms < slice_ms ? (int)left_ms : slice_ms;
        rd_kafka_resp_err_t of_topic, reason = ask_once(client, question->topic, wait_ms > 1 ? wait_ms : 1, &of_topic);
        bool unknown =
            of_topic == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || of_topic == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
        int64_t waited_ms = weir_clock_mono_ms() - begun_ms;
        if (!reason && !of_topic)
            return WEIR_OK;
        if ((of_topic && !unknown) || (unknown && waited_ms > UNKNOWN_MS) || weir_kafka_is_locked_out(client) ||
            waited_ms >= timeout_ms)
            return say_why(question, client, reason, of_topic, error);
        rd_kafka_poll(client->rk, PAUSE_MS); /* or until it says why */
    }
}

/* --- Transactions */

static weir_err ask_transactions(const struct weir_kafka_question *question, struct weir_kafka_client *client,
                                 struct weir_error *error)
{
    char what[480];
    weir_err err = weir_kafka_progress_prepare(client, question->progress_topic, question->is_first, error);
    rd_kafka_error_t *reason = err ? NULL : rd_kafka_init_transactions(client->rk, TIMEOUT_MS);
    if (!reason)
        return err;
    snprintf(what, sizeof what, "cannot begin transactions as '%.200s' ('sink.transactional-id-prefix'): %.200s",
             question->transactional_id, rd_kafka_error_string(reason));
    rd_kafka_resp_err_t code = rd_kafka_error_code(reason);
    rd_kafka_error_destroy(reason);
    rd_kafka_poll(client->rk, 0);
    return weir_kafka_fail(client, weir_kafka_code(code, question->is_first), code, what, error);
}

/* --- All of it */

struct weir_kafka_question *weir_kafka_question_new(const struct weir_key_value *options, int option_count,
                                                    const char *transactional_id, bool is_first)
{
    struct weir_kafka_question *question = weir_zalloc(sizeof *question);
    question->options = weir_kafka_options_copy(options, option_count);
    question->option_count = option_count;
    question->topic = weir_kafka_sink_get(question->options, option_count, "topic");
    question->progress_topic = weir_kafka_sink_get(question->options, option_count, "sink.progress-topic");
    question->transactional_id = transactional_id ? weir_strdup(transactional_id) : NULL;
    question->is_first = is_first;
    return question;
}

void weir_kafka_question_free(void *arg)
{
    struct weir_kafka_question *question = arg;
    weir_kafka_options_free(question->options, question->option_count);
    free(question->transactional_id);
    free(question);
}

weir_err weir_kafka_ask(void *arg, struct weir_error *error)
{
    struct weir_kafka_question *question = arg;
    struct weir_kafka_client *client = NULL;
    weir_kafka_sizes_init(&question->sizes, question->options, question->option_count);
    weir_err err = weir_kafka_producer_new(question->options, question->option_count, question->transactional_id, NULL,
                                           NULL, NULL, NULL, &client, error);
    if (!err)
        err = ask_topic(question, client, error);
    if (!err && question->topic[0])
        weir_kafka_sizes_ask(&question->sizes, client, question->options, question->option_count, question->topic,
                             CONFIG_TIMEOUT_MS);
    if (!err && question->transactional_id)
        err = ask_transactions(question, client, error);
    weir_kafka_client_unref(client);
    return err;
}
