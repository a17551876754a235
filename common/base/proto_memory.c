#include "base/proto_memory.h"

#include <stdlib.h>

#include "base/mem.h"

static void *take(void *data, size_t size)
{
    (void)data;
    return weir_alloc(size);
}

static void give(void *data, void *pointer)
{
    (void)data;
    free(pointer);
}

ProtobufCAllocator weir_proto_memory = {take, give, NULL};
