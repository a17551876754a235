/* Whose are the records, is each there once, are the windows right: the job of tests/torture/kill_torture.py.
 *
 * A source of numbered partitions that can be read again from anywhere: record `seq` of partition `part` is a pure function of both, becomes
 * due at --start + seq * 1000 / --rate, and the stream ends before the sequence number that the file --end holds once it exists. Two
 * such sources; each goes as it is to a directory of its own, both together, by key, into windows of --window and into totals that stay in
 * state, and joined, record by record, into --pairs. --sleep: microseconds that each record takes on its way into totals, so that the others queue.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weir/connector.h>
#include <weir/weir.h>

#define TEXT_SIZE 65536
#define LINE_SIZE_MAX 192
#define SLEEP_ROWS 32  /* before one sleep for all */
#define END_LOOK_MS 50 /* at the file, while it is not there */

static const struct weir_option replay_options[] = {
    {"first", WEIR_OPTION_INT, NULL, NULL, "Number of the first partition"},
    {"partitions", WEIR_OPTION_INT, NULL, NULL, "How many"},
    {"rate", WEIR_OPTION_INT, NULL, NULL, "Records a second of each"},
    {"start", WEIR_OPTION_INT, NULL, NULL, "Wall clock of record 0, ms"},
    {"keys", WEIR_OPTION_INT, NULL, NULL, "Different keys"},
    {"end", WEIR_OPTION_STRING, NULL, NULL, "A file with the number at which every partition ends, once it is there"},
    {NULL, 0, NULL, NULL, NULL},
};

struct weir_reader {
    int64_t part, count, rate, start_ms, keys; /* count: of this source's partitions */
    char end_path[4096];
    int64_t end, looked_ms; /* end -1: not known yet */
    int64_t next;           /* sequence number behind text[] */
    int64_t position;
    size_t size;
    char text[TEXT_SIZE + WEIR_READ_PADDING];
};

static int64_t number_of(const struct weir_key_value *options, int count, const char *name)
{
    return weir_options_get_int(options, count, replay_options, name);
}

static weir_err replay_enumerate(const struct weir_key_value *options, int count, int reader_count,
                                 struct weir_arena *arena, struct weir_split **splits, int *split_count,
                                 struct weir_error *error)
{
    (void)reader_count, (void)error;
    *split_count = (int)number_of(options, count, "partitions");
    struct weir_split *made = *splits = weir_arena_zalloc(arena, (size_t)*split_count * sizeof *made);
    for (int i = 0; i < *split_count; i++) {
        made[i].offset = number_of(options, count, "first") + i;
        made[i].size = -1;
        made[i].id = weir_arena_format(arena, "partition %" PRId64, made[i].offset);
    }
    return 0;
}

static weir_err replay_open(struct weir_connector_ctx *ctx, const struct weir_key_value *options, int count,
                            struct weir_reader **out, struct weir_error *error)
{
    (void)ctx;
    struct weir_reader *reader = *out = calloc(1, sizeof *reader);
    if (!reader)
        return weir_fail(error, WEIR_ERR_NO_MEMORY, "no memory");
    reader->count = number_of(options, count, "partitions");
    reader->rate = number_of(options, count, "rate");
    reader->start_ms = number_of(options, count, "start");
    reader->keys = number_of(options, count, "keys");
    snprintf(reader->end_path, sizeof reader->end_path, "%s", weir_options_get(options, count, replay_options, "end"));
    return 0;
}

static weir_err replay_split(struct weir_reader *reader, const struct weir_split *split, struct weir_error *error)
{
    (void)error;
    reader->part = split->offset;
    reader->end = -1;
    reader->looked_ms = reader->next = reader->position = 0;
    reader->size = 0;
    return 0;
}

/* CRC-32 (zlib's), bit by bit: what the checker computes with a library. */
static uint32_t crc_of(int64_t part, int64_t seq)
{
    char text[48];
    int size = snprintf(text, sizeof text, "%" PRId64 ":%" PRId64, part, seq);
    uint32_t crc = ~0u;
    for (int i = 0; i < size; i++) {
        crc ^= (unsigned char)text[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static void look_for_end(struct weir_reader *reader, int64_t now_ms)
{
    if (reader->end >= 0 || now_ms - reader->looked_ms < END_LOOK_MS)
        return;
    reader->looked_ms = now_ms;
    FILE *file = fopen(reader->end_path, "re");
    if (file && fscanf(file, "%" SCNd64, &reader->end) != 1)
        reader->end = -1;
    if (file)
        fclose(file);
}

static enum weir_read replay_read(struct weir_reader *reader, struct weir_connector_ctx *ctx,
                                  struct weir_read_bytes *bytes, int64_t *wait_until_ms, struct weir_error *error)
{
    (void)error;
    memmove(reader->text, reader->text + bytes->used, reader->size - bytes->used);
    reader->size -= bytes->used;
    reader->position += (int64_t)bytes->used;
    bytes->used = 0;
    int64_t now_ms = ctx->now_ms(ctx);
    look_for_end(reader, now_ms);
    int64_t due = (now_ms - reader->start_ms) * reader->rate / 1000;
    if (reader->end >= 0 && due > reader->end)
        due = reader->end;
    for (; reader->next < due && reader->size + LINE_SIZE_MAX <= TEXT_SIZE; reader->next++)
        reader->size +=
            (size_t)snprintf(reader->text + reader->size, LINE_SIZE_MAX,
                             "{\"part\":%" PRId64 ",\"seq\":%" PRId64 ",\"key\":%" PRId64 ",\"pair\":%" PRId64
                             ",\"ts\":%" PRId64 ",\"crc\":%" PRIu32 "}\n",
                             reader->part, reader->next, (reader->next * 7919 + reader->part) % reader->keys,
                             reader->next * reader->count + reader->part % reader->count, reader->next,
                             crc_of(reader->part, reader->next));
    bool ended = reader->end >= 0 && reader->next >= reader->end;
    if (reader->size == 0 && ended)
        return WEIR_READ_END;
    if (reader->size == 0) {
        *wait_until_ms = now_ms + 5;
        return WEIR_READ_EMPTY;
    }
    bytes->bytes = (const uint8_t *)reader->text;
    bytes->size = reader->size;
    bytes->last = ended;
    bytes->position = reader->position;
    return WEIR_READ_DATA;
}

/* The number of the first record that was not consumed. */
static weir_err replay_snapshot(struct weir_reader *reader, const struct weir_read_bytes *bytes,
                                struct weir_buf *position, struct weir_error *error)
{
    int64_t left = 0;
    for (size_t i = bytes ? bytes->used : 0; bytes && i < bytes->size; i++)
        left += bytes->bytes[i] == '\n';
    return weir_buf_printf(position, "%" PRId64, reader->next - left) ? 0 : weir_fail(error, WEIR_ERR_FULL, "no room");
}

static weir_err replay_restore(struct weir_reader *reader, const char *position, struct weir_error *error)
{
    (void)error;
    reader->next = strtoll(position, NULL, 10);
    return 0;
}

static void replay_close(struct weir_reader *reader)
{
    free(reader);
}

static const struct weir_connector replay = {
    .size = sizeof(struct weir_connector),
    .name = "replay",
    .help = "Numbered partitions that can be read again from anywhere",
    .source_options = replay_options,
    .enumerate = replay_enumerate,
    .reader_open = replay_open,
    .reader_split = replay_split,
    .read = replay_read,
    .reader_close = replay_close,
    .reader_snapshot = replay_snapshot,
    .reader_restore = replay_restore,
};
WEIR_CONNECTORS(&replay);

struct record {
    int64_t part;
    int64_t seq;
    int64_t key;
    int64_t pair; /* the same in one record of each source */
    weir_ts ts;
    int64_t crc;
};
#define COLUMNS \
    "part BIGINT NOT NULL, seq BIGINT NOT NULL, key BIGINT NOT NULL, pair BIGINT NOT NULL, ts TIMESTAMP(3) NOT NULL, crc BIGINT NOT NULL"
WEIR_ROW(record, WEIR_FIELD(part, "BIGINT NOT NULL"), WEIR_FIELD(seq, "BIGINT NOT NULL"),
         WEIR_FIELD(key, "BIGINT NOT NULL"), WEIR_FIELD(pair, "BIGINT NOT NULL"),
         WEIR_FIELD(ts, "TIMESTAMP(3) NOT NULL"), WEIR_FIELD(crc, "BIGINT NOT NULL"));

static int check(struct weir_ctx *ctx, const struct record *in, struct record *out)
{
    if (in->crc != crc_of(in->part, in->seq))
        return ctx->fail_task(ctx, "record %" PRId64 ":%" PRId64 " is damaged", in->part, in->seq);
    *out = *in;
    return 0;
}

/* --- What the state oracle compares: per key, over all records that came */

struct total {
    int64_t n;
    int64_t seqs; /* sum */
    int64_t bits; /* exclusive or of the CRCs */
};
WEIR_ROW(total, WEIR_FIELD(n, "BIGINT NOT NULL"), WEIR_FIELD(seqs, "BIGINT NOT NULL"),
         WEIR_FIELD(bits, "BIGINT NOT NULL"));
WEIR_VALUE_STATE_OF(total_of, total);

static void wait_a_little(struct weir_ctx *ctx)
{
    static int microseconds = -1;
    static _Thread_local int rows;
    if (microseconds < 0)
        microseconds = atoi(ctx->argument(ctx, "sleep", "0"));
    if (microseconds > 0 && ++rows % SLEEP_ROWS == 0)
        usleep((useconds_t)microseconds * SLEEP_ROWS);
}

static int add(struct weir_ctx *ctx, const struct record *in, struct weir_out_rows *out)
{
    (void)out;
    wait_a_little(ctx);
    const struct total *before = weir_value_get(ctx, &total_of);
    struct total now = before ? *before : (struct total){0};
    now.n++;
    now.seqs += in->seq;
    now.bits ^= in->crc;
    return weir_value_put(ctx, &total_of, &now);
}

/* --- A join: of each source the record that bears one number, in whichever order they come */

struct pair {
    int64_t pair;
    int64_t seq;
    int64_t a;
    int64_t b;
};
WEIR_ROW(pair, WEIR_FIELD(pair, "BIGINT NOT NULL"), WEIR_FIELD(seq, "BIGINT NOT NULL"),
         WEIR_FIELD(a, "BIGINT NOT NULL"), WEIR_FIELD(b, "BIGINT NOT NULL"));
WEIR_VALUE_STATE(waits, "BIGINT"); /* of the one that has come: its partition, or ~partition from b */

static int meet(struct weir_ctx *ctx, const struct record *in, int64_t mine, struct weir_out_rows *out)
{
    const int64_t *other = weir_value_get(ctx, &waits);
    if (!other) {
        weir_value_put(ctx, &waits, &mine);
        return 0;
    }
    if ((*other < 0) == (mine < 0))
        return ctx->fail_task(ctx, "pair %" PRId64 " has come twice from one side", in->pair);
    struct pair row = {in->pair, in->seq, mine < 0 ? *other : mine, mine < 0 ? ~mine : ~*other};
    weir_value_clear(ctx, &waits);
    return weir_emit(out, &row);
}

static int from_a(struct weir_ctx *ctx, const struct record *in, struct weir_out_rows *out)
{
    return meet(ctx, in, in->part, out);
}

static int from_b(struct weir_ctx *ctx, const struct record *in, struct weir_out_rows *out)
{
    return meet(ctx, in, ~in->part, out);
}

static struct weir_stream *put(struct weir_stream *stream, const char *directory)
{
    return *directory ? weir_sink(stream, "filesystem", "path", directory, "format", "json", NULL)
                      : weir_sink(stream, "blackhole", NULL);
}

static struct weir_stream *partitions(struct weir_job *job, const char *first, const char *uid, const char *rows)
{
    char uid_of[3][32];
    for (int i = 0; i < 3; i++)
        snprintf(uid_of[i], sizeof uid_of[i], "%s-%s", uid, (const char *[]){"source", "check", "rows"}[i]);
    struct weir_stream *stream =
        weir_source(job, "replay", "first", first, "partitions", weir_arg(job, "partitions", "2"), "rate",
                    weir_arg(job, "rate", "1000"), "start", weir_arg(job, "start", NULL), "keys",
                    weir_arg(job, "keys", "5000"), "end", weir_arg(job, "end", NULL), "format", "json", NULL);
    stream = weir_watermark(weir_columns(weir_uid(stream, uid_of[0]), COLUMNS), "ts - INTERVAL '0.001' SECOND");
    stream = weir_uid(weir_map(stream, WEIR_MAP(record, record, check)), uid_of[1]);
    weir_uid(put(stream, rows), uid_of[2]);
    return stream;
}

WEIR_JOB(identity)
{
    (void)weir_arg(job, "sleep", "0"); /* wait_a_little() asks for it */
    const char *count = weir_arg(job, "partitions", "2");
    struct weir_stream *a = partitions(job, "0", "a", weir_arg(job, "rows-a", NULL));
    struct weir_stream *b = partitions(job, count, "b", weir_arg(job, "rows-b", NULL));
    struct weir_stream *keyed = weir_key_by(weir_union(a, b), "key");
    struct weir_stream *windows = weir_uid(
        weir_aggregate(
            weir_window(keyed, weir_tumbling(weir_arg(job, "window", "10 s"))),
            "key, window_start, COUNT(*) AS n, SUM(seq) AS seqs, SUM(part) AS parts, MIN(seq) AS low, MAX(seq) AS high"),
        "windows");
    weir_uid(put(windows, weir_arg(job, "windows", NULL)), "windows-out");
    struct weir_stream *totals =
        weir_process(keyed, .name = "totals", WEIR_ON_ROW(record, total, add)); /* nothing comes out */
    weir_sink(weir_uid(totals, "totals"), "blackhole", NULL);
    struct weir_stream *pairs = weir_process2(weir_key_by(a, "pair"), weir_key_by(b, "pair"), .name = "pairs",
                                              WEIR_ON_ROW(record, pair, from_a), WEIR_ON_ROW2(record, from_b));
    weir_uid(put(weir_uid(pairs, "pairs"), weir_arg(job, "pairs", "")), "pairs-out");
}
