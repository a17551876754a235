/* The exchange: key_by between two processes, latency through a remote hop, what a local hop costs.
 *
 *   exchange_bench [rows in millions, 20] [curve]        curve: encrypted and authenticated, as between hosts
 *
 * Rows of 40 bytes (five BIGINT), 4 consumers in the other process. The sender's figure counts all of its threads' CPU (worker, I/O
 * thread, ZeroMQ's own); its rows are made before, so that only the exchange is measured.
 */
#include <stdio.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/secret.h"
#include "exchange/io_thread.h"
#include "executor/crash.h"
#include "task/worker.h"
#include "unit/task_kit.h"

#define ID_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define JOB "11111111111111111111111111111111"
#define CONSUMERS 4
#define POOL 64
#define LATENCY_ROWS 50000
#define LATENCY_RATE 10000

/* Of the executor; not linked here. */
void weir_crash_scope(const char *operator_name)
{
    (void)operator_name;
}
void weir_crash_batch(long long first_record, long long record_count, const volatile int *row,
                      const char *const volatile *op)
{
    (void)first_record, (void)record_count, (void)row, (void)op;
}

#define KEYS_VARIABLE "EXCHANGE_BENCH_KEYS" /* both sides' pairs, from the parent to the child */

static struct weir_curve_pair keys[2]; /* A's, B's */
static bool with_keys;

static struct weir_error error;
static const char *program;
static struct weir_schema *wide;

/* --- A source of ready-made batches: 2048 rows, keys over 100 k */

static struct weir_batch *pool[POOL];

static void make_pool(void)
{
    weir_assert(!weir_schema_parse("id BIGINT NOT NULL, key BIGINT NOT NULL, a BIGINT NOT NULL, b BIGINT NOT NULL, "
                                   "c BIGINT NOT NULL",
                                   &wide, &error));
    uint64_t rng = 42;
    for (int i = 0; i < POOL; i++) {
        pool[i] = weir_batch_new(wide, WEIR_BATCH_ROWS_DEFAULT);
        for (int r = 0; r < WEIR_BATCH_ROWS_DEFAULT; r++) {
            for (int c = 0; c < 5; c++)
                pool[i]->columns[c].i64[r] = (int64_t)kit_random(&rng);
            pool[i]->columns[1].i64[r] = (int64_t)(kit_random(&rng) % 100000);
        }
        pool[i]->row_count = WEIR_BATCH_ROWS_DEFAULT;
    }
}

static enum weir_step pool_produce(struct weir_op *op, struct weir_op_ctx *ctx, bool *progress)
{
    struct kit_state *state = (struct kit_state *)op;
    struct kit_spec *spec = kit_spec_of(ctx);
    while (!weir_out_full(ctx->out)) {
        if (state->next >= spec->rows)
            return WEIR_STEP_DONE;
        weir_out_push(ctx->out, weir_batch_ref(pool[state->next / WEIR_BATCH_ROWS_DEFAULT % POOL]));
        state->next += WEIR_BATCH_ROWS_DEFAULT;
        *progress = true;
    }
    return WEIR_STEP_AGAIN;
}

static const struct weir_op_vtable pool_source = {
    .name = "pool", .size = sizeof(struct kit_state), .is_source = true, .produce = pool_produce};

/* --- One side */

struct side {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int ended, failed;
    int own; /* index of its keys */
    struct weir_worker *worker;
    struct weir_io *io;
    struct weir_task *tasks[CONSUMERS];
    struct kit_spec specs[CONSUMERS];
    struct weir_channel *chans[CONSUMERS];
};

static void on_state(void *arg, struct weir_task *task, enum weir_task_state state, const struct weir_error *why,
                     int op)
{
    struct side *side = arg;
    (void)task, (void)op;
    if (state < WEIR_TASK_FINISHED)
        return;
    if (state == WEIR_TASK_FAILED)
        fprintf(stderr, "%s\n", why->message);
    pthread_mutex_lock(&side->lock);
    side->ended++;
    side->failed += state != WEIR_TASK_FINISHED;
    pthread_cond_broadcast(&side->changed);
    pthread_mutex_unlock(&side->lock);
}

static void wait_ended(struct side *side, int count)
{
    pthread_mutex_lock(&side->lock);
    while (side->ended < count)
        pthread_cond_wait(&side->changed, &side->lock);
    pthread_mutex_unlock(&side->lock);
    if (side->failed)
        exit(1);
}

static void side_init(struct side *side, const char *id)
{
    memset(side, 0, sizeof *side);
    pthread_mutex_init(&side->lock, NULL);
    pthread_cond_init(&side->changed, NULL);
    struct weir_io_options options = {.executor_id = id, .job_id = JOB, .incarnation = 1, .host = "127.0.0.1"};
    side->own = strcmp(id, ID_A) == 0 ? 0 : 1;
    options.keys = with_keys ? &keys[side->own] : NULL;
    if (weir_worker_start(&(struct weir_worker_options){.index = 0}, &side->worker, &error) ||
        weir_io_start(&options, &side->io, &error)) {
        fprintf(stderr, "%s\n", error.message);
        exit(1);
    }
}

static struct weir_task *new_task(struct side *side, struct weir_chain *chain, struct weir_input *input)
{
    struct weir_task_options options = {
        .name = "task", .job_id = JOB, .attempt = 1, .chain = chain, .input = input, .on_state = on_state, .arg = side};
    return weir_task_new(&options);
}

static void start_source(struct side *side, const struct weir_op_vtable *source, struct weir_schema *schema,
                         int channels, const char *endpoint)
{
    struct weir_chain_op op = kit_op(source, -1, 0, &side->specs[0]);
    struct weir_chain_options options = {.ops = &op, .op_count = 1};
    struct weir_chain *chain = weir_chain_new(&options);
    for (int c = 0; c < channels; c++) {
        side->chans[c] = weir_channel_new(weir_channel_id(1, 0, c), WEIR_CHANNEL_CREDITS, true, false);
        side->chans[c]->producer = weir_worker_waker(side->worker);
        weir_io_add_out(side->io, side->chans[c], 1, 1,
                        &(struct weir_io_peer){ID_B, endpoint, with_keys ? keys[1].public_key : NULL});
    }
    struct weir_edge_writer_options writer = {.partition = WEIR_EDGE_HASH,
                                              .schema = schema,
                                              .key = {.column_count = 1, .columns = {1}},
                                              .max_parallelism = 128,
                                              .parallelism = channels,
                                              .channels = side->chans,
                                              .channel_count = channels,
                                              .timeout_ns = 5000000};
    weir_chain_add_writer(chain, 0, 0, weir_edge_writer_new(&writer));
    side->tasks[0] = new_task(side, chain, NULL);
    weir_worker_add(side->worker, side->tasks[0]);
}

static void start_sinks(struct side *side, struct weir_schema *schema, int channels, const char *endpoint)
{
    for (int c = 0; c < channels; c++) {
        struct weir_chain_op op = kit_op(&kit_sink, -1, 0, &side->specs[c]);
        struct weir_chain_options options = {.ops = &op, .op_count = 1, .input_count = 1};
        struct weir_input *input = weir_input_new(weir_worker_waker(side->worker));
        side->chans[c] = weir_channel_new(weir_channel_id(1, 0, c), WEIR_CHANNEL_CREDITS, false, true);
        weir_channel_set_consumer(side->chans[c], weir_input_inbox(input));
        weir_input_add(input, side->chans[c], 0);
        weir_io_add_in(side->io, side->chans[c], 1, 1, schema,
                       &(struct weir_io_peer){ID_A, endpoint, with_keys ? keys[0].public_key : NULL});
        side->tasks[c] = new_task(side, weir_chain_new(&options), input);
        weir_worker_add(side->worker, side->tasks[c]);
    }
}

/* --- The other process */

static void read_line(int fd, char *line, size_t size)
{
    size_t at = 0;
    while (at + 1 < size && read(fd, line + at, 1) == 1 && line[at] != '\n')
        at++;
    line[at] = 0;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int64_t cpu_ns(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000LL +
           (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000LL;
}

static int child(bool latency)
{
    static struct side side;
    char endpoint[256];
    side_init(&side, ID_B);
    printf("%s\n", weir_io_endpoint(side.io));
    fflush(stdout);
    read_line(0, endpoint, sizeof endpoint);
    int channels = latency ? 1 : CONSUMERS;
    if (latency) {
        side.specs[0].latencies_ns = weir_zalloc(LATENCY_ROWS * sizeof(int64_t));
        side.specs[0].latency_max = LATENCY_ROWS;
    }
    int64_t cpu = cpu_ns();
    start_sinks(&side, latency ? kit_schema() : wide, channels, endpoint);
    wait_ended(&side, channels);
    if (latency) {
        struct kit_spec *spec = &side.specs[0];
        qsort(spec->latencies_ns, (size_t)spec->latency_count, sizeof(int64_t), compare);
        printf("%.3f %.3f\n", (double)spec->latencies_ns[spec->latency_count / 2] / 1e6,
               (double)spec->latencies_ns[spec->latency_count * 99 / 100] / 1e6);
    } else {
        int64_t rows = 0;
        for (int c = 0; c < channels; c++)
            rows += side.specs[c].row_count;
        printf("%lld %lld\n", (long long)rows, (long long)(cpu_ns() - cpu));
    }
    fflush(stdout);
    read_line(0, endpoint, sizeof endpoint);
    _exit(0);
}

static pid_t start_child(const char *mode, int *in, int *out)
{
    int to[2], from[2];
    if (pipe(to) || pipe(from))
        exit(1);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        close(to[1]);
        close(from[0]);
        execl(program, program, "child", mode, (char *)NULL);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    *in = to[1];
    *out = from[0];
    return pid;
}

/* --- Measuring */

static void bench_remote(int64_t rows)
{
    static struct side side;
    char line[256];
    int in, out;
    pid_t pid = start_child("rows", &in, &out);
    read_line(out, line, sizeof line);
    side_init(&side, ID_A);
    dprintf(in, "%s\n", weir_io_endpoint(side.io));
    side.specs[0].rows = rows;
    int64_t cpu = cpu_ns(), wall = weir_clock_mono_ns();
    start_source(&side, &pool_source, wide, CONSUMERS, line);
    wait_ended(&side, 1);
    read_line(out, line, sizeof line); /* all have arrived */
    wall = weir_clock_mono_ns() - wall;
    cpu = cpu_ns() - cpu;
    long long got, receiver_cpu;
    if (sscanf(line, "%lld %lld", &got, &receiver_cpu) != 2 || got != rows) {
        fprintf(stderr, "sent %lld rows, the other side says '%s'\n", (long long)rows, line);
        exit(1);
    }
    printf(
        "key_by between two processes: %.1f M rows/s per sending core, %.1f M rows/s per receiving core, %.1f M rows/s by the "
        "clock\n",
        (double)rows / (double)cpu * 1e3, (double)rows / (double)receiver_cpu * 1e3, (double)rows / (double)wall * 1e3);
    close(in);
    waitpid(pid, NULL, 0);
    weir_worker_stop(side.worker);
}

static void bench_latency(bool from_due)
{
    static struct side side;
    char line[256];
    int in, out;
    pid_t pid = start_child("latency", &in, &out);
    read_line(out, line, sizeof line);
    side_init(&side, ID_A);
    dprintf(in, "%s\n", weir_io_endpoint(side.io));
    side.specs[0] = (struct kit_spec){
        .rows = LATENCY_ROWS, .batch_rows = 1000, .keys = 1000, .rate = LATENCY_RATE, .stamp_now = !from_due};
    start_source(&side, &kit_source, kit_schema(), 1, line);
    read_line(out, line, sizeof line);
    double p50, p99;
    if (sscanf(line, "%lf %lf", &p50, &p99) != 2)
        exit(1);
    printf("remote hop at %d rows/s: p50 %.3f ms, p99 %.3f ms from when %s\n", LATENCY_RATE, p50, p99,
           from_due ? "each row was due (the source wakes each ms)" : "each row was made");
    close(in);
    waitpid(pid, NULL, 0);
    weir_worker_stop(side.worker);
}

/* One worker, source -> (channel) -> sink, batches by reference: per batch. */
static void bench_local(void)
{
    static struct side side;
    side_init(&side, ID_A);
    int64_t batches = 2000000;
    side.specs[0].rows = batches * WEIR_BATCH_ROWS_DEFAULT;
    static const struct weir_op_vtable nothing = {.name = "nothing"};
    struct weir_channel *chan = weir_channel_new(1, WEIR_CHANNEL_CREDITS, false, false);
    struct weir_chain_op op = kit_op(&nothing, -1, 0, NULL);
    struct weir_chain_options options = {.ops = &op, .op_count = 1, .input_count = 1};
    struct weir_input *input = weir_input_new(weir_worker_waker(side.worker));
    weir_channel_set_consumer(chan, weir_input_inbox(input));
    weir_input_add(input, chan, 0);
    struct weir_task *sink = new_task(&side, weir_chain_new(&options), input);
    op = kit_op(&pool_source, -1, 0, &side.specs[0]);
    options.input_count = 0;
    struct weir_chain *chain = weir_chain_new(&options);
    chan->producer = weir_worker_waker(side.worker);
    weir_channel_open(chan);
    struct weir_edge_writer_options writer = {.partition = WEIR_EDGE_HASH,
                                              .schema = wide,
                                              .key = {.column_count = 1, .columns = {1}},
                                              .max_parallelism = 128,
                                              .parallelism = 1,
                                              .channels = &chan,
                                              .channel_count = 1};
    weir_chain_add_writer(chain, 0, 0, weir_edge_writer_new(&writer));
    struct weir_task *source = new_task(&side, chain, NULL);
    int64_t cpu = cpu_ns();
    weir_worker_add(side.worker, sink);
    weir_worker_add(side.worker, source);
    wait_ended(&side, 2);
    printf("local hop by reference: %.0f ns a batch, with its source and sink\n",
           (double)(cpu_ns() - cpu) / (double)batches);
    weir_worker_stop(side.worker);
}

static void share_keys(bool make)
{
    char hex[2 * sizeof keys + 1];
    const char *given = getenv(KEYS_VARIABLE);
    if (make) {
        if (weir_curve_pair_new(&keys[0], &error) || weir_curve_pair_new(&keys[1], &error)) {
            fprintf(stderr, "%s\n", error.message);
            exit(1);
        }
        weir_hex_encode((const uint8_t *)keys, sizeof keys, hex);
        setenv(KEYS_VARIABLE, hex, 1);
        with_keys = true;
    } else if (given) {
        with_keys = weir_hex_decode(given, sizeof keys, (uint8_t *)keys);
    }
}

int main(int argc, char **argv)
{
    program = argv[0];
    make_pool();
    share_keys(argc > 2 && strcmp(argv[2], "curve") == 0);
    if (argc > 2 && strcmp(argv[1], "child") == 0)
        return child(strcmp(argv[2], "latency") == 0);
    int64_t millions = argc > 1 ? atoll(argv[1]) : 20;
    bench_remote(millions * 1000000 / WEIR_BATCH_ROWS_DEFAULT * WEIR_BATCH_ROWS_DEFAULT);
    bench_latency(true);
    bench_latency(false);
    bench_local();
    return 0;
}
