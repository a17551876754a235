/* jobmanager/core/head: writers against a model of an object store that loses and delays requests and replies, by seed. What must hold: versions
 * follow each other only along writes that were conditional on them; a writer that is told DONE has written exactly that; at most one
 * writer is not fenced once both have written; a writer alone always gets on. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "jobmanager/core/head.h"

struct version {
    bool exists;
    uint64_t number;
    uint8_t nonce[WEIR_HEAD_NONCE_SIZE];
};

struct pending { /* a PUT that is still under way: it may arrive late, or never */
    bool used, if_match;
    char tag[WEIR_HEAD_TAG_SIZE];
    uint8_t nonce[WEIR_HEAD_NONCE_SIZE];
    int64_t at_ms;
};

struct writer {
    struct weir_head head;
    int done;
    bool lost;
};

struct world {
    uint64_t random;
    int64_t now_ms;
    struct version now;
    uint64_t history[4096]; /* nonces of all versions, in order */
    int versions;
    struct pending late[64];
    struct writer writers[2];
    int trouble; /* percent */
};

static uint64_t next(struct world *w)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    return w->random ^= w->random << 17;
}

static bool chance(struct world *w, int percent)
{
    return (int)(next(w) % 100) < percent;
}

static void tag_of(const struct version *version, char tag[WEIR_HEAD_TAG_SIZE])
{
    snprintf(tag, WEIR_HEAD_TAG_SIZE, "v%" PRIu64, version->number);
}

static bool apply(struct world *w, const struct pending *put)
{
    char tag[WEIR_HEAD_TAG_SIZE];
    tag_of(&w->now, tag);
    if (put->if_match ? !w->now.exists || strcmp(tag, put->tag) != 0 : w->now.exists)
        return false;
    w->now.exists = true;
    w->now.number++;
    memcpy(w->now.nonce, put->nonce, sizeof w->now.nonce);
    memcpy(&w->history[w->versions++], put->nonce, 8);
    return true;
}

/* Requests that were thought lost arrive. */
static void arrive_late(struct world *w, bool all)
{
    for (int i = 0; i < 64; i++)
        if (w->late[i].used && (all || chance(w, 20))) {
            w->late[i].used = false;
            apply(w, &w->late[i]);
        }
}

static enum weir_head_action put(struct world *w, struct weir_head *head)
{
    struct pending request = {.used = true, .if_match = head->exists};
    memcpy(request.tag, head->tag, sizeof request.tag);
    memcpy(request.nonce, head->new_nonce, sizeof request.nonce);
    char tag[WEIR_HEAD_TAG_SIZE] = "";
    if (chance(w, w->trouble)) { /* no reply: lost on the way there, on the way back, or late */
        if (chance(w, 40))
            apply(w, &request);
        else if (chance(w, 50))
            w->late[next(w) % 64] = request;
        return weir_head_put_done(head, WEIR_HEAD_PUT_UNKNOWN, NULL);
    }
    bool happened = apply(w, &request);
    if (happened && chance(w, w->trouble / 2)) /* a proxy repeats the request and gives the second reply */
        return weir_head_put_done(head, WEIR_HEAD_PUT_CONDITION, NULL);
    tag_of(&w->now, tag);
    return weir_head_put_done(head, happened ? WEIR_HEAD_PUT_OK : WEIR_HEAD_PUT_CONDITION, tag);
}

static enum weir_head_action get(struct world *w, struct weir_head *head)
{
    char tag[WEIR_HEAD_TAG_SIZE];
    tag_of(&w->now, tag);
    if (chance(w, w->trouble))
        return weir_head_got(head, WEIR_HEAD_GET_FAILED, NULL, NULL, w->now_ms);
    return weir_head_got(head, w->now.exists ? WEIR_HEAD_GET_OK : WEIR_HEAD_GET_ABSENT, tag, w->now.nonce, w->now_ms);
}

static void write_one(struct world *w, int index)
{
    struct writer *writer = &w->writers[index];
    uint8_t nonce[WEIR_HEAD_NONCE_SIZE];
    for (int i = 0; i < WEIR_HEAD_NONCE_SIZE; i++)
        nonce[i] = (uint8_t)next(w);
    int versions = w->versions;
    enum weir_head_action action = weir_head_write(&writer->head, nonce);
    for (int i = 0; action != WEIR_HEAD_DONE && action != WEIR_HEAD_LOST; i++) {
        assert_true(i < 10000); /* it gets on */
        if (chance(w, 10))
            arrive_late(w, false);
        if (chance(w, 3) && index == 0) /* the other comes in between */
            if (!w->writers[1].lost && w->writers[1].head.state == WEIR_HEAD_IDLE)
                write_one(w, 1);
        if (action == WEIR_HEAD_PUT)
            action = put(w, &writer->head);
        else if (action == WEIR_HEAD_GET)
            action = get(w, &writer->head);
        else {
            assert_int_equal(writer->head.state, WEIR_HEAD_WAITING);
            assert_true(writer->head.wake_at_ms <= w->now_ms + 2000);
            assert_int_equal(weir_head_tick(&writer->head, writer->head.wake_at_ms - 1), WEIR_HEAD_NOTHING);
            if (w->now_ms < writer->head.wake_at_ms) /* it is later already when the other one waited meanwhile */
                w->now_ms = writer->head.wake_at_ms;
            action = weir_head_tick(&writer->head, w->now_ms);
        }
    }
    uint64_t mine;
    memcpy(&mine, nonce, sizeof mine);
    int times = 0;
    for (int i = 0; i < w->versions; i++)
        times += w->history[i] == mine;
    writer->lost = action == WEIR_HEAD_LOST;
    writer->done += action == WEIR_HEAD_DONE;
    if (action == WEIR_HEAD_DONE)
        assert_int_equal(times, 1); /* exactly that, exactly once */
    else
        assert_true(times <= 1 && w->versions > versions - 1);
    if (writer->lost)
        assert_int_equal(writer->head.state, WEIR_HEAD_FENCED);
}

static void start(struct world *w, uint64_t seed, int trouble)
{
    memset(w, 0, sizeof *w);
    w->random = seed * 0x9e3779b97f4a7c15u + 1;
    w->trouble = trouble;
    weir_head_init(&w->writers[0].head);
    weir_head_init(&w->writers[1].head);
}

static void a_writer_alone(void **state)
{
    (void)state;
    static struct world w;
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        start(&w, seed, (int)(seed % 80));
        w.writers[1].lost = true; /* there is none */
        for (int i = 0; i < 20; i++) {
            write_one(&w, 0);
            assert_false(w.writers[0].lost);
            assert_int_equal(w.versions, i + 1);
        }
    }
}

static void two_writers(void **state)
{
    (void)state;
    static struct world w;
    int fenced[2] = {0, 0};
    for (uint64_t seed = 1; seed <= 5000; seed++) {
        start(&w, seed, (int)(seed % 70));
        for (int i = 0; i < 10; i++)
            for (int k = 0; k < 2; k++)
                if (!w.writers[k].lost && w.writers[k].head.state == WEIR_HEAD_IDLE)
                    write_one(&w, k);
        assert_true(w.writers[0].lost || w.writers[1].lost);
        assert_false(w.writers[0].lost && w.writers[1].lost && w.versions == 0);
        fenced[0] += w.writers[0].lost;
        fenced[1] += w.writers[1].lost;
        int before = w.versions;
        arrive_late(&w, true);
        assert_true(w.versions <= before + 1); /* what was under way and abandoned; of one condition, one */
    }
    assert_true(fenced[0] > 100 && fenced[1] > 100);
}

static void a_takeover(void **state)
{
    (void)state;
    static struct world w;
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        start(&w, seed, (int)(seed % 60));
        w.writers[1].lost = true;
        write_one(&w, 0);
        char tag[WEIR_HEAD_TAG_SIZE];
        arrive_late(&w, true);
        tag_of(&w.now, tag);
        weir_head_init_read(&w.writers[1].head, tag, w.now.nonce);
        w.writers[1].lost = false;
        write_one(&w, 1); /* the new leader's fencing write */
        assert_false(w.writers[1].lost);
        w.writers[1].lost = true; /* quiet */
        write_one(&w, 0);
        assert_true(w.writers[0].lost); /* the old one learns it */
    }
}

static void answers_nobody_waits_for(void **state)
{
    (void)state;
    struct weir_head head;
    uint8_t nonce[WEIR_HEAD_NONCE_SIZE] = {1};
    weir_head_init(&head);
    assert_int_equal(weir_head_put_done(&head, WEIR_HEAD_PUT_OK, "x"), WEIR_HEAD_NOTHING);
    assert_int_equal(weir_head_got(&head, WEIR_HEAD_GET_OK, "x", nonce, 1), WEIR_HEAD_NOTHING);
    assert_int_equal(weir_head_tick(&head, 1), WEIR_HEAD_NOTHING);
    assert_int_equal(head.state, WEIR_HEAD_IDLE);
    assert_false(head.exists);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_writer_alone),
        cmocka_unit_test(two_writers),
        cmocka_unit_test(a_takeover),
        cmocka_unit_test(answers_nobody_waits_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
