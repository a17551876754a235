#include "state/heap.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define ALIGNMENT 16
#define SMALL_MAX ((size_t)16 << 10)

struct weir_heap_large { /* in front of the block */
    struct weir_heap_large *next, *previous;
    size_t size;
    size_t padding;
};
_Static_assert(sizeof(struct weir_heap_large) % ALIGNMENT == 0, "blocks behind it are aligned");

/* 16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320 ... */
static int class_of(size_t size, size_t *capacity)
{
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

void weir_heap_init(struct weir_heap *heap)
{
    memset(heap, 0, sizeof *heap);
    weir_arena_init(&heap->arena);
}

void weir_heap_fini(struct weir_heap *heap)
{
    while (heap->large) {
        struct weir_heap_large *large = heap->large;
        heap->large = large->next;
        free(large);
    }
    weir_arena_fini(&heap->arena);
    memset(heap, 0, sizeof *heap);
}

static void *alloc_large(struct weir_heap *heap, size_t size, size_t *capacity)
{
    struct weir_heap_large *large = weir_alloc(sizeof *large + size);
    *large = (struct weir_heap_large){.next = heap->large, .size = size};
    if (heap->large)
        heap->large->previous = large;
    heap->large = large;
    *capacity = size;
    return large + 1;
}

void *weir_heap_alloc(struct weir_heap *heap, size_t size, size_t *capacity)
{
    void *block;
    if (size > SMALL_MAX) {
        block = alloc_large(heap, size, capacity);
    } else {
        int class = class_of(size, capacity);
        weir_assert(class < WEIR_HEAP_CLASSES);
        block = heap->free_blocks[class];
        if (block)
            memcpy(&heap->free_blocks[class], block, sizeof(void *));
        else
            block = weir_arena_alloc(&heap->arena, *capacity);
    }
    heap->size_used += *capacity;
    return block;
}

void weir_heap_free(struct weir_heap *heap, void *block, size_t capacity)
{
    heap->size_used -= capacity;
    if (capacity <= SMALL_MAX) {
        size_t same;
        int class = class_of(capacity, &same);
        weir_assert(same == capacity);
        memcpy(block, &heap->free_blocks[class], sizeof(void *));
        heap->free_blocks[class] = block;
        return;
    }
    struct weir_heap_large *large = (struct weir_heap_large *)block - 1;
    weir_assert(large->size == capacity);
    if (large->next)
        large->next->previous = large->previous;
    if (large->previous)
        large->previous->next = large->next;
    else
        heap->large = large->next;
    free(large);
}
