/* As small as a job gets: rows to standard output. */
#include <weir/weir.h>

WEIR_JOB(first_output)
{
    struct weir_stream *rows =
        weir_source(job, "datagen", "rows", weir_arg(job, "rows", "1"), "fields.id.kind", "sequence", NULL);
    weir_sink(weir_columns(rows, "id BIGINT NOT NULL"), "print", NULL);
}
