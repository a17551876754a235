/* What happens in a seed: the cluster's shape, which faults when (a random subset of kinds each), what the operator submits and
 * cancels. Faults are a list made beforehand, so that the shrinker can leave some out.
 */
#include "tests/sim/sim.h"

const char *const fault_names[F_KINDS] = {"tm-crash",    "tm-pause",    "exec-crash",   "exec-pause",  "exec-stuck",
                                          "task-fail",   "jm-crash",    "jm-pause",     "jm-replace",  "line-break",
                                          "partition",   "loss",        "delay",        "dup",         "spawn-fail",
                                          "code-fail",   "start-stuck", "deploy-stuck", "cancel-hang", "unkillable",
                                          "commit-fail", "commit-slow", "forge",        "flap",        "exec-grows"};

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
    Weir__KeyValue option, *option_list[1];
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
    uint32_t parallelism = (uint32_t)rng_range(rng, 1, 3);
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
            parallelism = (uint32_t)rng_range(rng, 1, 3);
        uint32_t next = add_vertex(g, i == middle ? "sink" : "map", parallelism);
        add_edge(g, before, next, partitions[rng_range(rng, 0, 4)]);
        if (rng_chance(rng, 25))
            g->vertices[next - 1].no_chaining = true;
        before = next;
    }
    if (rng_chance(rng, 10)) {
        g->vertices[source - 1].options = g->option_list;
        g->vertices[source - 1].n_options = 1;
    }
}

static struct weir_plan *build_plan(const uint8_t *bytes, size_t size)
{
    struct weir_plan_options options = {.parallelism = 1, .chaining = true};
    struct weir_plan *plan;
    struct weir_error error;
    weir_err err = weir_plan_build(bytes, size, &options, &plan, &error);
    weir_assert(!err);
    return plan;
}

struct weir_plan *plan_of_job(const struct job *job)
{
    return build_plan(job->graph, job->graph_size);
}

static struct weir_plan *random_plan(struct rng *rng, uint8_t **bytes, size_t *size)
{
    struct graph_build *g = weir_zalloc(sizeof *g);
    weir__job_graph__init(&g->graph);
    weir__key_value__init(&g->option);
    g->option.key = (char *)"slot-sharing-group";
    g->option.value = (char *)"other";
    g->option_list[0] = &g->option;
    g->key[0] = (char *)"k";
    g->graph.version = 1;
    g->graph.name = (char *)"sim";
    g->graph.vertices = g->vertex_list;
    g->graph.edges = g->edge_list;
    if (rng_chance(rng, 60))
        g->graph.code_sha256 = (char *)"c0de";
    for (int i = rng_range(rng, 1, 3); i > 0; i--)
        add_component(g, rng);
    *size = weir__job_graph__get_packed_size(&g->graph);
    *bytes = weir_alloc(*size);
    weir__job_graph__pack(&g->graph, *bytes);
    free(g);
    return build_plan(*bytes, *size);
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

static void describe_job(struct job *job, const struct weir_plan *plan)
{
    job->slots_needed = plan->slots_needed;
    job->task_count = plan->task_count;
    job->region_count = plan->task_region_count;
    weir_assert(job->task_count <= SIM_TASKS_MAX);
    for (int v = 0; v < plan->vertex_count; v++) {
        bool sink = false; /* the chain ends in a sink, so each of its subtasks has something to publish */
        for (int o = 0; o < plan->vertices[v].op_count; o++)
            sink |= strcmp(plan->ops[plan->vertices[v].ops[o]].vertex->op, "sink") == 0;
        for (int i = 0; i < plan->vertices[v].parallelism; i++) {
            int t = plan->vertices[v].first_task + i;
            job->tasks[t] = (struct jtask){.vertex = v, .subtask = i, .region = plan->task_regions[t], .sink = sink};
            snprintf(job->tasks[t].uid, sizeof job->tasks[t].uid, "%s", plan->ops[plan->vertices[v].ops[0]].uid);
            for (int e = 0; e < plan->vertices[v].input_count; e++) {
                const struct weir_plan_edge *edge = &plan->edges[plan->vertices[v].inputs[e]];
                const struct weir_plan_vertex *from = &plan->vertices[edge->from_vertex];
                for (int s = 0; s < from->parallelism; s++)
                    if (edge->partition != WEIR__PARTITION__FORWARD || s == i)
                        job->tasks[t].producers |= 1ull << (from->first_task + s);
            }
        }
    }
}

void submit_job(struct world *w)
{
    if (w->job_count == SIM_JOBS_MAX || !w->jms[w->jm].alive || w->now_ms < w->jms[w->jm].paused_until_ms)
        return;
    struct job *job = &w->jobs[w->job_count];
    memset(job, 0, sizeof *job);
    snprintf(job->id, sizeof job->id, "%08x%024x", w->job_count + 1, 7);
    job->jm = w->jm;
    job->bounded = rng_chance(&w->ops, 65);
    job->output = rng_chance(&w->ops, 80);
    job->hangs = rng_chance(&w->ops, 8);
    job->options = random_options(&w->ops);
    store_plan_job(w, job);
    job->ending_deadline_ms = INT64_MAX;
    job->cancel_asked_ms = -1;
    for (int r = 0; r < SIM_TASKS_MAX; r++)
        job->region_ended_ms[r] = -1;
    struct weir_plan *plan = random_plan(&w->ops, &job->graph, &job->graph_size);
    job->needs_code = plan->graph->code_sha256[0] != 0;
    describe_job(job, plan);
    w->job_count++;
    count(w, C_jobs_submitted);
    trace(w, "submit job %.8s: %d tasks in %d regions, %d slots, %s%s, strategy %d", job->id, job->task_count,
          job->region_count, job->slots_needed, job->bounded ? "bounded" : "unbounded",
          job->hangs ? ", ignores cancel" : "", (int)job->options.restart);
    struct weir_jm_event event;
    node_init_jm_event(w, w->jm, &event, WEIR_JM_EVENT_SUBMIT);
    event.request = w->next_request++;
    w->cancel_request_job[event.request % 256] = -1;
    w->submit_request_job[event.request % 256] = w->job_count - 1;
    event.durable = job->durable;
    event.job_id = job->id;
    event.take_plan = plan;
    event.graph = job->graph;
    event.graph_size = job->graph_size;
    event.job_options = job->options;
    jm_event(w, w->jm, &event);
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

void do_op(struct world *w, int index)
{
    const struct op *op = &w->ops_list[index];
    w->events++;
    if (op->kind == OP_SUBMIT)
        submit_job(w);
    else if (w->job_count)
        cancel_job(w, op->target % w->job_count);
}
