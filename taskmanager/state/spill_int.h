/* Between table.c, capture.c and spill.c: what a table that may be larger than memory asks of it, and the other way round. */
#ifndef WEIR_TASKMANAGER_STATE_SPILL_INT_H
#define WEIR_TASKMANAGER_STATE_SPILL_INT_H

#include "state/memory.h"
#include "state/state_int.h"

/* --- spill.c; of states with a memory */

void weir_spill_state_new(struct weir_state *state, struct weir_state_memory *memory);
void weir_spill_state_free(struct weir_state *state); /* also of one without */
void weir_spill_table_free(struct weir_state_table *table);
void weir_spill_dropped(struct weir_state_table *table); /* the namespace goes, with what is on disk of it */
/* Before the table is asked for anything: pointers into it end. */
void weir_spill_begin(struct weir_state_table *table);
/* Room for `count` entries more: grows or evicts where it must. True: what was found may be elsewhere now, or gone; there may still be too little
 * room. */
bool weir_spill_room(struct weir_state_table *table, int count);
bool weir_spill_fits(const struct weir_state_table *table, uint64_t capacity); /* within the budget, while it grows */
/* A restore reads so many bytes of runs: their entries may all be in memory. Always true without a memory. */
bool weir_spill_may_hold(const struct weir_state *state, double bytes);
/* Entries come from disk into the table, where weir_state_table.disk_count says that there may be some; pointers into it end only where it
 * has no room, see weir_spill_room(). fetch: of the rows whose values are NULL. The others make room themselves. */
void weir_spill_fetch(struct weir_state_table *table, const struct weir_state_keys *keys, const int32_t *rows,
                      int count, uint8_t **values);
void weir_spill_fetch_one(struct weir_state_table *table, uint64_t hash, const uint8_t *key, uint32_t key_size);
void weir_spill_fetch_id(struct weir_state_table *table, struct weir_state_id id);
/* The table has marks: values (or NULL) that were in memory when they were asked for; values that may change. */
void weir_spill_used(struct weir_state_table *table, uint8_t *const *values, int count);
void weir_spill_changed(struct weir_state_table *table, uint8_t *const *values, int count);
void weir_spill_removed(struct weir_state_table *table, uint8_t *slot); /* is about to go */
/* A walk behind its last entry in memory. Keys (one after the other) and values are copies, valid until the next step of any such walk in
 * this state. some: the entries lie there, too. */
#define WEIR_SPILL_CURSOR ((int64_t)1 << 62) /* cursors from here on */
int weir_spill_walk(struct weir_state_table *table, int64_t *cursor, struct weir_state_entry *entries, int max);
int weir_spill_walk_some(struct weir_state_table *table, int64_t *cursor, struct weir_state_entry **entries, int max);

/* A value's bytes, with a time to live: was it touched at `over_at` or before? */
static inline bool weir_state_is_over(int64_t over_at, const uint8_t *bytes, size_t size)
{
    int64_t touched;
    if (over_at == INT64_MIN || size < sizeof touched)
        return false;
    memcpy(&touched, bytes, sizeof touched);
    return touched <= over_at;
}

/* Keys and values in RocksDB: see spill.c. */
#define PREFIX_SIZE 12u /* of keys: state and namespace */
#define KEY_AT_VAR 20u  /* in a key: where the canonical encoding begins */
#define KEY_AT_FIXED 16u
#define GENERATIONS_MAX 16
#define VALUE_AT 9u /* in a value: where the codec's bytes begin */

/* What a capture reads from disk; see below. */
struct weir_spill_capture {
    struct weir_rocks *rocks; /* a reference */
    struct weir_rocks_snapshot *snapshot;
    struct weir_rocks_iterator *iterator;
    uint8_t prefixes[GENERATIONS_MAX][PREFIX_SIZE];
    int prefix_size, prefix_count, at;
    uint32_t key_at; /* of the state's keys */
    int max_parallelism;
    bool index;
    int64_t over_at; /* see weir_state_is_over() */
};

/* A barrier: what is on disk belongs to the capture, as it is now. after: the checkpoint that it builds on; full: none. own: later
 * ones may build on it. NULL: nothing is on disk that it needs. */
struct weir_spill_capture *weir_spill_capture(struct weir_state *state, uint64_t checkpoint, uint64_t after, bool full,
                                              bool own, int64_t over_at);
bool weir_spill_on_disk(const struct weir_state *state);   /* something of it is, or was */
bool weir_spill_wants_all(const struct weir_state *state); /* the next capture should be a full one */
void weir_spill_restored(struct weir_state *state, uint64_t checkpoint);
/* Any thread. Adds entries until there are `size` bytes; *more false: that was all. */
weir_err weir_spill_capture_next(struct weir_spill_capture *capture, struct weir_records *records, size_t size,
                                 bool *more, struct weir_error *error);
void weir_spill_capture_free(struct weir_spill_capture *capture); /* NULL is allowed */

/* --- table.c */

bool weir_state_has(struct weir_state_table *table, const uint8_t *key, uint32_t key_size);             /* in memory */
uint8_t *weir_state_insert_slot(struct weir_state_table *table, const uint8_t *key, uint32_t key_size); /* is absent */
/* Entries with the mark go; what there is to say of their end has been said. O(capacity), values move. */
void weir_state_sweep(struct weir_state_table *table, uint8_t mark);
void weir_state_pack_keys(
    struct weir_state_table *table); /* keys in their arena: without the room of those that went */
void weir_state_grow(struct weir_state_table *table, uint64_t capacity);
void weir_state_shrink(struct weir_state_table *table);
void weir_state_free_spare(struct weir_state *state); /* memory that the next table would have begun with */
int64_t weir_state_limit_full(uint64_t capacity);

#endif
