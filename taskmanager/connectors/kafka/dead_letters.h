/* Dead letters in topics, for `weir dlq`: all that are committed are read, and what they were is written again. Everything blocks; one thread.
 *
 * A replay is a transaction, and the transaction has a mark: the committed offset of a consumer group named after it. So whoever comes after a
 * replay that was cut short takes the transactional id (what it had open is settled), and asks for the mark.
 */
#ifndef WEIR_CONNECTORS_KAFKA_DEAD_LETTERS_H
#define WEIR_CONNECTORS_KAFKA_DEAD_LETTERS_H

#include "base/error.h"
#include "weir/connector.h"

/* False ends it. `lane` of the message is its partition. */
typedef bool weir_kafka_visit(const struct weir_message *message, void *arg);
/* `options`: properties.NAME. NOT_FOUND: there is no such topic. */
weir_err weir_kafka_read_all(const struct weir_key_value *options, int option_count, const char *topic,
                             weir_kafka_visit *visit, void *arg, struct weir_error *error);

struct weir_kafka_replay; /* opaque */
/* Takes the transactional id; NULL: messages are written without transactions, weir_kafka_replay_commit() waits for them. */
weir_err weir_kafka_replay_open(const struct weir_key_value *options, int option_count, const char *id,
                                struct weir_kafka_replay **replay, struct weir_error *error);
/* Was the transaction with that mark committed? `topic`: one of those that it wrote to. */
weir_err weir_kafka_replay_has(struct weir_kafka_replay *replay, const char *mark, const char *topic, bool *has,
                               struct weir_error *error);
/* For a replay with an id. */
weir_err weir_kafka_replay_begin(struct weir_kafka_replay *replay, struct weir_error *error);
/* The message is copied; its topic must be there. */
weir_err weir_kafka_replay_send(struct weir_kafka_replay *replay, const struct weir_message_out *message,
                                struct weir_error *error);
/* `mark`: NULL for none. */
weir_err weir_kafka_replay_commit(struct weir_kafka_replay *replay, const char *mark, const char *topic,
                                  struct weir_error *error);
void weir_kafka_replay_close(struct weir_kafka_replay *replay); /* aborts what is open. NULL is allowed */

#endif
