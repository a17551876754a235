/* Private to window*.c: the window operator in five files.
 *
 *     window.c          options, plan, the handlers
 *     window_assign.c   time arithmetic: panes, windows, rows of a batch grouped by pane; pure
 *     window_pane.c     tumbling and sliding: update, firing, results again for late rows
 *     window_session.c  sessions
 *     window_snapshot.c what goes into checkpoints
 */
#ifndef WEIR_TASKMANAGER_OPS_WINDOW_INT_H
#define WEIR_TASKMANAGER_OPS_WINDOW_INT_H

#include "expr/agg.h"
#include "ops/ops_int.h"
#include "state/memory.h"
#include "state/snapshot.h"
#include "state/table.h"

/* Times of rows are within [-MAX, MAX] (146 million years), durations at most 2^53 ms: no sum below wraps. */
#define WEIR_WINDOW_TIME_MAX ((int64_t)1 << 62)
#define WEIR_WINDOW_SLIDES_MAX 10000             /* of one window */
#define WEIR_WINDOW_ROWS WEIR_BATCH_ROWS_DEFAULT /* of one output batch, at most */

enum weir_window_type { WEIR_WINDOW_TUMBLING, WEIR_WINDOW_SLIDING, WEIR_WINDOW_SESSION };

/* Tumbling and sliding windows are [start, start + size) with start = offset + k * slide. A slide is cut where windows begin and
 * where they end: at 0 and, when size is no multiple of slide, at cut = size % slide. What lies between two cuts is a pane: every
 * window is a run of whole panes, a row belongs to one pane, and the number of panes per window is at most
 * twice the slides of it (with panes of gcd(size, slide) it has no such bound). */
struct weir_window_spec {
    enum weir_window_type type;
    bool processing_time;
    int64_t size_ms, slide_ms, offset_ms; /* tumbling: slide = size; 0 <= offset < slide */
    int64_t cut_ms;                       /* 0: one pane a slide */
    int64_t gap_ms;                       /* session */
    int64_t lateness_ms;
};

struct weir_pane {
    int64_t start_ms, end_ms;
};
struct weir_pane weir_window_pane_ending(const struct weir_window_spec *spec, int64_t end_ms);
/* Ends of the first and last window that the pane belongs to. */
int64_t weir_window_first_end(const struct weir_window_spec *spec, struct weir_pane pane);
int64_t weir_window_last_end(const struct weir_window_spec *spec, struct weir_pane pane);
/* The smallest window end > after. |after| <= 2 * WEIR_WINDOW_TIME_MAX - 2^56. */
int64_t weir_window_end_after(const struct weir_window_spec *spec, int64_t after);

/* Rows of one batch by pane. rows[] lists the row numbers, group after group, each in row order; a single group has none (rows NULL). */
struct weir_window_group {
    struct weir_pane pane;
    int first, count;
    bool late;
};
struct weir_window_groups {
    int count;
    const int32_t *rows;
    struct weir_window_group groups[WEIR_BATCH_ROWS_MAX];
    int32_t row_space[WEIR_BATCH_ROWS_MAX];
    uint16_t group_of_row[WEIR_BATCH_ROWS_MAX];
    int16_t buckets[2 * WEIR_BATCH_ROWS_MAX]; /* pane start -> group, -1: none; all -1 between calls */
};
struct weir_window_groups *weir_window_groups_new(void);
/* Times are valid and in range; row_count >= 1. */
void weir_window_group_rows(const struct weir_window_spec *spec, const int64_t *times, int row_count,
                            struct weir_window_groups *groups);

/* Firing and firing again go on over several calls: where they are. */
enum weir_fire_phase { WEIR_FIRE_NONE, WEIR_FIRE_NEXT, WEIR_FIRE_MERGE, WEIR_FIRE_EMIT };
struct weir_fire {
    enum weir_fire_phase phase;
    int64_t after_ms; /* windows that end here or before are done */
    int64_t window_end_ms;
    int64_t pane_ms;                /* MERGE: the pane that is being merged */
    int64_t cursor;                 /* walk */
    struct weir_state_table *table; /* EMIT: what is walked */
};

/* Timers of sessions, rebuilt from state when there is a restore: a binary heap ordered by (time, id). An entry is valid when a session
 * of that id has it as its `timer_ms`. */
struct weir_session_timer {
    int64_t time_ms;
    struct weir_state_id id;
};
struct weir_session_node; /* window_session.c */

struct weir_window {
    struct weir_window_spec spec;
    struct weir_agg *agg;
    struct weir_agg_input *input;
    struct weir_state_key_scratch *key_scratch;
    struct weir_window_groups *groups;
    bool global; /* not keyed */
    bool skip_bad;
    int time_column; /* -1: processing time */
    size_t accumulator_size;
    int64_t watermark_ms; /* of event time, or the processing time - 1 up to which windows fired */
    int64_t row_time_ms;  /* processing time: of all rows of the current batch */
    int emit_rows;        /* at most so many rows in an output batch, fewer where rows are large */

    /* What is kept. panes: namespace = pane end, value = accumulator. sessions: one namespace;
     * value = list of the key's sessions. */
    struct weir_state *panes;
    struct weir_state *sessions;
    struct weir_state_codec codec;
    struct weir_buf schema; /* of the codec */

    /* Within one item only: merged panes, keys whose windows fire again. */
    struct weir_state *merged;
    struct weir_state *dirty;
    struct weir_arena chunk_heap;
    uint8_t *chunk_accumulators; /* WEIR_WINDOW_ROWS, made when first needed */

    /* The item that is being worked on. */
    struct weir_batch *current; /* the batch without its bad rows; NULL: none is begun */
    struct weir_state_keys keys;
    struct weir_fire fire;
    int64_t again_after_ms; /* firing again for late rows: windows that end here or before are done; and up to: */
    int64_t again_up_to_ms;

    /* Sessions */
    struct weir_session_timer *timers;
    int timer_count, timer_capacity;
    struct weir_session_node *free_nodes;
    uint32_t moves;            /* of the heap that they are in */
    size_t heap_bytes_compact; /* the heap is compacted when it is larger */
    struct weir_state_id
        *session_dirty; /* WEIR_BATCH_ROWS_MAX: keys whose sessions fire again at the end of the batch; while
                                          * timers are handled: those with a session that goes */
    int session_dirty_count, session_dirty_at;
    struct weir_buf emit_keys; /* keys of the results that are being collected */

    /* Scratch */
    uint8_t *values[WEIR_BATCH_ROWS_MAX];
    uint8_t *values2[WEIR_BATCH_ROWS_MAX];
    struct weir_state_entry entries[WEIR_BATCH_ROWS_MAX];
    struct weir_agg_group results[WEIR_BATCH_ROWS_MAX];
    int32_t rows[WEIR_BATCH_ROWS_MAX];
};

/* Pushes results[0..count) as one batch; adapts emit_rows to their size. */
weir_err weir_window_emit(struct weir_window *window, struct weir_op_ctx *ctx, int count);
/* Pushes rows[0..count) of the current batch to the late output, or counts them. */
void weir_window_push_late(struct weir_window *window, struct weir_op_ctx *ctx, const int32_t *rows, int count);
/* Times of the current batch's rows, or NULL in processing time. */
const int64_t *weir_window_times(const struct weir_window *window);

/* Tumbling and sliding. update: the current batch, all at once. again: results again, after update; fire: all windows up to and
 * including `target_ms` (window_end - 1 <= target); both go on where they stopped. */
weir_err weir_panes_update(struct weir_window *window, struct weir_op_ctx *ctx);
enum weir_step weir_panes_again(struct weir_window *window, struct weir_op_ctx *ctx);
enum weir_step weir_panes_fire(struct weir_window *window, struct weir_op_ctx *ctx, int64_t target_ms);
int64_t weir_panes_next_end(const struct weir_window *window, int64_t after_ms); /* INT64_MAX: none */

weir_err weir_sessions_update(struct weir_window *window, struct weir_op_ctx *ctx);
enum weir_step weir_sessions_again(struct weir_window *window, struct weir_op_ctx *ctx);
enum weir_step weir_sessions_fire(struct weir_window *window, struct weir_op_ctx *ctx, int64_t target_ms);
int64_t weir_sessions_next_end(const struct weir_window *window); /* INT64_MAX: none */
void weir_sessions_open(struct weir_window *window,
                        const struct weir_state_spec *spec); /* spec: uid and fixed_key are used */
void weir_sessions_close(struct weir_window *window);

/* A key's sessions as bytes, and back. */
void weir_sessions_encode(struct weir_window *window, const uint8_t *value, struct weir_buf *out);
bool weir_sessions_decode(struct weir_window *window, const uint8_t *bytes, size_t size, uint8_t *value,
                          struct weir_arena *heap);
void weir_sessions_arm(struct weir_window *window); /* the timers of what was restored */

#define WEIR_WINDOW_STATE "windows"
#define WEIR_WINDOW_TIME_STATE "watermark"
/* Valid as long as the window. */
const struct weir_state_codec *weir_window_codec(struct weir_window *window, const struct weir_op_plan *plan,
                                                 const char *aggregates);
weir_err weir_window_snapshot(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_snapshot *snapshot,
                              struct weir_error *error);
weir_err weir_window_restore(struct weir_window *window, struct weir_op_ctx *ctx, struct weir_error *error);

#endif
