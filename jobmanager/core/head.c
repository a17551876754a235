/* See head.h. */
#include "jobmanager/core/head.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mutant.h"

#define PAUSE_FIRST_MS 20
#define PAUSE_MAX_MS 2000

void weir_head_init(struct weir_head *head)
{
    memset(head, 0, sizeof *head);
    head->wake_at_ms = INT64_MAX;
}

void weir_head_init_read(struct weir_head *head, const char *tag, const uint8_t nonce[WEIR_HEAD_NONCE_SIZE])
{
    weir_head_init(head);
    head->exists = true;
    snprintf(head->tag, sizeof head->tag, "%s", tag);
    memcpy(head->nonce, nonce, sizeof head->nonce);
}

static bool same(const uint8_t a[WEIR_HEAD_NONCE_SIZE], const uint8_t b[WEIR_HEAD_NONCE_SIZE])
{
    return memcmp(a, b, WEIR_HEAD_NONCE_SIZE) == 0;
}

static enum weir_head_action happened(struct weir_head *head, const char *tag)
{
    head->state = WEIR_HEAD_IDLE;
    head->exists = true;
    snprintf(head->tag, sizeof head->tag, "%s", tag);
    memcpy(head->nonce, head->new_nonce, sizeof head->nonce);
    return WEIR_HEAD_DONE;
}

static enum weir_head_action fenced(struct weir_head *head)
{
    head->state = WEIR_HEAD_FENCED;
    head->wake_at_ms = INT64_MAX;
    return WEIR_HEAD_LOST;
}

enum weir_head_action weir_head_write(struct weir_head *head, const uint8_t nonce[WEIR_HEAD_NONCE_SIZE])
{
    weir_assert(head->state == WEIR_HEAD_IDLE);
    weir_assert(!head->exists || !same(nonce, head->nonce));
    memcpy(head->new_nonce, nonce, sizeof head->new_nonce);
    head->attempts = 0;
    head->unchanged = false;
    head->state = WEIR_HEAD_PUTTING;
    return WEIR_HEAD_PUT;
}

enum weir_head_action weir_head_put_done(struct weir_head *head, enum weir_head_put_result result, const char *tag)
{
    if (head->state != WEIR_HEAD_PUTTING)
        return WEIR_HEAD_NOTHING;
    if (result == WEIR_HEAD_PUT_OK || (result == WEIR_HEAD_PUT_UNKNOWN && WEIR_MUTANT(jm_head_unknown_is_done)))
        return happened(head, tag);
    if (result == WEIR_HEAD_PUT_CONDITION && WEIR_MUTANT(jm_head_condition_is_lost))
        return fenced(head);
    head->state = WEIR_HEAD_READING;
    return WEIR_HEAD_GET;
}

enum weir_head_action weir_head_got(struct weir_head *head, enum weir_head_get_result result, const char *tag,
                                    const uint8_t nonce[WEIR_HEAD_NONCE_SIZE], int64_t now_ms)
{
    if (head->state != WEIR_HEAD_READING)
        return WEIR_HEAD_NOTHING;
    if (result == WEIR_HEAD_GET_OK && same(nonce, head->new_nonce))
        return happened(head, tag);
    if (result == WEIR_HEAD_GET_OK && WEIR_MUTANT(jm_head_nonce_ignored))
        return happened(head, tag);
    head->unchanged = result == WEIR_HEAD_GET_ABSENT
                          ? !head->exists
                          : result == WEIR_HEAD_GET_OK && head->exists && same(nonce, head->nonce);
    if (!head->unchanged && result != WEIR_HEAD_GET_FAILED)
        return fenced(head);
    if (result == WEIR_HEAD_GET_OK) /* stores may give the same bytes another tag */
        snprintf(head->tag, sizeof head->tag, "%s", tag);
    int64_t pause_ms = PAUSE_FIRST_MS << (head->attempts < 8 ? head->attempts : 8);
    head->attempts++;
    head->state = WEIR_HEAD_WAITING;
    head->wake_at_ms = now_ms + (pause_ms < PAUSE_MAX_MS ? pause_ms : PAUSE_MAX_MS);
    return WEIR_HEAD_NOTHING;
}

enum weir_head_action weir_head_tick(struct weir_head *head, int64_t now_ms)
{
    if (head->state != WEIR_HEAD_WAITING || now_ms < head->wake_at_ms)
        return WEIR_HEAD_NOTHING;
    head->wake_at_ms = INT64_MAX;
    head->state = head->unchanged ? WEIR_HEAD_PUTTING : WEIR_HEAD_READING;
    return head->unchanged ? WEIR_HEAD_PUT : WEIR_HEAD_GET;
}
