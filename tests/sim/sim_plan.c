/* What happens in a seed: the cluster's shape, which faults when (a random subset of kinds each), what the operator submits and
 * cancels. Faults are a list made beforehand, so that the shrinker can leave some out.
 */
#include "base/proto_memory.h"
#include "tests/sim/sim.h"

const char *const fault_names[F_KINDS] = {
    "tm-crash",    "tm-pause",   "exec-crash",  "exec-pause",   "exec-stuck",  "task-fail",  "jm-crash",
    "jm-pause",    "jm-replace", "line-break",  "partition",    "loss",        "delay",      "dup",
    "spawn-fail",  "code-fail",  "start-stuck", "deploy-stuck", "cancel-hang", "unkillable", "commit-fail",
    "commit-slow", "forge",      "flap",        "exec-grows",   "corrupt"};

/* --- Plan */

static void plan_shape(struct world *w, struct rng *rng)
{
    w->tm_count = rng_chance(rng, 5) ? 1 : rng_range(rng, 2, rng_chance(rng, 25) ? SIM_TMS_MAX : 5);
    w->fault_end_ms = rng_range(rng, 25000, 70000);
    weir_jm_options_init(&w->jm_options);
    w->jm_options.heartbeat_interval_ms = rng_range(rng, 300, 1000);
    w->jm_options.heartbeat_timeout_ms = w->jm_options.heartbeat_interval_ms * rng_range(rng, 3, 6);
    w->jm_options.executor_start_timeout_ms = rng_range(rng, 2000, 6000);
    w->jm_options.kill_timeout_ms = rng_range(rng, 300, 2500);
    w->jm_options.resend_ms = rng_range(rng, 150, 400);
    w->jm_options.window = rng_range(rng, 1, 8);
    w->jm_options.outbox_max = rng_chance(rng, 15) ? w->jm_options.window + 2 : 200;
    w->jm_options.jobs_ended_max = rng_chance(rng, 20) ? 2 : 100;
    w->jm_options.headless_grace_ms = 40000;
    w->jm_options.list_interval_ms = rng_range(rng, 3000, 20000);
    w->jm_options.exceptions_max = rng_range(rng, 1, 8);
    weir_tm_options_init(&w->tm_options);
    w->tm_options.register_timeout_ms = rng_range(rng, 500, 2000);
    w->tm_options.backoff_max_ms = rng_range(rng, 200, 2000);
    w->tm_options.stop_grace_ms = rng_range(rng, 300, 2000);
    w->tm_options.kill_repeat_ms = rng_range(rng, 500, 2000);
    w->tm_options.executor_silence_ms = 4000;
    w->tm_options.executor_memory_max = (int64_t)SIM_MEMORY_MAX;
    w->tm_options.resend_ms = w->jm_options.resend_ms;
    w->tm_options.window = rng_range(rng, 1, 8);
    w->tm_options.outbox_max = rng_chance(rng, 15) ? 60 : 400;
    for (int i = 0; i < w->tm_count; i++)
        w->tms[i] = (struct tm_node){.slots = rng_range(rng, rng_chance(rng, 20) ? 1 : 2, SIM_SLOTS_MAX),
                                     .conn = -1,
                                     .offset_ms = rng_range(rng, 0, 1000000)};
}

static void plan_faults(struct world *w, struct rng *rng)
{
    unsigned enabled = 0;
    for (int k = 0; k < F_KINDS; k++)
        enabled |= (unsigned)rng_chance(rng, 35) << k;
    int wanted = rng_chance(rng, 4) ? 0 : rng_range(rng, 2, 34);
    for (int i = 0; i < wanted && w->fault_count < SIM_FAULTS_MAX; i++) {
        int kind = rng_range(rng, 0, F_KINDS - 1);
        struct fault fault = {
            .kind = (enum fault_kind)kind,
            .at_ms = rng_range(rng, 500, (int)w->fault_end_ms - 1000),
            .duration_ms = rng_chance(rng, 50) ? rng_range(rng, 50, 1500) : rng_range(rng, 1500, 14000),
            .target = rng_range(rng, 0, 1 << 20),
            .value = rng_range(rng, 0, 99),
        };
        if (enabled & 1u << kind)
            w->faults[w->fault_count++] = fault;
    }
}

static void plan_ops(struct world *w, struct rng *rng)
{
    int submissions = rng_range(rng, 1, 7);
    for (int i = 0; i < submissions; i++)
        w->ops_list[w->op_count++] =
            (struct op){.at_ms = i == 0 ? 50 : rng_range(rng, 50, (int)w->fault_end_ms - 5000), .kind = OP_SUBMIT};
    int cancels = rng_range(rng, 0, 5);
    for (int i = 0; i < cancels; i++)
        w->ops_list[w->op_count++] = (struct op){.at_ms = rng_range(rng, 500, (int)w->fault_end_ms),
                                                 .kind = OP_CANCEL,
                                                 .target = rng_range(rng, 0, 1 << 20)};
    static const enum op_kind kinds[] = {OP_ASK, OP_ASK, OP_ASK, OP_RESTORE};
    int asked = rng_chance(rng, 30) ? 0 : rng_range(rng, 1, 9);
    for (int i = 0; i < asked; i++)
        w->ops_list[w->op_count++] = (struct op){.at_ms = rng_range(rng, 1000, (int)w->fault_end_ms),
                                                 .kind = kinds[rng_range(rng, 0, 3)],
                                                 .target = rng_range(rng, 0, 1 << 20)};
}

void plan_world(struct world *w)
{
    /* The shape and the plan were made by world_prepare() below, when nothing had been removed from them. */
    for (int i = 0; i < 256; i++)
        w->cancel_request_job[i] = w->submit_request_job[i] = -1;
    jm_start(w);
    for (int i = 0; i < w->tm_count; i++)
        push(w, rng_range(&w->exe, 0, 300), EV_TM_RESTART, i, 0, 0, 0, NULL);
    for (int i = 0; i < w->fault_count; i++)
        if (!w->faults[i].off)
            push(w, w->faults[i].at_ms, EV_FAULT, i, 0, 0, 0, NULL);
    for (int i = 0; i < w->op_count; i++)
        if (!w->ops_list[i].off)
            push(w, w->ops_list[i].at_ms, EV_OP, i, 0, 0, 0, NULL);
    push(w, w->fault_end_ms, EV_HEAL, 0, 0, 0, 0, NULL);
    push(w, 100, EV_CHECK, 0, 0, 0, 0, NULL);
    w->end_by_ms = w->fault_end_ms + 300000;
}

void world_prepare(struct world *w)
{
    struct rng rng = {w->seed * 0x9e3779b97f4a7c15u + 11};
    rng_next(&rng);
    plan_shape(w, &rng);
    plan_faults(w, &rng);
    plan_ops(w, &rng);
    store_plan(w);
    kafka_plan(w);
}

/* --- Faults */

static int pick_exec(const struct world *w, int target)
{
    int living = 0;
    for (int i = 0; i < w->exec_count; i++)
        living += w->execs[i].exists && !w->execs[i].stuck;
    if (!living)
        return -1;
    int nth = target % living;
    for (int i = 0; i < w->exec_count; i++)
        if (w->execs[i].exists && !w->execs[i].stuck && nth-- == 0)
            return i;
    return -1;
}

/* A longer pause that lasts already is not cut short: what was put off to its end would come too late. */
static void pause_until(int64_t *until_ms, int64_t at_ms)
{
    if (at_ms > *until_ms)
        *until_ms = at_ms;
}

static void pause_tm(struct world *w, int tm, int64_t duration_ms, bool executors_too)
{
    pause_until(&w->tms[tm].paused_until_ms, w->now_ms + duration_ms);
    w->tms[tm].awake_since_ms = w->tms[tm].paused_until_ms;
    count(w, C_tm_paused);
    for (int i = 0; i < w->exec_count && executors_too; i++)
        if (w->execs[i].tm == tm && w->execs[i].exists)
            pause_until(&w->execs[i].paused_until_ms, w->now_ms + duration_ms);
}

static void fault_process(struct world *w, const struct fault *fault)
{
    int tm = fault->target % w->tm_count, x = pick_exec(w, fault->target);
    int64_t bounded =
        w->now_ms + fault->duration_ms < w->fault_end_ms ? fault->duration_ms : w->fault_end_ms - w->now_ms;
    switch (fault->kind) {
    case F_TM_CRASH:
        if (!w->tms[tm].alive)
            break;
        tm_crash(w, tm);
        if (fault->value < 20 && w->tm_count > 1)
            w->tms[tm].gone_for_good = true;
        else
            push(w, w->now_ms + bounded, EV_TM_RESTART, tm, 0, 0, 0, NULL);
        break;
    case F_TM_PAUSE:
        pause_tm(w, tm, bounded, fault->value < 40);
        break;
    case F_EXEC_CRASH:
        if (x >= 0) {
            count(w, C_executor_crashed);
            exec_die(w, x, 11, "it crashes");
        }
        break;
    case F_EXEC_PAUSE:
        if (x >= 0)
            pause_until(&w->execs[x].paused_until_ms, w->now_ms + bounded);
        break;
    case F_EXEC_STUCK:
        if (x >= 0) {
            count(w, C_executor_stuck);
            w->execs[x].stuck = true;
        }
        break;
    case F_EXEC_GROWS: /* to the budget's last byte, or over it */
        if (x >= 0)
            w->execs[x].rss_bytes = SIM_MEMORY_MAX + (fault->value >= 30);
        break;
    case F_TASK_FAIL:
        if (x >= 0 && w->execs[x].task_count) {
            int t = fault->value % w->execs[x].task_count;
            w->execs[x].tasks[t].fails_job = fault->value >= 92;
            push(w, w->now_ms, EV_X_ACT, x, t, fault->value % 8 == 7 ? 5 /* ACT_CANCELED, unasked */ : 4 /* ACT_FAIL */,
                 w->execs[x].tasks[t].attempt, NULL);
        }
        break;
    default:
        break;
    }
}

static void fault_jobmanager(struct world *w, const struct fault *fault)
{
    int64_t bounded =
        w->now_ms + fault->duration_ms < w->fault_end_ms ? fault->duration_ms : w->fault_end_ms - w->now_ms;
    if (!w->jms[w->jm].alive)
        return;
    if (fault->kind == F_JM_PAUSE) {
        count(w, C_jm_paused);
        pause_until(&w->jms[w->jm].paused_until_ms, w->now_ms + bounded);
        return;
    }
    if (w->jm_count == SIM_JMS_MAX)
        return;
    if (fault->kind == F_JM_CRASH && fault->value < 50) { /* in the midst of what it does next */
        w->jms[w->jm].crash_in = 1 + fault->value % 12;
        w->jms[w->jm].crash_restart_ms = bounded;
        return;
    }
    if (fault->kind == F_JM_CRASH) {
        jm_crash_fault(w, w->jm, bounded);
        return;
    }
    count(w, C_jm_replaced); /* stopped, replaced, and back: two of them live */
    pause_until(&w->jms[w->jm].paused_until_ms, w->now_ms + bounded);
    jm_start(w);
}

static void fault_network(struct world *w, const struct fault *fault)
{
    int tm = fault->target % w->tm_count;
    int64_t until = w->now_ms + fault->duration_ms < w->fault_end_ms ? w->now_ms + fault->duration_ms : w->fault_end_ms;
    if (fault->kind == F_LINE_BREAK) {
        if (w->tms[tm].alive && w->tms[tm].conn >= 0) {
            trace(w, "%s breaks (%s)", w->conns[w->tms[tm].conn].peer,
                  fault->value % 3 == 0   ? "both notice"
                  : fault->value % 3 == 1 ? "the JobManager notices"
                                          : "the TaskManager notices");
            net_close(w, w->tms[tm].conn, fault->value % 3 != 2, fault->value % 3 != 1);
        }
        return;
    }
    int direction = fault->value % 3; /* 2: both */
    if (direction != 1)
        w->partition_ms[tm][0] = until;
    if (direction != 0)
        w->partition_ms[tm][1] = until;
    w->partition_holds[tm] = fault->value >= 50;
}

void do_fault(struct world *w, int index)
{
    const struct fault *fault = &w->faults[index];
    trace(w, "fault %d: %s target %d value %d for %" PRId64 " ms", index, fault_names[fault->kind], fault->target,
          fault->value, fault->duration_ms);
    w->events++;
    switch (fault->kind) {
    case F_CORRUPT:
        store_corrupt(w, fault->target, fault->value);
        return;
    case F_TM_CRASH:
    case F_TM_PAUSE:
    case F_EXEC_CRASH:
    case F_EXEC_PAUSE:
    case F_EXEC_STUCK:
    case F_EXEC_GROWS:
    case F_TASK_FAIL:
        fault_process(w, fault);
        return;
    case F_JM_CRASH:
    case F_JM_PAUSE:
    case F_JM_REPLACE:
        fault_jobmanager(w, fault);
        return;
    case F_LINE_BREAK:
    case F_PARTITION:
        fault_network(w, fault);
        return;
    default:
        break;
    }
    int64_t until = w->now_ms + fault->duration_ms;
    w->window_ms[fault->kind] = until < w->fault_end_ms ? until : w->fault_end_ms;
    switch (fault->kind) { /* how much: per cent, or ms */
    case F_LOSS:
    case F_DUP:
        w->window_value[fault->kind] = 5 + fault->value / 4;
        break;
    case F_FORGE:
        w->window_value[fault->kind] = 5 + fault->value / 10;
        tm_confuse(w, fault->target % w->tm_count);
        break;
    case F_DELAY:
        w->window_value[fault->kind] = fault->value < 30 ? 50 : fault->value * 40;
        break;
    case F_COMMIT_SLOW:
        w->window_value[fault->kind] = 200 + fault->value * 50;
        break;
    default:
        w->window_value[fault->kind] = 20 + fault->value * 8 / 10;
        break;
    }
}

/* --- The operator */

struct graph_build {
    Weir__JobGraph graph;
    Weir__Vertex vertices[16], *vertex_list[16];
    Weir__Edge edges[16], *edge_list[16];
    Weir__KeyValue option[2], *option_list[2];
    bool aligned;
    char names[16][16];
    char *key[1];
};

static uint32_t add_vertex(struct graph_build *g, const char *op, uint32_t parallelism)
{
    size_t i = g->graph.n_vertices++;
    Weir__Vertex *v = g->vertex_list[i] = &g->vertices[i];
    weir__vertex__init(v);
    v->id = (uint32_t)i + 1;
    v->op = (char *)(uintptr_t)op;
    snprintf(g->names[i], sizeof g->names[i], "%s%zu", op, i);
    v->name = g->names[i];
    v->parallelism = parallelism;
    return v->id;
}

static void add_edge(struct graph_build *g, uint32_t from, uint32_t to, Weir__Partition partition)
{
    size_t i = g->graph.n_edges++;
    Weir__Edge *e = g->edge_list[i] = &g->edges[i];
    weir__edge__init(e);
    e->from = from;
    e->to = to;
    e->partition = partition;
    if (partition == WEIR__PARTITION__HASH) {
        e->n_key = 1;
        e->key = g->key;
    }
}

/* One component: perhaps a coordinator, a source, perhaps an operator or two, a sink; partitionings at random. */
static void add_component(struct graph_build *g, struct rng *rng)
{
    static const Weir__Partition partitions[] = {WEIR__PARTITION__FORWARD, WEIR__PARTITION__FORWARD,
                                                 WEIR__PARTITION__HASH, WEIR__PARTITION__REBALANCE,
                                                 WEIR__PARTITION__BROADCAST};
    uint32_t parallelism = rng_chance(rng, 50) ? 0 : (uint32_t)rng_range(rng, 1, 3); /* 0: as the job's */
    uint32_t before = 0;
    if (rng_chance(rng, 20))
        before = add_vertex(g, "splits", 1);
    uint32_t source = add_vertex(g, "source", parallelism);
    if (before)
        add_edge(g, before, source, WEIR__PARTITION__ON_DEMAND);
    before = source;
    int middle = rng_range(rng, 0, 2);
    for (int i = 0; i <= middle; i++) {
        if (rng_chance(rng, 25))
            parallelism = (uint32_t)rng_range(rng, 0, 3);
        uint32_t next = add_vertex(g, i == middle ? "sink" : "map", parallelism);
        add_edge(g, before, next, partitions[rng_range(rng, 0, 4)]);
        if (rng_chance(rng, 25))
            g->vertices[next - 1].no_chaining = true;
        before = next;
    }
    if (rng_chance(rng, 10)) {
        g->vertices[source - 1].options = g->option_list;
        g->vertices[source - 1].n_options = 1 + g->aligned;
    } else if (g->aligned) {
        g->vertices[source - 1].options = g->option_list + 1;
        g->vertices[source - 1].n_options = 1;
    }
}

struct weir_plan *plan_of_job(const struct job *job, int override)
{
    struct weir_plan_options options = {
        .parallelism = job->parallelism,
        .parallelism_override = override,
        .max_parallelism = SIM_GROUPS,
        .chaining = true,
    };
    struct weir_plan *plan;
    struct weir_error error;
    weir_err err = weir_plan_build(job->graph, job->graph_size, &options, &plan, &error);
    weir_assert(!err);
    return plan;
}

static void random_graph(struct rng *rng, struct job *job)
{
    struct graph_build *g = weir_zalloc(sizeof *g);
    weir__job_graph__init(&g->graph);
    for (int i = 0; i < 2; i++) {
        weir__key_value__init(&g->option[i]);
        g->option_list[i] = &g->option[i];
    }
    g->option[0].key = (char *)"slot-sharing-group";
    g->option[0].value = (char *)"other";
    g->option[1].key = (char *)"scan.watermark.alignment.group";
    g->option[1].value = (char *)"g";
    g->aligned = job->aligned;
    g->key[0] = (char *)"k";
    g->graph.version = 1;
    g->graph.name = (char *)"sim";
    g->graph.vertices = g->vertex_list;
    g->graph.edges = g->edge_list;
    if (rng_chance(rng, 60))
        g->graph.code_sha256 = (char *)"c0de";
    for (int i = rng_range(rng, 1, 3); i > 0; i--)
        add_component(g, rng);
    job->parallelism = rng_range(rng, 1, 3);
    job->graph_size = weir__job_graph__get_packed_size(&g->graph);
    job->graph = weir_alloc(job->graph_size);
    weir__job_graph__pack(&g->graph, job->graph);
    free(g);
}

static struct weir_jm_job_options random_options(struct rng *rng)
{
    struct weir_jm_job_options options;
    weir_jm_job_options_init(&options);
    options.cancellation_timeout_ms = rng_range(rng, 500, 3000);
    int kind = rng_range(rng, 0, 9);
    options.restart = kind < 1   ? WEIR_JM_RESTART_NONE
                      : kind < 4 ? WEIR_JM_RESTART_FIXED_DELAY
                      : kind < 8 ? WEIR_JM_RESTART_EXPONENTIAL_DELAY
                                 : WEIR_JM_RESTART_FAILURE_RATE;
    options.fixed_attempts = rng_chance(rng, 40) ? 1000 : rng_range(rng, 0, 4);
    options.fixed_delay_ms = rng_chance(rng, 20) ? 0 : rng_range(rng, 1, 2000);
    options.exponential_initial_ms = rng_range(rng, 10, 1000);
    options.exponential_max_ms = rng_range(rng, 1000, 4000);
    options.exponential_reset_ms = rng_range(rng, 3000, 20000);
    options.exponential_attempts = rng_chance(rng, 80) ? -1 : rng_range(rng, 1, 8);
    options.rate_max = rng_range(rng, 1, 5);
    options.rate_interval_ms = rng_range(rng, 1000, 30000);
    options.rate_delay_ms = rng_range(rng, 0, 1500);
    return options;
}

static int op_index(const struct job *job, const char *uid)
{
    int o = 0;
    while (strcmp(job->ops[o].uid, uid) != 0)
        o++;
    return o;
}

static void describe_task(const struct job *job, struct sim_plan *to, const struct weir_plan *plan, int v, int subtask)
{
    const struct weir_plan_vertex *vertex = &plan->vertices[v];
    struct sim_task *task = &to->tasks[vertex->first_task + subtask];
    *task = (struct sim_task){
        .vertex = v,
        .subtask = subtask,
        .parallelism = vertex->parallelism,
        .region = plan->task_regions[vertex->first_task + subtask],
        .groups = groups_of((uint32_t)subtask, (uint32_t)vertex->parallelism),
        .sink = -1,
    };
    for (int o = 0; o < vertex->op_count;
         o++) { /* of a chain that ends in a sink each subtask has something to publish */
        int op = op_index(job, plan->ops[vertex->ops[o]].uid);
        weir_assert(task->op_count < 8);
        task->ops[task->op_count++] = (uint8_t)op;
        if (job->ops[op].sink)
            task->sink = op;
        task->aligned |= weir_plan_alignment_group(&plan->ops[vertex->ops[o]]) != NULL;
    }
    for (int e = 0; e < vertex->input_count; e++) {
        const struct weir_plan_edge *edge = &plan->edges[vertex->inputs[e]];
        const struct weir_plan_vertex *from = &plan->vertices[edge->from_vertex];
        task->reads |= edge->partition == WEIR__PARTITION__ON_DEMAND;
        for (int s = 0; s < from->parallelism; s++)
            if (edge->partition != WEIR__PARTITION__FORWARD || s == subtask)
                task->producers |= 1ull << (from->first_task + s);
    }
}

static void describe_plan(struct job *job, struct sim_plan *to, const struct weir_plan *plan)
{
    to->slots_needed = plan->slots_needed;
    to->task_count = plan->task_count;
    to->region_count = plan->task_region_count;
    weir_assert(to->task_count <= SIM_TASKS_MAX && plan->op_count <= SIM_VERTICES_MAX);
    for (int v = 0; v < plan->vertex_count; v++)
        for (int i = 0; i < plan->vertices[v].parallelism; i++)
            describe_task(job, to, plan, v, i);
}

struct sim_plan *sim_plan(struct job *job, int override)
{
    struct sim_plan *to = &job->plans[override];
    if (to->task_count == 0) {
        struct weir_plan *plan = plan_of_job(job, override);
        describe_plan(job, to, plan);
        weir_plan_free(plan);
    }
    return to;
}

static void describe_job(struct world *w, struct job *job, const struct weir_plan *plan, const struct job *like)
{
    static const int kinds[] = {1 /* SUBTASK */, 2 /* SPLIT */, 3 /* UNION */, 4 /* KEYED */};
    for (int o = 0; o < plan->op_count; o++) {
        struct sim_operator *op = &job->ops[job->op_count++];
        snprintf(op->uid, sizeof op->uid, "%s", plan->ops[o].uid);
        op->sink = strcmp(plan->ops[o].vertex->op, "sink") == 0;
        op->kind = like ? like->ops[o].kind : rng_chance(&w->store, 75) ? 4 : kinds[rng_range(&w->store, 0, 3)];
    }
    describe_plan(job, &job->plans[0], plan);
    job->slots_needed = plan->slots_needed;
    job->task_count = plan->task_count;
    job->region_count = plan->task_region_count;
}

int override_of(const struct weir_key_value *pairs, int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(pairs[i].key, "pipeline.parallelism-override") == 0)
            return atoi(pairs[i].value);
    return 0;
}

int override_in(Weir__KeyValue **pairs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(pairs[i]->key, "pipeline.parallelism-override") == 0)
            return atoi(pairs[i]->value);
    return 0;
}

static bool jm_listens(const struct world *w, int jm)
{
    return w->jms[jm].alive && w->now_ms >= w->jms[jm].paused_until_ms;
}

void plan_checkpoints(struct world *w, struct job *job)
{
    struct weir_jm_job_options *options = &job->options;
    options->checkpoint_timeout_ms = rng_range(&w->store, 1000, 6000);
    options->checkpoint_pause_ms = rng_chance(&w->store, 60) ? 0 : rng_range(&w->store, 1, 1000);
    options->checkpoints_concurrent = rng_chance(&w->store, 60) ? 1 : rng_range(&w->store, 2, 4);
    options->checkpoints_tolerable = rng_chance(&w->store, 80) ? 1000000 : rng_range(&w->store, 0, 3);
    options->checkpoints_retained = rng_range(&w->store, 1, 4);
    options->retention = (enum weir_jm_retention)rng_range(&w->store, 0, 2);
    job->quiet = rng_chance(&w->store, 60) ? 0 : rng_range(&w->store, 40, 95);
}

void plan_periodic(struct world *w, struct job *job)
{
    job->periodic = job->options.outlives_jobmanager = true;
    job->options.checkpoint_interval_ms = rng_range(&w->store, 200, 2500);
}

/* Does it make checkpoints, and how. */
static void plan_job_checkpoints(struct world *w, struct job *job)
{
    bool periodic = rng_chance(&w->store, 50);
    job->checkpoints = periodic || rng_chance(&w->store, 30);
    if (job->checkpoints &&
        rng_chance(&w->store, 6)) { /* attempts go by faster than anything else is written into HEAD */
        job->fails_until_ms = w->now_ms + rng_range(&w->store, 1000, 4000);
        job->options.restart = WEIR_JM_RESTART_FIXED_DELAY;
        job->options.fixed_attempts = 100000;
        job->options.fixed_delay_ms = rng_range(&w->store, 0, 5);
    }
    job->options.checkpoint_gc_grace_ms = rng_chance(&w->store, 20) ? 0 : rng_range(&w->store, 500, 8000);
    job->options.checkpoint_gc_sweep_ms = rng_range(&w->store, 3000, 20000);
    job->options.outlives_jobmanager = periodic || w->job_count % 3 != 0;
    if (periodic)
        plan_periodic(w, job);
    if (job->checkpoints)
        plan_checkpoints(w, job);
}

/* `from`: it is the same program as that job, and begins with `restore`. */
static void submit(struct world *w, const struct job *from, const struct weir_jm_restore *restore)
{
    struct job *job = &w->jobs[w->job_count];
    memset(job, 0, sizeof *job);
    snprintf(job->id, sizeof job->id, "%08x%024x", w->job_count + 1, 7);
    job->jm = w->jm;
    job->claims = -1;
    job->bounded = from ? from->bounded : rng_chance(&w->ops, 65);
    job->output = from ? from->output : rng_chance(&w->ops, 80);
    job->hangs = rng_chance(&w->ops, 8);
    job->aligned = from ? from->aligned : align_plan_job(w);
    job->aligned_run_ms = job->aligned_missing_ms = -1;
    job->options = random_options(&w->ops);
    plan_job_checkpoints(w, job);
    job->ending_deadline_ms = INT64_MAX;
    job->cancel_asked_ms = -1;
    for (int r = 0; r < SIM_TASKS_MAX; r++)
        job->region_ended_ms[r] = -1;
    if (from) {
        job->graph = memcpy(weir_alloc(from->graph_size), from->graph, from->graph_size);
        job->graph_size = from->graph_size;
        job->parallelism = rng_range(&w->ops, 1, 3);
    } else {
        random_graph(&w->ops, job);
    }
    struct weir_plan *plan = plan_of_job(job, 0);
    job->needs_code = plan->graph->code_sha256[0] != 0;
    describe_job(w, job, plan, from);
    job->kafka = from ? from->kafka : job->periodic && job->output && kafka_plan_job(w);
    job->held = from ? from->held : job->kafka && kafka_plan_held(w);
    if (restore)
        store_import(w, job, restore->take_snapshot);
    w->job_count++;
    count(w, C_jobs_submitted);
    trace(w, "submit job %.8s: %d tasks in %d regions, %d slots, %s%s, strategy %d%s%s", job->id, job->task_count,
          job->region_count, job->slots_needed, job->bounded ? "bounded" : "unbounded",
          job->hangs ? ", ignores cancel" : "", (int)job->options.restart, restore ? " from " : "",
          restore ? restore->path : "");
    struct weir_jm_event event;
    node_init_jm_event(w, w->jm, &event, WEIR_JM_EVENT_SUBMIT);
    event.request = w->next_request++;
    w->cancel_request_job[event.request % 256] = -1;
    w->submit_request_job[event.request % 256] = w->job_count - 1;
    event.durable = job->checkpoints;
    event.job_id = job->id;
    event.take_plan = plan;
    event.graph = job->graph;
    event.graph_size = job->graph_size;
    event.job_options = job->options;
    event.restore = restore;
    jm_event(w, w->jm, &event);
}

void submit_job(struct world *w)
{
    if (w->job_count < SIM_JOBS_MAX && jm_listens(w, w->jm))
        submit(w, NULL, NULL);
}

void cancel_job(struct world *w, int job)
{
    int jm = w->jobs[job].jm;
    if (!w->jms[jm].alive || w->now_ms < w->jms[jm].paused_until_ms)
        return;
    trace(w, "cancel job %.8s", w->jobs[job].id);
    struct weir_jm_event event;
    node_init_jm_event(w, jm, &event, WEIR_JM_EVENT_CANCEL);
    event.request = w->next_request++;
    w->cancel_request_job[event.request % 256] = job;
    w->submit_request_job[event.request % 256] = -1;
    if (w->jobs[job].cancel_asked_ms < 0)
        w->jobs[job].cancel_asked_ms = w->now_ms;
    event.job_id = w->jobs[job].id;
    jm_event(w, jm, &event);
}

/* --- What the operator asks of checkpoints */

static void plan_crash(struct world *w, int job)
{
    if (w->healed || !rng_chance(&w->ops, 35))
        return;
    w->crash_step = rng_range(&w->ops, STEP_TRIGGER, STEPS - 1);
    w->crash_job = job;
    w->crash_after = rng_chance(&w->ops, 50);
}

/* Somebody who works on it may die meanwhile. */
static void plan_kill(struct world *w, int job)
{
    for (int i = 0; i < w->exec_count && !w->healed && rng_chance(&w->ops, 70); i++) {
        int64_t at_ms = w->now_ms + rng_range(&w->ops, 0, 1500);
        if (w->execs[i].job != job || !w->execs[i].exists || !rng_chance(&w->ops, 25) || at_ms >= w->fault_end_ms)
            continue;
        if (w->execs[i].task_count && rng_chance(&w->ops, 50))
            push(w, at_ms, EV_X_ACT, i, 0, 4 /* ACT_FAIL */, w->execs[i].tasks[0].attempt, NULL);
        else
            push(w, at_ms, EV_X_DIE, i, 9, 0, 0, NULL);
    }
}

static void ask(struct world *w, int j)
{
    struct job *job = &w->jobs[j];
    if (w->operation_count == SIM_OPS_MAX || !jm_listens(w, job->jm))
        return;
    struct sim_operation *operation = &w->operations[w->operation_count++];
    int kind = rng_range(&w->ops, 0, 99);
    *operation = (struct sim_operation){
        .kind = kind < 10   ? WEIR_JM_OPERATION_CHECKPOINT
                : kind < 30 ? WEIR_JM_OPERATION_SAVEPOINT
                : kind < 60 ? WEIR_JM_OPERATION_STOP
                            : WEIR_JM_OPERATION_RESCALE,
        .job = j,
        .jm = job->jm,
        .drain = kind >= 30 && kind < 60 && rng_chance(&w->ops, 35),
        .asked_ms = w->now_ms,
    };
    snprintf(operation->id, sizeof operation->id, "%08x%024x", w->operation_count, 9);
    struct weir_jm_event event;
    node_init_jm_event(w, job->jm, &event, WEIR_JM_EVENT_OPERATION);
    event.request = w->next_request++;
    w->cancel_request_job[event.request % 256] = w->submit_request_job[event.request % 256] = -1;
    event.job_id = job->id;
    event.operation.kind = operation->kind;
    event.operation.id = operation->id;
    event.operation.target = "savepoints";
    event.operation.drain = operation->drain;
    if (operation->kind == WEIR_JM_OPERATION_RESCALE) {
        operation->override = rng_range(&w->ops, 1, 3);
        operation->override_before = job->override;
        event.operation.take_plan = plan_of_job(job, operation->override);
        event.operation.parallelism = operation->override;
        job->rescaled = false;
        job->near_end |= (w->seed + (uint64_t)w->operation_count) % 4 == 0; /* what it is rescaled to soon ends */
    }
    trace(w, "ask jm%d of job %.8s: %s%s %d", job->jm, job->id,
          operation->kind == WEIR_JM_OPERATION_CHECKPOINT  ? "checkpoint"
          : operation->kind == WEIR_JM_OPERATION_SAVEPOINT ? "savepoint"
          : operation->kind == WEIR_JM_OPERATION_STOP      ? "stop"
                                                           : "rescale",
          operation->drain ? " (drain)" : "", operation->override);
    plan_crash(w, j);
    plan_kill(w, j);
    jm_event(w, job->jm, &event);
}

/* One that makes checkpoints and has not ended, if there is one. */
static int pick_job(const struct world *w, int target)
{
    for (int i = 0; i < w->job_count; i++) {
        int j = (target + i) % w->job_count;
        if (w->jobs[j].checkpoints && w->jobs[j].head.exists && !weir_job_state_terminal(w->jobs[j].head.state))
            return j;
    }
    return target % w->job_count;
}

static Weir__Snapshot *snapshot_copy(const Weir__Snapshot *snapshot)
{
    size_t size = weir__snapshot__get_packed_size(snapshot);
    uint8_t *bytes = weir_alloc(size + 1);
    weir__snapshot__pack(snapshot, bytes);
    Weir__Snapshot *copy = weir__snapshot__unpack(&weir_proto_memory, size, bytes);
    weir_assert(copy);
    free(bytes);
    return copy;
}

static void restore_savepoint(struct world *w, int number)
{
    struct sim_savepoint *savepoint = &w->savepoints[number];
    if (w->job_count == SIM_JOBS_MAX || !jm_listens(w, w->jm) || !savepoint->metadata || savepoint->removed ||
        (savepoint->claimed && !rng_chance(&w->ops, 10)))
        return;
    if (w->jobs[savepoint->job].kafka && !sim_checkpoint(&w->jobs[savepoint->job], savepoint->checkpoint)->named)
        return; /* nobody was told that it is complete, and its job may go on from before it */
    struct weir_jm_restore restore = {
        .take_snapshot = snapshot_copy(savepoint->metadata),
        .path = savepoint->uri,
        .uri = savepoint->uri,
        .claim = rng_chance(&w->ops, 40),
    };
    plan_crash(w, w->job_count);
    int before = w->job_count;
    if (restore.claim)
        savepoint->claimed = true;
    submit(w, &w->jobs[savepoint->job], &restore);
    w->jobs[before].claims = restore.claim ? number : -1;
    w->jobs[before].imports_stopped = savepoint->stopped;
}

/* Of another job's storage: what it has may go meanwhile. */
static void restore_checkpoint(struct world *w, int from)
{
    struct job *job = &w->jobs[from];
    if (w->job_count == SIM_JOBS_MAX || !jm_listens(w, w->jm) || job->head.retained_count == 0 || !job->checkpoints)
        return;
    uint64_t id = job->head.retained[rng_range(&w->ops, 0, job->head.retained_count - 1)];
    struct weir_jm_restore restore = {
        .take_snapshot = snapshot_copy(sim_checkpoint(job, id)->metadata),
        .path = "a checkpoint",
        .uri = job->id,
        .claim = rng_chance(&w->ops, 40), /* of a checkpoint it means nothing */
    };
    plan_crash(w, w->job_count);
    submit(w, job, &restore);
}

/* The savepoint in which it ended, and the stop of its job. */
static void completed(struct world *w, const struct sim_operation *operation, const struct weir_jm_operation *view)
{
    struct job *job = &w->jobs[operation->job];
    w->counters[C_on_demand] += !job->periodic;
    if (view->kind == WEIR_JM_OPERATION_SAVEPOINT || view->kind == WEIR_JM_OPERATION_STOP) {
        int number = savepoint_find(w, view->location);
        uint64_t id = number < 0 ? 0 : w->savepoints[number].checkpoint; /* of a drain it is known at its end only */
        if (number < 0 || (!operation->drain && id != view->checkpoint) || !sim_checkpoint(job, id)->named)
            violate(w, "savepoint-in-name", "job %.8s: %s is called complete", job->id, view->location);
    }
    if (view->kind == WEIR_JM_OPERATION_STOP) {
        count(w, operation->drain ? C_drained : C_stopped);
        if (job->state != WEIR_JOB_FINISHED && !job->erased)
            violate(w, "stopped-in-name", "job %.8s is %s", job->id, weir_job_state_name(job->state));
        w->savepoints[savepoint_find(w, view->location)].stopped = true;
        if (!w->healed && rng_chance(&w->ops, 70))
            restore_savepoint(w, savepoint_find(w, view->location));
    } else if (view->kind == WEIR_JM_OPERATION_RESCALE) {
        count(w, C_rescaled);
        Weir__Head *head = weir__head__unpack(NULL, job->head.size, job->head.bytes);
        int override = override_in(head->configuration, head->n_configuration);
        weir__head__free_unpacked(head, NULL);
        bool newest = true; /* of an earlier one that is seen late the tasks may be gone again */
        for (int i = 0; i < w->operation_count; i++)
            newest &= w->operations[i].job != operation->job || w->operations[i].kind != WEIR_JM_OPERATION_RESCALE ||
                      &w->operations[i] <= operation;
        if (newest && (job->override != operation->override || override != operation->override))
            violate(w, "rescaled-in-name", "job %.8s: its parallelism is %d, in HEAD %d, and %d was asked for", job->id,
                    job->override, override, operation->override);
        job->rescaled = true;
    }
}

/* Whose job has run with other tasks to its end, and nobody else has asked for those. */
static void check_failed_rescale(struct world *w, const struct sim_operation *operation)
{
    const struct job *job = &w->jobs[operation->job];
    int asked = 0;
    for (int i = 0; i < w->operation_count; i++)
        asked += w->operations[i].job == operation->job && w->operations[i].override == operation->override;
    if (job->state == WEIR_JOB_FINISHED && job->override == operation->override &&
        job->override != operation->override_before && asked == 1)
        violate(w, "rescaled-without-name", "job %.8s has run with parallelism %d, which is said to have failed",
                job->id, job->override);
}

void operations_poll(struct world *w)
{
    int operations = w->operation_count;
    for (int i = 0; i < operations; i++) {
        struct sim_operation *operation = &w->operations[i];
        const struct jm_node *jm = &w->jms[operation->jm];
        if (operation->over)
            continue;
        operation->over = !jm->alive || jm->fenced || w->jobs[operation->job].jm != operation->jm;
        const struct weir_jm_operation *view = operation->over ? NULL : weir_jm_operation_find(jm->core, operation->id);
        if (!view || w->now_ms < jm->paused_until_ms)
            continue;
        if (view->state == WEIR_JM_OPERATION_IN_PROGRESS) {
            const struct weir_jm_job *of = weir_jm_job_find(jm->core, w->jobs[operation->job].id);
            bool waits = of && (strstr(of->status, "more slot") || strstr(of->status, "waiting for a TaskManager"));
            if (w->healed && w->now_ms > w->fault_end_ms + 150000 && !waits)
                violate(w, "operation-without-end", "of job %.8s", w->jobs[operation->job].id);
            continue;
        }
        operation->over = true;
        if (view->state == WEIR_JM_OPERATION_COMPLETED) {
            completed(w, operation, view);
            continue;
        }
        count(w, C_operation_failed);
        trace(w, "operation of job %.8s failed: %s", w->jobs[operation->job].id, view->failure);
        if (view->failure && strstr(view->failure, "by subtask"))
            count(w, C_rescale_refused);
        if (view->kind == WEIR_JM_OPERATION_RESCALE)
            check_failed_rescale(w, operation);
        if (!view->failure || !view->failure[0])
            violate(w, "no-reason", "an operation of job %.8s failed", w->jobs[operation->job].id);
    }
}

static bool is_step(const struct weir_jm_effect *effect, int step)
{
    switch (effect->kind) {
    case WEIR_JM_EFFECT_SEND:
        switch (effect->control->body_case) {
        case WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT:
            return step == STEP_TRIGGER;
        case WEIR__CONTROL__BODY_CANCEL_TASKS:
            return step == STEP_CANCEL;
        case WEIR__CONTROL__BODY_DEPLOY_TASKS:
            return step == STEP_DEPLOY;
        case WEIR__CONTROL__BODY_COMMIT_OUTPUT:
            return step == STEP_COMMIT;
        default:
            return false;
        }
    case WEIR_JM_EFFECT_STORE_COPY:
        return step == STEP_COPY;
    case WEIR_JM_EFFECT_STORE_PUT:
        return step == STEP_METADATA;
    case WEIR_JM_EFFECT_HEAD_PUT:
        return step == STEP_HEAD;
    default:
        return false;
    }
}

/* Of that job; what is sent to an executor names only that. */
static bool is_about(const struct world *w, const struct weir_jm_effect *effect, const struct job *job)
{
    const char *executor = NULL;
    if (effect->kind != WEIR_JM_EFFECT_SEND)
        return effect->job_id && strcmp(effect->job_id, job->id) == 0;
    if (effect->control->body_case == WEIR__CONTROL__BODY_COMMIT_OUTPUT)
        return strcmp(effect->control->commit_output->job_id, job->id) == 0;
    if (effect->control->body_case == WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT)
        executor = effect->control->trigger_checkpoint->executor_id;
    else if (effect->control->body_case == WEIR__CONTROL__BODY_CANCEL_TASKS)
        executor = effect->control->cancel_tasks->executor_id;
    else if (effect->control->body_case == WEIR__CONTROL__BODY_DEPLOY_TASKS)
        executor = effect->control->deploy_tasks->executor_id;
    for (int i = w->exec_count; executor && i-- > 0;)
        if (strcmp(w->execs[i].id, executor) == 0)
            return &w->jobs[w->execs[i].job] == job;
    return false;
}

bool crash_due(struct world *w, int jm, const struct weir_jm_effect *effect)
{
    if (!w->crash_step || w->healed || w->crash_job >= w->job_count || w->jobs[w->crash_job].jm != jm)
        return false;
    if (w->crash_step == STEPS) { /* it was performed, and what follows is not */
        w->crash_step = STEP_NONE;
        return true;
    }
    if (!is_step(effect, w->crash_step) || !is_about(w, effect, &w->jobs[w->crash_job]))
        return false;
    count(w, (enum counter)(C_crash_at_trigger + w->crash_step - STEP_TRIGGER));
    w->crash_step = w->crash_after ? STEPS : STEP_NONE;
    return !w->crash_after;
}

void do_op(struct world *w, int index)
{
    const struct op *op = &w->ops_list[index];
    w->events++;
    if (op->kind == OP_SUBMIT)
        submit_job(w);
    else if (w->job_count && op->kind == OP_CANCEL)
        cancel_job(w, op->target % w->job_count);
    else if (w->job_count && op->kind == OP_ASK)
        ask(w, pick_job(w, op->target));
    else if (w->savepoint_count && op->target % 2)
        restore_savepoint(w, op->target / 2 % w->savepoint_count);
    else if (w->job_count && op->kind == OP_RESTORE)
        restore_checkpoint(w, pick_job(w, op->target));
}
