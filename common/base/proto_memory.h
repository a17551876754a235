/* protobuf-c without NULL: memory from weir_alloc() for weir__..._unpack(), so that "no memory" is never mistaken for "no message". What is
 * unpacked with it is freed with free_unpacked(message, NULL). */
#ifndef WEIR_BASE_PROTO_MEMORY_H
#define WEIR_BASE_PROTO_MEMORY_H

#include <protobuf-c/protobuf-c.h>

extern ProtobufCAllocator weir_proto_memory;

#endif
