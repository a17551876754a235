/* The session with the JobManager: WAITING (backoff) -> CONNECTING -> REGISTERING -> REGISTERED, back to WAITING whenever it breaks.
 *
 * Each connection is a new session with its own ids. What was not acknowledged when a session ends is dropped: the JobManager
 * counts everything of that session as lost, and the next Register says what still exists.
 */
#include "taskmanager/core/tm_int.h"

static void send(struct weir_tm *tm, const Weir__Control *control)
{
    weir_tm_effect(tm, WEIR_TM_EFFECT_SEND)->control = control;
}

/* --- Reports */

static void flush(struct weir_tm *tm)
{
    if (tm->phase != PHASE_REGISTERED)
        return;
    while (tm->in_flight < tm->outbox_count && tm->in_flight < tm->options.window) {
        if (tm->in_flight == 0)
            tm->resend_at_ms = later_ms(tm->now_ms, tm->options.resend_ms);
        Weir__Control *control = tm->outbox[tm->in_flight++];
        control->leader_epoch = tm->leader_epoch; /* known since RegisterAck; it may have been queued before */
        send(tm, control);
    }
}

void weir_tm_report(struct weir_tm *tm, const Weir__Control *control)
{
    if (tm->phase != PHASE_REGISTERED && tm->phase != PHASE_REGISTERING)
        return;
    if (tm->outbox_count >= tm->options.outbox_max) {
        weir_tm_session_broken(tm, "the JobManager leaves too many reports unacknowledged");
        return;
    }
    GROW(tm->outbox, tm->outbox_count, tm->outbox_capacity);
    Weir__Control *copy = weir_tm_control_copy(control);
    copy->version = 1;
    copy->leader_epoch = tm->leader_epoch;
    copy->session = tm->session;
    copy->id = tm->next_id++;
    tm->outbox[tm->outbox_count++] = copy;
    flush(tm);
}

static void take_ack(struct weir_tm *tm, uint64_t id)
{
    int done = 0;
    while (done < tm->in_flight && tm->outbox[done]->id <= id)
        weir_tm_trash(tm, tm->outbox[done++]);
    if (done == 0)
        return;
    tm->outbox_count -= done;
    tm->in_flight -= done;
    memmove(tm->outbox, tm->outbox + done, (size_t)tm->outbox_count * sizeof *tm->outbox);
    tm->resend_at_ms = later_ms(tm->now_ms, tm->options.resend_ms);
    flush(tm);
}

static void drop_reports(struct weir_tm *tm)
{
    for (int i = 0; i < tm->outbox_count; i++)
        weir_tm_trash(tm, tm->outbox[i]);
    tm->outbox_count = tm->in_flight = 0;
}

/* --- Connect */

static void connect_line(struct weir_tm *tm)
{
    tm->phase = PHASE_CONNECTING;
    tm->deadline_ms = later_ms(tm->now_ms, tm->options.register_timeout_ms);
    weir_tm_effect(tm, WEIR_TM_EFFECT_CONNECT);
}

void weir_tm_session_start(struct weir_tm *tm)
{
    connect_line(tm);
}

void weir_tm_session_broken(struct weir_tm *tm, const char *why)
{
    if (tm->phase == PHASE_WAITING)
        return;
    if (tm->phase == PHASE_REGISTERED)
        weir_tm_log(tm, WEIR_TM_LOG_WARN, NULL, "%s: registering anew in %" PRId64 " ms", why, tm->backoff_ms);
    drop_reports(tm);
    tm->phase = PHASE_WAITING;
    tm->deadline_ms = later_ms(tm->now_ms, tm->backoff_ms);
    tm->next_heartbeat_ms = tm->register_resend_ms = NEVER_MS;
    tm->backoff_ms = tm->backoff_ms * 2 < tm->options.backoff_max_ms ? tm->backoff_ms * 2 : tm->options.backoff_max_ms;
}

/* --- Register */

static Weir__TaskReport *task_report(struct weir_tm *tm, const struct tm_executor *executor, const struct tm_task *task)
{
    Weir__TaskReport *report = weir_arena_alloc(&tm->arena, sizeof *report);
    Weir__TaskId *id = weir_arena_alloc(&tm->arena, sizeof *id);
    weir__task_report__init(report);
    weir__task_id__init(id);
    id->vertex = task->vertex;
    id->subtask = task->subtask;
    id->attempt = task->attempt;
    report->executor_id = (char *)(uintptr_t)executor->id;
    report->job_id = (char *)(uintptr_t)executor->job_id;
    report->task = id;
    report->state = task->state;
    return report;
}

static void send_register(struct weir_tm *tm)
{
    Weir__Register *reg = weir_arena_alloc(&tm->arena, sizeof *reg);
    weir__register__init(reg);
    reg->taskmanager_id = (char *)(uintptr_t)tm->options.taskmanager_id;
    reg->host = (char *)(uintptr_t)tm->options.host;
    reg->slots = tm->options.slots;
    reg->data_port = tm->options.port_first;
    reg->memory_bytes = tm->options.memory_bytes;
    reg->cpu_cores = tm->options.cpu_cores;
    reg->log_directory = (char *)(uintptr_t)tm->options.log_directory;
    reg->pid = tm->options.pid;
    reg->session = tm->session;
    size_t tasks = 0;
    for (int e = 0; e < tm->executor_count; e++)
        tasks += (size_t)tm->executors[e]->task_count;
    reg->executors = weir_arena_alloc(&tm->arena, (size_t)(tm->executor_count + 1) * sizeof *reg->executors);
    reg->tasks = weir_arena_alloc(&tm->arena, (tasks + 1) * sizeof *reg->tasks);
    for (int e = 0; e < tm->executor_count && !WEIR_MUTANT(tm_register_hides_executors); e++) {
        const struct tm_executor *executor = tm->executors[e];
        reg->executors[reg->n_executors++] = weir_tm_executor_report(tm, executor);
        for (int t = 0; t < executor->task_count; t++)
            reg->tasks[reg->n_tasks++] = task_report(tm, executor, &executor->tasks[t]);
    }
    Weir__Control *control = weir_tm_new_control(tm);
    control->body_case = WEIR__CONTROL__BODY_REGISTER;
    control->register_ = reg;
    send(tm, control);
    tm->register_resend_ms = later_ms(tm->now_ms, tm->options.resend_ms);
}

void weir_tm_session_connected(struct weir_tm *tm)
{
    if (tm->phase != PHASE_CONNECTING)
        return; /* a connection that was given up */
    tm->phase = PHASE_REGISTERING;
    tm->session++;
    tm->received_id = 0;
    tm->next_id = 1;
    tm->heartbeat_sent = tm->heartbeat_acked = 0;
    tm->lease_until_ms = INT64_MIN;
    tm->register_ms = tm->now_ms;
    tm->deadline_ms = later_ms(tm->now_ms, tm->options.register_timeout_ms);
    send_register(tm);
}

static void take_register_ack(struct weir_tm *tm, const Weir__Control *control)
{
    const Weir__RegisterAck *ack = control->register_ack;
    if (control->leader_epoch < tm->leader_epoch && !WEIR_MUTANT(tm_old_leader))
        return; /* a JobManager that has been replaced; without a better answer this connection is given up */
    if (!ack->accepted) {
        weir_tm_log(tm, WEIR_TM_LOG_WARN, NULL, "the JobManager refused to register this TaskManager: %s", ack->reason);
        weir_tm_session_broken(tm, "the JobManager does not know this TaskManager");
        return;
    }
    if (tm->phase != PHASE_REGISTERING)
        return; /* a repeat */
    tm->phase = PHASE_REGISTERED;
    tm->leader_epoch = control->leader_epoch;
    tm->heartbeat_interval_ms = ack->heartbeat_interval_ms > 0 ? ack->heartbeat_interval_ms : 1;
    tm->lease_ms = ack->heartbeat_timeout_ms / 3 * 2; /* T_self, well below T_dead */
    if (tm->lease_ms < 1)
        tm->lease_ms = 1;
    tm->lease_until_ms = later_ms(tm->register_ms, tm->lease_ms);
    tm->next_heartbeat_ms = tm->now_ms;
    tm->register_resend_ms = tm->deadline_ms = NEVER_MS;
    weir_tm_log(tm, WEIR_TM_LOG_INFO, NULL,
                "registered at the JobManager with leader epoch %" PRIu64 ", session %" PRIu64, tm->leader_epoch,
                tm->session);
    flush(tm);
}

/* --- Heartbeats */

static void send_heartbeat(struct weir_tm *tm)
{
    Weir__Heartbeat *heartbeat = weir_arena_alloc(&tm->arena, sizeof *heartbeat);
    weir__heartbeat__init(heartbeat);
    heartbeat->sequence = ++tm->heartbeat_sent;
    tm->sent_ms[tm->heartbeat_sent % HEARTBEATS_KEPT] = tm->now_ms;
    size_t known = 0;
    uint64_t rss_bytes = 0;
    for (int e = 0; e < tm->executor_count; e++) {
        rss_bytes += tm->executors[e]->rss_bytes;
        for (int t = 0; t < tm->executors[e]->task_count; t++)
            known += tm->executors[e]->tasks[t].metrics != NULL;
    }
    heartbeat->metrics = weir_arena_alloc(&tm->arena, (known + 1) * sizeof *heartbeat->metrics);
    for (int e = 0; e < tm->executor_count; e++)
        for (int t = 0; t < tm->executors[e]->task_count; t++)
            if (tm->executors[e]->tasks[t].metrics)
                heartbeat->metrics[heartbeat->n_metrics++] = tm->executors[e]->tasks[t].metrics;
    if (tm->process) {
        tm->process->executor_rss_bytes = rss_bytes;
        heartbeat->process = tm->process;
    }
    Weir__Control *control = weir_tm_new_control(tm);
    control->body_case = WEIR__CONTROL__BODY_HEARTBEAT;
    control->heartbeat = heartbeat;
    send(tm, control);
    tm->next_heartbeat_ms = later_ms(tm->now_ms, tm->heartbeat_interval_ms);
}

static void take_heartbeat_ack(struct weir_tm *tm, uint64_t sequence)
{
    if (sequence <= tm->heartbeat_acked || sequence > tm->heartbeat_sent ||
        tm->heartbeat_sent - sequence >= HEARTBEATS_KEPT)
        return;
    tm->heartbeat_acked = sequence;
    tm->backoff_ms = tm->options.backoff_min_ms; /* only now does this connection stand */
    int64_t sent_ms = WEIR_MUTANT(tm_lease_from_receipt) ? tm->now_ms : tm->sent_ms[sequence % HEARTBEATS_KEPT];
    tm->lease_until_ms = later_ms(sent_ms, tm->lease_ms);
    weir_tm_executor_lease(tm);
}

/* --- Messages */

/* Taken in order, once; a repeat is acknowledged again. */
static bool take_command_id(struct weir_tm *tm, uint64_t id)
{
    if (id > tm->received_id + 1 && !WEIR_MUTANT(tm_gap_accepted))
        return false;
    bool next = id == tm->received_id + 1 || (id > tm->received_id && WEIR_MUTANT(tm_gap_accepted));
    if (next)
        tm->received_id = id;
    Weir__Ack *ack = weir_arena_alloc(&tm->arena, sizeof *ack);
    weir__ack__init(ack);
    ack->id = tm->received_id;
    Weir__Control *control = weir_tm_new_control(tm);
    control->body_case = WEIR__CONTROL__BODY_ACK;
    control->ack = ack;
    send(tm, control);
    return next;
}

static void take_command(struct weir_tm *tm, const Weir__Control *control)
{
    if (control->id == 0 || (!take_command_id(tm, control->id) && !WEIR_MUTANT(tm_command_twice)))
        return;
    switch (control->body_case) {
    case WEIR__CONTROL__BODY_START_EXECUTOR:
        weir_tm_executor_start(tm, control);
        break;
    case WEIR__CONTROL__BODY_STOP_EXECUTOR:
        weir_tm_executor_stop(tm, control->stop_executor);
        break;
    case WEIR__CONTROL__BODY_DEPLOY_TASKS:
        weir_tm_executor_deploy(tm, control);
        break;
    case WEIR__CONTROL__BODY_CANCEL_TASKS:
        weir_tm_executor_cancel(tm, control);
        break;
    case WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT:
        weir_tm_executor_trigger(tm, control);
        break;
    case WEIR__CONTROL__BODY_CHECKPOINT_COMPLETE:
        weir_tm_executor_complete(tm, control);
        break;
    case WEIR__CONTROL__BODY_COMMIT_OUTPUT:
        weir_tm_commit(tm, control);
        break;
    case WEIR__CONTROL__BODY_ABORT_OUTPUT:
        weir_tm_abort(tm, control);
        break;
    default:
        break; /* not for a TaskManager; taken, so that later ones are not held up */
    }
}

void weir_tm_session_message(struct weir_tm *tm, const Weir__Control *control)
{
    if (control->version != 1)
        return;
    if (tm->phase != PHASE_REGISTERING && tm->phase != PHASE_REGISTERED)
        return; /* no session */
    if (control->session != tm->session && !WEIR_MUTANT(tm_old_session))
        return;
    if (control->body_case == WEIR__CONTROL__BODY_REGISTER_ACK) {
        take_register_ack(tm, control);
        return;
    }
    if (tm->phase != PHASE_REGISTERED)
        return; /* overtook RegisterAck: it is sent again */
    if (control->leader_epoch != tm->leader_epoch && !WEIR_MUTANT(tm_old_leader))
        return;
    if (control->body_case == WEIR__CONTROL__BODY_HEARTBEAT_ACK)
        take_heartbeat_ack(tm, control->heartbeat_ack->sequence);
    else if (control->body_case == WEIR__CONTROL__BODY_ACK)
        take_ack(tm, control->ack->id);
    else if (control->body_case == WEIR__CONTROL__BODY_ALIGNMENT)
        weir_tm_executor_align(tm, control);
    else
        take_command(tm, control);
}

/* --- Time */

void weir_tm_session_lease(struct weir_tm *tm)
{
    if (tm->phase == PHASE_REGISTERED && tm->now_ms >= tm->lease_until_ms && !WEIR_MUTANT(tm_session_without_lease))
        weir_tm_session_broken(tm, "the JobManager has acknowledged no heartbeat within the lease");
}

void weir_tm_session_timers(struct weir_tm *tm)
{
    weir_tm_session_lease(tm);
    if (tm->deadline_ms <= tm->now_ms) {
        if (tm->phase == PHASE_WAITING)
            connect_line(tm);
        else
            weir_tm_session_broken(tm, "the JobManager did not answer in time");
    }
    if (tm->phase == PHASE_REGISTERING && tm->register_resend_ms <= tm->now_ms)
        send_register(tm);
    if (tm->phase != PHASE_REGISTERED)
        return;
    if (tm->next_heartbeat_ms <= tm->now_ms)
        send_heartbeat(tm);
    if (tm->in_flight && tm->resend_at_ms <= tm->now_ms && !WEIR_MUTANT(tm_no_resend)) {
        for (int i = 0; i < tm->in_flight; i++)
            send(tm, tm->outbox[i]);
        tm->resend_at_ms = later_ms(tm->now_ms, tm->options.resend_ms);
    }
}

int64_t weir_tm_session_wake_ms(const struct weir_tm *tm)
{
    int64_t wake = tm->deadline_ms;
    if (tm->phase == PHASE_REGISTERING && tm->register_resend_ms < wake)
        wake = tm->register_resend_ms;
    if (tm->phase != PHASE_REGISTERED)
        return wake;
    if (tm->next_heartbeat_ms < wake)
        wake = tm->next_heartbeat_ms;
    if (tm->lease_until_ms < wake)
        wake = tm->lease_until_ms;
    if (tm->in_flight && tm->resend_at_ms < wake)
        wake = tm->resend_at_ms;
    return wake;
}
