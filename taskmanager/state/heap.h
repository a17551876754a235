/* Memory for values that change their size: blocks by size class, with lists of free ones. All freed at once at the end, so that a state of
 * many values goes quickly. One thread; aborts when there is no memory. */
#ifndef WEIR_TASKMANAGER_STATE_HEAP_H
#define WEIR_TASKMANAGER_STATE_HEAP_H

#include "base/mem.h"

#define WEIR_HEAP_CLASSES 40 /* four per doubling, from 16 bytes to 16 KiB; larger blocks are allocated one by one */

struct weir_heap_large;
struct weir_heap {
    struct weir_arena arena;
    void *free_blocks[WEIR_HEAP_CLASSES];
    struct weir_heap_large *large;
    size_t size_used; /* bytes of blocks in use */
};

void weir_heap_init(struct weir_heap *heap);
void weir_heap_fini(struct weir_heap *heap);
/* At least `size` bytes, aligned to 16; *capacity is what there really is, and what free() is told. */
void *weir_heap_alloc(struct weir_heap *heap, size_t size, size_t *capacity);
void weir_heap_free(struct weir_heap *heap, void *block, size_t capacity);

#endif
