/* kafka: the reader of one subtask. One consumer; its partitions are lanes; an eventfd that librdkafka writes to wakes the worker.
 *
 * Order of things: partitions of a checkpoint are assigned at once; a discovery (on the pool) finds the others, and is repeated. Until the first
 * has ended, a snapshot says so, and the next attempt begins anew what is not in it.
 *
 * Position, as text: "kafka1 DISCOVERED\n", then for each partition "TOPIC\tPARTITION\tNEXT\tSTOP\tWATERMARK\n": the next offset to be read, the first
 * not to be (-1: none).
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/op_metrics.h"
#include "connectors/kafka/kafka_int.h"

#define MESSAGES_MAX 512
#define ARENA_KEPT ((size_t)4 << 20)
#define DISCOVERY_RETRY_MS 5000
#define TIMEOUT_MS 30000
#define ENDS_INTERVAL_MS 3000

struct partition { /* beside the lane of the same index */
    char *topic;
    int64_t next;
    int64_t stop;  /* -1: none */
    bool assigned; /* librdkafka fetches it */
    bool paused;   /* it is not to */
    bool announced;
    int64_t seen_end; /* the broker said that nothing follows this offset: it is past marks of transactions, too */
};

struct commits { /* of offsets to the group; the client's owner: callbacks come as long as the handle */
    pthread_mutex_t lock;
    rd_kafka_topic_partition_list_t *done; /* the last one; NULL: none */
    int64_t succeeded, failed;
};

struct weir_reader {
    struct weir_kafka_client *client;
    rd_kafka_queue_t *queue;
    int event_fd;
    bool commits; /* the user named a group */
    bool discovered, bounded;
    int64_t interval_ms, discover_at_ms;
    struct weir_kafka_discovery *template; /* what each discovery is told */
    struct weir_call *call;
    struct weir_kafka_discovery *discovery; /* the call's */
    struct commits *told;                   /* the client's */
    struct weir_call *ends_call;
    struct weir_kafka_ends *ends; /* the call's */
    int64_t ends_at_ms;           /* when to ask again */
    int64_t taken, taken_before;  /* messages given, and at the last report */
    uint64_t fetch_us, fetches;

    struct partition *partitions;
    struct weir_lane *lanes;
    int32_t *sorted; /* indexes of partitions, by topic and number */
    int32_t count, capacity;
    int32_t last; /* lane of the last message */

    const struct weir_read_messages *given;
    rd_kafka_message_t *raw[MESSAGES_MAX];
    struct weir_message messages[MESSAGES_MAX];
    uint8_t *arena;
    size_t arena_capacity;
    struct weir_message_header *headers; /* of `messages`, in turn */
    size_t header_capacity;
};

static const char *get(const struct weir_key_value *options, int count, const char *name)
{
    const char *value = weir_options_get(options, count, weir_kafka_source_options, name);
    return value ? value : "";
}

/* --- Open, close */

static enum weir_kafka_mode mode_of(const char *name)
{
    static const char *const names[] = {"unbounded",     "earliest-offset", "latest-offset",
                                        "group-offsets", "timestamp",       "specific-offsets"};
    for (int i = 0; i < (int)(sizeof names / sizeof *names); i++)
        if (strcmp(name, names[i]) == 0)
            return (enum weir_kafka_mode)i;
    return KAFKA_UNBOUNDED;
}

static weir_err read_places(const struct weir_key_value *options, int count, const char *which,
                            struct weir_kafka_places *places, struct weir_error *error)
{
    char name[64];
    snprintf(name, sizeof name, "scan.%s.mode", which);
    places->mode = mode_of(get(options, count, name));
    snprintf(name, sizeof name, "scan.%s.timestamp-millis", which);
    places->timestamp_ms = weir_options_get_int(options, count, weir_kafka_source_options, name);
    snprintf(name, sizeof name, "scan.%s.specific-offsets", which);
    return places->mode == KAFKA_SPECIFIC ? weir_kafka_places_parse(name, get(options, count, name), places, error)
                                          : WEIR_OK;
}

static void read_topics(struct weir_kafka_discovery *d, const char *topics, const char *pattern)
{
    d->is_pattern = pattern[0] != 0;
    const char *at = d->is_pattern ? pattern : topics;
    while (*at) {
        size_t size = d->is_pattern ? strlen(at) : strcspn(at, ";");
        if (size > 0) {
            d->topics = weir_realloc(d->topics, (size_t)(d->topic_count + 1) * sizeof *d->topics);
            /* The whole name must match. */
            d->topics[d->topic_count++] = d->is_pattern ? weir_format("^(%s)$", pattern) : weir_strndup(at, size);
        }
        at += size + (at[size] == ';');
    }
}

static void on_commit(rd_kafka_t *rk, rd_kafka_resp_err_t failed, rd_kafka_topic_partition_list_t *offsets,
                      void *opaque)
{
    const struct weir_kafka_client *client = opaque;
    struct commits *told = client->owner;
    (void)rk;
    for (int i = 0; offsets && i < offsets->cnt && !failed; i++)
        failed = offsets->elems[i].err;
    pthread_mutex_lock(&told->lock);
    told->failed += failed != 0;
    told->succeeded += !failed;
    if (!failed && offsets) {
        if (told->done)
            rd_kafka_topic_partition_list_destroy(told->done);
        told->done = rd_kafka_topic_partition_list_copy(offsets);
    }
    pthread_mutex_unlock(&told->lock);
    if (failed)
        weir_log(WARN, "kafka: the group's offsets could not be committed (%s): checkpoints have them all the same",
                 rd_kafka_err2str(failed));
}

static void set_up(rd_kafka_conf_t *conf)
{
    rd_kafka_conf_set_offset_commit_cb(conf, on_commit);
}

static void free_commits(void *arg)
{
    struct commits *told = arg;
    if (told->done)
        rd_kafka_topic_partition_list_destroy(told->done);
    pthread_mutex_destroy(&told->lock);
    free(told);
}

static weir_err new_client(struct weir_reader *reader, const struct weir_key_value *options, int option_count,
                           struct weir_error *error)
{
    const char *lost = get(options, option_count, "scan.offset-lost");
    struct weir_kafka_bounds bounds;
    weir_kafka_bounds_init(&bounds, options, option_count, rd_kafka_version());
    const char *defaults[][2] = {
        {"group.id", "weir"}, /* librdkafka wants one; nothing is committed to it */
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"auto.offset.reset", strcmp(lost, "fail") == 0 ? "error" : lost},
        {"isolation.level", "read_committed"},
        {"enable.partition.eof", "true"}, /* says what is past a transaction's mark: nothing is waiting there */
        {"queued.max.messages.kbytes", bounds.queue_kbytes},
        {"queued.min.messages", bounds.queue_count},
        {"fetch.max.bytes", bounds.answer_bytes},
        {"message.max.bytes", bounds.message_bytes},
        {"fetch.wait.max.ms", "100"},
        {"client.id", "weir"},
        {bounds.backoff_ms ? "fetch.queue.backoff.ms" : NULL, bounds.backoff_ms},
        {NULL, NULL},
    };
    struct commits *told = weir_zalloc(sizeof *told);
    pthread_mutex_init(&told->lock, NULL);
    weir_err err = weir_kafka_client_new(options, option_count, RD_KAFKA_CONSUMER, defaults, set_up, told, free_commits,
                                         &reader->client, error);
    if (err)
        return err;
    reader->told = told;
    rd_kafka_poll_set_consumer(reader->client->rk);
    reader->queue = rd_kafka_queue_get_consumer(reader->client->rk);
    reader->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (reader->event_fd < 0)
        return weir_fail_errno(error, WEIR_ERR_IO, "connector 'kafka': no eventfd");
    static const uint64_t one = 1;
    rd_kafka_queue_io_event_enable(reader->queue, reader->event_fd, &one, sizeof one);
    return WEIR_OK;
}

void weir_kafka_reader_close(struct weir_reader *reader)
{
    if (reader->queue) {
        rd_kafka_queue_io_event_enable(reader->queue, -1, NULL, 0);
        rd_kafka_queue_destroy(reader->queue);
    }
    weir_call_free(reader->call);
    weir_call_free(reader->ends_call);
    weir_kafka_client_leave(reader->client);
    if (reader->event_fd >= 0)
        close(reader->event_fd);
    weir_kafka_discovery_free(reader->template);
    for (int32_t i = 0; i < reader->count; i++)
        free(reader->partitions[i].topic);
    free(reader->partitions);
    free(reader->lanes);
    free(reader->sorted);
    free(reader->arena);
    free(reader->headers);
    free(reader);
}

weir_err weir_kafka_reader_open(struct weir_connector_ctx *ctx, const struct weir_key_value *options, int option_count,
                                struct weir_reader **out, struct weir_error *error)
{
    struct weir_reader *reader = weir_zalloc(sizeof *reader);
    struct weir_kafka_discovery *template = reader->template = weir_zalloc(sizeof *template);
    reader->event_fd = -1;
    const char *reset = weir_kafka_property(options, option_count, "auto.offset.reset");
    template->reset = !reset                           ? "none"
                      : strcmp(reset, "earliest") == 0 ? "earliest"
                      : strcmp(reset, "latest") == 0   ? "latest"
                                                       : "none";
    const char *timeout = weir_kafka_property(options, option_count, "socket.connection.setup.timeout.ms");
    template->timeout_ms = timeout ? atoi(timeout) : TIMEOUT_MS;
    template->subtask = ctx->subtask;
    template->parallelism = ctx->parallelism;
    read_topics(template, get(options, option_count, "topic"), get(options, option_count, "topic-pattern"));
    weir_err err = read_places(options, option_count, "startup", &template->start, error);
    if (!err)
        err = read_places(options, option_count, "bounded", &template->stop, error);
    reader->bounded = template->stop.mode != KAFKA_UNBOUNDED;
    reader->interval_ms = weir_options_get_int(options, option_count, weir_kafka_source_options,
                                               "scan.topic-partition-discovery.interval");
    reader->commits = weir_kafka_property(options, option_count, "group.id") != NULL;
    if (!err)
        err = new_client(reader, options, option_count, error);
    if (err) {
        weir_kafka_reader_close(reader);
        return err;
    }
    *out = reader;
    return WEIR_OK;
}

/* --- Partitions */

static int compare(const struct weir_reader *reader, int32_t index, const char *topic, int32_t partition)
{
    int order = strcmp(reader->partitions[index].topic, topic);
    return order ? order : (reader->lanes[index].partition > partition) - (reader->lanes[index].partition < partition);
}

/* Where (topic, partition) is in `sorted`, or would be. */
static int32_t place_in_sorted(const struct weir_reader *reader, const char *topic, int32_t partition)
{
    int32_t first = 0, end = reader->count;
    while (first < end) {
        int32_t middle = first + (end - first) / 2;
        if (compare(reader, reader->sorted[middle], topic, partition) < 0)
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

static int32_t find(const struct weir_reader *reader, const char *topic, int32_t partition)
{
    int32_t at = place_in_sorted(reader, topic, partition);
    return at < reader->count && compare(reader, reader->sorted[at], topic, partition) == 0 ? reader->sorted[at] : -1;
}

static void add_partition(struct weir_reader *reader, const char *topic, int32_t partition, int64_t next, int64_t stop,
                          int64_t watermark_ms)
{
    if (reader->count == reader->capacity) {
        size_t capacity = reader->capacity ? (size_t)reader->capacity * 2 : 16;
        reader->capacity = (int32_t)capacity;
        reader->partitions = weir_realloc(reader->partitions, capacity * sizeof *reader->partitions);
        reader->lanes = weir_realloc(reader->lanes, capacity * sizeof *reader->lanes);
        reader->sorted = weir_realloc(reader->sorted, capacity * sizeof *reader->sorted);
    }
    int32_t at = place_in_sorted(reader, topic, partition), index = reader->count;
    memmove(reader->sorted + at + 1, reader->sorted + at, (size_t)(index - at) * sizeof *reader->sorted);
    reader->sorted[at] = index;
    reader->count++;
    reader->partitions[index] = (struct partition){.topic = weir_strdup(topic), .next = next, .stop = stop};
    reader->lanes[index] = (struct weir_lane){.topic = reader->partitions[index].topic,
                                              .partition = partition,
                                              .ended = stop >= 0 && next >= stop,
                                              .watermark_ms = watermark_ms,
                                              .next = next,
                                              .end = -1,
                                              .committed = -1};
}

/* Begins to fetch what is not being fetched yet. */
static weir_err assign_new(struct weir_reader *reader, struct weir_error *error)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(reader->count);
    for (int32_t i = 0; i < reader->count; i++) {
        struct partition *partition = &reader->partitions[i];
        if (partition->assigned || partition->paused || reader->lanes[i].ended)
            continue;
        partition->assigned = true;
        rd_kafka_topic_partition_list_add(list, partition->topic, reader->lanes[i].partition)->offset = partition->next;
        if (!partition->announced)
            weir_log(INFO, "kafka: reading topic %s, partition %d from offset %" PRId64, partition->topic,
                     reader->lanes[i].partition, partition->next);
        partition->announced = true;
    }
    rd_kafka_error_t *failed = list->cnt ? rd_kafka_incremental_assign(reader->client->rk, list) : NULL;
    rd_kafka_topic_partition_list_destroy(list);
    if (!failed)
        return WEIR_OK;
    weir_err err =
        weir_fail(error, WEIR_ERR_IO, "connector 'kafka': cannot begin to read: %s", rd_kafka_error_string(failed));
    rd_kafka_error_destroy(failed);
    return err;
}

/* Nothing more of it is fetched, and what was fetched is dropped. */
static void unassign(struct weir_reader *reader, int32_t lane)
{
    if (!reader->partitions[lane].assigned)
        return;
    reader->partitions[lane].assigned = false;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, reader->partitions[lane].topic, reader->lanes[lane].partition);
    rd_kafka_error_t *failed = rd_kafka_incremental_unassign(reader->client->rk, list);
    if (failed)
        rd_kafka_error_destroy(failed); /* what it still gives is dropped */
    rd_kafka_topic_partition_list_destroy(list);
}

static void end_partition(struct weir_reader *reader, int32_t lane)
{
    if (reader->lanes[lane].ended)
        return;
    reader->lanes[lane].ended = true;
    unassign(reader, lane);
}

/* Not by librdkafka's pause: it goes on where it believes to have been, and 2.0.2 with consume_batch() leaves out messages. Here it goes on at
 * our own position. */
void weir_kafka_reader_pause(struct weir_reader *reader, int32_t lane, bool paused)
{
    reader->partitions[lane].paused = paused;
    if (paused)
        unassign(reader, lane);
}

static bool all_ended(const struct weir_reader *reader)
{
    for (int32_t i = 0; i < reader->count; i++)
        if (!reader->lanes[i].ended)
            return false;
    return true;
}

/* --- Discovery */

static void copy_places(struct weir_kafka_places *to, const struct weir_kafka_places *from)
{
    *to = *from;
    to->list = weir_alloc((size_t)(from->count + 1) * sizeof *to->list);
    for (int i = 0; i < from->count; i++) {
        to->list[i] = from->list[i];
        to->list[i].topic = from->list[i].topic ? weir_strdup(from->list[i].topic) : NULL;
    }
}

static void begin_discovery(struct weir_reader *reader, struct weir_connector_ctx *ctx)
{
    const struct weir_kafka_discovery *from = reader->template;
    struct weir_kafka_discovery *d = weir_alloc(sizeof *d);
    *d = *from;
    d->client = weir_kafka_client_ref(reader->client);
    d->topics = weir_alloc((size_t)(from->topic_count + 1) * sizeof *d->topics);
    for (int i = 0; i < from->topic_count; i++)
        d->topics[i] = weir_strdup(from->topics[i]);
    copy_places(&d->start, &from->start);
    copy_places(&d->stop, &from->stop);
    d->first = !reader->discovered;
    d->known = weir_alloc((size_t)(reader->count + 1) * sizeof *d->known);
    d->known_count = reader->count;
    for (int32_t i = 0; i < reader->count; i++)
        d->known[i] = (struct weir_kafka_found){weir_strdup(reader->partitions[i].topic), reader->lanes[i].partition,
                                                reader->partitions[i].next, reader->partitions[i].stop};
    reader->discovery = d;
    reader->call = ctx->call(ctx, weir_kafka_discover, d, weir_kafka_discovery_free);
}

/* A first discovery that fails is the job's affair; a later one is tried again, unless a topic is gone. */
static weir_err end_discovery(struct weir_reader *reader, int64_t now_ms, struct weir_error *error)
{
    struct weir_error why = {0};
    weir_err err = weir_call_result(reader->call, &why);
    const struct weir_kafka_discovery *d = reader->discovery;
    reader->discover_at_ms = reader->interval_ms > 0 && !reader->bounded ? now_ms + reader->interval_ms : INT64_MAX;
    if (!err) {
        for (int i = 0; i < d->found_count; i++)
            if (find(reader, d->found[i].topic, d->found[i].partition) < 0)
                add_partition(reader, d->found[i].topic, d->found[i].partition, d->found[i].start, d->found[i].stop,
                              INT64_MIN);
        reader->discovered = true;
        err = assign_new(reader, error);
    } else if (reader->discovered && err == WEIR_ERR_IO) {
        weir_log(WARN, "%s; tried again in %d s", why.message, DISCOVERY_RETRY_MS / 1000);
        reader->discover_at_ms = now_ms + DISCOVERY_RETRY_MS;
        err = WEIR_OK;
    } else {
        *error = why;
    }
    weir_call_free(reader->call);
    reader->call = NULL;
    reader->discovery = NULL;
    return err;
}

static weir_err discover(struct weir_reader *reader, struct weir_connector_ctx *ctx, struct weir_error *error)
{
    int64_t now_ms = ctx->now_ms(ctx);
    if (!reader->call && now_ms >= reader->discover_at_ms)
        begin_discovery(reader, ctx);
    if (reader->call && ctx->call_ended(ctx, reader->call))
        return end_discovery(reader, now_ms, error);
    return WEIR_OK;
}

/* --- Messages */

/* An event in place of a message. */
static weir_err take_event(struct weir_reader *reader, const rd_kafka_message_t *raw, struct weir_error *error)
{
    const char *topic = raw->rkt ? rd_kafka_topic_name(raw->rkt) : "";
    int32_t lane = raw->rkt ? find(reader, topic, raw->partition) : -1;
    char what[400];
    snprintf(what, sizeof what, "topic '%.255s', partition %d", topic, raw->partition);
    switch (raw->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        if (lane >= 0)
            reader->partitions[lane].seen_end = raw->offset;
        if (lane >= 0 && reader->partitions[lane].stop >= 0 && raw->offset >= reader->partitions[lane].stop)
            end_partition(reader, lane);
        return WEIR_OK;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        return weir_fail(error, WEIR_ERR_DATA,
                         "connector 'kafka': %s: offset %" PRId64
                         " is not there any more (retention, or the topic was made anew): records "
                         "are lost. To go on all the same, set 'scan.offset-lost' to earliest or latest",
                         what, lane >= 0 ? reader->partitions[lane].next : raw->offset);
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        if (!reader->template->is_pattern)
            return weir_fail(error, WEIR_ERR_NOT_FOUND, "connector 'kafka': %s is gone from %s", what,
                             reader->client->brokers);
        weir_log(WARN, "kafka: %s is gone: it is read no more", what);
        if (lane >= 0)
            end_partition(reader, lane);
        return WEIR_OK;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR__FATAL:
    case RD_KAFKA_RESP_ERR__BAD_MSG:
    case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
        return weir_kafka_fail(reader->client, WEIR_ERR_IO, raw->err, what, error);
    default: /* brokers come and go; librdkafka goes on by itself, and said so */
        weir_log(DEBUG, "kafka: %s: %s", what, rd_kafka_message_errstr(raw));
        return WEIR_OK;
    }
}

static int32_t lane_of(struct weir_reader *reader, const rd_kafka_message_t *raw)
{
    const char *topic = rd_kafka_topic_name(raw->rkt);
    if (reader->last < reader->count && compare(reader, reader->last, topic, raw->partition) == 0)
        return reader->last;
    int32_t lane = find(reader, topic, raw->partition);
    if (lane >= 0)
        reader->last = lane;
    return lane;
}

/* NULL: it has none, or nobody wants them: librdkafka takes as long to look for them as for all the rest of a message. */
static rd_kafka_headers_t *headers_of(const struct weir_reader *reader, const rd_kafka_message_t *raw)
{
    rd_kafka_headers_t *headers = NULL;
    return raw->err || !reader->given->want_headers || rd_kafka_message_headers(raw, &headers) ? NULL : headers;
}

/* Of header `index`: a name that ends in NUL, and a value. False: there are no more. */
static bool get_header(const rd_kafka_headers_t *headers, size_t index, struct weir_message_header *header)
{
    const void *value = NULL;
    if (!headers || rd_kafka_header_get_all(headers, index, &header->name, &value, &header->value_size))
        return false;
    header->value = value;
    return true;
}

/* Arena and headers have room. */
static void take_headers(const struct weir_reader *reader, struct weir_message *message, const rd_kafka_message_t *raw,
                         struct weir_message_header **header, uint8_t **at)
{
    const rd_kafka_headers_t *headers = headers_of(reader, raw);
    message->headers = *header;
    for (size_t i = 0; get_header(headers, i, *header); i++, ++*header) {
        size_t name_size = strlen((*header)->name) + 1;
        (*header)->name = memcpy(*at, (*header)->name, name_size);
        *at += name_size;
        if ((*header)->value)
            (*header)->value = memcpy(*at, (*header)->value, (*header)->value_size);
        *at += (*header)->value_size;
        message->header_count++;
    }
}

/* The message's bytes go to the arena, which has room. */
static void take_message(const struct weir_reader *reader, struct weir_message *message, const rd_kafka_message_t *raw,
                         int32_t lane, struct weir_message_header **header, uint8_t **at)
{
    rd_kafka_timestamp_type_t type;
    int64_t timestamp = rd_kafka_message_timestamp(raw, &type);
    *message = (struct weir_message){
        .value_size = raw->len,
        .key_size = raw->key_len,
        .lane = lane,
        .position = raw->offset,
        .timestamp_ms = type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE || timestamp < 0 ? INT64_MIN : timestamp,
    };
    if (raw->key) {
        message->key = memcpy(*at, raw->key, raw->key_len);
        *at += raw->key_len;
    }
    if (raw->payload) {
        message->value = memcpy(*at, raw->payload, raw->len);
        *at += raw->len;
    }
    take_headers(reader, message, raw, header, at);
}

static void reserve(struct weir_reader *reader, int count)
{
    size_t size = WEIR_READ_PADDING, header_count = 0;
    for (int i = 0; i < count; i++) {
        struct weir_message_header header;
        const rd_kafka_headers_t *headers = headers_of(reader, reader->raw[i]);
        size += reader->raw[i]->len + reader->raw[i]->key_len;
        for (size_t h = 0; get_header(headers, h, &header); h++, header_count++)
            size += strlen(header.name) + 1 + header.value_size;
    }
    if (header_count > reader->header_capacity) {
        reader->header_capacity = header_count;
        reader->headers = weir_realloc(reader->headers, header_count * sizeof *reader->headers);
    }
    if (size > reader->arena_capacity || (reader->arena_capacity > ARENA_KEPT && size <= ARENA_KEPT)) {
        free(reader->arena);
        reader->arena_capacity = size > ARENA_KEPT / 16 ? size : ARENA_KEPT / 16;
        reader->arena = weir_alloc(reader->arena_capacity);
    }
}

static weir_err take_all(struct weir_reader *reader, int raw_count, int32_t *count, struct weir_error *error)
{
    weir_err err = WEIR_OK;
    uint8_t *at = reader->arena;
    struct weir_message_header *header = reader->headers;
    *count = 0;
    for (int i = 0; i < raw_count; i++) {
        const rd_kafka_message_t *raw = reader->raw[i];
        if (err)
            continue;
        if (raw->err) {
            err = take_event(reader, raw, error);
            continue;
        }
        int32_t lane = lane_of(reader, raw);
        if (lane < 0)
            continue;
        struct partition *partition = &reader->partitions[lane];
        if (!partition->assigned) /* it has ended or is paused, and this was under way */
            continue;
        if (partition->stop >= 0 && raw->offset >= partition->stop) {
            end_partition(reader, lane);
            continue;
        }
        take_message(reader, &reader->messages[(*count)++], raw, lane, &header, &at);
        partition->next = raw->offset + 1;
        if (partition->next == partition->stop)
            end_partition(reader, lane);
    }
    memset(at, 0, WEIR_READ_PADDING);
    for (int i = 0; i < raw_count; i++)
        rd_kafka_message_destroy(reader->raw[i]);
    return err;
}

enum weir_read weir_kafka_read(struct weir_reader *reader, struct weir_connector_ctx *ctx,
                               struct weir_read_messages *messages, int64_t *wait_until_ms, struct weir_error *error)
{
    uint64_t events;
    reader->given = messages;
    messages->count = messages->used = 0;
    weir_err err = assign_new(reader, error); /* what a checkpoint brought, or was paused */
    if (!err)
        err = discover(reader, ctx, error);
    messages->lanes = reader->lanes;
    messages->lane_count = reader->count;
    messages->unsettled = !reader->discovered;
    if (err)
        return WEIR_READ_FAILED;
    ctx->wait_fd(ctx, reader->event_fd);
    if (read(reader->event_fd, &events, sizeof events) < 0 && errno != EAGAIN) {
        (void)weir_fail_errno(error, WEIR_ERR_IO, "connector 'kafka': eventfd");
        return WEIR_READ_FAILED;
    }
    ssize_t n = rd_kafka_consume_batch_queue(reader->queue, 0, reader->raw, MESSAGES_MAX);
    if (n > 0) {
        reserve(reader, (int)n);
        if (take_all(reader, (int)n, &messages->count, error))
            return WEIR_READ_FAILED;
        messages->messages = reader->messages;
        reader->taken += messages->count;
        if (messages->count > 0)
            return WEIR_READ_DATA;
    }
    if (reader->bounded && reader->discovered && all_ended(reader))
        return WEIR_READ_END;
    *wait_until_ms = n > 0 ? ctx->now_ms(ctx) : reader->call ? INT64_MAX : reader->discover_at_ms;
    return WEIR_READ_EMPTY;
}

/* --- Numbers */

/* Fetches say where partitions end; a reader whose messages wait, or that has paused some, has none under way, and asks. */
static void look_at_ends(struct weir_reader *reader, struct weir_connector_ctx *ctx)
{
    bool stalled = reader->taken == reader->taken_before && rd_kafka_queue_length(reader->queue) > 0;
    for (int32_t i = 0; i < reader->count; i++)
        stalled |= reader->partitions[i].paused;
    reader->taken_before = reader->taken;
    if (reader->ends_call && ctx->call_ended(ctx, reader->ends_call)) {
        for (int i = 0; i < reader->ends->list->cnt; i++) {
            const rd_kafka_topic_partition_t *entry = &reader->ends->list->elems[i];
            int32_t lane = find(reader, entry->topic, entry->partition);
            if (lane >= 0 && entry->offset > reader->lanes[lane].end)
                reader->lanes[lane].end = entry->offset;
        }
        weir_call_free(reader->ends_call);
        reader->ends_call = NULL;
    }
    if (!stalled || reader->ends_call || ctx->now_ms(ctx) < reader->ends_at_ms)
        return;
    reader->ends_at_ms = ctx->now_ms(ctx) + ENDS_INTERVAL_MS;
    struct weir_kafka_ends *ends = reader->ends = weir_alloc(sizeof *ends);
    ends->client = weir_kafka_client_ref(reader->client);
    ends->list = rd_kafka_topic_partition_list_new(reader->count);
    for (int32_t i = 0; i < reader->count; i++)
        if (!reader->lanes[i].ended)
            rd_kafka_topic_partition_list_add(ends->list, reader->partitions[i].topic, reader->lanes[i].partition);
    reader->ends_call = ctx->call(ctx, weir_kafka_find_ends, ends, weir_kafka_ends_free);
}

static void report_commits(struct weir_reader *reader, struct weir_connector_ctx *ctx)
{
    pthread_mutex_lock(&reader->told->lock);
    for (int i = 0; reader->told->done && i < reader->told->done->cnt; i++) {
        const rd_kafka_topic_partition_t *entry = &reader->told->done->elems[i];
        int32_t lane = find(reader, entry->topic, entry->partition);
        if (lane >= 0)
            reader->lanes[lane].committed = entry->offset;
    }
    int64_t succeeded = reader->told->succeeded, failed = reader->told->failed;
    pthread_mutex_unlock(&reader->told->lock);
    ctx->number(ctx, WEIR_OP_COMMITS_SUCCEEDED, succeeded);
    ctx->number(ctx, WEIR_OP_COMMITS_FAILED, failed);
}

void weir_kafka_reader_report(struct weir_reader *reader, struct weir_connector_ctx *ctx)
{
    look_at_ends(reader, ctx);
    for (int32_t i = 0; i < reader->count; i++) {
        const struct partition *partition = &reader->partitions[i];
        struct weir_lane *lane = &reader->lanes[i];
        int64_t low, high = -1;
        if (rd_kafka_get_watermark_offsets(reader->client->rk, partition->topic, lane->partition, &low, &high))
            high = -1;
        lane->next = partition->next > partition->seen_end ? partition->next : partition->seen_end;
        if (high > lane->end) /* not known for a while after a broker was away */
            lane->end = high;
    }
    int64_t latency_ms = weir_kafka_latency_ms(reader->client, WEIR_KAFKA_FETCHED, &reader->fetch_us, &reader->fetches);
    if (latency_ms >= 0)
        ctx->number(ctx, WEIR_OP_FETCH_LATENCY, latency_ms);
    if (reader->commits)
        report_commits(reader, ctx);
}

/* --- Checkpoints */

weir_err weir_kafka_reader_snapshot(struct weir_reader *reader, const struct weir_read_bytes *bytes,
                                    struct weir_buf *position, struct weir_error *error)
{
    (void)bytes, (void)error;
    const struct weir_read_messages *given = reader->given;
    int64_t *next = weir_alloc(((size_t)reader->count + 1) * sizeof *next);
    for (int32_t i = 0; i < reader->count; i++)
        next[i] = reader->partitions[i].next;
    for (int32_t i = given ? given->count - 1 : -1; i >= 0 && i >= given->used; i--)
        next[given->messages[i].lane] = given->messages[i].position;
    bool ok = weir_buf_printf(position, "kafka1 %d\n", reader->discovered);
    for (int32_t i = 0; i < reader->count && ok; i++)
        ok = weir_buf_printf(position, "%s\t%d\t%" PRId64 "\t%" PRId64 "\t%" PRId64 "\n", reader->partitions[i].topic,
                             reader->lanes[i].partition, next[i], reader->partitions[i].stop,
                             reader->lanes[i].watermark_ms);
    free(next);
    weir_assert(ok);
    return WEIR_OK;
}

struct entry {
    char topic[256];
    int32_t partition;
    int64_t next, stop, watermark_ms;
};

static const char *next_entry(const char *at, struct entry *entry)
{
    int end = 0;
    if (sscanf(at, "%255[^\t\n]\t%" SCNd32 "\t%" SCNd64 "\t%" SCNd64 "\t%" SCNd64 "\n%n", entry->topic,
               &entry->partition, &entry->next, &entry->stop, &entry->watermark_ms, &end) != 5 ||
        end == 0)
        return NULL;
    return at + end;
}

/* What of `position` is for this reader; all of it when `mine_only` is false. */
static weir_err take_position(struct weir_reader *reader, const char *position, bool mine_only,
                              struct weir_error *error)
{
    int discovered = 0, end = 0;
    struct entry entry;
    if (sscanf(position, "kafka1 %d%n", &discovered, &end) != 1 || position[end] != '\n')
        return weir_fail(error, WEIR_ERR_DATA, "connector 'kafka': '%.40s' is no position of a Kafka source", position);
    for (const char *at = position + end + 1; *at;) {
        at = next_entry(at, &entry);
        if (!at)
            return weir_fail(error, WEIR_ERR_DATA, "connector 'kafka': a position in the checkpoint cannot be read");
        if (!mine_only ||
            weir_kafka_is_mine(entry.topic, entry.partition, reader->template->subtask, reader->template->parallelism))
            add_partition(reader, entry.topic, entry.partition, entry.next, entry.stop, entry.watermark_ms);
    }
    reader->discovered &= discovered != 0;
    return WEIR_OK;
}

weir_err weir_kafka_reader_restore(struct weir_reader *reader, const char *position, struct weir_error *error)
{
    if (!position[0])
        return WEIR_OK;
    reader->discovered = true;
    return take_position(reader, position, false, error);
}

weir_err weir_kafka_reader_rescale(struct weir_reader *reader, const char *const *positions, int count,
                                   struct weir_error *error)
{
    reader->discovered = count > 0;
    weir_err err = WEIR_OK;
    for (int i = 0; i < count && !err; i++) {
        if (positions[i][0])
            err = take_position(reader, positions[i], true, error);
        else
            reader->discovered = false;
    }
    return err;
}

void weir_kafka_reader_complete(struct weir_reader *reader, const char *position)
{
    if (!reader->commits)
        return;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(reader->count);
    const char *at = strchr(position, '\n');
    struct entry entry;
    for (at = at ? at + 1 : ""; *at && (at = next_entry(at, &entry));)
        rd_kafka_topic_partition_list_add(list, entry.topic, entry.partition)->offset = entry.next;
    if (list->cnt > 0)
        (void)rd_kafka_commit(reader->client->rk, list, 1); /* for watchers only: a failure is made good by the next */
    rd_kafka_topic_partition_list_destroy(list);
}
