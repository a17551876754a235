/* Slots and deployment: what a WAITING region needs before it runs.
 *
 * Jobs are served in the order of their submission. A job takes all the slots that its waiting tasks miss, or none (and says how
 * many it waits for). A slot's group holds one subtask of each of the group's vertices. A slot is taken where it was before: copies of its
 * state may be there. Others are spread: each on the TaskManager with the most free ones. Tasks are deployed when every executor of the job has reported READY.
 */
#include "jobmanager/core/jm_int.h"

static bool slot_free(const struct weir_jm_tm_slot *slot)
{
    return !slot->job && !slot->executor;
}

void weir_jm_slots_count(struct weir_jm_taskmanager *tm)
{
    tm->slots_free = 0;
    for (int s = 0; s < tm->slot_count; s++)
        tm->slots_free += slot_free(&tm->in->slots[s]);
}

void weir_jm_slots_release(struct weir_jm_job *job)
{
    for (int i = 0; i < job->slot_count; i++) {
        struct weir_jm_taskmanager *tm = job->slots[i].taskmanager;
        if (!tm)
            continue;
        tm->in->slots[job->slots[i].slot].job = NULL;
        if (WEIR_MUTANT(jm_slot_freed_early))
            tm->in->slots[job->slots[i].slot].executor = NULL;
        job->slots[i].taskmanager = NULL;
        weir_jm_slots_count(tm);
    }
}

static bool any_waiting(const struct weir_jm_job *job)
{
    if (job->state != WEIR_JOB_RUNNING && job->state != WEIR_JOB_RESTARTING)
        return false;
    for (int r = 0; r < job->plan->task_region_count; r++)
        if (job->in->regions[r].state == REGION_WAITING)
            return true;
    return false;
}

/* Nothing of it runs: every region is waiting or finished. */
static bool all_idle(const struct weir_jm_job *job)
{
    for (int r = 0; r < job->plan->task_region_count; r++)
        if (job->in->regions[r].state == REGION_RESTARTING ||
            (job->in->regions[r].state == REGION_ACTIVE && !weir_jm_region_finished(job, r)))
            return false;
    return true;
}

/* --- Slots */

static int mark_missing(struct weir_jm *jm, const struct weir_jm_job *job, bool *missing)
{
    (void)jm;
    int count = 0;
    for (int t = 0; t < job->task_count; t++) {
        int slot = job->tasks[t].shared_slot;
        if (job->in->regions[job->tasks[t].region].state == REGION_WAITING && !job->slots[slot].taskmanager &&
            !missing[slot]) {
            missing[slot] = true;
            count++;
        }
    }
    return count;
}

/* NULL: there is no room, or no state. */
static struct weir_jm_taskmanager *home_of(const struct weir_jm *jm, const struct weir_jm_job *job,
                                           const struct weir_jm_slot *slot)
{
    for (int i = 0; i < jm->tm_count; i++)
        if (job->in->checkpoints && jm->tms[i]->slots_free > 0 && strcmp(jm->tms[i]->id, slot->home) == 0)
            return jm->tms[i];
    return NULL;
}

static struct weir_jm_taskmanager *most_free(const struct weir_jm *jm)
{
    struct weir_jm_taskmanager *best = NULL;
    for (int i = 0; i < jm->tm_count; i++)
        if (!best || jm->tms[i]->slots_free > best->slots_free)
            best = jm->tms[i];
    return best;
}

static void take_slot(struct weir_jm *jm, struct weir_jm_job *job, struct weir_jm_slot *slot,
                      struct weir_jm_taskmanager *best)
{
    weir_assert(best && best->slots_free > 0);
    memcpy(slot->home, best->id, sizeof slot->home);
    int s = 0;
    while (!slot_free(&best->in->slots[s]))
        s++;
    best->in->slots[s].job = job;
    struct weir_jm_executor *executor = weir_jm_executor_of(jm, job, best);
    if (executor && executor->state != WEIR_JM_EXECUTOR_STOPPING)
        best->in->slots[s].executor = executor; /* told to it when tasks are deployed there */
    slot->taskmanager = best;
    slot->slot = s;
    weir_jm_slots_count(best);
}

/* What a job that cannot run keeps from another that waits. True: something was released. */
static bool give_way(struct weir_jm *jm, struct weir_jm_job *job)
{
    bool holds = false, wanted = false;
    for (int i = 0; i < job->slot_count; i++)
        holds |= job->slots[i].taskmanager != NULL;
    for (int i = 0; i < jm->job_count; i++)
        wanted |= jm->jobs[i] != job && any_waiting(jm->jobs[i]);
    if (!holds || !wanted || !all_idle(job) || WEIR_MUTANT(jm_never_gives_way))
        return false;
    weir_jm_log(jm, WEIR_JM_LOG_INFO, job,
                "job %s gives way: it cannot run with the slots it has, and another job waits", job->name);
    weir_jm_slots_release(job);
    for (int i = 0; i < jm->executor_count; i++)
        if (jm->executors[i]->job == job)
            weir_jm_executor_detach(jm, jm->executors[i]);
    return true;
}

static bool take_slots(struct weir_jm *jm, struct weir_jm_job *job, bool *released)
{
    bool *missing = weir_arena_zalloc(&jm->arena, (size_t)job->slot_count * sizeof *missing);
    int count = mark_missing(jm, job, missing), available = 0, total = 0;
    for (int i = 0; i < jm->tm_count; i++) {
        available += jm->tms[i]->slots_free;
        total += jm->tms[i]->slot_count;
    }
    if (count > available) {
        weir_jm_job_set_status(job,
                               "waiting for %d more slot%s: %d missing of %d needed, %d free of %d on %d TaskManager%s",
                               count - available, count - available == 1 ? "" : "s", count, job->slot_count, available,
                               total, jm->tm_count, jm->tm_count == 1 ? "" : "s");
        *released |= give_way(jm, job);
        return false;
    }
    for (int i = 0; i < job->slot_count; i++) {
        struct weir_jm_taskmanager *home = missing[i] ? home_of(jm, job, &job->slots[i]) : NULL;
        if (home) {
            take_slot(jm, job, &job->slots[i], home);
            missing[i] = false;
        }
    }
    for (int i = 0; i < job->slot_count; i++)
        if (missing[i])
            take_slot(jm, job, &job->slots[i], most_free(jm));
    return true;
}

/* --- Executors */

static bool executors_ready(struct weir_jm *jm, struct weir_jm_job *job)
{
    for (int t = 0; t < job->task_count; t++) {
        if (job->in->regions[job->tasks[t].region].state != REGION_WAITING)
            continue;
        struct weir_jm_taskmanager *tm = job->slots[job->tasks[t].shared_slot].taskmanager;
        if (!weir_jm_executor_of(jm, job, tm))
            weir_jm_executor_start(jm, job, tm);
    }
    int waited = 0;
    for (int i = 0; i < jm->executor_count; i++)
        if (jm->executors[i]->job == job && jm->executors[i]->state != WEIR_JM_EXECUTOR_READY)
            waited++;
    if (waited)
        weir_jm_job_set_status(job, "waiting for %d executor%s to start", waited, waited == 1 ? "" : "s");
    return waited == 0;
}

/* --- Deployment */

struct deployment {
    struct weir_jm_executor *executor;
    Weir__DeployTasks message;
    bool *regions; /* with a task on this executor */
};

static Weir__TaskId *task_id(struct weir_jm *jm, const struct weir_jm_task *task)
{
    Weir__TaskId *id = weir_arena_alloc(&jm->arena, sizeof *id);
    weir__task_id__init(id);
    id->vertex = (uint32_t)task->vertex;
    id->subtask = (uint32_t)task->subtask;
    id->attempt = task->attempt;
    return id;
}

static void place_task(struct weir_jm *jm, struct weir_jm_job *job, int t)
{
    struct weir_jm_task *task = &job->tasks[t];
    struct weir_jm_taskmanager *tm = job->slots[task->shared_slot].taskmanager;
    struct weir_jm_executor *executor = weir_jm_executor_of(jm, job, tm);
    job->in->executors[t] = executor;
    memcpy(task->taskmanager_id, tm->id, sizeof task->taskmanager_id);
    memcpy(task->executor_id, executor->id, sizeof task->executor_id);
    memcpy(task->host, tm->host, sizeof task->host);
    const char *port = strrchr(executor->endpoint, ':');
    task->data_port = port ? (uint32_t)strtoul(port + 1, NULL, 10) : tm->data_port;
    weir_jm_task_set_state(jm, job, task, WEIR__TASK_STATE__DEPLOYING);
    if (!WEIR_MUTANT(jm_no_deploy_deadline))
        weir_jm_task_set_deadline(job, task, later_ms(jm->now_ms, jm->options.executor_start_timeout_ms));
}

static void add_peer(struct weir_jm *jm, Weir__DeployTasks *message, const struct weir_jm_executor *executor)
{
    Weir__Peer *peer = weir_arena_alloc(&jm->arena, sizeof *peer);
    weir__peer__init(peer);
    peer->executor_id = (char *)(uintptr_t)executor->id;
    peer->endpoint = executor->endpoint;
    peer->public_key.data = executor->public_key;
    peer->public_key.len = executor->public_key_size;
    message->peers[message->n_peers++] = peer;
}

/* Fills one executor's message: its own tasks, and all tasks of the regions that it shares with others. */
static void fill_deployment(struct weir_jm *jm, struct weir_jm_job *job, struct deployment *deployment)
{
    Weir__DeployTasks *message = &deployment->message;
    size_t tasks = (size_t)job->task_count;
    weir__deploy_tasks__init(message);
    message->executor_id = deployment->executor->id;
    message->tasks = weir_arena_alloc(&jm->arena, tasks * sizeof *message->tasks);
    message->slots = weir_arena_alloc(&jm->arena, tasks * sizeof *message->slots);
    message->locations = weir_arena_alloc(&jm->arena, tasks * sizeof *message->locations);
    message->restores = weir_arena_alloc(&jm->arena, tasks * sizeof *message->restores);
    message->peers = weir_arena_alloc(&jm->arena, (size_t)(jm->executor_count + 1) * sizeof *message->peers);
    uint32_t *peer_index =
        weir_arena_zalloc(&jm->arena, (size_t)(jm->executor_count + 1) * sizeof *peer_index); /* +1; 0: none */
    for (int t = 0; t < job->task_count; t++) {
        const struct weir_jm_task *task = &job->tasks[t];
        if (!deployment->regions[task->region])
            continue;
        int e = 0;
        while (jm->executors[e] != job->in->executors[t])
            e++;
        if (!peer_index[e]) {
            add_peer(jm, message, jm->executors[e]);
            peer_index[e] = (uint32_t)message->n_peers;
        }
        Weir__TaskLocation *location = weir_arena_alloc(&jm->arena, sizeof *location);
        weir__task_location__init(location);
        location->task = task_id(jm, task);
        location->peer = peer_index[e] - 1;
        message->locations[message->n_locations++] = location;
        if (jm->executors[e] == deployment->executor) {
            message->tasks[message->n_tasks++] = location->task;
            message->slots[message->n_slots++] = (uint32_t)job->slots[task->shared_slot].slot;
            Weir__TaskRestore *restore = weir_jm_checkpoint_restore(jm, job, task);
            if (restore) {
                restore->task = (uint32_t)message->n_tasks - 1;
                message->restores[message->n_restores++] = restore;
            }
        }
    }
}

static void deploy(struct weir_jm *jm, struct weir_jm_job *job)
{
    int regions = job->plan->task_region_count;
    struct deployment *deployments =
        weir_arena_zalloc(&jm->arena, (size_t)(jm->executor_count + 1) * sizeof *deployments);
    int count = 0;
    for (int t = 0; t < job->task_count; t++) {
        if (job->in->regions[job->tasks[t].region].state != REGION_WAITING)
            continue;
        place_task(jm, job, t);
        struct weir_jm_executor *executor = job->in->executors[t];
        int d = 0;
        while (d < count && deployments[d].executor != executor)
            d++;
        if (d == count) {
            deployments[count].executor = executor;
            deployments[count++].regions = weir_arena_zalloc(&jm->arena, (size_t)regions * sizeof(bool));
        }
        deployments[d].regions[job->tasks[t].region] = true;
    }
    for (int r = 0; r < regions; r++)
        if (job->in->regions[r].state == REGION_WAITING)
            job->in->regions[r].state = REGION_ACTIVE;
    for (int d = 0; d < count; d++) {
        fill_deployment(jm, job, &deployments[d]);
        Weir__Control control;
        weir__control__init(&control);
        control.body_case = WEIR__CONTROL__BODY_DEPLOY_TASKS;
        control.deploy_tasks = &deployments[d].message;
        weir_jm_command(jm, deployments[d].executor->tm, &control);
    }
    job->in->ever_deployed = true;
    weir_jm_job_set_status(job, "%s", "");
    weir_jm_log(jm, WEIR_JM_LOG_INFO, job, "job %s: tasks deployed to %d executors", job->name, count);
}

void weir_jm_schedule(struct weir_jm *jm)
{
    bool released;
    do { /* a job releases at most what it holds, and holds nothing then: this ends */
        released = false;
        for (int i = 0; i < jm->job_count; i++) {
            struct weir_jm_job *job = jm->jobs[i];
            if (any_waiting(job) && (weir_jm_checkpoint_undecided(job) || !weir_jm_attempts_allowed(job)))
                weir_jm_job_set_status(job, "waiting for the checkpoint storage to answer");
            else if (any_waiting(job) && take_slots(jm, job, &released) && executors_ready(jm, job))
                deploy(jm, job);
        }
    } while (released);
}
