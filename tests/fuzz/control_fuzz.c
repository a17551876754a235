/* Control messages, as both daemons take them: unpacked within a budget, then given to the cores, which are pure. A script of messages
 * runs against a JobManager with a job, or against a TaskManager with the executors that it was told to start.
 *
 * Input: a byte (0: JobManager, 1: TaskManager), then steps: a byte for the kind, a byte of flags, u16 size and that many bytes of a
 * Control. Where a flag says so, version, epoch, session and the next id are put right, so that a message gets past the session; and
 * executor ids "E0" to "E3" stand for those that the core itself gave.
 * Checked: every effect can be packed and is bounded, and what REST shows is made of it.
 */
#include <jansson.h>

#include "base/unpack.h"
#include "fuzz/fuzz.h"
#include "jobmanager/core/jm.h"
#include "taskmanager/core/tm.h"

#define JOB_ID "0123456789abcdef0123456789abcdef"
#define STEPS_MAX 64
#define EXECUTORS_MAX 4

enum { FIX_SESSION = 1, FIX_ID = 2, FIX_EXECUTOR = 4, PEER = 8 };

static char executors[EXECUTORS_MAX][33];
static int executor_count;

static void learn_executor(const char *id)
{
    if (executor_count < EXECUTORS_MAX && strlen(id) < sizeof executors[0])
        snprintf(executors[executor_count++], sizeof executors[0], "%s", id);
}

static void set_text(char **field, const char *text)
{
    if (*field != protobuf_c_empty_string)
        free(*field);
    *field = weir_strdup(text);
}

static void fix_executor(char **field)
{
    const char *id = *field;
    if (id[0] == 'E' && id[1] >= '0' && id[1] < '0' + executor_count && !id[2])
        set_text(field, executors[id[1] - '0']);
}

static void fix_executors(Weir__Control *control)
{
    switch (control->body_case) {
    case WEIR__CONTROL__BODY_EXECUTOR_REPORT:
        fix_executor(&control->executor_report->executor_id);
        break;
    case WEIR__CONTROL__BODY_TASK_REPORT:
        fix_executor(&control->task_report->executor_id);
        break;
    case WEIR__CONTROL__BODY_DEPLOY_TASKS:
        fix_executor(&control->deploy_tasks->executor_id);
        break;
    case WEIR__CONTROL__BODY_CANCEL_TASKS:
        fix_executor(&control->cancel_tasks->executor_id);
        break;
    case WEIR__CONTROL__BODY_STOP_EXECUTOR:
        fix_executor(&control->stop_executor->executor_id);
        break;
    default:
        break;
    }
}

static void check_packs(const Weir__Control *control)
{
    size_t size = weir__control__get_packed_size(control);
    uint8_t *bytes = weir_alloc(size + 1);
    fuzz_check(weir__control__pack(control, bytes) == size);
    Weir__Control *again = (Weir__Control *)weir_unpack(&weir__control__descriptor, bytes, size, NULL);
    fuzz_check(again);
    weir__control__free_unpacked(again, NULL);
    free(bytes);
}

/* NULL: no Control. */
static Weir__Control *next_control(struct fuzz_input *in, uint8_t flags, uint64_t epoch, uint64_t session, uint64_t *id)
{
    struct fuzz_input bytes = fuzz_take(in, (size_t)fuzz_number(in, 2));
    Weir__Control *control =
        (Weir__Control *)weir_unpack(&weir__control__descriptor, bytes.left ? bytes.at : NULL, bytes.left, NULL);
    if (!control)
        return NULL;
    if (flags & FIX_SESSION) {
        control->version = 1;
        control->leader_epoch = epoch;
        control->session = session;
    }
    if (flags & FIX_ID)
        control->id = ++*id;
    if (flags & FIX_EXECUTOR)
        fix_executors(control);
    return control;
}

/* --- A job of two vertices: source (2) -> sink (2), by hash */

static size_t make_graph(uint8_t *out)
{
    static Weir__JobGraph graph;
    static Weir__Vertex source, sink;
    static Weir__Edge edge;
    static Weir__Vertex *vertices[] = {&source, &sink};
    static Weir__Edge *edges[] = {&edge};
    static char *key[] = {(char *)"device"};
    weir__job_graph__init(&graph);
    weir__vertex__init(&source);
    weir__vertex__init(&sink);
    weir__edge__init(&edge);
    graph.version = 1;
    graph.name = (char *)"job";
    source.id = 1, source.op = (char *)"source", source.name = (char *)"in", source.parallelism = 2;
    sink.id = 2, sink.op = (char *)"sink", sink.name = (char *)"out", sink.parallelism = 2;
    edge.from = 1, edge.to = 2, edge.partition = WEIR__PARTITION__HASH, edge.key = key, edge.n_key = 1;
    graph.vertices = vertices, graph.n_vertices = 2;
    graph.edges = edges, graph.n_edges = 1;
    fuzz_check(weir__job_graph__get_packed_size(&graph) < 4096);
    return weir__job_graph__pack(&graph, out);
}

/* --- JobManager */

struct manager {
    struct weir_jm *jm;
    int64_t now_ms;
    uint64_t ids[2];
};

static void show(const struct weir_jm *jm)
{
    for (int i = 0; i < weir_jm_job_count(jm); i++) {
        const struct weir_jm_job *job = weir_jm_job_at(jm, i);
        for (int v = 0; v < job->plan->vertex_count; v++)
            (void)weir_task_state_name(weir_jm_vertex_state(job, v));
        fuzz_check(job->exception_count <= 16);
    }
    for (int i = 0; i < weir_jm_taskmanager_count(jm); i++) {
        const struct weir_jm_taskmanager *tm = weir_jm_taskmanager_at(jm, i);
        fuzz_check(tm->slots_free >= 0 && tm->slots_free <= tm->slot_count);
        for (int s = 0; s < tm->slot_count; s += 1 + tm->slot_count / 8) {
            (void)weir_jm_slot_job(tm, s);
            (void)strlen(weir_jm_slot_executor(tm, s));
        }
    }
    for (int i = 0; i < weir_jm_executor_count(jm); i++)
        (void)strlen(weir_jm_executor_at(jm, i).id);
    (void)weir_jm_digest(jm);
}

static void step_manager(struct manager *m, struct weir_jm_event *event)
{
    struct weir_jm_effects effects;
    event->now_ms = m->now_ms;
    event->wall_ms = 1000000 + m->now_ms;
    weir_jm_step(m->jm, event, &effects);
    fuzz_check(effects.count < 10000);
    for (int i = 0; i < effects.count; i++) {
        const struct weir_jm_effect *effect = &effects.items[i];
        if (effect->kind == WEIR_JM_EFFECT_SEND) {
            check_packs(effect->control);
            if (effect->control->body_case == WEIR__CONTROL__BODY_START_EXECUTOR)
                learn_executor(effect->control->start_executor->executor_id);
        } else if (effect->kind == WEIR_JM_EFFECT_LOG) {
            fuzz_check(strlen(effect->text) < 1024);
        }
    }
    show(m->jm);
}

static void submit(struct manager *m)
{
    static uint8_t graph[4096];
    size_t size = make_graph(graph);
    struct weir_plan_options options = {.parallelism = 1, .max_parallelism = 128, .chaining = true};
    struct weir_jm_event event = {.kind = WEIR_JM_EVENT_SUBMIT, .job_id = JOB_ID, .graph = graph, .graph_size = size};
    weir_jm_job_options_init(&event.job_options);
    event.job_options.restart = WEIR_JM_RESTART_FIXED_DELAY;
    event.job_options.fixed_attempts = 3;
    event.job_options.fixed_delay_ms = 10;
    fuzz_check(!weir_plan_build(graph, size, &options, &event.take_plan, NULL));
    step_manager(m, &event);
}

static void run_manager(struct fuzz_input *in)
{
    static const char *const peers[] = {"tm-1#1", "tm-2#1"};
    struct weir_jm_options options;
    weir_jm_options_init(&options);
    options.leader_epoch = 5;
    options.outbox_max = 64;
    struct manager m = {.jm = weir_jm_new(&options), .now_ms = 1000};
    submit(&m);
    for (int steps = 0; in->left > 0 && steps < STEPS_MAX; steps++) {
        uint8_t kind = (uint8_t)fuzz_number(in, 1), flags = (uint8_t)fuzz_number(in, 1);
        struct weir_jm_event event = {.kind = WEIR_JM_EVENT_TICK, .peer = peers[!!(flags & PEER)], .job_id = JOB_ID};
        Weir__Control *control = NULL;
        switch (kind & 7) {
        case 0:
            m.now_ms += flags * 16;
            break;
        case 1:
            event.kind = WEIR_JM_EVENT_DISCONNECTED;
            break;
        case 2:
            event.kind = WEIR_JM_EVENT_CANCEL;
            break;
        default:
            control = next_control(in, flags, 5, 1, &m.ids[!!(flags & PEER)]);
            if (!control)
                continue;
            if (control->body_case == WEIR__CONTROL__BODY_REGISTER && flags & FIX_SESSION)
                control->register_->session = 1;
            event.kind = WEIR_JM_EVENT_MESSAGE;
            event.control = control;
        }
        step_manager(&m, &event);
        if (control)
            weir__control__free_unpacked(control, NULL);
    }
    weir_jm_free(m.jm);
}

/* --- TaskManager */

struct worker {
    struct weir_tm *tm;
    int64_t now_ms;
    uint64_t id;
    int depth; /* of answers to answers */
};

static void step_worker(struct worker *w, struct weir_tm_event *event);

/* What io answers at once: code is there, processes start. */
static void perform(struct worker *w, const struct weir_tm_effect *effect)
{
    struct weir_tm_event event = {.kind = WEIR_TM_EVENT_TICK};
    char text[100] = "";
    switch (effect->kind) {
    case WEIR_TM_EFFECT_CONNECT:
        event.kind = WEIR_TM_EVENT_LINE_CONNECTED;
        break;
    case WEIR_TM_EFFECT_SPAWN:
        learn_executor(effect->executor_id);
        snprintf(text, sizeof text, "%.90s", effect->executor_id);
        event.kind = WEIR_TM_EVENT_EXECUTOR_SPAWNED;
        event.executor_id = text;
        event.pid = 4711;
        break;
    case WEIR_TM_EFFECT_FETCH_CODE:
        snprintf(text, sizeof text, "%.90s", effect->sha256);
        event.kind = strlen(effect->sha256) % 2 ? WEIR_TM_EVENT_CODE_FAILED : WEIR_TM_EVENT_CODE_READY;
        event.sha256 = text;
        event.text = "/somewhere";
        break;
    default:
        return;
    }
    step_worker(w, &event);
}

static void step_worker(struct worker *w, struct weir_tm_event *event)
{
    struct weir_tm_effects effects;
    struct weir_tm_effect first = {.kind = WEIR_TM_EFFECT_LOG};
    char ids[3][256] = {"", "", ""};
    event->now_ms = w->now_ms;
    weir_tm_step(w->tm, event, &effects);
    fuzz_check(effects.count < 10000);
    for (int i = 0; i < effects.count; i++) {
        const struct weir_tm_effect *effect = &effects.items[i];
        if (effect->control)
            check_packs(effect->control);
        if (effect->kind == WEIR_TM_EFFECT_LOG)
            fuzz_check(effect->text);
        if (first.kind == WEIR_TM_EFFECT_LOG &&
            (effect->kind == WEIR_TM_EFFECT_CONNECT || effect->kind == WEIR_TM_EFFECT_SPAWN ||
             effect->kind == WEIR_TM_EFFECT_FETCH_CODE)) {
            first.kind = effect->kind;
            snprintf(ids[0], sizeof ids[0], "%s", effect->executor_id ? effect->executor_id : "");
            snprintf(ids[1], sizeof ids[1], "%s", effect->sha256 ? effect->sha256 : "");
        }
    }
    for (int i = 0; i < weir_tm_executor_count(w->tm); i++)
        (void)strlen(weir_tm_executor_at(w->tm, i).job_name);
    fuzz_check(weir_tm_executor_count(w->tm) <= 4096);
    (void)weir_tm_digest(w->tm);
    first.executor_id = ids[0];
    first.sha256 = ids[1];
    if (first.kind != WEIR_TM_EFFECT_LOG && w->depth < 4) {
        w->depth++;
        perform(w, &first);
        w->depth--;
    }
}

static void register_worker(struct worker *w)
{
    Weir__Control control;
    Weir__RegisterAck ack;
    weir__control__init(&control);
    weir__register_ack__init(&ack);
    control.version = 1, control.leader_epoch = 5, control.session = weir_tm_session(w->tm);
    control.body_case = WEIR__CONTROL__BODY_REGISTER_ACK;
    control.register_ack = &ack;
    ack.accepted = true, ack.heartbeat_interval_ms = 1000, ack.heartbeat_timeout_ms = 5000;
    struct weir_tm_event event = {.kind = WEIR_TM_EVENT_MESSAGE, .control = &control};
    step_worker(w, &event);
}

static void run_worker(struct fuzz_input *in)
{
    struct weir_tm_options options;
    weir_tm_options_init(&options);
    options.taskmanager_id = "tm";
    options.slots = 4;
    struct worker w = {.tm = weir_tm_new(&options), .now_ms = 1000};
    struct weir_tm_event start = {.kind = WEIR_TM_EVENT_START};
    step_worker(&w, &start);
    register_worker(&w);
    for (int steps = 0; in->left > 0 && steps < STEPS_MAX; steps++) {
        uint8_t kind = (uint8_t)fuzz_number(in, 1), flags = (uint8_t)fuzz_number(in, 1);
        struct weir_tm_event event = {.kind = WEIR_TM_EVENT_TICK, .job_id = JOB_ID, .text = "x"};
        event.executor_id = executor_count ? executors[flags >> 4 & 3] : "none";
        Weir__Control *control = NULL;
        Weir__Failure *failure = NULL;
        switch (kind & 7) {
        case 0:
            w.now_ms += flags * 16;
            break;
        case 1: { /* a process ends; what its crash handler left, which user code can write to, is anything */
            struct fuzz_input bytes = fuzz_take(in, (size_t)fuzz_number(in, 2));
            failure = (Weir__Failure *)weir_unpack(&weir__failure__descriptor, bytes.left ? bytes.at : NULL, bytes.left,
                                                   NULL);
            event.kind = WEIR_TM_EVENT_EXECUTOR_EXITED;
            event.signal = flags & 8 ? 11 : 0;
            event.failure = failure;
            break;
        }
        case 2:
            event.kind = WEIR_TM_EVENT_LINE_BROKEN;
            break;
        case 3:
            register_worker(&w);
            continue;
        case 4:
            control = next_control(in, flags, 5, weir_tm_session(w.tm), &(uint64_t){0});
            event.kind = WEIR_TM_EVENT_EXECUTOR_MESSAGE;
            break;
        default:
            control = next_control(in, flags, 5, weir_tm_session(w.tm), &w.id);
            event.kind = WEIR_TM_EVENT_MESSAGE;
        }
        event.control = control;
        if ((kind & 7) < 4 || control)
            step_worker(&w, &event);
        if (control)
            weir__control__free_unpacked(control, NULL);
        if (failure)
            weir__failure__free_unpacked(failure, NULL);
    }
    weir_tm_free(w.tm);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    executor_count = 0;
    memset(executors, 0, sizeof executors);
    if (fuzz_number(&in, 1) & 1)
        run_worker(&in);
    else
        run_manager(&in);
    return 0;
}

/* --- Seeds: a job's life on both sides, as messages */

static uint8_t script[1 << 16];
static size_t script_size;

static void begin(uint8_t side)
{
    script[0] = side;
    script_size = 1;
}

static void add(uint8_t kind, uint8_t flags, Weir__Control__BodyCase body, void *message)
{
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = body;
    control.ack = message; /* a union of pointers */
    control.version = 1, control.leader_epoch = 5, control.session = 1;
    size_t size = weir__control__get_packed_size(&control);
    script[script_size++] = kind;
    script[script_size++] = flags;
    script[script_size++] = (uint8_t)size;
    script[script_size++] = (uint8_t)(size >> 8);
    script_size += weir__control__pack(&control, script + script_size);
}

static Weir__TaskId task_ids[4];
static Weir__TaskId *task_id(int vertex, int subtask)
{
    Weir__TaskId *id = &task_ids[vertex * 2 + subtask];
    weir__task_id__init(id);
    id->vertex = (uint32_t)vertex, id->subtask = (uint32_t)subtask, id->attempt = 1;
    return id;
}

static void add_register(uint8_t flags, const char *name)
{
    Weir__Register reg;
    weir__register__init(&reg);
    reg.taskmanager_id = (char *)(uintptr_t)name, reg.host = (char *)"127.0.0.1", reg.slots = 2, reg.session = 1;
    reg.log_directory = (char *)"/logs", reg.memory_bytes = 1 << 30, reg.cpu_cores = 2, reg.pid = 7;
    Weir__ExecutorReport old;
    weir__executor_report__init(&old);
    old.executor_id = (char *)"00000000000000000000000000000001", old.job_id = (char *)JOB_ID;
    uint32_t slots[] = {1};
    old.slots = slots, old.n_slots = 1;
    Weir__ExecutorReport *reports[] = {&old};
    reg.executors = reports, reg.n_executors = flags & PEER ? 1 : 0;
    add(3, flags, WEIR__CONTROL__BODY_REGISTER, &reg);
}

static void add_ready(uint8_t kind, uint8_t flags, const char *executor)
{
    Weir__ExecutorReport report;
    weir__executor_report__init(&report);
    report.executor_id = (char *)(uintptr_t)executor, report.job_id = (char *)JOB_ID;
    report.state = WEIR__EXECUTOR_REPORT__STATE__READY, report.endpoint = (char *)"tcp://127.0.0.1:4000";
    add(kind, flags, WEIR__CONTROL__BODY_EXECUTOR_REPORT, &report);
}

static void add_state(uint8_t kind, uint8_t flags, const char *executor, Weir__TaskId *id, Weir__TaskState state)
{
    Weir__TaskReport report;
    Weir__Failure failure;
    Weir__TaskMetrics metrics;
    Weir__Committable committable;
    Weir__Committable *committables[] = {&committable};
    weir__task_report__init(&report);
    weir__failure__init(&failure);
    weir__task_metrics__init(&metrics);
    weir__committable__init(&committable);
    report.executor_id = (char *)(uintptr_t)executor, report.job_id = (char *)JOB_ID, report.task = id,
    report.state = state;
    metrics.job_id = (char *)JOB_ID, metrics.task = id, metrics.records_in = 5;
    report.metrics = &metrics;
    committable.connector = (char *)"filesystem", committable.text = (char *)"/out\npart-0";
    report.committables = committables, report.n_committables = state == WEIR__TASK_STATE__FINISHED;
    failure.kind = (char *)"BadRecord", failure.message = (char *)"no";
    report.failure = state == WEIR__TASK_STATE__FAILED ? &failure : NULL;
    add(kind, flags, WEIR__CONTROL__BODY_TASK_REPORT, &report);
}

static void add_heartbeat(uint8_t kind, uint8_t flags, uint64_t sequence)
{
    Weir__Heartbeat beat;
    Weir__ProcessMetrics process;
    Weir__TaskMetrics metrics;
    Weir__OperatorMetrics op;
    Weir__TaskMetrics *all[] = {&metrics};
    Weir__OperatorMetrics *ops[] = {&op};
    weir__heartbeat__init(&beat);
    weir__process_metrics__init(&process);
    weir__task_metrics__init(&metrics);
    weir__operator_metrics__init(&op);
    metrics.job_id = (char *)JOB_ID, metrics.task = task_id(0, 0), metrics.operators = ops, metrics.n_operators = 1;
    beat.sequence = sequence, beat.process = &process, beat.metrics = all, beat.n_metrics = 1;
    process.rss_bytes = 1 << 20;
    add(kind, flags, WEIR__CONTROL__BODY_HEARTBEAT, &beat);
}

static void add_ack(uint8_t kind, uint8_t flags, uint64_t id)
{
    Weir__Ack ack;
    weir__ack__init(&ack);
    ack.id = id;
    add(kind, flags, WEIR__CONTROL__BODY_ACK, &ack);
}

static void manager_seed(fuzz_put *put, const char *name, Weir__TaskState end)
{
    uint8_t right = FIX_SESSION | FIX_EXECUTOR;
    Weir__CommitDone done;
    weir__commit_done__init(&done);
    done.job_id = (char *)JOB_ID;
    begin(0);
    add_register(right, "tm-1");
    add_heartbeat(3, right, 1);
    add_ack(3, right, 9);
    add_ready(3, right | FIX_ID, "E0");
    add_ack(3, right, 9);
    for (int state = WEIR__TASK_STATE__INITIALIZING; state <= (int)end; state++)
        for (int i = 0; i < 4 && (state < WEIR__TASK_STATE__FINISHED || state == (int)end); i++)
            add_state(3, right | FIX_ID, "E0", task_id(i / 2, i % 2), (Weir__TaskState)state);
    add_heartbeat(3, right, 2);
    add_ack(3, right, 99);
    add(3, right | FIX_ID, WEIR__CONTROL__BODY_COMMIT_DONE, &done);
    add_register(right | PEER, "tm-2");
    script[script_size++] = 1; /* disconnected */
    script[script_size++] = 0;
    put(name, script, script_size);
}

static void worker_seed(fuzz_put *put)
{
    uint8_t right = FIX_SESSION | FIX_EXECUTOR | FIX_ID, from_executor = FIX_EXECUTOR;
    Weir__StartExecutor start;
    weir__start_executor__init(&start);
    uint32_t slots[] = {0, 1};
    start.executor_id = (char *)"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", start.job_id = (char *)JOB_ID;
    start.code_sha256 = (char *)"0011223344556677001122334455667700112233445566770011223344556677";
    start.job_name = (char *)"job", start.slots = slots, start.n_slots = 2, start.incarnation = 1;
    begin(1);
    add(5, right, WEIR__CONTROL__BODY_START_EXECUTOR, &start);
    add_ready(4, from_executor, "E0");
    Weir__DeployTasks deploy;
    Weir__Peer peer;
    Weir__TaskLocation location;
    Weir__Peer *peers[] = {&peer};
    Weir__TaskLocation *locations[] = {&location};
    Weir__TaskId *ids[] = {task_id(0, 0), task_id(0, 1)};
    weir__deploy_tasks__init(&deploy);
    weir__peer__init(&peer);
    weir__task_location__init(&location);
    peer.executor_id = start.executor_id, peer.endpoint = (char *)"tcp://127.0.0.1:1", location.task = task_id(1, 0);
    deploy.executor_id = (char *)"E0", deploy.tasks = ids, deploy.n_tasks = 2, deploy.slots = slots, deploy.n_slots = 2;
    deploy.peers = peers, deploy.n_peers = 1, deploy.locations = locations, deploy.n_locations = 1;
    add(5, right, WEIR__CONTROL__BODY_DEPLOY_TASKS, &deploy);
    add_state(4, from_executor, "E0", task_id(0, 0), WEIR__TASK_STATE__RUNNING);
    add_heartbeat(4, from_executor, 1);
    Weir__HeartbeatAck beat;
    weir__heartbeat_ack__init(&beat);
    beat.sequence = 1;
    add(5, FIX_SESSION, WEIR__CONTROL__BODY_HEARTBEAT_ACK, &beat);
    Weir__CancelTasks cancel;
    weir__cancel_tasks__init(&cancel);
    cancel.executor_id = (char *)"E0", cancel.tasks = ids, cancel.n_tasks = 2;
    add(5, right, WEIR__CONTROL__BODY_CANCEL_TASKS, &cancel);
    add_state(4, from_executor, "E0", task_id(0, 0), WEIR__TASK_STATE__CANCELED);
    put("taskmanager-cancel", script, script_size);
    Weir__StopExecutor stop;
    weir__stop_executor__init(&stop);
    stop.executor_id = (char *)"E0";
    add(5, right, WEIR__CONTROL__BODY_STOP_EXECUTOR, &stop);
    Weir__CommitOutput commit;
    weir__commit_output__init(&commit);
    commit.job_id = (char *)JOB_ID;
    add(5, right, WEIR__CONTROL__BODY_COMMIT_OUTPUT, &commit);
    Weir__AbortOutput abort_output;
    weir__abort_output__init(&abort_output);
    abort_output.job_id = (char *)JOB_ID;
    add(5, right, WEIR__CONTROL__BODY_ABORT_OUTPUT, &abort_output);
    Weir__Failure failure;
    weir__failure__init(&failure);
    failure.kind = (char *)"UserCodeCrash", failure.message = (char *)"oops", failure.stack = (char *)"#0 f\n";
    size_t size = weir__failure__get_packed_size(&failure);
    script[script_size++] = 1;
    script[script_size++] = 8;
    script[script_size++] = (uint8_t)size;
    script[script_size++] = 0;
    script_size += weir__failure__pack(&failure, script + script_size);
    add_ack(5, FIX_SESSION, 3);
    script[script_size++] = 2; /* line broken, time, registered anew */
    script[script_size++] = 0;
    script[script_size++] = 0;
    script[script_size++] = 255;
    script[script_size++] = 3;
    script[script_size++] = 0;
    put("taskmanager-stop", script, script_size);
}

void fuzz_seeds(fuzz_put *put)
{
    manager_seed(put, "jobmanager-finished", WEIR__TASK_STATE__FINISHED);
    manager_seed(put, "jobmanager-failed", WEIR__TASK_STATE__FAILED);
    manager_seed(put, "jobmanager-canceled", WEIR__TASK_STATE__CANCELED);
    worker_seed(put);
}
