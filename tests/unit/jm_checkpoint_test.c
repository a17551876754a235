/* jobmanager/core/jm_checkpoint.c along the plain paths and at each state's edge: one TaskManager, a job of a source and a sink with two
 * subtasks each (one region; or, chained, two regions of one task), and an object store that a test answers for by hand. (What many of them
 * do at once, with faults, is tests/sim's.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/proto_memory.h"
#include "jobmanager/core/jm_checkpoint_int.h"

#define JOB "000000000000000000000000000000aa"
#define SENT_MAX 512
#define INTERVAL_MS 1000

struct rig {
    bool without_output;
    struct weir_jm *jm;
    struct weir_jm_job_options options;
    int64_t now_ms, wake_at_ms;
    Weir__Control *sent[SENT_MAX]; /* since forget() */
    int sent_count;
    uint64_t reports;
    enum weir_err_code reply;
    bool fenced;
    /* the store */
    Weir__Snapshot *metadata; /* of the last STORE_PUT */
    int puts, head_puts, head_gets;
    Weir__Head *head; /* of the last HEAD_PUT */
    uint64_t heads;
    Weir__Snapshot *copied; /* of the last STORE_COPY */
    char copy_text[128], copy_from[64], copy_to[128], copy_keys[2][128];
    int copies;
    uint32_t kind;      /* of parts; 0: SUBTASK */
    uint64_t object_of; /* parts of checkpoints are in an object of this one; 0: in the report */
    uint64_t dropped[64];
    int dropped_count;
};

static const struct weir_jm_job *job(const struct rig *rig)
{
    return weir_jm_job_find(rig->jm, JOB);
}

static void take_effect(struct rig *rig, const struct weir_jm_effect *effect)
{
    switch (effect->kind) {
    case WEIR_JM_EFFECT_SEND:
        assert_true(rig->sent_count < SENT_MAX);
        rig->sent[rig->sent_count++] = weir_jm_control_copy(effect->control);
        break;
    case WEIR_JM_EFFECT_REPLY:
        rig->reply = effect->code;
        break;
    case WEIR_JM_EFFECT_FENCED:
        rig->fenced = true;
        break;
    case WEIR_JM_EFFECT_STORE_PUT:
        if (rig->metadata)
            weir__snapshot__free_unpacked(rig->metadata, NULL);
        rig->metadata = weir__snapshot__unpack(&weir_proto_memory, effect->size, effect->bytes);
        assert_non_null(rig->metadata);
        assert_int_equal(rig->metadata->checkpoint, effect->checkpoint);
        rig->puts++;
        break;
    case WEIR_JM_EFFECT_STORE_COPY:
        if (rig->copied)
            weir__snapshot__free_unpacked(rig->copied, NULL);
        rig->copied = weir__snapshot__unpack(&weir_proto_memory, effect->size, effect->bytes);
        snprintf(rig->copy_text, sizeof rig->copy_text, "%s", effect->text);
        snprintf(rig->copy_from, sizeof rig->copy_from, "%s", effect->from_uri ? effect->from_uri : "own");
        snprintf(rig->copy_to, sizeof rig->copy_to, "%s", effect->to_uri ? effect->to_uri : "own");
        snprintf(rig->copy_keys[0], sizeof rig->copy_keys[0], "%s", effect->copy_count ? effect->copies[0].from : "");
        snprintf(rig->copy_keys[1], sizeof rig->copy_keys[1], "%s", effect->copy_count ? effect->copies[0].to : "");
        rig->copies++;
        break;
    case WEIR_JM_EFFECT_HEAD_PUT:
        if (rig->head)
            weir__head__free_unpacked(rig->head, NULL);
        rig->head = weir__head__unpack(&weir_proto_memory, effect->size, effect->bytes);
        assert_non_null(rig->head);
        rig->head_puts++;
        break;
    case WEIR_JM_EFFECT_HEAD_GET:
        rig->head_gets++;
        break;
    case WEIR_JM_EFFECT_STORE_DROP:
        assert_true(rig->dropped_count < 64);
        rig->dropped[rig->dropped_count++] = effect->checkpoint;
        break;
    default:
        break;
    }
}

static void run(struct rig *rig, struct weir_jm_event event)
{
    struct weir_jm_effects effects;
    event.now_ms = rig->now_ms;
    event.wall_ms = 1000000 + rig->now_ms;
    weir_jm_step(rig->jm, &event, &effects);
    for (int i = 0; i < effects.count; i++)
        take_effect(rig, &effects.items[i]);
    rig->wake_at_ms = effects.wake_at_ms;
    assert_true(rig->fenced || rig->wake_at_ms > rig->now_ms); /* nobody spins */
}

static void forget(struct rig *rig)
{
    for (int i = 0; i < rig->sent_count; i++)
        weir__control__free_unpacked(rig->sent[i], NULL);
    rig->sent_count = 0;
}

/* The newest of a kind; NULL: none. */
static const Weir__Control *last(const struct rig *rig, Weir__Control__BodyCase body)
{
    for (int i = rig->sent_count; i-- > 0;)
        if (rig->sent[i]->body_case == body)
            return rig->sent[i];
    return NULL;
}

static void deliver(struct rig *rig, Weir__Control *control)
{
    control->version = 1;
    control->session = 1;
    control->leader_epoch = 1;
    if (control->body_case != WEIR__CONTROL__BODY_ACK && control->body_case != WEIR__CONTROL__BODY_REGISTER &&
        control->body_case != WEIR__CONTROL__BODY_HEARTBEAT)
        control->id = ++rig->reports;
    run(rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_MESSAGE, .peer = "peer0", .control = control});
}

static void ack_all(struct rig *rig)
{
    Weir__Ack ack;
    weir__ack__init(&ack);
    ack.id = UINT64_MAX;
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_ACK;
    control.ack = &ack;
    deliver(rig, &control);
}

/* The clock goes on; the TaskManager is well. */
static void pass(struct rig *rig, int64_t ms)
{
    static uint64_t sequence;
    ack_all(rig);
    rig->now_ms += ms;
    Weir__Heartbeat beat;
    weir__heartbeat__init(&beat);
    beat.sequence = ++sequence;
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_HEARTBEAT;
    control.heartbeat = &beat;
    deliver(rig, &control);
}

static void register_tm(struct rig *rig)
{
    Weir__Register reg;
    weir__register__init(&reg);
    reg.taskmanager_id = (char *)"tm0";
    reg.host = (char *)"127.0.0.1";
    reg.slots = 2;
    reg.session = 1;
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_REGISTER;
    control.register_ = &reg;
    deliver(rig, &control);
}

static void executor_ready(struct rig *rig)
{
    Weir__ExecutorReport report;
    weir__executor_report__init(&report);
    report.executor_id = (char *)(uintptr_t)weir_jm_executor_at(rig->jm, 0).id;
    report.job_id = (char *)JOB;
    report.state = WEIR__EXECUTOR_REPORT__STATE__READY;
    report.endpoint = (char *)"tcp://127.0.0.1:4000";
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_EXECUTOR_REPORT;
    control.executor_report = &report;
    deliver(rig, &control);
}

/* --- What a subtask says: its one part is named `name`, and so is its one committable. */

struct subtask_snapshot {
    Weir__SubtaskSnapshot snapshot;
    Weir__StatePart part, *parts[1];
    Weir__Committable committable, *committables[1];
    char object[64];
};

static Weir__SubtaskSnapshot *snapshot_of(const struct rig *rig, int t, const char *name, uint64_t object_of,
                                          struct subtask_snapshot *out)
{
    const struct weir_jm_task *task = &job(rig)->tasks[t];
    const struct weir_plan_vertex *vertex = &job(rig)->plan->vertices[task->vertex];
    weir__subtask_snapshot__init(&out->snapshot);
    weir__state_part__init(&out->part);
    weir__committable__init(&out->committable);
    out->part.uid = (char *)(uintptr_t)job(rig)->plan->ops[vertex->ops[0]].uid;
    out->part.name = (char *)(uintptr_t)name;
    out->part.kind = rig->kind ? rig->kind : 1;
    out->part.subtask = (uint32_t)task->subtask;
    out->part.parallelism = (uint32_t)vertex->parallelism;
    out->part.size = 10;
    snprintf(out->object, sizeof out->object, object_of ? "jobs/" JOB "/chk-%d/1-1" : "", (int)object_of);
    out->part.object = out->object;
    out->committable.text = (char *)(uintptr_t)name;
    out->parts[0] = &out->part;
    out->committables[0] = &out->committable;
    out->snapshot.parts = out->parts;
    out->snapshot.n_parts = 1;
    out->snapshot.committables = out->committables;
    out->snapshot.n_committables = rig->without_output ? 0 : 1;
    return &out->snapshot;
}

static void task_report_from(struct rig *rig, int t, Weir__TaskState state, const char *name, uint64_t object_of)
{
    const struct weir_jm_task *task = &job(rig)->tasks[t];
    Weir__TaskId id;
    weir__task_id__init(&id);
    id.vertex = (uint32_t)task->vertex;
    id.subtask = (uint32_t)task->subtask;
    id.attempt = task->attempt;
    struct subtask_snapshot snapshot;
    Weir__TaskReport report;
    weir__task_report__init(&report);
    char executor[33];
    snprintf(executor, sizeof executor, "%s", task->executor_id);
    report.executor_id = executor;
    report.job_id = (char *)JOB;
    report.task = &id;
    report.state = state;
    Weir__Failure corrupt;
    weir__failure__init(&corrupt);
    corrupt.kind = (char *)"CHECKPOINT_CORRUPT";
    corrupt.message = (char *)"it does not fit its checksum";
    corrupt.fail_job = true;
    corrupt.checkpoint = object_of;
    if (state == WEIR__TASK_STATE__FAILED && object_of)
        report.failure = &corrupt;
    if (state == WEIR__TASK_STATE__FINISHED)
        report.snapshot = snapshot_of(rig, t, name, object_of, &snapshot);
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_TASK_REPORT;
    control.task_report = &report;
    deliver(rig, &control);
}

static void task_report(struct rig *rig, int t, Weir__TaskState state)
{
    char name[16];
    snprintf(name, sizeof name, "end%d", t);
    task_report_from(rig, t, state, name, 0);
}

static void checkpoint_report(struct rig *rig, int t, uint32_t attempt, uint64_t checkpoint, const char *failure)
{
    const struct weir_jm_task *task = &job(rig)->tasks[t];
    char name[32];
    snprintf(name, sizeof name, "t%d-%d", t, (int)checkpoint);
    Weir__TaskId id;
    weir__task_id__init(&id);
    id.vertex = (uint32_t)task->vertex;
    id.subtask = (uint32_t)task->subtask;
    id.attempt = attempt;
    struct subtask_snapshot snapshot;
    Weir__Failure why;
    weir__failure__init(&why);
    why.message = (char *)(uintptr_t)failure;
    Weir__CheckpointReport report;
    weir__checkpoint_report__init(&report);
    report.executor_id = (char *)(uintptr_t)task->executor_id;
    report.job_id = (char *)JOB;
    report.task = &id;
    report.checkpoint = checkpoint;
    report.snapshot = snapshot_of(rig, t, name, rig->object_of, &snapshot);
    report.failure = failure ? &why : NULL;
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_CHECKPOINT_REPORT;
    control.checkpoint_report = &report;
    deliver(rig, &control);
}

static void report_all(struct rig *rig, uint64_t checkpoint)
{
    for (int t = 0; t < job(rig)->task_count; t++)
        if (job(rig)->tasks[t].state == WEIR__TASK_STATE__RUNNING)
            checkpoint_report(rig, t, job(rig)->tasks[t].attempt, checkpoint, NULL);
}

static void commit_done(struct rig *rig, uint64_t checkpoint, bool fails)
{
    Weir__Failure failure;
    weir__failure__init(&failure);
    failure.kind = (char *)"CommitFailed";
    failure.message = (char *)"the directory is gone";
    Weir__CommitDone done;
    weir__commit_done__init(&done);
    done.job_id = (char *)JOB;
    done.checkpoint = checkpoint;
    done.failure = fails ? &failure : NULL;
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_COMMIT_DONE;
    control.commit_done = &done;
    deliver(rig, &control);
}

/* --- What the store says */

static void stored(struct rig *rig, uint64_t checkpoint, const char *failure)
{
    run(rig,
        (struct weir_jm_event){.kind = WEIR_JM_EVENT_STORED, .job_id = JOB, .checkpoint = checkpoint, .text = failure});
}

static void head_put(struct rig *rig, enum weir_head_put_result result)
{
    char tag[16];
    snprintf(tag, sizeof tag, "v%d", (int)++rig->heads);
    run(rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_HEAD_PUT, .job_id = JOB, .put_result = result, .tag = tag});
}

static void head_got(struct rig *rig, enum weir_head_get_result result, const uint8_t *nonce)
{
    uint8_t none[WEIR_HEAD_NONCE_SIZE] = {0};
    run(rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_HEAD_GOT,
                                    .job_id = JOB,
                                    .get_result = result,
                                    .tag = "read",
                                    .nonce = nonce ? nonce : none});
}

/* --- Set-up */

static struct weir_plan *make_plan_of(Weir__Partition partition, int parallelism, uint8_t **bytes, size_t *size)
{
    Weir__JobGraph graph;
    Weir__Vertex v[2], *vertices[2] = {&v[0], &v[1]};
    Weir__Edge e, *edges[1] = {&e};
    weir__job_graph__init(&graph);
    for (int i = 0; i < 2; i++) {
        weir__vertex__init(&v[i]);
        v[i].id = (uint32_t)i + 1;
        v[i].op = (char *)(i % 2 ? "sink" : "source");
        v[i].name = (char *)(i % 2 ? "out" : "in");
    }
    weir__edge__init(&e);
    e.from = 1;
    e.to = 2;
    e.partition = partition;
    graph.version = 1;
    graph.name = (char *)"pair";
    graph.n_vertices = 2;
    graph.vertices = vertices;
    graph.n_edges = 1;
    graph.edges = edges;
    *size = weir__job_graph__get_packed_size(&graph);
    *bytes = malloc(*size);
    weir__job_graph__pack(&graph, *bytes);
    struct weir_plan_options options = {.parallelism = parallelism, .chaining = true};
    struct weir_plan *plan;
    struct weir_error error;
    assert_int_equal(weir_plan_build(*bytes, *size, &options, &plan, &error), WEIR_OK);
    return plan;
}

static struct weir_plan *make_plan(Weir__Partition partition, uint8_t **bytes, size_t *size)
{
    return make_plan_of(partition, 2, bytes, size);
}

static void rig_init(struct rig *rig)
{
    memset(rig, 0, sizeof *rig);
    rig->now_ms = 1;
    struct weir_jm_options jm_options;
    weir_jm_options_init(&jm_options);
    rig->jm = weir_jm_new(&jm_options);
    weir_jm_job_options_init(&rig->options);
    rig->options.checkpoint_interval_ms = INTERVAL_MS;
    rig->options.checkpoint_timeout_ms = 30000;
    rig->options.restart = WEIR_JM_RESTART_FIXED_DELAY;
    rig->options.fixed_attempts = 10;
    rig->options.fixed_delay_ms = 100;
}

static void submit(struct rig *rig, Weir__Partition partition)
{
    uint8_t *bytes;
    size_t size;
    struct weir_plan *plan = make_plan(partition, &bytes, &size);
    register_tm(rig);
    run(rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_SUBMIT,
                                    .job_id = JOB,
                                    .take_plan = plan,
                                    .graph = bytes,
                                    .graph_size = size,
                                    .job_options = rig->options});
    free(bytes);
    assert_int_equal(rig->reply, WEIR_OK);
}

static void all_running(struct rig *rig)
{
    for (int t = 0; t < job(rig)->task_count; t++)
        if (job(rig)->tasks[t].state == WEIR__TASK_STATE__DEPLOYING)
            task_report(rig, t, WEIR__TASK_STATE__RUNNING);
}

/* To the point where all tasks run and HEAD is there. */
static void bring_up(struct rig *rig, Weir__Partition partition)
{
    submit(rig, partition);
    head_put(rig, WEIR_HEAD_PUT_OK);
    executor_ready(rig);
    all_running(rig);
    ack_all(rig);
    forget(rig);
}

/* To the point where checkpoint `id` is being written into HEAD. */
static void to_head(struct rig *rig, uint64_t id)
{
    pass(rig, INTERVAL_MS);
    report_all(rig, id);
    stored(rig, id, NULL);
    assert_non_null(rig->head);
    assert_int_equal(rig->head->retained[rig->head->n_retained - 1]->id, id);
}

static void make_complete(struct rig *rig, uint64_t id)
{
    to_head(rig, id);
    head_put(rig, WEIR_HEAD_PUT_OK);
    assert_int_equal(job(rig)->checkpoints_completed, id);
}

static void rig_fini(struct rig *rig)
{
    forget(rig);
    if (rig->metadata)
        weir__snapshot__free_unpacked(rig->metadata, NULL);
    if (rig->head)
        weir__head__free_unpacked(rig->head, NULL);
    if (rig->copied)
        weir__snapshot__free_unpacked(rig->copied, NULL);
    weir_jm_free(rig->jm);
}

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
    assert_int_equal(rig.dropped_count,
                     2); /* 1 and 2, now that HEAD's floor has passed them; giving up drops nothing */
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

/* Objects that a later checkpoint refers to stay, however old the one is whose name they bear. */
static void shared_objects_stay(void **state)
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
    assert_int_equal(rig.dropped_count, 2);
    assert_int_equal(rig.dropped[0], 1);
    assert_int_equal(rig.dropped[1], 3);
    rig_fini(&rig);
}

/* What is not known to be published stays in HEAD, beyond num-retained, and its commits go out in order. */
static void uncommitted_ones_stay(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    make_complete(&rig, 1);
    make_complete(&rig, 2);
    make_complete(&rig, 3);
    assert_int_equal(rig.head->n_retained, 3);
    assert_int_equal(rig.dropped_count, 0);
    assert_int_equal(last(&rig, WEIR__CONTROL__BODY_COMMIT_OUTPUT)->commit_output->checkpoint, 1);
    commit_done(&rig, 2, false); /* of none that was sent */
    assert_int_equal(last(&rig, WEIR__CONTROL__BODY_COMMIT_OUTPUT)->commit_output->checkpoint, 1);
    commit_done(&rig, 1, false);
    assert_int_equal(last(&rig, WEIR__CONTROL__BODY_COMMIT_OUTPUT)->commit_output->checkpoint, 2);
    make_complete(&rig, 4);
    assert_int_equal(rig.head->committed_upto, 1);
    assert_int_equal(rig.head->n_retained, 3); /* 2, 3, 4 */
    assert_int_equal(rig.dropped_count, 1);
    commit_done(&rig, 2, true); /* it cannot be published: nothing after it either */
    assert_int_equal(job(&rig)->state, WEIR_JOB_FAILING);
    forget(&rig);
    pass(&rig, 1);
    assert_null(last(&rig, WEIR__CONTROL__BODY_COMMIT_OUTPUT));
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
    Weir__ExecutorReport report;
    weir__executor_report__init(&report);
    char id[33];
    snprintf(id, sizeof id, "%s", weir_jm_executor_at(rig.jm, 0).id);
    report.executor_id = id;
    report.job_id = (char *)JOB;
    report.state = WEIR__EXECUTOR_REPORT__STATE__EXITED;
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_EXECUTOR_REPORT;
    control.executor_report = &report;
    deliver(&rig, &control);
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
    assert_non_null(strstr(ask_now(&rig, "off")->failure, "execution.checkpointing.interval"));
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
    enum { GOES_BACK, HAS_OUTPUT, IS_ALONE, IS_NOT_THE_NEWEST };
    for (int how = GOES_BACK; how <= IS_NOT_THE_NEWEST; how++) {
        struct rig rig;
        rig_init(&rig);
        rig.options.checkpoints_retained = how == IS_ALONE ? 1 : 3;
        rig.without_output = true;
        bring_up(&rig, WEIR__PARTITION__FORWARD);
        make_complete(&rig, 1);
        make_complete(&rig, 2);
        rig.without_output = how != HAS_OUTPUT;
        make_complete(&rig, 3);
        task_report(&rig, 0, WEIR__TASK_STATE__FAILED);
        pass(&rig, 100);
        assert_int_equal(last(&rig, WEIR__CONTROL__BODY_DEPLOY_TASKS)->deploy_tasks->restores[0]->checkpoint, 3);
        forget(&rig);
        task_report_from(&rig, 0, WEIR__TASK_STATE__FAILED, "", how == IS_NOT_THE_NEWEST ? 2 : 3);
        pass(&rig, 100);
        if (how == HAS_OUTPUT || how == IS_ALONE) {
            assert_int_equal(job(&rig)->state, WEIR_JOB_FAILING);
            assert_string_equal(job(&rig)->cause->kind, "CHECKPOINT_CORRUPT");
            assert_non_null(strstr(job(&rig)->cause->message, "it does not fit its checksum; "));
            assert_non_null(strstr(job(&rig)->cause->message,
                                   how == IS_ALONE ? "no earlier checkpoint is retained" : "weir run -s"));
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

/* --- Savepoints */

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

static void drain(void **state)
{
    (void)state;
    struct weir_jm_request wanted = a_stop;
    wanted.drain = true;
    for (int fails = 0; fails < 2; fails++) {
        struct rig rig;
        rig_init(&rig);
        bring_up(&rig, WEIR__PARTITION__REBALANCE);
        request(&rig, wanted);
        const Weir__TriggerCheckpoint *trigger = last(&rig, WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT)->trigger_checkpoint;
        assert_int_equal(trigger->flags, FLAG_DRAIN);
        assert_int_equal(trigger->n_tasks, 2); /* the sources */
        task_report(&rig, 0, WEIR__TASK_STATE__FINISHED);
        if (fails) {
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

static struct weir_jm_request rescale_to(int parallelism)
{
    uint8_t *bytes;
    size_t size;
    struct weir_jm_request wanted = {.kind = WEIR_JM_OPERATION_RESCALE, .id = "r", .parallelism = parallelism};
    wanted.take_plan = make_plan_of(WEIR__PARTITION__FORWARD, parallelism, &bytes, &size);
    free(bytes);
    return wanted;
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
    assert_int_equal(trigger_flags(&rig), FLAG_SAVEPOINT | FLAG_STOP);
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
    rig_fini(&rig);

    rig_init(&rig); /* states that belong to subtasks */
    bring_up(&rig, WEIR__PARTITION__FORWARD);
    make_complete(&rig, 1);
    assert_non_null(strstr(request(&rig, rescale_to(1))->failure, "by subtask"));
    rig_fini(&rig);
}

static Weir__Snapshot *foreign_snapshot(const struct weir_plan *plan, const char *uid)
{
    Weir__Snapshot snapshot;
    Weir__StatePart part, *parts[1] = {&part};
    weir__snapshot__init(&snapshot);
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

static void submit_restored(struct rig *rig, const char *uid, bool allow)
{
    uint8_t *bytes;
    size_t size;
    struct weir_plan *plan = make_plan(WEIR__PARTITION__FORWARD, &bytes, &size);
    struct weir_jm_restore restore = {.take_snapshot = foreign_snapshot(plan, uid),
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
    int dropped = rig.dropped_count;
    pass(&rig, INTERVAL_MS);
    report_all(&rig, 8); /* numbers go on */
    stored(&rig, 8, NULL);
    head_put(&rig, WEIR_HEAD_PUT_OK);
    assert_int_equal(job(&rig)->checkpoints_completed, 1);
    assert_true(rig.dropped_count > dropped); /* what was claimed goes, and the copy */
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
        cmocka_unit_test(from_trigger_to_commit),
        cmocka_unit_test(reports_that_do_not_count),
        cmocka_unit_test(pause_and_one_at_a_time),
        cmocka_unit_test(failures_are_counted),
        cmocka_unit_test(failure_of_several),
        cmocka_unit_test(newer_ones_subsume_older_ones),
        cmocka_unit_test(tasks_finish_meanwhile),
        cmocka_unit_test(an_end_is_no_part_of_what_was_skipped),
        cmocka_unit_test(shared_objects_stay),
        cmocka_unit_test(uncommitted_ones_stay),
        cmocka_unit_test(regions_fail),
        cmocka_unit_test(a_region_fails_while_head_is_busy),
        cmocka_unit_test(another_writes_head),
        cmocka_unit_test(head_is_tried_again),
        cmocka_unit_test(ids_are_reserved),
        cmocka_unit_test(a_last_checkpoint_ends_the_job),
        cmocka_unit_test(cancelled_while_undecided),
        cmocka_unit_test(on_demand),
        cmocka_unit_test(requests_have_a_bound),
        cmocka_unit_test(corrupt_ones),
        cmocka_unit_test(savepoint),
        cmocka_unit_test(savepoint_without_room),
        cmocka_unit_test(stop),
        cmocka_unit_test(stop_that_fails),
        cmocka_unit_test(drain),
        cmocka_unit_test(rescale),
        cmocka_unit_test(begins_with_a_savepoint),
        cmocka_unit_test(cannot_begin_with_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
