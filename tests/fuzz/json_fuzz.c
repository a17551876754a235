/* JSON, all its ways of being read: the full reader record by record, lines by an index over many, and lines and records by the shape of the
 * ones before. All must give the same rows and refuse the same lines. What was read is written and reads back the same.
 *
 * Input: a byte for the schema and the size of batches; the rest is text, as a file holds it.
 */
#include "format/format.h"
#include "fuzz/fuzz.h"
#include "unit/data_random.h"

#define BATCHES_MAX 2000
#define LINES_MAX 4000

static const char *const schema_texts[8] = {
    ALL_TYPES_SCHEMA,
    "device_id STRING NOT NULL, temperature DOUBLE NOT NULL, ts TIMESTAMP(3)",
    "s STRING, d DOUBLE",
    "a BIGINT, b BOOLEAN NOT NULL, f FLOAT, i32 INT NOT NULL",
    "ts TIMESTAMP(0) NOT NULL, s STRING NOT NULL",
    "y BYTES, dt DATE, t TIME(1)",
    "n INT" KEYABLE_TYPES_SCHEMA MAP_TYPES_SCHEMA,
    ALL_TYPES_SCHEMA_NOT_NULL,
};
static struct weir_schema *schemas[8];

/* The rows of a text, and for each line whether it is bad. */
struct result {
    struct weir_batch *batches[BATCHES_MAX]; /* full ones, but the last */
    int batch_count;
    int line_count;
    long bad[LINES_MAX]; /* where the bad lines begin */
    int bad_count;
    int row_count;
    bool full; /* too much for this target */
};

static struct weir_batch *room(struct result *result, struct weir_schema *schema, int rows)
{
    struct weir_batch *last = result->batch_count ? result->batches[result->batch_count - 1] : NULL;
    if (last && last->row_count < last->row_capacity)
        return last;
    if (result->batch_count == BATCHES_MAX || result->bad_count == LINES_MAX) {
        result->full = true;
        return NULL;
    }
    return result->batches[result->batch_count++] = weir_batch_new(schema, rows);
}

static void result_fini(struct result *result)
{
    for (int i = 0; i < result->batch_count; i++)
        weir_batch_unref(result->batches[i]);
}

static bool is_blank(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != ' ' && bytes[i] != '\t' && bytes[i] != '\r' && bytes[i] != '\n')
            return false;
    return true;
}

static struct weir_decoder *new_decoder(const struct weir_format *format, struct weir_schema *schema)
{
    struct weir_decoder *decoder = NULL;
    fuzz_check(!format->decoder_new(schema, NULL, 0, &decoder, NULL));
    return decoder;
}

/* `fresh`: each by a decoder that knows no shape yet, the full reader. */
static void by_record(const struct weir_format *format, struct weir_schema *schema, int rows, struct fuzz_input text,
                      bool fresh, struct result *result)
{
    struct weir_decoder *decoder = new_decoder(format, schema);
    struct weir_error error;
    const uint8_t *begin = text.at;
    while (text.left > 0 && !result->full) {
        struct fuzz_input line = fuzz_until(&text, '\n');
        if (is_blank(line.at, line.left))
            continue;
        struct weir_batch *batch = room(result, schema, rows);
        if (!batch)
            break;
        int before = batch->row_count;
        if (fresh) {
            format->decoder_free(decoder);
            decoder = new_decoder(format, schema);
        }
        weir_err err = format->decode(decoder, line.at, line.left, false, batch, &error);
        fuzz_check(batch->row_count == before + !err);
        fuzz_check(!err || err == WEIR_ERR_DATA);
        if (err)
            result->bad[result->bad_count++] = line.at - begin;
        else
            result->row_count++;
    }
    format->decoder_free(decoder);
}

/* `piece`: so much is given at a time, as from a socket; 0: all at once. */
static void by_lines(const struct weir_format *format, struct weir_schema *schema, int rows, struct fuzz_input text,
                     size_t piece, struct result *result)
{
    struct weir_decoder *decoder = new_decoder(format, schema);
    struct weir_error error;
    uint8_t *bytes = weir_zalloc(text.left + 64);
    size_t at = 0, given = 0;
    while (at < text.left && !result->full) {
        struct weir_batch *batch = room(result, schema, rows);
        if (!batch)
            break;
        if (given <= at || piece == 0)
            given = piece == 0 || at + piece > text.left ? text.left : at + piece;
        memcpy(bytes, text.at + at, given - at);
        memset(bytes + (given - at), 0, 64);
        bool last = given == text.left;
        size_t used = 0, bad_at = 0, bad_size = 0;
        int before = batch->row_count;
        weir_err err = format->decode_lines(decoder, bytes, given - at, last, batch, &used, &bad_at, &bad_size, &error);
        fuzz_check(!err || err == WEIR_ERR_DATA);
        fuzz_check(used <= given - at && batch->row_count >= before);
        result->row_count += batch->row_count - before;
        if (err) {
            fuzz_check(bad_at + bad_size <= given - at && used > 0 && bad_at < used);
            result->bad[result->bad_count++] = (long)(at + bad_at);
        }
        /* The batch is full, or all lines were taken; else nothing would ever move. */
        fuzz_check(used > 0 || !last || batch->row_count > before);
        if (used == 0 && batch->row_count == before) {
            given = given + piece > text.left ? text.left : given + piece;
            continue;
        }
        at += used;
    }
    free(bytes);
    format->decoder_free(decoder);
}

static bool rows_equal(const struct result *a, const struct result *b)
{
    int ai = 0, ar = 0, bi = 0, br = 0;
    for (int row = 0; row < a->row_count && row < b->row_count; row++) {
        while (ar == a->batches[ai]->row_count)
            ai++, ar = 0;
        while (br == b->batches[bi]->row_count)
            bi++, br = 0;
        if (!same_row(a->batches[ai], ar++, b->batches[bi], br++))
            return false;
    }
    return true;
}

static void compare(const struct result *a, const struct result *b)
{
    if (a->full || b->full)
        return;
    fuzz_check(a->bad_count == b->bad_count);
    for (int i = 0; i < a->bad_count; i++)
        fuzz_check(a->bad[i] == b->bad[i]);
    fuzz_check(a->row_count == b->row_count);
    fuzz_check(rows_equal(a, b));
}

static void write_and_read(const struct weir_format *format, struct weir_schema *schema, const struct result *result)
{
    struct weir_decoder *decoder = new_decoder(format, schema);
    struct weir_encoder *encoder = NULL;
    struct weir_error error;
    struct weir_buf text;
    fuzz_check(!format->encoder_new(schema, NULL, 0, &encoder, NULL));
    weir_buf_init(&text, (size_t)64 << 20);
    for (int i = 0; i < result->batch_count; i++) {
        const struct weir_batch *batch = result->batches[i];
        for (int row = 0; row < batch->row_count; row++) {
            weir_buf_clear(&text);
            fuzz_check(!format->encode(encoder, batch, row, &text, &error));
            fuzz_check(text.size > 0 && text.data[text.size - 1] == '\n');
            fuzz_check(!memchr(text.data, '\n', text.size - 1));
            struct weir_batch *again = weir_batch_new(schema, 1);
            fuzz_check(!format->decode(decoder, text.data, text.size - 1, false, again, &error));
            fuzz_check(same_row(batch, row, again, 0));
            weir_batch_unref(again);
        }
    }
    weir_buf_fini(&text);
    format->encoder_free(encoder);
    format->decoder_free(decoder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct result record, in_a_row, lines, pieces;
    struct fuzz_input in = {data, size};
    uint8_t how = (uint8_t)fuzz_number(&in, 1);
    const struct weir_format *format;
    fuzz_check(!weir_format_find("json", &format, NULL));
    for (int i = 0; !schemas[7] && i < 8; i++)
        fuzz_check(!weir_schema_parse(schema_texts[i], &schemas[i], NULL));
    struct weir_schema *schema = schemas[how & 7];
    int rows = how & 8 ? 3 : 64;
    memset(&record, 0, sizeof record);
    memset(&in_a_row, 0, sizeof in_a_row);
    memset(&lines, 0, sizeof lines);
    memset(&pieces, 0, sizeof pieces);
    by_record(format, schema, rows, in, true, &record);
    by_record(format, schema, rows, in, false, &in_a_row);
    by_lines(format, schema, rows, in, 0, &lines);
    by_lines(format, schema, 2, in, 1 + (how >> 4) * 13u, &pieces); /* full soon: then lines come by their shape */
    compare(&record, &in_a_row);
    compare(&record, &lines);
    compare(&record, &pieces);
    write_and_read(format, schema, &record);
    result_fini(&record);
    result_fini(&in_a_row);
    result_fini(&lines);
    result_fini(&pieces);
    return 0;
}
