/* Executor processes and their tasks, modelled: they start, report, finish, fail, hang, are stopped and killed, and end
 * themselves when their lease or their control line ends. Their control line is in order; it is lost with the supervisor.
 */
#include "tests/sim/sim.h"

enum act {
    ACT_READY,
    ACT_INITIALIZING,
    ACT_RUNNING,
    ACT_FINISH,
    ACT_FAIL,
    ACT_CANCELED,
    ACT_EXIT,
    ACT_AGAIN,
    ACT_BARRIER,
    ACT_HEARTBEAT
};

int exec_find(const struct world *w, int tm, const char *executor_id)
{
    for (int i = w->exec_count; i-- > 0;)
        if (w->execs[i].tm == tm && w->execs[i].boot == w->tms[tm].boot && strcmp(w->execs[i].id, executor_id) == 0)
            return i;
    return -1;
}

static void act_later(struct world *w, int x, int task, enum act act, uint32_t attempt, int64_t delay_ms)
{
    push(w, w->now_ms + delay_ms, EV_X_ACT, x, task, (int)act, attempt, NULL);
}

static void to_tm(struct world *w, int x, const Weir__Control *control)
{
    if (w->execs[x].line_open)
        push(w, w->now_ms + 1, EV_X_TO_TM, x, 0, 0, 0, msg_copy(control));
}

/* --- Processes */

void exec_spawn(struct world *w, int tm, const char *executor_id, const char *job_id)
{
    struct tm_node *t = &w->tms[tm];
    for (int i = 0; i < w->exec_count; i++)
        if (strcmp(w->execs[i].id, executor_id) == 0)
            violate(w, "executor-twice", "executor %s is started a second time, on tm%d", executor_id, tm);
    if (w->exec_count == w->exec_capacity) {
        w->exec_capacity = w->exec_capacity ? w->exec_capacity * 2 : 16;
        w->execs = weir_realloc(w->execs, (size_t)w->exec_capacity * sizeof *w->execs);
    }
    int index = w->exec_count++;
    struct exec *x = &w->execs[index];
    memset(x, 0, sizeof *x);
    snprintf(x->id, sizeof x->id, "%s", executor_id);
    x->job = job_find(w, job_id);
    x->tm = tm;
    x->boot = t->boot;
    if (t->conn < 0 || !weir_tm_registered(t->core))
        violate(w, "start-without-session", "tm%d starts an executor while it is not registered", tm);
    x->conn = -1;
    for (int i = 0; i < 64; i++)
        if (strcmp(t->started[i].executor_id, executor_id) == 0)
            x->conn = t->started[i].conn;
    if (x->conn != t->conn)
        violate(w, "start-of-an-ended-session", "tm%d starts an executor that its present session did not ask for", tm);
    x->pid = (uint32_t)(tm * 10000 + (int)++t->next_pid);
    x->orphan_since_ms = x->over_budget_ms = -1;
    x->rss_bytes = SIM_MEMORY_MAX / 2;
    x->line_open = true;
    x->lease_until_ms = x->lease_sent_ms = INT64_MAX; /* given with ExecutorStart */
    if (x->job < 0)
        violate(w, "unknown-job", "tm%d starts an executor for job %s", tm, job_id);
    if (w->jobs[x->job].needs_code && !t->has_code && !memcmp(w->jobs[x->job].id, job_id, 8))
        violate(w, "started-without-code", "tm%d starts an executor of job %.8s", tm, job_id);
    if (window_open(w, F_SPAWN_FAIL) && rng_chance(&w->exe, w->window_value[F_SPAWN_FAIL])) {
        count(w, C_spawn_failed);
        trace(w, "tm%d: executor %.20s cannot be spawned", tm, x->id);
        push(w, w->now_ms + rng_range(&w->exe, 1, 10), EV_X_EXITED, index, 0, 127, 0, NULL);
        return;
    }
    x->exists = true;
    x->never_ready = window_open(w, F_START_STUCK) && rng_chance(&w->exe, w->window_value[F_START_STUCK]);
    x->unkillable_until_heal = window_open(w, F_UNKILLABLE) && rng_chance(&w->exe, w->window_value[F_UNKILLABLE]);
    trace(w, "tm%d: executor x%d of %.8s spawned%s", tm, index, job_id, x->never_ready ? ", will not get ready" : "");
    check_spawn(w, index);
    push(w, w->now_ms + rng_range(&w->exe, 1, 10), EV_X_SPAWNED, index, 0, 0, 0, NULL);
    push(w, w->now_ms + SIM_MEMORY_INTERVAL_MS, EV_X_MEMORY, index, 0, 0, 0, NULL);
}

/* Tasks that exchanged data with those of a dead executor may notice. */
static void break_channels(struct world *w, int dead)
{
    struct exec *d = &w->execs[dead];
    for (int i = 0; i < w->exec_count; i++) {
        struct exec *x = &w->execs[i];
        if (i == dead || !x->exists || x->job != d->job)
            continue;
        for (int t = 0; t < x->task_count; t++)
            for (int k = 0; k < d->task_count; k++)
                if (x->tasks[t].state == XT_RUNNING && d->tasks[k].state == XT_RUNNING &&
                    x->tasks[t].attempt == d->tasks[k].attempt &&
                    w->jobs[x->job].tasks[x->tasks[t].index].region ==
                        w->jobs[x->job].tasks[d->tasks[k].index].region &&
                    rng_chance(&w->exe, 30)) {
                    count(w, C_channel_broken);
                    act_later(w, i, t, ACT_FAIL, x->tasks[t].attempt, rng_range(&w->exe, 1, 60));
                    break;
                }
    }
}

void exec_die(struct world *w, int index, int signal, const char *why)
{
    struct exec *x = &w->execs[index];
    if (!x->exists)
        return;
    trace(w, "x%d on tm%d ends: %s (signal %d)", index, x->tm, why, signal);
    x->exists = false;
    for (int t = 0; t < x->task_count; t++)
        region_hit(w, &w->jobs[x->job], w->jobs[x->job].tasks[x->tasks[t].index].region);
    hit_deployed(w, w->jobs[x->job].jm, NULL, x->id);
    break_channels(w, index);
    for (int t = 0; t < x->task_count; t++)
        x->tasks[t].state = XT_ENDED;
    if (x->line_open && w->tms[x->tm].alive && w->tms[x->tm].boot == x->boot)
        push(w, w->now_ms + 1, EV_X_EXITED, index, signal, signal ? 0 : 1, 0, NULL);
}

void exec_kill(struct world *w, int tm, const char *executor_id)
{
    int x = exec_find(w, tm, executor_id);
    if (x < 0 || !w->execs[x].exists)
        return;
    w->execs[x].killed = true;
    int64_t at = w->now_ms + rng_range(&w->exe, 0, 15);
    if (w->execs[x].unkillable_until_heal && w->fault_end_ms > at)
        at = w->fault_end_ms; /* in the kernel, where no signal reaches it */
    w->execs[x].stuck = true; /* whatever it does until then, no user code runs */
    for (int t = 0; t < w->execs[x].task_count; t++)
        region_hit(w, &w->jobs[w->execs[x].job], w->jobs[w->execs[x].job].tasks[w->execs[x].tasks[t].index].region);
    push(w, at, EV_X_DIE, x, 9, 0, 0, NULL);
}

bool exec_measured(struct world *w, int index)
{
    struct exec *x = &w->execs[index];
    if (!x->exists)
        return false;
    if (x->rss_bytes > SIM_MEMORY_MAX && x->over_budget_ms < 0)
        x->over_budget_ms = w->now_ms;
    push(w, w->now_ms + SIM_MEMORY_INTERVAL_MS, EV_X_MEMORY, index, 0, 0, 0, NULL);
    return true;
}

int exec_orphans(const struct world *w, int tm, struct weir_tm_orphan *out, int max)
{
    int count = 0;
    for (int i = 0; i < w->exec_count && count < max; i++) {
        const struct exec *x = &w->execs[i];
        if (x->tm != tm || x->boot == w->tms[tm].boot || !x->exists)
            continue;
        memset(&out[count], 0, sizeof out[count]);
        memcpy(out[count].executor_id, x->id, sizeof x->id);
        out[count].pid = x->pid;
        out[count].start_time = (uint64_t)x->boot;
        count++;
    }
    return count;
}

void exec_kill_orphan(struct world *w, int tm, const struct weir_tm_orphan *orphan)
{
    for (int i = 0; i < w->exec_count; i++)
        if (w->execs[i].tm == tm && w->execs[i].pid == orphan->pid && w->execs[i].exists) {
            count(w, C_orphan_killed);
            exec_die(w, i, 9, "killed as an orphan");
        }
}

/* The supervisor has gone: an executor ends when it notices; a stuck one does not. */
void exec_line_lost(struct world *w, int tm)
{
    for (int i = 0; i < w->exec_count; i++) {
        struct exec *x = &w->execs[i];
        if (x->tm != tm || !x->exists || !x->line_open)
            continue;
        x->line_open = false;
        act_later(w, i, 0, ACT_EXIT, 0, rng_range(&w->exe, 0, 50));
    }
}

void exec_lease(struct world *w, int index, uint64_t gen)
{
    struct exec *x = &w->execs[index];
    if (gen != x->lease_gen || x->stuck || w->now_ms < x->lease_until_ms)
        return;
    count(w, C_lease_ended_executor);
    exec_die(w, index, 0, "its lease has ended");
}

static void set_lease(struct world *w, int index, int64_t until_ms)
{
    struct exec *x = &w->execs[index];
    x->lease_until_ms = until_ms - w->tms[x->tm].offset_ms;
    push(w, x->lease_until_ms, EV_X_LEASE, index, 0, 0, ++x->lease_gen, NULL);
}

/* --- Tasks */

/* A task's part of a checkpoint: its bytes begin with the task's number. */
static const Weir__StatePart *part_in(const Weir__Snapshot *snapshot, int task)
{
    char prefix[16];
    int size = snprintf(prefix, sizeof prefix, "%d.", task);
    for (size_t i = 0; i < snapshot->n_parts; i++)
        if (snapshot->parts[i]->bytes.len > (size_t)size &&
            memcmp(snapshot->parts[i]->bytes.data, prefix, (size_t)size) == 0)
            return snapshot->parts[i];
    weir_assert(false);
    return NULL;
}

/* One part, and what of a sink's output is pending. `at`: "12" or "end". */
struct snapshot_room {
    Weir__SubtaskSnapshot snapshot;
    Weir__StatePart part, *parts[1];
    Weir__Committable committables[SIM_PENDING_MAX + 1], *list[SIM_PENDING_MAX + 1];
    char texts[SIM_PENDING_MAX + 1][64], bytes[64], object[96];
};

static void add_committable(struct snapshot_room *room, int task, uint64_t from, const char *to, uint32_t attempt)
{
    size_t i = room->snapshot.n_committables++;
    snprintf(room->texts[i], sizeof room->texts[i], "%d.%" PRIu64 ".%s.%" PRIu32, task, from, to, attempt);
    weir__committable__init(&room->committables[i]);
    room->committables[i].connector = (char *)"files";
    room->committables[i].text = room->texts[i];
    room->list[i] = &room->committables[i];
}

static Weir__SubtaskSnapshot *take_snapshot(struct world *w, struct job *job, const struct xtask *task, bool at_end,
                                            struct snapshot_room *room)
{
    const struct jtask *truth = &job->tasks[task->index];
    char at[24];
    if (at_end)
        snprintf(at, sizeof at, "end");
    else /* e: it was at its end when it began */
        snprintf(at, sizeof at, "%" PRIu64 "%s", task->passed, task->at_end ? "e" : "");
    weir__subtask_snapshot__init(&room->snapshot);
    weir__state_part__init(&room->part);
    room->part.uid = (char *)(uintptr_t)truth->uid;
    room->part.name = (char *)"state";
    room->part.kind = 1;
    room->part.subtask = (uint32_t)truth->subtask;
    room->part.parallelism = 1;
    snprintf(room->bytes, sizeof room->bytes, "%d.%" PRIu32 ".%s", task->index, task->attempt, at);
    room->part.bytes.data = (uint8_t *)room->bytes;
    room->part.bytes.len = strlen(room->bytes);
    uint64_t base = !at_end && task->passed ? sim_checkpoint(job, task->passed)->complete : 0;
    bool unchanged = base && rng_chance(&w->store, 40) && !sim_checkpoint(job, base)->metadata->final;
    if (at_end)
        snprintf(room->object, sizeof room->object, "jobs/%s/finished/%d-%d-%" PRIu32, job->id, truth->vertex,
                 truth->subtask, task->attempt);
    else if (unchanged) /* nothing has changed since */
        snprintf(room->object, sizeof room->object, "%s",
                 part_in(sim_checkpoint(job, base)->metadata, task->index)->object);
    else
        snprintf(room->object, sizeof room->object, "jobs/%s/chk-%" PRIu64 "/%d-%d-%" PRIu32, job->id, task->passed,
                 truth->vertex, truth->subtask, task->attempt);
    if (!unchanged)
        store_write(w, job, room->object);
    room->part.object = room->object;
    room->parts[0] = &room->part;
    room->snapshot.parts = room->parts;
    room->snapshot.n_parts = 1;
    room->snapshot.committables = room->list;
    for (int i = 0; i < task->pending_count; i++) {
        char to[24];
        snprintf(to, sizeof to, "%" PRIu64, task->pending[i].to);
        add_committable(room, task->index, task->pending[i].from, to, task->attempt);
    }
    if (at_end && truth->sink && job->output && !task->at_end)
        add_committable(room, task->index, task->passed, "end", task->attempt);
    return &room->snapshot;
}

static void report_task(struct world *w, int index, int t, Weir__TaskState state)
{
    struct exec *x = &w->execs[index];
    struct xtask *task = &x->tasks[t];
    struct job *job = &w->jobs[x->job];
    const struct jtask *truth = &job->tasks[task->index];
    task->last = state;
    Weir__TaskId id;
    weir__task_id__init(&id);
    id.vertex = (uint32_t)truth->vertex;
    id.subtask = (uint32_t)truth->subtask;
    id.attempt = task->attempt;
    Weir__TaskReport report;
    weir__task_report__init(&report);
    report.executor_id = x->id;
    report.job_id = job->id;
    report.task = &id;
    report.state = state;
    Weir__Failure failure;
    weir__failure__init(&failure);
    failure.kind = (char *)"UserCodeFailed";
    failure.message = (char *)"a modelled failure";
    if (state == WEIR__TASK_STATE__FAILED)
        report.failure = &failure;
    failure.fail_job = task->fails_job;
    job->fail_job_reported |= task->fails_job;
    char text[64];
    Weir__Committable committable, *list[1] = {&committable};
    weir__committable__init(&committable);
    struct snapshot_room room;
    if (state == WEIR__TASK_STATE__FINISHED && job->checkpoints)
        report.snapshot = take_snapshot(w, job, task, true, &room);
    else if (state == WEIR__TASK_STATE__FINISHED && truth->sink && job->output) {
        snprintf(text, sizeof text, "%d.%" PRIu32, task->index, task->attempt);
        committable.connector = (char *)"files";
        committable.text = text;
        report.committables = list;
        report.n_committables = 1;
    }
    Weir__Control control;
    weir__control__init(&control);
    control.version = 1;
    control.body_case = WEIR__CONTROL__BODY_TASK_REPORT;
    control.task_report = &report;
    to_tm(w, index, &control);
}

/* --- Barriers */

static struct xtask *find_task(struct world *w, const struct job *job, int task, uint32_t attempt, int *index, int *t)
{
    for (int i = 0; i < w->exec_count; i++)
        for (int k = 0; w->execs[i].job >= 0 && &w->jobs[w->execs[i].job] == job && k < w->execs[i].task_count; k++)
            if (w->execs[i].tasks[k].index == task && w->execs[i].tasks[k].attempt == attempt) {
                *index = i;
                *t = k;
                return &w->execs[i].tasks[k];
            }
    return NULL;
}

static bool has_finished(const struct xtask *task)
{
    return task->state == XT_ENDED && task->last == WEIR__TASK_STATE__FINISHED;
}

/* The barrier that is next for it: all its producers have passed it, or have finished. 0: none. `made`: one that it was asked for counts. */
static uint64_t next_barrier(struct world *w, const struct job *job, const struct xtask *task, bool made)
{
    uint64_t least = UINT64_MAX, newest = made ? task->triggered : 0;
    int index, t;
    for (int p = 0; p < job->task_count; p++) {
        if (!(job->tasks[task->index].producers >> p & 1))
            continue;
        const struct xtask *producer = find_task(w, job, p, task->attempt, &index, &t);
        if (!producer || (producer->state == XT_ENDED && !has_finished(producer)))
            return 0;
        if (!has_finished(producer))
            least = producer->passed < least ? producer->passed : least;
        else if (producer->passed > newest)
            newest = producer->passed;
    }
    uint64_t id = least != UINT64_MAX ? least : newest;
    return id > task->passed ? id : 0;
}

static bool producers_finished(struct world *w, const struct job *job, const struct xtask *task)
{
    int index, t;
    for (int p = 0; p < job->task_count; p++) {
        const struct xtask *producer =
            job->tasks[task->index].producers >> p & 1 ? find_task(w, job, p, task->attempt, &index, &t) : NULL;
        if (job->tasks[task->index].producers >> p & 1 && (!producer || !has_finished(producer)))
            return false;
    }
    return true;
}

static void wake_consumers(struct world *w, const struct job *job, const struct xtask *task)
{
    int index, t;
    for (int c = 0; c < job->task_count; c++)
        if (job->tasks[c].producers >> task->index & 1 && find_task(w, job, c, task->attempt, &index, &t))
            act_later(w, index, t, ACT_BARRIER, task->attempt,
                      rng_range(&w->store, 1, rng_chance(&w->store, 5) ? 400 : 30));
}

static void pass_barrier(struct world *w, int index, int t, uint64_t id)
{
    struct exec *x = &w->execs[index];
    struct xtask *task = &x->tasks[t];
    struct job *job = &w->jobs[x->job];
    const struct jtask *truth = &job->tasks[task->index];
    uint64_t complete = sim_checkpoint(job, id)->complete;
    int kept = 0;
    for (int i = 0; i < task->pending_count; i++)
        if (task->pending[i].to > complete)
            task->pending[kept++] = task->pending[i];
    task->pending_count = kept;
    weir_assert(kept < SIM_PENDING_MAX);
    if (truth->sink && job->output && !task->at_end) {
        task->pending[task->pending_count].from = task->passed;
        task->pending[task->pending_count++].to = id;
    }
    task->passed = id;
    Weir__TaskId task_id;
    weir__task_id__init(&task_id);
    task_id.vertex = (uint32_t)truth->vertex;
    task_id.subtask = (uint32_t)truth->subtask;
    task_id.attempt = task->attempt;
    Weir__Failure failure;
    weir__failure__init(&failure);
    failure.kind = (char *)"StoreFailed";
    failure.message = (char *)"its part could not be written";
    Weir__CheckpointReport report;
    weir__checkpoint_report__init(&report);
    report.executor_id = x->id;
    report.job_id = job->id;
    report.task = &task_id;
    report.checkpoint = id;
    struct snapshot_room room;
    report.snapshot = take_snapshot(w, job, task, false, &room);
    if (!w->healed && rng_chance(&w->store, 2))
        report.failure = &failure;
    Weir__Control control;
    weir__control__init(&control);
    control.version = 1;
    control.body_case = WEIR__CONTROL__BODY_CHECKPOINT_REPORT;
    control.checkpoint_report = &report;
    to_tm(w, index, &control);
    if (rng_chance(&w->store, 5)) /* an executor that repeats itself */
        to_tm(w, index, &control);
    wake_consumers(w, job, task);
}

static void trigger_checkpoint(struct world *w, int index, const Weir__TriggerCheckpoint *trigger)
{
    struct exec *x = &w->execs[index];
    for (size_t i = 0; i < trigger->n_tasks; i++)
        for (int t = 0; t < x->task_count; t++) {
            const struct jtask *truth = &w->jobs[x->job].tasks[x->tasks[t].index];
            if (truth->vertex != (int)trigger->tasks[i]->vertex || truth->subtask != (int)trigger->tasks[i]->subtask ||
                x->tasks[t].attempt != trigger->tasks[i]->attempt)
                continue;
            if (trigger->checkpoint > x->tasks[t].triggered)
                x->tasks[t].triggered = trigger->checkpoint;
            act_later(w, index, t, ACT_BARRIER, x->tasks[t].attempt,
                      rng_range(&w->store, 1, rng_chance(&w->store, 20) ? 300 : 20));
        }
}

static void task_act(struct world *w, int index, int t, enum act act)
{
    struct exec *x = &w->execs[index];
    struct xtask *task = &x->tasks[t];
    struct job *job = &w->jobs[x->job];
    switch (act) {
    case ACT_INITIALIZING:
        if (task->state == XT_STARTING)
            report_task(w, index, t, WEIR__TASK_STATE__INITIALIZING);
        break;
    case ACT_RUNNING:
        if (task->state != XT_STARTING)
            return;
        task->state = XT_RUNNING;
        report_task(w, index, t, WEIR__TASK_STATE__RUNNING);
        if (job->bounded)
            act_later(w, index, t, ACT_FINISH, task->attempt, rng_range(&w->exe, 50, 9000));
        if (job->checkpoints)
            act_later(w, index, t, ACT_BARRIER, task->attempt, 1);
        if (w->now_ms < job->fails_until_ms)
            act_later(w, index, t, ACT_FAIL, task->attempt, rng_range(&w->exe, 0, 40));
        break;
    case ACT_BARRIER: {
        uint64_t id = task->state == XT_RUNNING ? next_barrier(w, job, task, true) : 0;
        if (id)
            pass_barrier(w, index, t, id);
        break;
    }
    case ACT_FINISH:
        if (task->state != XT_RUNNING)
            return;
        if (job->checkpoints && !producers_finished(w, job, task)) {
            act_later(w, index, t, ACT_FINISH, task->attempt, 50);
            return;
        }
        if (job->checkpoints && next_barrier(w, job, task, false)) /* it came before the end */
            pass_barrier(w, index, t, next_barrier(w, job, task, false));
        task->state = XT_ENDED;
        if (task->attempt > job->tasks[task->index].finished)
            job->tasks[task->index].finished = task->attempt;
        job->tasks[task->index].finished_set |= 1ull << (task->attempt & 63);
        job->tasks[task->index].finish_passed = task->passed;
        report_task(w, index, t, WEIR__TASK_STATE__FINISHED);
        if (job->checkpoints)
            wake_consumers(w, job, task);
        break;
    case ACT_FAIL:
        if (task->state != XT_RUNNING && task->state != XT_STARTING)
            return;
        task->state = XT_ENDED;
        region_hit(w, job, job->tasks[task->index].region);
        report_task(w, index, t, WEIR__TASK_STATE__FAILED);
        if (rng_chance(&w->exe, 20))
            act_later(w, index, t, ACT_AGAIN, task->attempt, rng_range(&w->exe, 1, 3000));
        break;
    case ACT_CANCELED:
        if (task->state == XT_ENDED)
            return;
        task->state = XT_ENDED;
        if (!task->asked)
            region_hit(w, job, job->tasks[task->index].region);
        report_task(w, index, t, WEIR__TASK_STATE__CANCELED);
        if (rng_chance(&w->exe, 10))
            act_later(w, index, t, ACT_AGAIN, task->attempt, rng_range(&w->exe, 1, 3000));
        break;
    case ACT_AGAIN: /* an executor that repeats itself, perhaps long after: the attempt says what it is worth */
        report_task(w, index, t, task->last);
        break;
    default:
        break;
    }
}

static void report_ready(struct world *w, int index)
{
    struct exec *x = &w->execs[index];
    x->ready = true;
    Weir__ExecutorReport report;
    weir__executor_report__init(&report);
    report.executor_id = x->id;
    report.job_id = w->jobs[x->job].id;
    report.state = WEIR__EXECUTOR_REPORT__STATE__READY;
    report.endpoint = (char *)"tcp://127.0.0.1:4242";
    Weir__Control control;
    weir__control__init(&control);
    control.version = 1;
    control.body_case = WEIR__CONTROL__BODY_EXECUTOR_REPORT;
    control.executor_report = &report;
    to_tm(w, index, &control);
    act_later(w, index, 0, ACT_HEARTBEAT, 0, 700);
}

/* Metrics of all tasks, also of ones that have ended: the cores sort it out. */
static void report_metrics(struct world *w, int index)
{
    struct exec *x = &w->execs[index];
    struct job *job = &w->jobs[x->job];
    Weir__TaskId ids[SIM_TASKS_MAX];
    Weir__TaskMetrics metrics[SIM_TASKS_MAX], *list[SIM_TASKS_MAX];
    Weir__Heartbeat heartbeat;
    weir__heartbeat__init(&heartbeat);
    heartbeat.metrics = list;
    heartbeat.n_metrics = (size_t)x->task_count;
    for (int t = 0; t < x->task_count; t++) {
        weir__task_id__init(&ids[t]);
        weir__task_metrics__init(&metrics[t]);
        ids[t].vertex = (uint32_t)job->tasks[x->tasks[t].index].vertex;
        ids[t].subtask = (uint32_t)job->tasks[x->tasks[t].index].subtask;
        ids[t].attempt = x->tasks[t].attempt;
        metrics[t].task = &ids[t];
        metrics[t].records_in = x->tasks[t].attempt; /* so that a mixed-up attempt shows */
        list[t] = &metrics[t];
    }
    Weir__Control control;
    weir__control__init(&control);
    control.version = 1;
    control.body_case = WEIR__CONTROL__BODY_HEARTBEAT;
    control.heartbeat = &heartbeat;
    to_tm(w, index, &control);
    act_later(w, index, 0, ACT_HEARTBEAT, 0, 700);
}

void exec_act(struct world *w, int index, int t, int act, uint32_t attempt)
{
    struct exec *x = &w->execs[index];
    if (x->stuck)
        return;
    w->events++;
    if (act == ACT_READY)
        report_ready(w, index);
    else if (act == ACT_HEARTBEAT)
        report_metrics(w, index);
    else if (act == ACT_EXIT)
        exec_die(w, index, 0, "asked to");
    else if (t < x->task_count && (x->tasks[t].attempt == attempt))
        task_act(w, index, t, (enum act)act);
}

/* --- What the supervisor says */

static void start_tasks(struct world *w, int index, const Weir__DeployTasks *deploy)
{
    struct exec *x = &w->execs[index];
    struct job *job = &w->jobs[x->job];
    for (size_t i = 0; i < deploy->n_tasks; i++) {
        int t = 0, task_index = 0;
        while (task_index < job->task_count && (job->tasks[task_index].vertex != (int)deploy->tasks[i]->vertex ||
                                                job->tasks[task_index].subtask != (int)deploy->tasks[i]->subtask))
            task_index++;
        while (t < x->task_count && x->tasks[t].index != task_index)
            t++;
        if (t == x->task_count)
            x->task_count++;
        bool stuck = window_open(w, F_DEPLOY_STUCK) && rng_chance(&w->exe, w->window_value[F_DEPLOY_STUCK]);
        x->tasks[t] = (struct xtask){
            .index = task_index,
            .attempt = deploy->tasks[i]->attempt,
            .state = XT_STARTING,
            .last = WEIR__TASK_STATE__DEPLOYING,
            .ignores_cancel =
                job->hangs || (window_open(w, F_CANCEL_HANG) && rng_chance(&w->exe, w->window_value[F_CANCEL_HANG])),
            .stale_since_ms = -1,
        };
        x->slots |= 1u << deploy->slots[i];
        for (size_t r = 0; r < deploy->n_restores; r++)
            if (deploy->restores[r]->task == i) {
                const Weir__StatePart *part = deploy->restores[r]->parts[0];
                x->tasks[t].passed = deploy->restores[r]->checkpoint;
                x->tasks[t].at_end = memchr(part->bytes.data, 'e', part->bytes.len) != NULL;
            }
        check_task_start(w, index, t);
        if (stuck)
            continue;
        int64_t delay = rng_range(&w->exe, 1, 20);
        if (rng_chance(&w->exe, 80)) /* else straight to RUNNING */
            act_later(w, index, t, ACT_INITIALIZING, x->tasks[t].attempt, delay);
        act_later(w, index, t, ACT_RUNNING, x->tasks[t].attempt, delay + rng_range(&w->exe, 1, 40));
    }
}

static void cancel_tasks(struct world *w, int index, const Weir__CancelTasks *cancel)
{
    struct exec *x = &w->execs[index];
    struct job *job = &w->jobs[x->job];
    for (size_t i = 0; i < cancel->n_tasks; i++)
        for (int t = 0; t < x->task_count; t++) {
            const struct jtask *truth = &job->tasks[x->tasks[t].index];
            if (truth->vertex != (int)cancel->tasks[i]->vertex || truth->subtask != (int)cancel->tasks[i]->subtask ||
                x->tasks[t].attempt != cancel->tasks[i]->attempt)
                continue;
            x->tasks[t].asked = true;
            if (x->tasks[t].state == XT_ENDED && rng_chance(&w->exe, 50))
                act_later(w, index, t, ACT_AGAIN, x->tasks[t].attempt, rng_range(&w->exe, 1, 200));
            else if (x->tasks[t].state != XT_ENDED && !x->tasks[t].ignores_cancel)
                act_later(w, index, t, ACT_CANCELED, x->tasks[t].attempt, rng_range(&w->exe, 1, 60));
        }
}

void exec_control(struct world *w, int index, const Weir__Control *control)
{
    struct exec *x = &w->execs[index];
    if (x->stuck)
        return;
    w->events++;
    bool renews =
        control->body_case == WEIR__CONTROL__BODY_EXECUTOR_START || control->body_case == WEIR__CONTROL__BODY_LEASE;
    if (!renews && w->now_ms >= x->lease_until_ms) { /* it was stopped past it: what is in its line starts nothing */
        exec_lease(w, index, x->lease_gen);
        return;
    }
    switch (control->body_case) {
    case WEIR__CONTROL__BODY_EXECUTOR_START:
        set_lease(w, index, control->executor_start->lease_until_ms);
        for (size_t i = 0; i < control->executor_start->start->n_slots; i++)
            x->slots |= 1u << control->executor_start->start->slots[i];
        check_spawn(w, index);
        if (!x->never_ready)
            act_later(w, index, 0, ACT_READY, 0, rng_range(&w->exe, 2, 150));
        else if (rng_chance(&w->exe, 50)) /* late, perhaps when nobody expects it any more */
            act_later(w, index, 0, ACT_READY, 0, rng_range(&w->exe, 1500, 7000));
        break;
    case WEIR__CONTROL__BODY_LEASE:
        set_lease(w, index, control->lease->valid_until_ms);
        break;
    case WEIR__CONTROL__BODY_DEPLOY_TASKS:
        start_tasks(w, index, control->deploy_tasks);
        break;
    case WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT:
        trigger_checkpoint(w, index, control->trigger_checkpoint);
        break;
    case WEIR__CONTROL__BODY_CANCEL_TASKS:
        cancel_tasks(w, index, control->cancel_tasks);
        break;
    case WEIR__CONTROL__BODY_STOP_EXECUTOR: {
        bool hangs = w->jobs[x->job].hangs;
        for (int t = 0; t < x->task_count; t++)
            hangs |= x->tasks[t].ignores_cancel && x->tasks[t].state != XT_ENDED;
        if (!hangs)
            act_later(w, index, 0, ACT_EXIT, 0, rng_range(&w->exe, 1, 40));
        break;
    }
    default:
        break;
    }
}
