/* Output in transactions that sinks hold open until its checkpoint is complete (Committable.transaction): they are told when it is. Pure, as all of core. */
#include "jobmanager/core/jm_checkpoint_int.h"

/* Has its part, of this checkpoint, output in a transaction that waits for HEAD? */
static bool has_transaction(const struct checkpoint *checkpoint, int t)
{
    const Weir__Control *report = checkpoint->reports[t];
    const Weir__SubtaskSnapshot *part = report ? report->checkpoint_report->snapshot : NULL;
    for (size_t i = 0; part && i < part->n_committables; i++)
        if (part->committables[i]->transaction[0])
            return true;
    return false;
}

static bool is_told(const struct weir_jm_job *job, int t, const struct checkpoint *checkpoint, const void *arg)
{
    (void)arg;
    return has_transaction(checkpoint, t) &&
           checkpoint->reports[t]->checkpoint_report->task->attempt == job->tasks[t].attempt;
}

/* To who holds transactions open until then. Only to the attempts whose parts these are: what another has open is no part of this checkpoint. Whether
 * it comes does not matter: what they do not commit is published from the log. */
void weir_jm_transactions_complete(struct weir_jm *jm, struct weir_jm_job *job, const struct checkpoint *checkpoint)
{
    for (int e = 0; e < jm->executor_count; e++) {
        struct weir_jm_executor *executor = jm->executors[e];
        Weir__CheckpointComplete message;
        weir__checkpoint_complete__init(&message);
        message.n_tasks = weir_jm_running_on(jm, job, executor, checkpoint, is_told, NULL, &message.tasks);
        if (message.n_tasks == 0)
            continue;
        message.executor_id = executor->id;
        message.checkpoint = checkpoint->id;
        Weir__Control control;
        weir__control__init(&control);
        control.body_case = WEIR__CONTROL__BODY_CHECKPOINT_COMPLETE;
        control.checkpoint_complete = &message;
        weir_jm_command(jm, executor->tm, &control);
    }
}
