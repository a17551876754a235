/* State tables: keyed state of one operator subtask, in memory, by namespace and key.
 *
 * A state is addressed by (operator uid, state name). Its entries are (namespace, key) -> value, where the namespace is an int64
 * (a window's or pane's end in ms; 0 for plain keyed state), the key is a canonical encoding (data/row_key.h) and the value a
 * fixed number of plain bytes with variable parts in the namespace's heap. One open-addressing table per namespace: a window fires by
 * walking and dropping its own table.
 *
 * Lookups are by batch: all keys are hashed (the caller has the hashes already, from weir_key_hash()), their slots prefetched,
 * then found or inserted, so that cache misses overlap. Owner: the task's worker thread. Snapshots, RocksDB behind
 * the tables and TTL come with checkpoints: weir_state_scan() is what they will use.
 */
#ifndef WEIR_TASKMANAGER_STATE_TABLE_H
#define WEIR_TASKMANAGER_STATE_TABLE_H

#include "base/error.h"
#include "base/mem.h"
#include "data/row_key.h"

struct weir_state;       /* one state: all its namespaces */
struct weir_state_table; /* one namespace */

struct weir_state_spec {
    const char *uid;  /* of the operator */
    const char *name; /* "window" */
    size_t value_size; /* bytes, a multiple of 8; new entries begin as zeros */
};

struct weir_state *weir_state_new(const struct weir_state_spec *spec);
void weir_state_free(struct weir_state *state);
/* The namespace's table, made when it is not there (find: NULL then). Valid until it is dropped. */
struct weir_state_table *weir_state_open(struct weir_state *state, int64_t namespace);
struct weir_state_table *weir_state_find(struct weir_state *state, int64_t namespace);
void weir_state_drop(struct weir_state *state, int64_t namespace);
/* Namespaces in ascending order; INT64_MAX when there is none at or after `from`. O(log n). */
int64_t weir_state_next(const struct weir_state *state, int64_t from);
int64_t weir_state_entry_count(const struct weir_state *state);
size_t weir_state_bytes(const struct weir_state *state); /* memory held, heaps included */

/* Keys of one batch. Fixed 8-byte fast path: when the spec is one NOT NULL column of at most 64 bits, `fixed` holds the raw values
 * and encoded keys are made only when an entry is walked. */
struct weir_state_keys {
    const uint64_t *hashes;  /* row_count */
    const uint8_t *bytes;    /* canonical encodings back to back, or NULL when `fixed` is used */
    const uint32_t *offsets; /* row_count + 1 */
    const uint64_t *fixed;   /* row_count, or NULL */
    int row_count;
};
/* Builds it from a batch; the arrays live in `scratch` until its next use. Decides on the fast path from the spec and schema, the
 * same way for every batch of an operator. */
struct weir_state_key_scratch;
struct weir_state_key_scratch *weir_state_key_scratch_new(const struct weir_schema *schema, const struct weir_key_spec *spec);
void weir_state_key_scratch_free(struct weir_state_key_scratch *scratch);
void weir_state_keys(struct weir_state_key_scratch *scratch, const struct weir_batch *batch, struct weir_state_keys *keys);

/* For i in [0, count): the value of key rows[i] (or i where rows is NULL), inserted when absent. Pointers are valid until the next
 * upsert into this table. */
void weir_state_upsert(struct weir_state_table *table, const struct weir_state_keys *keys, const int32_t *rows, int count,
                       uint8_t **values);
/* One key; NULL: absent. */
uint8_t *weir_state_get(struct weir_state_table *table, uint64_t hash, const uint8_t *key, uint32_t key_size);
bool weir_state_remove(struct weir_state_table *table, uint64_t hash, const uint8_t *key, uint32_t key_size);
struct weir_arena *weir_state_heap(struct weir_state_table *table); /* variable parts of its values */
int64_t weir_state_table_count(const struct weir_state_table *table);

/* Walks entries in a fixed order. *cursor starts at 0; false: no more. The table must not change meanwhile. The key is the canonical
 * encoding, valid until the next call on this table. */
bool weir_state_walk(struct weir_state_table *table, int64_t *cursor, const uint8_t **key, uint32_t *key_size,
                     uint64_t *hash, uint8_t **value);

#endif
