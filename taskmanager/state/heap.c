#include "state/heap.h"

#include <string.h>

#include "base/assert.h"

/* 16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320 ... */
static int class_of(size_t size, size_t *capacity)
{
    weir_assert(size <= WEIR_HEAP_BLOCK_MAX);
    if (size <= 64) {
        int class = size ? (int)((size - 1) / 16) : 0;
        *capacity = (size_t)(class + 1) * 16;
        return class;
    }
    int top = 63 - __builtin_clzll(size - 1); /* 2^top <= size - 1 < 2^(top + 1), top >= 6 */
    size_t step = (size_t)1 << (top - 2);
    size_t quarter = (size - 1 - ((size_t)1 << top)) / step;
    *capacity = ((size_t)1 << top) + (quarter + 1) * step;
    return 4 + (top - 6) * 4 + (int)quarter;
}

void *weir_heap_alloc(struct weir_heap *heap, struct weir_arena *arena, size_t size, size_t *capacity)
{
    int class = class_of(size, capacity);
    weir_assert(class < WEIR_HEAP_CLASSES);
    void *block = heap ? heap->free_blocks[class] : NULL;
    if (!block)
        return weir_arena_alloc(arena, *capacity);
    memcpy(&heap->free_blocks[class], block, sizeof(void *));
    heap->size_free -= *capacity;
    return block;
}

void weir_heap_free(struct weir_heap *heap, void *block, size_t capacity)
{
    size_t same;
    int class = class_of(capacity, &same);
    weir_assert(same == capacity);
    memcpy(block, &heap->free_blocks[class], sizeof(void *));
    heap->free_blocks[class] = block;
    heap->size_free += capacity;
}
