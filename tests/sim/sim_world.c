/* The world: random numbers, the queue of events, the trace, the network, the run. See sim.h. */
#include "tests/sim/sim.h"

#include <stdarg.h>

/* --- Random */

uint64_t rng_next(struct rng *rng)
{
    uint64_t z = (rng->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

int rng_range(struct rng *rng, int low, int high)
{
    return low + (int)(rng_next(rng) % (uint64_t)(high - low + 1));
}

bool rng_chance(struct rng *rng, int percent)
{
    return (int)(rng_next(rng) % 100) < percent;
}

/* --- Trace */

void note(struct world *w, uint64_t a, uint64_t b)
{
    w->hash = (w->hash ^ a) * 0x9e3779b97f4a7c15u;
    w->hash = (w->hash ^ (w->hash >> 29) ^ b) * 0xbf58476d1ce4e5b9u;
}

void trace(struct world *w, const char *format, ...)
{
    if (!w->trace)
        return;
    fprintf(w->trace, "%7" PRId64 "  ", w->now_ms);
    va_list args;
    va_start(args, format);
    vfprintf(w->trace, format, args);
    va_end(args);
    fputc('\n', w->trace);
}

void violate(struct world *w, const char *name, const char *format, ...)
{
    snprintf(w->failure_name, sizeof w->failure_name, "%s", name);
    va_list args;
    va_start(args, format);
    vsnprintf(w->failure, sizeof w->failure, format, args);
    va_end(args);
    trace(w, "VIOLATION %s: %s", w->failure_name, w->failure);
    longjmp(*w->escape, 1);
}

const char *body_name(const Weir__Control *control)
{
    switch (control->body_case) {
    case WEIR__CONTROL__BODY_ACK:
        return "Ack";
    case WEIR__CONTROL__BODY_REGISTER:
        return "Register";
    case WEIR__CONTROL__BODY_REGISTER_ACK:
        return "RegisterAck";
    case WEIR__CONTROL__BODY_HEARTBEAT:
        return "Heartbeat";
    case WEIR__CONTROL__BODY_HEARTBEAT_ACK:
        return "HeartbeatAck";
    case WEIR__CONTROL__BODY_START_EXECUTOR:
        return "StartExecutor";
    case WEIR__CONTROL__BODY_STOP_EXECUTOR:
        return "StopExecutor";
    case WEIR__CONTROL__BODY_DEPLOY_TASKS:
        return "DeployTasks";
    case WEIR__CONTROL__BODY_CANCEL_TASKS:
        return "CancelTasks";
    case WEIR__CONTROL__BODY_COMMIT_OUTPUT:
        return "CommitOutput";
    case WEIR__CONTROL__BODY_ABORT_OUTPUT:
        return "AbortOutput";
    case WEIR__CONTROL__BODY_COMMIT_DONE:
        return "CommitDone";
    case WEIR__CONTROL__BODY_EXECUTOR_REPORT:
        return "ExecutorReport";
    case WEIR__CONTROL__BODY_TASK_REPORT:
        return "TaskReport";
    case WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT:
        return "TriggerCheckpoint";
    case WEIR__CONTROL__BODY_CHECKPOINT_REPORT:
        return "CheckpointReport";
    case WEIR__CONTROL__BODY_LEASE:
        return "Lease";
    case WEIR__CONTROL__BODY_ALIGNMENT:
        return "Alignment";
    case WEIR__CONTROL__BODY_EXECUTOR_START:
        return "ExecutorStart";
    default:
        return "?";
    }
}

/* --- Messages */

struct msg *msg_copy(const Weir__Control *control)
{
    uint8_t small[2048], *bytes = small;
    size_t size = weir__control__get_packed_size(control);
    if (size > sizeof small)
        bytes = weir_alloc(size);
    weir__control__pack(control, bytes);
    struct msg *msg = weir_alloc(sizeof *msg);
    msg->refs = 1;
    msg->control = weir__control__unpack(NULL, size, bytes);
    if (bytes != small)
        free(bytes);
    weir_assert(msg->control);
    return msg;
}

void msg_unref(struct msg *msg)
{
    if (!msg || --msg->refs > 0)
        return;
    weir__control__free_unpacked(msg->control, NULL);
    free(msg);
}

/* --- Queue: a binary heap by (time, number) */

static bool before(const struct ev *a, const struct ev *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->seq < b->seq;
}

static void push_ev(struct world *w, struct ev ev)
{
    if (w->heap_count == w->heap_capacity) {
        w->heap_capacity = w->heap_capacity ? w->heap_capacity * 2 : 256;
        w->heap = weir_realloc(w->heap, (size_t)w->heap_capacity * sizeof *w->heap);
    }
    ev.seq = w->next_seq++;
    int i = w->heap_count++;
    while (i > 0 && before(&ev, &w->heap[(i - 1) / 2])) {
        w->heap[i] = w->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    w->heap[i] = ev;
}

void push(struct world *w, int64_t at_ms, enum ev_kind kind, int a, int b, int c, uint64_t gen, struct msg *take_msg)
{
    push_ev(w, (struct ev){.at_ms = at_ms < w->now_ms ? w->now_ms : at_ms,
                           .kind = kind,
                           .a = a,
                           .b = b,
                           .c = c,
                           .gen = gen,
                           .msg = take_msg});
}

static struct ev pop(struct world *w)
{
    struct ev top = w->heap[0], last = w->heap[--w->heap_count];
    int i = 0;
    for (;;) {
        int child = 2 * i + 1;
        if (child >= w->heap_count)
            break;
        if (child + 1 < w->heap_count && before(&w->heap[child + 1], &w->heap[child]))
            child++;
        if (!before(&w->heap[child], &last))
            break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    if (w->heap_count)
        w->heap[i] = last;
    return top;
}

/* --- Network */

/* Watermarks go back and forth all the time: what happens to them moves nothing else. */
static struct rng *rng_of(struct world *w, const Weir__Control *control)
{
    return control->body_case == WEIR__CONTROL__BODY_ALIGNMENT ? &w->align : &w->net;
}

static void deliver_later(struct world *w, int conn, bool to_jm, struct msg *take_msg, int64_t not_before_ms)
{
    struct rng *net = rng_of(w, take_msg->control);
    int64_t delay = rng_range(net, 1, 4);
    if (window_open(w, F_DELAY) && rng_chance(net, 30))
        delay = rng_range(net, 5, w->window_value[F_DELAY]);
    int64_t at = w->now_ms + delay;
    if (at < not_before_ms)
        at = not_before_ms + delay;
    if (!window_open(w, F_DELAY)) { /* as TCP does; in such a window messages overtake each other */
        int64_t *last_ms = &w->conns[conn].last_ms[to_jm];
        if (at < *last_ms)
            at = *last_ms;
        if (net == &w->net)
            *last_ms = at;
    }
    push(w, at, to_jm ? EV_TO_JM : EV_TO_TM, conn, 0, 0, 0, take_msg);
}

/* What a confused or replaced peer might send: a real message with a lower epoch or of an earlier session. It must have no effect. */
static void forge(struct world *w, int conn, bool to_jm, const Weir__Control *control)
{
    struct msg *msg = msg_copy(control);
    bool by_epoch = rng_chance(rng_of(w, control), 50);
    if (by_epoch && msg->control->leader_epoch > 0 && control->body_case != WEIR__CONTROL__BODY_REGISTER)
        msg->control->leader_epoch--;
    else if (msg->control->session > 1 && control->body_case != WEIR__CONTROL__BODY_REGISTER)
        msg->control->session--;
    else if (control->body_case == WEIR__CONTROL__BODY_REGISTER && control->register_->session > 1 &&
             w->tms[w->conns[conn].tm].accepted_session[w->conns[conn].jm] >= control->register_->session - 1)
        msg->control->register_->session--;
    else {
        msg_unref(msg);
        return;
    }
    deliver_later(w, conn, to_jm, msg, 0);
}

void net_send(struct world *w, int conn, bool to_jm, const Weir__Control *control)
{
    struct conn *c = &w->conns[conn];
    struct rng *net = rng_of(w, control);
    trace(w, "%s %s%d %-14s id %" PRIu64 " session %" PRIu64, c->peer, to_jm ? "-> jm" : "<- jm", c->jm,
          body_name(control), control->id, control->session);
    note(w, (uint64_t)control->body_case << 32 | (uint64_t)conn << 1 | to_jm, control->id);
    if (!(to_jm ? c->tm_open : c->jm_open))
        return; /* closed on this side: the transport refuses it */
    int64_t partition = w->partition_ms[c->tm][to_jm ? 0 : 1];
    if (w->now_ms < partition && !w->partition_holds[c->tm]) {
        count(w, C_message_lost);
        return;
    }
    if (window_open(w, F_LOSS) && rng_chance(net, w->window_value[F_LOSS])) {
        count(w, C_message_lost);
        return;
    }
    struct msg *msg = msg_copy(control);
    if (window_open(w, F_DUP) && rng_chance(net, w->window_value[F_DUP])) {
        count(w, C_message_duplicated);
        msg->refs++;
        deliver_later(w, conn, to_jm, msg, partition);
    }
    deliver_later(w, conn, to_jm, msg, partition);
    if (window_open(w, F_FORGE) && rng_chance(net, w->window_value[F_FORGE]))
        forge(w, conn, to_jm, control);
}

void net_close(struct world *w, int conn, bool tell_jm, bool tell_tm)
{
    struct conn *c = &w->conns[conn];
    if (c->jm_open && tell_jm) {
        c->jm_open = false;
        if (w->jms[c->jm].alive)
            push(w, w->now_ms + rng_range(&w->net, 1, 30), EV_JM_DISCONNECTED, conn, 0, 0, 0, NULL);
    } else if (c->jm_open) {
        count(w, C_half_open);
    }
    if (c->tm_open && tell_tm) {
        c->tm_open = false;
        push(w, w->now_ms + rng_range(&w->net, 1, 30), EV_TM_BROKEN, c->tm, c->boot, conn, 0, NULL);
    }
}

/* A new connection, to the current JobManager (or, while connections flap, to an older one that still lives). */
void net_connect(struct world *w, int tm)
{
    struct tm_node *t = &w->tms[tm];
    if (t->conn >= 0) {
        w->conns[t->conn].tm_open = false;
        bool noticed = w->now_ms >= w->partition_ms[tm][0] && (w->healed || rng_chance(&w->net, 85));
        net_close(w, t->conn, noticed, false);
    }
    t->conn = -1;
    int jm = w->jm;
    if (window_open(w, F_FLAP))
        for (int i = 0; i < w->jm_count; i++)
            if (w->jms[i].alive && i != w->jm && rng_chance(&w->net, 50))
                jm = i;
    bool blocked = w->now_ms < w->partition_ms[tm][0] || w->now_ms < w->partition_ms[tm][1];
    if (!w->jms[jm].alive || blocked || w->now_ms < w->jms[jm].paused_until_ms) {
        if (w->healed || rng_chance(&w->net, 50)) /* else: nothing answers, the core's own bound ends the wait */
            push(w, w->now_ms + rng_range(&w->net, 5, 200), EV_TM_BROKEN, tm, t->boot, -1, 0, NULL);
        return;
    }
    if (w->conn_count == w->conn_capacity) {
        w->conn_capacity = w->conn_capacity ? w->conn_capacity * 2 : 16;
        w->conns = weir_realloc(w->conns, (size_t)w->conn_capacity * sizeof *w->conns);
    }
    struct conn *c = &w->conns[w->conn_count];
    memset(c, 0, sizeof *c);
    c->tm = tm;
    c->boot = t->boot;
    c->jm = jm;
    c->tm_open = c->jm_open = true;
    snprintf(c->peer, sizeof c->peer, "t%dc%d", tm, w->conn_count);
    t->conn = w->conn_count++;
    push(w, w->now_ms + rng_range(&w->net, 1, 20), EV_TM_CONNECTED, tm, t->boot, t->conn, 0, NULL);
    if (window_open(w, F_DUP)) /* a transport that says it twice */
        push(w, w->now_ms + rng_range(&w->net, 20, 60), EV_TM_CONNECTED, tm, t->boot, t->conn, 0, NULL);
}

/* --- The run */

static bool jm_busy(struct world *w, int jm, struct ev *ev)
{
    if (w->now_ms >= w->jms[jm].paused_until_ms)
        return false;
    ev->at_ms = w->jms[jm].paused_until_ms; /* it reads this when it goes on */
    push_ev(w, *ev);
    return true;
}

static bool tm_busy(struct world *w, int tm, struct ev *ev)
{
    if (w->now_ms >= w->tms[tm].paused_until_ms)
        return false;
    ev->at_ms = w->tms[tm].paused_until_ms;
    push_ev(w, *ev);
    return true;
}

static bool exec_busy(struct world *w, int x, struct ev *ev)
{
    if (w->now_ms >= w->execs[x].paused_until_ms)
        return false;
    ev->at_ms = w->execs[x].paused_until_ms;
    push_ev(w, *ev);
    return true;
}

/* True: the event was put back, its message with it. */
static bool run_jm_ev(struct world *w, struct ev *ev)
{
    int jm = ev->kind == EV_WAKE_JM ? ev->a : ev->kind == EV_STORE_REPLY ? store_jm(w, ev->a) : w->conns[ev->a].jm;
    if (!w->jms[jm].alive)
        return false;
    if (jm_busy(w, jm, ev))
        return true;
    struct weir_jm_event event;
    switch (ev->kind) {
    case EV_WAKE_JM:
        if (ev->gen == w->jms[jm].wake_gen)
            jm_tick(w, jm);
        break;
    case EV_TO_JM:
        jm_message(w, ev->a, ev->msg->control);
        break;
    case EV_STORE_REPLY:
        store_reply(w, ev->a, ev->b);
        break;
    case EV_JM_DISCONNECTED:
        trace(w, "%s disconnected at jm%d", w->conns[ev->a].peer, jm);
        w->conns[ev->a].registered = false;
        node_init_jm_event(w, jm, &event, WEIR_JM_EVENT_DISCONNECTED);
        event.peer = w->conns[ev->a].peer;
        jm_event(w, jm, &event);
        break;
    default:
        break;
    }
    return false;
}

static bool run_tm_ev(struct world *w, struct ev *ev)
{
    int tm = ev->kind == EV_TO_TM ? w->conns[ev->a].tm : ev->a;
    int boot = ev->kind == EV_TO_TM ? w->conns[ev->a].boot : ev->b;
    if (!w->tms[tm].alive || w->tms[tm].boot != boot)
        return false;
    if (tm_busy(w, tm, ev))
        return true;
    struct weir_tm_event event;
    switch (ev->kind) {
    case EV_WAKE_TM:
        if (ev->gen == w->tms[tm].wake_gen)
            tm_tick(w, tm);
        break;
    case EV_TO_TM:
        tm_message(w, ev->a, ev->msg->control);
        break;
    case EV_TM_CONNECTED:
        if (ev->c != w->tms[tm].conn || !w->conns[ev->c].tm_open)
            break;
        node_init_tm_event(w, tm, &event, WEIR_TM_EVENT_LINE_CONNECTED);
        tm_event(w, tm, &event);
        break;
    case EV_TM_BROKEN:
        if (ev->c >= 0 && ev->c != w->tms[tm].conn)
            break;
        trace(w, "tm%d: its line broke", tm);
        node_init_tm_event(w, tm, &event, WEIR_TM_EVENT_LINE_BROKEN);
        tm_event(w, tm, &event);
        break;
    case EV_TM_CODE:
        node_init_tm_event(w, tm, &event, ev->c ? WEIR_TM_EVENT_CODE_READY : WEIR_TM_EVENT_CODE_FAILED);
        w->tms[tm].has_code |= ev->c != 0;
        event.sha256 = "c0de";
        event.text = ev->c ? "/code" : "the JobManager does not have it";
        tm_event(w, tm, &event);
        break;
    case EV_TM_COMMIT:
        tm_commit_now(w, tm, ev->msg->control);
        break;
    case EV_TM_KAFKA:
        kafka_heard(w, tm, ev->c, ev->gen);
        break;
    default:
        break;
    }
    return false;
}

static bool run_exec_ev(struct world *w, struct ev *ev)
{
    int x = ev->a;
    struct weir_tm_event event;
    if (ev->kind == EV_X_SPAWNED || ev->kind == EV_X_TO_TM || ev->kind == EV_X_MEMORY ||
        ev->kind == EV_X_EXITED) { /* the supervisor's side */
        int tm = w->execs[x].tm;
        if (!w->tms[tm].alive || w->tms[tm].boot != w->execs[x].boot)
            return false;
        if (tm_busy(w, tm, ev))
            return true;
        node_init_tm_event(w, tm, &event,
                           ev->kind == EV_X_SPAWNED  ? WEIR_TM_EVENT_EXECUTOR_SPAWNED
                           : ev->kind == EV_X_TO_TM  ? WEIR_TM_EVENT_EXECUTOR_MESSAGE
                           : ev->kind == EV_X_MEMORY ? WEIR_TM_EVENT_EXECUTOR_MEMORY
                                                     : WEIR_TM_EVENT_EXECUTOR_EXITED);
        char id[33];
        memcpy(id, w->execs[x].id, sizeof id);
        event.executor_id = id;
        event.pid = w->execs[x].pid;
        event.rss_bytes = w->execs[x].rss_bytes;
        event.control = ev->msg ? ev->msg->control : NULL;
        event.signal = ev->b;
        event.exit_code = ev->c;
        if (ev->kind == EV_X_EXITED)
            w->execs[x].known_exit = true;
        if (ev->kind == EV_X_MEMORY && !exec_measured(w, x))
            return false;
        tm_event(w, tm, &event);
        return false;
    }
    if (!w->execs[x].exists)
        return false;
    if (ev->kind == EV_X_DIE) { /* a kill reaches a stopped process too */
        exec_die(w, x, ev->b, "killed");
        return false;
    }
    if (exec_busy(w, x, ev))
        return true;
    switch (ev->kind) {
    case EV_X_CONTROL:
        exec_control(w, x, ev->msg->control);
        break;
    case EV_X_ACT:
        exec_act(w, x, ev->b, ev->c, (uint32_t)ev->gen);
        break;
    case EV_X_LEASE:
        exec_lease(w, x, ev->gen);
        break;
    default:
        break;
    }
    return false;
}

static bool run_ev(struct world *w, struct ev *ev)
{
    switch (ev->kind) {
    case EV_WAKE_JM:
    case EV_TO_JM:
    case EV_JM_DISCONNECTED:
    case EV_STORE_REPLY:
        return run_jm_ev(w, ev);
    case EV_STORE_APPLY:
        store_apply(w, ev->a, ev->b);
        break;
    case EV_WAKE_TM:
    case EV_TO_TM:
    case EV_TM_CONNECTED:
    case EV_TM_BROKEN:
    case EV_TM_CODE:
    case EV_TM_COMMIT:
    case EV_TM_KAFKA:
        return run_tm_ev(w, ev);
    case EV_KAFKA:
        kafka_event(w, ev->a, ev->b, ev->gen);
        break;
    case EV_FAULT:
        do_fault(w, ev->a);
        break;
    case EV_OP:
        do_op(w, ev->a);
        break;
    case EV_TM_RESTART:
        tm_start(w, ev->a);
        break;
    case EV_JM_RESTART:
        jm_start(w);
        break;
    case EV_CHECK:
        check_world(w);
        if (!w->done)
            push(w, w->now_ms + 100, EV_CHECK, 0, 0, 0, 0, NULL);
        break;
    case EV_HEAL:
        trace(w, "faults end");
        w->healed = true;
        for (int j = 0; j < w->job_count; j++)
            w->jobs[j].newest_healed = w->jobs[j].head.newest;
        for (int i = 0; i < w->jm_count; i++)
            w->jms[i].crash_in = 0;
        for (int k = 0; k < F_KINDS; k++)
            w->window_ms[k] = 0;
        memset(w->partition_ms, 0, sizeof w->partition_ms);
        for (int i = 0; i < w->jm_count; i++) { /* the operator ends JobManagers that were replaced */
            if (i != w->jm && w->jms[i].alive)
                jm_crash(w, i);
        }
        break;
    default:
        return run_exec_ev(w, ev);
    }
    return false;
}

void world_run(struct world *w)
{
    plan_world(w);
    while (!w->done && w->heap_count) {
        struct ev ev = pop(w);
        weir_assert(ev.at_ms >= w->now_ms);
        w->now_ms = ev.at_ms;
        note(w, (uint64_t)ev.kind << 48 | (uint64_t)(unsigned)ev.a << 24 | (uint64_t)(unsigned)ev.b,
             (uint64_t)ev.at_ms);
        if (!run_ev(w, &ev))
            msg_unref(ev.msg);
    }
    w->counters[C_events] += w->events;
}

struct world *world_new(uint64_t seed)
{
    struct world *w = weir_zalloc(sizeof *w);
    w->seed = seed;
    w->net.state = seed * 3 + 1;
    w->exe.state = seed * 5 + 2;
    w->ops.state = seed * 7 + 3;
    for (int i = 0; i < 8; i++) { /* neighbours' streams part */
        rng_next(&w->net);
        rng_next(&w->exe);
        rng_next(&w->ops);
    }
    w->align.state = w->seed * 0x9e3779b97f4a7c15u + 77;
    w->net.state ^= rng_next(&w->net) << 1;
    w->exe.state ^= rng_next(&w->exe) << 1;
    return w;
}

void world_free(struct world *w)
{
    for (int i = 0; i < w->heap_count; i++)
        msg_unref(w->heap[i].msg);
    for (int i = 0; i < w->jm_count; i++)
        weir_jm_free(w->jms[i].core);
    for (int i = 0; i < SIM_TMS_MAX; i++)
        weir_tm_free(w->tms[i].core);
    kafka_free(w);
    store_free(w);
    for (int i = 0; i < w->job_count; i++)
        free(w->jobs[i].graph);
    free(w->conns);
    free(w->execs);
    free(w->heap);
    free(w);
}
