/* One subtask's part of a checkpoint while it is captured: what its operators gave when the barrier passed them.
 *
 * A state is addressed by (operator uid, state name). Its bytes are the operator's affair; `kind` says how a restore with another parallelism
 * deals with them. Captured on the task's worker; handed on whole, then read by one thread.
 */
#ifndef WEIR_TASKMANAGER_STATE_SNAPSHOT_H
#define WEIR_TASKMANAGER_STATE_SNAPSHOT_H

#include <stdint.h>

#include "base/error.h"
#include "base/mem.h"
#include "state/output_segments.h"

struct weir_capture; /* state/capture.h */
struct weir_run_ref; /* state/capture.h */

enum weir_state_kind { /* written into checkpoints: never renumber */
                       WEIR_STATE_SUBTASK =
                           1, /* this subtask's alone: with it the operator's parallelism cannot change */
                       WEIR_STATE_SPLIT =
                           2, /* entries that are dealt out anew (operator list state): weir_restored_is_mine() */
                       WEIR_STATE_UNION = 3, /* every subtask gets all */
                       WEIR_STATE_KEYED = 4, /* by key group */
                       /* Rows that a barrier overtook (exchange/inflight.h): of the subtask that the part names, while the parallelism is the
                        * same; else by key group, or dealt out. */
                       WEIR_STATE_ROWS_KEYED = 5,
                       WEIR_STATE_ROWS = 6
};

struct weir_snapshot_part {
    char *uid, *name;
    enum weir_state_kind kind;
    struct weir_buf bytes;
    int subtask, parallelism; /* whose it is, where that is not who writes it; 0, 0: the writer's */
    /* Where it is in the store, once it is. A part that an earlier checkpoint wrote, or that has an object of its own, has no bytes. */
    char *object; /* NULL: the snapshot's own */
    int64_t offset, size;
    uint32_t crc32c;
    struct weir_capture *capture; /* it is a run that this one wrote; borrowed */
    struct weir_snapshot_part *next;
};

struct weir_snapshot_capture { /* a state that is still being captured: capture.h */
    struct weir_capture *capture;
    struct weir_snapshot_capture *next;
};

struct weir_snapshot_committable { /* output that the checkpoint publishes */
    char *connector, *text;
    struct weir_output_segments segments;
    struct weir_snapshot_committable *next;
};

struct weir_snapshot_sync { /* what must have been done before the snapshot counts */
    weir_err (*run)(void *arg, struct weir_error *error);
    void *arg;
    void (*free_arg)(void *arg);
    struct weir_snapshot_sync *next;
};

struct weir_snapshot {
    uint64_t checkpoint; /* 0: the last one, of a task that has FINISHED */
    uint64_t complete;   /* the newest checkpoint that is known to be complete: its output is published, or will be */
    uint32_t flags;      /* enum weir_barrier_flags */
    bool without_tables; /* keyed states are left out: a last one that nobody is likely to ask for */
    struct weir_snapshot_part *parts; /* in the order of the operators */
    struct weir_snapshot_part **end;
    struct weir_snapshot_capture *captures, **captures_end; /* their parts come when they are written */
    struct weir_snapshot_committable *committables, **committables_end;
    struct weir_snapshot_sync *syncs, **syncs_end;
    int64_t alignment_ns;      /* from the first barrier in an input until the snapshot was taken */
    uint64_t processed_bytes;  /* that were taken meanwhile */
    int64_t sync_ns, taken_ns; /* the operators' work; when the last one had given its state, by the monotonic clock */
    uint64_t overtaken_bytes;  /* of rows that the barrier overtook, which are among the parts */
    bool unaligned;            /* it did not wait for its turn */
};

struct weir_snapshot *weir_snapshot_new(uint64_t checkpoint, uint64_t complete, uint32_t flags);
void weir_snapshot_free(struct weir_snapshot *snapshot); /* NULL is allowed */
/* The bytes are taken over; *take_bytes is empty afterwards. The part stays where it is until the snapshot is freed. */
struct weir_snapshot_part *weir_snapshot_add(struct weir_snapshot *snapshot, const char *uid, const char *name,
                                             enum weir_state_kind kind, struct weir_buf *take_bytes);
/* A state that is being captured: its runs become parts, several of one name, when they are written. */
void weir_snapshot_add_capture(struct weir_snapshot *snapshot, struct weir_capture *take_capture);
struct weir_snapshot_part *weir_snapshot_add_run(struct weir_snapshot *snapshot, struct weir_capture *capture,
                                                 struct weir_buf *take_bytes);
void weir_snapshot_add_stored_run(struct weir_snapshot *snapshot, struct weir_capture *capture, bool is_new,
                                  const struct weir_run_ref *ref);
/* Finishes the captures, on the worker of their states, and makes parts of their runs in memory: for who does not write them to a store. */
weir_err weir_snapshot_settle(struct weir_snapshot *snapshot, struct weir_error *error);
/* All is copied; `segments` may be NULL. */
void weir_snapshot_add_committable(struct weir_snapshot *snapshot, const char *connector, const char *text,
                                   const struct weir_output_segments *segments);
/* run(take_arg) may block: it is called, on another thread, before the snapshot is reported, which happens only when it said 0. */
void weir_snapshot_add_sync(struct weir_snapshot *snapshot, weir_err (*run)(void *arg, struct weir_error *error),
                            void *take_arg, void (*free_arg)(void *arg));
weir_err weir_snapshot_run_syncs(const struct weir_snapshot *snapshot, struct weir_error *error);

/* --- What a restored subtask finds: the parts of a checkpoint that concern it. After a change of parallelism several old subtasks' parts of
 * one state. Read-only, valid in open() only. */

struct weir_restored_part {
    char *uid, *name;
    enum weir_state_kind kind;
    int subtask, parallelism; /* that wrote it */
    uint8_t *bytes;
    size_t size;
    void *mapped; /* they lie in this mapping; NULL: malloc()ed */
    size_t mapped_size;
    /* Where it came from; NULL: not from an object. */
    char *object;
    int64_t offset;
    uint32_t crc32c;
    struct weir_restored_part *next;
};
struct weir_restored {
    uint64_t checkpoint;
    struct weir_restored_part *parts, **end;
    int64_t local_bytes, store_bytes; /* that were read, for people */
};
struct weir_restored *weir_restored_new(uint64_t checkpoint);
void weir_restored_free(struct weir_restored *restored); /* NULL is allowed */
/* `bytes` is malloc()ed and taken over; NULL with size 0. */
void weir_restored_add(struct weir_restored *restored, const char *uid, const char *name, enum weir_state_kind kind,
                       int subtask, int parallelism, uint8_t *take_bytes, size_t size);
/* Of the part that was added last: its bytes lie in this mapping, which is taken over. */
void weir_restored_mapped(struct weir_restored *restored, void *take_mapped, size_t size);
/* Of the part that was added last: its bytes, or those that are wanted of it, have been compared with this checksum or those of their blocks. */
void weir_restored_origin(struct weir_restored *restored, const char *object, int64_t offset, uint32_t crc32c);
/* The next part of the state after `after` (NULL: the first); NULL: there is none. `restored` may be NULL: the start was from nothing. */
const struct weir_restored_part *weir_restored_next(const struct weir_restored *restored, const char *uid,
                                                    const char *name, const struct weir_restored_part *after);

/* Entry `number`, counted from 0 over all parts of a SPLIT state in their order, is this subtask's. With the parallelism that wrote them a
 * subtask finds its own part and all of its entries; with another one it finds all parts, and each entry is somebody's, once. */
bool weir_restored_is_mine(const struct weir_restored_part *part, int subtask, int parallelism, int64_t number);

/* --- Bytes of parts: little-endian numbers, and bytes with their size before them. What is read is checked: once something was not there,
 * `bad` stays set and zeros come. */

void weir_put_u8(struct weir_buf *out, uint8_t value);
void weir_put_u32(struct weir_buf *out, uint32_t value);
void weir_put_i64(struct weir_buf *out, int64_t value);
void weir_put_bytes(struct weir_buf *out, const void *bytes, size_t size);

struct weir_part_reader {
    const uint8_t *at, *end;
    bool bad;
};
struct weir_part_reader weir_part_read(const struct weir_restored_part *part);
uint8_t weir_get_u8(struct weir_part_reader *reader);
uint32_t weir_get_u32(struct weir_part_reader *reader);
int64_t weir_get_i64(struct weir_part_reader *reader);
const uint8_t *weir_get_bytes(struct weir_part_reader *reader, size_t *size); /* never NULL */
/* Everything was read, and nothing was missing; else DATA: the part is damaged or another operator's. */
weir_err weir_part_read_end(const struct weir_part_reader *reader, const char *state, struct weir_error *error);

#endif
