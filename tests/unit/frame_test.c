/* Frames: what is sealed is decoded; every bit flipped, every cut and random bytes are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/unpack.h"
#include "control.pb-c.h"
#include "net/frame.h"

static uint64_t rng = 42;
static uint32_t next_random(void)
{
    rng = rng * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng >> 33);
}

static size_t make(uint8_t *out, enum weir_frame_type type, size_t length, uint64_t seq)
{
    for (size_t i = 0; i < length; i++)
        out[WEIR_FRAME_HEADER_SIZE + i] = (uint8_t)(i * 7 + 1);
    struct weir_frame frame = {.type = type,
                               .job = 0x1122334455667788,
                               .channel = (uint64_t)3 << 40 | 5 << 20 | 7,
                               .seq = seq,
                               .attempt = 9,
                               .length = (uint32_t)length};
    return weir_frame_seal(&frame, out);
}

static void round_trip(void **state)
{
    (void)state;
    _Alignas(8) uint8_t bytes[4096];
    size_t at = 0;
    for (size_t length = 1; length < 20; length++) {
        size_t size = make(bytes + at, WEIR_FRAME_BATCH, length, length);
        assert_int_equal(size % 8, 0);
        assert_int_equal(size, weir_frame_size(length));
        at += size;
    }
    size_t end = at, used;
    at = 0;
    for (size_t length = 1; length < 20; length++) {
        struct weir_frame frame;
        struct weir_error error;
        assert_int_equal(weir_frame_decode(bytes + at, end - at, &frame, &used, &error), 0);
        assert_int_equal(frame.type, WEIR_FRAME_BATCH);
        assert_int_equal(frame.job, 0x1122334455667788);
        assert_int_equal(frame.channel, (uint64_t)3 << 40 | 5 << 20 | 7);
        assert_int_equal(frame.seq, length);
        assert_int_equal(frame.attempt, 9);
        assert_int_equal(frame.length, length);
        assert_int_equal(frame.payload[length - 1], (uint8_t)((length - 1) * 7 + 1));
        at += used;
    }
    assert_int_equal(at, end);
}

static void every_flipped_bit_is_seen(void **state)
{
    (void)state;
    _Alignas(8) uint8_t bytes[256];
    size_t length = 37, size = make(bytes, WEIR_FRAME_BATCH, length, 1);
    for (size_t bit = 0; bit < (WEIR_FRAME_HEADER_SIZE + length) * 8; bit++) {
        if (bit / 8 >= 44 && bit / 8 < 48)
            continue; /* reserved, ignored */
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        struct weir_frame frame;
        struct weir_error error;
        size_t used;
        assert_int_equal(weir_frame_decode(bytes, size, &frame, &used, &error), WEIR_ERR_PROTOCOL);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void every_cut_is_seen(void **state)
{
    (void)state;
    uint8_t bytes[256];
    size_t size = make(bytes, WEIR_FRAME_BATCH, 60, 1);
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *exact = malloc(cut ? cut : 1); /* so that a sanitizer sees a read beyond */
        memcpy(exact, bytes, cut);
        struct weir_frame frame;
        struct weir_error error;
        size_t used;
        assert_int_equal(weir_frame_decode(exact, cut, &frame, &used, &error), WEIR_ERR_PROTOCOL);
        free(exact);
    }
}

static void wrong_lengths_for_a_type_are_refused(void **state)
{
    (void)state;
    static const struct {
        enum weir_frame_type type;
        size_t length;
        int err;
    } cases[] = {
        {WEIR_FRAME_WATERMARK, 8, 0},
        {WEIR_FRAME_WATERMARK, 7, WEIR_ERR_PROTOCOL},
        {WEIR_FRAME_END, 0, 0},
        {WEIR_FRAME_END, 1, WEIR_ERR_PROTOCOL},
        {WEIR_FRAME_BATCH, 0, WEIR_ERR_PROTOCOL},
        {WEIR_FRAME_HELLO, 64, 0},
        {WEIR_FRAME_HELLO, 63, WEIR_ERR_PROTOCOL},
        {WEIR_FRAME_CREDIT, 16, 0},
        {WEIR_FRAME_CREDIT, 8, WEIR_ERR_PROTOCOL},
        {(enum weir_frame_type)99, 8, WEIR_ERR_PROTOCOL},
        {(enum weir_frame_type)3, 8, WEIR_ERR_PROTOCOL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t bytes[256];
        size_t size = make(bytes, cases[i].type, cases[i].length, 1), used;
        struct weir_frame frame;
        struct weir_error error;
        assert_int_equal(weir_frame_decode(bytes, size, &frame, &used, &error), cases[i].err);
    }
}

static void random_bytes_never_pass(void **state)
{
    (void)state;
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[128];
        size_t size = make(bytes, WEIR_FRAME_BATCH, 40, 1);
        size_t from = next_random() % 44, count = 1 + next_random() % 8;
        bool changed = false;
        for (size_t i = from; i < from + count && i < 44; i++) {
            uint8_t old = bytes[i];
            bytes[i] = (uint8_t)next_random();
            changed |= old != bytes[i];
        }
        struct weir_frame frame;
        struct weir_error error;
        size_t used;
        weir_err err = weir_frame_decode(bytes, size - (round & 1), &frame, &used, &error);
        if (changed || (round & 1))
            assert_int_equal(err, WEIR_ERR_PROTOCOL);
        else
            assert_int_equal(err, 0);
    }
}

static void job_tags_differ_by_incarnation(void **state)
{
    (void)state;
    assert_true(weir_frame_job_tag("aa", 1) != weir_frame_job_tag("aa", 2));
    assert_true(weir_frame_job_tag("aa", 1) != weir_frame_job_tag("ab", 1));
    assert_true(weir_frame_job_tag("aa", 1) == weir_frame_job_tag("aa", 1));
}

/* 2 bytes an empty message on the wire, a hundred in memory: half a megabyte would become fifty. */
static void test_control_messages_have_a_memory_budget(void **state)
{
    (void)state;
    size_t count = (size_t)1 << 18, size = 2 * count, at = 0;
    uint8_t *bytes = malloc(size + 8);
    assert_non_null(bytes);
    bytes[at++] = 13 << 3 | 2; /* Control.heartbeat */
    for (size_t rest = size; rest > 0; rest >>= 7)
        bytes[at++] = (uint8_t)(rest & 0x7f) | (rest >> 7 ? 0x80 : 0);
    for (size_t i = 0; i < count; i++) {
        bytes[at++] = 2 << 3 | 2; /* Heartbeat.metrics */
        bytes[at++] = 0;
    }
    bool spent = false;
    assert_null(weir_unpack(&weir__control__descriptor, bytes, at, &spent));
    assert_true(spent);
    assert_null(weir_unpack(&weir__control__descriptor, (const uint8_t *)"\xff", 1, &spent));
    assert_false(spent);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_control_messages_have_a_memory_budget),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(every_flipped_bit_is_seen),
        cmocka_unit_test(every_cut_is_seen),
        cmocka_unit_test(wrong_lengths_for_a_type_are_refused),
        cmocka_unit_test(random_bytes_never_pass),
        cmocka_unit_test(job_tags_differ_by_incarnation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
