/* The wire of Protobuf: tags, varints, and how to pass over a field. Every read is bounded by `end`; nothing is allocated. */
#ifndef WEIR_FORMAT_PROTOBUF_WIRE_H
#define WEIR_FORMAT_PROTOBUF_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { PB_VARINT = 0, PB_FIXED64 = 1, PB_LEN = 2, PB_GROUP = 3, PB_END_GROUP = 4, PB_FIXED32 = 5 };

#define PB_NUMBER_MAX ((1u << 29) - 1)
/* Groups in groups; as deep as Protobuf's own libraries follow. */
#define PB_GROUP_DEPTH_MAX 100
#define PB_VARINT_SIZE_MAX 10

/* At most ten bytes, of which the last holds one bit; what is longer, or runs over the end, is none. Bits beyond 64 are lost, as in
 * Protobuf's own libraries. */
static inline bool pb_varint(const uint8_t **at, const uint8_t *end, uint64_t *value)
{
    const uint8_t *p = *at;
    if (p < end && *p < 0x80) {
        *value = *p;
        *at = p + 1;
        return true;
    }
    uint64_t bits = 0;
    for (int shift = 0; shift < 70 && p < end; shift += 7) {
        uint8_t byte = *p++;
        bits |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *value = bits;
            *at = p;
            return true;
        }
    }
    return false;
}

/* A field's number and wire type; false: cut off, number 0 or too large. */
static inline bool pb_tag(const uint8_t **at, const uint8_t *end, uint32_t *number, int *wire)
{
    uint64_t tag;
    const uint8_t *p = *at;
    if (!pb_varint(&p, end, &tag) || tag > UINT32_MAX || tag < 8)
        return false;
    *at = p;
    *number = (uint32_t)tag >> 3;
    *wire = (int)(tag & 7);
    return true;
}

static inline bool pb_len(const uint8_t **at, const uint8_t *end, const uint8_t **bytes, size_t *size)
{
    uint64_t length;
    if (!pb_varint(at, end, &length) || length > (uint64_t)(end - *at))
        return false;
    *bytes = *at;
    *size = (size_t)length;
    *at += length;
    return true;
}

static inline uint64_t pb_fixed64(const uint8_t *p)
{
    uint64_t value;
    memcpy(&value, p, 8);
    return value;
}

static inline uint32_t pb_fixed32(const uint8_t *p)
{
    uint32_t value;
    memcpy(&value, p, 4);
    return value;
}

/* Passes over the value of a field of the given number. False: cut off, an end of a group that did not begin, groups too deep, a wire type
 * that does not exist. */
static inline bool pb_skip(const uint8_t **at, const uint8_t *end, uint32_t number, int wire)
{
    uint32_t open[PB_GROUP_DEPTH_MAX];
    int depth = 0;
    for (;;) {
        uint64_t value;
        switch (wire) {
        case PB_VARINT:
            if (!pb_varint(at, end, &value))
                return false;
            break;
        case PB_FIXED64:
        case PB_FIXED32:
            if (end - *at < (wire == PB_FIXED64 ? 8 : 4))
                return false;
            *at += wire == PB_FIXED64 ? 8 : 4;
            break;
        case PB_LEN:
            if (!pb_varint(at, end, &value) || value > (uint64_t)(end - *at))
                return false;
            *at += value;
            break;
        case PB_GROUP:
            if (depth == PB_GROUP_DEPTH_MAX)
                return false;
            open[depth++] = number;
            break;
        case PB_END_GROUP:
            if (depth == 0 || open[--depth] != number)
                return false;
            break;
        default:
            return false;
        }
        if (depth == 0)
            return true;
        if (!pb_tag(at, end, &number, &wire))
            return false;
    }
}

static inline int64_t pb_zigzag(uint64_t value)
{
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

static inline uint8_t *pb_put_varint(uint8_t *p, uint64_t value)
{
    while (value >= 0x80) {
        *p++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *p++ = (uint8_t)value;
    return p;
}

#endif
