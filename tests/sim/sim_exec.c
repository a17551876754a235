/* Executor processes and their tasks, modelled: they start, report, finish, fail, hang, are stopped and killed, and end
 * themselves when their lease or their control line ends. Their control line is in order; it is lost with the supervisor.
 */
#include "tests/sim/sim.h"

#include <stddef.h>

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
    ACT_HEARTBEAT,
    ACT_END,
    ACT_ALIGN
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

void exec_to_tm(struct world *w, int x, const Weir__Control *control)
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
    x->others_ms = INT64_MIN;
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
                    exec_task(w, i, t)->region == exec_task(w, dead, k)->region && rng_chance(&w->exe, 30)) {
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
        task_hit(w, index, t);
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
        task_hit(w, x, t);
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

/* Its parts, one for each operator, in one object, and what of a sink's output is pending. */
struct snapshot_room {
    Weir__SubtaskSnapshot snapshot;
    Weir__StatePart part[8], *parts[8];
    struct part_bytes bytes[8];
    Weir__Committable committables[SIM_PENDING_MAX + SIM_GROUPS], *list[SIM_PENDING_MAX + SIM_GROUPS];
    char texts[SIM_PENDING_MAX + SIM_GROUPS][64], object[96];
    Weir__OutputSegment segments[SIM_PENDING_MAX + SIM_GROUPS], *segment_lists[SIM_PENDING_MAX + SIM_GROUPS];
    char logs[SIM_PENDING_MAX + SIM_GROUPS][96], sinks[SIM_PENDING_MAX + SIM_GROUPS][12];
    char held[SIM_PENDING_MAX + SIM_GROUPS][40];
};

static void name_segment(const struct job *job, const struct sim_task *truth, const struct xtask *task,
                         const struct sim_interval *interval, char name[static 96])
{
    snprintf(name, 96, "jobs/%s/chk-%" PRIu64 "/%d-%d-%" PRIu32 "-log%d", job->id,
             interval->since ? interval->since : 1, truth->vertex, truth->subtask, task->attempt, interval->number);
}

/* Its output of an epoch goes into the log. */
static void write_segments(struct world *w, struct job *job, const struct sim_task *truth, struct xtask *task,
                           struct sim_interval *files, int file_count, bool at_end)
{
    for (int i = 0; i < file_count && job->kafka; i++) {
        char name[96];
        files[i].since = task->passed;
        files[i].number = task->segments + i;
        name_segment(job, truth, task, &files[i], name);
        if (!task->end_written)
            store_write(w, job, name);
    }
    task->segments += at_end ? 0 : file_count;
    task->end_written |= at_end; /* an executor that repeats its report writes nothing */
}

static void name_output(const struct sim_task *truth, const struct xtask *task, const struct sim_interval *interval,
                        char text[static 64])
{
    char to[24];
    snprintf(to, sizeof to, interval->to == SIM_END ? "end" : "%" PRIu64, interval->to);
    snprintf(text, 64, "%d.%" PRIx32 ".%" PRIu64 ".%s.%" PRIu32, truth->sink, interval->groups, interval->from, to,
             task->attempt);
}

static void add_committable(struct snapshot_room *room, const struct job *job, const struct sim_task *truth,
                            const struct xtask *task, const struct sim_interval *interval)
{
    size_t i = room->snapshot.n_committables++;
    name_output(truth, task, interval, room->texts[i]);
    weir__committable__init(&room->committables[i]);
    room->committables[i].connector = (char *)"files";
    room->committables[i].text = room->texts[i];
    room->list[i] = &room->committables[i];
    if (!job->kafka)
        return;
    name_segment(job, truth, task, interval, room->logs[i]);
    weir__output_segment__init(&room->segments[i]);
    room->segments[i].object = room->logs[i];
    room->segments[i].size = 10 + (int64_t)(interval->to * 7 + interval->groups) % 50;
    room->segments[i].records = 1;
    room->segment_lists[i] = &room->segments[i];
    room->committables[i].segments = &room->segment_lists[i];
    room->committables[i].n_segments = 1;
    room->committables[i].since = interval->since;
    if (interval->held) {
        snprintf(room->held[i], sizeof room->held[i], "%d:%" PRIu64, interval->held, interval->to);
        room->committables[i].transaction = room->held[i];
    }
    snprintf(room->sinks[i], sizeof room->sinks[i], "%d", truth->sink);
    room->committables[i].sink = room->sinks[i];
}

/* What a sink has written up to `to`: for the groups that begin at the same place, one file. */
static int close_files(const struct xtask *task, uint32_t groups, uint64_t to, struct sim_interval *out)
{
    int count = 0;
    for (int g = 0; g < SIM_GROUPS; g++) {
        if (!(groups >> g & 1) || task->since[g] == SIM_END)
            continue;
        int i = 0;
        while (i < count && out[i].from != task->since[g])
            i++;
        if (i == count)
            out[count++] = (struct sim_interval){.from = task->since[g], .to = to};
        out[i].groups |= 1u << g;
    }
    return count;
}

/* What the checkpoint that this one is built on has of it: nothing has changed since. */
static const char *unchanged_object(struct world *w, struct job *job, const struct xtask *task,
                                    const struct sim_task *truth)
{
    uint64_t base = task->passed ? sim_checkpoint(job, task->passed)->complete : 0;
    if (!base || !rng_chance(&w->store, 40) || sim_checkpoint(job, base)->metadata->final)
        return NULL;
    const Weir__StatePart *part = part_of(sim_checkpoint(job, base)->metadata, job->ops[truth->ops[0]].uid,
                                          (uint32_t)truth->subtask, (uint32_t)truth->parallelism);
    return part ? part->object : NULL;
}

static Weir__SubtaskSnapshot *take_snapshot(struct world *w, int index, struct xtask *task, bool at_end,
                                            struct snapshot_room *room)
{
    struct job *job = &w->jobs[w->execs[index].job];
    const struct sim_task *truth = &exec_plan(w, index)->tasks[task->index];
    weir__subtask_snapshot__init(&room->snapshot);
    const char *unchanged = at_end ? NULL : unchanged_object(w, job, task, truth);
    if (at_end)
        snprintf(room->object, sizeof room->object, "jobs/%s/finished/%d-%d-%" PRIu32, job->id, truth->vertex,
                 truth->subtask, task->attempt);
    else if (unchanged)
        snprintf(room->object, sizeof room->object, "%s", unchanged);
    else
        snprintf(room->object, sizeof room->object, "jobs/%s/chk-%" PRIu64 "/%d-%d-%" PRIu32, job->id, task->passed,
                 truth->vertex, truth->subtask, task->attempt);
    if (!unchanged)
        store_write(w, job, room->object);
    for (int o = 0; o < truth->op_count; o++) {
        const struct sim_operator *op = &job->ops[truth->ops[o]];
        struct part_bytes *bytes = &room->bytes[o];
        *bytes = (struct part_bytes){
            truth->ops[o], (uint16_t)task->index, task->attempt, at_end ? SIM_END : task->passed, {0}};
        Weir__StatePart *part = room->parts[o] = &room->part[o];
        weir__state_part__init(part);
        part->uid = (char *)(uintptr_t)op->uid;
        part->name = (char *)"state";
        part->kind = (uint32_t)op->kind;
        part->subtask = (uint32_t)truth->subtask;
        part->parallelism = (uint32_t)truth->parallelism;
        part->object = room->object;
        part->offset = o * 8;
        part->size = 8;
        part->bytes.data = (uint8_t *)bytes;
        part->bytes.len = op->sink ? sizeof *bytes : offsetof(struct part_bytes, since);
        for (int g = 0; op->sink && g < SIM_GROUPS; g++)
            bytes->since[g] = at_end ? SIM_END : task->since[g];
    }
    room->snapshot.parts = room->parts;
    room->snapshot.n_parts = (size_t)truth->op_count;
    room->snapshot.committables = room->list;
    for (int i = 0; i < task->pending_count; i++)
        add_committable(room, job, truth, task, &task->pending[i]);
    struct sim_interval last[SIM_GROUPS] = {0};
    int count = at_end && truth->sink >= 0 && job->output ? close_files(task, truth->groups, SIM_END, last) : 0;
    write_segments(w, job, truth, task, last, count, at_end);
    for (int i = 0; i < count; i++)
        add_committable(room, job, truth, task, &last[i]);
    return &room->snapshot;
}

static void report_task(struct world *w, int index, int t, Weir__TaskState state)
{
    struct exec *x = &w->execs[index];
    struct xtask *task = &x->tasks[t];
    struct job *job = &w->jobs[x->job];
    const struct sim_task *truth = exec_task(w, index, t);
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
    if (task->corrupt) {
        failure.kind = (char *)"CHECKPOINT_CORRUPT";
        failure.message = (char *)"an object is not what was written";
        failure.checkpoint = task->corrupt;
    }
    failure.fail_job = task->fails_job;
    job->fail_job_reported |= task->fails_job;
    char text[64];
    Weir__Committable committable, *list[1] = {&committable};
    weir__committable__init(&committable);
    struct snapshot_room room;
    if (state == WEIR__TASK_STATE__FINISHED && job->checkpoints)
        report.snapshot = take_snapshot(w, index, task, true, &room);
    else if (state == WEIR__TASK_STATE__FINISHED && truth->sink >= 0 && job->output) {
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
    exec_to_tm(w, index, &control);
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
static uint64_t next_barrier(struct world *w, int x, const struct xtask *task, bool made)
{
    struct job *job = &w->jobs[w->execs[x].job];
    const struct sim_plan *plan = exec_plan(w, x);
    uint64_t least = UINT64_MAX, newest = made ? task->triggered : 0;
    int index, t;
    for (int p = 0; p < plan->task_count; p++) {
        if (!(plan->tasks[task->index].producers >> p & 1))
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

static bool producers_finished(struct world *w, int x, const struct xtask *task)
{
    struct job *job = &w->jobs[w->execs[x].job];
    uint64_t producers = exec_plan(w, x)->tasks[task->index].producers;
    int index, t;
    for (int p = 0; producers >> p && p < SIM_TASKS_MAX; p++) {
        const struct xtask *producer = producers >> p & 1 ? find_task(w, job, p, task->attempt, &index, &t) : NULL;
        if (producers >> p & 1 && (!producer || !has_finished(producer)))
            return false;
    }
    return true;
}

/* A source, or what reads splits, ends in its time or when it is told to; others when no producer is left. */
static bool may_end(struct world *w, int x, const struct xtask *task)
{
    const struct sim_task *truth = &exec_plan(w, x)->tasks[task->index];
    bool own = truth->producers == 0 || truth->reads || w->jobs[w->execs[x].job].bounded;
    return (!own || task->may_end) && producers_finished(w, x, task);
}

static void wake_consumers(struct world *w, int from, const struct xtask *task)
{
    struct job *job = &w->jobs[w->execs[from].job];
    const struct sim_plan *plan = exec_plan(w, from);
    int index, t;
    for (int c = 0; c < plan->task_count; c++)
        if (plan->tasks[c].producers >> task->index & 1 && find_task(w, job, c, task->attempt, &index, &t)) {
            act_later(w, index, t, ACT_BARRIER, task->attempt,
                      rng_range(&w->store, 1, rng_chance(&w->store, 5) ? 400 : 30));
            if (task->state == XT_ENDED && !job->bounded)
                act_later(w, index, t, ACT_FINISH, task->attempt, rng_range(&w->store, 1, 200));
        }
}

/* A sink's file ends at the barrier, unless nothing is in it. */
static void end_files(struct world *w, struct job *job, struct xtask *task, const struct sim_task *truth, uint64_t id)
{
    if (rng_chance(&w->store, job->quiet)) {
        count(w, C_quiet_barrier);
        return;
    }
    struct sim_interval files[SIM_GROUPS] = {0};
    int count = close_files(task, truth->groups, id, files);
    write_segments(w, job, truth, task, files, count, false);
    int held = job->held && count > 0 ? kafka_hold(w, job, task, truth->sink, id) : 0;
    for (int i = 0; i < count && held; i++) {
        char text[64];
        name_output(truth, task, &files[i], text);
        kafka_held_text(w, held, id, text);
        files[i].held = held;
    }
    weir_assert(task->pending_count + count <= SIM_PENDING_MAX);
    for (int i = 0; i < count; i++)
        task->pending[task->pending_count++] = files[i];
    for (int g = 0; g < SIM_GROUPS; g++)
        if (truth->groups >> g & 1 && task->since[g] != SIM_END)
            task->since[g] = id;
}

static void pass_barrier(struct world *w, int index, int t, uint64_t id)
{
    struct exec *x = &w->execs[index];
    struct xtask *task = &x->tasks[t];
    struct job *job = &w->jobs[x->job];
    const struct sim_task *truth = exec_task(w, index, t);
    uint64_t complete = sim_checkpoint(job, id)->complete;
    int kept = 0;
    for (int i = 0; i < task->pending_count; i++)
        if (task->pending[i].to > complete)
            task->pending[kept++] = task->pending[i];
    task->pending_count = kept;
    if (truth->sink >= 0 && job->output)
        end_files(w, job, task, truth, id);
    task->passed = id;
    task->halted = sim_checkpoint(job, id)->flags & SIM_FLAG_STOP;
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
    report.snapshot = take_snapshot(w, index, task, false, &room);
    if (!w->healed && rng_chance(&w->store, 2))
        report.failure = &failure;
    Weir__Control control;
    weir__control__init(&control);
    control.version = 1;
    control.body_case = WEIR__CONTROL__BODY_CHECKPOINT_REPORT;
    control.checkpoint_report = &report;
    exec_to_tm(w, index, &control);
    if (rng_chance(&w->store, 5)) /* an executor that repeats itself */
        exec_to_tm(w, index, &control);
    wake_consumers(w, index, task);
}

static void trigger_checkpoint(struct world *w, int index, const Weir__TriggerCheckpoint *trigger)
{
    struct exec *x = &w->execs[index];
    for (size_t i = 0; i < trigger->n_tasks; i++)
        for (int t = 0; t < x->task_count; t++) {
            const struct sim_task *truth = exec_task(w, index, t);
            if (truth->vertex != (int)trigger->tasks[i]->vertex || truth->subtask != (int)trigger->tasks[i]->subtask ||
                x->tasks[t].attempt != trigger->tasks[i]->attempt)
                continue;
            if (trigger->flags & SIM_FLAG_DRAIN) {
                x->tasks[t].may_end = true;
                act_later(w, index, t, ACT_FINISH, x->tasks[t].attempt, rng_range(&w->store, 1, 300));
                continue;
            }
            if (trigger->checkpoint > x->tasks[t].triggered)
                x->tasks[t].triggered = trigger->checkpoint;
            act_later(w, index, t, ACT_BARRIER, x->tasks[t].attempt,
                      rng_range(&w->store, 1, rng_chance(&w->store, 20) ? 300 : 20));
        }
}

/* A sink of its state begins where that ends: `parts` are those of its operators. */
static void begin_with(struct world *w, int index, int t, const Weir__TaskRestore *restore)
{
    struct xtask *task = &w->execs[index].tasks[t];
    struct job *job = &w->jobs[w->execs[index].job];
    const struct sim_task *truth = exec_task(w, index, t);
    struct part_bytes bytes;
    task->passed = restore->checkpoint;
    for (size_t i = 0; i < restore->n_parts; i++) {
        const Weir__StatePart *part = restore->parts[i];
        uint32_t groups = groups_of(part->subtask, part->parallelism) & truth->groups;
        if (store_is_corrupt(job, part->object))
            task->corrupt = restore->checkpoint;
        if (part_number(part, &bytes) != truth->sink)
            continue;
        for (int g = 0; g < SIM_GROUPS; g++)
            if (groups >> g & 1)
                task->since[g] = bytes.since[g];
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
        if (task->corrupt) {
            task_act(w, index, t, ACT_FAIL);
            return;
        }
        task->state = XT_RUNNING;
        task->may_go_ms = -1;
        report_task(w, index, t, WEIR__TASK_STATE__RUNNING);
        if (job->bounded)
            act_later(w, index, t, ACT_END, task->attempt, rng_range(&w->exe, 50, 9000) / (job->near_end ? 100 : 1));
        else if (job->checkpoints && exec_task(w, index, t)->producers)
            act_later(w, index, t, ACT_FINISH, task->attempt, 1); /* its producers may have been at their end */
        if (job->checkpoints)
            act_later(w, index, t, ACT_BARRIER, task->attempt, 1);
        if (w->now_ms < job->fails_until_ms)
            act_later(w, index, t, ACT_FAIL, task->attempt, rng_range(&w->exe, 0, 40));
        break;
    case ACT_BARRIER: {
        uint64_t id = task->state == XT_RUNNING && !task->halted ? next_barrier(w, index, task, true) : 0;
        if (id)
            pass_barrier(w, index, t, id);
        break;
    }
    case ACT_END:
        task->may_end = true;
        task_act(w, index, t, ACT_FINISH);
        break;
    case ACT_FINISH:
        if (task->state != XT_RUNNING || task->halted)
            return;
        if (job->checkpoints && !may_end(w, index, task)) {
            if (job->bounded && task->may_end)
                act_later(w, index, t, ACT_FINISH, task->attempt, 50);
            return;
        }
        if (job->checkpoints && next_barrier(w, index, task, false)) /* it came before the end */
            pass_barrier(w, index, t, next_barrier(w, index, task, false));
        if (task->halted)
            return;
        task->state = XT_ENDED;
        if (task->attempt > job->tasks[task->index].finished)
            job->tasks[task->index].finished = task->attempt;
        job->tasks[task->index].finished_set |= 1ull << (task->attempt & 63);
        if (task->attempt == job->tasks[task->index].finished)
            job->tasks[task->index].finish_passed = task->passed;
        report_task(w, index, t, WEIR__TASK_STATE__FINISHED);
        if (job->checkpoints)
            wake_consumers(w, index, task);
        break;
    case ACT_FAIL:
        if (task->state != XT_RUNNING && task->state != XT_STARTING)
            return;
        task->state = XT_ENDED;
        x->others_ms = INT64_MIN; /* another attempt will come */
        task_hit(w, index, t);
        report_task(w, index, t, WEIR__TASK_STATE__FAILED);
        if (rng_chance(&w->exe, 20))
            act_later(w, index, t, ACT_AGAIN, task->attempt, rng_range(&w->exe, 1, 3000));
        break;
    case ACT_CANCELED:
        if (task->state == XT_ENDED)
            return;
        task->state = XT_ENDED;
        x->others_ms = INT64_MIN;
        if (!task->asked)
            task_hit(w, index, t);
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
    exec_to_tm(w, index, &control);
    act_later(w, index, 0, ACT_HEARTBEAT, 0, 700);
    if (w->jobs[x->job].aligned)
        act_later(w, index, 0, ACT_ALIGN, 0, 200);
}

/* Metrics of all tasks, also of ones that have ended: the cores sort it out. */
static void report_metrics(struct world *w, int index)
{
    struct exec *x = &w->execs[index];
    Weir__TaskId ids[SIM_TASKS_MAX];
    Weir__TaskMetrics metrics[SIM_TASKS_MAX], *list[SIM_TASKS_MAX];
    Weir__Heartbeat heartbeat;
    weir__heartbeat__init(&heartbeat);
    heartbeat.metrics = list;
    heartbeat.n_metrics = (size_t)x->task_count;
    for (int t = 0; t < x->task_count; t++) {
        weir__task_id__init(&ids[t]);
        weir__task_metrics__init(&metrics[t]);
        ids[t].vertex = (uint32_t)exec_task(w, index, t)->vertex;
        ids[t].subtask = (uint32_t)exec_task(w, index, t)->subtask;
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
    exec_to_tm(w, index, &control);
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
    else if (act == ACT_ALIGN) {
        align_act(w, index);
        act_later(w, index, 0, ACT_ALIGN, 0, 200);
    } else if (act == ACT_EXIT)
        exec_die(w, index, 0, "asked to");
    else if (t < x->task_count && (x->tasks[t].attempt == attempt))
        task_act(w, index, t, (enum act)act);
}

/* --- What the supervisor says */

static void start_tasks(struct world *w, int index, const Weir__DeployTasks *deploy)
{
    struct exec *x = &w->execs[index];
    struct job *job = &w->jobs[x->job];
    const struct sim_plan *plan = exec_plan(w, index);
    for (size_t i = 0; i < deploy->n_tasks; i++) {
        int t = 0, task_index = 0;
        while (task_index < plan->task_count && (plan->tasks[task_index].vertex != (int)deploy->tasks[i]->vertex ||
                                                 plan->tasks[task_index].subtask != (int)deploy->tasks[i]->subtask))
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
            if (deploy->restores[r]->task == i)
                begin_with(w, index, t, deploy->restores[r]);
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
    for (size_t i = 0; i < cancel->n_tasks; i++)
        for (int t = 0; t < x->task_count; t++) {
            const struct sim_task *truth = exec_task(w, index, t);
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
        x->override =
            override_in(control->executor_start->start->configuration, control->executor_start->start->n_configuration);
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
    case WEIR__CONTROL__BODY_ALIGNMENT:
        align_heard(w, index, control->alignment);
        break;
    case WEIR__CONTROL__BODY_CHECKPOINT_COMPLETE:
        kafka_complete(w, index, control->checkpoint_complete);
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
