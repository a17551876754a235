/* Kafka, modelled: the transaction coordinator, logs with open transactions in them, what a reader of committed records is shown; and TaskManagers
 * that publish a complete checkpoint's messages, step by step as the connector's core decides (taskmanager/connectors/kafka/publish.h).
 *
 * Each sink of such a job has one transactional id and a log that only that id writes; log 0 is the progress topic, shared by all, and by a stranger
 * whose transactions stay open for a while. A commit is certain when the coordinator has it; the logs hear of it later, one after the other. In bad
 * spells requests are lost or arrive long after their sender has given up, answers are lost, the coordinator moves, and a new leader of the
 * progress topic shows less than was committed.
 *
 * What must hold: what is committed is contiguous for each key group of a sink, each record once (sim_output.c), of checkpoints that HEAD names;
 * what a commit was called done of is there; at rest no transaction is open.
 */
#include "connectors/kafka/publish.h"
#include "tests/sim/sim.h"

#define PART_SIZE 60
#define SINKS_MAX (2 * SIM_VERTICES_MAX)
#define NO_ANSWER_MS 800 /* after which a request is given up */
#define READ_MS 4000
#define TIMEOUT_MS 10000 /* of a transaction; some have a short one */

enum fate { OPEN, COMMITTED, ABORTED, CONTROL };
struct record {
    enum fate fate;
    int writer;       /* transactional id; -1: a stranger's */
    const char *text; /* of its committable; NULL: it has a marker */
    uint64_t checkpoint;
    struct weir_kafka_marker marker;
};
struct log {
    struct record *list;
    int count, capacity;
};

enum txn_state { EMPTY, ONGOING, COMMITTING, ABORTING };
struct txn_id {
    int job, op, epoch, log;
    enum txn_state state;
    uint64_t number;                 /* of its transaction */
    bool open[2];                    /* its log and the progress topic have records of it that are not settled */
    struct weir_kafka_marker marker; /* the last one that is certainly committed */
    /* Of a subtask that holds: whose it is, at first nobody's. */
    int task;
    uint32_t attempt;
};

struct commit {     /* of what a subtask holds, in its order */
    int exec, task; /* in world.execs */
    int job, index; /* whose it is: */
    uint32_t attempt;
    uint64_t complete;
    bool marked, over;
    int txn; /* marked */
    int epoch;
};

struct handle { /* a producer, kept by a process from checkpoint to checkpoint; -1: of nobody any more */
    int tm, boot, txn, epoch;
    bool kept, in_use;
    struct weir_publish_handle core;
};

struct publication { /* of a CommitOutput, sink by sink */
    int index, tm, boot, job;
    struct msg *msg; /* a reference */
    int sinks[SINKS_MAX], sink_count, sink;
    size_t committables[SIM_PENDING_MAX * 4];
    struct weir_commit_segment segments[SIM_PENDING_MAX * 4];
    enum weir_publish_held held[SIM_PENDING_MAX * 4];
    int64_t segment_count; /* of the present sink */
    struct weir_publish publish;
    struct handle *handle;
    uint64_t token; /* of what it waits for */
    int64_t deadline_ms;
    bool over;
};

struct request {
    struct publication *from;
    uint64_t token;
    enum weir_publish_step step;
    int txn, epoch;
    const char *text;
    uint64_t checkpoint;
    struct weir_kafka_marker marker;
};

struct sim_kafka {
    struct rng rng;
    struct {
        int64_t from_ms, to_ms;
    } spells[SIM_SPELLS];
    int shown;              /* records of the progress topic that its new leader shows, */
    int64_t shown_until_ms; /* until then */
    uint64_t tokens;
    struct log *logs;
    struct txn_id *ids;
    struct publication **publications;
    struct handle **handles;
    struct request *requests;
    struct commit *commits;
    struct rng held_rng;
    struct weir_arena texts; /* of what is held */
    int commit_count;
    int log_count, id_count, publication_count, handle_count, request_count, request_capacity;
};

enum what { ARRIVES, SETTLES, TIMES_OUT, STRANGER, LEADER, HOLDER };
enum result { NO_ANSWER, REFUSED, DONE, AGAIN };

static void later(struct world *w, int64_t after_ms, enum what what, int a, uint64_t b)
{
    push(w, w->now_ms + after_ms, EV_KAFKA, (int)what, a, 0, b, NULL);
}

static void tell(struct world *w, const struct publication *p, int64_t after_ms, enum result result, uint64_t token)
{
    push(w, w->now_ms + after_ms, EV_TM_KAFKA, p->tm, p->boot, (int)result | p->index << 4, token, NULL);
}

static bool bad(const struct world *w)
{
    for (int i = 0; i < SIM_SPELLS; i++)
        if (!w->healed && w->now_ms >= w->kafka->spells[i].from_ms && w->now_ms < w->kafka->spells[i].to_ms)
            return true;
    return false;
}

static bool chance(struct world *w, int percent)
{
    return rng_chance(&w->kafka->rng, percent);
}

static int range(struct world *w, int low, int high)
{
    return rng_range(&w->kafka->rng, low, high);
}

/* --- Logs */

static struct record *append(struct sim_kafka *k, int log, enum fate fate, int writer)
{
    struct log *l = &k->logs[log];
    if (l->count == l->capacity) {
        l->capacity = l->capacity ? l->capacity * 2 : 64;
        l->list = weir_realloc(l->list, (size_t)l->capacity * sizeof *l->list);
    }
    struct record *record = &l->list[l->count++];
    *record = (struct record){.fate = fate, .writer = writer};
    return record;
}

static int last_stable(const struct log *log)
{
    int at = 0;
    while (at < log->count && log->list[at].fate != OPEN)
        at++;
    return at;
}

/* --- The coordinator */

static int txn_of(struct world *w, int job, int op)
{
    struct sim_kafka *k = w->kafka;
    for (int i = 0; i < k->id_count; i++)
        if (k->ids[i].job == job && k->ids[i].op == op)
            return i;
    k->logs = weir_realloc(k->logs, (size_t)(k->log_count + 1) * sizeof *k->logs);
    k->logs[k->log_count] = (struct log){0};
    k->ids = weir_realloc(k->ids, (size_t)(k->id_count + 1) * sizeof *k->ids);
    k->ids[k->id_count] = (struct txn_id){.job = job, .op = op, .log = k->log_count++};
    return k->id_count++;
}

/* It is certain; the logs hear of it one by one. */
static void decide(struct world *w, int id, enum txn_state how)
{
    struct txn_id *txn = &w->kafka->ids[id];
    struct job *job = &w->jobs[txn->job];
    const struct log *log = &w->kafka->logs[txn->log];
    txn->state = how;
    trace(w, "kafka: transaction %" PRIu64 " of id %d is %s", txn->number, id,
          how == COMMITTING ? "committed" : "aborted");
    for (int i = 0; i < log->count && how == COMMITTING; i++) {
        const struct record *record = &log->list[i];
        if (record->fate != OPEN || record->writer != id)
            continue;
        if (!sim_checkpoint(job, record->checkpoint)->named)
            violate(w, "visible-before-head", "job %.8s: output of %" PRIu64, job->id, record->checkpoint);
        output_is_visible(w, job, record->checkpoint, record->text);
    }
    for (int i = 0; i < w->kafka->logs[0].count && how == COMMITTING; i++) {
        const struct record *record = &w->kafka->logs[0].list[i];
        if (record->fate == OPEN && record->writer == id)
            txn->marker = record->marker;
    }
    for (int i = 0; i < 2; i++)
        if (txn->open[i])
            later(w, range(w, 1, bad(w) ? 900 : 15), SETTLES, id * 2 + i, txn->number);
}

static void settle(struct world *w, int id, int which)
{
    struct txn_id *txn = &w->kafka->ids[id];
    int log = which ? 0 : txn->log;
    weir_assert(txn->open[which] && txn->state >= COMMITTING);
    for (int i = 0; i < w->kafka->logs[log].count; i++) {
        struct record *record = &w->kafka->logs[log].list[i];
        if (record->fate == OPEN && record->writer == id)
            record->fate = txn->state == COMMITTING ? COMMITTED : ABORTED;
    }
    append(w->kafka, log, CONTROL, id);
    txn->open[which] = false;
    if (!txn->open[0] && !txn->open[1])
        txn->state = EMPTY;
}

static void write_record(struct world *w, const struct request *request)
{
    struct txn_id *txn = &w->kafka->ids[request->txn];
    if (txn->state == EMPTY) {
        txn->state = ONGOING;
        txn->number++;
        later(w, chance(w, 4) ? range(w, 5, 100) : TIMEOUT_MS, TIMES_OUT, request->txn, txn->number);
    }
    txn->open[request->text == NULL] = true;
    struct record *record = append(w->kafka, request->text ? txn->log : 0, OPEN, request->txn);
    record->text = request->text;
    record->checkpoint = request->checkpoint;
    record->marker = request->marker;
}

static enum result apply(struct world *w, const struct request *request)
{
    struct txn_id *txn = request->txn < 0 ? NULL : &w->kafka->ids[request->txn];
    if (request->step == WEIR_PUBLISH_END) /* a leader that does not know yet does not say */
        return w->now_ms < w->kafka->shown_until_ms ? AGAIN : DONE;
    if (request->step == WEIR_PUBLISH_FENCE && txn->state == ONGOING) {
        count(w, C_kafka_fenced_open);
        txn->epoch++;
        decide(w, request->txn, ABORTING);
    }
    if (request->step != WEIR_PUBLISH_FENCE && request->epoch != txn->epoch) {
        count(w, C_kafka_fenced);
        return REFUSED;
    }
    if (txn->state >= COMMITTING)
        return AGAIN;
    if (request->step == WEIR_PUBLISH_FENCE) {
        txn->epoch++;
        if (request->token == request->from->token) /* the answer; to one that comes late nobody listens any more */
            request->from->handle->epoch = txn->epoch;
    } else if (request->step != WEIR_PUBLISH_COMMIT)
        write_record(w, request);
    else if (txn->state == ONGOING)
        decide(w, request->txn, COMMITTING);
    return DONE;
}

static void arrives(struct world *w, int index)
{
    const struct request *request = &w->kafka->requests[index];
    bool moving = bad(w) && chance(w, 10); /* the coordinator, to another broker */
    enum result result = moving ? AGAIN : apply(w, request);
    if (result == AGAIN) {
        later(w, moving ? range(w, 50, 700) : range(w, 10, 60), ARRIVES, index, 0);
        return;
    }
    trace(w, "kafka: request %d, step %d of id %d: %s", index, (int)request->step, request->txn,
          result == DONE ? "done" : "refused");
    if (bad(w) && chance(w, 8))
        count(w, C_kafka_reply_lost);
    else
        tell(w, request->from, range(w, 1, 6), result, request->token);
}

/* --- Who holds: a subtask has an epoch's output in a transaction of its own, as taskmanager/connectors/kafka/held.c does. Rows are written at the barrier that
 * ends the epoch, and a holder that is not ready yet (it waits for what is to be published first, or for its id) leaves the epoch to the log. */

#define HELD_IDS 4        /* of a subtask */
#define HELD_WAIT_MS 1500 /* for its marker */

static bool held_chance(struct world *w, int percent)
{
    return rng_chance(&w->kafka->held_rng, percent);
}

static int held_range(struct world *w, int low, int high)
{
    return rng_range(&w->kafka->held_rng, low, high);
}

/* Whoever had the id is fenced, for good; what it has not committed up to `upto` it never will. False: not at this moment. */
static bool take_over(struct world *w, int id, uint64_t upto)
{
    struct txn_id *txn = &w->kafka->ids[id];
    if (txn->state == ONGOING) {
        count(w, C_kafka_held_fenced);
        txn->epoch++;
        decide(w, id, ABORTING);
    }
    if (txn->state != EMPTY)
        return false;
    txn->epoch++;
    struct record *record = append(w->kafka, 0, COMMITTED, id);
    record->marker = txn->marker;
    if (record->marker.taken < upto)
        record->marker.taken = upto;
    txn->marker = record->marker;
    return true;
}

static void write_held(struct world *w, int id, uint64_t checkpoint, const char *text)
{
    struct txn_id *txn = &w->kafka->ids[id];
    if (txn->state == EMPTY) {
        txn->state = ONGOING;
        txn->number++;
        later(w, held_chance(w, 4) ? held_range(w, 5, 400) : TIMEOUT_MS, TIMES_OUT, id, txn->number);
    }
    txn->open[text == NULL] = true;
    struct record *record = append(w->kafka, text ? txn->log : 0, OPEN, id);
    record->text = text;
    record->checkpoint = checkpoint;
}

int kafka_hold(struct world *w, struct job *job, struct xtask *task, int op, uint64_t checkpoint)
{
    int main_id = txn_of(w, (int)(job - w->jobs), op);
    const struct txn_id *sink = &w->kafka->ids[main_id];
    uint64_t restored = task->passed;
    if (task->unheld == 0 && restored > 0 && task->pending_count == 0)
        task->unheld = restored;
    bool ready =
        task->unheld == 0 || (sink->marker.checkpoint >= task->unheld && sink->marker.part == sink->marker.parts);
    for (int slot = 0; slot < HELD_IDS && ready && !task->lost_held; slot++) {
        int id = txn_of(w, (int)(job - w->jobs), op + 1000 * (1 + task->index * HELD_IDS + slot));
        struct txn_id *txn = &w->kafka->ids[id];
        bool mine = txn->task == task->index && txn->attempt == task->attempt;
        if ((mine && txn->state != EMPTY) || (!mine && !take_over(w, id, restored)))
            continue;
        txn = &w->kafka->ids[id];
        txn->task = task->index;
        txn->attempt = task->attempt;
        weir_assert(task->hold_count < SIM_PENDING_MAX);
        task->holds[task->hold_count].checkpoint = checkpoint;
        task->holds[task->hold_count].txn = id;
        task->holds[task->hold_count++].epoch = txn->epoch;
        count(w, C_kafka_held);
        return id;
    }
    task->unheld = checkpoint;
    return 0;
}

void kafka_held_text(struct world *w, int held, uint64_t checkpoint, const char *text)
{
    write_held(w, held, checkpoint, weir_arena_strdup(&w->kafka->texts, text));
}

static struct xtask *holder_of(struct world *w, const struct commit *commit)
{
    const struct exec *x = &w->execs[commit->exec];
    if (!x->exists || x->stuck || x->job != commit->job || commit->task >= x->task_count)
        return NULL;
    struct xtask *task = &w->execs[commit->exec].tasks[commit->task];
    return task->index == commit->index && task->attempt == commit->attempt ? task : NULL;
}

/* The marker, and a while later the commit, which a holder that has died meanwhile may have sent. */
static bool commit_next(struct world *w, int index)
{
    struct sim_kafka *k = w->kafka;
    struct commit *commit = &k->commits[index];
    struct xtask *task = holder_of(w, commit);
    if (!task && !(commit->marked && held_chance(w, 50)))
        return false;
    if (!commit->marked && (task->lost_held || task->hold_count == 0 || task->holds[0].checkpoint > commit->complete))
        return false;
    int id = commit->marked ? commit->txn : task->holds[0].txn;
    int epoch = commit->marked ? commit->epoch : task->holds[0].epoch;
    struct txn_id *txn = &k->ids[id];
    if (txn->epoch != epoch ||
        txn->state != ONGOING) { /* fenced, or timed out: nothing that follows may be committed */
        count(w, C_kafka_fenced);
        if (task)
            task->lost_held = true;
        return false;
    }
    if (!commit->marked) {
        write_held(w, id, commit->complete, NULL);
        struct record *record = &k->logs[0].list[k->logs[0].count - 1];
        record->marker = (struct weir_kafka_marker){task->holds[0].checkpoint, 0, 1, 1, txn->marker.taken};
    } else {
        for (int i = 0; i < k->logs[txn->log].count; i++)
            if (k->logs[txn->log].list[i].fate == OPEN && k->logs[txn->log].list[i].writer == id)
                k->logs[txn->log].list[i].checkpoint = commit->complete;
        count(w, C_kafka_held_committed);
        if (task && task->hold_count > 0 && task->holds[0].txn == id)
            memmove(task->holds, task->holds + 1, (size_t)--task->hold_count * sizeof *task->holds);
        decide(w, id, COMMITTING);
    }
    commit->txn = id;
    commit->epoch = epoch;
    commit->marked = !commit->marked;
    later(w, bad(w) && held_chance(w, 20) ? held_range(w, 100, 4000) : held_range(w, 1, 12), HOLDER, index, 0);
    return true;
}

static void holder_commits(struct world *w, int index)
{
    if (!commit_next(w, index))
        w->kafka->commits[index].over = true;
}

void kafka_complete(struct world *w, int exec, const Weir__CheckpointComplete *message)
{
    struct sim_kafka *k = w->kafka;
    const struct exec *x = &w->execs[exec];
    for (size_t i = 0; i < message->n_tasks; i++)
        for (int t = 0; t < x->task_count; t++) {
            const struct sim_task *truth = exec_task(w, exec, t);
            if (truth->vertex != (int)message->tasks[i]->vertex || truth->subtask != (int)message->tasks[i]->subtask ||
                x->tasks[t].attempt != message->tasks[i]->attempt)
                continue;
            struct commit *running = NULL;
            for (int c = 0; c < k->commit_count; c++)
                if (!k->commits[c].over && holder_of(w, &k->commits[c]) == &x->tasks[t])
                    running = &k->commits[c];
            if (running && message->checkpoint > running->complete)
                running->complete = message->checkpoint;
            if (running)
                continue;
            k->commits = weir_realloc(k->commits, (size_t)(k->commit_count + 1) * sizeof *k->commits);
            k->commits[k->commit_count] = (struct commit){.exec = exec,
                                                          .task = t,
                                                          .job = x->job,
                                                          .index = x->tasks[t].index,
                                                          .attempt = x->tasks[t].attempt,
                                                          .complete = message->checkpoint};
            later(w, held_range(w, 0, 8), HOLDER, k->commit_count++, 0);
        }
}

/* --- Who publishes */

static void begin_sink(struct world *w, struct publication *p);

static void send_request(struct world *w, struct publication *p)
{
    struct sim_kafka *k = w->kafka;
    const Weir__CommitOutput *commit = p->msg->control->commit_output;
    enum weir_publish_step step = p->publish.step;
    if (k->request_count == k->request_capacity) {
        k->request_capacity = k->request_capacity ? k->request_capacity * 2 : 64;
        k->requests = weir_realloc(k->requests, (size_t)k->request_capacity * sizeof *k->requests);
    }
    int index = k->request_count++;
    struct request *request = &k->requests[index];
    *request = (struct request){.from = p,
                                .token = p->token,
                                .step = step,
                                .txn = p->handle->txn,
                                .epoch = p->handle->epoch,
                                .checkpoint = commit->checkpoint,
                                .marker = p->publish.marker};
    if (step == WEIR_PUBLISH_PRODUCE)
        request->text = commit->committables[p->committables[p->publish.segment]]->text;
    int64_t delay_ms = range(w, 1, 6);
    if (bad(w) && chance(w, 8)) { /* lost, or long on its way */
        count(w, C_kafka_request_lost);
        delay_ms = chance(w, 50) ? -1 : range(w, NO_ANSWER_MS, 4000);
    }
    if (delay_ms >= 0)
        later(w, delay_ms, ARRIVES, index, 0);
    tell(w, p, NO_ANSWER_MS, NO_ANSWER, p->token);
}

/* The commit is called done. */
static void published(struct world *w, struct publication *p)
{
    const Weir__CommitOutput *commit = p->msg->control->commit_output;
    struct job *job = &w->jobs[p->job];
    for (size_t i = 0; i < commit->n_committables; i++) {
        const Weir__Committable *committable = commit->committables[i];
        output_must_be_there(w, committable->job_id[0] ? &w->jobs[job_find(w, committable->job_id)] : job, committable);
    }
    p->over = true;
    sim_checkpoint(job, commit->checkpoint)->published = true;
    count(w, C_checkpoint_published);
    tm_committed(w, p->tm, commit, NULL);
}

/* Who was left behind by another that has published it may find it gone. */
static bool segment_is_there(struct world *w, struct publication *p)
{
    struct job *job = &w->jobs[p->job];
    const Weir__CommitOutput *commit = p->msg->control->commit_output;
    const Weir__Committable *committable = commit->committables[p->committables[p->publish.segment]];
    Weir__Failure failure;
    if (!sim_checkpoint(job, commit->checkpoint)->published) {
        segment_must_be_there(w, job, committable);
        return true;
    }
    if (store_has(job, committable->segments[0]->object))
        return true;
    count(w, C_kafka_log_gone);
    weir__failure__init(&failure);
    failure.kind = (char *)"CommitFailed";
    failure.message = (char *)"CHECKPOINT_CORRUPT: it is not there";
    p->handle->tm = -1;
    p->over = true;
    tm_committed(w, p->tm, commit, &failure);
    return false;
}

static void step(struct world *w, struct publication *p, bool ok)
{
    bool read = p->publish.step == WEIR_PUBLISH_READ;
    enum weir_publish_step next = weir_publish_next(&p->publish, ok);
    p->token = ++w->kafka->tokens;
    if (next == WEIR_PUBLISH_BEGIN) {
        count(w, p->publish.marker.part > 1 ? C_kafka_second_part : C_kafka_transaction);
        next = weir_publish_next(&p->publish, true);
    }
    if (next == WEIR_PUBLISH_EARLY && w->kafka->ids[p->handle->txn].job == p->job &&
        p->handle->core.marker.checkpoint < p->publish.checkpoint)
        violate(w, "torn-publication", "job %.8s: checkpoint %" PRIu64 ", and another is published in part",
                w->jobs[p->job].id, p->publish.checkpoint);
    if (next >= WEIR_PUBLISH_DONE) {
        p->handle->in_use = false;
        p->handle->kept = true;
        if (next == WEIR_PUBLISH_EARLY || !p->handle->core.knows)
            p->handle->tm = -1;
    }
    if (next == WEIR_PUBLISH_DONE) {
        if (read)
            count(w, C_kafka_resolved);
        if (++p->sink == p->sink_count)
            published(w, p);
        else
            begin_sink(w, p);
    } else if (next >= WEIR_PUBLISH_FAILED) { /* all of it is tried again */
        count(w, next == WEIR_PUBLISH_EARLY ? C_kafka_early : C_kafka_failed);
        tell(w, p, range(w, 20, 400), AGAIN, p->token);
    } else if (next == WEIR_PUBLISH_SETTLE) {
        p->deadline_ms = w->now_ms + HELD_WAIT_MS;
        tell(w, p, held_range(w, 1, 6), AGAIN, p->token);
    } else if (next == WEIR_PUBLISH_READ) {
        p->deadline_ms = w->now_ms + READ_MS;
        tell(w, p, range(w, 1, 6), AGAIN, p->token);
    } else {
        if (next != WEIR_PUBLISH_PRODUCE || segment_is_there(w, p))
            send_request(w, p);
    }
}

/* Markers, as far as its process is shown any. */
static void read_markers(struct world *w, struct publication *p)
{
    const struct log *log = &w->kafka->logs[0];
    int end = last_stable(log);
    if (w->now_ms < w->kafka->shown_until_ms && w->kafka->shown < end)
        end = w->kafka->shown;
    if (!weir_publish_reached(&p->publish, end)) {
        count(w, C_kafka_marker_hidden);
        if (w->now_ms >= p->deadline_ms)
            step(w, p, false);
        else
            tell(w, p, 20, AGAIN, p->token);
        return;
    }
    for (int i = 0; i < end; i++)
        if (log->list[i].fate == COMMITTED && log->list[i].writer == p->handle->txn)
            weir_publish_found(&p->publish, &log->list[i].marker);
    step(w, p, true);
}

/* What its holder has committed, by the markers that are shown; who says nothing for long is fenced. */
static void settle_held(struct world *w, struct publication *p)
{
    const Weir__CommitOutput *commit = p->msg->control->commit_output;
    bool open = false, late = w->now_ms >= p->deadline_ms;
    int end = last_stable(&w->kafka->logs[0]);
    if (w->now_ms < w->kafka->shown_until_ms && w->kafka->shown < end)
        end = w->kafka->shown;
    for (int64_t s = 0; s < p->segment_count; s++) {
        int id = 0;
        uint64_t epoch = 0;
        struct weir_kafka_marker last = {.checkpoint = 0};
        if (!weir_publish_asks(&p->publish, s))
            continue;
        int read = sscanf(commit->committables[p->committables[s]]->transaction, "%d:%" SCNu64, &id, &epoch);
        weir_assert(read == 2);
        for (int i = 0; i < end; i++)
            if (w->kafka->logs[0].list[i].fate == COMMITTED && w->kafka->logs[0].list[i].writer == id)
                last = w->kafka->logs[0].list[i].marker;
        if (last.checkpoint >= epoch || last.taken >= epoch) {
            bool committed = last.checkpoint >= epoch;
            count(w, committed ? C_kafka_held_left_out : C_kafka_held_from_log);
            weir_publish_settled(&p->publish, s, committed);
            continue;
        }
        open = true;
        if (late && w->kafka->ids[id].marker.taken < epoch && take_over(w, id, epoch))
            count(w, C_kafka_held_taken);
    }
    if (open && late && bad(w) && held_chance(w, 5))
        step(w, p, false);
    else if (open)
        tell(w, p, 20, AGAIN, p->token);
    else
        step(w, p, true);
}

static int sink_of(struct world *w, const struct publication *p, const Weir__Committable *committable)
{
    int job = committable->job_id[0] ? job_find(w, committable->job_id) : p->job;
    if (job != p->job)
        count(w, C_kafka_output_of_another);
    return txn_of(w, job, atoi(committable->text));
}

/* The one that is kept, which somebody may use at the moment; else a new one, that nobody else finds yet. */
static struct handle *handle_of(struct world *w, int tm, int boot, int txn)
{
    struct sim_kafka *k = w->kafka;
    for (int i = 0; i < k->handle_count; i++)
        if (k->handles[i]->tm == tm && k->handles[i]->boot == boot && k->handles[i]->txn == txn && k->handles[i]->kept)
            return k->handles[i];
    k->handles = weir_realloc(k->handles, (size_t)(k->handle_count + 1) * sizeof(struct handle *));
    struct handle *handle = k->handles[k->handle_count++] = weir_zalloc(sizeof *handle);
    *handle = (struct handle){.tm = tm, .boot = boot, .txn = txn, .epoch = -1};
    return handle;
}

static void begin_sink(struct world *w, struct publication *p)
{
    const Weir__CommitOutput *commit = p->msg->control->commit_output;
    struct handle *handle = handle_of(w, p->tm, p->boot, p->sinks[p->sink]);
    uint64_t after = 0;
    p->segment_count = 0;
    if (handle->in_use) { /* by the publication of a job that began with this one's checkpoint */
        p->publish.step = WEIR_PUBLISH_FAILED;
        p->token = ++w->kafka->tokens;
        tell(w, p, 20, AGAIN, p->token);
        return;
    }
    for (size_t i = 0; i < commit->n_committables; i++) {
        const Weir__Committable *committable = commit->committables[i];
        if (sink_of(w, p, committable) != p->sinks[p->sink])
            continue;
        weir_assert(committable->n_segments == 1 && p->segment_count < SIM_PENDING_MAX * 4);
        after = committable->job_id[0] ? committable->after : 0; /* commit_messages.c does so */
        p->committables[p->segment_count] = i;
        p->held[p->segment_count] = committable->transaction[0] ? WEIR_PUBLISH_HELD : WEIR_PUBLISH_NOT;
        p->segments[p->segment_count++] =
            (struct weir_commit_segment){committable->segments[0]->size, 1, committable->since};
    }
    p->handle = handle;
    handle->in_use = true;
    weir_publish_init(&p->publish, &p->handle->core, commit->checkpoint, after, p->segments, p->segment_count,
                      PART_SIZE);
    weir_publish_hold(&p->publish, p->held);
    step(w, p, true);
}

bool kafka_is_publishing(const struct world *w, int tm, int job)
{
    for (int i = 0; i < w->kafka->publication_count; i++) {
        const struct publication *p = w->kafka->publications[i];
        if (!p->over && p->tm == tm && p->boot == w->tms[tm].boot && p->job == job)
            return true;
    }
    return false;
}

void kafka_publish(struct world *w, int tm, int job, const Weir__Control *control)
{
    struct sim_kafka *k = w->kafka;
    const Weir__CommitOutput *commit = control->commit_output;
    struct publication *p = weir_zalloc(sizeof *p);
    k->publications = weir_realloc(k->publications, (size_t)(k->publication_count + 1) * sizeof(struct publication *));
    p->index = k->publication_count;
    k->publications[k->publication_count++] = p;
    p->tm = tm;
    p->boot = w->tms[tm].boot;
    p->job = job;
    p->msg = msg_copy(control);
    for (size_t i = 0; i < commit->n_committables; i++) {
        int txn = sink_of(w, p, p->msg->control->commit_output->committables[i]), s = 0;
        while (s < p->sink_count && p->sinks[s] != txn)
            s++;
        weir_assert(s < SINKS_MAX);
        p->sinks[s] = txn;
        p->sink_count += s == p->sink_count;
    }
    begin_sink(w, p);
}

void kafka_heard(struct world *w, int tm, int what, uint64_t token)
{
    struct publication *p = w->kafka->publications[what >> 4];
    enum result result = (enum result)(what & 15);
    (void)tm;
    if (p->over || p->token != token)
        return;
    if (result != AGAIN) {
        if (p->publish.step == WEIR_PUBLISH_END && result == DONE)
            weir_publish_end(&p->publish, w->kafka->logs[0].count);
        step(w, p, result == DONE);
    } else if (p->publish.step == WEIR_PUBLISH_SETTLE) {
        settle_held(w, p);
    } else if (p->publish.step == WEIR_PUBLISH_READ) {
        read_markers(w, p);
    } else {
        p->sink = 0;
        begin_sink(w, p);
    }
}

/* --- Others */

/* Its transactions hide what is behind them from readers of what is committed. */
static void stranger(struct world *w, bool ends)
{
    struct log *log = &w->kafka->logs[0];
    for (int i = 0; i < log->count && ends; i++)
        if (log->list[i].writer < 0 && log->list[i].fate == OPEN)
            log->list[i].fate = COMMITTED;
    append(w->kafka, 0, ends ? CONTROL : OPEN, -1);
    if (!ends)
        later(w, range(w, 5, chance(w, 5) ? 6000 : 600), STRANGER, 1, 0);
    else if (!w->healed)
        later(w, range(w, 20, 2000), STRANGER, 0, 0);
}

static void new_leader(struct world *w)
{
    struct sim_kafka *k = w->kafka;
    if (w->healed)
        return;
    k->shown = k->logs[0].count - range(w, 1, 8);
    k->shown = k->shown < 0 ? 0 : k->shown;
    k->shown_until_ms = w->now_ms + range(w, 20, 500);
    later(w, range(w, 200, 5000), LEADER, 0, 0);
}

void kafka_event(struct world *w, int what, int a, uint64_t b)
{
    struct txn_id *txn = what == TIMES_OUT ? &w->kafka->ids[a] : NULL;
    switch ((enum what)what) {
    case ARRIVES:
        arrives(w, a);
        break;
    case SETTLES:
        settle(w, a / 2, a % 2);
        break;
    case TIMES_OUT:
        if (txn->state != ONGOING || txn->number != b)
            break;
        count(w, C_kafka_timed_out);
        txn->epoch++;
        decide(w, a, ABORTING);
        break;
    case STRANGER:
        stranger(w, a == 1);
        break;
    case LEADER:
        new_leader(w);
        break;
    case HOLDER:
        holder_commits(w, a);
        break;
    }
}

bool kafka_is_at_rest(const struct world *w)
{
    for (int i = 0; i < w->kafka->id_count; i++)
        if (w->kafka->ids[i].state != EMPTY)
            return false;
    return true;
}

bool kafka_plan_job(struct world *w)
{
    return chance(w, 50);
}

bool kafka_plan_held(struct world *w)
{
    return held_chance(w, 25);
}

void kafka_plan(struct world *w)
{
    struct sim_kafka *k = w->kafka = weir_zalloc(sizeof *k);
    k->rng.state = w->seed * 13 + 5;
    k->held_rng.state = w->seed * 17 + 13;
    weir_arena_init(&k->texts);
    for (int i = 0; i < 8; i++)
        rng_next(&k->rng);
    for (int i = 0; i < SIM_SPELLS; i++) {
        k->spells[i].from_ms = range(w, 0, (int)w->fault_end_ms - 1);
        k->spells[i].to_ms = k->spells[i].from_ms + (chance(w, 60) ? range(w, 100, 9000) : 0);
    }
    k->logs = weir_zalloc(sizeof *k->logs);
    k->log_count = 1;
    later(w, range(w, 20, 2000), STRANGER, 0, 0);
    later(w, range(w, 200, 5000), LEADER, 0, 0);
}

void kafka_free(struct world *w)
{
    struct sim_kafka *k = w->kafka;
    for (int i = 0; k && i < k->publication_count; i++) {
        msg_unref(k->publications[i]->msg);
        free(k->publications[i]);
    }
    for (int i = 0; k && i < k->handle_count; i++)
        free(k->handles[i]);
    for (int i = 0; k && i < k->log_count; i++)
        free(k->logs[i].list);
    if (k) {
        free(k->publications);
        free(k->handles);
        free(k->logs);
        free(k->ids);
        free(k->requests);
        free(k->commits);
        weir_arena_fini(&k->texts);
    }
    free(k);
}
