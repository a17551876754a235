/* jobmanager/core/jm_savepoint.c along the plain paths and where they fail: savepoints, stop, drain, rescale, jobs that begin with a savepoint. */
#include "jm_kit.h"

static const struct weir_jm_operation *request(struct rig *rig, struct weir_jm_request wanted)
{
    run(rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_OPERATION, .job_id = JOB, .operation = wanted});
    assert_int_equal(rig->reply, WEIR_OK);
    return weir_jm_operation_find(rig->jm, wanted.id);
}

static uint32_t trigger_flags(const struct rig *rig)
{
    const Weir__Control *trigger = last(rig, WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT);
    assert_non_null(trigger);
    return trigger->trigger_checkpoint->flags;
}

static const struct weir_jm_request a_savepoint = {
    .kind = WEIR_JM_OPERATION_SAVEPOINT, .id = "s", .target = "file:///sp"};
static const struct weir_jm_request a_stop = {.kind = WEIR_JM_OPERATION_STOP, .id = "s", .target = "file:///sp"};

/* What it needs is copied before it counts, and no other checkpoint begins meanwhile. */
static void savepoint(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    make_complete(&rig, 1);
    commit_done(&rig, 1, false);
    forget(&rig);
    rig.object_of = 1;
    const struct weir_jm_operation *operation = request(&rig, a_savepoint);
    assert_int_equal(operation->checkpoint, 2);
    assert_int_equal(trigger_flags(&rig), FLAG_SAVEPOINT);
    forget(&rig);
    pass(&rig, 5 * INTERVAL_MS);
    assert_null(last(&rig, WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT));
    int puts = rig.puts;
    report_all(&rig, 2);
    assert_int_equal(rig.puts, puts);
    assert_int_equal(rig.copies, 1);
    assert_string_equal(rig.copy_text, "_metadata");
    assert_string_equal(rig.copy_from, "own");
    assert_string_equal(rig.copy_to, operation->location);
    assert_int_equal(strncmp(operation->location, "file:///sp/savepoint-000000-", 28), 0);
    assert_string_equal(rig.copy_keys[0], "jobs/" JOB "/chk-1/1-1");
    assert_string_equal(rig.copy_keys[1], "chk-1_1-1");
    assert_true(rig.copied->savepoint);
    assert_string_equal(rig.copied->parts[0]->object, "chk-1_1-1");
    assert_int_equal(rig.copied->n_operators, 2);
    stored(&rig, 2, NULL);
    assert_int_equal(rig.puts, puts + 1);
    assert_false(rig.metadata->savepoint); /* its own, for recovery */
    stored(&rig, 2, NULL);
    assert_int_equal(weir_jm_operation_find(rig.jm, "s")->state, WEIR_JM_OPERATION_IN_PROGRESS);
    head_put(&rig, WEIR_HEAD_PUT_OK);
    assert_int_equal(weir_jm_operation_find(rig.jm, "s")->state, WEIR_JM_OPERATION_COMPLETED);
    assert_true(job(&rig)->checkpoints[1].savepoint); /* the next one was due, and has begun */
    assert_string_equal(last(&rig, WEIR__CONTROL__BODY_COMMIT_OUTPUT)->commit_output->committables[0]->text, "t0-2");
    assert_int_equal(job(&rig)->state, WEIR_JOB_RUNNING);
    commit_done(&rig, 2, false);
    make_complete(&rig, 3);
    rig_fini(&rig);
}

static uint64_t after_of(const struct rig *rig, const char *sink)
{
    for (size_t i = 0; i < rig->copied->n_committables; i++)
        if (strcmp(rig->copied->committables[i]->sink, sink) == 0)
            return rig->copied->committables[i]->after;
    fail_msg("no output of %s", sink);
    return 0;
}

/* Whoever begins with it publishes what waits in it after what comes before, in each sink: one that had nothing to publish waits for nothing. */
static void output_waits_for_its_sink(void **state)
{
    (void)state;
    for (int published = 0; published < 2; published++) {
        struct rig rig;
        rig_init(&rig);
        bring_up(&rig, WEIR__PARTITION__FORWARD);
        rig.logs = 3;
        make_complete(&rig, 1);
        if (published)
            commit_done(&rig, 1, false);
        rig.logs = 1;
        make_complete(&rig, 2);
        rig.logs = 3;
        request(&rig, a_savepoint);
        report_all(&rig, 3);
        assert_int_equal(after_of(&rig, "sink0"), 2);
        assert_int_equal(after_of(&rig, "sink1"), published ? 0 : 1);
        rig_fini(&rig);
    }
}

/* The checkpoint that is under way ends first, and no other begins before the savepoint. */
static void one_after_the_other(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    pass(&rig, INTERVAL_MS);
    forget(&rig);
    assert_int_equal(request(&rig, a_savepoint)->checkpoint, 0);
    pass(&rig, 29000); /* longer than it would wait for anything else */
    assert_int_equal(weir_jm_operation_find(rig.jm, "s")->state, WEIR_JM_OPERATION_IN_PROGRESS);
    report_all(&rig, 1);
    stored(&rig, 1, NULL);
    assert_null(last(&rig, WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT));
    head_put(&rig, WEIR_HEAD_PUT_OK);
    pass(&rig, 0);
    assert_int_equal(weir_jm_operation_find(rig.jm, "s")->checkpoint, 2);
    assert_int_equal(trigger_flags(&rig), FLAG_SAVEPOINT);
    rig_fini(&rig);
}

/* The one that is under way comes to nothing: the savepoint begins in that moment, not with whatever happens next. */
static void one_after_a_timeout(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.options.checkpoints_tolerable = 10;
    rig.options.checkpoint_timeout_ms = 20000;
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    pass(&rig, INTERVAL_MS);
    assert_int_equal(request(&rig, a_savepoint)->checkpoint, 0);
    pass(&rig, 19999);
    assert_int_equal(weir_jm_operation_find(rig.jm, "s")->checkpoint, 0);
    pass(&rig, 1);
    assert_int_equal(weir_jm_operation_find(rig.jm, "s")->checkpoint, 2);
    rig_fini(&rig);
}

/* A savepoint that cannot be written is no failure of the job, though none is tolerated. */
static void savepoint_without_room(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    request(&rig, a_savepoint);
    report_all(&rig, 1);
    stored(&rig, 1, "no room");
    assert_string_equal(weir_jm_operation_find(rig.jm, "s")->failure, "no room");
    assert_int_equal(job(&rig)->state, WEIR_JOB_RUNNING);
    to_head(&rig, 2);
    rig_fini(&rig);
}

static void stop(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    request(&rig, a_stop);
    assert_int_equal(trigger_flags(&rig), FLAG_SAVEPOINT | FLAG_STOP);
    report_all(&rig, 1);
    assert_false(rig.copied->final);
    stored(&rig, 1, NULL);
    assert_true(rig.metadata->final); /* whoever recovers from it ends the job */
    stored(&rig, 1, NULL);
    assert_int_equal(job(&rig)->state, WEIR_JOB_RUNNING);
    head_put(&rig, WEIR_HEAD_PUT_OK);
    assert_true(job(&rig)->committing);
    assert_int_equal(weir_jm_operation_find(rig.jm, "s")->state, WEIR_JM_OPERATION_IN_PROGRESS);
    commit_done(&rig, 1, false);
    assert_int_equal(job(&rig)->state, WEIR_JOB_FINISHED);
    assert_int_equal(job(&rig)->tasks[0].state, WEIR__TASK_STATE__FINISHED);
    pass(&rig, 1);
    assert_int_equal(weir_jm_operation_find(rig.jm, "s")->state, WEIR_JM_OPERATION_COMPLETED);
    assert_null(last(&rig, WEIR__CONTROL__BODY_ABORT_OUTPUT));
    rig_fini(&rig);
}

/* Behind the barrier tasks do nothing any more: they begin again, and nobody counts that as a failure. */
static void stop_that_fails(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.options.restart = WEIR_JM_RESTART_NONE;
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    make_complete(&rig, 1);
    commit_done(&rig, 1, false);
    request(&rig, a_stop);
    report_all(&rig, 2);
    stored(&rig, 2, "no room");
    assert_string_equal(weir_jm_operation_find(rig.jm, "s")->failure, "no room");
    assert_int_equal(job(&rig)->state, WEIR_JOB_RESTARTING);
    for (int t = 0; t < job(&rig)->task_count; t++)
        task_report(&rig, t, WEIR__TASK_STATE__CANCELED);
    assert_int_equal(job(&rig)->state, WEIR_JOB_RUNNING);
    const Weir__Control *deploy = last(&rig, WEIR__CONTROL__BODY_DEPLOY_TASKS);
    assert_int_equal(deploy->deploy_tasks->restores[0]->checkpoint, 1);
    rig_fini(&rig);
}

/* Too late for the savepoint, which is complete and published, and not for the cancel, which was acknowledged. */
static void cancelled_while_it_stops(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    request(&rig, a_stop);
    report_all(&rig, 1);
    stored(&rig, 1, NULL);
    stored(&rig, 1, NULL); /* it is being written into HEAD */
    run(&rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_CANCEL, .job_id = JOB, .request = 9});
    head_put(&rig, WEIR_HEAD_PUT_OK);
    commit_done(&rig, 1, false);
    assert_int_equal(job(&rig)->state, WEIR_JOB_CANCELLING);
    for (int t = 0; t < job(&rig)->task_count; t++)
        task_report(&rig, t, WEIR__TASK_STATE__CANCELED);
    assert_int_equal(job(&rig)->state, WEIR_JOB_CANCELED);
    assert_non_null(strstr(weir_jm_operation_find(rig.jm, "s")->failure, "CANCELED"));
    rig_fini(&rig);
}

static void drain(void **state)
{
    (void)state;
    struct weir_jm_request wanted = a_stop;
    wanted.drain = true;
    for (int fails = 0; fails < 3; fails++) {
        struct rig rig;
        rig_init(&rig);
        if (fails == 2) /* it runs again in the step in which its executor has died */
            rig.options.fixed_delay_ms = 0;
        bring_up(&rig, WEIR__PARTITION__REBALANCE);
        request(&rig, wanted);
        const Weir__TriggerCheckpoint *trigger = last(&rig, WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT)->trigger_checkpoint;
        assert_int_equal(trigger->flags, FLAG_DRAIN);
        assert_int_equal(trigger->n_tasks, 2); /* the sources */
        task_report(&rig, 0, WEIR__TASK_STATE__FINISHED);
        if (fails == 2) {
            executor_exits(&rig);
            assert_non_null(strstr(weir_jm_operation_find(rig.jm, "s")->failure, "the job goes on"));
            assert_int_equal(job(&rig)->restarts, 1);
        } else if (fails) {
            task_report(&rig, 1, WEIR__TASK_STATE__FAILED);
            assert_non_null(strstr(weir_jm_operation_find(rig.jm, "s")->failure, "the job goes on"));
            assert_int_equal(job(&rig)->state, WEIR_JOB_RESTARTING);
        } else {
            for (int t = 1; t < 4; t++)
                task_report(&rig, t, WEIR__TASK_STATE__FINISHED);
            assert_int_equal(rig.copies, 1);
            stored(&rig, 2, NULL);
            stored(&rig, 2, NULL);
            head_put(&rig, WEIR_HEAD_PUT_OK);
            commit_done(&rig, 2, false);
            pass(&rig, 1);
            assert_int_equal(job(&rig)->state, WEIR_JOB_FINISHED);
            assert_int_equal(weir_jm_operation_find(rig.jm, "s")->state, WEIR_JM_OPERATION_COMPLETED);
        }
        rig_fini(&rig);
    }
}

static struct weir_jm_request rescale_as(const char *id, int parallelism)
{
    uint8_t *bytes;
    size_t size;
    struct weir_jm_request wanted = {.kind = WEIR_JM_OPERATION_RESCALE, .id = id, .parallelism = parallelism};
    wanted.take_plan = make_plan_of(WEIR__PARTITION__FORWARD, parallelism, &bytes, &size);
    free(bytes);
    return wanted;
}

static struct weir_jm_request rescale_to(int parallelism)
{
    return rescale_as("r", parallelism);
}

static enum weir_jm_operation_state outcome(const struct rig *rig, const char *id)
{
    return weir_jm_operation_find(rig->jm, id)->state;
}

static void rescale(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.kind = WEIR_JM_KIND_UNION;
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    assert_non_null(strstr(request(&rig, rescale_to(2))->failure, "the same"));
    rig_fini(&rig);

    rig_init(&rig);
    rig.kind = WEIR_JM_KIND_UNION;
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    request(&rig, rescale_to(1));
    assert_int_equal(trigger_flags(&rig),
                     FLAG_STOP | FLAG_OVERTAKES | FLAG_IN_ORDER); /* quick: what has changed, ahead of queues */
    report_all(&rig, 1);
    stored(&rig, 1, NULL);
    head_put(&rig, WEIR_HEAD_PUT_OK);
    assert_int_equal(job(&rig)->state, WEIR_JOB_RESTARTING);
    int tasks = job(&rig)->task_count;
    for (int t = 0; t < tasks; t++)
        task_report(&rig, t, WEIR__TASK_STATE__CANCELED);
    assert_int_equal(job(&rig)->task_count, tasks / 2);
    assert_int_equal(job(&rig)->state, WEIR_JOB_RUNNING);
    assert_int_equal(job(&rig)->tasks[0].attempt, 2);
    const struct weir_key_value *pairs = job(&rig)->configuration;
    assert_string_equal(pairs[job(&rig)->configuration_count - 1].key, "pipeline.parallelism-override");
    assert_string_equal(pairs[job(&rig)->configuration_count - 1].value, "1");
    assert_int_equal(weir_jm_operation_find(rig.jm, "r")->state, WEIR_JM_OPERATION_IN_PROGRESS);
    assert_int_equal(rig.head->n_subtasks_max, 1);
    assert_int_equal(rig.head->subtasks_max[0], 2); /* there were so many once */
    rig_fini(&rig);

    rig_init(&rig); /* its tasks come to their end meanwhile, and so does the job */
    rig.kind = WEIR_JM_KIND_UNION;
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    request(&rig, rescale_to(1));
    for (int t = 0; t < job(&rig)->task_count; t++)
        task_report(&rig, t, WEIR__TASK_STATE__FINISHED);
    stored(&rig, 1, NULL);
    head_put(&rig, WEIR_HEAD_PUT_OK);
    assert_int_equal(job(&rig)->state, WEIR_JOB_RUNNING);
    assert_non_null(strstr(weir_jm_operation_find(rig.jm, "r")->failure, "come to their end"));
    commit_done(&rig, 1, false);
    stored(&rig, 2, NULL); /* the last one */
    for (int i = 0; i < 3; i++)
        head_put(&rig, WEIR_HEAD_PUT_OK);
    commit_done(&rig, 2, false);
    assert_int_equal(job(&rig)->state, WEIR_JOB_FINISHED);
    rig_fini(&rig);

    rig_init(&rig); /* states that belong to subtasks */
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    make_complete(&rig, 1);
    assert_non_null(strstr(request(&rig, rescale_to(1))->failure, "by subtask"));
    rig_fini(&rig);
}

/* The old tasks are gone, and so is their executor: there are slots for the others. */
static void become_others(struct rig *rig)
{
    assert_int_equal(job(rig)->state, WEIR_JOB_RESTARTING);
    int tasks = job(rig)->task_count;
    for (int t = 0; t < tasks; t++)
        task_report(rig, t, WEIR__TASK_STATE__CANCELED);
    assert_int_not_equal(job(rig)->task_count, tasks);
    executor_exits(rig);
    executor_ready(rig);
    assert_int_equal(job(rig)->tasks[0].state, WEIR__TASK_STATE__DEPLOYING);
}

/* A job that is rescaled from 2 to 1; HEAD is being written with its other tasks, which are deployed. */
static void rescale_to_head(struct rig *rig)
{
    rig_init(rig);
    rig->kind = WEIR_JM_KIND_UNION;
    rig->without_output = true;
    bring_up(rig, WEIR__PARTITION__FORWARD);
    request(rig, rescale_to(1));
    report_all(rig, 1);
    stored(rig, 1, NULL);
    head_put(rig, WEIR_HEAD_PUT_OK);
    become_others(rig);
}

static void finish_all(struct rig *rig)
{
    for (int t = 0; t < job(rig)->task_count; t++)
        task_report(rig, t, WEIR__TASK_STATE__FINISHED);
    assert_true(job(rig)->committing);
}

/* The job has run with the parallelism that was asked for, and has come to its end with it: that the store was slow to say so, or the JobManager to
 * hear that they run, is no failure. */
static void rescaled_tasks_soon_finish(void **state)
{
    (void)state;
    for (int seen = 0; seen < 2; seen++) { /* that they run, before they have finished */
        struct rig rig;
        rescale_to_head(&rig);
        if (seen)
            all_running(&rig);
        assert_int_equal(outcome(&rig, "r"), WEIR_JM_OPERATION_IN_PROGRESS);
        if (!seen)
            head_put(&rig, WEIR_HEAD_PUT_OK);
        finish_all(&rig);
        assert_int_equal(outcome(&rig, "r"), seen ? WEIR_JM_OPERATION_IN_PROGRESS : WEIR_JM_OPERATION_COMPLETED);
        stored(&rig, 2, NULL); /* the last checkpoint */
        for (int i = 0; i < 3; i++)
            head_put(&rig, WEIR_HEAD_PUT_OK);
        assert_int_equal(job(&rig)->state, WEIR_JOB_FINISHED);
        assert_int_equal(outcome(&rig, "r"), WEIR_JM_OPERATION_COMPLETED);
        assert_string_equal(rig.head->configuration[rig.head->n_configuration - 1]->value, "1");
        rig_fini(&rig);
    }
}

/* Nobody knows whether a later JobManager would run them: cancelled then, it was not rescaled. */
static void rescaled_and_cancelled(void **state)
{
    (void)state;
    struct rig rig;
    rescale_to_head(&rig);
    all_running(&rig);
    run(&rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_CANCEL, .job_id = JOB, .request = 9});
    task_report(&rig, 0, WEIR__TASK_STATE__CANCELED);
    assert_int_equal(job(&rig)->state, WEIR_JOB_CANCELED);
    pass(&rig, 1);
    assert_non_null(strstr(weir_jm_operation_find(rig.jm, "r")->failure, "CANCELED"));
    rig_fini(&rig);
}

/* The next one is asked for while the plan of the first is not in HEAD: each has its own end, whatever becomes of the other. */
static void one_rescale_after_the_other(void **state)
{
    (void)state;
    enum { BOTH, REFUSED, FINISHED, FAILED, CASES };
    for (int what = BOTH; what < CASES; what++) {
        struct rig rig;
        rescale_to_head(&rig);
        all_running(&rig);
        request(&rig, rescale_as("r2", 2));
        assert_int_equal(weir_jm_operation_find(rig.jm, "r2")->checkpoint, 2);
        assert_int_equal(outcome(&rig, "r"), WEIR_JM_OPERATION_IN_PROGRESS);
        if (what == REFUSED) /* what its tasks have now stays with so many subtasks */
            rig.kind = WEIR_JM_KIND_SUBTASK;
        if (what == FINISHED)
            finish_all(&rig);
        else
            report_all(&rig, 2);
        stored(&rig, 2, what == FAILED ? "no room" : NULL);
        assert_int_equal(rig.head->n_retained, 1);
        assert_int_equal(rig.head->retained[0]->id, 1); /* that of the first is still under way */
        head_put(&rig, WEIR_HEAD_PUT_OK);
        assert_int_equal(outcome(&rig, "r"), WEIR_JM_OPERATION_COMPLETED);
        assert_int_equal(outcome(&rig, "r2"),
                         what == FAILED ? WEIR_JM_OPERATION_FAILED : WEIR_JM_OPERATION_IN_PROGRESS);
        if (what != FAILED)
            head_put(&rig, WEIR_HEAD_PUT_OK);
        if (what == BOTH) {
            become_others(&rig);
            all_running(&rig);
            assert_int_equal(outcome(&rig, "r2"), WEIR_JM_OPERATION_IN_PROGRESS);
            head_put(&rig, WEIR_HEAD_PUT_OK);
            assert_int_equal(outcome(&rig, "r2"), WEIR_JM_OPERATION_COMPLETED);
            assert_int_equal(job(&rig)->task_count, 2);
        } else if (what == REFUSED) {
            task_report(&rig, 0, WEIR__TASK_STATE__CANCELED);
            assert_non_null(strstr(weir_jm_operation_find(rig.jm, "r2")->failure, "by subtask"));
            assert_int_equal(job(&rig)->task_count, 1);
            assert_int_equal(job(&rig)->state, WEIR_JOB_RUNNING);
        } else if (what == FINISHED) {
            assert_non_null(strstr(weir_jm_operation_find(rig.jm, "r2")->failure, "come to their end"));
        }
        assert_int_equal(outcome(&rig, "r"), WEIR_JM_OPERATION_COMPLETED);
        rig_fini(&rig);
    }
}

static Weir__Committable *waiting_output(Weir__Committable *committable, Weir__OutputSegment *segment,
                                         Weir__OutputSegment **segments, char *object)
{
    weir__output_segment__init(segment);
    weir__committable__init(committable);
    segment->object = object;
    segments[0] = segment;
    committable->text = object;
    committable->segments = segments;
    committable->n_segments = 1;
    return committable;
}

static Weir__Snapshot *foreign_snapshot(const struct weir_plan *plan, const char *uid, bool output)
{
    Weir__Snapshot snapshot;
    Weir__StatePart part, *parts[1] = {&part};
    Weir__OutputSegment segment[2], *segments[2];
    Weir__Committable committable[2],
        *committables[2] = {
            waiting_output(&committable[0], &segment[0], &segments[0], (char *)"chk-5_1-0-2-log3-4"),
            waiting_output(&committable[1], &segment[1], &segments[1], (char *)"chk-5_restored-9_1-0-2-log4-6")};
    committable[1].sink = (char *)"sink";
    committable[1].after = 4;
    weir__snapshot__init(&snapshot);
    snapshot.job_id = (char *)"another";
    snapshot.output_after = 6;
    snapshot.committables = committables;
    snapshot.n_committables = output ? 2 : 0;
    weir__state_part__init(&part);
    part.uid = (char *)(uintptr_t)(uid ? uid : plan->ops[0].uid);
    part.name = (char *)"state";
    part.kind = WEIR_JM_KIND_KEYED;
    part.parallelism = 3;
    part.object = (char *)"chk-7_0";
    part.size = 10;
    snapshot.version = 1;
    snapshot.checkpoint = 7;
    snapshot.savepoint = true;
    snapshot.parts = parts;
    snapshot.n_parts = 1;
    size_t size = weir__snapshot__get_packed_size(&snapshot);
    uint8_t *bytes = weir_alloc(size);
    weir__snapshot__pack(&snapshot, bytes);
    Weir__Snapshot *copy = weir__snapshot__unpack(&weir_proto_memory, size, bytes);
    free(bytes);
    return copy;
}

static void submit_with(struct rig *rig, const char *uid, bool allow, bool output)
{
    uint8_t *bytes;
    size_t size;
    struct weir_plan *plan = make_plan(WEIR__PARTITION__FORWARD, &bytes, &size);
    struct weir_jm_restore restore = {.take_snapshot = foreign_snapshot(plan, uid, output),
                                      .path = "file:///sp/one",
                                      .uri = "file:///sp/one",
                                      .allow_non_restored = allow,
                                      .claim = true};
    register_tm(rig);
    rig->reply = WEIR_ERR_TIMEOUT; /* none yet */
    run(rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_SUBMIT,
                                    .job_id = JOB,
                                    .take_plan = plan,
                                    .graph = bytes,
                                    .graph_size = size,
                                    .job_options = rig->options,
                                    .durable = true,
                                    .restore = &restore});
    free(bytes);
}

static void submit_restored(struct rig *rig, const char *uid, bool allow)
{
    submit_with(rig, uid, allow, false);
}

/* What waits in it stays the other job's, after what comes before it there, which an earlier version said of all sinks together; logs keep the end
 * of their names, by which files on S3 are named. */
static void output_of_another_job(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    submit_with(&rig, NULL, false, true);
    run(&rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_JOB_STORED, .job_id = JOB});
    stored(&rig, 7, NULL);
    head_put(&rig, WEIR_HEAD_PUT_OK);
    const Weir__CommitOutput *output = last(&rig, WEIR__CONTROL__BODY_COMMIT_OUTPUT)->commit_output;
    assert_int_equal(output->checkpoint, 7);
    assert_int_equal(output->n_committables, 2);
    for (int i = 0; i < 2; i++)
        assert_string_equal(output->committables[i]->job_id, "another");
    assert_int_equal(output->committables[0]->after, 6);
    assert_int_equal(output->committables[1]->after, 4);
    assert_string_equal(output->committables[0]->segments[0]->object, "jobs/" JOB "/chk-7/restored-1_1-0-2-log3-4");
    assert_string_equal(output->committables[1]->segments[0]->object, "jobs/" JOB "/chk-7/restored-2_1-0-2-log4-6");
    rig_fini(&rig);
}

/* The first HEAD names what the job begins with: nobody may ever find it without. */
static void begins_with_a_savepoint(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    submit_restored(&rig, NULL, false);
    assert_string_equal(rig.copy_from, "file:///sp/one");
    assert_string_equal(rig.copy_text, "jobs/" JOB "/chk-7/metadata");
    assert_string_equal(rig.copy_keys[1], "jobs/" JOB "/chk-7/restored-0");
    run(&rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_JOB_STORED, .job_id = JOB});
    assert_int_equal(rig.head_puts, 0);
    stored(&rig, 7, NULL);
    assert_int_equal(rig.head_puts, 1);
    assert_int_equal(rig.head->retained[0]->id, 7);
    assert_int_equal(rig.reply, WEIR_ERR_TIMEOUT);
    head_put(&rig, WEIR_HEAD_PUT_OK);
    assert_int_equal(rig.reply, WEIR_OK);
    executor_ready(&rig);
    const Weir__Control *deploy = last(&rig, WEIR__CONTROL__BODY_DEPLOY_TASKS);
    assert_int_equal(deploy->deploy_tasks->restores[0]->checkpoint, 7);
    assert_string_equal(deploy->deploy_tasks->restores[0]->parts[0]->object, "jobs/" JOB "/chk-7/restored-0");
    all_running(&rig);
    assert_true(job(&rig)->restored && job(&rig)->checkpoints_completed == 0);
    assert_int_equal(rig.drops, 0);
    pass(&rig, INTERVAL_MS);
    report_all(&rig, 8); /* numbers go on */
    stored(&rig, 8, NULL);
    head_put(&rig, WEIR_HEAD_PUT_OK);
    assert_int_equal(job(&rig)->checkpoints_completed, 1);
    assert_int_equal(rig.drops, 1); /* what was claimed goes, and the copy */
    assert_int_equal(rig.dropped[0], 7);
    assert_string_equal(rig.dropped_uri, "file:///sp/one");
    rig_fini(&rig);
}

/* A JobManager that dies before the job has a checkpoint of its own: the next one knows what was claimed. */
static void a_claim_outlives_the_jobmanager(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    submit_restored(&rig, NULL, false);
    run(&rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_JOB_STORED, .job_id = JOB});
    stored(&rig, 7, NULL);
    head_put(&rig, WEIR_HEAD_PUT_OK);
    assert_string_equal(rig.head->claimed, "file:///sp/one");
    uint64_t next = rig.head->next_checkpoint;
    take_over(&rig, rig.copied);
    assert_string_equal(rig.head->claimed, "file:///sp/one");
    assert_string_equal(rig.dropped_uri, ""); /* it is still to begin with */
    executor_ready(&rig);
    all_running(&rig);
    to_head(&rig, next);
    assert_string_equal(rig.dropped_uri, "");
    head_put(&rig, WEIR_HEAD_PUT_OK);
    assert_string_equal(rig.dropped_uri, "file:///sp/one");
    to_head(&rig, next + 1);
    assert_string_equal(rig.head->claimed, "");
    rig_fini(&rig);
}

static void cannot_begin_with_it(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    submit_restored(&rig, NULL, false);
    stored(&rig, 7, "CHECKPOINT_CORRUPT: it is not what was written");
    assert_int_equal(rig.reply, WEIR_ERR_IO);
    assert_null(job(&rig));
    run(&rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_JOB_STORED, .job_id = JOB});
    assert_int_equal(rig.head_puts, 0);
    rig_fini(&rig);
    rig_init(&rig);
    submit_restored(&rig, "ffffffffffffffffffffffffffffffff", false);
    assert_int_equal(rig.reply, WEIR_ERR_INVALID);
    assert_null(job(&rig));
    rig_fini(&rig);
    rig_init(&rig);
    submit_restored(&rig, "ffffffffffffffffffffffffffffffff", true);
    assert_non_null(job(&rig));
    assert_int_equal(rig.copied->n_parts, 0); /* left behind */
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(savepoint),
        cmocka_unit_test(output_waits_for_its_sink),
        cmocka_unit_test(one_after_the_other),
        cmocka_unit_test(one_after_a_timeout),
        cmocka_unit_test(savepoint_without_room),
        cmocka_unit_test(stop),
        cmocka_unit_test(cancelled_while_it_stops),
        cmocka_unit_test(stop_that_fails),
        cmocka_unit_test(drain),
        cmocka_unit_test(rescale),
        cmocka_unit_test(rescaled_tasks_soon_finish),
        cmocka_unit_test(rescaled_and_cancelled),
        cmocka_unit_test(one_rescale_after_the_other),
        cmocka_unit_test(output_of_another_job),
        cmocka_unit_test(begins_with_a_savepoint),
        cmocka_unit_test(a_claim_outlives_the_jobmanager),
        cmocka_unit_test(cannot_begin_with_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
