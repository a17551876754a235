#include "base/unpack.h"

#include <stdlib.h>

#include "base/mem.h"

#define BUDGET_BASE ((size_t)4 << 20)
#define BUDGET_PER_BYTE 16
#define BUDGET_MOST ((size_t)64 << 20) /* besides the bytes themselves: what is large is one field's bytes */
#define ALLOCATION_COST 16             /* what malloc adds */

struct budget {
    size_t left;
    bool spent;
};

static void *budget_alloc(void *data, size_t size)
{
    struct budget *budget = data;
    if (size > budget->left || budget->left - size < ALLOCATION_COST) {
        budget->spent = true;
        return NULL;
    }
    budget->left -= size + ALLOCATION_COST;
    return weir_alloc(size);
}

static void budget_free(void *data, void *pointer)
{
    (void)data;
    free(pointer);
}

ProtobufCMessage *weir_unpack(const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t size, bool *spent)
{
    size_t small = BUDGET_BASE + size * BUDGET_PER_BYTE, large = BUDGET_MOST + 2 * size;
    struct budget budget = {.left = small < large ? small : large, .spent = false};
    ProtobufCAllocator allocator = {budget_alloc, budget_free, &budget};
    ProtobufCMessage *message = protobuf_c_message_unpack(type, &allocator, size, bytes);
    if (spent)
        *spent = budget.spent;
    return message;
}
