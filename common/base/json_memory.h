/* jansson without NULL: its memory comes from weir_alloc(), so that a process without memory ends as it does everywhere else, and no
 * answer goes out that lacks what could not be allocated. Whoever makes JSON calls this before; again does no harm. */
#ifndef WEIR_BASE_JSON_MEMORY_H
#define WEIR_BASE_JSON_MEMORY_H

void weir_json_memory(void);

#endif
