/* A job that begins with a savepoint that somebody else wrote. Input: u8 flags (1: the metadata's uids "0", "1" are those of the job's operators; 2: state
 * that nobody has may be left behind; 4: it is a checkpoint of a job, not a savepoint), then the metadata's message. Its envelope is made to fit; the
 * objects that it may name are a, b and c, of 64 bytes.
 * Checked: it is refused with a sentence, or the JobManager takes it: tasks get their parts, and HEAD names what can be read again.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "fuzz/run_fit.h"
#include "jobmanager/core/jm.h"
#include "jobmanager/io/savepoint.h"
#include "statefile/metadata.h"

#define JOB_ID "0123456789abcdef0123456789abcdef"
#define CHECKPOINT_DIR "jobs/" JOB_ID "/chk-7"
#define STEPS_MAX 12

static char directory[64];
static struct weir_config *config;

static void write_file(const char *name, const void *bytes, size_t size)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    fuzz_check(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    close(fd);
}

static void remove_directory(void)
{
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    if (system(command) != 0)
        perror(directory);
}

static void make_directory(void)
{
    static const char *const folders[] = {"s", "jobs", "jobs/" JOB_ID, CHECKPOINT_DIR};
    char path[200];
    snprintf(directory, sizeof directory, "/tmp/weir-savepoint-fuzz-XXXXXX");
    fuzz_check(mkdtemp(directory));
    atexit(remove_directory);
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, folders[i]);
        fuzz_check(mkdir(path, 0700) == 0);
    }
    for (char name[] = "s/a"; name[2] <= 'c'; name[2]++)
        write_file(name, "0123456789012345678901234567890123456789012345678901234567890123", 64);
    fuzz_check(!weir_config_load(NULL, directory, NULL, 0, &config, NULL));
}

/* --- A job of a source and a sink */

static struct weir_plan *make_plan(uint8_t graph_bytes[4096], size_t *size)
{
    static Weir__JobGraph graph;
    static Weir__Vertex source, sink;
    static Weir__Edge edge;
    static Weir__Vertex *vertices[] = {&source, &sink};
    static Weir__Edge *edges[] = {&edge};
    static char *key[] = {(char *)"device"};
    struct weir_plan_options options = {.parallelism = 1, .max_parallelism = 128, .chaining = true};
    struct weir_plan *plan;
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
    *size = weir__job_graph__pack(&graph, graph_bytes);
    fuzz_check(!weir_plan_build(graph_bytes, *size, &options, &plan, NULL));
    return plan;
}

static void name_operators(Weir__Snapshot *snapshot, const struct weir_plan *plan)
{
    for (size_t i = 0; i < snapshot->n_parts; i++) {
        char **uid = &snapshot->parts[i]->uid;
        int number = (*uid)[0] - '0';
        if (number < 0 || number >= plan->op_count || (*uid)[1])
            continue;
        free(*uid);
        *uid = weir_strdup(plan->ops[number].uid);
    }
}

/* --- The JobManager */

struct manager {
    struct weir_jm *jm;
    int64_t now_ms;
    uint64_t id;
    bool head, stored; /* is to be answered */
};

static void step(struct manager *m, struct weir_jm_event *event)
{
    struct weir_jm_effects effects;
    event->now_ms = m->now_ms += 1000;
    event->wall_ms = 1000000 + m->now_ms;
    event->job_id = JOB_ID;
    weir_jm_step(m->jm, event, &effects);
    fuzz_check(effects.count < 10000);
    for (int i = 0; i < effects.count; i++) {
        const struct weir_jm_effect *effect = &effects.items[i];
        m->head |= effect->kind == WEIR_JM_EFFECT_HEAD_PUT;
        m->stored |= effect->kind == WEIR_JM_EFFECT_STORE_COPY;
        if (effect->kind == WEIR_JM_EFFECT_SEND) {
            size_t size = weir__control__get_packed_size(effect->control);
            uint8_t *bytes = weir_alloc(size + 1);
            fuzz_check(weir__control__pack(effect->control, bytes) == size);
            free(bytes);
        }
        if (effect->kind == WEIR_JM_EFFECT_STORE_COPY) {
            uint8_t *bytes = weir_alloc(effect->size + WEIR_ENVELOPE_SIZE);
            Weir__Snapshot *again = NULL;
            memcpy(bytes, "WEIRMETA", 8);
            fuzz_put_number(bytes + 8, weir_xxh3(effect->bytes, effect->size), 8);
            memcpy(bytes + WEIR_ENVELOPE_SIZE, effect->bytes, effect->size);
            fuzz_check(!weir_metadata_parse(bytes, effect->size + WEIR_ENVELOPE_SIZE, &again, NULL));
            weir__snapshot__free_unpacked(again, NULL);
            free(bytes);
        }
    }
}

static void send(struct manager *m, Weir__Control__BodyCase body, void *message)
{
    Weir__Control control;
    weir__control__init(&control);
    control.body_case = body;
    control.ack = message; /* a union of pointers */
    control.version = 1, control.leader_epoch = 1, control.session = 1;
    control.id = body == WEIR__CONTROL__BODY_EXECUTOR_REPORT ? ++m->id : 0;
    step(m, &(struct weir_jm_event){.kind = WEIR_JM_EVENT_MESSAGE, .peer = "peer", .control = &control});
}

static void live(struct manager *m)
{
    Weir__Register reg;
    weir__register__init(&reg);
    reg.taskmanager_id = (char *)"tm", reg.host = (char *)"127.0.0.1", reg.slots = 2, reg.session = 1;
    send(m, WEIR__CONTROL__BODY_REGISTER, &reg);
    for (int i = 0; i < STEPS_MAX; i++) {
        struct weir_jm_event event = {.kind = WEIR_JM_EVENT_TICK, .checkpoint = 7, .tag = "tag"};
        if (m->stored)
            event.kind = WEIR_JM_EVENT_STORED, m->stored = false;
        else if (m->head)
            event.kind = WEIR_JM_EVENT_HEAD_PUT, event.put_result = WEIR_HEAD_PUT_OK, m->head = false;
        const struct weir_jm_job *job = weir_jm_job_find(m->jm, JOB_ID);
        if (event.kind == WEIR_JM_EVENT_STORED && job)
            event.checkpoint = job->restored_id;
        step(m, &event);
        if (weir_jm_executor_count(m->jm) > 0 && i == STEPS_MAX / 2) {
            Weir__ExecutorReport report;
            weir__executor_report__init(&report);
            report.executor_id = (char *)(uintptr_t)weir_jm_executor_at(m->jm, 0).id;
            report.job_id = (char *)JOB_ID;
            report.state = WEIR__EXECUTOR_REPORT__STATE__READY;
            report.endpoint = (char *)"tcp://127.0.0.1:4000";
            send(m, WEIR__CONTROL__BODY_EXECUTOR_REPORT, &report);
        }
    }
}

static void begin_with(struct weir_savepoint *savepoint, unsigned flags)
{
    struct weir_jm_options options;
    uint8_t graph[4096];
    size_t size;
    weir_jm_options_init(&options);
    struct manager m = {.jm = weir_jm_new(&options), .now_ms = 1000};
    struct weir_jm_event event = {.kind = WEIR_JM_EVENT_SUBMIT, .graph = graph, .durable = true};
    event.take_plan = make_plan(graph, &size);
    event.graph_size = size;
    weir_jm_job_options_init(&event.job_options);
    event.job_options.checkpoint_interval_ms = 100000;
    if (flags & 1)
        name_operators(savepoint->snapshot, event.take_plan);
    struct weir_jm_restore restore = {.take_snapshot = savepoint->snapshot,
                                      .path = savepoint->path,
                                      .uri = savepoint->uri,
                                      .allow_non_restored = flags & 2};
    savepoint->snapshot = NULL;
    event.restore = &restore;
    step(&m, &event);
    live(&m);
    weir_jm_free(m.jm);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct weir_error error = {.code = WEIR_OK};
    struct weir_savepoint savepoint;
    if (!directory[0])
        make_directory();
    weir_log_level_min = WEIR_LOG_ERROR;
    if (size == 0)
        return 0;
    unsigned flags = data[0];
    const char *folder = flags & 4 ? CHECKPOINT_DIR : "s";
    uint8_t *bytes = weir_alloc(size + WEIR_ENVELOPE_SIZE);
    memcpy(bytes, "WEIRMETA", 8);
    fuzz_put_number(bytes + 8, weir_xxh3(data + 1, size - 1), 8);
    memcpy(bytes + WEIR_ENVELOPE_SIZE, data + 1, size - 1);
    char name[150], path[250];
    snprintf(name, sizeof name, "%s/%s", folder, flags & 4 ? "metadata" : "_metadata");
    write_file(name, bytes, size - 1 + WEIR_ENVELOPE_SIZE);
    free(bytes);
    snprintf(path, sizeof path, "%s/%s", directory, folder);
    if (weir_savepoint_read(path, config, &savepoint, &error)) {
        fuzz_check(error.message[0]);
        fuzz_check(!savepoint.snapshot);
    } else {
        begin_with(&savepoint, flags);
        weir_savepoint_fini(&savepoint);
    }
    return 0;
}

/* --- Seeds */

static void put_one(fuzz_put *put, const char *name, uint8_t flags, uint32_t kind, const char *object,
                    uint32_t parallelism)
{
    Weir__Snapshot snapshot;
    Weir__StatePart part, small;
    Weir__StatePart *parts[] = {&part, &small};
    weir__snapshot__init(&snapshot);
    weir__state_part__init(&part);
    weir__state_part__init(&small);
    part.uid = (char *)"0", part.name = (char *)"reader", part.kind = kind;
    part.object = (char *)(uintptr_t)object, part.offset = 4, part.size = 40, part.parallelism = parallelism;
    small.uid = (char *)"1", small.name = (char *)"x", small.kind = 3, small.parallelism = 2, small.subtask = 1;
    small.bytes.data = (uint8_t *)"\1\0\0\0", small.bytes.len = 4, small.size = 4;
    small.crc32c = weir_crc32c(0, small.bytes.data, 4);
    snapshot.version = WEIR_METADATA_VERSION, snapshot.checkpoint = 7, snapshot.savepoint = !(flags & 4);
    snapshot.parts = parts, snapshot.n_parts = 2;
    snapshot.job_name = (char *)"job", snapshot.job_id = (char *)JOB_ID;
    uint8_t bytes[1000];
    bytes[0] = flags;
    put(name, bytes, 1 + weir__snapshot__pack(&snapshot, bytes + 1));
}

void fuzz_seeds(fuzz_put *put)
{
    put_one(put, "split", 1, 2, "a", 2);
    put_one(put, "keyed", 1, 4, "b", 3);
    put_one(put, "subtask", 1, 1, "a", 2);
    put_one(put, "of-nobody", 2, 3, "a", 2);
    put_one(put, "of-no-subtask", 1, 4, "a", 0);
    put_one(put, "elsewhere", 1, 3, "../a", 2);
    put_one(put, "checkpoint", 5, 3, CHECKPOINT_DIR "/1-0-1", 2);
}
