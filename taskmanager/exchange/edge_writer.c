#include "exchange/edge_writer.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"

/* Rows that are gathered over all channels of an edge: memory does not grow with the fan-out. */
#define GATHERED_ROWS 16384
#define GATHERED_ROWS_MIN 64

struct lane {                 /* what the writer keeps of a channel */
    struct weir_batch *batch; /* being gathered, or NULL */
    int64_t oldest_ns;
    int64_t watermark_ms; /* last one sent */
    int start, end;       /* rows of the input batch still to be gathered: writer->rows[start, end) */
    bool taken;           /* BROADCAST and control items: it has the one in hand */
    bool barrier_due;     /* writer->barrier goes before anything else */
};

struct weir_edge_writer {
    enum weir_edge_partition partition;
    struct weir_schema *schema;
    struct weir_key_spec key;
    int max_parallelism;
    int64_t timeout_ns;
    int rows_max;
    bool direct; /* one channel: everything by reference and in order */
    int channel_count;
    struct weir_channel **channels;
    struct lane *lanes;
    struct weir_item in;  /* taken, not yet passed on in full; NONE: nothing */
    int in_row;           /* ON_DEMAND: next row of in.batch */
    int next;             /* REBALANCE, ON_DEMAND: where to look first */
    int64_t watermark_ms; /* last one taken */
    int64_t due_ns;       /* lower bound of the next timeout flush */
    int gathering;        /* lanes with a batch */
    bool watermark_due;   /* some lane has not got watermark_ms */
    bool starved;         /* a flush found no room: the next one tries again, however early */
    const struct weir_link *link;
    struct weir_barrier barrier; /* of the lanes where it is due */
    int barriers_due;
    uint64_t bytes;
    uint16_t *channel_of_group;
    uint64_t hashes[WEIR_BATCH_ROWS_MAX];
    uint16_t channel_of_row[WEIR_BATCH_ROWS_MAX];
    int32_t rows[WEIR_BATCH_ROWS_MAX]; /* of the input batch, ordered by channel */
};

struct weir_edge_writer *weir_edge_writer_new(const struct weir_edge_writer_options *options)
{
    int count = options->channel_count;
    weir_assert(count >= 1 && count <= WEIR_MAX_PARALLELISM_LIMIT);
    struct weir_edge_writer *writer = weir_zalloc(sizeof *writer);
    writer->partition = options->partition;
    writer->schema = weir_schema_ref(options->schema);
    writer->key = options->key;
    writer->timeout_ns = options->timeout_ns;
    writer->link = options->link;
    writer->direct = count == 1 && options->partition != WEIR_EDGE_ON_DEMAND;
    writer->channel_count = count;
    writer->channels = weir_alloc((size_t)count * sizeof(struct weir_channel *));
    writer->lanes = weir_zalloc((size_t)count * sizeof *writer->lanes);
    for (int c = 0; c < count; c++) {
        writer->channels[c] = weir_channel_ref(options->channels[c]);
        writer->lanes[c].watermark_ms = INT64_MIN;
    }
    writer->watermark_ms = INT64_MIN;
    writer->due_ns = INT64_MAX;
    int rows = GATHERED_ROWS / count;
    if (rows > WEIR_BATCH_ROWS_DEFAULT)
        rows = WEIR_BATCH_ROWS_DEFAULT;
    if (rows < GATHERED_ROWS_MIN)
        rows = GATHERED_ROWS_MIN;
    writer->rows_max = options->rows_max ? options->rows_max : rows;
    if (options->partition == WEIR_EDGE_HASH && !writer->direct) {
        writer->max_parallelism = options->max_parallelism;
        weir_assert(options->parallelism == count && options->max_parallelism >= count);
        writer->channel_of_group = weir_alloc((size_t)options->max_parallelism * sizeof(uint16_t));
        for (int g = 0; g < options->max_parallelism; g++)
            writer->channel_of_group[g] = (uint16_t)weir_key_group_subtask(g, options->max_parallelism, count);
    }
    return writer;
}

void weir_edge_writer_free(struct weir_edge_writer *writer)
{
    if (!writer)
        return;
    if (writer->in.kind == WEIR_ITEM_BATCH)
        weir_batch_unref(writer->in.batch);
    for (int c = 0; c < writer->channel_count; c++) {
        weir_batch_unref(writer->lanes[c].batch);
        weir_channel_unref(writer->channels[c]);
    }
    free(writer->channels);
    free(writer->lanes);
    free(writer->channel_of_group);
    weir_schema_unref(writer->schema);
    free(writer);
}

/* --- Into a channel. Each says false when there is no room, and has then asked to be woken. */

static bool find_item_room(struct weir_channel *chan, enum weir_item_kind kind)
{
    do
        if (weir_channel_has_item_room(chan, kind))
            return true;
    while (weir_channel_wait(chan));
    return false;
}

/* A barrier that found no room goes before whatever comes now. */
static bool send_barrier(struct weir_edge_writer *writer, int c)
{
    if (!writer->lanes[c].barrier_due)
        return true;
    if (!find_item_room(writer->channels[c], WEIR_ITEM_BARRIER))
        return false;
    struct weir_item item = {.kind = WEIR_ITEM_BARRIER, .barrier = writer->barrier};
    weir_channel_push(writer->channels[c], &item);
    writer->lanes[c].barrier_due = false;
    writer->barriers_due--;
    return true;
}

static bool has_batch_room(struct weir_edge_writer *writer, int c)
{
    if (!send_barrier(writer, c))
        return false;
    do
        if (weir_channel_has_batch_room(writer->channels[c]))
            return true;
    while (weir_channel_wait(writer->channels[c]));
    return false;
}

static bool has_item_room(struct weir_edge_writer *writer, int c, enum weir_item_kind kind)
{
    return send_barrier(writer, c) && find_item_room(writer->channels[c], kind);
}

static void push_batch(struct weir_edge_writer *writer, int c, struct weir_batch *take_batch)
{
    writer->bytes += weir_batch_bytes(take_batch);
    struct weir_item item = {.kind = WEIR_ITEM_BATCH, .batch = take_batch};
    weir_channel_push(writer->channels[c], &item);
}

static bool send_watermark(struct weir_edge_writer *writer, int c)
{
    if (writer->lanes[c].watermark_ms == writer->watermark_ms)
        return true;
    if (!has_item_room(writer, c, WEIR_ITEM_WATERMARK))
        return false;
    struct weir_item item = {.kind = WEIR_ITEM_WATERMARK, .watermark_ms = writer->watermark_ms};
    weir_channel_push(writer->channels[c], &item);
    writer->lanes[c].watermark_ms = writer->watermark_ms;
    return true;
}

/* The gathered batch of a lane, then the watermark that waited behind it. */
static bool send_lane(struct weir_edge_writer *writer, int c)
{
    struct lane *lane = &writer->lanes[c];
    if (lane->batch) {
        if (!has_batch_room(writer, c))
            return false;
        struct weir_batch *batch = lane->batch;
        lane->batch = NULL;
        writer->gathering--;
        push_batch(writer, c, batch);
    }
    return send_watermark(writer, c);
}

/* --- Gathering rows (HASH) */

/* Orders the batch's rows by channel (counting sort) and sets each lane's share. *only: the one channel of all rows, or -1. */
static void spread(struct weir_edge_writer *writer, const struct weir_batch *batch, int *only)
{
    int count = batch->row_count;
    weir_key_hash(batch, &writer->key, writer->hashes);
    for (int c = 0; c < writer->channel_count; c++)
        writer->lanes[c].end = 0;
    for (int r = 0; r < count; r++) {
        uint16_t c = writer->channel_of_group[weir_key_group(writer->hashes[r], writer->max_parallelism)];
        writer->channel_of_row[r] = c;
        writer->lanes[c].end++;
    }
    int at = 0;
    *only = -1;
    for (int c = 0; c < writer->channel_count; c++) {
        int share = writer->lanes[c].end;
        if (share == count)
            *only = c;
        writer->lanes[c].start = writer->lanes[c].end = at;
        at += share;
    }
    for (int r = 0; r < count; r++)
        writer->rows[writer->lanes[writer->channel_of_row[r]].end++] = r;
}

static bool lane_is_full(const struct weir_edge_writer *writer, const struct lane *lane)
{
    return lane->batch &&
           (lane->batch->row_count >= writer->rows_max || weir_batch_bytes(lane->batch) >= WEIR_BATCH_BYTES_SOFT_MAX);
}

/* Rows that may be added at once: batches of long strings are looked at again after a few. */
static int append_step(const struct weir_batch *from, int wanted, int room)
{
    int step = wanted < room ? wanted : room;
    size_t row_bytes = weir_batch_bytes(from) / (size_t)from->row_count + 1;
    size_t fits = WEIR_BATCH_BYTES_SOFT_MAX / row_bytes + 1;
    return (size_t)step > fits ? (int)fits : step;
}

/* Gathers a lane's share of the batch in hand. False: its channel has no room. */
static bool gather(struct weir_edge_writer *writer, int c, int64_t now_ns)
{
    struct lane *lane = &writer->lanes[c];
    while (lane->start < lane->end) {
        if (lane_is_full(writer, lane) && !send_lane(writer, c))
            return false;
        if (!lane->batch) {
            /* A watermark from before these rows keeps its place ahead of them when it can. */
            send_watermark(writer, c);
            lane->batch = weir_batch_new(writer->schema, writer->rows_max);
            lane->oldest_ns = now_ns;
            lane->batch->origin_ns = now_ns;
            writer->gathering++;
            if (now_ns + writer->timeout_ns < writer->due_ns)
                writer->due_ns = now_ns + writer->timeout_ns;
        }
        int step = append_step(writer->in.batch, lane->end - lane->start, writer->rows_max - lane->batch->row_count);
        weir_batch_append_rows(lane->batch, writer->in.batch, writer->rows + lane->start, step);
        lane->start += step;
    }
    if (lane_is_full(writer, lane))
        send_lane(writer, c); /* no room now: it is tried again before the next row or at the next flush */
    return true;
}

/* --- The item in hand, by partition. True: it is passed on in full. */

static bool advance_hash(struct weir_edge_writer *writer, int64_t now_ns)
{
    bool all = true;
    for (int c = 0; c < writer->channel_count; c++)
        if (writer->lanes[c].start < writer->lanes[c].end && !gather(writer, c, now_ns))
            all = false;
    return all;
}

static bool advance_broadcast(struct weir_edge_writer *writer)
{
    bool all = true;
    for (int c = 0; c < writer->channel_count; c++) {
        struct lane *lane = &writer->lanes[c];
        if (lane->taken)
            continue;
        if (!send_watermark(writer, c) || !has_batch_room(writer, c)) {
            all = false;
            continue;
        }
        push_batch(writer, c, weir_batch_ref(writer->in.batch));
        lane->taken = true;
    }
    return all;
}

static bool advance_rebalance(struct weir_edge_writer *writer)
{
    for (int i = 0; i < writer->channel_count; i++) {
        int c = writer->next;
        writer->next = c + 1 == writer->channel_count ? 0 : c + 1;
        if (!send_watermark(writer, c) || !has_batch_room(writer, c))
            continue;
        push_batch(writer, c, weir_batch_ref(writer->in.batch));
        return true;
    }
    return false;
}

static bool is_drained(struct weir_channel *chan)
{
    do
        if (weir_channel_is_drained(chan))
            return true;
    while (weir_channel_wait(chan));
    return false;
}

static bool advance_on_demand(struct weir_edge_writer *writer)
{
    struct weir_batch *batch = writer->in.batch;
    for (int tried = 0; writer->in_row < batch->row_count && tried < writer->channel_count; tried++) {
        int c = writer->next;
        writer->next = c + 1 == writer->channel_count ? 0 : c + 1;
        if (!is_drained(writer->channels[c]) || !send_watermark(writer, c) || !has_batch_room(writer, c))
            continue;
        push_batch(writer, c,
                   batch->row_count == 1 ? weir_batch_ref(batch) : weir_batch_slice(batch, writer->in_row, 1));
        writer->in_row++;
        tried = -1;
    }
    return writer->in_row == batch->row_count;
}

/* Idleness and the end follow everything gathered and the last watermark, on every channel. */
static bool advance_control(struct weir_edge_writer *writer)
{
    bool all = true;
    for (int c = 0; c < writer->channel_count; c++) {
        struct lane *lane = &writer->lanes[c];
        if (lane->taken)
            continue;
        if (!send_lane(writer, c) || !has_item_room(writer, c, writer->in.kind)) {
            all = false;
            continue;
        }
        weir_channel_push(writer->channels[c], &writer->in);
        lane->taken = true;
    }
    return all;
}

static bool advance_item(struct weir_edge_writer *writer, int64_t now_ns)
{
    if (writer->in.kind != WEIR_ITEM_BATCH)
        return advance_control(writer);
    switch (writer->partition) {
    case WEIR_EDGE_HASH:
        return advance_hash(writer, now_ns);
    case WEIR_EDGE_BROADCAST:
        return advance_broadcast(writer);
    case WEIR_EDGE_ON_DEMAND:
        return advance_on_demand(writer);
    case WEIR_EDGE_FORWARD:
    case WEIR_EDGE_REBALANCE:
        break;
    }
    return advance_rebalance(writer);
}

bool weir_edge_writer_advance(struct weir_edge_writer *writer, int64_t now_ns)
{
    bool moved = false;
    for (int c = 0; c < writer->channel_count && writer->barriers_due > 0; c++)
        moved |= writer->lanes[c].barrier_due && send_barrier(writer, c);
    if (writer->in.kind == WEIR_ITEM_NONE)
        return moved;
    if (!advance_item(writer, now_ns))
        return moved;
    if (writer->in.kind == WEIR_ITEM_BATCH)
        weir_batch_unref(writer->in.batch);
    writer->in.kind = WEIR_ITEM_NONE;
    return true;
}

/* --- Taking */

/* One channel: in order and by reference; false leaves the item with the caller. */
static bool take_direct(struct weir_edge_writer *writer, const struct weir_item *item)
{
    switch (item->kind) {
    case WEIR_ITEM_WATERMARK:
        writer->watermark_ms = item->watermark_ms;
        writer->watermark_due = writer->starved = !send_watermark(writer, 0);
        return true; /* without room it waits here, and a newer one takes its place */
    case WEIR_ITEM_BATCH:
        if (!send_watermark(writer, 0) || !has_batch_room(writer, 0))
            return false;
        push_batch(writer, 0, item->batch);
        return true;
    default:
        if (!send_watermark(writer, 0) || !has_item_room(writer, 0, item->kind))
            return false;
        weir_channel_push(writer->channels[0], item);
        return true;
    }
}

static void begin_batch(struct weir_edge_writer *writer)
{
    writer->in_row = 0;
    if (writer->partition == WEIR_EDGE_BROADCAST) {
        for (int c = 0; c < writer->channel_count; c++)
            writer->lanes[c].taken = false;
        return;
    }
    if (writer->partition != WEIR_EDGE_HASH)
        return;
    int only;
    spread(writer, writer->in.batch, &only);
    if (only < 0)
        return;
    /* All to one channel: by reference, unless it is a small one that others may join. */
    struct lane *lane = &writer->lanes[only];
    bool worth = writer->in.batch->row_count * 2 >= writer->rows_max;
    if (!worth || !send_lane(writer, only) || !has_batch_room(writer, only))
        return;
    push_batch(writer, only, weir_batch_ref(writer->in.batch));
    lane->start = lane->end;
}

bool weir_edge_writer_take(struct weir_edge_writer *writer, const struct weir_item *item, int64_t now_ns)
{
    if (writer->direct)
        return take_direct(writer, item);
    if (writer->in.kind != WEIR_ITEM_NONE)
        return false;
    if (item->kind == WEIR_ITEM_WATERMARK) {
        writer->watermark_ms = item->watermark_ms;
        writer->watermark_due = true;
        if (writer->due_ns == INT64_MAX)
            writer->due_ns = now_ns + writer->timeout_ns;
        return true;
    }
    writer->in = *item;
    if (item->kind == WEIR_ITEM_BATCH)
        begin_batch(writer);
    else
        for (int c = 0; c < writer->channel_count; c++)
            writer->lanes[c].taken = false;
    weir_edge_writer_advance(writer, now_ns);
    return true;
}

bool weir_edge_writer_busy(const struct weir_edge_writer *writer)
{
    return writer->in.kind != WEIR_ITEM_NONE || writer->barriers_due > 0;
}

/* --- Barriers that overtake */

bool weir_edge_writer_settled(const struct weir_edge_writer *writer)
{
    return !weir_edge_writer_busy(writer) && writer->gathering == 0;
}

bool weir_edge_writer_is_on_demand(const struct weir_edge_writer *writer)
{
    return writer->partition == WEIR_EDGE_ON_DEMAND;
}

bool weir_edge_writer_overtaken_by(const struct weir_edge_writer *writer, const struct weir_barrier *barrier)
{
    return weir_link_overtaken_by(writer->link, barrier);
}

int weir_edge_writer_undelivered(const struct weir_edge_writer *writer)
{
    return writer->in.kind == WEIR_ITEM_BATCH ? writer->in.batch->row_count - writer->in_row : 0;
}

static void record_for(const struct weir_edge_writer *writer, int c, const struct weir_item *item,
                       struct weir_inflight *rows)
{
    weir_inflight_out(rows, writer->link, weir_channel_to(writer->channels[c]->id), item);
}

static void record_batch(const struct weir_edge_writer *writer, int c, struct weir_batch *take_batch,
                         struct weir_inflight *rows)
{
    struct weir_item item = {.kind = WEIR_ITEM_BATCH, .batch = take_batch};
    record_for(writer, c, &item, rows);
    weir_batch_unref(take_batch);
}

void weir_edge_writer_record(const struct weir_edge_writer *writer, struct weir_inflight *rows)
{
    for (int c = 0; c < writer->channel_count; c++) {
        const struct lane *lane = &writer->lanes[c];
        if (lane->batch) /* copied: rows will be added to it */
            record_batch(writer, c, weir_batch_slice(lane->batch, 0, lane->batch->row_count), rows);
        struct weir_item watermark = {.kind = WEIR_ITEM_WATERMARK, .watermark_ms = writer->watermark_ms};
        if (lane->watermark_ms != writer->watermark_ms && !writer->channels[c]->closed)
            record_for(writer, c, &watermark, rows);
    }
    if (writer->in.kind != WEIR_ITEM_BATCH)
        return;
    if (writer->partition != WEIR_EDGE_HASH) {
        record_batch(writer, writer->next, weir_batch_ref(writer->in.batch), rows);
        return;
    }
    for (int c = 0; c < writer->channel_count; c++) {
        const struct lane *lane = &writer->lanes[c];
        if (lane->start < lane->end)
            record_batch(writer, c,
                         weir_batch_gather(writer->in.batch, writer->rows + lane->start, lane->end - lane->start),
                         rows);
    }
}

/* Like spread(), which is about the batch in hand. */
static void record_spread(struct weir_edge_writer *writer, const struct weir_batch *batch, struct weir_inflight *rows)
{
    int32_t *picked = weir_alloc((size_t)batch->row_count * sizeof *picked);
    weir_key_hash(batch, &writer->key, writer->hashes);
    for (int c = 0; c < writer->channel_count; c++) {
        int count = 0;
        for (int r = 0; r < batch->row_count; r++)
            if (writer->channel_of_group[weir_key_group(writer->hashes[r], writer->max_parallelism)] == c)
                picked[count++] = r;
        if (count > 0)
            record_batch(writer, c, weir_batch_gather(batch, picked, count), rows);
    }
    free(picked);
}

void weir_edge_writer_record_item(struct weir_edge_writer *writer, const struct weir_item *item,
                                  struct weir_inflight *rows)
{
    if (item->kind == WEIR_ITEM_WATERMARK) {
        for (int c = 0; c < writer->channel_count; c++)
            record_for(writer, c, item, rows);
    } else if (item->kind == WEIR_ITEM_BATCH && writer->channel_of_group) {
        record_spread(writer, item->batch, rows);
    } else if (item->kind == WEIR_ITEM_BATCH) {
        record_for(writer, writer->next, item, rows);
        writer->next = writer->next + 1 == writer->channel_count ? 0 : writer->next + 1;
    }
}

void weir_edge_writer_overtake(struct weir_edge_writer *writer, const struct weir_barrier *barrier)
{
    writer->barrier = *barrier;
    for (int c = 0; c < writer->channel_count; c++) {
        struct lane *lane = &writer->lanes[c];
        if (writer->channels[c]->closed)
            continue;
        writer->barriers_due += !lane->barrier_due; /* an older one that did not get through is given up */
        lane->barrier_due = true;
        (void)send_barrier(writer, c);
    }
}

/* --- Flushing */

bool weir_edge_writer_flush(struct weir_edge_writer *writer, int64_t now_ns, bool dry)
{
    if (writer->gathering == 0 && !writer->watermark_due) {
        writer->due_ns = INT64_MAX;
        return false;
    }
    if (!dry && !writer->starved && now_ns < writer->due_ns)
        return false;
    writer->starved = false;
    bool left = false, watermark_due = false;
    int64_t due_ns = INT64_MAX;
    for (int c = 0; c < writer->channel_count; c++) {
        struct lane *lane = &writer->lanes[c];
        if (lane->batch && !dry && now_ns < lane->oldest_ns + writer->timeout_ns && !lane_is_full(writer, lane)) {
            if (lane->oldest_ns + writer->timeout_ns < due_ns)
                due_ns = lane->oldest_ns + writer->timeout_ns;
            watermark_due |= lane->watermark_ms != writer->watermark_ms;
            continue;
        }
        if (!lane->batch && lane->watermark_ms == writer->watermark_ms)
            continue;
        if (send_lane(writer, c)) {
            left = true;
        } else {
            writer->starved = true;
            watermark_due |= lane->watermark_ms != writer->watermark_ms;
        }
    }
    writer->watermark_due = watermark_due;
    writer->due_ns = due_ns; /* without credit: the consumer wakes the worker, no timer is needed */
    return left;
}

int64_t weir_edge_writer_due_ns(const struct weir_edge_writer *writer)
{
    return writer->due_ns;
}

const struct weir_error *weir_edge_writer_error(const struct weir_edge_writer *writer)
{
    for (int c = 0; c < writer->channel_count; c++)
        if (weir_channel_broken(writer->channels[c]))
            return &writer->channels[c]->error;
    return NULL;
}

uint64_t weir_edge_writer_bytes(const struct weir_edge_writer *writer)
{
    return writer->bytes;
}
