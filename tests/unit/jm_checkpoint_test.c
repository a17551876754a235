/* jobmanager/core/jm_checkpoint.c along the plain paths and at each state's edge: one TaskManager, a job of a source and a sink with two
 * subtasks each (one region; or, chained, two regions of one task), and an object store that a test answers for by hand. (What many of them
 * do at once, with faults, is tests/sim's.)
 */
#include "jm_kit.h"

/* --- Tests */

static void from_trigger_to_commit(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    submit(&rig, WEIR__PARTITION__REBALANCE);
    assert_int_equal(rig.head_puts, 1);
    assert_int_equal(rig.head->next_checkpoint, 5);              /* ids 1 to 4 may be used when it is there */
    assert_null(last(&rig, WEIR__CONTROL__BODY_START_EXECUTOR)); /* nothing before it */
    head_put(&rig, WEIR_HEAD_PUT_OK);
    executor_ready(&rig);
    const Weir__Control *deploy = last(&rig, WEIR__CONTROL__BODY_DEPLOY_TASKS);
    assert_non_null(deploy);
    assert_int_equal(deploy->deploy_tasks->n_restores, 0);
    for (int t = 0; t < 4; t++) {
        pass(&rig, 300); /* longer than an interval in all: it begins when all run */
        assert_null(last(&rig, WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT));
        task_report(&rig, t, WEIR__TASK_STATE__RUNNING);
    }
    assert_int_equal(rig.wake_at_ms, rig.now_ms + INTERVAL_MS);
    pass(&rig, INTERVAL_MS - 1);
    assert_null(last(&rig, WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT));
    pass(&rig, 1);
    const Weir__Control *trigger = last(&rig, WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT);
    assert_non_null(trigger);
    assert_int_equal(trigger->trigger_checkpoint->checkpoint, 1);
    assert_int_equal(trigger->trigger_checkpoint->complete, 0);
    assert_int_equal(trigger->trigger_checkpoint->n_tasks, 2); /* the sources */
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(trigger->trigger_checkpoint->tasks[i]->vertex, 0);

    for (int t = 0; t < 4; t++) {
        assert_int_equal(rig.puts, 0);
        assert_int_equal(job(&rig)->checkpoints[0].acknowledged, t);
        checkpoint_report(&rig, t, 1, 1, NULL);
        if (t < 3) /* a repeat of what the control's ids let through counts once */
            checkpoint_report(&rig, t, 1, 1, NULL);
    }
    assert_int_equal(rig.puts, 1);
    assert_int_equal(rig.metadata->n_parts, 4);
    assert_int_equal(rig.metadata->n_committables, 4);
    assert_int_equal(rig.head_puts, 1); /* not before the metadata is durable */
    stored(&rig, 1, NULL);
    assert_int_equal(rig.head_puts, 2);
    assert_int_equal(rig.head->n_retained, 1);
    assert_int_equal(rig.head->retained[0]->id, 1);
    assert_int_equal(rig.head->retained[0]->size_bytes, 40);
    assert_int_equal(strlen(rig.head->retained[0]->sha256), 64);
    assert_int_equal(rig.head->committed_upto, 0);
    assert_null(last(&rig, WEIR__CONTROL__BODY_COMMIT_OUTPUT)); /* not before HEAD names it */
    assert_int_equal(job(&rig)->retained_count, 0);
    head_put(&rig, WEIR_HEAD_PUT_OK);
    assert_int_equal(job(&rig)->retained_count, 1);
    assert_int_equal(job(&rig)->checkpoints[0].status, WEIR_JM_CHECKPOINT_COMPLETED);
    const Weir__Control *commit = last(&rig, WEIR__CONTROL__BODY_COMMIT_OUTPUT);
    assert_non_null(commit);
    assert_int_equal(commit->commit_output->checkpoint, 1);
    assert_int_equal(commit->commit_output->n_committables, 4);
    commit_done(&rig, 1, false);
    make_complete(&rig, 2);
    assert_int_equal(rig.head->committed_upto, 1); /* rode on that write */
    assert_int_equal(rig.head->n_retained, 1);
    assert_int_equal(rig.head->gc_floor, 2);
    assert_int_equal(rig.dropped_count, 1);
    assert_int_equal(rig.dropped[0], 1);
    assert_int_equal(last(&rig, WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT)->trigger_checkpoint->complete, 1);
    rig_fini(&rig);
}

/* Who holds transactions open is told when HEAD names the checkpoint, not before; who holds none is not. */
static void open_transactions_are_told(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    bring_up(&rig, WEIR__PARTITION__REBALANCE);
    make_complete(&rig, 1);
    assert_null(last(&rig, WEIR__CONTROL__BODY_CHECKPOINT_COMPLETE));
    rig.transactions = 1u << 2 | 1u << 3;
    commit_done(&rig, 1, false);
    pass(&rig, INTERVAL_MS);
    checkpoint_report(&rig, 0, 1, 2, NULL);
    checkpoint_report(&rig, 1, 1, 2, NULL);
    checkpoint_report(&rig, 2, 1, 2, NULL);
    rig.transactions = 1u << 2;
    checkpoint_report(&rig, 3, 1, 2, NULL);
    stored(&rig, 2, NULL);
    assert_null(last(&rig, WEIR__CONTROL__BODY_CHECKPOINT_COMPLETE));
    head_put(&rig, WEIR_HEAD_PUT_OK);
    const Weir__Control *told = last(&rig, WEIR__CONTROL__BODY_CHECKPOINT_COMPLETE);
    assert_non_null(told);
    assert_int_equal(told->checkpoint_complete->checkpoint, 2);
    assert_int_equal(told->checkpoint_complete->n_tasks, 1);
    assert_int_equal(told->checkpoint_complete->tasks[0]->vertex, job(&rig)->tasks[2].vertex);
    assert_int_equal(told->checkpoint_complete->tasks[0]->subtask, job(&rig)->tasks[2].subtask);
    assert_int_equal(told->checkpoint_complete->tasks[0]->attempt, 1);
    assert_string_equal(told->checkpoint_complete->executor_id, job(&rig)->tasks[2].executor_id);
    assert_string_equal(rig.metadata->committables[2]->transaction, "t2-2"); /* whoever publishes knows */
    rig_fini(&rig);
}

/* Stale, late, about nothing. */
static void reports_that_do_not_count(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    assert_int_equal(job(&rig)->task_count, 2);
    checkpoint_report(&rig, 0, 1, 1, NULL); /* not begun */
    pass(&rig, INTERVAL_MS);
    checkpoint_report(&rig, 0, 7, 1, NULL); /* another attempt */
    checkpoint_report(&rig, 0, 1, 2, NULL); /* another checkpoint */
    checkpoint_report(&rig, 1, 1, 1, NULL);
    assert_int_equal(rig.puts, 0);
    checkpoint_report(&rig, 0, 1, 1, NULL);
    assert_int_equal(rig.puts, 1);
    checkpoint_report(&rig, 0, 1, 1, "late"); /* it has given its part: nothing fails */
    stored(&rig, 9, NULL);
    assert_int_equal(rig.head_puts, 1);
    stored(&rig, 1, NULL);
    stored(&rig, 1, "late");
    head_got(&rig, WEIR_HEAD_GET_ABSENT, NULL); /* nobody asked */
    assert_int_equal(job(&rig)->checkpoints_completed, 0);
    head_put(&rig, WEIR_HEAD_PUT_OK);
    head_put(&rig, WEIR_HEAD_PUT_UNKNOWN);
    assert_int_equal(job(&rig)->checkpoints_completed, 1);
    assert_int_equal(job(&rig)->checkpoints_failed, 0);
    assert_int_equal(rig.head_gets, 0);
    rig_fini(&rig);
}

static void pause_and_one_at_a_time(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.options.checkpoint_pause_ms = 5000;
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    pass(&rig, INTERVAL_MS);
    assert_non_null(last(&rig, WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT));
    forget(&rig);
    pass(&rig, 3 * INTERVAL_MS); /* it is under way all the time */
    report_all(&rig, 1);
    stored(&rig, 1, NULL);
    head_put(&rig, WEIR_HEAD_PUT_OK);
    commit_done(&rig, 1, false);
    assert_null(last(&rig, WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT));
    pass(&rig, 4999);
    assert_null(last(&rig, WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT));
    pass(&rig, 1);
    assert_int_equal(last(&rig, WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT)->trigger_checkpoint->checkpoint, 2);
    rig_fini(&rig);
}

static void failures_are_counted(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.options.checkpoints_tolerable = 2;
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    pass(&rig, INTERVAL_MS);
    checkpoint_report(&rig, 1, 1, 1, "no room on the disk");
    assert_int_equal(job(&rig)->checkpoints_failed, 1);
    assert_string_equal(job(&rig)->checkpoints[0].failure, "no room on the disk");
    pass(&rig, INTERVAL_MS);
    report_all(&rig, 2);
    stored(&rig, 2, "503");
    assert_int_equal(job(&rig)->checkpoints_failed, 2);
    assert_int_equal(job(&rig)->state, WEIR_JOB_RUNNING);
    pass(&rig, INTERVAL_MS);
    report_all(&rig, 3); /* one that succeeds: counted from zero again */
    stored(&rig, 3, NULL);
    head_put(&rig, WEIR_HEAD_PUT_OK);
    assert_int_equal(rig.deleted_count, 0); /* 1 and 2 are looked for, now that HEAD's floor has passed them */
    assert_string_equal(rig.listed, "jobs/" JOB "/chk-1/");
    list_page(&rig, false, 0, (const char *const[]){"chk-1/0-0-1", NULL});
    assert_string_equal(rig.listed, "jobs/" JOB "/chk-2/");
    list_page(&rig, false, 0, (const char *const[]){"chk-2/0-0-1", "chk-2/metadata", NULL});
    assert_int_equal(rig.deleted_count, 3);
    assert_int_equal(rig.sweeps, 2);
    pass(&rig, INTERVAL_MS);
    checkpoint_report(&rig, 0, 1, 4, "again");
    pass(&rig, INTERVAL_MS);
    pass(&rig, 29999);
    assert_int_equal(job(&rig)->checkpoints_failed, 3);
    pass(&rig, 1); /* execution.checkpointing.timeout */
    assert_int_equal(job(&rig)->checkpoints_failed, 4);
    assert_non_null(strstr(job(&rig)->checkpoints[1].failure, "2 of 2 subtasks"));
    assert_int_equal(job(&rig)->state, WEIR_JOB_RUNNING);
    checkpoint_report(&rig, 0, 1, 6, "and again");
    assert_int_equal(job(&rig)->state, WEIR_JOB_FAILING);
    assert_string_equal(job(&rig)->cause->kind, "CheckpointsFailed");
    assert_non_null(strstr(job(&rig)->cause->message, "tolerable-failed-checkpoints"));
    rig_fini(&rig);
}

/* Several under way expire together, and the first costs the job. */
static void failure_of_several(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.options.checkpoints_concurrent = 4;
    rig.options.checkpoint_timeout_ms = 3500;
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    for (int i = 0; i < 4; i++)
        pass(&rig, INTERVAL_MS);
    pass(&rig, 20000);
    assert_int_equal(job(&rig)->state, WEIR_JOB_FAILING);
    assert_int_equal(job(&rig)->checkpoints_failed, 4);
    rig_fini(&rig);
}

/* A newer one overtakes: the older one must not come after it. */
static void newer_ones_subsume_older_ones(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.options.checkpoints_concurrent = 3;
    rig.options.checkpoints_retained = 5;
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    for (int i = 0; i < 3; i++)
        pass(&rig, INTERVAL_MS);
    report_all(&rig, 1);
    report_all(&rig, 2);
    report_all(&rig, 3);
    stored(&rig, 2, NULL);
    stored(&rig, 1, NULL); /* 2 is on its way into HEAD */
    head_put(&rig, WEIR_HEAD_PUT_OK);
    assert_int_equal(job(&rig)->retained_count, 1);
    assert_int_equal(job(&rig)->retained[0].id, 2);
    assert_int_equal(job(&rig)->checkpoints[2].status, WEIR_JM_CHECKPOINT_FAILED);
    stored(&rig, 3, NULL);
    head_put(&rig, WEIR_HEAD_PUT_OK); /* the write that 1 asked for, or this: both name what is right */
    if (job(&rig)->retained_count < 2)
        head_put(&rig, WEIR_HEAD_PUT_OK);
    assert_int_equal(job(&rig)->retained_count, 2);
    assert_int_equal(rig.head->n_retained, 2);
    assert_int_equal(rig.head->retained[0]->id, 2);
    assert_int_equal(rig.head->retained[1]->id, 3);
    assert_int_equal(job(&rig)->state, WEIR_JOB_RUNNING); /* that is no failure */
    rig_fini(&rig);
}

/* A task ends while one is under way: its last snapshot is its part, and what it was a producer of may need a barrier of its own. */
static void tasks_finish_meanwhile(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    bring_up(&rig, WEIR__PARTITION__REBALANCE);
    pass(&rig, INTERVAL_MS);
    checkpoint_report(&rig, 0, 1, 1, NULL);
    forget(&rig);
    task_report(&rig, 0, WEIR__TASK_STATE__FINISHED); /* after the barrier: what it gave at the barrier counts */
    assert_null(last(&rig, WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT));
    task_report(&rig, 1, WEIR__TASK_STATE__FINISHED); /* without having seen it */
    const Weir__Control *trigger = last(&rig, WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT);
    assert_non_null(trigger); /* the sinks are roots now */
    assert_int_equal(trigger->trigger_checkpoint->checkpoint, 1);
    assert_int_equal(trigger->trigger_checkpoint->n_tasks, 2);
    assert_int_equal(trigger->trigger_checkpoint->tasks[0]->vertex, 1);
    checkpoint_report(&rig, 2, 1, 1, NULL);
    checkpoint_report(&rig, 3, 1, 1, NULL);
    assert_int_equal(rig.metadata->n_parts, 4);
    assert_string_equal(rig.metadata->parts[0]->name, "t0-1");
    assert_string_equal(rig.metadata->parts[1]->name, "end1");
    stored(&rig, 1, NULL);
    head_put(&rig, WEIR_HEAD_PUT_OK);
    commit_done(&rig, 1, false);
    forget(&rig);
    to_head(&rig, 2);
    assert_int_equal(last(&rig, WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT)->trigger_checkpoint->n_tasks, 2);
    assert_int_equal(rig.metadata->n_parts, 4);
    assert_string_equal(rig.metadata->parts[0]->name, "end0");
    assert_int_equal(rig.metadata->n_committables, 3); /* that of task 1's end was in 1 */
    head_put(&rig, WEIR_HEAD_PUT_OK);
    commit_done(&rig, 2, false);
    to_head(&rig, 3);
    assert_int_equal(rig.metadata->n_committables, 2);
    rig_fini(&rig);
}

/* With several under way a task may give up an older one for a newer. Its end is then no part of the older one: what it gave at the newer
 * barrier and after it would be in the cut, and what its producers gave would not. */
static void an_end_is_no_part_of_what_was_skipped(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.options.checkpoints_concurrent = 2;
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    pass(&rig, INTERVAL_MS);
    pass(&rig, INTERVAL_MS);
    checkpoint_report(&rig, 0, 1, 1, NULL);
    checkpoint_report(&rig, 1, 1, 2, NULL);
    task_report(&rig, 1, WEIR__TASK_STATE__FINISHED);
    assert_int_equal(rig.puts, 0);
    assert_int_equal(job(&rig)->checkpoints_failed, 1);
    checkpoint_report(&rig, 0, 1, 2, NULL);
    assert_int_equal(rig.puts, 1);
    assert_int_equal(rig.metadata->checkpoint, 2);
    rig_fini(&rig);
}

/* A task that has FINISHED is part of every later checkpoint. */
static void checkpoints_after_an_end(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    make_complete(&rig, 1);
    commit_done(&rig, 1, false);
    task_report_from(&rig, 0, WEIR__TASK_STATE__FINISHED, "end0", 2);
    for (uint64_t id = 2; id <= 4; id++) {
        make_complete(&rig, id);
        commit_done(&rig, id, false);
    }
    assert_int_equal(rig.dropped_count, 3);
    rig_fini(&rig);
}

/* What is not known to be published stays in HEAD, beyond num-retained, and its commits go out in order. While two wait, only who is asked for
 * another one begins it. */
static void uncommitted_ones_stay(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    make_complete(&rig, 1);
    make_complete(&rig, 2);
    forget(&rig);
    for (uint64_t id = 3; id < 5; id++) {
        pass(&rig, 3 * INTERVAL_MS);
        assert_null(last(&rig, WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT));
        run(&rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_OPERATION,
                                         .job_id = JOB,
                                         .operation = {WEIR_JM_OPERATION_CHECKPOINT, id == 3 ? "a" : "b", NULL}});
        make_complete(&rig, id);
        assert_int_equal(rig.head->n_retained, 3); /* 1, 2, 3; then 2, 3, 4 */
        assert_int_equal(rig.dropped_count, id == 3 ? 0 : 1);
        forget(&rig);
        if (id == 3) {
            commit_done(&rig, 2, false); /* of none that was sent */
            assert_null(last(&rig, WEIR__CONTROL__BODY_COMMIT_OUTPUT));
            commit_done(&rig, 1, false);
            assert_int_equal(last(&rig, WEIR__CONTROL__BODY_COMMIT_OUTPUT)->commit_output->checkpoint, 2);
        }
    }
    assert_int_equal(rig.head->committed_upto, 1);
    commit_done(&rig, 2, true); /* it cannot be published: nothing after it either */
    assert_int_equal(job(&rig)->state, WEIR_JOB_FAILING);
    forget(&rig);
    pass(&rig, 1);
    assert_null(last(&rig, WEIR__CONTROL__BODY_COMMIT_OUTPUT));
    /* The job has failed by it; a minute later it is tried again all the same, in order. */
    for (int t = 0; t < job(&rig)->task_count; t++)
        task_report(&rig, t, WEIR__TASK_STATE__CANCELED);
    assert_int_equal(job(&rig)->state, WEIR_JOB_FAILED);
    for (int s = 0; s < 59; s++)
        pass(&rig, 1000);
    assert_null(last(&rig, WEIR__CONTROL__BODY_COMMIT_OUTPUT));
    pass(&rig, 1000);
    assert_non_null(last(&rig, WEIR__CONTROL__BODY_COMMIT_OUTPUT));
    assert_int_equal(last(&rig, WEIR__CONTROL__BODY_COMMIT_OUTPUT)->commit_output->checkpoint, 2);
    commit_done(&rig, 2, false);
    assert_int_equal(last(&rig, WEIR__CONTROL__BODY_COMMIT_OUTPUT)->commit_output->checkpoint, 3);
    rig_fini(&rig);
}

/* A sink that is down for long: who looks at the job sees why no checkpoint begins, and that one does when it is there again. */
static void slow_output_is_told(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    make_complete(&rig, 1);
    make_complete(&rig, 2);
    forget(&rig);
    for (int64_t begun_ms = rig.now_ms; rig.now_ms < begun_ms + 25000;) {
        pass(&rig, INTERVAL_MS);
        assert_string_equal(job(&rig)->status, "");
    }
    for (int i = 0; i < 10000 / INTERVAL_MS; i++)
        pass(&rig, INTERVAL_MS);
    assert_non_null(strstr(job(&rig)->status, "output to be published: that of checkpoint 1 is not there yet"));
    assert_null(last(&rig, WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT));
    commit_done(&rig, 1, false);
    assert_string_equal(job(&rig)->status, "");
    assert_int_equal(last(&rig, WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT)->trigger_checkpoint->checkpoint, 3);
    rig_fini(&rig);
}

/* A region fails in each state of a checkpoint. */
static void regions_fail(void **state)
{
    (void)state;
    for (int when = 0; when < 3; when++) { /* TRIGGERED, WRITING, IN_HEAD */
        struct rig rig;
        rig_init(&rig);
        bring_up(&rig, WEIR__PARTITION__FORWARD);
        make_complete(&rig, 1);
        commit_done(&rig, 1, false);
        forget(&rig);
        pass(&rig, INTERVAL_MS);
        if (when > 0)
            report_all(&rig, 2);
        if (when == 2)
            stored(&rig, 2, NULL);
        task_report(&rig, 0, WEIR__TASK_STATE__FAILED);
        assert_int_equal(job(&rig)->checkpoints_failed, when < 2);
        pass(&rig, 100);
        if (when < 2) {
            stored(&rig, 2, NULL); /* late: it was given up */
            assert_int_equal(rig.head_puts, 2);
        } else {
            assert_null(last(&rig, WEIR__CONTROL__BODY_DEPLOY_TASKS)); /* not known yet */
            assert_non_null(strstr(job(&rig)->status, "checkpoint storage"));
            head_put(&rig, WEIR_HEAD_PUT_UNKNOWN); /* its reply was lost */
            assert_int_equal(rig.head_gets, 1);
            assert_null(last(&rig, WEIR__CONTROL__BODY_DEPLOY_TASKS));
            head_got(&rig, WEIR_HEAD_GET_OK, rig.head->nonce.data);
            assert_int_equal(job(&rig)->checkpoints_completed, 2);
        }
        const Weir__Control *deploy = last(&rig, WEIR__CONTROL__BODY_DEPLOY_TASKS);
        assert_non_null(deploy);
        assert_int_equal(deploy->deploy_tasks->n_tasks, 1);
        assert_int_equal(deploy->deploy_tasks->n_restores, 1);
        const Weir__TaskRestore *restore = deploy->deploy_tasks->restores[0];
        assert_int_equal(restore->checkpoint, when < 2 ? 1 : 2);
        assert_int_equal(restore->n_parts, 1); /* its own, not its neighbour's */
        assert_string_equal(restore->parts[0]->name, when < 2 ? "t0-1" : "t0-2");
        forget(&rig);
        pass(&rig, 500);
        all_running(&rig);
        pass(&rig, INTERVAL_MS - 1);
        assert_null(last(&rig, WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT)); /* an interval after all run again */
        pass(&rig, 1);
        assert_int_equal(last(&rig, WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT)->trigger_checkpoint->checkpoint, 3);
        checkpoint_report(&rig, 0, 1, 3, NULL); /* of the attempt that failed */
        checkpoint_report(&rig, 1, 1, 3, NULL);
        assert_int_equal(rig.puts, when == 0 ? 1 : 2);
        checkpoint_report(&rig, 0, 2, 3, NULL);
        assert_int_equal(rig.puts, when == 0 ? 2 : 3);
        rig_fini(&rig);
    }
}

/* One waits for HEAD, which another is being written into: the answer is waited for, the one behind it is given up. */
static void a_region_fails_while_head_is_busy(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.options.checkpoints_concurrent = 2;
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    pass(&rig, INTERVAL_MS);
    pass(&rig, INTERVAL_MS);
    report_all(&rig, 1);
    report_all(&rig, 2);
    stored(&rig, 1, NULL);
    stored(&rig, 2, NULL);
    forget(&rig);
    task_report(&rig, 0, WEIR__TASK_STATE__FAILED);
    assert_int_equal(job(&rig)->checkpoints_failed, 1);
    pass(&rig, 100);
    assert_null(last(&rig, WEIR__CONTROL__BODY_DEPLOY_TASKS));
    head_put(&rig, WEIR_HEAD_PUT_OK);
    assert_int_equal(last(&rig, WEIR__CONTROL__BODY_DEPLOY_TASKS)->deploy_tasks->restores[0]->checkpoint, 1);
    head_put(&rig, WEIR_HEAD_PUT_OK); /* the write that 2 asked for */
    assert_int_equal(job(&rig)->retained_count, 1);
    assert_int_equal(rig.head->retained[0]->id, 1);
    rig_fini(&rig);
}

static void another_writes_head(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    to_head(&rig, 1);
    forget(&rig);
    head_put(&rig, WEIR_HEAD_PUT_CONDITION);
    assert_false(rig.fenced); /* it may be its own success */
    uint8_t nonce[WEIR_HEAD_NONCE_SIZE] = "somebody else's";
    head_got(&rig, WEIR_HEAD_GET_OK, nonce);
    assert_true(rig.fenced);
    forget(&rig);
    pass(&rig, 100000);
    assert_int_equal(rig.sent_count, 0);
    run(&rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_OPERATION,
                                     .job_id = JOB,
                                     .operation = {WEIR_JM_OPERATION_CHECKPOINT, "a", NULL}});
    assert_int_equal(rig.reply, WEIR_ERR_IO);
    rig_fini(&rig);
}

/* HEAD was not written: the same is written again, after a pause, and meanwhile nothing is decided. */
static void head_is_tried_again(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    make_complete(&rig, 1);
    commit_done(&rig, 1, false);
    uint8_t before[WEIR_HEAD_NONCE_SIZE], now[WEIR_HEAD_NONCE_SIZE];
    memcpy(before, rig.head->nonce.data, sizeof before);
    to_head(&rig, 2);
    memcpy(now, rig.head->nonce.data, sizeof now);
    head_put(&rig, WEIR_HEAD_PUT_UNKNOWN);
    head_got(&rig, WEIR_HEAD_GET_OK, before);
    int puts = rig.head_puts;
    assert_true(rig.wake_at_ms <= rig.now_ms + 2000);
    pass(&rig, rig.wake_at_ms - rig.now_ms);
    assert_int_equal(rig.head_puts, puts + 1);
    assert_memory_equal(rig.head->nonce.data, now, sizeof now);
    assert_int_equal(job(&rig)->checkpoints_completed, 1);
    head_put(&rig, WEIR_HEAD_PUT_OK);
    assert_int_equal(job(&rig)->checkpoints_completed, 2);
    rig_fini(&rig);
}

/* Ids beyond what HEAD allows are not used, even if HEAD cannot be written for long. */
static void ids_are_reserved(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.options.checkpoints_tolerable = 1000;
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    for (int i = 1; i <= 4; i++) {
        pass(&rig, INTERVAL_MS);
        assert_int_equal(last(&rig, WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT)->trigger_checkpoint->checkpoint, i);
        forget(&rig);
        checkpoint_report(&rig, 0, 1, (uint64_t)i, "no");
    }
    pass(&rig, INTERVAL_MS);
    assert_null(last(&rig, WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT));
    assert_int_equal(rig.head_puts, 2);
    assert_int_equal(rig.head->next_checkpoint, 9);
    pass(&rig, INTERVAL_MS);
    assert_null(last(&rig, WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT));
    head_put(&rig, WEIR_HEAD_PUT_OK);
    assert_int_equal(last(&rig, WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT)->trigger_checkpoint->checkpoint, 5);
    for (int i = 5; i < 50; i++) { /* and the history is bounded */
        checkpoint_report(&rig, 0, 1, (uint64_t)i, "no");
        pass(&rig, INTERVAL_MS);
        head_put(&rig, WEIR_HEAD_PUT_OK);
        forget(&rig);
    }
    assert_int_equal(job(&rig)->checkpoints_failed, 49);
    assert_int_equal(job(&rig)->checkpoint_count, WEIR_JM_CHECKPOINTS_KEPT);
    rig_fini(&rig);
}

static void a_last_checkpoint_ends_the_job(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.options.checkpoints_tolerable = 1;
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    make_complete(&rig, 1);
    commit_done(&rig, 1, false);
    forget(&rig);
    task_report(&rig, 0, WEIR__TASK_STATE__FINISHED);
    task_report(&rig, 1, WEIR__TASK_STATE__FINISHED);
    assert_true(job(&rig)->committing);
    assert_int_equal(rig.puts, 2);
    assert_int_equal(rig.metadata->checkpoint, 2);
    stored(&rig, 2, "503");
    assert_int_equal(rig.wake_at_ms, rig.now_ms + 1000);
    pass(&rig, 1000);
    assert_int_equal(rig.metadata->checkpoint, 3); /* with an id of its own */
    assert_int_equal(rig.metadata->n_parts, 2);
    assert_int_equal(rig.metadata->n_committables, 2);
    stored(&rig, 3, NULL);
    assert_null(last(&rig, WEIR__CONTROL__BODY_COMMIT_OUTPUT));
    head_put(&rig, WEIR_HEAD_PUT_OK);
    assert_int_equal(last(&rig, WEIR__CONTROL__BODY_COMMIT_OUTPUT)->commit_output->n_committables, 2);
    assert_int_equal(job(&rig)->state, WEIR_JOB_RUNNING);
    commit_done(&rig, 3, false);
    assert_int_equal(job(&rig)->state, WEIR_JOB_FINISHED);
    assert_int_equal(rig.head->job_state, WEIR_JOB_FINISHED);
    assert_int_equal(rig.head->committed_upto, 3);
    head_put(&rig, WEIR_HEAD_PUT_OK);
    int puts = rig.head_puts;
    pass(&rig, 10000);
    assert_int_equal(rig.head_puts, puts);
    assert_null(last(&rig, WEIR__CONTROL__BODY_ABORT_OUTPUT));
    rig_fini(&rig);
}

/* What is undecided when a job is cancelled may be complete: it is published then, and only afterwards is the rest removed. */
static void cancelled(struct rig *out, bool publishing_fails)
{
    struct rig rig;
    rig_init(&rig);
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    to_head(&rig, 1);
    run(&rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_CANCEL, .job_id = JOB});
    for (int t = 0; t < 2; t++)
        task_report(&rig, t, WEIR__TASK_STATE__CANCELED);
    assert_int_equal(job(&rig)->state, WEIR_JOB_CANCELED);
    executor_exits(&rig);
    assert_null(last(&rig, WEIR__CONTROL__BODY_ABORT_OUTPUT));
    head_put(&rig, WEIR_HEAD_PUT_OK);
    assert_int_equal(last(&rig, WEIR__CONTROL__BODY_COMMIT_OUTPUT)->commit_output->checkpoint, 1);
    assert_null(last(&rig, WEIR__CONTROL__BODY_ABORT_OUTPUT));
    assert_int_equal(rig.head->job_state, WEIR_JOB_CANCELED);
    forget(&rig);
    ack_all(&rig); /* that is no answer to an AbortOutput */
    assert_null(last(&rig, WEIR__CONTROL__BODY_COMMIT_OUTPUT));
    commit_done(&rig, 1, publishing_fails);
    *out = rig;
}

static void cancelled_while_undecided(void **state)
{
    (void)state;
    struct rig rig;
    cancelled(&rig, false);
    assert_null(last(
        &rig,
        WEIR__CONTROL__BODY_ABORT_OUTPUT)); /* a later JobManager would run it: HEAD does not say that it has ended */
    head_put(&rig, WEIR_HEAD_PUT_OK);
    assert_non_null(last(&rig, WEIR__CONTROL__BODY_ABORT_OUTPUT));
    rig_fini(&rig);
    cancelled(&rig, true); /* what is complete must not be removed */
    assert_null(last(&rig, WEIR__CONTROL__BODY_ABORT_OUTPUT));
    assert_int_equal(job(&rig)->state, WEIR_JOB_CANCELED);
    rig_fini(&rig);
}

static const struct weir_jm_operation *ask_now(struct rig *rig, const char *id)
{
    run(rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_OPERATION,
                                    .job_id = JOB,
                                    .operation = {WEIR_JM_OPERATION_CHECKPOINT, id, NULL}});
    assert_int_equal(rig->reply, WEIR_OK);
    return weir_jm_operation_find(rig->jm, id);
}

static void on_demand(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    assert_int_equal(ask_now(&rig, "none")->state, WEIR_JM_OPERATION_FAILED);
    assert_string_equal(weir_jm_operation_find(rig.jm, "none")->failure, "there is no job " JOB);
    submit(&rig, WEIR__PARTITION__FORWARD);
    assert_int_equal(ask_now(&rig, "early")->state, WEIR_JM_OPERATION_IN_PROGRESS); /* it begins when all tasks run */
    head_put(&rig, WEIR_HEAD_PUT_OK);
    executor_ready(&rig);
    all_running(&rig);
    assert_int_equal(weir_jm_operation_find(rig.jm, "early")->checkpoint, 1);
    assert_int_equal(ask_now(&rig, "second")->checkpoint, 1); /* one at a time */
    report_all(&rig, 1);
    stored(&rig, 1, NULL);
    assert_int_equal(weir_jm_operation_find(rig.jm, "second")->state, WEIR_JM_OPERATION_IN_PROGRESS);
    head_put(&rig, WEIR_HEAD_PUT_OK);
    assert_int_equal(job(&rig)->checkpoints_completed, 1);
    assert_int_equal(weir_jm_operation_find(rig.jm, "early")->state, WEIR_JM_OPERATION_COMPLETED);
    assert_int_equal(weir_jm_operation_find(rig.jm, "second")->state, WEIR_JM_OPERATION_COMPLETED);
    assert_int_equal(ask_now(&rig, "second")->checkpoint, 1); /* the same request again */
    assert_int_equal(ask_now(&rig, "third")->checkpoint, 2);
    checkpoint_report(&rig, 0, 1, 2, "no room");
    assert_int_equal(weir_jm_operation_find(rig.jm, "third")->state, WEIR_JM_OPERATION_FAILED);
    rig_fini(&rig);

    rig_init(&rig);
    submit(&rig, WEIR__PARTITION__FORWARD);
    (void)ask_now(&rig, "never");
    pass(&rig, 30000);
    assert_string_equal(weir_jm_operation_find(rig.jm, "never")->failure,
                        "a checkpoint needs all tasks of the job to run");
    rig_fini(&rig);

    rig_init(&rig);
    rig.options.checkpoint_interval_ms = 0;
    submit(&rig, WEIR__PARTITION__FORWARD);
    assert_int_equal(rig.head_puts, 0);
    assert_non_null(strstr(ask_now(&rig, "off")->failure, "execution.checkpointing.dir"));
    rig_fini(&rig);
}

/* It makes none by itself; one that is asked for is as good as any. */
static void without_an_interval(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.options.checkpoint_interval_ms = 0;
    rig.durable = true;
    submit(&rig, WEIR__PARTITION__FORWARD);
    run(&rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_JOB_STORED, .job_id = JOB});
    head_put(&rig, WEIR_HEAD_PUT_OK);
    executor_ready(&rig);
    all_running(&rig);
    ack_all(&rig);
    forget(&rig);
    assert_false(job(&rig)->checkpointed);
    pass(&rig, 10 * INTERVAL_MS);
    assert_null(last(&rig, WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT));
    assert_int_equal(ask_now(&rig, "one")->checkpoint, 1);
    assert_true(job(&rig)->checkpointed);
    checkpoint_report(&rig, 0, 1, 1, "no room"); /* it is no reason for the job to fail */
    assert_int_equal(job(&rig)->state, WEIR_JOB_RUNNING);
    assert_int_equal(weir_jm_operation_find(rig.jm, "one")->state, WEIR_JM_OPERATION_FAILED);
    assert_int_equal(ask_now(&rig, "two")->checkpoint, 2);
    report_all(&rig, 2);
    stored(&rig, 2, NULL);
    head_put(&rig, WEIR_HEAD_PUT_OK);
    assert_int_equal(weir_jm_operation_find(rig.jm, "two")->state, WEIR_JM_OPERATION_COMPLETED);
    commit_done(&rig, 2, false);
    forget(&rig);
    task_report(&rig, 0, WEIR__TASK_STATE__FAILED);
    pass(&rig, 100);
    const Weir__Control *deploy = last(&rig, WEIR__CONTROL__BODY_DEPLOY_TASKS);
    assert_non_null(deploy);
    assert_int_equal(deploy->deploy_tasks->n_restores, deploy->deploy_tasks->n_tasks);
    assert_int_equal(deploy->deploy_tasks->restores[0]->checkpoint, 2);
    rig_fini(&rig);
}

static void requests_have_a_bound(void **state)
{
    (void)state;
    struct rig rig;
    char id[16];
    rig_init(&rig);
    for (int i = 0; i < WEIR_JM_OPERATIONS_MAX + 1; i++) { /* each fails at once: there is no job */
        snprintf(id, sizeof id, "%d", i);
        (void)ask_now(&rig, id);
    }
    assert_null(weir_jm_operation_find(rig.jm, "0"));
    assert_non_null(weir_jm_operation_find(rig.jm, "1"));
    submit(&rig, WEIR__PARTITION__FORWARD);
    for (int i = 0; i < WEIR_JM_OPERATIONS_MAX; i++) {
        snprintf(id, sizeof id, "w%d", i);
        assert_int_equal(ask_now(&rig, id)->state, WEIR_JM_OPERATION_IN_PROGRESS);
    }
    run(&rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_OPERATION,
                                     .job_id = JOB,
                                     .operation = {WEIR_JM_OPERATION_CHECKPOINT, "more", NULL}});
    assert_int_equal(rig.reply, WEIR_ERR_FULL);
    rig_fini(&rig);
}

/* The newest checkpoint cannot be read when a region begins again with it. */
static void corrupt_ones(void **state)
{
    (void)state;
    enum { GOES_BACK, HAS_OUTPUT, IS_ALONE, KEEPS_NONE, IS_NOT_THE_NEWEST };
    for (int how = GOES_BACK; how <= IS_NOT_THE_NEWEST; how++) {
        struct rig rig;
        rig_init(&rig);
        rig.options.retention = how == KEEPS_NONE ? WEIR_JM_RETENTION_NONE : WEIR_JM_RETENTION_DELETE_ON_CANCELLATION;
        rig.options.checkpoints_retained = how == IS_ALONE ? 1 : 3;
        rig.without_output = true;
        bring_up(&rig, WEIR__PARTITION__FORWARD);
        make_complete(&rig, 1);
        make_complete(&rig, 2);
        rig.without_output = how != HAS_OUTPUT && how != KEEPS_NONE;
        make_complete(&rig, 3);
        task_report(&rig, 0, WEIR__TASK_STATE__FAILED);
        pass(&rig, 100);
        assert_int_equal(last(&rig, WEIR__CONTROL__BODY_DEPLOY_TASKS)->deploy_tasks->restores[0]->checkpoint, 3);
        forget(&rig);
        task_report_from(&rig, 0, WEIR__TASK_STATE__FAILED, "", how == IS_NOT_THE_NEWEST ? 2 : 3);
        pass(&rig, 100);
        if (how == HAS_OUTPUT || how == IS_ALONE || how == KEEPS_NONE) {
            static const char *const says[] = {[HAS_OUTPUT] = "weir run -s and the directory",
                                               [IS_ALONE] = "no earlier checkpoint is retained",
                                               [KEEPS_NONE] = "earlier checkpoints go with it"};
            assert_int_equal(job(&rig)->state, WEIR_JOB_FAILING);
            assert_string_equal(job(&rig)->cause->kind, "CHECKPOINT_CORRUPT");
            assert_non_null(strstr(job(&rig)->cause->message, "it does not fit its checksum; "));
            assert_non_null(strstr(job(&rig)->cause->message, says[how]));
            rig_fini(&rig);
            continue;
        }
        const Weir__Control *deploy = last(&rig, WEIR__CONTROL__BODY_DEPLOY_TASKS);
        assert_int_equal(deploy->deploy_tasks->restores[0]->checkpoint, how == GOES_BACK ? 2 : 3);
        if (how == GOES_BACK) {
            assert_string_equal(deploy->deploy_tasks->restores[0]->parts[0]->name, "t0-2");
            head_put(&rig, WEIR_HEAD_PUT_OK);
            assert_int_equal(rig.head->n_retained, 2);
            assert_int_equal(rig.head->retained[1]->id, 2);
            forget(&rig);
            task_report_from(&rig, 0, WEIR__TASK_STATE__FAILED, "", 2); /* that one, too */
            pass(&rig, 100);
            assert_int_equal(last(&rig, WEIR__CONTROL__BODY_DEPLOY_TASKS)->deploy_tasks->restores[0]->checkpoint, 1);
            forget(&rig);
            task_report_from(&rig, 0, WEIR__TASK_STATE__FAILED, "", 1);
            assert_int_equal(job(&rig)->state, WEIR_JOB_FAILING);
        }
        rig_fini(&rig);
    }
}

/* HEAD is being written without the one before it when the newest proves corrupt: going back would be to nothing. */
static void corrupt_while_the_one_before_goes(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.options.checkpoints_retained = 1;
    rig.options.fixed_attempts = 100000;
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    make_complete(&rig, 1); /* stays until its output is published */
    rig.without_output = true;
    make_complete(&rig, 2);
    assert_int_equal(job(&rig)->retained_count, 2);
    task_report(&rig, 1, WEIR__TASK_STATE__FAILED);
    pass(&rig, 100);
    commit_done(&rig, 1, false);
    for (int puts = rig.head_puts, i = 0; rig.head_puts == puts && i < 10000;
         i++) { /* until attempts must be allowed */
        task_report(&rig, 0, WEIR__TASK_STATE__FAILED);
        pass(&rig, 100);
    }
    assert_int_equal(rig.head->n_retained, 1);
    task_report_from(&rig, 1, WEIR__TASK_STATE__FAILED, "", 2);
    head_put(&rig, WEIR_HEAD_PUT_OK);
    forget(&rig);
    pass(&rig, 100);
    assert_int_equal(job(&rig)->retained_count, 1);
    const Weir__Control *deploy = last(&rig, WEIR__CONTROL__BODY_DEPLOY_TASKS);
    assert_non_null(deploy);
    assert_int_equal(deploy->deploy_tasks->n_restores, deploy->deploy_tasks->n_tasks);
    assert_int_equal(deploy->deploy_tasks->restores[0]->checkpoint, 2);
    task_report_from(&rig, 1, WEIR__TASK_STATE__FAILED, "", 2);
    assert_int_equal(job(&rig)->state, WEIR_JOB_FAILING);
    rig_fini(&rig);
}

/* Attempts are allowed by HEAD, a few ahead; while the write that allows more is under way no other one is begun for them. */
static void attempts_are_allowed_once(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.options.checkpoint_interval_ms = 1000000;
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    int writes = rig.head_puts;
    while (rig.head_puts == writes) {
        forget(&rig);
        task_report(&rig, 0, WEIR__TASK_STATE__FAILED);
        pass(&rig, 100);
    }
    writes = rig.head_puts;
    assert_null(last(&rig, WEIR__CONTROL__BODY_DEPLOY_TASKS)); /* not before HEAD allows it */
    pass(&rig, 1);
    head_put(&rig, WEIR_HEAD_PUT_OK);
    assert_non_null(last(&rig, WEIR__CONTROL__BODY_DEPLOY_TASKS));
    assert_int_equal(rig.head_puts, writes);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_trigger_to_commit),
        cmocka_unit_test(open_transactions_are_told),
        cmocka_unit_test(reports_that_do_not_count),
        cmocka_unit_test(pause_and_one_at_a_time),
        cmocka_unit_test(failures_are_counted),
        cmocka_unit_test(failure_of_several),
        cmocka_unit_test(newer_ones_subsume_older_ones),
        cmocka_unit_test(tasks_finish_meanwhile),
        cmocka_unit_test(an_end_is_no_part_of_what_was_skipped),
        cmocka_unit_test(checkpoints_after_an_end),
        cmocka_unit_test(uncommitted_ones_stay),
        cmocka_unit_test(slow_output_is_told),
        cmocka_unit_test(regions_fail),
        cmocka_unit_test(a_region_fails_while_head_is_busy),
        cmocka_unit_test(another_writes_head),
        cmocka_unit_test(head_is_tried_again),
        cmocka_unit_test(ids_are_reserved),
        cmocka_unit_test(a_last_checkpoint_ends_the_job),
        cmocka_unit_test(cancelled_while_undecided),
        cmocka_unit_test(on_demand),
        cmocka_unit_test(without_an_interval),
        cmocka_unit_test(requests_have_a_bound),
        cmocka_unit_test(corrupt_ones),
        cmocka_unit_test(corrupt_while_the_one_before_goes),
        cmocka_unit_test(attempts_are_allowed_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
