/* Keys: every path of the hash equals XXH3 over the canonical encoding; order, equality, inverse; hostile bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <xxhash.h>

#include "data/row_key.h"
#include "unit/data_random.h"

static const int row_counts[] = {0, 1, 2, 63, 64, 65, 4096};

static struct weir_schema *schema_of(const char *text)
{
    struct weir_schema *schema;
    struct weir_error error;
    if (weir_schema_parse(text, &schema, &error))
        fail_msg("%s", error.message);
    return schema;
}

/* Straight from the definition, one value. */
static size_t model_encode(const struct weir_column *column, int row, uint8_t *out)
{
    if (weir_column_is_null(column, row)) {
        out[0] = 0;
        return 1;
    }
    uint64_t bits = 0;
    int width = weir_type_width(column->type), first = row, last = row + 1;
    size_t size;
    const uint8_t *bytes;
    out[0] = 1;
    if (column->child) {
        size = 1;
        if (column->type == WEIR_TYPE_ARRAY) {
            first = column->offsets[row];
            last = column->offsets[row + 1];
            for (int i = 0; i < 4; i++)
                out[size++] = (uint8_t)((last - first) >> (24 - 8 * i));
        }
        for (int i = first; i < last; i++) {
            for (int field = 0; field < column->child->schema->field_count; field++)
                size += model_encode(&column->child->columns[field], i, out + size);
        }
        return size;
    }
    switch (column->type) {
    case WEIR_TYPE_BOOLEAN:
        out[1] = weir_bit_get(column->bits, row);
        return 2;
    case WEIR_TYPE_STRING:
    case WEIR_TYPE_BYTES:
        bytes = weir_column_bytes(column, row, &size);
        for (int i = 0; i < 4; i++)
            out[1 + i] = (uint8_t)(size >> (24 - 8 * i));
        memcpy(out + 5, bytes, size);
        return 5 + size;
    case WEIR_TYPE_FLOAT: {
        float value = column->f32[row] == 0 ? 0 : column->f32[row];
        uint32_t narrow;
        memcpy(&narrow, &value, 4);
        if (value != value)
            narrow = 0x7fc00000;
        bits = narrow & 0x80000000 ? ~narrow & 0xffffffff : narrow ^ 0x80000000;
        break;
    }
    case WEIR_TYPE_DOUBLE: {
        double value = column->f64[row] == 0 ? 0 : column->f64[row];
        memcpy(&bits, &value, 8);
        if (value != value)
            bits = 0x7ff8000000000000;
        bits = bits >> 63 ? ~bits : bits ^ (uint64_t)1 << 63;
        break;
    }
    case WEIR_TYPE_DECIMAL:
        for (int i = 0; i < 16; i++)
            out[1 + i] = ((const uint8_t *)&column->decimals[row])[15 - i];
        out[1] ^= 0x80;
        return 17;
    default:
        memcpy(&bits, (const uint8_t *)column->values + row * width, (size_t)width);
        bits ^= (uint64_t)1 << (8 * width - 1);
    }
    for (int i = 0; i < width; i++)
        out[1 + i] = (uint8_t)(bits >> (8 * (width - 1 - i)));
    return 1 + (size_t)width;
}

static void check_batch(const struct weir_batch *batch, const struct weir_key_spec *spec)
{
    static uint64_t hashes[WEIR_BATCH_ROWS_MAX];
    static uint32_t offsets[WEIR_BATCH_ROWS_MAX + 1];
    struct weir_buf out;
    weir_buf_init(&out, 1 << 30);
    weir_key_hash(batch, spec, hashes);
    weir_key_encode(batch, spec, &out, offsets);
    struct weir_batch *decoded = weir_batch_new(batch->schema, batch->row_count > 0 ? batch->row_count : 1);
    assert_int_equal(offsets[0], 0);
    for (int row = 0; row < batch->row_count; row++) {
        static uint8_t key[WEIR_KEY_COLUMNS_MAX * 4096];
        size_t size = 0;
        for (int i = 0; i < spec->column_count; i++)
            size += model_encode(&batch->columns[spec->columns[i]], row, key + size);
        assert_int_equal(offsets[row + 1] - offsets[row], size);
        assert_memory_equal(out.data + offsets[row], key, size);
        assert_true(hashes[row] == XXH3_64bits(key, size));

        struct weir_column *to[WEIR_KEY_COLUMNS_MAX];
        for (int i = 0; i < spec->column_count; i++)
            to[i] = &decoded->columns[spec->columns[i]];
        struct weir_error error;
        if (weir_key_decode(key, size, spec, batch->schema, to, row, decoded->row_capacity, &error))
            fail_msg("%s", error.message);
        for (int i = 0; i < spec->column_count; i++) {
            uint8_t again[4096], before[4096];
            size_t before_size = model_encode(&batch->columns[spec->columns[i]], row, before);
            assert_int_equal(model_encode(to[i], row, again), before_size);
            assert_memory_equal(before, again, before_size);
        }
    }
    weir_batch_unref(decoded);
    weir_buf_fini(&out);
}

static void hashes_are_of_the_encoding(void **state)
{
    (void)state;
    struct random random = {1};
    for (int nullable = 0; nullable < 2; nullable++) {
        struct weir_schema *schema =
            schema_of(nullable ? ALL_TYPES_SCHEMA KEYABLE_TYPES_SCHEMA : ALL_TYPES_SCHEMA_NOT_NULL);
        for (size_t r = 0; r < sizeof row_counts / sizeof *row_counts; r++) {
            struct weir_batch *batch = random_batch(&random, schema, row_counts[r], 3);
            for (int column = 0; column < schema->field_count; column++) {
                struct weir_key_spec one = {.column_count = 1, .columns = {column}};
                check_batch(batch, &one);
                struct weir_key_spec many = {
                    .column_count = 3,
                    .columns = {column, (column + 5) % schema->field_count, (column + 1) % schema->field_count}};
                check_batch(batch, &many);
            }
            weir_batch_unref(batch);
        }
        weir_schema_unref(schema);
    }
}

static void strings_of_every_length(void **state)
{
    (void)state;
    struct weir_schema *schema = schema_of("s STRING NOT NULL");
    struct weir_batch *batch = weir_batch_new(schema, 600);
    char text[600];
    for (int row = 0; row < 600; row++) {
        text[row] = (char)('a' + row % 26);
        weir_column_set_bytes(&batch->columns[0], row, text, (size_t)row);
        batch->row_count = row + 1;
    }
    struct weir_key_spec spec = {.column_count = 1, .columns = {0}};
    check_batch(batch, &spec);
    /* Bytes that end with their memory: nothing may be read behind. */
    struct weir_buffer *exact = weir_buffer_new(64);
    memset(exact->bytes, 'q', 64);
    struct weir_batch *tight = weir_batch_new_shell(schema, 2);
    weir_column_init(&tight->columns[0], &schema->fields[0].type, 2);
    weir_buffer_unref(tight->columns[0].bytes_buffer);
    tight->columns[0].bytes_buffer = exact;
    tight->columns[0].bytes = exact->bytes;
    tight->columns[0].offsets[0] = (int32_t)exact->capacity - 12;
    tight->columns[0].offsets[1] = (int32_t)exact->capacity - 3;
    tight->columns[0].offsets[2] = (int32_t)exact->capacity;
    check_batch(tight, &spec);
    int32_t rows[2] = {1, 0};
    struct weir_batch *gathered = weir_batch_gather(tight, rows, 2);
    assert_true(same_row(gathered, 0, tight, 1) && same_row(gathered, 1, tight, 0));
    weir_batch_unref(gathered);
    weir_batch_unref(tight);
    weir_batch_unref(batch);
    weir_schema_unref(schema);
}

static void equal_numbers_have_equal_keys_and_order_holds(void **state)
{
    (void)state;
    struct weir_schema *schema = schema_of("d DOUBLE NOT NULL");
    static const double sorted[] = {-INFINITY, -1e300, -1.5, -5e-324, 0.0, 5e-324, 1.0, 1e300, INFINITY, NAN};
    enum { COUNT = sizeof sorted / sizeof *sorted };
    struct weir_batch *batch = weir_batch_new(schema, COUNT + 2);
    memcpy(batch->columns[0].f64, sorted, sizeof sorted);
    batch->columns[0].f64[COUNT] = -0.0;
    batch->columns[0].f64[COUNT + 1] = -NAN;
    batch->row_count = COUNT + 2;
    struct weir_key_spec spec = {.column_count = 1, .columns = {0}};
    uint32_t offsets[COUNT + 3];
    uint64_t hashes[COUNT + 2];
    struct weir_buf out;
    weir_buf_init(&out, 1 << 20);
    weir_key_encode(batch, &spec, &out, offsets);
    weir_key_hash(batch, &spec, hashes);
    for (int row = 1; row < COUNT; row++)
        assert_true(memcmp(out.data + offsets[row - 1], out.data + offsets[row], 9) < 0);
    assert_memory_equal(out.data + offsets[COUNT], out.data + offsets[4], 9);
    assert_memory_equal(out.data + offsets[COUNT + 1], out.data + offsets[COUNT - 1], 9);
    assert_true(hashes[COUNT] == hashes[4]);
    assert_true(hashes[COUNT + 1] == hashes[COUNT - 1]);
    weir_buf_fini(&out);
    weir_batch_unref(batch);
    weir_schema_unref(schema);
}

static void broken_keys_are_refused(void **state)
{
    (void)state;
    struct random random = {2};
    struct weir_schema *schema = schema_of("a BIGINT, s STRING, b BOOLEAN");
    struct weir_key_spec spec = {.column_count = 3, .columns = {0, 1, 2}};
    struct weir_batch *batch = random_batch(&random, schema, 64, 5);
    uint32_t offsets[65];
    struct weir_buf out;
    weir_buf_init(&out, 1 << 20);
    weir_key_encode(batch, &spec, &out, offsets);
    struct weir_batch *to = weir_batch_new(schema, 1);
    struct weir_column *columns[3] = {&to->columns[0], &to->columns[1], &to->columns[2]};
    for (int row = 0; row < 64; row++) {
        size_t size = offsets[row + 1] - offsets[row];
        for (size_t cut = 0; cut < size; cut++) {
            uint8_t *copy = memcpy(malloc(size), out.data + offsets[row], size);
            copy = realloc(copy, cut ? cut : 1);
            assert_int_equal(weir_key_decode(copy, cut, &spec, schema, columns, 0, 1, NULL), WEIR_ERR_PROTOCOL);
            free(copy);
        }
        uint8_t *noisy = memcpy(malloc(size + 1), out.data + offsets[row], size);
        noisy[size] = 0;
        assert_int_equal(weir_key_decode(noisy, size + 1, &spec, schema, columns, 0, 1, NULL), WEIR_ERR_PROTOCOL);
        for (int i = 0; i < 50; i++) { /* any outcome but a crash */
            noisy[random_next(&random) % size] ^= (uint8_t)(1 << random_below(&random, 8));
            (void)!weir_key_decode(noisy, size, &spec, schema, columns, 0, 1, NULL);
        }
        free(noisy);
    }
    weir_batch_unref(to);
    weir_batch_unref(batch);
    weir_buf_fini(&out);
    weir_schema_unref(schema);
}

static void names_resolve(void **state)
{
    (void)state;
    struct weir_schema *schema = schema_of("device_id STRING, t DOUBLE, u INT");
    struct weir_key_spec spec;
    struct weir_error error = {0};
    const char *good[] = {"u", "device_id"};
    assert_int_equal(weir_key_spec_resolve(schema, good, 2, &spec, &error), 0);
    assert_int_equal(spec.column_count, 2);
    assert_int_equal(spec.columns[0], 2);
    assert_int_equal(spec.columns[1], 0);
    const char *near[] = {"device_ib"};
    assert_int_equal(weir_key_spec_resolve(schema, near, 1, &spec, &error), WEIR_ERR_INVALID);
    assert_non_null(strstr(error.message, "'device_ib'"));
    assert_non_null(strstr(error.message, "'device_id'"));
    const char *twice[] = {"u", "u"};
    assert_int_equal(weir_key_spec_resolve(schema, twice, 2, &spec, &error), WEIR_ERR_INVALID);
    assert_int_equal(weir_key_spec_resolve(schema, good, 0, &spec, &error), WEIR_ERR_INVALID);
    weir_schema_unref(schema);
}

static void key_groups_partition(void **state)
{
    (void)state;
    static const int maxima[] = {1, 2, 7, 128, 129, 32768};
    for (size_t m = 0; m < sizeof maxima / sizeof *maxima; m++) {
        int max = maxima[m];
        for (int parallelism = 1; parallelism <= max && parallelism < 200; parallelism++) {
            int next = 0;
            for (int subtask = 0; subtask < parallelism; subtask++) {
                int first, count;
                weir_key_group_range(max, parallelism, subtask, &first, &count);
                assert_int_equal(first, next);
                assert_true(count >= 1);
                assert_int_equal(weir_key_group_subtask(first, max, parallelism), subtask);
                assert_int_equal(weir_key_group_subtask(first + count - 1, max, parallelism), subtask);
                next = first + count;
            }
            assert_int_equal(next, max);
        }
        assert_int_equal(weir_key_group(0, max), 0);
        assert_int_equal(weir_key_group(UINT64_MAX, max), max - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_are_of_the_encoding),
        cmocka_unit_test(strings_of_every_length),
        cmocka_unit_test(equal_numbers_have_equal_keys_and_order_holds),
        cmocka_unit_test(broken_keys_are_refused),
        cmocka_unit_test(names_resolve),
        cmocka_unit_test(key_groups_partition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
