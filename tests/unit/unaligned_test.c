/* Barriers that overtake: small jobs of random shape, speed and backpressure run on this thread, are torn down and restored from a checkpoint
 * that was complete, also at another parallelism, and must bring every row exactly once (at-least-once: at least once), in order per
 * source and key, whatever mixture of aligned, unaligned and timed-out barriers there was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "state/snapshot.h"
#include "tests/unit/task_kit.h"

enum {
    SOURCES_MAX = 3,
    PARALLELISM_MAX = 4,
    TASKS_MAX = SOURCES_MAX + 2 * PARALLELISM_MAX,
    KEYS = 50,
    CHECKPOINTS_MAX = 200
};
enum { SOURCE, MIDDLE, SINK };
enum mode { ALIGNED, UNALIGNED, TIMEOUT, AT_LEAST_ONCE, RESCALE };

static struct weir_error error;

struct slot { /* the state of a task's counting operator */
    int64_t next;
    int64_t last[SOURCES_MAX][KEYS]; /* middle: the newest id */
    uint8_t *seen;                   /* sink: by id */
};

struct job {
    enum mode mode;
    int64_t rows; /* of a source */
    int counts[3], first[3], tasks;
    struct weir_waker waker;
    struct weir_task *task[TASKS_MAX];
    struct slot slots[TASKS_MAX];
    struct kit_spec specs[TASKS_MAX];
    struct arg {
        struct job *job;
        int task, kind, subtask;
    } args[TASKS_MAX];
    bool done[TASKS_MAX];
    struct weir_snapshot *last[TASKS_MAX];                   /* FINISHED */
    struct weir_snapshot *parts[CHECKPOINTS_MAX][TASKS_MAX]; /* that came */
    bool told[CHECKPOINTS_MAX][TASKS_MAX];                   /* triggered */
    struct weir_link links[3]; /* source -> middle, middle -> pass in the chain, pass -> sink */
    int speed[TASKS_MAX];      /* of 100 calls so many are made */
    int64_t overtaken;
    bool cuts;
    int stops;     /* the checkpoint behind which nothing follows; 0: none */
    uint8_t *base; /* by id: how often a checkpoint's sinks had it */
};

/* --- Operators */

static struct arg *arg_of(struct weir_op_ctx *ctx)
{
    return (struct arg *)kit_spec_of(ctx)->latencies_ns;
}

static weir_err snapshot_slot(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_snapshot *snapshot,
                              struct weir_error *out)
{
    (void)out;
    const struct arg *arg = arg_of(ctx);
    const struct slot *slot = &arg->job->slots[arg->task];
    struct slot copy = *slot;
    if (arg->kind == SOURCE)
        copy.next = ((struct kit_state *)op)->next;
    struct weir_buf bytes;
    weir_buf_init(&bytes, (size_t)1 << 24);
    weir_assert(weir_buf_append(&bytes, &copy, sizeof copy));
    if (arg->kind == SINK)
        weir_assert(weir_buf_append(&bytes, slot->seen, (size_t)arg->job->rows * SOURCES_MAX));
    weir_snapshot_add(snapshot, ctx->plan->name, "slot", WEIR_STATE_SUBTASK, &bytes);
    return WEIR_OK;
}

static weir_err source_open(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_error *out)
{
    (void)out;
    ((struct kit_state *)op)->next = arg_of(ctx)->job->slots[arg_of(ctx)->task].next;
    return WEIR_OK;
}

/* Row by row over several calls, so that a barrier finds it in the middle. */
struct middle {
    int row;
    struct weir_batch *result;
};

static void push_result(struct middle *middle, struct weir_op_ctx *ctx)
{
    if (middle->result && middle->result->row_count > 0)
        weir_out_push(ctx->out, middle->result);
    else
        weir_batch_unref(middle->result);
    middle->result = NULL;
}

static enum weir_step middle_batch(struct weir_op *op, struct weir_op_ctx *ctx, int input, struct weir_batch *batch)
{
    struct middle *middle = (struct middle *)op;
    const struct arg *arg = arg_of(ctx);
    (void)input;
    if (!middle->result)
        middle->result = weir_batch_new(kit_schema(), batch->row_count);
    for (int step = 0; middle->row < batch->row_count; step++, middle->row++) {
        if (step == 3) {
            if (middle->row % 2) /* not before the next call of the task */
                weir_op_set_timer(ctx, weir_op_now_ms(ctx));
            return WEIR_STEP_AGAIN;
        }
        int64_t id = batch->columns[0].i64[middle->row], key = batch->columns[1].i64[middle->row];
        int64_t *last = &arg->job->slots[arg->task].last[id % arg->job->counts[SOURCE]][key];
        if (arg->job->mode != AT_LEAST_ONCE && id < *last)
            fail_msg("id %lld came after %lld", (long long)id, (long long)*last - 1);
        *last = id + 1;
        int32_t row = middle->row;
        weir_batch_append_rows(middle->result, batch, &row, 1);
    }
    if (weir_out_full(ctx->out))
        return WEIR_STEP_AGAIN;
    push_result(middle, ctx);
    middle->row = 0;
    return WEIR_STEP_DONE;
}

static int middle_cut(struct weir_op *op, struct weir_op_ctx *ctx, const struct weir_batch *batch)
{
    struct middle *middle = (struct middle *)op;
    (void)batch;
    if (weir_out_full(ctx->out))
        return -1;
    push_result(middle, ctx);
    return middle->row;
}

static enum weir_step middle_batch_after_cut(struct weir_op *op, struct weir_op_ctx *ctx, int input,
                                             struct weir_batch *batch)
{
    return middle_batch(op, ctx, input, batch);
}

static void middle_close(struct weir_op *op, struct weir_op_ctx *ctx, bool finished)
{
    (void)ctx, (void)finished;
    weir_batch_unref(((struct middle *)op)->result);
}

static enum weir_step sink_batch(struct weir_op *op, struct weir_op_ctx *ctx, int input, struct weir_batch *batch)
{
    const struct arg *arg = arg_of(ctx);
    (void)op, (void)input;
    for (int r = 0; r < batch->row_count; r++)
        arg->job->slots[arg->task].seen[batch->columns[0].i64[r]]++;
    return WEIR_STEP_DONE;
}

static struct weir_op_vtable source_op, middle_op, middle_cut_op, pass_op, sink_op;
static struct weir_op_plan plans[3] = {{.name = "source"}, {.name = "middle"}, {.name = "sink"}},
                           pass_plan = {.name = "pass"};

static void init_ops(void)
{
    source_op = kit_source;
    source_op.open = source_open;
    source_op.close = NULL;
    source_op.snapshot = snapshot_slot;
    middle_op = (struct weir_op_vtable){.name = "middle",
                                        .size = sizeof(struct middle),
                                        .batch = middle_batch,
                                        .snapshot = snapshot_slot,
                                        .close = middle_close};
    middle_cut_op = middle_op;
    middle_cut_op.batch = middle_batch_after_cut;
    middle_cut_op.cut = middle_cut;
    pass_op = kit_pass_op;
    sink_op = (struct weir_op_vtable){.name = "sink", .size = 8, .batch = sink_batch, .snapshot = snapshot_slot};
}

/* --- The job */

static void on_snapshot(void *arg, struct weir_snapshot *snapshot)
{
    const struct arg *a = arg;
    assert_true(snapshot->checkpoint < CHECKPOINTS_MAX);
    assert_null(a->job->parts[snapshot->checkpoint][a->task]);
    assert_int_equal(weir_snapshot_run_syncs(snapshot, &error), 0); /* encodes the rows */
    a->job->parts[snapshot->checkpoint][a->task] = snapshot;
    a->job->overtaken += (int64_t)snapshot->overtaken_bytes;
    if (a->job->mode == ALIGNED || a->job->mode == AT_LEAST_ONCE)
        assert_int_equal(snapshot->overtaken_bytes, 0);
}

static void on_state(void *arg, struct weir_task *task, enum weir_task_state state, const struct weir_error *why,
                     int op)
{
    const struct arg *a = arg;
    (void)op;
    if (state == WEIR_TASK_FAILED)
        fail_msg("task %d: %s", a->task, why->message);
    if (state != WEIR_TASK_FINISHED)
        return;
    a->job->done[a->task] = true;
    a->job->last[a->task] = weir_task_take_last_snapshot(task);
}

static void on_nothing(void *arg, struct weir_task *task, enum weir_task_state state, const struct weir_error *why,
                       int op)
{
    (void)arg, (void)task, (void)state, (void)why, (void)op;
}

static struct weir_edge_writer *writer_to(struct job *job, const struct weir_link *link, int from,
                                          struct weir_input **inputs, int to, int credits, uint64_t *rng)
{
    struct weir_channel *chans[PARALLELISM_MAX];
    int count = job->counts[to];
    for (int c = 0; c < count; c++) {
        chans[c] = weir_channel_new(weir_channel_id(to, from, c), credits, false, false);
        weir_channel_set_consumer(chans[c], weir_input_inbox(inputs[job->first[to] + c]));
        chans[c]->producer = &job->waker;
        weir_input_add(inputs[job->first[to] + c], chans[c], 0);
        weir_input_set_link(inputs[job->first[to] + c], link);
        weir_channel_open(chans[c]);
    }
    struct weir_edge_writer_options options = {.partition = link->partition,
                                               .schema = kit_schema(),
                                               .key = {.column_count = 1, .columns = {1}},
                                               .max_parallelism = 128,
                                               .parallelism = count,
                                               .channels = chans,
                                               .channel_count = count,
                                               .timeout_ns = 1000000,
                                               .rows_max = 3 + (int)(kit_random(rng) % 9),
                                               .link = link};
    struct weir_edge_writer *writer = weir_edge_writer_new(&options);
    for (int c = 0; c < count; c++)
        weir_channel_unref(chans[c]);
    return writer;
}

static void make_link(struct weir_link *link, const char *from, const char *to, enum weir_edge_partition partition,
                      int parallelism)
{
    weir_link_init(link, from, 0, to, 0);
    link->partition = partition;
    link->schema = weir_schema_ref(kit_schema());
    link->parallelism = parallelism;
    link->max_parallelism = 128;
    if (partition != WEIR_EDGE_HASH)
        return;
    free(link->key);
    link->key = weir_strdup("key");
    link->spec = (struct weir_key_spec){.column_count = 1, .columns = {1}};
}

/* Which parts of a checkpoint are for a subtask: as the JobManager deals them. */
static bool is_for(const struct weir_snapshot_part *part, int parallelism, int subtask, int number)
{
    int first, count, part_first, part_count;
    if (part->kind == WEIR_STATE_ROWS)
        return part->parallelism == parallelism ? part->subtask == subtask : number % parallelism == subtask;
    if (part->kind != WEIR_STATE_ROWS_KEYED)
        return false;
    weir_key_group_range(128, parallelism, subtask, &first, &count);
    weir_key_group_range(128, part->parallelism, part->subtask, &part_first, &part_count);
    return first < part_first + part_count && part_first < first + count;
}

static struct weir_restored *restored_for(const struct weir_snapshot *const *parts, int tasks, const char *uid,
                                          int parallelism, int subtask)
{
    struct weir_restored *restored = weir_restored_new(1);
    int number = 0;
    for (int t = 0; t < tasks; t++)
        for (const struct weir_snapshot_part *part = parts[t]->parts; part; part = part->next) {
            if (strcmp(part->uid, uid) != 0 || !is_for(part, parallelism, subtask, number++))
                continue;
            uint8_t *bytes = weir_alloc(part->bytes.size + 1);
            memcpy(bytes, part->bytes.data, part->bytes.size);
            weir_restored_add(restored, part->uid, part->name, part->kind, part->subtask, part->parallelism, bytes,
                              part->bytes.size);
        }
    return restored;
}

static void replay(struct job *job, const struct weir_snapshot *const *parts, int tasks, int t,
                   struct weir_chain *chain, struct weir_input *input)
{
    const struct arg *arg = &job->args[t];
    static const char *const uids[3] = {"middle", "pass", "sink"};
    for (int l = 0; l < 3; l++) {
        if ((l == 2) != (arg->kind == SINK) || arg->kind == SOURCE)
            continue;
        struct weir_inflight_list list = {NULL, 0, 0};
        int read = 0;
        struct weir_restored *restored = restored_for(parts, tasks, uids[l], job->counts[arg->kind], arg->subtask);
        assert_int_equal(weir_inflight_read(restored, &job->links[l], arg->subtask, &list, &read, &error), 0);
        if (l == 1)
            weir_chain_replay(chain, 1, &list);
        else
            weir_input_replay(input, &list, 0);
        weir_restored_free(restored);
    }
}

/* Sources go on where they were; what middles and sinks knew is known to whoever is there now. */
static void take_slots(struct job *job, const struct job *old, const struct weir_snapshot *const *parts)
{
    memcpy(job->base, old->base, (size_t)job->rows * SOURCES_MAX);
    for (int t = 0; t < old->tasks; t++) {
        const struct weir_snapshot_part *part = parts[t]->parts;
        while (part->name[0] != 's')
            part = part->next;
        struct slot slot;
        memcpy(&slot, part->bytes.data, sizeof slot);
        if (old->args[t].kind == SOURCE)
            job->slots[t].next = slot.next;
        for (int m = 0; old->args[t].kind == MIDDLE && m < job->counts[MIDDLE]; m++)
            for (int s = 0; s < SOURCES_MAX; s++)
                for (int k = 0; k < KEYS; k++)
                    if (slot.last[s][k] > job->slots[job->first[MIDDLE] + m].last[s][k])
                        job->slots[job->first[MIDDLE] + m].last[s][k] = slot.last[s][k];
        for (int64_t i = 0; old->args[t].kind == SINK && i < job->rows * SOURCES_MAX; i++)
            job->base[i] += part->bytes.data[sizeof slot + (size_t)i];
    }
}

static void build(struct job *job, enum mode mode, int64_t rows, uint64_t *rng, const struct job *old,
                  const struct weir_snapshot *const *parts)
{
    memset(job, 0, sizeof *job);
    job->mode = mode;
    job->rows = rows;
    job->cuts = kit_random(rng) % 2;
    for (int k = 0; k < 3; k++) {
        job->counts[k] = 1 + (int)(kit_random(rng) % (k == SOURCE ? SOURCES_MAX : PARALLELISM_MAX));
        if (old && (k == SOURCE || kit_random(rng) % 2))
            job->counts[k] = old->counts[k];
        job->first[k] = job->tasks;
        job->tasks += job->counts[k];
    }
    job->base = weir_zalloc((size_t)rows * SOURCES_MAX);
    make_link(&job->links[0], "source", "middle", WEIR_EDGE_HASH, job->counts[MIDDLE]);
    make_link(&job->links[1], "middle", "pass", WEIR_EDGE_FORWARD, job->counts[MIDDLE]);
    make_link(&job->links[2], "pass", "sink", WEIR_EDGE_REBALANCE, job->counts[SINK]);
    assert_int_equal(weir_waker_init(&job->waker, &error), 0);
    struct weir_input *inputs[TASKS_MAX] = {0};
    for (int t = 0; t < job->tasks; t++) {
        int kind = t < job->first[MIDDLE] ? SOURCE : t < job->first[SINK] ? MIDDLE : SINK;
        job->args[t] = (struct arg){job, t, kind, t - job->first[kind]};
        job->specs[t] = (struct kit_spec){.rows = rows,
                                          .batch_rows = 1 + (int)(kit_random(rng) % 20),
                                          .keys = KEYS,
                                          .watermark_every = kit_random(rng) % 2 ? 40 : 0};
        job->specs[t].latencies_ns = (int64_t *)(void *)&job->args[t];
        job->slots[t].seen = kind == SINK ? weir_zalloc((size_t)rows * SOURCES_MAX) : NULL;
        job->speed[t] = kit_random(rng) % 3 ? 100 : 1 + (int)(kit_random(rng) % 20);
        if (kind != SOURCE)
            inputs[t] = weir_input_new(&job->waker);
    }
    if (old)
        take_slots(job, old, parts);
    for (int t = 0; t < job->tasks; t++) {
        const struct arg *arg = &job->args[t];
        const struct weir_op_vtable *heads[3] = {&source_op, job->cuts ? &middle_cut_op : &middle_op, &sink_op};
        struct weir_chain_op ops[2] = {kit_op(heads[arg->kind], -1, 0, &job->specs[t]),
                                       kit_op(&pass_op, 0, 0, &job->specs[t])};
        for (int o = 0; o < 2; o++) {
            ops[o].ctx.plan = o == 0 ? &plans[arg->kind] : &pass_plan;
            ops[o].ctx.parallelism = job->counts[arg->kind];
            ops[o].ctx.subtask = arg->subtask;
        }
        ops[1].link = &job->links[1];
        struct weir_chain_options chain_options = {.ops = ops,
                                                   .op_count = arg->kind == MIDDLE ? 2 : 1,
                                                   .input_count = arg->kind != SOURCE,
                                                   .on_snapshot = on_snapshot,
                                                   .on_snapshot_arg = &job->args[t]};
        struct weir_chain *chain = weir_chain_new(&chain_options);
        int credits = 1 + (int)(kit_random(rng) % 4);
        if (arg->kind != SINK)
            weir_chain_add_writer(chain, arg->kind == MIDDLE, 0,
                                  writer_to(job, &job->links[arg->kind == SOURCE ? 0 : 2], arg->subtask, inputs,
                                            arg->kind + 1, credits, rng));
        if (old)
            replay(job, parts, old->tasks, t, chain, inputs[t]);
        struct weir_task_options options = {.name = "task",
                                            .chain = chain,
                                            .input = inputs[t],
                                            .on_state = on_state,
                                            .arg = &job->args[t],
                                            .at_least_once = mode == AT_LEAST_ONCE,
                                            .last_snapshot = true};
        job->task[t] = weir_task_new(&options);
    }
}

static void tear_down(struct job *job)
{
    for (int t = 0; t < job->tasks; t++) {
        weir_task_free(job->task[t]);
        weir_snapshot_free(job->last[t]);
        free(job->slots[t].seen);
        for (int c = 0; c < CHECKPOINTS_MAX; c++)
            weir_snapshot_free(job->parts[c][t]);
    }
    for (int l = 0; l < 3; l++)
        weir_link_fini(&job->links[l]);
    free(job->base);
    weir_waker_fini(&job->waker);
}

/* --- Its coordinator */

static bool is_root(const struct job *job, int t)
{
    int kind = job->args[t].kind;
    for (int p = 0; kind != SOURCE && p < job->counts[kind - 1]; p++)
        if (!job->done[job->first[kind - 1] + p])
            return false;
    return true;
}

static bool reported_newer(const struct job *job, int checkpoint, int t)
{
    for (int c = checkpoint + 1; c < CHECKPOINTS_MAX; c++)
        if (job->parts[c][t])
            return true;
    return false;
}

/* All parts: of a task that has FINISHED its last one, unless it gave this checkpoint up for a newer one. */
static bool parts_of(const struct job *job, int checkpoint, const struct weir_snapshot **parts)
{
    for (int t = 0; t < job->tasks; t++) {
        parts[t] = job->parts[checkpoint][t];
        if (!parts[t] && job->done[t] && !reported_newer(job, checkpoint, t))
            parts[t] = job->last[t];
        if (!parts[t])
            return false;
    }
    return true;
}

static void trigger(struct job *job, int checkpoint, uint64_t *rng, int64_t *due_ns)
{
    for (int t = 0; t < job->tasks; t++) {
        if (job->done[t] || job->told[checkpoint][t] || job->parts[checkpoint][t] || !is_root(job, t))
            continue;
        struct weir_barrier barrier = {.checkpoint = (uint64_t)checkpoint};
        if (job->mode == UNALIGNED || job->mode == TIMEOUT || job->mode == RESCALE) {
            if (*due_ns == 0)
                *due_ns = weir_clock_mono_ns() + (job->mode == TIMEOUT ? (int64_t)(kit_random(rng) % 400000) : 0);
            barrier.flags = WEIR_BARRIER_OVERTAKES;
            if (checkpoint == job->stops)
                barrier.flags |= WEIR_BARRIER_STOP | WEIR_BARRIER_IN_ORDER;
            barrier.due_ns = *due_ns;
        }
        job->told[checkpoint][t] = weir_task_trigger(job->task[t], &barrier);
    }
}

/* Runs in a random order of calls; until the end, or (`stop_after` > 0) some time after so many complete checkpoints. Returns how many were;
 * *newest: the newest of them. */
static int run(struct job *job, uint64_t *rng, int stop_after, int *newest)
{
    const struct weir_snapshot *parts[TASKS_MAX];
    int begun = 0, complete = 0, left = 0;
    int64_t due_ns = 0;
    *newest = 0;
    for (int step = 0, over = 0; over < 200; step++) {
        assert_true(step < 20000000);
        if (begun > *newest && parts_of(job, begun, parts)) {
            *newest = begun;
            complete++;
        }
        /* One after the other; sometimes the next one gives up the last. */
        if (begun + 1 < CHECKPOINTS_MAX && (!job->stops || begun < job->stops) &&
            kit_random(rng) % (begun == *newest ? 30 : 3000) == 0) {
            begun++;
            due_ns = 0;
        }
        if (begun > *newest)
            trigger(job, begun, rng, &due_ns);
        int t = (int)(kit_random(rng) % (uint64_t)job->tasks);
        if (!job->done[t] && (int)(kit_random(rng) % 100) < job->speed[t])
            weir_task_call(job->task[t], weir_clock_mono_ns());
        left = 0;
        for (int i = 0; i < job->tasks; i++)
            left += !job->done[i];
        if (left == 0)
            break;
        if (job->stops && *newest == job->stops)
            break;
        over += stop_after > 0 && complete >= stop_after && kit_random(rng) % 4 == 0;
    }
    return complete;
}

static void check_rows(const struct job *job, enum mode mode, uint64_t seed)
{
    for (int64_t i = 0; i < job->rows * job->counts[SOURCE]; i++) {
        int n = job->base[i];
        for (int t = job->first[SINK]; t < job->tasks; t++)
            n += job->slots[t].seen[i];
        if (mode == AT_LEAST_ONCE ? n < 1 : n != 1)
            fail_msg("seed %llu: row %lld came %d times", (unsigned long long)seed, (long long)i, n);
    }
}

/* Nothing without a key was overtaken in a chain; and what lies behind the barrier has gone nowhere. */
static void check_order_is_kept(struct job *job, const struct weir_snapshot *const *parts)
{
    for (int t = 0; t < job->tasks; t++)
        for (const struct weir_snapshot_part *part = parts[t]->parts; part; part = part->next)
            assert_string_not_equal(part->uid, "pass");
    for (int t = 0; t < job->tasks; t++)
        for (int i = 0; i < 20 && !job->done[t]; i++)
            (void)weir_task_call(job->task[t], weir_clock_mono_ns());
    for (int t = job->first[SINK]; t < job->tasks; t++) {
        const struct weir_snapshot_part *part = parts[t]->parts;
        while (part->name[0] != 's')
            part = part->next;
        assert_memory_equal(part->bytes.data + sizeof(struct slot), job->slots[t].seen,
                            (size_t)job->rows * SOURCES_MAX);
    }
}

/* Attempts, each from a checkpoint of the one before, the last one to the end. Returns the bytes that were overtaken. */
static int64_t survive(enum mode mode, uint64_t seed, int64_t rows, int attempts, int *restores)
{
    static struct job jobs[2];
    uint64_t rng = seed * 7919 + 1;
    int newest = 0;
    int64_t overtaken = 0;
    struct job *job = &jobs[0];
    build(job, mode, rows, &rng, NULL, NULL);
    for (int attempt = 1;; attempt++) {
        job->stops = mode == RESCALE && attempt < attempts ? 1 + (int)(kit_random(&rng) % 12) : 0;
        int complete = run(job, &rng, attempt < attempts && !job->stops ? 1 + (int)(kit_random(&rng) % 4) : 0, &newest);
        overtaken += job->overtaken;
        if (attempt == attempts || complete == 0)
            break;
        const struct weir_snapshot *parts[TASKS_MAX];
        assert_true(parts_of(job, newest, parts));
        if (job->stops && newest == job->stops)
            check_order_is_kept(job, parts);
        struct job *next = job == &jobs[0] ? &jobs[1] : &jobs[0];
        build(next, mode, rows, &rng, job, parts);
        tear_down(job);
        job = next;
        ++*restores;
    }
    check_rows(job, mode, seed);
    tear_down(job);
    return overtaken;
}

static void survive_all(enum mode mode, int seeds, int64_t *overtaken)
{
    int restores = 0;
    *overtaken = 0;
    init_ops();
    for (uint64_t seed = 1; seed <= (uint64_t)seeds; seed++)
        *overtaken += survive(mode, seed, 400, 4, &restores);
    assert_true(restores > seeds);
}

static void aligned_barriers(void **state)
{
    int64_t overtaken;
    (void)state;
    survive_all(ALIGNED, 60, &overtaken);
}

static void unaligned_barriers(void **state)
{
    int64_t overtaken;
    (void)state;
    survive_all(UNALIGNED, 150, &overtaken);
    assert_true(overtaken > 0);
}

static void barriers_that_time_out(void **state)
{
    int64_t overtaken;
    (void)state;
    survive_all(TIMEOUT, 150, &overtaken);
    assert_true(overtaken > 0);
}

static void at_least_once(void **state)
{
    int64_t overtaken;
    (void)state;
    survive_all(AT_LEAST_ONCE, 60, &overtaken);
}

static void barriers_that_stop_for_a_rescaling(void **state)
{
    int64_t overtaken;
    (void)state;
    survive_all(RESCALE, 150, &overtaken);
    assert_true(overtaken > 0);
}

/* --- One input */

struct feed {
    struct weir_waker waker;
    struct weir_input *input;
    struct weir_channel *chans[2];
    struct weir_link links[2];
};

static void feed_init(struct feed *f, enum weir_edge_partition second)
{
    assert_int_equal(weir_waker_init(&f->waker, &error), 0);
    f->input = weir_input_new(&f->waker);
    for (int c = 0; c < 2; c++) {
        make_link(&f->links[c], c ? "b" : "a", "middle", c ? second : WEIR_EDGE_HASH, 1);
        f->chans[c] = weir_channel_new(weir_channel_id(c, 7, 0), 8, false, false);
        weir_channel_set_consumer(f->chans[c], weir_input_inbox(f->input));
        f->chans[c]->producer = &f->waker;
        weir_input_add(f->input, f->chans[c], c);
        weir_input_set_link(f->input, &f->links[c]);
        weir_channel_open(f->chans[c]);
    }
}

static void feed_fini(struct feed *f)
{
    weir_input_free(f->input);
    for (int c = 0; c < 2; c++) {
        weir_channel_unref(f->chans[c]);
        weir_link_fini(&f->links[c]);
    }
    weir_waker_fini(&f->waker);
}

static void push_rows(struct feed *f, int c, int64_t id)
{
    struct weir_item item = {.kind = WEIR_ITEM_BATCH, .batch = kit_batch(id, 1, 5)};
    assert_true(weir_channel_has_batch_room(f->chans[c]));
    weir_channel_push(f->chans[c], &item);
}

static void push_barrier(struct feed *f, int c, uint64_t checkpoint, int64_t due_ns)
{
    struct weir_item item = {.kind = WEIR_ITEM_BARRIER};
    item.barrier = (struct weir_barrier){.checkpoint = checkpoint, .flags = WEIR_BARRIER_OVERTAKES, .due_ns = due_ns};
    assert_true(weir_channel_has_item_room(f->chans[c], WEIR_ITEM_BARRIER));
    weir_channel_push(f->chans[c], &item);
}

/* "1 2 3 ": the ids that come back by that link. */
static const char *read_back(struct weir_inflight *take_rows, const struct weir_link *link)
{
    static char text[256];
    struct weir_snapshot *snapshot = weir_snapshot_new(1, 0, 0);
    struct weir_inflight_list list = {NULL, 0, 0};
    int parts = 0;
    text[0] = 0;
    weir_inflight_into(take_rows, snapshot);
    assert_int_equal(weir_snapshot_run_syncs(snapshot, &error), 0);
    const struct weir_snapshot *all[] = {snapshot};
    struct weir_restored *restored = restored_for(all, 1, "middle", 1, 0);
    assert_int_equal(weir_inflight_read(restored, link, 0, &list, &parts, &error), 0);
    for (int i = 0; i < list.count; i++)
        if (list.items[i].item.kind == WEIR_ITEM_BATCH)
            sprintf(text + strlen(text), "%lld ", (long long)list.items[i].item.batch->columns[0].i64[0]);
    weir_inflight_list_fini(&list);
    weir_restored_free(restored);
    weir_snapshot_free(snapshot);
    return text;
}

static void what_lies_ahead_is_recorded(void **state)
{
    (void)state;
    struct feed f;
    struct weir_barrier barrier;
    struct weir_inflight *rows = weir_inflight_new(0), *whole;
    bool given_up;
    feed_init(&f, WEIR_EDGE_REBALANCE);
    push_rows(&f, 0, 1);
    push_barrier(&f, 0, 5, 1000);
    push_rows(&f, 0, 2); /* behind it */
    push_rows(&f, 1, 11);
    assert_false(weir_input_overdue(f.input, 999, &barrier)); /* it waits for its turn until then */
    assert_int_equal(weir_input_due_ns(f.input), 1000);
    assert_true(weir_input_overdue(f.input, 1000, &barrier));
    assert_int_equal(barrier.checkpoint, 5);
    assert_true(weir_input_cut(f.input, &barrier, rows, NULL)); /* channel 1 has not brought it */
    assert_int_equal(weir_input_due_ns(f.input), INT64_MAX);
    struct weir_item item;
    for (int i = 0; i < 3; i++) { /* taken out of the channels meanwhile */
        assert_true(weir_input_next(f.input, &item));
        weir_batch_unref(item.batch);
        weir_input_done(f.input);
    }
    push_rows(&f, 1, 12);
    assert_false(weir_input_recorded(f.input, &whole, &given_up));
    push_barrier(&f, 1, 5, 1000);
    push_rows(&f, 1, 13);
    assert_true(weir_input_recorded(f.input, &whole, &given_up));
    assert_true(whole == rows && !given_up);
    while (weir_input_next(f.input, &item)) { /* nobody waits, and it is not said again */
        assert_int_equal(item.kind, WEIR_ITEM_BATCH);
        weir_batch_unref(item.batch);
        weir_input_done(f.input);
    }
    assert_string_equal(read_back(rows, &f.links[1]), "11 12 ");
    feed_fini(&f);
}

static void a_newer_one_gives_it_up(void **state)
{
    (void)state;
    struct feed f;
    struct weir_barrier barrier;
    struct weir_inflight *rows = weir_inflight_new(0), *whole;
    bool given_up;
    feed_init(&f, WEIR_EDGE_REBALANCE);
    push_barrier(&f, 0, 5, 0);
    assert_true(weir_input_overdue(f.input, 1, &barrier));
    assert_true(weir_input_cut(f.input, &barrier, rows, NULL));
    push_barrier(&f, 1, 6, 0);
    assert_true(weir_input_recorded(f.input, &whole, &given_up));
    assert_true(whole == rows && given_up);
    weir_inflight_free(rows);
    feed_fini(&f);
}

/* What all subtasks must get alike is not overtaken; other channels are, once it has been taken. */
static void broadcast_edges_stay_aligned(void **state)
{
    (void)state;
    struct feed f;
    struct weir_barrier barrier;
    struct weir_item item;
    feed_init(&f, WEIR_EDGE_BROADCAST);
    push_rows(&f, 1, 11);
    push_barrier(&f, 1, 5, 0);
    push_rows(&f, 0, 1);
    assert_false(weir_input_overdue(f.input, 1, &barrier));
    assert_int_equal(weir_input_due_ns(f.input), INT64_MAX);
    for (int i = 0; i < 2; i++) {
        assert_true(weir_input_next(f.input, &item));
        weir_batch_unref(item.batch);
        assert_false(weir_input_overdue(f.input, 1, &barrier) && item.input == 1); /* it is in the operator's hand */
        weir_input_done(f.input);
    }
    assert_false(weir_input_next(f.input, &item)); /* takes the barrier of channel 1 */
    push_rows(&f, 0, 2);
    assert_true(weir_input_overdue(f.input, 1, &barrier));
    struct weir_inflight *rows = weir_inflight_new(0), *whole;
    bool given_up;
    assert_true(weir_input_cut(f.input, &barrier, rows, NULL));
    push_barrier(&f, 0, 5, 0);
    assert_true(weir_input_recorded(f.input, &whole, &given_up));
    assert_string_equal(read_back(rows, &f.links[0]), "2 ");
    feed_fini(&f);
}

/* Another key: nobody can say whose the rows are. */
static void an_edge_that_has_changed_is_refused(void **state)
{
    (void)state;
    struct weir_link then, now;
    make_link(&then, "a", "middle", WEIR_EDGE_HASH, 1);
    make_link(&now, "a", "middle", WEIR_EDGE_HASH, 2);
    free(now.key);
    now.key = weir_strdup("id");
    struct weir_inflight *rows = weir_inflight_new(0);
    struct weir_item item = {.kind = WEIR_ITEM_BATCH, .batch = kit_batch(1, 3, 5)};
    weir_inflight_in(rows, &then, 0, &item);
    weir_batch_unref(item.batch);
    struct weir_snapshot *snapshot = weir_snapshot_new(1, 0, 0);
    weir_inflight_into(rows, snapshot);
    assert_int_equal(weir_snapshot_run_syncs(snapshot, &error), 0);
    const struct weir_snapshot *all[] = {snapshot};
    struct weir_restored *restored = restored_for(all, 1, "middle", 2, 0);
    struct weir_inflight_list list = {NULL, 0, 0};
    int parts = 0;
    assert_int_equal(weir_inflight_read(restored, &now, 0, &list, &parts, &error), WEIR_ERR_INVALID);
    assert_non_null(strstr(error.message, "by key (key), and now they go by (id): begin from a savepoint"));
    restored->parts->size--; /* cut off */
    assert_int_equal(weir_inflight_read(restored, &then, 0, &list, &parts, &error), WEIR_ERR_DATA);
    assert_non_null(strstr(error.message, "CHECKPOINT_CORRUPT"));
    weir_inflight_list_fini(&list);
    weir_restored_free(restored);
    weir_snapshot_free(snapshot);
    weir_link_fini(&then);
    weir_link_fini(&now);
}

/* --- Splits: a coordinator whose readers are busy */

static int64_t not_handed_out;

static weir_err snapshot_splits(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_snapshot *snapshot,
                                struct weir_error *out)
{
    (void)op, (void)snapshot, (void)out;
    not_handed_out = weir_out_undelivered(ctx->out);
    return WEIR_OK;
}

static void splits_that_nobody_asks_for_do_not_hold_a_barrier_up(void **state)
{
    (void)state;
    struct weir_waker waker;
    assert_int_equal(weir_waker_init(&waker, &error), 0);
    struct weir_inbox *inbox = weir_inbox_new(&waker);
    struct weir_channel *chan =
        weir_channel_new(weir_channel_id(0, 0, 0), WEIR_CHANNEL_CREDITS_ON_DEMAND, false, false);
    weir_channel_set_consumer(chan, inbox);
    chan->producer = &waker;
    weir_channel_open(chan);
    struct weir_op_vtable splits = kit_source;
    splits.snapshot = snapshot_splits;
    struct kit_spec spec = {.rows = 10, .batch_rows = 1, .keys = 5};
    struct weir_chain_op op = kit_op(&splits, -1, 0, &spec);
    struct weir_chain *chain = weir_chain_new(&(struct weir_chain_options){.ops = &op, .op_count = 1});
    struct weir_edge_writer_options options = {
        .partition = WEIR_EDGE_ON_DEMAND, .schema = kit_schema(), .channels = &chan, .channel_count = 1};
    weir_chain_add_writer(chain, 0, 0, weir_edge_writer_new(&options));
    struct weir_task_options task_options = {.name = "splits", .chain = chain, .on_state = on_nothing};
    struct weir_task *task = weir_task_new(&task_options);
    (void)weir_task_call(task, weir_clock_mono_ns());
    struct weir_item item;
    assert_true(weir_channel_pop(chan, &item)); /* the reader has this one, and works on it */
    weir_batch_unref(item.batch);
    not_handed_out = -1;
    assert_true(weir_task_trigger(task, &(struct weir_barrier){.checkpoint = 1}));
    (void)weir_task_call(task, weir_clock_mono_ns());
    assert_true(not_handed_out > 0);
    assert_true(weir_channel_pop(chan, &item)); /* ahead of all others */
    assert_int_equal(item.kind, WEIR_ITEM_BARRIER);
    weir_channel_done(chan, false);
    weir_channel_done(chan, true);
    (void)weir_task_call(task, weir_clock_mono_ns());
    assert_true(weir_channel_pop(chan, &item));
    assert_int_equal(item.batch->columns[0].i64[0], 1);
    weir_batch_unref(item.batch);
    weir_task_free(task);
    weir_channel_unref(chan);
    weir_inbox_unref(inbox);
    weir_waker_fini(&waker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_lies_ahead_is_recorded),
        cmocka_unit_test(a_newer_one_gives_it_up),
        cmocka_unit_test(broadcast_edges_stay_aligned),
        cmocka_unit_test(an_edge_that_has_changed_is_refused),
        cmocka_unit_test(splits_that_nobody_asks_for_do_not_hold_a_barrier_up),
        cmocka_unit_test(aligned_barriers),
        cmocka_unit_test(unaligned_barriers),
        cmocka_unit_test(barriers_that_time_out),
        cmocka_unit_test(at_least_once),
        cmocka_unit_test(barriers_that_stop_for_a_rescaling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
