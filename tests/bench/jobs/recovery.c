/* Keyed state of --keys keys with --payload bytes each; every row updates a key and comes out again. The first rows meet every key once, in
 * order; of the later ones those of one second meet a twentieth of the keys, scattered over all, in order: at --rate keys / 20 each of
 * those once. --rate 0: as fast as can be.
 *
 * What came out goes to the file --output (`struct notes`), which every executor maps: how many rows, of subtask 0 also when each attempt's first
 * row came out and each gap of a millisecond and more between one output and the next, across attempts, with the part of it in which the
 * thread was ready but the machine ran others.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <weir/weir.h>

#define ATTEMPTS 64
#define SUBTASKS 16
#define GAPS (1 << 18)
#define BURST_NS 200000

struct number {
    int64_t id;
};
WEIR_ROW(number, WEIR_FIELD(id, "BIGINT NOT NULL"));
struct event {
    int64_t id;
    int64_t key;
};
WEIR_ROW(event, WEIR_FIELD(id, "BIGINT NOT NULL"), WEIR_FIELD(key, "BIGINT NOT NULL"));

WEIR_VALUE_STATE(kept, "STRING");

struct notes {
    int64_t first_ns[ATTEMPTS];
    int64_t rows[SUBTASKS];
    int64_t last_ns;
    int64_t gap_count;
    struct {
        int64_t end_ns, gap_ns, others_ns;
    } gaps[GAPS];
};
static struct notes *notes;
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;

static int64_t wall_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

/* How long this thread was ready to run and did not: the scheduler's account. */
static int64_t waited_ns(void)
{
    static int fd = -1;
    char text[64] = "";
    if (fd < 0)
        fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    long long ran, waited;
    return pread(fd, text, sizeof text - 1, 0) > 0 && sscanf(text, "%lld %lld", &ran, &waited) == 2 ? waited : 0;
}

static int pick(struct weir_ctx *ctx, const struct number *in, struct event *out)
{
    static int64_t keys;
    if (!keys)
        keys = atoll(ctx->argument(ctx, "keys", "1000000"));
    out->id = in->id;
    out->key = in->id < keys ? in->id : in->id % (keys / 20) * 20 + wall_ns(CLOCK_REALTIME_COARSE) / 1000000000 % 20;
    return 0;
}

static int keep(struct weir_ctx *ctx, const struct event *row, struct weir_out *out)
{
    static _Thread_local char text[4096];
    static int64_t size;
    if (!size)
        size = atoll(ctx->argument(ctx, "payload", "100"));
    struct weir_str value = {text, (size_t)(size < (int64_t)sizeof text ? size : (int64_t)sizeof text)};
    snprintf(text, sizeof text, "%lld", (long long)row->id);
    weir_value_put(ctx, &kept, &value);
    return weir_emit(out, row);
}

static int open_notes(struct weir_ctx *ctx)
{
    pthread_mutex_lock(&opening);
    if (!notes) {
        int fd = open(ctx->argument(ctx, "output", "notes"), O_RDWR | O_CREAT, 0600);
        void *mapped = MAP_FAILED;
        if (fd >= 0 && ftruncate(fd, sizeof *notes) == 0)
            mapped = mmap(NULL, sizeof *notes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (fd >= 0)
            close(fd);
        notes = mapped == MAP_FAILED ? NULL : mapped;
    }
    pthread_mutex_unlock(&opening);
    return notes ? 0 : WEIR_FAIL(ctx, "cannot map the notes");
}

static int note(struct weir_ctx *ctx, const struct event *in, struct event *out)
{
    static int64_t waited_before;
    *out = *in;
    if (!notes && open_notes(ctx))
        return -1;
    if (ctx->subtask < SUBTASKS)
        notes->rows[ctx->subtask]++;
    if (ctx->subtask != 0)
        return 0;
    int64_t now = wall_ns(CLOCK_REALTIME), gap = notes->last_ns ? now - notes->last_ns : 0;
    notes->last_ns = now;
    if (ctx->attempt < ATTEMPTS && !notes->first_ns[ctx->attempt])
        notes->first_ns[ctx->attempt] = now;
    if (gap < BURST_NS)
        return 0;
    int64_t waited = waited_ns(), others = waited - waited_before;
    waited_before = waited;
    if (gap >= 1000000) {
        int64_t at = notes->gap_count % GAPS;
        notes->gaps[at].end_ns = now;
        notes->gaps[at].gap_ns = gap;
        notes->gaps[at].others_ns = others < gap ? others : gap;
        __atomic_store_n(&notes->gap_count, notes->gap_count + 1, __ATOMIC_RELEASE);
    }
    return 0;
}

WEIR_JOB(recovery)
{
    weir_arg(job, "output", "notes");
    weir_arg(job, "payload", "100");
    weir_arg(job, "keys", "1000000");
    struct weir_stream *rows = weir_source(job, "datagen", "rows-per-second", weir_arg(job, "rate", "100000"),
                                           "fields.id.kind", "sequence", NULL);
    rows = weir_uid(weir_schema(rows, WEIR_ROW_OF(number)), "rows");
    rows = weir_map(rows, WEIR_MAP(number, event, pick), .name = "pick");
    rows = weir_process(weir_key_by(rows, "key"), .name = "keep", .in = WEIR_ROW_OF(event), .out = WEIR_ROW_OF(event),
                        .on_row = keep);
    rows = weir_map(weir_uid(rows, "keep"), WEIR_MAP(event, event, note), .name = "note");
    weir_sink(rows, "blackhole", NULL);
}
