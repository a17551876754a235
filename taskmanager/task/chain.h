/* The driver of a task's tree of operators.
 *
 * Each operator has an inbox for one item and up to three outputs. An output is a short queue; its items go in order, by reference,
 * to the chained operators behind it and to the writers of its edges; the next one goes when all have taken the one before.
 * What is further down runs first, so that at most a few batches are inside a chain. An operator runs only when
 * all its outputs have room, which is how backpressure reaches the source.
 *
 * Implements weir_out_*() and weir_op_*() of ops/op.h. Owned by the task's worker thread; counters may be read by any thread
 * once weir_chain_publish() has put them out.
 */
#ifndef WEIR_TASK_CHAIN_H
#define WEIR_TASK_CHAIN_H

#include "exchange/edge_writer.h"
#include "ops/op.h"
#include "state/output_segments.h"

#define WEIR_OUT_BATCHES_MAX 2 /* an output with so many is full */

struct weir_chain;

struct weir_chain_op {
    const struct weir_op_vtable *vtable;
    int upstream;           /* index in this chain, before this one; -1: the head */
    int upstream_output;    /* 0 main, 1, 2 */
    struct weir_op_ctx ctx; /* a template: names, numbers, code; the chain sets out, sides, counters and the rest */
    const struct weir_link *link; /* to it from its upstream, borrowed; NULL: the head, or nothing overtakes there */
};
struct weir_chain_options {
    const struct weir_chain_op *ops;
    int op_count;
    int input_count;        /* of the head; 0: it is a source and produces */
    int batches_max;        /* of an output; 0: WEIR_OUT_BATCHES_MAX */
    struct weir_task *task; /* for ctx.task; may be NULL */
    /* A barrier has passed every operator: what they gave, owned by the callee. On the worker. NULL: it is dropped. */
    void (*on_snapshot)(void *arg, struct weir_snapshot *take_snapshot);
    void *on_snapshot_arg;
};
struct weir_chain *weir_chain_new(const struct weir_chain_options *options);
/* Before open. Output `output` of `op` goes to this edge, too. The chain owns the writer from now on. */
void weir_chain_add_writer(struct weir_chain *chain, int op, int output, struct weir_edge_writer *take_writer);
/* Opens the operators from the end to the head. On error some are open; close either way. */
weir_err weir_chain_open(struct weir_chain *chain, struct weir_error *error);
/* Closes what was opened. */
void weir_chain_close(struct weir_chain *chain, bool finished);
void weir_chain_free(struct weir_chain *chain);

/* --- Running. Times are monotonic ns. */

enum weir_chain_state {
    WEIR_CHAIN_RUNNING,
    WEIR_CHAIN_FINISHED, /* the end has left every output, gathered rows too */
    WEIR_CHAIN_FAILED    /* weir_chain_error() */
};
/* Begins a call: until when handlers may work. */
void weir_chain_begin(struct weir_chain *chain, int64_t now_ns, int64_t deadline_ns);
/* Moves items until nothing moves or the time is up. True: something moved. */
bool weir_chain_run(struct weir_chain *chain);
/* The head has no item and room behind it. */
bool weir_chain_wants_input(const struct weir_chain *chain);
/* A barrier for a head that is a source: between two calls, ahead of the item that it may have in hand; or one that may overtake, which
 * passes all operators at once. One at a time: false while the last one is on its way through the operators. */
bool weir_chain_inject(struct weir_chain *chain, const struct weir_barrier *barrier);
bool weir_chain_may_inject(const struct weir_chain *chain);
/* It may pass now: the chain is empty, or it is due and nothing is half done. True: pass it, before anything else is done. A task that is about
 * to be FINISHED gives it up. */
bool weir_chain_may_pass(struct weir_chain *chain, int64_t now_ns);
struct weir_barrier weir_chain_passing(const struct weir_chain *chain); /* checkpoint 0: none waits to pass */
/* What the head has of its input and has not worked on, to be recorded before what is in the channels: a reference, or NULL. */
struct weir_batch *weir_chain_in_hand(const struct weir_chain *chain);
/* All operators give their states; what the barrier overtakes in the chain and in its outputs goes into `rows`. */
void weir_chain_pass(struct weir_chain *chain, struct weir_inflight *rows);
/* Before open. Rows that a barrier overtook in front of operator `op`, which is not the head. */
void weir_chain_replay(struct weir_chain *chain, int op, struct weir_inflight_list *take_list);
int weir_chain_subtask(const struct weir_chain *chain);
/* Whole snapshots go to `on_snapshot` from now on; *before: to whom they would have gone. */
void weir_chain_intercept(struct weir_chain *chain, void (*on_snapshot)(void *arg, struct weir_snapshot *take_snapshot),
                          void *arg, void (**before)(void *arg, struct weir_snapshot *take_snapshot),
                          void **before_arg);
bool weir_chain_head_is_source(const struct weir_chain *chain);
/* Gives the head one item (its batch's reference too); wants_input() must have said yes. */
void weir_chain_give(struct weir_chain *chain, const struct weir_item *item);
/* This checkpoint is in HEAD, with what the operators gave to it: those that have complete() are told. */
void weir_chain_complete(struct weir_chain *chain, uint64_t checkpoint);
/* FINISHED, before it is closed: the last snapshot, with everything that is to be committed. `tables`: keyed states are in it although its
 * sources came to their end by themselves. NULL: an operator could not give it, weir_chain_error(). */
struct weir_snapshot *weir_chain_last_snapshot(struct weir_chain *chain, bool tables);
/* The last item given was consumed by the head. */
bool weir_chain_head_idle(const struct weir_chain *chain);
/* The head reads splits: none follow the one that it works on. */
void weir_chain_input_over(struct weir_chain *chain);
/* Behind a barrier that nothing follows. */
bool weir_chain_halted(const struct weir_chain *chain);
/* Gathered rows leave: all when `dry`, else those that are old enough. True: something left. */
bool weir_chain_flush(struct weir_chain *chain, bool dry);
enum weir_chain_state weir_chain_state(const struct weir_chain *chain);
/* An output waits for room in a channel. */
bool weir_chain_backpressured(const struct weir_chain *chain);
/* The earliest of timers (wall clock, as ns of the monotonic clock from now) and flushes; INT64_MAX: none. */
int64_t weir_chain_due_ns(const struct weir_chain *chain, int64_t now_ns);
/* The failed operator's error; *op: its index in the chain, -1: a channel's. */
const struct weir_error *weir_chain_error(const struct weir_chain *chain, int *op);
/* The fd that the source wants to wait for, or -1. Only when its last call made no progress. */
int weir_chain_wait_fd(const struct weir_chain *chain);

/* What end() asked to be committed. */
struct weir_chain_committable {
    char *connector, *text;
    struct weir_output_segments segments;
};
int weir_chain_committables(const struct weir_chain *chain, const struct weir_chain_committable **committables);

/* --- Counters */
struct weir_op_counters {
    _Atomic uint64_t records_in, records_out, records_bad, late_dropped;
    _Atomic int64_t watermark_in_ms, watermark_out_ms;
};
/* Puts the numbers out for other threads. */
void weir_chain_publish(struct weir_chain *chain);
/* Asks operators for their numbers when it is time to, or because the task ends. */
void weir_chain_report(struct weir_chain *chain, int64_t now_ns, bool at_end);
struct weir_op_numbers *weir_chain_numbers(const struct weir_chain *chain, int op);
const struct weir_op_counters *weir_chain_counters(const struct weir_chain *chain, int op);
uint64_t weir_chain_bytes_out(const struct weir_chain *chain);   /* the worker only */
uint64_t weir_chain_records_out(const struct weir_chain *chain); /* rows given to edges; the worker only */

#endif
