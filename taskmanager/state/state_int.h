/* What the files of this folder share; see table.h. Owning thread: the task's worker, but for what capture.h says. */
#ifndef WEIR_TASKMANAGER_STATE_STATE_INT_H
#define WEIR_TASKMANAGER_STATE_STATE_INT_H

#include <stdatomic.h>
#include <string.h>

#include "state/table.h"
#include "statefile/run.h"

#define WEIR_STATE_RAW_KEY_SIZE_MAX 9 /* flag byte and eight more */

/* Canonical encoding of a raw key that is not NULL; `out` is written in full. Returns its size. */
uint32_t weir_state_encode_raw(enum weir_type_id type, uint64_t raw, uint8_t out[WEIR_STATE_RAW_KEY_SIZE_MAX]);
/* The inverse; false: the key is NULL. */
bool weir_state_decode_raw(enum weir_type_id type, const uint8_t *key, uint32_t key_size, uint64_t *raw);

/* Who the state is, for messages and files. */
struct weir_state_about {
    const char *uid, *name;
    int max_parallelism, key_group_first, key_group_count;
};
struct weir_state_about weir_state_about(const struct weir_state *state);
const struct weir_state_codec *weir_state_codec(const struct weir_state *state);

/* --- Tables: table.c */

#define SPECIAL_SLOTS 2
#define SPECIAL_MARK 1 /* weir_state_id.kind: the raw key whose head would be 0 */
#define SPECIAL_NULL 2
#define HEAD_MASK 0x9d3f7a5c61b84e27u /* makes the key that needs a special slot an unlikely one */
#define KEY_CLASSES 16                /* keys up to 256 bytes live in the arena; larger ones are allocated one by one */
#define RESULTS_MAX 8

struct weir_capture;
struct weir_state_runs;
struct weir_spill; /* spill.c */

struct slots {
    uint8_t *bytes;
    size_t size;
    bool mapped;     /* by mmap, not malloc */
    size_t released; /* bytes at the front that were given back */
};

struct free_key {
    struct free_key *next;
};

/* What a table knows of its entries for checkpoints: bits by slot, the special ones too. NULL without a codec. */
enum bits {
    BITS_DIRTY, /* may have changed since the last barrier */
    BITS_LEFT, /* belongs to the capture that is under way and is not in it yet; when all are wanted, empty slots may have it, too */
    BITS_PENDING, /* captured for checkpoints that are not known to be complete */
    BITS_SAVED,   /* in a run: its removal must be told */
    BITS_FRESH,   /* in a run of a checkpoint since runs were last joined, or all was written */
    BITS_OLD,     /* not captured since the pass began that writes all entries anew */
    BITS_KINDS
};

struct weir_state_table {
    struct weir_state *state;
    int64_t namespace;
    uint64_t *bits[BITS_KINDS];
    uint64_t *bits_memory; /* of all of them */
    uint64_t words;        /* of each */
    bool saved;            /* some entry is, or was */
    bool capturing;        /* some bit of LEFT may be set */
    uint64_t capture_word; /* none is below */
    uint64_t seed;
    struct slots slots;
    uint64_t grown; /* times that the slots went elsewhere: their address may be an earlier one again */
    uint64_t capacity;
    uint32_t special; /* bit SPECIAL_*: the slot is taken */
    int64_t count;    /* ordinary entries */
    int64_t limit;
    int64_t special_count;
    int64_t large_keys;
    size_t large_bytes;
    struct weir_arena heap;
    struct weir_arena keys;
    struct free_key *free_keys[KEY_CLASSES];
    struct weir_state_table *next_dropped;
    /* Of states with a memory: spill.c */
    uint8_t *marks;      /* by slot; NULL: nothing was evicted yet */
    int64_t disk_count;  /* entries that are on disk only */
    bool disk;           /* there is something on disk, or was */
    bool walked;         /* a walk is under way */
    uint64_t hand;       /* of the clock: a hash */
    size_t looked_bytes; /* of heap and keys, when they were looked at last */
    int64_t used_at;     /* the last item that found or made something */
    int64_t evicted;     /* since the heap was compacted */
    uint32_t moves;      /* of the heap */
    struct weir_rocks_iterator *disk_walk;
    int64_t disk_walked;
};

struct namespace_entry {
    int64_t namespace;
    struct weir_state_table *table;
};

/* Removals and drops between two barriers. Sealed at the second: from then on read-only, shared with the capture. */
struct weir_state_log {
    atomic_int refs;
    uint64_t checkpoint; /* whose barrier sealed it */
    struct weir_records removed;
    int64_t *dropped; /* namespaces, not sorted */
    size_t dropped_count, dropped_capacity;
    struct weir_state_log *next; /* newer */
};

struct weir_state {
    char *uid, *name;
    struct weir_state_codec codec;           /* encode NULL: there is none */
    struct weir_capture *capture;            /* under way; NULL: none is */
    struct weir_state_table *dropped_tables; /* that it still needs; linked by `next_dropped` */
    struct weir_state_log *log;              /* since the last barrier */
    struct weir_state_log *pending_logs;     /* of checkpoints that are not known to be complete, oldest first */
    struct weir_state_log *fresh_logs;       /* of complete checkpoints since runs were last joined, oldest first */
    bool pending;                            /* some bit of PENDING may be set */
    uint64_t pass; /* all entries are written anew, some at a time, since this checkpoint's barrier; 0: they are not */
    struct weir_state_runs *base; /* of the newest complete checkpoint; NULL: the next one is written in full */
    struct weir_state_runs *results[RESULTS_MAX]; /* of later ones, oldest first */
    int result_count;
    double record_bytes; /* of an entry in a run, as far as is known */
    int max_parallelism, key_group_first, key_group_count;
    enum weir_type_id fixed_key;
    size_t value_at; /* in a slot */
    size_t stride;
    int stride_shift;        /* an offset of whole slots / stride = (offset >> stride_shift) * stride_inverse */
    uint64_t stride_inverse; /* of stride >> stride_shift, modulo 2^64 */
    uint64_t seed;
    /* Ascending by namespace, at [first, first + count): windows are made at the end and dropped at the front. */
    struct namespace_entry *entries;
    int first, count, capacity;
    int64_t count_hint;       /* entries of the last dropped table */
    struct slots spare;       /* of the last dropped table, all zeros not guaranteed */
    struct weir_spill *spill; /* NULL: all is in memory */
    /* Keys that were walked last. */
    uint8_t *walk_bytes;
    size_t walk_bytes_capacity;
    uint64_t *walk_words;
    uint64_t *walk_validity;
    uint32_t *walk_offsets;
    uint8_t **walk_slots;
};

/* Slot of a variable key; the value follows. A key of up to SHORT_KEY bytes lies in the slot itself: one cache miss a row, as with fixed keys. */
#define SHORT_KEY 20
struct var_slot {
    uint64_t head;
    uint32_t key_size;
    uint8_t short_key[SHORT_KEY]; /* of a longer key: its pointer, at POINTER_AT */
};
#define POINTER_AT 4 /* aligned */

static inline uint64_t *head_of(uint8_t *slot)
{
    return (uint64_t *)(void *)slot;
}

static inline struct var_slot *var_of(uint8_t *slot)
{
    return (struct var_slot *)(void *)slot;
}

static inline uint8_t *slot_at(const struct weir_state_table *table, uint64_t index)
{
    return table->slots.bytes + index * table->state->stride;
}

static inline bool is_fixed(const struct weir_state_table *table)
{
    return table->state->fixed_key != WEIR_TYPE_NONE;
}

static inline const uint8_t *key_of(const struct var_slot *slot)
{
    const uint8_t *key = slot->short_key;
    if (slot->key_size > SHORT_KEY)
        memcpy(&key, slot->short_key + POINTER_AT, sizeof key);
    return key;
}

static inline uint64_t index_of(const struct weir_state_table *table, const uint8_t *slot)
{
    const struct weir_state *state = table->state;
    return ((uint64_t)(slot - table->slots.bytes) >> state->stride_shift) * state->stride_inverse;
}

static inline bool slot_is_taken(const struct weir_state_table *table, uint64_t index)
{
    return index < table->capacity ? *head_of(slot_at(table, index)) != 0
                                   : table->special >> (index - table->capacity + 1) & 1;
}

/* slots.c. give: what take() may find again. release: the walk over old slots has so many bytes behind it, which are given back at once: two
 * tables together are hardly larger than the larger one. */
struct slots weir_slots_take(struct weir_state *state, size_t size);
void weir_slots_give(struct weir_state *state, struct slots *slots);
void weir_slots_free(struct slots *slots);
void weir_slots_release(struct slots *slots, size_t walked);

void weir_state_table_free(struct weir_state_table *table);
/* Fixed keys are encoded to `room` (WEIR_STATE_RAW_KEY_SIZE_MAX); variable ones lie where they are. */
void weir_state_fill_entry(struct weir_state_table *table, uint8_t *slot, uint8_t *room,
                           struct weir_state_entry *entry);

/* --- Bits */

static inline bool bit_of(const struct weir_state_table *table, enum bits kind, uint64_t index)
{
    return table->bits[kind][index >> 6] >> (index & 63) & 1;
}

static inline void bit_set(struct weir_state_table *table, enum bits kind, uint64_t index)
{
    table->bits[kind][index >> 6] |= (uint64_t)1 << (index & 63);
}

static inline void bit_clear(struct weir_state_table *table, enum bits kind, uint64_t index)
{
    table->bits[kind][index >> 6] &= ~((uint64_t)1 << (index & 63));
}

/* --- Captures: capture.c */

extern size_t weir_capture_chunk_size; /* tests make these small */
extern int weir_capture_small, weir_capture_fresh_max, weir_capture_pass_least;
extern double weir_capture_pass_min, weir_capture_outgrown;

/* The entry belongs to the capture that is under way and is about to change, move or go. */
void weir_capture_entry(struct weir_state_table *table, uint64_t index);
/* Entries that are about to change: those that the capture wants. */
void weir_capture_all(struct weir_state_table *table, uint8_t *const *values, int count);
/* The entry at `index` goes, or the whole table: what later runs must say of it. */
void weir_capture_removed(struct weir_state_table *table, uint64_t index);
/* True: the capture still needs the table and keeps it. */
bool weir_capture_dropped(struct weir_state_table *table);
void weir_capture_state_freed(struct weir_state *state);
struct weir_run_ref; /* state/capture.h */
/* After a restore, of an empty state: nothing is dirty. `refs`: the runs that it is made of, of so many checkpoints, which the next checkpoint
 * may refer to; NULL: it may not. */
void weir_capture_restored(struct weir_state *state, uint64_t checkpoint, const struct weir_run_ref *refs, int count,
                           int checkpoints, double record_bytes);

#endif
