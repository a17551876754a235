/* What REST and tests read of the core; nothing here changes it. */
#include "base/hash.h"
#include "jobmanager/core/jm_int.h"

const char *weir_job_state_name(enum weir_job_state state)
{
    static const char *const names[WEIR_JOB_STATES] = {"INITIALIZING", "CREATED",  "RUNNING",  "FAILING",   "FAILED",
                                                       "CANCELLING",   "CANCELED", "FINISHED", "RESTARTING"};
    weir_assert(state < WEIR_JOB_STATES);
    return names[state];
}

const char *weir_task_state_name(Weir__TaskState state)
{
    static const char *const names[WEIR_JM_TASK_STATES] = {"CREATED", "SCHEDULED",  "DEPLOYING", "INITIALIZING",
                                                           "RUNNING", "FINISHED",   "CANCELING", "CANCELED",
                                                           "FAILED",  "RECONCILING"};
    weir_assert((unsigned)state < WEIR_JM_TASK_STATES);
    return names[state];
}

int weir_jm_job_count(const struct weir_jm *jm)
{
    return jm->job_count;
}

const struct weir_jm_job *weir_jm_job_at(const struct weir_jm *jm, int index)
{
    weir_assert(index >= 0 && index < jm->job_count);
    return jm->jobs[index];
}

const struct weir_jm_job *weir_jm_job_find(const struct weir_jm *jm, const char *job_id)
{
    for (int i = 0; i < jm->job_count; i++)
        if (strcmp(jm->jobs[i]->id, job_id) == 0)
            return jm->jobs[i];
    return NULL;
}

/* ExecutionJobVertex.getAggregateJobVertexState: the first of this order that any subtask is in; all FINISHED is FINISHED. */
Weir__TaskState weir_jm_vertex_state(const struct weir_jm_job *job, int vertex)
{
    const struct weir_plan_vertex *v = &job->plan->vertices[vertex];
    int counts[WEIR_JM_TASK_STATES] = {0};
    for (int i = 0; i < v->parallelism; i++)
        counts[job->tasks[v->first_task + i].state]++;
    if (counts[WEIR__TASK_STATE__FAILED])
        return WEIR__TASK_STATE__FAILED;
    if (counts[WEIR__TASK_STATE__CANCELING])
        return WEIR__TASK_STATE__CANCELING;
    if (counts[WEIR__TASK_STATE__CANCELED])
        return WEIR__TASK_STATE__CANCELED;
    if (counts[WEIR__TASK_STATE__INITIALIZING])
        return WEIR__TASK_STATE__INITIALIZING;
    if (counts[WEIR__TASK_STATE__RUNNING])
        return WEIR__TASK_STATE__RUNNING;
    if (counts[WEIR__TASK_STATE__FINISHED])
        return counts[WEIR__TASK_STATE__FINISHED] == v->parallelism ? WEIR__TASK_STATE__FINISHED
                                                                    : WEIR__TASK_STATE__RUNNING;
    if (counts[WEIR__TASK_STATE__DEPLOYING])
        return WEIR__TASK_STATE__DEPLOYING;
    if (counts[WEIR__TASK_STATE__SCHEDULED])
        return WEIR__TASK_STATE__SCHEDULED;
    return WEIR__TASK_STATE__CREATED;
}

int weir_jm_taskmanager_count(const struct weir_jm *jm)
{
    return jm->tm_count;
}

const struct weir_jm_taskmanager *weir_jm_taskmanager_at(const struct weir_jm *jm, int index)
{
    weir_assert(index >= 0 && index < jm->tm_count);
    return jm->tms[index];
}

const struct weir_jm_taskmanager *weir_jm_taskmanager_find(const struct weir_jm *jm, const char *taskmanager_id)
{
    for (int i = 0; i < jm->tm_count; i++)
        if (strcmp(jm->tms[i]->id, taskmanager_id) == 0)
            return jm->tms[i];
    return NULL;
}

const struct weir_jm_job *weir_jm_slot_job(const struct weir_jm_taskmanager *taskmanager, int slot)
{
    weir_assert(slot >= 0 && slot < taskmanager->slot_count);
    return taskmanager->in->slots[slot].job;
}

const char *weir_jm_slot_executor(const struct weir_jm_taskmanager *taskmanager, int slot)
{
    weir_assert(slot >= 0 && slot < taskmanager->slot_count);
    const struct weir_jm_executor *executor = taskmanager->in->slots[slot].executor;
    return executor ? executor->id : "";
}

int weir_jm_executor_count(const struct weir_jm *jm)
{
    return jm->executor_count;
}

struct weir_jm_executor_view weir_jm_executor_at(const struct weir_jm *jm, int index)
{
    weir_assert(index >= 0 && index < jm->executor_count);
    const struct weir_jm_executor *executor = jm->executors[index];
    return (struct weir_jm_executor_view){
        .id = executor->id,
        .job_id = executor->job_id,
        .taskmanager_id = executor->tm->id,
        .state = executor->state,
        .detached = executor->job == NULL,
        .endpoint = executor->endpoint,
        .pid = executor->pid,
    };
}

int weir_jm_commands_in_flight(const struct weir_jm_taskmanager *taskmanager)
{
    return taskmanager->in->in_flight;
}

int weir_jm_commands_waiting(const struct weir_jm_taskmanager *taskmanager)
{
    return taskmanager->in->outbox_count;
}

uint8_t *weir_jm_job_graph(const struct weir_jm_job *job, size_t *size)
{
    *size = job->in->graph_size;
    return memcpy(weir_alloc(*size + 1), job->in->graph, *size);
}

/* --- Digest */

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return hash ^ (hash >> 29);
}

static uint64_t mix_text(uint64_t hash, const char *text)
{
    return mix(hash, weir_xxh3(text, strlen(text)));
}

static uint64_t mix_job(uint64_t hash, const struct weir_jm_job *job)
{
    hash = mix_text(hash, job->id);
    hash = mix(hash, (uint64_t)job->state << 8 | (uint64_t)job->committing << 1 | (uint64_t)job->in->abort_wanted);
    hash = mix(hash, job->restarts);
    hash = mix(hash, (uint64_t)job->exception_count);
    for (int t = 0; t < job->task_count; t++) {
        const struct weir_jm_task *task = &job->tasks[t];
        hash = mix(hash, (uint64_t)task->attempt << 8 | (uint64_t)task->state);
        hash = mix(hash, (uint64_t)(task->finished != NULL) << 1 | (uint64_t)(job->in->executors[t] != NULL));
    }
    for (int r = 0; r < job->plan->task_region_count; r++)
        hash = mix(hash, (uint64_t)job->in->regions[r].state);
    for (int s = 0; s < job->slot_count; s++)
        hash = mix(hash, job->slots[s].taskmanager ? (uint64_t)job->slots[s].slot + 1 : 0);
    hash = mix(hash, (uint64_t)job->in->commit_count);
    return mix(hash, weir_jm_checkpoints_digest(hash, job));
}

uint64_t weir_jm_digest(const struct weir_jm *jm)
{
    uint64_t hash = mix(jm->options.leader_epoch, jm->fenced);
    for (int i = 0; i < jm->job_count; i++)
        hash = mix_job(hash, jm->jobs[i]);
    for (int i = 0; i < jm->tm_count; i++) {
        const struct weir_jm_taskmanager *tm = jm->tms[i];
        hash = mix_text(hash, tm->id);
        hash = mix(hash, tm->session);
        hash = mix(hash, tm->in->received_id);
        hash = mix(hash, tm->in->heartbeat_seq);
        hash = mix(hash, (uint64_t)tm->heartbeat_ms);
        hash = mix(hash, (uint64_t)tm->in->outbox_count);
        for (int s = 0; s < tm->slot_count; s++)
            hash = mix(hash,
                       (uint64_t)(tm->in->slots[s].job != NULL) << 1 | (uint64_t)(tm->in->slots[s].executor != NULL));
    }
    for (int i = 0; i < jm->executor_count; i++) {
        hash = mix_text(hash, jm->executors[i]->id);
        hash = mix(hash, (uint64_t)jm->executors[i]->state << 1 | (uint64_t)(jm->executors[i]->job != NULL));
    }
    return mix(weir_jm_operations_digest(hash, jm), weir_jm_recoveries_left(jm));
}
