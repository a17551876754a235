/* Protobuf messages from outside, unpacked within a memory budget: an empty sub-message is two bytes on the wire and a hundred
 * in memory, so that without one a message of some MB could become gigabytes.
 */
#ifndef WEIR_BASE_UNPACK_H
#define WEIR_BASE_UNPACK_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* At most 4 MB and 16 bytes for each byte of `bytes` are taken (weir's own messages need about 10), of a large one 64 MB and twice its
 * size. NULL: not such a message, or
 * (*spent, which may be NULL) beyond the budget. Freed with the type's own free_unpacked(message, NULL). */
ProtobufCMessage *weir_unpack(const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t size, bool *spent);

#endif
