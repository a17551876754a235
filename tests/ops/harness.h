/* Operator harness: drives one operator as the chain driver would, without threads, channels or a clock of its own.
 *
 * It implements weir_out_*() and weir_op_*() (taskmanager/ops/op.h), so a test links the operator's archive and this file,
 * but not taskmanager/task. Time is h->now_ms and moves only by weir_harness_advance().
 *
 * A mode says how hard the driver is to the operator:
 *     rows     input batches are cut into pieces of so many rows (0: as given);
 *     full     an output is full after one batch and has room again at the next call;
 *     yield    weir_op_should_yield() answers true at every second question;
 *     disk     states have a few KiB of memory, the rest is in RocksDB;
 *     restore  after every item (and between the calls of a source) a snapshot is taken, and a new instance opened from it.
 * Pushing into a full output, an empty batch, a batch of another schema, or a handler that says AGAIN for ever
 * fails the test. weir_harness_all_modes() runs one scenario through all of them and compares the rows that came out.
 *
 * Rows are text: values separated by '|', "null" for NULL, one row a line; see weir_harness_batch_of().
 */
#ifndef WEIR_TESTS_OPS_HARNESS_H
#define WEIR_TESTS_OPS_HARNESS_H

#include "ops/op.h"

#define WEIR_HARNESS_OUTPUTS 3 /* main, sides 1 and 2 */

struct weir_harness_mode {
    const char *name;
    int rows;
    bool full;
    bool yield;
    bool restore;
    bool disk; /* its state has next to no memory: entries come and go, and rows may come in another order */
};
extern const struct weir_harness_mode weir_harness_modes[]; /* ends with name NULL; [0] is the easy one */

/* What the graph would say of the vertex. Strings are borrowed. */
struct weir_harness_setup {
    const struct weir_op_vtable *op;
    const char *const *options;            /* pairs, ended by NULL; may be NULL */
    const char *inputs[16];                /* schemas as text, in input order */
    const char *declared;                  /* declared output schema, or NULL */
    const char *key[WEIR_KEY_COLUMNS_MAX]; /* key columns of the HASH edge */
    const void *row_in, *row_out;          /* struct weir_row_type */
    void *function;
    /* process */
    void *function2, *on_timer;
    const void *row_in2;
    const void *const *states; /* struct weir_state_decl, ended by NULL; may be NULL */
    const void *side_decls[2]; /* struct weir_side_decl of its side outputs */
    const char *key2[WEIR_KEY_COLUMNS_MAX];
    bool broadcast2;
    const char *const *arguments; /* ended by NULL; may be NULL */
    int parallelism, subtask;     /* 0: 1 */
    int consumer_parallelism;     /* 0: 1 */
    int attempt;
    int64_t now_ms;
    bool no_sides;                        /* nobody listens to the side outputs */
    bool checkpoints;                     /* as in a job that has them, in every mode */
    const struct weir_restored *restored; /* borrowed: what it begins with */
    struct weir_alignment *alignment;     /* borrowed; NULL: none */
    void (*wake)(void *arg);              /* what the operator is woken with; NULL: nothing */
    void *wake_arg;
    bool no_restore; /* it cannot go on where it was, and says so */
    bool unordered;  /* weir_harness_all_modes() compares rows as a multiset */
};

struct weir_harness; /* below */

/* Plans and opens. NULL: it was refused; `error` says why. */
struct weir_harness *weir_harness_new(const struct weir_harness_setup *setup, const struct weir_harness_mode *mode,
                                      struct weir_error *error);
/* Closes (finished: end() was reached) and frees. */
void weir_harness_free(struct weir_harness *h);

/* Each drives the item to its end. False: the operator said FAILED; weir_harness_error() says why. */
bool weir_harness_batch(struct weir_harness *h, int input, struct weir_batch *take_batch);
bool weir_harness_rows_in(struct weir_harness *h, int input, const char *rows); /* text, as above */
bool weir_harness_watermark(struct weir_harness *h, int64_t watermark_ms);
bool weir_harness_end(struct weir_harness *h);                     /* watermark MAX, then end() */
bool weir_harness_advance(struct weir_harness *h, int64_t now_ms); /* fires the timers that are due on the way */
/* Takes a snapshot, closes the operator and opens a new one that begins with it, as attempt + 1. What it keeps outside is lost: timers,
 * the watermark. False: it could not; weir_harness_error() says why. */
bool weir_harness_restore(struct weir_harness *h);
/* What the operator gives at a barrier; its syncs are not run. The caller's. */
struct weir_snapshot *weir_harness_barrier(struct weir_harness *h, uint64_t checkpoint, uint64_t complete);
/* What the operator gives at a barrier, or (checkpoint 0) when its task has ended; all syncs are done. The caller's. */
struct weir_snapshot *weir_harness_snapshot(struct weir_harness *h, uint64_t checkpoint, uint64_t complete);
/* Like a task that is stopped in the middle of an item: at most so many calls of batch() (take_batch; of produce() when it is NULL), and
 * nothing after that but a snapshot. True: it was at its end before. */
bool weir_harness_calls(struct weir_harness *h, struct weir_batch *take_batch, int calls);
/* Sources: calls produce() until it is DONE, or has nothing to give at `now_ms`. Waits for its fd (300 ms). */
bool weir_harness_produce(struct weir_harness *h);
bool weir_harness_done(const struct weir_harness *h); /* produce() said DONE */
const char *weir_harness_error(const struct weir_harness *h);

/* What came out of output 0, 1, 2: rows only, one a line, in order. Rows of plans that update begin with "+U ", "-U ", "-D ". */
const char *weir_harness_rows(const struct weir_harness *h, int output);
int weir_harness_row_count(const struct weir_harness *h, int output);
/* The same with "W 1234", "W max", "IDLE", "ACTIVE" lines between. */
const char *weir_harness_trace(const struct weir_harness *h, int output);
int64_t weir_harness_watermark_out(const struct weir_harness *h); /* the last of the main output */
int64_t weir_harness_timer(const struct weir_harness *h);         /* INT64_MAX: none */
uint64_t weir_harness_bad(const struct weir_harness *h);
uint64_t weir_harness_late(const struct weir_harness *h);
/* What end() asked to be committed: "connector\ncommittable". NULL: nothing. */
const char *weir_harness_committable(const struct weir_harness *h);
struct weir_schema *weir_harness_schema(const struct weir_harness *h, int output); /* borrowed */
struct weir_schema *weir_harness_input_schema(const struct weir_harness *h, int input);

/* Runs `scenario` in every mode; it fails the test when the rows of an output differ from those of the first mode.
 * `check`, which may be NULL, sees the first run before it is freed. */
void weir_harness_all_modes(const struct weir_harness_setup *setup, void (*scenario)(struct weir_harness *h, void *arg),
                            void (*check)(struct weir_harness *h, void *arg), void *arg);

/* "a|1.5|true\nb|null|false": one row a line. TIMESTAMP as text or as ms. One reference. */
struct weir_batch *weir_harness_batch_of(struct weir_schema *schema, const char *rows);
/* Appends one row in that form, without the line end. */
void weir_harness_print_row(const struct weir_batch *batch, int row, struct weir_buf *out);

#endif
