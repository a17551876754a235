/* Shared by the chain*.c files only. Everything belongs to the task's worker. */
#ifndef WEIR_TASK_CHAIN_INT_H
#define WEIR_TASK_CHAIN_INT_H

#include "ops/op_numbers.h"
#include "state/memory.h"
#include "task/chain.h"

#define OUT_ITEMS_MAX 64      /* of a queue: batches are bounded by weir_out_full(), control items collapse */
#define WEIR_OUT_OVERDRAFT 20 /* batches more, so that what is half done can be done when a barrier waits for it */
#define OUTPUTS 3
#define COMMITTABLES_MAX 256

struct op_node;

struct weir_out {
    struct op_node *node;
    struct op_node **children;
    int child_count;
    struct weir_edge_writer **writers;
    int writer_count;
    struct weir_item items[OUT_ITEMS_MAX];
    int first, count;
    int batches, batches_max;
    bool *taken; /* who has taken items[first]: children, then writers */
    bool partly; /* somebody has */
    bool idle, ended;
    int64_t watermark_ms;
    uint64_t records, edge_records;
};

struct op_node {
    struct weir_op_ctx ctx;
    struct weir_chain *chain;
    const struct weir_op_vtable *vtable;
    struct weir_op *state;
    int index;
    struct weir_out *outs[OUTPUTS];
    struct weir_item item; /* the inbox; NONE: empty */
    bool begun;            /* its handler has seen the item */
    bool in_timer;         /* timer() said AGAIN */
    bool waiting;          /* the item's handler has nothing to do before its timer or fd */
    bool open, ended;
    bool halted;                      /* behind a barrier that nothing follows */
    struct op_node *absorbed;         /* its only child, whose work this one does: it pushes into the child's output */
    const struct weir_link *link;     /* the edge to it in the chain; NULL: the head, or nothing overtakes there */
    struct weir_inflight_list replay; /* of a checkpoint: goes before what its upstream gives */
    int cut_row;                      /* of the batch in hand: rows before it are done */
    int64_t timer_ms;
    int wait_fd;
    uint64_t pushes; /* counts items put into the outputs, to see whether a call did something */
    uint64_t records_in, records_bad, late_dropped;
    uint64_t records_out_extra; /* that an operator counted for this one, whose work it does */
    struct weir_op_counters counters;
    struct weir_op_numbers numbers;
};

struct weir_chain {
    struct op_node *nodes;
    int op_count;
    int input_count;
    int64_t now_ns, deadline_ns, now_ms;
    int64_t report_ns; /* when operators are asked for their numbers next; INT64_MAX: none has any */
    bool now_ms_known;
    bool producing; /* the head is a source that is not at its end */
    bool source_waits;
    enum weir_chain_state state;
    int failed_op;
    struct weir_error error;
    struct weir_chain_committable committables[COMMITTABLES_MAX];
    int committable_count;
    struct weir_snapshot *snapshot; /* of the barrier that is on its way; NULL: none is */
    int snapshot_missing;           /* operators that it has not passed */
    uint64_t complete;              /* the newest complete checkpoint that a barrier named */
    struct weir_barrier injected;   /* waits for room behind the source; checkpoint 0: none */
    struct weir_barrier
        passing;    /* goes through all operators at once, when it can: chain_barrier.c; checkpoint 0: none */
    bool overdue;   /* it waits for nothing but what is half done */
    bool hands_out; /* its output is ON_DEMAND */
    bool drained;   /* a source that was told to end feeds it, or is in it */
    void (*on_snapshot)(void *arg, struct weir_snapshot *take_snapshot);
    void *on_snapshot_arg;
    struct weir_capture **captures; /* that are not done */
    int capture_count;
    int64_t capture_ns; /* when they are to go on */
};

/* --- chain.c */

/* The operator gives its state; behind the last one the snapshot is whole. */
void weir_chain_take_snapshot(struct op_node *node, const struct weir_barrier *barrier);

/* --- chain_barrier.c */

/* While a barrier waits to pass: the operator begins nothing new. */
bool weir_chain_holds(const struct op_node *node);

/* --- chain_capture.c */

void weir_chain_adopt_captures(struct weir_chain *chain, const struct weir_snapshot *snapshot);
/* A slice of them, when its time has come. True: it did something. */
bool weir_chain_step_captures(struct weir_chain *chain);
void weir_chain_finish_captures(struct weir_chain *chain); /* now, whatever it takes */
void weir_chain_free_captures(struct weir_chain *chain);

#endif
