#include "net/frame.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"

#define MAGIC 0x4d524657u /* "WFRM" */
#define CRC_AT 40

static uint32_t checksum(const uint8_t *header, const uint8_t *payload, size_t size)
{
    return weir_crc32c(weir_crc32c(0, header, CRC_AT), payload, size);
}

size_t weir_frame_seal(const struct weir_frame *frame, uint8_t *out)
{
    weir_assert(frame->length <= WEIR_FRAME_PAYLOAD_MAX);
    size_t size = weir_frame_size(frame->length);
    uint8_t *payload = out + WEIR_FRAME_HEADER_SIZE;
    memset(payload + frame->length, 0, size - WEIR_FRAME_HEADER_SIZE - frame->length);
    weir_put_u32(out, MAGIC);
    weir_put_u32(out + 4, WEIR_FRAME_VERSION | (uint32_t)frame->type << 16);
    weir_put_u64(out + 8, frame->job);
    weir_put_u64(out + 16, frame->channel);
    weir_put_u64(out + 24, frame->seq);
    weir_put_u32(out + 32, frame->attempt);
    weir_put_u32(out + 36, frame->length);
    weir_put_u32(out + CRC_AT, checksum(out, payload, frame->length));
    weir_put_u32(out + 44, 0);
    return size;
}

/* The sizes that a type's payload may have. */
static bool length_fits(unsigned type, size_t length)
{
    switch (type) {
    case WEIR_FRAME_BATCH:
        return length > 0;
    case WEIR_FRAME_WATERMARK:
        return length == 8;
    case WEIR_FRAME_BARRIER:
        return length == 32;
    case WEIR_FRAME_IDLE:
    case WEIR_FRAME_ACTIVE:
    case WEIR_FRAME_END:
        return length == 0;
    case WEIR_FRAME_HELLO:
    case WEIR_FRAME_HELLO_ACK:
        return length == 64;
    case WEIR_FRAME_OPEN:
        return length == 4;
    case WEIR_FRAME_CREDIT:
        return length == 16;
    default:
        return false;
    }
}

weir_err weir_frame_decode(const uint8_t *bytes, size_t size, struct weir_frame *frame, size_t *used,
                           struct weir_error *error)
{
    if (size < WEIR_FRAME_HEADER_SIZE)
        return weir_fail(error, WEIR_ERR_PROTOCOL, "a frame of %zu bytes is shorter than its header", size);
    if (weir_get_u32(bytes) != MAGIC)
        return weir_fail(error, WEIR_ERR_PROTOCOL, "a frame does not begin with the magic number");
    unsigned version = weir_get_u32(bytes + 4) & 0xffff, type = weir_get_u32(bytes + 4) >> 16;
    if (version != WEIR_FRAME_VERSION)
        return weir_fail(error, WEIR_ERR_PROTOCOL, "a frame has version %u; this weir speaks %d", version,
                         WEIR_FRAME_VERSION);
    size_t length = weir_get_u32(bytes + 36);
    if (length > WEIR_FRAME_PAYLOAD_MAX || weir_frame_size(length) > size)
        return weir_fail(error, WEIR_ERR_PROTOCOL,
                         "a frame says it has %zu bytes of payload, the message has room for %zu", length,
                         size - WEIR_FRAME_HEADER_SIZE);
    if (!length_fits(type, length))
        return weir_fail(error, WEIR_ERR_PROTOCOL, "a frame of type %u cannot have %zu bytes of payload", type, length);
    const uint8_t *payload = bytes + WEIR_FRAME_HEADER_SIZE;
    if (weir_get_u32(bytes + CRC_AT) != checksum(bytes, payload, length))
        return weir_fail(error, WEIR_ERR_PROTOCOL, "a frame's checksum is wrong");
    *frame = (struct weir_frame){
        .type = (enum weir_frame_type)type,
        .job = weir_get_u64(bytes + 8),
        .channel = weir_get_u64(bytes + 16),
        .seq = weir_get_u64(bytes + 24),
        .attempt = weir_get_u32(bytes + 32),
        .length = (uint32_t)length,
        .payload = payload,
    };
    *used = weir_frame_size(length);
    return WEIR_OK;
}

uint64_t weir_frame_job_tag(const char *job_id, uint64_t incarnation)
{
    char text[128];
    int size = snprintf(text, sizeof text, "%.64s:%llu", job_id, (unsigned long long)incarnation);
    return weir_xxh3(text, (size_t)size);
}
