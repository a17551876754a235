/* Snapshots on their way into the store, and parts on their way out of it. The control thread begins calls of the pool, which do all that
 * may block, and takes what came of them; workers are not waited for and do not wait.
 *
 * A subtask's snapshot is an object, jobs/<job>/chk-<n>/<vertex>-<subtask>-<attempt>, and one more for each large run of a state,
 * ...-run<k>, and whatever earlier checkpoints wrote that it refers to. In an object parts are one behind the other, each known by offset, size and CRC-32C, which the checkpoint's metadata carries. Together at most INLINE_SIZE_MAX bytes: they travel in the report and
 * there is no object. The last snapshot of a task that has FINISHED is jobs/<job>/finished/<vertex>-<subtask>-<attempt>: it belongs to
 * every later checkpoint, so it goes with the job and not with a checkpoint.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/proto_memory.h"
#include "base/thread.h"
#include "executor/control_int.h"
#include "data/row_key.h"
#include "state/capture.h"
#include "statefile/run.h"

#define INLINE_SIZE_MAX ((int64_t)16 << 10)
#define INLINE_SIZE_STORELESS \
    ((int64_t)1 \
     << 20) /* where the storage cannot be reached: a job that has not asked for checkpoints ends all the same */
#define WHOLE_SIZE_MAX ((int64_t)8 << 20) /* larger objects of many parts are streamed */
#define PUT_SIZE_MAX ((int64_t)32 << 20)  /* what is in memory is put from there; more of it through a file, in parts */
#define RUN_SIZE_WHOLE ((int64_t)1 << 20) /* a smaller run is fetched whole */
#define RUN_TAIL_SIZE ((int64_t)64 << 10) /* of a larger one first, mostly with all of its index */
#define FETCHERS_MAX 3                    /* threads of one subtask's restore, beside the pool's */
#define RUN_SIZE_SHARED ((size_t)1 << 20) /* a larger run has an object of its own */

/* --- The store */

weir_err weir_control_open_store(struct weir_control *c, const char *uri, struct weir_error *error)
{
    struct weir_config *config = NULL;
    struct weir_store *store = NULL;
    weir_err err =
        weir_config_load("/dev/null", "", c->executor.store_settings, (int)c->executor.start->n_store, &config, error);
    if (!err)
        err = weir_store_open(uri, config, &store, error);
    weir_config_free(config);
    if (err)
        return weir_wrap(error, "execution.checkpointing.dir");
    c->executor.store = store;
    return WEIR_OK;
}

static void wake_control(void *arg)
{
    weir_wake(&((struct weir_control *)arg)->waker);
}

/* --- Writing. On the pool until the call has ended */

struct write_work {
    struct weir_store *store;        /* a reference; NULL: there is none */
    struct weir_local_copies *local; /* the same */
    uint32_t vertex, subtask;
    struct weir_snapshot *snapshot;
    char *key;
    bool has_object; /* else the parts travel in the report */
    int run_objects; /* runs that have an object each */
};

struct weir_executor_write {
    struct weir_executor_task *task;
    uint64_t checkpoint;
    struct weir_task_event *event; /* of a FINISHED task */
    struct weir_call *call;
    struct write_work *work; /* the call's */
    struct weir_executor_write *next;
};

static void free_write_work(void *arg)
{
    struct write_work *work = arg;
    weir_store_close(work->store);
    weir_local_copies_unref(work->local);
    weir_snapshot_free(work->snapshot);
    free(work->key);
    free(work);
}

static weir_err put_bytes(struct write_work *work, const char *key, const struct weir_buf *bytes,
                          struct weir_error *error);

/* NULL: none are made. A savepoint's objects are not what a job goes on with. */
static struct weir_local_copies *copies_of(const struct write_work *work)
{
    return work->snapshot->flags & WEIR_BARRIER_SAVEPOINT ? NULL : work->local;
}

static weir_err put_whole(struct write_work *work, int64_t size, struct weir_error *error)
{
    struct weir_buf bytes;
    weir_buf_init(&bytes, (size_t)size);
    for (const struct weir_snapshot_part *part = work->snapshot->parts; part; part = part->next) {
        bool ok = part->bytes.size == 0 || weir_buf_append(&bytes, part->bytes.data, part->bytes.size);
        weir_assert(ok);
    }
    weir_err err = put_bytes(work, work->key, &bytes, error);
    weir_buf_fini(&bytes);
    return err;
}

static weir_err write_all(int fd, const uint8_t *bytes, size_t size, struct weir_error *error)
{
    return weir_local_write(fd, bytes, size)
               ? WEIR_OK
               : weir_fail_errno(error, WEIR_ERR_IO, "cannot gather a snapshot in memory");
}

static weir_err put_memfd(struct write_work *work, const char *key, int fd, struct weir_error *error)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int64_t size = 0;
    return weir_store_put_file(work->store, key, path, &size, NULL, error);
}

static weir_err put_bytes(struct write_work *work, const char *key, const struct weir_buf *bytes,
                          struct weir_error *error)
{
    if ((int64_t)bytes->size <= PUT_SIZE_MAX) {
        weir_err err = weir_store_put(work->store, key, bytes->data, bytes->size, WEIR_STORE_ALWAYS, NULL, NULL, error);
        if (!err)
            weir_local_copies_put(copies_of(work), key, bytes->data, (int64_t)bytes->size);
        return err;
    }
    int64_t size = (int64_t)bytes->size;
    int copy = weir_local_copies_create(copies_of(work), key, size);
    if (copy >= 0 && write_all(copy, bytes->data, bytes->size, NULL)) {
        weir_local_copies_drop(work->local, key, size, copy);
        copy = -1;
    }
    int fd = copy >= 0 ? copy : memfd_create("weir-run", MFD_CLOEXEC);
    if (fd < 0)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot gather a snapshot in memory");
    weir_err err = copy >= 0 ? WEIR_OK : write_all(fd, bytes->data, bytes->size, error);
    if (!err)
        err = put_memfd(work, key, fd, error);
    if (copy < 0)
        close(fd);
    else if (err)
        weir_local_copies_drop(work->local, key, size, copy);
    else
        weir_local_copies_keep(work->local, key, size, copy);
    return err;
}

/* What is sent from a file is copied from it. */
static void copy_file(struct write_work *work, const char *key, int fd)
{
    struct stat about;
    int copy = fstat(fd, &about) == 0 ? weir_local_copies_create(copies_of(work), key, about.st_size) : -1;
    if (copy < 0)
        return;
    off_t from = 0;
    while (from < about.st_size) {
        ssize_t n = copy_file_range(fd, &from, copy, NULL, (size_t)(about.st_size - from), 0);
        if (n <= 0 && (n = sendfile(copy, fd, &from, (size_t)(about.st_size - from))) <= 0)
            break;
    }
    if (from < about.st_size)
        weir_local_copies_drop(work->local, key, about.st_size, copy);
    else
        weir_local_copies_keep(work->local, key, about.st_size, copy);
}

static weir_err put_streamed(struct write_work *work, struct weir_error *error)
{
    int fd = memfd_create("weir-snapshot", MFD_CLOEXEC);
    if (fd < 0)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot gather a snapshot in memory");
    weir_err err = WEIR_OK;
    for (struct weir_snapshot_part *part = work->snapshot->parts; part && !err; part = part->next) {
        err = write_all(fd, part->bytes.data, part->bytes.size, error);
        weir_buf_fini(&part->bytes); /* it is there once */
    }
    if (!err)
        err = put_memfd(work, work->key, fd, error);
    if (!err)
        copy_file(work, work->key, fd);
    close(fd);
    return err;
}

static weir_err no_store(struct weir_error *error)
{
    return weir_fail(error, WEIR_ERR_INVALID,
                     "execution.checkpointing.dir is not set where this task runs, or cannot be opened there, as its "
                     "executor's log says");
}

/* A run: a part of the subtask's object when it is small and its state's only one, else an object of its own, written before the next one is
 * asked for, so that few are in memory. */
static weir_err write_run(struct write_work *work, struct weir_capture *capture, struct weir_buf *run, bool only,
                          struct weir_error *error)
{
    if (only && run->size <= RUN_SIZE_SHARED) {
        (void)weir_snapshot_add_run(work->snapshot, capture, run);
        return WEIR_OK;
    }
    if (!work->store)
        return no_store(error);
    struct weir_run_ref ref = {
        .object = weir_format("%s-run%d", work->key, work->run_objects++),
        .size = (int64_t)run->size,
        .crc32c = weir_crc32c_background(run->data, run->size),
    };
    weir_err err = put_bytes(work, ref.object, run, error);
    if (err)
        (void)weir_wrap(error, "cannot write %s", ref.object);
    else
        weir_snapshot_add_stored_run(work->snapshot, capture, true, &ref);
    free(ref.object);
    return err;
}

/* The runs of a state: those of earlier checkpoints, then its own, as the worker captures them. */
static weir_err write_capture(struct write_work *work, struct weir_capture *capture, struct weir_error *error)
{
    int count;
    const struct weir_run_ref *base = weir_capture_base(capture, &count);
    for (int i = 0; i < count; i++)
        weir_snapshot_add_stored_run(work->snapshot, capture, false, &base[i]);
    weir_err err = WEIR_OK;
    bool more = true, last = false;
    struct weir_buf run; /* one for all of them: fresh memory costs as much as sorting them */
    weir_buf_init(&run, SIZE_MAX / 2);
    for (int i = 0; more && !last && !err; i++) {
        run.size = 0;
        err = weir_capture_next(capture, &run, &more, &last, error);
        if (!err && more)
            err = write_run(work, capture, &run, i == 0 && last, error);
    }
    weir_buf_fini(&run);
    return err;
}

/* They are in the store, and will be referred to. */
static void tell_captures(const struct write_work *work)
{
    for (const struct weir_snapshot_capture *entry = work->snapshot->captures; entry; entry = entry->next) {
        struct weir_run_ref *refs = NULL;
        int count = 0;
        bool stored = true;
        for (const struct weir_snapshot_part *part = work->snapshot->parts; part; part = part->next) {
            if (part->capture != entry->capture)
                continue;
            refs = weir_realloc(refs, (size_t)(count + 1) * sizeof *refs);
            refs[count++] = (struct weir_run_ref){part->object, part->offset, part->size, part->crc32c};
            stored &= part->object != NULL;
        }
        if (stored)
            weir_capture_written(entry->capture, refs, count);
        free(refs);
    }
}

/* Which of them this checkpoint needs, and what is not needed any more. */
static void tell_local_copies(const struct write_work *work)
{
    const struct weir_snapshot *snapshot = work->snapshot;
    const char **objects = NULL;
    int count = 0, room = 0;
    if (!work->local)
        return;
    if (snapshot->flags &
        WEIR_BARRIER_SAVEPOINT) { /* what it has is its own, and later checkpoints build on an earlier one */
        weir_local_copies_savepoint(work->local, snapshot->checkpoint);
        return;
    }
    for (const struct weir_snapshot_part *part = snapshot->parts; part; part = part->next) {
        if (!part->object)
            continue;
        if (count == room) {
            room = room ? room * 2 : 64;
            objects = weir_realloc(objects, (size_t)room * sizeof *objects);
        }
        objects[count++] = part->object;
    }
    weir_local_copies_refer(work->local, work->vertex, work->subtask, snapshot->checkpoint, objects, count);
    weir_local_copies_complete(work->local, snapshot->complete);
    free(objects);
}

static weir_err put_parts(struct write_work *work, int64_t size, struct weir_error *error)
{
    if (!work->store)
        return no_store(error);
    work->has_object = true;
    if (weir_fault("executor.object-put-begun"))
        return weir_fail(error, WEIR_ERR_IO, "a fault point kept %s from being written", work->key);
    weir_err err = size <= WHOLE_SIZE_MAX ? put_whole(work, size, error) : put_streamed(work, error);
    if (!err && weir_fault("executor.object-put-done"))
        err = weir_fail(error, WEIR_ERR_IO, "a fault point lost the reply");
    return err ? weir_wrap(error, "cannot write %s", work->key) : WEIR_OK;
}

static weir_err run_write(void *arg, struct weir_error *error)
{
    struct write_work *work = arg;
    weir_thread_background();
    weir_err err = weir_snapshot_run_syncs(work->snapshot, error);
    if (!err && weir_fault("executor.output-synced"))
        err = weir_fail(error, WEIR_ERR_IO, "a fault point failed what makes a sink's output durable");
    bool increments = false;
    for (struct weir_snapshot_capture *entry = work->snapshot->captures; entry && !err; entry = entry->next) {
        increments |= !weir_capture_is_full(entry->capture);
        err = write_capture(work, entry->capture, error);
    }
    if (err)
        return err;
    int64_t size = 0;
    for (struct weir_snapshot_part *part = work->snapshot->parts; part; part = part->next) {
        if (part->object)
            continue;
        part->offset = size;
        part->size = (int64_t)part->bytes.size;
        part->crc32c = weir_crc32c(0, part->bytes.data, part->bytes.size);
        size += part->size;
    }
    /* An increment is referred to later, so that it cannot travel in the report. */
    if (size > (work->store ? INLINE_SIZE_MAX : INLINE_SIZE_STORELESS) || (increments && size > 0))
        err = put_parts(work, size, error);
    for (struct weir_snapshot_part *part = work->snapshot->parts; part && !err && work->has_object; part = part->next)
        if (!part->object)
            part->object = weir_strdup(work->key);
    if (!err) {
        tell_captures(work);
        tell_local_copies(work);
    }
    return err;
}

void weir_control_write(struct weir_control *c, struct weir_executor_task *task, struct weir_snapshot *take_snapshot,
                        struct weir_task_event *take_event)
{
    struct weir_executor_write *write = weir_zalloc(sizeof *write);
    struct write_work *work = write->work = weir_zalloc(sizeof *work);
    work->store = weir_store_ref(c->executor.store);
    work->local = weir_local_copies_ref(c->executor.local);
    work->vertex = task->id.vertex;
    work->subtask = task->id.subtask;
    work->snapshot = take_snapshot;
    char directory[40];
    snprintf(directory, sizeof directory, take_event ? "finished" : "chk-%" PRIu64, take_snapshot->checkpoint);
    work->key = weir_format("jobs/%s/%s/%s", c->executor.job_id, directory, task->object_name);
    write->task = task;
    write->checkpoint = take_snapshot->checkpoint;
    write->event = take_event;
    write->next = c->writes;
    c->writes = write;
    struct weir_call_spec spec = {
        .run = run_write, .arg = work, .free_arg = free_write_work, .ended = wake_control, .ended_arg = c};
    write->call = weir_call_begin(c->executor.pool, &spec);
}

struct weir_executor_write *weir_control_written(struct weir_control *c, weir_err *err, struct weir_error *error)
{
    for (struct weir_executor_write **at = &c->writes; *at; at = &(*at)->next) {
        struct weir_executor_write *write = *at;
        if (!weir_call_ended(write->call))
            continue;
        *at = write->next;
        *err = weir_call_result(write->call, error);
        return write;
    }
    return NULL;
}

static void free_event(struct weir_task_event *event)
{
    if (event)
        weir_snapshot_free(event->snapshot);
    free(event);
}

void weir_executor_write_free(struct weir_executor_write *write)
{
    weir_call_free(write->call);
    free_event(write->event);
    free(write);
}

struct weir_executor_task *weir_executor_write_task(const struct weir_executor_write *write)
{
    return write->task;
}

uint64_t weir_executor_write_checkpoint(const struct weir_executor_write *write)
{
    return write->checkpoint;
}

struct weir_task_event *weir_executor_write_take_event(struct weir_executor_write *write)
{
    struct weir_task_event *event = write->event;
    write->event = NULL;
    return event;
}

void weir_control_drop_writes(struct weir_control *c, const struct weir_executor_task *task)
{
    for (struct weir_executor_write **at = &c->writes; *at;) {
        struct weir_executor_write *write = *at;
        if (task && write->task != task) {
            at = &write->next;
            continue;
        }
        *at = write->next;
        weir_executor_write_free(write);
    }
}

/* --- What was written, as a message */

static void fill_parts(struct weir_snapshot_message *message, const struct weir_executor_write *write, int count)
{
    const struct write_work *work = write->work;
    const struct weir_executor_task *task = write->task;
    message->parts = weir_zalloc((size_t)(count + 1) * sizeof *message->parts);
    message->part_pointers = weir_zalloc((size_t)(count + 1) * sizeof *message->part_pointers);
    int i = 0;
    for (const struct weir_snapshot_part *from = work->snapshot->parts; from; from = from->next, i++) {
        Weir__StatePart *part = message->part_pointers[i] = &message->parts[i];
        weir__state_part__init(part);
        part->uid = from->uid;
        part->name = from->name;
        part->kind = (uint32_t)from->kind;
        part->subtask = from->parallelism ? (uint32_t)from->subtask : task->id.subtask;
        part->parallelism = from->parallelism ? (uint32_t)from->parallelism
                                              : (uint32_t)task->executor->plan->vertices[task->id.vertex].parallelism;
        part->size = from->size;
        part->crc32c = from->crc32c;
        if (from->object) {
            part->object = from->object;
            part->offset = from->offset;
        } else {
            part->bytes.data = from->bytes.data;
            part->bytes.len = from->bytes.size;
        }
    }
    message->snapshot.n_parts = (size_t)count;
    message->snapshot.parts = message->part_pointers;
}

static void fill_segments(Weir__Committable *committable, const struct weir_output_segments *from)
{
    if (from->count == 0)
        return;
    size_t count = (size_t)from->count;
    Weir__OutputSegment *segments = weir_zalloc(count * sizeof *segments);
    committable->segments = weir_zalloc(count * sizeof *committable->segments);
    for (size_t i = 0; i < count; i++) {
        Weir__OutputSegment *segment = committable->segments[i] = &segments[i];
        weir__output_segment__init(segment);
        segment->object = from->list[i].object;
        segment->size = from->list[i].size;
        segment->crc32c = from->list[i].crc32c;
        segment->records = from->list[i].records;
    }
    committable->n_segments = count;
    committable->since = from->since;
    if (from->transaction)
        committable->transaction = from->transaction;
    committable->sink = from->sink;
}

void weir_snapshot_message_init(struct weir_snapshot_message *message, const struct weir_executor_write *write)
{
    const struct weir_snapshot *snapshot = write->work->snapshot;
    weir__subtask_snapshot__init(&message->snapshot);
    message->alignment_ms = snapshot->alignment_ns / 1000000;
    message->persisted_bytes = (int64_t)snapshot->overtaken_bytes;
    message->processed_bytes = (int64_t)snapshot->processed_bytes;
    message->sync_ms = snapshot->sync_ns / 1000000;
    message->async_ms = snapshot->taken_ns ? (weir_clock_mono_ns() - snapshot->taken_ns) / 1000000 : 0;
    message->unaligned = snapshot->unaligned;
    int count = 0;
    for (const struct weir_snapshot_part *part = snapshot->parts; part; part = part->next)
        count++;
    fill_parts(message, write, count);
    count = 0;
    for (const struct weir_snapshot_committable *c = snapshot->committables; c; c = c->next)
        count++;
    message->committables = weir_zalloc((size_t)(count + 1) * sizeof *message->committables);
    message->committable_pointers = weir_zalloc((size_t)(count + 1) * sizeof *message->committable_pointers);
    int i = 0;
    for (const struct weir_snapshot_committable *from = snapshot->committables; from; from = from->next, i++) {
        Weir__Committable *committable = message->committable_pointers[i] = &message->committables[i];
        weir__committable__init(committable);
        committable->connector = from->connector;
        committable->text = from->text;
        fill_segments(committable, &from->segments);
    }
    message->snapshot.n_committables = (size_t)count;
    message->snapshot.committables = message->committable_pointers;
}

void weir_snapshot_message_fini(struct weir_snapshot_message *message)
{
    for (size_t i = 0; i < message->snapshot.n_committables; i++) {
        Weir__Committable *committable = message->committable_pointers[i];
        free(committable->n_segments ? committable->segments[0] : NULL); /* they are one array */
        free(committable->segments);
    }
    free(message->parts);
    free(message->part_pointers);
    free(message->committables);
    free(message->committable_pointers);
}

/* --- Fetching. On the pool until the call has ended */

struct fetch_work {
    struct weir_store *store;
    struct weir_local_copies *local;
    uint32_t vertex, subtask;
    _Atomic int64_t local_bytes, store_bytes;
    Weir__TaskRestore *restore;
    struct weir_restored *restored; /* the result */
    int max_parallelism, key_group_first, key_group_count;
    atomic_bool corrupt;
};

struct weir_executor_fetch {
    struct weir_call *call;
    struct fetch_work *work; /* the call's */
};

static void free_fetch_work(void *arg)
{
    struct fetch_work *work = arg;
    weir_store_close(work->store);
    weir_local_copies_unref(work->local);
    weir__task_restore__free_unpacked(work->restore, NULL);
    weir_restored_free(work->restored);
    free(work);
}

static weir_err corrupt(struct fetch_work *work, const Weir__StatePart *part, const char *how, struct weir_error *error)
{
    atomic_store(&work->corrupt, true);
    return weir_fail(error, WEIR_ERR_DATA,
                     "CHECKPOINT_CORRUPT: state '%s' of operator %s in checkpoint %" PRIu64 " %s (%s, %" PRId64
                     " bytes from %" PRId64 ")",
                     part->name, part->uid, work->restore->checkpoint, how, part->object[0] ? part->object : "metadata",
                     part->size, part->offset);
}

static weir_err read_back(int fd, uint8_t *bytes, int64_t size, struct weir_error *error)
{
    for (int64_t at = 0; at < size;) {
        ssize_t n = pread(fd, bytes + at, (size_t)(size - at), at);
        if (n <= 0)
            return weir_fail_errno(error, WEIR_ERR_IO, "cannot read a part that was fetched");
        at += n;
    }
    return WEIR_OK;
}

/* A part's bytes: malloc()ed, or in a mapping. */
struct fetched {
    uint8_t *bytes;
    void *mapped; /* NULL: malloc()ed */
    int64_t mapped_size;
};

static void free_fetched(struct fetched *fetched)
{
    if (fetched->mapped)
        munmap(fetched->mapped, (size_t)fetched->mapped_size);
    else
        free(fetched->bytes);
    *fetched = (struct fetched){0};
}

/* [from, from + size) of the part into `fd`, from its start on. */
static weir_err fetch_into(struct fetch_work *work, const Weir__StatePart *part, int64_t from, int64_t size, int fd,
                           struct weir_error *error)
{
    if (!work->store)
        return weir_fail(error, WEIR_ERR_INVALID, "execution.checkpointing.dir is not set where this task is to run");
    weir_err err = weir_store_get_range(work->store, part->object, part->offset + from, size, fd, 0, NULL, error);
    if (err == WEIR_ERR_NOT_FOUND || err == WEIR_ERR_DATA)
        return corrupt(work, part, err == WEIR_ERR_DATA ? "is damaged" : "is not there", error);
    atomic_fetch_add(&work->store_bytes, size);
    return err ? weir_wrap(error, "cannot read %s", part->object) : WEIR_OK;
}

/* [from, from + size) of the part, to where it is in `bytes`. */
static weir_err fetch_range(struct fetch_work *work, const Weir__StatePart *part, int64_t from, int64_t size,
                            uint8_t *bytes, struct weir_error *error)
{
    int fd = memfd_create("weir-restore", MFD_CLOEXEC);
    if (fd < 0)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot make memory for a part");
    weir_err err = fetch_into(work, part, from, size, fd, error);
    if (!err)
        err = read_back(fd, bytes + from, size, error);
    close(fd);
    return err;
}

static bool wants_some(const struct fetch_work *work, const Weir__StatePart *part)
{
    int first, count;
    if (part->kind != WEIR_STATE_KEYED || part->size <= RUN_SIZE_WHOLE || part->parallelism < 1 ||
        part->parallelism > (uint32_t)work->max_parallelism || part->subtask >= part->parallelism)
        return false;
    weir_key_group_range(work->max_parallelism, (int)part->parallelism, (int)part->subtask, &first, &count);
    return work->key_group_first > first || work->key_group_first + work->key_group_count < first + count;
}

/* Of a large run the index and the blocks of the key groups that are wanted, with their own checksums; the other bytes stay
 * what they are, and are not memory. *whole: it turned out to be none, all of it is to be fetched. */
static weir_err fetch_run(struct fetch_work *work, const Weir__StatePart *part, struct fetched *out, bool *whole,
                          struct weir_error *error)
{
    uint8_t *bytes = out->bytes = weir_alloc((size_t)part->size + 1);
    *whole = true;
    uint64_t size = (uint64_t)part->size, index_at, from, range;
    int64_t tail = part->size - RUN_TAIL_SIZE;
    weir_err err = fetch_range(work, part, tail, RUN_TAIL_SIZE, bytes, error);
    if (err || weir_run_index_at(bytes + size - WEIR_RUN_TRAILER_SIZE, size, &index_at, NULL))
        return err;
    if ((int64_t)index_at < tail)
        err = fetch_range(work, part, (int64_t)index_at, tail - (int64_t)index_at, bytes, error);
    struct weir_run *run = NULL;
    if (err || weir_run_open(bytes, size, &run, NULL))
        return err;
    weir_run_range(run, work->key_group_first, work->key_group_count, &from, &range);
    if (range > 0)
        err = fetch_range(work, part, (int64_t)from, (int64_t)range, bytes, error);
    if (!err && weir_run_check(run, work->key_group_first, work->key_group_count, NULL))
        err = corrupt(work, part, "has a block that does not fit its checksum", error);
    weir_run_close(run);
    *whole = false;
    return err;
}

/* All of a part from the store: into the file of its local copy where it is all that the object has, and to be used from there. */
static weir_err fetch_whole(struct fetch_work *work, const Weir__StatePart *part, struct fetched *out, bool may_copy,
                            struct weir_error *error)
{
    int copy = may_copy && part->offset == 0 && part->size > INLINE_SIZE_MAX
                   ? weir_local_copies_create(work->local, part->object, part->size)
                   : -1;
    int fd = copy >= 0 ? copy : memfd_create("weir-restore", MFD_CLOEXEC);
    if (fd < 0)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot make memory for a part");
    weir_err err = fetch_into(work, part, 0, part->size, fd, error);
    if (err == WEIR_ERR_IO && copy >= 0) { /* perhaps of this host's disk */
        weir_local_copies_drop(work->local, part->object, part->size, fd);
        return fetch_whole(work, part, out, false, error);
    }
    if (!err) {
        out->mapped_size = part->size;
        out->mapped = mmap(NULL, (size_t)part->size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
        if (out->mapped == MAP_FAILED) {
            out->mapped = NULL;
            err = weir_fail_errno(error, WEIR_ERR_IO, "cannot make memory for a part");
        }
        out->bytes = out->mapped;
    }
    bool fits = err || weir_crc32c(0, out->bytes, (size_t)part->size) == part->crc32c;
    if (!fits && copy >= 0) { /* the same */
        free_fetched(out);
        weir_local_copies_drop(work->local, part->object, part->size, fd);
        return fetch_whole(work, part, out, false, error);
    }
    if (!fits)
        err = corrupt(work, part, "does not fit its checksum", error);
    if (copy < 0)
        close(fd);
    else if (err)
        weir_local_copies_drop(work->local, part->object, part->size, fd);
    else
        weir_local_copies_keep(work->local, part->object, part->size, fd);
    return err;
}

/* A part from the local copy of its object; false: there is none, or none that is whole. */
static bool take_local(struct fetch_work *work, const Weir__StatePart *part, struct fetched *out)
{
    const uint8_t *bytes;
    if (!weir_local_copies_map(work->local, part->object, part->offset, part->size, &bytes, &out->mapped,
                               &out->mapped_size))
        return false;
    out->bytes = (uint8_t *)(uintptr_t)bytes;
    bool whole = true, good;
    struct weir_run *run = NULL;
    if (wants_some(work, part) && weir_run_open(bytes, (uint64_t)part->size, &run, NULL) == WEIR_OK) {
        whole = false;
        good = weir_run_check(run, work->key_group_first, work->key_group_count, NULL) == WEIR_OK;
        weir_run_close(run);
    } else {
        good = weir_crc32c(0, bytes, (size_t)part->size) == part->crc32c;
    }
    if (good) {
        atomic_fetch_add(&work->local_bytes, part->size);
        return true;
    }
    weir_log(WARN, "the local copy of %s is damaged (%s): it is read from the checkpoint storage", part->object,
             whole ? "it does not fit its checksum" : "a block does not fit its checksum");
    free_fetched(out);
    weir_local_copies_forget(work->local, part->object);
    return false;
}

static weir_err fetch_part(struct fetch_work *work, const Weir__StatePart *part, struct fetched *out,
                           struct weir_error *error)
{
    bool inlined = part->object[0] == 0, whole = true;
    if (part->size < 0 || part->offset < 0 || (inlined && (int64_t)part->bytes.len != part->size))
        return corrupt(work, part, "has no such size", error);
    weir_err err = WEIR_OK;
    if (inlined || part->size == 0) {
        out->bytes = weir_alloc((size_t)part->size + 1);
        if (part->size > 0)
            memcpy(out->bytes, part->bytes.data, part->bytes.len);
        if (weir_crc32c(0, out->bytes, (size_t)part->size) != part->crc32c)
            err = corrupt(work, part, "does not fit its checksum", error);
    } else if (!take_local(work, part, out)) {
        if (wants_some(work, part))
            err = fetch_run(work, part, out, &whole, error);
        if (!err && whole) {
            free_fetched(out);
            err = fetch_whole(work, part, out, true, error);
        }
    }
    if (!err && weir_fault("executor.restore-part"))
        err = weir_fail(error, WEIR_ERR_IO, "a fault point failed the fetch of a part");
    return err;
}

/* Parts are fetched by a few threads: each takes the next one that nobody has. */
struct fetchers {
    struct fetch_work *work;
    struct fetched *parts;
    atomic_size_t next;
    atomic_bool failed;
    pthread_mutex_t mutex; /* for: */
    weir_err err;
    struct weir_error error;
};

static void *fetch_parts(void *arg)
{
    struct fetchers *fetchers = arg;
    const Weir__TaskRestore *restore = fetchers->work->restore;
    size_t i;
    while ((i = atomic_fetch_add(&fetchers->next, 1)) < restore->n_parts && !atomic_load(&fetchers->failed)) {
        struct weir_error error = {0};
        weir_err err = fetch_part(fetchers->work, restore->parts[i], &fetchers->parts[i], &error);
        if (!err)
            continue;
        atomic_store(&fetchers->failed, true);
        pthread_mutex_lock(&fetchers->mutex);
        if (!fetchers->err) {
            fetchers->err = err;
            fetchers->error = error;
        }
        pthread_mutex_unlock(&fetchers->mutex);
    }
    return NULL;
}

static weir_err fetch_all(struct fetch_work *work, struct fetched *parts, struct weir_error *error)
{
    struct fetchers fetchers = {.work = work, .parts = parts};
    pthread_t threads[FETCHERS_MAX];
    int count = 0;
    size_t objects = 0;
    for (size_t i = 0; i < work->restore->n_parts; i++)
        objects += work->restore->parts[i]->object[0] != 0;
    pthread_mutex_init(&fetchers.mutex, NULL);
    while (count < FETCHERS_MAX && (size_t)count + 1 < objects &&
           pthread_create(&threads[count], NULL, fetch_parts, &fetchers) == 0)
        count++;
    fetch_parts(&fetchers);
    while (count > 0)
        pthread_join(threads[--count], NULL);
    pthread_mutex_destroy(&fetchers.mutex);
    if (fetchers.err && error)
        *error = fetchers.error;
    return fetchers.err;
}

/* Until a later checkpoint is complete the local copies of this one are needed. */
static void refer_to_restored(const struct fetch_work *work)
{
    const Weir__TaskRestore *restore = work->restore;
    const char **objects = weir_alloc((restore->n_parts + 1) * sizeof *objects);
    int count = 0;
    for (size_t i = 0; i < restore->n_parts; i++)
        if (restore->parts[i]->object[0])
            objects[count++] = restore->parts[i]->object;
    if (restore->checkpoint > 0)
        weir_local_copies_refer(work->local, work->vertex, work->subtask, restore->checkpoint, objects, count);
    free(objects);
}

static weir_err run_fetch(void *arg, struct weir_error *error)
{
    struct fetch_work *work = arg;
    size_t count = work->restore->n_parts;
    if (weir_fault("executor.restore-begun"))
        return weir_fail(error, WEIR_ERR_IO, "a fault point failed the restore");
    work->restored = weir_restored_new(work->restore->checkpoint);
    struct fetched *parts = weir_zalloc((count + 1) * sizeof *parts);
    weir_err err = fetch_all(work, parts, error);
    for (size_t i = 0; i < count; i++) {
        const Weir__StatePart *part = work->restore->parts[i];
        if (err) {
            free_fetched(&parts[i]);
            continue;
        }
        weir_restored_add(work->restored, part->uid, part->name, (enum weir_state_kind)part->kind, (int)part->subtask,
                          (int)part->parallelism, parts[i].bytes, (size_t)part->size);
        if (parts[i].mapped)
            weir_restored_mapped(work->restored, parts[i].mapped, (size_t)parts[i].mapped_size);
        if (part->object[0])
            weir_restored_origin(work->restored, part->object, part->offset, part->crc32c);
    }
    free(parts);
    work->restored->local_bytes = atomic_load(&work->local_bytes);
    work->restored->store_bytes = atomic_load(&work->store_bytes);
    if (!err)
        refer_to_restored(work);
    if (!err && weir_fault("executor.restore-done"))
        err = weir_fail(error, WEIR_ERR_IO, "a fault point failed the restore");
    return err;
}

Weir__TaskRestore *weir_executor_restore_copy(const Weir__TaskRestore *restore)
{
    size_t size = weir__task_restore__get_packed_size(restore);
    uint8_t *bytes = weir_alloc(size + 1);
    weir__task_restore__pack(restore, bytes);
    Weir__TaskRestore *copy = weir__task_restore__unpack(&weir_proto_memory, size, bytes);
    weir_assert(copy != NULL);
    free(bytes);
    return copy;
}

void weir_control_fetch(struct weir_control *c, struct weir_executor_task *task, Weir__TaskRestore *take_restore)
{
    struct weir_executor_fetch *fetch = task->fetch = weir_zalloc(sizeof *fetch);
    fetch->work = weir_zalloc(sizeof *fetch->work);
    fetch->work->store = weir_store_ref(c->executor.store);
    fetch->work->local = weir_local_copies_ref(c->executor.local);
    fetch->work->vertex = task->id.vertex;
    fetch->work->subtask = task->id.subtask;
    fetch->work->restore = take_restore;
    const struct weir_plan_vertex *vertex = &task->executor->plan->vertices[task->id.vertex];
    fetch->work->max_parallelism = vertex->max_parallelism;
    weir_key_group_range(vertex->max_parallelism, vertex->parallelism, (int)task->id.subtask,
                         &fetch->work->key_group_first, &fetch->work->key_group_count);
    struct weir_call_spec spec = {
        .run = run_fetch, .arg = fetch->work, .free_arg = free_fetch_work, .ended = wake_control, .ended_arg = c};
    fetch->call = weir_call_begin(c->executor.pool, &spec);
}

struct weir_executor_task *weir_control_fetched(struct weir_control *c, weir_err *err, const char **kind,
                                                struct weir_error *error)
{
    for (struct weir_executor_task *task = c->executor.tasks; task; task = task->next) {
        if (!task->fetch || !weir_call_ended(task->fetch->call))
            continue;
        struct fetch_work *work = task->fetch->work;
        *err = weir_call_result(task->fetch->call, error);
        *kind = work->corrupt ? "CHECKPOINT_CORRUPT" : NULL;
        if (!*err) {
            task->restored = work->restored;
            work->restored = NULL;
        }
        weir_executor_fetch_free(task->fetch);
        task->fetch = NULL;
        return task;
    }
    return NULL;
}

void weir_executor_fetch_free(struct weir_executor_fetch *fetch)
{
    if (!fetch)
        return;
    weir_call_free(fetch->call);
    free(fetch);
}
