/* State tables: keyed state of one operator subtask, in memory, by namespace and key.
 *
 * A state is addressed by (operator uid, state name). Its entries are (namespace, key) -> value, where the namespace is an int64
 * (a window's or pane's end in ms; 0 for plain keyed state), the key is a canonical encoding (data/row_key.h) and the value a
 * fixed number of plain bytes with variable parts in the namespace's heap. One open-addressing table per namespace: a window fires by
 * walking and dropping its own table.
 *
 * Lookups are by batch: all keys are hashed, their slots prefetched, then found or inserted, so that cache misses overlap. A state
 * whose key is one column of at most 64 bits (`fixed_key`) keeps the raw key beside the value in the slot and hashes it itself:
 * one cache miss a row, no encoding. Other keys are compared by their 64-bit hash, then by their bytes.
 *
 * Owner: the task's worker thread.
 */
#ifndef WEIR_TASKMANAGER_STATE_TABLE_H
#define WEIR_TASKMANAGER_STATE_TABLE_H

#include "base/error.h"
#include "base/mem.h"
#include "data/row_key.h"

struct weir_state;        /* one state: all its namespaces */
struct weir_state_table;  /* one namespace */
struct weir_snapshot;     /* state/snapshot.h */
struct weir_restored;     /* state/snapshot.h */
struct weir_state_memory; /* state/memory.h */

/* How a value is written, so that an entry can go into a checkpoint or to disk and come back without its operator. Called on the state's
 * thread. */
struct weir_state_codec {
    void *arg;
    /* Portable bytes, variable parts included. They must not depend on anything but the value. */
    void (*encode)(void *arg, const uint8_t *value, struct weir_buf *out);
    /* It will be encoded soon: what of it lies elsewhere can be fetched from memory meanwhile. NULL: nothing does. */
    void (*prefetch)(const uint8_t *value);
    /* The inverse, into zeros; variable parts go into `heap`. `reader`: NULL, the bytes are of this codec's own schema; else what
     * reader_new() made. Bytes that cannot be are DATA, "CHECKPOINT_CORRUPT: ...". */
    weir_err (*decode)(void *arg, const void *reader, const uint8_t *bytes, size_t size, uint8_t *value,
                       struct weir_arena *heap, struct weir_error *error);
    /* What the values are, in the operator's words (any bytes; borrowed as long as the state lives): stored with them. */
    const void *schema;
    size_t schema_size;
    /* Bytes of another schema are to be read: makes a reader for decode(), or fails with a sentence about both schemas (INVALID). NULL: only
     * the same schema is read. reader_free (may be NULL) frees what it made. */
    weir_err (*reader_new)(void *arg, const uint8_t *schema, size_t size, void **reader, struct weir_error *error);
    void (*reader_free)(void *arg, void *reader);
    /* Time to live: bytes begin with an i64, when the value was touched; `ttl_ms` after that, by *now_ms at the barrier, it is over, and what is
     * written in full leaves it out. Only where an entry stands for itself, and one that is over is never given. 0: none. */
    int64_t ttl_ms;
    const int64_t *now_ms;
};

struct weir_state_spec {
    const char *uid;   /* of the operator */
    const char *name;  /* "window" */
    size_t value_size; /* bytes, a multiple of 8, at most WEIR_STATE_VALUE_SIZE_MAX; new entries begin as zeros */
    enum weir_type_id fixed_key; /* weir_state_fixed_key() of the key; NONE: variable keys */
    /* For a state that goes into checkpoints; NULL: it is scratch of one item, and not kept. */
    const struct weir_state_codec *codec;                  /* copied */
    int max_parallelism, key_group_first, key_group_count; /* of this subtask; its keys are of these key groups */
    /* With a codec: what of the state may be in memory, the rest is on disk (memory.h). NULL: all is in memory. */
    struct weir_state_memory *memory;
};
#define WEIR_STATE_VALUE_SIZE_MAX ((size_t)1 << 16)

struct weir_state *weir_state_new(const struct weir_state_spec *spec);
void weir_state_free(struct weir_state *state); /* NULL is allowed */
/* The namespace's table, made when it is not there (find: NULL then). Valid until it is dropped. A new table begins with room for as
 * many entries as the last dropped one had: windows follow their like. */
struct weir_state_table *weir_state_open(struct weir_state *state, int64_t namespace);
struct weir_state_table *weir_state_find(struct weir_state *state, int64_t namespace);
void weir_state_drop(struct weir_state *state, int64_t namespace);
/* Namespaces in ascending order; INT64_MAX when there is none at or after `from`. O(log n). */
int64_t weir_state_next(const struct weir_state *state, int64_t from);
int64_t weir_state_entry_count(const struct weir_state *state);
size_t weir_state_bytes(const struct weir_state *state); /* memory held, heaps included */

/* Keys of one batch, in one of two forms. */
struct weir_state_keys {
    int row_count;
    const uint64_t *fixed;    /* fixed_key: raw values (integers sign-extended), or NULL */
    const uint64_t *validity; /* fixed_key: bit set = not NULL; or NULL: all valid */
    const uint64_t *hashes;   /* else: weir_key_hash() of each row, ... */
    const uint8_t *bytes;     /* ... and the canonical encodings, at [offsets[i], offsets[i + 1]) */
    const uint32_t *offsets;  /* row_count + 1 */
};

/* The type of the key column when fixed-key tables carry this key: one column of at most 64 bits, NULL or not. Else NONE. */
enum weir_type_id weir_state_fixed_key(const struct weir_schema *schema, const struct weir_key_spec *spec);

/* Builds the keys of a batch, in the form that weir_state_fixed_key() says; an int64 column is used where it lies. The arrays live
 * in the batch and in `scratch` until its next use. A spec without columns gives every row the empty key. */
struct weir_state_key_scratch;
struct weir_state_key_scratch *weir_state_key_scratch_new(const struct weir_schema *schema,
                                                          const struct weir_key_spec *spec);
void weir_state_key_scratch_free(struct weir_state_key_scratch *scratch);
void weir_state_keys(struct weir_state_key_scratch *scratch, const struct weir_batch *batch,
                     struct weir_state_keys *keys);

/* For i in [0, count): the value of key rows[i] (or i where rows is NULL), inserted when absent. Pointers are valid until the next
 * upsert into this table or removal from it; with a memory, until the next call that finds something in it, too. */
void weir_state_upsert(struct weir_state_table *table, const struct weir_state_keys *keys, const int32_t *rows,
                       int count, uint8_t **values);
/* The same without inserting: NULL where the key is absent. For reading: see weir_state_touch(). */
void weir_state_lookup(struct weir_state_table *table, const struct weir_state_keys *keys, const int32_t *rows,
                       int count, uint8_t **values);
/* What lookup() found will be read and changed soon: what belongs to it is fetched from memory meanwhile. */
void weir_state_prefetch(const struct weir_state_table *table, uint8_t *const *values, int count);
/* Room for `count` entries without growing; worth it before many inserts of known number. */
void weir_state_reserve(struct weir_state_table *table, int64_t count);
/* One key by its canonical encoding and hash; NULL: absent. */
uint8_t *weir_state_get(struct weir_state_table *table, uint64_t hash, const uint8_t *key, uint32_t key_size);
/* The same, inserted when absent: what is restored comes key by key. NULL: these bytes are no key of this state. */
uint8_t *weir_state_put(struct weir_state_table *table, const uint8_t *key, uint32_t key_size);
bool weir_state_remove(struct weir_state_table *table, uint64_t hash, const uint8_t *key, uint32_t key_size);
struct weir_arena *weir_state_heap(struct weir_state_table *table); /* variable parts of its values */
int64_t weir_state_table_count(const struct weir_state_table *table);
bool weir_state_on_disk(const struct weir_state_table *table); /* some of its entries are */
/* Changes when all variable parts of its values have moved, without the operator: with a memory, at an upsert or between items. */
uint32_t weir_state_moves(const struct weir_state_table *table);

/* A value that was found in another way than by upsert or put, or that was got before the last item, is about to change, or what it points to in
 * the heap is: call this first, then change it. (A checkpoint that is being taken may not have it yet.) */
void weir_state_touch(struct weir_state_table *table, uint8_t *value);
/* Values leave behind dead bytes in the heap as they change: moves what is alive into a new one. move() makes the value's variable parts
 * anew in `heap`, the same by content. All at once. */
void weir_state_compact(struct weir_state_table *table,
                        void (*move)(void *arg, uint8_t *value, struct weir_arena *heap), void *arg);

/* A short name of an entry that outlives growth, for timers: fixed keys are named exactly, variable ones by their hash, so that a name
 * may (very rarely) mean several entries or, after removals, another one. Whoever acts on it checks what it finds. */
struct weir_state_id {
    uint64_t head;
    uint32_t kind; /* 0: an ordinary slot; 1, 2: the two slots beside the table (raw key that marks "empty"; NULL) */
};
struct weir_state_id weir_state_id_of(const struct weir_state_table *table, const uint8_t *value);
struct weir_state_id weir_state_id_of_key(const struct weir_state_table *table, const uint8_t *key, uint32_t key_size);

/* Entries as they are walked: by slot, an order that the table's history alone decides. */
struct weir_state_entry {
    const uint8_t *key; /* canonical encoding */
    uint32_t key_size;
    uint8_t *value;
};
/* Entries with this id; *cursor starts at 0; false: no more. The key is valid until the next call of this or of
 * weir_state_walk_entries() on any table of this state; the table must not change meanwhile. */
bool weir_state_find_id(struct weir_state_table *table, struct weir_state_id id, int64_t *cursor,
                        struct weir_state_entry *entry);
void weir_state_remove_value(struct weir_state_table *table, uint8_t *value); /* the entry that `value` belongs to */

/* Walks up to `max` (at most WEIR_BATCH_ROWS_MAX) entries; returns their number, 0 at the end. *cursor starts at 0. The table must not
 * change meanwhile. Values are for reading: with a memory they may be copies of what is on disk. Keys are valid until the next call of the same function (or of weir_state_find_id()) on any table of this state;
 * walk_entries() and walk_keys() do not disturb each other. */
int weir_state_walk_entries(struct weir_state_table *table, int64_t *cursor, struct weir_state_entry *entries, int max);
/* The same, with the keys in the form that weir_state_upsert() takes. */
int weir_state_walk_keys(struct weir_state_table *table, int64_t *cursor, struct weir_state_keys *keys,
                         uint8_t **values, int max);

/* --- Checkpoints: states with a codec */

/* In the operator's snapshot(): what the state is now belongs to the checkpoint. Returns at once; what changes afterwards does not show. */
void weir_state_snapshot(struct weir_state *state, struct weir_snapshot *snapshot);
/* In open(), into an empty state: the entries of its key groups from all parts that are there under its uid and name. restored may be NULL. */
weir_err weir_state_restore(struct weir_state *state, const struct weir_restored *restored, struct weir_error *error);

#endif
