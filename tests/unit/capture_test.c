/* Checkpoints of states against a model: random changes, removals, drops and growth; barriers at any moment, captured in slices among further
 * changes; checkpoints that complete, or never do, in any order; savepoints; restores at any parallelism, which go on from there. What a
 * complete checkpoint gives back must be what the model was at its barrier, whatever its runs refer to, in memory or on disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "exchange/channel.h"
#include "state/capture.h"
#include "state/memory.h"
#include "state/rocks.h"
#include "state/snapshot.h"
#include "state/state_int.h"

#define MAX_PARALLELISM 16
#define SUBTASKS_MAX 3
#define KEYS 700
#define NAMESPACES 3
#define TEXT_MAX 40

static uint64_t seed;
static uint64_t random_next(void)
{
    uint64_t x = seed += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}
static int below(int n)
{
    return (int)(random_next() % (uint64_t)n);
}

/* --- Values: a number, and a text in the heap which is changed in place */

struct value {
    uint64_t number;
    char *text;
};

static void encode(void *arg, const uint8_t *bytes, struct weir_buf *out)
{
    const struct value *value = (const void *)bytes;
    (void)arg;
    assert_true(weir_buf_append(out, &value->number, 8));
    if (value->text)
        assert_true(weir_buf_append(out, value->text, strlen(value->text)));
}

static weir_err decode(void *arg, const void *reader, const uint8_t *bytes, size_t size, uint8_t *out,
                       struct weir_arena *heap, struct weir_error *error)
{
    struct value *value = (void *)out;
    (void)arg, (void)error;
    assert_null(reader);
    assert_true(size >= 8);
    assert_true(value->number == 0 && value->text == NULL);
    memcpy(&value->number, bytes, 8);
    value->text = weir_arena_zalloc(heap, TEXT_MAX);
    memcpy(value->text, bytes + 8, size - 8);
    return WEIR_OK;
}

static void move(void *arg, uint8_t *bytes, struct weir_arena *heap)
{
    struct value *value = (void *)bytes;
    (void)arg;
    char *text = weir_arena_zalloc(heap, TEXT_MAX);
    if (value->text)
        memcpy(text, value->text, TEXT_MAX);
    value->text = text;
}

static const struct weir_state_codec codec = {.encode = encode, .decode = decode};

/* --- The model and the keys */

struct entry {
    bool used;
    uint64_t number;
    char text[TEXT_MAX];
};
typedef struct entry model_t[KEYS][NAMESPACES];
static model_t model;
static bool fixed;

static uint32_t test_key(int number, uint8_t key[64])
{
    if (fixed) {
        if (number == 0) {
            key[0] = 0; /* NULL */
            return 1;
        }
        uint64_t raw = number == 1 ? HEAD_MASK : (uint64_t)(int64_t)(number % 2 ? -number : number);
        return weir_state_encode_raw(WEIR_TYPE_INT64, raw, key);
    }
    uint32_t size = (uint32_t)number % 60;
    memset(key, 'k', size);
    key[size] = (uint8_t)number;
    key[size + 1] = (uint8_t)(number >> 8);
    return size + 2;
}

static int group_of(const uint8_t *key, uint32_t size)
{
    return weir_key_group(weir_xxh3(key, size), MAX_PARALLELISM);
}

/* --- The world: the subtasks, and a store */

struct object {
    char name[64];
    uint8_t *bytes;
    size_t size;
};
static struct object objects[20000];
static int object_count;

struct part { /* of a checkpoint */
    char object[64];
    int64_t offset, size;
    uint8_t *bytes; /* inline */
    int subtask, parallelism;
    uint32_t crc;
};
struct checkpoint {
    uint64_t id;
    bool savepoint, given_up;
    int missing; /* subtasks */
    struct weir_snapshot *snapshots[SUBTASKS_MAX];
    struct part parts[2000];
    int part_count;
    model_t model;
};
static struct checkpoint *flying[3];
static int flying_count;
static struct checkpoint *last_complete; /* what a restore begins with; a savepoint too */
static uint64_t named_complete, next_id;
static struct weir_state *states[SUBTASKS_MAX];
static struct weir_rocks *rocks; /* NULL: all is in memory */
static struct weir_state_memory *memories[SUBTASKS_MAX];
static size_t budget;
static int parallelism;
static int64_t increments, fulls, restores, refused, passes;
static int runs_before[SUBTASKS_MAX], fails_one_in;

static struct weir_state *new_state(int subtask)
{
    int first, count;
    weir_key_group_range(MAX_PARALLELISM, parallelism, subtask, &first, &count);
    memories[subtask] = rocks ? weir_state_memory_new(rocks, budget) : NULL;
    return weir_state_new(&(struct weir_state_spec){
        .uid = "u",
        .name = "n",
        .value_size = sizeof(struct value),
        .fixed_key = fixed ? WEIR_TYPE_INT64 : WEIR_TYPE_NONE,
        .codec = &codec,
        .max_parallelism = MAX_PARALLELISM,
        .key_group_first = first,
        .key_group_count = count,
        .memory = memories[subtask],
    });
}

static int subtask_of(int number)
{
    uint8_t key[64];
    uint32_t size = test_key(number, key);
    return weir_key_group_subtask(group_of(key, size), MAX_PARALLELISM, parallelism);
}

static void change(struct value *value, struct entry *entry, struct weir_arena *heap)
{
    value->number = entry->number = random_next();
    if (!value->text)
        value->text = weir_arena_zalloc(heap, TEXT_MAX);
    int size = below(TEXT_MAX);
    memset(value->text, 0, TEXT_MAX);
    memset(value->text, 'a' + below(26), (size_t)size);
    memcpy(entry->text, value->text, TEXT_MAX);
}

static void upsert_one(void)
{
    int number = below(KEYS), n = below(NAMESPACES);
    uint8_t key[64];
    uint32_t size = test_key(number, key);
    struct weir_state_table *table = weir_state_open(states[subtask_of(number)], n);
    struct entry *entry = &model[number][n];
    uint8_t *bytes = NULL;
    if (entry->used && below(2)) {
        bytes = weir_state_get(table, weir_xxh3(key, size), key, size);
        assert_non_null(bytes);
        weir_state_touch(table, bytes);
    } else {
        bytes = weir_state_put(table, key, size);
        assert_non_null(bytes);
    }
    entry->used = true;
    change((struct value *)(void *)bytes, entry, weir_state_heap(table));
}

static void remove_one(void)
{
    int number = below(KEYS), n = below(NAMESPACES);
    uint8_t key[64];
    uint32_t size = test_key(number, key);
    struct weir_state_table *table = weir_state_find(states[subtask_of(number)], n);
    if (!table)
        return;
    bool there = weir_state_remove(table, weir_xxh3(key, size), key, size);
    assert_int_equal(there, model[number][n].used);
    memset(&model[number][n], 0, sizeof(struct entry));
}

static void drop_one(void)
{
    int subtask = below(parallelism), n = below(NAMESPACES);
    weir_state_drop(states[subtask], n);
    for (int i = 0; i < KEYS; i++)
        if (subtask_of(i) == subtask)
            memset(&model[i][n], 0, sizeof(struct entry));
}

static void check_states(const model_t expected)
{
    int64_t count = 0, found = 0;
    for (int s = 0; s < parallelism; s++)
        found += weir_state_entry_count(states[s]);
    for (int i = 0; i < KEYS; i++)
        for (int n = 0; n < NAMESPACES; n++) {
            const struct entry *entry = &expected[i][n];
            uint8_t key[64];
            uint32_t size = test_key(i, key);
            struct weir_state_table *table = weir_state_find(states[subtask_of(i)], n);
            const struct value *value = NULL;
            if (table)
                value = (const void *)weir_state_get(table, weir_xxh3(key, size), key, size);
            if (entry->used != (value != NULL))
                fail_msg("key %d in namespace %d is %s", i, n, value ? "there" : "not there");
            if (!entry->used)
                continue;
            count++;
            assert_true(value->number == entry->number);
            assert_string_equal(value->text, entry->text);
        }
    assert_int_equal(count, found);
}

/* --- Checkpoints */

static void begin_checkpoint(void)
{
    struct checkpoint *checkpoint = calloc(1, sizeof *checkpoint);
    checkpoint->id = ++next_id;
    checkpoint->savepoint = below(8) == 0;
    checkpoint->missing = parallelism;
    memcpy(checkpoint->model, model, sizeof model);
    for (int s = 0; s < parallelism; s++) {
        struct weir_snapshot *snapshot =
            weir_snapshot_new(checkpoint->id, named_complete, checkpoint->savepoint ? WEIR_BARRIER_SAVEPOINT : 0);
        weir_state_snapshot(states[s], snapshot);
        checkpoint->snapshots[s] = snapshot;
    }
    flying[flying_count++] = checkpoint;
}

static void add_part(struct checkpoint *checkpoint, const struct weir_run_ref *ref, uint8_t *bytes, size_t size,
                     int subtask)
{
    assert_true(checkpoint->part_count < 2000);
    struct part *part = &checkpoint->parts[checkpoint->part_count++];
    part->subtask = subtask;
    part->parallelism = parallelism;
    part->bytes = bytes;
    part->size = (int64_t)size;
    if (ref) {
        snprintf(part->object, sizeof part->object, "%s", ref->object);
        part->offset = ref->offset;
        part->size = ref->size;
        part->crc = ref->crc32c;
    }
}

/* What the executor does with a capture that has ended. */
static void write_capture(struct checkpoint *checkpoint, int subtask, struct weir_capture *capture)
{
    int base_count, count = 0;
    const struct weir_run_ref *base = weir_capture_base(capture, &base_count);
    struct weir_run_ref refs[500];
    bool more = true, last = false, inlined = false;
    if (weir_capture_is_full(capture))
        fulls++;
    else
        increments++;
    assert_true(!checkpoint->savepoint || base_count == 0);
    /* Not joined: a pass has ended. */
    passes += base_count > 0 && base_count < runs_before[subtask] && weir_capture_fresh_max == 100;
    runs_before[subtask] = base_count;
    for (int i = 0; i < base_count; i++)
        add_part(checkpoint, &base[i], NULL, 0, subtask);
    for (int i = 0; more && !last; i++) {
        struct weir_buf run;
        weir_buf_init(&run, SIZE_MAX / 2);
        if (weir_capture_next(capture, &run, &more, &last, NULL)) {
            checkpoint->given_up = true;
            refused++;
            weir_buf_fini(&run);
            break;
        }
        if (!more)
            break;
        if (i == 0 && last && weir_capture_is_full(capture) && below(3) == 0) {
            add_part(checkpoint, NULL, run.data, run.size, subtask);
            inlined = true;
            break;
        }
        struct object *object = &objects[object_count++];
        snprintf(object->name, sizeof object->name, "jobs/j/chk-%d/%d-%d", (int)checkpoint->id, subtask, i);
        if (checkpoint->savepoint)
            snprintf(object->name, sizeof object->name, "savepoint-%d/%d-%d", (int)checkpoint->id, subtask, i);
        object->bytes = run.data;
        object->size = run.size;
        refs[count] = (struct weir_run_ref){object->name, 0, (int64_t)run.size, weir_crc32c(0, run.data, run.size)};
        add_part(checkpoint, &refs[count++], NULL, 0, subtask);
    }
    if (!inlined && !checkpoint->given_up)
        weir_capture_written(capture, refs, count);
}

static void free_checkpoint(struct checkpoint *checkpoint)
{
    if (!checkpoint)
        return;
    for (int s = 0; s < SUBTASKS_MAX; s++)
        weir_snapshot_free(checkpoint->snapshots[s]);
    for (int i = 0; i < checkpoint->part_count; i++)
        free(checkpoint->parts[i].bytes);
    free(checkpoint);
}

static void end_checkpoint(int index)
{
    struct checkpoint *checkpoint = flying[index];
    memmove(&flying[index], &flying[index + 1], (size_t)(--flying_count - index) * sizeof flying[0]);
    bool completes =
        !checkpoint->given_up && below(fails_one_in) != 0 && (!last_complete || checkpoint->id > last_complete->id);
    if (!completes) { /* its objects stay unreferenced: what builds on them is found */
        for (int i = 0; i < object_count; i++) {
            char mark[32];
            snprintf(mark, sizeof mark, "-%d/", (int)checkpoint->id);
            if (strstr(objects[i].name, mark))
                objects[i].name[0] = 'x';
        }
        free_checkpoint(checkpoint);
        return;
    }
    free_checkpoint(last_complete);
    last_complete = checkpoint;
    named_complete = checkpoint->id;
    for (int s = 0; s < SUBTASKS_MAX; s++) {
        weir_snapshot_free(checkpoint->snapshots[s]);
        checkpoint->snapshots[s] = NULL;
    }
}

/* A slice of whatever is under way; a checkpoint whose captures are all written ends, some time. */
static void step_checkpoints(void)
{
    for (int f = 0; f < flying_count; f++) {
        struct checkpoint *checkpoint = flying[f];
        for (int s = 0; s < parallelism && checkpoint->missing > 0; s++) {
            struct weir_snapshot *snapshot = checkpoint->snapshots[s];
            if (!snapshot || !snapshot->captures)
                continue;
            if (!weir_capture_step(snapshot->captures->capture, 1, NULL))
                continue;
            write_capture(checkpoint, s, snapshot->captures->capture);
            checkpoint->missing--;
            weir_snapshot_free(snapshot);
            checkpoint->snapshots[s] = NULL;
        }
        if (checkpoint->missing == 0 && below(4) == 0) {
            end_checkpoint(f);
            return;
        }
    }
}

static void free_states(void)
{
    for (int s = 0; s < SUBTASKS_MAX; s++) {
        weir_state_free(states[s]);
        states[s] = NULL;
        assert_int_equal(weir_state_memory_check(memories[s], NULL), WEIR_OK);
        weir_state_memory_free(memories[s]);
        memories[s] = NULL;
    }
}

static uint8_t *fetch(const struct part *part)
{
    uint8_t *bytes = malloc((size_t)part->size + 1);
    if (part->bytes) {
        memcpy(bytes, part->bytes, (size_t)part->size);
        return bytes;
    }
    for (int i = 0; i < object_count; i++)
        if (strcmp(objects[i].name, part->object) == 0) {
            assert_true(part->offset + part->size <= (int64_t)objects[i].size);
            memcpy(bytes, objects[i].bytes + part->offset, (size_t)part->size);
            return bytes;
        }
    fail_msg("%s is not there", part->object);
    return NULL;
}

/* Everything is lost but the newest complete checkpoint. */
static void restore(void)
{
    free_states();
    while (flying_count > 0)
        free_checkpoint(flying[--flying_count]);
    if (below(2))
        parallelism = 1 + below(SUBTASKS_MAX);
    restores++;
    for (int s = 0; s < parallelism; s++) {
        states[s] = new_state(s);
        if (!last_complete)
            continue;
        struct weir_restored *restored = weir_restored_new(last_complete->id);
        for (int i = 0; i < last_complete->part_count; i++) {
            const struct part *part = &last_complete->parts[i];
            weir_restored_add(restored, "u", "n", WEIR_STATE_KEYED, part->subtask, part->parallelism, fetch(part),
                              (size_t)part->size);
            if (!part->bytes)
                weir_restored_origin(restored, part->object, part->offset, part->crc);
        }
        struct weir_error error;
        if (weir_state_restore(states[s], restored, &error))
            fail_msg("%s", error.message);
        weir_restored_free(restored);
    }
    if (last_complete)
        memcpy(model, last_complete->model, sizeof model);
    else
        memset(model, 0, sizeof model);
    check_states(model);
}

static void world(uint64_t number)
{
    seed = number;
    bool long_lived = below(3) == 0;                            /* long enough for passes, ... */
    budget = (size_t)2000 << (below(6) + (long_lived ? 3 : 0)); /* ... one of which may end as entries go to disk */
    fixed = below(2);
    parallelism = 1 + below(SUBTASKS_MAX);
    weir_capture_fresh_max = below(2) ? 100 : 1 + below(4);
    weir_capture_pass_min = below(2) ? 0 : 16e6;
    weir_capture_outgrown = below(2) ? 2 : 1.1;
    weir_capture_pass_least = 1 + below(200);
    weir_capture_chunk_size = below(2) ? (size_t)1 << 20 : (size_t)100 + (size_t)below(1000);
    memset(model, 0, sizeof model);
    named_complete = next_id = 0;
    last_complete = NULL;
    for (int s = 0; s < parallelism; s++)
        states[s] = new_state(s);
    weir_capture_small = long_lived ? 500 : 16384;
    fails_one_in = long_lived ? 12 : 4;
    int removes = below(long_lived ? 3 : 30), drops = long_lived ? 0 : below(3),
        barriers = 1 + below(long_lived ? 20 : 6);
    for (int i = 0; i < 6000; i++) {
        int what = below(1000);
        if (what < removes * 10)
            remove_one();
        else if (what < removes * 10 + drops)
            drop_one();
        else
            upsert_one();
        if (below(1000) < 6 * barriers || long_lived)
            step_checkpoints();
        if (rocks && below(20) == 0)
            weir_state_memory_settle(memories[below(parallelism)]);
        if (below(1000) < barriers && flying_count < 3)
            begin_checkpoint();
        if (below(400) == 0) {
            struct weir_state_table *table = weir_state_find(states[below(parallelism)], below(NAMESPACES));
            if (table)
                weir_state_compact(table, move, NULL);
        }
        if (below(long_lived ? 4000 : 1500) == 0)
            restore();
    }
    check_states(model);
    restore();
    free_states();
    free_checkpoint(last_complete);
    last_complete = NULL;
    for (int i = 0; i < object_count; i++)
        free(objects[i].bytes);
    object_count = 0;
}

static void against_the_model(void **state)
{
    (void)state;
    const char *one = getenv("SEED");
    int rounds = getenv("ROUNDS") ? atoi(getenv("ROUNDS")) : 150;
    increments = fulls = restores = refused = passes = 0;
    for (int i = 0; i < rounds; i++) {
        uint64_t number = one ? strtoull(one, NULL, 10) : (uint64_t)i;
        print_message("seed %d\r", (int)number);
        world(number);
        if (one)
            break;
    }
    print_message("             %d captures in full, %d increments, %d given up, %d restores, %d passes\n", (int)fulls,
                  (int)increments, (int)refused, (int)restores, (int)passes);
    weir_capture_chunk_size = (size_t)1 << 20;
    weir_capture_fresh_max = 100;
    weir_capture_pass_min = 16e6;
    weir_capture_outgrown = 2;
    weir_capture_pass_least = 1024;
    weir_capture_small = 16384;
    if (!one && rounds >= 100)
        assert_true(fulls > 100 && increments > 100 && (refused > 0 || rocks) && restores > 100 && passes > 10);
}

/* The same with budgets that a part of the state fits into. */
static void against_the_model_beyond_memory(void **state)
{
    char directory[] = "/tmp/weir-capture-XXXXXX";
    assert_non_null(mkdtemp(directory));
    assert_int_equal(weir_rocks_new(directory, WEIR_ROCKS_MEMORY_MIN, &rocks, NULL), WEIR_OK);
    against_the_model(state);
    weir_rocks_free(rocks);
    rocks = NULL;
}

/* Bytes that are written for a byte that changed, when 1 / `part` of the keys change from one checkpoint to the next. */
static double written_per_change(int part, int checkpoints, double first, double *most)
{
    fixed = true;
    parallelism = 1;
    struct weir_state *one = new_state(0);
    struct weir_state_table *table = weir_state_open(one, 0);
    const int keys = 20000;
    double written = 0, changed = 0, full = 0, largest = 0;
    seed = 1;
    for (int c = 1; c <= checkpoints; c++) {
        for (int i = 0; i < (c == 1 ? keys : keys / part); i++) {
            uint64_t number = (uint64_t)(c == 1 ? i : below(keys));
            uint8_t key[16];
            uint32_t size = weir_state_encode_raw(WEIR_TYPE_INT64, number, key);
            struct value *value = (struct value *)(void *)weir_state_put(table, key, size);
            value->number = random_next();
        }
        struct weir_snapshot *snapshot = weir_snapshot_new((uint64_t)c, (uint64_t)c - 1, 0);
        weir_state_snapshot(one, snapshot);
        struct weir_capture *capture = snapshot->captures->capture;
        int refs;
        (void)weir_capture_base(capture, &refs);
        assert_true(refs <= 400);
        assert_true(weir_capture_step(capture, 0, NULL));
        struct weir_buf run;
        weir_buf_init(&run, SIZE_MAX / 2);
        bool more, last;
        assert_int_equal(weir_capture_next(capture, &run, &more, &last, NULL), WEIR_OK);
        assert_true(more && last);
        struct weir_run_ref ref = {(char *)(uintptr_t) "jobs/j/chk-1/x", 0, (int64_t)run.size, 0};
        weir_capture_written(capture, &ref, 1);
        if (c == 1) {
            full = (double)run.size;
        } else {
            written += (double)run.size;
            largest = (double)run.size > largest ? (double)run.size : largest;
            changed += full / part * (1 - 0.5 / part); /* some keys are drawn twice */
            if (c < 15)
                assert_true(written < first * changed);
        }
        weir_snapshot_free(snapshot);
        weir_buf_fini(&run);
    }
    print_message("             1 of %d keys a checkpoint: %.2f bytes written for a byte that changed\n", part,
                  written / changed);
    weir_state_free(one);
    *most = largest / full;
    return written / changed;
}

static void how_much_is_written(void **state)
{
    double most;
    (void)state;
    assert_true(written_per_change(20, 200, 1.2, &most) < 3);
    assert_true(most > 0.9); /* one in full */
    /* A run has an index, whose size counts where there are 20 records: what is left is joining the runs of a hundred checkpoints, and all of it
     * anew when the runs are twice the state. */
    assert_true(written_per_change(200, 1000, 1.3, &most) < 3);
    assert_true(written_per_change(1000, 4000, 1.7, &most) < 3);
    weir_capture_pass_min = 0;
    assert_true(written_per_change(20, 200, 1.2, &most) < 3);
    assert_true(most < 1.3 * (1 / 20.0 + 1 / 16.0));
    assert_true(written_per_change(200, 1000, 1.3, &most) < 3);
    weir_capture_pass_min = 16e6;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_the_model),
        cmocka_unit_test(against_the_model_beyond_memory),
        cmocka_unit_test(how_much_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
