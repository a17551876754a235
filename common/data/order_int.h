/* Private to common/data: a value as bits that sort as the value does. The order_* functions give the number whose big-endian
 * bytes are the canonical encoding (row_key.h). */
#ifndef WEIR_DATA_ORDER_INT_H
#define WEIR_DATA_ORDER_INT_H

#include <stdint.h>
#include <string.h>

#include "weir/decimal.h"

static inline uint64_t order_f64(double value)
{
    uint64_t bits;
    if (value != value)
        bits = 0x7ff8000000000000u;
    else if (value == 0)
        bits = 0;
    else
        memcpy(&bits, &value, sizeof bits);
    return bits >> 63 ? ~bits : bits | (uint64_t)1 << 63;
}

static inline uint32_t order_f32(float value)
{
    uint32_t bits;
    if (value != value)
        bits = 0x7fc00000u;
    else if (value == 0)
        bits = 0;
    else
        memcpy(&bits, &value, sizeof bits);
    return bits >> 31 ? ~bits : bits | (uint32_t)1 << 31;
}

/* The bits as they are, ordered. */
static inline uint64_t order_f64_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits >> 63 ? ~bits : bits | (uint64_t)1 << 63;
}
static inline uint32_t order_f32_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits >> 31 ? ~bits : bits | (uint32_t)1 << 31;
}

static inline uint64_t order_i64(int64_t value)
{
    return (uint64_t)value ^ (uint64_t)1 << 63;
}
static inline uint32_t order_i32(int32_t value)
{
    return (uint32_t)value ^ (uint32_t)1 << 31;
}
static inline uint16_t order_i16(int16_t value)
{
    return (uint16_t)((uint16_t)value ^ 0x8000u);
}
static inline uint8_t order_i8(int8_t value)
{
    return (uint8_t)((uint8_t)value ^ 0x80u);
}

static inline void put_be64(uint8_t *to, uint64_t value)
{
    value = __builtin_bswap64(value);
    memcpy(to, &value, sizeof value);
}
static inline void put_be32(uint8_t *to, uint32_t value)
{
    value = __builtin_bswap32(value);
    memcpy(to, &value, sizeof value);
}
static inline void put_be16(uint8_t *to, uint16_t value)
{
    value = __builtin_bswap16(value);
    memcpy(to, &value, sizeof value);
}

static inline uint64_t get_be(const uint8_t *bytes, int size)
{
    uint64_t value = 0;
    for (int i = 0; i < size; i++)
        value = value << 8 | bytes[i];
    return value;
}

static inline void put_be_decimal(uint8_t *to, struct weir_decimal value)
{
    put_be64(to, order_i64(value.high));
    put_be64(to + 8, value.low);
}
static inline struct weir_decimal get_be_decimal(const uint8_t *bytes)
{
    struct weir_decimal value = {get_be(bytes + 8, 8), (int64_t)(get_be(bytes, 8) ^ (uint64_t)1 << 63)};
    return value;
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the byte swaps above are for little-endian machines");

#endif
