/* Memory of a table's slots: zeros; large ones on huge pages, since every access is a random one. Owning thread: the task's worker. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"
#include "state/state_int.h"

static struct slots weir_slots_new(size_t size)
{
    struct slots slots = {.size = size};
    if (size >= WEIR_HUGE_PAGE) {
        size_t rounded = (size + WEIR_HUGE_PAGE - 1) & ~(WEIR_HUGE_PAGE - 1);
        void *p = mmap(NULL, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p != MAP_FAILED) {
            weir_huge_pages(p, rounded);
            slots.size = rounded;
            slots.bytes = p;
            slots.mapped = true;
            return slots;
        }
    }
    slots.bytes = weir_zalloc(size); /* aborts when there is none */
    return slots;
}

void weir_slots_free(struct slots *slots)
{
    if (slots->mapped)
        munmap(slots->bytes, slots->size);
    else
        free(slots->bytes);
    memset(slots, 0, sizeof *slots);
}

struct slots weir_slots_take(struct weir_state *state, size_t size)
{
    struct slots *spare = &state->spare;
    if (!spare->bytes || spare->size < size || spare->size / 2 > size + WEIR_HUGE_PAGE)
        return weir_slots_new(size);
    struct slots slots = *spare;
    memset(spare, 0, sizeof *spare);
    memset(slots.bytes, 0, size);
    return slots;
}

void weir_slots_give(struct weir_state *state, struct slots *slots)
{
    if (state->spare.bytes)
        weir_slots_free(&state->spare);
    state->spare = *slots;
    memset(slots, 0, sizeof *slots);
}

void weir_slots_release(struct slots *slots, size_t walked)
{
    size_t step = walked & ~(WEIR_HUGE_PAGE - 1);
    if (slots->mapped && step > slots->released) {
        (void)madvise(slots->bytes + slots->released, step - slots->released, MADV_DONTNEED);
        slots->released = step;
    }
}
