/* jobmanager/core/jm_recover.c where the simulator does not come: what is damaged for good, listings with foreign names, HEADs of later
 * JobManagers, ends with a reason. (Takeovers with faults are tests/sim's.)
 */
#include "jm_kit.h"

/* --- A JobManager that has just started, and what it does */

struct watch {
    struct weir_jm *jm;
    int64_t now_ms;
    int lists, reads, head_puts, drops, deletes, ended;
    bool fenced;
    uint32_t subtasks_max;                   /* of the first vertex, in the last HEAD that it wrote */
    char read_id[64], fence[256], log[4096]; /* what it said since the last step() */
};

static void step(struct watch *w, struct weir_jm_event event)
{
    struct weir_jm_effects effects;
    event.now_ms = w->now_ms;
    event.wall_ms = 1000000 + w->now_ms;
    weir_jm_step(w->jm, &event, &effects);
    w->log[0] = 0;
    for (int i = 0; i < effects.count; i++) {
        const struct weir_jm_effect *effect = &effects.items[i];
        size_t at = strlen(w->log);
        w->lists += effect->kind == WEIR_JM_EFFECT_JOBS_LIST;
        w->reads += effect->kind == WEIR_JM_EFFECT_JOB_READ;
        w->head_puts += effect->kind == WEIR_JM_EFFECT_HEAD_PUT;
        if (effect->kind == WEIR_JM_EFFECT_HEAD_PUT) {
            Weir__Head *head = weir__head__unpack(&weir_proto_memory, effect->size, effect->bytes);
            w->subtasks_max = head->subtasks_max[0];
            weir__head__free_unpacked(head, NULL);
        }
        w->drops += effect->kind == WEIR_JM_EFFECT_STORE_DROP;
        w->deletes += effect->kind == WEIR_JM_EFFECT_STORE_DELETE;
        w->ended += effect->kind == WEIR_JM_EFFECT_JOB_ENDED;
        w->fenced |= effect->kind == WEIR_JM_EFFECT_FENCED;
        if (effect->kind == WEIR_JM_EFFECT_JOB_READ)
            snprintf(w->read_id, sizeof w->read_id, "%s", effect->job_id);
        if (effect->kind == WEIR_JM_EFFECT_FENCED)
            snprintf(w->fence, sizeof w->fence, "%s", effect->text);
        if (effect->kind == WEIR_JM_EFFECT_LOG)
            snprintf(w->log + at, sizeof w->log - at, "%s\n", effect->text);
    }
}

static void start(struct watch *w)
{
    struct weir_jm_options options;
    weir_jm_options_init(&options);
    options.leader_epoch = 5;
    options.recovers = true;
    memset(w, 0, sizeof *w);
    w->now_ms = 1;
    w->jm = weir_jm_new(&options);
    step(w, (struct weir_jm_event){.kind = WEIR_JM_EVENT_TICK});
    assert_int_equal(w->lists, 1);
}

static void later(struct watch *w, int64_t ms)
{
    w->now_ms += ms;
    step(w, (struct weir_jm_event){.kind = WEIR_JM_EVENT_TICK});
}

static void listed(struct watch *w, const char *const *keys, int count)
{
    struct weir_jm_object objects[8];
    for (int i = 0; i < count; i++)
        objects[i] = (struct weir_jm_object){.key = keys[i]};
    step(w, (struct weir_jm_event){.kind = WEIR_JM_EVENT_JOBS_LISTED, .objects = objects, .object_count = count});
}

static void found(struct watch *w)
{
    start(w);
    const char *keys[] = {"jobs/" JOB "/"};
    listed(w, keys, 1);
    assert_int_equal(w->reads, 1);
    assert_string_equal(w->read_id, JOB);
}

/* --- What is read of a job: `ids` are retained, those of `missing` cannot be read */

struct stored_job {
    Weir__Head head;
    Weir__RetainedCheckpoint retained[80], *list[80];
    char names[80][16];
    enum weir_jm_read_result result;
    const char *text, *tag;
    bool no_head;
    uint64_t missing; /* set of places */
    size_t committables;
};

static void job_of(struct stored_job *stored, uint64_t newest, int count)
{
    memset(stored, 0, sizeof *stored);
    weir__head__init(&stored->head);
    stored->head.job_id = (char *)JOB;
    stored->head.leader_epoch = 1;
    stored->head.next_checkpoint = newest + 5;
    stored->head.next_attempt = 7;
    stored->head.job_state = WEIR_JOB_RUNNING;
    stored->head.committed_upto = newest;
    stored->head.nonce.data = (uint8_t *)(uintptr_t) "0123456789abcdef";
    stored->head.nonce.len = WEIR_HEAD_NONCE_SIZE;
    stored->head.retained = stored->list;
    stored->tag = "v1";
    for (int i = 0; i < count; i++) {
        weir__retained_checkpoint__init(&stored->retained[i]);
        snprintf(stored->names[i], sizeof stored->names[i], "m%d", i);
        stored->retained[i].id = newest - (uint64_t)(count - 1 - i);
        stored->retained[i].metadata = stored->names[i];
        stored->list[stored->head.n_retained++] = &stored->retained[i];
    }
}

static void was_read(struct watch *w, const struct stored_job *stored)
{
    uint8_t *bytes;
    size_t size;
    struct weir_jm_read read = {.result = stored->result, .text = stored->text, .tag = stored->tag};
    weir_jm_job_options_init(&read.options);
    read.options.checkpoint_interval_ms = INTERVAL_MS;
    read.take_plan = make_plan(WEIR__PARTITION__FORWARD, &bytes, &size);
    read.graph = bytes;
    read.graph_size = size;
    if (!stored->no_head) {
        read.head = &stored->head;
        read.take_snapshots = calloc(stored->head.n_retained + 1, sizeof *read.take_snapshots);
    }
    for (size_t i = 0; !stored->no_head && i < stored->head.n_retained; i++) {
        Weir__Snapshot snapshot;
        weir__snapshot__init(&snapshot);
        snapshot.checkpoint = stored->retained[i].id;
        if (!(i < 64 && stored->missing >> i & 1))
            read.take_snapshots[i] = snapshot_copy(&snapshot);
    }
    step(w, (struct weir_jm_event){.kind = WEIR_JM_EVENT_JOB_READ, .job_id = JOB, .read = &read});
    free(bytes);
}

static const struct weir_jm_job *known(const struct watch *w)
{
    return weir_jm_job_find(w->jm, JOB);
}

/* --- Tests */

/* Damage is believed the second time, with the same HEAD; then the job is FAILED, says what, and nothing of it is touched. */
static void believes_damage_twice(void **state)
{
    (void)state;
    struct watch w;
    struct stored_job stored;
    found(&w);
    job_of(&stored, 3, 2);
    stored.missing = 1u << 1; /* the newest */
    was_read(&w, &stored);
    assert_null(known(&w));
    later(&w, 1000);
    assert_int_equal(w.reads, 2);
    stored.tag = "v2"; /* another wrote it meanwhile */
    was_read(&w, &stored);
    assert_null(known(&w));
    later(&w, 1000);
    was_read(&w, &stored);
    assert_non_null(known(&w));
    assert_int_equal(known(&w)->state, WEIR_JOB_FAILED);
    assert_string_equal(known(&w)->cause->kind, "CHECKPOINT_CORRUPT");
    assert_non_null(strstr(known(&w)->cause->message, "m1"));
    assert_non_null(strstr(w.log, "mend that"));
    assert_int_equal(w.ended, 1);
    later(&w, 600000);
    assert_int_equal(w.head_puts + w.drops + w.deletes, 0);
    weir_jm_free(w.jm);
}

/* An older one that nobody needs any more is only logged, and what it may refer to is kept. */
static void an_older_one_is_missing(void **state)
{
    (void)state;
    struct watch w;
    struct stored_job stored;
    found(&w);
    job_of(&stored, 3, 2);
    stored.missing = 1;
    uint32_t subtasks_max[] = {9}; /* before it was rescaled, when it had one vertex */
    stored.head.subtasks_max = subtasks_max;
    stored.head.n_subtasks_max = 1;
    was_read(&w, &stored);
    later(&w, 1000);
    was_read(&w, &stored);
    assert_int_equal(known(&w)->state, WEIR_JOB_INITIALIZING);
    assert_int_equal(known(&w)->retained_count, 2);
    assert_non_null(strstr(w.log, "what this one may refer to is kept"));
    assert_int_equal(w.head_puts, 1); /* it is taken over */
    assert_int_equal(w.subtasks_max, 9);
    weir_jm_free(w.jm);
}

/* Output of an older one that is not known to be published is needed, and so is the one that lists it. */
static void what_is_unpublished_is_needed(void **state)
{
    (void)state;
    for (int ended = 0; ended < 2; ended++) {
        struct watch w;
        struct stored_job stored;
        found(&w);
        job_of(&stored, 3, 2);
        stored.head.committed_upto = 1;
        stored.head.job_state = ended ? WEIR_JOB_CANCELED : WEIR_JOB_RUNNING;
        stored.missing = 1;
        was_read(&w, &stored);
        later(&w, 1000);
        was_read(&w, &stored);
        assert_int_equal(known(&w)->state, WEIR_JOB_FAILED);
        assert_non_null(strstr(known(&w)->cause->message, "m0"));
        weir_jm_free(w.jm);
    }
}

/* Of a job that has ended the newest is needed by nobody, once it is published. */
static void an_ended_job_needs_nothing(void **state)
{
    (void)state;
    struct watch w;
    struct stored_job stored;
    found(&w);
    job_of(&stored, 3, 2);
    stored.head.job_state = WEIR_JOB_FAILED;
    stored.head.failure_kind = (char *)"UserCodeFailed";
    stored.head.failure = (char *)"it divided by zero";
    stored.head.ended_ms = 77;
    stored.missing = 3;
    was_read(&w, &stored);
    later(&w, 1000);
    was_read(&w, &stored);
    assert_int_equal(known(&w)->state, WEIR_JOB_FAILED);
    assert_int_equal(known(&w)->ended_ms, 77);
    assert_string_equal(known(&w)->cause->message, "it divided by zero");
    assert_int_equal(known(&w)->exception_count, 1);
    weir_jm_free(w.jm);
}

/* More than a JobManager ever leaves: HEAD is not what one wrote. */
static void too_many_unpublished(void **state)
{
    (void)state;
    struct watch w;
    struct stored_job stored;
    for (int over = 0; over < 2; over++) {
        found(&w);
        job_of(&stored, 100, COMMITS_MAX + over);
        stored.head.committed_upto = 0;
        was_read(&w, &stored);
        later(&w, 1000);
        if (over)
            was_read(&w, &stored);
        assert_int_equal(known(&w)->state, over ? WEIR_JOB_FAILED : WEIR_JOB_INITIALIZING);
        if (over)
            assert_non_null(strstr(known(&w)->cause->message, "more unpublished checkpoints"));
        weir_jm_free(w.jm);
    }
}

static void graph_or_head_are_corrupt(void **state)
{
    (void)state;
    for (int no_head = 0; no_head < 2; no_head++) {
        struct watch w;
        struct stored_job stored;
        found(&w);
        job_of(&stored, 3, 1);
        stored.result = WEIR_JM_READ_CORRUPT;
        stored.text = "its graph is not the one that HEAD names";
        stored.no_head = no_head;
        was_read(&w, &stored);
        assert_null(known(&w));
        later(&w, 1000);
        was_read(&w, &stored);
        assert_string_equal(known(&w)->cause->message, stored.text);
        assert_int_equal(w.head_puts, 0);
        weir_jm_free(w.jm);
    }
}

/* What does not answer is asked again, and what was said before that is not forgotten. */
static void asks_again(void **state)
{
    (void)state;
    struct watch w;
    struct stored_job stored;
    start(&w);
    assert_false(weir_jm_knows_all_jobs(w.jm));
    step(&w, (struct weir_jm_event){.kind = WEIR_JM_EVENT_JOBS_LISTED, .text = "503"});
    assert_non_null(strstr(w.log, "503"));
    assert_false(weir_jm_knows_all_jobs(w.jm));
    later(&w, 1000);
    assert_int_equal(w.lists, 2);
    const char *keys[] = {"jobs/" JOB "/"};
    listed(&w, keys, 1);
    assert_false(weir_jm_knows_all_jobs(w.jm)); /* it is not read yet */
    step(&w, (struct weir_jm_event){.kind = WEIR_JM_EVENT_OPERATION,
                                    .request = 1,
                                    .job_id = JOB,
                                    .operation = {WEIR_JM_OPERATION_CHECKPOINT, "soon", NULL}});
    assert_non_null(strstr(weir_jm_operation_find(w.jm, "soon")->failure, "is not known yet"));
    job_of(&stored, 3, 1);
    stored.missing = 1;
    was_read(&w, &stored); /* damaged, the first time */
    later(&w, 1000);
    stored.result = WEIR_JM_READ_FAILED;
    stored.text = "the connection was reset";
    stored.no_head = true;
    was_read(&w, &stored);
    assert_non_null(strstr(w.log, "the connection was reset"));
    later(&w, 1000);
    assert_int_equal(w.reads, 3);
    stored.result = WEIR_JM_READ_OK;
    stored.no_head = false;
    assert_false(weir_jm_knows_all_jobs(w.jm));
    was_read(&w, &stored); /* and the second time */
    assert_int_equal(known(&w)->state, WEIR_JOB_FAILED);
    assert_true(weir_jm_knows_all_jobs(w.jm));
    weir_jm_free(w.jm);
}

/* A HEAD that went between listing and reading: the next listing that has it is as good as the first. */
static void absent_for_a_while(void **state)
{
    (void)state;
    struct watch w;
    struct stored_job stored;
    found(&w);
    job_of(&stored, 3, 1);
    stored.result = WEIR_JM_READ_ABSENT;
    stored.no_head = true;
    was_read(&w, &stored);
    later(&w, 60000);
    assert_int_equal(w.lists, 2);
    const char *keys[] = {"jobs/" JOB "/"};
    listed(&w, keys, 1);
    assert_int_equal(w.reads, 2);
    weir_jm_free(w.jm);
}

static void a_later_jobmanager_has_it(void **state)
{
    (void)state;
    struct watch w;
    struct stored_job stored;
    found(&w);
    job_of(&stored, 3, 1);
    stored.head.leader_epoch = 6;
    was_read(&w, &stored);
    assert_true(w.fenced);
    assert_non_null(strstr(w.fence, "leader epoch 6, here 5"));
    assert_null(known(&w));
    weir_jm_free(w.jm);
}

/* Names that are no job's are left alone, whatever they are. */
static void foreign_names(void **state)
{
    (void)state;
    struct watch w;
    start(&w);
    const char *keys[] = {"jobs/", "jobs//", "jobs/" JOB, "jobs/" JOB "0/", "jobs/short/", "other/" JOB "/", "x"};
    listed(&w, keys, 7);
    assert_int_equal(w.reads + w.drops + w.deletes, 0);
    weir_jm_free(w.jm);
}

/* An answer that nobody waits for, or that comes twice, changes nothing. */
static void answers_without_a_question(void **state)
{
    (void)state;
    struct watch w;
    struct stored_job stored;
    start(&w);
    job_of(&stored, 3, 1);
    was_read(&w, &stored);
    assert_null(known(&w));
    const char *keys[] = {"jobs/" JOB "/"};
    listed(&w, keys, 1);
    was_read(&w, &stored);
    assert_int_equal(w.head_puts, 1);
    was_read(&w, &stored);
    assert_int_equal(w.head_puts, 1);
    listed(&w, keys, 1); /* the listing has been answered */
    assert_int_equal(w.reads, 1);
    weir_jm_free(w.jm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(believes_damage_twice),
        cmocka_unit_test(an_older_one_is_missing),
        cmocka_unit_test(what_is_unpublished_is_needed),
        cmocka_unit_test(an_ended_job_needs_nothing),
        cmocka_unit_test(too_many_unpublished),
        cmocka_unit_test(graph_or_head_are_corrupt),
        cmocka_unit_test(asks_again),
        cmocka_unit_test(absent_for_a_while),
        cmocka_unit_test(a_later_jobmanager_has_it),
        cmocka_unit_test(foreign_names),
        cmocka_unit_test(answers_without_a_question),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
