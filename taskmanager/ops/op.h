/* The operator interface: every operator, source and sink is one entry of one table (ops/table.c).
 *
 * A task is a tree of operators (a chain). Its driver (task/chain.c) gives each operator one item at a time from its
 * inbox: a batch, a watermark, an idleness change, a barrier, the end of input, or a timer. A handler does bounded work
 * (about 1 ms: check weir_op_should_yield() between rows of slow work), puts results into its outputs, and says
 *     WEIR_STEP_DONE     the item is consumed;
 *     WEIR_STEP_AGAIN    call again with the same item when every output has room (the operator keeps its cursor): returned when
 *                        an output is full or the time is up;
 *     WEIR_STEP_FAILED   ctx->error is set.
 * Handlers never block (what must goes through weir_op_call()) and never start threads; one worker thread calls all of a task's operators. Batches in an item are
 * borrowed: take a reference to keep one. Batches given to weir_out_push() are owned by the callee.
 *
 * Watermarks, barriers and ends pass on by themselves after the handler said DONE (a NULL handler is DONE at once), in order
 * with the batches. An operator with several inputs sees merged watermarks and aligned barriers only.
 */
#ifndef WEIR_TASKMANAGER_OPS_OP_H
#define WEIR_TASKMANAGER_OPS_OP_H

#include "base/options.h"
#include "base/pool.h"
#include "data/batch.h"
#include "data/row_key.h"

enum weir_step { WEIR_STEP_DONE, WEIR_STEP_AGAIN, WEIR_STEP_FAILED };

#define WEIR_WATERMARK_MIN INT64_MIN /* none yet */
#define WEIR_WATERMARK_MAX INT64_MAX /* end of event time: follows the last row of a bounded stream */

#define WEIR_OUT_IS_THE_RUNTIMES /* weir/weir.h has an alias of that name for jobs */
struct weir_out;                 /* one output of an operator: to chained operators and to channels; the driver's */
struct weir_op;     /* private to the operator: its struct begins as it likes; vtable->size bytes, zeroed, are given */
struct weir_op_ctx; /* below */
struct weir_job_code;        /* the loaded shared object, executor/job_code.h */
struct weir_snapshot;        /* state/snapshot.h */
struct weir_restored;        /* state/snapshot.h */
struct weir_state_memory;    /* state/memory.h */
struct weir_output_segments; /* state/snapshot.h */
struct weir_store;           /* store/store.h */
struct weir_op_numbers;      /* ops/op_numbers.h */
struct weir_alignment;       /* ops/alignment.h */

/* What an operator learns when the graph is built: checks options, compiles expressions, gives its output schemas.
 * Runs in the graph's child process, in the JobManager (never user code), and in open(). */
struct weir_op_plan {
    const char *name; /* of the vertex */
    const char *uid;
    const struct weir_key_value *options;
    int option_count;
    int input_count;
    struct weir_schema *inputs[16]; /* borrowed; [0] NULL for sources */
    /* Key of the input edge, when it is a HASH edge. */
    struct weir_key_spec key;
    bool keyed;
    /* The same of the second input. */
    struct weir_key_spec key2;
    bool keyed2, broadcast2;
    /* Declared output schema (sources, row functions), or NULL. */
    struct weir_schema *declared;
    /* results: one reference each, taken by the caller */
    struct weir_schema *output;   /* NULL for sinks */
    struct weir_schema *sides[2]; /* side outputs 1 and 2, or NULL */
};

struct weir_op_vtable {
    const char *name; /* "filter" */
    const char *help;
    size_t size;                       /* of the private state */
    const struct weir_option *options; /* ends with name NULL; connectors and formats add theirs */
    bool
        is_source; /* has produce(), called when the vertex has no input; a reader of splits has one (batch() reads them) */
    bool makes_watermarks; /* of its own: those of its input do not pass on, except MAX */
    bool needs_key;        /* the input must be keyed */
    bool
        keeps_key; /* the output is partitioned as the input (filter): its stream may be re-keyed for free; informative */

    weir_err (*plan)(struct weir_op_plan *plan, struct weir_error *error);
    weir_err (*open)(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_error *error);

    /* Optional. The driver calls it once every operator of the chain has been opened, from the chain's end towards its head, for two
     * neighbours of which `next` is the only consumer of op's main output and whose vtables have the same absorb. True: op takes
     * next's work over. From then on next->batch() is not called and op pushes to next_ctx->out itself; watermarks, barriers and
     * the end still pass through both (next's watermark_ms is kept up to date); both are closed. */
    bool (*absorb)(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_op *next, struct weir_op_ctx *next_ctx);

    enum weir_step (*batch)(struct weir_op *op, struct weir_op_ctx *ctx, int input, struct weir_batch *batch);
    enum weir_step (*watermark)(struct weir_op *op, struct weir_op_ctx *ctx, int64_t watermark_ms);
    enum weir_step (*end)(struct weir_op *op, struct weir_op_ctx *ctx); /* after watermark MAX */
    /* At a barrier: adds all that the operator must have again to go on from here, at once (no AGAIN; what is large is captured now and
     * written later). Between two calls, so nothing is half done; a source may be asked in the middle of a split. NULL: it keeps
     * nothing. open() of a later attempt finds it in ctx->restored. Asked once more when all operators of the task have ended
     * (snapshot->checkpoint 0): that one stands for the task in all later checkpoints. */
    weir_err (*snapshot)(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_snapshot *snapshot,
                         struct weir_error *error);
    /* Optional: a checkpoint to which snapshot() gave a committable with a transaction is in HEAD. Between two calls, at any time after that; not
     * for each: a later one speaks for those before it. */
    weir_err (*complete)(struct weir_op *op, struct weir_op_ctx *ctx, uint64_t checkpoint, struct weir_error *error);
    /* Optional: a barrier does not wait until the batch in hand is done (batch() said AGAIN). Pushes the results of the rows that are done and
     * says how many rows these are: they are in the state, those behind them are not. Output may be full: weir_out_full() gives some
     * more; when that is not enough, -1. The work goes on afterwards as if nothing had been. NULL: it waits. */
    int (*cut)(struct weir_op *op, struct weir_op_ctx *ctx, const struct weir_batch *batch);
    /* Optional: brings ctx->numbers up to date. About once a second, between two calls, also while outputs have no room; pushes nothing. */
    void (*report)(struct weir_op *op, struct weir_op_ctx *ctx);
    /* Processing-time timer set by weir_op_set_timer(). */
    enum weir_step (*timer)(struct weir_op *op, struct weir_op_ctx *ctx, int64_t now_ms);

    /* Sources: called while outputs have room. DONE: bounded source is at its end. AGAIN: call again (*progress says whether
     * anything was produced; if not, the worker may sleep until weir_op_wait_fd()'s fd is readable or the timer is due). */
    enum weir_step (*produce)(struct weir_op *op, struct weir_op_ctx *ctx, bool *progress);

    /* Always called once if open() was (also when it failed): frees; never blocks for long. `finished`: the task ended normally,
     * so that a sink may publish in end(), never here. */
    void (*close)(struct weir_op *op, struct weir_op_ctx *ctx, bool finished);
};

struct weir_metric; /* base/metrics.h */
struct weir_task;   /* the driver's */

/* Owned by the driver; lives as long as the operator. Fields are read-only to the operator, except error. */
struct weir_op_ctx {
    const struct weir_op_plan *plan; /* resolved again in this process */
    const char *job_id;              /* 32 hex digits */
    const char *job_name;
    const char *task_name;
    int subtask;              /* 0-based */
    int parallelism;          /* of this vertex */
    int consumer_parallelism; /* subtasks behind the main output's edge (its own when chained); 0: not known */
    int max_parallelism;
    int attempt;
    int key_group_first, key_group_count; /* this subtask's share */
    const char *const *arguments;         /* the job's, argument_count of them */
    int argument_count;
    struct weir_job_code *code;   /* NULL: the job has none */
    void *function;               /* vertex.function resolved in it, or NULL */
    const void *row_in, *row_out; /* struct weir_row_type (weir/weir.h), or NULL */
    void *function2, *on_timer;   /* process: of its second input, of timers; or NULL */
    const void *row_in2;
    const void *const *states; /* process: struct weir_state_decl, state_count of them */
    int state_count;
    const void *side_decls[2]; /* process: struct weir_side_decl of its side outputs, or NULL */
    struct weir_out *out;      /* main output; NULL for sinks */
    struct weir_out *sides[2]; /* NULL when nobody listens: rows for it are counted and dropped */
    int64_t watermark_ms;      /* the last one that this operator has seen */
    bool batch_mode;
    bool draining;   /* a reader of splits: it was told to end; what it has not read stays in its snapshot */
    bool input_over; /* a reader of splits: nobody gets any more, only what it has in hand is left */
    int64_t checkpoint_interval_ms; /* 0: not periodic */
    bool periodic;           /* the job makes checkpoints, again and again; else only when somebody asks for one */
    struct weir_error error; /* set it before FAILED */
    /* open() only: what snapshot() gave to the checkpoint that this attempt begins with; NULL: it begins from nothing. An operator asks
     * for its states by name: weir_restored_next(ctx->restored, ctx->plan->uid, "windows", NULL), until there is no other part. */
    const struct weir_restored *restored;
    /* For the spec of its states: what of them may be in memory. NULL: all of it. The driver settles it between batches, and fails the
     * operator when disk has failed it. */
    struct weir_state_memory *memory;
    struct weir_store *store;                    /* where checkpoints are; NULL: there is none */
    const struct weir_key_value *store_settings; /* s3.*: how stores are reached, that one and others */
    int store_setting_count;
    const char *object_name; /* of the task, for its objects: "<vertex>-<subtask>-<attempt>" */
    int chain_index;         /* which operator of the task this is, from 0: for objects of its own */
    struct weir_pool *pool;  /* for weir_op_call(); NULL: calls are made at once */
    void (*wake)(void *arg); /* the driver's: has the task called again; any thread */
    void *wake_arg;
    bool awaits_call; /* AGAIN waits for a wake: weir_op_call_ended() said no, or another source is behind */
    struct weir_alignment *alignment; /* ops/alignment.h; NULL: sources do not wait for each other */
    /* For crash reports, written by operators that call user code: the row of the batch in hand (-1: not known) and, where one
     * operator runs others that it absorbed, whose function it is (NULL: its own). */
    volatile int row_at_hand;
    const char *volatile op_at_hand;
    struct weir_task *task;
    /* Counters that the driver cannot keep. */
    uint64_t *num_records_bad;
    uint64_t *num_late_records_dropped;
    struct weir_op_numbers *numbers; /* NULL: nobody is interested */
    /* The driver's counters of this operator, or NULL: for an operator that does the work of others (absorb). */
    uint64_t *num_records_in;
    uint64_t *num_records_out;
};

/* True: return AGAIN before producing more (the output holds as many batches as it may). NULL is never full. */
bool weir_out_full(const struct weir_out *out);
/* Takes the reference; the batch must have rows, and be of the output's schema. NULL out: released. */
void weir_out_push(struct weir_out *out, struct weir_batch *batch);
/* Rows that were pushed and that no consumer of an ON_DEMAND edge has asked for yet: barriers go ahead of them. */
int64_t weir_out_undelivered(const struct weir_out *out);
/* Sources and watermark operators: event time's lower bound for what follows; ignored unless it rises. */
void weir_out_watermark(struct weir_out *out, int64_t watermark_ms);
/* Marks the output idle (true) or active again; a push makes it active. */
void weir_out_idle(struct weir_out *out, bool idle);

/* True when this call has used its time (about 1 ms). Cheap enough for every 64th row. */
bool weir_op_should_yield(struct weir_op_ctx *ctx);
/* Wall clock, ms; the same within one call. */
int64_t weir_op_now_ms(struct weir_op_ctx *ctx);
/* One processing-time timer per operator; the earliest wins; INT64_MAX clears it. */
void weir_op_set_timer(struct weir_op_ctx *ctx, int64_t when_ms);
/* A source with nothing to do waits for this fd to be readable (epoll); -1: none. */
void weir_op_wait_fd(struct weir_op_ctx *ctx, int fd);

/* What may block (a file's sync, the resolution of a name) runs on the executor's pool: see base/pool.h for who owns `take_arg`. The
 * task is called again when it has ended; weir_call_free() lets go of it. */
struct weir_call *weir_op_call(struct weir_op_ctx *ctx, weir_err (*run)(void *arg, struct weir_error *error),
                               void *take_arg, void (*free_arg)(void *arg));
/* False: a handler that cannot go on without it says AGAIN, a source that it made no progress. */
bool weir_op_call_ended(struct weir_op_ctx *ctx, const struct weir_call *call);

/* In end(): something to publish once the whole job has finished; `connector` will be asked to commit() it. All is copied; `segments` may be
 * NULL. */
void weir_op_add_committable(struct weir_op_ctx *ctx, const char *connector, const char *committable,
                             const struct weir_output_segments *segments);

/* NULL-terminated, sorted by name. */
extern const struct weir_op_vtable *const weir_ops[];
weir_err weir_op_find(const char *name, const struct weir_op_vtable **vtable, struct weir_error *error);

#endif
