/* Dead letters for `weir dlq`: where they are (a directory, S3, a topic), as JSON objects of one form, with what was replayed of them. */
#ifndef WEIR_CLIENT_DLQ_H
#define WEIR_CLIENT_DLQ_H

#include "client_int.h"
#include "store/store.h"

struct dlq_place {
    const char *name;         /* as given */
    struct weir_store *store; /* of files; NULL: a topic */
    struct weir_config *config;
    char *topic;
    struct weir_key_value properties[WEIR_CLIENT_PAIRS_MAX + 1]; /* of the brokers, "properties.NAME" */
    int property_count;
    json_t *replayed; /* object: the ids of those that were; known after dlq_read_marks() */
    json_t *replays;  /* object: the ids of replays that are done */
    json_t *pending;  /* array: marks of replays that were cut short, as below */
};

/* A mark: {"replay": ID, "state": "pending", "done" or "aborted", "ids": [..], "topic": .., "file": ..}. The last one of an ID counts. */

/* PLACE or BROKERS/TOPIC; an exit code, said. `place` is to be closed in any case. */
int dlq_open(struct weir_client *client, const char *name, struct dlq_place *place);
void dlq_close(struct dlq_place *place);
/* "kafka://BROKERS[/TOPIC]" into properties and topic (NULL: none); false: it is no such place. */
bool dlq_parse_brokers(struct weir_client *client, const char *name, struct dlq_place *place);

weir_err dlq_read_marks(struct dlq_place *place, struct weir_error *error);
weir_err dlq_put_mark(struct dlq_place *place, const json_t *mark, struct weir_error *error);
/* Every dead letter; `id` tells it from all others of the place. False ends it. */
typedef bool dlq_visit(const char *id, json_t *letter, void *arg);
weir_err dlq_read(struct dlq_place *place, dlq_visit *visit, void *arg, struct weir_error *error);

/* The bytes of a member that is base64, freed by the caller; NULL: it is null, or not there. */
uint8_t *dlq_bytes(const json_t *letter, const char *member, size_t *size);
/* Are all of its bytes there? */
bool dlq_is_whole(const json_t *letter);

int dlq_replay(struct weir_client *client, struct dlq_place *place);

#endif
