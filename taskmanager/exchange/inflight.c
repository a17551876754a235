#include "exchange/inflight.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "data/batch_wire.h"
#include "state/snapshot.h"

#define PART_VERSION 1
#define RECORD_BATCH 1
#define RECORD_WATERMARK 2
#define NAME_SIZE (WEIR_LINK_NAME_SIZE + 24)

struct record {
    int from;
    struct weir_item item;
};

struct stream { /* one part */
    const struct weir_link *link;
    int to; /* -1: "in" */
    enum weir_edge_partition partition;
    char *key;
    struct record *records;
    int count, capacity;
    struct weir_snapshot_part *part; /* once it is in a snapshot */
    struct stream *next;
};

struct weir_inflight {
    int subtask;
    size_t bytes;
    bool too_many;
    struct stream *streams, **end, *last_used;
};

void weir_link_init(struct weir_link *link, const char *from_uid, int output, const char *to_uid, int input)
{
    *link = (struct weir_link){.partition = WEIR_EDGE_FORWARD, .parallelism = 1, .max_parallelism = 1};
    snprintf(link->to_uid, sizeof link->to_uid, "%s", to_uid);
    snprintf(link->name, sizeof link->name, "rows:%.32s:%d:%d", from_uid, output, input);
    link->key = weir_strdup("");
}

void weir_link_fini(struct weir_link *link)
{
    free(link->key);
    weir_schema_unref(link->schema);
}

/* --- Recording */

struct weir_inflight *weir_inflight_new(int subtask)
{
    struct weir_inflight *rows = weir_zalloc(sizeof *rows);
    rows->subtask = subtask;
    rows->end = &rows->streams;
    return rows;
}

static void drop_records(struct stream *stream)
{
    for (int i = 0; i < stream->count; i++)
        if (stream->records[i].item.kind == WEIR_ITEM_BATCH)
            weir_batch_unref(stream->records[i].item.batch);
    stream->count = 0;
}

static void free_stream(void *arg)
{
    struct stream *stream = arg;
    drop_records(stream);
    free(stream->records);
    free(stream->key);
    free(stream);
}

void weir_inflight_free(struct weir_inflight *rows)
{
    if (!rows)
        return;
    for (struct stream *stream = rows->streams, *next; stream; stream = next) {
        next = stream->next;
        free_stream(stream);
    }
    free(rows);
}

static struct stream *stream_of(struct weir_inflight *rows, const struct weir_link *link, int to)
{
    if (rows->last_used && rows->last_used->link == link && rows->last_used->to == to)
        return rows->last_used;
    struct stream *stream = rows->streams;
    while (stream && (stream->link != link || stream->to != to))
        stream = stream->next;
    if (!stream) {
        stream = weir_zalloc(sizeof *stream);
        stream->link = link;
        stream->to = to;
        stream->partition = link->partition;
        stream->key = weir_strdup(link->key);
        *rows->end = stream;
        rows->end = &stream->next;
    }
    rows->last_used = stream;
    return stream;
}

static void add(struct weir_inflight *rows, const struct weir_link *link, int to, int from,
                const struct weir_item *item)
{
    weir_assert(weir_link_overtakes(link));
    if (rows->too_many || (item->kind != WEIR_ITEM_BATCH && item->kind != WEIR_ITEM_WATERMARK))
        return;
    struct stream *stream = stream_of(rows, link, to);
    struct record *last = stream->count > 0 ? &stream->records[stream->count - 1] : NULL;
    if (item->kind == WEIR_ITEM_WATERMARK && last && last->from == from && last->item.kind == WEIR_ITEM_WATERMARK) {
        last->item.watermark_ms = item->watermark_ms;
        return;
    }
    rows->bytes += item->kind == WEIR_ITEM_BATCH ? weir_batch_wire_size(item->batch) : 16;
    if (rows->bytes > WEIR_INFLIGHT_BYTES_MAX) {
        rows->too_many = true;
        for (stream = rows->streams; stream; stream = stream->next)
            drop_records(stream);
        return;
    }
    if (stream->count == stream->capacity) {
        stream->capacity = stream->capacity ? 2 * stream->capacity : 8;
        stream->records = weir_realloc(stream->records, (size_t)stream->capacity * sizeof *stream->records);
    }
    if (item->kind == WEIR_ITEM_BATCH)
        weir_batch_ref(item->batch);
    stream->records[stream->count++] = (struct record){from, *item};
}

void weir_inflight_in(struct weir_inflight *rows, const struct weir_link *link, int from, const struct weir_item *item)
{
    add(rows, link, -1, from, item);
}

void weir_inflight_out(struct weir_inflight *rows, const struct weir_link *link, int to, const struct weir_item *item)
{
    add(rows, link, to, rows->subtask, item);
}

size_t weir_inflight_bytes(const struct weir_inflight *rows)
{
    return rows->bytes;
}

/* --- Into a snapshot */

/* On the thread that stores the snapshot. */
static weir_err encode(void *arg, struct weir_error *error)
{
    struct stream *stream = arg;
    size_t size = 64 + strlen(stream->key);
    (void)error;
    for (int i = 0; i < stream->count; i++)
        size +=
            32 +
            (stream->records[i].item.kind == WEIR_ITEM_BATCH ? weir_batch_wire_size(stream->records[i].item.batch) : 0);
    struct weir_buf *out = &stream->part->bytes;
    weir_buf_fini(out);
    weir_buf_init(out, size);
    weir_put_u8(out, PART_VERSION);
    weir_put_u8(out, (uint8_t)stream->partition);
    weir_put_bytes(out, stream->key, strlen(stream->key));
    for (int i = 0; i < stream->count; i++) {
        const struct record *record = &stream->records[i];
        bool batch = record->item.kind == WEIR_ITEM_BATCH;
        weir_put_u8(out, batch ? RECORD_BATCH : RECORD_WATERMARK);
        weir_put_u32(out, (uint32_t)record->from);
        if (!batch) {
            weir_put_i64(out, record->item.watermark_ms);
            continue;
        }
        size_t wire = weir_batch_wire_size(record->item.batch);
        uint8_t *bytes = weir_alloc(wire);
        weir_batch_wire_encode(record->item.batch, bytes);
        weir_put_bytes(out, bytes, wire);
        free(bytes);
    }
    drop_records(stream);
    return WEIR_OK;
}

static weir_err too_many(void *arg, struct weir_error *error)
{
    (void)arg;
    return weir_fail(error, WEIR_ERR_FULL,
                     "the barrier overtook more than %zu MiB of rows in one subtask: let it wait longer for its turn "
                     "(execution.checkpointing.aligned-checkpoint-timeout)",
                     WEIR_INFLIGHT_BYTES_MAX >> 20);
}

static void nothing(void *arg)
{
    (void)arg;
}

void weir_inflight_into(struct weir_inflight *take_rows, struct weir_snapshot *snapshot)
{
    struct weir_inflight *rows = take_rows;
    if (rows->too_many)
        weir_snapshot_add_sync(snapshot, too_many, NULL, nothing);
    for (struct stream *stream = rows->streams, *next; stream; stream = next) {
        next = stream->next;
        const struct weir_link *link = stream->link;
        char name[NAME_SIZE];
        snprintf(name, sizeof name, stream->to < 0 ? "%s:in" : "%s:out:%d", link->name, stream->to);
        struct weir_buf empty;
        weir_buf_init(&empty, 1);
        stream->part =
            weir_snapshot_add(snapshot, link->to_uid, name,
                              link->partition == WEIR_EDGE_HASH ? WEIR_STATE_ROWS_KEYED : WEIR_STATE_ROWS, &empty);
        stream->part->subtask = stream->to < 0 ? rows->subtask : stream->to;
        stream->part->parallelism = link->parallelism;
        weir_snapshot_add_sync(snapshot, encode, stream, free_stream);
    }
    free(rows);
}

/* --- Restoring */

void weir_inflight_list_fini(struct weir_inflight_list *list)
{
    for (int i = list->next; i < list->count; i++)
        if (list->items[i].item.kind == WEIR_ITEM_BATCH)
            weir_batch_unref(list->items[i].item.batch);
    free(list->items);
    *list = (struct weir_inflight_list){NULL, 0, 0};
}

static void append(struct weir_inflight_list *list, const struct weir_link *link, int from, struct weir_item take_item)
{
    if ((list->count & (list->count - 1)) == 0) {
        size_t capacity = list->count ? (size_t)list->count * 2 : 1;
        list->items = weir_realloc(list->items, capacity * sizeof *list->items);
    }
    list->items[list->count++] = (struct weir_inflight_item){link, from, take_item};
}

/* The rows whose keys are this subtask's; NULL: there are none. */
static struct weir_batch *own_rows(const struct weir_link *link, int subtask, struct weir_batch *take_batch)
{
    uint64_t *hashes = weir_alloc((size_t)take_batch->row_count * sizeof *hashes);
    int32_t *own = weir_alloc((size_t)take_batch->row_count * sizeof *own);
    int count = 0;
    weir_key_hash(take_batch, &link->spec, hashes);
    for (int r = 0; r < take_batch->row_count; r++)
        if (weir_key_group_subtask(weir_key_group(hashes[r], link->max_parallelism), link->max_parallelism,
                                   link->parallelism) == subtask)
            own[count++] = r;
    struct weir_batch *batch = count == take_batch->row_count ? weir_batch_ref(take_batch)
                               : count > 0                    ? weir_batch_gather(take_batch, own, count)
                                                              : NULL;
    weir_batch_unref(take_batch);
    free(hashes);
    free(own);
    return batch;
}

static weir_err read_batch(const struct weir_link *link, const uint8_t *bytes, size_t size, struct weir_batch **batch,
                           struct weir_error *error)
{
    struct weir_buffer *owner = weir_buffer_new(size ? size : 1);
    memcpy(owner->bytes, bytes, size);
    weir_err err = weir_batch_wire_decode(link->schema, owner, owner->bytes, size, batch, error);
    weir_buffer_unref(owner);
    return err ? weir_wrap(error, "rows that were on their way in the checkpoint do not fit what the edge carries now")
               : WEIR_OK;
}

/* A part written for another partitioning cannot be told apart by this one's keys. */
static weir_err check_edge(const struct weir_link *link, const struct weir_restored_part *part,
                           struct weir_part_reader *in, struct weir_error *error)
{
    in->bad |= weir_get_u8(in) != PART_VERSION;
    enum weir_edge_partition partition = (enum weir_edge_partition)weir_get_u8(in);
    size_t size;
    const char *key = (const char *)weir_get_bytes(in, &size);
    if (in->bad || part->parallelism < 1)
        return weir_fail(error, WEIR_ERR_DATA, "CHECKPOINT_CORRUPT: the restored state '%s' ends too early",
                         part->name);
    bool hash = partition == WEIR_EDGE_HASH;
    if (hash == (link->partition == WEIR_EDGE_HASH) && strlen(link->key) == size && memcmp(link->key, key, size) == 0)
        return WEIR_OK;
    return weir_fail(
        error, WEIR_ERR_INVALID,
        "the checkpoint holds rows that were on their way to operator %s by key (%.*s), and now they go by "
        "(%s): begin from a savepoint, which holds none",
        link->to_uid, (int)size, key, link->key);
}

static weir_err read_part(const struct weir_link *link, const struct weir_restored_part *part, int subtask,
                          struct weir_inflight_list *list, struct weir_error *error)
{
    struct weir_part_reader in = weir_part_read(part);
    bool rescaled = part->parallelism != link->parallelism;
    weir_err err = check_edge(link, part, &in, error);
    while (!err && !in.bad && in.at < in.end) {
        uint8_t kind = weir_get_u8(&in);
        int from = (int)weir_get_u32(&in);
        struct weir_item item = {.kind = WEIR_ITEM_WATERMARK};
        if (kind == RECORD_WATERMARK) {
            item.watermark_ms = weir_get_i64(&in);
            if (!in.bad && !rescaled)
                append(list, link, from, item);
            continue;
        }
        size_t size;
        const uint8_t *bytes = weir_get_bytes(&in, &size);
        in.bad |= kind != RECORD_BATCH;
        if (in.bad)
            break;
        item.kind = WEIR_ITEM_BATCH;
        if ((err = read_batch(link, bytes, size, &item.batch, error)))
            break;
        if (rescaled && link->partition == WEIR_EDGE_HASH)
            item.batch = own_rows(link, subtask, item.batch);
        if (item.batch)
            append(list, link, from, item);
    }
    return err ? err : weir_part_read_end(&in, part->name, error);
}

weir_err weir_inflight_read(const struct weir_restored *restored, const struct weir_link *link, int subtask,
                            struct weir_inflight_list *list, int *parts, struct weir_error *error)
{
    static const char *const stages[] = {":in", ":out:"};
    size_t length = strlen(link->name);
    for (int stage = 0; stage < 2; stage++)
        for (const struct weir_restored_part *part = restored ? restored->parts : NULL; part; part = part->next) {
            if (strcmp(part->uid, link->to_uid) != 0 || strncmp(part->name, link->name, length) != 0 ||
                strncmp(part->name + length, stages[stage], strlen(stages[stage])) != 0)
                continue;
            ++*parts;
            weir_err err = read_part(link, part, subtask, list, error);
            if (err)
                return err;
        }
    return WEIR_OK;
}
