/* TaskManagers: sessions, heartbeats, and the two ordered, bounded, acknowledged directions of messages (see jm.h).
 *
 * Invariants: at most one session per TaskManager id; a message counts only if peer, session and leader epoch are those of the
 * session; a lost session leaves nothing behind but an entry in the ring of ended sessions.
 */
#include "base/proto_memory.h"
#include "jobmanager/core/jm_int.h"

static Weir__Control *new_control(struct weir_jm *jm, uint64_t session)
{
    Weir__Control *control = weir_arena_alloc(&jm->arena, sizeof *control);
    weir__control__init(control);
    control->version = 1;
    control->leader_epoch = jm->options.leader_epoch;
    control->session = session;
    return control;
}

static void send_to(struct weir_jm *jm, const char *peer, const Weir__Control *control)
{
    struct weir_jm_effect *effect = weir_jm_effect(jm, WEIR_JM_EFFECT_SEND);
    effect->peer = weir_arena_strdup(&jm->arena, peer);
    effect->control = control;
}

Weir__Control *weir_jm_send(struct weir_jm *jm, const struct weir_jm_taskmanager *tm)
{
    Weir__Control *control = new_control(jm, tm->session);
    send_to(jm, tm->peer, control);
    return control;
}

/* --- Outbox */

static void flush(struct weir_jm *jm, struct weir_jm_taskmanager *tm)
{
    struct weir_jm_tm_int *in = tm->in;
    while (in->in_flight < in->outbox_count && (in->in_flight < jm->options.window || WEIR_MUTANT(jm_no_window))) {
        if (in->in_flight == 0) {
            in->resend_at_ms = later_ms(jm->now_ms, jm->options.resend_ms);
            in->progress_ms = jm->now_ms;
        }
        send_to(jm, tm->peer, in->outbox[in->in_flight++].control);
    }
}

uint64_t weir_jm_command(struct weir_jm *jm, struct weir_jm_taskmanager *tm, const Weir__Control *control)
{
    struct weir_jm_tm_int *in = tm->in;
    if (in->outbox_count >= jm->options.outbox_max) {
        if (!in->overflow)
            weir_jm_log(jm, WEIR_JM_LOG_WARN, NULL, "the outbox of TaskManager %s is full", tm->id);
        in->overflow = true;
        return 0;
    }
    GROW(in->outbox, in->outbox_count, in->outbox_capacity);
    Weir__Control *copy = weir_jm_control_copy(control);
    copy->version = 1;
    copy->leader_epoch = jm->options.leader_epoch;
    copy->session = tm->session;
    copy->id = in->next_id++;
    in->outbox[in->outbox_count++] = (struct command){.id = copy->id, .control = copy};
    flush(jm, tm);
    return copy->id;
}

bool weir_jm_command_acked(const struct weir_jm_taskmanager *tm, uint64_t id)
{
    return tm->in->outbox_count == 0 || tm->in->outbox[0].id > id;
}

static void take_ack(struct weir_jm *jm, struct weir_jm_taskmanager *tm, uint64_t id)
{
    struct weir_jm_tm_int *in = tm->in;
    int done = 0;
    while (done < in->in_flight && in->outbox[done].id <= id)
        weir_jm_trash(jm, in->outbox[done++].control);
    if (done == 0)
        return;
    in->outbox_count -= done;
    in->in_flight -= done;
    memmove(in->outbox, in->outbox + done, (size_t)in->outbox_count * sizeof *in->outbox);
    in->resend_at_ms = later_ms(jm->now_ms, jm->options.resend_ms);
    in->progress_ms = jm->now_ms;
    for (int i = 0; i < jm->job_count; i++) {
        struct weir_jm_job_int *job = jm->jobs[i]->in;
        if (job->output_tm == tm && job->abort_wanted && job->commit_count == 0 && job->output_command <= id) {
            job->abort_wanted = false;
            job->output_tm = NULL;
            weir_jm_checkpoints_changed(jm->jobs[i]);
        }
    }
    flush(jm, tm);
}

/* Taken in order, once: true when this one is next. A repeat is acknowledged again, its acknowledgement was lost. */
static bool take_report_id(struct weir_jm *jm, struct weir_jm_taskmanager *tm, uint64_t id)
{
    struct weir_jm_tm_int *in = tm->in;
    if (id > in->received_id + 1 && !WEIR_MUTANT(jm_gap_accepted))
        return false;
    bool next = id > in->received_id;
    if (next)
        in->received_id = id;
    Weir__Control *control = weir_jm_send(jm, tm);
    Weir__Ack *ack = weir_arena_alloc(&jm->arena, sizeof *ack);
    weir__ack__init(ack);
    ack->id = in->received_id;
    control->body_case = WEIR__CONTROL__BODY_ACK;
    control->ack = ack;
    return next;
}

/* --- Sessions end */

static struct lost_tm *find_lost(struct weir_jm *jm, const char *id)
{
    for (int i = 0; i < LOST_TMS_KEPT; i++)
        if (jm->lost[i].session && strcmp(jm->lost[i].id, id) == 0)
            return &jm->lost[i];
    return NULL;
}

static void remember_lost(struct weir_jm *jm, const struct weir_jm_taskmanager *tm)
{
    struct lost_tm *lost = find_lost(jm, tm->id);
    if (!lost) {
        lost = &jm->lost[jm->lost_next];
        jm->lost_next = (jm->lost_next + 1) % LOST_TMS_KEPT;
        memcpy(lost->id, tm->id, sizeof lost->id);
    }
    lost->session = tm->session;
}

void weir_jm_tm_free(struct weir_jm_taskmanager *tm)
{
    for (int i = 0; i < tm->in->outbox_count; i++)
        weir__control__free_unpacked(tm->in->outbox[i].control, NULL);
    free(tm->in->outbox);
    free(tm->in->slots);
    free(tm->in);
    free(tm->log_directory);
    weir__process_metrics__free_unpacked(tm->process, NULL);
    free(tm);
}

/* Its slots vanish from the jobs that had them; who worked on a job's output there does so no more. */
static void unlink_tm(struct weir_jm *jm, struct weir_jm_taskmanager *tm)
{
    for (int i = 0; i < jm->job_count; i++) {
        struct weir_jm_job *job = jm->jobs[i];
        for (int s = 0; s < job->slot_count; s++)
            if (job->slots[s].taskmanager == tm)
                job->slots[s].taskmanager = NULL;
        if (job->in->output_tm == tm)
            job->in->output_tm = NULL;
    }
    for (int i = 0; i < jm->tm_count; i++)
        if (jm->tms[i] == tm) {
            memmove(&jm->tms[i], &jm->tms[i + 1], (size_t)(jm->tm_count - i - 1) * sizeof *jm->tms);
            jm->tm_count--;
            break;
        }
}

static const char *lost_text(struct weir_jm *jm, const struct weir_jm_taskmanager *tm, enum weir_jm_lost why)
{
    switch (why) {
    case WEIR_JM_LOST_HEARTBEAT:
        return weir_arena_format(&jm->arena,
                                 "TaskManager %s (%s) sent no heartbeat for %" PRId64 " ms (heartbeat.timeout)", tm->id,
                                 tm->host, jm->now_ms - tm->heartbeat_ms);
    case WEIR_JM_LOST_DISCONNECT:
        return weir_arena_format(&jm->arena, "the connection to TaskManager %s (%s) broke", tm->id, tm->host);
    case WEIR_JM_LOST_NEW_SESSION:
        return weir_arena_format(&jm->arena, "TaskManager %s (%s) registered anew: its earlier connection had broken",
                                 tm->id, tm->host);
    case WEIR_JM_LOST_OUTBOX:
        return weir_arena_format(&jm->arena, "TaskManager %s (%s) left %d commands unacknowledged for %" PRId64 " ms",
                                 tm->id, tm->host, tm->in->outbox_count, jm->now_ms - tm->in->progress_ms);
    }
    return "";
}

static void lose_tm(struct weir_jm *jm, struct weir_jm_taskmanager *tm, enum weir_jm_lost why)
{
    struct weir_jm_effect *effect = weir_jm_effect(jm, WEIR_JM_EFFECT_TM_LOST);
    effect->level = WEIR_JM_LOG_WARN;
    effect->lost = why;
    effect->taskmanager_id = weir_arena_strdup(&jm->arena, tm->id);
    effect->peer = weir_arena_strdup(&jm->arena, tm->peer);
    const char *text = lost_text(jm, tm, why);
    effect->text = text;

    remember_lost(jm, tm);
    Weir__Failure failure;
    weir__failure__init(&failure);
    failure.kind = (char *)"TaskManagerLost";
    failure.message = (char *)text;
    unlink_tm(jm, tm); /* first: nothing that follows may choose it again */
    for (int i = 0; i < jm->executor_count;) {
        if (jm->executors[i]->tm == tm) {
            weir_jm_executor_gone(jm, jm->executors[i], &failure);
            i = 0; /* the list has changed */
        } else {
            i++;
        }
    }
    for (int i = 0; i < tm->in->outbox_count; i++)
        weir_jm_trash(jm, tm->in->outbox[i].control);
    tm->in->outbox_count = 0;
    weir_jm_tm_free(tm);
}

/* --- Sessions begin */

static void answer_register(struct weir_jm *jm, const char *peer, uint64_t session, const char *refusal)
{
    Weir__Control *control = new_control(jm, session);
    Weir__RegisterAck *ack = weir_arena_alloc(&jm->arena, sizeof *ack);
    weir__register_ack__init(ack);
    ack->accepted = refusal == NULL;
    if (refusal)
        ack->reason = (char *)refusal;
    ack->heartbeat_interval_ms = jm->options.heartbeat_interval_ms;
    ack->heartbeat_timeout_ms = jm->options.heartbeat_timeout_ms;
    control->body_case = WEIR__CONTROL__BODY_REGISTER_ACK;
    control->register_ack = ack;
    send_to(jm, peer, control);
}

static const char *refuse_register(const struct weir_jm *jm, const Weir__Register *reg)
{
    size_t size = strlen(reg->taskmanager_id);
    if (size == 0 || size >= WEIR_JM_TM_ID_SIZE)
        return "a TaskManager's id has 1 to 63 bytes";
    if (reg->session == 0)
        return "sessions count from 1";
    if (reg->slots < 1 || reg->slots > WEIR_JM_SLOTS_MAX)
        return "a TaskManager has 1 to 4096 slots (taskmanager.numberOfTaskSlots)";
    if (strlen(reg->host) >= WEIR_JM_HOST_SIZE)
        return "the host's name is too long";
    if (reg->n_executors > WEIR_JM_SLOTS_MAX)
        return "too many executors";
    if (jm->tm_count >= WEIR_JM_TASKMANAGERS_MAX)
        return "there are as many TaskManagers as one JobManager accepts (4096)";
    return NULL;
}

static void add_tm(struct weir_jm *jm, const char *peer, const Weir__Register *reg)
{
    struct weir_jm_taskmanager *tm = weir_zalloc(sizeof *tm);
    tm->in = weir_zalloc(sizeof *tm->in);
    snprintf(tm->id, sizeof tm->id, "%s", reg->taskmanager_id);
    snprintf(tm->peer, sizeof tm->peer, "%s", peer);
    snprintf(tm->host, sizeof tm->host, "%s", reg->host);
    tm->session = reg->session;
    tm->slot_count = (int)reg->slots;
    tm->in->slots = weir_zalloc((size_t)tm->slot_count * sizeof *tm->in->slots);
    tm->in->next_id = 1;
    tm->data_port = reg->data_port;
    tm->pid = reg->pid;
    tm->cpu_cores = reg->cpu_cores;
    tm->memory_bytes = reg->memory_bytes;
    tm->log_directory = weir_strdup(reg->log_directory);
    tm->registered_ms = tm->heartbeat_wall_ms = jm->wall_ms;
    tm->heartbeat_ms = jm->now_ms;
    GROW(jm->tms, jm->tm_count, jm->tm_capacity);
    jm->tms[jm->tm_count++] = tm;
    weir_jm_log(jm, WEIR_JM_LOG_INFO, NULL, "TaskManager %s (%s) registered with %d slots", tm->id, tm->host,
                tm->slot_count);
    answer_register(jm, peer, tm->session, NULL);
    for (size_t i = 0; i < reg->n_executors; i++)
        weir_jm_executor_foreign(jm, tm, reg->executors[i]);
    weir_jm_slots_count(tm);
}

static void take_register(struct weir_jm *jm, const char *peer, const Weir__Register *reg)
{
    const char *refusal = refuse_register(jm, reg);
    if (refusal) {
        answer_register(jm, peer, reg->session, refusal);
        return;
    }
    struct weir_jm_taskmanager *known = NULL;
    for (int i = 0; i < jm->tm_count; i++)
        if (strcmp(jm->tms[i]->id, reg->taskmanager_id) == 0)
            known = jm->tms[i];
    const struct lost_tm *lost = find_lost(jm, reg->taskmanager_id);
    if (known && reg->session == known->session && strcmp(peer, known->peer) == 0) {
        answer_register(jm, peer, reg->session, NULL); /* a repeat: the answer was lost */
        return;
    }
    if (known && reg->session <= known->session && !WEIR_MUTANT(jm_old_register))
        return; /* left over from an earlier connection */
    if (!known && lost && reg->session <= lost->session && !WEIR_MUTANT(jm_old_register)) {
        answer_register(jm, peer, reg->session, "this session has ended");
        return;
    }
    if (known)
        lose_tm(jm, known, WEIR_JM_LOST_NEW_SESSION);
    add_tm(jm, peer, reg);
}

/* --- Messages */

static void take_process(struct weir_jm_taskmanager *tm, const Weir__ProcessMetrics *process)
{
    size_t size = weir__process_metrics__get_packed_size(process);
    uint8_t *bytes = weir_alloc(size + 1);
    weir__process_metrics__pack(process, bytes);
    weir__process_metrics__free_unpacked(tm->process, NULL);
    tm->process = weir__process_metrics__unpack(&weir_proto_memory, size, bytes);
    free(bytes);
}

static void take_heartbeat(struct weir_jm *jm, struct weir_jm_taskmanager *tm, const Weir__Heartbeat *heartbeat)
{
    if (heartbeat->sequence <= tm->in->heartbeat_seq && !WEIR_MUTANT(jm_old_heartbeat))
        return; /* delayed: what it says has been overtaken */
    tm->in->heartbeat_seq = heartbeat->sequence;
    tm->heartbeat_ms = jm->now_ms;
    tm->heartbeat_wall_ms = jm->wall_ms;
    if (heartbeat->process)
        take_process(tm, heartbeat->process);
    for (size_t i = 0; i < heartbeat->n_metrics; i++)
        weir_jm_task_metrics(jm, tm, heartbeat->metrics[i]);
    Weir__Control *control = weir_jm_send(jm, tm);
    Weir__HeartbeatAck *ack = weir_arena_alloc(&jm->arena, sizeof *ack);
    weir__heartbeat_ack__init(ack);
    ack->sequence = heartbeat->sequence;
    control->body_case = WEIR__CONTROL__BODY_HEARTBEAT_ACK;
    control->heartbeat_ack = ack;
}

static void take_report(struct weir_jm *jm, struct weir_jm_taskmanager *tm, const Weir__Control *control)
{
    if (control->id == 0 || (!take_report_id(jm, tm, control->id) && !WEIR_MUTANT(jm_report_twice)))
        return;
    if (control->body_case == WEIR__CONTROL__BODY_EXECUTOR_REPORT)
        weir_jm_executor_report(jm, tm, control->executor_report);
    else if (control->body_case == WEIR__CONTROL__BODY_TASK_REPORT)
        weir_jm_task_report(jm, tm, control->task_report);
    else if (control->body_case == WEIR__CONTROL__BODY_CHECKPOINT_REPORT)
        weir_jm_task_checkpoint_report(jm, tm, control);
    else
        weir_jm_job_commit_done(jm, tm, control->commit_done);
}

static struct weir_jm_taskmanager *find_peer(struct weir_jm *jm, const char *peer)
{
    for (int i = 0; i < jm->tm_count; i++)
        if (strcmp(jm->tms[i]->peer, peer) == 0)
            return jm->tms[i];
    return NULL;
}

static void take_from_session(struct weir_jm *jm, const char *peer, const Weir__Control *control)
{
    struct weir_jm_taskmanager *tm = find_peer(jm, peer);
    if (!tm || control->session != tm->session || control->leader_epoch != jm->options.leader_epoch) {
        if (control->body_case == WEIR__CONTROL__BODY_HEARTBEAT)
            answer_register(jm, peer, control->session, "not registered here: open a new session");
        return;
    }
    switch (control->body_case) {
    case WEIR__CONTROL__BODY_HEARTBEAT:
        take_heartbeat(jm, tm, control->heartbeat);
        break;
    case WEIR__CONTROL__BODY_ACK:
        take_ack(jm, tm, control->ack->id);
        break;
    case WEIR__CONTROL__BODY_ALIGNMENT:
        weir_jm_alignment_said(jm, tm, control->alignment);
        break;
    case WEIR__CONTROL__BODY_EXECUTOR_REPORT:
    case WEIR__CONTROL__BODY_TASK_REPORT:
    case WEIR__CONTROL__BODY_CHECKPOINT_REPORT:
    case WEIR__CONTROL__BODY_COMMIT_DONE:
        take_report(jm, tm, control);
        break;
    default:
        break; /* not for a JobManager */
    }
}

void weir_jm_tm_message(struct weir_jm *jm, const char *peer, const Weir__Control *control)
{
    if (control->version != 1 || strlen(peer) >= WEIR_JM_PEER_SIZE)
        return;
    if (control->leader_epoch > jm->options.leader_epoch && !WEIR_MUTANT(jm_never_fenced)) {
        weir_jm_fence(jm, weir_arena_format(&jm->arena,
                                            "a JobManager with leader epoch %" PRIu64
                                            " has taken over; this one has %" PRIu64,
                                            control->leader_epoch, jm->options.leader_epoch));
        return;
    }
    if (control->body_case == WEIR__CONTROL__BODY_REGISTER)
        take_register(jm, peer, control->register_);
    else
        take_from_session(jm, peer, control);
}

void weir_jm_tm_disconnected(struct weir_jm *jm, const char *peer)
{
    struct weir_jm_taskmanager *tm = find_peer(jm, peer);
    if (tm)
        lose_tm(jm, tm, WEIR_JM_LOST_DISCONNECT);
}

/* --- Time */

static bool heartbeat_late(const struct weir_jm *jm, const struct weir_jm_taskmanager *tm)
{
    return jm->now_ms >= later_ms(tm->heartbeat_ms, jm->options.heartbeat_timeout_ms) &&
           !WEIR_MUTANT(jm_no_heartbeat_timeout);
}

/* It sends heartbeats and takes no commands: of no use, and what it was told to end may go on. */
static int64_t commands_late_ms(const struct weir_jm *jm, const struct weir_jm_taskmanager *tm)
{
    if (tm->in->overflow)
        return jm->now_ms;
    if (tm->in->in_flight == 0 || WEIR_MUTANT(jm_deaf_tm_kept))
        return NEVER_MS;
    return later_ms(tm->in->progress_ms, jm->options.heartbeat_timeout_ms);
}

void weir_jm_tm_timers(struct weir_jm *jm)
{
    for (int i = 0; i < jm->tm_count;) {
        struct weir_jm_taskmanager *tm = jm->tms[i];
        if (commands_late_ms(jm, tm) <= jm->now_ms) {
            lose_tm(jm, tm, WEIR_JM_LOST_OUTBOX);
            i = 0;
        } else if (heartbeat_late(jm, tm)) {
            lose_tm(jm, tm, WEIR_JM_LOST_HEARTBEAT);
            i = 0;
        } else {
            i++;
        }
    }
    for (int i = 0; i < jm->tm_count; i++) {
        struct weir_jm_tm_int *in = jm->tms[i]->in;
        if (in->in_flight == 0 || jm->now_ms < in->resend_at_ms || WEIR_MUTANT(jm_no_resend))
            continue;
        for (int k = 0; k < in->in_flight; k++)
            send_to(jm, jm->tms[i]->peer, in->outbox[k].control);
        in->resend_at_ms = later_ms(jm->now_ms, jm->options.resend_ms);
    }
}

int64_t weir_jm_tm_wake_ms(const struct weir_jm *jm)
{
    int64_t wake = NEVER_MS;
    for (int i = 0; i < jm->tm_count; i++) {
        const struct weir_jm_taskmanager *tm = jm->tms[i];
        int64_t dead = later_ms(tm->heartbeat_ms, jm->options.heartbeat_timeout_ms), late = commands_late_ms(jm, tm);
        if (dead < wake)
            wake = dead;
        if (late < wake)
            wake = late;
        if (tm->in->in_flight && tm->in->resend_at_ms < wake)
            wake = tm->in->resend_at_ms;
    }
    return wake;
}
