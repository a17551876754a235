/* What the JobManager deletes, and when: single objects, after their grace, never what a checkpoint needs that HEAD names or that is under way. */
#include "jm_kit.h"

#define GRACE_MS 5000
#define SWEEP_MS 60000

static bool was_deleted(const struct rig *rig, const char *name)
{
    char key[128];
    snprintf(key, sizeof key, "jobs/%s/%s", JOB, name);
    for (int i = 0; i < rig->deleted_count; i++)
        if (strcmp(rig->deleted[i], key) == 0)
            return true;
    return false;
}

static void begin(struct rig *rig)
{
    rig_init(rig);
    rig->options.checkpoint_gc_grace_ms = GRACE_MS;
    rig->options.checkpoint_gc_sweep_ms = SWEEP_MS;
    rig->options.checkpoint_interval_ms = 10 * SWEEP_MS; /* when they are asked for */
    rig->options.checkpoint_timeout_ms = 20 * SWEEP_MS;
    rig->options.checkpoints_tolerable = 10;
    bring_up(rig, WEIR__PARTITION__FORWARD);
}

static void trigger(struct rig *rig)
{
    static int number;
    char id[33];
    snprintf(id, sizeof id, "%032x", ++number);
    run(rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_OPERATION,
                                    .job_id = JOB,
                                    .operation = {.kind = WEIR_JM_OPERATION_CHECKPOINT, .id = id}});
}

/* Its parts are in the object of checkpoint `object_of`. */
static void complete_with(struct rig *rig, uint64_t id, uint64_t object_of)
{
    rig->object_of = object_of;
    trigger(rig);
    report_all(rig, id);
    stored(rig, id, NULL);
    head_put(rig, WEIR_HEAD_PUT_OK);
    commit_done(rig, id, false);
    assert_int_equal(job(rig)->retained[job(rig)->retained_count - 1].id, id);
}

static void object_by_object(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    complete_with(&rig, 1, 1);
    complete_with(&rig, 2, 1); /* refers to what 1 has written */
    pass(&rig, GRACE_MS - 1);
    assert_int_equal(rig.deleted_count, 0);
    pass(&rig, 1);
    assert_int_equal(rig.deleted_count, 1);
    assert_true(was_deleted(&rig, "chk-1/metadata"));
    complete_with(&rig, 3, 3);
    pass(&rig, GRACE_MS - 1);
    assert_int_equal(rig.deleted_count, 1);
    pass(&rig, 1);
    assert_int_equal(rig.deleted_count, 3);
    assert_true(was_deleted(&rig, "chk-2/metadata") && was_deleted(&rig, "chk-1/1-1"));
    assert_int_equal(rig.lists, 0); /* all of it was known */
    rig_fini(&rig);
}

static void num_retained(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.options.checkpoints_retained = 3; /* no grace */
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    for (uint64_t id = 1; id <= 5; id++) {
        rig.object_of = id;
        make_complete(&rig, id);
        commit_done(&rig, id, false);
    }
    assert_int_equal(rig.head->n_retained, 3);
    assert_int_equal(rig.head->gc_floor, 3);
    assert_int_equal(rig.deleted_count, 4);
    assert_true(was_deleted(&rig, "chk-1/1-1") && was_deleted(&rig, "chk-2/1-1"));
    rig_fini(&rig);
}

/* What another one builds on that has begun before is kept until that has ended. */
static void built_on_by_one_under_way(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.options.checkpoints_concurrent = 2;
    rig.options.checkpoint_gc_grace_ms = 1;
    rig.options.checkpoint_timeout_ms = 1000000;
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    rig.object_of = 1;
    make_complete(&rig, 1);
    commit_done(&rig, 1, false);
    pass(&rig, INTERVAL_MS); /* 2 */
    pass(&rig, INTERVAL_MS); /* 3: both on 1 */
    rig.object_of = 2;
    report_all(&rig, 2);
    stored(&rig, 2, NULL);
    head_put(&rig, WEIR_HEAD_PUT_OK);
    commit_done(&rig, 2, false);
    pass(&rig, 10);
    assert_int_equal(rig.deleted_count, 0);
    rig.object_of = 1;
    report_all(&rig, 3);
    stored(&rig, 3, NULL);
    head_put(&rig, WEIR_HEAD_PUT_OK);
    pass(&rig, 10);
    assert_false(was_deleted(&rig, "chk-1/1-1")); /* 3 needs it */
    assert_true(was_deleted(&rig, "chk-2/1-1") || rig.head->n_retained == 3);
    rig_fini(&rig);
}

/* Of a checkpoint that failed nobody knows all that was written. */
static void of_one_that_failed(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    trigger(&rig);
    checkpoint_report(&rig, 0, 1, 1, "no room on the disk");
    pass(&rig, 2 * GRACE_MS);
    assert_int_equal(rig.lists, 0); /* HEAD's floor has not passed it */
    complete_with(&rig, 2, 2);
    pass(&rig, GRACE_MS - 1);
    assert_int_equal(rig.lists, 0);
    pass(&rig, 1);
    assert_int_equal(rig.lists, 1);
    assert_string_equal(rig.listed, "jobs/" JOB "/chk-1/");
    run(&rig, (struct weir_jm_event){
                  .kind = WEIR_JM_EVENT_STORE_LISTED, .job_id = JOB, .request = rig.list_request, .text = "503"});
    pass(&rig, 1000); /* again */
    assert_int_equal(rig.lists, 2);
    list_page(&rig, true, GRACE_MS, (const char *const[]){"chk-1/0-0-1", NULL});
    assert_string_equal(rig.listed_after, "jobs/" JOB "/chk-1/0-0-1");
    assert_int_equal(rig.lists, 3);
    list_page(&rig, false, GRACE_MS - 1, (const char *const[]){"chk-1/1-0-1", NULL}); /* it came late */
    assert_true(was_deleted(&rig, "chk-1/0-0-1") && rig.deleted_count == 1 && rig.sweeps == 1);
    pass(&rig, GRACE_MS);
    assert_int_equal(rig.lists, 4);
    list_page(&rig, false, 2 * GRACE_MS, (const char *const[]){"chk-1/1-0-1", NULL});
    assert_true(was_deleted(&rig, "chk-1/1-0-1") && rig.deleted_count == 2);
    list_page(&rig, false, 2 * GRACE_MS,
              (const char *const[]){"chk-1/9-9-9", NULL}); /* an answer that nobody waits for */
    assert_int_equal(rig.deleted_count, 2);
    rig_fini(&rig);
}

static void found_by_a_sweep(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    complete_with(&rig, 1, 1);
    complete_with(&rig, 2, 1);
    Weir__Snapshot *newest = snapshot_copy(rig.metadata);
    take_over(&rig, newest); /* before 1's metadata was deleted */
    weir__snapshot__free_unpacked(newest, NULL);
    executor_ready(&rig);
    all_running(&rig);
    trigger(&rig);
    pass(&rig, GRACE_MS - 2);
    assert_int_equal(rig.lists, 0);
    pass(&rig, 2);
    assert_int_equal(rig.lists, 1);
    assert_string_equal(rig.listed, "jobs/" JOB "/");
    uint32_t attempt = job(&rig)->tasks[0].attempt;
    char current[40], old[40];
    snprintf(current, sizeof current, "finished/0-0-%u", attempt);
    snprintf(old, sizeof old, "finished/0-0-%u", attempt - 1);
    char graph[80] = "graph-";
    strcat(graph, rig.head->graph_sha256);
    list_page(&rig, true, 2 * GRACE_MS,
              (const char *const[]){"HEAD", "chk-1/0-0-9", "chk-1/1-1", "chk-1/metadata", NULL});
    assert_int_equal(rig.deleted_count, 2);
    assert_true(was_deleted(&rig, "chk-1/0-0-9") && was_deleted(&rig, "chk-1/metadata"));
    assert_string_equal(rig.listed_after, "jobs/" JOB "/chk-1/metadata");
    list_page(&rig, true, 2 * GRACE_MS,
              (const char *const[]){"chk-2/0-0-1", "chk-2/metadata", "chk-7/0-0-9", "chk-x/1", "code-0", NULL});
    assert_int_equal(rig.deleted_count, 3);
    assert_true(was_deleted(&rig, "code-0")); /* of a submission with this id that was refused; the job has no code */
    list_page(&rig, false, 2 * GRACE_MS,
              (const char *const[]){current, old, graph, "graph-0", "of-somebody-else", NULL});
    assert_int_equal(rig.deleted_count, 5);
    assert_true(was_deleted(&rig, old) && was_deleted(&rig, "graph-0"));
    assert_int_equal(rig.sweeps, 1);
    pass(&rig, GRACE_MS);           /* it has found something: is it gone? */
    assert_int_equal(rig.lists, 4); /* three were pages */
    list_page(&rig, false, 2 * GRACE_MS, (const char *const[]){"HEAD", graph, NULL});
    pass(&rig, SWEEP_MS);
    assert_int_equal(rig.lists, 4); /* by the floor of now */
    pass(&rig, GRACE_MS);
    assert_int_equal(rig.lists, 5);
    rig_fini(&rig);
}

/* The floor by which a search judges is that of a grace ago, and what was released meanwhile waits for its own grace. */
static void not_within_its_grace(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    complete_with(&rig, 1, 1);
    pass(&rig, SWEEP_MS);
    pass(&rig, 20);
    complete_with(&rig, 2, 2);
    pass(&rig, GRACE_MS - 20);
    assert_int_equal(rig.lists, 1);
    list_page(&rig, false, SWEEP_MS,
              (const char *const[]){"chk-1/0-0-9", "chk-1/1-1", "chk-1/metadata", "chk-2/1-1", "chk-2/metadata", NULL});
    assert_int_equal(rig.deleted_count, 0);
    pass(&rig, 20);
    assert_int_equal(rig.deleted_count, 2);
    rig_fini(&rig);
}

static void what_could_not_be_deleted(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    complete_with(&rig, 1, 1);
    complete_with(&rig, 2, 2);
    pass(&rig, GRACE_MS);
    assert_int_equal(rig.deleted_count, 2);
    deletion_failed(&rig);
    deletion_failed(&rig);
    pass(&rig, GRACE_MS);
    assert_int_equal(rig.lists, 1);
    assert_string_equal(rig.listed, "jobs/" JOB "/");
    list_page(&rig, false, 2 * GRACE_MS,
              (const char *const[]){"chk-1/1-1", "chk-1/metadata", "chk-2/1-1", "chk-2/metadata", NULL});
    assert_int_equal(rig.deleted_count, 4);
    rig_fini(&rig);
}

static void cancel(struct rig *rig)
{
    run(rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_CANCEL, .job_id = JOB, .request = 9});
    for (int i = 0; i < 3; i++)
        head_put(rig, WEIR_HEAD_PUT_OK);
    for (int t = 0; t < job(rig)->task_count; t++)
        task_report(rig, t, WEIR__TASK_STATE__CANCELED);
    for (int i = 0; i < 4; i++)
        head_put(rig, WEIR_HEAD_PUT_OK);
    assert_int_equal(job(rig)->state, WEIR_JOB_CANCELED);
}

static void ended(enum weir_jm_retention retention)
{
    struct rig rig;
    rig_init(&rig);
    rig.options.checkpoint_gc_grace_ms = GRACE_MS;
    rig.options.checkpoint_interval_ms = 10 * SWEEP_MS;
    rig.options.retention = retention;
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    complete_with(&rig, 1, 1);
    complete_with(&rig, 2, 2);
    cancel(&rig);
    bool keeps = retention == WEIR_JM_RETENTION_RETAIN_ON_CANCELLATION;
    assert_int_equal(rig.head->n_retained, keeps);
    assert_true(rig.head->gc_floor > 2);
    pass(&rig, GRACE_MS);
    assert_int_equal(rig.deleted_count, keeps ? 2 : 4);
    assert_int_equal(was_deleted(&rig, "chk-2/1-1"), !keeps);
    pass(&rig, 50000); /* heartbeat.timeout: executors that are cut off have ended */
    for (int i = 0; i < 8 && strcmp(rig.listed, "jobs/" JOB "/") != 0; i++)
        list_page(&rig, false, 0, (const char *const[]){NULL}); /* ids that were reserved */
    assert_string_equal(rig.listed, "jobs/" JOB "/");
    list_page(&rig, false, 60000, (const char *const[]){"HEAD", "chk-1/0-0-9", "chk-2/1-1", "finished/0-0-1", NULL});
    assert_true(was_deleted(&rig, "chk-1/0-0-9") && was_deleted(&rig, "finished/0-0-1"));
    assert_int_equal(was_deleted(&rig, "chk-2/1-1"), !keeps);
    assert_false(was_deleted(&rig, "HEAD"));
    rig_fini(&rig);
}

static void at_the_end(void **state)
{
    (void)state;
    ended(WEIR_JM_RETENTION_NONE);
    ended(WEIR_JM_RETENTION_RETAIN_ON_CANCELLATION);
}

/* What the job has gone back from is needed as long as HEAD names it, then for a grace; and what is not below the floor, until that has passed it. */
static void after_going_back(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.options.checkpoint_gc_grace_ms = GRACE_MS;
    rig.options.checkpoint_gc_sweep_ms = SWEEP_MS;
    rig.options.checkpoint_interval_ms = 10 * SWEEP_MS;
    rig.options.checkpoint_timeout_ms = 20 * SWEEP_MS;
    rig.options.checkpoints_retained = 2;
    rig.without_output = true;
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    complete_with(&rig, 1, 1);
    complete_with(&rig, 2, 2);
    complete_with(&rig, 3, 1); /* refers to what 1 has written, and 2 does not */
    assert_int_equal(rig.head->gc_floor, 2);
    pass(&rig, SWEEP_MS); /* by the floor of now all is listed a grace later */
    assert_int_equal(rig.deleted_count, 1);
    assert_true(was_deleted(&rig, "chk-1/metadata"));
    pass(&rig, GRACE_MS);
    assert_int_equal(rig.lists, 1);
    task_report_from(&rig, 0, WEIR__TASK_STATE__FAILED, "", 3);
    assert_int_equal(job(&rig)->retained_count, 2 - 1);
    list_page(&rig, true, SWEEP_MS, (const char *const[]){"chk-1/1-1", NULL});
    assert_int_equal(rig.deleted_count, 1); /* a JobManager that took over now would find a HEAD that needs it */
    head_put(&rig, WEIR_HEAD_PUT_OK);
    assert_int_equal(rig.head->n_retained, 1);
    list_page(&rig, false, SWEEP_MS, (const char *const[]){"chk-1/1-1", NULL});
    pass(&rig, GRACE_MS - 1);
    assert_int_equal(rig.deleted_count, 1);
    pass(&rig, 1);
    assert_int_equal(rig.deleted_count, 2);
    assert_true(was_deleted(&rig, "chk-1/1-1"));
    all_running(&rig);
    complete_with(&rig, 4, 4);
    complete_with(&rig, 5, 5);
    assert_int_equal(rig.head->gc_floor, 4);
    pass(&rig, GRACE_MS);
    assert_false(was_deleted(&rig, "chk-3/metadata"));
    assert_true(was_deleted(&rig, "chk-2/metadata") && was_deleted(&rig, "chk-2/1-1"));
    assert_string_equal(rig.listed, "jobs/" JOB "/chk-3/");
    list_page(&rig, false, SWEEP_MS, (const char *const[]){"chk-3/metadata", NULL});
    assert_true(was_deleted(&rig, "chk-3/metadata"));
    rig_fini(&rig);
}

/* The last snapshot of a task that has finished is part of all that follows, though what the job has gone back to is older. */
static void a_finished_task_after_going_back(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.options.checkpoint_gc_grace_ms = GRACE_MS;
    rig.options.checkpoint_interval_ms = 10 * SWEEP_MS;
    rig.options.checkpoint_timeout_ms = 20 * SWEEP_MS;
    rig.options.checkpoints_retained = 2;
    rig.without_output = true;
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    complete_with(&rig, 1, 1);
    rig.end_name = "finished/0-0-1";
    task_report(&rig, 0, WEIR__TASK_STATE__FINISHED);
    complete_with(&rig, 2, 2);
    task_report_from(&rig, 1, WEIR__TASK_STATE__FAILED, "", 2);
    head_put(&rig, WEIR_HEAD_PUT_OK);
    assert_int_equal(rig.head->n_retained, 1);
    pass(&rig, GRACE_MS);
    all_running(&rig);
    assert_int_equal(rig.deleted_count, 0);
    complete_with(&rig, 3, 3);
    pass(&rig, GRACE_MS);
    assert_false(was_deleted(&rig, rig.end_name));
    rig_fini(&rig);
}

/* A directory without HEAD, of a submission that was never accepted: all of it or nothing, by its youngest object. */
static void without_head(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    weir_jm_free(rig.jm);
    struct weir_jm_options options;
    weir_jm_options_init(&options);
    options.recovers = true;
    rig.jm = weir_jm_new(&options);
    for (int i = 1; i <= 2; i++) {
        pass(&rig, options.list_interval_ms);
        const struct weir_jm_object objects[] = {{.key = "jobs/" JOB "/"}, {.key = "jobs/notes/"}};
        run(&rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_JOBS_LISTED, .objects = objects, .object_count = 2});
        const struct weir_jm_read read = {.result = WEIR_JM_READ_ABSENT};
        run(&rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_JOB_READ, .job_id = JOB, .read = &read});
        assert_int_equal(rig.drops, i);
        assert_int_equal(rig.drop_age_ms, options.headless_grace_ms);
        run(&rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_JOB_DELETED, .job_id = JOB});
    }
    rig_fini(&rig);
}

static void listed(struct rig *rig)
{
    const struct weir_jm_object objects[] = {{.key = "jobs/" JOB "/"}};
    run(rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_JOBS_LISTED, .objects = objects, .object_count = 1});
}

/* A listing has shown it while it was being submitted. */
static void of_a_refused_submission(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    weir_jm_free(rig.jm);
    struct weir_jm_options options;
    weir_jm_options_init(&options);
    options.recovers = true;
    rig.jm = weir_jm_new(&options);
    rig.durable = true;
    submit(&rig, WEIR__PARTITION__FORWARD);
    listed(&rig);
    run(&rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_JOB_STORED, .job_id = JOB, .text = "503"});
    assert_null(job(&rig));
    pass(&rig, options.list_interval_ms);
    listed(&rig);
    const struct weir_jm_read read = {.result = WEIR_JM_READ_ABSENT};
    run(&rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_JOB_READ, .job_id = JOB, .read = &read});
    assert_int_equal(rig.drops, 1);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(object_by_object),
        cmocka_unit_test(num_retained),
        cmocka_unit_test(built_on_by_one_under_way),
        cmocka_unit_test(of_one_that_failed),
        cmocka_unit_test(found_by_a_sweep),
        cmocka_unit_test(not_within_its_grace),
        cmocka_unit_test(what_could_not_be_deleted),
        cmocka_unit_test(at_the_end),
        cmocka_unit_test(after_going_back),
        cmocka_unit_test(a_finished_task_after_going_back),
        cmocka_unit_test(without_head),
        cmocka_unit_test(of_a_refused_submission),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
