/* jobmanager/core along the plain paths: a cluster of scripted TaskManagers that a test moves by hand. (What many of them do at once,
 * with faults, is tests/sim's.) Also the restart strategies and their options.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobmanager/core/jm_int.h"

#define JOB "000000000000000000000000000000aa"
#define SENT_MAX 256

/* --- Harness: what the core sent, by peer, taken from the effects at once */

struct sent {
    char peer[32];
    Weir__Control *control;
};
struct rig {
    struct weir_jm *jm;
    int64_t now_ms;
    struct sent sent[SENT_MAX];
    int sent_count;
    enum weir_err_code reply;
    char reply_text[256];
    char lost[64];
    bool fenced;
    int64_t wake_at_ms;
    uint64_t reports[8]; /* ids of each TaskManager's reports */
    uint64_t heartbeats;
};

static void run(struct rig *rig, struct weir_jm_event event)
{
    struct weir_jm_effects effects;
    event.now_ms = rig->now_ms;
    event.wall_ms = 1000000 + rig->now_ms;
    weir_jm_step(rig->jm, &event, &effects);
    for (int i = 0; i < effects.count; i++) {
        const struct weir_jm_effect *effect = &effects.items[i];
        if (effect->kind == WEIR_JM_EFFECT_SEND) {
            assert_true(rig->sent_count < SENT_MAX);
            snprintf(rig->sent[rig->sent_count].peer, sizeof rig->sent[0].peer, "%s", effect->peer);
            rig->sent[rig->sent_count++].control = weir_jm_control_copy(effect->control);
        } else if (effect->kind == WEIR_JM_EFFECT_REPLY) {
            rig->reply = effect->code;
            snprintf(rig->reply_text, sizeof rig->reply_text, "%s", effect->text);
        } else if (effect->kind == WEIR_JM_EFFECT_TM_LOST) {
            snprintf(rig->lost, sizeof rig->lost, "%s", effect->taskmanager_id);
        } else if (effect->kind == WEIR_JM_EFFECT_FENCED) {
            rig->fenced = true;
        }
    }
    rig->wake_at_ms = effects.wake_at_ms;
}

static void forget(struct rig *rig)
{
    for (int i = 0; i < rig->sent_count; i++)
        weir__control__free_unpacked(rig->sent[i].control, NULL);
    rig->sent_count = 0;
}

static void tick(struct rig *rig, int64_t ms)
{
    rig->now_ms += ms;
    run(rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_TICK});
}

/* The newest message of a kind to TaskManager `tm`; NULL: none. */
static const Weir__Control *last(const struct rig *rig, int tm, Weir__Control__BodyCase body)
{
    char peer[32];
    snprintf(peer, sizeof peer, "peer%d", tm);
    for (int i = rig->sent_count; i-- > 0;)
        if (strcmp(rig->sent[i].peer, peer) == 0 && rig->sent[i].control->body_case == body)
            return rig->sent[i].control;
    return NULL;
}

static void deliver(struct rig *rig, int tm, Weir__Control *control)
{
    char peer[32];
    snprintf(peer, sizeof peer, "peer%d", tm);
    control->version = 1;
    control->session = 1;
    if (control->leader_epoch == 0)
        control->leader_epoch = 1;
    run(rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_MESSAGE, .peer = peer, .control = control});
}

/* Acknowledges everything that TaskManager `tm` was sent. */
static void ack_all(struct rig *rig, int tm)
{
    Weir__Ack ack;
    weir__ack__init(&ack);
    ack.id = UINT64_MAX;
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_ACK;
    control.ack = &ack;
    deliver(rig, tm, &control);
}

static void register_tm(struct rig *rig, int tm, uint32_t slots)
{
    char id[32];
    snprintf(id, sizeof id, "tm%d", tm);
    Weir__Register reg;
    weir__register__init(&reg);
    reg.taskmanager_id = id;
    reg.host = (char *)"127.0.0.1";
    reg.slots = slots;
    reg.session = 1;
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_REGISTER;
    control.register_ = &reg;
    deliver(rig, tm, &control);
}

static void heartbeat(struct rig *rig, int tm)
{
    Weir__Heartbeat beat;
    weir__heartbeat__init(&beat);
    beat.sequence = ++rig->heartbeats;
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_HEARTBEAT;
    control.heartbeat = &beat;
    deliver(rig, tm, &control);
}

static void executor_report(struct rig *rig, int tm, const char *executor_id, Weir__ExecutorReport__State state)
{
    Weir__ExecutorReport report;
    weir__executor_report__init(&report);
    report.executor_id = (char *)(uintptr_t)executor_id;
    report.job_id = (char *)JOB;
    report.state = state;
    report.endpoint = (char *)"tcp://127.0.0.1:4000";
    Weir__Control control;
    weir__control__init(&control);
    control.id = ++rig->reports[tm];
    control.body_case = WEIR__CONTROL__BODY_EXECUTOR_REPORT;
    control.executor_report = &report;
    deliver(rig, tm, &control);
}

static const struct weir_jm_job *job(const struct rig *rig)
{
    return weir_jm_job_find(rig->jm, JOB);
}

/* A report about task `t` as the JobManager knows it now. */
static void task_report(struct rig *rig, int t, Weir__TaskState state, bool fail_job, const char *committable)
{
    const struct weir_jm_task *task = &job(rig)->tasks[t];
    Weir__TaskId id;
    weir__task_id__init(&id);
    id.vertex = (uint32_t)task->vertex;
    id.subtask = (uint32_t)task->subtask;
    id.attempt = task->attempt;
    Weir__Failure failure;
    weir__failure__init(&failure);
    failure.kind = (char *)"BadRecord";
    failure.message = (char *)"line 7 is no JSON";
    failure.fail_job = fail_job;
    Weir__Committable one, *list[1] = {&one};
    weir__committable__init(&one);
    one.text = (char *)(uintptr_t)(committable ? committable : "");
    Weir__TaskReport report;
    weir__task_report__init(&report);
    report.executor_id = (char *)(uintptr_t)task->executor_id;
    report.job_id = (char *)JOB;
    report.task = &id;
    report.state = state;
    report.failure = state == WEIR__TASK_STATE__FAILED ? &failure : NULL;
    report.committables = list;
    report.n_committables = committable ? 1 : 0;
    Weir__Control control;
    weir__control__init(&control);
    int tm = task->taskmanager_id[2] - '0';
    control.id = ++rig->reports[tm];
    control.body_case = WEIR__CONTROL__BODY_TASK_REPORT;
    control.task_report = &report;
    char executor[33];
    snprintf(executor, sizeof executor, "%s", task->executor_id);
    report.executor_id = executor;
    deliver(rig, tm, &control);
}

/* Two independent pipelines source -> sink, chained, of parallelism 2: four regions of one task each. The sources are aligned. */
static struct weir_plan *two_regions(uint8_t **bytes, size_t *size)
{
    Weir__JobGraph graph;
    Weir__KeyValue group, *options_of_sources[1] = {&group};
    weir__key_value__init(&group);
    group.key = (char *)"scan.watermark.alignment.group";
    group.value = (char *)"g";
    Weir__Vertex v[4], *vertices[4];
    Weir__Edge e[2], *edges[2];
    weir__job_graph__init(&graph);
    for (int i = 0; i < 4; i++) {
        vertices[i] = &v[i];
        weir__vertex__init(&v[i]);
        v[i].id = (uint32_t)i + 1;
        v[i].op = (char *)(i % 2 ? "sink" : "source");
        v[i].name = (char *)(i % 2 ? "out" : "in");
        v[i].options = options_of_sources;
        v[i].n_options = i % 2 == 0;
    }
    for (int i = 0; i < 2; i++) {
        edges[i] = &e[i];
        weir__edge__init(&e[i]);
        e[i].from = (uint32_t)(2 * i + 1);
        e[i].to = (uint32_t)(2 * i + 2);
    }
    graph.version = 1;
    graph.name = (char *)"pair";
    graph.n_vertices = 4;
    graph.vertices = vertices;
    graph.n_edges = 2;
    graph.edges = edges;
    *size = weir__job_graph__get_packed_size(&graph);
    *bytes = malloc(*size);
    weir__job_graph__pack(&graph, *bytes);
    struct weir_plan_options options = {.parallelism = 2, .chaining = true};
    struct weir_plan *plan;
    struct weir_error error;
    assert_int_equal(weir_plan_build(*bytes, *size, &options, &plan, &error), WEIR_OK);
    return plan;
}

static void submit_as(struct rig *rig, const struct weir_jm_job_options *options, const char *job_id)
{
    uint8_t *bytes;
    size_t size;
    struct weir_plan *plan = two_regions(&bytes, &size);
    run(rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_SUBMIT,
                                    .job_id = job_id,
                                    .take_plan = plan,
                                    .graph = bytes,
                                    .graph_size = size,
                                    .job_options = *options});
    free(bytes);
}

static void submit(struct rig *rig, const struct weir_jm_job_options *options)
{
    submit_as(rig, options, JOB);
}

static void cancel_as(struct rig *rig, const char *job_id)
{
    run(rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_CANCEL, .job_id = job_id});
}

static void cancel(struct rig *rig)
{
    cancel_as(rig, JOB);
}

static void rig_init(struct rig *rig, struct weir_jm_job_options *options)
{
    memset(rig, 0, sizeof *rig);
    rig->now_ms = 1;
    struct weir_jm_options jm_options;
    weir_jm_options_init(&jm_options);
    rig->jm = weir_jm_new(&jm_options);
    weir_jm_job_options_init(options);
}

static void rig_fini(struct rig *rig)
{
    forget(rig);
    weir_jm_free(rig->jm);
}

/* To the point where all 4 tasks run: 2 subtasks of 2 vertices on two TaskManagers with a slot each. */
static void bring_up(struct rig *rig, const struct weir_jm_job_options *options)
{
    register_tm(rig, 0, 1);
    register_tm(rig, 1, 1);
    submit(rig, options);
    assert_int_equal(rig->reply, WEIR_OK);
    for (int tm = 0; tm < 2; tm++) {
        const Weir__Control *start = last(rig, tm, WEIR__CONTROL__BODY_START_EXECUTOR);
        assert_non_null(start);
        char id[33];
        snprintf(id, sizeof id, "%s", start->start_executor->executor_id);
        ack_all(rig, tm);
        assert_null(last(rig, tm, WEIR__CONTROL__BODY_DEPLOY_TASKS)); /* not before all have reported */
        executor_report(rig, tm, id, WEIR__EXECUTOR_REPORT__STATE__READY);
    }
    for (int tm = 0; tm < 2; tm++) {
        assert_non_null(last(rig, tm, WEIR__CONTROL__BODY_DEPLOY_TASKS));
        ack_all(rig, tm);
    }
    for (int t = 0; t < 4; t++) {
        task_report(rig, t, WEIR__TASK_STATE__INITIALIZING, false, NULL);
        task_report(rig, t, WEIR__TASK_STATE__RUNNING, false, NULL);
        assert_int_equal(job(rig)->tasks[t].state, WEIR__TASK_STATE__RUNNING);
    }
}

/* --- Tests */

static void finishes_and_commits(void **state)
{
    (void)state;
    struct rig rig;
    struct weir_jm_job_options options;
    rig_init(&rig, &options);
    bring_up(&rig, &options);
    assert_int_equal(job(&rig)->state, WEIR_JOB_RUNNING);
    assert_int_equal(weir_jm_vertex_state(job(&rig), 0), WEIR__TASK_STATE__RUNNING);
    static const char *const parts[] = {"p0", "p1", "p2", "p3"};
    for (int t = 0; t < 4; t++) {
        assert_null(last(&rig, 0, WEIR__CONTROL__BODY_COMMIT_OUTPUT));
        task_report(&rig, t, WEIR__TASK_STATE__FINISHED, false, parts[t]);
    }
    assert_true(job(&rig)->committing);
    int tm = last(&rig, 0, WEIR__CONTROL__BODY_COMMIT_OUTPUT) ? 0 : 1;
    const Weir__Control *commit = last(&rig, tm, WEIR__CONTROL__BODY_COMMIT_OUTPUT);
    assert_non_null(commit);
    assert_int_equal(commit->commit_output->n_committables, 4);
    cancel(&rig); /* too late */
    assert_int_equal(rig.reply, WEIR_ERR_EXISTS);
    assert_non_null(strstr(rig.reply_text, "published"));

    /* The TaskManager that publishes is lost: the other one is asked. */
    char peer[8];
    snprintf(peer, sizeof peer, "peer%d", tm);
    run(&rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_DISCONNECTED, .peer = peer});
    assert_non_null(last(&rig, 1 - tm, WEIR__CONTROL__BODY_COMMIT_OUTPUT));
    assert_int_equal(job(&rig)->state, WEIR_JOB_RUNNING);
    Weir__CommitDone done;
    weir__commit_done__init(&done);
    done.job_id = (char *)JOB;
    Weir__Control control;
    weir__control__init(&control);
    control.id = ++rig.reports[1 - tm];
    control.body_case = WEIR__CONTROL__BODY_COMMIT_DONE;
    control.commit_done = &done;
    deliver(&rig, 1 - tm, &control);
    assert_int_equal(job(&rig)->state, WEIR_JOB_FINISHED);
    assert_int_equal(job(&rig)->ended_ms, 1000000 + rig.now_ms);
    assert_non_null(last(&rig, 1 - tm, WEIR__CONTROL__BODY_STOP_EXECUTOR));
    assert_null(last(&rig, 1 - tm, WEIR__CONTROL__BODY_ABORT_OUTPUT));
    const struct weir_jm_taskmanager *left = weir_jm_taskmanager_at(rig.jm, 0);
    assert_int_equal(left->slots_free, 0); /* until its executor has gone */
    executor_report(&rig, 1 - tm, weir_jm_slot_executor(left, 0), WEIR__EXECUTOR_REPORT__STATE__EXITED);
    assert_int_equal(weir_jm_taskmanager_at(rig.jm, 0)->slots_free, 1);
    rig_fini(&rig);
}

static void waits_for_slots(void **state)
{
    (void)state;
    struct rig rig;
    struct weir_jm_job_options options;
    rig_init(&rig, &options);
    register_tm(&rig, 0, 1);
    submit(&rig, &options);
    assert_non_null(strstr(job(&rig)->status, "waiting for 1 more slot"));
    assert_null(last(&rig, 0, WEIR__CONTROL__BODY_START_EXECUTOR));
    register_tm(&rig, 1, 1);
    assert_non_null(last(&rig, 0, WEIR__CONTROL__BODY_START_EXECUTOR));
    assert_non_null(strstr(job(&rig)->status, "executors to start"));
    submit(&rig, &options); /* the same id again */
    assert_int_equal(rig.reply, WEIR_ERR_EXISTS);
    cancel(&rig);
    assert_int_equal(job(&rig)->state, WEIR_JOB_CANCELED); /* nothing was deployed */
    cancel(&rig);
    assert_int_equal(rig.reply, WEIR_OK);
    run(&rig, (struct weir_jm_event){.kind = WEIR_JM_EVENT_CANCEL, .job_id = "none"});
    assert_int_equal(rig.reply, WEIR_ERR_NOT_FOUND);
    rig_fini(&rig);
}

/* Of the jobs that have ended the ones that ended last are kept, whenever they were submitted. */
static void old_jobs_are_forgotten(void **state)
{
    (void)state;
    struct rig rig;
    struct weir_jm_job_options options;
    rig_init(&rig, &options);
    enum { ENDED = 103 }; /* 100 are kept */
    char id[33];
    submit(&rig, &options);
    for (int i = 0; i < ENDED; i++) {
        rig.now_ms += 10;
        snprintf(id, sizeof id, "%032x", 0xb00 + i);
        submit_as(&rig, &options, id);
        cancel_as(&rig, id);
        assert_int_equal(weir_jm_job_find(rig.jm, id)->state, WEIR_JOB_CANCELED);
    }
    assert_int_equal(weir_jm_job_count(rig.jm), 101);
    rig.now_ms += 10;
    cancel(&rig); /* the first that was submitted ends last */
    assert_non_null(job(&rig));
    assert_int_equal(job(&rig)->state, WEIR_JOB_CANCELED);
    assert_int_equal(weir_jm_job_count(rig.jm), 100);
    for (int i = 0; i < ENDED; i++) {
        snprintf(id, sizeof id, "%032x", 0xb00 + i);
        assert_int_equal(weir_jm_job_find(rig.jm, id) != NULL, i >= 4);
    }
    rig_fini(&rig);
}

static void only_the_failed_region_restarts(void **state)
{
    (void)state;
    struct rig rig;
    struct weir_jm_job_options options;
    rig_init(&rig, &options);
    options.restart = WEIR_JM_RESTART_FIXED_DELAY;
    options.fixed_delay_ms = 500;
    bring_up(&rig, &options);
    task_report(&rig, 2, WEIR__TASK_STATE__FAILED, false, NULL);
    assert_int_equal(job(&rig)->state, WEIR_JOB_RESTARTING);
    assert_int_equal(job(&rig)->exception_count, 1);
    assert_string_equal(job(&rig)->exceptions[0].failure->kind, "BadRecord");
    assert_string_equal(job(&rig)->exceptions[0].task_name, "Source: in -> Sink: out (1/2) - execution #0");
    tick(&rig, 499);
    assert_int_equal(job(&rig)->tasks[2].attempt, 1);
    assert_true(rig.wake_at_ms <= rig.now_ms + 1);
    forget(&rig);
    tick(&rig, 1);
    assert_int_equal(job(&rig)->tasks[2].attempt, 2);
    assert_int_equal(job(&rig)->tasks[2].state, WEIR__TASK_STATE__DEPLOYING); /* its executor is still there */
    assert_int_equal(job(&rig)->state, WEIR_JOB_RUNNING);
    for (int t = 0; t < 4; t++)
        if (t != 2) {
            assert_int_equal(job(&rig)->tasks[t].attempt, 1);
            assert_int_equal(job(&rig)->tasks[t].state, WEIR__TASK_STATE__RUNNING);
        }
    /* One attempt is allowed: the next failure ends the job. */
    task_report(&rig, 2, WEIR__TASK_STATE__FAILED, false, NULL);
    assert_int_equal(job(&rig)->state, WEIR_JOB_FAILING);
    for (int t = 0; t < 4; t++)
        if (t != 2)
            task_report(&rig, t, WEIR__TASK_STATE__CANCELED, false, NULL);
    assert_int_equal(job(&rig)->state, WEIR_JOB_FAILED);
    assert_string_equal(job(&rig)->cause->message, "line 7 is no JSON");
    assert_null(last(&rig, 0, WEIR__CONTROL__BODY_ABORT_OUTPUT)); /* its executors still run */
    for (int i = weir_jm_executor_count(rig.jm); i-- > 0;) {
        struct weir_jm_executor_view executor = weir_jm_executor_at(rig.jm, i);
        executor_report(&rig, executor.taskmanager_id[2] - '0', executor.id, WEIR__EXECUTOR_REPORT__STATE__EXITED);
    }
    assert_true(last(&rig, 0, WEIR__CONTROL__BODY_ABORT_OUTPUT) || last(&rig, 1, WEIR__CONTROL__BODY_ABORT_OUTPUT));
    rig_fini(&rig);
}

static void no_strategy_helps_against_fail_job(void **state)
{
    (void)state;
    struct rig rig;
    struct weir_jm_job_options options;
    rig_init(&rig, &options);
    options.restart = WEIR_JM_RESTART_EXPONENTIAL_DELAY;
    bring_up(&rig, &options);
    task_report(&rig, 0, WEIR__TASK_STATE__FAILED, true, NULL);
    assert_int_equal(job(&rig)->state, WEIR_JOB_FAILING);
    cancel(&rig); /* FAILING may become CANCELLING */
    assert_int_equal(job(&rig)->state, WEIR_JOB_CANCELLING);
    rig_fini(&rig);
}

static void cancel_kills_what_does_not_stop(void **state)
{
    (void)state;
    struct rig rig;
    struct weir_jm_job_options options;
    rig_init(&rig, &options);
    options.cancellation_timeout_ms = 2000;
    bring_up(&rig, &options);
    cancel(&rig);
    assert_int_equal(rig.reply, WEIR_OK);
    assert_int_equal(job(&rig)->state, WEIR_JOB_CANCELLING);
    assert_non_null(last(&rig, 0, WEIR__CONTROL__BODY_CANCEL_TASKS));
    ack_all(&rig, 0);
    ack_all(&rig, 1);
    for (int t = 0; t < 3; t++)
        task_report(&rig, t, WEIR__TASK_STATE__CANCELED, false, NULL);
    forget(&rig);
    int tm = job(&rig)->tasks[3].taskmanager_id[2] - '0';
    tick(&rig, 1999);
    assert_null(last(&rig, tm, WEIR__CONTROL__BODY_STOP_EXECUTOR));
    tick(&rig, 1);
    const Weir__Control *stop = last(&rig, tm, WEIR__CONTROL__BODY_STOP_EXECUTOR);
    assert_non_null(stop);
    assert_true(stop->stop_executor->kill);
    /* Even a process that no kill ends does not keep the job: after the kill was acknowledged and its bound has passed. */
    ack_all(&rig, tm);
    heartbeat(&rig, 0);
    heartbeat(&rig, 1);
    tick(&rig, 15000);
    assert_int_equal(job(&rig)->state, WEIR_JOB_CANCELED);
    for (int i = 0; i < 2; i++)
        assert_int_equal(weir_jm_taskmanager_at(rig.jm, i)->slots_free, 0); /* the executors have not gone */
    rig_fini(&rig);
}

static void lost_taskmanagers(void **state)
{
    (void)state;
    struct rig rig;
    struct weir_jm_job_options options;
    rig_init(&rig, &options);
    options.restart = WEIR_JM_RESTART_FIXED_DELAY;
    options.fixed_attempts = 10;
    bring_up(&rig, &options);
    tick(&rig, 49000);
    heartbeat(&rig, 1);
    assert_non_null(last(&rig, 1, WEIR__CONTROL__BODY_HEARTBEAT_ACK));
    tick(&rig, 999);
    assert_string_equal(rig.lost, "");
    tick(&rig, 1); /* heartbeat.timeout, to the millisecond */
    assert_string_equal(rig.lost, "tm0");
    assert_int_equal(weir_jm_taskmanager_count(rig.jm), 1);
    assert_int_equal(job(&rig)->state, WEIR_JOB_RESTARTING);
    assert_string_equal(job(&rig)->exceptions[0].failure->kind, "TaskManagerLost");
    forget(&rig);
    heartbeat(&rig, 0); /* it lives after all: it has to open a new session */
    assert_false(last(&rig, 0, WEIR__CONTROL__BODY_REGISTER_ACK)->register_ack->accepted);
    tick(&rig, 1000);
    assert_int_equal(job(&rig)->state, WEIR_JOB_RUNNING);
    assert_non_null(strstr(job(&rig)->status, "waiting for 1 more slot"));
    for (int t = 0; t < 4; t++) { /* those on the other one were left alone */
        bool there = strcmp(job(&rig)->tasks[t].taskmanager_id, "tm1") == 0;
        assert_int_equal(job(&rig)->tasks[t].state, there ? WEIR__TASK_STATE__RUNNING : WEIR__TASK_STATE__SCHEDULED);
    }
    register_tm(&rig, 2, 1);
    assert_non_null(last(&rig, 2, WEIR__CONTROL__BODY_START_EXECUTOR));
    rig_fini(&rig);
}

static void messages_count_once_and_in_order(void **state)
{
    (void)state;
    struct rig rig;
    struct weir_jm_job_options options;
    rig_init(&rig, &options);
    bring_up(&rig, &options);
    uint64_t version = job(&rig)->version;
    rig.reports[0] -= 1; /* a repeat */
    int on_0 = strcmp(job(&rig)->tasks[0].taskmanager_id, "tm0") == 0 ? 0 : 1;
    task_report(&rig, on_0, WEIR__TASK_STATE__FINISHED, false, NULL);
    assert_int_equal(job(&rig)->version, version);
    rig.reports[0] += 1; /* a gap */
    task_report(&rig, on_0, WEIR__TASK_STATE__FINISHED, false, NULL);
    assert_int_equal(job(&rig)->version, version);
    rig.reports[0] -= 2;
    task_report(&rig, on_0, WEIR__TASK_STATE__FINISHED, false, NULL);
    assert_int_equal(job(&rig)->tasks[on_0].state, WEIR__TASK_STATE__FINISHED);

    Weir__Ack ack; /* one that shows a higher epoch: this JobManager has been replaced */
    weir__ack__init(&ack);
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_ACK;
    control.ack = &ack;
    control.leader_epoch = 2;
    deliver(&rig, 0, &control);
    assert_true(rig.fenced);
    forget(&rig);
    tick(&rig, 1000000);
    assert_int_equal(rig.sent_count, 0);
    rig_fini(&rig);
}

static void commands_are_sent_again(void **state)
{
    (void)state;
    struct rig rig;
    struct weir_jm_job_options options;
    rig_init(&rig, &options);
    register_tm(&rig, 0, 2);
    submit(&rig, &options);
    forget(&rig);
    tick(&rig, 999);
    assert_int_equal(rig.sent_count, 0);
    tick(&rig, 1);
    assert_int_equal(rig.sent_count, 1);
    assert_int_equal(rig.sent[0].control->id, 1);
    ack_all(&rig, 0);
    forget(&rig);
    tick(&rig, 5000);
    assert_int_equal(rig.sent_count, 0);
    rig_fini(&rig);
}

static void bad_registrations(void **state)
{
    (void)state;
    struct rig rig;
    struct weir_jm_job_options options;
    rig_init(&rig, &options);
    register_tm(&rig, 0, 0);
    assert_false(last(&rig, 0, WEIR__CONTROL__BODY_REGISTER_ACK)->register_ack->accepted);
    register_tm(&rig, 0, WEIR_JM_SLOTS_MAX + 1);
    assert_int_equal(weir_jm_taskmanager_count(rig.jm), 0);
    register_tm(&rig, 0, 1);
    register_tm(&rig, 0, 1); /* a repeat: answered, no effect */
    assert_int_equal(weir_jm_taskmanager_count(rig.jm), 1);
    assert_true(last(&rig, 0, WEIR__CONTROL__BODY_REGISTER_ACK)->register_ack->accepted);
    rig_fini(&rig);
}

/* --- Strategies */

static void restart_strategies(void **state)
{
    (void)state;
    struct weir_jm_job_options options;
    struct restart_state r = {0};
    int64_t delay;
    weir_jm_job_options_init(&options);
    assert_false(weir_jm_restart_next(&options, &r, 0, 0, &delay));

    options.restart = WEIR_JM_RESTART_FIXED_DELAY;
    options.fixed_attempts = 2;
    options.fixed_delay_ms = 7;
    assert_true(weir_jm_restart_next(&options, &r, 0, 0, &delay));
    assert_int_equal(delay, 7);
    assert_true(weir_jm_restart_next(&options, &r, 0, 0, &delay));
    assert_false(weir_jm_restart_next(&options, &r, 0, 0, &delay));

    memset(&r, 0, sizeof r);
    options.restart = WEIR_JM_RESTART_EXPONENTIAL_DELAY;
    options.exponential_jitter = 0;
    options.exponential_multiplier = 2;
    options.exponential_max_ms = 5000;
    static const int64_t expected[] = {1000, 2000, 4000, 5000, 5000};
    int64_t now = 0;
    for (int i = 0; i < 5; i++) {
        assert_true(weir_jm_restart_next(&options, &r, now, 0, &delay));
        assert_int_equal(delay, expected[i]);
        now += delay + 10;
    }
    now += options.exponential_reset_ms; /* quiet long enough: from the beginning */
    assert_true(weir_jm_restart_next(&options, &r, now, 0, &delay));
    assert_int_equal(delay, 1000);
    memset(&r, 0, sizeof r);
    options.exponential_jitter = 0.1;
    for (uint64_t i = 0; i < 100; i++) {
        struct restart_state fresh = {0};
        assert_true(weir_jm_restart_next(&options, &fresh, 0, i * 0x0123456789abcdefu, &delay));
        assert_in_range(delay, 900, 1100);
    }
    options.exponential_attempts = 1;
    assert_true(weir_jm_restart_next(&options, &r, 0, 0, &delay));
    assert_false(weir_jm_restart_next(&options, &r, 0, 0, &delay));

    memset(&r, 0, sizeof r);
    options.restart = WEIR_JM_RESTART_FAILURE_RATE;
    options.rate_max = 2;
    options.rate_interval_ms = 100;
    assert_true(weir_jm_restart_next(&options, &r, 0, 0, &delay));
    assert_true(weir_jm_restart_next(&options, &r, 50, 0, &delay));
    assert_true(weir_jm_restart_next(&options, &r, 101, 0, &delay)); /* the first is out of the interval */
    assert_false(weir_jm_restart_next(&options, &r, 102, 0, &delay));
    free(r.failures_ms);
}

static void options_by_key(void **state)
{
    (void)state;
    struct weir_jm_job_options options;
    struct weir_error error;
    weir_jm_job_options_init(&options);
    assert_int_equal(weir_jm_job_options_set(&options, "restart-strategy.type", "failure-rate", &error), WEIR_OK);
    assert_int_equal(options.restart, WEIR_JM_RESTART_FAILURE_RATE);
    assert_int_equal(weir_jm_job_options_set(&options, "restart-strategy.failure-rate.delay", "1500 ms", &error),
                     WEIR_OK);
    assert_int_equal(options.rate_delay_ms, 1500);
    assert_int_equal(
        weir_jm_job_options_set(&options, "restart-strategy.failure-rate.failure-rate-interval", "5 min", &error),
        WEIR_OK);
    assert_int_equal(options.rate_interval_ms, 300000);
    assert_int_equal(weir_jm_job_options_set(&options, "task.cancellation.timeout", "10s", &error), WEIR_OK);
    assert_int_equal(options.cancellation_timeout_ms, 10000);
    assert_int_equal(weir_jm_job_options_set(&options, "parallelism.default", "3", &error), WEIR_ERR_NOT_FOUND);
    static const char *const bad[][2] = {
        {"restart-strategy.type", "sometimes"},
        {"restart-strategy.fixed-delay.attempts", "-1"},
        {"restart-strategy.fixed-delay.delay", "soon"},
        {"restart-strategy.fixed-delay.delay", "5 parsecs"},
        {"restart-strategy.fixed-delay.delay", "99999999999999999 d"},
        {"restart-strategy.exponential-delay.backoff-multiplier", "0.5"},
        {"restart-strategy.exponential-delay.jitter-factor", "nan"},
        {"task.cancellation.timeout", "0 s"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(weir_jm_job_options_set(&options, bad[i][0], bad[i][1], &error), WEIR_ERR_INVALID);
        assert_non_null(strstr(error.message, bad[i][0]));
    }
}

/* --- Watermark alignment: tasks 0 and 2 run on TaskManager 0, 1 and 3 on 1 */

/* Executor of TaskManager `tm` says that its `members` are at `watermark_ms`. */
static void align(struct rig *rig, int tm, const char *name, uint32_t members, int64_t watermark_ms)
{
    char id[33] = "";
    for (int t = 0; t < 4; t++)
        if (job(rig)->tasks[t].taskmanager_id[2] - '0' == tm)
            snprintf(id, sizeof id, "%s", job(rig)->tasks[t].executor_id);
    Weir__AlignmentGroup group, *groups[1] = {&group};
    Weir__Alignment alignment;
    Weir__Control control;
    weir__alignment_group__init(&group);
    weir__alignment__init(&alignment);
    weir__control__init(&control);
    group.name = (char *)(uintptr_t)name;
    group.members = members;
    group.watermark_ms = watermark_ms;
    alignment.executor_id = id;
    alignment.job_id = (char *)JOB;
    alignment.groups = groups;
    alignment.n_groups = 1;
    control.body_case = WEIR__CONTROL__BODY_ALIGNMENT;
    control.alignment = &alignment;
    forget(rig);
    deliver(rig, tm, &control);
}

/* What the TaskManager was told since then. */
static int64_t told(const struct rig *rig, int tm)
{
    const Weir__Control *control = last(rig, tm, WEIR__CONTROL__BODY_ALIGNMENT);
    assert_non_null(control);
    assert_int_equal(control->alignment->n_groups, 1);
    assert_string_equal(control->alignment->groups[0]->name, "g");
    assert_int_equal(control->session, 1);
    return control->alignment->groups[0]->watermark_ms;
}

static void sources_hear_of_each_other(void **state)
{
    (void)state;
    struct rig rig;
    struct weir_jm_job_options options;
    rig_init(&rig, &options);
    options.restart = WEIR_JM_RESTART_FIXED_DELAY;
    options.fixed_attempts = 3;
    options.fixed_delay_ms = 500;
    bring_up(&rig, &options);
    align(&rig, 0, "g", 2, 1000);
    assert_true(told(&rig, 0) == INT64_MIN); /* the others have not said anything */
    assert_null(last(&rig, 1, WEIR__CONTROL__BODY_ALIGNMENT));
    align(&rig, 1, "g", 1, 7000);
    assert_true(told(&rig, 1) == INT64_MIN); /* one of its own has not begun */
    align(&rig, 1, "g", 2, 7000);
    assert_int_equal(told(&rig, 1), 1000);
    assert_int_equal(told(&rig, 0), 7000); /* at once: now it is known */
    align(&rig, 1, "g", 2, 8000);
    assert_null(last(&rig, 0, WEIR__CONTROL__BODY_ALIGNMENT)); /* it will ask */
    align(&rig, 0, "g", 2, 2000);
    assert_int_equal(told(&rig, 0), 8000);
    align(&rig, 0, "unknown", 5, -1);
    assert_int_equal(told(&rig, 0), 8000); /* no group of this job */
    /* Idle. */
    align(&rig, 1, "g", 2, INT64_MAX);
    align(&rig, 0, "g", 2, 3000);
    assert_true(told(&rig, 0) == INT64_MAX);
    /* A source restarts: nothing is known of it until it is back. */
    task_report(&rig, 0, WEIR__TASK_STATE__FAILED, false, NULL);
    align(&rig, 0, "g", 1, 3000);
    assert_true(told(&rig, 0) == INT64_MIN);
    assert_true(told(&rig, 1) == INT64_MIN);
    tick(&rig, 1000);
    task_report(&rig, 0, WEIR__TASK_STATE__RUNNING, false, NULL);
    align(&rig, 0, "g", 2, 2500);
    assert_true(told(&rig, 0) == INT64_MAX);
    assert_int_equal(told(&rig, 1), 2500);
    /* One that has FINISHED holds back nobody. */
    task_report(&rig, 2, WEIR__TASK_STATE__FINISHED, false, NULL);
    align(&rig, 0, "g", 1, 4000);
    align(&rig, 1, "g", 2, 9000);
    assert_int_equal(told(&rig, 1), 4000);
    /* Of which its executor speaks a little longer: it does not stand for another one, which is not known. */
    align(&rig, 0, "g", 2, 4000);
    task_report(&rig, 3, WEIR__TASK_STATE__FAILED, false, NULL);
    align(&rig, 1, "g", 1, 9000);
    assert_true(told(&rig, 1) == INT64_MIN);
    tick(&rig, 1000);
    task_report(&rig, 3, WEIR__TASK_STATE__RUNNING, false, NULL);
    align(&rig, 1, "g", 2, 9000);
    assert_int_equal(told(&rig, 1), 4000);
    task_report(&rig, 0, WEIR__TASK_STATE__FINISHED, false, NULL);
    align(&rig, 0, "g", 0, INT64_MIN);
    align(&rig, 1, "g", 2, 9000);
    assert_true(told(&rig, 1) == INT64_MAX);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finishes_and_commits),
        cmocka_unit_test(waits_for_slots),
        cmocka_unit_test(old_jobs_are_forgotten),
        cmocka_unit_test(only_the_failed_region_restarts),
        cmocka_unit_test(no_strategy_helps_against_fail_job),
        cmocka_unit_test(cancel_kills_what_does_not_stop),
        cmocka_unit_test(lost_taskmanagers),
        cmocka_unit_test(messages_count_once_and_in_order),
        cmocka_unit_test(commands_are_sent_again),
        cmocka_unit_test(bad_registrations),
        cmocka_unit_test(restart_strategies),
        cmocka_unit_test(options_by_key),
        cmocka_unit_test(sources_hear_of_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
