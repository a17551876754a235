#include "ops/row_writer.h"

#include <stdlib.h>

#include "base/mem.h"

#define PENDING_MAX 512
#define PENDING_BYTES ((size_t)16 << 10) /* hot in the first cache */
#define QUEUE_MAX 4096                   /* whole batches that calls may leave behind */

struct weir_row_writer_queued {
    struct weir_batch *batch;
    struct weir_row_writer_queued *next;
};

weir_err weir_row_writer_init(struct weir_row_writer *writer, const struct weir_row_type *type,
                              struct weir_schema *schema, struct weir_out *out, struct weir_error *error)
{
    writer->schema = schema;
    writer->out = out;
    writer->queue_end = &writer->queue;
    weir_err err = weir_row_converter_init(&writer->converter, type, schema, error);
    if (err)
        return err;
    size_t rows = PENDING_BYTES / type->size;
    writer->pending_max = rows > PENDING_MAX ? PENDING_MAX : rows < 1 ? 1 : (int)rows;
    writer->pending = weir_zalloc((size_t)writer->pending_max * type->size);
    return WEIR_OK;
}

void weir_row_writer_fini(struct weir_row_writer *writer)
{
    while (writer->queue) {
        struct weir_row_writer_queued *first = writer->queue;
        writer->queue = first->next;
        weir_batch_unref(first->batch);
        free(first);
    }
    weir_batch_unref(writer->result);
    free(writer->converter.fields);
    free(writer->pending);
    *writer = (struct weir_row_writer){.result = NULL};
}

static void flush_pending(struct weir_row_writer *writer)
{
    if (writer->pending_count == 0)
        return;
    weir_row_store_fixed(&writer->converter, writer->pending, writer->pending_count, writer->result,
                         writer->result->row_count);
    writer->result->row_count += writer->pending_count;
    writer->pending_count = 0;
}

weir_err weir_row_writer_finish(struct weir_row_writer *writer, struct weir_error *error)
{
    flush_pending(writer);
    struct weir_batch *batch = writer->result;
    writer->result = NULL;
    writer->result_bytes = 0;
    if (!batch || batch->row_count == 0 || writer->queue_count == QUEUE_MAX) {
        bool full = batch && batch->row_count > 0;
        weir_batch_unref(batch);
        return full ? weir_fail(error, WEIR_ERR_USER_CODE, "one call emitted more than %d batches of rows", QUEUE_MAX)
                    : WEIR_OK;
    }
    struct weir_row_writer_queued *queued = weir_alloc(sizeof *queued);
    *queued = (struct weir_row_writer_queued){batch, NULL};
    *writer->queue_end = queued;
    writer->queue_end = &queued->next;
    writer->queue_count++;
    return WEIR_OK;
}

bool weir_row_writer_drain(struct weir_row_writer *writer)
{
    while (writer->queue && !weir_out_full(writer->out)) {
        struct weir_row_writer_queued *first = writer->queue;
        writer->queue = first->next;
        if (!writer->queue)
            writer->queue_end = &writer->queue;
        writer->queue_count--;
        weir_out_push(writer->out, first->batch);
        free(first);
    }
    return writer->queue == NULL;
}

static bool is_full(const struct weir_row_writer *writer)
{
    return writer->result && (writer->result->row_count + writer->pending_count == writer->result->row_capacity ||
                              writer->result_bytes > WEIR_BATCH_BYTES_SOFT_MAX);
}

weir_err weir_row_writer_put(struct weir_row_writer *writer, const void *row, struct weir_error *error)
{
    const struct weir_row_converter *converter = &writer->converter;
    weir_err err = weir_row_check_nulls(converter, row, error);
    if (!err && is_full(writer))
        err = weir_row_writer_finish(writer, error);
    if (err)
        return err;
    if (writer->pending_count == writer->pending_max)
        flush_pending(writer);
    if (!writer->result) {
        writer->result = weir_batch_new(writer->schema, WEIR_BATCH_ROWS_DEFAULT);
        writer->result->origin_ns = writer->origin_ns;
    }
    int at = writer->result->row_count + writer->pending_count;
    if (converter->has_strings &&
        (err = weir_row_store_strings(converter, row, writer->result, at, &writer->result_bytes, error)))
        return err;
    memcpy(writer->pending + (size_t)writer->pending_count * converter->row_size, row, converter->row_size);
    writer->pending_count++;
    return WEIR_OK;
}
