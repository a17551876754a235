/* The executor's control thread: the line to the supervisor, the core's decisions performed (executor_report.c has what it
 * tells the supervisor).
 *
 * One thread owns everything here. Workers tell it about their tasks through a queue and its waker; the I/O thread tells
 * tasks (their channels break), never this thread.
 */
#include "executor/executor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/zone.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/options.h"
#include "executor/crash.h"
#include "executor/control_int.h"

#define METRICS_MS 1000
#define HANG_MS 10000 /* a call that runs so long is logged with its stack */
#define POLL_MS 1000
#define RESCALE_ALIGNED_NS 100000000 /* a barrier before a rescaling waits for its turn so long */
#define SETTLE_MS 1500               /* for what operators have left to be done when they were closed */
#define STOP_WAIT_MS 2000            /* for user code to return, before a process ends without it */
#define WORKERS_MAX 256
#define FAILURE_STACK_SIZE 16384
#define DEFAULT_BUFFER_TIMEOUT_MS 5
#define DEFAULT_CANCEL_TIMEOUT_MS 180000
#define DEFAULT_STATE_MEMORY ((int64_t)512 << 20)
#define OPERATOR_STATE_MIN ((int64_t)1 << 20)

static struct weir_control *control_of(struct weir_executor *executor)
{
    return (struct weir_control *)(void *)executor;
}

/* --- Tasks */

static void put_event(struct weir_control *c, struct weir_task_event *event)
{
    pthread_mutex_lock(&c->lock);
    if (c->last_event)
        c->last_event->next = event;
    else
        c->first_event = event;
    c->last_event = event;
    pthread_mutex_unlock(&c->lock);
    weir_wake(&c->waker);
}

/* On a worker's thread. */
static void on_snapshot(void *arg, struct weir_snapshot *take_snapshot)
{
    struct weir_executor_task *task = arg;
    struct weir_task_event *event = weir_zalloc(sizeof *event);
    event->task = task;
    (void)weir_fault("executor.snapshot-captured");
    event->state = WEIR_TASK_RUNNING;
    event->snapshot = take_snapshot;
    put_event(control_of(task->executor), event);
}

/* On a worker's thread. */
static void on_state(void *arg, struct weir_task *weir_task, enum weir_task_state state, const struct weir_error *error,
                     int op)
{
    struct weir_executor_task *task = arg;
    struct weir_task_event *event = weir_zalloc(sizeof *event);
    event->task = task;
    event->state = state;
    event->op = op;
    if (error)
        event->error = *error;
    if (state == WEIR_TASK_FINISHED)
        event->snapshot = weir_task_take_last_snapshot(weir_task);
    put_event(control_of(task->executor), event);
}

static void let_go(struct weir_control *c, struct weir_executor_task *task, bool finished)
{
    task->ended = true;
    weir_executor_drop_locals(&c->executor, task);
    for (int i = 0; i < task->channel_count; i++)
        weir_io_remove(c->executor.io, task->channels[i], finished);
    free(task->channels);
    task->channels = NULL;
    task->channel_count = 0;
}

static void free_task(struct weir_control *c, struct weir_executor_task *task)
{
    for (struct weir_executor_task **at = &c->executor.tasks; *at; at = &(*at)->next)
        if (*at == task) {
            *at = task->next;
            break;
        }
    weir_control_drop_writes(c, task);
    weir_executor_fetch_free(task->fetch);
    weir_restored_free(task->restored);
    weir_task_free(task->task);
    free(task->name);
    free(task->object_name);
    free(task->channels);
    free(task);
}

static void step(struct weir_control *c, struct weir_exec_event *event, const struct weir_task_event *details);

/* --- Deployments: what an attempt needs when it starts, which may be when an older one has ended */

static struct weir_executor_deployment *find_deployment(const struct weir_control *c,
                                                        const struct weir_exec_task_id *id)
{
    struct weir_executor_deployment *deployment = c->deployments;
    while (deployment && (deployment->id.vertex != id->vertex || deployment->id.subtask != id->subtask))
        deployment = deployment->next;
    return deployment;
}

static void keep_deployment(struct weir_control *c, const struct weir_exec_task_id *id, uint32_t slot,
                            const Weir__TaskRestore *restore)
{
    struct weir_executor_deployment *deployment = find_deployment(c, id);
    if (!deployment) {
        deployment = weir_zalloc(sizeof *deployment);
        deployment->next = c->deployments;
        c->deployments = deployment;
    } else if (deployment->id.attempt >= id->attempt) {
        return;
    }
    weir__task_restore__free_unpacked(deployment->restore, NULL);
    deployment->id = *id;
    deployment->slot = slot;
    deployment->restore = restore ? weir_executor_restore_copy(restore) : NULL;
}

/* Of the attempt that starts now. Its number stays, so that a repeated command is not kept again. */
static Weir__TaskRestore *take_restore(struct weir_control *c, const struct weir_exec_task_id *id, uint32_t *slot)
{
    struct weir_executor_deployment *deployment = find_deployment(c, id);
    weir_assert(deployment && deployment->id.attempt == id->attempt);
    *slot = deployment->slot;
    Weir__TaskRestore *restore = deployment->restore;
    deployment->restore = NULL;
    return restore;
}

static void free_deployments(struct weir_control *c)
{
    for (struct weir_executor_deployment *deployment = c->deployments, *next; deployment; deployment = next) {
        next = deployment->next;
        weir__task_restore__free_unpacked(deployment->restore, NULL);
        free(deployment);
    }
}

/* Slots are the TaskManager's numbers: the worker is the slot's place among those of this executor. */
static struct weir_worker *worker_of(const struct weir_control *c, uint32_t slot)
{
    const Weir__StartExecutor *start = c->executor.start->start;
    uint32_t place = slot;
    for (size_t i = 0; i < start->n_slots; i++)
        if (start->slots[i] == slot)
            place = (uint32_t)i;
    return c->executor.workers[place % (uint32_t)c->executor.worker_count];
}

/* One that no worker has (any more) is over. */
static void end_unstarted(struct weir_control *c, struct weir_executor_task *task, enum weir_exec_state state,
                          const struct weir_task_event *details)
{
    let_go(c, task, false);
    struct weir_exec_event event = {
        .kind = WEIR_EXEC_EVENT_TASK_ENDED, .now_ms = weir_clock_mono_ms(), .task = task->id, .state = state};
    step(c, &event, details);
    free_task(c, task);
}

static void build_task(struct weir_control *c, struct weir_executor_task *task)
{
    struct weir_error error;
    if (weir_executor_build_task(&c->executor, task, on_state, on_snapshot, &error) == WEIR_OK) {
        if (task->restored)
            weir_log(INFO,
                     "starting %s from checkpoint %" PRIu64 ": %" PRId64 " bytes of local copies, %" PRId64
                     " from the checkpoint storage",
                     task->name, task->restored->checkpoint, task->restored->local_bytes, task->restored->store_bytes);
        else
            weir_log(INFO, "starting %s", task->name);
        weir_worker_add(task->worker, task->task);
        return;
    }
    weir_log(ERROR, "cannot start %s: %s", task->name, error.message);
    struct weir_task_event details = {.task = task, .state = WEIR_TASK_FAILED, .error = error, .op = -1};
    end_unstarted(c, task, WEIR_EXEC_FAILED, &details);
}

static void start_task(struct weir_control *c, const struct weir_exec_task_id *id)
{
    uint32_t slot;
    Weir__TaskRestore *restore = take_restore(c, id, &slot);
    struct weir_executor_task *task = weir_zalloc(sizeof *task);
    task->executor = &c->executor;
    task->id = *id;
    task->worker = worker_of(c, slot);
    task->next = c->executor.tasks;
    c->executor.tasks = task;
    task->restored_checkpoint = restore ? restore->checkpoint : 0;
    if (restore)
        weir_control_fetch(c, task, restore);
    else
        build_task(c, task);
}

/* Tasks whose parts have come are built; those whose have not fail. */
static void take_fetched(struct weir_control *c)
{
    struct weir_task_event details = {.state = WEIR_TASK_FAILED, .op = -1};
    weir_err err;
    for (struct weir_executor_task *task;
         !c->exiting && (task = weir_control_fetched(c, &err, &details.kind, &details.error));) {
        if (!err) {
            build_task(c, task);
            continue;
        }
        weir_log(ERROR, "cannot start attempt %u of subtask %u: %s", task->id.attempt, task->id.subtask,
                 details.error.message);
        details.task = task;
        end_unstarted(c, task, WEIR_EXEC_FAILED, &details);
    }
}

static void cancel_task(struct weir_control *c, const struct weir_exec_task_id *id)
{
    struct weir_executor_task *task = weir_control_find_task(c, id);
    weir_assert(task != NULL);
    if (!task->task) { /* it is still being fetched */
        struct weir_task_event details = {.task = task, .state = WEIR_TASK_CANCELED, .op = -1};
        end_unstarted(c, task, WEIR_EXEC_CANCELED, &details);
        return;
    }
    weir_task_cancel(task->task);
    weir_worker_wake(task->worker);
}

/* --- Checkpoints */

static void trigger_task(struct weir_control *c, const struct weir_exec_task_id *id,
                         const Weir__TriggerCheckpoint *message)
{
    struct weir_executor_task *task = weir_control_find_task(c, id);
    weir_assert(task && task->task);
    struct weir_barrier barrier = {
        .checkpoint = message->checkpoint, .complete = message->complete, .flags = message->flags};
    if (c->executor.at_least_once) {
        barrier.flags &= ~(uint32_t)(WEIR_BARRIER_OVERTAKES | WEIR_BARRIER_IN_ORDER);
    } else if (message->flags & WEIR_BARRIER_OVERTAKES) {
        barrier.due_ns = weir_clock_mono_ns() + RESCALE_ALIGNED_NS;
    } else if (c->executor.unaligned && message->flags == 0) { /* savepoints and ends keep their place */
        barrier.flags |= WEIR_BARRIER_OVERTAKES;
        barrier.due_ns = weir_clock_mono_ns() + c->executor.aligned_timeout_ns;
    }
    if (weir_task_trigger(task->task, &barrier)) {
        weir_worker_wake(task->worker);
        return;
    }
    struct weir_error error;
    (void)weir_fail(&error, WEIR_ERR_FULL, "%s has not come to the %d checkpoints before this one", task->name,
                    WEIR_TASK_BARRIERS_MAX);
    weir_control_report_checkpoint(c, id, message->checkpoint, NULL, &error);
}

static void complete_task(struct weir_control *c, const struct weir_exec_task_id *id, uint64_t checkpoint)
{
    struct weir_executor_task *task = weir_control_find_task(c, id);
    weir_assert(task && task->task);
    weir_task_complete(task->task, checkpoint);
    weir_worker_wake(task->worker);
}

static void begin_exit(struct weir_control *c, enum weir_exec_exit exit)
{
    static const struct {
        int code;
        const char *why;
    } exits[] = {
        [WEIR_EXEC_EXIT_STOP] = {0, "asked to stop"},
        [WEIR_EXEC_EXIT_LINE_CLOSED] = {0, "the supervisor closed the control line"},
        [WEIR_EXEC_EXIT_LEASE] = {2, "the lease of the JobManager has ended"},
        [WEIR_EXEC_EXIT_CANCEL_TIMEOUT] = {3, "a task did not react to its cancellation (task.cancellation.timeout)"},
    };
    c->exiting = true;
    c->exit_code = exits[exit].code;
    c->exit_why = exits[exit].why;
}

/* What the effects of a step are about; what does not apply is NULL. */
struct details {
    const struct weir_task_event *event;
    const Weir__TriggerCheckpoint *trigger;
    const struct weir_executor_write *write;
    const struct weir_error *write_error;
};

/* Performs what the core decided. */
static void perform(struct weir_control *c, const struct weir_exec_effect *effect, const struct details *about)
{
    const struct weir_task_event *details = about->event;
    switch (effect->kind) {
    case WEIR_EXEC_EFFECT_START:
        start_task(c, &effect->task);
        break;
    case WEIR_EXEC_EFFECT_CANCEL:
        cancel_task(c, &effect->task);
        break;
    case WEIR_EXEC_EFFECT_TRIGGER:
        trigger_task(c, &effect->task, about->trigger);
        break;
    case WEIR_EXEC_EFFECT_COMPLETE:
        complete_task(c, &effect->task, effect->checkpoint);
        break;
    case WEIR_EXEC_EFFECT_REPORT_CHECKPOINT:
        weir_control_report_checkpoint(c, &effect->task, effect->checkpoint, about->write, about->write_error);
        break;
    case WEIR_EXEC_EFFECT_REPORT: {
        bool of_details = details && details->task->id.vertex == effect->task.vertex &&
                          details->task->id.subtask == effect->task.subtask &&
                          details->task->id.attempt == effect->task.attempt;
        weir_control_report_task(c, &effect->task, effect->state, of_details ? details : NULL);
        break;
    }
    case WEIR_EXEC_EFFECT_EXIT:
        begin_exit(c, effect->exit);
        break;
    }
}

static void step_about(struct weir_control *c, struct weir_exec_event *event, const struct details *about)
{
    struct weir_exec_effects effects;
    weir_exec_step(c->core, event, &effects);
    c->core_wake_ms = effects.wake_at_ms;
    struct weir_exec_effect copies[8]; /* performing may step again */
    int count = effects.count;
    weir_assert(count <= 8);
    memcpy(copies, effects.items, (size_t)count * sizeof *copies);
    for (int i = 0; i < count && !c->exiting; i++)
        perform(c, &copies[i], about);
}

static void step(struct weir_control *c, struct weir_exec_event *event, const struct weir_task_event *details)
{
    step_about(c, event, &(struct details){.event = details});
}

static void end_task(struct weir_control *c, struct weir_task_event *take_event)
{
    struct weir_executor_task *task = take_event->task;
    (void)weir_fault("executor.task-ended");
    struct weir_exec_event core_event = {
        .kind = WEIR_EXEC_EVENT_TASK_ENDED, .now_ms = weir_clock_mono_ms(), .task = task->id};
    core_event.state = take_event->state == WEIR_TASK_FINISHED ? WEIR_EXEC_FINISHED
                       : take_event->state == WEIR_TASK_FAILED ? WEIR_EXEC_FAILED
                                                               : WEIR_EXEC_CANCELED;
    let_go(c, task, take_event->state == WEIR_TASK_FINISHED);
    if (take_event->state == WEIR_TASK_FAILED)
        weir_log(WARN, "%s failed: %s", task->name, take_event->error.message);
    step(c, &core_event, take_event);
    free_task(c, task);
    weir_snapshot_free(take_event->snapshot);
    free(take_event);
}

/* Parts that are in the store are reported; a FINISHED task is so only now. */
static void take_written(struct weir_control *c)
{
    weir_err err;
    struct weir_error error;
    for (struct weir_executor_write *write; !c->exiting && (write = weir_control_written(c, &err, &error));) {
        struct weir_executor_task *task = weir_executor_write_task(write);
        struct weir_task_event *event = weir_executor_write_take_event(write);
        if (err)
            weir_log(WARN, "%s: a snapshot could not be stored: %s", task->name, error.message);
        if (event) {
            event->last = write;
            if (err) {
                event->state = WEIR_TASK_FAILED;
                event->error = error;
            }
            end_task(c, event);
        } else {
            struct weir_exec_event core_event = {.kind = WEIR_EXEC_EVENT_STORED,
                                                 .now_ms = weir_clock_mono_ms(),
                                                 .task = task->id,
                                                 .checkpoint = weir_executor_write_checkpoint(write)};
            struct details about = {.write = err ? NULL : write, .write_error = err ? &error : NULL};
            step_about(c, &core_event, &about);
        }
        weir_executor_write_free(write);
    }
}

static void take_event(struct weir_control *c, struct weir_task_event *take_event)
{
    struct weir_executor_task *task = take_event->task;
    struct weir_snapshot *snapshot = take_event->snapshot;
    take_event->snapshot = NULL;
    if (take_event->state != WEIR_TASK_RUNNING) {
        if (snapshot)
            weir_control_write(c, task, snapshot, take_event);
        else
            end_task(c, take_event);
        return;
    }
    if (snapshot) {
        weir_control_write(c, task, snapshot, NULL);
    } else {
        weir_restored_free(task->restored);
        task->restored = NULL;
        (void)weir_fault("executor.task-running");
        struct weir_exec_event core_event = {
            .kind = WEIR_EXEC_EVENT_TASK_RUNNING, .now_ms = weir_clock_mono_ms(), .task = task->id};
        step(c, &core_event, take_event);
    }
    free(take_event);
}

static void take_events(struct weir_control *c)
{
    pthread_mutex_lock(&c->lock);
    struct weir_task_event *event = c->first_event;
    c->first_event = c->last_event = NULL;
    pthread_mutex_unlock(&c->lock);
    while (event) {
        struct weir_task_event *next = event->next;
        take_event(c, event);
        event = next;
    }
    take_written(c);
    take_fetched(c);
}

/* --- Messages in */

static bool is_task(const struct weir_control *c, const Weir__TaskId *id)
{
    return id && id->attempt > 0 && id->vertex < (uint32_t)c->executor.plan->vertex_count &&
           id->subtask < (uint32_t)c->executor.plan->vertices[id->vertex].parallelism;
}

static void set_location(struct weir_control *c, const Weir__DeployTasks *deploy, const Weir__TaskLocation *location)
{
    if (!is_task(c, location->task) || location->peer >= deploy->n_peers)
        return;
    const Weir__TaskId *id = location->task;
    struct weir_executor_location *at =
        &c->executor.locations[(uint32_t)c->executor.plan->vertices[id->vertex].first_task + id->subtask];
    if (id->attempt < at->attempt)
        return;
    const Weir__Peer *peer = deploy->peers[location->peer];
    free(at->executor_id);
    free(at->endpoint);
    at->executor_id = at->endpoint = NULL;
    at->has_key = peer->public_key.len == sizeof at->key;
    if (at->has_key)
        memcpy(at->key, peer->public_key.data, sizeof at->key);
    at->attempt = id->attempt;
    if (strcmp(peer->executor_id, c->executor.id) == 0)
        return;
    at->executor_id = weir_strdup(peer->executor_id);
    at->endpoint = weir_strdup(peer->endpoint);
}

static const Weir__TaskRestore *restore_of(const Weir__DeployTasks *message, size_t task)
{
    for (size_t i = 0; i < message->n_restores; i++)
        if (message->restores[i]->task == task)
            return message->restores[i];
    return NULL;
}

static void deploy(struct weir_control *c, const Weir__DeployTasks *message)
{
    for (size_t i = 0; i < message->n_locations; i++)
        set_location(c, message, message->locations[i]);
    for (size_t i = 0; i < message->n_tasks && !c->exiting; i++) {
        const Weir__TaskId *id = message->tasks[i];
        if (!is_task(c, id)) {
            weir_log(ERROR, "told to deploy a task that is not in the plan: ignored");
            continue;
        }
        struct weir_exec_event event = {.kind = WEIR_EXEC_EVENT_DEPLOY,
                                        .now_ms = weir_clock_mono_ms(),
                                        .task = {id->vertex, id->subtask, id->attempt}};
        keep_deployment(c, &event.task, i < message->n_slots ? message->slots[i] : id->subtask, restore_of(message, i));
        step(c, &event, NULL);
    }
}

static void cancel(struct weir_control *c, const Weir__CancelTasks *message)
{
    for (size_t i = 0; i < message->n_tasks && !c->exiting; i++) {
        const Weir__TaskId *id = message->tasks[i];
        if (!is_task(c, id))
            continue;
        struct weir_exec_event event = {.kind = WEIR_EXEC_EVENT_CANCEL,
                                        .now_ms = weir_clock_mono_ms(),
                                        .task = {id->vertex, id->subtask, id->attempt}};
        step(c, &event, NULL);
    }
}

static void trigger(struct weir_control *c, const Weir__TriggerCheckpoint *message)
{
    for (size_t i = 0; i < message->n_tasks && !c->exiting; i++) {
        const Weir__TaskId *id = message->tasks[i];
        if (!is_task(c, id))
            continue;
        struct weir_exec_event event = {.kind = WEIR_EXEC_EVENT_TRIGGER,
                                        .now_ms = weir_clock_mono_ms(),
                                        .task = {id->vertex, id->subtask, id->attempt},
                                        .checkpoint = message->checkpoint};
        step_about(c, &event, &(struct details){.trigger = message});
    }
}

static void complete(struct weir_control *c, const Weir__CheckpointComplete *message)
{
    for (size_t i = 0; i < message->n_tasks && !c->exiting; i++) {
        const Weir__TaskId *id = message->tasks[i];
        if (!is_task(c, id))
            continue;
        struct weir_exec_event event = {.kind = WEIR_EXEC_EVENT_COMPLETE,
                                        .now_ms = weir_clock_mono_ms(),
                                        .task = {id->vertex, id->subtask, id->attempt},
                                        .checkpoint = message->checkpoint};
        step(c, &event, NULL);
    }
}

static void take_message(struct weir_control *c, const Weir__Control *message)
{
    struct weir_exec_event event = {.now_ms = weir_clock_mono_ms()};
    switch (message->body_case) {
    case WEIR__CONTROL__BODY_DEPLOY_TASKS:
        (void)weir_fault("executor.deploy-received");
        deploy(c, message->deploy_tasks);
        break;
    case WEIR__CONTROL__BODY_CANCEL_TASKS:
        cancel(c, message->cancel_tasks);
        break;
    case WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT:
        (void)weir_fault("executor.trigger-received");
        trigger(c, message->trigger_checkpoint);
        break;
    case WEIR__CONTROL__BODY_CHECKPOINT_COMPLETE:
        (void)weir_fault("executor.complete-received");
        complete(c, message->checkpoint_complete);
        break;
    case WEIR__CONTROL__BODY_STOP_EXECUTOR:
        event.kind = WEIR_EXEC_EVENT_STOP;
        step(c, &event, NULL);
        break;
    case WEIR__CONTROL__BODY_LEASE:
        event.kind = WEIR_EXEC_EVENT_LEASE;
        event.until_ms =
            message->lease->valid_until_ms ? message->lease->valid_until_ms : event.now_ms + message->lease->valid_ms;
        step(c, &event, NULL);
        break;
    case WEIR__CONTROL__BODY_ALIGNMENT:
        for (size_t i = 0; i < message->alignment->n_groups; i++)
            weir_alignment_others(c->executor.alignment, message->alignment->groups[i]->name,
                                  message->alignment->groups[i]->watermark_ms);
        break;
    default:
        weir_log(WARN, "a control message of kind %d is not for an executor: ignored", (int)message->body_case);
        break;
    }
}

static void take_messages(struct weir_control *c)
{
    bool broken = false;
    Weir__Control *message;
    while (!c->exiting && (message = weir_executor_line_next(&c->line, &broken))) {
        take_message(c, message);
        weir__control__free_unpacked(message, NULL);
    }
    if (broken)
        weir_log(ERROR, "the control line carries something that is no Control");
    if ((broken || c->line.fd < 0) && !c->exiting) {
        struct weir_exec_event event = {.kind = WEIR_EXEC_EVENT_LINE_CLOSED, .now_ms = weir_clock_mono_ms()};
        step(c, &event, NULL);
    }
}

/* --- Hangs */

static void look_for_hangs(struct weir_control *c)
{
    int64_t now_ns = weir_clock_mono_ns();
    for (int i = 0; i < c->executor.worker_count; i++) {
        int64_t since_ns = weir_worker_call_started_ns(c->executor.workers[i]);
        if (since_ns == 0 || now_ns - since_ns < HANG_MS * (int64_t)1000000 || c->hang_logged_ns[i] == since_ns)
            continue;
        c->hang_logged_ns[i] = since_ns;
        char stack[FAILURE_STACK_SIZE] = "";
        if (c->executor.own_process)
            (void)weir_crash_stack_of(weir_worker_thread(c->executor.workers[i]), stack, sizeof stack);
        weir_log(WARN, "worker %d is in one call for %" PRId64 " s: does user code block or loop?\n%s", i,
                 (now_ns - since_ns) / 1000000000, stack);
    }
}

/* --- Alignment of sources */

static void alignment_changed(void *arg)
{
    struct weir_control *c = arg;
    atomic_store(&c->align_now, 1);
    weir_wake(&c->waker);
}

static void exchange_alignment(struct weir_control *c, int64_t now_ms)
{
    if (!atomic_exchange(&c->align_now, 0) && now_ms < c->align_at_ms)
        return;
    int64_t interval_ms = weir_alignment_interval_ms(c->executor.alignment);
    c->align_at_ms = interval_ms == INT64_MAX ? INT64_MAX : now_ms + interval_ms;
    weir_control_report_alignment(c);
}

/* --- The loop */

static void wait_for_something(struct weir_control *c)
{
    int64_t now_ms = weir_clock_mono_ms();
    int64_t due_ms = c->metrics_at_ms < c->core_wake_ms ? c->metrics_at_ms : c->core_wake_ms;
    due_ms = c->align_at_ms < due_ms ? c->align_at_ms : due_ms;
    int64_t wait_ms = due_ms - now_ms < 0 ? 0 : due_ms - now_ms > POLL_MS ? POLL_MS : due_ms - now_ms;
    struct pollfd fds[2] = {
        {.fd = c->line.fd, .events = (short)(POLLIN | (weir_executor_line_wants_write(&c->line) ? POLLOUT : 0))},
        {.fd = c->waker.fd, .events = POLLIN},
    };
    if (!weir_waker_sleep(&c->waker))
        wait_ms = 0;
    poll(fds, 2, (int)wait_ms);
    weir_waker_end(&c->waker);
    if (fds[0].revents & POLLOUT)
        (void)weir_executor_line_flush(&c->line);
    if (fds[0].revents & (POLLIN | POLLHUP | POLLERR))
        (void)weir_executor_line_fill(&c->line);
}

static void loop(struct weir_control *c)
{
    c->metrics_at_ms = weir_clock_mono_ms() + METRICS_MS;
    c->align_at_ms = INT64_MAX; /* until a source is aligned */
    while (!c->exiting) {
        weir_waker_begin(&c->waker);
        take_messages(c);
        take_events(c);
        int64_t now_ms = weir_clock_mono_ms();
        if (now_ms >= c->core_wake_ms) {
            struct weir_exec_event tick = {.kind = WEIR_EXEC_EVENT_TICK, .now_ms = now_ms};
            step(c, &tick, NULL);
        }
        if (now_ms >= c->metrics_at_ms && !c->exiting) {
            c->metrics_at_ms = now_ms + METRICS_MS;
            weir_control_heartbeat(c);
            look_for_hangs(c);
        }
        if (!c->exiting)
            exchange_alignment(c, now_ms);
        if (!c->exiting)
            wait_for_something(c);
    }
}

/* --- Start */

static Weir__Control *read_start(struct weir_control *c)
{
    for (;;) {
        bool broken;
        Weir__Control *message = weir_executor_line_next(&c->line, &broken);
        if (message && message->body_case == WEIR__CONTROL__BODY_EXECUTOR_START && message->executor_start->start)
            return message;
        if (message) {
            bool stop = message->body_case == WEIR__CONTROL__BODY_STOP_EXECUTOR;
            weir__control__free_unpacked(message, NULL);
            if (stop)
                return NULL;
            continue;
        }
        if (broken || c->line.fd < 0)
            return NULL;
        struct pollfd fd = {.fd = c->line.fd, .events = POLLIN};
        poll(&fd, 1, -1);
        if (!weir_executor_line_fill(&c->line) && c->line.in.size < 4)
            return NULL;
    }
}

/* The job's effective configuration: the first that is given counts. */
static const char *setting(const struct weir_control *c, const char *key)
{
    const Weir__StartExecutor *start = c->executor.start->start;
    for (size_t i = 0; i < start->n_configuration; i++)
        if (strcmp(start->configuration[i]->key, key) == 0)
            return start->configuration[i]->value;
    return NULL;
}

static int64_t setting_ms(const struct weir_control *c, const char *key, int64_t fallback_ms)
{
    int64_t ms;
    const char *text = setting(c, key);
    return text && weir_parse_duration_ms(text, &ms) ? ms : fallback_ms;
}

static int setting_int(const struct weir_control *c, const char *key, int fallback)
{
    const char *text = setting(c, key);
    int value = text ? atoi(text) : 0;
    return value > 0 ? value : fallback;
}

/* What the JobManager says counts: parts must be where it looks for them. */
static const char *checkpoint_dir(const struct weir_control *c)
{
    static const char key[] = "execution.checkpointing.dir";
    const char *dir = setting(c, key);
    for (size_t i = 0; !dir && i < c->executor.start->n_store; i++)
        if (strcmp(c->executor.start->store[i]->key, key) == 0)
            dir = c->executor.start->store[i]->value;
    return dir && *dir ? dir : NULL;
}

/* Without them a restore is slower, and that is all. */
static void open_local_copies(struct weir_control *c, const char *store)
{
    const char *wish = setting(c, "state.backend.local-recovery"), *directory = c->executor.start->local_directory;
    bool wanted = wish && strcmp(wish, "auto") != 0 ? strcmp(wish, "true") == 0 : strncmp(store, "s3:", 3) == 0;
    struct weir_error error;
    if (!wanted || !directory || !*directory)
        return;
    if (weir_local_copies_open(directory, c->executor.job_id, c->executor.start->local_size_max, &c->executor.local,
                               &error))
        weir_log(WARN, "no local copies of checkpoints are made: %s", error.message);
}

static weir_err set_up_checkpoints(struct weir_control *c, struct weir_error *error)
{
    const char *mode = setting(c, "execution.checkpointing.mode");
    c->executor.checkpoint_interval_ms = setting_ms(c, "execution.checkpointing.interval", 0);
    c->executor.periodic = c->executor.checkpoint_interval_ms > 0;
    c->executor.at_least_once = mode && strcmp(mode, "at-least-once") == 0;
    const char *unaligned = setting(c, "execution.checkpointing.unaligned.enabled");
    c->executor.unaligned = unaligned && strcmp(unaligned, "true") == 0 && !c->executor.at_least_once;
    c->executor.aligned_timeout_ns = setting_ms(c, "execution.checkpointing.aligned-checkpoint-timeout", 0) * 1000000;
    const Weir__ExecutorStart *start = c->executor.start;
    c->executor.store_settings = weir_zalloc((start->n_store + 1) * sizeof *c->executor.store_settings);
    for (size_t i = 0; i < start->n_store; i++)
        c->executor.store_settings[i] = (struct weir_key_value){start->store[i]->key, start->store[i]->value};
    const char *dir = checkpoint_dir(c);
    c->executor.can_checkpoint = c->executor.periodic || dir;
    weir_err err = dir ? weir_control_open_store(c, dir, error) : WEIR_OK;
    if (!err && dir)
        open_local_copies(c, dir);
    if (!err || c->executor.periodic)
        return err;
    weir_log(WARN, "a checkpoint or savepoint of the job, should somebody ask for one, is likely to fail: %s",
             error->message);
    return WEIR_OK;
}

/* Of what a slot has for state an eighth is RocksDB's; the keyed operators, each with a subtask in every slot, share the rest. */
static weir_err set_up_state(struct weir_control *c, struct weir_error *error)
{
    struct weir_executor *executor = &c->executor;
    const char *backend = setting(c, "state.backend.type"), *text = setting(c, "state.memory.size");
    int64_t size = DEFAULT_STATE_MEMORY, slots = (int64_t)executor->start->start->n_slots, keyed = 0;
    for (int i = 0; i < executor->plan->op_count; i++)
        keyed += executor->ops[i].plan.keyed;
    if (keyed == 0 || (backend && strcmp(backend, "hashmap") == 0))
        return WEIR_OK;
    if (text && !weir_parse_size(text, &size))
        return weir_fail(error, WEIR_ERR_INVALID, "'state.memory.size' is no size: '%s'", text);
    int64_t smallest = keyed * OPERATOR_STATE_MIN / 7 * 8;
    if (smallest < 8 * (int64_t)WEIR_ROCKS_MEMORY_MIN)
        smallest = 8 * (int64_t)WEIR_ROCKS_MEMORY_MIN;
    if (size < smallest)
        return weir_fail(
            error, WEIR_ERR_INVALID,
            "'state.memory.size' is %s, and the job's %lld keyed operators need at least %lld mb in each slot; raise "
            "it, or set 'state.backend.type' to hashmap",
            text ? text : "512 mb", (long long)keyed, (long long)(smallest + (1 << 20) - 1) >> 20);
    executor->operator_memory = (size_t)(size / 8 * 7 / keyed);
    const char *directory = executor->start->state_directory, *tmp = getenv("TMPDIR");
    char *path = directory && *directory ? weir_format("%s/%s", directory, executor->id)
                                         : weir_format("%s/weir-state-%s", tmp && *tmp ? tmp : "/tmp", executor->id);
    weir_err err = weir_rocks_new(path, (size_t)(size / 8 * (slots > 0 ? slots : 1)), &executor->rocks, error);
    free(path);
    return err;
}

static void worker_started(void *arg)
{
    struct weir_control *c = arg;
    if (c->executor.own_process)
        weir_crash_thread_init();
}

static void worker_ending(void *arg)
{
    struct weir_control *c = arg;
    if (c->executor.own_process)
        weir_crash_thread_fini();
}

static weir_err start_workers(struct weir_control *c, struct weir_error *error)
{
    struct weir_limits limits;
    weir_limits_read("", &limits);
    int count = (int)c->executor.start->start->n_slots;
    count = count < 1 ? 1 : count;
    count = count > limits.cpu_count ? limits.cpu_count : count;
    count = count > WORKERS_MAX ? WORKERS_MAX : count;
    c->executor.workers = weir_zalloc((size_t)count * sizeof(struct weir_worker *));
    c->hang_logged_ns = weir_zalloc((size_t)count * sizeof *c->hang_logged_ns);
    for (int i = 0; i < count; i++) {
        struct weir_worker_options options = {
            .index = i, .thread_started = worker_started, .thread_ending = worker_ending, .arg = c};
        weir_err err = weir_worker_start(&options, &c->executor.workers[i], error);
        if (err)
            return err;
        c->executor.worker_count++;
    }
    return WEIR_OK;
}

static weir_err start_up(struct weir_control *c, struct weir_error *error)
{
    struct weir_executor *executor = &c->executor;
    const Weir__ExecutorStart *message = executor->start;
    const Weir__StartExecutor *start = message->start;
    struct weir_plan_options plan_options = {
        .parallelism = setting_int(c, "parallelism.default", 1),
        .parallelism_override = setting_int(c, "pipeline.parallelism-override", 0),
        .max_parallelism = setting_int(c, "pipeline.max-parallelism", WEIR_MAX_PARALLELISM_DEFAULT),
        .chaining = !setting(c, "pipeline.operator-chaining.enabled") ||
                    strcmp(setting(c, "pipeline.operator-chaining.enabled"), "false") != 0,
    };
    if (weir_fault("executor.starting"))
        return weir_fail(error, WEIR_ERR_IO, "a fault point failed the start of this executor");
    executor->pool = weir_pool_new();
    executor->alignment = weir_alignment_new(alignment_changed, c);
    executor->buffer_timeout_ns = setting_ms(c, "execution.buffer-timeout", DEFAULT_BUFFER_TIMEOUT_MS) * 1000000;
    const char *zone = setting(c, "table.local-time-zone");
    weir_err err = zone ? weir_zone_set_session(zone, error) : WEIR_OK;
    if (err)
        return weir_wrap(error, "table.local-time-zone");
    err = weir_plan_build(start->graph.data, start->graph.len, &plan_options, &executor->plan, error);
    if (err)
        return err;
    executor->locations = weir_zalloc((size_t)executor->plan->task_count * sizeof *executor->locations);
    if (message->code_path && message->code_path[0] &&
        (err = weir_job_code_open(message->code_path, &executor->code, error)))
        return err;
    if ((err = weir_executor_resolve_ops(executor, error)))
        return err;
    if ((err = set_up_state(c, error)) || (err = set_up_checkpoints(c, error)))
        return err;
    executor->curve = message->curve;
    if (executor->curve && (err = weir_curve_pair_new(&executor->keys, error)))
        return err;
    struct weir_io_options io = {
        .executor_id = executor->id,
        .job_id = executor->job_id,
        .incarnation = start->incarnation,
        .host = message->host,
        .bind_host = message->bind_host,
        .keys = executor->curve ? &executor->keys : NULL,
        .port_first = (int)message->port_first,
        .port_last = (int)message->port_last,
    };
    if ((err = weir_io_start(&io, &executor->io, error)))
        return err;
    int64_t lease_until_ms = message->lease_until_ms ? message->lease_until_ms
                             : message->lease_ms     ? weir_clock_mono_ms() + message->lease_ms
                                                     : INT64_MAX;
    c->core = weir_exec_core_new(lease_until_ms, setting_ms(c, "task.cancellation.timeout", DEFAULT_CANCEL_TIMEOUT_MS));
    c->core_wake_ms = lease_until_ms;
    return start_workers(c, error);
}

/* --- End */

static void free_executor(struct weir_control *c)
{
    struct weir_executor *executor = &c->executor;
    for (int i = 0; i < executor->worker_count; i++)
        weir_worker_stop(executor->workers[i]);
    for (struct weir_task_event *event = c->first_event, *next; event; event = next) {
        next = event->next;
        weir_snapshot_free(event->snapshot);
        free(event);
    }
    weir_control_drop_writes(c, NULL);
    free_deployments(c);
    for (struct weir_executor_task *task = executor->tasks; task; task = task->next)
        let_go(c, task, false);
    weir_io_stop(executor->io);
    while (executor->tasks)
        free_task(c, executor->tasks);
    if (executor->pool)
        weir_pool_settle(executor->pool, SETTLE_MS);
    for (int i = 0; i < executor->worker_count; i++)
        weir_worker_free(executor->workers[i]);
    free(executor->workers);
    free(c->hang_logged_ns);
    weir_executor_free_ops(executor);
    for (int i = 0; executor->plan && executor->locations && i < executor->plan->task_count; i++) {
        free(executor->locations[i].executor_id);
        free(executor->locations[i].endpoint);
    }
    free(executor->locations);
    weir_plan_free(executor->plan);
    weir_job_code_free(executor->code);
    weir_pool_unref(executor->pool);
    weir_store_close(executor->store);
    free(executor->store_settings);
    weir_local_copies_unref(executor->local);
    weir_rocks_free(executor->rocks);
    weir_exec_core_free(c->core);
    weir_alignment_free(executor->alignment);
}

/* A process ends even if user code does not return: after a while it just exits. */
static void *end_anyway(void *arg)
{
    int code = *(int *)arg;
    struct timespec wait = {.tv_sec = STOP_WAIT_MS / 1000, .tv_nsec = STOP_WAIT_MS % 1000 * 1000000};
    nanosleep(&wait, NULL);
    weir_log(WARN, "user code did not return: the process ends without it");
    _exit(code);
}

static void guard_the_end(struct weir_control *c)
{
    if (!c->executor.own_process)
        return;
    static int code;
    code = c->exit_code;
    if (code >= 2) /* without its lease, or with a stuck task: nothing more may be written */
        _exit(code);
    pthread_t thread;
    if (pthread_create(&thread, NULL, end_anyway, &code) == 0)
        pthread_detach(thread);
}

static int run(struct weir_control *c)
{
    c->executor.start_control = read_start(c);
    if (!c->executor.start_control)
        return 0;
    c->executor.start = c->executor.start_control->executor_start;
    c->executor.id = c->executor.start->start->executor_id;
    c->executor.job_id = c->executor.start->start->job_id;
    weir_log_scope(c->executor.job_id, NULL, -1);
    struct weir_error error = {.code = WEIR_OK};
    if (start_up(c, &error)) {
        Weir__Failure failure;
        weir_control_fill_failure(&failure, &error, NULL);
        weir_log(ERROR, "the executor cannot start: %s", error.message);
        weir_control_report_executor(c, WEIR__EXECUTOR_REPORT__STATE__EXITED, &failure);
        return 1;
    }
    weir_log(INFO, "executor %.8s is ready: %d workers, data at %s", c->executor.id, c->executor.worker_count,
             weir_io_endpoint(c->executor.io));
    weir_control_report_executor(c, WEIR__EXECUTOR_REPORT__STATE__READY, NULL);
    (void)weir_executor_line_fill(&c->line); /* the start may have taken longer than the lease that it came with */
    loop(c);
    weir_log(INFO, "executor %.8s ends: %s", c->executor.id, c->exit_why);
    return c->exit_code;
}

int weir_executor_run(int control_fd)
{
    struct weir_control *c = weir_zalloc(sizeof *c);
    struct weir_error error;
    c->executor.own_process = control_fd == WEIR_EXECUTOR_CONTROL_FD;
    if (c->executor.own_process) {
        bool pipe_open = fcntl(WEIR_EXECUTOR_CRASH_FD, F_GETFD) >= 0;
        weir_crash_install(pipe_open ? WEIR_EXECUTOR_CRASH_FD : -1);
    }
    pthread_mutex_init(&c->lock, NULL);
    int fd = fcntl(control_fd, F_DUPFD_CLOEXEC, 11); /* the line closes its own */
    weir_executor_line_init(&c->line, fd);
    int code = 1;
    if (fd < 0)
        weir_log(ERROR, "the control line, fd %d, is not open: an executor is started by a TaskManager", control_fd);
    else if (weir_waker_init(&c->waker, &error))
        weir_log(ERROR, "%s", error.message);
    else
        code = run(c);
    guard_the_end(c);
    free_executor(c);
    weir_executor_line_fini(&c->line);
    weir_waker_fini(&c->waker);
    if (c->executor.start_control)
        weir__control__free_unpacked(c->executor.start_control, NULL);
    pthread_mutex_destroy(&c->lock);
    free(c);
    return code;
}
