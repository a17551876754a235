/* Batches on the wire: round trips of every type and size, shared memory where it may be, and bytes that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "data/batch_wire.h"
#include "unit/data_random.h"

static const int row_counts[] = {0, 1, 2, 63, 64, 65, 4096};
#define ROW_COUNTS (sizeof row_counts / sizeof *row_counts)

static struct weir_schema *schema_of(const char *text)
{
    struct weir_schema *schema;
    struct weir_error error;
    if (weir_schema_parse(text, &schema, &error))
        fail_msg("%s", error.message);
    return schema;
}

/* Encoded at `shift` bytes into a fresh buffer. */
static struct weir_buffer *encode(const struct weir_batch *batch, size_t shift, size_t *size)
{
    *size = weir_batch_wire_size(batch);
    struct weir_buffer *buffer = weir_buffer_new(*size + shift + 64);
    memset(buffer->bytes, 0xee, buffer->capacity);
    assert_int_equal(weir_batch_wire_encode(batch, buffer->bytes + shift), *size);
    for (size_t i = shift + *size; i < buffer->capacity; i++)
        assert_int_equal(buffer->bytes[i], 0xee);
    return buffer;
}

static void batches_round_trip(void **state)
{
    (void)state;
    struct random random = {1};
    for (int nullable = 0; nullable < 2; nullable++) {
        struct weir_schema *schema =
            schema_of(nullable ? ALL_TYPES_SCHEMA KEYABLE_TYPES_SCHEMA MAP_TYPES_SCHEMA : ALL_TYPES_SCHEMA_NOT_NULL);
        for (size_t r = 0; r < ROW_COUNTS; r++) {
            for (size_t shift = 0; shift < 9; shift++) { /* aligned, and by every misalignment */
                struct weir_batch *batch = random_batch(&random, schema, row_counts[r], 3);
                if (shift % 2 && row_counts[r] > 0) {
                    batch->change_buffer = weir_buffer_new((size_t)row_counts[r]);
                    batch->change = batch->change_buffer->bytes;
                    for (int row = 0; row < row_counts[r]; row++)
                        batch->change[row] = (uint8_t)random_below(&random, 4);
                }
                size_t size;
                struct weir_buffer *buffer = encode(batch, shift, &size);
                struct weir_batch *decoded;
                struct weir_error error;
                if (weir_batch_wire_decode(schema, buffer, buffer->bytes + shift, size, &decoded, &error))
                    fail_msg("%s", error.message);
                if (shift == 0 && row_counts[r] > 0) {
                    assert_ptr_equal(decoded->columns[4].values_buffer, buffer); /* not copied */
                    assert_true(buffer->refs > 5);
                }
                weir_buffer_unref(buffer); /* the columns hold it */
                assert_int_equal(decoded->row_count, batch->row_count);
                for (int row = 0; row < batch->row_count; row++)
                    assert_true(same_row(batch, row, decoded, row));
                weir_batch_unref(decoded);
                weir_batch_unref(batch);
            }
        }
        weir_schema_unref(schema);
    }
}

static void a_cut_column_is_rebased(void **state)
{
    (void)state;
    struct random random = {2};
    struct weir_schema *schema = schema_of("s STRING, b BYTES");
    struct weir_batch *batch = random_batch(&random, schema, 100, 4);
    struct weir_batch *cut = weir_batch_new_shell(schema, 40); /* rows 64.. of the other, by pointers */
    for (int i = 0; i < 2; i++) {
        weir_column_share(&cut->columns[i], &batch->columns[i]);
        cut->columns[i].offsets += 64;
        if (cut->columns[i].validity)
            cut->columns[i].validity += 1;
    }
    cut->row_count = cut->row_capacity = 36;
    size_t size;
    struct weir_buffer *buffer = encode(cut, 0, &size);
    struct weir_batch *decoded;
    assert_int_equal(weir_batch_wire_decode(schema, buffer, buffer->bytes, size, &decoded, NULL), 0);
    for (int row = 0; row < 36; row++)
        assert_true(same_row(batch, 64 + row, decoded, row));
    weir_batch_unref(decoded);
    weir_buffer_unref(buffer);
    weir_batch_unref(cut);
    weir_batch_unref(batch);
    weir_schema_unref(schema);
}

/* Works on all that a batch claims to have, so that a lie shows under AddressSanitizer. */
static void touch(struct weir_batch *batch)
{
    struct weir_buf out;
    weir_buf_init(&out, 64 << 20);
    for (int row = 0; row < batch->row_count; row++)
        assert_true(weir_batch_print_row(batch, row, &out));
    weir_buf_fini(&out);
    struct weir_batch *copy = weir_batch_slice(batch, batch->row_count / 2, batch->row_count - batch->row_count / 2);
    weir_batch_unref(copy);
}

static weir_err decode_exact(struct weir_schema *schema, const uint8_t *bytes, size_t size, struct weir_batch **batch)
{
    /* Memory that ends with the bytes, not owned: everything is copied. */
    uint8_t *copy = malloc(size ? size : 1);
    memcpy(copy, bytes, size);
    struct weir_error error = {0};
    weir_err err = weir_batch_wire_decode(schema, NULL, copy, size, batch, &error);
    assert_true(err == WEIR_OK || (err == WEIR_ERR_PROTOCOL && error.message[0] != '\0'));
    free(copy);
    return err;
}

static void lying_bytes_do_no_harm(void **state)
{
    (void)state;
    struct random random = {3};
    struct weir_schema *schema = schema_of(ALL_TYPES_SCHEMA KEYABLE_TYPES_SCHEMA MAP_TYPES_SCHEMA);
    int refused = 0, accepted = 0;
    for (int round = 0; round < 12; round++) {
        struct weir_batch *batch = random_batch(&random, schema, row_counts[round % 6], 3), *decoded;
        size_t size;
        struct weir_buffer *buffer = encode(batch, 0, &size);
        for (size_t cut = 0; cut < size; cut += cut < 600 ? 1 : 61)
            assert_int_equal(decode_exact(schema, buffer->bytes, cut, &decoded), WEIR_ERR_PROTOCOL);
        uint8_t *noisy = malloc(size + 8);
        memcpy(noisy, buffer->bytes, size);
        memset(noisy + size, 0, 8);
        assert_int_equal(decode_exact(schema, noisy, size + 8, &decoded), WEIR_ERR_PROTOCOL);
        size_t head = 16 + 32 * (size_t)schema->field_count;
        for (int i = 0; i < 4000; i++) {
            memcpy(noisy, buffer->bytes, size);
            size_t range = i % 2 ? head : size; /* half of them into the headers */
            for (int flips = 1 + random_below(&random, 3); flips > 0; flips--)
                noisy[random_next(&random) % range] ^= (uint8_t)(1 << random_below(&random, 8));
            if (i % 16 == 0) { /* a size or a count at an extreme */
                uint64_t extreme = i % 32 ? UINT64_MAX - (uint64_t)random_below(&random, 16) : (uint64_t)1 << 63;
                memcpy(noisy + 8 * (size_t)random_below(&random, (int)(head / 8)), &extreme, 8);
            }
            if (decode_exact(schema, noisy, size, &decoded)) {
                refused++;
                continue;
            }
            accepted++;
            touch(decoded);
            weir_batch_unref(decoded);
        }
        free(noisy);
        weir_buffer_unref(buffer);
        weir_batch_unref(batch);
    }
    assert_true(refused > 1000);
    assert_true(accepted > 100); /* a flipped value is a value */
    weir_schema_unref(schema);
}

static void each_lie_has_its_sentence(void **state)
{
    (void)state;
    struct random random = {4};
    struct weir_schema *schema = schema_of("a BIGINT, s STRING"), *other = schema_of("a BIGINT"),
                       *typed = schema_of("a BIGINT, s BYTES"), *strict = schema_of("a BIGINT NOT NULL, s STRING");
    struct weir_batch *batch = random_batch(&random, schema, 70, 2), *decoded;
    size_t size;
    struct weir_buffer *buffer = encode(batch, 0, &size);
    struct weir_error error;
#define EXPECT(schema_, text_) \
    do { \
        assert_int_equal(weir_batch_wire_decode(schema_, buffer, buffer->bytes, size, &decoded, &error), \
                         WEIR_ERR_PROTOCOL); \
        if (!strstr(error.message, text_)) \
            fail_msg("%s", error.message); \
    } while (0)
    EXPECT(other, "2 columns on the wire, 1 in the plan");
    EXPECT(typed, "column 's' has type 8 on the wire, 9 in the plan");
    EXPECT(strict, "column 'a' is NOT NULL and has a NULL");
    uint8_t *bytes = buffer->bytes;
    bytes[0] ^= 1;
    EXPECT(schema, "without its header");
    bytes[0] ^= 1;
    bytes[4] = 2;
    EXPECT(schema, "version 2");
    bytes[4] = 1;
    bytes[9] = 0x20; /* 8262 rows */
    EXPECT(schema, "the most is 4096");
    bytes[9] = 0;
    bytes[8] ^= 1;
    EXPECT(schema, "wrong sizes for 71 rows");
    bytes[8] ^= 1;
    size_t offsets_at = 16 + 2 * 32 + 16 + 70 * 8 + 16;
    bytes[offsets_at + 4 * 35 + 3] = 0x80; /* negative */
    EXPECT(schema, "column 's' has offsets");
    assert_int_equal(buffer->refs, 1); /* a failed decode holds nothing */
    weir_buffer_unref(buffer);
    weir_batch_unref(batch);
    weir_schema_unref(schema);
    weir_schema_unref(other);
    weir_schema_unref(typed);
    weir_schema_unref(strict);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_round_trip),
        cmocka_unit_test(a_cut_column_is_rebased),
        cmocka_unit_test(lying_bytes_do_no_harm),
        cmocka_unit_test(each_lie_has_its_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
