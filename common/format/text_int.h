/* Values as text, shared by the formats of this folder: base64, and a timestamp reader that remembers the last hour. */
#ifndef WEIR_FORMAT_TEXT_INT_H
#define WEIR_FORMAT_TEXT_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Standard alphabet with padding (RFC 4648). The size of the encoded text is (size + 2) / 3 * 4. */
size_t weir_base64_encode(const uint8_t *bytes, size_t size, char *out);
/* `out` has room for size / 4 * 3 bytes. False: not base64. */
bool weir_base64_decode(const uint8_t *text, size_t size, uint8_t *out, size_t *out_size);

/* Readings come in order of time: most share date and hour with the one before. Zero-initialised. */
struct weir_timestamp_cache {
    char prefix[16]; /* "2013-01-01T06:" */
    int64_t base_ms; /* of that hour */
    bool set;
};
/* As weir_timestamp_parse(). */
bool weir_timestamp_parse_cached(struct weir_timestamp_cache *cache, const char *text, size_t size, int64_t *ms);

/* Cuts to `precision` (0 to 3) digits of a second, downwards. */
static inline int64_t weir_ms_cut(int64_t ms, int precision)
{
    static const int64_t units[4] = {1000, 100, 10, 1};
    int64_t unit = units[precision & 3], rest = ms % unit;
    return ms - (rest < 0 ? rest + unit : rest);
}

/* 0001-01-01T00:00:00.000 and 9999-12-31T23:59:59.999 */
#define WEIR_TIMESTAMP_MIN_MS (-(int64_t)62135596800000)
#define WEIR_TIMESTAMP_MAX_MS ((int64_t)253402300799999)

#endif
