/* Part files on S3: objects, which appear whole and cannot be renamed.
 *
 * Exactly once, in a job with checkpoints: the bytes wait in the checkpoint's output log (ops/output_log.h), and a commit puts each of the log's
 * segments as an object, part-<subtask>-<attempt>-<n>-<tag>, with <tag> as for files. The name comes of the segment's, which is used once, so doing it twice
 * is the same as once. Nothing is in the bucket before, and what a job leaves that failed is its checkpoints', which the JobManager removes.
 * _weir/<tag> remembers the last checkpoint that was published: what it has published is not put again, so objects that somebody has taken
 * away do not come back. It is raised by conditional writes (If-Match, If-None-Match), never lowered: several may publish at a time, of a job that
 * begins with another's checkpoint, or after a TaskManager that was taken for lost. A job that begins with another's checkpoint publishes what waits in it under the same names, and not before what comes before it.
 *
 * Without checkpoints, or at least once: bytes are gathered in memory and put, by a call of the pool, when there are enough or the file ends;
 * a barrier waits for that.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/assert.h"
#include "base/config.h"
#include "base/fault.h"
#include "base/hash.h"
#include "filesystem_int.h"
#include "store/store.h"

#define OBJECT_SIZE ((size_t)8 << 20) /* what is gathered without checkpoints, at most */
#define OBJECT_SIZE_MAX ((size_t)256 << 20)
#define MARKER_SIZE_MAX ((size_t)64)
#define RAISES_MAX 8 /* of the marker, for one checkpoint */
#define RAISE_PAUSE_MS 50

bool weir_fs_is_remote(const char *path)
{
    return strncmp(path, "s3://", 5) == 0;
}

bool weir_fs_defers(const struct weir_key_value *options, int option_count)
{
    const char *guarantee = weir_options_get(options, option_count, weir_fs_sink_options, "delivery-guarantee");
    return strcmp(guarantee, "exactly-once") == 0 &&
           weir_fs_is_remote(weir_options_get(options, option_count, weir_fs_sink_options, "path"));
}

static weir_err open_store(const char *path, const struct weir_key_value *settings, int setting_count,
                           struct weir_store **store, struct weir_error *error)
{
    struct weir_config *config = NULL;
    weir_err err = weir_config_load("/dev/null", "", settings, setting_count, &config, error);
    if (!err)
        err = weir_store_open(path, config, store, error);
    weir_config_free(config);
    return err;
}

/* --- Exactly once */

/* The store of the last commit stays open, with its connections. */
static weir_err find_store(const char *path, const struct weir_connector_commit *runtime, struct weir_store **store,
                           struct weir_error *error)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct weir_store *last;
    static char *last_path;
    weir_err err = WEIR_OK;
    pthread_mutex_lock(&lock);
    if (!last || strcmp(last_path, path) != 0) {
        struct weir_store *opened = NULL;
        if (!(err = open_store(path, runtime->settings, runtime->setting_count, &opened, error))) {
            weir_store_close(last);
            free(last_path);
            last = opened;
            last_path = weir_strdup(path);
        }
    }
    *store = err ? NULL : weir_store_ref(last);
    pthread_mutex_unlock(&lock);
    return err;
}

struct marker { /* _weir/<tag>, as it was read */
    char key[32];
    uint64_t checkpoint;       /* 0: nothing is published */
    struct weir_store_tag tag; /* "": there is none */
};

static weir_err read_marker(struct weir_store *store, struct marker *marker, struct weir_error *error)
{
    struct weir_buf text;
    weir_buf_init(&text, MARKER_SIZE_MAX);
    weir_err err = weir_store_get(store, marker->key, &text, &marker->tag, error);
    marker->checkpoint = 0;
    if (err == WEIR_ERR_NOT_FOUND) {
        marker->tag.text[0] = 0;
        err = WEIR_OK;
    } else if (!err && (text.size == 0 || sscanf((const char *)text.data, "%" SCNu64, &marker->checkpoint) != 1)) {
        err = weir_fail(error, WEIR_ERR_DATA, "%s/%s is not the number of a checkpoint", weir_store_uri(store),
                        marker->key);
    }
    weir_buf_fini(&text);
    return err;
}

/* Of segment "jobs/<job>/chk-<n>/<vertex>-<subtask>-<attempt>-log<operator>-<n>"; the operator is in the tag. In a job that began with another's
 * checkpoint it is "restored-<number>_" and the name that it had there: both put the same objects. */
static weir_err object_key(const char *segment, const char *tag, char out[WEIR_FS_NAME_SIZE], struct weir_error *error)
{
    const char *name = strrchr(segment, '/');
    const char *copied = name ? strrchr(name, '_') : NULL;
    unsigned vertex, subtask, attempt, op;
    uint64_t n;
    name = copied ? copied : name;
    if (!name || sscanf(name + 1, "%u-%u-%u-log%u-%" SCNu64, &vertex, &subtask, &attempt, &op, &n) != 5)
        return weir_fail(error, WEIR_ERR_PROTOCOL, "'%.200s' is no segment of an output log", segment);
    snprintf(out, WEIR_FS_NAME_SIZE, "part-%u-%u-%" PRIu64 "-%s", subtask, attempt, n, tag);
    return WEIR_OK;
}

static weir_err put_segment(struct weir_message_commit *commit, int64_t segment, struct weir_store *store,
                            const char *key, struct weir_error *error)
{
    const struct weir_message_out *pieces = NULL;
    int64_t count = 0;
    struct weir_buf bytes;
    weir_buf_init(&bytes, OBJECT_SIZE_MAX);
    weir_err err = commit->read(commit, segment, &pieces, &count, error);
    for (int64_t i = 0; i < count && !err; i++)
        if (pieces[i].value && !weir_buf_append(&bytes, pieces[i].value, pieces[i].value_size))
            err = weir_fail(error, WEIR_ERR_FULL, "a segment of the output log has more than %zu bytes", bytes.max);
    if (!err)
        err = weir_store_put(store, key, bytes.data, bytes.size, WEIR_STORE_ALWAYS, NULL, NULL, error);
    weir_buf_fini(&bytes);
    return err;
}

static void pause_before(int attempt)
{
    int64_t ms = (int64_t)RAISE_PAUSE_MS << attempt;
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&pause, NULL);
}

/* Compare-and-swap: the marker goes up or stays, whoever else publishes, and however late a write gets there whose writer is gone. After a
 * refusal, or an answer that was lost, what the marker says decides, and not who wrote it: whoever says N has put all that N has. */
static weir_err raise_marker(struct weir_store *store, struct marker *marker, uint64_t checkpoint,
                             struct weir_error *error)
{
    char number[32];
    size_t size = (size_t)snprintf(number, sizeof number, "%" PRIu64 "\n", checkpoint);
    weir_err err = WEIR_OK;
    for (int n = 0; marker->checkpoint < checkpoint && n < RAISES_MAX; n++) {
        bool exists = marker->tag.text[0] != 0;
        err = weir_store_put(store, marker->key, number, size, exists ? WEIR_STORE_IF_MATCH : WEIR_STORE_IF_ABSENT,
                             exists ? &marker->tag : NULL, NULL, error);
        if (!err || (err != WEIR_ERR_EXISTS && err != WEIR_ERR_IO && err != WEIR_ERR_TIMEOUT))
            return err;
        uint64_t before = marker->checkpoint;
        struct weir_error unread;
        if (read_marker(store, marker, &unread)) {
            *error = unread;
            return unread.code;
        }
        if (marker->checkpoint == before)
            pause_before(n);
    }
    if (marker->checkpoint >= checkpoint)
        return WEIR_OK;
    if (err == WEIR_ERR_EXISTS)
        return weir_fail(
            error, WEIR_ERR_UNSUPPORTED,
            "%s/%s says that checkpoint %" PRIu64 " is published, and %d writes in a row that were to say %" PRIu64
            " were refused: use a store with conditional writes (AWS S3, MinIO, versitygw, Ceph from 19.2)",
            weir_store_uri(store), marker->key, marker->checkpoint, RAISES_MAX, checkpoint);
    return weir_wrap(error, "%d times in a row", RAISES_MAX);
}

weir_err weir_fs_commit_objects(struct weir_message_commit *commit, struct weir_error *error)
{
    const struct weir_connector_commit *runtime = commit->runtime;
    const char *path = weir_options_get(commit->options, commit->option_count, weir_fs_sink_options, "path");
    char tag[9], key[WEIR_FS_NAME_SIZE];
    struct marker marker;
    weir_fs_tag(commit->job_id, commit->operator_id, tag);
    snprintf(marker.key, sizeof marker.key, "_weir/%s", tag);
    struct weir_store *store = NULL;
    weir_err err = find_store(path, runtime, &store, error);
    if (!err)
        err = read_marker(store, &marker, error);
    uint64_t published = err ? 0 : marker.checkpoint;
    if (!err && commit->checkpoint > published && commit->after > published)
        err = weir_fail(error, WEIR_ERR_IO,
                        "output of checkpoint %" PRIu64 " of job %s follows that of %" PRIu64
                        ", and only that of %" PRIu64 " is in %s: the job that it is of must publish it",
                        commit->checkpoint, commit->job_id, commit->after, published, path);
    for (int64_t i = 0; i < commit->segment_count && !err && commit->checkpoint > published; i++) {
        if (commit->segments[i].since < published)
            continue;
        err = object_key(runtime->names[i], tag, key, error);
        if (!err)
            err = put_segment(commit, i, store, key, error);
        if (!err && weir_fault("supervisor.commit-file"))
            err = weir_fail(error, WEIR_ERR_IO, "a fault point failed what publishes '%s/%s'", path, key);
    }
    if (!err && commit->checkpoint > published)
        err = raise_marker(store, &marker, commit->checkpoint, error);
    weir_store_close(store);
    return err ? weir_wrap(error, "connector 'filesystem'") : WEIR_OK;
}

/* --- At once */

struct object { /* on its way; held by the writer, the call and a barrier */
    atomic_int refs;
    pthread_mutex_t lock;
    struct weir_store *store;
    char *key;
    struct weir_buf bytes;
    bool is_stored;
};

struct weir_fs_objects {
    struct weir_connector_ctx *ctx;
    struct weir_store *store;
    char tag[9];
    int count; /* made */
    size_t size_max;
    struct object *open;    /* being filled; NULL: none */
    struct object *putting; /* by `call` */
    struct weir_call *call;
};

static void object_unref(void *arg)
{
    struct object *object = arg;
    if (!object || atomic_fetch_sub(&object->refs, 1) > 1)
        return;
    weir_store_close(object->store);
    pthread_mutex_destroy(&object->lock);
    weir_buf_fini(&object->bytes);
    free(object->key);
    free(object);
}

static struct object *object_ref(struct object *object)
{
    atomic_fetch_add(&object->refs, 1);
    return object;
}

static weir_err put_object(void *arg, struct weir_error *error)
{
    struct object *object = arg;
    pthread_mutex_lock(&object->lock);
    weir_err err = object->is_stored ? WEIR_OK
                                     : weir_store_put(object->store, object->key, object->bytes.data,
                                                      object->bytes.size, WEIR_STORE_ALWAYS, NULL, NULL, error);
    object->is_stored = !err;
    pthread_mutex_unlock(&object->lock);
    return err;
}

weir_err weir_fs_objects_open(struct weir_connector_ctx *ctx, const struct weir_key_value *options, int option_count,
                              struct weir_fs_objects **out, struct weir_error *error)
{
    const struct weir_op_ctx *op = ctx->runtime;
    const char *path = weir_options_get(options, option_count, weir_fs_sink_options, "path");
    int64_t size_max =
        weir_options_get_int(options, option_count, weir_fs_sink_options, "sink.rolling-policy.file-size");
    struct weir_store *store = NULL;
    weir_err err = open_store(path, op->store_settings, op->store_setting_count, &store, error);
    if (err)
        return err;
    struct weir_fs_objects *objects = weir_zalloc(sizeof *objects);
    objects->ctx = ctx;
    objects->store = store;
    objects->size_max = size_max < (int64_t)OBJECT_SIZE ? (size_t)size_max : OBJECT_SIZE;
    weir_fs_tag(ctx->job_id, ctx->operator_id, objects->tag);
    *out = objects;
    return WEIR_OK;
}

bool weir_fs_objects_busy(struct weir_fs_objects *objects)
{
    return objects->call && !objects->ctx->call_ended(objects->ctx, objects->call);
}

/* What came of the call that has ended. */
static weir_err take_put(struct weir_fs_objects *objects, struct weir_error *error)
{
    if (!objects->call)
        return WEIR_OK;
    weir_err err = weir_call_result(objects->call, error);
    weir_call_free(objects->call);
    object_unref(objects->putting);
    objects->call = NULL;
    objects->putting = NULL;
    return err;
}

weir_err weir_fs_objects_seal(struct weir_fs_objects *objects, struct weir_error *error)
{
    weir_err err = take_put(objects, error);
    if (err || !objects->open)
        return err;
    objects->putting = objects->open;
    objects->open = NULL;
    objects->call = objects->ctx->call(objects->ctx, put_object, object_ref(objects->putting), object_unref);
    return WEIR_OK;
}

weir_err weir_fs_objects_write(struct weir_fs_objects *objects, const uint8_t *bytes, size_t size,
                               struct weir_error *error)
{
    weir_err err = take_put(objects, error);
    if (err)
        return err;
    if (!objects->open) {
        struct object *object = objects->open = weir_zalloc(sizeof *object);
        atomic_init(&object->refs, 1);
        pthread_mutex_init(&object->lock, NULL);
        object->store = weir_store_ref(objects->store);
        object->key = weir_format("part-%d-%d-%d-%s", objects->ctx->subtask, objects->ctx->attempt, objects->count++,
                                  objects->tag);
        weir_buf_init(&object->bytes, OBJECT_SIZE_MAX);
    }
    if (!weir_buf_append(&objects->open->bytes, bytes, size))
        return weir_fail(error, WEIR_ERR_FULL, "a record does not fit an object of %zu bytes", OBJECT_SIZE_MAX);
    return objects->open->bytes.size >= objects->size_max ? weir_fs_objects_seal(objects, error) : WEIR_OK;
}

weir_err weir_fs_objects_finish(struct weir_fs_objects *objects, struct weir_error *error)
{
    return take_put(objects, error);
}

struct pair { /* what a barrier waits for: the object on its way and the one that ended with it */
    struct object *objects[2];
};

static weir_err put_pair(void *arg, struct weir_error *error)
{
    const struct pair *pair = arg;
    weir_err err = pair->objects[0] ? put_object(pair->objects[0], error) : WEIR_OK;
    return err || !pair->objects[1] ? err : put_object(pair->objects[1], error);
}

static void free_pair(void *arg)
{
    struct pair *pair = arg;
    object_unref(pair->objects[0]);
    object_unref(pair->objects[1]);
    free(pair);
}

void weir_fs_objects_barrier(struct weir_fs_objects *objects, struct weir_barrier_sync *sync)
{
    if (!objects->open && !objects->putting)
        return;
    struct pair *pair = weir_zalloc(sizeof *pair);
    pair->objects[0] = objects->putting ? object_ref(objects->putting) : NULL;
    pair->objects[1] = objects->open;
    objects->open = NULL;
    *sync = (struct weir_barrier_sync){.run = put_pair, .arg = pair, .free_arg = free_pair, .again = true};
}

void weir_fs_objects_close(struct weir_fs_objects *objects)
{
    if (!objects)
        return;
    weir_call_free(objects->call);
    object_unref(objects->putting);
    object_unref(objects->open);
    weir_store_close(objects->store);
    free(objects);
}
