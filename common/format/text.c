/* Values as text for the formats (text_int.h). Pure. */
#include "format/text_int.h"

#include <string.h>

#include "data/time_text.h"

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t weir_base64_encode(const uint8_t *bytes, size_t size, char *out)
{
    char *p = out;
    size_t i = 0;
    for (; i + 3 <= size; i += 3) {
        uint32_t word = (uint32_t)bytes[i] << 16 | (uint32_t)bytes[i + 1] << 8 | bytes[i + 2];
        *p++ = base64_digits[word >> 18];
        *p++ = base64_digits[word >> 12 & 63];
        *p++ = base64_digits[word >> 6 & 63];
        *p++ = base64_digits[word & 63];
    }
    if (i < size) {
        bool two = i + 1 < size;
        uint32_t word = (uint32_t)bytes[i] << 16 | (two ? (uint32_t)bytes[i + 1] << 8 : 0);
        *p++ = base64_digits[word >> 18];
        *p++ = base64_digits[word >> 12 & 63];
        *p++ = two ? base64_digits[word >> 6 & 63] : '=';
        *p++ = '=';
    }
    return (size_t)(p - out);
}

static int base64_value(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool weir_base64_decode(const uint8_t *text, size_t size, uint8_t *out, size_t *out_size)
{
    if (size % 4 != 0)
        return false;
    uint8_t *p = out;
    for (size_t i = 0; i < size; i += 4) {
        int padding = 0;
        if (i + 4 == size && text[i + 3] == '=')
            padding = text[i + 2] == '=' ? 2 : 1;
        uint32_t word = 0;
        for (int j = 0; j < 4 - padding; j++) {
            int value = base64_value(text[i + (size_t)j]);
            if (value < 0)
                return false;
            word |= (uint32_t)value << (18 - 6 * j);
        }
        if (padding > 0 && (word & (padding == 2 ? 0xffffu : 0xffu)) != 0)
            return false; /* bits that would be lost */
        *p++ = (uint8_t)(word >> 16);
        if (padding < 2)
            *p++ = (uint8_t)(word >> 8);
        if (padding < 1)
            *p++ = (uint8_t)word;
    }
    *out_size = (size_t)(p - out);
    return true;
}

/* --- Timestamps */

#define PREFIX_SIZE 14 /* "2013-01-01T06:" */

/* Two digits at p as a number; more than 99 when they are none. */
static inline unsigned two_digits(const char *p)
{
    unsigned high = (unsigned)(unsigned char)p[0] - '0', low = (unsigned)(unsigned char)p[1] - '0';
    return high > 9 || low > 9 ? 1000 : high * 10 + low;
}

/* "MM:SS", "MM:SSZ", "MM:SS.mmm", "MM:SS.mmmZ" -> ms of the hour; -1: another form. */
static inline int64_t minute_second(const char *p, size_t size)
{
    if (size > 5 && p[size - 1] == 'Z')
        size--;
    if ((size != 5 && size != 9) || p[2] != ':')
        return -1;
    unsigned minute = two_digits(p), second = two_digits(p + 3), fraction = 0;
    if (size == 9) {
        unsigned last = (unsigned)(unsigned char)p[8] - '0';
        if (p[5] != '.' || last > 9)
            return -1;
        fraction = two_digits(p + 6) * 10 + last;
    }
    if (minute > 59 || second > 59 || fraction > 999)
        return -1;
    return (int64_t)minute * 60000 + (int64_t)second * 1000 + fraction;
}

bool weir_timestamp_parse_cached(struct weir_timestamp_cache *cache, const char *text, size_t size, int64_t *ms)
{
    if (size <= PREFIX_SIZE)
        return weir_timestamp_parse(text, size, ms);
    int64_t in_hour = minute_second(text + PREFIX_SIZE, size - PREFIX_SIZE);
    if (in_hour >= 0 && cache->set && memcmp(text, cache->prefix, PREFIX_SIZE) == 0) {
        *ms = cache->base_ms + in_hour;
        return true;
    }
    if (!weir_timestamp_parse(text, size, ms))
        return false;
    if (in_hour >= 0) {
        memcpy(cache->prefix, text, PREFIX_SIZE);
        cache->base_ms = *ms - in_hour;
        cache->set = true;
    }
    return true;
}
