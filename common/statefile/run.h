/* Runs: sorted, immutable files of state entries. A checkpoint of keyed state is a list of runs, oldest first; what changed since the last
 * complete checkpoint is the newest of them. The bytes of a run are its part of a checkpoint; README.md has them one by one.
 *
 * A record is (key group, key, namespace) -> value, or says that the entry is gone. A run is sorted by that address, in blocks with a
 * checksum each; its index, at the end, says which key groups lie where, so that a reader fetches what it needs. Whole namespaces that
 * went are named in the index: what runs of earlier checkpoints have of them is gone.
 *
 * Nothing here does I/O: bytes are in memory, or mapped.
 */
#ifndef WEIR_STATEFILE_RUN_H
#define WEIR_STATEFILE_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/mem.h"

#define WEIR_RUN_TRAILER_SIZE 32
#define WEIR_RUN_BLOCK_SIZE ((size_t)64 << 10) /* of records; a larger record has a block of its own */

enum weir_record_kind { WEIR_RECORD_VALUE = 1, WEIR_RECORD_REMOVED = 2 }; /* written into files: never renumber */

struct weir_record {
    int key_group;
    const uint8_t *key; /* canonical encoding, data/row_key.h */
    uint32_t key_size;
    int64_t namespace;
    enum weir_record_kind kind;
    const uint8_t *value;
    size_t value_size;
};
/* By key group, key (bytes, then length), namespace. */
int weir_record_compare(const struct weir_record *a, const struct weir_record *b);

struct weir_run_info {
    const char *uid, *name; /* of the operator, of the state */
    uint64_t checkpoint;    /* that wrote it */
    uint32_t segment;       /* 0, 1, ...: a checkpoint may write several; the later one is the newer */
    int max_parallelism;
    int key_group_first, key_group_count; /* of the subtask that wrote it */
    const uint8_t *schema; /* what the values are, in the words of the operator; may be NULL with size 0 */
    size_t schema_size;
    const int64_t *dropped; /* namespaces, ascending: gone from the runs of earlier checkpoints */
    uint32_t dropped_count;
    uint64_t value_count, removed_count; /* set by the writer */
};

/* --- Records that are not sorted yet, in the bytes that a run has. Bounded by whoever fills it. */

struct weir_records {
    struct weir_buf bytes;
    size_t *at; /* where each begins */
    size_t count, capacity;
};
void weir_records_init(struct weir_records *records);
void weir_records_fini(struct weir_records *records);
void weir_records_clear(struct weir_records *records); /* none; its memory stays */
/* A record is begun, its value appended to records->bytes, and ended. */
void weir_records_begin(struct weir_records *records, int key_group, const uint8_t *key, uint32_t key_size,
                        int64_t namespace, enum weir_record_kind kind);
void weir_records_end(struct weir_records *records);
void weir_records_take_back(struct weir_records *records); /* instead: it was none */
/* Sorts all of them together and appends them as a run to `out`, whose maximum is the caller's affair. An address has at most one value, and
 * that wins over its removals. */
void weir_records_write(const struct weir_records *const *sets, size_t set_count, const struct weir_run_info *info,
                        struct weir_buf *out);

/* --- Reading. Every error is DATA, "CHECKPOINT_CORRUPT: ...". */

/* Where the index of a run of `size` bytes begins, from its last WEIR_RUN_TRAILER_SIZE bytes. */
weir_err weir_run_index_at(const uint8_t *trailer, uint64_t size, uint64_t *offset, struct weir_error *error);

struct weir_run; /* opaque */
/* Borrows the bytes. Only the index is read; blocks are looked at when a cursor comes to them, so that bytes of a file of which only the blocks of
 * some key groups were fetched will do. */
weir_err weir_run_open(const uint8_t *bytes, uint64_t size, struct weir_run **run, struct weir_error *error);
void weir_run_close(struct weir_run *run); /* NULL is allowed */
const struct weir_run_info *weir_run_info(const struct weir_run *run);
/* The bytes [*offset, *offset + *size) that hold the records of these key groups; *size 0: there are none. */
void weir_run_range(const struct weir_run *run, int key_group_first, int key_group_count, uint64_t *offset,
                    uint64_t *size);

/* About how many records they are: those of all blocks that have some. */
uint64_t weir_run_record_count(const struct weir_run *run, int key_group_first, int key_group_count);

/* The bytes have been compared with a checksum: cursors do not look at those of blocks any more. */
void weir_run_trust(struct weir_run *run);
/* Looks at the checksums of their blocks. */
weir_err weir_run_check(const struct weir_run *run, int key_group_first, int key_group_count, struct weir_error *error);

/* Records of key groups [first, first + count), in order. */
struct weir_run_cursor {
    const struct weir_run *run;
    int key_group_first, key_group_end;
    uint32_t block;
    const uint8_t *next, *end; /* in the block */
};
void weir_run_seek(struct weir_run_cursor *cursor, const struct weir_run *run, int key_group_first,
                   int key_group_count);
/* *more false: no other record. The record lies in the run's bytes. */
weir_err weir_run_next(struct weir_run_cursor *cursor, struct weir_record *record, bool *more,
                       struct weir_error *error);

/* --- Many runs as one: of each address the newest record, in order, without what was removed or dropped. */

struct weir_merge_source {
    const struct weir_run *run;
    int key_group_first, key_group_count; /* what of it counts */
};
struct weir_merge; /* opaque */
/* `sources` in any order: a run's checkpoint and segment say how new it is. */
struct weir_merge *weir_merge_new(const struct weir_merge_source *sources, int count);
void weir_merge_free(struct weir_merge *merge);
/* *run (may be NULL): the one that the record is from, for its schema. Valid until the next call. */
weir_err weir_merge_next(struct weir_merge *merge, struct weir_record *record, const struct weir_run **run, bool *more,
                         struct weir_error *error);

#endif
