/* For tests of the coordinator: one TaskManager, a job of a source and a sink with two subtasks each (one region; or, chained, two regions of
 * one task), and an object store that a test answers for by hand. Functions that a test does not call are no mistake. */
#ifndef WEIR_TESTS_JM_KIT_H
#define WEIR_TESTS_JM_KIT_H

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

#define DELETED_MAX 3000

struct rig {
    bool without_output, durable; /* durable: a submission is acknowledged when HEAD is */
    unsigned logs;         /* bit t: task t has output in a log, of a sink of its own; 0: all have output without one */
    unsigned transactions; /* tasks whose output is in open transactions, too */
    struct weir_jm *jm;
    struct weir_jm_job_options options;
    int64_t now_ms, wake_at_ms;
    Weir__Control *sent[SENT_MAX]; /* since forget() */
    int sent_count;
    uint64_t reports, epoch;
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
    uint32_t kind;        /* of parts; 0: SUBTASK */
    const char *end_name; /* of the object of FINISHED reports; NULL: it has none */
    uint64_t object_of;   /* parts of checkpoints are in an object of this one; 0: in the report */
    uint64_t dropped[64]; /* checkpoints whose metadata was deleted */
    int dropped_count;
    char dropped_uri[64];           /* of the last STORE_DROP elsewhere */
    char deleted[DELETED_MAX][128]; /* objects */
    int deleted_count, drops;       /* STORE_DROP */
    int lists, sweeps;              /* STORE_LIST, STORE_SWEEP */
    char listed[128], listed_after[128];
    uint64_t list_request;
    int64_t drop_age_ms;
};

static inline const struct weir_jm_job *job(const struct rig *rig)
{
    return weir_jm_job_find(rig->jm, JOB);
}

static inline void take_effect(struct rig *rig, const struct weir_jm_effect *effect)
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
        rig->drops++;
        rig->drop_age_ms = effect->age_ms;
        if (effect->from_uri)
            snprintf(rig->dropped_uri, sizeof rig->dropped_uri, "%s", effect->from_uri);
        break;
    case WEIR_JM_EFFECT_STORE_DELETE:
        for (int i = 0; i < effect->key_count; i++) {
            assert_true(rig->dropped_count < 64 && rig->deleted_count < DELETED_MAX);
            snprintf(rig->deleted[rig->deleted_count++], sizeof rig->deleted[0], "%s", effect->keys[i]);
            if (strstr(effect->keys[i], "/metadata"))
                rig->dropped[rig->dropped_count++] = strtoull(strstr(effect->keys[i], "/chk-") + 5, NULL, 10);
        }
        break;
    case WEIR_JM_EFFECT_STORE_LIST:
        rig->lists++;
        snprintf(rig->listed, sizeof rig->listed, "%s", effect->text);
        snprintf(rig->listed_after, sizeof rig->listed_after, "%s", effect->after);
        rig->list_request = effect->request;
        break;
    case WEIR_JM_EFFECT_STORE_SWEEP:
        rig->sweeps++;
        break;
    default:
        break;
    }
}

static inline void run(struct rig *rig, struct weir_jm_event event)
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

static inline void forget(struct rig *rig)
{
    for (int i = 0; i < rig->sent_count; i++)
        weir__control__free_unpacked(rig->sent[i], NULL);
    rig->sent_count = 0;
}

/* The newest of a kind; NULL: none. */
static inline const Weir__Control *last(const struct rig *rig, Weir__Control__BodyCase body)
{
    for (int i = rig->sent_count; i-- > 0;)
        if (rig->sent[i]->body_case == body)
            return rig->sent[i];
    return NULL;
}

static inline void deliver(struct rig *rig, Weir__Control *control)
{
    control->version = 1;
    control->session = 1;
    control->leader_epoch = rig->epoch;
    if (control->body_case != WEIR__CONTROL__BODY_ACK && control->body_case != WEIR__CONTROL__BODY_REGISTER &&
        control->body_case != WEIR__CONTROL__BODY_HEARTBEAT)
        control->id = ++rig->reports;
    run(rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_MESSAGE, .peer = "peer0", .control = control});
}

static inline void ack_all(struct rig *rig)
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
static inline void pass(struct rig *rig, int64_t ms)
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

static inline void register_tm(struct rig *rig)
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

static inline void executor_ready(struct rig *rig)
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

/* Its process has gone, and with it all of its tasks. */
static inline void executor_exits(struct rig *rig)
{
    Weir__ExecutorReport report;
    char id[33];
    weir__executor_report__init(&report);
    snprintf(id, sizeof id, "%s", weir_jm_executor_at(rig->jm, 0).id);
    report.executor_id = id;
    report.job_id = (char *)JOB;
    report.state = WEIR__EXECUTOR_REPORT__STATE__EXITED;
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
    Weir__OutputSegment segment, *segments[1];
    char object[64], sink[16];
};

static inline Weir__SubtaskSnapshot *snapshot_of(const struct rig *rig, int t, const char *name, uint64_t object_of,
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
    out->snapshot.n_committables = rig->without_output || (rig->logs && !(rig->logs >> t & 1)) ? 0 : 1;
    if (rig->transactions >> t & 1)
        out->committable.transaction = (char *)(uintptr_t)name;
    if (rig->logs) {
        snprintf(out->sink, sizeof out->sink, "sink%d", t);
        weir__output_segment__init(&out->segment);
        out->segment.object = out->sink;
        out->segments[0] = &out->segment;
        out->committable.segments = out->segments;
        out->committable.n_segments = 1;
        out->committable.sink = out->sink;
    }
    return &out->snapshot;
}

static inline void task_report_from(struct rig *rig, int t, Weir__TaskState state, const char *name, uint64_t object_of)
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
    if (state == WEIR__TASK_STATE__FINISHED && rig->end_name)
        snprintf(snapshot.object, sizeof snapshot.object, "jobs/" JOB "/%s", rig->end_name);
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_TASK_REPORT;
    control.task_report = &report;
    deliver(rig, &control);
}

static inline void task_report(struct rig *rig, int t, Weir__TaskState state)
{
    char name[16];
    snprintf(name, sizeof name, "end%d", t);
    task_report_from(rig, t, state, name, 0);
}

static inline void checkpoint_report(struct rig *rig, int t, uint32_t attempt, uint64_t checkpoint, const char *failure)
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

static inline void report_all(struct rig *rig, uint64_t checkpoint)
{
    for (int t = 0; t < job(rig)->task_count; t++)
        if (job(rig)->tasks[t].state == WEIR__TASK_STATE__RUNNING)
            checkpoint_report(rig, t, job(rig)->tasks[t].attempt, checkpoint, NULL);
}

static inline void commit_done(struct rig *rig, uint64_t checkpoint, bool fails)
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

static inline void stored(struct rig *rig, uint64_t checkpoint, const char *failure)
{
    run(rig,
        (struct weir_jm_event){.kind = WEIR_JM_EVENT_STORED, .job_id = JOB, .checkpoint = checkpoint, .text = failure});
}

static inline void head_put(struct rig *rig, enum weir_head_put_result result)
{
    char tag[16];
    snprintf(tag, sizeof tag, "v%d", (int)++rig->heads);
    run(rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_HEAD_PUT, .job_id = JOB, .put_result = result, .tag = tag});
}

/* Answers the listing that was asked for last with these names of objects of the job (NULL at the end), of this age. */
static inline void list_page(struct rig *rig, bool more, int64_t age_ms, const char *const *names)
{
    static char keys[64][128];
    static struct weir_jm_object objects[64];
    int count = 0;
    for (; names[count]; count++) {
        snprintf(keys[count], sizeof keys[0], "jobs/%s/%s", JOB, names[count]);
        objects[count] = (struct weir_jm_object){keys[count], age_ms};
    }
    run(rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_STORE_LISTED,
                                    .job_id = JOB,
                                    .request = rig->list_request,
                                    .objects = objects,
                                    .object_count = count,
                                    .more = more});
}

static inline void deletion_failed(struct rig *rig)
{
    run(rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_STORE_DELETED, .job_id = JOB, .text = "503"});
}

static inline void head_got(struct rig *rig, enum weir_head_get_result result, const uint8_t *nonce)
{
    uint8_t none[WEIR_HEAD_NONCE_SIZE] = {0};
    run(rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_HEAD_GOT,
                                    .job_id = JOB,
                                    .get_result = result,
                                    .tag = "read",
                                    .nonce = nonce ? nonce : none});
}

/* --- Set-up */

static inline struct weir_plan *make_plan_of(Weir__Partition partition, int parallelism, uint8_t **bytes, size_t *size)
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

static inline struct weir_plan *make_plan(Weir__Partition partition, uint8_t **bytes, size_t *size)
{
    return make_plan_of(partition, 2, bytes, size);
}

static inline void rig_init(struct rig *rig)
{
    memset(rig, 0, sizeof *rig);
    rig->now_ms = 1;
    rig->epoch = 1;
    struct weir_jm_options jm_options;
    weir_jm_options_init(&jm_options);
    rig->jm = weir_jm_new(&jm_options);
    weir_jm_job_options_init(&rig->options);
    rig->options.checkpoint_interval_ms = INTERVAL_MS;
    rig->options.checkpoint_gc_grace_ms = 0;
    rig->options.checkpoint_timeout_ms = 30000;
    rig->options.restart = WEIR_JM_RESTART_FIXED_DELAY;
    rig->options.fixed_attempts = 10;
    rig->options.fixed_delay_ms = 100;
}

static inline void submit(struct rig *rig, Weir__Partition partition)
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
                                    .durable = rig->durable,
                                    .job_options = rig->options});
    free(bytes);
    assert_int_equal(rig->reply, WEIR_OK);
}

static inline void all_running(struct rig *rig)
{
    for (int t = 0; t < job(rig)->task_count; t++)
        if (job(rig)->tasks[t].state == WEIR__TASK_STATE__DEPLOYING)
            task_report(rig, t, WEIR__TASK_STATE__RUNNING);
}

/* To the point where all tasks run and HEAD is there. */
static inline void bring_up(struct rig *rig, Weir__Partition partition)
{
    submit(rig, partition);
    head_put(rig, WEIR_HEAD_PUT_OK);
    executor_ready(rig);
    all_running(rig);
    ack_all(rig);
    forget(rig);
}

/* To the point where checkpoint `id` is being written into HEAD. */
static inline void to_head(struct rig *rig, uint64_t id)
{
    pass(rig, INTERVAL_MS);
    report_all(rig, id);
    stored(rig, id, NULL);
    assert_non_null(rig->head);
    assert_int_equal(rig->head->retained[rig->head->n_retained - 1]->id, id);
}

static inline void make_complete(struct rig *rig, uint64_t id)
{
    to_head(rig, id);
    head_put(rig, WEIR_HEAD_PUT_OK);
    assert_int_equal(job(rig)->checkpoints_completed, id);
}

static inline Weir__Snapshot *snapshot_copy(const Weir__Snapshot *snapshot)
{
    size_t size = weir__snapshot__get_packed_size(snapshot);
    uint8_t *bytes = malloc(size + 1);
    weir__snapshot__pack(snapshot, bytes);
    Weir__Snapshot *copy = weir__snapshot__unpack(&weir_proto_memory, size, bytes);
    free(bytes);
    return copy;
}

/* The JobManager dies, and another one finds the job: HEAD as it was written last, which names `newest`. */
static inline void take_over(struct rig *rig, const Weir__Snapshot *newest)
{
    struct weir_jm_options jm_options;
    weir_jm_options_init(&jm_options);
    jm_options.leader_epoch = jm_options.seed = rig->epoch = 2;
    jm_options.recovers = true;
    forget(rig);
    rig->reports = 0;
    weir_jm_free(rig->jm);
    rig->jm = weir_jm_new(&jm_options);
    pass(rig, 1);
    struct weir_jm_object object = {.key = "jobs/" JOB "/"};
    run(rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_JOBS_LISTED, .objects = &object, .object_count = 1});
    assert_int_equal(rig->head->n_retained, 1);
    uint8_t *bytes;
    size_t size;
    Weir__Snapshot **snapshots = malloc(sizeof *snapshots); /* taken */
    snapshots[0] = snapshot_copy(newest);
    struct weir_jm_read read = {.result = WEIR_JM_READ_OK,
                                .head = rig->head,
                                .tag = "tag",
                                .take_plan = make_plan(WEIR__PARTITION__FORWARD, &bytes, &size),
                                .options = rig->options,
                                .take_snapshots = snapshots};
    read.graph = bytes;
    read.graph_size = size;
    size_t head_size = weir__head__get_packed_size(rig->head);
    uint8_t *head_bytes = malloc(head_size);
    weir__head__pack(rig->head, head_bytes); /* the fencing write takes the rig's place */
    Weir__Head *head = weir__head__unpack(&weir_proto_memory, head_size, head_bytes);
    read.head = head;
    free(head_bytes);
    run(rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_JOB_READ, .job_id = JOB, .read = &read});
    free(bytes);
    weir__head__free_unpacked(head, NULL);
    assert_non_null(job(rig));
    head_put(rig, WEIR_HEAD_PUT_OK);
    register_tm(rig);
}

static inline void rig_fini(struct rig *rig)
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

#endif
