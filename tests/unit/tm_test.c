/* taskmanager/core along the plain paths, moved by hand: register, executors' life, lease, output. (With faults: tests/sim.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "taskmanager/core/tm_int.h"

#define JOB "000000000000000000000000000000aa"
#define DONE_MAX 64

/* --- Harness: the effects of the last step, copied */

struct done {
    enum weir_tm_effect_kind kind;
    char executor_id[33];
    uint32_t pid;
    Weir__Control *control;
};
struct rig {
    struct weir_tm *tm;
    int64_t now_ms, wake_at_ms;
    struct done done[DONE_MAX];
    int done_count;
    uint64_t commands;
};

static void run(struct rig *rig, struct weir_tm_event event)
{
    struct weir_tm_effects effects;
    for (int i = 0; i < rig->done_count; i++)
        if (rig->done[i].control)
            weir__control__free_unpacked(rig->done[i].control, NULL);
    rig->done_count = 0;
    event.now_ms = rig->now_ms;
    weir_tm_step(rig->tm, &event, &effects);
    for (int i = 0; i < effects.count; i++) {
        const struct weir_tm_effect *effect = &effects.items[i];
        if (effect->kind == WEIR_TM_EFFECT_LOG)
            continue;
        assert_true(rig->done_count < DONE_MAX);
        struct done *done = &rig->done[rig->done_count++];
        memset(done, 0, sizeof *done);
        done->kind = effect->kind;
        snprintf(done->executor_id, sizeof done->executor_id, "%s", effect->executor_id ? effect->executor_id : "");
        done->pid = effect->orphan ? effect->orphan->pid : 0;
        done->control = effect->control ? weir_tm_control_copy(effect->control) : NULL;
    }
    rig->wake_at_ms = effects.wake_at_ms;
}

static void tick(struct rig *rig, int64_t ms)
{
    rig->now_ms += ms;
    run(rig, (struct weir_tm_event){.kind = WEIR_TM_EVENT_TICK});
}

static const struct done *did(const struct rig *rig, enum weir_tm_effect_kind kind, Weir__Control__BodyCase body)
{
    for (int i = 0; i < rig->done_count; i++)
        if (rig->done[i].kind == kind && (!body || rig->done[i].control->body_case == body))
            return &rig->done[i];
    return NULL;
}

static void message(struct rig *rig, Weir__Control *control)
{
    control->version = 1;
    if (!control->session)
        control->session = weir_tm_session(rig->tm);
    if (!control->leader_epoch)
        control->leader_epoch = 5;
    run(rig, (struct weir_tm_event){.kind = WEIR_TM_EVENT_MESSAGE, .control = control});
}

static void command(struct rig *rig, Weir__Control *control)
{
    control->id = ++rig->commands;
    message(rig, control);
}

static void rig_init_budgets(struct rig *rig, uint32_t slots, int64_t memory_max, int64_t slot_memory_max)
{
    memset(rig, 0, sizeof *rig);
    rig->now_ms = 1000;
    struct weir_tm_options options;
    weir_tm_options_init(&options);
    options.taskmanager_id = "tm-1";
    options.slots = slots;
    options.executor_memory_max = memory_max;
    options.slot_memory_max = slot_memory_max;
    rig->tm = weir_tm_new(&options);
}

static void rig_init_limited(struct rig *rig, uint32_t slots, int64_t memory_max)
{
    rig_init_budgets(rig, slots, memory_max, 0);
}

static void rig_init(struct rig *rig, uint32_t slots)
{
    rig_init_limited(rig, slots, 0);
}

static void rig_fini(struct rig *rig)
{
    for (int i = 0; i < rig->done_count; i++)
        if (rig->done[i].control)
            weir__control__free_unpacked(rig->done[i].control, NULL);
    weir_tm_free(rig->tm);
}

static void accept_registration(struct rig *rig, uint64_t epoch, bool accepted)
{
    Weir__RegisterAck ack;
    weir__register_ack__init(&ack);
    ack.accepted = accepted;
    ack.heartbeat_interval_ms = 1000;
    ack.heartbeat_timeout_ms = 6000;
    Weir__Control control;
    weir__control__init(&control);
    control.leader_epoch = epoch;
    control.body_case = WEIR__CONTROL__BODY_REGISTER_ACK;
    control.register_ack = &ack;
    message(rig, &control);
}

static void bring_up(struct rig *rig)
{
    run(rig, (struct weir_tm_event){.kind = WEIR_TM_EVENT_START});
    assert_non_null(did(rig, WEIR_TM_EFFECT_CONNECT, 0));
    run(rig, (struct weir_tm_event){.kind = WEIR_TM_EVENT_LINE_CONNECTED});
    const struct done *reg = did(rig, WEIR_TM_EFFECT_SEND, WEIR__CONTROL__BODY_REGISTER);
    assert_non_null(reg);
    assert_int_equal(reg->control->register_->session, 1);
    accept_registration(rig, 5, true);
    assert_true(weir_tm_registered(rig->tm));
    assert_non_null(did(rig, WEIR_TM_EFFECT_SEND, WEIR__CONTROL__BODY_HEARTBEAT));
}

static void start_with(struct rig *rig, const char *id, uint32_t slot, uint32_t slot_count, const char *sha256)
{
    uint32_t slots[8];
    for (uint32_t i = 0; i < slot_count; i++)
        slots[i] = slot + i;
    Weir__StartExecutor start;
    weir__start_executor__init(&start);
    start.executor_id = (char *)(uintptr_t)id;
    start.job_id = (char *)JOB;
    start.job_name = (char *)"job";
    start.code_sha256 = (char *)(uintptr_t)sha256;
    start.n_slots = slot_count;
    start.slots = slots;
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_START_EXECUTOR;
    control.start_executor = &start;
    command(rig, &control);
}

static void start_executor(struct rig *rig, const char *id, uint32_t slot, const char *sha256)
{
    start_with(rig, id, slot, 1, sha256);
}

static void make_ready(struct rig *rig, const char *id)
{
    run(rig, (struct weir_tm_event){.kind = WEIR_TM_EVENT_EXECUTOR_SPAWNED, .executor_id = id, .pid = 42});
    assert_non_null(did(rig, WEIR_TM_EFFECT_SEND_EXECUTOR, WEIR__CONTROL__BODY_EXECUTOR_START));
    Weir__ExecutorReport report;
    weir__executor_report__init(&report);
    report.state = WEIR__EXECUTOR_REPORT__STATE__READY;
    report.endpoint = (char *)"tcp://127.0.0.1:4000";
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_EXECUTOR_REPORT;
    control.executor_report = &report;
    run(rig, (struct weir_tm_event){.kind = WEIR_TM_EVENT_EXECUTOR_MESSAGE, .executor_id = id, .control = &control});
    const struct done *sent = did(rig, WEIR_TM_EFFECT_SEND, WEIR__CONTROL__BODY_EXECUTOR_REPORT);
    assert_non_null(sent);
    assert_string_equal(sent->control->executor_report->executor_id, id); /* ours, whatever the executor says */
    assert_int_equal(sent->control->executor_report->pid, 42);
}

static void ack_heartbeat(struct rig *rig, uint64_t sequence)
{
    Weir__HeartbeatAck ack;
    weir__heartbeat_ack__init(&ack);
    ack.sequence = sequence;
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_HEARTBEAT_ACK;
    control.heartbeat_ack = &ack;
    message(rig, &control);
}

static void exited(struct rig *rig, const char *id, int signal_number)
{
    run(rig, (struct weir_tm_event){.kind = WEIR_TM_EVENT_EXECUTOR_EXITED, .executor_id = id, .signal = signal_number});
}

/* --- Tests */

static void orphans_first(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, 1);
    struct weir_tm_orphan orphan = {.executor_id = "old", .pid = 7, .start_time = 9};
    run(&rig, (struct weir_tm_event){.kind = WEIR_TM_EVENT_START, .orphans = &orphan, .orphan_count = 1});
    assert_int_equal(rig.done[0].kind, WEIR_TM_EFFECT_KILL_ORPHAN);
    assert_int_equal(rig.done[0].pid, 7);
    assert_int_equal(rig.done[1].kind, WEIR_TM_EFFECT_CONNECT);
    rig_fini(&rig);
}

static void connects_with_backoff(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, 1);
    run(&rig, (struct weir_tm_event){.kind = WEIR_TM_EVENT_START});
    for (int64_t wait = 50; wait <= 800; wait *= 2) {
        run(&rig, (struct weir_tm_event){.kind = WEIR_TM_EVENT_LINE_BROKEN});
        tick(&rig, wait - 1);
        assert_null(did(&rig, WEIR_TM_EFFECT_CONNECT, 0));
        assert_int_equal(rig.wake_at_ms, rig.now_ms + 1);
        tick(&rig, 1);
        assert_non_null(did(&rig, WEIR_TM_EFFECT_CONNECT, 0));
    }
    run(&rig, (struct weir_tm_event){.kind = WEIR_TM_EVENT_LINE_CONNECTED});
    accept_registration(&rig, 5, false); /* refused: again */
    assert_false(weir_tm_registered(rig.tm));
    tick(&rig, 5000);
    assert_non_null(did(&rig, WEIR_TM_EFFECT_CONNECT, 0));
    run(&rig, (struct weir_tm_event){.kind = WEIR_TM_EVENT_LINE_CONNECTED});
    assert_int_equal(weir_tm_session(rig.tm), 2);
    tick(&rig, 5000); /* no answer */
    tick(&rig, 5000);
    assert_non_null(did(&rig, WEIR_TM_EFFECT_CONNECT, 0));
    rig_fini(&rig);
}

static void an_executors_life(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, 2);
    bring_up(&rig);
    start_executor(&rig, "x1", 0, "c0de");
    assert_non_null(did(&rig, WEIR_TM_EFFECT_FETCH_CODE, 0));
    assert_null(did(&rig, WEIR_TM_EFFECT_SPAWN, 0));
    run(&rig, (struct weir_tm_event){.kind = WEIR_TM_EVENT_CODE_READY, .sha256 = "other", .text = "/other"});
    assert_null(did(&rig, WEIR_TM_EFFECT_SPAWN, 0));
    run(&rig, (struct weir_tm_event){.kind = WEIR_TM_EVENT_CODE_READY, .sha256 = "c0de", .text = "/code"});
    assert_non_null(did(&rig, WEIR_TM_EFFECT_SPAWN, 0));
    make_ready(&rig, "x1");
    assert_string_equal(weir_tm_slot_executor(rig.tm, 0), "x1");

    start_executor(&rig, "x2", 0, ""); /* the slot is taken */
    assert_null(did(&rig, WEIR_TM_EFFECT_SPAWN, 0));
    const struct done *refused = did(&rig, WEIR_TM_EFFECT_SEND, WEIR__CONTROL__BODY_EXECUTOR_REPORT);
    assert_int_equal(refused->control->executor_report->state, WEIR__EXECUTOR_REPORT__STATE__EXITED);
    assert_non_null(strstr(refused->control->executor_report->failure->message, "taken"));
    start_executor(&rig, "x3", 9, ""); /* no such slot */
    assert_non_null(
        did(&rig, WEIR_TM_EFFECT_SEND, WEIR__CONTROL__BODY_EXECUTOR_REPORT)->control->executor_report->failure);

    Weir__Failure crash;
    weir__failure__init(&crash);
    crash.operator_ = (char *)"map";
    crash.stack = (char *)"f()\ng()";
    run(&rig, (struct weir_tm_event){
                  .kind = WEIR_TM_EVENT_EXECUTOR_EXITED, .executor_id = "x1", .signal = SIGSEGV, .failure = &crash});
    const Weir__Failure *failure =
        did(&rig, WEIR_TM_EFFECT_SEND, WEIR__CONTROL__BODY_EXECUTOR_REPORT)->control->executor_report->failure;
    assert_string_equal(failure->kind, "ExecutorCrashed");
    assert_int_equal(failure->signal, SIGSEGV);
    assert_string_equal(failure->operator_, "map");
    assert_non_null(strstr(failure->message, "signal 11"));
    assert_string_equal(weir_tm_slot_executor(rig.tm, 0), "");
    rig_fini(&rig);
}

static void code_that_is_not_there(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, 1);
    bring_up(&rig);
    start_executor(&rig, "x1", 0, "c0de");
    run(&rig, (struct weir_tm_event){.kind = WEIR_TM_EVENT_CODE_FAILED, .sha256 = "c0de", .text = "404"});
    const struct done *sent = did(&rig, WEIR_TM_EFFECT_SEND, WEIR__CONTROL__BODY_EXECUTOR_REPORT);
    assert_string_equal(sent->control->executor_report->failure->kind, "CodeUnavailable");
    assert_int_equal(weir_tm_executor_count(rig.tm), 0);
    rig_fini(&rig);
}

static void stop(struct rig *rig, const char *id, bool kill)
{
    Weir__StopExecutor stop_executor;
    weir__stop_executor__init(&stop_executor);
    stop_executor.executor_id = (char *)(uintptr_t)id;
    stop_executor.kill = kill;
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_STOP_EXECUTOR;
    control.stop_executor = &stop_executor;
    command(rig, &control);
}

static void stops_politely_then_kills(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, 2);
    bring_up(&rig);
    start_executor(&rig, "x1", 0, "");
    make_ready(&rig, "x1");
    stop(&rig, "x1", false);
    assert_non_null(did(&rig, WEIR_TM_EFFECT_SEND_EXECUTOR, WEIR__CONTROL__BODY_STOP_EXECUTOR));
    assert_null(did(&rig, WEIR_TM_EFFECT_KILL, 0));
    for (uint64_t i = 1; i <= 5; i++) { /* keep the lease */
        ack_heartbeat(&rig, i);
        assert_null(did(&rig, WEIR_TM_EFFECT_KILL, 0));
        tick(&rig, 1000);
    }
    assert_non_null(did(&rig, WEIR_TM_EFFECT_KILL, 0)); /* after the grace of 5 s */
    exited(&rig, "x1", SIGKILL);
    const struct done *sent = did(&rig, WEIR_TM_EFFECT_SEND, WEIR__CONTROL__BODY_EXECUTOR_REPORT);
    assert_null(sent->control->executor_report->failure); /* it was asked to */

    start_executor(&rig, "x2", 1, "");
    stop(&rig, "x2", true);
    assert_non_null(did(&rig, WEIR_TM_EFFECT_KILL, 0));
    run(&rig, (struct weir_tm_event){.kind = WEIR_TM_EVENT_EXECUTOR_SPAWNED, .executor_id = "x2", .pid = 43});
    assert_non_null(did(&rig, WEIR_TM_EFFECT_KILL, 0)); /* the first came before there was a process */
    assert_null(did(&rig, WEIR_TM_EFFECT_SEND_EXECUTOR, 0));
    rig_fini(&rig);
}

/* T_self is 4 s for a heartbeat.timeout of 6 s, from when the acknowledged heartbeat was sent. */
static void the_lease(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, 1);
    bring_up(&rig); /* heartbeat 1 at 1000 */
    start_executor(&rig, "x1", 0, "");
    make_ready(&rig, "x1");
    tick(&rig, 1000); /* heartbeat 2 at 2000 */
    tick(&rig, 900);
    ack_heartbeat(&rig, 2);
    assert_int_equal(weir_tm_lease_until_ms(rig.tm), 6000);
    const struct done *lease = did(&rig, WEIR_TM_EFFECT_SEND_EXECUTOR, WEIR__CONTROL__BODY_LEASE);
    assert_int_equal(lease->control->lease->valid_until_ms, 6000);
    assert_int_equal(lease->control->lease->valid_ms, 3100);
    ack_heartbeat(&rig, 1); /* overtaken */
    assert_int_equal(weir_tm_lease_until_ms(rig.tm), 6000);
    ack_heartbeat(&rig, 99); /* never sent */
    assert_int_equal(weir_tm_lease_until_ms(rig.tm), 6000);
    while (rig.now_ms < 5999)
        tick(&rig, 1);
    assert_true(weir_tm_registered(rig.tm));
    tick(&rig, 1);
    assert_false(weir_tm_registered(rig.tm));
    assert_non_null(did(&rig, WEIR_TM_EFFECT_KILL, 0));
    /* The next session names it; its lease is not renewed by that session. */
    tick(&rig, 1000);
    run(&rig, (struct weir_tm_event){.kind = WEIR_TM_EVENT_LINE_CONNECTED});
    const struct done *reg = did(&rig, WEIR_TM_EFFECT_SEND, WEIR__CONTROL__BODY_REGISTER);
    assert_int_equal(reg->control->register_->session, 2);
    assert_int_equal(reg->control->register_->n_executors, 1);
    assert_int_equal(reg->control->register_->executors[0]->n_slots, 1);
    rig_fini(&rig);
}

static void what_is_stale_has_no_effect(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, 4);
    bring_up(&rig);
    start_executor(&rig, "x1", 0, "");
    uint64_t digest = weir_tm_digest(rig.tm);
    rig.commands = 0;
    start_executor(&rig, "x2", 1, ""); /* a repeated id: acknowledged, no effect */
    assert_non_null(did(&rig, WEIR_TM_EFFECT_SEND, WEIR__CONTROL__BODY_ACK));
    rig.commands = 5;
    start_executor(&rig, "x3", 1, ""); /* it overtook others */
    assert_null(did(&rig, WEIR_TM_EFFECT_SEND, WEIR__CONTROL__BODY_ACK));
    Weir__StopExecutor stop_executor;
    weir__stop_executor__init(&stop_executor);
    stop_executor.executor_id = (char *)"x1";
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_STOP_EXECUTOR;
    control.stop_executor = &stop_executor;
    control.id = 2;
    control.leader_epoch = 4; /* of a leader that has been replaced */
    message(&rig, &control);
    control.leader_epoch = 5;
    control.session = 7; /* of another session */
    message(&rig, &control);
    assert_int_equal(weir_tm_digest(rig.tm), digest);
    control.session = 1;
    message(&rig, &control);
    assert_int_not_equal(weir_tm_digest(rig.tm), digest);

    /* A new session at a JobManager with a lower epoch is not accepted. */
    run(&rig, (struct weir_tm_event){.kind = WEIR_TM_EVENT_LINE_BROKEN});
    tick(&rig, 100);
    run(&rig, (struct weir_tm_event){.kind = WEIR_TM_EVENT_LINE_CONNECTED});
    accept_registration(&rig, 4, true);
    assert_false(weir_tm_registered(rig.tm));
    accept_registration(&rig, 6, true);
    assert_true(weir_tm_registered(rig.tm));
    assert_int_equal(weir_tm_leader_epoch(rig.tm), 6);
    rig_fini(&rig);
}

static void memory(struct rig *rig, const char *id, uint64_t mb)
{
    run(rig, (struct weir_tm_event){.kind = WEIR_TM_EVENT_EXECUTOR_MEMORY, .executor_id = id, .rss_bytes = mb << 20});
}

static void over_its_memory_budget(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, 2);
    bring_up(&rig);
    start_executor(&rig, "x1", 0, "");
    make_ready(&rig, "x1");
    memory(&rig, "x1", 1 << 20); /* no limit was set */
    assert_null(did(&rig, WEIR_TM_EFFECT_KILL, 0));
    rig_fini(&rig);

    rig_init_limited(&rig, 2, (int64_t)300 << 20);
    bring_up(&rig);
    start_executor(&rig, "x1", 0, "");
    start_executor(&rig, "x2", 1, "");
    make_ready(&rig, "x1");
    make_ready(&rig, "x2");
    memory(&rig, "x1", 300);
    memory(&rig, "nobody", 900);
    assert_null(did(&rig, WEIR_TM_EFFECT_KILL, 0));
    memory(&rig, "x2", 301);
    assert_string_equal(did(&rig, WEIR_TM_EFFECT_KILL, 0)->executor_id, "x2");
    memory(&rig, "x2", 302); /* it is dying: once is enough */
    assert_null(did(&rig, WEIR_TM_EFFECT_KILL, 0));
    exited(&rig, "x2", SIGKILL);
    const Weir__Failure *failure =
        did(&rig, WEIR_TM_EFFECT_SEND, WEIR__CONTROL__BODY_EXECUTOR_REPORT)->control->executor_report->failure;
    assert_string_equal(failure->kind, "MemoryBudgetExceeded");
    assert_non_null(
        strstr(failure->message, "used 301 MB of memory, its limit is 300 MB (taskmanager.executor.memory)"));
    assert_int_equal(failure->signal, SIGKILL);
    rig_fini(&rig);
}

static void a_slots_part_of_the_containers_memory(void **state)
{
    (void)state;
    struct rig rig;
    rig_init_budgets(&rig, 4, 0, (int64_t)100 << 20);
    bring_up(&rig);
    start_executor(&rig, "x1", 0, "");
    start_with(&rig, "x2", 1, 3, "");
    make_ready(&rig, "x1");
    make_ready(&rig, "x2");
    memory(&rig, "x1", 100);
    memory(&rig, "x2", 300);
    assert_null(did(&rig, WEIR_TM_EFFECT_KILL, 0));
    memory(&rig, "x1", 101);
    assert_string_equal(did(&rig, WEIR_TM_EFFECT_KILL, 0)->executor_id, "x1");
    memory(&rig, "x2", 301);
    assert_string_equal(did(&rig, WEIR_TM_EFFECT_KILL, 0)->executor_id, "x2");
    exited(&rig, "x2", SIGKILL);
    const Weir__Failure *failure =
        did(&rig, WEIR_TM_EFFECT_SEND, WEIR__CONTROL__BODY_EXECUTOR_REPORT)->control->executor_report->failure;
    assert_string_equal(failure->kind, "MemoryBudgetExceeded");
    assert_non_null(strstr(failure->message, "used 301 MB of memory, its limit is 300 MB"));
    assert_non_null(strstr(failure->message, "3 of the 4 slots"));
    rig_fini(&rig);
}

static void reports_are_sent_again(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, 1);
    bring_up(&rig);
    start_executor(&rig, "x1", 0, "");
    exited(&rig, "x1", 6);
    assert_int_equal(weir_tm_reports_in_flight(rig.tm), 1);
    tick(&rig, 999);
    assert_null(did(&rig, WEIR_TM_EFFECT_SEND, WEIR__CONTROL__BODY_EXECUTOR_REPORT));
    tick(&rig, 1);
    assert_non_null(did(&rig, WEIR_TM_EFFECT_SEND, WEIR__CONTROL__BODY_EXECUTOR_REPORT));
    Weir__Ack ack;
    weir__ack__init(&ack);
    ack.id = 1;
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_ACK;
    control.ack = &ack;
    message(&rig, &control);
    assert_int_equal(weir_tm_reports_waiting(rig.tm), 0);
    rig_fini(&rig);
}

static void commits_once(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, 1);
    bring_up(&rig);
    Weir__CommitOutput commit;
    weir__commit_output__init(&commit);
    commit.job_id = (char *)JOB;
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = WEIR__CONTROL__BODY_COMMIT_OUTPUT;
    control.commit_output = &commit;
    command(&rig, &control);
    assert_non_null(did(&rig, WEIR_TM_EFFECT_COMMIT, 0));
    command(&rig, &control); /* asked again while it is under way */
    assert_null(did(&rig, WEIR_TM_EFFECT_COMMIT, 0));
    run(&rig, (struct weir_tm_event){.kind = WEIR_TM_EVENT_COMMITTED, .job_id = JOB});
    assert_non_null(did(&rig, WEIR_TM_EFFECT_SEND, WEIR__CONTROL__BODY_COMMIT_DONE));
    run(&rig, (struct weir_tm_event){.kind = WEIR_TM_EVENT_COMMITTED, .job_id = JOB});
    assert_null(did(&rig, WEIR_TM_EFFECT_SEND, WEIR__CONTROL__BODY_COMMIT_DONE));
    rig_fini(&rig);
}

/* How far an executor's sources are goes to the JobManager, and its answer back; whatever the executor calls itself. */
static void alignment_is_passed_on(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, 1);
    bring_up(&rig);
    start_executor(&rig, "e1", 0, "");
    make_ready(&rig, "e1");
    Weir__AlignmentGroup group, *groups[1] = {&group};
    Weir__Alignment alignment;
    Weir__Control control;
    weir__alignment_group__init(&group);
    weir__alignment__init(&alignment);
    weir__control__init(&control);
    group.name = (char *)"g";
    group.members = 3;
    group.watermark_ms = INT64_MIN;
    alignment.executor_id = (char *)"another";
    alignment.groups = groups;
    alignment.n_groups = 1;
    control.body_case = WEIR__CONTROL__BODY_ALIGNMENT;
    control.alignment = &alignment;
    run(&rig, (struct weir_tm_event){.kind = WEIR_TM_EVENT_EXECUTOR_MESSAGE, .executor_id = "e1", .control = &control});
    const struct done *sent = did(&rig, WEIR_TM_EFFECT_SEND, WEIR__CONTROL__BODY_ALIGNMENT);
    assert_non_null(sent);
    assert_string_equal(sent->control->alignment->executor_id, "e1");
    assert_string_equal(sent->control->alignment->job_id, JOB);
    assert_int_equal(sent->control->alignment->groups[0]->members, 3);
    assert_true(sent->control->alignment->groups[0]->watermark_ms == INT64_MIN);
    assert_int_equal(sent->control->session, 1);
    alignment.executor_id = (char *)"e1";
    group.watermark_ms = 17;
    message(&rig, &control);
    sent = did(&rig, WEIR_TM_EFFECT_SEND_EXECUTOR, WEIR__CONTROL__BODY_ALIGNMENT);
    assert_non_null(sent);
    assert_string_equal(sent->executor_id, "e1");
    assert_int_equal(sent->control->alignment->groups[0]->watermark_ms, 17);
    alignment.executor_id = (char *)"gone";
    message(&rig, &control);
    assert_null(did(&rig, WEIR_TM_EFFECT_SEND_EXECUTOR, WEIR__CONTROL__BODY_ALIGNMENT));
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alignment_is_passed_on),
        cmocka_unit_test(orphans_first),
        cmocka_unit_test(connects_with_backoff),
        cmocka_unit_test(an_executors_life),
        cmocka_unit_test(code_that_is_not_there),
        cmocka_unit_test(stops_politely_then_kills),
        cmocka_unit_test(the_lease),
        cmocka_unit_test(what_is_stale_has_no_effect),
        cmocka_unit_test(over_its_memory_budget),
        cmocka_unit_test(a_slots_part_of_the_containers_memory),
        cmocka_unit_test(reports_are_sent_again),
        cmocka_unit_test(commits_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
