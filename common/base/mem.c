#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"

_Noreturn void weir_assert_failed(const char *condition, const char *file, int line, const char *function)
{
    fprintf(stderr, "%s:%d: %s: assertion failed: %s\n", file, line, function, condition);
    fflush(stderr);
    abort();
}

static void (*say_out_of_memory)(size_t size);

void weir_on_out_of_memory(void (*say)(size_t size))
{
    say_out_of_memory = say;
}

void weir_out_of_memory(size_t size)
{
    if (say_out_of_memory)
        say_out_of_memory(size);
    fprintf(stderr, "out of memory: cannot allocate %zu bytes\n", size);
    abort();
}

void *weir_alloc(size_t size)
{
    void *p = malloc(size ? size : 1);
    if (!p)
        weir_out_of_memory(size);
    return p;
}

void *weir_zalloc(size_t size)
{
    void *p = calloc(1, size ? size : 1);
    if (!p)
        weir_out_of_memory(size);
    return p;
}

void *weir_realloc(void *old, size_t size)
{
    void *p = realloc(old, size ? size : 1);
    if (!p)
        weir_out_of_memory(size);
    return p;
}

char *weir_strdup(const char *s)
{
    return weir_strndup(s, strlen(s));
}

char *weir_strndup(const char *s, size_t size)
{
    char *p = weir_alloc(size + 1);
    memcpy(p, s, size);
    p[size] = 0;
    return p;
}

char *weir_format(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *p = NULL;
    if (vasprintf(&p, format, args) < 0)
        weir_out_of_memory(strlen(format));
    va_end(args);
    return p;
}

void weir_huge_pages(void *p, size_t size)
{
    uintptr_t first = ((uintptr_t)p + WEIR_HUGE_PAGE - 1) & ~(WEIR_HUGE_PAGE - 1);
    uintptr_t end = ((uintptr_t)p + size) & ~(WEIR_HUGE_PAGE - 1);
    if (end > first)
        (void)madvise((uint8_t *)p + (first - (uintptr_t)p), end - first,
                      MADV_HUGEPAGE); /* advice: without it access is only slower */
}

/* --- Arena */

#define CHUNK_SIZE_MIN ((size_t)4096)
#define CHUNK_SIZE_MAX ((size_t)1 << 20)
#define HUGE_CHUNK_SIZE (2 * WEIR_HUGE_PAGE)
#define HUGE_FROM \
    ((size_t)16 \
     << 20) /* so large an arena is not read from one end to the other, mostly: a page of 4 KB for each access would cost more than it */

struct weir_arena_chunk {
    struct weir_arena_chunk *older;
    size_t size;
    _Alignas(16) uint8_t bytes[];
};

void weir_arena_init(struct weir_arena *arena)
{
    memset(arena, 0, sizeof *arena);
}

static void add_chunk(struct weir_arena *arena, size_t need)
{
    size_t size = arena->chunks ? arena->chunks->size * 2 : CHUNK_SIZE_MIN;
    if (size > CHUNK_SIZE_MAX)
        size = CHUNK_SIZE_MAX;
    if (size < need)
        size = need;
    struct weir_arena_chunk *chunk = NULL;
    if (arena->size_total >= HUGE_FROM && size <= HUGE_CHUNK_SIZE - sizeof *chunk) {
        void *p;
        if (posix_memalign(&p, WEIR_HUGE_PAGE, HUGE_CHUNK_SIZE) != 0)
            weir_out_of_memory(HUGE_CHUNK_SIZE);
        weir_huge_pages(p, HUGE_CHUNK_SIZE);
        chunk = p;
        size = HUGE_CHUNK_SIZE - sizeof *chunk;
    } else {
        chunk = weir_alloc(sizeof *chunk + size);
    }
    chunk->older = arena->chunks;
    chunk->size = size;
    arena->chunks = chunk;
    arena->next = chunk->bytes;
    arena->end = chunk->bytes + size;
    arena->size_total += size;
}

void *weir_arena_alloc(struct weir_arena *arena, size_t size)
{
    size_t rounded = (size + 15) & ~(size_t)15;
    weir_assert(rounded >= size);
    if ((size_t)(arena->end - arena->next) < rounded || !arena->next)
        add_chunk(arena, rounded ? rounded : 16);
    void *p = arena->next;
    arena->next += rounded;
    return p;
}

void *weir_arena_zalloc(struct weir_arena *arena, size_t size)
{
    return memset(weir_arena_alloc(arena, size), 0, size);
}

char *weir_arena_strndup(struct weir_arena *arena, const char *s, size_t size)
{
    char *p = weir_arena_alloc(arena, size + 1);
    memcpy(p, s, size);
    p[size] = 0;
    return p;
}

char *weir_arena_strdup(struct weir_arena *arena, const char *s)
{
    return weir_arena_strndup(arena, s, strlen(s));
}

char *weir_arena_format(struct weir_arena *arena, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    weir_assert(size >= 0);
    char *p = weir_arena_alloc(arena, (size_t)size + 1);
    vsnprintf(p, (size_t)size + 1, format, again);
    va_end(again);
    return p;
}

void weir_arena_reset(struct weir_arena *arena)
{
    struct weir_arena_chunk *newest = arena->chunks;
    if (!newest)
        return;
    for (struct weir_arena_chunk *chunk = newest->older, *older; chunk; chunk = older) {
        older = chunk->older;
        arena->size_total -= chunk->size;
        free(chunk);
    }
    newest->older = NULL;
    arena->next = newest->bytes;
}

void weir_arena_fini(struct weir_arena *arena)
{
    weir_arena_reset(arena);
    free(arena->chunks);
    memset(arena, 0, sizeof *arena);
}

/* --- Growable bytes */

void weir_buf_init(struct weir_buf *buf, size_t max)
{
    *buf = (struct weir_buf){.max = max};
}

bool weir_buf_reserve(struct weir_buf *buf, size_t more)
{
    if (more > buf->max || buf->size > buf->max - more)
        return false;
    size_t need = buf->size + more + 1;
    if (need <= buf->capacity)
        return true;
    size_t capacity = buf->capacity ? buf->capacity * 2 : 64;
    while (capacity < need)
        capacity *= 2;
    buf->data = weir_realloc(buf->data, capacity);
    buf->capacity = capacity;
    return true;
}

bool weir_buf_append(struct weir_buf *buf, const void *bytes, size_t size)
{
    if (!weir_buf_reserve(buf, size))
        return false;
    if (size)
        memcpy(buf->data + buf->size, bytes, size);
    buf->size += size;
    buf->data[buf->size] = 0;
    return true;
}

bool weir_buf_puts(struct weir_buf *buf, const char *s)
{
    return weir_buf_append(buf, s, strlen(s));
}

bool weir_buf_printf(struct weir_buf *buf, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    bool ok = size >= 0 && weir_buf_reserve(buf, (size_t)size);
    if (ok) {
        vsnprintf((char *)buf->data + buf->size, (size_t)size + 1, format, again);
        buf->size += (size_t)size;
    }
    va_end(again);
    return ok;
}

void weir_buf_clear(struct weir_buf *buf)
{
    buf->size = 0;
    if (buf->data)
        buf->data[0] = 0;
}

void weir_buf_fini(struct weir_buf *buf)
{
    free(buf->data);
    *buf = (struct weir_buf){.max = buf->max};
}
