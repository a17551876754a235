/* Compare-and-swap on one job's HEAD object (or LEADER): pure. It decides what to ask of the object store and what an answer means; the
 * caller performs the requests and sends the answers back.
 *
 * Rules (object store 1 to 4 of the protocol): every write carries a new random nonce and is conditional, on the tag of the version that
 * it replaces or, for the first one, on there being none. Success is known only from a reply that says so. Any other reply, "the condition
 * did not hold", a server's error, no reply, is followed by a read, and what is there decides:
 *   my nonce          the write happened
 *   the old nonce     it did not, and never will under the old tag once another has: it is tried again
 *   another's nonce   somebody else writes here: FENCED, for ever
 * A write whose reply was lost may still arrive later. That is no danger: it can only succeed while the version it replaces is still
 * there, and then it is the write that is wanted anyway; a repeat of it carries the same bytes and the same nonce.
 *
 * One write is under way at a time; the caller merges what it wants next into one following write.
 */
#ifndef WEIR_JOBMANAGER_CORE_HEAD_H
#define WEIR_JOBMANAGER_CORE_HEAD_H

#include <stdbool.h>
#include <stdint.h>

#define WEIR_HEAD_NONCE_SIZE 16
#define WEIR_HEAD_TAG_SIZE 128

enum weir_head_state {
    WEIR_HEAD_IDLE,    /* tag and nonce are those of what is there, as far as is known */
    WEIR_HEAD_PUTTING, /* a conditional write is under way */
    WEIR_HEAD_READING, /* its end is not known: a read is under way */
    WEIR_HEAD_WAITING, /* before the next attempt: a write when the old version was seen to be there still, else a read */
    WEIR_HEAD_FENCED   /* another writes here */
};

struct weir_head {
    enum weir_head_state state;
    bool exists;                             /* a version is known to be there */
    char tag[WEIR_HEAD_TAG_SIZE];            /* of that version */
    uint8_t nonce[WEIR_HEAD_NONCE_SIZE];     /* of that version */
    uint8_t new_nonce[WEIR_HEAD_NONCE_SIZE]; /* of the write under way */
    int64_t wake_at_ms;                      /* WAITING: until then; else INT64_MAX */
    bool unchanged;                          /* the last read saw the old version */
    int attempts;                            /* reads in doubt since the write began: the pause grows */
};

enum weir_head_action { /* what the caller does now */
                        WEIR_HEAD_NOTHING,
                        WEIR_HEAD_PUT, /* the bytes of the write under way: if `exists` then IF_MATCH `tag`, else IF_ABSENT. Answer: weir_head_put_done() */
                        WEIR_HEAD_GET,  /* answer: weir_head_got() */
                        WEIR_HEAD_DONE, /* the write happened; the next one may begin */
                        WEIR_HEAD_LOST  /* fenced: stop whatever depends on being the writer */
};

enum weir_head_put_result { WEIR_HEAD_PUT_OK, WEIR_HEAD_PUT_CONDITION, WEIR_HEAD_PUT_UNKNOWN };
enum weir_head_get_result { WEIR_HEAD_GET_OK, WEIR_HEAD_GET_ABSENT, WEIR_HEAD_GET_FAILED };

/* Nothing is there (a submission). */
void weir_head_init(struct weir_head *head);
/* A version was read (a takeover, a restart). */
void weir_head_init_read(struct weir_head *head, const char *tag, const uint8_t nonce[WEIR_HEAD_NONCE_SIZE]);

/* Begins a write: the object's bytes carry `nonce`, which is random and was never used. Only when IDLE. Gives PUT. */
enum weir_head_action weir_head_write(struct weir_head *head, const uint8_t nonce[WEIR_HEAD_NONCE_SIZE]);
/* The answer to PUT; `tag` of the new version with OK. An answer that nobody waits for changes nothing. */
enum weir_head_action weir_head_put_done(struct weir_head *head, enum weir_head_put_result result, const char *tag);
/* The answer to GET; tag and nonce with OK. A version that cannot be read as one has a nonce of zeros: another's. */
enum weir_head_action weir_head_got(struct weir_head *head, enum weir_head_get_result result, const char *tag,
                                    const uint8_t nonce[WEIR_HEAD_NONCE_SIZE], int64_t now_ms);
/* The clock reached wake_at_ms. */
enum weir_head_action weir_head_tick(struct weir_head *head, int64_t now_ms);

#endif
