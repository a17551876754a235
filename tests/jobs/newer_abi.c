/* As if it were built against a later weir. Its function would say so if it ran; it must not. */
#include <stdio.h>
#include <weir/weir.h>

#undef WEIR_ABI_MINOR
#define WEIR_ABI_MINOR 99

WEIR_JOB(newer_abi)
{
    fprintf(stderr, "code of the newer job ran\n");
    weir_sink(weir_columns(weir_source(job, "datagen", "rows", "10", NULL), "id BIGINT NOT NULL"), "blackhole", NULL);
}
