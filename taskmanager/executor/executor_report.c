/* What the control thread tells the supervisor: executors' and tasks' reports, heartbeats with the counters of every task. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "ops/op_numbers.h"
#include "executor/control_int.h"

static void send_control(struct weir_control *c, Weir__Control *message)
{
    message->version = 1;
    (void)weir_executor_line_send(&c->line, message); /* a closed line ends the loop */
}

void weir_control_report_executor(struct weir_control *c, Weir__ExecutorReport__State state, Weir__Failure *failure)
{
    Weir__Control message;
    Weir__ExecutorReport report;
    weir__control__init(&message);
    weir__executor_report__init(&report);
    report.executor_id = (char *)(uintptr_t)(c->executor.id ? c->executor.id : "");
    report.job_id = (char *)(uintptr_t)(c->executor.job_id ? c->executor.job_id : "");
    report.state = state;
    if (c->executor.io)
        report.endpoint = (char *)(uintptr_t)weir_io_endpoint(c->executor.io);
    if (c->executor.curve) {
        report.public_key.data = c->executor.keys.public_key;
        report.public_key.len = sizeof c->executor.keys.public_key;
    }
    report.failure = failure;
    report.pid = (uint32_t)getpid();
    message.body_case = WEIR__CONTROL__BODY_EXECUTOR_REPORT;
    message.executor_report = &report;
    send_control(c, &message);
}

/* Fills `failure` with pointers into `error` and the plan. */
void weir_control_fill_failure(Weir__Failure *failure, const struct weir_error *error, const char *operator_name)
{
    static const char *const kinds[WEIR_ERR_CODES] = {
        [WEIR_ERR_CHANNEL] = "ChannelBroken",    [WEIR_ERR_DATA] = "BadRecord",
        [WEIR_ERR_USER_CODE] = "UserCodeFailed", [WEIR_ERR_IO] = "IoError",
        [WEIR_ERR_INVALID] = "InvalidInput",     [WEIR_ERR_NOT_FOUND] = "NotFound",
        [WEIR_ERR_PROTOCOL] = "ProtocolError",
    };
    weir__failure__init(failure);
    const char *kind = kinds[error->code] ? kinds[error->code] : weir_err_name(error->code);
    failure->kind = (char *)(uintptr_t)kind;
    failure->message = (char *)(uintptr_t)error->message;
    if (operator_name)
        failure->operator_ = (char *)(uintptr_t)operator_name;
    failure->fail_job = weir_err_reaction(error->code) == WEIR_REACT_FAIL_JOB;
}

struct metrics_message {
    Weir__TaskMetrics metrics;
    Weir__TaskId id;
    Weir__OperatorMetrics *ops, **op_pointers;
    struct weir_arena arena; /* of what operators have beside their counters */
};

/* The rate of what has ended is no rate. */
static void measure_bad(struct weir_op_numbers *numbers, uint64_t bad, bool ended)
{
    if (atomic_load_explicit(&numbers->values[WEIR_OP_BAD_OTHER], memory_order_relaxed) == WEIR_OP_METRIC_NONE)
        return;
    int64_t rate = weir_meter_look(&numbers->bad, weir_clock_mono_ms(), bad);
    weir_op_number_set(numbers, WEIR_OP_RECORDS_BAD_RATE, ended ? WEIR_OP_METRIC_NONE : rate);
}

static void fill_numbers(struct weir_op_numbers *numbers, Weir__OperatorMetrics *op, struct weir_arena *arena)
{
    int64_t now_ms = weir_clock_wall_ms();
    op->numbers = weir_arena_alloc(arena, WEIR_OP_METRICS * sizeof *op->numbers);
    for (int i = 0; i < WEIR_OP_METRICS; i++) {
        int64_t value = atomic_load_explicit(&numbers->values[i], memory_order_relaxed);
        if (value == WEIR_OP_METRIC_NONE)
            continue;
        if (weir_op_metric_kinds[i].is_age)
            value = value < now_ms ? now_ms - value : 0;
        Weir__OpNumber *number = op->numbers[op->n_numbers++] = weir_arena_alloc(arena, sizeof *number);
        weir__op_number__init(number);
        number->metric = (uint32_t)i;
        number->value = value;
    }
    struct weir_op_lane *lanes = NULL;
    int count = weir_op_lanes_get(numbers, &lanes);
    op->lanes = weir_arena_alloc(arena, (size_t)(count + 1) * sizeof *op->lanes);
    for (int i = 0; i < count; i++) {
        Weir__LaneMetrics *lane = op->lanes[op->n_lanes++] = weir_arena_alloc(arena, sizeof *lane);
        weir__lane_metrics__init(lane);
        lane->topic = weir_arena_strdup(arena, lanes[i].topic);
        lane->partition = lanes[i].partition;
        lane->next = lanes[i].next;
        lane->committed = lanes[i].committed;
        lane->lag = lanes[i].lag;
    }
    free(lanes);
}

static void fill_metrics(const struct weir_executor_task *task, struct metrics_message *m)
{
    const struct weir_executor *executor = task->executor;
    const struct weir_plan_vertex *vertex = &executor->plan->vertices[task->id.vertex];
    struct weir_task_stats stats;
    weir_task_read_stats(task->task, &stats);
    weir__task_metrics__init(&m->metrics);
    weir__task_id__init(&m->id);
    m->id.vertex = task->id.vertex;
    m->id.subtask = task->id.subtask;
    m->id.attempt = task->id.attempt;
    m->metrics.job_id = (char *)(uintptr_t)executor->job_id;
    m->metrics.task = &m->id;
    m->metrics.records_in = stats.records_in;
    m->metrics.records_out = stats.records_out;
    m->metrics.bytes_in = stats.bytes_in;
    m->metrics.bytes_out = stats.bytes_out;
    m->metrics.busy_ns = stats.busy_ns;
    m->metrics.idle_ns = stats.idle_ns;
    m->metrics.backpressured_ns = stats.backpressured_ns;
    m->metrics.watermark_ms = stats.watermark_ms;
    weir_arena_init(&m->arena);
    m->ops = weir_zalloc((size_t)vertex->op_count * sizeof *m->ops);
    m->op_pointers = weir_zalloc((size_t)vertex->op_count * sizeof *m->op_pointers);
    for (int i = 0; i < vertex->op_count; i++) {
        const struct weir_op_counters *counters = weir_chain_counters(weir_task_chain(task->task), i);
        Weir__OperatorMetrics *op = m->op_pointers[i] = &m->ops[i];
        weir__operator_metrics__init(op);
        op->op = (uint32_t)vertex->ops[i];
        op->records_in = atomic_load_explicit(&counters->records_in, memory_order_relaxed);
        op->records_out = atomic_load_explicit(&counters->records_out, memory_order_relaxed);
        op->records_bad = atomic_load_explicit(&counters->records_bad, memory_order_relaxed);
        op->late_dropped = atomic_load_explicit(&counters->late_dropped, memory_order_relaxed);
        op->watermark_in_ms = atomic_load_explicit(&counters->watermark_in_ms, memory_order_relaxed);
        op->watermark_out_ms = atomic_load_explicit(&counters->watermark_out_ms, memory_order_relaxed);
        struct weir_op_numbers *numbers = weir_chain_numbers(weir_task_chain(task->task), i);
        measure_bad(numbers, op->records_bad, task->ended);
        fill_numbers(numbers, op, &m->arena);
    }
    m->metrics.n_operators = (size_t)vertex->op_count;
    m->metrics.operators = m->op_pointers;
}

static void free_metrics(struct metrics_message *m)
{
    if (m->ops)
        weir_arena_fini(&m->arena);
    free(m->ops);
    free(m->op_pointers);
}

struct weir_executor_task *weir_control_find_task(const struct weir_control *c, const struct weir_exec_task_id *id)
{
    for (struct weir_executor_task *task = c->executor.tasks; task; task = task->next)
        if (task->id.vertex == id->vertex && task->id.subtask == id->subtask && task->id.attempt == id->attempt)
            return task;
    return NULL;
}

/* `event`: of a task that has just ended; NULL: without details. */
void weir_control_report_task(struct weir_control *c, const struct weir_exec_task_id *id, enum weir_exec_state state,
                              const struct weir_task_event *event)
{
    Weir__Control message;
    Weir__TaskReport report;
    Weir__TaskId task_id;
    Weir__Failure failure;
    struct metrics_message metrics = {.ops = NULL};
    Weir__Committable *committables = NULL, **pointers = NULL;
    weir__control__init(&message);
    weir__task_report__init(&report);
    weir__task_id__init(&task_id);
    task_id.vertex = id->vertex;
    task_id.subtask = id->subtask;
    task_id.attempt = id->attempt;
    report.executor_id = (char *)(uintptr_t)c->executor.id;
    report.job_id = (char *)(uintptr_t)c->executor.job_id;
    report.task = &task_id;
    report.state = (Weir__TaskState)state;
    const struct weir_executor_task *task = weir_control_find_task(c, id);
    const struct weir_plan_vertex *vertex = &c->executor.plan->vertices[id->vertex];
    if (event && state == WEIR_EXEC_FAILED) {
        weir_control_fill_failure(&failure, &event->error,
                                  event->op >= 0 ? c->executor.plan->ops[vertex->ops[event->op]].vertex->name : NULL);
        report.failure = &failure;
        if (event->kind)
            failure.kind = (char *)(uintptr_t)event->kind;
        else if (strstr(event->error.message,
                        "CHECKPOINT_CORRUPT: ")) /* an operator found it, when it took its state */
            failure.kind = (char *)(uintptr_t) "CHECKPOINT_CORRUPT";
        if (strcmp(failure.kind, "CHECKPOINT_CORRUPT") == 0) {
            failure.fail_job = true; /* another attempt would find the same */
            failure.checkpoint = task ? task->restored_checkpoint : 0;
        }
    }
    struct weir_snapshot_message last = {.parts = NULL};
    if (event && event->last && state == WEIR_EXEC_FINISHED) {
        weir_snapshot_message_init(&last, event->last);
        report.snapshot = &last.snapshot;
    }
    if (task && task->task && task->ended) {
        fill_metrics(task, &metrics);
        report.metrics = &metrics.metrics;
        const struct weir_chain_committable *list;
        int count = state == WEIR_EXEC_FINISHED ? weir_chain_committables(weir_task_chain(task->task), &list) : 0;
        committables = weir_zalloc((size_t)(count + 1) * sizeof *committables);
        pointers = weir_zalloc((size_t)(count + 1) * sizeof(Weir__Committable *));
        for (int i = 0; i < count; i++) {
            weir__committable__init(&committables[i]);
            committables[i].connector = list[i].connector;
            committables[i].text = list[i].text;
            pointers[i] = &committables[i];
        }
        report.n_committables = (size_t)count;
        report.committables = pointers;
    }
    message.body_case = WEIR__CONTROL__BODY_TASK_REPORT;
    message.task_report = &report;
    send_control(c, &message);
    weir_snapshot_message_fini(&last);
    free_metrics(&metrics);
    free(committables);
    free(pointers);
}

void weir_control_report_checkpoint(struct weir_control *c, const struct weir_exec_task_id *id, uint64_t checkpoint,
                                    const struct weir_executor_write *write, const struct weir_error *error)
{
    Weir__Control message;
    Weir__CheckpointReport report;
    Weir__TaskId task_id;
    Weir__Failure failure;
    struct weir_snapshot_message snapshot = {.parts = NULL};
    weir__control__init(&message);
    weir__checkpoint_report__init(&report);
    weir__task_id__init(&task_id);
    task_id.vertex = id->vertex;
    task_id.subtask = id->subtask;
    task_id.attempt = id->attempt;
    report.executor_id = (char *)(uintptr_t)c->executor.id;
    report.job_id = (char *)(uintptr_t)c->executor.job_id;
    report.task = &task_id;
    report.checkpoint = checkpoint;
    if (error) {
        weir_control_fill_failure(&failure, error, NULL);
        report.failure = &failure;
    } else {
        weir_snapshot_message_init(&snapshot, write);
        report.snapshot = &snapshot.snapshot;
        report.alignment_ms = snapshot.alignment_ms;
        report.persisted_bytes = snapshot.persisted_bytes;
        report.processed_bytes = snapshot.processed_bytes;
        report.sync_ms = snapshot.sync_ms;
        report.async_ms = snapshot.async_ms;
        report.unaligned = snapshot.unaligned;
    }
    message.body_case = WEIR__CONTROL__BODY_CHECKPOINT_REPORT;
    message.checkpoint_report = &report;
    (void)weir_fault("executor.report-send");
    send_control(c, &message);
    (void)weir_fault("executor.report-sent");
    weir_snapshot_message_fini(&snapshot);
}

static void fill_process(Weir__ProcessMetrics *process)
{
    weir__process_metrics__init(process);
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long long pages = 0;
    if (file && fscanf(file, "%*u %llu", &pages) == 1)
        process->rss_bytes = pages * (unsigned long long)sysconf(_SC_PAGESIZE);
    if (file)
        fclose(file);
    process->cpu_ns = (uint64_t)weir_clock_cpu_ns();
}

void weir_control_heartbeat(struct weir_control *c)
{
    Weir__Control message;
    Weir__Heartbeat heartbeat;
    Weir__ProcessMetrics process;
    weir__control__init(&message);
    weir__heartbeat__init(&heartbeat);
    fill_process(&process);
    int count = 0;
    for (struct weir_executor_task *task = c->executor.tasks; task; task = task->next)
        count += task->task && !task->ended;
    process.threads = (uint32_t)(c->executor.worker_count + 4);
    process.executor_rss_bytes = process.rss_bytes;
    struct metrics_message *metrics = weir_zalloc((size_t)(count + 1) * sizeof *metrics);
    Weir__TaskMetrics **pointers = weir_zalloc((size_t)(count + 1) * sizeof(Weir__TaskMetrics *));
    int n = 0;
    for (struct weir_executor_task *task = c->executor.tasks; task; task = task->next)
        if (task->task && !task->ended) {
            fill_metrics(task, &metrics[n]);
            pointers[n] = &metrics[n].metrics;
            n++;
        }
    heartbeat.sequence = ++c->heartbeat_sequence;
    heartbeat.n_metrics = (size_t)n;
    heartbeat.metrics = pointers;
    heartbeat.process = &process;
    message.body_case = WEIR__CONTROL__BODY_HEARTBEAT;
    message.heartbeat = &heartbeat;
    send_control(c, &message);
    for (int i = 0; i < n; i++)
        free_metrics(&metrics[i]);
    free(metrics);
    free(pointers);
}

void weir_control_report_alignment(struct weir_control *c)
{
    struct weir_alignment_group *groups;
    int count = weir_alignment_groups(c->executor.alignment, &groups);
    Weir__AlignmentGroup *list = weir_zalloc((size_t)(count + 1) * sizeof *list);
    Weir__AlignmentGroup **pointers = weir_zalloc((size_t)(count + 1) * sizeof(Weir__AlignmentGroup *));
    Weir__Control message;
    Weir__Alignment alignment;
    weir__control__init(&message);
    weir__alignment__init(&alignment);
    for (int i = 0; i < count; i++) {
        weir__alignment_group__init(&list[i]);
        list[i].name = (char *)(uintptr_t)groups[i].name;
        list[i].members = groups[i].members;
        list[i].watermark_ms = groups[i].watermark_ms;
        pointers[i] = &list[i];
    }
    alignment.executor_id = (char *)(uintptr_t)c->executor.id;
    alignment.job_id = (char *)(uintptr_t)c->executor.job_id;
    alignment.groups = pointers;
    alignment.n_groups = (size_t)count;
    message.body_case = WEIR__CONTROL__BODY_ALIGNMENT;
    message.alignment = &alignment;
    if (count > 0)
        send_control(c, &message);
    free(list);
    free(pointers);
    free(groups);
}
