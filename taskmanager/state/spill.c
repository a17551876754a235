/* State beyond memory: entries of tables go to RocksDB when their operator's budget is used up, and come back when they are asked for.
 *
 * Keys in RocksDB: u32 the state's number, i64 namespace (sign bit flipped), the upper half (with variable keys all) of the key's hash, canonical
 * key; all big-endian. So a namespace is one range (its walk, its end), in which key groups follow each other, and an id (weir_state_id) leads to
 * its entry. Values: u64 the checkpoint after whose barrier the value last changed (0: before any), u8 whether some run has the entry, then as
 * the codec writes it.
 *
 * An entry is in memory, or in RocksDB only (`disk_count`), or in both: RocksDB's copy counts only while there is none in memory. Marks say,
 * for each slot: USED since the clock's hand passed, SAME as RocksDB's copy (so that it is forgotten without writing), COPIED, there is a
 * copy, which goes when the entry is removed. The two special slots always stay in memory.
 *
 * Eviction is CLOCK over one table: in upsert() and lookup() the table at hand, whose pointers end there anyway; between items (settle)
 * the table that was used least recently. The hand goes along the hashes, that is, in the order of RocksDB's keys, not of the slots: what is
 * evicted together is a dense part of a narrow range, a file that overlaps neither the last ones nor much of what is below it. Evicting
 * from all over would have compaction write the whole state again for every few files. An entry stays on probation until it is asked
 * for again: what was there once does not displace what is used.
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
#include "state/absent.h"
#include "state/spill_int.h"

#define ID_ROUNDS 4 /* keys of one 64-bit hash are few: what makes room for them seldom is one of them */
#define MARK_USED 1u
#define MARK_SAME 2u
#define MARK_COPIED 4u
#define MARK_VICTIM 8u

#define EVICT_MAX ((size_t)1 << 18)    /* entries at a time, ... */
#define EVICT_BYTES ((size_t)32 << 20) /* ... and what they have in the heap, about */
#define EVICT_MIN 1024
#define GET_MAX 128 /* values that are pinned at a time, each with its block */
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

struct victim {
    uint64_t position, index; /* hash and slot */
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

struct weir_state_memory {
    struct weir_rocks *rocks;
    size_t budget;
    struct weir_spill *states;
    int64_t item;            /* how many there were */
    size_t wanted;           /* a table would have grown by so much */
    struct weir_error error; /* the first; code OK: none */
    /* Scratch */
    struct weir_buf bytes;
    struct key_at *keys;
    size_t key_capacity;
    struct victim *victims;
    size_t victim_capacity;
    struct weir_absent *absent;
};

/* --- Memory */

struct weir_state_memory *weir_state_memory_new(struct weir_rocks *rocks, size_t budget)
{
    struct weir_state_memory *memory = weir_zalloc(sizeof *memory);
    memory->rocks = weir_rocks_ref(rocks);
    memory->budget = budget;
    weir_rocks_share(rocks, 1);
    memory->absent = weir_absent_new();
    weir_buf_init(&memory->bytes, SIZE_MAX / 2);
    return memory;
}

void weir_state_memory_free(struct weir_state_memory *memory)
{
    if (!memory)
        return;
    weir_assert(!memory->states);
    weir_rocks_share(memory->rocks, -1);
    weir_rocks_free(memory->rocks);
    weir_buf_fini(&memory->bytes);
    free(memory->keys);
    free(memory->victims);
    weir_absent_free(memory->absent);
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
    uint8_t head[KEY_AT_VAR];
    put_prefix(table, head);
    put_u64(head + PREFIX_SIZE, hash ? hash : 1); /* as in slots */
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

/* A slot's place along the way of the hand. */
static uint64_t position_of(struct weir_state_table *table, uint8_t *slot)
{
    uint8_t key[WEIR_STATE_RAW_KEY_SIZE_MAX];
    if (!is_fixed(table))
        return *head_of(slot);
    uint32_t size = weir_state_encode_raw(table->state->fixed_key, *head_of(slot) ^ HEAD_MASK, key);
    return weir_xxh3(key, size) >> 32 << 32; /* as much as RocksDB's key has */
}

/* The positions of this subtask's keys: [*first, *first + *size]. */
static void positions(const struct weir_state *state, uint64_t *first, uint64_t *size)
{
    uint64_t groups = (uint64_t)state->max_parallelism, one = (uint64_t)1 << 32;
    *first = 0;
    *size = UINT64_MAX;
    if (groups == 0 || state->key_group_count == 0 || state->key_group_count == state->max_parallelism)
        return;
    uint64_t from = ((uint64_t)state->key_group_first * one + groups - 1) / groups;
    uint64_t end = ((uint64_t)(state->key_group_first + state->key_group_count) * one + groups - 1) / groups;
    *first = from << 32;
    *size = ((end - from) << 32) - 1;
}

/* Too many: those of the first half of [from, *last] stay. */
static size_t halve(struct victim *victims, size_t count, uint64_t from, uint64_t *last)
{
    size_t kept = 0;
    *last = from + (*last - from) / 2;
    for (size_t i = 0; i < count; i++)
        if (victims[i].position - from <= *last - from)
            victims[kept++] = victims[i];
    return kept;
}

/* The entries in [from, *last] that were not used since the hand was there last, at most `max`, for which *last may come down. */
static size_t choose_between(struct weir_state_table *table, struct victim *victims, size_t max, uint64_t from,
                             uint64_t *last)
{
    size_t count = 0;
    for (uint64_t i = 0; i < table->capacity; i++) {
        uint8_t *slot = slot_at(table, i);
        if (!*head_of(slot) || table->marks[i] & MARK_VICTIM)
            continue;
        uint64_t position = position_of(table, slot);
        if (position - from > *last - from)
            continue;
        if (table->marks[i] & MARK_USED) {
            table->marks[i] &= (uint8_t)~MARK_USED;
            continue;
        }
        while (count == max && position - from <= *last - from && from < *last)
            count = halve(victims, count, from, last);
        if (count < max && position - from <= *last - from)
            victims[count++] = (struct victim){position, i};
    }
    for (size_t i = 0; i < count; i++)
        table->marks[victims[i].index] |= MARK_VICTIM;
    return count;
}

/* Chooses up to `max` entries from the hand on into memory->victims, and marks them; returns their number. Twice around at most: what was used
 * gets another chance. */
static size_t choose(struct weir_state_table *table, size_t max)
{
    struct weir_state_memory *memory = table->state->spill->memory;
    uint64_t first, size, swept = 0;
    size_t chosen = 0;
    positions(table->state, &first, &size);
    memory->victims = grown(memory->victims, &memory->victim_capacity, max, sizeof *memory->victims);
    /* Where the hand comes to, it has not been for longest: there are more entries than elsewhere, up to twice. */
    uint64_t width = (uint64_t)((double)size / ((double)table->count + 1) * (double)max / 2) | 1;
    width = width > size ? size : width;
    for (int rounds = 2; rounds > 0 && chosen <= max / 2;) {
        if (table->hand - first > size)
            table->hand = first;
        uint64_t left = size - (table->hand - first), last = table->hand + (width < left ? width : left);
        size_t found = choose_between(table, memory->victims + chosen, max - chosen, table->hand, &last);
        swept = last - first;
        table->hand = last + 1;
        chosen += found;
        rounds -= swept == size;
        if (found <= max / 8)
            width = width > size / 4 ? size : width * 4;
    }
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

/* Its key and value, one after the other in memory->bytes. generation: of its copy in the index; 0: the entry itself. Returns the key's size. */
static size_t encode_victim(struct weir_state_table *table, uint64_t index, uint64_t generation)
{
    const struct weir_state *state = table->state;
    struct weir_buf *bytes = &state->spill->memory->bytes;
    uint8_t head[VALUE_AT], prefix[PREFIX_SIZE];
    weir_buf_clear(bytes);
    if (generation) /* the same key behind another prefix, without the state's number */
        append(bytes, prefix, put_index_prefix(state->spill, generation, prefix) - 4);
    size_t at = bytes->size;
    put_slot_key(table, bytes, slot_at(table, index));
    if (generation) {
        put_index_prefix(state->spill, generation, prefix);
        memcpy(bytes->data + at, prefix + PREFIX_SIZE - 4, 4);
    }
    size_t key_size = bytes->size;
    put_u64(head, changed_after(table, index));
    head[8] = bit_of(table, BITS_SAVED, index);
    append(bytes, head, sizeof head);
    state->codec.encode(state->codec.arg, slot_at(table, index) + state->value_at, bytes);
    return key_size;
}

static bool is_written(const struct weir_state_table *table, uint64_t index, uint64_t generation)
{
    return !(table->marks[index] & MARK_SAME) && (!generation || changed_after(table, index) == generation);
}

/* Those of the victims that RocksDB has not as they are. generation: their copies in the index; 0: they themselves. */
static weir_err write_victims(struct weir_state_table *table, size_t chosen, uint64_t generation)
{
    struct weir_state_memory *memory = table->state->spill->memory;
    const struct victim *victims = memory->victims;
    struct weir_rocks_writer *writer;
    size_t count = 0;
    for (size_t i = 0; i < chosen; i++)
        count += is_written(table, victims[i].index, generation);
    if (count == 0)
        return WEIR_OK;
    weir_err err = weir_rocks_begin(memory->rocks, count, &writer, error_of(memory));
    if (err)
        return err;
    for (size_t i = 0; i < chosen; i++) {
        if (i + 8 < chosen)
            __builtin_prefetch(slot_at(table, victims[i + 8].index));
        if (!is_written(table, victims[i].index, generation))
            continue;
        size_t key_size = encode_victim(table, victims[i].index, generation);
        weir_rocks_put(writer, memory->bytes.data, key_size, memory->bytes.data + key_size,
                       memory->bytes.size - key_size);
    }
    if (generation)
        add_generation(table->state->spill, generation);
    return weir_rocks_end(writer, error_of(memory));
}

static int by_position(const void *a, const void *b, void *arg)
{
    const struct victim *x = a, *y = b;
    struct weir_state_table *table = arg;
    if (x->position != y->position)
        return x->position < y->position ? -1 : 1;
    /* Rare. */
    uint8_t room[2][WEIR_STATE_RAW_KEY_SIZE_MAX];
    struct weir_state_entry one, other;
    weir_state_fill_entry(table, slot_at(table, x->index), room[0], &one);
    weir_state_fill_entry(table, slot_at(table, y->index), room[1], &other);
    int order = memcmp(one.key, other.key, one.key_size < other.key_size ? one.key_size : other.key_size);
    return order ? order : one.key_size < other.key_size ? -1 : one.key_size > other.key_size;
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
    weir_state_pack_keys(table);
    table->moves++;
    table->evicted = 0;
    table->looked_bytes = 0;
}

static void begin_marks(struct weir_state_table *table)
{
    if (table->marks)
        return;
    table->marks = weir_zalloc(table->capacity + SPECIAL_SLOTS);
    table->limit = weir_state_limit_full(table->capacity);
}

/* Of an entry, on average. */
static size_t heap_bytes(const struct weir_state_table *table)
{
    size_t bytes = table->heap.size_total + table->keys.size_total + table->large_bytes;
    return table->count > 0 ? bytes / (size_t)table->count : 0;
}

/* Forgets about `max` entries; returns their number. 0: there are none, or RocksDB could not take them. */
static int64_t evict(struct weir_state_table *table, int64_t wanted)
{
    struct weir_spill *spill = table->state->spill;
    struct weir_state_memory *memory = spill->memory;
    uint64_t barrier = spill->barrier;
    size_t max = EVICT_BYTES / (heap_bytes(table) + 1);
    begin_marks(table);
    max = max < EVICT_MIN ? EVICT_MIN : max;
    max = max > EVICT_MAX ? EVICT_MAX : max;
    wanted = wanted < table->limit / 8 ? table->limit / 8 : wanted; /* each costs a walk over the table */
    size_t chosen = choose(table, (size_t)wanted > max ? max : (size_t)wanted);
    if (chosen == 0)
        return 0;
    flush_removed(spill);
    weir_absent_clear(memory->absent);
    for (size_t i = 0; i < chosen && table->capturing; i++) {
        uint64_t index = memory->victims[i].index;
        if (bit_of(table, BITS_LEFT, index)) /* the capture that is under way wants it as it is */
            weir_capture_entry(table, index);
    }
    qsort_r(memory->victims, chosen, sizeof *memory->victims, by_position, table);
    if (memory->error.code || write_victims(table, chosen, 0) ||
        (barrier > 1 && write_victims(table, chosen, barrier - 1)) ||
        (barrier && write_victims(table, chosen, barrier))) {
        for (size_t i = 0; i < chosen; i++)
            table->marks[memory->victims[i].index] &= (uint8_t)~MARK_VICTIM;
        return 0;
    }
    spill->disk = table->disk = true;
    weir_state_sweep(table, MARK_VICTIM);
    table->disk_count += (int64_t)chosen;
    table->evicted += (int64_t)chosen;
    return (int64_t)chosen;
}

static bool has_much_heap(const struct weir_state_table *table)
{
    return table->heap.size_total + table->keys.size_total > HEAP_MIN;
}

/* Forgets `wanted` entries, in several rounds; then the heaps are made anew, if that is worth it. */
static bool evict_all(struct weir_state_table *table, int64_t wanted)
{
    int64_t done = 0, some;
    while (done < wanted && (some = evict(table, wanted - done)) > 0)
        done += some;
    if (has_much_heap(table) && table->evicted * 3 >= table->count)
        compact_heap(table);
    return done > 0;
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

/* With the heap that an entry has had so far. */
static size_t size_with(const struct weir_state_table *table, uint64_t capacity)
{
    size_t slots = (capacity + SPECIAL_SLOTS) * (table->state->stride + 1) + capacity * BITS_KINDS / 8;
    return slots + (size_t)(weir_state_limit_full(capacity) - table->count) * (heap_bytes(table) * 3 / 2);
}

bool weir_spill_fits(const struct weir_state_table *table, uint64_t capacity)
{
    const struct weir_state_memory *memory = table->state->spill->memory;
    size_t size = (capacity + SPECIAL_SLOTS) * (table->state->stride + 1), own = table->slots.size;
    return size <= memory->budget / 8 || has_room(memory, size > own ? size - own : 0);
}

/* Runs are at most about twice the state; when it turns out that its entries are too much all the same, they are merged. */
bool weir_spill_may_hold(const struct weir_state *state, double bytes)
{
    return !state->spill || (bytes / 2 < (double)SIZE_MAX && has_room(state->spill->memory, (size_t)(bytes / 2)));
}

/* As large as it may be: twice as large, or what the budget has. False: it stays as it is. */
static bool grow(struct weir_state_table *table)
{
    struct weir_state_memory *memory = table->state->spill->memory;
    uint64_t capacity = table->capacity * 2, least = table->capacity + table->capacity / 4;
    size_t own = size_with(table, table->capacity);
    while (capacity >= least && size_with(table, capacity) > memory->budget / 8 &&
           !has_room(memory, size_with(table, capacity) - own))
        capacity -= table->capacity / 16;
    if (capacity < least)
        return false;
    weir_state_grow(table, capacity);
    return true;
}

/* An item is at it. What its heaps have grown since they were looked at last may be too much. */
void weir_spill_begin(struct weir_state_table *table)
{
    struct weir_state_memory *memory = table->state->spill->memory;
    size_t bytes = table->heap.size_total + table->keys.size_total + table->large_bytes;
    table->used_at = memory->item;
    if (bytes < table->looked_bytes + HEAP_MIN)
        return;
    if (bytes > HEAP_MIN && !has_room(memory, 0) && table->count > EVICT_MIN && evict_all(table, table->count / 3))
        bytes = table->heap.size_total + table->keys.size_total + table->large_bytes;
    table->looked_bytes = bytes;
}

/* Room for so many entries more; true: what was found may be elsewhere now, or gone. */
bool weir_spill_room(struct weir_state_table *table, int count)
{
    struct weir_state_memory *memory = table->state->spill->memory;
    int64_t needed = table->count + count - table->limit;
    if (needed <= 0 || memory->error.code)
        return false;
    if (grow(table))
        return true;
    memory->wanted = size_with(table, table->capacity * 2) - size_with(table, table->capacity);
    return needed <= table->count && evict_all(table, needed);
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
        if (!table || !evict_all(table, EVICT_MAX))
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

/* An entry of RocksDB that is not in memory; returns its value. */
static uint8_t *take_entry(struct weir_state_table *table, const uint8_t *key, uint32_t key_size, const uint8_t *bytes,
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
    table->marks[index] = MARK_COPIED | MARK_SAME;
    set_bits_of(table, index, bytes);
    table->disk_count--;
    return slot + state->value_at;
}

/* Of keys[0, count), sorted, the first ones: those that RocksDB has come into the table, values[row] is their value where values is not NULL.
 * Returns how many keys were dealt with; 0: RocksDB failed. */
static size_t fetch_some(struct weir_state_table *table, const struct key_at *keys, size_t count, uint8_t **values)
{
    struct weir_state_memory *memory = table->state->spill->memory;
    const struct weir_buf *bytes = &memory->bytes;
    const uint8_t *at[GET_MAX];
    size_t sizes[GET_MAX], unique = 0, done = 0;
    struct weir_rocks_slice slices[GET_MAX];
    for (; done < count; done++) {
        if (done > 0 && same_key(bytes, &keys[done], &keys[done - 1]))
            continue;
        if (unique == GET_MAX)
            break;
        at[unique] = bytes->data + keys[done].at;
        sizes[unique++] = keys[done].size;
    }
    if (weir_rocks_get(memory->rocks, at, sizes, unique, slices, error_of(memory)))
        return 0; /* kept as the memory's error, which fails the task */
    uint32_t key_at = is_fixed(table) ? KEY_AT_FIXED : KEY_AT_VAR;
    size_t next = 0;
    for (size_t i = 0; i < unique; i++) {
        uint8_t *value = NULL;
        if (slices[i].bytes)
            value = take_entry(table, at[i] + key_at, (uint32_t)(sizes[i] - key_at), slices[i].bytes, slices[i].size);
        else
            weir_absent_add(memory->absent, at[i], (uint32_t)sizes[i]);
        for (size_t first = next; values && next < done; next++) {
            if (next > first && !same_key(bytes, &keys[next], &keys[first]))
                break;
            values[keys[next].row] = value;
        }
    }
    weir_rocks_release(slices, unique);
    return done;
}

static void fetch(struct weir_state_table *table, size_t count, uint8_t **values)
{
    struct weir_state_memory *memory = table->state->spill->memory;
    size_t done = 0, some;
    if (count > 1)
        qsort_r(memory->keys, count, sizeof *memory->keys, by_key, memory->bytes.data);
    while (done < count && (some = fetch_some(table, memory->keys + done, count - done, values)) > 0)
        done += some;
}

/* Rows whose values are NULL: their entries come into memory where RocksDB has them. */
void weir_spill_fetch(struct weir_state_table *table, const struct weir_state_keys *keys, const int32_t *rows,
                      int count, uint8_t **values)
{
    struct weir_state_memory *memory = table->state->spill->memory;
    struct weir_buf *bytes = &memory->bytes;
    size_t missing = 0;
    flush_removed(table->state->spill);
    memory->keys = grown(memory->keys, &memory->key_capacity, (size_t)count, sizeof *memory->keys);
    weir_buf_clear(bytes);
    for (int i = 0; i < count; i++) {
        struct key_at *key = &memory->keys[missing];
        if (values[i])
            continue;
        key->at = bytes->size;
        key->row = i;
        if (!put_row_key(table, bytes, keys, rows ? rows[i] : i))
            continue;
        key->size = (uint32_t)(bytes->size - key->at);
        if (weir_absent_has(memory->absent, bytes->data + key->at, key->size))
            bytes->size = key->at;
        else
            missing++;
    }
    fetch(table, missing, values);
}

void weir_spill_fetch_one(struct weir_state_table *table, uint64_t hash, const uint8_t *key, uint32_t key_size)
{
    struct weir_state_memory *memory = table->state->spill->memory;
    weir_spill_begin(table);
    (void)weir_spill_room(table, 1);
    flush_removed(table->state->spill);
    memory->keys = grown(memory->keys, &memory->key_capacity, 1, sizeof *memory->keys);
    weir_buf_clear(&memory->bytes);
    put_key(table, &memory->bytes, is_fixed(table) ? weir_xxh3(key, key_size) : hash, key, key_size);
    memory->keys[0] = (struct key_at){.at = 0, .size = (uint32_t)memory->bytes.size};
    if (!weir_absent_has(memory->absent, memory->bytes.data, memory->keys[0].size))
        fetch(table, 1, NULL);
}

/* Entries with this id that are on disk only, which are taken or counted. */
static int take_id(struct weir_state_table *table, struct weir_state_id id, bool take)
{
    struct weir_state_memory *memory = table->state->spill->memory;
    struct weir_rocks_entry entry;
    int count = 0;
    bool more;
    flush_removed(table->state->spill);
    weir_buf_clear(&memory->bytes);
    put_key(table, &memory->bytes, id.head, (const uint8_t *)"", 0);
    struct weir_rocks_iterator *it = weir_rocks_iterate(memory->rocks, memory->bytes.data, memory->bytes.size, NULL);
    while (!weir_rocks_next(it, &entry, &more, error_of(memory)) && more) {
        const uint8_t *key = entry.key + KEY_AT_VAR;
        if (weir_state_has(table, key, entry.key_size - KEY_AT_VAR))
            continue;
        if (take)
            (void)take_entry(table, key, entry.key_size - KEY_AT_VAR, entry.value, entry.value_size);
        count++;
    }
    weir_rocks_iterator_free(it);
    return count;
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
    /* Room first, and a view of what is on disk after that: what makes room may be of this id, too, and newer than what is on disk. */
    for (int round = 0; round < ID_ROUNDS && weir_spill_room(table, take_id(table, id, false)); round++)
        continue;
    (void)take_id(table, id, true);
}

void weir_spill_used(struct weir_state_table *table, uint8_t *const *values, int count)
{
    size_t value_at = table->state->value_at;
    for (int i = 0; i < count; i++)
        if (values[i])
            table->marks[index_of(table, values[i] - value_at)] |= MARK_USED;
}

void weir_spill_changed(struct weir_state_table *table, uint8_t *const *values, int count)
{
    size_t value_at = table->state->value_at;
    for (int i = 0; i < count; i++)
        table->marks[index_of(table, values[i] - value_at)] &= (uint8_t)~MARK_SAME;
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

bool weir_spill_on_disk(const struct weir_state *state)
{
    return state->spill && state->spill->disk;
}

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
        capture->max_parallelism = state->max_parallelism;
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
