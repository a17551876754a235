/* Frames of the data plane: what travels between two executors. A ZeroMQ message holds one or more frames, back to back.
 *
 * Header, 48 bytes, little-endian:
 *      0 u32 magic "WFRM"      4 u16 version 1      6 u16 type
 *      8 u64 job (a tag of job id and incarnation, weir_frame_job_tag())
 *     16 u64 channel (edge, subtasks; 0 for HELLO)
 *     24 u64 seq (from 1 per channel and direction of data; 0 where the type has none)
 *     32 u32 attempt (of the sending task)
 *     36 u32 length of the payload, without padding
 *     40 u32 crc32c over bytes 0..39 and the payload
 *     44 u32 0
 * The payload follows and is padded with zeros to 8 bytes, so that every frame of a message begins 8-byte aligned.
 *
 * Pure: no sockets. Decoding takes bytes from anywhere.
 */
#ifndef WEIR_NET_FRAME_H
#define WEIR_NET_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define WEIR_FRAME_HEADER_SIZE 48
#define WEIR_FRAME_PAYLOAD_MAX ((size_t)1 << 30)
#define WEIR_FRAME_VERSION 1

enum weir_frame_type {                           /* never renumber */
                       WEIR_FRAME_BATCH = 1,     /* payload: data/batch_wire.h */
                       WEIR_FRAME_WATERMARK = 2, /* payload: i64 */
                       WEIR_FRAME_BARRIER =
                           3, /* payload: u64 checkpoint, u64 batches sent on the channel so far, u64 newest complete checkpoint, u32 flags, u32 ms that are left until it may overtake */
                       WEIR_FRAME_IDLE = 4,
                       WEIR_FRAME_ACTIVE = 5,
                       WEIR_FRAME_END = 6,
                       WEIR_FRAME_HELLO =
                           16, /* payload: executor id of the sender, executor id of the receiver, 32 bytes each */
                       WEIR_FRAME_HELLO_ACK = 17,
                       WEIR_FRAME_OPEN = 18, /* producer to consumer: payload u32 attempt of the consumer */
                       WEIR_FRAME_CREDIT =
                           19 /* consumer to producer: payload u64 item limit, u64 batch limit; attempt: the consumer's */
};

struct weir_frame {
    enum weir_frame_type type;
    uint64_t job;
    uint64_t channel;
    uint64_t seq;
    uint32_t attempt;
    uint32_t length;
    const uint8_t *payload;
};

static inline size_t weir_frame_size(size_t payload_size)
{
    return WEIR_FRAME_HEADER_SIZE + ((payload_size + 7) & ~(size_t)7);
}
/* `out` has weir_frame_size(frame->length) bytes, of which the payload's are already written at WEIR_FRAME_HEADER_SIZE (and
 * frame->payload is not looked at). Adds padding, header and checksum. Returns the size. */
size_t weir_frame_seal(const struct weir_frame *frame, uint8_t *out);
/* The first frame of `bytes`; *used is its whole size. PROTOCOL: wrong magic, version, type, size or checksum; then nothing of the
 * message can be believed. frame->payload points into `bytes`. */
weir_err weir_frame_decode(const uint8_t *bytes, size_t size, struct weir_frame *frame, size_t *used,
                           struct weir_error *error);
uint64_t weir_frame_job_tag(const char *job_id, uint64_t incarnation);

/* Little-endian fields of payloads. */
static inline void weir_put_u32(uint8_t *out, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(value >> 8 * i);
}
static inline void weir_put_u64(uint8_t *out, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)(value >> 8 * i);
}
static inline uint32_t weir_get_u32(const uint8_t *in)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++)
        value |= (uint32_t)in[i] << 8 * i;
    return value;
}
static inline uint64_t weir_get_u64(const uint8_t *in)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value |= (uint64_t)in[i] << 8 * i;
    return value;
}

#endif
