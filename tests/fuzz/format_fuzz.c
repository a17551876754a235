/* CSV and raw: records one by one and lines in bulk give the same rows and refuse the same lines; what was read is written and reads back
 * the same. Input: a byte for format, dialect and schema, then the text.
 */
#include "format/format.h"
#include "fuzz/fuzz.h"
#include "unit/data_random.h"

#define BATCHES_MAX 200

static const char *const schema_texts[4] = {
    ALL_TYPES_SCHEMA ", number DECIMAL(20, 5), l TIMESTAMP_LTZ(3)",
    "device_id STRING NOT NULL, temperature DOUBLE, ts TIMESTAMP(3) NOT NULL",
    "s STRING",
    "y BYTES",
};
static struct weir_schema *schemas[4];
static const struct weir_key_value dialects[4][2] = {
    {{"csv.field-delimiter", ","}, {"csv.null-literal", ""}},
    {{"csv.field-delimiter", "\\t"}, {"csv.null-literal", "NULL"}},
    {{"csv.header", "true"}, {"csv.quote-character", "'"}},
    {{"csv.multiline", "true"}, {"csv.field-delimiter", ";"}},
};

struct rows {
    struct weir_batch *batches[BATCHES_MAX];
    int batch_count, row_count, bad_count;
    bool full;
};

static struct weir_batch *room(struct rows *rows, struct weir_schema *schema)
{
    struct weir_batch *last = rows->batch_count ? rows->batches[rows->batch_count - 1] : NULL;
    if (last && last->row_count < last->row_capacity)
        return last;
    rows->full = rows->batch_count == BATCHES_MAX;
    return rows->full ? NULL : (rows->batches[rows->batch_count++] = weir_batch_new(schema, 8));
}

static void rows_fini(struct rows *rows)
{
    for (int i = 0; i < rows->batch_count; i++)
        weir_batch_unref(rows->batches[i]);
}

struct setup {
    const struct weir_format *format;
    struct weir_schema *schema;
    const struct weir_key_value *options;
    int option_count;
};

static struct weir_decoder *new_decoder(const struct setup *setup)
{
    struct weir_decoder *decoder = NULL;
    fuzz_check(!setup->format->decoder_new(setup->schema, setup->options, setup->option_count, &decoder, NULL));
    return decoder;
}

/* `piece`: so much is given at a time; 0: all at once. */
static void by_lines(const struct setup *setup, struct fuzz_input text, size_t piece, struct rows *rows)
{
    struct weir_decoder *decoder = new_decoder(setup);
    struct weir_error error;
    uint8_t *bytes = weir_zalloc(text.left + 64);
    size_t at = 0, given = piece && piece < text.left ? piece : text.left;
    while (at < text.left && rows->bad_count < 100000) {
        struct weir_batch *batch = room(rows, setup->schema);
        if (!batch)
            break;
        memcpy(bytes, text.at + at, given - at);
        memset(bytes + (given - at), 0, 64);
        size_t used = 0, bad_at = 0, bad_size = 0;
        int before = batch->row_count;
        weir_err err = setup->format->decode_lines(decoder, bytes, given - at, given == text.left, batch, &used,
                                                   &bad_at, &bad_size, &error);
        fuzz_check(!err || (err == WEIR_ERR_DATA && bad_at + bad_size <= given - at));
        fuzz_check(used <= given - at && batch->row_count >= before);
        rows->row_count += batch->row_count - before;
        rows->bad_count += err != WEIR_OK;
        fuzz_check(used > 0 || given < text.left);
        at += used;
        if (used == 0 || at == given)
            given = given + piece > text.left || piece == 0 ? text.left : given + piece;
    }
    free(bytes);
    setup->format->decoder_free(decoder);
}

static void compare(const struct rows *a, const struct rows *b)
{
    if (a->full || b->full)
        return;
    fuzz_check(a->row_count == b->row_count && a->bad_count == b->bad_count && a->batch_count == b->batch_count);
    for (int i = 0; i < a->batch_count; i++) {
        fuzz_check(a->batches[i]->row_count == b->batches[i]->row_count);
        for (int row = 0; row < a->batches[i]->row_count; row++)
            fuzz_check(same_row(a->batches[i], row, b->batches[i], row));
    }
}

/* A text with a line end is several records of the raw format; a NULL is an empty value there. */
static bool can_be_written(const struct setup *setup, const struct weir_batch *batch, int row)
{
    if (strcmp(setup->format->name, "raw") != 0)
        return true;
    size_t size;
    const uint8_t *bytes = weir_column_bytes(&batch->columns[0], row, &size);
    return size == 0 || (!memchr(bytes, '\n', size) && bytes[size - 1] != '\r');
}

static void write_and_read(const struct setup *setup, const struct rows *rows)
{
    struct weir_encoder *encoder = NULL;
    struct weir_error error;
    struct weir_buf text;
    if (setup->format->encoder_new(setup->schema, setup->options, setup->option_count, &encoder, &error))
        return; /* CSV with a NULL that would be an empty line */
    weir_buf_init(&text, (size_t)64 << 20);
    for (int i = 0; i < rows->batch_count; i++)
        for (int row = 0; row < rows->batches[i]->row_count; row++) {
            if (!can_be_written(setup, rows->batches[i], row))
                continue;
            weir_buf_clear(&text);
            fuzz_check(!setup->format->encode(encoder, rows->batches[i], row, &text, &error));
            fuzz_check(text.size > 0 && text.data[text.size - 1] == '\n');
            struct weir_decoder *decoder = new_decoder(setup);
            struct weir_batch *again = weir_batch_new(setup->schema, 1);
            fuzz_check(!setup->format->decode(decoder, text.data, text.size - 1, false, again, &error));
            fuzz_check(same_row(rows->batches[i], row, again, 0));
            weir_batch_unref(again);
            setup->format->decoder_free(decoder);
        }
    weir_buf_fini(&text);
    setup->format->encoder_free(encoder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rows whole, pieces;
    struct fuzz_input in = {data, size};
    uint8_t how = (uint8_t)fuzz_number(&in, 1);
    for (int i = 0; !schemas[3] && i < 4; i++)
        fuzz_check(!weir_schema_parse(schema_texts[i], &schemas[i], NULL));
    bool raw = how & 4;
    struct setup setup = {.schema = schemas[raw ? 2 + (how & 1) : how & 3]};
    fuzz_check(!weir_format_find(raw ? "raw" : "csv", &setup.format, NULL));
    if (!raw)
        setup.options = dialects[how >> 3 & 3], setup.option_count = 2;
    memset(&whole, 0, sizeof whole);
    memset(&pieces, 0, sizeof pieces);
    by_lines(&setup, in, 0, &whole);
    by_lines(&setup, in, 1 + (how >> 5) * 7u, &pieces);
    compare(&whole, &pieces);
    write_and_read(&setup, &whole);
    rows_fini(&whole);
    rows_fini(&pieces);
    return 0;
}
