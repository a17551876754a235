/* State tables against a plain list of entries: upsert, lookup, get, remove, ids, growth, walks, namespaces, in all key forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/hash.h"
#include "state/memory.h"
#include "state/state_int.h"
#include "state/table.h"

static uint64_t random_next(uint64_t *seed)
{
    uint64_t x = *seed += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* --- The model: unsorted arrays, linear search */

#define MODEL_MAX 20000
#define MODEL_KEY_MAX 400

struct model_entry {
    bool used;
    uint32_t key_size;
    uint8_t key[MODEL_KEY_MAX];
    uint64_t value;
};
static struct model_entry *model;
static int model_count;

static struct model_entry *model_find(const uint8_t *key, uint32_t key_size)
{
    for (int i = 0; i < model_count; i++) {
        if (model[i].used && model[i].key_size == key_size && memcmp(model[i].key, key, key_size) == 0)
            return &model[i];
    }
    return NULL;
}

static struct model_entry *model_upsert(const uint8_t *key, uint32_t key_size)
{
    struct model_entry *entry = model_find(key, key_size);
    if (entry)
        return entry;
    assert_true(model_count < MODEL_MAX && key_size <= MODEL_KEY_MAX);
    entry = &model[model_count++];
    entry->used = true;
    entry->key_size = key_size;
    memcpy(entry->key, key, key_size);
    entry->value = 0;
    return entry;
}

static int model_size(void)
{
    int size = 0;
    for (int i = 0; i < model_count; i++)
        size += model[i].used;
    return size;
}

/* --- Backends: all in memory, or a budget (bytes) with RocksDB behind it */

static size_t budget;
static struct weir_rocks *rocks;
static struct weir_state_memory *memory;
static char directory[64];

static int set_up_budget(size_t bytes)
{
    model = calloc(MODEL_MAX, sizeof *model);
    model_count = 0;
    budget = bytes;
    if (!bytes)
        return model ? 0 : -1;
    snprintf(directory, sizeof directory, "/tmp/weir-state-XXXXXX");
    if (!model || !mkdtemp(directory) || weir_rocks_new(directory, WEIR_ROCKS_MEMORY_MIN, &rocks, NULL))
        return -1;
    memory = weir_state_memory_new(rocks, bytes);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    return set_up_budget(0);
}

static int set_up_tiny(void **state)
{
    (void)state;
    return set_up_budget(2000);
}

static int set_up_small(void **state)
{
    (void)state;
    return set_up_budget(300000);
}

static int tear_down(void **state)
{
    (void)state;
    free(model);
    if (!budget)
        return 0;
    struct weir_error error;
    weir_err err = weir_state_memory_check(memory, &error);
    if (err)
        print_error("%s\n", error.message);
    weir_state_memory_free(memory);
    weir_rocks_free(rocks);
    memory = NULL;
    rocks = NULL;
    return err ? -1 : 0;
}

static void settle(void)
{
    if (budget)
        weir_state_memory_settle(memory);
}

/* --- Helpers */

static void encode(void *arg, const uint8_t *value, struct weir_buf *out)
{
    assert_true(weir_buf_append(out, value, *(const size_t *)arg));
}

static weir_err decode(void *arg, const void *reader, const uint8_t *bytes, size_t size, uint8_t *value,
                       struct weir_arena *heap, struct weir_error *error)
{
    (void)reader, (void)heap, (void)error;
    assert_int_equal(size, *(const size_t *)arg);
    memcpy(value, bytes, size);
    return WEIR_OK;
}

static struct weir_state *new_state(size_t value_size, enum weir_type_id fixed_key)
{
    static size_t size;
    static const struct weir_state_codec codec = {.arg = &size, .encode = encode, .decode = decode};
    size = value_size;
    return weir_state_new(&(struct weir_state_spec){.uid = "w",
                                                    .name = "test",
                                                    .value_size = value_size,
                                                    .fixed_key = fixed_key,
                                                    .codec = budget ? &codec : NULL,
                                                    .max_parallelism = 128,
                                                    .key_group_count = 128,
                                                    .memory = memory});
}

static void add_to(uint8_t *value, size_t value_size, uint64_t amount)
{
    *(uint64_t *)(void *)value += amount;
    /* The last word is kept equal to the first: a slot that was not zeroed or was copied short shows. */
    if (value_size > 8)
        *(uint64_t *)(void *)(value + value_size - 8) += amount;
}

static void check_value(const uint8_t *value, size_t value_size, uint64_t expected)
{
    assert_true(*(const uint64_t *)(const void *)value == expected);
    assert_true(*(const uint64_t *)(const void *)(value + value_size - 8) == expected);
}

static void check_against_model(struct weir_state_table *table, size_t value_size)
{
    assert_int_equal(weir_state_table_count(table), model_size());
    static struct weir_state_entry entries[64];
    int64_t cursor = 0;
    int seen = 0, n;
    while ((n = weir_state_walk_entries(table, &cursor, entries, 1 + seen % 64)) > 0) {
        for (int i = 0; i < n; i++) {
            struct model_entry *expected = model_find(entries[i].key, entries[i].key_size);
            assert_non_null(expected);
            check_value(entries[i].value, value_size, expected->value);
        }
        seen += n;
    }
    assert_int_equal(seen, model_size());
    for (int i = 0; i < model_count; i++) {
        uint8_t *value =
            weir_state_get(table, weir_xxh3(model[i].key, model[i].key_size), model[i].key, model[i].key_size);
        if (model[i].used)
            check_value(value, value_size, model[i].value);
        else if (!model_find(model[i].key, model[i].key_size))
            assert_null(value);
    }
}

/* --- Batches of keys with every type */

struct source {
    struct weir_schema *schema;
    struct weir_key_spec spec;
    int distinct; /* keys are drawn from this many */
};

static void fill_column(struct weir_column *column, const struct weir_type *type, int row, int capacity, uint64_t pick)
{
    if (type->nullable && pick % 11 == 0) {
        weir_column_set_null(column, row, capacity);
        return;
    }
    char text[MODEL_KEY_MAX];
    int64_t signed_pick = pick % 2 ? (int64_t)pick : -(int64_t)pick;
    switch (type->id) {
    case WEIR_TYPE_BOOLEAN:
        weir_bit_put(column->bits, row, pick & 1);
        break;
    case WEIR_TYPE_INT8:
        column->i8[row] = (int8_t)signed_pick;
        break;
    case WEIR_TYPE_INT16:
        column->i16[row] = (int16_t)(signed_pick * 37);
        break;
    case WEIR_TYPE_INT32:
    case WEIR_TYPE_DATE:
    case WEIR_TYPE_TIME:
        column->i32[row] = (int32_t)(signed_pick * 7919);
        break;
    case WEIR_TYPE_INT64:
    case WEIR_TYPE_TIMESTAMP:
        /* One of them is the key whose head would mark an empty slot. */
        column->i64[row] = pick % 13 == 1 ? (int64_t)0x9d3f7a5c61b84e27u : signed_pick * ((int64_t)1 << (pick % 50));
        break;
    case WEIR_TYPE_FLOAT:
        column->f32[row] = pick % 5 == 1 ? -0.0f : pick % 5 == 2 ? __builtin_nanf("7") : (float)signed_pick / 3;
        break;
    case WEIR_TYPE_DOUBLE:
        column->f64[row] = pick % 5 == 1 ? -0.0 : pick % 5 == 2 ? __builtin_nan("9") : (double)signed_pick / 3;
        break;
    default:
        memset(text, 'x', sizeof text);
        snprintf(text, 24, "%llu", (unsigned long long)pick);
        weir_column_set_bytes(column, row, text, pick % 7 == 0 ? 300 : pick % 7 == 1 ? 0 : strlen(text));
    }
}

static struct weir_batch *next_batch(const struct source *source, int rows, uint64_t *seed)
{
    struct weir_batch *batch = weir_batch_new(source->schema, rows);
    for (int row = 0; row < rows; row++) {
        for (int c = 0; c < source->schema->field_count; c++)
            fill_column(&batch->columns[c], &source->schema->fields[c].type, row, rows,
                        random_next(seed) % (uint64_t)source->distinct);
        batch->row_count = row + 1;
    }
    return batch;
}

static void run_ops(const char *columns, int key_columns, size_t value_size, int distinct, uint64_t seed)
{
    struct source source = {.distinct = distinct};
    assert_int_equal(weir_schema_parse(columns, &source.schema, NULL), WEIR_OK);
    source.spec.column_count = key_columns;
    for (int i = 0; i < key_columns; i++)
        source.spec.columns[i] = i;
    enum weir_type_id fixed_key = weir_state_fixed_key(source.schema, &source.spec);
    struct weir_state *state = new_state(value_size, fixed_key);
    struct weir_state_table *table = weir_state_open(state, -5);
    struct weir_state_key_scratch *scratch = weir_state_key_scratch_new(source.schema, &source.spec);
    static uint8_t *values[WEIR_BATCH_ROWS_MAX];
    static int32_t rows[WEIR_BATCH_ROWS_MAX];
    static uint32_t offsets[WEIR_BATCH_ROWS_MAX + 1];
    struct weir_buf bytes;
    weir_buf_init(&bytes, (size_t)1 << 30);
    const int sizes[] = {1, 2, 3, 31, 32, 33, 64, 100, 257};
    for (int round = 0; round < 60; round++) {
        settle();
        struct weir_batch *batch = next_batch(&source, sizes[random_next(&seed) % 9], &seed);
        struct weir_state_keys keys;
        weir_state_keys(scratch, batch, &keys);
        assert_int_equal(keys.row_count, batch->row_count);
        if (key_columns)
            weir_key_encode(batch, &source.spec, &bytes, offsets);
        else
            memset(offsets, 0, sizeof offsets);
        int count = 0;
        for (int row = 0; row < batch->row_count; row++) {
            if (round % 3 == 0 || random_next(&seed) % 2)
                rows[count++] = row;
        }
        bool all = count == batch->row_count;
        const uint8_t *encoded = bytes.data ? bytes.data : (const uint8_t *)"";
        weir_state_lookup(table, &keys, all ? NULL : rows, count, values);
        for (int i = 0; i < count; i++)
            assert_int_equal(values[i] != NULL,
                             model_find(encoded + offsets[rows[i]], offsets[rows[i] + 1] - offsets[rows[i]]) != NULL);
        weir_state_upsert(table, &keys, all ? NULL : rows, count, values);
        for (int i = 0; i < count; i++) {
            uint64_t amount = random_next(&seed) % 1000;
            add_to(values[i], value_size, amount);
            model_upsert(encoded + offsets[rows[i]], offsets[rows[i] + 1] - offsets[rows[i]])->value += amount;
        }
        for (int i = 0; round % 4 == 3 && i < model_count; i++) {
            if (!model[i].used || random_next(&seed) % 3)
                continue;
            uint64_t hash = weir_xxh3(model[i].key, model[i].key_size);
            if (random_next(&seed) % 2) {
                assert_true(weir_state_remove(table, hash, model[i].key, model[i].key_size));
            } else {
                uint8_t *value = weir_state_get(table, hash, model[i].key, model[i].key_size);
                struct weir_state_id id = weir_state_id_of(table, value);
                struct weir_state_entry entry;
                int64_t cursor = 0;
                assert_true(weir_state_find_id(table, id, &cursor, &entry));
                assert_ptr_equal(entry.value, value);
                assert_int_equal(entry.key_size, model[i].key_size);
                assert_memory_equal(entry.key, model[i].key, entry.key_size);
                assert_false(weir_state_find_id(table, id, &cursor, &entry));
                weir_state_remove_value(table, value);
            }
            assert_false(weir_state_remove(table, hash, model[i].key, model[i].key_size));
            model[i].used = false;
        }
        if (round % 10 == 9)
            check_against_model(table, value_size);
        weir_batch_unref(batch);
    }
    check_against_model(table, value_size);
    assert_true(weir_state_bytes(state) > 0);
    weir_buf_fini(&bytes);
    weir_state_key_scratch_free(scratch);
    weir_state_free(state);
    weir_schema_unref(source.schema);
    model_count = 0;
}

static void every_key_type(void **state)
{
    (void)state;
    static const char *const fixed[] = {"BOOLEAN", "TINYINT", "SMALLINT", "INT",  "BIGINT",
                                        "FLOAT",   "DOUBLE",  "DATE",     "TIME", "TIMESTAMP(3)"};
    char columns[128];
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        for (int nullable = 0; nullable < 2; nullable++) {
            snprintf(columns, sizeof columns, "k %s%s", fixed[i], nullable ? "" : " NOT NULL");
            run_ops(columns, 1, 8, 700, 17 + i);
            run_ops(columns, 1, 40, 90, 99 + i);
        }
    }
    run_ops("k STRING NOT NULL", 1, 8, 700, 1);
    run_ops("k STRING", 1, 24, 300, 2);
    run_ops("k BYTES", 1, 8, 40, 3);
    run_ops("a INT NOT NULL, b STRING, c DOUBLE", 3, 16, 9, 4);
    run_ops("a BIGINT NOT NULL, b BIGINT NOT NULL", 2, 8, 30, 5);
    run_ops("a BIGINT NOT NULL", 0, 8, 30, 6);
}

static void equal_keys_of_floats(void **state)
{
    (void)state;
    uint64_t raw;
    uint8_t key[WEIR_STATE_RAW_KEY_SIZE_MAX];
    struct weir_schema *schema;
    assert_int_equal(weir_schema_parse("d DOUBLE NOT NULL", &schema, NULL), WEIR_OK);
    struct weir_key_spec spec = {.column_count = 1, .columns = {0}};
    struct weir_state_key_scratch *scratch = weir_state_key_scratch_new(schema, &spec);
    struct weir_batch *batch = weir_batch_new(schema, 4);
    batch->columns[0].f64[0] = 0.0;
    batch->columns[0].f64[1] = -0.0;
    batch->columns[0].f64[2] = __builtin_nan("1");
    batch->columns[0].f64[3] = -__builtin_nan("2");
    batch->row_count = 4;
    struct weir_state_keys keys;
    weir_state_keys(scratch, batch, &keys);
    assert_true(keys.fixed[0] == keys.fixed[1]);
    assert_true(keys.fixed[2] == keys.fixed[3]);
    assert_true(keys.fixed[0] != keys.fixed[2]);
    assert_int_equal(weir_state_encode_raw(WEIR_TYPE_DOUBLE, keys.fixed[2], key), 9);
    assert_true(weir_state_decode_raw(WEIR_TYPE_DOUBLE, key, 9, &raw));
    assert_true(raw == keys.fixed[2]);
    weir_batch_unref(batch);
    weir_state_key_scratch_free(scratch);
    weir_schema_unref(schema);
}

static struct weir_state_keys fixed_keys(const uint64_t *raw, int count)
{
    return (struct weir_state_keys){.fixed = raw, .row_count = count};
}

/* 300,000 keys: growth past a huge page, reserve, copies from one table into another by walk_keys. */
static void growth_and_copy(void **unused)
{
    (void)unused;
    const int KEYS = budget ? 40000 : 300000;
    struct weir_state *state = new_state(16, WEIR_TYPE_INT64);
    struct weir_state_table *table = weir_state_open(state, 0);
    static uint64_t raw[1000];
    static uint8_t *values[WEIR_BATCH_ROWS_MAX], *copies[WEIR_BATCH_ROWS_MAX];
    for (int first = 0; first < KEYS; first += 1000) {
        for (int i = 0; i < 1000; i++)
            raw[i] = (uint64_t)(first + i) * 1000;
        struct weir_state_keys keys = fixed_keys(raw, 1000);
        weir_state_upsert(table, &keys, NULL, 1000, values);
        for (int i = 0; i < 1000; i++) {
            check_value(values[i], 16, 0);
            add_to(values[i], 16, raw[i]);
        }
    }
    assert_int_equal(weir_state_table_count(table), KEYS);
    struct weir_state_table *copy = weir_state_open(state, 1);
    weir_state_reserve(copy, KEYS / 2);
    struct weir_state_keys keys;
    int64_t cursor = 0;
    int n, total = 0;
    while ((n = weir_state_walk_keys(table, &cursor, &keys, values, WEIR_BATCH_ROWS_MAX)) > 0) {
        weir_state_upsert(copy, &keys, NULL, n, copies);
        for (int i = 0; i < n; i++) {
            check_value(values[i], 16, keys.fixed[i]);
            add_to(copies[i], 16, keys.fixed[i]);
        }
        total += n;
    }
    assert_int_equal(total, KEYS);
    assert_int_equal(weir_state_table_count(copy), KEYS);
    assert_int_equal(weir_state_entry_count(state), 2 * KEYS);
    weir_state_drop(state, 0);
    for (int first = 0; first < KEYS; first += 1000) {
        for (int i = 0; i < 1000; i++)
            raw[i] = (uint64_t)(first + i) * 1000;
        keys = fixed_keys(raw, 1000);
        weir_state_lookup(copy, &keys, NULL, 1000, values);
        for (int i = 0; i < 1000; i++)
            check_value(values[i], 16, raw[i]);
    }
    /* The dropped table's memory is used again, and is zeros again. */
    table = weir_state_open(state, 7);
    weir_state_upsert(table, &keys, NULL, 1000, values);
    for (int i = 0; i < 1000; i++)
        check_value(values[i], 16, 0);
    weir_state_free(state);
}

/* The order of a table is its history's: the same rows in other batches give the same walk. */
static void order_does_not_depend_on_batches(void **unused)
{
    (void)unused;
    static uint64_t raw[3000];
    static uint8_t *values[3000];
    static struct weir_state_entry walked[2][3000];
    static uint8_t bytes[2][3000][9];
    uint64_t seed = 5;
    for (int i = 0; i < 3000; i++)
        raw[i] = random_next(&seed) % 2000;
    int counts[2];
    for (int k = 0; k < 2; k++) {
        struct weir_state *state = new_state(8, WEIR_TYPE_INT64);
        struct weir_state_table *table = weir_state_open(state, 0);
        int step = k ? 3000 : 1;
        for (int i = 0; i < 3000; i += step) {
            struct weir_state_keys keys = fixed_keys(raw + i, step);
            weir_state_upsert(table, &keys, NULL, step, values);
        }
        int64_t cursor = 0;
        counts[k] = weir_state_walk_entries(table, &cursor, walked[k], 3000);
        for (int i = 0; i < counts[k]; i++)
            memcpy(bytes[k][i], walked[k][i].key, 9);
        weir_state_free(state);
    }
    assert_int_equal(counts[0], counts[1]);
    for (int i = 0; i < counts[0]; i++)
        assert_memory_equal(bytes[0][i], bytes[1][i], 9);
}

static void namespaces(void **unused)
{
    (void)unused;
    struct weir_state *state = new_state(8, WEIR_TYPE_INT64);
    bool present[400] = {false};
    uint64_t seed = 3;
    assert_true(weir_state_next(state, INT64_MIN) == INT64_MAX);
    for (int round = 0; round < 100000; round++) {
        /* Mostly the way windows go: made at the end, dropped at the front. */
        int at = (int)(random_next(&seed) % 400);
        int64_t namespace = ((int64_t)at - 200) * ((int64_t)1 << 53);
        if (random_next(&seed) % 2) {
            assert_int_equal(weir_state_find(state, namespace) != NULL, present[at]);
            struct weir_state_table *table = weir_state_open(state, namespace);
            assert_ptr_equal(weir_state_find(state, namespace), table);
            present[at] = true;
        } else {
            weir_state_drop(state, namespace);
            present[at] = false;
            assert_null(weir_state_find(state, namespace));
        }
        int from = (int)(random_next(&seed) % 400), next = from;
        while (next < 400 && !present[next])
            next++;
        int64_t expected = next == 400 ? INT64_MAX : ((int64_t)next - 200) * ((int64_t)1 << 53);
        assert_true(weir_state_next(state, ((int64_t)from - 200) * ((int64_t)1 << 53)) == expected);
    }
    weir_state_free(state);
    weir_state_free(NULL);
}

/* Keys that come and go for long: memory stays where it was. */
static void churn_is_bounded(void **unused)
{
    (void)unused;
    struct weir_state *state = new_state(8, WEIR_TYPE_NONE);
    struct weir_state_table *table = weir_state_open(state, 0);
    uint8_t *value;
    size_t bytes_early = 0;
    for (uint64_t i = 0; i < 100000; i++) {
        char text[32];
        uint32_t size = (uint32_t)snprintf(text, sizeof text, "key-%llu", (unsigned long long)i);
        uint64_t hash = weir_xxh3(text, size);
        uint32_t offsets[2] = {0, size};
        struct weir_state_keys keys = {
            .row_count = 1, .hashes = &hash, .bytes = (const uint8_t *)text, .offsets = offsets};
        weir_state_upsert(table, &keys, NULL, 1, &value);
        if (i >= 10) {
            size = (uint32_t)snprintf(text, sizeof text, "key-%llu", (unsigned long long)(i - 10));
            assert_true(weir_state_remove(table, weir_xxh3(text, size), (const uint8_t *)text, size));
        }
        if (i == 1000)
            bytes_early = weir_state_bytes(state);
    }
    assert_int_equal(weir_state_table_count(table), 10);
    assert_true(weir_state_bytes(state) <= bytes_early);
    weir_state_free(state);
}

/* Keys of the same hash and size that differ in one byte, wherever it is, are different keys. */
static void every_byte_counts(void **unused)
{
    (void)unused;
    struct weir_state *state = new_state(8, WEIR_TYPE_NONE);
    for (uint32_t size = 1; size <= 40; size++) {
        struct weir_state_table *table = weir_state_open(state, size);
        uint8_t bytes[41 * 40];
        uint64_t hashes[41];
        uint32_t offsets[42] = {0};
        uint8_t *first[41], *again[41];
        int count = (int)size + 1;
        memset(bytes, 'k', sizeof bytes);
        for (int i = 0; i < count; i++) {
            hashes[i] = 42;
            offsets[i + 1] = offsets[i] + size;
            if (i > 0)
                bytes[offsets[i] + (uint32_t)i - 1] ^= 0x10;
        }
        struct weir_state_keys keys = {.row_count = count, .hashes = hashes, .bytes = bytes, .offsets = offsets};
        weir_state_reserve(table, count); /* so that values stay */
        weir_state_upsert(table, &keys, NULL, count, first);
        assert_int_equal(weir_state_table_count(table), count);
        weir_state_lookup(table, &keys, NULL, count, again);
        for (int i = 0; i < count; i++)
            assert_ptr_equal(first[i], again[i]);
    }
    weir_state_free(state);
}

/* A whole batch of the same hash: compared by bytes, found by id one after the other. */
static void equal_hashes(void **unused)
{
    (void)unused;
    struct weir_state *state = new_state(8, WEIR_TYPE_NONE);
    struct weir_state_table *table = weir_state_open(state, 0);
    uint64_t hashes[5] = {0, 0, 0, 1, 0};
    uint32_t offsets[6] = {0, 1, 2, 3, 4, 5};
    uint8_t *values[5];
    struct weir_state_keys keys = {
        .row_count = 5, .hashes = hashes, .bytes = (const uint8_t *)"abcab", .offsets = offsets};
    weir_state_upsert(table, &keys, NULL, 5, values);
    assert_int_equal(weir_state_table_count(table), 3); /* hashes 0 and 1 are told apart by nothing but the key */
    assert_ptr_equal(values[1], values[4]);
    assert_ptr_not_equal(values[0], values[1]);
    assert_ptr_not_equal(values[0], values[2]);
    struct weir_state_id id = weir_state_id_of(table, values[0]);
    struct weir_state_entry entry;
    int64_t cursor = 0;
    int found = 0;
    bool saw = false;
    while (weir_state_find_id(table, id, &cursor, &entry)) {
        found++;
        saw = saw || entry.value == values[0];
    }
    assert_true(saw);
    assert_int_equal(found, 3);
    weir_state_free(state);
}

/* The same with entries on disk: what is brought back makes room by evicting others, of the same hash too, whose newest value is in memory. */
static void equal_hashes_on_disk(void **unused)
{
    (void)unused;
    enum { EQUAL = 24, KEYS = 200 };
    struct weir_state *state = new_state(8, WEIR_TYPE_NONE);
    struct weir_state_table *table = weir_state_open(state, 0);
    uint64_t expected[KEYS] = {0}, random = 1, equal = 0;
    for (int round = 0; round < 100000; round++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        int k = (int)((random >> 33) % (round % 8 ? KEYS : EQUAL));
        /* XXH3 multiplies eight bytes, less a constant, with the eight behind them: by zero, here, and those do not count. */
        uint8_t bytes[32] = {0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, (uint8_t)k}, *value;
        bytes[0] ^= k >= EQUAL;
        uint64_t hash = weir_xxh3(bytes, sizeof bytes);
        uint32_t offsets[2] = {0, sizeof bytes};
        struct weir_state_keys keys = {.row_count = 1, .hashes = &hash, .bytes = bytes, .offsets = offsets};
        weir_state_upsert(table, &keys, NULL, 1, &value);
        *(uint64_t *)(void *)value += 1;
        expected[k]++;
        if (k < EQUAL && random >> 60 == 0) { /* now and then: meanwhile some of them go to disk */
            assert_true(equal == 0 || hash == equal);
            equal = hash;
            struct weir_state_id id = weir_state_id_of(table, value);
            struct weir_state_entry entry;
            int64_t cursor = 0;
            int found = 0;
            for (int i = 0; i < EQUAL; i++)
                found -= expected[i] > 0;
            for (; weir_state_find_id(table, id, &cursor, &entry); found++)
                assert_int_equal(*(const uint64_t *)(const void *)entry.value, expected[entry.key[8]]);
            assert_int_equal(found, 0);
        }
        settle();
    }
    weir_state_free(state);
}

/* Allocators give what was freed last: a table that grows twice may lie where it was, so that no address tells whether values of before it
 * grew still stand. Here it does lie there: decode() runs between the two. */
#define AGAIN_SIZE ((size_t)64 << 10)

static struct {
    struct weir_state *state;
    struct weir_state_table *table;
    uint8_t *place; /* NULL: nowhere in particular */
    bool again;
} again;

static uint8_t *map_at(void *address)
{
    uint8_t *bytes = mmap(address, AGAIN_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(bytes != MAP_FAILED);
    return bytes;
}

static void encode_word(void *arg, const uint8_t *value, struct weir_buf *out)
{
    (void)arg;
    assert_true(weir_buf_append(out, value, 8));
}

static weir_err decode_word(void *arg, const void *reader, const uint8_t *bytes, size_t size, uint8_t *value,
                            struct weir_arena *heap, struct weir_error *error)
{
    (void)arg, (void)reader, (void)heap, (void)error;
    assert_int_equal(size, 8);
    memcpy(value, bytes, size);
    if (again.place && !again.again && again.table->slots.bytes != again.place) {
        assert_null(again.state->spare.bytes);
        again.state->spare = (struct slots){.bytes = map_at(again.place), .size = AGAIN_SIZE, .mapped = true};
        again.again = true;
        assert_ptr_equal(again.state->spare.bytes, again.place);
    }
    return WEIR_OK;
}

static void grown_twice_where_it_was(void **unused)
{
    (void)unused;
    const struct weir_state_codec codec = {.encode = encode_word, .decode = decode_word};
    uint64_t raw[400];
    uint8_t *values[400];
    struct weir_state_keys keys = fixed_keys(raw, 400);
    memset(&again, 0, sizeof again);
    again.state = weir_state_new(&(struct weir_state_spec){.uid = "w",
                                                           .name = "test",
                                                           .value_size = 8,
                                                           .fixed_key = WEIR_TYPE_INT64,
                                                           .codec = &codec,
                                                           .max_parallelism = 128,
                                                           .key_group_count = 128,
                                                           .memory = memory});
    struct weir_state_table *table = again.table = weir_state_open(again.state, 0);
    for (int i = 0; i < 400; i++)
        raw[i] = (uint64_t)i * 1000;
    weir_state_upsert(table, &keys, NULL, 400, values);
    for (int i = 0; i < 400; i++)
        add_to(values[i], 8, raw[i]);
    settle();
    assert_int_equal(table->disk_count, 400);
    assert_int_equal(table->capacity, 16);
    keys.row_count = 40;
    weir_state_lookup(table, &keys, NULL, 10, values); /* these are in memory when the others are not */
    assert_int_equal(table->capacity, 16);
    struct slots old = table->slots;
    again.place = map_at(NULL);
    memcpy(again.place, old.bytes, old.size);
    table->slots = (struct slots){.bytes = again.place, .size = AGAIN_SIZE, .mapped = true};
    weir_slots_free(&old);
    weir_state_upsert(table, &keys, NULL, 40, values);
    assert_true(again.again);
    assert_int_equal(table->capacity, 64);
    assert_ptr_equal(table->slots.bytes, again.place);
    for (int i = 0; i < 40; i++) {
        check_value(values[i], 8, raw[i]);
        add_to(values[i], 8, 1);
    }
    weir_state_lookup(table, &keys, NULL, 40, values);
    for (int i = 0; i < 40; i++)
        check_value(values[i], 8, raw[i] + 1);
    weir_state_free(again.state);
}

#define IN_MEMORY(test) \
    { \
#test, test, set_up, tear_down, NULL \
    }
#define ON_ROCKSDB(test, how) \
    { \
#test "_rocksdb_" #how, test, set_up_##how, tear_down, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_MEMORY(every_key_type),
        IN_MEMORY(equal_keys_of_floats),
        IN_MEMORY(growth_and_copy),
        IN_MEMORY(order_does_not_depend_on_batches),
        IN_MEMORY(namespaces),
        IN_MEMORY(churn_is_bounded),
        IN_MEMORY(equal_hashes),
        IN_MEMORY(every_byte_counts),
        ON_ROCKSDB(every_key_type, tiny),
        ON_ROCKSDB(every_key_type, small),
        ON_ROCKSDB(growth_and_copy, tiny),
        ON_ROCKSDB(growth_and_copy, small),
        ON_ROCKSDB(grown_twice_where_it_was, tiny),
        ON_ROCKSDB(namespaces, tiny),
        ON_ROCKSDB(churn_is_bounded, small),
        ON_ROCKSDB(equal_hashes, small),
        IN_MEMORY(equal_hashes_on_disk),
        ON_ROCKSDB(equal_hashes_on_disk, tiny),
        ON_ROCKSDB(every_byte_counts, small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
