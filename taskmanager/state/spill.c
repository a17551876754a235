/* State beyond memory: entries of tables go to RocksDB when their operator's budget is used up, and come back when they are asked for.
 *
 * Keys in RocksDB: u32 the state's number, i64 namespace (sign bit flipped), u16 key group, with variable keys u64 hash, canonical key; all
 * big-endian. So a namespace is one range (its walk, its end), and an id (weir_state_id) leads to its entry. Values: u64 the checkpoint
 * after whose barrier the value last changed (0: before any), u8 whether some run has the entry, then as the codec writes it.
 *
 * An entry is in memory, or in RocksDB only (`disk_count`), or in both: RocksDB's copy counts only while there is none in memory. Marks say,
 * for each slot: USED since the clock's hand passed, SAME as RocksDB's copy (so that it is forgotten without writing), COPIED, there is a
 * copy, which goes when the entry is removed. The two special slots always stay in memory.
 *
 * Eviction is CLOCK over the slots of one table: in upsert() and lookup() the table at hand, whose pointers end there anyway; between
 * items (settle) the table that was used least recently.
 *
 * Checkpoints: what changed after the barrier of checkpoint c and was evicted has a second copy in the index: u32 the index' number,
 * u64 c, then as above from the namespace on. Such a c is a generation; it goes when a checkpoint after it is complete. A capture in full
 * reads the state's whole range, one of changes the generations, both from a snapshot of RocksDB and on another thread; what it finds is
 * older than what is captured from memory. Owner: the operator's worker thread, but for captures.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "data/row_key.h"
#include "state/spill_int.h"

#define MARK_USED 1u
#define MARK_SAME 2u
#define MARK_COPIED 4u
#define MARK_VICTIM 8u

#define PREFIX_SIZE 12u /* of keys: state and namespace */
#define KEY_AT_VAR 22u  /* in a key: where the canonical encoding begins */
#define KEY_AT_FIXED 14u
#define GENERATIONS_MAX 16
#define VALUE_AT 9u     /* in a value: where the codec's bytes begin */
#define EVICT_MAX 65536 /* entries at a time */
#define EVICT_MIN 1024
#define REMOVED_MAX 4096
#define SETTLE_ROUNDS 4
#define FETCH_MAX WEIR_BATCH_ROWS_MAX
#define HEAP_MIN ((size_t)64 << 10)  /* smaller ones are not looked at */
#define WALK_BYTES ((size_t)1 << 20) /* keys, and values, of a step of a walk */

struct key_at { /* a key in `bytes` */
    size_t at;
    uint32_t size;
    int32_t row;
    size_t value_at;
    uint32_t value_size;
};

struct weir_spill {
    struct weir_state_memory *memory;
    struct weir_state *state;
    struct weir_spill *next; /* of the same memory */
    uint32_t id, index_id;
    bool disk;               /* there is something on disk, or was */
    struct weir_buf removed; /* keys whose copies are to go: u32 size, the key */
    size_t removed_count;
    uint64_t base;                         /* what the capture at that barrier built on; UINT64_MAX: on none */
    uint64_t barrier;                      /* checkpoint of the last one that later ones may build on; 0: none yet */
    uint64_t generations[GENERATIONS_MAX]; /* that are in the index, ascending */
    int generation_count;
    /* Of walks: */
    struct weir_buf walk_keys;
    uint8_t *walk_values;
    struct weir_arena walk_heap;
    struct weir_state_entry *walk_entries;
};

struct weir_spill_capture {
    struct weir_rocks *rocks; /* a reference */
    struct weir_rocks_snapshot *snapshot;
    struct weir_rocks_iterator *iterator;
    uint8_t prefixes[GENERATIONS_MAX][PREFIX_SIZE];
    int prefix_size, prefix_count, at;
    uint32_t key_at; /* of the state's keys */
    bool index;
    int64_t over_at; /* see weir_state_is_over() */
};

struct weir_state_memory {
    struct weir_rocks *rocks;
    size_t budget;
    struct weir_spill *states;
    int64_t item;            /* how many there were */
    size_t wanted;           /* a table would have grown by so much */
    int looks;               /* calls until heaps are looked at */
    struct weir_error error; /* the first; code OK: none */
    /* Scratch */
    struct weir_buf bytes;
    struct key_at *keys;
    size_t key_capacity;
    struct weir_rocks_entry *entries;
    size_t entry_capacity;
};

/* --- Memory */

struct weir_state_memory *weir_state_memory_new(struct weir_rocks *rocks, size_t budget)
{
    struct weir_state_memory *memory = weir_zalloc(sizeof *memory);
    memory->rocks = rocks;
    memory->budget = budget;
    weir_rocks_share(rocks, 1);
    weir_buf_init(&memory->bytes, SIZE_MAX / 2);
    return memory;
}

void weir_state_memory_free(struct weir_state_memory *memory)
{
    if (!memory)
        return;
    weir_assert(!memory->states);
    weir_rocks_share(memory->rocks, -1);
    weir_buf_fini(&memory->bytes);
    free(memory->keys);
    free(memory->entries);
    free(memory);
}

weir_err weir_state_memory_check(const struct weir_state_memory *memory, struct weir_error *error)
{
    if (!memory || memory->error.code == WEIR_OK)
        return WEIR_OK;
    return weir_fail(error, memory->error.code, "%s", memory->error.message);
}

/* The first error stands; later ones follow from it. */
static struct weir_error *error_of(struct weir_state_memory *memory)
{
    return memory->error.code == WEIR_OK ? &memory->error : NULL;
}

static void *grown(void *array, size_t *capacity, size_t count, size_t size)
{
    if (count <= *capacity)
        return array;
    *capacity = count > 2 * *capacity ? count : 2 * *capacity;
    return weir_realloc(array, *capacity * size);
}

/* Heaps count half more: moving what is alive of one takes a second one. */
static size_t used_bytes(const struct weir_state_memory *memory)
{
    size_t bytes = 0;
    for (const struct weir_spill *spill = memory->states; spill; spill = spill->next) {
        const struct weir_state *state = spill->state;
        bytes += weir_state_bytes(state);
        for (int i = 0; i < state->count; i++)
            bytes += state->entries[state->first + i].table->heap.size_total / 2;
    }
    return bytes;
}

void weir_spill_state_new(struct weir_state *state, struct weir_state_memory *memory)
{
    weir_assert(state->codec.encode && state->codec.decode);
    struct weir_spill *spill = state->spill = weir_zalloc(sizeof *spill);
    spill->memory = memory;
    spill->state = state;
    spill->id = weir_rocks_number(memory->rocks);
    spill->index_id = weir_rocks_number(memory->rocks);
    spill->next = memory->states;
    memory->states = spill;
    weir_buf_init(&spill->removed, SIZE_MAX / 2);
    weir_buf_init(&spill->walk_keys, SIZE_MAX / 2);
    weir_arena_init(&spill->walk_heap);
}

static void flush_removed(struct weir_spill *spill);

static void put_u32(uint8_t *out, uint32_t value)
{
    value = __builtin_bswap32(value);
    memcpy(out, &value, sizeof value);
}

static void put_u64(uint8_t *out, uint64_t value)
{
    value = __builtin_bswap64(value);
    memcpy(out, &value, sizeof value);
}

static void put_prefix(const struct weir_state_table *table, uint8_t out[PREFIX_SIZE])
{
    put_u32(out, table->state->spill->id);
    put_u64(out + 4, (uint64_t)table->namespace ^ (uint64_t)1 << 63);
}

/* All keys of a generation, or all of its index (generation 0). */
static size_t put_index_prefix(const struct weir_spill *spill, uint64_t generation, uint8_t out[PREFIX_SIZE])
{
    put_u32(out, spill->index_id);
    put_u64(out + 4, generation);
    return generation ? PREFIX_SIZE : 4;
}

/* What RocksDB cannot do is kept as the memory's error, which fails the task. */
static void drop_range(struct weir_state_memory *memory, const uint8_t *prefix, size_t size)
{
    weir_err err = weir_rocks_drop(memory->rocks, prefix, size, error_of(memory));
    (void)err;
}

static void end_walk(struct weir_state_table *table)
{
    weir_rocks_iterator_free(table->disk_walk);
    table->disk_walk = NULL;
    table->walked = false;
}

void weir_spill_state_free(struct weir_state *state)
{
    struct weir_spill *spill = state->spill;
    if (!spill)
        return;
    struct weir_spill **at = &spill->memory->states;
    uint8_t prefix[PREFIX_SIZE];
    while (*at != spill)
        at = &(*at)->next;
    *at = spill->next;
    if (spill->disk) {
        put_u32(prefix, spill->id);
        drop_range(spill->memory, prefix, 4);
        drop_range(spill->memory, prefix, put_index_prefix(spill, 0, prefix));
    }
    weir_buf_fini(&spill->removed);
    weir_buf_fini(&spill->walk_keys);
    weir_arena_fini(&spill->walk_heap);
    free(spill->walk_values);
    free(spill->walk_entries);
    free(spill);
    state->spill = NULL;
}

void weir_spill_table_free(struct weir_state_table *table)
{
    end_walk(table);
    free(table->marks);
    table->marks = NULL;
}

void weir_spill_dropped(struct weir_state_table *table)
{
    struct weir_spill *spill = table->state->spill;
    uint8_t prefix[PREFIX_SIZE + 8];
    flush_removed(spill);
    put_prefix(table, prefix);
    drop_range(spill->memory, prefix, PREFIX_SIZE);
    for (int i = 0; i < spill->generation_count; i++) {
        put_index_prefix(spill, spill->generations[i], prefix);
        put_u64(prefix + PREFIX_SIZE, (uint64_t)table->namespace ^ (uint64_t)1 << 63);
        drop_range(spill->memory, prefix, sizeof prefix);
    }
    table->disk_count = 0;
    table->disk = false;
}

/* --- Keys */

static void append(struct weir_buf *out, const void *bytes, size_t size)
{
    bool ok = weir_buf_append(out, bytes, size);
    weir_assert(ok);
}

static void reserve(struct weir_buf *out, size_t size)
{
    bool ok = weir_buf_reserve(out, size);
    weir_assert(ok);
}

static void put_key(const struct weir_state_table *table, struct weir_buf *out, uint64_t hash, const uint8_t *key,
                    uint32_t key_size)
{
    const struct weir_state *state = table->state;
    uint8_t head[KEY_AT_VAR];
    int group = state->max_parallelism > 0 ? weir_key_group(hash, state->max_parallelism) : 0;
    put_prefix(table, head);
    head[12] = (uint8_t)(group >> 8);
    head[13] = (uint8_t)group;
    put_u64(head + 14, hash ? hash : 1); /* as in slots */
    append(out, head, is_fixed(table) ? KEY_AT_FIXED : KEY_AT_VAR);
    append(out, key, key_size);
}

static void put_raw_key(const struct weir_state_table *table, struct weir_buf *out, uint64_t raw)
{
    uint8_t key[WEIR_STATE_RAW_KEY_SIZE_MAX];
    uint32_t size = weir_state_encode_raw(table->state->fixed_key, raw, key);
    put_key(table, out, weir_xxh3(key, size), key, size);
}

/* Of an ordinary slot. */
static void put_slot_key(const struct weir_state_table *table, struct weir_buf *out, uint8_t *slot)
{
    if (is_fixed(table)) {
        put_raw_key(table, out, *head_of(slot) ^ HEAD_MASK);
    } else {
        const struct var_slot *var = var_of(slot);
        put_key(table, out, var->head, key_of(var), var->key_size);
    }
}

/* Of a row of a batch; false: its entry would be a special one, and is never on disk. */
static bool put_row_key(const struct weir_state_table *table, struct weir_buf *out, const struct weir_state_keys *keys,
                        int32_t row)
{
    if (!keys->fixed) {
        uint32_t at = keys->offsets[row];
        put_key(table, out, keys->hashes[row], keys->bytes + at, keys->offsets[row + 1] - at);
        return true;
    }
    if ((keys->validity && !weir_bit_get(keys->validity, row)) || !(keys->fixed[row] ^ HEAD_MASK))
        return false;
    put_raw_key(table, out, keys->fixed[row]);
    return true;
}

static int by_key(const void *a, const void *b, void *arg)
{
    const struct key_at *x = a, *y = b;
    const uint8_t *bytes = arg;
    int order = memcmp(bytes + x->at, bytes + y->at, x->size < y->size ? x->size : y->size);
    return order ? order : x->size < y->size ? -1 : x->size > y->size;
}

static bool same_key(const struct weir_buf *bytes, const struct key_at *a, const struct key_at *b)
{
    return a->size == b->size && memcmp(bytes->data + a->at, bytes->data + b->at, a->size) == 0;
}

/* --- Removals: the copies of entries that went, collected until RocksDB is asked for anything */

static void add_removed(struct weir_spill *spill, const uint8_t *key, uint32_t key_size)
{
    append(&spill->removed, &key_size, sizeof key_size);
    append(&spill->removed, key, key_size);
    spill->removed_count++;
}

static void flush_removed(struct weir_spill *spill)
{
    struct weir_state_memory *memory = spill->memory;
    size_t count = 0, written = 0;
    if (spill->removed_count == 0)
        return;
    struct key_at *keys = weir_alloc(spill->removed_count * sizeof *keys);
    struct weir_rocks_entry *entries = weir_alloc(spill->removed_count * sizeof *entries);
    for (size_t at = 0; at < spill->removed.size; at = keys[count - 1].at + keys[count - 1].size) {
        struct key_at *key = &keys[count++];
        memcpy(&key->size, spill->removed.data + at, sizeof key->size);
        key->at = at + sizeof key->size;
    }
    qsort_r(keys, count, sizeof *keys, by_key, spill->removed.data);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || !same_key(&spill->removed, &keys[i], &keys[i - 1]))
            entries[written++] = (struct weir_rocks_entry){
                .key = spill->removed.data + keys[i].at, .key_size = keys[i].size, .removed = true};
    }
    weir_err err = weir_rocks_write(memory->rocks, entries, written, error_of(memory));
    (void)err; /* kept as the memory's error, which fails the task */
    free(keys);
    free(entries);
    weir_buf_clear(&spill->removed);
    spill->removed_count = 0;
}

/* A key's place in the index: the same behind another prefix. */
static void index_key(const struct weir_spill *spill, uint64_t generation, const uint8_t *key, uint32_t key_size,
                      struct weir_buf *out)
{
    uint8_t prefix[PREFIX_SIZE];
    append(out, prefix, put_index_prefix(spill, generation, prefix));
    append(out, key + 4, key_size - 4);
}

void weir_spill_removed(struct weir_state_table *table, uint8_t *slot)
{
    struct weir_spill *spill = table->state->spill;
    struct weir_buf *bytes = &spill->memory->bytes;
    uint64_t index = index_of(table, slot);
    if (index >= table->capacity || !(table->marks[index] & MARK_COPIED))
        return;
    weir_buf_clear(bytes);
    put_slot_key(table, bytes, slot);
    uint32_t size = (uint32_t)bytes->size;
    add_removed(spill, bytes->data, size);
    for (int i = 0; i < spill->generation_count; i++) {
        reserve(bytes, size + PREFIX_SIZE); /* so that the key stays where it is */
        index_key(spill, spill->generations[i], bytes->data, size, bytes);
        add_removed(spill, bytes->data + size, (uint32_t)(bytes->size - size));
        bytes->size = size;
    }
    if (spill->removed_count >= REMOVED_MAX)
        flush_removed(spill);
}

/* --- Eviction */

/* Chooses up to `max` entries from the hand on and marks them; returns their number. Two rounds at most: what was used gets
 * another chance. */
static int64_t choose(struct weir_state_table *table, int64_t max)
{
    uint64_t at = table->hand < table->capacity ? table->hand : 0;
    int64_t chosen = 0;
    for (uint64_t looked = 0; looked < 2 * table->capacity && chosen < max; looked++) {
        if (*head_of(slot_at(table, at)) && !(table->marks[at] & MARK_VICTIM)) {
            if (table->marks[at] & MARK_USED) {
                table->marks[at] &= (uint8_t)~MARK_USED;
            } else {
                table->marks[at] |= MARK_VICTIM;
                chosen++;
            }
        }
        at = at + 1 == table->capacity ? 0 : at + 1;
    }
    table->hand = at;
    return chosen;
}

static void add_generation(struct weir_spill *spill, uint64_t generation)
{
    int at = spill->generation_count;
    while (at > 0 && spill->generations[at - 1] > generation)
        at--;
    if (at > 0 && spill->generations[at - 1] == generation)
        return;
    weir_assert(spill->generation_count < GENERATIONS_MAX); /* two a barrier, and weir_spill_wants_all() */
    memmove(&spill->generations[at + 1], &spill->generations[at],
            (size_t)(spill->generation_count - at) * sizeof *spill->generations);
    spill->generations[at] = generation;
    spill->generation_count++;
}

/* After which checkpoint's barrier it changed, as far as that matters: what was captured at the last one counts as having changed just before
 * it; 0: no later run needs it. */
static uint64_t changed_after(const struct weir_state_table *table, uint64_t index)
{
    uint64_t barrier = table->state->spill->barrier;
    if (barrier && bit_of(table, BITS_DIRTY, index))
        return barrier;
    return barrier && bit_of(table, BITS_PENDING, index) ? barrier - 1 : 0;
}

static void encode_victim(struct weir_state_table *table, uint64_t index, struct key_at *key)
{
    const struct weir_state *state = table->state;
    struct weir_buf *bytes = &state->spill->memory->bytes;
    uint8_t head[VALUE_AT];
    key->at = bytes->size;
    put_slot_key(table, bytes, slot_at(table, index));
    key->size = (uint32_t)(bytes->size - key->at);
    key->value_at = bytes->size;
    put_u64(head, changed_after(table, index));
    head[8] = bit_of(table, BITS_SAVED, index);
    append(bytes, head, sizeof head);
    state->codec.encode(state->codec.arg, slot_at(table, index) + state->value_at, bytes);
    key->value_size = (uint32_t)(bytes->size - key->value_at);
}

/* The same entry once more, in the index; false: it need not be there. */
static bool encode_in_index(struct weir_state_table *table, uint64_t index, const struct key_at *of, struct key_at *key)
{
    struct weir_spill *spill = table->state->spill;
    struct weir_buf *bytes = &spill->memory->bytes;
    uint64_t generation = changed_after(table, index);
    if (!generation)
        return false;
    add_generation(spill, generation);
    *key = *of; /* with the same value */
    key->at = bytes->size;
    reserve(bytes, of->size + PREFIX_SIZE);
    index_key(spill, generation, bytes->data + of->at, of->size, bytes);
    key->size = (uint32_t)(bytes->size - key->at);
    return true;
}

/* Keys and values of the victims that RocksDB has not as they are, sorted, into memory->entries. A capture that is under way gets what it
 * wants of them first. */
static size_t encode_victims(struct weir_state_memory *memory, struct weir_state_table *table, int64_t chosen)
{
    struct weir_buf *bytes = &memory->bytes;
    size_t count = 0, max = 2 * (size_t)chosen;
    weir_buf_clear(bytes);
    memory->keys = grown(memory->keys, &memory->key_capacity, max, sizeof *memory->keys);
    memory->entries = grown(memory->entries, &memory->entry_capacity, max, sizeof *memory->entries);
    for (uint64_t i = 0; i < table->capacity; i++) {
        if (!(table->marks[i] & MARK_VICTIM))
            continue;
        if (table->capturing && bit_of(table, BITS_LEFT, i))
            weir_capture_entry(table, i);
        if (table->marks[i] & MARK_SAME)
            continue;
        encode_victim(table, i, &memory->keys[count]);
        count += encode_in_index(table, i, &memory->keys[count], &memory->keys[count + 1]) ? 2 : 1;
    }
    if (count > 1)
        qsort_r(memory->keys, count, sizeof *memory->keys, by_key, bytes->data);
    for (size_t i = 0; i < count; i++) {
        const struct key_at *key = &memory->keys[i];
        memory->entries[i] = (struct weir_rocks_entry){.key = bytes->data + key->at,
                                                       .key_size = key->size,
                                                       .value = bytes->data + key->value_at,
                                                       .value_size = key->value_size};
    }
    return count;
}

/* What moves into the place of one that went may be one, too. */
static void forget_victims(struct weir_state_table *table)
{
    for (uint64_t i = 0; i < table->capacity; i++) {
        while (table->marks[i] & MARK_VICTIM) {
            for (int kind = 0; kind < BITS_KINDS; kind++)
                bit_clear(table, kind, i);
            weir_state_take_slot(table, slot_at(table, i));
        }
    }
}

/* Makes what is alive in the heap anew, without what evicted entries left there. */
static void compact_heap(struct weir_state_table *table)
{
    struct weir_state *state = table->state;
    struct weir_state_memory *memory = state->spill->memory;
    struct weir_arena old = table->heap;
    uint8_t *value = weir_alloc(state->stride);
    size_t value_size = state->stride - state->value_at;
    weir_arena_init(&table->heap);
    for (uint64_t i = 0; i < table->capacity + SPECIAL_SLOTS; i++) {
        if (!slot_is_taken(table, i))
            continue;
        uint8_t *place = slot_at(table, i) + state->value_at;
        weir_buf_clear(&memory->bytes);
        state->codec.encode(state->codec.arg, place, &memory->bytes);
        memset(value, 0, value_size);
        if (state->codec.decode(state->codec.arg, NULL, memory->bytes.data ? memory->bytes.data : value,
                                memory->bytes.size, value, &table->heap, error_of(memory)))
            continue; /* the memory has an error now: the task fails */
        memcpy(place, value, value_size);
    }
    free(value);
    weir_arena_fini(&old);
    table->moves++;
    table->evicted = 0;
}

static void begin_marks(struct weir_state_table *table)
{
    if (table->marks)
        return;
    table->marks = weir_zalloc(table->capacity + SPECIAL_SLOTS);
    table->limit = weir_state_limit_full(table->capacity);
}

/* Forgets up to `max` entries; returns their number. 0: there are none, or RocksDB could not take them. */
static int64_t evict(struct weir_state_table *table, int64_t max)
{
    struct weir_spill *spill = table->state->spill;
    struct weir_state_memory *memory = spill->memory;
    begin_marks(table);
    max = max > EVICT_MAX ? EVICT_MAX : max;
    int64_t chosen = choose(table, max);
    if (chosen == 0)
        return 0;
    flush_removed(spill);
    size_t count = encode_victims(memory, table, chosen);
    if (memory->error.code || weir_rocks_write(memory->rocks, memory->entries, count, error_of(memory))) {
        for (uint64_t i = 0; i < table->capacity; i++)
            table->marks[i] &= (uint8_t)~MARK_VICTIM;
        return 0;
    }
    spill->disk = table->disk = true;
    forget_victims(table);
    table->disk_count += chosen;
    table->evicted += chosen;
    if (table->heap.size_total > HEAP_MIN && table->evicted * 2 > table->count)
        compact_heap(table);
    return chosen;
}

/* --- Room */

/* RocksDB's own memory grows with what is on disk: what is beyond its part is taken from here, but for a quarter. */
static size_t budget_of(const struct weir_state_memory *memory)
{
    size_t excess = weir_rocks_excess(memory->rocks);
    return excess < memory->budget / 4 * 3 ? memory->budget - excess : memory->budget / 4;
}

/* There is room for `size` bytes more; what is kept for later windows goes first. */
static bool has_room(const struct weir_state_memory *memory, size_t size)
{
    size_t budget = budget_of(memory);
    if (used_bytes(memory) + size <= budget)
        return true;
    for (const struct weir_spill *spill = memory->states; spill; spill = spill->next)
        weir_state_free_spare(spill->state);
    return used_bytes(memory) + size <= budget;
}

bool weir_spill_fits(const struct weir_state_table *table, uint64_t capacity)
{
    const struct weir_state_memory *memory = table->state->spill->memory;
    size_t size = (capacity + SPECIAL_SLOTS) * (table->state->stride + 1);
    return size <= memory->budget / 8 || has_room(memory, size);
}

/* Runs are at most about twice the state; when it turns out that its entries are too much all the same, they are merged. */
bool weir_spill_may_hold(const struct weir_state *state, double bytes)
{
    return !state->spill || (bytes / 2 < (double)SIZE_MAX && has_room(state->spill->memory, (size_t)(bytes / 2)));
}

/* Memory is looked at when a table is full, and now and then where it can grow otherwise. */
void weir_spill_room(struct weir_state_table *table, int count)
{
    struct weir_state_memory *memory = table->state->spill->memory;
    bool over = false;
    table->used_at = memory->item;
    if (table->heap.size_total + table->keys.size_total + table->large_bytes > HEAP_MIN && ++memory->looks >= 16) {
        memory->looks = 0;
        over = !has_room(memory, 0);
    }
    if (over && table->count > EVICT_MIN)
        evict(table, table->count / 8);
    while (table->count + count > table->limit && !memory->error.code) {
        uint64_t capacity = table->capacity * 2;
        if (weir_spill_fits(table, capacity))
            return; /* it grows when it has to */
        memory->wanted = (capacity + SPECIAL_SLOTS) * (table->state->stride + 1);
        int64_t needed = table->count + count - table->limit, quarter = table->limit / 4;
        if (needed > table->count || evict(table, needed > quarter ? needed : quarter) == 0)
            return;
    }
}

/* The table that was used least recently and not by the last item; NULL: none. */
static struct weir_state_table *coldest(struct weir_state_memory *memory)
{
    struct weir_state_table *found = NULL;
    for (const struct weir_spill *spill = memory->states; spill; spill = spill->next) {
        const struct weir_state *state = spill->state;
        for (int i = 0; i < state->count; i++) {
            struct weir_state_table *table = state->entries[state->first + i].table;
            if (table->walked || table->count == 0 || table->used_at >= memory->item)
                continue;
            if (!found || table->used_at < found->used_at)
                found = table;
        }
    }
    return found;
}

void weir_state_memory_settle(struct weir_state_memory *memory)
{
    memory->item++;
    for (int round = 0; round < SETTLE_ROUNDS && !memory->error.code; round++) {
        if (!memory->states || has_room(memory, memory->wanted))
            break;
        struct weir_state_table *table = coldest(memory);
        if (!table || evict(table, EVICT_MAX) == 0)
            break;
        weir_state_shrink(table);
    }
    memory->wanted = 0;
}

/* --- Coming back */

/* What checkpoints know of the entry. */
static void set_bits_of(struct weir_state_table *table, uint64_t index, const uint8_t *value)
{
    const struct weir_spill *spill = table->state->spill;
    uint64_t after;
    memcpy(&after, value, sizeof after);
    after = __builtin_bswap64(after);
    if (after >= spill->barrier)
        bit_set(table, BITS_DIRTY, index);
    else if (after >= spill->base)
        bit_set(table, BITS_PENDING, index);
    if (value[8] || after < spill->barrier) {
        bit_set(table, BITS_SAVED, index);
        table->saved = true;
    }
}

/* An entry of RocksDB that is not in memory. */
static void take_entry(struct weir_state_table *table, const uint8_t *key, uint32_t key_size, const uint8_t *bytes,
                       size_t size)
{
    struct weir_state *state = table->state;
    uint8_t *slot = weir_state_insert_slot(table, key, key_size);
    weir_assert(slot && size >= VALUE_AT);
    weir_err err = state->codec.decode(state->codec.arg, NULL, bytes + VALUE_AT, size - VALUE_AT,
                                       slot + state->value_at, &table->heap, error_of(state->spill->memory));
    (void)err; /* kept as the memory's error, which fails the task */
    begin_marks(table);
    uint64_t index = index_of(table, slot);
    table->marks[index] = MARK_COPIED | MARK_SAME | MARK_USED;
    set_bits_of(table, index, bytes);
    table->disk_count--;
}

/* memory->keys[0, count) are keys in memory->bytes whose entries are not in memory: those that RocksDB has come into the table. */
static void fetch(struct weir_state_table *table, size_t count)
{
    struct weir_state_memory *memory = table->state->spill->memory;
    const uint8_t *at[FETCH_MAX];
    size_t sizes[FETCH_MAX], unique = 0;
    struct weir_rocks_slice values[FETCH_MAX];
    weir_assert(count <= FETCH_MAX);
    qsort_r(memory->keys, count, sizeof *memory->keys, by_key, memory->bytes.data);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && same_key(&memory->bytes, &memory->keys[i], &memory->keys[i - 1]))
            continue;
        at[unique] = memory->bytes.data + memory->keys[i].at;
        sizes[unique++] = memory->keys[i].size;
    }
    if (weir_rocks_get(memory->rocks, at, sizes, unique, values, error_of(memory)))
        return; /* kept as the memory's error, which fails the task */
    uint32_t key_at = is_fixed(table) ? KEY_AT_FIXED : KEY_AT_VAR;
    for (size_t i = 0; i < unique; i++) {
        if (values[i].bytes)
            take_entry(table, at[i] + key_at, (uint32_t)(sizes[i] - key_at), values[i].bytes, values[i].size);
    }
    weir_rocks_release(values, unique);
}

/* Rows whose values are NULL: their entries come into memory where RocksDB has them. Values of other rows may move. */
void weir_spill_fetch(struct weir_state_table *table, const struct weir_state_keys *keys, const int32_t *rows,
                      int count, uint8_t *const *values)
{
    struct weir_state_memory *memory = table->state->spill->memory;
    size_t missing = 0;
    flush_removed(table->state->spill);
    memory->keys = grown(memory->keys, &memory->key_capacity, (size_t)count, sizeof *memory->keys);
    weir_buf_clear(&memory->bytes);
    for (int i = 0; i < count; i++) {
        struct key_at *key = &memory->keys[missing];
        if (values[i])
            continue;
        key->at = memory->bytes.size;
        if (!put_row_key(table, &memory->bytes, keys, rows ? rows[i] : i))
            continue;
        key->size = (uint32_t)(memory->bytes.size - key->at);
        missing++;
    }
    if (missing)
        fetch(table, missing);
}

void weir_spill_fetch_one(struct weir_state_table *table, uint64_t hash, const uint8_t *key, uint32_t key_size)
{
    struct weir_state_memory *memory = table->state->spill->memory;
    flush_removed(table->state->spill);
    memory->keys = grown(memory->keys, &memory->key_capacity, 1, sizeof *memory->keys);
    weir_buf_clear(&memory->bytes);
    put_key(table, &memory->bytes, is_fixed(table) ? weir_xxh3(key, key_size) : hash, key, key_size);
    memory->keys[0] = (struct key_at){.at = 0, .size = (uint32_t)memory->bytes.size};
    fetch(table, 1);
}

/* All entries with this id that are not in memory. */
void weir_spill_fetch_id(struct weir_state_table *table, struct weir_state_id id)
{
    uint8_t key[WEIR_STATE_RAW_KEY_SIZE_MAX];
    if (id.kind)
        return;
    if (is_fixed(table)) {
        uint32_t size = weir_state_encode_raw(table->state->fixed_key, id.head ^ HEAD_MASK, key);
        if (!weir_state_has(table, key, size))
            weir_spill_fetch_one(table, 0, key, size);
        return;
    }
    struct weir_state_memory *memory = table->state->spill->memory;
    struct weir_rocks_entry entry;
    bool more;
    flush_removed(table->state->spill);
    weir_buf_clear(&memory->bytes);
    put_key(table, &memory->bytes, id.head, (const uint8_t *)"", 0);
    struct weir_rocks_iterator *it = weir_rocks_iterate(memory->rocks, memory->bytes.data, memory->bytes.size, NULL);
    while (!weir_rocks_next(it, &entry, &more, error_of(memory)) && more) {
        const uint8_t *bytes = entry.key + KEY_AT_VAR;
        if (!weir_state_has(table, bytes, entry.key_size - KEY_AT_VAR))
            take_entry(table, bytes, entry.key_size - KEY_AT_VAR, entry.value, entry.value_size);
    }
    weir_rocks_iterator_free(it);
}

void weir_spill_used(struct weir_state_table *table, uint8_t *const *values, int count, bool changes)
{
    uint8_t keep = changes ? (uint8_t)~MARK_SAME : 0xff;
    size_t value_at = table->state->value_at;
    for (int i = 0; i < count; i++) {
        if (values[i]) {
            uint8_t *mark = &table->marks[index_of(table, values[i] - value_at)];
            *mark = (uint8_t)((*mark & keep) | MARK_USED);
        }
    }
}

/* --- Walks: what is in RocksDB only, after what is in memory */

static int walk_max(const struct weir_state *state, int max)
{
    size_t room = WALK_BYTES / (state->stride + sizeof(struct weir_state_entry)) + 1;
    return (size_t)max > room ? (int)room : max;
}

/* The iterator, behind the first `taken` records. */
static void seek_walk(struct weir_state_table *table, int64_t taken)
{
    struct weir_spill *spill = table->state->spill;
    uint8_t prefix[PREFIX_SIZE];
    if (table->disk_walk && table->disk_walked == taken && taken > 0)
        return;
    flush_removed(spill);
    put_prefix(table, prefix);
    weir_rocks_iterator_free(table->disk_walk);
    table->disk_walk = weir_rocks_iterate(spill->memory->rocks, prefix, sizeof prefix, NULL);
    table->disk_walked = 0;
    for (bool more = true; more && table->disk_walked < taken; table->disk_walked++) {
        struct weir_rocks_entry entry;
        if (weir_rocks_next(table->disk_walk, &entry, &more, error_of(spill->memory)))
            return;
    }
}

/* False: there is no other entry. */
static bool walk_one(struct weir_state_table *table, struct weir_state_entry *out, uint8_t *value)
{
    const struct weir_state *state = table->state;
    struct weir_spill *spill = state->spill;
    struct weir_error *error = error_of(spill->memory);
    uint32_t key_at = is_fixed(table) ? KEY_AT_FIXED : KEY_AT_VAR;
    for (;;) {
        struct weir_rocks_entry entry;
        bool more;
        if (weir_rocks_next(table->disk_walk, &entry, &more, error) || !more)
            return false;
        table->disk_walked++;
        if (weir_state_has(table, entry.key + key_at, entry.key_size - key_at))
            continue;
        weir_assert(entry.value_size >= VALUE_AT);
        memset(value, 0, state->stride - state->value_at);
        if (state->codec.decode(state->codec.arg, NULL, entry.value + VALUE_AT, entry.value_size - VALUE_AT, value,
                                &spill->walk_heap, error))
            return false;
        out->key_size = entry.key_size - key_at;
        out->value = value;
        append(&spill->walk_keys, entry.key + key_at, out->key_size);
        return true;
    }
}

int weir_spill_walk_some(struct weir_state_table *table, int64_t *cursor, struct weir_state_entry **entries, int max)
{
    struct weir_state *state = table->state;
    struct weir_spill *spill = state->spill;
    size_t value_size = state->stride - state->value_at;
    int count = 0;
    *entries = NULL;
    if (!spill || table->disk_count == 0 || max < 1) {
        end_walk(table);
        return 0;
    }
    if (!spill->walk_values) {
        size_t room = (size_t)walk_max(state, WEIR_BATCH_ROWS_MAX);
        spill->walk_values = weir_alloc(room * value_size + 1);
        spill->walk_entries = weir_alloc(room * sizeof *spill->walk_entries);
    }
    seek_walk(table, *cursor >= WEIR_SPILL_CURSOR ? *cursor - WEIR_SPILL_CURSOR : 0);
    weir_buf_clear(&spill->walk_keys);
    weir_arena_reset(&spill->walk_heap);
    max = walk_max(state, max);
    while (count < max && spill->walk_keys.size + spill->walk_heap.size_total < 2 * WALK_BYTES &&
           walk_one(table, &spill->walk_entries[count], spill->walk_values + (size_t)count * value_size))
        count++;
    const uint8_t *key = spill->walk_keys.data ? spill->walk_keys.data : (const uint8_t *)"";
    for (int i = 0; i < count; i++) {
        spill->walk_entries[i].key = key;
        key += spill->walk_entries[i].key_size;
    }
    *cursor = WEIR_SPILL_CURSOR + table->disk_walked;
    *entries = spill->walk_entries;
    if (count == 0)
        end_walk(table);
    return count;
}

int weir_spill_walk(struct weir_state_table *table, int64_t *cursor, struct weir_state_entry *entries, int max)
{
    struct weir_state_entry *some;
    int count = weir_spill_walk_some(table, cursor, &some, max);
    if (count)
        memcpy(entries, some, (size_t)count * sizeof *entries);
    return count;
}

/* --- Captures */

bool weir_spill_wants_all(const struct weir_state *state)
{
    return state->spill && state->spill->generation_count > GENERATIONS_MAX - 4;
}

/* Generations that no later capture needs. */
static void drop_generations(struct weir_spill *spill, uint64_t before)
{
    int kept = 0;
    for (int i = 0; i < spill->generation_count; i++) {
        uint8_t prefix[PREFIX_SIZE];
        if (spill->generations[i] >= before)
            spill->generations[kept++] = spill->generations[i];
        else
            drop_range(spill->memory, prefix, put_index_prefix(spill, spill->generations[i], prefix));
    }
    spill->generation_count = kept;
}

static void take_prefixes(const struct weir_spill *spill, bool full, struct weir_spill_capture *capture)
{
    capture->index = !full;
    if (full) {
        put_u32(capture->prefixes[0], spill->id);
        capture->prefix_size = 4;
        capture->prefix_count = 1;
        return;
    }
    capture->prefix_size = PREFIX_SIZE;
    for (int i = 0; i < spill->generation_count; i++)
        put_index_prefix(spill, spill->generations[i], capture->prefixes[capture->prefix_count++]);
}

struct weir_spill_capture *weir_spill_capture(struct weir_state *state, uint64_t checkpoint, uint64_t after, bool full,
                                              bool own, int64_t over_at)
{
    struct weir_spill *spill = state->spill;
    struct weir_spill_capture *capture = NULL;
    if (!spill)
        return NULL;
    flush_removed(spill);
    if (!full)
        drop_generations(spill, after);
    if (spill->disk && (full || spill->generation_count > 0)) {
        capture = weir_zalloc(sizeof *capture);
        capture->rocks = weir_rocks_ref(spill->memory->rocks);
        capture->over_at = over_at;
        capture->key_at = state->fixed_key != WEIR_TYPE_NONE ? KEY_AT_FIXED : KEY_AT_VAR;
        take_prefixes(spill, full, capture);
        capture->snapshot = weir_rocks_snapshot_new(spill->memory->rocks);
    }
    if (!own)
        return capture;
    for (int i = 0; i < state->count; i++)
        state->entries[state->first + i].table->saved |= state->entries[state->first + i].table->disk_count > 0;
    if (full)
        drop_generations(spill, checkpoint);
    spill->barrier = checkpoint;
    spill->base = full ? UINT64_MAX : after;
    return capture;
}

/* What was restored and evicted at once has the barrier 0 before it. */
void weir_spill_restored(struct weir_state *state, uint64_t checkpoint)
{
    if (state->spill) {
        state->spill->barrier = checkpoint;
        state->spill->base = checkpoint;
    }
}

/* The next entry of a range; *more false: the range has ended. */
static weir_err capture_one(struct weir_spill_capture *capture, struct weir_records *records, bool *more,
                            struct weir_error *error)
{
    struct weir_rocks_entry entry;
    weir_err err = weir_rocks_next(capture->iterator, &entry, more, error);
    if (err || !*more)
        return err;
    uint32_t shift = capture->index ? PREFIX_SIZE - 4 : 0, key_at = capture->key_at + shift;
    weir_assert(entry.key_size >= key_at && entry.value_size >= VALUE_AT);
    if (weir_state_is_over(capture->over_at, entry.value + VALUE_AT, entry.value_size - VALUE_AT))
        return WEIR_OK;
    uint64_t namespace;
    memcpy(&namespace, entry.key + 4 + shift, sizeof namespace);
    namespace = __builtin_bswap64(namespace) ^ (uint64_t)1 << 63;
    int group = entry.key[PREFIX_SIZE + shift] << 8 | entry.key[PREFIX_SIZE + shift + 1];
    weir_records_begin(records, group, entry.key + key_at, entry.key_size - key_at, (int64_t) namespace,
                       WEIR_RECORD_VALUE);
    append(&records->bytes, entry.value + VALUE_AT, entry.value_size - VALUE_AT);
    weir_records_end(records);
    return WEIR_OK;
}

weir_err weir_spill_capture_next(struct weir_spill_capture *capture, struct weir_records *records, size_t size,
                                 bool *more, struct weir_error *error)
{
    *more = true;
    while (records->bytes.size < size) {
        bool found = false;
        if (!capture->iterator) {
            if (capture->at == capture->prefix_count) {
                *more = false;
                return WEIR_OK;
            }
            capture->iterator = weir_rocks_iterate(capture->rocks, capture->prefixes[capture->at++],
                                                   (size_t)capture->prefix_size, capture->snapshot);
        }
        weir_err err = capture_one(capture, records, &found, error);
        if (err)
            return err;
        if (!found) { /* a range's entries are newer than those of the range before: a run of their own */
            weir_rocks_iterator_free(capture->iterator);
            capture->iterator = NULL;
            *more = capture->at < capture->prefix_count;
            return WEIR_OK;
        }
    }
    return WEIR_OK;
}

void weir_spill_capture_free(struct weir_spill_capture *capture)
{
    if (!capture)
        return;
    weir_rocks_iterator_free(capture->iterator);
    weir_rocks_snapshot_free(capture->rocks, capture->snapshot);
    weir_rocks_free(capture->rocks);
    free(capture);
}
