/* A DECIMAL(p, s) in C: the number times 10^s, as 128 bits in two's complement. 12.34 as DECIMAL(10, 2) is 1234. */
#ifndef WEIR_DECIMAL_H
#define WEIR_DECIMAL_H

#include <stdint.h>

struct weir_decimal {
    uint64_t low;
    int64_t high; /* with the sign */
};

/* 1234 -> 12.34 where the scale is 2. */
static inline struct weir_decimal weir_decimal_of(int64_t unscaled)
{
    struct weir_decimal decimal = {(uint64_t)unscaled, unscaled < 0 ? -1 : 0};
    return decimal;
}

#ifdef __SIZEOF_INT128__
__extension__ typedef __int128 weir_int128;
__extension__ typedef unsigned __int128 weir_uint128;
static inline weir_int128 weir_decimal_get(struct weir_decimal decimal)
{
    return (weir_int128)((weir_uint128)(uint64_t)decimal.high << 64 | decimal.low);
}
static inline struct weir_decimal weir_decimal_make(weir_int128 unscaled)
{
    struct weir_decimal decimal = {(uint64_t)unscaled, (int64_t)(unscaled >> 64)};
    return decimal;
}
#endif

#endif
