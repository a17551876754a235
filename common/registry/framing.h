/* Confluent's framing of a record: a zero byte, the schema's id (4 bytes, big-endian), the record. */
#ifndef WEIR_REGISTRY_FRAMING_H
#define WEIR_REGISTRY_FRAMING_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/mem.h"

#define WEIR_FRAMING_SIZE 5

/* Moves *bytes and *size behind the framing. DATA: there is none; `format` opens the message. */
static inline weir_err weir_framing_take(const char *format, const uint8_t **bytes, size_t *size, int32_t *id,
                                         struct weir_error *error)
{
    const uint8_t *p = *bytes;
    if (*size < WEIR_FRAMING_SIZE)
        return weir_fail_record(
            error, WEIR_BAD_MALFORMED,
            "%s: the record has %zu bytes, and a zero byte and a schema's id alone are %d: it is not in "
            "Confluent's framing",
            format, *size, WEIR_FRAMING_SIZE);
    if (p[0] != 0)
        return weir_fail_record(
            error, WEIR_BAD_MALFORMED,
            "%s: the record begins with byte 0x%02x instead of zero: it is not in Confluent's framing", format, p[0]);
    *id = (int32_t)((uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4]);
    *bytes += WEIR_FRAMING_SIZE;
    *size -= WEIR_FRAMING_SIZE;
    return WEIR_OK;
}

/* False: `out` is full. */
static inline bool __attribute__((warn_unused_result)) weir_framing_put(struct weir_buf *out, int32_t id)
{
    uint32_t number = (uint32_t)id;
    uint8_t bytes[WEIR_FRAMING_SIZE] = {0, (uint8_t)(number >> 24), (uint8_t)(number >> 16), (uint8_t)(number >> 8),
                                        (uint8_t)number};
    return weir_buf_append(out, bytes, sizeof bytes);
}

#endif
