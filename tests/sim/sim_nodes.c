/* The processes that run the cores: deliver events, perform effects, and note what must not have an effect.
 *
 * A message that the world knows to be stale (of an ended session, of a lower epoch, a repeat, one that overtook another) is
 * delivered after a TICK of its own, and the core's digest before and after must be equal.
 */
#include "tests/sim/sim.h"

/* --- JobManager */

void node_init_jm_event(struct world *w, int jm, struct weir_jm_event *event, enum weir_jm_event_kind kind)
{
    memset(event, 0, sizeof *event);
    event->kind = kind;
    event->now_ms = w->now_ms + w->jms[jm].offset_ms;
    event->wall_ms = 1700000000000 + w->now_ms;
}

static int conn_by_peer(const struct world *w, const char *peer)
{
    const char *c = strchr(peer, 'c');
    int i = c ? atoi(c + 1) : -1;
    return i >= 0 && i < w->conn_count && strcmp(w->conns[i].peer, peer) == 0 ? i : -1;
}

/* Ids of commands: counted, bounded in flight, and not sent again before their time. */
static void check_sent(struct world *w, uint64_t *sent, uint64_t acked, int64_t *sent_ms, uint64_t id, int window,
                       int64_t resend_ms, enum counter resent, const char *what)
{
    if (acked > *sent)
        acked = *sent;
    if (id > *sent) {
        if (id != *sent + 1)
            violate(w, "id-skipped", "%s: id %" PRIu64 " follows %" PRIu64, what, id, *sent);
        *sent = id;
        if (*sent - acked > (uint64_t)window)
            violate(w, "window", "%s: %" PRIu64 " messages in flight, window %d", what, *sent - acked, window);
        if (*sent - acked == (uint64_t)window)
            count(w, C_window_full);
        /* What is in flight is sent again together, in rounds: the first of them sets the pace. */
        sent_ms[id % SENT_KEPT] = *sent - acked == 1 ? w->now_ms : w->now_ms - resend_ms;
    } else {
        if (w->now_ms - sent_ms[id % SENT_KEPT] < resend_ms)
            violate(w, "resend-rate", "%s: id %" PRIu64 " sent again %" PRId64 " ms after the last time", what, id,
                    w->now_ms - sent_ms[id % SENT_KEPT]);
        count(w, resent);
        sent_ms[id % SENT_KEPT] = w->now_ms;
    }
}

static void perform_jm_send(struct world *w, int jm, const struct weir_jm_effect *effect)
{
    int conn = conn_by_peer(w, effect->peer);
    const Weir__Control *control = effect->control;
    if (conn < 0 || w->conns[conn].jm != jm)
        violate(w, "wrong-peer", "jm%d sends to %s", jm, effect->peer);
    struct conn *c = &w->conns[conn];
    if (control->leader_epoch != w->jms[jm].epoch)
        violate(w, "epoch-regressed", "jm%d sends with epoch %" PRIu64, jm, control->leader_epoch);
    if (control->body_case == WEIR__CONTROL__BODY_REGISTER_ACK) {
        if (control->register_ack->accepted) {
            w->accepted_conn = conn;
            if (!c->registered)
                c->heard_ms = w->now_ms;
            c->registered = true;
            if (w->tms[c->tm].boot == c->boot && control->session > w->tms[c->tm].accepted_session[jm])
                w->tms[c->tm].accepted_session[jm] = control->session;
        } else {
            count(w, C_register_refused);
            w->refused_conn = conn;
        }
    }
    if (control->id && c->cmd_sent <= c->cmd_acked)
        c->cmd_progress_ms = w->now_ms;
    if (control->id > c->cmd_sent)
        store_check_sent(w, jm, control);
    if (control->id)
        c->cmd_last_ms = w->now_ms;
    if (control->id)
        check_sent(w, &c->cmd_sent, c->cmd_acked, c->cmd_sent_ms, control->id, w->jm_options.window,
                   w->jm_options.resend_ms, C_resent_command, c->peer);
    net_send(w, conn, false, control);
}

static void perform_jm(struct world *w, int jm, const struct weir_jm_effect *effect)
{
    note(w, (uint64_t)effect->kind, 7);
    check_jm_effect(w, jm, effect);
    switch (effect->kind) {
    case WEIR_JM_EFFECT_SEND:
        perform_jm_send(w, jm, effect);
        break;
    case WEIR_JM_EFFECT_LOG:
        trace(w, "jm%d: %s", jm, effect->text);
        break;
    case WEIR_JM_EFFECT_TM_LOST:
        trace(w, "jm%d: lost: %s", jm, effect->text);
        break;
    case WEIR_JM_EFFECT_REPLY:
        trace(w, "jm%d: reply: %d %s", jm, effect->code, effect->text);
        break;
    case WEIR_JM_EFFECT_FENCED:
        trace(w, "jm%d: %s", jm, effect->text);
        count(w, C_jm_fenced);
        w->jms[jm].fenced = true;
        for (int j = 0; strstr(effect->text, "writes HEAD") && j < w->job_count; j++)
            if (strstr(effect->text, w->jobs[j].id) && w->jobs[j].head.epoch <= w->jms[jm].epoch)
                violate(w, "fenced-by-itself", "jm%d: %s, and nobody does", jm, effect->text);
        break;
    case WEIR_JM_EFFECT_STORE_PUT:
    case WEIR_JM_EFFECT_STORE_COPY:
    case WEIR_JM_EFFECT_STORE_DROP:
    case WEIR_JM_EFFECT_STORE_LIST:
    case WEIR_JM_EFFECT_STORE_DELETE:
    case WEIR_JM_EFFECT_HEAD_PUT:
    case WEIR_JM_EFFECT_HEAD_GET:
    case WEIR_JM_EFFECT_JOB_STORE:
    case WEIR_JM_EFFECT_JOBS_LIST:
    case WEIR_JM_EFFECT_JOB_READ:
        store_begin(w, jm, effect);
        break;
    default:
        break;
    }
}

static void wake_jm(struct world *w, int jm, int64_t wake_at_ms)
{
    int64_t at = wake_at_ms == INT64_MAX ? INT64_MAX : wake_at_ms - w->jms[jm].offset_ms;
    if (at != INT64_MAX && at <= w->now_ms)
        at = w->now_ms + 1; /* a core that asks for its own past would not let time pass */
    if (at == w->jms[jm].wake_at_ms)
        return;
    w->jms[jm].wake_at_ms = at;
    w->jms[jm].wake_gen++;
    if (at != INT64_MAX)
        push(w, at, EV_WAKE_JM, jm, 0, 0, w->jms[jm].wake_gen, NULL);
}

void jm_event(struct world *w, int jm, const struct weir_jm_event *event)
{
    struct weir_jm_effects effects;
    w->events++;
    w->accepted_conn = w->refused_conn = -1;
    weir_jm_step(w->jms[jm].core, event, &effects);
    check_plans(w, jm);
    for (int i = 0; i < effects.count; i++) {
        if (crash_due(w, jm, &effects.items[i])) {
            w->jms[jm].crash_in = 1;
            w->jms[jm].crash_restart_ms = rng_range(&w->ops, 50, 2000);
        }
        if (w->jms[jm].crash_in > 0 &&
            --w->jms[jm].crash_in == 0) { /* what it decided and did not do is lost with it */
            jm_crash_fault(w, jm, w->jms[jm].crash_restart_ms);
            if (!w->jms[jm].alive) {
                count(w, C_jm_crashed_mid_step);
                return;
            }
        }
        perform_jm(w, jm, &effects.items[i]);
    }
    check_jm(w, jm);
    wake_jm(w, jm, effects.wake_at_ms);
}

void jm_tick(struct world *w, int jm)
{
    struct weir_jm_event event;
    w->jms[jm].wake_at_ms = -1;
    node_init_jm_event(w, jm, &event, WEIR_JM_EVENT_TICK);
    jm_event(w, jm, &event);
}

/* NULL: this message counts; else why it must not. */
static const char *stale_for_jm(struct world *w, int conn, const Weir__Control *control)
{
    struct conn *c = &w->conns[conn];
    if (control->body_case == WEIR__CONTROL__BODY_REGISTER) {
        if (w->tms[c->tm].boot != c->boot || control->register_->session > w->tms[c->tm].accepted_session[c->jm])
            return NULL;
        count(w, C_stale_register);
        return "stale-register";
    }
    if (control->leader_epoch < w->jms[c->jm].epoch) {
        count(w, C_stale_epoch_message);
        return "stale-epoch";
    }
    if (!c->registered || control->session != c->session) {
        count(w, C_stale_session_message);
        return "stale-session";
    }
    if (control->body_case == WEIR__CONTROL__BODY_HEARTBEAT) {
        if (control->heartbeat->sequence <= c->hb_taken) {
            count(w, C_heartbeat_old);
            return "old-heartbeat";
        }
        c->hb_taken = control->heartbeat->sequence;
        c->heard_ms = w->now_ms;
    }
    if (control->body_case == WEIR__CONTROL__BODY_ACK && control->ack->id > c->cmd_acked) {
        c->cmd_acked = control->ack->id;
        c->cmd_progress_ms = c->cmd_last_ms = w->now_ms;
    }
    if (control->id == 0)
        return NULL;
    if (control->id <= c->to_jm_taken) {
        count(w, C_duplicate_report);
        return "duplicate-report";
    }
    if (control->id > c->to_jm_taken + 1) {
        count(w, C_gap_report);
        count(w, C_message_overtaken);
        return "gap-report";
    }
    c->to_jm_taken = control->id;
    return NULL;
}

/* A report about an attempt that is not current, or has ended, must not change its job. */
static const struct weir_jm_job *unaffected_job(struct world *w, int jm, const Weir__Control *control)
{
    bool checkpoint = control->body_case == WEIR__CONTROL__BODY_CHECKPOINT_REPORT;
    if (control->body_case != WEIR__CONTROL__BODY_TASK_REPORT && !checkpoint)
        return NULL;
    const Weir__TaskId *id = checkpoint ? control->checkpoint_report->task : control->task_report->task;
    const char *executor_id = checkpoint ? control->checkpoint_report->executor_id : control->task_report->executor_id;
    const struct weir_jm_job *job = weir_jm_job_find(w->jms[jm].core, checkpoint ? control->checkpoint_report->job_id
                                                                                 : control->task_report->job_id);
    if (!job)
        return NULL;
    const struct weir_jm_task *task = NULL;
    if ((int)id->vertex < job->plan->vertex_count && (int)id->subtask < job->plan->vertices[id->vertex].parallelism)
        task = &job->tasks[job->plan->vertices[id->vertex].first_task + (int)id->subtask];
    if (!task) { /* of a plan that it had before */
        count(w, C_stale_attempt_report);
        return job;
    }
    if (task->attempt == id->attempt && strcmp(task->executor_id, executor_id) == 0 &&
        !weir_task_state_terminal(task->state))
        return NULL;
    count(w, task->attempt == id->attempt ? C_late_terminal_report : C_stale_attempt_report);
    return job;
}

void jm_message(struct world *w, int conn, const Weir__Control *control)
{
    int jm = w->conns[conn].jm;
    struct jm_node *node = &w->jms[jm];
    jm_tick(w, jm);
    if (!node->alive)
        return;
    int starting_job = -1; /* of an executor that this report says has ended before it was ready */
    if (control->body_case == WEIR__CONTROL__BODY_EXECUTOR_REPORT &&
        control->executor_report->state == WEIR__EXECUTOR_REPORT__STATE__EXITED && control->executor_report->failure)
        for (int i = 0; i < weir_jm_executor_count(node->core); i++) {
            struct weir_jm_executor_view x = weir_jm_executor_at(node->core, i);
            if (strcmp(x.id, control->executor_report->executor_id) == 0 && x.state == WEIR_JM_EXECUTOR_STARTING &&
                !x.detached)
                starting_job = job_find(w, x.job_id);
        }
    if (starting_job >= 0 && w->jobs[starting_job].jm != jm)
        starting_job = -1;
    bool was_fenced = node->fenced;
    const char *stale = stale_for_jm(w, conn, control);
    const struct weir_jm_job *job = stale ? NULL : unaffected_job(w, jm, control);
    uint64_t version = job ? job->version : 0, digest = stale ? weir_jm_digest(node->core) : 0;
    trace(w, "%s at jm%d: %s id %" PRIu64 "%s%s", w->conns[conn].peer, jm, body_name(control), control->id,
          stale ? " " : "", stale ? stale : "");
    struct weir_jm_event event;
    node_init_jm_event(w, jm, &event, WEIR_JM_EVENT_MESSAGE);
    event.peer = w->conns[conn].peer;
    event.control = control;
    uint64_t restarts = starting_job >= 0 ? w->jobs[starting_job].restarts : 0;
    enum weir_job_state state_before = starting_job >= 0 ? w->jobs[starting_job].state : WEIR_JOB_CREATED;
    jm_event(w, jm, &event);
    if (!node->alive)
        return;
    if (!stale && state_before == WEIR_JOB_RUNNING && w->jobs[starting_job].restarts == restarts &&
        w->jobs[starting_job].state == WEIR_JOB_RUNNING &&
        weir_jm_job_find(node->core, w->jobs[starting_job].id)) /* it may have ended and be forgotten already */
        violate(w, "start-failure-not-counted", "jm%d: job %.8s goes on as if nothing had happened", jm,
                w->jobs[starting_job].id);
    if (control->leader_epoch > node->epoch && !node->fenced)
        violate(w, "not-fenced", "jm%d with epoch %" PRIu64 " was shown epoch %" PRIu64 " and goes on", jm, node->epoch,
                control->leader_epoch);
    if (was_fenced || node->fenced)
        return;
    if (control->body_case == WEIR__CONTROL__BODY_REGISTER && w->conns[conn].registered &&
        w->conns[conn].session == control->register_->session && w->accepted_conn != conn)
        violate(w, "register-unanswered", "jm%d does not answer %s", jm, w->conns[conn].peer);
    if (stale && control->body_case == WEIR__CONTROL__BODY_HEARTBEAT && strcmp(stale, "stale-session") == 0 &&
        w->refused_conn != conn)
        violate(w, "heartbeat-unanswered", "jm%d does not tell %s that it is not registered", jm, w->conns[conn].peer);
    if (!stale && !job && control->body_case == WEIR__CONTROL__BODY_TASK_REPORT &&
        weir_task_state_terminal(control->task_report->state)) {
        const Weir__TaskReport *report = control->task_report;
        const struct weir_jm_job *now = weir_jm_job_find(node->core, report->job_id);
        const struct weir_jm_task *task = /* in this very step it may have got other tasks */
            now && (int)report->task->vertex < now->plan->vertex_count &&
                    (int)report->task->subtask < now->plan->vertices[report->task->vertex].parallelism
                ? &now->tasks[now->plan->vertices[report->task->vertex].first_task + (int)report->task->subtask]
                : NULL;
        if (task && task->attempt == report->task->attempt && !weir_task_state_terminal(task->state))
            violate(w, "report-ignored", "jm%d: job %.8s: a task has ended and is shown as %s", jm, now->id,
                    weir_task_state_name(task->state));
    }
    if (stale && weir_jm_digest(node->core) != digest)
        violate(w, stale, "jm%d: %s id %" PRIu64 " on %s changed something", jm, body_name(control), control->id,
                w->conns[conn].peer);
    if (job && job->version != version)
        violate(w, "stale-task-report", "jm%d: a %s of another attempt changed job %.8s", jm, body_name(control),
                job->id);
}

void jm_start(struct world *w)
{
    if (w->jm_count == SIM_JMS_MAX)
        return;
    int jm = w->jm = w->jm_count++;
    struct jm_node *node = &w->jms[jm];
    struct weir_jm_options options = w->jm_options;
    options.leader_epoch = (uint64_t)w->jm_count;
    options.seed = rng_next(&w->exe);
    options.recovers = true;
    node->core = weir_jm_new(&options);
    node->alive = true;
    node->epoch = options.leader_epoch;
    node->offset_ms = rng_range(&w->exe, 0, 1000000);
    node->wake_at_ms = -1;
    trace(w, "jm%d starts with epoch %" PRIu64, jm, node->epoch);
    jm_tick(w, jm);
}

void jm_crash(struct world *w, int jm)
{
    trace(w, "jm%d crashes", jm);
    w->jms[jm].alive = false;
    weir_jm_free(w->jms[jm].core);
    w->jms[jm].core = NULL;
    for (int i = 0; i < w->conn_count; i++)
        if (w->conns[i].jm == jm && w->conns[i].jm_open) {
            w->conns[i].jm_open = w->conns[i].registered = false;
            net_close(w, i, false, w->healed || rng_chance(&w->net, 80));
        }
}

void jm_crash_fault(struct world *w, int jm, int64_t restart_after_ms)
{
    bool leads = jm == w->jm;
    if (w->jm_count == SIM_JMS_MAX || w->now_ms >= w->fault_end_ms)
        return;
    if (restart_after_ms > w->fault_end_ms - w->now_ms)
        restart_after_ms = w->fault_end_ms - w->now_ms;
    count(w, C_jm_crashed);
    jm_crash(w, jm);
    if (leads)
        push(w, w->now_ms + restart_after_ms, EV_JM_RESTART, 0, 0, 0, 0, NULL);
}

/* --- TaskManager */

void node_init_tm_event(struct world *w, int tm, struct weir_tm_event *event, enum weir_tm_event_kind kind)
{
    memset(event, 0, sizeof *event);
    event->kind = kind;
    event->now_ms = w->now_ms + w->tms[tm].offset_ms;
}

static void perform_tm_send(struct world *w, int tm, const Weir__Control *control)
{
    struct tm_node *t = &w->tms[tm];
    if (t->conn < 0)
        return;
    struct conn *c = &w->conns[t->conn];
    if (control->body_case == WEIR__CONTROL__BODY_REGISTER)
        c->session = control->session;
    if (control->body_case == WEIR__CONTROL__BODY_EXECUTOR_REPORT &&
        control->executor_report->state == WEIR__EXECUTOR_REPORT__STATE__EXITED) {
        int x = exec_find(w, tm, control->executor_report->executor_id);
        if (x >= 0 && w->execs[x].asked == (control->executor_report->failure != NULL))
            violate(w, "exit-explained-wrongly", "tm%d: executor x%d ended %s", tm, x,
                    w->execs[x].asked ? "as it was told to, and that is called a failure"
                                      : "by itself, and no failure says why");
    }
    if (control->session != c->session)
        violate(w, "session-mixed", "tm%d sends session %" PRIu64 " on a connection of session %" PRIu64, tm,
                control->session, c->session);
    if (control->id)
        c->rep_last_ms = w->now_ms;
    if (control->id)
        check_sent(w, &c->rep_sent, c->rep_acked, c->rep_sent_ms, control->id, w->tm_options.window,
                   w->tm_options.resend_ms, C_resent_report, c->peer);
    net_send(w, t->conn, true, control);
}

static void perform_tm(struct world *w, int tm, const struct weir_tm_effect *effect)
{
    struct tm_node *t = &w->tms[tm];
    note(w, (uint64_t)effect->kind, 8);
    int x;
    switch (effect->kind) {
    case WEIR_TM_EFFECT_CONNECT:
        net_connect(w, tm);
        break;
    case WEIR_TM_EFFECT_SEND:
        perform_tm_send(w, tm, effect->control);
        break;
    case WEIR_TM_EFFECT_SEND_EXECUTOR:
        x = exec_find(w, tm, effect->executor_id);
        if (x >= 0)
            check_lease(w, x, effect->control);
        if (x >= 0 && w->execs[x].exists)
            push(w, w->now_ms + 1, EV_X_CONTROL, x, 0, 0, 0, msg_copy(effect->control));
        break;
    case WEIR_TM_EFFECT_FETCH_CODE: {
        bool good = !(window_open(w, F_CODE_FAIL) && rng_chance(&w->exe, w->window_value[F_CODE_FAIL]));
        if (!good)
            count(w, C_code_failed);
        push(w, w->now_ms + rng_range(&w->exe, 2, 80), EV_TM_CODE, tm, t->boot, good, 0, NULL);
        break;
    }
    case WEIR_TM_EFFECT_SPAWN:
        exec_spawn(w, tm, effect->executor_id, effect->job_id);
        break;
    case WEIR_TM_EFFECT_KILL:
        exec_kill(w, tm, effect->executor_id);
        break;
    case WEIR_TM_EFFECT_KILL_ORPHAN:
        exec_kill_orphan(w, tm, effect->orphan);
        break;
    case WEIR_TM_EFFECT_COMMIT:
        x = job_find(w, effect->job_id);
        if (x >= 0 && t->commits & 1u << x && !w->jobs[x].checkpoints)
            violate(w, "commit-twice-at-once", "tm%d: job %.8s", tm, effect->job_id);
        if (x >= 0)
            t->commits |= 1u << x;
        push(w, w->now_ms + rng_range(&w->exe, 2, window_open(w, F_COMMIT_SLOW) ? w->window_value[F_COMMIT_SLOW] : 100),
             EV_TM_COMMIT, tm, t->boot, 0, 0, msg_copy(effect->control));
        break;
    case WEIR_TM_EFFECT_ABORT:
        check_abort(w, effect->job_id);
        break;
    case WEIR_TM_EFFECT_LOG:
        trace(w, "tm%d: %s", tm, effect->text);
        if (strstr(effect->text, "lease has ended"))
            count(w, C_lease_killed_executor);
        if (strstr(effect->text, "it hangs"))
            count(w, C_hang_killed_executor);
        if (strstr(effect->text, "taskmanager.executor.memory") && strstr(effect->text, "it is killed"))
            check_memory_kill(w, tm, effect->text);
        break;
    }
}

static void wake_tm(struct world *w, int tm, int64_t wake_at_ms)
{
    struct tm_node *t = &w->tms[tm];
    int64_t at = wake_at_ms == INT64_MAX ? INT64_MAX : wake_at_ms - t->offset_ms;
    if (at != INT64_MAX && at <= w->now_ms)
        at = w->now_ms + 1;
    if (at == t->wake_at_ms)
        return;
    t->wake_at_ms = at;
    t->wake_gen++;
    if (at != INT64_MAX)
        push(w, at, EV_WAKE_TM, tm, t->boot, 0, t->wake_gen, NULL);
}

void tm_event(struct world *w, int tm, const struct weir_tm_event *event)
{
    struct weir_tm_effects effects;
    w->events++;
    weir_tm_step(w->tms[tm].core, event, &effects);
    for (int i = 0; i < effects.count; i++)
        perform_tm(w, tm, &effects.items[i]);
    check_tm(w, tm);
    wake_tm(w, tm, effects.wake_at_ms);
}

void tm_tick(struct world *w, int tm)
{
    struct weir_tm_event event;
    w->tms[tm].wake_at_ms = -1;
    node_init_tm_event(w, tm, &event, WEIR_TM_EVENT_TICK);
    tm_event(w, tm, &event);
}

static const char *stale_for_tm(struct world *w, int conn, const Weir__Control *control)
{
    struct conn *c = &w->conns[conn];
    struct tm_node *t = &w->tms[c->tm];
    if (control->session != weir_tm_session(t->core) || conn != t->conn) {
        if (control->session == weir_tm_session(t->core))
            return NULL; /* a forged number may hit: the session is what counts */
        count(w, C_stale_session_message);
        return "stale-session";
    }
    if (control->leader_epoch < t->epoch_seen) {
        count(w, C_stale_epoch_message);
        return "stale-epoch";
    }
    if (control->body_case == WEIR__CONTROL__BODY_REGISTER_ACK && control->register_ack->accepted &&
        weir_tm_registered(t->core))
        return "repeated-register-ack";
    if (control->body_case == WEIR__CONTROL__BODY_HEARTBEAT_ACK && weir_tm_registered(t->core)) {
        if (control->heartbeat_ack->sequence <= c->hback_taken)
            return "old-heartbeat-ack";
        c->hback_taken = control->heartbeat_ack->sequence;
    }
    if (control->body_case == WEIR__CONTROL__BODY_ACK && control->ack->id > c->rep_acked &&
        weir_tm_registered(t->core)) {
        c->rep_acked = control->ack->id;
        c->rep_last_ms = w->now_ms;
    }
    if (control->id == 0)
        return NULL;
    if (!weir_tm_registered(t->core)) {
        count(w, C_message_overtaken);
        return "command-before-registration";
    }
    if (control->id <= c->to_tm_taken) {
        count(w, C_duplicate_command);
        return "duplicate-command";
    }
    if (control->id > c->to_tm_taken + 1) {
        count(w, C_gap_command);
        count(w, C_message_overtaken);
        return "gap-command";
    }
    c->to_tm_taken = control->id;
    return NULL;
}

void tm_message(struct world *w, int conn, const Weir__Control *control)
{
    int tm = w->conns[conn].tm;
    struct tm_node *t = &w->tms[tm];
    tm_tick(w, tm);
    const char *stale = stale_for_tm(w, conn, control);
    uint64_t digest = stale ? weir_tm_digest(t->core) : 0;
    int polite = -1; /* an executor that is told to stop, and has time to */
    if (!stale && control->body_case == WEIR__CONTROL__BODY_START_EXECUTOR) {
        int i = t->started_next++ % 64;
        snprintf(t->started[i].executor_id, sizeof t->started[i].executor_id, "%s",
                 control->start_executor->executor_id);
        t->started[i].conn = conn;
    }
    if (!stale && control->body_case == WEIR__CONTROL__BODY_STOP_EXECUTOR) {
        int x = exec_find(w, tm, control->stop_executor->executor_id);
        bool heard =
            weir_tm_registered(t->core); /* else it is of the session that has just ended, and counts no more */
        if (x >= 0 && heard &&
            !w->execs[x].known_exit) /* later, its end has been explained, and the report may only be under way */
            w->execs[x].asked = true;
        if (x >= 0 && !control->stop_executor->kill && w->execs[x].ready && !w->execs[x].killed)
            polite = x;
    }
    trace(w, "%s at tm%d: %s id %" PRIu64 "%s%s", w->conns[conn].peer, tm, body_name(control), control->id,
          stale ? " " : "", stale ? stale : "");
    struct weir_tm_event event;
    node_init_tm_event(w, tm, &event, WEIR_TM_EVENT_MESSAGE);
    event.control = control;
    tm_event(w, tm, &event);
    if (polite >= 0 && w->execs[polite].killed)
        violate(w, "killed-at-once", "tm%d kills executor x%d, which was to be stopped", tm, polite);
    if (!stale && control->body_case == WEIR__CONTROL__BODY_REGISTER_ACK && !control->register_ack->accepted &&
        weir_tm_registered(t->core))
        violate(w, "refusal-ignored", "tm%d stays in a session that its JobManager does not know", tm);
    if (stale && weir_tm_digest(t->core) != digest)
        violate(w, stale, "tm%d: %s id %" PRIu64 " on %s changed something", tm, body_name(control), control->id,
                w->conns[conn].peer);
}

void tm_confuse(struct world *w, int tm)
{
    struct tm_node *t = &w->tms[tm];
    if (!t->alive || w->now_ms < t->paused_until_ms || !weir_tm_registered(t->core) || t->conn < 0 || !w->job_count)
        return;
    int victim = -1;
    for (int i = 0; i < w->exec_count; i++)
        if (w->execs[i].exists && w->execs[i].tm == tm && w->execs[i].boot == t->boot && w->execs[i].slots)
            victim = i;
    if (victim < 0)
        return;
    struct conn *c = &w->conns[t->conn];
    char id[33];
    snprintf(id, sizeof id, "%08x%024x", w->exec_count + 1, 0xc0);
    uint32_t slots[SIM_SLOTS_MAX];
    Weir__StartExecutor start;
    weir__start_executor__init(&start);
    start.executor_id = id;
    start.job_id = w->jobs[w->execs[victim].job].id;
    start.slots = slots;
    for (uint32_t s = 0; s < SIM_SLOTS_MAX; s++)
        if (w->execs[victim].slots & 1u << s)
            slots[start.n_slots++] = s;
    Weir__Control control;
    weir__control__init(&control);
    control.version = 1;
    control.leader_epoch = weir_tm_leader_epoch(t->core);
    control.session = c->session;
    control.id = c->to_tm_taken + 1;
    control.body_case = WEIR__CONTROL__BODY_START_EXECUTOR;
    control.start_executor = &start;
    count(w, C_confused_start);
    c->confused = true;
    int before = w->exec_count;
    tm_message(w, t->conn, &control);
    if (w->exec_count > before)
        w->execs[before].stray = true;
    else
        count(w, C_slot_refused);
    net_close(w, t->conn, true, true); /* a session whose numbers are confused does not last */
}

void tm_committed(struct world *w, int tm, const Weir__CommitOutput *commit, const Weir__Failure *failure)
{
    struct weir_tm_event event;
    node_init_tm_event(w, tm, &event, WEIR_TM_EVENT_COMMITTED);
    event.job_id = commit->job_id;
    event.checkpoint = commit->checkpoint;
    event.failure = failure;
    tm_event(w, tm, &event);
}

void tm_commit_now(struct world *w, int tm, const Weir__Control *control)
{
    if (kafka_is_publishing(w, tm, job_find(w, control->commit_output->job_id))) { /* a job's output, in order */
        push(w, w->now_ms + 10, EV_TM_COMMIT, tm, w->tms[tm].boot, 0, 0, msg_copy(control));
        return;
    }
    Weir__Failure failure;
    weir__failure__init(&failure);
    failure.kind = (char *)"CommitFailed";
    failure.message = (char *)"the output directory cannot be written";
    bool fails = window_open(w, F_COMMIT_FAIL) && rng_chance(&w->exe, w->window_value[F_COMMIT_FAIL]);
    int job = job_find(w, control->commit_output->job_id);
    if (job >= 0)
        w->tms[tm].commits &= ~(1u << job);
    trace(w, "tm%d commits the output of %.8s%s", tm, control->commit_output->job_id, fails ? ": fails" : "");
    if (!fails && job >= 0 && w->jobs[job].kafka) {
        kafka_publish(w, tm, job, control);
        return;
    }
    if (!fails)
        check_commit(w, tm, control->commit_output);
    else if (job >= 0)
        w->jobs[job].commit_failed = true;
    if (fails)
        count(w, C_commit_failed);
    tm_committed(w, tm, control->commit_output, fails ? &failure : NULL);
}

void tm_start(struct world *w, int tm)
{
    struct tm_node *t = &w->tms[tm];
    if (t->alive || t->gone_for_good)
        return;
    weir_tm_free(t->core);
    t->boot++;
    t->alive = true;
    t->has_code = false;
    t->commits = 0;
    memset(t->started, 0, sizeof t->started);
    t->awake_since_ms = w->now_ms;
    t->conn = -1;
    t->epoch_seen = 0;
    t->paused_until_ms = 0;
    t->wake_at_ms = -1;
    memset(t->accepted_session, 0, sizeof t->accepted_session);
    snprintf(t->id, sizeof t->id, "tm%d-boot%d", tm, t->boot);
    struct weir_tm_options options = w->tm_options;
    options.taskmanager_id = t->id;
    options.slots = (uint32_t)t->slots;
    t->core = weir_tm_new(&options);
    trace(w, "tm%d starts: %s with %d slots", tm, t->id, t->slots);
    struct weir_tm_orphan orphans[32];
    struct weir_tm_event event;
    node_init_tm_event(w, tm, &event, WEIR_TM_EVENT_START);
    event.orphans = orphans;
    event.orphan_count = exec_orphans(w, tm, orphans, 32);
    tm_event(w, tm, &event);
}

void tm_crash(struct world *w, int tm)
{
    struct tm_node *t = &w->tms[tm];
    if (!t->alive)
        return;
    trace(w, "tm%d crashes", tm);
    count(w, C_tm_crashed);
    t->alive = false;
    weir_tm_free(t->core);
    t->core = NULL;
    if (t->conn >= 0) {
        w->conns[t->conn].tm_open = false;
        net_close(w, t->conn, w->now_ms >= w->partition_ms[tm][0] && rng_chance(&w->net, 85), false);
    }
    t->conn = -1;
    exec_line_lost(w, tm);
}
