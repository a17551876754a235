#include "state/snapshot.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "state/capture.h"

struct weir_snapshot *weir_snapshot_new(uint64_t checkpoint, uint64_t complete, uint32_t flags)
{
    struct weir_snapshot *snapshot = weir_zalloc(sizeof *snapshot);
    snapshot->checkpoint = checkpoint;
    snapshot->complete = complete;
    snapshot->flags = flags;
    snapshot->end = &snapshot->parts;
    snapshot->captures_end = &snapshot->captures;
    snapshot->committables_end = &snapshot->committables;
    snapshot->syncs_end = &snapshot->syncs;
    return snapshot;
}

void weir_snapshot_free(struct weir_snapshot *snapshot)
{
    if (!snapshot)
        return;
    for (struct weir_snapshot_part *part = snapshot->parts, *next; part; part = next) {
        next = part->next;
        free(part->uid);
        free(part->name);
        free(part->object);
        weir_buf_fini(&part->bytes);
        free(part);
    }
    for (struct weir_snapshot_capture *capture = snapshot->captures, *next; capture; capture = next) {
        next = capture->next;
        weir_capture_unref(capture->capture);
        free(capture);
    }
    for (struct weir_snapshot_committable *c = snapshot->committables, *next; c; c = next) {
        next = c->next;
        free(c->connector);
        free(c->text);
        weir_output_segments_fini(&c->segments);
        free(c);
    }
    for (struct weir_snapshot_sync *sync = snapshot->syncs, *next; sync; sync = next) {
        next = sync->next;
        sync->free_arg(sync->arg);
        free(sync);
    }
    free(snapshot);
}

static bool has_part(const struct weir_snapshot *snapshot, const char *uid, const char *name)
{
    for (const struct weir_snapshot_part *part = snapshot->parts; part; part = part->next)
        if (strcmp(part->uid, uid) == 0 && strcmp(part->name, name) == 0)
            return true;
    return false;
}

static struct weir_snapshot_part *append(struct weir_snapshot *snapshot, const char *uid, const char *name,
                                         enum weir_state_kind kind, struct weir_buf *take_bytes)
{
    struct weir_snapshot_part *part = weir_zalloc(sizeof *part);
    part->uid = weir_strdup(uid);
    part->name = weir_strdup(name);
    part->kind = kind;
    part->bytes = *take_bytes;
    weir_buf_init(take_bytes, take_bytes->max);
    *snapshot->end = part;
    snapshot->end = &part->next;
    return part;
}

struct weir_snapshot_part *weir_snapshot_add(struct weir_snapshot *snapshot, const char *uid, const char *name,
                                             enum weir_state_kind kind, struct weir_buf *take_bytes)
{
    weir_assert(!has_part(snapshot, uid, name));
    return append(snapshot, uid, name, kind, take_bytes);
}

struct weir_snapshot_part *weir_snapshot_add_run(struct weir_snapshot *snapshot, struct weir_capture *capture,
                                                 struct weir_buf *take_bytes)
{
    struct weir_snapshot_part *part =
        append(snapshot, weir_capture_uid(capture), weir_capture_name(capture), WEIR_STATE_KEYED, take_bytes);
    part->capture = capture;
    return part;
}

void weir_snapshot_add_stored_run(struct weir_snapshot *snapshot, struct weir_capture *capture, bool is_new,
                                  const struct weir_run_ref *ref)
{
    struct weir_buf nothing;
    weir_buf_init(&nothing, 0);
    struct weir_snapshot_part *part = weir_snapshot_add_run(snapshot, capture, &nothing);
    part->object = weir_strdup(ref->object);
    part->offset = ref->offset;
    part->size = ref->size;
    part->crc32c = ref->crc32c;
    if (!is_new)
        part->capture = NULL;
}

void weir_snapshot_add_capture(struct weir_snapshot *snapshot, struct weir_capture *take_capture)
{
    struct weir_snapshot_capture *entry = weir_zalloc(sizeof *entry);
    entry->capture = take_capture;
    *snapshot->captures_end = entry;
    snapshot->captures_end = &entry->next;
}

weir_err weir_snapshot_settle(struct weir_snapshot *snapshot, struct weir_error *error)
{
    weir_err err = WEIR_OK;
    for (struct weir_snapshot_capture *entry = snapshot->captures; entry && !err; entry = entry->next) {
        (void)weir_capture_step(entry->capture, 0, NULL);
        for (bool more = true, last; !err && more;) {
            struct weir_buf run;
            weir_buf_init(&run, SIZE_MAX / 2);
            err = weir_capture_next(entry->capture, &run, &more, &last, error);
            if (!err && more)
                (void)weir_snapshot_add_run(snapshot, entry->capture, &run);
            weir_buf_fini(&run);
        }
    }
    return err;
}

void weir_output_segments_copy(struct weir_output_segments *to, const struct weir_output_segments *from)
{
    to->count = from->count;
    to->since = from->since;
    to->sink = from->sink ? weir_strdup(from->sink) : NULL;
    to->transaction = from->transaction ? weir_strdup(from->transaction) : NULL;
    to->list = weir_alloc((size_t)(from->count + 1) * sizeof *to->list);
    for (int i = 0; i < from->count; i++) {
        to->list[i] = from->list[i];
        to->list[i].object = weir_strdup(from->list[i].object);
    }
}

void weir_output_segments_fini(struct weir_output_segments *segments)
{
    for (int i = 0; i < segments->count; i++)
        free(segments->list[i].object);
    free(segments->list);
    free(segments->sink);
    free(segments->transaction);
    *segments = (struct weir_output_segments){.list = NULL};
}

void weir_snapshot_add_committable(struct weir_snapshot *snapshot, const char *connector, const char *text,
                                   const struct weir_output_segments *segments)
{
    struct weir_snapshot_committable *c = weir_zalloc(sizeof *c);
    c->connector = weir_strdup(connector);
    c->text = weir_strdup(text);
    if (segments)
        weir_output_segments_copy(&c->segments, segments);
    *snapshot->committables_end = c;
    snapshot->committables_end = &c->next;
}

void weir_snapshot_add_sync(struct weir_snapshot *snapshot, weir_err (*run)(void *arg, struct weir_error *error),
                            void *take_arg, void (*free_arg)(void *arg))
{
    struct weir_snapshot_sync *sync = weir_zalloc(sizeof *sync);
    sync->run = run;
    sync->arg = take_arg;
    sync->free_arg = free_arg;
    *snapshot->syncs_end = sync;
    snapshot->syncs_end = &sync->next;
}

weir_err weir_snapshot_run_syncs(const struct weir_snapshot *snapshot, struct weir_error *error)
{
    weir_err err = WEIR_OK;
    for (const struct weir_snapshot_sync *sync = snapshot->syncs; sync && !err; sync = sync->next)
        err = sync->run(sync->arg, error);
    return err;
}

/* --- Restored parts */

struct weir_restored *weir_restored_new(uint64_t checkpoint)
{
    struct weir_restored *restored = weir_zalloc(sizeof *restored);
    restored->checkpoint = checkpoint;
    restored->end = &restored->parts;
    return restored;
}

void weir_restored_free(struct weir_restored *restored)
{
    if (!restored)
        return;
    for (struct weir_restored_part *part = restored->parts, *next; part; part = next) {
        next = part->next;
        free(part->uid);
        free(part->name);
        free(part->object);
        if (part->mapped)
            munmap(part->mapped, part->mapped_size);
        else
            free(part->bytes);
        free(part);
    }
    free(restored);
}

void weir_restored_add(struct weir_restored *restored, const char *uid, const char *name, enum weir_state_kind kind,
                       int subtask, int parallelism, uint8_t *take_bytes, size_t size)
{
    struct weir_restored_part *part = weir_zalloc(sizeof *part);
    part->uid = weir_strdup(uid);
    part->name = weir_strdup(name);
    part->kind = kind;
    part->subtask = subtask;
    part->parallelism = parallelism;
    part->bytes = take_bytes;
    part->size = size;
    *restored->end = part;
    restored->end = &part->next;
}

static struct weir_restored_part *last_part(struct weir_restored *restored)
{
    struct weir_restored_part *part = restored->parts;
    while (part->next)
        part = part->next;
    return part;
}

void weir_restored_mapped(struct weir_restored *restored, void *take_mapped, size_t size)
{
    struct weir_restored_part *part = last_part(restored);
    part->mapped = take_mapped;
    part->mapped_size = size;
}

void weir_restored_origin(struct weir_restored *restored, const char *object, int64_t offset, uint32_t crc32c)
{
    struct weir_restored_part *part = last_part(restored);
    part->object = weir_strdup(object);
    part->offset = offset;
    part->crc32c = crc32c;
}

const struct weir_restored_part *weir_restored_next(const struct weir_restored *restored, const char *uid,
                                                    const char *name, const struct weir_restored_part *after)
{
    const struct weir_restored_part *part = after ? after->next : restored ? restored->parts : NULL;
    while (part && (strcmp(part->uid, uid) != 0 || strcmp(part->name, name) != 0))
        part = part->next;
    return part;
}

bool weir_restored_is_mine(const struct weir_restored_part *part, int subtask, int parallelism, int64_t number)
{
    return part->parallelism == parallelism ? part->subtask == subtask : number % parallelism == subtask;
}

/* --- Bytes of parts */

static void put(struct weir_buf *out, const void *bytes, size_t size)
{
    bool ok = weir_buf_append(out, bytes, size);
    weir_assert(ok); /* parts have no bound but memory */
}

void weir_put_u8(struct weir_buf *out, uint8_t value)
{
    put(out, &value, 1);
}

void weir_put_u32(struct weir_buf *out, uint32_t value)
{
    uint8_t bytes[4];
    for (int i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    put(out, bytes, sizeof bytes);
}

void weir_put_i64(struct weir_buf *out, int64_t value)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)((uint64_t)value >> (8 * i));
    put(out, bytes, sizeof bytes);
}

void weir_put_bytes(struct weir_buf *out, const void *bytes, size_t size)
{
    weir_assert(size <= UINT32_MAX);
    weir_put_u32(out, (uint32_t)size);
    if (size > 0)
        put(out, bytes, size);
}

struct weir_part_reader weir_part_read(const struct weir_restored_part *part)
{
    static const uint8_t nothing;
    const uint8_t *bytes = part->bytes ? part->bytes : &nothing;
    return (struct weir_part_reader){.at = bytes, .end = bytes + part->size};
}

/* NULL: so many are not there. */
static const uint8_t *get(struct weir_part_reader *reader, size_t size)
{
    const uint8_t *at = reader->at;
    if (reader->bad || (size_t)(reader->end - at) < size) {
        reader->bad = true;
        return NULL;
    }
    reader->at += size;
    return at;
}

uint8_t weir_get_u8(struct weir_part_reader *reader)
{
    const uint8_t *bytes = get(reader, 1);
    return bytes ? *bytes : 0;
}

static uint64_t get_number(struct weir_part_reader *reader, int size)
{
    const uint8_t *bytes = get(reader, (size_t)size);
    uint64_t value = 0;
    for (int i = 0; bytes && i < size; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

uint32_t weir_get_u32(struct weir_part_reader *reader)
{
    return (uint32_t)get_number(reader, 4);
}

int64_t weir_get_i64(struct weir_part_reader *reader)
{
    return (int64_t)get_number(reader, 8);
}

const uint8_t *weir_get_bytes(struct weir_part_reader *reader, size_t *size)
{
    static const uint8_t nothing;
    *size = weir_get_u32(reader);
    const uint8_t *bytes = get(reader, *size);
    if (!bytes)
        *size = 0;
    return bytes ? bytes : &nothing;
}

weir_err weir_part_read_end(const struct weir_part_reader *reader, const char *state, struct weir_error *error)
{
    if (!reader->bad && reader->at == reader->end)
        return WEIR_OK;
    return weir_fail(error, WEIR_ERR_DATA, "CHECKPOINT_CORRUPT: the restored state '%s' %s", state,
                     reader->bad ? "ends too early" : "has more than belongs there");
}
