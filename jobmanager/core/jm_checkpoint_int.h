/* Between jm_checkpoint.c, jm_savepoint.c and jm_recover.c only: what the coordinator knows of a job. */
#ifndef WEIR_JOBMANAGER_CORE_JM_CHECKPOINT_INT_H
#define WEIR_JOBMANAGER_CORE_JM_CHECKPOINT_INT_H

#include "jobmanager/core/jm_int.h"

#define IDS_RESERVED 4 /* beyond the next one: every complete checkpoint reserves anew, so only failures use them up */
#define ATTEMPTS_RESERVED 8
#define PENDING_MAX 8       /* less than WEIR_JM_CHECKPOINTS_KEPT */
#define FINAL_AGAIN_MS 1000 /* from a last checkpoint that failed to the next attempt */

/* Output that waits to be published: no checkpoint begins by the interval beside so many, and people are told after so long. */
#define OUTPUTS_WAITING 2
#define OUTPUT_SLOW_MS 30000
#define OUTPUT_SLOW "checkpoints wait for output to be published: "

enum checkpoint_state {
    CHECKPOINT_TRIGGERED,
    CHECKPOINT_EXPORTING, /* of a savepoint: what it needs is copied to its directory */
    CHECKPOINT_WRITING,
    CHECKPOINT_WRITTEN,
    CHECKPOINT_IN_HEAD
};
enum {
    FLAG_SAVEPOINT = 1,
    FLAG_STOP = 2,
    FLAG_DRAIN = 4,
    FLAG_OVERTAKES = 8, /* whatever the mode, soon */
    FLAG_IN_ORDER = 16  /* not where another parallelism would lose the order of rows */
};                      /* enum weir_barrier_flags (taskmanager/exchange/channel.h) */

enum {
    WEIR_JM_KIND_SUBTASK = 1,
    WEIR_JM_KIND_SPLIT = 2,
    WEIR_JM_KIND_UNION = 3,
    WEIR_JM_KIND_KEYED = 4,
    WEIR_JM_KIND_ROWS_KEYED = 5,
    WEIR_JM_KIND_ROWS = 6
}; /* enum weir_state_kind */

/* The objects that a checkpoint needs. */
struct references {
    bool unknown; /* its metadata cannot be read: it is taken to need everything */
    char **keys;  /* sorted; one may be there twice */
    int key_count;
    Weir__Snapshot *snapshot; /* owned, of a retained one; NULL: it could not be read */
};

struct checkpoint {
    uint64_t id;
    enum checkpoint_state state;
    bool final;     /* with it the job is at its end: its tasks have all FINISHED, or nothing follows its barrier */
    uint64_t named; /* by its barrier: the newest complete one then; 0: none */
    uint32_t flags;
    char *target; /* where it is a savepoint; NULL: it is none */
    bool import;  /* what the job begins with, from elsewhere */
    int64_t triggered_ms, triggered_wall_ms, deadline_ms;
    int missing;   /* subtasks whose part is not here */
    uint64_t base; /* the complete one that its trigger named: parts may need what that one has, and what it needs */
    struct references base_needs;
    Weir__Control **reports;  /* by task: CheckpointReport, or NULL */
    Weir__Snapshot *snapshot; /* from WRITING on */
    struct references needs;  /* of that snapshot */
    struct weir_jm_retained entry;
};

struct released { /* what a checkpoint needed that HEAD named, and names no more */
    uint64_t id;
    int64_t at_ms; /* it goes then */
    char **keys;   /* sorted */
    int key_count;
};
struct left { /* a corrupt one that the job has gone back from: HEAD names it until it is written anew */
    struct weir_jm_retained entry;
    struct references references;
};
struct passed { /* an id below HEAD's floor that no complete checkpoint has: what bears it is looked for then */
    uint64_t id;
    int64_t at_ms;
};
struct search {      /* a listing under way, page by page */
    uint64_t number; /* 0: there is none */
    uint64_t id;     /* below the directory of this checkpoint; 0: of the whole job */
    uint64_t floor;  /* then: what is below is garbage for a grace, if nothing needs it */
    int found;       /* objects that were garbage */
    bool young;      /* there is some whose grace is not over */
};

struct job_checkpoints {
    struct weir_head head;
    bool head_dirty;
    uint64_t next_id, reserved_to, reserving_to; /* ids below reserved_to may be used */
    int64_t created_in_doubt_ms;                 /* when the last write that was to make HEAD had no answer; 0: never */
    struct checkpoint *pending[PENDING_MAX];     /* by id */
    int pending_count;
    int64_t next_trigger_ms; /* NEVER_MS: not all tasks run */
    int64_t
        pause_until_ms; /* min-pause after the last end; with a last checkpoint that failed: when it is tried again */
    int64_t failures;   /* one after the other */
    const Weir__Snapshot *latest;            /* of the newest retained one; NULL: none yet */
    struct references *references;           /* by job->retained */
    uint64_t oldest_written, oldest_writing; /* the oldest checkpoint that HEAD names */
    uint64_t floor_written, floor_writing;   /* HEAD's gc_floor: as it is there, as the write under way says */
    uint64_t garbage_from;                   /* ids below have been looked at */
    struct released *released;               /* by time */
    int released_count, released_keys;       /* keys: of all of them */
    int64_t forgotten_until_ms;              /* more was released, too much to know: its grace is over then */
    struct left *left;
    int left_count, left_writing; /* left_writing of them, the first ones, are not in the HEAD that is being written */
    struct passed *passed;
    int passed_count;
    struct search search;
    int64_t sweep_at_ms;  /* the next search of the whole job; 0: not set yet */
    bool sweep_is_fixed;  /* its floor is; else it is then, and the search a grace later */
    uint64_t sweep_floor; /* HEAD's when it was fixed */
    bool end_is_swept;    /* a search is set for after the job's end */
    uint64_t committed_upto;
    uint32_t *subtasks_max; /* by vertex: the highest count that was ever deployed, also before a rescale */
    size_t subtasks_max_count;
    uint64_t *reported;    /* by task: the newest barrier that it has spoken of */
    bool *output_complete; /* by task: a complete checkpoint has brought the output of its FINISHED report */
    bool final_begun;
    uint8_t *head_bytes; /* of the write under way */
    size_t head_size;
    uint32_t attempts_to,
        attempts_writing; /* attempts below may be deployed: as HEAD says, as the write under way says */
    enum weir_job_state state_written, state_writing; /* likewise the job's state */
    uint32_t tasks_written, tasks_writing;            /* likewise of which tasks: job->tasks_version */
    uint64_t epoch_seen;                              /* of HEAD when it was last looked at in doubt */
    uint64_t draining;                                /* sources were told to end, with this id; 0: they were not */
    bool savepoint_waits;                             /* for the end of the checkpoint that is under way */
    bool output_is_slow;                              /* no checkpoint has begun for long because of it */
    uint64_t drain_restarts;                          /* of the job's regions, when they were told */
    char *drain_target;                               /* of the savepoint that the last checkpoint is then */
    char *claimed;                                    /* savepoint that goes when the job has a checkpoint of its own */
    bool taking_over; /* an earlier JobManager's job: the first write of HEAD fences that one */
};

/* jm_checkpoint.c: how many run, when the others have FINISHED; 0: not all are up, or none is left. */
int weir_jm_running_tasks(const struct weir_jm_job *job);
/* jm_checkpoint.c: ids that HEAD allows are there, and room for what is not committed yet. */
bool weir_jm_checkpoint_may_begin(const struct weir_jm_job *job);
/* jm_checkpoint.c: so many subtasks of each vertex are deployed, or were. Where there are other vertices now, the most of any counts for each. */
void weir_jm_checkpoint_deployed(struct job_checkpoints *c, const uint32_t *counts, size_t count);
/* jm_checkpoint.c: sends the barriers of a checkpoint. `take_target`: it is a savepoint there, or NULL. */
struct checkpoint *weir_jm_checkpoint_trigger(struct weir_jm *jm, struct weir_jm_job *job, uint32_t flags,
                                              char *take_target);
/* jm_checkpoint.c: tells sources to end (`of` NULL), or those that `of` fed and that are sources now. */
void weir_jm_checkpoint_drain(struct weir_jm *jm, struct weir_jm_job *job, const struct weir_jm_task *of);
/* jm_savepoint.c: says for each sink what comes before its output, for whoever begins with this. */
void weir_jm_savepoint_order(const struct weir_jm_job *job, Weir__Snapshot *whole);
/* jm_savepoint.c */
bool weir_jm_savepoint_pending(const struct job_checkpoints *c);
void weir_jm_savepoint_export(struct weir_jm *jm, const struct weir_jm_job *job, const struct checkpoint *checkpoint);
/* It is complete, or has failed and is freed afterwards. */
void weir_jm_savepoint_complete(struct weir_jm *jm, struct weir_jm_job *job, const struct checkpoint *checkpoint);
void weir_jm_savepoint_failed(struct weir_jm *jm, struct weir_jm_job *job, const struct checkpoint *checkpoint,
                              const char *why);
/* jm_checkpoint.c: begins one now; its id, or that of one under way that answers as well. 0: not at this moment, because of *wait. */
uint64_t weir_jm_checkpoint_now(struct weir_jm *jm, struct weir_jm_job *job, const char **wait);
/* jm_garbage.c: HEAD names it no more (nor does job->retained); its floor was raised; what is due goes; when more is due. */
void weir_jm_garbage_release(struct weir_jm *jm, struct weir_jm_job *job, const struct weir_jm_retained *entry,
                             const struct references *references);
/* job->retained[index] is left, and HEAD is to say so; the write under way does; it has. */
void weir_jm_garbage_leave(struct weir_jm_job *job, int index);
void weir_jm_garbage_leaving(struct job_checkpoints *c);
void weir_jm_garbage_left(struct weir_jm *jm, struct weir_jm_job *job);
void weir_jm_garbage_floor(struct weir_jm *jm, struct weir_jm_job *job);
/* The whole job is looked through when a grace is over. */
void weir_jm_garbage_sweep_soon(struct weir_jm *jm, struct weir_jm_job *job);
void weir_jm_garbage_passed(struct weir_jm_job *job, uint64_t id, int64_t at_ms);
void weir_jm_garbage_free(struct job_checkpoints *c);
void weir_jm_garbage_due(struct weir_jm *jm, struct weir_jm_job *job);
int64_t weir_jm_garbage_wake_ms(const struct weir_jm *jm, const struct weir_jm_job *job);
struct references weir_jm_references_of(const Weir__Snapshot *snapshot);
void weir_jm_references_free(struct references *references);
/* It has ended, and HEAD names all that it ever will. */
bool weir_jm_garbage_is_settled(const struct weir_jm_job *job);
/* What the checkpoint builds on, which must not go before it has ended. */
void weir_jm_garbage_base(const struct weir_jm_job *job, struct checkpoint *checkpoint);
/* It has ended, and by its retention nothing of its checkpoints is kept. */
bool weir_jm_garbage_keeps_nothing(const struct weir_jm_job *job);
/* jm_checkpoint.c: it is complete, and the newest. NULL: its snapshot cannot be read, and is taken to need everything before it. */
void weir_jm_checkpoint_retain(struct weir_jm_job *job, const struct weir_jm_retained *entry,
                               Weir__Snapshot *take_snapshot);

/* Of the job's tasks that run on this executor those that are wanted; how many. The list is the arena's; NULL where there are none. */
size_t weir_jm_running_on(struct weir_jm *jm, struct weir_jm_job *job, const struct weir_jm_executor *executor,
                          const struct checkpoint *checkpoint,
                          bool (*wanted)(const struct weir_jm_job *job, int t, const struct checkpoint *checkpoint,
                                         const void *arg),
                          const void *arg, Weir__TaskId ***list);

/* --- jm_transactions.c */
/* It is in HEAD: to who holds output of it in open transactions. */
void weir_jm_transactions_complete(struct weir_jm *jm, struct weir_jm_job *job, const struct checkpoint *checkpoint);

#endif
