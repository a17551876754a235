/* Open-addressing state tables; see table.h for the interface and README.md for the shape and its reasons.
 *
 * Owning thread: the task's worker. Invariants of a table:
 *  - `capacity` is a power of two, or (with a memory, where that would not fit) less; `capacity + SPECIAL_SLOTS` slots of `stride` bytes
 *    follow each other.
 *  - An ordinary slot is empty when its head is 0, and is then all zeros, so that an inserted value begins as zeros.
 *  - count (ordinary entries) <= limit < capacity, so that every probe ends.
 *  - All slots between an entry's home and its place are taken (linear probing, shift-back removal).
 */
#include "state/table.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "state/spill_int.h"

#define GROUP 32 /* rows whose slots are prefetched together */
#define CAPACITY_MIN 16
#define CAPACITY_MAX ((uint64_t)1 << 40)
#define MIX 0x9e3779b97f4a7c15u
#define KEY_CLASS_SIZE 16

/* --- Slots */

/* In the order of the mixed heads, whatever the capacity: what is walked in one table's order is inserted into another's from front to end. */
static inline uint64_t home_of(uint64_t head, uint64_t seed, uint64_t capacity)
{
    unsigned __int128 product = (unsigned __int128)(head ^ seed) * MIX;
    uint64_t mixed = (uint64_t)product ^ (uint64_t)(product >> 64);
    return (uint64_t)((unsigned __int128)mixed * capacity >> 64);
}

static inline uint64_t next_slot(const struct weir_state_table *table, uint64_t index)
{
    return index + 1 == table->capacity ? 0 : index + 1;
}

/* Slots from `from` to `to`, around the end. */
static inline uint64_t distance(const struct weir_state_table *table, uint64_t from, uint64_t to)
{
    return to >= from ? to - from : to + table->capacity - from;
}

static inline uint64_t var_head(uint64_t hash)
{
    return hash ? hash : 1;
}

static int64_t limit_of(uint64_t capacity)
{
    return (int64_t)(capacity / 8 * 5);
}

int64_t weir_state_limit_full(uint64_t capacity)
{
    return (int64_t)(capacity / 4 * 3);
}

static uint64_t capacity_for(int64_t count)
{
    uint64_t capacity = CAPACITY_MIN;
    while (limit_of(capacity) < count)
        capacity *= 2;
    weir_assert(capacity <= CAPACITY_MAX);
    return capacity;
}

static void set_bits(struct weir_state_table *table, uint64_t capacity)
{
    table->words = (capacity + SPECIAL_SLOTS + 63) / 64;
    table->bits_memory = weir_zalloc(BITS_KINDS * table->words * sizeof *table->bits_memory);
    weir_huge_pages(table->bits_memory, BITS_KINDS * table->words * sizeof *table->bits_memory);
    for (int kind = 0; kind < BITS_KINDS; kind++)
        table->bits[kind] = table->bits_memory + (uint64_t)kind * table->words;
}

static void table_set_capacity(struct weir_state_table *table, uint64_t capacity)
{
    table->slots = weir_slots_take(table->state, (capacity + SPECIAL_SLOTS) * table->state->stride);
    table->capacity = capacity;
    table->limit = table->marks ? weir_state_limit_full(capacity) : limit_of(capacity);
    if (table->state->codec.encode)
        set_bits(table, capacity);
}

/* The bits of a slot go where its entry goes. */
static void move_bits(struct weir_state_table *table, uint64_t *const old[BITS_KINDS], uint64_t from, uint64_t to)
{
    for (int kind = 0; kind < BITS_KINDS; kind++)
        if (old[kind][from >> 6] >> (from & 63) & 1)
            bit_set(table, kind, to);
}

/* To another capacity, mostly a larger one. */
void weir_state_grow(struct weir_state_table *table, uint64_t capacity)
{
    struct slots old = table->slots;
    uint8_t *old_marks = table->marks;
    if (old_marks)
        table->marks = weir_zalloc(capacity + SPECIAL_SLOTS);
    uint64_t old_capacity = table->capacity, *old_memory = table->bits_memory, *old_bits[BITS_KINDS];
    size_t stride = table->state->stride;
    memcpy(old_bits, table->bits, sizeof old_bits);
    table_set_capacity(table, capacity);
    table->grown++;
    table->capture_word = 0;
    for (uint64_t i = 0; i < old_capacity; i++) {
        uint8_t *from = old.bytes + i * stride;
        uint64_t head = *head_of(from);
        if (i % 4096 == 0)
            weir_slots_release(&old, i * stride);
        if (!head)
            continue;
        uint64_t at = home_of(head, table->seed, capacity);
        while (*head_of(slot_at(table, at)))
            at = next_slot(table, at);
        memcpy(slot_at(table, at), from, stride);
        if (old_memory)
            move_bits(table, old_bits, i, at);
        if (old_marks)
            table->marks[at] = old_marks[i];
    }
    memcpy(slot_at(table, capacity), old.bytes + old_capacity * stride, SPECIAL_SLOTS * stride);
    for (uint64_t i = 0; old_memory && i < SPECIAL_SLOTS; i++)
        move_bits(table, old_bits, old_capacity + i, capacity + i);
    free(old_memory);
    free(old_marks);
    weir_slots_free(&old);
}

void weir_state_reserve(struct weir_state_table *table, int64_t count)
{
    uint64_t capacity = capacity_for(count);
    if (capacity > table->capacity && (!table->state->spill || weir_spill_fits(table, capacity)))
        weir_state_grow(table, capacity);
}

void weir_state_free_spare(struct weir_state *state)
{
    if (state->spare.bytes)
        weir_slots_free(&state->spare);
}

void weir_state_shrink(struct weir_state_table *table)
{
    uint64_t capacity = capacity_for(table->count + 1);
    if (capacity <= table->capacity / 4)
        weir_state_grow(table, capacity);
}

/* --- Bytes of variable keys */

static void key_put(struct weir_state_table *table, struct var_slot *slot, const uint8_t *bytes, uint32_t size)
{
    slot->key_size = size;
    if (size <= SHORT_KEY) {
        if (size)
            memcpy(slot->short_key, bytes, size);
        return;
    }
    uint8_t *key;
    uint32_t class = (size + KEY_CLASS_SIZE - 1) / KEY_CLASS_SIZE;
    if (class > KEY_CLASSES) {
        key = weir_alloc(size);
        table->large_keys++;
        table->large_bytes += size;
    } else if (table->free_keys[class - 1]) {
        struct free_key *block = table->free_keys[class - 1];
        table->free_keys[class - 1] = block->next;
        key = (uint8_t *)block;
    } else {
        key = weir_arena_alloc(&table->keys, class * KEY_CLASS_SIZE);
    }
    memcpy(key, bytes, size);
    memcpy(slot->short_key + POINTER_AT, &key, sizeof key);
}

static void key_free(struct weir_state_table *table, const struct var_slot *slot)
{
    uint32_t size = slot->key_size;
    if (size <= SHORT_KEY)
        return;
    uint8_t *key = (uint8_t *)(uintptr_t)key_of(slot);
    uint32_t class = (size + KEY_CLASS_SIZE - 1) / KEY_CLASS_SIZE;
    if (class > KEY_CLASSES) {
        free(key);
        table->large_keys--;
        table->large_bytes -= size;
    } else {
        struct free_key *block = (struct free_key *)(void *)key;
        block->next = table->free_keys[class - 1];
        table->free_keys[class - 1] = block;
    }
}

/* --- Tables and namespaces */

static struct weir_state_table *table_new(struct weir_state *state, int64_t namespace)
{
    struct weir_state_table *table = weir_zalloc(sizeof *table);
    table->state = state;
    table->namespace = namespace;
    table->seed = (state->seed ^ (uint64_t) namespace * 0xd6e8feb86659fd93u) * MIX;
    weir_arena_init(&table->heap);
    weir_arena_init(&table->keys);
    uint64_t capacity = capacity_for(state->count_hint);
    table_set_capacity(table, state->spill && !weir_spill_fits(table, capacity) ? CAPACITY_MIN : capacity);
    return table;
}

void weir_state_table_free(struct weir_state_table *table)
{
    for (uint64_t i = 0; table->large_keys > 0 && i < table->capacity; i++) {
        struct var_slot *slot = var_of(slot_at(table, i));
        if (slot->head && slot->key_size > KEY_CLASSES * KEY_CLASS_SIZE)
            key_free(table, slot);
    }
    weir_spill_table_free(table);
    weir_slots_give(table->state, &table->slots);
    weir_arena_fini(&table->heap);
    weir_arena_fini(&table->keys);
    free(table->bits_memory);
    free(table);
}

struct weir_state *weir_state_new(const struct weir_state_spec *spec)
{
    weir_assert(spec->value_size % 8 == 0);
    weir_assert(spec->value_size <= WEIR_STATE_VALUE_SIZE_MAX);
    struct weir_state *state = weir_zalloc(sizeof *state);
    state->uid = weir_strdup(spec->uid);
    state->name = weir_strdup(spec->name);
    state->fixed_key = spec->fixed_key;
    if (spec->codec)
        state->codec = *spec->codec;
    state->max_parallelism = spec->max_parallelism;
    state->key_group_first = spec->key_group_first;
    state->key_group_count = spec->key_group_count;
    state->value_at = spec->fixed_key != WEIR_TYPE_NONE ? sizeof(uint64_t) : sizeof(struct var_slot);
    state->stride = state->value_at + spec->value_size;
    if (state->stride > 0) {
        state->stride_shift = __builtin_ctzll(state->stride);
        uint64_t odd = state->stride >> state->stride_shift,
                 inverse = odd; /* right in 3 bits; each round doubles them */
        for (int i = 0; i < 5; i++)
            inverse *= 2 - odd * inverse;
        state->stride_inverse = inverse;
    }
    state->seed = weir_xxh3(spec->uid, strlen(spec->uid)) ^ weir_xxh3(spec->name, strlen(spec->name)) * MIX;
    state->walk_words = weir_alloc(WEIR_BATCH_ROWS_MAX * sizeof *state->walk_words);
    state->walk_validity = weir_alloc(WEIR_BATCH_ROWS_MAX / 8);
    state->walk_slots = weir_alloc((WEIR_BATCH_ROWS_MAX + 1) * sizeof *state->walk_slots);
    state->walk_offsets = weir_alloc((WEIR_BATCH_ROWS_MAX + 1) * sizeof *state->walk_offsets);
    if (spec->memory)
        weir_spill_state_new(state, spec->memory);
    return state;
}

void weir_state_free(struct weir_state *state)
{
    if (!state)
        return;
    weir_capture_state_freed(state);
    for (int i = 0; i < state->count; i++)
        weir_state_table_free(state->entries[state->first + i].table);
    weir_spill_state_free(state);
    if (state->spare.bytes)
        weir_slots_free(&state->spare);
    free(state->walk_bytes);
    free(state->walk_words);
    free(state->walk_validity);
    free(state->walk_offsets);
    free(state->walk_slots);
    free(state->entries);
    free(state->uid);
    free(state->name);
    free(state);
}

/* Position (from `first`) of the first namespace that is not below `namespace`. */
static int position_of(const struct weir_state *state, int64_t namespace)
{
    if (state->count == 0)
        return 0;
    const struct namespace_entry *entries = state->entries + state->first;
    int low = 0, high = state->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (entries[middle].namespace < namespace)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct weir_state_table *weir_state_find(struct weir_state *state, int64_t namespace)
{
    int at = position_of(state, namespace);
    if (at == state->count || state->entries[state->first + at].namespace != namespace)
        return NULL;
    return state->entries[state->first + at].table;
}

static void make_room(struct weir_state *state)
{
    if (state->first + state->count < state->capacity)
        return;
    if (state->first > state->capacity / 2) {
        memmove(state->entries, state->entries + state->first, (size_t)state->count * sizeof *state->entries);
        state->first = 0;
        return;
    }
    state->capacity = state->capacity ? state->capacity * 2 : 16;
    state->entries = weir_realloc(state->entries, (size_t)state->capacity * sizeof *state->entries);
}

struct weir_state_table *weir_state_open(struct weir_state *state, int64_t namespace)
{
    struct weir_state_table *table = weir_state_find(state, namespace);
    if (table)
        return table;
    make_room(state);
    int at = position_of(state, namespace);
    struct namespace_entry *entry = state->entries + state->first + at;
    memmove(entry + 1, entry, (size_t)(state->count - at) * sizeof *entry);
    entry->namespace = namespace;
    entry->table = table_new(state, namespace);
    state->count++;
    return entry->table;
}

void weir_state_drop(struct weir_state *state, int64_t namespace)
{
    int at = position_of(state, namespace);
    if (at == state->count || state->entries[state->first + at].namespace != namespace)
        return;
    struct namespace_entry *entry = state->entries + state->first + at;
    state->count_hint = entry->table->count;
    if (entry->table->disk)
        weir_spill_dropped(entry->table);
    if (!entry->table->bits_memory || !weir_capture_dropped(entry->table))
        weir_state_table_free(entry->table);
    if (at == 0)
        state->first++;
    else
        memmove(entry, entry + 1, (size_t)(state->count - at - 1) * sizeof *entry);
    state->count--;
    if (state->count == 0)
        state->first = 0;
}

int64_t weir_state_next(const struct weir_state *state, int64_t from)
{
    int at = position_of(state, from);
    return at < state->count ? state->entries[state->first + at].namespace : INT64_MAX;
}

int64_t weir_state_entry_count(const struct weir_state *state)
{
    int64_t count = 0;
    for (int i = 0; i < state->count; i++)
        count += weir_state_table_count(state->entries[state->first + i].table);
    return count;
}

size_t weir_state_bytes(const struct weir_state *state)
{
    size_t bytes = state->spare.size + (size_t)state->capacity * sizeof *state->entries;
    for (int i = 0; i < state->count; i++) {
        const struct weir_state_table *table = state->entries[state->first + i].table;
        bytes +=
            sizeof *table + table->slots.size + table->heap.size_total + table->keys.size_total + table->large_bytes;
        bytes += table->bits_memory ? BITS_KINDS * table->words * sizeof(uint64_t) : 0;
        bytes += table->marks ? table->capacity + SPECIAL_SLOTS : 0;
    }
    return bytes;
}

struct weir_arena *weir_state_heap(struct weir_state_table *table)
{
    return &table->heap;
}

int64_t weir_state_table_count(const struct weir_state_table *table)
{
    return table->count + table->special_count + table->disk_count;
}

bool weir_state_on_disk(const struct weir_state_table *table)
{
    return table->disk_count > 0;
}

uint32_t weir_state_moves(const struct weir_state_table *table)
{
    return table->moves;
}

/* Entries that may change from here on, or do so at once. */
static inline void mark(struct weir_state_table *table, const uint8_t *value)
{
    uint64_t index = index_of(table, value - table->state->value_at);
    bit_set(table, BITS_DIRTY, index);
}

static void mark_captured(struct weir_state_table *table, const uint8_t *value)
{
    uint64_t index = index_of(table, value - table->state->value_at);
    if (bit_of(table, BITS_LEFT, index))
        weir_capture_entry(table, index);
}

void weir_state_touch(struct weir_state_table *table, uint8_t *value)
{
    if (!table->bits_memory)
        return;
    if (table->capturing)
        mark_captured(table, value);
    mark(table, value);
    if (table->marks) {
        weir_spill_used(table, &value, 1);
        weir_spill_changed(table, &value, 1);
    }
}

void weir_state_compact(struct weir_state_table *table,
                        void (*move)(void *arg, uint8_t *value, struct weir_arena *heap), void *arg)
{
    struct weir_arena old = table->heap;
    weir_arena_init(&table->heap);
    for (uint64_t i = 0; i < table->capacity + SPECIAL_SLOTS; i++)
        if (slot_is_taken(table, i))
            move(arg, slot_at(table, i) + table->state->value_at, &table->heap);
    weir_arena_fini(&old);
}

/* --- Upsert and lookup of a batch
 *
 * Three outcomes of a probe: the slot; NULL, "absent" (lookup) or "the table must grow first" (upsert). After growth the batch
 * begins again, since values given back so far have moved; what it had inserted is found then. Growth is rare by doubling.
 */

static uint8_t *special_slot(struct weir_state_table *table, uint32_t kind, bool insert)
{
    uint8_t *slot = slot_at(table, table->capacity + kind - 1);
    if (table->special >> kind & 1)
        return slot;
    if (!insert)
        return NULL;
    table->special |= 1u << kind;
    table->special_count++;
    if (table->capturing)
        bit_clear(table, BITS_LEFT, index_of(table, slot));
    return slot;
}

static __attribute__((noinline)) uint8_t *probe_fixed(struct weir_state_table *table, uint64_t head, uint8_t *slot,
                                                      bool insert)
{
    size_t stride = table->state->stride;
    uint8_t *end = slot_at(table, table->capacity);
    for (;;) {
        uint64_t there = *head_of(slot);
        if (there == head)
            return slot;
        if (!there)
            break;
        slot += stride;
        if (slot == end)
            slot = table->slots.bytes;
    }
    if (!insert || table->count == table->limit)
        return NULL;
    table->count++;
    *head_of(slot) = head;
    if (table->capturing) /* it was not there at the barrier */
        bit_clear(table, BITS_LEFT, index_of(table, slot));
    return slot;
}

/* Returns `count`, or less when the table must grow. */
static inline __attribute__((always_inline)) int batch_fixed(struct weir_state_table *table,
                                                             const struct weir_state_keys *keys, const int32_t *rows,
                                                             int count, uint8_t **values, bool insert)
{
    const uint64_t seed = table->seed;
    const uint64_t capacity = table->capacity;
    const size_t stride = table->state->stride;
    uint8_t *const base = table->slots.bytes;
    uint64_t heads[GROUP];
    uint8_t *slots[GROUP];
    for (int first = 0; first < count; first += GROUP) {
        int n = count - first < GROUP ? count - first : GROUP;
        for (int i = 0; i < n; i++) {
            uint64_t head = keys->fixed[rows ? rows[first + i] : first + i] ^ HEAD_MASK;
            uint8_t *slot = base + home_of(head, seed, capacity) * stride;
            __builtin_prefetch(slot, 1);
            heads[i] = head;
            slots[i] = slot;
        }
        for (int i = 0; i < n; i++) {
            uint8_t *slot = slots[i];
            uint64_t head = heads[i];
            if (__builtin_expect(*head_of(slot) != head || !head, 0)) {
                slot = head ? probe_fixed(table, head, slot, insert) : special_slot(table, SPECIAL_MARK, insert);
                if (!slot && insert)
                    return first + i;
            }
            values[first + i] = slot ? slot + sizeof(uint64_t) : NULL;
        }
    }
    return count;
}

/* With NULLs: a NULL row's value is undefined, so its rows are taken out before the others are looked up. */
static int batch_fixed_nulls(struct weir_state_table *table, const struct weir_state_keys *keys, const int32_t *rows,
                             int count, uint8_t **values, bool insert)
{
    int32_t valid[GROUP];
    int place[GROUP];
    uint8_t *found[GROUP];
    for (int first = 0; first < count; first += GROUP) {
        int n = count - first < GROUP ? count - first : GROUP;
        int valid_count = 0;
        for (int i = first; i < first + n; i++) {
            int32_t row = rows ? rows[i] : i;
            if (weir_bit_get(keys->validity, row)) {
                valid[valid_count] = row;
                place[valid_count++] = i;
            } else {
                uint8_t *slot = special_slot(table, SPECIAL_NULL, insert);
                values[i] = slot ? slot + sizeof(uint64_t) : NULL;
            }
        }
        if (batch_fixed(table, keys, valid, valid_count, found, insert) < valid_count)
            return first;
        for (int i = 0; i < valid_count; i++)
            values[place[i]] = found[i];
    }
    return count;
}

static inline uint64_t load_64(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

static inline uint32_t load_32(const uint8_t *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* Most keys are short: two loads that may overlap, and no call. */
static inline bool key_equal(const uint8_t *a, const uint8_t *b, uint32_t size)
{
    if (size - 8 <= 8)
        return ((load_64(a) ^ load_64(b)) | (load_64(a + size - 8) ^ load_64(b + size - 8))) == 0;
    if (size - 4 <= 4)
        return ((load_32(a) ^ load_32(b)) | (load_32(a + size - 4) ^ load_32(b + size - 4))) == 0;
    return size == 0 || memcmp(a, b, size) == 0;
}

static inline bool slot_has(const struct var_slot *slot, uint64_t head, const uint8_t *key, uint32_t key_size)
{
    return slot->head == head && slot->key_size == key_size && key_equal(key_of(slot), key, key_size);
}

static __attribute__((noinline)) uint8_t *probe_var(struct weir_state_table *table, uint64_t head, const uint8_t *key,
                                                    uint32_t key_size, uint8_t *slot, bool insert)
{
    size_t stride = table->state->stride;
    uint8_t *end = slot_at(table, table->capacity);
    for (;;) {
        struct var_slot *there = var_of(slot);
        if (slot_has(there, head, key, key_size))
            return slot;
        if (!there->head)
            break;
        slot += stride;
        if (slot == end)
            slot = table->slots.bytes;
    }
    if (!insert || table->count == table->limit)
        return NULL;
    table->count++;
    struct var_slot *place = var_of(slot);
    place->head = head;
    key_put(table, place, key, key_size);
    if (table->capturing)
        bit_clear(table, BITS_LEFT, index_of(table, slot));
    return slot;
}

/* The row's slot, where a slot with its hash or the empty one where it would be was found at `slot`: another key with the same hash is
 * for probe_var(). NULL as there. */
static inline uint8_t *settle_var(struct weir_state_table *table, const struct weir_state_keys *keys, int32_t row,
                                  uint8_t *slot, bool insert)
{
    uint32_t at = keys->offsets[row], size = keys->offsets[row + 1] - at;
    uint64_t head = var_head(keys->hashes[row]);
    if (__builtin_expect(slot_has(var_of(slot), head, keys->bytes + at, size), 1))
        return slot;
    return probe_var(table, head, keys->bytes + at, size, slot, insert);
}

/* Slots of a group are prefetched first; then the long keys' bytes, which are compared last. */
static int batch_var(struct weir_state_table *table, const struct weir_state_keys *keys, const int32_t *rows, int count,
                     uint8_t **values, bool insert)
{
    const uint64_t seed = table->seed;
    const uint64_t capacity = table->capacity;
    const size_t stride = table->state->stride;
    uint8_t *const base = table->slots.bytes, *const end = base + capacity * stride;
    uint8_t *slots[GROUP];
    int late[GROUP];
    for (int first = 0; first < count; first += GROUP) {
        int n = count - first < GROUP ? count - first : GROUP, late_count = 0;
        for (int i = 0; i < n; i++) {
            uint64_t head = var_head(keys->hashes[rows ? rows[first + i] : first + i]);
            slots[i] = base + home_of(head, seed, capacity) * stride;
            __builtin_prefetch(slots[i], 1);
            __builtin_prefetch(slots[i] + sizeof(struct var_slot), 1); /* the value, or the end of the key */
        }
        for (int i = 0; i < n; i++) {
            int32_t row = rows ? rows[first + i] : first + i;
            uint64_t head = var_head(keys->hashes[row]), there;
            uint8_t *slot = slots[i];
            while ((there = *head_of(slot)) != head && there) {
                slot += stride;
                if (slot == end)
                    slot = base;
            }
            if (__builtin_expect(var_of(slot)->key_size > SHORT_KEY, 0)) {
                __builtin_prefetch(key_of(var_of(slot)));
                slots[i] = slot;
                late[late_count++] = i;
                continue;
            }
            slot = settle_var(table, keys, row, slot, insert);
            if (!slot && insert)
                return first + i;
            values[first + i] = slot ? slot + sizeof(struct var_slot) : NULL;
        }
        for (int l = 0; l < late_count; l++) {
            int i = late[l];
            uint8_t *slot = settle_var(table, keys, rows ? rows[first + i] : first + i, slots[i], insert);
            if (!slot && insert)
                return first + i;
            values[first + i] = slot ? slot + sizeof(struct var_slot) : NULL;
        }
    }
    return count;
}

static int batch_once(struct weir_state_table *table, const struct weir_state_keys *keys, const int32_t *rows,
                      int count, uint8_t **values, bool insert)
{
    if (!is_fixed(table))
        return batch_var(table, keys, rows, count, values, insert);
    if (keys->validity)
        return batch_fixed_nulls(table, keys, rows, count, values, insert);
    if (rows)
        return batch_fixed(table, keys, rows, count, values, insert);
    return batch_fixed(table, keys, NULL, count, values, insert);
}

static int count_missing(uint8_t *const *values, int count)
{
    int missing = 0;
    for (int i = 0; i < count; i++)
        missing += !values[i];
    return missing;
}

/* Makes the entries of the rows that have none. */
static void insert_missing(struct weir_state_table *table, const struct weir_state_keys *keys, const int32_t *rows,
                           int count, uint8_t **values)
{
    int32_t missing[WEIR_BATCH_ROWS_MAX];
    uint8_t *made[WEIR_BATCH_ROWS_MAX];
    int missing_count = 0, at = 0;
    for (int i = 0; i < count; i++)
        if (!values[i])
            missing[missing_count++] = rows ? rows[i] : i;
    while (batch_once(table, keys, missing, missing_count, made, true) < missing_count)
        weir_state_grow(table, table->capacity * 2);
    for (int i = 0; i < count; i++)
        if (!values[i])
            values[i] = made[at++];
}

/* upsert() and lookup() where entries may be on disk, or must go there. Nothing moves while all rows are in memory; else those that are not come
 * from disk together, once there is room for them, and what is on neither side is made. */
static __attribute__((noinline)) void bring(struct weir_state_table *table, const struct weir_state_keys *keys,
                                            const int32_t *rows, int count, uint8_t **values, bool insert)
{
    int missing;
    weir_assert(count <= WEIR_BATCH_ROWS_MAX);
    do {
        (void)batch_once(table, keys, rows, count, values, false);
        missing = count_missing(values, count);
        if (table->marks)
            weir_spill_used(table, values, count);
        if (missing == 0)
            return;
    } while (weir_spill_room(table, missing)); /* what had to go may have been of this batch */
    uint64_t grown = table->grown;
    if (table->disk_count > 0)
        weir_spill_fetch(table, keys, rows, count, values);
    if (insert)
        insert_missing(table, keys, rows, count, values);
    if (table->grown != grown) /* it had to grow all the same */
        (void)batch_once(table, keys, rows, count, values, false);
}

void weir_state_upsert(struct weir_state_table *table, const struct weir_state_keys *keys, const int32_t *rows,
                       int count, uint8_t **values)
{
    weir_assert(is_fixed(table) == (keys->fixed != NULL));
    if (table->state->spill)
        weir_spill_begin(table);
    if (table->marks || (table->state->spill && table->count + count > table->limit)) {
        bring(table, keys, rows, count, values, true);
    } else {
        while (batch_once(table, keys, rows, count, values, true) < count)
            weir_state_grow(table, table->capacity * 2);
    }
    if (table->marks)
        weir_spill_changed(table, values, count);
    if (!table->bits_memory)
        return;
    if (__builtin_expect(table->capturing, 0))
        weir_capture_all(table, values, count);
    for (int i = 0; i < count; i++)
        mark(table, values[i]);
}

void weir_state_lookup(struct weir_state_table *table, const struct weir_state_keys *keys, const int32_t *rows,
                       int count, uint8_t **values)
{
    weir_assert(is_fixed(table) == (keys->fixed != NULL));
    if (table->disk_count > 0) {
        weir_spill_begin(table);
        bring(table, keys, rows, count, values, false);
        return;
    }
    (void)batch_once(table, keys, rows, count, values, false); /* never stops early: nothing is inserted */
    if (table->marks)
        weir_spill_used(table, values, count);
}

void weir_state_prefetch(const struct weir_state_table *table, uint8_t *const *values, int count)
{
    const struct weir_state *state = table->state;
    for (int i = 0; i < count; i++) {
        if (!values[i])
            continue;
        if (state->codec.prefetch)
            state->codec.prefetch(values[i]);
        if (!table->bits_memory)
            continue;
        uint64_t word = index_of(table, values[i] - state->value_at) >> 6;
        __builtin_prefetch(&table->bits[BITS_DIRTY][word], 1);
        if (table->capturing)
            __builtin_prefetch(&table->bits[BITS_LEFT][word], 1);
    }
}

/* --- One key */

static uint8_t *find_slot(struct weir_state_table *table, uint64_t hash, const uint8_t *key, uint32_t key_size)
{
    if (!is_fixed(table)) {
        uint64_t head = var_head(hash);
        return probe_var(table, head, key, key_size, slot_at(table, home_of(head, table->seed, table->capacity)),
                         false);
    }
    uint64_t raw;
    if (!weir_state_decode_raw(table->state->fixed_key, key, key_size, &raw))
        return special_slot(table, SPECIAL_NULL, false);
    uint64_t head = raw ^ HEAD_MASK;
    if (!head)
        return special_slot(table, SPECIAL_MARK, false);
    return probe_fixed(table, head, slot_at(table, home_of(head, table->seed, table->capacity)), false);
}

/* The same, wherever it is. */
static uint8_t *find_slot_anywhere(struct weir_state_table *table, uint64_t hash, const uint8_t *key, uint32_t key_size)
{
    uint8_t *slot = find_slot(table, hash, key, key_size);
    if (slot || table->disk_count == 0)
        return slot;
    weir_spill_fetch_one(table, hash, key, key_size);
    return find_slot(table, hash, key, key_size);
}

bool weir_state_has(struct weir_state_table *table, const uint8_t *key, uint32_t key_size)
{
    return find_slot(table, is_fixed(table) ? 0 : weir_xxh3(key, key_size), key, key_size) != NULL;
}

uint8_t *weir_state_get(struct weir_state_table *table, uint64_t hash, const uint8_t *key, uint32_t key_size)
{
    uint8_t *slot = find_slot_anywhere(table, hash, key, key_size);
    uint8_t *value = slot ? slot + table->state->value_at : NULL;
    if (value && table->marks)
        weir_spill_used(table, &value, 1);
    return value;
}

/* Calls upsert() or, for what comes from disk, only makes the slot. */
static uint8_t *put_one(struct weir_state_table *table, const uint8_t *key, uint32_t key_size, bool from_disk)
{
    struct weir_state_keys keys = {.row_count = 1};
    uint64_t raw = 0, valid = 1, hash;
    uint32_t offsets[2] = {0, key_size};
    uint8_t *value;
    if (is_fixed(table)) {
        uint8_t whole[WEIR_STATE_RAW_KEY_SIZE_MAX];
        bool null = key_size > 0 && key[0] == 0;
        if (key_size < 1 || (!null && key_size != weir_state_encode_raw(table->state->fixed_key, 0, whole)))
            return NULL;
        valid = weir_state_decode_raw(table->state->fixed_key, key, key_size, &raw);
        keys.fixed = &raw;
        keys.validity = &valid;
    } else {
        hash = weir_xxh3(key, key_size);
        keys.hashes = &hash;
        keys.bytes = key;
        keys.offsets = offsets;
    }
    if (!from_disk) {
        weir_state_upsert(table, &keys, NULL, 1, &value);
        return value;
    }
    while (batch_once(table, &keys, NULL, 1, &value, true) < 1)
        weir_state_grow(table, table->capacity * 2);
    return value - table->state->value_at;
}

uint8_t *weir_state_put(struct weir_state_table *table, const uint8_t *key, uint32_t key_size)
{
    return put_one(table, key, key_size, false);
}

uint8_t *weir_state_insert_slot(struct weir_state_table *table, const uint8_t *key, uint32_t key_size)
{
    return put_one(table, key, key_size, true);
}

/* The entry of slot `from` is about to be that of slot `to`, which has none. */
static void shift_bits(struct weir_state_table *table, uint64_t from, uint64_t to)
{
    for (int kind = 0; kind < BITS_KINDS; kind++) {
        if (bit_of(table, kind, from))
            bit_set(table, kind, to);
        else
            bit_clear(table, kind, to);
        bit_clear(table, kind, from);
    }
    if (to >> 6 < table->capture_word)
        table->capture_word = to >> 6;
}

/* Slot `from` becomes slot `to`, which is empty. */
static void move_slot(struct weir_state_table *table, uint64_t from, uint64_t to)
{
    memcpy(slot_at(table, to), slot_at(table, from), table->state->stride);
    if (table->bits_memory)
        shift_bits(table, from, to);
    if (table->marks)
        table->marks[to] = table->marks[from];
}

void weir_state_sweep(struct weir_state_table *table, uint8_t mark)
{
    uint64_t begin = 0;
    while (*head_of(slot_at(table, begin)))
        begin++; /* there is an empty one; behind it nothing is displaced by what is before */
    for (uint64_t n = 1, i = next_slot(table, begin); n < table->capacity; n++, i = next_slot(table, i)) {
        uint8_t *slot = slot_at(table, i);
        if (!*head_of(slot))
            continue;
        bool goes = table->marks[i] & mark;
        uint64_t to = i;
        if (goes) {
            if (!is_fixed(table))
                key_free(table, var_of(slot));
            for (int kind = 0; kind < BITS_KINDS; kind++)
                bit_clear(table, kind, i);
            table->count--;
        } else {
            to = home_of(*head_of(slot), table->seed, table->capacity);
            while (to != i && *head_of(slot_at(table, to)))
                to = next_slot(table, to);
            if (to != i)
                move_slot(table, i, to);
        }
        if (goes || to != i) {
            memset(slot, 0, table->state->stride);
            table->marks[i] = 0;
        }
    }
}

void weir_state_pack_keys(struct weir_state_table *table)
{
    struct weir_arena old = table->keys;
    if (is_fixed(table) || old.size_total == 0)
        return;
    weir_arena_init(&table->keys);
    memset(table->free_keys, 0, sizeof table->free_keys);
    for (uint64_t i = 0; i < table->capacity; i++) {
        struct var_slot *slot = var_of(slot_at(table, i));
        if (slot->head && slot->key_size > SHORT_KEY && slot->key_size <= KEY_CLASSES * KEY_CLASS_SIZE)
            key_put(table, slot, key_of(slot), slot->key_size);
    }
    weir_arena_fini(&old);
}

/* What is there to say of its end has been said. */
static void take_slot(struct weir_state_table *table, uint8_t *slot)
{
    size_t stride = table->state->stride;
    uint64_t hole = index_of(table, slot);
    if (hole >= table->capacity) {
        table->special &= ~(1u << (hole - table->capacity + 1));
        table->special_count--;
        memset(slot, 0, stride);
        return;
    }
    if (!is_fixed(table))
        key_free(table, var_of(slot));
    for (uint64_t i = next_slot(table, hole);; i = next_slot(table, i)) {
        uint64_t head = *head_of(slot_at(table, i));
        if (!head)
            break;
        uint64_t home = home_of(head, table->seed, table->capacity);
        if (distance(table, home, i) >= distance(table, hole, i)) {
            move_slot(table, i, hole);
            hole = i;
        }
    }
    memset(slot_at(table, hole), 0, stride);
    if (table->marks)
        table->marks[hole] = 0;
    table->count--;
}

static void remove_slot(struct weir_state_table *table, uint8_t *slot)
{
    if (table->marks)
        weir_spill_removed(table, slot);
    if (table->bits_memory)
        weir_capture_removed(table, index_of(table, slot));
    take_slot(table, slot);
}

bool weir_state_remove(struct weir_state_table *table, uint64_t hash, const uint8_t *key, uint32_t key_size)
{
    uint8_t *slot = find_slot_anywhere(table, hash, key, key_size);
    if (!slot)
        return false;
    remove_slot(table, slot);
    return true;
}

void weir_state_remove_value(struct weir_state_table *table, uint8_t *value)
{
    remove_slot(table, value - table->state->value_at);
}

/* --- Walking */

/* Taken slots from *cursor on, at most `max`, into state->walk_slots; *cursor moves behind the last. No branch on what a slot holds:
 * whether one is taken cannot be predicted. */
static int walk_slots(struct weir_state_table *table, int64_t *cursor, int max)
{
    weir_assert(max <= WEIR_BATCH_ROWS_MAX);
    uint8_t **slots = table->state->walk_slots; /* has room for one more */
    const size_t stride = table->state->stride;
    const uint64_t capacity = table->capacity;
    uint64_t i = (uint64_t)*cursor;
    uint8_t *slot = slot_at(table, i);
    int count = 0;
    for (; i < capacity && count < max; i++, slot += stride) {
        slots[count] = slot;
        count += *head_of(slot) != 0;
    }
    for (; i >= capacity && i < capacity + SPECIAL_SLOTS && count < max; i++) {
        if (table->special >> (i - capacity + 1) & 1)
            slots[count++] = slot_at(table, i);
    }
    *cursor = (int64_t)i;
    return count;
}

static void *walk_room(struct weir_state *state, size_t size)
{
    if (size > state->walk_bytes_capacity) {
        state->walk_bytes_capacity = size > 2 * state->walk_bytes_capacity ? size : 2 * state->walk_bytes_capacity;
        state->walk_bytes = weir_realloc(state->walk_bytes, state->walk_bytes_capacity);
    }
    return state->walk_bytes;
}

/* Fixed keys are encoded to `room`, which has room for one; variable ones lie where they are (room NULL). */
void weir_state_fill_entry(struct weir_state_table *table, uint8_t *slot, uint8_t *room, struct weir_state_entry *entry)
{
    entry->value = slot + table->state->value_at;
    if (!is_fixed(table)) {
        entry->key = key_of(var_of(slot));
        entry->key_size = var_of(slot)->key_size;
        return;
    }
    entry->key = room;
    if (index_of(table, slot) == table->capacity + SPECIAL_NULL - 1) {
        room[0] = 0;
        entry->key_size = 1;
    } else {
        entry->key_size = weir_state_encode_raw(table->state->fixed_key, *head_of(slot) ^ HEAD_MASK, room);
    }
}

int weir_state_walk_entries(struct weir_state_table *table, int64_t *cursor, struct weir_state_entry *entries, int max)
{
    table->walked = true;
    int count = *cursor < WEIR_SPILL_CURSOR ? walk_slots(table, cursor, max) : 0;
    if (count == 0)
        return weir_spill_walk(table, cursor, entries, max);
    uint8_t *const *slots = table->state->walk_slots;
    /* Keys of walk_keys() lie in walk_words (fixed) or walk_bytes (variable): what is written here does not touch them. */
    uint8_t *room = is_fixed(table) ? walk_room(table->state, (size_t)max * WEIR_STATE_RAW_KEY_SIZE_MAX) : NULL;
    for (int i = 0; i < count; i++)
        weir_state_fill_entry(table, slots[i], room ? room + (size_t)i * WEIR_STATE_RAW_KEY_SIZE_MAX : NULL,
                              &entries[i]);
    return count;
}

static void keys_of_fixed(struct weir_state_table *table, int count, struct weir_state_keys *keys)
{
    struct weir_state *state = table->state;
    const uint8_t *null_slot = slot_at(table, table->capacity + SPECIAL_NULL - 1);
    for (int i = 0; i < count; i++)
        state->walk_words[i] = *head_of(state->walk_slots[i]) ^ HEAD_MASK;
    if (count && state->walk_slots[count - 1] == null_slot) { /* the last of all */
        memset(state->walk_validity, 0xff, WEIR_BATCH_ROWS_MAX / 8);
        weir_bit_clear(state->walk_validity, count - 1);
        keys->validity = state->walk_validity;
    }
    keys->fixed = state->walk_words;
}

static void keys_of_var(struct weir_state_table *table, int count, struct weir_state_keys *keys)
{
    struct weir_state *state = table->state;
    uint64_t size = 0;
    for (int i = 0; i < count; i++) {
        const struct var_slot *var = var_of(state->walk_slots[i]);
        state->walk_offsets[i] = (uint32_t)size;
        state->walk_words[i] = var->head;
        size += var->key_size;
    }
    weir_assert(size <= UINT32_MAX); /* see walk_keys */
    state->walk_offsets[count] = (uint32_t)size;
    uint8_t *room = walk_room(state, size ? (size_t)size : 1);
    for (int i = 0; i < count; i++) {
        const struct var_slot *var = var_of(state->walk_slots[i]);
        if (var->key_size)
            memcpy(room + state->walk_offsets[i], key_of(var), var->key_size);
    }
    keys->hashes = state->walk_words;
    keys->offsets = state->walk_offsets;
    keys->bytes = room;
}

static int walk_keys_on_disk(struct weir_state_table *table, int64_t *cursor, struct weir_state_keys *keys,
                             uint8_t **values, int max)
{
    struct weir_state *state = table->state;
    struct weir_state_entry *entries;
    int count = weir_spill_walk_some(table, cursor, &entries, max);
    state->walk_offsets[0] = 0;
    for (int i = 0; i < count; i++) {
        values[i] = entries[i].value;
        state->walk_offsets[i + 1] = state->walk_offsets[i] + entries[i].key_size;
        if (!is_fixed(table))
            state->walk_words[i] = weir_xxh3(entries[i].key, entries[i].key_size);
        else
            (void)weir_state_decode_raw(state->fixed_key, entries[i].key, entries[i].key_size, &state->walk_words[i]);
    }
    memset(keys, 0, sizeof *keys);
    keys->row_count = count;
    if (is_fixed(table)) {
        keys->fixed = state->walk_words;
    } else if (count) {
        keys->hashes = state->walk_words;
        keys->offsets = state->walk_offsets;
        keys->bytes = entries[0].key;
    }
    return count;
}

int weir_state_walk_keys(struct weir_state_table *table, int64_t *cursor, struct weir_state_keys *keys,
                         uint8_t **values, int max)
{
    table->walked = true;
    /* Very long keys are taken one by one: offsets are 32 bits. */
    if (table->large_bytes > UINT32_MAX / 2)
        max = 1;
    int count = *cursor < WEIR_SPILL_CURSOR ? walk_slots(table, cursor, max) : 0;
    if (count == 0)
        return walk_keys_on_disk(table, cursor, keys, values, max);
    memset(keys, 0, sizeof *keys);
    for (int i = 0; i < count; i++)
        values[i] = table->state->walk_slots[i] + table->state->value_at;
    if (is_fixed(table))
        keys_of_fixed(table, count, keys);
    else
        keys_of_var(table, count, keys);
    keys->row_count = count;
    return count;
}

/* --- Ids */

struct weir_state_id weir_state_id_of(const struct weir_state_table *table, const uint8_t *value)
{
    const uint8_t *slot = value - table->state->value_at;
    uint64_t index = index_of(table, slot);
    if (index >= table->capacity)
        return (struct weir_state_id){.kind = (uint32_t)(index - table->capacity) + 1};
    return (struct weir_state_id){.head = *(const uint64_t *)(const void *)slot};
}

struct weir_state_id weir_state_id_of_key(const struct weir_state_table *table, const uint8_t *key, uint32_t key_size)
{
    uint64_t raw;
    if (!is_fixed(table))
        return (struct weir_state_id){.head = var_head(weir_xxh3(key, key_size))};
    if (!weir_state_decode_raw(table->state->fixed_key, key, key_size, &raw))
        return (struct weir_state_id){.kind = SPECIAL_NULL};
    uint64_t head = raw ^ HEAD_MASK;
    return (struct weir_state_id){.head = head, .kind = head ? 0 : SPECIAL_MARK};
}

bool weir_state_find_id(struct weir_state_table *table, struct weir_state_id id, int64_t *cursor,
                        struct weir_state_entry *entry)
{
    uint8_t *room = is_fixed(table) ? walk_room(table->state, WEIR_STATE_RAW_KEY_SIZE_MAX) : NULL;
    if (*cursor == 0 && table->disk_count > 0)
        weir_spill_fetch_id(table, id);
    uint64_t i = (uint64_t)*cursor;
    if (id.kind) {
        *cursor = 1;
        uint8_t *slot = i == 0 ? special_slot(table, id.kind, false) : NULL;
        if (slot)
            weir_state_fill_entry(table, slot, room, entry);
        return slot != NULL;
    }
    /* The cursor counts probed slots. */
    uint64_t home = home_of(id.head, table->seed, table->capacity);
    for (;; i++) {
        uint8_t *slot = slot_at(table, home + i < table->capacity ? home + i : home + i - table->capacity);
        uint64_t head = *head_of(slot);
        if (!head)
            break;
        if (head == id.head) {
            weir_state_fill_entry(table, slot, room, entry);
            *cursor = (int64_t)i + 1;
            return true;
        }
    }
    *cursor = (int64_t)i;
    return false;
}
