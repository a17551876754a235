/* Checksums of a run that was mutated are made to fit, as far as index and blocks are where the trailer says: so that mutations come behind them. */
#ifndef WEIR_TESTS_FUZZ_RUN_FIT_H
#define WEIR_TESTS_FUZZ_RUN_FIT_H

#include "base/hash.h"
#include "fuzz/fuzz.h"
#include "statefile/run.h"

static inline void fuzz_put_number(uint8_t *out, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        out[i] = (uint8_t)(value >> 8 * i);
}

static inline uint64_t fuzz_get_number(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)bytes[i] << 8 * i;
    return value;
}

static inline void fuzz_fit_run(uint8_t *bytes, size_t size)
{
    if (size < WEIR_RUN_TRAILER_SIZE)
        return;
    uint8_t *trailer = bytes + size - WEIR_RUN_TRAILER_SIZE;
    memcpy(trailer + 24, "weir-run", 8);
    uint64_t end = size - WEIR_RUN_TRAILER_SIZE, index = fuzz_get_number(trailer, 8);
    if (index > end)
        index = end;
    fuzz_put_number(trailer, index, 8);
    fuzz_put_number(trailer + 8, end - index, 8);
    fuzz_put_number(trailer + 16, weir_crc32c(0, bytes + index, end - index), 4);
    for (uint64_t at = 0; at + 8 <= index;) {
        uint64_t block = fuzz_get_number(bytes + at, 4);
        if (block > index - at - 8)
            break;
        fuzz_put_number(bytes + at + 4, weir_crc32c(0, bytes + at + 8, block), 4);
        at += 8 + block;
    }
}

#endif
