/* Private to the connector "kafka". */
#ifndef WEIR_CONNECTORS_KAFKA_INT_H
#define WEIR_CONNECTORS_KAFKA_INT_H

#include <librdkafka/rdkafka.h>

#include "connectors/connectors_int.h"
#include "connectors/kafka/publish.h"

extern const struct weir_option weir_kafka_source_options[];
extern const struct weir_option weir_kafka_sink_options[];
/* The sink's option, or its default; "" where nothing is said. */
const char *weir_kafka_sink_get(const struct weir_key_value *options, int count, const char *name);

/* --- client.c: a handle, shared by reference: the reader's thread and calls on the pool use it at the same time. */

struct weir_kafka_client {
    int refs; /* atomic */
    rd_kafka_t *rk;
    void *owner; /* the user's, for its callbacks; may be NULL */
    void (*free_owner)(void *owner);
    char *brokers;                         /* properties.bootstrap.servers, for messages */
    char last_error[512];                  /* what librdkafka said last of a broker or a login; under `lock` */
    int lock;                              /* atomic, a spin lock: the two sides hold it for a strcpy */
    int locked_out;                        /* atomic: a broker has refused the login */
    uint32_t counter;                      /* atomic, the partitioner's: it may run as long as the handle */
    uint64_t response_us[2], responses[2]; /* atomic, by enum weir_kafka_answer: time that brokers took, answers */
};
enum weir_kafka_answer { WEIR_KAFKA_PRODUCED, WEIR_KAFKA_FETCHED };
/* The mean time until an answer, of those since the last call, which *us and *count remember (both begin as 0). -1: none came. */
int64_t weir_kafka_latency_ms(const struct weir_kafka_client *client, enum weir_kafka_answer answer, uint64_t *us,
                              uint64_t *count);

/* The properties are well-formed, as far as can be said without a broker. */
weir_err weir_kafka_check(const struct weir_key_value *options, int option_count, struct weir_error *error);
/* Does not wait for a broker. `setup` (may be NULL) sets callbacks, whose opaque is the client; client->owner is `take_owner`, freed after the
 * handle (also when there is none). */
weir_err weir_kafka_client_new(const struct weir_key_value *options, int option_count, rd_kafka_type_t type,
                               const char *(*defaults)[2], void (*setup)(rd_kafka_conf_t *conf), void *take_owner,
                               void (*free_owner)(void *owner), struct weir_kafka_client **client,
                               struct weir_error *error);
struct weir_kafka_client *weir_kafka_client_ref(struct weir_kafka_client *client);
/* The last one destroys the handle, which may take a while: not on a worker's thread, see weir_kafka_client_leave(). */
void weir_kafka_client_unref(struct weir_kafka_client *client);
/* Lets go of it, and destroys the handle on another thread if this was the last. */
void weir_kafka_client_leave(struct weir_kafka_client *client);
/* "connector 'kafka': WHAT: REASON (brokers B; last: ...)" */
weir_err weir_kafka_fail(struct weir_kafka_client *client, weir_err code, rd_kafka_resp_err_t reason, const char *what,
                         struct weir_error *error);
/* A broker has refused the login, and it will not be let in later. */
bool weir_kafka_is_locked_out(const struct weir_kafka_client *client);
/* The options but for properties.NAME of each name (NULL ends them), *left of them, in a malloc()ed array: what the connector's own handles do is not the
 * user's to change. */
struct weir_key_value *weir_kafka_options_without(const struct weir_key_value *options, int option_count,
                                                  const char *const *names, int *left);
/* The value of properties.NAME, or NULL. */
const char *weir_kafka_property(const struct weir_key_value *options, int option_count, const char *name);

/* --- produce.c */

#define WEIR_KAFKA_TOPIC_SLOTS 2048
enum weir_kafka_partitioner { WEIR_KAFKA_BY_KEY, WEIR_KAFKA_ROUND_ROBIN, WEIR_KAFKA_FIXED };

/* The topics that a writer has written to. */
struct weir_kafka_topics {
    struct weir_kafka_client *client; /* borrowed */
    enum weir_kafka_partitioner partitioner;
    int count;
    rd_kafka_topic_t *slots[WEIR_KAFKA_TOPIC_SLOTS];
};
/* `partitioner`: "default", "round-robin", "fixed" */
void weir_kafka_topics_init(struct weir_kafka_topics *topics, struct weir_kafka_client *client, const char *partitioner,
                            int subtask);
void weir_kafka_topics_fini(struct weir_kafka_topics *topics);
/* DATA: no topic can have that name. */
weir_err weir_kafka_topics_find(struct weir_kafka_topics *topics, const char *name, size_t size,
                                rd_kafka_topic_t **topic, struct weir_error *error);
/* Puts it into the handle's queue. `flags`: RD_KAFKA_MSG_F_COPY, or 0: the bytes stay valid until the delivery report. */
rd_kafka_resp_err_t weir_kafka_produce(rd_kafka_t *rk, rd_kafka_topic_t *topic, const struct weir_message_out *message,
                                       int flags, void *opaque);

struct weir_kafka_sizes;
/* The batches that are made where nothing is known of the topic fit it. */
bool weir_kafka_batches_fit(const struct weir_kafka_sizes *sizes);
/* A producer of the sink's options. `transactional_id`: NULL: it has no transactions. `sizes` (may be NULL): what is known of the topic, so that no batch
 * is larger than it may be. Does not wait for a broker; the rest as weir_kafka_client_new(). */
weir_err weir_kafka_producer_new(const struct weir_key_value *options, int option_count, const char *transactional_id,
                                 const struct weir_kafka_sizes *sizes, void (*setup)(rd_kafka_conf_t *conf),
                                 void *take_owner, void (*free_owner)(void *owner), struct weir_kafka_client **client,
                                 struct weir_error *error);

/* --- ask.c: what a sink asks before it writes */

struct weir_kafka_sizes { /* bytes */
    int64_t message_max;  /* properties.message.max.bytes */
    int64_t topic_max;    /* max.message.bytes of the sink's own topic, of a batch as it is sent; 0: not known */
    int64_t certain_max;  /* a message of it that is larger will be refused, however it is sent; INT64_MAX: not known */
};
/* By the options alone. */
void weir_kafka_sizes_init(struct weir_kafka_sizes *sizes, const struct weir_key_value *options, int option_count);
/* And by the topic's settings, as far as the brokers say them within the time. Blocks. */
void weir_kafka_sizes_ask(struct weir_kafka_sizes *sizes, struct weir_kafka_client *client,
                          const struct weir_key_value *options, int option_count, const char *topic, int timeout_ms);
/* DATA: the message, of key and value, is larger than can be. `topic`: NULL: the sink's own. */
weir_err weir_kafka_sizes_check(const struct weir_kafka_sizes *sizes, const struct weir_message_out *message,
                                struct weir_error *error);
/* INVALID: the brokers have refused it by MSG_SIZE_TOO_LARGE. */
weir_err weir_kafka_refused_size(struct weir_kafka_client *client, const struct weir_kafka_sizes *sizes,
                                 const char *topic, size_t size, struct weir_error *error);
/* Trying again cannot mend it: a login or an ACL, a setting that the brokers do not take. */
bool weir_kafka_is_refusal(rd_kafka_resp_err_t reason);
/* INVALID: a refusal in a job's first attempt; else IO. */
weir_err weir_kafka_code(rd_kafka_resp_err_t reason, bool is_first);

struct weir_kafka_question {
    struct weir_key_value *options; /* copies */
    int option_count;
    const char *topic, *progress_topic; /* in the options; topic "": rows say it */
    char *transactional_id;             /* NULL: without transactions */
    bool is_first;                      /* the job's first attempt */
    struct weir_kafka_sizes sizes;      /* the answer */
};
struct weir_kafka_question *weir_kafka_question_new(const struct weir_key_value *options, int option_count,
                                                    const char *transactional_id, bool is_first);
void weir_kafka_question_free(void *question);
weir_err weir_kafka_ask(void *question, struct weir_error *error); /* blocks, about a minute at most */

/* --- discover.c */

enum weir_kafka_mode { KAFKA_UNBOUNDED, KAFKA_EARLIEST, KAFKA_LATEST, KAFKA_GROUP, KAFKA_TIMESTAMP, KAFKA_SPECIFIC };

struct weir_kafka_place { /* of a partition, in "specific offsets" */
    char *topic;          /* NULL: of the one topic that there is */
    int32_t partition;
    int64_t offset;
};

/* Where to begin (or, bounded, to stop). */
struct weir_kafka_places {
    enum weir_kafka_mode mode;
    int64_t timestamp_ms;
    struct weir_kafka_place *list; /* SPECIFIC */
    int count;
};
/* "partition:0,offset:42;partition:1,offset:300", each also with "topic:x,". */
weir_err weir_kafka_places_parse(const char *option, const char *text, struct weir_kafka_places *places,
                                 struct weir_error *error);
void weir_kafka_places_fini(struct weir_kafka_places *places);

struct weir_kafka_found { /* a partition */
    char *topic;
    int32_t partition;
    int64_t start; /* the first offset to read; -1: not asked for (it is known already) */
    int64_t stop;  /* the first not to be read; -1: none */
};

/* What a discovery is told and what it found; owned by the call, taken from it when it has ended. */
struct weir_kafka_discovery {
    struct weir_kafka_client *client;
    char **topics; /* topic_count names, or one pattern, a POSIX extended regular expression of the whole name */
    int topic_count;
    bool is_pattern;
    struct weir_kafka_places start, stop;
    const char *reset; /* of GROUP, where nothing is committed: "earliest", "latest" or "none"; a literal */
    int subtask, parallelism;
    int timeout_ms;                 /* of each question to the brokers */
    struct weir_kafka_found *known; /* not to be looked up again; `stop` is asked for when it is -2 */
    int known_count;
    bool first; /* partitions that are not known begin where the job does; else at their beginning: they are new */
    struct weir_kafka_found *found;
    int found_count;
};
weir_err weir_kafka_discover(void *discovery, struct weir_error *error); /* blocks */

/* Where partitions end now, for a reader that does not fetch because it is full. */
struct weir_kafka_ends {
    struct weir_kafka_client *client;
    rd_kafka_topic_partition_list_t *list; /* offset: in, anything; out: the end, or negative */
};
weir_err weir_kafka_find_ends(void *ends, struct weir_error *error); /* blocks */
void weir_kafka_ends_free(void *ends);
void weir_kafka_discovery_free(void *discovery);
bool weir_kafka_is_mine(const char *topic, int32_t partition, int subtask, int parallelism);

/* --- bounds.c */

#define WEIR_KAFKA_MEMORY_MIN ((int64_t)1 << 20) /* scan.fetch-memory */
#define WEIR_KAFKA_MEMORY_MAX ((int64_t)2 << 30)

/* librdkafka's bounds for what is fetched and not read, as it wants them; NULL: it keeps its own. */
struct weir_kafka_bounds {
    char queue_kbytes[24], queue_count[24], answer_bytes[24], message_bytes[24];
    const char *backoff_ms; /* until it looks again whether its queue has room */
};
void weir_kafka_bounds_init(struct weir_kafka_bounds *bounds, const struct weir_key_value *options, int option_count,
                            int rdkafka_version);

/* --- reader.c */
weir_err weir_kafka_reader_open(struct weir_connector_ctx *ctx, const struct weir_key_value *options, int option_count,
                                struct weir_reader **reader, struct weir_error *error);
enum weir_read weir_kafka_read(struct weir_reader *reader, struct weir_connector_ctx *ctx,
                               struct weir_read_messages *messages, int64_t *wait_until_ms, struct weir_error *error);
void weir_kafka_reader_close(struct weir_reader *reader);
weir_err weir_kafka_reader_snapshot(struct weir_reader *reader, const struct weir_read_bytes *bytes,
                                    struct weir_buf *position, struct weir_error *error);
weir_err weir_kafka_reader_restore(struct weir_reader *reader, const char *position, struct weir_error *error);
weir_err weir_kafka_reader_rescale(struct weir_reader *reader, const char *const *positions, int count,
                                   struct weir_error *error);
void weir_kafka_reader_complete(struct weir_reader *reader, const char *position);
void weir_kafka_reader_report(struct weir_reader *reader, struct weir_connector_ctx *ctx);
void weir_kafka_reader_pause(struct weir_reader *reader, int32_t lane, bool paused);

/* --- writer.c */
weir_err weir_kafka_writer_open(struct weir_connector_ctx *ctx, const struct weir_key_value *options, int option_count,
                                struct weir_writer **writer, struct weir_error *error);
weir_err weir_kafka_write(struct weir_writer *writer, const struct weir_message_out *messages, int32_t count,
                          int32_t *used, struct weir_error *error);
bool weir_kafka_writer_busy(struct weir_writer *writer);
weir_err weir_kafka_writer_tick(struct weir_writer *writer, int64_t now_ms, int64_t *next_ms, struct weir_error *error);
weir_err weir_kafka_writer_barrier(struct weir_writer *writer, uint64_t checkpoint, struct weir_buf *committable,
                                   struct weir_barrier_sync *sync, struct weir_error *error);
weir_err weir_kafka_writer_seal(struct weir_writer *writer, struct weir_error *error);
weir_err weir_kafka_writer_finish(struct weir_writer *writer, struct weir_buf *committable, struct weir_error *error);
void weir_kafka_writer_close(struct weir_writer *writer);

/* --- transaction.c: a producer with a transactional id. What is not said to block does not. */

#define WEIR_KAFKA_TRANSACTION_TIMEOUT_MS 60000 /* transaction.timeout.ms, where the user says nothing */
struct weir_kafka_transaction;
/* Batches fit the sink's topic, which is asked for: blocks, for seconds. */
weir_err weir_kafka_transaction_new(const struct weir_key_value *options, int option_count, const char *id, int subtask,
                                    struct weir_kafka_transaction **txn, struct weir_error *error);
void weir_kafka_transaction_free(struct weir_kafka_transaction *txn); /* blocks; NULL is allowed */
const char *weir_kafka_transaction_id(const struct weir_kafka_transaction *txn);
/* Takes the id: what it has open is settled, whoever had it is fenced. The progress topic is made where it is not there. Blocks, for minutes. */
weir_err weir_kafka_transaction_fence(struct weir_kafka_transaction *txn, const char *progress_topic,
                                      struct weir_error *error);
weir_err weir_kafka_transaction_begin(struct weir_kafka_transaction *txn, struct weir_error *error);
/* A message into its queue; *taken false: that has no room. DATA: it can never be written. `flags`: RD_KAFKA_MSG_F_COPY, or 0: the bytes stay valid
 * until it is delivered. */
weir_err weir_kafka_transaction_try(struct weir_kafka_transaction *txn, const struct weir_message_out *message,
                                    const char *topic, size_t topic_size, int flags, bool *taken,
                                    struct weir_error *error);
/* Waits for room: blocks, a minute at most, as the two below do. */
weir_err weir_kafka_transaction_produce(struct weir_kafka_transaction *txn, const struct weir_message_out *message,
                                        const char *topic, size_t topic_size, int flags, struct weir_error *error);
/* The marker, with as many messages before it in the transaction. */
weir_err weir_kafka_transaction_mark(struct weir_kafka_transaction *txn, const char *progress_topic,
                                     const struct weir_kafka_marker *marker, int64_t messages,
                                     struct weir_error *error);
/* Everything is with the brokers, or something is not: no waiting for a transaction that cannot be committed. */
weir_err weir_kafka_transaction_flush(struct weir_kafka_transaction *txn, struct weir_error *error);
/* One of its messages was not delivered. */
weir_err weir_kafka_transaction_failure(struct weir_kafka_transaction *txn, struct weir_error *error);
weir_err weir_kafka_transaction_commit(struct weir_kafka_transaction *txn, struct weir_error *error); /* as flush() */
/* Blocks, no longer than that. It may begin another then. */
weir_err weir_kafka_transaction_abort(struct weir_kafka_transaction *txn, int timeout_ms, struct weir_error *error);
int weir_kafka_transaction_left(const struct weir_kafka_transaction *txn); /* messages on their way */
void weir_kafka_transaction_poll(struct weir_kafka_transaction *txn, int ms);

/* --- held.c: transactions that stay open until their checkpoint is complete */
extern const struct weir_connector_held weir_kafka_held;

/* --- commit.c */
/* PREFIX-JOB-OPERATOR and `more`, malloc()ed: the transactional ids of a sink. */
char *weir_kafka_sink_id(const struct weir_key_value *options, int option_count, const char *job_id,
                         const char *operator_id, const char *more);
weir_err weir_kafka_check_messages(struct weir_message_check *check, struct weir_error *error);
weir_err weir_kafka_check_message(const struct weir_message_check *check, const struct weir_message_out *message,
                                  struct weir_error *error);
weir_err weir_kafka_commit(struct weir_message_commit *commit, struct weir_error *error);

/* --- progress.c: which checkpoints a sink has written, by the brokers' word */

/* Makes the topic where it is not there. `is_first`: see weir_kafka_code(). Blocks. */
weir_err weir_kafka_progress_prepare(struct weir_kafka_client *client, const char *topic, bool is_first,
                                     struct weir_error *error);
/* *end: where it ends, every committed marker before that: the high watermark, also just after its leader has changed. Blocks. */
weir_err weir_kafka_progress_end(const struct weir_key_value *options, int option_count, const char *topic,
                                 int64_t *end, struct weir_error *error);
/* A reader of what is committed, at the beginning. */
weir_err weir_kafka_progress_open(const struct weir_key_value *options, int option_count, const char *topic,
                                  struct weir_kafka_client **client, struct weir_error *error);
bool weir_kafka_progress_parse(const rd_kafka_message_t *message, struct weir_kafka_marker *marker);
/* The committed markers of `id`, up to that end. The caller has fenced its id: no transaction of it is open or about to be settled. Blocks, at
 * most a minute. */
weir_err weir_kafka_progress_read(const struct weir_key_value *options, int option_count, const char *topic,
                                  const char *id, struct weir_publish *publish, struct weir_error *error);
/* As a message of the topic; `value` is the text, *message points into it and into `id`. */
void weir_kafka_progress_write(const char *id, const struct weir_kafka_marker *marker, int64_t messages,
                               char value[static 256], struct weir_message_out *message);

/* --- watch.c: the same of many ids, as it grows. One thread at a time; all of it blocks. */

struct weir_kafka_watch;
weir_err weir_kafka_watch_new(const struct weir_key_value *options, int option_count, const char *topic,
                              struct weir_kafka_watch **watch, struct weir_error *error);
void weir_kafka_watch_free(struct weir_kafka_watch *watch); /* NULL is allowed */
/* Ids that begin so are wanted. Before the first look. */
void weir_kafka_watch_add(struct weir_kafka_watch *watch, const char *prefix);
/* Takes what there is, and waits for it up to the time. */
weir_err weir_kafka_watch_look(struct weir_kafka_watch *watch, int timeout_ms, struct weir_error *error);
/* All that was committed when it was called; a minute at most. */
weir_err weir_kafka_watch_reach_end(struct weir_kafka_watch *watch, struct weir_error *error);
struct weir_kafka_marker weir_kafka_watch_find(const struct weir_kafka_watch *watch, const char *id);
const char *weir_kafka_watch_id(const struct weir_kafka_watch *watch, int index); /* those found; NULL: no more */
/* `txn` has fenced its id just now: finds its last marker, and says in another that of what was open up to checkpoint `upto` nothing will
 * be committed any more. */
weir_err weir_kafka_take_over(struct weir_kafka_watch *watch, struct weir_kafka_transaction *txn, uint64_t upto,
                              struct weir_kafka_marker *marker, struct weir_error *error);

struct weir_key_value *weir_kafka_options_copy(const struct weir_key_value *options, int option_count);
void weir_kafka_options_free(struct weir_key_value *copy, int option_count);

#endif
