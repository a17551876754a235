/* What weir takes from C++: simdjson's stage 1 (SIMD indexing of JSON text, with its UTF-8 check, chosen for the CPU at
 * run time) and the standard library's exact number conversions. Error codes, never exceptions.
 *
 * Nothing blocks. An index object belongs to one thread at a time.
 */
#ifndef WEIR_FORMAT_SIMDJSON_SHIM_H
#define WEIR_FORMAT_SIMDJSON_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum weir_json_index_result {
    WEIR_JSON_INDEX_OK = 0,
    WEIR_JSON_INDEX_EMPTY,   /* nothing but white space */
    WEIR_JSON_INDEX_UTF8,    /* not valid UTF-8 */
    WEIR_JSON_INDEX_STRING,  /* a string is not closed */
    WEIR_JSON_INDEX_CONTROL, /* a control character in a string */
    WEIR_JSON_INDEX_FAILED
};

struct weir_json_index;
struct weir_json_index *weir_json_index_new(void);
void weir_json_index_free(struct weir_json_index *index); /* NULL is allowed */
/* Positions of every structural character ({}[]:,), of every opening quote and of the first character of every other
 * scalar, in order, none inside a string. `size` is under 1 GiB. *positions is valid until the next call; behind the
 * last there are sentinels. Grammar is not checked here, but: strings are closed and free of control characters, and the
 * bytes are valid UTF-8. `bytes` needs no padding. */
enum weir_json_index_result weir_json_index_run(struct weir_json_index *index, const uint8_t *bytes, size_t size,
                                                const uint32_t **positions, size_t *count);

bool weir_utf8_valid(const uint8_t *bytes, size_t size);

/* Correctly rounded, for all of text[0..size), which is already known to be a JSON number. False: beyond the type's
 * range (too small a number is 0). */
bool weir_double_parse(const char *text, size_t size, double *value);
bool weir_float_parse(const char *text, size_t size, float *value);
/* Shortest text that reads back as the same value: "72.0", "0.1", "1.0E300" as 1e+300. A finite value; at most 32 bytes, not
 * terminated; returns the size. */
size_t weir_double_print(double value, char out[32]);
size_t weir_float_print(float value, char out[32]);

#ifdef __cplusplus
}
#endif

#endif
