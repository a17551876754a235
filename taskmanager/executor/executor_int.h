/* Between the executor's files. Everything belongs to the control thread, except where it says otherwise. */
#ifndef WEIR_EXECUTOR_EXECUTOR_INT_H
#define WEIR_EXECUTOR_EXECUTOR_INT_H

#include "control.pb-c.h"
#include "exchange/io_thread.h"
#include "executor/exec_core.h"
#include "executor/job_code.h"
#include "executor/local_copies.h"
#include "graph/plan.h"
#include "net/curve.h"
#include "state/memory.h"
#include "state/snapshot.h"
#include "store/store.h"
#include "task/worker.h"

struct weir_executor_location {   /* where a subtask runs, by the newest deployment that said so */
    uint32_t attempt;             /* 0: not known */
    char *executor_id, *endpoint; /* NULL: here */
    bool has_key;                 /* its public key is known */
    uint8_t key[WEIR_CURVE_KEY_SIZE];
};

struct weir_executor_op { /* an operator of the plan, resolved in this process */
    const struct weir_op_vtable *vtable;
    struct weir_op_plan plan;
    struct weir_key_value *options;
    void *function;
    const void *row_in, *row_out;
    void *function2, *on_timer; /* process */
    const void *row_in2;
    const void **states;
    int state_count;
    const void *side_decls[2];
};

struct weir_executor_fetch; /* executor_checkpoint.c */

struct weir_executor_task {
    struct weir_executor *executor;
    struct weir_exec_task_id id;
    struct weir_task *task;
    struct weir_worker *worker;
    struct weir_channel **channels; /* its ends of remote ones: one reference each, until weir_io_remove() */
    int channel_count;
    char *name;
    char *object_name; /* of its objects in the store: "<vertex>-<subtask>-<attempt>" */
    bool ended;
    struct weir_executor_fetch *fetch; /* what it begins with is being fetched: there is no `task` yet */
    uint64_t restored_checkpoint;      /* what it begins with; 0: nothing */
    struct weir_restored *restored;    /* until its operators are open; NULL: it begins from nothing */
    struct weir_executor_task *next;
};

struct weir_executor_local {   /* a local channel of which only one end is there yet */
    struct weir_channel *chan; /* a reference */
    uint32_t from_attempt, to_attempt;
    bool has_producer;
    struct weir_executor_task *first; /* whose end is there */
    struct weir_executor_local *next;
};

struct weir_executor {
    bool own_process;
    Weir__Control *start_control; /* keeps the strings */
    const Weir__ExecutorStart *start;
    const char *id, *job_id;
    struct weir_plan *plan;
    struct weir_executor_op *ops; /* plan->op_count */
    struct weir_link *links;      /* by edge of the graph */
    int link_count;
    struct weir_job_code *code;
    bool curve; /* data goes with CURVE: */
    struct weir_curve_pair keys;
    struct weir_io *io;
    struct weir_pool *pool;           /* for calls that block */
    struct weir_alignment *alignment; /* of its sources */
    struct weir_store *
        store; /* where checkpoints are, calls under way hold a reference each; NULL: execution.checkpointing.dir is not set */
    struct weir_key_value *store_settings; /* s3.*: how stores are reached; their texts are in `start` */
    struct weir_local_copies *local;       /* of what is in the store; NULL: none are made */
    int64_t checkpoint_interval_ms;
    bool periodic;              /* checkpoints are made, again and again; else there are those that somebody asks for */
    bool can_checkpoint;        /* the JobManager has somewhere to keep them */
    bool at_least_once;         /* the job's */
    bool unaligned;             /* barriers may overtake, */
    int64_t aligned_timeout_ns; /* when they are so old */
    struct weir_rocks *rocks;   /* for state beyond memory; NULL: all is in memory */
    size_t operator_memory;     /* then: for the state of each keyed operator of a slot */
    struct weir_worker **workers;
    int worker_count;
    int64_t buffer_timeout_ns;
    struct weir_executor_location *locations; /* plan->task_count */
    struct weir_executor_task *tasks;
    struct weir_executor_local *locals;
};

/* Schemas, options, functions of all operators. */
weir_err weir_executor_resolve_ops(struct weir_executor *executor, struct weir_error *error);
void weir_executor_free_ops(struct weir_executor *executor);
/* links.c */
weir_err weir_executor_make_links(struct weir_executor *executor, struct weir_error *error);
void weir_executor_free_links(struct weir_executor *executor);
const struct weir_link *weir_executor_link(const struct weir_executor *executor, const Weir__Edge *edge);
/* The edge in front of an operator that is not its chain's head: it has one. */
const struct weir_link *weir_executor_link_into(const struct weir_executor *executor, int op);
/* Rows of task->restored that were on their way go in front of its operators. */
weir_err weir_executor_replay(struct weir_executor_task *task, struct weir_chain *chain, struct weir_input *input,
                              struct weir_error *error);
/* Builds the task and connects its channels; it is not yet given to its worker. on_state and on_snapshot are called on the worker's
 * thread. */
weir_err weir_executor_build_task(struct weir_executor *executor, struct weir_executor_task *task,
                                  void (*on_state)(void *arg, struct weir_task *task, enum weir_task_state state,
                                                   const struct weir_error *error, int op),
                                  void (*on_snapshot)(void *arg, struct weir_snapshot *take_snapshot),
                                  struct weir_error *error);
/* Forgets local channels that wait for their other end, when this one is over. */
void weir_executor_drop_locals(struct weir_executor *executor, const struct weir_executor_task *task);

#endif
