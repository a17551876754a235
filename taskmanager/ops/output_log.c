#include "ops/output_log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "store/store.h"

#define MAGIC "WLOG\1"
#define MAGIC_SIZE 5
#define SEGMENT_SIZE ((size_t)8 << 20) /* a larger one is full */
#define SEGMENT_SIZE_MAX ((size_t)256 << 20)
#define PUTTING_MAX 2

enum { HAS_VALUE = 1, HAS_KEY = 2, HAS_TOPIC = 4, HAS_PARTITION = 8, HAS_HEADERS = 16, FLAGS = 31 };

/* --- Objects */

struct segment { /* held by the log, by the calls that put it, by its epoch's sync */
    atomic_int refs;
    pthread_mutex_t lock; /* of putting it, and of `bytes` and `is_stored` from then on */
    struct weir_store *store;
    char *key;
    struct weir_buf bytes; /* empty once it is stored */
    bool is_stored;
    size_t size;
    uint32_t crc32c;
    int64_t records;
};

static struct segment *segment_new(struct weir_store *store, char *take_key)
{
    struct segment *segment = weir_zalloc(sizeof *segment);
    atomic_init(&segment->refs, 1);
    pthread_mutex_init(&segment->lock, NULL);
    segment->store = weir_store_ref(store);
    segment->key = take_key;
    weir_buf_init(&segment->bytes, SEGMENT_SIZE_MAX);
    bool ok = weir_buf_append(&segment->bytes, MAGIC, MAGIC_SIZE);
    weir_assert(ok);
    return segment;
}

static void segment_unref(void *arg)
{
    struct segment *segment = arg;
    if (!segment || atomic_fetch_sub(&segment->refs, 1) > 1)
        return;
    weir_store_close(segment->store);
    weir_buf_fini(&segment->bytes);
    pthread_mutex_destroy(&segment->lock);
    free(segment->key);
    free(segment);
}

static struct segment *segment_ref(struct segment *segment)
{
    atomic_fetch_add(&segment->refs, 1);
    return segment;
}

/* Nothing is appended any more. */
static void segment_close(struct segment *segment)
{
    segment->size = segment->bytes.size;
    segment->crc32c = weir_crc32c(0, segment->bytes.data, segment->bytes.size);
}

/* On the pool. Whoever comes second finds it stored; after a failure it is tried again. */
static weir_err segment_put(void *arg, struct weir_error *error)
{
    struct segment *segment = arg;
    weir_err err = WEIR_OK;
    pthread_mutex_lock(&segment->lock);
    if (!segment->is_stored)
        err = weir_store_put(segment->store, segment->key, segment->bytes.data, segment->bytes.size, WEIR_STORE_ALWAYS,
                             NULL, NULL, error);
    if (!err && !segment->is_stored) {
        segment->is_stored = true;
        weir_buf_fini(&segment->bytes);
    }
    pthread_mutex_unlock(&segment->lock);
    return err ? weir_wrap(error, "output cannot be kept in %s", segment->key) : WEIR_OK;
}

/* --- The log */

struct weir_output_log {
    struct weir_op_ctx *ctx;
    uint64_t since;          /* the last barrier's checkpoint, or the restored one */
    uint64_t made;           /* segments, for their names */
    struct segment *open;    /* being appended to; NULL: none */
    size_t last_at;          /* in it, where the last message begins; 0: there is none to take back */
    struct segment **closed; /* of this epoch, in order */
    int closed_count;
    struct {
        struct segment *segment;
        struct weir_call *call;
    } putting[PUTTING_MAX];
};

struct weir_output_log *weir_output_log_new(struct weir_op_ctx *ctx)
{
    struct weir_output_log *log = weir_zalloc(sizeof *log);
    weir_assert(ctx->store && ctx->object_name);
    log->ctx = ctx;
    log->since = ctx->restored ? ctx->restored->checkpoint : 0;
    return log;
}

void weir_output_log_free(struct weir_output_log *log)
{
    if (!log)
        return;
    for (int i = 0; i < PUTTING_MAX; i++) {
        weir_call_free(log->putting[i].call);
        segment_unref(log->putting[i].segment);
    }
    for (int i = 0; i < log->closed_count; i++)
        segment_unref(log->closed[i]);
    free(log->closed);
    segment_unref(log->open);
    free(log);
}

static void begin_put(struct weir_output_log *log, int slot)
{
    weir_call_free(log->putting[slot].call);
    log->putting[slot].call =
        weir_op_call(log->ctx, segment_put, segment_ref(log->putting[slot].segment), segment_unref);
}

/* A slot that is free; -1: all put something. One that failed is tried again (the store does so, with pauses, before it says that it cannot):
 * the job waits for its store, and checkpoints time out. */
static int free_slot(struct weir_output_log *log)
{
    int found = -1;
    for (int i = 0; i < PUTTING_MAX; i++) {
        if (log->putting[i].segment && weir_op_call_ended(log->ctx, log->putting[i].call)) {
            if (weir_call_result(log->putting[i].call, NULL)) {
                begin_put(log, i);
                continue;
            }
            weir_call_free(log->putting[i].call);
            segment_unref(log->putting[i].segment);
            log->putting[i].call = NULL;
            log->putting[i].segment = NULL;
        }
        if (!log->putting[i].segment)
            found = i;
    }
    return found;
}

static void close_open(struct weir_output_log *log)
{
    segment_close(log->open);
    log->closed = weir_realloc(log->closed, (size_t)(log->closed_count + 1) * sizeof *log->closed);
    log->closed[log->closed_count++] = log->open;
    log->open = NULL;
}

bool weir_output_log_is_busy(struct weir_output_log *log)
{
    if (!log->open || log->open->bytes.size < SEGMENT_SIZE)
        return false;
    int slot = free_slot(log);
    if (slot < 0)
        return true;
    log->putting[slot].segment = segment_ref(log->open);
    close_open(log);
    begin_put(log, slot);
    return false;
}

static uint8_t *put_number(uint8_t *at, uint64_t number)
{
    for (; number >= 0x80; number >>= 7)
        *at++ = (uint8_t)(number | 0x80);
    *at++ = (uint8_t)number;
    return at;
}

static bool append_bytes(struct weir_buf *buf, const void *bytes, size_t size)
{
    uint8_t number[10];
    size_t number_size = (size_t)(put_number(number, size) - number);
    return weir_buf_append(buf, number, number_size) && (size == 0 || weir_buf_append(buf, bytes, size));
}

/* Their count; of each its name with the NUL that ends it, then 0, or 1 and its value. */
static bool append_headers(struct weir_buf *buf, const struct weir_message_out *message)
{
    uint8_t number[10];
    bool ok = weir_buf_append(buf, number, (size_t)(put_number(number, (uint64_t)message->header_count) - number));
    for (int32_t i = 0; i < message->header_count && ok; i++) {
        const struct weir_message_header *header = &message->headers[i];
        uint8_t has_value = header->value != NULL;
        ok = append_bytes(buf, header->name, strlen(header->name) + 1) && weir_buf_append(buf, &has_value, 1) &&
             (!has_value || append_bytes(buf, header->value, header->value_size));
    }
    return ok;
}

weir_err weir_output_log_append(struct weir_output_log *log, const struct weir_message_out *message,
                                struct weir_error *error)
{
    if (!log->open)
        log->open =
            segment_new(log->ctx->store, weir_format("jobs/%s/chk-%" PRIu64 "/%s-log%d-%" PRIu64, log->ctx->job_id,
                                                     log->since ? log->since : 1, log->ctx->object_name,
                                                     log->ctx->chain_index, log->made++));
    struct weir_buf *buf = &log->open->bytes;
    size_t before = buf->size;
    uint8_t head[1 + 8];
    head[0] =
        (uint8_t)((message->value ? HAS_VALUE : 0) | (message->key ? HAS_KEY : 0) | (message->topic ? HAS_TOPIC : 0) |
                  (message->partition >= 0 ? HAS_PARTITION : 0) | (message->header_count > 0 ? HAS_HEADERS : 0));
    memcpy(head + 1, &message->timestamp_ms, 8);
    bool ok = weir_buf_append(buf, head, sizeof head);
    if (ok && message->topic)
        ok = append_bytes(buf, message->topic, message->topic_size);
    if (ok && message->partition >= 0)
        ok = weir_buf_append(buf, &message->partition, 4);
    if (ok && message->key)
        ok = append_bytes(buf, message->key, message->key_size);
    if (ok && message->value)
        ok = append_bytes(buf, message->value, message->value_size);
    if (ok && message->header_count > 0)
        ok = append_headers(buf, message);
    if (ok) {
        log->open->records++;
        log->last_at = before;
        return WEIR_OK;
    }
    buf->size = before;
    return weir_fail(error, WEIR_ERR_FULL, "a message of %zu bytes does not fit the output log",
                     message->key_size + message->value_size);
}

void weir_output_log_take_back(struct weir_output_log *log)
{
    weir_assert(log->open && log->last_at > 0);
    log->open->bytes.size = log->last_at;
    log->open->records--;
    log->last_at = 0;
    if (log->open->records == 0) {
        segment_unref(log->open);
        log->open = NULL;
    }
}

/* --- Epochs */

struct epoch { /* what a sync is to put */
    int count;
    struct segment *segments[];
};

static weir_err put_epoch(void *arg, struct weir_error *error)
{
    const struct epoch *epoch = arg;
    weir_err err = WEIR_OK;
    for (int i = 0; i < epoch->count && !err; i++)
        err = segment_put(epoch->segments[i], error);
    return err;
}

static void free_epoch(void *arg)
{
    struct epoch *epoch = arg;
    for (int i = 0; i < epoch->count; i++)
        segment_unref(epoch->segments[i]);
    free(epoch);
}

bool weir_output_log_end_epoch(struct weir_output_log *log, uint64_t checkpoint, struct weir_output_segments *segments,
                               struct weir_barrier_sync *sync)
{
    uint64_t since = log->since;
    if (log->open)
        close_open(log);
    log->last_at = 0;
    log->since = checkpoint ? checkpoint : since;
    if (log->closed_count == 0)
        return false;
    const struct weir_op_plan *plan = log->ctx->plan;
    struct epoch *epoch = weir_alloc(sizeof *epoch + (size_t)log->closed_count * sizeof(struct segment *));
    epoch->count = log->closed_count;
    *segments = (struct weir_output_segments){.list = weir_zalloc((size_t)log->closed_count * sizeof *segments->list),
                                              .count = log->closed_count,
                                              .sink = weir_strdup(plan->uid ? plan->uid : plan->name),
                                              .since = since};
    for (int i = 0; i < log->closed_count; i++) {
        struct segment *segment = epoch->segments[i] = log->closed[i];
        segments->list[i] = (struct weir_output_segment){weir_strdup(segment->key), (int64_t)segment->size,
                                                         segment->records, segment->crc32c};
    }
    log->closed_count = 0; /* the epoch has them */
    *sync = (struct weir_barrier_sync){.run = put_epoch, .arg = epoch, .free_arg = free_epoch, .again = true};
    return true;
}

/* --- Reading */

struct cursor {
    const uint8_t *at, *end;
    bool bad;
    struct weir_message_header *headers; /* of all messages in turn */
    size_t header_count, header_room;
};

static uint64_t get_number(struct cursor *cursor)
{
    uint64_t number = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (cursor->at == cursor->end)
            break;
        uint8_t byte = *cursor->at++;
        number |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return number;
    }
    cursor->bad = true;
    return 0;
}

static const uint8_t *get_bytes(struct cursor *cursor, size_t size)
{
    const uint8_t *bytes = cursor->at;
    if (cursor->bad || (size_t)(cursor->end - cursor->at) < size) {
        cursor->bad = true;
        return NULL;
    }
    cursor->at += size;
    return bytes;
}

static const uint8_t *get_sized(struct cursor *cursor, size_t *size)
{
    *size = get_number(cursor);
    return get_bytes(cursor, *size);
}

static void get_headers(struct cursor *cursor, struct weir_message_out *message)
{
    uint64_t count = get_number(cursor);
    for (uint64_t i = 0; i < count && !cursor->bad; i++) {
        if (cursor->header_count == cursor->header_room) {
            cursor->header_room = cursor->header_room ? cursor->header_room * 2 : 1024;
            cursor->headers = weir_realloc(cursor->headers, cursor->header_room * sizeof *cursor->headers);
        }
        struct weir_message_header *header = &cursor->headers[cursor->header_count++];
        size_t name_size = 0;
        *header = (struct weir_message_header){.name = (const char *)get_sized(cursor, &name_size)};
        const uint8_t *has_value = get_bytes(cursor, 1);
        cursor->bad |= name_size == 0 || !header->name || strnlen(header->name, name_size) != name_size - 1 ||
                       !has_value || *has_value > 1;
        if (!cursor->bad && *has_value)
            header->value = get_sized(cursor, &header->value_size);
        message->header_count++;
    }
}

static void get_message(struct cursor *cursor, struct weir_message_out *message)
{
    const uint8_t *head = get_bytes(cursor, 1 + 8);
    if (!head)
        return;
    int flags = head[0];
    cursor->bad |= (flags & ~FLAGS) != 0;
    *message = (struct weir_message_out){.partition = -1};
    memcpy(&message->timestamp_ms, head + 1, 8);
    if (flags & HAS_TOPIC)
        message->topic = (const char *)get_sized(cursor, &message->topic_size);
    const uint8_t *partition = flags & HAS_PARTITION ? get_bytes(cursor, 4) : NULL;
    if (partition)
        memcpy(&message->partition, partition, 4);
    if (flags & HAS_KEY)
        message->key = get_sized(cursor, &message->key_size);
    if (flags & HAS_VALUE)
        message->value = get_sized(cursor, &message->value_size);
    if (flags & HAS_HEADERS)
        get_headers(cursor, message);
}

/* Both in one block. */
static struct weir_message_out *with_headers(struct weir_message_out *messages, size_t count,
                                             const struct cursor *cursor)
{
    messages = weir_realloc(messages, count * sizeof *messages + cursor->header_count * sizeof *cursor->headers);
    struct weir_message_header *header = (struct weir_message_header *)(void *)(messages + count);
    memcpy(header, cursor->headers, cursor->header_count * sizeof *header);
    for (size_t i = 0; i < count; i++)
        if (messages[i].header_count > 0) {
            messages[i].headers = header;
            header += messages[i].header_count;
        }
    return messages;
}

weir_err weir_output_log_read(const uint8_t *bytes, size_t size, struct weir_message_out **out, int64_t *count,
                              struct weir_error *error)
{
    struct cursor cursor = {.at = bytes + MAGIC_SIZE, .end = bytes + size};
    struct weir_message_out *messages = NULL;
    size_t n = 0, room = 0;
    if (size < MAGIC_SIZE || memcmp(bytes, MAGIC, MAGIC_SIZE) != 0)
        return weir_fail(error, WEIR_ERR_DATA, "CHECKPOINT_CORRUPT: this is no output log");
    while (cursor.at < cursor.end && !cursor.bad) {
        if (n == room) {
            room = room ? room * 2 : 1024;
            messages = weir_realloc(messages, room * sizeof *messages);
        }
        get_message(&cursor, &messages[n++]);
    }
    if (!cursor.bad && cursor.header_count > 0)
        messages = with_headers(messages, n, &cursor);
    free(cursor.headers);
    if (cursor.bad) {
        free(messages);
        return weir_fail(error, WEIR_ERR_DATA, "CHECKPOINT_CORRUPT: the output log is cut short, or no such log");
    }
    *out = messages;
    *count = (int64_t)n;
    return WEIR_OK;
}
