/* blackhole: counts rows and drops them. */
#include <stdatomic.h>
#include <stdlib.h>

#include "connectors/connectors_int.h"

struct weir_writer {
    uint64_t rows;
};

static _Atomic uint64_t rows_total;

uint64_t weir_blackhole_rows(void)
{
    return atomic_load_explicit(&rows_total, memory_order_relaxed);
}

static weir_err writer_open(struct weir_connector_ctx *ctx, const struct weir_key_value *options, int option_count,
                            struct weir_writer **writer, struct weir_error *error)
{
    (void)ctx, (void)options, (void)option_count, (void)error;
    *writer = weir_zalloc(sizeof **writer);
    return 0;
}

static weir_err write_batch(struct weir_writer *writer, const struct weir_batch *batch, struct weir_error *error)
{
    (void)error;
    writer->rows += (uint64_t)batch->row_count;
    atomic_fetch_add_explicit(&rows_total, (uint64_t)batch->row_count, memory_order_relaxed);
    return 0;
}

static void writer_close(struct weir_writer *writer)
{
    free(writer);
}

static const struct weir_option sink_options[] = {{0}};

static const struct weir_connector_rows rows_interface = {.write_batch = write_batch};

const struct weir_connector weir_connector_blackhole = {
    .size = sizeof(struct weir_connector),
    .name = "blackhole",
    .help = "Counts rows and drops them",
    .sink_options = sink_options,
    .writer_open = writer_open,
    .writer_close = writer_close,
    .rows = &rows_interface,
};
