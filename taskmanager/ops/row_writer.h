/* Row structs that functions emit -> batches, in order, strings copied at once. What does not fit into the output yet waits in a bounded
 * queue: one call of a function may emit more than an output takes. */
#ifndef WEIR_OPS_ROW_WRITER_H
#define WEIR_OPS_ROW_WRITER_H

#include "ops/row_convert.h"

struct weir_row_writer_queued;
struct weir_row_writer {
    struct weir_row_converter converter;
    struct weir_schema *schema; /* of the output; borrowed */
    struct weir_out *out;
    struct weir_batch *result; /* being built; its row_count lags by pending_count */
    uint8_t *pending;          /* structs whose fixed fields are not in `result` yet */
    int pending_count, pending_max;
    size_t result_bytes; /* of strings */
    int64_t origin_ns;   /* for batches that begin now */
    struct weir_row_writer_queued *queue, **queue_end;
    int queue_count;
};

weir_err weir_row_writer_init(struct weir_row_writer *writer, const struct weir_row_type *type,
                              struct weir_schema *schema, struct weir_out *out, struct weir_error *error);
void weir_row_writer_fini(struct weir_row_writer *writer); /* after a failed init, too */
/* USER_CODE: NULL where it may not be, a string that cannot be, too many rows at once. */
weir_err weir_row_writer_put(struct weir_row_writer *writer, const void *row, struct weir_error *error);
/* The batch that is being built, if it has rows, is whole. */
weir_err weir_row_writer_finish(struct weir_row_writer *writer, struct weir_error *error);
/* Hands whole batches on; true: none is left. */
bool weir_row_writer_drain(struct weir_row_writer *writer);

#endif
