/* Memory for values that change their size, in the heap (an arena) of their table: blocks by size class, with lists of those that are free.
 * The lists are the operator's; they are forgotten when the arena goes, or when everything in it has moved. One thread. */
#ifndef WEIR_TASKMANAGER_STATE_HEAP_H
#define WEIR_TASKMANAGER_STATE_HEAP_H

#include "base/mem.h"

#define WEIR_HEAP_CLASSES 88 /* four per doubling: from 16 bytes to 128 MiB */
#define WEIR_HEAP_BLOCK_MAX ((size_t)128 << 20)

struct weir_heap { /* zeros: nothing is free */
    void *free_blocks[WEIR_HEAP_CLASSES];
    size_t size_free; /* bytes in the lists */
};

/* At least `size` bytes (at most WEIR_HEAP_BLOCK_MAX), aligned to 16; *capacity is what there really is. heap NULL: a new block. */
void *weir_heap_alloc(struct weir_heap *heap, struct weir_arena *arena, size_t size, size_t *capacity);
void weir_heap_free(struct weir_heap *heap, void *block, size_t capacity);

#endif
