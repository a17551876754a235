/* weir.h: the SDK. A job is one C file that builds a graph of streams.
 *
 *     #include <weir/weir.h>
 *     WEIR_JOB(hello)
 *     {
 *         struct weir_stream *numbers = weir_source(job, "datagen", "rows", weir_arg(job, "rows", "10"), NULL);
 *         weir_sink(weir_filter(numbers, "id > 3"), "print", NULL);
 *     }
 *
 *     cc -shared -fPIC hello.c -o hello.so $(pkg-config --cflags --libs weir) && weir run --local hello.so
 *
 * Building never needs error checks: every call returns a stream, the first error sticks to the job with the operator's name
 * and the source line, and the build reports all of them at the end. Streams belong to the job; there is nothing to free.
 * Text arguments are copied. Expressions, option names, types and functions are the same text as in SQL.
 *
 * Functions (map, flat_map) are called on one worker thread per task; what they get is valid for the call, what they
 * emit is copied. They may not block. One that crashes ends its executor process; the job restarts by its strategy.
 *
 * ABI: a job built against an older minor version runs; a newer one is refused with a sentence.
 */
#ifndef WEIR_WEIR_H
#define WEIR_WEIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WEIR_ABI_MAJOR 1
#define WEIR_ABI_MINOR 0

/* --- Values in row structs */

struct weir_str { /* STRING, BYTES: pointer and size; not 0-terminated */
    const char *data;
    size_t size;
};
typedef int64_t weir_ts; /* TIMESTAMP(3): ms since 1970-01-01 */

static inline struct weir_str weir_str(const char *s)
{
    struct weir_str str = {s, strlen(s)};
    return str;
}

/* --- Row structs bound to a schema
 *
 * A row struct with nullable fields begins with `uint64_t weir_nulls[1]` (WEIR_NULLS), bit i for field i of the list below.
 * Up to 64 fields.
 */
#define WEIR_NULLS uint64_t weir_nulls[1]

enum weir_c_kind { WEIR_C_BOOL = 1, WEIR_C_INT, WEIR_C_FLOAT, WEIR_C_STR, WEIR_C_NULLS };

struct weir_row_field {
    const char *name;
    const char *type; /* SQL, "DOUBLE NOT NULL" */
    uint32_t offset;
    uint16_t size;
    uint16_t c_kind; /* enum weir_c_kind */
};
struct weir_row_type {
    const char *name;
    uint32_t size; /* of the struct */
    uint32_t field_count;
    const struct weir_row_field *fields;
    int32_t nulls_offset; /* -1: the struct has no weir_nulls; then every field must be NOT NULL */
};

#define WEIR_C_KIND(field)                                                                     \
    _Generic((field), bool: WEIR_C_BOOL, int8_t: WEIR_C_INT, int16_t: WEIR_C_INT, int32_t: WEIR_C_INT, \
             int64_t: WEIR_C_INT, long long: WEIR_C_INT, float: WEIR_C_FLOAT, double: WEIR_C_FLOAT,   \
             struct weir_str: WEIR_C_STR)

#ifdef __cplusplus
}
#endif
#endif
