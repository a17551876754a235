/* The executor as its supervisor sees it: over a control line, with operators of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "connectors/connector.h"
#include "control.pb-c.h"
#include "executor/executor.h"
#include "graph/graph_build.h"
#include "state/snapshot.h"
#include "taskmanager/io/executor_line.h"
#include "unit/task_kit.h"

#define JOB "11111111111111111111111111111111"
static const char *const ids[] = {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"};
static const char *program;

/* --- The operator table of this test: what an operator does is in specs[name's subtask] */

static struct kit_spec sources[4], passes[4], sinks[8];

/* Orders the test's own writes and reads of specs with those of the tasks: the control line does so in fact, and no
 * sanitizer can see it. */
static _Atomic int specs_set;

static void see_ends(void)
{
    for (int i = 0; i < 8; i++)
        (void)(i < 4 ? sources[i].closed + passes[i].closed + sinks[i].closed : sinks[i].closed);
}

static weir_err open_with_spec(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_error *error)
{
    (void)atomic_load(&specs_set);
    struct kit_spec *specs = strcmp(ctx->plan->name, "source") == 0 ? sources
                             : strcmp(ctx->plan->name, "sink") == 0 ? sinks
                                                                    : passes;
    ctx->function = &specs[ctx->subtask];
    return kit_open(op, ctx, error);
}

/* The source's state is where it is; the sink's its row count in a part too large for a message. */
#define BIG_SIZE 40000
static _Atomic int64_t restored_next[4], restored_rows[8];

static weir_err source_snapshot(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_snapshot *snapshot,
                                struct weir_error *error)
{
    (void)error;
    struct weir_buf bytes;
    weir_buf_init(&bytes, SIZE_MAX / 2);
    weir_put_i64(&bytes, ((struct kit_state *)op)->next);
    weir_snapshot_add(snapshot, ctx->plan->uid, "position", WEIR_STATE_SUBTASK, &bytes);
    return WEIR_OK;
}

static weir_err source_open(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_error *error)
{
    weir_err err = open_with_spec(op, ctx, error);
    const struct weir_restored_part *part = weir_restored_next(ctx->restored, ctx->plan->uid, "position", NULL);
    if (err || !part)
        return err;
    struct weir_part_reader reader = weir_part_read(part);
    ((struct kit_state *)op)->next = restored_next[ctx->subtask] = weir_get_i64(&reader);
    return weir_part_read_end(&reader, "position", error);
}

static weir_err sink_snapshot(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_snapshot *snapshot,
                              struct weir_error *error)
{
    (void)op, (void)error;
    struct weir_buf bytes;
    static const uint8_t zeros[BIG_SIZE];
    weir_buf_init(&bytes, SIZE_MAX / 2);
    weir_put_i64(&bytes, sinks[ctx->subtask].row_count);
    weir_put_bytes(&bytes, zeros, sizeof zeros);
    weir_snapshot_add(snapshot, ctx->plan->uid, "rows", WEIR_STATE_SUBTASK, &bytes);
    weir_snapshot_add_committable(snapshot, "kit", "pending", NULL);
    return WEIR_OK;
}

static weir_err sink_open(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_error *error)
{
    const struct weir_restored_part *part = weir_restored_next(ctx->restored, ctx->plan->uid, "rows", NULL);
    if (part) {
        struct weir_part_reader reader = weir_part_read(part);
        restored_rows[ctx->subtask] = weir_get_i64(&reader);
        size_t size;
        (void)weir_get_bytes(&reader, &size);
        weir_err err = weir_part_read_end(&reader, "rows", error);
        if (err)
            return err;
    }
    return open_with_spec(op, ctx, error);
}

static weir_err plan_rows(struct weir_op_plan *plan, struct weir_error *error)
{
    (void)error;
    plan->output = weir_schema_ref(kit_schema());
    return 0;
}

static weir_err plan_nothing(struct weir_op_plan *plan, struct weir_error *error)
{
    (void)plan, (void)error;
    return 0;
}

static enum weir_step crash_batch(struct weir_op *op, struct weir_op_ctx *ctx, int input, struct weir_batch *batch)
{
    (void)op, (void)ctx, (void)input, (void)batch;
    volatile int *nowhere = (volatile int *)(uintptr_t)4096; /* never mapped */
    *nowhere = 1;
    return WEIR_STEP_DONE;
}

static enum weir_step hang_batch(struct weir_op *op, struct weir_op_ctx *ctx, int input, struct weir_batch *batch)
{
    (void)op, (void)ctx, (void)input, (void)batch;
    const char *mark = getenv("WEIR_TEST_HANG_MARK"); /* tells the test that it hangs now */
    if (mark)
        close(open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    for (;;)
        pause();
    return WEIR_STEP_DONE;
}

static const struct weir_op_vtable op_source = {.name = "kit_source",
                                                .size = sizeof(struct kit_state),
                                                .is_source = true,
                                                .plan = plan_rows,
                                                .open = source_open,
                                                .snapshot = source_snapshot,
                                                .produce = kit_produce,
                                                .close = kit_close};
static const struct weir_op_vtable op_pass = {.name = "kit_pass",
                                              .size = sizeof(struct kit_state),
                                              .plan = plan_rows,
                                              .open = open_with_spec,
                                              .batch = kit_pass,
                                              .close = kit_close};
static const struct weir_op_vtable op_sink = {.name = "kit_sink",
                                              .size = sizeof(struct kit_state),
                                              .plan = plan_nothing,
                                              .open = sink_open,
                                              .snapshot = sink_snapshot,
                                              .batch = kit_sink_batch,
                                              .watermark = kit_sink_watermark,
                                              .end = kit_sink_end,
                                              .close = kit_close};
static const struct weir_op_vtable op_crash = {.name = "kit_crash", .plan = plan_rows, .batch = crash_batch};
static const struct weir_op_vtable op_hang = {.name = "kit_hang", .plan = plan_rows, .batch = hang_batch};
const struct weir_op_vtable *const weir_ops[] = {&op_crash, &op_hang, &op_pass, &op_sink, &op_source, NULL};

weir_err weir_op_find(const char *name, const struct weir_op_vtable **vtable, struct weir_error *error)
{
    for (int i = 0; weir_ops[i]; i++)
        if (strcmp(weir_ops[i]->name, name) == 0) {
            *vtable = weir_ops[i];
            return 0;
        }
    return weir_fail(error, WEIR_ERR_NOT_FOUND, "there is no operator '%s'", name);
}

weir_err weir_connectors_load(void *handle, struct weir_error *error)
{
    (void)handle, (void)error;
    return 0;
}

/* --- A supervisor's end */

struct super {
    struct weir_executor_line line;
    pthread_t thread;
    int thread_fd;
    int result;
    pid_t pid;
    int crash_fd;
    char endpoint[256];
};

static void *executor_thread(void *arg)
{
    struct super *s = arg;
    s->result = weir_executor_run(s->thread_fd);
    close(s->thread_fd);
    return NULL;
}

static void super_thread(struct super *s)
{
    memset(s, 0, sizeof *s);
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    weir_executor_line_init(&s->line, pair[0]);
    s->thread_fd = fcntl(pair[1], F_DUPFD_CLOEXEC, 20);
    close(pair[1]);
    s->crash_fd = -1;
    assert_int_equal(pthread_create(&s->thread, NULL, executor_thread, s), 0);
}

static void super_process(struct super *s, const char *mode)
{
    memset(s, 0, sizeof *s);
    int pair[2], crash[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(pipe(crash), 0);
    s->pid = fork();
    if (s->pid == 0) {
        int control = fcntl(pair[1], F_DUPFD, 20), report = fcntl(crash[1], F_DUPFD, 20);
        close(pair[0]);
        close(crash[0]);
        dup2(control, 3);
        dup2(report, 4);
        close(control);
        close(report);
        for (int fd = 5; fd < 64; fd++)
            close(fd);
        execl(program, program, mode, (char *)NULL);
        _exit(127);
    }
    close(pair[1]);
    close(crash[1]);
    weir_executor_line_init(&s->line, pair[0]);
    s->crash_fd = crash[0];
}

static void send_message(struct super *s, Weir__Control *message)
{
    message->version = 1;
    assert_true(weir_executor_line_send(&s->line, message));
    assert_false(weir_executor_line_wants_write(&s->line));
}

/* The next message that is no heartbeat, unless one is wanted; NULL: the line closed. */
static Weir__Control *next_message(struct super *s, bool heartbeat)
{
    for (int64_t begin = weir_clock_mono_ms(); weir_clock_mono_ms() - begin < 60000;) {
        bool broken;
        Weir__Control *message = weir_executor_line_next(&s->line, &broken);
        assert_false(broken);
        if (message && (message->body_case == WEIR__CONTROL__BODY_HEARTBEAT) == heartbeat)
            return message;
        if (message) {
            weir__control__free_unpacked(message, NULL);
            continue;
        }
        if (s->line.fd < 0)
            return NULL;
        struct pollfd fd = {.fd = s->line.fd, .events = POLLIN};
        poll(&fd, 1, 1000);
        (void)weir_executor_line_fill(&s->line);
    }
    fail_msg("the executor says nothing");
    return NULL;
}

struct graph {
    uint8_t *bytes;
    size_t size;
};

/* source(p) -> [op] -> hash -> sink(q) */
static struct graph graph_of(int source_parallelism, const char *op, int sink_parallelism)
{
    Weir__JobGraph *graph = weir_graph_new("test");
    Weir__Vertex *source = weir_graph_add_vertex(graph, 1, "kit_source", "source", "test.c:1");
    source->parallelism = (uint32_t)source_parallelism;
    source->output = weir_graph_schema(kit_schema());
    uint32_t last = 1;
    if (op) {
        Weir__Vertex *pass = weir_graph_add_vertex(graph, 2, op, "pass", "test.c:2");
        pass->parallelism = (uint32_t)source_parallelism;
        pass->output = weir_graph_schema(kit_schema());
        weir_graph_add_edge(graph, 1, 0, 2, 0, WEIR__PARTITION__FORWARD, NULL, 0);
        last = 2;
    }
    Weir__Vertex *sink = weir_graph_add_vertex(graph, 3, "kit_sink", "sink", "test.c:3");
    sink->parallelism = (uint32_t)sink_parallelism;
    const char *key[] = {"key"};
    weir_graph_add_edge(graph, last, 0, 3, 0, WEIR__PARTITION__HASH, key, 1);
    struct graph out;
    out.size = weir__job_graph__get_packed_size(graph);
    out.bytes = malloc(out.size);
    weir__job_graph__pack(graph, out.bytes);
    weir__job_graph__free_unpacked(graph, NULL);
    return out;
}

static const char *checkpoint_dir; /* of the jobs that are started; NULL: no checkpoints */

static void send_start_keys(struct super *s, int which, const struct graph *graph, int64_t lease_ms, const char *key,
                            const char *value)
{
    Weir__Control message;
    Weir__ExecutorStart start;
    Weir__StartExecutor inner;
    Weir__KeyValue pair, *pairs[] = {&pair};
    weir__control__init(&message);
    weir__executor_start__init(&start);
    weir__start_executor__init(&inner);
    weir__key_value__init(&pair);
    pair.key = (char *)(uintptr_t)key;
    pair.value = (char *)(uintptr_t)value;
    uint32_t slots[] = {3, 4};
    char host[] = "127.0.0.1", job[] = JOB;
    inner.executor_id = (char *)(uintptr_t)ids[which];
    inner.job_id = job;
    inner.incarnation = 1;
    inner.graph.data = graph->bytes;
    inner.graph.len = graph->size;
    inner.slots = slots;
    inner.n_slots = 2;
    if (key) {
        inner.configuration = pairs;
        inner.n_configuration = 1;
    }
    char interval_key[] = "execution.checkpointing.interval", interval[] = "1 s",
         dir_key[] = "execution.checkpointing.dir";
    Weir__KeyValue every = WEIR__KEY_VALUE__INIT, where = WEIR__KEY_VALUE__INIT, *both[] = {&every, &where};
    every.key = interval_key;
    every.value = interval;
    where.key = dir_key;
    where.value = (char *)(uintptr_t)checkpoint_dir;
    if (checkpoint_dir) {
        inner.configuration = both;
        inner.n_configuration = 2;
    }
    start.start = &inner;
    start.host = host;
    start.lease_until_ms = weir_clock_mono_ms() + lease_ms;
    message.body_case = WEIR__CONTROL__BODY_EXECUTOR_START;
    message.executor_start = &start;
    send_message(s, &message);
}

static void send_start(struct super *s, int which, const struct graph *graph, int64_t lease_ms)
{
    send_start_keys(s, which, graph, lease_ms, NULL, NULL);
}

static void expect_ready(struct super *s)
{
    Weir__Control *message = next_message(s, false);
    assert_non_null(message);
    assert_int_equal(message->body_case, WEIR__CONTROL__BODY_EXECUTOR_REPORT);
    if (message->executor_report->failure)
        fail_msg("%s", message->executor_report->failure->message);
    assert_int_equal(message->executor_report->state, WEIR__EXECUTOR_REPORT__STATE__READY);
    snprintf(s->endpoint, sizeof s->endpoint, "%s", message->executor_report->endpoint);
    weir__control__free_unpacked(message, NULL);
}

struct place {
    uint32_t vertex, subtask;
    int executor;
};

static Weir__TaskRestore **restores; /* of the next deployment */
static size_t restore_count;

static void send_deploy(struct super *supers, int super_count, int which, const struct place *places, int count,
                        uint32_t attempt)
{
    Weir__Control message;
    Weir__DeployTasks deploy;
    Weir__TaskId tasks[16], *task_pointers[16];
    Weir__TaskLocation locations[16], *location_pointers[16];
    Weir__Peer peers[2], *peer_pointers[2];
    uint32_t slots[16];
    weir__control__init(&message);
    weir__deploy_tasks__init(&deploy);
    for (int i = 0; i < super_count; i++) {
        weir__peer__init(&peers[i]);
        peers[i].executor_id = (char *)(uintptr_t)ids[i];
        peers[i].endpoint = supers[i].endpoint;
        peer_pointers[i] = &peers[i];
    }
    for (int i = 0; i < count; i++) {
        weir__task_id__init(&tasks[i]);
        tasks[i].vertex = places[i].vertex;
        tasks[i].subtask = places[i].subtask;
        tasks[i].attempt = attempt;
        weir__task_location__init(&locations[i]);
        locations[i].task = &tasks[i];
        locations[i].peer = (uint32_t)places[i].executor;
        location_pointers[i] = &locations[i];
        if (places[i].executor == which) {
            slots[deploy.n_tasks] = 3 + (uint32_t)(i & 1);
            task_pointers[deploy.n_tasks++] = &tasks[i];
        }
    }
    deploy.restores = restores;
    deploy.n_restores = restore_count;
    deploy.executor_id = (char *)(uintptr_t)ids[which];
    deploy.tasks = task_pointers;
    deploy.slots = slots;
    deploy.n_slots = deploy.n_tasks;
    deploy.peers = peer_pointers;
    deploy.n_peers = (size_t)super_count;
    deploy.locations = location_pointers;
    deploy.n_locations = (size_t)count;
    message.body_case = WEIR__CONTROL__BODY_DEPLOY_TASKS;
    message.deploy_tasks = &deploy;
    send_message(&supers[which], &message);
}

static void send_cancel(struct super *s, uint32_t vertex, uint32_t subtask, uint32_t attempt)
{
    Weir__Control message;
    Weir__CancelTasks cancel;
    Weir__TaskId id, *pointers[] = {&id};
    weir__control__init(&message);
    weir__cancel_tasks__init(&cancel);
    weir__task_id__init(&id);
    id.vertex = vertex;
    id.subtask = subtask;
    id.attempt = attempt;
    cancel.tasks = pointers;
    cancel.n_tasks = 1;
    message.body_case = WEIR__CONTROL__BODY_CANCEL_TASKS;
    message.cancel_tasks = &cancel;
    send_message(s, &message);
}

static void send_trigger(struct super *s, uint64_t checkpoint, uint32_t attempt)
{
    Weir__Control message;
    Weir__TriggerCheckpoint trigger;
    Weir__TaskId id, *pointers[] = {&id};
    weir__control__init(&message);
    weir__trigger_checkpoint__init(&trigger);
    weir__task_id__init(&id);
    id.attempt = attempt;
    trigger.checkpoint = checkpoint;
    trigger.tasks = pointers;
    trigger.n_tasks = 1;
    message.body_case = WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT;
    message.trigger_checkpoint = &trigger;
    send_message(s, &message);
}

static void send_stop(struct super *s)
{
    Weir__Control message;
    Weir__StopExecutor stop;
    weir__control__init(&message);
    weir__stop_executor__init(&stop);
    message.body_case = WEIR__CONTROL__BODY_STOP_EXECUTOR;
    message.stop_executor = &stop;
    send_message(s, &message);
}

/* Reads reports until `count` tasks have ended; each must have ended as `state`. The last failure's text goes to `why`. */
static void expect_ends(struct super *s, int count, Weir__TaskState state, char *why, size_t why_size)
{
    while (count > 0) {
        Weir__Control *message = next_message(s, false);
        assert_non_null(message);
        assert_int_equal(message->body_case, WEIR__CONTROL__BODY_TASK_REPORT);
        const Weir__TaskReport *report = message->task_report;
        bool ended = report->state == WEIR__TASK_STATE__FINISHED || report->state == WEIR__TASK_STATE__FAILED ||
                     report->state == WEIR__TASK_STATE__CANCELED;
        if (ended) {
            count--;
            if (report->failure && state != WEIR__TASK_STATE__FAILED)
                fail_msg("%s", report->failure->message);
            assert_int_equal(report->state, state);
            assert_non_null(report->metrics);
            if (why)
                snprintf(why, why_size, "%s: %s: %s", report->failure->kind, report->failure->operator_,
                         report->failure->message);
            if (state == WEIR__TASK_STATE__FINISHED && report->task->vertex == 1) {
                assert_int_equal(report->n_committables, 1);
                assert_string_equal(report->committables[0]->connector, "kit");
            }
        }
        weir__control__free_unpacked(message, NULL);
    }
}

static void super_end(struct super *s, int result)
{
    if (s->pid) {
        int status;
        waitpid(s->pid, &status, 0);
        if (result >= 0) {
            assert_true(WIFEXITED(status));
            assert_int_equal(WEXITSTATUS(status), result);
        }
        close(s->crash_fd);
    } else {
        pthread_join(s->thread, NULL);
        assert_int_equal(s->result, result);
    }
    weir_executor_line_fini(&s->line);
}

static void reset_specs(int64_t rows)
{
    see_ends();
    memset(sources, 0, sizeof sources);
    memset(passes, 0, sizeof passes);
    memset(sinks, 0, sizeof sinks);
    for (int i = 0; i < 4; i++)
        sources[i] = (struct kit_spec){.rows = rows, .batch_rows = 100, .keys = 37, .watermark_every = 500};
    specs_set++;
}

static void check_sinks(int count, int64_t rows)
{
    see_ends();
    int64_t got = 0, sum = 0;
    for (int i = 0; i < count; i++) {
        got += sinks[i].row_count;
        sum += sinks[i].id_sum;
        assert_int_equal(sinks[i].finished, 1);
    }
    assert_int_equal(got, rows);
    assert_true(sum == rows * (rows - 1) / 2);
}

/* --- Tests */

static void a_job_runs_in_one_executor(void **state)
{
    (void)state;
    for (int p = 1; p <= 2; p++) {
        reset_specs(20000);
        struct graph graph = graph_of(p, "kit_pass", 2);
        struct super s;
        super_thread(&s);
        send_start(&s, 0, &graph, 60000);
        expect_ready(&s);
        struct place places[] = {{0, 0, 0}, {1, 0, 0}, {1, 1, 0}, {0, 1, 0}};
        send_deploy(&s, 1, 0, places, p + 2, 1);
        expect_ends(&s, p + 2, WEIR__TASK_STATE__FINISHED, NULL, 0);
        check_sinks(2, 20000 * p);
        /* The same deployment again starts nothing: each state is told once more. */
        send_deploy(&s, 1, 0, places, p + 2, 1);
        for (int i = 0; i < p + 2; i++) {
            Weir__Control *message = next_message(&s, false);
            assert_int_equal(message->body_case, WEIR__CONTROL__BODY_TASK_REPORT);
            assert_int_equal(message->task_report->state, WEIR__TASK_STATE__FINISHED);
            weir__control__free_unpacked(message, NULL);
        }
        send_stop(&s);
        super_end(&s, 0);
        free(graph.bytes);
    }
}

static void a_job_runs_on_two_executors(void **state)
{
    (void)state;
    reset_specs(50000);
    struct graph graph = graph_of(2, "kit_pass", 2);
    struct super s[2];
    for (int i = 0; i < 2; i++) {
        super_thread(&s[i]);
        send_start(&s[i], i, &graph, 60000);
        expect_ready(&s[i]);
    }
    struct place places[] = {{0, 0, 0}, {0, 1, 1}, {1, 0, 0}, {1, 1, 1}};
    for (int i = 0; i < 2; i++)
        send_deploy(s, 2, i, places, 4, 1);
    for (int i = 0; i < 2; i++)
        expect_ends(&s[i], 2, WEIR__TASK_STATE__FINISHED, NULL, 0);
    check_sinks(2, 100000);
    for (int i = 0; i < 2; i++) {
        send_stop(&s[i]);
        super_end(&s[i], 0);
    }
    free(graph.bytes);
}

/* A region that is cancelled and deployed again as attempt 2, on executors that stay. */
static void a_second_attempt_replaces_the_first(void **state)
{
    (void)state;
    reset_specs(1000);
    sources[0].endless = sources[1].endless = true;
    specs_set++;
    struct graph graph = graph_of(2, NULL, 2);
    struct super s[2];
    for (int i = 0; i < 2; i++) {
        super_thread(&s[i]);
        send_start(&s[i], i, &graph, 60000);
        expect_ready(&s[i]);
    }
    struct place places[] = {{0, 0, 0}, {0, 1, 1}, {1, 0, 0}, {1, 1, 1}};
    for (int i = 0; i < 2; i++)
        send_deploy(s, 2, i, places, 4, 1);
    while (sinks[0].row_count < 1000 || sinks[1].row_count < 1000)
        sched_yield();
    for (uint32_t i = 0; i < 2; i++) {
        send_cancel(&s[i], 0, i, 1);
        send_cancel(&s[i], 1, i, 1);
    }
    for (int i = 0; i < 2; i++)
        expect_ends(&s[i], 2, WEIR__TASK_STATE__CANCELED, NULL, 0);
    reset_specs(20000);
    /* The second executor learns of it a little later: what the first one opens waits for it. */
    for (int i = 0; i < 2; i++)
        send_deploy(s, 2, i, places, 4, 2);
    for (int i = 0; i < 2; i++)
        expect_ends(&s[i], 2, WEIR__TASK_STATE__FINISHED, NULL, 0);
    check_sinks(2, 40000);
    for (int i = 0; i < 2; i++) {
        send_stop(&s[i]);
        super_end(&s[i], 0);
    }
    free(graph.bytes);
}

static void a_failing_operator_is_named(void **state)
{
    (void)state;
    reset_specs(20000);
    passes[0].fail_at = 5000;
    specs_set++;
    struct graph graph = graph_of(1, "kit_pass", 1);
    struct super s;
    super_thread(&s);
    send_start(&s, 0, &graph, 60000);
    expect_ready(&s);
    struct place places[] = {{0, 0, 0}, {1, 0, 0}};
    send_deploy(&s, 1, 0, places, 1, 1); /* the consumer is not even here */
    Weir__Control *message = next_message(&s, false);
    for (; message->task_report->state != WEIR__TASK_STATE__FAILED; message = next_message(&s, false))
        weir__control__free_unpacked(message, NULL);
    assert_non_null(strstr(message->task_report->failure->message, "does not say where 'Sink: sink' (1/1) runs"));
    weir__control__free_unpacked(message, NULL);
    send_deploy(&s, 1, 0, places, 2, 2);
    char why[1024];
    expect_ends(&s, 1, WEIR__TASK_STATE__FAILED, why, sizeof why);
    assert_string_equal(why, "BadRecord: pass: row 5000 is one too many");
    send_cancel(&s, 1, 0, 2);
    expect_ends(&s, 1, WEIR__TASK_STATE__CANCELED, NULL, 0);
    send_stop(&s);
    super_end(&s, 0);
    free(graph.bytes);
}

static void metrics_come_by_heartbeat(void **state)
{
    (void)state;
    reset_specs(0);
    sources[0].endless = true;
    specs_set++;
    struct graph graph = graph_of(1, NULL, 1);
    struct super s;
    super_thread(&s);
    send_start(&s, 0, &graph, 60000);
    expect_ready(&s);
    struct place places[] = {{0, 0, 0}, {1, 0, 0}};
    send_deploy(&s, 1, 0, places, 2, 1);
    uint64_t in = 0, out = 0;
    while (in == 0 || out == 0) {
        Weir__Control *message = next_message(&s, true);
        const Weir__Heartbeat *heartbeat = message->heartbeat;
        assert_true(heartbeat->process->rss_bytes > 0);
        for (size_t i = 0; i < heartbeat->n_metrics; i++) {
            in += heartbeat->metrics[i]->records_in;
            out += heartbeat->metrics[i]->records_out;
            assert_int_equal(heartbeat->metrics[i]->n_operators, 1);
        }
        weir__control__free_unpacked(message, NULL);
    }
    close(s.line.fd); /* as if the supervisor had died */
    s.line.fd = -1;
    super_end(&s, 0);
    free(graph.bytes);
}

static void a_bad_graph_is_refused(void **state)
{
    (void)state;
    struct graph good = graph_of(1, "kit_nothing", 1), graphs[] = {{(uint8_t *)(uintptr_t) "garbage", 7}, good};
    static const char *const why[] = {"not a serialized JobGraph", "no operator 'kit_nothing'"};
    for (int i = 0; i < 2; i++) {
        struct super s;
        super_thread(&s);
        send_start(&s, 0, &graphs[i], 60000);
        Weir__Control *message = next_message(&s, false);
        assert_int_equal(message->executor_report->state, WEIR__EXECUTOR_REPORT__STATE__EXITED);
        if (!strstr(message->executor_report->failure->message, why[i]))
            fail_msg("%s", message->executor_report->failure->message);
        weir__control__free_unpacked(message, NULL);
        super_end(&s, 1);
    }
    free(good.bytes);
}

static void the_end_of_the_lease_ends_it(void **state)
{
    (void)state;
    reset_specs(0);
    sources[0].endless = true;
    specs_set++;
    struct graph graph = graph_of(1, NULL, 1);
    struct super s;
    super_thread(&s);
    send_start(&s, 0, &graph, 300);
    expect_ready(&s);
    struct place places[] = {{0, 0, 0}, {1, 0, 0}};
    send_deploy(&s, 1, 0, places, 2, 1);
    super_end(&s, 2);
    free(graph.bytes);
}

/* Leases that came meanwhile count: else a slow host would start it for ever. The executor stops itself at the begin of its start. */
static void a_start_may_take_longer_than_its_lease(void **state)
{
    (void)state;
    struct graph graph = graph_of(1, NULL, 1);
    struct super s;
    super_process(&s, "late");
    send_start(&s, 0, &graph, 0);
    int status;
    assert_int_equal(waitpid(s.pid, &status, WUNTRACED), s.pid);
    assert_true(WIFSTOPPED(status));
    Weir__Control message = WEIR__CONTROL__INIT;
    Weir__Lease lease = WEIR__LEASE__INIT;
    message.body_case = WEIR__CONTROL__BODY_LEASE;
    message.lease = &lease;
    for (int k = 0; k < 2; k++) { /* the first is over, too */
        lease.valid_until_ms = weir_clock_mono_ms() + k * 60000;
        send_message(&s, &message);
    }
    assert_int_equal(kill(s.pid, SIGCONT), 0);
    expect_ready(&s);
    send_stop(&s);
    super_end(&s, 0);
    free(graph.bytes);
}

static void a_crash_says_signal_operator_and_stack(void **state)
{
    (void)state;
    struct graph graph = graph_of(1, "kit_crash", 1);
    struct super s;
    super_process(&s, "executor");
    send_start(&s, 0, &graph, 60000);
    expect_ready(&s);
    struct place places[] = {{0, 0, 0}, {1, 0, 0}};
    send_deploy(&s, 1, 0, places, 2, 1);
    static uint8_t bytes[65536];
    size_t size = 0;
    for (ssize_t got; (got = read(s.crash_fd, bytes + size, sizeof bytes - size)) > 0;)
        size += (size_t)got;
    int status;
    waitpid(s.pid, &status, 0);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSEGV);
    Weir__Failure *failure = weir__failure__unpack(NULL, size, bytes);
    assert_non_null(failure);
    assert_string_equal(failure->kind, "UserCodeCrash");
    assert_int_equal(failure->signal, SIGSEGV);
    assert_string_equal(failure->operator_, "pass");
    assert_string_equal(failure->position, "records 1 to 100 of this subtask's input");
    assert_non_null(strstr(failure->stack, "\tat "));
    weir__failure__free_unpacked(failure, NULL);
    close(s.crash_fd);
    weir_executor_line_fini(&s.line);
    free(graph.bytes);
}

static void wait_running(struct super *s, int count)
{
    while (count > 0) {
        Weir__Control *message = next_message(s, false);
        assert_int_equal(message->body_case, WEIR__CONTROL__BODY_TASK_REPORT);
        count -= message->task_report->state == WEIR__TASK_STATE__RUNNING;
        weir__control__free_unpacked(message, NULL);
    }
}

static Weir__Control *expect_part(struct super *s, uint64_t checkpoint)
{
    Weir__Control *message = next_message(s, false);
    assert_int_equal(message->body_case, WEIR__CONTROL__BODY_CHECKPOINT_REPORT);
    assert_int_equal(message->checkpoint_report->checkpoint, checkpoint);
    assert_null(message->checkpoint_report->failure);
    assert_int_equal(message->checkpoint_report->snapshot->n_parts, 1);
    return message;
}

static void a_checkpoint_is_stored_and_restored(void **state)
{
    (void)state;
    char dir[] = "/tmp/weir-executor-test-XXXXXX";
    checkpoint_dir = mkdtemp(dir);
    reset_specs(0);
    sources[0].endless = true;
    specs_set++;
    struct graph graph = graph_of(1, NULL, 1);
    struct super s;
    super_thread(&s);
    send_start(&s, 0, &graph, 60000);
    expect_ready(&s);
    struct place places[] = {{0, 0, 0}, {1, 0, 0}};
    send_deploy(&s, 1, 0, places, 2, 1);
    wait_running(&s, 2);
    while (sinks[0].row_count < 1000)
        sched_yield();
    send_trigger(&s, 6, 2); /* of an attempt that is not there: nothing */
    send_trigger(&s, 7, 1);
    Weir__Control *got[] = {expect_part(&s, 7), expect_part(&s, 7)};
    if (got[0]->checkpoint_report->task->vertex == 1) { /* in any order */
        Weir__Control *other = got[0];
        got[0] = got[1];
        got[1] = other;
    }
    const Weir__SubtaskSnapshot *source = got[0]->checkpoint_report->snapshot,
                                *sink = got[1]->checkpoint_report->snapshot;
    assert_string_equal(source->parts[0]->object, "");
    assert_int_equal(source->parts[0]->bytes.len, 8);
    assert_string_equal(source->parts[0]->name, "position");
    assert_string_equal(sink->parts[0]->object, "jobs/" JOB "/chk-7/1-0-1");
    assert_int_equal(sink->parts[0]->size, BIG_SIZE + 12);
    assert_int_equal(sink->parts[0]->parallelism, 1);
    assert_int_equal(sink->n_committables, 1);
    assert_string_equal(sink->committables[0]->text, "pending");
    send_cancel(&s, 0, 0, 1);
    send_cancel(&s, 1, 0, 1);
    expect_ends(&s, 2, WEIR__TASK_STATE__CANCELED, NULL, 0);

    Weir__TaskRestore begin[2], *both[] = {&begin[0], &begin[1]};
    for (uint32_t i = 0; i < 2; i++) {
        weir__task_restore__init(&begin[i]);
        begin[i].task = i;
        begin[i].checkpoint = 7;
        begin[i].parts = got[i]->checkpoint_report->snapshot->parts;
        begin[i].n_parts = 1;
    }
    restores = both;
    restore_count = 2;
    reset_specs(300000000);
    sources[0].rows = 0; /* it is at its end when it has found its place */
    specs_set++;
    restored_next[0] = restored_rows[0] = -1;
    send_deploy(&s, 1, 0, places, 2, 2);
    for (int ended = 0; ended < 2;) { /* the last snapshot comes with the end */
        Weir__Control *message = next_message(&s, false);
        const Weir__TaskReport *report = message->task_report;
        if (report->state == WEIR__TASK_STATE__FAILED)
            fail_msg("%s", report->failure->message);
        if (report->state == WEIR__TASK_STATE__FINISHED) {
            ended++;
            assert_int_equal(report->snapshot->n_parts, 1);
            if (report->task->vertex == 1) {
                assert_string_equal(report->snapshot->parts[0]->object, "jobs/" JOB "/finished/1-0-2");
                assert_int_equal(report->snapshot->n_committables, 2);
                assert_string_equal(report->snapshot->committables[1]->text, "done");
            }
        }
        weir__control__free_unpacked(message, NULL);
    }
    assert_true(restored_next[0] > 0);
    assert_int_equal(restored_next[0], restored_rows[0]); /* one cut */

    sink->parts[0]->crc32c ^= 1; /* one bit */
    send_deploy(&s, 1, 0, places, 2, 3);
    for (bool failed = false; !failed;) {
        Weir__Control *message = next_message(&s, false);
        failed = message->task_report->state == WEIR__TASK_STATE__FAILED;
        if (failed) {
            assert_string_equal(message->task_report->failure->kind, "CHECKPOINT_CORRUPT");
            assert_true(message->task_report->failure->fail_job);
            assert_non_null(strstr(message->task_report->failure->message, "does not fit its checksum"));
            assert_int_equal(message->task_report->task->vertex, 1);
        }
        weir__control__free_unpacked(message, NULL);
    }
    restores = NULL;
    restore_count = 0;
    checkpoint_dir = NULL;
    weir__control__free_unpacked(got[0], NULL);
    weir__control__free_unpacked(got[1], NULL);
    send_stop(&s);
    super_end(&s, 0);
    free(graph.bytes);
    char *command = weir_format("rm -r %s", dir);
    assert_int_equal(system(command), 0);
    free(command);
}

/* User code that never returns: cancelling it ends the process. */
static void a_task_that_cannot_be_cancelled_ends_the_process(void **state)
{
    (void)state;
    struct graph graph = graph_of(1, "kit_hang", 1);
    struct super s;
    char mark[64];
    snprintf(mark, sizeof mark, "/tmp/weir-executor-test-hang-%d", (int)getpid());
    setenv("WEIR_TEST_HANG_MARK", mark, 1);
    super_process(&s, "executor");
    send_start_keys(&s, 0, &graph, 60000, "task.cancellation.timeout", "200 ms");
    expect_ready(&s);
    struct place places[] = {{0, 0, 0}, {1, 0, 0}};
    send_deploy(&s, 1, 0, places, 2, 1);
    for (int running = 0; running < 2;) {
        Weir__Control *message = next_message(&s, false);
        running += message->task_report->state == WEIR__TASK_STATE__RUNNING;
        weir__control__free_unpacked(message, NULL);
    }
    for (int64_t begin = weir_clock_mono_ms(); unlink(mark) != 0;) { /* cancelled earlier it would simply end */
        assert_true(weir_clock_mono_ms() - begin < 60000);
        poll(NULL, 0, 5);
    }
    unsetenv("WEIR_TEST_HANG_MARK");
    send_cancel(&s, 0, 0, 1);
    super_end(&s, 3);
    free(graph.bytes);
}

static void a_killed_executor_breaks_the_others_channels(void **state)
{
    (void)state;
    reset_specs(0);
    sources[0].endless = true;
    specs_set++;
    struct graph graph = graph_of(1, NULL, 1);
    struct super s[2];
    super_thread(&s[0]);
    super_process(&s[1], "executor");
    for (int i = 0; i < 2; i++) {
        send_start(&s[i], i, &graph, 60000);
        expect_ready(&s[i]);
    }
    struct place places[] = {{0, 0, 0}, {1, 0, 1}};
    for (int i = 0; i < 2; i++)
        send_deploy(s, 2, i, places, 2, 1);
    uint64_t out = 0;
    while (out == 0) {
        Weir__Control *message = next_message(&s[0], true);
        for (size_t i = 0; i < message->heartbeat->n_metrics; i++)
            out += message->heartbeat->metrics[i]->records_out;
        weir__control__free_unpacked(message, NULL);
    }
    kill(s[1].pid, SIGKILL);
    Weir__Control *message;
    while ((message = next_message(&s[0], false))->task_report->state != WEIR__TASK_STATE__FAILED)
        weir__control__free_unpacked(message, NULL);
    assert_string_equal(message->task_report->failure->kind, "ChannelBroken");
    assert_false(message->task_report->failure->fail_job);
    weir__control__free_unpacked(message, NULL);
    super_end(&s[1], -1);
    send_stop(&s[0]);
    super_end(&s[0], 0);
    free(graph.bytes);
}

int main(int argc, char **argv)
{
    program = argv[0];
    if (argc > 1) {
        reset_specs(1000);
        if (strcmp(argv[1], "late") == 0 &&
            (weir_fault_enable(NULL, "executor", NULL) || weir_fault_arm("executor.starting", "stop", 1, NULL)))
            return 126;
        return weir_executor_run(WEIR_EXECUTOR_CONTROL_FD);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_runs_in_one_executor),
        cmocka_unit_test(a_job_runs_on_two_executors),
        cmocka_unit_test(a_second_attempt_replaces_the_first),
        cmocka_unit_test(a_failing_operator_is_named),
        cmocka_unit_test(a_checkpoint_is_stored_and_restored),
        cmocka_unit_test(metrics_come_by_heartbeat),
        cmocka_unit_test(a_bad_graph_is_refused),
        cmocka_unit_test(the_end_of_the_lease_ends_it),
        cmocka_unit_test(a_start_may_take_longer_than_its_lease),
        cmocka_unit_test(a_crash_says_signal_operator_and_stack),
        cmocka_unit_test(a_task_that_cannot_be_cancelled_ends_the_process),
        cmocka_unit_test(a_killed_executor_breaks_the_others_channels),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    weir_schema_unref(kit_schema_);
    return failed;
}
