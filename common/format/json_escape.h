/* Private to json_decode.c: escapes of JSON strings. */
#ifndef WEIR_FORMAT_JSON_ESCAPE_H
#define WEIR_FORMAT_JSON_ESCAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline int hex_4(const uint8_t *p)
{
    int value = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t c = p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

static inline uint8_t *put_utf8(uint8_t *to, uint32_t code)
{
    if (code < 0x80) {
        *to++ = (uint8_t)code;
    } else if (code < 0x800) {
        *to++ = (uint8_t)(0xc0 | code >> 6);
        *to++ = (uint8_t)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *to++ = (uint8_t)(0xe0 | code >> 12);
        *to++ = (uint8_t)(0x80 | (code >> 6 & 0x3f));
        *to++ = (uint8_t)(0x80 | (code & 0x3f));
    } else {
        *to++ = (uint8_t)(0xf0 | code >> 18);
        *to++ = (uint8_t)(0x80 | (code >> 12 & 0x3f));
        *to++ = (uint8_t)(0x80 | (code >> 6 & 0x3f));
        *to++ = (uint8_t)(0x80 | (code & 0x3f));
    }
    return to;
}

/* The escape behind the backslash at *from; moves both. False: no such escape, or a lone surrogate while `strict`. */
static inline bool take_escape(const uint8_t **from, const uint8_t *end, uint8_t **to, bool strict)
{
    static const uint8_t plain[256] = {
        ['"'] = '"', ['\\'] = '\\', ['/'] = '/', ['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t'};
    const uint8_t *p = *from + 1;
    if (p == end)
        return false;
    if (*p != 'u') {
        if (plain[*p] == 0)
            return false;
        *(*to)++ = plain[*p];
        *from = p + 1;
        return true;
    }
    if (end - p < 5)
        return false;
    int code = hex_4(p + 1);
    if (code < 0)
        return false;
    p += 5;
    uint32_t point = (uint32_t)code;
    if (code >= 0xd800 && code < 0xdc00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u') {
        int low = hex_4(p + 2);
        if (low >= 0xdc00 && low < 0xe000) {
            point = 0x10000 + (((uint32_t)code - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
            p += 6;
        }
    }
    if (point >= 0xd800 && point < 0xe000) {
        if (strict)
            return false;
        point = 0xfffd;
    }
    *to = put_utf8(*to, point);
    *from = p;
    return true;
}

/* Unescapes; `to` has room for `size` (an escape is never shorter than what it stands for). False: a bad escape. */
static inline bool unescape(const uint8_t *from, size_t size, uint8_t *to, size_t *to_size, bool strict)
{
    const uint8_t *end = from + size;
    uint8_t *start = to;
    while (from < end) {
        if (*from != '\\')
            *to++ = *from++;
        else if (!take_escape(&from, end, &to, strict))
            return false;
    }
    *to_size = (size_t)(to - start);
    return true;
}

#endif
